//! How many dimensions a spectrum has: effective ranks of eigenvalues or squared singular values.

/// Σλ, where it is above 0 and finite, and no entry is negative.
fn total(spectrum: &[f64]) -> Option<f64> {
    let sum: f64 = spectrum.iter().sum();
    (sum > 0.0 && sum.is_finite() && spectrum.iter().all(|&x| x >= 0.0)).then_some(sum)
}

/// Participation ratio (Σλ)²/Σλ² of values that are not negative: 1 to their number n; n for equal ones, k for k equal ones
/// among zeros. `None` where it is not defined: without values above zero, or with one that is negative or not finite.
pub fn participation_ratio(spectrum: &[f64]) -> Option<f64> {
    let sum = total(spectrum)?;
    // Shares, so that no square overflows or vanishes.
    Some(1.0 / spectrum.iter().map(|x| (x / sum).powi(2)).sum::<f64>())
}

/// Exponential of the Shannon entropy of the shares p = λ/Σλ, exp(−Σ p ln p): 1 to n. Of singular values it is the effective
/// rank of Roy and Vetterli (2007). `None` as for [`participation_ratio`].
pub fn entropy_rank(spectrum: &[f64]) -> Option<f64> {
    let sum = total(spectrum)?;
    let shares = spectrum.iter().map(|x| x / sum).filter(|&p| p > 0.0);
    Some(shares.map(|p| -p * p.ln()).sum::<f64>().exp())
}

/// Σλ/max λ: 1 to n. Of squared singular values it is the stable rank ‖A‖_F²/‖A‖₂² (Rudelson and Vershynin 2007). `None` as for
/// [`participation_ratio`].
pub fn stable_rank(spectrum: &[f64]) -> Option<f64> {
    let sum = total(spectrum)?;
    Some(sum / spectrum.iter().fold(0.0_f64, |a, &x| a.max(x)))
}

/// How many of the largest values hold `share` (0 to 1) of their sum: the dimension of a principal component analysis at that
/// share of the variance. `None` as for [`participation_ratio`].
pub fn components_for_share(spectrum: &[f64], share: f64) -> Option<usize> {
    let sum = total(spectrum)?;
    let mut descending = spectrum.to_vec();
    descending.sort_by(|a, b| b.total_cmp(a));
    let mut reached = 0.0;
    // A sum of n terms is exact to n·ε of itself: equal values must not need one more for their rounding.
    let wanted = (share - descending.len() as f64 * f64::EPSILON) * sum;
    let n = descending.iter().position(|x| {
        reached += x;
        reached >= wanted
    });
    Some(n.map_or(descending.len(), |last| last + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn equal_values_have_their_number() {
        for n in [1, 2, 7, 100] {
            let mut spectrum = vec![0.3; n];
            spectrum.extend([0.0; 5]);
            for (of, name) in MEASURES {
                let found = of(&spectrum).expect("not all zero");
                assert!((found - n as f64).abs() < 1e-12 * n as f64, "{name} of {n}: {found}");
            }
            assert_eq!(components_for_share(&spectrum, 1.0), Some(n));
        }
        assert_eq!(components_for_share(&[0.1; 10], 0.9), Some(9));
    }

    #[test]
    fn one_and_a_half() {
        let spectrum = [1.0, 0.5];
        assert!((participation_ratio(&spectrum).expect("defined") - 1.8).abs() < 1e-14);
        assert_eq!(stable_rank(&spectrum), Some(1.5));
        // Shares 2/3 and 1/3: exp(ln 3 − 2/3 ln 2) = 3/4^(1/3).
        assert!((entropy_rank(&spectrum).expect("defined") - 3.0 / 4_f64.cbrt()).abs() < 1e-14);
        assert_eq!([0.6, 0.7, 0.99].map(|share| components_for_share(&spectrum, share)), [Some(1), Some(2), Some(2)]);
    }

    #[test]
    fn spectra_without_values_have_no_rank() {
        for spectrum in [&[][..], &[0.0, 0.0], &[1.0, -1e-3], &[1.0, f64::NAN], &[f64::INFINITY]] {
            assert!(MEASURES.iter().all(|(of, _)| of(spectrum).is_none()));
            assert_eq!(components_for_share(spectrum, 0.9), None);
        }
    }

    type Measure = fn(&[f64]) -> Option<f64>;

    const MEASURES: [(Measure, &str); 3] =
        [(participation_ratio, "participation ratio"), (entropy_rank, "entropy rank"), (stable_rank, "stable rank")];

    proptest! {
        #[test]
        fn ranks_are_between_one_and_n_whatever_scale_and_order(
            values in prop::collection::vec(0.0..1.0_f64, 1..30), scale in 1e-12..1e12_f64,
        ) {
            prop_assume!(values.iter().any(|&v| v > 1e-3));
            let mut other: Vec<f64> = values.iter().map(|v| scale * v).collect();
            other.reverse();
            for (of, name) in MEASURES {
                let [a, b] = [of(&values).unwrap(), of(&other).unwrap()];
                prop_assert!((a - b).abs() < 1e-11 * a, "{}: {} {}", name, a, b);
                prop_assert!(a > 1.0 - 1e-12 && a < values.len() as f64 * (1.0 + 1e-12), "{}: {}", name, a);
            }
            // Rényi entropies fall with their order: 1, 2, infinity.
            let [pr, entropy, stable] = MEASURES.map(|(of, _)| of(&values).unwrap());
            prop_assert!(stable <= pr * (1.0 + 1e-12) && pr <= entropy * (1.0 + 1e-12));
        }
    }
}
