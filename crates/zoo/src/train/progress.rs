//! A progress measure of modular addition as a term of the training loss: the restricted or the excluded loss.

use std::f64::consts::TAU;
use std::fmt;

use ontogeny_graph::{DataSet, Graph, Node};
use serde::{Deserialize, Serialize};

use super::config::{Batch, TrainConfig, is_default, wrong};
use super::error::TrainerError;
use super::stage::Stage;
use crate::{Nodes, SettingError, memory, modulus_of_addition};

/// A term of the training loss, `{ kind = "restricted", weight = λ, frequencies = [k, …] }`: training minimises
/// L + λ·M with M a progress measure of Nanda et al. 2023 (section 5.1) on the training pairs.
///
/// The logits, seen as functions of (a, b), are projected on the waves cos k(a+b) and sin k(a+b) of the frequencies; M is the
/// cross-entropy, on the training pairs, of what is kept or left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgressConfig {
    /// Which measure.
    pub kind: ProgressKind,
    /// λ, of either sign. At 0 the training is that without the term, to the bit.
    pub weight: f64,
    /// Frequencies k, from 1 to (p − 1)/2, each once.
    pub frequencies: Vec<usize>,
    /// Pairs that the projection runs over.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pairs: ProgressPairs,
}

/// What is done with the projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgressKind {
    /// Only the waves are kept, and the mean over the pairs.
    Restricted,
    /// All but the waves is kept.
    Excluded,
}

/// Pairs that the projection runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgressPairs {
    /// All p², as where the measure is taken of a checkpoint: the waves are orthogonal. Every update reads all pairs, though no
    /// answer of a pair outside the training set; but the projection says which of them have the same sum, and its gradient
    /// moves the logits of all.
    #[default]
    All,
    /// The training pairs alone. There the waves are not orthogonal: restricted keeps the least-squares fit of a constant and the
    /// waves, excluded takes out that fit less its mean. Over all pairs this would be the same projection.
    Train,
}

impl ProgressConfig {
    /// Checks what does not depend on the task.
    pub(super) fn check(&self) -> Result<(), SettingError> {
        if !self.weight.is_finite() {
            return Err(wrong_key("weight", self.weight, "a finite number of either sign"));
        }
        let given = &self.frequencies;
        let is_repeated = given.iter().enumerate().any(|(at, k)| given[..at].contains(k));
        if given.is_empty() || is_repeated {
            return Err(wrong_key("frequencies", format!("{given:?}"), "one frequency or more, each once"));
        }
        Ok(())
    }
}

fn wrong_key(key: &str, found: impl fmt::Display, expected: &str) -> SettingError {
    wrong("progress", format!("{{ {key} = {found} }}"), expected)
}

/// The term over the pairs of a task.
#[derive(Debug)]
pub(super) struct ProgressTerm<'a> {
    config: ProgressConfig,
    p: usize,
    /// All pairs of the task.
    pub(super) data: &'a DataSet,
    /// What a batch holds: the training pairs, then all others that the projection runs over.
    pub(super) rows: Vec<usize>,
    pub(super) n_train: usize,
}

impl<'a> ProgressTerm<'a> {
    /// The term of a training; `None` without one, or with one of weight 0.
    pub(super) fn new(config: &TrainConfig, stages: &[Stage<'a>]) -> Result<Option<Self>, TrainerError> {
        let Some(progress) = &config.progress else { return Ok(None) };
        let &[Stage { task, .. }] = stages else {
            let found = format!("given with {} stages", stages.len());
            return Err(wrong("progress", found, "a training in one stage; take out either of them").into());
        };
        let not_addition = |found: &str| {
            let expected = "the task `modular_arithmetic` with operation = \"add\" and p ≥ 3, or no progress term";
            wrong("progress", format!("given with {found}"), expected)
        };
        let p = modulus_of_addition(task).map_err(|found| not_addition(&found))?;
        let (Some(all), Some(train)) = (task.split("all"), task.split("train")) else {
            return Err(not_addition("a task without training pairs").into());
        };
        if let Batch::Size(size) = config.batch {
            let expected = "\"full\" beside train.progress, whose projection takes all pairs together";
            return Err(wrong("batch", size, expected).into());
        }
        let last = (p - 1) / 2;
        if let Some(k) = progress.frequencies.iter().find(|k| !(1..=last).contains(*k)) {
            let expected = format!("frequencies from 1 to {last}, which is (p − 1)/2 for p = {p}");
            return Err(wrong_key("frequencies", format!("[{k}]"), &expected).into());
        }
        if progress.weight == 0.0 {
            return Ok(None);
        }
        let mut is_train = vec![false; all.data.len()];
        train.indices.iter().for_each(|&pair| is_train[pair] = true);
        let mut rows = train.indices.clone();
        if progress.pairs == ProgressPairs::All {
            rows.extend((0..all.data.len()).filter(|&pair| !is_train[pair]));
        }
        // The waves in f64 and f32, beside logits of the same rows.
        let width = 3 * (2 * progress.frequencies.len() + 1) + p;
        let bytes = rows.len().saturating_mul(width * size_of::<f32>());
        if !memory::is_free(bytes) {
            return Err(TrainerError::OutOfMemory { bytes });
        }
        Ok(Some(Self { config: progress.clone(), p, data: &all.data, rows, n_train: train.indices.len() }))
    }

    /// The nodes of the training pairs, with L + λ·M as their loss, from those of a model on the rows.
    pub(super) fn build(&self, g: &mut Graph, nodes: &Nodes) -> Nodes {
        let targets = g.find("targets").expect("a model that answers at the last position has declared this input");
        let [logits, answers, example_loss, targets] =
            [nodes.logits, nodes.answers, nodes.example_loss, targets].map(|node| g.slice(node, 0, 0, self.n_train));
        let projected = self.project(g, nodes.logits, logits);
        let measures = g.cross_entropy(projected, targets);
        let measure = g.mean_all(measures);
        let measure = g.named(measure, "progress_loss");
        let weighted = g.scale(measure, self.config.weight);
        let plain = g.mean_all(example_loss);
        let loss = g.add(plain, weighted);
        Nodes { logits, answers, example_loss, loss }
    }

    /// B_train·(Bᵀ·Z), or Z_train less it, for the logits Z of all rows, with the orthonormal waves as the columns of B.
    fn project(&self, g: &mut Graph, all: Node, train: Node) -> Node {
        let columns = self.columns();
        // Of so few training pairs that they tell no wave from the constant, nothing is taken out.
        if columns.is_empty() {
            return train;
        }
        let waves = (0..self.rows.len()).flat_map(|row| columns.iter().map(move |column| column[row] as f32)).collect();
        let waves = g.values(&[self.rows.len(), columns.len()], waves);
        let coefficients = g.einsum("nw,nc->wc", waves, all);
        let train_waves = g.slice(waves, 0, 0, self.n_train);
        let part = g.matmul(train_waves, coefficients);
        match self.config.kind {
            ProgressKind::Restricted => part,
            ProgressKind::Excluded => g.sub(train, part),
        }
    }

    /// The orthonormal basis over the rows that logits are projected on: the waves of the frequencies, after the constant where
    /// that is kept.
    fn columns(&self) -> Vec<Vec<f64>> {
        let p = self.p;
        let wave = |k: usize, f: fn(f64) -> f64| -> Vec<f64> {
            // k·(a+b) is reduced before it becomes an angle, so that the cosine is exact to rounding for every p.
            let angle = |pair: &usize| TAU * ((k * (pair / p + pair % p)) % p) as f64 / p as f64;
            self.rows.iter().map(|pair| f(angle(pair)) * 2.0_f64.sqrt() / p as f64).collect()
        };
        let mut columns = vec![vec![1.0 / p as f64; self.rows.len()]];
        columns.extend(self.config.frequencies.iter().flat_map(|&k| [wave(k, f64::cos), wave(k, f64::sin)]));
        // Over all pairs they have length 1 and are orthogonal.
        if self.config.pairs == ProgressPairs::Train {
            orthonormalise(&mut columns);
        }
        if self.config.kind == ProgressKind::Excluded {
            columns.remove(0);
        }
        columns
    }
}

/// Gram–Schmidt, each column twice, so that rounding leaves it orthogonal; what depends on the columns before it goes.
fn orthonormalise(columns: &mut Vec<Vec<f64>>) {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(columns.len());
    for mut column in columns.drain(..) {
        let length = dot(&column, &column).sqrt();
        for _ in 0..2 {
            for other in &basis {
                let share = dot(&column, other);
                column.iter_mut().zip(other).for_each(|(x, y)| *x -= share * y);
            }
        }
        let left = dot(&column, &column).sqrt();
        if left > 1e-9 * length {
            for x in &mut column {
                *x /= left;
            }
            basis.push(column);
        }
    }
    *columns = basis;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use ontogeny_graph::{Gradient, Program, Value, Workspace, cross_entropy};
    use serde_json::json;

    use super::*;
    use crate::{Task, TaskConfig};

    fn addition(p: usize) -> Task {
        let task = json!({"kind": "modular_arithmetic", "p": p, "operation": "add", "train_fraction": 0.6});
        serde_json::from_value::<TaskConfig>(task).unwrap().prepare(3, Path::new("")).unwrap()
    }

    fn config(kind: &str, weight: f64, frequencies: &[usize]) -> TrainConfig {
        serde_json::from_value(json!({
            "optimizer": "sgd", "learning_rate": 0.1, "batch": "full", "steps": 1, "checkpoints": [],
            "progress": {"kind": kind, "weight": weight, "frequencies": frequencies},
        }))
        .unwrap()
    }

    /// A model whose weights are the logits of its rows themselves: the loss with the term, over all pairs in the term's order.
    fn free_logits(term: &ProgressTerm<'_>) -> (Graph, Nodes) {
        let mut g = Graph::new();
        let n = term.rows.len();
        let logits = g.param("logits", &[n, term.p]);
        let targets = g.input_ids("targets", &[n]);
        let example_loss = g.cross_entropy(logits, targets);
        let loss = g.mean_all(example_loss);
        let nodes = term.build(&mut g, &Nodes { logits, answers: logits, example_loss, loss });
        g.check().unwrap();
        (g, nodes)
    }

    fn answers(term: &ProgressTerm<'_>) -> Vec<i32> {
        term.rows.iter().map(|pair| ((pair / term.p + pair % term.p) % term.p) as i32).collect()
    }

    fn loss_of(g: &Graph, loss: Node, answers: &[i32], logits: &[f64]) -> f64 {
        let values = BTreeMap::from([
            ("logits".to_owned(), Value::Float(logits.to_vec())),
            ("targets".to_owned(), Value::Ids(answers.to_vec())),
        ]);
        g.interpret(&values, &[loss]).unwrap()[0][0]
    }

    #[test]
    fn waves_of_known_logits_are_kept_or_taken_out() {
        for p in [7, 8] {
            let task = addition(p);
            let wave = |x: usize, k: usize| (TAU * (k * x % p) as f64 / p as f64).cos();
            // A wave of frequency 2 in a + b, one of frequency 3 in a + b, one of frequency 2 in a − b, and a constant.
            let parts = |pair: usize, class: usize| {
                let (a, b) = (pair / p, pair % p);
                let ramp = class as f64 / p as f64;
                [3.0 * wave(a + b + p - class, 2), 2.0 * wave(a + b, 3) * ramp, wave(a + p - b, 2) * ramp, ramp]
            };
            for (kind, keys, kept) in [
                ("restricted", &[2][..], &[0, 3][..]),
                ("excluded", &[2], &[1, 2, 3]),
                ("restricted", &[3, 2], &[0, 1, 3]),
                ("excluded", &[3, 2], &[2, 3]),
                ("restricted", &[1], &[3]),
            ] {
                let config = config(kind, -0.7, keys);
                let term = ProgressTerm::new(&config, &[Stage::whole(&task)]).unwrap().unwrap();
                let (g, nodes) = free_logits(&term);
                let answers = answers(&term);
                let all: Vec<[f64; 4]> =
                    term.rows.iter().flat_map(|&pair| (0..p).map(move |class| parts(pair, class))).collect();
                let mean = |which: &[usize]| {
                    let logits: Vec<f64> = all.iter().map(|x| which.iter().map(|&at| x[at]).sum()).collect();
                    let rows = logits.chunks(p).zip(&answers).take(term.n_train);
                    rows.map(|(row, &target)| cross_entropy(row, target as usize)).sum::<f64>() / term.n_train as f64
                };
                let logits: Vec<f64> = all.iter().map(|x| x.iter().sum()).collect();
                let expected = mean(&[0, 1, 2, 3]) - 0.7 * mean(kept);
                let found = loss_of(&g, nodes.loss, &answers, &logits);
                // The waves are rounded to f32: 2⁻²⁴ of logits of at most 7, on both sides of the projection.
                assert!((found - expected).abs() < 2e-6, "{kind} {keys:?} of {p}: {found} {expected}");
            }
        }
    }

    #[test]
    fn the_gradient_is_that_of_central_differences() {
        let (p, step) = (5, 1e-4);
        let task = addition(p);
        for (kind, weight) in [("restricted", 0.8), ("excluded", 0.8), ("restricted", -0.5), ("excluded", -0.5)] {
            let config = config(kind, weight, &[2]);
            let term = ProgressTerm::new(&config, &[Stage::whole(&task)]).unwrap().unwrap();
            let (g, nodes) = free_logits(&term);
            let answers = answers(&term);
            let logits: Vec<f32> = (0..p * p * p).map(|i| (1.3 * i as f32).sin() * 2.0).collect();
            let program = Program::compile(&g, &[("loss", nodes.loss)], Gradient::All(nodes.loss)).unwrap();
            let mut workspace = Workspace::new(&program);
            workspace.ids_mut(&program, "targets").unwrap().copy_from_slice(&answers);
            program.run(&mut workspace, &logits).unwrap();
            let mut moved: Vec<f64> = logits.iter().map(|&z| f64::from(z)).collect();
            let mut largest_of_others = 0.0_f32;
            for (at, &found) in workspace.gradient(&program).iter().enumerate() {
                let clean = moved[at];
                let [up, down] = [step, -step].map(|step| {
                    moved[at] = clean + step;
                    loss_of(&g, nodes.loss, &answers, &moved)
                });
                moved[at] = clean;
                let expected = (up - down) / (2.0 * step);
                // Gradients of at most 0.2, in f32; differences err by step²/6 of a third derivative below 1.
                assert!((f64::from(found) - expected).abs() < 2e-7, "{kind} at {at}: {found} {expected}");
                if at >= term.n_train * p {
                    largest_of_others = largest_of_others.max(found.abs());
                }
            }
            // The projection reads pairs whose answers are not trained on.
            assert!(largest_of_others > 1e-4, "{kind}: {largest_of_others}");
        }
    }

    #[test]
    fn over_the_training_pairs_the_fit_is_that_of_least_squares() {
        for (kind, fraction) in [("restricted", 0.6), ("excluded", 0.6), ("restricted", 0.09), ("excluded", 0.09)] {
            let p = 7;
            let task = json!({"kind": "modular_arithmetic", "p": p, "operation": "add", "train_fraction": fraction});
            let task = serde_json::from_value::<TaskConfig>(task).unwrap().prepare(3, Path::new("")).unwrap();
            let mut config = config(kind, 1.0, &[1, 3]);
            config.progress.as_mut().unwrap().pairs = ProgressPairs::Train;
            let term = ProgressTerm::new(&config, &[Stage::whole(&task)]).unwrap().unwrap();
            assert_eq!(term.rows, task.split("train").unwrap().indices);
            // Four pairs have room for no more than four of them.
            let columns = term.columns();
            assert!(if fraction < 0.1 { columns.len() < 5 } else { columns.len() >= 4 }, "{}", columns.len());
            for (i, x) in columns.iter().enumerate() {
                for (j, y) in columns.iter().enumerate() {
                    let product: f64 = x.iter().zip(y).map(|(x, y)| x * y).sum();
                    assert!((product - f64::from(u8::from(i == j))).abs() < 1e-12);
                }
            }
            // What is left over of any logits meets neither constant nor waves, and what is fitted has the mean of the logits.
            let n = term.n_train;
            let logits: Vec<f64> = (0..n).map(|row| (1.7 * row as f64).cos() + 0.4).collect();
            let mut rest = logits.clone();
            for column in &columns {
                let share: f64 = column.iter().zip(&logits).map(|(x, y)| x * y).sum();
                rest.iter_mut().zip(column).for_each(|(rest, x)| *rest -= share * x);
            }
            let mean = logits.iter().sum::<f64>() / n as f64;
            let expected_mean = if kind == "restricted" { 0.0 } else { mean };
            let mean_of_rest = rest.iter().sum::<f64>() / n as f64;
            assert!((mean_of_rest - expected_mean).abs() < 1e-12, "{kind}: {mean_of_rest}");
            for k in [1, 3] {
                for f in [f64::cos, f64::sin] {
                    let wave = |pair: usize| f(TAU * (k * (pair / p + pair % p)) as f64 / p as f64);
                    let meets: f64 =
                        rest.iter().zip(&term.rows).map(|(x, &pair)| (x - mean_of_rest) * wave(pair)).sum();
                    assert!(meets.abs() < 1e-12, "{kind} {k}: {meets}");
                }
            }
        }
    }
}
