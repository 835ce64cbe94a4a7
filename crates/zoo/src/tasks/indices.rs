//! Explicit training indices: read from `.npz`, `.npy` or text, and checked.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::{ReadError, TensorFile, read_tensors};

/// Why a file of training indices cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexFileError {
    /// The operating system refused.
    #[error("failed to read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// An array file that cannot be read.
    #[error("failed to read the training indices")]
    Array(#[from] ReadError),
    /// No array to read them from.
    #[error("{}: {found}; expected {expected}", path.display())]
    ArrayChoice {
        /// The file.
        path: PathBuf,
        /// What was asked for or is missing.
        found: String,
        /// The arrays there are.
        expected: String,
    },
    /// Something that is not an index.
    #[error("{}: {place} holds `{found}`; expected a whole number from 0 to {}", path.display(), n_examples - 1)]
    Value {
        /// The file.
        path: PathBuf,
        /// Line or entry, counted from 1.
        place: String,
        /// What stands there.
        found: String,
        /// Examples of the task.
        n_examples: usize,
    },
    /// An index twice.
    #[error("{}: index {index} stands twice; expected each training index once", path.display())]
    Repeated {
        /// The file.
        path: PathBuf,
        /// The index.
        index: usize,
    },
    /// None at all.
    #[error("{} holds no training indices; expected at least one", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// Reads the training indices of a task of `n_examples`, ascending: the array `key` of an `.npz`, the only array of an
/// `.npz` or `.npy`, or a text with one index on each line, where blank lines and what follows `#` do not count.
pub(super) fn read_indices(path: &Path, key: Option<&str>, n_examples: usize) -> Result<Vec<usize>, IndexFileError> {
    let values = if is_text(path)? {
        if let Some(key) = key {
            return Err(IndexFileError::ArrayChoice {
                path: path.to_owned(),
                found: format!("train_indices_key = \"{key}\" for a text file, which has no names"),
                expected: "an .npz file, or no train_indices_key".to_owned(),
            });
        }
        read_lines(path, n_examples)?
    } else {
        read_array(path, key, n_examples)?
    };
    let mut indices = Vec::with_capacity(values.len());
    for (place, value) in values {
        let index = usize::try_from(value).ok().filter(|&i| i < n_examples);
        indices.push(index.ok_or_else(|| IndexFileError::Value {
            path: path.to_owned(),
            place,
            found: value.to_string(),
            n_examples,
        })?);
    }
    if indices.is_empty() {
        return Err(IndexFileError::Empty { path: path.to_owned() });
    }
    indices.sort_unstable();
    match indices.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(IndexFileError::Repeated { path: path.to_owned(), index: pair[0] }),
        None => Ok(indices),
    }
}

/// A value with the place where it stands, for messages.
type Placed = (String, i64);

/// Anything but NumPy's formats counts as text.
fn is_text(path: &Path) -> Result<bool, IndexFileError> {
    let io = |source| IndexFileError::Io { path: path.to_owned(), source };
    let mut head = Vec::new();
    // A pipe or a device may never end.
    if !fs_err::metadata(path).map_err(io)?.is_file() {
        return Err(ReadError::NotAFile { path: path.to_owned() }.into());
    }
    let file = fs_err::File::open(path).map_err(io)?;
    file.take(6).read_to_end(&mut head).map_err(io)?;
    Ok(!head.starts_with(b"PK") && !head.starts_with(b"\x93NUMPY"))
}

fn read_lines(path: &Path, n_examples: usize) -> Result<Vec<Placed>, IndexFileError> {
    let text = fs_err::read_to_string(path).map_err(|source| IndexFileError::Io { path: path.to_owned(), source })?;
    let mut values = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let entry = line.split('#').next().unwrap_or_default().trim();
        if entry.is_empty() {
            continue;
        }
        let place = format!("line {number}");
        match entry.parse() {
            Ok(value) => values.push((place, value)),
            Err(_) => {
                return Err(IndexFileError::Value {
                    path: path.to_owned(),
                    place,
                    found: entry.to_owned(),
                    n_examples,
                });
            }
        }
    }
    Ok(values)
}

fn read_array(path: &Path, key: Option<&str>, n_examples: usize) -> Result<Vec<Placed>, IndexFileError> {
    let file = read_tensors(path)?;
    let choice = |found: String| IndexFileError::ArrayChoice {
        path: path.to_owned(),
        found,
        expected: format!("train_indices_key to name one of: {}", array_names(&file)),
    };
    let array = match (key, file.tensors.as_slice()) {
        (Some(key), _) => file.get(key).ok_or_else(|| choice(format!("no array `{key}`")))?,
        (None, [only]) => only,
        (None, several) => return Err(choice(format!("{} arrays", several.len()))),
    };
    let values = array.data.as_i64().ok_or_else(|| {
        let found = format!("array `{}` of {}", array.name, array.dtype);
        IndexFileError::ArrayChoice { path: path.to_owned(), found, expected: "an array of integers".to_owned() }
    })?;
    if values.len() > n_examples {
        let found = format!("array `{}` of {} values", array.name, values.len());
        let expected = format!("at most {n_examples}, each training index once");
        return Err(IndexFileError::ArrayChoice { path: path.to_owned(), found, expected });
    }
    let place = |i| format!("entry {i} of `{}`", array.name);
    Ok((1..).zip(values).map(|(i, &value)| (place(i), value)).collect())
}

fn array_names(file: &TensorFile) -> String {
    let names: Vec<String> = file.tensors.iter().map(|t| format!("`{}`", t.name)).collect();
    names.join(", ")
}
