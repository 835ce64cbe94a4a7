//! The decoder-only transformer, with the parameter and activation names and the layouts of TransformerLens.

mod blocks;
mod layers;

use ontogeny_graph::{Param, ParamSpace, RotaryScaling};
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
/// `b_O` alone is that of `output_bias`. Further ones are `mlp.W_gate` `[d, m]` (`gated_mlp`), `mlp.ln.w`, `b` `[m]` (`solu_ln`), and, with k = `key_value_heads`,
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
    /// Rows of `W_E` and logits of a token; the task's vocabulary unless given, and not below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<usize>,
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
    /// Of `rotary`: how many entries of a head turn, the first ones, an even number; all unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotary_dim: Option<usize>,
    /// Of `rotary`: frequencies changed for a context longer than that of the training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotary_scaling: Option<RotaryScalingConfig>,
    /// Positions that a position attends to, itself the last (Beltagy et al. 2020); all before it unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
    /// Of `window`: the blocks that have it, from 0; all unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_layers: Option<Vec<usize>>,
    /// What q·k is divided by; √e unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention_scale: Option<f64>,
    /// Scores of block L, from 0, are divided by L + 1 as well (as in the GPT-2 trainings of Stanford CRFM).
    #[serde(default, skip_serializing_if = "is_default")]
    pub scale_by_layer: bool,
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
    /// `b_O` alone; as `attention_biases` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_bias: Option<bool>,
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

/// Beyond the width of anything that memory holds.
const MAX_WIDTH: usize = 1 << 24;

/// Far above any network.
const MAX_HEADS: usize = 1 << 16;

/// A million million weights: 4 TB.
const MAX_PARAMETERS: u128 = 1 << 40;

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
    /// A layer norm without scale and shift, which what reads it has taken up (`LNPre` of TransformerLens).
    LayerNormPre,
    /// An RMS norm without scale, likewise (`RMSPre`).
    RmsNormPre,
}

/// How the frequencies of rotary positions are changed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RotaryScalingConfig {
    /// All are divided by `factor` (Chen et al. 2023).
    Linear {
        /// Above 0.
        factor: f64,
    },
    /// Pairs that turn less than `low` times in `context` positions are divided by `factor`, those that turn more than `high`
    /// times are left, those between are mixed (Grattafiori et al. 2024).
    Llama3 {
        /// Above 0.
        factor: f64,
        /// Turns, above 0.
        low: f64,
        /// Turns, above `low`.
        high: f64,
        /// Positions.
        context: usize,
    },
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

    /// Entries of a head that turn with the position.
    pub(crate) fn n_rotary(&self) -> usize {
        self.rotary_dim.unwrap_or_else(|| self.head_width())
    }

    /// The frequencies of rotary positions, as the graph takes them.
    pub(crate) fn rotary_frequencies(&self) -> (f64, RotaryScaling) {
        let scaling = match self.rotary_scaling {
            None => RotaryScaling::None,
            Some(RotaryScalingConfig::Linear { factor }) => RotaryScaling::Linear { factor },
            Some(RotaryScalingConfig::Llama3 { factor, low, high, context }) => {
                RotaryScaling::Llama3 { factor, low, high, context: context as f64 }
            }
        };
        (self.rotary_base.unwrap_or(10_000.0), scaling)
    }

    /// The window of a block's attention, if it has one.
    pub(crate) fn window_of(&self, layer: usize) -> Option<usize> {
        let is_local = self.window_layers.as_ref().is_none_or(|local| local.contains(&layer));
        self.window.filter(|_| is_local)
    }

    /// What the scores of a block are divided by.
    pub(crate) fn score_divisor(&self, layer: usize) -> f64 {
        let of_all = self.attention_scale.unwrap_or_else(|| (self.head_width() as f64).sqrt());
        if self.scale_by_layer { of_all * (layer + 1) as f64 } else { of_all }
    }

    /// Whether `b_O` exists.
    pub(crate) fn has_output_bias(&self) -> bool {
        self.output_bias.unwrap_or(self.attention_biases)
    }

    /// Weights, a few norms and biases aside, before any of them takes memory.
    fn n_parameters(&self, vocabulary: usize, length: usize) -> u128 {
        let [d, h, e] = [self.d_model, self.heads, self.head_width()].map(|n| n as u128);
        let kv_heads = self.key_value_heads.unwrap_or(self.heads) as u128;
        let mlp = self.d_mlp.unwrap_or(0) as u128 * d * if self.gated_mlp { 3 } else { 2 };
        let block = 2 * (h + kv_heads) * e * d + mlp;
        block * self.layers as u128 + d * (2 * vocabulary + self.context.unwrap_or(length)) as u128
    }

    /// Checks the settings against the task's vocabulary, where it has one, and the length of its sequences.
    pub(crate) fn check(&self, vocabulary: Option<usize>, length: usize) -> Result<(), SettingError> {
        let wrong = |key, found: String, expected: &str| Err(SettingError::new("network", key, found, expected));
        let at_least_one = [
            ("d_model", Some(self.d_model)),
            ("heads", Some(self.heads)),
            ("d_head", self.d_head),
            ("key_value_heads", self.key_value_heads),
            ("d_mlp", self.d_mlp),
            ("vocabulary", self.vocabulary),
            ("window", self.window),
            ("context", self.context),
        ];
        for (key, value) in at_least_one {
            if value == Some(0) {
                return wrong(key, "0".to_owned(), "at least 1");
            }
            let most = if key.ends_with("heads") { MAX_HEADS } else { MAX_WIDTH };
            if let Some(n) = value.filter(|&n| n > most && key != "window") {
                return wrong(key, n.to_string(), &format!("at most {most}"));
            }
        }
        match (self.vocabulary, vocabulary) {
            (Some(own), Some(of_task)) if own < of_task => {
                return wrong("vocabulary", own.to_string(), &format!("at least {of_task}, that of the task"));
            }
            (Some(_), None) => {
                return wrong("vocabulary", "given".to_owned(), "nothing, because the task gives no sequences of ids");
            }
            _ => {}
        }
        if self.layers > MAX_LAYERS {
            return wrong("layers", self.layers.to_string(), &format!("at most {MAX_LAYERS}"));
        }
        let n_parameters = self.n_parameters(self.vocabulary.or(vocabulary).unwrap_or(0), length);
        if n_parameters > MAX_PARAMETERS {
            return wrong(
                "d_model",
                format!("{}, with {n_parameters} weights in all", self.d_model),
                "at most 2^40 weights",
            );
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
            Positions::Rotary if self.rotary_dim.is_none() && !self.head_width().is_multiple_of(2) => {
                return wrong("d_head", &self.head_width().to_string(), "an even width, whose halves turn as pairs");
            }
            Positions::Rotary
                if self.n_rotary() == 0 || self.n_rotary() > self.head_width() || self.n_rotary() % 2 == 1 =>
            {
                let expected = format!("an even number, at most {}, the width of a head", self.head_width());
                return wrong("rotary_dim", &self.n_rotary().to_string(), &expected);
            }
            Positions::Sinusoidal if !self.d_model.is_multiple_of(2) => {
                return wrong("d_model", &self.d_model.to_string(), "an even width, for sines and cosines in pairs");
            }
            _ => {}
        }
        if let Some(scale) = self.attention_scale.filter(|scale| !(scale.is_finite() && *scale > 0.0)) {
            return wrong("attention_scale", &scale.to_string(), "a finite number above 0");
        }
        if let Some(local) = &self.window_layers {
            if self.window.is_none() {
                return wrong("window_layers", "given", "it only beside window");
            }
            if let Some(layer) = local.iter().find(|&&layer| layer >= self.layers) {
                return wrong(
                    "window_layers",
                    &format!("{local:?}"),
                    &format!("blocks below {}, not {layer}", self.layers),
                );
            }
        }
        for (key, is_given) in
            [("rotary_dim", self.rotary_dim.is_some()), ("rotary_scaling", self.rotary_scaling.is_some())]
        {
            if is_given && self.positions != Positions::Rotary {
                return wrong(key, "given", "it only with positions = rotary");
            }
        }
        if !self.rotary_frequencies().1.is_valid() {
            return wrong("rotary_scaling", "of these numbers", "finite numbers above 0, `low` below `high`");
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
