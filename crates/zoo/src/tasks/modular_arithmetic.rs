//! Arithmetic modulo p: all p² pairs of residues, split into train and test.

use std::path::{Path, PathBuf};

use ontogeny_graph::{Column, ColumnData, DataSet, Purpose, Stream};
use serde::{Deserialize, Serialize};

use super::indices::read_indices;
use super::{Split, Task, TaskError, wrong};
use crate::{Interface, Read, SettingError};

/// Settings of modular arithmetic (Power et al. 2022).
///
/// The example number a·p + b is the sequence `tokens` = `[a, b, =]` with the answer `targets` = a∘b mod p. Residues are
/// the ids 0..p and `=` is the id p, so the vocabulary has p + 1 ids and the answer is one of the first p.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModularArithmeticConfig {
    /// The modulus, 2 to 4096; it need not be prime.
    pub p: usize,
    /// The operation a∘b.
    pub operation: Operation,
    /// Share of the p² pairs to train on, above 0 and at most 1; ⌊share·p²⌋ pairs are drawn without replacement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_fraction: Option<f64>,
    /// Seed of that draw; the seed of the run unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split_seed: Option<u32>,
    /// A file with the indices of the training pairs, instead of a share: `.npz`, `.npy`, or text with one on each line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_indices: Option<PathBuf>,
    /// Which array of an `.npz` holds them; not needed when there is only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_indices_key: Option<String>,
}

/// What is computed, modulo p.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// a + b.
    #[serde(rename = "add")]
    Add,
    /// a − b.
    #[serde(rename = "sub")]
    Sub,
    /// a·b.
    #[serde(rename = "mul")]
    Mul,
    /// a² + ab + b².
    #[serde(rename = "x2_xy_y2")]
    X2XyY2,
}

impl Operation {
    /// The answer for residues a and b of p.
    pub fn apply(self, a: usize, b: usize, p: usize) -> usize {
        match self {
            Self::Add => (a + b) % p,
            Self::Sub => (a + p - b) % p,
            Self::Mul => a * b % p,
            Self::X2XyY2 => (a * a + a * b + b * b) % p,
        }
    }
}

/// The modulus p ≥ 3 of a task that is addition modulo p on all pairs, the pair (a, b) being example a·p + b of its set `all`.
///
/// # Errors
/// What the task is instead, in words. Another operation has its circuit along other directions than cos and sin of k(a+b).
pub fn modulus_of_addition(task: &Task) -> Result<usize, String> {
    let Interface::Tokens { read: Read::LastPosition { classes: p }, .. } = task.interface else {
        return Err("a task without classes".to_owned());
    };
    let all = task.split("all").ok_or("a task without the set of all pairs")?;
    let column = all.data.columns().iter().find(|column| column.name == "targets");
    let Some(ColumnData::Ids(targets)) = column.map(|column| &column.data) else {
        return Err("a task without class targets".to_owned());
    };
    if p < 3 || targets.len() != p * p {
        return Err(format!("{} examples of {p} classes", targets.len()));
    }
    let is_sum = |(pair, &target): (usize, &i32)| target as usize == (pair / p + pair % p) % p;
    if targets.iter().enumerate().all(is_sum) { Ok(p) } else { Err("targets that are not a + b modulo p".to_owned()) }
}

/// Largest modulus: its 16.8 million pairs and their splits take 0.8 GB.
const MAX_P: usize = 4096;

impl ModularArithmeticConfig {
    /// See [`TaskConfig::prepare`](super::TaskConfig::prepare).
    pub(super) fn prepare(&self, run_seed: u32, folder: &Path) -> Result<Task, TaskError> {
        if !(2..=MAX_P).contains(&self.p) {
            return Err(wrong("p", self.p, &format!("2 to {MAX_P}")).into());
        }
        let all = self.table();
        let train = self.train_indices(run_seed, folder)?;
        let mut is_train = vec![false; all.len()];
        for &i in &train {
            is_train[i] = true;
        }
        let test: Vec<usize> = (0..all.len()).filter(|&i| !is_train[i]).collect();
        let mut splits = vec![Split::new("train", train, &all)];
        if !test.is_empty() {
            splits.push(Split::new("test", test, &all));
        }
        splits.push(Split { name: "all", indices: (0..all.len()).collect(), data: all, subtasks: Vec::new() });
        let interface =
            Interface::Tokens { vocabulary: self.p + 1, length: 3, read: Read::LastPosition { classes: self.p } };
        Ok(Task::of_splits(interface, splits, None))
    }

    fn table(&self) -> DataSet {
        let p = self.p;
        let pairs = || (0..p).flat_map(|a| (0..p).map(move |b| (a, b)));
        let tokens = pairs().flat_map(|(a, b)| [a as i32, b as i32, p as i32]);
        let targets = pairs().map(|(a, b)| self.operation.apply(a, b, p) as i32);
        let column = |name: &str, width, ids| Column { name: name.to_owned(), width, data: ColumnData::Ids(ids) };
        let columns = vec![column("tokens", 3, tokens.collect()), column("targets", 1, targets.collect())];
        DataSet::new(p * p, columns).expect("both columns have a row for each pair")
    }

    /// Indices of the training pairs, ascending.
    fn train_indices(&self, run_seed: u32, folder: &Path) -> Result<Vec<usize>, TaskError> {
        let n = self.p * self.p;
        match (self.train_fraction, &self.train_indices) {
            (Some(fraction), None) => {
                if self.train_indices_key.is_some() {
                    return Err(wrong("train_indices_key", "given", "train_indices beside it").into());
                }
                Ok(self.draw_train(fraction, n, run_seed)?)
            }
            (None, Some(file)) => {
                if let Some(seed) = self.split_seed {
                    let expected = "nothing, because train_indices leaves no draw";
                    return Err(wrong("split_seed", seed, expected).into());
                }
                let key = self.train_indices_key.as_deref();
                Ok(read_indices(&folder.join(file), key, n)?)
            }
            (given, _) => {
                let found = given.map_or("missing".to_owned(), |f| format!("{f}, beside train_indices"));
                Err(wrong("train_fraction", found, "either train_fraction or train_indices").into())
            }
        }
    }

    fn draw_train(&self, fraction: f64, n: usize, run_seed: u32) -> Result<Vec<usize>, SettingError> {
        if !(fraction > 0.0 && fraction <= 1.0) {
            return Err(wrong("train_fraction", fraction, "a share above 0 and at most 1"));
        }
        // A share such as 0.29 is not exact in binary, and 0.29 of 100 pairs must not be 28.
        let n_train = (fraction * n as f64 * (1.0 + 4.0 * f64::EPSILON)).floor() as usize;
        let n_train = n_train.min(n);
        if n_train == 0 {
            let expected = format!("a share that leaves at least one of {n} pairs to train on");
            return Err(wrong("train_fraction", fraction, &expected));
        }
        let seed = self.split_seed.unwrap_or(run_seed);
        let mut train = Stream::new(seed, Purpose::Split, 0).permutation(n, 0);
        train.truncate(n_train);
        train.sort_unstable();
        Ok(train)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(p: usize, operation: Operation, train_fraction: f64) -> ModularArithmeticConfig {
        ModularArithmeticConfig {
            p,
            operation,
            train_fraction: Some(train_fraction),
            split_seed: None,
            train_indices: None,
            train_indices_key: None,
        }
    }

    fn ids<'a>(data: &'a DataSet, name: &str) -> &'a [i32] {
        let column = data.columns().iter().find(|c| c.name == name).unwrap();
        match &column.data {
            ColumnData::Ids(ids) => ids,
            ColumnData::Float(_) => panic!("{name} holds floats"),
        }
    }

    #[test]
    fn tables_agree_with_the_definition() {
        for p in [2, 7, 12] {
            for (operation, by_definition) in [
                (Operation::Add, (|a, b| a + b) as fn(i64, i64) -> i64),
                (Operation::Sub, |a, b| a - b),
                (Operation::Mul, |a, b| a * b),
                (Operation::X2XyY2, |a, b| a * a + a * b + b * b),
            ] {
                let task = config(p, operation, 1.0).prepare(0, Path::new("")).unwrap();
                let all = &task.split("all").unwrap().data;
                assert_eq!(all.len(), p * p);
                for (i, (tokens, &target)) in ids(all, "tokens").chunks(3).zip(ids(all, "targets")).enumerate() {
                    let (a, b) = ((i / p) as i64, (i % p) as i64);
                    assert_eq!(tokens, [a as i32, b as i32, p as i32]);
                    let answer = by_definition(a, b).rem_euclid(p as i64);
                    assert_eq!(i64::from(target), answer, "{operation:?} {a} {b} mod {p}");
                }
                assert!(task.split("test").is_none(), "train_fraction = 1 leaves no test set");
            }
        }
    }

    #[test]
    fn largest_modulus_does_not_overflow_an_i32() {
        let p = MAX_P;
        assert_eq!(Operation::X2XyY2.apply(p - 1, p - 1, p), 3);
        assert!(i32::try_from(p * p).is_ok());
    }

    #[test]
    fn splits_are_disjoint_complete_and_depend_on_the_seed_alone() {
        let of = |config: &ModularArithmeticConfig, seed| config.prepare(seed, Path::new("")).unwrap();
        let base = config(10, Operation::Add, 0.29);
        let task = of(&base, 5);
        let (train, test) = (task.split("train").unwrap(), task.split("test").unwrap());
        assert_eq!((train.indices.len(), test.indices.len()), (29, 71));
        assert_eq!((train.data.len(), test.data.len()), (29, 71));
        let mut together = [train.indices.clone(), test.indices.clone()].concat();
        together.sort_unstable();
        assert!(together.into_iter().eq(0..100));
        let all = task.split("all").unwrap();
        for split in [train, test] {
            assert_eq!(split.data, all.data.rows(&split.indices));
        }
        assert_eq!(task, of(&base, 5));
        assert_ne!(train.indices, of(&base, 6).split("train").unwrap().indices);
        let own_seed = ModularArithmeticConfig { split_seed: Some(5), ..base };
        assert_eq!(task, of(&own_seed, 6));
        assert_eq!(train.content_hash(), of(&own_seed, 6).split("train").unwrap().content_hash());
        assert_ne!(train.content_hash(), test.content_hash());
    }

    #[test]
    fn settings_out_of_range_are_named_with_what_is_allowed() {
        let base = config(7, Operation::Add, 0.5);
        let indices = Some(PathBuf::from("train.txt"));
        for (config, message) in [
            (config(1, Operation::Add, 0.5), "task.p is 1; expected 2 to 4096"),
            (config(4097, Operation::Add, 0.5), "task.p is 4097; expected 2 to 4096"),
            (config(7, Operation::Add, 0.0), "task.train_fraction is 0; expected a share above 0 and at most 1"),
            (config(7, Operation::Add, f64::NAN), "task.train_fraction is NaN; expected a share above 0 and at most 1"),
            (
                config(7, Operation::Add, 0.02),
                "task.train_fraction is 0.02; expected a share that leaves at least one of 49 pairs to train on",
            ),
            (
                ModularArithmeticConfig { train_fraction: None, ..base.clone() },
                "task.train_fraction is missing; expected either train_fraction or train_indices",
            ),
            (
                ModularArithmeticConfig { train_indices: indices.clone(), ..base.clone() },
                "task.train_fraction is 0.5, beside train_indices; expected either train_fraction or train_indices",
            ),
            (
                ModularArithmeticConfig { train_indices_key: Some("k".to_owned()), ..base.clone() },
                "task.train_indices_key is given; expected train_indices beside it",
            ),
            (
                ModularArithmeticConfig {
                    train_fraction: None,
                    train_indices: indices,
                    split_seed: Some(3),
                    ..base.clone()
                },
                "task.split_seed is 3; expected nothing, because train_indices leaves no draw",
            ),
        ] {
            assert_eq!(config.prepare(0, Path::new("")).unwrap_err().to_string(), message);
        }
        let unknown = serde_json::from_str::<ModularArithmeticConfig>(r#"{"p": 7, "operation": "div"}"#);
        let message = unknown.unwrap_err().to_string();
        assert!(message.contains("`add`, `sub`, `mul`, `x2_xy_y2`"), "{message}");
    }
}
