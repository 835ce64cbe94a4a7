//! What each component adds to the fall of the mean, and when it is learned.

use crate::array_error::{ArrayError, enough, finite, increasing, length, setting};

/// Fewest points of component curves.
pub const MIN_COMPONENT_POINTS: usize = 3;

/// One component of a mean curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ComponentShare {
    /// Its weight times its change, over the change of the mean: shares have sum 1.
    pub share: f64,
    /// Step at which half of its own change is made for the last time; none where it does not change.
    pub half_time: Option<f64>,
    /// Largest share of its total decrease that falls into one of the intervals given: 1 for a single sharp drop
    /// ("monogenic"), about 1 over their number for a steady fall (Michaud et al. 2023).
    pub sharpness: f64,
}

/// Shares of the components in the change of their weighted mean, from the first point to the last.
///
/// `curves` is (components, points), row-major; `weights` (frequencies) are positive and need not have sum 1.
/// Intervals for the sharpness: `n_intervals` of equal length in ln(step + 1).
///
/// # Errors
/// Fewer than three points, no component, lengths that do not fit, steps out of order or negative, weights that
/// are not positive, values not finite, or a mean that does not change.
pub fn component_shares(
    steps: &[f64],
    curves: &[f64],
    weights: &[f64],
    n_intervals: usize,
) -> Result<Vec<ComponentShare>, ArrayError> {
    let n = steps.len();
    enough("points of the curves", n, MIN_COMPONENT_POINTS)?;
    enough("components", weights.len(), 1)?;
    enough("intervals", n_intervals, 1)?;
    increasing("the steps", steps)?;
    setting("the first step", steps[0], steps[0] >= 0.0, "0 or more")?;
    length("the curves", curves.len(), n * weights.len())?;
    finite("the curves", curves)?;
    for w in weights {
        setting("the weight of a component", *w, *w > 0.0 && w.is_finite(), "a positive number")?;
    }
    let change = |curve: &[f64]| curve[n - 1] - curve[0];
    let rows = || curves.chunks_exact(n).zip(weights);
    let total: f64 = rows().map(|(curve, w)| w * change(curve)).sum();
    let size: f64 = rows().map(|(curve, w)| w * change(curve).abs()).sum();
    if total.abs() <= 1e-12 * size || size == 0.0 {
        return Err(ArrayError::Constant { what: "the mean curve, from its first point to its last," });
    }
    let of = |(curve, w): (&[f64], &f64)| ComponentShare {
        share: w * change(curve) / total,
        half_time: half_time(steps, curve),
        sharpness: sharpness(steps, curve, n_intervals),
    };
    Ok(rows().map(of).collect())
}

/// The step at which a curve crosses the middle between its first and its last value for the last time,
/// between two points by a straight line in ln(step + 1). None where both are equal.
pub fn half_time(steps: &[f64], curve: &[f64]) -> Option<f64> {
    let (first, last) = (*curve.first()?, *curve.last()?);
    if first == last || steps.len() != curve.len() {
        return None;
    }
    let middle = f64::midpoint(first, last);
    let is_beyond = |v: f64| (v - middle) * (last - first) >= 0.0;
    let after = (1..curve.len()).rev().find(|&i| !is_beyond(curve[i - 1]))?;
    let share = (middle - curve[after - 1]) / (curve[after] - curve[after - 1]);
    let (a, b) = (steps[after - 1].ln_1p(), steps[after].ln_1p());
    Some((a + share * (b - a)).exp_m1())
}

/// Decrease (or increase, if the curve rises) in the interval with most of it, over that of all intervals.
fn sharpness(steps: &[f64], curve: &[f64], n_intervals: usize) -> f64 {
    let n = steps.len();
    let (start, end) = (steps[0].ln_1p(), steps[n - 1].ln_1p());
    let value_at = |x: f64| {
        let above = (1..n - 1).find(|&i| steps[i].ln_1p() >= x).unwrap_or(n - 1);
        let (a, b) = (steps[above - 1].ln_1p(), steps[above].ln_1p());
        curve[above - 1] + ((x - a) / (b - a)).clamp(0.0, 1.0) * (curve[above] - curve[above - 1])
    };
    let place = |i: usize| start + (end - start) * i as f64 / n_intervals as f64;
    let sign = (curve[n - 1] - curve[0]).signum();
    let changes: Vec<f64> =
        (0..n_intervals).map(|i| (sign * (value_at(place(i + 1)) - value_at(place(i)))).max(0.0)).collect();
    let sum: f64 = changes.iter().sum();
    if sum > 0.0 { changes.iter().fold(0.0_f64, |a, b| a.max(*b)) / sum } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::power_law::{log_log_fit, zipf_frequencies};

    #[test]
    fn shares_have_sum_one_and_half_times_lie_in_the_middle() {
        let steps: Vec<f64> = (0..200).map(|i| 1.06f64.powi(i)).collect();
        let fall = |middle: f64, size: f64| -> Vec<f64> {
            steps.iter().map(|s| size / (1.0 + ((s.ln_1p() - middle.ln_1p()) / 0.1).exp())).collect()
        };
        let curves = [fall(30.0, 1.0), fall(500.0, 2.0), fall(5000.0, 1.0)].concat();
        let found = component_shares(&steps, &curves, &[0.5, 0.3, 0.2], 10).unwrap();
        assert!((found.iter().map(|f| f.share).sum::<f64>() - 1.0).abs() < 1e-12);
        assert!((found[1].share - 0.6 / 1.3).abs() < 1e-9);
        for (f, middle) in found.iter().zip([30.0, 500.0, 5000.0]) {
            // A line between two points 0.06 apart, on a sigmoid of scale 0.1.
            assert!((f.half_time.unwrap() / middle - 1.0).abs() < 0.01, "{f:?}");
            assert!(f.sharpness > 0.5);
        }
        let line: Vec<f64> = steps.iter().map(|s| -s.ln_1p()).collect();
        assert!((component_shares(&steps, &line, &[1.0], 10).unwrap()[0].sharpness - 0.1).abs() < 1e-9);
        assert!(component_shares(&steps, &[1.0; 200], &[1.0], 10).is_err());
        assert_eq!(half_time(&steps, &[3.0; 200]), None);
    }

    #[test]
    fn exact_emergence_has_learning_times_in_inverse_proportion_to_frequency() {
        // Nam et al. (2024): R(T)/S = 1/(1 + (S/R₀ − 1) e^(−2ηS(d/D)T)), loss ½(S − R)²: T at any level is ∝ 1/d.
        let frequencies = zipf_frequencies(5, 1.6);
        let steps: Vec<f64> = (0..40_000).map(|i| f64::from(i) * 0.02).collect();
        let times: Vec<f64> = frequencies
            .iter()
            .map(|p| {
                let loss: Vec<f64> =
                    steps.iter().map(|t| 0.5 * (1.0 - 1.0 / (1.0 + 999.0 * (-2.0 * p * t).exp())).powi(2)).collect();
                half_time(&steps, &loss).unwrap()
            })
            .collect();
        let fit = log_log_fit(&frequencies, &times).unwrap();
        // Loss starts at ½(1 − 1/1000)² and ends at 0 up to e^(−2pT); lines between steps add less than 1e-4.
        assert!((fit.slope + 1.0).abs() < 1e-3, "{fit:?}");
    }
}
