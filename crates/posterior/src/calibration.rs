//! Choosing step size, localisation and temperature once for a whole run, with the evidence kept.

use crate::estimate::Estimate;
use crate::execution::{Execution, Progress};
use crate::llc::{Llc, LlcError};
use crate::objective::Objective;
use crate::samplers::Sampler;
use crate::verdict::{Limits, Verdict};

/// The search for settings of an [`Llc`] that fit several checkpoints of one run.
///
/// | setting | rule |
/// |---|---|
/// | step size ε | the largest of half decades at which the finite step makes at most [`Calibration::MAX_DISCRETIZATION`] of λ̂ at every checkpoint: the more a step covers, the more draws are independent. The acceptance of the matching MALA step is kept as evidence and decides nothing: at the same bias it falls with the number of weights |
/// | localisation γ | the smallest of half decades at which every checkpoint is accepted: λ̂ falls with γ (by ½·γ/(nβh + γ) in a direction of curvature h), but chains must stay in the basin and come to rest within their burn-in |
/// | draws | as many as the settings say, more (up to [`Calibration::MAX_DRAWS`] times) where draws agree but are too few |
/// | nβ | the one nearest to n/ln n, among factors of √10 up to 10 either way, at which λ̂ is flat: its logarithmic slope below [`Calibration::MAX_SLOPE`], or not told from 0 |
///
/// Trials run with the chains, draws and burn-in of the settings themselves: what is found is what they can do. A stronger
/// localisation is no remedy for too few draws: it would change the answer. ε scales
/// with 1/nβ in the last search, so that the finite step stays as fine.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// Sampler, chains, draws, batch, part and seed; step size and localisation are where the search begins.
    pub llc: Llc,
}

/// The settings found, and what they rest on.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibrated {
    /// The settings of the search with step size, localisation and nβ found.
    pub llc: Llc,
    /// λ̂'s logarithmic slope in nβ around the value chosen, mean over checkpoints, with its standard error; `None` where
    /// too few estimates were accepted.
    pub temperature_slope: Option<(f64, f64)>,
    /// Its logarithmic slope in γ, likewise.
    pub localization_slope: Option<(f64, f64)>,
    /// In words: what was chosen and why.
    pub reasons: Vec<String>,
    /// Every estimate made, in the order of the search.
    pub trials: Vec<Trial>,
}

/// One estimate of the search.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// Index of the checkpoint.
    pub checkpoint: usize,
    /// ε.
    pub step_size: f64,
    /// γ.
    pub localization: f64,
    /// nβ.
    pub n_beta: f64,
    /// Draws of each chain.
    pub draws: usize,
    /// λ̂ before any verdict; `None` where a chain diverged.
    pub mean: Option<f64>,
    /// Its Monte Carlo error.
    pub mcse: Option<f64>,
    /// Share of λ̂ from the finite step.
    pub discretization: Option<f64>,
    /// Acceptance of the matching MALA step, where it is defined.
    pub acceptance: Option<f64>,
    /// Rank-normalised split R̂.
    pub r_hat: Option<f64>,
    /// Effective draws.
    pub ess_bulk: Option<f64>,
    /// What the estimate would have been.
    pub verdict: Verdict,
}

/// Why no settings were found.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CalibrationError {
    /// Settings or weights that allow no estimate at all.
    #[error(transparent)]
    Llc(#[from] LlcError),
    /// No checkpoints.
    #[error("no checkpoints to calibrate on; give at least one")]
    NoCheckpoints,
    /// No step size is fine enough.
    #[error(
        "no step size down to {smallest:.1e} is fine enough at γ = {localization:.3e}: {reason}; start from a smaller `step_size`"
    )]
    NoStepSize {
        /// The smallest tried.
        smallest: f64,
        /// γ of the trials.
        localization: f64,
        /// What the last trial said.
        reason: String,
        /// Every estimate made.
        trials: Vec<Trial>,
    },
    /// No localisation holds the chains.
    #[error(
        "no localisation from {smallest:.3e} to {largest:.3e} is accepted at every checkpoint; the nearest, {nearest:.3e}, {reason}: \
         lengthen `burn_in` and `draws`, or calibrate on other checkpoints"
    )]
    NoLocalization {
        /// The weakest tried.
        smallest: f64,
        /// The strongest tried.
        largest: f64,
        /// The one accepted at the most checkpoints.
        nearest: f64,
        /// What refused it.
        reason: String,
        /// Every estimate made.
        trials: Vec<Trial>,
    },
}

/// Factor from trial to trial.
const HALF_DECADE: f64 = 3.162_277_660_168_379_5;
/// Half decades searched for a step size and for a localisation, each way.
const REACH: usize = 10;
const LOCALIZATION_REACH: usize = 6;

impl Calibration {
    /// Share of λ̂ that the finite step may make.
    pub const MAX_DISCRETIZATION: f64 = 0.1;
    /// Most draws, as a multiple of those of the settings.
    pub const MAX_DRAWS: usize = 8;
    /// Logarithmic slope of λ̂ in nβ that counts as flat: 10 % in a factor of e.
    pub const MAX_SLOPE: f64 = 0.1;

    /// Searches on `checkpoints`, the flat weights of each.
    ///
    /// # Errors
    /// As [`Llc::estimate`]; no checkpoints; nothing in reach that fits, with every trial.
    pub fn find(
        &self,
        objective: &Objective,
        checkpoints: &[&[f32]],
        execution: &Execution<'_>,
    ) -> Result<Calibrated, CalibrationError> {
        if checkpoints.is_empty() {
            return Err(CalibrationError::NoCheckpoints);
        }
        let n_beta = self.llc.n_beta.unwrap_or_else(|| objective.default_n_beta());
        let llc = Llc { n_beta: Some(n_beta), ..self.llc.clone() };
        let most_draws = llc.draws.saturating_mul(Self::MAX_DRAWS);
        let mut search = Search { objective, checkpoints, execution, llc, most_draws, trials: Vec::new(), n_done: 0 };
        search.localize()?;
        let localization_slope = search.slope_in_localization()?;
        let plateau = search.plateau(n_beta)?;
        let Search { llc, trials, .. } = search;
        let mut reasons = vec![
            format!(
                "step size {:e}: the finite step makes at most {:.0} % of λ̂; the next half decade makes more",
                llc.step_size,
                100.0 * Self::MAX_DISCRETIZATION
            ),
            format!("localisation {}: the weakest of half decades that every checkpoint accepts", llc.localization),
        ];
        if llc.draws > self.llc.draws {
            reasons.push(format!("{} draws: {} were too few for the localisation", llc.draws, self.llc.draws));
        }
        reasons.push(plateau.reason);
        Ok(Calibrated { llc, temperature_slope: plateau.slope, localization_slope, reasons, trials })
    }
}

/// A search under way: the best settings so far, and every trial.
struct Search<'a> {
    objective: &'a Objective,
    checkpoints: &'a [&'a [f32]],
    execution: &'a Execution<'a>,
    llc: Llc,
    most_draws: usize,
    trials: Vec<Trial>,
    n_done: usize,
}

struct Plateau {
    slope: Option<(f64, f64)>,
    reason: String,
}

/// Trials of a whole search are not known beforehand; progress counts towards this many for each checkpoint.
const EXPECTED_TRIALS: usize = 24;

impl Search<'_> {
    /// Estimates at every checkpoint with the present settings, or takes what was estimated before.
    fn at(&mut self, llc: &Llc) -> Result<Vec<Trial>, LlcError> {
        let mut found = Vec::new();
        for (checkpoint, weights) in self.checkpoints.iter().enumerate() {
            let n_beta = llc.n_beta.expect("given from the start");
            let is_same = |trial: &&Trial| {
                trial.checkpoint == checkpoint
                    && trial.draws == llc.draws
                    && [trial.step_size, trial.localization, trial.n_beta] == [llc.step_size, llc.localization, n_beta]
            };
            if let Some(known) = self.trials.iter().find(is_same) {
                found.push(known.clone());
                continue;
            }
            let before = self.n_done;
            let expected = EXPECTED_TRIALS * self.checkpoints.len();
            let outer = self.execution.progress;
            let tell = |p: Progress| {
                if let Some(outer) = outer {
                    let total = p.total * expected.max(before + 1);
                    outer(Progress { done: before * p.total + p.done, total });
                }
            };
            let execution = Execution { progress: Some(&tell), ..*self.execution };
            let estimate = llc.estimate_with(self.objective, weights, &execution)?;
            self.n_done += 1;
            let trial = Trial::of(checkpoint, llc, n_beta, &estimate);
            self.trials.push(trial.clone());
            found.push(trial);
        }
        Ok(found)
    }

    /// The largest half decade of ε that is fine at every checkpoint, from the present one up or down.
    fn largest_step(&mut self, localization: f64) -> Result<f64, CalibrationError> {
        match self.llc.sampler {
            // Their own adaptation finds it, and no step is too large for their law.
            sampler if sampler.is_exact() => Ok(self.llc.step_size),
            // It tells of no discretisation, up to the edge of stability: half a decade is kept from there.
            Sampler::Baoab { .. } => Ok(moved(self.largest_fine_step(localization)?, -1)),
            _ => self.largest_fine_step(localization),
        }
    }

    fn largest_fine_step(&mut self, localization: f64) -> Result<f64, CalibrationError> {
        let mut llc = Llc { localization, ..self.llc.clone() };
        let mut coarse = self.too_coarse(&llc)?;
        if coarse.is_none() {
            for _ in 0..REACH {
                let wider = Llc { step_size: moved(llc.step_size, 1), ..llc.clone() };
                if self.too_coarse(&wider)?.is_some() {
                    break;
                }
                llc = wider;
            }
            return Ok(llc.step_size);
        }
        for _ in 0..REACH {
            llc.step_size = moved(llc.step_size, -1);
            coarse = self.too_coarse(&llc)?;
            if coarse.is_none() {
                return Ok(llc.step_size);
            }
        }
        let reason = coarse.unwrap_or_default();
        let smallest = llc.step_size;
        Err(CalibrationError::NoStepSize { smallest, localization, reason, trials: self.trials.clone() })
    }

    fn too_coarse(&mut self, llc: &Llc) -> Result<Option<String>, LlcError> {
        Ok(self.at(llc)?.iter().find_map(Trial::too_coarse))
    }

    /// Finds the weakest localisation that every checkpoint accepts, with the step size that belongs to it.
    fn localize(&mut self) -> Result<(), CalibrationError> {
        let start = self.llc.localization.max(f64::MIN_POSITIVE);
        // From none at all there is nothing to divide.
        let start = if self.llc.localization == 0.0 { 1.0 } else { start };
        let mut best: Option<Llc> = None;
        let mut nearest = (0, start, String::new());
        let (mut smallest, mut largest) = (start, start);
        let mut gamma = start;
        let mut upwards = false;
        for _ in 0..=LOCALIZATION_REACH {
            (smallest, largest) = (smallest.min(gamma), largest.max(gamma));
            let step_size = self.largest_step(gamma)?;
            self.llc.step_size = step_size;
            let mut llc = Llc { localization: gamma, ..self.llc.clone() };
            let mut trials = self.at(&llc)?;
            while let Some(draws) = more_draws(&trials, &llc).filter(|&draws| draws <= self.most_draws) {
                llc.draws = draws;
                trials = self.at(&llc)?;
            }
            let n_accepted = trials.iter().filter(|trial| trial.verdict == Verdict::Ok).count();
            if n_accepted == trials.len() {
                self.llc = llc.clone();
                best = Some(llc);
                if upwards {
                    break;
                }
                gamma = moved(gamma, -1);
            } else {
                if n_accepted >= nearest.0 {
                    let refused = trials.iter().find(|trial| trial.verdict != Verdict::Ok);
                    let verdict = refused.map_or(Verdict::Ok, |trial| trial.verdict);
                    nearest = (n_accepted, gamma, format!("is refused as `{verdict}`"));
                }
                if best.is_some() {
                    break;
                }
                upwards = true;
                gamma = moved(gamma, 1);
            }
        }
        match best {
            Some(llc) => {
                self.llc = llc;
                Ok(())
            }
            None => Err(CalibrationError::NoLocalization {
                smallest,
                largest,
                nearest: nearest.1,
                reason: nearest.2,
                trials: self.trials.clone(),
            }),
        }
    }

    /// How λ̂ depends on the localisation: from the chosen one to the next stronger.
    fn slope_in_localization(&mut self) -> Result<Option<(f64, f64)>, LlcError> {
        let here = self.at(&self.llc.clone())?;
        let stronger = Llc { localization: moved(self.llc.localization, 1), ..self.llc.clone() };
        let there = self.at(&stronger)?;
        Ok(slope(&here, &there, |trial| trial.localization))
    }

    /// Looks for a plateau of λ̂ in nβ, and moves there.
    fn plateau(&mut self, n_beta: f64) -> Result<Plateau, CalibrationError> {
        let base = self.llc.clone();
        let at =
            |factor: f64| Llc { n_beta: Some(n_beta * factor), step_size: base.step_size / factor, ..base.clone() };
        let factors: Vec<f64> = (-2..=2).map(|k| HALF_DECADE.powi(k)).collect();
        let mut trials = Vec::new();
        for &factor in &factors {
            // The trial at the chosen settings must be found again to the last bit.
            let llc = if factor == 1.0 { base.clone() } else { at(factor) };
            trials.push(self.at(&llc)?);
        }
        // The steepest slope to a neighbour: flat means flat on both sides.
        let slope_at = |k: usize| -> Option<(f64, f64)> {
            let below = k.checked_sub(1).and_then(|below| slope(&trials[below], &trials[k], |trial| trial.n_beta));
            let above = trials.get(k + 1).and_then(|above| slope(&trials[k], above, |trial| trial.n_beta));
            match (below, above) {
                (Some(a), Some(b)) => Some(if a.0.abs() >= b.0.abs() { a } else { b }),
                (one, other) => one.or(other),
            }
        };
        let is_accepted = |k: usize| trials[k].iter().all(|trial| trial.verdict == Verdict::Ok);
        let is_flat = |(slope, error): (f64, f64)| slope.abs() < Calibration::MAX_SLOPE || slope.abs() < 2.0 * error;
        let default = factors.len() / 2;
        let mut order: Vec<usize> = (0..factors.len()).collect();
        order.sort_by_key(|&k| (k.abs_diff(default), k));
        let flat = order.into_iter().find(|&k| is_accepted(k) && slope_at(k).is_some_and(is_flat));
        let told = |(slope, error): (f64, f64)| format!("{slope:+.2} ± {error:.2}");
        let here = slope_at(default);
        Ok(match flat {
            Some(k) if k == default => Plateau {
                slope: here,
                reason: format!(
                    "nβ {n_beta:.4}: λ̂ is flat there (logarithmic slope {})",
                    here.map_or_else(String::new, told)
                ),
            },
            Some(k) => {
                let slope = slope_at(k);
                self.llc = at(factors[k]);
                let reason = format!(
                    "nβ {:.4}: the nearest to {n_beta:.4} at which λ̂ is flat (logarithmic slope {}, there {})",
                    n_beta * factors[k],
                    slope.map_or_else(String::new, told),
                    here.map_or_else(|| "unknown".to_owned(), told)
                );
                Plateau { slope, reason }
            }
            None => Plateau {
                slope: here,
                reason: format!(
                    "nβ {n_beta:.4}: kept, although λ̂ has no plateau within a factor of ten (logarithmic slope {}); compare values at this nβ only",
                    here.map_or_else(|| "unknown".to_owned(), told)
                ),
            },
        })
    }
}

/// The draws that would be enough, where nothing else is missing.
fn more_draws(trials: &[Trial], llc: &Llc) -> Option<usize> {
    let needed = Limits::ESS_PER_CHAIN * llc.chains as f64;
    let mut factor = 1.0_f64;
    for trial in trials.iter().filter(|trial| trial.verdict != Verdict::Ok) {
        let (r_hat, ess) = (trial.r_hat?, trial.ess_bulk?);
        let (disagree, are_few) = (r_hat > Limits::R_HAT, ess < needed);
        if trial.verdict != Verdict::NotConverged || !r_hat.is_finite() || !(disagree || are_few) {
            return None;
        }
        // Half as many again: the number of effective draws is itself an estimate. Chains that are merely short disagree,
        // too; those that are apart for good will still do so.
        factor = factor.max(if disagree { 2.0 } else { 1.0 }).max(1.5 * needed / ess.max(1.0));
    }
    (factor > 1.0).then(|| (llc.draws as f64 * factor).ceil() as usize)
}

/// A number half decades away, to two digits, so that what is found can be written down.
fn moved(number: f64, half_decades: i32) -> f64 {
    let far = number * HALF_DECADE.powi(half_decades);
    format!("{far:.1e}").parse().unwrap_or(far)
}

/// Mean over checkpoints of the slope of ln λ̂ in the logarithm of a setting, and its standard error from the errors of
/// the estimates. Estimates of the same checkpoint share their noise, which makes the true error smaller.
fn slope(from: &[Trial], to: &[Trial], setting: impl Fn(&Trial) -> f64) -> Option<(f64, f64)> {
    let mut slopes = Vec::new();
    for (a, b) in from.iter().zip(to) {
        let (Some(a_mean), Some(a_mcse), Some(b_mean), Some(b_mcse)) = (a.mean, a.mcse, b.mean, b.mcse) else {
            continue;
        };
        if a_mean > 3.0 * a_mcse && b_mean > 3.0 * b_mcse {
            let (error, run) = ((a_mcse / a_mean).hypot(b_mcse / b_mean), (setting(b) / setting(a)).ln());
            slopes.push(((b_mean / a_mean).ln() / run, error / run));
        }
    }
    let n = slopes.len() as f64;
    (n > 0.0).then(|| {
        let mean = slopes.iter().map(|(slope, _)| slope).sum::<f64>() / n;
        (mean, slopes.iter().map(|(_, error)| error * error).sum::<f64>().sqrt() / n)
    })
}

impl Trial {
    fn of(checkpoint: usize, llc: &Llc, n_beta: f64, estimate: &Estimate) -> Self {
        let convergence = estimate.diagnostics().convergence;
        let positive = convergence.filter(|c| c.mean > 0.0);
        Self {
            checkpoint,
            step_size: llc.step_size,
            localization: llc.localization,
            n_beta,
            draws: llc.draws,
            mean: convergence.map(|c| c.mean),
            mcse: convergence.map(|c| c.mcse),
            discretization: positive.map(|c| c.discretization / c.mean),
            acceptance: convergence.and_then(|c| c.acceptance),
            r_hat: convergence.map(|c| c.r_hat),
            ess_bulk: convergence.map(|c| c.ess_bulk),
            verdict: estimate.verdict(),
        }
    }

    /// Why the step size is too large here, if it is.
    fn too_coarse(&self) -> Option<String> {
        if matches!(self.verdict, Verdict::StepTooLarge | Verdict::Diverged) {
            return Some(format!("the verdict is `{}`", self.verdict));
        }
        let share = self.discretization.filter(|&share| share > Calibration::MAX_DISCRETIZATION)?;
        Some(format!("the finite step makes {:.0} % of λ̂", 100.0 * share))
    }
}
