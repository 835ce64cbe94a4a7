//! The trainer from the outside: learning, resuming with the same bits, stopping, and failing.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

use std::convert::Infallible;
use std::fmt;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::path::Path;

use ontogeny_graph::{Column, ColumnData, DataSet, Graph, Threads};
use ontogeny_zoo::{
    Batch, Interface, Model, NetworkConfig, Split, StopBelow, Task, TaskConfig, TrainConfig, TrainError, TrainEvent,
    TrainOutcome, TrainState, Trainer, VectorLoss, prune_smallest, rewind,
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
            TrainEvent::Step { step, n_steps, loss, .. } => {
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
            let mut resumed =
                fresh.resume(from.step, from.weights.clone(), buffers, from.n_below, from.below_steps.clone()).unwrap();
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
        let error = trainer.resume(step, vec![0.0; weights], buffers, 0, Vec::new()).unwrap_err().to_string();
        assert!(error.contains(&part), "{error}");
    }
}

/// Settings of `[train]` in TOML after those that all share.
fn config_with(optimizer: &str, further: &str) -> TrainConfig {
    let text = format!(
        "optimizer = \"{optimizer}\"\nlearning_rate = 3e-3\nbatch = 6\nsteps = 12\ncheckpoints = []\n{further}"
    );
    toml::from_str(&text).unwrap()
}

/// The states before every update and after the last, and what each update reported.
fn every_state(trainer: &mut Trainer<'_>, state: &mut TrainState) -> (Vec<TrainState>, Vec<(f32, f64, f64)>) {
    let (mut states, mut reports) = (vec![state.clone()], Vec::new());
    let outcome = trainer.run(state, |event| {
        if let TrainEvent::Step { loss, learning_rate, gradient_norm, state, .. } = event {
            states.push(state.clone());
            reports.push((loss, learning_rate, gradient_norm));
        }
        Ok::<_, Infallible>(ControlFlow::Continue(()))
    });
    outcome.unwrap();
    (states, reports)
}

#[test]
fn every_optimizer_resumes_at_every_step_with_the_same_bits_and_any_threads() {
    let (model, task, _) = prepare(Batch::Full);
    for (optimizer, further) in [
        ("sgd", ""),
        ("sgd", "momentum = 0.9\nnesterov = true\nweight_decay = 0.1\nschedule = \"one_cycle\""),
        ("adam", "schedule = \"cosine\"\nwarmup_steps = 3\nclip_norm = 0.1"),
        ("adamw", "weight_decay = 1.0\nno_decay = [\"bias\", \"norm\", \"embed\"]\ntemperature = 1e-4"),
        ("rmsprop", "momentum = 0.5\nschedule = \"step\"\nstep_every = 5\nstep_factor = 0.3\nfreeze = [\"W_E\"]"),
        ("sgd", "stop_below = { loss = 100.0, for = 9 }"),
        ("entropy_sgd", "entropy = { scope = 0.5, scope_growth = 0.1, steps = 3, noise = 1e-2 }\nfreeze = [\"W_Q\"]"),
    ] {
        let config = config_with(optimizer, further);
        let mut trainer = Trainer::new(&model, &task, &config, 1).unwrap();
        let mut state = trainer.start(model.initial_weights(1)).unwrap();
        let (states, reports) = every_state(&mut trainer, &mut state);
        assert_eq!(states.len(), if config.stop_below.is_some() { 10 } else { 13 });
        assert!(states.array_windows().skip(1).all(|[a, b]| a.weights != b.weights), "{optimizer}: {further}");
        for from in &states {
            let mut fresh = Trainer::new(&model, &task, &config, 1).unwrap();
            fresh.set_threads(&Threads::new(NonZero::new(1 + from.step as usize % 3).unwrap()));
            let buffers = from.buffers.iter().map(|(name, b)| ((*name).to_owned(), b.clone())).collect();
            let mut resumed =
                fresh.resume(from.step, from.weights.clone(), buffers, from.n_below, from.below_steps.clone()).unwrap();
            let (rest, again) = every_state(&mut fresh, &mut resumed);
            assert_eq!(rest, states[from.step as usize..], "{optimizer} from {}", from.step);
            assert_eq!(again, reports[from.step as usize..]);
        }
    }
}

#[test]
fn updates_report_their_rate_and_the_norm_before_clipping() {
    let (model, task, _) = prepare(Batch::Full);
    let run = |further: &str| {
        let config = config_with("sgd", further);
        let mut trainer = Trainer::new(&model, &task, &config, 1).unwrap();
        let mut state = trainer.start(model.initial_weights(1)).unwrap();
        let (states, reports) = every_state(&mut trainer, &mut state);
        let moves: Vec<f64> = states
            .array_windows()
            .map(|[a, b]| a.weights.iter().zip(&b.weights).map(|(a, b)| f64::from(b - a).powi(2)).sum::<f64>().sqrt())
            .collect();
        (moves, reports, config)
    };
    for clip in [f64::INFINITY, 0.01] {
        let further = if clip.is_finite() { format!("clip_norm = {clip}") } else { String::new() };
        let (moves, reports, config) = run(&format!("schedule = \"cosine\"\n{further}"));
        for (step, ((_, rate, norm), moved)) in reports.iter().zip(&moves).enumerate() {
            assert_eq!(*rate, config.learning_rate_at(step as u64));
            // Plain SGD moves by rate · gradient; each weight, of size 1 or so, rounds.
            let rounding = 2_f64.powi(-24) * (model.space().len() as f64).sqrt();
            let wanted = rate * norm.min(clip);
            assert!((moved - wanted).abs() <= 1e-5 * wanted + rounding, "{step}: {moved} {wanted}");
            assert!(*norm > 0.01);
        }
    }
}

/// Weights that the loss does not pull anywhere, so that √(2·rate·T)·ξ is all that moves them.
#[test]
fn temperature_adds_normals_of_the_stated_variance() {
    let (model, task, _) = prepare(Batch::Full);
    let config = config_with("sgd", "temperature = 0.5");
    let mut trainer = Trainer::with_loss(&model, &task, &config, 1, |g, nodes| g.scale(nodes.loss, 0.0)).unwrap();
    let mut state = trainer.start(vec![0.0; model.space().len()]).unwrap();
    let (states, reports) = every_state(&mut trainer, &mut state);
    assert!(reports.iter().all(|(_, _, norm)| *norm == 0.0));
    let n = model.space().len() as f64;
    let mean_square = state.weights.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>() / n;
    let variance = 12.0 * 2.0 * 3e-3 * 0.5;
    // The mean of n squares of normals has the standard error variance·√(2/n).
    assert!((mean_square - variance).abs() <= 4.0 * variance * (2.0 / n).sqrt(), "{mean_square} {variance}");
    assert_ne!(
        states[1].weights,
        states[2].weights.iter().zip(&states[1].weights).map(|(b, a)| b - a).collect::<Vec<_>>()
    );
}

#[test]
fn held_weights_keep_their_bits() {
    let (model, task, _) = prepare(Batch::Full);
    let start = model.initial_weights(1);
    let further = "temperature = 1e-3\nweight_decay = 0.5\nfreeze = [\"embed\"]";
    let frozen = model.space().find("embed.W_E").unwrap().range.clone();
    let config = config_with("adamw", further);
    let mut trainer = Trainer::new(&model, &task, &config, 1).unwrap();
    let mut state = trainer.start(start.clone()).unwrap();
    every_state(&mut trainer, &mut state);
    for (at, (before, after)) in start.iter().zip(&state.weights).enumerate() {
        assert_eq!(before.to_bits() == after.to_bits(), frozen.contains(&at), "{at}");
    }

    // A lottery ticket: pruned weights stay 0 through training, and only they.
    let mut is_kept = vec![true; start.len()];
    prune_smallest(model.space(), &state.weights, &mut is_kept, |p| if p.name.contains(".W_") { 0.6 } else { 0.0 });
    let ticket = rewind(&start, &is_kept);
    trainer.set_mask(&is_kept).unwrap();
    let mut state = trainer.start(ticket.clone()).unwrap();
    every_state(&mut trainer, &mut state);
    for (at, after) in state.weights.iter().enumerate() {
        assert_eq!(*after == ticket[at], !is_kept[at] || frozen.contains(&at), "{at}");
        assert_eq!(*after == 0.0, !is_kept[at], "{at}");
    }
    let n = start.len();
    assert_eq!(
        trainer.set_mask(&is_kept[1..]).unwrap_err().to_string(),
        format!("train.mask is {} long; expected an entry for each of {n} weights", n - 1)
    );
    let config = config_with("sgd", "freeze = [\"W_X\"]");
    let error = Trainer::new(&model, &task, &config, 1).unwrap_err().to_string();
    assert!(error.starts_with("train.freeze is W_X; expected"), "{error}");
}

#[test]
fn trainings_end_once_the_loss_has_stayed_below() {
    let (model, task, config) = prepare(Batch::Full);
    let whole = |config: &TrainConfig| {
        let mut trainer = Trainer::new(&model, &task, config, 1).unwrap();
        let mut state = trainer.start(model.initial_weights(1)).unwrap();
        let mut losses = Vec::new();
        let mut checkpoints = Vec::new();
        let outcome = trainer.run(&mut state, |event| {
            match event {
                TrainEvent::Step { loss, .. } => losses.push(loss),
                TrainEvent::Checkpoint(state) => checkpoints.push(state.step),
            }
            Ok::<_, Infallible>(ControlFlow::Continue(()))
        });
        (outcome.unwrap(), losses, checkpoints)
    };
    let (outcome, losses, checkpoints) = whole(&config);
    assert_eq!((outcome, losses.len()), (TrainOutcome::Finished, 30));
    // The loss falls from step to step here, so the first of three below `losses[20]` is number 21.
    assert!(losses[10..].array_windows().all(|[a, b]| a > b), "{losses:?}");
    let stop = StopBelow { loss: f64::from(losses[20]), n_updates: 3 };
    let (outcome, stopped, at) = whole(&TrainConfig { stop_below: Some(stop), ..config.clone() });
    assert_eq!((outcome, &stopped[..]), (TrainOutcome::Converged, &losses[..24]));
    let before: Vec<u64> = checkpoints.into_iter().filter(|&step| step < 24).chain([24]).collect();
    assert_eq!(at, before);
}

/// A checkpoint where something happens: the state of an update is one to continue from.
#[test]
fn states_of_updates_are_checkpoints() {
    let (model, task, config) = prepare(Batch::Full);
    let mut trainer = Trainer::new(&model, &task, &config, 1).unwrap();
    let mut state = trainer.start(model.initial_weights(1)).unwrap();
    let mut kept: Option<TrainState> = None;
    let mut first = f32::MAX;
    let outcome = trainer.run(&mut state, |event| {
        if let TrainEvent::Step { step, loss, state, .. } = event {
            first = if step == 0 { loss } else { first };
            if kept.is_none() && loss < 0.95 * first {
                kept = Some(state.clone());
            }
        }
        Ok::<_, Infallible>(ControlFlow::Continue(()))
    });
    outcome.unwrap();
    let mut continued = kept.unwrap();
    assert!(continued.step < 30);
    train(&mut trainer, &mut continued);
    assert_eq!(continued, state);
}

/// Forty examples of two inputs and two targets each, for a linear network of four weights and two biases.
fn regression() -> (Model, Task) {
    let network = serde_json::from_value(serde_json::json!({"kind": "mlp", "sizes": [2, 2], "activation": "identity"}));
    let loss = VectorLoss::Squared { factor: 0.5, importance: 0.25 };
    let interface = Interface::Vectors { inputs: 2, outputs: 2, loss, image: None };
    let numbers = |phase: f32| (0..80).map(|i| 1.0 + (phase * i as f32).sin()).collect::<Vec<f32>>();
    let column =
        |name: &str, phase| Column { name: name.to_owned(), width: 2, data: ColumnData::Float(numbers(phase)) };
    let data = DataSet::new(40, vec![column("x", 1.3), column("y", 0.7)]).unwrap();
    let train = Split { name: "train", indices: (0..40).collect(), data, subtasks: Vec::new() };
    let task = Task {
        interface,
        splits: vec![train],
        endless: None,
        subtasks: None,
        words: None,
        corpus: None,
        environment: None,
    };
    (Model::new(network.unwrap(), interface).unwrap(), task)
}

/// The loss of linear regression is quadratic and its Fisher matrix is the Hessian, so a step of rate 1 without damping ends at
/// the optimum (Martens 2020, §6). Of a single layer the matrix is one Kronecker product, so K-FAC does the same.
#[test]
fn natural_gradient_solves_linear_regression_in_one_step() {
    let (model, task) = regression();
    for (optimizer, freeze) in [("natural_gradient", "[]"), ("natural_gradient", "[\"bias\"]"), ("kfac", "[]")] {
        let text = format!(
            "optimizer = \"{optimizer}\"\nlearning_rate = 1.0\ndamping = 0.0\nbatch = \"full\"\nsteps = 3\n\
             checkpoints = []\nfreeze = {freeze}"
        );
        let config: TrainConfig = toml::from_str(&text).unwrap();
        let mut trainer = Trainer::new(&model, &task, &config, 1).unwrap();
        let mut state = trainer.start(model.initial_weights(1)).unwrap();
        let (states, reports) = every_state(&mut trainer, &mut state);
        // The gradient is a mean of products of numbers of a few units, each rounded to 6e-8: what is left is rounding.
        assert!(reports[0].2 > 0.1 && reports[1].2 < 2e-6, "{freeze}: {reports:?}");
        assert!(reports[1].0 < reports[0].0);
        // And the step after it goes nowhere.
        let moved = states[1].weights.iter().zip(&states[2].weights).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(moved < 2e-5, "{freeze}: {moved}");
        for from in &states {
            let mut resumed =
                trainer.resume(from.step, from.weights.clone(), Vec::new(), 0, from.below_steps.clone()).unwrap();
            assert_eq!(every_state(&mut trainer, &mut resumed).0, states[from.step as usize..]);
        }
    }
}

/// Twice the same input: without damping the Fisher matrix has no inverse.
#[test]
fn singular_fisher_matrices_are_told() {
    let (model, mut task) = regression();
    let column = |name: &str| Column { name: name.to_owned(), width: 2, data: ColumnData::Float(vec![1.0; 80]) };
    task.splits[0].data = DataSet::new(40, vec![column("x"), column("y")]).unwrap();
    let run = |damping: f64| {
        let text = format!(
            "optimizer = \"natural_gradient\"\nlearning_rate = 1.0\ndamping = {damping:?}\nbatch = \"full\"\nsteps = 3\n\
             checkpoints = []"
        );
        let config: TrainConfig = toml::from_str(&text).unwrap();
        let mut trainer = Trainer::new(&model, &task, &config, 1).unwrap();
        let mut state = trainer.start(model.initial_weights(1)).unwrap();
        trainer.run(&mut state, |_| Ok::<_, Infallible>(ControlFlow::Continue(())))
    };
    let error = run(0.0).unwrap_err().to_string();
    assert!(error.contains("step 0") && error.contains("train.damping = 0 is not positive definite"), "{error}");
    assert_eq!(run(1e-3).unwrap(), TrainOutcome::Finished);
}

/// Algorithm 1 of Chaudhari et al. 2017 on the quadratic ½a‖w‖², written out in f64; and its noise where there is no loss.
#[test]
fn entropy_sgd_is_its_algorithm() {
    let (model, task) = regression();
    let run = |curvature: f64, settings: &str, rate: f64, seed: u32| {
        let text = format!(
            "optimizer = \"entropy_sgd\"\nlearning_rate = {rate:?}\nbatch = \"full\"\nsteps = 3\ncheckpoints = []\n\
             entropy = {settings}"
        );
        let config: TrainConfig = toml::from_str(&text).unwrap();
        let mut trainer = Trainer::with_loss(&model, &task, &config, seed, |g, nodes| {
            let mut loss = g.scale(nodes.loss, 0.0);
            for param in g.param_nodes() {
                let square = g.square(param);
                let axes: Vec<usize> = (0..g.shape(square).len()).collect();
                let sum = g.sum(square, &axes);
                let term = g.scale(sum, 0.5 * curvature);
                loss = g.add(loss, term);
            }
            loss
        })
        .unwrap();
        let mut state = trainer.start(model.initial_weights(1)).unwrap();
        every_state(&mut trainer, &mut state)
    };
    let (states, reports) =
        run(2.0, "{ scope = 0.5, scope_growth = 0.2, steps = 7, rate = 0.1, noise = 0.0, average = 0.6 }", 1.5, 0);
    let mut weights: Vec<f64> = states[0].weights.iter().map(|&w| f64::from(w)).collect();
    for step in 0..3 {
        let scope = 0.5 * 1.2_f64.powi(step);
        let mut square = 0.0;
        for x in &mut weights {
            let (mut place, mut mean) = (*x, *x);
            for _ in 0..7 {
                place -= 0.1 * (2.0 * place + scope * (place - *x));
                mean = 0.4 * mean + 0.6 * place;
            }
            let slope = scope * (*x - mean);
            square += slope * slope;
            *x -= 1.5 * slope;
        }
        for (found, wanted) in states[step as usize + 1].weights.iter().zip(&weights) {
            // Seven inner steps of some five roundings each, of numbers below 1.
            assert!((f64::from(*found) - wanted).abs() < 35.0 * 3.0 * 6e-8, "{found} {wanted}");
        }
        assert!((reports[step as usize].2 - square.sqrt()).abs() < 1e-5);
    }
    // γη = 1 and α = 1: the weights end where the inner steps end, after a random walk of variance 3·L·η'·ε².
    let mut sum = 0.0;
    for seed in 0..200 {
        let (states, _) = run(0.0, "{ scope = 1e-4, steps = 5, rate = 0.1, noise = 0.3, average = 1.0 }", 1e4, seed);
        let moved = states[3].weights.iter().zip(&states[0].weights).map(|(a, b)| f64::from(a - b).powi(2));
        sum += moved.sum::<f64>();
    }
    let n = 200.0 * model.space().len() as f64;
    let variance = 3.0 * 5.0 * 0.1 * 0.09;
    assert!((sum / n - variance).abs() < 4.0 * variance * (2.0 / n).sqrt(), "{} {variance}", sum / n);
}

/// A step of K-FAC on a perceptron of 2, 3 and 2 neurons, written out in f64 with sums over examples and classes.
#[test]
fn kfac_is_its_formula() {
    const N: usize = 12;
    let network = serde_json::json!({"kind": "mlp", "sizes": [2, 3, 2], "activation": "tanh"});
    let loss = VectorLoss::CrossEntropy;
    let interface = Interface::Vectors { inputs: 2, outputs: 2, loss, image: None };
    let model = Model::new(serde_json::from_value(network).unwrap(), interface).unwrap();
    let x: Vec<f32> = (0..2 * N).map(|i| 1.5 * (1.3 * i as f32).sin()).collect();
    let y: Vec<i32> = (0..N as i32).map(|i| i * i % 3 % 2).collect();
    let data = DataSet::new(
        N,
        vec![
            Column { name: "x".to_owned(), width: 2, data: ColumnData::Float(x.clone()) },
            Column { name: "y".to_owned(), width: 1, data: ColumnData::Ids(y.clone()) },
        ],
    );
    let train = Split { name: "train", indices: (0..N).collect(), data: data.unwrap(), subtasks: Vec::new() };
    let task = Task {
        interface,
        splits: vec![train],
        endless: None,
        subtasks: None,
        words: None,
        corpus: None,
        environment: None,
    };
    let damping = 0.05_f64;
    let text =
        "optimizer = \"kfac\"\nlearning_rate = 0.5\ndamping = 0.05\nbatch = \"full\"\nsteps = 40\ncheckpoints = []";
    let config: TrainConfig = toml::from_str(text).unwrap();
    let mut trainer = Trainer::new(&model, &task, &config, 1).unwrap();
    let mut state = trainer.start(model.initial_weights(1)).unwrap();
    let (states, reports) = every_state(&mut trainer, &mut state);
    assert!(reports[39].0 < 0.7 * reports[0].0, "{reports:?}");

    let w: Vec<f64> = states[0].weights.iter().map(|&w| f64::from(w)).collect();
    // In flat order: W [2, 3], b [3], W [3, 2], b [2]; each layer as one matrix [in + 1, out].
    let (first, second) = (&w[..9], &w[9..]);
    let (mut a, mut g) = ([vec![0.0; 9], vec![0.0; 16]], [vec![0.0; 9], vec![0.0; 4]]);
    let mut gradient = [vec![0.0; 9], vec![0.0; 8]];
    for i in 0..N {
        let input = [f64::from(x[2 * i]), f64::from(x[2 * i + 1]), 1.0];
        let mut hidden = [0.0, 0.0, 0.0, 1.0];
        for (j, h) in hidden[..3].iter_mut().enumerate() {
            *h = (0..3).map(|k| input[k] * first[3 * k + j]).sum::<f64>().tanh();
        }
        let logits = [0, 1].map(|j| (0..4).map(|k| hidden[k] * second[2 * k + j]).sum::<f64>());
        let total: f64 = logits.iter().map(|z| z.exp()).sum();
        let p = logits.map(|z| z.exp() / total);
        let back = |class: usize| {
            let slope = [0, 1].map(|j| p[j] - f64::from(u8::from(j == class)));
            let inner = [0, 1, 2]
                .map(|j| (1.0 - hidden[j] * hidden[j]) * (slope[0] * second[2 * j] + slope[1] * second[2 * j + 1]));
            (slope, inner)
        };
        let (slope, inner) = back(y[i] as usize);
        for k in 0..3 {
            for j in 0..3 {
                gradient[0][3 * k + j] += input[k] * inner[j] / N as f64;
                a[0][3 * k + j] += input[k] * input[j] / N as f64;
            }
        }
        for k in 0..4 {
            for j in 0..2 {
                gradient[1][2 * k + j] += hidden[k] * slope[j] / N as f64;
            }
            for j in 0..4 {
                a[1][4 * k + j] += hidden[k] * hidden[j] / N as f64;
            }
        }
        for (class, weight) in p.iter().enumerate() {
            let (slope, inner) = back(class);
            for k in 0..3 {
                for j in 0..3 {
                    g[0][3 * k + j] += weight * inner[k] * inner[j] / N as f64;
                }
            }
            for k in 0..2 {
                for j in 0..2 {
                    g[1][2 * k + j] += weight * slope[k] * slope[j] / N as f64;
                }
            }
        }
    }
    let mut wanted = Vec::new();
    for layer in 0..2 {
        let (n, m) = ([3, 4][layer], [3, 2][layer]);
        let trace = |matrix: &[f64], n: usize| (0..n).map(|i| matrix[i * n + i]).sum::<f64>();
        let balance = ((trace(&a[layer], n) / n as f64) / (trace(&g[layer], m) / m as f64)).sqrt();
        for i in 0..n {
            a[layer][i * n + i] += balance * damping.sqrt();
        }
        for i in 0..m {
            g[layer][i * m + i] += damping.sqrt() / balance;
        }
        // (A ⊗ G)·step = gradient, in flat order, by elimination.
        let size = n * m;
        let mut rows: Vec<Vec<f64>> = (0..size)
            .map(|r| {
                let entry = |c: usize| a[layer][r / m * n + c / m] * g[layer][r % m * m + c % m];
                (0..size).map(entry).chain([gradient[layer][r]]).collect()
            })
            .collect();
        for pivot in 0..size {
            for r in 0..size {
                if r != pivot {
                    let factor = rows[r][pivot] / rows[pivot][pivot];
                    let known = rows[pivot].clone();
                    rows[r].iter_mut().zip(known).for_each(|(entry, known)| *entry -= factor * known);
                }
            }
        }
        wanted.extend((0..size).map(|r| rows[r][size] / rows[r][r]));
    }
    let largest = wanted.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
    for ((before, after), step) in w.iter().zip(&states[1].weights).zip(&wanted) {
        let found = (before - f64::from(*after)) / 0.5;
        // Factors and gradient are of single precision, and their damped condition is below 100: 100 · 6e-8 or so.
        assert!((found - step).abs() <= 1e-5 * largest, "{found} {step}");
    }
}
