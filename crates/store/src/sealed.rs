//! Sealed JSON: a file that carries its format version and the hash of its own content.

use std::io;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{FORMAT_VERSION, Place, is_format_version};

/// Why a sealed JSON file (`measures.json`, `analysis.json`, `imported.json`) could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SealedError {
    /// The file was written by a newer ontogeny.
    #[error(
        "`{}` has format version {found}, expected at most {FORMAT_VERSION}: read it with the ontogeny that wrote it, or a newer one",
        path.display()
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format version.
        found: u64,
    },
    /// The file is truncated, changed or not ours.
    #[error("`{}` is damaged: {found}: remove it and run again, the run writes it anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found, and what was expected.
        found: String,
    },
    /// The same of the log of a training, whose rows nothing else holds.
    #[error(
        "`{}` is damaged: {found}: the updates that it tells of are not made again: put a copy back, or remove it and run \
         again, to go on without those rows; checkpoints and measurements need none of them",
        path.display()
    )]
    DamagedLog {
        /// The file.
        path: PathBuf,
        /// What was found, and what was expected.
        found: String,
    },
    /// The content has no JSON form.
    #[error("cannot write `{}` as JSON: {source}", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// What JSON cannot hold.
        source: serde_json::Error,
    },
    /// The file could not be read or written; the message names it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Writes `content`, sealed, as a whole or not at all.
pub(crate) fn write<T: Serialize>(place: &Place, key: &str, content: &T) -> Result<(), SealedError> {
    let bytes = seal(content).map_err(|source| SealedError::Encode { path: place.path(key), source })?;
    Ok(place.replace(key, &bytes)?)
}

/// Reads a sealed file; `None` where there is none.
pub(crate) fn read<T: DeserializeOwned>(place: &Place, key: &str) -> Result<Option<T>, SealedError> {
    let Some(bytes) = place.read(key)? else {
        return Ok(None);
    };
    unseal(&bytes).map(Some).map_err(|fault| match fault {
        Fault::Newer(found) => SealedError::NewerFormat { path: place.path(key), found },
        Fault::Damaged(found) => SealedError::Damaged { path: place.path(key), found },
    })
}

/// What is wrong with sealed bytes.
#[derive(Debug, PartialEq)]
pub(crate) enum Fault {
    /// Written by a newer format.
    Newer(u64),
    /// Truncated or changed.
    Damaged(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed<'a> {
    format_version: u32,
    blake3: String,
    #[serde(borrow)]
    content: &'a RawValue,
}

/// One line of JSON around `content`.
pub(crate) fn seal<T: Serialize>(content: &T) -> Result<Vec<u8>, serde_json::Error> {
    let content = serde_json::value::to_raw_value(content)?;
    let mut bytes = serde_json::to_vec(&Sealed {
        format_version: FORMAT_VERSION,
        blake3: blake3::hash(content.get().as_bytes()).to_hex().to_string(),
        content: &content,
    })?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The content of sealed bytes, once version and hash hold.
pub(crate) fn unseal<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    #[derive(Deserialize)]
    struct Version {
        format_version: u64,
    }
    let damaged = |error: serde_json::Error| Fault::Damaged(format!("not sealed JSON: {error}"));
    // The version first and alone: a newer format may have any other shape.
    let Version { format_version } = serde_json::from_slice(bytes).map_err(damaged)?;
    if format_version > u64::from(FORMAT_VERSION) {
        return Err(Fault::Newer(format_version));
    }
    if !is_format_version(format_version) {
        return Err(Fault::Damaged(format!(
            "format version {format_version}, expected 1, 2, 4, 8 or {FORMAT_VERSION}"
        )));
    }
    let sealed: Sealed<'_> = serde_json::from_slice(bytes).map_err(damaged)?;
    let found = blake3::hash(sealed.content.get().as_bytes()).to_hex();
    if sealed.blake3 != found.as_str() {
        return Err(Fault::Damaged(format!("content hash {found}, expected {}", sealed.blake3)));
    }
    serde_json::from_str(sealed.content.get()).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_truncation_is_noticed() {
        let content = vec![1.5_f64, -0.0, 1e-7, 5e-324];
        let bytes = seal(&content).unwrap();
        assert_eq!(unseal::<Vec<f64>>(&bytes).unwrap(), content);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                // The newline at the end is no content: only there may a flip be harmless.
                let read = unseal::<Vec<f64>>(&flipped);
                assert!(read.is_err() || at == bytes.len() - 1, "byte {at} bit {bit}: {read:?}");
            }
        }
        for length in 0..bytes.len() - 1 {
            assert!(unseal::<Vec<f64>>(&bytes[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_newer_format_is_told_apart_from_damage_whatever_its_shape() {
        let newer = br#"{"format_version": 17, "anything": [1]}"#;
        assert_eq!(unseal::<Vec<f64>>(newer), Err(Fault::Newer(17)));
    }
}
