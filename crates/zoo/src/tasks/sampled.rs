//! Tasks whose examples are drawn: example number i of a stream is a function of the seed and i alone, so that data
//! without end need no state and no memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use ontogeny_graph::{Column, ColumnData, DataSet, ElementsMut, Purpose, Stream};

use super::{Split, SubtaskBy, Subtasks, Task, wrong};
use crate::interface::InputColumn;
use crate::{Interface, SettingError};

/// A distribution of examples.
pub(crate) trait Distribution: std::fmt::Debug + Send + Sync {
    /// What its examples look like.
    fn interface(&self) -> Interface;

    /// Its named parts, where they have losses of their own.
    fn subtasks(&self) -> Option<Subtasks> {
        None
    }

    /// Draws one example. All elements of `example` are 0 before.
    fn draw(&self, numbers: &mut Numbers, example: &mut Example<'_>) {
        self.draw_of(None, numbers, example);
    }

    /// Draws one example, of the sub-task number `subtask` where one is asked for: only of distributions whose sub-tasks
    /// are sets of examples.
    fn draw_of(&self, subtask: Option<u32>, numbers: &mut Numbers, example: &mut Example<'_>);
}

/// Places for one example; those that the interface does not have are empty.
#[derive(Debug, Default)]
pub(crate) struct Example<'a> {
    pub(crate) tokens: &'a mut [i32],
    pub(crate) targets: &'a mut [i32],
    pub(crate) weights: &'a mut [f32],
    pub(crate) x: &'a mut [f32],
    /// Numbers to be predicted.
    pub(crate) y: &'a mut [f32],
    /// A class to be predicted.
    pub(crate) class: &'a mut [i32],
    /// Number of the example's sub-task, where sub-tasks are sets of examples: to be set.
    pub(crate) subtask: u32,
    /// Number of each answer's sub-task, where they go by [`SubtaskBy::EachAnswer`]; all 0 before.
    pub(crate) answer_subtasks: &'a mut [u32],
}

/// Random numbers one after another, of one example.
#[derive(Debug)]
pub(crate) struct Numbers {
    stream: Stream,
    example: u64,
    at: u32,
}

impl Numbers {
    /// The numbers of `stream`, from the first on, for the example of that number.
    pub(super) fn new(stream: Stream, example: u64) -> Self {
        Self { stream, example, at: 0 }
    }

    /// Numbers that are drawn once for the whole task, such as which bits a parity reads.
    pub(crate) fn of_task(seed: u32, number: u64) -> Self {
        Self::new(Stream::new(seed, Purpose::Task, number), number)
    }

    /// Number of the example among those of its kind, from 0.
    pub(crate) fn example(&self) -> u64 {
        self.example
    }

    /// An integer below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.at += 1;
        self.stream.below(n, 0, self.at - 1)
    }

    /// A float in [0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        self.at += 1;
        self.stream.uniform(0, self.at - 1)
    }

    /// Fills with independent standard normals. They come from a counter of their own (step 1 + the numbers drawn before).
    pub(crate) fn normals(&mut self, out: &mut [f32]) {
        self.at += 1;
        self.stream.normals(self.at, 0, out);
    }

    /// Fills with zeros and ones of equal probability, at most 128.
    pub(crate) fn bits(&mut self, out: &mut [f32]) {
        let words = self.stream.words(0, self.at);
        self.at += 1;
        for (i, bit) in out.iter_mut().enumerate() {
            *bit = (words[i / 32] >> (i % 32) & 1) as f32;
        }
    }

    /// `k` different integers below `n`, in random order; `k` is at most `n`.
    pub(crate) fn distinct(&mut self, k: usize, n: usize) -> Vec<usize> {
        // Fisher–Yates, from the front. Only places that were swapped differ from their number.
        let mut swapped = BTreeMap::new();
        let mut chosen = Vec::with_capacity(k);
        for i in 0..k {
            let j = i + self.below(n - i);
            let at_i = swapped.remove(&i).unwrap_or(i);
            chosen.push(if j == i { at_i } else { swapped.insert(j, at_i).unwrap_or(j) });
        }
        chosen
    }
}

/// Training examples without end.
#[derive(Debug, Clone)]
pub struct Endless {
    distribution: Arc<dyn Distribution>,
    seed: u32,
}

/// Which stream of examples: they share none.
#[derive(Debug, Clone, Copy)]
enum Which {
    Train = 0,
    Held = 1,
    /// As many of each sub-task.
    Even = 2,
    /// Of another distribution with the same interface.
    Other = 3,
}

/// How many examples a task draws: two keys of every such task.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    /// Examples to train on; `None` for new ones at every update.
    pub(crate) train: Option<usize>,
    /// Examples held out.
    pub(crate) held: usize,
    /// Examples of each sub-task in the split `even`; 0 where sub-tasks are no sets of examples.
    pub(crate) each: usize,
}

/// Most examples of a split: beyond this it is data without end that is meant.
const MAX_EXAMPLES: usize = 1 << 24;

impl Counts {
    /// Checks the keys `train_examples` and `held_examples`.
    pub(crate) fn new(train: Option<usize>, held: usize) -> Result<Self, SettingError> {
        let range = format!("1 to {MAX_EXAMPLES}, or nothing for new examples at every update");
        match train {
            Some(n) if n == 0 || n > MAX_EXAMPLES => Err(wrong("train_examples", n, &range)),
            None if held < 2 => {
                Err(wrong("held_examples", held, "at least 2: with endless training they are what is measured on"))
            }
            _ if held > MAX_EXAMPLES => Err(wrong("held_examples", held, &format!("at most {MAX_EXAMPLES}"))),
            _ => Ok(Self { train, held, each: 0 }),
        }
    }

    /// With `each` examples of every one of `n` sub-tasks, from the key `examples_per_subtask`.
    pub(crate) fn with_each(self, each: usize, n: usize) -> Result<Self, SettingError> {
        if each == 0 || each.saturating_mul(n) > MAX_EXAMPLES {
            let expected = format!("1 to {}, for {n} sub-tasks", MAX_EXAMPLES / n.max(1));
            return Err(wrong("examples_per_subtask", each, &expected));
        }
        Ok(Self { each, ..self })
    }
}

impl Task {
    /// A task of drawn examples. With `counts.train` the splits are `train` and `test`; without, training is endless and
    /// `train` is the held-out sample, which stands for the distribution.
    pub(crate) fn sampled(distribution: Arc<dyn Distribution>, counts: Counts, seed: u32) -> Self {
        let (interface, subtasks) = (distribution.interface(), distribution.subtasks());
        let endless = Endless { distribution, seed };
        let held = endless.split(Which::Held, counts.held);
        let mut splits = match counts.train {
            None => vec![Split { name: "train", ..held }],
            Some(n) => {
                let train = Split { name: "train", ..endless.split(Which::Train, n) };
                let test = (counts.held > 0).then_some(Split { name: "test", ..held });
                [train].into_iter().chain(test).collect()
            }
        };
        if let (Some(Subtasks { names, by: SubtaskBy::Example }), 1..) = (&subtasks, counts.each) {
            splits.push(Split { name: "even", ..endless.split(Which::Even, counts.each * names.len()) });
        }
        let endless = counts.train.is_none().then_some(endless);
        Self { endless, ..Self::of_splits(interface, splits, subtasks) }
    }

    /// With one more split: `n` examples of another distribution over the same interface.
    pub(crate) fn with_other_split(
        mut self,
        name: &'static str,
        distribution: Arc<dyn Distribution>,
        n: usize,
        seed: u32,
    ) -> Self {
        if n > 0 {
            let other = Endless { distribution, seed };
            self.splits.push(Split { name, ..other.split(Which::Other, n) });
        }
        self
    }
}

impl Endless {
    /// Fills `data`, a data set of [`Endless::buffer`], with the examples number `first`, `first + 1`, ….
    pub fn fill(&self, first: u64, data: &mut DataSet) {
        self.write(Which::Train, first, data, &mut |_| ());
    }

    /// A data set of `n` empty examples.
    pub fn buffer(&self, n: usize) -> DataSet {
        let column = |InputColumn { name, width, is_ids }: InputColumn| Column {
            name: name.to_owned(),
            width,
            data: if is_ids { ColumnData::Ids(vec![0; n * width]) } else { ColumnData::Float(vec![0.0; n * width]) },
        };
        let columns = self.distribution.interface().columns().into_iter().map(column).collect();
        DataSet::new(n, columns).expect("every column has n rows")
    }

    fn split(&self, which: Which, n: usize) -> Split {
        let mut data = self.buffer(n);
        let mut subtasks = Vec::new();
        let by = self.distribution.subtasks().map(|subtasks| subtasks.by);
        self.write(which, 0, &mut data, &mut |example| match by {
            Some(SubtaskBy::Example) => subtasks.push(example.subtask),
            Some(SubtaskBy::EachAnswer) => subtasks.extend_from_slice(example.answer_subtasks),
            Some(SubtaskBy::Answer) | None => (),
        });
        Split { name: "", indices: (0..n).collect(), data, subtasks }
    }

    /// `each` sees every example as it is drawn.
    fn write(&self, which: Which, first: u64, data: &mut DataSet, each: &mut dyn FnMut(&Example<'_>)) {
        let n_subtasks = self.distribution.subtasks().map_or(1, |subtasks| subtasks.names.len() as u64);
        let mut answer_subtasks = vec![0; self.distribution.interface().answers()];
        for row in 0..data.len() {
            // The stream's number says all: the kind of examples in its highest byte, then which of them.
            let number = ((which as u64) << 56) + first + row as u64;
            let mut numbers = Numbers::new(Stream::new(self.seed, Purpose::Data, number), first + row as u64);
            let mut example = Example::default();
            for (name, width, elements) in data.elements_mut() {
                let places = row * width..(row + 1) * width;
                match (name, elements) {
                    ("tokens", ElementsMut::Ids(ids)) => example.tokens = &mut ids[places],
                    ("targets", ElementsMut::Ids(ids)) => example.targets = &mut ids[places],
                    (_, ElementsMut::Ids(ids)) => example.class = &mut ids[places],
                    ("weights", ElementsMut::Float(floats)) => example.weights = &mut floats[places],
                    ("x", ElementsMut::Float(floats)) => example.x = &mut floats[places],
                    (_, ElementsMut::Float(floats)) => example.y = &mut floats[places],
                }
            }
            answer_subtasks.fill(0);
            example.answer_subtasks = &mut answer_subtasks;
            for ids in [&mut *example.tokens, &mut *example.targets, &mut *example.class] {
                ids.fill(0);
            }
            for floats in [&mut *example.weights, &mut *example.x, &mut *example.y] {
                floats.fill(0.0);
            }
            match which {
                Which::Even => {
                    let wanted = (numbers.example() % n_subtasks) as u32;
                    self.distribution.draw_of(Some(wanted), &mut numbers, &mut example);
                }
                Which::Train | Which::Held | Which::Other => self.distribution.draw(&mut numbers, &mut example),
            }
            each(&example);
        }
    }
}

/// The same seed and the same distribution: the same examples.
impl PartialEq for Endless {
    fn eq(&self, other: &Self) -> bool {
        self.seed == other.seed && Arc::ptr_eq(&self.distribution, &other.distribution)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_without_repetition_are_all_equally_likely() {
        let n = 12_000;
        let mut counts = BTreeMap::new();
        for number in 0..n {
            let chosen = Numbers::of_task(1, number).distinct(3, 5);
            *counts.entry(chosen).or_insert(0.0) += 1.0;
        }
        // 5·4·3 = 60 orders of three, each 200 times. χ² of 59 degrees of freedom: above 98.3 with probability 0.001.
        let chi2: f64 = counts.values().map(|c: &f64| (c - 200.0) * (c - 200.0) / 200.0).sum();
        assert!(counts.len() == 60 && chi2 < 98.3, "{chi2}");
        assert!(counts.keys().all(|chosen| chosen[0] != chosen[1] && chosen[1] != chosen[2] && chosen[0] != chosen[2]));
        let mut all = Numbers::of_task(2, 0).distinct(1000, 1000);
        all.sort_unstable();
        assert_eq!(all, (0..1000).collect::<Vec<usize>>());
    }
}
