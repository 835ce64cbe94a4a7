//! A dense matrix of f64, row by row, with the few products that the analyses of activations need.

use crate::array_error::{ArrayError, length};
use crate::eigen::product;

/// A dense matrix, row-major. In analyses of activations a row is an example, a column a feature.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    n_rows: usize,
    n_columns: usize,
    values: Vec<f64>,
}

/// Rows that are added up at once in [`Matrix::transposed_product`].
const ROWS: usize = 4;

impl Matrix {
    /// Of `n_rows`·`n_columns` values, row by row.
    ///
    /// # Errors
    /// Another number of values, or one that is not finite, with its row and column.
    pub fn new(n_rows: usize, n_columns: usize, values: Vec<f64>) -> Result<Self, ArrayError> {
        length("the matrix", values.len(), n_rows.saturating_mul(n_columns))?;
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return Err(ArrayError::NotFinite { what: "the matrix", row: at / n_columns, column: at % n_columns });
        }
        Ok(Self { n_rows, n_columns, values })
    }

    /// All entries 0.
    pub fn zeros(n_rows: usize, n_columns: usize) -> Self {
        Self { n_rows, n_columns, values: vec![0.0; n_rows * n_columns] }
    }

    /// A row for each label, 1 in the column of its number and 0 elsewhere. Labels must be below `n_classes`.
    pub fn one_hot(labels: &[u32], n_classes: usize) -> Self {
        let mut found = Self::zeros(labels.len(), n_classes);
        for (row, &label) in labels.iter().enumerate() {
            found.row_mut(row)[label as usize] = 1.0;
        }
        found
    }

    /// Rows.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Columns.
    pub fn n_columns(&self) -> usize {
        self.n_columns
    }

    /// All entries, row by row.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Row number `row`.
    pub fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.n_columns..(row + 1) * self.n_columns]
    }

    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [f64] {
        &mut self.values[row * self.n_columns..(row + 1) * self.n_columns]
    }

    /// All rows in order.
    pub fn rows(&self) -> impl Iterator<Item = &[f64]> {
        (0..self.n_rows).map(|row| self.row(row))
    }

    /// The rows of these numbers, in that order.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let values = rows.iter().flat_map(|&row| self.row(row)).copied().collect();
        Self { n_rows: rows.len(), n_columns: self.n_columns, values }
    }

    /// The mean row.
    pub fn means(&self) -> Vec<f64> {
        let mut means = vec![0.0; self.n_columns];
        for row in self.rows() {
            means.iter_mut().zip(row).for_each(|(mean, v)| *mean += v);
        }
        for mean in &mut means {
            *mean /= self.n_rows.max(1) as f64;
        }
        means
    }

    /// Each row less `row`, which must be as wide.
    #[must_use]
    pub fn less(mut self, row: &[f64]) -> Self {
        for own in self.values.chunks_exact_mut(self.n_columns.max(1)) {
            own.iter_mut().zip(row).for_each(|(v, mean)| *v -= mean);
        }
        self
    }

    /// Each row less the mean row.
    #[must_use]
    pub fn centred(&self) -> Self {
        self.clone().less(&self.means())
    }

    /// Columns become rows.
    #[must_use]
    pub fn transposed(&self) -> Self {
        let columns =
            (0..self.n_columns).flat_map(|j| (0..self.n_rows).map(move |i| self.values[i * self.n_columns + j]));
        Self { n_rows: self.n_columns, n_columns: self.n_rows, values: columns.collect() }
    }

    /// selfᵀ·other, of matrices with as many rows: (columns of self, columns of other).
    #[must_use]
    pub fn transposed_product(&self, other: &Self) -> Self {
        debug_assert_eq!(self.n_rows, other.n_rows);
        let mut found = Self::zeros(self.n_columns, other.n_columns);
        if found.values.is_empty() {
            return found;
        }
        let blocks =
            self.values.chunks(ROWS * self.n_columns.max(1)).zip(other.values.chunks(ROWS * other.n_columns.max(1)));
        for (a, b) in blocks {
            // Four rows at a time, so that the result is read a quarter as often.
            let a: Vec<&[f64]> = a.chunks_exact(self.n_columns).collect();
            let b: Vec<&[f64]> = b.chunks_exact(other.n_columns).collect();
            for (i, sums) in found.values.chunks_exact_mut(other.n_columns).enumerate() {
                if let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (a.as_slice(), b.as_slice()) {
                    let (f0, f1, f2, f3) = (a0[i], a1[i], a2[i], a3[i]);
                    let columns = sums.iter_mut().zip(*b0).zip(*b1).zip(*b2).zip(*b3);
                    columns.for_each(|((((sum, x0), x1), x2), x3)| *sum += (f0 * x0 + f1 * x1) + (f2 * x2 + f3 * x3));
                } else {
                    for (a, b) in a.iter().zip(&b) {
                        sums.iter_mut().zip(*b).for_each(|(sum, x)| *sum += a[i] * x);
                    }
                }
            }
        }
        found
    }

    /// self·other; `other` has as many rows as self columns.
    #[must_use]
    pub fn product(&self, other: &Self) -> Self {
        self.transposed().transposed_product(other)
    }

    /// self·otherᵀ, of matrices with as many columns: (rows of self, rows of other).
    #[must_use]
    pub fn product_transposed(&self, other: &Self) -> Self {
        debug_assert_eq!(self.n_columns, other.n_columns);
        let values = self.rows().flat_map(|a| other.rows().map(move |b| product(a, b))).collect();
        Self { n_rows: self.n_rows, n_columns: other.n_rows, values }
    }

    /// Sum of the squares of all entries.
    pub fn square_norm(&self) -> f64 {
        product(&self.values, &self.values)
    }

    pub(crate) fn into_values(self) -> Vec<f64> {
        self.values
    }

    /// From rows of equal width.
    pub(crate) fn from_rows(rows: &[Vec<f64>], n_columns: usize) -> Self {
        Self { n_rows: rows.len(), n_columns, values: rows.concat() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn products_are_sums_over_what_they_share() {
        for (n, p, q) in [(1, 1, 1), (3, 2, 5), (4, 3, 1), (11, 7, 6)] {
            let mut stream = Stream::new(3, 0, n as u64);
            let mut random = |rows: usize, columns: usize| {
                Matrix::new(rows, columns, (0..rows * columns).map(|_| stream.normal()).collect()).unwrap()
            };
            let (a, b) = (random(n, p), random(n, q));
            let found = a.transposed_product(&b);
            for i in 0..p {
                for j in 0..q {
                    let expected: f64 = (0..n).map(|r| a.row(r)[i] * b.row(r)[j]).sum();
                    assert!((found.row(i)[j] - expected).abs() < 1e-13 * n as f64);
                }
            }
            let (left, right) = (a.transposed().product(&b), a.transposed().product_transposed(&b.transposed()));
            for ((x, y), z) in left.values().iter().zip(right.values()).zip(found.values()) {
                assert!((x - z).abs() < 1e-13 * n as f64 && (y - z).abs() < 1e-13 * n as f64);
            }
            assert!(a.centred().means().iter().all(|mean| mean.abs() < 1e-14));
        }
    }

    #[test]
    fn what_is_no_matrix_is_told() {
        assert!(matches!(Matrix::new(2, 3, vec![0.0; 5]), Err(ArrayError::Length { found: 5, expected: 6, .. })));
        let holed = Matrix::new(2, 2, vec![0.0, 1.0, f64::NAN, 2.0]).unwrap_err();
        assert!(matches!(holed, ArrayError::NotFinite { row: 1, column: 0, .. }), "{holed}");
        assert_eq!(Matrix::one_hot(&[1, 0], 3).values(), [0.0, 1.0, 0.0, 1.0, 0.0, 0.0]);
    }
}
