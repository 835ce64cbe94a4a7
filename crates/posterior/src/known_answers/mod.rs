//! Estimates against exact answers: cases whose mean of nβ·(L − L*) is known, at the temperature, localisation and step
//! size of their settings.
//!
//! Where a sampler is biased by its finite step, its own stationary law is the answer; elsewhere the posterior is.

mod cases;
mod deep_linear;
mod laws;

use crate::execution::Execution;
use crate::llc::{Llc, LlcError};
use crate::objective::{Objective, ObjectiveError};
use crate::verdict::Verdict;

/// A loss with settings under which the answer is known.
#[derive(Debug)]
pub struct KnownAnswer {
    /// What it is.
    pub name: &'static str,
    /// Mean of nβ·(L(w) − L(w*)).
    pub exact: f64,
    /// Standard error of `exact`; 0 for closed forms and quadratures.
    pub exact_error: f64,
    /// The loss.
    pub objective: Objective,
    /// w*.
    pub start: Vec<f32>,
    /// Sampler and settings.
    pub llc: Llc,
}

/// What was measured of a [`KnownAnswer`].
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Mean of nβ·(L(w) − L(w*)) over the draws; `None` if a chain diverged.
    pub measured: Option<f64>,
    /// Its Monte Carlo standard error.
    pub mcse: f64,
    /// (measured − exact)/√(MCSE² + error of the exact value²); infinite if a chain diverged.
    pub z: f64,
    /// The verdict on the estimate.
    pub verdict: Verdict,
}

impl KnownAnswer {
    /// Largest |z| of a sound case. With some 20 cases one of them exceeds it by chance once in 800 runs.
    pub const LARGEST_Z: f64 = 4.0;

    /// All cases, at most two minutes on two cores.
    ///
    /// # Errors
    /// None that should happen: the losses are built here.
    pub fn all() -> Result<Vec<Self>, ObjectiveError> {
        cases::all()
    }

    pub(crate) fn new(name: &'static str, exact: f64, objective: Objective, start: Vec<f32>, llc: Llc) -> Self {
        Self { name, exact, exact_error: 0.0, objective, start, llc }
    }

    /// Runs the chains with this seed and compares.
    ///
    /// # Errors
    /// As [`Llc::estimate_with`].
    pub fn compare(&self, seed: u32, execution: &Execution<'_>) -> Result<Comparison, LlcError> {
        let llc = Llc { seed, ..self.llc.clone() };
        let estimate = llc.estimate_with(&self.objective, &self.start, execution)?;
        let convergence = estimate.diagnostics().convergence;
        let (measured, mcse) = convergence.map_or((None, f64::INFINITY), |c| (Some(c.mean), c.mcse));
        let z = measured.map_or(f64::INFINITY, |mean| (mean - self.exact) / mcse.hypot(self.exact_error));
        Ok(Comparison { measured, mcse, z, verdict: estimate.verdict() })
    }
}

impl Comparison {
    /// Whether |z| is at most [`KnownAnswer::LARGEST_Z`].
    pub fn is_sound(&self) -> bool {
        self.z.abs() <= KnownAnswer::LARGEST_Z
    }
}
