//! Boundaries between stages: where the smoothed slope in log time crosses zero or rests.

use crate::noise::NoiseModel;
use crate::order::quantile;
use crate::random::Stream;
use crate::series::{LogSeries, Series, SeriesError, step_at};
use crate::smooth::{ENOUGH_POINTS, SlopePosterior, Smooth};
use crate::special::normal_quantile;

/// Fewest points in which stages are looked for.
pub const MIN_STAGE_POINTS: usize = 8;
/// Number of places at which the slope is examined.
const GRID: usize = 160;
/// Purpose of the random stream.
const STAGE_STREAM: u64 = 3;

/// What the smoothed curve does at a boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoundaryKind {
    /// It stops rising and begins to fall.
    Peak,
    /// It stops falling and begins to rise.
    Trough,
    /// It rests, and goes on in the same direction.
    Plateau,
}

/// The end of one stage and the beginning of the next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Boundary {
    /// Training step of the boundary.
    pub step: f64,
    /// Lower end of its 95 % interval.
    pub lower: f64,
    /// Upper end of its 95 % interval.
    pub upper: f64,
    /// What the curve does there.
    pub kind: BoundaryKind,
}

/// Settings of [`stage_boundaries`].
#[derive(Debug, Clone, PartialEq)]
pub struct StageSettings {
    /// Bounds of the length scale of the smoothing, in units of ln(step + 1). Default (0.5, 1000),
    /// as in the published analysis of language models (Hoogland et al. 2024).
    pub length_bounds: (f64, f64),
    /// The curve rests where its slope is below this share of the steepest slope of the stages on
    /// both sides. Default 0.1. The rest around a boundary belongs to its interval.
    pub plateau: f64,
    /// A stage changes by at least this share of the range of the smoothed values. Default 0.02.
    pub min_change: f64,
    /// And that change is so large that noise alone shows one between two of the n points (after
    /// binning) with this probability only: n times that of one pair (Bonferroni). Default 0.05.
    pub alpha: f64,
    /// Longer series are averaged in this many bins of equal width in ln(step + 1). Default 150.
    pub max_points: usize,
    /// Posterior draws behind the intervals. Default 400.
    pub draws: usize,
    /// Seed of the draws. Default 0.
    pub seed: u64,
}

impl Default for StageSettings {
    fn default() -> Self {
        Self {
            length_bounds: (0.5, 1000.0),
            plateau: 0.1,
            min_change: 0.02,
            alpha: 0.05,
            max_points: 150,
            draws: 400,
            seed: 0,
        }
    }
}

/// The boundaries between the stages of `series`, in order of time; none where it has one stage.
///
/// The series is smoothed over x = ln(step + 1) by a Gaussian process with squared-exponential
/// kernel, the given standard errors as known noise, further noise and (from 40 points on) the
/// correlation of the noise of neighbouring points estimated. A stage is a
/// stretch of one sign of the slope d y / d x, clear of its error and of a minimal size, cut in
/// two where the slope rests in between. Boundaries lie between stages, so between the
/// transitions in them. Their intervals come from draws of the slope curve, which hold the
/// smoothing scales fixed, and hold all of the stretch around them on which the curve rests: no place
/// on a flat top is better than another.
///
/// # Errors
/// Fewer than [`MIN_STAGE_POINTS`] points, or a setting out of range.
pub fn stage_boundaries(series: &Series, settings: &StageSettings) -> Result<Vec<Boundary>, SeriesError> {
    settings.check()?;
    let log = series.in_log_time(MIN_STAGE_POINTS, settings.max_points)?;
    let Some(smooth) = Smooth::fit(&log, settings.length_bounds) else {
        return Ok(vec![]);
    };
    let grid = grid_over(&log);
    let slope = smooth.slope(&grid);
    let stages = stages(&log, &grid, &slope, &smooth, settings);
    let mut found = vec![];
    let mut drawn: Option<Vec<Vec<f64>>> = None;
    for pair in stages.windows(2) {
        let gap = Gap { from: pair[0].peak, to: pair[1].peak, signs: (pair[0].sign, pair[1].sign) };
        // The stages differ in sign or were cut at a rest, so the curve itself has a boundary.
        let Some(x) = gap.boundary(&grid, &slope.mean) else {
            continue;
        };
        let curves = drawn.get_or_insert_with(|| {
            let draw = |i| slope.draw(&mut Stream::new(settings.seed, STAGE_STREAM, i as u64));
            (0..settings.draws).map(draw).collect()
        });
        let places: Vec<f64> = curves.iter().filter_map(|c| gap.boundary(&grid, c)).collect();
        let end = |share| {
            if places.is_empty() { x } else { quantile(&places, share) }
        };
        let (rest_from, rest_to) = gap.rest(x, &grid, &slope.mean, settings.plateau);
        let kind = match gap.signs {
            (a, b) if a == b => BoundaryKind::Plateau,
            (a, _) if a > 0.0 => BoundaryKind::Peak,
            _ => BoundaryKind::Trough,
        };
        let (lower, upper) = (step_at(end(0.025).min(rest_from)), step_at(end(0.975).max(rest_to)));
        found.push(Boundary { step: step_at(x), lower, upper, kind });
    }
    Ok(found)
}

impl StageSettings {
    pub(crate) fn check(&self) -> Result<(), SeriesError> {
        let check = |name, value: f64, lies_in: bool, range| {
            if lies_in { Ok(()) } else { Err(SeriesError::BadSetting { name, value, range }) }
        };
        let (shortest, longest) = self.length_bounds;
        check("length_bounds.0", shortest, (1e-3..=1e6).contains(&shortest), "between 0.001 and 1e6")?;
        let lies_in = longest >= shortest && longest <= 1e6;
        check("length_bounds.1", longest, lies_in, "between length_bounds.0 and 1e6")?;
        let (plateau, change, alpha) = (self.plateau, self.min_change, self.alpha);
        check("plateau", plateau, plateau > 0.0 && plateau < 1.0, "between 0 and 1, both excluded")?;
        check("min_change", change, (0.0..1.0).contains(&change), "at least 0 and below 1")?;
        check("alpha", alpha, alpha > 0.0 && alpha <= 1.0, "above 0 and at most 1")?;
        let needed = MIN_STAGE_POINTS;
        check("max_points", self.max_points as f64, self.max_points >= needed, "at least 8")
    }
}

fn grid_over(log: &LogSeries) -> Vec<f64> {
    let (start, end) = (log.x[0], log.x[log.x.len() - 1]);
    (0..GRID).map(|i| start + (end - start) * i as f64 / (GRID - 1) as f64).collect()
}

/// A stretch of the grid with one sign of the slope.
#[derive(Debug, Clone, Copy)]
struct Stage {
    first: usize,
    last: usize,
    sign: f64,
    /// Place of the steepest slope.
    peak: usize,
}

/// The stages that count, in order.
fn stages(
    log: &LogSeries,
    grid: &[f64],
    slope: &SlopePosterior,
    smooth: &Smooth,
    settings: &StageSettings,
) -> Vec<Stage> {
    let values: Vec<f64> = grid.iter().map(|&x| smooth.value(x)).collect();
    let range =
        values.iter().copied().fold(f64::NEG_INFINITY, f64::max) - values.iter().copied().fold(f64::INFINITY, f64::min);
    let mut stages = vec![];
    let mut first = 0;
    while first < grid.len() {
        let sign = if slope.mean[first] >= 0.0 { 1.0 } else { -1.0 };
        let steep: Vec<f64> = slope.mean[first..].iter().map(|s| s * sign).take_while(|&s| s > 0.0).collect();
        let last = first + steep.len().max(1) - 1;
        cut_at_rests(&steep, settings.plateau, &mut |from, to| {
            let (first, last) = (first + from, first + to);
            let steepness = |i: &usize| slope.mean[*i] * sign;
            let peak = (first..=last).max_by(|a, b| steepness(a).total_cmp(&steepness(b))).unwrap_or(first);
            stages.push(Stage { first, last, sign, peak });
        });
        first = last + 1;
    }
    let noise: Vec<f64> = NoiseModel::new(log).noise(&log.y, 0).deviation.iter().map(|d| d * d).collect();
    let is_long = log.x.len() >= ENOUGH_POINTS;
    let min_errors = normal_quantile(1.0 - 0.5 * settings.alpha / log.x.len() as f64);
    stages.retain(|s| {
        let (rise, error) = smooth.difference(grid[s.first], grid[s.last]);
        let change = rise.abs();
        // Around a sharp step the smooth curve rings where the values are flat: they must show at
        // least half of the change themselves, within their noise.
        let (measured_first, first_noise) = measured(log, &noise, grid[s.first]);
        let (measured_last, last_noise) = measured(log, &noise, grid[s.last]);
        let shown = (measured_last - measured_first) * s.sign;
        let is_shown = shown + 2.0 * (first_noise + last_noise).sqrt() > 0.5 * change;
        // Few points may take correlated noise for structure, which then has clear changes, but no clear slopes.
        let is_steep = |i: usize| slope.mean[i].abs() > min_errors * slope.deviation[i];
        // A jump from the first point to the second is a stage only where points are few.
        let n_within = log.x.partition_point(|&x| x <= grid[s.last]) - log.x.partition_point(|&x| x < grid[s.first]);
        let clear =
            change > min_errors * error && if is_long { n_within >= 3 } else { (s.first..=s.last).any(is_steep) };
        clear && is_shown && change > settings.min_change * range
    });
    stages
}

/// The series at `x`, on the straight line between the points around it, and its variance there.
fn measured(log: &LogSeries, noise: &[f64], x: f64) -> (f64, f64) {
    let above = log.x.partition_point(|&p| p <= x).clamp(1, log.x.len() - 1);
    let (left, right) = (log.x[above - 1], log.x[above]);
    let share = (x - left) / (right - left);
    let value = log.y[above - 1] + share * (log.y[above] - log.y[above - 1]);
    (value, noise[above - 1].max(noise[above]))
}

/// Cuts a stretch of positive slopes at each least slope that is below `plateau` of the steepest
/// slope on its left and on its right, and calls `piece` with the ends of every part.
fn cut_at_rests(steep: &[f64], plateau: f64, piece: &mut impl FnMut(usize, usize)) {
    let mut start = 0;
    let mut highest: f64 = 0.0;
    let mut rest: Option<usize> = None;
    for (i, &s) in steep.iter().enumerate() {
        if let Some(low) = rest {
            if s < steep[low] {
                rest = Some(i);
            } else if steep[low] < plateau * s.min(highest) {
                // The slope has risen far enough above its least value: that was a rest.
                piece(start, low);
                (start, highest, rest) = (low + 1, s, None);
            }
        } else if s < highest {
            rest = Some(i);
        }
        // A new height before any rest forgets the shallow dip before it.
        if s >= highest {
            (highest, rest) = (s, None);
        }
    }
    if start < steep.len() || start == 0 {
        piece(start, steep.len().max(1) - 1);
    }
}

/// The stretch between the steepest places of two neighbouring stages.
struct Gap {
    from: usize,
    to: usize,
    signs: (f64, f64),
}

impl Gap {
    /// The boundary of one slope curve in x: between stages of opposite sign the middle of its
    /// zeros in the stretch, between stages of one sign the place where it is least steep (the
    /// middle of the zeros if it turns for a while). `None` if a drawn curve has no such place.
    fn boundary(&self, grid: &[f64], slope: &[f64]) -> Option<f64> {
        let zeros: Vec<f64> = (self.from..self.to)
            .filter(|&i| (slope[i] > 0.0) != (slope[i + 1] > 0.0))
            .map(|i| {
                let share = slope[i] / (slope[i] - slope[i + 1]);
                grid[i] + share * (grid[i + 1] - grid[i])
            })
            .collect();
        if let (Some(first), Some(last)) = (zeros.first(), zeros.last()) {
            return Some(f64::midpoint(*first, *last));
        }
        if self.signs.0 != self.signs.1 {
            return None;
        }
        let steepness = |i: usize| slope[i] * self.signs.0;
        let least = (self.from..=self.to).min_by(|&a, &b| steepness(a).total_cmp(&steepness(b)))?;
        Some(grid[least])
    }

    /// The stretch around the boundary at `x` whose slopes are below `plateau` of the less steep of both sides, or `x`.
    fn rest(&self, x: f64, grid: &[f64], slope: &[f64], plateau: f64) -> (f64, f64) {
        let enough = plateau * slope[self.from].abs().min(slope[self.to].abs());
        let middle = grid.partition_point(|&g| g < x).clamp(self.from, self.to);
        let rests = |i: &usize| slope[*i].abs() < enough;
        let first = (self.from..middle).rev().take_while(rests).last();
        let last = (middle..=self.to).take_while(rests).last();
        (first.map_or(x, |i| grid[i].min(x)), last.map_or(x, |i| grid[i].max(x)))
    }
}
