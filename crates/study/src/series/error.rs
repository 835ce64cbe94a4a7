//! What can go wrong between a file and its series.

use std::path::{Path, PathBuf};

use ontogeny_zoo::ReadError;

/// Why a file gives no series. Messages name file, row or key, what was found and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeriesFileError {
    /// A file that cannot be read; the message names it.
    #[error(transparent)]
    Io(std::io::Error),
    /// An array file that is damaged, too large or no array file.
    #[error(transparent)]
    Arrays(#[from] ReadError),
    /// A run that cannot be opened.
    #[error("{0}")]
    Run(String),
    /// A mistake in the content of a file, or in what was asked of it.
    #[error("{}: {message}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Place, found, expected, remedy.
        message: String,
    },
}

impl SeriesFileError {
    /// Of a stream, whose own error may not name the file.
    pub(crate) fn read(path: &Path, error: &std::io::Error) -> Self {
        let remedy = match error.kind() {
            std::io::ErrorKind::OutOfMemory => "; there is not enough memory: keep every n-th row, or save it as .npz",
            _ => "",
        };
        Self::content(path, format!("cannot be read: {error}{remedy}"))
    }

    pub(crate) fn content(path: &Path, message: impl Into<String>) -> Self {
        Self::Content { path: path.to_owned(), message: message.into() }
    }
}
