//! Means by permutation, with the interval that belongs to the test: typical values.
//!
//! Exchanging signs or labels of data that are shifted by δ gives a mean at least as large as that of the data exactly where δ reaches the
//! mean over the units that changed. These means over subsets ("typical values", Hartigan 1969) are thus all that test
//! and interval need: the p-value of a shift δ counts those up to δ, and the ends of the interval are two of them.

use super::answer::{Basis, Effect, Interval, Sided, Test, check_level};
use super::permutation::{PermutationSettings, mean, n_arrangements, next_arrangement};
use crate::array_error::{ArrayError, enough, finite, setting};
use crate::random::Stream;

/// Purpose of the random stream.
const TYPICAL_STREAM: u64 = 76;

/// Outcome of [`mean_by_signs`] and [`difference_by_labels`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeanByPermutation {
    /// The test of a mean, or a difference of means, of 0; the statistic is the mean.
    pub test: Test,
    /// The mean or difference with the interval of all values that the same test does not reject.
    pub mean: Effect,
}

/// Is the mean 0, if signs were as good as tossed (Fisher 1935)? Assumes values that are symmetric about their mean.
///
/// All 2ⁿ choices of signs are counted where that is few enough, else p = (k + 1)/(N + 1) of N random ones. The interval excludes 0
/// exactly where the two-sided test rejects.
///
/// # Errors
/// No values, values that are not finite, a level outside (0, 1), no resamples.
pub fn mean_by_signs(
    values: &[f64],
    sided: Sided,
    level: f64,
    settings: &PermutationSettings,
) -> Result<MeanByPermutation, ArrayError> {
    finite("the values", values)?;
    enough("values", values.len(), 1)?;
    let n = values.len();
    let of_subset = |is_in: &dyn Fn(usize) -> bool| {
        let (mut sum, mut count) = (0.0, 0.0);
        for (_, value) in values.iter().enumerate().filter(|(i, _)| is_in(*i)) {
            sum += value;
            count += 1.0;
        }
        (count > 0.0).then(|| sum / count)
    };
    let n_all = 1_usize.checked_shl(n as u32).filter(|all| n < 63 && *all <= settings.max_exact);
    let (typical, basis) = if let Some(n_all) = n_all {
        ((0..n_all).map(|mask| of_subset(&|i| mask >> i & 1 == 1)).collect(), Basis::Exact)
    } else {
        let draw = |index: usize| {
            let mut stream = Stream::new(settings.seed, TYPICAL_STREAM, index as u64);
            let flips: Vec<bool> = (0..n).map(|_| stream.below(2) == 1).collect();
            of_subset(&|i| flips[i])
        };
        ((0..settings.n_resamples).map(draw).collect(), Basis::MonteCarlo { n: settings.n_resamples })
    };
    Typical::new(typical, basis, values)?.outcome(mean(values), sided, level)
}

/// Do two independent samples differ in mean, if labels were exchangeable (Fisher 1935)? Assumes, for the interval, that they differ by a shift.
///
/// All C(n + m, n) ways to share the values out are counted where that is few enough, else p = (k + 1)/(N + 1) of N random ones. The
/// effect is the mean of the first less that of the second; its interval excludes 0 exactly where the two-sided test rejects.
///
/// # Errors
/// An empty sample, values that are not finite, a level outside (0, 1), no resamples.
pub fn difference_by_labels(
    first: &[f64],
    second: &[f64],
    sided: Sided,
    level: f64,
    settings: &PermutationSettings,
) -> Result<MeanByPermutation, ArrayError> {
    finite("the first sample", first)?;
    finite("the second sample", second)?;
    enough("values of the first sample", first.len(), 1)?;
    enough("values of the second sample", second.len(), 1)?;
    let all = [first, second].concat();
    let n = first.len();
    // Values that leave the first sample, against those that come to it.
    let of_exchange = |labels: &[usize]| {
        let (mut sum, mut count) = (0.0, 0.0);
        for (i, label) in labels.iter().enumerate() {
            if i < n && *label == 1 {
                sum += all[i];
                count += 1.0;
            } else if i >= n && *label == 0 {
                sum -= all[i];
            }
        }
        (count > 0.0).then(|| sum / count)
    };
    let own: Vec<usize> = (0..all.len()).map(|i| usize::from(i >= n)).collect();
    let mut labels = own.clone();
    let mut typical = Vec::new();
    let basis = if n_arrangements(&own) <= settings.max_exact as f64 {
        typical.push(of_exchange(&labels));
        while next_arrangement(&mut labels) {
            typical.push(of_exchange(&labels));
        }
        Basis::Exact
    } else {
        for index in 0..settings.n_resamples {
            labels.copy_from_slice(&own);
            Stream::new(settings.seed, TYPICAL_STREAM, index as u64).shuffle(&mut labels);
            typical.push(of_exchange(&labels));
        }
        Basis::MonteCarlo { n: settings.n_resamples }
    };
    Typical::new(typical, basis, &all)?.outcome(mean(first) - mean(second), sided, level)
}

/// The typical values of a sample, and how many arrangements change nothing.
struct Typical {
    sorted: Vec<f64>,
    /// Arrangements like the data, which speak as much for any shift; drawn at random, the data are one more.
    n_same: usize,
    basis: Basis,
    /// Typical values closer than this are equal but for rounding.
    tolerance: f64,
}

impl Typical {
    fn new(values: Vec<Option<f64>>, basis: Basis, data: &[f64]) -> Result<Self, ArrayError> {
        setting("the number of resamples", values.len() as f64, !values.is_empty(), "at least 1")?;
        let n_same = values.iter().filter(|value| value.is_none()).count() + usize::from(basis != Basis::Exact);
        let mut sorted: Vec<f64> = values.into_iter().flatten().collect();
        finite("a mean over some of the units", &sorted)?;
        sorted.sort_by(f64::total_cmp);
        let tolerance = 1e-12 * data.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
        Ok(Self { sorted, n_same, basis, tolerance })
    }

    fn n_all(&self) -> f64 {
        (self.sorted.len() + self.n_same) as f64
    }

    fn outcome(&self, mean: f64, sided: Sided, level: f64) -> Result<MeanByPermutation, ArrayError> {
        check_level(level)?;
        let n_up_to = self.sorted.partition_point(|value| *value <= self.tolerance);
        let n_from = self.sorted.len() - self.sorted.partition_point(|value| *value < -self.tolerance);
        let share = |n: usize| (n + self.n_same) as f64 / self.n_all();
        let test = Test { statistic: mean, p_value: sided.p_value(share(n_up_to), share(n_from)), basis: self.basis };
        Ok(MeanByPermutation { test, mean: Effect { estimate: mean, interval: self.interval(level) } })
    }

    /// From the least to the largest shift with more than half of 1 − level of all arrangements on either side.
    fn interval(&self, level: f64) -> Interval {
        let tail = (1.0 - level) / 2.0 * self.n_all();
        // Rounding must not turn a tail of exactly k arrangements into fewer than k.
        let rejected = (tail * (1.0 + 1e-12)).floor() as usize;
        // A shift below the k-th typical value has `n_same` + k − 1 arrangements up to it at most.
        match rejected.checked_sub(self.n_same) {
            Some(k) if k < self.sorted.len() => {
                // A mean that is 0 but for rounding is 0, as in the test.
                let end = |value: f64| if value.abs() <= self.tolerance { 0.0 } else { value };
                Interval { lower: end(self.sorted[k]), upper: end(self.sorted[self.sorted.len() - 1 - k]), level }
            }
            _ => Interval::everything(level),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypothesis::{difference_of_means, permutation_test, sign_flip_test};

    #[test]
    fn three_values_by_hand() {
        // Subset means of 1, 2, 6: 1, 1.5, 2, 3, 3.5, 4, 6; with the empty set 8 arrangements.
        let settings = PermutationSettings::default();
        let found = mean_by_signs(&[1.0, 2.0, 6.0], Sided::Greater, 0.75, &settings).unwrap();
        assert_eq!((found.test.p_value, found.test.basis), (0.125, Basis::Exact));
        // A tail of 1/8 rejects shifts with one arrangement: below 1, above 6.
        assert_eq!((found.mean.interval.lower, found.mean.interval.upper), (1.0, 6.0));
        let found = mean_by_signs(&[1.0, 2.0, 6.0], Sided::Greater, 0.5, &settings).unwrap();
        assert_eq!((found.mean.interval.lower, found.mean.interval.upper), (1.5, 4.0));
        let found = mean_by_signs(&[1.0, 2.0, 6.0], Sided::Greater, 0.8, &settings).unwrap();
        assert_eq!(found.mean.interval.lower, f64::NEG_INFINITY);
    }

    #[test]
    fn two_samples_by_hand() {
        // 5 against 1, 2: exchanges give 4 and 3; with none, three arrangements.
        let settings = PermutationSettings::default();
        let found = difference_by_labels(&[5.0], &[1.0, 2.0], Sided::Greater, 0.3, &settings).unwrap();
        assert_eq!(found.test.p_value, 1.0 / 3.0);
        assert_eq!((found.mean.estimate, found.mean.interval.lower, found.mean.interval.upper), (3.5, 3.0, 4.0));
    }

    /// The interval is what the test of permutations, done at each shift, does not reject; p-values are those of these tests.
    #[test]
    fn interval_inverts_the_test() {
        let (a, b) = ([0.3, 1.7, 0.9, 2.2, -0.4, 1.1, 0.2], [0.1, -0.9, 0.65, 0.4, -1.3]);
        let settings = PermutationSettings::default();
        for sided in [Sided::Greater, Sided::Less, Sided::Either] {
            let by_signs = sign_flip_test(&a, mean, sided, &settings).unwrap();
            assert!((mean_by_signs(&a, sided, 0.9, &settings).unwrap().test.p_value - by_signs.p_value).abs() < 1e-12);
            let by_labels = permutation_test(&a, &b, difference_of_means, sided, &settings).unwrap();
            let found = difference_by_labels(&a, &b, sided, 0.9, &settings).unwrap();
            assert!((found.test.p_value - by_labels.p_value).abs() < 1e-12);
        }
        let (one, two) = (
            mean_by_signs(&a, Sided::Either, 0.9, &settings).unwrap().mean.interval,
            difference_by_labels(&a, &b, Sided::Either, 0.9, &settings).unwrap().mean.interval,
        );
        assert!(one.lower > -1.0 && two.upper < 3.0);
        for k in -400..400 {
            let shift = f64::from(k) / 100.0 + 0.003_141;
            let moved: Vec<f64> = a.iter().map(|value| value - shift).collect();
            let p = sign_flip_test(&moved, mean, Sided::Either, &settings).unwrap().p_value;
            assert_eq!(one.contains(shift), p > 0.1, "signs at {shift}: {p}");
            let p = permutation_test(&moved, &b, difference_of_means, Sided::Either, &settings).unwrap().p_value;
            assert_eq!(two.contains(shift), p > 0.1, "labels at {shift}: {p}");
        }
    }

    /// Sums of tenths are 0 but for rounding: neither test nor interval may take that for an effect.
    #[test]
    fn what_is_nothing_but_for_rounding_is_nothing() {
        let values = [-0.3, 0.5, 0.4, 0.4, -0.1, 0.9, 0.0, 0.4];
        let found = mean_by_signs(&values, Sided::Greater, 0.9, &PermutationSettings::default()).unwrap();
        assert_eq!((found.test.p_value, found.mean.interval.lower), (14.0 / 256.0, 0.0));
    }

    #[test]
    fn drawn_arrangements_agree_with_all() {
        let values: Vec<f64> = (0..15).map(|i| f64::from(i * i % 11) - 4.0).collect();
        let all = mean_by_signs(&values, Sided::Greater, 0.9, &PermutationSettings::default()).unwrap();
        let few = PermutationSettings { max_exact: 1, n_resamples: 9_999, seed: 3 };
        let drawn = mean_by_signs(&values, Sided::Greater, 0.9, &few).unwrap();
        assert_eq!((all.test.basis, drawn.test.basis), (Basis::Exact, Basis::MonteCarlo { n: 9_999 }));
        let p = all.test.p_value;
        assert!((drawn.test.p_value - p).abs() < 4.0 * (p * (1.0 - p) / 1e4).sqrt());
        assert_eq!(
            mean_by_signs(&[0.0; 4], Sided::Either, 0.9, &PermutationSettings::default()).unwrap().test.p_value,
            1.0
        );
    }
}
