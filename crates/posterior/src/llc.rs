//! The local learning coefficient λ̂ = nβ·(E[L_n(w)] − L_n(w*)): settings, and the way from weights to an estimate.

use std::fmt;

use ontogeny_graph::{RunError, StepNorms, Threads, Workspace};
use ontogeny_stats::{ChainError, MIN_DRAWS};

use crate::batches::Batch;
use crate::chain::{ChainPlan, ChainRecord};
use crate::diagnostics::{Diagnostics, Trace};
use crate::estimate::Estimate;
use crate::execution::{Execution, Ticker, in_parallel, threads_each};
use crate::objective::{Objective, ObjectiveError};
use crate::restriction::Restriction;
use crate::sampler::Sampler;
use crate::selection::RestrictionError;
use crate::start::{Start, Tempering};
use crate::verdict::{self, Case, Evidence, Limits, Verdict};

/// Settings of an estimate of the local learning coefficient (Lau et al. 2023).
///
/// What is compared with what: the loss at a draw is taken before that step's update, on the examples of that step's
/// gradient or on all ([`Evaluation`]), and compared with the loss of the *same* examples at w*, which is computed
/// once over all data. So the baseline brings no error of its own, the scatter of the minibatches is part of the
/// draws and of their Monte Carlo error, and a start whose loss is exactly 0 is a start like any other.
///
/// The error is nβ times the standard deviation of the draws over √ESS, with the ESS of Vehtari et al. (2021): it
/// holds the autocorrelation and, through the variance between the halves of all chains, their disagreement. Where
/// R̂ exceeds [`Limits::R_HAT_AGREEMENT`] it is at least the error from the spread of the chains' means alone.
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
    /// Examples whose loss is recorded at a draw.
    pub evaluation: Evaluation,
    /// nβ, above 0; n/ln n with the objective's n unless given.
    pub n_beta: Option<f64>,
    /// Seed of noise and batches.
    pub seed: u32,
    /// The part that moves; all other weights keep their bits.
    pub restriction: Restriction,
}

/// Examples whose loss is recorded at a draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evaluation {
    /// Those of the step's gradient: no extra cost.
    Batch,
    /// All of them, at the cost of a pass over the data for each draw.
    Full,
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
            evaluation: Evaluation::Batch,
            n_beta: None,
            seed: 0,
            restriction: Restriction::full(),
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
        objective.batch_rows(self.batch)?;
        self.restriction.resolve(objective.space())?;
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
        self.check_settings()?;
        let batch = objective.batch_rows(self.batch)?;
        let selection = self.restriction.resolve(objective.space())?;
        check_weights(objective, weights)?;
        let n_beta = self.n_beta.unwrap_or_else(|| objective.default_n_beta());

        let evaluation = objective.program(batch, None)?;
        let threads = Threads::new(execution.threads);
        let mut workspace = Workspace::with_threads(&evaluation.program, &threads);
        let baseline = objective.full_loss_with(&evaluation, &mut workspace, weights)?;
        if !baseline.mean.is_finite() {
            let node = evaluation.program.first_non_finite(&mut workspace, weights)?;
            return Err(LlcError::NonFiniteStart { node: node.unwrap_or_else(|| "loss".to_owned()) });
        }
        drop(workspace);
        let n_steps = ChainPlan::n_steps(self);
        let covered = 0.5 * self.step_size * self.sampler.largest_rate() * n_steps as f64;
        let tempering = Tempering {
            n_beta,
            localization: self.localization,
            longest_step: n_beta * covered.min(1.0 / self.localization),
        };
        let start = Start::measure(objective, &selection, &evaluation, weights, &baseline, &tempering, &threads)?;
        drop(threads);

        let gradient = objective.program(batch, Some(&selection))?;
        let plan = ChainPlan {
            objective,
            settings: self,
            selection: &selection,
            n_beta,
            gradient: &gradient,
            evaluation: &evaluation,
            start: weights,
            baseline: &baseline,
            n_threads: threads_each(self.chains, execution.threads),
        };
        let ticker = Ticker::new(execution, self.chains * n_steps);
        let records = in_parallel(self.chains, execution.threads, |chain| plan.run(chain, &ticker));
        let records: Vec<ChainRecord> = records.into_iter().collect::<Result<_, _>>()?;

        let is_full_batch = objective.data().is_none_or(|data| data.len() == batch);
        let case = Case { n_beta, n_free: selection.n_free(), is_full_batch };
        let diagnostics = Diagnostics {
            n_beta,
            n: objective.n(),
            n_free: selection.n_free(),
            baseline: baseline.mean,
            baseline_standard_error: baseline.standard_error,
            start,
            not_a_minimum: false,
            per_chain: records.iter().map(|record| chain_mean(record, n_beta)).collect(),
            mean_loss: None,
            convergence: None,
            norms: mean_norms(&records),
            failures: records.iter().filter_map(|record| record.failure.clone()).collect(),
            trace: Trace::default(),
        };
        conclude(records, diagnostics, case)
    }

    fn check_settings(&self) -> Result<(), SettingsError> {
        self.sampler.validate()?;
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

fn check_weights(objective: &Objective, weights: &[f32]) -> Result<(), LlcError> {
    let space = objective.space();
    if weights.len() != space.len() {
        return Err(RunError::Weights { expected: space.len(), found: weights.len() }.into());
    }
    for param in space.iter() {
        let own = &weights[param.range.clone()];
        if let Some(index) = own.iter().position(|w| !w.is_finite()) {
            return Err(LlcError::NonFiniteWeight { param: param.name.clone(), index, value: own[index] });
        }
    }
    Ok(())
}

fn chain_mean(record: &ChainRecord, n_beta: f64) -> Option<f64> {
    let is_complete = record.failure.is_none();
    is_complete.then(|| n_beta * record.excess.iter().sum::<f64>() / record.excess.len() as f64)
}

fn mean_norms(records: &[ChainRecord]) -> StepNorms {
    let n_steps = records.iter().map(|record| record.n_steps).sum::<usize>().max(1) as f64;
    let mean = |part: fn(&StepNorms) -> f64| records.iter().map(|record| part(&record.norms)).sum::<f64>() / n_steps;
    StepNorms {
        gradient: mean(|n| n.gradient),
        localization: mean(|n| n.localization),
        noise: mean(|n| n.noise),
        distance: mean(|n| n.distance),
    }
}

/// Weighs the evidence. A chain that diverged refuses the whole estimate: its draws are never averaged over.
fn conclude(records: Vec<ChainRecord>, mut diagnostics: Diagnostics, case: Case) -> Result<Estimate, LlcError> {
    let refusal = if diagnostics.failures.is_empty() {
        let evidence = Evidence::of(&records, case)?;
        let n_draws: usize = records.iter().map(|record| record.losses.len()).sum();
        let sum: f64 = records.iter().flat_map(|record| &record.losses).sum();
        diagnostics.mean_loss = Some(sum / n_draws as f64);
        diagnostics.convergence = Some(evidence.convergence);
        evidence.judge(case)
    } else {
        Some((Verdict::Diverged, verdict::diverged(&diagnostics.failures, records.len())))
    };
    diagnostics.not_a_minimum = diagnostics.start.decrease > Limits::START_NATS;
    let (losses, excess) = records.into_iter().map(|record| (record.losses, record.excess)).unzip();
    diagnostics.trace = Trace { losses, excess };
    let diagnostics = Box::new(diagnostics);
    Ok(match (refusal, diagnostics.convergence) {
        (None, Some(convergence)) => Estimate::Ok { value: convergence.mean, mcse: convergence.mcse, diagnostics },
        (refusal, _) => {
            let (verdict, reason) = refusal.expect("chains without evidence have diverged");
            Estimate::Refused { verdict, reason, diagnostics }
        }
    })
}
