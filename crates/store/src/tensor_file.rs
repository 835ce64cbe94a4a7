//! One safetensors file with a sealed identity in its metadata: what checkpoints and the newest state share.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Read};
use std::path::PathBuf;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::{Deserialize, Serialize};

use crate::tensor::{for_each_block, hash_tensors};
use crate::{FORMAT_VERSION, Place, Tensor, sealed};

/// Why a checkpoint or the newest state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// There is no such file.
    #[error("`{}` does not exist, expected a file of saved tensors: run again to make it", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file is truncated, changed or not ours.
    #[error(
        "`{}` is damaged: found {found}, expected {expected}: remove it and the newest state beside it (`state-….safetensors`) and \
         run again, training makes the same bits anew",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
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
    /// The file is whole, but belongs to another step.
    #[error("`{}` holds step {found}, expected step {expected}: it was renamed; give it back its name", path.display())]
    OtherStep {
        /// The file.
        path: PathBuf,
        /// Step in the file.
        found: u64,
        /// Step in its name.
        expected: u64,
    },
    /// The file is whole, but belongs to another run.
    #[error(
        "`{}` belongs to trajectory `{found}`, expected `{expected}` of this run: it was copied from another run; put back the right file",
        path.display()
    )]
    OtherTrajectory {
        /// The file.
        path: PathBuf,
        /// Trajectory hash in the file.
        found: String,
        /// Trajectory hash in `run.toml`.
        expected: String,
    },
    /// Training made other bits than those already saved for the step.
    #[error(
        "`{}` exists with tensors of hash {found}, but training now made {expected}: the bits of a run are the same only with the same \
         program and instruction set; resume where it began, or start a new run folder",
        path.display()
    )]
    Differs {
        /// The file.
        path: PathBuf,
        /// Hash of the tensors in the file.
        found: String,
        /// Hash of the tensors to be written.
        expected: String,
    },
    /// A tensor given to be written cannot be.
    #[error("cannot save tensor `{tensor}`: found {found}, expected {expected}: nothing was written")]
    InvalidTensor {
        /// Name of the tensor.
        tensor: String,
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// There is no memory for the tensor.
    #[error("no memory for tensor `{tensor}` of `{}`: found {bytes} bytes, expected fewer than are free: use a machine with more memory", path.display())]
    OutOfMemory {
        /// The file.
        path: PathBuf,
        /// Name of the tensor.
        tensor: String,
        /// Its size.
        bytes: u64,
    },
    /// The file could not be read or written; the message names it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The largest header the safetensors format allows, in bytes.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Key of our one entry in the metadata of the file. One entry, because a map of several is written in no fixed order
/// and the same run must give the same bytes.
const METADATA_KEY: &str = "ontogeny";

/// What kind of file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// The weights at a step.
    Checkpoint,
    /// The newest weights, optimiser state and counters.
    State,
}

/// What a file says about itself, sealed in its metadata.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    pub(crate) kind: Kind,
    pub(crate) step: u64,
    /// Hash of what determines the trajectory, from `run.toml`.
    pub(crate) trajectory: String,
    pub(crate) counters: BTreeMap<String, u64>,
    /// Hash of the tensors, of [`hash_tensors`].
    pub(crate) tensors: String,
}

/// Names and shapes of the tensors of a file, in the order of the file.
pub(crate) type Layout = Vec<(String, Vec<usize>)>;

/// How a file that is there already is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// It stays.
    Keep,
    /// It is replaced.
    Replace,
}

/// Writes `tensors` as a whole or not at all; their hash in `identity` must be that of [`hash_tensors`]. Says whether
/// the file was written.
pub(crate) fn write(
    place: &Place,
    key: &str,
    identity: &Identity,
    tensors: &[Tensor],
    existing: Existing,
) -> Result<bool, CheckpointError> {
    let mut header = encode_header(identity, tensors)?;
    // The format wants the data aligned; the crate `safetensors` pads with spaces, too.
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut content = |out: &mut dyn io::Write| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        for tensor in tensors {
            let mut written = Ok(());
            for_each_block(&tensor.values, |bytes| {
                if written.is_ok() {
                    written = out.write_all(bytes);
                }
            });
            written?;
        }
        Ok(())
    };
    match existing {
        Existing::Keep => Ok(place.backend().create(key, &mut content)?),
        Existing::Replace => Ok(place.backend().replace(key, &mut content).map(|()| true)?),
    }
}

fn encode_header(identity: &Identity, tensors: &[Tensor]) -> Result<Vec<u8>, CheckpointError> {
    let mut infos = Vec::with_capacity(tensors.len());
    let mut names = BTreeSet::new();
    let mut offset = 0;
    for tensor in tensors {
        let invalid = |found: String, expected: String| CheckpointError::InvalidTensor {
            tensor: tensor.name.clone(),
            found,
            expected,
        };
        if tensor.name == "__metadata__" || !names.insert(&tensor.name) {
            return Err(invalid(
                "a name that is reserved or taken".to_owned(),
                "another name for each tensor".to_owned(),
            ));
        }
        let n_values = tensor.shape.iter().try_fold(1_usize, |n, &extent| n.checked_mul(extent));
        if n_values != Some(tensor.values.len()) {
            return Err(invalid(
                format!("{} values", tensor.values.len()),
                format!("as many as shape {:?} holds", tensor.shape),
            ));
        }
        let end = offset + tensor.values.len() * size_of::<f32>();
        infos.push((
            tensor.name.clone(),
            TensorInfo { dtype: Dtype::F32, shape: tensor.shape.clone(), data_offsets: (offset, end) },
        ));
        offset = end;
    }
    let seal = sealed::seal(identity).expect("strings and integers have a JSON form");
    let seal = String::from_utf8(seal).expect("JSON is UTF-8");
    let metadata = HashMap::from([(METADATA_KEY.to_owned(), seal.trim_end().to_owned())]);
    let header = Metadata::new(Some(metadata), infos).expect("offsets are consecutive and shapes were checked above");
    let header = serde_json::to_vec(&header).expect("a header of strings and integers has a JSON form");
    if header.len() as u64 > MAX_HEADER_BYTES - 8 {
        return Err(CheckpointError::InvalidTensor {
            tensor: tensors.first().map(|t| t.name.clone()).unwrap_or_default(),
            found: format!("a header of {} bytes for {} tensors", header.len(), tensors.len()),
            expected: format!("at most {MAX_HEADER_BYTES}"),
        });
    }
    Ok(header)
}

/// Reads the identity and the layout, not the tensors; their hash is what the file says, not checked.
pub(crate) fn read_header(place: &Place, key: &str) -> Result<(Identity, Layout), CheckpointError> {
    let (_, identity, layout) = open(place, key)?;
    Ok((identity, layout))
}

/// Reads a file and verifies its hashes.
pub(crate) fn read(place: &Place, key: &str) -> Result<(Identity, Vec<Tensor>), CheckpointError> {
    let (mut file, identity, layout) = open(place, key)?;
    let path = place.path(key);
    let mut tensors = Vec::with_capacity(layout.len());
    let mut bytes = vec![0; 1 << 16];
    for (name, shape) in layout {
        let n_values = shape.iter().product::<usize>();
        let mut values = Vec::new();
        // The header was found to agree with the length of the file, but even an honest length may exceed the memory.
        values.try_reserve_exact(n_values).map_err(|_| CheckpointError::OutOfMemory {
            path: path.clone(),
            tensor: name.clone(),
            bytes: n_values as u64 * 4,
        })?;
        while values.len() < n_values {
            let block = bytes.len().min((n_values - values.len()) * 4);
            file.read_exact(&mut bytes[..block])?;
            values.extend(bytes[..block].as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        }
        tensors.push(Tensor { name, shape, values });
    }
    let found = hash_tensors(&tensors);
    if found != identity.tensors {
        return Err(CheckpointError::Damaged {
            path,
            found: format!("tensors of hash {found}"),
            expected: identity.tensors,
        });
    }
    Ok((identity, tensors))
}

/// Opens a file, checks all sizes against its length, and stops at the first byte of the first tensor.
fn open(place: &Place, key: &str) -> Result<(Box<dyn Read + Send>, Identity, Layout), CheckpointError> {
    let path = place.path(key);
    let Some((mut file, n_bytes)) = place.backend().open(key)? else {
        return Err(CheckpointError::Missing { path });
    };
    let damaged = |found: String, expected: String| CheckpointError::Damaged { path: path.clone(), found, expected };
    if n_bytes < 8 {
        return Err(damaged(format!("{n_bytes} bytes"), "a header length of 8 bytes".to_owned()));
    }
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let n_header = u64::from_le_bytes(length);
    if n_header > (n_bytes - 8).min(MAX_HEADER_BYTES) {
        return Err(damaged(
            format!("a header length of {n_header} in a file of {n_bytes} bytes"),
            format!("at most {}", (n_bytes - 8).min(MAX_HEADER_BYTES)),
        ));
    }
    let mut header = vec![0; n_header as usize];
    file.read_exact(&mut header)?;
    // Parsing checks offsets against shapes, without overflow.
    let header: Metadata = serde_json::from_slice(&header)
        .map_err(|error| damaged(format!("a header that says {error}"), "a safetensors header".to_owned()))?;
    let expected = 8 + n_header + header.data_len() as u64;
    if n_bytes != expected {
        return Err(damaged(format!("{n_bytes} bytes"), format!("{expected}, as its header says")));
    }
    let seal =
        header.metadata().as_ref().and_then(|m| m.get(METADATA_KEY)).ok_or_else(|| {
            damaged("no `ontogeny` in its metadata".to_owned(), "a file that ontogeny wrote".to_owned())
        })?;
    let identity: Identity = sealed::unseal(seal.as_bytes()).map_err(|fault| match fault {
        sealed::Fault::Newer(found) => CheckpointError::NewerFormat { path: path.clone(), found },
        sealed::Fault::Damaged(found) => damaged(found, "a sealed identity".to_owned()),
    })?;
    let mut layout: Vec<(&TensorInfo, String)> = Vec::new();
    for name in header.offset_keys() {
        let info = header.info(&name).expect("the header named this tensor");
        if info.dtype != Dtype::F32 {
            return Err(damaged(format!("tensor `{name}` of type {}", info.dtype), "F32".to_owned()));
        }
        layout.push((info, name));
    }
    // Empty tensors share an offset; the name makes the order certain.
    layout.sort_by(|a, b| (a.0.data_offsets, &a.1).cmp(&(b.0.data_offsets, &b.1)));
    let layout = layout.into_iter().map(|(info, name)| (name, info.shape.clone())).collect();
    Ok((file, identity, layout))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "a.safetensors";

    fn small() -> (Identity, Vec<Tensor>) {
        let tensors = vec![
            Tensor::new("z", vec![2, 2], vec![1.5, -0.0, f32::NAN, f32::INFINITY]),
            Tensor::new("blocks.0.W_é", vec![3], vec![1e-42, f32::MAX, -3.0]),
            Tensor::new("scalar", vec![], vec![7.0]),
            Tensor::new("empty", vec![0, 5], vec![]),
        ];
        let identity = Identity {
            kind: Kind::State,
            step: 12,
            trajectory: "t".to_owned(),
            counters: BTreeMap::from([("draws".to_owned(), u64::MAX)]),
            tensors: hash_tensors(&tensors),
        };
        (identity, tensors)
    }

    fn bits(tensors: &[Tensor]) -> Vec<(&str, &[usize], Vec<u32>)> {
        let mut bits: Vec<_> =
            tensors.iter().map(|t| (&*t.name, &*t.shape, t.values.iter().map(|v| v.to_bits()).collect())).collect();
        bits.sort();
        bits
    }

    #[test]
    fn tensors_come_back_bit_for_bit_and_other_readers_can_read_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let place = Place::from(folder.path());
        let (identity, tensors) = small();
        assert!(write(&place, FILE, &identity, &tensors, Existing::Keep).unwrap());
        let (read_identity, read_tensors) = read(&place, FILE).unwrap();
        assert_eq!(read_identity, identity);
        assert_eq!(bits(&read_tensors), bits(&tensors));

        let bytes = fs_err::read(&path).unwrap();
        let reference = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let z = reference.tensor("z").unwrap();
        assert_eq!((z.shape(), z.dtype()), (&[2, 2][..], Dtype::F32));
        assert_eq!(z.data()[..4], 1.5_f32.to_le_bytes());

        assert!(!write(&place, FILE, &identity, &[], Existing::Keep).unwrap());
        assert!(write(&place, FILE, &identity, &tensors, Existing::Replace).unwrap());
        assert_eq!(fs_err::read(&path).unwrap(), bytes, "the same tensors give the same bytes");
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let place = Place::from(folder.path());
        let (identity, tensors) = small();
        assert!(write(&place, FILE, &identity, &tensors, Existing::Keep).unwrap());
        let bytes = fs_err::read(&path).unwrap();
        for at in 0..bytes.len() {
            // Another bit at each byte; all eight would write thousands of files.
            let bit = at % 8;
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            fs_err::write(&path, &flipped).unwrap();
            let error = read(&place, FILE).err().unwrap_or_else(|| panic!("byte {at} bit {bit} unnoticed"));
            assert!(error.to_string().contains("a.safetensors"), "{error}");
        }
        for length in 0..bytes.len() {
            fs_err::write(&path, &bytes[..length]).unwrap();
            assert!(read(&place, FILE).is_err(), "{length} of {} bytes", bytes.len());
        }
    }

    #[test]
    fn hostile_headers_are_refused_before_memory_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let place = Place::from(folder.path());
        let file = |header: &str| {
            let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
            bytes.extend(header.as_bytes());
            bytes
        };
        let huge_length = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
        for (what, bytes) in [
            ("header longer than the file", huge_length),
            (
                "data longer than the file",
                file(r#"{"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,18446744073709551615]}}"#),
            ),
            (
                "product of the shape overflows",
                file(
                    r#"{"a":{"dtype":"F32","shape":[18446744073709551615,18446744073709551615],"data_offsets":[0,4]}}"#,
                ),
            ),
            ("offsets backwards", file(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#)),
            ("not ours", file("{}")),
            ("not JSON", file("x")),
        ] {
            fs_err::write(&path, bytes).unwrap();
            let error = read(&place, FILE).unwrap_err();
            assert!(matches!(error, CheckpointError::Damaged { .. }), "{what}: {error}");
        }
    }

    #[test]
    fn tensors_that_cannot_be_saved_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let place = Place::from(folder.path());
        let (identity, _) = small();
        for tensors in [
            vec![Tensor::new("bad", vec![3], vec![0.0; 2])],
            vec![Tensor::new("bad", vec![usize::MAX, 2], vec![])],
            vec![Tensor::new("bad", vec![1], vec![0.0]), Tensor::new("bad", vec![1], vec![0.0])],
        ] {
            let error = write(&place, FILE, &identity, &tensors, Existing::Keep).unwrap_err();
            assert!(error.to_string().contains("`bad`"), "{error}");
            assert!(!path.exists());
        }
    }
}
