//! The study file: a question, the runs it needs, hypotheses with their tests, attacks and figures.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ontogeny_study::{Overrides, RunFileError, Scale, read_toml};
use serde::Deserialize;

use crate::StudyFileError;

/// A study file as it is written, at one scale. `docs/studies.md` explains every key.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudyFile {
    /// Identifier, such as `N5.3`: letters, digits, `.`, `-` and `_`. Also the name of the file.
    pub id: String,
    /// The question in words.
    pub question: String,
    /// Where it is from.
    pub source: String,
    /// What is known of the answer, with its source.
    #[serde(default)]
    pub known: String,
    /// What the study cannot say.
    #[serde(default)]
    pub limits: String,
    /// Seeds of every family of runs that does not have its own number.
    #[serde(default = "default_seeds")]
    pub seeds: u32,
    /// Error rate of every hypothesis that does not have its own.
    #[serde(default = "default_alpha")]
    pub alpha: f64,
    /// The runs, by family.
    pub runs: BTreeMap<String, Family>,
    /// Expressions by name, evaluated for single runs.
    #[serde(default)]
    pub values: BTreeMap<String, String>,
    /// The claims; the first answers the question.
    #[serde(rename = "hypothesis")]
    pub hypotheses: Vec<Hypothesis>,
    /// Attempts to bring them down.
    #[serde(default, rename = "attack")]
    pub attacks: Vec<Attack>,
    /// Figures.
    #[serde(default, rename = "figure")]
    pub figures: Vec<Figure>,
}

fn default_seeds() -> u32 {
    5
}

fn default_alpha() -> f64 {
    0.05
}

/// Runs that differ in their seed, and in the settings of `vary`.
#[derive(Debug, Clone, PartialEq, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Family {
    /// A preset of `ontogeny new`.
    #[serde(default)]
    pub preset: Option<String>,
    /// A run file, relative to the study file.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// Seeds, where they are not as many as the study has.
    #[serde(default)]
    pub seeds: Option<u32>,
    /// Fixed seeds 0, 1, …: runs that other studies may share. What rests on them is exploratory.
    #[serde(default)]
    pub pilot: bool,
    /// Gives every condition seeds that nothing else has, as tests need whose units are runs. Otherwise all families and
    /// conditions have the same seeds, so that their runs are pairs.
    #[serde(default)]
    pub own_seeds: bool,
    /// Measurements of the run file to keep; all of them where it is left out.
    #[serde(default)]
    pub measures: Option<Vec<String>>,
    /// Measurements in addition, or in place of those of the same name.
    #[serde(default)]
    pub measure: toml::Table,
    /// Dotted keys of the run file with their values. `{run.NAME}` in a text is the folder of the run of that family with
    /// the same seed, which is made first.
    #[serde(default)]
    pub set: BTreeMap<String, toml::Value>,
    /// Dotted keys to take out of the run file.
    #[serde(default)]
    pub remove: Vec<String>,
    /// Dotted keys with a list of values each; every combination is a run for each seed.
    #[serde(default)]
    pub vary: BTreeMap<String, Vec<toml::Value>>,
}

/// A claim with its test.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hypothesis {
    /// Name, unique in the file.
    pub id: String,
    /// The claim in words.
    pub claim: String,
    /// What the statistic is, in a few words, for the sentence that answers.
    pub quantity: String,
    /// Unit of the statistic; `1` for a pure number.
    #[serde(default = "pure_number")]
    pub unit: String,
    /// The family in whose runs names without a family are looked up; the only one unless given.
    #[serde(default)]
    pub runs: Option<String>,
    /// One number for each unit.
    pub statistic: String,
    /// The test.
    pub test: TestKind,
    /// On which side of `no_effect` the effect is claimed.
    #[serde(default = "greater")]
    pub direction: Direction,
    /// The value without an effect.
    #[serde(default)]
    pub no_effect: f64,
    /// Smallest effect of interest, as a distance from `no_effect`; of equivalence the margin.
    pub smallest_effect: f64,
    /// Error rate.
    #[serde(default)]
    pub alpha: Option<f64>,
    /// Fewest units with a value.
    #[serde(default = "default_minimum")]
    pub minimal_seeds: usize,
    /// Of two samples: the other family; of correlations and doses: the other quantity, an expression.
    #[serde(default)]
    pub against: Option<String>,
    /// Of `prediction`: expressions of what may be used.
    #[serde(default)]
    pub features: Vec<String>,
    /// Of `precision` and `recall`: the true events, an expression of a list of steps.
    #[serde(default)]
    pub truth: Option<String>,
    /// Of `precision` and `recall`: factor in step + 1 within which events are the same.
    #[serde(default)]
    pub factor: Option<f64>,
}

fn pure_number() -> String {
    "1".to_owned()
}

fn greater() -> Direction {
    Direction::Greater
}

fn default_minimum() -> usize {
    5
}

/// The tests of the crate `stats`, by what they ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestKind {
    /// Mean of the units, normal values.
    T,
    /// Pseudo-median, symmetric values.
    SignedRank,
    /// Median.
    Sign,
    /// Mean by exchanging signs, symmetric values.
    SignFlip,
    /// Mean by resampling, of 20 units or more.
    Bootstrap,
    /// Shift between two families with different runs.
    RankSum,
    /// Difference of the means of two families, normal values.
    Welch,
    /// Difference of the means of two families, by exchanging labels.
    Permutation,
    /// Mean within a margin.
    EquivalenceT,
    /// Pseudo-median within a margin.
    EquivalenceSignedRank,
    /// Slope over the doses within seeds.
    Page,
    /// Slope over the doses, each with runs of its own.
    Jonckheere,
    /// Spearman's ρ over runs.
    Spearman,
    /// Kendall's τ over runs.
    Kendall,
    /// Share of the units for which the statistic is not zero.
    Proportion,
    /// Share of found events that are true.
    Precision,
    /// Share of true events that are found.
    Recall,
    /// Skill out of sample against the mean of the other runs.
    Prediction,
}

/// On which side an effect is claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Above.
    Greater,
    /// Below.
    Less,
    /// Either.
    Either,
}

/// An attempt to bring claims down.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attack {
    /// What kind.
    pub kind: AttackKind,
    /// What is done, in words.
    pub what: String,
    /// The hypotheses attacked; all unless given.
    #[serde(default)]
    pub hypotheses: Vec<String>,
    /// Whether the effect must be there or not; follows from the kind unless given.
    #[serde(default)]
    pub expect: Option<Expect>,
    /// Further settings by family, over those of the family.
    #[serde(default)]
    pub set: BTreeMap<String, BTreeMap<String, toml::Value>>,
    /// Expressions in place of those of the study, by name.
    #[serde(default)]
    pub values: BTreeMap<String, String>,
    /// The statistic in place of that of the hypotheses.
    #[serde(default)]
    pub statistic: Option<String>,
}

/// Kinds of attacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttackKind {
    /// As many other seeds of the registration: the effect must be there again.
    OtherSeeds,
    /// Other hyper-parameters: the effect must be there.
    OtherSettings,
    /// Labels without meaning: the effect must vanish.
    ShuffledLabels,
    /// Random masks of the same size: the effect must vanish.
    RandomMasks,
    /// The statistic where nothing is expected: it must vanish.
    Placebo,
    /// Values handed to the wrong runs: the effect must vanish.
    ShuffledUnits,
}

/// What an attack must find for the claim to survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// The effect.
    Holds,
    /// No effect.
    Vanishes,
}

/// A figure over the runs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// Title.
    pub title: String,
    /// Families whose runs are drawn; all unless given.
    #[serde(default)]
    pub runs: Vec<String>,
    /// What is drawn: of a line a curve or several, of points a number for each run or a list.
    pub y: String,
    /// What is on the other axis of points: a number or a list like `y`. Lines are drawn over steps, or over the values of the
    /// curve that stands here.
    #[serde(default)]
    pub x: Option<String>,
    /// Words for the axes.
    #[serde(default)]
    pub x_label: Option<String>,
    /// Words for the axis upwards.
    pub y_label: String,
    /// Key whose value names the group of a run, such as `setting.train.weight_decay`; the family unless given.
    #[serde(default)]
    pub group: Option<String>,
}

impl StudyFile {
    /// Reads the file at `path` at a scale: `[scale.small]` or `[scale.full]` is merged over it where there is one; without the first, the file
    /// as it stands is small.
    ///
    /// # Errors
    /// A file that cannot be read, or a mistake in it, with its line where that is known.
    pub fn read(path: &Path, scale: Scale) -> Result<Self, StudyFileError> {
        let text = fs_err::read_to_string(path).map_err(StudyFileError::Io)?;
        Self::parse(path, &text, scale)
    }

    /// Parses the text of a study file; `path` is for messages and for relative paths in it.
    ///
    /// # Errors
    /// A mistake in it.
    pub fn parse(path: &Path, text: &str, scale: Scale) -> Result<Self, StudyFileError> {
        let full: toml::Table = text.parse().map_err(|error: toml::de::Error| mistake(path, text, &error))?;
        // Without [scale.small] the file as it stands is small.
        let scales = full.get("scale");
        let is_as_it_stands = scale == Scale::Small && scales.is_some_and(|scales| scales.get("small").is_none());
        let text = if is_as_it_stands { format!("{text}\n[scale.small]\n") } else { text.to_owned() };
        let scale = if scales.is_some() { scale } else { Scale::Full };
        let file: Self = read_toml(path, &text, &Overrides { set: Vec::new(), scale })?;
        file.check().map_err(|message| StudyFileError::Content { path: path.to_owned(), message })?;
        Ok(file)
    }

    fn check(&self) -> Result<(), String> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if self.id.is_empty() || self.id.len() > 60 || self.id.starts_with('.') || !self.id.chars().all(is_plain) {
            return Err(format!("`id` is {:?}; expected letters, digits, `.`, `-` and `_`, such as \"N5.3\"", self.id));
        }
        if self.hypotheses.is_empty() {
            return Err("found no [[hypothesis]]; expected one at least".to_owned());
        }
        if self.seeds == 0
            || self.seeds > 1000
            || self.runs.values().any(|f| f.seeds.is_some_and(|n| n == 0 || n > 1000))
        {
            return Err("`seeds` must lie between 1 and 1000".to_owned());
        }
        for (name, family) in &self.runs {
            if name.contains(['.', ' ', '"'])
                || ["other", "setting", "seed", "path", "detail", "found"].contains(&name.as_str())
            {
                return Err(format!("a family of runs is called {name:?}; expected another word, without dots"));
            }
            if family.preset.is_some() == family.file.is_some() {
                return Err(format!("[runs.{name}] needs either `preset` or `file`; expected one of them"));
            }
        }
        let mut ids: Vec<&str> = self.hypotheses.iter().map(|h| h.id.as_str()).collect();
        ids.sort_unstable();
        if let Some([twice, _]) = ids.array_windows().find(|[a, b]| a == b) {
            return Err(format!("two hypotheses are called `{twice}`; rename one"));
        }
        for h in &self.hypotheses {
            self.check_hypothesis(h).map_err(|message| format!("in the hypothesis `{}`: {message}", h.id))?;
        }
        for attack in &self.attacks {
            if let Some(unknown) = attack.hypotheses.iter().find(|id| !self.hypotheses.iter().any(|h| h.id == **id)) {
                return Err(format!("an attack names the hypothesis `{unknown}`, which is not there"));
            }
            if let Some(unknown) = attack.set.keys().find(|family| !self.runs.contains_key(*family)) {
                return Err(format!("an attack sets keys of `{unknown}`; the families are {}", self.family_names()));
            }
            let changes_runs = !attack.set.is_empty();
            let changes_values = !attack.values.is_empty() || attack.statistic.is_some();
            let fits = match attack.kind {
                AttackKind::OtherSeeds | AttackKind::ShuffledUnits => !changes_runs && !changes_values,
                AttackKind::OtherSettings | AttackKind::ShuffledLabels | AttackKind::RandomMasks => {
                    changes_runs || changes_values
                }
                AttackKind::Placebo => changes_values || changes_runs,
            };
            let attacked = |h: &&Hypothesis| attack.hypotheses.is_empty() || attack.hypotheses.contains(&h.id);
            if attack.kind == AttackKind::ShuffledUnits
                && let Some(h) = self.hypotheses.iter().filter(attacked).find(|h| h.test.is_of_one_sample())
            {
                return Err(format!(
                    "the attack {:?} shuffles the units of `{}`, whose test `{}` does not ask which value is whose; name \
                     other `hypotheses`, or use another kind of attack",
                    attack.what,
                    h.id,
                    h.test.name()
                ));
            }
            if !fits {
                return Err(format!(
                    "the attack {:?} ({}) must change something by `set`, `values` or `statistic`, except that `other_seeds` and \
                     `shuffled_units` change nothing else",
                    attack.kind, attack.what
                ));
            }
        }
        for figure in &self.figures {
            if let Some(unknown) = figure.runs.iter().find(|family| !self.runs.contains_key(*family)) {
                return Err(format!(
                    "the figure {:?} names `{unknown}`; the families are {}",
                    figure.title,
                    self.family_names()
                ));
            }
        }
        Ok(())
    }

    fn check_hypothesis(&self, h: &Hypothesis) -> Result<(), String> {
        let alpha = h.alpha.unwrap_or(self.alpha);
        if !(alpha > 0.0 && alpha < 0.5) {
            return Err(format!("`alpha` is {alpha}; expected a number between 0 and 0.5"));
        }
        if !(h.smallest_effect > 0.0 && h.smallest_effect.is_finite() && h.no_effect.is_finite()) {
            return Err("`smallest_effect` must be above 0 and finite, `no_effect` finite".to_owned());
        }
        if let Some(family) = h.runs.as_ref().filter(|family| !self.runs.contains_key(*family)) {
            return Err(format!("`runs` is {family:?}; the families are {}", self.family_names()));
        }
        let two_samples = h.test.is_of_two_samples();
        let needs_other = two_samples
            || matches!(h.test, TestKind::Page | TestKind::Jonckheere | TestKind::Spearman | TestKind::Kendall);
        if needs_other != h.against.is_some() {
            let what = if needs_other { "needs `against`" } else { "has no use for `against`" };
            return Err(format!("the test {what}: the other family of two samples, the dose, or the other quantity"));
        }
        if two_samples && h.against.as_ref().is_some_and(|family| !self.runs.contains_key(family)) {
            return Err(format!("`against` must be a family of runs: {}", self.family_names()));
        }
        if (h.test == TestKind::Prediction) == h.features.is_empty() {
            return Err("`features` belong to the test `prediction`, which needs one at least".to_owned());
        }
        let around_zero = two_samples || needs_other || h.test == TestKind::Prediction;
        if around_zero && h.no_effect != 0.0 {
            return Err("`no_effect` is 0 for this test".to_owned());
        }
        let runs = h.runs.as_ref().or_else(|| self.runs.keys().next()).and_then(|family| self.runs.get(family));
        if let Some(family) = runs {
            let independent = matches!(h.test, TestKind::Spearman | TestKind::Kendall);
            if independent && !family.vary.is_empty() && !family.own_seeds {
                return Err(
                    "the units of this test are runs: give the family that varies `own_seeds = true`".to_owned()
                );
            }
            if two_samples {
                let other = h.against.as_ref().and_then(|name| self.runs.get(name));
                let shared = other.is_some_and(|other| !other.own_seeds && !family.own_seeds);
                if shared || !family.vary.is_empty() || other.is_some_and(|other| !other.vary.is_empty()) {
                    return Err(
                        "two samples need different runs: give one of the families `own_seeds = true`, and let neither vary; of the same seeds write the difference as the statistic of a one-sample test"
                            .to_owned(),
                    );
                }
            }
            if h.test == TestKind::Page && (family.vary.len() != 1 || family.own_seeds) {
                return Err("`page` needs a family with one key in `vary` and the same seeds at every dose".to_owned());
            }
            if h.test == TestKind::Jonckheere && (family.vary.len() != 1 || !family.own_seeds) {
                return Err(
                    "`jonckheere` needs a family with one key in `vary` and `own_seeds = true`; of the same seeds at \
                     every dose use `page`"
                        .to_owned(),
                );
            }
        }
        let of_events = matches!(h.test, TestKind::Precision | TestKind::Recall);
        if of_events != h.truth.is_some() || of_events != h.factor.is_some() {
            return Err("`truth` and `factor` belong to the tests `precision` and `recall`, which need both".to_owned());
        }
        if h.minimal_seeds < 2 && !of_events {
            return Err("`minimal_seeds` must be 2 at least".to_owned());
        }
        Ok(())
    }

    pub(crate) fn family_names(&self) -> String {
        self.runs.keys().cloned().collect::<Vec<_>>().join(", ")
    }
}

impl Attack {
    /// What the attack must find for the claim to survive.
    pub fn expectation(&self) -> Expect {
        self.expect.unwrap_or(match self.kind {
            AttackKind::OtherSeeds | AttackKind::OtherSettings => Expect::Holds,
            _ => Expect::Vanishes,
        })
    }
}

fn mistake(path: &Path, text: &str, error: &toml::de::Error) -> StudyFileError {
    let line = error.span().map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count());
    StudyFileError::Toml(RunFileError { path: path.to_owned(), line, message: error.message().to_owned(), hint: None })
}
