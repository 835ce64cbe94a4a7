//! The toy model of superposition: features to be given back through a bottleneck.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::sampled::{Counts, Distribution, Example, Numbers};
use super::{SubtaskBy, Subtasks, Task, wrong};
use crate::{Interface, SettingError, VectorLoss};

/// Settings of the toy model of superposition.
///
/// An example is `x` with n features, and `y` = `x` is asked for; the network of the papers is ReLU(WᵀWx + b). The loss is
/// Σᵢ `importance`ⁱ (xᵢ − x̂ᵢ)².
/// - `sparse`: every feature is 0 with the probability `sparsity`, else uniform on [0, 1] ("Toy Models of Superposition",
///   Elhage et al. 2022).
/// - `one_hot`: one feature, each as likely, is uniform on [0, 1], all others are 0 ("Dynamical versus Bayesian Phase
///   Transitions in a Toy Model of Superposition", Chen et al. 2023). The sub-task `feature_i`, from 1, is the examples
///   of that feature. The loss of all such examples is known: [`one_hot_population_loss`](crate::one_hot_population_loss),
///   as are its critical points: [`Polygon`](crate::Polygon).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuperpositionConfig {
    /// n, 1 to 65536.
    pub features: usize,
    /// How features occur together.
    pub input: FeatureInput,
    /// Probability of a 0, at least 0 and below 1: of `sparse` inputs, which need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparsity: Option<f64>,
    /// Ratio of the weights of neighbouring features in the loss, above 0; 1 unless given.
    #[serde(default = "one")]
    pub importance: f64,
    /// Examples to train on; new ones at every update unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_examples: Option<usize>,
    /// Examples held out.
    #[serde(default = "super::default_held_examples")]
    pub held_examples: usize,
    /// Examples of each feature in the split `even`, on which the sub-tasks of `one_hot` inputs are measured.
    #[serde(default = "super::default_examples_per_subtask")]
    pub examples_per_subtask: usize,
    /// Seed of the examples; the seed of the run unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_seed: Option<u32>,
}

/// How features occur together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureInput {
    /// One at a time.
    OneHot,
    /// Independently.
    Sparse,
}

fn one() -> f64 {
    1.0
}

const MAX_FEATURES: usize = 65536;

impl SuperpositionConfig {
    /// See [`TaskConfig::prepare`](super::TaskConfig::prepare).
    pub(super) fn prepare(&self, run_seed: u32) -> Result<Task, SettingError> {
        if !(1..=MAX_FEATURES).contains(&self.features) {
            return Err(wrong("features", self.features, &format!("1 to {MAX_FEATURES}")));
        }
        if !(self.importance.is_finite() && self.importance > 0.0) {
            return Err(wrong("importance", self.importance, "a finite number above 0"));
        }
        let density = match (self.input, self.sparsity) {
            (FeatureInput::OneHot, None) => None,
            (FeatureInput::Sparse, Some(sparsity)) if (0.0..1.0).contains(&sparsity) => Some(1.0 - sparsity),
            (FeatureInput::Sparse, Some(sparsity)) => {
                return Err(wrong("sparsity", sparsity, "a probability, at least 0 and below 1"));
            }
            (FeatureInput::Sparse, None) => {
                return Err(wrong("sparsity", "missing", "the probability of a 0, such as 0.9"));
            }
            (FeatureInput::OneHot, Some(sparsity)) => {
                return Err(wrong("sparsity", sparsity, "it only with input = \"sparse\""));
            }
        };
        let mut counts = Counts::new(self.train_examples, self.held_examples)?;
        if density.is_none() {
            counts = counts.with_each(self.examples_per_subtask, self.features)?;
        }
        let features = Features { n: self.features, density, importance: self.importance };
        Ok(Task::sampled(Arc::new(features), counts, self.data_seed.unwrap_or(run_seed)))
    }
}

#[derive(Debug)]
struct Features {
    n: usize,
    /// Probability that a feature is not 0, where they are independent.
    density: Option<f64>,
    importance: f64,
}

impl Distribution for Features {
    fn interface(&self) -> Interface {
        let loss = VectorLoss::Squared { factor: 1.0, importance: self.importance };
        Interface::Vectors { inputs: self.n, outputs: self.n, loss, image: None }
    }

    fn subtasks(&self) -> Option<Subtasks> {
        let names = || (1..=self.n).map(|i| format!("feature_{i}")).collect();
        self.density.is_none().then(|| Subtasks { names: names(), by: SubtaskBy::Example })
    }

    fn draw_of(&self, subtask: Option<u32>, numbers: &mut Numbers, example: &mut Example<'_>) {
        if let Some(density) = self.density {
            for x in example.x.iter_mut() {
                // What is below the density is uniform there.
                let drawn = numbers.uniform();
                *x = if drawn < density { (drawn / density) as f32 } else { 0.0 };
            }
        } else {
            let drawn = numbers.below(self.n);
            let feature = subtask.map_or(drawn, |wanted| wanted as usize);
            example.x[feature] = numbers.uniform() as f32;
            example.subtask = feature as u32;
        }
        example.y.copy_from_slice(example.x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn prepare(settings: serde_json::Value) -> Result<Task, SettingError> {
        serde_json::from_value::<SuperpositionConfig>(settings).unwrap().prepare(0)
    }

    #[test]
    fn one_feature_at_a_time_is_uniform() {
        let n = 6000;
        let task = prepare(json!({ "features": 6, "input": "one_hot", "held_examples": n })).unwrap();
        let train = task.split("train").unwrap();
        assert_eq!(train.floats("x"), train.floats("y"));
        let mut counts = [0.0; 6];
        let (mut sum, mut squares) = (0.0, 0.0);
        for (x, &feature) in train.floats("x").chunks(6).zip(&train.subtasks) {
            assert!(x.iter().enumerate().all(|(i, &x)| x == 0.0 || i == feature as usize));
            counts[feature as usize] += 1.0;
            sum += f64::from(x[feature as usize]);
            squares += f64::from(x[feature as usize]).powi(2);
        }
        // χ² of 5 degrees of freedom: above 20.5 with probability 0.001. Moments ½ and ⅓ with the deviations √(1/12), √(4/45).
        let chi2: f64 = counts.iter().map(|c| (c - 1000.0_f64).powi(2) / 1000.0).sum();
        assert!(chi2 < 20.5, "{counts:?}");
        let (n, root) = (f64::from(n), f64::from(n).sqrt());
        assert!((sum / n - 0.5).abs() < 4.0 * (1.0_f64 / 12.0).sqrt() / root);
        assert!((squares / n - 1.0 / 3.0).abs() < 4.0 * (4.0_f64 / 45.0).sqrt() / root);
        let even = task.split("even").unwrap();
        assert!((0..6).all(|i| even.subtasks.iter().filter(|&&feature| feature == i).count() == 32));
    }

    #[test]
    fn sparse_features_are_zero_with_the_given_probability() {
        let (n, features) = (2000, 10);
        let settings = json!({
            "features": features, "input": "sparse", "sparsity": 0.9, "importance": 0.7, "held_examples": n,
        });
        let task = prepare(settings).unwrap();
        assert!(task.subtasks.is_none() && task.split("even").is_none());
        let loss = VectorLoss::Squared { factor: 1.0, importance: 0.7 };
        assert_eq!(task.interface, Interface::Vectors { inputs: 10, outputs: 10, loss, image: None });
        let train = task.split("train").unwrap();
        assert_eq!(train.floats("x"), train.floats("y"));
        let there: Vec<f64> = train.floats("x").iter().map(|&x| f64::from(x)).filter(|&x| x != 0.0).collect();
        let all = f64::from(n * features);
        let share = there.len() as f64 / all;
        assert!((share - 0.1).abs() < 4.0 * (0.09 / all).sqrt(), "{share}");
        let mean = there.iter().sum::<f64>() / there.len() as f64;
        assert!((mean - 0.5).abs() < 4.0 * (1.0 / 12.0 / there.len() as f64).sqrt(), "{mean}");
    }

    #[test]
    fn settings_out_of_range_are_named() {
        for (settings, message) in [
            (json!({ "features": 0, "input": "one_hot" }), "task.features is 0; expected 1 to 65536"),
            (
                json!({ "features": 6, "input": "one_hot", "importance": 0.0 }),
                "task.importance is 0; expected a finite number above 0",
            ),
            (
                json!({ "features": 6, "input": "sparse" }),
                "task.sparsity is missing; expected the probability of a 0, such as 0.9",
            ),
            (
                json!({ "features": 6, "input": "sparse", "sparsity": 1.0 }),
                "task.sparsity is 1; expected a probability, at least 0 and below 1",
            ),
            (
                json!({ "features": 6, "input": "one_hot", "sparsity": 0.5 }),
                "task.sparsity is 0.5; expected it only with input = \"sparse\"",
            ),
            (
                json!({ "features": 6, "input": "one_hot", "examples_per_subtask": 0 }),
                "task.examples_per_subtask is 0; expected 1 to 2796202, for 6 sub-tasks",
            ),
        ] {
            assert_eq!(prepare(settings).unwrap_err().to_string(), message);
        }
    }
}
