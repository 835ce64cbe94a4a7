//! The smooth null of a transition: a power law or a straight line in log time, against a sigmoid.

use crate::noise::Whitener;
use std::f64::consts::LN_10;
use std::ops::Range;

/// 10–90 % widths of the sigmoids tried, in decades.
const WIDTHS: [f64; 8] = [0.02, 0.05, 0.1, 0.2, 0.35, 0.6, 1.0, 1.5];
/// Most centres tried along a candidate.
const MAX_CENTRES: f64 = 15.0;

/// Best fit of the null, and its misfit (y − fit)ᵀ Σ⁻¹ (y − fit).
#[derive(Debug, Clone)]
pub(crate) struct NullFit {
    pub(crate) fitted: Vec<f64>,
    pub(crate) misfit: f64,
}

/// Generalised least squares over c + A (T + τ)^(−α) with T = step + 1 = e^x, A of either sign, α
/// from −1 (a straight line in the step) over 0 (one in its logarithm) to 2, and offsets
/// 0 ≤ τ ≤ the last T. `x` and `y` are a stretch of the points of the whitener.
///
/// The steepest sigmoid it contains (α = 2) has a 10–90 % width of 1.6 decades: what is sharper is
/// not in it.
pub(crate) fn fit_null(x: &[f64], y: &[f64], whitener: &Whitener, stretch: &Range<usize>) -> NullFit {
    let one = whitener.apply(stretch, &vec![1.0; x.len()]);
    let one_square = product(&one, &one);
    let whitened = whitener.apply(stretch, y);
    let level = product(&one, &whitened) / one_square;
    let target: Vec<f64> = whitened.iter().zip(&one).map(|(w, o)| w - level * o).collect();
    let mut best = NullFit { misfit: product(&target, &target), fitted: vec![level; x.len()] };
    let total = best.misfit;
    let (start, end) = (x[0], x[x.len() - 1]);
    let n_offsets = (2.0 * (end - start) / LN_10) as i32 + 1;
    for i in 0..=n_offsets {
        // Times relative to the last one, the offset falling by half decades, finally none.
        let offset = if i == n_offsets { 0.0 } else { 10f64.powf(-0.5 * f64::from(i)) };
        let log_times: Vec<f64> = x.iter().map(|x| ((x - end).exp() + offset).ln()).collect();
        for basis in powers(&log_times) {
            let whitened = whitener.apply(stretch, &basis);
            let along = product(&one, &whitened) / one_square;
            // The target is free of the constant, so only the square of the basis needs freeing.
            let overlap = product(&whitened, &target);
            let square = product(&whitened, &whitened) - along * along * one_square;
            let misfit = total - overlap * overlap / square;
            if misfit < best.misfit && square > 1e-12 * along * along * one_square {
                let amplitude = overlap / square;
                let fitted = basis.iter().map(|b| level + amplitude * (b - along)).collect();
                best = NullFit { fitted, misfit };
            }
        }
    }
    best.misfit = best.misfit.max(0.0);
    best
}

/// The logarithm l, and e^(−αl) for α = −1, −3/4, ..., −1/4, 1/10, 2/10, ..., 1, 3/2 and 2.
fn powers(log_times: &[f64]) -> Vec<Vec<f64>> {
    let exponential = |alpha: f64| -> Vec<f64> { log_times.iter().map(|l| (-alpha * l).exp()).collect() };
    let times = |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a * b).collect() };
    let (growing, falling) = (exponential(-0.25), exponential(0.1));
    let mut found = vec![log_times.to_vec(), growing.clone(), falling.clone()];
    for _ in 0..3 {
        found.insert(1, times(&found[1], &growing));
    }
    for _ in 0..9 {
        found.push(times(&found[found.len() - 1], &falling));
    }
    let (half, whole) = (&found[9], &found[14]);
    let steepest = [times(half, whole), times(whole, whole)];
    found.extend(steepest);
    found
}

/// By how much a sigmoid on a straight line, c + B x + A·sigmoid, fits better than the null:
/// the difference of the two misfits (negative where the null fits better), which is twice the
/// logarithm of the ratio of the likelihoods.
///
/// The sigmoid rises or falls as `sign` says, is centred in `range` of x, and is logistic, or a
/// Gompertz curve leaning either way (an exponential relaxation is one of these).
///
/// Evidence below `needed` may be returned as −∞, which spares most of the work in simulations.
pub(crate) fn sigmoid_evidence(
    x: &[f64],
    y: &[f64],
    whitener: &Whitener,
    stretch: &Range<usize>,
    range: (f64, f64),
    sign: f64,
    needed: f64,
) -> f64 {
    // Both target and sigmoid are freed of the straight line first, which leaves a fit of one number.
    let mut one = whitener.apply(stretch, &vec![1.0; x.len()]);
    let weight = product(&one, &one);
    normalise(&mut one);
    let mut line = whitener.apply(stretch, x);
    remove(&mut line, &one);
    normalise(&mut line);
    let mut target = whitener.apply(stretch, y);
    remove(&mut target, &one);
    remove(&mut target, &line);
    let total = product(&target, &target);
    // The null contains the straight line and the sigmoid fits at best perfectly: two bounds.
    if total < needed {
        return f64::NEG_INFINITY;
    }
    let null_misfit = fit_null(x, y, whitener, stretch).misfit;
    if null_misfit < needed {
        return f64::NEG_INFINITY;
    }
    let mut gain: f64 = 0.0;
    let mut sigmoid = vec![0.0; x.len()];
    for width in WIDTHS {
        // ln 81 is the 10–90 % width of the logistic curve of unit scale; the others are near.
        let scale = width * LN_10 / 81f64.ln();
        // Centres a quarter of the width apart are near enough.
        let n_centres = (4.0 * (range.1 - range.0) / (width * LN_10)).ceil().clamp(3.0, MAX_CENTRES) as usize;
        for i in 0..n_centres {
            let share = (i as f64 + 0.5) / n_centres as f64;
            let centre = range.0 + share * (range.1 - range.0);
            for shape in shapes() {
                for (height, x) in sigmoid.iter_mut().zip(x) {
                    *height = shape.at((x - centre) / scale);
                }
                let basis = whitener.apply(stretch, &sigmoid);
                let overlap = product(&basis, &target);
                let (along_one, along_line) = (product(&basis, &one), product(&basis, &line));
                let norm = product(&basis, &basis) - along_one * along_one - along_line * along_line;
                if overlap * sign > 0.0 && norm > 1e-9 * weight {
                    gain = gain.max(overlap * overlap / norm);
                }
            }
        }
    }
    null_misfit - (total - gain).max(0.0)
}

/// A sigmoid from 0 to 1, tabulated: a straight line between two of its values is within 1e-5.
struct Shape(Vec<f64>);

/// The tables reach from −REACH to REACH, beyond which the shapes are within 1e-15 of their ends.
const REACH: f64 = 36.0;
const PER_UNIT: f64 = 64.0;

impl Shape {
    fn new(shape: fn(f64) -> f64) -> Self {
        Self((0..=(2.0 * REACH * PER_UNIT) as u32).map(|i| shape(f64::from(i) / PER_UNIT - REACH)).collect())
    }

    fn at(&self, z: f64) -> f64 {
        let place = (z.clamp(-REACH, REACH) + REACH) * PER_UNIT;
        let below = (place as usize).min(self.0.len() - 2);
        let (left, right) = (self.0[below], self.0[below + 1]);
        left + (right - left) * (place - below as f64)
    }
}

/// The logistic curve, and the Gompertz curve leaning either way.
fn shapes() -> &'static [Shape; 3] {
    static SHAPES: std::sync::OnceLock<[Shape; 3]> = std::sync::OnceLock::new();
    SHAPES.get_or_init(|| {
        let curves: [fn(f64) -> f64; 3] =
            [|z| 1.0 / (1.0 + (-z).exp()), |z| (-(-z).exp()).exp(), |z| 1.0 - (-z.exp()).exp()];
        curves.map(Shape::new)
    })
}

fn product(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn normalise(v: &mut [f64]) {
    let length = product(v, v).sqrt();
    for v in v.iter_mut() {
        *v /= length;
    }
}

/// Takes the part along the unit vector `u` off `v`.
fn remove(v: &mut [f64], u: &[f64]) {
    let along = product(v, u);
    v.iter_mut().zip(u).for_each(|(v, u)| *v -= along * u);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;

    fn even(n: usize, deviation: f64) -> Whitener {
        Whitener::new(&Noise { deviation: vec![deviation; n], correlation: vec![0.0; n] })
    }

    fn grid() -> Vec<f64> {
        (0..100).map(|i| f64::from(i) * 0.08).collect()
    }

    fn relative_misfit(curve: impl Fn(f64) -> f64) -> f64 {
        let x = grid();
        let y: Vec<f64> = x.iter().map(|&x| curve(x)).collect();
        let fit = fit_null(&x, &y, &even(x.len(), 1.0), &(0..x.len()));
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
            sigmoid_evidence(&x, &y, &even(x.len(), 0.01), &(0..x.len()), (3.0, 5.0), 1.0, f64::NEG_INFINITY)
        };
        assert!(evidence(&|x| (5.0 * (x - 4.0)).tanh()) > 1e4);
        assert!(evidence(&|x| 0.3 * x + (5.0 * (x - 4.0)).tanh()) > 1e4);
        assert!(evidence(&|x| -(-0.5 * x).exp()) < 0.0);
        assert!(evidence(&|x| 0.3 * x).abs() < 1e-6);
    }
}
