//! Student's t test of one sample or of pairs, and Welch's of two samples, with the intervals of the means.

use super::answer::{Basis, Effect, Interval, Sided, Test, check_level};
use crate::array_error::{ArrayError, enough, finite};
use crate::special::{student_cdf, student_quantile};

/// Outcome of a t test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TTest {
    /// The statistic t.
    pub test: Test,
    /// The mean, or the difference of the means first − second.
    pub mean: Effect,
    /// Standard error of the mean or of the difference.
    pub standard_error: f64,
    /// Degrees of freedom.
    pub degrees: f64,
}

impl TTest {
    /// The test of another value than 0 for the mean, from the same numbers.
    pub(crate) fn against(&self, value: f64, sided: Sided) -> Test {
        student_test((self.mean.estimate - value) / self.standard_error, self.degrees, sided)
    }

    fn new(estimate: f64, standard_error: f64, degrees: f64, sided: Sided, level: f64) -> Result<Self, ArrayError> {
        finite("the mean and its standard error", &[estimate, standard_error])?;
        let half = standard_error * -student_quantile((1.0 - level) / 2.0, degrees);
        let interval = Interval { lower: estimate - half, upper: estimate + half, level };
        let test = student_test(estimate / standard_error, degrees, sided);
        Ok(Self { test, mean: Effect { estimate, interval }, standard_error, degrees })
    }
}

/// Each tail from its own side, so that neither is 1 less something near 1.
fn student_test(t: f64, degrees: f64, sided: Sided) -> Test {
    let p_value = sided.p_value(student_cdf(-t, degrees), student_cdf(t, degrees));
    Test { statistic: t, p_value, basis: Basis::Normal }
}

/// Is the mean of the values (differences of pairs) 0 (Student 1908)? Exact for independent normal values; for a handful of
/// others prefer the ranks.
///
/// # Errors
/// Fewer than two values, or some that are not finite; values that are all equal, which leave no error to compare
/// with; a level outside (0, 1).
pub fn t_test(values: &[f64], sided: Sided, level: f64) -> Result<TTest, ArrayError> {
    check_level(level)?;
    let sample = Sample::new("the values", values)?;
    if sample.variance == 0.0 {
        return Err(ArrayError::Constant { what: "the sample" });
    }
    TTest::new(sample.mean, (sample.variance / sample.n).sqrt(), sample.n - 1.0, sided, level)
}

/// Do two independent samples have one mean, whatever their variances (Welch 1947)? The degrees of freedom are
/// Satterthwaite's (1946); close to exact for normal values.
///
/// # Errors
/// A sample of fewer than two values, or some that are not finite; two samples that are both constant; a level
/// outside (0, 1).
pub fn welch_test(first: &[f64], second: &[f64], sided: Sided, level: f64) -> Result<TTest, ArrayError> {
    check_level(level)?;
    let (a, b) = (Sample::new("the first sample", first)?, Sample::new("the second sample", second)?);
    // Relative to the larger variance, so that squares of tiny variances do not vanish.
    let scale = a.variance.max(b.variance);
    if scale == 0.0 {
        return Err(ArrayError::Constant { what: "either sample" });
    }
    let (va, vb) = (a.variance / scale / a.n, b.variance / scale / b.n);
    let degrees = (va + vb).powi(2) / (va * va / (a.n - 1.0) + vb * vb / (b.n - 1.0));
    TTest::new(a.mean - b.mean, (va + vb).sqrt() * scale.sqrt(), degrees, sided, level)
}

/// Mean and unbiased variance of a sample.
struct Sample {
    n: f64,
    mean: f64,
    variance: f64,
}

impl Sample {
    fn new(what: &'static str, values: &[f64]) -> Result<Self, ArrayError> {
        finite(what, values)?;
        enough(what, values.len(), 2)?;
        let n = values.len() as f64;
        if values.iter().all(|v| *v == values[0]) {
            return Ok(Self { n, mean: values[0], variance: 0.0 });
        }
        // About the first value, so that equal digits cancel before they are squared.
        let shift = values[0];
        let offset = values.iter().map(|v| v - shift).sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - shift - offset).powi(2)).sum::<f64>() / (n - 1.0);
        finite(what, &[offset, variance])?;
        Ok(Self { n, mean: shift + offset, variance })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_values_in_closed_form() {
        // One degree of freedom: t = (a + b)/|a − b|, and the two-sided p is 1 − 2 arctan(t)/π.
        let found = t_test(&[1.0, 3.0], Sided::Either, 0.5).unwrap();
        assert_eq!((found.test.statistic, found.degrees), (2.0, 1.0));
        assert!((found.test.p_value - (1.0 - 2.0 * 2f64.atan() / std::f64::consts::PI)).abs() < 1e-15);
        // The median of |Cauchy| is 1: half the width is the standard error.
        assert!((found.mean.interval.lower - 1.0).abs() < 1e-14 && (found.mean.interval.upper - 3.0).abs() < 1e-14);
    }

    #[test]
    fn equal_samples_have_whole_degrees() {
        let found = welch_test(&[1.0, 2.0, 4.0], &[11.0, 12.0, 14.0], Sided::Less, 0.95).unwrap();
        assert!((found.degrees - 4.0).abs() < 1e-12 && (found.mean.estimate + 10.0).abs() < 1e-14);
        let one_constant = welch_test(&[1.0, 2.0, 4.0], &[0.0, 0.0], Sided::Greater, 0.95).unwrap();
        assert!((one_constant.degrees - 2.0).abs() < 1e-12);
    }

    #[test]
    fn decided_as_the_interval() {
        for (values, rejected) in [([0.4, 1.0, 1.5, 0.9], true), ([-0.4, 1.0, 1.5, 0.9], false)] {
            let found = t_test(&values, Sided::Either, 0.95).unwrap();
            assert_eq!((found.test.p_value <= 0.05, !found.mean.interval.contains(0.0)), (rejected, rejected));
        }
    }

    #[test]
    fn what_cannot_be_tested() {
        let test = |values: &[f64]| t_test(values, Sided::Either, 0.95);
        assert!(matches!(test(&[2.0, 2.0, 2.0]), Err(ArrayError::Constant { .. })));
        // The mean of equal values is not exactly one of them in rounding.
        assert!(matches!(test(&[0.1; 3]), Err(ArrayError::Constant { .. })));
        assert!(test(&[]).is_err() && test(&[1.0]).is_err() && test(&[1.0, f64::NAN]).is_err());
        assert!(test(&[f64::MAX, -f64::MAX, f64::MAX]).is_err());
        assert!(welch_test(&[1.0, 1.0], &[2.0, 2.0], Sided::Either, 0.95).is_err());
        assert!(t_test(&[1.0, 2.0], Sided::Either, f64::NAN).is_err());
        let sure = test(&[1.0, 1.0 + 1e-15, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]).unwrap();
        assert!(sure.test.p_value > 0.0);
    }
}
