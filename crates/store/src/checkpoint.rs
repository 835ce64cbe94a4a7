//! Checkpoints: the weights at a step, created once and verified ever after.

use crate::tensor_file::{self, Existing, Identity, Kind};
use crate::{CheckpointError, Place, Tensor, hash_tensors, name};

/// The weights at a step, read and verified.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Step of the training run.
    pub step: u64,
    /// Hash of the tensors, as of [`hash_tensors`].
    pub hash: String,
    /// The tensors, in the order in which they were written.
    pub tensors: Vec<Tensor>,
}

/// What the header of a checkpoint says; cheap to read, and verified only when the checkpoint is read.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointHeader {
    /// Step of the training run.
    pub step: u64,
    /// Hash of the tensors, as of [`hash_tensors`].
    pub hash: String,
    /// Name and shape of each tensor, in the order in which they were written.
    pub tensors: Vec<(String, Vec<usize>)>,
}

/// What writing a checkpoint found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// There was none.
    Created,
    /// The same tensors were there: the run was resumed from before this step.
    Verified,
    /// A damaged file was there and has been replaced.
    Repaired {
        /// What was wrong with it.
        damage: String,
    },
}

/// The folder of checkpoints and states in a run.
pub(crate) const FOLDER: &str = "checkpoints";

const SUFFIX: &str = ".safetensors";

fn key(step: u64) -> String {
    format!("{FOLDER}/{}{SUFFIX}", name::step_stem(step))
}

/// Steps of the checkpoints, ascending; files with other names are not looked at.
pub(crate) fn steps(place: &Place) -> std::io::Result<Vec<u64>> {
    let files = place.files(FOLDER)?;
    let mut steps: Vec<u64> = files.iter().filter_map(|name| name::parse_step(name, SUFFIX)).collect();
    // Names of more than eight digits do not sort as their numbers.
    steps.sort_unstable();
    Ok(steps)
}

/// Creates the checkpoint of `step`, or verifies that the one already there holds the same bits.
pub(crate) fn write(
    place: &Place,
    trajectory: &str,
    step: u64,
    tensors: &[Tensor],
) -> Result<Written, CheckpointError> {
    let hash = hash_tensors(tensors);
    let identity = Identity {
        kind: Kind::Checkpoint,
        step,
        trajectory: trajectory.to_owned(),
        counters: std::collections::BTreeMap::new(),
        tensors: hash,
    };
    let key = key(step);
    if tensor_file::write(place, &key, &identity, tensors, Existing::Keep)? {
        return Ok(Written::Created);
    }
    match read(place, trajectory, step) {
        Ok(found) if found.hash == identity.tensors => Ok(Written::Verified),
        Ok(found) => {
            let path = place.path(&key);
            Err(CheckpointError::Differs { path, found: found.hash, expected: identity.tensors })
        }
        // Removed since; what was written is what is wanted.
        Err(CheckpointError::Missing { .. }) => {
            tensor_file::write(place, &key, &identity, tensors, Existing::Keep)?;
            Ok(Written::Created)
        }
        Err(damage @ CheckpointError::Damaged { .. }) => {
            tensor_file::write(place, &key, &identity, tensors, Existing::Replace)?;
            Ok(Written::Repaired { damage: damage.to_string() })
        }
        Err(other) => Err(other),
    }
}

/// Reads and verifies the checkpoint of `step`.
pub(crate) fn read(place: &Place, trajectory: &str, step: u64) -> Result<Checkpoint, CheckpointError> {
    let (identity, tensors) = tensor_file::read(place, &key(step))?;
    check(place, &identity, trajectory, step)?;
    Ok(Checkpoint { step, hash: identity.tensors, tensors })
}

/// Reads the header of the checkpoint of `step`.
pub(crate) fn read_header(place: &Place, trajectory: &str, step: u64) -> Result<CheckpointHeader, CheckpointError> {
    let (identity, tensors) = tensor_file::read_header(place, &key(step))?;
    check(place, &identity, trajectory, step)?;
    Ok(CheckpointHeader { step, hash: identity.tensors, tensors })
}

fn check(place: &Place, identity: &Identity, trajectory: &str, step: u64) -> Result<(), CheckpointError> {
    let path = place.path(&key(step));
    if identity.kind != Kind::Checkpoint {
        Err(CheckpointError::Damaged {
            path,
            found: "an optimiser state under another name".to_owned(),
            expected: "a checkpoint".to_owned(),
        })
    } else if identity.trajectory != trajectory {
        Err(CheckpointError::OtherTrajectory {
            path,
            found: identity.trajectory.clone(),
            expected: trajectory.to_owned(),
        })
    } else if identity.step != step {
        Err(CheckpointError::OtherStep { path, found: identity.step, expected: step })
    } else {
        Ok(())
    }
}
