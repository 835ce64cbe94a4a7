//! The multi-layer perceptron: affine layers with one nonlinearity between them.

use ontogeny_graph::{Graph, Node, Param, ParamSpace};
use serde::{Deserialize, Serialize};

use super::Activation;
use super::initialization::{Init, Initialization, Start};
use crate::SettingError;

/// Settings of a multi-layer perceptron.
///
/// Parameters are `layers.L.W` `[in, out]` and `layers.L.b` `[out]`; activations before and after the nonlinearity of
/// layer L are `layers.L.hook_pre` and `layers.L.hook_post` `[batch, out]`. The last layer has no nonlinearity.
/// Starts as `pytorch` unless `init` says otherwise: weights and biases uniform on ±1/√in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlpConfig {
    /// Widths from the input to the output, at least two; the first and the last must be those of the task.
    pub sizes: Vec<usize>,
    /// Nonlinearity of all layers but the last.
    pub activation: Activation,
    /// Whether layers add a bias.
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

fn yes() -> bool {
    true
}

impl MlpConfig {
    /// Checks the settings against the task's widths.
    pub(crate) fn check(&self, n_inputs: usize, n_outputs: usize) -> Result<(), SettingError> {
        let wrong = |expected: String| SettingError::new("network", "sizes", format!("{:?}", self.sizes), expected);
        if self.activation == Activation::SoluLn {
            return Err(SettingError::new("network", "activation", "solu_ln", Activation::WITHOUT_NORM));
        }
        if self.sizes.len() < 2 || self.sizes.contains(&0) {
            return Err(wrong("two or more widths, each at least 1".to_owned()));
        }
        if self.sizes[0] != n_inputs || self.sizes[self.sizes.len() - 1] != n_outputs {
            return Err(wrong(format!("widths from {n_inputs} to {n_outputs}, the inputs and outputs of the task")));
        }
        self.init().check()
    }

    /// Outputs `[batch, outputs]` of `x` `[batch, inputs]`.
    pub(crate) fn build(&self, g: &mut Graph, x: Node) -> Node {
        let n_layers = self.sizes.len() - 1;
        let mut x = x;
        for (layer, pair) in self.sizes.windows(2).enumerate() {
            let name = format!("layers.{layer}");
            x = if self.biases {
                g.linear(&name, x, pair[1])
            } else {
                let w = g.param(&format!("{name}.W"), pair);
                g.matmul(x, w)
            };
            if layer + 1 < n_layers {
                let pre = g.named(x, &format!("{name}.hook_pre"));
                let post = self.activation.apply(g, pre);
                x = g.named(post, &format!("{name}.hook_post"));
            }
        }
        x
    }

    fn init(&self) -> Init {
        Init { kind: self.init, scale: self.init_scale, gamma: self.init_gamma }
    }

    pub(crate) fn start(&self, space: &ParamSpace, param: &Param) -> Start {
        let hidden = self.sizes.get(1..self.sizes.len() - 1).unwrap_or(&[]);
        // A network without hidden layers has its inputs for width.
        let widest = hidden.iter().max().unwrap_or(&self.sizes[0]);
        self.init().start(Initialization::Pytorch, space, param, None, *widest)
    }
}
