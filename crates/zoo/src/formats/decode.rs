//! From the bytes of a tensor to its values.

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

/// Values of `bytes`, whose length must be a multiple of the element size.
///
/// # Errors
///
/// The first unsigned value that does not fit in an `i64`.
pub(super) fn decode(bytes: &[u8], dtype: DType, order: ByteOrder) -> Result<TensorData, u64> {
    Ok(match dtype {
        DType::F32 => TensorData::F32(elements(bytes, order, f32::from_le_bytes)),
        DType::F64 => TensorData::F32(elements(bytes, order, |b| f64::from_le_bytes(b) as f32)),
        DType::F16 => TensorData::F32(elements(bytes, order, |b| f16::from_le_bytes(b).to_f32())),
        DType::Bf16 => TensorData::F32(elements(bytes, order, |b| bf16::from_le_bytes(b).to_f32())),
        DType::I64 => TensorData::I64(elements(bytes, order, i64::from_le_bytes)),
        DType::I32 => TensorData::I64(elements(bytes, order, |b| i32::from_le_bytes(b).into())),
        DType::I16 => TensorData::I64(elements(bytes, order, |b| i16::from_le_bytes(b).into())),
        DType::I8 => TensorData::I64(elements(bytes, order, |b| i8::from_le_bytes(b).into())),
        DType::U32 => TensorData::I64(elements(bytes, order, |b| u32::from_le_bytes(b).into())),
        DType::U16 => TensorData::I64(elements(bytes, order, |b| u16::from_le_bytes(b).into())),
        DType::U8 => TensorData::I64(elements(bytes, order, |b| u8::from_le_bytes(b).into())),
        DType::U64 => TensorData::I64(
            elements(bytes, order, u64::from_le_bytes)
                .into_iter()
                .map(|value| i64::try_from(value).map_err(|_| value))
                .collect::<Result<_, _>>()?,
        ),
        DType::Bool => TensorData::Bool(bytes.iter().map(|&byte| byte != 0).collect()),
    })
}

/// Values of `bytes` in double precision, which holds every stored type exactly but integers beyond 2⁵³: those are
/// rounded to nearest.
pub(super) fn decode_wide(bytes: &[u8], dtype: DType, order: ByteOrder) -> Vec<f64> {
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
        DType::Bool => bytes.iter().map(|&byte| f64::from(u8::from(byte != 0))).collect(),
    }
}

fn elements<T, const N: usize>(bytes: &[u8], order: ByteOrder, from_le_bytes: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (chunks, rest) = bytes.as_chunks::<N>();
    debug_assert!(rest.is_empty(), "the caller checks the length");
    match order {
        ByteOrder::Little => chunks.iter().map(|&chunk| from_le_bytes(chunk)).collect(),
        ByteOrder::Big => chunks
            .iter()
            .map(|&chunk| {
                let mut reversed = chunk;
                reversed.reverse();
                from_le_bytes(reversed)
            })
            .collect(),
    }
}

/// Row-major values of a tensor whose values lie in column-major (Fortran) order.
pub(super) fn from_column_major(data: TensorData, shape: &[usize]) -> TensorData {
    match data {
        TensorData::F32(values) => TensorData::F32(row_major(&values, shape)),
        TensorData::I64(values) => TensorData::I64(row_major(&values, shape)),
        TensorData::Bool(values) => TensorData::Bool(row_major(&values, shape)),
    }
}

/// Row-major order of values that lie in column-major order.
pub(super) fn row_major<T: Copy>(values: &[T], shape: &[usize]) -> Vec<T> {
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
    let mut result = Vec::with_capacity(values.len());
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
    result
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
        assert_eq!(decode_wide(&x.to_le_bytes(), DType::F64, ByteOrder::Little), [x]);
        assert_eq!(decode_wide(&x.to_be_bytes(), DType::F64, ByteOrder::Big), [x]);
        let step = (1_i64 << 53) - 1;
        assert_eq!(decode_wide(&step.to_be_bytes(), DType::I64, ByteOrder::Big), [step as f64]);
        assert_eq!(decode_wide(&[0x00, 0x3e, 0x00, 0xc0], DType::F16, ByteOrder::Little), [1.5, -2.0]);
        assert_eq!(decode_wide(&[0, 1, 7], DType::Bool, ByteOrder::Little), [0.0, 1.0, 1.0]);
    }

    #[test]
    fn an_unsigned_value_beyond_i64_is_reported() {
        assert_eq!(decode(&[0xff; 8], DType::U64, ByteOrder::Little), Err(u64::MAX));
    }

    #[test]
    fn column_major_is_turned_into_row_major() {
        // shape [2, 3, 2]: value at (i, j, k) is 100 i + 10 j + k; column-major runs over i fastest.
        let column_major: Vec<i64> =
            (0..2).flat_map(|k| (0..3).flat_map(move |j| (0..2).map(move |i| 100 * i + 10 * j + k))).collect();
        let row_major = vec![0, 1, 10, 11, 20, 21, 100, 101, 110, 111, 120, 121];
        assert_eq!(from_column_major(TensorData::I64(column_major), &[2, 3, 2]), TensorData::I64(row_major));
    }

    #[test]
    fn element_counts_beyond_memory_are_refused() {
        assert_eq!(n_elements(&[1 << 60], DType::U8), Some(1 << 60));
        assert_eq!(n_elements(&[1 << 60], DType::F64), None);
        assert_eq!(n_elements(&[1 << 40, 1 << 40], DType::U8), None);
        assert_eq!(n_elements(&[], DType::F32), Some(1));
    }
}
