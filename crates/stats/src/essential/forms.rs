//! Candidate forms: points at which the trajectory turns in every principal plane at once.

use super::curve::{CurvePoint, cusps, plane_curve};
use super::curve_error::coordinate_noise;
use super::smoother::Smoother;
use super::surrogate_curves::{PhaseCurves, walk_curve};
use crate::array_error::{ArrayError, enough, length, setting};
use crate::random::Stream;
use std::ops::Range;

/// Purposes of the random streams.
const PHASE_STREAM: u64 = 62;
const WALK_STREAM: u64 = 63;
/// A form lasts as long as the turn is at least this share of its largest.
const LASTING: f64 = 0.9;

/// Settings of [`forms`].
#[derive(Debug, Clone, PartialEq)]
pub struct FormSettings {
    /// Width of the smoothing kernel at the first and the last point, in units of the coordinate.
    pub first_width: f64,
    /// See `first_width`.
    pub last_width: f64,
    /// A turn in a plane is measured between points at this distance before and after, in units of the
    /// root-mean-square radius of the trajectory in the plane. Default 0.25.
    pub arm: f64,
    /// Curves drawn from each of the two nulls. Default 199.
    pub n_draws: usize,
    /// At most so many candidates. Default 6.
    pub n_forms: usize,
    /// Dimensions of the random walks. Default 30.
    pub walk_dimensions: usize,
    /// Seed of the draws. Default 0.
    pub seed: u64,
}

impl FormSettings {
    /// The default settings for a smoothing of these widths.
    pub fn smoothed(first_width: f64, last_width: f64) -> Self {
        Self { first_width, last_width, arm: 0.25, n_draws: 199, n_forms: 6, walk_dimensions: 30, seed: 0 }
    }
}

/// A point at which the trajectory turns in all planes of principal components.
#[derive(Debug, Clone, PartialEq)]
pub struct Form {
    /// Its coordinate: the middle of `lower` and `upper`.
    pub x: f64,
    /// From here the turn is at least nine tenths of its largest,
    pub lower: f64,
    /// to here.
    pub upper: f64,
    /// The smallest turn among the planes, in radians, where it is largest.
    pub turn: f64,
    /// Share of random walks, of their PCA and the same search, with a turn as large anywhere.
    pub p_walk: f64,
    /// The same of smooth curves with the spectra of the observed components and random phases.
    pub p_phases: f64,
    /// The point f* that the trajectory turns at, one coordinate for each component: the mean over
    /// the planes of the centres of turning.
    pub point: Vec<f64>,
    /// How far the planes disagree about it: the largest distance of a centre's coordinate from
    /// the mean, in units of the coordinates. One point f* for all planes makes this small.
    pub spread: f64,
    /// What happens in each plane.
    pub planes: Vec<FormPair>,
}

/// A form in the plane of two components.
#[derive(Debug, Clone, PartialEq)]
pub struct FormPair {
    /// The two components, from 0.
    pub components: [usize; 2],
    /// Angle between the way in and the way out, in [0, π].
    pub turn: f64,
    /// Whether the tangent turns about between two neighbouring points: a cusp. Otherwise the curve wraps
    /// around the centre of its osculating circle at the vertex.
    pub is_cusp: bool,
    /// The centre: of the osculating circle at the vertex, or the cusp itself.
    pub centre: [f64; 2],
    /// Radius of that circle; 0 at a cusp.
    pub radius: f64,
}

/// At most `n_forms` candidate forms of a trajectory, the one with the largest turn first.
///
/// A *form* is a point of function space that the trajectory wraps around: in each plane of two
/// components its projection is a cusp of the curve, or the centre of the osculating circle at a
/// vertex, where the evolute has a cusp (Hoogland et al. 2024, versions 1 and 2). Candidates here are
/// the places where the smoothed curve turns in all planes, ranked by the smallest of these turns. A turn
/// is the angle between the ways in and out over a fixed distance in the plane, whatever time they take:
/// a standstill between two movements is one turn, and wiggles smaller than the distance are none.
/// Each candidate is judged by the largest such turn of curves from two
/// nulls, which are smoothed and searched in the same way; p-values are for the whole search.
///
/// `x` is the coordinate of the points (index or ln(step + 1)), `scores[k][t]` component k at point t,
/// unsmoothed, as of [`TrajectoryPca`](crate::TrajectoryPca); 2 to 5 of them.
///
/// # Errors
/// Fewer than 8 points, fewer than 2 or more than 5 components, lengths that differ, values out of
/// order or not finite, or a setting out of range.
pub fn forms(x: &[f64], scores: &[Vec<f64>], settings: &FormSettings) -> Result<Vec<Form>, ArrayError> {
    enough("points of the trajectory", x.len(), 8)?;
    setting("the number of components", scores.len() as f64, (2..=5).contains(&scores.len()), "2 to 5")?;
    setting("arm", settings.arm, settings.arm > 0.0 && settings.arm.is_finite(), "a positive number")?;
    for component in scores {
        length("a component", component.len(), x.len())?;
    }
    let smoother = Smoother::gaussian(x, settings.first_width, settings.last_width)?;
    let noise = scores.iter().map(|s| coordinate_noise(x, s)).collect::<Result<Vec<f64>, _>>()?;
    let search = |scores: &[Vec<f64>]| Search::new(scores.iter().map(|s| smoother.smooth(s)).collect(), settings.arm);
    let observed = search(scores);
    let candidates = observed.peaks(settings.n_forms);
    if candidates.is_empty() {
        return Ok(vec![]);
    }
    let phases = PhaseCurves::new(scores)?;
    let (mut of_phases, mut of_walks) = (vec![], vec![]);
    for draw in 0..settings.n_draws as u64 {
        let curve = phases.draw(&mut Stream::new(settings.seed, PHASE_STREAM, draw));
        of_phases.push(search(&curve).largest());
        let mut stream = Stream::new(settings.seed, WALK_STREAM, draw);
        of_walks.push(search(&walk_curve(scores, &noise, settings.walk_dimensions, &mut stream)).largest());
    }
    let p_value =
        |null: &[f64], turn: f64| (1 + null.iter().filter(|n| **n >= turn).count()) as f64 / (null.len() + 1) as f64;
    let describe = |i: usize| -> Result<Form, ArrayError> {
        let turn = observed.smallest[i];
        let mut form = observed.describe(x, i)?;
        (form.p_phases, form.p_walk) = (p_value(&of_phases, turn), p_value(&of_walks, turn));
        Ok(form)
    };
    candidates.into_iter().map(describe).collect()
}

/// The turn at one point in one plane, and the points where its ways in and out begin and end.
#[derive(Debug, Clone, Copy)]
struct Turn {
    angle: f64,
    from: usize,
    to: usize,
}

struct Search {
    /// Smoothed components.
    curve: Vec<Vec<f64>>,
    /// Each pair of components, and its turn at every point; none where the curve does not go far enough.
    planes: Vec<([usize; 2], Vec<Option<Turn>>)>,
    /// Smallest turn among the planes, zero where one has none.
    smallest: Vec<f64>,
}

impl Search {
    fn new(curve: Vec<Vec<f64>>, arm: f64) -> Self {
        let mut planes = vec![];
        for b in 1..curve.len() {
            for a in 0..b {
                planes.push(([a, b], turns(&curve[a], &curve[b], arm)));
            }
        }
        let smallest = |i: usize| {
            let angles = planes.iter().map(|(_, turns)| turns[i].map_or(0.0, |turn| turn.angle));
            angles.fold(f64::INFINITY, f64::min)
        };
        Self { smallest: (0..curve[0].len()).map(smallest).collect(), planes, curve }
    }

    fn largest(&self) -> f64 {
        self.smallest.iter().fold(0.0, |a, b| a.max(*b))
    }

    /// Around point i, where the smallest turn is at least nine tenths of that at i.
    fn lasting(&self, i: usize) -> Range<usize> {
        let lasts = |j: &usize| self.smallest[*j] >= LASTING * self.smallest[i];
        let first = (0..i).rev().take_while(lasts).last().unwrap_or(i);
        first..(i + 1..self.smallest.len()).take_while(lasts).last().unwrap_or(i) + 1
    }

    /// From the beginning of the earliest way in to the end of the latest way out.
    fn extent(&self, i: usize) -> (usize, usize) {
        let turns = || self.planes.iter().filter_map(|(_, turns)| turns[i]);
        (turns().map(|t| t.from).min().unwrap_or(i), turns().map(|t| t.to).max().unwrap_or(i))
    }

    /// Points with the largest turns, none within the ways in and out of another.
    fn peaks(&self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.smallest.len()).filter(|&i| self.smallest[i] > 0.0).collect();
        order.sort_by(|&i, &j| self.smallest[j].total_cmp(&self.smallest[i]).then(i.cmp(&j)));
        let mut kept: Vec<usize> = vec![];
        for i in order {
            let is_apart = |&j: &usize| {
                let (from, to) = self.extent(j);
                i < from || i > to
            };
            if kept.len() < n && kept.iter().all(is_apart) {
                kept.push(i);
            }
        }
        kept
    }

    fn describe(&self, x: &[f64], i: usize) -> Result<Form, ArrayError> {
        let lasting = self.lasting(i);
        let (lower, upper) = (x[lasting.start], x[lasting.end - 1]);
        let mut found = vec![];
        for (components, turns) in &self.planes {
            let turn = turns[i].unwrap_or(Turn { angle: 0.0, from: i, to: i });
            found.push(in_plane(x, &self.curve, *components, turn)?);
        }
        let mut estimates = vec![vec![]; self.curve.len()];
        for pair in &found {
            for side in 0..2 {
                estimates[pair.components[side]].push(pair.centre[side]);
            }
        }
        let point: Vec<f64> = estimates.iter().map(|e| e.iter().sum::<f64>() / e.len() as f64).collect();
        let distances = estimates.iter().zip(&point).flat_map(|(e, p)| e.iter().map(move |e| (e - p).abs()));
        let spread = distances.fold(0.0, f64::max);
        let x = f64::midpoint(lower, upper);
        Ok(Form { x, lower, upper, turn: self.smallest[i], p_walk: 1.0, p_phases: 1.0, point, spread, planes: found })
    }
}

/// At each point, the angle between the way from the last point before that is `arm` radii away, and the way to
/// the first such point after.
fn turns(first: &[f64], second: &[f64], arm: f64) -> Vec<Option<Turn>> {
    let n = first.len();
    let mean = |v: &[f64]| v.iter().sum::<f64>() / n as f64;
    let spread = |v: &[f64], m: f64| v.iter().map(|x| (x - m) * (x - m)).sum::<f64>() / n as f64;
    let square = arm * arm * (spread(first, mean(first)) + spread(second, mean(second)));
    let way = |i: usize, j: usize| (first[j] - first[i], second[j] - second[i]);
    let at = |i: usize| {
        let is_away = |j: &usize| {
            let (a, b) = way(i, *j);
            a * a + b * b > square
        };
        let from = (0..i).rev().find(is_away)?;
        let to = (i + 1..n).find(is_away)?;
        let ((a, b), (c, d)) = (way(from, i), way(i, to));
        Some(Turn { angle: (a * d - b * c).atan2(a * c + b * d).abs(), from, to })
    };
    (0..n).map(at).collect()
}

fn in_plane(x: &[f64], smooth: &[Vec<f64>], components: [usize; 2], turn: Turn) -> Result<FormPair, ArrayError> {
    let [a, b] = components;
    let curve = plane_curve(x, &smooth[a], &smooth[b])?;
    let window = &curve[turn.from..=turn.to];
    let at_cusp = cusps(&x[turn.from..=turn.to], window);
    let slowest = window.iter().min_by(|p, q| p.speed().total_cmp(&q.speed()));
    let bends = |p: &&CurvePoint| p.curvature.is_finite();
    let vertex = window.iter().filter(bends).max_by(|p, q| p.curvature.abs().total_cmp(&q.curvature.abs()));
    let is_cusp = !at_cusp.is_empty();
    let (centre, radius) = match (is_cusp, slowest, vertex) {
        (false, _, Some(CurvePoint { centre: Some(centre), radius, .. })) => (*centre, *radius),
        (_, Some(slowest), _) => (slowest.position, 0.0),
        _ => (curve[turn.from].position, 0.0),
    };
    Ok(FormPair { components, turn: turn.angle, is_cusp, centre, radius })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A trajectory that goes from corner to corner, slow at each of them, in three components.
    fn corners(n: usize, noise: f64, seed: u64) -> (Vec<f64>, Vec<Vec<f64>>) {
        let mut stream = Stream::new(seed, 0, 0);
        let x: Vec<f64> = (0..n).map(|i| 10.0 * i as f64 / (n - 1) as f64).collect();
        let places = [[-6.0, -2.0, 1.0], [2.0, 3.0, -2.0], [4.0, -3.0, 1.5]];
        let rise = |x: f64, middle: f64| 1.0 / (1.0 + (-(x - middle) / 0.4).exp());
        let scores = (0..3)
            .map(|k| {
                let at = |x: f64| {
                    places[0][k]
                        + (places[1][k] - places[0][k]) * rise(x, 2.5)
                        + (places[2][k] - places[1][k]) * rise(x, 7.0)
                };
                x.iter().map(|x| at(*x) + noise * stream.normal()).collect()
            })
            .collect();
        (x, scores)
    }

    #[test]
    fn a_corner_is_found_in_its_place_with_the_point_it_turns_at() {
        let (x, scores) = corners(200, 0.02, 1);
        let found = forms(&x, &scores, &FormSettings { n_draws: 39, ..FormSettings::smoothed(0.3, 0.3) }).unwrap();
        assert!(!found.is_empty() && found.len() <= 6);
        let first = &found[0];
        // Both movements are equally quick, and meet half way between 2.5 and 7.
        assert!((first.x - 4.75).abs() < 0.3, "{first:?}");
        assert!(first.lower <= first.x && first.x <= first.upper);
        for (found, corner) in first.point.iter().zip([2.0, 3.0, -2.0]) {
            assert!((found - corner).abs() < 0.7, "{first:?}");
        }
        assert_eq!(first.planes.len(), 3);
        assert!(first.planes.iter().all(|p| p.turn >= first.turn));
    }

    #[test]
    fn a_circle_in_the_plane_has_its_centre() {
        let x: Vec<f64> = (0..300).map(|i| f64::from(i) * 0.01).collect();
        let scores = vec![x.iter().map(|x| 2.0 * x.cos()).collect(), x.iter().map(|x| 1.0 + 2.0 * x.sin()).collect()];
        let found = forms(&x, &scores, &FormSettings { n_draws: 9, ..FormSettings::smoothed(0.05, 0.05) }).unwrap();
        let planes = &found[0].planes[0];
        assert!(!planes.is_cusp && (planes.radius - 2.0).abs() < 0.02, "{planes:?}");
        // Smoothing shrinks the circle by 1 − e^(−σ²/2), 0.1 %; the line at the ends adds as much.
        assert!(planes.centre[0].abs() < 0.02 && (planes.centre[1] - 1.0).abs() < 0.02);
        // Arms to points at distance d on a circle of radius R turn by 2 asin(d/2R); three radians of an arc have the
        // variance 1 − (2 sin(1.5)/3)² of R² in all.
        let arm = 0.25 * (1.0 - (2.0 * 1.5f64.sin() / 3.0).powi(2)).sqrt();
        assert!((planes.turn - 2.0 * (arm / 2.0).asin()).abs() < 0.02, "{}", planes.turn);
    }

    #[test]
    fn results_repeat_and_bad_input_is_refused() {
        let (x, scores) = corners(60, 0.05, 2);
        let settings = FormSettings { n_draws: 19, ..FormSettings::smoothed(0.4, 0.8) };
        assert_eq!(forms(&x, &scores, &settings).unwrap(), forms(&x, &scores, &settings).unwrap());
        assert!(forms(&x, &scores[..1], &settings).is_err());
        assert!(forms(&x[..5], &scores, &settings).is_err());
        assert!(forms(&x, &scores, &FormSettings { arm: 0.0, ..settings }).is_err());
    }
}
