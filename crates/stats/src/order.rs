//! Order statistics: quantiles, median, ranks, and the median absolute deviation.

/// Quantile of type 7 (linear interpolation; the default of R and NumPy) of unsorted values.
///
/// `probability` lies in [0, 1]. Returns NaN for an empty slice; the values must not be NaN.
pub fn quantile(values: &[f64], probability: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile_of_sorted(&sorted, probability)
}

/// Median of unsorted values; NaN for an empty slice.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// Type-7 quantile of values in ascending order.
///
/// The order of operations follows SciPy's `mquantiles`, so that a comparison with the quantile
/// (as in the tail ESS) falls the same way as in ArviZ.
pub(crate) fn quantile_of_sorted(sorted: &[f64], probability: f64) -> f64 {
    let n = sorted.len();
    match n {
        0 => return f64::NAN,
        1 => return sorted[0],
        _ => {}
    }
    let position = n as f64 * probability + (1.0 - probability);
    let below = position.clamp(1.0, (n - 1) as f64).floor();
    let weight = (position - below).clamp(0.0, 1.0);
    let index = below as usize;
    (1.0 - weight) * sorted[index - 1] + weight * sorted[index]
}

/// Ranks from 1, tied values sharing their average rank.
pub(crate) fn average_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let value = values[order[start]];
        let end = start + order[start..].iter().take_while(|&&i| values[i] == value).count();
        let rank = (start + 1 + end) as f64 / 2.0;
        for &i in &order[start..end] {
            ranks[i] = rank;
        }
        start = end;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_seven_quantiles() {
        let values = [4.0, 1.0, 3.0, 2.0];
        for (p, expected) in [(0.0, 1.0), (0.25, 1.75), (0.5, 2.5), (0.9, 3.7), (1.0, 4.0)] {
            assert!((quantile(&values, p) - expected).abs() < 1e-15, "{p}");
        }
        assert_eq!(median(&[7.0]), 7.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn ties_share_their_rank() {
        // −0 and +0 are equal and share a rank, although the total order separates them.
        assert_eq!(average_ranks(&[0.0, 5.0, -0.0, 5.0, 9.0]), [1.5, 3.5, 1.5, 3.5, 5.0]);
    }
}
