//! Mann and Whitney's test of two independent samples, exact with ties, with the interval of the shift between them.

use super::answer::{Effect, Sided, Test, check_level};
use super::discrete::DiscreteNull;
use crate::array_error::{ArrayError, enough, finite, setting};
use crate::order::{average_ranks, quantile_of_sorted};

/// Most values of all samples together: the exact law is counted in about n³ steps.
pub(crate) const MAX_RANKED: usize = 200;

/// Outcome of a [`rank_sum_test`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RankSumTest {
    /// The statistic U is the number of pairs in which the first is larger, equal ones counting one half.
    pub test: Test,
    /// The median of all differences first − second (Hodges and Lehmann 1963).
    pub shift: Effect,
    /// U/(n m): how likely a value of the first sample exceeds one of the second; ½ without an effect.
    pub superiority: f64,
}

/// Do two independent samples come from one distribution (Wilcoxon 1945, Mann and Whitney 1947)?
///
/// Equal values share their rank, and the law of U given these ranks is counted exactly. The interval of the shift assumes
/// that the distributions differ by a shift; it lies between two of the ordered differences (Hollander, Wolfe and Chicken
/// 2014, 4.3), covers with at least the `level`, and is everything for too few values. Without ties it excludes 0 exactly
/// where the two-sided test rejects at 1 − level. At most 200 values together.
///
/// # Errors
/// An empty sample, too many values, or some that are not finite; a level outside (0, 1).
pub fn rank_sum_test(first: &[f64], second: &[f64], sided: Sided, level: f64) -> Result<RankSumTest, ArrayError> {
    finite("the first sample", first)?;
    finite("the second sample", second)?;
    enough("values of the first sample", first.len(), 1)?;
    enough("values of the second sample", second.len(), 1)?;
    check_ranked(first.len() + second.len())?;
    check_level(level)?;
    let (n, m) = (first.len(), second.len());
    let pooled: Vec<f64> = first.iter().chain(second).copied().collect();
    let doubled: Vec<usize> = average_ranks(&pooled).iter().map(|r| (2.0 * r) as usize).collect();
    let sum: usize = doubled[..n].iter().sum();
    let u = (sum - n * (n + 1)) as f64 / 2.0;
    let test = DiscreteNull::of_subsets(&doubled, n).test(sum, u, sided);

    let mut differences: Vec<f64> = first.iter().flat_map(|a| second.iter().map(move |b| a - b)).collect();
    finite("the differences between the samples", &differences)?;
    differences.sort_by(f64::total_cmp);
    let interval = DiscreteNull::of_u(n, m).order_interval(&differences, level);
    let shift = Effect { estimate: quantile_of_sorted(&differences, 0.5), interval };
    Ok(RankSumTest { test, shift, superiority: u / (n * m) as f64 })
}

/// Refuses more values than the exact law is counted for.
pub(crate) fn check_ranked(n: usize) -> Result<(), ArrayError> {
    let allowed = "at most 200 (use the permutation test or Welch's)";
    setting("the number of values of all samples", n as f64, n <= MAX_RANKED, allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypothesis::{Interval, PermutationSettings, permutation_test};
    use crate::random::Stream;

    fn u(a: &[f64], b: &[f64]) -> f64 {
        let half = |a: f64, b: f64| 0.5 * (f64::from(u8::from(a > b)) + f64::from(u8::from(a >= b)));
        a.iter().map(|a| b.iter().map(|b| half(*a, *b)).sum::<f64>()).sum()
    }

    #[test]
    fn agrees_with_all_labels() {
        for seed in 0..60 {
            let mut stream = Stream::new(seed, 0, 0);
            let (n, m) = (1 + stream.below(5), 1 + stream.below(5));
            let a: Vec<f64> = (0..n).map(|_| (2.0 * stream.normal() + 1.0).round()).collect();
            let b: Vec<f64> = (0..m).map(|_| (2.0 * stream.normal()).round()).collect();
            for sided in [Sided::Either, Sided::Greater, Sided::Less] {
                let found = rank_sum_test(&a, &b, sided, 0.9).unwrap();
                let all = permutation_test(&a, &b, u, sided, &PermutationSettings::default()).unwrap();
                assert!((found.test.p_value - all.p_value).abs() < 1e-14, "{a:?} {b:?}");
                assert_eq!(found.test.statistic, u(&a, &b));
            }
        }
    }

    #[test]
    fn interval_and_test_decide_alike() {
        for seed in 0..200 {
            let mut stream = Stream::new(seed, 1, 0);
            let (n, m) = (2 + stream.below(8), 2 + stream.below(8));
            let a: Vec<f64> = (0..n).map(|_| stream.normal() + 1.0).collect();
            let b: Vec<f64> = (0..m).map(|_| stream.normal()).collect();
            let found = rank_sum_test(&a, &b, Sided::Either, 0.95).unwrap();
            assert_eq!(found.test.p_value <= 0.05, !found.shift.interval.contains(0.0), "{a:?} {b:?}");
        }
    }

    #[test]
    fn defined_at_the_edges() {
        let same = rank_sum_test(&[1.0; 4], &[1.0; 3], Sided::Either, 0.95).unwrap();
        assert_eq!((same.test.p_value, same.superiority, same.shift.estimate), (1.0, 0.5, 0.0));
        let one = rank_sum_test(&[1.0], &[0.0], Sided::Either, 0.95).unwrap();
        assert_eq!((one.test.p_value, one.shift.interval), (1.0, Interval::everything(0.95)));
        let far: Vec<f64> = (0..100).map(f64::from).collect();
        let farther: Vec<f64> = (200..300).map(f64::from).collect();
        let found = rank_sum_test(&farther, &far, Sided::Greater, 0.95).unwrap();
        assert!(found.test.p_value > 0.0 && found.test.p_value < 1e-50);
        assert!(rank_sum_test(&[], &far, Sided::Either, 0.95).is_err());
        assert!(rank_sum_test(&[f64::NAN], &far, Sided::Either, 0.95).is_err());
        assert!(rank_sum_test(&[1.0; 101], &far, Sided::Either, 0.95).is_err());
    }
}
