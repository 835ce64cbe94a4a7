//! Which examples, and which positions of them, activations are read at.

use ontogeny_graph::{DataSet, Purpose, Stream};
use ontogeny_zoo::{Interface, Read, Split, Task};

use crate::evaluate::floats;
use crate::{ObserveError, Subject};

/// Where an activation is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Number of its example among [`Samples::examples`].
    pub(crate) row: usize,
    /// Its place in the sequence; 0 of inputs that are no sequence.
    pub(crate) position: usize,
    /// The answer that is read there.
    pub(crate) answer: Option<usize>,
}

/// A choice of examples and positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Samples {
    /// Their numbers in the split, ascending.
    pub(crate) examples: Vec<usize>,
    /// The place of each in a random order, for folds.
    pub(crate) draws: Vec<usize>,
    /// By row, then by position.
    pub(crate) chosen: Vec<Sample>,
}

/// Which positions of a sequence count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PositionsOf {
    /// Those at which an answer is read.
    Answers,
    /// All from this one on.
    All(usize),
}

/// Number of the random stream: those of other uses of [`Purpose::Probe`] are below.
const STREAM: u64 = 1 << 40;

impl Samples {
    /// About `n` samples of a split: a random position of each of n random examples, or more positions of each where there are
    /// fewer examples.
    pub(crate) fn choose(subject: &Subject<'_>, split: &Split, n: usize, positions: PositionsOf) -> Self {
        let stream = Stream::new(subject.seed, Purpose::Probe, STREAM);
        let interface = subject.model.interface();
        let possible = |example: usize| possible(interface, &split.data, example, positions);
        let order = stream.permutation(split.data.len(), 0);
        let mut drawn: Vec<(usize, usize)> = order
            .into_iter()
            .filter(|&example| !possible(example).is_empty())
            .take(n)
            .enumerate()
            .map(|(draw, example)| (example, draw))
            .collect();
        drawn.sort_unstable();
        let each = (n / drawn.len().max(1)).max(1);
        let mut chosen = Vec::new();
        for (row, &(example, _)) in drawn.iter().enumerate() {
            let mut places = possible(example);
            for i in 0..each.min(places.len()) {
                let j = i + stream.below(places.len() - i, 1 + example as u32, i as u32);
                places.swap(i, j);
            }
            places.truncate(each);
            places.sort_unstable();
            chosen.extend(places.into_iter().map(|(position, answer)| Sample { row, position, answer }));
        }
        let (examples, draws) = drawn.into_iter().unzip();
        Self { examples, draws, chosen }
    }

    /// The fold of each sample: examples are dealt out in their random order, all positions of one together.
    pub(crate) fn folds(&self, n_folds: usize) -> Vec<usize> {
        self.chosen.iter().map(|sample| self.draws[sample.row] % n_folds).collect()
    }

    /// Only the samples for which `keep` holds.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Sample) -> bool) {
        self.chosen.retain(|sample| keep(sample));
    }
}

/// Positions of an example, each with the answer that is read there.
fn possible(
    interface: Interface,
    data: &DataSet,
    example: usize,
    positions: PositionsOf,
) -> Vec<(usize, Option<usize>)> {
    let Some(length) = sequence_length(interface) else { return vec![(0, Some(0))] };
    if let PositionsOf::All(first) = positions {
        return (first..length).map(|position| (position, None)).collect();
    }
    match interface {
        Interface::Tokens { read: Read::Tokens { from, every, is_weighted }, .. } => {
            let n_answers = interface.answers();
            let weights = floats(data, "weights").filter(|_| is_weighted);
            let counts = |answer: usize| weights.is_none_or(|weights| weights[example * n_answers + answer] > 0.0);
            (0..n_answers).filter(|&i| counts(i)).map(|i| (from - 1 + i * every, Some(i))).collect()
        }
        Interface::Pairs { pairs, .. } => (0..pairs).map(|i| (2 * i, Some(i))).collect(),
        _ => vec![(length - 1, Some(0))],
    }
}

/// Positions of the residual stream, of networks that read sequences.
pub(crate) fn sequence_length(interface: Interface) -> Option<usize> {
    match interface {
        Interface::Tokens { length, .. } => Some(length),
        Interface::Pairs { pairs, .. } | Interface::LabelledItems { pairs, .. } => Some(2 * pairs - 1),
        Interface::Vectors { .. } => None,
    }
}

/// The split of that name; unless one is named `test`, else `train`.
pub(crate) fn split_of<'a>(
    task: &'a Task,
    name: Option<&str>,
    observable: &'static str,
) -> Result<&'a Split, ObserveError> {
    let found = match name {
        Some(name) => task.split(name),
        None => task.split("test").or_else(|| task.split("train")),
    };
    let found = found.filter(|split| !split.data.is_empty());
    found.ok_or_else(|| {
        let known: Vec<&str> = task.splits.iter().map(|split| split.name).collect();
        ObserveError::NotDefined {
            observable,
            needs: format!("the split `{}`, with examples", name.unwrap_or("test")),
            found: format!("the splits {}", known.join(", ")),
        }
    })
}

/// At most `n` examples of a split, evenly spaced.
pub(crate) fn spread(split: &Split, n: usize) -> DataSet {
    let all = split.data.len();
    let n = n.clamp(1, all.max(1));
    split.data.rows(&(0..n.min(all)).map(|i| i * all / n).collect::<Vec<usize>>())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ontogeny_zoo::{Model, NetworkConfig, TaskConfig};
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn samples_are_of_different_examples_while_there_are_enough() {
        let task: TaskConfig = from_value(json!({
            "kind": "repeated_tokens", "vocabulary": 11, "block": 6, "repeats": 2, "train_examples": 40,
        }))
        .unwrap();
        let network: NetworkConfig = from_value(json!({
            "kind": "transformer", "layers": 1, "d_model": 8, "heads": 2, "attention_only": true,
            "normalization": "none", "positions": "learned",
        }))
        .unwrap();
        let task = task.prepare(3, Path::new(".")).unwrap();
        let model = Model::new(network, task.interface).unwrap();
        let subject = Subject { model: &model, task: &task, seed: 1 };
        let split = task.split("train").unwrap();
        let found = Samples::choose(&subject, split, 30, PositionsOf::Answers);
        assert_eq!((found.examples.len(), found.chosen.len()), (30, 30));
        assert!(found.examples.is_sorted() && found.chosen.iter().all(|s| s.answer.is_some()));
        assert!(found.chosen.iter().any(|s| s.position != found.chosen[0].position));
        assert_eq!(found, Samples::choose(&subject, split, 30, PositionsOf::Answers));
        // Three positions of each of forty; in a fold together.
        let found = Samples::choose(&subject, split, 130, PositionsOf::All(1));
        assert_eq!((found.examples.len(), found.chosen.len()), (40, 120));
        let folds = found.folds(5);
        assert!(found.chosen.chunks(3).zip(folds.chunks(3)).all(|(samples, folds)| {
            samples.iter().all(|s| s.row == samples[0].row && s.position > 0) && folds.iter().all(|f| *f == folds[0])
        }));
        assert!((0..5).all(|fold| folds.iter().filter(|f| **f == fold).count() == 24));
        assert!(split_of(&task, Some("other"), "similarity").is_err());
        assert_eq!(spread(split, 7).len(), 7);
        assert_eq!(spread(split, 1000).len(), 40);
    }
}
