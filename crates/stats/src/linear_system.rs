//! Small dense systems of linear equations.

use crate::array_error::ArrayError;

/// The x with A x = b, A square and row-major, by Gaussian elimination with partial pivoting.
///
/// # Errors
/// A pivot that is rounding: the system has no or many solutions.
pub(crate) fn solve(mut a: Vec<f64>, mut b: Vec<f64>) -> Result<Vec<f64>, ArrayError> {
    let n = b.len();
    let largest = a.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
    for k in 0..n {
        let pivot = (k..n).max_by(|&i, &j| a[i * n + k].abs().total_cmp(&a[j * n + k].abs())).unwrap_or(k);
        if a[pivot * n + k].abs() <= 1e-14 * largest {
            return Err(ArrayError::Constant { what: "a direction of the linear system" });
        }
        if pivot != k {
            for j in k..n {
                a.swap(k * n + j, pivot * n + j);
            }
            b.swap(k, pivot);
        }
        let (above, below) = a.split_at_mut((k + 1) * n);
        let top = &above[k * n..];
        for (i, row) in below.chunks_exact_mut(n).enumerate() {
            let factor = row[k] / top[k];
            if factor != 0.0 {
                row[k..].iter_mut().zip(&top[k..]).for_each(|(r, t)| *r -= factor * t);
                b[k + 1 + i] -= factor * b[k];
            }
        }
    }
    for k in (0..n).rev() {
        let known: f64 = (k + 1..n).map(|j| a[k * n + j] * b[j]).sum();
        b[k] = (b[k] - known) / a[k * n + k];
    }
    Ok(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn random_systems_are_solved_and_singular_ones_refused() {
        for n in [1, 2, 7, 20] {
            let mut stream = Stream::new(2, 0, n as u64);
            let a: Vec<f64> = (0..n * n).map(|_| stream.normal()).collect();
            let x: Vec<f64> = (0..n).map(|_| stream.normal()).collect();
            let b: Vec<f64> = a.chunks(n).map(|row| row.iter().zip(&x).map(|(a, x)| a * x).sum()).collect();
            for (found, x) in solve(a, b).unwrap().iter().zip(&x) {
                assert!((found - x).abs() < 1e-9);
            }
        }
        // A zero on the diagonal needs the exchange of rows.
        assert_eq!(solve(vec![0.0, 2.0, 1.0, 0.0], vec![4.0, 3.0]).unwrap(), [3.0, 2.0]);
        assert!(solve(vec![1.0, 2.0, 2.0, 4.0], vec![1.0, 2.0]).is_err());
    }
}
