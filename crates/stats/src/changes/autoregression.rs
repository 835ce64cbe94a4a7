//! Cost about an autoregression whose coefficients are free in each segment.

use super::cost::{SegmentCost, check_points};
use super::regression::RegressionCost;
use super::signal::{ChangeError, Signal};
use crate::order::median;

/// Σ (y_t − c − Σ aₖ y_{t−k})² over the points t of a segment, k = 1..=order, coefficients fitted to
/// the segment in each dimension (Bai 2000): it sees changes of dynamics that leave mean and
/// variance alone.
///
/// The points before a segment serve as its first predecessors. The first `order` points of the
/// signal have none and are not predicted (ruptures repeats the next one in their place).
#[derive(Debug, Clone)]
pub struct AutoregressiveCost {
    order: usize,
    n_points: usize,
    dimensions: Vec<RegressionCost>,
}

impl AutoregressiveCost {
    /// Of the segments of `signal`.
    ///
    /// # Errors
    /// An order of 0, or not more than `order` points.
    pub fn new(signal: &Signal, order: usize) -> Result<Self, ChangeError> {
        let n = signal.n_points();
        check_points(n)?;
        if order == 0 {
            return Err(ChangeError::BadSetting { name: "order", value: 0.0, range: "at least 1" });
        }
        if n <= order {
            return Err(ChangeError::TooFewPoints { found: n, needed: order + 1 });
        }
        let regression = |dimension| {
            let mut y = signal.column(dimension);
            // The intercept takes any level; near zero the sums are smaller.
            let centre = median(&y);
            for value in &mut y {
                *value -= centre;
            }
            let columns: Vec<f64> = (order..n)
                .flat_map(|t| (1..=order).map(move |k| t - k).map(Some).chain([None]))
                .map(|at| at.map_or(1.0, |at| y[at]))
                .collect();
            RegressionCost::new(&y[order..], &columns, order + 1)
        };
        let dimensions = (0..signal.dimensions()).map(regression).collect::<Result<_, _>>()?;
        Ok(Self { order, n_points: n, dimensions })
    }
}

impl SegmentCost for AutoregressiveCost {
    fn n_points(&self) -> usize {
        self.n_points
    }

    fn cost(&self, start: usize, end: usize) -> f64 {
        let (start, end) = (start.saturating_sub(self.order), end.saturating_sub(self.order));
        if start == end { 0.0 } else { self.dimensions.iter().map(|cost| cost.cost(start, end)).sum() }
    }

    /// One more than there are coefficients and intercept.
    fn min_size(&self) -> usize {
        self.order + 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_recursions_cost_nothing() {
        // y_t = y_{t−1} − y_{t−2} has period 6; from 30 on it is y_t = −y_{t−1}.
        let mut y = vec![1.0, 2.0];
        for t in 2..60 {
            y.push(if t < 30 { y[t - 1] - y[t - 2] } else { -y[t - 1] });
        }
        let cost = AutoregressiveCost::new(&Signal::new(y, 1).unwrap(), 2).unwrap();
        assert!(cost.cost(0, 30) < 1e-12 && cost.cost(30, 60) < 1e-12, "{} {}", cost.cost(0, 30), cost.cost(30, 60));
        assert!(cost.cost(20, 40) > 1.0);
        assert_eq!(cost.cost(0, 2), 0.0);
        let signal = Signal::new(vec![1.0, 2.0], 1).unwrap();
        assert!(AutoregressiveCost::new(&signal, 0).is_err() && AutoregressiveCost::new(&signal, 2).is_err());
    }
}
