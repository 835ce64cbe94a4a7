//! A curve as a sum of sigmoids in log step, as many as the data bear.

use super::least_squares::{Evaluated, fit};
use crate::array_error::{ArrayError, enough, finite, increasing, length, setting};
use std::f64::consts::LN_10;

/// ln 81: the 10–90 % span of the logistic curve of unit scale.
const SPAN: f64 = 4.394_449_154_672_439;
/// Bounds of the 10–90 % widths, in decades: narrower ones are steps, wider ones hardly bend.
const WIDTHS: (f64, f64) = (0.02, 3.0);
/// Width at which a fit begins anew, in decades.
const NARROW: f64 = 0.4;
/// Most that all changes together may be, in units of what the curve moves: a sigmoid whose middle is the end of the curve shows
/// half of its change. More are pairs that cancel each other, which can draw any bend and are nothing that the curve does.
const MOST_CHANGE: f64 = 2.0;
/// A residual below this share of the variation is rounding, and no further sigmoid is sought.
const EXACT: f64 = 1e-18;

/// Settings of [`sigmoid_sum`].
#[derive(Debug, Clone, PartialEq)]
pub struct SigmoidSumSettings {
    /// At most so many sigmoids. Default 8.
    pub max_sigmoids: usize,
    /// A further sigmoid must lower BIC by so much. Default 10 ("very strong", Kass and Raftery 1995).
    pub min_gain: f64,
}

impl Default for SigmoidSumSettings {
    fn default() -> Self {
        Self { max_sigmoids: 8, min_gain: 10.0 }
    }
}

/// One term of the sum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sigmoid {
    /// Step of its middle.
    pub step: f64,
    /// 10–90 % width in decades of step + 1.
    pub decades: f64,
    /// Signed change, in units of the curve.
    pub change: f64,
}

/// A curve as a level and sigmoids.
#[derive(Debug, Clone, PartialEq)]
pub struct SigmoidSum {
    /// Level before all changes.
    pub level: f64,
    /// In order of their steps.
    pub sigmoids: Vec<Sigmoid>,
    /// 1 − Σ residual² / Σ (value − mean)²: the share of the variation that the sum explains.
    pub explained: f64,
    /// BIC of 0, 1, 2, … sigmoids, as far as they were tried: n ln(Σ residual²/n) + (3k + 2) ln n.
    pub bic: Vec<f64>,
    /// The fitted values.
    pub fitted: Vec<f64>,
}

/// The sum c + Σ Aₖ σ((x − mₖ)/sₖ), x = ln(step + 1), that fits `values` best in the least-squares sense,
/// with the number of sigmoids by BIC.
///
/// Sigmoids are added one at a time where a search over places and widths finds the largest gain, and
/// all are fitted anew (Levenberg–Marquardt) from three starts, of which the best counts whose changes are together at most
/// twice what the curve moves, Σ |yᵢ₊₁ − yᵢ|. A sum of sigmoids can follow any smooth curve, so a good fit
/// alone says nothing about components: compare the places with transitions of the components
/// ([`component_shares`](crate::component_shares)).
///
/// # Errors
/// Fewer than 8 points, lengths that differ, steps that are negative or do not increase, values that
/// are not finite, or a setting out of range.
pub fn sigmoid_sum(steps: &[f64], values: &[f64], settings: &SigmoidSumSettings) -> Result<SigmoidSum, ArrayError> {
    enough("points of the curve", steps.len(), 8)?;
    length("the values of the curve", values.len(), steps.len())?;
    increasing("the steps", steps)?;
    setting("the first step", steps[0], steps[0] >= 0.0, "0 or more")?;
    finite("the curve", values)?;
    setting("min_gain", settings.min_gain, settings.min_gain >= 0.0, "0 or more")?;
    let x: Vec<f64> = steps.iter().map(|s| s.ln_1p()).collect();
    let n = x.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let total: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
    let bic = |square: f64, k: usize| {
        n * (square.max(EXACT * total).max(f64::MIN_POSITIVE) / n).ln() + (3 * k + 2) as f64 * n.ln()
    };
    let refit = |start: Vec<f64>| fit(values, start, |parameters| evaluate(&x, parameters));
    let path: f64 = values.windows(2).map(|pair| (pair[1] - pair[0]).abs()).sum();
    let is_seen =
        |fit: &(Vec<f64>, f64)| fit.0[1..].chunks_exact(3).map(|p| p[2].abs()).sum::<f64>() <= MOST_CHANGE * path;
    // The best fit of each number of sigmoids so far.
    let mut fits = vec![(vec![mean], total)];
    let mut chosen = 0;
    for k in 1..=settings.max_sigmoids {
        // Fewer values than parameters fit anything; what is fitted to rounding needs no more.
        if 3 * k + 2 > x.len() || fits[k - 1].1 <= EXACT * total || total == 0.0 {
            break;
        }
        let all = starts(&x, values, &fits[k - 1].0, k).map(refit).into_iter().filter(is_seen);
        fits.push(all.fold(fits[k - 1].clone(), |a, b| if b.1 < a.1 { b } else { a }));
        // A fit that got stuck may need one too many to come free: the two nearest are then one.
        if k >= 2 && fits[k].0.len() > 4 {
            let merged = refit(with_nearest_merged(&fits[k].0));
            let fewer = (merged.0.len() - 1) / 3;
            if is_seen(&merged) && merged.1 < fits[fewer].1 {
                fits[fewer] = merged;
            }
        }
        chosen = best_number(&fits, &bic, settings.min_gain);
        if k > chosen + 1 {
            // Two in a row that were not worth it.
            break;
        }
    }
    let bics = fits.iter().enumerate().map(|(k, fit)| bic(fit.1, k)).collect();
    let (parameters, square) = &fits[chosen];
    Ok(describe(&x, parameters, *square, total, bics))
}

/// The number of sigmoids beyond which none lowers BIC by enough.
fn best_number(fits: &[(Vec<f64>, f64)], bic: &impl Fn(f64, usize) -> f64, min_gain: f64) -> usize {
    let mut chosen = 0;
    for k in 1..fits.len() {
        if bic(fits[k].1, k) < bic(fits[chosen].1, chosen) - min_gain {
            chosen = k;
        }
    }
    chosen
}

/// The same sigmoids with the two of them whose middles are nearest made one.
fn with_nearest_merged(parameters: &[f64]) -> Vec<f64> {
    let mut parts: Vec<&[f64]> = parameters[1..].chunks_exact(3).collect();
    parts.sort_by(|a, b| a[0].total_cmp(&b[0]));
    let gap = |i: &usize| parts[i + 1][0] - parts[*i][0];
    let nearest = (0..parts.len() - 1).min_by(|i, j| gap(i).total_cmp(&gap(j))).unwrap_or(0);
    let mut merged = vec![parameters[0]];
    for (i, part) in parts.iter().enumerate().filter(|(i, _)| *i != nearest + 1) {
        let change = if i == nearest { part[2] + parts[i + 1][2] } else { part[2] };
        merged.extend([part[0], part[1], change]);
    }
    merged
}

/// Where the fit of k sigmoids begins: those found so far and one more; the same with the widths of a narrow one,
/// since a single wide sigmoid across two narrow ones does not find back by itself; and k of them dividing the
/// movement of the curve among them.
fn starts(x: &[f64], values: &[f64], before: &[f64], k: usize) -> [Vec<f64>; 3] {
    let more = |mut start: Vec<f64>| {
        let residuals: Vec<f64> = values.iter().zip(evaluate(x, &start).0).map(|(v, m)| v - m).collect();
        start.extend(next_sigmoid(x, &residuals));
        start
    };
    let narrow = free_of_scale(NARROW * LN_10 / SPAN);
    let mut narrowed = before.to_vec();
    narrowed[1..].chunks_exact_mut(3).for_each(|p| p[1] = p[1].min(narrow));
    // The path of a five-point median does not count every bit of noise as movement.
    let calm: Vec<f64> =
        (0..x.len()).map(|i| crate::order::median(&values[i.saturating_sub(2)..(i + 3).min(values.len())])).collect();
    let total: f64 = calm.windows(2).map(|v| (v[1] - v[0]).abs()).sum();
    let mut divided = vec![values[0]];
    let (mut path, mut next) = (0.0, 0);
    for (i, pair) in calm.windows(2).enumerate() {
        path += (pair[1] - pair[0]).abs();
        while next < k && path >= total * (next as f64 + 0.5) / k as f64 {
            divided.extend([x[i], narrow, (calm[calm.len() - 1] - calm[0]) / k as f64]);
            next += 1;
        }
    }
    // Rounding may leave the last of them out.
    while divided.len() < 3 * k + 1 {
        divided.extend([x[x.len() - 1], narrow, 0.0]);
    }
    [more(before.to_vec()), more(narrowed), divided]
}

fn describe(x: &[f64], parameters: &[f64], square: f64, total: f64, bic: Vec<f64>) -> SigmoidSum {
    let mut level = parameters[0];
    let mut sigmoids: Vec<Sigmoid> = parameters[1..]
        .chunks_exact(3)
        .map(|p| {
            let (middle, width, change) = (p[0], scale(p[1]) * SPAN / LN_10, p[2]);
            Sigmoid { step: middle.exp_m1(), decades: width, change }
        })
        .collect();
    sigmoids.sort_by(|a, b| a.step.total_cmp(&b.step));
    let fitted = evaluate(x, parameters).0;
    if sigmoids.is_empty() {
        level = fitted[0];
    }
    SigmoidSum { level, sigmoids, explained: if total > 0.0 { 1.0 - square / total } else { 1.0 }, bic, fitted }
}

/// The scale of a sigmoid from its free parameter: within its bounds, whatever the parameter.
fn scale(free: f64) -> f64 {
    let (low, high) = (WIDTHS.0 * LN_10 / SPAN, WIDTHS.1 * LN_10 / SPAN);
    low * (high / low).powf(logistic(free))
}

fn free_of_scale(scale: f64) -> f64 {
    let (low, high) = (WIDTHS.0 * LN_10 / SPAN, WIDTHS.1 * LN_10 / SPAN);
    let share = ((scale / low).ln() / (high / low).ln()).clamp(0.02, 0.98);
    (share / (1.0 - share)).ln()
}

fn logistic(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// Values and derivatives by level, and middle, free width and change of each sigmoid.
fn evaluate(x: &[f64], parameters: &[f64]) -> Evaluated {
    let mut values = Vec::with_capacity(x.len());
    let mut jacobian = Vec::with_capacity(x.len() * parameters.len());
    let (low, high) = (WIDTHS.0, WIDTHS.1);
    for x in x {
        let mut value = parameters[0];
        jacobian.push(1.0);
        for p in parameters[1..].chunks_exact(3) {
            let (middle, free, change) = (p[0], p[1], p[2]);
            let scale = scale(free);
            let z = (x - middle) / scale;
            let height = logistic(z);
            let slope = change * height * (1.0 - height);
            let growth = (high / low).ln() * logistic(free) * (1.0 - logistic(free));
            value += change * height;
            jacobian.extend([-slope / scale, -slope * z * growth, height]);
        }
        values.push(value);
    }
    (values, jacobian)
}

/// The sigmoid, with a level of its own, that takes most off the residuals: middles between all points, six widths.
fn next_sigmoid(x: &[f64], residuals: &[f64]) -> [f64; 3] {
    let n = x.len() as f64;
    let mean = residuals.iter().sum::<f64>() / n;
    let mut best = (0.0, [x[x.len() / 2], 0.0, 0.0]);
    let stride = (x.len() / 200).max(1);
    for pair in x.windows(2).step_by(stride) {
        let middle = f64::midpoint(pair[0], pair[1]);
        for decades in [0.05, 0.1, 0.2, 0.4, 0.8, 1.6] {
            let scale = decades * LN_10 / SPAN;
            let heights: Vec<f64> = x.iter().map(|x| logistic((x - middle) / scale)).collect();
            let level = heights.iter().sum::<f64>() / n;
            let square: f64 = heights.iter().map(|h| (h - level) * (h - level)).sum();
            let overlap: f64 = heights.iter().zip(residuals).map(|(h, r)| (h - level) * (r - mean)).sum();
            if square > 1e-9 && overlap * overlap / square > best.0 {
                best = (overlap * overlap / square, [middle, free_of_scale(scale), overlap / square]);
            }
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    fn curve(n: usize, parts: &[(f64, f64, f64)], level: f64, noise: f64) -> (Vec<f64>, Vec<f64>) {
        let mut stream = Stream::new(14, 0, parts.len() as u64);
        let steps: Vec<f64> = (0..n).map(|i| 1e5f64.powf(i as f64 / (n - 1) as f64)).collect();
        let at = |step: f64| {
            let part = |&(middle, decades, change): &(f64, f64, f64)| {
                change * logistic((step.ln_1p() - middle.ln_1p()) * SPAN / (decades * LN_10))
            };
            level + parts.iter().map(part).sum::<f64>()
        };
        let values = steps.iter().map(|s| at(*s) + noise * stream.normal()).collect();
        (steps, values)
    }

    /// The test loss of a run of the preset `skill-sigmoids` (small scale, seed 0): skills learned one after another (Nam et al. 2024),
    /// each with a loss that is no sigmoid in log step. Pairs that cancel followed it best: −1.49 at step 129 and +1.35 at 133.
    const SKILLS: [(u32, f64); 56] = [
        (0, 0.490_050_02),
        (1, 0.489_769_36),
        (2, 0.489_476_92),
        (3, 0.489_172_14),
        (4, 0.488_854_5),
        (5, 0.488_523_44),
        (7, 0.487_818_57),
        (8, 0.487_443_57),
        (10, 0.486_645_04),
        (13, 0.485_315_27),
        (16, 0.483_808_49),
        (20, 0.481_483_6),
        (24, 0.478_740_47),
        (30, 0.473_685_64),
        (37, 0.466_034_07),
        (46, 0.452_673_24),
        (57, 0.429_608_61),
        (70, 0.391_734_95),
        (87, 0.330_825_29),
        (108, 0.267_859_78),
        (133, 0.235_547_91),
        (165, 0.220_857_19),
        (200, 0.205_696_89),
        (204, 0.203_774_78),
        (252, 0.179_678_45),
        (312, 0.156_101_88),
        (386, 0.141_207_53),
        (400, 0.139_133_71),
        (477, 0.128_180_31),
        (590, 0.113_217_09),
        (600, 0.112_063_25),
        (730, 0.099_728_436),
        (800, 0.094_390_609),
        (903, 0.087_339_229),
        (1000, 0.081_469_505),
        (1117, 0.075_364_19),
        (1200, 0.071_615_262),
        (1381, 0.064_900_613),
        (1400, 0.064_300_403),
        (1600, 0.058_928_465),
        (1709, 0.056_526_923),
        (1800, 0.054_676_535),
        (2000, 0.050_787_551),
        (2113, 0.048_578_583),
        (2200, 0.046_846_837),
        (2400, 0.042_779_776),
        (2600, 0.038_715_455),
        (2614, 0.038_436_155),
        (2800, 0.034_851_24),
        (3000, 0.031_356_337),
        (3200, 0.028_321_144),
        (3234, 0.027_852_382),
        (3400, 0.025_751_618),
        (3600, 0.023_594_745),
        (3800, 0.021_773_37),
        (4000, 0.020_212_921),
    ];

    #[test]
    fn a_fall_is_not_made_of_rises_that_cancel() {
        let (steps, values): (Vec<f64>, Vec<f64>) = SKILLS.iter().map(|&(step, loss)| (f64::from(step), loss)).unzip();
        let found = sigmoid_sum(&steps, &values, &SigmoidSumSettings::default()).unwrap();
        let changes: f64 = found.sigmoids.iter().map(|s| s.change.abs()).sum();
        assert!(changes <= 2.0 * (values[0] - values[values.len() - 1]), "{:?}", found.sigmoids);
        assert!(found.explained > 0.999, "{}", found.explained);
    }

    #[test]
    fn planted_sigmoids_are_found_exactly_without_noise() {
        let parts = [(20.0, 0.3, -2.0), (600.0, 0.2, -1.0), (9_000.0, 0.6, -0.5)];
        let (steps, values) = curve(200, &parts, 5.0, 0.0);
        let found = sigmoid_sum(&steps, &values, &SigmoidSumSettings::default()).unwrap();
        assert_eq!(found.sigmoids.len(), 3, "{found:?}");
        assert!((found.level - 5.0).abs() < 1e-5 && found.explained > 1.0 - 1e-10);
        for (s, (step, decades, change)) in found.sigmoids.iter().zip(parts) {
            assert!((s.step / step - 1.0).abs() < 1e-4 && (s.decades / decades - 1.0).abs() < 1e-4);
            assert!((s.change - change).abs() < 1e-4, "{s:?}");
        }
    }

    #[test]
    fn noise_hides_no_clear_part_and_makes_none() {
        let parts = [(30.0, 0.3, -2.0), (3_000.0, 0.3, -1.0)];
        let (steps, values) = curve(150, &parts, 5.0, 0.05);
        let found = sigmoid_sum(&steps, &values, &SigmoidSumSettings::default()).unwrap();
        assert_eq!(found.sigmoids.len(), 2, "{found:?}");
        for (s, (step, _, change)) in found.sigmoids.iter().zip(parts) {
            // The middle has a standard error of about noise/(slope √points within): 0.01 in ln step here.
            assert!((s.step / step).ln().abs() < 0.08 && (s.change - change).abs() < 0.08, "{s:?}");
        }
        let mut n_false = 0;
        for seed in 0..100 {
            let mut stream = Stream::new(15, 0, seed);
            let noise: Vec<f64> = steps.iter().map(|_| stream.normal()).collect();
            let found = sigmoid_sum(&steps, &noise, &SigmoidSumSettings::default()).unwrap();
            n_false += usize::from(!found.sigmoids.is_empty());
        }
        // A gain of 10 beyond 3 ln n is a χ² of 25 for some 150·6 correlated sigmoids: well below 1 %.
        assert!(n_false <= 3, "{n_false}");
    }

    #[test]
    fn constants_and_short_curves() {
        let steps: Vec<f64> = (1..20).map(f64::from).collect();
        let found = sigmoid_sum(&steps, &[2.0; 19], &SigmoidSumSettings::default()).unwrap();
        assert!(found.sigmoids.is_empty() && found.explained == 1.0 && found.level == 2.0);
        assert!(sigmoid_sum(&steps[..5], &[0.0; 5], &SigmoidSumSettings::default()).is_err());
        assert!(sigmoid_sum(&steps, &[0.0; 5], &SigmoidSumSettings::default()).is_err());
    }
}
