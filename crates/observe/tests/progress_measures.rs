//! Progress measures against a PyTorch fixture: a synthetic case in f64, and two real networks in f32.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

use std::path::{Path, PathBuf};

use ontogeny_graph::{Gradient, Program, Workspace};
use ontogeny_observe::{Evaluator, FourierBasis, FourierMeasures, GridData, HeadScores};
use ontogeny_zoo::{
    Activation, Interface, Layout, Model, ModularArithmeticConfig, NameMap, NetworkConfig, NormPosition, Normalization,
    Operation, Positions, Read, Task, TaskConfig, TrainConfig, TrainEvent, Trainer, TransformerConfig, read_tensors,
    to_canonical,
};
use serde_json::Value;

/// See `make_progress_measures.py` beside it for every definition.
fn fixture() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/torch/progress_measures.json");
    let text = fs_err::read_to_string(path).unwrap_or_else(|error| panic!("{error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}"))
}

fn numbers(value: &Value) -> Vec<f64> {
    let items = value.as_array().expect("a list of numbers");
    items.iter().map(number).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

fn whole_numbers(value: &Value) -> Vec<usize> {
    numbers(value).into_iter().map(|x| x as usize).collect()
}

/// A matrix of numbers that are exact in f32, as all inputs of the fixture are, and its width.
fn matrix(value: &Value) -> (Vec<f32>, usize) {
    let rows: Vec<Vec<f64>> = value.as_array().expect("rows").iter().map(numbers).collect();
    let exact = |&x: &f64| {
        assert_eq!(f64::from(x as f32), x, "not exact in f32");
        x as f32
    };
    (rows.iter().flatten().map(exact).collect(), rows[0].len())
}

/// |found − expected| ≤ tolerance · max(1, |expected|).
fn assert_near(found: f64, expected: f64, tolerance: f64, what: &str) {
    let error = (found - expected).abs() / expected.abs().max(1.0);
    assert!(error <= tolerance, "{what}: {found} for {expected}, {error:e} off");
}

/// Both sides compute in f64 from the same numbers and differ in the order of their sums. These have at most 343 terms
/// of order 1, so that rounding is below 343·2⁻⁵³ = 4e-14 of their scale; losses and shares amplify it a few times.
const F64: f64 = 1e-12;

#[test]
fn the_synthetic_case_agrees() {
    let fixture = fixture();
    let case = &fixture["synthetic"];
    let p = case["p"].as_u64().unwrap() as usize;
    let basis = FourierBasis::new(p);
    let (logits, width) = matrix(&case["logits"]);
    let logits = GridData { values: &logits, width };
    let (activations, n_neurons) = matrix(&case["activations"]);
    let neurons = GridData { values: &activations, width: n_neurons };

    let expected = case["neuron_shares"].as_array().unwrap();
    let shares = basis.neuron_shares(neurons);
    assert_eq!(shares.len(), expected.len());
    for (n, (found, expected)) in shares.iter().zip(expected).enumerate() {
        let best = expected.as_array().map(|shares| {
            let by_k = (1..).zip(shares.iter().map(number));
            by_k.max_by(|x, y| x.1.total_cmp(&y.1)).unwrap()
        });
        assert_eq!(found.map(|f| f.0), best.map(|b| b.0), "neuron {n}");
        if let (Some((_, found)), Some((_, expected))) = (found, best) {
            assert_near(*found, expected, F64, &format!("share of neuron {n}"));
        }
    }
    let found = basis.key_frequencies(neurons);
    let counts = &case["neurons"]["n_above_threshold_by_best_k"];
    assert_eq!(found.n_neurons, counts_by_frequency(counts, p));
    let keys = whole_numbers(&case["key_frequencies"]);
    assert_eq!(found.keys(), keys);

    let targets: Vec<i32> = (0..p * p).map(|i| ((i / p + i % p) % p) as i32).collect();
    let all: Vec<usize> = (0..p * p).collect();
    let train = whole_numbers(&case["train_indices"]);
    let test: Vec<usize> = (0..p * p).filter(|i| !train.contains(i)).collect();
    let restricted = basis.restricted_losses(logits, &keys, &targets, &[&all, &train, &test]);
    for (name, found) in ["all", "train", "test"].into_iter().zip(restricted) {
        let expected = number(&case["restricted_loss"][name]);
        assert_near(found, expected, F64, &format!("restricted loss, {name}"));
    }
    let excluded = basis.excluded_loss(logits, &keys, &targets, &train);
    let expected = number(&case["excluded_loss_train"]);
    assert_near(excluded, expected, F64, "excluded loss");
    let single = numbers(&case["excluded_loss_train_single_k"]);
    assert_eq!(single.len(), basis.n_frequencies());
    for (k, expected) in (1..).zip(single) {
        let found = basis.excluded_loss(logits, &[k], &targets, &train);
        assert_near(found, expected, F64, &format!("excluded loss without {k}"));
    }

    let (w_e, d) = matrix(&case["W_E"]);
    let w_e: Vec<f64> = w_e[..p * d].iter().map(|&w| w.into()).collect();
    let (w_out, _) = matrix(&case["W_out"]);
    let (w_u, vocabulary) = matrix(&case["W_U"]);
    let mut w_l = Vec::new();
    for class in 0..p {
        for row in w_out.chunks_exact(d) {
            let column = w_u.iter().skip(class).step_by(vocabulary);
            w_l.push(row.iter().zip(column).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum());
        }
    }
    for (name, matrix, width) in [("w_e", &w_e, d), ("w_l", &w_l, n_neurons)] {
        let norms = numbers(&case[name]["frequency_norms"]);
        for (k, (found, expected)) in (1..).zip(basis.frequency_norms(matrix, width).iter().zip(norms)) {
            assert_near(*found, expected, F64, &format!("{name}: norm of {k}"));
        }
        let gini = basis.frequency_gini(matrix, width).unwrap();
        let expected = number(&case[name]["gini_frequencies"]);
        assert_near(gini, expected, F64, &format!("{name}: gini"));
    }
}

/// A table from frequencies to counts, as a list over all frequencies.
fn counts_by_frequency(table: &Value, p: usize) -> Vec<usize> {
    let count = |k: usize| table[k.to_string()].as_u64().unwrap_or(0) as usize;
    (1..=(p - 1) / 2).map(count).collect()
}

#[test]
fn two_networks_of_the_paper_agree() {
    let Some(folder) = networks_of_the_paper() else {
        return;
    };
    let fixture = fixture();
    // Losses to three digits as recorded in the original training; key frequencies; the largest logit.
    for (case, recorded, keys, largest_logit) in [
        (
            &fixture["runs"][0],
            [("train", 9.202e-9), ("test", 4.988e-7), ("all", 3.520e-7)],
            vec![6, 23, 37, 39, 41],
            74.0,
        ),
        (&fixture["runs"][1], [("train", 1.681e-10), ("test", 1.110e-6), ("all", 1.111e-7)], vec![36, 52], 594.0),
    ] {
        let name = case["name"].as_str().unwrap();
        let task = addition_modulo_113(&folder, case["split"].as_str().unwrap());
        let model = Model::new(network_of_the_paper(), task.interface).unwrap();
        let path = folder.join(case["file"].as_str().unwrap());
        let file = read_tensors(&path).unwrap();
        let tensors = to_canonical(&file, Layout::ProgressMeasures, &NameMap::default()).unwrap();
        let weights = model.weights_from(&path, tensors).unwrap();
        let gap_error = error_of_a_gap(largest_logit);

        let mut evaluator = Evaluator::new(&model).unwrap();
        for (split, recorded) in recorded {
            let what = format!("{name}: loss, {split}");
            let data = &task.split(split).unwrap().data;
            let found = evaluator.evaluate(&weights, data).unwrap();
            assert_eq!(found.accuracy, Some(1.0), "{what}");
            assert_near(found.loss / recorded, 1.0, THREE_DIGITS, &what);
            assert_loss(found.loss, number(&case["loss"][split]), gap_error, &what);
        }

        let mut measures = FourierMeasures::new(&model, &task).unwrap();
        let found = measures.measure(&weights).unwrap();
        assert_eq!(found.keys, keys, "{name}");
        assert_eq!(whole_numbers(&case["key_frequencies"]), keys, "{name}");
        let counts = &case["neurons"]["n_above_threshold_by_best_k"];
        let counts = counts_by_frequency(counts, 113);
        assert_eq!(found.n_key_neurons, counts, "{name}");
        let get = |label: &str| found.measured.get(label).unwrap();
        for (label, expected) in [
            ("restricted_loss", &case["restricted_loss"]["all"]),
            ("restricted_loss_train", &case["restricted_loss"]["train"]),
            ("restricted_loss_test", &case["restricted_loss"]["test"]),
            ("excluded_loss", &case["excluded_loss_train"]),
        ] {
            let what = format!("{name}: {label}");
            assert_loss(get(label), number(expected), gap_error, &what);
        }
        for (label, expected, tolerance) in [
            ("gini_embed", &case["w_e"]["gini_frequencies"], F64),
            ("gini_unembed", &case["w_l"]["gini_frequencies"], F64),
            // A sum of n squares in f64, one after another: n/2 ulp.
            ("sum_of_squares", &case["sum_of_squares"], weights.len() as f64 * f64::EPSILON / 2.0),
        ] {
            let what = format!("{name}: {label}");
            assert_near(get(label), number(expected), tolerance, &what);
        }
        assert_eq!(get("n_key_frequencies"), keys.len() as f64);
        let norms = numbers(&case["w_e"]["frequency_norms"]);
        assert_eq!(found.embedding_norms.len(), norms.len());
        for (k, (found, expected)) in (1..).zip(found.embedding_norms.iter().zip(norms)) {
            assert_near(*found, expected, F64, &format!("{name}: norm of {k}"));
        }
    }
}

const THREE_DIGITS: f64 = 5e-4;

/// The term of the training loss is the measure of the same checkpoint: two implementations, in f32 and in f64.
#[test]
fn the_term_of_the_training_loss_is_what_is_measured() {
    let p = 13;
    let task = serde_json::json!({"kind": "modular_arithmetic", "p": p, "operation": "add", "train_fraction": 0.5});
    let task = serde_json::from_value::<TaskConfig>(task).unwrap().prepare(1, Path::new("")).unwrap();
    let network = serde_json::json!({"kind": "modular_mlp", "d_embed": 12, "hidden": 30, "activation": "relu", "init": "scaled", "init_scale": 3});
    let network: NetworkConfig = serde_json::from_value(network).unwrap();
    let model = Model::new(network, task.interface).unwrap();
    let weights = model.initial_weights(5);
    let all = &task.split("all").unwrap().data;
    let (graph, nodes) = model.graph(p * p);
    let program = Program::compile(&graph, &[("logits", nodes.logits)], Gradient::None).unwrap();
    let mut workspace = Workspace::new(&program);
    all.fill(&program, &mut workspace, &(0..p * p).collect::<Vec<_>>()).unwrap();
    program.run(&mut workspace, &weights).unwrap();
    let logits = GridData { values: workspace.output(&program, "logits"), width: p };
    let targets: Vec<i32> = (0..p * p).map(|i| ((i / p + i % p) % p) as i32).collect();
    let train = &task.split("train").unwrap().indices;
    let basis = FourierBasis::new(p);

    let loss = |progress: Option<(&str, f64, &[usize])>| {
        let mut settings = serde_json::json!({
            "optimizer": "sgd", "learning_rate": 0.1, "batch": "full", "steps": 1, "checkpoints": [],
        });
        if let Some((kind, weight, keys)) = progress {
            settings["progress"] = serde_json::json!({"kind": kind, "weight": weight, "frequencies": keys});
        }
        let config: TrainConfig = serde_json::from_value(settings).unwrap();
        let mut trainer = Trainer::new(&model, &task, &config, 0).unwrap();
        let mut state = trainer.start(weights.clone()).unwrap();
        let mut found = f64::NAN;
        let outcome = trainer.run(&mut state, |event| {
            if let TrainEvent::Step { loss, .. } = event {
                found = f64::from(loss);
            }
            Ok::<_, std::convert::Infallible>(std::ops::ControlFlow::Continue(()))
        });
        outcome.unwrap();
        found
    };
    let plain = loss(None);
    let keys_of = [&[4][..], &[6, 1], &[1, 2, 3, 4, 5, 6]];
    let mut seen = vec![plain];
    for keys in keys_of {
        for weight in [-0.4, 1.5] {
            for kind in ["restricted", "excluded"] {
                let measure = match kind {
                    "restricted" => basis.restricted_losses(logits, keys, &targets, &[train])[0],
                    _ => basis.excluded_loss(logits, keys, &targets, train),
                };
                // Losses of about ln 13 from logits of order 1 in f32: a hundred roundings of 2⁻²⁴ each.
                assert_near(loss(Some((kind, weight, keys))), plain + weight * measure, 1e-5, kind);
                seen.push(measure);
            }
        }
    }
    // None of them is another one by accident.
    seen.sort_by(f64::total_cmp);
    seen.dedup();
    assert_eq!(seen.len(), 1 + 2 * keys_of.len());
    assert!(seen.array_windows().all(|[a, b]| b - a > 1e-4), "{seen:?}");
}

/// What f32 may do to the difference of two logits. Each passes products of 128 (values), 128 (attention output), 128
/// (into the MLP), 512 (out of it) and 128 (unembedding) terms in sequence; their 1024 roundings of 2⁻²⁴ add up like a
/// random walk. Three digits of a small loss are
/// asked for in any case, which is stricter for the network with the larger logits.
fn error_of_a_gap(largest_logit: f64) -> f64 {
    let of_a_logit = 1024_f64.sqrt() * largest_logit / f64::from(1 << 24);
    (2.0 * of_a_logit).min(THREE_DIGITS)
}

/// Logit gaps that move by δ move a cross-entropy L by at most (1 − e⁻ᴸ)·δ ≤ min(1, L)·δ, to first order.
fn assert_loss(found: f64, expected: f64, gap_error: f64, what: &str) {
    let (error, allowed) = ((found - expected).abs(), gap_error * expected.min(1.0));
    assert!(error <= allowed, "{what}: {found:e} for {expected:e}, {error:e} off, {allowed:e} allowed");
}

/// Weights that are not part of the project; the test on them is skipped where they are absent.
#[expect(clippy::print_stdout, reason = "a skipped test says why")]
fn networks_of_the_paper() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/progress-measures");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: {} is absent", folder.display());
    None
}

fn addition_modulo_113(folder: &Path, split: &str) -> Task {
    let config = ModularArithmeticConfig {
        p: 113,
        operation: Operation::Add,
        train_fraction: None,
        split_seed: None,
        train_indices: Some(PathBuf::from("splits.npz")),
        train_indices_key: Some(split.to_owned()),
    };
    TaskConfig::ModularArithmetic(config).prepare(0, folder).unwrap()
}

fn network_of_the_paper() -> NetworkConfig {
    NetworkConfig::Transformer(TransformerConfig {
        layers: 1,
        d_model: 128,
        heads: 4,
        d_head: None,
        d_mlp: Some(512),
        activation: Some(Activation::Relu),
        vocabulary: None,
        key_value_heads: None,
        gated_mlp: false,
        parallel_block: false,
        normalization: Normalization::None,
        norm_position: NormPosition::Pre,
        norm_eps: 1e-5,
        positions: Positions::Learned,
        rotary_base: None,
        rotary_dim: None,
        rotary_scaling: None,
        window: None,
        window_layers: None,
        attention_scale: None,
        scale_by_layer: false,
        context: None,
        attention_only: false,
        tied_unembed: false,
        attention_biases: false,
        output_bias: None,
        mlp_biases: true,
        unembed_bias: false,
        init: None,
        init_scale: None,
        init_gamma: None,
    })
}

/// The published model of induction: prefix matching of .36 in heads 1 to 3 of the second block and .05 in head 0, on sequences of period
/// 28, given to two digits.
#[test]
fn induction_heads_of_the_published_model_are_found() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data/progress-measures/induction_head_infinite.safetensors");
    if !path.is_file() {
        println!("skipped: no `{}`", path.display());
        return;
    }
    let network: NetworkConfig = serde_json::from_value(serde_json::json!({
        "kind": "transformer", "layers": 2, "d_model": 48, "heads": 4, "context": 85, "attention_only": true,
        "normalization": "none", "positions": "learned",
    }))
    .unwrap();
    let interface = Interface::Tokens { vocabulary: 128, length: 85, read: Read::NEXT_TOKEN };
    let model = Model::new(network, interface).unwrap();
    let file = read_tensors(&path).unwrap();
    let weights = to_canonical(&file, Layout::detect(&file).unwrap(), &NameMap::default()).unwrap();
    let weights = model.weights_from(&path, weights).unwrap();
    // Four copies of 22 tokens, three of 29: the heads match any period.
    for copies in [3, 4] {
        let found = HeadScores::new(&model, 0, copies).unwrap().scores(&weights).unwrap();
        let induction: Vec<f64> = found.values.chunks(5).map(|scores| scores[4]).collect();
        println!("{copies} copies: {induction:.3?}");
        assert!(induction[5..8].iter().all(|score| *score > 0.2) && induction[4] < 0.1, "{induction:?}");
        assert!(induction[..4].iter().all(|score| *score < 0.1), "{induction:?}");
    }
}
