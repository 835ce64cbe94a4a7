//! The log of a training: a thinned series of updates, in `training.json` and in the group `training_log` of the arrays.

use serde::{Deserialize, Serialize};

/// File of the log.
pub(crate) const FILE: &str = "training.json";

/// Group of the log in the Zarr tree: no measurement may have this name.
pub const TRAINING_LOG: &str = "training_log";

/// A thinned series over the updates of a training. Row i stands for the updates after `update[i − 1]` up to `update[i]`;
/// all columns have the same length.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingLog {
    /// Updates done at the end of the row, ascending.
    pub update: Vec<u64>,
    /// Mean training loss over the row, each before its update and on its batch; in the unit of the task's loss.
    pub loss: Vec<f64>,
    /// Learning rate of the row's last update.
    pub learning_rate: Vec<f64>,
    /// Mean norm of the gradient over the row, before clipping.
    pub gradient_norm: Vec<f64>,
    /// Examples seen since the start, those seen several times counted each time.
    pub examples: Vec<u64>,
    /// Tokens seen since the start; empty where examples are no sequences of tokens.
    pub tokens: Vec<u64>,
    /// Seconds of an update, the mean over the row: time on this machine, and the only column that differs between runs
    /// that are otherwise the same.
    pub seconds: Vec<f64>,
}

/// One row of a log.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainingRow {
    /// See [`TrainingLog::update`].
    pub update: u64,
    /// See [`TrainingLog::loss`].
    pub loss: f64,
    /// See [`TrainingLog::learning_rate`].
    pub learning_rate: f64,
    /// See [`TrainingLog::gradient_norm`].
    pub gradient_norm: f64,
    /// See [`TrainingLog::examples`].
    pub examples: u64,
    /// See [`TrainingLog::tokens`].
    pub tokens: Option<u64>,
    /// See [`TrainingLog::seconds`].
    pub seconds: f64,
}

impl TrainingLog {
    /// Adds a row at the end. What is not finite is kept as the largest number: JSON has no infinity.
    pub fn push(&mut self, row: &TrainingRow) {
        let finite = |value: f64| if value.is_nan() { f64::MAX } else { value.clamp(-f64::MAX, f64::MAX) };
        self.update.push(row.update);
        self.loss.push(finite(row.loss));
        self.learning_rate.push(finite(row.learning_rate));
        self.gradient_norm.push(finite(row.gradient_norm));
        self.examples.push(row.examples);
        self.tokens.extend(row.tokens);
        self.seconds.push(finite(row.seconds));
    }

    /// Forgets the rows that end after `update`: a training that is continued from there makes them again.
    pub fn truncate(&mut self, update: u64) {
        let n = self.update.partition_point(|&end| end <= update);
        self.update.truncate(n);
        for column in [&mut self.loss, &mut self.learning_rate, &mut self.gradient_norm, &mut self.seconds] {
            column.truncate(n);
        }
        self.examples.truncate(n);
        self.tokens.truncate(n);
    }

    /// Whether all columns have a value for every row.
    pub(crate) fn check(&self) -> Result<(), String> {
        let n = self.update.len();
        let columns = [
            ("loss", self.loss.len()),
            ("learning_rate", self.learning_rate.len()),
            ("gradient_norm", self.gradient_norm.len()),
            ("examples", self.examples.len()),
            ("seconds", self.seconds.len()),
            ("tokens", if self.tokens.is_empty() { n } else { self.tokens.len() }),
        ];
        match columns.into_iter().find(|(_, found)| *found != n) {
            Some((name, found)) => Err(format!("`{name}` has {found} rows, `update` has {n}")),
            None if !self.update.is_sorted_by(|a, b| a < b) => Err("`update` is not ascending".to_owned()),
            None => Ok(()),
        }
    }

    /// The columns that are the same in every run of the same file, with their units.
    pub(crate) fn columns(&self) -> Vec<(&'static str, &'static str, Vec<f64>)> {
        let counts = |column: &[u64]| column.iter().map(|&n| n as f64).collect();
        let mut columns = vec![
            ("loss", "1", self.loss.clone()),
            ("learning_rate", "1", self.learning_rate.clone()),
            ("gradient_norm", "1", self.gradient_norm.clone()),
            ("examples", "1", counts(&self.examples)),
        ];
        if !self.tokens.is_empty() {
            columns.push(("tokens", "1", counts(&self.tokens)));
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(update: u64) -> TrainingRow {
        TrainingRow {
            update,
            loss: 1.0 / update as f64,
            learning_rate: 0.1,
            gradient_norm: f64::INFINITY,
            examples: 8 * update,
            tokens: Some(80 * update),
            seconds: 0.5,
        }
    }

    #[test]
    fn a_log_is_cut_where_a_training_is_continued() {
        let mut log = TrainingLog::default();
        for update in [1, 2, 4, 8] {
            log.push(&row(update));
        }
        log.check().unwrap();
        let whole = log.clone();
        log.truncate(5);
        assert_eq!((log.update.as_slice(), log.tokens.len(), log.loss.len()), (&[1, 2, 4][..], 3, 3));
        log.push(&row(8));
        assert_eq!(log, whole);
        // An infinity survives JSON as the largest number.
        let again: TrainingLog = serde_json::from_str(&serde_json::to_string(&log).unwrap()).unwrap();
        assert_eq!(again, log);
        log.seconds.pop();
        assert!(log.check().unwrap_err().contains("`seconds` has 3 rows"));
    }
}
