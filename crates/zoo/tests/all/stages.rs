//! Trainings of several stages: each is the training of its task alone, from where the one before ended.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

use std::convert::Infallible;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::path::Path;

use ontogeny_graph::Threads;
use ontogeny_zoo::{
    Model, NetworkConfig, Stage, Task, TaskConfig, TrainConfig, TrainEvent, TrainOutcome, TrainState, Trainer,
};
use serde_json::{Value, json};

fn task(settings: Value) -> Task {
    serde_json::from_value::<TaskConfig>(settings).unwrap().prepare(0, Path::new("")).unwrap()
}

fn residues(p: u32, operation: &str, train_fraction: f64) -> Task {
    task(json!({
        "kind": "modular_arithmetic", "p": p, "operation": operation, "train_fraction": train_fraction, "split_seed": 3,
    }))
}

fn model(task: &Task) -> Model {
    let network: NetworkConfig = serde_json::from_value(json!({
        "kind": "transformer", "layers": 1, "d_model": 8, "heads": 2, "d_mlp": 16, "activation": "relu",
        "normalization": "none", "positions": "learned",
    }))
    .unwrap();
    Model::new(network, task.interface).unwrap()
}

fn config(changes: &Value) -> TrainConfig {
    let mut settings =
        json!({"optimizer": "adamw", "learning_rate": 1e-2, "batch": "full", "steps": 20, "checkpoints": []});
    for (key, value) in changes.as_object().unwrap() {
        settings[key] = value.clone();
    }
    serde_json::from_value(settings).unwrap()
}

/// Trains to the end; losses by step, and all checkpoints.
fn train(trainer: &mut Trainer<'_>, state: &mut TrainState) -> (Vec<f32>, Vec<TrainState>) {
    let (mut losses, mut checkpoints) = (Vec::new(), Vec::new());
    let outcome = trainer.run(state, |event| {
        match event {
            TrainEvent::Step { loss, .. } => losses.push(loss),
            TrainEvent::Checkpoint(state) => checkpoints.push(state.clone()),
        }
        Ok::<_, Infallible>(ControlFlow::Continue(()))
    });
    assert_eq!(outcome.unwrap(), TrainOutcome::Finished);
    (losses, checkpoints)
}

/// As [`train`], from flat weights.
fn train_from(trainer: &mut Trainer<'_>, weights: &[f32]) -> (Vec<f32>, Vec<TrainState>) {
    let mut state = trainer.start(weights.to_vec()).unwrap();
    train(trainer, &mut state)
}

fn resumed(trainer: &Trainer<'_>, from: &TrainState) -> TrainState {
    let buffers = from.buffers.iter().map(|(name, values)| ((*name).to_owned(), values.clone())).collect();
    trainer.resume(from.step, from.weights.clone(), buffers, from.n_below, from.below_steps.clone()).unwrap()
}

#[test]
fn each_stage_is_the_training_of_its_task_from_where_the_one_before_ended() {
    let (add, sub) = (residues(5, "add", 0.8), residues(5, "sub", 0.8));
    let model = model(&sub);
    for changes in [
        json!({}),
        json!({"batch": 6, "temperature": 1e-4}),
        json!({"optimizer": "sgd", "momentum": 0.9}),
        json!({"optimizer": "natural_gradient", "damping": 1.0}),
        json!({"optimizer": "entropy_sgd", "entropy": {"scope": 0.1, "steps": 3}, "batch": 6}),
    ] {
        let config = config(&changes);
        let stages = [
            Stage { name: "addition", task: &add, first: 0, restarts_optimizer: false },
            Stage { name: "subtraction", task: &sub, first: 7, restarts_optimizer: false },
        ];
        let mut both = Trainer::with_stages(&model, &stages, &config, 1).unwrap();
        let (losses, checkpoints) = train_from(&mut both, &model.initial_weights(1));
        let steps: Vec<u64> = checkpoints.iter().map(|state| state.step).collect();
        assert_eq!(steps, [0, 7, 20]);
        assert_eq!(both.checkpoint_steps(), steps);

        let mut first = Trainer::new(&model, &add, &config, 1).unwrap();
        let alone = train_from(&mut first, &model.initial_weights(1)).0;
        assert_eq!(losses[..7], alone[..7], "{changes}");
        assert_ne!(losses[7..], alone[7..], "{changes}");
        let mut second = Trainer::new(&model, &sub, &config, 1).unwrap();
        let mut state = resumed(&second, &checkpoints[1]);
        assert_eq!(losses[7..], train(&mut second, &mut state).0, "{changes}");
        assert_eq!(Some(&state), checkpoints.last());
    }
}

#[test]
fn an_optimizer_that_starts_anew_is_that_of_step_0() {
    let (add, sub) = (residues(5, "add", 0.8), residues(5, "sub", 0.8));
    let model = model(&sub);
    for changes in [
        json!({"optimizer": "adam"}),
        json!({"optimizer": "sgd", "momentum": 0.9, "nesterov": true}),
        json!({"optimizer": "rmsprop", "momentum": 0.9}),
    ] {
        let config = config(&changes);
        let losses_with = |restarts_optimizer| {
            let stages = [
                Stage { name: "addition", task: &add, first: 0, restarts_optimizer: false },
                Stage { name: "subtraction", task: &sub, first: 7, restarts_optimizer },
            ];
            let mut both = Trainer::with_stages(&model, &stages, &config, 1).unwrap();
            train_from(&mut both, &model.initial_weights(1))
        };
        let (losses, checkpoints) = losses_with(true);
        // Full batches and a constant rate: nothing else knows the step.
        let mut fresh = Trainer::new(&model, &sub, &config, 1).unwrap();
        let alone = train_from(&mut fresh, &checkpoints[1].weights).0;
        assert_eq!(losses[7..], alone[..13], "{changes}");
        assert_ne!(losses[8..], losses_with(false).0[8..], "{changes}");
    }
}

#[test]
fn stages_resume_at_any_step_with_the_same_bits_on_any_number_of_threads() {
    let (add, sub) = (residues(5, "add", 0.8), residues(5, "sub", 0.8));
    let model = model(&sub);
    for batch in [json!("full"), json!(6)] {
        let every: Vec<u64> = (0..=20).collect();
        let config = config(&json!({"batch": batch, "temperature": 1e-4, "checkpoints": every}));
        let stages = [
            Stage { name: "addition", task: &add, first: 0, restarts_optimizer: false },
            Stage { name: "subtraction", task: &sub, first: 7, restarts_optimizer: true },
            Stage { name: "again", task: &add, first: 12, restarts_optimizer: false },
        ];
        let mut whole = Trainer::with_stages(&model, &stages, &config, 1).unwrap();
        let (losses, checkpoints) = train_from(&mut whole, &model.initial_weights(1));
        for (step, from) in checkpoints.iter().enumerate() {
            let mut fresh = Trainer::with_stages(&model, &stages, &config, 1).unwrap();
            fresh.set_threads(&Threads::new(NonZero::new(1 + step % 2).unwrap()));
            let mut state = resumed(&fresh, from);
            let (rest, again) = train(&mut fresh, &mut state);
            assert_eq!(rest, losses[step..]);
            assert_eq!(again, checkpoints[step..]);
        }
        // The same trainer, back from the last stage to the first.
        let again = train_from(&mut whole, &model.initial_weights(1));
        assert_eq!(again.0, losses);
    }
}

#[test]
fn what_an_early_stage_has_learned_does_not_end_the_training() {
    let (add, sub) = (residues(5, "add", 0.8), residues(5, "sub", 0.8));
    let model = model(&sub);
    // Every loss is below.
    let config = config(&json!({"stop_below": {"loss": 100.0, "for": 3}}));
    let stages = [
        Stage { name: "addition", task: &add, first: 0, restarts_optimizer: false },
        Stage { name: "subtraction", task: &sub, first: 7, restarts_optimizer: false },
    ];
    let mut trainer = Trainer::with_stages(&model, &stages, &config, 1).unwrap();
    let mut state = trainer.start(model.initial_weights(1)).unwrap();
    let outcome = trainer.run(&mut state, |_| Ok::<_, Infallible>(ControlFlow::Continue(())));
    assert_eq!((outcome.unwrap(), state.step), (TrainOutcome::Converged, 10));
}

#[test]
fn stages_that_do_not_go_together_are_named() {
    let (add, sub, seven) = (residues(5, "add", 0.8), residues(5, "sub", 0.8), residues(7, "add", 0.8));
    let fewer = residues(5, "add", 0.4);
    let endless = task(json!({"kind": "digit_addition", "digits": 1}));
    let model = model(&sub);
    let refused = |stages: &[(&'static str, &Task, u64)], batch: Value| {
        let stage = |&(name, task, first)| Stage { name, task, first, restarts_optimizer: false };
        let stages: Vec<Stage<'_>> = stages.iter().map(stage).collect();
        Trainer::with_stages(&model, &stages, &config(&json!({"batch": batch})), 1).unwrap_err().to_string()
    };
    for (stages, batch, message) in [
        (
            vec![("a", &seven, 0), ("b", &sub, 7)],
            json!(6),
            "the stage `a` has sequences of 3 ids below 8 that predict one of 7 classes; expected sequences of 3 ids below 6 \
             that predict one of 5 classes, as the task that is trained last: a training has one network",
        ),
        (
            vec![("a", &add, 1), ("b", &sub, 7)],
            json!(6),
            "the stage `a` begins at step 1; expected the first stage to begin at 0",
        ),
        (
            vec![("a", &add, 0), ("b", &sub, 0)],
            json!(6),
            "the stage `b` begins at step 0; expected a step after 0, the first one of `a`",
        ),
        (
            vec![("a", &add, 0), ("b", &sub, 20)],
            json!(6),
            "the stage `b` begins at step 20; expected a step below 20, the steps of the training",
        ),
        (
            vec![("a", &fewer, 0), ("b", &sub, 7)],
            json!("full"),
            "in the stage `b`: train.batch is full, which is 20 examples here and 10 in `a`; expected a number of examples, \
             the same in all stages",
        ),
        (
            vec![("a", &fewer, 0), ("b", &sub, 7)],
            json!(15),
            "in the stage `a`: train.batch is 15; expected \"full\" or 1 to 10, the number of training examples",
        ),
        (vec![], json!(6), "train.stages is empty; expected at least one stage"),
        (vec![("a", &endless, 0), ("b", &sub, 7)], json!(6), "the stage `a` has sequences of"),
    ] {
        let found = refused(&stages, batch);
        assert!(found.starts_with(message), "{found}");
    }
}
