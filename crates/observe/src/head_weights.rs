//! Matrices of attention heads as the residual stream sees them: what norms do to all tokens alike is taken into them.

use ontogeny_graph::{Graph, Node};
use ontogeny_zoo::{NetworkConfig, NormPosition, Normalization, TransformerConfig};

use crate::ObserveError;
use crate::sequences::not_defined;

/// Of the heads of one block, with d the width of the stream and e that of a head. A token's row x is multiplied from the left.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadMatrices {
    /// `[heads, d, e]`.
    pub(crate) query: Node,
    /// `[heads, d, e]`; heads that share keys have the same.
    pub(crate) key: Node,
    /// `[heads, d, e]`; likewise.
    pub(crate) value: Node,
    /// `[heads, e, d]`.
    pub(crate) output: Node,
}

/// The settings of a transformer.
///
/// # Errors
/// Another network.
pub(crate) fn transformer<'a>(
    network: &'a NetworkConfig,
    observable: &'static str,
) -> Result<&'a TransformerConfig, ObserveError> {
    match network {
        NetworkConfig::Transformer(config) => Ok(config),
        _ => Err(not_defined(observable, "a transformer, whose weights are known by name", "another network")),
    }
}

/// Whether a norm before what reads the stream takes each row's mean away, and whether it has weights. Norms behind the blocks act
/// on the stream itself and are in no matrix.
fn folded(config: &TransformerConfig) -> (bool, bool) {
    if config.norm_position == NormPosition::Post {
        return (false, false);
    }
    match config.normalization {
        Normalization::None | Normalization::RmsNormPre => (false, false),
        Normalization::RmsNorm => (false, true),
        Normalization::LayerNorm => (true, true),
        Normalization::LayerNormPre => (true, false),
    }
}

/// Whether only d − 1 directions of the stream are read and written: those without the mean.
pub(crate) fn is_centred(config: &TransformerConfig) -> bool {
    folded(config).0
}

/// What reads the stream through the norm `norm`: its weights on the rows of the matrix, and nothing of the mean (as in
/// TransformerLens with folded norms). The division by the scale, one number for each token, is left out, and biases are.
fn reading(
    g: &mut Graph,
    config: &TransformerConfig,
    matrix: Node,
    axis: usize,
    norm: &str,
) -> Result<Node, ObserveError> {
    let (is_centred, has_weights) = folded(config);
    let mut matrix = matrix;
    if has_weights {
        let weights = g.find(&format!("{norm}.w"))?;
        let width = g.shape(weights)[0];
        let mut shape = vec![1; g.shape(matrix).len()];
        shape[axis] = width;
        let weights = g.reshape(weights, &shape);
        matrix = g.mul(matrix, weights);
    }
    Ok(if is_centred { centred(g, matrix, axis) } else { matrix })
}

fn centred(g: &mut Graph, matrix: Node, axis: usize) -> Node {
    let mean = g.mean(matrix, &[axis]);
    let mean = g.keep_axes(mean, &[axis]);
    g.sub(matrix, mean)
}

/// The matrices of the heads of a block.
///
/// # Errors
/// A graph that is not of this network.
pub(crate) fn head_matrices(
    g: &mut Graph,
    config: &TransformerConfig,
    layer: usize,
) -> Result<HeadMatrices, ObserveError> {
    let prefix = if config.key_value_heads.is_some() { "_" } else { "" };
    let name = format!("blocks.{layer}");
    let read = |g: &mut Graph, which: &str| -> Result<Node, ObserveError> {
        let matrix = g.find(&format!("{name}.attn.{which}"))?;
        let matrix = reading(g, config, matrix, 1, &format!("{name}.ln1"))?;
        // Each shared matrix as often as heads read it: they are neighbours.
        let [n, d, e] = g.shape(matrix).try_into().expect("matrices of heads have three axes");
        let split = g.reshape(matrix, &[n, 1, d, e]);
        let repeated = g.broadcast(split, &[n, config.heads / n, d, e]);
        Ok(g.reshape(repeated, &[config.heads, d, e]))
    };
    let query = read(g, "W_Q")?;
    let key = read(g, &format!("{prefix}W_K"))?;
    let value = read(g, &format!("{prefix}W_V"))?;
    let output = g.find(&format!("{name}.attn.W_O"))?;
    // Nobody reads the mean of what a head writes.
    let output = if is_centred(config) { centred(g, output, 2) } else { output };
    Ok(HeadMatrices { query, key, value, output })
}

/// The embedding `[n, d]` of the first `n` tokens.
///
/// # Errors
/// A graph that is not of this network.
pub(crate) fn embedding(g: &mut Graph, n: usize) -> Result<Node, ObserveError> {
    let table = g.find("embed.W_E")?;
    Ok(g.slice(table, 0, 0, n))
}

/// The unembedding `[d, n]` to the logits of the first `n` tokens.
///
/// # Errors
/// A graph that is not of this network.
pub(crate) fn unembedding(g: &mut Graph, config: &TransformerConfig, n: usize) -> Result<Node, ObserveError> {
    let matrix = if config.tied_unembed {
        let table = g.find("embed.W_E")?;
        g.transpose(table)
    } else {
        g.find("unembed.W_U")?
    };
    let matrix = g.slice(matrix, 1, 0, n);
    reading(g, config, matrix, 0, "ln_final")
}
