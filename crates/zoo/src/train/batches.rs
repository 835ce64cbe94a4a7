//! Which examples each update sees: a function of the seed and the step.

use ontogeny_graph::{DataSet, Program, Purpose, RunError, Stream, Workspace};

use super::TrainerError;
use super::config::Batch;
use super::stage::Stage;
use crate::{Endless, SettingError, Task};

/// The examples of each update. Minibatches of a split are drawn without replacement within an epoch, and each epoch's
/// order comes from its own random stream; endless examples are numbered. So any step can be reached without those
/// before it.
#[derive(Debug)]
pub(super) struct Batches<'a> {
    size: usize,
    /// First step and examples of each stage, ascending.
    stages: Vec<(u64, Source<'a>)>,
    /// The stage whose examples the inputs hold.
    current: usize,
}

#[derive(Debug)]
enum Source<'a> {
    Split { data: &'a DataSet, order: Order },
    Endless { endless: &'a Endless, examples: DataSet, rows: Vec<usize> },
}

#[derive(Debug)]
enum Order {
    /// The same rows, given once: they stay in the program's inputs.
    Full { rows: Vec<usize>, is_given: bool },
    /// The order of the newest epoch asked for.
    Mini { seed: u32, epoch: Option<u64>, order: Vec<usize> },
}

impl<'a> Batches<'a> {
    pub(super) fn new(batch: Batch, stages: &[Stage<'a>], seed: u32) -> Result<Self, TrainerError> {
        let named = |stage: &Stage<'_>, source: SettingError| match stages {
            [_] => TrainerError::Setting(source),
            _ => TrainerError::Stage { name: stage.name.to_owned(), source },
        };
        let mut size = None;
        let mut sources = Vec::with_capacity(stages.len());
        for stage in stages {
            let (own, source) = Source::new(batch, stage.task, seed).map_err(|error| named(stage, error))?;
            let first = *size.get_or_insert(own);
            if own != first {
                let found = format!("full, which is {own} examples here and {first} in `{}`", stages[0].name);
                let expected = "a number of examples, the same in all stages";
                return Err(named(stage, SettingError::new("train", "batch", found, expected)));
            }
            sources.push((stage.first, source));
        }
        Ok(Self { size: size.unwrap_or_default(), stages: sources, current: 0 })
    }

    /// These rows in every update, in this order.
    pub(super) fn fixed(data: &'a DataSet, rows: Vec<usize>) -> Self {
        let size = rows.len();
        let order = Order::Full { rows, is_given: false };
        Self { size, stages: vec![(0, Source::Split { data, order })], current: 0 }
    }

    /// Examples of each update.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The next batch is written whole, for the program's inputs no longer hold what they were given.
    pub(super) fn forget(&mut self) {
        self.stages[self.current].1.forget();
    }

    /// Writes batch number `number` of the stage that update number `step` belongs to into the program's inputs.
    pub(super) fn fill(
        &mut self,
        step: u64,
        number: u64,
        program: &Program,
        workspace: &mut Workspace,
    ) -> Result<(), RunError> {
        let n_begun = self.stages.partition_point(|(first, _)| *first <= step);
        let stage = n_begun.checked_sub(1).expect("the first stage begins at step 0");
        let source = &mut self.stages[stage].1;
        if stage != self.current {
            source.forget();
            self.current = stage;
        }
        match source {
            Source::Split { data, order } => match order.rows(number, self.size, data.len()) {
                Some(rows) => data.fill(program, workspace, rows),
                None => Ok(()),
            },
            Source::Endless { endless, examples, rows } => {
                endless.fill(number * self.size as u64, examples);
                examples.fill(program, workspace, rows)
            }
        }
    }
}

impl<'a> Source<'a> {
    /// The examples of a task, with the number of them in an update.
    fn new(batch: Batch, task: &'a Task, seed: u32) -> Result<(usize, Self), SettingError> {
        let wrong = |found: &str, expected: &str| Err(SettingError::new("train", "batch", found, expected));
        if let Some(endless) = &task.endless {
            let Batch::Size(size @ 1..) = batch else {
                return wrong("full", "a number of examples, because the task's examples have no end");
            };
            let examples = endless.buffer(size);
            return Ok((size, Self::Endless { endless, examples, rows: (0..size).collect() }));
        }
        let data = match task.split("train") {
            Some(split) if !split.data.is_empty() => &split.data,
            _ => return wrong("given", "a task with training examples beside it"),
        };
        let n_examples = data.len();
        let (size, order) = match batch {
            Batch::Full => (n_examples, Order::Full { rows: (0..n_examples).collect(), is_given: false }),
            Batch::Size(size) if size == 0 || size > n_examples => {
                let expected = format!("\"full\" or 1 to {n_examples}, the number of training examples");
                return wrong(&size.to_string(), &expected);
            }
            Batch::Size(size) => (size, Order::Mini { seed, epoch: None, order: Vec::new() }),
        };
        Ok((size, Self::Split { data, order }))
    }

    /// From now on the program's inputs hold something else.
    fn forget(&mut self) {
        if let Self::Split { order: Order::Full { is_given, .. }, .. } = self {
            *is_given = false;
        }
    }
}

impl Order {
    /// Rows of update number `step`; `None` when they are the same as in the call before.
    fn rows(&mut self, step: u64, size: usize, n_examples: usize) -> Option<&[usize]> {
        match self {
            Self::Full { is_given: true, .. } => None,
            Self::Full { rows, is_given } => {
                *is_given = true;
                Some(rows)
            }
            Self::Mini { seed, epoch, order } => {
                let per_epoch = (n_examples / size) as u64;
                let current = step / per_epoch;
                if *epoch != Some(current) {
                    *order = Stream::new(*seed, Purpose::TrainingBatches, current).permutation(n_examples, 0);
                    *epoch = Some(current);
                }
                let first = (step % per_epoch) as usize * size;
                Some(&order[first..first + size])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mini(seed: u32) -> Order {
        Order::Mini { seed, epoch: None, order: Vec::new() }
    }

    #[test]
    fn epochs_use_no_example_twice_and_steps_can_be_reached_in_any_order() {
        let (n, size) = (10, 3);
        let mut forward = mini(4);
        let all: Vec<Vec<usize>> = (0..9).map(|step| forward.rows(step, size, n).unwrap().to_vec()).collect();
        for epoch in all.chunks(3) {
            let mut seen = epoch.concat();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), 9);
            assert!(seen.iter().all(|&row| row < n));
        }
        assert_ne!(all[..3], all[3..6]);
        for step in [8, 0, 5, 2] {
            assert_eq!(mini(4).rows(step, size, n).unwrap(), all[step as usize]);
        }
        assert_ne!(mini(5).rows(0, size, n).unwrap(), all[0]);
    }

    #[test]
    fn full_batches_are_given_once() {
        let mut order = Order::Full { rows: vec![0, 1, 2], is_given: false };
        assert_eq!(order.rows(7, 3, 3), Some(&[0, 1, 2][..]));
        assert_eq!(order.rows(8, 3, 3), None);
    }

    #[test]
    fn batches_that_the_data_cannot_give_are_refused() {
        let task = |settings| {
            let config: crate::TaskConfig = serde_json::from_value(settings).unwrap();
            config.prepare(0, std::path::Path::new("")).unwrap()
        };
        let few = task(serde_json::json!({ "kind": "digit_addition", "digits": 1, "train_examples": 10 }));
        let error = Batches::new(Batch::Size(11), &[Stage::whole(&few)], 0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "train.batch is 11; expected \"full\" or 1 to 10, the number of training examples"
        );
        let endless = task(serde_json::json!({ "kind": "digit_addition", "digits": 1 }));
        let error = Batches::new(Batch::Full, &[Stage::whole(&endless)], 0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "train.batch is full; expected a number of examples, because the task's examples have no end"
        );
    }
}
