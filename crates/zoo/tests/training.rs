//! The trainer from the outside: learning, resuming with the same bits, stopping, and failing.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

use std::convert::Infallible;
use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;

use ontogeny_graph::{ColumnData, DataSet, Graph};
use ontogeny_zoo::{
    Batch, Model, NetworkConfig, Task, TaskConfig, TrainConfig, TrainError, TrainEvent, TrainOutcome, TrainState,
    Trainer,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct RunFile {
    task: TaskConfig,
    network: NetworkConfig,
    train: TrainConfig,
}

const RUN_FILE: &str = r#"
    [task]
    kind = "modular_arithmetic"
    p = 5
    operation = "add"
    train_fraction = 0.8

    [network]
    kind = "transformer"
    layers = 1
    d_model = 8
    heads = 2
    d_mlp = 16
    activation = "relu"
    normalization = "none"
    positions = "learned"

    [train]
    optimizer = "adamw"
    learning_rate = 1e-2
    weight_decay = 0.1
    betas = [0.9, 0.98]
    warmup_steps = 3
    batch = "full"
    steps = 30
    checkpoints = { log = 4, linear = 2 }
"#;

fn prepare(batch: Batch) -> (Model, Task, TrainConfig) {
    let file: RunFile = toml::from_str(RUN_FILE).unwrap();
    let task = file.task.prepare(0, Path::new("")).unwrap();
    let model = Model::new(file.network, task.interface).unwrap();
    (model, task, TrainConfig { batch, ..file.train })
}

/// Trains to the end; losses by step and all checkpoints.
fn train(trainer: &mut Trainer<'_>, state: &mut TrainState) -> (Vec<(u64, f32)>, Vec<TrainState>) {
    let (mut losses, mut checkpoints) = (Vec::new(), Vec::new());
    let outcome = trainer.run(state, |event| {
        match event {
            TrainEvent::Step { step, n_steps, loss } => {
                assert_eq!(n_steps, 30);
                losses.push((step, loss));
            }
            TrainEvent::Checkpoint(state) => checkpoints.push(state.clone()),
        }
        Ok::<_, Infallible>(ControlFlow::Continue(()))
    });
    assert_eq!(outcome.unwrap(), TrainOutcome::Finished);
    (losses, checkpoints)
}

/// Entropy in nats of the answers' frequencies: the smallest loss of a constant prediction.
fn entropy_of_answers(data: &DataSet) -> f64 {
    let targets = data.columns().iter().find(|c| c.name == "targets").unwrap();
    let ColumnData::Ids(targets) = &targets.data else { panic!("targets are ids") };
    let count = |class: i32| targets.iter().filter(|&&t| t == class).count() as f64;
    let share = |class| count(class) / targets.len() as f64;
    (0..5).map(share).filter(|&p| p > 0.0).map(|p| -p * p.ln()).sum()
}

#[test]
fn training_lowers_the_loss_and_resumes_with_the_same_bits() {
    for batch in [Batch::Full, Batch::Size(6)] {
        let (model, task, config) = prepare(batch);
        let data = &task;
        let mut trainer = Trainer::new(&model, data, &config, 1).unwrap();
        let mut state = trainer.start(model.initial_weights(1)).unwrap();
        let (losses, checkpoints) = train(&mut trainer, &mut state);
        assert!(losses.iter().map(|l| l.0).eq(0..30));
        // Over the last epoch (3 minibatches) it must be better than any answer that ignores the question.
        let late = losses[27..].iter().map(|l| f64::from(l.1)).sum::<f64>() / 3.0;
        assert!(late < entropy_of_answers(&task.split("train").unwrap().data), "{losses:?}");
        // round(30^(i/3)) for i = 0..3, and 15, 30.
        let steps: Vec<u64> = checkpoints.iter().map(|c| c.step).collect();
        assert_eq!(steps, [0, 1, 3, 10, 15, 30]);
        assert_eq!(checkpoints[0].weights, model.initial_weights(1));
        assert_eq!(checkpoints[0].weights, checkpoints[1].weights, "the first rate of a warm-up is 0");
        assert_ne!(checkpoints[1].weights, checkpoints[2].weights);
        assert_eq!(checkpoints.last(), Some(&state));

        for from in &checkpoints {
            let mut fresh = Trainer::new(&model, data, &config, 1).unwrap();
            let buffers = from.buffers.iter().rev().map(|(name, b)| ((*name).to_owned(), b.clone())).collect();
            let mut resumed = fresh.resume(from.step, from.weights.clone(), buffers).unwrap();
            let (rest, again) = train(&mut fresh, &mut resumed);
            assert_eq!(rest, losses[from.step as usize..]);
            let first = steps.iter().position(|&s| s == from.step).unwrap();
            assert_eq!(again, checkpoints[first..]);
        }
    }
}

#[test]
fn seeds_decide_minibatches() {
    let (model, task, config) = prepare(Batch::Size(6));
    let data = &task;
    let losses = |seed| {
        let mut trainer = Trainer::new(&model, data, &config, seed).unwrap();
        let mut state = trainer.start(model.initial_weights(1)).unwrap();
        train(&mut trainer, &mut state).0
    };
    assert_eq!(losses(1), losses(1));
    assert_ne!(losses(1), losses(2));
}

#[derive(Debug)]
struct DiskFull;

impl fmt::Display for DiskFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no space left")
    }
}

impl std::error::Error for DiskFull {}

#[test]
fn callers_may_stop_a_training_and_fail_in_it() {
    let (model, task, config) = prepare(Batch::Full);
    let data = &task;
    let mut trainer = Trainer::new(&model, data, &config, 1).unwrap();
    let mut state = trainer.start(model.initial_weights(1)).unwrap();
    let whole = train(&mut trainer, &mut state.clone());

    let outcome = trainer.run(&mut state, |event| {
        let stop = matches!(event, TrainEvent::Step { step: 6, .. });
        Ok::<_, Infallible>(if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    });
    assert_eq!((outcome.unwrap(), state.step), (TrainOutcome::Stopped, 7));
    let rest = train(&mut trainer, &mut state);
    assert_eq!(rest.0, whole.0[7..]);

    let mut state = trainer.start(model.initial_weights(1)).unwrap();
    let error = trainer.run(&mut state, |event| match event {
        TrainEvent::Checkpoint(state) if state.step == 3 => Err(DiskFull),
        _ => Ok(ControlFlow::Continue(())),
    });
    assert!(matches!(error, Err(TrainError::Caller(DiskFull))));
    assert_eq!(state.step, 3);
}

#[test]
fn extra_losses_are_graph_nodes() {
    let (model, task, config) = prepare(Batch::Full);
    let data = &task;
    let norm = |g: &mut Graph| {
        let table = g.find("embed.W_E").unwrap();
        let square = g.square(table);
        g.sum(square, &[0, 1])
    };
    let mut plain = Trainer::new(&model, data, &config, 1).unwrap();
    let mut penalised = Trainer::with_loss(&model, data, &config, 1, |g, nodes| {
        let norm = norm(g);
        g.add(nodes.loss, norm)
    })
    .unwrap();
    let weights = model.initial_weights(1);
    let size = |weights: &[f32]| -> f32 {
        let range = model.space().find("embed.W_E").unwrap().range.clone();
        weights[range].iter().map(|w| w * w).sum()
    };
    let mut free = plain.start(weights.clone()).unwrap();
    let mut held = penalised.start(weights.clone()).unwrap();
    let (free_losses, _) = train(&mut plain, &mut free);
    let (held_losses, _) = train(&mut penalised, &mut held);
    let difference = held_losses[0].1 - free_losses[0].1;
    // Six numbers of a few units each: 1e-5 is a hundred roundings.
    assert!((difference - size(&weights)).abs() < 1e-5, "{difference}");
    assert!(size(&held.weights) < size(&free.weights));
}

#[test]
fn numbers_that_overflow_stop_the_training_with_step_and_place() {
    let (model, task, config) = prepare(Batch::Full);
    let data = &task;
    let ignore = |_: TrainEvent<'_>| Ok::<_, Infallible>(ControlFlow::Continue(()));
    let mut trainer = Trainer::new(&model, data, &config, 1).unwrap();

    let mut weights = model.initial_weights(1);
    let at = model.space().find("blocks.0.mlp.W_in").unwrap().range.start;
    weights[at] = f32::NAN;
    let mut state = trainer.start(weights).unwrap();
    let error = trainer.run(&mut state, ignore).unwrap_err().to_string();
    assert!(error.contains("step 0") && error.contains("`blocks.0.mlp.W_in`"), "{error}");

    // Logits overflow where the weights are still finite.
    let mut weights = model.initial_weights(1);
    for name in ["blocks.0.mlp.W_in", "blocks.0.mlp.W_out"] {
        weights[model.space().find(name).unwrap().range.clone()].fill(1e30);
    }
    let mut state = trainer.start(weights).unwrap();
    let error = trainer.run(&mut state, ignore).unwrap_err();
    assert!(matches!(&error, TrainError::NonFinite { step: 0, node, .. } if !node.is_empty()), "{error}");
    assert!(error.to_string().contains("the loss is"), "{error}");
}

#[test]
fn states_of_another_training_are_refused() {
    let (model, task, config) = prepare(Batch::Full);
    let data = &task;
    let trainer = Trainer::new(&model, data, &config, 1).unwrap();
    let n = model.space().len();
    let buffers = |names: &[&str], len: usize| -> Vec<(String, Vec<f32>)> {
        names.iter().map(|name| ((*name).to_owned(), vec![0.0; len])).collect()
    };
    let adam = ["exp_avg", "exp_avg_sq"];
    for (step, weights, buffers, part) in [
        (31, n, buffers(&adam, n), "at step 31; expected at most 30".to_owned()),
        (0, n, buffers(&["momentum_buffer"], n), "expected [\"exp_avg\", \"exp_avg_sq\"]".to_owned()),
        (0, n - 1, buffers(&adam, n), format!("`weights` of the saved state has {} values; expected {n}", n - 1)),
        (0, n, buffers(&adam, n + 1), format!("`exp_avg` of the saved state has {} values; expected {n}", n + 1)),
    ] {
        let error = trainer.resume(step, vec![0.0; weights], buffers).unwrap_err().to_string();
        assert!(error.contains(&part), "{error}");
    }
}
