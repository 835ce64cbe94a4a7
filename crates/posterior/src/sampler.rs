//! The samplers there are, by name, and the state a chain of each carries.

use std::fmt;
use std::str::FromStr;

use ontogeny_graph::{Free, Langevin, RmsProp, StepNorms, Threads};

use crate::llc::SettingsError;
use crate::rmsprop_sgld::RmspropSgldUpdate;
use crate::sgld::SgldUpdate;

/// How a chain moves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sampler {
    /// Stochastic gradient Langevin dynamics (Welling & Teh 2011).
    Sgld,
    /// SGLD with an RMSprop preconditioner (Li et al. 2016, without the term Γ).
    RmspropSgld {
        /// α, the memory of the squared gradients, strictly between 0 and 1.
        decay: f64,
        /// Added to the root of the squared gradients, above 0.
        eps: f64,
    },
}

/// A sampler name nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown sampler `{0}`; expected `sgld` or `rmsprop_sgld`")]
pub struct UnknownSampler(String);

/// One chain's update rule with whatever it remembers from step to step.
pub(crate) trait Update {
    /// Moves the free coordinates of `weights` one step around `start`; all others keep their bits.
    fn step(
        &mut self,
        weights: &mut [f32],
        start: &[f32],
        gradient: &[f32],
        free: Free<'_>,
        langevin: &Langevin,
        threads: &Threads,
    ) -> StepNorms;
}

impl Sampler {
    /// RMSprop-SGLD with the usual settings: decay 0.99, eps 0.1.
    pub fn rmsprop_sgld() -> Self {
        Self::RmspropSgld { decay: 0.99, eps: 0.1 }
    }

    /// The name in run files: `sgld` or `rmsprop_sgld`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sgld => "sgld",
            Self::RmspropSgld { .. } => "rmsprop_sgld",
        }
    }

    pub(crate) fn validate(&self) -> Result<(), SettingsError> {
        let Self::RmspropSgld { decay, eps } = *self else {
            return Ok(());
        };
        if !(0.0 < decay && decay < 1.0) {
            return Err(SettingsError::new("decay", decay, "a number strictly between 0 and 1"));
        }
        if !(eps > 0.0 && eps.is_finite()) {
            return Err(SettingsError::new("eps", eps, "a finite number above 0"));
        }
        Ok(())
    }

    /// Most that a unit of gradient can move a weight, in units of ½ε.
    pub(crate) fn largest_rate(&self) -> f64 {
        match *self {
            Self::Sgld => 1.0,
            Self::RmspropSgld { eps, .. } => 1.0 / eps,
        }
    }

    /// Whether a step depends on the present point alone.
    pub(crate) fn is_memoryless(&self) -> bool {
        matches!(self, Self::Sgld)
    }

    /// Fresh state for a chain over `n_weights` weights.
    pub(crate) fn update(&self, n_weights: usize) -> Box<dyn Update> {
        match *self {
            Self::Sgld => Box::new(SgldUpdate),
            Self::RmspropSgld { decay, eps } => {
                Box::new(RmspropSgldUpdate::new(n_weights, RmsProp { decay: decay as f32, eps: eps as f32 }))
            }
        }
    }
}

impl FromStr for Sampler {
    type Err = UnknownSampler;

    fn from_str(name: &str) -> Result<Self, UnknownSampler> {
        match name {
            "sgld" => Ok(Self::Sgld),
            "rmsprop_sgld" => Ok(Self::rmsprop_sgld()),
            other => Err(UnknownSampler(other.to_owned())),
        }
    }
}

impl fmt::Display for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ontogeny_graph::{Purpose, Stream};

    #[test]
    fn frozen_weights_keep_their_bits() {
        let start: Vec<f32> = (0..200).map(|i| if i % 3 == 0 { -0.0 } else { i as f32 * 0.1 }).collect();
        let gradient = vec![1.0; 200];
        let noise = Stream::new(0, Purpose::ChainNoise, 0);
        let langevin = Langevin { step_size: 1e-2, n_beta: 10.0, localization: 1.0 };
        let ranges = [3..4, 60..70, 128..192];
        for sampler in [Sampler::Sgld, Sampler::rmsprop_sgld()] {
            let mut weights = start.clone();
            let mut update = sampler.update(weights.len());
            for step in 0..10 {
                let free = Free { ranges: &ranges, noise: &noise, step };
                update.step(&mut weights, &start, &gradient, free, &langevin, &Threads::one());
            }
            for i in 0..200 {
                let is_free = ranges.iter().any(|range| range.contains(&i));
                assert_eq!(weights[i].to_bits() != start[i].to_bits(), is_free, "{sampler}: {i}");
            }
        }
    }

    #[test]
    fn names_read_back() {
        for sampler in [Sampler::Sgld, Sampler::rmsprop_sgld()] {
            assert_eq!(sampler.name().parse(), Ok(sampler));
        }
        let error = "sgnht".parse::<Sampler>().unwrap_err().to_string();
        assert_eq!(error, "unknown sampler `sgnht`; expected `sgld` or `rmsprop_sgld`");
    }
}
