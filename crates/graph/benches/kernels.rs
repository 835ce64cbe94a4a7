//! Kernels one by one, each as a program of one operation: `cargo bench -p ontogeny-graph --bench kernels [-- FILTER]`.
//!
//! Throughput is in elements of the largest operand, for products in multiply-adds. `ONTOGENY_ISA=avx2` narrows the
//! instruction set.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ontogeny_graph::{
    Adam, DType, Free, Gradient, Graph, Langevin, Node, Program, Purpose, Stream, Threads, Workspace, adam, sgld,
};

/// Compiles the graph with `outputs` and, if given, a gradient; fills every input; and times executions.
fn time(c: &mut Criterion, name: &str, elements: usize, graph: &Graph, output: Node, gradient: Gradient<'_>) {
    let program = Program::compile(graph, &[("y", output)], gradient).expect("the graphs below are valid");
    let mut workspace = Workspace::new(&program);
    let names: Vec<String> = program.input_names().map(str::to_owned).collect();
    for (i, input) in names.iter().enumerate() {
        let stream = Stream::new(0, Purpose::Data, i as u64);
        let node = graph.find(input).expect("an input of the graph");
        if graph.dtype(node) == DType::Ids {
            let ids = workspace.ids_mut(&program, input).expect("an input of ids");
            ids.iter_mut().enumerate().for_each(|(i, id)| *id = stream.below(N_IDS, 0, i as u32) as i32);
        } else {
            stream.normals(0, 0, workspace.floats_mut(&program, input).expect("an input of floats"));
        }
    }
    let mut weights = vec![0.0; program.space().len()];
    Stream::new(0, Purpose::Initialization, 0).normals(0, 0, &mut weights);
    let (group, own) = name.split_once('/').expect("names are GROUP/CASE");
    let mut group = c.benchmark_group(group);
    group.throughput(Throughput::Elements(elements as u64));
    group.bench_function(own, |b| b.iter(|| program.run(&mut workspace, black_box(&weights))));
    group.finish();
}

/// Ids are below this.
const N_IDS: usize = 10;

/// Matrix products of the shapes that networks have, written as the einsums of their forward and backward passes.
fn products(c: &mut Criterion) {
    for (labels, a, b) in [
        ("ik,kj->ij", &[512, 512][..], &[512, 512][..]),
        ("ik,kj->ij", &[1024, 1024], &[1024, 1024]),
        ("ik,kj->ij", &[512, 784], &[784, 1024]),
        ("ki,kj->ij", &[512, 784], &[512, 1024]),
        ("ik,jk->ij", &[512, 1024], &[784, 1024]),
        ("ik,kj->ij", &[512, 128], &[128, 114]),
        ("ik,kj->ij", &[256, 20], &[20, 20]),
        ("ik,kj->ij", &[512, 6], &[6, 2]),
        ("btd,hde->bthe", &[512, 3, 128], &[4, 128, 32]),
        ("bqhe,bkhe->bhqk", &[512, 3, 4, 32], &[512, 3, 4, 32]),
        ("bqhe,bkhe->bhqk", &[4, 128, 8, 64], &[4, 128, 8, 64]),
        ("bhqk,bkhe->bqhe", &[4, 8, 128, 128], &[4, 128, 8, 64]),
        ("td,dv->tv", &[512, 512], &[512, 50304]),
    ] {
        let mut g = Graph::new();
        let [x, y] = [("a", a), ("b", b)].map(|(name, shape)| g.input(name, shape));
        let product = g.einsum(labels, x, y);
        let case = format!("product/{labels} {a:?} {b:?}");
        let multiply_adds = Program::compile(&g, &[("y", product)], Gradient::None).expect("it is valid").flops() / 2;
        time(c, &case, multiply_adds, &g, product, Gradient::None);
    }
}

/// Groups of elementwise operations, alone and with a reduction behind them.
fn elementwise(c: &mut Criterion) {
    const SHAPE: [usize; 2] = [512, 2048];
    let n = SHAPE.iter().product();
    for name in ["relu", "exp", "log1p of square", "tanh", "erf", "gelu", "gelu_tanh"] {
        let mut g = Graph::new();
        let x = g.input("x", &SHAPE);
        let y = match name {
            "relu" => g.relu(x),
            "exp" => g.exp(x),
            "tanh" => g.tanh(x),
            "erf" => g.erf(x),
            "gelu" => g.gelu(x),
            "gelu_tanh" => g.gelu_tanh(x),
            _ => {
                let square = g.square(x);
                g.log1p(square)
            }
        };
        time(c, &format!("elementwise/{name}"), n, &g, y, Gradient::None);
    }
    let mut g = Graph::new();
    let (x, w, bias) = (g.input("x", &SHAPE), g.param("w", &SHAPE), g.param("b", &SHAPE[1..]));
    let shifted = g.add(x, bias);
    let active = g.relu(shifted);
    let loss = g.mean_squared_error(active, w);
    time(c, "elementwise/bias, relu, mean square, backward", n, &g, loss, Gradient::All(loss));
}

/// Operations over rows.
fn rows(c: &mut Criterion) {
    for shape in [[2048, 3], [8192, 128], [512, 114], [512, 50304]] {
        let n = shape.iter().product();
        let mut g = Graph::new();
        let x = g.input("x", &shape);
        let softmax = g.softmax(x);
        time(c, &format!("rows/softmax {shape:?}"), n, &g, softmax, Gradient::None);
        let normalized = g.normalize(x, 1e-5);
        time(c, &format!("rows/layer norm {shape:?}"), n, &g, normalized, Gradient::None);
        if shape[1] < N_IDS {
            continue;
        }
        let mut g = Graph::new();
        let logits = g.param("x", &shape);
        let targets = g.input_ids("targets", &shape[..1]);
        let losses = g.cross_entropy(logits, targets);
        let loss = g.mean_all(losses);
        time(c, &format!("rows/cross-entropy {shape:?}"), n, &g, loss, Gradient::None);
        time(c, &format!("rows/cross-entropy, backward {shape:?}"), n, &g, loss, Gradient::All(loss));
    }
}

/// Noise, and updates in one pass over memory: in the caches and far beyond.
fn updates(c: &mut Criterion) {
    for n in [18_usize, 1 << 16, 1 << 24] {
        let mut group = c.benchmark_group(format!("update of {n}"));
        group.throughput(Throughput::Elements(n as u64));
        let noise = Stream::new(0, Purpose::ChainNoise, 0);
        let mut weights = vec![0.0; n];
        group.bench_function("normals", |b| b.iter(|| noise.normals(0, 0, black_box(&mut weights))));
        let (start, gradient) = (vec![0.0; n], vec![1e-3; n]);
        let langevin = Langevin { step_size: 1e-7, n_beta: 100.0, localization: 1.0 };
        let one = Threads::one();
        let all = 0..n;
        let mut step = 0;
        group.bench_function("sgld", |b| {
            b.iter(|| {
                step += 1;
                let free = Free { ranges: std::slice::from_ref(&all), noise: &noise, step };
                sgld(&mut weights, &start, &gradient, free, &langevin, &one)
            });
        });
        let settings = Adam { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 1.0, decoupled: true };
        let (mut first, mut second) = (vec![0.0; n], vec![0.0; n]);
        group.bench_function("adamw", |b| {
            b.iter(|| adam(&mut weights, &gradient, [&mut first, &mut second], 10, 1e-4, &settings, &one));
        });
        group.finish();
    }
}

criterion_group! {
    name = kernels;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = products, elementwise, rows, updates
}
criterion_main!(kernels);
