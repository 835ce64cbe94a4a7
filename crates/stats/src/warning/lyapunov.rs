//! Stationary covariance of linear noisy systems, in continuous and discrete time.

use crate::array_error::{ArrayError, enough, finite, length};
use crate::linear_system::solve;

/// Most units: the linear system has n² unknowns and takes n⁶ multiplications.
const MAX_UNITS: usize = 40;

/// The covariance Σ of dx = A x dt + D dW in its stationary state: A Σ + Σ Aᵀ + D Dᵀ = 0.
///
/// `a` and `noise` = D Dᵀ are n×n, row-major; so is the result, made symmetric. n is at most 40.
///
/// # Errors
/// Matrices that are not square or of different sizes, values that are not finite, or eigenvalues μᵢ + μⱼ = 0,
/// where there is no stationary state. Whether A is stable is for the caller to know: for an unstable A
/// the solution of the equation is no covariance.
pub fn stationary_covariance(a: &[f64], noise: &[f64]) -> Result<Vec<f64>, ArrayError> {
    let n = check(a, noise)?;
    // (A ⊗ 1 + 1 ⊗ A) vec Σ = −vec DDᵀ.
    let mut system = vec![0.0; n * n * n * n];
    for i in 0..n {
        for j in 0..n {
            let row = (i * n + j) * n * n;
            for k in 0..n {
                system[row + k * n + j] += a[i * n + k];
                system[row + i * n + k] += a[j * n + k];
            }
        }
    }
    solve(system, noise.iter().map(|q| -q).collect()).map(|sigma| symmetric(&sigma, n))
}

/// The covariance Σ of x′ = Φ x + η in its stationary state: Σ = Φ Σ Φᵀ + Q, with Q the covariance of η.
///
/// # Errors
/// As [`stationary_covariance`]; no solution where φᵢφⱼ = 1.
pub fn stationary_covariance_of_map(phi: &[f64], noise: &[f64]) -> Result<Vec<f64>, ArrayError> {
    let n = check(phi, noise)?;
    let mut system = vec![0.0; n * n * n * n];
    for i in 0..n {
        for j in 0..n {
            let row = (i * n + j) * n * n;
            for k in 0..n {
                for l in 0..n {
                    system[row + k * n + l] -= phi[i * n + k] * phi[j * n + l];
                }
            }
            system[row + i * n + j] += 1.0;
        }
    }
    solve(system, noise.to_vec()).map(|sigma| symmetric(&sigma, n))
}

fn check(matrix: &[f64], noise: &[f64]) -> Result<usize, ArrayError> {
    let n = matrix.len().isqrt();
    enough("units", n, 1)?;
    length("the matrix of the system", matrix.len(), n * n)?;
    length("the covariance of the noise", noise.len(), n * n)?;
    if n > MAX_UNITS {
        return Err(ArrayError::Setting { setting: "the number of units", found: n as f64, expected: "at most 40" });
    }
    finite("the matrix of the system", matrix)?;
    finite("the covariance of the noise", noise)?;
    Ok(n)
}

fn symmetric(sigma: &[f64], n: usize) -> Vec<f64> {
    (0..n * n).map(|ij| f64::midpoint(sigma[ij], sigma[ij % n * n + ij / n])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn recipes_values() {
        let found = stationary_covariance(&[-1.0, 0.3, 0.2, -0.5], &[1.0, 0.0, 0.0, 1.0]).unwrap();
        for (f, expected) in found.iter().zip([0.590_909, 0.303_030, 0.303_030, 1.121_212]) {
            assert!((f - expected).abs() < 5e-7, "{found:?}");
        }
        for (k, expected) in [(0.1, 5.0), (0.01, 50.0)] {
            let found = stationary_covariance(&[-k, 0.0, 0.0, -1.0], &[1.0, 0.0, 0.0, 1.0]).unwrap();
            assert!((found[0] - expected).abs() < 1e-9 && (found[3] - 0.5).abs() < 1e-12);
        }
    }

    #[test]
    fn autoregression_of_recipes() {
        // φ = e^(−k), variance 1/(1 − φ²).
        for (k, phi, variance) in
            [(1.0f64, 0.3679, 1.157), (0.5, 0.6065, 1.582), (0.1, 0.9048, 5.517), (0.05, 0.9512, 10.508)]
        {
            let exact = (-k).exp();
            assert!((exact - phi).abs() < 5e-5);
            let found = stationary_covariance_of_map(&[exact], &[1.0]).unwrap()[0];
            assert!((found - variance).abs() < 5e-4, "{found}");
        }
    }

    #[test]
    fn equations_hold_for_random_stable_systems() {
        for n in [1, 3, 6] {
            let mut stream = Stream::new(31, 0, n as u64);
            // Diagonal dominance makes both stable (Gershgorin).
            let random: Vec<f64> = (0..n * n).map(|_| (stream.uniform() - 0.5) / n as f64).collect();
            let root: Vec<f64> = (0..n * n).map(|_| stream.normal()).collect();
            let times = |a: &[f64], b: &[f64]| -> Vec<f64> {
                (0..n * n).map(|ij| (0..n).map(|k| a[ij / n * n + k] * b[k * n + ij % n]).sum()).collect()
            };
            let turned = |a: &[f64]| -> Vec<f64> { (0..n * n).map(|ij| a[ij % n * n + ij / n]).collect() };
            let q = times(&root, &turned(&root));
            let a: Vec<f64> = (0..n * n).map(|ij| random[ij] - f64::from(u8::from(ij / n == ij % n))).collect();
            let sigma = stationary_covariance(&a, &q).unwrap();
            let (left, right) = (times(&a, &sigma), times(&sigma, &turned(&a)));
            assert!((0..n * n).all(|i| (left[i] + right[i] + q[i]).abs() < 1e-12));
            let sigma = stationary_covariance_of_map(&random, &q).unwrap();
            let image = times(&times(&random, &sigma), &turned(&random));
            assert!((0..n * n).all(|i| (image[i] + q[i] - sigma[i]).abs() < 1e-12));
        }
        assert!(stationary_covariance(&[0.0], &[1.0]).is_err());
        assert!(stationary_covariance(&[1.0, 2.0], &[1.0, 2.0]).is_err());
    }
}
