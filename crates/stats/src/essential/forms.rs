//! Candidate forms: times at which the trajectory turns in every principal plane at once.

use super::curve::{CurvePoint, Stencil, plane_curve};
use super::curve_error::{coordinate_noise, derivative_weights};
use super::smoother::Smoother;
use super::surrogate_curves::{PhaseCurves, walk_curve};
use crate::array_error::{ArrayError, enough, length, setting};
use crate::random::Stream;
use std::f64::consts::{FRAC_PI_2, PI, TAU};

/// Purposes of the random streams.
const PHASE_STREAM: u64 = 62;
const WALK_STREAM: u64 = 63;
/// A direction is known where the velocity is so many standard errors from zero: then it is wrong by
/// more than a third of a radian once in a hundred times (χ² with two degrees of freedom).
const CLEAR: f64 = 3.0;

/// Settings of [`forms`].
#[derive(Debug, Clone, PartialEq)]
pub struct FormSettings {
    /// Width of the smoothing kernel at the first and the last point, in units of the coordinate.
    pub first_width: f64,
    /// See `first_width`.
    pub last_width: f64,
    /// A turn is measured over this many widths on either side. Default 3.
    pub half_window: f64,
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
        Self { first_width, last_width, half_window: 3.0, n_draws: 199, n_forms: 6, walk_dimensions: 30, seed: 0 }
    }
}

/// A time at which the trajectory turns in all planes of principal components.
#[derive(Debug, Clone, PartialEq)]
pub struct Form {
    /// Its coordinate: the middle of the turns, half of each lying before it.
    pub x: f64,
    /// A quarter of the turns lies before.
    pub lower: f64,
    /// A quarter of the turns lies after.
    pub upper: f64,
    /// The smallest turn among the planes, in radians.
    pub turn: f64,
    /// Share of random walks, of their PCA and the same search, with a turn as large anywhere.
    pub p_walk: f64,
    /// The same of smooth curves with the spectra of the observed components and random phases.
    pub p_phases: f64,
    /// The point f* that the trajectory turns at, one coordinate for each component: the mean over
    /// the planes of the centres of turning.
    pub point: Vec<f64>,
    /// How far the planes disagree about it: the largest distance of a centre's coordinate from
    /// the mean, divided by the mean radius. One point f* for all planes makes this small.
    pub spread: f64,
    /// What happens in each plane.
    pub planes: Vec<FormPair>,
}

/// A form in the plane of two components.
#[derive(Debug, Clone, PartialEq)]
pub struct FormPair {
    /// The two components, from 0.
    pub components: [usize; 2],
    /// By how much the tangent turns over the window, in radians.
    pub turn: f64,
    /// Whether it turns by more than a right angle from one point to the next whose direction is
    /// clear of noise: a cusp. Otherwise it wraps around the centre of the osculating circle at the
    /// vertex in the window.
    pub is_cusp: bool,
    /// The centre: of the osculating circle at the vertex, or the cusp itself.
    pub centre: [f64; 2],
    /// Radius of that circle; 0 at a cusp.
    pub radius: f64,
}

/// At most `n_forms` candidate forms of a trajectory, the most significant first.
///
/// A *form* is a point of function space that the trajectory wraps around: in each plane of two
/// components its projection is a cusp of the curve, or the centre of the osculating circle at a
/// vertex, where the evolute has a cusp (Hoogland et al. 2024, versions 1 and 2). Here candidates are
/// windows in which the smoothed tangent turns in all planes, ranked by the smallest of these turns.
/// Directions count only where the velocity is clear of noise, so a standstill between two
/// movements is a single turn. Each candidate is judged by the largest such turn of curves from two
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
    setting("half_window", settings.half_window, settings.half_window > 0.0, "a positive number")?;
    for width in [settings.first_width, settings.last_width] {
        setting("the width of the smoothing", width, width > 0.0, "a positive number")?;
    }
    for component in scores {
        length("a component", component.len(), x.len())?;
    }
    let smoother = Smoother::gaussian(x, settings.first_width, settings.last_width)?;
    let noise = scores.iter().map(|s| coordinate_noise(x, s)).collect::<Result<Vec<f64>, _>>()?;
    let search = Search::new(x, &smoother, settings.half_window);
    let turns = search.turns(scores, &noise);
    let candidates = search.peaks(&turns, settings.n_forms);
    if candidates.is_empty() {
        return Ok(vec![]);
    }
    let phases = PhaseCurves::new(scores)?;
    let largest = |curve: &[Vec<f64>]| -> Result<f64, ArrayError> {
        let noise = curve.iter().map(|s| coordinate_noise(x, s)).collect::<Result<Vec<f64>, _>>()?;
        Ok(search.smallest_turns(&search.turns(curve, &noise)).into_iter().fold(0.0, f64::max))
    };
    let (mut of_phases, mut of_walks) = (vec![], vec![]);
    for draw in 0..settings.n_draws as u64 {
        of_phases.push(largest(&phases.draw(&mut Stream::new(settings.seed, PHASE_STREAM, draw)))?);
        let mut stream = Stream::new(settings.seed, WALK_STREAM, draw);
        of_walks.push(largest(&walk_curve(scores, &noise, settings.walk_dimensions, &mut stream))?);
    }
    let smooth: Vec<Vec<f64>> = scores.iter().map(|s| smoother.smooth(s)).collect();
    let p_value =
        |null: &[f64], turn: f64| (1 + null.iter().filter(|n| **n >= turn).count()) as f64 / (null.len() + 1) as f64;
    let mut found = vec![];
    for (centre, turn) in candidates {
        let mut form = search.describe(&turns, &smooth, centre)?;
        (form.turn, form.p_phases, form.p_walk) = (turn, p_value(&of_phases, turn), p_value(&of_walks, turn));
        found.push(form);
    }
    Ok(found)
}

/// The running direction of the tangent in one plane.
struct PlaneTurns {
    components: [usize; 2],
    /// Total turn up to each point, right turns negative; the direction is carried on where it is lost in noise.
    direction: Vec<f64>,
}

struct Search<'a> {
    x: &'a [f64],
    /// First value and weights of the smoothed slope at each point.
    slopes: Vec<(usize, Vec<f64>)>,
    /// First and last point of the window around each point.
    windows: Vec<(usize, usize)>,
    half_widths: Vec<f64>,
}

impl<'a> Search<'a> {
    fn new(x: &'a [f64], smoother: &Smoother, half_window: f64) -> Self {
        let slope = |i: usize| {
            let stencil = Stencil::new(x, i);
            let first = (0..super::curve::STENCIL).map(|j| smoother.weights(stencil.first + j).0).min();
            (first.unwrap_or(0), derivative_weights(x, smoother, i).0)
        };
        let half_widths: Vec<f64> = smoother.widths().iter().map(|w| half_window * w).collect();
        let window = |i: usize| {
            let first = x.partition_point(|at| *at < x[i] - half_widths[i]);
            (first.min(i), (x.partition_point(|at| *at <= x[i] + half_widths[i]) - 1).max(i))
        };
        Self { x, slopes: (0..x.len()).map(slope).collect(), windows: (0..x.len()).map(window).collect(), half_widths }
    }

    fn turns(&self, scores: &[Vec<f64>], noise: &[f64]) -> Vec<PlaneTurns> {
        let velocity = |values: &Vec<f64>| -> Vec<f64> {
            let at =
                |(first, weights): &(usize, Vec<f64>)| weights.iter().zip(&values[*first..]).map(|(w, v)| w * v).sum();
            self.slopes.iter().map(at).collect()
        };
        let norms: Vec<f64> = self.slopes.iter().map(|(_, w)| w.iter().map(|w| w * w).sum::<f64>().sqrt()).collect();
        let velocities: Vec<Vec<f64>> = scores.iter().map(velocity).collect();
        let mut planes = vec![];
        for b in 1..scores.len() {
            for a in 0..b {
                let (mut total, mut before): (f64, Option<f64>) = (0.0, None);
                let direction = (0..self.x.len()).map(|i| {
                    let (u, v) = (velocities[a][i], velocities[b][i]);
                    let clear = |v: f64, noise: f64| if noise > 0.0 { v / (noise * norms[i]) } else { v * f64::MAX };
                    if clear(u, noise[a]).hypot(clear(v, noise[b])) > CLEAR {
                        let angle = v.atan2(u);
                        let turn = before.map_or(0.0, |before| wrapped(angle - before));
                        (total, before) = (total + turn, Some(angle));
                    }
                    total
                });
                planes.push(PlaneTurns { components: [a, b], direction: direction.collect() });
            }
        }
        planes
    }

    /// At each point, the smallest turn over its window among the planes.
    fn smallest_turns(&self, planes: &[PlaneTurns]) -> Vec<f64> {
        let turn =
            |plane: &PlaneTurns, (first, last): (usize, usize)| (plane.direction[last] - plane.direction[first]).abs();
        let smallest = |w: &(usize, usize)| planes.iter().map(|p| turn(p, *w)).fold(f64::INFINITY, f64::min);
        self.windows.iter().map(smallest).collect()
    }

    /// Points with the largest turns, no two within a window of each other, and the turns.
    fn peaks(&self, planes: &[PlaneTurns], n: usize) -> Vec<(usize, f64)> {
        let turns = self.smallest_turns(planes);
        let mut order: Vec<usize> = (0..turns.len()).filter(|&i| turns[i] > 0.0).collect();
        order.sort_by(|&i, &j| turns[j].total_cmp(&turns[i]).then(i.cmp(&j)));
        let mut kept: Vec<usize> = vec![];
        for i in order {
            let reach = |j: usize| self.half_widths[i] + self.half_widths[j];
            if kept.len() < n && kept.iter().all(|&j| (self.x[i] - self.x[j]).abs() > reach(j)) {
                kept.push(i);
            }
        }
        kept.into_iter().map(|i| (i, turns[i])).collect()
    }

    fn describe(&self, planes: &[PlaneTurns], smooth: &[Vec<f64>], i: usize) -> Result<Form, ArrayError> {
        let (first, last) = self.windows[i];
        // How much of the turns falls between each two points, planes counting alike.
        let mut shares = vec![0.0; last - first];
        for plane in planes {
            let steps: Vec<f64> =
                plane.direction[first..=last].windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
            let sum: f64 = steps.iter().sum();
            shares.iter_mut().zip(&steps).for_each(|(share, step)| *share += step / sum.max(f64::MIN_POSITIVE));
        }
        let x_at = |part: f64| self.x_of_share(first, &shares, part * planes.len() as f64);
        let mut found = vec![];
        for plane in planes {
            found.push(self.in_plane(plane, smooth, first, last)?);
        }
        let mut estimates = vec![vec![]; smooth.len()];
        for pair in &found {
            for side in 0..2 {
                estimates[pair.components[side]].push(pair.centre[side]);
            }
        }
        let point: Vec<f64> = estimates.iter().map(|e| e.iter().sum::<f64>() / e.len() as f64).collect();
        let distances = estimates.iter().zip(&point).flat_map(|(e, p)| e.iter().map(move |e| (e - p).abs()));
        let radius = found.iter().map(|f| f.radius).sum::<f64>() / found.len() as f64;
        let apart = distances.fold(0.0, f64::max);
        Ok(Form {
            x: x_at(0.5),
            lower: x_at(0.25),
            upper: x_at(0.75),
            turn: 0.0,
            p_walk: 1.0,
            p_phases: 1.0,
            point,
            spread: if apart == 0.0 { 0.0 } else { apart / radius },
            planes: found,
        })
    }

    /// Where so much of the turns lies behind, between two points by a straight line.
    fn x_of_share(&self, first: usize, shares: &[f64], part: f64) -> f64 {
        let mut behind = 0.0;
        for (j, share) in shares.iter().enumerate() {
            if behind + share >= part && *share > 0.0 {
                let (from, to) = (self.x[first + j], self.x[first + j + 1]);
                return from + (part - behind) / share * (to - from);
            }
            behind += share;
        }
        self.x[first + shares.len()]
    }

    fn in_plane(
        &self,
        plane: &PlaneTurns,
        smooth: &[Vec<f64>],
        first: usize,
        last: usize,
    ) -> Result<FormPair, ArrayError> {
        let [a, b] = plane.components;
        let curve = plane_curve(self.x, &smooth[a], &smooth[b])?;
        let turn = plane.direction[last] - plane.direction[first];
        let sharpest = (first..last)
            .max_by(|&i, &j| {
                let step = |i: usize| (plane.direction[i + 1] - plane.direction[i]).abs();
                step(i).total_cmp(&step(j))
            })
            .unwrap_or(first);
        let is_cusp = (plane.direction[last.min(sharpest + 1)] - plane.direction[sharpest]).abs() > FRAC_PI_2;
        // The slowest point of a cusp, otherwise the vertex that turns most in the direction of the turn.
        let along = |p: &CurvePoint| p.curvature * turn.signum();
        let window = &curve[first..=last];
        let cusp = window.iter().min_by(|p, q| p.speed().total_cmp(&q.speed()));
        let vertex = window.iter().filter(|p| p.curvature.is_finite()).max_by(|p, q| along(p).total_cmp(&along(q)));
        let (centre, radius) = match (is_cusp, cusp, vertex) {
            (false, _, Some(CurvePoint { centre: Some(centre), radius, .. })) => (*centre, *radius),
            (_, Some(cusp), _) => (cusp.position, 0.0),
            _ => (curve[first].position, 0.0),
        };
        Ok(FormPair { components: plane.components, turn: turn.abs(), is_cusp, centre, radius })
    }
}

/// The angle between −π and π.
fn wrapped(angle: f64) -> f64 {
    angle - TAU * ((angle + PI) / TAU).floor()
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
        // Six widths of 0.05 at unit angular speed.
        assert!((planes.turn - 0.3).abs() < 0.02, "{}", planes.turn);
    }

    #[test]
    fn results_repeat_and_bad_input_is_refused() {
        let (x, scores) = corners(60, 0.05, 2);
        let settings = FormSettings { n_draws: 19, ..FormSettings::smoothed(0.4, 0.8) };
        assert_eq!(forms(&x, &scores, &settings).unwrap(), forms(&x, &scores, &settings).unwrap());
        assert!(forms(&x, &scores[..1], &settings).is_err());
        assert!(forms(&x[..5], &scores, &settings).is_err());
        assert!(forms(&x, &scores, &FormSettings { half_window: 0.0, ..settings }).is_err());
    }
}
