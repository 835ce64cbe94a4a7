//! What can go wrong while a weight file is read.

use std::io;
use std::path::PathBuf;

use super::pickle_scan::PickleScanError;

/// Why a weight file was not read. Nothing of such a file is used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The operating system refused.
    #[error("failed to read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder or a device was named.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The content is of no format that is read here.
    #[error("{} is not a weight file: expected safetensors, PyTorch .pt/.pth, .npz or .npy, found {found}", path.display())]
    Unrecognised {
        /// The file.
        path: PathBuf,
        /// What it looks like.
        found: String,
    },
    /// The container contradicts itself or ends early.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        reason: String,
    },
    /// One tensor contradicts itself or its file.
    #[error("{}: tensor `{tensor}`: {reason}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// Two entries have one name.
    #[error("{} holds `{name}` more than once", path.display())]
    DuplicateName {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// The file claims far more data than its length can stand for.
    #[error(
        "{}: `{what}` would take the data read from this file to {claimed} bytes, above the {limit} bytes allowed for a file of its length",
        path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Name of the tensor or entry at which the limit was passed.
        what: String,
        /// Bytes claimed up to and including that entry.
        claimed: u64,
        /// Bytes allowed: the larger of 64 MiB and 64 times the file's length.
        limit: u64,
    },
    /// The pickle in a PyTorch file is malformed or names something that is not data.
    #[error("{}: refused before reading: {part}: {source}", path.display())]
    Pickle {
        /// The file.
        path: PathBuf,
        /// Which pickle of the file.
        part: String,
        /// What was found, with its byte offset in that pickle.
        source: PickleScanError,
    },
}
