//! Threads that share the steps of a program change no bit of its results, and no error.

#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

mod common;

use std::collections::BTreeMap;
use std::num::NonZero;

use common::{fill, random_values, transformer};
use ontogeny_graph::{
    Adam, Convolution, Free, Gradient, Graph, Langevin, Node, Program, Purpose, RmsProp, RunError, Sgd, Stream,
    Threads, Value, Workspace, adam, rmsprop_sgld, sgd, sgld,
};

fn threads(n: usize) -> Threads {
    Threads::new(NonZero::new(n).unwrap())
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|v| v.to_bits()).collect()
}

/// Outputs and gradient on 1, 2, 3 and 8 threads.
fn check(graph: &Graph, loss: Node, values: &BTreeMap<String, Value<f32>>) {
    let program = Program::compile(graph, &[("loss", loss)], Gradient::All(loss)).unwrap();
    let mut expected = None;
    for n in [1, 2, 3, 8] {
        let mut workspace = Workspace::with_threads(&program, &threads(n));
        let weights = fill(&program, &mut workspace, values);
        for round in 0..3 {
            program.run(&mut workspace, &weights).unwrap();
            let found = (bits(workspace.output(&program, "loss")), bits(workspace.gradient(&program)));
            assert!(workspace.gradient(&program).iter().any(|&g| g != 0.0));
            // No message: these are large.
            assert!(*expected.get_or_insert_with(|| found.clone()) == found, "{n} threads, round {round}");
        }
    }
}

#[test]
fn a_transformer_with_one_token_that_counts() {
    let t = transformer(300, 113, 3, 128, 4, 512);
    check(&t.graph, t.loss, &random_values(&t.graph, 1, 113));
}

#[test]
fn layer_norms_and_a_large_vocabulary() {
    let (batch, context, d, vocabulary) = (3, 70, 96, 9001);
    let mut g = Graph::new();
    let tokens = g.input_ids("tokens", &[batch, context]);
    let targets = g.input_ids("targets", &[batch, context]);
    let embed = g.param("embed", &[vocabulary, d]);
    let scale = g.param("scale", &[d]);
    let x = g.gather(embed, tokens);
    let normal = g.normalize(x, 1e-5);
    let x = g.mul(normal, scale);
    let hidden = g.linear("in", x, 4 * d);
    let hidden = g.gelu(hidden);
    let out = g.linear("out", hidden, d);
    let x = g.add(x, out);
    let [q, k, v] = ["q", "k", "v"].map(|name| {
        let w = g.param(name, &[3, d, 32]);
        g.einsum("btd,hde->bthe", x, w)
    });
    let scores = g.einsum("bqhe,bkhe->bhqk", q, k);
    let scores = g.causal_mask(scores);
    let pattern = g.softmax(scores);
    let z = g.einsum("bhqk,bkhe->bqhe", pattern, v);
    let w = g.param("o", &[3, 32, d]);
    let attention = g.einsum("bqhe,hed->bqd", z, w);
    let x = g.add(x, attention);
    let logits = g.linear("unembed", x, vocabulary);
    let losses = g.cross_entropy(logits, targets);
    let loss = g.mean_all(losses);
    check(&g, loss, &random_values(&g, 2, vocabulary));
}

#[test]
fn a_convolutional_network() {
    let mut g = Graph::new();
    let mut x = g.input("x", &[20, 1, 28, 28]);
    for (name, n_in, n_out) in [("c1", 1, 16), ("c2", 16, 24)] {
        let kernel = g.param(name, &[n_out, n_in, 5, 5]);
        let y = g.conv2d(x, kernel, Convolution { padding: [2, 2], ..Convolution::default() });
        let bias = g.param(&format!("{name}.b"), &[n_out, 1, 1]);
        let y = g.add(y, bias);
        let y = g.relu(y);
        x = g.max_pool2d(y, [2, 2], [2, 2], [0, 0]);
    }
    let flat = g.reshape(x, &[20, 24 * 49]);
    let hidden = g.linear("dense", flat, 100);
    let hidden = g.tanh(hidden);
    let logits = g.linear("out", hidden, 10);
    let log_p = g.log_softmax(logits);
    let square = g.square(log_p);
    let loss = g.mean_all(square);
    check(&g, loss, &random_values(&g, 3, 1));
}

/// What views, sums and copies of many shapes are made of: long enough to be cut, in numbers that no cut divides.
#[test]
fn sums_copies_and_transposes() {
    let mut g = Graph::new();
    let w = g.param("w", &[37, 501, 67]);
    let exp = g.exp(w);
    let turned = g.permute(exp, &[2, 0, 1]);
    let flat = g.reshape(turned, &[67 * 37, 501]);
    let soft = g.softmax(flat);
    let joined = g.concat(&[soft, flat], 1);
    let padded = g.pad(joined, 0, 3, 2);
    let columns = g.sum(padded, &[0]);
    let rows = g.sum(padded, &[1]);
    let tops = g.max(padded, &[1]);
    let middle = g.sum(exp, &[1]);
    let parts = [columns, rows, tops, middle].map(|part| {
        let square = g.square(part);
        g.mean_all(square)
    });
    let loss = parts.into_iter().reduce(|a, b| g.add(a, b)).unwrap();
    check(&g, loss, &random_values(&g, 4, 1));
}

#[test]
fn the_first_bad_id_is_named_by_any_number_of_threads() {
    let mut g = Graph::new();
    let table = g.param("table", &[1000, 300]);
    let ids = g.input_ids("ids", &[4000]);
    let rows = g.gather(table, ids);
    let square = g.square(rows);
    let loss = g.mean_all(square);
    let program = Program::compile(&g, &[("loss", loss)], Gradient::All(loss)).unwrap();
    for n in [1, 2, 8] {
        let mut workspace = Workspace::with_threads(&program, &threads(n));
        let ids = workspace.ids_mut(&program, "ids").unwrap();
        (ids[3999], ids[1234], ids[2345]) = (-7, 1000, 5000);
        let error = program.run(&mut workspace, &vec![0.0; 300_000]).unwrap_err();
        assert!(matches!(error, RunError::Id { id: 1000, rows: 1000, .. }), "{n} threads: {error}");
    }
}

#[test]
fn threads_at_rest_and_threads_that_are_shared_give_the_same_bits() {
    let t = transformer(300, 113, 3, 128, 4, 512);
    let program = Program::compile(&t.graph, &[("loss", t.loss)], Gradient::All(t.loss)).unwrap();
    let values = random_values(&t.graph, 1, 113);
    let all = threads(3);
    let gradients: Vec<Vec<u32>> = std::thread::scope(|scope| {
        let worker = || {
            let mut workspace = Workspace::with_threads(&program, &all);
            let weights = fill(&program, &mut workspace, &values);
            for round in 0..10 {
                all.set_at_rest(round % 3 == 0);
                program.run(&mut workspace, &weights).unwrap();
            }
            workspace.set_threads(&program, &threads(2));
            program.run(&mut workspace, &weights).unwrap();
            bits(workspace.gradient(&program))
        };
        let workers: Vec<_> = (0..3).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let mut workspace = Workspace::new(&program);
    let weights = fill(&program, &mut workspace, &values);
    program.run(&mut workspace, &weights).unwrap();
    let expected = bits(workspace.gradient(&program));
    assert!(gradients.iter().all(|found| *found == expected));
}

/// Long enough for several segments, whose borders fall into a range.
#[test]
fn updates() {
    let n = 150_001;
    let normals = |stream: u64| {
        let mut values = vec![0.0; n];
        Stream::new(4, Purpose::Probe, stream).normals(0, 0, &mut values);
        values
    };
    let (start, gradient, noise) = (normals(0), normals(1), Stream::new(1, Purpose::ChainNoise, 2));
    let langevin = Langevin { step_size: 3e-4, n_beta: 50.0, localization: 7.0 };
    let rms = RmsProp { decay: 0.99, eps: 0.1, is_frozen: false };
    let settings = Adam { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.1, decoupled: true };
    let momentum = Sgd { momentum: 0.9, nesterov: true, weight_decay: 0.1 };
    let whole = 0..n;
    let scattered = [5..77, 16_380..16_390, 20_000..99_999, 131_072..150_000];
    for ranges in [std::slice::from_ref(&whole), &scattered] {
        let mut expected = None;
        for count in [1, 2, 3, 8] {
            let threads = threads(count);
            let mut found = Vec::new();
            let mut norms = Vec::new();
            let (mut w, mut second) = (normals(5), vec![0.0; n]);
            for step in 0..3 {
                let free = Free { ranges, noise: &noise, step };
                norms.push(sgld(&mut w, &start, &gradient, free, &langevin, &threads));
                norms.push(rmsprop_sgld(&mut w, &start, &gradient, &mut second, step, free, &langevin, &rms, &threads));
            }
            let frozen = (0..n).find(|i| !ranges.iter().any(|range| range.contains(i)));
            assert!(frozen.is_none_or(|i| w[i].to_bits() == normals(5)[i].to_bits()));
            found.extend([bits(&w), bits(&second)]);
            let (mut w, mut first, mut second) = (normals(6), vec![0.0; n], vec![0.0; n]);
            for step in 0..3 {
                adam(&mut w, &gradient, [&mut first, &mut second], step, 1e-3, &settings, &threads);
                sgd(&mut w, &gradient, &mut first, step, 1e-3, &momentum, &threads);
            }
            found.extend([bits(&w), bits(&first), bits(&second)]);
            let norms: Vec<u64> = norms
                .iter()
                .flat_map(|n| [n.gradient, n.localization, n.noise, n.distance])
                .map(f64::to_bits)
                .collect();
            let found = (found, norms);
            assert!(*expected.get_or_insert_with(|| found.clone()) == found, "{count} threads");
        }
    }
}
