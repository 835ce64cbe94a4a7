//! `ontogeny explain`: which parts of a network are responsible for a transition of a run, or for an answer.

use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ontogeny_observe::interventions::{
    AblateBy, Ablation, Behaviour, Component, Effect, Evidence, Explainer, Limits, Pairs,
};
use ontogeny_observe::{Checkpoint, Evaluator, ObserveError, Subject};
use ontogeny_posterior::{Estimate, Execution, Progress, Restriction};
use ontogeny_stats::normal_quantile;
use ontogeny_store::Transition;
use ontogeny_zoo::{Split, SubtaskBy};
use serde::Serialize;

use crate::llc_config::LlcConfig;
use crate::sections::{ObservableConfig, Parts};
use crate::{OpenedRun, StudyError};

/// A part is responsible where its effect is told from 0 with this probability of an error, divided by the number of parts …
const ALPHA: f64 = 0.05;

/// … and is at least this share of the whole.
const LEAST_SHARE: f64 = 0.05;

/// What is to be explained, and at what cost.
#[derive(Debug, Clone, PartialEq)]
pub struct ExplainSettings {
    /// What.
    pub question: Question,
    /// Parts that come into question; all heads and MLPs, or hidden layers, unless given.
    pub parts: Vec<String>,
    /// Examples at most.
    pub prompts: usize,
    /// Seconds after which nothing new is begun.
    pub seconds: f64,
    /// Threads of chains.
    pub threads: NonZero<usize>,
}

/// What is to be explained.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// A transition of the run, from 1, as `show` counts them.
    Transition(usize),
    /// An answer.
    Behaviour {
        /// The prompt: a text where the task knows the words of its tokens, else ids between spaces.
        input: String,
        /// The answer: one token, written like the prompt.
        target: String,
        /// The answer to compare with.
        foil: Option<String>,
        /// The prompt to compare with.
        against: Option<String>,
        /// At which checkpoint; the last unless given.
        step: Option<u64>,
    },
}

/// The parts of a network with what speaks for each, the most responsible first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// What was asked, in words.
    pub question: String,
    /// Step of the checkpoint at which the evidence was taken.
    pub step: u64,
    /// Step of the checkpoint before the transition; its evidence is subtracted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Difference of the logits of the right and the wrong answers, as mean over the pairs, less that before the transition.
    pub clean: f64,
    /// The same of the corrupted examples.
    pub corrupted: f64,
    /// The parts, in their order.
    pub parts: Vec<PartExplanation>,
    /// Pairs of examples that were used.
    pub prompts: usize,
    /// Examples that went forward, each run of an example counted.
    pub n_forward: u64,
    /// Examples that went backward.
    pub n_backward: u64,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// What was not done, each with its reason.
    pub left_out: Vec<String>,
}

/// What speaks for one part.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartExplanation {
    /// Its label, such as `l0h2`.
    pub part: String,
    /// Whether it is held responsible: `needed` is told from 0 at 5 % over all parts, and is at least a twentieth of the whole.
    pub is_responsible: bool,
    /// `needed` over the difference between clean and corrupted examples.
    pub share: Option<f64>,
    /// Patching both ways, attribution and direct shares, in logits; less those before the transition.
    #[serde(flatten)]
    pub evidence: Evidence,
    /// Rise of the loss by mean ablation, less that before the transition; of transitions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ablation: Option<Effect>,
    /// Rise of the loss when its weights are those before the transition; of transitions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewind: Option<f64>,
    /// Distance of its weights from those before the transition, over their norm there; of transitions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moved: Option<f64>,
    /// Learning coefficient restricted to its weights, less that before the transition, with its standard error; of transitions of runs
    /// that measure one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub llc: Option<Effect>,
}

impl OpenedRun {
    /// Ranks the parts of the network by how responsible they are.
    ///
    /// # Errors
    /// No such transition, checkpoint, part or token; a network whose answers have no classes; or an interruption.
    pub fn explain(&self, settings: &ExplainSettings, cancel: &AtomicBool) -> Result<Explanation, StudyError> {
        let start = Instant::now();
        let failed = |error: ObserveError| match error {
            ObserveError::Cancelled => StudyError::Interrupted,
            other => StudyError::Folder(other.to_string()),
        };
        if settings.prompts == 0 || !(settings.seconds > 0.0 && settings.seconds.is_finite()) {
            let found = format!("a budget of {} prompts and {} seconds", settings.prompts, settings.seconds);
            return Err(StudyError::Folder(format!(
                "{found}; expected at least 1 prompt and a number of seconds above 0"
            )));
        }
        let until = start + Duration::from_secs_f64(settings.seconds.min(1e9));
        let parts = Component::chosen(self.model(), &settings.parts).map_err(failed)?;
        let asked = self.asked(&settings.question, settings.prompts).map_err(|error| match error {
            Asking::Observe(error) => failed(error),
            Asking::Study(error) => error,
        })?;
        let weights = self.weights(asked.step)?;
        let before = asked.before.map(|step| self.weights(step)).transpose()?;
        let at = |weights| Checkpoint { threads: settings.threads, cancel, ..Checkpoint::alone(weights) };

        let mut explainer = Explainer::new(self.model(), &parts, &asked.pairs).map_err(failed)?;
        // What comes first leaves the rest of the time to what follows: half of it where there is a second checkpoint.
        let share = |part: f64| start + until.saturating_duration_since(start).mul_f64(part);
        let (mut evidence, mut clean, mut corrupted) =
            explainer.evidence(&at(&weights), if before.is_some() { share(0.3) } else { until }).map_err(failed)?;
        let mut left_out = Vec::new();
        let (mut ablations, mut rewinds, mut moves) = (Vec::new(), Vec::new(), Vec::new());
        let mut n_forward = 0;
        if let Some(before) = &before {
            let (earlier, own_clean, own_corrupted) = explainer.evidence(&at(before), share(0.6)).map_err(failed)?;
            for (now, earlier) in evidence.iter_mut().zip(&earlier) {
                *now = less(now, earlier);
            }
            (clean, corrupted) = (clean - own_clean, corrupted - own_corrupted);
            let data = &asked.pairs_data;
            let subject = Subject { model: self.model(), task: self.task(), seed: self.seed() };
            let mut ablation = Ablation::new(&subject, parts.clone(), data, AblateBy::Mean, false).map_err(failed)?;
            let order: Vec<usize> = (0..parts.len()).collect();
            let within = |part| Some(Limits { order: &order, until: share(part) });
            let now = ablation.effects_within(&at(&weights), within(0.75)).map_err(failed)?.0;
            let earlier = ablation.effects_within(&at(before), within(0.9)).map_err(failed)?.0;
            ablations = now.into_iter().zip(earlier).map(|(now, earlier)| difference(now, earlier)).collect();
            n_forward += ablation.n_forward();
            [rewinds, moves] = self.rewound(&parts, &weights, before, data).map_err(failed)?;
            n_forward += ((rewinds.iter().flatten().count() + 1) * data.len()) as u64;
        }
        let whole = clean - corrupted;
        let z = normal_quantile(1.0 - ALPHA / (2.0 * parts.len() as f64));
        let mut found: Vec<PartExplanation> = parts
            .iter()
            .enumerate()
            .map(|(i, part)| {
                let needed = evidence[i].needed;
                let share = needed.map(|needed| needed.mean / whole).filter(|share| share.is_finite());
                let is_told =
                    needed.is_some_and(|needed| needed.mean.abs() > z * needed.standard_error && needed.mean != 0.0);
                PartExplanation {
                    part: part.label.clone(),
                    is_responsible: is_told && share.is_some_and(|share| share.abs() >= LEAST_SHARE),
                    share,
                    evidence: evidence[i],
                    ablation: ablations.get(i).copied().flatten(),
                    rewind: rewinds.get(i).copied().flatten(),
                    moved: moves.get(i).copied().flatten(),
                    llc: None,
                }
            })
            .collect();
        let size = |part: &PartExplanation| part.evidence.needed.map_or(-1.0, |needed| needed.mean.abs());
        found.sort_by(|a, b| size(b).total_cmp(&size(a)));
        let n_untested = found.iter().filter(|part| part.evidence.needed.is_none()).count();
        if n_untested > 0 {
            left_out.push(format!(
                "{n_untested} of {} parts, those of the smallest attribution: {} seconds were over",
                parts.len(),
                settings.seconds
            ));
        }
        if let Some(before) = &before {
            left_out.extend(self.coefficients(&mut found, &weights, before, until, settings.threads, cancel)?);
        }
        Ok(Explanation {
            question: asked.words,
            step: asked.step,
            before: asked.before,
            clean,
            corrupted,
            parts: found,
            prompts: asked.pairs.len(),
            n_forward: explainer.n_forward() + n_forward,
            n_backward: explainer.n_backward(),
            seconds: start.elapsed().as_secs_f64(),
            left_out,
        })
    }

    fn asked(&self, question: &Question, prompts: usize) -> Result<Asked, Asking> {
        match question {
            Question::Transition(number) => self.asked_of_transition(*number, prompts),
            Question::Behaviour { input, target, foil, against, step } => {
                let step = self.step_or_last(*step)?;
                let one = |text: &str| match self.tokens(text)?.as_slice() {
                    [id] => Ok(*id),
                    many => Err(folder(&format!("the answer `{text}` is {} tokens; expected one", many.len()))),
                };
                let behaviour = Behaviour {
                    prompt: self.tokens(input)?,
                    target: one(target)?,
                    foil: foil.as_deref().map(one).transpose()?,
                    against: against.as_deref().map(|text| self.tokens(text)).transpose()?,
                };
                let split = self.task().evaluation_split(None).map_err(ObserveError::Setting)?;
                let pairs = behaviour.pairs(self.model(), &split.data, prompts, self.seed())?;
                let words = format!("the answer `{target}` after `{input}`");
                Ok(Asked { words, step, before: None, pairs_data: pairs.clean.clone(), pairs })
            }
        }
    }

    fn asked_of_transition(&self, number: usize, prompts: usize) -> Result<Asked, Asking> {
        let transitions = self.transitions()?;
        let transition = number.checked_sub(1).and_then(|at| transitions.get(at)).ok_or_else(|| {
            let n = transitions.len();
            folder(&format!(
                "the run has no transition {number}; found {n}, counted from 1 as `ontogeny show` lists them"
            ))
        })?;
        let steps = self.steps()?;
        let before = steps.iter().rev().find(|&&step| (step as f64) <= transition.start).or(steps.first());
        let after = steps.iter().find(|&&step| (step as f64) >= transition.end).or(steps.last());
        let (Some(&before), Some(&after)) = (before, after) else {
            return Err(folder("the run has no checkpoints").into());
        };
        let (split, subtask) = self.measured_on(transition)?;
        let n_answers = self.model().interface().answers();
        let counts = |row: usize, answer: usize| match subtask {
            None => true,
            Some((number, SubtaskBy::Answer)) => answer == number,
            Some((number, SubtaskBy::Example)) => split.subtasks.get(row).is_some_and(|own| *own as usize == number),
            Some((number, SubtaskBy::EachAnswer)) => {
                split.subtasks.get(row * n_answers + answer).is_some_and(|own| *own as usize == number)
            }
        };
        let n = split.data.len();
        let fitting: Vec<usize> = (0..n).filter(|&row| (0..n_answers).any(|answer| counts(row, answer))).collect();
        let taken = prompts.min(fitting.len());
        let rows: Vec<usize> = (0..taken).map(|i| fitting[i * fitting.len() / taken]).collect();
        let pairs = Pairs::of_answers(self.model(), &split.data, &rows, self.seed(), &counts)?;
        let label = transition.label.as_ref().map_or_else(String::new, |label| format!(" ({label})"));
        let words = format!("transition {number}{label}: {} at step {:.0}", transition.observable, transition.step);
        Ok(Asked { words, step: after, before: Some(before), pairs, pairs_data: split.data.rows(&rows) })
    }

    /// The split that a series is of, and its sub-task where it is of one.
    fn measured_on(&self, transition: &Transition) -> Result<MeasuredOn<'_>, ObserveError> {
        let (name, label) = transition.observable.split_once('.').unwrap_or((&transition.observable, ""));
        let measure = self.measures().iter().find(|measure| measure.name == name);
        let of_subtasks = match measure.map(|measure| &measure.observable) {
            Some(ObservableConfig::SubtaskLoss(config) | ObservableConfig::SubtaskAccuracy(config)) => Some(config),
            _ => None,
        };
        if let (Some(config), Some(subtasks)) = (of_subtasks, &self.task().subtasks) {
            let split = self.task().evaluation_split(config.split.as_deref()).map_err(ObserveError::Setting)?;
            let number = subtasks.names.iter().position(|own| own == label);
            return Ok((split, number.map(|number| (number, subtasks.by))));
        }
        let split = match self.task().split(label) {
            Some(split) => split,
            None => self.task().evaluation_split(None).map_err(ObserveError::Setting)?,
        };
        Ok((split, None))
    }

    /// The tokens of a text, or ids between spaces.
    fn tokens(&self, text: &str) -> Result<Vec<i32>, StudyError> {
        match &self.task().words {
            Some(words) => words.encode(text).map_err(|error| folder(&error.to_string())),
            None => text
                .split_whitespace()
                .map(|id| {
                    id.parse().map_err(|_| {
                        folder(&format!(
                            "`{id}` in `{text}`; expected ids of tokens between spaces, because the task has no words"
                        ))
                    })
                })
                .collect(),
        }
    }

    /// For each part the rise of the loss with the weights it had before, and how far they have moved; nothing where the part has no
    /// weights of its own.
    fn rewound(
        &self,
        parts: &[Component],
        weights: &[f32],
        before: &[f32],
        data: &ontogeny_graph::DataSet,
    ) -> Result<[Vec<Option<f64>>; 2], ObserveError> {
        let mut evaluator = Evaluator::new(self.model())?;
        let loss = evaluator.evaluate(weights, data)?.loss;
        let (mut rewinds, mut moves) = (Vec::new(), Vec::new());
        for part in parts {
            let restriction = Restriction::union(&[&part.label]).and_then(|own| own.resolve(self.model().space()));
            let Ok(selection) = restriction else {
                rewinds.push(None);
                moves.push(None);
                continue;
            };
            let mut changed = weights.to_vec();
            let (mut distance, mut norm) = (0.0, 0.0);
            for at in selection.ranges().iter().flat_map(Clone::clone) {
                changed[at] = before[at];
                distance += f64::from(weights[at] - before[at]).powi(2);
                norm += f64::from(before[at]).powi(2);
            }
            rewinds.push(Some(evaluator.evaluate(&changed, data)?.loss - loss));
            moves.push(Some((distance / norm).sqrt()).filter(|moved| moved.is_finite()));
        }
        Ok([rewinds, moves])
    }

    /// Restricted learning coefficients of the parts that are held responsible, as long as there is time; what was not done is
    /// returned.
    fn coefficients(
        &self,
        found: &mut [PartExplanation],
        weights: &[f32],
        before: &[f32],
        until: Instant,
        threads: NonZero<usize>,
        cancel: &AtomicBool,
    ) -> Result<Vec<String>, StudyError> {
        let config = self.measures().iter().find_map(|measure| match &measure.observable {
            ObservableConfig::Llc(config) if !config.awaits_calibration() => Some(config),
            _ => None,
        });
        let Some(config) = config else {
            return Ok(vec![
                "restricted learning coefficients: the run measures no `llc` whose settings are known".to_owned(),
            ]);
        };
        let objective = self.objective("train")?;
        let mut left_out = Vec::new();
        for part in found.iter_mut().filter(|part| part.is_responsible) {
            let restricted =
                LlcConfig { restrict: Parts(vec![part.part.clone()]), calibrate: None, ..(**config).clone() };
            let Ok(llc) = restricted.llc(self.seed()) else { continue };
            if llc.check(&objective).is_err() {
                continue;
            }
            // Ends with the time, or with the command.
            let is_over = AtomicBool::new(false);
            let tell = |_: Progress| {
                if Instant::now() >= until || cancel.load(Ordering::Relaxed) {
                    is_over.store(true, Ordering::Relaxed);
                }
            };
            let execution = Execution { threads, progress: Some(&tell), cancel: Some(&is_over) };
            let estimates = [weights, before].map(|weights| llc.estimate_with(&objective, weights, &execution));
            if cancel.load(Ordering::Relaxed) {
                return Err(StudyError::Interrupted);
            }
            match estimates {
                [Ok(Estimate::Ok { value, mcse, .. }), Ok(Estimate::Ok { value: earlier, mcse: own, .. })] => {
                    part.llc = Some(Effect { mean: value - earlier, standard_error: mcse.hypot(own) });
                }
                [Ok(a), Ok(b)] => left_out.push(format!(
                    "the learning coefficient of {}: {} after, {} before the transition",
                    part.part,
                    a.verdict(),
                    b.verdict()
                )),
                _ => left_out.push(format!("the learning coefficient of {}: time was over", part.part)),
            }
        }
        Ok(left_out)
    }
}

/// What is looked at.
struct Asked {
    words: String,
    step: u64,
    before: Option<u64>,
    pairs: Pairs,
    /// The clean examples with the columns of the task alone.
    pairs_data: ontogeny_graph::DataSet,
}

/// A split, and the number of the sub-task that is meant.
type MeasuredOn<'a> = (&'a Split, Option<(usize, SubtaskBy)>);

/// Why a question cannot be asked.
enum Asking {
    Study(StudyError),
    Observe(ObserveError),
}

impl From<StudyError> for Asking {
    fn from(error: StudyError) -> Self {
        Self::Study(error)
    }
}

impl From<ObserveError> for Asking {
    fn from(error: ObserveError) -> Self {
        Self::Observe(error)
    }
}

fn folder(message: &str) -> StudyError {
    StudyError::Folder(message.to_owned())
}

/// Evidence less that of an earlier checkpoint. The errors of both add up as of independent ones: of the same examples they are rather
/// smaller.
fn less(now: &Evidence, earlier: &Evidence) -> Evidence {
    Evidence {
        needed: difference(now.needed, earlier.needed),
        suffices: difference(now.suffices, earlier.suffices),
        attribution: difference(now.attribution, earlier.attribution),
        direct: difference(now.direct, earlier.direct),
    }
}

fn difference(now: Option<Effect>, earlier: Option<Effect>) -> Option<Effect> {
    let (now, earlier) = (now?, earlier?);
    Some(Effect { mean: now.mean - earlier.mean, standard_error: now.standard_error.hypot(earlier.standard_error) })
}
