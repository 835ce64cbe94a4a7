//! What is lost when a linearly readable property is erased from activations: for a probe, and for the network itself.

use std::sync::Arc;

use ontogeny_graph::{DataSet, Gradient, Graph, Node, Program, Workspace};
use ontogeny_stats::{ArrayError, Eraser, Matrix, Probe, Question, probe, probe_erased};
use ontogeny_zoo::Model;
use serde::{Deserialize, Serialize};

use crate::activations::{ActivationReader, Layout, Place};
use crate::linear_probe::{FOLDS, SAMPLES, check_folds};
use crate::measured::mean_and_error;
use crate::probe_labels::{Labelled, ProbeTarget};
use crate::samples::split_of;
use crate::{Checkpoint, Findings, Instrument, Measured, ObserveError, Settings, Subject};

/// Version of the numbers.
pub(crate) const ERASURE_VERSION: u32 = 1;

/// Settings of `observable = "erasure"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ErasureSettings {
    /// What is erased: a class of each sample.
    pub target: ProbeTarget,
    /// How.
    pub method: ErasureMethod,
    /// Named activations, each erased alone; unless given the residual stream after each block, or the hidden layers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<String>,
    /// Split of the task; `test` unless given, or else `train`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Examples, or positions of sequences, that the eraser is fitted to and that are probed.
    pub samples: usize,
}

/// How a property is erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErasureMethod {
    /// With the least change of the activations (Belrose et al. 2023).
    #[default]
    Leace,
    /// By the orthogonal projection off the differences of class means.
    MeanDifference,
}

impl Default for ErasureSettings {
    fn default() -> Self {
        Self {
            target: ProbeTarget::default(),
            method: ErasureMethod::default(),
            places: Vec::new(),
            split: None,
            samples: SAMPLES,
        }
    }
}

/// Scores of a place, in the order of the array.
const SCORES: [&str; 4] = ["accuracy", "accuracy_erased", "accuracy_unseen", "loss_increase"];

const NAME: &str = "erasure";

impl Settings for ErasureSettings {
    fn build(&self, subject: &Subject<'_>) -> Result<Box<dyn Instrument>, ObserveError> {
        if self.target == ProbeTarget::Board {
            let message = "`target` is \"board\"; expected a single class of each sample: \"label\", \"token\", \"previous_token\" or \
                           \"subtask\"";
            return Err(ObserveError::Setting(message.to_owned()));
        }
        let split = split_of(subject.task, self.split.as_deref(), NAME)?;
        let labelled = Labelled::choose(subject, split, self.samples, self.target, NAME)?;
        let reader = ActivationReader::new(subject.model, &self.places, split, &labelled.samples, NAME)?;
        check_folds(2 * FOLDS, &labelled)?;
        let halves = labelled.samples.folds(2 * FOLDS);
        let folds = labelled.samples.folds(FOLDS);
        let model = subject.model.clone();
        let question = labelled.questions.into_iter().next().expect("one question, of targets other than boards");
        Ok(Box::new(Erasure { model, reader, question, folds, halves, method: self.method }))
    }
}

struct Erasure {
    model: Model,
    reader: ActivationReader,
    question: Question,
    folds: Vec<usize>,
    /// Twice as many folds: even ones are one half of the samples.
    halves: Vec<usize>,
    method: ErasureMethod,
}

impl ErasureMethod {
    pub(crate) fn fit(self, x: &Matrix, z: &Matrix) -> Result<Eraser, ArrayError> {
        match self {
            Self::Leace => Eraser::leace(x, z),
            Self::MeanDifference => Eraser::mean_difference(x, z),
        }
    }
}

impl Erasure {
    fn one_hot(&self, rows: &[usize]) -> Matrix {
        Matrix::one_hot(
            &rows.iter().map(|&row| self.question.labels[row]).collect::<Vec<u32>>(),
            self.question.n_classes,
        )
    }

    /// Accuracy and its error on one half of the samples when the other has fitted the eraser.
    fn unseen(&self, x: &Matrix) -> Result<(f64, f64), ObserveError> {
        let of = |half: usize| (0..self.halves.len()).filter(|&i| self.halves[i] % 2 == half).collect::<Vec<usize>>();
        let (fitted, probed) = (of(0), of(1));
        let eraser = self.method.fit(&x.select(&fitted), &self.one_hot(&fitted))?;
        let labels = probed.iter().map(|&row| self.question.labels[row]).collect();
        let question = Question { n_classes: self.question.n_classes, labels };
        let folds: Vec<usize> = probed.iter().map(|&row| self.halves[row] / 2).collect();
        let found = probe(&eraser.apply(&x.select(&probed))?, &[question], &folds, Probe::Ridge)?[0];
        Ok((found.accuracy, found.standard_error))
    }
}

impl Instrument for Erasure {
    fn dims(&self) -> Vec<(&'static str, Vec<String>)> {
        vec![("place", self.reader.labels()), ("score", SCORES.map(str::to_owned).to_vec())]
    }

    fn measure(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Findings, ObserveError> {
        let activations = self.reader.read(checkpoint.weights, checkpoint)?;
        let all: Vec<usize> = (0..self.folds.len()).collect();
        let wanted = self.one_hot(&all);
        let (graph, _) = self.model.graph(EXAMPLES.min(self.reader.data().len()));
        let whole = losses(&graph, self.reader.data(), checkpoint)?;
        let (mut values, mut errors, mut ranks, mut majority) = (Vec::new(), Vec::new(), Vec::new(), 0.0);
        for (at, (place, x)) in self.reader.places().iter().zip(&activations).enumerate() {
            checkpoint.check_cancelled()?;
            let before = probe(x, std::slice::from_ref(&self.question), &self.folds, Probe::Ridge)?[0];
            let after = probe_erased(x, &self.question, &self.folds, |x, z| self.method.fit(x, z))?;
            let (unseen, unseen_error) = self.unseen(x)?;
            let eraser = self.method.fit(x, &wanted)?;
            let edited = losses(&erased(&graph, place, &eraser)?, self.reader.data(), checkpoint)?;
            let (increase, increase_error) = mean_and_error(edited.iter().zip(&whole).map(|(a, b)| a - b));
            values.extend([before.accuracy, after.accuracy, unseen, increase]);
            majority = before.majority;
            errors.extend([before.standard_error, after.standard_error, unseen_error, increase_error]);
            ranks.push((place.name.clone(), eraser.rank() as f64));
            (checkpoint.progress)((at + 1) as f64 / activations.len() as f64);
        }
        Ok(Findings {
            value: Measured { unit: "1", dims: self.dims(), values },
            standard_errors: Some(errors),
            arrays: vec![("rank", Measured::along("place", "1", ranks))],
            details: vec![
                ("majority", majority),
                ("loss", whole.iter().sum::<f64>() / whole.len().max(1) as f64),
                ("samples", self.folds.len() as f64),
            ],
            refusal: None,
        })
    }
}

/// Examples of one execution.
const EXAMPLES: usize = 128;

/// The graph in which whoever reads the activation reads what is left of it, at every position.
fn erased(graph: &Graph, place: &Place, eraser: &Eraser) -> Result<Graph, ObserveError> {
    if eraser.rank() == 0 {
        return Ok(graph.clone());
    }
    let mut graph = graph.clone();
    let node = graph.find(&place.name)?;
    let shape = graph.shape(node).to_vec();
    // Features last.
    let flat = match place.layout {
        Layout::Features => node,
        Layout::Positions => graph.reshape(node, &[shape[0], shape[1], place.width]),
        Layout::Image { .. } => graph.permute(node, &[0, 2, 3, 1]),
    };
    let less = remove(&mut graph, flat, eraser);
    let back = match place.layout {
        Layout::Features => less,
        Layout::Positions => graph.reshape(less, &shape),
        Layout::Image { .. } => graph.permute(less, &[0, 3, 1, 2]),
    };
    Ok(graph.replace(&place.name, back)?)
}

/// x − left·right·(x − mean) along the last axis.
fn remove(graph: &mut Graph, x: Node, eraser: &Eraser) -> Node {
    let (d, rank) = (eraser.mean.len(), eraser.rank());
    let values = |values: &[f64]| -> Arc<[f32]> { values.iter().map(|&v| v as f32).collect() };
    let mean = graph.values(&[d], values(&eraser.mean));
    let right = graph.values(&[d, rank], values(eraser.right.transposed().values()));
    let left = graph.values(&[rank, d], values(eraser.left.transposed().values()));
    let centred = graph.sub(x, mean);
    let along = graph.matmul(centred, right);
    let part = graph.matmul(along, left);
    graph.sub(x, part)
}

/// The loss of each example.
fn losses(graph: &Graph, data: &DataSet, checkpoint: &Checkpoint<'_>) -> Result<Vec<f64>, ObserveError> {
    const LOSS: &str = "example_loss";
    let program = Program::compile(graph, &[(LOSS, graph.find(LOSS)?)], Gradient::None)?;
    let mut workspace = Workspace::new(&program);
    let batch = workspace.output(&program, LOSS).len();
    let rows: Vec<usize> = (0..data.len()).collect();
    let mut found = Vec::with_capacity(rows.len());
    for rows in rows.chunks(batch) {
        checkpoint.check_cancelled()?;
        data.fill(&program, &mut workspace, rows)?;
        program.run(&mut workspace, checkpoint.weights)?;
        let losses = &workspace.output(&program, LOSS)[..rows.len()];
        let are_finite = losses.iter().all(|loss| loss.is_finite());
        found.extend(losses.iter().map(|&loss| f64::from(loss)));
        if !are_finite {
            let node = program.first_non_finite(&mut workspace, checkpoint.weights)?;
            return Err(ObserveError::non_finite(node, "the loss"));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ontogeny_zoo::{NetworkConfig, Task, TaskConfig};
    use serde_json::{from_value, json};

    use super::*;
    use crate::Evaluator;

    fn setting(task: serde_json::Value, network: serde_json::Value) -> (Model, Task) {
        let task: TaskConfig = from_value(task).unwrap();
        let network: NetworkConfig = from_value(network).unwrap();
        let task = task.prepare(3, Path::new(".")).unwrap();
        (Model::new(network, task.interface).unwrap(), task)
    }

    fn find(model: &Model, task: &Task, weights: &[f32], settings: serde_json::Value) -> Findings {
        let subject = Subject { model, task, seed: 1 };
        let settings: ErasureSettings = from_value(settings).unwrap();
        settings.build(&subject).unwrap().measure(&Checkpoint::alone(weights)).unwrap()
    }

    /// Weights by which hidden neuron i is control bit i, and the output reads nothing else.
    #[test]
    fn erased_classes_are_at_the_majority_and_what_reads_them_is_lost() {
        let (model, task) = setting(
            json!({
                "kind": "sparse_parity", "bits": 6, "subset": 2, "tasks": 3, "zipf_exponent": 0.0,
                "train_examples": 4000, "held_examples": 4000,
            }),
            json!({"kind": "mlp", "sizes": [9, 5, 2], "activation": "relu", "biases": false}),
        );
        let mut weights = vec![0.0; model.space().len()];
        for i in 0..3 {
            weights[i * 5 + i] = 1.0;
        }
        // Two further neurons hold a bit each, which the task does not know of.
        weights[3 * 5 + 3] = 1.0;
        weights[4 * 5 + 4] = 1.0;
        weights[45] = 2.0;
        for method in ["leace", "mean_difference"] {
            let found = find(&model, &task, &weights, json!({"target": "subtask", "samples": 4000, "method": method}));
            let [before, after, unseen, increase] = found.value.values[..] else { panic!("one place") };
            let majority = found.details[0].1;
            assert_eq!((before, after, found.arrays[0].1.values[0]), (1.0, majority, 2.0), "{:?}", found.value);
            // The binomial error of 2000, and as much again for the other half, which the eraser was fitted to.
            let error = (majority * (1.0 - majority) / 2000.0_f64).sqrt() * std::f64::consts::SQRT_2;
            assert!((unseen - majority).abs() < 4.0 * error, "{method} {:?}", found.value);
            // Logits (2, 0) of the first task and (0, 0) of others become (2m, 0), m the share of the first task.
            let split = task.split("test").unwrap();
            let classes = crate::evaluate::ids(&split.data, "y").unwrap();
            let share = split.subtasks.iter().filter(|&&subtask| subtask == 0).count() as f64 / 4000.0;
            let loss = |z: f64, class: i32| (1.0 + if class == 0 { (-z).exp() } else { z.exp() }).ln();
            let expected: f64 = split
                .subtasks
                .iter()
                .zip(classes)
                .map(|(&subtask, &class)| loss(2.0 * share, class) - loss(if subtask == 0 { 2.0 } else { 0.0 }, class))
                .sum::<f64>()
                / 4000.0;
            // By chance the neurons of bits know the task to a correlation of 1/√n; its square enters the mean.
            assert!((increase - expected).abs() < 4.0 / 4000.0, "{increase} {expected}");
        }
    }

    #[test]
    fn an_edit_without_rank_changes_nothing_and_all_layouts_are_edited() {
        let (model, task) = setting(
            json!({ "kind": "images", "train_fraction": 0.6 }),
            json!({ "kind": "cnn", "channels": [3], "kernel": 3, "padding": 1, "dense": [6], "activation": "relu" }),
        );
        let weights = model.initial_weights(1);
        let found = find(&model, &task, &weights, json!({"samples": 300}));
        assert_eq!(found.value.dims[0].1, ["conv.0.hook_post", "dense.0.hook_post"]);
        // Ten classes span nine directions, or as many as there are live features.
        let ranks = &found.arrays[0].1.values;
        assert!((1.0..=3.0).contains(&ranks[0]) && (1.0..=6.0).contains(&ranks[1]), "{ranks:?}");
        let split = task.split("test").unwrap();
        let (graph, _) = model.graph(7);
        let place = Place { name: "conv.0.hook_post".to_owned(), layout: Layout::Image { places: 64 }, width: 3 };
        let none = Eraser { mean: vec![0.0; 3], left: Matrix::zeros(3, 0), right: Matrix::zeros(0, 3) };
        let checkpoint = Checkpoint::alone(&weights);
        let loss = |eraser: &Eraser| {
            let found = losses(&erased(&graph, &place, eraser).unwrap(), &split.data, &checkpoint).unwrap();
            found.iter().sum::<f64>() / found.len() as f64
        };
        let expected = Evaluator::new(&model).unwrap().evaluate(&weights, &split.data).unwrap().loss;
        assert!((loss(&none) - expected).abs() < 1e-6);
        // All channels replaced by one value: every image is the same to what follows.
        let eye = Matrix::new(3, 3, vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]).unwrap();
        let all = Eraser { mean: vec![0.5, 1.0, 0.25], left: eye.clone(), right: eye };
        let flat = erased(&graph, &place, &all).unwrap();
        let program = Program::compile(&flat, &[("z", flat.find("logits").unwrap())], Gradient::None).unwrap();
        let mut workspace = Workspace::new(&program);
        split.data.fill(&program, &mut workspace, &[0, 1, 2, 3, 4, 5, 6]).unwrap();
        program.run(&mut workspace, &weights).unwrap();
        let logits = workspace.output(&program, "z");
        assert!(logits.chunks(10).all(|row| row.iter().zip(logits).all(|(a, b)| (a - b).abs() < 1e-5)));

        let (model, task) = setting(
            json!({ "kind": "repeated_tokens", "vocabulary": 8, "block": 6, "repeats": 2, "train_examples": 500 }),
            json!({
                "kind": "transformer", "layers": 1, "d_model": 16, "heads": 2, "attention_only": true,
                "normalization": "none", "positions": "learned",
            }),
        );
        let weights = model.initial_weights(1);
        let places = json!(["hook_embed", "blocks.0.attn.hook_z"]);
        let found = find(&model, &task, &weights, json!({"target": "token", "places": places, "split": "train"}));
        let values = &found.value.values;
        // Embeddings of tokens are erased down to their mean, for new samples too.
        let majority = found.details[0].1;
        assert!(values[0] > 0.99 && values[1] == majority && values[3].abs() > 1e-4, "{values:?}");
        assert!((values[2] - majority).abs() < 0.05 && found.arrays[0].1.values[0] == 7.0, "{values:?}");
        let subject = Subject { model: &model, task: &task, seed: 1 };
        let board = ErasureSettings { target: ProbeTarget::Board, ..ErasureSettings::default() };
        assert!(board.build(&subject).err().unwrap().to_string().contains("expected a single class"));
    }
}
