//! Principal axes of centred rows: what whitening, ridge regression and erasure share.

use crate::eigen::symmetric_eigen;
use crate::linear::Matrix;

/// Mean, eigenvalues and unit eigenvectors of the scatter matrix Σ (x − x̄)(x − x̄)ᵀ, descending.
#[derive(Debug, Clone)]
pub(super) struct PrincipalAxes {
    pub(super) mean: Vec<f64>,
    pub(super) values: Vec<f64>,
    pub(super) vectors: Vec<Vec<f64>>,
}

impl PrincipalAxes {
    /// The axes whose eigenvalue is above rounding: d·10·ε of the largest. None where the rows do not vary.
    pub(super) fn of(x: &Matrix) -> Self {
        let mean = x.means();
        let centred = x.clone().less(&mean);
        Self::of_scatter(mean, centred.transposed_product(&centred))
    }

    pub(super) fn of_scatter(mean: Vec<f64>, scatter: Matrix) -> Self {
        let d = mean.len();
        let eigen = symmetric_eigen(scatter.into_values(), d, d);
        let least = 10.0 * d as f64 * f64::EPSILON * eigen.values.first().copied().unwrap_or(0.0);
        let rank = eigen.values.iter().take_while(|&&value| value > least && value > 0.0).count();
        Self { mean, values: eigen.values[..rank].to_vec(), vectors: eigen.vectors.into_iter().take(rank).collect() }
    }

    /// The first axes that hold this share of the sum of the eigenvalues.
    pub(super) fn truncated(mut self, share: f64) -> Self {
        let total: f64 = self.values.iter().sum();
        let mut held = 0.0;
        let is_needed = |value: &&f64| {
            let needed = held < share * total;
            held += **value;
            needed
        };
        let rank = self.values.iter().take_while(is_needed).count();
        self.values.truncate(rank);
        self.vectors.truncate(rank);
        self
    }

    pub(super) fn rank(&self) -> usize {
        self.values.len()
    }

    /// Vᵀ·m for an m of as many rows as there are features.
    pub(super) fn along(&self, m: &Matrix) -> Matrix {
        let vectors = Matrix::from_rows(&self.vectors, self.mean.len());
        vectors.product(m)
    }
}
