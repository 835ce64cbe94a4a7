//! Optimal partitions of a series: a given number of segments, or a price for each.

use crate::changes::{best_cuts, cheapest_cuts};
use crate::series::{Series, SeriesError};

/// What a segment is fitted with; its cost is the sum of squared residuals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentShape {
    /// A constant.
    Constant,
    /// A straight line in ln(step + 1).
    Line,
}

/// How many segments.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SegmentCount {
    /// This many.
    Exactly(usize),
    /// As many as pay: each segment after the first must lower the cost by more than this, in
    /// squared units of the series.
    Penalty(f64),
}

/// A series cut into segments.
#[derive(Debug, Clone, PartialEq)]
pub struct Partition {
    /// Index of the first point of each segment but the first, increasing.
    pub change_points: Vec<usize>,
    /// Sum of squared residuals over all segments, without penalties.
    pub cost: f64,
}

/// The partition of `series` with the least sum of squared residuals, each segment holding at
/// least `min_points` points.
///
/// Segments are fitted separately and may jump. The minimum is exact: by dynamic programming over
/// all partitions for a given number (k segments of n points cost O(k n²) time), by PELT for a
/// penalty (Killick, Fearnhead and Eckley 2012, between O(n) and O(n²); starts are dropped only
/// once `min_points` allows the comparison that condemns them). Every point counts the same; standard errors are not used, and nothing is binned.
///
/// ```
/// use ontogeny_stats::{SegmentCount, SegmentShape, Series, partition};
///
/// let series = Series::new((1..=8).map(f64::from).collect(), vec![1.0, 1.0, 1.0, 5.0, 5.0, 5.0, 2.0, 2.0])?;
/// let cut = partition(&series, SegmentShape::Constant, SegmentCount::Exactly(3), 2)?;
/// assert_eq!(cut.change_points, [3, 6]);
/// assert!(cut.cost < 1e-12);
/// # Ok::<(), ontogeny_stats::SeriesError>(())
/// ```
///
/// # Errors
/// `min_points` of 0, no segments, fewer points than the segments need, or a penalty that is
/// negative or not finite.
pub fn partition(
    series: &Series,
    shape: SegmentShape,
    count: SegmentCount,
    min_points: usize,
) -> Result<Partition, SeriesError> {
    let bad = |name, value, range| Err(SeriesError::BadSetting { name, value, range });
    if min_points == 0 {
        return bad("min_points", 0.0, "at least 1");
    }
    let n = series.steps().len();
    let n_segments = if let SegmentCount::Exactly(k) = count { k } else { 1 };
    let needed = n_segments.saturating_mul(min_points);
    if n_segments == 0 {
        return bad("segments", 0.0, "at least 1");
    }
    if n < needed {
        return Err(SeriesError::TooFewPoints { found: n, needed });
    }
    let squares = Squares::new(series);
    let cost = |start, end| squares.cost(shape, start, end);
    let fill = |starts: &[usize], end: usize, costs: &mut Vec<f64>| {
        costs.clear();
        costs.extend(starts.iter().map(|&start| cost(start, end)));
    };
    let change_points = match count {
        SegmentCount::Exactly(k) => best_cuts(n, k, min_points, fill),
        SegmentCount::Penalty(penalty) if penalty >= 0.0 && penalty.is_finite() => {
            cheapest_cuts(n, min_points, penalty, true, fill)
        }
        SegmentCount::Penalty(penalty) => return bad("penalty", penalty, "finite and at least 0"),
    };
    let starts = std::iter::once(0).chain(change_points.iter().copied());
    let ends = change_points.iter().copied().chain([n]);
    let cost = starts.zip(ends).map(|(start, end)| cost(start, end)).sum();
    Ok(Partition { change_points, cost })
}

/// Running sums of x, xx, y, xy and yy, taken about the means, for costs in constant time.
struct Squares {
    upto: Vec<[f64; 5]>,
}

impl Squares {
    fn new(series: &Series) -> Self {
        let n = series.steps().len() as f64;
        let x: Vec<f64> = series.steps().iter().map(|t| t.ln_1p()).collect();
        let (x_mean, y_mean) = (x.iter().sum::<f64>() / n, series.values().iter().sum::<f64>() / n);
        let mut sum = [0.0; 5];
        let mut upto = vec![sum];
        for (x, y) in x.iter().zip(series.values()) {
            let (u, v) = (x - x_mean, y - y_mean);
            for (total, term) in sum.iter_mut().zip([u, u * u, v, u * v, v * v]) {
                *total += term;
            }
            upto.push(sum);
        }
        Self { upto }
    }

    fn cost(&self, shape: SegmentShape, start: usize, end: usize) -> f64 {
        let n = (end - start) as f64;
        let mut sums = self.upto[end];
        for (sum, before) in sums.iter_mut().zip(&self.upto[start]) {
            *sum -= before;
        }
        let [x, xx, y, xy, yy] = sums;
        let total = yy - y * y / n;
        let explained = match shape {
            SegmentShape::Line if end - start == 2 => return 0.0,
            SegmentShape::Line if end - start > 2 => (xy - x * y / n).powi(2) / (xx - x * x / n),
            _ => 0.0,
        };
        if end - start == 1 { 0.0 } else { (total - explained).max(0.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;
    use proptest::prelude::*;

    fn uneven(n: usize, seed: u64) -> Series {
        let mut stream = Stream::new(seed, 0, 0);
        let mut step = 0.0;
        let steps = (0..n)
            .map(|_| {
                step += 1.0 + 5.0 * stream.uniform();
                step
            })
            .collect();
        let jump = 1 + (4.0 * stream.uniform()) as usize;
        Series::new(steps, (0..n).map(|i| stream.normal() + (3 * i / n * jump) as f64).collect()).unwrap()
    }

    /// Cost of one segment by the textbook formulas, two passes.
    fn plain_cost(series: &Series, shape: SegmentShape, start: usize, end: usize) -> f64 {
        let x: Vec<f64> = series.steps()[start..end].iter().map(|t| t.ln_1p()).collect();
        let y = &series.values()[start..end];
        let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
        let (x_mean, y_mean) = (mean(&x), mean(y));
        let xx: f64 = x.iter().map(|x| (x - x_mean).powi(2)).sum();
        let xy: f64 = x.iter().zip(y).map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
        let slope = if shape == SegmentShape::Line && xx > 0.0 { xy / xx } else { 0.0 };
        x.iter().zip(y).map(|(x, y)| (y - y_mean - slope * (x - x_mean)).powi(2)).sum()
    }

    /// Least cost, over every way to cut, plus the penalty for each segment.
    fn brute_force(series: &Series, shape: SegmentShape, min_size: usize, count: SegmentCount) -> f64 {
        let n = series.steps().len();
        let mut least = f64::INFINITY;
        for cuts in 0..1u32 << (n - 1) {
            let mut ends: Vec<usize> = (1..n).filter(|i| cuts >> (i - 1) & 1 == 1).collect();
            ends.push(n);
            let starts: Vec<usize> = std::iter::once(0).chain(ends.iter().copied()).take(ends.len()).collect();
            let price = match count {
                SegmentCount::Exactly(k) if ends.len() != k => continue,
                SegmentCount::Exactly(_) => 0.0,
                SegmentCount::Penalty(penalty) => penalty * ends.len() as f64,
            };
            if starts.iter().zip(&ends).all(|(start, end)| end - start >= min_size) {
                let cost: f64 = starts.iter().zip(&ends).map(|(s, e)| plain_cost(series, shape, *s, *e)).sum();
                least = least.min(cost + price);
            }
        }
        least
    }

    proptest! {
        #[test]
        fn no_partition_is_cheaper(
            seed in 0u64..1000, n in 6usize..11, k in 1usize..4, min_size in 1usize..3, penalty in 0.1f64..9.0,
        ) {
            let series = uneven(n, seed);
            for shape in [SegmentShape::Constant, SegmentShape::Line] {
                for count in [SegmentCount::Exactly(k), SegmentCount::Penalty(penalty)] {
                    let found = partition(&series, shape, count, min_size).unwrap();
                    let n_segments = found.change_points.len() + 1;
                    let price = if let SegmentCount::Penalty(p) = count { p * n_segments as f64 } else { 0.0 };
                    let least = brute_force(&series, shape, min_size, count);
                    prop_assert!((found.cost + price - least).abs() < 1e-9 * least.max(1.0), "{:?}", count);
                    if let SegmentCount::Exactly(k) = count {
                        prop_assert_eq!(n_segments, k);
                    }
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_cut() {
        let series = uneven(10, 1);
        let message =
            |count, min_points| partition(&series, SegmentShape::Line, count, min_points).unwrap_err().to_string();
        assert_eq!(message(SegmentCount::Exactly(4), 3), "the series has 10 points; at least 12 are needed");
        assert_eq!(
            message(SegmentCount::Penalty(f64::NAN), 1),
            "setting penalty = NaN is out of range; it must be finite and at least 0"
        );
        assert_eq!(message(SegmentCount::Exactly(0), 1), "setting segments = 0 is out of range; it must be at least 1");
        assert_eq!(
            message(SegmentCount::Exactly(1), 0),
            "setting min_points = 0 is out of range; it must be at least 1"
        );
    }
}
