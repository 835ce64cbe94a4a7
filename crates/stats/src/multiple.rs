//! Correction for looking at many series at once.

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

#[cfg(test)]
mod tests {
    use super::*;

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
