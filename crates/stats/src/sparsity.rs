//! How few components carry a vector: the Gini coefficient of magnitudes and the measure of Hoyer.

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

/// Sparseness of Hoyer (2004, §3.1): (√N − ‖c‖₁/‖c‖₂)/(√N − 1), in [0, 1].
///
/// 0 for equal magnitudes, 1 for a single entry that is not zero, (√N − √K)/(√N − 1) for K equal ones out of N. `None` where it
/// is not defined: for fewer than two entries, only zeros, or an entry that is not finite.
pub fn hoyer(values: &[f64]) -> Option<f64> {
    let largest = values.iter().fold(0.0_f64, |a, v| if v.is_nan() { f64::NAN } else { a.max(v.abs()) });
    if values.len() < 2 || !(largest > 0.0 && largest.is_finite()) {
        return None;
    }
    // Entries of at most one: no square overflows, and none that matters vanishes.
    let (mut l1, mut squares) = (0.0, 0.0);
    for v in values {
        let c = v.abs() / largest;
        l1 += c;
        squares += c * c;
    }
    let root = (values.len() as f64).sqrt();
    Some(((root - l1 / squares.sqrt()) / (root - 1.0)).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hoyer_of_equal_entries_of_one_and_of_some() {
        assert!(hoyer(&[2.0; 9]).expect("not all zero") < 1e-15);
        assert_eq!(hoyer(&[0.0, -3.0, 0.0, 0.0]), Some(1.0));
        let (n, k) = (100, 7);
        let mut values = vec![0.0; n];
        values[..k].fill(-0.5);
        let expected = ((n as f64).sqrt() - (k as f64).sqrt()) / ((n as f64).sqrt() - 1.0);
        assert!((hoyer(&values).expect("not all zero") - expected).abs() < 1e-14);
        for undefined in [&[][..], &[1.0], &[0.0, 0.0], &[1.0, f64::NAN], &[f64::INFINITY, 1.0]] {
            assert_eq!(hoyer(undefined), None);
        }
        assert!((hoyer(&[1e200; 4]).expect("finite")).abs() < 1e-15);
    }

    proptest! {
        #[test]
        fn neither_scale_nor_sign_nor_order_matters(values in prop::collection::vec(-1e3..1e3_f64, 2..40), scale in 1e-3..1e3_f64) {
            prop_assume!(values.iter().any(|v| v.abs() > 1e-6));
            let mut other: Vec<f64> = values.iter().map(|v| -scale * v).collect();
            other.rotate_left(1);
            for (of, name) in [(gini as fn(&[f64]) -> Option<f64>, "gini"), (hoyer, "hoyer")] {
                let [a, b] = [of(&values).unwrap(), of(&other).unwrap()];
                prop_assert!((a - b).abs() < 1e-12, "{name}: {a} {b}");
                prop_assert!((0.0..=1.0).contains(&a) || a.abs() < 1e-12, "{name}: {a}");
            }
        }
    }

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
