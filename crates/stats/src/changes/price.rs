//! What a segment of a series is taken for, and what a change of it has to pay in the noise that is there.

use super::cost::{CostModel, SegmentCost};
use super::penalty::{NoiseLevel, bic};
use super::signal::{ChangeError, Signal};

/// What a segment of a series is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeShape {
    /// One level, by the median: changes of level, with outliers.
    L1,
    /// One level, by the mean: changes of level.
    L2,
    /// Normal values with a mean and a variance of their own: changes of spread, and of level.
    Normal,
    /// One level of the ranks: changes of level, whatever the scale of the values.
    Rank,
    /// One distribution: any change of it.
    Rbf,
    /// One straight line over time: changes of slope, and jumps.
    Linear,
    /// Straight lines that meet: kinks of a curve with little noise.
    ContinuousLinear,
    /// One autoregression of order 1: changes of the dynamics.
    Autoregressive,
}

impl ChangeShape {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::L1,
        Self::L2,
        Self::Normal,
        Self::Rank,
        Self::Rbf,
        Self::Linear,
        Self::ContinuousLinear,
        Self::Autoregressive,
    ];

    /// Its name in files and on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::L1 => "l1",
            Self::L2 => "l2",
            Self::Normal => "normal",
            Self::Rank => "rank",
            Self::Rbf => "rbf",
            Self::Linear => "linear",
            Self::ContinuousLinear => "continuous_linear",
            Self::Autoregressive => "autoregressive",
        }
    }

    /// What [`SeriesChange`](super::SeriesChange) tells of the segments on either side.
    pub fn quantity(self) -> &'static str {
        match self {
            Self::L1 | Self::Rank => "median",
            Self::L2 | Self::Rbf => "mean",
            Self::Normal => "standard deviation",
            Self::Linear | Self::ContinuousLinear => "slope",
            Self::Autoregressive => "lag-1 coefficient",
        }
    }

    /// How the price of a change comes about.
    pub fn criterion(self) -> &'static str {
        match self {
            Self::L2 => "mBIC",
            Self::ContinuousLinear => "twice the noise at every point",
            _ => "BIC",
        }
    }

    /// Fewest points of a segment. Two points have no spread to speak of: with fewer than six, some segment of noise
    /// always has nearly none, and costs next to nothing.
    pub(super) fn min_size(self) -> usize {
        match self {
            Self::Normal | Self::Autoregressive => 6,
            Self::Linear => 3,
            _ => 2,
        }
    }
}

/// Costs of segments, and how they compare with noise.
pub(super) struct Price {
    pub(super) cost: Box<dyn SegmentCost>,
    /// What noise alone makes of the cost, so that cost / unit can be judged like −2 ln L of white normal noise.
    pub(super) unit: f64,
    /// Price of a change, in these units.
    pub(super) per_change: f64,
}

impl Price {
    /// Of a signal of one dimension with this noise, whose deviation is above 0.
    ///
    /// Each cost is divided by what it loses in noise when a segment is cut that should not be, so that the loss is a χ² of as
    /// many degrees as a segment has parameters; the price is then BIC's ([`bic`]). With L = Σₖ corr(k) over all lags of
    /// what the cost is a square of:
    /// - squares: the long-run variance σ² L, L = (1 + φ)/(1 − φ);
    /// - distances: the loss is S²/(4 f(0) n), S the sum of signs (Koenker and Bassett 1982, theorem 3), so
    ///   L/(4 f(0)) with f(0) = 1/(σ√2π); signs have the correlation (2/π) asin φᵏ (Sheppard 1899);
    /// - ranks: the loss is the statistic of Kruskal and Wallis; L with Spearman's (6/π) asin(φᵏ/2);
    /// - a kernel: the loss is Σ λⱼ χ²ⱼ with Σ λⱼ the scatter of a point. Of all such sums that of one λ has the heaviest tail
    ///   (Székely and Bakirov 2003), so that scatter is the unit, times the slowest L, that of the values themselves;
    /// - normal segments: −2 ln L as it is, times the same L, which is that of the mean and more than that of the variance;
    /// - autoregressions: the variance σ²(1 − φ²) of what cannot be predicted, which is white.
    ///
    /// Lines between noisy points are another matter: the two ends alone, off by σ each, make a line of n points cost up to
    /// nσ²(a² + ab + b²)/3 more. A change must gain more than that does at a = b = 2: 4nσ².
    pub(super) fn new(shape: ChangeShape, signal: &Signal, noise: NoiseLevel) -> Result<Self, ChangeError> {
        let (n, phi) = (signal.n_points(), noise.autocorrelation);
        let square = noise.deviation * noise.deviation;
        let long_run = (1.0 + phi) / (1.0 - phi);
        let sum_over_lags = |correlation: &dyn Fn(f64) -> f64| {
            // φ ≤ 0.95: after 400 lags 1e-9 is left.
            1.0 + 2.0 * (1..=400).map(|lag| correlation(phi.powi(lag))).sum::<f64>()
        };
        let pi = std::f64::consts::PI;
        let (model, unit, n_parameters) = match shape {
            ChangeShape::L2 => (CostModel::L2, square * long_run, 1),
            ChangeShape::L1 => {
                let signs = sum_over_lags(&|r| 2.0 / pi * r.asin());
                (CostModel::L1, noise.deviation * (2.0 * pi).sqrt() / 4.0 * signs, 1)
            }
            ChangeShape::Rank => (CostModel::Rank, sum_over_lags(&|r| 6.0 / pi * (0.5 * r).asin()), 1),
            ChangeShape::Rbf => (CostModel::Rbf(None), long_run, 1),
            ChangeShape::Normal => (CostModel::Normal, long_run, 2),
            ChangeShape::Linear => (CostModel::Linear, square * long_run, 2),
            ChangeShape::ContinuousLinear => (CostModel::ContinuousLinear, square, 1),
            ChangeShape::Autoregressive => (CostModel::Autoregressive(1), square * (1.0 - phi * phi), 2),
        };
        let cost = model.of(signal)?;
        let unit = if shape == ChangeShape::Rbf { unit * cost.cost(0, n) / n as f64 } else { unit };
        let per_change = match shape {
            ChangeShape::ContinuousLinear => 4.0 * n as f64,
            // Zhang and Siegmund (2007); the lengths of segments enter besides.
            ChangeShape::L2 => 3.0 * (n as f64).ln(),
            _ => bic(n, n_parameters),
        };
        Ok(Self { cost, unit, per_change })
    }
}
