//! One optimiser step on flat weights, with the buffers it carries along.

use ontogeny_graph::{Threads, adam, sgd};

use super::config::{Rule, TrainConfig};

/// Names of an optimiser's buffers, those of PyTorch's state dictionaries.
pub(super) fn buffer_names(config: &TrainConfig) -> &'static [&'static str] {
    match config.rule() {
        Rule::Sgd(_) => &["momentum_buffer"],
        Rule::Adam(_) => &["exp_avg", "exp_avg_sq"],
    }
}

/// Applies update number `step`, counted from 0. `buffers` are those of [`buffer_names`], each as long as `weights`.
pub(super) fn update(
    config: &TrainConfig,
    step: u64,
    weights: &mut [f32],
    gradient: &[f32],
    buffers: &mut [(&'static str, Vec<f32>)],
    threads: &Threads,
) {
    let rate = config.learning_rate_at(step) as f32;
    match (config.rule(), buffers) {
        (Rule::Sgd(rule), [(_, velocity)]) => sgd(weights, gradient, velocity, step, rate, &rule, threads),
        (Rule::Adam(rule), [(_, first), (_, second)]) => {
            adam(weights, gradient, [first, second], step, rate, &rule, threads);
        }
        _ => unreachable!("states are made with the buffers of their optimiser"),
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
        for key in ["betas", "eps", "momentum", "nesterov"] {
            if let Some(value) = case.get(key) {
                settings[key] = value.clone();
            }
        }
        settings["warmup_steps"] = match case["warm_up"].as_str().unwrap() {
            "constant" => json!(0),
            "linear_10_from_0" => json!(10),
            other => panic!("unknown warm-up {other}"),
        };
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
        let cases = fixture["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 22);
        for case in cases {
            let expected = rows(&case["parameters"]);
            let rates = floats(&case["learning_rates"]);
            let config = config_of(case, rates.len());
            let mut weights: Vec<f32> = start.iter().map(|&w| w as f32).collect();
            let zeros = |&name| (name, vec![0.0; start.len()]);
            let mut buffers: Vec<_> = buffer_names(&config).iter().map(zeros).collect();
            // Each step adds a few roundings of the weights, and the rounding of β and of the quotient to the
            // update: about 8 of 2⁻²⁴ each. A velocity of momentum μ hands a rounding on for 1/(1 − μ) steps.
            let memory = 1.0 / (1.0 - config.momentum.unwrap_or(0.0));
            let largest = expected.iter().flatten().fold(0.0_f64, |m, w| m.max(w.abs()));
            for (step, rate) in rates.iter().enumerate() {
                assert!((config.learning_rate_at(step as u64) - rate).abs() < 1e-15, "rate of step {step}: {case}");
                let gradient: Vec<f32> = match case["problem"].as_str().unwrap() {
                    "given_gradients" => table[step].iter().map(|&g| g as f32).collect(),
                    "quartic" => {
                        let at = |(i, &w): (usize, &f32)| a[i] as f32 * w + b[i] as f32 * w * w * w;
                        weights.iter().enumerate().map(at).collect()
                    }
                    other => panic!("unknown problem {other}"),
                };
                update(&config, step as u64, &mut weights, &gradient, &mut buffers, &Threads::one());
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
