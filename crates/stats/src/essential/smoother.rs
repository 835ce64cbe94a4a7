//! Smoothing along a trajectory with a Gaussian kernel whose width may grow with time.

use crate::array_error::{ArrayError, enough, increasing, setting};

/// Kernels are cut off at this many widths, where they are 1e-14.
const REACH: f64 = 8.0;

/// A linear smoother: the value at xᵢ of the straight line fitted around it with the weights
/// exp(−(xⱼ − xᵢ)²/2σᵢ²), where the width σᵢ grows linearly in x from the first point to the last.
///
/// Published analyses let the width grow from 1 to 50 checkpoints over 501 (Hoogland et al. 2024),
/// since late checkpoints move slowly in their noise. At interior points of an even grid this is the
/// Gaussian filter, which damps a wave of frequency ω by exp(−ω²σ²/2). At both ends and on uneven
/// grids a plain kernel mean would pull the curve towards the side with more points; the line keeps
/// straight lines exactly (Fan and Gijbels 1996, §3.2.5), at the price of more variance at the ends.
#[derive(Debug, Clone)]
pub struct Smoother {
    rows: Vec<Row>,
    widths: Vec<f64>,
}

#[derive(Debug, Clone)]
struct Row {
    first: usize,
    weights: Vec<f64>,
}

impl Smoother {
    /// For increasing coordinates `x` (index, or ln(step + 1)), with the widths at the two ends, in
    /// units of `x`. Widths of zero leave values as they are.
    ///
    /// # Errors
    /// No point, coordinates that do not increase, or a negative width.
    pub fn gaussian(x: &[f64], first_width: f64, last_width: f64) -> Result<Self, ArrayError> {
        enough("points", x.len(), 1)?;
        increasing("the coordinate", x)?;
        for width in [first_width, last_width] {
            setting("the width of the kernel", width, width >= 0.0 && width.is_finite(), "0 or a positive number")?;
        }
        let (start, end) = (x[0], x[x.len() - 1]);
        let width_at = |x: f64| {
            let share = if end > start { (x - start) / (end - start) } else { 0.0 };
            first_width + share * (last_width - first_width)
        };
        let widths: Vec<f64> = x.iter().map(|x| width_at(*x)).collect();
        Ok(Self { rows: widths.iter().enumerate().map(|(i, width)| row(x, i, *width)).collect(), widths })
    }

    /// Smoothed values, one for each coordinate.
    ///
    /// # Errors
    /// Another number of values than of coordinates.
    pub fn apply(&self, values: &[f64]) -> Result<Vec<f64>, ArrayError> {
        crate::array_error::length("the series", values.len(), self.rows.len())?;
        Ok(self.smooth(values))
    }

    pub(crate) fn smooth(&self, values: &[f64]) -> Vec<f64> {
        let at = |row: &Row| row.weights.iter().zip(&values[row.first..]).map(|(w, v)| w * v).sum();
        self.rows.iter().map(at).collect()
    }

    /// The width σ at each coordinate.
    pub fn widths(&self) -> &[f64] {
        &self.widths
    }

    /// The weights behind the smoothed value i, and the index of the first of them.
    pub(crate) fn weights(&self, i: usize) -> (usize, &[f64]) {
        (self.rows[i].first, &self.rows[i].weights)
    }
}

fn row(x: &[f64], i: usize, width: f64) -> Row {
    let near = |j: &usize| (x[*j] - x[i]).abs() <= REACH * width;
    let first = (0..i).rev().take_while(near).last().unwrap_or(i);
    let last = (i + 1..x.len()).take_while(near).last().unwrap_or(i);
    if first == last {
        return Row { first, weights: vec![1.0] };
    }
    let distances: Vec<f64> = x[first..=last].iter().map(|x_j| (x_j - x[i]) / width).collect();
    let kernel: Vec<f64> = distances.iter().map(|d| (-d * d / 2.0).exp()).collect();
    let moment = |p: i32| kernel.iter().zip(&distances).map(|(k, d)| k * d.powi(p)).sum::<f64>();
    let (s0, s1, s2) = (moment(0), moment(1), moment(2));
    let determinant = s0 * s2 - s1 * s1;
    // All weight on one point: no line can be fitted, and none is needed.
    if determinant <= 1e-12 * s0 * s0 {
        let weights = kernel.iter().map(|k| k / s0).collect();
        return Row { first, weights };
    }
    let weights = kernel.iter().zip(&distances).map(|(k, d)| k * (s2 - s1 * d) / determinant).collect();
    Row { first, weights }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn straight_lines_are_kept_on_any_grid() {
        let x: Vec<f64> = (0..80).map(|i| (f64::from(i) + 1.0).ln() + 0.003 * f64::from(i * i % 7)).collect();
        let smoother = Smoother::gaussian(&x, 0.05, 0.4).unwrap();
        let line: Vec<f64> = x.iter().map(|x| 3.0 - 2.0 * x).collect();
        for (a, b) in smoother.apply(&line).unwrap().iter().zip(&line) {
            assert!((a - b).abs() < 1e-11, "{a} {b}");
        }
        assert!((smoother.widths()[79] - 0.4).abs() < 1e-12);
    }

    #[test]
    fn waves_are_damped_as_by_a_gaussian_filter() {
        let x: Vec<f64> = (0..400).map(f64::from).collect();
        let (frequency, width) = (0.15, 6.0);
        let smoother = Smoother::gaussian(&x, width, width).unwrap();
        let wave: Vec<f64> = x.iter().map(|x| (frequency * x).sin()).collect();
        let damping = (-(frequency * width).powi(2) / 2.0).exp();
        let smooth = smoother.apply(&wave).unwrap();
        for i in 50..350 {
            // The kernel is cut off where it is 1e-14.
            assert!((smooth[i] - damping * wave[i]).abs() < 1e-12);
        }
    }

    #[test]
    fn no_width_changes_nothing() {
        let x = [0.0, 1.0, 5.0];
        let smoother = Smoother::gaussian(&x, 0.0, 0.0).unwrap();
        assert_eq!(smoother.apply(&[3.0, -1.0, 4.0]).unwrap(), [3.0, -1.0, 4.0]);
        assert!(Smoother::gaussian(&[0.0, 0.0], 1.0, 1.0).is_err());
        assert!(Smoother::gaussian(&x, -1.0, 1.0).is_err());
        assert!(smoother.apply(&[1.0]).is_err());
    }
}
