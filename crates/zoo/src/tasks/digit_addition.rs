//! Addition of n-digit numbers: every digit of the sum is predicted, and has a loss of its own.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::sampled::{Counts, Distribution, Example, Numbers};
use super::{SubtaskBy, Subtasks, Task, wrong};
use crate::{Interface, Read, SettingError};

/// Settings of n-digit addition, as in "Progress measures for grokking via mechanistic interpretability" (Nanda et al.
/// 2023, appendix E.1), where each digit of 5-digit sums is learned at a time of its own.
///
/// An example is the sequence `a₁…aₙ+b₁…bₙ=s₀s₁…sₙ` of 3n + 3 tokens, leading digits first; digits are the ids 0 to 9,
/// `+` is 10 and `=` 11. The n + 1 digits of the sum are predicted. The sub-task `digit_k` is the digit of 10ᵏ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DigitAdditionConfig {
    /// Digits of each addend, 1 to 32.
    pub digits: usize,
    /// Probability that the two digits of a place carry by themselves (a + b ≥ 10); the pair is uniform among those that
    /// do or do not. All pairs of digits are equally likely at 0.45, the value unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carry_share: Option<f64>,
    /// Examples to train on; new ones at every update unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_examples: Option<usize>,
    /// Examples held out.
    #[serde(default = "super::default_held_examples")]
    pub held_examples: usize,
    /// Seed of the examples; the seed of the run unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_seed: Option<u32>,
}

/// 45 of the 100 pairs of digits carry.
const UNIFORM_CARRY: f64 = 0.45;

const PLUS: i32 = 10;
const EQUALS: i32 = 11;

impl DigitAdditionConfig {
    /// See [`TaskConfig::prepare`](super::TaskConfig::prepare).
    pub(super) fn prepare(&self, run_seed: u32) -> Result<Task, SettingError> {
        if !(1..=32).contains(&self.digits) {
            return Err(wrong("digits", self.digits, "1 to 32"));
        }
        let carry_share = self.carry_share.unwrap_or(UNIFORM_CARRY);
        if !(0.0..=1.0).contains(&carry_share) {
            return Err(wrong("carry_share", carry_share, "a probability, 0 to 1"));
        }
        let counts = Counts::new(self.train_examples, self.held_examples)?;
        let additions = Additions { n: self.digits, carry_share };
        Ok(Task::sampled(Arc::new(additions), counts, self.data_seed.unwrap_or(run_seed)))
    }
}

#[derive(Debug)]
struct Additions {
    n: usize,
    carry_share: f64,
}

impl Distribution for Additions {
    fn interface(&self) -> Interface {
        let read = Read::Tokens { from: 2 * self.n + 2, every: 1, is_weighted: false };
        Interface::Tokens { vocabulary: 12, length: 3 * self.n + 3, read }
    }

    fn subtasks(&self) -> Option<Subtasks> {
        let names = (0..=self.n).rev().map(|power| format!("digit_{power}")).collect();
        Some(Subtasks { names, by: SubtaskBy::Answer })
    }

    fn draw_of(&self, _: Option<u32>, numbers: &mut Numbers, example: &mut Example<'_>) {
        let n = self.n;
        let tokens = &mut *example.tokens;
        tokens[n] = PLUS;
        tokens[2 * n + 1] = EQUALS;
        for place in 0..n {
            let (a, b) = self.digits(numbers);
            tokens[place] = a as i32;
            tokens[n + 1 + place] = b as i32;
        }
        let mut carry = 0;
        for place in (0..n).rev() {
            let sum = tokens[place] + tokens[n + 1 + place] + carry;
            tokens[2 * n + 3 + place] = sum % 10;
            carry = sum / 10;
        }
        tokens[2 * n + 2] = carry;
    }
}

impl Additions {
    /// The two digits of one place.
    fn digits(&self, numbers: &mut Numbers) -> (usize, usize) {
        let carries = numbers.uniform() < self.carry_share;
        // Of the pairs with a + b ≥ 10 there are a with first digit a; of the others 10 − a.
        let mut at = numbers.below(if carries { 45 } else { 55 });
        for a in 0..10 {
            let n = if carries { a } else { 10 - a };
            if at < n {
                return (a, if carries { 10 - a + at } else { at });
            }
            at -= n;
        }
        unreachable!("the pairs of all first digits are 45 and 55")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ontogeny_graph::ColumnData;

    fn config(changes: &serde_json::Value) -> DigitAdditionConfig {
        let mut settings = serde_json::json!({ "digits": 5 });
        settings.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value(settings).unwrap()
    }

    fn sequences(task: &Task, split: &str) -> Vec<Vec<i32>> {
        let ColumnData::Ids(ids) = &task.split(split).unwrap().data.columns()[0].data else { panic!("ids") };
        ids.chunks(18).map(<[i32]>::to_vec).collect()
    }

    fn value(digits: &[i32]) -> i64 {
        digits.iter().fold(0, |sum, &digit| 10 * sum + i64::from(digit))
    }

    #[test]
    fn sums_are_right_and_digits_uniform() {
        let n = 4000;
        let task = config(&serde_json::json!({ "held_examples": n })).prepare(3).unwrap();
        assert!(task.endless.is_some());
        let mut counts = [0.0; 10];
        let mut n_carries = 0;
        for tokens in sequences(&task, "train") {
            assert_eq!((tokens[5], tokens[11]), (PLUS, EQUALS));
            assert_eq!(value(&tokens[..5]) + value(&tokens[6..11]), value(&tokens[12..]));
            for place in 0..5 {
                counts[tokens[place] as usize] += 1.0;
                n_carries += u32::from(tokens[place] + tokens[6 + place] >= 10);
            }
        }
        // χ² of 9 degrees of freedom: above 27.9 with probability 0.001.
        let expected = 5.0 * f64::from(n) / 10.0;
        let chi2: f64 = counts.iter().map(|c| (c - expected) * (c - expected) / expected).sum();
        assert!(chi2 < 27.9, "{counts:?}");
        // A share of 0.45 over 20,000 places has the standard error 0.0035.
        let share = f64::from(n_carries) / (5.0 * f64::from(n));
        assert!((share - 0.45).abs() < 4.0 * 0.0035, "{share}");
    }

    #[test]
    fn carries_can_be_made_rare_or_frequent() {
        for share in [0.0, 1.0] {
            let task = config(&serde_json::json!({ "carry_share": share, "held_examples": 200 })).prepare(0).unwrap();
            for tokens in sequences(&task, "train") {
                assert!((0..5).all(|place| (tokens[place] + tokens[6 + place] >= 10) == (share > 0.5)));
                assert_eq!(value(&tokens[..5]) + value(&tokens[6..11]), value(&tokens[12..]));
            }
        }
    }

    #[test]
    fn finite_data_are_the_first_examples_of_the_endless() {
        let changes = serde_json::json!({ "train_examples": 50, "held_examples": 20 });
        let finite = config(&changes).prepare(7).unwrap();
        let endless = config(&serde_json::json!({ "held_examples": 20 })).prepare(7).unwrap();
        assert!(finite.endless.is_none());
        assert_eq!(sequences(&finite, "test"), sequences(&endless, "train"));
        let source = endless.endless.as_ref().unwrap();
        let mut data = source.buffer(8);
        source.fill(42, &mut data);
        let ColumnData::Ids(ids) = &data.columns()[0].data else { panic!("ids") };
        assert_eq!(ids.chunks(18).map(<[i32]>::to_vec).collect::<Vec<_>>(), sequences(&finite, "train")[42..]);
        assert_ne!(sequences(&finite, "train")[..20], sequences(&finite, "test"));
        // Another seed, other examples; a seed of the data's own is independent of the run's.
        let other = |seed, data_seed: Option<u32>| {
            let mut changes = changes.clone();
            changes["data_seed"] = data_seed.into();
            sequences(&config(&changes).prepare(seed).unwrap(), "train")
        };
        assert_ne!(other(8, None), other(7, None));
        assert_eq!(other(8, Some(7)), other(7, None));
    }

    #[test]
    fn sub_tasks_are_the_digits_of_the_sum() {
        let task = config(&serde_json::json!({})).prepare(0).unwrap();
        let subtasks = task.subtasks.unwrap();
        assert_eq!(subtasks.names, ["digit_5", "digit_4", "digit_3", "digit_2", "digit_1", "digit_0"]);
        assert_eq!(task.interface.answers(), 6);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        for (changes, message) in [
            (serde_json::json!({ "digits": 0 }), "task.digits is 0; expected 1 to 32"),
            (serde_json::json!({ "carry_share": 1.5 }), "task.carry_share is 1.5; expected a probability, 0 to 1"),
            (
                serde_json::json!({ "held_examples": 0 }),
                "task.held_examples is 0; expected at least 2: with endless training they are what is measured on",
            ),
        ] {
            assert_eq!(config(&changes).prepare(0).unwrap_err().to_string(), message);
        }
    }
}
