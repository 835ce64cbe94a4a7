//! What the evidence says: the verdicts, their limits in one table, and the numbers they judge.

use std::fmt;

use ontogeny_stats::{ChainError, Chains};

use crate::chain::ChainRecord;
use crate::diagnostics::{Convergence, Failure};
use crate::quantity::Quantity;

/// Whether an estimate may be used, and if not, what went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Nothing speaks against it.
    Ok,
    /// The chains disagree, drift, or hold too few independent draws: run longer.
    NotConverged,
    /// The finite step, not the loss, makes much of the value: take smaller steps.
    StepTooLarge,
    /// Chains found lower losses than the start: it is no minimum of this loss, or the localisation is too weak.
    LeftTheBasin,
    /// A chain reached a value that is not finite, or losses beyond any posterior near a minimum.
    Diverged,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::NotConverged => "not converged",
            Self::StepTooLarge => "step too large",
            Self::LeftTheBasin => "left the basin",
            Self::Diverged => "diverged",
        })
    }
}

/// The limits of all verdicts, in the order in which they are applied; λ̂ is nβ·(mean loss − baseline), d the number
/// of free parameters. The first that is broken gives the verdict.
///
/// | verdict | when |
/// |---|---|
/// | diverged | a loss or gradient is not finite; or λ̂ > [`Limits::DIVERGED`]·d |
/// | step too large | λ̂ − 3·MCSE > [`Limits::REGULAR`]·d/2; or, with full batches, the discretisation > [`Limits::DISCRETIZATION`]·λ̂ |
/// | left the basin | λ̂ of one chain or of all < −[`Limits::NEGATIVE`] and < −3 of its MCSE |
/// | not converged | R̂ > [`Limits::R_HAT`]; bulk ESS < [`Limits::ESS_PER_CHAIN`]·chains; or a drift of more than [`Limits::DRIFT_Z`] standard errors and of [`Limits::DRIFT`]·λ̂ |
/// | step too large | dispersion > [`Limits::DISPERSION`], if λ̂ > 3·MCSE |
///
/// A start is flagged `not a minimum`, whatever the verdict, when the log posterior density rises from it by more than
/// [`Limits::START_NATS`] along its gradient: half a nat is one posterior standard deviation in one direction.
#[derive(Debug)]
pub struct Limits;

impl Limits {
    /// λ̂ over d. A smooth minimum has λ ≤ d/2, so this is beyond doubt whatever the chains' agreement: R̂ can look
    /// perfect on chains that explode together.
    pub const DIVERGED: f64 = 10.0;
    /// λ̂ over d/2, the value of a regular model, which no singular one exceeds; a quarter is left to the step size.
    pub const REGULAR: f64 = 1.25;
    /// Share of λ̂ that may come from the finite step.
    pub const DISCRETIZATION: f64 = 0.3;
    /// Negative values closer to zero than this are rounding.
    pub const NEGATIVE: f64 = 0.01;
    /// Rank-normalised split R̂ (Gelman et al. 2013, §11.5).
    pub const R_HAT: f64 = 1.1;
    /// Effective draws for each chain: five for each of its halves (Gelman et al. 2013, §11.5).
    pub const ESS_PER_CHAIN: f64 = 10.0;
    /// Standard errors of the drift; 3.5 happen once in 2000.
    pub const DRIFT_Z: f64 = 3.5;
    /// Share of λ̂ below which a drift, however certain, does not matter.
    pub const DRIFT: f64 = 0.1;
    /// Variance over mean of nβ·(L − L*) within chains: 1 for Gamma(λ, 1).
    pub const DISPERSION: f64 = 10.0;
    /// Above this R̂ (Vehtari et al. 2021) the error of λ̂ is at least that from the spread between chains.
    pub const R_HAT_AGREEMENT: f64 = 1.01;
    /// Nats; ½ is one posterior standard deviation in one direction.
    pub const START_NATS: f64 = 0.5;
}

/// What the judge must know beside the convergence.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) n_beta: f64,
    pub(crate) n_free: usize,
    /// Coordinates that take part in a step: more than are free where some move along few directions.
    pub(crate) n_stepped: usize,
    pub(crate) is_full_batch: bool,
    /// See [`crate::Sampler`]'s `discretization_share`.
    pub(crate) discretization_share: f64,
}

/// The evidence of chains that all came to their end.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Evidence {
    pub(crate) convergence: Convergence,
    /// Mean and MCSE of each chain.
    chains: Vec<(f64, f64)>,
}

impl Evidence {
    /// Gathers the evidence of complete chains.
    pub(crate) fn of(records: &[ChainRecord], case: Case) -> Result<Self, ChainError> {
        let draws: Vec<Vec<f64>> =
            records.iter().map(|r| r.excess.iter().map(|excess| case.n_beta * excess).collect()).collect();
        let all = Chains::new(&draws)?;
        let total = Quantity::of(&all);
        let r_hat = all.rank_rhat();
        let mut chains = Vec::new();
        let mut within = 0.0;
        for chain in &draws {
            let own = Chains::new(std::slice::from_ref(chain))?;
            chains.push((own.mean(), own.mcse_mean()));
            within += own.standard_deviation().powi(2) / draws.len() as f64;
        }
        let Quantity { value: mean, mcse } = total;
        let n_draws = (all.n_chains() * all.n_draws()) as f64;
        let batch_variance = records.iter().flat_map(|r| &r.batch_variances).sum::<f64>() / n_draws;
        let below = draws.iter().flatten().filter(|&&excess| excess < 0.0).count();
        let (pull, noise) = records.iter().fold((0.0, 0.0), |(p, n), r| (p + r.pull_squared, n + r.noise_squared));
        let (accepted, n_probes) = records.iter().fold((0.0, 0), |(p, n), r| (p + r.acceptance.0, n + r.acceptance.1));
        let drift = all.drift();
        let convergence = Convergence {
            mean,
            mcse,
            r_hat,
            ess_bulk: all.ess_bulk(),
            ess_tail: all.ess_tail(),
            autocorrelation_time: all.autocorrelation_time(),
            drift: drift.difference,
            drift_z: drift.z,
            share_below_baseline: below as f64 / n_draws,
            dispersion: (mean > 0.0).then(|| (within - case.n_beta.powi(2) * batch_variance).max(0.0) / mean),
            variance: loss_variance(records, total, case.n_beta)?,
            acceptance: (n_probes > 0).then(|| accepted / n_probes as f64),
            discretization: if noise > 0.0 {
                case.discretization_share * 0.5 * case.n_stepped as f64 * pull / noise
            } else {
                0.0
            },
        };
        Ok(Self { convergence, chains })
    }

    /// The first limit that is broken, with the numbers in a sentence; `None` when all hold.
    pub(crate) fn judge(&self, case: Case) -> Option<(Verdict, String)> {
        let c = &self.convergence;
        let (mean, mcse, d) = (c.mean, c.mcse, case.n_free as f64);
        if mean > Limits::DIVERGED * d {
            let reason = format!(
                "nβ·(loss − baseline) averages {mean:.4e} over {d} free parameters; near a minimum it is at most half their number"
            );
            return Some((Verdict::Diverged, reason));
        }
        if mean - 3.0 * mcse > Limits::REGULAR * d / 2.0 {
            let reason = format!(
                "{mean:.4} ± {mcse:.2} is more than {d} free parameters can give ({}); reduce the step size",
                d / 2.0
            );
            return Some((Verdict::StepTooLarge, reason));
        }
        if case.is_full_batch && mean > 0.0 && c.discretization > Limits::DISCRETIZATION * mean {
            let reason =
                format!("the finite step adds about {:.4} to {mean:.4}; reduce the step size", c.discretization);
            return Some((Verdict::StepTooLarge, reason));
        }
        let is_below = |(mean, mcse): (f64, f64)| mean < -Limits::NEGATIVE && mean < -3.0 * mcse;
        if is_below((mean, mcse)) || self.chains.iter().any(|&chain| is_below(chain)) {
            let lowest = self.chains.iter().map(|&(mean, _)| mean).fold(mean, f64::min);
            let share = 100.0 * c.share_below_baseline;
            let reason = format!(
                "nβ·(loss − baseline) averages {mean:.4} ± {mcse:.2}, {lowest:.4} in the lowest chain, and {share:.0} % of the draws lie below the baseline; the start is no minimum, or the localisation is too weak"
            );
            return Some((Verdict::LeftTheBasin, reason));
        }
        self.not_converged(mean).map(|reason| (Verdict::NotConverged, reason)).or_else(|| {
            let is_positive = mean > 3.0 * mcse;
            let dispersion = c.dispersion.filter(|&dispersion| is_positive && dispersion > Limits::DISPERSION)?;
            let reason = format!("nβ·loss scatters {dispersion:.1} times as much as in a basin explored at small steps; reduce the step size");
            Some((Verdict::StepTooLarge, reason))
        })
    }

    fn not_converged(&self, mean: f64) -> Option<String> {
        let c = &self.convergence;
        let needed = Limits::ESS_PER_CHAIN * self.chains.len() as f64;
        if c.r_hat == f64::INFINITY {
            return Some("every chain has the same loss at all of its draws: nothing that moved matters to the loss, or nothing moved".to_owned());
        }
        if c.r_hat > Limits::R_HAT {
            return Some(format!("the chains disagree: R̂ is {:.3}, above {}; run longer", c.r_hat, Limits::R_HAT));
        }
        if c.ess_bulk < needed {
            return Some(format!("{:.0} effective draws, fewer than {needed}; run longer", c.ess_bulk.floor()));
        }
        let is_drifting = c.drift_z.abs() > Limits::DRIFT_Z && c.drift.abs() > Limits::DRIFT * mean.abs();
        is_drifting.then(|| {
            format!(
                "the chains still drift: by {:+.4} ({:.1} standard errors); lengthen the burn-in",
                c.drift, c.drift_z
            )
        })
    }
}

/// The verdict on estimates of which a chain broke off.
pub(crate) fn diverged(failures: &[Failure], n_chains: usize) -> String {
    let first = failures.iter().min_by_key(|failure| failure.step);
    let place =
        first.map_or_else(String::new, |f| format!(", first chain {} at step {} in `{}`", f.chain, f.step, f.node));
    format!(
        "{} of {n_chains} chains reached values that are not finite{place}; reduce the step size or strengthen the localisation",
        failures.len()
    )
}

/// Var(nβ·L) without the scatter of the evaluation batches: the mean of (x − x̄)² − v over the draws, x = nβ·excess, v what
/// the choice of the examples adds to its variance. That the centre is the mean of the same draws takes Var(x̄) away.
fn loss_variance(records: &[ChainRecord], total: Quantity, n_beta: f64) -> Result<Quantity, ChainError> {
    let squares = |record: &ChainRecord| {
        let added = record.batch_variances.iter().map(|v| n_beta * n_beta * v).chain(std::iter::repeat(0.0));
        record.excess.iter().zip(added).map(|(x, v)| (n_beta * x - total.value).powi(2) - v).collect()
    };
    let squares: Vec<Vec<f64>> = records.iter().map(squares).collect();
    let mean = Quantity::of(&Chains::new(&squares)?);
    Ok(Quantity { value: mean.value + total.mcse.powi(2), ..mean })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ontogeny_graph::{Purpose, Stream};

    const CASE: Case = Case { n_beta: 2.0, n_free: 20, n_stepped: 20, is_full_batch: true, discretization_share: 1.0 };

    /// Four chains of 100 draws of nβ·excess ~ `level(chain, draw)` + unit noise, with the given steps.
    fn judge(pull_squared: f64, level: impl Fn(usize, usize) -> f64) -> (Convergence, Option<Verdict>) {
        let records: Vec<ChainRecord> = (0..4)
            .map(|chain| {
                let mut noise = vec![0.0; 100];
                Stream::new(5, Purpose::Probe, chain).normals(0, 0, &mut noise);
                let draw = |(i, z): (usize, &f32)| (level(chain as usize, i) + f64::from(*z)) / CASE.n_beta;
                let excess: Vec<f64> = noise.iter().enumerate().map(draw).collect();
                ChainRecord {
                    losses: excess.clone(),
                    excess,
                    pull_squared,
                    noise_squared: 1.0,
                    n_steps: 100,
                    ..ChainRecord::default()
                }
            })
            .collect();
        let evidence = Evidence::of(&records, CASE).unwrap();
        (evidence.convergence, evidence.judge(CASE).map(|(verdict, _)| verdict))
    }

    #[test]
    fn each_limit_gives_its_verdict() {
        for (name, verdict, expected) in [
            ("sound", judge(0.0, |_, _| 5.0).1, None),
            ("slightly negative", judge(0.0, |_, _| -0.05).1, None),
            ("one chain elsewhere", judge(0.0, |c, _| if c == 3 { 9.0 } else { 5.0 }).1, Some(Verdict::NotConverged)),
            ("drifting", judge(0.0, |_, i| 4.0 + i as f64 / 60.0).1, Some(Verdict::NotConverged)),
            ("more than regular", judge(0.0, |_, _| 14.0).1, Some(Verdict::StepTooLarge)),
            ("coarse steps", judge(0.2, |_, _| 5.0).1, Some(Verdict::StepTooLarge)),
            ("below the start", judge(0.0, |_, _| -1.0).1, Some(Verdict::LeftTheBasin)),
            ("one chain below", judge(0.0, |c, _| if c == 0 { -5.0 } else { 5.0 }).1, Some(Verdict::LeftTheBasin)),
            ("scattered", judge(0.0, |_, i| if i % 10 == 0 { 40.0 } else { 1.0 }).1, Some(Verdict::StepTooLarge)),
            ("far out", judge(0.0, |_, _| 1e6).1, Some(Verdict::Diverged)),
        ] {
            assert_eq!(verdict, expected, "{name}");
        }
    }

    #[test]
    fn chains_that_explode_together_agree_and_are_refused_all_the_same() {
        let (convergence, verdict) = judge(0.0, |_, _| 1e6);
        assert!(convergence.r_hat < 1.02, "{convergence:?}");
        assert_eq!(verdict, Some(Verdict::Diverged));
    }

    #[test]
    fn one_stuck_chain_is_not_converged() {
        let records: Vec<ChainRecord> = (0..4)
            .map(|chain| {
                let mut noise = vec![0.0; 100];
                Stream::new(9, Purpose::Probe, chain).normals(0, 0, &mut noise);
                let moving = |z: &f32| 2.5 + 0.5 * f64::from(*z);
                let excess = noise.iter().map(|z| if chain == 2 { 0.0 } else { moving(z) }).collect();
                ChainRecord { excess, ..ChainRecord::default() }
            })
            .collect();
        let evidence = Evidence::of(&records, CASE).unwrap();
        let (verdict, reason) = evidence.judge(CASE).unwrap();
        assert_eq!(verdict, Verdict::NotConverged, "{reason}");
        // Chain means 5, 5, 0, 5: the spread between chains is 2.5, its error 1.25.
        assert!(evidence.convergence.mcse > 1.2, "{:?}", evidence.convergence);
    }

    #[test]
    fn draws_that_are_all_the_same_are_not_converged() {
        let records = vec![ChainRecord { excess: vec![0.0; 10], ..ChainRecord::default() }; 4];
        let evidence = Evidence::of(&records, CASE).unwrap();
        assert_eq!(evidence.judge(CASE).unwrap().0, Verdict::NotConverged);
        assert_eq!(evidence.convergence.dispersion, None);
    }

    #[test]
    fn the_error_is_that_of_independent_draws_where_they_are() {
        // 400 draws of unit variance: 1/√400 = 0.05; the estimate of an ESS of 400 scatters by about 10 %.
        let (convergence, _) = judge(0.0, |_, _| 5.0);
        assert!((convergence.mcse - 0.05).abs() < 0.02, "{convergence:?}");
    }
}
