//! Plane curves: osculating circles, evolute, vertices and cusps, on evenly or unevenly spaced points.

use crate::array_error::{ArrayError, enough, increasing, length};

/// Points under each pair of derivatives.
pub(super) const STENCIL: usize = 5;
/// Products below this share of their terms are rounding: such a curve is straight.
const STRAIGHT: f64 = 1e-12;

/// A plane curve at one of its points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurvePoint {
    /// The point γ.
    pub position: [f64; 2],
    /// γ′, the derivative by the coordinate.
    pub velocity: [f64; 2],
    /// γ″.
    pub acceleration: [f64; 2],
    /// (γ′ × γ″)/|γ′|³, positive in a left turn; independent of the parametrisation. 0 on straight
    /// lines, NaN where the curve stands still.
    pub curvature: f64,
    /// Radius of the osculating circle, 1/|curvature|; infinite on straight lines.
    pub radius: f64,
    /// Centre of the osculating circle, a point of the evolute; none on straight lines.
    pub centre: Option<[f64; 2]>,
}

/// The curve through points (`first`, `second`) over the increasing coordinate `x`.
///
/// Derivatives are those of the polynomial of degree four through five neighbouring points, the
/// nearest five at the ends: relative errors of curvature, radius and centre are O(h³) on any grid of
/// spacing h and O(h⁴) inside an even one (three points would leave O(h) on an uneven grid). Noise is
/// not treated: smooth the coordinates first.
///
/// # Errors
/// Fewer than five points, lengths that differ, or values out of order or not finite.
pub fn plane_curve(x: &[f64], first: &[f64], second: &[f64]) -> Result<Vec<CurvePoint>, ArrayError> {
    enough("points of the curve", x.len(), STENCIL)?;
    increasing("the coordinate", x)?;
    length("the first component", first.len(), x.len())?;
    length("the second component", second.len(), x.len())?;
    crate::array_error::finite("the first component", first)?;
    crate::array_error::finite("the second component", second)?;
    let point = |i: usize| {
        let stencil = Stencil::new(x, i);
        let ([u1, u2], [v1, v2]) = (stencil.derivatives(first), stencil.derivatives(second));
        CurvePoint::new([first[i], second[i]], [u1, v1], [u2, v2])
    };
    Ok((0..x.len()).map(point).collect())
}

impl CurvePoint {
    fn new(position: [f64; 2], velocity: [f64; 2], acceleration: [f64; 2]) -> Self {
        let [u, v] = velocity;
        let [du, dv] = acceleration;
        let speed = u.hypot(v);
        let cross = u * dv - v * du;
        let is_straight = cross.abs() <= STRAIGHT * ((u * dv).abs() + (v * du).abs());
        let curvature = if speed == 0.0 {
            f64::NAN
        } else if is_straight {
            0.0
        } else {
            cross / speed.powi(3)
        };
        let bends = curvature != 0.0 && curvature.is_finite();
        // The unit normal to the left is (−v, u)/|γ′|; the centre lies 1/curvature along it.
        let centre = bends.then(|| {
            let along = 1.0 / (curvature * speed);
            [position[0] - along * v, position[1] + along * u]
        });
        Self { position, velocity, acceleration, curvature, radius: 1.0 / curvature.abs(), centre }
    }

    /// |γ′|.
    pub fn speed(&self) -> f64 {
        self.velocity[0].hypot(self.velocity[1])
    }
}

/// A point where the curvature is extremal: the evolute has a cusp there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Vertex {
    /// Its coordinate x, between grid points by a parabola through three curvatures.
    pub x: f64,
    /// The nearest point of the grid.
    pub index: usize,
    /// Whether |curvature| is largest here (the curve turns most), or smallest.
    pub turns_most: bool,
}

/// Vertices of a curve: extrema of its signed curvature from which it departs on both sides by more
/// than `prominence` of the larger of the two curvatures (0.01, say; noise makes vertices of its own).
pub fn vertices(x: &[f64], curve: &[CurvePoint], prominence: f64) -> Vec<Vertex> {
    let curvature: Vec<f64> = curve.iter().map(|p| p.curvature).collect();
    let departs = |from: f64, to: f64| (to - from).abs() > prominence * from.abs().max(to.abs());
    let mut found = vec![];
    // Alternating extrema: the best so far in the direction of travel, taken when the curve departs from it.
    let (mut highest, mut lowest, mut direction) = (0, 0, 0i8);
    for i in 0..curvature.len() {
        let k = curvature[i];
        if k.is_nan() {
            (highest, lowest, direction) = (i + 1, i + 1, 0);
            continue;
        }
        if highest > i || k > curvature[highest] {
            highest = i;
        }
        if lowest > i || k < curvature[lowest] {
            lowest = i;
        }
        if direction >= 0 && k < curvature[highest] && departs(curvature[highest], k) {
            if direction > 0 {
                found.extend(vertex(x, &curvature, highest));
            }
            (direction, lowest) = (-1, i);
        } else if direction <= 0 && k > curvature[lowest] && departs(curvature[lowest], k) {
            if direction < 0 {
                found.extend(vertex(x, &curvature, lowest));
            }
            (direction, highest) = (1, i);
        }
    }
    found
}

fn vertex(x: &[f64], curvature: &[f64], i: usize) -> Option<Vertex> {
    if i == 0 || i + 1 >= x.len() {
        return None;
    }
    let (left, right) = (curvature[i - 1] - curvature[i], curvature[i + 1] - curvature[i]);
    let (a, b) = (x[i - 1] - x[i], x[i + 1] - x[i]);
    // The parabola c₁ d + c₂ d² through both neighbours has its extremum at −c₁/2c₂.
    let second = (right / b - left / a) / (b - a);
    let first = left / a - second * a;
    let shift = if second == 0.0 { 0.0 } else { (-first / (2.0 * second)).clamp(a, b) };
    Some(Vertex { x: x[i] + shift, index: i, turns_most: (right < 0.0) == (curvature[i] > 0.0) })
}

/// Coordinates of cusps, where γ′ vanishes and the tangent turns about: between two points of the grid
/// whose velocities differ by more than a right angle. The curve must be sampled finely (or smoothed):
/// any turn that falls between two points looks like this.
pub fn cusps(x: &[f64], curve: &[CurvePoint]) -> Vec<f64> {
    let fastest = curve.iter().map(CurvePoint::speed).fold(0.0, f64::max);
    let moving: Vec<usize> = (0..curve.len()).filter(|&i| curve[i].speed() > STRAIGHT * fastest).collect();
    let between = |pair: &[usize]| {
        let (a, b) = (&curve[pair[0]], &curve[pair[1]]);
        let dot = a.velocity[0] * b.velocity[0] + a.velocity[1] * b.velocity[1];
        // The velocity passes zero in between, at the ratio of the two speeds.
        let share = a.speed() / (a.speed() + b.speed());
        (dot < 0.0).then(|| x[pair[0]] + share * (x[pair[1]] - x[pair[0]]))
    };
    moving.windows(2).filter_map(between).collect()
}

/// Weights of the first two derivatives at a point of a grid.
#[derive(Debug, Clone)]
pub(super) struct Stencil {
    pub(super) first: usize,
    pub(super) slope: [f64; STENCIL],
    pub(super) bend: [f64; STENCIL],
}

impl Stencil {
    /// At x[i], from five neighbouring points: derivatives of the polynomial through them, by
    /// multiplying out the Lagrange basis around x[i].
    pub(super) fn new(x: &[f64], i: usize) -> Self {
        let first = i.saturating_sub(STENCIL / 2).min(x.len() - STENCIL);
        let d: [f64; STENCIL] = std::array::from_fn(|j| x[first + j] - x[i]);
        let (mut slope, mut bend) = ([0.0; STENCIL], [0.0; STENCIL]);
        for j in 0..STENCIL {
            // Coefficients of 1, d and d² of Π_{k≠j} (d − d_k)/(d_j − d_k).
            let mut c = [1.0, 0.0, 0.0];
            for k in (0..STENCIL).filter(|&k| k != j) {
                let span = d[j] - d[k];
                c = [-d[k] * c[0] / span, (c[0] - d[k] * c[1]) / span, (c[1] - d[k] * c[2]) / span];
            }
            slope[j] = c[1];
            bend[j] = 2.0 * c[2];
        }
        Self { first, slope, bend }
    }

    pub(super) fn derivatives(&self, values: &[f64]) -> [f64; 2] {
        let near = &values[self.first..self.first + STENCIL];
        // Weights add up to zero, so a common level may go; of a curve that stands still nothing is left.
        let sum = |weights: &[f64; STENCIL]| weights.iter().zip(near).map(|(w, v)| w * (v - near[0])).sum();
        [sum(&self.slope), sum(&self.bend)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;
    use std::f64::consts::{PI, TAU};

    /// A grid on [from, to], even or with gaps that differ by factors up to three.
    fn grid(n: usize, from: f64, to: f64, is_even: bool) -> Vec<f64> {
        let mut stream = Stream::new(9, 0, 0);
        let gaps: Vec<f64> = (0..n - 1).map(|_| if is_even { 1.0 } else { 0.5 + stream.uniform() }).collect();
        let total: f64 = gaps.iter().sum();
        let mut x = vec![from];
        x.extend(gaps.iter().scan(0.0, |at, gap| {
            *at += gap;
            Some(from + (to - from) * *at / total)
        }));
        x
    }

    fn curve(x: &[f64], at: impl Fn(f64) -> [f64; 2]) -> Vec<CurvePoint> {
        let (a, b): (Vec<f64>, Vec<f64>) = x.iter().map(|x| at(*x).into()).unzip();
        plane_curve(x, &a, &b).unwrap()
    }

    #[test]
    fn a_circle_has_its_radius_and_centre_to_the_stated_order() {
        for (is_even, order) in [(true, 4.0), (false, 3.0)] {
            let error = |n: usize| {
                let points = curve(&grid(n, 0.3, 0.3 + TAU, is_even), |t| [7.0 + 2.5 * t.cos(), -1.0 + 2.5 * t.sin()]);
                let inner = &points[2..n - 2];
                inner.iter().fold(0.0_f64, |worst, p| {
                    let c = p.centre.unwrap();
                    let off = (c[0] - 7.0).hypot(c[1] + 1.0);
                    assert!(p.curvature > 0.0, "a left turn");
                    worst.max((p.radius / 2.5 - 1.0).abs()).max(off / 2.5)
                })
            };
            let (coarse, fine) = (error(60), error(480));
            assert!(coarse < 0.01, "{coarse}");
            // Eight times as fine: the error falls by 8^order, of which random gaps may take a half power.
            let found = (coarse / fine).log2() / 3.0;
            assert!(found > order - 0.5, "order {found}");
        }
    }

    #[test]
    fn an_ellipse_has_four_vertices_with_known_radii_and_evolute_cusps() {
        let (a, b) = (3.0, 1.5);
        let x = grid(801, -0.4, TAU - 0.2, false);
        let points = curve(&x, |t| [a * t.cos(), b * t.sin()]);
        let found = vertices(&x, &points, 1e-3);
        let expected = [0.0, PI / 2.0, PI, 1.5 * PI];
        assert_eq!(found.len(), 4, "{found:?}");
        for (vertex, at) in found.iter().zip(expected) {
            assert!((vertex.x - at).abs() < 1e-3, "{vertex:?}");
            let p = points[vertex.index];
            let on_long_axis = vertex.turns_most;
            assert_eq!(on_long_axis, at == 0.0 || at == PI);
            let radius = if on_long_axis { b * b / a } else { a * a / b };
            // The grid is at most 0.012 from the vertex, where the radius is stationary.
            assert!((p.radius / radius - 1.0).abs() < 1e-3, "{} {radius}", p.radius);
            let c = p.centre.unwrap();
            let cusp = if on_long_axis {
                [(a * a - b * b) / a * at.cos(), 0.0]
            } else {
                [0.0, -(a * a - b * b) / b * at.sin()]
            };
            assert!((c[0] - cusp[0]).hypot(c[1] - cusp[1]) < 2e-2 * a, "{c:?} {cusp:?}");
        }
    }

    #[test]
    fn a_straight_line_has_no_circle() {
        let x = grid(30, 0.0, 4.0, true);
        for p in curve(&x, |t| [2.0 * t, 5.0 - 4.0 * t]) {
            // Rounding of the stencils may leave a bend of 1e-12.
            assert!(p.radius > 1e9, "{p:?}");
        }
        let x: Vec<f64> = (0..16).map(f64::from).collect();
        let still = curve(&x, |_| [1.0, 1.0]);
        assert!(still.iter().all(|p| p.curvature.is_nan() && p.centre.is_none()));
        assert!(vertices(&x, &still, 0.01).is_empty() && cusps(&x, &still).is_empty());
    }

    #[test]
    fn the_semicubical_parabola_has_its_cusp() {
        for is_even in [true, false] {
            let x = grid(42, -1.0, 1.3, is_even);
            let found = cusps(&x, &curve(&x, |t| [t * t, t * t * t]));
            assert_eq!(found.len(), 1);
            // Its speed is 2|t| near the cusp, so the ratio of speeds places it to second order in the gap.
            assert!(found[0].abs() < 5e-3, "{found:?}");
        }
        let x = grid(101, 0.0, TAU, true);
        assert!(cusps(&x, &curve(&x, |t| [t.cos(), t.sin()])).is_empty());
    }

    #[test]
    fn the_parametrisation_does_not_matter() {
        let x = grid(400, 0.1, 3.0, true);
        let squares: Vec<f64> = x.iter().map(|x| x * x).collect();
        let at = |t: f64| [t, (2.0 * t).sin()];
        let plain = curve(&x, at);
        let other = curve(&squares, |s| at(s.sqrt()));
        for (a, b) in plain[3..397].iter().zip(&other[3..397]) {
            assert!((a.curvature - b.curvature).abs() < 1e-4 * (1.0 + a.curvature.abs()));
        }
    }
}
