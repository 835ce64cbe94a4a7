//! Eigenvalues of symmetric tridiagonal matrices by implicit QR steps.

/// The eigenvalues of the matrix with this diagonal and off-diagonal (one entry shorter), ascending. Every row of `rows`
/// is multiplied by the eigenvectors: a row of the identity becomes that row of the matrix whose columns are the
/// eigenvectors, in the order of the eigenvalues. All entries must be finite.
///
/// Steps with Wilkinson's shift chase the bulge down each unreduced block (Golub & Van Loan 2013, §8.3); they converge for
/// every matrix, in practice within three steps an eigenvalue.
pub(crate) fn eigenvalues(diagonal: &[f64], off_diagonal: &[f64], rows: &mut [Vec<f64>]) -> Vec<f64> {
    let n = diagonal.len();
    // Entries of at most one, so that no product of them overflows, and none that matters vanishes.
    let off_diagonal = &off_diagonal[..n.saturating_sub(1)];
    let largest = diagonal.iter().chain(off_diagonal).fold(0.0_f64, |a, x| a.max(x.abs()));
    let scale = if largest > 0.0 { largest } else { 1.0 };
    let mut d: Vec<f64> = diagonal.iter().map(|x| x / scale).collect();
    let mut e: Vec<f64> = off_diagonal.iter().map(|x| x / scale).collect();
    let mut last = n.saturating_sub(1);
    while last > 0 {
        for i in 0..last {
            if e[i].abs() <= f64::EPSILON * (d[i].abs() + d[i + 1].abs()) || e[i].abs() < f64::MIN_POSITIVE {
                e[i] = 0.0;
            }
        }
        if e[last - 1] == 0.0 {
            last -= 1;
            continue;
        }
        let first = (0..last - 1).rev().find(|&i| e[i] == 0.0).map_or(0, |i| i + 1);
        step(&mut d, &mut e, first, last, rows);
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| d[i].total_cmp(&d[j]));
    for row in rows {
        *row = order.iter().map(|&i| row[i]).collect();
    }
    order.into_iter().map(|i| scale * d[i]).collect()
}

/// One step on the block `first..=last`, whose off-diagonal has no zero.
fn step(d: &mut [f64], e: &mut [f64], first: usize, last: usize, rows: &mut [Vec<f64>]) {
    // The eigenvalue of the last 2×2 block that is nearer to its last entry.
    let (half, b) = ((d[last - 1] - d[last]) / 2.0, e[last - 1]);
    let shift = d[last] - b * (b / (half + half.hypot(b).copysign(half)));
    let (mut x, mut bulge) = (d[first] - shift, e[first]);
    for k in first..last {
        // The rotation of rows and columns k and k + 1 that turns (x, bulge) into (r, 0).
        let r = x.hypot(bulge);
        let (c, s) = if r == 0.0 { (1.0, 0.0) } else { (x / r, bulge / r) };
        if k > first {
            e[k - 1] = r;
        }
        let (a, b, g) = (d[k], e[k], d[k + 1]);
        d[k] = c * c * a + 2.0 * c * s * b + s * s * g;
        d[k + 1] = s * s * a - 2.0 * c * s * b + c * c * g;
        e[k] = c * s * (g - a) + (c * c - s * s) * b;
        x = e[k];
        if k + 1 < last {
            bulge = s * e[k + 1];
            e[k + 1] *= c;
        }
        for row in rows.iter_mut() {
            (row[k], row[k + 1]) = (c * row[k] + s * row[k + 1], c * row[k + 1] - s * row[k]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};

    fn identity(n: usize) -> Vec<Vec<f64>> {
        (0..n).map(|i| (0..n).map(|j| f64::from(i == j)).collect()).collect()
    }

    /// Largest entry of T·Z − Z·Θ and of ZᵀZ − 1.
    fn errors(d: &[f64], e: &[f64]) -> (f64, f64) {
        let n = d.len();
        let mut z = identity(n);
        let values = eigenvalues(d, e, &mut z);
        assert!(values.is_sorted());
        let (mut residual, mut skew) = (0.0_f64, 0.0_f64);
        for j in 0..n {
            for i in 0..n {
                let mut product = d[i] * z[i][j];
                if i > 0 {
                    product += e[i - 1] * z[i - 1][j];
                }
                if i + 1 < n {
                    product += e[i] * z[i + 1][j];
                }
                residual = residual.max((product - values[j] * z[i][j]).abs());
                let dot: f64 = (0..n).map(|k| z[k][i] * z[k][j]).sum();
                skew = skew.max((dot - f64::from(i == j)).abs());
            }
        }
        (residual, skew)
    }

    #[test]
    fn second_differences_have_known_eigenvalues() {
        let n = 50;
        let values = eigenvalues(&vec![2.0; n], &vec![-1.0; n - 1], &mut []);
        for (k, value) in values.iter().enumerate() {
            let want = 2.0 - 2.0 * (std::f64::consts::PI * (k + 1) as f64 / (n + 1) as f64).cos();
            assert!((value - want).abs() < 1e-13, "{value} {want}");
        }
    }

    #[test]
    fn matrices_of_any_scale_and_grading_end() {
        let stream = Stream::new(6, Purpose::Data, 0);
        for case in 0..3000 {
            let n = 1 + stream.below(12, case, 0);
            let scale = 10_f64.powi(stream.below(440, case, 1) as i32 - 290);
            let mut normals = vec![0.0; 2 * n];
            stream.normals(case, 64, &mut normals);
            let entry = |i: usize| {
                let graded = 10_f64.powi(-(stream.below(20, case, 2 + i as u32) as i32));
                let zero = stream.below(3, case, 100 + i as u32) == 0;
                if zero { 0.0 } else { f64::from(normals[i]) * graded * scale }
            };
            let (d, e): (Vec<f64>, Vec<f64>) = ((0..n).map(entry).collect(), (n..2 * n - 1).map(entry).collect());
            let largest = d.iter().chain(&e).fold(0.0_f64, |a, x| a.max(x.abs()));
            let (residual, skew) = errors(&d, &e);
            assert!(residual <= 1e-13 * largest + 1e-300 && skew < 1e-13, "{residual} {skew} {d:?} {e:?}");
        }
    }

    #[test]
    fn eigenvectors_diagonalise_matrices_of_every_kind() {
        let stream = Stream::new(5, Purpose::Data, 0);
        let random = |n: usize, step: u32| -> Vec<f64> {
            let mut x = vec![0.0; n];
            stream.normals(step, 0, &mut x);
            x.into_iter().map(f64::from).collect()
        };
        let graded = |n: usize| (0..n).map(|i| 10_f64.powi(-(i as i32))).collect::<Vec<_>>();
        for (d, e) in [
            (random(40, 0), random(39, 1)),
            (vec![0.0; 30], random(29, 2)),
            (vec![1.0; 20], vec![0.0; 19]),
            (vec![3.0], vec![]),
            (vec![0.0, 0.0], vec![1.0]),
            (graded(20), graded(20)[1..].to_vec()),
            // Wilkinson's matrix: pairs of eigenvalues that agree to many digits.
            ((0..21).map(|i| f64::from((i - 10_i32).abs())).collect(), vec![1.0; 20]),
            (vec![0.0; 5], vec![0.0; 4]),
        ] {
            let scale = d.iter().chain(&e).fold(1e-300_f64, |a, x| a.max(x.abs()));
            let (residual, skew) = errors(&d, &e);
            // n roundings for each of about 3n rotations.
            let allowed = 1e-15 * 10.0 * d.len() as f64;
            assert!(residual < allowed * scale && skew < allowed, "{residual} {skew} {d:?}");
        }
        assert_eq!(eigenvalues(&[], &[], &mut []), Vec::<f64>::new());
    }
}
