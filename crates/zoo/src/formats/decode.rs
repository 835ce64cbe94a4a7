//! From the bytes of a tensor to its values. Memory is asked for, not taken: an honest length may exceed what there is.

use std::fmt;
use std::io::{self, Read};

use half::{bf16, f16};

use super::tensor::{DType, TensorData};

/// Order of the bytes of one element.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ByteOrder {
    Little,
    Big,
}

impl ByteOrder {
    /// The order of the machine this runs on.
    pub(super) const NATIVE: Self = if cfg!(target_endian = "big") { Self::Big } else { Self::Little };
}

/// Number of elements of `shape`, or `None` if it, or its size in bytes, does not fit in memory's address range.
pub(super) fn n_elements(shape: &[usize], dtype: DType) -> Option<usize> {
    let n = shape.iter().try_fold(1_usize, |n, &extent| n.checked_mul(extent))?;
    n.checked_mul(dtype.n_bytes()).filter(|&bytes| isize::try_from(bytes).is_ok())?;
    Some(n)
}

/// Bytes that `n` elements take while they are read: in the file or decoded, whichever is more.
pub(super) fn memory_bytes(n: usize, dtype: DType) -> u64 {
    let decoded = match dtype {
        DType::F64 | DType::F32 | DType::F16 | DType::Bf16 => size_of::<f32>(),
        DType::Bool => size_of::<bool>(),
        _ => size_of::<i64>(),
    };
    (n as u64).saturating_mul(decoded.max(dtype.n_bytes()) as u64)
}

/// Why bytes have no values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DecodeError {
    /// An unsigned value that does not fit in an `i64`.
    BeyondI64(u64),
    /// No memory for this many bytes.
    OutOfMemory(usize),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BeyondI64(value) => write!(f, "holds {value}, beyond the largest i64"),
            Self::OutOfMemory(n_bytes) => {
                write!(f, "needs {n_bytes} bytes of memory, more than are free; use a machine with more memory")
            }
        }
    }
}

/// An empty vector with room for `n` values.
fn with_room<T>(n: usize) -> Result<Vec<T>, DecodeError> {
    let mut values = Vec::new();
    values.try_reserve_exact(n).map_err(|_| DecodeError::OutOfMemory(n.saturating_mul(size_of::<T>())))?;
    Ok(values)
}

/// The next `n` bytes of `stream`.
pub(super) fn read_bytes(stream: &mut impl Read, n: usize) -> io::Result<Vec<u8>> {
    let mut bytes = with_room(n).map_err(|error| io::Error::new(io::ErrorKind::OutOfMemory, error.to_string()))?;
    if stream.take(n as u64).read_to_end(&mut bytes)? != n {
        let message = format!("ends after {} of {n} bytes", bytes.len());
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
    }
    Ok(bytes)
}

/// Values of `bytes`, whose length must be a multiple of the element size.
pub(super) fn decode(bytes: &[u8], dtype: DType, order: ByteOrder) -> Result<TensorData, DecodeError> {
    Ok(match dtype {
        DType::F32 => TensorData::F32(elements(bytes, order, f32::from_le_bytes)?),
        DType::F64 => TensorData::F32(elements(bytes, order, |b| f64::from_le_bytes(b) as f32)?),
        DType::F16 => TensorData::F32(elements(bytes, order, |b| f16::from_le_bytes(b).to_f32())?),
        DType::Bf16 => TensorData::F32(elements(bytes, order, |b| bf16::from_le_bytes(b).to_f32())?),
        DType::I64 => TensorData::I64(elements(bytes, order, i64::from_le_bytes)?),
        DType::I32 => TensorData::I64(elements(bytes, order, |b| i32::from_le_bytes(b).into())?),
        DType::I16 => TensorData::I64(elements(bytes, order, |b| i16::from_le_bytes(b).into())?),
        DType::I8 => TensorData::I64(elements(bytes, order, |b| i8::from_le_bytes(b).into())?),
        DType::U32 => TensorData::I64(elements(bytes, order, |b| u32::from_le_bytes(b).into())?),
        DType::U16 => TensorData::I64(elements(bytes, order, |b| u16::from_le_bytes(b).into())?),
        DType::U8 => TensorData::I64(elements(bytes, order, |b| u8::from_le_bytes(b).into())?),
        DType::U64 => {
            let values = elements(bytes, order, i64::from_le_bytes)?;
            // What does not fit has taken the sign.
            if let Some(&beyond) = values.iter().find(|value| **value < 0) {
                return Err(DecodeError::BeyondI64(beyond as u64));
            }
            TensorData::I64(values)
        }
        DType::Bool => TensorData::Bool(elements(bytes, order, |[byte]| byte != 0)?),
    })
}

/// Values of `bytes` in double precision, which holds every stored type exactly but integers beyond 2⁵³: those are
/// rounded to nearest.
pub(super) fn decode_wide(bytes: &[u8], dtype: DType, order: ByteOrder) -> Result<Vec<f64>, DecodeError> {
    match dtype {
        DType::F64 => elements(bytes, order, f64::from_le_bytes),
        DType::F32 => elements(bytes, order, |b| f32::from_le_bytes(b).into()),
        DType::F16 => elements(bytes, order, |b| f16::from_le_bytes(b).into()),
        DType::Bf16 => elements(bytes, order, |b| bf16::from_le_bytes(b).into()),
        DType::I64 => elements(bytes, order, |b| i64::from_le_bytes(b) as f64),
        DType::I32 => elements(bytes, order, |b| i32::from_le_bytes(b).into()),
        DType::I16 => elements(bytes, order, |b| i16::from_le_bytes(b).into()),
        DType::I8 => elements(bytes, order, |b| i8::from_le_bytes(b).into()),
        DType::U64 => elements(bytes, order, |b| u64::from_le_bytes(b) as f64),
        DType::U32 => elements(bytes, order, |b| u32::from_le_bytes(b).into()),
        DType::U16 => elements(bytes, order, |b| u16::from_le_bytes(b).into()),
        DType::U8 => elements(bytes, order, |b| u8::from_le_bytes(b).into()),
        DType::Bool => elements(bytes, order, |[byte]| f64::from(u8::from(byte != 0))),
    }
}

fn elements<T, const N: usize>(
    bytes: &[u8],
    order: ByteOrder,
    from_le_bytes: impl Fn([u8; N]) -> T,
) -> Result<Vec<T>, DecodeError> {
    let (chunks, rest) = bytes.as_chunks::<N>();
    debug_assert!(rest.is_empty(), "the caller checks the length");
    let mut values = with_room(chunks.len())?;
    match order {
        ByteOrder::Little => values.extend(chunks.iter().map(|&chunk| from_le_bytes(chunk))),
        ByteOrder::Big => values.extend(chunks.iter().map(|&chunk| {
            let mut reversed = chunk;
            reversed.reverse();
            from_le_bytes(reversed)
        })),
    }
    Ok(values)
}

/// Row-major values of a tensor whose values lie in column-major (Fortran) order.
pub(super) fn from_column_major(data: TensorData, shape: &[usize]) -> Result<TensorData, DecodeError> {
    Ok(match data {
        TensorData::F32(values) => TensorData::F32(row_major(&values, shape)?),
        TensorData::I64(values) => TensorData::I64(row_major(&values, shape)?),
        TensorData::Bool(values) => TensorData::Bool(row_major(&values, shape)?),
    })
}

/// Row-major order of values that lie in column-major order.
pub(super) fn row_major<T: Copy>(values: &[T], shape: &[usize]) -> Result<Vec<T>, DecodeError> {
    let strides: Vec<usize> = shape
        .iter()
        .scan(1, |stride, &extent| {
            let this = *stride;
            *stride *= extent;
            Some(this)
        })
        .collect();
    let mut index = vec![0_usize; shape.len()];
    let mut offset = 0;
    let mut result = with_room(values.len())?;
    for _ in 0..values.len() {
        result.push(values[offset]);
        // Count up in row-major order, last axis first, and carry.
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            offset += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            offset -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_float_width_gives_the_value_it_stands_for() {
        // 1.5 and -2: exact in all four formats. Bits from IEEE 754 and the definition of bfloat16.
        let check = |bytes: &[u8], dtype| {
            assert_eq!(decode(bytes, dtype, ByteOrder::Little), Ok(TensorData::F32(vec![1.5, -2.0])), "{dtype}");
        };
        check(&[0x00, 0x3e, 0x00, 0xc0], DType::F16);
        check(&[0xc0, 0x3f, 0x00, 0xc0], DType::Bf16);
        check(&[0, 0, 0xc0, 0x3f, 0, 0, 0, 0xc0], DType::F32);
        check(&[0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0xc0], DType::F64);
    }

    #[test]
    fn byte_order_is_honoured() {
        assert_eq!(decode(&[1, 2], DType::I16, ByteOrder::Little), Ok(TensorData::I64(vec![0x0201])));
        assert_eq!(decode(&[1, 2], DType::I16, ByteOrder::Big), Ok(TensorData::I64(vec![0x0102])));
    }

    #[test]
    fn doubles_keep_all_their_digits_in_either_order() {
        let x = 0.1_f64 + 1e-16;
        assert_eq!(decode_wide(&x.to_le_bytes(), DType::F64, ByteOrder::Little).unwrap(), [x]);
        assert_eq!(decode_wide(&x.to_be_bytes(), DType::F64, ByteOrder::Big).unwrap(), [x]);
        let step = (1_i64 << 53) - 1;
        assert_eq!(decode_wide(&step.to_be_bytes(), DType::I64, ByteOrder::Big).unwrap(), [step as f64]);
        assert_eq!(decode_wide(&[0x00, 0x3e, 0x00, 0xc0], DType::F16, ByteOrder::Little).unwrap(), [1.5, -2.0]);
        assert_eq!(decode_wide(&[0, 1, 7], DType::Bool, ByteOrder::Little).unwrap(), [0.0, 1.0, 1.0]);
    }

    #[test]
    fn an_unsigned_value_beyond_i64_is_reported() {
        assert_eq!(decode(&[0xff; 8], DType::U64, ByteOrder::Little), Err(DecodeError::BeyondI64(u64::MAX)));
    }

    #[test]
    fn memory_that_is_not_there_is_an_error() {
        assert_eq!(with_room::<f32>(1 << 60), Err(DecodeError::OutOfMemory(1 << 62)));
        assert_eq!(with_room::<f32>(usize::MAX), Err(DecodeError::OutOfMemory(usize::MAX)));
    }

    #[test]
    fn column_major_is_turned_into_row_major() {
        // shape [2, 3, 2]: value at (i, j, k) is 100 i + 10 j + k; column-major runs over i fastest.
        let column_major: Vec<i64> =
            (0..2).flat_map(|k| (0..3).flat_map(move |j| (0..2).map(move |i| 100 * i + 10 * j + k))).collect();
        let row_major = vec![0, 1, 10, 11, 20, 21, 100, 101, 110, 111, 120, 121];
        assert_eq!(from_column_major(TensorData::I64(column_major), &[2, 3, 2]), Ok(TensorData::I64(row_major)));
    }

    #[test]
    fn element_counts_beyond_memory_are_refused() {
        assert_eq!(n_elements(&[1 << 60], DType::U8), Some(1 << 60));
        assert_eq!(n_elements(&[1 << 60], DType::F64), None);
        assert_eq!(n_elements(&[1 << 40, 1 << 40], DType::U8), None);
        assert_eq!(n_elements(&[], DType::F32), Some(1));
    }
}
