//! Eigenvalues and eigenvectors of symmetric matrices: Householder tridiagonalisation, then implicit QR steps.

use crate::ArrayError;

/// Eigenvalues in descending order, and the unit eigenvectors of the first of them.
#[derive(Debug, Clone)]
pub(crate) struct SymmetricEigen {
    pub(crate) values: Vec<f64>,
    /// `vectors[k]` belongs to `values[k]`; as many as were asked for.
    pub(crate) vectors: Vec<Vec<f64>>,
}

/// Eigenvalues of the symmetric `n`×`n` matrix, of which the lower triangle (row-major, in the full
/// square) is read, and the eigenvectors of the `n_vectors` largest. Entries must be finite.
///
/// Golub and Van Loan (2013), algorithms 8.3.1 and 8.3.3. Errors of eigenvalues are a small
/// multiple of n·ε·‖A‖; eigenvectors are orthogonal to rounding, also in clusters.
pub(crate) fn symmetric_eigen(mut matrix: Vec<f64>, n: usize, n_vectors: usize) -> SymmetricEigen {
    debug_assert_eq!(matrix.len(), n * n);
    let largest = (0..n).flat_map(|i| matrix[i * n..=i * n + i].iter()).fold(0.0_f64, |a, x| a.max(x.abs()));
    let scale = if largest > 0.0 { largest } else { 1.0 };
    for x in &mut matrix {
        *x /= scale;
    }
    let Tridiagonal { mut diagonal, mut off_diagonal, reflectors } = tridiagonalise(matrix, n);
    let mut rows: Vec<Vec<f64>> = vec![];
    if n_vectors > 0 {
        rows = (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    }
    diagonalise(&mut diagonal, &mut off_diagonal, &mut rows);
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| diagonal[j].total_cmp(&diagonal[i]));
    let vectors = order.iter().take(n_vectors).map(|&k| transform_back(&reflectors, std::mem::take(&mut rows[k])));
    SymmetricEigen { vectors: vectors.collect(), values: order.iter().map(|&k| scale * diagonal[k]).collect() }
}

/// Eigenvalues, descending, of the symmetric `n`×`n` matrix (row-major, in the full square), of which the lower triangle is
/// read. Their errors are a small multiple of n·ε·‖A‖; the work grows as n³.
///
/// # Errors
/// An array that is not n² long, or an entry that is not finite.
pub fn symmetric_eigenvalues(matrix: Vec<f64>, n: usize) -> Result<Vec<f64>, ArrayError> {
    let what = "the matrix";
    if matrix.len() != n * n {
        return Err(ArrayError::Length { what, found: matrix.len(), expected: n * n });
    }
    if let Some(at) = matrix.iter().position(|x| !x.is_finite()) {
        return Err(ArrayError::NotFinite { what, row: at / n, column: at % n });
    }
    Ok(symmetric_eigen(matrix, n, 0).values)
}

/// Eigenvalues, descending, of the symmetric tridiagonal matrix.
pub(crate) fn tridiagonal_values(mut diagonal: Vec<f64>, mut off_diagonal: Vec<f64>) -> Vec<f64> {
    diagonalise(&mut diagonal, &mut off_diagonal, &mut []);
    diagonal.sort_by(|a, b| b.total_cmp(a));
    diagonal
}

struct Tridiagonal {
    diagonal: Vec<f64>,
    off_diagonal: Vec<f64>,
    /// Reflector k acts on the entries from k + 1 on: 1 − v vᵀ with |v|² = 2, or nothing (empty).
    reflectors: Vec<Vec<f64>>,
}

fn tridiagonalise(mut a: Vec<f64>, n: usize) -> Tridiagonal {
    let mut off_diagonal = Vec::with_capacity(n.saturating_sub(1));
    let mut reflectors = Vec::with_capacity(n.saturating_sub(2));
    for k in 0..n.saturating_sub(1) {
        let m = n - k - 1;
        let mut v: Vec<f64> = (k + 1..n).map(|i| a[i * n + k]).collect();
        let length = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        let rest = v[1..].iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
        if rest == 0.0 {
            off_diagonal.push(v[0]);
            reflectors.push(vec![]);
            continue;
        }
        // v becomes −sign(v₀)|v| e₁; adding lengths of one sign loses no digits.
        off_diagonal.push(-length.copysign(v[0]));
        v[0] += length.copysign(v[0]);
        let norm = (v.iter().map(|x| x * x).sum::<f64>() / 2.0).sqrt();
        for x in &mut v {
            *x /= norm;
        }
        // p = A₂₂ v from the lower triangle, then A₂₂ − v wᵀ − w vᵀ with w = p − (vᵀp / 2) v.
        let mut p = vec![0.0; m];
        for i in 0..m {
            let row = &a[(k + 1 + i) * n + k + 1..][..=i];
            p[i] += product(row, &v[..=i]);
            let vi = v[i];
            p[..i].iter_mut().zip(row).for_each(|(p, r)| *p += r * vi);
        }
        let half = product(&v, &p) / 2.0;
        p.iter_mut().zip(&v).for_each(|(p, v)| *p -= half * v);
        for i in 0..m {
            let (vi, pi) = (v[i], p[i]);
            let row = &mut a[(k + 1 + i) * n + k + 1..][..=i];
            for ((r, v), p) in row.iter_mut().zip(&v).zip(&p) {
                *r -= vi * p + pi * v;
            }
        }
        reflectors.push(v);
    }
    Tridiagonal { diagonal: (0..n).map(|i| a[i * n + i]).collect(), off_diagonal, reflectors }
}

/// The vector of the full matrix from that of the tridiagonal one.
fn transform_back(reflectors: &[Vec<f64>], mut vector: Vec<f64>) -> Vec<f64> {
    for (k, v) in reflectors.iter().enumerate().rev().filter(|(_, v)| !v.is_empty()) {
        let tail = &mut vector[k + 1..];
        let along = product(v, tail);
        tail.iter_mut().zip(v).for_each(|(z, v)| *z -= along * v);
    }
    vector
}

/// Turns `d` into the eigenvalues; the rows are rotated along, so that rows of the identity become
/// eigenvectors.
///
/// An off-diagonal entry below ε‖T‖ is dropped: the tridiagonalisation has errors of that size.
fn diagonalise(d: &mut [f64], e: &mut [f64], rows: &mut [Vec<f64>]) {
    let norm = d.iter().chain(e.iter()).fold(0.0_f64, |a, x| a.max(x.abs()));
    let small = f64::EPSILON * norm;
    let mut end = d.len().saturating_sub(1);
    // Two steps an eigenvalue are usual; the bound only keeps what is not finite from looping.
    let mut n_left = 60 * d.len();
    while end > 0 && n_left > 0 {
        if e[end - 1].abs() <= small {
            e[end - 1] = 0.0;
            end -= 1;
            continue;
        }
        let start = (0..end - 1).rev().find(|&i| e[i].abs() <= small).map_or(0, |i| i + 1);
        implicit_step(d, e, start, end, rows);
        n_left -= 1;
    }
}

/// One implicit QR step with Wilkinson's shift on the block `start..=end`.
fn implicit_step(d: &mut [f64], e: &mut [f64], start: usize, end: usize, rows: &mut [Vec<f64>]) {
    let half = (d[end - 1] - d[end]) / 2.0;
    let below = e[end - 1];
    let shift = d[end] - below * (below / (half + half.hypot(below).copysign(half)));
    let (mut x, mut z) = (d[start] - shift, e[start]);
    for k in start..end {
        let r = x.hypot(z);
        let (c, s) = if r > 0.0 { (x / r, z / r) } else { (1.0, 0.0) };
        if k > start {
            e[k - 1] = r;
        }
        let (p, q, f) = (d[k], d[k + 1], e[k]);
        d[k] = c * c * p + s * s * q + 2.0 * c * s * f;
        d[k + 1] = s * s * p + c * c * q - 2.0 * c * s * f;
        e[k] = c * s * (q - p) + (c * c - s * s) * f;
        if k + 1 < end {
            x = e[k];
            z = s * e[k + 1];
            e[k + 1] *= c;
        }
        if !rows.is_empty() {
            let (upper, lower) = rows.split_at_mut(k + 1);
            for (a, b) in upper[k].iter_mut().zip(lower[0].iter_mut()) {
                (*a, *b) = (c * *a + s * *b, c * *b - s * *a);
            }
        }
    }
}

/// Scalar product in four partial sums, which a processor adds at the same time.
pub(crate) fn product(a: &[f64], b: &[f64]) -> f64 {
    let (left, right) = (a.chunks_exact(4), b.chunks_exact(4));
    let rest: f64 = left.remainder().iter().zip(right.remainder()).map(|(a, b)| a * b).sum();
    let mut sums = [0.0; 4];
    for (a, b) in left.zip(right) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    /// Largest entry of A V − V Λ and of VᵀV − 1, in units of ‖A‖ and 1.
    fn errors(a: &[f64], n: usize, found: &SymmetricEigen) -> (f64, f64) {
        let norm = a.iter().fold(f64::MIN_POSITIVE, |m, x| m.max(x.abs()));
        let (mut residual, mut skew) = (0.0_f64, 0.0_f64);
        for (k, v) in found.vectors.iter().enumerate() {
            for i in 0..n {
                let image = product(&a[i * n..(i + 1) * n], v);
                residual = residual.max((image - found.values[k] * v[i]).abs() / norm);
            }
            for (l, w) in found.vectors.iter().enumerate() {
                skew = skew.max((product(v, w) - f64::from(u8::from(k == l))).abs());
            }
        }
        (residual, skew)
    }

    #[test]
    fn second_differences_have_cosines_for_eigenvalues() {
        let n = 60;
        let entry = |i: usize, j: usize| match i.abs_diff(j) {
            0 => 2.0,
            1 => -1.0,
            _ => 0.0,
        };
        let a: Vec<f64> = (0..n * n).map(|ij| entry(ij / n, ij % n)).collect();
        let found = symmetric_eigen(a, n, 0);
        for (k, value) in found.values.iter().enumerate() {
            let angle = std::f64::consts::PI * (n - k) as f64 / (n + 1) as f64;
            assert!((value - (2.0 - 2.0 * angle.cos())).abs() < 1e-13);
        }
    }

    #[test]
    fn any_matrix_is_diagonalised_to_rounding() {
        for case in 0..400 {
            let mut stream = Stream::new(1, 0, case);
            let n = 1 + (stream.uniform() * 24.0) as usize;
            // Full, of low rank (clusters at zero), graded over 16 decades, and with repeated eigenvalues.
            let rank = if case % 4 == 1 { 1 + n / 4 } else { n };
            let factor: Vec<f64> = (0..n * rank).map(|_| stream.normal()).collect();
            let grade = |i: usize| if case % 4 == 2 { 10f64.powf(-16.0 * i as f64 / n as f64) } else { 1.0 };
            let mut a: Vec<f64> = (0..n * n)
                .map(|ij| {
                    let (i, j) = (ij / n, ij % n);
                    let row = |i: usize| &factor[i * rank..(i + 1) * rank];
                    grade(i) * grade(j) * product(row(i), row(j))
                })
                .collect();
            if case % 4 == 3 {
                // A reflection times a number: eigenvalues ±2.
                let square: f64 = factor[..n].iter().map(|x| x * x).sum();
                for i in 0..n {
                    for j in 0..n {
                        let delta = if i == j { 2.0 } else { 0.0 };
                        a[i * n + j] = delta - 4.0 * factor[i] * factor[j] / square;
                    }
                }
            }
            let found = symmetric_eigen(a.clone(), n, n);
            assert!(found.values.windows(2).all(|w| w[0] >= w[1]));
            let (residual, skew) = errors(&a, n, &found);
            let bound = 30.0 * n as f64 * f64::EPSILON;
            assert!(residual < bound && skew < bound, "case {case}, n {n}: {residual:e} {skew:e}");
            let trace: f64 = (0..n).map(|i| a[i * n + i]).sum();
            let sum: f64 = found.values.iter().sum();
            assert!((trace - sum).abs() <= 1e-13 * n as f64 * found.values[0].abs().max(1.0));
        }
    }

    #[test]
    fn arrays_that_are_no_finite_square_are_errors() {
        assert_eq!(symmetric_eigenvalues(vec![2.0, 0.0, 0.0, 3.0], 2), Ok(vec![3.0, 2.0]));
        assert!(symmetric_eigenvalues(vec![1.0; 3], 2).unwrap_err().to_string().contains("expected 4"));
        let error = symmetric_eigenvalues(vec![1.0, 0.0, f64::NAN, 1.0], 2).unwrap_err().to_string();
        assert!(error.contains("row 1, column 0"), "{error}");
    }

    #[test]
    fn zero_and_single_matrices() {
        let zero = symmetric_eigen(vec![0.0; 9], 3, 3);
        assert_eq!(zero.values, [0.0; 3]);
        assert_eq!(symmetric_eigen(vec![-3.0], 1, 1).values, [-3.0]);
    }
}
