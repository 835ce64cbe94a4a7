//! Learning rates: a function of the step alone, so that a training can be continued anywhere.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use super::config::TrainConfig;

/// How the learning rate goes on after the warm-up. With t the updates before this one, N all updates, w the warm-up steps:
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateSchedule {
    /// It stays.
    #[default]
    Constant,
    /// `learning_rate`·(f + (1 − f)·½(1 + cos(π(t − w)/(N − w)))), f = `final_rate_share` (Loshchilov & Hutter 2017,
    /// without restarts; PyTorch's `CosineAnnealingLR`).
    Cosine,
    /// A triangle from 0 to `learning_rate` and back to 0 with its tip at p = `warmup_share`·N:
    /// min(t/p, (N − t)/(N − p)), as Raventós et al. 2023 with p = N/2. (PyTorch's `OneCycleLR` starts above 0 and moves
    /// momenta too.)
    OneCycle,
    /// `learning_rate`·`step_factor`^⌊t/`step_every`⌋ (PyTorch's `StepLR`).
    Step,
}

impl TrainConfig {
    /// Learning rate of update number `step`, counted from 0.
    pub fn learning_rate_at(&self, step: u64) -> f64 {
        let (t, n_steps) = (step as f64, self.steps as f64);
        if self.schedule == RateSchedule::OneCycle {
            let tip = self.warmup_share.unwrap_or(0.5) * n_steps;
            let share = if t < tip { t / tip } else { (n_steps - t) / (n_steps - tip) };
            return self.learning_rate * share;
        }
        let warm_up = if step >= self.warmup_steps { 1.0 } else { t / self.warmup_steps as f64 };
        self.learning_rate * self.share_after_warm_up(step) * warm_up
    }

    fn share_after_warm_up(&self, step: u64) -> f64 {
        match self.schedule {
            RateSchedule::Constant | RateSchedule::OneCycle => 1.0,
            RateSchedule::Cosine => {
                let rest = self.steps.saturating_sub(self.warmup_steps).max(1) as f64;
                let progress = step.saturating_sub(self.warmup_steps) as f64 / rest;
                let last = self.final_rate_share.unwrap_or(0.0);
                last + (1.0 - last) * 0.5 * (1.0 + (PI * progress).cos())
            }
            RateSchedule::Step => {
                let n_drops = step / self.step_every.unwrap_or(u64::MAX);
                self.step_factor.unwrap_or(1.0).powf(n_drops as f64)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rates(changes: &serde_json::Value, steps: &[u64]) -> Vec<f64> {
        let mut settings = json!({
            "optimizer": "sgd", "learning_rate": 2.0, "batch": "full", "steps": 100, "checkpoints": [],
        });
        for (key, value) in changes.as_object().unwrap() {
            settings[key] = value.clone();
        }
        let config: TrainConfig = serde_json::from_value(settings).unwrap();
        config.check().unwrap();
        steps.iter().map(|&step| config.learning_rate_at(step)).collect()
    }

    #[test]
    fn schedules_pass_through_their_corners() {
        for (changes, steps, wanted) in [
            (json!({}), vec![0, 99], vec![2.0, 2.0]),
            (json!({"warmup_steps": 10}), vec![0, 5, 10, 99], vec![0.0, 1.0, 2.0, 2.0]),
            (json!({"schedule": "cosine"}), vec![0, 50, 100], vec![2.0, 1.0, 0.0]),
            (
                json!({"schedule": "cosine", "final_rate_share": 0.1, "warmup_steps": 20}),
                vec![0, 10, 20, 60, 100],
                vec![0.0, 1.0, 2.0, 1.1, 0.2],
            ),
            (json!({"schedule": "one_cycle"}), vec![0, 25, 50, 75, 100], vec![0.0, 1.0, 2.0, 1.0, 0.0]),
            (json!({"schedule": "one_cycle", "warmup_share": 0.2}), vec![10, 20, 60], vec![1.0, 2.0, 1.0]),
            (json!({"schedule": "one_cycle", "warmup_share": 0.0}), vec![0, 50], vec![2.0, 1.0]),
            (json!({"schedule": "one_cycle", "warmup_share": 1.0}), vec![50, 99], vec![1.0, 1.98]),
            (
                json!({"schedule": "step", "step_factor": 0.5, "step_every": 30}),
                vec![29, 30, 59, 60],
                vec![2.0, 1.0, 1.0, 0.5],
            ),
        ] {
            for (found, wanted) in rates(&changes, &steps).iter().zip(&wanted) {
                // A few roundings of numbers up to 2.
                assert!((found - wanted).abs() < 1e-14, "{changes}: {found} instead of {wanted}");
            }
        }
    }
}
