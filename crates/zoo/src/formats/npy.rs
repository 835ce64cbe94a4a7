//! NumPy's `.npy` arrays and the `.npz` archives of them (NumPy Enhancement Proposal 1).

use std::io::{BufReader, Read};
use std::path::Path;

use fs_err::File;

use super::decode::{
    ByteOrder, DecodeError, decode, decode_wide, from_column_major, memory_bytes, n_elements, read_bytes, row_major,
};
use super::error::ReadError;
use super::limits::Allowance;
use super::tensor::{Array, DType, NamedTensor, Unread};
use super::zip_archive::Archive;

/// First bytes of every `.npy` file.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// Longest header read; NumPy itself stops at 10,000 unless told otherwise.
const MAX_HEADER_BYTES: usize = 1 << 16;

/// Most axes read, as in NumPy 2. To bring values in order takes a step for each axis.
const MAX_AXES: usize = 64;

/// Reads the tensors of an `.npz` archive; they are named after their entries, without `.npy`.
pub(super) fn read_npz(
    path: &Path,
    archive: &mut Archive,
    allowance: &mut Allowance,
    sink: &mut dyn FnMut(NamedTensor),
    unread: &mut Vec<Unread>,
) -> Result<(), ReadError> {
    each_of_npz(path, archive, allowance, &mut |stored| stored.tensor(path).map(&mut *sink), unread)
}

/// Reads an `.npy` file; its one tensor is named after the file.
pub(super) fn read_npy(
    path: &Path,
    file_bytes: u64,
    allowance: &mut Allowance,
    sink: &mut dyn FnMut(NamedTensor),
    unread: &mut Vec<Unread>,
) -> Result<(), ReadError> {
    the_one_of_npy(path, file_bytes, allowance, &mut |stored| stored.tensor(path).map(&mut *sink), unread)
}

/// Reads the arrays of an `.npz` or `.npy` file with all digits of their doubles.
pub(super) fn read_wide(
    path: &Path,
    archive: Option<&mut Archive>,
    file_bytes: u64,
    allowance: &mut Allowance,
    unread: &mut Vec<Unread>,
) -> Result<Vec<Array>, ReadError> {
    let mut arrays = Vec::new();
    let mut sink = |stored: Stored| {
        arrays.push(stored.wide(path)?);
        Ok(())
    };
    match archive {
        Some(archive) => each_of_npz(path, archive, allowance, &mut sink, unread)?,
        None => the_one_of_npy(path, file_bytes, allowance, &mut sink, unread)?,
    }
    Ok(arrays)
}

type Sink<'s> = &'s mut dyn FnMut(Stored) -> Result<(), ReadError>;

fn each_of_npz(
    path: &Path,
    archive: &mut Archive,
    allowance: &mut Allowance,
    sink: Sink<'_>,
    unread: &mut Vec<Unread>,
) -> Result<(), ReadError> {
    for index in 0..archive.names().len() {
        let entry_name = archive.names()[index].clone();
        let Some(name) = entry_name.strip_suffix(".npy") else {
            unread.push(Unread { name: entry_name, reason: "not an .npy entry".to_owned() });
            continue;
        };
        let (entry, n_bytes) = archive.entry(index)?;
        if let Some(stored) = read_array(path, name, entry, n_bytes, allowance, unread)? {
            sink(stored)?;
        }
    }
    Ok(())
}

fn the_one_of_npy(
    path: &Path,
    file_bytes: u64,
    allowance: &mut Allowance,
    sink: Sink<'_>,
    unread: &mut Vec<Unread>,
) -> Result<(), ReadError> {
    let file = File::open(path).map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
    let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    read_array(path, &name, BufReader::new(file), file_bytes, allowance, unread)?.map_or(Ok(()), sink)
}

/// One array as its file has it.
struct Stored {
    name: String,
    dtype: DType,
    order: ByteOrder,
    fortran_order: bool,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Stored {
    fn tensor(self, path: &Path) -> Result<NamedTensor, ReadError> {
        let mut data = decode(&self.bytes, self.dtype, self.order).map_err(|error| self.undecodable(path, error))?;
        if self.fortran_order {
            data = from_column_major(data, &self.shape).map_err(|error| self.undecodable(path, error))?;
        }
        Ok(NamedTensor { name: self.name, shape: self.shape, dtype: self.dtype, data })
    }

    fn wide(self, path: &Path) -> Result<Array, ReadError> {
        let mut values = decode_wide(&self.bytes, self.dtype, self.order).map_err(|e| self.undecodable(path, e))?;
        if self.fortran_order {
            values = row_major(&values, &self.shape).map_err(|error| self.undecodable(path, error))?;
        }
        Ok(Array { name: self.name, shape: self.shape, values })
    }

    fn undecodable(&self, path: &Path, error: DecodeError) -> ReadError {
        ReadError::Tensor { path: path.to_owned(), tensor: self.name.clone(), reason: error.to_string() }
    }
}

/// Reads one array from a stream of `n_bytes` bytes; `None` where it was added to `unread` instead.
fn read_array(
    path: &Path,
    name: &str,
    mut stream: impl Read,
    n_bytes: u64,
    allowance: &mut Allowance,
    unread: &mut Vec<Unread>,
) -> Result<Option<Stored>, ReadError> {
    let wrong = |reason: String| ReadError::Tensor { path: path.to_owned(), tensor: name.to_owned(), reason };
    let unreadable = |error: std::io::Error| wrong(error.to_string());
    let header = read_header(&mut stream).map_err(wrong)?;
    let (dtype, order) = match parse_descr(&header.descr) {
        Ok(found) => found,
        Err(reason) => {
            unread.push(Unread { name: name.to_owned(), reason });
            return Ok(None);
        }
    };
    let shape = header.shape;
    if shape.len() > MAX_AXES {
        return Err(wrong(format!(
            "it has {} axes, expected at most {MAX_AXES}, which is NumPy's own limit",
            shape.len()
        )));
    }
    let n = n_elements(&shape, dtype)
        .ok_or_else(|| wrong(format!("its shape {shape:?} is beyond what memory can hold")))?;
    let data_bytes = n * dtype.n_bytes();
    let found = n_bytes.saturating_sub(header.n_bytes);
    if data_bytes as u64 != found {
        return Err(wrong(format!("shape {shape:?} of {dtype} needs {data_bytes} bytes, found {found}")));
    }
    allowance.claim(name, memory_bytes(n, dtype))?;
    let bytes = read_bytes(&mut stream, data_bytes).map_err(unreadable)?;
    // Reading to the very end makes a zip entry compare its checksum.
    if stream.read(&mut [0]).map_err(unreadable)? != 0 {
        return Err(wrong(format!("more than the {data_bytes} bytes of its shape {shape:?} follow")));
    }
    let fortran_order = header.fortran_order;
    Ok(Some(Stored { name: name.to_owned(), dtype, order, fortran_order, shape, bytes }))
}

struct Header {
    /// Element type in NumPy's notation, such as `<f4`; a record's is given as the Python list it is.
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
    /// Bytes from the magic to the first value.
    n_bytes: u64,
}

fn read_header(stream: &mut impl Read) -> Result<Header, String> {
    let mut take = |n: usize| {
        let mut bytes = vec![0; n];
        stream.read_exact(&mut bytes).map_err(|error| format!("its .npy header cannot be read: {error}"))?;
        Ok::<_, String>(bytes)
    };
    let prelude = take(8)?;
    if !prelude.starts_with(MAGIC) {
        return Err("it does not begin as an .npy array does".to_owned());
    }
    // Version 1 counts the header in two bytes, versions 2 and 3 in four.
    let width = match prelude[6] {
        1 => 2,
        2 | 3 => 4,
        version => return Err(format!("its .npy version is {version}, expected 1, 2 or 3")),
    };
    let length = take(width)?.iter().rev().fold(0_usize, |n, &byte| (n << 8) | usize::from(byte));
    if length > MAX_HEADER_BYTES {
        return Err(format!("its .npy header claims {length} bytes, above the {MAX_HEADER_BYTES} read here"));
    }
    let text = String::from_utf8(take(length)?).map_err(|_| "its .npy header is not text".to_owned())?;
    let (descr, fortran_order, shape) = parse_dictionary(&text)
        .ok_or_else(|| format!("its .npy header is malformed: {}", text.trim().escape_debug()))?;
    Ok(Header { descr, fortran_order, shape, n_bytes: (8 + width + length) as u64 })
}

/// Parses `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`, keys in any order, each exactly once.
fn parse_dictionary(text: &str) -> Option<(String, bool, Vec<usize>)> {
    let (mut descr, mut fortran_order, mut shape) = (None, None, None);
    let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    while !rest.is_empty() {
        let (key, after) = quoted(rest)?;
        let value = after.trim_start().strip_prefix(':')?.trim_start();
        let after = match key {
            "descr" if descr.is_none() => {
                let (value, after) = quoted(value).or_else(|| bracketed(value))?;
                descr = Some(value.to_owned());
                after
            }
            "fortran_order" if fortran_order.is_none() => {
                let (flag, after) = match value.strip_prefix("True") {
                    Some(after) => (true, after),
                    None => (false, value.strip_prefix("False")?),
                };
                fortran_order = Some(flag);
                after
            }
            "shape" if shape.is_none() => {
                let (extents, after) = value.strip_prefix('(')?.split_once(')')?;
                shape = Some(parse_extents(extents)?);
                after
            }
            _ => return None,
        };
        rest = match after.trim_start().strip_prefix(',') {
            Some(after) => after.trim_start(),
            None if after.trim().is_empty() => "",
            None => return None,
        };
    }
    Some((descr?, fortran_order?, shape?))
}

fn parse_extents(text: &str) -> Option<Vec<usize>> {
    let text = text.trim();
    if text.is_empty() {
        return Some(Vec::new());
    }
    // A tuple of one is written with a comma after it, and Python 2 wrote an L after long integers.
    let text = text.strip_suffix(',').unwrap_or(text);
    text.split(',').map(|extent| extent.trim().trim_end_matches('L').parse().ok()).collect()
}

fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text[1..].split_once(quote)
}

/// A list with its brackets, as the element type of a record array is written.
fn bracketed(text: &str) -> Option<(&str, &str)> {
    let mut depth = 0_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'[' => depth += 1,
            b']' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return (at > 0).then(|| text.split_at(at + 1));
        }
    }
    None
}

/// The element type, or why arrays of it are left unread.
fn parse_descr(descr: &str) -> Result<(DType, ByteOrder), String> {
    let order = if descr.starts_with('>') { ByteOrder::Big } else { ByteOrder::Little };
    let dtype = match descr.trim_start_matches(['<', '>', '|', '=']) {
        "f2" => DType::F16,
        "f4" => DType::F32,
        "f8" => DType::F64,
        "i1" => DType::I8,
        "i2" => DType::I16,
        "i4" => DType::I32,
        "i8" => DType::I64,
        "u1" => DType::U8,
        "u2" => DType::U16,
        "u4" => DType::U32,
        "u8" => DType::U64,
        "b1" => DType::Bool,
        "O" => return Err("an array of Python objects, which is a pickle".to_owned()),
        _ => {
            return Err(format!("element type `{}` is not a plain number", descr.escape_debug()));
        }
    };
    Ok((dtype, order))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_parsed() {
        let check = |text: &str, expected: Option<(&str, bool, &[usize])>| {
            let found = parse_dictionary(text);
            let expected = expected.map(|(descr, order, shape)| (descr.to_owned(), order, shape.to_vec()));
            assert_eq!(found, expected, "{text}");
        };
        check("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n", Some(("<f4", false, &[2, 3])));
        check("{'shape': (5,), 'fortran_order': True, 'descr': '|b1'}", Some(("|b1", true, &[5])));
        check("{'descr': '<f8', 'fortran_order': False, 'shape': ()}", Some(("<f8", false, &[])));
        check("{'descr': '<f8', 'fortran_order': False, 'shape': (3L, 4L)}", Some(("<f8", false, &[3, 4])));
        check(
            "{'descr': [('a', '<f4'), ('b', '<i8', (2,))], 'fortran_order': False, 'shape': (1,)}",
            Some(("[('a', '<f4'), ('b', '<i8', (2,))]", false, &[1])),
        );
        check("", None);
        check("{'descr': '<f4', 'fortran_order': False}", None);
        check("{'descr': '<f4', 'descr': '<f8', 'fortran_order': False, 'shape': ()}", None);
        check("{'descr': '<f4', 'fortran_order': 0, 'shape': ()}", None);
        check("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", None);
        check("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", None);
        check("{'descr': '<f4' 'fortran_order': False, 'shape': ()}", None);
        check("{'descr': [[[, 'fortran_order': False, 'shape': ()}", None);
    }
}
