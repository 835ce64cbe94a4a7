//! Checkpoints: the weights at a step, created once and verified ever after.

use std::path::{Path, PathBuf};

use crate::tensor_file::{self, Identity, Kind};
use crate::{CheckpointError, Tensor, hash_tensors, name};

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

const SUFFIX: &str = ".safetensors";

fn path(folder: &Path, step: u64) -> PathBuf {
    folder.join(format!("{}{SUFFIX}", name::step_stem(step)))
}

/// Steps of the checkpoints in `folder`, ascending; files with other names are not looked at.
pub(crate) fn steps(folder: &Path) -> std::io::Result<Vec<u64>> {
    let mut steps = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        steps.extend(entry?.file_name().to_str().and_then(|name| name::parse_step(name, SUFFIX)));
    }
    steps.sort_unstable();
    Ok(steps)
}

/// Creates the checkpoint of `step`, or verifies that the one already there holds the same bits.
pub(crate) fn write(
    folder: &Path,
    trajectory: &str,
    step: u64,
    tensors: &[Tensor],
) -> Result<Written, CheckpointError> {
    let path = path(folder, step);
    let hash = hash_tensors(tensors);
    let written = match read(folder, trajectory, step) {
        Ok(found) if found.hash == hash => return Ok(Written::Verified),
        Ok(found) => {
            return Err(CheckpointError::Differs { path, found: found.hash, expected: hash });
        }
        Err(CheckpointError::Missing { .. }) => Written::Created,
        Err(damage @ CheckpointError::Damaged { .. }) => Written::Repaired { damage: damage.to_string() },
        Err(other) => return Err(other),
    };
    let identity = Identity {
        kind: Kind::Checkpoint,
        step,
        trajectory: trajectory.to_owned(),
        counters: std::collections::BTreeMap::new(),
        tensors: hash,
    };
    tensor_file::write(&path, &identity, tensors)?;
    Ok(written)
}

/// Reads and verifies the checkpoint of `step`.
pub(crate) fn read(folder: &Path, trajectory: &str, step: u64) -> Result<Checkpoint, CheckpointError> {
    let path = path(folder, step);
    let (identity, tensors) = tensor_file::read(&path)?;
    check(&path, &identity, trajectory, step)?;
    Ok(Checkpoint { step, hash: identity.tensors, tensors })
}

/// Reads the header of the checkpoint of `step`.
pub(crate) fn read_header(folder: &Path, trajectory: &str, step: u64) -> Result<CheckpointHeader, CheckpointError> {
    let path = path(folder, step);
    let (identity, tensors) = tensor_file::read_header(&path)?;
    check(&path, &identity, trajectory, step)?;
    Ok(CheckpointHeader { step, hash: identity.tensors, tensors })
}

fn check(path: &Path, identity: &Identity, trajectory: &str, step: u64) -> Result<(), CheckpointError> {
    let path = path.to_owned();
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
