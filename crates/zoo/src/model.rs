//! A model: a network fitted to a task's inputs, with its parameter space, initial weights and loss.

use std::path::Path;

use ontogeny_graph::{Graph, Node, Param, ParamSpace, Purpose, Stream};

use crate::networks::{NetworkConfig, Start};
use crate::{Interface, LayoutError, Read, SettingError, VectorLoss, WeightTensor, match_shapes};

/// A network whose open ends (vocabulary, sequence length, classes) a task has filled in.
///
/// It builds its graph for any batch, so that training, sampling and measuring compile programs of their own.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    network: NetworkConfig,
    interface: Interface,
    space: ParamSpace,
}

/// Name of the losses of single answers, `[batch, answers]`, in the graph of a model that predicts tokens of its sequences
/// or answers of pairs.
pub const TOKEN_LOSS: &str = "token_loss";

/// Where a model's results stand in a graph. They are also named activations: `logits`, `answers` (where they are
/// a part of them), `example_loss`, `loss`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nodes {
    /// `[batch, classes]`, `[batch, length, vocabulary]` where tokens of the sequence are predicted, `[batch, outputs]`, or
    /// `[batch, pairs]`.
    pub logits: Node,
    /// The part of `logits` that is compared with something: `[batch, answers, vocabulary]` where tokens of the sequence are
    /// predicted, else all.
    pub answers: Node,
    /// Loss of each example: `[batch]`.
    pub example_loss: Node,
    /// Mean loss over the batch: a scalar.
    pub loss: Node,
}

impl Model {
    /// Fits a network to a task.
    ///
    /// # Errors
    /// A setting that is out of range or does not go with the task; it is named, with what is allowed.
    pub fn new(network: NetworkConfig, interface: Interface) -> Result<Self, SettingError> {
        network.check(interface)?;
        let interface = network.own_interface(interface);
        let mut model = Self { network, interface, space: ParamSpace::default() };
        let (graph, _) = model.graph(1);
        model.space = ParamSpace::of(&graph);
        Ok(model)
    }

    /// Adds the network and its loss to a graph for `batch` examples, which must be at least 1.
    ///
    /// Declares the inputs of its [`Interface`] and, in the order of [`Model::space`], all parameters.
    pub fn build(&self, g: &mut Graph, batch: usize) -> Nodes {
        let logits = self.network.build_logits(g, self.interface, batch);
        let logits = g.named(logits, "logits");
        let answers = self.select_answers(g, logits);
        let example_loss = self.build_example_loss(g, answers, batch);
        let example_loss = g.named(example_loss, "example_loss");
        let loss = g.mean_all(example_loss);
        let loss = g.named(loss, "loss");
        Nodes { logits, answers, example_loss, loss }
    }

    /// A new graph that holds only this model; see [`Model::build`].
    pub fn graph(&self, batch: usize) -> (Graph, Nodes) {
        let mut g = Graph::new();
        let nodes = self.build(&mut g, batch);
        (g, nodes)
    }

    /// The network's settings.
    pub fn network(&self) -> &NetworkConfig {
        &self.network
    }

    /// The task's side, with the vocabulary of the network where that has one of its own.
    pub fn interface(&self) -> Interface {
        self.interface
    }

    /// Names, shapes and places of all parameters in the flat weights.
    pub fn space(&self) -> &ParamSpace {
        &self.space
    }

    /// Flat initial weights under a seed. Parameter number i of the space draws from the stream i of
    /// [`Purpose::Initialization`], element by element; the distribution is told by the network's configuration. A network
    /// in an ONNX file starts from the weights in the file, whatever the seed.
    pub fn initial_weights(&self, seed: u32) -> Vec<f32> {
        if let NetworkConfig::Onnx(network) = &self.network {
            return network.initial_weights();
        }
        let mut weights = vec![0.0; self.space.len()];
        for (idx, param) in self.space.iter().enumerate() {
            let values = &mut weights[param.range.clone()];
            let stream = Stream::new(seed, Purpose::Initialization, idx as u64);
            match self.network.start(&self.space, param) {
                Start::Constant(value) => values.fill(value),
                Start::Diagonal(value) => {
                    let [.., rows, columns] = param.shape[..] else { continue };
                    for matrix in values.chunks_exact_mut(rows * columns) {
                        for i in 0..rows.min(columns) {
                            matrix[i * (columns + 1)] = value as f32;
                        }
                    }
                }
                Start::Normal(deviation) => {
                    stream.normals(0, 0, values);
                    let deviation = deviation as f32;
                    for value in values {
                        *value *= deviation;
                    }
                }
                Start::Uniform(bound) => {
                    for (i, value) in values.iter_mut().enumerate() {
                        let unit = stream.uniform(0, i as u32);
                        *value = ((2.0 * unit - 1.0) * bound) as f32;
                    }
                }
            }
        }
        weights
    }

    /// Flat weights from tensors that were read from `path` and have their canonical names and layouts.
    ///
    /// # Errors
    /// [`LayoutError::OtherNetwork`] with every missing and superfluous name and every wrong shape.
    pub fn weights_from(&self, path: &Path, tensors: Vec<WeightTensor>) -> Result<Vec<f32>, LayoutError> {
        let expected: Vec<(String, Vec<usize>)> =
            self.space.iter().map(|param| (param.name.clone(), param.shape.clone())).collect();
        let ordered = match_shapes(path, tensors, &expected)?;
        Ok(ordered.into_iter().flat_map(|t| t.values).collect())
    }

    /// Each parameter with its part of the flat `weights`, which must have the length of the space.
    pub fn tensors<'a>(&'a self, weights: &'a [f32]) -> impl Iterator<Item = (&'a Param, &'a [f32])> {
        self.space.iter().map(|param| (param, &weights[param.range.clone()]))
    }

    /// Of the logits at all positions of a sequence, those just before a predicted token.
    fn select_answers(&self, g: &mut Graph, logits: Node) -> Node {
        let Interface::Tokens { vocabulary, read: Read::Tokens { from, every, .. }, .. } = self.interface else {
            return logits;
        };
        let answers = every_nth(g, logits, from - 1, every, self.interface.answers());
        debug_assert_eq!(g.shape(answers).last(), Some(&vocabulary));
        g.named(answers, "answers")
    }

    fn build_example_loss(&self, g: &mut Graph, answers: Node, batch: usize) -> Node {
        match self.interface {
            Interface::Tokens { read: Read::LastPosition { .. }, .. } => {
                let targets = g.input_ids("targets", &[batch]);
                g.cross_entropy(answers, targets)
            }
            Interface::Tokens { read: Read::Tokens { from, every, is_weighted }, .. } => {
                let tokens = g.find("tokens").expect("the network has just declared this input");
                let n_answers = self.interface.answers();
                let targets = every_nth(g, tokens, from, every, n_answers);
                let losses = g.cross_entropy(answers, targets);
                let losses = g.named(losses, TOKEN_LOSS);
                if !is_weighted {
                    return g.mean(losses, &[1]);
                }
                let weights = g.input("weights", &[batch, n_answers]);
                let weighted = g.mul(losses, weights);
                g.sum(weighted, &[1])
            }
            Interface::LabelledItems { pairs, .. } => {
                let labels = g.find("y").expect("the network has just declared this input");
                let wanted = g.select_index(labels, 1, pairs - 1);
                g.cross_entropy(answers, wanted)
            }
            Interface::Vectors { loss: VectorLoss::CrossEntropy, .. } => {
                let classes = g.input_ids("y", &[batch]);
                g.cross_entropy(answers, classes)
            }
            Interface::Vectors { loss: VectorLoss::MeanSquared, outputs, .. } => {
                let wanted = g.input("y", &[batch, outputs]);
                let square = squared_difference(g, answers, wanted);
                g.mean(square, &[1])
            }
            Interface::Vectors { loss: VectorLoss::Squared { factor, importance }, outputs, .. } => {
                let wanted = g.input("y", &[batch, outputs]);
                let square = squared_difference(g, answers, wanted);
                // factor · importanceⁱ as an exponential: importance is above 0.
                let place = g.iota(&[outputs], 0);
                let logarithm = g.scale(place, importance.ln());
                let weights = g.exp(logarithm);
                let weighted = g.mul(square, weights);
                let total = g.sum(weighted, &[1]);
                g.scale(total, factor)
            }
            Interface::Pairs { .. } => {
                let wanted = g.find("y").expect("the network has just declared this input");
                let square = squared_difference(g, answers, wanted);
                let losses = g.named(square, TOKEN_LOSS);
                g.mean(losses, &[1])
            }
        }
    }
}

/// Entries `first`, `first + every`, … of the axis 1, `n` of them.
fn every_nth(g: &mut Graph, from: Node, first: usize, every: usize, n: usize) -> Node {
    if every == 1 {
        return g.slice(from, 1, first, n);
    }
    // Blocks of `every` entries, of which one is taken; the last block ends with the sequence, or before.
    let shape = g.shape(from).to_vec();
    let at = (first + n * every).saturating_sub(shape[1]);
    let blocks = g.slice(from, 1, first - at, n * every);
    let cut: Vec<usize> = [shape[0], n, every].into_iter().chain(shape[2..].iter().copied()).collect();
    let blocks = g.reshape(blocks, &cut);
    g.select_index(blocks, 2, at)
}

fn squared_difference(g: &mut Graph, a: Node, b: Node) -> Node {
    let difference = g.sub(a, b);
    g.square(difference)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn transformer(changes: &serde_json::Value) -> NetworkConfig {
        let mut settings = json!({
            "kind": "transformer", "layers": 1, "d_model": 8, "heads": 2, "d_mlp": 12,
            "activation": "relu", "normalization": "none", "positions": "learned",
        });
        for (key, value) in changes.as_object().unwrap() {
            settings[key] = value.clone();
            if value.is_null() {
                settings.as_object_mut().unwrap().remove(key);
            }
        }
        serde_json::from_value(settings).unwrap()
    }

    const TOKENS: Interface = Interface::Tokens { vocabulary: 6, length: 3, read: Read::LastPosition { classes: 5 } };

    const VECTORS: Interface = Interface::Vectors { inputs: 4, outputs: 2, loss: VectorLoss::MeanSquared, image: None };

    #[test]
    fn parameters_have_transformer_lens_names_and_shapes() {
        let all = json!({
            "normalization": "layer_norm", "attention_biases": true, "unembed_bias": true,
            "d_head": 3, "context": 7,
        });
        let model = Model::new(transformer(&all), TOKENS).unwrap();
        let found: Vec<(&str, &[usize])> =
            model.space().iter().map(|p| (p.name.as_str(), p.shape.as_slice())).collect();
        let expected: Vec<(&str, &[usize])> = vec![
            ("embed.W_E", &[6, 8]),
            ("pos_embed.W_pos", &[7, 8]),
            ("blocks.0.ln1.w", &[8]),
            ("blocks.0.ln1.b", &[8]),
            ("blocks.0.attn.W_Q", &[2, 8, 3]),
            ("blocks.0.attn.W_K", &[2, 8, 3]),
            ("blocks.0.attn.W_V", &[2, 8, 3]),
            ("blocks.0.attn.W_O", &[2, 3, 8]),
            ("blocks.0.attn.b_Q", &[2, 3]),
            ("blocks.0.attn.b_K", &[2, 3]),
            ("blocks.0.attn.b_V", &[2, 3]),
            ("blocks.0.attn.b_O", &[8]),
            ("blocks.0.ln2.w", &[8]),
            ("blocks.0.ln2.b", &[8]),
            ("blocks.0.mlp.W_in", &[8, 12]),
            ("blocks.0.mlp.b_in", &[12]),
            ("blocks.0.mlp.W_out", &[12, 8]),
            ("blocks.0.mlp.b_out", &[8]),
            ("ln_final.w", &[8]),
            ("ln_final.b", &[8]),
            ("unembed.W_U", &[8, 6]),
            ("unembed.b_U", &[6]),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn activations_have_transformer_lens_names_and_shapes() {
        let model = Model::new(transformer(&json!({"normalization": "layer_norm"})), TOKENS).unwrap();
        let (graph, nodes) = model.graph(2);
        graph.check().unwrap();
        assert_eq!(graph.shape(nodes.logits), [2, 5]);
        assert_eq!(graph.shape(nodes.example_loss), [2]);
        assert!(graph.shape(nodes.loss).is_empty());
        for (name, shape) in [
            ("hook_embed", &[2, 3, 8][..]),
            ("hook_pos_embed", &[2, 3, 8]),
            ("blocks.0.hook_resid_pre", &[2, 3, 8]),
            ("blocks.0.ln1.hook_scale", &[2, 3, 1]),
            ("blocks.0.ln1.hook_normalized", &[2, 3, 8]),
            ("blocks.0.attn.hook_q", &[2, 3, 2, 4]),
            ("blocks.0.attn.hook_k", &[2, 3, 2, 4]),
            ("blocks.0.attn.hook_v", &[2, 3, 2, 4]),
            ("blocks.0.attn.hook_attn_scores", &[2, 2, 3, 3]),
            ("blocks.0.attn.hook_pattern", &[2, 2, 3, 3]),
            ("blocks.0.attn.hook_z", &[2, 3, 2, 4]),
            ("blocks.0.hook_attn_out", &[2, 3, 8]),
            ("blocks.0.hook_resid_mid", &[2, 3, 8]),
            ("blocks.0.ln2.hook_normalized", &[2, 3, 8]),
            ("blocks.0.mlp.hook_pre", &[2, 3, 12]),
            ("blocks.0.mlp.hook_post", &[2, 3, 12]),
            ("blocks.0.hook_mlp_out", &[2, 3, 8]),
            ("blocks.0.hook_resid_post", &[2, 3, 8]),
            ("ln_final.hook_scale", &[2, 1]),
        ] {
            assert_eq!(graph.shape(graph.find(name).unwrap()), shape, "{name}");
        }
    }

    #[test]
    fn settings_that_cannot_work_are_named_with_what_is_allowed() {
        let cases = [
            (json!({"heads": 3}), "network.heads is 3; expected a divisor of d_model = 8, or d_head beside it"),
            (json!({"heads": 0}), "network.heads is 0; expected at least 1"),
            (json!({"d_model": 0}), "network.d_model is 0; expected at least 1"),
            (
                json!({"d_mlp": null}),
                "network.d_mlp is missing; expected the number of neurons of an MLP, or attention_only = true",
            ),
            (
                json!({"activation": null}),
                "network.activation is missing; expected `relu`, `gelu`, `gelu_tanh`, `silu`, `solu`, `solu_ln`, `tanh` or `identity`",
            ),
            (
                json!({"attention_only": true}),
                "network.d_mlp is 12; expected nothing, because attention_only = true leaves no MLP",
            ),
            (json!({"context": 2}), "network.context is 2; expected at least 3, the length of the task's sequences"),
            (json!({"key_value_heads": 3}), "network.key_value_heads is 3; expected a divisor of heads = 2"),
            (
                json!({"norm_position": "post"}),
                "network.norm_position is post; expected `pre`, because normalization = none leaves no norm to place",
            ),
            (
                json!({"positions": "rotary", "d_head": 3}),
                "network.d_head is 3; expected an even width, whose halves turn as pairs",
            ),
            (json!({"rotary_base": 100.0}), "network.rotary_base is given; expected it only with positions = rotary"),
            (
                json!({"gated_mlp": true, "activation": "solu_ln"}),
                "network.activation is solu_ln; expected another one, because the layer norm would leave the gate out",
            ),
            (json!({"norm_eps": -1.0}), "network.norm_eps is -1; expected a finite number, at least 0"),
        ];
        for (changes, message) in cases {
            let error = Model::new(transformer(&changes), TOKENS).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        let mlp = |sizes: &[usize]| {
            NetworkConfig::Mlp(crate::MlpConfig {
                sizes: sizes.to_vec(),
                activation: crate::Activation::Relu,
                biases: true,
                init: None,
                init_scale: None,
                init_gamma: None,
            })
        };
        for (network, interface, message) in [
            (
                mlp(&[4, 3]),
                VECTORS,
                "network.sizes is [4, 3]; expected widths from 4 to 2, the inputs and outputs of the task",
            ),
            (mlp(&[4]), VECTORS, "network.sizes is [4]; expected two or more widths, each at least 1"),
            (
                mlp(&[4, 2]),
                TOKENS,
                "network.kind is `mlp`, which reads vectors; expected `transformer`, because the task gives sequences",
            ),
            (
                transformer(&json!({})),
                VECTORS,
                "network.kind is `transformer`, which reads sequences; expected `mlp`, because the task gives vectors",
            ),
        ] {
            assert_eq!(Model::new(network, interface).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn unknown_keys_and_kinds_are_refused_with_candidates() {
        let unknown = NetworkConfig::deserialize_kind("mlp", json!({"sizes": [4, 2], "activaton": "relu"}));
        let message = unknown.unwrap_err().to_string();
        assert!(message.contains("unknown field `activaton`") && message.contains("`activation`"), "{message}");
        let kind = NetworkConfig::deserialize_kind("rnn", json!({})).unwrap_err().to_string();
        assert!(kind.contains("`transformer`") && kind.contains("`mlp`"), "{kind}");
    }

    #[test]
    fn configurations_survive_being_written_and_read() {
        for network in [
            transformer(&json!({"tied_unembed": true, "d_head": 3})),
            transformer(&json!({"attention_only": true, "d_mlp": null, "activation": null})),
        ] {
            let text = serde_json::to_string(&network).unwrap();
            assert_eq!(serde_json::from_str::<NetworkConfig>(&text).unwrap(), network);
        }
    }

    #[test]
    fn initial_weights_have_the_stated_distributions() {
        let settings = json!({"d_model": 64, "d_mlp": 128, "heads": 4, "attention_biases": true});
        let interface = Interface::Tokens { vocabulary: 40, length: 3, read: Read::NEXT_TOKEN };
        let model = Model::new(transformer(&settings), interface).unwrap();
        let weights = model.initial_weights(3);
        assert_eq!(weights, model.initial_weights(3));
        assert_ne!(weights, model.initial_weights(4));
        for (param, values) in model.tensors(&weights) {
            let n = values.len() as f64;
            let deviation = match param.name.as_str() {
                "unembed.W_U" => 40_f64.powf(-0.5),
                name if name.contains(".W_") => 0.125,
                _ => 0.0,
            };
            let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
            let square = values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / n;
            // Standard errors of mean and mean square of n normals: s/√n and s²·√(2/n); 4.5 of them at 12 tensors
            // would fail once in ten thousand seeds, and the seed is fixed.
            assert!(mean.abs() <= 4.5 * deviation / n.sqrt(), "{}: mean {mean}", param.name);
            let variance = deviation * deviation;
            assert!((square - variance).abs() <= 4.5 * variance * (2.0 / n).sqrt(), "{}: {square}", param.name);
        }
        // No two parameters may share their numbers.
        let q = model.space().find("blocks.0.attn.W_Q").unwrap().range.clone();
        let k = model.space().find("blocks.0.attn.W_K").unwrap().range.clone();
        assert_ne!(weights[q], weights[k]);
    }

    #[test]
    fn perceptron_starts_within_the_bounds_of_its_layer() {
        let network: NetworkConfig =
            serde_json::from_value(json!({"kind": "mlp", "sizes": [4, 100, 2], "activation": "tanh"})).unwrap();
        let model = Model::new(network, VECTORS).unwrap();
        let weights = model.initial_weights(0);
        for (param, values) in model.tensors(&weights) {
            let bound = if param.name.starts_with("layers.0") { 0.5 } else { 0.1 };
            let largest = values.iter().fold(0.0_f32, |a, v| a.max(v.abs()));
            // The largest of n uniforms is below 1 − 10/n of the bound with probability e⁻¹⁰.
            let n = values.len() as f32;
            assert!(largest <= bound && largest >= bound * (1.0 - 10.0 / n), "{}: {largest}", param.name);
        }
    }
}
