//! The path of a run's checkpoints through the space of functions, or of weights: what `trajectories` of a view holds.

use serde::{Deserialize, Serialize};

/// A path by its principal components, with the geometry of its planes and the forms found on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trajectory {
    /// What stands for a checkpoint: `logits`, `losses` or `weights`.
    pub of: String,
    /// Numbers of one checkpoint.
    pub n_outputs: u64,
    /// Steps of the checkpoints on the path, ascending.
    pub steps: Vec<u64>,
    /// Share of the variance along each component, descending.
    pub shares: Vec<f64>,
    /// The shares that a random walk of as many checkpoints has on average in many dimensions: what shares near these say is little.
    pub random_walk: Vec<f64>,
    /// Coordinates of every checkpoint along each component: `[component][checkpoint]`, about the mean.
    pub scores: Vec<Vec<f64>>,
    /// The same, smoothed along the path.
    pub smoothed: Vec<Vec<f64>>,
    /// The planes of pairs of components, with the curvature of the smoothed path.
    pub planes: Vec<Plane>,
    /// Places where the path turns around a point in all planes, the most significant first; at most six.
    pub forms: Vec<Form>,
}

/// The smoothed path in the plane of two components.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plane {
    /// Number of the component across, from 0.
    pub across: usize,
    /// Number of the component upwards, from 0.
    pub up: usize,
    /// Centre of the osculating circle at every checkpoint; `None` where the path is straight.
    pub centres: Vec<Option<[f64; 2]>>,
    /// Its radius.
    pub radii: Vec<Option<f64>>,
}

/// A place where the path turns around a point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Form {
    /// Step at which the path passes it.
    pub step: f64,
    /// Lower end of the interval of that step.
    pub lower: f64,
    /// Upper end of that interval.
    pub upper: f64,
    /// `cusp` where the path turns back, `vertex` where it wraps around a point.
    pub kind: String,
    /// The point it turns around, along each component.
    pub point: Vec<f64>,
    /// Share of random walks in which the strongest form is as strong.
    pub p_value: f64,
}
