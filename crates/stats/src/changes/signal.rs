//! What is segmented: points of one or more numbers each, in order of time.

use crate::series::Series;
use thiserror::Error;

/// Values and positions beyond this have products, squared, that leave the floating-point numbers.
const LARGEST: f64 = 1e70;

/// n points of d numbers each, and the position of each on the axis of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Signal {
    n_points: usize,
    dimensions: usize,
    values: Vec<f64>,
    positions: Vec<f64>,
}

/// What the positions of a [`Signal`] made from a [`Series`] are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeScale {
    /// The training step.
    Step,
    /// ln(step + 1).
    LogStep,
}

/// Why a signal cannot be segmented.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// Values must fill whole points, and each point has one position.
    #[error("{found} {what} given where {expected} belong; give {dimensions} for each point")]
    LengthsDiffer {
        /// `values` or `positions`.
        what: &'static str,
        /// How many were given.
        found: usize,
        /// How many belong there.
        expected: usize,
        /// How many for each point.
        dimensions: usize,
    },
    /// A value that is NaN, infinite or too large to be squared.
    #[error(
        "the value of point {index} (dimension {dimension}) is {value}; it must be finite and at most 1e70 in size"
    )]
    BadValue {
        /// Index of the point, from 0.
        index: usize,
        /// Dimension, from 0.
        dimension: usize,
        /// The offending value.
        value: f64,
    },
    /// A position that is not finite or not above the one before.
    #[error("position {position} of point {index} is not finite or not above the one before; sort the points")]
    BadPosition {
        /// Index of the point, from 0.
        index: usize,
        /// The offending position.
        position: f64,
    },
    /// Too few points for the analysis asked for.
    #[error("the signal has {found} points; at least {needed} are needed")]
    TooFewPoints {
        /// Number of points.
        found: usize,
        /// Fewest points.
        needed: usize,
    },
    /// More points than a table over all pairs of them has room for.
    #[error("the signal has {found} points; a kernel cost takes at most {most}: average neighbouring points first")]
    TooManyPoints {
        /// Number of points.
        found: usize,
        /// Most points.
        most: usize,
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
    /// A change point that is not inside of the signal or not above the one before.
    #[error("change point {change} is not inside of the {n_points} points or not above the one before")]
    BadChangePoint {
        /// The offending change point.
        change: usize,
        /// Number of points.
        n_points: usize,
    },
}

impl Signal {
    /// Points of `dimensions` numbers each, point after point, at the positions 0, 1, 2, ...
    ///
    /// # Errors
    /// No dimensions, values that do not fill whole points, or a value that is not finite or above
    /// 1e70.
    pub fn new(values: Vec<f64>, dimensions: usize) -> Result<Self, ChangeError> {
        if dimensions == 0 {
            return Err(ChangeError::BadSetting { name: "dimensions", value: 0.0, range: "at least 1" });
        }
        let n_points = values.len() / dimensions;
        if n_points * dimensions != values.len() {
            let (found, expected) = (values.len(), (n_points + 1) * dimensions);
            return Err(ChangeError::LengthsDiffer { what: "values", found, expected, dimensions });
        }
        if let Some(i) = values.iter().position(|v| !v.is_finite() || v.abs() > LARGEST) {
            let (index, dimension, value) = (i / dimensions, i % dimensions, values[i]);
            return Err(ChangeError::BadValue { index, dimension, value });
        }
        let positions = (0..n_points).map(|i| i as f64).collect();
        Ok(Self { n_points, dimensions, values, positions })
    }

    /// The same points at other positions, in any unit of time.
    ///
    /// # Errors
    /// Another number of positions than of points, or one that is not finite or not above the one
    /// before.
    pub fn at(mut self, positions: Vec<f64>) -> Result<Self, ChangeError> {
        let (found, expected) = (positions.len(), self.n_points);
        if found != expected {
            return Err(ChangeError::LengthsDiffer { what: "positions", found, expected, dimensions: 1 });
        }
        for (index, &position) in positions.iter().enumerate() {
            let follows = index == 0 || position > positions[index - 1];
            if !position.is_finite() || position.abs() > LARGEST || !follows {
                return Err(ChangeError::BadPosition { index, position });
            }
        }
        self.positions = positions;
        Ok(self)
    }

    /// The values of a series over its steps or their logarithms.
    ///
    /// # Errors
    /// A value above 1e70, or steps so close that they have the same logarithm.
    pub fn of_series(series: &Series, scale: TimeScale) -> Result<Self, ChangeError> {
        let position = |step: &f64| if scale == TimeScale::Step { *step } else { step.ln_1p() };
        Self::new(series.values().to_vec(), 1)?.at(series.steps().iter().map(position).collect())
    }

    /// Number of points.
    pub fn n_points(&self) -> usize {
        self.n_points
    }

    /// Numbers of a point.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// All numbers, point after point.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The position of each point, increasing.
    pub fn positions(&self) -> &[f64] {
        &self.positions
    }

    /// The numbers of point `i`.
    pub(crate) fn point(&self, i: usize) -> &[f64] {
        &self.values[i * self.dimensions..(i + 1) * self.dimensions]
    }

    /// One dimension of all points.
    pub(crate) fn column(&self, dimension: usize) -> Vec<f64> {
        self.values.iter().skip(dimension).step_by(self.dimensions).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_signals_name_what_is_wrong() {
        let message = |found: Result<Signal, ChangeError>| found.unwrap_err().to_string();
        assert_eq!(message(Signal::new(vec![], 0)), "setting dimensions = 0 is out of range; it must be at least 1");
        let text = message(Signal::new(vec![1.0; 5], 2));
        assert_eq!(text, "5 values given where 6 belong; give 2 for each point");
        let text = message(Signal::new(vec![0.0, 0.0, 0.0, f64::NAN], 2));
        assert!(text.starts_with("the value of point 1 (dimension 1) is NaN"), "{text}");
        assert!(Signal::new(vec![1e71], 1).is_err());
        let text = message(Signal::new(vec![1.0; 3], 1).unwrap().at(vec![0.0, 2.0, 2.0]));
        assert!(text.starts_with("position 2 of point 2 is not finite or not above"), "{text}");
        assert!(Signal::new(vec![1.0; 3], 1).unwrap().at(vec![0.0]).is_err());
    }

    #[test]
    fn a_series_over_its_steps_or_their_logarithms() {
        let series = Series::new(vec![0.0, 1.0, 9.0], vec![3.0, 2.0, 1.0]).unwrap();
        let signal = Signal::of_series(&series, TimeScale::LogStep).unwrap();
        assert_eq!(signal.positions(), [0.0, 1f64.ln_1p(), 9f64.ln_1p()]);
        assert_eq!(Signal::of_series(&series, TimeScale::Step).unwrap().positions(), series.steps());
        assert_eq!(signal.column(0), series.values());
    }
}
