//! How the units of a measurement fluctuate together: what `fluctuations` of a view holds.

use serde::{Deserialize, Serialize};

/// The covariance of many units over nearby checkpoints or over draws, along the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fluctuations {
    /// Over what units fluctuate: `checkpoints`, about straight lines in ln(step + 1) in a window that ends at a step, or `draws` of
    /// the chains at a step, about the mean of each chain.
    pub over: String,
    /// What the units are, such as `logits` or `losses of examples`.
    pub units: String,
    /// Number of units looked at, evenly spaced over those measured.
    pub n_units: usize,
    /// Number of units measured.
    pub n_measured: usize,
    /// Checkpoints of a window, or draws of all chains together at most.
    pub n_vectors: usize,
    /// By step.
    pub modes: Vec<FluctuationMode>,
    /// Kendall's τ of the leading eigenvalue with time. Windows overlap, so that it has no simple p-value.
    pub variance_tau: f64,
    /// The group of units that stands out in the last window; only over checkpoints.
    pub group: Option<FluctuationGroup>,
}

/// The covariance at one step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FluctuationMode {
    /// The step; of a window, that of its last checkpoint.
    pub step: f64,
    /// Largest eigenvalue, in squared units of the units.
    pub variance: f64,
    /// Sum of all eigenvalues.
    pub total: f64,
    /// |cosine| of the leading eigenvector with that of the step before; 0 of the first.
    pub agreement: f64,
    /// The largest eigenvalues, descending, at most 20.
    pub spectrum: Vec<f64>,
    /// Index of the group of the last window in this one (Chen et al. 2012), where there is a group.
    pub marker: Option<f64>,
}

/// Units that fluctuate strongly, together, and apart from the others in the last window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FluctuationGroup {
    /// Numbers of the units, from 0, among those measured.
    pub units: Vec<u64>,
    /// Number of units among which it was looked for.
    pub among: usize,
    /// Deviation times correlation inside over correlation across.
    pub index: f64,
    /// Share of unrelated units of the same spectra in which a group as strong is found.
    pub p_value: f64,
}
