//! Few-shot classification of vectors: a class may be known from training, from the context, or from both.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::sampled::{Counts, Distribution, Example, Numbers};
use super::zipf::Zipf;
use super::{SubtaskBy, Subtasks, Task, wrong};
use crate::{Interface, SettingError};

/// Settings of few-shot classification of vectors: "The mechanistic basis of data dependence and abrupt learning in an in-context
/// classification task" (Reddy 2024, section 2), after Chan et al. 2022.
///
/// K classes have centres μ ~ N(0, I/D) and labels, class k the label k mod L. An item of a class is
/// (μ + ε·η)/√(1 + ε²) with η ~ N(0, I/D). An example is N items with their labels, then an item whose label is asked for. The
/// share p of examples is bursty: N/B classes are drawn, each gives B of the N items, in random order, and one of them the
/// question. In the others all N + 1 classes are drawn independently. Class k, from 1, is drawn with a probability in proportion
/// to k^(−`zipf_exponent`).
///
/// What is asked for is learned `in_weights` where the class is one of the K but not in the context, and `in_context` where the
/// classes of the context are new ones, with labels drawn for this example; `swapped` are examples whose known classes all have
/// the labels of others (label + s mod L, s drawn for the example), so that weights and context contradict each other; `both` is
/// the rest. Training has `both`, and `in_weights` as far as the examples are not bursty. The sub-tasks are measured on the split
/// `even`, where N/B classes give B items each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FewShotVectorsConfig {
    /// D, 1 to 1024.
    pub dimension: usize,
    /// N, labelled items before the question, 1 to 2048.
    pub pairs: usize,
    /// K, 2 to 1048576 and K·D at most 67108864.
    pub classes: usize,
    /// L, 2 to 4096 and at most K.
    pub labels: usize,
    /// B, items of each class in a bursty context: a divisor of N.
    #[serde(default = "one")]
    pub burstiness: usize,
    /// p, 0 to 1.
    #[serde(default = "all")]
    pub bursty_share: f64,
    /// Exponent of the classes' frequencies, at least 0 (0: all the same).
    #[serde(default)]
    pub zipf_exponent: f64,
    /// ε, spread of a class in units of the spread of the centres, at least 0.
    #[serde(default = "default_noise")]
    pub noise: f64,
    /// Seed of the centres; the seed of the run unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_seed: Option<u32>,
    /// Examples to train on; new ones at every update unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_examples: Option<usize>,
    /// Examples held out.
    #[serde(default = "super::default_held_examples")]
    pub held_examples: usize,
    /// Examples of each sub-task in the split `even`.
    #[serde(default = "default_examples_per_subtask")]
    pub examples_per_subtask: usize,
    /// Seed of the examples; the seed of the run unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_seed: Option<u32>,
}

fn one() -> usize {
    1
}

fn all() -> f64 {
    1.0
}

/// As in Reddy 2024.
fn default_noise() -> f64 {
    0.1
}

/// There are few sub-tasks: an accuracy of each to 2 %.
fn default_examples_per_subtask() -> usize {
    512
}

const MAX_DIMENSION: usize = 1024;
const MAX_PAIRS: usize = 2048;
const MAX_CLASSES: usize = 1 << 20;
const MAX_LABELS: usize = 4096;
/// Numbers of all centres.
const MAX_NUMBERS: usize = 1 << 26;

const IN_CONTEXT: u32 = 0;
const IN_WEIGHTS: u32 = 1;
const BOTH: u32 = 2;
const SWAPPED: u32 = 3;
const SUBTASKS: [&str; 4] = ["in_context", "in_weights", "both", "swapped"];

impl FewShotVectorsConfig {
    /// See [`TaskConfig::prepare`](super::TaskConfig::prepare).
    pub(super) fn prepare(&self, run_seed: u32) -> Result<Task, SettingError> {
        if !(1..=MAX_DIMENSION).contains(&self.dimension) {
            return Err(wrong("dimension", self.dimension, &format!("1 to {MAX_DIMENSION}")));
        }
        if !(1..=MAX_PAIRS).contains(&self.pairs) {
            return Err(wrong("pairs", self.pairs, &format!("1 to {MAX_PAIRS}")));
        }
        let most = MAX_CLASSES.min(MAX_NUMBERS / self.dimension);
        if !(2..=most).contains(&self.classes) {
            return Err(wrong("classes", self.classes, &format!("2 to {most}")));
        }
        let most = MAX_LABELS.min(self.classes);
        if !(2..=most).contains(&self.labels) {
            return Err(wrong("labels", self.labels, &format!("2 to {most}, with {} classes", self.classes)));
        }
        if self.burstiness == 0 || !self.pairs.is_multiple_of(self.burstiness) {
            return Err(wrong("burstiness", self.burstiness, &format!("a divisor of pairs = {}", self.pairs)));
        }
        if !(0.0..=1.0).contains(&self.bursty_share) {
            return Err(wrong("bursty_share", self.bursty_share, "0 to 1"));
        }
        for (key, value) in [("zipf_exponent", self.zipf_exponent), ("noise", self.noise)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(wrong(key, value, "a finite number, at least 0"));
            }
        }
        let counts = Counts::new(self.train_examples, self.held_examples)?;
        let counts = counts.with_each(self.examples_per_subtask, SUBTASKS.len())?;
        let classifications = Classifications {
            config: self.clone(),
            centres: self.centres(run_seed),
            frequencies: Zipf::new(self.classes, self.zipf_exponent),
        };
        Ok(Task::sampled(Arc::new(classifications), counts, self.data_seed.unwrap_or(run_seed)))
    }

    /// The centres of the K classes, one after another.
    fn centres(&self, run_seed: u32) -> Vec<f32> {
        let seed = self.task_seed.unwrap_or(run_seed);
        let mut centres = vec![0.0; self.classes * self.dimension];
        for (class, centre) in centres.chunks_exact_mut(self.dimension).enumerate() {
            draw_centre(&mut Numbers::of_task(seed, class as u64), centre);
        }
        centres
    }
}

/// From N(0, I/D).
fn draw_centre(numbers: &mut Numbers, centre: &mut [f32]) {
    numbers.normals(centre);
    let scale = (centre.len() as f32).sqrt().recip();
    for value in centre {
        *value *= scale;
    }
}

#[derive(Debug)]
struct Classifications {
    config: FewShotVectorsConfig,
    centres: Vec<f32>,
    frequencies: Zipf,
}

/// A class as it is in one example.
#[derive(Clone)]
struct Class<'a> {
    centre: Cow<'a, [f32]>,
    label: usize,
}

impl Classifications {
    /// One of the K, its label moved by `shift`.
    fn known(&self, class: usize, shift: usize) -> Class<'_> {
        let d = self.config.dimension;
        let centre = Cow::Borrowed(&self.centres[class * d..(class + 1) * d]);
        Class { centre, label: (class + shift) % self.config.labels }
    }

    fn new_class(&self, numbers: &mut Numbers) -> Class<'_> {
        let mut centre = vec![0.0; self.config.dimension];
        draw_centre(numbers, &mut centre);
        Class { centre: Cow::Owned(centre), label: numbers.below(self.config.labels) }
    }

    fn draw_item(&self, class: &Class<'_>, numbers: &mut Numbers, item: &mut [f32]) {
        draw_centre(numbers, item);
        let noise = self.config.noise;
        let scale = (1.0 + noise * noise).sqrt().recip();
        for (value, &centre) in item.iter_mut().zip(class.centre.iter()) {
            *value = ((f64::from(centre) + noise * f64::from(*value)) * scale) as f32;
        }
    }
}

impl Distribution for Classifications {
    fn interface(&self) -> Interface {
        let FewShotVectorsConfig { dimension, pairs, labels, .. } = self.config;
        Interface::LabelledItems { dimension, pairs: pairs + 1, classes: labels }
    }

    fn subtasks(&self) -> Option<Subtasks> {
        Some(Subtasks { names: SUBTASKS.map(str::to_owned).to_vec(), by: SubtaskBy::Example })
    }

    fn draw_of(&self, subtask: Option<u32>, numbers: &mut Numbers, example: &mut Example<'_>) {
        let FewShotVectorsConfig { dimension, pairs, labels, burstiness, bursty_share, .. } = self.config;
        let is_bursty = subtask.is_some() || numbers.uniform() < bursty_share;
        let copies = if is_bursty { burstiness } else { 1 };
        let n_here = pairs / copies;
        let draw = |numbers: &mut Numbers| self.frequencies.draw(numbers);
        let (here, question): (Vec<Class<'_>>, Class<'_>) = match subtask {
            Some(IN_CONTEXT) => {
                let here: Vec<Class<'_>> = (0..n_here).map(|_| self.new_class(numbers)).collect();
                let question = here[numbers.below(n_here)].clone();
                (here, question)
            }
            Some(IN_WEIGHTS) => {
                let class = draw(numbers);
                let other = |_| self.known(self.frequencies.draw_other(class, numbers), 0);
                ((0..n_here).map(other).collect(), self.known(class, 0))
            }
            _ => {
                let shift = if subtask == Some(SWAPPED) { 1 + numbers.below(labels - 1) } else { 0 };
                let classes: Vec<usize> = (0..n_here).map(|_| draw(numbers)).collect();
                let class = if is_bursty { classes[numbers.below(n_here)] } else { draw(numbers) };
                example.subtask = if classes.contains(&class) { BOTH } else { IN_WEIGHTS };
                (classes.into_iter().map(|class| self.known(class, shift)).collect(), self.known(class, shift))
            }
        };
        example.subtask = subtask.unwrap_or(example.subtask);
        for (place, at) in numbers.distinct(pairs, pairs).into_iter().enumerate() {
            let class = &here[at / copies];
            self.draw_item(class, numbers, &mut example.x[place * dimension..(place + 1) * dimension]);
            example.class[place] = class.label as i32;
        }
        self.draw_item(&question, numbers, &mut example.x[pairs * dimension..]);
        example.class[pairs] = question.label as i32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Model, Split};
    use ontogeny_graph::Value;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn config(changes: &serde_json::Value) -> FewShotVectorsConfig {
        let mut settings =
            json!({ "dimension": 24, "pairs": 6, "classes": 10, "labels": 4, "burstiness": 2, "noise": 0.05 });
        settings.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value(settings).unwrap()
    }

    /// Of each example: class and label of every item, the class as the number of the centre that is within 0.3; a centre
    /// and its item differ by 0.05·|η| with |η| near 1, two centres by √2.
    fn examples(config: &FewShotVectorsConfig, split: &Split) -> Vec<Vec<(Option<usize>, i32)>> {
        let centres = config.centres(0);
        let near = |item: &[f32]| {
            let distance = |centre: &[f32]| item.iter().zip(centre).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt();
            centres.chunks(config.dimension).position(|centre| distance(centre) < 0.3)
        };
        let n = config.pairs + 1;
        let items: Vec<Option<usize>> = split.floats("x").chunks(config.dimension).map(near).collect();
        items
            .chunks(n)
            .zip(split.ids("y").chunks(n))
            .map(|(a, b)| a.iter().copied().zip(b.iter().copied()).collect())
            .collect()
    }

    #[test]
    fn each_sub_task_asks_for_what_it_says() {
        let config = config(&json!({}));
        let task = config.prepare(0).unwrap();
        let even = task.split("even").unwrap();
        assert_eq!(even.data.len(), 4 * 512);
        let mut n_shifts = BTreeMap::new();
        for (example, &subtask) in examples(&config, even).iter().zip(&even.subtasks) {
            let (context, (class, label)) = (&example[..6], example[6]);
            let is_known =
                |&(class, label): &(Option<usize>, i32)| class.is_some_and(|class| class as i32 % 4 == label);
            match subtask {
                IN_CONTEXT => assert!(example.iter().all(|(class, _)| class.is_none())),
                IN_WEIGHTS => {
                    assert!(example.iter().all(is_known));
                    assert!(context.iter().all(|&(other, _)| other != class), "{example:?}");
                }
                BOTH => {
                    assert!(example.iter().all(is_known));
                    assert!(context.iter().filter(|pair| **pair == (class, label)).count() >= 2, "{example:?}");
                }
                _ => {
                    assert!(!example.iter().any(is_known), "{example:?}");
                    assert!(context.contains(&(class, label)));
                    let shift = |(class, label): &(Option<usize>, i32)| (label - class.unwrap() as i32).rem_euclid(4);
                    assert!(example.iter().all(|pair| shift(pair) == shift(&example[6])));
                    *n_shifts.entry(shift(&example[6])).or_insert(0.0) += 1.0;
                }
            }
        }
        // Three shifts of equal probability: χ² of 2 degrees of freedom is above 13.8 with probability 0.001.
        let expected = 512.0 / 3.0;
        let chi2: f64 = n_shifts.values().map(|c: &f64| (c - expected).powi(2) / expected).sum();
        assert!(n_shifts.len() == 3 && chi2 < 13.8, "{n_shifts:?}");
    }

    #[test]
    fn classes_of_the_context_give_as_many_items_and_one_of_them_the_question() {
        let config = config(&json!({ "noise": 0.01, "classes": 1000, "burstiness": 3 }));
        let task = config.prepare(0).unwrap();
        let even = task.split("even").unwrap();
        for (example, subtask) in even.floats("x").chunks(7 * 24).zip(&even.subtasks).take(200) {
            let items: Vec<&[f32]> = example.chunks(24).collect();
            let near = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>() < 0.1;
            for item in &items[..6] {
                let n = items[..6].iter().filter(|other| near(item, other)).count();
                // The same class may be drawn twice, rarely.
                assert!(n == 3 || n == 6, "{n}");
            }
            let n = items[..6].iter().filter(|other| near(items[6], other)).count();
            assert_eq!(n == 0, *subtask == IN_WEIGHTS, "{n}");
        }
    }

    #[test]
    fn items_have_the_stated_spread_and_classes_their_frequencies() {
        let changes = json!({ "bursty_share": 0.0, "zipf_exponent": 1.0, "held_examples": 4000, "noise": 0.05 });
        let config = config(&changes);
        let task = config.prepare(0).unwrap();
        let train = task.split("train").unwrap();
        assert!(train.subtasks.contains(&BOTH) && train.subtasks.contains(&IN_WEIGHTS));
        let mut counts = [0.0; 10];
        for (example, &subtask) in examples(&config, train).iter().zip(&train.subtasks) {
            let is_here = example[..6].iter().any(|(class, _)| *class == example[6].0);
            assert_eq!(subtask, if is_here { BOTH } else { IN_WEIGHTS });
            for (class, _) in example {
                counts[class.unwrap()] += 1.0;
            }
        }
        let (n, total) = (28_000.0, (1..=10).map(|k| 1.0 / f64::from(k)).sum::<f64>());
        // χ² of 9 degrees of freedom: above 27.9 with probability 0.001.
        let expected = |k: usize| n / (k + 1) as f64 / total;
        let chi2: f64 = counts.iter().enumerate().map(|(k, c)| (c - expected(k)).powi(2) / expected(k)).sum();
        assert!(chi2 < 27.9, "{counts:?}");
        // Mean square of the noise: ε²/(1 + ε²)/D for each coordinate, with the relative error √(2/n).
        let centres = config.centres(0);
        let scale = 1.0025_f64.sqrt();
        let squares =
            train.floats("x").chunks(24).zip(examples(&config, train).concat()).flat_map(|(item, (class, _))| {
                let centre = &centres[24 * class.unwrap()..];
                item.iter()
                    .zip(centre)
                    .map(|(x, c)| (f64::from(*x) - f64::from(*c) / scale).powi(2))
                    .collect::<Vec<f64>>()
            });
        let mean = squares.sum::<f64>() / (n * 24.0);
        let expected = 0.0025 / 1.0025 / 24.0;
        assert!((mean / expected - 1.0).abs() < 4.0 * (2.0 / (n * 24.0)).sqrt(), "{mean} {expected}");
    }

    #[test]
    fn the_answer_is_not_read_and_the_labels_before_are() {
        let task = config(&json!({ "held_examples": 2 })).prepare(0).unwrap();
        let network = serde_json::from_value(json!({
            "kind": "transformer", "layers": 2, "d_model": 8, "heads": 2, "attention_only": true,
            "normalization": "none", "positions": "learned", "unembed_bias": true,
        }));
        let model = Model::new(network.unwrap(), task.interface).unwrap();
        let shapes: Vec<(&str, &[usize])> = model.space().iter().map(|p| (p.name.as_str(), &p.shape[..])).collect();
        assert!(shapes.contains(&("embed.W_E", &[28, 8])) && shapes.contains(&("unembed.W_U", &[8, 4])), "{shapes:?}");
        assert!(shapes.contains(&("pos_embed.W_pos", &[13, 8])) && shapes.contains(&("unembed.b_U", &[4])));
        let (graph, nodes) = model.graph(2);
        let train = task.split("train").unwrap();
        let logits = |changed: Option<usize>| {
            let mut y = train.ids("y").to_vec();
            if let Some(place) = changed {
                y[place] = (y[place] + 1) % 4;
            }
            let x = train.floats("x").iter().map(|&x| f64::from(x)).collect();
            let mut values = BTreeMap::from([("x".to_owned(), Value::Float(x)), ("y".to_owned(), Value::Ids(y))]);
            for (param, weights) in model.tensors(&model.initial_weights(0)) {
                values.insert(param.name.clone(), Value::Float(weights.iter().map(|&w| f64::from(w)).collect()));
            }
            graph.interpret(&values, &[nodes.logits, nodes.loss]).unwrap()
        };
        let before = logits(None);
        // The answer of the first example changes its loss and nothing else.
        assert_eq!(logits(Some(6))[0], before[0]);
        assert_ne!(logits(Some(6))[1], before[1]);
        for place in 0..6 {
            let after = logits(Some(place));
            assert_ne!(after[0][..4], before[0][..4]);
            assert_eq!(after[0][4..], before[0][4..]);
        }
    }

    #[test]
    fn settings_out_of_range_are_named() {
        for (changes, message) in [
            (json!({ "dimension": 0 }), "task.dimension is 0; expected 1 to 1024"),
            (json!({ "pairs": 0 }), "task.pairs is 0; expected 1 to 2048"),
            (json!({ "classes": 1 }), "task.classes is 1; expected 2 to 1048576"),
            (json!({ "dimension": 1024, "classes": 65537 }), "task.classes is 65537; expected 2 to 65536"),
            (json!({ "labels": 11 }), "task.labels is 11; expected 2 to 10, with 10 classes"),
            (json!({ "burstiness": 4 }), "task.burstiness is 4; expected a divisor of pairs = 6"),
            (json!({ "bursty_share": 1.5 }), "task.bursty_share is 1.5; expected 0 to 1"),
            (json!({ "zipf_exponent": -1.0 }), "task.zipf_exponent is -1; expected a finite number, at least 0"),
            (json!({ "noise": -0.5 }), "task.noise is -0.5; expected a finite number, at least 0"),
            (
                json!({ "examples_per_subtask": 0 }),
                "task.examples_per_subtask is 0; expected 1 to 4194304, for 4 sub-tasks",
            ),
        ] {
            assert_eq!(config(&changes).prepare(0).unwrap_err().to_string(), message);
        }
    }
}
