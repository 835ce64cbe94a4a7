//! How precisely a change point is known: intervals by profile likelihood and by bootstrap.

use super::compare::check_change_points;
use super::cost::SegmentCost;
use super::mean::MeanCost;
use super::signal::{ChangeError, Signal};
use super::trend::TrendCost;
use crate::partition::SegmentShape;
use crate::random::Stream;

/// A change point, the first index of its segment, and the interval that holds the true one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeInterval {
    /// The change point.
    pub change: usize,
    /// Lowest index of the interval.
    pub lower: usize,
    /// Highest index of the interval.
    pub upper: usize,
}

/// Intervals by profile likelihood: the places at which a change costs at most
/// −2 ln(1 − √`level`) · `variance` more than at the best place, its neighbours held where they are.
///
/// The bound is the quantile of the likelihood ratio for a jump that is small against the noise,
/// P(≤ x) = (1 − e^(−x/2))² (Hansen 2000, theorem 1; 7.35 at 0.95); for larger jumps the intervals are
/// conservative. For sums of squares `variance` is that of the noise, or its long-run variance where it is
/// correlated ([`NoiseLevel`](super::NoiseLevel)); for costs in units of −2 ln L it is 1. It does not
/// hold for kinks, where curves meet without a jump.
///
/// # Errors
/// A variance or level out of range, or change points that are not inside of the signal.
pub fn profile_intervals<C: SegmentCost + ?Sized>(
    cost: &C,
    change_points: &[usize],
    variance: f64,
    level: f64,
) -> Result<Vec<ChangeInterval>, ChangeError> {
    check_change_points(change_points, cost.n_points())?;
    check_level(level)?;
    if !(variance > 0.0 && variance.is_finite()) {
        return Err(ChangeError::BadSetting { name: "variance", value: variance, range: "finite and above 0" });
    }
    let bound = -2.0 * (1.0 - level.sqrt()).ln() * variance;
    let least_size = cost.min_size();
    let interval = |(start, change, end): (usize, usize, usize)| {
        let first = (start + least_size).min(change);
        let last = end.saturating_sub(least_size).max(change);
        let costs: Vec<f64> = (first..=last).map(|at| cost.cost(start, at) + cost.cost(at, end)).collect();
        let least = costs.iter().copied().fold(f64::INFINITY, f64::min);
        let is_inside = |cost: &f64| *cost - least <= bound;
        let lower = costs.iter().position(is_inside).map_or(change, |i| first + i);
        let upper = costs.iter().rposition(is_inside).map_or(change, |i| first + i);
        ChangeInterval { change, lower: lower.min(change), upper: upper.max(change) }
    };
    Ok(surroundings(change_points, cost.n_points()).map(interval).collect())
}

/// Settings of [`bootstrap_intervals`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BootstrapSettings {
    /// Probability with which an interval is to hold the true change point. Default 0.95.
    pub level: f64,
    /// Resampled series for each change point. Default 999.
    pub draws: usize,
    /// Residuals that stay together; 1 for white noise, some multiples of its correlation time for
    /// other noise. Default 1.
    pub block: usize,
    /// Seed. Default 0.
    pub seed: u64,
}

impl Default for BootstrapSettings {
    fn default() -> Self {
        Self { level: 0.95, draws: 999, block: 1, seed: 0 }
    }
}

/// Intervals by bootstrap, for segments that are levels or lines.
///
/// The residuals of the two segments around a change, scaled for the parameters fitted, are resampled
/// in circular blocks (Politis and Romano 1992) onto the fitted curve; the change is placed anew in each
/// such series, its neighbours held where they are. Offsets of these places from the change stand for
/// those of the change from the truth (Hušková and Kirch 2008): the interval is the change less their upper
/// and lower quantiles, rounded outward. What it covers is measured in `docs/change-points.md`.
///
/// # Errors
/// A setting out of range, or change points that are not inside of the signal.
pub fn bootstrap_intervals(
    signal: &Signal,
    shape: SegmentShape,
    change_points: &[usize],
    settings: &BootstrapSettings,
) -> Result<Vec<ChangeInterval>, ChangeError> {
    check_change_points(change_points, signal.n_points())?;
    check_level(settings.level)?;
    for (name, value) in [("draws", settings.draws), ("block", settings.block)] {
        if value == 0 {
            return Err(ChangeError::BadSetting { name, value: 0.0, range: "at least 1" });
        }
    }
    let mut intervals = vec![];
    for (i, (start, change, end)) in surroundings(change_points, signal.n_points()).enumerate() {
        let (fitted, residuals) = fit(signal, shape, (start, change, end));
        let mut offsets: Vec<isize> = vec![];
        for draw in 0..settings.draws {
            let index = (i * settings.draws + draw) as u64;
            let order = circular_blocks(end - start, settings.block, &mut Stream::new(settings.seed, BOOTSTRAP, index));
            let d = signal.dimensions();
            let resampled = order.iter().enumerate().flat_map(|(to, &from)| {
                let (fitted, residuals) = (&fitted, &residuals);
                (0..d).map(move |k| fitted[to * d + k] + residuals[from * d + k])
            });
            let resampled = Signal::new(resampled.collect(), d)?.at(signal.positions()[start..end].to_vec())?;
            offsets.push((start + best_place(&resampled, shape)?) as isize - change as isize);
        }
        offsets.sort_unstable();
        let tail = (1.0 - settings.level) / 2.0 * (offsets.len() - 1) as f64;
        let (low, high) = (offsets[tail.floor() as usize], offsets[offsets.len() - 1 - tail.floor() as usize]);
        let place = |offset: isize| (change as isize - offset).clamp(start as isize + 1, end as isize - 1) as usize;
        intervals.push(ChangeInterval { change, lower: place(high).min(change), upper: place(low).max(change) });
    }
    Ok(intervals)
}

/// Purpose of the random streams.
const BOOTSTRAP: u64 = 21;

/// For each change point the change points (or ends) before and after it.
fn surroundings(change_points: &[usize], n_points: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let before = std::iter::once(0).chain(change_points.iter().copied());
    let after = change_points.iter().skip(1).copied().chain([n_points]);
    before.zip(change_points.iter().copied()).zip(after).map(|((start, change), end)| (start, change, end))
}

fn check_level(level: f64) -> Result<(), ChangeError> {
    if level > 0.0 && level < 1.0 {
        Ok(())
    } else {
        Err(ChangeError::BadSetting { name: "level", value: level, range: "between 0 and 1, both excluded" })
    }
}

/// The curve fitted to the two segments around a change, and the residuals, centred and scaled to the
/// variance of the noise.
fn fit(signal: &Signal, shape: SegmentShape, around: (usize, usize, usize)) -> (Vec<f64>, Vec<f64>) {
    let (start, change, end) = around;
    let (d, x) = (signal.dimensions(), signal.positions());
    let mut fitted = vec![0.0; (end - start) * d];
    for (a, b) in [(start, change), (change, end)] {
        let m = (b - a) as f64;
        let x_mean = x[a..b].iter().sum::<f64>() / m;
        let xx: f64 = x[a..b].iter().map(|x| (x - x_mean).powi(2)).sum();
        for k in 0..d {
            let mean = (a..b).map(|i| signal.point(i)[k]).sum::<f64>() / m;
            let xy: f64 = (a..b).map(|i| (x[i] - x_mean) * signal.point(i)[k]).sum();
            let slope = if shape == SegmentShape::Line && xx > 0.0 { xy / xx } else { 0.0 };
            for i in a..b {
                fitted[(i - start) * d + k] = mean + slope * (x[i] - x_mean);
            }
        }
    }
    let n = end - start;
    let n_parameters = if shape == SegmentShape::Line { 4 } else { 2 };
    let scale = (n as f64 / n.saturating_sub(n_parameters).max(1) as f64).sqrt();
    let residuals = (0..n * d).map(|i| scale * (signal.values()[start * d + i] - fitted[i])).collect();
    (fitted, residuals)
}

/// The one change that leaves the least squares.
fn best_place(signal: &Signal, shape: SegmentShape) -> Result<usize, ChangeError> {
    let (constant, line);
    let (cost, least): (&dyn SegmentCost, usize) = match shape {
        SegmentShape::Constant => {
            constant = MeanCost::new(signal)?;
            (&constant, 1)
        }
        SegmentShape::Line => {
            line = TrendCost::new(signal)?;
            (&line, 3)
        }
    };
    let n = signal.n_points();
    let least = least.min(n / 2).max(1);
    let (mut best, mut at) = (f64::INFINITY, least);
    for place in least..=n - least {
        let value = cost.cost(0, place) + cost.cost(place, n);
        if value < best {
            (best, at) = (value, place);
        }
    }
    Ok(at)
}

/// Indices 0..n drawn in blocks of `block` neighbours, the last followed by the first.
pub(crate) fn circular_blocks(n: usize, block: usize, stream: &mut Stream) -> Vec<usize> {
    let mut order = Vec::with_capacity(n + block);
    while order.len() < n {
        let first = (stream.uniform() * n as f64) as usize;
        order.extend((0..block.min(n)).map(|i| (first + i) % n));
    }
    order.truncate(n);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A step of `size` standard deviations at 70 of 120 points, and where least squares place it.
    fn step(size: f64, seed: u64) -> (Signal, usize) {
        let mut stream = Stream::new(seed, 31, 0);
        let values = (0..120).map(|i| stream.normal() + if i >= 70 { size } else { 0.0 }).collect();
        let signal = Signal::new(values, 1).unwrap();
        let at = best_place(&signal, SegmentShape::Constant).unwrap();
        (signal, at)
    }

    #[test]
    fn profile_intervals_cover() {
        // 400 series each; the binomial standard error of a share of 0.95 is 0.011.
        for (size, level) in [(1.0, 0.95), (2.0, 0.95), (1.0, 0.8)] {
            let holds = |seed: u64| {
                let (signal, at) = step(size, seed);
                let cost = MeanCost::new(&signal).unwrap();
                let interval = profile_intervals(&cost, &[at], 1.0, level).unwrap()[0];
                assert!(interval.lower <= at && at <= interval.upper);
                (interval.lower..=interval.upper).contains(&70)
            };
            let share = (0..400).filter(|seed| holds(*seed)).count() as f64 / 400.0;
            println!("profile, step {size}, level {level}: {share}");
            assert!(share > level - 3.0 * (level * (1.0 - level) / 400.0).sqrt(), "{size} {level}: {share}");
        }
    }

    #[test]
    fn bootstrap_intervals_cover() {
        let settings = BootstrapSettings { draws: 199, ..BootstrapSettings::default() };
        for (size, shape) in [(1.0, SegmentShape::Constant), (2.0, SegmentShape::Constant), (3.0, SegmentShape::Line)] {
            let holds = |seed: u64| {
                let (signal, _) = step(size, seed);
                let at = best_place(&signal, shape).unwrap();
                let interval = bootstrap_intervals(&signal, shape, &[at], &settings).unwrap()[0];
                (interval.lower..=interval.upper).contains(&70)
            };
            let share = (0..300).filter(|seed| holds(*seed)).count() as f64 / 300.0;
            println!("bootstrap, step {size}, {shape:?}: {share}");
            assert!(share > 0.95 - 3.0 * (0.95f64 * 0.05 / 300.0).sqrt(), "{size} {shape:?}: {share}");
        }
    }

    #[test]
    fn clear_changes_have_narrow_intervals_and_repeat() {
        let values = (0..60).map(|i| f64::from(i / 20) * 100.0 + f64::from(i % 2)).collect();
        let signal = Signal::new(values, 1).unwrap();
        let cost = MeanCost::new(&signal).unwrap();
        let exactly = |change| ChangeInterval { change, lower: change, upper: change };
        let expected = [exactly(20), exactly(40)];
        assert_eq!(profile_intervals(&cost, &[20, 40], 0.25, 0.95).unwrap(), expected);
        let settings = BootstrapSettings { block: 4, draws: 99, ..BootstrapSettings::default() };
        for _ in 0..2 {
            let found = bootstrap_intervals(&signal, SegmentShape::Constant, &[20, 40], &settings).unwrap();
            assert_eq!(found, expected);
        }
        assert!(profile_intervals(&cost, &[20], 0.0, 0.95).is_err());
        assert!(profile_intervals(&cost, &[20], 1.0, 1.0).is_err());
        assert!(profile_intervals(&cost, &[60], 1.0, 0.5).is_err());
        let none = BootstrapSettings { draws: 0, ..settings };
        assert!(bootstrap_intervals(&signal, SegmentShape::Line, &[20], &none).is_err());
        // Segments of one point and two have intervals too.
        let tiny = Signal::new(vec![0.0, 5.0, 5.1], 1).unwrap();
        assert_eq!(bootstrap_intervals(&tiny, SegmentShape::Line, &[1], &settings).unwrap().len(), 1);
    }
}
