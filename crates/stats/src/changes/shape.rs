//! Is a curve a sigmoid in log time, or a power law or another smooth curve?

use super::interval::circular_blocks;
use super::significance::first_order;
use crate::noise::{Noise, NoiseModel, Whitener};
use crate::null::fit_null;
use crate::random::Stream;
use crate::series::{LogSeries, Series, SeriesError, step_at};
use std::f64::consts::LN_10;

/// Fewest points of the test.
const MIN_POINTS: usize = 12;
/// Longer series are averaged in this many bins of ln(step + 1).
const MAX_POINTS: usize = 150;
/// Structure below this share of the range of the values is not looked for; it counts as noise.
const RESOLUTION: f64 = 0.01;
/// 10–90 % widths of the sigmoids tried first, in decades, and their bounds: any power law has at least 1.6.
const WIDTHS: [f64; 6] = [0.03, 0.08, 0.2, 0.4, 0.7, 1.1];
const NARROWEST: f64 = 0.01;
const WIDEST: f64 = 1.5;
/// Most centres tried of one width.
const MAX_CENTRES: usize = 40;
/// Rounds of improvement of the best sigmoid.
const REFINEMENTS: usize = 14;
/// Most knots of the smooth curve, its ends included.
const MAX_KNOTS: usize = 8;
/// Parameters of a sigmoid on a straight line (level, slope, size, centre, width) and of a power law (level,
/// size, exponent, offset).
const SIGMOID_PARAMETERS: f64 = 5.0;
const POWER_PARAMETERS: f64 = 4.0;
/// Simulations that reach the evidence, after which its p-value is known well enough.
const ENOUGH: usize = 20;
/// Purpose of the random streams.
const NULL_STREAM: u64 = 23;

/// Settings of [`shape_test`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShapeSettings {
    /// Most resampled series behind the p-value. Default 199.
    pub draws: usize,
    /// Neighbouring residuals, freed of their autoregression, that stay together. Default 5.
    pub block: usize,
    /// Seed. Default 0.
    pub seed: u64,
}

impl Default for ShapeSettings {
    fn default() -> Self {
        Self { draws: 199, block: 5, seed: 0 }
    }
}

/// A sigmoid against smooth curves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShapeTest {
    /// BIC of the better smooth curve less that of the sigmoid; above 10 is very strong evidence (Kass and
    /// Raftery 1995) for the sigmoid, before any search over series.
    pub delta_bic: f64,
    /// BIC of the power law less that of the sigmoid.
    pub delta_bic_power_law: f64,
    /// BIC of the spline less that of the sigmoid.
    pub delta_bic_spline: f64,
    /// Probability of as large a `delta_bic` were the better smooth curve the truth, by resampling; at
    /// least 1 / (draws + 1), and 1 where a smooth curve has the smaller BIC.
    pub p_value: f64,
    /// Training step at the middle of the best sigmoid.
    pub step: f64,
    /// Its 10–90 % width in decades of step + 1.
    pub width_decades: f64,
}

/// Compares a logistic curve in x = ln(step + 1) on a straight line with a power law c + A (T + τ)^(−α)
/// and with natural cubic splines of 2 to 8 knots, by generalised least squares in autoregressive noise,
/// and asks of resampled series how surprising the difference is.
///
/// BIC = misfit + k ln n. The noise is that of the transition detector (`docs/detector.md`, step 2). Series
/// under the null are the better smooth curve plus its residuals, freed of their autoregression, resampled in
/// circular blocks and given the autoregression back (Bühlmann 1997; Politis and Romano 1992); each is
/// examined in the same way. Resampling ends after 20 that are as large (Besag and Clifford 1991).
///
/// It asks for one sigmoid in the whole series. For several, and for where they are, there is
/// [`transitions`](crate::transitions).
///
/// # Errors
/// Fewer than 12 points, or a setting out of range.
pub fn shape_test(series: &Series, settings: &ShapeSettings) -> Result<ShapeTest, SeriesError> {
    for (name, value) in [("draws", settings.draws), ("block", settings.block)] {
        if value == 0 {
            return Err(SeriesError::BadSetting { name, value: 0.0, range: "at least 1" });
        }
    }
    let log = series.in_log_time(MIN_POINTS, MAX_POINTS)?;
    let model = NoiseModel::new(&log);
    let bench = Bench { log: &log, model: &model, splines: splines(&log.x) };
    let found = bench.compare(&log.y);
    let mut test = ShapeTest {
        delta_bic: found.delta_bic(),
        delta_bic_power_law: found.power_law.0 - found.sigmoid,
        delta_bic_spline: found.spline.0 - found.sigmoid,
        p_value: 1.0,
        step: step_at(found.centre),
        width_decades: found.width,
    };
    if test.delta_bic > 0.0 {
        test.p_value = bench.p_value(&found, settings);
    }
    Ok(test)
}

/// A series, its noise model, and the bases of all splines over its points.
struct Bench<'a> {
    log: &'a LogSeries,
    model: &'a NoiseModel<'a>,
    splines: Vec<Vec<Vec<f64>>>,
}

/// BICs of the three, the fitted smooth curves, and the sigmoid.
struct Comparison {
    sigmoid: f64,
    power_law: (f64, Vec<f64>),
    spline: (f64, Vec<f64>),
    centre: f64,
    width: f64,
    noise: Noise,
}

impl Comparison {
    fn delta_bic(&self) -> f64 {
        self.power_law.0.min(self.spline.0) - self.sigmoid
    }

    /// The better smooth curve.
    fn smooth(&self) -> &[f64] {
        if self.power_law.0 <= self.spline.0 { &self.power_law.1 } else { &self.spline.1 }
    }
}

impl Bench<'_> {
    fn compare(&self, y: &[f64]) -> Comparison {
        let (x, n) = (&self.log.x, y.len());
        let range =
            y.iter().copied().fold(f64::NEG_INFINITY, f64::max) - y.iter().copied().fold(f64::INFINITY, f64::min);
        // A constant has no scale of its own.
        let floor = if range > 0.0 { RESOLUTION * range } else { 1.0 };
        let noise = self.model.noise(y, self.model.coefficient(y, floor)).with_floor(floor);
        let whitener = Whitener::new(&noise);
        let (all, price) = (0..n, (n as f64).ln());
        let null = fit_null(x, y, &whitener, &all);
        let target = whitener.apply(&all, y);
        let mut spline = (f64::INFINITY, vec![]);
        for columns in &self.splines {
            let (misfit, fitted) = least_squares(columns, &target, &whitener);
            let bic = misfit + price * columns.len() as f64;
            if bic < spline.0 {
                spline = (bic, fitted);
            }
        }
        let (misfit, centre, width) = self.best_sigmoid(&target, &whitener);
        Comparison {
            sigmoid: misfit + SIGMOID_PARAMETERS * price,
            power_law: (null.misfit + POWER_PARAMETERS * price, null.fitted),
            spline,
            centre,
            width,
            noise,
        }
    }

    /// Misfit, centre in x and width in decades of the best logistic curve on a straight line: the best of a
    /// grid, improved by a pattern search (Hooke and Jeeves 1961).
    fn best_sigmoid(&self, target: &[f64], whitener: &Whitener) -> (f64, f64, f64) {
        let (x, n) = (&self.log.x, target.len());
        let all = 0..n;
        let mut units: Vec<Vec<f64>> = vec![];
        for column in [vec![1.0; n], x.clone()] {
            let mut whitened = whitener.apply(&all, &column);
            remove(&mut whitened, &units);
            normalise(&mut whitened);
            units.push(whitened);
        }
        let mut rest = target.to_vec();
        remove(&mut rest, &units);
        let total = product(&rest, &rest);
        let mut curve = vec![0.0; n];
        let mut misfit = |centre: f64, log_width: f64| {
            // ln 81 is the 10–90 % width of the logistic curve of unit scale.
            let scale = log_width.exp() * LN_10 / 81f64.ln();
            for (height, x) in curve.iter_mut().zip(x) {
                *height = 1.0 / (1.0 + (-(x - centre) / scale).exp());
            }
            let mut basis = whitener.apply(&all, &curve);
            let before = product(&basis, &basis);
            remove(&mut basis, &units);
            let (norm, overlap) = (product(&basis, &basis), product(&basis, &rest));
            if norm > 1e-9 * before { total - overlap * overlap / norm } else { total }
        };
        let (first, last) = (x[1], x[n - 2]);
        let mut best = (total, f64::midpoint(first, last), WIDTHS[0].ln());
        for width in WIDTHS {
            // Half a width apart, or as far as the points are.
            let fine = (2.0 * (last - first) / (width * LN_10)).ceil() as usize;
            let n_centres = fine.clamp(4, MAX_CENTRES.min(n));
            for i in 0..n_centres {
                // Of few centres each lies between two points: spread over the points, not over x.
                let place = 1.0 + (i as f64 + 0.5) / n_centres as f64 * (n - 3) as f64;
                let (left, part) = (place as usize, place.fract());
                let centre = x[left] + part * (x[left + 1] - x[left]);
                let value = misfit(centre, width.ln());
                if value < best.0 {
                    best = (value, centre, width.ln());
                }
            }
        }
        let (mut centre_step, mut width_step) = (0.25 * best.2.exp() * LN_10, 0.3);
        for _ in 0..REFINEMENTS {
            let mut moved = false;
            for (up, wider) in [(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)] {
                let centre = (best.1 + up * centre_step).clamp(first, last);
                let log_width = (best.2 + wider * width_step).clamp(NARROWEST.ln(), WIDEST.ln());
                let value = misfit(centre, log_width);
                if value < best.0 {
                    best = (value, centre, log_width);
                    moved = true;
                }
            }
            if !moved {
                (centre_step, width_step) = (0.5 * centre_step, 0.5 * width_step);
            }
        }
        (best.0.max(0.0), best.1, best.2.exp())
    }

    fn p_value(&self, found: &Comparison, settings: &ShapeSettings) -> f64 {
        let n = self.log.y.len();
        let smooth = found.smooth();
        let rest: Vec<f64> = self.log.y.iter().zip(smooth).map(|(y, s)| y - s).collect();
        // Were the null true its residuals would show the noise best (a standard error is added); they take a
        // sigmoid for noise, so they are believed up to three standard errors above the robust estimate.
        let scaled: Vec<f64> = rest.iter().zip(&found.noise.deviation).map(|(r, d)| r / d).collect();
        let error = |phi: f64| ((1.0 - phi * phi).max(0.0) / n as f64).sqrt();
        let of_null = first_order(&scaled, POWER_PARAMETERS).max(0.0);
        let robust = self.model.phi(self.model.coefficient(&self.log.y, 0.0));
        let phi = (of_null + error(of_null)).min(robust + 3.0 * error(robust));
        // Of the coefficients on the grid the one above: too little correlation makes false positives.
        let above = self.model.index_of(phi - 1e-6) + 1;
        let noise = self.model.noise(&self.log.y, above.min(self.model.n_coefficients() - 1));
        let least = 1e-9 * found.noise.deviation.iter().copied().fold(0.0, f64::max);
        let noise = noise.with_floor(least.max(f64::MIN_POSITIVE));
        let innovations = Whitener::new(&noise).apply(&(0..n), &rest);
        let (mut reached, mut n_draws) = (0, 0);
        while n_draws < settings.draws && reached < ENOUGH {
            let mut stream = Stream::new(settings.seed, NULL_STREAM, n_draws as u64);
            let order = circular_blocks(n, settings.block, &mut stream);
            let mut last = 0.0;
            let y: Vec<f64> = (0..n)
                .map(|i| {
                    let correlation = noise.correlation[i];
                    last = correlation * last + (1.0 - correlation * correlation).sqrt() * innovations[order[i]];
                    smooth[i] + noise.deviation[i] * last
                })
                .collect();
            reached += usize::from(self.compare(&y).delta_bic() >= found.delta_bic());
            n_draws += 1;
        }
        if reached == ENOUGH { ENOUGH as f64 / n_draws as f64 } else { (reached + 1) as f64 / (n_draws + 1) as f64 }
    }
}

/// The bases of natural cubic splines with 2, 3, ... knots, evenly spread over the points (Hastie, Tibshirani
/// and Friedman 2009, eqs. 5.4 and 5.5).
fn splines(x: &[f64]) -> Vec<Vec<Vec<f64>>> {
    let n = x.len();
    let (start, span) = (x[0], x[n - 1] - x[0]);
    let u: Vec<f64> = x.iter().map(|x| (x - start) / span).collect();
    let basis = |n_knots: usize| {
        let knots: Vec<f64> = (0..n_knots).map(|k| u[k * (n - 1) / (n_knots - 1)]).collect();
        let last = knots[n_knots - 1];
        let cube = |v: f64| v.max(0.0).powi(3);
        let bend = |k: usize, v: f64| (cube(v - knots[k]) - cube(v - last)) / (last - knots[k]);
        let mut columns = vec![vec![1.0; n], u.clone()];
        for k in 0..n_knots - 2 {
            columns.push(u.iter().map(|&v| bend(k, v) - bend(n_knots - 2, v)).collect());
        }
        columns
    };
    (2..=MAX_KNOTS.min(n / 3)).map(basis).collect()
}

/// Misfit and fitted values of the whitened target on columns, by Gram–Schmidt.
fn least_squares(columns: &[Vec<f64>], target: &[f64], whitener: &Whitener) -> (f64, Vec<f64>) {
    let n = target.len();
    // Each unit vector with the same combination of the unwhitened columns.
    let (mut units, mut curves): (Vec<Vec<f64>>, Vec<Vec<f64>>) = (vec![], vec![]);
    let mut rest = target.to_vec();
    let mut fitted = vec![0.0; n];
    for column in columns {
        let (mut unit, mut curve) = (whitener.apply(&(0..n), column), column.clone());
        let before = product(&unit, &unit);
        for _ in 0..2 {
            for (u, c) in units.iter().zip(&curves) {
                let along = product(&unit, u);
                add(&mut unit, -along, u);
                add(&mut curve, -along, c);
            }
        }
        let length = product(&unit, &unit).sqrt();
        if length * length > 1e-20 * before {
            for v in unit.iter_mut().chain(&mut curve) {
                *v /= length;
            }
            let along = product(&rest, &unit);
            add(&mut rest, -along, &unit);
            add(&mut fitted, along, &curve);
            units.push(unit);
            curves.push(curve);
        }
    }
    (product(&rest, &rest), fitted)
}

fn product(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(v: &mut [f64], factor: f64, u: &[f64]) {
    for (v, u) in v.iter_mut().zip(u) {
        *v += factor * u;
    }
}

fn normalise(v: &mut [f64]) {
    let length = product(v, v).sqrt();
    for v in v {
        *v /= length;
    }
}

/// Takes the parts along unit vectors off `v`.
fn remove(v: &mut [f64], units: &[Vec<f64>]) {
    for unit in units {
        let along = product(v, unit);
        add(v, -along, unit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(noise: f64, seed: u64, height: impl Fn(f64) -> f64) -> Series {
        let mut stream = Stream::new(seed, 51, 0);
        let steps: Vec<f64> = (0..80).map(|i| 10f64.powf(0.05 * f64::from(i)).round() + f64::from(i)).collect();
        let values = steps.iter().map(|t| height(t.ln_1p()) + noise * stream.normal()).collect();
        Series::new(steps, values).unwrap()
    }

    fn sigmoid(x: f64) -> f64 {
        1.0 / (1.0 + (-4.0 * (x - 5.0)).exp())
    }

    #[test]
    fn sigmoids_and_smooth_curves_are_told_apart() {
        let settings = ShapeSettings { draws: 39, ..ShapeSettings::default() };
        let test = shape_test(&curve(0.05, 1, |x| 3.0 - 2.0 * sigmoid(x)), &settings).unwrap();
        assert!(test.delta_bic > 10.0 && test.p_value <= 0.05, "{test:?}");
        // Width ln 81 / 4 / ln 10 = 0.48 decades about e⁵ − 1.
        assert!((test.width_decades - 0.48).abs() < 0.25 && (test.step.ln_1p() - 5.0).abs() < 0.2, "{test:?}");
        let test = shape_test(&curve(0.05, 2, |x| 2.0 * (-0.4 * x).exp()), &settings).unwrap();
        assert!(test.delta_bic < 10.0, "{test:?}");
        let test = shape_test(&curve(0.05, 3, |x| (0.6 * x).sin()), &settings).unwrap();
        assert!(test.delta_bic_power_law > 0.0 && test.delta_bic_spline < 0.0 && test.p_value == 1.0, "{test:?}");
    }

    #[test]
    fn false_positives_stay_at_the_level() {
        // 150 curves at α = 0.1: at most 0.1 + 2.33 · 0.0245 = 0.157.
        let settings = ShapeSettings { draws: 39, ..ShapeSettings::default() };
        let p_value = |seed: u64| {
            let rate = 0.2 + 0.1 * (seed % 5) as f64;
            shape_test(&curve(0.05, seed, |x| 2.0 * (-rate * x).exp()), &settings).unwrap().p_value
        };
        let share = (100..250).filter(|seed| p_value(*seed) <= 0.1).count() as f64 / 150.0;
        println!("shape test on power laws: {share}");
        assert!(share <= 0.157, "{share}");
    }

    #[test]
    fn splines_contain_lines_and_fit_themselves() {
        let x: Vec<f64> = (0..40).map(|i| f64::from(i * i)).collect();
        let bases = splines(&x);
        assert_eq!(bases.len(), 7);
        let flat = Whitener::new(&Noise { deviation: vec![1.0; 40], correlation: vec![0.0; 40] });
        for (i, columns) in bases.iter().enumerate() {
            assert_eq!(columns.len(), i + 2);
            let target: Vec<f64> = x.iter().zip(&columns[i + 1]).map(|(x, c)| 2.0 - 0.01 * x + 3.0 * c).collect();
            let (misfit, fitted) = least_squares(columns, &target, &flat);
            assert!(misfit < 1e-16, "{misfit}");
            assert!(fitted.iter().zip(&target).all(|(f, t)| (f - t).abs() < 1e-9));
        }
    }

    #[test]
    fn what_is_refused_or_dull() {
        let settings = ShapeSettings::default();
        let steps: Vec<f64> = (0..20).map(f64::from).collect();
        let constant = Series::new(steps.clone(), vec![1.0; 20]).unwrap();
        assert_eq!(shape_test(&constant, &settings).unwrap().p_value, 1.0);
        assert!(shape_test(&constant, &ShapeSettings { block: 0, ..settings }).is_err());
        let short = Series::new(steps[..11].to_vec(), vec![1.0; 11]).unwrap();
        assert!(shape_test(&short, &settings).is_err());
    }
}
