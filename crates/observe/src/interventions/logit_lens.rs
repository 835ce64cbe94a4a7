//! `observable = "logit_lens"`: what the network would answer if it ended after a block.

use ontogeny_graph::{DataSet, Gradient, Program, Workspace};
use ontogeny_zoo::{Interface, Model, Read};
use serde::{Deserialize, Serialize};

use super::chosen_rows;
use super::component::n_blocks;
use super::logit_attribution::stream_end;
use super::pairs::answers;
use crate::{Checkpoint, Findings, Instrument, Measured, ObserveError, Settings, Subject};

/// Version of the numbers of [`LogitLens`].
pub const LOGIT_LENS_VERSION: u32 = 1;

/// Most logits of one execution.
const MAX_LOGITS: usize = 1 << 23;

/// Examples of one execution.
const BATCH: usize = 64;

/// The scores of a place.
const SCORES: [&str; 3] = ["loss", "accuracy", "divergence"];

/// Settings of `observable = "logit_lens"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogitLensSettings {
    /// The split whose examples are looked at; unless given `even`, else `test`, else `train`, whichever the task has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Examples, evenly spaced over the split.
    pub examples: usize,
}

impl Default for LogitLensSettings {
    fn default() -> Self {
        Self { split: None, examples: 256 }
    }
}

impl Settings for LogitLensSettings {
    fn build(&self, subject: &Subject<'_>) -> Result<Box<dyn Instrument>, ObserveError> {
        let (split, rows) = chosen_rows(subject.task, self.split.as_deref(), self.examples)?;
        Ok(Box::new(LogitLens::new(subject.model, split.data.rows(&rows))?))
    }
}

/// Reads the residual stream before each block and in its middle through the last norm and the unembedding (nostalgebraist 2020).
///
/// `loss` is the mean cross-entropy of the right answers in nats, `accuracy` their share among the largest logits, and `divergence` the
/// mean Kullback–Leibler divergence, in nats, of the place's answer from that of the whole network. Answers count by their weights where
/// the task has some.
#[derive(Debug)]
pub struct LogitLens {
    /// Each place with its program; the last is the whole network.
    places: Vec<(String, Program, Workspace)>,
    data: DataSet,
    targets: Vec<i32>,
    /// What each answer counts, by example.
    answer_weights: Vec<f64>,
    n_answers: usize,
    batch: usize,
}

impl LogitLens {
    /// Compiles a program for each place.
    ///
    /// # Errors
    /// A network without a residual stream, or whose answers have no classes.
    pub fn new(model: &Model, data: DataSet) -> Result<Self, ObserveError> {
        let targets = answers(model, &data)?;
        let n_answers = model.interface().answers();
        let classes = match model.interface() {
            Interface::Tokens { read: Read::LastPosition { classes }, .. }
            | Interface::LabelledItems { classes, .. } => classes,
            Interface::Tokens { vocabulary, .. } => vocabulary,
            Interface::Vectors { outputs, .. } => outputs,
            Interface::Pairs { pairs, .. } => pairs,
        };
        let batch = (MAX_LOGITS / (n_answers * classes).max(1)).clamp(1, BATCH).min(data.len());
        let (graph, _) = model.graph(batch);
        let last = stream_end(&graph)?;
        let mut places = Vec::new();
        for layer in 0..n_blocks(&graph) {
            for (hook, label) in [("resid_pre", "before"), ("resid_mid", "middle of")] {
                let name = format!("blocks.{layer}.hook_{hook}");
                if let Ok(node) = graph.find(&name) {
                    places.push((format!("{label} block {layer}"), graph.replace(&last, node)?));
                }
            }
        }
        places.push(("end".to_owned(), graph.clone()));
        let compiled = places.into_iter().map(|(label, graph)| {
            let node = graph.find("answers").or_else(|_| graph.find("logits"))?;
            let program = Program::compile(&graph, &[("answers", node)], Gradient::None)?;
            let workspace = Workspace::new(&program);
            Ok((label, program, workspace))
        });
        let places = compiled.collect::<Result<Vec<_>, ObserveError>>()?;
        let answer_weights = match crate::evaluate::floats(&data, "weights") {
            Some(weights) => weights.iter().map(|&weight| f64::from(weight)).collect(),
            None => vec![1.0; targets.len()],
        };
        Ok(Self { places, data, targets, answer_weights, n_answers, batch })
    }

    /// Loss, accuracy and divergence of each place, `[place, score]`.
    ///
    /// # Errors
    /// Weights of another model, or numbers that are not finite.
    pub fn scores(&mut self, weights: &[f32]) -> Result<Vec<[f64; 3]>, ObserveError> {
        let n = self.data.len();
        let all: Vec<usize> = (0..n).collect();
        let mut sums = vec![[0.0; 3]; self.places.len()];
        for rows in all.chunks(self.batch) {
            let own = rows[0] * self.n_answers..(rows[0] + rows.len()) * self.n_answers;
            let answers = || self.targets[own.clone()].iter().zip(&self.answer_weights[own.clone()]);
            let mut whole: Vec<f64> = Vec::new();
            for (at, (_, program, workspace)) in self.places.iter_mut().enumerate().rev() {
                self.data.fill(program, workspace, rows)?;
                program.run(workspace, weights)?;
                let logits = workspace.output(program, "answers");
                let classes = logits.len() / (self.batch * self.n_answers);
                let is_whole = whole.is_empty();
                for (number, (row, (&target, &weight))) in logits.chunks_exact(classes).zip(answers()).enumerate() {
                    let own = log_probabilities(row);
                    let target = target as usize;
                    let largest = row.iter().enumerate().all(|(i, &z)| i == target || z < row[target]);
                    sums[at][0] -= weight * own[target];
                    sums[at][1] += weight * f64::from(u8::from(largest));
                    if is_whole {
                        whole.extend(own);
                    } else {
                        let end = &whole[number * classes..(number + 1) * classes];
                        let divergence: f64 = end.iter().zip(&own).map(|(p, q)| p.exp() * (p - q)).sum();
                        sums[at][2] += weight * divergence;
                    }
                }
            }
        }
        let total: f64 = self.answer_weights.iter().sum();
        sums.iter_mut().flatten().for_each(|sum| *sum /= total);
        if sums.iter().flatten().any(|value| !value.is_finite()) {
            let (_, program, workspace) = self.places.last_mut().expect("the whole network is the last place");
            let node = program.first_non_finite(workspace, weights)?;
            return Err(ObserveError::non_finite(node, "the logits"));
        }
        Ok(sums)
    }
}

fn log_probabilities(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().map(|&z| f64::from(z)).fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = logits.iter().map(|&z| (f64::from(z) - largest).exp()).sum();
    logits.iter().map(|&z| f64::from(z) - largest - total.ln()).collect()
}

impl Instrument for LogitLens {
    fn dims(&self) -> Vec<(&'static str, Vec<String>)> {
        let places = self.places.iter().map(|(label, ..)| label.clone()).collect();
        vec![("place", places), ("score", SCORES.map(str::to_owned).to_vec())]
    }

    fn measure(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Findings, ObserveError> {
        let values = self.scores(checkpoint.weights)?.into_iter().flatten().collect();
        Ok(Measured { unit: "1", dims: self.dims(), values }.into())
    }
}
