//! The autoencoder of toy models of superposition: ReLU(Wᵀ·W·x + b).

use ontogeny_graph::{Graph, Node, Param, ParamSpace};
use serde::{Deserialize, Serialize};

use super::initialization::{Init, Initialization, Start};
use crate::SettingError;

/// Settings of an autoencoder with tied weights (Elhage et al. 2022, "Toy models of superposition"; Chen et al. 2023).
///
/// The parameters are `W` `[hidden, inputs]` and `b` `[inputs]`; the output is max(Wᵀ·W·x + b, 0). Activations are
/// `hook_hidden` `[batch, hidden]` and, before the nonlinearity, `hook_pre` `[batch, inputs]`.
///
/// Where `init` names nothing, `W` is normal with variance 2/(inputs + hidden) (Glorot & Bengio 2010, as in Elhage et al.'s
/// code) and `b` is 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoencoderConfig {
    /// Width of the hidden layer, m of the papers.
    pub hidden: usize,
    /// Whether there is `b`.
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

impl AutoencoderConfig {
    pub(crate) fn check(&self, n_inputs: usize, n_outputs: usize) -> Result<(), SettingError> {
        let wrong = |section, key, found: usize, expected: &str| {
            Err(SettingError::new(section, key, found.to_string(), expected))
        };
        if self.hidden == 0 {
            return wrong("network", "hidden", 0, "at least 1");
        }
        if n_inputs != n_outputs {
            return wrong("task", "outputs", n_outputs, &format!("{n_inputs}, the inputs, for an autoencoder"));
        }
        self.init().check()
    }

    /// Outputs `[batch, inputs]` of `x` `[batch, inputs]`.
    pub(crate) fn build(&self, g: &mut Graph, x: Node) -> Node {
        let n = g.shape(x)[1];
        let w = g.param("W", &[self.hidden, n]);
        let hidden = g.einsum("bi,hi->bh", x, w);
        let hidden = g.named(hidden, "hook_hidden");
        let mut y = g.matmul(hidden, w);
        if self.biases {
            let b = g.param("b", &[n]);
            y = g.add(y, b);
        }
        let y = g.named(y, "hook_pre");
        g.relu(y)
    }

    fn init(&self) -> Init {
        Init { kind: self.init, scale: self.init_scale, gamma: self.init_gamma }
    }

    pub(crate) fn start(&self, space: &ParamSpace, param: &Param) -> Start {
        if self.init.is_none() {
            return match param.shape.as_slice() {
                &[hidden, inputs] => Start::Normal((2.0 / (hidden + inputs) as f64).sqrt()),
                _ => Start::Constant(0.0),
            };
        }
        self.init().start(Initialization::Pytorch, space, param, None, self.hidden)
    }
}
