//! Selectivity of neurons: how much more each is active for one class than for all others.

use ontogeny_graph::{DataSet, Gradient, Graph, Node, Program, Purpose, Stream, Workspace};
use ontogeny_zoo::{Interface, Model, Read, Split, SubtaskBy, Task, VectorLoss};
use serde::{Deserialize, Serialize};

use crate::evaluate::ids;
use crate::sequences::{not_defined, split_of};
use crate::{Checkpoint, Findings, Instrument, Measured, ObserveError, Settings, Subject};

/// Version of the numbers of `neuron_selectivity`.
pub(crate) const NEURON_SELECTIVITY_VERSION: u32 = 1;

const OBSERVABLE: &str = "neuron_selectivity";

/// Scores of a layer, in the order of the array.
const SCORES: [&str; 4] = ["selectivity", "chance", "selective", "dead"];

/// Examples of one execution.
const BATCH: usize = 32;

/// Examples where the settings do not say how many.
const EXAMPLES: usize = 1024;

/// A class with fewer entries has no mean worth the name.
const FEWEST: usize = 10;

/// Of more classes the most frequent ones.
const MAX_CLASSES: usize = 256;

/// Settings of `observable = "neuron_selectivity"`.
///
/// The class selectivity index (Morcos et al. 2018, "On the importance of single directions for generalization"): with μ_max the largest
/// mean activity over the classes and μ_−max the mean of the means of all others, (μ_max − μ_−max)/(μ_max + μ_−max). It is 0 of a neuron
/// that is equally active for all and 1 of one that is active for one class alone. Activity is max(a, 0) of what stands behind the
/// nonlinearity, as the index is of activity that is not negative: the same of ReLU, and of `gelu`, `silu` and `tanh` without their
/// negative side; of SoLU it is read after the SoLU and before the layer norm that may follow; of channels the mean over the image.
///
/// Value `[layer, score]`: the mean over the neurons (`selectivity`), the same with classes drawn anew for every entry (`chance`: the
/// largest of many noisy means is above the others by itself), the share of neurons above `threshold` (`selective`) and of those never
/// active (`dead`, whose index is 0). Arrays `neuron_selectivity` and `preferred_class`, by `[neuron]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NeuronSelectivitySettings {
    /// Classes: the class that the task asks for, the token at the neuron's own position, or the sub-task of the example.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<SelectivityBy>,
    /// A neuron is selective above this, 0 to 1: 0.8 means nine times as active as for the other classes on average.
    pub threshold: f64,
    /// On which split; `even`, else `test`, else `train` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Of the split's first so many examples; 1024 unless given, or all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub examples: Option<usize>,
}

impl Default for NeuronSelectivitySettings {
    fn default() -> Self {
        Self { by: None, threshold: 0.8, split: None, examples: None }
    }
}

/// To what neurons may be selective.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SelectivityBy {
    /// The class that is asked for; the default where there are classes.
    Class,
    /// The token at the neuron's position; the default where tokens of the sequence are predicted.
    Token,
    /// The sub-task of the example.
    Subtask,
}

/// A layer of neurons.
struct Layer {
    label: String,
    activation: String,
    n_neurons: usize,
}

impl Settings for NeuronSelectivitySettings {
    fn build(&self, subject: &Subject<'_>) -> Result<Box<dyn Instrument>, ObserveError> {
        if !(0.0..=1.0).contains(&self.threshold) {
            return Err(ObserveError::Setting(format!("`threshold` is {}; expected 0 to 1", self.threshold)));
        }
        let model = subject.model;
        let split = split_of(subject.task, self.split.as_deref())?;
        let n = self.examples.unwrap_or(EXAMPLES).min(split.data.len());
        let data = split.data.rows(&(0..n).collect::<Vec<usize>>());
        let by = self.by.unwrap_or(match model.interface() {
            Interface::Tokens { read: Read::Tokens { .. }, .. } => SelectivityBy::Token,
            _ => SelectivityBy::Class,
        });
        let labels = labels(by, model, subject.task, split, n)?;
        let (graph, _) = model.graph(1);
        let layers = layers(&graph);
        if layers.is_empty() {
            let needs = "hidden neurons, as activations whose names end in `hook_post`";
            return Err(not_defined(OBSERVABLE, needs, "none"));
        }
        // Entries of one example: its positions where each has a class of its own.
        let n_entries = labels.len() / n.max(1);
        let (classes, counts) = classes(&labels);
        if counts.len() < 2 {
            let needs = format!("two classes and more that come {FEWEST} times and more each");
            return Err(not_defined(OBSERVABLE, needs, format!("{} among {n} examples", counts.len())));
        }
        let shuffled = {
            let order = Stream::new(subject.seed, Purpose::Resampling, 1 << 32).permutation(labels.len(), 0);
            order.into_iter().map(|at| classes[at]).collect()
        };
        let (mut graph, _) = model.graph(BATCH);
        let read = |graph: &mut Graph, layer: &Layer| -> Result<Node, ObserveError> {
            let node = graph.find(&layer.activation)?;
            Ok(entries(graph, node, model, n_entries))
        };
        let nodes: Vec<Node> = layers.iter().map(|layer| read(&mut graph, layer)).collect::<Result<_, _>>()?;
        let outputs: Vec<(&str, Node)> = layers.iter().map(|layer| layer.activation.as_str()).zip(nodes).collect();
        let program = Program::compile(&graph, &outputs, Gradient::None)?;
        let workspace = Workspace::new(&program);
        let names = class_names(&labels, &classes, counts.len());
        let threshold = self.threshold;
        let both = [classes, shuffled];
        Ok(Box::new(NeuronSelectivity { program, workspace, data, layers, n_entries, both, counts, names, threshold }))
    }
}

/// The layers of neurons of a graph: what stands behind their nonlinearity.
fn layers(graph: &Graph) -> Vec<Layer> {
    let layer = |(name, node): (&str, Node)| {
        let stem = if name == "hook_post" { "hidden" } else { name.strip_suffix(".hook_post")? };
        // A SoLU is read before its layer norm.
        let mid = format!("{stem}.hook_mid");
        let (activation, node) = graph.find(&mid).map_or((name.to_owned(), node), |own| (mid, own));
        let shape = graph.shape(node);
        let n_neurons = if shape.len() == 4 { shape[1] } else { *shape.last()? };
        let bare = stem.strip_suffix(".mlp").unwrap_or(stem);
        let number = ["blocks.", "layers."].iter().find_map(|prefix| bare.strip_prefix(prefix)?.parse::<usize>().ok());
        let label = number.map_or_else(|| bare.replace('.', ""), |number| format!("l{number}"));
        Some((number, Layer { label, activation, n_neurons }))
    };
    let mut found: Vec<(Option<usize>, Layer)> = graph.names().filter_map(layer).collect();
    // By number, not by name: 10 comes after 9.
    found.sort_by_key(|(number, _)| *number);
    found.into_iter().map(|(_, layer)| layer).collect()
}

/// Activity `[batch, entries, neurons]`.
fn entries(graph: &mut Graph, node: Node, model: &Model, n_entries: usize) -> Node {
    let shape = graph.shape(node).to_vec();
    match (shape.len(), model.interface()) {
        // Channels of an image: activity is that of every place.
        (4, _) => {
            let active = graph.relu(node);
            graph.mean(active, &[2, 3])
        }
        (3, Interface::Tokens { read: Read::LastPosition { .. }, .. }) if n_entries == 1 => {
            let last = graph.select_index(node, 1, shape[1] - 1);
            graph.relu(last)
        }
        // An example is one entry: all of its positions together.
        (3, _) if n_entries == 1 => {
            let active = graph.relu(node);
            graph.mean(active, &[1])
        }
        _ => graph.relu(node),
    }
}

/// The label of every entry, example by example.
fn labels(by: SelectivityBy, model: &Model, task: &Task, split: &Split, n: usize) -> Result<Vec<u32>, ObserveError> {
    let interface = model.interface();
    let column = |name: &str| {
        let found = ids(&split.data, name)?;
        let width = found.len() / split.data.len();
        Some(found[..n * width].iter().map(|&id| id as u32).collect::<Vec<u32>>())
    };
    let found = match (by, interface) {
        (SelectivityBy::Class, Interface::Tokens { read: Read::LastPosition { .. }, .. }) => column("targets"),
        (SelectivityBy::Class, Interface::Vectors { loss: VectorLoss::CrossEntropy, .. }) => column("y"),
        (SelectivityBy::Class, Interface::LabelledItems { pairs, .. }) => {
            column("y").map(|labels| labels.chunks_exact(pairs).map(|row| row[pairs - 1]).collect())
        }
        (SelectivityBy::Token, Interface::Tokens { .. }) => column("tokens"),
        (SelectivityBy::Subtask, _) => {
            let is_of_examples = task.subtasks.as_ref().is_some_and(|subtasks| subtasks.by == SubtaskBy::Example);
            (is_of_examples && split.subtasks.len() >= n).then(|| split.subtasks[..n].to_vec())
        }
        _ => None,
    };
    found.ok_or_else(|| {
        let needs = match by {
            SelectivityBy::Class => "a task that asks for one of several classes for `by = \"class\"`",
            SelectivityBy::Token => "sequences of tokens for `by = \"token\"`",
            SelectivityBy::Subtask => "examples that belong to sub-tasks for `by = \"subtask\"`",
        };
        not_defined(OBSERVABLE, needs, "none")
    })
}

/// The class of every entry, by frequency, or none where its label comes too seldom; and how many each has.
fn classes(labels: &[u32]) -> (Vec<Option<usize>>, Vec<usize>) {
    let mut by_label: std::collections::BTreeMap<u32, usize> = std::collections::BTreeMap::new();
    for &label in labels {
        *by_label.entry(label).or_default() += 1;
    }
    let mut frequent: Vec<(u32, usize)> = by_label.into_iter().filter(|&(_, count)| count >= FEWEST).collect();
    frequent.sort_by_key(|&(label, count)| (std::cmp::Reverse(count), label));
    frequent.truncate(MAX_CLASSES);
    let number: std::collections::BTreeMap<u32, usize> =
        frequent.iter().enumerate().map(|(number, &(label, _))| (label, number)).collect();
    let classes = labels.iter().map(|label| number.get(label).copied()).collect();
    (classes, frequent.into_iter().map(|(_, count)| count).collect())
}

/// The label of each class.
fn class_names(labels: &[u32], classes: &[Option<usize>], n: usize) -> Vec<u32> {
    let mut names = vec![0; n];
    for (&label, class) in labels.iter().zip(classes) {
        if let Some(class) = class {
            names[*class] = label;
        }
    }
    names
}

struct NeuronSelectivity {
    program: Program,
    workspace: Workspace,
    data: DataSet,
    layers: Vec<Layer>,
    n_entries: usize,
    /// The class of every entry, and drawn anew.
    both: [Vec<Option<usize>>; 2],
    counts: Vec<usize>,
    /// Label of each class.
    names: Vec<u32>,
    threshold: f64,
}

impl Instrument for NeuronSelectivity {
    fn dims(&self) -> Vec<(&'static str, Vec<String>)> {
        let layers = self.layers.iter().map(|layer| layer.label.clone()).collect();
        vec![("layer", layers), ("score", SCORES.map(str::to_owned).to_vec())]
    }

    fn measure(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Findings, ObserveError> {
        let Self { program, workspace, data, layers, n_entries, both, counts, .. } = self;
        // Sums of activity by layer, for both sets of classes: [class, neuron].
        let mut sums: Vec<[Vec<f64>; 2]> =
            layers.iter().map(|layer| [0, 1].map(|_| vec![0.0; counts.len() * layer.n_neurons])).collect();
        let rows: Vec<usize> = (0..data.len()).collect();
        for rows in rows.chunks(BATCH) {
            checkpoint.check_cancelled()?;
            data.fill(program, workspace, rows)?;
            program.run(workspace, checkpoint.weights)?;
            for (layer, sums) in layers.iter().zip(&mut sums) {
                let m = layer.n_neurons;
                let activities = workspace.output(program, &layer.activation).chunks_exact(m);
                for (entry, activity) in (rows[0] * *n_entries..).zip(activities.take(rows.len() * *n_entries)) {
                    for (sums, classes) in sums.iter_mut().zip(both.iter()) {
                        let Some(class) = classes[entry] else { continue };
                        let own = &mut sums[class * m..][..m];
                        own.iter_mut().zip(activity).for_each(|(sum, &a)| *sum += f64::from(a));
                    }
                }
            }
            (checkpoint.progress)((rows[0] + rows.len()) as f64 / data.len() as f64);
        }
        if sums.iter().flatten().flatten().any(|sum| !sum.is_finite()) {
            let node = self.program.first_non_finite(&mut self.workspace, checkpoint.weights)?;
            return Err(ObserveError::non_finite(node, "the activities of neurons"));
        }
        let (mut values, mut neurons, mut indices, mut preferred) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (layer, [own, shuffled]) in self.layers.iter().zip(&sums) {
            let m = layer.n_neurons;
            let index = |sums: &[f64], neuron: usize| {
                let means: Vec<f64> =
                    self.counts.iter().enumerate().map(|(class, &n)| sums[class * m + neuron] / n as f64).collect();
                selectivity(&means)
            };
            let found: Vec<(f64, usize)> = (0..m).map(|neuron| index(own, neuron)).collect();
            let chance = (0..m).map(|neuron| index(shuffled, neuron).0).sum::<f64>() / m as f64;
            let share = |of: &dyn Fn(usize) -> bool| (0..m).filter(|&neuron| of(neuron)).count() as f64 / m as f64;
            let is_dead = |neuron: usize| (0..self.counts.len()).all(|class| own[class * m + neuron] == 0.0);
            values.push(found.iter().map(|(index, _)| index).sum::<f64>() / m as f64);
            values.push(chance);
            values.push(share(&|neuron| found[neuron].0 > self.threshold));
            values.push(share(&is_dead));
            neurons.extend((0..m).map(|neuron| format!("{}n{neuron}", layer.label)));
            indices.extend(found.iter().map(|(index, _)| *index));
            preferred.extend(found.iter().map(|&(_, class)| f64::from(self.names[class])));
        }
        let value = Measured { unit: "1", dims: self.dims(), values };
        let array = |values| Measured { unit: "1", dims: vec![("neuron", neurons.clone())], values };
        let arrays = vec![("neuron_selectivity", array(indices)), ("preferred_class", array(preferred))];
        let details = vec![("classes", self.counts.len() as f64)];
        Ok(Findings { arrays, details, ..value.into() })
    }
}

/// The index and the class of the largest mean activity; means are not negative.
fn selectivity(means: &[f64]) -> (f64, usize) {
    let best = (0..means.len()).fold(0, |best, class| if means[class] > means[best] { class } else { best });
    let others = (means.iter().sum::<f64>() - means[best]) / (means.len() - 1) as f64;
    let total = means[best] + others;
    // A neuron that is never active prefers nothing.
    (if total > 0.0 { ((means[best] - others) / total).max(0.0) } else { 0.0 }, best)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ontogeny_zoo::TaskConfig;
    use serde_json::{Value, from_value, json};

    use super::*;

    fn prepared(config: Value) -> Task {
        from_value::<TaskConfig>(config).unwrap().prepare(0, Path::new(".")).unwrap()
    }

    #[test]
    fn the_index_is_that_of_the_definition() {
        assert_eq!(selectivity(&[0.0, 2.0, 0.0]), (1.0, 1));
        assert_eq!(selectivity(&[1.5, 1.5]), (0.0, 0));
        assert_eq!(selectivity(&[0.0, 0.0]), (0.0, 0));
        // 9 times the others' mean: 0.8.
        let (index, best) = selectivity(&[0.5, 1.5, 9.0]);
        assert!((index - 0.8).abs() < 1e-15 && best == 2);
    }

    /// One neuron for each token, one that is always on, one that is never: read by token, behind a SoLU too.
    #[test]
    fn neurons_made_for_tokens_are_selective_and_others_are_not() {
        let task = prepared(
            json!({"kind": "repeated_tokens", "vocabulary": 5, "block": 6, "repeats": 2, "train_examples": 200}),
        );
        for activation in ["relu", "solu_ln"] {
            let network = json!({
                "kind": "transformer", "layers": 1, "d_model": 12, "heads": 1, "d_mlp": 8, "activation": activation,
                "normalization": "none", "positions": "none",
            });
            let model = Model::new(from_value(network).unwrap(), task.interface).unwrap();
            let mut weights = vec![0.0; model.space().len()];
            let mut set = |name: &str, at: usize, value: f32| {
                weights[model.space().find(name).unwrap().range.start + at] = value;
            };
            for token in 0..5 {
                set("embed.W_E", token * 12 + token, 1.0);
                set("blocks.0.mlp.W_in", token * 8 + token, 20.0);
            }
            set("blocks.0.mlp.b_in", 5, 20.0);
            set("blocks.0.mlp.b_in", 6, -20.0);
            let settings: NeuronSelectivitySettings = from_value(json!({"split": "train"})).unwrap();
            let mut selectivity = settings.build(&Subject { model: &model, task: &task, seed: 0 }).unwrap();
            let found = selectivity.measure(&Checkpoint::alone(&weights)).unwrap();
            let indices = &found.arrays[0].1;
            assert_eq!(indices.dims[0].1[0], "l0n0");
            let n_tokens = match task.interface {
                Interface::Tokens { vocabulary, .. } => vocabulary.min(5),
                _ => 0,
            };
            for token in 0..n_tokens {
                assert!((indices.values[token] - 1.0).abs() < 1e-5, "{activation}: {indices:?}");
                assert_eq!(found.arrays[1].1.values[token], token as f64);
            }
            assert!(indices.values[5] < 1e-5, "{activation}: {indices:?}");
            assert_eq!(indices.values[7], 0.0);
            let [mean, chance, selective, dead] = found.value.values[..] else { panic!("{found:?}") };
            assert!((mean - n_tokens as f64 / 8.0).abs() < 1e-5 && (selective - n_tokens as f64 / 8.0).abs() < 1e-12);
            // Means of 2,400 entries in five classes are near to each other.
            assert!(chance < 0.25 * mean, "{chance}");
            // SoLU of −20 is −20·e⁻⁴⁰ and below: no activity either.
            assert!((dead - 0.25).abs() < 1e-12, "{activation}: {dead}");
        }
    }

    #[test]
    fn classes_and_sub_tasks_are_read_and_what_is_missing_is_said() {
        let task = prepared(json!({"kind": "images", "source": "digits", "train_fraction": 0.8}));
        let network = json!({"kind": "cnn", "channels": [4], "kernel": 3, "dense": [8], "activation": "relu"});
        let model = Model::new(from_value(network).unwrap(), task.interface).unwrap();
        let subject = Subject { model: &model, task: &task, seed: 0 };
        let mut own = NeuronSelectivitySettings::default().build(&subject).unwrap();
        let found = own.measure(&Checkpoint::alone(&model.initial_weights(0))).unwrap();
        assert_eq!(own.dims()[0].1.len(), 2);
        assert!(found.value.values.iter().all(|x| (0.0..=1.0).contains(x)), "{found:?}");
        assert_eq!(found.details, [("classes", 10.0)]);
        let error = |settings: Value| {
            let settings: NeuronSelectivitySettings = from_value(settings).unwrap();
            settings.build(&subject).map(|_| ()).unwrap_err().to_string()
        };
        assert!(error(json!({"by": "token"})).contains("sequences of tokens for `by = \"token\"`"));
        assert!(error(json!({"examples": 20})).contains("that come 10 times and more each"));
        assert!(error(json!({"threshold": 2.0})).contains("expected 0 to 1"));
    }
}
