//! Trajectory PCA: principal components of checkpoints in the space of outputs, exactly.

use super::gram::{TrajectoryGram, check_block, column_means};
use crate::array_error::{ArrayError, setting};
use crate::eigen::{product, symmetric_eigen};

/// Components whose variance is below this share of the largest are rounding.
const RANK_TOLERANCE: f64 = 1e-13;

/// Principal components of T checkpoints (rows), centred over them.
///
/// For A the T×D matrix of centred rows, A Aᵀ = U Λ Uᵀ gives the scores U √Λ and the explained
/// shares λₖ / Σλ: the same as the singular value decomposition of A, for T² numbers in place of
/// T·D (Hoogland et al. 2024, essential dynamics; Carroll et al. 2025, joint trajectory PCA, where
/// the rows are the checkpoints of all runs one after the other).
///
/// The sign of each component is such that the first row has a negative score (should it be zero to
/// rounding, the first row that is not).
#[derive(Debug, Clone, PartialEq)]
pub struct TrajectoryPca {
    /// `scores[k][t]`: coordinate of checkpoint t along component k, in units of the outputs. Fewer
    /// components than asked for where the rows span fewer.
    pub scores: Vec<Vec<f64>>,
    /// Variance of the scores of each component, Σₜ score² / (T − 1).
    pub variances: Vec<f64>,
    /// Share of the total variance, in [0, 1]. Compare with
    /// [`random_walk_shares`](crate::random_walk_shares) before anything is read into them.
    pub shares: Vec<f64>,
    /// Variance of all outputs together, Σ over outputs of the variance over checkpoints.
    pub total_variance: f64,
    /// The further points (idealised predictors) in the same plane.
    pub points: Vec<ProjectedPoint>,
}

/// A point of the space of outputs, seen from the components; it had no part in finding them.
#[derive(Debug, Clone, PartialEq)]
pub struct ProjectedPoint {
    /// Along each component, about the mean of the trajectory.
    pub coordinates: Vec<f64>,
    /// Its distance from the (hyper)plane of the components, in units of the outputs: what looks near
    /// in the plane may be far away.
    pub residual: f64,
}

impl TrajectoryGram {
    /// The first `n_components` principal components.
    ///
    /// Costs 3 T³ multiplications or so; for many thousand rows see
    /// [`RandomisedPca`](crate::RandomisedPca).
    ///
    /// # Errors
    /// All rows are the same, or no component is asked for.
    pub fn principal_components(&self, n_components: usize) -> Result<TrajectoryPca, ArrayError> {
        setting("n_components", n_components as f64, n_components > 0, "at least 1")?;
        let n = self.n_rows();
        let mut matrix = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..=i {
                matrix[i * n + j] = self.product(i, j);
            }
        }
        let total = (0..n).map(|i| self.product(i, i)).sum();
        // Centred rows add up to nothing, so one of the T values is zero.
        let found = symmetric_eigen(matrix, n, n_components.min(n - 1));
        let points: Vec<_> = (0..self.n_points()).map(|p| self.of_point(p)).collect();
        TrajectoryPca::new(found.vectors, &found.values, total, &points)
    }
}

impl TrajectoryPca {
    /// From unit vectors over rows, the squared singular value of each and of all, and the scalar
    /// products of each further point with the rows and with itself.
    pub(super) fn new(
        mut vectors: Vec<Vec<f64>>,
        squares: &[f64],
        total: f64,
        points: &[(&[f64], f64)],
    ) -> Result<Self, ArrayError> {
        if squares.first().is_none_or(|first| *first <= 0.0) {
            return Err(ArrayError::Constant { what: "the trajectory" });
        }
        let n_kept = squares.iter().take(vectors.len()).take_while(|s| **s > RANK_TOLERANCE * squares[0]).count();
        vectors.truncate(n_kept);
        let n_rows = vectors[0].len();
        for vector in &mut vectors {
            let largest = vector.iter().fold(0.0_f64, |a, x| a.max(x.abs()));
            if vector.iter().find(|x| x.abs() > 1e-9 * largest).is_some_and(|x| *x > 0.0) {
                for x in vector.iter_mut() {
                    *x = -*x;
                }
            }
        }
        let points = points
            .iter()
            .map(|(with_rows, square)| {
                let along = vectors.iter().zip(squares).map(|(u, s)| product(u, with_rows) / s.sqrt());
                let coordinates: Vec<f64> = along.collect();
                let within: f64 = coordinates.iter().map(|c| c * c).sum();
                ProjectedPoint { residual: (square - within).max(0.0).sqrt(), coordinates }
            })
            .collect();
        let degrees = (n_rows - 1) as f64;
        let kept = &squares[..n_kept];
        Ok(Self {
            scores: vectors.into_iter().zip(kept).map(|(u, s)| u.into_iter().map(|u| u * s.sqrt()).collect()).collect(),
            variances: kept.iter().map(|s| s / degrees).collect(),
            shares: kept.iter().map(|s| (s / total).min(1.0)).collect(),
            total_variance: total / degrees,
            points,
        })
    }

    /// What part of each component a block of outputs is: the unit vectors of the components, of
    /// which `rows` (T, columns) are columns. (components, columns), row-major.
    ///
    /// # Errors
    /// A block that does not fit the number of checkpoints, or a value that is not finite.
    pub fn loadings(&self, rows: &[f64]) -> Result<Vec<f64>, ArrayError> {
        let n_rows = self.scores[0].len();
        let n = rows.len() / n_rows;
        check_block("the block of columns", rows, n_rows, n, 0)?;
        let means = column_means(rows, n_rows, n.max(1), 0..n);
        let mut loadings = Vec::with_capacity(n * self.scores.len());
        for scores in &self.scores {
            let square: f64 = scores.iter().map(|s| s * s).sum();
            let mut along = vec![0.0; n];
            for (score, row) in scores.iter().zip(rows.chunks_exact(n.max(1))) {
                for ((a, x), mean) in along.iter_mut().zip(row).zip(&means) {
                    *a += score * (x - mean) / square;
                }
            }
            loadings.extend(along);
        }
        Ok(loadings)
    }

    /// Largest |correlation| over rows between component k and the cosine that it would be on a
    /// random walk of one trajectory, cos(π k (t + ½) / T) (Antognini and Sohl-Dickstein 2018).
    pub fn cosine_agreement(&self) -> Vec<f64> {
        let n_rows = self.scores[0].len() as f64;
        let agreement = |(k, scores): (usize, &Vec<f64>)| {
            let angle = |t: usize| std::f64::consts::PI * (k + 1) as f64 * (t as f64 + 0.5) / n_rows;
            let along: f64 = scores.iter().enumerate().map(|(t, s)| s * angle(t).cos()).sum();
            // Cosines have mean zero and the square T/2.
            along.abs() / (n_rows / 2.0 * scores.iter().map(|s| s * s).sum::<f64>()).sqrt()
        };
        self.scores.iter().enumerate().map(agreement).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    /// T points on an ellipse with half axes 5 and 2 in D dimensions, far from the origin.
    fn ellipse(n_rows: usize, n_columns: usize) -> (Vec<f64>, [Vec<f64>; 2]) {
        let mut stream = Stream::new(11, 0, 0);
        let mut axis = || -> Vec<f64> { (0..n_columns).map(|_| stream.normal()).collect() };
        let (mut a, mut b) = (axis(), axis());
        let unit = |v: &mut Vec<f64>| {
            let norm = product(v, v).sqrt();
            for x in v.iter_mut() {
                *x /= norm;
            }
        };
        unit(&mut a);
        let along = product(&a, &b);
        b.iter_mut().zip(&a).for_each(|(b, a)| *b -= along * a);
        unit(&mut b);
        let mut data = vec![];
        for t in 0..n_rows {
            let angle = std::f64::consts::TAU * t as f64 / n_rows as f64;
            data.extend(a.iter().zip(&b).map(|(a, b)| 100.0 + 5.0 * angle.cos() * a + 2.0 * angle.sin() * b));
        }
        (data, [a, b])
    }

    #[test]
    fn an_ellipse_is_found_with_its_axes_and_shares() {
        let (n_rows, n_columns) = (40, 70);
        let (data, axes) = ellipse(n_rows, n_columns);
        // The centre of the ellipse, and a point three units off its plane.
        let off = {
            let mut v: Vec<f64> = (0..n_columns).map(|i| f64::from(u8::from(i == 0))).collect();
            for axis in &axes {
                let along = product(&v, axis);
                v.iter_mut().zip(axis).for_each(|(v, a)| *v -= along * a);
            }
            let norm = product(&v, &v).sqrt();
            v.iter().map(|v| 100.0 + 3.0 * v / norm).collect::<Vec<f64>>()
        };
        let points: Vec<f64> = vec![100.0; n_columns].into_iter().chain(off).collect();
        let mut gram = TrajectoryGram::new(n_rows, 2).unwrap();
        gram.add_columns(&data, &points).unwrap();
        let pca = gram.principal_components(5).unwrap();
        assert_eq!(pca.scores.len(), 2, "an ellipse spans a plane");
        // Σ cos² = T/2: variances 25·T/2/(T−1) and 4·T/2/(T−1), shares 25/29 and 4/29.
        let half = n_rows as f64 / 2.0 / (n_rows - 1) as f64;
        for (k, square) in [25.0, 4.0].into_iter().enumerate() {
            assert!((pca.variances[k] - square * half).abs() < 1e-10);
            assert!((pca.shares[k] - square / 29.0).abs() < 1e-11);
        }
        assert!((pca.total_variance - 29.0 * half).abs() < 1e-10);
        for t in 0..n_rows {
            let angle = std::f64::consts::TAU * t as f64 / n_rows as f64;
            assert!((pca.scores[0][t] + 5.0 * angle.cos()).abs() < 1e-10);
            assert!((pca.scores[1][t].abs() - 2.0 * angle.sin().abs()).abs() < 1e-10);
        }
        let loadings = pca.loadings(&data).unwrap();
        for (found, axis) in loadings.chunks(n_columns).zip(&axes) {
            assert!((product(found, axis).abs() - 1.0).abs() < 1e-11);
        }
        for (point, residual) in pca.points.iter().zip([0.0, 3.0]) {
            assert!(point.coordinates.iter().all(|c| c.abs() < 1e-9));
            // Squares of about 1e-10 are rounding here: values near 100 carry 1e-14, D of them.
            assert!((point.residual - residual).abs() < 1e-6, "{point:?}");
        }
    }

    #[test]
    fn rows_that_do_not_vary_are_an_error() {
        let mut gram = TrajectoryGram::new(3, 0).unwrap();
        gram.add_columns(&[2.0, 3.0, 2.0, 3.0, 2.0, 3.0], &[]).unwrap();
        assert!(matches!(gram.principal_components(1), Err(ArrayError::Constant { .. })));
    }
}
