//! The `.bin` files of llama2.c (Karpathy 2023), version 0: seven integers, then all weights in single precision.

use std::io::Read;
use std::path::Path;

use super::hugging_face::plain;
use crate::{Activation, Normalization, Positions, ReadError, TransformerConfig, WeightTensor};

const HEADER_BYTES: usize = 28;

/// First integer of the later versions, `ak42`.
const MAGIC: i32 = 0x616b_3432;

/// The sizes that a file begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    dim: usize,
    hidden: usize,
    layers: usize,
    heads: usize,
    key_value_heads: usize,
    vocabulary: usize,
    /// The unembedding is the embedding: the file has the size of the vocabulary as a positive number.
    is_tied: bool,
    context: usize,
}

impl Header {
    /// Reads and checks the header against the length of the file.
    pub(super) fn read(path: &Path) -> Result<Self, ReadError> {
        let io = |source| ReadError::Io { path: path.to_owned(), source };
        let metadata = fs_err::metadata(path).map_err(io)?;
        if !metadata.is_file() {
            return Err(ReadError::NotAFile { path: path.to_owned() });
        }
        let mut bytes = Vec::new();
        let file = fs_err::File::open(path).map_err(io)?;
        file.take(HEADER_BYTES as u64).read_to_end(&mut bytes).map_err(io)?;
        let header = Self::parse(&bytes).map_err(|reason| ReadError::Damaged { path: path.to_owned(), reason })?;
        let (expected, found) = (header.file_bytes(), u128::from(metadata.len()));
        if expected != found {
            let reason = format!(
                "its llama2.c header ({header}) asks for {expected} bytes, found {found}; it may have been truncated, or be of another kind"
            );
            return Err(ReadError::Damaged { path: path.to_owned(), reason });
        }
        Ok(header)
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let numbers: Vec<i32> =
            bytes.chunks_exact(4).map(|four| i32::from_le_bytes(four.try_into().expect("chunks of four"))).collect();
        if numbers.first() == Some(&MAGIC) {
            let version = numbers.get(1).copied().unwrap_or(0);
            return Err(format!(
                "it is of llama2.c's version {version}, expected version 0; export it with `export.py --version 0`"
            ));
        }
        let &[dim, hidden, layers, heads, key_value_heads, vocabulary, context] = numbers.as_slice() else {
            return Err(format!(
                "it has {} bytes, expected at least the {HEADER_BYTES} of a llama2.c header",
                bytes.len()
            ));
        };
        let size = |name: &str, n: i32| match usize::try_from(n) {
            Ok(n) if (1..=1 << 24).contains(&n) => Ok(n),
            _ => Err(format!("its llama2.c header says {name} = {n}, expected 1 to {}", 1 << 24)),
        };
        let header = Self {
            dim: size("dim", dim)?,
            hidden: size("hidden_dim", hidden)?,
            layers: size("n_layers", layers)?,
            heads: size("n_heads", heads)?,
            key_value_heads: size("n_kv_heads", key_value_heads)?,
            vocabulary: size("vocab_size", vocabulary.checked_abs().unwrap_or(0))?,
            is_tied: vocabulary > 0,
            context: size("seq_len", context)?,
        };
        let width = header.dim / header.heads;
        if width * header.heads != header.dim
            || !width.is_multiple_of(2)
            || !header.heads.is_multiple_of(header.key_value_heads)
        {
            return Err(format!(
                "its llama2.c header says {header}, expected heads of an even width that divide dim, and n_kv_heads to divide n_heads"
            ));
        }
        Ok(header)
    }

    pub(super) fn network(self) -> TransformerConfig {
        TransformerConfig {
            d_mlp: Some(self.hidden),
            activation: Some(Activation::Silu),
            key_value_heads: (self.key_value_heads < self.heads).then_some(self.key_value_heads),
            gated_mlp: true,
            normalization: Normalization::RmsNorm,
            // Both as in llama2.c's own forward pass.
            norm_eps: 1e-5,
            positions: Positions::Rotary,
            tied_unembed: self.is_tied,
            mlp_biases: false,
            ..plain(self.layers, self.dim, self.heads, self.vocabulary)
        }
    }

    fn head_width(self) -> usize {
        self.dim / self.heads
    }

    /// Of keys, and of values.
    fn kv_dim(self) -> usize {
        self.head_width() * self.key_value_heads
    }

    /// Cosines and sines of all positions, which llama2.c no longer reads.
    fn table_values(self) -> usize {
        self.context * self.head_width()
    }

    fn file_bytes(self) -> u128 {
        let [dim, hidden, kv, vocabulary] = [self.dim, self.hidden, self.kv_dim(), self.vocabulary].map(|n| n as u128);
        let block = 2 * dim + 2 * dim * dim + 2 * dim * kv + 3 * dim * hidden;
        let embeddings = vocabulary * dim * if self.is_tied { 1 } else { 2 };
        let values = embeddings + self.layers as u128 * block + dim + self.table_values() as u128;
        HEADER_BYTES as u128 + 4 * values
    }
}

impl std::fmt::Display for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { dim, hidden, layers, heads, key_value_heads, vocabulary, context, .. } = self;
        write!(
            f,
            "dim {dim}, hidden_dim {hidden}, n_layers {layers}, n_heads {heads}, n_kv_heads {key_value_heads}, vocab_size \
             {vocabulary}, seq_len {context}"
        )
    }
}

/// Reads all weights. The file has each kind of weight for all blocks, then the next kind; matrices are `[outputs, inputs]`.
pub(super) fn read(path: &Path) -> Result<Vec<WeightTensor>, ReadError> {
    let header = Header::read(path)?;
    let bytes = fs_err::read(path).map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
    let mut rest = Values { path, bytes: bytes.get(HEADER_BYTES..).unwrap_or_default() };
    let Header { dim, hidden, layers, heads, key_value_heads, vocabulary, .. } = header;
    let width = header.head_width();
    let mut weights = Vec::new();
    let mut put =
        |name: String, shape: Vec<usize>, values: Vec<f32>| weights.push(WeightTensor { name, shape, values });
    let prefix = if key_value_heads < heads { "_" } else { "" };
    let block = |layer: usize, name: &str| format!("blocks.{layer}.{name}");

    put("embed.W_E".to_owned(), vec![vocabulary, dim], rest.take(vocabulary * dim)?);
    for layer in 0..layers {
        put(block(layer, "ln1.w"), vec![dim], rest.take(dim)?);
    }
    let projections = [("attn.W_Q".to_owned(), heads, true), (format!("attn.{prefix}W_K"), key_value_heads, true)];
    for (name, n, turns) in projections.into_iter().chain([(format!("attn.{prefix}W_V"), key_value_heads, false)]) {
        for layer in 0..layers {
            let rows = rest.take(n * width * dim)?;
            put(block(layer, &name), vec![n, dim, width], of_heads(&rows, n, width, dim, turns));
        }
    }
    for layer in 0..layers {
        let rows = rest.take(dim * dim)?;
        put(block(layer, "attn.W_O"), vec![heads, width, dim], transposed(&rows, dim, dim));
    }
    for layer in 0..layers {
        put(block(layer, "ln2.w"), vec![dim], rest.take(dim)?);
    }
    for (name, outputs, inputs) in [("mlp.W_gate", hidden, dim), ("mlp.W_out", dim, hidden), ("mlp.W_in", hidden, dim)]
    {
        for layer in 0..layers {
            let rows = rest.take(outputs * inputs)?;
            put(block(layer, name), vec![inputs, outputs], transposed(&rows, outputs, inputs));
        }
    }
    put("ln_final.w".to_owned(), vec![dim], rest.take(dim)?);
    rest.take(header.table_values())?;
    if !header.is_tied {
        let rows = rest.take(vocabulary * dim)?;
        put("unembed.W_U".to_owned(), vec![dim, vocabulary], transposed(&rows, vocabulary, dim));
    }
    weights.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(weights)
}

/// What has not been taken yet.
struct Values<'a> {
    path: &'a Path,
    bytes: &'a [u8],
}

impl Values<'_> {
    fn take(&mut self, n: usize) -> Result<Vec<f32>, ReadError> {
        // The length was checked; the file may have been cut since.
        let (taken, rest) = n.checked_mul(4).and_then(|n| self.bytes.split_at_checked(n)).ok_or_else(|| {
            let reason = "it ended while it was being read".to_owned();
            ReadError::Damaged { path: self.path.to_owned(), reason }
        })?;
        self.bytes = rest;
        Ok(taken.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().expect("chunks of four"))).collect())
    }
}

/// `[heads, d, d_head]` from rows `[heads·d_head, d]`. Of what turns, llama2.c pairs entries 2i and 2i + 1 of a head, and
/// networks here i and i + half: queries and keys change places alike, so that no score changes.
fn of_heads(rows: &[f32], heads: usize, width: usize, d: usize, turns: bool) -> Vec<f32> {
    let mut result = Vec::with_capacity(rows.len());
    let row_of = |entry: usize| match turns {
        true if entry < width / 2 => 2 * entry,
        true => 2 * (entry - width / 2) + 1,
        false => entry,
    };
    for head in 0..heads {
        for i in 0..d {
            result.extend((0..width).map(|entry| rows[(head * width + row_of(entry)) * d + i]));
        }
    }
    result
}

/// `[columns, rows]` from `[rows, columns]`.
fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut result = Vec::with_capacity(values.len());
    for column in 0..columns {
        result.extend((0..rows).map(|row| values[row * columns + column]));
    }
    result
}
