//! Limited-memory BFGS for smooth convex functions.

use crate::eigen::product;

/// Differences of points and gradients that are kept.
const MEMORY: usize = 12;
/// Share of the promised decrease that a step must keep (Armijo), and of the slope that it must lose (Wolfe).
const DECREASE: f64 = 1e-4;
const SLOPE: f64 = 0.9;

/// Where `value` is smallest, from `start` on: until no entry of the gradient is above `tolerance`, or `max_steps` steps.
/// `value` writes the gradient of a point and gives the function there.
///
/// Nocedal and Wright (2006), algorithms 7.4 and 7.5; step lengths by bisection until both Wolfe conditions hold.
pub(super) fn minimise(
    start: Vec<f64>,
    tolerance: f64,
    max_steps: usize,
    mut value: impl FnMut(&[f64], &mut [f64]) -> f64,
) -> Vec<f64> {
    let n = start.len();
    let (mut point, mut gradient) = (start, vec![0.0; n]);
    let mut now = value(&point, &mut gradient);
    let mut kept: Vec<Difference> = Vec::new();
    let (mut trial, mut trial_gradient) = (vec![0.0; n], vec![0.0; n]);
    for _ in 0..max_steps {
        if gradient.iter().all(|g| g.abs() <= tolerance) {
            break;
        }
        let direction = newton_direction(&gradient, &kept);
        let slope = product(&direction, &gradient);
        let (mut lower, mut upper) = (0.0, f64::INFINITY);
        let mut length = if kept.is_empty() { 1.0 / product(&gradient, &gradient).sqrt() } else { 1.0 };
        let mut accepted = None;
        // Near the minimum the function has no digits left to fall by.
        let highest = |length: f64| now + DECREASE * length * slope + 4.0 * f64::EPSILON * now.abs();
        // Doublings and halvings beyond all digits of a float.
        for _ in 0..100 {
            for ((t, p), d) in trial.iter_mut().zip(&point).zip(&direction) {
                *t = p + length * d;
            }
            let there = value(&trial, &mut trial_gradient);
            // A NaN counts as too far.
            accepted = (there <= highest(length)).then_some(there);
            if accepted.is_none() {
                upper = length;
            } else if product(&direction, &trial_gradient) < SLOPE * slope {
                lower = length;
            } else {
                break;
            }
            length = if upper.is_finite() { f64::midpoint(lower, upper) } else { 2.0 * lower };
        }
        let Some(there) = accepted else { break };
        now = there;
        let moved: Vec<f64> = trial.iter().zip(&point).map(|(a, b)| a - b).collect();
        let turned: Vec<f64> = trial_gradient.iter().zip(&gradient).map(|(a, b)| a - b).collect();
        let overlap = product(&moved, &turned);
        point.copy_from_slice(&trial);
        gradient.copy_from_slice(&trial_gradient);
        if overlap > 0.0 {
            kept.push(Difference { moved, turned, overlap });
            if kept.len() > MEMORY {
                kept.remove(0);
            }
        }
    }
    point
}

struct Difference {
    moved: Vec<f64>,
    turned: Vec<f64>,
    overlap: f64,
}

/// Minus the approximate inverse Hessian times the gradient, by two loops over the differences.
fn newton_direction(gradient: &[f64], kept: &[Difference]) -> Vec<f64> {
    let mut q: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut weights = Vec::with_capacity(kept.len());
    for difference in kept.iter().rev() {
        let weight = product(&difference.moved, &q) / difference.overlap;
        q.iter_mut().zip(&difference.turned).for_each(|(q, y)| *q -= weight * y);
        weights.push(weight);
    }
    if let Some(last) = kept.last() {
        let scale = last.overlap / product(&last.turned, &last.turned);
        for q in &mut q {
            *q *= scale;
        }
    }
    for (difference, weight) in kept.iter().zip(weights.iter().rev()) {
        let back = product(&difference.turned, &q) / difference.overlap;
        q.iter_mut().zip(&difference.moved).for_each(|(q, s)| *q += (weight - back) * s);
    }
    q
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minima_of_quadratics_and_of_a_curved_valley() {
        let scales = [1.0, 10.0, 100.0, 1000.0, 1e4];
        let found = minimise(vec![1.0; 5], 1e-10, 500, |x, g| {
            scales
                .iter()
                .enumerate()
                .map(|(i, s)| {
                    g[i] = s * (x[i] - i as f64);
                    0.5 * s * (x[i] - i as f64).powi(2)
                })
                .sum()
        });
        for (i, x) in found.iter().enumerate() {
            assert!((x - i as f64).abs() < 1e-9, "{found:?}");
        }
        // Rosenbrock's function: no convex one, but smooth.
        let found = minimise(vec![-1.2, 1.0], 1e-9, 500, |x, g| {
            let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
            g[0] = -2.0 * a - 400.0 * x[0] * b;
            g[1] = 200.0 * b;
            a * a + 100.0 * b * b
        });
        assert!((found[0] - 1.0).abs() < 1e-8 && (found[1] - 1.0).abs() < 1e-8, "{found:?}");
    }
}
