//! Susceptibilities: how the loss of a part of the network answers to a change of the data.

use std::cmp::Ordering;
use std::num::NonZero;

use super::loss_draws::{LossDraws, ProbeItems, Recording};
use super::probe::{Detail, Probe};
use super::series::mean_of;
use super::{Judged, ResponseError};
use crate::estimate::Estimate;
use crate::execution::{Execution, Progress, in_parallel};
use crate::llc::{Baseline, Evaluation, Llc, LlcError, SettingsError};
use crate::objective::Objective;
use crate::restriction::Restriction;

/// Susceptibilities of parts of a network to probes (Baker et al. 2025, arXiv:2504.18274).
///
/// Where the data distribution moves from that of the objective by h towards a probe, the loss becomes L + h·ΔL with
/// ΔL = L_probe − L, and the expectation of an observable φ changes at the rate `response` = ∂⟨φ⟩/∂h = nβ·`chi`,
/// `chi` = −Cov(φ, ΔL). The observable of a component C is φ = L(w) − L(w*) on the posterior of C alone, everything else
/// frozen at w*, and
///
/// chi_C = −(E_C[φ·ΔL] − E_C\[φ\]·E_full\[ΔL\]).
///
/// φ is the loss that enters λ̂ at the same draw, ΔL(w) the loss of the probe minus it, both minus their values at w*.
/// The values of different components stand in units of their own (the density of each at w* is left out): compare
/// columns after standardising them, or ranks.
///
/// **Error.** chi_C is a smooth function of three means, so to first order its error is that of the mean of
/// −φ·(ΔL − E_full ΔL) over the draws of C plus E_C\[φ\]·(ΔL − E_full ΔL) over those of the full ensemble. Both share
/// their noise (same seed, chain and step), so the two series are added draw by draw, and the error of the mean of the sum
/// holds the errors of both ensembles with their covariance. It accounts for autocorrelation and disagreement between
/// chains as that of λ̂ does. The estimate itself is biased by about its value over the number of effective draws.
#[derive(Debug, Clone, PartialEq)]
pub struct Susceptibilities {
    /// nβ.
    pub n_beta: f64,
    /// What each probe has at the finest level kept.
    pub probes: Vec<ProbeItems>,
    /// The whole network first, then the components in the order given.
    pub components: Vec<ComponentResponse>,
}

/// One component against all probes.
#[derive(Debug, Clone, PartialEq)]
pub struct ComponentResponse {
    /// The part of the network, as written; `full` for the whole.
    pub component: String,
    /// Its learning coefficient, from the same draws.
    pub estimate: Estimate,
    /// Refused where the chains of the component are, or those of the whole network.
    pub table: Judged<ResponseTable>,
}

/// Susceptibilities of one component at all levels that were kept; each level is the mean of the one below it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ResponseTable {
    /// One for each probe.
    pub sets: Vec<Chi>,
    /// One for each example of all probes; empty if only sets were kept.
    pub examples: Vec<Chi>,
    /// One for each token of all examples; empty unless tokens were kept.
    pub tokens: Vec<Chi>,
}

/// A susceptibility with its Monte Carlo errors; losses in the unit of the objective, nats for cross-entropy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Chi {
    /// −Cov(φ, ΔL), in squared units of the loss.
    pub chi: f64,
    /// Its standard error.
    pub chi_mcse: f64,
    /// nβ·chi, in units of the loss: by how much E\[φ\] would grow if the data became the probe, to first order.
    pub response: f64,
    /// Its standard error.
    pub response_mcse: f64,
    /// Rank-normalised split R̂ of the series whose mean has this error; infinite where it is constant.
    pub r_hat: f64,
}

impl Susceptibilities {
    /// Samples the posterior of the whole network and of each component around `weights`, with the settings of `llc` but
    /// for its restriction, and relates φ to the losses of the probes. Memory: the draws of two ensembles.
    ///
    /// The losses of `llc` must be the same function of the weights at every draw: full batches, or `evaluation` full or
    /// fixed, with the baseline of the same examples. φ and ΔL share them, so what a random choice of examples adds to both
    /// would count as covariance. The examples of a fixed evaluation depend on the seed, and with them what is estimated.
    ///
    /// # Errors
    /// As [`Llc::loss_draws`]; a random evaluation.
    pub fn measure(
        llc: &Llc,
        components: &[Restriction],
        objective: &Objective,
        weights: &[f32],
        recording: &Recording<'_>,
        execution: &Execution<'_>,
    ) -> Result<Self, ResponseError> {
        Self::check(llc, components, objective, recording)?;
        let others: Vec<&Restriction> = others(components).collect();
        let n_ensembles = 1 + others.len();
        let sample = |part: Restriction, at: usize| {
            // All ensembles have the same number of steps.
            let report = |p: Progress| {
                if let Some(progress) = execution.progress {
                    progress(Progress { done: at * p.total + p.done, total: n_ensembles * p.total });
                }
            };
            let execution = Execution { progress: Some(&report), ..*execution };
            Llc { restriction: part, ..llc.clone() }.loss_draws(objective, weights, recording, &execution)
        };
        let full = sample(Restriction::full(), 0)?;
        let mut responses = vec![respond(&full, &full, execution.threads)];
        for (at, part) in others.into_iter().enumerate() {
            responses.push(respond(&full, &sample(part.clone(), 1 + at)?, execution.threads));
        }
        let n_beta = full.estimate().diagnostics().n_beta;
        Ok(Self { n_beta, probes: full.probes().to_vec(), components: responses })
    }

    /// What [`Susceptibilities::measure`] checks before it samples, without weights.
    ///
    /// # Errors
    /// Settings out of range, a random evaluation, a part that the network does not have, probes that do not fit the
    /// objective, or draws that do not fit into memory.
    pub fn check(
        llc: &Llc,
        components: &[Restriction],
        objective: &Objective,
        recording: &Recording<'_>,
    ) -> Result<(), ResponseError> {
        llc.check(objective)?;
        check_evaluation(llc, objective)?;
        Probe::check_all(recording.probes, objective)?;
        for part in others(components) {
            part.check(objective.space())?;
        }
        recording.check(llc, if others(components).next().is_none() { 1 } else { 2 })
    }
}

/// The parts beside the whole network, which is always sampled.
fn others(components: &[Restriction]) -> impl Iterator<Item = &Restriction> {
    components.iter().filter(|part| **part != Restriction::full())
}

fn check_evaluation(llc: &Llc, objective: &Objective) -> Result<(), ResponseError> {
    let rows = objective.batch_rows(llc.batch).map_err(LlcError::from)?;
    let is_full_batch = objective.data().is_none_or(|data| data.len() == rows);
    let is_random = match llc.evaluation {
        Evaluation::Full | Evaluation::Fixed(_) => false,
        Evaluation::Batch => !is_full_batch,
        Evaluation::Fresh(_) => objective.data().is_some(),
    };
    if is_random {
        let expected = "`full` or `fixed`, or full batches: φ and ΔL share these losses, and the noise of a random choice of examples would count as covariance";
        return Err(SettingsError::new("evaluation", "a random choice of examples", expected).into());
    }
    if llc.baseline == Baseline::Full && matches!(llc.evaluation, Evaluation::Fixed(_)) {
        let expected = "that of the same examples: φ must vanish at w*";
        return Err(SettingsError::new("baseline", "that of all examples", expected).into());
    }
    Ok(())
}

fn respond(full: &LossDraws, own: &LossDraws, threads: NonZero<usize>) -> ComponentResponse {
    let refusal = full.refusal().or_else(|| own.refusal());
    let table = match refusal {
        Some(refusal) => Judged::Refused(refusal),
        None => Judged::Ok(table(full, own, threads)),
    };
    ComponentResponse { component: own.component().to_owned(), estimate: own.estimate().clone(), table }
}

fn table(full: &LossDraws, own: &LossDraws, threads: NonZero<usize>) -> ResponseTable {
    let kept = full.probes().first().map_or(Detail::Set, |probe| probe.detail);
    let at = |detail: Detail| match detail.cmp(&kept) {
        Ordering::Greater => Vec::new(),
        Ordering::Equal => chis(full, own, threads),
        Ordering::Less => chis(&full.coarsened(detail), &own.coarsened(detail), threads),
    };
    ResponseTable { sets: at(Detail::Set), examples: at(Detail::Example), tokens: at(Detail::Token) }
}

fn chis(full: &LossDraws, own: &LossDraws, threads: NonZero<usize>) -> Vec<Chi> {
    let phi = |draws: &LossDraws| draws.estimate().diagnostics().trace.excess.clone();
    let (phi_full, phi_own) = (phi(full), phi(own));
    let n_beta = full.estimate().diagnostics().n_beta;
    in_parallel(full.n_items(), threads, |item| {
        chi([&phi_full, &phi_own], [&full.series(item), &own.series(item)], n_beta)
    })
}

/// One susceptibility from φ and the probe's loss at the draws of [the full ensemble, the component's].
fn chi(phi: [&[Vec<f64>]; 2], probe: [&[Vec<f64>]; 2], n_beta: f64) -> Chi {
    let flat = |series: &[Vec<f64>]| series.concat();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let difference =
        |of: usize| -> Vec<f64> { flat(probe[of]).iter().zip(flat(phi[of])).map(|(probe, own)| probe - own).collect() };
    let [full, own] = [0, 1].map(difference);
    let phi_own = flat(phi[1]);
    let (expected, level) = (mean(&full), mean(&phi_own));
    let summed = |i: usize| -phi_own[i] * (own[i] - expected) + level * (full[i] - expected);
    let n_draws = phi[1][0].len();
    let series: Vec<Vec<f64>> =
        (0..phi[1].len()).map(|c| (c * n_draws..(c + 1) * n_draws).map(summed).collect()).collect();
    // The second part has the mean 0, so the mean of the sum is the estimate itself.
    let of_sum = mean_of(&series);
    Chi {
        chi: of_sum.mean,
        chi_mcse: of_sum.mcse,
        response: n_beta * of_sum.mean,
        response_mcse: n_beta * of_sum.mcse,
        r_hat: of_sum.r_hat,
    }
}
