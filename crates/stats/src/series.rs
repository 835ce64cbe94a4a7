//! A measured series over training steps, checked once, and its form in logarithmic time.

use crate::order::median;
use thiserror::Error;

/// One observable over training: strictly increasing steps, a finite value at each, and the
/// standard errors of the values where they are known.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    steps: Vec<f64>,
    values: Vec<f64>,
    errors: Option<Vec<f64>>,
}

/// Why a series cannot be analysed.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum SeriesError {
    /// Steps, values and errors must be as many.
    #[error("{found} {what} given for {expected} steps; give one for each step")]
    LengthsDiffer {
        /// `values` or `standard errors`.
        what: &'static str,
        /// How many were given.
        found: usize,
        /// Number of steps.
        expected: usize,
    },
    /// Too few points for the analysis asked for.
    #[error("the series has {found} points; at least {needed} are needed")]
    TooFewPoints {
        /// Number of points.
        found: usize,
        /// Fewest points of this analysis.
        needed: usize,
    },
    /// A step that is negative, NaN or infinite.
    #[error("step {step} at index {index} is not a finite number of at least 0")]
    BadStep {
        /// Index in the series, from 0.
        index: usize,
        /// The offending step.
        step: f64,
    },
    /// A step that does not lie above the one before it.
    #[error("step {step} at index {index} follows step {previous}; sort the series and keep one value for each step")]
    StepsNotIncreasing {
        /// Index of the offending step, from 0.
        index: usize,
        /// The step.
        step: f64,
        /// The step before it.
        previous: f64,
    },
    /// A value that is NaN or infinite.
    #[error("the value at step {step} (index {index}) is {value}; leave refused or diverged points out")]
    NonFiniteValue {
        /// Index in the series, from 0.
        index: usize,
        /// Its step.
        step: f64,
        /// The offending value.
        value: f64,
    },
    /// A standard error that is negative, NaN or infinite.
    #[error("the standard error at step {step} (index {index}) is {error}; it must be finite and at least 0")]
    BadError {
        /// Index in the series, from 0.
        index: usize,
        /// Its step.
        step: f64,
        /// The offending standard error.
        error: f64,
    },
    /// A setting outside its range.
    #[error("setting {name} = {value} is out of range; it must be {range}")]
    BadSetting {
        /// Name of the setting.
        name: &'static str,
        /// Its value.
        value: f64,
        /// The range it must lie in.
        range: &'static str,
    },
}

impl Series {
    /// A series without standard errors: the noise is estimated from its scatter alone.
    ///
    /// # Errors
    /// Different lengths, a step that is negative, not finite or not above the one before, or a
    /// value that is not finite.
    pub fn new(steps: Vec<f64>, values: Vec<f64>) -> Result<Self, SeriesError> {
        let expected = steps.len();
        if values.len() != expected {
            return Err(SeriesError::LengthsDiffer { what: "values", found: values.len(), expected });
        }
        for (index, (&step, &value)) in steps.iter().zip(&values).enumerate() {
            if !(step >= 0.0 && step.is_finite()) {
                return Err(SeriesError::BadStep { index, step });
            }
            if index > 0 && step <= steps[index - 1] {
                let previous = steps[index - 1];
                return Err(SeriesError::StepsNotIncreasing { index, step, previous });
            }
            if !value.is_finite() {
                return Err(SeriesError::NonFiniteValue { index, step, value });
            }
        }
        Ok(Self { steps, values, errors: None })
    }

    /// Adds the standard error of each value, in the units of the values.
    ///
    /// # Errors
    /// Another number of errors than of values, or one that is negative or not finite.
    pub fn with_errors(mut self, errors: Vec<f64>) -> Result<Self, SeriesError> {
        let (found, expected) = (errors.len(), self.steps.len());
        if found != expected {
            return Err(SeriesError::LengthsDiffer { what: "standard errors", found, expected });
        }
        if let Some(index) = errors.iter().position(|e| !(*e >= 0.0 && e.is_finite())) {
            let (step, error) = (self.steps[index], errors[index]);
            return Err(SeriesError::BadError { index, step, error });
        }
        self.errors = Some(errors);
        Ok(self)
    }

    /// The steps, strictly increasing.
    pub fn steps(&self) -> &[f64] {
        &self.steps
    }

    /// The value at each step.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The standard error of each value, where given.
    pub fn errors(&self) -> Option<&[f64]> {
        self.errors.as_deref()
    }

    /// The series over x = ln(step + 1). With more than `max_points` points it is freed of spikes
    /// and averaged in bins of equal width in x.
    pub(crate) fn in_log_time(&self, needed: usize, max_points: usize) -> Result<LogSeries, SeriesError> {
        let found = self.steps.len();
        if found < needed {
            return Err(SeriesError::TooFewPoints { found, needed });
        }
        let x: Vec<f64> = self.steps.iter().map(|t| t.ln_1p()).collect();
        let (start, span) = (x[0], x[found - 1] - x[0]);
        let bin_of = |i: usize| {
            if found <= max_points {
                i
            } else {
                (((x[i] - start) / span * max_points as f64) as usize).min(max_points - 1)
            }
        };
        let values = if found > max_points { without_spikes(&self.values) } else { self.values.clone() };
        let mut log = LogSeries { x: vec![], y: vec![], count: vec![], error: vec![] };
        let mut first = 0;
        while first < found {
            let bin = bin_of(first);
            let end = (first..found).find(|&i| bin_of(i) != bin).unwrap_or(found);
            let count = (end - first) as f64;
            let average = |v: &[f64]| v.iter().sum::<f64>() / count;
            let squared_error = self.errors.as_ref().map_or(0.0, |e| e[first..end].iter().map(|e| e * e).sum());
            log.x.push(average(&x[first..end]));
            log.y.push(average(&values[first..end]));
            log.count.push(count);
            log.error.push(squared_error / (count * count));
            first = end;
        }
        Ok(log)
    }
}

/// Most points of a spike, and points compared with on either side.
const SPIKE: usize = 3;

/// Replaces spikes by the median of the points around them. A spike is one to three points all of
/// which stand out, to the same side, from the three points before and the three after by more than
/// three times the range of those six: no noise of normal size and no smooth curve does.
fn without_spikes(values: &[f64]) -> Vec<f64> {
    let mut freed = values.to_vec();
    for width in 1..=SPIKE {
        for i in SPIKE..values.len().saturating_sub(SPIKE + width - 1) {
            let around: Vec<f64> =
                freed[i - SPIKE..i].iter().chain(&freed[i + width..i + width + SPIKE]).copied().collect();
            let (low, high) = (
                around.iter().copied().fold(f64::INFINITY, f64::min),
                around.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            );
            let margin = 3.0 * (high - low);
            let block = &mut freed[i..i + width];
            if margin > 0.0 && (block.iter().all(|v| *v > high + margin) || block.iter().all(|v| *v < low - margin)) {
                block.fill(median(&around));
            }
        }
    }
    freed
}

/// A series over x = ln(step + 1), possibly binned.
#[derive(Debug, Clone)]
pub(crate) struct LogSeries {
    /// ln(step + 1), strictly increasing; the mean of the bin.
    pub(crate) x: Vec<f64>,
    /// Value, or mean of the bin.
    pub(crate) y: Vec<f64>,
    /// Number of original points in it.
    pub(crate) count: Vec<f64>,
    /// Square of the given standard error of `y`; 0 where none was given.
    pub(crate) error: Vec<f64>,
}

impl LogSeries {
    /// Largest minus smallest value.
    pub(crate) fn range(&self) -> f64 {
        let largest = self.y.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let smallest = self.y.iter().copied().fold(f64::INFINITY, f64::min);
        largest - smallest
    }
}

/// The step at which ln(step + 1) = `x`.
pub(crate) fn step_at(x: f64) -> f64 {
    x.exp_m1().max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_series_name_the_step() {
        let cases = [
            (vec![0.0, 1.0], vec![1.0], "1 values given for 2 steps"),
            (vec![-1.0], vec![1.0], "step -1 at index 0 is not a finite"),
            (vec![0.0, f64::NAN], vec![1.0, 1.0], "step NaN at index 1"),
            (vec![0.0, 5.0, 5.0], vec![1.0; 3], "step 5 at index 2 follows step 5"),
            (vec![0.0, 70.0], vec![1.0, f64::NAN], "the value at step 70 (index 1) is NaN"),
        ];
        for (steps, values, message) in cases {
            let error = Series::new(steps, values).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
        let series = Series::new(vec![0.0, 70.0], vec![1.0, 2.0]).unwrap();
        let error = series.clone().with_errors(vec![0.1, -0.1]).unwrap_err().to_string();
        assert!(error.starts_with("the standard error at step 70 (index 1) is -0.1"), "{error}");
        let error = series.with_errors(vec![0.1]).unwrap_err().to_string();
        assert!(error.starts_with("1 standard errors given for 2 steps"), "{error}");
    }

    #[test]
    fn spikes_are_taken_out_and_steps_are_not() {
        let wave: Vec<f64> = (0..60).map(|i| (0.7 * f64::from(i)).sin()).collect();
        let mut spiked = wave.clone();
        spiked[20] += 40.0;
        spiked[30] += 50.0;
        spiked[31] += 30.0;
        let freed = without_spikes(&spiked);
        for i in 0..60 {
            let is_spike = [20, 30, 31].contains(&i);
            assert!(if is_spike { freed[i].abs() <= 1.0 } else { freed[i] == wave[i] }, "{i}: {}", freed[i]);
        }
        let step: Vec<f64> =
            (0..60).map(|i| if i < 5 { 10.0 + 0.1 * f64::from(i) } else { 0.1 * f64::from(i) }).collect();
        assert_eq!(without_spikes(&step), step);
    }

    #[test]
    fn long_series_are_binned_by_log_time() {
        let steps: Vec<f64> = (0..5000).map(f64::from).collect();
        let series = Series::new(steps.clone(), vec![2.0; 5000]).unwrap();
        let series = series.with_errors(vec![0.5; 5000]).unwrap();
        let log = series.in_log_time(1, 100).unwrap();
        assert!(log.x.len() <= 100);
        assert!(log.x.is_sorted_by(|a, b| a < b));
        assert_eq!(log.count.iter().sum::<f64>(), 5000.0);
        assert_eq!(log.x[0], 0.0);
        for (error, count) in log.error.iter().zip(&log.count) {
            assert!((error - 0.25 / count).abs() < 1e-12);
        }
        assert_eq!(series.in_log_time(1, 5000).unwrap().x.len(), 5000);
    }
}
