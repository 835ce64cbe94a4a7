//! What `ontogeny inspect` shows of a weight file.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::ReadError;
use super::tensor::{DType, FileFormat, NamedTensor, Scalar, Unread};
use super::visit;

/// Lists the tensors of a weight file with their statistics, holding one tensor in memory at a time.
///
/// # Errors
///
/// [`ReadError`], exactly when [`read_tensors`](crate::read_tensors) fails.
pub fn describe(path: impl AsRef<Path>) -> Result<Description, ReadError> {
    let path = path.as_ref();
    let mut tensors = Vec::new();
    let contents = visit(path, &mut |tensor| tensors.push(summary(&tensor)))?;
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = tensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(ReadError::DuplicateName { path: path.to_owned(), name: pair[0].name.clone() });
    }
    Ok(Description {
        path: path.to_owned(),
        format: contents.format,
        file_bytes: contents.file_bytes,
        n_elements: tensors.iter().map(|tensor| tensor.n_elements).sum(),
        tensors,
        scalars: contents.scalars,
        unread: contents.unread,
    })
}

/// The contents of a weight file in brief.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Description {
    /// The file.
    pub path: PathBuf,
    /// Its format.
    pub format: FileFormat,
    /// Its length in bytes.
    pub file_bytes: u64,
    /// Number of values in all tensors together.
    pub n_elements: usize,
    /// Its tensors, sorted by name.
    pub tensors: Vec<TensorSummary>,
    /// Plain numbers beside the tensors, sorted by name.
    pub scalars: Vec<Scalar>,
    /// Entries that were not read, sorted by name.
    pub unread: Vec<Unread>,
}

/// One tensor in brief.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorSummary {
    /// Its name.
    pub name: String,
    /// Its extents, outermost first.
    pub shape: Vec<usize>,
    /// Its element type in the file.
    pub dtype: DType,
    /// Number of its values.
    pub n_elements: usize,
    /// Bytes its values take at the stored width.
    pub bytes: usize,
    /// Statistics of floating-point values; `None` for integers and truth values.
    pub stats: Option<FloatStats>,
}

/// Statistics of the values of one tensor, as `f32`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FloatStats {
    /// Smallest finite value; `None` if there is none.
    pub min: Option<f32>,
    /// Largest finite value; `None` if there is none.
    pub max: Option<f32>,
    /// Mean of the finite values, summed in `f64`; `None` if there is none.
    pub mean: Option<f64>,
    /// Number of values that are NaN or infinite.
    pub n_non_finite: usize,
}

pub(crate) fn summary(tensor: &NamedTensor) -> TensorSummary {
    let n_elements = tensor.data.len();
    TensorSummary {
        name: tensor.name.clone(),
        shape: tensor.shape.clone(),
        dtype: tensor.dtype,
        n_elements,
        bytes: n_elements * tensor.dtype.n_bytes(),
        stats: tensor.data.as_f32().map(float_stats),
    }
}

fn float_stats(values: &[f32]) -> FloatStats {
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let n_finite = finite().count();
    FloatStats {
        min: finite().reduce(f32::min),
        max: finite().reduce(f32::max),
        mean: (n_finite > 0).then(|| finite().map(f64::from).sum::<f64>() / n_finite as f64),
        n_non_finite: values.len() - n_finite,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_leave_out_what_is_not_finite() {
        let stats = float_stats(&[1.0, f32::NAN, -3.0, f32::INFINITY, 5.0]);
        assert_eq!(stats, FloatStats { min: Some(-3.0), max: Some(5.0), mean: Some(1.0), n_non_finite: 2 });
        let stats = float_stats(&[f32::NAN]);
        assert_eq!(stats, FloatStats { min: None, max: None, mean: None, n_non_finite: 1 });
        let stats = float_stats(&[]);
        assert_eq!(stats, FloatStats { min: None, max: None, mean: None, n_non_finite: 0 });
    }
}
