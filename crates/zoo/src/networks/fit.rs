//! Which network reads what a task gives, and how it is built for it.

use ontogeny_graph::{Graph, Node, Param, ParamSpace};

use super::{NetworkConfig, Start};
use crate::{Interface, Read, SettingError};

impl NetworkConfig {
    /// Checks that network and task fit each other.
    pub(crate) fn check(&self, interface: Interface) -> Result<(), SettingError> {
        match (self, interface) {
            (Self::Onnx(config), _) => config.check(interface),
            (Self::Transformer(config), Interface::Tokens { vocabulary, length, read }) => {
                check_tokens(interface, vocabulary, length, read)?;
                config.check(Some(vocabulary), length)
            }
            (Self::ModularMlp(config), Interface::Tokens { vocabulary, length, read }) => {
                check_tokens(interface, vocabulary, length, read)?;
                config.check(vocabulary, length, read)
            }
            (Self::Transformer(config), Interface::Pairs { dimension, pairs }) => {
                if dimension == 0 || pairs == 0 {
                    return Err(task("dimension", 0, "at least 1, as the number of pairs"));
                }
                // The last answer is never read.
                config.check(None, 2 * pairs - 1)
            }
            (Self::Transformer(config), Interface::LabelledItems { dimension, pairs, classes }) => {
                if dimension == 0 || pairs == 0 || classes == 0 {
                    return Err(task("dimension", 0, "at least 1, as the numbers of pairs and classes"));
                }
                config.check(None, 2 * pairs - 1)
            }
            (Self::Mlp(config), Interface::Vectors { inputs, outputs, .. }) => config.check(inputs, outputs),
            (Self::Autoencoder(config), Interface::Vectors { inputs, outputs, .. }) => config.check(inputs, outputs),
            (Self::Cnn(config), Interface::Vectors { image: Some(image), inputs, outputs, .. }) => {
                check_image(image, inputs, outputs)?;
                config.check(image)
            }
            (Self::ResNet(config), Interface::Vectors { image: Some(image), inputs, outputs, .. }) => {
                check_image(image, inputs, outputs)?;
                config.check()
            }
            _ => {
                let (kind, reads) = self.kind_and_input();
                let expected = match interface {
                    Interface::Tokens { .. } => "`transformer`, because the task gives sequences",
                    Interface::Pairs { .. } | Interface::LabelledItems { .. } => {
                        "`transformer`, because the task gives pairs"
                    }
                    Interface::Vectors { .. } if reads == "images" => {
                        "`mlp`, because the task gives vectors that are no images"
                    }
                    Interface::Vectors { .. } => "`mlp`, because the task gives vectors",
                };
                Err(SettingError::new("network", "kind", format!("`{kind}`, which reads {reads}"), expected))
            }
        }
    }

    /// What the network makes of a task that it fits: its own vocabulary may be larger.
    pub(crate) fn own_interface(&self, interface: Interface) -> Interface {
        match (self, interface) {
            (Self::Transformer(config), Interface::Tokens { vocabulary, length, read }) => {
                Interface::Tokens { vocabulary: config.vocabulary.unwrap_or(vocabulary), length, read }
            }
            _ => interface,
        }
    }

    /// Declares the inputs that the network reads, and gives its logits; `check` must have accepted the interface.
    pub(crate) fn build_logits(&self, g: &mut Graph, interface: Interface, batch: usize) -> Node {
        match (self, interface) {
            (Self::Onnx(config), _) => config.build_logits(g, interface, batch),
            (Self::Transformer(config), Interface::Tokens { vocabulary, length, read }) => {
                let tokens = g.input_ids("tokens", &[batch, length]);
                config.build(g, tokens, vocabulary, read)
            }
            (Self::Transformer(config), Interface::Pairs { dimension, pairs }) => {
                let x = g.input("x", &[batch, pairs, dimension]);
                let y = g.input("y", &[batch, pairs]);
                config.build_pairs(g, x, y)
            }
            (Self::Transformer(config), Interface::LabelledItems { dimension, pairs, classes }) => {
                let x = g.input("x", &[batch, pairs, dimension]);
                let y = g.input_ids("y", &[batch, pairs]);
                config.build_labelled_items(g, x, y, classes)
            }
            (Self::ModularMlp(config), Interface::Tokens { length, read: Read::LastPosition { classes }, .. }) => {
                let tokens = g.input_ids("tokens", &[batch, length]);
                config.build(g, tokens, classes)
            }
            (_, Interface::Vectors { inputs, outputs, image, .. }) => {
                let x = g.input("x", &[batch, inputs]);
                let as_image = |g: &mut Graph| {
                    let [channels, height, width] = image.unwrap_or([inputs, 1, 1]);
                    g.reshape(x, &[batch, channels, height, width])
                };
                match self {
                    Self::Mlp(config) => config.build(g, x),
                    Self::Autoencoder(config) => config.build(g, x),
                    Self::Cnn(config) => {
                        let x = as_image(g);
                        config.build(g, x, outputs)
                    }
                    Self::ResNet(config) => {
                        let x = as_image(g);
                        config.build(g, x, outputs)
                    }
                    Self::Transformer(_) | Self::ModularMlp(_) | Self::Onnx(_) => unreachable!("{}", REFUSED),
                }
            }
            _ => unreachable!("{}", REFUSED),
        }
    }

    /// How a parameter of its space starts.
    pub(crate) fn start(&self, space: &ParamSpace, param: &Param) -> Start {
        match self {
            Self::Transformer(config) => config.start(space, param),
            Self::Mlp(config) => config.start(space, param),
            Self::Autoencoder(config) => config.start(space, param),
            Self::Cnn(config) => config.start(space, param),
            Self::ResNet(config) => config.start(space, param),
            Self::ModularMlp(config) => config.start(space, param),
            Self::Onnx(_) => unreachable!("its weights come from its file"),
        }
    }

    fn kind_and_input(&self) -> (&'static str, &'static str) {
        match self {
            Self::Transformer(_) => ("transformer", "sequences"),
            Self::ModularMlp(_) => ("modular_mlp", "sequences"),
            Self::Mlp(_) => ("mlp", "vectors"),
            Self::Autoencoder(_) => ("autoencoder", "vectors"),
            Self::Cnn(_) => ("cnn", "images"),
            Self::ResNet(_) => ("resnet", "images"),
            Self::Onnx(_) => ("onnx", "sequences, vectors or images"),
        }
    }
}

const REFUSED: &str = "`check` has refused other pairs of network and task";

fn task(key: &'static str, found: usize, expected: &str) -> SettingError {
    SettingError::new("task", key, found.to_string(), expected)
}

fn check_image(image: [usize; 3], inputs: usize, outputs: usize) -> Result<(), SettingError> {
    let size = image.iter().try_fold(1_usize, |size, &extent| size.checked_mul(extent));
    if size != Some(inputs) || inputs == 0 {
        let found = format!("{image:?}");
        let expected = format!("channels, height and width whose product is {inputs}, the inputs, and at least 1");
        return Err(SettingError::new("task", "image", found, expected));
    }
    if outputs == 0 { Err(task("outputs", 0, "at least 1")) } else { Ok(()) }
}

fn check_tokens(interface: Interface, vocabulary: usize, length: usize, read: Read) -> Result<(), SettingError> {
    if vocabulary == 0 {
        return Err(task("vocabulary", 0, "at least 1"));
    }
    let shortest = match read {
        Read::Tokens { from, .. } => from + 1,
        Read::LastPosition { .. } => 1,
    };
    if length < shortest {
        let expected = format!("sequences of at least {shortest} tokens");
        return Err(task("length", length, &expected));
    }
    match read {
        Read::Tokens { from, every, .. } => {
            // The blocks that the answers are taken from must lie within the sequence.
            let n_answers = interface.answers();
            if from == 0 || every == 0 || from - 1 < (from - 1 + n_answers * every).saturating_sub(length) {
                return Err(task("read", from, "a first predicted token and a distance that suit the length"));
            }
            Ok(())
        }
        Read::LastPosition { classes } if classes == 0 || classes > vocabulary => {
            let expected = format!("1 to {vocabulary}, the vocabulary");
            Err(task("classes", classes, &expected))
        }
        Read::LastPosition { .. } => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Model, VectorLoss};

    #[test]
    fn networks_that_do_not_fit_their_task_are_refused_with_what_does() {
        let vectors = |image| Interface::Vectors { inputs: 12, outputs: 4, loss: VectorLoss::MeanSquared, image };
        let tokens = Interface::Tokens { vocabulary: 6, length: 3, read: Read::LastPosition { classes: 5 } };
        let cnn = json!({"kind": "cnn", "channels": [2], "kernel": 3, "activation": "relu"});
        let modular = json!({"kind": "modular_mlp", "d_embed": 2, "hidden": 2, "activation": "relu"});
        let changed = |network: &serde_json::Value, key: &str, value: serde_json::Value| {
            let mut network = network.clone();
            network[key] = value;
            network
        };
        for (network, interface, message) in [
            (
                cnn.clone(),
                vectors(None),
                "network.kind is `cnn`, which reads images; expected `mlp`, because the task gives vectors that are no images",
            ),
            (
                cnn.clone(),
                vectors(Some([1, 3, 5])),
                "task.image is [1, 3, 5]; expected channels, height and width whose product is 12, the inputs, and at least 1",
            ),
            (
                cnn.clone(),
                vectors(Some([2, 2, 3])),
                "network.kernel is 3; expected a kernel that fits the 2 places before convolution 0",
            ),
            (
                cnn.clone(),
                vectors(Some([1, 3, 4])),
                "network.pool is 2; expected at most 1, the places behind convolution 0",
            ),
            (
                changed(&cnn, "activation", json!("solu")),
                vectors(Some([1, 3, 4])),
                "network.activation is solu or solu_ln; expected `relu`, `gelu`, `gelu_tanh`, `silu`, `tanh` or `identity`",
            ),
            (
                json!({"kind": "autoencoder", "hidden": 2}),
                vectors(None),
                "task.outputs is 4; expected 12, the inputs, for an autoencoder",
            ),
            (
                json!({"kind": "autoencoder", "hidden": 2}),
                tokens,
                "network.kind is `autoencoder`, which reads vectors; expected `transformer`, because the task gives sequences",
            ),
            (
                modular.clone(),
                Interface::Tokens { vocabulary: 6, length: 4, read: Read::LastPosition { classes: 5 } },
                "network.kind is `modular_mlp`; expected `transformer`, because the task's sequences are not a, b, `=` with a and \
                 b among the classes",
            ),
            (
                json!({"kind": "resnet", "channels": [4, 6], "blocks": 1, "normalization": "group_norm", "groups": 4}),
                vectors(Some([1, 3, 4])),
                "network.groups is 4; expected a divisor of all channels [4, 6]",
            ),
        ] {
            let error = Model::new(serde_json::from_value(network).unwrap(), interface).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        for kind in NetworkConfig::KINDS {
            let error = NetworkConfig::deserialize_kind(kind, json!({"no_such_key": 1})).unwrap_err().to_string();
            assert!(error.contains("unknown field `no_such_key`"), "{error}");
        }
    }
}
