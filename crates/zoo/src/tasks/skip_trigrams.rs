//! Skip trigrams: a keyword somewhere before and the last token decide what comes next.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::sampled::{Counts, Distribution, Example, Numbers};
use super::{SubtaskBy, Subtasks, Task, wrong};
use crate::{Interface, Read, SettingError};

/// Settings of skip trigrams `A … B → C`, the function of one-layer attention ("A Mathematical Framework for Transformer
/// Circuits", Elhage et al. 2021).
///
/// An example is a sequence of fillers with one of K keywords at a random place, and at the end one of Q queries. The answer
/// is a fixed random function of keyword and query. Ids: the `answers` first, then keywords, queries, fillers; all choices are
/// uniform. The sub-task `keyword_a_query_b`, from 1, is the examples of that pair. The smallest loss is 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SkipTrigramsConfig {
    /// Tokens of a sequence, 2 to 4096.
    pub length: usize,
    /// K, at least 1.
    pub keywords: usize,
    /// Q, at least 1; K·Q is at most 4096.
    pub queries: usize,
    /// Possible answers, 2 to 4096.
    pub answers: usize,
    /// Different fillers, 1 to 65536.
    pub fillers: usize,
    /// Seed of the function; the seed of the run unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_seed: Option<u32>,
    /// Sequences to train on; new ones at every update unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_examples: Option<usize>,
    /// Sequences held out.
    #[serde(default = "super::default_held_examples")]
    pub held_examples: usize,
    /// Sequences of each pair in the split `even`, on which the sub-tasks are measured.
    #[serde(default = "super::default_examples_per_subtask")]
    pub examples_per_subtask: usize,
    /// Seed of the sequences; the seed of the run unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_seed: Option<u32>,
}

const MAX_PAIRS: usize = 4096;

impl SkipTrigramsConfig {
    /// See [`TaskConfig::prepare`](super::TaskConfig::prepare).
    pub(super) fn prepare(&self, run_seed: u32) -> Result<Task, SettingError> {
        if !(2..=4096).contains(&self.length) {
            return Err(wrong("length", self.length, "2 to 4096"));
        }
        if !(1..=MAX_PAIRS).contains(&self.keywords) {
            return Err(wrong("keywords", self.keywords, &format!("1 to {MAX_PAIRS}")));
        }
        let most = MAX_PAIRS / self.keywords;
        if !(1..=most).contains(&self.queries) {
            let expected = format!("1 to {most}: at most {MAX_PAIRS} pairs with {} keywords", self.keywords);
            return Err(wrong("queries", self.queries, &expected));
        }
        if !(2..=4096).contains(&self.answers) {
            return Err(wrong("answers", self.answers, "2 to 4096"));
        }
        if !(1..=65536).contains(&self.fillers) {
            return Err(wrong("fillers", self.fillers, "1 to 65536"));
        }
        let pairs = self.keywords * self.queries;
        let counts =
            Counts::new(self.train_examples, self.held_examples)?.with_each(self.examples_per_subtask, pairs)?;
        let mut numbers = Numbers::of_task(self.task_seed.unwrap_or(run_seed), 0);
        let answers = (0..pairs).map(|_| numbers.below(self.answers) as i32).collect();
        let trigrams = Trigrams { config: self.clone(), answers };
        Ok(Task::sampled(Arc::new(trigrams), counts, self.data_seed.unwrap_or(run_seed)))
    }
}

#[derive(Debug)]
struct Trigrams {
    config: SkipTrigramsConfig,
    /// By keyword and query.
    answers: Vec<i32>,
}

impl Distribution for Trigrams {
    fn interface(&self) -> Interface {
        let SkipTrigramsConfig { length, keywords, queries, answers, fillers, .. } = self.config;
        let read = Read::LastPosition { classes: answers };
        Interface::Tokens { vocabulary: answers + keywords + queries + fillers, length, read }
    }

    fn subtasks(&self) -> Option<Subtasks> {
        let pairs = (1..=self.config.keywords).flat_map(|a| (1..=self.config.queries).map(move |b| (a, b)));
        let names = pairs.map(|(a, b)| format!("keyword_{a}_query_{b}")).collect();
        Some(Subtasks { names, by: SubtaskBy::Example })
    }

    fn draw_of(&self, subtask: Option<u32>, numbers: &mut Numbers, example: &mut Example<'_>) {
        let SkipTrigramsConfig { length, keywords, queries, answers, fillers, .. } = self.config;
        let drawn = numbers.below(keywords * queries);
        let pair = subtask.map_or(drawn, |wanted| wanted as usize);
        for token in &mut example.tokens[..length - 1] {
            *token = (answers + keywords + queries + numbers.below(fillers)) as i32;
        }
        example.tokens[numbers.below(length - 1)] = (answers + pair / queries) as i32;
        example.tokens[length - 1] = (answers + keywords + pair % queries) as i32;
        example.targets[0] = self.answers[pair];
        example.subtask = pair as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn prepare(changes: &serde_json::Value) -> Result<Task, SettingError> {
        let mut settings = json!({ "length": 9, "keywords": 4, "queries": 3, "answers": 50, "fillers": 20 });
        settings.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value::<SkipTrigramsConfig>(settings).unwrap().prepare(0)
    }

    #[test]
    fn keyword_and_query_decide_the_answer_wherever_the_keyword_is() {
        let n = 4800;
        let task = prepare(&json!({ "held_examples": n })).unwrap();
        assert!(matches!(
            task.interface,
            Interface::Tokens { vocabulary: 77, length: 9, read: Read::LastPosition { classes: 50 } }
        ));
        let train = task.split("train").unwrap();
        let mut answers = BTreeMap::new();
        let mut places = [0.0; 8];
        for ((tokens, &answer), &subtask) in
            train.ids("tokens").chunks(9).zip(train.ids("targets")).zip(&train.subtasks)
        {
            let keywords: Vec<usize> = (0..9).filter(|&at| (50..54).contains(&tokens[at])).collect();
            assert_eq!(keywords.len(), 1);
            assert!((54..57).contains(&tokens[8]));
            assert!((0..8).all(|at| at == keywords[0] || (57..77).contains(&tokens[at])));
            places[keywords[0]] += 1.0;
            let pair = (tokens[keywords[0]], tokens[8]);
            assert_eq!(*answers.entry(pair).or_insert(answer), answer);
            let name = format!("keyword_{}_query_{}", pair.0 - 49, pair.1 - 53);
            assert_eq!(task.subtasks.as_ref().unwrap().names[subtask as usize], name);
        }
        assert_eq!(answers.len(), 12);
        // χ² of 7 degrees of freedom: above 24.3 with probability 0.001.
        let chi2: f64 = places.iter().map(|c| (c - 600.0_f64).powi(2) / 600.0).sum();
        assert!(chi2 < 24.3, "{places:?}");
        let even = task.split("even").unwrap();
        assert!((0..12).all(|pair| even.subtasks.iter().filter(|&&p| p == pair).count() == 32));
        let answer = |row: usize| even.ids("targets")[row];
        assert!((0..12 * 32).all(|row| answer(row) == answer(row % 12)));
    }

    #[test]
    fn the_function_has_a_seed_of_its_own() {
        let targets =
            |changes: &serde_json::Value| prepare(changes).unwrap().split("train").unwrap().ids("targets").to_vec();
        assert_ne!(targets(&json!({ "task_seed": 1 })), targets(&json!({ "task_seed": 2 })));
        assert_eq!(targets(&json!({ "task_seed": 1 })), targets(&json!({ "task_seed": 1 })));
    }

    #[test]
    fn settings_out_of_range_are_named() {
        for (changes, message) in [
            (json!({ "length": 1 }), "task.length is 1; expected 2 to 4096"),
            (json!({ "keywords": 0 }), "task.keywords is 0; expected 1 to 4096"),
            (
                json!({ "queries": 1025 }),
                "task.queries is 1025; expected 1 to 1024: at most 4096 pairs with 4 keywords",
            ),
            (json!({ "answers": 1 }), "task.answers is 1; expected 2 to 4096"),
            (json!({ "fillers": 0 }), "task.fillers is 0; expected 1 to 65536"),
            (
                json!({ "examples_per_subtask": 0 }),
                "task.examples_per_subtask is 0; expected 1 to 1398101, for 12 sub-tasks",
            ),
        ] {
            assert_eq!(prepare(&changes).unwrap_err().to_string(), message);
        }
    }
}
