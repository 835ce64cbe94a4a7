//! Change points of a signal: costs of a segment, and searches for the segments.
//!
//! A search takes any cost. Results are [`Partition`](crate::Partition)s: the first index of each segment but the first, and
//! the cost. What to take for what, how exact each is, and how all compare with ruptures:
//! `docs/change-points.md`. For transitions of a training curve, with their significance, there is
//! [`transitions`](crate::transitions).
//!
//! | Question | Item |
//! |---|---|
//! | All of this for one series: changes with intervals, sizes and the path of penalties? | [`series_changes`] |
//! | What does a segment cost? | [`CostModel`], or a [`SegmentCost`] by type |
//! | Cheapest at a price for each change; with k segments? | [`pelt`], [`dynamic_programming`] |
//! | Quickly, roughly? | [`binary_segmentation`], [`bottom_up`], [`sliding_window`] |
//! | Of several signals together? | [`JointCost`] |
//! | What should a change cost? | [`noise_levels`], [`in_noise_units`], [`bic`], [`ModifiedBic`] |
//! | Which segmentations are optimal for some penalty of a range? | [`penalty_path`] |
//! | Has it changed just now? | [`OnlineChanges`] |
//! | How precisely is a change known? | [`profile_intervals`], [`bootstrap_intervals`] |
//! | Is there a change of level or line at all? | [`sup_f_test`], [`cusum_test`] |
//! | A sigmoid, or some smooth curve? | [`shape_test`] |
//! | How near are two segmentations? | [`Comparison`] |

mod absolute;
mod autoregression;
mod compare;
mod cost;
mod exact;
mod gaussian;
mod greedy;
mod interval;
mod kernel;
mod kink;
mod mean;
mod online;
mod path;
mod penalty;
mod price;
mod regression;
mod series_changes;
mod shape;
mod signal;
mod significance;
mod sums;
mod trend;

pub use absolute::AbsoluteCost;
pub use autoregression::AutoregressiveCost;
pub use compare::{Comparison, Matches};
pub use cost::{CostModel, JointCost, SegmentCost};
pub(crate) use exact::{best_cuts, cheapest_cuts};
pub use exact::{dynamic_programming, pelt};
pub use gaussian::{Divisor, GaussianCost};
pub use greedy::{Stop, binary_segmentation, bottom_up, sliding_window};
pub use interval::{BootstrapSettings, ChangeInterval, bootstrap_intervals, profile_intervals};
pub use kernel::{KernelCost, MAX_KERNEL_POINTS};
pub use mean::{MeanCost, RankCost};
pub use online::{OnlineChanges, OnlineSettings};
pub use path::{PenaltyStep, penalty_path};
pub use penalty::{ModifiedBic, NoiseLevel, bic, in_noise_units, noise_levels};
pub use price::ChangeShape;
pub use regression::RegressionCost;
pub use series_changes::{PathStep, SeriesChange, SeriesChangeSettings, SeriesChanges, series_changes};
pub use shape::{ShapeSettings, ShapeTest, shape_test};
pub use signal::{ChangeError, Signal, TimeScale};
pub use significance::{ChangeTest, TestSettings, brownian_bridge_tail, cusum_test, sup_f_test};
pub use trend::{InterpolationCost, TrendCost};
