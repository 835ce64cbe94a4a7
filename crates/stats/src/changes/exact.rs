//! The exact searches: the cheapest cut into k segments, and at a price for each.

use super::cost::SegmentCost;
use super::signal::ChangeError;
use crate::partition::Partition;

/// The partition of least cost plus `penalty` for each change, segments of at least `min_size`
/// points (or as many as the cost needs): PELT (Killick, Fearnhead and Eckley 2012) at every index.
///
/// The minimum is exact for every cost: starts that can never catch up are dropped only where the
/// cost says that cutting never costs ([`SegmentCost::is_subadditive`]), and only once `min_size`
/// allows the comparison that condemns them. Between O(n) and O(n²) evaluations of the cost. Of
/// partitions with the same cost the one whose last segments start first.
///
/// ```
/// use ontogeny_stats::changes::{MeanCost, Signal, pelt};
///
/// let levels = [0.0, 5.0, 2.0].into_iter().flat_map(|level| vec![level; 100]).collect();
/// let found = pelt(&MeanCost::new(&Signal::new(levels, 1)?)?, 10.0, 2)?;
/// assert_eq!(found.change_points, [100, 200]);
/// # Ok::<(), ontogeny_stats::changes::ChangeError>(())
/// ```
///
/// # Errors
/// A penalty that is negative or not finite, a `min_size` of 0, or fewer points than one segment
/// needs.
pub fn pelt<C: SegmentCost + ?Sized>(cost: &C, penalty: f64, min_size: usize) -> Result<Partition, ChangeError> {
    if !(penalty >= 0.0 && penalty.is_finite()) {
        let range = "finite and at least 0";
        return Err(ChangeError::BadSetting { name: "penalty", value: penalty, range });
    }
    let (n, min_size) = (cost.n_points(), checked_size(cost, min_size, 1)?);
    let fill = |starts: &[usize], end: usize, costs: &mut Vec<f64>| cost.costs(starts, end, costs);
    let change_points = cheapest_cuts(n, min_size, penalty, cost.is_subadditive(), fill);
    Ok(Partition { cost: cost.sum(&change_points), change_points })
}

/// The partition of least cost into `n_segments` segments of at least `min_size` points (or as many
/// as the cost needs), by dynamic programming (Bellman 1961): n²/2 evaluations of the cost, O(k n²)
/// additions, O(k n) memory.
///
/// # Errors
/// No segments, a `min_size` of 0, or fewer points than the segments need.
pub fn dynamic_programming<C: SegmentCost + ?Sized>(
    cost: &C,
    n_segments: usize,
    min_size: usize,
) -> Result<Partition, ChangeError> {
    let (n, min_size) = (cost.n_points(), checked_size(cost, min_size, n_segments)?);
    let fill = |starts: &[usize], end: usize, costs: &mut Vec<f64>| cost.costs(starts, end, costs);
    let change_points = best_cuts(n, n_segments, min_size, fill);
    Ok(Partition { cost: cost.sum(&change_points), change_points })
}

/// The least size of a segment, checked against the number of points and segments.
pub(crate) fn checked_size<C: SegmentCost + ?Sized>(
    cost: &C,
    min_size: usize,
    n_segments: usize,
) -> Result<usize, ChangeError> {
    if min_size == 0 {
        return Err(ChangeError::BadSetting { name: "min_size", value: 0.0, range: "at least 1" });
    }
    if n_segments == 0 {
        return Err(ChangeError::BadSetting { name: "segments", value: 0.0, range: "at least 1" });
    }
    let (found, min_size) = (cost.n_points(), min_size.max(cost.min_size()));
    let needed = n_segments.saturating_mul(min_size);
    if found < needed { Err(ChangeError::TooFewPoints { found, needed }) } else { Ok(min_size) }
}

/// First indices of the segments after the first that minimise the sum of their costs plus
/// `penalty` for each, every segment having at least `min_size` of the `n` points.
///
/// `fill(starts, end, costs)` writes the cost of each segment `start..end`. With `prune`, starts
/// that can never catch up are dropped, which is exact where no segment costs less than its parts
/// together.
pub(crate) fn cheapest_cuts(
    n: usize,
    min_size: usize,
    penalty: f64,
    prune: bool,
    mut fill: impl FnMut(&[usize], usize, &mut Vec<f64>),
) -> Vec<usize> {
    // No end before `min_size` can be reached, but by no segments at all.
    let mut best = vec![f64::INFINITY; n + 1];
    best[0] = 0.0;
    let mut previous = vec![0; n + 1];
    // Starts, the cost of all before each, and the end at which each is dropped.
    let mut starts: Vec<usize> = Vec::with_capacity(n);
    let mut before: Vec<f64> = Vec::with_capacity(n);
    let mut dropped: Vec<usize> = Vec::with_capacity(n);
    let mut costs: Vec<f64> = Vec::with_capacity(n);
    let mut next_drop = usize::MAX;
    for end in min_size..=n {
        let newest = end - min_size;
        if best[newest].is_finite() {
            starts.push(newest);
            before.push(best[newest]);
            dropped.push(usize::MAX);
        }
        if end >= next_drop {
            next_drop = usize::MAX;
            let mut kept = 0;
            for i in 0..starts.len() {
                if end < dropped[i] {
                    (starts[kept], before[kept], dropped[kept]) = (starts[i], before[i], dropped[i]);
                    next_drop = next_drop.min(dropped[i]);
                    kept += 1;
                }
            }
            starts.truncate(kept);
            before.truncate(kept);
            dropped.truncate(kept);
        }
        fill(&starts, end, &mut costs);
        let (mut least, mut from) = (f64::INFINITY, 0);
        for (i, (cost, before)) in costs.iter_mut().zip(&before).enumerate() {
            *cost += before;
            if *cost < least {
                (least, from) = (*cost, i);
            }
        }
        best[end] = least + penalty;
        previous[end] = starts[from];
        if prune {
            // A start that is behind by more than the price of a segment stays behind, once a
            // segment that starts at `end` is long enough to be compared with.
            let (bound, at) = (best[end], end + min_size);
            for (&cost, dropped) in costs.iter().zip(&mut dropped) {
                if cost > bound && *dropped == usize::MAX {
                    *dropped = at;
                    next_drop = next_drop.min(at);
                }
            }
        }
    }
    chain(n, |end| previous[end])
}

/// First indices of the segments after the first for exactly `k` segments (Bellman 1961).
pub(crate) fn best_cuts(
    n: usize,
    k: usize,
    min_size: usize,
    mut fill: impl FnMut(&[usize], usize, &mut Vec<f64>),
) -> Vec<usize> {
    let starts: Vec<usize> = (0..n).collect();
    let mut costs: Vec<f64> = Vec::with_capacity(n);
    // best[j][end]: least cost of the first `end` points in j + 1 segments.
    let mut best = vec![vec![f64::INFINITY; n + 1]; k];
    let mut from = vec![vec![0; n + 1]; k];
    for end in min_size..=n {
        let newest = end - min_size;
        fill(&starts[..=newest], end, &mut costs);
        best[0][end] = costs[0];
        for j in 1..k {
            let first = j * min_size;
            if first <= newest {
                let (least, at) = least_sum(&best[j - 1][first..=newest], &costs[first..]);
                best[j][end] = least;
                from[j][end] = first + at;
            }
        }
    }
    let mut rounds = from[1..].iter().rev();
    chain(n, |end| rounds.next().map_or(0, |from| from[end]))
}

/// The least sum of two entries at the same place, and the first place that has it.
fn least_sum(a: &[f64], b: &[f64]) -> (f64, usize) {
    // Eight minima side by side, which a processor takes at the same time; the place is looked up after.
    let mut minima = [f64::INFINITY; 8];
    let lower = |least: &mut f64, sum: f64| *least = if sum < *least { sum } else { *least };
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b[..a.len()].chunks_exact(8));
    for (a, b) in a_chunks.remainder().iter().zip(b_chunks.remainder()) {
        lower(&mut minima[0], a + b);
    }
    for (a, b) in a_chunks.zip(b_chunks) {
        for (least, (a, b)) in minima.iter_mut().zip(a.iter().zip(b)) {
            lower(least, a + b);
        }
    }
    let least = minima.into_iter().fold(f64::INFINITY, |least, m| if m < least { m } else { least });
    (least, a.iter().zip(b).position(|(a, b)| a + b == least).unwrap_or(0))
}

/// Follows the segments back from the last point, to those that start after the first.
fn chain(n: usize, mut previous: impl FnMut(usize) -> usize) -> Vec<usize> {
    let mut cuts: Vec<usize> =
        std::iter::successors(Some(previous(n)), |&cut| if cut > 0 { Some(previous(cut)) } else { None })
            .take_while(|&cut| cut > 0)
            .collect();
    cuts.reverse();
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::cost::CostModel;
    use crate::changes::signal::Signal;
    use crate::random::Stream;
    use proptest::prelude::*;

    pub(crate) const MODELS: [CostModel; 8] = [
        CostModel::L1,
        CostModel::L2,
        CostModel::Normal,
        CostModel::Rank,
        CostModel::Rbf(None),
        CostModel::Linear,
        CostModel::ContinuousLinear,
        CostModel::Autoregressive(1),
    ];

    fn steps(n: usize, d: usize, seed: u64) -> Signal {
        let mut stream = Stream::new(seed, 3, 0);
        let jump = 1 + (4.0 * stream.uniform()) as usize;
        Signal::new((0..n * d).map(|i| stream.normal() + (3 * (i / d) / n * jump) as f64).collect(), d).unwrap()
    }

    /// Every way to cut `n` points into segments of at least `min_size`.
    fn all_cuts(n: usize, min_size: usize) -> impl Iterator<Item = Vec<usize>> {
        (0..1u32 << (n - 1)).filter_map(move |bits| {
            let cuts: Vec<usize> = (1..n).filter(|i| bits >> (i - 1) & 1 == 1).collect();
            let starts = std::iter::once(0).chain(cuts.iter().copied());
            let ends = cuts.iter().copied().chain([n]);
            starts.zip(ends).all(|(start, end)| end - start >= min_size).then_some(cuts)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn no_partition_is_cheaper(
            seed in 0u64..1000, n in 8usize..12, d in 1usize..3, k in 1usize..4, min_size in 1usize..4, penalty in 0.1f64..9.0,
        ) {
            let signal = steps(n, d, seed);
            for model in MODELS {
                let cost = model.of(&signal).unwrap();
                let size = min_size.max(cost.min_size());
                let price = |cuts: &[usize]| cost.sum(cuts) + penalty * cuts.len() as f64;
                let least = all_cuts(n, size).map(|cuts| price(&cuts)).fold(f64::INFINITY, f64::min);
                let found = price(&pelt(&cost, penalty, min_size).unwrap().change_points);
                prop_assert!(found <= least + 1e-9 * (1.0 + least.abs()), "{:?}: {} {}", model, found, least);
                if n >= k * size {
                    let of_k = all_cuts(n, size).filter(|cuts| cuts.len() + 1 == k);
                    let least = of_k.map(|cuts| cost.sum(&cuts)).fold(f64::INFINITY, f64::min);
                    let found = dynamic_programming(&cost, k, min_size).unwrap();
                    prop_assert_eq!(found.change_points.len() + 1, k);
                    prop_assert!(found.cost <= least + 1e-9 * (1.0 + least.abs()), "{:?}", model);
                }
            }
        }

        #[test]
        fn dropping_starts_changes_nothing(seed in 0u64..1000, min_size in 1usize..6, penalty in 0.5f64..20.0) {
            let signal = steps(80, 1, seed);
            for model in MODELS {
                let cost = model.of(&signal).unwrap();
                if cost.is_subadditive() {
                    let size = min_size.max(cost.min_size());
                    let price = |prune| {
                        let fill = |starts: &[usize], end: usize, costs: &mut Vec<f64>| cost.costs(starts, end, costs);
                        let cuts = cheapest_cuts(80, size, penalty, prune, fill);
                        cost.sum(&cuts) + penalty * cuts.len() as f64
                    };
                    // Cuts that cost the same are told apart by rounding.
                    let (pruned, all) = (price(true), price(false));
                    prop_assert!((pruned - all).abs() < 1e-9 * (1.0 + all.abs()), "{:?}: {} {}", model, pruned, all);
                }
            }
        }
    }

    #[test]
    fn a_step_pays_for_its_price() {
        // Cutting a unit step in the middle of 100 points saves 25.
        let signal = Signal::new((0..100).map(|i| f64::from(u8::from(i >= 50))).collect(), 1).unwrap();
        let cost = CostModel::L2.of(&signal).unwrap();
        assert_eq!(pelt(&cost, 24.9, 2).unwrap().change_points, [50]);
        assert!(pelt(&cost, 25.1, 2).unwrap().change_points.is_empty());
    }

    #[test]
    fn what_cannot_be_searched() {
        let cost = CostModel::Linear.of(&steps(10, 1, 1)).unwrap();
        let message = |found: Result<Partition, ChangeError>| found.unwrap_err().to_string();
        let text = message(dynamic_programming(&cost, 4, 3));
        assert_eq!(text, "the signal has 10 points; at least 12 are needed");
        let text = message(pelt(&cost, f64::NAN, 1));
        assert_eq!(text, "setting penalty = NaN is out of range; it must be finite and at least 0");
        assert!(pelt(&cost, 1.0, 0).is_err() && dynamic_programming(&cost, 0, 1).is_err());
        assert!(pelt(&cost, 1.0, 11).is_err());
    }
}
