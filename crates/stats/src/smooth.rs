//! Gaussian-process regression of a series on log time, and the slope of the smooth curve.

use crate::cholesky::Cholesky;
use crate::noise::{Bins, NoiseModel};
use crate::random::Stream;
use crate::series::LogSeries;
use crate::warp::{KNOTS, Warp};

/// Bounds of the amplitude and of the unexplained noise, in standard deviations of the values.
const AMPLITUDE: (f64, f64) = (0.03, 30.0);
const NOISE: (f64, f64) = (1e-3, 2.0);
/// Structure below this share of the range of the values says nothing about the noise.
const RESOLUTION: f64 = 0.01;
/// Fewest points that can tell correlated noise, or time that runs unevenly, from structure.
pub(crate) const ENOUGH_POINTS: usize = 40;
/// Starts of the search for the length scale, in units of ln(step + 1).
const STARTS: [f64; 3] = [0.7, 1.5, 4.0];
/// Largest log rate of a warp, the standard deviation of its step from knot to knot beforehand, and
/// how much more it is at the end than at the beginning where the search starts.
const LOG_RATE: f64 = 3.0;
const LOG_RATE_STEP: f64 = 1.0;
const TILTS: [f64; 3] = [0.0, 2.5, -2.5];
/// Points that a warp leaves to each length scale, at least, but for gaps wider than this in ln(step + 1).
const POINTS_PER_LENGTH: f64 = 2.0;
const WIDEST_GAP: f64 = 0.25;
/// Log likelihood that a warp must be worth, in units of ln n.
const WARP_PRICE: f64 = 2.0;

/// A Gaussian process with squared-exponential kernel through the points of a series (Rasmussen
/// and Williams 2006, eqs. 2.19 and 2.25) and first-order autoregressive noise, its scales and the
/// coefficient of the noise at the maximum of the marginal likelihood. Without the coefficient the
/// slow part of correlated noise would be taken for structure.
///
/// Time is warped (see [`Warp`]) where that is worth more than 2 ln n in log likelihood: a curve that
/// rises over decades and falls within a tenth of one has no single length scale. Beforehand the log
/// rates are a random walk, so that they only change as far as the values ask for.
pub(crate) struct Smooth {
    warp: Warp,
    /// The points in warped time.
    u: Vec<f64>,
    scales: Scales,
    factor: Cholesky,
    /// (K + Λ)⁻¹ (y − mean).
    weights: Vec<f64>,
    mean: f64,
}

/// Length scale in warped time, amplitude, standard deviation of the noise beyond the given errors, and the
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

impl Smooth {
    /// Fits the series; the length scale stays within `length_bounds`. `None` for constant values.
    pub(crate) fn fit(series: &LogSeries, length_bounds: (f64, f64)) -> Option<Self> {
        let n = series.x.len() as f64;
        let mean = series.y.iter().sum::<f64>() / n;
        let centred: Vec<f64> = series.y.iter().map(|y| y - mean).collect();
        let deviation = (centred.iter().map(|y| y * y).sum::<f64>() / n).sqrt();
        if series.range() == 0.0 || deviation == 0.0 {
            return None;
        }
        // The likelihood may take a sharp curve for correlated noise. The contrasts, which are
        // blind to steps, say how far it may go; few points do not tell the two apart at all.
        let model = NoiseModel::new(series);
        let robust = model.phi(model.coefficient(&series.y, RESOLUTION * series.range()));
        let phi = if series.x.len() < ENOUGH_POINTS { 0.0 } else { robust };
        let point = |length: f64, amplitude: f64, noise: f64, phi: f64, log_rates: [f64; KNOTS]| -> Point {
            let mut point = [0.0; N_SCALES];
            point[..RATES].copy_from_slice(&[length.ln(), (amplitude * deviation).ln(), (noise * deviation).ln(), phi]);
            point[RATES..].copy_from_slice(&log_rates);
            point
        };
        let bounds = |log_rate: f64| {
            let lower = point(length_bounds.0, AMPLITUDE.0, NOISE.0, 0.0, [-log_rate; KNOTS]);
            (lower, point(length_bounds.1, AMPLITUDE.1, NOISE.1, phi, [log_rate; KNOTS]))
        };
        let ends = (series.x[0], series.x[series.x.len() - 1]);
        let warp_of = |point: &Point| Warp::new(ends.0, ends.1, &point[RATES..]);
        let times = |warp: &Warp| -> Vec<f64> { series.x.iter().map(|&x| warp.at(x)).collect() };
        // Between points that are farther apart than its length scale the curve would go where it likes.
        let is_resolved = |point: &Point, warp: &Warp| {
            let length = point[0].exp();
            let mut pairs = series.x.windows(2);
            pairs.all(|x| POINTS_PER_LENGTH * warp.rate(x[1]) * (x[1] - x[0]).min(WIDEST_GAP) <= length)
        };
        let objective = |point: &Point| {
            let warp = warp_of(point);
            if point[RATES..] != [0.0; KNOTS] && !is_resolved(point, &warp) {
                return f64::NEG_INFINITY;
            }
            let roughness: f64 = point[RATES..].windows(2).map(|pair| (pair[1] - pair[0]).powi(2)).sum();
            let prior = roughness / (LOG_RATE_STEP * LOG_RATE_STEP);
            factorise(&times(&warp), series, scales_at(point)).map_or(f64::NEG_INFINITY, |factor| {
                let half = factor.solve_lower(&centred);
                -0.5 * (half.iter().map(|h| h * h).sum::<f64>() + factor.log_determinant() + prior)
            })
        };
        // All starts roughly, then the best of them finely.
        let best_of = |starts: &[Point], bounds: (Point, Point), fine: (f64, f64)| -> Option<(f64, Point)> {
            let climbed = starts.iter().map(|start| climb(&objective, *start, bounds, (1.0, 0.2)));
            let best = climbed.reduce(|best, found| if found.0 > best.0 { found } else { best })?;
            Some(climb(&objective, best.1, bounds, fine))
        };
        let level = STARTS.map(|length| point(length, 1.0, 0.1, 0.0, [0.0; KNOTS]));
        let even = best_of(&level, bounds(0.0), (0.125, 0.02))?;
        // From white noise and little of it: from the even fit, which may have taken what is fast for
        // correlated noise, there is no way uphill.
        let tilted = TILTS.map(|tilt| {
            let log_rate = |k: usize| tilt * (k as f64 / (KNOTS - 1) as f64 - 0.5);
            point(1.5, 1.0, 0.03, 0.0, std::array::from_fn(log_rate))
        });
        let is_long = series.x.len() >= ENOUGH_POINTS;
        let warped = if is_long { best_of(&tilted, bounds(LOG_RATE), (0.25, 0.05))? } else { even };
        let best = if warped.0 > even.0 + WARP_PRICE * n.ln() { warped.1 } else { even.1 };
        let (scales, warp) = (scales_at(&best), warp_of(&best));
        let u = times(&warp);
        let factor = factorise(&u, series, scales)?;
        let weights = factor.solve(&centred);
        Some(Self { warp, u, scales, factor, weights, mean })
    }

    /// Height of the smooth curve at `x`.
    pub(crate) fn value(&self, x: f64) -> f64 {
        let u = self.warp.at(x);
        let terms = self.u.iter().zip(&self.weights).map(|(ui, w)| self.scales.kernel(u - ui) * w);
        self.mean + terms.sum::<f64>()
    }

    /// How much higher the smooth curve is at `to` than at `from`, and the standard deviation of that difference.
    pub(crate) fn difference(&self, from: f64, to: f64) -> (f64, f64) {
        let (a, b) = (self.warp.at(from), self.warp.at(to));
        let cross: Vec<f64> = self.u.iter().map(|u| self.scales.kernel(b - u) - self.scales.kernel(a - u)).collect();
        let prior = 2.0 * (self.scales.kernel(0.0) - self.scales.kernel(b - a));
        let known: f64 = self.factor.solve_lower(&cross).iter().map(|c| c * c).sum();
        (self.value(to) - self.value(from), (prior - known).max(0.0).sqrt())
    }

    /// Posterior of the slope d y / d x on a grid: that of d y / d u, times d u / d x.
    pub(crate) fn slope(&self, grid: &[f64]) -> SlopePosterior {
        let squared = self.scales.length * self.scales.length;
        let places: Vec<(f64, f64)> = grid.iter().map(|&x| (self.warp.at(x), self.warp.rate(x))).collect();
        // Covariance of the slope at g with the value at u: ∂k(g, u)/∂g.
        let cross = |g: f64, rate: f64| -> Vec<f64> {
            self.u.iter().map(|u| -rate * (g - u) / squared * self.scales.kernel(g - u)).collect()
        };
        let crosses: Vec<Vec<f64>> = places.iter().map(|&(g, rate)| cross(g, rate)).collect();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let mean = crosses.iter().map(|c| dot(c, &self.weights)).collect();
        let halves: Vec<Vec<f64>> = crosses.iter().map(|c| self.factor.solve_lower(c)).collect();
        let covariance = |i: usize, j: usize| {
            let d = places[i].0 - places[j].0;
            let prior = self.scales.kernel(d) * (1.0 - d * d / squared) / squared;
            places[i].1 * places[j].1 * prior - dot(&halves[i], &halves[j])
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

/// Logarithms of length, amplitude and noise, the coefficient of the noise, and from [`RATES`] on the
/// log rates of the warp.
type Point = [f64; N_SCALES];

const RATES: usize = 4;
const N_SCALES: usize = RATES + KNOTS;

fn scales_at(&[length, amplitude, noise, phi, ..]: &Point) -> Scales {
    Scales { length: length.exp(), amplitude: amplitude.exp(), noise: noise.exp(), phi }
}

/// Covariance of the values at the warped times `u`.
fn factorise(u: &[f64], series: &LogSeries, scales: Scales) -> Option<Cholesky> {
    let Scales { phi, amplitude, noise, .. } = scales;
    let Bins { powers, reach, variance } = Bins::new(phi, &series.count);
    let total: Vec<f64> = variance.iter().zip(&series.error).map(|(v, e)| noise * noise * v + e).collect();
    let share: Vec<f64> = (0..total.len()).map(|i| reach[i] * (total[i] / variance[i]).sqrt()).collect();
    let rows = (0..u.len())
        .map(|i| {
            let mut row: Vec<f64> = (0..=i).map(|j| scales.kernel(u[i] - u[j])).collect();
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
