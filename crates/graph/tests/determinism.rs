//! The same bits from every execution, workspace and thread, and from every instruction set outside of large products.

#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

mod common;

use std::process::Command;

use common::{fill, random_values, transformer};
use ontogeny_graph::{
    ENGINE_VERSION, Free, Gradient, Graph, Isa, Langevin, Node, Program, Purpose, RmsProp, Stream, Threads, Workspace,
    rmsprop_sgld,
};

/// FNV-1a over the bits.
fn digest(values: &[f32]) -> u64 {
    fnv(values.iter().flat_map(|x| x.to_le_bytes()))
}

fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

type Build = fn(&mut Graph, Node) -> Node;

/// Kernels without a large product, on a `[37, 70]` parameter.
const KERNELS: &[(&str, Build)] = &[
    ("exp", |g, w| g.exp(w)),
    ("log", |g, w| {
        let square = g.square(w);
        g.log(square)
    }),
    ("log1p and sqrt", |g, w| {
        let square = g.square(w);
        let y = g.log1p(square);
        g.sqrt(y)
    }),
    ("tanh", |g, w| g.tanh(w)),
    ("gelu", |g, w| g.gelu(w)),
    ("division", |g, w| {
        let e = g.exp(w);
        g.div(w, e)
    }),
    ("select", |g, w| {
        let s = g.constant(0.1);
        let c = g.greater(w, s);
        let r = g.recip(w);
        g.select(c, w, r)
    }),
    ("sigmoid", |g, w| g.sigmoid(w)),
    ("pools", |g, w| {
        let x = g.reshape(w, &[37, 1, 10, 7]);
        let y = g.max_pool2d(x, [3, 2], [1, 2], [1, 0]);
        g.avg_pool2d(y, [3, 2], [2, 1], [0, 1])
    }),
    ("rotary", |g, w| {
        let x = g.reshape(w, &[37, 7, 10]);
        g.rotary(x, 1, 8, 1e4)
    }),
    ("softmax", |g, w| g.softmax(w)),
    ("log_softmax", |g, w| g.log_softmax(w)),
    ("layer norm", |g, w| g.normalize(w, 1e-5)),
    ("sum over rows", |g, w| g.sum(w, &[0])),
    ("sum over columns", |g, w| g.sum(w, &[1])),
    ("maximum", |g, w| g.max(w, &[1])),
    ("gather", |g, w| {
        let ids = g.input_ids("ids", &[5, 9]);
        g.gather(w, ids)
    }),
    ("cross-entropy", |g, w| {
        let ids = g.input_ids("ids", &[37]);
        g.cross_entropy(w, ids)
    }),
    ("views", |g, w| {
        let t = g.transpose(w);
        let p = g.pad(t, 0, 2, 1);
        g.concat(&[p, p], 1)
    }),
    ("small product", |g, w| {
        let a = g.slice(w, 0, 0, 4);
        let b = g.slice(w, 0, 5, 6);
        g.einsum("ik,jk->ij", a, b)
    }),
    ("batched small products", |g, w| {
        let a = g.reshape(w, &[37, 7, 10]);
        g.einsum("bik,bjk->bij", a, a)
    }),
];

fn digest_of(g: &Graph, loss: Node) -> u64 {
    let program = Program::compile(g, &[("loss", loss)], Gradient::All(loss)).unwrap();
    let mut workspace = Workspace::new(&program);
    let weights = fill(&program, &mut workspace, &random_values(g, 8, 30));
    program.run(&mut workspace, &weights).unwrap();
    digest(&[workspace.output(&program, "loss"), workspace.gradient(&program)].concat())
}

/// (what, digest of its bits), the last the one that runs large products.
fn digests() -> Vec<(String, u64)> {
    let mut all = Vec::new();
    for (name, build) in KERNELS {
        let mut g = Graph::new();
        let w = g.param("w", &[37, 70]);
        let y = build(&mut g, w);
        let square = g.square(y);
        let loss = g.mean_all(square);
        all.push(((*name).to_owned(), digest_of(&g, loss)));
    }
    let stream = Stream::new(3, Purpose::ChainNoise, 1);
    let mut w = vec![0.0; 1000];
    stream.normals(7, 13, &mut w);
    all.push(("normals".to_owned(), digest(&w)));
    let (start, mut second) = (vec![0.1; 1000], vec![0.0; 1000]);
    let langevin = Langevin { step_size: 1e-3, n_beta: 10.0, localization: 1.0 };
    let free = Free { ranges: &[5..77, 100..1000], noise: &stream, step: 3 };
    let gradient = w.clone();
    let norms = rmsprop_sgld(
        &mut w,
        &start,
        &gradient,
        &mut second,
        2,
        free,
        &langevin,
        &RmsProp { decay: 0.99, eps: 0.1, is_frozen: false },
        &Threads::one(),
    );
    all.push(("update".to_owned(), digest(&[w, second, vec![norms.noise as f32, norms.gradient as f32]].concat())));
    let t = transformer(33, 30, 4, 32, 4, 64);
    all.push(("transformer".to_owned(), digest_of(&t.graph, t.loss)));
    all
}

/// What the other test reads from a process of its own.
#[test]
fn print_digests() {
    assert_eq!(digests(), digests());
    println!();
    for (name, digest) in digests() {
        println!("digest {digest:016x} {name}");
    }
}

/// The lines of `print_digests` on every instruction set, each in a process of its own.
fn digests_by_set() -> Vec<(Isa, Vec<String>)> {
    Isa::available()
        .into_iter()
        .map(|isa| {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", "print_digests", "--nocapture"]).env("ONTOGENY_ISA", isa.name());
            let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
            (isa, text.lines().filter(|line| line.starts_with("digest ")).map(str::to_owned).collect())
        })
        .collect()
}

#[test]
fn instruction_sets_agree_outside_of_large_products() {
    let by_set = digests_by_set();
    let (_, first) = &by_set[0];
    assert_eq!(first.len(), KERNELS.len() + 3);
    for (isa, lines) in &by_set {
        let without_products = first.len() - 1;
        assert_eq!(lines[..without_products], first[..without_products], "{isa:?}");
    }
}

/// The digest of all digests on each instruction set, and the engine's version. Where this fails and nobody meant to change
/// a bit, something is wrong. Where it was meant, whoever continues an older run must hear of it: raise `ENGINE_VERSION`
/// by one, and write here what the test found.
const VERSION_AND_BITS: (u32, [(&str, u64); 3]) =
    (2, [("baseline", 0x1683_93fe_adc9_abf4), ("avx2", 0x0ad0_63da_8d5b_b178), ("avx512", 0x0ad0_63da_8d5b_b178)]);

#[test]
#[cfg(target_arch = "x86_64")]
fn the_version_of_the_engine_names_its_bits() {
    let (version, recorded) = VERSION_AND_BITS;
    let found: Vec<(&str, u64)> = digests_by_set()
        .into_iter()
        .map(|(isa, lines)| (isa.name(), fnv(lines.iter().flat_map(|line| line.bytes()))))
        .collect();
    // Sets that this processor lacks are the last.
    assert_eq!((ENGINE_VERSION, &found[..]), (version, &recorded[..found.len()]), "see `VERSION_AND_BITS`");
}

#[test]
fn threads_and_workspaces_give_the_same_bits() {
    let t = transformer(17, 11, 3, 16, 2, 32);
    let program = Program::compile(&t.graph, &[("loss", t.loss)], Gradient::All(t.loss)).unwrap();
    let values = random_values(&t.graph, 8, 11);
    let digests: Vec<u64> = std::thread::scope(|scope| {
        let worker = || {
            let mut workspace = Workspace::new(&program);
            let weights = fill(&program, &mut workspace, &values);
            for _ in 0..5 {
                program.run(&mut workspace, &weights).unwrap();
            }
            digest(workspace.gradient(&program))
        };
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    assert!(digests.iter().all(|&d| d == digests[0]));
}
