//! Standard errors of curvature and speed, from the noise of single checkpoints.

use super::curve::{STENCIL, Stencil, plane_curve};
use super::smoother::Smoother;
use crate::array_error::{ArrayError, finite, setting};
use crate::order::median;

/// Standard errors of a smoothed curve at one point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurveError {
    /// Of each component of the velocity.
    pub velocity: [f64; 2],
    /// Of the curvature.
    pub curvature: f64,
    /// Of the radius, which is curvature's times radius²; infinite on straight lines.
    pub radius: f64,
}

/// Standard errors at each point of the curve through the smoothed components, by the delta method:
/// smoothing and derivatives are linear in the values, and curvature is expanded to first order.
///
/// `noise` holds the standard deviations of single values of the two components (see
/// [`coordinate_noise`]); values are taken as independent. First order is good while the standard
/// error of the velocity is small against the speed.
///
/// # Errors
/// What [`plane_curve`] refuses, or noise that is negative or not finite.
pub fn curve_errors(
    x: &[f64],
    first: &[f64],
    second: &[f64],
    smoother: &Smoother,
    noise: [f64; 2],
) -> Result<Vec<CurveError>, ArrayError> {
    let curve = plane_curve(x, &smoother.apply(first)?, &smoother.apply(second)?)?;
    for n in noise {
        setting("the noise of a component", n, n >= 0.0 && n.is_finite(), "0 or a positive number")?;
    }
    let at = |(i, p): (usize, &super::curve::CurvePoint)| {
        let (slope, bend) = derivative_weights(x, smoother, i);
        let [u, v] = p.velocity;
        let [du, dv] = p.acceleration;
        let speed = p.speed();
        let cube = speed.powi(3);
        // κ = (u v′ − v u′)/|γ′|³ by u, v, u′ and v′.
        let by_first = [dv / cube - 3.0 * p.curvature * u / (speed * speed), -v / cube];
        let by_second = [-du / cube - 3.0 * p.curvature * v / (speed * speed), u / cube];
        let norm = |a: f64, b: f64| slope.iter().zip(&bend).map(|(s, w)| (a * s + b * w).powi(2)).sum::<f64>().sqrt();
        let curvature = (noise[0] * norm(by_first[0], by_first[1])).hypot(noise[1] * norm(by_second[0], by_second[1]));
        let slope_norm = norm(1.0, 0.0);
        CurveError {
            velocity: noise.map(|n| n * slope_norm),
            curvature,
            radius: if p.radius.is_finite() { curvature * p.radius * p.radius } else { f64::INFINITY },
        }
    };
    Ok(curve.iter().enumerate().map(at).collect())
}

/// Weights of the unsmoothed values in slope and bend at point i, from the first value that counts.
fn derivative_weights(x: &[f64], smoother: &Smoother, i: usize) -> (Vec<f64>, Vec<f64>) {
    let stencil = Stencil::new(x, i);
    let rows: Vec<_> = (0..STENCIL).map(|j| smoother.weights(stencil.first + j)).collect();
    let first = rows.iter().map(|r| r.0).min().unwrap_or(0);
    let end = rows.iter().map(|r| r.0 + r.1.len()).max().unwrap_or(0);
    let (mut slope, mut bend) = (vec![0.0; end - first], vec![0.0; end - first]);
    for (j, (start, weights)) in rows.into_iter().enumerate() {
        for (k, w) in weights.iter().enumerate() {
            slope[start - first + k] += stencil.slope[j] * w;
            bend[start - first + k] += stencil.bend[j] * w;
        }
    }
    (slope, bend)
}

/// Standard deviation of independent noise of single values: from the distances of values to the line
/// through their two neighbours, by their median, so that bends and jumps do not matter.
///
/// # Errors
/// Values that are not finite, or as many as do not fit the coordinate.
pub fn coordinate_noise(x: &[f64], values: &[f64]) -> Result<f64, ArrayError> {
    crate::array_error::length("the component", values.len(), x.len())?;
    finite("the component", values)?;
    let contrasts: Vec<f64> = (1..x.len().saturating_sub(1))
        .map(|i| {
            let share = (x[i] - x[i - 1]) / (x[i + 1] - x[i - 1]);
            let line = values[i - 1] + share * (values[i + 1] - values[i - 1]);
            let norm = (1.0 + share * share + (1.0 - share) * (1.0 - share)).sqrt();
            ((values[i] - line) / norm).abs()
        })
        .collect();
    // The median of |z| of a standard normal is its quantile of 3/4.
    Ok(if contrasts.is_empty() { 0.0 } else { median(&contrasts) / crate::normal_quantile(0.75) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn delta_errors_agree_with_simulated_ones() {
        let x: Vec<f64> = (0..200).map(|i| f64::from(i) * 0.03 + 0.01 * f64::from(i % 3)).collect();
        let smoother = Smoother::gaussian(&x, 0.15, 0.3).unwrap();
        let noise = [0.01, 0.02];
        let truth: [Vec<f64>; 2] =
            [x.iter().map(|x| 2.0 * x.cos()).collect(), x.iter().map(|x| 1.2 * x.sin()).collect()];
        let errors = curve_errors(&x, &truth[0], &truth[1], &smoother, noise).unwrap();
        let n = 600;
        let places = [4, 60, 120, 180];
        let mut seen: Vec<Vec<(f64, f64)>> = vec![vec![]; places.len()];
        for draw in 0..n {
            let mut stream = Stream::new(21, 0, draw);
            let noisy = [0, 1].map(|c: usize| {
                let raw: Vec<f64> = truth[c].iter().map(|v| v + noise[c] * stream.normal()).collect();
                smoother.smooth(&raw)
            });
            let curve = plane_curve(&x, &noisy[0], &noisy[1]).unwrap();
            for (seen, place) in seen.iter_mut().zip(places) {
                seen.push((curve[place].curvature, curve[place].velocity[1]));
            }
        }
        let deviation = |values: Vec<f64>| {
            let mean = values.iter().sum::<f64>() / n as f64;
            (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1) as f64).sqrt()
        };
        for (seen, place) in seen.iter().zip(places) {
            // A standard deviation of n normals scatters by 1/√(2n) = 2.9 %; curvature is of first order only, to
            // about its relative error squared.
            let curvature = deviation(seen.iter().map(|s| s.0).collect()) / errors[place].curvature;
            assert!((curvature - 1.0).abs() < 0.15, "place {place}: {curvature}");
            let velocity = deviation(seen.iter().map(|s| s.1).collect()) / errors[place].velocity[1];
            assert!((velocity - 1.0).abs() < 0.12, "place {place}: {velocity}");
        }
    }

    #[test]
    fn noise_of_single_values_is_found_under_a_trend() {
        let mut stream = Stream::new(5, 0, 0);
        let x: Vec<f64> = (1..1500).map(|i| f64::from(i).ln()).collect();
        let values: Vec<f64> = x.iter().map(|x| 4.0 * x.sin() + 0.3 * stream.normal()).collect();
        // The median of |z| has standard error 0.79/√n in units of the noise; overlapping contrasts double the variance.
        let found = coordinate_noise(&x, &values).unwrap();
        assert!((found / 0.3 - 1.0).abs() < 4.0 * 1.17 * 1.42 / 1500f64.sqrt(), "{found}");
    }
}
