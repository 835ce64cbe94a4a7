//! Shared by the integration tests: the one-layer transformer of the grokking papers, and evaluation both ways.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test binary uses its part")]

pub mod random;

use std::collections::BTreeMap;

use proptest::test_runner::{Config, RngSeed};

use ontogeny_graph::{DType, Gradient, Graph, Node, Program, Purpose, Stream, Value, Workspace};

/// One layer, no norms, loss at the last position.
pub struct Transformer {
    pub graph: Graph,
    pub loss: Node,
}

pub fn transformer(
    batch: usize,
    vocabulary: usize,
    context: usize,
    d: usize,
    heads: usize,
    d_mlp: usize,
) -> Transformer {
    let mut g = Graph::new();
    let d_head = d / heads;
    let tokens = g.input_ids("tokens", &[batch, context]);
    let targets = g.input_ids("targets", &[batch]);
    let embed = g.param("embed.W_E", &[vocabulary, d]);
    let positions = g.param("pos_embed.W_pos", &[context, d]);
    let [w_q, w_k, w_v] = ["Q", "K", "V"].map(|x| g.param(&format!("blocks.0.attn.W_{x}"), &[heads, d, d_head]));
    let w_o = g.param("blocks.0.attn.W_O", &[heads, d_head, d]);
    let embedded = g.gather(embed, tokens);
    let x = g.add(embedded, positions);
    let [q, k, v] = [w_q, w_k, w_v].map(|w| g.einsum("btd,hde->bthe", x, w));
    let scores = g.einsum("bqhe,bkhe->bhqk", q, k);
    let scores = g.scale(scores, 1.0 / (d_head as f64).sqrt());
    let scores = g.causal_mask(scores);
    let pattern = g.softmax(scores);
    g.named(pattern, "blocks.0.attn.hook_pattern");
    let z = g.einsum("bhqk,bkhe->bqhe", pattern, v);
    g.named(z, "blocks.0.attn.hook_z");
    let attention = g.einsum("bqhe,hed->bqd", z, w_o);
    let x = g.add(x, attention);
    let w_in = g.param("blocks.0.mlp.W_in", &[d, d_mlp]);
    let b_in = g.param("blocks.0.mlp.b_in", &[d_mlp]);
    let w_out = g.param("blocks.0.mlp.W_out", &[d_mlp, d]);
    let b_out = g.param("blocks.0.mlp.b_out", &[d]);
    let hidden = g.matmul(x, w_in);
    let hidden = g.add(hidden, b_in);
    let hidden = g.relu(hidden);
    g.named(hidden, "blocks.0.mlp.hook_post");
    let out = g.matmul(hidden, w_out);
    let out = g.add(out, b_out);
    let x = g.add(x, out);
    let last = g.select_index(x, 1, context - 1);
    g.named(last, "last");
    let unembed = g.param("unembed.W_U", &[d, vocabulary]);
    let logits = g.matmul(last, unembed);
    let example_loss = g.cross_entropy(logits, targets);
    let loss = g.mean_all(example_loss);
    Transformer { graph: g, loss }
}

/// Random values for every parameter and input of a graph; ids are below `n_ids`.
pub fn random_values(graph: &Graph, seed: u32, n_ids: usize) -> BTreeMap<String, Value<f32>> {
    let mut values = BTreeMap::new();
    let params: Vec<String> = graph.param_names().map(str::to_owned).collect();
    for (i, (name, node)) in graph.names().enumerate() {
        let len: usize = graph.shape(node).iter().product();
        let stream = Stream::new(seed, Purpose::Data, i as u64);
        let value = match graph.dtype(node) {
            DType::Ids => Value::Ids((0..len).map(|at| stream.below(n_ids, 0, at as u32) as i32).collect()),
            DType::Float => {
                let mut x = vec![0.0; len];
                stream.normals(0, 0, &mut x);
                // Parameters of networks are small.
                let scale = if params.iter().any(|p| p == name) { 0.3 } else { 1.0 };
                for v in &mut x {
                    *v *= scale;
                }
                Value::Float(x)
            }
        };
        values.insert(name.to_owned(), value);
    }
    values
}

/// The same values for an interpretation in f64.
pub fn widened(values: &BTreeMap<String, Value<f32>>) -> BTreeMap<String, Value<f64>> {
    let widen = |value: &Value<f32>| match value {
        Value::Float(v) => Value::Float(v.iter().map(|&x| f64::from(x)).collect()),
        Value::Ids(v) => Value::Ids(v.clone()),
    };
    values.iter().map(|(name, value)| (name.clone(), widen(value))).collect()
}

/// The same `n` random cases each time, or as many fresh ones as the environment variable `PROPTEST_CASES` says.
pub fn cases(n: u32) -> Config {
    match std::env::var("PROPTEST_CASES") {
        Ok(_) => Config::default(),
        Err(_) => Config { cases: n, rng_seed: RngSeed::Fixed(1), ..Config::default() },
    }
}

/// Compiles and runs: the output `y` and the flat gradient.
pub fn run(
    graph: &Graph,
    y: Node,
    gradient: Gradient<'_>,
    values: &BTreeMap<String, Value<f32>>,
) -> (Vec<f32>, Vec<f32>) {
    let (mut outputs, gradient) = run_all(graph, &[y], gradient, values);
    (outputs.swap_remove(0), gradient)
}

/// Compiles and runs: all outputs and the flat gradient.
pub fn run_all(
    graph: &Graph,
    outputs: &[Node],
    gradient: Gradient<'_>,
    values: &BTreeMap<String, Value<f32>>,
) -> (Vec<Vec<f32>>, Vec<f32>) {
    let names: Vec<String> = (0..outputs.len()).map(|i| format!("output {i}")).collect();
    let outputs: Vec<(&str, Node)> = names.iter().map(String::as_str).zip(outputs.iter().copied()).collect();
    let program = Program::compile(graph, &outputs, gradient).unwrap();
    let mut workspace = Workspace::new(&program);
    let weights = fill(&program, &mut workspace, values);
    // Twice: leftovers of the first run must not matter.
    program.run(&mut workspace, &weights).unwrap();
    let bits = |x: &[f32]| x.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let first = bits(workspace.gradient(&program));
    program.run(&mut workspace, &weights).unwrap();
    assert_eq!(first, bits(workspace.gradient(&program)), "a second execution gives other bits");
    let outputs = names.iter().map(|name| workspace.output(&program, name).to_vec()).collect();
    (outputs, workspace.gradient(&program).to_vec())
}

/// Fills every input from the values, and returns the flat weights.
pub fn fill(program: &Program, workspace: &mut Workspace, values: &BTreeMap<String, Value<f32>>) -> Vec<f32> {
    let mut weights = vec![0.0; program.space().len()];
    for (name, value) in values {
        if let Ok(param) = program.space().find(name) {
            weights[param.range.clone()].copy_from_slice(value.floats());
        } else if program.input_shape(name).is_some() {
            match value {
                Value::Float(v) => workspace.floats_mut(program, name).unwrap().copy_from_slice(v),
                Value::Ids(v) => workspace.ids_mut(program, name).unwrap().copy_from_slice(v),
            }
        }
    }
    weights
}

/// The flat gradient by the reference interpreter.
pub fn reference_gradient(graph: &Graph, loss: Node, values: &BTreeMap<String, Value<f64>>) -> Vec<f64> {
    let mut g = graph.clone();
    let params = g.param_nodes();
    let gradients = g.gradient(loss, &params).unwrap();
    g.interpret(values, &gradients).unwrap().concat()
}

/// Largest difference relative to the largest value.
pub fn difference(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let scale = want.iter().fold(1e-30_f64, |a, x| a.max(x.abs()));
    got.iter().zip(want).map(|(&g, &w)| (f64::from(g) - w).abs()).fold(0.0, f64::max) / scale
}
