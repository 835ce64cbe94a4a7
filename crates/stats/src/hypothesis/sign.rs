//! The sign test, and the interval of a median that goes with it.

use super::answer::{Effect, Sided, Test, check_level};
use super::discrete::DiscreteNull;
use crate::array_error::{ArrayError, enough, finite, setting};
use crate::order::quantile_of_sorted;

/// Most values of the rank tests of one sample: their exact laws hold 2⁻ⁿ.
pub(crate) const MAX_SIGNED: usize = 1_000;

/// Outcome of a [`sign_test`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SignTest {
    /// The statistic is the number of positive values; zeros take no part.
    pub test: Test,
    /// The median of all values, zeros included, and its exact interval between two order statistics.
    pub median: Effect,
    /// How many values are not 0.
    pub n_signed: usize,
}

/// Are positive and negative values equally likely (Dixon and Mood 1946)? Exact, and without an assumption on their shape.
///
/// The interval of the median (Hollander, Wolfe and Chicken 2014, 3.6) covers with at least the `level`; for too few values
/// (five, at 0.95) it is everything. At most 1,000 values.
///
/// # Errors
/// No values, too many, or some that are not finite; a level outside (0, 1).
pub fn sign_test(values: &[f64], sided: Sided, level: f64) -> Result<SignTest, ArrayError> {
    check_signed(values)?;
    check_level(level)?;
    let n_positive = values.iter().filter(|v| **v > 0.0).count();
    let n_signed = values.iter().filter(|v| **v != 0.0).count();
    let test = DiscreteNull::of_signs(&vec![1; n_signed]).test(n_positive, n_positive as f64, sided);
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let interval = DiscreteNull::of_signs(&vec![1; values.len()]).order_interval(&sorted, level);
    Ok(SignTest { test, median: Effect { estimate: quantile_of_sorted(&sorted, 0.5), interval }, n_signed })
}

/// What tests of one sample by its signs and ranks can take.
pub(crate) fn check_signed(values: &[f64]) -> Result<(), ArrayError> {
    finite("the values", values)?;
    enough("values", values.len(), 1)?;
    let allowed = "at most 1,000 (use the t test, or the mean of groups)";
    setting("the number of values", values.len() as f64, values.len() <= MAX_SIGNED, allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypothesis::Interval;

    #[test]
    fn small_cases_by_hand() {
        let found = sign_test(&[1.0, 2.0, 3.0, 4.0, 5.0, -6.0], Sided::Greater, 0.95).unwrap();
        assert_eq!(found.test.p_value, 7.0 / 64.0);
        assert_eq!((found.test.statistic, found.n_signed), (5.0, 6));
        // Two-sided: the extremes of six cover the median with 1 − 2/64.
        assert_eq!(found.median.interval, Interval { lower: -6.0, upper: 5.0, level: 0.95 });
        assert_eq!(found.median.estimate, 2.5);
        let found = sign_test(&[1.0; 5], Sided::Either, 0.95).unwrap();
        assert_eq!((found.test.p_value, found.median.interval), (2.0 / 32.0, Interval::everything(0.95)));
        assert_eq!(sign_test(&[1.0; 5], Sided::Either, 0.9375).unwrap().median.interval.lower, 1.0);
        let zeros = sign_test(&[0.0; 7], Sided::Either, 0.95).unwrap();
        assert_eq!((zeros.test.p_value, zeros.median.estimate, zeros.n_signed), (1.0, 0.0, 0));
        assert!(sign_test(&[], Sided::Either, 0.95).is_err());
        assert!(sign_test(&[f64::INFINITY], Sided::Either, 0.95).is_err());
        assert!(sign_test(&[1.0; 1001], Sided::Either, 0.95).is_err());
        assert!(sign_test(&[1.0; 1000], Sided::Greater, 0.95).unwrap().test.p_value > 0.0);
    }
}
