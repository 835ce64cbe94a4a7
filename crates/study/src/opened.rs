//! A finished or unfinished run, opened for questions of one's own: its network, its loss, its checkpoints.

use std::collections::BTreeMap;
use std::path::Path;

use ontogeny_posterior::{Execution, LlcError, Objective};
use ontogeny_store::{Calibration, RunFolder, Transition};
use ontogeny_zoo::{Model, Task};

use crate::instruments::training_objective;
use crate::llc_config::{Calibrate, LlcConfig};
use crate::sections::{MeasureConfig, ObservableConfig};
use crate::{RunFile, Source, StudyError, calibrate, import};

/// A run on disk with its task and network made ready.
#[derive(Debug)]
pub struct OpenedRun {
    folder: RunFolder,
    file: RunFile,
    task: Task,
    model: Model,
}

impl OpenedRun {
    /// Opens the run in `directory` for reading.
    ///
    /// # Errors
    /// A folder that is no run, data of its task that are no longer there, or another file of its network.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, StudyError> {
        let folder = RunFolder::open(directory.as_ref())?;
        let mut file = RunFile::from_manifest(folder.manifest().configuration.clone())?;
        file.read_network()?;
        if file.network_hash() != folder.manifest().hashes.get("network").map(String::as_str) {
            return Err(StudyError::Folder("the network's file has changed since the run was made".to_owned()));
        }
        let task = file.task.prepare(file.seed, file.folder())?;
        let model = Model::new(file.network.clone(), task.interface)?;
        Ok(Self { folder, file, task, model })
    }

    /// The network.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The task with its splits.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// Seed of the run.
    pub(crate) fn seed(&self) -> u32 {
        self.file.seed
    }

    /// What the run measures.
    pub(crate) fn measures(&self) -> &[MeasureConfig] {
        &self.file.measures
    }

    /// The transitions that were found in the run.
    pub(crate) fn transitions(&self) -> Result<Vec<Transition>, StudyError> {
        Ok(self.folder.analysis()?.transitions)
    }

    /// The loss on a split (`train`, `test` or `all`), to sample around a checkpoint; of an agent `train` is its regret.
    ///
    /// # Errors
    /// No such split, or one of fewer than two examples.
    pub fn objective(&self, split: &str) -> Result<Objective, StudyError> {
        if self.task.environment.is_some() && split == "train" {
            return training_objective(&self.model, &self.task).map_err(StudyError::Folder);
        }
        let found = self.task.split(split).ok_or_else(|| {
            let names: Vec<&str> = self.task.splits.iter().map(|s| s.name).collect();
            StudyError::Folder(format!("the task has no split `{split}`; it has {}", names.join(", ")))
        })?;
        let model = self.model.clone();
        Ok(Objective::new(found.data.clone(), move |batch| {
            let (graph, nodes) = model.graph(batch);
            (graph, nodes.example_loss)
        })?)
    }

    /// Steps of the checkpoints that exist, ascending.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn steps(&self) -> Result<Vec<u64>, StudyError> {
        match self.file.source {
            Source::Train(_) => self.folder.checkpoint_steps().map_err(StudyError::Io),
            Source::Import(_) => Ok(self.folder.imported()?.iter().map(|checkpoint| checkpoint.step).collect()),
        }
    }

    /// Hash of the tensors of every checkpoint.
    pub(crate) fn hashes(&self) -> Result<BTreeMap<u64, String>, StudyError> {
        match self.file.source {
            Source::Train(_) => {
                let steps = self.folder.checkpoint_steps().map_err(StudyError::Io)?;
                steps.into_iter().map(|step| Ok((step, self.folder.checkpoint_header(step)?.hash))).collect()
            }
            Source::Import(_) => Ok(self.folder.imported()?.into_iter().map(|c| (c.step, c.blake3)).collect()),
        }
    }

    /// The flat weights of the checkpoint at `step`, in the order of the model's parameter space.
    ///
    /// # Errors
    /// No such checkpoint, or one that is damaged.
    pub fn weights(&self, step: u64) -> Result<Vec<f32>, StudyError> {
        if let Source::Import(config) = &self.file.source
            && let Some(checkpoint) = self.folder.imported()?.into_iter().find(|checkpoint| checkpoint.step == step)
        {
            checkpoint.verify()?;
            return import::weights(config, &self.model, &checkpoint.path);
        }
        let checkpoint = self.folder.read_checkpoint(step)?;
        import::flat(&self.model, step, &checkpoint.tensors)
    }

    /// Searches sampler settings for the measurement `measure` (an `llc`; the first one of the run file unless named), on
    /// some of the checkpoints: those of `steps`, or three spread over the run where there are none named. Nothing is
    /// written.
    ///
    /// # Errors
    /// No such measurement or checkpoint, weights that allow no estimate, or an interruption.
    pub fn calibrate(
        &self,
        measure: Option<&str>,
        steps: &[u64],
        execution: &Execution<'_>,
    ) -> Result<(String, Calibration), StudyError> {
        let llcs = || {
            self.file.measures.iter().filter_map(|m| match &m.observable {
                ObservableConfig::Llc(config) => Some((m.name.as_str(), config)),
                _ => None,
            })
        };
        let mut found = llcs().filter(|(name, _)| measure.is_none_or(|wanted| wanted == *name));
        let Some((name, config)) = found.next() else {
            let known: Vec<&str> = llcs().map(|(name, _)| name).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let wanted = measure.map_or_else(|| "an".to_owned(), |name| format!("`{name}` as an"));
            return Err(StudyError::Folder(format!("the run does not measure {wanted} `llc`; those it has: {known}")));
        };
        let failed = |message: String| StudyError::Measure { measure: name.to_owned(), message };
        let all = self.steps()?;
        let chosen = if steps.is_empty() { Calibrate::Spread(true) } else { Calibrate::Steps(steps.to_vec()) };
        LlcConfig { calibrate: Some(chosen.clone()), ..(**config).clone() }.check_calibration(&all).map_err(failed)?;
        let chosen = calibrate::steps_of(&chosen, &all);
        let Some(&first) = chosen.first() else {
            return Err(StudyError::Folder(
                "the run has no checkpoints yet; continue it with `ontogeny run`".to_owned(),
            ));
        };
        let checkpoints =
            chosen.iter().map(|&step| Ok((step, self.weights(step)?))).collect::<Result<Vec<_>, StudyError>>()?;
        let llc = config.llc(self.file.seed).map_err(failed)?;
        let found = calibrate::search(llc, &self.objective("train")?, &checkpoints, execution);
        let found = found.map_err(|error| match error {
            LlcError::Cancelled => StudyError::Interrupted,
            other => StudyError::Llc { measure: name.to_owned(), step: first, source: Box::new(other) },
        })?;
        Ok((name.to_owned(), found))
    }

    /// Every checkpoint by step, read when it is reached.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn checkpoints(&self) -> Result<impl Iterator<Item = (u64, Result<Vec<f32>, StudyError>)> + '_, StudyError> {
        Ok(self.steps()?.into_iter().map(|step| (step, self.weights(step))))
    }
}
