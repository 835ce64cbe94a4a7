//! The noise of a series: its level and its autocorrelation, told apart from trend and steps.

use crate::random::Stream;
use crate::series::LogSeries;
use std::ops::Range;

/// Half the width, in points, of the window in which the noise level is taken for constant: a sixth
/// of the series within these bounds.
const HALF_WINDOW: (usize, usize) = (5, 20);
/// Points of a series for each point by which the far contrasts reach.
const POINTS_PER_REACH: usize = 12;
/// Coefficients tried: 0, 0.05, ..., 0.95.
const N_COEFFICIENTS: usize = 20;
/// Turns a median absolute deviation of normal numbers into their standard deviation.
const MAD: f64 = 1.482_602_218_505_602;

/// Variance of the logarithm of a median absolute deviation, times its number of values: 1.36 for
/// independent normal ones, more for contrasts that share points.
const MEDIAN_SCATTER: f64 = 2.5;

/// What the noise of a series can look like: first-order autoregression of the original points,
/// averaged in bins, for each coefficient φ of a grid.
///
/// For φ from one original point to the next and unit variance, a bin of m points and one of m'
/// points that begins g points after its end have
///
/// ```text
/// var = (1/m) [(1+φ)/(1−φ) − 2φ(1−φ^m) / (m(1−φ)²)]
/// cov = φ^(1+g) (1−φ^m)(1−φ^m') / (m m' (1−φ)²)
/// ```
pub(crate) struct NoiseModel<'a> {
    error: &'a [f64],
    /// Contrasts of each point with the straight line through its neighbours, and through the
    /// points after those.
    near: Contrasts,
    far: Contrasts,
    tables: Vec<Table>,
}

/// Shares with which the points on the left and right enter a contrast.
struct Contrasts {
    lag: usize,
    left: Vec<f64>,
}

/// One coefficient of the grid.
struct Table {
    phi: f64,
    /// Variance of each bin, and its covariance with the one before, for unit noise.
    variance: Vec<f64>,
    covariance: Vec<f64>,
    /// For each contrast: 1 / its standard deviation, and the variance ratio that the given
    /// standard errors explain.
    near: Vec<(f64, f64)>,
    far: Vec<(f64, f64)>,
}

/// Standard deviation of each point, and its correlation with the point before (0 for the first).
#[derive(Debug, Clone)]
pub(crate) struct Noise {
    pub(crate) deviation: Vec<f64>,
    pub(crate) correlation: Vec<f64>,
}

impl<'a> NoiseModel<'a> {
    pub(crate) fn new(log: &'a LogSeries) -> Self {
        // Far contrasts tell strong correlations apart the better the farther they reach, but take
        // in more of the curve: two points in a short series, four in a long one.
        let reach = (log.x.len() / POINTS_PER_REACH).clamp(2, 4);
        let (near, far) = (Contrasts::new(&log.x, 1), Contrasts::new(&log.x, reach));
        let table = |k| Table::new(f64::from(k) / N_COEFFICIENTS as f64, log, &near, &far);
        let tables = (0..N_COEFFICIENTS as u32).map(table).collect();
        Self { error: &log.error, near, far, tables }
    }

    /// Number of coefficients on the grid.
    pub(crate) fn n_coefficients(&self) -> usize {
        self.tables.len()
    }

    /// The k-th coefficient.
    pub(crate) fn phi(&self, k: usize) -> f64 {
        self.tables[k].phi
    }

    /// The last coefficient that is at most `phi`.
    pub(crate) fn index_of(&self, phi: f64) -> usize {
        self.tables.partition_point(|t| t.phi <= phi + 1e-9).max(1) - 1
    }

    /// The coefficient at which near and far contrasts give the same noise level.
    ///
    /// For evenly spaced points their variances are 2(1−φ)(3−φ)/4 and 2(1−φ²)(3−φ²)/4 times that
    /// of the noise, so their ratio grows with φ. Medians make it blind to steps, and second
    /// differences to trend: the estimator of Chakar et al. (2017, eq. 6), of first differences,
    /// carried over to series with a slope.
    ///
    /// Stretches whose noise is below `floor` do not count: their contrasts show what the curve
    /// does.
    pub(crate) fn coefficient(&self, y: &[f64], floor: f64) -> usize {
        let (near, far) = (self.near.sizes(y), self.far.sizes(y));
        let n_windows = (far.len() / 25).max(1);
        let mut scratch = vec![];
        let mut excess = |k: usize| -> f64 {
            let table = &self.tables[k];
            let log_ratio = |w: usize| {
                let window = w * far.len() / n_windows..(w + 1) * far.len() / n_windows;
                let far = unexplained(&far[window.clone()], &table.far[window.clone()], &mut scratch);
                // The contrasts of both kinds with the same middle.
                let shift = self.far.lag - 1;
                let window = window.start + shift..window.end + shift;
                let near = unexplained(&near[window.clone()], &table.near[window], &mut scratch);
                let lifted = |variance: f64| variance.max(0.0) + floor * floor;
                if floor > 0.0 || near > 0.0 && far > 0.0 { (lifted(far) / lifted(near)).ln() } else { 0.0 }
            };
            (0..n_windows).map(log_ratio).sum()
        };
        // The excess of the far contrasts falls with the coefficient that is assumed.
        let (mut below, mut above) = (0, self.tables.len());
        while above - below > 1 {
            let middle = usize::midpoint(below, above);
            if excess(middle) > 0.0 {
                below = middle;
            } else {
                above = middle;
            }
        }
        below
    }

    /// The noise of the values with the k-th coefficient: the given standard errors, plus whatever
    /// scatter they do not account for, in a moving window (the noise of a loss shrinks with it).
    pub(crate) fn noise(&self, y: &[f64], k: usize) -> Noise {
        let (n, table) = (y.len(), &self.tables[k]);
        let sizes = self.near.sizes(y);
        let scaled: Vec<f64> = sizes.iter().zip(&table.near).map(|(s, (scale, _))| s * scale).collect();
        let known: Vec<f64> = table.near.iter().map(|(_, known)| *known).collect();
        let has_errors = self.error.iter().any(|&e| e > 0.0);
        let medians = moving_medians(&scaled);
        let known = if has_errors { moving_medians(&known) } else { vec![0.0; known.len()] };
        let m = scaled.len();
        let level = |i: usize| {
            let middle = i.saturating_sub(1).min(m - 1);
            let deviation = MAD * medians[middle];
            (deviation * deviation - known[middle]).max(0.0).sqrt()
        };
        let mut levels: Vec<f64> = (0..n).map(level).collect();
        shrink(&mut levels, window_of(m));
        let deviation: Vec<f64> =
            (0..n).map(|i| (self.error[i] + levels[i] * levels[i] * table.variance[i]).sqrt()).collect();
        let correlation = (0..n).map(|i| {
            let scale = if i == 0 { 0.0 } else { deviation[i] * deviation[i - 1] };
            if scale > 0.0 { levels[i] * levels[i - 1] * table.covariance[i] / scale } else { 0.0 }
        });
        Noise { correlation: correlation.collect(), deviation }
    }
}

impl Contrasts {
    fn new(x: &[f64], lag: usize) -> Self {
        let left = (lag..x.len() - lag).map(|i| (x[i + lag] - x[i]) / (x[i + lag] - x[i - lag])).collect();
        Self { lag, left }
    }

    /// The absolute contrasts of a series.
    fn sizes(&self, y: &[f64]) -> Vec<f64> {
        let contrast =
            |(i, left): (usize, &f64)| (y[i + self.lag] - left * y[i] - (1.0 - left) * y[i + 2 * self.lag]).abs();
        self.left.iter().enumerate().map(contrast).collect()
    }
}

/// What a coefficient makes of the bins of a series, by [`NoiseModel`]'s formulas: bin i has, with the bin j > i, the
/// covariance φ · reachᵢ · (product of the powers between them) · reachⱼ.
pub(crate) struct Bins {
    /// φ^m.
    pub(crate) powers: Vec<f64>,
    /// (1 − φ^m) / (m (1 − φ)).
    pub(crate) reach: Vec<f64>,
    /// Variance for unit noise.
    pub(crate) variance: Vec<f64>,
}

impl Bins {
    /// Of bins with these numbers of points.
    pub(crate) fn new(phi: f64, count: &[f64]) -> Self {
        let rest = 1.0 - phi;
        let powers: Vec<f64> = count.iter().map(|m| phi.powf(*m)).collect();
        let reach: Vec<f64> = count.iter().zip(&powers).map(|(m, p)| (1.0 - p) / (m * rest)).collect();
        let variance = reach.iter().zip(count).map(|(r, m)| ((1.0 + phi) - 2.0 * phi * r) / (rest * m)).collect();
        Self { powers, reach, variance }
    }
}

impl Table {
    fn new(phi: f64, log: &LogSeries, near: &Contrasts, far: &Contrasts) -> Self {
        let n = log.count.len();
        let Bins { powers, reach, variance } = Bins::new(phi, &log.count);
        let covariance = |i: usize, j: usize| {
            let between: f64 = powers[i + 1..j].iter().product();
            phi * between * reach[i] * reach[j]
        };
        let scales = |contrasts: &Contrasts| {
            let lag = contrasts.lag;
            let scale = |(start, left): (usize, &f64)| {
                let (a, i, b) = (start, start + lag, start + 2 * lag);
                let right = 1.0 - left;
                let spread = variance[i] + left * left * variance[a] + right * right * variance[b]
                    - 2.0 * (left * covariance(a, i) + right * covariance(i, b) - left * right * covariance(a, b));
                let explained = log.error[i] + left * left * log.error[a] + right * right * log.error[b];
                (spread.sqrt().recip(), explained / spread)
            };
            contrasts.left.iter().enumerate().map(scale).collect()
        };
        let (near, far) = (scales(near), scales(far));
        let covariance = (0..n).map(|i| if i == 0 { 0.0 } else { covariance(i - 1, i) }).collect();
        Self { phi, variance, covariance, near, far }
    }
}

/// Noise variance beyond the given errors, from the median of scaled contrasts.
fn unexplained(sizes: &[f64], scales: &[(f64, f64)], scratch: &mut Vec<f64>) -> f64 {
    scratch.clear();
    scratch.extend(sizes.iter().zip(scales).map(|(size, (scale, _))| size * scale));
    let deviation = MAD * middle(scratch);
    scratch.clear();
    scratch.extend(scales.iter().map(|(_, known)| *known));
    deviation * deviation - if scratch.iter().any(|&k| k > 0.0) { middle(scratch) } else { 0.0 }
}

/// Upper median.
fn middle(values: &mut [f64]) -> f64 {
    let at = values.len() / 2;
    *values.select_nth_unstable_by(at, f64::total_cmp).1
}

/// Width of the moving window over `n` values.
fn window_of(n: usize) -> usize {
    let half = (n / 6).clamp(HALF_WINDOW.0, HALF_WINDOW.1);
    (2 * half + 1).min(n)
}

/// The window of a value near an end.
fn narrowed(i: usize, n: usize) -> Range<usize> {
    let half = i.min(n - 1 - i).clamp(HALF_WINDOW.0, HALF_WINDOW.1);
    let width = (2 * half + 1).min(n);
    let first = i.saturating_sub(half).min(n - width);
    first..first + width
}

/// Draws the local levels towards their common one, as far as they scatter no more than medians of
/// this many values do (James and Stein, on the logarithm).
fn shrink(levels: &mut [f64], width: usize) {
    let mut logs: Vec<f64> = levels.iter().filter(|l| **l > 0.0).map(|l| l.ln()).collect();
    if logs.is_empty() {
        return;
    }
    let common = middle(&mut logs);
    let scatter = logs.iter().map(|l| (l - common) * (l - common)).sum::<f64>() / logs.len() as f64;
    let share = (1.0 - MEDIAN_SCATTER / (width as f64 * scatter)).max(0.0);
    for level in levels.iter_mut().filter(|l| **l > 0.0) {
        *level = (common + share * (level.ln() - common)).exp();
    }
}

/// Median of the window around each value. Windows narrow towards the ends, as far as they may: the
/// noise of a loss changes most in its first points.
fn moving_medians(values: &[f64]) -> Vec<f64> {
    let n = values.len();
    let width = window_of(n);
    let half = width / 2;
    let mut sorted = values[..width].to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = |sorted: &[f64]| f64::midpoint(sorted[(width - 1) / 2], sorted[width / 2]);
    let mut medians = vec![median(&sorted); n];
    for first in 1..=n - width {
        let place = |sorted: &[f64], v: f64| sorted.partition_point(|s| s.total_cmp(&v).is_lt());
        let leaving = place(&sorted, values[first - 1]);
        let entering = place(&sorted, values[first + width - 1]);
        // Everything between the two places moves by one.
        if entering > leaving {
            sorted.copy_within(leaving + 1..entering, leaving);
            sorted[entering - 1] = values[first + width - 1];
        } else {
            sorted.copy_within(entering..leaving, entering + 1);
            sorted[entering] = values[first + width - 1];
        }
        medians[first + half] = median(&sorted);
    }
    for i in (0..half.min(n)).chain(n.saturating_sub(half)..n) {
        medians[i] = crate::order::median(&values[narrowed(i, n)]);
    }
    medians
}

impl Noise {
    /// The same with independent noise of standard deviation `floor` added to each point.
    pub(crate) fn with_floor(&self, floor: f64) -> Self {
        let deviation: Vec<f64> = self.deviation.iter().map(|d| d.hypot(floor)).collect();
        let share: Vec<f64> = self.deviation.iter().zip(&deviation).map(|(before, after)| before / after).collect();
        let correlation = self.correlation.iter().enumerate();
        let correlation = correlation.map(|(i, c)| if i == 0 { 0.0 } else { c * share[i] * share[i - 1] }).collect();
        Self { deviation, correlation }
    }

    /// A draw, `scale` times as large: a Markov chain with these deviations and correlations.
    pub(crate) fn draw(&self, scale: f64, stream: &mut Stream) -> Vec<f64> {
        let mut last = 0.0;
        let next = |(deviation, correlation): (&f64, &f64)| {
            last = correlation * last + (1.0 - correlation * correlation).sqrt() * stream.normal();
            scale * deviation * last
        };
        self.deviation.iter().zip(&self.correlation).map(next).collect()
    }
}

/// Turns noise into independent numbers of unit variance:
/// zᵢ = (eᵢ/σᵢ − ρᵢ eᵢ₋₁/σᵢ₋₁) / √(1−ρᵢ²), and z = e/σ for the first point of a stretch.
pub(crate) struct Whitener {
    pub(crate) first: Vec<f64>,
    pub(crate) own: Vec<f64>,
    pub(crate) previous: Vec<f64>,
}

impl Whitener {
    /// The deviations must be above zero.
    pub(crate) fn new(noise: &Noise) -> Self {
        let first: Vec<f64> = noise.deviation.iter().map(|d| d.recip()).collect();
        let rest: Vec<f64> = noise.correlation.iter().map(|c| (1.0 - c * c).sqrt().recip()).collect();
        let own = first.iter().zip(&rest).map(|(f, r)| f * r).collect();
        let before = |i: usize| if i == 0 { 0.0 } else { noise.correlation[i] * first[i - 1] * rest[i] };
        Self { own, previous: (0..first.len()).map(before).collect(), first }
    }

    /// The whitened values of a stretch of points, one value for each of them.
    pub(crate) fn apply(&self, stretch: &Range<usize>, values: &[f64]) -> Vec<f64> {
        let mut last = 0.0;
        let mut whitened: Vec<f64> = values
            .iter()
            .zip(&self.own[stretch.clone()])
            .zip(&self.previous[stretch.clone()])
            .map(|((v, own), previous)| own * v - previous * std::mem::replace(&mut last, *v))
            .collect();
        if let (Some(z), Some(v)) = (whitened.first_mut(), values.first()) {
            *z = self.first[stretch.start] * v;
        }
        whitened
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::median;

    fn uneven(n: usize, seed: u64) -> Vec<f64> {
        let mut stream = Stream::new(seed, 0, 0);
        let mut x = 0.0;
        (0..n)
            .map(|_| {
                x += 0.02 + 0.1 * stream.uniform();
                x
            })
            .collect()
    }

    fn autoregression(n: usize, phi: f64, stream: &mut Stream) -> Vec<f64> {
        let correlation = (0..n).map(|i| if i == 0 { 0.0 } else { phi }).collect();
        Noise { deviation: vec![1.0; n], correlation }.draw(1.0, stream)
    }

    /// Mean over 40 series of the estimated standard deviation, and of φ.
    fn mean_estimates(error: f64, phi: f64, trend: impl Fn(f64) -> f64) -> (f64, f64) {
        let n_series = 40;
        let (mut deviations, mut coefficients) = (0.0, 0.0);
        for seed in 0..n_series {
            let x = uneven(150, seed);
            let mut stream = Stream::new(seed, 1, 0);
            let noise = autoregression(x.len(), phi, &mut stream);
            let y: Vec<f64> = x.iter().zip(noise).map(|(&x, e)| trend(x) + 0.3 * e).collect();
            let n = x.len();
            let log = LogSeries { x, y, count: vec![1.0; n], error: vec![error; n] };
            let model = NoiseModel::new(&log);
            let k = model.coefficient(&log.y, 0.003);
            coefficients += model.phi(k);
            // Of the innovations, which correlated noise shows best.
            let noise = model.noise(&log.y, k);
            let innovation = (1.0 - noise.correlation[1].powi(2)).sqrt() / (1.0 - phi * phi).sqrt();
            deviations += innovation * noise.deviation.iter().sum::<f64>() / n as f64;
        }
        (deviations / f64::from(n_series as u32), coefficients / f64::from(n_series as u32))
    }

    #[test]
    fn trend_and_steps_do_not_count_as_noise() {
        // The mean of 40 deviations of 150 points scatters by about 2 %; the positive part of an
        // uncertain φ, and the steps that few contrasts take in, add up to a sixth.
        for (estimate, phi) in [
            mean_estimates(0.0, 0.0, |_| 0.0),
            mean_estimates(0.0, 0.0, |x| 20.0 * x),
            mean_estimates(0.0, 0.0, |x| if x > 5.0 { 10.0 } else { 0.0 }),
        ] {
            assert!((0.28..0.35).contains(&estimate) && phi < 0.3, "{estimate} {phi}");
        }
        // With errors that explain half of the variance the rest is a difference of two estimates.
        let (estimate, phi) = mean_estimates(0.045, 0.0, |_| 0.0);
        assert!((0.28..0.4).contains(&estimate) && phi < 0.4, "{estimate} {phi}");
        for truth in [0.3, 0.6, 0.9] {
            let (estimate, phi) = mean_estimates(0.0, truth, |_| 0.0);
            assert!((0.28..0.35).contains(&estimate) && (phi - truth).abs() < 0.12, "{truth}: {estimate} {phi}");
            let (estimate, phi) = mean_estimates(0.0, truth, |x| 20.0 * x + if x > 5.0 { 10.0 } else { 0.0 });
            assert!((0.28..0.35).contains(&estimate) && (phi - truth).abs() < 0.2, "{truth}: {estimate} {phi}");
        }
    }

    #[test]
    fn given_errors_are_a_floor() {
        assert!((mean_estimates(1.0, 0.0, |_| 0.0).0 - 1.0).abs() < 1e-12);
    }

    #[test]
    fn exact_lines_have_no_noise() {
        let x = uneven(30, 1);
        let y = x.clone();
        let log = LogSeries { x, y, count: vec![1.0; 30], error: vec![0.0; 30] };
        let noise = NoiseModel::new(&log).noise(&log.y, 0);
        assert!(noise.deviation.iter().all(|&d| d < 1e-14));
    }

    #[test]
    fn moving_medians_are_medians() {
        let mut stream = Stream::new(5, 0, 0);
        for n in [3usize, 40, 41, 42, 130] {
            let values: Vec<f64> = (0..n).map(|_| (10.0 * stream.uniform()).round()).collect();
            let found = moving_medians(&values);
            for (i, found) in found.into_iter().enumerate() {
                let half = i.min(n - 1 - i).clamp(5, (n / 6).clamp(5, 20));
                let width = (2 * half + 1).min(n);
                let first = i.saturating_sub(half).min(n - width);
                assert_eq!(found, median(&values[first..first + width]), "{n} {i}");
            }
        }
    }

    #[test]
    fn bins_of_an_autoregression() {
        // Bins of 3 and 2 points, φ = 1/2: var = (3 + 2 (2φ + φ²)) / 9, cov = φ (1+φ+φ²)(1+φ) / 6.
        let x = vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
        let count = vec![3.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
        let log = LogSeries { y: x.clone(), x, count, error: vec![0.0; 8] };
        let model = NoiseModel::new(&log);
        let table = &model.tables[model.index_of(0.5)];
        assert!((table.phi - 0.5).abs() < 1e-12);
        assert!((table.variance[0] - 5.5 / 9.0).abs() < 1e-12, "{}", table.variance[0]);
        assert!((table.covariance[1] - 0.5 * 1.75 * 1.5 / 6.0).abs() < 1e-12);
        assert!((table.variance[4] - 1.0).abs() < 1e-12 && (table.covariance[4] - 0.5).abs() < 1e-12);
        // Contrasts of single points: 2(1−φ)(3−φ)/4 and 2(1−φ²)(3−φ²)/4.
        assert!((table.near[4].0.powi(-2) - 0.625).abs() < 1e-12);
        assert!((table.far[2].0.powi(-2) - 2.0 * 0.75 * 2.75 / 4.0).abs() < 1e-12, "{:?}", table.far);
    }

    #[test]
    fn whitened_noise_is_white() {
        let n = 20_000;
        let mut stream = Stream::new(3, 0, 0);
        let deviation = (0..n).map(|i| 1.0 + (i % 7) as f64).collect();
        let correlation = (0..n).map(|i| if i == 0 { 0.0 } else { 0.1 * (i % 10) as f64 }).collect();
        let noise = Noise { deviation, correlation };
        let white = Whitener::new(&noise).apply(&(0..n), &noise.draw(1.0, &mut stream));
        let square = white.iter().map(|z| z * z).sum::<f64>() / n as f64;
        let neighbours = white.windows(2).map(|z| z[0] * z[1]).sum::<f64>() / n as f64;
        // Standard errors √(2/n) = 0.010 and 1/√n = 0.007.
        assert!((square - 1.0).abs() < 0.05 && neighbours.abs() < 0.035, "{square} {neighbours}");
    }
}
