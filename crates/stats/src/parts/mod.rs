//! The sum of parts: a smooth mean curve as the sum of its components' sharp transitions.

mod components;
mod least_squares;
mod power_law;
mod sigmoids;

pub use components::{ComponentShare, MIN_COMPONENT_POINTS, component_shares, half_time};
pub use power_law::{LogLogFit, log_log_fit, quantisation_exponents, unlearned_mass, zipf_frequencies};
pub use sigmoids::{Sigmoid, SigmoidSum, SigmoidSumSettings, sigmoid_sum};
