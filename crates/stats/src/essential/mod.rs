//! Essential dynamics: the trajectory of outputs over checkpoints, its principal plane and its geometry.

mod curve;
mod curve_error;
mod forms;
mod gram;
mod pca;
mod random_walk;
mod randomised;
mod smoother;
mod surrogate_curves;

pub use curve::{CurvePoint, Vertex, cusps, plane_curve, vertices};
pub use curve_error::{CurveError, coordinate_noise, curve_errors};
pub use forms::{Form, FormPair, FormSettings, forms};
pub use gram::TrajectoryGram;
pub use pca::{ProjectedPoint, TrajectoryPca};
pub use random_walk::{WalkShares, random_walk_shares, random_walk_shares_of, simulated_walk_shares};
pub use randomised::RandomisedPca;
pub use smoother::Smoother;
