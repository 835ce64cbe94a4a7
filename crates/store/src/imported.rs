//! Checkpoints made elsewhere: referenced by path and hash, not copied.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A checkpoint file outside the run folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Imported {
    /// Step it stands for.
    pub step: u64,
    /// Where it is; a relative path is relative to the working directory, so give an absolute one.
    pub path: PathBuf,
    /// blake3 of its bytes, hexadecimal, as of [`hash_file`].
    pub blake3: String,
}

/// Why an imported checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImportedError {
    /// The file is not the one that was imported.
    #[error(
        "imported checkpoint `{}` has hash {found}, expected {expected}: it changed after the import; restore it, or import it into a new run",
        path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Its hash now.
        found: String,
        /// Its hash when it was imported.
        expected: String,
    },
    /// The file could not be read; the message names it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Imported {
    /// Refers to the file at `path` as it is now.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn new(step: u64, path: impl Into<PathBuf>) -> Result<Self, ImportedError> {
        let path = path.into();
        let blake3 = hash_file(&path)?;
        Ok(Self { step, path, blake3 })
    }

    /// Checks that the file still is the one that was imported.
    ///
    /// # Errors
    /// [`ImportedError::Changed`] where it is not, [`ImportedError::Io`] where it cannot be read.
    pub fn verify(&self) -> Result<(), ImportedError> {
        let found = hash_file(&self.path)?;
        if found == self.blake3 {
            return Ok(());
        }
        Err(ImportedError::Changed { path: self.path.clone(), found, expected: self.blake3.clone() })
    }
}

/// blake3 of the bytes of a file, hexadecimal.
///
/// # Errors
/// Where the file cannot be read; the message names it.
pub fn hash_file(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(fs_err::File::open(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_or_missing_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model step 5.pt");
        fs_err::write(&path, "abc").unwrap();
        let imported = Imported::new(5, &path).unwrap();
        // Known answer of blake3 for "abc".
        assert_eq!(imported.blake3, "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85");
        imported.verify().unwrap();
        fs_err::write(&path, "abd").unwrap();
        let changed = imported.verify().unwrap_err();
        assert!(matches!(changed, ImportedError::Changed { .. }));
        assert!(changed.to_string().contains("model step 5.pt"));
        fs_err::remove_file(&path).unwrap();
        assert!(imported.verify().unwrap_err().to_string().contains("model step 5.pt"));
    }
}
