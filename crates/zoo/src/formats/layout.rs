//! From a file's names and layouts to the canonical ones, those of TransformerLens.
//!
//! With d the width of the residual stream, V the vocabulary, m the width of the MLP:
//! `embed.W_E` [V, d], `pos_embed.W_pos` [ctx, d], `blocks.L.attn.W_Q`, `W_K`, `W_V` [heads, d, d_head],
//! `W_O` [heads, d_head, d], `b_Q`, `b_K`, `b_V` [heads, d_head], `b_O` [d], `blocks.L.ln1.w`, `b` [d],
//! `blocks.L.mlp.W_in` [d, m], `b_in` [m], `W_out` [m, d], `b_out` [d], `ln_final.w`, `b` [d],
//! `unembed.W_U` [d, V], `b_U` [V].

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use strsim::jaro_winkler;

use super::match_shapes::ShapeDifferences;
use super::tensor::{NamedTensor, TensorFile};

/// Takes the weights out of `file` under their canonical names and in their canonical layouts, sorted by name.
///
/// First `names` chooses and renames tensors, then `layout` drops buffers (masks and the like) and turns each tensor
/// the canonical way round. Names that a network does not have are not noticed here but by
/// [`match_shapes`](crate::match_shapes).
///
/// # Errors
///
/// [`LayoutError`] if a prefix of `names` matches no tensor, two tensors get one name, a weight is not floating
/// point, or, for [`Layout::ProgressMeasures`], a name is unknown or a tensor has the wrong rank.
pub fn to_canonical(file: &TensorFile, layout: Layout, names: &NameMap) -> Result<Vec<WeightTensor>, LayoutError> {
    names.check_all_used(file)?;
    let renamed: Vec<(String, &NamedTensor)> =
        file.tensors.iter().filter_map(|tensor| Some((names.apply(&tensor.name)?, tensor))).collect();
    let mut weights = Vec::with_capacity(renamed.len());
    for (name, tensor) in &renamed {
        let turned = match layout {
            Layout::TransformerLens => (!is_buffer(name)).then(|| (name.clone(), Turn::Keep)),
            Layout::ProgressMeasures => progress_measures::turn(file, name, tensor, &renamed)?,
            Layout::Gpt2 | Layout::GptNeo | Layout::GptNeox | Layout::Llama | Layout::Llama2c => {
                return Err(LayoutError::OfAFamily { path: file.path.clone(), layout });
            }
        };
        let Some((name, turn)) = turned else { continue };
        let Some(values) = tensor.data.as_f32() else {
            return Err(LayoutError::NotFloat {
                path: file.path.clone(),
                tensor: tensor.name.clone(),
                dtype: tensor.dtype.to_string(),
            });
        };
        weights.push(turn.apply(name, &tensor.shape, values));
    }
    weights.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = weights.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(LayoutError::DuplicateName { path: file.path.clone(), name: pair[0].name.clone() });
    }
    Ok(weights)
}

/// A weight under its canonical name, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightTensor {
    /// Canonical name.
    pub name: String,
    /// Canonical extents, outermost first.
    pub shape: Vec<usize>,
    /// As many values as the product of `shape`.
    pub values: Vec<f32>,
}

/// How a file names its tensors and which way round they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// The canonical names and layouts; `mask`, `IGNORE`, `rotary_sin`, `rotary_cos` and `hook_*` are dropped.
    TransformerLens,
    /// The files of "Progress measures for grokking via mechanistic interpretability" (Nanda et al. 2023): every
    /// matrix transposed except `W_pos` and `W_U`; `W_Q`, `W_K`, `W_V` [heads, d_head, d]; `W_O` [d, heads·d_head];
    /// blocks called `attn_blocks.N` in the attention-only models. `mask` is dropped.
    ProgressMeasures,
    /// Hugging Face's GPT-2: `h.N.attn.c_attn.weight` and so on, with or without `transformer.` in front. The families have
    /// their weights through [`family_weights`](crate::family_weights).
    Gpt2,
    /// Hugging Face's GPT-Neo.
    GptNeo,
    /// Hugging Face's GPT-NeoX (Pythia).
    GptNeox,
    /// Hugging Face's Llama, Mistral and Qwen2.
    Llama,
    /// The `.bin` of llama2.c, which [`read_llama2c`](crate::read_llama2c) reads.
    Llama2c,
}

impl Layout {
    /// Guesses the layout from the rank of the attention output matrices, the one shape in which the two layouts
    /// cannot be confused: `W_O` has three axes in TransformerLens and two in the progress-measures files. Families of
    /// Hugging Face are known by the names of their queries.
    ///
    /// `None` if no tensor's name ends in `.attn.W_O`, or if they disagree; then the layout has to be given.
    pub fn detect(file: &TensorFile) -> Option<Self> {
        for (layout, sign) in [
            (Self::Gpt2, ".attn.c_attn.weight"),
            (Self::GptNeo, ".attn.attention.q_proj.weight"),
            (Self::GptNeox, ".attention.query_key_value.weight"),
            (Self::Llama, ".self_attn.q_proj.weight"),
        ] {
            if file.tensors.iter().any(|tensor| tensor.name.ends_with(sign)) {
                return Some(layout);
            }
        }
        let mut guesses = file.tensors.iter().filter(|tensor| tensor.name.ends_with(".attn.W_O")).map(|tensor| {
            match tensor.shape.len() {
                2 => Some(Self::ProgressMeasures),
                3 => Some(Self::TransformerLens),
                _ => None,
            }
        });
        let first = guesses.next()??;
        guesses.all(|guess| guess == Some(first)).then_some(first)
    }
}

/// Which tensors of a file to take, and under which names: `prefix → replacement`.
///
/// Each name takes part under the *longest* prefix that it begins with, which is replaced once; the order of the
/// pairs therefore does not matter. A name that begins with none of them is left out, so that
/// `"model_state_dict." → ""` alone also leaves the optimiser's state out. An empty prefix matches every name:
/// `"" → ""` keeps what the other pairs leave. A whole name can be a prefix. No pairs at all keep every name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameMap {
    /// Pairs sorted by falling length of the prefix, then by the prefix.
    pairs: Vec<(String, String)>,
}

impl NameMap {
    /// Builds a map from `(prefix, replacement)` pairs; the last of two with one prefix counts.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut sorted: Vec<(String, String)> = Vec::new();
        for (prefix, replacement) in pairs {
            sorted.retain(|(other, _)| *other != prefix);
            sorted.push((prefix, replacement));
        }
        sorted.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.0.cmp(&b.0)));
        Self { pairs: sorted }
    }

    /// The new name, or `None` if the tensor is left out.
    pub fn apply(&self, name: &str) -> Option<String> {
        if self.pairs.is_empty() {
            return Some(name.to_owned());
        }
        self.pairs
            .iter()
            .find_map(|(prefix, replacement)| Some(format!("{replacement}{}", name.strip_prefix(&**prefix)?)))
    }

    /// A prefix that no tensor has is a slip of the pen, and would end in a list of missing weights.
    pub(crate) fn check_all_used(&self, file: &TensorFile) -> Result<(), LayoutError> {
        for (prefix, _) in self.pairs.iter().filter(|(prefix, _)| !prefix.is_empty()) {
            if !file.tensors.iter().any(|tensor| tensor.name.starts_with(prefix)) {
                let names = file.tensors.iter().map(|tensor| tensor.name.as_str());
                return Err(LayoutError::UnusedPrefix {
                    path: file.path.clone(),
                    prefix: prefix.clone(),
                    nearest: nearest(prefix, names),
                });
            }
        }
        Ok(())
    }
}

/// Why a file's tensors are not the weights that are wanted.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// A prefix of the name map fits nothing.
    #[error("{}: no tensor's name begins with `{prefix}`{}", path.display(), hint(nearest.as_deref()))]
    UnusedPrefix {
        /// The file.
        path: PathBuf,
        /// The prefix.
        prefix: String,
        /// The tensor whose name resembles it most.
        nearest: Option<String>,
    },
    /// The layout knows no such tensor, so it cannot say which way round it is.
    #[error(
        "{}: tensor `{tensor}` is not one of the progress-measures layout; leave it out by a name map, or use the transformer_lens layout",
        path.display()
    )]
    UnknownName {
        /// The file.
        path: PathBuf,
        /// The tensor's name after the name map.
        tensor: String,
    },
    /// A tensor has a shape that its layout does not allow.
    #[error("{}: tensor `{tensor}` has shape {found:?}, expected {expected}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
        /// What was expected, in words.
        expected: String,
    },
    /// A weight of integers or truth values.
    #[error("{}: tensor `{tensor}` is of type {dtype}, expected floating point; leave it out by a name map if it is no weight", path.display())]
    NotFloat {
        /// The file.
        path: PathBuf,
        /// The tensor's name in the file.
        tensor: String,
        /// Its type in the file.
        dtype: String,
    },
    /// An unembedding that should be the embedding.
    #[error(
        "{}: `{tensor}` is not `{embedding}`, although the configuration ties them; set tie_word_embeddings = false in it if they \
         were trained apart",
        path.display()
    )]
    Untied {
        /// The file.
        path: PathBuf,
        /// The unembedding.
        tensor: String,
        /// The embedding.
        embedding: String,
    },
    /// A layout whose tensors are cut by the network's heads.
    #[error("{}: tensors of the layout {layout:?} are read for a network, whose heads say how they are cut", path.display())]
    OfAFamily {
        /// The file.
        path: PathBuf,
        /// The layout.
        layout: Layout,
    },
    /// Two tensors end up with one name.
    #[error("{}: two tensors become `{name}`; change the name map", path.display())]
    DuplicateName {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// A buffer that the network's file has with other values.
    #[error(
        "{}: the buffer `{buffer}` has other values than in {}; export the network from the model of these checkpoints",
        path.display(),
        network.display()
    )]
    OtherBuffer {
        /// The checkpoint.
        path: PathBuf,
        /// The buffer.
        buffer: String,
        /// The network's file.
        network: PathBuf,
    },
    /// A parameter that the network's file lacks and that no other one stands for.
    #[error(
        "{}: `{parameter}` {found}, and {} has no initialiser of this name: its exporter has merged tensors of equal values or \
         computed with them; {remedy}",
        path.display(),
        network.display()
    )]
    Merged {
        /// The checkpoint.
        path: PathBuf,
        /// The parameter.
        parameter: String,
        /// What the checkpoint has under this name.
        found: &'static str,
        /// The network's file.
        network: PathBuf,
        /// How to export it.
        remedy: &'static str,
    },
    /// The weights are those of another network.
    #[error("{} does not fit the network:{differences}", path.display())]
    OtherNetwork {
        /// The file.
        path: PathBuf,
        /// Everything that differs.
        differences: ShapeDifferences,
    },
}

/// The candidate most like `name`, if any is much like it.
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    candidates
        .map(|candidate| (jaro_winkler(name, candidate), candidate))
        .filter(|&(similarity, _)| similarity > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1)))
        .map(|(_, candidate)| candidate.to_owned())
}

/// The words that offer a nearest name.
pub(super) fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!(" (nearest: `{name}`)"))
}

/// Whether TransformerLens keeps a tensor of this name without training it.
fn is_buffer(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    matches!(last, "mask" | "IGNORE" | "rotary_sin" | "rotary_cos")
        || name.split('.').any(|part| part.starts_with("hook_"))
}

/// What to do to a tensor's axes.
enum Turn {
    Keep,
    /// Exchange the last two axes.
    SwapLastTwo,
    /// `[d, heads·d_head]` becomes `[heads, d_head, d]`.
    SplitHeads {
        n_heads: usize,
    },
}

impl Turn {
    fn apply(self, name: String, shape: &[usize], values: &[f32]) -> WeightTensor {
        match self {
            Self::Keep => WeightTensor { name, shape: shape.to_vec(), values: values.to_vec() },
            Self::SwapLastTwo => {
                let (outer, &[rows, columns]) = shape.split_last_chunk().expect("the layout checked the rank");
                let shape = [outer, &[columns, rows]].concat();
                WeightTensor { name, shape, values: swapped(values, rows, columns) }
            }
            Self::SplitHeads { n_heads } => {
                let &[d, wide] = shape else { unreachable!("the layout checked the rank") };
                WeightTensor { name, shape: vec![n_heads, wide / n_heads, d], values: swapped(values, d, wide) }
            }
        }
    }
}

/// Transposes each consecutive block of `rows × columns` values.
fn swapped(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut result = Vec::with_capacity(values.len());
    // An empty block would not be a chunk size; then there are no values either.
    for block in values.chunks_exact((rows * columns).max(1)) {
        for column in 0..columns {
            result.extend((0..rows).map(|row| block[row * columns + column]));
        }
    }
    result
}

/// The names and orientations of the progress-measures files.
mod progress_measures {
    use super::{LayoutError, NamedTensor, TensorFile, Turn};

    /// Canonical name and what to do; `None` for a buffer.
    pub(super) fn turn(
        file: &TensorFile,
        name: &str,
        tensor: &NamedTensor,
        all: &[(String, &NamedTensor)],
    ) -> Result<Option<(String, Turn)>, LayoutError> {
        let canonical = canonical_name(name);
        let (rank, turn) = match place(&canonical) {
            Place::Block("attn.mask") => return Ok(None),
            Place::Outside("embed.W_E") | Place::Block("mlp.W_in" | "mlp.W_out") => (2, Turn::SwapLastTwo),
            Place::Outside("pos_embed.W_pos" | "unembed.W_U") => (2, Turn::Keep),
            Place::Block("attn.W_Q" | "attn.W_K" | "attn.W_V") => (3, Turn::SwapLastTwo),
            Place::Block("attn.W_O") => {
                let n_heads = n_heads(file, name, tensor, all)?;
                (2, Turn::SplitHeads { n_heads })
            }
            Place::Block("mlp.b_in" | "mlp.b_out") => (1, Turn::Keep),
            Place::Outside(_) | Place::Block(_) => {
                return Err(LayoutError::UnknownName { path: file.path.clone(), tensor: name.to_owned() });
            }
        };
        if tensor.shape.len() != rank {
            return Err(shape_error(file, tensor, format!("{rank} axes")));
        }
        Ok(Some((canonical, turn)))
    }

    fn canonical_name(name: &str) -> String {
        name.strip_prefix("attn_blocks.").map_or_else(|| name.to_owned(), |rest| format!("blocks.{rest}"))
    }

    /// Where a tensor belongs, with the rest of its name.
    enum Place<'a> {
        Block(&'a str),
        Outside(&'a str),
    }

    fn place(canonical: &str) -> Place<'_> {
        let in_block = canonical
            .strip_prefix("blocks.")
            .and_then(|rest| rest.split_once('.'))
            .filter(|(number, _)| number.parse::<u32>().is_ok());
        in_block.map_or(Place::Outside(canonical), |(_, part)| Place::Block(part))
    }

    /// `W_O` does not show its heads, but `W_Q` of the same block does.
    fn n_heads(
        file: &TensorFile,
        name: &str,
        w_o: &NamedTensor,
        all: &[(String, &NamedTensor)],
    ) -> Result<usize, LayoutError> {
        let query_name = format!("{}W_Q", name.strip_suffix("W_O").unwrap_or(name));
        let query = all.iter().find(|(name, _)| *name == query_name).map(|(_, tensor)| tensor.shape.as_slice());
        let Some(&[n_heads, d_head, d]) = query else {
            return Err(shape_error(file, w_o, format!("`{query_name}` beside it, with three axes")));
        };
        let wide = n_heads.checked_mul(d_head).filter(|_| n_heads > 0);
        if wide.is_none_or(|wide| w_o.shape != [d, wide]) {
            let expected = format!("[{d}, {n_heads}·{d_head}] to go with `{query_name}` {:?}", [n_heads, d_head, d]);
            return Err(shape_error(file, w_o, expected));
        }
        Ok(n_heads)
    }

    fn shape_error(file: &TensorFile, tensor: &NamedTensor, expected: String) -> LayoutError {
        LayoutError::Shape {
            path: file.path.clone(),
            tensor: tensor.name.clone(),
            found: tensor.shape.clone(),
            expected,
        }
    }
}
