//! The newest training state: all that is needed to continue with the same bits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::tensor_file::{self, Identity, Kind};
use crate::{CheckpointError, Tensor, hash_tensors};

/// Weights, optimiser state and counters after a step; alone enough to resume.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Steps done.
    pub step: u64,
    /// Weights and moments, under names that the trainer chooses and that do not repeat.
    pub tensors: Vec<Tensor>,
    /// Counters such as positions in random streams.
    pub counters: BTreeMap<String, u64>,
}

/// The file of the newest state.
pub(crate) fn path(folder: &Path) -> PathBuf {
    folder.join("state-newest.safetensors")
}

/// Replaces the newest state as a whole.
pub(crate) fn write(folder: &Path, trajectory: &str, state: &State) -> Result<(), CheckpointError> {
    let identity = Identity {
        kind: Kind::State,
        step: state.step,
        trajectory: trajectory.to_owned(),
        counters: state.counters.clone(),
        tensors: hash_tensors(&state.tensors),
    };
    tensor_file::write(&path(folder), &identity, &state.tensors)
}

/// Reads and verifies the newest state; `None` where the run has not saved one yet.
pub(crate) fn read(folder: &Path, trajectory: &str) -> Result<Option<State>, CheckpointError> {
    let path = path(folder);
    let (identity, tensors) = match tensor_file::read(&path) {
        Err(CheckpointError::Missing { .. }) => return Ok(None),
        other => other?,
    };
    if identity.kind != Kind::State {
        return Err(CheckpointError::Damaged {
            path,
            found: "a checkpoint under another name".to_owned(),
            expected: "the newest state".to_owned(),
        });
    }
    if identity.trajectory != trajectory {
        return Err(CheckpointError::OtherTrajectory {
            path,
            found: identity.trajectory,
            expected: trajectory.to_owned(),
        });
    }
    Ok(Some(State { step: identity.step, tensors, counters: identity.counters }))
}
