//! Arrays of NumPy's formats.

use std::path::Path;

use ontogeny_zoo::read_arrays;

use super::{Array, SeriesFileError, Source};

/// Every array of an `.npz` or `.npy` file.
///
/// # Errors
/// A file that cannot be read as such.
pub(super) fn read(path: &Path) -> Result<Source, SeriesFileError> {
    let (arrays, unread) = read_arrays(path)?;
    let mut source = Source::default();
    for left in unread {
        source.notices.push(format!("`{}` is skipped: {}", left.name, left.reason));
    }
    for array in arrays {
        if array.shape.is_empty() {
            source.notices.push(format!("`{}` is skipped: a single number", array.name));
        } else {
            let (name, shape, values) = (array.name, array.shape, array.values);
            source.arrays.push(Array { name, shape, values, in_rows: None });
        }
    }
    Ok(source)
}
