//! The perceptron of modular arithmetic: two tokens, one embedding, two linear maps that are summed.

use ontogeny_graph::{Graph, Node, Param, ParamSpace};
use serde::{Deserialize, Serialize};

use super::Activation;
use super::initialization::{Init, Initialization, Start};
use crate::{Read, SettingError};

/// Settings of the perceptron of Panickssery & Vaintrob 2023 ("Investigating the learning coefficient of modular addition"):
/// logits = `activation(E[a]·L + E[b]·R + biases)·U`.
///
/// It reads the tokens a and b of the sequence a, b, `=`. With p the classes, d = `d_embed` and m = `hidden`, the parameters
/// are `embed.W_E` `[p, d]`, `left.W`, `right.W` `[d, m]`, `left.b`, `right.b` `[m]`, `unembed.W_U` `[m, p]`. Activations are
/// `hook_pre` and `hook_post` `[batch, m]`. Both biases exist as in the authors' code, though only their sum matters.
/// Starts as `pytorch` unless `init` says otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModularMlpConfig {
    /// Width of the embedding.
    pub d_embed: usize,
    /// Width of the hidden layer.
    pub hidden: usize,
    /// Nonlinearity of the hidden layer.
    pub activation: Activation,
    /// Whether both maps add a bias.
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

impl ModularMlpConfig {
    pub(crate) fn check(&self, vocabulary: usize, length: usize, read: Read) -> Result<(), SettingError> {
        let wrong = |key, found: &str, expected: &str| Err(SettingError::new("network", key, found, expected));
        for (key, value) in [("d_embed", self.d_embed), ("hidden", self.hidden)] {
            if value == 0 {
                return wrong(key, "0", "at least 1");
            }
        }
        if self.activation == Activation::SoluLn {
            return wrong("activation", "solu_ln", Activation::WITHOUT_NORM);
        }
        let Read::LastPosition { classes } = read else {
            return wrong("kind", "`modular_mlp`", "`transformer`, because the task predicts tokens of its sequences");
        };
        // The third token is the same in all sequences, and no number.
        if length != 3 || vocabulary != classes + 1 {
            let expected =
                "`transformer`, because the task's sequences are not a, b, `=` with a and b among the classes";
            return wrong("kind", "`modular_mlp`", expected);
        }
        self.init().check()
    }

    /// Logits `[batch, classes]` of `tokens` `[batch, 3]`.
    pub(crate) fn build(&self, g: &mut Graph, tokens: Node, classes: usize) -> Node {
        let table = g.param("embed.W_E", &[classes, self.d_embed]);
        let sides = [("left", 0), ("right", 1)].map(|(name, position)| {
            let ids = g.select_index(tokens, 1, position);
            let embed = g.gather(table, ids);
            let weight = g.param(&format!("{name}.W"), &[self.d_embed, self.hidden]);
            let mapped = g.matmul(embed, weight);
            if !self.biases {
                return mapped;
            }
            let bias = g.param(&format!("{name}.b"), &[self.hidden]);
            g.add(mapped, bias)
        });
        let pre = g.add(sides[0], sides[1]);
        let pre = g.named(pre, "hook_pre");
        let post = self.activation.apply(g, pre);
        let post = g.named(post, "hook_post");
        let unembed = g.param("unembed.W_U", &[self.hidden, classes]);
        g.matmul(post, unembed)
    }

    fn init(&self) -> Init {
        Init { kind: self.init, scale: self.init_scale, gamma: self.init_gamma }
    }

    pub(crate) fn start(&self, space: &ParamSpace, param: &Param) -> Start {
        self.init().start(Initialization::Pytorch, space, param, None, self.hidden)
    }
}
