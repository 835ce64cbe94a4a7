//! Statistics for the development of networks: chain diagnostics, transitions and stages.
//!
//! Pure functions of arrays; no graphs, no files, no global state. Whatever is random takes a seed
//! and gives the same answer for it every time.
//!
//! | Question | Item |
//! |---|---|
//! | Have these chains converged, and how precise is their mean? | [`Chains`] |
//! | Where does this series change, how sharply, how surely? | [`transitions`] |
//! | What is the best cut into k segments, or at a price for each? | [`partition()`] |
//! | Where does any signal change: costs, searches, penalties, tests? | [`changes`] |
//! | Which of many such findings survive? | [`benjamini_hochberg`], [`holm`] |
//! | Is a hypothesis supported: tests, intervals, power, scores, verdicts? | [`hypothesis`] |
//! | Where does one stage end and the next begin? | [`stage_boundaries`] |
//! | How much does this series change in each stage? | [`stage_changes`] |
//! | On which boundaries do several observables agree? | [`consensus`], [`weighted_consensus`] |
//! | How few components carry this vector? | [`gini`], [`hoyer`] |
//! | How many dimensions has this spectrum? | [`participation_ratio`], [`entropy_rank`], [`stable_rank`], [`components_for_share`] |
//! | What are the singular values of this matrix, the variances of these rows? | [`squared_singular_values`], [`GramSum`] |
//! | On how many dimensions do these points lie? | [`Neighbours`] |
//! | In which plane do the outputs move over training? | [`TrajectoryGram`], [`RandomisedPca`] |
//! | How does that curve bend, and around which points does it turn? | [`plane_curve`], [`forms`] |
//! | Do fluctuations announce a transition, and in which direction? | [`early_warnings`], [`window_modes`], [`marker_index`] |
//! | How long before a transition, at how many false alarms? | [`alarm_rates`] |
//! | How alike are two sets of activations? | [`kernel_alignment`], [`canonical_correlations`], [`singular_vector_correlation`] |
//! | What can a linear map read from activations, and what is left when that is erased? | [`probe()`], [`Eraser`] |
//! | Which pairs are best put together, which things form groups? | [`best_assignment`], [`SpectralClustering`], [`adjusted_rand_index`] |
//! | Which sharp transitions add up to this smooth curve? | [`sigmoid_sum`], [`component_shares`], [`log_log_fit`] |
//!
//! Training steps are `f64` in their original unit everywhere; the analyses work in
//! x = ln(step + 1).
//!
//! ```
//! use ontogeny_stats::{Series, TransitionSettings, transitions};
//!
//! let steps: Vec<f64> = (0..60).map(|i| (1.15f64.powi(i)).round() + f64::from(i)).collect();
//! let losses: Vec<f64> = steps.iter().map(|t| 4.0 / (1.0 + (t / 90.0).powi(6))).collect();
//! let found = transitions(&Series::new(steps, losses)?, &TransitionSettings::default())?;
//! assert_eq!(found.len(), 1);
//! assert!(found[0].lower <= 90.0 && 90.0 <= found[0].upper);
//! # Ok::<(), ontogeny_stats::SeriesError>(())
//! ```

pub mod changes;
pub mod hypothesis;

mod chains;
mod drift;
mod ess;

mod hills;
mod multiple;
mod noise;
mod null;
mod partition;
mod segmentation;
mod series;
mod transition;
mod warp;

mod cholesky;
mod consensus;
mod smooth;
mod stage;
mod stage_change;

mod array_error;
mod eigen;
mod essential;
mod general_eigen;
mod linear_system;
mod parts;
mod spectrum;
mod warning;

mod clustering;
mod effective_rank;
mod gram;
mod intrinsic_dimension;
mod linear;
mod representation;

mod order;
mod random;
mod sparsity;
mod special;

pub use array_error::ArrayError;
pub use chains::{ChainError, Chains, MIN_DRAWS};
pub use clustering::{SpectralClustering, adjusted_rand_index};
pub use consensus::{ConsensusBoundary, consensus, weighted_consensus};
pub use drift::Drift;
pub use effective_rank::{components_for_share, entropy_rank, participation_ratio, stable_rank};
pub use eigen::symmetric_eigenvalues;
pub use essential::{
    CurveError, CurvePoint, Form, FormPair, FormSettings, ProjectedPoint, RandomisedPca, Smoother, TrajectoryGram,
    TrajectoryPca, Vertex, WalkShares, coordinate_noise, curve_errors, cusps, forms, plane_curve, random_walk_shares,
    random_walk_shares_of, simulated_walk_shares, vertices,
};
pub use general_eigen::eigenvalues;
pub use gram::{GramSum, squared_singular_values, squared_singular_values_of_product};
pub use intrinsic_dimension::Neighbours;
pub use linear::{Matrix, best_assignment};
pub use multiple::{benjamini_hochberg, holm, holm_rates};
pub use order::{median, quantile};
pub use partition::{Partition, SegmentCount, SegmentShape, partition};
pub use parts::{
    ComponentShare, LogLogFit, MIN_COMPONENT_POINTS, Sigmoid, SigmoidSum, SigmoidSumSettings, component_shares,
    half_time, log_log_fit, quantisation_exponents, sigmoid_sum, unlearned_mass, zipf_frequencies,
};
pub use representation::{
    CanonicalCorrelations, Eraser, KernelAlignment, LogisticFit, Probe, ProbeScore, Question, RidgeFit,
    canonical_correlations, kernel_alignment, logistic, probe, probe_erased, ridge, singular_vector_correlation,
};
pub use series::{Series, SeriesError};
pub use sparsity::{gini, hoyer};
pub use special::{normal_cdf, normal_quantile, student_cdf, student_quantile};
pub use stage::{Boundary, BoundaryKind, MIN_STAGE_POINTS, StageSettings, stage_boundaries};
pub use stage_change::{StageChange, stage_changes};
pub use transition::{MIN_TRANSITION_POINTS, Transition, TransitionSettings, transitions};
pub use warning::{
    AlarmRates, CovarianceSum, DominantMode, EarlyWarnings, FoundGroup, MarkerIndex, Surrogates, Trend,
    WarningSettings, WatchedRun, WindowMode, alarm_rates, area_under_rates, dominant_mode, early_warnings,
    find_marker_group, kendall_trend, marker_index, stationary_covariance, stationary_covariance_of_map, window_modes,
};
