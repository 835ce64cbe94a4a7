//! Quanta discovery from gradients: which examples are learned by the same change of the weights.

use ontogeny_graph::{Column, ColumnData, DataSet, Gradient, Program, Workspace};
use ontogeny_stats::{Matrix, SpectralClustering, adjusted_rand_index, log_log_fit};
use ontogeny_zoo::{Model, Split, TOKEN_LOSS};
use serde::{Deserialize, Serialize};

use crate::probe_labels::subtask_of;
use crate::samples::{PositionsOf, Samples, split_of};
use crate::{Checkpoint, Findings, Instrument, Measured, ObserveError, Settings, Subject};

/// Version of the numbers.
pub(crate) const QUANTA_VERSION: u32 = 1;

/// Settings of `observable = "quanta"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuantaSettings {
    /// Numbers of clusters, ascending, each at least 2.
    pub clusters: Vec<usize>,
    /// Examples, or answers in sequences, that are clustered; 10 to 4000. Takes the cube of it.
    pub samples: usize,
    /// Split of the task; `test` unless given, or else `train`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
}

impl Default for QuantaSettings {
    fn default() -> Self {
        Self { clusters: vec![5, 10, 20, 40], samples: 500, split: None }
    }
}

const NAME: &str = "quanta";

const MAX_SAMPLES: usize = 4000;

/// Most numbers of all gradients in memory, 512 MB: of larger networks they are computed again for each block of parameters.
const MAX_GRADIENTS: usize = 1 << 27;

impl Settings for QuantaSettings {
    fn build(&self, subject: &Subject<'_>) -> Result<Box<dyn Instrument>, ObserveError> {
        let split = split_of(subject.task, self.split.as_deref(), NAME)?;
        let samples = Samples::choose(subject, split, self.samples.min(MAX_SAMPLES + 1), PositionsOf::Answers);
        let n = samples.chosen.len();
        if !(10..=MAX_SAMPLES).contains(&n) {
            let message =
                format!("`samples` is {}, of which there are {n}; expected 10 to {MAX_SAMPLES}", self.samples);
            return Err(ObserveError::Setting(message));
        }
        let ascends = self.clusters.windows(2).all(|pair| pair[0] < pair[1]);
        let fits = |&k: &usize| k >= 2 && k <= n;
        if self.clusters.is_empty() || !ascends || !self.clusters.iter().all(fits) {
            let message =
                format!("`clusters` is {:?}; expected ascending numbers from 2 to {n}, the samples", self.clusters);
            return Err(ObserveError::Setting(message));
        }
        let subtasks = subject.task.subtasks.as_ref();
        let known =
            subtasks.map(|subtasks| subtask_of(subtasks.by, subject.model.interface().answers(), split, &samples));
        let gradients = Gradients::new(subject.model, split, &samples)?;
        let labels = samples
            .chosen
            .iter()
            .map(|s| match s.answer {
                Some(answer) if subject.model.interface().answers() > 1 => {
                    format!("{}.{answer}", split.indices[samples.examples[s.row]])
                }
                _ => split.indices[samples.examples[s.row]].to_string(),
            })
            .collect();
        Ok(Box::new(Quanta { gradients, known, labels, clusters: self.clusters.clone(), seed: subject.seed }))
    }
}

struct Quanta {
    gradients: Gradients,
    /// The sub-task of each sample, where the task has some.
    known: Option<Vec<u32>>,
    labels: Vec<String>,
    clusters: Vec<usize>,
    seed: u32,
}

impl Instrument for Quanta {
    fn dims(&self) -> Vec<(&'static str, Vec<String>)> {
        let mut scores = vec!["largest".to_owned(), "slope".to_owned()];
        if self.known.is_some() {
            scores.push("adjusted_rand".to_owned());
        }
        vec![("clusters", self.clusters.iter().map(ToString::to_string).collect()), ("score", scores)]
    }

    fn measure(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Findings, ObserveError> {
        let n = self.labels.len();
        let similarities = angular_similarities(&self.gradients.products(checkpoint)?)?;
        checkpoint.check_cancelled()?;
        let most = self.clusters.last().copied().unwrap_or(1);
        let spectral = SpectralClustering::new(&similarities, most)?;
        let (mut values, mut of_samples, mut all_sizes) = (Vec::new(), Vec::new(), Vec::new());
        let mut envelope = vec![0.0_f64; most];
        for &k in &self.clusters {
            checkpoint.check_cancelled()?;
            let found = spectral.clusters(k, u64::from(self.seed))?;
            let mut sizes = vec![0.0_f64; most];
            for &cluster in &found {
                sizes[cluster as usize] += 1.0;
            }
            envelope.iter_mut().zip(&sizes).for_each(|(most, size)| *most = most.max(*size));
            values.extend([sizes[0] / n as f64, slope(&sizes)?]);
            if let Some(known) = &self.known {
                values.push(adjusted_rand_index(&found, known)?);
            }
            of_samples.extend(found.into_iter().map(f64::from));
            all_sizes.extend(sizes);
        }
        let numbers = self.clusters.iter().map(ToString::to_string).collect::<Vec<String>>();
        let ranks = (1..=most).map(|rank| rank.to_string()).collect();
        let cluster = Measured {
            unit: "1",
            dims: vec![("clusters", numbers.clone()), ("example", self.labels.clone())],
            values: of_samples,
        };
        let size = Measured { unit: "1", dims: vec![("clusters", numbers), ("rank", ranks)], values: all_sizes };
        Ok(Findings {
            value: Measured { unit: "1", dims: self.dims(), values },
            standard_errors: None,
            arrays: vec![("cluster", cluster), ("size", size)],
            details: vec![("envelope_slope", slope(&envelope)?)],
            refusal: None,
        })
    }
}

/// d ln size / d ln rank over the clusters that are not empty; 0 of a single one.
fn slope(sizes: &[f64]) -> Result<f64, ObserveError> {
    let (ranks, sizes): (Vec<f64>, Vec<f64>) =
        sizes.iter().zip(1..).filter(|(size, _)| **size > 0.0).map(|(&size, rank)| (f64::from(rank), size)).unzip();
    Ok(if sizes.len() < 2 { 0.0 } else { log_log_fit(&ranks, &sizes)?.slope })
}

/// 1 − arccos(C)/π with C the cosines of the gradients (Michaud et al. 2023, section 5): ½ of unrelated ones. A gradient of 0 points
/// nowhere and counts as unrelated to all others.
fn angular_similarities(products: &Matrix) -> Result<Matrix, ObserveError> {
    let n = products.n_rows();
    let lengths: Vec<f64> = (0..n).map(|i| products.row(i)[i].max(0.0).sqrt()).collect();
    let similarity = |at: usize| {
        let (i, j) = (at / n, at % n);
        let scale = lengths[i] * lengths[j];
        let cosine = if i == j {
            1.0
        } else if scale > 0.0 {
            (products.row(i)[j] / scale).clamp(-1.0, 1.0)
        } else {
            0.0
        };
        1.0 - cosine.acos() / std::f64::consts::PI
    };
    Ok(Matrix::new(n, n, (0..n * n).map(similarity).collect())?)
}

/// Gradients of single answers.
#[derive(Debug)]
struct Gradients {
    model: Model,
    data: DataSet,
    /// Ranges of parameters that are handled at once.
    blocks: Vec<std::ops::Range<usize>>,
}

/// The input that picks one answer of an example.
const PICK: &str = "pick";

impl Gradients {
    fn new(model: &Model, split: &Split, samples: &Samples) -> Result<Self, ObserveError> {
        let rows: Vec<usize> = samples.chosen.iter().map(|s| samples.examples[s.row]).collect();
        let n_answers = model.interface().answers();
        let picked = samples.chosen.iter().flat_map(|s| {
            let own = s.answer.unwrap_or(0);
            (0..n_answers).map(move |answer| if answer == own { 1.0 } else { 0.0 })
        });
        let pick = Column { name: PICK.to_owned(), width: n_answers, data: ColumnData::Float(picked.collect()) };
        let columns = split.data.rows(&rows).columns().iter().cloned().chain([pick]).collect();
        let data = DataSet::new(rows.len(), columns).map_err(|error| ObserveError::Setting(error.to_string()))?;
        let n = model.space().len();
        let width = (MAX_GRADIENTS / rows.len().max(1)).max(1);
        let blocks = (0..n).step_by(width).map(|start| start..(start + width).min(n)).collect();
        Ok(Self { model: model.clone(), data, blocks })
    }

    /// Scalar products of the gradients of all samples, exact but for rounding: block by block of the parameters, so that all
    /// gradients of one block are in memory.
    fn products(&self, checkpoint: &Checkpoint<'_>) -> Result<Matrix, ObserveError> {
        let (mut graph, nodes) = self.model.graph(1);
        let losses = graph.find(TOKEN_LOSS).unwrap_or(nodes.example_loss);
        let shape = graph.shape(losses).to_vec();
        let n_answers = self.model.interface().answers();
        let pick = graph.input(PICK, &[1, n_answers]);
        let pick = graph.reshape(pick, &shape);
        let picked = graph.mul(losses, pick);
        let axes: Vec<usize> = (0..shape.len()).collect();
        let loss = graph.sum(picked, &axes);
        let n = self.data.len();
        let mut sums = Matrix::zeros(n, n);
        for (at, block) in self.blocks.iter().enumerate() {
            let program =
                Program::compile(&graph, &[("loss", loss)], Gradient::Ranges(loss, std::slice::from_ref(block)))?;
            let mut workspace = Workspace::new(&program);
            let mut gradients = Vec::with_capacity(n * block.len());
            for row in 0..n {
                if row % 64 == 0 {
                    checkpoint.check_cancelled()?;
                    let share = (at as f64 + row as f64 / n as f64) / self.blocks.len() as f64;
                    (checkpoint.progress)(share);
                }
                self.data.fill(&program, &mut workspace, &[row])?;
                program.run(&mut workspace, checkpoint.weights)?;
                let gradient = &workspace.gradient(&program)[block.clone()];
                if gradient.iter().any(|g| !g.is_finite()) {
                    let node = program.first_non_finite(&mut workspace, checkpoint.weights)?;
                    return Err(ObserveError::non_finite(node, "the gradients"));
                }
                gradients.extend_from_slice(gradient);
            }
            sums = add_products(&sums, &gradients, block.len())?;
        }
        Ok(sums)
    }
}

/// Columns of gradients that are widened to f64 at once.
const WIDENED: usize = 4096;

/// `sums` plus G·Gᵀ, G the rows of `width` gradients.
fn add_products(sums: &Matrix, gradients: &[f32], width: usize) -> Result<Matrix, ObserveError> {
    let n = sums.n_rows();
    let mut values = sums.values().to_vec();
    for first in (0..width).step_by(WIDENED) {
        let last = (first + WIDENED).min(width);
        let part = |row: usize| gradients[row * width + first..row * width + last].iter().map(|&g| f64::from(g));
        let part = Matrix::new(n, last - first, (0..n).flat_map(part).collect())?;
        values.iter_mut().zip(part.product_transposed(&part).values()).for_each(|(sum, product)| *sum += product);
    }
    Ok(Matrix::new(n, n, values)?)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ontogeny_zoo::{NetworkConfig, Task, TaskConfig};
    use serde_json::{from_value, json};

    use super::*;

    fn setting(task: serde_json::Value, network: serde_json::Value) -> (Model, Task) {
        let task: TaskConfig = from_value(task).unwrap();
        let network: NetworkConfig = from_value(network).unwrap();
        let task = task.prepare(3, Path::new(".")).unwrap();
        (Model::new(network, task.interface).unwrap(), task)
    }

    /// A diagonal network that learns skills of unequal frequency one by one (Nam et al. 2024): the gradient of an example is that of
    /// its skill's own entries, whatever its sign, and shares no weight with those of other skills.
    #[test]
    fn skills_with_weights_of_their_own_are_recovered_exactly() {
        let (model, task) = setting(
            json!({
                "kind": "deep_linear", "inputs": 5, "outputs": 5, "singular_values": [1.0, 1.0, 1.0, 1.0, 1.0],
                "input": "skills", "zipf_exponent": 1.5, "train_examples": 10, "held_examples": 400,
            }),
            json!({"kind": "mlp", "sizes": [5, 5, 5], "activation": "identity", "biases": false}),
        );
        let mut weights = vec![0.0; 50];
        for i in 0..5 {
            weights[6 * i] = 0.3;
            weights[25 + 6 * i] = 0.1 * (i + 1) as f32;
        }
        let subject = Subject { model: &model, task: &task, seed: 1 };
        let settings: QuantaSettings = from_value(json!({"clusters": [2, 5], "samples": 400})).unwrap();
        let mut instrument = settings.build(&subject).unwrap();
        let found = instrument.measure(&Checkpoint::alone(&weights)).unwrap();
        assert_eq!(found.value.dims[1].1, ["largest", "slope", "adjusted_rand"]);
        // Clusters come by size, as skills do by frequency.
        let mut counts = vec![0.0; 5];
        task.split("test").unwrap().subtasks.iter().for_each(|&skill| counts[skill as usize] += 1.0);
        counts.sort_by(|a: &f64, b| b.total_cmp(a));
        assert_eq!(found.arrays[1].1.values[5..], counts);
        assert_eq!((found.value.values[3], found.value.values[5]), (counts[0] / 400.0, 1.0));
        // Two clusters cannot tell five skills apart, but they put none into both.
        assert!(found.value.values[2] < 1.0);
        assert_eq!(found.arrays[0].1.dims[1].1.len(), 400);
        // The slope of the sizes is that of the frequencies to the error of the rarest, 1/√n of 400·0.05.
        assert!((found.value.values[4] + 1.5).abs() < 4.0 / 20.0_f64.sqrt(), "{:?}", found.value.values);
    }

    /// Blocks of parameters: the products are those of whole gradients.
    #[test]
    fn products_do_not_depend_on_the_blocks() {
        let (model, task) = setting(
            json!({ "kind": "repeated_tokens", "vocabulary": 8, "block": 4, "repeats": 2, "train_examples": 40 }),
            json!({
                "kind": "transformer", "layers": 1, "d_model": 8, "heads": 2, "attention_only": true,
                "normalization": "layer_norm", "positions": "learned",
            }),
        );
        let subject = Subject { model: &model, task: &task, seed: 1 };
        let split = task.split("train").unwrap();
        let samples = Samples::choose(&subject, split, 60, PositionsOf::Answers);
        let mut gradients = Gradients::new(&model, split, &samples).unwrap();
        let weights = model.initial_weights(1);
        assert_eq!(gradients.blocks.len(), 1);
        let whole = gradients.products(&Checkpoint::alone(&weights)).unwrap();
        gradients.blocks = (0..weights.len()).step_by(37).map(|start| start..(start + 37).min(weights.len())).collect();
        let parts = gradients.products(&Checkpoint::alone(&weights)).unwrap();
        // f32 gradients by another plan.
        for (a, b) in whole.values().iter().zip(parts.values()) {
            assert!((a - b).abs() < 1e-5 * (1.0 + a.abs()), "{a} {b}");
        }
        // All answers of one example together have the gradient of its loss: the mean over them.
        let (graph, nodes) = model.graph(1);
        let program = Program::compile(&graph, &[("loss", nodes.loss)], Gradient::All(nodes.loss)).unwrap();
        let mut workspace = Workspace::new(&program);
        let n_answers = model.interface().answers();
        let every = Samples {
            examples: vec![5],
            draws: vec![0],
            chosen: (0..n_answers).map(|i| crate::samples::Sample { row: 0, position: i, answer: Some(i) }).collect(),
        };
        let products = Gradients::new(&model, split, &every).unwrap().products(&Checkpoint::alone(&weights)).unwrap();
        split.data.fill(&program, &mut workspace, &[5]).unwrap();
        program.run(&mut workspace, &weights).unwrap();
        let square: f64 = workspace.gradient(&program).iter().map(|&g| f64::from(g) * f64::from(g)).sum();
        let sum = products.values().iter().sum::<f64>() / (n_answers * n_answers) as f64;
        assert!((sum - square).abs() < 1e-4 * square, "{sum} {square}");
    }

    #[test]
    fn angles_are_halves_where_nothing_is_shared() {
        let products = Matrix::new(3, 3, vec![4.0, 0.0, -6.0, 0.0, 0.0, 0.0, -6.0, 0.0, 9.0]).unwrap();
        let found = angular_similarities(&products).unwrap();
        assert_eq!(found.values(), [1.0, 0.5, 0.0, 0.5, 1.0, 0.5, 0.0, 0.5, 1.0]);
        // Sizes 8, 4, 8/3, 2 fall as 1/rank.
        assert!((slope(&[8.0, 4.0, 8.0 / 3.0, 2.0, 0.0]).unwrap() + 1.0).abs() < 1e-12);
        assert_eq!(slope(&[8.0, 0.0]).unwrap(), 0.0);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let (model, task) = setting(
            json!({ "kind": "images", "train_fraction": 0.6 }),
            json!({"kind": "mlp", "sizes": [64, 5, 10], "activation": "relu"}),
        );
        let subject = Subject { model: &model, task: &task, seed: 1 };
        for (settings, message) in [
            (json!({"clusters": []}), "`clusters` is []"),
            (json!({"clusters": [5, 3]}), "`clusters` is [5, 3]"),
            (json!({"clusters": [1]}), "from 2 to"),
            (json!({"samples": 5}), "`samples` is 5"),
            (json!({"split": "no"}), "the split `no`"),
        ] {
            let settings: QuantaSettings = from_value(settings).unwrap();
            let error = settings.build(&subject).err().unwrap().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
