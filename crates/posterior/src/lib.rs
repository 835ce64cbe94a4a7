//! Localised tempered posteriors around a checkpoint, explored by chains: samplers, diagnostics, learning coefficients.
//!
//! The posterior is p(w) ∝ exp(−nβ·L_n(w) − γ/2·‖w − w*‖²) on the free part of the parameter space (a
//! [`Restriction`]). An [`Objective`] is the loss: a graph, its data and the number n of independent samples. [`Llc`]
//! holds the settings of the learning coefficient λ̂ = nβ·(E[L_n(w)] − L_n(w*)) and estimates it; the answer is an
//! [`Estimate`]: a value with its Monte Carlo error, or a refusal with a [`Verdict`] and the evidence, never a number
//! that nobody should read.
//!
//! ```
//! use ontogeny_graph::Graph;
//! use ontogeny_posterior::{Estimate, Llc, Objective, Sampler};
//!
//! // L(w) = ½·Σ w², 100 parameters, standing for 1000 samples: λ̂ is close to 100/2.
//! let mut graph = Graph::new();
//! let w = graph.param("w", &[100]);
//! let square = graph.square(w);
//! let sum = graph.sum(square, &[0]);
//! let loss = graph.scale(sum, 0.5);
//! let objective = Objective::population(graph, loss, 1000)?;
//!
//! let llc = Llc { sampler: Sampler::Sgld, step_size: 1e-3, localization: 1.0, ..Llc::default() };
//! match llc.estimate(&objective, &[0.0; 100])? {
//!     Estimate::Ok { value, mcse, .. } => assert!((value - 50.0).abs() < 5.0 * mcse + 2.0),
//!     Estimate::Refused { verdict, reason, .. } => panic!("{verdict}: {reason}"),
//! }
//! # Ok::<(), ontogeny_posterior::LlcError>(())
//! ```

mod acceptance;
mod batches;
mod calibration;
mod chain;
pub mod closed_forms;
mod combine;
mod control;
mod diagnostics;
mod draw_loss;
mod ensemble;
mod estimate;
mod example_losses;
mod execution;
mod extrapolation;
pub mod known_answers;
mod llc;
mod objective;
mod preview;
mod prior;
mod quantity;
mod relative_variance;
mod response;
mod restriction;
mod samplers;
mod schedule;
mod selection;
mod singular;
mod start;
mod target;
mod verdict;

pub use batches::Batch;
pub use calibration::{Calibrated, Calibration, CalibrationError, Trial};
pub use combine::{CombineError, Difference, Ladder, difference, two_temperatures};
pub use control::Controlled;
pub use diagnostics::{Convergence, Diagnostics, Failure, Trace};
pub use estimate::Estimate;
pub use example_losses::ExampleLosses;
pub use execution::{Execution, Progress, in_parallel, threads_each};
pub use extrapolation::Extrapolation;
pub use llc::{Baseline, Evaluation, GradientRule, Llc, LlcError, SettingsError};
pub use objective::{FullLoss, Objective, ObjectiveError};
pub use preview::{Preview, PreviewRow, PreviewTensor};
pub use prior::{Centre, GaussianPrior};
pub use quantity::Quantity;
pub use relative_variance::{Moments, RelativeVariance, VarianceScale};
pub use response::{
    Chi, ComponentResponse, Covariance, Detail, Direction, Influence, Item, Judged, LossDraws, Pair, Probe, ProbeError,
    ProbeItems, Recording, Refusal, ResponseError, ResponseTable, Susceptibilities, TopPair, Trajectory, WeightDraws,
    random_walk_share,
};
pub use restriction::Restriction;
pub use samplers::{Correction, Sampler, UnknownSampler};
pub use schedule::Schedule;
pub use selection::{RestrictionError, Selection};
pub use singular::Projector;
pub use start::Start;
pub use verdict::{Limits, Verdict};
