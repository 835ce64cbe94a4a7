//! Sorting a list of numbers.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::sampled::{Counts, Distribution, Example, Numbers};
use super::{SubtaskBy, Subtasks, Task, wrong};
use crate::{Interface, Read, SettingError};

/// Settings of list sorting: "Structure development in list-sorting transformers" (Urdshals & Urdshals 2025).
///
/// An example is the sequence `x₁…x_L = y₁…y_L` of 2L + 1 tokens, y being x in ascending order; numbers are the ids below
/// `numbers`, and `=` is the id `numbers`. The y are predicted; the sub-task `place_k`, from 1, is the k-th of them. Numbers
/// are uniform, all different unless `repeats` is set. The smallest loss is 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SortingConfig {
    /// L, 2 to 1024.
    pub length: usize,
    /// How many numbers there are, L (2 with `repeats`) to 65536.
    pub numbers: usize,
    /// Whether a number may come more than once.
    #[serde(default)]
    pub repeats: bool,
    /// Lists to train on; new ones at every update unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_examples: Option<usize>,
    /// Lists held out.
    #[serde(default = "super::default_held_examples")]
    pub held_examples: usize,
    /// Seed of the lists; the seed of the run unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_seed: Option<u32>,
}

const MAX_LENGTH: usize = 1024;
const MAX_NUMBERS: usize = 65536;

impl SortingConfig {
    /// See [`TaskConfig::prepare`](super::TaskConfig::prepare).
    pub(super) fn prepare(&self, run_seed: u32) -> Result<Task, SettingError> {
        if !(2..=MAX_LENGTH).contains(&self.length) {
            return Err(wrong("length", self.length, &format!("2 to {MAX_LENGTH}")));
        }
        let least = if self.repeats { 2 } else { self.length };
        if !(least..=MAX_NUMBERS).contains(&self.numbers) {
            return Err(wrong("numbers", self.numbers, &format!("{least} to {MAX_NUMBERS}")));
        }
        let counts = Counts::new(self.train_examples, self.held_examples)?;
        let lists = Lists { length: self.length, numbers: self.numbers, repeats: self.repeats };
        Ok(Task::sampled(Arc::new(lists), counts, self.data_seed.unwrap_or(run_seed)))
    }
}

#[derive(Debug)]
struct Lists {
    length: usize,
    numbers: usize,
    repeats: bool,
}

impl Distribution for Lists {
    fn interface(&self) -> Interface {
        let read = Read::Tokens { from: self.length + 1, every: 1, is_weighted: false };
        Interface::Tokens { vocabulary: self.numbers + 1, length: 2 * self.length + 1, read }
    }

    fn subtasks(&self) -> Option<Subtasks> {
        let names = (1..=self.length).map(|k| format!("place_{k}")).collect();
        Some(Subtasks { names, by: SubtaskBy::Answer })
    }

    fn draw_of(&self, _: Option<u32>, numbers: &mut Numbers, example: &mut Example<'_>) {
        let mut list: Vec<usize> = if self.repeats {
            (0..self.length).map(|_| numbers.below(self.numbers)).collect()
        } else {
            numbers.distinct(self.length, self.numbers)
        };
        let (given, asked) = example.tokens.split_at_mut(self.length);
        given.iter_mut().zip(&list).for_each(|(token, &number)| *token = number as i32);
        list.sort_unstable();
        asked[0] = self.numbers as i32;
        asked[1..].iter_mut().zip(&list).for_each(|(token, &number)| *token = number as i32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn prepare(settings: serde_json::Value) -> Result<Task, SettingError> {
        serde_json::from_value::<SortingConfig>(settings).unwrap().prepare(0)
    }

    #[test]
    fn answers_are_the_list_in_ascending_order() {
        for repeats in [false, true] {
            let n = 2000;
            let settings = json!({ "length": 5, "numbers": 8, "repeats": repeats, "held_examples": n });
            let task = prepare(settings).unwrap();
            assert_eq!(task.interface.answers(), 5);
            assert_eq!(task.subtasks.as_ref().unwrap().names.last().unwrap(), "place_5");
            let mut counts = [0.0; 8];
            let mut n_repeats = 0;
            for tokens in task.split("train").unwrap().ids("tokens").chunks(11) {
                let (given, asked) = (&tokens[..5], &tokens[6..]);
                assert_eq!(tokens[5], 8);
                assert!(asked.is_sorted());
                for number in 0..8 {
                    let count = |list: &[i32]| list.iter().filter(|&&x| x == number).count();
                    assert_eq!(count(given), count(asked));
                    n_repeats += usize::from(count(given) > 1);
                }
                for &x in given {
                    counts[x as usize] += 1.0;
                }
            }
            // χ² of 7 degrees of freedom: above 24.3 with probability 0.001; numbers that are all different spread less.
            let expected = 5.0 * f64::from(n) / 8.0;
            let chi2: f64 = counts.iter().map(|c| (c - expected) * (c - expected) / expected).sum();
            assert!(chi2 < 24.3, "{counts:?}");
            assert_eq!(n_repeats > 0, repeats);
        }
    }

    #[test]
    fn settings_out_of_range_are_named() {
        for (settings, message) in [
            (json!({ "length": 1, "numbers": 8 }), "task.length is 1; expected 2 to 1024"),
            (json!({ "length": 9, "numbers": 8 }), "task.numbers is 8; expected 9 to 65536"),
            (json!({ "length": 9, "numbers": 1, "repeats": true }), "task.numbers is 1; expected 2 to 65536"),
            (
                json!({ "length": 9, "numbers": 9, "train_examples": 0 }),
                "task.train_examples is 0; expected 1 to 16777216, or nothing for new examples at every update",
            ),
        ] {
            assert_eq!(prepare(settings).unwrap_err().to_string(), message);
        }
    }
}
