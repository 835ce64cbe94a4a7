//! Observables that need a network: what a checkpoint does and is, as named arrays.
//!
//! An observable takes flat weights and gives a [`Measured`] array. It knows no files and no training; where its numbers
//! are kept, and on which checkpoints it runs, is decided elsewhere. Each states an algorithm version: results of
//! another version are measured again.
//!
//! | observable | what |
//! |---|---|
//! | [`Evaluator`] | loss and accuracy on exact evaluation sets |
//! | [`weight_norms`] | L2 norms of the parts of a network |
//! | [`FourierMeasures`] | progress measures of grokked modular addition |

mod evaluate;
mod fourier;
mod fourier_basis;
mod measured;
mod weight_norm;

pub use evaluate::{EVALUATION_VERSION, Evaluation, Evaluator};
pub use fourier::{FOURIER_VERSION, FourierMeasures, FourierProgress};
pub use fourier_basis::{FourierBasis, GridData, KEY_NEURON_SHARE, KeyFrequencies};
pub use measured::{Measured, ObserveError};
pub use weight_norm::{WEIGHT_NORM_VERSION, weight_norms};
