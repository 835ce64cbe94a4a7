//! Costs about a mean: of the values (L2), and of their ranks.

use super::cost::{SegmentCost, check_points};
use super::signal::{ChangeError, Signal};
use super::sums::RunningSums;
use crate::order::{average_ranks, median};

/// Σ ‖y − ȳ‖² over a segment; minus twice the log-likelihood, up to a constant, of normal noise of
/// variance 1 about a level.
///
/// Two running sums for each dimension, each kept correctly rounded: a cost takes constant time and
/// has an absolute error of about 2⁻⁵² Σ ‖y − median‖² over the whole signal.
#[derive(Debug, Clone)]
pub struct MeanCost {
    /// Sums of the squares of the first i points.
    squares: Vec<f64>,
    /// For each dimension, sums of its first i values.
    sums: Vec<Vec<f64>>,
}

impl MeanCost {
    /// Of the segments of `signal`.
    ///
    /// # Errors
    /// No points.
    pub fn new(signal: &Signal) -> Result<Self, ChangeError> {
        check_points(signal.n_points())?;
        let d = signal.dimensions();
        // Medians leave a constant exactly zero, and whole numbers whole.
        let centres: Vec<f64> = (0..d).map(|k| median(&signal.column(k))).collect();
        let sums = RunningSums::new(signal.n_points(), d + 1, |i, row| {
            row[d] = 0.0;
            for k in 0..d {
                row[k] = signal.point(i)[k] - centres[k];
                row[d] += row[k] * row[k];
            }
        });
        Ok(Self { squares: sums.rounded(d), sums: (0..d).map(|k| sums.rounded(k)).collect() })
    }
}

impl SegmentCost for MeanCost {
    fn n_points(&self) -> usize {
        self.squares.len() - 1
    }

    #[inline]
    fn cost(&self, start: usize, end: usize) -> f64 {
        let square = self.squares[end] - self.squares[start];
        let explained: f64 = self.sums.iter().map(|sums| (sums[end] - sums[start]).powi(2)).sum();
        (square - explained / (end - start) as f64).max(0.0)
    }

    fn costs(&self, starts: &[usize], end: usize, costs: &mut Vec<f64>) {
        // One dimension is the common case, worth a loop without another inside.
        let [sums] = self.sums.as_slice() else {
            costs.clear();
            costs.extend(starts.iter().map(|&start| self.cost(start, end)));
            return;
        };
        let (square, sum) = (self.squares[end], sums[end]);
        let cost = |&start: &usize| {
            let difference = sum - sums[start];
            (square - self.squares[start] - difference * difference / (end - start) as f64).max(0.0)
        };
        costs.clear();
        costs.extend(starts.iter().map(cost));
    }
}

/// −m r̄ᵀ Σ⁻¹ r̄ over a segment of m points, r̄ the mean of the centred ranks of each dimension and Σ
/// their covariance over the whole signal (Lung-Yut-Fong, Lévy-Leduc and Cappé 2015, eq. 8): blind
/// to any increasing transformation of a dimension, and robust to outliers.
///
/// Dimensions that depend on the others are left out, which gives the same numbers as the
/// pseudoinverse of Σ. It is the L2 cost of whitened ranks less a number for each point, so
/// cutting never costs.
#[derive(Debug, Clone)]
pub struct RankCost {
    /// For each whitened dimension, sums over the first i points.
    sums: Vec<Vec<f64>>,
    n_points: usize,
}

impl RankCost {
    /// Of the segments of `signal`.
    ///
    /// # Errors
    /// No points.
    pub fn new(signal: &Signal) -> Result<Self, ChangeError> {
        let (n, d) = (signal.n_points(), signal.dimensions());
        check_points(n)?;
        let middle = f64::midpoint(n as f64, 1.0);
        let centred = |k| average_ranks(&signal.column(k)).into_iter().map(|r| r - middle).collect();
        let mut columns: Vec<Vec<f64>> = (0..d).map(centred).collect();
        // Gram–Schmidt on the columns: what is left of each, scaled to variance 1, is the whitened
        // rank; ȳᵀ Σ⁻¹ ȳ is the same in every basis.
        let mut whitened: Vec<Vec<f64>> = vec![];
        let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        for column in &mut columns {
            let before = product(column, column);
            // Twice, as rounding leaves a trace of the others the first time.
            for _ in 0..2 {
                for unit in &whitened {
                    let along = product(unit, column) / n as f64;
                    column.iter_mut().zip(unit).for_each(|(c, u)| *c -= along * u);
                }
            }
            let left = product(column, column);
            if left > 1e-12 * before {
                let scale = (n as f64 / left).sqrt();
                whitened.push(column.iter().map(|c| c * scale).collect());
            }
        }
        let running = |unit: &Vec<f64>| RunningSums::new(n, 1, |i, row| row[0] = unit[i]).rounded(0);
        Ok(Self { sums: whitened.iter().map(running).collect(), n_points: n })
    }
}

impl SegmentCost for RankCost {
    fn n_points(&self) -> usize {
        self.n_points
    }

    #[inline]
    fn cost(&self, start: usize, end: usize) -> f64 {
        let square: f64 = self.sums.iter().map(|sums| (sums[end] - sums[start]).powi(2)).sum();
        -square / (end - start) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn a_step_costs_what_theory_says() {
        // A step δ at τ of n: cutting there saves δ² τ (n − τ) / n.
        let values: Vec<f64> = (0..100).map(|i| if i < 30 { 5.0 } else { 5.5 }).collect();
        let cost = MeanCost::new(&Signal::new(values, 1).unwrap()).unwrap();
        assert!((cost.cost(0, 100) - 0.25 * 30.0 * 70.0 / 100.0).abs() < 1e-12);
        assert_eq!(cost.cost(0, 30) + cost.cost(30, 100), 0.0);
    }

    #[test]
    fn squares_about_the_mean_in_two_dimensions() {
        let mut stream = Stream::new(4, 0, 0);
        let values: Vec<f64> = (0..80).map(|_| 1e3 + stream.normal()).collect();
        let signal = Signal::new(values, 2).unwrap();
        let cost = MeanCost::new(&signal).unwrap();
        let mut expected = 0.0;
        for k in 0..2 {
            let part = &signal.column(k)[7..29];
            let mean = part.iter().sum::<f64>() / 22.0;
            expected += part.iter().map(|y| (y - mean).powi(2)).sum::<f64>();
        }
        assert!((cost.cost(7, 29) - expected).abs() < 1e-11, "{} {expected}", cost.cost(7, 29));
    }

    #[test]
    fn ranks_of_one_dimension() {
        // Ranks 1, 2, 3, 4 less 2.5; variance 1.25; the first two have mean −1.
        let cost = RankCost::new(&Signal::new(vec![0.1, 5.0, 7.0, 1e9], 1).unwrap()).unwrap();
        assert!((cost.cost(0, 2) + 2.0 / 1.25).abs() < 1e-14);
        assert!(cost.cost(0, 4).abs() < 1e-14);
        // A dimension twice tells nothing new; one that is constant tells nothing.
        let twice = vec![0.1, 0.1, 3.0, 5.0, 5.0, 3.0, 7.0, 7.0, 3.0, 1e9, 1e9, 3.0];
        let again = RankCost::new(&Signal::new(twice, 3).unwrap()).unwrap();
        assert!((again.cost(0, 2) - cost.cost(0, 2)).abs() < 1e-12);
    }
}
