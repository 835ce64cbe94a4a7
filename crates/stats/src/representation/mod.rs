//! What activations hold and share: similarity of two sets, linear probes, erasure of what a probe reads.

mod axes;
mod canonical;
mod erasure;
mod kernel_alignment;
mod lbfgs;
mod logistic;
mod probe;
mod ridge;

use axes::PrincipalAxes;
pub use canonical::{CanonicalCorrelations, canonical_correlations, singular_vector_correlation};
pub use erasure::Eraser;
pub use kernel_alignment::{KernelAlignment, kernel_alignment};
pub use logistic::{LogisticFit, logistic};
pub use probe::{Probe, ProbeScore, Question, probe, probe_erased};
pub use ridge::{RidgeFit, ridge};
