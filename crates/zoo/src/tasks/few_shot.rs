//! Few-shot classification in the context: which item has which label is new in every sequence.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::sampled::{Counts, Distribution, Example, Numbers};
use super::{SubtaskBy, Subtasks, Task, wrong};
use crate::{Interface, Read, SettingError};

/// Settings of few-shot classification from the context alone, in the manner of "Data Distributional Properties Drive Emergent
/// In-Context Learning in Transformers" (Chan et al. 2022), with items that are tokens.
///
/// An example is `x₁ y₁ x₂ y₂ … x_N y_N`. A sequence has `items_per_sequence` of the items, each with a label drawn anew for
/// this sequence; every pair is one of them with its label. Labels are the ids below `labels`, items the ids from there on; all
/// choices are uniform. The labels are predicted. The sub-task `seen` is the labels of items that were there before in the
/// sequence, `unseen` all others: their smallest losses are 0 and ln `labels`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FewShotConfig {
    /// N, 2 to 2048.
    pub pairs: usize,
    /// How many items there are, 1 to 65536.
    pub items: usize,
    /// Items of a sequence, 1 to `items`.
    pub items_per_sequence: usize,
    /// Labels, 2 to 4096.
    pub labels: usize,
    /// Sequences to train on; new ones at every update unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_examples: Option<usize>,
    /// Sequences held out.
    #[serde(default = "super::default_held_examples")]
    pub held_examples: usize,
    /// Seed of the sequences; the seed of the run unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_seed: Option<u32>,
}

const UNSEEN: u32 = 0;
const SEEN: u32 = 1;

impl FewShotConfig {
    /// See [`TaskConfig::prepare`](super::TaskConfig::prepare).
    pub(super) fn prepare(&self, run_seed: u32) -> Result<Task, SettingError> {
        if !(2..=2048).contains(&self.pairs) {
            return Err(wrong("pairs", self.pairs, "2 to 2048"));
        }
        if !(1..=65536).contains(&self.items) {
            return Err(wrong("items", self.items, "1 to 65536"));
        }
        if !(1..=self.items).contains(&self.items_per_sequence) {
            let expected = format!("1 to {}, the items", self.items);
            return Err(wrong("items_per_sequence", self.items_per_sequence, &expected));
        }
        if !(2..=4096).contains(&self.labels) {
            return Err(wrong("labels", self.labels, "2 to 4096"));
        }
        let counts = Counts::new(self.train_examples, self.held_examples)?;
        let data_seed = self.data_seed.unwrap_or(run_seed);
        Ok(Task::sampled(Arc::new(Classifications { config: self.clone() }), counts, data_seed))
    }
}

#[derive(Debug)]
struct Classifications {
    config: FewShotConfig,
}

impl Distribution for Classifications {
    fn interface(&self) -> Interface {
        Interface::Tokens {
            vocabulary: self.config.labels + self.config.items,
            length: 2 * self.config.pairs,
            read: Read::Tokens { from: 1, every: 2, is_weighted: false },
        }
    }

    fn subtasks(&self) -> Option<Subtasks> {
        let names = vec!["unseen".to_owned(), "seen".to_owned()];
        Some(Subtasks { names, by: SubtaskBy::EachAnswer })
    }

    fn draw_of(&self, _: Option<u32>, numbers: &mut Numbers, example: &mut Example<'_>) {
        let FewShotConfig { items, items_per_sequence, labels, .. } = self.config;
        let here = numbers.distinct(items_per_sequence, items);
        let labels_here: Vec<usize> = here.iter().map(|_| numbers.below(labels)).collect();
        let mut is_known = vec![false; here.len()];
        for (pair, subtask) in example.tokens.chunks_exact_mut(2).zip(example.answer_subtasks.iter_mut()) {
            let at = numbers.below(here.len());
            pair[0] = (labels + here[at]) as i32;
            pair[1] = labels_here[at] as i32;
            *subtask = if is_known[at] { SEEN } else { UNSEEN };
            is_known[at] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn prepare(changes: &serde_json::Value) -> Result<Task, SettingError> {
        let mut settings = json!({ "pairs": 6, "items": 10, "items_per_sequence": 3, "labels": 4 });
        settings.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value::<FewShotConfig>(settings).unwrap().prepare(0)
    }

    #[test]
    fn items_keep_their_label_within_a_sequence_only() {
        let n = 3000;
        let task = prepare(&json!({ "held_examples": n })).unwrap();
        assert_eq!(task.interface.answers(), 6);
        let train = task.split("train").unwrap();
        // Labels of each item at its first pair; how often the last pair is known.
        let mut first = BTreeMap::new();
        let mut n_known = 0;
        for (tokens, subtasks) in train.ids("tokens").chunks(12).zip(train.subtasks.chunks(6)) {
            let mut labels = BTreeMap::new();
            for (pair, &subtask) in tokens.chunks(2).zip(subtasks) {
                assert!((0..4).contains(&pair[1]) && (4..14).contains(&pair[0]));
                assert_eq!(subtask == SEEN, labels.contains_key(&pair[0]));
                assert_eq!(*labels.entry(pair[0]).or_insert(pair[1]), pair[1]);
            }
            assert!(labels.len() <= 3);
            n_known += subtasks[5];
            for pair in labels {
                *first.entry(pair).or_insert(0.0) += 1.0;
            }
        }
        // Of 3 items the sixth pair's is in one of the five before with the probability 1 − (2/3)⁵ = 0.8683.
        let (p, n) = (1.0 - (2.0_f64 / 3.0).powi(5), f64::from(n));
        assert!((f64::from(n_known) / n - p).abs() < 4.0 * (p * (1.0 - p) / n).sqrt(), "{n_known}");
        // All 40 pairs of item and label come equally often: χ² of 39 degrees of freedom is above 72.1 with probability 0.001
        // (items of one sequence exclude each other, which lowers it a little).
        let expected = first.values().sum::<f64>() / 40.0;
        let chi2: f64 = first.values().map(|c| (c - expected) * (c - expected) / expected).sum();
        assert!(first.len() == 40 && chi2 < 72.1, "{chi2} {first:?}");
    }

    #[test]
    fn settings_out_of_range_are_named() {
        for (changes, message) in [
            (json!({ "pairs": 1 }), "task.pairs is 1; expected 2 to 2048"),
            (json!({ "items": 0 }), "task.items is 0; expected 1 to 65536"),
            (json!({ "items_per_sequence": 11 }), "task.items_per_sequence is 11; expected 1 to 10, the items"),
            (json!({ "labels": 1 }), "task.labels is 1; expected 2 to 4096"),
        ] {
            assert_eq!(prepare(&changes).unwrap_err().to_string(), message);
        }
    }
}
