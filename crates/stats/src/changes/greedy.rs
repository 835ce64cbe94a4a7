//! Quick searches that are not exact: binary segmentation, bottom-up, and a sliding window.

use super::cost::SegmentCost;
use super::exact::checked_size;
use super::signal::ChangeError;
use crate::partition::Partition;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// When a greedy search ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Stop {
    /// At this many changes; at fewer where no segment can be cut further.
    Changes(usize),
    /// When another change would lower the cost by no more than this.
    Penalty(f64),
    /// At the fewest changes, in the order of the search, with a cost of at most this.
    Budget(f64),
}

impl Stop {
    /// Whether `partition`, of so many changes and such a cost, is cut once more by a change that
    /// saves `gain`.
    fn goes_on(self, n_changes: usize, cost: f64, gain: f64) -> bool {
        match self {
            Self::Changes(k) => n_changes < k,
            Self::Penalty(penalty) => gain > penalty,
            Self::Budget(budget) => cost > budget,
        }
    }

    fn check<C: SegmentCost + ?Sized>(self, cost: &C, min_size: usize) -> Result<usize, ChangeError> {
        let n_segments = match self {
            Self::Changes(k) => k.saturating_add(1),
            Self::Penalty(value) if value.is_nan() || value < 0.0 => {
                return Err(ChangeError::BadSetting { name: "penalty", value, range: "at least 0" });
            }
            Self::Budget(value) if value.is_nan() => {
                return Err(ChangeError::BadSetting { name: "budget", value, range: "a number" });
            }
            _ => 1,
        };
        checked_size(cost, min_size, n_segments)
    }
}

/// Cuts where it saves most, again and again (Scott and Knott 1974). O(n) evaluations of the cost
/// for each change. Of places that save the same in a segment the last is taken.
///
/// # Errors
/// A stop out of range, a `min_size` of 0, or fewer points than the segments need.
pub fn binary_segmentation<C: SegmentCost + ?Sized>(
    cost: &C,
    stop: Stop,
    min_size: usize,
) -> Result<Partition, ChangeError> {
    let min_size = stop.check(cost, min_size)?;
    let best_cut = |start: usize, end: usize| -> Option<(f64, usize)> {
        let whole = cost.cost(start, end);
        let mut best: Option<(f64, usize)> = None;
        for at in start + min_size..=end.saturating_sub(min_size) {
            let gain = whole - cost.cost(start, at) - cost.cost(at, end);
            if best.is_none_or(|(most, _)| gain >= most) {
                best = Some((gain, at));
            }
        }
        best
    };
    let n = cost.n_points();
    let mut segments = vec![(0, best_cut(0, n))];
    let mut total = cost.cost(0, n);
    loop {
        let mut next: Option<(usize, f64, usize)> = None;
        for (i, (_, cut)) in segments.iter().enumerate() {
            if let Some((gain, at)) = *cut
                && next.is_none_or(|(_, most, _)| gain > most)
            {
                next = Some((i, gain, at));
            }
        }
        let Some((i, gain, at)) = next.filter(|(_, gain, _)| stop.goes_on(segments.len() - 1, total, *gain)) else {
            break;
        };
        let (start, end) = (segments[i].0, segments.get(i + 1).map_or(n, |(start, _)| *start));
        segments[i] = (start, best_cut(start, at));
        segments.insert(i + 1, (at, best_cut(at, end)));
        total -= gain;
    }
    let change_points: Vec<usize> = segments[1..].iter().map(|(start, _)| *start).collect();
    Ok(Partition { cost: cost.sum(&change_points), change_points })
}

/// A pair of neighbouring segments and what joining them costs.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Pair {
    gain: f64,
    start: usize,
    middle: usize,
    end: usize,
}

impl Eq for Pair {}

impl Ord for Pair {
    /// The cheapest pair first out of a heap; of equal ones the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        other.gain.total_cmp(&self.gain).then(other.start.cmp(&self.start)).then(other.middle.cmp(&self.middle))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Halves the signal as far as `min_size` allows, then joins the two neighbours that it costs least to
/// join, again and again (Keogh et al. 2001). O(n) evaluations of the cost, O(n log n) time.
///
/// With [`Stop::Penalty`] it ends when joining costs at least the penalty, with [`Stop::Budget`]
/// before joining would exceed the budget.
///
/// # Errors
/// As of [`binary_segmentation`].
pub fn bottom_up<C: SegmentCost + ?Sized>(cost: &C, stop: Stop, min_size: usize) -> Result<Partition, ChangeError> {
    let min_size = stop.check(cost, min_size)?;
    let n = cost.n_points();
    let mut starts = vec![];
    halve(0, n, min_size, &mut starts);
    // Where the living segment that begins here ends, and where the one that ends here begins.
    let (mut end_of, mut start_of) = (vec![0; n + 1], vec![0; n + 1]);
    for (i, &start) in starts.iter().enumerate() {
        let end = starts.get(i + 1).copied().unwrap_or(n);
        (end_of[start], start_of[end]) = (end, start);
    }
    let pair = |start: usize, middle: usize, end: usize| {
        let gain = cost.cost(start, end) - (cost.cost(start, middle) + cost.cost(middle, end));
        Pair { gain, start, middle, end }
    };
    let mut total = cost.sum(&starts[1..]);
    let mut n_changes = starts.len() - 1;
    let mut pairs: BinaryHeap<Pair> = starts.windows(2).map(|s| pair(s[0], s[1], end_of[s[1]])).collect();
    while let Some(Pair { gain, start, middle, end }) = pairs.pop() {
        if end_of[start] != middle || end_of[middle] != end {
            continue;
        }
        let joins = match stop {
            Stop::Changes(k) => n_changes > k,
            Stop::Penalty(penalty) => gain < penalty,
            Stop::Budget(budget) => total + gain <= budget,
        };
        if !joins {
            break;
        }
        (end_of[start], end_of[middle], start_of[end]) = (end, 0, start);
        total += gain;
        n_changes -= 1;
        if start > 0 {
            pairs.push(pair(start_of[start], start, end));
        }
        if end < n {
            pairs.push(pair(start, end, end_of[end]));
        }
    }
    let change_points: Vec<usize> =
        std::iter::successors(Some(end_of[0]), |&start| Some(end_of[start])).take_while(|&start| start < n).collect();
    Ok(Partition { cost: cost.sum(&change_points), change_points })
}

/// Writes the starts of the smallest segments of at least `min_size` points that halving gives.
fn halve(start: usize, end: usize, min_size: usize, starts: &mut Vec<usize>) {
    if end - start < 2 * min_size {
        starts.push(start);
    } else {
        let middle = usize::midpoint(start, end);
        halve(start, middle, min_size, starts);
        halve(middle, end, min_size, starts);
    }
}

/// Slides a window of `width` points (made even) over the signal, scores each place by what cutting
/// the window there saves, and takes the peaks of the score, highest first (Basseville and
/// Nikiforov 1993). O(n) evaluations of the cost; changes nearer to each other, or to an end, than
/// half the width are not told apart.
///
/// A peak exceeds the scores of half a window before it and is no less than those after it; the
/// first and the last score are none.
///
/// # Errors
/// As of [`binary_segmentation`], or a width below 2 · `min_size` or above the number of points.
pub fn sliding_window<C: SegmentCost + ?Sized>(
    cost: &C,
    width: usize,
    stop: Stop,
    min_size: usize,
) -> Result<Partition, ChangeError> {
    let min_size = stop.check(cost, min_size)?;
    let (n, half) = (cost.n_points(), width / 2);
    if half < min_size || width > n {
        let range = "at least twice the least size of a segment and at most the number of points";
        return Err(ChangeError::BadSetting { name: "width", value: width as f64, range });
    }
    let score = |at: usize| cost.cost(at - half, at + half) - (cost.cost(at - half, at) + cost.cost(at, at + half));
    let scores: Vec<f64> = (half..n - half).map(score).collect();
    let is_peak = |i: usize| {
        let before = &scores[i.saturating_sub(half)..i];
        let after = &scores[i + 1..(i + 1 + half).min(scores.len())];
        before.iter().all(|s| scores[i] > *s) && after.iter().all(|s| scores[i] >= *s)
    };
    let mut peaks: Vec<usize> = (1..scores.len().saturating_sub(1)).filter(|&i| is_peak(i)).collect();
    peaks.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(b.cmp(&a)));
    let mut change_points: Vec<usize> = vec![];
    let mut total = cost.sum(&[]);
    for at in peaks.into_iter().map(|i| i + half) {
        let place = change_points.partition_point(|&c| c < at);
        let start = if place == 0 { 0 } else { change_points[place - 1] };
        let end = change_points.get(place).copied().unwrap_or(n);
        let gain = cost.cost(start, end) - cost.cost(start, at) - cost.cost(at, end);
        if !stop.goes_on(change_points.len(), total, gain) {
            break;
        }
        change_points.insert(place, at);
        total -= gain;
    }
    Ok(Partition { cost: cost.sum(&change_points), change_points })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::cost::CostModel;
    use crate::changes::signal::Signal;

    fn levels() -> Box<dyn SegmentCost> {
        let values = [0.0, 5.0, 2.0].into_iter().flat_map(|level| vec![level; 100]).collect();
        CostModel::L2.of(&Signal::new(values, 1).unwrap()).unwrap()
    }

    #[test]
    fn all_of_them_find_plain_levels() {
        let cost = levels();
        for stop in [Stop::Changes(2), Stop::Penalty(10.0), Stop::Budget(1.0)] {
            assert_eq!(binary_segmentation(&cost, stop, 2).unwrap().change_points, [100, 200], "{stop:?}");
            // Its changes lie on the grid of halves, which is fine enough with segments of one point.
            assert_eq!(bottom_up(&cost, stop, 1).unwrap().change_points, [100, 200], "{stop:?}");
            assert_eq!(sliding_window(&cost, 40, stop, 2).unwrap().change_points, [100, 200], "{stop:?}");
        }
    }

    #[test]
    fn budgets_are_kept() {
        // All in one segment costs 1266.7; the first change alone leaves 450, the second nothing.
        let cost = levels();
        for search in [binary_segmentation, bottom_up] {
            let found = search(&cost, Stop::Budget(500.0), 1).unwrap();
            assert_eq!(found.change_points, [100]);
            assert!((found.cost - 450.0).abs() < 1e-9);
            assert!(search(&cost, Stop::Budget(2000.0), 2).unwrap().change_points.is_empty());
        }
    }

    #[test]
    fn as_many_changes_as_asked_for_in_a_constant() {
        // ruptures 1.1.10 stops early where a segment that cannot be cut ties with gains of 0.
        let cost = CostModel::L2.of(&Signal::new(vec![1.0; 12], 1).unwrap()).unwrap();
        assert_eq!(binary_segmentation(&cost, Stop::Changes(3), 2).unwrap().change_points.len(), 3);
        assert_eq!(bottom_up(&cost, Stop::Changes(3), 2).unwrap().change_points.len(), 3);
    }

    #[test]
    fn what_cannot_be_searched() {
        let cost = levels();
        assert!(binary_segmentation(&cost, Stop::Changes(200), 2).is_err());
        assert!(bottom_up(&cost, Stop::Penalty(-1.0), 2).is_err());
        assert!(bottom_up(&cost, Stop::Budget(f64::NAN), 2).is_err());
        assert!(sliding_window(&cost, 3, Stop::Changes(1), 2).is_err());
        assert!(sliding_window(&cost, 302, Stop::Changes(1), 2).is_err());
    }
}
