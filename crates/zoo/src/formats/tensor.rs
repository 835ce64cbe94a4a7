//! What a weight file holds once it has been read: named tensors, plain numbers, and what was left unread.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// The contents of one weight file.
#[derive(Clone, Debug)]
pub struct TensorFile {
    /// Where it was read from.
    pub path: PathBuf,
    /// The format found from its content.
    pub format: FileFormat,
    /// Every tensor, sorted by name; names are unique.
    pub tensors: Vec<NamedTensor>,
    /// Plain numbers saved beside the tensors (a step, a loss), sorted by name. Only PyTorch files have them.
    pub scalars: Vec<Scalar>,
    /// Entries that are neither, sorted by name, each with the reason.
    pub unread: Vec<Unread>,
}

impl TensorFile {
    /// The tensor of that exact name.
    pub fn get(&self, name: &str) -> Option<&NamedTensor> {
        let index = self.tensors.binary_search_by(|tensor| tensor.name.as_str().cmp(name)).ok()?;
        Some(&self.tensors[index])
    }

    /// The number of that exact name, such as `step` or `val_loss`.
    pub fn scalar(&self, name: &str) -> Option<ScalarValue> {
        let index = self.scalars.binary_search_by(|scalar| scalar.name.as_str().cmp(name)).ok()?;
        Some(self.scalars[index].value)
    }

    /// BLAKE3 hash (64 hexadecimal digits) of all names, shapes, stored types and values.
    ///
    /// Two files of different formats that hold the same tensors have the same hash.
    pub fn content_hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for tensor in &self.tensors {
            tensor.update_hash(&mut hasher);
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// Name as the file has it; nested dictionaries are joined by dots.
    pub name: String,
    /// Extents, outermost first; empty for a single number.
    pub shape: Vec<usize>,
    /// Element type in the file.
    pub dtype: DType,
    /// Values in row-major order, as many as the product of `shape`.
    pub data: TensorData,
}

impl NamedTensor {
    /// BLAKE3 hash (64 hexadecimal digits) of name, shape, stored type and values.
    pub fn content_hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        self.update_hash(&mut hasher);
        hasher.finalize().to_hex().to_string()
    }

    /// Feeds the tensor to `hasher`; every part of varying length is preceded by its length, so that no two
    /// different tensors give the same bytes.
    fn update_hash(&self, hasher: &mut blake3::Hasher) {
        hasher.update(&(self.name.len() as u64).to_le_bytes());
        hasher.update(self.name.as_bytes());
        hasher.update(&(self.shape.len() as u64).to_le_bytes());
        for &extent in &self.shape {
            hasher.update(&(extent as u64).to_le_bytes());
        }
        hasher.update(&[self.dtype as u8]);
        match &self.data {
            TensorData::F32(values) => {
                update_in_blocks(hasher, values, |value| value.to_bits().to_le_bytes());
            }
            TensorData::I64(values) => update_in_blocks(hasher, values, i64::to_le_bytes),
            TensorData::Bool(values) => update_in_blocks(hasher, values, |v| [u8::from(v)]),
        }
    }
}

/// Hashes values through a small buffer: BLAKE3 is many times faster on kilobytes than on single values.
fn update_in_blocks<T: Copy, const N: usize>(
    hasher: &mut blake3::Hasher,
    values: &[T],
    to_bytes: impl Fn(T) -> [u8; N],
) {
    let mut block = Vec::with_capacity(4096 * N);
    for chunk in values.chunks(4096) {
        block.clear();
        for &value in chunk {
            block.extend_from_slice(&to_bytes(value));
        }
        hasher.update(&block);
    }
}

/// One array of an `.npz` or `.npy` file with all its digits: series of measurements, not weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Name of the entry without `.npy`, or of the file.
    pub name: String,
    /// Extents, outermost first; empty for a single number.
    pub shape: Vec<usize>,
    /// Values in row-major order, as many as the product of `shape`. Integers beyond 2⁵³ are rounded.
    pub values: Vec<f64>,
}

/// Values of a tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    /// Floating point. Wider types are rounded to nearest, so a finite `f64` beyond the range of `f32` becomes
    /// infinite, which [`check_finite`](crate::check_finite) reports.
    F32(Vec<f32>),
    /// Integers of any width.
    I64(Vec<i64>),
    /// Truth values, such as attention masks.
    Bool(Vec<bool>),
}

impl TensorData {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::I64(values) => values.len(),
            Self::Bool(values) => values.len(),
        }
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values if they are floating point.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match self {
            Self::F32(values) => Some(values),
            Self::I64(_) | Self::Bool(_) => None,
        }
    }

    /// The values if they are integers.
    pub fn as_i64(&self) -> Option<&[i64]> {
        match self {
            Self::I64(values) => Some(values),
            Self::F32(_) | Self::Bool(_) => None,
        }
    }
}

/// Element type as stored in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// IEEE double precision.
    F64,
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a single: eight bits of exponent, seven of fraction.
    Bf16,
    /// Signed, 64 bits.
    I64,
    /// Signed, 32 bits.
    I32,
    /// Signed, 16 bits.
    I16,
    /// Signed, 8 bits.
    I8,
    /// Unsigned, 64 bits.
    U64,
    /// Unsigned, 32 bits.
    U32,
    /// Unsigned, 16 bits.
    U16,
    /// Unsigned, 8 bits.
    U8,
    /// One byte, zero or not.
    Bool,
}

impl DType {
    /// Size of one element in bytes.
    pub fn n_bytes(self) -> usize {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::I64 => "i64",
            Self::I32 => "i32",
            Self::I16 => "i16",
            Self::I8 => "i8",
            Self::U64 => "u64",
            Self::U32 => "u32",
            Self::U16 => "u16",
            Self::U8 => "u8",
            Self::Bool => "bool",
        })
    }
}

/// Format of a weight file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileFormat {
    /// A `.safetensors` file.
    Safetensors,
    /// What `torch.save` writes since PyTorch 1.6.
    PytorchZip,
    /// What `torch.save` wrote from 0.1.10 to 1.5, and still does on request.
    PytorchLegacy,
    /// What `numpy.savez` and `savez_compressed` write.
    Npz,
    /// What `numpy.save` writes: one array, here named after the file.
    Npy,
}

impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Safetensors => "safetensors",
            Self::PytorchZip => "PyTorch (zip)",
            Self::PytorchLegacy => "PyTorch (legacy)",
            Self::Npz => "npz",
            Self::Npy => "npy",
        })
    }
}

/// A plain number of a PyTorch checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scalar {
    /// Dotted path through the checkpoint's dictionaries.
    pub name: String,
    /// Its value.
    pub value: ScalarValue,
}

/// Value of a plain number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ScalarValue {
    /// A Python `int`.
    Int(i64),
    /// A Python `float`; it may be non-finite.
    Float(f64),
    /// A Python `bool`.
    Bool(bool),
}

/// An entry of a file that was left alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unread {
    /// Its name in the file.
    pub name: String,
    /// Why it was not read.
    pub reason: String,
}
