//! Deep linear networks learn their teacher mode by mode, at the times that theory says.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::path::Path;

use ontogeny_zoo::{DeepLinearConfig, Model, NetworkConfig, Task, TaskConfig, TrainConfig, TrainEvent, Trainer};
use serde_json::json;

fn prepare(config: &DeepLinearConfig, sizes: &[usize]) -> (Task, Model) {
    let task = TaskConfig::DeepLinear(config.clone()).prepare(0, Path::new("")).unwrap();
    let network = json!({ "kind": "mlp", "sizes": sizes, "activation": "identity", "biases": false });
    let network: NetworkConfig = serde_json::from_value(network).unwrap();
    let model = Model::new(network, task.interface).unwrap();
    (task, model)
}

/// Flat weights of all layers, each by its rows of inputs.
fn weights(model: &Model, layers: &[Vec<f64>]) -> Vec<f32> {
    let mut flat = vec![0.0; model.space().len()];
    for (param, layer) in model.space().iter().zip(layers) {
        flat[param.range.clone()].iter_mut().zip(layer).for_each(|(to, from)| *to = *from as f32);
    }
    flat
}

/// Weights of the layers at each of `checkpoints` checkpoints of gradient descent on all examples.
fn descend(
    task: &Task,
    model: &Model,
    start: Vec<f32>,
    rate: f64,
    steps: u64,
    checkpoints: u64,
) -> Vec<(u64, Vec<Vec<f64>>)> {
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
                let layers = model.tensors(&state.weights);
                let layers = layers.map(|(_, layer)| layer.iter().map(|&w| f64::from(w)).collect());
                path.push((state.step, layers.collect()));
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
    let (task, model) = prepare(&config, &[5, 5, 5]);
    // Balanced and aligned: both layers √a₀·I.
    let a0: f64 = 1e-3;
    let diagonal: Vec<f64> = (0..25).map(|at| if at % 6 == 0 { a0.sqrt() } else { 0.0 }).collect();
    // A step multiplies a by (1 + η(s − a))², whose logarithm is short of 2η(s − a) by up to a share of ηs/2 = 0.25 %.
    let rate = 1e-3;
    let path = descend(&task, &model, weights(&model, &[diagonal.clone(), diagonal]), rate, 4000, 400);
    // τ = 1: time is steps times learning rate, t½ = ln(s/a₀ − 1)/2s.
    let published = [0.851_699, 1.036_725, 1.334_339, 1.900_101, 3.453_377];
    for (mode, (s, published)) in values.into_iter().zip(published).enumerate() {
        let expected = (s / a0 - 1.0).ln() / (2.0 * s);
        assert!((expected - published).abs() < 1e-6);
        let learned = |(step, layers): &(u64, Vec<Vec<f64>>)| {
            let [first, second] = &layers[..] else { panic!("two layers") };
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

/// p(t) of dp/dt = k·p^(2 − 2/k)·(σ − p), by Runge and Kutta's method in steps of `dt`.
fn integrate(k: f64, sigma: f64, mut p: f64, dt: f64, steps: u64) -> f64 {
    let slope = |p: f64| k * p.powf(2.0 - 2.0 / k) * (sigma - p);
    for _ in 0..steps {
        let a = slope(p);
        let b = slope(p + 0.5 * dt * a);
        let c = slope(p + 0.5 * dt * b);
        let d = slope(p + dt * c);
        p += dt / 6.0 * (a + 2.0 * b + 2.0 * c + d);
    }
    p
}

#[test]
fn products_of_factors_are_learned_in_s_curves() {
    let config: DeepLinearConfig =
        serde_json::from_value(json!({ "inputs": 6, "outputs": 4, "rank": 1, "input": "orthogonal" })).unwrap();
    // T = σ·a·bᵀ: every row is along b, every column along a.
    let teacher = config.teacher(0);
    let length = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
    let sigma = length(&teacher);
    let column: Vec<f64> = teacher.chunks(6).map(|row| row[0]).collect();
    let along = |v: &[f64], scale: f64| v.iter().map(|x| x * scale / length(v)).collect::<Vec<f64>>();
    for (sizes, start, n_steps) in [(&[6, 1, 4][..], 1e-3, 30_000), (&[6, 1, 1, 4], 1e-2, 40_000)] {
        let (task, model) = prepare(&config, sizes);
        // Balanced, and aligned with the teacher up to its sign.
        let (k, p0) = ((sizes.len() - 1) as f64, start * sigma);
        let factor = p0.powf(1.0 / k);
        let mut layers = vec![vec![factor]; sizes.len() - 1];
        layers[0] = along(&teacher[..6], teacher[0].signum() * factor);
        layers[sizes.len() - 2] = along(&column, factor);
        // The fastest that ln p changes is k·σ^(2 − 2/k) = `speed` at p of the order of σ.
        let speed = k * sigma.powf(2.0 - 2.0 / k);
        let rate = 4e-4 / speed;
        let path = descend(&task, &model, weights(&model, &layers), rate, n_steps, 30);
        let mut is_learned = false;
        for (step, layers) in path {
            let p: f64 = layers.iter().map(|layer| length(layer)).product();
            let t = step as f64 * rate;
            let expected = integrate(k, sigma, p0, t / 3000.0, 3000);
            if sizes.len() == 3 {
                // dp/dt = 2p(σ − p) is the logistic law.
                let logistic = sigma / (1.0 + (sigma / p0 - 1.0) * (-2.0 * sigma * t).exp());
                assert!((expected / logistic - 1.0).abs() < 1e-6, "{expected} {logistic}");
            }
            // A step of h = rate · speed = 4e-4 is short in ln p by up to h²/2k, and lasts at most n steps: together
            // 1.2e-3 and 1.1e-3. Rounding to 24 bits adds less.
            assert!((p / expected - 1.0).abs() < 3e-3, "{sizes:?}, step {step}: {p} instead of {expected}");
            // One factor alone would have learned 1 − 1/e by the time 1; these have hardly begun, and then jump.
            if t * speed < 1.0 {
                assert!(p < 0.05 * sigma, "{sizes:?}, step {step}: {p} of {sigma}");
            }
            is_learned |= p > 0.95 * sigma;
        }
        assert!(is_learned, "{sizes:?}");
    }
}
