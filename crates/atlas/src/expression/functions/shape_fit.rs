//! Least squares of two shapes on a curve: an exponential decay in the step, and a logistic curve in ln(step + 1).

use crate::expression::value::Curve;

/// Places tried of a shape before the best is refined.
const RATES: usize = 200;
const MIDDLES: usize = 60;
const WIDTHS: usize = 30;
/// A rest below this share of the variation is rounding.
const EXACT: f64 = 1e-18;

/// A fitted shape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ShapeFit {
    /// Sum of the squared residuals.
    pub(super) rest: f64,
    /// Sum of the squared distances from the mean.
    pub(super) total: f64,
    /// Of the decay: ln of its rate in 1/step. Of the logistic curve: its middle in ln(step + 1).
    pub(super) place: f64,
    /// Of the logistic curve: ln of its width w in ln(step + 1).
    pub(super) log_width: f64,
}

impl ShapeFit {
    /// Share of the variation that the shape explains.
    pub(super) fn explained(&self) -> f64 {
        1.0 - self.rest / self.total
    }

    /// n ln(rest / n), and ln n for each of so many parameters.
    pub(super) fn bic(&self, n: usize, n_parameters: usize) -> f64 {
        let n = n as f64;
        n * (self.rest.max(EXACT * self.total) / n).ln() + n_parameters as f64 * n.ln()
    }
}

/// a + b exp(−k step): the best k from 0.01 / (all steps) to 20 / (the first interval).
pub(super) fn exponential(curve: &Curve) -> ShapeFit {
    let first = curve.steps[0];
    let elapsed: Vec<f64> = curve.steps.iter().map(|step| step - first).collect();
    let (slowest, fastest) = ((0.01 / elapsed[elapsed.len() - 1]).ln(), (20.0 / elapsed[1]).ln());
    let rest = |[log_rate, _]: [f64; 2]| {
        let rate = log_rate.exp();
        rest_of(&curve.values, elapsed.iter().map(|step| (-rate * step).exp()))
    };
    let grid = (0..RATES).map(|i| [between(slowest, fastest, i, RATES), 0.0]);
    let start = best(grid, &rest);
    let apart = (fastest - slowest) / RATES as f64;
    let [place, _] = descend(start, [apart, 0.0], [(slowest, fastest), (0.0, 0.0)], &rest);
    ShapeFit { rest: rest([place, 0.0]), total: total(&curve.values), place, log_width: 0.0 }
}

/// a + b / (1 + exp((x − m) / w)), x = ln(step + 1): the best m within the run, and w from a quarter of the mean interval to all of it.
pub(super) fn logistic(curve: &Curve) -> ShapeFit {
    let x = curve.log_steps();
    let (start, end) = (x[0], x[x.len() - 1]);
    let span = end - start;
    let (narrow, wide) = ((0.25 * span / (x.len() - 1) as f64).ln(), span.ln());
    let rest = |[middle, log_width]: [f64; 2]| {
        let width = log_width.exp();
        rest_of(&curve.values, x.iter().map(|x| 1.0 / (1.0 + ((x - middle) / width).exp())))
    };
    let grid = (0..MIDDLES * WIDTHS)
        .map(|i| [between(start, end, i % MIDDLES, MIDDLES), between(narrow, wide, i / MIDDLES, WIDTHS)]);
    let place = best(grid, &rest);
    let apart = [span / MIDDLES as f64, (wide - narrow) / WIDTHS as f64];
    let [place, log_width] = descend(place, apart, [(start, end), (narrow, wide)], &rest);
    ShapeFit { rest: rest([place, log_width]), total: total(&curve.values), place, log_width }
}

fn between(from: f64, to: f64, i: usize, n: usize) -> f64 {
    from + (to - from) * i as f64 / (n - 1) as f64
}

fn best(places: impl Iterator<Item = [f64; 2]>, rest: &impl Fn([f64; 2]) -> f64) -> [f64; 2] {
    let rated = places.map(|place| (rest(place), place));
    rated.min_by(|a, b| a.0.total_cmp(&b.0)).map_or([0.0; 2], |found| found.1)
}

/// From a place to better ones in the eight directions, in steps that are halved where none is better.
fn descend(start: [f64; 2], mut step: [f64; 2], bounds: [(f64, f64); 2], rest: &impl Fn([f64; 2]) -> f64) -> [f64; 2] {
    const HALVINGS: usize = 30;
    const MOST_MOVES: usize = 2_000;
    let (mut here, mut least) = (start, rest(start));
    let (mut halvings, mut moves) = (0, 0);
    while halvings < HALVINGS && moves < MOST_MOVES {
        let around = (0..9).filter(|i| *i != 4).map(|i| {
            let along = [f64::from(i % 3 - 1), f64::from(i / 3 - 1)];
            std::array::from_fn(|d| (here[d] + along[d] * step[d]).clamp(bounds[d].0, bounds[d].1))
        });
        let next = best(around, rest);
        let value = rest(next);
        if value < least {
            (here, least, moves) = (next, value, moves + 1);
        } else {
            (step, halvings) = (step.map(|s| 0.5 * s), halvings + 1);
        }
    }
    here
}

/// Σ (y − mean)².
fn total(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    values.iter().map(|value| (value - mean).powi(2)).sum()
}

/// Least Σ (y − a − b g)² over a and b.
fn rest_of(values: &[f64], shape: impl Iterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    let shape: Vec<f64> = shape.collect();
    let (mean_y, mean_g) = (values.iter().sum::<f64>() / n, shape.iter().sum::<f64>() / n);
    let (mut square, mut product) = (0.0, 0.0);
    for (y, g) in values.iter().zip(&shape) {
        square += (g - mean_g).powi(2);
        product += (g - mean_g) * (y - mean_y);
    }
    let b = if square > 0.0 { product / square } else { 0.0 };
    values.iter().zip(&shape).map(|(y, g)| (y - mean_y - b * (g - mean_g)).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(of: impl Fn(f64) -> f64) -> Curve {
        let steps: Vec<f64> = (0..50).map(|i| 1.17_f64.powi(i).round() + f64::from(i) - 1.0).collect();
        let values = steps.iter().map(|step| of(*step)).collect();
        Curve::new(steps, values)
    }

    #[test]
    fn shapes_without_noise_come_back() {
        let decay = exponential(&curve(|step| 3.0 + 2.0 * (-step / 150.0).exp()));
        assert!((decay.place - (1.0 / 150.0_f64).ln()).abs() < 1e-6 && decay.explained() > 1.0 - 1e-12, "{decay:?}");
        let rise = logistic(&curve(|step| 1.0 - 4.0 / (1.0 + ((step.ln_1p() - 5.2) / 0.35).exp())));
        assert!((rise.place - 5.2).abs() < 1e-5 && (rise.log_width - 0.35_f64.ln()).abs() < 1e-4, "{rise:?}");
        assert!(rise.explained() > 1.0 - 1e-9);
    }
}
