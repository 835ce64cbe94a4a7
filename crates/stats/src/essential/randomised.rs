//! Trajectory PCA of many rows by randomised subspace iteration.

use super::gram::{check_block, column_means};
use super::pca::TrajectoryPca;
use crate::array_error::{ArrayError, enough, length, setting};
use crate::eigen::symmetric_eigen;
use crate::random::Stream;

/// Purpose of the random stream.
const SKETCH_STREAM: u64 = 60;
/// Vectors beyond the components asked for (Halko et al. 2011, §4.2: 5 or 10).
const OVERSAMPLING: usize = 10;

/// The first principal components of T rows, where T×T numbers are too many: memory T·(k + 10).
///
/// Halko, Martinsson and Tropp (2011), algorithms 4.3 and 4.4: a random sketch of the range of A, sharpened by
/// powers of A Aᵀ with orthonormalisation in between, and a Rayleigh–Ritz step. Each pass reads all
/// columns once, in any blocks: call [`add_columns`](Self::add_columns) for every block, then
/// [`end_pass`](Self::end_pass), until that says that enough passes were made.
///
/// The explained shares are at most the exact ones, short of them by a factor near 1 − (λ₍ₖ₊₁₀₎/λₖ)^(2q+1)
/// after q powers.
///
/// ```
/// use ontogeny_stats::RandomisedPca;
///
/// let rows: Vec<f64> = (0..50).flat_map(|t| [f64::from(t), 2.0 * f64::from(t), 7.0]).collect();
/// let mut pca = RandomisedPca::new(50, 0, 1, 2, 1)?;
/// loop {
///     pca.add_columns(&rows, &[])?;
///     if let Some(found) = pca.end_pass()? {
///         assert!((found.shares[0] - 1.0).abs() < 1e-12);
///         break;
///     }
/// }
/// # Ok::<(), ontogeny_stats::ArrayError>(())
/// ```
#[derive(Debug, Clone)]
pub struct RandomisedPca {
    n_rows: usize,
    n_points: usize,
    n_components: usize,
    /// Passes still to come after this one.
    n_left: usize,
    seed: u64,
    /// Orthonormal columns, (T, width) row-major; none in the first pass.
    basis: Vec<f64>,
    /// A Ω in the first pass, A Aᵀ Q in the others.
    image: Vec<f64>,
    width: usize,
    n_columns: usize,
    n_columns_before: Option<usize>,
    total: f64,
    crossed: Vec<f64>,
    squares: Vec<f64>,
}

impl RandomisedPca {
    /// For `n_rows` checkpoints, `n_points` further points and `n_components` components, with
    /// `n_powers` powers of A Aᵀ (2 is usual): `n_powers` + 2 passes over the columns.
    ///
    /// # Errors
    /// Fewer than two rows, or no component.
    pub fn new(
        n_rows: usize,
        n_points: usize,
        n_components: usize,
        n_powers: usize,
        seed: u64,
    ) -> Result<Self, ArrayError> {
        enough("checkpoints", n_rows, 2)?;
        setting("n_components", n_components as f64, n_components > 0, "at least 1")?;
        let width = (n_components + OVERSAMPLING).min(n_rows);
        Ok(Self {
            n_rows,
            n_points,
            n_components,
            n_left: n_powers + 1,
            seed,
            basis: vec![],
            image: vec![0.0; n_rows * width],
            width,
            n_columns: 0,
            n_columns_before: None,
            total: 0.0,
            crossed: vec![0.0; n_points * n_rows],
            squares: vec![0.0; n_points],
        })
    }

    /// Adds a block of columns to the present pass: `rows` is (T, columns), `points` (points, columns), row-major.
    ///
    /// # Errors
    /// Lengths that do not fit, or a value that is not finite.
    pub fn add_columns(&mut self, rows: &[f64], points: &[f64]) -> Result<(), ArrayError> {
        let n = rows.len() / self.n_rows;
        check_block("the block of columns", rows, self.n_rows, n, self.n_columns)?;
        check_block("the block of points", points, self.n_points, n, self.n_columns)?;
        if n == 0 {
            return Ok(());
        }
        let means = column_means(rows, self.n_rows, n, 0..n);
        let weights = if self.basis.is_empty() { self.random_columns(n) } else { self.adjoint(rows, n, &means) };
        for (row, image) in rows.chunks_exact(n).zip(self.image.chunks_exact_mut(self.width)) {
            for ((x, mean), weight) in row.iter().zip(&means).zip(weights.chunks_exact(self.width)) {
                let x = x - mean;
                image.iter_mut().zip(weight).for_each(|(i, w)| *i += x * w);
            }
        }
        if self.n_left == 0 {
            self.add_totals(rows, points, n, &means);
        }
        self.n_columns += n;
        Ok(())
    }

    /// Ends a pass: the components after the last one, nothing while there are passes to come.
    ///
    /// # Errors
    /// Another number of columns than in the pass before, or rows that are all the same.
    pub fn end_pass(&mut self) -> Result<Option<TrajectoryPca>, ArrayError> {
        if let Some(before) = self.n_columns_before {
            length("a later pass over the columns", self.n_columns, before)?;
        }
        self.n_columns_before = Some(self.n_columns);
        self.n_columns = 0;
        if self.n_left == 0 {
            return self.components().map(Some);
        }
        self.n_left -= 1;
        let next = orthonormal(&self.image, self.width);
        if next.is_empty() {
            return Err(ArrayError::Constant { what: "the trajectory" });
        }
        self.width = next.len() / self.n_rows;
        self.basis = next;
        self.image = vec![0.0; self.n_rows * self.width];
        Ok(None)
    }

    /// Normals by the number of the column, so that blocks do not matter.
    fn random_columns(&self, n: usize) -> Vec<f64> {
        let column = |d: usize| {
            let mut stream = Stream::new(self.seed, SKETCH_STREAM, (self.n_columns + d) as u64);
            (0..self.width).map(move |_| stream.normal())
        };
        (0..n).flat_map(column).collect()
    }

    /// Aᵀ Q for these columns.
    fn adjoint(&self, rows: &[f64], n: usize, means: &[f64]) -> Vec<f64> {
        let mut found = vec![0.0; n * self.width];
        for (row, basis) in rows.chunks_exact(n).zip(self.basis.chunks_exact(self.width)) {
            for ((x, mean), found) in row.iter().zip(means).zip(found.chunks_exact_mut(self.width)) {
                let x = x - mean;
                found.iter_mut().zip(basis).for_each(|(f, q)| *f += x * q);
            }
        }
        found
    }

    fn add_totals(&mut self, rows: &[f64], points: &[f64], n: usize, means: &[f64]) {
        for row in rows.chunks_exact(n) {
            self.total += row.iter().zip(means).map(|(x, m)| (x - m) * (x - m)).sum::<f64>();
        }
        for (p, point) in points.chunks_exact(n).enumerate() {
            let centred: Vec<f64> = point.iter().zip(means).map(|(x, mean)| x - mean).collect();
            self.squares[p] += centred.iter().map(|x| x * x).sum::<f64>();
            let crossed = &mut self.crossed[p * self.n_rows..][..self.n_rows];
            for (place, row) in crossed.iter_mut().zip(rows.chunks_exact(n)) {
                *place += row.iter().zip(means).zip(&centred).map(|((x, m), c)| (x - m) * c).sum::<f64>();
            }
        }
    }

    /// Rayleigh–Ritz: the eigenvectors of Qᵀ(A Aᵀ)Q, carried back by Q.
    fn components(&self) -> Result<TrajectoryPca, ArrayError> {
        let width = self.width;
        let mut small = vec![0.0; width * width];
        for (q, image) in self.basis.chunks_exact(width).zip(self.image.chunks_exact(width)) {
            for (row, q) in small.chunks_exact_mut(width).zip(q) {
                row.iter_mut().zip(image).for_each(|(s, i)| *s += q * i);
            }
        }
        let found = symmetric_eigen(small, width, self.n_components.min(width));
        let carried = |w: &Vec<f64>| -> Vec<f64> {
            self.basis.chunks_exact(width).map(|q| q.iter().zip(w).map(|(q, w)| q * w).sum()).collect()
        };
        let vectors = found.vectors.iter().map(carried).collect();
        let points: Vec<_> =
            self.squares.iter().zip(self.crossed.chunks_exact(self.n_rows)).map(|(s, c)| (c, *s)).collect();
        TrajectoryPca::new(vectors, &found.values, self.total, &points)
    }
}

/// Orthonormal columns that span those of the (rows, width) matrix, without directions that are
/// rounding: Gram–Schmidt, each column freed of the others twice.
fn orthonormal(matrix: &[f64], width: usize) -> Vec<f64> {
    let n_rows = matrix.len() / width;
    let columns = (0..width).map(|k| matrix.iter().skip(k).step_by(width).copied().collect::<Vec<f64>>());
    let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
    let mut kept: Vec<Vec<f64>> = vec![];
    let mut largest = 0.0_f64;
    for mut column in columns {
        largest = largest.max(norm(&column));
        for _ in 0..2 {
            for q in &kept {
                let along: f64 = q.iter().zip(&column).map(|(a, b)| a * b).sum();
                column.iter_mut().zip(q).for_each(|(c, q)| *c -= along * q);
            }
        }
        let length = norm(&column);
        if length > 1e-14 * largest {
            for x in &mut column {
                *x /= length;
            }
            kept.push(column);
        }
    }
    (0..n_rows).flat_map(|t| kept.iter().map(move |column| column[t])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::essential::gram::TrajectoryGram;

    #[test]
    fn agrees_with_the_exact_components() {
        // A walk of 150 checkpoints in 400 dimensions; its variances fall as 1/k².
        let (n_rows, n_columns) = (150, 400);
        let mut data = vec![0.0; n_rows * n_columns];
        let mut stream = Stream::new(8, 0, 0);
        for t in 1..n_rows {
            for d in 0..n_columns {
                data[t * n_columns + d] = data[(t - 1) * n_columns + d] + stream.normal();
            }
        }
        let point: Vec<f64> = (0..n_columns).map(|_| 5.0 * stream.normal()).collect();
        let mut gram = TrajectoryGram::new(n_rows, 1).unwrap();
        gram.add_columns(&data, &point).unwrap();
        let exact = gram.principal_components(3).unwrap();
        let run = |cut: usize| {
            let mut pca = RandomisedPca::new(n_rows, 1, 3, 3, 5).unwrap();
            loop {
                for range in [0..cut, cut..n_columns] {
                    let block: Vec<f64> =
                        data.chunks(n_columns).flat_map(|row| row[range.clone()].iter().copied()).collect();
                    pca.add_columns(&block, &point[range]).unwrap();
                }
                if let Some(found) = pca.end_pass().unwrap() {
                    return found;
                }
            }
        };
        let found = run(100);
        for k in 0..3 {
            // λ₁₄/λ₃ is about (3/14)², to the seventh power.
            let shortfall = 1.0 - found.variances[k] / exact.variances[k];
            assert!((-1e-12..1e-8).contains(&shortfall), "component {k}: {shortfall:e}");
            let scale = exact.variances[k].sqrt();
            // Vectors have the square root of the error of their values: 1e-4 of their length.
            let length = scale * (n_rows as f64).sqrt();
            for (a, b) in found.scores[k].iter().zip(&exact.scores[k]) {
                assert!((a - b).abs() < 1e-4 * length);
            }
            let norm = point.iter().map(|x| x * x).sum::<f64>().sqrt();
            assert!((found.points[0].coordinates[k] - exact.points[0].coordinates[k]).abs() < 1e-4 * norm);
        }
        assert!((found.points[0].residual / exact.points[0].residual - 1.0).abs() < 1e-6);
        assert!((found.total_variance / exact.total_variance - 1.0).abs() < 1e-12);
        let other = run(333);
        assert!((other.variances[2] / found.variances[2] - 1.0).abs() < 1e-12, "blocks must not matter");
    }

    #[test]
    fn passes_must_be_alike() {
        let mut pca = RandomisedPca::new(4, 0, 1, 1, 0).unwrap();
        pca.add_columns(&[1.0, 2.0, 3.0, 5.0], &[]).unwrap();
        assert!(pca.end_pass().unwrap().is_none());
        assert!(pca.end_pass().unwrap_err().to_string().contains("0 entries, expected 1"));
    }
}
