//! Cost about a linear regression whose coefficients are free in each segment.

use super::cost::{SegmentCost, check_points};
use super::signal::ChangeError;
use super::sums::RunningSums;

/// Squares that fall below this share when freed of the other columns are left to the exact way.
const NEARLY_DEPENDENT: f64 = 1e-7;
/// A column whose length falls below this share is taken for dependent on the others.
const DEPENDENT: f64 = 1e-10;
/// Columns, target included, up to which the normal equations have their place on the stack.
const SMALL: usize = 8;

/// Σ (y − Σₖ bₖ xₖ)² over a segment, the coefficients b fitted to it.
///
/// From running sums of products by a Cholesky factorisation of the normal equations, O(K³) each;
/// where the columns (nearly) depend on each other in the segment, from the rows themselves by
/// Gram–Schmidt, so that a dependent column changes nothing. An intercept is a column of ones.
#[derive(Debug, Clone)]
pub struct RegressionCost {
    n_columns: usize,
    n_points: usize,
    /// Products of columns j ≤ i, row after row, the target being the last column.
    sums: RunningSums,
    /// Columns and target of each point.
    rows: Vec<f64>,
}

impl RegressionCost {
    /// Of `target` on `n_columns` columns, given point after point.
    ///
    /// # Errors
    /// No points, no columns, numbers of another length than points × columns, or one that is not
    /// finite.
    pub fn new(target: &[f64], columns: &[f64], n_columns: usize) -> Result<Self, ChangeError> {
        let n = target.len();
        check_points(n)?;
        if n_columns == 0 {
            return Err(ChangeError::BadSetting { name: "columns", value: 0.0, range: "at least 1" });
        }
        if columns.len() != n * n_columns {
            let (found, expected) = (columns.len(), n * n_columns);
            return Err(ChangeError::LengthsDiffer { what: "values", found, expected, dimensions: n_columns });
        }
        let k = n_columns + 1;
        let mut rows = Vec::with_capacity(n * k);
        for (index, (y, x)) in target.iter().zip(columns.chunks_exact(n_columns)).enumerate() {
            for (dimension, value) in x.iter().chain([y]).copied().enumerate() {
                if !value.is_finite() {
                    return Err(ChangeError::BadValue { index, dimension, value });
                }
                rows.push(value);
            }
        }
        let sums = RunningSums::new(n, k * (k + 1) / 2, |i, products| {
            let row = &rows[i * k..(i + 1) * k];
            let mut at = 0;
            for a in 0..k {
                for b in 0..=a {
                    products[at] = row[a] * row[b];
                    at += 1;
                }
            }
        });
        Ok(Self { n_columns, n_points: n, sums, rows })
    }

    /// What is left of the target's square after Cholesky; `None` where columns nearly depend.
    fn by_normal_equations(&self, start: usize, end: usize, factor: &mut [f64]) -> Option<f64> {
        let mut row = 0;
        for i in 0..=self.n_columns {
            let mut row_j = 0;
            for j in 0..=i {
                let square = self.sums.between(row + j, start, end);
                let mut entry = square;
                for k in 0..j {
                    entry -= factor[row + k] * factor[row_j + k];
                }
                if i < self.n_columns && i == j {
                    if entry.is_nan() || entry <= NEARLY_DEPENDENT * square {
                        return None;
                    }
                    factor[row + i] = entry.sqrt();
                } else if i == j {
                    return Some(entry.max(0.0));
                } else {
                    factor[row + j] = entry / factor[row_j + j];
                }
                row_j += j + 1;
            }
            row += i + 1;
        }
        None
    }

    /// What is left of the target's square, by Gram–Schmidt (twice) on the columns.
    fn by_rows(&self, start: usize, end: usize) -> f64 {
        let k = self.n_columns + 1;
        let column = |c: usize| -> Vec<f64> { (start..end).map(|i| self.rows[i * k + c]).collect() };
        let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let mut units: Vec<Vec<f64>> = vec![];
        for c in 0..k {
            let mut left = column(c);
            let before = product(&left, &left).sqrt();
            for _ in 0..2 {
                for unit in &units {
                    let along = product(unit, &left);
                    left.iter_mut().zip(unit).for_each(|(l, u)| *l -= along * u);
                }
            }
            let length = product(&left, &left).sqrt();
            if c == self.n_columns {
                return length * length;
            }
            if length > DEPENDENT * before {
                units.push(left.into_iter().map(|l| l / length).collect());
            }
        }
        0.0
    }
}

impl SegmentCost for RegressionCost {
    fn n_points(&self) -> usize {
        self.n_points
    }

    fn cost(&self, start: usize, end: usize) -> f64 {
        let k = self.n_columns + 1;
        let found = if k <= SMALL {
            self.by_normal_equations(start, end, &mut [0.0; SMALL * (SMALL + 1) / 2])
        } else {
            self.by_normal_equations(start, end, &mut vec![0.0; k * (k + 1) / 2])
        };
        found.unwrap_or_else(|| self.by_rows(start, end))
    }

    /// One more than there are columns: fewer points are fitted whatever they are.
    fn min_size(&self) -> usize {
        self.n_columns + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::signal::Signal;
    use crate::changes::trend::TrendCost;
    use crate::random::Stream;

    #[test]
    fn a_line_is_a_regression() {
        let mut stream = Stream::new(2, 0, 0);
        let y: Vec<f64> = (0..40).map(|i| 0.1 * f64::from(i) + stream.normal()).collect();
        let columns: Vec<f64> = (0..40).flat_map(|i| [f64::from(i), 1.0]).collect();
        let regression = RegressionCost::new(&y, &columns, 2).unwrap();
        let line = TrendCost::new(&Signal::new(y, 1).unwrap()).unwrap();
        for (start, end) in [(0, 40), (3, 9), (20, 23), (30, 32)] {
            let (a, b) = (regression.cost(start, end), line.cost(start, end));
            assert!((a - b).abs() < 1e-9, "{start}..{end}: {a} {b}");
        }
    }

    #[test]
    fn dependent_columns_change_nothing() {
        // In the first half the two columns are equal; ruptures' cost is 0 there whatever y does.
        let y: Vec<f64> = (0..20).map(|i| f64::from(i % 3)).collect();
        let column = |i: i32| [1.0, if i < 10 { 1.0 } else { f64::from(i) }];
        let cost = RegressionCost::new(&y, &(0..20).flat_map(column).collect::<Vec<_>>(), 2).unwrap();
        let mean = y[..10].iter().sum::<f64>() / 10.0;
        let expected: f64 = y[..10].iter().map(|y| (y - mean).powi(2)).sum();
        assert!((cost.cost(0, 10) - expected).abs() < 1e-12);
        // Both ways give the same where both can.
        assert!((cost.by_rows(5, 20) - cost.cost(5, 20)).abs() < 1e-9);
        assert!(RegressionCost::new(&y, &[1.0], 1).is_err());
        assert!(RegressionCost::new(&y, &[f64::NAN; 20], 1).is_err());
    }
}
