//! Permutation tests: the statistic of the data among those of all arrangements that were as likely without an effect.

use super::answer::{Basis, Sided, Test};
use crate::array_error::{ArrayError, enough, finite, setting};
use crate::random::Stream;

/// Purpose of the random stream.
const PERMUTATION_STREAM: u64 = 70;

/// When to count all arrangements, and how many to draw else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PermutationSettings {
    /// All arrangements are counted where there are at most this many. Default 100,000.
    pub max_exact: usize,
    /// Random arrangements where there are more. Default 9,999; the smallest p-value is 1/(n + 1).
    pub n_resamples: usize,
    /// Seed of these. Default 0.
    pub seed: u64,
}

impl Default for PermutationSettings {
    fn default() -> Self {
        Self { max_exact: 100_000, n_resamples: 9_999, seed: 0 }
    }
}

/// Two independent samples: were the labels exchangeable (Fisher 1935)?
///
/// All C(n + m, n) ways to share the values out are counted where that is few enough; else p = (k + 1)/(N + 1) with k of N
/// random ones as large (Phipson and Smyth 2010). `statistic` takes both samples and is larger where the first is, such as
/// [`difference_of_means`]. A rejection says that the samples differ in distribution, not in their means alone.
///
/// # Errors
/// An empty sample, values or statistics that are not finite, no resamples.
pub fn permutation_test(
    first: &[f64],
    second: &[f64],
    statistic: impl Fn(&[f64], &[f64]) -> f64,
    sided: Sided,
    settings: &PermutationSettings,
) -> Result<Test, ArrayError> {
    finite("the first sample", first)?;
    finite("the second sample", second)?;
    enough("values of the first sample", first.len(), 1)?;
    enough("values of the second sample", second.len(), 1)?;
    let pooled: Vec<f64> = first.iter().chain(second).copied().collect();
    let labels: Vec<usize> = (0..pooled.len()).map(|i| usize::from(i >= first.len())).collect();
    let (mut a, mut b) = (Vec::with_capacity(first.len()), Vec::with_capacity(second.len()));
    arrangement_test(&labels, statistic(first, second), sided, settings, |labels| {
        a.clear();
        b.clear();
        for (value, label) in pooled.iter().zip(labels) {
            if *label == 0 { a.push(*value) } else { b.push(*value) }
        }
        statistic(&a, &b)
    })
}

/// Paired samples, by their differences: were their signs fair coins (Fisher 1935)?
///
/// All 2ⁿ choices of signs are counted where that is few enough, else drawn as in [`permutation_test`]. `statistic` takes
/// the differences, such as [`mean`]. Assumes that without an effect the differences are symmetric about 0.
///
/// # Errors
/// No differences, values or statistics that are not finite, no resamples.
pub fn sign_flip_test(
    differences: &[f64],
    statistic: impl Fn(&[f64]) -> f64,
    sided: Sided,
    settings: &PermutationSettings,
) -> Result<Test, ArrayError> {
    finite("the differences", differences)?;
    enough("differences", differences.len(), 1)?;
    let n = differences.len();
    let mut flipped = differences.to_vec();
    let n_all = 1_usize.checked_shl(n as u32).filter(|all| n < 63 && *all <= settings.max_exact);
    let (values, basis) = if let Some(n_all) = n_all {
        let values = (0..n_all).map(|mask| {
            let signed = |(i, d): (usize, &f64)| if mask >> i & 1 == 1 { -d } else { *d };
            flipped.clear();
            flipped.extend(differences.iter().enumerate().map(signed));
            statistic(&flipped)
        });
        (values.collect::<Vec<f64>>(), Basis::Exact)
    } else {
        let values = (0..settings.n_resamples).map(|index| {
            let mut stream = Stream::new(settings.seed, PERMUTATION_STREAM, index as u64);
            flipped.clear();
            flipped.extend(differences.iter().map(|d| if stream.below(2) == 1 { -d } else { *d }));
            statistic(&flipped)
        });
        (values.collect(), Basis::MonteCarlo { n: settings.n_resamples })
    };
    among(&values, statistic(differences), sided, basis)
}

/// Mean of the first sample less that of the second.
pub fn difference_of_means(first: &[f64], second: &[f64]) -> f64 {
    mean(first) - mean(second)
}

/// Arithmetic mean; NaN of nothing.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Test of `observed` among the statistics of all distinct arrangements of `labels`, or of random ones.
pub(crate) fn arrangement_test(
    labels: &[usize],
    observed: f64,
    sided: Sided,
    settings: &PermutationSettings,
    mut statistic: impl FnMut(&[usize]) -> f64,
) -> Result<Test, ArrayError> {
    let mut labels = labels.to_vec();
    labels.sort_unstable();
    let mut values = vec![];
    if n_arrangements(&labels) <= settings.max_exact as f64 {
        loop {
            values.push(statistic(&labels));
            if !next_arrangement(&mut labels) {
                return among(&values, observed, sided, Basis::Exact);
            }
        }
    }
    let mut shuffled = labels.clone();
    for index in 0..settings.n_resamples {
        shuffled.copy_from_slice(&labels);
        Stream::new(settings.seed, PERMUTATION_STREAM, index as u64).shuffle(&mut shuffled);
        values.push(statistic(&shuffled));
    }
    among(&values, observed, sided, Basis::MonteCarlo { n: settings.n_resamples })
}

/// Where the observed statistic lies among `values`. Those within rounding of it count as equal, on either side: sums of
/// the same numbers in another order are the same statistic.
fn among(values: &[f64], observed: f64, sided: Sided, basis: Basis) -> Result<Test, ArrayError> {
    setting("the number of resamples", values.len() as f64, !values.is_empty(), "at least 1")?;
    finite("the statistic of the data", &[observed])?;
    finite("the statistic of an arrangement", values)?;
    let tolerance = 1e-12 * values.iter().fold(observed.abs(), |m, v| m.max(v.abs()));
    let count = |holds: &dyn Fn(f64) -> bool| values.iter().filter(|v| holds(**v)).count() as f64;
    let n_greater = count(&|v| v >= observed - tolerance);
    let n_less = count(&|v| v <= observed + tolerance);
    let n = values.len() as f64;
    let share = |k: f64| if basis == Basis::Exact { k / n } else { (k + 1.0) / (n + 1.0) };
    Ok(Test { statistic: observed, p_value: sided.p_value(share(n_greater), share(n_less)), basis })
}

/// n!/Π kᵢ! of sorted labels with kᵢ of each kind.
pub(super) fn n_arrangements(sorted: &[usize]) -> f64 {
    let (mut product, mut n_alike) = (1.0, 0.0);
    for (i, label) in sorted.iter().enumerate() {
        n_alike = if i > 0 && sorted[i - 1] == *label { n_alike + 1.0 } else { 1.0 };
        product *= (i + 1) as f64 / n_alike;
    }
    product.round()
}

/// The next arrangement in lexicographic order, each distinct one once; false after the last.
pub(super) fn next_arrangement(labels: &mut [usize]) -> bool {
    let Some(turn) = (1..labels.len()).rev().find(|&i| labels[i - 1] < labels[i]) else { return false };
    let larger = (turn..labels.len()).rev().find(|&i| labels[i] > labels[turn - 1]).unwrap_or(turn);
    labels.swap(turn - 1, larger);
    labels[turn..].reverse();
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrangements_are_all_and_distinct() {
        for (labels, expected) in [(vec![0, 0, 1, 1, 2], 30), (vec![0, 1, 2, 3], 24), (vec![3, 3], 1), (vec![], 1)] {
            let mut seen = std::collections::BTreeSet::new();
            let mut now: Vec<usize> = labels.clone();
            loop {
                assert!(seen.insert(now.clone()));
                if !next_arrangement(&mut now) {
                    break;
                }
            }
            assert_eq!((seen.len(), n_arrangements(&labels)), (expected, expected as f64));
        }
    }

    #[test]
    fn extremes_have_the_least_p_value() {
        let settings = PermutationSettings::default();
        let (a, b) = ([5.0, 6.0, 7.0], [1.0, 2.0, 3.0, 4.0]);
        let test = permutation_test(&a, &b, difference_of_means, Sided::Greater, &settings).unwrap();
        assert_eq!((test.p_value, test.basis), (1.0 / 35.0, Basis::Exact));
        let test = sign_flip_test(&[0.1, 0.2, 0.3, 0.4, 0.5], mean, Sided::Either, &settings).unwrap();
        assert_eq!(test.p_value, 2.0 / 32.0);
        let few = PermutationSettings { max_exact: 1, n_resamples: 99, seed: 1 };
        let test = sign_flip_test(&[1.0; 40], mean, Sided::Greater, &few).unwrap();
        assert_eq!((test.p_value, test.basis), (0.01, Basis::MonteCarlo { n: 99 }));
        assert_eq!(sign_flip_test(&[0.0; 4], mean, Sided::Either, &settings).unwrap().p_value, 1.0);
    }

    #[test]
    fn random_arrangements_estimate_the_exact_share() {
        let (a, b) = ([0.3, 1.2, 2.2, 0.9, 1.7], [0.1, 0.4, 1.1, -0.3, 0.8]);
        let exact = permutation_test(&a, &b, difference_of_means, Sided::Greater, &PermutationSettings::default());
        let exact = exact.unwrap().p_value;
        let settings = PermutationSettings { max_exact: 1, n_resamples: 20_000, seed: 5 };
        let drawn = permutation_test(&a, &b, difference_of_means, Sided::Greater, &settings).unwrap().p_value;
        assert!((drawn - exact).abs() < 3.0 * (exact * (1.0 - exact) / 20_000.0).sqrt() + 1e-4, "{drawn} {exact}");
    }

    #[test]
    fn bad_input_is_refused() {
        let settings = PermutationSettings::default();
        let test = |a: &[f64], b: &[f64]| permutation_test(a, b, difference_of_means, Sided::Either, &settings);
        assert!(test(&[], &[1.0]).is_err() && test(&[1.0], &[]).is_err() && test(&[f64::NAN], &[1.0]).is_err());
        assert!(sign_flip_test(&[], mean, Sided::Either, &settings).is_err());
        assert!(sign_flip_test(&[1.0], |_| f64::NAN, Sided::Either, &settings).is_err());
        let none = PermutationSettings { max_exact: 0, n_resamples: 0, seed: 0 };
        assert!(sign_flip_test(&[1.0], mean, Sided::Either, &none).is_err());
    }
}
