//! Sequences of token ids from a file, such as the ones that another's checkpoints were trained on.

use std::path::{Path, PathBuf};

use ontogeny_graph::{Column, ColumnData, DataSet, Purpose, Stream};
use serde::{Deserialize, Serialize};

use super::data_file::{Mismatch, read_data_file};
use super::tokenizer::Tokenizer;
use super::{Split, Task, TaskError, count_of_share, wrong};
use crate::{Interface, Read, SettingError, memory, read_tensors};

/// Settings of the prediction of the next token in sequences that a file has.
///
/// An example is a sequence, `tokens` `[length]`, of which each token but the first is predicted from those before it. Its
/// number is its place in the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokensConfig {
    /// The file: an array of integers `[sequences, length]` as `.npy` (or the only one of an `.npz`), or the ids as unsigned
    /// bytes one after another, plain or gzipped.
    pub data: PathBuf,
    /// Of bytes: ids of a sequence, at least 2. Not needed where the file's name ends in `_NxLENGTH_u8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<usize>,
    /// Ids are below this; one more than the largest of the file unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<usize>,
    /// What the ids read as, for prompts and labels: a `tokenizer.json` or a `vocab.json` (with the feature `tokenizers`), or a
    /// tokenizer of llama2.c, `.bin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<PathBuf>,
    /// Share of the sequences in `train`, above 0 and below 1, rounded down, drawn without replacement; the others are `test`.
    /// All are `train` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_fraction: Option<f64>,
    /// Seed of that draw; the seed of the run unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split_seed: Option<u32>,
}

/// Sequences one after another.
struct Sequences {
    ids: Vec<i32>,
    length: usize,
}

/// Largest vocabulary, as of a network's embedding.
const MAX_VOCABULARY: usize = 1 << 24;

impl TokensConfig {
    /// See [`TaskConfig::prepare`](super::TaskConfig::prepare).
    pub(super) fn prepare(&self, run_seed: u32, folder: &Path) -> Result<Task, TaskError> {
        if let Some(n) = self.vocabulary
            && !(1..=MAX_VOCABULARY).contains(&n)
        {
            return Err(wrong("vocabulary", n, &format!("1 to {MAX_VOCABULARY}")).into());
        }
        let path = folder.join(&self.data);
        let Sequences { ids, length } = self.read(&path)?;
        if length < 2 {
            let found = format!("sequences of {length} ids");
            return Err(Mismatch::new(found, "at least 2: one to predict, and one to predict it from")
                .of(&path)
                .into());
        }
        let vocabulary = self.vocabulary.unwrap_or_else(|| ids.iter().max().map_or(1, |&id| id as usize + 1));
        if let Some(at) = ids.iter().position(|&id| id as usize >= vocabulary) {
            let found = format!("the id {} at place {} of sequence {}", ids[at], at % length, at / length);
            let expected = format!("0 to {}, by `vocabulary`", vocabulary - 1);
            return Err(Mismatch::new(found, expected).of(&path).into());
        }
        let n = ids.len() / length;
        let column = Column { name: "tokens".to_owned(), width: length, data: ColumnData::Ids(ids) };
        let all = DataSet::new(n, vec![column]).expect("every sequence has the same length");
        let (train, test) = self.draw_train(n, run_seed)?;
        let mut splits = vec![Split::new("train", train, &all)];
        if !test.is_empty() {
            splits.push(Split::new("test", test, &all));
        }
        let interface = Interface::Tokens { vocabulary, length, read: Read::NEXT_TOKEN };
        let words = self.tokenizer.as_ref().map(|file| Tokenizer::words_of(&folder.join(file))).transpose()?;
        Ok(Task { words, ..Task::of_splits(interface, splits, None) })
    }

    fn read(&self, path: &Path) -> Result<Sequences, TaskError> {
        let bytes = read_data_file(path)?;
        if bytes.starts_with(b"\x93NUMPY") || bytes.starts_with(b"PK\x03\x04") {
            if let Some(length) = self.length {
                return Err(wrong("length", length, "nothing, because an array has its own").into());
            }
            drop(bytes);
            return read_array(path);
        }
        let Some(length) = self.length.or_else(|| length_in_name(path)) else {
            return Err(wrong("length", "missing", "the ids of a sequence, because the data are bytes").into());
        };
        if length < 2 {
            return Err(wrong("length", length, "at least 2 ids").into());
        }
        if bytes.is_empty() || !bytes.len().is_multiple_of(length) {
            let expected = format!("whole sequences of {length} ids, at least one; is it truncated?");
            return Err(Mismatch::new(format!("{} bytes", bytes.len()), expected).of(path).into());
        }
        if !memory::is_free(bytes.len().saturating_mul(2 * size_of::<i32>())) {
            let expected = "fewer ids, or more memory";
            return Err(Mismatch::new(format!("{} ids", bytes.len()), expected).of(path).into());
        }
        Ok(Sequences { ids: bytes.into_iter().map(i32::from).collect(), length })
    }

    /// Numbers of the sequences to train on and of the others, ascending.
    fn draw_train(&self, n: usize, run_seed: u32) -> Result<(Vec<usize>, Vec<usize>), SettingError> {
        let Some(fraction) = self.train_fraction else {
            return match self.split_seed {
                Some(seed) => Err(wrong("split_seed", seed, "train_fraction beside it")),
                None => Ok(((0..n).collect(), Vec::new())),
            };
        };
        let n_train = count_of_share(fraction, n);
        if n_train == 0 || n_train == n {
            let expected = format!("a share of {n} sequences that leaves some on either side, or nothing for all");
            return Err(wrong("train_fraction", fraction, &expected));
        }
        let stream = Stream::new(self.split_seed.unwrap_or(run_seed), Purpose::Split, 0);
        let mut train = stream.permutation(n, 0);
        let mut test = train.split_off(n_train);
        train.sort_unstable();
        test.sort_unstable();
        Ok((train, test))
    }
}

/// The length in a name such as `test_10000x16_u8.gz`.
fn length_in_name(path: &Path) -> Option<usize> {
    let name = path.file_name()?.to_str()?;
    let stem = name.split('.').next()?.strip_suffix("_u8")?;
    let (n, length) = stem.rsplit('_').next()?.split_once('x')?;
    n.parse::<usize>().ok()?;
    length.parse().ok()
}

/// Sequences of an array of integers in two dimensions.
fn read_array(path: &Path) -> Result<Sequences, TaskError> {
    let file = read_tensors(path)?;
    let wrong = |found: String| Mismatch::new(found, "one array of integers [sequences, length]").of(path);
    let [array] = file.tensors.as_slice() else {
        return Err(wrong(format!("{} arrays that can be read", file.tensors.len())).into());
    };
    let ([_, length], Some(values)) = (array.shape.as_slice(), array.data.as_i64()) else {
        return Err(wrong(format!("array `{}` of {} and shape {:?}", array.name, array.dtype, array.shape)).into());
    };
    if values.is_empty() {
        return Err(wrong(format!("array `{}` without elements, of shape {:?}", array.name, array.shape)).into());
    }
    let mut ids = Vec::with_capacity(values.len());
    for (at, &value) in values.iter().enumerate() {
        let id = i32::try_from(value).ok().filter(|id| (0..MAX_VOCABULARY as i32).contains(id));
        ids.push(id.ok_or_else(|| {
            let found = format!("the id {value} at place {} of sequence {}", at % length, at / length);
            Mismatch::new(found, format!("0 to {}", MAX_VOCABULARY - 1)).of(path)
        })?);
    }
    Ok(Sequences { ids, length: *length })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_stand_in_names() {
        for (name, length) in [
            ("a/test_sequences_10000x16_u8.gz", Some(16)),
            ("5x2_u8", Some(2)),
            ("5x2_u16.gz", None),
            ("axb_u8", None),
            ("test.gz", None),
            ("10000x16_f32_u8", None),
        ] {
            assert_eq!(length_in_name(Path::new(name)), length, "{name}");
        }
    }
}
