//! Curvature against Hessians that are known, and against products with unit vectors.

use std::path::Path;

use ontogeny_graph::{Column, ColumnData, DataSet};
use ontogeny_stats::symmetric_eigenvalues;
use ontogeny_zoo::{Interface, Model, Split, Task, TaskConfig, VectorLoss};
use serde_json::{Value, from_value, json};

use super::*;

/// Rows of normals with growing spread, so that no two directions of their covariance are alike.
fn inputs(seed: u32, n: usize, width: usize) -> Vec<f32> {
    let mut x = vec![0.0; n * width];
    Stream::new(seed, Purpose::Data, 0).normals(0, 0, &mut x);
    x.chunks_exact_mut(width).for_each(|row| row.iter_mut().enumerate().for_each(|(i, x)| *x *= 0.5 + i as f32));
    x
}

/// A task of vectors with one split.
fn vectors(x: &[f32], width: usize, y: ColumnData, outputs: usize, loss: VectorLoss) -> Task {
    let n = x.len() / width;
    let y_width = if matches!(y, ColumnData::Ids(_)) { 1 } else { outputs };
    let columns = vec![
        Column { name: "x".to_owned(), width, data: ColumnData::Float(x.to_vec()) },
        Column { name: "y".to_owned(), width: y_width, data: y },
    ];
    let data = DataSet::new(n, columns).unwrap();
    let split = Split { name: "train", indices: (0..n).collect(), data, subtasks: Vec::new() };
    let interface = Interface::Vectors { inputs: width, outputs, loss, image: None };
    Task { interface, splits: vec![split], endless: None, subtasks: None, environment: None, corpus: None, words: None }
}

fn model(task: &Task, network: Value) -> Model {
    Model::new(from_value(network).unwrap(), task.interface).unwrap()
}

fn modular(network: &Value) -> (Task, Model) {
    let config: TaskConfig =
        from_value(json!({"kind": "modular_arithmetic", "p": 5, "operation": "add", "train_fraction": 0.8})).unwrap();
    let task = config.prepare(0, Path::new(".")).unwrap();
    let model = model(&task, network.clone());
    (task, model)
}

/// A transformer small enough for its whole matrix.
fn tiny_transformer() -> Value {
    json!({
        "kind": "transformer", "layers": 1, "d_model": 4, "heads": 1, "d_mlp": 5, "activation": "gelu",
        "normalization": "layer_norm", "positions": "learned",
    })
}

fn measure(settings: &CurvatureSettings, task: &Task, model: &Model, weights: &[f32]) -> Findings {
    let mut instrument = settings.build(&Subject { model, task, seed: 7 }).unwrap();
    let found = instrument.measure(&Checkpoint::alone(weights)).unwrap();
    assert_eq!(found.value.dims, instrument.dims());
    found
}

fn value(found: &Findings, quantity: &str) -> f64 {
    found.value.get(quantity).unwrap_or_else(|| panic!("no {quantity}"))
}

fn error(found: &Findings, quantity: &str) -> f64 {
    let at = found.value.dims[0].1.iter().position(|label| label == quantity).unwrap();
    found.standard_errors.as_ref().unwrap()[at]
}

/// Holds what was found to a known spectrum, descending: eigenvalues to the rounding of f32 products, sums exactly or within
/// `n_errors` standard errors.
fn assert_spectrum(found: &Findings, expected: &[f64], alpha: f64, n_errors: f64) {
    let scale = expected.iter().fold(0.0_f64, |a, x| a.max(x.abs()));
    let rounding = 1e-5 * scale;
    for (at, wanted) in expected.iter().enumerate() {
        if let Some(eigenvalue) = found.value.get(&format!("eigenvalue_{}", at + 1)) {
            assert!(
                (eigenvalue - wanted).abs() < rounding.max(TOLERANCE * scale * f64::from(u8::from(n_errors > 0.0))),
                "{at}: {eigenvalue}, {wanted}"
            );
        }
    }
    let sum = |f: &dyn Fn(f64) -> f64| expected.iter().map(|&x| f(x)).sum::<f64>();
    let (trace, square) = (sum(&|x| x), sum(&|x| x * x));
    let n = expected.len() as f64;
    for (quantity, wanted, slack) in [
        ("trace", trace, n * rounding),
        ("frobenius_norm", square.sqrt(), n.sqrt() * rounding),
        ("dimension_mackay", sum(&|x| x.max(0.0) / (x.max(0.0) + alpha)), n * rounding / alpha),
        ("dimension_participation_ratio", trace * trace / square, 1e-3),
        ("dimension_stable_rank", sum(&f64::abs) / scale, 1e-3),
    ] {
        if found.value.get(quantity).is_none() {
            assert!(quantity.ends_with("mackay") || quantity.ends_with("stable_rank"), "{quantity}");
            continue;
        }
        let (mean, error) = (value(found, quantity), error(found, quantity));
        assert!((mean - wanted).abs() <= slack + n_errors * error, "{quantity}: {mean} ± {error}, {wanted}");
        assert_eq!(error == 0.0, n_errors == 0.0, "{quantity}: {error}");
    }
}

/// ½·Σ(y − Wx)² has the Hessian I ⊗ mean(xxᵀ) at any weights: each eigenvalue as often as there are outputs.
#[test]
fn linear_regression_has_the_covariance_of_its_inputs() {
    let (n, width, outputs) = (300, 4, 3);
    let x = inputs(1, n, width);
    let y = inputs(2, n, outputs);
    let loss = VectorLoss::Squared { factor: 0.5, importance: 1.0 };
    let task = vectors(&x, width, ColumnData::Float(y), outputs, loss);
    let model = model(&task, json!({"kind": "mlp", "sizes": [4, 3], "activation": "identity", "biases": false}));
    let mut covariance = vec![0.0; width * width];
    for row in x.chunks_exact(width) {
        for i in 0..width {
            (0..width).for_each(|j| covariance[i * width + j] += f64::from(row[i]) * f64::from(row[j]) / n as f64);
        }
    }
    let of_one = symmetric_eigenvalues(covariance, width).unwrap();
    let expected: Vec<f64> = of_one.iter().flat_map(|&value| [value; 3]).collect();
    for matrix in [CurvatureMatrix::Hessian, CurvatureMatrix::GaussNewton] {
        let settings = CurvatureSettings { matrix, top: 12, alpha: 0.5, ..CurvatureSettings::default() };
        let found = measure(&settings, &task, &model, &model.initial_weights(3));
        assert_spectrum(&found, &expected, 0.5, 0.0);
        let density = &found.arrays[0].1;
        assert!((density.values.iter().sum::<f64>() - 12.0).abs() < 1e-9);
        assert!(
            density.values.iter().all(|&count| (count - count.round()).abs() < 1e-9),
            "known eigenvalues are counted"
        );
        assert!((value(&found, "dimension_rank") - 12.0).abs() < 1e-9);
        // Too few steps for the whole matrix: the same by probes, repeated eigenvalues included.
        let settings = CurvatureSettings { probes: 2, steps: 5, top: 5, ..settings };
        let found = measure(&settings, &task, &model, &model.initial_weights(3));
        // The trace of I ⊗ C by two probes may be far off; eigenvalues may not.
        for at in 0..5 {
            let eigenvalue = value(&found, &format!("eigenvalue_{}", at + 1));
            assert!(
                (eigenvalue - expected[at]).abs() < TOLERANCE * expected[0],
                "{at}: {eigenvalue}, {}",
                expected[at]
            );
        }
    }
}

/// Of logits Wx + b the Hessian of the cross-entropy is mean((diag p − ppᵀ) ⊗ x̃x̃ᵀ) with x̃ = (x, 1), whatever the targets; so is the
/// Gauss–Newton matrix, and the Fisher matrix. In 300 examples, which is a full batch and a part of one.
#[test]
fn softmax_regression_has_its_hessian_in_closed_form() {
    let (n, width, classes) = (300, 3, 4);
    let x = inputs(5, n, width);
    let y: Vec<i32> = (0..n).map(|i| (i % classes) as i32).collect();
    let task = vectors(&x, width, ColumnData::Ids(y.clone()), classes, VectorLoss::CrossEntropy);
    let model = model(&task, json!({"kind": "mlp", "sizes": [3, 4], "activation": "identity"}));
    let weights = model.initial_weights(2);
    let w = |i: usize, c: usize| f64::from(weights[i * classes + c]);
    let size = (width + 1) * classes;
    let [mut hessian, mut of_gradients] = [vec![0.0; size * size], vec![0.0; size * size]];
    for (row, &target) in x.chunks_exact(width).zip(&y) {
        let extended: Vec<f64> = row.iter().copied().map(f64::from).chain([1.0]).collect();
        let logits: Vec<f64> =
            (0..classes).map(|c| extended.iter().enumerate().map(|(i, x)| x * w(i, c)).sum()).collect();
        let total: f64 = logits.iter().map(|z| z.exp()).sum();
        let p: Vec<f64> = logits.iter().map(|z| z.exp() / total).collect();
        for (a, b) in (0..size).flat_map(|a| (0..size).map(move |b| (a, b))) {
            let ((i, c), (j, d)) = ((a / classes, a % classes), (b / classes, b % classes));
            let both = extended[i] * extended[j] / n as f64;
            hessian[a * size + b] += both * (if c == d { p[c] } else { 0.0 } - p[c] * p[d]);
            let slope = |c: usize| p[c] - f64::from(u8::from(c == target as usize));
            of_gradients[a * size + b] += both * slope(c) * slope(d);
        }
    }
    let alpha = 0.1;
    let [of_hessian, of_gradients] = [hessian, of_gradients].map(|matrix| symmetric_eigenvalues(matrix, size).unwrap());
    for (matrix, expected) in [
        (CurvatureMatrix::Hessian, &of_hessian),
        (CurvatureMatrix::GaussNewton, &of_hessian),
        (CurvatureMatrix::Fisher, &of_hessian),
        (CurvatureMatrix::EmpiricalFisher, &of_gradients),
    ] {
        let settings = CurvatureSettings { matrix, alpha, top: 16, ..CurvatureSettings::default() };
        let found = measure(&settings, &task, &model, &weights);
        assert_spectrum(&found, expected, alpha, 0.0);
        // The same vector added to all classes changes no probability: four directions are flat.
        assert!((value(&found, "dimension_rank") - 12.0).abs() < 1e-9, "{matrix:?}: {:?}", found.value);
    }
}

/// What probes say of a network agrees with its whole matrix within the errors that they state.
#[test]
fn probes_agree_with_the_whole_matrix() {
    let (task, model) = modular(&tiny_transformer());
    let weights = model.initial_weights(1);
    let n = model.space().len();
    for matrix in [CurvatureMatrix::Hessian, CurvatureMatrix::GaussNewton, CurvatureMatrix::EmpiricalFisher] {
        let alpha = 0.01;
        let whole = CurvatureSettings { matrix, alpha, top: 6, steps: n, ..CurvatureSettings::default() };
        let mut instrument = DataSetCurvature::new(&model, matrix, task.splits[0].data.clone()).unwrap();
        let mut dense = vec![0.0; n * n];
        for i in 0..n {
            let mut unit = vec![0.0; n];
            unit[i] = 1.0;
            let mut column = vec![0.0; n];
            instrument.multiply(&weights, &unit, &mut column).unwrap();
            column.iter().enumerate().for_each(|(j, &x)| dense[j * n + i] = f64::from(x));
        }
        let expected = symmetric_eigenvalues(dense, n).unwrap();
        let exact = measure(&whole, &task, &model, &weights);
        assert_eq!(exact.details[3], ("is_exact", 1.0));
        assert_spectrum(&exact, &expected, alpha, 0.0);
        if matrix == CurvatureMatrix::Hessian {
            assert!((value(&exact, "eigenvalue_lowest") - expected[n - 1]).abs() < 1e-5 * expected[0]);
            assert!(expected[n - 1] < -1e-3 * expected[0], "a saddle, so that negative ones are seen");
        }
        // 12 × 15 products do not show the whole of a larger matrix.
        assert!(n > 180, "{n}");
        let sampled = measure(&CurvatureSettings { probes: 12, steps: 15, ..whole }, &task, &model, &weights);
        assert_eq!(sampled.details[3], ("is_exact", 0.0));
        assert_spectrum(&sampled, &expected, alpha, 4.0);
        assert_eq!(sampled.value.get("dimension_mackay").is_some(), matrix != CurvatureMatrix::Hessian);
        let density = |found: &Findings| found.arrays[0].1.values.clone();
        assert!((density(&sampled).iter().sum::<f64>() - n as f64).abs() < 1e-6 * n as f64);
        assert_eq!(density(&sampled).len(), density(&exact).len());
        if matrix == CurvatureMatrix::Hessian {
            assert!((value(&sampled, "eigenvalue_lowest") - expected[n - 1]).abs() < TOLERANCE * expected[0]);
        }
    }
}

/// Near a perfect fit of a deep linear network the most negative eigenvalue is far smaller than the largest, and found all the same.
#[test]
fn the_most_negative_eigenvalue_is_found_beside_far_larger_ones() {
    let (width, hidden, outputs) = (4, 8, 3);
    let x = inputs(3, 100, width);
    let mut teacher = vec![0.0; width * outputs];
    Stream::new(4, Purpose::Data, 0).normals(0, 0, &mut teacher);
    let y: Vec<f32> = x
        .chunks_exact(width)
        .flat_map(|row| {
            let teacher = &teacher;
            (0..outputs).map(move |o| (0..width).map(|i| row[i] * teacher[i * outputs + o]).sum())
        })
        .collect();
    let task = vectors(&x, width, ColumnData::Float(y), outputs, VectorLoss::MeanSquared);
    let model = model(&task, json!({"kind": "mlp", "sizes": [4, 8, 3], "activation": "identity", "biases": false}));
    // The teacher through the first four hidden units, and a little beside it.
    let mut weights = vec![0.0; model.space().len()];
    Stream::new(5, Purpose::Data, 0).normals(0, 0, &mut weights);
    for w in &mut weights {
        *w *= 1e-3;
    }
    for i in 0..width {
        weights[i * hidden + i] += 1.0;
        for o in 0..outputs {
            weights[width * hidden + i * outputs + o] += teacher[i * outputs + o];
        }
    }
    let whole = measure(&CurvatureSettings::default(), &task, &model, &weights);
    let (lowest, scale) = (value(&whole, "eigenvalue_lowest"), value(&whole, "eigenvalue_1"));
    assert!(lowest < 0.0 && lowest > -TOLERANCE * scale, "{lowest} {scale}");
    let settings = CurvatureSettings { probes: 2, steps: 5, ..CurvatureSettings::default() };
    let sampled = measure(&settings, &task, &model, &weights);
    let rounding = f64::from(f32::EPSILON) * scale;
    let found = value(&sampled, "eigenvalue_lowest");
    assert!(
        (found - lowest).abs() <= error(&sampled, "eigenvalue_lowest") + 4.0 * rounding,
        "{found}, {lowest}, {scale}"
    );
    assert!(error(&sampled, "eigenvalue_lowest") < 0.1 * lowest.abs());
}

#[test]
fn fisher_and_gauss_newton_are_one_for_cross_entropies_of_tokens() {
    let config: TaskConfig = from_value(
        json!({ "kind": "repeated_tokens", "vocabulary": 5, "block": 4, "repeats": 2, "train_examples": 30 }),
    )
    .unwrap();
    let task = config.prepare(1, Path::new(".")).unwrap();
    let model = model(&task, tiny_transformer());
    let weights = model.initial_weights(4);
    let [fisher, gauss_newton] = [CurvatureMatrix::Fisher, CurvatureMatrix::GaussNewton].map(|matrix| {
        measure(
            &CurvatureSettings { matrix, probes: 3, steps: 8, ..CurvatureSettings::default() },
            &task,
            &model,
            &weights,
        )
    });
    for (a, b) in fisher.value.values.iter().zip(&gauss_newton.value.values) {
        assert!((a - b).abs() <= 1e-4 * b.abs().max(1.0), "{a}, {b}");
    }
}

/// Before a layer norm without ε the scale of what it reads changes nothing: w·∇L = 0, hence wᵀHw = 0 and Jw = 0.
#[test]
fn scales_before_a_layer_norm_are_flat_directions() {
    let network = json!({
        "kind": "transformer", "layers": 0, "d_model": 6, "heads": 1, "attention_only": true,
        "normalization": "layer_norm", "norm_eps": 0.0, "positions": "learned",
    });
    let (task, model) = modular(&network);
    let weights = model.initial_weights(2);
    let mut direction = vec![0.0; weights.len()];
    for name in ["embed.W_E", "pos_embed.W_pos"] {
        let range = model.space().find(name).unwrap().range.clone();
        direction[range.clone()].copy_from_slice(&weights[range]);
    }
    let square: f64 = direction.iter().map(|&x| f64::from(x).powi(2)).sum();
    for matrix in [
        CurvatureMatrix::Hessian,
        CurvatureMatrix::GaussNewton,
        CurvatureMatrix::Fisher,
        CurvatureMatrix::EmpiricalFisher,
    ] {
        let mut of_data = DataSetCurvature::new(&model, matrix, task.splits[0].data.clone()).unwrap();
        let mut product = vec![0.0; weights.len()];
        of_data.multiply(&weights, &direction, &mut product).unwrap();
        let bent: f64 = product.iter().zip(&direction).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
        let settings = CurvatureSettings { matrix, top: 1, ..CurvatureSettings::default() };
        let scale = value(&measure(&settings, &task, &model, &weights), "eigenvalue_1");
        assert!(bent.abs() < 1e-6 * scale * square, "{matrix:?}: {bent}, {scale}");
        if matrix != CurvatureMatrix::Hessian {
            let length = product.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            assert!(length < 1e-5 * scale * square.sqrt(), "{matrix:?}: {length}, {scale}");
        }
    }
}

#[test]
fn bits_do_not_depend_on_threads_and_a_cancelled_measurement_ends() {
    let (task, model) = modular(&tiny_transformer());
    let weights = model.initial_weights(1);
    let settings = CurvatureSettings { probes: 2, steps: 6, top: 2, ..CurvatureSettings::default() };
    let mut instrument = settings.build(&Subject { model: &model, task: &task, seed: 7 }).unwrap();
    let alone = instrument.measure(&Checkpoint::alone(&weights)).unwrap();
    let threads = std::num::NonZero::new(3).unwrap();
    let shared = instrument.measure(&Checkpoint { threads, ..Checkpoint::alone(&weights) }).unwrap();
    assert_eq!(alone, shared);
    let cancel = std::sync::atomic::AtomicBool::new(true);
    let cancelled = instrument.measure(&Checkpoint { cancel: &cancel, ..Checkpoint::alone(&weights) });
    assert!(matches!(cancelled, Err(ObserveError::Cancelled)));
    let mut broken = weights.clone();
    broken[3] = f32::NAN;
    let failure = instrument.measure(&Checkpoint::alone(&broken)).unwrap_err().to_string();
    assert!(failure.contains("embed.W_E"), "{failure}");
    assert_eq!(instrument.measure(&Checkpoint::alone(&weights)).unwrap(), alone);
}

/// With weights of zero a network without biases has no second derivatives at all, or few; nothing is divided by zero.
#[test]
fn a_matrix_of_zeros_has_no_dimension() {
    let x = inputs(1, 20, 3);
    let y = ColumnData::Float(vec![0.0; 40]);
    let task = vectors(&x, 3, y, 2, VectorLoss::MeanSquared);
    let model = model(&task, json!({"kind": "mlp", "sizes": [3, 4, 2], "activation": "identity", "biases": false}));
    let weights = vec![0.0; model.space().len()];
    for (probes, steps) in [(8, 50), (2, 4)] {
        let settings = CurvatureSettings { probes, steps, top: 3, ..CurvatureSettings::default() };
        let found = measure(&settings, &task, &model, &weights);
        assert!(found.value.values.iter().all(|&value| value == 0.0), "{:?}", found.value);
    }
}

#[test]
fn settings_that_cannot_be_are_named() {
    let x = inputs(1, 20, 3);
    let task = vectors(&x, 3, ColumnData::Float(vec![0.0; 40]), 2, VectorLoss::MeanSquared);
    let model = model(&task, json!({"kind": "mlp", "sizes": [3, 2], "activation": "identity", "biases": false}));
    let refused = |settings: Value| {
        let settings: CurvatureSettings = from_value(settings).unwrap();
        settings.build(&Subject { model: &model, task: &task, seed: 0 }).err().unwrap().to_string()
    };
    for (settings, message) in [
        (json!({"top": 0}), "`top` is 0; expected 1 to 6, the weights of the network"),
        (json!({"top": 7}), "`top` is 7; expected 1 to 6, the weights of the network"),
        (json!({"probes": 1}), "`probes` is 1; expected at least 2, between which there is an error"),
        (json!({"steps": 3}), "`steps` is 3; expected at least 4"),
        (json!({"alpha": 0.0}), "`alpha` is 0; expected a finite number above 0"),
        (json!({"rank_threshold": 1.0}), "`rank_threshold` is 1; expected a number between 0 and 1"),
        (
            json!({"range": [1.0, 0.5]}),
            "`range` is [1, 0.5]; expected two numbers above 0, the second larger, at most 30 decades apart",
        ),
    ] {
        assert_eq!(refused(settings), message);
    }
    for (settings, part) in [
        (json!({"split": "test", "top": 1}), "`split` is \"test\"; the task has train"),
        (json!({"examples": 0, "top": 1}), "`examples` is 0"),
        (json!({"matrix": "fisher", "top": 1}), "a task whose loss is a cross-entropy"),
    ] {
        let found = refused(settings);
        assert!(found.contains(part), "{found}");
    }
    let unknown = from_value::<CurvatureSettings>(json!({"matrix": "jacobian"})).unwrap_err().to_string();
    assert!(unknown.contains("`gauss_newton`"), "{unknown}");
}
