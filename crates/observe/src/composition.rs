//! Composition of attention heads: how much of what one head writes another reads, beyond chance.

use ontogeny_graph::{Gradient, Graph, Node, Program, Workspace};
use serde::{Deserialize, Serialize};

use crate::head_weights::{HeadMatrices, head_matrices, is_centred, transformer};
use crate::sequences::{AttentionLayer, attention_layers, head_labels, token_interface};
use crate::{Checkpoint, Findings, Instrument, Measured, ObserveError, Settings, Subject};

/// Version of the numbers of `composition`.
pub(crate) const COMPOSITION_VERSION: u32 = 1;

const OBSERVABLE: &str = "composition";

/// What a later head reads with, in the order of the array.
const SCORES: [&str; 3] = ["query", "key", "value"];

/// More pairs nobody looks at, and a report could not hold them.
const MAX_PAIRS: usize = 2048;

/// Settings of `observable = "composition"`.
///
/// For each head 1 and each head 2 of a later block (Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"), with
/// `W_OV = W_V W_O` and `W_QK = W_Q W_Kᵀ`, d × d, a token's row multiplied from the left:
///
/// | score | ‖·‖ / product of both norms (Frobenius), minus chance |
/// |---|---|
/// | `query` | `W_OV¹ W_QK²` |
/// | `key` | `W_OV¹ W_QK²ᵀ` |
/// | `value` | `W_OV¹ W_OV²` |
///
/// Chance is 1/√d, the root mean square of the ratio where the one matrix is turned at random against the other:
/// E‖A R B‖² = ‖A‖²‖B‖²/d for R uniform among rotations, whatever A and B. Where norms take the mean away, both live in the d − 1 other
/// directions, and chance is 1/√(d − 1). A ratio is at most 1; a head without weights has the ratio 0.
///
/// Weights of the norms before the blocks are in the matrices, their scales and all biases are not; of rotary positions it is the
/// composition at the same place.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CompositionSettings {
    /// Heads that write, such as `l0h3`, or all of a block, `l0`; all unless given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<String>,
    /// Heads that read, likewise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<String>,
}

impl Settings for CompositionSettings {
    fn build(&self, subject: &Subject<'_>) -> Result<Box<dyn Instrument>, ObserveError> {
        token_interface(subject.model, OBSERVABLE)?;
        let config = transformer(subject.model.network(), OBSERVABLE)?;
        let (mut graph, _) = subject.model.graph(1);
        let layers = attention_layers(&graph, OBSERVABLE)?;
        let labels = head_labels(&layers);
        let [from, to] = [chosen("from", &self.from, &labels)?, chosen("to", &self.to, &labels)?];
        let layer_of: Vec<usize> = (0..).zip(&layers).flat_map(|(at, own)| vec![at; own.n_heads]).collect();
        let pairs: Vec<(usize, usize)> = (0..labels.len())
            .flat_map(|one| (0..labels.len()).map(move |two| (one, two)))
            .filter(|&(one, two)| layer_of[one] < layer_of[two] && from[one] && to[two])
            .collect();
        if pairs.is_empty() || pairs.len() > MAX_PAIRS {
            return Err(ObserveError::Setting(format!(
                "found {} pairs of a head and one of a later block; expected 1 to {MAX_PAIRS}: name heads or blocks with `from` and `to`",
                pairs.len()
            )));
        }
        let heads = |graph: &mut Graph, own: &AttentionLayer| head_matrices(graph, config, own.layer);
        let matrices: Vec<HeadMatrices> = layers.iter().map(|own| heads(&mut graph, own)).collect::<Result<_, _>>()?;
        let mut outputs = Vec::new();
        for (two, reader) in matrices.iter().enumerate() {
            let read = [(reader.query, reader.key), (reader.key, reader.query)]
                .map(|(reads, other)| (reads, gram(&mut graph, other, 1)));
            let output_gram = gram(&mut graph, reader.output, 2);
            let read = [read[0], read[1], (reader.value, output_gram)];
            for (score, (reads, other)) in SCORES.iter().zip(read) {
                let own = gram(&mut graph, reads, 1);
                let norms = inner(&mut graph, own, other);
                outputs.push((format!("{score} {two}"), norms));
                for (one, writer) in matrices.iter().enumerate().take(two) {
                    let squared = joint(&mut graph, writer, reads, other);
                    outputs.push((format!("{score} {one} {two}"), squared));
                }
            }
        }
        for (one, writer) in matrices.iter().enumerate() {
            let [of_value, of_output] = [gram(&mut graph, writer.value, 1), gram(&mut graph, writer.output, 2)];
            outputs.push((format!("writes {one}"), inner(&mut graph, of_value, of_output)));
        }
        let outputs: Vec<(&str, Node)> = outputs.iter().map(|(name, node)| (name.as_str(), *node)).collect();
        let program = Program::compile(&graph, &outputs, Gradient::None)?;
        let workspace = Workspace::new(&program);
        let first_head: Vec<usize> =
            layers.iter().scan(0, |next, own| Some(std::mem::replace(next, *next + own.n_heads))).collect();
        let n_directions = config.d_model - usize::from(is_centred(config) && config.d_model > 1);
        let chance = 1.0 / (n_directions as f64).sqrt();
        Ok(Box::new(Composition { program, workspace, labels, pairs, layer_of, first_head, chance }))
    }
}

/// Which heads are named; all where none is.
fn chosen(key: &str, names: &[String], labels: &[String]) -> Result<Vec<bool>, ObserveError> {
    let has = |name: &str, label: &str| label == name || label.split('h').next() == Some(name);
    for name in names {
        if !labels.iter().any(|label| has(name, label)) {
            let (first, last) = (labels.first().map_or("", String::as_str), labels.last().map_or("", String::as_str));
            return Err(ObserveError::Setting(format!(
                "`{key}` has \"{name}\"; expected heads from \"{first}\" to \"{last}\", or blocks such as \"l0\""
            )));
        }
    }
    Ok(labels.iter().map(|label| names.is_empty() || names.iter().any(|name| has(name, label))).collect())
}

/// MᵀM `[heads, e, e]` over the axis of the stream, which is 1 or 2.
fn gram(g: &mut Graph, matrix: Node, stream: usize) -> Node {
    g.einsum(if stream == 1 { "hde,hdf->hef" } else { "hed,hfd->hef" }, matrix, matrix)
}

/// ‖A Bᵀ‖² = tr(AᵀA BᵀB) of each head, from both Gram matrices: `[heads]`.
fn inner(g: &mut Graph, a: Node, b: Node) -> Node {
    let product = g.mul(a, b);
    g.sum(product, &[1, 2])
}

/// ‖V¹ O¹ R² Xᵀ‖² of each head 1 and 2, with R² what reads and X² what stands behind it: tr(V¹ᵀV¹ M XᵀX Mᵀ) of the small M = O¹R².
fn joint(g: &mut Graph, writer: &HeadMatrices, reads: Node, other: Node) -> Node {
    let between = g.einsum("hed,gdf->hgef", writer.output, reads);
    let of_value = gram(g, writer.value, 1);
    let left = g.einsum("hae,hgef->hgaf", of_value, between);
    let both = g.einsum("hgaf,gfb->hgab", left, other);
    let product = g.mul(both, between);
    g.sum(product, &[2, 3])
}

struct Composition {
    program: Program,
    workspace: Workspace,
    labels: Vec<String>,
    /// Numbers of two heads.
    pairs: Vec<(usize, usize)>,
    /// Number of each head's layer among those with attention.
    layer_of: Vec<usize>,
    first_head: Vec<usize>,
    chance: f64,
}

impl Instrument for Composition {
    fn dims(&self) -> Vec<(&'static str, Vec<String>)> {
        let pair = |(one, two): &(usize, usize)| format!("{}-{}", self.labels[*one], self.labels[*two]);
        vec![("pair", self.pairs.iter().map(pair).collect()), ("score", SCORES.map(str::to_owned).to_vec())]
    }

    fn measure(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Findings, ObserveError> {
        checkpoint.check_cancelled()?;
        self.program.run(&mut self.workspace, checkpoint.weights)?;
        let output = |name: &str| self.workspace.output(&self.program, name);
        let mut values = Vec::with_capacity(self.pairs.len() * SCORES.len());
        for &(one, two) in &self.pairs {
            let [layer1, layer2] = [self.layer_of[one], self.layer_of[two]];
            let [head1, head2] = [one - self.first_head[layer1], two - self.first_head[layer2]];
            let written = f64::from(output(&format!("writes {layer1}"))[head1]);
            for score in SCORES {
                let read = output(&format!("{score} {layer2}"));
                let joint = output(&format!("{score} {layer1} {layer2}"))[head1 * read.len() + head2];
                let norms = written * f64::from(read[head2]);
                // Rounding alone can make a square negative.
                let ratio = if norms == 0.0 { 0.0 } else { (f64::from(joint) / norms).max(0.0).sqrt() };
                values.push(ratio - self.chance);
            }
        }
        let value = Measured { unit: "1", dims: self.dims(), values };
        if value.values.iter().any(|value| !value.is_finite()) {
            let node = self.program.first_non_finite(&mut self.workspace, checkpoint.weights)?;
            return Err(ObserveError::non_finite(node, "the products of weights"));
        }
        Ok(Findings { details: vec![("chance", self.chance)], ..value.into() })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ontogeny_graph::{Purpose, Stream};
    use ontogeny_zoo::{CompiledConfig, Model, Task, TaskConfig};
    use serde_json::{Value, from_value, json};

    use super::*;

    fn random_task() -> Task {
        let config =
            json!({"kind": "repeated_tokens", "vocabulary": 11, "block": 6, "repeats": 2, "train_examples": 5});
        from_value::<TaskConfig>(config).unwrap().prepare(0, Path::new(".")).unwrap()
    }

    fn model(task: &Task, changes: &Value) -> Model {
        let mut network = json!({
            "kind": "transformer", "layers": 2, "d_model": 64, "heads": 8, "attention_only": true,
            "normalization": "none", "positions": "learned",
        });
        network.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        Model::new(from_value(network).unwrap(), task.interface).unwrap()
    }

    fn measured(model: &Model, task: &Task, weights: &[f32], settings: Value) -> Result<Measured, ObserveError> {
        let settings: CompositionSettings = from_value(settings).unwrap();
        let mut composition = settings.build(&Subject { model, task, seed: 0 })?;
        Ok(composition.measure(&Checkpoint::alone(weights))?.value)
    }

    /// Gaussian weights have rotations of their own in every head, so that the mean square of the ratio is 1/d exactly.
    #[test]
    fn random_heads_compose_as_chance_says() {
        let task = random_task();
        for (changes, d) in
            [(json!({}), 64.0), (json!({"normalization": "layer_norm"}), 63.0), (json!({"key_value_heads": 4}), 64.0)]
        {
            let model = model(&task, &changes);
            let weights = model.initial_weights(3);
            let found = measured(&model, &task, &weights, json!({})).unwrap();
            assert_eq!(found.dims[0].1.len(), 64);
            let chance = 1.0 / f64::sqrt(d);
            for score in 0..3 {
                let squares: Vec<f64> =
                    found.values.iter().skip(score).step_by(3).map(|x| (x + chance).powi(2) * d).collect();
                let mean = squares.iter().sum::<f64>() / 64.0;
                let variance = squares.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 63.0;
                // 64 pairs share 8 heads on each side: as if there were 8 independent ones, at worst.
                let error = (variance / 8.0).sqrt();
                assert!((mean - 1.0).abs() < 4.0 * error && error < 0.1, "{changes}, {score}: {mean} ± {error}");
            }
        }
    }

    /// The small products give the norms of the large matrices.
    #[test]
    fn ratios_are_those_of_the_whole_matrices() {
        let task = random_task();
        let model =
            model(&task, &json!({"d_model": 12, "heads": 3, "normalization": "rms_norm", "key_value_heads": 1}));
        let mut weights = model.initial_weights(1);
        let mut noise = vec![0.0; weights.len()];
        Stream::new(4, Purpose::Probe, 0).normals(0, 0, &mut noise);
        weights.iter_mut().zip(noise).for_each(|(w, x)| *w += 0.3 * x);
        let found = measured(&model, &task, &weights, json!({"from": ["l0h1"], "to": ["l1"]})).unwrap();
        assert_eq!(found.dims[0].1, ["l0h1-l1h0", "l0h1-l1h1", "l0h1-l1h2"]);
        let (d, e) = (12, 4);
        let tensor = |name: &str| -> Vec<f64> {
            weights[model.space().find(name).unwrap().range.clone()].iter().map(|&x| f64::from(x)).collect()
        };
        let head = |layer: usize, which: &str, head: usize| -> Vec<f64> {
            let all = tensor(&format!("blocks.{layer}.attn.{which}"));
            let own = all[head * d * e..(head + 1) * d * e].to_vec();
            if which == "W_O" {
                return own;
            }
            let norm = tensor(&format!("blocks.{layer}.ln1.w"));
            own.iter().enumerate().map(|(at, x)| x * norm[at / e]).collect()
        };
        let product = |a: &[f64], b: &[f64], m: usize, k: usize, n: usize| -> Vec<f64> {
            (0..m * n).map(|at| (0..k).map(|j| a[at / n * k + j] * b[j * n + at % n]).sum()).collect()
        };
        let transposed = |a: &[f64], rows: usize, columns: usize| -> Vec<f64> {
            (0..rows * columns).map(|at| a[at % rows * columns + at / rows]).collect()
        };
        let norm = |a: &[f64]| a.iter().map(|x| x * x).sum::<f64>().sqrt();
        let ov = product(&head(0, "_W_V", 0), &head(0, "W_O", 1), d, e, d);
        for two in 0..3 {
            let qk = product(&head(1, "W_Q", two), &transposed(&head(1, "_W_K", 0), d, e), d, e, d);
            let ov2 = product(&head(1, "_W_V", 0), &head(1, "W_O", two), d, e, d);
            for (score, right) in [qk.clone(), transposed(&qk, d, d), ov2].iter().enumerate() {
                let expected =
                    norm(&product(&ov, right, d, d, d)) / (norm(&ov) * norm(right)) - 1.0 / (d as f64).sqrt();
                let own = found.values[two * 3 + score];
                assert!((own - expected).abs() < 1e-5, "{two}, {score}: {own}, {expected}");
            }
        }
    }

    /// The keys of the compiled induction head are what the previous-token head writes, and nothing else is.
    #[test]
    fn a_compiled_induction_head_composes_by_its_keys() {
        let config: CompiledConfig =
            from_value(json!({"program": "induction", "length": 8, "symbols": 12, "held_examples": 10})).unwrap();
        let compiled = config.compile().unwrap();
        let mut own =
            json!({"kind": "compiled", "program": "induction", "length": 8, "symbols": 12, "held_examples": 10});
        own["held_examples"] = json!(10);
        let task = from_value::<TaskConfig>(own).unwrap().prepare(0, Path::new(".")).unwrap();
        let found = measured(&compiled.model, &task, &compiled.weights, json!({})).unwrap();
        assert_eq!(found.dims[0].1, ["l0h0-l1h0"]);
        let d = compiled.model.space().find("embed.W_E").unwrap().shape[1] as f64;
        let [query, key, value] = [0, 1, 2].map(|at| found.values[at] + 1.0 / d.sqrt());
        assert!(key > 0.1 && query == 0.0 && value == 0.0, "{query}, {key}, {value}");
    }

    #[test]
    fn pairs_that_do_not_exist_are_named() {
        let task = random_task();
        let one = model(&task, &json!({"layers": 1}));
        let error = measured(&one, &task, &one.initial_weights(0), json!({})).unwrap_err().to_string();
        assert!(error.contains("found 0 pairs"), "{error}");
        let two = model(&task, &json!({}));
        let error = measured(&two, &task, &two.initial_weights(0), json!({"to": ["l2"]})).unwrap_err().to_string();
        assert!(error.contains("`to` has \"l2\"; expected heads from \"l0h0\" to \"l1h7\""), "{error}");
        // No weights, no composition.
        let found = measured(&two, &task, &vec![0.0; two.space().len()], json!({})).unwrap();
        assert!(found.values.iter().all(|&x| x == -0.125), "{found:?}");
    }
}
