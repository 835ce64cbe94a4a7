//! Least squares by the Levenberg–Marquardt method, for a few parameters.

use crate::linear_system::solve;

/// A model's values, and the derivatives of each by all parameters (values, parameters; row-major).
pub(super) type Evaluated = (Vec<f64>, Vec<f64>);

/// Parameters near `start` that minimise Σ (model − y)², and that sum. It never grows.
///
/// Damping multiplies the diagonal of JᵀJ (Marquardt 1963), and is divided by 5 after a step that helps and
/// multiplied by 4 after one that does not.
pub(super) fn fit(y: &[f64], start: Vec<f64>, model: impl Fn(&[f64]) -> Evaluated) -> (Vec<f64>, f64) {
    let n_parameters = start.len();
    let square = |values: &[f64]| values.iter().zip(y).map(|(m, y)| (m - y) * (m - y)).sum::<f64>();
    let mut parameters = start;
    let (mut values, mut jacobian) = model(&parameters);
    let mut best = square(&values);
    let mut damping = 1e-3;
    for _ in 0..200 {
        let mut normal = vec![0.0; n_parameters * n_parameters];
        let mut gradient = vec![0.0; n_parameters];
        for ((row, m), y) in jacobian.chunks_exact(n_parameters).zip(&values).zip(y) {
            for i in 0..n_parameters {
                gradient[i] += row[i] * (y - m);
                for j in 0..n_parameters {
                    normal[i * n_parameters + j] += row[i] * row[j];
                }
            }
        }
        for i in 0..n_parameters {
            let diagonal = &mut normal[i * n_parameters + i];
            *diagonal += damping * diagonal.max(1e-12);
        }
        let trial = solve(normal, gradient)
            .ok()
            .map(|step| parameters.iter().zip(step).map(|(p, s)| p + s).collect::<Vec<f64>>());
        let improved = trial.and_then(|trial| {
            let (values, jacobian) = model(&trial);
            let sum = square(&values);
            (sum < best).then_some((trial, values, jacobian, sum))
        });
        if let Some((trial, new_values, new_jacobian, sum)) = improved {
            let gain = best - sum;
            (parameters, values, jacobian, best) = (trial, new_values, new_jacobian, sum);
            damping = (damping / 5.0_f64).max(1e-12);
            if gain <= 1e-12 * best {
                break;
            }
        } else {
            damping *= 4.0;
            if damping > 1e10 {
                break;
            }
        }
    }
    (parameters, best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_an_exponential() {
        let x: Vec<f64> = (0..30).map(|i| f64::from(i) * 0.2).collect();
        let y: Vec<f64> = x.iter().map(|x| 3.0 * (-0.7 * x).exp()).collect();
        let model = |p: &[f64]| {
            let values = x.iter().map(|x| p[0] * (-p[1] * x).exp()).collect();
            let jacobian = x.iter().flat_map(|x| [(-p[1] * x).exp(), -p[0] * x * (-p[1] * x).exp()]).collect();
            (values, jacobian)
        };
        let (found, square) = fit(&y, vec![1.0, 0.1], model);
        assert!((found[0] - 3.0).abs() < 1e-8 && (found[1] - 0.7).abs() < 1e-8 && square < 1e-15, "{found:?}");
    }
}
