//! Kendall's rank correlation with time.

/// τ-b between the values and their order: +1 where they rise throughout, −1 where they fall. Pairs of equal
/// values count for neither side. NaN for fewer than two values, or where all are equal.
pub fn kendall_trend(values: &[f64]) -> f64 {
    let n = values.len();
    let (mut balance, mut untied) = (0i64, 0i64);
    for (i, a) in values.iter().enumerate() {
        for b in &values[i + 1..] {
            balance += i64::from(b > a) - i64::from(b < a);
            untied += i64::from(b != a);
        }
    }
    let pairs = (n * n.saturating_sub(1) / 2) as f64;
    balance as f64 / (untied as f64 * pairs).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        assert_eq!(kendall_trend(&[1.0, 2.0, 5.0, 9.0]), 1.0);
        assert_eq!(kendall_trend(&[4.0, 3.0, 2.0]), -1.0);
        // scipy.stats.kendalltau(range(5), [1, 3, 2, 2, 4]) = 0.5270462766947298.
        assert!((kendall_trend(&[1.0, 3.0, 2.0, 2.0, 4.0]) - 0.527_046_276_694_729_8).abs() < 1e-15);
        assert!(kendall_trend(&[1.0]).is_nan() && kendall_trend(&[2.0, 2.0]).is_nan());
    }
}
