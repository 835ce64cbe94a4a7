//! Wilcoxon's signed-rank test of one sample or of pairs, exact with ties, and the interval of Hodges and Lehmann.

use super::answer::{Effect, Sided, Test, check_level};
use super::discrete::DiscreteNull;
use super::sign::check_signed;
use crate::array_error::ArrayError;
use crate::order::{average_ranks, quantile_of_sorted};

/// Outcome of a [`signed_rank_test`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SignedRankTest {
    /// The statistic T⁺ is the sum of the ranks of |d| that belong to positive values.
    pub test: Test,
    /// The pseudo-median: the median of the means of all pairs of values, each with itself too (Hodges and Lehmann 1963).
    pub shift: Effect,
}

/// Are the values (differences of pairs) symmetric about 0 (Wilcoxon 1945)?
///
/// Zeros are left out of the test and equal |d| share their rank; the law of T⁺ given these ranks is then counted exactly. The
/// interval takes all values, lies between two of the ordered means of pairs (Hollander, Wolfe and Chicken 2014, 3.3) and
/// covers with at least the `level`; for too few values (five, at 0.95) it is everything. Without ties and zeros it excludes 0
/// exactly where the two-sided test rejects at 1 − level. At most 1,000 values.
///
/// # Errors
/// No values, too many, or some that are not finite; a level outside (0, 1).
pub fn signed_rank_test(values: &[f64], sided: Sided, level: f64) -> Result<SignedRankTest, ArrayError> {
    check_signed(values)?;
    check_level(level)?;
    Ok(SignedRankTest { test: signed_ranks(values, sided), shift: pseudo_median(values, level) })
}

/// The test alone, of values that have been checked.
pub(crate) fn signed_ranks(values: &[f64], sided: Sided) -> Test {
    let signed: Vec<f64> = values.iter().copied().filter(|v| *v != 0.0).collect();
    let ranks = average_ranks(&signed.iter().map(|v| v.abs()).collect::<Vec<_>>());
    // Shared ranks are halves: the law is counted in units of one half where there are any.
    let units = if ranks.iter().all(|r| r.fract() == 0.0) { 1.0 } else { 2.0 };
    let scores: Vec<usize> = ranks.iter().map(|r| (units * r) as usize).collect();
    let positive: usize = signed.iter().zip(&scores).filter(|(v, _)| **v > 0.0).map(|(_, r)| r).sum();
    DiscreteNull::of_signs(&scores).test(positive, positive as f64 / units, sided)
}

fn pseudo_median(values: &[f64], level: f64) -> Effect {
    let n = values.len();
    let mut means = Vec::with_capacity(n * (n + 1) / 2);
    for (i, a) in values.iter().enumerate() {
        means.extend(values[i..].iter().map(|b| f64::midpoint(*a, *b)));
    }
    means.sort_by(f64::total_cmp);
    let ranks: Vec<usize> = (1..=n).collect();
    let interval = DiscreteNull::of_signs(&ranks).order_interval(&means, level);
    Effect { estimate: quantile_of_sorted(&means, 0.5), interval }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    /// P-values by trying all signs of the ranks.
    fn by_enumeration(values: &[f64], sided: Sided) -> f64 {
        let signed: Vec<f64> = values.iter().copied().filter(|v| *v != 0.0).collect();
        let ranks = average_ranks(&signed.iter().map(|v| v.abs()).collect::<Vec<_>>());
        let observed: f64 = signed.iter().zip(&ranks).filter(|(v, _)| **v > 0.0).map(|(_, r)| r).sum();
        let (mut greater, mut less) = (0.0, 0.0);
        let n_all = 1_usize << signed.len();
        for mask in 0..n_all {
            let sum: f64 = (0..ranks.len()).filter(|i| mask >> i & 1 == 1).map(|i| ranks[i]).sum();
            greater += f64::from(u8::from(sum >= observed));
            less += f64::from(u8::from(sum <= observed));
        }
        sided.p_value(greater / n_all as f64, less / n_all as f64)
    }

    #[test]
    fn agrees_with_all_signs() {
        for seed in 0..60 {
            let mut stream = Stream::new(seed, 0, 0);
            let n = 1 + stream.below(9);
            // Rounded values: ties and zeros.
            let values: Vec<f64> = (0..n).map(|_| (3.0 * stream.normal() + 1.0).round()).collect();
            for sided in [Sided::Either, Sided::Greater, Sided::Less] {
                let found = signed_rank_test(&values, sided, 0.9).unwrap();
                assert!((found.test.p_value - by_enumeration(&values, sided)).abs() < 1e-14, "{values:?}");
            }
        }
    }

    #[test]
    fn interval_and_test_decide_alike() {
        for seed in 0..200 {
            let mut stream = Stream::new(seed, 1, 0);
            let n = 3 + stream.below(15);
            let values: Vec<f64> = (0..n).map(|_| stream.normal() + 0.6).collect();
            let found = signed_rank_test(&values, Sided::Either, 0.95).unwrap();
            assert_eq!(found.test.p_value <= 0.05, !found.shift.interval.contains(0.0), "{values:?}");
        }
    }

    #[test]
    fn defined_at_the_edges() {
        let zeros = signed_rank_test(&[0.0, 0.0, -0.0], Sided::Either, 0.95).unwrap();
        assert_eq!((zeros.test.p_value, zeros.shift.estimate), (1.0, 0.0));
        let many: Vec<f64> = (1..=1000).map(f64::from).collect();
        assert!(signed_rank_test(&many, Sided::Greater, 0.95).unwrap().test.p_value > 0.0);
        assert!(signed_rank_test(&[f64::NAN], Sided::Either, 0.95).is_err());
        assert!(signed_rank_test(&[1.0], Sided::Either, 1.0).is_err());
        let huge = signed_rank_test(&[f64::MAX, f64::MAX], Sided::Either, 0.95).unwrap();
        assert_eq!(huge.shift.estimate, f64::MAX);
    }
}
