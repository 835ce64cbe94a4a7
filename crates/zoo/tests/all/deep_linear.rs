//! Deep linear networks learn their teacher mode by mode, at the times that theory says.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::path::Path;

use ontogeny_zoo::{
    DeepLinearConfig, Model, NetworkConfig, Task, TaskConfig, TrainConfig, TrainEvent, Trainer, skill_loss,
    skill_strength,
};
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

#[test]
fn skills_are_learned_in_the_sigmoids_of_their_frequencies() {
    let (n_skills, n_examples, target, start) = (12, 400, 1.5, 0.02);
    let config: DeepLinearConfig = serde_json::from_value(json!({
        "inputs": n_skills, "outputs": n_skills, "singular_values": vec![target; n_skills], "input": "skills",
        "zipf_exponent": 1.6, "train_examples": n_examples, "held_examples": 0,
    }))
    .unwrap();
    let (task, _) = prepare(&config, &[n_skills, n_skills, n_skills]);
    let network = json!({
        "kind": "mlp", "sizes": [n_skills, n_skills, n_skills], "activation": "identity", "biases": false,
        "init": "diagonal", "init_scale": f64::sqrt(start),
    });
    let model = Model::new(serde_json::from_value(network).unwrap(), task.interface).unwrap();
    let mut counts = vec![0.0; n_skills];
    for &skill in &task.split("train").unwrap().subtasks {
        counts[skill as usize] += 1.0;
    }
    let shares: Vec<f64> = counts.iter().map(|count| count / f64::from(n_examples)).collect();
    let (rate, n_steps) = (0.05, 4000);
    let path = descend(&task, &model, model.initial_weights(0), rate, n_steps, 40);
    let mut n_halfway = 0;
    for (step, layers) in &path {
        let (steps, time) = (*step as f64, *step as f64 * rate);
        let [first, second] = &layers[..] else { panic!("two layers") };
        let mut loss = 0.0;
        for (skill, &share) in shares.iter().enumerate() {
            let at = skill * (n_skills + 1);
            let found = first[at] * second[at];
            loss += share * 0.5 * (target - found).powi(2);
            // A step takes R to R·(1 + h(1 − r))² with h = rate·share·S and r = R/S, since both weights are √R. So
            // u = ln(R/(S − R)) grows by 2·ln(1 + h(1 − r)) − ln(1 − 2hr − h²r(1 − r)), which increases with r: from
            // 2·ln(1 + h) to −ln(1 − 2h), about 2h − h² and 2h + 2h²; the flow's 2h lies between.
            let h = rate * share * target;
            let logit = (start / (target - start)).ln();
            let strength = |u: f64| target / (1.0 + (-u).exp());
            let slow = strength(logit + steps * 2.0 * h.ln_1p());
            let fast = strength(logit - steps * (-2.0 * h).ln_1p());
            let flow = skill_strength(time, share, target, start);
            assert!(slow <= flow * (1.0 + 1e-12) && flow <= fast * (1.0 + 1e-12));
            // Weights are rounded to 24 bits at every step, each time by a share of up to 2⁻²⁴ of R/2 and as much again in the
            // gradient. Where R grows, errors add up: 4·steps·2⁻²⁴ of R; near S they are drawn back at the rate 2h a step.
            let n_kept = if h > 0.0 { steps.min(1.0 + (target / start).ln() / h) } else { 0.0 };
            let rounding = 4.0 * (n_kept + 2.0) * f64::from(f32::EPSILON) / 2.0 * found;
            assert!(
                slow - rounding <= found && found <= fast + rounding,
                "skill {skill} of {share} at {step}: {found} is not in {slow}..{fast} ± {rounding}"
            );
            n_halfway += usize::from(found > 0.2 * target && found < 0.8 * target);
            // Nothing leaves the diagonal: skills do not disturb each other.
            assert!((0..n_skills).all(|j| j == skill || first[at - skill + j] == 0.0));
        }
        // The sum of the sigmoids is the loss, within what the brackets leave: S/4·3h²·steps for each skill.
        let expected = skill_loss(time, &shares, target, start);
        let spread: f64 = shares
            .iter()
            .map(|share| share * target * target / 4.0 * 3.0 * (rate * share * target).powi(2) * steps)
            .sum();
        assert!((loss - expected).abs() <= spread + 1e-5, "step {step}: {loss} instead of {expected} ± {spread}");
    }
    // The test has seen curves, not only their ends.
    assert!(n_halfway > 10, "{n_halfway}");
    assert!(path[path.len() - 1].1[0][0] > 0.99 * f64::sqrt(target));
}
