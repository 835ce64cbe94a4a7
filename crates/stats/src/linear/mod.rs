//! Dense matrices, their singular values, and assignments.

mod assignment;
mod matrix;
mod svd;

pub use assignment::best_assignment;
pub use matrix::Matrix;
pub(crate) use svd::singular_values;
