//! Rank correlation: Spearman's ρ and Kendall's τ-b, with exact or random permutations and an interval.

use super::answer::{Effect, Interval, Sided, Test, check_level};
use super::discrete::DiscreteNull;
use super::permutation::{PermutationSettings, arrangement_test};
use super::rank_sum::MAX_RANKED;
use crate::array_error::{ArrayError, enough, finite, length};
use crate::order::average_ranks;
use crate::special::normal_quantile;

/// Which coefficient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RankCoefficient {
    /// Pearson's correlation of the ranks, tied values sharing their rank (Spearman 1904).
    Spearman,
    /// Kendall's τ-b: concordant less discordant pairs, over the geometric mean of the pairs that either side does not
    /// tie (Kendall 1945).
    Kendall,
}

/// Outcome of a [`rank_correlation`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RankCorrelation {
    /// The statistic is the coefficient; the p-value that of independence.
    pub test: Test,
    /// The coefficient and its interval.
    pub coefficient: Effect,
}

/// Do `x` and `y` rise together?
///
/// The test permutes y: all n! orders where these are few enough (up to eight pairs by default), else random ones; of τ
/// without ties the law over all orders is known (Kendall 1938) and used for up to 200 pairs. The
/// interval is Fisher's: artanh of the coefficient ± z·σ with σ² = (1 + ρ²/2)/(n − 3) for ρ (Bonett and Wright 2000) and
/// 0.437/(n − 4) for τ (Fieller, Hartley and Pearson 1957). It is approximate, for continuous values above all, and need
/// not decide as the test does. A perfect correlation counts as half a step of the scale short of 1, since the
/// transformation is infinite there; with fewer than four (ρ) or five (τ) pairs the interval is [−1, 1].
///
/// # Errors
/// Fewer than two pairs, arrays of different lengths, values that are not finite or all equal on one side, a level
/// outside (0, 1), no resamples.
pub fn rank_correlation(
    x: &[f64],
    y: &[f64],
    coefficient: RankCoefficient,
    sided: Sided,
    level: f64,
    settings: &PermutationSettings,
) -> Result<RankCorrelation, ArrayError> {
    finite("x", x)?;
    finite("y", y)?;
    length("y", y.len(), x.len())?;
    enough("pairs", x.len(), 2)?;
    check_level(level)?;
    for (what, values) in [("x", x), ("y", y)] {
        if values.iter().all(|v| *v == values[0]) {
            return Err(ArrayError::Constant { what });
        }
    }
    let (x, y) = (average_ranks(x), average_ranks(y));
    let estimate = match coefficient {
        RankCoefficient::Spearman => pearson(&x, &y),
        RankCoefficient::Kendall => tau_b(&x, &y),
    };
    // Labels are the distinct ranks of y, so that orders which only exchange equal values are counted once.
    let mut distinct = y.clone();
    distinct.sort_by(f64::total_cmp);
    distinct.dedup();
    let labels: Vec<usize> = y.iter().map(|r| distinct.partition_point(|d| d < r)).collect();
    let untied = distinct.len() == y.len() && distinct.iter().all(|rank| x.contains(rank));
    let test = if coefficient == RankCoefficient::Kendall && untied && y.len() <= MAX_RANKED {
        // Value i goes above or below the i before it in any number of pairs, all equally likely.
        let uniform = |i: usize| DiscreteNull::of_counts(vec![1.0; i + 1]);
        let null = (1..y.len()).fold(uniform(0), |law, i| law.plus(&uniform(i)));
        let n_pairs = (y.len() * (y.len() - 1) / 2) as f64;
        null.test((n_pairs * (1.0 + estimate) / 2.0).round() as usize, estimate, sided)
    } else {
        let mut permuted = y.clone();
        arrangement_test(&labels, estimate, sided, settings, |labels| {
            permuted.iter_mut().zip(labels).for_each(|(p, label)| *p = distinct[*label]);
            match coefficient {
                RankCoefficient::Spearman => pearson(&x, &permuted),
                RankCoefficient::Kendall => tau_b(&x, &permuted),
            }
        })?
    };
    let interval = fisher_interval(estimate, x.len() as f64, coefficient, level);
    Ok(RankCorrelation { test, coefficient: Effect { estimate, interval } })
}

fn fisher_interval(estimate: f64, n: f64, coefficient: RankCoefficient, level: f64) -> Interval {
    // The next value below 1: one exchange of neighbours.
    let (step, variance) = match coefficient {
        RankCoefficient::Spearman => (12.0 / (n * (n * n - 1.0)), (1.0 + 0.5 * estimate * estimate) / (n - 3.0)),
        RankCoefficient::Kendall => (4.0 / (n * (n - 1.0)), 0.437 / (n - 4.0)),
    };
    if !(variance.is_finite() && variance > 0.0) {
        return Interval { lower: -1.0, upper: 1.0, level };
    }
    let most = 1.0 - 0.5 * step;
    let z = estimate.clamp(-most, most).atanh();
    let half = -normal_quantile((1.0 - level) / 2.0) * variance.sqrt();
    let lower = if estimate < -most { -1.0 } else { (z - half).tanh() };
    let upper = if estimate > most { 1.0 } else { (z + half).tanh() };
    Interval { lower, upper, level }
}

/// Pearson's correlation; NaN where one side is constant.
pub(crate) fn pearson(x: &[f64], y: &[f64]) -> f64 {
    let n = x.len() as f64;
    let (mx, my) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in x.iter().zip(y) {
        xy += (x - mx) * (y - my);
        xx += (x - mx) * (x - mx);
        yy += (y - my) * (y - my);
    }
    (xy / (xx * yy).sqrt()).clamp(-1.0, 1.0)
}

/// Kendall's τ-b; NaN where one side is constant.
fn tau_b(x: &[f64], y: &[f64]) -> f64 {
    let (mut balance, mut untied_x, mut untied_y) = (0_i64, 0_i64, 0_i64);
    for i in 0..x.len() {
        for j in i + 1..x.len() {
            let a = i64::from(x[j] > x[i]) - i64::from(x[j] < x[i]);
            let b = i64::from(y[j] > y[i]) - i64::from(y[j] < y[i]);
            balance += a * b;
            untied_x += a * a;
            untied_y += b * b;
        }
    }
    balance as f64 / (untied_x as f64 * untied_y as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypothesis::Basis;

    fn of(x: &[f64], y: &[f64], coefficient: RankCoefficient, sided: Sided) -> Result<RankCorrelation, ArrayError> {
        rank_correlation(x, y, coefficient, sided, 0.95, &PermutationSettings::default())
    }

    #[test]
    fn perfect_agreement_of_five() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0];
        for coefficient in [RankCoefficient::Spearman, RankCoefficient::Kendall] {
            let up = of(&x, &[2.0, 4.0, 4.5, 8.0, 80.0], coefficient, Sided::Greater).unwrap();
            assert_eq!((up.test.p_value, up.test.basis), (1.0 / 120.0, Basis::Exact));
            assert_eq!((up.coefficient.estimate, up.coefficient.interval.upper), (1.0, 1.0));
            assert!(up.coefficient.interval.lower < 1.0, "five pairs do not prove a perfect correlation");
            let down = of(&x, &[5.0, 4.0, 3.0, 2.0, 1.0], coefficient, Sided::Either).unwrap();
            assert!((down.test.p_value - 2.0 / 120.0).abs() < 1e-15);
            assert!((down.coefficient.interval.upper + up.coefficient.interval.lower).abs() < 1e-12);
        }
    }

    #[test]
    fn exact_table_of_spearman() {
        // Σd² of n = 4 over all 24 orders: 0, 2 (3 times), 4, 6 (4), 8 (2), 10 (2), 12 (2), 14 (4), 16, 18 (3), 20
        // (Kendall 1955, table 2); P(Σd² ≤ 2) = 4/24.
        let found =
            of(&[1.0, 2.0, 3.0, 4.0], &[1.0, 3.0, 2.0, 4.0], RankCoefficient::Spearman, Sided::Greater).unwrap();
        assert!((found.coefficient.estimate - 0.8).abs() < 1e-15 && (found.test.p_value - 4.0 / 24.0).abs() < 1e-15);
    }

    #[test]
    fn the_law_of_tau_is_that_of_all_orders() {
        for seed in 0..20 {
            let mut stream = crate::random::Stream::new(seed, 0, 0);
            let mut draw = || (0..6).map(|_| stream.normal()).collect::<Vec<f64>>();
            let (x, y) = (draw(), draw());
            for sided in [Sided::Either, Sided::Greater, Sided::Less] {
                let found = of(&x, &y, RankCoefficient::Kendall, sided).unwrap().test;
                let order: Vec<usize> = average_ranks(&y).iter().map(|r| *r as usize).collect();
                let all = arrangement_test(&order, tau_b(&x, &y), sided, &PermutationSettings::default(), |order| {
                    tau_b(&x, &order.iter().map(|r| *r as f64).collect::<Vec<_>>())
                });
                assert!((found.p_value - all.unwrap().p_value).abs() < 1e-14, "{x:?} {y:?}");
            }
        }
        // A tie on either side, of three with a whole rank too, leaves the known law.
        let many: Vec<f64> = (0..30).map(f64::from).collect();
        let mut tied = many.clone();
        tied[3..6].fill(4.0);
        let basis = |x: &[f64], y: &[f64]| of(x, y, RankCoefficient::Kendall, Sided::Greater).unwrap().test.basis;
        assert_eq!(basis(&many, &many), Basis::Exact);
        assert_eq!(basis(&tied, &many), Basis::MonteCarlo { n: 9_999 });
        assert_eq!(basis(&many, &tied), Basis::MonteCarlo { n: 9_999 });
    }

    #[test]
    fn edges() {
        let kendall = RankCoefficient::Kendall;
        assert!(of(&[1.0, 1.0], &[1.0, 2.0], kendall, Sided::Either).is_err());
        assert!(of(&[1.0, f64::NAN], &[1.0, 2.0], kendall, Sided::Either).is_err());
        assert!(of(&[1.0], &[1.0], kendall, Sided::Either).is_err());
        assert!(of(&[1.0, 2.0], &[1.0], kendall, Sided::Either).is_err());
        let two = of(&[1.0, 2.0], &[1.0, 2.0], kendall, Sided::Either).unwrap();
        assert_eq!((two.test.p_value, two.coefficient.interval.lower), (1.0, -1.0));
        let many: Vec<f64> = (0..30).map(f64::from).collect();
        let found = of(&many, &many, RankCoefficient::Spearman, Sided::Greater).unwrap();
        assert_eq!(found.test.p_value, 1e-4);
    }
}
