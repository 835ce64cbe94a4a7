//! Convolutional networks: layers in a row with pooling as in LeNet.

use ontogeny_graph::{Convolution, Graph, Node, Param, ParamSpace};
use serde::{Deserialize, Serialize};

use super::initialization::{Init, Initialization, Start};
use super::{Activation, is_default};
use crate::SettingError;

/// Settings of a convolutional network in the manner of LeNet (LeCun et al. 1998): convolution, nonlinearity and pooling for
/// each entry of `channels`, then dense layers with the nonlinearity between them.
///
/// Parameters are `conv.L.W` `[out, in, kernel, kernel]`, `conv.L.b` `[out]`, `dense.L.W` `[in, out]`, `dense.L.b` `[out]`;
/// activations are `conv.L.hook_pre` and `hook_post` `[batch, channels, height, width]` (before pooling), `dense.L.hook_pre`
/// and `hook_post` `[batch, out]` for all dense layers but the last. Starts as `pytorch` unless `init` says otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CnnConfig {
    /// Channels behind each convolution.
    pub channels: Vec<usize>,
    /// Height and width of every kernel.
    pub kernel: usize,
    /// Zeros around the image of every convolution.
    #[serde(default, skip_serializing_if = "is_default")]
    pub padding: usize,
    /// Pooling after each convolution.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pooling: Pooling,
    /// Height, width and stride of the pooling's windows.
    #[serde(default = "two")]
    pub pool: usize,
    /// Widths of the hidden dense layers.
    #[serde(default)]
    pub dense: Vec<usize>,
    /// Nonlinearity.
    pub activation: Activation,
    /// Whether all layers add a bias.
    #[serde(default = "yes")]
    pub biases: bool,
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

/// How neighbouring places of an image become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The largest.
    #[default]
    Max,
    /// Their mean.
    Average,
    /// They stay.
    None,
}

fn yes() -> bool {
    true
}

fn two() -> usize {
    2
}

impl CnnConfig {
    /// Checks the settings against the task's image: channels, height and width.
    pub(crate) fn check(&self, [_, mut height, mut width]: [usize; 3]) -> Result<(), SettingError> {
        let wrong = |key, found: String, expected: &str| Err(SettingError::new("network", key, found, expected));
        for (key, widths) in [("channels", &self.channels), ("dense", &self.dense)] {
            if widths.contains(&0) {
                return wrong(key, format!("{widths:?}"), "numbers of at least 1");
            }
        }
        if self.kernel == 0 || self.pool == 0 {
            let key = if self.kernel == 0 { "kernel" } else { "pool" };
            return wrong(key, "0".to_owned(), "at least 1");
        }
        if self.activation.is_of_a_row() {
            return wrong("activation", "solu or solu_ln".to_owned(), Activation::ELEMENTWISE);
        }
        for layer in 0..self.channels.len() {
            for extent in [&mut height, &mut width] {
                let padded = *extent + 2 * self.padding;
                if padded < self.kernel {
                    let expected = format!("a kernel that fits the {padded} places before convolution {layer}");
                    return wrong("kernel", self.kernel.to_string(), &expected);
                }
                *extent = padded - self.kernel + 1;
                if self.pooling == Pooling::None {
                    continue;
                }
                if *extent < self.pool {
                    let expected = format!("at most {extent}, the places behind convolution {layer}");
                    return wrong("pool", self.pool.to_string(), &expected);
                }
                *extent = (*extent - self.pool) / self.pool + 1;
            }
        }
        self.init().check()
    }

    /// Outputs `[batch, outputs]` of images `x` `[batch, channels, height, width]`.
    pub(crate) fn build(&self, g: &mut Graph, x: Node, n_outputs: usize) -> Node {
        let mut x = x;
        let convolution = Convolution { padding: [self.padding; 2], ..Convolution::default() };
        for (layer, &channels) in self.channels.iter().enumerate() {
            let name = format!("conv.{layer}");
            let kernel = g.param(&format!("{name}.W"), &[channels, g.shape(x)[1], self.kernel, self.kernel]);
            let mut pre = g.conv2d(x, kernel, convolution);
            if self.biases {
                let bias = g.param(&format!("{name}.b"), &[channels]);
                let bias = g.per_channel(bias, pre);
                pre = g.add(pre, bias);
            }
            let post = self.activate(g, pre, &name);
            let (size, padding) = ([self.pool; 2], [0; 2]);
            x = match self.pooling {
                Pooling::Max => g.max_pool2d(post, size, size, padding),
                Pooling::Average => g.avg_pool2d(post, size, size, padding),
                Pooling::None => post,
            };
        }
        let [batch, n_in] = [g.shape(x)[0], g.shape(x)[1..].iter().product()];
        x = g.reshape(x, &[batch, n_in]);
        for (layer, &n_out) in self.dense.iter().chain([&n_outputs]).enumerate() {
            let name = format!("dense.{layer}");
            x = dense(g, &name, x, n_out, self.biases);
            if layer < self.dense.len() {
                x = self.activate(g, x, &name);
            }
        }
        x
    }

    fn activate(&self, g: &mut Graph, pre: Node, name: &str) -> Node {
        let pre = g.named(pre, &format!("{name}.hook_pre"));
        let post = self.activation.apply(g, pre);
        g.named(post, &format!("{name}.hook_post"))
    }

    fn init(&self) -> Init {
        Init { kind: self.init, scale: self.init_scale, gamma: self.init_gamma }
    }

    pub(crate) fn start(&self, space: &ParamSpace, param: &Param) -> Start {
        let widest = self.channels.iter().chain(&self.dense).copied().max().unwrap_or(1);
        self.init().start(Initialization::Pytorch, space, param, None, widest)
    }
}

/// The layer `name` on rows of `x`, with or without bias.
pub(super) fn dense(g: &mut Graph, name: &str, x: Node, n_out: usize, has_bias: bool) -> Node {
    if has_bias {
        return g.linear(name, x, n_out);
    }
    let n_in = *g.shape(x).last().expect("rows have an axis");
    let weight = g.param(&format!("{name}.W"), &[n_in, n_out]);
    g.matmul(x, weight)
}
