//! `ontogeny explain`: which parts of a network are responsible for a transition of a run, or for an answer.

use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ontogeny_graph::DataSet;
use ontogeny_observe::interventions::{
    AblateBy, Ablation, Behaviour, Component, Effect, Evidence, Explainer, Limits, Pairs, Samples, differences,
};
use ontogeny_observe::{Checkpoint, ObserveError, OutputReader, Outputs, Subject};
use ontogeny_posterior::{Estimate, Execution, LlcError, Progress, Restriction};
use ontogeny_stats::student_quantile;
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
    /// Steps of chains for learning coefficients, each a gradient over a batch.
    pub n_chain_steps: u64,
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
        // What comes first leaves the rest of the time to what follows.
        let share = |part: f64| start + until.saturating_duration_since(start).mul_f64(part);
        let (mut samples, mut clean, mut corrupted) =
            explainer.samples(&at(&weights), if before.is_some() { share(0.3) } else { until }).map_err(failed)?;
        let mut left_out = Vec::new();
        let (mut ablations, mut rewinds, mut moves) = (Vec::new(), Vec::new(), Vec::new());
        let mut n_forward = 0;
        if let Some(before) = &before {
            let (earlier, own_clean, own_corrupted) = explainer.samples(&at(before), share(0.6)).map_err(failed)?;
            samples = samples.iter().zip(&earlier).map(|(now, earlier)| now.minus(earlier)).collect();
            (clean, corrupted) = (clean - own_clean, corrupted - own_corrupted);
            let subject = Subject { model: self.model(), task: self.task(), seed: self.seed() };
            let ablation = Ablation::new(&subject, parts.clone(), &asked.data, AblateBy::Mean, false);
            let mut ablation = ablation.map_err(failed)?.with_answer_weights(asked.answer_weights.clone());
            let order: Vec<usize> = (0..parts.len()).collect();
            let within = |part| Some(Limits { order: &order, until: share(part) });
            let now = ablation.samples_within(&at(&weights), within(0.7)).map_err(failed)?.0;
            let earlier = ablation.samples_within(&at(before), within(0.8)).map_err(failed)?.0;
            ablations = now.iter().zip(&earlier).map(|(now, earlier)| Effect::of(&differences(now, earlier))).collect();
            n_forward += ablation.n_forward();
            let rewound = self.rewound(&parts, &weights, before, &asked, (share(0.9), cancel)).map_err(failed)?;
            n_forward += rewound.n_forward;
            (rewinds, moves) = (rewound.rises, rewound.distances);
        }
        let evidence: Vec<Evidence> = samples.iter().map(Samples::evidence).collect();
        let whole = clean - corrupted;
        let level = 1.0 - ALPHA / (2.0 * parts.len() as f64);
        let mut found: Vec<PartExplanation> = parts
            .iter()
            .enumerate()
            .map(|(i, part)| {
                let needed = evidence[i].needed;
                let share = needed.map(|needed| needed.mean / whole).filter(|share| share.is_finite());
                // Of a single pair there is no error, and nothing is told from anything.
                let is_told = needed.is_some_and(|needed| {
                    let bound = student_quantile(level, needed.n.saturating_sub(1) as f64) * needed.standard_error;
                    needed.mean.abs() > bound && needed.mean != 0.0
                });
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
        let n_one_way = found.iter().filter(|part| part.evidence.suffices.is_none()).count();
        if n_one_way > n_untested {
            left_out.push(format!(
                "`suffices` of {n_one_way} of {} parts: {} seconds were over",
                parts.len(),
                settings.seconds
            ));
        }
        if asked.pairs.len() == 1 {
            left_out.push("who is responsible: a single pair of examples has no error; take more with --budget-prompts, and no --against".to_owned());
        }
        let mut n_chain_steps = 0;
        if let Some(before) = &before {
            let known = self.coefficients(&mut found, &weights, before, until, settings.threads, cancel)?;
            left_out.extend(known.left_out);
            n_chain_steps = known.n_chain_steps;
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
            n_chain_steps,
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
                Ok(Asked { words, step, before: None, data: pairs.clean.clone(), answer_weights: None, pairs })
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
        // Of a sub-task its answers alone, all alike.
        let answer_weights = subtask.map(|_| {
            let of_row = |&row: &usize| {
                let own: Vec<f64> = (0..n_answers).map(|answer| f64::from(u8::from(counts(row, answer)))).collect();
                let n = own.iter().sum::<f64>();
                own.into_iter().map(move |weight| weight / n)
            };
            rows.iter().flat_map(of_row).collect()
        });
        Ok(Asked { words, step: after, before: Some(before), pairs, data: split.data.rows(&rows), answer_weights })
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
    /// weights of its own, or where time was over.
    fn rewound(
        &self,
        parts: &[Component],
        weights: &[f32],
        before: &[f32],
        asked: &Asked,
        (until, cancel): (Instant, &AtomicBool),
    ) -> Result<Rewound, ObserveError> {
        let mut reader = OutputReader::new(self.model(), asked.data.clone(), Outputs::Losses)?;
        let mut n_forward = 0;
        let mut loss_of = |weights: &[f32]| -> Result<f64, ObserveError> {
            n_forward += asked.data.len() as u64;
            let losses = reader.read(weights)?;
            let width = reader.width();
            let n = asked.data.len() as f64;
            Ok(match &asked.answer_weights {
                Some(own) => losses.iter().zip(own).map(|(&loss, weight)| f64::from(loss) * weight).sum::<f64>() / n,
                None => losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / (n * width as f64),
            })
        };
        let loss = loss_of(weights)?;
        let (mut rises, mut distances) = (Vec::new(), Vec::new());
        for part in parts {
            if cancel.load(Ordering::Relaxed) {
                return Err(ObserveError::Cancelled);
            }
            let restriction = Restriction::union(&[&part.label]).and_then(|own| own.resolve(self.model().space()));
            let selection = restriction.ok().filter(|_| Instant::now() < until);
            let Some(selection) = selection else {
                rises.push(None);
                distances.push(None);
                continue;
            };
            let mut changed = weights.to_vec();
            let (mut distance, mut norm) = (0.0, 0.0);
            for at in selection.ranges().iter().flat_map(Clone::clone) {
                changed[at] = before[at];
                distance += f64::from(weights[at] - before[at]).powi(2);
                norm += f64::from(before[at]).powi(2);
            }
            rises.push(Some(loss_of(&changed)? - loss));
            distances.push(Some((distance / norm).sqrt()).filter(|moved| moved.is_finite()));
        }
        Ok(Rewound { rises, distances, n_forward })
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
    ) -> Result<Known, StudyError> {
        let config = self.measures().iter().find_map(|measure| match &measure.observable {
            ObservableConfig::Llc(config) if !config.awaits_calibration() => Some(config),
            _ => None,
        });
        let Some(config) = config else {
            let left_out =
                vec!["restricted learning coefficients: the run measures no `llc` whose settings are known".to_owned()];
            return Ok(Known { left_out, n_chain_steps: 0 });
        };
        let objective = self.objective("train")?;
        let (mut left_out, mut n_chain_steps) = (Vec::new(), 0);
        for part in found.iter_mut().filter(|part| part.is_responsible) {
            let restricted =
                LlcConfig { restrict: Parts(vec![part.part.clone()]), calibrate: None, ..(**config).clone() };
            let checked = restricted.llc(self.seed()).and_then(|llc| {
                llc.check(&objective).map_err(|error| error.to_string())?;
                Ok(llc)
            });
            let llc = match checked {
                Ok(llc) => llc,
                Err(why) => {
                    left_out.push(format!("the learning coefficient of {}: {why}", part.part));
                    continue;
                }
            };
            if Instant::now() >= until {
                left_out.push(format!("the learning coefficient of {}: time was over", part.part));
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
            n_chain_steps += 2 * (llc.chains * (llc.burn_in + llc.draws)) as u64;
            if cancel.load(Ordering::Relaxed) {
                return Err(StudyError::Interrupted);
            }
            match estimates {
                [Ok(Estimate::Ok { value, mcse, .. }), Ok(Estimate::Ok { value: earlier, mcse: own, .. })] => {
                    // Chains at two checkpoints are independent but for their noise.
                    part.llc = Some(Effect { mean: value - earlier, standard_error: mcse.hypot(own), n: llc.chains });
                }
                [Ok(a), Ok(b)] => left_out.push(format!(
                    "the learning coefficient of {}: {} after, {} before the transition",
                    part.part,
                    a.verdict(),
                    b.verdict()
                )),
                [Err(LlcError::Cancelled), _] | [_, Err(LlcError::Cancelled)] => {
                    left_out.push(format!("the learning coefficient of {}: time was over", part.part));
                }
                [Err(error), _] | [_, Err(error)] => {
                    left_out.push(format!("the learning coefficient of {}: {error}", part.part));
                }
            }
        }
        Ok(Known { left_out, n_chain_steps })
    }
}

/// What is looked at.
struct Asked {
    words: String,
    step: u64,
    before: Option<u64>,
    pairs: Pairs,
    /// The clean examples with the columns of the task alone.
    data: DataSet,
    /// What each answer counts, `[example, answers]`, where not all do.
    answer_weights: Option<Vec<f64>>,
}

/// What the weights before a transition do.
struct Rewound {
    /// Of each part the rise of the loss.
    rises: Vec<Option<f64>>,
    /// And how far its weights have gone, relative to their norm.
    distances: Vec<Option<f64>>,
    n_forward: u64,
}

/// Of learning coefficients.
struct Known {
    left_out: Vec<String>,
    n_chain_steps: u64,
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
