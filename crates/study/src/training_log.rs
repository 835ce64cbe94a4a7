//! What a training tells of its updates, thinned to a couple of thousand rows.

use std::collections::BTreeSet;
use std::time::Instant;

use ontogeny_store::{RunWriter, TrainingLog, TrainingRow};
use ontogeny_zoo::Interface;

use crate::StudyError;

/// The log of a training under way.
#[derive(Debug)]
pub(crate) struct Log {
    rows: TrainingLog,
    /// Updates at which a row ends, ascending: all checkpoints are among them, so that nothing is carried over one.
    ends: Vec<u64>,
    /// The next of them.
    next: usize,
    row: Row,
    /// Examples of an update.
    batch: u64,
    /// Tokens of an example, where it is a sequence of tokens.
    length: Option<u64>,
}

/// Sums over the updates since the last row.
#[derive(Debug)]
struct Row {
    loss: f64,
    gradient_norm: f64,
    n: u64,
    /// After the last of them.
    update: u64,
    /// Of the last of them.
    learning_rate: f64,
    begun: Instant,
}

/// Rows evenly spaced in the logarithm of the update, and evenly spaced in the update.
const ROWS: [u32; 2] = [400, 1200];

impl Log {
    /// The log of what was trained before `step`, to be continued there, in a training of so many steps with these
    /// checkpoints.
    pub(crate) fn resume(
        writer: &RunWriter,
        (n_steps, checkpoints): (u64, &[u64]),
        batch: u64,
        interface: Interface,
        step: u64,
    ) -> Result<Self, StudyError> {
        let mut rows = writer.folder().training_log().map_err(StudyError::from)?.unwrap_or_default();
        rows.truncate(step);
        let ends = ends(n_steps, checkpoints);
        let next = ends.partition_point(|&end| end <= step);
        let length = match interface {
            Interface::Tokens { length, .. } => Some(length as u64),
            Interface::Vectors { .. } | Interface::Pairs { .. } | Interface::LabelledItems { .. } => None,
        };
        Ok(Self { rows, ends, next, row: Row::new(), batch, length })
    }

    /// Adds update number `step`, counted from 0.
    pub(crate) fn add(&mut self, step: u64, loss: f32, learning_rate: f64, gradient_norm: f64) {
        self.row.loss += f64::from(loss);
        self.row.gradient_norm += gradient_norm;
        self.row.n += 1;
        (self.row.update, self.row.learning_rate) = (step + 1, learning_rate);
        if self.ends.get(self.next).is_none_or(|&end| step + 1 >= end) {
            self.end_row();
        }
    }

    fn end_row(&mut self) {
        let (n, update, learning_rate) = (self.row.n as f64, self.row.update, self.row.learning_rate);
        let examples = update.saturating_mul(self.batch);
        self.rows.push(&TrainingRow {
            update,
            loss: self.row.loss / n,
            learning_rate,
            gradient_norm: self.row.gradient_norm / n,
            examples,
            tokens: self.length.map(|length| examples.saturating_mul(length)),
            seconds: self.row.begun.elapsed().as_secs_f64() / n,
        });
        self.row = Row::new();
        // Not the next one after a checkpoint that was not planned: whoever resumes there finds the same.
        self.next = self.ends.partition_point(|&end| end <= update);
    }

    /// Keeps the rows so far; a training that ends before its schedule leaves a shorter one at the end.
    pub(crate) fn save(&mut self, writer: &RunWriter) -> Result<(), StudyError> {
        if self.row.n > 0 {
            self.end_row();
        }
        Ok(writer.write_training_log(&self.rows)?)
    }
}

impl Row {
    fn new() -> Self {
        Self { loss: 0.0, gradient_norm: 0.0, n: 0, update: 0, learning_rate: 0.0, begun: Instant::now() }
    }
}

/// Where rows end in a training of `n_steps`.
fn ends(n_steps: u64, checkpoints: &[u64]) -> Vec<u64> {
    let total = n_steps as f64;
    let share = |i: u32, n: u32| f64::from(i) / f64::from(n);
    let [n_log, n_linear] = ROWS;
    let log = (0..n_log).map(|i| total.powf(share(i, n_log - 1)).round() as u64);
    let linear = (1..=n_linear).map(|i| (total * share(i, n_linear)).round() as u64);
    let all: BTreeSet<u64> = log.chain(linear).chain(checkpoints.iter().copied()).map(|end| end.min(n_steps)).collect();
    all.into_iter().filter(|&end| end > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_end_at_every_checkpoint_and_are_few() {
        assert_eq!(ends(5, &[0, 2, 5]), [1, 2, 3, 4, 5]);
        let checkpoints = [0, 7, 123_457, 10_000_000];
        let ends = ends(10_000_000, &checkpoints);
        assert!(ends.len() <= 1600 && ends.is_sorted_by(|a, b| a < b), "{}", ends.len());
        assert!(checkpoints[1..].iter().all(|step| ends.contains(step)));
        assert_eq!((ends[0], ends.last()), (1, Some(&10_000_000)));
    }
}
