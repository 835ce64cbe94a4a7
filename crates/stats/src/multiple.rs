//! Corrections for asking many questions at once.

/// Benjamini–Hochberg adjusted p-values (q-values), in the order given: keeping those with q ≤ Q
/// keeps the expected share of false ones below Q (Benjamini and Hochberg 1995).
///
/// `n_tests` is the number of tests made, at least the number of p-values: a series in which no
/// candidate was found is a test as well (its p-value is 1). Smaller numbers are raised to
/// `p_values.len()`.
pub fn benjamini_hochberg(p_values: &[f64], n_tests: usize) -> Vec<f64> {
    let n = n_tests.max(p_values.len()) as f64;
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[b].total_cmp(&p_values[a]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut least: f64 = 1.0;
    for (i, &index) in order.iter().enumerate() {
        let rank = (p_values.len() - i) as f64;
        least = least.min(p_values[index] * n / rank);
        adjusted[index] = least;
    }
    adjusted
}

/// Holm's adjusted p-values, in the order given: rejecting those ≤ α makes one or more false rejections with probability
/// at most α, whatever the tests have to do with each other (Holm 1979).
///
/// `n_tests` is the number of tests made, as in [`benjamini_hochberg`]: tests without a p-value here have the value 1, and so has NaN.
pub fn holm(p_values: &[f64], n_tests: usize) -> Vec<f64> {
    let n = n_tests.max(p_values.len());
    let mut adjusted = vec![1.0; p_values.len()];
    let mut greatest: f64 = 0.0;
    for (rank, &index) in ascending(p_values).iter().enumerate() {
        greatest = greatest.max(known(p_values[index]) * (n - rank) as f64).min(1.0);
        adjusted[index] = greatest;
    }
    adjusted
}

/// The error rate at which to draw each interval so that it excludes no effect exactly where [`holm`] rejects at `alpha`,
/// in the order given: α/(n − r + 1) of the r-th smallest p-value as long as these are rejected, and the rate of the first
/// that is not for all others.
///
/// This bounds the chance of any interval that wrongly excludes *no effect*. For intervals that all cover the truth with
/// probability 1 − α, draw each at α/n (Bonferroni).
pub fn holm_rates(p_values: &[f64], n_tests: usize, alpha: f64) -> Vec<f64> {
    let n = n_tests.max(p_values.len());
    let mut rates = vec![alpha; p_values.len()];
    let mut held = None;
    for (rank, &index) in ascending(p_values).iter().enumerate() {
        let rate = held.unwrap_or(alpha / (n - rank) as f64);
        if known(p_values[index]) > rate {
            held = Some(rate);
        }
        rates[index] = rate;
    }
    rates
}

/// A test that gave no number rejects nothing.
fn known(p_value: f64) -> f64 {
    if p_value.is_nan() { 1.0 } else { p_value }
}

/// Indices from the smallest to the largest p-value.
fn ascending(p_values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| known(p_values[a]).total_cmp(&known(p_values[b])));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holm_by_hand() {
        // R: p.adjust(c(0.01, 0.04, 0.03, 0.005, 0.5), "holm").
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005, 0.5], 5);
        for (p, expected) in adjusted.iter().zip([0.04, 0.09, 0.09, 0.025, 0.5]) {
            assert!((p - expected).abs() < 1e-12, "{p}");
        }
        let adjusted = holm(&[0.01, 0.6], 4);
        assert!((adjusted[0] - 0.04).abs() < 1e-12 && adjusted[1] == 1.0);
        for nan in [f64::NAN, -f64::NAN] {
            assert_eq!(holm(&[nan, 0.01], 2), [1.0, 0.02]);
            assert_eq!(holm_rates(&[nan, 0.01], 2, 0.05), [0.05, 0.025]);
        }
        assert!(holm(&[], 3).is_empty() && holm_rates(&[], 3, 0.05).is_empty());
    }

    #[test]
    fn rates_reject_where_holm_does() {
        let mut stream = crate::random::Stream::new(3, 0, 0);
        for _ in 0..500 {
            let p_values: Vec<f64> = (0..6).map(|_| stream.uniform().powi(4)).collect();
            let rates = holm_rates(&p_values, 7, 0.05);
            for ((p, rate), adjusted) in p_values.iter().zip(&rates).zip(holm(&p_values, 7)) {
                assert_eq!(p <= rate, adjusted <= 0.05, "{p_values:?} {rates:?}");
                assert!(*rate >= 0.05 / 7.0 && *rate <= 0.05);
            }
        }
    }

    #[test]
    fn adjusted_values() {
        // R: p.adjust(c(0.01, 0.04, 0.03, 0.005, 0.5), "BH").
        let q = benjamini_hochberg(&[0.01, 0.04, 0.03, 0.005, 0.5], 5);
        for (q, expected) in q.iter().zip([0.025, 0.05, 0.05, 0.025, 0.5]) {
            assert!((q - expected).abs() < 1e-12, "{q}");
        }
        // Five more tests that found nothing, p = 1 each, double the price.
        let q = benjamini_hochberg(&[0.01, 0.04], 10);
        assert!((q[0] - 0.1).abs() < 1e-12 && (q[1] - 0.2).abs() < 1e-12);
        assert!(benjamini_hochberg(&[], 3).is_empty());
    }
}
