//! Sparse parity, of one hidden set of bits or of many sets of unequal frequency.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::sampled::{Counts, Distribution, Example, Numbers};
use super::zipf::Zipf;
use super::{SubtaskBy, Subtasks, Task, wrong};
use crate::{Interface, SettingError, VectorLoss};

/// Settings of (multitask) sparse parity: "The Quantization Model of Neural Scaling" (Michaud et al. 2023), section 3.
///
/// With T tasks and n bits, `x` holds T control bits, of which the one of the example's task is 1, and n random bits; the
/// class is the parity of the task's own k bits. With one task there are no control bits. Task i (from 1) has the
/// probability i^(−`zipf_exponent`)/Σ; the paper's α is that exponent minus 1. The sub-task `task_i` is task i.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SparseParityConfig {
    /// n, random bits of an example, 1 to 4096.
    pub bits: usize,
    /// k, bits whose parity is asked for, 1 to n.
    pub subset: usize,
    /// T, 1 to 65536.
    #[serde(default = "one")]
    pub tasks: usize,
    /// Exponent of the tasks' frequencies, at least 0 (0: all the same); required with more than one task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zipf_exponent: Option<f64>,
    /// Seed of the hidden sets of bits; the seed of the run unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_seed: Option<u32>,
    /// Examples to train on; new ones at every update unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_examples: Option<usize>,
    /// Examples held out.
    #[serde(default = "super::default_held_examples")]
    pub held_examples: usize,
    /// Examples of each task in the split `even`, on which the sub-tasks are measured (with more than one task).
    #[serde(default = "super::default_examples_per_subtask")]
    pub examples_per_subtask: usize,
    /// Seed of the examples; the seed of the run unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_seed: Option<u32>,
}

fn one() -> usize {
    1
}

const MAX_BITS: usize = 4096;
const MAX_TASKS: usize = 65536;

impl SparseParityConfig {
    /// See [`TaskConfig::prepare`](super::TaskConfig::prepare).
    pub(super) fn prepare(&self, run_seed: u32) -> Result<Task, SettingError> {
        if !(1..=MAX_BITS).contains(&self.bits) {
            return Err(wrong("bits", self.bits, &format!("1 to {MAX_BITS}")));
        }
        if !(1..=self.bits).contains(&self.subset) {
            return Err(wrong("subset", self.subset, &format!("1 to {}, the number of bits", self.bits)));
        }
        if !(1..=MAX_TASKS).contains(&self.tasks) {
            return Err(wrong("tasks", self.tasks, &format!("1 to {MAX_TASKS}")));
        }
        let exponent = match self.zipf_exponent {
            Some(exponent) if !(exponent.is_finite() && exponent >= 0.0) => {
                return Err(wrong("zipf_exponent", exponent, "a finite number, at least 0"));
            }
            Some(exponent) if self.tasks == 1 => {
                return Err(wrong("zipf_exponent", exponent, "it only with more than one task"));
            }
            None if self.tasks > 1 => {
                return Err(wrong("zipf_exponent", "missing", "the exponent of the tasks' frequencies, such as 1.4"));
            }
            given => given.unwrap_or(0.0),
        };
        let mut counts = Counts::new(self.train_examples, self.held_examples)?;
        if self.tasks > 1 {
            counts = counts.with_each(self.examples_per_subtask, self.tasks)?;
        }
        let parities = Parities::new(self, exponent, self.task_seed.unwrap_or(run_seed));
        Ok(Task::sampled(Arc::new(parities), counts, self.data_seed.unwrap_or(run_seed)))
    }
}

#[derive(Debug)]
struct Parities {
    bits: usize,
    /// The bits of each task.
    subsets: Vec<Vec<usize>>,
    frequencies: Zipf,
}

impl Parities {
    fn new(config: &SparseParityConfig, exponent: f64, seed: u32) -> Self {
        let subset = |task: usize| {
            let mut bits = Numbers::of_task(seed, task as u64).distinct(config.subset, config.bits);
            bits.sort_unstable();
            bits
        };
        Self {
            bits: config.bits,
            subsets: (0..config.tasks).map(subset).collect(),
            frequencies: Zipf::new(config.tasks, exponent),
        }
    }

    fn control_bits(&self) -> usize {
        if self.subsets.len() == 1 { 0 } else { self.subsets.len() }
    }
}

impl Distribution for Parities {
    fn interface(&self) -> Interface {
        let inputs = self.control_bits() + self.bits;
        Interface::Vectors { inputs, outputs: 2, loss: VectorLoss::CrossEntropy, image: None }
    }

    fn subtasks(&self) -> Option<Subtasks> {
        let n = self.subsets.len();
        (n > 1).then(|| Subtasks { names: (1..=n).map(|i| format!("task_{i}")).collect(), by: SubtaskBy::Example })
    }

    fn draw_of(&self, subtask: Option<u32>, numbers: &mut Numbers, example: &mut Example<'_>) {
        let drawn = self.frequencies.draw(numbers);
        let task = subtask.map_or(drawn, |wanted| wanted as usize);
        let (control, bits) = example.x.split_at_mut(self.control_bits());
        if let Some(bit) = control.get_mut(task) {
            *bit = 1.0;
        }
        for bits in bits.chunks_mut(128) {
            numbers.bits(bits);
        }
        let parity = self.subsets[task].iter().filter(|&&bit| bits[bit] == 1.0).count() % 2;
        example.class[0] = parity as i32;
        example.subtask = task as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ontogeny_graph::{ColumnData, DataSet};

    fn config(changes: &serde_json::Value) -> SparseParityConfig {
        let mut settings = serde_json::json!({ "bits": 10, "subset": 3 });
        settings.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value(settings).unwrap()
    }

    fn columns(data: &DataSet) -> (&[f32], &[i32]) {
        match [&data.columns()[0].data, &data.columns()[1].data] {
            [ColumnData::Float(x), ColumnData::Ids(y)] => (x, y),
            _ => panic!("x are floats, y ids"),
        }
    }

    #[test]
    fn the_class_is_the_parity_of_the_same_bits_in_every_example() {
        let task = config(&serde_json::json!({ "held_examples": 500 })).prepare(2).unwrap();
        assert!(task.subtasks.is_none() && task.split("even").is_none());
        let (x, y) = columns(&task.split("train").unwrap().data);
        let fits = |bits: [usize; 3]| {
            let parity = |row: &[f32]| bits.iter().map(|&bit| row[bit] as i32).sum::<i32>() % 2;
            x.chunks(10).zip(y).all(|(row, &class)| parity(row) == class)
        };
        let triples = (0..10).flat_map(|a| (a + 1..10).flat_map(move |b| (b + 1..10).map(move |c| [a, b, c])));
        // 500 examples agree with a wrong set with probability 2⁻⁵⁰⁰.
        assert_eq!(triples.filter(|&bits| fits(bits)).count(), 1);
        let ones = x.iter().sum::<f32>() / x.len() as f32;
        assert!((ones - 0.5).abs() < 4.0 * 0.5 / 5000_f32.sqrt(), "{ones}");
    }

    #[test]
    fn frequencies_follow_the_law_of_zipf() {
        let n = 20_000_u32;
        let changes = serde_json::json!({ "tasks": 500, "zipf_exponent": 1.4, "held_examples": n });
        let task = config(&changes).prepare(1).unwrap();
        let train = task.split("train").unwrap();
        // Probabilities of the first five of 500 tasks with the exponent 1.4.
        for (i, p) in [0.345_126, 0.130_778, 0.074_132, 0.049_556, 0.036_259].into_iter().enumerate() {
            let share = train.subtasks.iter().filter(|&&task| task == i as u32).count() as f64 / f64::from(n);
            let error = (p * (1.0 - p) / f64::from(n)).sqrt();
            assert!((share - p).abs() < 4.0 * error, "task {i}: {share} instead of {p}");
        }
        let (x, _) = columns(&train.data);
        for (row, &subtask) in x.chunks(510).zip(&train.subtasks) {
            assert_eq!(row[..500].iter().sum::<f32>(), 1.0);
            assert_eq!(row[subtask as usize], 1.0);
        }
    }

    #[test]
    fn the_even_split_has_as_many_of_each_task() {
        let changes = serde_json::json!({ "tasks": 7, "zipf_exponent": 2.0, "examples_per_subtask": 5 });
        let task = config(&changes).prepare(1).unwrap();
        let even = task.split("even").unwrap();
        for i in 0..7 {
            assert_eq!(even.subtasks.iter().filter(|&&task| task == i).count(), 5);
        }
        let (x, _) = columns(&even.data);
        assert!(x.chunks(17).zip(&even.subtasks).all(|(row, &task)| row[task as usize] == 1.0));
    }

    #[test]
    fn hidden_sets_have_a_seed_of_their_own() {
        let y = |seed, changes: serde_json::Value| {
            let task = config(&changes).prepare(seed).unwrap();
            let (x, y) = columns(&task.split("train").unwrap().data);
            (x.to_vec(), y.to_vec())
        };
        let (data, sets) =
            (serde_json::json!({ "data_seed": 5 }), serde_json::json!({ "data_seed": 5, "task_seed": 5 }));
        assert_eq!(y(1, data.clone()).0, y(2, data.clone()).0);
        assert_ne!(y(1, data.clone()).1, y(2, data).1);
        assert_eq!(y(1, sets.clone()), y(2, sets));
    }

    #[test]
    fn settings_out_of_range_are_named() {
        for (changes, message) in [
            (serde_json::json!({ "bits": 0 }), "task.bits is 0; expected 1 to 4096"),
            (serde_json::json!({ "subset": 11 }), "task.subset is 11; expected 1 to 10, the number of bits"),
            (serde_json::json!({ "tasks": 0 }), "task.tasks is 0; expected 1 to 65536"),
            (
                serde_json::json!({ "tasks": 2 }),
                "task.zipf_exponent is missing; expected the exponent of the tasks' frequencies, such as 1.4",
            ),
            (
                serde_json::json!({ "zipf_exponent": 1.4 }),
                "task.zipf_exponent is 1.4; expected it only with more than one task",
            ),
            (
                serde_json::json!({ "tasks": 2, "zipf_exponent": 1.4, "examples_per_subtask": 0 }),
                "task.examples_per_subtask is 0; expected 1 to 8388608, for 2 sub-tasks",
            ),
        ] {
            assert_eq!(config(&changes).prepare(0).unwrap_err().to_string(), message);
        }
    }
}
