//! Tensors of an ONNX file: their values, in the file or in one beside it, checked before memory is taken for them.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use fs_err::File;
use half::{bf16, f16};

use super::error::Problem;
use super::proto::TensorProto;
use crate::{DType, NamedTensor, TensorData, memory};

/// Reads tensors and hashes what it reads from other files.
pub(super) struct TensorReader {
    folder: PathBuf,
    files: BTreeMap<PathBuf, External>,
    hasher: blake3::Hasher,
}

/// A file beside that of the network.
struct External {
    file: File,
    length: u64,
    /// Bytes of it that tensors have taken so far.
    taken: u64,
}

/// Tensors may share their bytes so often, on the average: a small file must not stand for a large memory.
const MAX_SHARE: u64 = 4;

impl TensorReader {
    /// For a file in `folder`, whose bytes are hashed first.
    pub(super) fn new(folder: &Path, bytes: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(bytes);
        Self { folder: folder.to_owned(), files: BTreeMap::new(), hasher }
    }

    /// BLAKE3 hash of the file and of everything read beside it.
    pub(super) fn hash(&self) -> String {
        self.hasher.finalize().to_hex().to_string()
    }

    pub(super) fn read(&mut self, proto: &TensorProto<'_>) -> Result<NamedTensor, Problem> {
        let dtype = data_type(proto.data_type)?;
        let shape = shape(&proto.dims)?;
        let n = shape.iter().try_fold(1_usize, |n, &extent| n.checked_mul(extent));
        let n = n.filter(|n| n.checked_mul(8).is_some()).ok_or_else(|| {
            Problem::new(format!("the shape {:?}", proto.dims), "a number of values that memory can hold")
        })?;
        if proto.is_segment {
            return Err(Problem::new("a tensor in segments", "whole tensors, as every exporter writes"));
        }
        let outside;
        let raw = if proto.is_external {
            outside = self.external(&proto.external, n * dtype.n_bytes())?;
            Some(outside.as_slice())
        } else {
            proto.raw
        };
        let data = match raw {
            Some(raw) => {
                check_count(raw.len(), n * dtype.n_bytes(), "bytes", &proto.dims)?;
                from_bytes(dtype, raw)
            }
            None => from_numbers(dtype, proto, n)?,
        };
        Ok(NamedTensor { name: proto.name.clone(), shape, dtype, data })
    }

    /// So many bytes of a file in the folder of the model.
    fn external(&mut self, keys: &BTreeMap<String, String>, length: usize) -> Result<Vec<u8>, Problem> {
        let location = keys.get("location").map_or("", String::as_str);
        let number = |key: &str, missing: u64| match keys.get(key) {
            None => Ok(missing),
            Some(text) => text
                .parse::<u64>()
                .map_err(|_| Problem::new(format!("external data with {key} `{text}`"), "a whole number")),
        };
        let (offset, claimed) = (number("offset", 0)?, number("length", length as u64)?);
        if claimed != length as u64 {
            let found = format!("external data of {claimed} bytes");
            return Err(Problem::new(found, format!("{length}, by shape and type")));
        }
        let path = self.inside(location)?;
        let io = |error: std::io::Error| Problem::new(format!("external data that cannot be read: {error}"), BESIDE);
        if !self.files.contains_key(&path) {
            let metadata = fs_err::metadata(&path).map_err(io)?;
            if !metadata.is_file() {
                return Err(Problem::new(format!("external data in `{location}`, which is no file"), BESIDE));
            }
            let file = File::open(&path).map_err(io)?;
            self.files.insert(path.clone(), External { file, length: metadata.len(), taken: 0 });
        }
        let External { file, length: file_bytes, taken } =
            self.files.get_mut(&path).expect("the file has just been opened");
        if offset.checked_add(claimed).is_none_or(|end| end > *file_bytes) {
            let found = format!("external data of {claimed} bytes from byte {offset} of `{location}`");
            return Err(Problem::new(found, format!("an end within its {file_bytes} bytes; is it truncated?")));
        }
        *taken += claimed;
        if *taken > file_bytes.saturating_mul(MAX_SHARE) {
            let found = format!("{taken} bytes taken from the {file_bytes} of `{location}`");
            return Err(Problem::new(found, "tensors that share few bytes"));
        }
        if !memory::is_free(length) {
            return Err(Problem::new(format!("external data of {length} bytes"), "as much memory"));
        }
        let mut bytes = vec![0; length];
        file.seek(SeekFrom::Start(offset)).map_err(io)?;
        file.read_exact(&mut bytes).map_err(io)?;
        self.hasher.update(&bytes);
        Ok(bytes)
    }

    /// The path of external data, which may not leave the folder: neither by its words nor through a link.
    fn inside(&self, location: &str) -> Result<PathBuf, Problem> {
        let refused = || Problem::new(format!("external data in `{location}`"), BESIDE);
        let relative = Path::new(location);
        let is_plain = relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if location.is_empty() || !is_plain {
            return Err(refused());
        }
        let unreadable = |error| Problem::new(format!("external data in `{location}`: {error}"), BESIDE);
        let folder = fs_err::canonicalize(&self.folder).map_err(unreadable)?;
        let path = fs_err::canonicalize(folder.join(relative)).map_err(unreadable)?;
        if path.starts_with(&folder) { Ok(path) } else { Err(refused()) }
    }
}

const BESIDE: &str = "a readable file in the folder of the network's file, and nothing outside of it";

/// `TensorProto.DataType`.
fn data_type(number: i64) -> Result<DType, Problem> {
    Ok(match number {
        1 => DType::F32,
        2 => DType::U8,
        3 => DType::I8,
        4 => DType::U16,
        5 => DType::I16,
        6 => DType::I32,
        7 => DType::I64,
        9 => DType::Bool,
        10 => DType::F16,
        11 => DType::F64,
        12 => DType::U32,
        13 => DType::U64,
        16 => DType::Bf16,
        _ => {
            let found = format!("a tensor of ONNX's type {number}");
            return Err(Problem::new(found, "floats of 16, 32 or 64 bits, integers or truth values"));
        }
    })
}

fn shape(dims: &[i64]) -> Result<Vec<usize>, Problem> {
    let extent = |&dim: &i64| usize::try_from(dim).ok();
    dims.iter()
        .map(extent)
        .collect::<Option<_>>()
        .ok_or_else(|| Problem::new(format!("the shape {dims:?}"), "extents of 0 or more"))
}

fn check_count(found: usize, expected: usize, what: &str, dims: &[i64]) -> Result<(), Problem> {
    if found == expected {
        return Ok(());
    }
    Err(Problem::new(format!("{found} {what} for the shape {dims:?}"), format!("{expected}; is the file truncated?")))
}

fn from_bytes(dtype: DType, raw: &[u8]) -> TensorData {
    fn each<const N: usize, T>(raw: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
        raw.chunks_exact(N).map(|bytes| read(bytes.try_into().expect("chunks have this length"))).collect()
    }
    match dtype {
        DType::F32 => TensorData::F32(each(raw, f32::from_le_bytes)),
        DType::F64 => TensorData::F32(each(raw, |bytes| f64::from_le_bytes(bytes) as f32)),
        DType::F16 => TensorData::F32(each(raw, |bytes| f16::from_le_bytes(bytes).to_f32())),
        DType::Bf16 => TensorData::F32(each(raw, |bytes| bf16::from_le_bytes(bytes).to_f32())),
        DType::I64 => TensorData::I64(each(raw, i64::from_le_bytes)),
        DType::U64 => TensorData::I64(each(raw, |bytes| u64::from_le_bytes(bytes).cast_signed())),
        DType::I32 => TensorData::I64(each(raw, |bytes| i64::from(i32::from_le_bytes(bytes)))),
        DType::U32 => TensorData::I64(each(raw, |bytes| i64::from(u32::from_le_bytes(bytes)))),
        DType::I16 => TensorData::I64(each(raw, |bytes| i64::from(i16::from_le_bytes(bytes)))),
        DType::U16 => TensorData::I64(each(raw, |bytes| i64::from(u16::from_le_bytes(bytes)))),
        DType::I8 => TensorData::I64(each(raw, |bytes| i64::from(i8::from_le_bytes(bytes)))),
        DType::U8 => TensorData::I64(each(raw, |[byte]| i64::from(byte))),
        DType::Bool => TensorData::Bool(each(raw, |[byte]| byte != 0)),
    }
}

/// Values that are not raw bytes; halves stand as the bits of integers (`int32_data`).
fn from_numbers(dtype: DType, proto: &TensorProto<'_>, n: usize) -> Result<TensorData, Problem> {
    let count = |found: usize| check_count(found, n, "values", &proto.dims);
    let halves = |read: fn(u16) -> f32| -> Result<TensorData, Problem> {
        count(proto.integers.len())?;
        Ok(TensorData::F32(proto.integers.iter().map(|&bits| read(bits as u16)).collect()))
    };
    match dtype {
        DType::F32 => {
            count(proto.floats.len())?;
            Ok(TensorData::F32(proto.floats.clone()))
        }
        DType::F64 => {
            count(proto.doubles.len())?;
            Ok(TensorData::F32(proto.doubles.iter().map(|&x| x as f32).collect()))
        }
        DType::F16 => halves(|bits| f16::from_bits(bits).to_f32()),
        DType::Bf16 => halves(|bits| bf16::from_bits(bits).to_f32()),
        DType::Bool => {
            count(proto.integers.len())?;
            Ok(TensorData::Bool(proto.integers.iter().map(|&x| x != 0).collect()))
        }
        _ => {
            count(proto.integers.len())?;
            Ok(TensorData::I64(proto.integers.clone()))
        }
    }
}
