//! Entropy-SGD (Chaudhari et al. 2017): descent on the local entropy, which a short Langevin chain estimates.

use ontogeny_graph::{Purpose, Stream};
use serde::{Deserialize, Serialize};

use super::config::wrong;
use crate::SettingError;

/// Settings of entropy-SGD, algorithm 1 of the paper: from x' = μ = x, in each of `steps` inner steps
/// x' ← x' − η'(∇L(x') + γ(x' − x)) + √η'·ε·ξ and μ ← (1 − α)μ + αx'; then x ← x − η·γ(x − μ), with η the learning rate of
/// training. Each inner step has a batch of its own.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntropySgdConfig {
    /// L, inner steps of an update.
    #[serde(default = "default_steps")]
    pub steps: u64,
    /// η', their step size.
    #[serde(default = "default_rate")]
    pub rate: f64,
    /// γ, the pull to where the inner steps start; of update t it is γ(1 + `scope_growth`)ᵗ.
    pub scope: f64,
    /// Growth of γ per update; 0 unless given.
    #[serde(default)]
    pub scope_growth: f64,
    /// ε, the thermal noise.
    #[serde(default = "default_noise")]
    pub noise: f64,
    /// α, the weight of the newest inner step in their mean.
    #[serde(default = "default_average")]
    pub average: f64,
}

fn default_steps() -> u64 {
    20
}

fn default_rate() -> f64 {
    0.1
}

fn default_noise() -> f64 {
    1e-4
}

fn default_average() -> f64 {
    0.75
}

impl EntropySgdConfig {
    pub(super) fn check(&self) -> Result<(), SettingError> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let not_negative = |value: f64| value.is_finite() && value >= 0.0;
        for (name, value, is_right, expected) in [
            ("rate", self.rate, positive(self.rate), "a finite number above 0"),
            ("scope", self.scope, positive(self.scope), "a finite number above 0"),
            ("scope_growth", self.scope_growth, not_negative(self.scope_growth), "a finite number, at least 0"),
            ("noise", self.noise, not_negative(self.noise), "a finite number, at least 0"),
            ("average", self.average, self.average > 0.0 && self.average <= 1.0, "above 0, at most 1"),
        ] {
            if !is_right {
                return Err(wrong("entropy", format!("{{ {name} = {value} }}"), expected));
            }
        }
        if self.steps == 0 { Err(wrong("entropy", "{ steps = 0 }", "1 or more inner steps")) } else { Ok(()) }
    }

    /// γ of update number `step`.
    fn scope_at(&self, step: u64) -> f64 {
        self.scope * (1.0 + self.scope_growth).powf(step as f64)
    }
}

/// Memory of the inner steps of one update; nothing is carried to the next.
#[derive(Debug)]
pub(super) struct InnerSteps {
    pub(super) config: EntropySgdConfig,
    /// x'.
    pub(super) place: Vec<f32>,
    /// μ.
    pub(super) mean: Vec<f32>,
    noise: Vec<f32>,
}

impl InnerSteps {
    pub(super) fn new(config: EntropySgdConfig, n_weights: usize) -> Self {
        let zeros = || vec![0.0; n_weights];
        Self { config, place: zeros(), mean: zeros(), noise: zeros() }
    }

    /// Begins an update at the weights.
    pub(super) fn begin(&mut self, weights: &[f32]) {
        self.place.copy_from_slice(weights);
        self.mean.copy_from_slice(weights);
    }

    /// One inner step of update number `step` with the gradient at [`Self::place`].
    pub(super) fn advance(&mut self, step: u64, inner: u64, weights: &[f32], gradient: &[f32], seed: u32) {
        let config = &self.config;
        let (rate, pull) = (config.rate as f32, config.scope_at(step) as f32);
        let (kick, newest) = ((config.rate.sqrt() * config.noise) as f32, config.average as f32);
        // Streams from 2³² on are those of inner steps, below are those of `temperature`.
        let number = step * config.steps + inner;
        let stream = Stream::new(seed, Purpose::TrainingNoise, (1 << 32) + (number >> 32));
        stream.normals(number as u32, 0, &mut self.noise);
        for (i, place) in self.place.iter_mut().enumerate() {
            *place -= rate * (gradient[i] + pull * (*place - weights[i])) - kick * self.noise[i];
            self.mean[i] += newest * (*place - self.mean[i]);
        }
    }

    /// Ends update number `step`: moves the weights, and returns the norm of γ(x − μ), the gradient of the negative local
    /// entropy.
    pub(super) fn end(&self, step: u64, learning_rate: f64, weights: &mut [f32]) -> f64 {
        let scope = self.config.scope_at(step);
        let mut square = 0.0;
        for (weight, mean) in weights.iter_mut().zip(&self.mean) {
            let slope = scope * (f64::from(*weight) - f64::from(*mean));
            square += slope * slope;
            *weight = (f64::from(*weight) - learning_rate * slope) as f32;
        }
        square.sqrt()
    }
}
