//! Symmetric positive definite systems in double precision, solved in place.

/// Replaces the lower triangle of a symmetric `matrix` `[n, n]`, the only part that is read, by its Cholesky factor. Returns
/// false, with the matrix spoilt, where it is not positive definite to rounding.
pub(super) fn factorise(matrix: &mut [f64], n: usize) -> bool {
    for i in 0..n {
        let (above, rest) = matrix.split_at_mut(i * n);
        let row = &mut rest[..n];
        for (j, other) in above.chunks_exact(n).enumerate() {
            let known: f64 = row[..j].iter().zip(other).map(|(a, b)| a * b).sum();
            row[j] = (row[j] - known) / other[j];
        }
        let rest = row[i] - row[..i].iter().map(|a| a * a).sum::<f64>();
        if rest.is_nan() || rest <= 0.0 {
            return false;
        }
        row[i] = rest.sqrt();
    }
    true
}

/// Solves A·x = b for the A whose factor is in `factor`; b becomes x.
pub(super) fn solve(factor: &[f64], b: &mut [f64]) {
    let n = b.len();
    for i in 0..n {
        let known: f64 = factor[i * n..][..i].iter().zip(&*b).map(|(l, x)| l * x).sum();
        b[i] = (b[i] - known) / factor[i * n + i];
    }
    for i in (0..n).rev() {
        b[i] /= factor[i * n + i];
        let known = b[i];
        b[..i].iter_mut().zip(&factor[i * n..]).for_each(|(x, l)| *x -= l * known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symmetric_systems_are_solved_and_others_refused() {
        // A = [[4, 2, 0], [2, 5, 1], [0, 1, 3]]; above the diagonal nothing is read.
        let mut matrix = [4.0, f64::NAN, f64::NAN, 2.0, 5.0, f64::NAN, 0.0, 1.0, 3.0];
        let mut b = [8.0, 15.0, 11.0];
        assert!(factorise(&mut matrix, 3));
        solve(&matrix, &mut b);
        for (found, wanted) in b.iter().zip([1.0, 2.0, 3.0]) {
            assert!((found - wanted).abs() < 1e-14, "{b:?}");
        }
        assert!(!factorise(&mut [1.0, 0.0, 2.0, 1.0], 2));
        assert!(!factorise(&mut [f64::NAN], 1));
    }
}
