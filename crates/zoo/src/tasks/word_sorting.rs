//! Sorting words alphabetically, as tokens or letter by letter.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::sampled::{Counts, Distribution, Example, Numbers};
use super::{SubtaskBy, Subtasks, Task, wrong};
use crate::{Interface, Read, SettingError};

/// Settings of alphabetical sorting of different words of four letters, from a built-in list of 64 ([`word_list`]).
///
/// An example is the sequence `w₁…w_n = v₁…v_n`, v being w in alphabetical order; the v are predicted.
/// - `unit = "word"`: word number i of the list is the id i, `=` is the id 64, and the sub-task `word_k`, from 1, is vₖ. The
///   list is in no order, so the ids tell nothing of it.
/// - `unit = "letter"`: words are spelled without spaces, `a` to `z` being the ids 0 to 25 and `=` 26; the sub-task
///   `word_k_letter_j` is the j-th letter of vₖ.
///
/// The smallest loss is 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WordSortingConfig {
    /// n, 2 to 64.
    pub words: usize,
    /// What is a token.
    pub unit: WordUnit,
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

/// What a token of a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WordUnit {
    /// A word.
    Word,
    /// A letter.
    Letter,
}

/// Letters of every word.
const LETTERS: usize = 4;

/// In groups that share their first letters, so that later ones decide as well.
const WORDS: [&str; 64] = [
    "rain", "tree", "moon", "bird", "salt", "lamp", "door", "gold", "ship", "fern", "kite", "plum", "nest", "wolf",
    "iron", "yarn", "raft", "tram", "moor", "bark", "sand", "lame", "dome", "goat", "shoe", "fell", "king", "play",
    "neck", "wood", "jump", "yard", "rail", "trap", "mood", "barn", "sail", "lake", "dove", "goal", "shop", "felt",
    "kind", "plan", "news", "word", "july", "zinc", "hand", "harp", "hard", "hall", "cart", "card", "care", "calm",
    "user", "vast", "vase", "edge", "east", "ease", "open", "oven",
];

/// The words that can be sorted, by their ids.
pub fn word_list() -> &'static [&'static str] {
    &WORDS
}

impl WordSortingConfig {
    /// See [`TaskConfig::prepare`](super::TaskConfig::prepare).
    pub(super) fn prepare(&self, run_seed: u32) -> Result<Task, SettingError> {
        if !(2..=WORDS.len()).contains(&self.words) {
            return Err(wrong("words", self.words, &format!("2 to {}, the words of the list", WORDS.len())));
        }
        let counts = Counts::new(self.train_examples, self.held_examples)?;
        let lists = WordLists { n: self.words, unit: self.unit };
        Ok(Task::sampled(Arc::new(lists), counts, self.data_seed.unwrap_or(run_seed)))
    }
}

#[derive(Debug)]
struct WordLists {
    n: usize,
    unit: WordUnit,
}

impl WordLists {
    /// Tokens of a word.
    fn width(&self) -> usize {
        if self.unit == WordUnit::Word { 1 } else { LETTERS }
    }

    fn write(&self, words: &[usize], tokens: &mut [i32]) {
        for (&word, tokens) in words.iter().zip(tokens.chunks_exact_mut(self.width())) {
            match self.unit {
                WordUnit::Word => tokens[0] = word as i32,
                WordUnit::Letter => tokens
                    .iter_mut()
                    .zip(WORDS[word].bytes())
                    .for_each(|(token, letter)| *token = i32::from(letter - b'a')),
            }
        }
    }
}

impl Distribution for WordLists {
    fn interface(&self) -> Interface {
        let half = self.n * self.width();
        let vocabulary = if self.unit == WordUnit::Word { WORDS.len() + 1 } else { 27 };
        let read = Read::Tokens { from: half + 1, every: 1, is_weighted: false };
        Interface::Tokens { vocabulary, length: 2 * half + 1, read }
    }

    fn subtasks(&self) -> Option<Subtasks> {
        let names = match self.unit {
            WordUnit::Word => (1..=self.n).map(|k| format!("word_{k}")).collect(),
            WordUnit::Letter => {
                (1..=self.n).flat_map(|k| (1..=LETTERS).map(move |j| format!("word_{k}_letter_{j}"))).collect()
            }
        };
        Some(Subtasks { names, by: SubtaskBy::Answer })
    }

    fn draw_of(&self, _: Option<u32>, numbers: &mut Numbers, example: &mut Example<'_>) {
        let mut words = numbers.distinct(self.n, WORDS.len());
        let (given, asked) = example.tokens.split_at_mut(self.n * self.width());
        self.write(&words, given);
        words.sort_unstable_by_key(|&word| WORDS[word]);
        asked[0] = if self.unit == WordUnit::Word { WORDS.len() as i32 } else { 26 };
        self.write(&words, &mut asked[1..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn prepare(settings: serde_json::Value) -> Result<Task, SettingError> {
        serde_json::from_value::<WordSortingConfig>(settings).unwrap().prepare(0)
    }

    #[test]
    fn the_list_has_different_words_of_four_letters() {
        assert!(WORDS.iter().all(|word| word.len() == LETTERS && word.bytes().all(|b| b.is_ascii_lowercase())));
        let different: std::collections::BTreeSet<&str> = WORDS.into_iter().collect();
        assert_eq!(different.len(), WORDS.len());
    }

    /// The words that `tokens` are, read back.
    fn read(tokens: &[i32], unit: WordUnit) -> Vec<String> {
        match unit {
            WordUnit::Word => tokens.iter().map(|&token| WORDS[token as usize].to_owned()).collect(),
            WordUnit::Letter => {
                let letter = |&token: &i32| char::from(b'a' + u8::try_from(token).unwrap());
                tokens.chunks(4).map(|word| word.iter().map(letter).collect()).collect()
            }
        }
    }

    #[test]
    fn answers_are_the_words_in_alphabetical_order() {
        for (unit, name, width, last) in
            [(WordUnit::Word, "word", 1, "word_3"), (WordUnit::Letter, "letter", 4, "word_3_letter_4")]
        {
            let task = prepare(json!({ "words": 3, "unit": name, "held_examples": 500 })).unwrap();
            assert_eq!(task.interface.answers(), 3 * width);
            assert_eq!(task.subtasks.as_ref().unwrap().names.last().unwrap(), last);
            let mut seen = std::collections::BTreeSet::new();
            for tokens in task.split("train").unwrap().ids("tokens").chunks(6 * width + 1) {
                let mut given = read(&tokens[..3 * width], unit);
                seen.extend(given.clone());
                assert_eq!(tokens[3 * width], if unit == WordUnit::Word { 64 } else { 26 });
                given.sort();
                assert_eq!(read(&tokens[3 * width + 1..], unit), given);
            }
            // 1,500 draws leave out one of 64 words with probability 64·(1 − 1/64)^1500 = 4e-9.
            assert_eq!(seen.len(), 64);
        }
    }

    #[test]
    fn settings_out_of_range_are_named() {
        for (settings, message) in [
            (json!({ "words": 1, "unit": "word" }), "task.words is 1; expected 2 to 64, the words of the list"),
            (json!({ "words": 65, "unit": "letter" }), "task.words is 65; expected 2 to 64, the words of the list"),
        ] {
            assert_eq!(prepare(settings).unwrap_err().to_string(), message);
        }
    }
}
