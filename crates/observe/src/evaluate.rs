//! Loss and accuracy on exact evaluation sets, as a whole and of sub-tasks.

use std::borrow::Cow;

use ontogeny_graph::{ColumnData, DataSet, Gradient, Program, Workspace};
use ontogeny_zoo::{Interface, Model, Read, Split, SubtaskBy, Subtasks, TOKEN_LOSS, VectorLoss};

use crate::ObserveError;

/// Version of the numbers of [`Evaluator`].
pub const EVALUATION_VERSION: u32 = 1;

/// Examples of one execution: enough to fill the kernels, small enough to stay in cache.
const BATCH: usize = 512;

/// Most logits of one execution, 32 MB: a large vocabulary at every position makes the batch smaller.
const MAX_LOGITS: usize = 1 << 23;

/// Runs a model forward over whole data sets.
#[derive(Debug)]
pub struct Evaluator {
    program: Program,
    workspace: Workspace,
    batch: usize,
    interface: Interface,
    /// Answers of an example that have a loss of their own.
    n_answers: usize,
}

/// Means over a data set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// Mean loss, in nats for cross-entropies: each example's in f32, summed in f64.
    pub loss: f64,
    /// Share of answers, 0 to 1, whose largest logit is the target's alone: a tie counts as wrong. `None` unless an answer is
    /// one of several classes: also as a one among zeros, against which a squared difference is taken. Of sequences in which
    /// tokens are predicted every token counts as an answer (but those without weight).
    pub accuracy: Option<f64>,
}

impl Evaluator {
    /// Compiles the forward pass.
    ///
    /// # Errors
    /// A mistake in the model's graph.
    pub fn new(model: &Model) -> Result<Self, ObserveError> {
        let interface = model.interface();
        let per_example = interface.answers() * n_classes(interface).unwrap_or(1);
        let batch = (MAX_LOGITS / per_example.max(1)).clamp(1, BATCH);
        let (graph, nodes) = model.graph(batch);
        let mut outputs = vec![("example_loss", nodes.example_loss), ("answers", nodes.answers)];
        if let Ok(losses) = graph.find(TOKEN_LOSS) {
            outputs.push((TOKEN_LOSS, losses));
        }
        let program = Program::compile(&graph, &outputs, Gradient::None)?;
        let workspace = Workspace::new(&program);
        Ok(Self { program, workspace, batch, interface, n_answers: interface.answers() })
    }

    /// Mean loss and accuracy of the flat `weights` on all examples.
    ///
    /// # Errors
    /// Weights or data of another model, no examples, or a non-finite loss; then the error names the first parameter
    /// or activation that is not finite.
    pub fn evaluate(&mut self, weights: &[f32], data: &DataSet) -> Result<Evaluation, ObserveError> {
        let (mut loss, mut accuracy) = (0.0, Mean::default());
        let weight = floats(data, "weights");
        self.run(weights, data, |results| {
            loss += results.losses.iter().map(|&l| f64::from(l)).sum::<f64>();
            for (answer, is_right) in results.is_right.iter().enumerate() {
                if weight.is_none_or(|weight| weight[results.first_answer + answer] > 0.0) {
                    accuracy.add(f64::from(u8::from(*is_right)));
                }
            }
            loss
        })?;
        Ok(Evaluation { loss: loss / data.len() as f64, accuracy: accuracy.mean() })
    }

    /// Mean loss and accuracy of each sub-task on a split, in the order of their names; `None` where the split has none of
    /// its answers.
    ///
    /// # Errors
    /// As for [`Evaluator::evaluate`].
    pub fn evaluate_subtasks(
        &mut self,
        weights: &[f32],
        split: &Split,
        subtasks: &Subtasks,
    ) -> Result<Vec<Option<Evaluation>>, ObserveError> {
        let n_answers = self.n_answers;
        let mut means = vec![(Mean::default(), Mean::default()); subtasks.names.len()];
        let weight = floats(&split.data, "weights");
        self.run(weights, &split.data, |results| {
            for (at, &loss) in results.answer_losses.iter().enumerate() {
                let answer = results.first_answer + at;
                let subtask = match subtasks.by {
                    SubtaskBy::Answer => answer % n_answers,
                    SubtaskBy::Example => split.subtasks[answer / n_answers] as usize,
                    SubtaskBy::EachAnswer => split.subtasks[answer] as usize,
                };
                if weight.is_some_and(|weight| weight[answer] <= 0.0) {
                    continue;
                }
                let (losses, accuracy) = &mut means[subtask];
                losses.add(f64::from(loss));
                if let Some(&is_right) = results.is_right.get(at) {
                    accuracy.add(f64::from(u8::from(is_right)));
                }
            }
            results.losses.iter().map(|&l| f64::from(l)).sum()
        })?;
        let evaluation =
            |(losses, accuracy): (Mean, Mean)| losses.mean().map(|loss| Evaluation { loss, accuracy: accuracy.mean() });
        Ok(means.into_iter().map(evaluation).collect())
    }

    /// What its networks are given and asked.
    pub(crate) fn interface(&self) -> Interface {
        self.interface
    }

    /// Hands the results of every batch to `take`, which gives back a loss that must be finite.
    pub(crate) fn run(
        &mut self,
        weights: &[f32],
        data: &DataSet,
        mut take: impl FnMut(&Results<'_>) -> f64,
    ) -> Result<(), ObserveError> {
        if data.is_empty() {
            return Err(ObserveError::NotDefined {
                observable: "loss",
                needs: "at least one example".to_owned(),
                found: "an empty data set".to_owned(),
            });
        }
        let targets = Targets::new(self.interface, data);
        let examples: Vec<usize> = (0..data.len()).collect();
        let mut is_right = Vec::new();
        for rows in examples.chunks(self.batch) {
            data.fill(&self.program, &mut self.workspace, rows)?;
            self.program.run(&mut self.workspace, weights)?;
            let output = |name| self.workspace.output(&self.program, name);
            let losses = &output("example_loss")[..rows.len()];
            let answer_losses = match self.interface {
                Interface::Tokens { read: Read::Tokens { .. }, .. } | Interface::Pairs { .. } => {
                    &output(TOKEN_LOSS)[..rows.len() * self.n_answers]
                }
                _ => losses,
            };
            is_right.clear();
            if let Some(targets) = &targets {
                let logits = output("answers").chunks_exact(targets.n_classes);
                let answers = rows.iter().flat_map(|&row| (0..self.n_answers).map(move |answer| (row, answer)));
                is_right.extend(logits.zip(answers).map(|(row, (example, i))| is_largest(row, targets.of(example, i))));
            }
            let results = Results {
                first_answer: rows[0] * self.n_answers,
                losses,
                answer_losses,
                is_right: &is_right,
                logits: output("answers"),
            };
            if !take(&results).is_finite() {
                let node = self.program.first_non_finite(&mut self.workspace, weights)?;
                return Err(ObserveError::non_finite(node, "the loss"));
            }
        }
        Ok(())
    }
}

/// Of one batch of consecutive examples.
pub(crate) struct Results<'a> {
    /// Number of the first answer among those of the whole data set.
    first_answer: usize,
    /// One of each example.
    pub(crate) losses: &'a [f32],
    /// One of each answer.
    answer_losses: &'a [f32],
    /// For each answer; empty where answers are no classes.
    is_right: &'a [bool],
    /// Of the classes of each answer, those of the batch first; what follows them is of no example.
    pub(crate) logits: &'a [f32],
}

/// Where the right classes stand in a data set.
pub(crate) struct Targets<'a> {
    ids: Cow<'a, [i32]>,
    pub(crate) n_classes: usize,
    width: usize,
    from: usize,
    every: usize,
}

impl<'a> Targets<'a> {
    /// `None` unless an answer is one of several classes.
    pub(crate) fn new(interface: Interface, data: &'a DataSet) -> Option<Self> {
        if let Interface::Vectors { outputs, loss: VectorLoss::MeanSquared | VectorLoss::Squared { .. }, .. } =
            interface
        {
            let ids = Cow::Owned(one_hot(floats(data, "y")?, outputs)?);
            return Some(Self { ids, n_classes: outputs, width: 1, from: 0, every: 1 });
        }
        let n_classes = n_classes(interface)?;
        let (column, width, from, every) = match interface {
            Interface::Tokens { read: Read::Tokens { from, every, .. }, length, .. } => ("tokens", length, from, every),
            Interface::Tokens { .. } => ("targets", 1, 0, 1),
            // The last of the labels.
            Interface::LabelledItems { pairs, .. } => ("y", pairs, pairs - 1, 1),
            _ => ("y", 1, 0, 1),
        };
        Some(Self { ids: Cow::Borrowed(ids(data, column)?), n_classes, width, from, every })
    }

    pub(crate) fn of(&self, example: usize, answer: usize) -> usize {
        self.ids[example * self.width + self.from + answer * self.every] as usize
    }
}

/// The classes that rows of a one and zeros stand for; `None` where a row is anything else.
fn one_hot(rows: &[f32], width: usize) -> Option<Vec<i32>> {
    let class = |row: &[f32]| {
        let at = row.iter().position(|&x| x == 1.0)?;
        row.iter().enumerate().all(|(i, &x)| i == at || x == 0.0).then_some(at as i32)
    };
    if width < 2 { None } else { rows.chunks_exact(width).map(class).collect() }
}

/// Classes that an answer is one of.
pub(crate) fn n_classes(interface: Interface) -> Option<usize> {
    match interface {
        Interface::Tokens { read: Read::LastPosition { classes }, .. } | Interface::LabelledItems { classes, .. } => {
            Some(classes)
        }
        Interface::Tokens { vocabulary, .. } => Some(vocabulary),
        Interface::Vectors { loss: VectorLoss::CrossEntropy, outputs, .. } => Some(outputs),
        Interface::Vectors { .. } | Interface::Pairs { .. } => None,
    }
}

/// A mean of what was added, if anything was.
#[derive(Debug, Clone, Copy, Default)]
struct Mean {
    sum: f64,
    n: usize,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.n += 1;
    }

    fn mean(self) -> Option<f64> {
        (self.n > 0).then(|| self.sum / self.n as f64)
    }
}

/// The column of ids of that name.
pub(crate) fn ids<'a>(data: &'a DataSet, name: &str) -> Option<&'a [i32]> {
    data.columns().iter().find_map(|column| match &column.data {
        ColumnData::Ids(ids) if column.name == name => Some(ids.as_slice()),
        _ => None,
    })
}

/// The column of numbers of that name.
pub(crate) fn floats<'a>(data: &'a DataSet, name: &str) -> Option<&'a [f32]> {
    data.columns().iter().find_map(|column| match &column.data {
        ColumnData::Float(floats) if column.name == name => Some(floats.as_slice()),
        _ => None,
    })
}

fn is_largest(logits: &[f32], target: usize) -> bool {
    let mut others = logits.iter().enumerate().filter(|(class, _)| *class != target);
    others.all(|(_, &z)| z < logits[target])
}
