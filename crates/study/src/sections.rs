//! The sections of a run file that belong to no other crate: imports, measurements, stages, report.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use ontogeny_observe::{Observed, Partner};
use ontogeny_zoo::{AttackConfig, Layout};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::change_points::ChangePointsConfig;
use crate::curriculum::StageConfig;
use crate::llc_config::LlcConfig;
use crate::response_config::{InfluenceConfig, RelativeVarianceConfig, SusceptibilityConfig};
use crate::toml_source::{RunFileError, Section};
use crate::trajectory::TrajectoryConfig;
use crate::warnings::{self, WarningsConfig};

/// `[import]`: checkpoints made elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportConfig {
    /// What the network is, in place of `[network]`: a file in ONNX; or a folder with a `config.json`, such a file, a
    /// configuration of TransformerLens, or a `.bin` of llama2.c, but these only in a run file: what they say is kept in
    /// `[network]` and `layout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Initialisers of a file in ONNX that are no weights, where it does not tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constants: Vec<String>,
    /// A repository of the Hugging Face hub, `OWNER/NAME`, with `revisions`: what it is and its checkpoints. Only in a run file,
    /// and only with the feature `hub`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// Of `hub`: names of revisions, or `"all"` of a series that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revisions: Option<Paths>,
    /// The folder of a run of ontogeny, whose network and checkpoints these are. Only in a run file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Files, folders, globs; relative to the run file. What `network` names, unless given: the weights in a file
    /// in ONNX stand at step 0 unless `step` says another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoints: Option<Paths>,
    /// The step of a single checkpoint, a list of the steps of all, or a regular expression whose only group is the step in the
    /// name of the file or folder; unless given, the number after `step`, `checkpoint` and the like, or the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepRule>,
    /// Names and orientation of the tensors; recognised by the names and the shape of W_O unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// Prefixes of tensor names and what replaces them; names with none of these prefixes are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, String>,
}

impl ImportConfig {
    /// The network's file, where it is one in ONNX.
    pub(crate) fn onnx(&self) -> Option<&str> {
        let is_onnx =
            |file: &&str| Path::new(file).extension().is_some_and(|ending| ending.eq_ignore_ascii_case("onnx"));
        self.network.as_deref().filter(is_onnx)
    }
}

/// One path or a list of paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths(pub Vec<String>);

/// Where the step of an imported checkpoint stands.
#[derive(Debug, Clone, PartialEq)]
pub enum StepRule {
    /// This number.
    Number(u64),
    /// These numbers, in the order of the checkpoints.
    Numbers(Vec<u64>),
    /// The only group of this regular expression in the file's name.
    Pattern(String),
}

/// `[measure.NAME]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MeasureConfig {
    /// NAME.
    pub name: String,
    /// The earlier stage of the training on whose data it is measured; on those of `[task]` unless given.
    pub on: Option<String>,
    /// Whether a refused estimate leaves the exit code at 0.
    pub accepts_refusal: bool,
    /// What is measured.
    pub observable: ObservableConfig,
}

/// The observables of a run file.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ObservableConfig {
    /// Mean loss of each split.
    Loss,
    /// Accuracy on each split.
    Accuracy,
    /// Mean loss of each sub-task of the task.
    SubtaskLoss(SubtaskConfig),
    /// Accuracy of each sub-task.
    SubtaskAccuracy(SubtaskConfig),
    /// Mean loss of each split under an attack.
    RobustLoss(AttackConfig),
    /// Accuracy on each split under an attack.
    RobustAccuracy(AttackConfig),
    /// Exact expected return of an agent.
    Return,
    /// How often a move of a game is legal.
    LegalMoves,
    /// L2 norms of the parts.
    WeightNorm,
    /// Progress measures of modular addition.
    Fourier,
    /// The local learning coefficient.
    Llc(Box<LlcConfig>),
    /// How the losses of the parts answer to changes of the data.
    Susceptibility(Box<SusceptibilityConfig>),
    /// Which training examples move together with which queries.
    Influence(Box<InfluenceConfig>),
    /// How the variance of log-likelihood ratios goes with their mean.
    RelativeVariance(Box<RelativeVarianceConfig>),
    /// Where the checkpoint stands in the space of functions or of weights.
    Trajectory(TrajectoryConfig),
    /// Any of those that are settings and an instrument.
    #[serde(untagged)]
    Observed(Observed),
}

/// `observable = "subtask_loss"` and `"subtask_accuracy"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SubtaskConfig {
    /// On which split; unless given on `even`, else `test`, else `train`, whichever the task has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
}

/// One name or a list of names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Parts(pub Vec<String>);

/// `[stages]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct StagesConfig {
    /// Addresses whose slopes divide the run into stages, such as `llc.full`; all losses and learning coefficients
    /// unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observables: Option<Vec<String>>,
    /// Change points of these series, by the name of a shape such as `l2` or `linear`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change_points: Option<ChangePointsConfig>,
    /// Early warnings in all watched series that have checkpoints at even intervals; none unless given.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "warnings::read_config")]
    pub warnings: Option<WarningsConfig>,
    /// Measurements whose components are summed up to a mean curve, such as `subtask_loss`; none unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parts: Option<Parts>,
    /// Measurements whose kept numbers are looked at for how they fluctuate together: trajectories, over nearby checkpoints, and learning
    /// coefficients with kept losses, over draws; none unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fluctuations: Option<Parts>,
}

/// `[report]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReportConfig {
    /// Whether `run` writes `report.html` at its end.
    pub write: bool,
}

impl Default for ReportConfig {
    fn default() -> Self {
        Self { write: true }
    }
}

impl MeasureConfig {
    /// The observables a run file may name, beside those of [`Observed`].
    const KINDS: &'static [&'static str] = &[
        "loss",
        "accuracy",
        "subtask_loss",
        "subtask_accuracy",
        "robust_loss",
        "robust_accuracy",
        "return",
        "legal_moves",
        "weight_norm",
        "fourier",
        "llc",
        "susceptibility",
        "influence",
        "relative_variance",
        "trajectory",
    ];

    pub(crate) fn read(name: &str, mut section: Section<'_>, curriculum: &[StageConfig]) -> Result<Self, RunFileError> {
        check_name(name, &section)?;
        let kind: String = section.take("observable")?.unwrap_or_else(|| name.to_owned());
        let accepts_refusal = match section.take::<String>("refused")?.as_deref() {
            None => false,
            Some("accept") => true,
            Some(other) => {
                let message = format!("`measure.{name}.refused` is \"{other}\"; expected \"accept\", or nothing");
                return Err(section.error(message, None));
            }
        };
        let mut on: Option<String> = None;
        let of_splits = ["loss", "accuracy", "subtask_loss", "subtask_accuracy", "robust_loss", "robust_accuracy"];
        if of_splits.contains(&kind.as_str()) {
            let place = section.place_of("on");
            on = section.take("on")?;
            let is_known = |on: &String| curriculum.iter().any(|stage| stage.name == *on);
            if let Some(unknown) = on.as_ref().filter(|on| !is_known(on)) {
                let names: Vec<&str> = curriculum.iter().map(|stage| stage.name.as_str()).collect();
                let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                let message = format!(
                    "`measure.{name}.on` is \"{unknown}\"; expected a stage [curriculum.NAME], of which the file has: {names}"
                );
                return Err(section.error_at(place, message, None));
            }
        }
        let made = |observable| Self { name: name.to_owned(), on: on.clone(), accepts_refusal, observable };
        let observable = match kind.as_str() {
            "loss" | "accuracy" => {
                section.check_keys(&["observable", "refused", "on"])?;
                let observable = if kind == "loss" { ObservableConfig::Loss } else { ObservableConfig::Accuracy };
                return Ok(made(observable));
            }
            "subtask_loss" | "subtask_accuracy" => {
                let config = SubtaskConfig { split: section.take("split")? };
                section.check_keys(&["observable", "refused", "split", "on"])?;
                let of = if kind == "subtask_loss" {
                    ObservableConfig::SubtaskLoss
                } else {
                    ObservableConfig::SubtaskAccuracy
                };
                return Ok(made(of(config)));
            }
            "robust_loss" => return Ok(made(ObservableConfig::RobustLoss(section.read(AttackConfig::deserialize)?))),
            "robust_accuracy" => {
                return Ok(made(ObservableConfig::RobustAccuracy(section.read(AttackConfig::deserialize)?)));
            }
            "return" => ObservableConfig::Return,
            "legal_moves" => ObservableConfig::LegalMoves,
            "weight_norm" => ObservableConfig::WeightNorm,
            "fourier" => ObservableConfig::Fourier,
            "llc" => {
                let llc = section.read(LlcConfig::deserialize)?;
                return Ok(made(ObservableConfig::Llc(Box::new(llc))));
            }
            "susceptibility" => {
                let config = SusceptibilityConfig::read(name, section)?;
                return Ok(made(ObservableConfig::Susceptibility(Box::new(config))));
            }
            "influence" => {
                let config = InfluenceConfig::read(name, section)?;
                return Ok(made(ObservableConfig::Influence(Box::new(config))));
            }
            "relative_variance" => {
                let config = RelativeVarianceConfig::read(name, section)?;
                return Ok(made(ObservableConfig::RelativeVariance(Box::new(config))));
            }
            "trajectory" => {
                let config = section.read(TrajectoryConfig::deserialize)?;
                return Ok(made(ObservableConfig::Trajectory(config)));
            }
            other if Observed::KINDS.contains(&other) => {
                let observed = section.read(|settings| Observed::deserialize_kind(other, settings))?;
                return Ok(made(ObservableConfig::Observed(observed)));
            }
            other => {
                let known = [Self::KINDS, Observed::KINDS].concat();
                let hint = crate::toml_source::nearest(other, known.iter().copied()).map_or_else(
                    || "name it by `observable = \"…\"` when the table has a name of its own".to_owned(),
                    |k| format!("did you mean `{k}`?"),
                );
                let message = format!("no observable is named `{other}`; expected one of {}", known.join(", "));
                return Err(section.error(message, Some(hint)));
            }
        };
        section.check_keys(&["observable", "refused"])?;
        Ok(made(observable))
    }
}

impl ObservableConfig {
    /// Whether its settings are still to be found.
    pub(crate) fn awaits_calibration(&self) -> bool {
        self.chains().is_some_and(LlcConfig::awaits_calibration)
    }

    /// How its chains move, where it is made of draws.
    pub(crate) fn chains(&self) -> Option<&LlcConfig> {
        match self {
            Self::Llc(config) => Some(config),
            Self::Susceptibility(config) => Some(&config.chains),
            Self::Influence(config) => Some(&config.chains),
            Self::RelativeVariance(config) => Some(&config.chains),
            Self::Loss
            | Self::Accuracy
            | Self::SubtaskLoss(_)
            | Self::SubtaskAccuracy(_)
            | Self::RobustLoss(_)
            | Self::RobustAccuracy(_)
            | Self::Return
            | Self::LegalMoves
            | Self::WeightNorm
            | Self::Fourier
            | Self::Trajectory(_)
            | Self::Observed(_) => None,
        }
    }

    pub(crate) fn chains_mut(&mut self) -> Option<&mut LlcConfig> {
        match self {
            Self::Llc(config) => Some(config),
            Self::Susceptibility(config) => Some(&mut config.chains),
            Self::Influence(config) => Some(&mut config.chains),
            Self::RelativeVariance(config) => Some(&mut config.chains),
            Self::Loss
            | Self::Accuracy
            | Self::SubtaskLoss(_)
            | Self::SubtaskAccuracy(_)
            | Self::RobustLoss(_)
            | Self::RobustAccuracy(_)
            | Self::Return
            | Self::LegalMoves
            | Self::WeightNorm
            | Self::Fourier
            | Self::Trajectory(_)
            | Self::Observed(_) => None,
        }
    }

    /// The checkpoint that each one is compared with, where it is.
    pub(crate) fn partner(&self) -> Option<&Partner> {
        match self {
            Self::Observed(observed) => observed.settings().partner(),
            _ => None,
        }
    }

    /// The name in run files and records.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Accuracy => "accuracy",
            Self::SubtaskLoss(_) => "subtask_loss",
            Self::SubtaskAccuracy(_) => "subtask_accuracy",
            Self::RobustLoss(_) => "robust_loss",
            Self::RobustAccuracy(_) => "robust_accuracy",
            Self::Return => "return",
            Self::LegalMoves => "legal_moves",
            Self::WeightNorm => "weight_norm",
            Self::Fourier => "fourier",
            Self::Llc(_) => "llc",
            Self::Susceptibility(_) => "susceptibility",
            Self::Influence(_) => "influence",
            Self::RelativeVariance(_) => "relative_variance",
            Self::Trajectory(_) => "trajectory",
            Self::Observed(observed) => observed.kind(),
        }
    }
}

impl Serialize for StepRule {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(step) => serializer.serialize_u64(*step),
            Self::Numbers(steps) => steps.serialize(serializer),
            Self::Pattern(pattern) => serializer.serialize_str(pattern),
        }
    }
}

impl<'de> Deserialize<'de> for StepRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = StepRule;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a step, or a regular expression with one group that holds it, or a list of steps")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<StepRule, A::Error> {
                let mut steps = Vec::new();
                while let Some(step) = seq.next_element()? {
                    steps.push(step);
                }
                Ok(StepRule::Numbers(steps))
            }
            fn visit_i64<E: de::Error>(self, step: i64) -> Result<StepRule, E> {
                let step = u64::try_from(step).map_err(|_| E::custom(format!("step {step} is negative")))?;
                Ok(StepRule::Number(step))
            }
            fn visit_u64<E: de::Error>(self, step: u64) -> Result<StepRule, E> {
                Ok(StepRule::Number(step))
            }
            fn visit_str<E: de::Error>(self, pattern: &str) -> Result<StepRule, E> {
                Ok(StepRule::Pattern(pattern.to_owned()))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A text, or a list of texts.
struct OneOrMany(&'static str);

impl<'de> Visitor<'de> for OneOrMany {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, one: &str) -> Result<Vec<String>, E> {
        Ok(vec![one.to_owned()])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<String>, A::Error> {
        let mut many = Vec::new();
        while let Some(one) = seq.next_element()? {
            many.push(one);
        }
        Ok(many)
    }
}

impl<'de> Deserialize<'de> for Parts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a part of the network such as \"unembed\" or \"l0h2\", or a list of parts";
        deserializer.deserialize_any(OneOrMany(expected)).map(Self)
    }
}

impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrMany("a file, a folder or a glob, or a list of them")).map(Self)
    }
}

impl Serialize for Paths {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => serializer.serialize_str(one),
            many => many.serialize(serializer),
        }
    }
}

/// Whether a table `[measure.NAME]` or `[curriculum.NAME]` may have this name.
pub(crate) fn check_name(name: &str, section: &Section<'_>) -> Result<(), RunFileError> {
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    if !name.is_empty() && name.len() <= 60 && name.chars().all(is_name) {
        return Ok(());
    }
    let message = format!(
        "`{name}` cannot name a table of a run file; expected at most 60 letters, digits, `_` or `-`, because folders and \
         addresses such as `llc.full` are made of it"
    );
    Err(section.error(message, None))
}

/// Absolute path of a path in a run file.
pub(crate) fn resolve(folder: &Path, path: &str) -> PathBuf {
    folder.join(path)
}
