//! PyTorch checkpoints: the pickle is scanned first, then `pytorch-reader` builds the tensors from it.

use std::io::Read;
use std::path::Path;

use fs_err::File;
use pytorch_reader::{PickleValue, PytorchError, PytorchReader};

use super::decode::{ByteOrder, DecodeError, decode, memory_bytes, n_elements};
use super::error::ReadError;
use super::limits::Allowance;
use super::pickle_scan::scan_pickle;
use super::tensor::{DType, NamedTensor, Scalar, ScalarValue};
use super::zip_archive::Archive;
use crate::memory;

/// Longest pickle read. It describes the tensors and holds none of their values: about 200 bytes for each.
const MAX_PICKLE_BYTES: u64 = 32 << 20;

/// What PyTorch's legacy files begin with: 0x1950a86a20f9469cfc6c as a pickled integer, in the spelling of
/// protocols 2 and up and in the decimal one of protocols 0 and 1.
const LEGACY_MAGIC_BYTES: &[u8] = &[0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const LEGACY_MAGIC_TEXT: &[u8] = b"119547037146038801333356";

/// Whether a file begins as PyTorch's legacy files do, looked for where `pytorch-reader` looks for it.
pub(super) fn starts_with_legacy_magic(head: &[u8]) -> bool {
    let window = &head[..head.len().min(64)];
    let holds = |magic: &[u8]| window.windows(magic.len()).any(|bytes| bytes == magic);
    holds(LEGACY_MAGIC_BYTES) || holds(LEGACY_MAGIC_TEXT)
}

/// Reads a checkpoint in the zip format of PyTorch 1.6 and later.
pub(super) fn read_zip(
    path: &Path,
    archive: &mut Archive,
    allowance: &mut Allowance,
    sink: &mut dyn FnMut(NamedTensor),
    scalars: &mut Vec<Scalar>,
) -> Result<(), ReadError> {
    let damaged = |reason: String| ReadError::Damaged { path: path.to_owned(), reason };
    let pickles: Vec<usize> =
        (0..archive.names().len()).filter(|&index| archive.names()[index].ends_with("data.pkl")).collect();
    let &[index] = pickles.as_slice() else {
        return Err(damaged(format!("expected one data.pkl in the zip archive, found {}", pickles.len())));
    };
    let (entry, n_bytes) = archive.entry(index)?;
    if n_bytes > MAX_PICKLE_BYTES {
        return Err(damaged(format!("its data.pkl claims {n_bytes} bytes, above the {MAX_PICKLE_BYTES} read here")));
    }
    let mut pickle = Vec::new();
    entry.take(n_bytes).read_to_end(&mut pickle).map_err(|error| damaged(format!("data.pkl: {error}")))?;
    let end = scan(path, "data.pkl", &pickle, 0)?;
    if end != pickle.len() {
        return Err(damaged(format!("its data.pkl ends at byte {end} of {}", pickle.len())));
    }
    // To read a tensor from a compressed storage is to unpack all before it, for each tensor again.
    archive.check_stored(index)?;
    // The tensor reader compares a storage's checksum only if one tensor spans all of it.
    archive.verify_checksums()?;
    read_scanned(path, allowance, sink, scalars)
}

/// Reads a checkpoint in the format of PyTorch 0.1.10 to 1.5: five pickles and then the storages.
pub(super) fn read_legacy(
    path: &Path,
    allowance: &mut Allowance,
    sink: &mut dyn FnMut(NamedTensor),
    scalars: &mut Vec<Scalar>,
) -> Result<(), ReadError> {
    let io = |source| ReadError::Io { path: path.to_owned(), source };
    let mut head = Vec::new();
    File::open(path).map_err(io)?.take(MAX_PICKLE_BYTES).read_to_end(&mut head).map_err(io)?;
    let mut at = 0;
    for part in ["magic number", "protocol version", "system description", "saved object", "list of storages"] {
        at = scan(path, part, &head, at)?;
    }
    read_scanned(path, allowance, sink, scalars)
}

fn scan(path: &Path, part: &str, bytes: &[u8], start: usize) -> Result<usize, ReadError> {
    scan_pickle(bytes, start).map_err(|source| ReadError::Pickle {
        path: path.to_owned(),
        part: part.to_owned(),
        source,
    })
}

fn read_scanned(
    path: &Path,
    allowance: &mut Allowance,
    sink: &mut dyn FnMut(NamedTensor),
    scalars: &mut Vec<Scalar>,
) -> Result<(), ReadError> {
    let refused = |error: PytorchError| ReadError::Damaged { path: path.to_owned(), reason: error.to_string() };
    let root = PytorchReader::read_pickle_data(path, None).map_err(refused)?;
    let mut tensor_names = Vec::new();
    walk(&root, &mut String::new(), &mut tensor_names, scalars);
    // The reader keeps one of two tensors whose paths read the same, such as {"a.b": x, "a": {"b": y}}.
    tensor_names.sort_unstable();
    if let Some(pair) = tensor_names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(ReadError::DuplicateName { path: path.to_owned(), name: pair[0].clone() });
    }
    let mut tensors: Vec<_> = PytorchReader::new(path).map_err(refused)?.into_tensors().into_iter().collect();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, tensor) in tensors {
        let wrong = |reason: String| ReadError::Tensor { path: path.to_owned(), tensor: name.clone(), reason };
        let dtype = own_dtype(tensor.dtype());
        let shape = tensor.shape().to_vec();
        let n = n_elements(&shape, dtype)
            .ok_or_else(|| wrong(format!("its shape {shape:?} is beyond what memory can hold")))?;
        let n_bytes = n * dtype.n_bytes();
        allowance.claim(&name, memory_bytes(n, dtype))?;
        // The reader takes memory without asking whether there is any.
        if !memory::is_free(n_bytes) {
            return Err(wrong(DecodeError::OutOfMemory(n_bytes).to_string()));
        }
        let bytes = tensor.read().map_err(|error| wrong(error.to_string()))?;
        if bytes.len() != n_bytes {
            return Err(wrong(format!("expected {n_bytes} bytes for shape {shape:?}, found {}", bytes.len())));
        }
        let data = decode(&bytes, dtype, ByteOrder::NATIVE).map_err(|error| wrong(error.to_string()))?;
        sink(NamedTensor { name, shape, dtype, data });
    }
    Ok(())
}

/// Collects the paths of tensors and the plain numbers of dictionaries. Numbers in lists (an optimiser's parameter
/// indices, say) are passed over: their path would mean little.
fn walk(value: &PickleValue, path: &mut String, tensor_names: &mut Vec<String>, scalars: &mut Vec<Scalar>) {
    let mut number = |value| {
        scalars.push(Scalar { name: path.clone(), value });
    };
    match value {
        PickleValue::Int(value) => number(ScalarValue::Int(*value)),
        PickleValue::Float(value) => number(ScalarValue::Float(*value)),
        PickleValue::Bool(value) => number(ScalarValue::Bool(*value)),
        PickleValue::Unsupported(python_type) if python_type == "torch.Tensor" => {
            tensor_names.push(path.clone());
        }
        PickleValue::Dict(entries) => {
            let mut keys: Vec<&String> = entries.keys().collect();
            keys.sort_unstable();
            for key in keys {
                below(path, key, |path| {
                    walk(&entries[key], path, tensor_names, scalars);
                });
            }
        }
        PickleValue::List(items) => {
            for (index, item) in items.iter().enumerate() {
                if matches!(item, PickleValue::Int(_) | PickleValue::Float(_) | PickleValue::Bool(_)) {
                    continue;
                }
                below(path, &index.to_string(), |path| {
                    walk(item, path, tensor_names, scalars);
                });
            }
        }
        PickleValue::None | PickleValue::String(_) | PickleValue::Bytes(_) | PickleValue::Unsupported(_) => {}
    }
}

/// Runs `then` with `key` appended to `path`, and takes it off again.
fn below(path: &mut String, key: &str, then: impl FnOnce(&mut String)) {
    let n = path.len();
    if n > 0 {
        path.push('.');
    }
    path.push_str(key);
    then(path);
    path.truncate(n);
}

fn own_dtype(dtype: pytorch_reader::DType) -> DType {
    use pytorch_reader::DType as Theirs;
    match dtype {
        Theirs::F64 => DType::F64,
        Theirs::F32 => DType::F32,
        Theirs::F16 => DType::F16,
        Theirs::BF16 => DType::Bf16,
        Theirs::I64 => DType::I64,
        Theirs::I32 => DType::I32,
        Theirs::I16 => DType::I16,
        Theirs::I8 => DType::I8,
        Theirs::U64 => DType::U64,
        Theirs::U32 => DType::U32,
        Theirs::U16 => DType::U16,
        Theirs::U8 => DType::U8,
        Theirs::Bool => DType::Bool,
    }
}
