//! Indirect object identification: the task of the prompts, and a toy of it without language.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ioi_prompts::{IoiOrder, draw, longest, vocabulary};
use super::sampled::{Counts, Distribution, Example, Numbers};
use super::{SubtaskBy, Subtasks, Task, Words, wrong};
use crate::{Interface, Read, SettingError};

/// Settings of indirect object identification in words: "Interpretability in the Wild: a Circuit for Indirect Object
/// Identification in GPT-2 small" (Wang et al. 2023), with its 15 templates, 99 names, 8 places and 8 objects.
///
/// An example is a prompt such as `After A and B went to the store , B gave a ring to`, a word or a mark a token, with padding
/// before it so that all end at the last position; the answer is the name A. Ids are those of [`ioi_vocabulary`]: the names
/// first, padding last. The sub-tasks `abba`, where the answer comes first, and `baba` are equally likely. The split `abc` has
/// three different names in the same templates, and as target the name in the place of A: for ablations by the mean.
/// The smallest loss is 0, but for the split `abc`. For language models there are the prompts themselves:
/// [`ioi_prompts`](crate::ioi_prompts).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IoiConfig {
    /// Prompts to train on; new ones at every update unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_examples: Option<usize>,
    /// Prompts held out.
    #[serde(default = "super::default_held_examples")]
    pub held_examples: usize,
    /// Prompts of each order in the split `even`.
    #[serde(default = "super::default_examples_per_subtask")]
    pub examples_per_subtask: usize,
    /// Seed of the prompts; the seed of the run unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_seed: Option<u32>,
}

/// Settings of a toy of indirect object identification.
///
/// An example is a sequence of fillers with three names among them at random places, `A B B` or `B A B`, and a query at the end;
/// the answer is A, the name that comes once. Names are the ids below `names`, fillers follow, the query is the last id; all
/// choices are uniform. Sub-tasks, the split `abc` and the smallest loss are those of [`IoiConfig`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToyIoiConfig {
    /// Tokens of a sequence, 4 to 4096.
    pub length: usize,
    /// Names, 3 to 65536.
    pub names: usize,
    /// Different fillers, 1 to 65536.
    pub fillers: usize,
    /// Sequences to train on; new ones at every update unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_examples: Option<usize>,
    /// Sequences held out.
    #[serde(default = "super::default_held_examples")]
    pub held_examples: usize,
    /// Sequences of each order in the split `even`.
    #[serde(default = "super::default_examples_per_subtask")]
    pub examples_per_subtask: usize,
    /// Seed of the sequences; the seed of the run unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_seed: Option<u32>,
}

/// Words of the task `ioi` by their ids; the last is the padding, an empty word.
pub fn ioi_vocabulary() -> Vec<&'static str> {
    let (mut words, _) = vocabulary();
    words.push("");
    words
}

/// By number of the sub-task.
const ORDERS: [IoiOrder; 2] = [IoiOrder::Abba, IoiOrder::Baba];

fn subtasks() -> Subtasks {
    Subtasks { names: vec!["abba".to_owned(), "baba".to_owned()], by: SubtaskBy::Example }
}

/// The order of an example.
fn draw_order(is_abc: bool, subtask: Option<u32>, numbers: &mut Numbers) -> IoiOrder {
    let drawn = numbers.below(ORDERS.len());
    if is_abc { IoiOrder::Abc } else { ORDERS[subtask.map_or(drawn, |wanted| wanted as usize)] }
}

impl IoiConfig {
    /// See [`TaskConfig::prepare`](super::TaskConfig::prepare).
    pub(super) fn prepare(&self, run_seed: u32) -> Result<Task, SettingError> {
        let counts =
            Counts::new(self.train_examples, self.held_examples)?.with_each(self.examples_per_subtask, ORDERS.len())?;
        let (words, n_names) = vocabulary();
        let ids: BTreeMap<&str, i32> = words.iter().copied().zip(0..).collect();
        let prompts = |is_abc| Arc::new(Prompts { ids: ids.clone(), n_names, length: longest(), is_abc });
        let seed = self.data_seed.unwrap_or(run_seed);
        let task =
            Task::sampled(prompts(false), counts, seed).with_other_split("abc", prompts(true), counts.held, seed);
        Ok(Task { words: Some(Words::list(ioi_vocabulary())), ..task })
    }
}

#[derive(Debug)]
struct Prompts {
    ids: BTreeMap<&'static str, i32>,
    n_names: usize,
    length: usize,
    is_abc: bool,
}

impl Distribution for Prompts {
    fn interface(&self) -> Interface {
        let read = Read::LastPosition { classes: self.n_names };
        Interface::Tokens { vocabulary: self.ids.len() + 1, length: self.length, read }
    }

    fn subtasks(&self) -> Option<Subtasks> {
        Some(subtasks())
    }

    fn draw_of(&self, subtask: Option<u32>, numbers: &mut Numbers, example: &mut Example<'_>) {
        let order = draw_order(self.is_abc, subtask, numbers);
        let prompt = draw(order, numbers);
        let (padding, tokens) = example.tokens.split_at_mut(self.length - prompt.words.len());
        padding.fill(self.ids.len() as i32);
        tokens.iter_mut().zip(&prompt.words).for_each(|(token, word)| *token = self.ids[word]);
        example.targets[0] = self.ids[prompt.answer];
        example.subtask = u32::from(prompt.subject_at[0] < prompt.answer_at);
    }
}

impl ToyIoiConfig {
    /// See [`TaskConfig::prepare`](super::TaskConfig::prepare).
    pub(super) fn prepare(&self, run_seed: u32) -> Result<Task, SettingError> {
        if !(4..=4096).contains(&self.length) {
            return Err(wrong("length", self.length, "4 to 4096"));
        }
        if !(3..=65536).contains(&self.names) {
            return Err(wrong("names", self.names, "3 to 65536"));
        }
        if !(1..=65536).contains(&self.fillers) {
            return Err(wrong("fillers", self.fillers, "1 to 65536"));
        }
        let counts =
            Counts::new(self.train_examples, self.held_examples)?.with_each(self.examples_per_subtask, ORDERS.len())?;
        let sequences = |is_abc| Arc::new(NameSequences { config: self.clone(), is_abc });
        let seed = self.data_seed.unwrap_or(run_seed);
        Ok(Task::sampled(sequences(false), counts, seed).with_other_split("abc", sequences(true), counts.held, seed))
    }
}

#[derive(Debug)]
struct NameSequences {
    config: ToyIoiConfig,
    is_abc: bool,
}

impl Distribution for NameSequences {
    fn interface(&self) -> Interface {
        let ToyIoiConfig { length, names, fillers, .. } = self.config;
        Interface::Tokens { vocabulary: names + fillers + 1, length, read: Read::LastPosition { classes: names } }
    }

    fn subtasks(&self) -> Option<Subtasks> {
        Some(subtasks())
    }

    fn draw_of(&self, subtask: Option<u32>, numbers: &mut Numbers, example: &mut Example<'_>) {
        let ToyIoiConfig { length, names, fillers, .. } = self.config;
        let order = draw_order(self.is_abc, subtask, numbers);
        let (tokens, query) = example.tokens.split_at_mut(length - 1);
        for token in tokens.iter_mut() {
            *token = (names + numbers.below(fillers)) as i32;
        }
        query[0] = (names + fillers) as i32;
        let mut places = numbers.distinct(3, length - 1);
        places.sort_unstable();
        let drawn = numbers.distinct(3, names);
        let [a, b, c] = [drawn[0], drawn[1], drawn[2]];
        let shown = match order {
            IoiOrder::Abba => [a, b, b],
            IoiOrder::Baba => [b, a, b],
            IoiOrder::Abc if numbers.below(2) == 0 => [a, b, c],
            IoiOrder::Abc => [b, a, c],
        };
        places.iter().zip(shown).for_each(|(&at, name)| tokens[at] = name as i32);
        example.targets[0] = a as i32;
        example.subtask = u32::from(shown[0] != a);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn toy(changes: &serde_json::Value) -> Result<Task, SettingError> {
        let mut settings = json!({ "length": 9, "names": 12, "fillers": 5 });
        settings.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value::<ToyIoiConfig>(settings).unwrap().prepare(0)
    }

    /// Names of each row of a split, in order; the target is the one that comes once, where another comes twice.
    fn names(task: &Task, split: &str) -> Vec<[i32; 3]> {
        let Interface::Tokens { length, read: Read::LastPosition { classes }, .. } = task.interface else {
            panic!("{:?}", task.interface)
        };
        let split = task.split(split).unwrap();
        let row = |(tokens, target): (&[i32], &i32)| {
            let names: Vec<i32> = tokens.iter().copied().filter(|&token| (token as usize) < classes).collect();
            let [x, y, z] = names[..] else { panic!("{names:?}") };
            assert!(
                x != y
                    && (if x == z {
                        y
                    } else if y == z {
                        x
                    } else {
                        *target
                    }) == *target
            );
            assert!(*target == x || *target == y);
            [x, y, z]
        };
        split.ids("tokens").chunks(length).zip(split.ids("targets")).map(row).collect()
    }

    #[test]
    fn the_answer_is_the_name_that_comes_once() {
        let language = serde_json::from_value::<IoiConfig>(json!({})).unwrap().prepare(0).unwrap();
        for task in [language, toy(&json!({})).unwrap()] {
            let train = task.split("train").unwrap();
            let rows = names(&task, "train");
            for ([x, y, z], &subtask) in rows.iter().zip(&train.subtasks) {
                assert_eq!(
                    task.subtasks.as_ref().unwrap().names[subtask as usize],
                    if z == y { "abba" } else { "baba" }
                );
                assert!(z == y || z == x);
            }
            // A fair coin over 2048 examples has the deviation ½√2048 = 22.6.
            let n_abba = rows.iter().filter(|row| row[1] == row[2]).count();
            assert!(n_abba.abs_diff(1024) < 91, "{n_abba}");
            assert_eq!(names(&task, "even").iter().filter(|row| row[1] == row[2]).count(), 32);
            let abc = task.split("abc").unwrap();
            for (([x, y, z], &target), &subtask) in
                names(&task, "abc").iter().zip(abc.ids("targets")).zip(&abc.subtasks)
            {
                assert!(z != x && z != y && subtask == u32::from(target == *y));
            }
        }
    }

    #[test]
    fn prompts_end_at_the_last_position() {
        let task = serde_json::from_value::<IoiConfig>(json!({})).unwrap().prepare(0).unwrap();
        let words = ioi_vocabulary();
        let Interface::Tokens { vocabulary, length, .. } = task.interface else { panic!("tokens") };
        assert_eq!(vocabulary, words.len());
        let mut longest = 0;
        for tokens in task.split("train").unwrap().ids("tokens").chunks(length) {
            let prompt: Vec<&str> =
                tokens.iter().map(|&id| words[id as usize]).skip_while(|word| word.is_empty()).collect();
            assert!(prompt.last() == Some(&"to") && !prompt.contains(&""), "{prompt:?}");
            longest = longest.max(prompt.len());
        }
        assert_eq!(longest, length);
    }

    #[test]
    fn names_stand_anywhere_among_the_fillers() {
        let task = toy(&json!({ "held_examples": 5600 })).unwrap();
        let mut counts = BTreeMap::new();
        for tokens in task.split("train").unwrap().ids("tokens").chunks(9) {
            assert_eq!(tokens[8], 17);
            let places: Vec<usize> = (0..8).filter(|&at| tokens[at] < 12).collect();
            *counts.entry(places).or_insert(0.0) += 1.0;
        }
        // 8·7·6/6 = 56 places, each 100 times. χ² of 55 degrees of freedom: above 93.2 with probability 0.001.
        let chi2: f64 = counts.values().map(|c: &f64| (c - 100.0) * (c - 100.0) / 100.0).sum();
        assert!(counts.len() == 56 && chi2 < 93.2, "{chi2}");
    }

    #[test]
    fn settings_out_of_range_are_named() {
        for (changes, message) in [
            (json!({ "length": 3 }), "task.length is 3; expected 4 to 4096"),
            (json!({ "names": 2 }), "task.names is 2; expected 3 to 65536"),
            (json!({ "fillers": 0 }), "task.fillers is 0; expected 1 to 65536"),
            (
                json!({ "examples_per_subtask": 0 }),
                "task.examples_per_subtask is 0; expected 1 to 8388608, for 2 sub-tasks",
            ),
        ] {
            assert_eq!(toy(&changes).unwrap_err().to_string(), message);
        }
    }
}
