//! The decoder-only transformer, with the parameter and activation names and the layouts of TransformerLens.

use ontogeny_graph::{Graph, Node};
use serde::{Deserialize, Serialize};

use super::{Activation, Start};
use crate::{Read, SettingError};

/// Settings of a decoder-only transformer.
///
/// With V the vocabulary, d = `d_model`, h = `heads`, e = `d_head`, m = `d_mlp`, the parameters are `embed.W_E` `[V, d]`,
/// `pos_embed.W_pos` `[context, d]`, `blocks.L.attn.W_Q`, `W_K`, `W_V` `[h, d, e]`, `W_O` `[h, e, d]`, `b_Q`, `b_K`, `b_V`
/// `[h, e]`, `b_O` `[d]`, `blocks.L.ln1.w`, `b` and `ln2` `[d]`, `blocks.L.mlp.W_in` `[d, m]`, `b_in` `[m]`, `W_out` `[m, d]`,
/// `b_out` `[d]`, `ln_final.w`, `b` `[d]`, `unembed.W_U` `[d, V]`, `b_U` `[V]`; those that the settings leave out do not exist.
///
/// Activations have TransformerLens's hook names and shapes, except that what follows the last block is built for the
/// last position only when the task reads no other.
///
/// Weights start as in "Progress measures for grokking via mechanistic interpretability" (Nanda et al. 2023): matrices
/// normal with standard deviation 1/√d, the unembedding 1/√V, biases 0, norm weights 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches, each a key of the run file")]
pub struct TransformerConfig {
    /// Number of blocks; 0 leaves embedding and unembedding.
    pub layers: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Attention heads of a block.
    pub heads: usize,
    /// Width of a head; `d_model / heads` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub d_head: Option<usize>,
    /// Neurons of an MLP; required unless `attention_only`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub d_mlp: Option<usize>,
    /// Nonlinearity of the MLPs; required unless `attention_only`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<Activation>,
    /// Normalisation before attention, MLP and unembedding.
    pub normalization: Normalization,
    /// Added to the variance or the mean square.
    #[serde(default = "default_eps")]
    pub norm_eps: f64,
    /// Position information.
    pub positions: Positions,
    /// Positions that `W_pos` has rows for; the length of the task's sequences unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<usize>,
    /// Blocks without MLPs.
    #[serde(default)]
    pub attention_only: bool,
    /// The unembedding is the transposed embedding.
    #[serde(default)]
    pub tied_unembed: bool,
    /// `b_Q`, `b_K`, `b_V`, `b_O`; off unless asked for, as in Nanda et al. 2023.
    #[serde(default)]
    pub attention_biases: bool,
    /// `b_in`, `b_out`; on unless switched off.
    #[serde(default = "yes")]
    pub mlp_biases: bool,
    /// `b_U`; off unless asked for.
    #[serde(default)]
    pub unembed_bias: bool,
}

/// Far beyond any network; a slip of the keyboard would otherwise build graphs until memory ends.
const MAX_LAYERS: usize = 1000;

fn yes() -> bool {
    true
}

fn default_eps() -> f64 {
    1e-5
}

/// Normalisation of the residual stream where a component reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalization {
    /// None.
    None,
    /// Centre, divide by the standard deviation, scale and shift (Ba et al. 2016).
    LayerNorm,
    /// Divide by the root mean square and scale (Zhang & Sennrich 2019).
    RmsNorm,
}

/// How positions enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// Not at all; only the causal mask tells them apart.
    None,
    /// A learned vector for each, added to the embedding.
    Learned,
}

impl TransformerConfig {
    /// Width of one head.
    pub fn head_width(&self) -> usize {
        self.d_head.unwrap_or(self.d_model / self.heads.max(1))
    }

    /// Checks the settings against the length of the task's sequences.
    pub(crate) fn check(&self, length: usize) -> Result<(), SettingError> {
        let wrong = |key, found: String, expected: &str| Err(SettingError::new("network", key, found, expected));
        let at_least_one = [
            ("d_model", Some(self.d_model)),
            ("heads", Some(self.heads)),
            ("d_head", self.d_head),
            ("d_mlp", self.d_mlp),
            ("context", self.context),
        ];
        for (key, value) in at_least_one {
            if value == Some(0) {
                return wrong(key, "0".to_owned(), "at least 1");
            }
        }
        if self.layers > MAX_LAYERS {
            return wrong("layers", self.layers.to_string(), &format!("at most {MAX_LAYERS}"));
        }
        if self.d_head.is_none() && !self.d_model.is_multiple_of(self.heads) {
            let expected = format!("a divisor of d_model = {}, or d_head beside it", self.d_model);
            return wrong("heads", self.heads.to_string(), &expected);
        }
        match (self.attention_only, self.d_mlp, self.activation) {
            (true, Some(n), _) => {
                let expected = "nothing, because attention_only = true leaves no MLP";
                return wrong("d_mlp", n.to_string(), expected);
            }
            (true, None, Some(_)) => {
                let expected = "nothing, because attention_only = true leaves no MLP";
                return wrong("activation", "given".to_owned(), expected);
            }
            (false, None, _) => {
                let expected = "the number of neurons of an MLP, or attention_only = true";
                return wrong("d_mlp", "missing".to_owned(), expected);
            }
            (false, Some(_), None) => {
                let expected = "`relu`, `gelu`, `gelu_tanh`, `solu`, `tanh` or `identity`";
                return wrong("activation", "missing".to_owned(), expected);
            }
            (true, None, None) | (false, Some(_), Some(_)) => {}
        }
        if !(self.norm_eps.is_finite() && self.norm_eps >= 0.0) {
            return wrong("norm_eps", self.norm_eps.to_string(), "a finite number, at least 0");
        }
        match self.context {
            Some(context) if context < length => {
                let expected = format!("at least {length}, the length of the task's sequences");
                wrong("context", context.to_string(), &expected)
            }
            _ => Ok(()),
        }
    }

    /// Logits of `tokens` `[batch, length]`: `[batch, classes]` at the last position, or `[batch, length, vocabulary]`.
    pub(crate) fn build(&self, g: &mut Graph, tokens: Node, vocabulary: usize, read: Read) -> Node {
        let length = g.shape(tokens)[1];
        let table = g.param("embed.W_E", &[vocabulary, self.d_model]);
        let embed = g.gather(table, tokens);
        let mut x = self.residual_stream(g, embed);
        // Logits that no loss reads do not exist, so that nobody takes them for predictions.
        let (labels, n_logits) = match read {
            Read::LastPosition { classes } => {
                x = g.select_index(x, 1, length - 1);
                ("bd,dv->bv", classes)
            }
            Read::Tokens { .. } => ("btd,dv->btv", vocabulary),
        };
        let x = self.normalize(g, x, "ln_final");
        let unembed =
            if self.tied_unembed { g.transpose(table) } else { g.param("unembed.W_U", &[self.d_model, vocabulary]) };
        // Tokens that are never an answer, such as `=`, have logits that no loss reads.
        let unembed = g.slice(unembed, 1, 0, n_logits);
        let logits = g.einsum(labels, x, unembed);
        if !self.unembed_bias {
            return logits;
        }
        let bias = g.param("unembed.b_U", &[vocabulary]);
        let bias = g.slice(bias, 0, 0, n_logits);
        g.add(logits, bias)
    }

    /// Predictions `[batch, pairs]` of `y` `[batch, pairs]` from `x` `[batch, pairs, dimension]`, each from its own x and
    /// the pairs before it. The sequence is x₁, y₁, x₂, y₂, … without the last y, as vectors of dimension + 1: (0, x) and
    /// (y, 0, …, 0) (Garg et al. 2022; Raventós et al. 2023). `embed.W_E` is `[dimension + 1, d]`, `unembed.W_U` `[d, 1]`.
    pub(crate) fn build_pairs(&self, g: &mut Graph, x: Node, y: Node) -> Node {
        let [batch, pairs, dimension] = g.shape(x).try_into().expect("the interface declares three axes");
        let questions = g.pad(x, 2, 1, 0);
        let answers = g.keep_axes(y, &[2]);
        let answers = g.pad(answers, 2, 0, dimension);
        let [questions, answers] = [questions, answers].map(|part| g.reshape(part, &[batch, pairs, 1, dimension + 1]));
        let sequence = g.concat(&[questions, answers], 2);
        let sequence = g.reshape(sequence, &[batch, 2 * pairs, dimension + 1]);
        let sequence = g.slice(sequence, 1, 0, 2 * pairs - 1);
        let table = g.param("embed.W_E", &[dimension + 1, self.d_model]);
        let embed = g.matmul(sequence, table);
        let x = self.residual_stream(g, embed);
        // Questions stand at the even positions.
        let x = g.pad(x, 1, 0, 1);
        let x = g.reshape(x, &[batch, pairs, 2, self.d_model]);
        let x = g.select_index(x, 2, 0);
        let x = self.normalize(g, x, "ln_final");
        let unembed = g.param("unembed.W_U", &[self.d_model, 1]);
        let predictions = g.matmul(x, unembed);
        let predictions = g.reshape(predictions, &[batch, pairs]);
        if !self.unembed_bias {
            return predictions;
        }
        let bias = g.param("unembed.b_U", &[1]);
        g.add(predictions, bias)
    }

    /// The residual stream `[batch, length, d]` after the last block, from the embedded sequence.
    fn residual_stream(&self, g: &mut Graph, embed: Node) -> Node {
        let (batch, length) = (g.shape(embed)[0], g.shape(embed)[1]);
        let mut x = g.named(embed, "hook_embed");
        if self.positions == Positions::Learned {
            let context = self.context.unwrap_or(length);
            let all = g.param("pos_embed.W_pos", &[context, self.d_model]);
            let used = g.slice(all, 0, 0, length);
            let used = g.broadcast(used, &[batch, length, self.d_model]);
            let used = g.named(used, "hook_pos_embed");
            x = g.add(x, used);
        }
        for layer in 0..self.layers {
            x = self.block(g, x, &format!("blocks.{layer}"));
        }
        x
    }

    /// One block of the residual stream `x` `[batch, length, d]`.
    fn block(&self, g: &mut Graph, x: Node, name: &str) -> Node {
        let x = g.named(x, &format!("{name}.hook_resid_pre"));
        let read = self.normalize(g, x, &format!("{name}.ln1"));
        let out = self.attention(g, read, &format!("{name}.attn"));
        let out = g.named(out, &format!("{name}.hook_attn_out"));
        let mut x = g.add(x, out);
        if let (false, Some(d_mlp), Some(activation)) = (self.attention_only, self.d_mlp, self.activation) {
            x = g.named(x, &format!("{name}.hook_resid_mid"));
            let read = self.normalize(g, x, &format!("{name}.ln2"));
            let out = self.mlp(g, read, &format!("{name}.mlp"), d_mlp, activation);
            let out = g.named(out, &format!("{name}.hook_mlp_out"));
            x = g.add(x, out);
        }
        g.named(x, &format!("{name}.hook_resid_post"))
    }

    fn attention(&self, g: &mut Graph, x: Node, name: &str) -> Node {
        let (d, h, e) = (self.d_model, self.heads, self.head_width());
        let weights = ["W_Q", "W_K", "W_V"].map(|w| g.param(&format!("{name}.{w}"), &[h, d, e]));
        let w_out = g.param(&format!("{name}.W_O"), &[h, e, d]);
        let biases = self.attention_biases.then(|| {
            let inner = ["b_Q", "b_K", "b_V"].map(|b| g.param(&format!("{name}.{b}"), &[h, e]));
            (inner, g.param(&format!("{name}.b_O"), &[d]))
        });
        let mut project = |which: usize, hook: &str| {
            let mut y = g.einsum("btd,hde->bthe", x, weights[which]);
            if let Some((inner, _)) = biases {
                y = g.add(y, inner[which]);
            }
            g.named(y, &format!("{name}.{hook}"))
        };
        let q = project(0, "hook_q");
        let k = project(1, "hook_k");
        let v = project(2, "hook_v");
        let scores = g.einsum("bqhe,bkhe->bhqk", q, k);
        let scores = g.scale(scores, 1.0 / (e as f64).sqrt());
        let scores = g.causal_mask(scores);
        let scores = g.named(scores, &format!("{name}.hook_attn_scores"));
        let pattern = g.softmax(scores);
        let pattern = g.named(pattern, &format!("{name}.hook_pattern"));
        let z = g.einsum("bhqk,bkhe->bqhe", pattern, v);
        let z = g.named(z, &format!("{name}.hook_z"));
        let out = g.einsum("bqhe,hed->bqd", z, w_out);
        match biases {
            Some((_, b_out)) => g.add(out, b_out),
            None => out,
        }
    }

    fn mlp(&self, g: &mut Graph, x: Node, name: &str, d_mlp: usize, activation: Activation) -> Node {
        let w_in = g.param(&format!("{name}.W_in"), &[self.d_model, d_mlp]);
        let mut pre = g.matmul(x, w_in);
        if self.mlp_biases {
            let b_in = g.param(&format!("{name}.b_in"), &[d_mlp]);
            pre = g.add(pre, b_in);
        }
        let pre = g.named(pre, &format!("{name}.hook_pre"));
        let post = activation.apply(g, pre);
        let post = g.named(post, &format!("{name}.hook_post"));
        let w_out = g.param(&format!("{name}.W_out"), &[d_mlp, self.d_model]);
        let out = g.matmul(post, w_out);
        if !self.mlp_biases {
            return out;
        }
        let b_out = g.param(&format!("{name}.b_out"), &[self.d_model]);
        g.add(out, b_out)
    }

    /// The norm `name`. As in TransformerLens, `hook_normalized` holds a layer norm's result after scale and shift,
    /// an RMS norm's before its scale.
    fn normalize(&self, g: &mut Graph, x: Node, name: &str) -> Node {
        if self.normalization == Normalization::None {
            return x;
        }
        let last = g.shape(x).len() - 1;
        let weight = g.param(&format!("{name}.w"), &[self.d_model]);
        let centred = if self.normalization == Normalization::LayerNorm {
            let mean = g.mean(x, &[last]);
            let mean = g.keep_axes(mean, &[last]);
            g.sub(x, mean)
        } else {
            x
        };
        let square = g.square(centred);
        let mean_square = g.mean(square, &[last]);
        let mean_square = g.keep_axes(mean_square, &[last]);
        let eps = g.constant(self.norm_eps);
        let shifted = g.add(mean_square, eps);
        let scale = g.sqrt(shifted);
        let scale = g.named(scale, &format!("{name}.hook_scale"));
        let inverse = g.recip(scale);
        let normalized = g.mul(centred, inverse);
        let hook = format!("{name}.hook_normalized");
        if self.normalization == Normalization::RmsNorm {
            let normalized = g.named(normalized, &hook);
            return g.mul(normalized, weight);
        }
        let bias = g.param(&format!("{name}.b"), &[self.d_model]);
        let scaled = g.mul(normalized, weight);
        let shifted = g.add(scaled, bias);
        g.named(shifted, &hook)
    }

    /// How the parameter `name` starts.
    pub(crate) fn start(&self, name: &str, vocabulary: usize) -> Start {
        let kind = name.rsplit('.').next().unwrap_or(name);
        match kind {
            "w" => Start::Constant(1.0),
            _ if kind.starts_with('b') => Start::Constant(0.0),
            "W_U" => Start::Normal(1.0 / (vocabulary as f64).sqrt()),
            _ => Start::Normal(1.0 / (self.d_model as f64).sqrt()),
        }
    }
}
