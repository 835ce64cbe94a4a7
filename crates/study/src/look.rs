//! Single examples of a run's task: those that activate a part most, and what two checkpoints make of each token.

use ontogeny_graph::{ColumnData, DataSet};
use ontogeny_observe::interventions::Component;
use ontogeny_observe::{ObserveError, OutputReader, Outputs, TopExample, TopExamples};
use ontogeny_zoo::{Interface, Read, Split, Task};
use serde::Serialize;

use crate::responses::spaced;
use crate::{OpenedRun, StudyError};

/// Which examples are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookAt {
    /// Step of the checkpoint; the last unless given.
    pub step: Option<u64>,
    /// Unless given `even`, else `test`, else `train`, whichever the task has.
    pub split: Option<String>,
    /// At most so many, evenly spaced over the split.
    pub examples: usize,
    /// How many are shown.
    pub top: usize,
}

/// An example with its text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShownExample {
    /// Where it stands.
    #[serde(flatten)]
    pub top: TopExample,
    /// What its tokens read as; empty where it has none.
    pub tokens: Vec<String>,
}

/// The examples that activate one part most.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartExamples {
    /// Label of the part.
    pub part: String,
    /// The largest first.
    pub examples: Vec<ShownExample>,
}

/// One answer under two checkpoints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TokenChange {
    /// Row of the split.
    pub example: usize,
    /// Position of the answer in the sequence, where it is a token of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<usize>,
    /// Its log-probability under the first, in nats.
    pub before: f64,
    /// And under the second.
    pub after: f64,
    /// What the tokens of the example read as.
    pub tokens: Vec<String>,
}

/// Differences of log-probabilities between two checkpoints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Steps of both.
    pub steps: [u64; 2],
    /// The split.
    pub split: String,
    /// Examples that were compared.
    pub examples: usize,
    /// Answers in them.
    pub answers: usize,
    /// Mean of the second minus the first, in nats.
    pub mean: f64,
    /// Its standard error over the examples.
    pub standard_error: f64,
    /// Share of the answers that the second gives a higher probability.
    pub share_higher: f64,
    /// The largest rises, the largest first.
    pub rises: Vec<TokenChange>,
    /// The largest falls, the largest first.
    pub falls: Vec<TokenChange>,
}

impl OpenedRun {
    /// The examples that activate each of `parts` most.
    ///
    /// # Errors
    /// No such part, checkpoint or split.
    pub fn top_examples(&self, parts: &[String], at: &LookAt) -> Result<Vec<PartExamples>, StudyError> {
        let step = self.step_or_last(at.step)?;
        let (split, rows) = self.rows_of(at)?;
        let parts = Component::chosen(self.model(), parts).map_err(failed)?;
        let data = split.data.rows(&rows);
        let mut reader = TopExamples::new(self.model(), parts.clone(), rows.len()).map_err(failed)?;
        let found = reader.find(&self.weights(step)?, &data, at.top).map_err(failed)?;
        let shown = |top: TopExample| {
            let top = TopExample { example: rows[top.example], ..top };
            ShownExample { top, tokens: pieces(self.task(), &split.data, top.example) }
        };
        let of = |(part, examples): (Component, Vec<TopExample>)| PartExamples {
            part: part.label,
            examples: examples.into_iter().map(shown).collect(),
        };
        Ok(parts.into_iter().zip(found).map(of).collect())
    }

    /// What `other` at the step `other_step` (its last unless given) makes of each answer of this run's task, against this run at
    /// `at.step`: networks may differ, what they read may not.
    ///
    /// # Errors
    /// Another kind of task, no such checkpoint or split, or answers that are no classes.
    pub fn compare(&self, other: &Self, at: &LookAt, other_step: Option<u64>) -> Result<Comparison, StudyError> {
        let steps = [self.step_or_last(at.step)?, other.step_or_last(other_step)?];
        if self.task().interface != other.task().interface {
            return Err(StudyError::Folder(format!(
                "the two runs have tasks that read and answer otherwise ({:?} and {:?}); expected the same",
                self.task().interface,
                other.task().interface
            )));
        }
        if let (Some(own), Some(others)) = (&self.task().words, &other.task().words)
            && own != others
        {
            return Err(StudyError::Folder(
                "the tokens of the two runs read as other words; expected the same".to_owned(),
            ));
        }
        if self.task().interface.loss_unit() != "nats" {
            return Err(StudyError::Folder(
                "the task's answers are numbers; expected classes, which have probabilities".to_owned(),
            ));
        }
        let (split, rows) = self.rows_of(at)?;
        let data = split.data.rows(&rows);
        let losses = |run: &Self, step| -> Result<(Vec<f32>, usize), StudyError> {
            let mut reader = OutputReader::new(run.model(), data.clone(), Outputs::Losses).map_err(failed)?;
            Ok((reader.read(&run.weights(step)?).map_err(failed)?, reader.width()))
        };
        let ((before, width), (after, other_width)) = (losses(self, steps[0])?, losses(other, steps[1])?);
        if width != other_width {
            let message = format!("{width} and {other_width} answers of an example; expected as many of both runs");
            return Err(StudyError::Folder(message));
        }
        let change = |at: usize| f64::from(before[at]) - f64::from(after[at]);
        // What the task gives no weight, such as padding, is no answer.
        let weights = data.columns().iter().find_map(|column| match &column.data {
            ColumnData::Float(weights) if column.name == "weights" && weights.len() == before.len() => Some(weights),
            _ => None,
        });
        let counts = |at: &usize| weights.is_none_or(|weights| weights[*at] > 0.0);
        let mut order: Vec<usize> = (0..before.len()).filter(counts).collect();
        if order.is_empty() {
            return Err(StudyError::Folder(
                "no answer of these examples counts; take more, or another split".to_owned(),
            ));
        }
        order.sort_by(|&a, &b| change(b).total_cmp(&change(a)).then(a.cmp(&b)));
        let shown = |&at: &usize| {
            let example = rows[at / width];
            TokenChange {
                example,
                position: self.position_of(at % width),
                before: -f64::from(before[at]),
                after: -f64::from(after[at]),
                tokens: pieces(self.task(), &split.data, example),
            }
        };
        let of_example = |row: usize| {
            let own: Vec<f64> = (row * width..(row + 1) * width).filter(counts).map(change).collect();
            (!own.is_empty()).then(|| own.iter().sum::<f64>() / own.len() as f64)
        };
        let of_examples: Vec<f64> = (0..rows.len()).filter_map(of_example).collect();
        let n = of_examples.len() as f64;
        let mean = of_examples.iter().sum::<f64>() / n;
        let squares: f64 = of_examples.iter().map(|x| (x - mean).powi(2)).sum();
        Ok(Comparison {
            steps,
            split: split.name.to_owned(),
            examples: rows.len(),
            answers: order.len(),
            mean,
            standard_error: if of_examples.len() > 1 { (squares / (n - 1.0) / n).sqrt() } else { 0.0 },
            share_higher: order.iter().filter(|&&at| change(at) > 0.0).count() as f64 / order.len() as f64,
            rises: order.iter().filter(|&&at| change(at) > 0.0).take(at.top).map(shown).collect(),
            falls: order.iter().rev().filter(|&&at| change(at) < 0.0).take(at.top).map(shown).collect(),
        })
    }

    /// The step, which must have a checkpoint; the last one unless given.
    pub(crate) fn step_or_last(&self, step: Option<u64>) -> Result<u64, StudyError> {
        let steps = self.steps()?;
        let Some(&last) = steps.last() else {
            let message = "the run has no checkpoints yet; continue it with `ontogeny run`";
            return Err(StudyError::Folder(message.to_owned()));
        };
        let step = step.unwrap_or(last);
        if steps.contains(&step) {
            return Ok(step);
        }
        let steps: Vec<String> = steps.iter().map(ToString::to_string).collect();
        Err(StudyError::Folder(format!("the run has no checkpoint at step {step}; it has {}", steps.join(", "))))
    }

    fn rows_of(&self, at: &LookAt) -> Result<(&Split, Vec<usize>), StudyError> {
        let split = self.task().evaluation_split(at.split.as_deref()).map_err(StudyError::Folder)?;
        let n = split.data.len();
        let taken = at.examples.min(n);
        if taken == 0 || at.top == 0 {
            return Err(StudyError::Folder(format!(
                "{} examples of the {n} of the split `{}`, of which {} are shown; expected at least 1",
                at.examples, split.name, at.top
            )));
        }
        Ok((split, spaced(taken, n)))
    }

    /// Where an answer stands in its sequence.
    fn position_of(&self, answer: usize) -> Option<usize> {
        match self.task().interface {
            Interface::Tokens { read: Read::Tokens { from, every, .. }, .. } => Some(from + answer * every),
            _ => None,
        }
    }
}

/// What the tokens of an example read as.
fn pieces(task: &Task, data: &DataSet, example: usize) -> Vec<String> {
    let tokens = data.columns().iter().find_map(|column| match &column.data {
        ColumnData::Ids(ids) if column.name == "tokens" => {
            Some(&ids[example * column.width..(example + 1) * column.width])
        }
        _ => None,
    });
    let piece = |&id: &i32| task.words.as_ref().map_or_else(|| id.to_string(), |words| words.piece(id));
    tokens.into_iter().flatten().map(piece).collect()
}

fn failed(error: impl Into<ObserveError>) -> StudyError {
    StudyError::Folder(error.into().to_string())
}
