//! The evidence behind an estimate, whether it was accepted or refused.

use ontogeny_graph::StepNorms;

use crate::control::Controlled;
use crate::quantity::Quantity;
use crate::start::Start;

/// What was sampled, and how the chains behaved.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostics {
    /// nβ that multiplied the mean loss.
    pub n_beta: f64,
    /// Number n of independent samples of the objective.
    pub n: usize,
    /// Number of free parameters.
    pub n_free: usize,
    /// L_n(w*): the loss over all data at the start.
    pub baseline: f64,
    /// Standard error of the baseline as an estimate of the loss on new data. No part of the error of λ̂, which speaks
    /// of L_n itself.
    pub baseline_standard_error: f64,
    /// Gradient at the start.
    pub start: Start,
    /// The start is not a minimum of the loss (see [`crate::Limits`]): λ̂ then measures the way down as much as the
    /// shape of the basin.
    pub not_a_minimum: bool,
    /// nβ·(mean loss over the draws − baseline) of each chain; `None` for a chain that diverged.
    pub per_chain: Vec<Option<f64>>,
    /// Mean loss over all draws of all chains; `None` if one diverged.
    pub mean_loss: Option<f64>,
    /// Agreement and precision of the chains; `None` if one diverged.
    pub convergence: Option<Convergence>,
    /// λ̂ with control variates; `None` if a chain diverged, for samplers without, and for a single chain.
    pub controlled: Option<Controlled>,
    /// Mean Euclidean norms of the parts of a step after burn-in, over the free parameters and all chains.
    pub norms: StepNorms,
    /// The chains that diverged.
    pub failures: Vec<Failure>,
    /// Losses at the draws.
    pub trace: Trace,
}

/// How well the chains agree, and how precise their mean is. All values are about nβ·(loss − baseline).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Convergence {
    /// The mean, λ̂ before any verdict.
    pub mean: f64,
    /// Its Monte Carlo standard error.
    pub mcse: f64,
    /// Rank-normalised split R̂ (Vehtari et al. 2021).
    pub r_hat: f64,
    /// Effective sample size for the bulk.
    pub ess_bulk: f64,
    /// Effective sample size for the tails.
    pub ess_tail: f64,
    /// Integrated autocorrelation time, in draws; times `thin` in steps.
    pub autocorrelation_time: f64,
    /// Mean of the last half minus mean of the first fifth of the chains.
    pub drift: f64,
    /// The drift in its standard errors.
    pub drift_z: f64,
    /// Share of the draws with a loss below the baseline of the same examples.
    pub share_below_baseline: f64,
    /// Variance over mean, the scatter of the evaluation batches taken out. 1 for a basin explored at small steps,
    /// where nβ·(L − L*) follows Gamma(λ, 1).
    /// `None` where the mean is not positive.
    pub dispersion: Option<f64>,
    /// Var(nβ·L), the scatter of the evaluation batches taken out: a second estimate of λ, for nβ·(L − L*) follows
    /// Gamma(λ, 1) where nβ is large and the localisation weak. In a quadratic it is ½·Σf² with f = nβh·v, v the variance
    /// of the weight, while λ̂ is ½·Σf: below λ̂ where the localisation holds directions.
    pub variance: Quantity,
    /// Mean acceptance probability of the matching MALA step at up to 64 draws of each chain; about 0.9 and above is
    /// sound. `None` unless SGLD runs on full batches, where alone it is defined.
    pub acceptance: Option<f64>,
    /// What the finite step adds to λ̂: ½·d·(mean squared length of the gradient's part of a step)/(that of the
    /// noise's), d free parameters. For SGLD with full batches in a quadratic this is ½·Σᵢ f²·a/(2 − a) with
    /// a = εAᵢ/2, f = nβhᵢ/Aᵢ, Aᵢ = nβhᵢ + γ, while the bias is ½·Σᵢ f·a/(2 − a): the same where the loss is steeper
    /// than the localisation. With minibatches gradient noise in directions that matter little to the loss counts in
    /// full, and with a preconditioner the average is weighted by it.
    pub discretization: f64,
}

/// A chain that reached a value that is not finite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The chain.
    pub chain: usize,
    /// The step, counted from 0 with burn-in.
    pub step: usize,
    /// The first parameter or activation with such a value.
    pub node: String,
}

/// Losses at the draws, `[chain][draw]`, each at the weights before that step's update. A diverged chain is shorter.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trace {
    /// Mean loss of the examples evaluated at the draw.
    pub losses: Vec<Vec<f64>>,
    /// The same minus the baseline of those examples.
    pub excess: Vec<Vec<f64>>,
}
