//! The changes of one series from one call: found by PELT at a price that suits its noise, each with its interval and its size.

use super::cost::SegmentCost;
use super::exact::pelt;
use super::interval::profile_intervals;
use super::kink::kink_interval;
use super::path::{PenaltyStep, penalty_path};
use super::penalty::{ModifiedBic, NoiseLevel, noise_levels};
use super::price::{ChangeShape, Price};
use super::signal::{ChangeError, Signal, TimeScale};
use crate::order::median;
use crate::series::Series;

/// More points than this are averaged: the searches take up to n² costs.
const MOST_POINTS: usize = 2000;
/// Noise below this share of the range counts as so much: rounding is no noise.
const LEAST_NOISE: f64 = 1e-6;
/// The path of penalties, in units of the price that is taken.
const PATH: (f64, f64) = (0.5, 10.0);
/// Probability with which an interval is to hold the change.
const LEVEL: f64 = 0.95;

/// Settings of [`series_changes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesChangeSettings {
    /// What a segment is taken for.
    pub shape: ChangeShape,
    /// What lines run over.
    pub time: TimeScale,
}

/// What [`series_changes`] finds.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesChanges {
    /// Neighbouring points that were averaged to one; 1: none.
    pub averaged: usize,
    /// Points after that.
    pub n_points: usize,
    /// The noise of these points.
    pub noise: NoiseLevel,
    /// The changes, in order.
    pub changes: Vec<SeriesChange>,
    /// The optimal segmentations for prices around the one taken, from the most changes to the fewest.
    pub path: Vec<PathStep>,
}

/// A change of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SeriesChange {
    /// First step of the new segment; of [`ChangeShape::ContinuousLinear`] the step of the kink.
    pub step: f64,
    /// Lower end of the 95 % interval: the last step that lies before the change at every place in it.
    pub lower: f64,
    /// Upper end of the interval.
    pub upper: f64,
    /// The [`quantity`](ChangeShape::quantity) of the segment before; slopes are per decade of step + 1, or per step. NaN where a
    /// segment has none.
    pub before: f64,
    /// The same of the segment after.
    pub after: f64,
    /// By how much the level jumps: the difference of the means (of medians where those are the quantity); of lines the gap
    /// between them half-way from point to point, 0 where they meet.
    pub jump: f64,
    /// How many times the price may be for this change still to be part of the optimal segmentation; at most 10.
    pub holds_to: f64,
}

/// A range of prices with the same number of changes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PathStep {
    /// Number of changes.
    pub n_changes: usize,
    /// Lowest price, in units of the one taken, from 0.5.
    pub from: f64,
    /// Highest price, up to 10.
    pub to: f64,
}

/// The changes of a series: the cheapest of all segmentations ([`pelt`]) at the price of BIC, of its modification for changes of level,
/// in the noise of the series, which may be autocorrelated (first order); `docs/change-points.md` has the prices and
/// what they let pass.
///
/// Noise is estimated from contrasts of neighbouring points; standard errors of the values are not used. Intervals are by
/// profile likelihood, of kinks by that of a broken line. Any smooth curve is full of changes of level; only
/// [`transitions`](crate::transitions) has smooth curves as its null hypothesis. Of more than 2,000 points neighbours are averaged.
///
/// # Errors
/// Fewer than 8 points, or values above 1e70.
pub fn series_changes(series: &Series, settings: &SeriesChangeSettings) -> Result<SeriesChanges, ChangeError> {
    let averaged = series.steps().len().div_ceil(MOST_POINTS).max(1);
    let blocks = Blocks::of(series, averaged);
    let position = |step: &f64| if settings.time == TimeScale::Step { *step } else { step.ln_1p() };
    let signal = Signal::new(blocks.values.clone(), 1)?.at(blocks.centres.iter().map(position).collect())?;
    let noise = noise_levels(&signal)?[0];
    let (low, high) = blocks.values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(*v), b.max(*v)));
    let n_points = signal.n_points();
    let mut found = SeriesChanges { averaged, n_points, noise, changes: vec![], path: vec![] };
    if high <= low {
        found.path.push(PathStep { n_changes: 0, from: PATH.0, to: PATH.1 });
        return Ok(found);
    }
    // A cost that is no square may hold absolute numbers: everything is in units of the noise.
    let scale = noise.deviation.max(LEAST_NOISE * (high - low));
    let level = median(&blocks.values);
    let scaled = Signal::new(blocks.values.iter().map(|v| (v - level) / scale).collect(), 1)?;
    let scaled = scaled.at(signal.positions().to_vec())?;
    let unit_noise = NoiseLevel { deviation: 1.0, ..noise };
    let price = Price::new(settings.shape, &scaled, unit_noise)?;
    let min_size = settings.shape.min_size();
    let (changes, path, intervals) = if settings.shape == ChangeShape::L2 {
        search(&ModifiedBic::new(&*price.cost, price.unit)?, 1.0, price.per_change, min_size)?
    } else {
        search(&*price.cost, price.unit, price.per_change, min_size)?
    };
    let in_prices = |penalty: f64| (penalty / price.per_change).clamp(PATH.0, PATH.1);
    found.path = path
        .iter()
        .map(|step| PathStep {
            n_changes: step.partition.change_points.len(),
            from: in_prices(step.from),
            to: in_prices(step.to),
        })
        .collect();
    // The ends are exact, whatever rounding says.
    if let Some(last) = found.path.last_mut() {
        last.to = PATH.1;
    }
    let is_kink = settings.shape == ChangeShape::ContinuousLinear;
    // A kink is the last point of the segment before.
    let place = |change: usize| if is_kink { change - 1 } else { change };
    for (at, &change) in changes.iter().enumerate() {
        let start = if at == 0 { 0 } else { place(changes[at - 1]) };
        let end = changes.get(at + 1).copied().unwrap_or(n_points);
        let own = place(change);
        let (lower, upper) = if is_kink {
            let (x, y) = (&scaled.positions()[start..end], &scaled.values()[start..end]);
            let step = |x: f64| if settings.time == TimeScale::Step { x } else { x.exp_m1() };
            let inside = kink_interval(x, y, unit_noise.long_run_variance());
            let (lower, upper) = inside.map_or((blocks.first[own], blocks.last[own]), |(a, b)| (step(a), step(b)));
            (lower.min(blocks.first[own]), upper.max(blocks.last[own]))
        } else {
            let interval = intervals[at];
            (blocks.last[interval.lower - 1], blocks.first[interval.upper])
        };
        let sides = Sides { shape: settings.shape, time: settings.time, signal: &signal, start, change: own, end };
        let (before, after, jump) = sides.describe();
        let holds = path.iter().rposition(|step| step.partition.change_points.contains(&change));
        let holds_to = holds.map_or(1.0, |at| found.path[at].to);
        let step = if is_kink { blocks.centres[own] } else { blocks.first[own] };
        found.changes.push(SeriesChange { step, lower, upper, before, after, jump, holds_to });
    }
    Ok(found)
}

/// Changes at the price, the path around it (penalties in units of −2 ln L), and intervals of jumps.
type Searched = (Vec<usize>, Vec<PenaltyStep>, Vec<super::interval::ChangeInterval>);

fn search<C: SegmentCost + ?Sized>(
    cost: &C,
    unit: f64,
    per_change: f64,
    min_size: usize,
) -> Result<Searched, ChangeError> {
    let changes = pelt(cost, per_change * unit, min_size)?.change_points;
    let mut path = penalty_path(cost, PATH.0 * per_change * unit, PATH.1 * per_change * unit, min_size)?;
    for step in &mut path {
        (step.from, step.to) = (step.from / unit, step.to / unit);
    }
    let intervals = profile_intervals(cost, &changes, unit, LEVEL)?;
    Ok((changes, path, intervals))
}

/// Means of neighbouring points, and the steps they stand for.
struct Blocks {
    first: Vec<f64>,
    last: Vec<f64>,
    centres: Vec<f64>,
    values: Vec<f64>,
}

impl Blocks {
    fn of(series: &Series, size: usize) -> Self {
        let mut blocks = Self { first: vec![], last: vec![], centres: vec![], values: vec![] };
        for (steps, values) in series.steps().chunks(size).zip(series.values().chunks(size)) {
            let n = steps.len() as f64;
            blocks.first.push(steps[0]);
            blocks.last.push(steps[steps.len() - 1]);
            blocks.centres.push(steps.iter().map(|step| step / n).sum());
            blocks.values.push(values.iter().map(|value| value / n).sum());
        }
        blocks
    }
}

/// The two segments around a change: start..change and change..end; of kinks they share the point `change`.
struct Sides<'a> {
    shape: ChangeShape,
    time: TimeScale,
    signal: &'a Signal,
    start: usize,
    change: usize,
    end: usize,
}

impl Sides<'_> {
    /// The quantity on either side, and the jump.
    fn describe(&self) -> (f64, f64, f64) {
        let (x, y) = (self.signal.positions(), self.signal.values());
        let (start, change, end) = (self.start, self.change, self.end);
        let (before, after) = (&y[start..change], &y[change..end]);
        let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
        let difference = mean(after) - mean(before);
        // Slopes are told per decade where they run over ln(step + 1).
        let per = if self.time == TimeScale::Step { 1.0 } else { std::f64::consts::LN_10 };
        match self.shape {
            ChangeShape::L2 | ChangeShape::Rbf => (mean(before), mean(after), difference),
            ChangeShape::L1 | ChangeShape::Rank => {
                let (a, b) = (median(before), median(after));
                (a, b, b - a)
            }
            ChangeShape::Normal => {
                let deviation = |v: &[f64]| {
                    let m = mean(v);
                    (v.iter().map(|v| (v - m).powi(2)).sum::<f64>() / (v.len() as f64 - 1.0)).sqrt()
                };
                (deviation(before), deviation(after), difference)
            }
            ChangeShape::Linear => {
                let (a, b) = (Line::through(&x[start..change], before), Line::through(&x[change..end], after));
                let middle = f64::midpoint(x[change - 1], x[change]);
                (per * a.slope, per * b.slope, b.at(middle) - a.at(middle))
            }
            ChangeShape::ContinuousLinear => {
                let slope = |a: usize, b: usize| per * (y[b] - y[a]) / (x[b] - x[a]);
                (slope(start, change), slope(change, end - 1), 0.0)
            }
            ChangeShape::Autoregressive => {
                let lagged = |first: usize, last: usize| {
                    let first = first.max(1);
                    Line::through(&y[first - 1..last - 1], &y[first..last]).slope
                };
                (lagged(start, change), lagged(change, end), difference)
            }
        }
    }
}

/// A straight line by least squares.
struct Line {
    centre: (f64, f64),
    slope: f64,
}

impl Line {
    fn through(x: &[f64], y: &[f64]) -> Self {
        let n = x.len() as f64;
        let centre = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
        let square: f64 = x.iter().map(|x| (x - centre.0).powi(2)).sum();
        let product: f64 = x.iter().zip(y).map(|(x, y)| (x - centre.0) * (y - centre.1)).sum();
        Self { centre, slope: product / square }
    }

    fn at(&self, x: f64) -> f64 {
        self.centre.1 + self.slope * (x - self.centre.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    /// Log-spaced steps from 1 to 10,000.
    fn steps(n: usize) -> Vec<f64> {
        (0..n).map(|i| 1e4f64.powf(i as f64 / (n - 1) as f64)).collect()
    }

    /// Stationary first-order autoregressive noise of variance 1.
    fn noise(n: usize, phi: f64, stream: &mut Stream) -> Vec<f64> {
        let mut value = stream.normal();
        let scale = (1.0 - phi * phi).sqrt();
        (0..n)
            .map(|_| {
                value = phi * value + scale * stream.normal();
                value
            })
            .collect()
    }

    fn find(shape: ChangeShape, values: Vec<f64>) -> SeriesChanges {
        let series = Series::new(steps(values.len()), values).unwrap();
        series_changes(&series, &SeriesChangeSettings { shape, time: TimeScale::LogStep }).unwrap()
    }

    #[test]
    fn noise_alone_has_few_changes() {
        // BIC has no level of its own; the promise is one in ten, with three standard errors of 200 series.
        let bound = 0.1 + 3.0 * (0.09f64 / 200.0).sqrt();
        let mut wrong = Vec::new();
        for shape in ChangeShape::ALL {
            for (n, phi) in [(60, 0.0), (200, 0.0), (200, 0.6)] {
                let is_false = |seed: &u64| {
                    let mut values = noise(n, phi, &mut Stream::new(*seed, 41, 0));
                    if shape == ChangeShape::Linear || shape == ChangeShape::ContinuousLinear {
                        values.iter_mut().zip(steps(n)).for_each(|(v, step)| *v += 2.0 * step.ln_1p());
                    }
                    !find(shape, values).changes.is_empty()
                };
                let share = (0..200).filter(is_false).count() as f64 / 200.0;
                println!("{} {n} φ = {phi}: {share}", shape.name());
                if share > bound {
                    wrong.push(format!("{} {n} {phi}: {share}", shape.name()));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn each_shape_finds_its_change_and_its_interval_holds_it() {
        // A change at index 90 of 150 points that each shape should see, in 200 series.
        for shape in ChangeShape::ALL {
            let (mut n_found, mut n_one, mut n_held) = (0, 0, 0);
            for seed in 0..200 {
                let mut stream = Stream::new(seed, 42, 0);
                let (n, at) = (150, 90);
                let mut values = noise(n, 0.0, &mut stream);
                let x: Vec<f64> = steps(n).iter().map(|step| step.ln_1p()).collect();
                let mut before = 0.0;
                for (i, value) in values.iter_mut().enumerate() {
                    let is_after = i >= at;
                    match shape {
                        ChangeShape::L1 | ChangeShape::L2 | ChangeShape::Rank | ChangeShape::Rbf if is_after => {
                            *value += 2.0;
                        }
                        ChangeShape::Normal if is_after => *value *= 4.0,
                        ChangeShape::Linear if is_after => *value += 4.0 - 3.0 * (x[i] - x[at]),
                        ChangeShape::ContinuousLinear => *value = 0.1 * *value + 3.0 * (x[i] - x[at]).max(0.0),
                        ChangeShape::Autoregressive => {
                            *value += if is_after { -0.8 } else { 0.8 } * before;
                            before = *value;
                        }
                        _ => {}
                    }
                }
                let found = find(shape, values);
                let truth = if shape == ChangeShape::ContinuousLinear { x[at].exp_m1() } else { steps(n)[at] };
                let inside = |c: &SeriesChange| c.lower < truth * (1.0 + 1e-9) && truth <= c.upper * (1.0 + 1e-9);
                n_found += usize::from(!found.changes.is_empty());
                n_one += usize::from(found.changes.len() == 1);
                n_held += usize::from(found.changes.iter().any(inside));
            }
            println!("{}: found {n_found}, one {n_one}, held {n_held}", shape.name());
            // Changes of this size are not missed; a second one is false, and intervals hold what they promise.
            assert!(n_found >= 199, "{}: {n_found}", shape.name());
            let error = |share: f64| 3.0 * (share * (1.0 - share) / 200.0).sqrt();
            assert!(f64::from(n_one as u32) / 200.0 > 0.9 - error(0.9), "{}: {n_one}", shape.name());
            assert!(f64::from(n_held as u32) / 200.0 > LEVEL - error(LEVEL), "{}: {n_held}", shape.name());
        }
    }

    #[test]
    fn what_changes_is_told_in_the_units_of_the_series() {
        // Hardly any noise: a fixed pattern of size 0.001 that has no trend.
        let n = 100;
        let ripple = |i: usize| 0.001 * [0.0, 1.0, -1.0, 0.5, -0.5][i % 5];
        let x: Vec<f64> = steps(n).iter().map(|step| step.ln_1p()).collect();
        let only = |shape: ChangeShape, f: &dyn Fn(usize) -> f64| {
            let found = find(shape, (0..n).map(|i| f(i) + ripple(i)).collect());
            let [only] = found.changes[..] else { panic!("{shape:?}: {found:?}") };
            // A kernel is bounded: what a change gains is, too.
            let most = if shape == ChangeShape::Rbf { 2.0 } else { 10.0 };
            assert!(only.holds_to >= most && found.path[0].from == 0.5, "{shape:?}: {found:?}");
            let there = found.path.iter().find(|range| range.to > 1.0).unwrap();
            assert_eq!((there.n_changes, there.to), (1, only.holds_to), "{shape:?}: {found:?}");
            only
        };
        for shape in [ChangeShape::L1, ChangeShape::L2, ChangeShape::Rbf] {
            let c = only(shape, &|i| if i < 40 { 5.0 } else { 2.0 });
            assert_eq!(c.step, steps(n)[40]);
            assert!(shape == ChangeShape::Rbf || (c.lower, c.upper) == (steps(n)[39], steps(n)[40]), "{c:?}");
            assert!(
                (c.before - 5.0).abs() < 1e-3 && (c.after - 2.0).abs() < 1e-3 && (c.jump + 3.0).abs() < 2e-3,
                "{c:?}"
            );
        }
        // Lines in ln(step + 1) with slopes 1 and −2 a decade, the second begins 3 lower.
        let slope = |per_decade: f64| per_decade / std::f64::consts::LN_10;
        let line =
            |i: usize| if i < 40 { slope(1.0) * x[i] } else { slope(1.0) * x[40] - 3.0 + slope(-2.0) * (x[i] - x[40]) };
        let c = only(ChangeShape::Linear, &line);
        assert!((c.before - 1.0).abs() < 5e-3 && (c.after + 2.0).abs() < 5e-3, "{c:?}");
        // Half-way between two points each line is half a point's rise away from where it is known.
        let half = 0.5 * (x[40] - x[39]);
        assert!((c.jump + 3.0 - half * (slope(-1.0) - slope(2.0))).abs() < 0.2, "{c:?}");
        let kink =
            |i: usize| if i < 40 { slope(1.0) * x[i] } else { slope(1.0) * x[40] + slope(-2.0) * (x[i] - x[40]) };
        let c = only(ChangeShape::ContinuousLinear, &kink);
        assert!(
            (c.step / steps(n)[40] - 1.0).abs() < 1e-9 && c.jump == 0.0 && c.lower <= c.step && c.step <= c.upper,
            "{c:?}"
        );
        assert!((c.before - 1.0).abs() < 5e-3 && (c.after + 2.0).abs() < 5e-3, "{c:?}");
        let c = only(ChangeShape::Normal, &|i| if i < 40 { 0.0 } else { 9.0 * ripple(i) });
        // The small values of the pattern may go to either side: up to two of sixty.
        assert!((c.after / c.before - 10.0).abs() < 0.3 && c.jump.abs() < 1e-3, "{c:?}");
    }

    #[test]
    fn long_series_are_averaged_and_flat_ones_have_nothing() {
        let n = 5000;
        let mut stream = Stream::new(3, 43, 0);
        let values: Vec<f64> = (0..n).map(|i| stream.normal() + if i < 3000 { 0.0 } else { 1.0 }).collect();
        let series = Series::new((0..n).map(f64::from).collect(), values).unwrap();
        let settings = SeriesChangeSettings { shape: ChangeShape::L2, time: TimeScale::Step };
        let found = series_changes(&series, &settings).unwrap();
        assert_eq!((found.averaged, found.n_points), (3, 1667));
        let [only] = found.changes[..] else { panic!("{found:?}") };
        assert!(only.lower < 3000.0 && 3000.0 <= only.upper + 2.0 && only.upper - only.lower < 100.0, "{only:?}");
        for shape in ChangeShape::ALL {
            assert!(find(shape, vec![2.0; 30]).changes.is_empty());
        }
        let short = Series::new(vec![1.0, 2.0], vec![1.0, 2.0]).unwrap();
        assert!(series_changes(&short, &settings).is_err());
    }
}
