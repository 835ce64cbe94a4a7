//! A small dense Cholesky factorisation.

/// Lower triangle L of a symmetric positive definite matrix A = L Lᵀ, row by row.
#[derive(Debug, Clone)]
pub(crate) struct Cholesky {
    rows: Vec<Vec<f64>>,
}

impl Cholesky {
    /// Factorises the matrix given by its lower rows (row i has i + 1 entries); `None` when it is
    /// not positive definite to rounding.
    pub(crate) fn new(mut rows: Vec<Vec<f64>>) -> Option<Self> {
        for i in 0..rows.len() {
            let (above, rest) = rows.split_at_mut(i);
            let row = &mut rest[0];
            for j in 0..i {
                let product = product(&row[..j], &above[j][..j]);
                row[j] = (row[j] - product) / above[j][j];
            }
            let pivot = row[i] - product(&row[..i], &row[..i]);
            if pivot.is_nan() || pivot <= 0.0 {
                return None;
            }
            row[i] = pivot.sqrt();
        }
        Some(Self { rows })
    }

    /// L⁻¹ b.
    pub(crate) fn solve_lower(&self, b: &[f64]) -> Vec<f64> {
        let mut solution: Vec<f64> = Vec::with_capacity(b.len());
        for (row, b) in self.rows.iter().zip(b) {
            let known: f64 = row.iter().zip(&solution).map(|(l, s)| l * s).sum();
            solution.push((b - known) / row[solution.len()]);
        }
        solution
    }

    /// A⁻¹ b.
    pub(crate) fn solve(&self, b: &[f64]) -> Vec<f64> {
        let mut solution = self.solve_lower(b);
        for i in (0..solution.len()).rev() {
            solution[i] /= self.rows[i][i];
            let known = solution[i];
            for (s, l) in solution[..i].iter_mut().zip(&self.rows[i]) {
                *s -= l * known;
            }
        }
        solution
    }

    /// L z.
    pub(crate) fn multiply_lower(&self, z: &[f64]) -> Vec<f64> {
        self.rows.iter().map(|row| row.iter().zip(z).map(|(l, z)| l * z).sum()).collect()
    }

    /// ln det A.
    pub(crate) fn log_determinant(&self) -> f64 {
        2.0 * self.rows.iter().enumerate().map(|(i, row)| row[i].ln()).sum::<f64>()
    }
}

/// Scalar product in eight partial sums, which a processor adds at the same time.
fn product(a: &[f64], b: &[f64]) -> f64 {
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    let mut sums = [0.0; 8];
    for (a, b) in a_chunks.zip(b_chunks) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solves_and_determinant() {
        // A = [[4, 2, 0], [2, 5, 1], [0, 1, 3]], determinant 44.
        let rows = vec![vec![4.0], vec![2.0, 5.0], vec![0.0, 1.0, 3.0]];
        let factor = Cholesky::new(rows).unwrap();
        assert!((factor.log_determinant() - 44f64.ln()).abs() < 1e-14);
        let solution = factor.solve(&[8.0, 15.0, 11.0]);
        for (s, expected) in solution.iter().zip([1.0, 2.0, 3.0]) {
            assert!((s - expected).abs() < 1e-14, "{solution:?}");
        }
        let back = factor.multiply_lower(&factor.solve_lower(&[8.0, 15.0, 11.0]));
        assert!((back[2] - 11.0).abs() < 1e-13);
        assert!(Cholesky::new(vec![vec![1.0], vec![2.0, 1.0]]).is_none());
    }
}
