//! Singular values and vectors of a small dense matrix, by one-sided Jacobi rotations.

use super::Matrix;
use crate::eigen::product;

/// A = Σₖ values\[k\]·left\[k\]·right\[k\]ᵀ, descending.
#[derive(Debug, Clone)]
pub(crate) struct SingularValues {
    /// As many as the smaller extent.
    pub(crate) values: Vec<f64>,
    /// Unit vectors of as many entries as A has rows, orthogonal to each other; all 0 where the value is.
    pub(crate) left: Vec<Vec<f64>>,
    /// Unit vectors of as many entries as A has columns.
    pub(crate) right: Vec<Vec<f64>>,
}

/// Sweeps over all pairs of columns; ten are usual, the bound only keeps what is not finite from looping.
const MAX_SWEEPS: usize = 60;

/// Hestenes 1958; Golub and Van Loan (2013), section 8.6.3: columns are rotated in pairs until they are orthogonal. Small singular
/// values keep their digits relative to the columns they come from (Demmel and Veselić 1992). Entries must be finite.
pub(crate) fn singular_values(matrix: &Matrix) -> SingularValues {
    if matrix.n_columns() > matrix.n_rows() {
        let SingularValues { values, left, right } = singular_values(&matrix.transposed());
        return SingularValues { values, left: right, right: left };
    }
    let n = matrix.n_columns();
    let mut columns: Vec<Vec<f64>> = matrix.transposed().rows().map(<[f64]>::to_vec).collect();
    let mut right: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    // Products of columns that are orthogonal but for rounding.
    let small = f64::EPSILON * (matrix.n_rows() as f64).sqrt();
    for _ in 0..MAX_SWEEPS {
        let mut is_done = true;
        let mut squares: Vec<f64> = columns.iter().map(|column| product(column, column)).collect();
        for i in 0..n {
            for j in i + 1..n {
                let overlap = product(&columns[i], &columns[j]);
                if overlap.abs() <= small * (squares[i] * squares[j]).sqrt() {
                    continue;
                }
                is_done = false;
                let (c, s, t) = rotation(squares[i], squares[j], overlap);
                for rows in [&mut columns, &mut right] {
                    let (upper, lower) = rows.split_at_mut(j);
                    for (x, y) in upper[i].iter_mut().zip(&mut lower[0]) {
                        (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
                    }
                }
                squares[i] -= t * overlap;
                squares[j] += t * overlap;
            }
        }
        if is_done {
            break;
        }
    }
    let lengths: Vec<f64> = columns.iter().map(|column| product(column, column).sqrt()).collect();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| lengths[j].total_cmp(&lengths[i]));
    let unit = |k: usize| columns[k].iter().map(|x| if lengths[k] > 0.0 { x / lengths[k] } else { 0.0 }).collect();
    SingularValues {
        values: order.iter().map(|&k| lengths[k]).collect(),
        left: order.iter().map(|&k| unit(k)).collect(),
        right: order.iter().map(|&k| right[k].clone()).collect(),
    }
}

/// Cosine, sine and tangent of the smaller angle that makes columns with these squares and this product orthogonal.
fn rotation(square_i: f64, square_j: f64, overlap: f64) -> (f64, f64, f64) {
    let cotangent = (square_j - square_i) / (2.0 * overlap);
    let t = 1.0_f64.copysign(cotangent) / (cotangent.abs() + 1.0_f64.hypot(cotangent));
    let c = 1.0 / 1.0_f64.hypot(t);
    (c, c * t, t)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn matrices_are_the_sums_of_their_parts() {
        for case in 0..120 {
            let mut stream = Stream::new(5, 0, case);
            let [m, n] = [1 + (stream.uniform() * 12.0) as usize, 1 + (stream.uniform() * 12.0) as usize];
            // Full, of low rank, and graded over twelve decades.
            let rank = if case % 3 == 1 { 1 + m.min(n) / 3 } else { m.min(n) };
            let factor = |stream: &mut Stream, len: usize| -> Vec<f64> { (0..len).map(|_| stream.normal()).collect() };
            let (left, right) = (factor(&mut stream, m * rank), factor(&mut stream, rank * n));
            let grade = |j: usize| if case % 3 == 2 { 10f64.powf(-12.0 * j as f64 / n as f64) } else { 1.0 };
            let left = Matrix::new(m, rank, left).unwrap();
            let mut a = left.product(&Matrix::new(rank, n, right).unwrap());
            for i in 0..m {
                a.row_mut(i).iter_mut().enumerate().for_each(|(j, v)| *v *= grade(j));
            }
            let found = singular_values(&a);
            assert_eq!(found.values.len(), m.min(n));
            assert!(found.values.windows(2).all(|w| w[0] >= w[1]));
            let scale = found.values[0];
            for i in 0..m {
                for j in 0..n {
                    let sum: f64 = (0..m.min(n)).map(|k| found.values[k] * found.left[k][i] * found.right[k][j]).sum();
                    assert!((sum - a.row(i)[j]).abs() < 1e-13 * scale, "case {case}");
                }
            }
            for (k, value) in found.values.iter().enumerate().filter(|(_, v)| **v > 1e-13 * scale) {
                let unit = product(&found.left[k], &found.left[k]);
                assert!((unit - 1.0).abs() < 1e-13 && *value >= 0.0);
                for l in 0..k {
                    assert!(product(&found.left[k], &found.left[l]).abs() < 1e-12, "case {case}");
                    assert!(product(&found.right[k], &found.right[l]).abs() < 1e-12);
                }
            }
            assert!(found.values[rank..].iter().all(|v| *v < 1e-13 * scale));
        }
    }

    #[test]
    fn values_of_a_known_matrix() {
        // AᵀA = [[25, 20], [20, 25]].
        let found = singular_values(&Matrix::new(2, 2, vec![3.0, 0.0, 4.0, 5.0]).unwrap());
        assert!((found.values[0] - 45f64.sqrt()).abs() < 1e-14 && (found.values[1] - 5f64.sqrt()).abs() < 1e-14);
        assert_eq!(singular_values(&Matrix::zeros(2, 3)).values, [0.0, 0.0]);
    }
}
