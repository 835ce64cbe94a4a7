//! Result types of a study: what its page, the atlas and `--json` show; nothing else is known of it there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The outcome of a study at one scale, as `atlas/verdicts/ID-SCALE.json` holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudyVerdict {
    /// Version of this format.
    pub format: u32,
    /// Identifier, such as `N5.3`.
    pub id: String,
    /// The question in words.
    pub question: String,
    /// Where the question is from.
    pub source: String,
    /// What is known of the answer, with its source; empty where nothing is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub known: String,
    /// What the study cannot say, in words (a stand-in series, a smaller network); empty where there is nothing to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub limits: String,
    /// `small` or `full`.
    pub scale: String,
    /// Verdict of the first hypothesis, which is the one that answers the question.
    pub outcome: Judgement,
    /// One sentence made from the numbers.
    pub answer: String,
    /// Whether all runs were made with seeds of the registration; otherwise the study is exploratory.
    pub confirmatory: bool,
    /// The claims, in the order of the file.
    pub hypotheses: Vec<JudgedHypothesis>,
    /// The attacks, in the order of the file.
    pub attacks: Vec<JudgedAttack>,
    /// Figures that show it, in the order of the file.
    pub figures: Vec<StudyFigure>,
    /// The runs that it rests on, by family and name.
    pub runs: Vec<StudyRun>,
    /// The registration that came before them.
    pub registration: Registered,
    /// Version of ontogeny that judged.
    pub version: String,
    /// Seconds of work, over all calls that did a part of it; runs that others had made already cost none.
    pub seconds: f64,
    /// Unix time at which it was judged, in seconds.
    pub time: u64,
}

/// The three answers to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Judgement {
    /// The corrected interval excludes no effect, and the estimate reaches the smallest effect of interest.
    Supported,
    /// The interval lies wholly below the smallest effect of interest, or on the other side.
    Refuted,
    /// Neither.
    Undecided,
}

/// A claim with what was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgedHypothesis {
    /// Its name in the file.
    pub id: String,
    /// The claim in words.
    pub claim: String,
    /// The statistic, as the file writes it.
    pub statistic: String,
    /// What the statistic is, in a few words.
    pub quantity: String,
    /// Its unit, such as `nats`; `1` for a pure number.
    pub unit: String,
    /// The test, such as `signed_rank`.
    pub test: String,
    /// `greater`, `less` or `either`; `within` for equivalence.
    pub direction: String,
    /// Smallest effect of interest, or the margin of equivalence, in the unit of the effect, relative to `no_effect`.
    pub smallest_effect: f64,
    /// Value of the effect when there is none.
    pub no_effect: f64,
    /// Error rate the file allows.
    pub alpha: f64,
    /// Error rate left for it by Holm's correction within the study.
    pub corrected_alpha: f64,
    /// What was found.
    pub outcome: Judgement,
    /// Why, where nothing could be estimated, or too few seeds have a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The estimate with its interval of 95 %; `None` where nothing could be estimated.
    pub effect: Option<StudyEffect>,
    /// The interval that decided, at the corrected level; an end is `None` where the data do not bound it.
    pub deciding: Option<[Option<f64>; 2]>,
    /// p-value before correction.
    pub p_value: Option<f64>,
    /// What the p-value rests on, such as `exact` or `9,999 arrangements`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub basis: String,
    /// Probability of excluding no effect when the effect is the smallest of interest, 0 to 1.
    pub power: Option<f64>,
    /// One value for each unit (seed, pair of seeds, run), in order.
    pub values: Vec<UnitValue>,
    /// Fewest units with a value that the file accepts.
    pub minimal_seeds: usize,
}

/// An estimate with its 95 % interval; an end is `None` where the data do not bound it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudyEffect {
    /// What is estimated, such as `pseudo-median` or `Spearman's ρ`.
    pub name: String,
    /// The estimate.
    pub estimate: f64,
    /// Lower end.
    pub lower: Option<f64>,
    /// Upper end.
    pub upper: Option<f64>,
}

/// The value of a statistic for one unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitValue {
    /// What sets the unit apart, such as `seed=3735928559`.
    pub unit: String,
    /// The dose or the other quantity of a correlation, where the test has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x: Option<f64>,
    /// The value; `None` where it is not defined.
    pub value: Option<f64>,
    /// Why it is not defined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// An attempt to bring a claim down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgedAttack {
    /// Kind, such as `other_seeds` or `shuffled_labels`.
    pub kind: String,
    /// What is done, in words.
    pub what: String,
    /// `holds`: the effect must be there; `vanishes`: it must not.
    pub expect: String,
    /// The hypothesis attacked.
    pub hypothesis: String,
    /// Whether the verdict on the claim survived; `None` where the attack could not tell, or there is none to survive.
    pub survived: Option<bool>,
    /// What was found, as for the claim itself.
    pub found: JudgedHypothesis,
}

/// A figure of a study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudyFigure {
    /// Title.
    pub title: String,
    /// What is on the horizontal axis, with its unit.
    pub x_label: String,
    /// What is on the vertical axis, with its unit.
    pub y_label: String,
    /// Whether the horizontal axis is logarithmic in x + 1 (steps).
    pub x_is_step: bool,
    /// Lines (one run or condition each) or clouds of points.
    pub form: FigureForm,
    /// What is drawn.
    pub marks: Vec<StudyMark>,
}

/// How the marks of a figure are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FigureForm {
    /// A line through the points of each mark.
    Lines,
    /// Points only.
    Points,
}

/// One line or cloud.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudyMark {
    /// Marks of one group have one colour and one entry in the key (a family, a condition).
    pub group: String,
    /// What it is, such as `seed=12`.
    pub label: String,
    /// Horizontal positions, ascending in lines.
    pub x: Vec<f64>,
    /// Vertical positions, as many; `None` where there is none.
    pub y: Vec<Option<f64>>,
}

/// A run that a study rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudyRun {
    /// Family in the study file.
    pub family: String,
    /// What sets it apart within the family.
    pub name: String,
    /// Folder of the run, relative to the atlas.
    pub directory: String,
    /// Its seed.
    pub seed: u32,
    /// Whether the seed is of the registration; pilot runs have fixed seeds and may be shared.
    pub confirmatory: bool,
    /// Hash of what decides its checkpoints.
    pub trajectory: String,
    /// Length of the registry when the run began.
    pub chain_length: u64,
    /// Head of the registry when the run began.
    pub chain_head: String,
}

/// A registration, as a verdict names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registered {
    /// Its place in the registry, from 0.
    pub index: u64,
    /// Its hash, from which the seeds follow.
    pub hash: String,
    /// Unix time of it, in seconds.
    pub time: u64,
    /// Hash of the study's files.
    pub content: String,
    /// How often this study had been registered before: each was another chance.
    pub earlier: u64,
    /// Length of the registry when the study began to run.
    pub chain_length: u64,
    /// Head of the registry at that time.
    pub chain_head: String,
}

/// What the page of the atlas shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Atlas {
    /// Every study, in the order of their identifiers.
    pub studies: Vec<AtlasRow>,
    /// Questions that no study asks yet, with the reason, by identifier.
    pub left_out: BTreeMap<String, String>,
}

/// A study in the atlas.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AtlasRow {
    /// Identifier.
    pub id: String,
    /// The question.
    pub question: String,
    /// Its verdict; `None` where it has not been run.
    pub verdict: Option<StudyVerdict>,
    /// p-values of its hypotheses, Benjamini–Hochberg over all hypotheses of the atlas, by name of the hypothesis.
    pub q_values: BTreeMap<String, f64>,
}
