//! Settings of training, as in the table `[train]` of a run file.

use std::fmt;

use ontogeny_graph::{Adam, Sgd};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::schedule::CheckpointSchedule;
use crate::SettingError;

/// Settings of training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// The update rule.
    pub optimizer: OptimizerKind,
    /// Learning rate after the warm-up.
    pub learning_rate: f64,
    /// λ, 0 unless given: joins the gradient in `sgd` and `adam`, shrinks the weights in `adamw`.
    #[serde(default)]
    pub weight_decay: f64,
    /// β₁, β₂ of `adam` and `adamw`; 0.9, 0.999 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub betas: Option<[f64; 2]>,
    /// Added to the root in `adam` and `adamw`; 1e-8 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eps: Option<f64>,
    /// μ of `sgd`; 0 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub momentum: Option<f64>,
    /// Whether `sgd` looks ahead along its momentum; off unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nesterov: Option<bool>,
    /// Update number t, counted from 0, uses `learning_rate`·min(t/`warmup_steps`, 1), as in the code of Nanda et al.
    /// 2023: with a warm-up the first update moves nothing, but fills the optimiser's moments. 0 is no warm-up.
    #[serde(default)]
    pub warmup_steps: u64,
    /// Examples of one update.
    pub batch: Batch,
    /// Number of updates.
    pub steps: u64,
    /// When to hand over a checkpoint.
    pub checkpoints: CheckpointSchedule,
}

/// Update rules, in PyTorch's conventions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// Stochastic gradient descent.
    Sgd,
    /// Kingma & Ba 2015.
    Adam,
    /// Adam with decoupled weight decay (Loshchilov & Hutter 2019).
    Adamw,
}

/// Examples of one update: `"full"` or a number in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batch {
    /// All training examples.
    Full,
    /// This many, drawn without replacement within an epoch. What is left of an epoch when fewer remain is not used.
    Size(usize),
}

/// The rule with its settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Rule {
    Sgd(Sgd),
    Adam(Adam),
}

impl TrainConfig {
    /// Checks all settings that do not depend on the data.
    ///
    /// # Errors
    /// The first setting that is out of range or does not belong to the optimizer.
    pub fn check(&self) -> Result<(), SettingError> {
        let within = |key, value: f64, is_right: bool, expected: &str| {
            if is_right {
                return Ok(());
            }
            Err(wrong(key, value, expected))
        };
        let not_negative = |value: f64| value.is_finite() && value >= 0.0;
        within(
            "learning_rate",
            self.learning_rate,
            self.learning_rate.is_finite() && self.learning_rate > 0.0,
            "a finite number above 0",
        )?;
        let decay = self.weight_decay;
        within("weight_decay", decay, not_negative(decay), "a finite number, at least 0")?;
        if let Some(eps) = self.eps {
            within("eps", eps, not_negative(eps), "a finite number, at least 0")?;
        }
        for value in self.betas.into_iter().flatten().chain(self.momentum) {
            let key = if self.momentum == Some(value) { "momentum" } else { "betas" };
            within(key, value, (0.0..1.0).contains(&value), "at least 0 and below 1")?;
        }
        self.check_keys_of_optimizer()?;
        if self.batch == Batch::Size(0) {
            return Err(wrong("batch", 0, "\"full\" or at least 1"));
        }
        if self.steps == 0 {
            return Err(wrong("steps", 0, "at least 1"));
        }
        self.checkpoints.check(self.steps)
    }

    fn check_keys_of_optimizer(&self) -> Result<(), SettingError> {
        let is_sgd = self.optimizer == OptimizerKind::Sgd;
        let given = [
            ("betas", self.betas.is_some(), false),
            ("eps", self.eps.is_some(), false),
            ("momentum", self.momentum.is_some(), true),
            ("nesterov", self.nesterov.is_some(), true),
        ];
        for (key, is_given, belongs_to_sgd) in given {
            if is_given && belongs_to_sgd != is_sgd {
                let owner = if belongs_to_sgd { "sgd" } else { "adam or adamw" };
                return Err(wrong(key, "given", &format!("it only with optimizer = {owner}")));
            }
        }
        if self.nesterov == Some(true) && self.momentum.is_none_or(|m| m == 0.0) {
            return Err(wrong("nesterov", true, "a momentum above 0 beside it"));
        }
        Ok(())
    }

    /// Learning rate of update number `step`, counted from 0.
    pub fn learning_rate_at(&self, step: u64) -> f64 {
        if step >= self.warmup_steps {
            return self.learning_rate;
        }
        self.learning_rate * (step as f64 / self.warmup_steps as f64)
    }

    pub(super) fn rule(&self) -> Rule {
        let adam = |decoupled| {
            Rule::Adam(Adam {
                betas: self.betas.unwrap_or([0.9, 0.999]).map(|beta| beta as f32),
                eps: self.eps.unwrap_or(1e-8) as f32,
                weight_decay: self.weight_decay as f32,
                decoupled,
            })
        };
        match self.optimizer {
            OptimizerKind::Sgd => Rule::Sgd(Sgd {
                momentum: self.momentum.unwrap_or(0.0) as f32,
                nesterov: self.nesterov.unwrap_or(false),
                weight_decay: self.weight_decay as f32,
            }),
            OptimizerKind::Adam => adam(false),
            OptimizerKind::Adamw => adam(true),
        }
    }
}

fn wrong(key: &'static str, found: impl fmt::Display, expected: &str) -> SettingError {
    SettingError::new("train", key, format!("{found}"), expected)
}

impl Serialize for Batch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Full => serializer.serialize_str("full"),
            Self::Size(n) => serializer.serialize_u64(*n as u64),
        }
    }
}

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BatchVisitor;

        impl Visitor<'_> for BatchVisitor {
            type Value = Batch;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"full\" or a number of examples")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Batch, E> {
                match text {
                    "full" => Ok(Batch::Full),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Batch, E> {
                usize::try_from(n).map(Batch::Size).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(n), &self))
            }

            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Batch, E> {
                usize::try_from(n).map(Batch::Size).map_err(|_| E::invalid_value(de::Unexpected::Signed(n), &self))
            }
        }

        deserializer.deserialize_any(BatchVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn settings(changes: &serde_json::Value) -> serde_json::Value {
        let mut settings = json!({
            "optimizer": "adamw", "learning_rate": 1e-3, "batch": "full", "steps": 100,
            "checkpoints": {"log": 4},
        });
        for (key, value) in changes.as_object().unwrap() {
            settings[key] = value.clone();
        }
        settings
    }

    #[test]
    fn settings_that_cannot_work_are_named_with_what_is_allowed() {
        for (changes, message) in [
            (json!({"learning_rate": 0.0}), "train.learning_rate is 0; expected a finite number above 0"),
            (json!({"weight_decay": -1}), "train.weight_decay is -1; expected a finite number, at least 0"),
            (json!({"eps": -1}), "train.eps is -1; expected a finite number, at least 0"),
            (json!({"betas": [0.9, 1.0]}), "train.betas is 1; expected at least 0 and below 1"),
            (json!({"optimizer": "sgd", "momentum": 1.5}), "train.momentum is 1.5; expected at least 0 and below 1"),
            (json!({"momentum": 0.9}), "train.momentum is given; expected it only with optimizer = sgd"),
            (
                json!({"optimizer": "sgd", "betas": [0.9, 0.98]}),
                "train.betas is given; expected it only with optimizer = adam or adamw",
            ),
            (
                json!({"optimizer": "sgd", "nesterov": true}),
                "train.nesterov is true; expected a momentum above 0 beside it",
            ),
            (json!({"batch": 0}), "train.batch is 0; expected \"full\" or at least 1"),
            (json!({"steps": 0}), "train.steps is 0; expected at least 1"),
            (json!({"checkpoints": [0, 101]}), "train.checkpoints is 101; expected steps from 0 to 100, the last one"),
        ] {
            let config: TrainConfig = serde_json::from_value(settings(&changes)).unwrap();
            assert_eq!(config.check().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn values_of_another_type_say_what_is_expected() {
        for (changes, part) in [
            (json!({"batch": "half"}), "expected \"full\" or a number of examples"),
            (json!({"batch": -3}), "expected \"full\" or a number of examples"),
            (json!({"checkpoints": {"logs": 3}}), "expected `log` or `linear`"),
            (json!({"checkpoints": "all"}), "{ log = 16, linear = 8 } or a list of steps"),
            (json!({"optimizer": "rmsprop"}), "`sgd`, `adam`, `adamw`"),
            (json!({"weight_decy": 1.0}), "`weight_decay`"),
        ] {
            let error = serde_json::from_value::<TrainConfig>(settings(&changes)).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn settings_survive_being_written_and_read() {
        for changes in [json!({}), json!({"batch": 32, "checkpoints": [0, 7], "betas": [0.9, 0.98]})] {
            let config: TrainConfig = serde_json::from_value(settings(&changes)).unwrap();
            config.check().unwrap();
            let text = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<TrainConfig>(&text).unwrap(), config);
        }
    }
}
