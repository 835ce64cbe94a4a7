//! The matrix of scalar products of checkpoints, gathered over blocks of outputs, so that outputs never lie in memory together.

use crate::array_error::{ArrayError, enough, length};

/// Rows of a panel and columns of a tile.
const TILE: usize = 4;
/// Columns packed at once: a panel of four rows takes 4 KiB.
const DEPTH: usize = 128;

/// Scalar products of T centred rows (checkpoints, of one or several seeds) and of further points
/// with them, summed over columns (outputs, weights, per-token losses).
///
/// All products are about the mean row: each column is freed of its mean over the rows before it is
/// multiplied, so a large common level costs no digits. Memory: T² + T·(points) numbers.
///
/// ```
/// use ontogeny_stats::TrajectoryGram;
///
/// // Three checkpoints, four outputs, handed over two at a time; one ideal predictor.
/// let mut gram = TrajectoryGram::new(3, 1)?;
/// gram.add_columns(&[0.0, 0.0, 1.0, 0.0, 2.0, 0.0], &[1.0, 1.0])?;
/// gram.add_columns(&[5.0, 7.0, 5.0, 7.0, 5.0, 7.0], &[5.0, 7.0])?;
/// let pca = gram.principal_components(2)?;
/// assert_eq!(pca.scores.len(), 1); // the trajectory is a straight line
/// assert!((pca.scores[0][2] - 1.0).abs() < 1e-12);
/// assert!((pca.points[0].residual - 1.0).abs() < 1e-12); // one unit beside it
/// # Ok::<(), ontogeny_stats::ArrayError>(())
/// ```
#[derive(Debug, Clone)]
pub struct TrajectoryGram {
    n_rows: usize,
    n_points: usize,
    n_columns: usize,
    /// Lower triangle in a square of `n_panels`·[`TILE`] rows.
    products: Vec<f64>,
    /// Of each point with each row.
    crossed: Vec<f64>,
    /// Of each point with itself.
    squares: Vec<f64>,
    /// Panels of four rows: entry (column, row of the panel) of the columns at hand.
    panels: Vec<f64>,
}

impl TrajectoryGram {
    /// Of `n_rows` ≥ 2 checkpoints and `n_points` further points (idealised predictors), with no
    /// column yet.
    ///
    /// # Errors
    /// Fewer than two rows.
    pub fn new(n_rows: usize, n_points: usize) -> Result<Self, ArrayError> {
        enough("checkpoints", n_rows, 2)?;
        let width = n_rows.div_ceil(TILE) * TILE;
        Ok(Self {
            n_rows,
            n_points,
            n_columns: 0,
            products: vec![0.0; width * width],
            crossed: vec![0.0; n_points * n_rows],
            squares: vec![0.0; n_points],
            panels: vec![0.0; width * DEPTH],
        })
    }

    /// Adds a block of columns: `rows` is (T, columns) and `points` (points, columns), row-major.
    ///
    /// # Errors
    /// Lengths that do not fit each other, or a value that is not finite; nothing was added then.
    pub fn add_columns(&mut self, rows: &[f64], points: &[f64]) -> Result<(), ArrayError> {
        let n_new = rows.len() / self.n_rows;
        check_block("the block of columns", rows, self.n_rows, n_new, self.n_columns)?;
        check_block("the block of points", points, self.n_points, n_new, self.n_columns)?;
        for first in (0..n_new).step_by(DEPTH) {
            let columns = first..(first + DEPTH).min(n_new);
            let means = column_means(rows, self.n_rows, n_new, columns.clone());
            self.pack(rows, n_new, columns.clone(), &means);
            self.multiply(columns.len());
            self.add_points(points, n_new, columns, &means);
        }
        self.n_columns += n_new;
        Ok(())
    }

    /// Number of checkpoints T.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Number of columns added so far.
    pub fn n_columns(&self) -> usize {
        self.n_columns
    }

    /// Scalar product of two centred rows.
    pub fn product(&self, i: usize, j: usize) -> f64 {
        let width = self.n_rows.div_ceil(TILE) * TILE;
        self.products[i.max(j) * width + i.min(j)]
    }

    pub(super) fn n_points(&self) -> usize {
        self.n_points
    }

    /// Of a point with all centred rows, and with itself.
    pub(super) fn of_point(&self, point: usize) -> (&[f64], f64) {
        (&self.crossed[point * self.n_rows..][..self.n_rows], self.squares[point])
    }

    fn pack(&mut self, rows: &[f64], n_new: usize, columns: std::ops::Range<usize>, means: &[f64]) {
        let depth = columns.len();
        for (t, row) in rows.chunks_exact(n_new).enumerate() {
            let panel = &mut self.panels[t / TILE * TILE * DEPTH..][..TILE * depth];
            for (place, (x, mean)) in panel.chunks_exact_mut(TILE).zip(row[columns.clone()].iter().zip(means)) {
                place[t % TILE] = x - mean;
            }
        }
    }

    fn multiply(&mut self, depth: usize) {
        let n_panels = self.n_rows.div_ceil(TILE);
        let width = n_panels * TILE;
        for i in 0..n_panels {
            let left = &self.panels[i * TILE * DEPTH..][..TILE * depth];
            for j in 0..=i {
                let tile = tile(left, &self.panels[j * TILE * DEPTH..][..TILE * depth]);
                for (r, sums) in tile.iter().enumerate() {
                    let place = &mut self.products[(i * TILE + r) * width + j * TILE..][..TILE];
                    place.iter_mut().zip(sums).for_each(|(place, sum)| *place += sum);
                }
            }
        }
    }

    fn add_points(&mut self, points: &[f64], n_new: usize, columns: std::ops::Range<usize>, means: &[f64]) {
        for p in 0..self.n_points {
            let point = &points[p * n_new..][columns.clone()];
            let centred: Vec<f64> = point.iter().zip(means).map(|(x, mean)| x - mean).collect();
            self.squares[p] += centred.iter().map(|x| x * x).sum::<f64>();
            for t in 0..self.n_rows {
                let panel = &self.panels[t / TILE * TILE * DEPTH..][..TILE * centred.len()];
                let row = panel.chunks_exact(TILE).map(|place| place[t % TILE]);
                self.crossed[p * self.n_rows + t] += row.zip(&centred).map(|(a, b)| a * b).sum::<f64>();
            }
        }
    }
}

/// Sums over the columns of all products of four rows with four rows.
fn tile(left: &[f64], right: &[f64]) -> [[f64; TILE]; TILE] {
    let mut sums = [[0.0; TILE]; TILE];
    for (a, b) in left.chunks_exact(TILE).zip(right.chunks_exact(TILE)) {
        for (sums, a) in sums.iter_mut().zip(a) {
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum += a * b;
            }
        }
    }
    sums
}

pub(super) fn column_means(rows: &[f64], n_rows: usize, n: usize, columns: std::ops::Range<usize>) -> Vec<f64> {
    let mut means = vec![0.0; columns.len()];
    for row in rows.chunks_exact(n) {
        means.iter_mut().zip(&row[columns.clone()]).for_each(|(m, x)| *m += x / n_rows as f64);
    }
    means
}

pub(super) fn check_block(
    what: &'static str,
    block: &[f64],
    n_rows: usize,
    n_columns: usize,
    n_before: usize,
) -> Result<(), ArrayError> {
    length(what, block.len(), n_rows * n_columns)?;
    match block.iter().position(|x| !x.is_finite()) {
        Some(i) => Err(ArrayError::NotFinite { what, row: i / n_columns, column: n_before + i % n_columns }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn blocks_of_any_width_give_the_products_of_centred_rows() {
        for (n_rows, n_columns) in [(2, 1), (5, 3), (9, 300), (33, 257)] {
            let mut stream = Stream::new(3, 0, n_columns as u64);
            // A level of 1e6 would leave six digits without centring the columns first.
            let data: Vec<f64> = (0..n_rows * n_columns).map(|_| 1e6 + stream.normal()).collect();
            let point: Vec<f64> = (0..n_columns).map(|_| 1e6 + stream.normal()).collect();
            let mut gram = TrajectoryGram::new(n_rows, 1).unwrap();
            let mut first = 0;
            while first < n_columns {
                let end = (first + 1 + (stream.uniform() * 140.0) as usize).min(n_columns);
                let block: Vec<f64> =
                    (0..n_rows).flat_map(|t| data[t * n_columns + first..t * n_columns + end].to_vec()).collect();
                gram.add_columns(&block, &point[first..end]).unwrap();
                first = end;
            }
            let mean = |d: usize| (0..n_rows).map(|t| data[t * n_columns + d] - 1e6).sum::<f64>() / n_rows as f64;
            let centred = |t: usize, d: usize| data[t * n_columns + d] - 1e6 - mean(d);
            // Values near 1e6 are rounded to 1e-10.
            let bound = 1e-9 * n_columns as f64;
            for i in 0..n_rows {
                for j in 0..n_rows {
                    let expected: f64 = (0..n_columns).map(|d| centred(i, d) * centred(j, d)).sum();
                    assert!((gram.product(i, j) - expected).abs() < bound);
                }
                let expected: f64 = (0..n_columns).map(|d| centred(i, d) * (point[d] - 1e6 - mean(d))).sum();
                assert!((gram.of_point(0).0[i] - expected).abs() < bound);
            }
            assert_eq!(gram.n_columns(), n_columns);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut gram = TrajectoryGram::new(3, 0).unwrap();
        let error = gram.add_columns(&[1.0; 7], &[]).unwrap_err();
        assert_eq!(error.to_string(), "the block of columns has 7 entries, expected 6");
        let error = gram.add_columns(&[1.0, 2.0, 3.0, f64::NAN, 5.0, 6.0], &[]).unwrap_err();
        assert!(error.to_string().contains("row 1, column 1"), "{error}");
        assert!(TrajectoryGram::new(1, 0).is_err());
    }
}
