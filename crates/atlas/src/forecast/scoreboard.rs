//! Scores of forecasts, and of forecasters against a baseline that knows only how studies came out so far.

use std::collections::BTreeMap;

use ontogeny_stats::hypothesis::{
    Interval, brier_scores, interval_coverage, interval_scores, log_scores, paired_skill,
};
use ontogeny_store::{JudgedHypothesis, Judgement, StudyVerdict};
use serde::Serialize;

use super::{check_statement, newest_registration, outcome_before, verdict_of};
use crate::registry::{Entry, Line, Prediction, Registry};

/// Level of the intervals about coverage and skill.
const LEVEL: f64 = 0.95;

/// All forecasts of a registry and what became of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scoreboard {
    /// Every forecast, in the order in which they were made.
    pub forecasts: Vec<ScoredForecast>,
    /// What each forecaster has shown so far.
    pub forecasters: BTreeMap<String, TrackRecord>,
    /// The same of all forecasts together.
    pub all: TrackRecord,
}

/// A forecast and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScoredForecast {
    /// Its identifier.
    pub id: String,
    /// Its line in the registry, from 0.
    pub index: u64,
    /// Unix time of the line, in seconds.
    pub time: u64,
    /// The study.
    pub study: String,
    /// The hypothesis.
    pub hypothesis: String,
    /// `small` or `full`.
    pub scale: String,
    /// Who made it.
    pub by: String,
    /// What was said.
    pub statement: Prediction,
    /// Why, in words.
    pub note: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a forecast.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Outcome {
    /// No verdict came after it yet.
    Open,
    /// It cannot count: the outcome was known, or it says nothing that could be scored.
    Invalid {
        /// Why.
        why: String,
    },
    /// A verdict came, and does not say how this forecast came out.
    Unresolved {
        /// Line of the verdict in the registry, from 0.
        verdict: u64,
        /// Why.
        why: String,
    },
    /// A probability that was scored.
    Probability {
        /// Line of the verdict in the registry, from 0.
        verdict: u64,
        /// Whether the hypothesis was supported.
        supported: bool,
        /// Brier score: 0 is perfect, 1 the worst.
        brier: f64,
        /// Logarithmic score in nats: 0 is perfect; `None` where what came was called impossible (infinite).
        log: Option<f64>,
        /// Probability by the baseline: (s + 1)/(n + 2) with s of the n verdicts before the forecast *supported*.
        baseline: f64,
        /// Brier score of the baseline.
        baseline_brier: f64,
        /// Logarithmic score of the baseline, in nats.
        baseline_log: f64,
    },
    /// An interval that was scored.
    Interval {
        /// Line of the verdict in the registry, from 0.
        verdict: u64,
        /// The estimate that came.
        estimate: f64,
        /// Whether it lies within.
        covered: bool,
        /// Interval score in the unit of the estimate: the width, and 2/(1 − level) times the miss.
        score: f64,
    },
}

/// What forecasts have shown together; what needs more of them is `None`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrackRecord {
    /// Forecasts made, of every kind and state.
    pub n_forecasts: usize,
    /// Those without a verdict yet.
    pub n_open: usize,
    /// Probabilities scored.
    pub n_probabilities: usize,
    /// Mean Brier score.
    pub brier: Option<f64>,
    /// Mean logarithmic score in nats; `None` also where one is infinite.
    pub log: Option<f64>,
    /// By what share Brier scores are smaller than those of the baseline.
    pub brier_skill: Option<Skill>,
    /// The same of logarithmic scores.
    pub log_skill: Option<Skill>,
    /// How often intervals covered, by their level, ascending.
    pub coverage: Vec<Coverage>,
}

/// 1 − mean score/mean score of the baseline, with its 95 % interval (Fieller): 1 is perfect, 0 as good as the baseline.
///
/// The interval takes forecasts for independent; several of one study are not, and it is then too narrow.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Skill {
    /// The skill.
    pub estimate: f64,
    /// Lower end; `None` where the data do not bound it.
    pub lower: Option<f64>,
    /// Upper end.
    pub upper: Option<f64>,
}

/// Of the intervals at one level, how many contain what came: calibrated where `lower` to `upper` contains the level.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Coverage {
    /// The level.
    pub level: f64,
    /// Intervals scored.
    pub n: usize,
    /// Those that contain the estimate.
    pub n_covered: usize,
    /// Lower end of the share's exact 95 % interval.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
}

/// Scores every forecast of the registry by the first verdict after it. `verdicts` are the verdict files, by study and scale.
///
/// A file counts where it agrees with that verdict's line in registration, outcome and p-value; otherwise the study was judged again
/// since, and the forecast stays unresolved.
pub fn score(registry: &Registry, verdicts: &BTreeMap<(String, String), StudyVerdict>) -> Scoreboard {
    let forecasts: Vec<ScoredForecast> =
        registry.lines().iter().filter_map(|line| scored(registry, line, verdicts)).collect();
    let mut by_forecaster: BTreeMap<String, Vec<&ScoredForecast>> = BTreeMap::new();
    for forecast in &forecasts {
        by_forecaster.entry(forecast.by.clone()).or_default().push(forecast);
    }
    let forecasters = by_forecaster.into_iter().map(|(by, forecasts)| (by, TrackRecord::of(&forecasts))).collect();
    let all = TrackRecord::of(&forecasts.iter().collect::<Vec<_>>());
    Scoreboard { forecasts, forecasters, all }
}

/// A line that is a forecast.
fn scored(
    registry: &Registry,
    line: &Line,
    verdicts: &BTreeMap<(String, String), StudyVerdict>,
) -> Option<ScoredForecast> {
    let Entry::Forecast { id, study, hypothesis, scale, by, statement, note } = line.entry.clone() else { return None };
    let outcome = outcome(registry, line, &hypothesis, statement, verdicts.get(&(study.clone(), scale.clone())));
    let Line { index, time, .. } = *line;
    Some(ScoredForecast { id, index, time, study, hypothesis, scale, by, statement, note, outcome })
}

fn outcome(
    registry: &Registry,
    line: &Line,
    hypothesis: &str,
    statement: Prediction,
    file: Option<&StudyVerdict>,
) -> Outcome {
    let Entry::Forecast { study, scale, .. } = &line.entry else { return Outcome::Open };
    let (before, after) = registry.lines().split_at(line.index as usize);
    if let Err(error) = check_statement(study, statement) {
        return Outcome::Invalid { why: error.to_string() };
    }
    if let Some(known) = outcome_before(before, study, scale) {
        return Outcome::Invalid { why: format!("made after its verdict, line {} of the registry", known.index + 1) };
    }
    // A verdict under a registration that was superseded already does not answer it.
    let since = newest_registration(before, study).map_or(0, |registered| registered.index);
    let came = after.iter().find(|of| {
        verdict_of(of, study, scale)
            .is_some_and(|under| registry.line(under).is_none_or(|registered| registered.index >= since))
    });
    let Some(came) = came else { return Outcome::Open };
    let verdict = came.index;
    let resolved = judged(came, hypothesis, file).and_then(|found| resolve(before, verdict, statement, found));
    resolved.unwrap_or_else(|why| Outcome::Unresolved { verdict, why })
}

/// The hypothesis in the file of the verdict of this line.
fn judged<'a>(came: &Line, hypothesis: &str, file: Option<&'a StudyVerdict>) -> Result<&'a JudgedHypothesis, String> {
    let Entry::Verdict { registration, outcome, p_values, .. } = &came.entry else {
        return Err("no verdict".to_owned());
    };
    let file = file.ok_or("the file of the verdict is missing")?;
    let found = file.hypotheses.iter().find(|of| of.id == hypothesis);
    let has_p = |found: &JudgedHypothesis| match (found.p_value, p_values.get(hypothesis)) {
        (Some(found), Some(expected)) => found == *expected,
        _ => true,
    };
    if file.registration.hash != *registration || file.outcome != *outcome || !found.is_none_or(has_p) {
        return Err(format!(
            "the verdict of line {} of the registry was replaced by another since: its file does not agree with the line",
            came.index + 1
        ));
    }
    found.ok_or_else(|| format!("the verdict has no hypothesis `{hypothesis}`"))
}

/// The score of a statement by what was found.
fn resolve(before: &[Line], verdict: u64, statement: Prediction, found: &JudgedHypothesis) -> Result<Outcome, String> {
    let wrong = |error: ontogeny_stats::ArrayError| error.to_string();
    match statement {
        Prediction::Probability { supported: probability } => {
            let supported = found.outcome == Judgement::Supported;
            let baseline = baseline(before);
            let (both, came) = ([probability, baseline], [supported; 2]);
            let brier = brier_scores(&both, &came).map_err(wrong)?;
            let log = log_scores(&both, &came).map_err(wrong)?;
            Ok(Outcome::Probability {
                verdict,
                supported,
                brier: brier[0],
                log: Some(log[0]).filter(|score| score.is_finite()),
                baseline,
                baseline_brier: brier[1],
                baseline_log: log[1],
            })
        }
        Prediction::Interval { lower, upper, level } => {
            let effect = found.effect.as_ref().ok_or("nothing could be estimated")?;
            let (interval, estimate) = (Interval { lower, upper, level }, effect.estimate);
            let score = interval_scores(&[interval], &[estimate]).map_err(wrong)?[0];
            Ok(Outcome::Interval { verdict, estimate, covered: interval.contains(estimate), score })
        }
    }
}

/// Share of *supported* among the newest verdicts of each study and scale before a forecast, after Laplace: never 0 or 1.
fn baseline(before: &[Line]) -> f64 {
    let mut newest: BTreeMap<(&str, &str), Judgement> = BTreeMap::new();
    for line in before {
        if let Entry::Verdict { study, scale, outcome, .. } = &line.entry {
            newest.insert((study, scale), *outcome);
        }
    }
    let n_supported = newest.values().filter(|outcome| **outcome == Judgement::Supported).count();
    (n_supported + 1) as f64 / (newest.len() + 2) as f64
}

impl TrackRecord {
    fn of(forecasts: &[&ScoredForecast]) -> Self {
        let (mut brier, mut log) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
        let mut intervals: Vec<(Interval, f64)> = Vec::new();
        for forecast in forecasts {
            match (&forecast.outcome, forecast.statement) {
                (Outcome::Probability { brier: score, log: log_score, baseline_brier, baseline_log, .. }, _) => {
                    brier.0.push(*score);
                    brier.1.push(*baseline_brier);
                    log.0.push(log_score.unwrap_or(f64::INFINITY));
                    log.1.push(*baseline_log);
                }
                (Outcome::Interval { estimate, .. }, Prediction::Interval { lower, upper, level }) => {
                    intervals.push((Interval { lower, upper, level }, *estimate));
                }
                _ => {}
            }
        }
        Self {
            n_forecasts: forecasts.len(),
            n_open: forecasts.iter().filter(|forecast| forecast.outcome == Outcome::Open).count(),
            n_probabilities: brier.0.len(),
            brier: mean(&brier.0),
            log: mean(&log.0),
            brier_skill: skill(&brier.0, &brier.1),
            log_skill: skill(&log.0, &log.1),
            coverage: coverage(intervals),
        }
    }
}

/// The mean; `None` of nothing, or where it is infinite.
fn mean(values: &[f64]) -> Option<f64> {
    Some(values.iter().sum::<f64>() / values.len() as f64).filter(|mean| mean.is_finite())
}

/// `None` where it is not defined: fewer than two forecasts, an infinite score, the same saving each time.
fn skill(scores: &[f64], of_baseline: &[f64]) -> Option<Skill> {
    let found = paired_skill(scores, of_baseline, LEVEL).ok()?.skill;
    let bounded = |end: f64| Some(end).filter(|end| end.is_finite());
    Some(Skill { estimate: found.estimate, lower: bounded(found.interval.lower), upper: bounded(found.interval.upper) })
}

fn coverage(mut intervals: Vec<(Interval, f64)>) -> Vec<Coverage> {
    intervals.sort_by(|(a, _), (b, _)| a.level.total_cmp(&b.level));
    let of_level = |group: &[(Interval, f64)]| {
        let (of, estimates): (Vec<Interval>, Vec<f64>) = group.iter().copied().unzip();
        let share = interval_coverage(&of, &estimates, LEVEL).ok()?.interval;
        let n_covered = group.iter().filter(|(interval, estimate)| interval.contains(*estimate)).count();
        Some(Coverage { level: of[0].level, n: group.len(), n_covered, lower: share.lower, upper: share.upper })
    };
    intervals.chunk_by(|(a, _), (b, _)| a.level == b.level).filter_map(of_level).collect()
}
