//! Power laws of the quantisation hypothesis: frequencies, unlearned mass, learning times and exponents.

use crate::array_error::{ArrayError, enough, length, setting};

/// A straight line through logarithms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogLogFit {
    /// d ln y / d ln x.
    pub slope: f64,
    /// Its standard error, from the scatter about the line; NaN of two points.
    pub slope_error: f64,
    /// ln y at ln x = 0.
    pub intercept: f64,
    /// Share of the variance of ln y that the line explains; NaN where it has none.
    pub explained: f64,
    /// Number of points.
    pub n: usize,
}

/// Least squares of ln y on ln x.
///
/// Of learning times on component frequencies the slope is about −1 in multitask sparse parity: a test asks for
/// −1.3 to −0.7 (Michaud et al. 2023). Standard errors take the points for independent.
///
/// # Errors
/// Fewer than two points, lengths that differ, values that are not positive, or all x equal.
pub fn log_log_fit(x: &[f64], y: &[f64]) -> Result<LogLogFit, ArrayError> {
    enough("points of the line", x.len(), 2)?;
    length("y", y.len(), x.len())?;
    for v in x.iter().chain(y) {
        setting("a value whose logarithm is taken", *v, *v > 0.0 && v.is_finite(), "a positive number")?;
    }
    let n = x.len() as f64;
    let (x, y): (Vec<f64>, Vec<f64>) = x.iter().zip(y).map(|(x, y)| (x.ln(), y.ln())).unzip();
    let mean = |v: &[f64]| v.iter().sum::<f64>() / n;
    let (mean_x, mean_y) = (mean(&x), mean(&y));
    let square: f64 = x.iter().map(|x| (x - mean_x).powi(2)).sum();
    if square <= 1e-24 * (1.0 + mean_x * mean_x) {
        return Err(ArrayError::Constant { what: "x" });
    }
    let overlap: f64 = x.iter().zip(&y).map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let slope = overlap / square;
    let total: f64 = y.iter().map(|y| (y - mean_y).powi(2)).sum();
    let rest: f64 = x.iter().zip(&y).map(|(x, y)| (y - mean_y - slope * (x - mean_x)).powi(2)).sum();
    Ok(LogLogFit {
        slope,
        slope_error: (rest / (n - 2.0) / square).sqrt(),
        intercept: mean_y - slope * mean_x,
        explained: 1.0 - rest / total,
        n: x.len(),
    })
}

/// Frequencies of `n` components, pₖ ∝ k^(−`exponent`), with sum 1. The quantisation model has the exponent
/// α + 1.
pub fn zipf_frequencies(n: usize, exponent: f64) -> Vec<f64> {
    let weights: Vec<f64> = (1..=n).map(|k| (k as f64).powf(-exponent)).collect();
    let sum: f64 = weights.iter().rev().sum();
    weights.into_iter().map(|w| w / sum).collect()
}

/// Mass of the components after the first n, for n = 0 to all: the mean loss, in units of the loss of one
/// component, of a network that has learned n components in the order of `frequencies` and nothing of the
/// others (Michaud et al. 2023, §2).
///
/// The sums run from the smallest, so that late masses keep their digits.
pub fn unlearned_mass(frequencies: &[f64]) -> Vec<f64> {
    let mut mass: Vec<f64> = frequencies
        .iter()
        .rev()
        .scan(0.0, |sum, p| {
            *sum += p;
            Some(*sum)
        })
        .collect();
    mass.reverse();
    mass.push(0.0);
    mass
}

/// Scaling exponents of the quantisation hypothesis for frequencies ∝ k^(−(α+1)): of loss in parameters,
/// α; in data and in steps, α/(α + 1) (Michaud et al. 2023); in compute with both optimal, α/(α + 2)
/// (Nam et al. 2024). Returned in this order, as positive numbers.
pub fn quantisation_exponents(alpha: f64) -> [f64; 3] {
    [alpha, alpha / (alpha + 1.0), alpha / (alpha + 2.0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn recipes_values_of_500_tasks() {
        let p = zipf_frequencies(500, 1.4);
        for (p, expected) in p.iter().zip([0.345_126, 0.130_778, 0.074_132, 0.049_556, 0.036_259]) {
            assert!((p - expected).abs() < 5e-7);
        }
        let mass = unlearned_mass(&p);
        assert!((mass[0] - 1.0).abs() < 1e-14 && mass[500] == 0.0);
        for (n, expected) in [(10, 0.264_978), (50, 0.107_915), (100, 0.064_669), (250, 0.022_904)] {
            assert!((mass[n] - expected).abs() < 5e-7, "{n}: {}", mass[n]);
        }
        for (found, expected) in quantisation_exponents(0.4).iter().zip([0.4, 0.285_714, 0.166_667]) {
            assert!((found - expected).abs() < 5e-7);
        }
    }

    #[test]
    fn unlearned_mass_of_many_components_is_the_power_law() {
        // Σ_{k>n} k^(−(α+1))/ζ(α+1) → n^(−α)/(αζ(α+1)): 0.805011 n^(−0.4) for α = 0.4, up to (α + 1)/2n.
        // The 2,000,000 components that are summed leave out a tail N^(−α)/(αζ), which is added back.
        let (alpha, n) = (0.4, 2_000_000);
        let p = zipf_frequencies(n, alpha + 1.0);
        let normal: f64 = (1..=n).rev().map(|k| (k as f64).powf(-1.4)).sum();
        let zeta = 3.105_547;
        let tail = (n as f64).powf(-alpha) / (alpha * zeta);
        assert!((normal + tail * zeta - zeta).abs() < 1e-6, "{normal}");
        let mass = unlearned_mass(&p);
        let places = [100usize, 300, 1000, 3000];
        let losses: Vec<f64> = places.iter().map(|&k| mass[k] * normal / zeta + tail).collect();
        for (loss, k) in losses.iter().zip(places) {
            let law = 0.805_011 * (k as f64).powf(-alpha);
            // Σ from n + 1 on is about the integral from n + ½: (1 + 1/2n)^(−α).
            assert!((loss / law - 1.0 + alpha / (2.0 * k as f64)).abs() < 1e-4 + 1.0 / (k * k) as f64, "{loss} {law}");
        }
        let fit = log_log_fit(&places.map(|k| k as f64), &losses).unwrap();
        assert!((fit.slope + alpha).abs() < 2e-3 && fit.explained > 0.9999, "{fit:?}");
    }

    #[test]
    fn standard_errors_of_slopes_are_right() {
        let x: Vec<f64> = (1..=40).map(f64::from).collect();
        let n = 400;
        let mut n_within = 0;
        for seed in 0..n {
            let mut stream = Stream::new(18, 0, seed);
            let y: Vec<f64> = x.iter().map(|x| 2.0 * x.powf(-0.8) * (0.3 * stream.normal()).exp()).collect();
            let fit = log_log_fit(&x, &y).unwrap();
            // Student's t with 38 degrees of freedom.
            n_within += usize::from((fit.slope + 0.8).abs() < 2.024 * fit.slope_error);
        }
        let share = f64::from(n_within as u32) / n as f64;
        assert!((share - 0.95).abs() < 4.0 * (0.95 * 0.05 / n as f64).sqrt(), "{share}");
        assert!(log_log_fit(&[1.0, 1.0], &[1.0, 2.0]).is_err());
        assert!(log_log_fit(&[1.0, 0.0], &[1.0, 2.0]).is_err());
    }
}
