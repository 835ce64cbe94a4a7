//! Toy translation: part of a text comes again in another language, as for soft induction heads.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::sampled::{Counts, Distribution, Example, Numbers};
use super::{SubtaskBy, Subtasks, Task, wrong};
use crate::{Interface, Read, SettingError};

/// Settings of toy translation, `A B … f(A) → f(B)`: what the heads that translate do in "In-context Learning and Induction
/// Heads" (Olsson et al. 2022, "Behavior 2"), whose attention goes from f(A) to the token after A.
///
/// An example is `s₁…s_L : f(s_k)…f(s_{k+m−1})` of L + 1 + m tokens: L different words of the first language, a separator, and
/// the translation of m of them that follow one another, from a random place k on. f is a fixed random one-to-one map. Words
/// are the ids below `words`, translations the ids `words` to 2·`words` − 1, the separator 2·`words`. The second to the m-th
/// translated words are predicted (with m = L the first as well, since then it is s₁); the sub-task `word_j` is the j-th.
/// The smallest loss is 0. With m = L the position alone says which word comes next; with m below L it has to be found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TranslationConfig {
    /// Words of a language, L to 65536.
    pub words: usize,
    /// L, 2 to 2048.
    pub length: usize,
    /// m, 2 to L.
    pub translated: usize,
    /// Seed of f; the seed of the run unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_seed: Option<u32>,
    /// Texts to train on; new ones at every update unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_examples: Option<usize>,
    /// Texts held out.
    #[serde(default = "super::default_held_examples")]
    pub held_examples: usize,
    /// Seed of the texts; the seed of the run unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_seed: Option<u32>,
}

const MAX_WORDS: usize = 65536;
const MAX_LENGTH: usize = 2048;

impl TranslationConfig {
    /// See [`TaskConfig::prepare`](super::TaskConfig::prepare).
    pub(super) fn prepare(&self, run_seed: u32) -> Result<Task, SettingError> {
        if !(2..=MAX_LENGTH).contains(&self.length) {
            return Err(wrong("length", self.length, &format!("2 to {MAX_LENGTH}")));
        }
        if !(self.length..=MAX_WORDS).contains(&self.words) {
            let expected = format!("{} to {MAX_WORDS}: the words of a text are different", self.length);
            return Err(wrong("words", self.words, &expected));
        }
        if !(2..=self.length).contains(&self.translated) {
            return Err(wrong("translated", self.translated, &format!("2 to {}, the length", self.length)));
        }
        let counts = Counts::new(self.train_examples, self.held_examples)?;
        let dictionary = Numbers::of_task(self.task_seed.unwrap_or(run_seed), 0).distinct(self.words, self.words);
        let texts = Texts { length: self.length, translated: self.translated, dictionary };
        Ok(Task::sampled(Arc::new(texts), counts, self.data_seed.unwrap_or(run_seed)))
    }
}

#[derive(Debug)]
struct Texts {
    length: usize,
    translated: usize,
    /// f, from 0.
    dictionary: Vec<usize>,
}

impl Texts {
    /// Number of the first translated word that is predicted, from 0.
    fn first(&self) -> usize {
        usize::from(self.translated < self.length)
    }
}

impl Distribution for Texts {
    fn interface(&self) -> Interface {
        let read = Read::Tokens { from: self.length + 1 + self.first(), every: 1, is_weighted: false };
        let vocabulary = 2 * self.dictionary.len() + 1;
        Interface::Tokens { vocabulary, length: self.length + 1 + self.translated, read }
    }

    fn subtasks(&self) -> Option<Subtasks> {
        let names = (self.first() + 1..=self.translated).map(|j| format!("word_{j}")).collect();
        Some(Subtasks { names, by: SubtaskBy::Answer })
    }

    fn draw_of(&self, _: Option<u32>, numbers: &mut Numbers, example: &mut Example<'_>) {
        let n = self.dictionary.len();
        let text = numbers.distinct(self.length, n);
        let start = numbers.below(self.length - self.translated + 1);
        let (given, asked) = example.tokens.split_at_mut(self.length);
        given.iter_mut().zip(&text).for_each(|(token, &word)| *token = word as i32);
        asked[0] = 2 * n as i32;
        for (token, &word) in asked[1..].iter_mut().zip(&text[start..]) {
            *token = (n + self.dictionary[word]) as i32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn prepare(changes: &serde_json::Value) -> Result<Task, SettingError> {
        let mut settings = json!({ "words": 30, "length": 8, "translated": 5 });
        settings.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value::<TranslationConfig>(settings).unwrap().prepare(0)
    }

    /// Where the translation starts in each text, after checking it word for word.
    fn starts(task: &Task, length: usize, translated: usize) -> Vec<usize> {
        let row = length + 1 + translated;
        let texts = task.split("train").unwrap().ids("tokens");
        // f, as the only word that is in every text where its translation is.
        let mut candidates: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for text in texts.chunks(row) {
            assert_eq!(text[length], 60);
            for &word in &text[length + 1..] {
                assert!((30..60).contains(&word));
                let given = &text[..length];
                candidates.entry(word).or_insert_with(|| (0..30).collect()).retain(|source| given.contains(source));
            }
        }
        assert!(candidates.len() == 30 && candidates.values().all(|sources| sources.len() == 1), "{candidates:?}");
        let start = |text: &[i32]| {
            let sources: Vec<i32> = text[length + 1..].iter().map(|word| candidates[word][0]).collect();
            text[..length].windows(translated).position(|part| part == sources).unwrap()
        };
        texts.chunks(row).map(start).collect()
    }

    #[test]
    fn a_random_part_of_the_text_is_translated() {
        let n = 4000;
        let task = prepare(&json!({ "held_examples": n })).unwrap();
        let read = Read::Tokens { from: 10, every: 1, is_weighted: false };
        assert_eq!(task.interface, Interface::Tokens { vocabulary: 61, length: 14, read });
        assert_eq!(task.subtasks.as_ref().unwrap().names, ["word_2", "word_3", "word_4", "word_5"]);
        let mut counts = [0.0; 4];
        for start in starts(&task, 8, 5) {
            counts[start] += 1.0;
        }
        // χ² of 3 degrees of freedom: above 16.3 with probability 0.001.
        let chi2: f64 = counts.iter().map(|c| (c - 1000.0_f64).powi(2) / 1000.0).sum();
        assert!(chi2 < 16.3, "{counts:?}");
    }

    #[test]
    fn a_whole_text_is_translated_from_its_first_word_on() {
        let task = prepare(&json!({ "translated": 8 })).unwrap();
        assert_eq!(task.interface.answers(), 8);
        assert_eq!(task.subtasks.as_ref().unwrap().names.len(), 8);
        assert!(starts(&task, 8, 8).iter().all(|&start| start == 0));
    }

    #[test]
    fn settings_out_of_range_are_named() {
        for (changes, message) in [
            (json!({ "length": 1 }), "task.length is 1; expected 2 to 2048"),
            (json!({ "words": 7 }), "task.words is 7; expected 8 to 65536: the words of a text are different"),
            (json!({ "translated": 9 }), "task.translated is 9; expected 2 to 8, the length"),
        ] {
            assert_eq!(prepare(&changes).unwrap_err().to_string(), message);
        }
    }
}
