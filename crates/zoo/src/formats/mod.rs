//! Readers of weight files: one way in for every format, chosen by content.

mod decode;
mod describe;
mod error;
mod finite;
mod layout;
mod limits;
mod match_shapes;
mod npy;
mod pickle_globals;
mod pickle_scan;
mod pytorch;
mod safetensors;
mod tensor;
mod zip_archive;

pub(crate) use describe::summary;
pub use describe::{Description, FloatStats, TensorSummary, describe};
pub use error::ReadError;
pub use finite::{NonFinite, check_finite, check_finite_weights};
pub(crate) use layout::nearest;
pub use layout::{Layout, LayoutError, NameMap, WeightTensor, to_canonical};
pub use match_shapes::{ShapeDifferences, ShapeMismatch, UnmatchedName, match_shapes};
pub use pickle_scan::{PickleScanError, scan_pickle};
pub use tensor::{Array, DType, FileFormat, NamedTensor, Scalar, ScalarValue, TensorData, TensorFile, Unread};

use std::io::Read;
use std::path::Path;

use fs_err::File;

use self::limits::Allowance;
use self::zip_archive::Archive;

/// Reads every tensor of a weight file into memory, sorted by name.
///
/// The format is found from the content: `.safetensors`, PyTorch's zip (1.6 and later) and legacy formats, `.npz` and
/// `.npy`. Floating-point tensors of any width become `f32`, integers become `i64`, and the stored type is kept in
/// [`NamedTensor::dtype`]. Values are not judged: use [`check_finite`] for that.
///
/// # Errors
///
/// [`ReadError`] if the file cannot be opened, is of no known format, is truncated or contradicts itself, names a
/// tensor twice, claims more memory than a file of its length may, or holds a pickle that names anything outside the
/// allow-list of [`scan_pickle`].
pub fn read_tensors(path: impl AsRef<Path>) -> Result<TensorFile, ReadError> {
    let path = path.as_ref();
    let mut tensors = Vec::new();
    let contents = visit(path, &mut |tensor| tensors.push(tensor))?;
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = tensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(ReadError::DuplicateName { path: path.to_owned(), name: pair[0].name.clone() });
    }
    Ok(TensorFile {
        path: path.to_owned(),
        format: contents.format,
        tensors,
        scalars: contents.scalars,
        unread: contents.unread,
    })
}

/// Reads every array of an `.npz` or `.npy` file in double precision, sorted by name, and what was left unread.
///
/// [`read_tensors`] is for weights and keeps `f32`; this is for measurements, which may need all their digits.
///
/// # Errors
///
/// [`ReadError`] as [`read_tensors`]; also for a file of another format.
pub fn read_arrays(path: impl AsRef<Path>) -> Result<(Vec<Array>, Vec<Unread>), ReadError> {
    let path = path.as_ref();
    let (file_bytes, head) = head(path)?;
    let mut allowance = Allowance::for_file(path, file_bytes);
    let mut unread = Vec::new();
    let unrecognised =
        || ReadError::Unrecognised { path: path.to_owned(), found: "no NumPy array or archive".to_owned() };
    let mut arrays = match Container::detect(path, &head)? {
        Container::Zip => {
            let mut archive = Archive::open(path)?;
            npy::read_wide(path, Some(&mut archive), file_bytes, &mut allowance, &mut unread)?
        }
        Container::Npy => npy::read_wide(path, None, file_bytes, &mut allowance, &mut unread)?,
        Container::LegacyPytorch | Container::Safetensors => return Err(unrecognised()),
    };
    arrays.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = arrays.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(ReadError::DuplicateName { path: path.to_owned(), name: pair[0].name.clone() });
    }
    unread.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((arrays, unread))
}

/// Length and first bytes of a regular file.
fn head(path: &Path) -> Result<(u64, Vec<u8>), ReadError> {
    let io = |source| ReadError::Io { path: path.to_owned(), source };
    // Before it is opened: to open a pipe is to wait for somebody to write.
    let metadata = fs_err::metadata(path).map_err(io)?;
    if !metadata.is_file() {
        return Err(ReadError::NotAFile { path: path.to_owned() });
    }
    let mut file = File::open(path).map_err(io)?;
    let mut head = Vec::new();
    file.by_ref().take(HEAD_BYTES).read_to_end(&mut head).map_err(io)?;
    Ok((metadata.len(), head))
}

/// What a reader found besides the tensors it handed over.
struct Contents {
    format: FileFormat,
    file_bytes: u64,
    scalars: Vec<Scalar>,
    unread: Vec<Unread>,
}

/// Hands each tensor of `path` to `sink`, in the file's order, so that a caller can hold one at a time.
fn visit(path: &Path, sink: &mut dyn FnMut(NamedTensor)) -> Result<Contents, ReadError> {
    let (file_bytes, head) = head(path)?;
    let mut allowance = Allowance::for_file(path, file_bytes);
    let mut scalars = Vec::new();
    let mut unread = Vec::new();
    let format = match Container::detect(path, &head)? {
        Container::Zip => {
            let mut archive = Archive::open(path)?;
            if archive.has_suffix("data.pkl") {
                pytorch::read_zip(path, &mut archive, &mut allowance, sink, &mut scalars)?;
                FileFormat::PytorchZip
            } else if archive.has_suffix(".npy") {
                npy::read_npz(path, &mut archive, &mut allowance, sink, &mut unread)?;
                FileFormat::Npz
            } else {
                return Err(ReadError::Unrecognised {
                    path: path.to_owned(),
                    found: "a zip archive with neither a data.pkl (PyTorch) nor an .npy entry (NumPy)".to_owned(),
                });
            }
        }
        Container::Npy => {
            npy::read_npy(path, file_bytes, &mut allowance, sink, &mut unread)?;
            FileFormat::Npy
        }
        Container::LegacyPytorch => {
            pytorch::read_legacy(path, &mut allowance, sink, &mut scalars)?;
            FileFormat::PytorchLegacy
        }
        Container::Safetensors => {
            safetensors::read(path, file_bytes, sink, &mut unread)?;
            FileFormat::Safetensors
        }
    };
    scalars.sort_by(|a, b| a.name.cmp(&b.name));
    unread.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Contents { format, file_bytes, scalars, unread })
}

/// Enough of a file to see the tar magic at byte 257, the furthest mark looked for.
const HEAD_BYTES: u64 = 262;

/// The outer shape of a file, as its first bytes tell it.
enum Container {
    Zip,
    Npy,
    LegacyPytorch,
    Safetensors,
}

impl Container {
    fn detect(path: &Path, head: &[u8]) -> Result<Self, ReadError> {
        let unrecognised = |found: &str| ReadError::Unrecognised { path: path.to_owned(), found: found.to_owned() };
        if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
            return Ok(Self::Zip);
        }
        if head.starts_with(npy::MAGIC) {
            return Ok(Self::Npy);
        }
        if head.get(257..262) == Some(b"ustar") {
            return Err(unrecognised(
                "a tar archive, PyTorch's format before 0.1.10 (load it and save it again with a newer PyTorch)",
            ));
        }
        if pytorch::starts_with_legacy_magic(head) {
            return Ok(Self::LegacyPytorch);
        }
        // A safetensors file is a header length of eight bytes and then JSON; a length can begin with any byte, so
        // this test comes before that for a pickle's first byte.
        if head.get(8) == Some(&b'{') {
            return Ok(Self::Safetensors);
        }
        match head.first() {
            None => Err(unrecognised("an empty file")),
            Some(0x80) => Err(unrecognised("a plain pickle, which holds no tensor storages (save with torch.save)")),
            Some(_) if head.len() < 9 => {
                Err(unrecognised("a file too short to hold tensors; it may have been truncated"))
            }
            Some(_) => Err(unrecognised("bytes of none of these formats")),
        }
    }
}
