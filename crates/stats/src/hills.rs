//! Runs of steep, same-sign slope between two flatter places: the candidates for transitions.

use crate::segmentation::Edge;

/// A rise is taken for flat when it is below this many of its standard errors.
const FLAT_ERRORS: f64 = 2.0;
/// Share of the steepest slope that still belongs to the ends of a run.
const FOOT: f64 = 0.05;
/// Share of the change over a run up to which its ends belong to it, on each side. Where the run is what has a third of
/// the steepest slope, an end has 11 % of it in a logistic curve, and 16 % (before) and 5 % (after) in an exponential
/// relaxation; a quarter leaves room for the error of straight pieces. More is a drift, which leads to the run but is
/// not part of it.
const FEET: f64 = 0.25;
/// Share of the change over a run up to which a plateau beside it belongs to the change. Below a
/// tenth the places of 10 and 90 % stay within the run.
const REST: f64 = 0.1;

/// A maximal run of edges of one sign whose slope is at least a given share of its steepest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Hill {
    /// Edges `first..=last`.
    pub(crate) first: usize,
    pub(crate) last: usize,
    /// Whether a plateau was seen on both sides. A run that touches the beginning or the end of
    /// the series is no transition, but it ends the plateau of its neighbour.
    pub(crate) complete: bool,
}

impl Hill {
    /// Change from plateau to plateau, signed: over the run, and what the plateaus themselves add.
    pub(crate) fn size(&self, edges: &[Edge]) -> f64 {
        let run = self.run(edges);
        let (before, after) = self.rests(edges);
        before + run + after
    }

    /// Where `share` of the change is reached, in x.
    pub(crate) fn position(&self, edges: &[Edge], share: f64) -> f64 {
        let (before, _) = self.rests(edges);
        let start = edges[self.first].y0 - before;
        let size = self.size(edges);
        for edge in &edges[self.first..=self.last] {
            // The run has one sign, so the share reached grows from edge to edge.
            if (edge.y1 - start) / size >= share {
                let within = (start + share * size - edge.y0) / edge.rise();
                return edge.x0 + within.clamp(0.0, 1.0) * (edge.x1 - edge.x0);
            }
        }
        edges[self.last].x1
    }

    fn run(&self, edges: &[Edge]) -> f64 {
        edges[self.last].y1 - edges[self.first].y0
    }

    /// What is left of the change in the edges before and after the run: the far ends of a sigmoid,
    /// too gentle for the run. A plateau that moves by more than [`REST`] drifts for other reasons.
    fn rests(&self, edges: &[Edge]) -> (f64, f64) {
        let run = self.run(edges);
        let rest = |edge: Option<&Edge>| {
            let sure = edge.filter(|e| e.rise().abs() > FLAT_ERRORS * e.rise_error);
            let rise = sure.map_or(0.0, Edge::rise);
            if (0.0..=REST).contains(&(rise / run)) { rise } else { 0.0 }
        };
        let before = self.first.checked_sub(1).and_then(|i| edges.get(i));
        (rest(before), rest(edges.get(self.last + 1)))
    }
}

/// All runs, in order of time, but for shoulders, which lean on a steeper run. `plateau` is the
/// share of the steepest slope below which a neighbouring edge counts as flat; `x` are the points.
pub(crate) fn hills(x: &[f64], edges: &[Edge], plateau: f64) -> Vec<Hill> {
    let slopes: Vec<f64> =
        edges.iter().map(|e| if e.rise().abs() > FLAT_ERRORS * e.rise_error { e.slope() } else { 0.0 }).collect();
    let mut by_steepness: Vec<usize> = (0..edges.len()).filter(|&i| slopes[i] != 0.0).collect();
    by_steepness.sort_by(|&a, &b| slopes[b].abs().total_cmp(&slopes[a].abs()).then(a.cmp(&b)));
    let mut taken = vec![false; edges.len()];
    let mut hills = vec![];
    for peak in by_steepness {
        if taken[peak] {
            continue;
        }
        let is_steep = |i: usize| slopes[i] / slopes[peak] >= plateau;
        let (mut first, mut last) = (peak, peak);
        while first > 0 && is_steep(first - 1) && !taken[first - 1] {
            first -= 1;
        }
        while last + 1 < edges.len() && is_steep(last + 1) && !taken[last + 1] {
            last += 1;
        }
        let leans_left = first > 0 && is_steep(first - 1);
        let leans_right = last + 1 < edges.len() && is_steep(last + 1);
        if leans_left || leans_right {
            continue;
        }
        taken[first..=last].fill(true);
        hills.push(Hill { first, last, complete: first > 0 && last + 1 < edges.len() });
    }
    hills.sort_by_key(|h| h.first);
    for hill in &mut hills {
        grow_feet(hill, x, edges, &slopes, &mut taken);
    }
    hills
}

/// Takes in the gentler ends of a sigmoid: edges of the same sign, still above [`FOOT`] of the
/// steepest slope, at most twice as long as the run, and no more than [`FEET`] of its change on each side; a drifting
/// plateau is longer or adds more. An edge from one point to the next says nothing about its own shape and may add any.
fn grow_feet(hill: &mut Hill, x: &[f64], edges: &[Edge], slopes: &[f64], taken: &mut [bool]) {
    let peak = (hill.first..=hill.last).map(|i| slopes[i]).fold(0.0, |a: f64, b| if b.abs() > a.abs() { b } else { a });
    let length = edges[hill.last].x1 - edges[hill.first].x0;
    let (start, end) = (edges[hill.first].y0, edges[hill.last].y1);
    let room = FEET * (end - start).abs();
    let is_gap = |i: usize| {
        let margin = 1e-9 * (edges[i].x1 - edges[i].x0);
        let (from, to) = (edges[i].x0 + margin, edges[i].x1 - margin);
        x.partition_point(|&x| x < to) == x.partition_point(|&x| x <= from)
    };
    let is_foot = |i: usize, so_far: f64, taken: &[bool]| {
        let is_gentle = slopes[i] / peak >= FOOT && edges[i].x1 - edges[i].x0 <= 2.0 * length;
        !taken[i] && is_gentle && (so_far.abs() <= room || is_gap(i))
    };
    // The outermost edges stay: a transition has a plateau on either side.
    while hill.complete && hill.first > 1 && is_foot(hill.first - 1, start - edges[hill.first - 1].y0, taken) {
        hill.first -= 1;
        taken[hill.first] = true;
    }
    while hill.complete && hill.last + 2 < edges.len() && is_foot(hill.last + 1, edges[hill.last + 1].y1 - end, taken) {
        hill.last += 1;
        taken[hill.last] = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(slopes: &[f64]) -> Vec<Edge> {
        let mut y = 0.0;
        let edge = |(i, slope): (usize, &f64)| {
            let x0 = i as f64;
            let y0 = y;
            y += slope;
            Edge { x0, y0, x1: x0 + 1.0, y1: y, rise_error: 0.01 }
        };
        slopes.iter().enumerate().map(edge).collect()
    }

    /// A point at each vertex and one inside each edge.
    fn points(n_edges: usize) -> Vec<f64> {
        (0..=2 * n_edges).map(|i| 0.5 * i as f64).collect()
    }

    fn check(slopes: &[f64], expected: &[(usize, usize)]) {
        let found: Vec<(usize, usize)> = hills(&points(slopes.len()), &edges(slopes), 0.2)
            .iter()
            .filter(|h| h.complete)
            .map(|h| (h.first, h.last))
            .collect();
        assert_eq!(found, expected, "{slopes:?}");
    }

    #[test]
    fn runs_between_plateaus() {
        check(&[0.0, 1.0, 3.0, 1.0, 0.0], &[(1, 3)]);
        check(&[0.0, 1.0, 0.02, -2.0, 0.0], &[(1, 1), (3, 3)]);
        // The gentle ends of a sigmoid belong to it, the steep ones of a decay do not make it one.
        check(&[0.0, 0.1, 1.0, 0.1, 0.0], &[(1, 3)]);
        // Opposite slopes are each other's plateau; a drifting plateau is one all the same.
        check(&[-0.1, -2.0, 2.0, 0.1], &[(1, 1), (2, 2)]);
    }

    #[test]
    fn a_drift_that_leads_to_a_run_is_no_part_of_it() {
        check(&[0.0, 0.15, 0.15, 1.0, 0.0], &[(2, 3)]);
        check(&[0.0, 1.0, 0.15, 0.15, 0.15, 0.15, 0.0], &[(1, 2)]);
    }

    #[test]
    fn slopes_without_two_plateaus_are_none() {
        check(&[1.0, 1.0, 1.0], &[]);
        check(&[4.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.04, 0.01], &[]);
        check(&[0.0, 0.0, 1.0], &[]);
        check(&[], &[]);
    }

    #[test]
    fn positions_along_the_change() {
        let edges = edges(&[0.0, 1.0, 3.0, 0.0]);
        let hill = hills(&points(4), &edges, 0.2)[0];
        assert_eq!(hill.size(&edges), 4.0);
        assert!((hill.position(&edges, 0.25) - 2.0).abs() < 1e-12);
        assert!((hill.position(&edges, 0.5) - (2.0 + 1.0 / 3.0)).abs() < 1e-12);
    }
}
