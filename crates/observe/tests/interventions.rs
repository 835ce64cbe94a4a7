//! Interventions against what the same change does to the weights, and against programs whose parts are known.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

use std::path::Path;

use ontogeny_graph::DataSet;
use ontogeny_observe::interventions::{
    AblateBy, Ablation, Component, Editor, LogitAttribution, LogitLens, Pairs, PatchInto, Patching, ResidualStream,
};
use ontogeny_observe::{Checkpoint, Evaluator, Subject};
use ontogeny_zoo::{CompiledConfig, Model, NetworkConfig, Task, TaskConfig};
use serde_json::{Value, from_value, json};

fn task(settings: Value) -> Task {
    from_value::<TaskConfig>(settings).unwrap().prepare(3, Path::new(".")).unwrap()
}

fn model(task: &Task, network: Value) -> Model {
    Model::new(from_value::<NetworkConfig>(network).unwrap(), task.interface).unwrap()
}

fn repeated() -> Task {
    task(json!({ "kind": "repeated_tokens", "vocabulary": 11, "block": 5, "repeats": 2, "train_examples": 90 }))
}

fn data(task: &Task, n: usize) -> DataSet {
    task.split("train").unwrap().data.rows(&(0..n).collect::<Vec<_>>())
}

/// Weights large enough that everything matters.
fn weights(model: &Model) -> Vec<f32> {
    model.initial_weights(5).into_iter().map(|w| if w == 0.0 { 0.05 } else { 3.0 * w }).collect()
}

const NETWORKS: [&str; 5] = [
    r#"{"kind": "transformer", "layers": 2, "d_model": 12, "heads": 3, "d_mlp": 20, "activation": "gelu",
        "normalization": "layer_norm", "positions": "learned", "attention_biases": true, "unembed_bias": true}"#,
    r#"{"kind": "transformer", "layers": 2, "d_model": 16, "heads": 4, "key_value_heads": 2, "d_mlp": 20, "gated_mlp": true,
        "activation": "silu", "normalization": "rms_norm", "positions": "rotary"}"#,
    r#"{"kind": "transformer", "layers": 3, "d_model": 12, "heads": 2, "attention_only": true, "normalization": "none",
        "positions": "shortformer"}"#,
    r#"{"kind": "transformer", "layers": 2, "d_model": 12, "heads": 2, "d_mlp": 16, "activation": "relu", "parallel_block": true,
        "normalization": "layer_norm_pre", "positions": "sinusoidal", "mlp_biases": true}"#,
    r#"{"kind": "transformer", "layers": 1, "d_model": 12, "heads": 2, "d_mlp": 16, "activation": "solu_ln",
        "normalization": "rms_norm_pre", "positions": "none", "tied_unembed": true}"#,
];

/// Wang et al. (2023), appendix: with the scale of the last norm held, contributions add up. The part without a stream is computed by
/// itself, so that the sum can fail.
#[test]
fn shares_of_the_logit_difference_sum_up_to_it() {
    let task = repeated();
    for network in NETWORKS {
        let model = model(&task, serde_json::from_str(network).unwrap());
        let weights = weights(&model);
        let rows: Vec<usize> = (0..70).collect();
        let pairs = Pairs::of_examples(&model, &task.split("train").unwrap().data, &rows, 1).unwrap();
        let mut attribution = LogitAttribution::new(&model, pairs).unwrap();
        let (shares, differences) = attribution.shares(&weights).unwrap();
        let mut largest = 0.0_f64;
        for (pair, difference) in differences.iter().enumerate() {
            let sum: f64 = shares.iter().map(|share| share[pair]).sum();
            let size: f64 = shares.iter().map(|share| share[pair].abs()).sum();
            assert!((sum - difference).abs() < 1e-4 * size.max(1e-3), "{network}: {sum} {difference}");
            largest = largest.max(difference.abs());
        }
        assert!(largest > 0.05, "{network}: the logits hardly differ");
        assert_eq!(shares.len(), attribution.labels().len());
    }
}

/// What is written sums up to the stream; the output of a head by hand, from z and its matrix.
#[test]
fn the_residual_stream_is_the_sum_of_its_parts() {
    let task = repeated();
    for network in NETWORKS {
        let model = model(&task, serde_json::from_str(network).unwrap());
        let (weights, data) = (weights(&model), data(&task, 50));
        let mut stream = ResidualStream::new(&model, data.clone()).unwrap();
        let parts = stream.parts(&weights).unwrap();
        let sum: f64 = parts.iter().map(|[_, share]| share).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{network}: {sum}");
        let dims = ontogeny_observe::Instrument::dims(&stream);
        let at = dims[0].1.iter().position(|label| label == "l0h1").unwrap();
        let z = "blocks.0.attn.hook_z".to_owned();
        let mut editor = Editor::new(&model, std::slice::from_ref(&z), 50, false).unwrap();
        editor.load(&data, &(0..50).collect::<Vec<_>>()).unwrap();
        editor.run(&weights).unwrap();
        let [_, length, heads, e] = editor.shape(&z).try_into().unwrap();
        let out = model.space().find("blocks.0.attn.W_O").unwrap();
        let d = out.shape[2];
        let matrix = &weights[out.range.start + e * d..out.range.start + 2 * e * d];
        let mut square = 0.0;
        for row in editor.activation(&z).chunks(heads * e) {
            for column in 0..d {
                let sum: f64 = (0..e).map(|i| f64::from(row[e + i]) * f64::from(matrix[i * d + column])).sum();
                square += sum * sum;
            }
        }
        let expected = (square / (50 * length) as f64).sqrt();
        assert!((parts[at][0] - expected).abs() < 1e-5 * expected, "{network}: {} {expected}", parts[at][0]);
    }
}

/// A head without output is a head whose output matrix is zero.
#[test]
fn ablation_is_what_the_weights_without_the_part_do() {
    let task = repeated();
    let model = model(&task, serde_json::from_str(NETWORKS[0]).unwrap());
    let (own, data) = (weights(&model), data(&task, 80));
    let parts = Component::chosen(&model, &["l0h1".into(), "l1 mlp".into(), "l0n7".into()]).unwrap();
    let subject = Subject { model: &model, task: &task, seed: 0 };
    let mut ablation = Ablation::new(&subject, parts, &data, AblateBy::Zero, false).unwrap();
    let (found, loss) = ablation.effects(&Checkpoint::alone(&own)).unwrap();
    let mut evaluator = Evaluator::new(&model).unwrap();
    let clean = evaluator.evaluate(&own, &data).unwrap().loss;
    assert!((loss - clean).abs() < 1e-6, "{loss} {clean}");
    let mut without = |clear: &dyn Fn(&mut Vec<f32>)| {
        let mut weights = own.clone();
        clear(&mut weights);
        evaluator.evaluate(&weights, &data).unwrap().loss - clean
    };
    let range = |name: &str| model.space().find(name).unwrap().range.clone();
    let heads = range("blocks.0.attn.W_O");
    let of_head = heads.len() / 3;
    let expected = [
        without(&|w| w[heads.start + of_head..heads.start + 2 * of_head].fill(0.0)),
        without(&|w| {
            w[range("blocks.1.mlp.W_out")].fill(0.0);
            w[range("blocks.1.mlp.b_out")].fill(0.0);
        }),
        without(&|w| {
            let out = range("blocks.0.mlp.W_out");
            w[out.start + 7 * 12..out.start + 8 * 12].fill(0.0);
        }),
    ];
    for (found, expected) in found.iter().map(|effect| effect.mean).zip(expected) {
        assert!((found - expected).abs() < 1e-5 && expected.abs() > 1e-4, "{found} {expected}");
    }
}

/// The mean of a hidden unit is a bias of the next layer; examples exchanged keep the mean of a linear readout.
#[test]
fn a_unit_at_its_mean_is_a_bias_of_the_next_layer() {
    let task = task(
        json!({ "kind": "sparse_parity", "tasks": 3, "bits": 6, "subset": 2, "zipf_exponent": 1.4, "train_examples": 150 }),
    );
    let model = model(&task, json!({ "kind": "mlp", "sizes": [9, 10, 2], "activation": "relu" }));
    let (own, data) = (weights(&model), data(&task, 100));
    let parts = Component::chosen(&model, &["l0n4".into()]).unwrap();
    let subject = Subject { model: &model, task: &task, seed: 0 };
    let effect = |by| {
        let mut ablation = Ablation::new(&subject, parts.clone(), &data, by, false).unwrap();
        ablation.effects(&Checkpoint::alone(&own)).unwrap().0[0]
    };
    // The mean of the unit, from its weights and the inputs.
    let [w, b, next, bias] = ["layers.0.W", "layers.0.b", "layers.1.W", "layers.1.b"]
        .map(|name| model.space().find(name).unwrap().range.clone());
    let x = data.columns().iter().find(|column| column.name == "x").unwrap();
    let ontogeny_graph::ColumnData::Float(x) = &x.data else { panic!("inputs are floats") };
    let unit = |row: &[f32]| {
        let sum: f32 = row.iter().enumerate().map(|(i, x)| x * own[w.start + i * 10 + 4]).sum();
        f64::from((sum + own[b.start + 4]).max(0.0))
    };
    let mean = x.chunks(9).map(unit).sum::<f64>() / 100.0;
    assert!(mean > 1e-3, "{mean}");
    let mut changed = own.clone();
    for class in 0..2 {
        let at = next.start + 4 * 2 + class;
        changed[bias.start + class] += mean as f32 * changed[at];
        changed[at] = 0.0;
    }
    let mut evaluator = Evaluator::new(&model).unwrap();
    let expected = evaluator.evaluate(&changed, &data).unwrap().loss - evaluator.evaluate(&own, &data).unwrap().loss;
    let ontogeny_observe::interventions::Effect { mean: found, standard_error: error, .. } = effect(AblateBy::Mean);
    assert!((found - expected).abs() < 1e-6 && expected.abs() > 1e-5 && error > 0.0, "{found} {expected}");
    // Another example's is neither.
    let resampled = effect(AblateBy::Resample).mean;
    assert!((resampled - expected).abs() > 1e-6, "{resampled}");
    assert_eq!(effect(AblateBy::Resample).mean.to_bits(), resampled.to_bits());
}

#[test]
fn the_whole_stream_carries_the_whole_difference_and_what_is_linear_is_told_by_its_slope() {
    let task = repeated();
    // Without norm, what the last block writes enters the logits linearly.
    let model = model(&task, serde_json::from_str(NETWORKS[2]).unwrap());
    let (own, rows) = (weights(&model), (0..75).collect::<Vec<_>>());
    let pairs = Pairs::of_examples(&model, &task.split("train").unwrap().data, &rows, 2).unwrap();
    let parts = |labels: &[&str]| {
        Component::chosen(&model, &labels.iter().map(|&label| label.to_owned()).collect::<Vec<_>>()).unwrap()
    };
    for into in [PatchInto::Corrupted, PatchInto::Clean] {
        let mut patching =
            Patching::activations(&model, parts(&["blocks.2.hook_resid_post"]), pairs.clone(), into).unwrap();
        let (effects, base) = patching.effects(&Checkpoint::alone(&own)).unwrap();
        let gap = base.clean - base.corrupted;
        assert!((effects[0].mean - gap).abs() < 1e-4 * gap.abs().max(1.0) && gap.abs() > 1e-2, "{effects:?} {base:?}");

        let last = parts(&["l2h0", "l2h1"]);
        let exact =
            Patching::activations(&model, last.clone(), pairs.clone(), into).unwrap().effects(&Checkpoint::alone(&own));
        let slope = Patching::attribution(&model, last, pairs.clone(), into).unwrap().effects(&Checkpoint::alone(&own));
        let (exact, slope) = (exact.unwrap().0, slope.unwrap().0);
        for (exact, slope) in exact.iter().zip(&slope) {
            assert!(
                (exact.mean - slope.mean).abs() < 1e-4 * exact.mean.abs().max(0.1) && exact.mean.abs() > 1e-4,
                "{exact:?} {slope:?}"
            );
        }
    }
    // Where there is nothing between a head and the logits, its path is its direct share.
    let shares = LogitAttribution::new(&model, pairs.clone()).unwrap().shares(&own).unwrap().0;
    let swapped = Pairs { clean: pairs.corrupted.clone(), corrupted: pairs.clean.clone() };
    let of_corrupted = LogitAttribution::new(&model, swapped).unwrap().shares(&own).unwrap().0;
    let labels = LogitAttribution::new(&model, pairs.clone()).unwrap().labels().to_vec();
    let heads = parts(&["heads"]);
    let mut paths = Patching::paths(&model, heads.clone(), &[], false, pairs, PatchInto::Corrupted).unwrap();
    let (found, _) = paths.effects(&Checkpoint::alone(&own)).unwrap();
    for (head, found) in heads.iter().zip(found.iter().map(|effect| effect.mean)) {
        let at = labels.iter().position(|label| *label == head.label).unwrap();
        let expected = shares[at].iter().zip(&of_corrupted[at]).map(|(a, b)| a - b).sum::<f64>() / 75.0;
        assert!((found - expected).abs() < 1e-4, "{}: {found} {expected}", head.label);
    }
}

/// Lindner et al. (2023): the network of a program has no part whose job is not known.
#[test]
fn interventions_find_the_parts_of_a_compiled_program() {
    let settings =
        json!({ "kind": "compiled", "program": "induction", "length": 6, "symbols": 8, "train_examples": 200 });
    let task = task(settings.clone());
    let mut own = settings;
    own.as_object_mut().unwrap().remove("kind");
    let compiled = from_value::<CompiledConfig>(own).unwrap().compile().unwrap();
    let (model, weights) = (&compiled.model, &compiled.weights);
    let at = Checkpoint::alone(weights);
    let subject = Subject { model, task: &task, seed: 4 };
    let data = data(&task, 120);
    let all = Component::all(model).unwrap();
    let labels: Vec<&str> = all.iter().map(|part| part.label.as_str()).collect();
    assert_eq!(labels, ["l0h0", "l1h0"]);

    // Both heads are needed; with the patterns held, the first has nothing left to do.
    let ablate = |freeze| {
        let mut ablation = Ablation::new(&subject, all.clone(), &data, AblateBy::Mean, freeze).unwrap();
        ablation.effects(&at).unwrap().0
    };
    let (found, frozen) = (ablate(false), ablate(true));
    // An answer that does not depend on the example costs at least the entropy of 8 symbols, nearly.
    let entropy = 0.95 * 8_f64.ln();
    assert!(found[0].mean > entropy && found[1].mean > entropy, "{found:?}");
    assert!(frozen[0].mean.abs() < 1e-6 && frozen[1].mean > entropy, "{frozen:?}");

    // The first speaks to the second by its keys alone, never to the logits.
    let rows: Vec<usize> = (0..100).collect();
    let pairs = Pairs::of_examples(model, &task.split("train").unwrap().data, &rows, 1).unwrap();
    let first = Component::chosen(model, &["l0h0".into()]).unwrap();
    let along = |receivers: &[&str]| {
        let receivers: Vec<String> = receivers.iter().map(|&own| own.to_owned()).collect();
        let mut paths =
            Patching::paths(model, first.clone(), &receivers, false, pairs.clone(), PatchInto::Clean).unwrap();
        paths.effects(&at).unwrap().0[0].mean
    };
    let mut whole = Patching::activations(model, first.clone(), pairs.clone(), PatchInto::Clean).unwrap();
    let (whole, base) = whole.effects(&at).unwrap();
    assert!((base.clean - 32.0).abs() < 1e-3 && whole[0].mean > 5.0, "{whole:?} {base:?}");
    assert!((along(&["l1h0 k"]) - whole[0].mean).abs() < 1e-3, "{}", along(&["l1h0 k"]));
    assert!((along(&["l1h0"]) - whole[0].mean).abs() < 1e-3);
    for silent in [&["l1h0 q"][..], &["l1h0 v"], &[]] {
        assert!(along(silent).abs() < 1e-6, "{silent:?}: {}", along(silent));
    }

    // Only the second writes the answer, and before it nobody knows it.
    let mut attribution = LogitAttribution::new(model, pairs).unwrap();
    let (shares, _) = attribution.shares(weights).unwrap();
    let mean = |label: &str| {
        let at = attribution.labels().iter().position(|own| own == label).unwrap();
        shares[at].iter().sum::<f64>() / shares[at].len() as f64
    };
    assert!((mean("l1h0") - 32.0).abs() < 1e-3 && mean("l0h0").abs() < 1e-6 && mean("embed").abs() < 1e-6);
    let scores = LogitLens::new(model, data.clone()).unwrap().scores(weights).unwrap();
    let [.., before, end] = &scores[..] else { panic!("{scores:?}") };
    let loss = Evaluator::new(model).unwrap().evaluate(weights, &data).unwrap().loss;
    assert!((before[0] - 8_f64.ln()).abs() < 1e-6 && (end[0] - loss).abs() < 1e-6, "{scores:?}");
    assert_eq!((end[1], end[2]), (1.0, 0.0));
    assert!((before[2] - 8_f64.ln()).abs() < 1e-6);
}

/// The heads of a program among others that attend, write beside it, and whisper into it.
#[test]
fn the_heads_of_a_program_are_told_from_heads_that_only_look_busy() {
    let settings = json!({ "program": "induction", "length": 6, "symbols": 8, "train_examples": 200 });
    let compiled = from_value::<CompiledConfig>(settings.clone()).unwrap().compile().unwrap();
    let mut of_task = settings;
    of_task["kind"] = "compiled".into();
    let task = task(of_task);
    let mut network = serde_json::to_value(compiled.model.network()).unwrap();
    let (n_heads, beside) = (4, 6);
    let d = network["d_model"].as_u64().unwrap() as usize;
    network["heads"] = n_heads.into();
    network["d_model"] = (d + beside).into();
    let wide = model(&task, network);
    let noise = wide.initial_weights(9);
    let mut weights = vec![0.0; wide.space().len()];
    // The program's head of each block takes this place.
    let places = [2, 1];
    for param in wide.space().iter() {
        let own = compiled.model.space().find(&param.name).unwrap();
        let place = param.name.strip_prefix("blocks.").map(|rest| places[usize::from(rest.as_bytes()[0] - b'0')]);
        let strides =
            |shape: &[usize]| (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect::<Vec<usize>>();
        let (to, from) = (strides(&param.shape), strides(&own.shape));
        for (number, at) in param.range.clone().enumerate() {
            let index: Vec<usize> = to.iter().zip(&param.shape).map(|(stride, n)| number / stride % n).collect();
            let is_head = place.is_some() && index.len() == 3;
            let mut within = index.clone();
            if is_head {
                within[0] = 0;
            }
            let is_programs =
                within.iter().zip(&own.shape).all(|(i, n)| i < n) && (!is_head || index[0] == place.unwrap());
            weights[at] = if is_programs {
                compiled.weights
                    [own.range.start + within.iter().zip(&from).map(|(i, stride)| i * stride).sum::<usize>()]
            } else if is_head && index[0] != place.unwrap() {
                // What they write into the program's coordinates is little, beside them it is much.
                let whispers = param.name.ends_with("W_O") && index[2] < d;
                noise[at] * if whispers { 1e-3 } else { 3.0 }
            } else if param.name == "embed.W_E" || param.name == "pos_embed.W_pos" {
                noise[at] * 3.0
            } else {
                0.0
            };
        }
    }
    let data = data(&task, 100);
    let accuracy = Evaluator::new(&wide).unwrap().evaluate(&weights, &data).unwrap().accuracy.unwrap();
    assert_eq!(accuracy, 1.0, "the program still runs");
    let rows: Vec<usize> = (0..100).collect();
    let pairs = Pairs::of_examples(&wide, &task.split("train").unwrap().data, &rows, 1).unwrap();
    let parts = Component::chosen(&wide, &["heads".into()]).unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_mins(10);
    let mut explainer = ontogeny_observe::interventions::Explainer::new(&wide, &parts, &pairs).unwrap();
    let (samples, clean, corrupted) = explainer.samples(&Checkpoint::alone(&weights), until).unwrap();
    for (part, evidence) in parts.iter().zip(&samples) {
        let share = evidence.evidence().needed.unwrap().mean / (clean - corrupted);
        let is_programs = part.label == "l0h2" || part.label == "l1h1";
        assert_eq!(is_programs, share > 0.3, "{}: {share}", part.label);
        assert!(is_programs || share.abs() < 0.05, "{}: {share}", part.label);
    }
}

/// Padding has no weight: it is never the wrong answer.
#[test]
fn what_the_task_gives_no_weight_is_no_answer() {
    let task = task(
        json!({ "kind": "repeated_tokens", "vocabulary": 3, "block": 2, "repeats": 2, "length": 6, "predict": "repeated",
        "train_examples": 60 }),
    );
    let model = model(&task, serde_json::from_str(NETWORKS[0]).unwrap());
    let data = &task.split("train").unwrap().data;
    let column = |data: &DataSet, name: &str| data.columns().iter().find(|own| own.name == name).unwrap().data.clone();
    for seed in 0..20 {
        let pairs = Pairs::of_examples(&model, data, &(0..60).collect::<Vec<_>>(), seed).unwrap();
        let ontogeny_graph::ColumnData::Float(task_weights) = column(&pairs.clean, "weights") else { panic!() };
        let ontogeny_graph::ColumnData::Float(others) = column(&pairs.corrupted, "weights") else { panic!() };
        let ontogeny_graph::ColumnData::Float(own) = column(&pairs.clean, "pair.weight") else { panic!() };
        assert!(
            own.iter().zip(task_weights.iter().zip(&others)).all(|(own, (a, b))| *own == 0.0 || (*a > 0.0 && *b > 0.0))
        );
    }
}

#[test]
fn what_cannot_be_done_says_why() {
    let task = repeated();
    let own = model(&task, serde_json::from_str(NETWORKS[0]).unwrap());
    let error = Component::chosen(&own, &["l0h9".into()]).unwrap_err().to_string();
    assert!(error.contains("`l0h9`") && error.contains("such as l0h2"), "{error}");
    // Parameters and results are no activations.
    for name in ["embed.W_E", "blocks.0.attn.W_O", "blocks.0.mlp.b_in", "example_loss", "logits"] {
        let error = Component::chosen(&own, &[name.into()]).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("expected heads"), "{error}");
    }
    let rows: Vec<usize> = (0..20).collect();
    let data = &task.split("train").unwrap().data;
    let pairs = Pairs::of_examples(&own, data, &rows, 1).unwrap();
    let heads = Component::chosen(&own, &["heads".into()]).unwrap();
    let error =
        Patching::paths(&own, heads, &["l1 mlp".into()], false, pairs, PatchInto::Clean).unwrap_err().to_string();
    assert!(error.contains("l1 mlp") && error.contains("\"l1h0 q\""), "{error}");
    let error = Pairs::of_examples(&own, data, &[3], 1).unwrap_err().to_string();
    assert!(error.contains("1 examples") && error.contains("at least 2"), "{error}");
    let post = json!({"kind": "transformer", "layers": 1, "d_model": 8, "heads": 2, "attention_only": true, "normalization": "layer_norm",
        "norm_position": "post", "positions": "learned"});
    let post = model(&task, post);
    let pairs = Pairs::of_examples(&post, data, &rows, 1).unwrap();
    let error = LogitAttribution::new(&post, pairs).unwrap_err().to_string();
    assert!(error.contains("norms before its blocks"), "{error}");
    // NaN is named by where it comes from.
    let mut weights = own.initial_weights(0);
    weights[0] = f32::NAN;
    let parts = Component::all(&own).unwrap();
    let subject = Subject { model: &own, task: &task, seed: 0 };
    let mut ablation = Ablation::new(&subject, parts, &data.rows(&rows), AblateBy::Zero, false).unwrap();
    let error = ablation.effects(&Checkpoint::alone(&weights)).unwrap_err().to_string();
    assert!(error.contains("embed.W_E"), "{error}");
}
