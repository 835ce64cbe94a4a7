//! Refuses weights that are not numbers.

use std::path::{Path, PathBuf};

use super::layout::WeightTensor;
use super::tensor::TensorFile;

/// Checks that every floating-point value of a file, in all of its tensors, is finite.
///
/// # Errors
///
/// [`NonFinite`] for the first tensor, by name, with a NaN or an infinity.
pub fn check_finite(file: &TensorFile) -> Result<(), NonFinite> {
    file.tensors
        .iter()
        .filter_map(|tensor| Some((tensor.name.as_str(), tensor.shape.as_slice(), tensor.data.as_f32()?)))
        .try_for_each(|(name, shape, values)| check(&file.path, name, shape, values))
}

/// Checks that every value of `weights`, which were read from `path`, is finite.
///
/// # Errors
///
/// [`NonFinite`] for the first tensor, in order, with a NaN or an infinity.
pub fn check_finite_weights(path: &Path, weights: &[WeightTensor]) -> Result<(), NonFinite> {
    weights.iter().try_for_each(|weight| check(path, &weight.name, &weight.shape, &weight.values))
}

/// A tensor holds values that are not finite.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(
    "{}: tensor `{tensor}` holds {count} non-finite values of {n_elements}, the first being {value} at {index:?}; use a checkpoint from before the run diverged",
    path.display()
)]
pub struct NonFinite {
    /// The file.
    pub path: PathBuf,
    /// The tensor.
    pub tensor: String,
    /// Position of the first such value, one index per axis.
    pub index: Vec<usize>,
    /// That value.
    pub value: f32,
    /// Number of such values in the tensor.
    pub count: usize,
    /// Number of all values in the tensor.
    pub n_elements: usize,
}

fn check(path: &Path, name: &str, shape: &[usize], values: &[f32]) -> Result<(), NonFinite> {
    let Some(first) = values.iter().position(|value| !value.is_finite()) else {
        return Ok(());
    };
    let mut rest = first;
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&extent| {
            let at = rest % extent;
            rest /= extent;
            at
        })
        .collect();
    index.reverse();
    Err(NonFinite {
        path: path.to_owned(),
        tensor: name.to_owned(),
        index,
        value: values[first],
        count: values.iter().filter(|value| !value.is_finite()).count(),
        n_elements: values.len(),
    })
}
