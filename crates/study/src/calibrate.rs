//! Calibration of learning coefficients in a run: on which checkpoints, kept where, and what then holds for all of them.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ontogeny_posterior::{
    Calibrated, Calibration as Search, CalibrationError, Execution, Llc, LlcError, Objective, Progress, Trial,
};
use ontogeny_store::{CalibratedSettings, Calibration, CalibrationTrial, RunFolder, RunWriter};

use crate::board::weights_at;
use crate::event::Event;
use crate::execute::Options;
use crate::instruments::training_objective;
use crate::llc_config::{Calibrate, LlcConfig};
use crate::sections::ObservableConfig;
use crate::{Run, StudyError};

/// Version of the search; where it is raised, settings are found anew.
const CALIBRATION_VERSION: u32 = 1;

/// How often a worker looks whether another has finished a calibration.
const POLL: Duration = Duration::from_millis(200);

/// Checkpoints that are taken unless others are named: a third, two thirds and all of the way through the list.
const SHARES: [f64; 3] = [1.0 / 3.0, 2.0 / 3.0, 1.0];

/// The checkpoints a calibration is made on, of those of a run, ascending. The start of a training is left out: nothing
/// is learnt there, and settings that fit it fit nothing else.
pub(crate) fn steps_of(calibrate: &Calibrate, steps: &[u64]) -> Vec<u64> {
    if let Calibrate::Steps(named) = calibrate {
        return named.clone();
    }
    let later: Vec<u64> = steps.iter().copied().filter(|&step| step > 0).collect();
    let from = if later.is_empty() { steps } else { &later };
    let mut taken: Vec<u64> = SHARES
        .iter()
        .filter_map(|share| from.get(((share * from.len() as f64).ceil() as usize).saturating_sub(1)).copied())
        .collect();
    taken.dedup();
    taken
}

/// Searches settings for checkpoints (step and flat weights), and says it in the store's words.
///
/// # Errors
/// Where there can be no estimate at all. A search that finds nothing is a calibration without settings.
pub(crate) fn search(
    llc: Llc,
    objective: &Objective,
    checkpoints: &[(u64, Vec<f32>)],
    execution: &Execution<'_>,
) -> Result<Calibration, LlcError> {
    let weights: Vec<&[f32]> = checkpoints.iter().map(|(_, weights)| &weights[..]).collect();
    let steps: Vec<u64> = checkpoints.iter().map(|(step, _)| *step).collect();
    let nothing = |error: &CalibrationError, trials: &[Trial]| Calibration {
        basis: String::new(),
        steps: steps.clone(),
        settings: None,
        temperature_slope: None,
        localization_slope: None,
        reasons: vec![error.to_string()],
        trials: told(trials, &steps),
    };
    match (Search { llc }).find(objective, &weights, execution) {
        Ok(Calibrated { llc, temperature_slope, localization_slope, reasons, trials }) => Ok(Calibration {
            basis: String::new(),
            settings: Some(CalibratedSettings {
                step_size: llc.step_size,
                localization: llc.localization,
                n_beta: llc.n_beta.unwrap_or_else(|| objective.default_n_beta()),
                draws: llc.draws,
            }),
            temperature_slope: temperature_slope.map(|(slope, error)| [slope, error]),
            localization_slope: localization_slope.map(|(slope, error)| [slope, error]),
            reasons,
            trials: told(&trials, &steps),
            steps,
        }),
        Err(CalibrationError::Llc(error)) => Err(error),
        Err(
            ref error @ (CalibrationError::NoStepSize { ref trials, .. }
            | CalibrationError::NoLocalization { ref trials, .. }),
        ) => Ok(nothing(error, trials)),
        Err(error) => Ok(nothing(&error, &[])),
    }
}

fn told(trials: &[Trial], steps: &[u64]) -> Vec<CalibrationTrial> {
    // JSON has no infinity, which R̂ is where nothing moves.
    let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
    let one = |trial: &Trial| CalibrationTrial {
        step: steps[trial.checkpoint],
        step_size: trial.step_size,
        localization: trial.localization,
        n_beta: trial.n_beta,
        draws: trial.draws,
        mean: finite(trial.mean),
        mcse: finite(trial.mcse),
        discretization: finite(trial.discretization),
        acceptance: finite(trial.acceptance),
        r_hat: finite(trial.r_hat),
        ess_bulk: finite(trial.ess_bulk),
        verdict: trial.verdict.to_string(),
    };
    trials.iter().map(one).collect()
}

impl Run {
    /// This run with the settings of all calibrations that hold in its folder, and the measurements that have none yet.
    pub(crate) fn with_calibrations(&self, folder: &RunFolder) -> Result<(Self, Vec<String>), StudyError> {
        let mut run = self.clone();
        let mut missing = Vec::new();
        let tensors = if self.is_calibrated() { self.tensors(Some(folder))? } else { BTreeMap::new() };
        for measure in &mut run.file.measures {
            let Some(config) = measure.observable.chains_mut() else { continue };
            let Some(calibrate) = &config.calibrate else { continue };
            let steps = steps_of(calibrate, &self.steps);
            let basis = self.calibration_basis(config, &steps, &tensors);
            let found = folder.calibration(&measure.name)?.filter(|found| Some(&found.basis) == basis.as_ref());
            match found.map(|found| (found.settings, found.reasons)) {
                Some((Some(settings), _)) => config.freeze(settings),
                Some((None, reasons)) => {
                    let measure = measure.name.clone();
                    return Err(StudyError::Calibration { measure, message: reasons.join("; ") });
                }
                None => missing.push(measure.name.clone()),
            }
        }
        Ok((run, missing))
    }

    /// This run without some of its measurements.
    pub(crate) fn without(&self, measures: &[String]) -> Self {
        let mut run = self.clone();
        run.file.measures.retain(|measure| !measures.contains(&measure.name));
        run
    }

    /// Whether any measurement is to be calibrated.
    pub(crate) fn is_calibrated(&self) -> bool {
        let asks = |config: &LlcConfig| config.calibrate.is_some();
        self.file.measures.iter().any(|m| m.observable.chains().is_some_and(asks))
    }

    /// Calibrates a measurement whose checkpoints are all there, unless another worker does: then waits for it.
    pub(crate) fn calibrate(&self, name: &str, writer: &RunWriter, options: &Options<'_>) -> Result<(), StudyError> {
        let _claim = loop {
            if options.cancel.load(Ordering::Relaxed) {
                return Err(StudyError::Interrupted);
            }
            match writer.claim(&format!("calibrate.{name}")).map_err(StudyError::Io)? {
                Some(claim) => break claim,
                None => thread::sleep(POLL),
            }
        };
        if !self.with_calibrations(writer.folder())?.1.contains(&name.to_owned()) {
            return Ok(());
        }
        let measure =
            self.file.measures.iter().find(|measure| measure.name == name).expect("a measurement of this run");
        let Some(config) = measure.observable.chains() else { return Ok(()) };
        let steps = config.calibrate.as_ref().map_or_else(Vec::new, |calibrate| steps_of(calibrate, &self.steps));
        let failed = |message: String| StudyError::Measure { measure: name.to_owned(), message };
        let llc = config.llc(self.file.seed).map_err(failed)?;
        let objective = training_objective(&self.model, &self.task).map_err(failed)?;
        let checkpoints = steps
            .iter()
            .map(|&step| weights_at(self, writer, step).map(|weights| (step, weights)))
            .collect::<Result<Vec<_>, _>>()?;
        let report = |p: Progress| {
            let share = p.done as f64 / p.total.max(1) as f64;
            (options.observer)(&Event::Calibrating { measure: name.to_owned(), share });
        };
        let execution = execution(options.threads, &report, options.cancel);
        let mut found = search(llc, &objective, &checkpoints, &execution).map_err(|error| match error {
            LlcError::Cancelled => StudyError::Interrupted,
            other => StudyError::Llc { measure: name.to_owned(), step: steps[0], source: Box::new(other) },
        })?;
        let tensors = self.tensors(Some(writer.folder()))?;
        found.basis = self.calibration_basis(config, &steps, &tensors).ok_or_else(|| {
            StudyError::Store(format!("a checkpoint vanished while `{name}` was calibrated; run again"))
        })?;
        writer.write_calibration(name, &found)?;
        let message = format!("`{name}` calibrated on steps {}: {}", list(&steps), found.reasons.join("; "));
        (options.observer)(&Event::Notice { message });
        Ok(())
    }

    /// Hash of everything a calibration depends on; `None` while one of its checkpoints is missing.
    fn calibration_basis(&self, config: &LlcConfig, steps: &[u64], tensors: &BTreeMap<u64, String>) -> Option<String> {
        let hashes: Vec<&String> = steps.iter().map(|step| tensors.get(step)).collect::<Option<_>>()?;
        let text = serde_json::json!([
            CALIBRATION_VERSION,
            ObservableConfig::Llc(Box::new(config.clone())).algorithm_version(),
            config,
            self.file.network,
            self.data_hash(),
            self.file.seed,
            steps,
            hashes,
        ]);
        Some(blake3::hash(text.to_string().as_bytes()).to_hex().to_string())
    }
}

fn execution<'a>(
    threads: NonZero<usize>,
    progress: &'a (dyn Fn(Progress) + Sync),
    cancel: &'a AtomicBool,
) -> Execution<'a> {
    Execution { threads, progress: Some(progress), cancel: Some(cancel) }
}

fn list(steps: &[u64]) -> String {
    steps.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_spread_over_the_list_and_leave_the_start_out() {
        let yes = Calibrate::Spread(true);
        assert_eq!(steps_of(&yes, &[0, 1, 3, 10, 30, 100, 300]), [3, 30, 300]);
        assert_eq!(steps_of(&yes, &[0, 10]), [10]);
        assert_eq!(steps_of(&yes, &[0]), [0]);
        assert_eq!(steps_of(&yes, &[5, 6]), [5, 6]);
        assert_eq!(steps_of(&Calibrate::Steps(vec![7, 9]), &[0, 7, 8, 9]), [7, 9]);
    }
}
