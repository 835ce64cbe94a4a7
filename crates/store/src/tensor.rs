//! Named f32 tensors, and the hash of their content.

/// A named, dense, row-major f32 tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Name, unique in its file.
    pub name: String,
    /// Extent of each dimension; empty for a scalar.
    pub shape: Vec<usize>,
    /// Row-major values, as many as the product of `shape`.
    pub values: Vec<f32>,
}

impl Tensor {
    /// A tensor; that `values` fit `shape` is checked when it is written.
    pub fn new(name: impl Into<String>, shape: Vec<usize>, values: Vec<f32>) -> Self {
        Self { name: name.into(), shape, values }
    }
}

/// Hash of names, shapes and bits of `tensors`, hexadecimal; the order of the tensors does not matter.
///
/// It is the same for the same tensors in any file format, which makes it the part of a [`crate::RecordKey`] that
/// stands for the checkpoint.
pub fn hash_tensors(tensors: &[Tensor]) -> String {
    let mut by_name: Vec<&Tensor> = tensors.iter().collect();
    by_name.sort_by(|a, b| a.name.cmp(&b.name));
    let mut hasher = blake3::Hasher::new();
    // Every part is preceded by its length, so that no two lists of tensors share one stream of bytes.
    let number = |hasher: &mut blake3::Hasher, n: usize| {
        hasher.update(&(n as u64).to_le_bytes());
    };
    number(&mut hasher, by_name.len());
    for tensor in by_name {
        number(&mut hasher, tensor.name.len());
        hasher.update(tensor.name.as_bytes());
        number(&mut hasher, tensor.shape.len());
        for &extent in &tensor.shape {
            number(&mut hasher, extent);
        }
        number(&mut hasher, tensor.values.len());
        for_each_block(&tensor.values, |bytes| {
            hasher.update(bytes);
        });
    }
    hasher.finalize().to_hex().to_string()
}

/// Calls `with` on the little-endian bytes of `values`, a block at a time.
pub(crate) fn for_each_block(values: &[f32], mut with: impl FnMut(&[u8])) {
    let mut bytes = [0_u8; 1 << 14];
    for block in values.chunks(bytes.len() / 4) {
        for (slot, value) in bytes.chunks_exact_mut(4).zip(block) {
            slot.copy_from_slice(&value.to_le_bytes());
        }
        with(&bytes[..block.len() * 4]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_sees_names_shapes_and_bits_but_not_the_order() {
        let base = [Tensor::new("a", vec![2], vec![1.0, 0.0]), Tensor::new("b", vec![], vec![2.0])];
        let hash = hash_tensors(&base);
        assert_eq!(hash, hash_tensors(&[base[1].clone(), base[0].clone()]));
        for changed in [
            vec![Tensor::new("c", vec![2], vec![1.0, 0.0]), base[1].clone()],
            vec![Tensor::new("a", vec![1, 2], vec![1.0, 0.0]), base[1].clone()],
            vec![Tensor::new("a", vec![2], vec![1.0, -0.0]), base[1].clone()],
            vec![base[0].clone()],
        ] {
            assert_ne!(hash, hash_tensors(&changed), "{changed:?}");
        }
    }
}
