//! Compiled losses and gradients of small networks against burn (burn-flex, automatic differentiation in f64).

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]
#![expect(clippy::print_stdout, reason = "tells how near it was, with --nocapture")]

use std::collections::BTreeMap;
use std::path::Path;

use ontogeny_graph::{Convolution, DType, Gradient, Graph, Node, Program, Workspace};
use ontogeny_zoo::{Interface, Model, Read, VectorLoss};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value as Json, json};

/// A file of `tests/fixtures/burn`: shapes, and numbers as f64.
struct Fixture(BTreeMap<String, (Vec<usize>, Vec<f64>)>);

impl Fixture {
    fn read(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/burn");
        let bytes = fs_err::read(folder.join(format!("{name}.safetensors"))).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = file.tensors().into_iter().map(|(name, view)| {
            let data = view.data();
            let values = match view.dtype() {
                Dtype::F64 => chunks(data, f64::from_le_bytes),
                Dtype::F32 => chunks(data, |b| f64::from(f32::from_le_bytes(b))),
                Dtype::I32 => chunks(data, |b| f64::from(i32::from_le_bytes(b))),
                other => panic!("{name} is of {other:?}"),
            };
            (name, (view.shape().to_vec(), values))
        });
        Self(tensors.collect())
    }

    fn values(&self, name: &str) -> &[f64] {
        &self.0[name].1
    }

    /// A graph with the fixture's parameters and inputs, by name.
    fn leaves(&self) -> (Graph, BTreeMap<String, Node>) {
        let mut g = Graph::new();
        let mut nodes = BTreeMap::new();
        for (full, (shape, _)) in &self.0 {
            if let Some(name) = full.strip_prefix("weights.") {
                nodes.insert(name.to_owned(), g.param(name, shape));
            } else if let Some(name) = full.strip_prefix("input.") {
                // Targets of classification have one axis; every other input is of floats.
                let node = if shape.len() == 1 { g.input_ids(name, shape) } else { g.input(name, shape) };
                nodes.insert(name.to_owned(), node);
            }
        }
        (g, nodes)
    }
}

fn chunks<const N: usize>(data: &[u8], convert: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    data.chunks_exact(N).map(|chunk| convert(chunk.try_into().unwrap())).collect()
}

fn of_the_zoo(settings: Json, interface: Interface, batch: usize) -> (Graph, Node) {
    let model = Model::new(serde_json::from_value(settings).unwrap(), interface).unwrap();
    let (g, nodes) = model.graph(batch);
    (g, nodes.loss)
}

fn transformer(context: usize, vocabulary: usize, own: &Json, read: Read, batch: usize) -> (Graph, Node) {
    let mut settings = json!({
        "kind": "transformer", "layers": 1, "d_model": 16, "heads": 4, "context": context, "positions": "learned",
        "normalization": "none", "attention_biases": false,
    });
    for (key, value) in own.as_object().unwrap() {
        settings[key] = value.clone();
    }
    of_the_zoo(settings, Interface::Tokens { vocabulary, length: context, read }, batch)
}

fn linear(g: &mut Graph, of: &BTreeMap<String, Node>, name: &str, x: Node) -> Node {
    let y = g.matmul(x, of[&format!("{name}.W")]);
    g.add(y, of[&format!("{name}.b")])
}

fn cnn(fixture: &Fixture) -> (Graph, Node) {
    let (mut g, of) = fixture.leaves();
    let mut h = of["x"];
    for layer in 0..2 {
        let convolved = g.conv2d(h, of[&format!("conv.{layer}.W")], Convolution::default());
        let shift = g.per_channel(of[&format!("conv.{layer}.b")], convolved);
        let shifted = g.add(convolved, shift);
        let positive = g.relu(shifted);
        h = g.max_pool2d(positive, [2, 2], [2, 2], [0, 0]);
    }
    let h = g.reshape(h, &[8, 24]);
    let h = linear(&mut g, &of, "dense", h);
    let h = g.relu(h);
    let logits = linear(&mut g, &of, "out", h);
    let losses = g.cross_entropy(logits, of["y"]);
    let loss = g.mean_all(losses);
    (g, loss)
}

fn autoencoder(fixture: &Fixture) -> (Graph, Node) {
    let (mut g, of) = fixture.leaves();
    let hidden = g.einsum("bi,hi->bh", of["x"], of["W"]);
    let y = g.matmul(hidden, of["W"]);
    let y = g.add(y, of["b"]);
    let y = g.relu(y);
    let loss = g.mean_squared_error(y, of["x"]);
    (g, loss)
}

fn deep_linear(fixture: &Fixture) -> (Graph, Node) {
    let (mut g, of) = fixture.leaves();
    let mut h = of["x"];
    for layer in 0..5 {
        h = g.matmul(h, of[&format!("layers.{layer}.W")]);
    }
    let loss = g.mean_squared_error(h, of["y"]);
    (g, loss)
}

/// 2⁻²⁴ is 6e-8, and an entry of a gradient is the end of 10 to 60 roundings, each of a sum whose terms cancel a little;
/// they add up as their root, and norms and softmax multiply them by 10 at most: √60 · 10 · 6e-8 = 5e-6 of the largest
/// entry of the tensor. No kink lies nearer than 2e-5, so both precisions are on one side of each.
const TOLERANCE: f64 = 1e-5;

fn check(name: &str, build: impl Fn(&Fixture) -> (Graph, Node)) {
    let fixture = Fixture::read(name);
    let (g, loss) = build(&fixture);
    let program = Program::compile(&g, &[("loss", loss)], Gradient::All(loss)).unwrap();
    let mut workspace = Workspace::new(&program);
    let mut weights = vec![0.0_f32; program.space().len()];
    let n_params = program.space().iter().count();
    assert_eq!(fixture.0.keys().filter(|key| key.starts_with("weights.")).count(), n_params, "{name}");
    for param in program.space().iter() {
        let (shape, values) = &fixture.0[&format!("weights.{}", param.name)];
        assert_eq!(*shape, param.shape, "{name}: {}", param.name);
        weights[param.range.clone()].iter_mut().zip(values).for_each(|(to, &from)| *to = from as f32);
    }
    for (full, (_, values)) in &fixture.0 {
        let Some(input) = full.strip_prefix("input.") else { continue };
        if g.dtype(g.find(input).unwrap()) == DType::Ids {
            let ids: Vec<i32> = values.iter().map(|&x| x as i32).collect();
            workspace.ids_mut(&program, input).unwrap().copy_from_slice(&ids);
        } else {
            let floats: Vec<f32> = values.iter().map(|&x| x as f32).collect();
            workspace.floats_mut(&program, input).unwrap().copy_from_slice(&floats);
        }
    }
    program.run(&mut workspace, &weights).unwrap();

    let mut worst: f64 = 0.0;
    let mut compare = |what: &str, found: &[f32], expected: &[f64]| {
        assert_eq!(found.len(), expected.len(), "{name}: {what}");
        let scale = expected.iter().fold(0.0_f64, |a, x| a.max(x.abs()));
        for (i, (&found, expected)) in found.iter().zip(expected).enumerate() {
            let error = (f64::from(found) - expected).abs() / scale;
            worst = worst.max(error);
            // Written so that NaN fails.
            assert!(error <= TOLERANCE, "{name}: {what}[{i}] is {found}, burn says {expected}, largest {scale}");
        }
    };
    compare("loss", workspace.output(&program, "loss"), fixture.values("loss"));
    let gradient = workspace.gradient(&program);
    let (mut all, mut all_expected) = (Vec::new(), Vec::new());
    for param in program.space().iter() {
        let (found, expected) = (&gradient[param.range.clone()], fixture.values(&format!("gradient.{}", param.name)));
        all.extend_from_slice(found);
        all_expected.extend_from_slice(expected);
        // The gradient of a bias of keys is 0 but for rounding, for a softmax ignores a shift: among all only.
        if !param.name.ends_with("b_K") {
            compare(&param.name, found, expected);
        }
    }
    compare("gradient", &all, &all_expected);
    println!("{name}: {n_params} tensors, {} weights, worst {worst:.1e} of a tensor's largest entry", weights.len());
}

#[test]
fn gradients_agree_with_burn() {
    check("mlp", |_| {
        let interface = Interface::Vectors { inputs: 24, outputs: 10, loss: VectorLoss::CrossEntropy, image: None };
        let settings = json!({"kind": "mlp", "sizes": [24, 40, 33, 10], "activation": "relu", "biases": true});
        of_the_zoo(settings, interface, 32)
    });
    check("transformer", |_| {
        let own = json!({"d_mlp": 40, "activation": "relu"});
        transformer(3, 24, &own, Read::LastPosition { classes: 24 }, 24)
    });
    check("attention_only", |_| {
        let own = json!({"layers": 2, "heads": 2, "attention_only": true});
        transformer(12, 29, &own, Read::NEXT_TOKEN, 4)
    });
    check("language_model", |_| {
        let own = json!({
            "layers": 2, "heads": 2, "d_mlp": 32, "activation": "gelu_tanh", "normalization": "layer_norm",
            "attention_biases": true,
        });
        transformer(9, 29, &own, Read::NEXT_TOKEN, 4)
    });
    check("llama", |_| {
        let own = json!({
            "layers": 2, "d_mlp": 24, "activation": "silu", "gated_mlp": true, "mlp_biases": false, "key_value_heads": 1,
            "normalization": "rms_norm", "positions": "rotary",
        });
        transformer(9, 29, &own, Read::NEXT_TOKEN, 4)
    });
    check("cnn", cnn);
    check("autoencoder", autoencoder);
    check("deep_linear", deep_linear);
}
