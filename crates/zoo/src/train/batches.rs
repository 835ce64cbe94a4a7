//! Which examples each update sees: a function of the seed and the step.

use ontogeny_graph::{Purpose, Stream};

use super::config::Batch;
use crate::SettingError;

/// The rows of each update. Minibatches are drawn without replacement within an epoch, and each epoch's order comes
/// from its own random stream, so that any step can be reached without those before it.
#[derive(Debug)]
pub(super) struct Batches {
    size: usize,
    n_examples: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// All rows, once: they stay in the program's inputs.
    Full { rows: Vec<usize>, is_given: bool },
    /// The order of the newest epoch asked for.
    Mini { seed: u32, epoch: Option<u64>, order: Vec<usize> },
}

impl Batches {
    pub(super) fn new(batch: Batch, n_examples: usize, seed: u32) -> Result<Self, SettingError> {
        let wrong = |found: String, expected: String| Err(SettingError::new("train", "batch", found, expected));
        let (size, kind) = match batch {
            Batch::Full if n_examples == 0 => {
                return wrong("full".to_owned(), "at least one training example".to_owned());
            }
            Batch::Full => {
                let rows = (0..n_examples).collect();
                (n_examples, Kind::Full { rows, is_given: false })
            }
            Batch::Size(size) if size == 0 || size > n_examples => {
                let expected = format!("\"full\" or 1 to {n_examples}, the number of training examples");
                return wrong(size.to_string(), expected);
            }
            Batch::Size(size) => (size, Kind::Mini { seed, epoch: None, order: Vec::new() }),
        };
        Ok(Self { size, n_examples, kind })
    }

    /// Examples of each update.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Rows of update number `step`; `None` when they are the same as in the call before.
    pub(super) fn rows(&mut self, step: u64) -> Option<&[usize]> {
        match &mut self.kind {
            Kind::Full { is_given: true, .. } => None,
            Kind::Full { rows, is_given } => {
                *is_given = true;
                Some(rows)
            }
            Kind::Mini { seed, epoch, order } => {
                let per_epoch = (self.n_examples / self.size) as u64;
                let current = step / per_epoch;
                if *epoch != Some(current) {
                    *order = Stream::new(*seed, Purpose::TrainingBatches, current).permutation(self.n_examples, 0);
                    *epoch = Some(current);
                }
                let first = (step % per_epoch) as usize * self.size;
                Some(&order[first..first + self.size])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_use_no_example_twice_and_steps_can_be_reached_in_any_order() {
        let (n, size) = (10, 3);
        let mut forward = Batches::new(Batch::Size(size), n, 4).unwrap();
        let all: Vec<Vec<usize>> = (0..9).map(|step| forward.rows(step).unwrap().to_vec()).collect();
        for epoch in all.chunks(3) {
            let mut seen = epoch.concat();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), 9);
            assert!(seen.iter().all(|&row| row < n));
        }
        assert_ne!(all[..3], all[3..6]);
        for step in [8, 0, 5, 2] {
            let mut fresh = Batches::new(Batch::Size(size), n, 4).unwrap();
            assert_eq!(fresh.rows(step).unwrap(), all[step as usize]);
        }
        let mut other_seed = Batches::new(Batch::Size(size), n, 5).unwrap();
        assert_ne!(other_seed.rows(0).unwrap(), all[0]);
    }

    #[test]
    fn full_batches_are_given_once() {
        let mut batches = Batches::new(Batch::Full, 3, 0).unwrap();
        assert_eq!(batches.rows(7), Some(&[0, 1, 2][..]));
        assert_eq!(batches.rows(8), None);
    }

    #[test]
    fn batches_larger_than_the_data_are_refused() {
        let error = Batches::new(Batch::Size(11), 10, 0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "train.batch is 11; expected \"full\" or 1 to 10, the number of training examples"
        );
        assert!(Batches::new(Batch::Full, 0, 0).is_err());
    }
}
