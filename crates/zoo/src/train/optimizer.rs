//! One optimiser step on flat weights, with the buffers it carries along.

use std::ops::Range;

use ontogeny_graph::{Threads, adam, gradient_norm, rmsprop, scale_gradient, sgd};

use super::config::{Rule, TrainConfig};

/// The update rule on each part of the flat weights.
#[derive(Debug)]
pub(super) struct Optimizer {
    /// Neighbouring parts that cover the weights, with their rules, which differ in weight decay alone.
    parts: Vec<(Range<usize>, Rule)>,
}

/// An optimiser's named buffers, each as long as the weights.
pub(super) type Buffers = [(&'static str, Vec<f32>)];

impl Optimizer {
    /// For `n_weights`, of which the disjoint ascending ranges `without_decay` have no weight decay.
    pub(super) fn new(config: &TrainConfig, n_weights: usize, without_decay: &[Range<usize>]) -> Self {
        let mut parts = Vec::new();
        let mut at = 0;
        for range in without_decay {
            parts.push((at..range.start, config.rule(config.weight_decay)));
            parts.push((range.clone(), config.rule(0.0)));
            at = range.end;
        }
        parts.push((at..n_weights, config.rule(config.weight_decay)));
        parts.retain(|(range, _)| !range.is_empty());
        Self { parts }
    }

    /// Applies update number `step`, counted from 0. `buffers` are those of [`buffer_names`], each as long as `weights`.
    pub(super) fn update(
        &self,
        step: u64,
        rate: f32,
        weights: &mut [f32],
        gradient: &[f32],
        buffers: &mut Buffers,
        threads: &Threads,
    ) {
        for (range, rule) in &self.parts {
            let (weights, gradient) = (&mut weights[range.clone()], &gradient[range.clone()]);
            match (rule, &mut *buffers) {
                (Rule::Sgd(rule), [(_, velocity)]) => {
                    sgd(weights, gradient, &mut velocity[range.clone()], step, rate, rule, threads);
                }
                (Rule::Adam(rule), [(_, first), (_, second)]) => {
                    let moments = [&mut first[range.clone()], &mut second[range.clone()]];
                    adam(weights, gradient, moments, step, rate, rule, threads);
                }
                (Rule::RmsProp(rule), [(_, velocity), (_, square)]) => {
                    let moments = [&mut square[range.clone()], &mut velocity[range.clone()]];
                    rmsprop(weights, gradient, moments, rate, rule, threads);
                }
                _ => unreachable!("states are made with the buffers of their optimiser"),
            }
        }
    }
}

/// Shortens a gradient to `longest` as PyTorch's `clip_grad_norm_`: by the factor min(1, longest/(norm + 1e-6)). Returns the
/// norm before.
pub(super) fn clip(gradient: &mut [f32], longest: Option<f64>, threads: &Threads) -> f64 {
    let norm = gradient_norm(gradient, threads);
    if let Some(longest) = longest {
        let factor = longest / (norm + 1e-6);
        if factor < 1.0 {
            scale_gradient(gradient, factor as f32, threads);
        }
    }
    norm
}

/// Names of an optimiser's buffers, those of PyTorch's state dictionaries, in the order of the alphabet.
pub(super) fn buffer_names(config: &TrainConfig) -> &'static [&'static str] {
    match config.rule(0.0) {
        Rule::Sgd(_) => &["momentum_buffer"],
        Rule::Adam(_) => &["exp_avg", "exp_avg_sq"],
        Rule::RmsProp(_) => &["momentum_buffer", "square_avg"],
        Rule::Own => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn floats(value: &Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
    }

    fn rows(value: &Value) -> Vec<Vec<f64>> {
        value.as_array().unwrap().iter().map(floats).collect()
    }

    /// The trainer's settings of one case of the fixture.
    fn config_of(case: &Value, n_steps: usize) -> TrainConfig {
        let mut settings = json!({
            "optimizer": case["optimizer"], "learning_rate": case["lr"], "weight_decay": case["weight_decay"],
            "batch": "full", "steps": n_steps, "checkpoints": [],
        });
        let keys = [
            "betas",
            "alpha",
            "eps",
            "momentum",
            "nesterov",
            "schedule",
            "final_rate_share",
            "warmup_share",
            "warmup_steps",
            "step_factor",
            "step_every",
            "clip_norm",
        ];
        for key in keys {
            if let Some(value) = case.get(key) {
                settings[key] = value.clone();
            }
        }
        match case.get("warm_up").and_then(Value::as_str) {
            Some("linear_10_from_0") => settings["warmup_steps"] = json!(10),
            Some("constant") | None => {}
            Some(other) => panic!("unknown warm-up {other}"),
        }
        let config: TrainConfig = serde_json::from_value(settings).unwrap();
        config.check().unwrap();
        config
    }

    #[test]
    fn trajectories_are_those_of_pytorch() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/torch/optimizers.json");
        let fixture: Value = serde_json::from_str(&fs_err::read_to_string(path).unwrap()).unwrap();
        let start = floats(&fixture["start"]);
        let table = rows(&fixture["given_gradients"]);
        let (a, b) = (floats(&fixture["quartic"]["a"]), floats(&fixture["quartic"]["b"]));
        let (plain, training) = (fixture["cases"].as_array().unwrap(), fixture["training_cases"].as_array().unwrap());
        assert_eq!([plain.len(), training.len()], [26, 20]);
        for case in plain.iter().chain(training) {
            let expected = rows(&case["parameters"]);
            let rates = floats(&case["learning_rates"]);
            let norms = case.get("gradient_norms").map(floats);
            let config = config_of(case, rates.len());
            let mut weights: Vec<f32> = start.iter().map(|&w| w as f32).collect();
            let n = start.len();
            let n_without_decay = case.get("n_without_decay").and_then(Value::as_u64).unwrap_or(0) as usize;
            let without_decay: Vec<_> = (n_without_decay > 0).then_some(n - n_without_decay..n).into_iter().collect();
            let optimizer = Optimizer::new(&config, n, &without_decay);
            let mut buffers: Vec<_> = buffer_names(&config).iter().map(|&name| (name, vec![0.0; n])).collect();
            // Each step adds a few roundings of the weights, and the rounding of β and of the quotient to the
            // update: about 8 of 2⁻²⁴ each. A velocity of momentum μ hands a rounding on for 1/(1 − μ) steps.
            let memory = 1.0 / (1.0 - config.momentum.unwrap_or(0.0));
            let largest = expected.iter().flatten().fold(0.0_f64, |m, w| m.max(w.abs()));
            for (step, rate) in rates.iter().enumerate() {
                let found = config.learning_rate_at(step as u64);
                // PyTorch computes cosine and step rates from the rate before, which adds a rounding each step.
                assert!((found - rate).abs() <= 1e-15 + 20.0 * f64::EPSILON * rate, "rate of step {step}: {case}");
                let mut gradient: Vec<f32> = match case["problem"].as_str().unwrap() {
                    "given_gradients" => table[step].iter().map(|&g| g as f32).collect(),
                    "quartic" => {
                        let at = |(i, &w): (usize, &f32)| a[i] as f32 * w + b[i] as f32 * w * w * w;
                        weights.iter().enumerate().map(at).collect()
                    }
                    other => panic!("unknown problem {other}"),
                };
                let norm = clip(&mut gradient, config.clip_norm, &Threads::one());
                if let Some(norms) = &norms {
                    // The gradient belongs to weights that differ as they may below.
                    let tolerance = 100.0 * (step + 1) as f64 * memory * norms[step].max(1.0) * 2_f64.powi(-24);
                    assert!((norm - norms[step]).abs() <= tolerance, "norm of step {step}: {norm}: {case}");
                }
                optimizer.update(step as u64, found as f32, &mut weights, &gradient, &mut buffers, &Threads::one());
                let tolerance = 8.0 * (step + 1) as f64 * memory * largest.max(1.0) * 2_f64.powi(-24);
                for (found, wanted) in weights.iter().zip(&expected[step + 1]) {
                    let error = (f64::from(*found) - wanted).abs();
                    assert!(
                        error <= tolerance,
                        "{} {} step {step}: {found} instead of {wanted}",
                        case["problem"],
                        case["optimizer"]
                    );
                }
            }
        }
    }
}
