//! Gini coefficient of magnitudes, a measure of how few components carry a vector.

/// Gini coefficient of the absolute values, in [0, 1 − 1/N] (Hurley and Rickard 2009, eq. 8):
/// G = 1 − 2 Σ_k (c_(k) / ‖c‖₁) (N − k + ½) / N with |c| ascending.
///
/// 0 for equal magnitudes, 1 − K/N for K equal non-zero entries out of N. `None` where it is not
/// defined: for an empty or all-zero vector, or one with a non-finite entry.
pub fn gini(values: &[f64]) -> Option<f64> {
    let mut magnitudes: Vec<f64> = values.iter().map(|v| v.abs()).collect();
    magnitudes.sort_by(f64::total_cmp);
    let total: f64 = magnitudes.iter().sum();
    if !(total > 0.0 && total.is_finite()) {
        return None;
    }
    let n = magnitudes.len() as f64;
    let weighted: f64 = magnitudes.iter().enumerate().map(|(i, c)| c / total * (n - i as f64 - 0.5)).sum();
    Some(1.0 - 2.0 * weighted / n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        for (n_equal, expected) in [(1, 0.982_143), (5, 0.910_714), (56, 0.0)] {
            let mut values = vec![0.0; 56];
            values[..n_equal].fill(-3.0);
            let g = gini(&values).expect("not all zero");
            assert!((g - expected).abs() < 5e-7, "{n_equal}: {g}");
            assert!((g - (1.0 - n_equal as f64 / 56.0)).abs() < 1e-14);
        }
    }

    #[test]
    fn undefined_values() {
        assert_eq!(gini(&[]), None);
        assert_eq!(gini(&[0.0, 0.0]), None);
        assert_eq!(gini(&[1.0, f64::NAN]), None);
    }
}
