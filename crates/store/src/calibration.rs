//! What a calibration found, and every estimate it rests on (`calibration/MEASURE.json`).

use serde::{Deserialize, Serialize};

use crate::name;
use crate::sealed::{self, SealedError};
use crate::{Place, RecordError};

/// Sampler settings found for one measurement of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Hash of what it depends on; settings of another basis are found anew.
    pub basis: String,
    /// Steps of the checkpoints it was made on.
    pub steps: Vec<u64>,
    /// What was found; `None` where nothing fits.
    pub settings: Option<CalibratedSettings>,
    /// Logarithmic slope of λ̂ in nβ at what was found, and its standard error.
    pub temperature_slope: Option<[f64; 2]>,
    /// Logarithmic slope of λ̂ in γ towards stronger localisation, and its standard error.
    pub localization_slope: Option<[f64; 2]>,
    /// In words: what was chosen and why, or why nothing was.
    pub reasons: Vec<String>,
    /// Every estimate, in the order of the search.
    pub trials: Vec<CalibrationTrial>,
}

/// The settings that a calibration freezes for a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibratedSettings {
    /// ε.
    pub step_size: f64,
    /// γ.
    pub localization: f64,
    /// nβ.
    pub n_beta: f64,
    /// Draws of each chain.
    pub draws: usize,
}

/// One estimate of a calibration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationTrial {
    /// Step of the checkpoint.
    pub step: u64,
    /// ε.
    pub step_size: f64,
    /// γ.
    pub localization: f64,
    /// nβ.
    pub n_beta: f64,
    /// Draws of each chain.
    pub draws: usize,
    /// λ̂ before any verdict; `None` where a chain diverged.
    pub mean: Option<f64>,
    /// Its Monte Carlo error.
    pub mcse: Option<f64>,
    /// Share of it from the finite step.
    pub discretization: Option<f64>,
    /// Acceptance of the matching MALA step, where it is defined.
    pub acceptance: Option<f64>,
    /// Rank-normalised split R̂.
    pub r_hat: Option<f64>,
    /// Effective draws.
    pub ess_bulk: Option<f64>,
    /// The verdict, in words.
    pub verdict: String,
}

pub(crate) fn read(place: &Place, measure: &str) -> Result<Option<Calibration>, SealedError> {
    sealed::read(place, &key(measure))
}

pub(crate) fn write(place: &Place, measure: &str, calibration: &Calibration) -> Result<(), RecordError> {
    name::check_measure(measure).map_err(|why| RecordError::InvalidName { name: measure.to_owned(), why })?;
    sealed::write(place, &key(measure), calibration).map_err(|error| match error {
        SealedError::Io(error) => error.into(),
        other => RecordError::Io(std::io::Error::other(other)),
    })
}

fn key(measure: &str) -> String {
    format!("calibration/{measure}.json")
}
