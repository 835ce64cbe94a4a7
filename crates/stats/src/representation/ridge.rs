//! Ridge regression in closed form, its penalty by generalised cross-validation.

use std::ops::Range;

use super::PrincipalAxes;
use crate::array_error::{ArrayError, enough, length};
use crate::linear::Matrix;

/// y ≈ intercept + x·weights.
#[derive(Debug, Clone, PartialEq)]
pub struct RidgeFit {
    /// (features, outputs).
    pub weights: Matrix,
    /// One for each output.
    pub intercept: Vec<f64>,
    /// λ of each group of outputs.
    pub penalties: Vec<f64>,
}

impl RidgeFit {
    /// Predictions (examples, outputs).
    pub fn predict(&self, x: &Matrix) -> Matrix {
        let minus: Vec<f64> = self.intercept.iter().map(|b| -b).collect();
        x.product(&self.weights).less(&minus)
    }
}

/// Powers of ten, from strong to weak: λ is one of them times the scatter of a feature, on average.
const PENALTIES: [i32; 9] = [2, 1, 0, -1, -2, -3, -4, -5, -6];

/// Minimises ‖y − b − x·W‖² + λ‖W‖², the intercept b free, for every group of outputs with its own λ.
///
/// λ is 10ᵉ·Σ‖x − x̄‖²/d, e from 2 to −6, whichever has the smallest generalised cross-validation score n·RSS/(n − tr H)² (Golub,
/// Heath and Wahba 1979): the closed form of leaving one out, averaged over rotations of the examples.
///
/// # Errors
/// Fewer than two examples, other numbers of them, or groups beyond the outputs.
pub fn ridge(x: &Matrix, y: &Matrix, groups: &[Range<usize>]) -> Result<RidgeFit, ArrayError> {
    enough("examples", x.n_rows(), 2)?;
    length("the outputs", y.n_rows(), x.n_rows())?;
    let last = groups.iter().map(|group| group.end).max().unwrap_or(0);
    enough("outputs", y.n_columns(), last)?;
    let axes = PrincipalAxes::of(x);
    let (n, d, k) = (x.n_rows() as f64, x.n_columns(), y.n_columns());
    let means = y.means();
    let centred = y.clone().less(&means);
    let along = axes.along(&x.clone().less(&axes.mean).transposed_product(&centred));
    let scatter = axes.values.iter().sum::<f64>() / d.max(1) as f64;
    let mut scaled = Matrix::zeros(axes.rank(), k);
    let mut penalties = Vec::with_capacity(groups.len());
    for group in groups {
        let total: f64 = centred.rows().flat_map(|row| &row[group.clone()]).map(|v| v * v).sum();
        let squares: Vec<f64> = along.rows().map(|row| row[group.clone()].iter().map(|v| v * v).sum()).collect();
        let score = |penalty: f64| {
            let (mut rest, mut freedom) = (total, n - 1.0);
            for (value, square) in axes.values.iter().zip(&squares) {
                let inverse = 1.0 / (value + penalty);
                rest -= square * inverse * (2.0 - value * inverse);
                freedom -= value * inverse;
            }
            // What a fit without freedom leaves is rounding, and says nothing.
            if freedom <= 1e-9 * n { f64::INFINITY } else { n * rest.max(0.0) / (freedom * freedom) }
        };
        let mut best = (f64::INFINITY, scatter * 10f64.powi(PENALTIES[0]));
        for penalty in PENALTIES.map(|e| scatter * 10f64.powi(e)) {
            let score = score(penalty);
            if score < best.0 {
                best = (score, penalty);
            }
        }
        for (i, value) in axes.values.iter().enumerate() {
            for column in group.clone() {
                scaled.row_mut(i)[column] = along.row(i)[column] / (value + best.1);
            }
        }
        penalties.push(best.1);
    }
    let weights = Matrix::from_rows(&axes.vectors, d).transposed_product(&scaled);
    let moved = Matrix::new(1, d, axes.mean)?.product(&weights);
    let intercept = means.iter().zip(moved.values()).map(|(mean, moved)| mean - moved).collect();
    Ok(RidgeFit { weights, intercept, penalties })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear_system::solve;
    use crate::random::Stream;

    fn normal(seed: u64, n: usize, d: usize) -> Matrix {
        let mut stream = Stream::new(seed, 2, d as u64);
        Matrix::new(n, d, (0..n * d).map(|_| stream.normal()).collect()).unwrap()
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "one group")]
    fn weights_solve_the_normal_equations() {
        let (x, y) = (normal(1, 40, 6), normal(2, 40, 3));
        let fit = ridge(&x, &y, &[0..2, 2..3]).unwrap();
        let centred = x.centred();
        let mut scatter = centred.transposed_product(&centred);
        for column in 0..3 {
            let penalty = fit.penalties[column / 2];
            let target = centred.transposed_product(&y.centred());
            let right: Vec<f64> = target.rows().map(|row| row[column]).collect();
            let before = scatter.clone();
            (0..6).for_each(|i| scatter.row_mut(i)[i] += penalty);
            let expected = solve(scatter.values().to_vec(), right).unwrap();
            for (i, expected) in expected.iter().enumerate() {
                assert!((fit.weights.row(i)[column] - expected).abs() < 1e-11);
            }
            scatter = before;
        }
        // Predictions of the mean are the mean.
        let at_mean = fit.predict(&Matrix::new(1, 6, x.means()).unwrap());
        at_mean.values().iter().zip(y.means()).for_each(|(p, mean)| assert!((p - mean).abs() < 1e-12));
        assert!(ridge(&normal(1, 1, 2), &normal(2, 1, 1), &[0..1]).is_err());
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "one group")]
    fn penalties_are_small_without_noise_and_large_without_signal() {
        let x = normal(3, 200, 5);
        let exact = x.product(&normal(4, 5, 1));
        let fit = ridge(&x, &exact, &[0..1]).unwrap();
        assert!((fit.penalties[0] / (x.centred().square_norm() / 5.0) - 1e-6).abs() < 1e-12);
        let noise = normal(5, 200, 5);
        let fit = ridge(&noise, &normal(6, 200, 1), &[0..1]).unwrap();
        assert!(fit.penalties[0] > 0.5 * noise.centred().square_norm() / 5.0);
        // Features that do not vary predict the mean.
        let fit = ridge(&Matrix::zeros(200, 3), &exact, &[0..1]).unwrap();
        assert!((fit.predict(&Matrix::zeros(1, 3)).values()[0] - exact.means()[0]).abs() < 1e-12);
    }

    /// GCV is leave-one-out with every leverage replaced by their mean; with equal leverages both agree. A balanced two-level design
    /// has them.
    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "one group")]
    fn the_score_is_leaving_one_out_where_leverages_are_equal() {
        let x = Matrix::new(8, 3, (0..8).flat_map(|i| [0, 1, 2].map(|b| f64::from(i >> b & 1) * 2.0 - 1.0)).collect())
            .unwrap();
        let y = normal(7, 8, 1);
        let fit = ridge(&x, &y, &[0..1]).unwrap();
        let left_out = |e: i32| -> f64 {
            let penalty = 8.0 * 10f64.powi(e);
            (0..8)
                .map(|out| {
                    let kept: Vec<usize> = (0..8).filter(|i| *i != out).collect();
                    // Design with an intercept that is not penalised.
                    let rows: Vec<[f64; 4]> =
                        kept.iter().map(|&i| [1.0, x.row(i)[0], x.row(i)[1], x.row(i)[2]]).collect();
                    let mut a = vec![0.0; 16];
                    let mut b = vec![0.0; 4];
                    for (row, &i) in rows.iter().zip(&kept) {
                        for p in 0..4 {
                            b[p] += row[p] * y.row(i)[0];
                            (0..4).for_each(|q| a[4 * p + q] += row[p] * row[q]);
                        }
                    }
                    (1..4).for_each(|p| a[5 * p] += penalty);
                    let w = solve(a, b).unwrap();
                    let predicted = w[0] + (0..3).map(|p| w[p + 1] * x.row(out)[p]).sum::<f64>();
                    (y.row(out)[0] - predicted).powi(2)
                })
                .sum()
        };
        let best = PENALTIES.into_iter().min_by(|&a, &b| left_out(a).total_cmp(&left_out(b))).unwrap();
        assert!((fit.penalties[0] / (8.0 * 10f64.powi(best)) - 1.0).abs() < 1e-9, "{best} {}", fit.penalties[0]);
    }
}
