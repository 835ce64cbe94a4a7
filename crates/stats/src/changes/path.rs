//! All optimal segmentations for the penalties of a range.

use super::cost::SegmentCost;
use super::exact::pelt;
use super::signal::ChangeError;
use crate::partition::Partition;

/// A segmentation and the penalties for which it is optimal.
#[derive(Debug, Clone, PartialEq)]
pub struct PenaltyStep {
    /// Least of these penalties.
    pub from: f64,
    /// Largest of these penalties.
    pub to: f64,
    /// The segmentation.
    pub partition: Partition,
}

/// The optimal segmentations for every penalty in `from..=to`, from the most changes to the fewest
/// (CROPS: Haynes, Eckley and Fearnhead 2017, algorithm 1).
///
/// A segmentation with m changes and cost Q costs Q + m β at penalty β, a straight line; the
/// optimal ones make the lower envelope of all such lines. Where the lines of two neighbours cross,
/// either both are optimal or a third lies below: one run of [`pelt`] says which. With s steps that
/// takes about 2 s runs. Steps that hold for many penalties are the ones not to doubt.
///
/// # Errors
/// A penalty that is negative or not finite, `from` above `to`, or as of [`pelt`].
pub fn penalty_path<C: SegmentCost + ?Sized>(
    cost: &C,
    from: f64,
    to: f64,
    min_size: usize,
) -> Result<Vec<PenaltyStep>, ChangeError> {
    if from > to {
        let range = "at least the lowest penalty";
        return Err(ChangeError::BadSetting { name: "highest penalty", value: to, range });
    }
    let (first, last) = (pelt(cost, from, min_size)?, pelt(cost, to, min_size)?);
    let mut found = vec![first.clone()];
    // Neighbours still to be compared, the one with more changes first; depth first, in order.
    let mut open = vec![(first, last)];
    while let Some((more, fewer)) = open.pop() {
        let (m, k) = (more.change_points.len(), fewer.change_points.len());
        if m <= k {
            continue;
        }
        let crossing = crossing(&more, &fewer).clamp(from, to);
        let between = pelt(cost, crossing, min_size)?;
        let n = between.change_points.len();
        if n < m && n > k {
            open.push((between.clone(), fewer));
            open.push((more, between));
        } else {
            found.push(fewer);
        }
    }
    // A line that only touches the envelope where two others cross is optimal at one penalty alone.
    let mut steps: Vec<PenaltyStep> = vec![];
    for partition in found {
        let start = steps.last().map_or(from, |before| crossing(&before.partition, &partition).clamp(from, to));
        if let Some(before) = steps.last_mut() {
            before.to = start;
        }
        steps.push(PenaltyStep { from: start, to, partition });
    }
    Ok(steps)
}

/// The penalty at which two segmentations cost the same.
fn crossing(more: &Partition, fewer: &Partition) -> f64 {
    (fewer.cost - more.cost) / (more.change_points.len() - fewer.change_points.len()) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::cost::CostModel;
    use crate::changes::exact::dynamic_programming;
    use crate::changes::signal::Signal;
    use crate::random::Stream;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(30))]
        /// Every step is the best with its number of changes, and is optimal where it says so.
        #[test]
        fn the_path_is_the_lower_envelope(seed in 0u64..1000, from in 0.1f64..3.0, more in 1.0f64..60.0) {
            let mut stream = Stream::new(seed, 5, 0);
            let values: Vec<f64> = (0..40).map(|i| stream.normal() + f64::from(i / 10 % 2) * 3.0).collect();
            for model in [CostModel::L2, CostModel::L1, CostModel::ContinuousLinear] {
                let cost = model.of(&Signal::new(values.clone(), 1).unwrap()).unwrap();
                let to = from + more;
                let path = penalty_path(&cost, from, to, 2).unwrap();
                prop_assert_eq!((path[0].from, path[path.len() - 1].to), (from, to));
                let best: Vec<f64> = (1..=20).map(|k| dynamic_programming(&cost, k, 2).unwrap().cost).collect();
                for step in &path {
                    let m = step.partition.change_points.len();
                    prop_assert!(step.from <= step.to);
                    prop_assert!((best[m] - step.partition.cost).abs() < 1e-9);
                    for penalty in [step.from, step.to, 0.5 * (step.from + step.to)] {
                        let least = best.iter().enumerate().map(|(m, q)| q + penalty * m as f64);
                        let least = least.fold(f64::INFINITY, f64::min);
                        prop_assert!(step.partition.cost + penalty * m as f64 <= least + 1e-9, "{:?} {}", model, penalty);
                    }
                }
                prop_assert!(path.is_sorted_by(|a, b| a.to == b.from));
            }
        }
    }

    #[test]
    fn penalties_in_the_wrong_order() {
        let cost = CostModel::L2.of(&Signal::new(vec![1.0; 9], 1).unwrap()).unwrap();
        assert!(penalty_path(&cost, 2.0, 1.0, 1).is_err());
        assert_eq!(penalty_path(&cost, 1.0, 2.0, 1).unwrap().len(), 1);
    }
}
