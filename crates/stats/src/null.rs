//! The smooth null of a transition: a power law or a straight line in log time, against a sigmoid.

use std::f64::consts::LN_10;

/// Exponents α of the power laws; 0 stands for the logarithm.
const EXPONENTS: [f64; 17] =
    [-1.0, -0.75, -0.5, -0.25, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.5, 2.0];
/// 10–90 % widths of the sigmoids tried, in decades.
const WIDTHS: [f64; 8] = [0.02, 0.05, 0.1, 0.2, 0.35, 0.6, 1.0, 1.5];
/// Number of centres tried along a candidate.
const N_CENTRES: usize = 15;

/// Best fit of the null, and its Σ (y − fit)² / variance.
#[derive(Debug, Clone)]
pub(crate) struct NullFit {
    pub(crate) fitted: Vec<f64>,
    pub(crate) misfit: f64,
}

/// Least squares over c + A (T + τ)^(−α) with T = step + 1 = e^x, A of either sign, α from −1 (a
/// straight line in the step) over 0 (one in its logarithm) to 2, and offsets 0 ≤ τ ≤ the last T.
///
/// The steepest sigmoid it contains (α = 2) has a 10–90 % width of 1.6 decades: what is sharper is
/// not in it.
pub(crate) fn fit_null(x: &[f64], y: &[f64], variance: &[f64]) -> NullFit {
    let (start, end) = (x[0], x[x.len() - 1]);
    let weights = Weights::new(variance);
    let target = weights.centred(y);
    let total = weights.product(&target, &target);
    let mut best = (total, vec![0.0; x.len()]);
    let n_offsets = (2.0 * (end - start) / LN_10) as i32 + 1;
    for i in 0..=n_offsets {
        // Times relative to the last one, the offset falling by half decades, finally none.
        let offset = if i == n_offsets { 0.0 } else { 10f64.powf(-0.5 * f64::from(i)) };
        let log_times: Vec<f64> = x.iter().map(|x| ((x - end).exp() + offset).ln()).collect();
        for alpha in EXPONENTS {
            let power = |l: &f64| if alpha == 0.0 { *l } else { (-alpha * l).exp() };
            let basis = weights.centred(&log_times.iter().map(power).collect::<Vec<_>>());
            let overlap = weights.product(&basis, &target);
            let amplitude = overlap / weights.product(&basis, &basis);
            let misfit = total - amplitude * overlap;
            if misfit < best.0 {
                best = (misfit, basis.iter().map(|b| amplitude * b).collect());
            }
        }
    }
    let level = weights.mean(y);
    NullFit { misfit: best.0.max(0.0), fitted: best.1.iter().map(|s| level + s).collect() }
}

/// By how much a sigmoid on a straight line, c + B x + A·sigmoid, fits better than the null:
/// the difference of the two Σ (y − fit)² / variance (negative where the null fits better).
///
/// The sigmoid rises or falls as `sign` says, is centred in `range` of x, and is logistic, or a
/// Gompertz curve leaning either way (an exponential relaxation is one of these).
///
/// Evidence below `needed` may be returned as −∞, which spares most of the work in simulations.
pub(crate) fn sigmoid_evidence(
    x: &[f64],
    y: &[f64],
    variance: &[f64],
    range: (f64, f64),
    sign: f64,
    needed: f64,
) -> f64 {
    let weights = Weights::new(variance);
    // Both target and sigmoid are freed of the straight line first, which leaves a fit of one number.
    let abscissa = weights.centred(x);
    let spread = weights.product(&abscissa, &abscissa);
    let without_line = |values: &[f64]| {
        let mut rest = weights.centred(values);
        let slope = weights.product(&rest, &abscissa) / spread;
        for (r, a) in rest.iter_mut().zip(&abscissa) {
            *r -= slope * a;
        }
        rest
    };
    let target = without_line(y);
    let total = weights.product(&target, &target);
    // The null contains the straight line and the sigmoid fits at best perfectly: two bounds.
    if total < needed {
        return f64::NEG_INFINITY;
    }
    let null_misfit = fit_null(x, y, variance).misfit;
    if null_misfit < needed {
        return f64::NEG_INFINITY;
    }
    let mut gain: f64 = 0.0;
    let shapes: [Shape; 3] = [|z| 1.0 / (1.0 + (-z).exp()), |z| (-(-z).exp()).exp(), |z| 1.0 - (-z.exp()).exp()];
    for width in WIDTHS {
        // ln 81 is the 10–90 % width of the logistic curve of unit scale; the others are near.
        let scale = width * LN_10 / 81f64.ln();
        for i in 0..N_CENTRES {
            let share = (i as f64 + 0.5) / N_CENTRES as f64;
            let centre = range.0 + share * (range.1 - range.0);
            for shape in shapes {
                let basis = without_line(&x.iter().map(|x| shape((x - centre) / scale)).collect::<Vec<_>>());
                let overlap = weights.product(&basis, &target);
                let norm = weights.product(&basis, &basis);
                if overlap * sign > 0.0 && norm > 1e-9 * weights.total {
                    gain = gain.max(overlap * overlap / norm);
                }
            }
        }
    }
    null_misfit - (total - gain).max(0.0)
}

type Shape = fn(f64) -> f64;

/// Inverse variances, and the inner product they define.
struct Weights {
    weights: Vec<f64>,
    total: f64,
}

impl Weights {
    fn new(variance: &[f64]) -> Self {
        let weights: Vec<f64> = variance.iter().map(|v| 1.0 / v).collect();
        Self { total: weights.iter().sum(), weights }
    }

    fn mean(&self, values: &[f64]) -> f64 {
        self.weights.iter().zip(values).map(|(w, v)| w * v).sum::<f64>() / self.total
    }

    fn centred(&self, values: &[f64]) -> Vec<f64> {
        let mean = self.mean(values);
        values.iter().map(|v| v - mean).collect()
    }

    fn product(&self, a: &[f64], b: &[f64]) -> f64 {
        self.weights.iter().zip(a).zip(b).map(|((w, a), b)| w * a * b).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Vec<f64> {
        (0..100).map(|i| f64::from(i) * 0.08).collect()
    }

    fn relative_misfit(curve: impl Fn(f64) -> f64) -> f64 {
        let x = grid();
        let y: Vec<f64> = x.iter().map(|&x| curve(x)).collect();
        let fit = fit_null(&x, &y, &vec![1.0; x.len()]);
        let mean = y.iter().sum::<f64>() / y.len() as f64;
        let total: f64 = y.iter().map(|y| (y - mean) * (y - mean)).sum();
        let misfit: f64 = fit.fitted.iter().zip(&y).map(|(f, y)| (f - y) * (f - y)).sum();
        assert!((misfit - fit.misfit).abs() < 1e-9 * total);
        misfit / total
    }

    #[test]
    fn the_null_holds_smooth_curves_and_no_sharp_ones() {
        assert!(relative_misfit(|x| 3.0 - 2.0 * x) < 1e-12);
        assert!(relative_misfit(|x| 1.0 + (-0.5 * x).exp()) < 1e-12);
        // Off the grid of exponents and offsets the misfit stays below half a per cent.
        assert!(relative_misfit(|x| (-0.63 * x).exp()) < 0.005);
        assert!(relative_misfit(|x| (x.exp() + 17.0).powf(-0.45)) < 0.005);
        assert!(relative_misfit(|x| if x > 4.0 { 1.0 } else { 0.0 }) > 0.1);
    }

    #[test]
    fn a_sigmoid_beats_the_null_only_where_there_is_one() {
        let x = grid();
        let evidence = |curve: &dyn Fn(f64) -> f64| {
            let y: Vec<f64> = x.iter().map(|&x| curve(x)).collect();
            sigmoid_evidence(&x, &y, &vec![1e-4; x.len()], (3.0, 5.0), 1.0, f64::NEG_INFINITY)
        };
        assert!(evidence(&|x| (5.0 * (x - 4.0)).tanh()) > 1e4);
        assert!(evidence(&|x| 0.3 * x + (5.0 * (x - 4.0)).tanh()) > 1e4);
        assert!(evidence(&|x| -(-0.5 * x).exp()) < 0.0);
        assert!(evidence(&|x| 0.3 * x).abs() < 1e-6);
    }
}
