//! Autoregressive noise whose trend was removed: its coefficient, and further series like it.

use crate::essential::Smoother;
use crate::random::Stream;

/// Rows of the smoother that are looked at.
const MAX_ROWS: usize = 64;
/// Coefficients are sought up to here.
const MAX_PHI: f64 = 0.995;

/// How removing a trend changes the autocorrelation of AR(1) noise.
///
/// Residuals are R y with R = 1 − S, so of noise with covariance φ^|i−j| the products of residuals at
/// lag 0 and 1 have the expectations Σ_d κ_d φ^d, with κ from rows of R. The coefficient is the φ whose
/// ratio of the two is the observed one: a plain estimate is low, since the trend follows slow noise.
#[derive(Debug, Clone)]
pub(super) struct RedNoise {
    at_zero: Vec<f64>,
    at_one: Vec<f64>,
}

impl RedNoise {
    pub(super) fn new(smoother: &Smoother, n: usize) -> Self {
        let row = |t: usize| {
            let (first, weights) = smoother.weights(t);
            let mut row = vec![0.0; n];
            row[first..first + weights.len()].iter_mut().zip(weights).for_each(|(r, w)| *r = -w);
            row[t] += 1.0;
            row
        };
        let (mut at_zero, mut at_one) = (vec![0.0; n], vec![0.0; n]);
        let stride = (n - 1).div_ceil(MAX_ROWS);
        for t in (0..n - 1).step_by(stride) {
            let (here, next) = (row(t), row(t + 1));
            for (i, a) in here.iter().enumerate().filter(|(_, a)| **a != 0.0) {
                for (j, (b, c)) in here.iter().zip(&next).enumerate() {
                    at_zero[i.abs_diff(j)] += a * b;
                    at_one[i.abs_diff(j)] += a * c;
                }
            }
        }
        Self { at_zero, at_one }
    }

    /// Lag-1 autocorrelation that residuals of noise with this coefficient have.
    fn expected(&self, phi: f64) -> f64 {
        let sum = |kappa: &[f64]| kappa.iter().rev().fold(0.0, |sum, k| sum * phi + k);
        sum(&self.at_one) / sum(&self.at_zero)
    }

    /// The coefficient of noise with these residuals.
    pub(super) fn coefficient(&self, residuals: &[f64]) -> f64 {
        let n = residuals.len() as f64;
        let square = residuals.iter().map(|r| r * r).sum::<f64>() / n;
        let lagged = residuals.windows(2).map(|r| r[0] * r[1]).sum::<f64>() / (n - 1.0);
        if square == 0.0 {
            return 0.0;
        }
        let (mut low, mut high) = (-MAX_PHI, MAX_PHI);
        while high - low > 1e-4 {
            let middle = f64::midpoint(low, high);
            if self.expected(middle) < lagged / square {
                low = middle;
            } else {
                high = middle;
            }
        }
        f64::midpoint(low, high)
    }
}

/// A stationary AR(1) series of unit variance.
pub(super) fn autoregression(n: usize, phi: f64, stream: &mut Stream) -> Vec<f64> {
    let innovation = (1.0 - phi * phi).sqrt();
    let mut x = stream.normal();
    (0..n)
        .map(|_| {
            let now = x;
            x = phi * x + innovation * stream.normal();
            now
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coefficient_is_found_behind_a_removed_trend() {
        let n = 300;
        let x: Vec<f64> = (0..n).map(|i| i as f64).collect();
        let smoother = Smoother::gaussian(&x, 30.0, 30.0).unwrap();
        let noise = RedNoise::new(&smoother, n);
        for phi in [0.0, 0.5, 0.8] {
            let n_series = 200;
            let mean = (0..n_series)
                .map(|s| {
                    let y = autoregression(n, phi, &mut Stream::new(6, 1, s));
                    let trend = smoother.smooth(&y);
                    noise.coefficient(&y.iter().zip(&trend).map(|(y, t)| y - t).collect::<Vec<f64>>())
                })
                .sum::<f64>()
                / n_series as f64;
            // One estimate scatters by √((1 − φ²)/n), twice that behind a trend; second-order bias is of order 1/n.
            let error = 2.0 * ((1.0 - phi * phi) / n as f64 / n_series as f64).sqrt();
            assert!((mean - phi).abs() < 4.0 * error + 3.0 / n as f64, "{phi}: {mean}");
        }
    }
}
