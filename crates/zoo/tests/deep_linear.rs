//! Deep linear networks learn their teacher mode by mode, at the times that theory says.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::path::Path;

use ontogeny_zoo::{DeepLinearConfig, Model, NetworkConfig, Task, TaskConfig, TrainConfig, TrainEvent, Trainer};
use serde_json::json;

fn prepare(config: &DeepLinearConfig, sizes: [usize; 3]) -> (Task, Model) {
    let task = TaskConfig::DeepLinear(config.clone()).prepare(0, Path::new("")).unwrap();
    let network = json!({ "kind": "mlp", "sizes": sizes, "activation": "identity", "biases": false });
    let network: NetworkConfig = serde_json::from_value(network).unwrap();
    let model = Model::new(network, task.interface).unwrap();
    (task, model)
}

/// Flat weights of two layers, each by its rows of inputs.
fn weights(model: &Model, layers: [Vec<f64>; 2]) -> Vec<f32> {
    let mut flat = vec![0.0; model.space().len()];
    for (name, layer) in ["layers.0.W", "layers.1.W"].into_iter().zip(layers) {
        let range = model.space().find(name).unwrap().range.clone();
        flat[range].iter_mut().zip(layer).for_each(|(to, from)| *to = from as f32);
    }
    flat
}

/// Weights of the two layers at each of `checkpoints` checkpoints of gradient descent on all examples.
fn descend(
    task: &Task,
    model: &Model,
    start: Vec<f32>,
    rate: f64,
    steps: u64,
    checkpoints: u64,
) -> Vec<(u64, [Vec<f64>; 2])> {
    let config: TrainConfig = serde_json::from_value(json!({
        "optimizer": "sgd", "learning_rate": rate, "batch": "full", "steps": steps,
        "checkpoints": { "linear": checkpoints },
    }))
    .unwrap();
    let mut trainer = Trainer::new(model, task, &config, 0).unwrap();
    let mut state = trainer.start(start).unwrap();
    let mut path = Vec::new();
    trainer
        .run(&mut state, |event| {
            if let TrainEvent::Checkpoint(state) = event {
                let layer = |name: &str| {
                    let range = model.space().find(name).unwrap().range.clone();
                    state.weights[range].iter().map(|&w| f64::from(w)).collect()
                };
                path.push((state.step, ["layers.0.W", "layers.1.W"].map(layer)));
            }
            Ok::<_, Infallible>(ControlFlow::Continue(()))
        })
        .unwrap();
    path
}

#[test]
fn modes_are_half_learned_at_saxes_times() {
    let values = [5.0, 4.0, 3.0, 2.0, 1.0];
    let config: DeepLinearConfig = serde_json::from_value(json!({
        "inputs": 5, "outputs": 5, "singular_values": values, "input": "orthogonal",
    }))
    .unwrap();
    let (task, model) = prepare(&config, [5, 5, 5]);
    // Balanced and aligned: both layers √a₀·I.
    let a0: f64 = 1e-3;
    let diagonal: Vec<f64> = (0..25).map(|at| if at % 6 == 0 { a0.sqrt() } else { 0.0 }).collect();
    // A step multiplies a by (1 + η(s − a))², whose logarithm is short of 2η(s − a) by up to a share of ηs/2 = 0.25 %.
    let rate = 1e-3;
    let path = descend(&task, &model, weights(&model, [diagonal.clone(), diagonal]), rate, 4000, 400);
    // τ = 1: time is steps times learning rate, t½ = ln(s/a₀ − 1)/2s.
    let published = [0.851_699, 1.036_725, 1.334_339, 1.900_101, 3.453_377];
    for (mode, (s, published)) in values.into_iter().zip(published).enumerate() {
        let expected = (s / a0 - 1.0).ln() / (2.0 * s);
        assert!((expected - published).abs() < 1e-6);
        let learned = |(step, [first, second]): &(u64, [Vec<f64>; 2])| {
            assert!((0..25).all(|at| at % 6 == 0 || (first[at] == 0.0 && second[at] == 0.0)), "step {step}");
            (*step as f64 * rate, first[6 * mode] * second[6 * mode])
        };
        let curve: Vec<(f64, f64)> = path.iter().map(learned).collect();
        let after = curve.iter().position(|&(_, a)| a > s / 2.0).unwrap();
        let [(t0, a0), (t1, a1)] = [curve[after - 1], curve[after]];
        let found = t0 + (t1 - t0) * (s / 2.0 - a0) / (a1 - a0);
        assert!((found / expected - 1.0).abs() < 0.01, "s = {s}: {found} instead of {expected}");
    }
}

#[test]
fn a_product_of_two_factors_follows_the_logistic_law() {
    let config: DeepLinearConfig =
        serde_json::from_value(json!({ "inputs": 6, "outputs": 4, "rank": 1, "input": "orthogonal" })).unwrap();
    let (task, model) = prepare(&config, [6, 1, 4]);
    // T = σ·a·bᵀ: every row is along b, every column along a.
    let teacher = config.teacher(0);
    let length = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
    let sigma = length(&teacher);
    let column: Vec<f64> = teacher.chunks(6).map(|row| row[0]).collect();
    let along = |v: &[f64], scale: f64| v.iter().map(|x| x * scale / length(v)).collect::<Vec<f64>>();
    // Aligned with the teacher up to its sign, and balanced.
    let p0 = 1e-3 * sigma;
    let sign = teacher[0].signum();
    let start = weights(&model, [along(&teacher[..6], sign * p0.sqrt()), along(&column, p0.sqrt())]);
    let (rate, steps) = (2e-4 / sigma, 30_000);
    let path = descend(&task, &model, start, rate, steps, 30);
    let mut largest_rise: f64 = 0.0;
    for (step, [first, second]) in path {
        let p = length(&first) * length(&second);
        // dp/dt = 2p(σ − p).
        let t = step as f64 * rate;
        let expected = sigma / (1.0 + (sigma / p0 - 1.0) * (-2.0 * sigma * t).exp());
        // A step is short of 2ησ in ln p by up to (ησ)² = 4e-8; 30,000 of them by 1.2e-3. Rounding to 24 bits adds less.
        assert!((p / expected - 1.0).abs() < 3e-3, "step {step}: {p} instead of {expected}");
        // No plateau without two factors: a single one would be at 1 − 1/e of σ after the time 1/σ, where p is at 0.7 %.
        if t * sigma < 1.01 {
            largest_rise = largest_rise.max(p / sigma);
        }
    }
    assert!(largest_rise < 0.01, "{largest_rise}");
}
