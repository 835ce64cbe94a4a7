//! Sum of distances from the median, in logarithmic time for any segment.

use super::cost::{SegmentCost, check_points};
use super::signal::{ChangeError, Signal};
use super::sums::RunningSums;
use crate::order::median;

/// Σ |y − median| over a segment, summed over dimensions: minus the log-likelihood, up to a
/// constant, of Laplace noise of scale 1; robust to outliers.
///
/// A wavelet tree over the ranks of each dimension (Grossi, Gupta and Vitter 2003) with running
/// sums at its nodes: the sum of the smallest half of any segment, and so its cost, takes O(log n)
/// time; memory is O(n log n).
#[derive(Debug, Clone)]
pub struct AbsoluteCost {
    trees: Vec<Tree>,
    n_points: usize,
}

impl AbsoluteCost {
    /// Of the segments of `signal`.
    ///
    /// # Errors
    /// No points.
    pub fn new(signal: &Signal) -> Result<Self, ChangeError> {
        check_points(signal.n_points())?;
        let trees = (0..signal.dimensions()).map(|k| Tree::new(signal.column(k))).collect();
        Ok(Self { trees, n_points: signal.n_points() })
    }
}

impl SegmentCost for AbsoluteCost {
    fn n_points(&self) -> usize {
        self.n_points
    }

    fn cost(&self, start: usize, end: usize) -> f64 {
        self.trees.iter().map(|tree| tree.distance_from_median(start, end)).sum()
    }
}

/// The values of one dimension, divided again and again into a lower and an upper half by rank.
#[derive(Debug, Clone)]
struct Tree {
    /// From the coarsest division to the finest.
    levels: Vec<Level>,
    /// Sums of the first i values in order of time.
    sums: Vec<f64>,
    /// The same in the order that the finest division leaves.
    finest: Vec<f64>,
}

/// One level, its values in the order in which the levels above leave them.
#[derive(Debug, Clone)]
struct Level {
    /// How many of the first i values go to the lower half of their node.
    lower: Vec<u32>,
    /// Sum of the first i values that do.
    lower_sums: Vec<f64>,
    /// Values that go to lower halves on this level, all together: there the upper ones begin.
    n_lower: usize,
}

impl Tree {
    fn new(mut values: Vec<f64>) -> Self {
        let centre = median(&values);
        for value in &mut values {
            *value -= centre;
        }
        let n = values.len();
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
        let mut ranks = vec![0usize; n];
        for (rank, &i) in order.iter().enumerate() {
            ranks[i] = rank;
        }
        let sums = RunningSums::new(n, 1, |i, row| row[0] = values[i]).rounded(0);
        let n_levels = (usize::BITS - (n - 1).leading_zeros()) as usize;
        // Highest bit of the rank first: at each level all values with bit 0 move before those with
        // bit 1, each kind in its order (a wavelet matrix: Claude, Navarro and Ordóñez 2015).
        let mut current: Vec<(usize, f64)> = ranks.into_iter().zip(values).collect();
        let mut levels = Vec::with_capacity(n_levels);
        for bit in (0..n_levels).rev() {
            let goes_down = |rank: usize| rank >> bit & 1 == 0;
            let mut lower = vec![0u32];
            for &(rank, _) in &current {
                lower.push(lower[lower.len() - 1] + u32::from(goes_down(rank)));
            }
            let share = |i: usize| if goes_down(current[i].0) { current[i].1 } else { 0.0 };
            let lower_sums = RunningSums::new(n, 1, |i, row| row[0] = share(i)).rounded(0);
            let (down, up): (Vec<_>, Vec<_>) = current.iter().copied().partition(|&(rank, _)| goes_down(rank));
            let n_lower = down.len();
            current = down.into_iter().chain(up).collect();
            levels.push(Level { lower, lower_sums, n_lower });
        }
        let finest = RunningSums::new(n, 1, |i, row| row[0] = current[i].1).rounded(0);
        Self { levels, sums, finest }
    }

    /// Sum of the upper half of the values less that of the lower half; the middle one of an odd
    /// number counts in neither.
    fn distance_from_median(&self, start: usize, end: usize) -> f64 {
        let n = end - start;
        let half = n / 2;
        let lower = self.sum_of_smallest(start, end, half);
        let lower_and_middle = if n.is_multiple_of(2) { lower } else { self.sum_of_smallest(start, end, half + 1) };
        let all = self.sums[end] - self.sums[start];
        (all - lower_and_middle - lower).max(0.0)
    }

    /// Sum of the `k` smallest values of `start..end`.
    fn sum_of_smallest(&self, mut start: usize, mut end: usize, mut k: usize) -> f64 {
        let mut sum = 0.0;
        for level in &self.levels {
            if k == 0 {
                return sum;
            }
            let (from, to) = (level.lower[start] as usize, level.lower[end] as usize);
            let n_down = to - from;
            if k < n_down {
                (start, end) = (from, to);
            } else {
                // All of the lower half are among the smallest; go on with the upper half.
                sum += level.lower_sums[end] - level.lower_sums[start];
                k -= n_down;
                (start, end) = (level.n_lower + start - from, level.n_lower + end - to);
            }
        }
        // One value is left, which is wanted or not.
        sum + self.finest[start + k] - self.finest[start]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;
    use proptest::prelude::*;

    fn plain(values: &[f64]) -> f64 {
        let middle = median(values);
        values.iter().map(|v| (v - middle).abs()).sum()
    }

    proptest! {
        #[test]
        fn distances_from_the_median(seed in 0u64..500, n in 1usize..70, round in 0u8..2) {
            let mut stream = Stream::new(seed, 0, 0);
            // Half of the cases with ties.
            let values: Vec<f64> = (0..n).map(|_| {
                let value = 3.0 * stream.normal();
                if round == 0 { value } else { value.round() }
            }).collect();
            let cost = AbsoluteCost::new(&Signal::new(values.clone(), 1).unwrap()).unwrap();
            for start in 0..n {
                for end in start + 1..=n {
                    let (found, expected) = (cost.cost(start, end), plain(&values[start..end]));
                    // Differences of running sums: a rounding error of their size each.
                    prop_assert!((found - expected).abs() < 1e-13 * (1.0 + n as f64), "{} {}", found, expected);
                }
            }
        }
    }

    #[test]
    fn dimensions_add_up() {
        let cost = AbsoluteCost::new(&Signal::new(vec![0.0, 1.0, 4.0, 1.0, 1.0, 7.0], 2).unwrap()).unwrap();
        assert!((cost.cost(0, 3) - (4.0 + 6.0)).abs() < 1e-14);
    }
}
