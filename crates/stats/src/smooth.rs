//! Gaussian-process regression of a series on log time, and the slope of the smooth curve.

use crate::cholesky::Cholesky;
use crate::noise::{Bins, NoiseModel};
use crate::random::Stream;
use crate::series::LogSeries;

/// Bounds of the amplitude and of the unexplained noise, in standard deviations of the values.
const AMPLITUDE: (f64, f64) = (0.03, 30.0);
const NOISE: (f64, f64) = (1e-3, 2.0);
/// Structure below this share of the range of the values says nothing about the noise.
const RESOLUTION: f64 = 0.01;
/// Fewest points for noise that is correlated.
const ENOUGH_POINTS: usize = 40;
/// Starts of the search for the length scale, in units of ln(step + 1).
const STARTS: [f64; 3] = [0.7, 1.5, 4.0];

/// A Gaussian process with squared-exponential kernel through the points of a series (Rasmussen
/// and Williams 2006, eqs. 2.19 and 2.25) and first-order autoregressive noise, its scales and the
/// coefficient of the noise at the maximum of the marginal likelihood. Without the coefficient the
/// slow part of correlated noise would be taken for structure.
pub(crate) struct Smooth<'a> {
    x: &'a [f64],
    scales: Scales,
    factor: Cholesky,
    /// (K + Λ)⁻¹ (y − mean).
    weights: Vec<f64>,
    mean: f64,
}

/// Length scale, amplitude, standard deviation of the noise beyond the given errors, and the
/// correlation of the noise (given errors included) from one original point to the next.
#[derive(Debug, Clone, Copy)]
struct Scales {
    length: f64,
    amplitude: f64,
    noise: f64,
    phi: f64,
}

impl Scales {
    fn kernel(&self, distance: f64) -> f64 {
        let z = distance / self.length;
        self.amplitude * self.amplitude * (-0.5 * z * z).exp()
    }
}

impl<'a> Smooth<'a> {
    /// Fits the series; the length scale stays within `length_bounds`. `None` for constant values.
    pub(crate) fn fit(series: &'a LogSeries, length_bounds: (f64, f64)) -> Option<Self> {
        let n = series.x.len() as f64;
        let mean = series.y.iter().sum::<f64>() / n;
        let centred: Vec<f64> = series.y.iter().map(|y| y - mean).collect();
        let deviation = (centred.iter().map(|y| y * y).sum::<f64>() / n).sqrt();
        if series.range() == 0.0 || deviation == 0.0 {
            return None;
        }
        let bound = |length: f64, amplitude: f64, noise: f64, phi: f64| {
            [length.ln(), (amplitude * deviation).ln(), (noise * deviation).ln(), phi]
        };
        // The likelihood may take a sharp curve for correlated noise. The contrasts, which are
        // blind to steps, say how far it may go; few points do not tell the two apart at all.
        let model = NoiseModel::new(series);
        let robust = model.phi(model.coefficient(&series.y, RESOLUTION * series.range()));
        let phi = if series.x.len() < ENOUGH_POINTS { 0.0 } else { robust };
        let lower = bound(length_bounds.0, AMPLITUDE.0, NOISE.0, 0.0);
        let upper = bound(length_bounds.1, AMPLITUDE.1, NOISE.1, phi);
        let objective = |point: &Point| {
            factorise(series, scales_at(point)).map_or(f64::NEG_INFINITY, |factor| {
                let half = factor.solve_lower(&centred);
                -0.5 * (half.iter().map(|h| h * h).sum::<f64>() + factor.log_determinant())
            })
        };
        // All starts roughly, then the best of them finely.
        let mut best: Option<(f64, Point)> = None;
        for start in STARTS {
            let found = climb(&objective, bound(start, 1.0, 0.1, 0.0), (lower, upper), (1.0, 0.2));
            if best.is_none_or(|(value, _)| found.0 > value) {
                best = Some(found);
            }
        }
        let (_, best) = climb(&objective, best?.1, (lower, upper), (0.125, 0.02));
        let scales = scales_at(&best);
        let factor = factorise(series, scales)?;
        let weights = factor.solve(&centred);
        Some(Self { x: &series.x, scales, factor, weights, mean })
    }

    /// Height of the smooth curve at `x`.
    pub(crate) fn value(&self, x: f64) -> f64 {
        let terms = self.x.iter().zip(&self.weights).map(|(xi, w)| self.scales.kernel(x - xi) * w);
        self.mean + terms.sum::<f64>()
    }

    /// How much higher the smooth curve is at `to` than at `from`, and the standard deviation of that difference.
    pub(crate) fn difference(&self, from: f64, to: f64) -> (f64, f64) {
        let cross: Vec<f64> =
            self.x.iter().map(|x| self.scales.kernel(to - x) - self.scales.kernel(from - x)).collect();
        let prior = 2.0 * (self.scales.kernel(0.0) - self.scales.kernel(to - from));
        let known: f64 = self.factor.solve_lower(&cross).iter().map(|c| c * c).sum();
        (self.value(to) - self.value(from), (prior - known).max(0.0).sqrt())
    }

    /// Posterior of the slope d y / d x on a grid.
    pub(crate) fn slope(&self, grid: &[f64]) -> SlopePosterior {
        let squared = self.scales.length * self.scales.length;
        // Covariance of the slope at g with the value at x: ∂k(g, x)/∂g.
        let cross =
            |g: f64| -> Vec<f64> { self.x.iter().map(|x| -(g - x) / squared * self.scales.kernel(g - x)).collect() };
        let crosses: Vec<Vec<f64>> = grid.iter().map(|&g| cross(g)).collect();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let mean = crosses.iter().map(|c| dot(c, &self.weights)).collect();
        let halves: Vec<Vec<f64>> = crosses.iter().map(|c| self.factor.solve_lower(c)).collect();
        let covariance = |i: usize, j: usize| {
            let d = grid[i] - grid[j];
            let prior = self.scales.kernel(d) * (1.0 - d * d / squared) / squared;
            prior - dot(&halves[i], &halves[j])
        };
        let rows: Vec<Vec<f64>> = (0..grid.len()).map(|i| (0..=i).map(|j| covariance(i, j)).collect()).collect();
        let deviation = rows.iter().enumerate().map(|(i, row)| row[i].max(0.0).sqrt()).collect();
        SlopePosterior { mean, deviation, factor: factorise_with_jitter(&rows) }
    }
}

/// Joint normal distribution of the slope on a grid.
pub(crate) struct SlopePosterior {
    pub(crate) mean: Vec<f64>,
    /// Standard deviation at each place.
    pub(crate) deviation: Vec<f64>,
    factor: Cholesky,
}

impl SlopePosterior {
    /// One slope curve drawn from the posterior.
    pub(crate) fn draw(&self, stream: &mut Stream) -> Vec<f64> {
        let normals: Vec<f64> = self.mean.iter().map(|_| stream.normal()).collect();
        let mut drawn = self.factor.multiply_lower(&normals);
        for (d, m) in drawn.iter_mut().zip(&self.mean) {
            *d += m;
        }
        drawn
    }
}

/// Logarithms of length, amplitude and noise, and the coefficient of the noise.
type Point = [f64; 4];

fn scales_at(&[length, amplitude, noise, phi]: &Point) -> Scales {
    Scales { length: length.exp(), amplitude: amplitude.exp(), noise: noise.exp(), phi }
}

fn factorise(series: &LogSeries, scales: Scales) -> Option<Cholesky> {
    let Scales { phi, amplitude, noise, .. } = scales;
    let Bins { powers, reach, variance } = Bins::new(phi, &series.count);
    let total: Vec<f64> = variance.iter().zip(&series.error).map(|(v, e)| noise * noise * v + e).collect();
    let share: Vec<f64> = (0..total.len()).map(|i| reach[i] * (total[i] / variance[i]).sqrt()).collect();
    let rows = (0..series.x.len())
        .map(|i| {
            let mut row: Vec<f64> = (0..=i).map(|j| scales.kernel(series.x[i] - series.x[j])).collect();
            // The last term is 1e-10 of the variance: it keeps the matrix definite to rounding.
            row[i] += total[i] + 1e-10 * amplitude * amplitude;
            let mut between = phi;
            for j in (0..i).rev().take_while(|_| phi > 0.0) {
                row[j] += between * share[i] * share[j];
                between *= powers[j];
            }
            row
        })
        .collect();
    Cholesky::new(rows)
}

/// A covariance on a fine grid is singular to rounding; the least jitter that helps is added.
fn factorise_with_jitter(rows: &[Vec<f64>]) -> Cholesky {
    let largest = rows.iter().enumerate().map(|(i, r)| r[i]).fold(f64::MIN_POSITIVE, f64::max);
    let mut jitter = 1e-12 * largest;
    loop {
        let mut lifted = rows.to_vec();
        for (i, row) in lifted.iter_mut().enumerate() {
            row[i] += jitter;
        }
        // Ends at the latest when the jitter dominates every row sum.
        if let Some(factor) = Cholesky::new(lifted) {
            return factor;
        }
        jitter *= 10.0;
    }
}

/// Maximum by a compass search: deterministic, without derivatives, within bounds, from the first
/// stride to the last.
fn climb(
    objective: &impl Fn(&Point) -> f64,
    start: Point,
    (lower, upper): (Point, Point),
    (first, last): (f64, f64),
) -> (f64, Point) {
    let bounded = |point: Point| -> Point { std::array::from_fn(|k| point[k].clamp(lower[k], upper[k])) };
    let mut point = bounded(start);
    let mut value = objective(&point);
    let mut stride = first;
    while stride > last {
        let mut improved = false;
        for k in 0..point.len() {
            for direction in [stride, -stride] {
                let mut trial = point;
                trial[k] += direction;
                let trial = bounded(trial);
                if trial[k] == point[k] {
                    continue;
                }
                let found = objective(&trial);
                if found > value {
                    (point, value, improved) = (trial, found, true);
                    break;
                }
            }
        }
        if !improved {
            stride *= 0.5;
        }
    }
    (value, point)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noisy_wave(noise: f64) -> LogSeries {
        let mut stream = Stream::new(4, 0, 0);
        let x: Vec<f64> = (0..80).map(|i| f64::from(i) * 0.1).collect();
        let y = x.iter().map(|x| 10.0 + 3.0 * x.sin() + noise * stream.normal()).collect();
        LogSeries { y, count: vec![1.0; x.len()], error: vec![0.0; x.len()], x }
    }

    #[test]
    fn value_and_slope_of_a_wave() {
        for (noise, tolerance) in [(0.0, 0.02), (0.2, 0.5)] {
            let series = noisy_wave(noise);
            let smooth = Smooth::fit(&series, (0.3, 100.0)).unwrap();
            let grid: Vec<f64> = (5..75).map(|i| f64::from(i) * 0.1).collect();
            let slope = smooth.slope(&grid);
            for (i, g) in grid.iter().enumerate() {
                assert!((smooth.value(*g) - 10.0 - 3.0 * g.sin()).abs() < tolerance);
                let error = (slope.mean[i] - 3.0 * g.cos()).abs();
                assert!(error < tolerance.max(4.0 * slope.deviation[i]), "{g}: {error}");
            }
        }
    }

    #[test]
    fn draws_have_the_posterior_deviation() {
        let series = noisy_wave(0.2);
        let smooth = Smooth::fit(&series, (0.3, 100.0)).unwrap();
        let slope = smooth.slope(&[2.0, 4.0]);
        let n = 2000;
        let mean_square =
            (0..n).map(|i| (slope.draw(&mut Stream::new(1, 0, i))[1] - slope.mean[1]).powi(2)).sum::<f64>() / n as f64;
        // The variance of n normals scatters by √(2/n) = 3 %.
        let ratio = mean_square / slope.deviation[1].powi(2);
        assert!((ratio - 1.0).abs() < 0.16, "{ratio}");
    }
}
