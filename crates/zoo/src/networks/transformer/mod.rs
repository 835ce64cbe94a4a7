//! The decoder-only transformer, with the parameter and activation names and the layouts of TransformerLens.

mod blocks;
mod layers;

use ontogeny_graph::{Param, ParamSpace};
use serde::{Deserialize, Serialize};

use super::initialization::{Init, Initialization, Start};
use super::{Activation, is_default};
use crate::SettingError;

/// Settings of a decoder-only transformer.
///
/// With V the vocabulary, d = `d_model`, h = `heads`, e = `d_head`, m = `d_mlp`, the parameters are `embed.W_E` `[V, d]`,
/// `pos_embed.W_pos` `[context, d]`, `blocks.L.attn.W_Q`, `W_K`, `W_V` `[h, d, e]`, `W_O` `[h, e, d]`, `b_Q`, `b_K`, `b_V`
/// `[h, e]`, `b_O` `[d]`, `blocks.L.ln1.w`, `b` and `ln2` `[d]`, `blocks.L.mlp.W_in` `[d, m]`, `b_in` `[m]`, `W_out` `[m, d]`,
/// `b_out` `[d]`, `ln_final.w`, `b` `[d]`, `unembed.W_U` `[d, V]`, `b_U` `[V]`; those that the settings leave out do not exist.
/// Further ones are `mlp.W_gate` `[d, m]` (`gated_mlp`), `mlp.ln.w`, `b` `[m]` (`solu_ln`), and, with k = `key_value_heads`,
/// `_W_K`, `_W_V` `[k, d, e]`, `_b_K`, `_b_V` `[k, e]` in place of those without `_`.
///
/// Activations have TransformerLens's hook names and shapes, except that what follows the last block is built for the
/// last position only when the task reads no other.
///
/// Starts as `inverse_sqrt_d` unless `init` says otherwise, as in "Progress measures for grokking via mechanistic
/// interpretability" (Nanda et al. 2023): matrices normal with standard deviation 1/√d, the unembedding 1/√V, biases 0, norm
/// weights 1. The width of `width_power` is d.
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
    /// Heads of keys and values, each read by heads/`key_value_heads` neighbouring heads (Ainslie et al. 2023); `heads`
    /// unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_value_heads: Option<usize>,
    /// The MLP is (activation(x·`W_gate`) ⊙ x·`W_in` + `b_in`)·`W_out` + `b_out` (Shazeer 2020).
    #[serde(default, skip_serializing_if = "is_default")]
    pub gated_mlp: bool,
    /// Attention and MLP both read the stream before the block, each through a norm of its own (as GPT-NeoX).
    #[serde(default, skip_serializing_if = "is_default")]
    pub parallel_block: bool,
    /// Which normalisation.
    pub normalization: Normalization,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "is_default")]
    pub norm_position: NormPosition,
    /// Added to the variance or the mean square.
    #[serde(default = "default_eps")]
    pub norm_eps: f64,
    /// Position information.
    pub positions: Positions,
    /// Of `rotary`: pair i of a head turns by position · `rotary_base`^(−2i/e) radians; 10,000 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotary_base: Option<f64>,
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
    /// How the weights start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<Initialization>,
    /// Of `init = "scaled"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_scale: Option<f64>,
    /// Of `init = "width_power"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_gamma: Option<f64>,
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

/// Where normalisation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormPosition {
    /// Before attention, MLP and unembedding, on what they read.
    #[default]
    Pre,
    /// After each addition to the stream, on the stream itself, as in the first transformer (Vaswani et al. 2017): `ln1`
    /// follows attention, `ln2` the MLP, and there is no `ln_final`. Hooks are those of TransformerLens's `BertBlock`.
    Post,
}

/// How positions enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// Not at all; only the causal mask tells them apart.
    None,
    /// A learned vector for each, added to the embedding.
    Learned,
    /// A learned vector for each, added to what queries and keys are made of, in every block, and never to the stream
    /// (Press et al. 2021, as in TransformerLens).
    Shortformer,
    /// A fixed vector for each, added to the embedding: entries 2i and 2i + 1 are sine and cosine of
    /// position · 10000^(−2i/d) (Vaswani et al. 2017).
    Sinusoidal,
    /// Queries and keys turn with their position (Su et al. 2021), in the layout of GPT-NeoX.
    Rotary,
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
            ("key_value_heads", self.key_value_heads),
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
                return wrong("activation", "missing".to_owned(), Activation::ALL);
            }
            (true, None, None) | (false, Some(_), Some(_)) => {}
        }
        if !(self.norm_eps.is_finite() && self.norm_eps >= 0.0) {
            return wrong("norm_eps", self.norm_eps.to_string(), "a finite number, at least 0");
        }
        self.check_variants()?;
        self.init().check()?;
        match self.context {
            Some(context) if context < length => {
                let expected = format!("at least {length}, the length of the task's sequences");
                wrong("context", context.to_string(), &expected)
            }
            _ => Ok(()),
        }
    }

    /// Checks which variants go together.
    fn check_variants(&self) -> Result<(), SettingError> {
        let wrong = |key, found: &str, expected: &str| Err(SettingError::new("network", key, found, expected));
        if let Some(n) = self.key_value_heads
            && !self.heads.is_multiple_of(n)
        {
            return wrong("key_value_heads", &n.to_string(), &format!("a divisor of heads = {}", self.heads));
        }
        if self.norm_position == NormPosition::Post {
            if self.normalization == Normalization::None {
                return wrong("norm_position", "post", "`pre`, because normalization = none leaves no norm to place");
            }
            if self.parallel_block {
                return wrong(
                    "norm_position",
                    "post",
                    "`pre`, because a parallel block has no stream between its halves",
                );
            }
        }
        if self.attention_only && (self.gated_mlp || self.parallel_block) {
            let key = if self.gated_mlp { "gated_mlp" } else { "parallel_block" };
            return wrong(key, "true", "nothing, because attention_only = true leaves no MLP");
        }
        if self.gated_mlp && self.activation == Some(Activation::SoluLn) {
            return wrong("activation", "solu_ln", "another one, because the layer norm would leave the gate out");
        }
        match self.positions {
            Positions::Rotary if !self.head_width().is_multiple_of(2) => {
                return wrong("d_head", &self.head_width().to_string(), "an even width, whose halves turn as pairs");
            }
            Positions::Sinusoidal if !self.d_model.is_multiple_of(2) => {
                return wrong("d_model", &self.d_model.to_string(), "an even width, for sines and cosines in pairs");
            }
            _ => {}
        }
        match self.rotary_base {
            Some(_) if self.positions != Positions::Rotary => {
                wrong("rotary_base", "given", "it only with positions = rotary")
            }
            Some(base) if !(base.is_finite() && base > 0.0) => {
                wrong("rotary_base", &base.to_string(), "a finite number above 0")
            }
            _ => Ok(()),
        }
    }

    fn init(&self) -> Init {
        Init { kind: self.init, scale: self.init_scale, gamma: self.init_gamma }
    }

    pub(crate) fn start(&self, space: &ParamSpace, param: &Param) -> Start {
        self.init().start(Initialization::InverseSqrtD, space, param, Some(self.d_model), self.d_model)
    }
}
