//! Files of examples, plain or gzipped: read whole, with a bound on what they may unpack to.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::memory;

/// Why a file of examples cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataFileError {
    /// The operating system refused.
    #[error("failed to read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A folder or a device was named.
    #[error("{} is not a regular file; expected a file of examples, plain or gzipped", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// A gzipped file that cannot be unpacked.
    #[error("{} begins as a gzipped file and cannot be unpacked: {source}; fetch it again", path.display())]
    Packed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: std::io::Error,
    },
    /// More than memory holds, or more than a file of this length may unpack to.
    #[error("{} would take {needed}; {limit}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Bytes, in words.
        needed: String,
        /// What there is, or is allowed.
        limit: String,
    },
    /// Content of another kind than its format asks for.
    #[error("{}: {found}; expected {expected}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What stands there, and where.
        found: String,
        /// What should, and what to do.
        expected: String,
    },
}

/// What a file holds and what was asked for, before the file's name is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mismatch {
    pub(super) found: String,
    pub(super) expected: String,
}

impl Mismatch {
    pub(super) fn new(found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { found: found.into(), expected: expected.into() }
    }

    pub(super) fn of(self, path: &Path) -> DataFileError {
        DataFileError::Content { path: path.to_owned(), found: self.found, expected: self.expected }
    }
}

/// Any gzipped file may unpack to this much, however short it is.
const FLOOR_BYTES: u64 = 64 << 20;

/// Longer ones may unpack to this many times their length: images and text stay below 20, a bomb reaches a thousand.
const FACTOR: u64 = 64;

/// First bytes of a gzipped file (RFC 1952, 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// All bytes of a file, unpacked where it is gzipped.
pub(super) fn read_data_file(path: &Path) -> Result<Vec<u8>, DataFileError> {
    let io = |source| DataFileError::Io { path: path.to_owned(), source };
    let metadata = fs_err::metadata(path).map_err(io)?;
    // A pipe or a device may never end.
    if !metadata.is_file() {
        return Err(DataFileError::NotAFile { path: path.to_owned() });
    }
    let n_bytes = metadata.len();
    if usize::try_from(n_bytes).is_ok_and(memory::is_free) {
        let bytes = fs_err::read(path).map_err(io)?;
        return if bytes.starts_with(&GZIP) { unpack(path, &bytes) } else { Ok(bytes) };
    }
    let limit = "that much memory is not there; cut the file into smaller ones".to_owned();
    Err(DataFileError::TooLarge { path: path.to_owned(), needed: format!("{n_bytes} bytes"), limit })
}

/// Unpacks gzipped bytes: a single member or several, as `gzip` joins them.
fn unpack(path: &Path, packed: &[u8]) -> Result<Vec<u8>, DataFileError> {
    let limit = (packed.len() as u64).saturating_mul(FACTOR).max(FLOOR_BYTES);
    let mut bytes = Vec::new();
    MultiGzDecoder::new(packed)
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| DataFileError::Packed { path: path.to_owned(), source })?;
    if bytes.len() as u64 > limit {
        return Err(DataFileError::TooLarge {
            path: path.to_owned(),
            needed: format!("more than {limit} bytes unpacked"),
            limit: format!("that is all a gzipped file of {} bytes may unpack to; unpack it yourself", packed.len()),
        });
    }
    Ok(bytes)
}

/// Unpacks what was built into the program.
pub(super) fn unpack_embedded(packed: &[u8]) -> Vec<u8> {
    unpack(Path::new("(embedded)"), packed).expect("tests unpack every embedded file")
}
