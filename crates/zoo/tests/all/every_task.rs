//! Every kind of task: its examples fit a network, whose loss before training is that of knowing nothing.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::path::Path;

use ontogeny_graph::{ColumnData, DataSet, Value};
use ontogeny_zoo::{
    Interface, Model, NetworkConfig, Read, SubtaskBy, Task, TaskConfig, TaskTrainer, TrainConfig, TrainEvent, Trainer,
};
use serde_json::{Value as Json, json};

/// Settings of one task of each kind, as small as they go.
fn tasks() -> Vec<Json> {
    vec![
        json!({ "kind": "modular_arithmetic", "p": 7, "operation": "add", "train_fraction": 0.5 }),
        json!({ "kind": "digit_addition", "digits": 2 }),
        json!({ "kind": "sparse_parity", "bits": 8, "subset": 2, "tasks": 3, "zipf_exponent": 1.4 }),
        json!({ "kind": "repeated_tokens", "vocabulary": 9, "block": 3, "repeats": 2, "length": 12, "predict": "repeated" }),
        json!({ "kind": "in_context_regression", "dimension": 2, "pairs": 4, "noise_variance": 0.1, "tasks": 4 }),
        json!({ "kind": "superposition", "features": 5, "input": "one_hot", "importance": 0.9 }),
        json!({ "kind": "deep_linear", "inputs": 4, "outputs": 3, "rank": 2 }),
        json!({ "kind": "sorting", "length": 3, "numbers": 9 }),
        json!({ "kind": "word_sorting", "words": 2, "unit": "letter" }),
        json!({ "kind": "gcd", "base": 10, "largest": 1000, "examples_per_subtask": 1 }),
        json!({ "kind": "skip_trigrams", "length": 5, "keywords": 2, "queries": 2, "answers": 5, "fillers": 4 }),
        json!({ "kind": "translation", "words": 9, "length": 4, "translated": 3 }),
        json!({ "kind": "few_shot", "pairs": 4, "items": 6, "items_per_sequence": 2, "labels": 3 }),
        json!({ "kind": "few_shot_vectors", "dimension": 4, "pairs": 4, "classes": 6, "labels": 3 }),
        json!({ "kind": "tic_tac_toe" }),
        json!({ "kind": "othello", "held_examples": 20 }),
        json!({ "kind": "ioi" }),
        json!({ "kind": "toy_ioi", "length": 6, "names": 4, "fillers": 3 }),
        json!({ "kind": "images", "train_examples": 100 }),
        json!({ "kind": "text", "source": "names", "tokenizer": "char", "context": 8, "held_examples": 20 }),
        json!({ "kind": "tokens", "data": sequences(), "vocabulary": 5 }),
        json!({ "kind": "compiled", "program": "sort", "length": 3, "symbols": 4 }),
        json!({
            "kind": "gridworld", "size": [3, 2], "walls": [[1, 0]], "start": [0, 0], "goal": [2, 0], "discount": 0.9,
            "max_moves": 8,
        }),
        json!({ "kind": "tic_tac_toe_agent", "opponent": "random" }),
    ]
}

/// A file of 20 sequences of 4 ids below 5.
fn sequences() -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ids_20x4_u8");
    let ids: Vec<u8> = (0..80_u8).map(|i| i % 5).collect();
    fs_err::write(&path, ids).unwrap();
    path.to_str().unwrap().to_owned()
}

fn kind(settings: &Json) -> &str {
    settings["kind"].as_str().unwrap()
}

fn prepare(settings: &Json) -> Task {
    let config: TaskConfig = serde_json::from_value(settings.clone()).unwrap();
    config.prepare(0, Path::new("")).unwrap()
}

/// A small network that fits.
fn network(interface: Interface) -> Json {
    match interface {
        Interface::Vectors { inputs, outputs, .. } => {
            json!({ "kind": "mlp", "sizes": [inputs, 8, outputs], "activation": "relu" })
        }
        Interface::Tokens { .. } | Interface::Pairs { .. } | Interface::LabelledItems { .. } => json!({
            "kind": "transformer", "layers": 1, "d_model": 8, "heads": 2, "attention_only": true,
            "normalization": "none", "positions": "learned",
        }),
    }
}

/// The first rows of a data set as inputs of a graph.
fn inputs(data: &DataSet, n: usize) -> BTreeMap<String, Value<f64>> {
    let rows = data.rows(&(0..n).collect::<Vec<usize>>());
    let value = |data: &ColumnData| match data {
        ColumnData::Ids(ids) => Value::Ids(ids.clone()),
        ColumnData::Float(floats) => Value::Float(floats.iter().map(|&x| f64::from(x)).collect()),
    };
    rows.columns().iter().map(|column| (column.name.clone(), value(&column.data))).collect()
}

#[test]
fn every_kind_is_listed_and_survives_being_written_and_read() {
    let all = tasks();
    assert_eq!(all.iter().map(kind).collect::<Vec<&str>>(), TaskConfig::KINDS);
    for settings in &all {
        let config: TaskConfig = serde_json::from_value(settings.clone()).unwrap();
        let written = serde_json::to_value(&config).unwrap();
        assert_eq!(kind(&written), kind(settings));
        assert_eq!(serde_json::from_value::<TaskConfig>(written).unwrap(), config);
        let mut rest = settings.clone();
        rest.as_object_mut().unwrap().remove("kind");
        assert_eq!(TaskConfig::deserialize_kind(kind(settings), rest.clone()).unwrap(), config);
        rest["lenght"] = json!(3);
        let error = TaskConfig::deserialize_kind(kind(settings), rest).unwrap_err().to_string();
        assert!(error.contains("unknown field `lenght`"), "{error}");
    }
}

#[test]
fn without_weights_the_loss_is_that_of_knowing_nothing() {
    for settings in tasks() {
        let task = prepare(&settings);
        let network: NetworkConfig = serde_json::from_value(network(task.interface)).unwrap();
        let model = Model::new(network, task.interface).unwrap();
        for split in &task.splits {
            let n = split.data.len().min(16);
            let (graph, nodes) = model.graph(n);
            let mut values = inputs(&split.data, n);
            let zeros =
                |param: &ontogeny_graph::Param| (param.name.clone(), Value::Float(vec![0.0; param.range.len()]));
            values.extend(model.space().iter().map(zeros));
            let loss = graph.interpret(&values, &[nodes.loss]).unwrap()[0][0];
            let square = |name: &str| -> f64 {
                let Value::Float(y) = &values[name] else { panic!("numbers") };
                y.iter().map(|y| y * y).sum::<f64>() / n as f64
            };
            let expected = match (kind(&settings), task.interface) {
                ("sparse_parity", _) => 2_f64.ln(),
                ("images", _) => 10_f64.ln(),
                ("superposition", Interface::Vectors { .. }) => {
                    let Value::Float(y) = &values["y"] else { panic!("numbers") };
                    y.chunks(5).map(|y| (0..5).map(|i| 0.9_f64.powi(i as i32) * y[i] * y[i]).sum::<f64>()).sum::<f64>()
                        / n as f64
                }
                ("deep_linear", _) => 0.5 * square("y"),
                (_, Interface::Pairs { pairs, .. }) => square("y") / pairs as f64,
                (
                    _,
                    Interface::LabelledItems { classes, .. }
                    | Interface::Tokens { read: Read::LastPosition { classes }, .. },
                ) => (classes as f64).ln(),
                (_, Interface::Tokens { vocabulary, .. }) => (vocabulary as f64).ln(),
                (kind, interface) => panic!("{kind}: {interface:?}"),
            };
            // Weights of a game's moves are f32 and add up to 1 within 59·2⁻²⁴.
            assert!((loss - expected).abs() < 1e-5 * expected, "{settings} {}: {loss} {expected}", split.name);
        }
    }
}

#[test]
fn sub_tasks_have_numbers_where_they_need_some() {
    for settings in tasks() {
        let task = prepare(&settings);
        for split in &task.splits {
            let (n, answers) = (split.data.len(), task.interface.answers());
            let Some(subtasks) = &task.subtasks else {
                assert!(split.subtasks.is_empty());
                continue;
            };
            let expected = match subtasks.by {
                SubtaskBy::Answer => {
                    assert_eq!(subtasks.names.len(), answers, "{settings}");
                    0
                }
                SubtaskBy::Example => n,
                SubtaskBy::EachAnswer => n * answers,
            };
            assert_eq!(split.subtasks.len(), expected, "{settings} {}", split.name);
            assert!(split.subtasks.iter().all(|&number| (number as usize) < subtasks.names.len()));
        }
    }
}

#[test]
fn every_kind_trains() {
    for settings in tasks() {
        let task = prepare(&settings);
        let network: NetworkConfig = serde_json::from_value(network(task.interface)).unwrap();
        let model = Model::new(network, task.interface).unwrap();
        let config: TrainConfig = serde_json::from_value(json!({
            "optimizer": "adam", "learning_rate": 1e-2, "batch": 16, "steps": 3, "checkpoints": {},
        }))
        .unwrap();
        let mut trainer = TaskTrainer::new(&model, &[ontogeny_zoo::Stage::whole(&task)], &config, 0).unwrap();
        let mut state = trainer.start(model.initial_weights(0)).unwrap();
        let mut losses = Vec::new();
        trainer
            .run(&mut state, |event| {
                if let TrainEvent::Step { loss, .. } = event {
                    losses.push(loss);
                }
                Ok::<_, Infallible>(ControlFlow::Continue(()))
            })
            .unwrap();
        assert!(losses.len() == 3 && losses.iter().all(|loss| loss.is_finite()), "{settings}: {losses:?}");
        assert_ne!(state.weights, model.initial_weights(0));
    }
}

#[test]
fn two_layers_of_attention_learn_the_toy_of_indirect_objects() {
    let task = prepare(&json!({ "kind": "toy_ioi", "length": 7, "names": 6, "fillers": 3, "held_examples": 100 }));
    let network: NetworkConfig = serde_json::from_value(json!({
        "kind": "transformer", "layers": 2, "d_model": 32, "heads": 4, "attention_only": true,
        "normalization": "none", "positions": "learned",
    }))
    .unwrap();
    let model = Model::new(network, task.interface).unwrap();
    let config: TrainConfig = serde_json::from_value(json!({
        "optimizer": "adam", "learning_rate": 3e-3, "batch": 128, "steps": 400, "checkpoints": {},
    }))
    .unwrap();
    let mut trainer = Trainer::new(&model, &task, &config, 0).unwrap();
    let mut state = trainer.start(model.initial_weights(0)).unwrap();
    trainer.run(&mut state, |_| Ok::<_, Infallible>(ControlFlow::Continue(()))).unwrap();
    let split = task.split("train").unwrap();
    let (graph, nodes) = model.graph(100);
    let mut values = inputs(&split.data, 100);
    for (param, weights) in model.tensors(&state.weights) {
        values.insert(param.name.clone(), Value::Float(weights.iter().map(|&w| f64::from(w)).collect()));
    }
    let loss = graph.interpret(&values, &[nodes.loss]).unwrap()[0][0];
    // Knowing which names are there, but not which one comes twice, leaves ln 2 = 0.69.
    assert!(loss < 0.1, "{loss}");
}
