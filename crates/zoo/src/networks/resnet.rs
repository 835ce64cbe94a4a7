//! A small residual network for images, whose loss is a mean over examples.

use ontogeny_graph::{Convolution, Graph, Node, Param, ParamSpace};
use serde::{Deserialize, Serialize};

use super::cnn::dense;
use super::initialization::{Init, Initialization, Start};
use crate::SettingError;

/// Settings of a residual network (He et al. 2016) of basic blocks: a convolution of 3 × 3, stages of blocks, the mean over
/// all places, one dense layer. A block is x ↦ relu(shortcut(x) + conv(relu(conv(x)))); the first block of every stage but
/// the first halves height and width (stride 2), and where that or the channels change the shortcut is a convolution of
/// 1 × 1.
///
/// There is no batch norm: with it the loss of an example would depend on the other examples of its batch, and there would be
/// no posterior to sample. `group_norm` (Wu & He 2018) stands in its place; a trained batch norm can be folded into the
/// convolution before it.
///
/// Parameters are `stem.W` `[c, in, 3, 3]`, `stages.S.blocks.B.conv1.W`, `conv2.W` `[c, in, 3, 3]`, `shortcut.W`
/// `[c, in, 1, 1]`, `out.W` `[c, outputs]`, `out.b`; without norm each convolution has a bias `b` `[c]`, with it the norm
/// behind convolution X has `X.norm.w` and `X.norm.b` `[c]`. Activations are `stages.S.blocks.B.hook_out`
/// `[batch, c, height, width]` and `hook_pooled` `[batch, c]`. Starts as `pytorch` unless `init` says otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResNetConfig {
    /// Channels of each stage.
    pub channels: Vec<usize>,
    /// Blocks of each stage.
    pub blocks: usize,
    /// Norm behind every convolution.
    pub normalization: ResNetNorm,
    /// Of `group_norm`: groups of channels that are normalised together; 1 unless given.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub groups: usize,
    /// Added to the variance.
    #[serde(default = "default_eps")]
    pub norm_eps: f64,
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

/// Norms of a residual network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResNetNorm {
    /// None.
    None,
    /// Over the places and channels of a group, in each example (Wu & He 2018).
    GroupNorm,
}

fn one() -> usize {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_one(n: &usize) -> bool {
    *n == 1
}

fn default_eps() -> f64 {
    1e-5
}

/// Far beyond any small network.
const MAX_BLOCKS: usize = 1000;

impl ResNetConfig {
    pub(crate) fn check(&self) -> Result<(), SettingError> {
        let wrong = |key, found: String, expected: &str| Err(SettingError::new("network", key, found, expected));
        if self.channels.is_empty() || self.channels.contains(&0) {
            return wrong("channels", format!("{:?}", self.channels), "one or more numbers of at least 1");
        }
        if self.blocks == 0 || self.blocks.saturating_mul(self.channels.len()) > MAX_BLOCKS {
            return wrong("blocks", self.blocks.to_string(), &format!("1 or more, at most {MAX_BLOCKS} in all stages"));
        }
        let divides = |&channels: &usize| self.groups > 0 && channels.is_multiple_of(self.groups);
        if self.normalization == ResNetNorm::None && self.groups != 1 {
            return wrong("groups", self.groups.to_string(), "it only with normalization = group_norm");
        }
        if !self.channels.iter().all(divides) {
            let expected = format!("a divisor of all channels {:?}", self.channels);
            return wrong("groups", self.groups.to_string(), &expected);
        }
        if !(self.norm_eps.is_finite() && self.norm_eps >= 0.0) {
            return wrong("norm_eps", self.norm_eps.to_string(), "a finite number, at least 0");
        }
        self.init().check()
    }

    /// Outputs `[batch, outputs]` of images `x` `[batch, channels, height, width]`.
    pub(crate) fn build(&self, g: &mut Graph, x: Node, n_outputs: usize) -> Node {
        let stem = self.convolve(g, "stem", x, self.channels[0], 3, 1);
        let mut x = g.relu(stem);
        for (stage, &channels) in self.channels.iter().enumerate() {
            for block in 0..self.blocks {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                x = self.block(g, &format!("stages.{stage}.blocks.{block}"), x, channels, stride);
            }
        }
        let pooled = g.mean(x, &[2, 3]);
        let pooled = g.named(pooled, "hook_pooled");
        dense(g, "out", pooled, n_outputs, true)
    }

    fn block(&self, g: &mut Graph, name: &str, x: Node, channels: usize, stride: usize) -> Node {
        let inner = self.convolve(g, &format!("{name}.conv1"), x, channels, 3, stride);
        let inner = g.relu(inner);
        let inner = self.convolve(g, &format!("{name}.conv2"), inner, channels, 3, 1);
        let stays = stride == 1 && g.shape(x)[1] == channels;
        let shortcut = if stays { x } else { self.convolve(g, &format!("{name}.shortcut"), x, channels, 1, stride) };
        let sum = g.add(shortcut, inner);
        let out = g.relu(sum);
        g.named(out, &format!("{name}.hook_out"))
    }

    /// A convolution that keeps height and width but for the stride, and the norm behind it.
    fn convolve(&self, g: &mut Graph, name: &str, x: Node, channels: usize, kernel: usize, stride: usize) -> Node {
        let weight = g.param(&format!("{name}.W"), &[channels, g.shape(x)[1], kernel, kernel]);
        let convolution = Convolution { stride: [stride; 2], padding: [kernel / 2; 2], ..Convolution::default() };
        let y = g.conv2d(x, weight, convolution);
        if self.normalization == ResNetNorm::None {
            let bias = g.param(&format!("{name}.b"), &[channels]);
            let bias = g.per_channel(bias, y);
            return g.add(y, bias);
        }
        let shape = g.shape(y).to_vec();
        let [batch, height, width] = [shape[0], shape[2], shape[3]];
        let rows = g.reshape(y, &[batch, self.groups, channels / self.groups * height * width]);
        let normalized = g.normalize(rows, self.norm_eps);
        let normalized = g.reshape(normalized, &shape);
        let [gain, shift] = ["w", "b"].map(|own| {
            let vector = g.param(&format!("{name}.norm.{own}"), &[channels]);
            g.per_channel(vector, normalized)
        });
        let scaled = g.mul(normalized, gain);
        g.add(scaled, shift)
    }

    fn init(&self) -> Init {
        Init { kind: self.init, scale: self.init_scale, gamma: self.init_gamma }
    }

    pub(crate) fn start(&self, space: &ParamSpace, param: &Param) -> Start {
        let widest = self.channels.iter().copied().max().unwrap_or(1);
        self.init().start(Initialization::Pytorch, space, param, None, widest)
    }
}
