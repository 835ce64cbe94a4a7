//! The safetensors format: a length, a JSON header, and the tensors' bytes one after the other.
//!
//! Read here rather than with the crate's own function because that one wants the whole file in memory, keeps one of
//! two entries with the same name, and does not always name the tensor at fault.

use std::fmt;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use fs_err::File;
use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::decode::{ByteOrder, decode, read_bytes};
use super::error::ReadError;
use super::tensor::{DType, NamedTensor, Unread};

/// Longest header the format allows.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Reads every tensor of a safetensors file, in the order of their bytes.
pub(super) fn read(
    path: &Path,
    file_bytes: u64,
    sink: &mut dyn FnMut(NamedTensor),
    unread: &mut Vec<Unread>,
) -> Result<(), ReadError> {
    let io = |source| ReadError::Io { path: path.to_owned(), source };
    let damaged = |reason: String| ReadError::Damaged { path: path.to_owned(), reason };
    let mut file = File::open(path).map_err(io)?;
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(io)?;
    let header_bytes = u64::from_le_bytes(length);
    if header_bytes > MAX_HEADER_BYTES {
        return Err(damaged(format!(
            "its safetensors header claims {header_bytes} bytes, above the format's limit of {MAX_HEADER_BYTES}"
        )));
    }
    let data_start = 8 + header_bytes;
    if data_start > file_bytes {
        return Err(damaged(format!(
            "its safetensors header claims {header_bytes} bytes, but the file has {file_bytes} bytes in all; it may have been truncated"
        )));
    }
    let mut header = vec![0; header_bytes as usize];
    file.read_exact(&mut header).map_err(io)?;
    let mut entries = parse_header(path, &header)?;
    entries.sort_by(|a, b| (a.1.data_offsets, &a.0).cmp(&(b.1.data_offsets, &b.0)));
    let data_bytes = file_bytes - data_start;
    check_ranges(path, &entries, data_bytes)?;
    file.seek(SeekFrom::Start(data_start)).map_err(io)?;
    for (name, info) in entries {
        let n_bytes = (info.data_offsets.1 - info.data_offsets.0) as u64;
        let Some(dtype) = own_dtype(info.dtype) else {
            unread.push(Unread { name, reason: format!("element type {:?} is not read", info.dtype) });
            file.seek_relative(n_bytes as i64).map_err(io)?;
            continue;
        };
        let wrong = |reason: String| ReadError::Tensor { path: path.to_owned(), tensor: name.clone(), reason };
        let bytes = read_bytes(&mut file, n_bytes as usize).map_err(|error| wrong(error.to_string()))?;
        let data = decode(&bytes, dtype, ByteOrder::Little).map_err(|error| wrong(error.to_string()))?;
        sink(NamedTensor { name, shape: info.shape, dtype, data });
    }
    Ok(())
}

/// The tensors must fill the data from its first byte to its last, each with the bytes its shape needs.
fn check_ranges(path: &Path, entries: &[(String, TensorInfo)], data_bytes: u64) -> Result<(), ReadError> {
    let mut start = 0;
    for (name, info) in entries {
        let wrong = |reason: String| ReadError::Tensor { path: path.to_owned(), tensor: name.clone(), reason };
        let (from, to) = info.data_offsets;
        if from != start || to < from {
            return Err(wrong(format!("its bytes are said to be {from}..{to}, expected to begin at {start}")));
        }
        if to as u64 > data_bytes {
            return Err(wrong(format!(
                "its bytes are said to be {from}..{to}, but the file holds {data_bytes} bytes of data; it may have been truncated"
            )));
        }
        let needed = info
            .shape
            .iter()
            .try_fold(info.dtype.bitsize(), |bits, &extent| bits.checked_mul(extent))
            .filter(|bits| bits % 8 == 0)
            .map(|bits| bits / 8);
        if needed != Some(to - from) {
            let needed = needed.map_or("more than memory can hold".to_owned(), |bytes| bytes.to_string());
            return Err(wrong(format!(
                "shape {:?} of {:?} needs {needed} bytes, found {}",
                info.shape,
                info.dtype,
                to - from
            )));
        }
        start = to;
    }
    if start as u64 != data_bytes {
        return Err(ReadError::Damaged {
            path: path.to_owned(),
            reason: format!("its tensors take {start} bytes, but {data_bytes} bytes follow the header"),
        });
    }
    Ok(())
}

fn parse_header(path: &Path, header: &[u8]) -> Result<Vec<(String, TensorInfo)>, ReadError> {
    let damaged = |reason: String| ReadError::Damaged { path: path.to_owned(), reason };
    let text = std::str::from_utf8(header)
        .map_err(|error| damaged(format!("its safetensors header is not UTF-8: {error}")))?;
    let mut json = serde_json::Deserializer::from_str(text);
    let entries = json
        .deserialize_map(HeaderVisitor)
        // The format allows the header to be padded with spaces, which `end` skips.
        .and_then(|entries| json.end().map(|()| entries))
        .map_err(|error| damaged(format!("its safetensors header: {error}")))?;
    let mut names: Vec<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(ReadError::DuplicateName { path: path.to_owned(), name: pair[0].to_owned() });
    }
    Ok(entries)
}

/// Keeps every entry in order; a map type would silently keep one of two with the same name.
struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Vec<(String, TensorInfo)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<serde::de::IgnoredAny>()?;
            } else {
                entries.push((name, map.next_value()?));
            }
        }
        Ok(entries)
    }
}

fn own_dtype(dtype: Dtype) -> Option<DType> {
    Some(match dtype {
        Dtype::F64 => DType::F64,
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::Bf16,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::I16 => DType::I16,
        Dtype::I8 => DType::I8,
        Dtype::U64 => DType::U64,
        Dtype::U32 => DType::U32,
        Dtype::U16 => DType::U16,
        Dtype::U8 => DType::U8,
        Dtype::BOOL => DType::Bool,
        // Complex numbers and the formats of eight bits and fewer.
        _ => return None,
    })
}
