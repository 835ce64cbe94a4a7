//! Curvature, weights and activations against a PyTorch fixture that has every matrix in full.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

use std::path::Path;

use ontogeny_graph::{Column, ColumnData, DataSet};
use ontogeny_observe::{Checkpoint, Measured, Observed, Subject};
use ontogeny_zoo::{Interface, Model, Split, Task, VectorLoss};
use serde_json::{Value, from_value, json};

/// See `make_spectra.py` beside it for every definition.
fn fixture() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/torch/spectra.json");
    serde_json::from_str(&fs_err::read_to_string(path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

/// Numbers that are exact in f32, as all inputs of the fixture are.
fn floats(value: &Value) -> Vec<f32> {
    numbers(value).iter().map(|&x| x as f32).collect()
}

fn measure(kind: &str, settings: Value) -> Measured {
    let fixture = fixture();
    let y: Vec<i32> = numbers(&fixture["y"]).iter().map(|&y| y as i32).collect();
    let n = y.len();
    let columns = vec![
        Column { name: "x".to_owned(), width: 3, data: ColumnData::Float(floats(&fixture["x"])) },
        Column { name: "y".to_owned(), width: 1, data: ColumnData::Ids(y) },
    ];
    let data = DataSet::new(n, columns).unwrap();
    let split = Split { name: "train", indices: (0..n).collect(), data, subtasks: Vec::new() };
    let interface = Interface::Vectors { inputs: 3, outputs: 4, loss: VectorLoss::CrossEntropy, image: None };
    let task = Task {
        interface,
        splits: vec![split],
        endless: None,
        subtasks: None,
        environment: None,
        words: None,
        corpus: None,
    };
    let network = json!({"kind": "mlp", "sizes": [3, 6, 4], "activation": "tanh"});
    let model = Model::new(from_value(network).unwrap(), interface).unwrap();
    let observed = Observed::deserialize_kind(kind, settings).unwrap();
    let mut instrument = observed.settings().build(&Subject { model: &model, task: &task, seed: 0 }).unwrap();
    instrument.measure(&Checkpoint::alone(&floats(&fixture["weights"]))).unwrap().value
}

#[test]
fn all_eigenvalues_agree() {
    for matrix in ["hessian", "gauss_newton", "empirical_fisher"] {
        let expected = numbers(&fixture()[matrix]);
        let found = measure("curvature", json!({"matrix": matrix, "top": expected.len()}));
        for (at, wanted) in expected.iter().enumerate() {
            let value = found.get(&format!("eigenvalue_{}", at + 1)).unwrap();
            // Products in f32, each of a few dozen terms, move an eigenvalue by a few ε of the norm of the matrix.
            let bound = 16.0 * f64::from(f32::EPSILON) * expected[0];
            assert!((value - wanted).abs() < bound, "{matrix} {at}: {value}, {wanted}");
        }
        let trace: f64 = expected.iter().sum();
        assert!((found.get("trace").unwrap() - trace).abs() < 1e-5 * expected[0]);
    }
}

#[test]
fn scores_of_weights_and_activations_agree() {
    let fixture = fixture();
    let found = measure("weight_statistics", json!({}));
    let matrices = fixture["matrices"].as_object().unwrap();
    assert_eq!(found.dims[0].1, matrices.keys().cloned().collect::<Vec<String>>());
    for (own, (name, expected)) in found.values.chunks_exact(9).zip(matrices) {
        for (score, (a, b)) in found.dims[1].1.iter().zip(own.iter().zip(numbers(expected))) {
            // f64 on both sides, of weights that are exact.
            assert!((a - b).abs() < 1e-11 * b.abs().max(1.0), "{name}.{score}: {a}, {b}");
        }
    }
    let found = measure("activation_statistics", json!({"neighbours": 5}));
    assert_eq!(found.dims[0].1, ["layers.0.hook_post"]);
    let expected = numbers(&fixture["activations"]);
    for (score, (a, b)) in found.dims[1].1.iter().zip(found.values.iter().zip(expected)) {
        // Activations in f32; logarithms of ratios of distances take up a few of their ε.
        assert!((a - b).abs() < 1e-5 * b.abs().max(1.0), "{score}: {a}, {b}");
    }
}
