//! Network configurations: which kinds there are, and the settings they share.

mod autoencoder;
mod cnn;
mod fit;
mod initialization;
mod mlp;
mod modular_mlp;
mod resnet;
mod transformer;

pub use autoencoder::AutoencoderConfig;
pub use cnn::{CnnConfig, Pooling};
pub use initialization::Initialization;
pub(crate) use initialization::Start;
pub use mlp::MlpConfig;
pub use modular_mlp::ModularMlpConfig;
pub use resnet::{ResNetConfig, ResNetNorm};
pub use transformer::{NormPosition, Normalization, Positions, RotaryScalingConfig, TransformerConfig};

use ontogeny_graph::{Graph, Node};
use serde::{Deserialize, Deserializer, Serialize};

use crate::OnnxConfig;

/// A network of any kind, as in the table `[network]` of a run file.
///
/// Serialises with its `kind` beside its settings. When reading a file written by hand, prefer
/// [`NetworkConfig::deserialize_kind`]: serde's own reading of tagged enums loses the line of a mistake.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum NetworkConfig {
    /// A decoder-only transformer.
    Transformer(TransformerConfig),
    /// A fully connected network.
    Mlp(MlpConfig),
    /// ReLU(Wᵀ·W·x + b).
    Autoencoder(AutoencoderConfig),
    /// Convolutions in a row.
    Cnn(CnnConfig),
    /// A residual network for images.
    #[serde(rename = "resnet")]
    ResNet(ResNetConfig),
    /// Two tokens, one embedding, two linear maps that are summed.
    ModularMlp(ModularMlpConfig),
    /// A network of one's own; run files name it in `[import]`.
    #[serde(skip_deserializing)]
    Onnx(OnnxConfig),
}

impl NetworkConfig {
    /// The values that `kind` may have.
    pub const KINDS: &'static [&'static str] = &["transformer", "mlp", "autoencoder", "cnn", "resnet", "modular_mlp"];

    /// Reads the settings of a network whose `kind` has been read (and taken out) before.
    ///
    /// # Errors
    /// An unknown kind, with the known ones, or what the deserializer finds wrong.
    pub fn deserialize_kind<'de, D: Deserializer<'de>>(kind: &str, settings: D) -> Result<Self, D::Error> {
        match kind {
            "transformer" => TransformerConfig::deserialize(settings).map(Self::Transformer),
            "mlp" => MlpConfig::deserialize(settings).map(Self::Mlp),
            "autoencoder" => AutoencoderConfig::deserialize(settings).map(Self::Autoencoder),
            "cnn" => CnnConfig::deserialize(settings).map(Self::Cnn),
            "resnet" => ResNetConfig::deserialize(settings).map(Self::ResNet),
            "modular_mlp" => ModularMlpConfig::deserialize(settings).map(Self::ModularMlp),
            other => Err(serde::de::Error::unknown_variant(other, Self::KINDS)),
        }
    }
}

/// Elementwise nonlinearity of a hidden layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// x·Φ(x), exact.
    Gelu,
    /// The tanh approximation of GELU that GPT-2 uses.
    GeluTanh,
    /// x·σ(x), also called swish.
    Silu,
    /// x·softmax(x) over the layer (Elhage et al. 2022), without the layer norm that may follow it.
    Solu,
    /// The same with the layer norm; in transformers only.
    SoluLn,
    /// Hyperbolic tangent.
    Tanh,
    /// None: a linear network.
    Identity,
}

impl Activation {
    /// Their names, for messages.
    pub(crate) const ALL: &'static str = "`relu`, `gelu`, `gelu_tanh`, `silu`, `solu`, `solu_ln`, `tanh` or `identity`";

    /// What to take in place of `solu_ln` outside of transformers.
    pub(crate) const WITHOUT_NORM: &'static str =
        "another one, because its layer norm belongs to transformers; `solu` is it without";

    /// Those that act on each number alone.
    pub(crate) const ELEMENTWISE: &'static str = "`relu`, `gelu`, `gelu_tanh`, `silu`, `tanh` or `identity`";

    /// Whether it acts on a whole row of neurons.
    pub(crate) fn is_of_a_row(self) -> bool {
        matches!(self, Self::Solu | Self::SoluLn)
    }

    /// The nonlinearity alone: the layer norm of `solu_ln` is its network's.
    fn apply(self, g: &mut Graph, x: Node) -> Node {
        match self {
            Self::Relu => g.relu(x),
            Self::Gelu => g.gelu(x),
            Self::GeluTanh => g.gelu_tanh(x),
            Self::Silu => g.silu(x),
            Self::Solu | Self::SoluLn => g.solu(x),
            Self::Tanh => g.tanh(x),
            Self::Identity => x,
        }
    }
}

/// Whether a key may be left out of what is written.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
