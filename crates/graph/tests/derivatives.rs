//! Both derivative modes of every operation against central differences in f64.

#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

mod common;

use std::collections::BTreeMap;

use common::{random_values, transformer, widened};
use ontogeny_graph::{Convolution, Graph, Node, Value};

type Build = fn(&mut Graph, Node, Node) -> Node;

/// Operations on a `[3, 4]` and a `[4]` parameter, kept away from kinks by the random values.
const OPERATIONS: &[(&str, Build)] = &[
    ("add", |g, a, b| g.add(a, b)),
    ("sub", |g, a, b| g.sub(a, b)),
    ("mul", |g, a, b| g.mul(a, b)),
    ("div", |g, a, b| {
        let e = g.exp(b);
        g.div(a, e)
    }),
    ("select", |g, a, b| {
        let c = g.greater(a, b);
        g.select(c, a, b)
    }),
    ("neg", |g, a, _| g.neg(a)),
    ("exp", |g, a, _| g.exp(a)),
    ("log of square", |g, a, _| {
        let s = g.square(a);
        let one = g.constant(1.0);
        let s = g.add(s, one);
        g.log(s)
    }),
    ("log1p of square", |g, a, _| {
        let s = g.square(a);
        g.log1p(s)
    }),
    ("sqrt of exp", |g, a, _| {
        let e = g.exp(a);
        g.sqrt(e)
    }),
    ("recip of exp", |g, a, _| {
        let e = g.exp(a);
        g.recip(e)
    }),
    ("tanh", |g, a, _| g.tanh(a)),
    ("erf", |g, a, _| g.erf(a)),
    ("relu", |g, a, _| g.relu(a)),
    ("abs", |g, a, _| g.abs(a)),
    ("sigmoid", |g, a, _| g.sigmoid(a)),
    ("silu", |g, a, _| g.silu(a)),
    ("gelu", |g, a, _| g.gelu(a)),
    ("gelu_tanh", |g, a, _| g.gelu_tanh(a)),
    ("solu", |g, a, _| g.solu(a)),
    ("broadcast", |g, _, b| g.broadcast(b, &[2, 3, 4])),
    ("reshape", |g, a, _| g.reshape(a, &[2, 6])),
    ("permute", |g, a, _| g.permute(a, &[1, 0])),
    ("slice", |g, a, _| g.slice(a, 1, 1, 2)),
    ("pad", |g, a, _| g.pad(a, 0, 2, 1)),
    ("concat", |g, a, _| {
        let t = g.tanh(a);
        g.concat(&[a, t], 1)
    }),
    ("sum", |g, a, _| g.sum(a, &[0])),
    ("mean", |g, a, _| g.mean(a, &[1])),
    ("max", |g, a, _| g.max(a, &[1])),
    ("windows", |g, a, _| g.windows(a, 1, 2, 1, 2)),
    ("windows that leave a rest", |g, a, _| g.windows(a, 1, 2, 3, 1)),
    ("overlap", |g, a, _| g.overlap(a, 0, 2, 1, 10)),
    ("conv2d", |g, a, b| {
        let x = g.reshape(a, &[1, 1, 3, 4]);
        let t = g.tanh(x);
        let x = g.concat(&[x, t], 1);
        let kernel = g.reshape(b, &[1, 2, 2, 1]);
        g.conv2d(x, kernel, Convolution { stride: [2, 1], padding: [1, 0], dilation: [1, 2], groups: 1 })
    }),
    ("conv2d in groups", |g, a, b| {
        let x = g.reshape(a, &[1, 2, 2, 3]);
        let kernel = g.reshape(b, &[2, 1, 1, 2]);
        g.conv2d(x, kernel, Convolution { padding: [0, 1], groups: 2, ..Convolution::default() })
    }),
    ("conv1d", |g, a, b| {
        let x = g.reshape(a, &[2, 1, 6]);
        let kernel = g.reshape(b, &[2, 1, 2]);
        g.conv1d(x, kernel, Convolution { stride: [2], ..Convolution::default() })
    }),
    ("max_pool2d", |g, a, _| {
        let x = g.reshape(a, &[1, 1, 3, 4]);
        g.max_pool2d(x, [2, 2], [1, 2], [1, 0])
    }),
    ("avg_pool2d", |g, a, _| {
        let x = g.reshape(a, &[1, 1, 3, 4]);
        g.avg_pool2d(x, [2, 3], [2, 1], [0, 1])
    }),
    ("swiglu", |g, a, b| {
        let t = g.transpose(a);
        let twice = g.broadcast(b, &[3, 4]);
        let out = g.mul(twice, a);
        let t2 = g.tanh(t);
        g.swiglu(a, t, t2, out)
    }),
    ("rotary", |g, a, b| {
        let wide = g.einsum("ab,c->acb", a, b);
        let x = g.reshape(wide, &[3, 2, 8]);
        g.rotary(x, 0, 6, 10.0)
    }),
    ("grouped-query attention", |g, a, b| {
        let q = g.reshape(a, &[1, 3, 4, 1]);
        let k = g.reshape(b, &[1, 2, 2, 1]);
        let t = g.tanh(k);
        let scores = g.grouped_scores(q, k);
        let pattern = g.softmax(scores);
        g.grouped_values(pattern, t)
    }),
    ("frozen batch norm", |g, a, b| {
        let x = g.reshape(a, &[1, 4, 3]);
        let (t, e) = (g.tanh(b), g.exp(b));
        g.frozen_batch_norm(x, [t, e], [b, t], 1e-3)
    }),
    ("softmax", |g, a, _| g.softmax(a)),
    ("log_softmax", |g, a, _| g.log_softmax(a)),
    ("layer norm", |g, a, _| g.normalize(a, 1e-5)),
    ("rms norm", |g, a, _| g.rms_normalize(a, 1e-5)),
    ("matmul", |g, a, _| {
        let t = g.transpose(a);
        g.matmul(a, t)
    }),
    ("einsum with a batch label", |g, a, b| {
        let wide = g.broadcast(b, &[3, 2, 4]);
        g.einsum("ik,ijk->ij", a, wide)
    }),
    ("outer product", |g, a, b| g.einsum("ij,k->ikj", a, b)),
    ("gather", |g, a, _| {
        let ids = g.input_ids("ids", &[2, 2]);
        g.gather(a, ids)
    }),
    ("cross_entropy", |g, a, _| {
        let targets = g.input_ids("ids", &[3]);
        g.cross_entropy(a, targets)
    }),
    ("causal mask", |g, a, _| {
        let square = g.slice(a, 1, 0, 3);
        let masked = g.causal_mask(square);
        g.softmax(masked)
    }),
];

/// A scalar that mixes all entries with distinct weights, so that no error cancels.
fn mixed(g: &mut Graph, node: Node) -> Node {
    let n: usize = g.shape(node).iter().product();
    let flat = g.reshape(node, &[n]);
    let weights = g.iota(&[n], 0);
    let weights = g.scale(weights, 0.37);
    let weights = g.tanh(weights);
    let one = g.constant(1.3);
    let weights = g.add(weights, one);
    let square = g.square(flat);
    let sum = g.add(flat, square);
    let product = g.mul(sum, weights);
    g.sum(product, &[0])
}

fn shifted(
    values: &BTreeMap<String, Value<f64>>,
    params: &[String],
    directions: &[Vec<f64>],
    by: f64,
) -> BTreeMap<String, Value<f64>> {
    let mut moved = values.clone();
    for (name, direction) in params.iter().zip(directions) {
        let at = values[name].floats().iter().zip(direction).map(|(x, d)| x + by * d).collect();
        moved.insert(name.clone(), Value::Float(at));
    }
    moved
}

/// Checks g·d against differences of the loss, the tangent likewise, and H·d against differences of the gradient.
fn check(name: &str, mut g: Graph, loss: Node) {
    let params: Vec<String> = g.param_names().map(str::to_owned).collect();
    let nodes = g.param_nodes();
    let shapes: Vec<Vec<usize>> = nodes.iter().map(|&n| g.shape(n).to_vec()).collect();
    let gradient = g.gradient(loss, &nodes).unwrap();
    let inputs: Vec<Node> = shapes.iter().enumerate().map(|(i, s)| g.input(&format!("direction {i}"), s)).collect();
    let tangent = g.tangent(&[loss], &nodes, &inputs).unwrap();
    let curvature = g.hessian_vector(loss, &nodes, &inputs).unwrap();
    let values = widened(&random_values(&g, 42, 3));
    let directions: Vec<Vec<f64>> =
        (0..nodes.len()).map(|i| values[&format!("direction {i}")].floats().to_vec()).collect();
    let outputs = [&gradient[..], &tangent, &curvature].concat();
    let results = g.interpret(&values, &outputs).unwrap();
    let (first, rest) = results.split_at(nodes.len());
    let along: f64 = first.iter().flatten().zip(directions.iter().flatten()).map(|(g, d)| g * d).sum();
    let forward = rest[0][0];
    let second = rest[1..].concat();

    // Central differences: error h²·f‴/6 + ε·|f|/h, smallest near h = 1e-5.
    let h = 1e-5;
    let up = shifted(&values, &params, &directions, h);
    let down = shifted(&values, &params, &directions, -h);
    let at = |v: &BTreeMap<String, Value<f64>>, nodes: &[Node]| g.interpret(v, nodes).unwrap().concat();
    let slope = (at(&up, &[loss])[0] - at(&down, &[loss])[0]) / (2.0 * h);
    let scale = slope.abs().max(1.0);
    assert!((along - slope).abs() < 1e-6 * scale, "{name}: reverse {along}, differences {slope}");
    assert!((forward - slope).abs() < 1e-6 * scale, "{name}: forward {forward}, differences {slope}");
    let bend: Vec<f64> =
        at(&up, &gradient).iter().zip(at(&down, &gradient)).map(|(u, d)| (u - d) / (2.0 * h)).collect();
    let scale = bend.iter().fold(1.0_f64, |a, x| a.max(x.abs()));
    for (got, want) in second.iter().zip(&bend) {
        assert!((got - want).abs() < 1e-5 * scale, "{name}: H·v {got}, differences {want}");
    }
}

#[test]
fn every_operation_has_both_modes_and_second_derivatives() {
    for (name, build) in OPERATIONS {
        let mut g = Graph::new();
        let a = g.param("a", &[3, 4]);
        let b = g.param("b", &[4]);
        let node = build(&mut g, a, b);
        let loss = mixed(&mut g, node);
        check(name, g, loss);
    }
}

#[test]
fn a_transformer_has_both_modes_and_second_derivatives() {
    let t = transformer(3, 5, 3, 8, 2, 12);
    check("transformer", t.graph, t.loss);
}

/// A cotangent counts as constant, even one that depends on the same parameter: vᵀ·∂(x²)/∂x = 2xv with v = x³.
#[test]
fn vector_jacobian_holds_its_cotangent() {
    let mut g = Graph::new();
    let x = g.param("x", &[2]);
    let square = g.square(x);
    let cotangent = g.mul(square, x);
    let product = g.vector_jacobian(square, cotangent, &[x]).unwrap()[0];
    let values = BTreeMap::from([("x".to_owned(), Value::Float(vec![2.0, -3.0]))]);
    assert_eq!(g.interpret::<f64>(&values, &[product]).unwrap()[0], [32.0, 162.0]);
    let scalar = g.constant(1.0);
    assert!(g.vector_jacobian(square, scalar, &[x]).is_err());
}
