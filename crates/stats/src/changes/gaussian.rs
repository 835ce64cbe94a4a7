//! Minus twice the log-likelihood of a Gaussian with its own mean and covariance in each segment.

use super::cost::{SegmentCost, check_points};
use super::signal::{ChangeError, Signal};
use super::sums::RunningSums;
use crate::order::median;

/// What the sum of squares is divided by for a covariance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Divisor {
    /// The number of points m: maximum likelihood, for which cutting never costs.
    Points,
    /// m − 1: unbiased, and what ruptures 1.1.10 takes in two and more dimensions (in one it takes m).
    /// Cutting may cost, so PELT drops no starts.
    PointsLessOne,
}

/// m ln det(Σ̂ + εI) over a segment of m points with covariance Σ̂: minus twice the log-likelihood of
/// normal points, up to a constant for each point (Lavielle and Teyssière 2006).
///
/// ε keeps a segment of equal points from costing −∞. It is an absolute number, in squared units of
/// the signal: put the signal into units of about its noise. A variance is known to about 2⁻⁵² times
/// the squared distance of the segment from the median of the signal.
#[derive(Debug, Clone)]
pub struct GaussianCost {
    dimensions: usize,
    n_points: usize,
    divisor: Divisor,
    epsilon: f64,
    /// Sums of each dimension, then of the products of dimensions j ≤ i, row after row.
    sums: RunningSums,
}

impl GaussianCost {
    /// Of the segments of `signal`. ruptures' ε is 1e-6.
    ///
    /// # Errors
    /// No points, or an ε that is not above 0 or not finite.
    pub fn new(signal: &Signal, divisor: Divisor, epsilon: f64) -> Result<Self, ChangeError> {
        check_points(signal.n_points())?;
        if !(epsilon > 0.0 && epsilon.is_finite()) {
            return Err(ChangeError::BadSetting { name: "epsilon", value: epsilon, range: "finite and above 0" });
        }
        let d = signal.dimensions();
        let centres: Vec<f64> = (0..d).map(|k| median(&signal.column(k))).collect();
        let sums = RunningSums::new(signal.n_points(), d + d * (d + 1) / 2, |i, row| {
            let (values, products) = row.split_at_mut(d);
            for (value, (y, centre)) in values.iter_mut().zip(signal.point(i).iter().zip(&centres)) {
                *value = y - centre;
            }
            let mut at = 0;
            for j in 0..d {
                for k in 0..=j {
                    products[at] = values[j] * values[k];
                    at += 1;
                }
            }
        });
        Ok(Self { dimensions: d, n_points: signal.n_points(), divisor, epsilon, sums })
    }

    /// ln det(Σ̂ + εI), `matrix` having room for the lower triangle.
    fn log_determinant(&self, start: usize, end: usize, matrix: &mut [f64]) -> f64 {
        let (d, m) = (self.dimensions, (end - start) as f64);
        let divisor = if self.divisor == Divisor::Points { m } else { (m - 1.0).max(1.0) };
        let mut log_determinant = 0.0;
        let mut row = 0;
        for i in 0..d {
            let sum_i = self.sums.between(i, start, end);
            let mut row_j = 0;
            for j in 0..=i {
                let product = self.sums.between(d + row + j, start, end);
                let mut entry = (product - sum_i * self.sums.between(j, start, end) / m) / divisor;
                if i == j {
                    entry = entry.max(0.0) + self.epsilon;
                }
                // Cholesky, as the rows are made.
                for k in 0..j {
                    entry -= matrix[row + k] * matrix[row_j + k];
                }
                if i == j {
                    // No Schur complement of Σ̂ + εI is below ε; rounding may say otherwise.
                    let pivot = entry.max(self.epsilon);
                    log_determinant += pivot.ln();
                    matrix[row + i] = pivot.sqrt();
                } else {
                    matrix[row + j] = entry / matrix[row_j + j];
                }
                row_j += j + 1;
            }
            row += i + 1;
        }
        log_determinant
    }
}

/// Dimensions up to which the covariance has its place on the stack.
const SMALL: usize = 8;

impl SegmentCost for GaussianCost {
    fn n_points(&self) -> usize {
        self.n_points
    }

    fn cost(&self, start: usize, end: usize) -> f64 {
        let m = (end - start) as f64;
        if self.dimensions <= SMALL {
            m * self.log_determinant(start, end, &mut [0.0; SMALL * (SMALL + 1) / 2])
        } else {
            m * self.log_determinant(start, end, &mut vec![0.0; self.dimensions * (self.dimensions + 1) / 2])
        }
    }

    /// One more than there are dimensions: the covariance of fewer points is singular whatever they are.
    fn min_size(&self) -> usize {
        self.dimensions + 1
    }

    fn is_subadditive(&self) -> bool {
        self.divisor == Divisor::Points
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn variances_in_one_dimension() {
        let cost = |divisor| {
            let signal = Signal::new(vec![1.0, 3.0, 5.0, 5.0, 5.0], 1).unwrap();
            GaussianCost::new(&signal, divisor, 1e-6).unwrap()
        };
        assert!((cost(Divisor::Points).cost(0, 2) - 2.0 * (1.0 + 1e-6f64).ln()).abs() < 1e-12);
        assert!((cost(Divisor::PointsLessOne).cost(0, 2) - 2.0 * (2.0 + 1e-6f64).ln()).abs() < 1e-12);
        assert!((cost(Divisor::Points).cost(2, 5) - 3.0 * 1e-6f64.ln()).abs() < 1e-9);
        let signal = Signal::new(vec![1.0], 1).unwrap();
        assert!(GaussianCost::new(&signal, Divisor::Points, 0.0).is_err());
    }

    #[test]
    fn determinants_in_three_dimensions() {
        let mut stream = Stream::new(3, 0, 0);
        let values: Vec<f64> = (0..90).map(|i| stream.normal() + if i % 3 == 2 { 50.0 } else { 0.0 }).collect();
        let signal = Signal::new(values, 3).unwrap();
        let cost = GaussianCost::new(&signal, Divisor::Points, 1e-6).unwrap();
        let (start, end) = (4, 25);
        let mean: Vec<f64> =
            (0..3).map(|k| signal.column(k)[start..end].iter().sum::<f64>() / (end - start) as f64).collect();
        let entry = |j: usize, k: usize| {
            let products = (start..end).map(|i| (signal.point(i)[j] - mean[j]) * (signal.point(i)[k] - mean[k]));
            products.sum::<f64>() / (end - start) as f64 + if j == k { 1e-6 } else { 0.0 }
        };
        let determinant = entry(0, 0) * (entry(1, 1) * entry(2, 2) - entry(1, 2).powi(2))
            - entry(0, 1) * (entry(0, 1) * entry(2, 2) - entry(1, 2) * entry(0, 2))
            + entry(0, 2) * (entry(0, 1) * entry(1, 2) - entry(1, 1) * entry(0, 2));
        let expected = (end - start) as f64 * determinant.ln();
        assert!((cost.cost(start, end) - expected).abs() < 1e-10, "{} {expected}", cost.cost(start, end));
    }

    #[test]
    fn a_quiet_stretch_far_from_the_median() {
        // Scatter of 0.01 at a level of 1e3 above the rest.
        let values: Vec<f64> =
            (0..200).map(|i| if i < 150 { f64::from(i) } else { 1e3 + 0.01 * f64::from(i % 2) }).collect();
        let cost = GaussianCost::new(&Signal::new(values, 1).unwrap(), Divisor::Points, 1e-9).unwrap();
        let expected = 50.0 * (0.25e-4 + 1e-9f64).ln();
        // The variance is known to some 2⁻⁵² · 1e6, which is 1e-5 of it.
        assert!((cost.cost(150, 200) - expected).abs() < 50.0 * 4e-5, "{} {expected}", cost.cost(150, 200));
    }
}
