//! Repeats in random tokens: what an induction head predicts, apart from what nothing can.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::sampled::{Counts, Distribution, Example, Numbers};
use super::{SubtaskBy, Subtasks, Task, wrong};
use crate::{Interface, Read, SettingError};

/// Settings of repeated-token induction.
///
/// Every token is uniform over the vocabulary, but for the copies of one random block:
/// - With `length`, `repeats` copies of the block lie at random places that do not overlap, all such placements equally
///   likely, among random tokens: the set-up of "Progress measures for grokking via mechanistic interpretability" (Nanda et
///   al. 2023; vocabulary 128, length 85, a block of 16 three times).
/// - Without, a sequence is the block `repeats` times, as in "In-context Learning and Induction Heads" (Olsson et al. 2022).
///
/// With `bos` the id `vocabulary` stands first. All tokens but the first are predicted. The sub-task `repeated` is the tokens
/// of later copies, of placed copies without their first, which nothing announces; `other` is all else.
///
/// Whoever takes a token for told by an earlier copy or else for random has the losses 0 on `repeated` and ln `vocabulary` on
/// `other`. For plain repeats nothing is better: from the second copy on every token is known from its position. With placed
/// copies also the places are information: with N = `length`, L = `block` and r = `repeats` the least sum over a sequence's
/// predicted tokens lies between (N − (r − 1)L − 1)·ln `vocabulary`, the free tokens after the first, and that plus the logarithm
/// of the number of placements, C(N − rL + r, r) (one more free token with `bos`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepeatedTokensConfig {
    /// Number of random tokens, 2 to 65536.
    pub vocabulary: usize,
    /// Tokens of the block, 1 to 4096 (2 or more with `length`).
    pub block: usize,
    /// Copies of it, at least 2.
    pub repeats: usize,
    /// Tokens of a sequence without `bos`, to place the copies at random; no tokens but the copies unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<usize>,
    /// Whether a token of its own begins the sequence.
    #[serde(default)]
    pub bos: bool,
    /// Which tokens the loss of an example is the mean over.
    #[serde(default)]
    pub predict: PredictTokens,
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

/// Which tokens count in the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PredictTokens {
    /// All but the first.
    #[default]
    All,
    /// Those that an earlier copy tells: the sub-task `repeated`.
    Repeated,
}

const MAX_VOCABULARY: usize = 65536;
const MAX_LENGTH: usize = 65536;

/// Number of that sub-task; the other is 0.
const REPEATED: u32 = 1;

impl RepeatedTokensConfig {
    /// See [`TaskConfig::prepare`](super::TaskConfig::prepare).
    pub(super) fn prepare(&self, run_seed: u32) -> Result<Task, SettingError> {
        if !(2..=MAX_VOCABULARY).contains(&self.vocabulary) {
            return Err(wrong("vocabulary", self.vocabulary, &format!("2 to {MAX_VOCABULARY}")));
        }
        let shortest = if self.length.is_some() { 2 } else { 1 };
        if !(shortest..=4096).contains(&self.block) {
            return Err(wrong("block", self.block, &format!("{shortest} to 4096")));
        }
        let copies = self.block.saturating_mul(self.repeats);
        if self.repeats < 2 || copies > MAX_LENGTH {
            let expected = format!("2 to {}, for sequences of at most {MAX_LENGTH} tokens", MAX_LENGTH / self.block);
            return Err(wrong("repeats", self.repeats, &expected));
        }
        if let Some(length) = self.length
            && !(copies..=MAX_LENGTH).contains(&length)
        {
            let expected = format!("{copies} to {MAX_LENGTH}: {} copies of {} tokens", self.repeats, self.block);
            return Err(wrong("length", length, &expected));
        }
        let counts = Counts::new(self.train_examples, self.held_examples)?;
        let repeats = Repeats { config: self.clone(), length: self.length.unwrap_or(copies) };
        Ok(Task::sampled(Arc::new(repeats), counts, self.data_seed.unwrap_or(run_seed)))
    }
}

#[derive(Debug)]
struct Repeats {
    config: RepeatedTokensConfig,
    /// Tokens without BOS.
    length: usize,
}

impl Distribution for Repeats {
    fn interface(&self) -> Interface {
        let bos = usize::from(self.config.bos);
        let is_weighted = self.config.predict == PredictTokens::Repeated;
        Interface::Tokens {
            vocabulary: self.config.vocabulary + bos,
            length: self.length + bos,
            read: Read::Tokens { from: 1, every: 1, is_weighted },
        }
    }

    fn subtasks(&self) -> Option<Subtasks> {
        let names = vec!["other".to_owned(), "repeated".to_owned()];
        Some(Subtasks { names, by: SubtaskBy::EachAnswer })
    }

    fn draw_of(&self, _: Option<u32>, numbers: &mut Numbers, example: &mut Example<'_>) {
        let RepeatedTokensConfig { vocabulary, block, repeats, bos, .. } = self.config;
        let bos = usize::from(bos);
        let (start, tokens) = example.tokens.split_at_mut(bos);
        start.fill(vocabulary as i32);
        for token in tokens.iter_mut() {
            *token = numbers.below(vocabulary) as i32;
        }
        // Copies shrunk to one token each are a choice of places without order, and the other way round.
        let slack = self.length - block * repeats;
        let mut places = numbers.distinct(repeats, slack + repeats);
        places.sort_unstable();
        let starts: Vec<usize> = places.iter().enumerate().map(|(i, place)| place + i * (block - 1)).collect();
        let first_known = usize::from(self.config.length.is_some());
        for &start in &starts[1..] {
            tokens.copy_within(starts[0]..starts[0] + block, start);
            // Token number i is answer number i − 1.
            let at = start + bos - 1;
            example.answer_subtasks[at + first_known..at + block].fill(REPEATED);
        }
        let n_known = (repeats - 1) * (block - first_known);
        for (weight, &subtask) in example.weights.iter_mut().zip(&*example.answer_subtasks) {
            *weight = if subtask == REPEATED { 1.0 / n_known as f32 } else { 0.0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn prepare(settings: &serde_json::Value) -> Task {
        serde_json::from_value::<RepeatedTokensConfig>(settings.clone()).unwrap().prepare(1).unwrap()
    }

    #[test]
    fn plain_repeats_are_one_block_over_and_over() {
        let n = 2000;
        let settings = json!({ "vocabulary": 10, "block": 5, "repeats": 3, "bos": true, "held_examples": n });
        let task = prepare(&settings);
        assert_eq!(task.interface, Interface::Tokens { vocabulary: 11, length: 16, read: Read::NEXT_TOKEN });
        let train = task.split("train").unwrap();
        let mut counts = [0.0; 10];
        for (tokens, subtasks) in train.ids("tokens").chunks(16).zip(train.subtasks.chunks(15)) {
            assert_eq!(tokens[0], 10);
            assert!((6..16).all(|at| tokens[at] == tokens[at - 5]));
            assert!((1..16).all(|at| (subtasks[at - 1] == REPEATED) == (at >= 6)));
            tokens[1..6].iter().for_each(|&token| counts[token as usize] += 1.0);
        }
        // χ² of 9 degrees of freedom: above 27.9 with probability 0.001.
        let expected = f64::from(n) / 2.0;
        let chi2: f64 = counts.iter().map(|c| (c - expected) * (c - expected) / expected).sum();
        assert!(chi2 < 27.9, "{counts:?}");
    }

    /// Starts of the copies, found from the tokens alone: in a large vocabulary nothing else repeats.
    fn find_copies(tokens: &[i32], block: usize) -> Vec<usize> {
        let twins =
            |a: usize| (0..=tokens.len() - block).filter(move |&b| tokens[a..a + block] == tokens[b..b + block]);
        (0..=tokens.len() - block).map(|a| twins(a).collect::<Vec<_>>()).find(|twins| twins.len() > 1).unwrap()
    }

    #[test]
    fn placed_copies_are_where_the_sub_task_says() {
        let settings = json!({
            "vocabulary": 65536, "block": 16, "repeats": 3, "length": 85, "held_examples": 300, "predict": "repeated",
        });
        let task = prepare(&settings);
        let train = task.split("train").unwrap();
        let rows =
            train.ids("tokens").chunks(85).zip(train.subtasks.chunks(84)).zip(train.floats("weights").chunks(84));
        for ((tokens, subtasks), weights) in rows {
            let starts = find_copies(tokens, 16);
            assert_eq!(starts.len(), 3);
            for at in 1..85 {
                let is_known = starts[1..].iter().any(|&start| (start + 1..start + 16).contains(&at));
                assert_eq!(subtasks[at - 1], u32::from(is_known), "{at} {starts:?}");
                assert_eq!(weights[at - 1], if is_known { 1.0 / 30.0 } else { 0.0 });
            }
        }
    }

    #[test]
    fn all_placements_are_equally_likely() {
        let n = 7500;
        let settings =
            json!({ "vocabulary": 65536, "block": 2, "repeats": 2, "length": 8, "held_examples": n, "data_seed": 4 });
        let task = prepare(&settings);
        let mut counts = BTreeMap::new();
        for tokens in task.split("train").unwrap().ids("tokens").chunks(8) {
            *counts.entry(find_copies(tokens, 2)).or_insert(0.0) += 1.0;
        }
        // 8 tokens hold two blocks of 2 in 6·5/2 ways. χ² of 14 degrees of freedom: above 36.1 with probability 0.001.
        assert_eq!(counts.len(), 15);
        let expected = f64::from(n) / 15.0;
        let chi2: f64 = counts.values().map(|c| (c - expected) * (c - expected) / expected).sum();
        assert!(chi2 < 36.1, "{counts:?}");
    }

    #[test]
    fn settings_out_of_range_are_named() {
        for (key, value, message) in [
            ("vocabulary", 1, "task.vocabulary is 1; expected 2 to 65536"),
            ("block", 1, "task.block is 1; expected 2 to 4096"),
            ("repeats", 1, "task.repeats is 1; expected 2 to 4096, for sequences of at most 65536 tokens"),
            ("length", 47, "task.length is 47; expected 48 to 65536: 3 copies of 16 tokens"),
            (
                "held_examples",
                1,
                "task.held_examples is 1; expected at least 2: with endless training they are what is measured on",
            ),
        ] {
            let mut settings = json!({ "vocabulary": 128, "block": 16, "repeats": 3, "length": 85 });
            settings[key] = value.into();
            let config: RepeatedTokensConfig = serde_json::from_value(settings).unwrap();
            assert_eq!(config.prepare(0).unwrap_err().to_string(), message);
        }
    }
}
