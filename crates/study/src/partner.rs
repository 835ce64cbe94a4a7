//! The other checkpoint of observables that compare two: which step it is of, its hash, its weights.

use std::collections::BTreeMap;

use ontogeny_observe::Partner;
use ontogeny_store::RunWriter;
use ontogeny_zoo::NetworkConfig;

use crate::board::weights_at;
use crate::sections::MeasureConfig;
use crate::{OpenedRun, Run, StudyError};

/// Another run that checkpoints are compared with.
#[derive(Debug)]
pub(crate) struct OtherRun {
    run: OpenedRun,
    /// Hash of the tensors at each step.
    checkpoints: BTreeMap<u64, String>,
}

/// Where a partner is found.
pub(crate) enum Place<'a> {
    /// In the run itself, at this step.
    Own(u64),
    /// In another run.
    Other { run: &'a OtherRun, step: u64 },
}

impl OtherRun {
    /// Opens the runs that measurements name, by measurement; `first` is the first step that will be measured.
    ///
    /// # Errors
    /// A folder that is no run, a run of another network, or one that begins later.
    pub(crate) fn all_of(run: &Run) -> Result<BTreeMap<String, Self>, StudyError> {
        let named = run.file.measures.iter().filter_map(|measure| match measure.observable.partner() {
            Some(Partner::Run(folder)) => Some((measure, folder)),
            _ => None,
        });
        named.map(|(measure, folder)| Ok((measure.name.clone(), Self::open(run, measure, folder)?))).collect()
    }

    fn open(run: &Run, measure: &MeasureConfig, folder: &str) -> Result<Self, StudyError> {
        let failed = |message: String| StudyError::Measure { measure: measure.name.clone(), message };
        let other = OpenedRun::open(run.file.folder().join(folder)).map_err(|error| {
            let hint = if folder.bytes().all(|byte| byte.is_ascii_digit()) {
                " (a step is written without quotes)"
            } else {
                ""
            };
            failed(format!("`with` names the run `{folder}`{hint}: {error}"))
        })?;
        let is_same = other.model().space().iter().eq(run.model.space().iter())
            && other.model().interface() == run.model.interface()
            && computes(other.model().network()) == computes(run.model.network());
        if !is_same {
            return Err(failed(format!(
                "`with` names the run `{folder}`, whose network is another one, or reads and answers otherwise; expected the same network"
            )));
        }
        let checkpoints = other.hashes()?;
        let first = run.steps.first().copied().unwrap_or_default();
        if checkpoints.range(..=first).next().is_none() {
            let found =
                checkpoints.keys().next().map_or_else(|| "none".to_owned(), |step| format!("the first at step {step}"));
            return Err(failed(format!(
                "`with` names the run `{folder}`, of whose checkpoints none is at or before step {first}, where this run begins; \
                 found {found}"
            )));
        }
        Ok(Self { run: other, checkpoints })
    }
}

/// What a network computes: its settings, but for how its weights start.
fn computes(network: &NetworkConfig) -> serde_json::Value {
    if let NetworkConfig::Onnx(network) = network {
        return network.blake3().into();
    }
    let mut settings = serde_json::to_value(network).unwrap_or_default();
    if let Some(settings) = settings.as_object_mut() {
        settings.retain(|key, _| !key.starts_with("init") && key != "context");
    }
    settings
}

impl Run {
    /// The partner of a checkpoint, where the measurement has one; `planned` are the steps of all checkpoints, ascending.
    pub(crate) fn partner(&self, measure: &MeasureConfig, step: u64, planned: &[u64]) -> Option<Place<'_>> {
        let at = |index: usize| planned.get(index).copied().unwrap_or(step);
        Some(match measure.observable.partner()? {
            Partner::First => Place::Own(at(0)),
            Partner::Last => Place::Own(planned.last().copied().unwrap_or(step)),
            Partner::Previous => Place::Own(at(planned.partition_point(|&other| other < step).saturating_sub(1))),
            Partner::Step(own) => Place::Own(*own),
            Partner::Run(_) => {
                let run = &self.others[&measure.name];
                let (&step, _) = run.checkpoints.range(..=step).next_back().or(run.checkpoints.first_key_value())?;
                Place::Other { run, step }
            }
        })
    }

    /// Whether the steps that measurements compare with will be there.
    ///
    /// # Errors
    /// The first that will not.
    pub(crate) fn check_partners(&self) -> Result<(), StudyError> {
        for measure in &self.file.measures {
            let Some(Partner::Step(step)) = measure.observable.partner() else { continue };
            if !self.steps.contains(step) {
                let steps: Vec<String> = self.steps.iter().map(ToString::to_string).collect();
                let message =
                    format!("`with` is step {step}, which has no checkpoint; expected one of {}", steps.join(", "));
                return Err(StudyError::Measure { measure: measure.name.clone(), message });
            }
        }
        Ok(())
    }
}

impl Place<'_> {
    /// Its hash, as far as it exists; `own` are those of the run itself.
    pub(crate) fn hash<'b>(&'b self, own: &'b BTreeMap<u64, String>) -> Option<&'b str> {
        match self {
            Self::Own(step) => own.get(step).map(String::as_str),
            Self::Other { run, step } => run.checkpoints.get(step).map(String::as_str),
        }
    }

    /// Its weights.
    ///
    /// # Errors
    /// A checkpoint that cannot be read.
    pub(crate) fn weights(&self, run: &Run, writer: &RunWriter) -> Result<Vec<f32>, StudyError> {
        match self {
            Self::Own(step) => weights_at(run, writer, *step),
            Self::Other { run, step } => run.run.weights(*step),
        }
    }
}
