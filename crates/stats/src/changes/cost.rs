//! The cost of one segment of a signal: what all searches ask for, and the costs by name.

use super::absolute::AbsoluteCost;
use super::autoregression::AutoregressiveCost;
use super::gaussian::{Divisor, GaussianCost};
use super::kernel::KernelCost;
use super::mean::{MeanCost, RankCost};
use super::signal::{ChangeError, Signal};
use super::trend::{InterpolationCost, TrendCost};

/// The cost of a segment, the points `start..end` of a signal.
pub trait SegmentCost {
    /// Number of points of the signal.
    fn n_points(&self) -> usize;

    /// Cost of the points `start..end`, start < end ≤ n.
    fn cost(&self, start: usize, end: usize) -> f64;

    /// Fewest points of a segment of which this cost says anything.
    fn min_size(&self) -> usize {
        1
    }

    /// Whether cost(a, b) + cost(b, c) ≤ cost(a, c) for all segments: cutting never costs. Then
    /// PELT may drop starts (Killick et al. 2012, eq. 5 with K = 0) and stays exact. It holds for
    /// the minimum over parameters of any sum over points.
    fn is_subadditive(&self) -> bool {
        true
    }

    /// The costs of segments with the same end, one for each of `starts`.
    fn costs(&self, starts: &[usize], end: usize, costs: &mut Vec<f64>) {
        costs.clear();
        costs.extend(starts.iter().map(|&start| self.cost(start, end)));
    }

    /// Sum of the costs of all segments, cut at the first points of all but the first.
    fn sum(&self, change_points: &[usize]) -> f64 {
        let starts = std::iter::once(0).chain(change_points.iter().copied());
        let ends = change_points.iter().copied().chain([self.n_points()]);
        starts.zip(ends).map(|(start, end)| self.cost(start, end)).sum()
    }
}

impl<C: SegmentCost + ?Sized> SegmentCost for Box<C> {
    fn n_points(&self) -> usize {
        (**self).n_points()
    }

    fn cost(&self, start: usize, end: usize) -> f64 {
        (**self).cost(start, end)
    }

    fn min_size(&self) -> usize {
        (**self).min_size()
    }

    fn is_subadditive(&self) -> bool {
        (**self).is_subadditive()
    }

    fn costs(&self, starts: &[usize], end: usize, costs: &mut Vec<f64>) {
        (**self).costs(starts, end, costs);
    }
}

/// A cost by name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CostModel {
    /// Sum of distances from the median ([`AbsoluteCost`]).
    L1,
    /// Sum of squared distances from the mean ([`MeanCost`]).
    L2,
    /// Gaussian with its own mean and covariance ([`GaussianCost`]).
    Normal,
    /// The mean of ranks ([`RankCost`]).
    Rank,
    /// Mean embedding under a Gaussian kernel ([`KernelCost`]); `None`: by the median distance.
    Rbf(Option<f64>),
    /// Straight line over the positions ([`TrendCost`]).
    Linear,
    /// Straight line between the values at the ends ([`InterpolationCost`]).
    ContinuousLinear,
    /// Autoregression of this order ([`AutoregressiveCost`]).
    Autoregressive(usize),
}

impl CostModel {
    /// This cost of the segments of `signal`.
    ///
    /// # Errors
    /// No points, or what the cost itself refuses.
    pub fn of(self, signal: &Signal) -> Result<Box<dyn SegmentCost>, ChangeError> {
        Ok(match self {
            Self::L1 => Box::new(AbsoluteCost::new(signal)?),
            Self::L2 => Box::new(MeanCost::new(signal)?),
            Self::Normal => Box::new(GaussianCost::new(signal, Divisor::Points, 1e-6)?),
            Self::Rank => Box::new(RankCost::new(signal)?),
            Self::Rbf(gamma) => Box::new(KernelCost::gaussian(signal, gamma)?),
            Self::Linear => Box::new(TrendCost::new(signal)?),
            Self::ContinuousLinear => Box::new(InterpolationCost::new(signal)?),
            Self::Autoregressive(order) => Box::new(AutoregressiveCost::new(signal, order)?),
        })
    }
}

/// The weighted sum of costs of several signals of the same points: their common changes.
pub struct JointCost {
    parts: Vec<(f64, Box<dyn SegmentCost>)>,
}

impl JointCost {
    /// Sum of weight × cost. A weight of 1/σ² puts sums of squares of different units on a level.
    ///
    /// # Errors
    /// No parts, parts of different numbers of points, or a weight that is negative or not finite.
    pub fn new(parts: Vec<(f64, Box<dyn SegmentCost>)>) -> Result<Self, ChangeError> {
        let Some(expected) = parts.first().map(|(_, cost)| cost.n_points()) else {
            return Err(ChangeError::BadSetting { name: "signals", value: 0.0, range: "at least 1" });
        };
        for (weight, cost) in &parts {
            if !(weight.is_finite() && *weight >= 0.0) {
                let range = "finite and at least 0";
                return Err(ChangeError::BadSetting { name: "weight", value: *weight, range });
            }
            let found = cost.n_points();
            if found != expected {
                return Err(ChangeError::LengthsDiffer { what: "points", found, expected, dimensions: 1 });
            }
        }
        Ok(Self { parts })
    }
}

impl SegmentCost for JointCost {
    fn n_points(&self) -> usize {
        self.parts[0].1.n_points()
    }

    fn cost(&self, start: usize, end: usize) -> f64 {
        self.parts.iter().map(|(weight, cost)| weight * cost.cost(start, end)).sum()
    }

    fn min_size(&self) -> usize {
        self.parts.iter().map(|(_, cost)| cost.min_size()).max().unwrap_or(1)
    }

    fn is_subadditive(&self) -> bool {
        self.parts.iter().all(|(_, cost)| cost.is_subadditive())
    }
}

/// Refuses a signal without points.
pub(crate) fn check_points(n_points: usize) -> Result<(), ChangeError> {
    if n_points == 0 { Err(ChangeError::TooFewPoints { found: 0, needed: 1 }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;
    use proptest::prelude::*;

    fn noise(n: usize, d: usize, seed: u64) -> Signal {
        let mut stream = Stream::new(seed, 11, 0);
        let values = (0..n * d).map(|i| stream.normal() + if i / d > n / 2 { 2.0 } else { 0.0 }).collect();
        let mut x = 0.0;
        let positions = (0..n)
            .map(|_| {
                x += 0.2 + stream.uniform();
                x
            })
            .collect();
        Signal::new(values, d).unwrap().at(positions).unwrap()
    }

    proptest! {
        /// The promise by which PELT drops starts, for every cost that makes it.
        #[test]
        fn cutting_never_costs(seed in 0u64..300, d in 1usize..4, a in 0usize..20, first in 5usize..20, second in 5usize..20) {
            let signal = noise(60, d, seed);
            let models = [
                CostModel::L1, CostModel::L2, CostModel::Normal, CostModel::Rank, CostModel::Rbf(None),
                CostModel::Linear, CostModel::Autoregressive(2),
            ];
            for model in models {
                let cost = model.of(&signal).unwrap();
                prop_assert!(cost.is_subadditive());
                let (b, c) = (a + first, a + first + second);
                let whole = cost.cost(a, c);
                let parts = cost.cost(a, b) + cost.cost(b, c);
                prop_assert!(parts <= whole + 1e-9 * (1.0 + whole.abs()), "{:?}: {} > {}", model, parts, whole);
            }
        }
    }

    #[test]
    fn interpolation_promises_nothing() {
        // A spike in the middle is the end of both parts, which lie far from the line to it.
        let signal = Signal::new(vec![0.0, 0.0, 0.0, 0.0, 9.0, 0.0, 0.0, 0.0, 0.0], 1).unwrap();
        let cost = CostModel::ContinuousLinear.of(&signal).unwrap();
        assert!(!cost.is_subadditive());
        assert!(cost.cost(0, 5) + cost.cost(5, 9) > cost.cost(0, 9));
    }

    #[test]
    fn joint_costs_add_up() {
        let (first, second) = (noise(30, 1, 1), noise(30, 1, 2));
        let parts = |w: f64| vec![(1.0, CostModel::L2.of(&first).unwrap()), (w, CostModel::L1.of(&second).unwrap())];
        let joint = JointCost::new(parts(0.5)).unwrap();
        let expected =
            CostModel::L2.of(&first).unwrap().cost(3, 9) + 0.5 * CostModel::L1.of(&second).unwrap().cost(3, 9);
        assert!((joint.cost(3, 9) - expected).abs() < 1e-12);
        assert!(JointCost::new(parts(f64::NAN)).is_err());
        assert!(JointCost::new(vec![]).is_err());
        let short = noise(10, 1, 1);
        let uneven = vec![(1.0, CostModel::L2.of(&first).unwrap()), (1.0, CostModel::L2.of(&short).unwrap())];
        assert!(JointCost::new(uneven).is_err());
        assert!(CostModel::L2.of(&Signal::new(vec![], 1).unwrap()).is_err());
    }
}
