//! Exact segmentation of a series into straight lines, and the polyline it makes.

use crate::changes::cheapest_cuts;
use crate::noise::Whitener;

/// Points `first..=last` and the weighted least-squares line through them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Segment {
    pub(crate) first: usize,
    pub(crate) last: usize,
    centre: f64,
    level: f64,
    slope: f64,
    level_variance: f64,
    slope_variance: f64,
}

impl Segment {
    /// Height of the line at `x`.
    pub(crate) fn at(&self, x: f64) -> f64 {
        self.level + self.slope * (x - self.centre)
    }

    fn rise_error(&self, from: f64, to: f64) -> f64 {
        self.slope_variance.sqrt() * (to - from)
    }

    fn variance_at(&self, x: f64) -> f64 {
        let offset = x - self.centre;
        self.level_variance + self.slope_variance * offset * offset
    }
}

/// Partition into straight lines, free to jump between segments, that minimises the sum over
/// segments of the generalised least squares (y − line)ᵀ Σ⁻¹ (y − line), plus `penalty` for each,
/// exactly. Σ is the covariance of the noise within a segment; between segments it starts anew,
/// which makes the cost additive (cf. Chakar et al. 2017, who whiten across the change).
pub(crate) fn segment_lines(sums: &Sums, penalty: f64) -> Vec<Segment> {
    let n = sums.upto.len() - 1;
    // With correlated noise two parts may cost more than the whole, and PELT would not be exact.
    let mut starts = vec![0];
    starts.extend(cheapest_cuts(n, 1, penalty, !sums.is_correlated, |starts, end, costs| {
        costs.clear();
        costs.extend(starts.iter().map(|&start| sums.cost(start, end)));
    }));
    let ends = starts.iter().skip(1).copied().chain([n]);
    starts.iter().zip(ends).map(|(&start, end)| sums.segment(start, end)).collect()
}

/// One straight piece of the fitted curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Edge {
    pub(crate) x0: f64,
    pub(crate) y0: f64,
    pub(crate) x1: f64,
    pub(crate) y1: f64,
    /// Standard error of the rise y1 − y0.
    pub(crate) rise_error: f64,
}

impl Edge {
    pub(crate) fn rise(&self) -> f64 {
        self.y1 - self.y0
    }

    pub(crate) fn slope(&self) -> f64 {
        self.rise() / (self.x1 - self.x0)
    }
}

/// The continuous curve through the segments.
///
/// A jump between two segments that is above `jump_errors` of its standard errors becomes a ramp:
/// the one, over any stretch around the jump, with the least squared error, the segments being
/// refitted to the points left to them. (Straight lines that may jump put a jump into the middle
/// of every noisy sigmoid; the ramp gives it its width back.) Smaller jumps become a shared vertex.
pub(crate) fn polyline(x: &[f64], sums: &Sums, segments: &[Segment], jump_errors: f64) -> Vec<Edge> {
    let mut edges = vec![];
    let mut segment = segments[0];
    let mut start = (x[segment.first], segment.at(x[segment.first]));
    for &next in &segments[1..] {
        let (x_last, x_next) = (x[segment.last], x[next.first]);
        let jump = next.at(x_next) - segment.at(x_last);
        let error = (segment.variance_at(x_last) + next.variance_at(x_next)).sqrt();
        if jump.abs() > jump_errors * error {
            let (before, after) = sums.best_ramp(x, segment, next);
            let end = (x[before.last], before.at(x[before.last]));
            let landing = (x[after.first], after.at(x[after.first]));
            push_edge(&mut edges, start, end, before.rise_error(start.0, end.0));
            let variance = before.variance_at(end.0) + after.variance_at(landing.0);
            push_edge(&mut edges, end, landing, variance.sqrt());
            (segment, start) = (after, landing);
        } else {
            // The gentler line is drawn on to the end of the steeper one: a steep line drawn on
            // would overshoot.
            let joint = if segment.slope.abs() > next.slope.abs() {
                (x_last, f64::midpoint(segment.at(x_last), next.at(x_last)))
            } else {
                (x_next, f64::midpoint(segment.at(x_next), next.at(x_next)))
            };
            push_edge(&mut edges, start, joint, segment.rise_error(start.0, joint.0));
            (segment, start) = (next, joint);
        }
    }
    let x_end = x[segment.last];
    push_edge(&mut edges, start, (x_end, segment.at(x_end)), segment.rise_error(start.0, x_end));
    edges
}

/// Height of the polyline at `x`.
pub(crate) fn height(edges: &[Edge], x: f64) -> f64 {
    let i = edges.partition_point(|e| e.x1 < x).min(edges.len() - 1);
    edges[i].y0 + edges[i].slope() * (x - edges[i].x0)
}

fn push_edge(edges: &mut Vec<Edge>, from: (f64, f64), to: (f64, f64), rise_error: f64) {
    // A segment of one point, or one that ends at the vertex it began at, has no extent.
    if to.0 > from.0 {
        edges.push(Edge { x0: from.0, y0: from.1, x1: to.0, y1: to.1, rise_error });
    }
}

/// Running sums that give the cost of any segment in constant time: products of the whitened
/// columns 1, x and y, namely 11, 1x, xx, 1y, xy and yy.
pub(crate) struct Sums {
    x_origin: f64,
    y_origin: f64,
    /// Sums over the first i points, each whitened by the one before it.
    upto: Vec<[f64; 6]>,
    /// What to take off for a segment that starts at point i: it is not whitened by the one before.
    before: Vec<[f64; 6]>,
    is_correlated: bool,
}

impl Sums {
    pub(crate) fn new(x: &[f64], y: &[f64], whitener: &Whitener) -> Self {
        let n = x.len();
        // Centred numbers keep the differences of running sums accurate.
        let x_origin = f64::midpoint(x[0], x[n - 1]);
        let y_origin = y.iter().sum::<f64>() / n as f64;
        let (mut upto, mut before) = (Vec::with_capacity(n + 1), Vec::with_capacity(n));
        let mut sum = [0.0; 6];
        let mut last = [0.0; 3];
        upto.push(sum);
        let products = |[a, u, v]: [f64; 3]| [a * a, a * u, u * u, a * v, u * v, v * v];
        for i in 0..n {
            let point = [1.0, x[i] - x_origin, y[i] - y_origin];
            let alone = products(point.map(|p| whitener.first[i] * p));
            let mut whitened = point.map(|p| whitener.own[i] * p);
            for (w, l) in whitened.iter_mut().zip(last) {
                *w -= whitener.previous[i] * l;
            }
            for (total, term) in sum.iter_mut().zip(products(whitened)) {
                *total += term;
            }
            let mut offset = sum;
            for (o, term) in offset.iter_mut().zip(alone) {
                *o -= term;
            }
            before.push(offset);
            upto.push(sum);
            last = point;
        }
        let is_correlated = whitener.previous.iter().any(|&p| p != 0.0);
        Self { x_origin, y_origin, upto, before, is_correlated }
    }

    /// Weight of the constant, weighted means of x and y, and centred xx, xy, yy of points start..end.
    fn moments(&self, start: usize, end: usize) -> [f64; 6] {
        let (a, b) = (&self.before[start], &self.upto[end]);
        let w = b[0] - a[0];
        let (x, y) = ((b[1] - a[1]) / w, (b[3] - a[3]) / w);
        let xx = b[2] - a[2] - w * x * x;
        let xy = b[4] - a[4] - w * x * y;
        let yy = b[5] - a[5] - w * y * y;
        [w, x, y, xx, xy, yy]
    }

    fn cost(&self, start: usize, end: usize) -> f64 {
        if end - start <= 2 {
            return 0.0;
        }
        let [_, _, _, xx, xy, yy] = self.moments(start, end);
        (yy - xy * xy / xx).max(0.0)
    }

    /// Σ w (y − line)² of points start..end about the line through two places.
    fn cost_of_line(&self, start: usize, end: usize, from: (f64, f64), to: (f64, f64)) -> f64 {
        if start >= end {
            return 0.0;
        }
        let [w, x, y, xx, xy, yy] = self.moments(start, end);
        let slope = (to.1 - from.1) / (to.0 - from.0);
        let offset = y + self.y_origin - from.1 - slope * (x + self.x_origin - from.0);
        yy - 2.0 * slope * xy + slope * slope * xx + w * offset * offset
    }

    /// Two neighbouring segments cut back to where the best ramp between them begins and ends;
    /// unchanged where no ramp beats the jump. Each keeps two points, if it has them.
    fn best_ramp(&self, x: &[f64], left: Segment, right: Segment) -> (Segment, Segment) {
        let jump = self.cost(left.first, left.last + 1) + self.cost(right.first, right.last + 1);
        let mut best = (jump, left, right);
        let rights: Vec<(Segment, f64)> = (right.first..=right.last.saturating_sub(1).max(right.first))
            .map(|first| (self.segment(first, right.last + 1), self.cost(first, right.last + 1)))
            .collect();
        for last in (left.first + 1).min(left.last)..=left.last {
            let before = self.segment(left.first, last + 1);
            let before_cost = self.cost(left.first, last + 1);
            let from = (x[last], before.at(x[last]));
            for (after, after_cost) in &rights {
                let to = (x[after.first], after.at(x[after.first]));
                let ramp = self.cost_of_line(last + 1, after.first, from, to);
                let cost = before_cost + ramp + after_cost;
                if cost < best.0 {
                    best = (cost, before, *after);
                }
            }
        }
        (best.1, best.2)
    }

    fn segment(&self, start: usize, end: usize) -> Segment {
        let [w, x, y, xx, xy, _] = self.moments(start, end);
        let has_slope = end - start >= 2;
        Segment {
            first: start,
            last: end - 1,
            centre: x + self.x_origin,
            level: y + self.y_origin,
            slope: if has_slope { xy / xx } else { 0.0 },
            level_variance: 1.0 / w,
            slope_variance: if has_slope { 1.0 / xx } else { 0.0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;
    use crate::random::Stream;
    use proptest::prelude::*;

    fn sums(x: &[f64], y: &[f64], deviation: f64, correlation: f64) -> Sums {
        let mut correlation = vec![correlation; x.len()];
        correlation[0] = 0.0;
        Sums::new(x, y, &Whitener::new(&Noise { deviation: vec![deviation; x.len()], correlation }))
    }

    fn ends(segments: &[Segment]) -> Vec<usize> {
        segments.iter().map(|s| s.last + 1).collect()
    }

    #[test]
    fn a_step_splits_where_it_pays() {
        // Unit step in the middle of n points: a line takes 3/4 (1 + O(1/n²)) of its variance, the
        // rest, n/16 = 6.25 at n = 100, is what a second segment saves.
        let x: Vec<f64> = (0..100).map(f64::from).collect();
        let y: Vec<f64> = (0..100).map(|i| f64::from(u8::from(i >= 50))).collect();
        let sums = sums(&x, &y, 1.0, 0.0);
        assert_eq!(ends(&segment_lines(&sums, 6.2)), [50, 100]);
        assert_eq!(ends(&segment_lines(&sums, 6.3)), [100]);
    }

    #[test]
    fn kinks_and_jumps_make_the_polyline() {
        let x: Vec<f64> = (0..40).map(f64::from).collect();
        let y: Vec<f64> = x.iter().map(|&x| if x < 20.0 { x } else { 45.0 + 0.5 * (x - 20.0) }).collect();
        let sums = sums(&x, &y, 0.1, 0.0);
        let segments = segment_lines(&sums, 9.0);
        assert_eq!(ends(&segments), [20, 40]);
        let edges = polyline(&x, &sums, &segments, 3.0);
        let slopes: Vec<f64> = edges.iter().map(Edge::slope).collect();
        for (slope, expected) in slopes.iter().zip([1.0, 26.0, 0.5]) {
            assert!((slope - expected).abs() < 1e-9, "{slopes:?}");
        }
        assert_eq!(polyline(&x, &sums, &segments, 1e9).len(), 2);
    }

    #[test]
    fn a_noisy_sigmoid_becomes_a_ramp() {
        let mut stream = Stream::new(2, 0, 0);
        let x: Vec<f64> = (0..200).map(|i| f64::from(i) * 0.04).collect();
        let y: Vec<f64> = x.iter().map(|x| 4.0 / (1.0 + (-4.0 * (x - 4.0)).exp()) + 0.5 * stream.normal()).collect();
        let sums = sums(&x, &y, 0.5, 0.0);
        let segments = segment_lines(&sums, 3.0 * 200f64.ln());
        let edges = polyline(&x, &sums, &segments, 3.0);
        // The logistic curve of scale 1/4 has slope 4 in the middle and 1.1 from 10 to 90 %.
        let steepest = edges.iter().map(Edge::slope).fold(0.0, f64::max);
        assert!((2.5..6.0).contains(&steepest), "{steepest}");
        assert!((height(&edges, 4.0) - 2.0).abs() < 0.5);
        assert!(height(&edges, 0.0).abs() < 0.5 && (height(&edges, 7.9) - 4.0).abs() < 0.5);
    }

    proptest! {
        /// The running sums against the whitened columns themselves.
        #[test]
        fn costs_are_generalised_least_squares(seed in 0u64..500, start in 0usize..10, length in 3usize..15) {
            let mut stream = Stream::new(seed, 0, 0);
            let x: Vec<f64> = (0..25).map(|i| f64::from(i) + 0.5 * stream.uniform()).collect();
            let y: Vec<f64> = x.iter().map(|x| 0.3 * x + stream.normal()).collect();
            let deviation = x.iter().map(|_| 0.5 + stream.uniform()).collect();
            let correlation = (0..25).map(|i| if i == 0 { 0.0 } else { 0.9 * stream.uniform() }).collect();
            let whitener = Whitener::new(&Noise { deviation, correlation });
            let sums = Sums::new(&x, &y, &whitener);
            let stretch = start..start + length;
            let line = sums.segment(stretch.start, stretch.end);
            let misfit = |level: f64, slope: f64| -> f64 {
                let rest: Vec<f64> =
                    stretch.clone().map(|i| y[i] - line.at(x[i]) - level - slope * (x[i] - x[start])).collect();
                whitener.apply(&stretch, &rest).iter().map(|z| z * z).sum()
            };
            let cost = sums.cost(stretch.start, stretch.end);
            prop_assert!((cost - misfit(0.0, 0.0)).abs() < 1e-9 * cost.max(1.0));
            // No other line is better.
            for (level, slope) in [(0.01, 0.0), (-0.01, 0.0), (0.0, 0.01), (0.0, -0.01)] {
                prop_assert!(misfit(level, slope) > cost);
            }
            let (from, to) = ((x[start], 0.2), (x[start] + 1.0, -0.1));
            let drawn: Vec<f64> = stretch.clone().map(|i| y[i] - 0.2 + 0.3 * (x[i] - x[start])).collect();
            let expected: f64 = whitener.apply(&stretch, &drawn).iter().map(|z| z * z).sum();
            let found = sums.cost_of_line(stretch.start, stretch.end, from, to);
            prop_assert!((found - expected).abs() < 1e-8 * expected.max(1.0), "{} {}", found, expected);
        }
    }
}
