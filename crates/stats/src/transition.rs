//! Transitions of a series: where they are, how sharp, how large, and how surely.

use crate::hills::{Hill, hills};
use crate::noise::{Noise, NoiseModel, Whitener};
use crate::null::{fit_null, sigmoid_evidence};
use crate::order::quantile;
use crate::random::Stream;
use crate::segmentation::{Edge, Sums, height, polyline, segment_lines};
use crate::series::{Series, SeriesError, step_at};
use std::borrow::Cow;
use std::f64::consts::LN_10;

/// Fewest points in which transitions are looked for.
pub const MIN_TRANSITION_POINTS: usize = 8;

/// Purposes of the random streams.
const NULL_STREAM: u64 = 1;
const INTERVAL_STREAM: u64 = 2;
/// Simulations that reach the evidence of a candidate, after which its p-value is known well enough.
const ENOUGH: usize = 20;
/// Series up to this length are short.
const SHORT: usize = 100;
/// Standard error of the robust noise coefficient, times √n.
const COEFFICIENT_ERROR: f64 = 1.7;

/// A steep change between two plateaus.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transition {
    /// Training step at which half of the change is reached.
    pub step: f64,
    /// Lower end of the 95 % interval of `step`.
    pub lower: f64,
    /// Upper end of the 95 % interval of `step`.
    pub upper: f64,
    /// Training step at which 10 % of the change is reached.
    pub start: f64,
    /// Training step at which 90 % of the change is reached.
    pub end: f64,
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
/// In x = ln(step + 1): the noise is estimated as a first-order autoregression of the original
/// points with a level that may change, from contrasts that trend and steps hardly enter; the
/// series is cut into straight lines (exactly, by generalised least squares, at a BIC price);
/// maximal runs of steep slope of one sign between two plateaus are candidates; the evidence of
/// each is how much better a sigmoid fits the stretch between its neighbours than a power law or
/// straight line does, with the covariance of the noise. The p-value comes from the same procedure
/// on up to `null_draws` simulations of the best smooth null of the whole series with
/// autoregressive noise, counting the strongest candidate of each: it covers the search over
/// places, not that over several series. Intervals come from the fitted curve with resampled
/// autoregressive noise, and place the centre at random between the two points that enclose it,
/// since nothing was measured there.
///
/// An exponential relaxation in the step counts as a transition, 1.34 decades wide: no power law
/// of the null is as sharp. Judge by `width_decades` where only sharper ones are wanted.
///
/// Formulas, settings and measured error rates: `docs/detector.md`. The cost is
/// O(`null_draws` · m²) with m = min(n, `max_points`) at worst, plus O(n).
///
/// # Errors
/// Fewer than [`MIN_TRANSITION_POINTS`] points, or a setting out of range.
pub fn transitions(series: &Series, settings: &TransitionSettings) -> Result<Vec<Transition>, SeriesError> {
    settings.check()?;
    let log = series.in_log_time(MIN_TRANSITION_POINTS, settings.max_points)?;
    let model = NoiseModel::new(&log);
    let detector = Detector { x: &log.x, y: &log.y, model: &model, settings };
    Ok(detector.transitions())
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

/// A series in logarithmic time, and what its noise can look like.
struct Detector<'a> {
    x: &'a [f64],
    y: &'a [f64],
    model: &'a NoiseModel<'a>,
    settings: &'a TransitionSettings,
}

impl Detector<'_> {
    fn transitions(&self) -> Vec<Transition> {
        let floor = self.settings.resolution * range(self.y);
        // A constant series has nothing to see.
        if floor == 0.0 {
            return vec![];
        }
        let noise = self.noise(self.y, floor);
        let view = View::new(self.x, self.y, Whitener::new(&noise.with_floor(floor)), self.settings);
        let found = view.evidence(f64::NEG_INFINITY);
        if found.is_empty() {
            return vec![];
        }
        let evidence: Vec<f64> = found.iter().map(|(_, e)| *e).collect();
        let p_values = self.p_values(&view, floor, &evidence);
        let kept: Vec<(Hill, f64)> = found.iter().map(|(hill, _)| *hill).zip(p_values).collect();
        let kept: Vec<(Hill, f64)> = kept.into_iter().filter(|(_, p)| *p <= self.settings.alpha).collect();
        if kept.is_empty() {
            return vec![];
        }
        let centres = self.resampled_centres(&view, &noise, floor, &kept);
        let describe = |((hill, p_value), centres): (&(Hill, f64), &Vec<f64>)| {
            let at = |share| hill.position(&view.edges, share);
            let centre = at(0.5);
            // A transition that most resampled series do not show again lies anywhere along its run.
            let is_stable = 2 * centres.len() > self.settings.interval_draws;
            let (lower, upper) = if is_stable {
                (quantile(centres, 0.025), quantile(centres, 0.975))
            } else {
                (view.edges[hill.first].x0, view.edges[hill.last].x1)
            };
            Transition {
                step: step_at(centre),
                lower: step_at(lower.min(centre)),
                upper: step_at(upper.max(centre)),
                start: step_at(at(0.1)),
                end: step_at(at(0.9)),
                width_decades: (at(0.9) - at(0.1)) / LN_10,
                size: hill.size(&view.edges),
                p_value: *p_value,
            }
        };
        kept.iter().zip(&centres).map(describe).collect()
    }

    /// The p-value of each evidence: how often the strongest candidate of a simulation of the
    /// smooth null reaches it. Simulations end once every candidate was reached [`ENOUGH`] times
    /// (Besag and Clifford 1991): its p-value is then `ENOUGH` / simulations made.
    fn p_values(&self, view: &View, floor: f64, evidence: &[f64]) -> Vec<f64> {
        let n = self.x.len();
        let null = fit_null(self.x, self.y, &view.whitener, &(0..n));
        let sample = self.noise_sample(self.y, floor);
        let k = self.null_coefficient(&null.fitted, view, floor);
        let noise = self.model.noise(&sample, k).with_floor(floor);
        let rest: Vec<f64> = self.y.iter().zip(&null.fitted).map(|(y, f)| y - f).collect();
        let misfit: f64 = Whitener::new(&noise).apply(&(0..n), &rest).iter().map(|z| z * z).sum();
        // Under the null its residuals are all noise, and a better measure of it than the local
        // scatter: a candidate tends to arise where that happened to come out too small. Each
        // simulation estimates its own noise, so a large scale costs a clear transition nothing.
        let scale = (misfit / (n as f64 - 4.0)).max(1.0).sqrt();
        let mut reached = vec![0usize; evidence.len()];
        // Where the null fits better outright, no simulation is needed to say so.
        let mut p_values: Vec<Option<f64>> = evidence.iter().map(|&e| (e <= 0.0).then_some(1.0)).collect();
        for draw in 0..self.settings.null_draws {
            let open = evidence.iter().zip(&p_values).filter(|(_, p)| p.is_none());
            let needed = open.map(|(e, _)| *e).fold(f64::INFINITY, f64::min);
            if needed == f64::INFINITY {
                break;
            }
            let mut stream = Stream::new(self.settings.seed, NULL_STREAM, draw as u64);
            let strongest = self.strongest(&null.fitted, &noise.draw(scale, &mut stream), needed);
            for ((e, reached), p_value) in evidence.iter().zip(&mut reached).zip(&mut p_values) {
                if strongest >= *e {
                    *reached += 1;
                }
                if *reached == ENOUGH && p_value.is_none() {
                    *p_value = Some(ENOUGH as f64 / (draw + 1) as f64);
                }
            }
        }
        let of_all = |reached: usize| (reached + 1) as f64 / (self.settings.null_draws + 1) as f64;
        p_values.into_iter().zip(reached).map(|(p, reached)| p.unwrap_or_else(|| of_all(reached))).collect()
    }

    /// The noise of a series.
    fn noise(&self, y: &[f64], floor: f64) -> Noise {
        let sample = self.noise_sample(y, floor);
        self.model.noise(&sample, self.coefficient(&sample, floor))
    }

    /// Values that show the noise: the series itself. In a short one, whose neighbouring points
    /// show more of a transition than of the noise, the residuals of its segments.
    fn noise_sample<'a>(&self, y: &'a [f64], floor: f64) -> Cow<'a, [f64]> {
        if y.len() <= SHORT {
            let first = self.model.noise(y, self.coefficient(y, floor)).with_floor(floor);
            let view = View::new(self.x, y, Whitener::new(&first), self.settings);
            if !view.hills.is_empty() {
                return self.x.iter().zip(y).map(|(&x, y)| y - height(&view.edges, x)).collect();
            }
        }
        Cow::Borrowed(y)
    }

    /// The noise coefficient for costs and evidence: a standard error below the estimate, because a
    /// transition too narrow for its sampling looks like correlated noise. The p-values make up
    /// for what is too low, as the simulations are treated alike.
    fn coefficient(&self, y: &[f64], floor: f64) -> usize {
        let phi = self.model.phi(self.model.coefficient(y, floor));
        self.model.index_of((phi - COEFFICIENT_ERROR / (y.len() as f64).sqrt()).max(0.0))
    }

    /// The noise coefficient of the simulations. Were the null true, its residuals would say it
    /// best (a standard error is added); they take steps for noise, so they are believed up to 3.5 standard errors above what
    /// the residuals of the segments and the estimate that is blind to steps say.
    fn null_coefficient(&self, fitted: &[f64], view: &View, floor: f64) -> usize {
        let n = self.x.len() as f64;
        let error = |phi: f64| ((1.0 - phi * phi).max(0.0) / n).sqrt();
        let of_null = self.likeliest_coefficient(fitted, 4.0, floor);
        // Simulations with too little correlation give false alarms; those with too much cost power.
        let of_null = of_null + error(of_null);
        let segments: Vec<f64> = self.x.iter().map(|&x| height(&view.edges, x)).collect();
        let of_segments = self.likeliest_coefficient(&segments, 1.0 + view.edges.len() as f64, floor);
        let robust = self.model.phi(self.model.coefficient(self.y, floor));
        let middle = robust.max(of_segments).min(1.0);
        self.model.index_of(of_null.min(middle + 3.5 * error(middle)))
    }

    /// The coefficient of greatest likelihood for the residuals of a curve with `n_parameters`,
    /// freed of its bias of about −(1 + 3φ + p (1 + φ)) / n.
    fn likeliest_coefficient(&self, fitted: &[f64], n_parameters: f64, floor: f64) -> f64 {
        let n = self.x.len();
        let rest: Vec<f64> = self.y.iter().zip(fitted).map(|(y, f)| y - f).collect();
        let likelihood = |k: usize| {
            let noise = self.model.noise(self.y, k).with_floor(floor);
            let white = Whitener::new(&noise).apply(&(0..n), &rest);
            let innovation = noise.deviation.iter().zip(&noise.correlation);
            let log_scale: f64 = innovation.map(|(d, c)| d.ln() + 0.5 * (1.0 - c * c).ln()).sum();
            -0.5 * n as f64 * white.iter().map(|z| z * z).sum::<f64>().ln() - log_scale
        };
        let values: Vec<f64> = (0..self.model.n_coefficients()).map(likelihood).collect();
        let best = (0..values.len()).max_by(|&a, &b| values[a].total_cmp(&values[b])).unwrap_or(0);
        let phi = self.model.phi(best);
        phi + (1.0 + 3.0 * phi + n_parameters * (1.0 + phi)) / n as f64
    }

    /// The strongest evidence in the smooth curve with this noise, all estimates made anew; −∞
    /// where nothing was found, or nothing as strong as `needed`.
    fn strongest(&self, smooth: &[f64], noise: &[f64], needed: f64) -> f64 {
        let y: Vec<f64> = smooth.iter().zip(noise).map(|(s, e)| s + e).collect();
        let floor = self.settings.resolution * range(&y);
        let estimated = self.noise(&y, floor).with_floor(floor);
        let whitener = Whitener::new(&estimated);
        // No candidate has more evidence than the misfit of the true curve, which the null holds;
        // in a stretch within the series one point is not whitened by the one before.
        let misfit: f64 = whitener.apply(&(0..y.len()), noise).iter().map(|z| z * z).sum();
        let alone = noise.iter().zip(&whitener.first).map(|(e, f)| (e * f) * (e * f)).fold(0.0, f64::max);
        if misfit + alone < needed {
            return f64::NEG_INFINITY;
        }
        let view = View::new(self.x, &y, whitener, self.settings);
        view.evidence(needed).iter().map(|(_, e)| *e).fold(f64::NEG_INFINITY, f64::max)
    }

    /// Centres of the kept transitions, in x, in the resampled series in which they were found
    /// again: the fitted curve with autoregressive noise (Davison and Hinkley 1997, section 8.2.2).
    fn resampled_centres(&self, view: &View, noise: &Noise, floor: f64, kept: &[(Hill, f64)]) -> Vec<Vec<f64>> {
        let fitted: Vec<f64> = self.x.iter().map(|&x| height(&view.edges, x)).collect();
        let mut centres = vec![vec![]; kept.len()];
        for draw in 0..self.settings.interval_draws {
            let mut stream = Stream::new(self.settings.seed, INTERVAL_STREAM, draw as u64);
            let drawn = noise.draw(1.0, &mut stream);
            let y: Vec<f64> = fitted.iter().zip(drawn).map(|(f, e)| f + e).collect();
            let again = View::new(self.x, &y, Whitener::new(&noise.with_floor(floor)), self.settings);
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
                    centres.push(between_points(self.x, centre, &mut stream));
                }
            }
        }
        centres
    }
}

/// A series with its segments and its runs of slope.
struct View<'a> {
    x: &'a [f64],
    y: &'a [f64],
    whitener: Whitener,
    edges: Vec<Edge>,
    hills: Vec<Hill>,
}

impl<'a> View<'a> {
    fn new(x: &'a [f64], y: &'a [f64], whitener: Whitener, settings: &TransitionSettings) -> Self {
        let sums = Sums::new(x, y, &whitener);
        let segments = segment_lines(&sums, settings.penalty * (x.len() as f64).ln());
        let edges = polyline(x, &sums, &segments, settings.jump_errors);
        let hills = hills(x, &edges, settings.plateau);
        Self { x, y, whitener, edges, hills }
    }

    /// Each complete run with its evidence, from the points between its two neighbours; evidence
    /// below `needed` may read −∞.
    fn evidence(&self, needed: f64) -> Vec<(Hill, f64)> {
        let mut found = vec![];
        for (i, hill) in self.hills.iter().enumerate().filter(|(_, h)| h.complete) {
            let from = if i == 0 { self.x[0] } else { self.edges[self.hills[i - 1].last].x1 };
            let to = self.hills.get(i + 1).map_or(f64::INFINITY, |next| self.edges[next.first].x0);
            let stretch = self.x.partition_point(|&x| x < from)..self.x.partition_point(|&x| x <= to);
            let range = (self.edges[hill.first].x0, self.edges[hill.last].x1);
            let sign = hill.size(&self.edges).signum();
            let (x, y) = (&self.x[stretch.clone()], &self.y[stretch.clone()]);
            if x.len() >= 3 {
                let evidence = sigmoid_evidence(x, y, &self.whitener, &stretch, range, sign, needed);
                found.push((*hill, evidence));
            }
        }
        found
    }
}

/// Largest minus smallest value.
fn range(y: &[f64]) -> f64 {
    y.iter().copied().fold(f64::NEG_INFINITY, f64::max) - y.iter().copied().fold(f64::INFINITY, f64::min)
}

/// A random place between the two points that enclose `centre`: Beta with the same mean, uniform
/// where `centre` is half-way. Any path between the two points is as good as the straight one.
fn between_points(x: &[f64], centre: f64, stream: &mut Stream) -> f64 {
    let above = x.partition_point(|&x| x <= centre).clamp(1, x.len() - 1);
    let (left, right) = (x[above - 1], x[above]);
    let share = ((centre - left) / (right - left)).clamp(0.02, 0.98);
    left + (right - left) * stream.beta(2.0 * share, 2.0 * (1.0 - share))
}
