//! From the tensors of a checkpoint to the parameters of a network, each of which is a strided view of one of them.

use std::collections::{BTreeMap, BTreeSet};

use ontogeny_graph::ParamSpace;

use super::tensor_names::{Place, is_buffer, without_prefix};
use super::{gpt_neo, gpt_neox, gpt2, llama};
use crate::formats::nearest;
use crate::{Layout, LayoutError, NameMap, NamedTensor, ShapeDifferences, ShapeMismatch, TensorFile, UnmatchedName};
use crate::{Model, WeightTensor};

/// Takes the parameters of `model` out of a checkpoint of one of Hugging Face's families, in the order of its space.
///
/// # Errors
/// [`LayoutError`] with every tensor that is missing, superfluous or of another shape, under the checkpoint's own names; or
/// for a weight that is not floating point, or an unembedding that should be the embedding and is not.
pub fn family_weights(
    file: &TensorFile,
    layout: Layout,
    names: &NameMap,
    model: &Model,
) -> Result<Vec<WeightTensor>, LayoutError> {
    let tensors = named(file, layout, names)?;
    let space = model.space();
    let mut differences = ShapeDifferences::default();
    let mut used = BTreeSet::new();
    let mut weights = Vec::with_capacity(space.iter().count());
    for param in space.iter() {
        let source = match (layout, Place::of(&param.name)) {
            (Layout::Gpt2, place) => gpt2::source(place, &param.shape),
            (Layout::GptNeo, place) => gpt_neo::source(place, &param.shape),
            (Layout::GptNeox, place) => gpt_neox::source(place, &param.shape),
            (Layout::Llama, place) => llama::source(place, &param.shape),
            (Layout::TransformerLens | Layout::ProgressMeasures | Layout::Llama2c, _) => None,
        };
        let Some(source) = source else {
            let (name, shape) = (format!("{} (which {layout:?} does not have)", param.name), param.shape.clone());
            differences.missing.push(UnmatchedName { name, shape, nearest: None });
            continue;
        };
        used.insert(source.tensor.clone());
        match tensors.get(&source.tensor) {
            None => {
                let candidates = tensors.keys().map(String::as_str);
                let nearest = nearest(&source.tensor, candidates);
                differences.missing.push(UnmatchedName { name: source.tensor, shape: source.shape, nearest });
            }
            Some(tensor) if tensor.shape != source.shape => differences.wrong_shapes.push(ShapeMismatch {
                name: source.tensor,
                found: tensor.shape.clone(),
                expected: source.shape,
            }),
            Some(tensor) => {
                let values = source.gather(&param.shape, floats(file, tensor)?);
                weights.push(WeightTensor { name: param.name.clone(), shape: param.shape.clone(), values });
            }
        }
    }
    let mut tied = None;
    for (name, tensor) in &tensors {
        if used.contains(name) || is_buffer(layout, name) {
            continue;
        }
        if name == "lm_head.weight" && is_tied(space) {
            tied = Some(*tensor);
            continue;
        }
        differences.superfluous.push(UnmatchedName { name: name.clone(), shape: tensor.shape.clone(), nearest: None });
    }
    // A fused tensor of the wrong shape is looked at three times.
    differences.wrong_shapes.dedup();
    differences.missing.dedup();
    if !differences.is_empty() {
        return Err(LayoutError::OtherNetwork { path: file.path.clone(), differences });
    }
    if let Some(unembedding) = tied {
        check_tied(file, layout, &tensors, unembedding)?;
    }
    Ok(weights)
}

/// The tensors under their names without prefixes.
fn named<'a>(
    file: &'a TensorFile,
    layout: Layout,
    names: &NameMap,
) -> Result<BTreeMap<String, &'a NamedTensor>, LayoutError> {
    names.check_all_used(file)?;
    let mut tensors = BTreeMap::new();
    for tensor in &file.tensors {
        let Some(name) = names.apply(&tensor.name) else { continue };
        let name = without_prefix(layout, &name).to_owned();
        if tensors.insert(name.clone(), tensor).is_some() {
            return Err(LayoutError::DuplicateName { path: file.path.clone(), name });
        }
    }
    Ok(tensors)
}

fn floats<'a>(file: &TensorFile, tensor: &'a NamedTensor) -> Result<&'a [f32], LayoutError> {
    tensor.data.as_f32().ok_or_else(|| LayoutError::NotFloat {
        path: file.path.clone(),
        tensor: tensor.name.clone(),
        dtype: tensor.dtype.to_string(),
    })
}

fn is_tied(space: &ParamSpace) -> bool {
    space.iter().all(|param| param.name != "unembed.W_U")
}

/// An unembedding that is saved although it is the embedding must be the embedding.
fn check_tied(
    file: &TensorFile,
    layout: Layout,
    tensors: &BTreeMap<String, &NamedTensor>,
    unembedding: &NamedTensor,
) -> Result<(), LayoutError> {
    let embedding = match layout {
        Layout::Gpt2 | Layout::GptNeo => "wte.weight",
        Layout::GptNeox => "embed_in.weight",
        _ => "embed_tokens.weight",
    };
    let bits = |tensor: &NamedTensor| floats(file, tensor).map(|v| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>());
    match tensors.get(embedding) {
        Some(embedding) if bits(embedding)? != bits(unembedding)? => Err(LayoutError::Untied {
            path: file.path.clone(),
            tensor: unembedding.name.clone(),
            embedding: embedding.name.clone(),
        }),
        _ => Ok(()),
    }
}

/// Where the values of a parameter lie: entry (i, j, …) is entry offset + i·strides[0] + j·strides[1] + … of `tensor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    tensor: String,
    /// The shape that the tensor must have.
    shape: Vec<usize>,
    offset: usize,
    strides: Vec<usize>,
}

impl Source {
    /// The tensor as it is.
    pub(super) fn whole(tensor: impl Into<String>, shape: &[usize]) -> Self {
        Self { tensor: tensor.into(), shape: shape.to_vec(), offset: 0, strides: row_major(shape) }
    }

    /// A matrix `[inputs, outputs]` from one of `[outputs, inputs]`.
    pub(super) fn transposed(tensor: impl Into<String>, shape: &[usize]) -> Self {
        let (mut other, mut strides) = (shape.to_vec(), vec![1; shape.len()]);
        if let [rows, columns] = *shape {
            (other, strides) = (vec![columns, rows], vec![1, rows]);
        }
        Self { tensor: tensor.into(), shape: other, offset: 0, strides }
    }

    /// `[heads, d_head, …]` from `[heads·d_head, …]`.
    pub(super) fn joined(tensor: String, shape: &[usize]) -> Option<Self> {
        let (&[heads, width], rest) = shape.split_first_chunk()?;
        let joined = [&[heads * width], rest].concat();
        Some(Self { tensor, shape: joined, offset: 0, strides: row_major(shape) })
    }

    /// `W_O` `[heads, d_head, d]` from `[d, heads·d_head]`.
    pub(super) fn columns_of_heads(tensor: String, shape: &[usize]) -> Option<Self> {
        let &[heads, width, d] = shape else { return None };
        Some(Self { tensor, shape: vec![d, heads * width], offset: 0, strides: vec![width, 1, heads * width] })
    }

    /// `[heads, d_head]` from a third of `[3·heads·d_head]`.
    pub(super) fn third_of_bias(tensor: String, shape: &[usize], third: usize) -> Option<Self> {
        let &[heads, width] = shape else { return None };
        let of_all = heads * width;
        Some(Self { tensor, shape: vec![3 * of_all], offset: third * of_all, strides: vec![width, 1] })
    }

    /// `[heads, d_head]` from `[heads·3·d_head]`.
    pub(super) fn third_of_bias_by_head(tensor: String, shape: &[usize], third: usize) -> Option<Self> {
        let &[heads, width] = shape else { return None };
        Some(Self { tensor, shape: vec![3 * heads * width], offset: third * width, strides: vec![3 * width, 1] })
    }

    /// The values, row-major in `shape`; `values` must have the shape of the source.
    fn gather(&self, shape: &[usize], values: &[f32]) -> Vec<f32> {
        let n = shape.iter().product();
        if values.len() == n && self.strides == row_major(shape) {
            return values.to_vec();
        }
        let mut gathered = Vec::with_capacity(n);
        let (&last, outer) = shape.split_last().unwrap_or((&1, &[]));
        let step = self.strides.last().copied().unwrap_or(1);
        let mut index = vec![0; outer.len()];
        while gathered.len() < n {
            let start: usize =
                self.offset + index.iter().zip(&self.strides).map(|(i, stride)| i * stride).sum::<usize>();
            gathered.extend((0..last).map(|i| values[start + i * step]));
            for axis in (0..outer.len()).rev() {
                index[axis] += 1;
                if index[axis] < outer[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        gathered
    }
}

/// The extents of `W_Q`, `W_K` or `W_V` `[heads, d, d_head]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads {
    count: usize,
    d: usize,
    width: usize,
}

impl Heads {
    pub(super) fn of(shape: &[usize]) -> Option<Self> {
        let &[heads, d, width] = shape else { return None };
        Some(Self { count: heads, d, width })
    }

    /// From `[heads·d_head, d]`.
    pub(super) fn rows(self, tensor: String) -> Source {
        let Self { count: heads, d, width } = self;
        Source { tensor, shape: vec![heads * width, d], offset: 0, strides: vec![width * d, 1, d] }
    }

    /// From a third of the columns of `[d, 3·heads·d_head]`.
    pub(super) fn third_of_columns(self, tensor: String, third: usize) -> Source {
        let Self { count: heads, d, width } = self;
        let of_all = heads * width;
        Source { tensor, shape: vec![d, 3 * of_all], offset: third * of_all, strides: vec![width, 3 * of_all, 1] }
    }

    /// From a third of each head's rows of `[heads·3·d_head, d]`.
    pub(super) fn third_of_rows_by_head(self, tensor: String, third: usize) -> Source {
        let Self { count: heads, d, width } = self;
        Source {
            tensor,
            shape: vec![3 * heads * width, d],
            offset: third * width * d,
            strides: vec![3 * width * d, 1, d],
        }
    }
}

fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}
