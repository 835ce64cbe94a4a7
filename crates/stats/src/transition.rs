//! Transitions of a series: where they are, how sharp, how large, and how surely.

use crate::hills::{Hill, hills};
use crate::noise::noise_variance;
use crate::null::{fit_null, sigmoid_evidence};
use crate::order::quantile;
use crate::random::Stream;
use crate::segmentation::{Edge, Segment, height, polyline, segment_lines};
use crate::series::{LogSeries, Series, SeriesError, step_at};
use std::f64::consts::LN_10;

/// Fewest points in which transitions are looked for.
pub const MIN_TRANSITION_POINTS: usize = 8;

/// Purposes of the random streams.
const NULL_STREAM: u64 = 1;
const INTERVAL_STREAM: u64 = 2;

/// A steep change between two plateaus.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transition {
    /// Training step at which half of the change is reached.
    pub step: f64,
    /// Lower end of the 95 % interval of `step`.
    pub lower: f64,
    /// Upper end of the 95 % interval of `step`.
    pub upper: f64,
    /// From 10 to 90 % of the change, in decades of step + 1.
    pub width_decades: f64,
    /// Change from plateau to plateau, signed, in the units of the series.
    pub size: f64,
    /// Probability, were the series a smooth curve with noise, of a transition anywhere in it
    /// with as much evidence as this one. At least 1 / (`null_draws` + 1); 1 where the smooth
    /// curve fits better.
    pub p_value: f64,
}

/// Settings of [`transitions`]. The defaults were chosen on simulated series (noise, power laws,
/// steps, grokking pairs) and are meant to stay.
#[derive(Debug, Clone, PartialEq)]
pub struct TransitionSettings {
    /// Transitions with a larger p-value are left out. 1 keeps every candidate, for a correction
    /// over many series by [`benjamini_hochberg`](crate::benjamini_hochberg). Default 0.05.
    pub alpha: f64,
    /// Structure smaller than this share of the range of the values is not looked for: it is
    /// added to the noise, so that a noise-free series is not cut at every curvature. Default 0.01.
    pub resolution: f64,
    /// Price of a segment, in units of ln n; 3 is the BIC of a line and its end. Default 3.
    pub penalty: f64,
    /// A jump between neighbouring segments is kept when above this many of its standard errors;
    /// smaller ones are joined. Default 3.
    pub jump_errors: f64,
    /// A plateau is flatter than this share of the steepest slope beside it. Default 1/3.
    pub plateau: f64,
    /// Longer series are averaged in this many bins of equal width in ln(step + 1). Default 250.
    pub max_points: usize,
    /// Simulated series behind the p-values. Default 999.
    pub null_draws: usize,
    /// Resampled series behind the intervals. Default 400.
    pub interval_draws: usize,
    /// Seed of both. Default 0.
    pub seed: u64,
}

impl Default for TransitionSettings {
    fn default() -> Self {
        Self {
            alpha: 0.05,
            resolution: 0.01,
            penalty: 3.0,
            jump_errors: 3.0,
            plateau: 1.0 / 3.0,
            max_points: 250,
            null_draws: 999,
            interval_draws: 400,
            seed: 0,
        }
    }
}

/// The transitions of `series`, in order of time.
///
/// In x = ln(step + 1): the series is cut into straight lines (exactly, at a BIC price); maximal
/// runs of steep slope of one sign between two plateaus are candidates; the evidence of each is
/// how much better a sigmoid fits the stretch between its neighbours than a power law or straight
/// line does. The p-value comes from the same procedure on `null_draws` simulations of the best
/// smooth null of the whole series, counting the strongest candidate of each: it covers the search
/// over places, not that over several series. Intervals resample the residuals (wild bootstrap),
/// and place the centre at random between the two points that enclose it, since nothing was
/// measured there.
///
/// An exponential relaxation in the step counts as a transition, 1.34 decades wide: no power law
/// of the null is as sharp. Judge by `width_decades` where only sharper ones are wanted.
///
/// The noise is taken for independent from point to point. The cost is
/// O(`null_draws` · m²) with m = min(n, `max_points`), plus O(n).
///
/// # Errors
/// Fewer than [`MIN_TRANSITION_POINTS`] points, or a setting out of range.
pub fn transitions(series: &Series, settings: &TransitionSettings) -> Result<Vec<Transition>, SeriesError> {
    settings.check()?;
    let log = series.in_log_time(MIN_TRANSITION_POINTS, settings.max_points)?;
    let Some(view) = View::new(&log, settings) else {
        return Ok(vec![]);
    };
    let found = view.evidence(f64::NEG_INFINITY);
    if found.is_empty() {
        return Ok(vec![]);
    }
    let weakest = found.iter().map(|(_, e)| *e).filter(|e| *e > 0.0).fold(f64::INFINITY, f64::min);
    let strongest = strongest_under_null(&log, &view, weakest, settings);
    let kept: Vec<(Hill, f64)> = found
        .into_iter()
        .map(|(hill, evidence)| {
            let as_strong = strongest.iter().filter(|&&s| s >= evidence).count();
            let p_value = (as_strong + 1) as f64 / (settings.null_draws + 1) as f64;
            // Where the null fits better outright, no simulation is needed to say so.
            (hill, if evidence > 0.0 { p_value } else { 1.0 })
        })
        .filter(|(_, p_value)| *p_value <= settings.alpha)
        .collect();
    if kept.is_empty() {
        return Ok(vec![]);
    }
    let centres = resampled_centres(&log, &view, &kept, settings);
    let describe = |((hill, p_value), centres): (&(Hill, f64), &Vec<f64>)| {
        let at = |share| hill.position(&view.edges, share);
        let centre = at(0.5);
        // A transition that most resampled series do not show again lies anywhere along its run.
        let is_stable = 2 * centres.len() > settings.interval_draws;
        let (lower, upper) = if is_stable {
            (quantile(centres, 0.025), quantile(centres, 0.975))
        } else {
            (view.edges[hill.first].x0, view.edges[hill.last].x1)
        };
        Transition {
            step: step_at(centre),
            lower: step_at(lower.min(centre)),
            upper: step_at(upper.max(centre)),
            width_decades: (at(0.9) - at(0.1)) / LN_10,
            size: hill.size(&view.edges),
            p_value: *p_value,
        }
    };
    Ok(kept.iter().zip(&centres).map(describe).collect())
}

impl TransitionSettings {
    fn check(&self) -> Result<(), SeriesError> {
        let check = |name, value: f64, lies_in: bool, range| {
            if lies_in { Ok(()) } else { Err(SeriesError::BadSetting { name, value, range }) }
        };
        let Self { alpha, resolution, penalty, jump_errors, plateau, .. } = *self;
        check("alpha", alpha, alpha > 0.0 && alpha <= 1.0, "above 0 and at most 1")?;
        let lies_in = resolution > 0.0 && resolution < 1.0;
        check("resolution", resolution, lies_in, "between 0 and 1, both excluded")?;
        check("penalty", penalty, penalty > 0.0 && penalty.is_finite(), "above 0")?;
        check("jump_errors", jump_errors, jump_errors >= 0.0, "at least 0")?;
        check("plateau", plateau, plateau > 0.0 && plateau < 1.0, "between 0 and 1, both excluded")?;
        let needed = MIN_TRANSITION_POINTS;
        check("max_points", self.max_points as f64, self.max_points >= needed, "at least 8")?;
        check("null_draws", self.null_draws as f64, self.null_draws >= 1, "at least 1")
    }
}

/// A series with its noise, its segments and its runs of slope.
struct View<'a> {
    x: &'a [f64],
    y: &'a [f64],
    /// Variance of each point, the resolution included.
    variance: Vec<f64>,
    segments: Vec<Segment>,
    edges: Vec<Edge>,
    hills: Vec<Hill>,
}

impl<'a> View<'a> {
    /// `None` for a constant series, which has nothing to see.
    fn new(log: &'a LogSeries, settings: &TransitionSettings) -> Option<Self> {
        let floor = settings.resolution * log.range();
        if floor == 0.0 {
            return None;
        }
        let variance = noise_variance(log).into_iter().map(|v| v + floor * floor).collect();
        Some(Self::with_variance(&log.x, &log.y, variance, settings))
    }

    fn with_variance(x: &'a [f64], y: &'a [f64], variance: Vec<f64>, settings: &TransitionSettings) -> Self {
        let penalty = settings.penalty * (x.len() as f64).ln();
        let segments = segment_lines(x, y, &variance, penalty);
        let edges = polyline(x, y, &variance, &segments, settings.jump_errors);
        let hills = hills(&edges, settings.plateau);
        Self { x, y, variance, segments, edges, hills }
    }

    /// Each complete run with its evidence, from the points between its two neighbours; evidence
    /// below `needed` may read −∞.
    fn evidence(&self, needed: f64) -> Vec<(Hill, f64)> {
        let mut found = vec![];
        for (i, hill) in self.hills.iter().enumerate().filter(|(_, h)| h.complete) {
            let from = if i == 0 { self.x[0] } else { self.edges[self.hills[i - 1].last].x1 };
            let to = self.hills.get(i + 1).map_or(f64::INFINITY, |next| self.edges[next.first].x0);
            let first = self.x.partition_point(|&x| x < from);
            let last = self.x.partition_point(|&x| x <= to);
            let range = (self.edges[hill.first].x0, self.edges[hill.last].x1);
            let sign = hill.size(&self.edges).signum();
            let window = first..last;
            let (x, y) = (&self.x[window.clone()], &self.y[window.clone()]);
            if x.len() >= 3 {
                let variance = &self.variance[window];
                let evidence = sigmoid_evidence(x, y, variance, range, sign, needed);
                found.push((*hill, evidence));
            }
        }
        found
    }
}

/// The strongest evidence in each simulation of the smooth null; −∞ where nothing was found, or
/// nothing as strong as `needed`.
fn strongest_under_null(log: &LogSeries, view: &View, needed: f64, settings: &TransitionSettings) -> Vec<f64> {
    let null = fit_null(view.x, view.y, &view.variance);
    // Under the null its residuals are all noise, and a better measure of it than the local
    // scatter: a candidate tends to arise where that happened to come out too small. Each
    // simulation estimates its own noise, so a large scale costs a clear transition nothing.
    let scale = (null.misfit / (view.x.len() as f64 - 4.0)).max(1.0).sqrt();
    let mut simulated = log.clone();
    let simulate = |draw| {
        let mut stream = Stream::new(settings.seed, NULL_STREAM, draw as u64);
        for (i, y) in simulated.y.iter_mut().enumerate() {
            *y = null.fitted[i] + scale * view.variance[i].sqrt() * stream.normal();
        }
        View::new(&simulated, settings).map_or(f64::NEG_INFINITY, |view| {
            view.evidence(needed).iter().map(|(_, e)| *e).fold(f64::NEG_INFINITY, f64::max)
        })
    };
    (0..settings.null_draws).map(simulate).collect()
}

/// Centres of the kept transitions, in x, in the resampled series in which they were found again.
fn resampled_centres(
    log: &LogSeries,
    view: &View,
    kept: &[(Hill, f64)],
    settings: &TransitionSettings,
) -> Vec<Vec<f64>> {
    let noise = noise_variance(log);
    let floor = settings.resolution * log.range();
    let fitted: Vec<f64> = view.x.iter().map(|&x| height(&view.edges, x)).collect();
    // Residuals are inflated for the two fitted numbers of their segment; a short segment has
    // next to no residuals and takes the estimated noise instead.
    let segment_sizes = view.segments.iter().flat_map(|s| std::iter::repeat_n(s.len(), s.len()));
    let spread: Vec<f64> = segment_sizes
        .enumerate()
        .map(|(i, n)| {
            let inflation = n as f64 / (n as f64 - 2.0).max(1.0);
            if n >= 4 { (view.y[i] - fitted[i]).abs() * inflation.sqrt() } else { noise[i].sqrt() }
        })
        .collect();
    let mut centres = vec![vec![]; kept.len()];
    for draw in 0..settings.interval_draws {
        let mut stream = Stream::new(settings.seed, INTERVAL_STREAM, draw as u64);
        let y: Vec<f64> = fitted.iter().zip(&spread).map(|(f, s)| f + s * stream.sign()).collect();
        let again = View::with_variance(view.x, &y, view.variance.clone(), settings);
        for ((hill, _), centres) in kept.iter().zip(&mut centres) {
            let sign = hill.size(&view.edges).signum();
            let (start, end) = (view.edges[hill.first].x0, view.edges[hill.last].x1);
            let original = hill.position(&view.edges, 0.5);
            // The two plateaus are known no better than the resolution, hence half of the change.
            let share = 0.5 + stream.normal() * floor / hill.size(&view.edges).abs();
            let share = share.clamp(0.1, 0.9);
            let nearest = again
                .hills
                .iter()
                .filter(|h| h.complete && h.size(&again.edges) * sign > 0.0)
                .filter(|h| again.edges[h.first].x0 < end && again.edges[h.last].x1 > start)
                .map(|h| h.position(&again.edges, share))
                .min_by(|a, b| (a - original).abs().total_cmp(&(b - original).abs()));
            if let Some(centre) = nearest {
                centres.push(between_points(view.x, centre, &mut stream));
            }
        }
    }
    centres
}

/// A random place between the two points that enclose `centre`: Beta with the same mean, uniform
/// where `centre` is half-way. Any path between the two points is as good as the straight one.
fn between_points(x: &[f64], centre: f64, stream: &mut Stream) -> f64 {
    let above = x.partition_point(|&x| x <= centre).clamp(1, x.len() - 1);
    let (left, right) = (x[above - 1], x[above]);
    let share = ((centre - left) / (right - left)).clamp(0.02, 0.98);
    left + (right - left) * stream.beta(2.0 * share, 2.0 * (1.0 - share))
}
