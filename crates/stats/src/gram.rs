//! Spectra of matrices through their Gram matrices: squared singular values, and variances along principal axes.

use crate::ArrayError;
use crate::eigen::{product, symmetric_eigen};

/// Rows that are turned on their side together, so that both factors of a product stay in the first cache.
const BLOCK: usize = 128;

/// Sums of the products of columns over rows that are added as they come.
#[derive(Debug, Clone)]
pub struct GramSum {
    width: usize,
    n_rows: usize,
    is_about_mean: bool,
    /// Taken from each row; about the mean the first row, against cancellation where means are large (Chan, Golub & LeVeque
    /// 1983), else zeros.
    shift: Vec<f64>,
    sums: Vec<f64>,
    /// Lower triangle of Σ xxᵀ, in the full square.
    products: Vec<f64>,
    /// A block on its side: `width` runs of `BLOCK`.
    turned: Vec<f64>,
}

impl GramSum {
    /// For rows of `width` entries, about zero: their singular values.
    pub fn about_zero(width: usize) -> Self {
        Self { is_about_mean: false, ..Self::about_mean(width) }
    }

    /// For rows of `width` entries, about their mean: their covariance.
    pub fn about_mean(width: usize) -> Self {
        Self {
            width,
            n_rows: 0,
            is_about_mean: true,
            shift: vec![0.0; width],
            sums: vec![0.0; width],
            products: vec![0.0; width * width],
            turned: vec![0.0; width * BLOCK],
        }
    }

    /// Adds whole rows, one after another.
    ///
    /// # Errors
    /// Entries that are no whole rows, or not finite: then nothing of the call counts.
    pub fn add(&mut self, rows: &[f32]) -> Result<(), ArrayError> {
        let (width, what) = (self.width.max(1), "the rows");
        if !rows.len().is_multiple_of(width) {
            return Err(ArrayError::Length { what, found: rows.len(), expected: rows.len() / width * width });
        }
        if let Some(at) = rows.iter().position(|x| !x.is_finite()) {
            return Err(ArrayError::NotFinite { what, row: self.n_rows + at / width, column: at % width });
        }
        if self.n_rows == 0 && self.is_about_mean {
            self.shift.iter_mut().zip(rows).for_each(|(shift, &x)| *shift = f64::from(x));
        }
        for block in rows.chunks(BLOCK * width) {
            let n = block.len() / width;
            for (r, row) in block.chunks_exact(width).enumerate() {
                for (i, (&x, &shift)) in row.iter().zip(&self.shift).enumerate() {
                    self.turned[i * BLOCK + r] = f64::from(x) - shift;
                }
            }
            let column = |i: usize| &self.turned[i * BLOCK..i * BLOCK + n];
            for i in 0..self.width {
                self.sums[i] += column(i).iter().sum::<f64>();
                let sums = &mut self.products[i * self.width..=i * self.width + i];
                sums.iter_mut().enumerate().for_each(|(j, sum)| *sum += product(column(i), column(j)));
            }
            self.n_rows += n;
        }
        Ok(())
    }

    /// Rows added so far.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Squared singular values, descending, of the matrix of all rows, less their mean for [`GramSum::about_mean`]; as many as
    /// the rows are wide. What rounding leaves of a zero is 0: values below 4·width·ε times the largest.
    pub fn squared_singular_values(&self) -> Vec<f64> {
        let mut matrix = self.products.clone();
        if self.is_about_mean {
            for i in 0..self.width {
                let per_row = self.sums[i] / self.n_rows.max(1) as f64;
                let row = &mut matrix[i * self.width..=i * self.width + i];
                row.iter_mut().zip(&self.sums).for_each(|(entry, sum)| *entry -= per_row * sum);
            }
        }
        without_rounding(symmetric_eigen(matrix, self.width, 0).values)
    }
}

/// Squared singular values, descending, of the row-major matrix; as many as its shorter side. They are exact to a small
/// multiple of ε times the largest.
///
/// # Errors
/// Entries that are not rows·columns many, or not finite.
pub fn squared_singular_values(matrix: &[f32], rows: usize, columns: usize) -> Result<Vec<f64>, ArrayError> {
    if matrix.len() != rows * columns {
        return Err(ArrayError::Length { what: "the matrix", found: matrix.len(), expected: rows * columns });
    }
    if columns <= rows {
        let mut sum = GramSum::about_zero(columns);
        sum.add(matrix)?;
        return Ok(sum.squared_singular_values());
    }
    let turned: Vec<f32> =
        (0..columns).flat_map(|column| (0..rows).map(move |row| matrix[row * columns + column])).collect();
    squared_singular_values(&turned, columns, rows)
}

/// Squared singular values, descending, of the product L·Rᵀ of two matrices with `n` columns each, without forming it: the
/// eigenvalues of (LᵀL)(RᵀR) that may differ from zero, by the symmetric F(RᵀR)Fᵀ with FᵀF = LᵀL. They are exact to a small
/// multiple of ε‖L‖²‖R‖².
///
/// # Errors
/// Entries that are no whole rows of `n`, or not finite.
pub fn squared_singular_values_of_product(left: &[f32], right: &[f32], n: usize) -> Result<Vec<f64>, ArrayError> {
    let mut grams = [GramSum::about_zero(n), GramSum::about_zero(n)];
    grams[0].add(left)?;
    grams[1].add(right)?;
    let [left, right] = grams;
    let of_left = symmetric_eigen(left.products, n, n);
    // Rows of F are the eigenvectors of LᵀL times the roots of their values.
    let factor: Vec<Vec<f64>> = of_left
        .vectors
        .iter()
        .zip(&of_left.values)
        .map(|(vector, value)| vector.iter().map(|x| x * value.max(0.0).sqrt()).collect())
        .collect();
    let full = |i: usize, j: usize| right.products[i.max(j) * n + i.min(j)];
    let right: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| full(i, j)).collect()).collect();
    let mut matrix = vec![0.0; n * n];
    for (i, row) in factor.iter().enumerate() {
        let image: Vec<f64> = right.iter().map(|column| product(column, row)).collect();
        for (j, other) in factor[..=i].iter().enumerate() {
            matrix[i * n + j] = product(&image, other);
        }
    }
    let bound = of_left.values.first().map_or(0.0, |left| left * trace(&right));
    Ok(clear_below(symmetric_eigen(matrix, n, 0).values, 4.0 * n as f64 * f64::EPSILON * bound))
}

fn trace(matrix: &[Vec<f64>]) -> f64 {
    matrix.iter().enumerate().map(|(i, row)| row[i]).sum()
}

fn without_rounding(values: Vec<f64>) -> Vec<f64> {
    let largest = values.first().copied().unwrap_or(0.0);
    let floor = 4.0 * values.len() as f64 * f64::EPSILON * largest;
    clear_below(values, floor)
}

fn clear_below(mut values: Vec<f64>, floor: f64) -> Vec<f64> {
    for value in values.iter_mut().filter(|value| **value <= floor) {
        *value = 0.0;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;
    use crate::{participation_ratio, stable_rank};

    fn normals(seed: u64, n: usize) -> Vec<f32> {
        let mut stream = Stream::new(seed, 0, 0);
        (0..n).map(|_| stream.normal() as f32).collect()
    }

    fn close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        let largest = expected.iter().fold(f64::MIN_POSITIVE, |a, x| a.max(*x));
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 1e-13 * largest * found.len() as f64, "{found:?} {expected:?}");
        }
    }

    #[test]
    fn identity_diagonal_and_rank_one() {
        let n = 5;
        let identity: Vec<f32> = (0..n * n).map(|ij| if ij / n == ij % n { 2.0 } else { 0.0 }).collect();
        assert_eq!(squared_singular_values(&identity, n, n).unwrap(), [4.0; 5]);
        // 3 × 2 and, on its side, 2 × 3: the shorter side counts.
        let diagonal = [0.0, -3.0, 1.0, 0.0, 0.0, 0.0];
        close(&squared_singular_values(&diagonal, 3, 2).unwrap(), &[9.0, 1.0]);
        close(&squared_singular_values(&[0.0, 1.0, 0.0, -3.0, 0.0, 0.0], 2, 3).unwrap(), &[9.0, 1.0]);
        // u vᵀ with |u|² = 14 and |v|² = 5: all else is zero, not rounding.
        let outer: Vec<f32> = [1.0, 2.0, 3.0].iter().flat_map(|u| [1.0, -2.0].map(|v| u * v)).collect();
        close(&squared_singular_values(&outer, 3, 2).unwrap(), &[70.0, 0.0]);
        assert_eq!(squared_singular_values(&outer, 3, 2).unwrap()[1], 0.0);
        assert_eq!(squared_singular_values(&[0.0; 6], 3, 2).unwrap(), [0.0, 0.0]);
    }

    #[test]
    fn sums_are_the_norm_and_both_sides_agree() {
        let (rows, columns) = (301, 17);
        let matrix = normals(1, rows * columns);
        let turned: Vec<f32> =
            (0..columns).flat_map(|j| (0..rows).map(move |i| (i, j))).map(|(i, j)| matrix[i * columns + j]).collect();
        let found = squared_singular_values(&matrix, rows, columns).unwrap();
        close(&squared_singular_values(&turned, columns, rows).unwrap(), &found);
        let norm: f64 = matrix.iter().map(|&x| f64::from(x).powi(2)).sum();
        assert!((found.iter().sum::<f64>() / norm - 1.0).abs() < 1e-13);
        // Rows in any order and pieces have the same spectrum.
        let mut sum = GramSum::about_zero(columns);
        for piece in matrix.chunks(5 * columns).rev() {
            sum.add(piece).unwrap();
        }
        close(&sum.squared_singular_values(), &found);
        assert_eq!(sum.n_rows(), rows);
    }

    #[test]
    fn means_far_from_zero_do_not_blur_variances() {
        // ±1 in the first column, ±½ in the second, all four combinations, about 1000 and −2000.
        let rows: Vec<f32> = (0..400)
            .flat_map(|i| {
                [1000.0 + if i % 2 == 0 { 1.0 } else { -1.0 }, -2000.0 + if i / 2 % 2 == 0 { 0.5 } else { -0.5 }]
            })
            .collect();
        let mut sum = GramSum::about_mean(2);
        sum.add(&rows[..246]).unwrap();
        sum.add(&rows[246..]).unwrap();
        close(&sum.squared_singular_values(), &[400.0, 100.0]);
        assert!((stable_rank(&sum.squared_singular_values()).unwrap() - 1.25).abs() < 1e-12);
    }

    #[test]
    fn products_have_the_spectrum_of_the_matrix_that_they_are() {
        let (n, left_rows, right_rows) = (6, 20, 15);
        let [left, mut right] = [normals(2, n * left_rows), normals(3, n * right_rows)];
        // Of lower rank, too.
        right.chunks_exact_mut(n).for_each(|row| row[3] = row[1]);
        let product: Vec<f32> = left
            .chunks_exact(n)
            .flat_map(|l| right.chunks_exact(n).map(move |r| l.iter().zip(r).map(|(a, b)| a * b).sum()))
            .collect();
        let formed = squared_singular_values(&product, left_rows, right_rows).unwrap();
        let found = squared_singular_values_of_product(&left, &right, n).unwrap();
        // The formed product was rounded to f32.
        let bound = 4.0 * f64::from(f32::EPSILON) * formed[0] * n as f64;
        for (a, b) in found.iter().zip(&formed) {
            assert!((a - b).abs() < bound, "{found:?} {formed:?}");
        }
        assert_eq!(found[5], 0.0);
        assert!(participation_ratio(&found).unwrap() < 5.0);
        // Nothing of one is seen by the other.
        assert_eq!(squared_singular_values_of_product(&[1.0, 0.0], &[0.0, 2.0], 2).unwrap(), [0.0, 0.0]);
    }

    #[test]
    fn what_is_no_matrix_is_an_error() {
        assert!(squared_singular_values(&[1.0; 5], 2, 3).unwrap_err().to_string().contains("expected 6"));
        let error = squared_singular_values(&[1.0, 2.0, f32::NAN, 1.0], 2, 2).unwrap_err().to_string();
        assert!(error.contains("row 1, column 0"), "{error}");
        let mut sum = GramSum::about_mean(3);
        assert!(sum.add(&[1.0; 4]).is_err());
        assert_eq!((sum.n_rows(), sum.squared_singular_values()), (0, vec![0.0; 3]));
    }
}
