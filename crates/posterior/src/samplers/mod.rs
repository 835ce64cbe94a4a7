//! The samplers there are, by name, and the trait that all of them implement.

mod adam_sgld;
mod adaptation;
mod baoab;
mod exact;
mod hmc;
mod nuts;
mod rmsprop_sgld;
mod sghmc;
mod sgld;
mod sgnht;

use std::fmt;
use std::str::FromStr;

use ontogeny_graph::{AdamLangevin, RmsProp, StepNorms};

use crate::llc::{LlcError, SettingsError};
use crate::target::Target;

/// How a chain moves.
///
/// The step size ε means the same for all: without momentum, or with full friction, a step is w − (ε/2)∇U + √ε·ξ; in
/// Hamiltonian dynamics a time step is h = √ε.
///
/// What each leaves of the posterior at a finite ε in a direction of precision A = nβh + γ with full batches, as
/// `tests/posterior/samplers.rs` and `exactness.rs` hold it to, P the preconditioner, a the friction:
///
/// | sampler | variance, times A | with noisy gradients | gradients a step | for |
/// |---|---|---|---|---|
/// | `sgld` | 1/(1 − εA/4) | heated | 1 | small steps, and a bias that is known |
/// | `rmsprop_sgld` | as the next, and up to 2 by P's dependence on w | heated, and P follows the noise | 1 | curvatures of many sizes, when only the order counts |
/// | … `Freeze` | 1/(1 − εPA/4) | heated | 1 | curvatures of many sizes |
/// | … `Curvature` | 1 + O(εPA) | heated, and P follows the noise | about 3 | the same, where curvatures change along the chain |
/// | `adam_sgld` | 1 + (εPA/4)(1 + β₁)/(1 − β₁) + …, and P's dependence on w | heated | 1 | comparison with others' results |
/// | `sghmc` | 1/(1 − εA/(4(2 − a))) | heated by ε(nβ)²c/(4a), c the variance of a gradient | 1 | flat directions |
/// | `sgnht` | its mean over all directions is 1 | the same | 1 | minibatches |
/// | `baoab` | 1, for εA < 4 | heated | 1 | full batches, large steps |
/// | `mala` | 1 | – | 1 | checks in few dimensions |
/// | `hmc` | 1 | – | `leapfrogs`/2 on average | known length scales |
/// | `nuts` | 1 | – | as many as it needs | the truth |
///
/// Beyond quadratics the last three are exact too, the others to the order of ε.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Sampler {
    /// Stochastic gradient Langevin dynamics (Welling & Teh 2011).
    Sgld,
    /// SGLD with an RMSprop preconditioner P (Li et al. 2016).
    RmspropSgld {
        /// α, the memory of the squared gradients, strictly between 0 and 1.
        decay: f64,
        /// Added to the root of the squared gradients, above 0.
        eps: f64,
        /// What is done about P depending on the weights.
        correction: Correction,
    },
    /// SGLD with Adam's moments in place of gradient and preconditioner.
    AdamSgld {
        /// β₁, β₂, the memories of the gradients and of their squares, at least 0 and below 1.
        betas: [f64; 2],
        /// Added to the root of the squared gradients, above 0.
        eps: f64,
    },
    /// Stochastic gradient Hamiltonian Monte Carlo (Chen et al. 2014).
    Sghmc {
        /// Share of the momentum lost in a step, above 0 and at most 1; at 1 it is SGLD.
        friction: f64,
    },
    /// Stochastic gradient Nosé–Hoover thermostat (Ding et al. 2014): friction that adapts until the momentum has the
    /// temperature of the posterior, whatever noise the gradients bring.
    Sgnht {
        /// Share of the momentum that the noise feeds in a step, and lost at the start; above 0 and at most 1.
        friction: f64,
    },
    /// Langevin dynamics with momentum in the splitting BAOAB (Leimkuhler & Matthews 2013).
    Baoab {
        /// Share of the momentum lost in a step, above 0 and at most 1.
        friction: f64,
    },
    /// Metropolis-adjusted Langevin (Roberts & Tweedie 1996): exact, full batches only.
    Mala {
        /// Acceptance that the step size is adapted to during burn-in, strictly between 0 and 1; none keeps it. An adapted
        /// step fits where chains mostly are: places much stiffer, such as the tips of valleys that narrow, are then hardly
        /// entered, and no diagnostic tells. Give the step where they matter.
        target_acceptance: Option<f64>,
    },
    /// Hamiltonian Monte Carlo (Neal 2011): exact, full batches only.
    Hmc {
        /// Leapfrog steps of a trajectory, at least 1; each trajectory takes a random number of them up to this.
        leapfrogs: usize,
        /// As for MALA.
        target_acceptance: Option<f64>,
    },
    /// The no-U-turn sampler (Hoffman & Gelman 2014, multinomial as in Betancourt 2017): exact, full batches only.
    Nuts {
        /// Doublings of a trajectory, from 1 to 15.
        max_depth: u32,
        /// As for MALA.
        target_acceptance: Option<f64>,
    },
}

/// What RMSprop-SGLD does about its preconditioner depending on the weights, which biases the stationary law.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Correction {
    /// Nothing, as is usual: a bias that does not vanish with the step size.
    None,
    /// The preconditioner is learnt during burn-in and constant afterwards: no bias of its own.
    Freeze,
    /// The drift ½ε·Γ of Li et al. 2016, Γᵢ = ∂Pᵢ/∂wᵢ along the gradients that P remembers, its second derivative from
    /// one Hessian-vector product a step with a random sign vector (Hutchinson): unbiased, at about two to three times
    /// the cost. What is left is of the order of the step; with minibatches also that P and the gradient of a step share
    /// their noise.
    Curvature,
}

/// A sampler name nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown sampler `{found}`; expected one of {}", known())]
pub struct UnknownSampler {
    found: String,
}

fn known() -> String {
    Sampler::NAMES.map(|name| format!("`{name}`")).join(", ")
}

/// One chain's way of moving, with whatever it remembers from step to step.
pub(crate) trait Dynamics {
    /// Moves the free coordinates of `weights` one step; all others keep their bits. `target` was evaluated at
    /// `weights`, unless [`Self::known_loss`] said that it need not be.
    fn step(&mut self, weights: &mut [f32], target: &mut Target<'_>, step: u32) -> Result<StepNorms, LlcError>;

    /// The loss at the present weights, where no evaluation is needed for it.
    fn known_loss(&self) -> Option<f64> {
        None
    }

    /// Called once, before the first step of the first draw's interval: what adapts stops.
    fn end_burn_in(&mut self) {}

    /// Sum and number of the acceptance probabilities since burn-in.
    fn acceptance(&self) -> (f64, usize) {
        (0.0, 0)
    }
}

impl Sampler {
    /// All names in run files.
    pub const NAMES: [&'static str; 9] =
        ["sgld", "rmsprop_sgld", "adam_sgld", "sghmc", "sgnht", "baoab", "mala", "hmc", "nuts"];

    /// RMSprop-SGLD with the usual settings: decay 0.99, eps 0.1, no correction.
    pub fn rmsprop_sgld() -> Self {
        Self::RmspropSgld { decay: 0.99, eps: 0.1, correction: Correction::None }
    }

    /// The name in run files.
    pub fn name(&self) -> &'static str {
        Self::NAMES[match self {
            Self::Sgld => 0,
            Self::RmspropSgld { .. } => 1,
            Self::AdamSgld { .. } => 2,
            Self::Sghmc { .. } => 3,
            Self::Sgnht { .. } => 4,
            Self::Baoab { .. } => 5,
            Self::Mala { .. } => 6,
            Self::Hmc { .. } => 7,
            Self::Nuts { .. } => 8,
        }]
    }

    /// Whether draws follow the posterior itself at any step size, which takes the loss over all data.
    pub fn is_exact(&self) -> bool {
        matches!(self, Self::Mala { .. } | Self::Hmc { .. } | Self::Nuts { .. })
    }

    pub(crate) fn validate(&self, step_size: f64, burn_in: usize) -> Result<(), SettingsError> {
        let share = |name, value: f64| {
            let fits = 0.0 < value && value <= 1.0;
            if fits { Ok(()) } else { Err(SettingsError::new(name, value, "a number above 0 and at most 1")) }
        };
        let acceptance = |value: Option<f64>| match value {
            Some(value) if !(0.0 < value && value < 1.0) => {
                Err(SettingsError::new("target_acceptance", value, "a number strictly between 0 and 1"))
            }
            _ => Ok(()),
        };
        let eps_fits = |eps: f64| {
            // The largest step of a weight is ε/eps, in f32.
            let fits = eps > 0.0 && eps.is_finite() && eps as f32 > 0.0 && ((step_size / eps) as f32).is_finite();
            if fits { Ok(()) } else { Err(SettingsError::new("eps", eps, "a finite number above 0, not tiny")) }
        };
        match *self {
            Self::Sgld => Ok(()),
            Self::RmspropSgld { decay, eps, correction } => {
                if correction == Correction::Freeze && burn_in == 0 {
                    return Err(SettingsError::new("burn_in", 0, "at least 1, in which to learn what is then frozen"));
                }
                if !(0.0 < decay && decay < 1.0) {
                    return Err(SettingsError::new("decay", decay, "a number strictly between 0 and 1"));
                }
                eps_fits(eps)
            }
            Self::AdamSgld { betas, eps } => {
                if let Some(beta) = betas.into_iter().find(|beta| !(0.0..1.0).contains(beta)) {
                    return Err(SettingsError::new("betas", beta, "two numbers from 0 to below 1"));
                }
                eps_fits(eps)
            }
            Self::Sghmc { friction } | Self::Sgnht { friction } | Self::Baoab { friction } => {
                share("friction", friction)
            }
            Self::Mala { target_acceptance } => acceptance(target_acceptance),
            Self::Hmc { leapfrogs, target_acceptance } => {
                if !(1..=1_000_000).contains(&leapfrogs) {
                    return Err(SettingsError::new("leapfrogs", leapfrogs, "a number from 1 to a million"));
                }
                acceptance(target_acceptance)
            }
            Self::Nuts { max_depth, target_acceptance } => {
                if !(1..=15).contains(&max_depth) {
                    return Err(SettingsError::new("max_depth", max_depth, "a number from 1 to 15"));
                }
                acceptance(target_acceptance)
            }
        }
    }

    /// Most that a unit of gradient can move a weight, in units of ½ε.
    pub(crate) fn largest_rate(&self) -> f64 {
        match *self {
            Self::RmspropSgld { eps, .. } | Self::AdamSgld { eps, .. } => 1.0 / eps,
            _ => 1.0,
        }
    }

    /// Whether a step is the SGLD step from the present point, so that a Metropolis test of it is defined.
    pub(crate) fn is_memoryless(&self) -> bool {
        matches!(self, Self::Sgld)
    }

    /// Whether the noise of a step is independent of gradient and preconditioner of that step, so that its products with
    /// them have the mean 0 (see [`crate::control`]).
    pub(crate) fn has_controls(&self) -> bool {
        matches!(self, Self::Sgld | Self::RmspropSgld { .. } | Self::AdamSgld { .. })
    }

    /// What the finite step adds to λ̂ in a quadratic, in units of ½·d·(gradient's part/noise's part)² of a step; see
    /// [`crate::Convergence::discretization`].
    pub(crate) fn discretization_share(&self) -> f64 {
        match *self {
            Self::Sgld | Self::RmspropSgld { .. } => 1.0,
            // The average lags by β₁/(1 − β₁) steps, each of which adds εPA/2 to the variance.
            Self::AdamSgld { betas: [beta, _], .. } => (1.0 + beta) / (1.0 - beta),
            // Per direction the variance is 1/(A(1 − x)) with x = εA/(4(2 − a)), while the ratio of the parts is
            // η²A²/(2aη) = εA/(4a) in units of the variance.
            Self::Sghmc { friction } => friction / (2.0 - friction),
            // The thermostat holds the mean over all directions.
            Self::Sgnht { .. } | Self::Baoab { .. } | Self::Mala { .. } | Self::Hmc { .. } | Self::Nuts { .. } => 0.0,
        }
    }

    /// Fresh state for a chain over `n_weights` weights.
    pub(crate) fn dynamics(&self, n_weights: usize) -> Box<dyn Dynamics> {
        match *self {
            Self::Sgld => Box::new(sgld::SgldDynamics),
            Self::RmspropSgld { decay, eps, correction } => {
                let settings = RmsProp { decay: decay as f32, eps: eps as f32, is_frozen: false };
                Box::new(rmsprop_sgld::RmspropSgldDynamics::new(n_weights, settings, correction))
            }
            Self::AdamSgld { betas, eps } => {
                let settings = AdamLangevin { betas: betas.map(|beta| beta as f32), eps: eps as f32 };
                Box::new(adam_sgld::AdamSgldDynamics::new(n_weights, settings))
            }
            Self::Sghmc { friction } => Box::new(sghmc::SghmcDynamics::new(n_weights, friction)),
            Self::Sgnht { friction } => Box::new(sgnht::SgnhtDynamics::new(n_weights, friction)),
            Self::Baoab { friction } => Box::new(baoab::BaoabDynamics::new(n_weights, friction)),
            Self::Mala { target_acceptance } => Box::new(hmc::HmcDynamics::new(1, target_acceptance)),
            Self::Hmc { leapfrogs, target_acceptance } => Box::new(hmc::HmcDynamics::new(leapfrogs, target_acceptance)),
            Self::Nuts { max_depth, target_acceptance } => {
                Box::new(nuts::NutsDynamics::new(max_depth, target_acceptance))
            }
        }
    }
}

/// The sampler of that name with its usual settings.
impl FromStr for Sampler {
    type Err = UnknownSampler;

    fn from_str(name: &str) -> Result<Self, UnknownSampler> {
        Ok(match name {
            "sgld" => Self::Sgld,
            "rmsprop_sgld" => Self::rmsprop_sgld(),
            "adam_sgld" => Self::AdamSgld { betas: [0.9, 0.99], eps: 0.1 },
            "sghmc" => Self::Sghmc { friction: 0.1 },
            "sgnht" => Self::Sgnht { friction: 0.1 },
            "baoab" => Self::Baoab { friction: 0.1 },
            "mala" => Self::Mala { target_acceptance: Some(0.574) },
            "hmc" => Self::Hmc { leapfrogs: 16, target_acceptance: Some(0.8) },
            "nuts" => Self::Nuts { max_depth: 8, target_acceptance: Some(0.8) },
            other => return Err(UnknownSampler { found: other.to_owned() }),
        })
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

    #[test]
    fn names_read_back() {
        for name in Sampler::NAMES {
            assert_eq!(name.parse::<Sampler>().unwrap().name(), name);
        }
        let error = "sgnth".parse::<Sampler>().unwrap_err().to_string();
        assert_eq!(
            error,
            "unknown sampler `sgnth`; expected one of `sgld`, `rmsprop_sgld`, `adam_sgld`, `sghmc`, `sgnht`, `baoab`, `mala`, `hmc`, `nuts`"
        );
    }
}
