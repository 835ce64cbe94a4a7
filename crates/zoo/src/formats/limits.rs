//! How much memory a file of a given length may ask for.

use std::path::{Path, PathBuf};

use super::error::ReadError;

/// Any file may ask for this much, however short it is.
const FLOOR_BYTES: u64 = 64 << 20;

/// Longer files may ask for this many times their length: far above what compressed weights or expanded views reach,
/// far below the thousandfold of a compressed bomb.
const FACTOR: u64 = 64;

/// A running account of the bytes that a file's entries claim to unpack to, or to take once decoded.
pub(super) struct Allowance {
    path: PathBuf,
    limit: u64,
    claimed: u64,
}

impl Allowance {
    pub(super) fn for_file(path: &Path, file_bytes: u64) -> Self {
        Self { path: path.to_owned(), limit: limit_bytes(file_bytes), claimed: 0 }
    }

    /// Claims `bytes` for the entry `what`, before any memory is taken for it.
    pub(super) fn claim(&mut self, what: &str, bytes: u64) -> Result<(), ReadError> {
        self.claimed = self.claimed.saturating_add(bytes);
        if self.claimed > self.limit {
            return Err(ReadError::TooLarge {
                path: self.path.clone(),
                what: what.to_owned(),
                claimed: self.claimed,
                limit: self.limit,
            });
        }
        Ok(())
    }
}

/// Bytes that a file of `file_bytes` bytes may unpack to.
fn limit_bytes(file_bytes: u64) -> u64 {
    file_bytes.saturating_mul(FACTOR).max(FLOOR_BYTES)
}
