//! A progress measure in the training loss: what it does to a training, and what cannot be trained so.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

use std::convert::Infallible;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::path::Path;

use ontogeny_graph::Threads;
use ontogeny_zoo::{Model, NetworkConfig, Stage, Task, TaskConfig, TrainConfig, TrainEvent, TrainState, Trainer};
use serde_json::{Value, json};

fn task(changes: &Value) -> Task {
    let mut settings = json!({"kind": "modular_arithmetic", "p": 7, "operation": "add", "train_fraction": 0.6});
    for (key, value) in changes.as_object().unwrap() {
        settings[key] = value.clone();
    }
    serde_json::from_value::<TaskConfig>(settings).unwrap().prepare(0, Path::new("")).unwrap()
}

fn model(task: &Task) -> Model {
    let network = json!({"kind": "modular_mlp", "d_embed": 8, "hidden": 16, "activation": "relu"});
    Model::new(serde_json::from_value::<NetworkConfig>(network).unwrap(), task.interface).unwrap()
}

fn config(changes: &Value) -> TrainConfig {
    let mut settings = json!({
        "optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.1, "batch": "full", "steps": 12,
        "checkpoints": [0, 3, 5, 12],
    });
    for (key, value) in changes.as_object().unwrap() {
        settings[key] = value.clone();
    }
    serde_json::from_value(settings).unwrap()
}

fn term(kind: &str, weight: f64) -> Value {
    json!({"progress": {"kind": kind, "weight": weight, "frequencies": [1, 3]}})
}

/// Both measures, each over all pairs and over the training pairs alone.
fn terms(weight: f64) -> [Value; 4] {
    let over = |kind, pairs: &str| {
        let mut term = term(kind, weight);
        term["progress"]["pairs"] = pairs.into();
        term
    };
    [over("restricted", "all"), over("excluded", "all"), over("restricted", "train"), over("excluded", "train")]
}

/// The checkpoints, and the loss before the first update.
fn train(trainer: &mut Trainer<'_>, state: &mut TrainState) -> (Vec<TrainState>, f32) {
    let (mut checkpoints, mut first) = (Vec::new(), None);
    let outcome = trainer.run(state, |event| {
        match event {
            TrainEvent::Checkpoint(state) => checkpoints.push(state.clone()),
            TrainEvent::Step { loss, .. } => {
                first.get_or_insert(loss);
            }
        }
        Ok::<_, Infallible>(ControlFlow::Continue(()))
    });
    outcome.unwrap();
    (checkpoints, first.unwrap_or(f32::NAN))
}

fn trained(model: &Model, task: &Task, config: &TrainConfig) -> Vec<TrainState> {
    let mut trainer = Trainer::new(model, task, config, 2).unwrap();
    let mut state = trainer.start(model.initial_weights(2)).unwrap();
    train(&mut trainer, &mut state).0
}

/// L + λ·M at some weights.
fn loss_at(model: &Model, task: &Task, weights: &[f32], changes: &Value) -> f64 {
    let mut trainer = Trainer::new(model, task, &config(changes), 2).unwrap();
    let mut state = trainer.start(weights.to_vec()).unwrap();
    f64::from(train(&mut trainer, &mut state).1)
}

#[test]
fn a_term_of_weight_0_changes_no_bit() {
    let task = task(&json!({}));
    let model = model(&task);
    let plain = trained(&model, &task, &config(&json!({})));
    for (none, some) in terms(0.0).iter().zip(&terms(0.1)) {
        assert_eq!(trained(&model, &task, &config(none)), plain);
        assert_ne!(trained(&model, &task, &config(some)), plain);
    }
}

#[test]
fn logits_that_are_the_same_for_all_pairs_are_kept_by_both() {
    let task = task(&json!({}));
    let model = model(&task);
    // Weights of 0 give logits of 0: both measures are ln p, and so is the loss.
    for weight in [-0.5, 2.0] {
        for term in terms(weight) {
            let found = loss_at(&model, &task, &vec![0.0; model.space().len()], &term);
            assert!((found - (1.0 + weight) * 7.0_f64.ln()).abs() < 1e-6, "{term}: {found}");
        }
    }
}

#[test]
fn it_resumes_with_the_same_bits_on_any_number_of_threads() {
    let task = task(&json!({}));
    let model = model(&task);
    for term in terms(-0.05) {
        let config = config(&term);
        let whole = trained(&model, &task, &config);
        for (at, from) in whole.iter().enumerate() {
            let mut trainer = Trainer::new(&model, &task, &config, 2).unwrap();
            trainer.set_threads(&Threads::new(NonZero::new(1 + at % 2).unwrap()));
            let buffers = from.buffers.iter().map(|(name, values)| ((*name).to_owned(), values.clone())).collect();
            let mut state = trainer.resume(from.step, from.weights.clone(), buffers, 0, Vec::new()).unwrap();
            assert_eq!(train(&mut trainer, &mut state).0, whole[at..]);
        }
    }
}

#[test]
fn its_sign_says_whether_the_measure_falls_or_rises() {
    let task = task(&json!({}));
    let model = model(&task);
    for which in 0..4 {
        let [with, without] = [terms(1.0)[which].clone(), json!({})];
        // M at the end of a training with the term of this weight.
        let measure = |weight| {
            let progress = &terms(weight)[which]["progress"];
            let config = config(&json!({"progress": progress, "steps": 60, "checkpoints": []}));
            let end = trained(&model, &task, &config).pop().unwrap();
            loss_at(&model, &task, &end.weights, &with) - loss_at(&model, &task, &end.weights, &without)
        };
        let [fought, ignored, sought] = [-0.5, 0.0, 0.5].map(measure);
        assert!(fought > ignored && ignored > sought, "{which}: {fought} {ignored} {sought}");
    }
}

#[test]
fn an_update_counts_the_pairs_that_it_learns_from() {
    let task = task(&json!({}));
    let trainer = Trainer::new(&model(&task), &task, &config(&term("excluded", 0.1)), 0).unwrap();
    // 60 % of 49 pairs.
    assert_eq!(trainer.examples_per_update(), 29);
}

#[test]
fn what_cannot_be_trained_so_is_told() {
    let addition = task(&json!({}));
    let refused = |task: &Task, changes: &Value| {
        let mut changes = changes.clone();
        if changes.get("progress").is_none() {
            changes["progress"] = json!({"kind": "restricted", "weight": 0.1, "frequencies": [1, 3]});
        }
        Trainer::new(&model(task), task, &config(&changes), 0).unwrap_err().to_string()
    };
    for (changes, message) in [
        (
            json!({"progress": {"kind": "restricted", "weight": 0.1, "frequencies": [1, 4]}}),
            "train.progress is { frequencies = [4] }; expected frequencies from 1 to 3, which is (p − 1)/2 for p = 7",
        ),
        (
            json!({"progress": {"kind": "excluded", "weight": 0.0, "frequencies": [0]}}),
            "train.progress is { frequencies = [0] }; expected frequencies from 1 to 3, which is (p − 1)/2 for p = 7",
        ),
        (
            json!({"progress": {"kind": "excluded", "weight": 0.1, "frequencies": [2, 2]}}),
            "train.progress is { frequencies = [2, 2] }; expected one frequency or more, each once",
        ),
        (
            json!({"progress": {"kind": "excluded", "weight": 0.1, "frequencies": []}}),
            "train.progress is { frequencies = [] }; expected one frequency or more, each once",
        ),
        (
            json!({"batch": 8}),
            "train.batch is 8; expected \"full\" beside train.progress, whose projection takes all pairs together",
        ),
        (
            json!({"optimizer": "natural_gradient", "weight_decay": 0.0}),
            "train.progress is given; expected it only with optimizer = sgd, adam, adamw, rmsprop or entropy_sgd",
        ),
    ] {
        assert_eq!(refused(&addition, &changes), message);
    }
    let expected = "; expected the task `modular_arithmetic` with operation = \"add\" and p ≥ 3, or no progress term";
    for (changes, found) in [
        (json!({"operation": "mul"}), "targets that are not a + b modulo p"),
        (json!({"operation": "sub"}), "targets that are not a + b modulo p"),
        (json!({"p": 2}), "4 examples of 2 classes"),
    ] {
        let message = format!("train.progress is given with {found}{expected}");
        assert_eq!(refused(&task(&changes), &json!({})), message);
    }

    let stages = [
        Stage { name: "first", task: &addition, first: 0, restarts_optimizer: false },
        Stage { name: "second", task: &addition, first: 5, restarts_optimizer: false },
    ];
    let error = Trainer::with_stages(&model(&addition), &stages, &config(&term("excluded", 0.1)), 0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "train.progress is given with 2 stages; expected a training in one stage; take out either of them"
    );

    let images = json!({"kind": "images", "source": "digits", "train_examples": 100});
    let images = serde_json::from_value::<TaskConfig>(images).unwrap().prepare(0, Path::new("")).unwrap();
    let network = json!({"kind": "mlp", "sizes": [64, 10], "activation": "relu"});
    let network = serde_json::from_value::<NetworkConfig>(network).unwrap();
    let perceptron = Model::new(network, images.interface).unwrap();
    let error = Trainer::new(&perceptron, &images, &config(&term("excluded", 0.1)), 0).unwrap_err().to_string();
    assert_eq!(error, format!("train.progress is given with a task without classes{expected}"));
}
