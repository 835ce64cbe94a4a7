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
    /// Further files that it is made of; none where it is one file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PathBuf>,
    /// blake3 of its bytes, hexadecimal, as of [`hash_file`]; of several files, of their hashes one after another.
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
        Self::with_parts(step, path, Vec::new())
    }

    /// Refers to the file at `path` and the `parts` that it is an index of, as they are now.
    ///
    /// # Errors
    /// Where one of the files cannot be read.
    pub fn with_parts(step: u64, path: impl Into<PathBuf>, parts: Vec<PathBuf>) -> Result<Self, ImportedError> {
        let path = path.into();
        let blake3 = hash_files(&path, &parts)?;
        Ok(Self { step, path, parts, blake3 })
    }

    /// Checks that the file still is the one that was imported.
    ///
    /// # Errors
    /// [`ImportedError::Changed`] where it is not, [`ImportedError::Io`] where it cannot be read.
    pub fn verify(&self) -> Result<(), ImportedError> {
        let found = hash_files(&self.path, &self.parts)?;
        if found == self.blake3 {
            return Ok(());
        }
        Err(ImportedError::Changed { path: self.path.clone(), found, expected: self.blake3.clone() })
    }
}

/// The hash of a file, or of the hashes of several.
fn hash_files(path: &Path, parts: &[PathBuf]) -> io::Result<String> {
    let own = hash_file(path)?;
    if parts.is_empty() {
        return Ok(own);
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(own.as_bytes());
    for part in parts {
        hasher.update(hash_file(part)?.as_bytes());
    }
    Ok(hasher.finalize().to_hex().to_string())
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
        let part = folder.path().join("part 2");
        fs_err::write(&part, "xyz").unwrap();
        let of_two = Imported::with_parts(5, &path, vec![part.clone()]).unwrap();
        of_two.verify().unwrap();
        fs_err::write(&part, "xyy").unwrap();
        assert!(matches!(of_two.verify().unwrap_err(), ImportedError::Changed { .. }));
        fs_err::remove_file(&path).unwrap();
        assert!(imported.verify().unwrap_err().to_string().contains("model step 5.pt"));
    }
}
