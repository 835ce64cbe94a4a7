//! Predictions made before the outcome is there.
//!
//! A forecast is a line of the registry, so that it provably came before the verdict that it is scored by: the first of its study and
//! scale after it. It is refused once there is a verdict under the study's newest registration; a study that is not registered yet, or
//! was registered again, is open. The scores: `forecast/scoreboard.rs`.

mod scoreboard;

pub use scoreboard::{Coverage, Outcome, Scoreboard, ScoredForecast, Skill, TrackRecord, score};

use crate::registry::{Entry, Line, Prediction, Registry, RegistryError};

/// A forecast that is about to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct NewForecast {
    /// Identifier of the study, which need not be registered yet.
    pub study: String,
    /// Name of the hypothesis in it.
    pub hypothesis: String,
    /// `small` or `full`.
    pub scale: String,
    /// Who makes it.
    pub by: String,
    /// What is said.
    pub statement: Prediction,
    /// Why, in words; may be empty.
    pub note: String,
}

/// Why a forecast was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum ForecastError {
    /// No probability.
    #[error("in the forecast of {study}: found a probability of {found}, expected a number from 0 to 1")]
    Probability {
        /// The study.
        study: String,
        /// The number.
        found: f64,
    },
    /// No interval.
    #[error(
        "in the forecast of {study}: found an interval from {lower} to {upper}, expected two finite numbers, the lower end below the upper"
    )]
    Interval {
        /// The study.
        study: String,
        /// Its lower end.
        lower: f64,
        /// Its upper end.
        upper: f64,
    },
    /// No level of an interval.
    #[error(
        "in the forecast of {study}: found an interval at level {found}, expected a number between 0 and 1, such as 0.8"
    )]
    Level {
        /// The study.
        study: String,
        /// The level.
        found: f64,
    },
    /// Something is not said.
    #[error("in a forecast: found no {what}, expected one")]
    Empty {
        /// What is missing.
        what: &'static str,
    },
    /// The outcome is known.
    #[error(
        "the forecast of {study} at scale {scale} comes too late: found its verdict at line {line} of the registry, expected none yet: \
         forecast a study before it is judged"
    )]
    TooLate {
        /// The study.
        study: String,
        /// The scale.
        scale: String,
        /// Line of the verdict, from 1.
        line: u64,
    },
    /// The registry could not be read or continued.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Records a forecast made at `time` (Unix seconds) under the next free identifier, such as `F3`.
///
/// # Errors
/// Where the statement is none, the outcome is in the registry (also when another process has just appended it), or the
/// registry cannot be continued; then nothing was recorded.
pub fn record(registry: &mut Registry, forecast: &NewForecast, time: u64) -> Result<Line, ForecastError> {
    let NewForecast { study, hypothesis, scale, by, statement, note } = forecast.clone();
    for (what, text) in [("study", &study), ("hypothesis", &hypothesis), ("scale", &scale), ("forecaster", &by)] {
        if text.trim().is_empty() {
            return Err(ForecastError::Empty { what });
        }
    }
    check_statement(&study, statement)?;
    registry.append_with(time, |registry| {
        if let Some(line) = outcome_before(registry.lines(), &study, &scale) {
            return Err(ForecastError::TooLate { study, scale, line: line.index + 1 });
        }
        let n_before = registry.lines().iter().filter(|line| matches!(line.entry, Entry::Forecast { .. })).count();
        let id = format!("F{}", n_before + 1);
        Ok(Entry::Forecast { id, study, hypothesis, scale, by, statement, note })
    })
}

/// Refuses what is no probability and no interval.
fn check_statement(study: &str, statement: Prediction) -> Result<(), ForecastError> {
    let study = study.to_owned();
    match statement {
        Prediction::Probability { supported } if !(0.0..=1.0).contains(&supported) => {
            Err(ForecastError::Probability { study, found: supported })
        }
        Prediction::Interval { lower, upper, .. } if !lower.is_finite() || !upper.is_finite() || lower >= upper => {
            Err(ForecastError::Interval { study, lower, upper })
        }
        // A level that is not a number is not inside either.
        Prediction::Interval { level, .. } if !(level > 0.0 && level < 1.0) => {
            Err(ForecastError::Level { study, found: level })
        }
        _ => Ok(()),
    }
}

/// The verdict that a forecaster knows who comes after these lines: one under the newest registration.
fn outcome_before<'a>(lines: &'a [Line], study: &str, scale: &str) -> Option<&'a Line> {
    let newest = newest_registration(lines, study);
    lines.iter().find(|line| {
        verdict_of(line, study, scale).is_some_and(|under| newest.is_none_or(|registered| registered.hash == under))
    })
}

fn newest_registration<'a>(lines: &'a [Line], study: &str) -> Option<&'a Line> {
    let is_it = |line: &Line| matches!(&line.entry, Entry::Registration { study: of, .. } if of == study);
    lines.iter().rev().find(|line| is_it(line))
}

/// The registration of a line that is a verdict of this study and scale.
fn verdict_of<'a>(line: &'a Line, study: &str, scale: &str) -> Option<&'a str> {
    match &line.entry {
        Entry::Verdict { study: of, scale: at, registration, .. } if of == study && at == scale => Some(registration),
        _ => None,
    }
}

#[cfg(test)]
#[path = "forecast/tests.rs"]
mod tests;
