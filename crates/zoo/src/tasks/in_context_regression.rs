//! In-context linear regression: every sequence has a hidden vector of its own, to be found from the pairs before.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::sampled::{Counts, Distribution, Example, Numbers};
use super::{SubtaskBy, Subtasks, Task, wrong};
use crate::{Interface, SettingError};

/// Settings of in-context linear regression: "What can transformers learn in-context?" (Garg et al. 2022), with finitely many
/// tasks as in "Pretraining task diversity and the emergence of non-Bayesian in-context learning for regression" (Raventós et
/// al. 2023).
///
/// An example is K questions xₖ ~ N(0, I) in D dimensions with answers yₖ = w·xₖ + N(0, σ²); w is drawn once for the example,
/// from N(0, I) or from M vectors that were themselves drawn from it. The sub-task `answer_k` is the k-th answer, from 1.
/// With M tasks the split `ood` has new vectors from N(0, I).
///
/// [`ridge_predictions`](crate::ridge_predictions) is the best predictor of infinitely many tasks,
/// [`dmmse_predictions`](crate::dmmse_predictions) of M.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InContextRegressionConfig {
    /// D, 1 to 1024.
    pub dimension: usize,
    /// K, 1 to 4096.
    pub pairs: usize,
    /// σ², at least 0.
    pub noise_variance: f64,
    /// M, 1 to 1048576 and M·D at most 67108864; a new vector for every sequence unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<usize>,
    /// Seed of the M vectors; the seed of the run unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_seed: Option<u32>,
    /// Sequences to train on; new ones at every update unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_examples: Option<usize>,
    /// Sequences held out.
    #[serde(default = "super::default_held_examples")]
    pub held_examples: usize,
    /// Seed of the sequences; the seed of the run unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_seed: Option<u32>,
}

const MAX_DIMENSION: usize = 1024;
const MAX_PAIRS: usize = 4096;
const MAX_TASKS: usize = 1 << 20;
/// Numbers of all vectors.
const MAX_NUMBERS: usize = 1 << 26;

impl InContextRegressionConfig {
    /// The M vectors of the task, one after another; `None` where there are infinitely many.
    pub fn task_vectors(&self, run_seed: u32) -> Option<Vec<f32>> {
        let seed = self.task_seed.unwrap_or(run_seed);
        let mut vectors = vec![0.0; self.tasks? * self.dimension];
        for (number, vector) in vectors.chunks_exact_mut(self.dimension).enumerate() {
            Numbers::of_task(seed, number as u64).normals(vector);
        }
        Some(vectors)
    }

    /// See [`TaskConfig::prepare`](super::TaskConfig::prepare).
    pub(super) fn prepare(&self, run_seed: u32) -> Result<Task, SettingError> {
        if !(1..=MAX_DIMENSION).contains(&self.dimension) {
            return Err(wrong("dimension", self.dimension, &format!("1 to {MAX_DIMENSION}")));
        }
        if !(1..=MAX_PAIRS).contains(&self.pairs) {
            return Err(wrong("pairs", self.pairs, &format!("1 to {MAX_PAIRS}")));
        }
        if !(self.noise_variance.is_finite() && self.noise_variance >= 0.0) {
            return Err(wrong("noise_variance", self.noise_variance, "a finite number, at least 0"));
        }
        if let Some(tasks) = self.tasks
            && !(1..=MAX_TASKS.min(MAX_NUMBERS / self.dimension)).contains(&tasks)
        {
            let most = MAX_TASKS.min(MAX_NUMBERS / self.dimension);
            let expected = format!("1 to {most}, or nothing for a new vector in every sequence");
            return Err(wrong("tasks", tasks, &expected));
        }
        if let (Some(seed), None) = (self.task_seed, self.tasks) {
            return Err(wrong("task_seed", seed, "it only with a number of `tasks`"));
        }
        let counts = Counts::new(self.train_examples, self.held_examples)?;
        let seed = self.data_seed.unwrap_or(run_seed);
        let regressions = |tasks| {
            let deviation = self.noise_variance.sqrt();
            Arc::new(Regressions { dimension: self.dimension, pairs: self.pairs, deviation, tasks })
        };
        let task = Task::sampled(regressions(self.task_vectors(run_seed)), counts, seed);
        Ok(if self.tasks.is_some() { task.with_other_split("ood", regressions(None), counts.held, seed) } else { task })
    }
}

#[derive(Debug)]
struct Regressions {
    dimension: usize,
    pairs: usize,
    /// σ.
    deviation: f64,
    /// The vectors of the tasks, where they are finitely many.
    tasks: Option<Vec<f32>>,
}

impl Distribution for Regressions {
    fn interface(&self) -> Interface {
        Interface::Pairs { dimension: self.dimension, pairs: self.pairs }
    }

    fn subtasks(&self) -> Option<Subtasks> {
        let names = (1..=self.pairs).map(|k| format!("answer_{k}")).collect();
        Some(Subtasks { names, by: SubtaskBy::Answer })
    }

    fn draw_of(&self, _: Option<u32>, numbers: &mut Numbers, example: &mut Example<'_>) {
        let d = self.dimension;
        let mut drawn = Vec::new();
        let task = if let Some(tasks) = &self.tasks {
            let at = numbers.below(tasks.len() / d);
            &tasks[at * d..(at + 1) * d]
        } else {
            drawn.resize(d, 0.0);
            numbers.normals(&mut drawn);
            &drawn
        };
        numbers.normals(example.x);
        numbers.normals(example.y);
        for (x, y) in example.x.chunks_exact(d).zip(example.y.iter_mut()) {
            let clean: f64 = task.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum();
            *y = (clean + self.deviation * f64::from(*y)) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(changes: &serde_json::Value) -> InContextRegressionConfig {
        let mut settings = json!({ "dimension": 4, "pairs": 6, "noise_variance": 0.25 });
        settings.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value(settings).unwrap()
    }

    /// Mean of squares and its standard error where they are squares of normals of variance `expected`.
    fn assert_variance(values: impl Iterator<Item = f64>, expected: f64) {
        let squares: Vec<f64> = values.map(|value| value * value).collect();
        let n = squares.len() as f64;
        let mean = squares.iter().sum::<f64>() / n;
        assert!((mean - expected).abs() < 4.0 * expected * (2.0 / n).sqrt(), "{mean} instead of {expected}");
    }

    #[test]
    fn answers_are_those_of_the_task_with_noise() {
        let config = config(&json!({ "tasks": 3, "held_examples": 2000 }));
        let (task, vectors) = (config.prepare(5).unwrap(), config.task_vectors(5).unwrap());
        let train = task.split("train").unwrap();
        let (x, y) = (train.floats("x"), train.floats("y"));
        assert_variance(x.iter().map(|&x| f64::from(x)), 1.0);
        let mut counts = [0.0; 3];
        let mut noise = Vec::new();
        for (x, y) in x.chunks(24).zip(y.chunks(6)) {
            let residuals = vectors.chunks(4).map(|w| {
                let residual = |(x, y): (&[f32], &f32)| y - x.iter().zip(w).map(|(x, w)| x * w).sum::<f32>();
                x.chunks(4).zip(y).map(residual).collect::<Vec<f32>>()
            });
            let size = |r: &[f32]| r.iter().map(|r| r * r).sum::<f32>();
            // Which task it was is told by the likelihood; 6 answers of 4 dimensions leave few doubts.
            let (number, best) = residuals.enumerate().min_by(|a, b| size(&a.1).total_cmp(&size(&b.1))).unwrap();
            counts[number] += 1.0;
            noise.extend(best);
        }
        // A mistaken task only makes the residual smaller than the noise: rarely, and then by little.
        assert_variance(noise.iter().map(|&r| f64::from(r)), 0.25);
        // χ² of 2 degrees of freedom: above 13.8 with probability 0.001.
        let chi2: f64 = counts.iter().map(|c| (c - 2000.0_f64 / 3.0).powi(2) / (2000.0 / 3.0)).sum();
        assert!(chi2 < 13.8, "{counts:?}");
    }

    #[test]
    fn infinitely_many_tasks_are_standard_normal() {
        let task = config(&json!({ "noise_variance": 0.0, "pairs": 1, "held_examples": 4000 })).prepare(0).unwrap();
        assert!(task.split("ood").is_none() && task.endless.is_some());
        let train = task.split("train").unwrap();
        // y/|x| = w·x/|x| is a standard normal.
        let lengths = train.floats("x").chunks(4).map(|x| x.iter().map(|x| x * x).sum::<f32>().sqrt());
        assert_variance(train.floats("y").iter().zip(lengths).map(|(y, length)| f64::from(y / length)), 1.0);
    }

    #[test]
    fn tasks_have_a_seed_of_their_own() {
        let vectors = |changes: &serde_json::Value, seed| config(changes).task_vectors(seed).unwrap();
        assert_ne!(vectors(&json!({ "tasks": 2 }), 0), vectors(&json!({ "tasks": 2 }), 1));
        let fixed = json!({ "tasks": 2, "task_seed": 9 });
        assert_eq!(vectors(&fixed, 0), vectors(&fixed, 1));
        // More tasks keep the first.
        assert_eq!(vectors(&json!({ "tasks": 5 }), 0)[..8], vectors(&json!({ "tasks": 2 }), 0));
    }

    #[test]
    fn settings_out_of_range_are_named() {
        for (changes, message) in [
            (json!({ "dimension": 0 }), "task.dimension is 0; expected 1 to 1024"),
            (json!({ "pairs": 0 }), "task.pairs is 0; expected 1 to 4096"),
            (json!({ "noise_variance": -1.0 }), "task.noise_variance is -1; expected a finite number, at least 0"),
            (
                json!({ "tasks": 0 }),
                "task.tasks is 0; expected 1 to 1048576, or nothing for a new vector in every sequence",
            ),
            (
                json!({ "dimension": 1024, "tasks": 65537 }),
                "task.tasks is 65537; expected 1 to 65536, or nothing for a new vector in every sequence",
            ),
            (json!({ "task_seed": 3 }), "task.task_seed is 3; expected it only with a number of `tasks`"),
        ] {
            assert_eq!(config(&changes).prepare(0).unwrap_err().to_string(), message);
        }
    }
}
