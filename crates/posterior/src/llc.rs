//! The local learning coefficient λ̂ = nβ·(E[L_n(w)] − L_n(w*)): settings, and the way from weights to an estimate.

use std::fmt;

use ontogeny_graph::{GraphError, RunError};
use ontogeny_stats::{ChainError, MIN_DRAWS};

use crate::batches::Batch;
use crate::ensemble::Ensemble;
use crate::estimate::Estimate;
use crate::execution::Execution;
use crate::objective::{Objective, ObjectiveError};
use crate::prior::GaussianPrior;
use crate::restriction::Restriction;
use crate::samplers::Sampler;
use crate::schedule::Schedule;
use crate::selection::RestrictionError;

/// Settings of an estimate of the local learning coefficient (Lau et al. 2023).
///
/// What is compared with what: the loss at a draw is taken before that step's update, on the examples that
/// [`Evaluation`] names, and compared with the loss of the *same* examples at w* (or of all, see [`Baseline`]), which is
/// computed once over all data. So the baseline brings no error of its own, the scatter of the minibatches is part of the
/// draws and of their Monte Carlo error, and a start whose loss is exactly 0 is a start like any other.
///
/// The error is nβ times the standard deviation of the draws over √ESS, with the ESS of Vehtari et al. (2021): it
/// holds the autocorrelation and, through the variance between the halves of all chains, their disagreement. Where
/// R̂ exceeds [`crate::Limits::R_HAT_AGREEMENT`] it is at least the error from the spread of the chains' means alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Llc {
    /// How chains move.
    pub sampler: Sampler,
    /// Number of chains, at least 1; they start at the same point and differ in their noise and batches.
    pub chains: usize,
    /// Steps before the first draw; no part of any estimate.
    pub burn_in: usize,
    /// Draws of each chain, at least 4.
    pub draws: usize,
    /// Steps from one draw to the next, at least 1.
    pub thin: usize,
    /// ε, above 0.
    pub step_size: f64,
    /// γ, at least 0; in units of 1/‖w‖².
    pub localization: f64,
    /// Examples of one gradient.
    pub batch: Batch,
    /// How gradients are formed from their examples.
    pub gradient: GradientRule,
    /// Examples whose loss is recorded at a draw.
    pub evaluation: Evaluation,
    /// What that loss is compared with.
    pub baseline: Baseline,
    /// nβ, above 0; n/ln n with the objective's n unless given.
    pub n_beta: Option<f64>,
    /// Seed of noise and batches.
    pub seed: u32,
    /// The part that moves; all other weights keep their bits.
    pub restriction: Restriction,
    /// Gaussian priors besides the localisation.
    pub priors: Vec<GaussianPrior>,
    /// Half the width b of a box: every free weight stays within b of its start, and the prior is flat inside. Above 0.
    pub bounding_box: Option<f64>,
    /// How the step size changes along a chain.
    pub schedule: Schedule,
}

/// Examples whose loss is recorded at a draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evaluation {
    /// Those of the step's gradient: no extra cost.
    Batch,
    /// So many, drawn anew for each draw and independent of the gradients.
    Fresh(usize),
    /// So many, drawn once, the same for all draws and chains: what is estimated is then the learning coefficient of
    /// their loss under the posterior of all, with an error that does not speak of the choice.
    Fixed(usize),
    /// All of them, at the cost of a pass over the data for each draw.
    Full,
}

/// What the loss at a draw is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Baseline {
    /// The loss of the same examples at w*: their own scatter drops out.
    SameExamples,
    /// The loss of all examples at w*, as is usual elsewhere: the scatter of the examples adds to the error.
    Full,
}

/// How a gradient is formed from the examples of its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GradientRule {
    /// Their mean.
    Plain,
    /// Their mean, minus their mean at w*, plus the mean of all examples at w* (SVRG; Johnson & Zhang 2013, for Langevin
    /// dynamics Dubey et al. 2016, Baker et al. 2019): the same expectation, and noise that vanishes towards w*, for
    /// twice the cost.
    ControlVariate,
}

/// A setting outside its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is {found}; expected {expected}")]
pub struct SettingsError {
    name: &'static str,
    found: String,
    expected: String,
}

/// Why there is no estimate at all, not even a refused one.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LlcError {
    /// A setting outside its range.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A restriction that this network does not know.
    #[error(transparent)]
    Restriction(#[from] RestrictionError),
    /// A batch or data that do not fit.
    #[error(transparent)]
    Objective(#[from] ObjectiveError),
    /// A graph that cannot be differentiated as asked.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// An execution that failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Draws that cannot be diagnosed.
    #[error(transparent)]
    Draws(#[from] ChainError),
    /// A weight that is NaN or infinite.
    #[error(
        "the weights hold {value} in `{param}` (element {index}); a checkpoint of a diverged run has no learning coefficient"
    )]
    NonFiniteWeight {
        /// The parameter.
        param: String,
        /// The first such element of it.
        index: usize,
        /// The value.
        value: f32,
    },
    /// A loss that is NaN or infinite at the start.
    #[error("the loss at the start is not finite; the first value that is not stands in `{node}`")]
    NonFiniteStart {
        /// The first activation with such a value.
        node: String,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}

/// RMSprop-SGLD with four chains of 100 + 200 steps, ε = 2e-5, γ = 300, full batches. Step size and localisation
/// belong to a network and must be tried: the verdict tells.
impl Default for Llc {
    fn default() -> Self {
        Self {
            sampler: Sampler::rmsprop_sgld(),
            chains: 4,
            burn_in: 100,
            draws: 200,
            thin: 1,
            step_size: 2e-5,
            localization: 300.0,
            batch: Batch::Full,
            gradient: GradientRule::Plain,
            evaluation: Evaluation::Batch,
            baseline: Baseline::SameExamples,
            n_beta: None,
            seed: 0,
            restriction: Restriction::full(),
            priors: Vec::new(),
            bounding_box: None,
            schedule: Schedule::Constant,
        }
    }
}

impl Llc {
    /// The same settings on a part of the network, such as `l0h2` or `unembed`; see [`Restriction`].
    ///
    /// # Errors
    /// An empty part.
    pub fn restrict(self, part: &str) -> Result<Self, RestrictionError> {
        Ok(Self { restriction: part.parse()?, ..self })
    }

    /// Checks everything that can be known without weights.
    ///
    /// # Errors
    /// A setting outside its range, a batch that does not fit the data, or a restriction unknown to the network.
    pub fn check(&self, objective: &Objective) -> Result<(), LlcError> {
        self.check_settings()?;
        let rows = objective.batch_rows(self.batch)?;
        objective.evaluation_rows(self.evaluation, rows)?;
        let is_full = objective.data().is_none_or(|data| data.len() == rows);
        if self.sampler.is_exact() && !is_full {
            let message = "`full`: its Metropolis test needs the loss over all data";
            return Err(SettingsError::new("batch", format!("{rows} with `{}`", self.sampler), message).into());
        }
        self.priors.iter().try_for_each(|prior| prior.check(objective.space().len()))?;
        self.restriction.check(objective.space())?;
        Ok(())
    }

    /// Estimates λ̂ around `weights` on all cores.
    ///
    /// # Errors
    /// As [`Llc::check`]; weights of another network, or not finite; a start whose loss is not finite.
    pub fn estimate(&self, objective: &Objective, weights: &[f32]) -> Result<Estimate, LlcError> {
        self.estimate_with(objective, weights, &Execution::default())
    }

    /// [`Llc::estimate`] with a say in threads, progress and cancellation; the result is the same to the last bit.
    ///
    /// # Errors
    /// As [`Llc::estimate`], and [`LlcError::Cancelled`].
    pub fn estimate_with(
        &self,
        objective: &Objective,
        weights: &[f32],
        execution: &Execution<'_>,
    ) -> Result<Estimate, LlcError> {
        let ensemble = Ensemble::prepare(self, objective, weights, execution)?;
        let records = ensemble.run(execution, |_, _| Ok(()))?;
        ensemble.conclude(records.into_iter().map(|(record, ())| record).collect())
    }

    pub(crate) fn check_settings(&self) -> Result<(), SettingsError> {
        let finite = |name, found: f64, fits: bool, expected| {
            // The update runs in f32, where a tiny step becomes none and a huge one infinite.
            if fits && (found as f32).is_finite() && (found == 0.0) == (found as f32 == 0.0) {
                Ok(())
            } else {
                Err(SettingsError::new(name, found, expected))
            }
        };
        finite("step_size", self.step_size, self.step_size > 0.0, "a finite number above 0")?;
        finite("localization", self.localization, self.localization >= 0.0, "a finite number, at least 0")?;
        if let Some(n_beta) = self.n_beta {
            finite("n_beta", n_beta, n_beta > 0.0, "a finite number above 0")?;
        }
        self.sampler.validate(self.step_size, self.burn_in)?;
        self.schedule.validate(self.step_size)?;
        if let Some(half) = self.bounding_box {
            finite("bounding_box", half, half > 0.0, "a finite number above 0")?;
        }
        let at_least = |name, found: usize, least: usize| {
            if found >= least { Ok(()) } else { Err(SettingsError::new(name, found, format!("at least {least}"))) }
        };
        at_least("chains", self.chains, 1)?;
        at_least("draws", self.draws, MIN_DRAWS)?;
        at_least("thin", self.thin, 1)?;
        // Streams count steps in 32 bits.
        let steps = (self.draws as u128) * (self.thin as u128) + self.burn_in as u128;
        if steps > u128::from(u32::MAX) {
            return Err(SettingsError::new("draws · thin + burn_in", steps, format!("at most {}", u32::MAX)));
        }
        Ok(())
    }
}

impl SettingsError {
    pub(crate) fn new(name: &'static str, found: impl fmt::Display, expected: impl Into<String>) -> Self {
        Self { name, found: found.to_string(), expected: expected.into() }
    }

    /// The setting, as in run files.
    pub fn name(&self) -> &'static str {
        self.name
    }
}
