//! `[start]`: a training that begins with weights from elsewhere: the end of another run (fine-tuning), or a program.

use std::path::{Path, PathBuf};

use ontogeny_store::{Place, RunFolder, Tensor, hash_tensors};
use ontogeny_zoo::{Model, TaskConfig};
use serde::{Deserialize, Serialize};

use crate::{StudyError, import};

/// Settings of `[start]`. The optimiser starts anew; learning rate and steps are those of this run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartConfig {
    /// Folder of another run of the same network, relative to the run file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<PathBuf>,
    /// Instead of a run: the weights to which the program of a task of kind `compiled` is compiled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compiled: bool,
    /// Step of the run's checkpoint; the last one that it has unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
}

/// Weights to start from, and what tells them apart from all others.
#[derive(Debug, Clone)]
pub(crate) struct StartWeights {
    pub(crate) weights: Vec<f32>,
    pub(crate) hash: String,
}

impl StartConfig {
    /// Reads the weights; `folder` is that of the run file.
    ///
    /// # Errors
    /// No such run or checkpoint, or one of another network.
    pub(crate) fn weights(&self, task: &TaskConfig, model: &Model, folder: &Path) -> Result<StartWeights, StudyError> {
        let wrong = |message: String| StudyError::Start(message);
        let named = match (&self.run, self.compiled) {
            (Some(run), false) => run,
            (None, true) if self.step.is_none() => {
                let weights = task.compiled_weights(model).map_err(|error| wrong(error.to_string()))?;
                let bytes: Vec<u8> = weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
                return Ok(StartWeights { weights, hash: blake3::hash(&bytes).to_hex().to_string() });
            }
            _ => return Err(wrong("expected either `run`, with or without `step`, or `compiled = true`".to_owned())),
        };
        let path = folder.join(named);
        let run = RunFolder::open(Place::local(&path)).map_err(|error| wrong(error.to_string()))?;
        let steps = run.checkpoint_steps().map_err(StudyError::Io)?;
        let Some(step) = self.step.or(steps.last().copied()) else {
            return Err(wrong(format!("`run = \"{}\"` has no checkpoints yet; run its file first", named.display())));
        };
        if !steps.contains(&step) {
            let known: Vec<String> = steps.iter().map(ToString::to_string).collect();
            return Err(wrong(format!("`step` is {step}; the run has checkpoints at {}", known.join(", "))));
        }
        let tensors: Vec<Tensor> = run.read_checkpoint(step).map_err(|error| wrong(error.to_string()))?.tensors;
        let weights = import::flat(model, step, &tensors).map_err(|error| {
            wrong(format!(
                "{error}; expected a run of the network that [network] describes, on a task of the same shape"
            ))
        })?;
        Ok(StartWeights { weights, hash: hash_tensors(&tensors) })
    }
}
