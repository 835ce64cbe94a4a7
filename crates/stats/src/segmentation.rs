//! Exact segmentation of a series into straight lines, and the polyline it makes.

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
    /// Number of points.
    pub(crate) fn len(&self) -> usize {
        self.last + 1 - self.first
    }

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

/// Partition into straight lines, free to jump between segments, that minimises
/// Σ (y − line)² / variance + `penalty` × number of segments, exactly.
///
/// Optimal partitioning with the pruning of PELT (Killick, Fearnhead and Eckley 2012, eq. 4 with
/// K = 0): quadratic time at worst, linear memory.
pub(crate) fn segment_lines(x: &[f64], y: &[f64], variance: &[f64], penalty: f64) -> Vec<Segment> {
    let sums = Sums::new(x, y, variance);
    let n = x.len();
    let mut best = vec![0.0; n + 1];
    let mut previous = vec![0; n + 1];
    let mut starts: Vec<usize> = Vec::with_capacity(n);
    for end in 1..=n {
        starts.push(end - 1);
        let costs: Vec<f64> = starts.iter().map(|&start| best[start] + sums.cost(start, end)).collect();
        let (mut least, mut from) = (f64::INFINITY, 0);
        for (&cost, &start) in costs.iter().zip(&starts) {
            if cost < least {
                (least, from) = (cost, start);
            }
        }
        best[end] = least + penalty;
        previous[end] = from;
        let mut cost = costs.iter();
        // A start that cannot catch up even without paying for a further segment never will.
        starts.retain(|_| cost.next().is_some_and(|&c| c <= best[end]));
    }
    let mut segments = vec![];
    let mut end = n;
    while end > 0 {
        segments.push(sums.segment(previous[end], end));
        end = previous[end];
    }
    segments.reverse();
    segments
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
pub(crate) fn polyline(x: &[f64], y: &[f64], variance: &[f64], segments: &[Segment], jump_errors: f64) -> Vec<Edge> {
    let sums = Sums::new(x, y, variance);
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

/// Running sums that give the cost of any segment in constant time.
struct Sums {
    x_origin: f64,
    /// Σ w, Σ wx, Σ wxx, Σ wy, Σ wxy, Σ wyy over the first i points.
    running: Vec<[f64; 6]>,
    y_origin: f64,
}

impl Sums {
    fn new(x: &[f64], y: &[f64], variance: &[f64]) -> Self {
        let n = x.len();
        // Centred numbers keep the differences of running sums accurate.
        let x_origin = f64::midpoint(x[0], x[n - 1]);
        let y_origin = y.iter().sum::<f64>() / n as f64;
        let mut running = vec![[0.0; 6]; n + 1];
        for i in 0..n {
            let (u, v, w) = (x[i] - x_origin, y[i] - y_origin, 1.0 / variance[i]);
            let terms = [w, w * u, w * u * u, w * v, w * u * v, w * v * v];
            for (k, term) in terms.into_iter().enumerate() {
                running[i + 1][k] = running[i][k] + term;
            }
        }
        Self { x_origin, running, y_origin }
    }

    /// Σ w, weighted means of x and y, and centred Σ wxx, Σ wxy, Σ wyy of points start..end.
    fn moments(&self, start: usize, end: usize) -> [f64; 6] {
        let (a, b) = (&self.running[start], &self.running[end]);
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
    use crate::random::Stream;
    use proptest::prelude::*;

    fn ends(segments: &[Segment]) -> Vec<usize> {
        segments.iter().map(|s| s.last + 1).collect()
    }

    #[test]
    fn a_step_splits_where_it_pays() {
        // Unit step in the middle of n points: a line takes 3/4 (1 + O(1/n²)) of its variance, the
        // rest, n/16 = 6.25 at n = 100, is what a second segment saves.
        let x: Vec<f64> = (0..100).map(f64::from).collect();
        let y: Vec<f64> = (0..100).map(|i| f64::from(u8::from(i >= 50))).collect();
        let v = vec![1.0; 100];
        assert_eq!(ends(&segment_lines(&x, &y, &v, 6.2)), [50, 100]);
        assert_eq!(ends(&segment_lines(&x, &y, &v, 6.3)), [100]);
    }

    #[test]
    fn kinks_and_jumps_make_the_polyline() {
        let x: Vec<f64> = (0..40).map(f64::from).collect();
        let y: Vec<f64> = x.iter().map(|&x| if x < 20.0 { x } else { 45.0 + 0.5 * (x - 20.0) }).collect();
        let segments = segment_lines(&x, &y, &[0.01; 40], 9.0);
        assert_eq!(ends(&segments), [20, 40]);
        let edges = polyline(&x, &y, &[0.01; 40], &segments, 3.0);
        let slopes: Vec<f64> = edges.iter().map(Edge::slope).collect();
        for (slope, expected) in slopes.iter().zip([1.0, 26.0, 0.5]) {
            assert!((slope - expected).abs() < 1e-9, "{slopes:?}");
        }
        assert_eq!(polyline(&x, &y, &[0.01; 40], &segments, 1e9).len(), 2);
    }

    #[test]
    fn a_noisy_sigmoid_becomes_a_ramp() {
        let mut stream = Stream::new(2, 0, 0);
        let x: Vec<f64> = (0..200).map(|i| f64::from(i) * 0.04).collect();
        let y: Vec<f64> = x.iter().map(|x| 4.0 / (1.0 + (-4.0 * (x - 4.0)).exp()) + 0.5 * stream.normal()).collect();
        let v = vec![0.25; 200];
        let segments = segment_lines(&x, &y, &v, 3.0 * 200f64.ln());
        let edges = polyline(&x, &y, &v, &segments, 3.0);
        // The logistic curve of scale 1/4 has slope 4 in the middle and 1.1 from 10 to 90 %.
        let steepest = edges.iter().map(Edge::slope).fold(0.0, f64::max);
        assert!((2.5..6.0).contains(&steepest), "{steepest}");
        assert!((height(&edges, 4.0) - 2.0).abs() < 0.5);
        assert!(height(&edges, 0.0).abs() < 0.5 && (height(&edges, 7.9) - 4.0).abs() < 0.5);
    }

    proptest! {
        #[test]
        fn pruning_does_not_change_the_optimum(seed in 0u64..500, penalty in 0.5f64..20.0) {
            let mut stream = Stream::new(seed, 0, 0);
            let n = 30;
            let x: Vec<f64> = (0..n).map(|i| f64::from(i) + 0.5 * stream.uniform()).collect();
            let y: Vec<f64> = (0..n)
                .map(|i| stream.normal() + if i > 12 { 4.0 } else { 0.0 })
                .collect();
            let v: Vec<f64> = (0..n).map(|_| 0.5 + stream.uniform()).collect();
            let sums = Sums::new(&x, &y, &v);
            // The plain recursion over every start.
            let mut best = vec![0.0; x.len() + 1];
            for end in 1..=x.len() {
                best[end] = (0..end)
                    .map(|start| best[start] + sums.cost(start, end) + penalty)
                    .fold(f64::INFINITY, f64::min);
            }
            let found: f64 = segment_lines(&x, &y, &v, penalty)
                .iter()
                .map(|s| sums.cost(s.first, s.last + 1) + penalty)
                .sum();
            prop_assert!((found - best[x.len()]).abs() < 1e-8 * best[x.len()].max(1.0));
        }
    }
}
