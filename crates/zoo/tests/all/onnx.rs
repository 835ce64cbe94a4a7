//! ONNX networks against PyTorch, which made them: logits, losses and gradients, of their own weights and of checkpoints.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ontogeny_graph::{Gradient, Program, Value, Workspace};
use ontogeny_zoo::{
    Array, Interface, Model, NameMap, NetworkConfig, OnnxConfig, Read, VectorLoss, read_arrays, read_tensors,
};

const TOKENS: Interface = Interface::Tokens { vocabulary: 11, length: 6, read: Read::NEXT_TOKEN };

fn vectors(inputs: usize, image: Option<[usize; 3]>) -> Interface {
    Interface::Vectors { inputs, outputs: 3, loss: VectorLoss::CrossEntropy, image }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onnx")
}

fn load(file: &str, constants: &[&str]) -> OnnxConfig {
    let mut network = OnnxConfig::new(file, constants.iter().map(|&name| name.to_owned()).collect());
    network.read(&folder()).unwrap();
    network
}

fn model(network: OnnxConfig, interface: Interface) -> Model {
    Model::new(NetworkConfig::Onnx(network), interface).unwrap()
}

/// What PyTorch computed with a set of weights.
struct Expected {
    arrays: BTreeMap<String, Array>,
}

impl Expected {
    fn read(name: &str) -> Self {
        let (arrays, unread) = read_arrays(folder().join(format!("{name}.npz"))).unwrap();
        assert!(unread.is_empty(), "{unread:?}");
        Self { arrays: arrays.into_iter().map(|array| (array.name.clone(), array)).collect() }
    }

    fn values(&self, name: &str) -> &[f64] {
        &self.arrays.get(name).unwrap_or_else(|| panic!("no array `{name}`")).values
    }
}

/// Largest difference, as a share of the largest value expected.
fn error(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
    found.iter().zip(expected).fold(0.0_f64, |m, (a, b)| m.max((a - b).abs())) / largest
}

/// Compares logits, loss and gradients: in f64 through the reference interpreter, where only constants of f32 are rounded (some
/// 20 operations deep, each 6e-8), and in f32 as a program runs. `names` are PyTorch's for parameters that have two.
fn compare(model: &Model, weights: &[f32], expected: &Expected, which: usize, names: &[(&str, &str)]) {
    const BATCH: usize = 4;
    let (graph, nodes) = model.graph(BATCH);
    let program =
        Program::compile(&graph, &[("logits", nodes.logits), ("loss", nodes.loss)], Gradient::All(nodes.loss)).unwrap();
    let mut workspace = Workspace::new(&program);
    let (input, targets) = (expected.values("input"), expected.values("targets"));
    let ids = |values: &[f64]| values.iter().map(|&x| x as i32).collect::<Vec<_>>();
    let mut given: BTreeMap<String, Value<f64>> = BTreeMap::new();
    if let Interface::Tokens { .. } = model.interface() {
        workspace.ids_mut(&program, "tokens").unwrap().copy_from_slice(&ids(input));
        given.insert("tokens".to_owned(), Value::Ids(ids(input)));
    } else {
        let floats: Vec<f32> = input.iter().map(|&x| x as f32).collect();
        workspace.floats_mut(&program, "x").unwrap().copy_from_slice(&floats);
        workspace.ids_mut(&program, "y").unwrap().copy_from_slice(&ids(targets));
        given.insert("x".to_owned(), Value::Float(input.to_vec()));
        given.insert("y".to_owned(), Value::Ids(ids(targets)));
    }
    program.run(&mut workspace, weights).unwrap();
    let wide = |values: &[f32]| values.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
    for (param, values) in model.tensors(weights) {
        given.insert(param.name.clone(), Value::Float(wide(values)));
    }
    let exact = graph.interpret(&given, &[nodes.logits, nodes.loss]).unwrap();
    for (at, name) in ["logits", "loss"].into_iter().enumerate() {
        let wanted = expected.values(&format!("{which}.{name}"));
        let (in_f64, in_f32) = (error(&exact[at], wanted), error(&wide(workspace.output(&program, name)), wanted));
        assert!(in_f64 < 2e-6, "{name}: {in_f64:e} from PyTorch in f64");
        assert!(in_f32 < 1e-5, "{name}: {in_f32:e} from PyTorch in f32");
    }
    let gradient = workspace.gradient(&program);
    let mut n = 0;
    for param in model.space().iter() {
        let name = names.iter().find(|(own, _)| *own == param.name).map_or(param.name.as_str(), |(_, theirs)| theirs);
        let wanted = expected.values(&format!("{which}.gradient.{name}"));
        let own = wide(&gradient[param.range.clone()]);
        // Gradients are compared with the largest of the tensor, or with 1e-3 where all of them nearly cancel.
        let largest = wanted.iter().fold(1e-3_f64, |m, x| m.max(x.abs()));
        let difference = own.iter().zip(wanted).fold(0.0_f64, |m, (a, b)| m.max((a - b).abs()));
        assert!(difference < 1e-4 * largest, "gradient of {name}: {difference:e} of {largest:e}");
        n += 1;
    }
    let all = expected.arrays.keys().filter(|name| name.starts_with(&format!("{which}.gradient."))).count();
    assert_eq!(n, all, "every parameter of PyTorch is one here");
}

/// A file of one of the four networks.
struct Case {
    network: &'static str,
    file: &'static str,
    interface: Interface,
    /// What is no weight, where the file does not tell.
    constants: &'static [&'static str],
    /// PyTorch's names of parameters that have two.
    names: &'static [(&'static str, &'static str)],
}

fn cases() -> Vec<Case> {
    let case = |network, file, interface| Case { network, file, interface, constants: &[], names: &[] };
    let images = vectors(128, Some([2, 8, 8]));
    vec![
        case("mlp", "mlp.onnx", vectors(6, None)),
        case("mlp", "mlp-external.onnx", vectors(6, None)),
        case("mlp", "mlp-torchscript.onnx", vectors(6, None)),
        case("cnn", "cnn.onnx", images),
        case("cnn", "cnn-torchscript.onnx", images),
        case("encoder", "encoder.onnx", TOKENS),
        case("encoder", "encoder-torchscript.onnx", TOKENS),
        Case { names: &[("head.weight", "embed.weight")], ..case("decoder", "decoder.onnx", TOKENS) },
        Case { constants: &["blocks.0.mask", "blocks.1.mask"], ..case("decoder", "decoder-torchscript.onnx", TOKENS) },
    ]
}

#[test]
fn logits_and_gradients_are_those_of_pytorch_with_the_files_own_weights() {
    for Case { network: name, file, interface, constants, names } in cases() {
        println!("{file}");
        let network = load(file, constants);
        // Whether the decoder's embedding is tied or was merged, its file does not tell.
        let weights = match network.own_weights() {
            Err(error) if file == "decoder.onnx" => {
                assert!(
                    error.to_string().contains("initialiser `embed.weight`: found embed.weight missing"),
                    "{error}"
                );
                model(network.clone(), interface).initial_weights(0)
            }
            weights => weights.unwrap(),
        };
        compare(&model(network, interface), &weights, &Expected::read(name), 0, names);
    }
}

#[test]
fn logits_and_gradients_are_those_of_pytorch_with_the_weights_of_a_checkpoint() {
    for Case { network: name, file, interface, constants, names } in cases() {
        println!("{file}");
        let network = load(file, constants);
        let checkpoint = read_tensors(folder().join(format!("{name}-1.pt"))).unwrap();
        let weights = network.weights_from(&checkpoint, &NameMap::default()).unwrap();
        assert!(weights.iter().all(|x| x.is_finite()));
        compare(&model(network, interface), &weights, &Expected::read(name), 1, names);
    }
}
