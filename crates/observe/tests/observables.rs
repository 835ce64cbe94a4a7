//! Observables on networks made by hand, where every number is known; and what they refuse.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

use std::f64::consts::TAU;
use std::path::Path;

use ontogeny_graph::{Column, ColumnData, DataSet, RunError};
use ontogeny_observe::{Evaluator, FourierMeasures, ObserveError, weight_norms};
use ontogeny_zoo::{Interface, Model, NetworkConfig, Task, TaskConfig, VectorLoss};
use serde_json::{Value, from_value, json};

fn arithmetic(p: usize, operation: &str) -> Task {
    let config: TaskConfig = from_value(json!({
        "kind": "modular_arithmetic", "p": p, "operation": operation, "train_fraction": 0.6,
    }))
    .unwrap();
    config.prepare(0, Path::new(".")).unwrap()
}

/// A one-layer transformer without norms, with `changes` to its settings; null takes one away.
fn transformer(changes: &Value) -> NetworkConfig {
    let mut settings = json!({
        "kind": "transformer", "layers": 1, "d_model": 6, "heads": 1, "d_mlp": 2, "activation": "identity",
        "normalization": "none", "positions": "none", "mlp_biases": false,
    });
    let table = settings.as_object_mut().unwrap();
    for (key, value) in changes.as_object().unwrap() {
        table.insert(key.clone(), value.clone());
    }
    table.retain(|_, value| !value.is_null());
    from_value(settings).unwrap()
}

/// Flat weights from an entry for each parameter and place in it: row, then column, of its last two axes.
fn weights_by(model: &Model, entry: impl Fn(&str, usize, usize) -> f64) -> Vec<f32> {
    let params = model.space().iter();
    params
        .flat_map(|param| {
            let width = *param.shape.last().unwrap();
            let place = move |i| (i / width, i % width);
            let entry = &entry;
            param.range.clone().map(move |i| {
                let (row, column) = place(i - param.range.start);
                entry(&param.name, row, column) as f32
            })
        })
        .collect()
}

/// A network without a hidden layer whose weights are the identity: its logits are its inputs.
fn identity(loss: VectorLoss) -> (Model, Vec<f32>) {
    let network = json!({ "kind": "mlp", "sizes": [3, 3], "activation": "identity", "biases": false });
    let interface = Interface::Vectors { inputs: 3, outputs: 3, loss, image: None };
    let model = Model::new(from_value(network).unwrap(), interface).unwrap();
    let weights = weights_by(&model, |_, i, j| f64::from(i == j));
    (model, weights)
}

fn vectors(rows: &[[f32; 3]], y: ColumnData) -> DataSet {
    let width = if matches!(y, ColumnData::Ids(_)) { 1 } else { 3 };
    let column = |name: &str, width, data| Column { name: name.to_owned(), width, data };
    let x = ColumnData::Float(rows.concat());
    DataSet::new(rows.len(), vec![column("x", 3, x), column("y", width, y)]).unwrap()
}

/// Rounding of a loss of order 1 in f32: a few ulp of 1.2e-7.
const F32: f64 = 1e-6;

#[test]
fn a_tie_counts_as_wrong() {
    let (model, weights) = identity(VectorLoss::CrossEntropy);
    let mut evaluator = Evaluator::new(&model).unwrap();
    let e = |x: f64| x.exp();
    for (logits, target, loss, accuracy) in [
        ([2.0, 0.0, -1.0], 0, (1.0 + e(-2.0) + e(-3.0)).ln(), 1.0),
        ([0.0, 1.0, 0.0], 0, (2.0 + e(1.0)).ln(), 0.0),
        ([1.0, 1.0, 0.0], 0, (2.0 + e(-1.0)).ln(), 0.0),
        ([0.0, 1.0, 1.0], 2, (2.0 + e(-1.0)).ln(), 0.0),
        ([0.0, 0.0, 0.0], 1, 3_f64.ln(), 0.0),
        ([-1.0, -1.0, 0.5], 2, (1.0 + 2.0 * e(-1.5)).ln(), 1.0),
    ] {
        let data = vectors(&[logits], ColumnData::Ids(vec![target]));
        let found = evaluator.evaluate(&weights, &data).unwrap();
        assert_eq!(found.accuracy, Some(accuracy), "{logits:?}, {target}");
        assert!((found.loss - loss).abs() < F32, "{logits:?}, {target}: {found:?}");
    }
}

#[test]
fn every_example_counts_once() {
    // More examples than one execution takes, and not a multiple of them.
    let (model, weights) = identity(VectorLoss::CrossEntropy);
    let n = 1303;
    let rows = vec![[0.0, 3.0, 0.0]; n];
    let targets = (0..n).map(|i| i32::from(i < 1000)).collect();
    let data = vectors(&rows, ColumnData::Ids(targets));
    let mut evaluator = Evaluator::new(&model).unwrap();
    let found = evaluator.evaluate(&weights, &data).unwrap();
    assert_eq!(found.accuracy, Some(1000.0 / 1303.0));
    let all = (2.0 + 3_f64.exp()).ln();
    let expected = all - 3.0 * 1000.0 / 1303.0;
    assert!((found.loss - expected).abs() < F32, "{found:?}");
}

#[test]
fn a_squared_error_has_no_accuracy() {
    let (model, weights) = identity(VectorLoss::MeanSquared);
    let data = vectors(&[[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]], ColumnData::Float(vec![1.0, 2.0, 0.0, 0.0, 0.0, 0.0]));
    let mut evaluator = Evaluator::new(&model).unwrap();
    let found = evaluator.evaluate(&weights, &data).unwrap();
    assert_eq!((found.loss, found.accuracy), (1.5, None)); // 9 over three outputs and two examples
}

#[test]
fn a_squared_error_from_one_hot_targets_has_an_accuracy() {
    let (model, weights) = identity(VectorLoss::MeanSquared);
    let y = ColumnData::Float(vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    let data = vectors(&[[0.9, 0.1, 0.0], [0.0, 1.0, 2.0]], y);
    let found = Evaluator::new(&model).unwrap().evaluate(&weights, &data).unwrap();
    assert_eq!(found.accuracy, Some(0.5));
}

#[test]
fn norms_add_up_to_the_total() {
    let network = transformer(&json!({
        "layers": 2, "normalization": "layer_norm", "positions": "learned", "mlp_biases": true,
        "attention_biases": true, "unembed_bias": true,
    }));
    let model = Model::new(network, arithmetic(5, "add").interface).unwrap();
    let labels = ["total", "embed", "pos_embed", "norm", "attn", "mlp", "unembed"];
    // With weights of 2 a norm is twice the root of the number of weights: d = 6, V = 6, 3 positions, 2 neurons.
    let counts = [36, 18, 5 * 12, 2 * (4 * 36 + 4 * 6), 2 * (2 * 12 + 2 + 6), 36 + 6];
    let norms = weight_norms(&model, &vec![2.0; model.space().len()]).unwrap();
    assert_eq!(norms.dims[0].1, labels);
    for (label, count) in labels[1..].iter().zip(counts) {
        let expected = 2.0 * f64::from(count).sqrt();
        assert!((norms.get(label).unwrap() - expected).abs() < 1e-12, "{label}");
    }
    for seed in 0..3 {
        let norms = weight_norms(&model, &model.initial_weights(seed)).unwrap();
        let parts: f64 = norms.values[1..].iter().map(|norm| norm * norm).sum();
        let total = norms.values[0] * norms.values[0];
        assert!((parts / total - 1.0).abs() < 1e-12, "{parts} {total}");
    }
}

/// Attention sums the waves of frequency 2 of a and b, which two linear neurons read, and unembeds them with waves of
/// frequency 1. The waves of frequency 3 that they read too are zero in the embedding of `=`, the last token.
fn weights_of_one_frequency(model: &Model, p: usize) -> Vec<f32> {
    let wave = |k: usize, x: usize, of_sine: usize| {
        let angle = TAU * (k * x) as f64 / p as f64;
        if of_sine == 1 { angle.sin() } else { angle.cos() }
    };
    weights_by(model, |name, row, column| match (name, row, column) {
        ("embed.W_E", token, 0 | 1) if token < p => wave(2, token, column),
        ("embed.W_E", token, 4 | 5) if token < p => wave(3, token, column - 4),
        ("blocks.0.attn.W_V" | "blocks.0.attn.W_O", 0 | 1, _) => f64::from(row == column),
        ("blocks.0.mlp.W_in", ..) if row % 2 == column => 1.0,
        ("blocks.0.mlp.W_out", ..) => f64::from(row + 2 == column),
        ("unembed.W_U", 2 | 3, class) => 5.0 * wave(1, class, row - 2),
        _ => 0.0,
    })
}

#[test]
fn a_network_of_one_frequency_is_measured_as_such() {
    let p = 7;
    let task = arithmetic(p, "add");
    let model = Model::new(transformer(&json!({})), task.interface).unwrap();
    let weights = weights_of_one_frequency(&model, p);
    let mut measures = FourierMeasures::new(&model, &task).unwrap();
    let found = measures.measure(&weights).unwrap();
    assert_eq!(found.keys, [2]);
    assert_eq!(found.n_key_neurons, [0, 2, 0]);
    // √(Σcos² + Σsin²) over p residues.
    for (norm, expected) in found.embedding_norms.iter().zip([0.0, 7.0, 7.0]) {
        assert!((norm - f64::sqrt(expected)).abs() < F32, "{norm}");
    }
    // Waves of a and of b alone have no part along waves of a + b, and their mean is zero: restricted logits vanish,
    // and leaving them out changes nothing.
    let train = &task.split("train").unwrap().data;
    let mut evaluator = Evaluator::new(&model).unwrap();
    let train_loss = evaluator.evaluate(&weights, train).unwrap().loss;
    assert!((train_loss - 7_f64.ln()).abs() > 0.1, "{train_loss}");
    for (label, expected) in [
        ("restricted_loss", 7_f64.ln()),
        ("restricted_loss_train", 7_f64.ln()),
        ("restricted_loss_test", 7_f64.ln()),
        ("excluded_loss", train_loss),
        ("gini_embed", 1.0 / 3.0),
        ("gini_unembed", 2.0 / 3.0),
        // cos² + sin²: twice for each residue's embedding, once for each of p + 1 unembeddings; then the ones.
        ("sum_of_squares", 14.0 + 25.0 * 8.0 + 2.0 + 2.0 + 6.0 + 2.0),
        ("n_key_frequencies", 1.0),
    ] {
        let value = found.measured.get(label).unwrap();
        let error = (value - expected).abs() / expected.max(1.0);
        assert!(error < F32, "{label}: {value} for {expected}");
    }
}

#[test]
fn a_network_of_zeros_has_no_frequencies() {
    let task = arithmetic(5, "add");
    let model = Model::new(transformer(&json!({})), task.interface).unwrap();
    let weights = vec![0.0; model.space().len()];
    let found = FourierMeasures::new(&model, &task).unwrap().measure(&weights).unwrap();
    assert_eq!(found.keys, [0; 0]);
    assert_eq!(found.measured.get("gini_embed"), None);
    for label in ["restricted_loss", "excluded_loss"] {
        let loss = found.measured.get(label).unwrap();
        assert!((loss - 5_f64.ln()).abs() < F32, "{label}: {loss}");
    }
    // All classes tie everywhere.
    let all = &task.split("all").unwrap().data;
    let found = Evaluator::new(&model).unwrap().evaluate(&weights, all).unwrap();
    assert_eq!(found.accuracy, Some(0.0));
    assert!((found.loss - 5_f64.ln()).abs() < F32);
}

#[test]
fn a_tied_network_unembeds_with_its_embedding() {
    let task = arithmetic(7, "add");
    let [tied, free] = [true, false].map(|tied| {
        let network = transformer(&json!({ "tied_unembed": tied }));
        Model::new(network, task.interface).unwrap()
    });
    let wave = |x: usize, y: usize| ((3 * x + 5 * y * y) as f64).sin();
    let entry = |name: &str, row: usize, column: usize| match name {
        "embed.W_E" => wave(row, column),
        "unembed.W_U" => wave(column, row),
        _ => wave(row + name.len(), column),
    };
    let measure = |model: &Model| {
        let weights = weights_by(model, entry);
        let mut measures = FourierMeasures::new(model, &task).unwrap();
        measures.measure(&weights).unwrap()
    };
    let (tied, free) = (measure(&tied), measure(&free));
    let gini = |found: &ontogeny_observe::FourierProgress| found.measured.get("gini_unembed");
    assert!(gini(&tied).is_some());
    assert_eq!(gini(&tied), gini(&free));
    assert_eq!(tied.embedding_norms, free.embedding_norms);
}

#[test]
fn networks_and_tasks_without_the_circuit_are_refused() {
    let attention_only = json!({ "attention_only": true, "d_mlp": null, "activation": null });
    for (changes, p, operation, found) in [
        (attention_only, 5, "add", "a network without an MLP"),
        (json!({ "layers": 0 }), 5, "add", "a network without an MLP"),
        (json!({ "layers": 2 }), 5, "add", "a network of several layers"),
        (json!({}), 5, "sub", "targets that are not a + b modulo p"),
        (json!({}), 2, "add", "4 examples of 2 classes"),
    ] {
        let task = arithmetic(p, operation);
        let model = Model::new(transformer(&changes), task.interface).unwrap();
        let error = FourierMeasures::new(&model, &task).unwrap_err();
        let expected = format!(
            "`fourier` needs a one-layer transformer with an MLP on all pairs of addition modulo p ≥ 3; this run has {found}"
        );
        assert_eq!(error.to_string(), expected);
    }
}

/// Every observable on the same weights: evaluation, norms, Fourier measures.
fn measure_all(model: &Model, task: &Task, weights: &[f32]) -> [Result<(), ObserveError>; 3] {
    let data = &task.split("all").unwrap().data;
    let mut evaluator = Evaluator::new(model).unwrap();
    let mut fourier = FourierMeasures::new(model, task).unwrap();
    [
        evaluator.evaluate(weights, data).map(drop),
        weight_norms(model, weights).map(drop),
        fourier.measure(weights).map(drop),
    ]
}

fn non_finite(result: Result<(), ObserveError>) -> String {
    match result {
        Err(ObserveError::NonFinite { node }) => node,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_parameter_that_is_not_finite_is_named() {
    let task = arithmetic(5, "add");
    let model = Model::new(transformer(&json!({})), task.interface).unwrap();
    for param in model.space().iter() {
        for value in [f32::NAN, f32::INFINITY] {
            let mut weights = model.initial_weights(0);
            weights[param.range.start] = value;
            for result in measure_all(&model, &task, &weights) {
                assert_eq!(non_finite(result), param.name, "{value}");
            }
        }
    }
    // No logit depends on the unembedding of `=`, but norms do.
    let mut weights = model.initial_weights(0);
    *weights.last_mut().unwrap() = f32::NAN;
    let [evaluation, norms, fourier] = measure_all(&model, &task, &weights);
    assert!(evaluation.is_ok());
    assert_eq!(non_finite(norms), "unembed.W_U");
    assert_eq!(non_finite(fourier), "unembed.W_U");
}

#[test]
fn an_activation_that_overflows_is_named() {
    let task = arithmetic(5, "add");
    let model = Model::new(transformer(&json!({})), task.interface).unwrap();
    let weights: Vec<f32> = model.initial_weights(0).iter().map(|w| w * 1e20).collect();
    let [evaluation, norms, fourier] = measure_all(&model, &task, &weights);
    assert!(norms.is_ok());
    for result in [evaluation, fourier] {
        let node = non_finite(result);
        assert!(node.contains("attn"), "{node}: the first product of two weights");
    }
}

#[test]
fn weights_of_another_length_and_no_examples_are_refused() {
    let task = arithmetic(5, "add");
    let model = Model::new(transformer(&json!({})), task.interface).unwrap();
    let weights = model.initial_weights(0);
    for result in measure_all(&model, &task, &weights[1..]) {
        assert!(
            matches!(
                result,
                Err(ObserveError::Run(RunError::Weights { expected, found }))
                    if expected == weights.len() && found + 1 == expected
            ),
            "{result:?}"
        );
    }
    let none = task.split("all").unwrap().data.rows(&[]);
    let error = Evaluator::new(&model).unwrap().evaluate(&weights, &none).unwrap_err();
    assert_eq!(error.to_string(), "`loss` needs at least one example; this run has an empty data set");
}
