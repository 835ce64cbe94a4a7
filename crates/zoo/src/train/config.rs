//! Settings of training, as in the table `[train]` of a run file.

use std::fmt;

use ontogeny_graph::{Adam, RmsPropDescent, Sgd};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::entropy_sgd::EntropySgdConfig;
use super::progress::ProgressConfig;
use super::rate::RateSchedule;
use super::schedule::CheckpointSchedule;
use crate::{AttackConfig, SettingError};

/// Settings of training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// The update rule.
    pub optimizer: OptimizerKind,
    /// Learning rate after the warm-up, at its highest.
    pub learning_rate: f64,
    /// How the learning rate goes on.
    #[serde(default, skip_serializing_if = "is_default")]
    pub schedule: RateSchedule,
    /// Of `cosine`: the learning rate at the end, as a share of `learning_rate`; 0 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_rate_share: Option<f64>,
    /// Of `one_cycle`: share of the steps before the highest learning rate; 0.5 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup_share: Option<f64>,
    /// Of `step`: what the learning rate is multiplied with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_factor: Option<f64>,
    /// Of `step`: after how many steps, each time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_every: Option<u64>,
    /// λ, 0 unless given: joins the gradient in `sgd`, `adam` and `rmsprop`, shrinks the weights in `adamw`.
    #[serde(default)]
    pub weight_decay: f64,
    /// Parameters without weight decay, by parts of their names: `["bias", "norm", "embed"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub no_decay: Vec<String>,
    /// Parameters that stay as they start, named in the same way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<String>,
    /// Longest gradient: a longer one is scaled to this Euclidean norm before weight decay joins it (PyTorch's
    /// `clip_grad_norm_`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// T, 0 unless given: after each update every weight gets a normal of standard deviation √(2·rate·T), the same for all
    /// whatever the optimizer. With `sgd`, small rates and full batches the weights then follow exp(−L/T).
    #[serde(default, skip_serializing_if = "is_default")]
    pub temperature: f64,
    /// β₁, β₂ of `adam` and `adamw`; 0.9, 0.999 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub betas: Option<[f64; 2]>,
    /// Memory of the squared gradients in `rmsprop`; 0.99 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// Added to the root in `adam`, `adamw` and `rmsprop`; 1e-8 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eps: Option<f64>,
    /// μ of `sgd` and `rmsprop`; 0 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub momentum: Option<f64>,
    /// Whether `sgd` looks ahead along its momentum; off unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nesterov: Option<bool>,
    /// Added to the diagonal of the Fisher matrix in `natural_gradient`, and in
    /// `kfac` shared out between its two factors; 1e-3 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damping: Option<f64>,
    /// Inner steps of `entropy_sgd`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entropy: Option<EntropySgdConfig>,
    /// Trains on adversarial examples alone: each batch is moved at the weights of its update (Madry et al. 2018,
    /// equation 2.1, with projected gradient ascent for the inner maximum).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adversarial: Option<AttackConfig>,
    /// A progress measure of modular addition that joins the training loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressConfig>,
    /// Update number t, counted from 0, uses `learning_rate`·min(t/`warmup_steps`, 1), as in the code of Nanda et al.
    /// 2023: with a warm-up the first update moves nothing, but fills the optimiser's moments. 0 is no warm-up.
    #[serde(default)]
    pub warmup_steps: u64,
    /// Examples of one update.
    pub batch: Batch,
    /// Number of updates.
    pub steps: u64,
    /// Ends the training before `steps` once the loss has stayed below a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_below: Option<StopBelow>,
    /// When to hand over a checkpoint.
    pub checkpoints: CheckpointSchedule,
    /// Further checkpoints, one where the training loss of a batch is first below each of these values, which descend: of
    /// the weights after the update with that loss.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checkpoint_below: Vec<f64>,
}

/// When to end a training before its last step: `{ loss = 1e-3, for = 100 }`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopBelow {
    /// The training loss of a batch, before its update, must be below this …
    pub loss: f64,
    /// … in this many updates in a row; 1 unless given.
    #[serde(default = "one", rename = "for")]
    pub n_updates: u64,
}

fn one() -> u64 {
    1
}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
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
    /// Tieleman & Hinton 2012, not centred.
    Rmsprop,
    /// (F + `damping`·I)⁻¹·∇L with the exact Fisher information F over the batch (Amari 1998); for at most 4,096 weights.
    NaturalGradient,
    /// Martens & Grosse 2015: the same with one Kronecker product for each layer; for the kind `mlp`.
    Kfac,
    /// Chaudhari et al. 2017, with the settings of `entropy`.
    EntropySgd,
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
    RmsProp(RmsPropDescent),
    /// Steps of their own, which remember nothing.
    Own,
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
        within("temperature", self.temperature, not_negative(self.temperature), "a finite number, at least 0")?;
        if let Some(eps) = self.eps {
            within("eps", eps, not_negative(eps), "a finite number, at least 0")?;
        }
        if let Some(damping) = self.damping {
            within("damping", damping, not_negative(damping), "a finite number, at least 0")?;
        }
        match &self.entropy {
            Some(entropy) => entropy.check()?,
            None if self.optimizer == OptimizerKind::EntropySgd => {
                return Err(wrong("entropy", "missing", "{ scope = 1e-3 } or more settings of the inner steps"));
            }
            None => {}
        }
        if let Some(adversarial) = &self.adversarial {
            adversarial.attack()?;
        }
        if let Some(progress) = &self.progress {
            progress.check()?;
        }
        if let Some(clip) = self.clip_norm {
            within("clip_norm", clip, clip.is_finite() && clip > 0.0, "a finite number above 0")?;
        }
        for (key, value) in
            self.betas.iter().flatten().map(|beta| ("betas", *beta)).chain(self.momentum.map(|m| ("momentum", m)))
        {
            within(key, value, (0.0..1.0).contains(&value), "at least 0 and below 1")?;
        }
        for (key, value) in
            [("alpha", self.alpha), ("final_rate_share", self.final_rate_share), ("warmup_share", self.warmup_share)]
        {
            let Some(value) = value else { continue };
            within(key, value, (0.0..=1.0).contains(&value), "0 to 1")?;
        }
        self.check_keys_of_optimizer()?;
        self.check_keys_of_schedule()?;
        if let Some(StopBelow { loss, n_updates }) = self.stop_below {
            if !loss.is_finite() {
                return Err(wrong("stop_below", format!("{{ loss = {loss} }}"), "a finite loss"));
            }
            if n_updates == 0 {
                return Err(wrong("stop_below", "{ for = 0 }", "for = 1 or more updates"));
            }
        }
        if self.batch == Batch::Size(0) {
            return Err(wrong("batch", 0, "\"full\" or at least 1"));
        }
        if self.steps == 0 {
            return Err(wrong("steps", 0, "at least 1"));
        }
        let below = &self.checkpoint_below;
        if let Some(value) = below.iter().find(|value| !value.is_finite()) {
            return Err(wrong("checkpoint_below", value, "finite losses"));
        }
        if let Some([first, second]) = below.array_windows().find(|[first, second]| first <= second) {
            return Err(wrong(
                "checkpoint_below",
                format!("{first}, {second}"),
                "losses in descending order, each once",
            ));
        }
        self.checkpoints.check(self.steps)
    }

    fn check_keys_of_optimizer(&self) -> Result<(), SettingError> {
        let adams = [OptimizerKind::Adam, OptimizerKind::Adamw];
        let (sgd, rmsprop) = (OptimizerKind::Sgd, OptimizerKind::Rmsprop);
        let (natural, entropy) = (OptimizerKind::NaturalGradient, OptimizerKind::EntropySgd);
        let first_order = [sgd, rmsprop, adams[0], adams[1], entropy];
        let given: [(_, _, &[_], _); 11] = [
            ("betas", self.betas.is_some(), &adams, "adam or adamw"),
            ("alpha", self.alpha.is_some(), &[rmsprop], "rmsprop"),
            ("eps", self.eps.is_some(), &[adams[0], adams[1], rmsprop], "adam, adamw or rmsprop"),
            ("momentum", self.momentum.is_some(), &[sgd, rmsprop], "sgd or rmsprop"),
            ("nesterov", self.nesterov.is_some(), &[sgd], "sgd"),
            ("damping", self.damping.is_some(), &[natural, OptimizerKind::Kfac], "natural_gradient or kfac"),
            ("entropy", self.entropy.is_some(), &[entropy], "entropy_sgd"),
            // The Fisher matrix of the others is that of the examples as they are, and of their loss alone.
            ("adversarial", self.adversarial.is_some(), &first_order, "sgd, adam, adamw, rmsprop or entropy_sgd"),
            ("progress", self.progress.is_some(), &first_order, "sgd, adam, adamw, rmsprop or entropy_sgd"),
            // A penalty would have to enter the metric of the one and the inner steps of the other.
            (
                "weight_decay",
                self.weight_decay > 0.0,
                &[sgd, rmsprop, adams[0], adams[1]],
                "sgd, adam, adamw or rmsprop",
            ),
            ("temperature", self.temperature > 0.0 && self.optimizer == entropy, &[], "another one, for it has noise"),
        ];
        for (key, is_given, owners, names) in given {
            if is_given && !owners.contains(&self.optimizer) {
                return Err(wrong(key, "given", &format!("it only with optimizer = {names}")));
            }
        }
        if self.nesterov == Some(true) && self.momentum.is_none_or(|m| m == 0.0) {
            return Err(wrong("nesterov", true, "a momentum above 0 beside it"));
        }
        Ok(())
    }

    fn check_keys_of_schedule(&self) -> Result<(), SettingError> {
        let given = [
            ("final_rate_share", self.final_rate_share.is_some(), RateSchedule::Cosine, "cosine"),
            ("warmup_share", self.warmup_share.is_some(), RateSchedule::OneCycle, "one_cycle"),
            ("step_factor", self.step_factor.is_some(), RateSchedule::Step, "step"),
            ("step_every", self.step_every.is_some(), RateSchedule::Step, "step"),
        ];
        for (key, is_given, owner, name) in given {
            if is_given && self.schedule != owner {
                return Err(wrong(key, "given", &format!("it only with schedule = {name}")));
            }
        }
        if self.schedule == RateSchedule::OneCycle && self.warmup_steps > 0 {
            let expected = "nothing, because one_cycle warms up for warmup_share of all steps";
            return Err(wrong("warmup_steps", self.warmup_steps, expected));
        }
        if self.schedule != RateSchedule::Step {
            return Ok(());
        }
        let factor =
            self.step_factor.ok_or_else(|| wrong("step_factor", "missing", "a number above 0, such as 0.1"))?;
        if !(factor.is_finite() && factor > 0.0) {
            return Err(wrong("step_factor", factor, "a finite number above 0"));
        }
        match self.step_every {
            Some(1..) => Ok(()),
            Some(0) => Err(wrong("step_every", 0, "at least 1")),
            None => Err(wrong("step_every", "missing", "a number of steps")),
        }
    }

    pub(super) fn damping(&self) -> f64 {
        self.damping.unwrap_or(1e-3)
    }

    /// The update rule, with this weight decay.
    pub(super) fn rule(&self, weight_decay: f64) -> Rule {
        let weight_decay = weight_decay as f32;
        let adam = |decoupled| {
            Rule::Adam(Adam {
                betas: self.betas.unwrap_or([0.9, 0.999]).map(|beta| beta as f32),
                eps: self.eps.unwrap_or(1e-8) as f32,
                weight_decay,
                decoupled,
            })
        };
        match self.optimizer {
            OptimizerKind::Sgd => Rule::Sgd(Sgd {
                momentum: self.momentum.unwrap_or(0.0) as f32,
                nesterov: self.nesterov.unwrap_or(false),
                weight_decay,
            }),
            OptimizerKind::Adam => adam(false),
            OptimizerKind::Adamw => adam(true),
            OptimizerKind::Rmsprop => Rule::RmsProp(RmsPropDescent {
                alpha: self.alpha.unwrap_or(0.99) as f32,
                eps: self.eps.unwrap_or(1e-8) as f32,
                momentum: self.momentum.unwrap_or(0.0) as f32,
                weight_decay,
            }),
            OptimizerKind::NaturalGradient | OptimizerKind::Kfac | OptimizerKind::EntropySgd => Rule::Own,
        }
    }
}

pub(super) fn wrong(key: &'static str, found: impl fmt::Display, expected: &str) -> SettingError {
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
            (json!({"momentum": 0.9}), "train.momentum is given; expected it only with optimizer = sgd or rmsprop"),
            (
                json!({"optimizer": "sgd", "betas": [0.9, 0.98]}),
                "train.betas is given; expected it only with optimizer = adam or adamw",
            ),
            (
                json!({"optimizer": "sgd", "nesterov": true}),
                "train.nesterov is true; expected a momentum above 0 beside it",
            ),
            (json!({"alpha": 0.9}), "train.alpha is given; expected it only with optimizer = rmsprop"),
            (json!({"optimizer": "rmsprop", "alpha": 1.1}), "train.alpha is 1.1; expected 0 to 1"),
            (
                json!({"optimizer": "natural_gradient", "weight_decay": 0.1}),
                "train.weight_decay is given; expected it only with optimizer = sgd, adam, adamw or rmsprop",
            ),
            (
                json!({"damping": 0.1}),
                "train.damping is given; expected it only with optimizer = natural_gradient or kfac",
            ),
            (
                json!({"optimizer": "entropy_sgd"}),
                "train.entropy is missing; expected { scope = 1e-3 } or more settings of the inner steps",
            ),
            (
                json!({"optimizer": "entropy_sgd", "entropy": {"scope": 0.1, "average": 0.0}}),
                "train.entropy is { average = 0 }; expected above 0, at most 1",
            ),
            (
                json!({"optimizer": "entropy_sgd", "entropy": {"scope": 0.1}, "temperature": 1.0}),
                "train.temperature is given; expected it only with optimizer = another one, for it has noise",
            ),
            (
                json!({"checkpoint_below": [0.1, 1.0]}),
                "train.checkpoint_below is 0.1, 1; expected losses in descending order, each once",
            ),
            (json!({"clip_norm": 0.0}), "train.clip_norm is 0; expected a finite number above 0"),
            (json!({"temperature": -1.0}), "train.temperature is -1; expected a finite number, at least 0"),
            (json!({"step_every": 3}), "train.step_every is given; expected it only with schedule = step"),
            (
                json!({"schedule": "step", "step_every": 3}),
                "train.step_factor is missing; expected a number above 0, such as 0.1",
            ),
            (
                json!({"schedule": "step", "step_factor": 0.1, "step_every": 0}),
                "train.step_every is 0; expected at least 1",
            ),
            (
                json!({"schedule": "one_cycle", "warmup_steps": 3}),
                "train.warmup_steps is 3; expected nothing, because one_cycle warms up for warmup_share of all steps",
            ),
            (
                json!({"stop_below": {"loss": 0.1, "for": 0}}),
                "train.stop_below is { for = 0 }; expected for = 1 or more updates",
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
            (json!({"optimizer": "lion"}), "`sgd`, `adam`, `adamw`, `rmsprop`"),
            (json!({"schedule": "linear"}), "`constant`, `cosine`, `one_cycle`, `step`"),
            (json!({"stop_below": {"loss": 1.0, "four": 2}}), "`loss` or `for`"),
            (json!({"weight_decy": 1.0}), "`weight_decay`"),
        ] {
            let error = serde_json::from_value::<TrainConfig>(settings(&changes)).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn settings_survive_being_written_and_read() {
        for changes in [
            json!({}),
            json!({"batch": 32, "checkpoints": [0, 7], "betas": [0.9, 0.98]}),
            json!({"schedule": "one_cycle", "no_decay": ["bias"], "clip_norm": 1.0, "temperature": 0.1}),
            json!({"stop_below": {"loss": 0.1, "for": 3}, "freeze": ["embed"]}),
            json!({"checkpoint_below": [1.0, 0.1], "adversarial": {"norm": "l2", "radius": 0.1, "steps": 3}}),
            json!({"progress": {"kind": "excluded", "weight": -0.1, "frequencies": [3, 1]}}),
        ] {
            let config: TrainConfig = serde_json::from_value(settings(&changes)).unwrap();
            config.check().unwrap();
            let text = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<TrainConfig>(&text).unwrap(), config);
        }
    }
}
