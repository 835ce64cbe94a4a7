//! The manifest `run.toml`: what was run, by which version, with which settings.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{FORMAT_VERSION, Place, is_format_version};

/// What was run, by which version, with which settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Title from the run file.
    pub title: String,
    /// Version of ontogeny that made the run.
    pub version: String,
    /// Instruction set whose bits the run holds, such as `avx512`.
    pub instruction_set: String,
    /// Version of the engine whose bits the run holds; not in runs of formats 1 and 2, where nobody knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<u32>,
    /// The seed every random stream derives from; at most 2⁶³ − 1, which is what TOML can hold.
    pub seed: u64,
    /// The command that makes the run again.
    pub command: String,
    /// Hash of everything that determines the checkpoints (task, network, training, seed, instruction set).
    /// Checkpoints carry it, so that a file of another run is recognised; it never changes once there are checkpoints.
    pub trajectory: String,
    /// Content hashes by name (configuration, data, …), hexadecimal.
    pub hashes: BTreeMap<String, String>,
    /// The resolved configuration.
    pub configuration: toml::Table,
}

impl Manifest {
    /// Hash of what is to be done: trajectory and configuration, not the command or version that first asked for it.
    pub(crate) fn intent(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.trajectory.as_bytes());
        hasher.update(self.configuration.to_string().as_bytes());
        hasher.finalize().to_hex().to_string()
    }
}

/// Why the manifest could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The folder holds no manifest.
    #[error(
        "`{}` is not a run: found no `{FILE}` in it, expected a folder made by `ontogeny run`: check the path",
        folder.display()
    )]
    NotARun {
        /// The folder.
        folder: PathBuf,
    },
    /// The run was written by a newer ontogeny.
    #[error(
        "`{}` has format version {found}, expected at most {FORMAT_VERSION}: read it with the ontogeny that wrote it, or a newer one",
        path.display()
    )]
    NewerFormat {
        /// The manifest.
        path: PathBuf,
        /// Its format version.
        found: i64,
    },
    /// The manifest is truncated, changed or not ours.
    #[error(
        "`{}` is damaged: found {found}, expected {expected}: restore it from a copy; the other files of the run are not affected",
        path.display()
    )]
    Damaged {
        /// The manifest.
        path: PathBuf,
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// A changed trajectory would orphan the checkpoints.
    #[error(
        "`{}` has checkpoints of trajectory `{found}`, expected `{expected}`: task, network, training, seed or instruction set changed; \
         start a new run folder",
        path.display()
    )]
    OtherTrajectory {
        /// The manifest.
        path: PathBuf,
        /// Trajectory of the checkpoints in the folder.
        found: String,
        /// Trajectory of the manifest to be written.
        expected: String,
    },
    /// The seed does not fit into TOML.
    #[error("cannot write `{}`: found seed {seed}, expected at most {}, which TOML can hold: choose a smaller seed", path.display(), i64::MAX)]
    SeedTooLarge {
        /// The manifest.
        path: PathBuf,
        /// The seed.
        seed: u64,
    },
    /// The manifest has no TOML form.
    #[error("cannot write `{}` as TOML: {source}", path.display())]
    Encode {
        /// The manifest.
        path: PathBuf,
        /// What TOML cannot hold.
        source: toml::ser::Error,
    },
    /// The file could not be read or written; the message names it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Name of the manifest in the run folder.
pub(crate) const FILE: &str = "run.toml";

const COMMENT: &str = "# Written by ontogeny; do not edit. The hash covers every byte below its line.\n";

/// The text of the manifest in `place`.
pub(crate) fn encode(place: &Place, manifest: &Manifest) -> Result<String, ManifestError> {
    if i64::try_from(manifest.seed).is_err() {
        return Err(ManifestError::SeedTooLarge { path: place.path(FILE), seed: manifest.seed });
    }
    let body =
        toml::to_string_pretty(manifest).map_err(|source| ManifestError::Encode { path: place.path(FILE), source })?;
    let body = format!("format_version = {FORMAT_VERSION}\n{body}");
    Ok(format!("{COMMENT}blake3 = \"{}\"\n{body}", blake3::hash(body.as_bytes())))
}

/// Creates the manifest as a whole; `false` where there is one.
pub(crate) fn create(place: &Place, manifest: &Manifest) -> Result<bool, ManifestError> {
    Ok(place.create(FILE, encode(place, manifest)?.as_bytes())?)
}

/// Replaces the manifest as a whole.
pub(crate) fn replace(place: &Place, manifest: &Manifest) -> Result<(), ManifestError> {
    Ok(place.replace(FILE, encode(place, manifest)?.as_bytes())?)
}

/// Reads and verifies the manifest, and says in which format it was written.
pub(crate) fn read(place: &Place) -> Result<(Manifest, u32), ManifestError> {
    let path = place.path(FILE);
    // The existence of the folder itself is part of the question, and a file in its place is no run either.
    let bytes = match place.read(FILE) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => None,
        other => other?,
    };
    let Some(bytes) = bytes else {
        return Err(ManifestError::NotARun { folder: place.path("") });
    };
    let damaged = |found: String, expected: &str| ManifestError::Damaged {
        path: path.clone(),
        found,
        expected: expected.to_owned(),
    };
    let text = String::from_utf8(bytes).map_err(|e| damaged(e.to_string(), "UTF-8 text"))?;
    let mut table: toml::Table = text.parse().map_err(|e: toml::de::Error| damaged(e.message().to_owned(), "TOML"))?;
    // The version first: a newer format may have any other shape.
    let format_version = match table.remove("format_version") {
        Some(toml::Value::Integer(found)) if found > i64::from(FORMAT_VERSION) => {
            return Err(ManifestError::NewerFormat { path, found });
        }
        Some(toml::Value::Integer(found)) if u64::try_from(found).is_ok_and(is_format_version) => found as u32,
        other => {
            let found = other.map_or_else(|| "none".to_owned(), |value| value.to_string());
            return Err(damaged(
                format!("format_version {found}"),
                &format!("format_version 1, 2, 4, 8 or {FORMAT_VERSION}"),
            ));
        }
    };
    let Some(toml::Value::String(expected)) = table.remove("blake3") else {
        return Err(damaged("no `blake3`".to_owned(), "the hash of the manifest"));
    };
    let head = format!("{COMMENT}blake3 = \"{expected}\"\n");
    let body = text.strip_prefix(&head).ok_or_else(|| damaged("an edited head".to_owned(), &head))?;
    let found = blake3::hash(body.as_bytes()).to_hex();
    if expected != found.as_str() {
        return Err(damaged(format!("content of hash {found}"), &expected));
    }
    let manifest = table.try_into().map_err(|e: toml::de::Error| damaged(e.message().to_owned(), "a manifest"))?;
    Ok((manifest, format_version))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        Manifest {
            title: "A “title” = [with] \"quotes\"\nand lines".to_owned(),
            version: "0.1.0".to_owned(),
            instruction_set: "avx2".to_owned(),
            engine: Some(7),
            seed: i64::MAX as u64,
            command: r#"ontogeny run "C:\a b.toml""#.to_owned(),
            trajectory: "ab12".to_owned(),
            hashes: BTreeMap::from([("data".to_owned(), "00".to_owned())]),
            configuration: "title = \"x\"\n[task]\np = 53\nrate = 1e-3\nbetas = [0.9, 0.98]\n[measure.loss]\n"
                .parse()
                .unwrap(),
        }
    }

    #[test]
    fn a_manifest_comes_back_and_its_bytes_repeat() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::from(folder.path());
        assert!(create(&place, &sample()).unwrap());
        let bytes = fs_err::read(folder.path().join(FILE)).unwrap();
        assert_eq!(read(&place).unwrap(), (sample(), FORMAT_VERSION));
        assert!(!create(&place, &Manifest::default()).unwrap());
        replace(&place, &sample()).unwrap();
        assert_eq!(fs_err::read(folder.path().join(FILE)).unwrap(), bytes);
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let place = Place::from(folder.path());
        replace(&place, &sample()).unwrap();
        let bytes = fs_err::read(&path).unwrap();
        for at in 0..bytes.len() {
            // Another bit at each byte; all eight would write thousands of files.
            let bit = at % 8;
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            fs_err::write(&path, &flipped).unwrap();
            let error = read(&place).err().unwrap_or_else(|| panic!("byte {at} bit {bit} unnoticed"));
            assert!(error.to_string().contains(FILE), "{error}");
        }
        for length in 0..bytes.len() {
            fs_err::write(&path, &bytes[..length]).unwrap();
            assert!(matches!(read(&place), Err(ManifestError::Damaged { .. })), "{length} bytes");
        }
    }

    #[test]
    fn a_newer_format_is_refused_whatever_its_shape() {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join(FILE), format!("format_version = {}\nanything = 1\n", FORMAT_VERSION + 1))
            .unwrap();
        let error = read(&folder.path().into()).unwrap_err();
        assert!(matches!(error, ManifestError::NewerFormat { .. }), "{error}");
    }

    #[test]
    fn a_seed_that_toml_cannot_hold_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = Manifest { seed: u64::MAX, ..sample() };
        assert!(matches!(replace(&folder.path().into(), &manifest), Err(ManifestError::SeedTooLarge { .. })));
        assert!(!folder.path().join(FILE).exists());
    }
}
