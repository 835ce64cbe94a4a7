//! The newest training state: all that is needed to continue with the same bits.

use std::collections::BTreeMap;

use crate::checkpoint::FOLDER;
use crate::tensor_file::{self, Existing, Identity, Kind};
use crate::{CheckpointError, Place, Tensor, hash_tensors, name};

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

const SUFFIX: &str = ".safetensors";

/// The state of runs of format 1, which was replaced in place.
const FORMAT_1: &str = "state-newest.safetensors";

fn file_name(step: u64) -> String {
    format!("state-{}", name::step_stem(step)) + SUFFIX
}

/// Steps of the states that exist, ascending. There are two only between writing one and removing the one before.
pub(crate) fn steps(place: &Place) -> std::io::Result<Vec<u64>> {
    let files = place.files(FOLDER)?;
    let step_of = |file: &String| name::parse_step(file.strip_prefix("state-")?, SUFFIX);
    let mut steps: Vec<u64> = files.iter().filter_map(step_of).collect();
    steps.sort_unstable();
    Ok(steps)
}

/// The step of the newest state, by its name where that says it; `None` before the first was saved.
pub(crate) fn newest_step(place: &Place) -> Result<Option<u64>, CheckpointError> {
    if let Some(step) = steps(place)?.pop() {
        return Ok(Some(step));
    }
    match tensor_file::read_header(place, &format!("{FOLDER}/{FORMAT_1}")) {
        Ok((identity, _)) => Ok(Some(identity.step)),
        Err(CheckpointError::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether there is a state of any format.
pub(crate) fn exists(place: &Place) -> std::io::Result<bool> {
    Ok(!steps(place)?.is_empty() || place.files(FOLDER)?.iter().any(|file| file == FORMAT_1))
}

/// Writes a state and removes the older ones. Of two workers that train the same step, the second finds its own bits.
pub(crate) fn write(place: &Place, trajectory: &str, state: &State) -> Result<(), CheckpointError> {
    let identity = Identity {
        kind: Kind::State,
        step: state.step,
        trajectory: trajectory.to_owned(),
        counters: state.counters.clone(),
        tensors: hash_tensors(&state.tensors),
    };
    let key = format!("{FOLDER}/{}", file_name(state.step));
    if !tensor_file::write(place, &key, &identity, &state.tensors, Existing::Keep)? {
        match tensor_file::read_header(place, &key) {
            Ok((found, _)) if found == identity => {}
            Err(other @ CheckpointError::NewerFormat { .. }) => return Err(other),
            _ => {
                tensor_file::write(place, &key, &identity, &state.tensors, Existing::Replace)?;
            }
        }
    }
    remove_before(place, state.step)?;
    Ok(place.remove(&format!("{FOLDER}/{FORMAT_1}"))?)
}

/// Removes all states but the newest: what is left where a writer was killed between a state and the removal of the one
/// before, which nobody would do later if that state was the last.
pub(crate) fn remove_superseded(place: &Place) -> std::io::Result<()> {
    steps(place)?.pop().map_or(Ok(()), |newest| remove_before(place, newest))
}

fn remove_before(place: &Place, step: u64) -> std::io::Result<()> {
    let older = steps(place)?.into_iter().filter(|&older| older < step);
    older.into_iter().try_for_each(|older| place.remove(&format!("{FOLDER}/{}", file_name(older))))
}

/// Reads and verifies the newest state; `None` where the run has not saved one yet.
pub(crate) fn read(place: &Place, trajectory: &str) -> Result<Option<State>, CheckpointError> {
    loop {
        let newest = steps(place)?.pop().map_or_else(|| FORMAT_1.to_owned(), file_name);
        match read_file(place, trajectory, &newest) {
            // A worker that trains has gone on meanwhile.
            Ok(None) if exists(place)? => {}
            other => return other,
        }
    }
}

fn read_file(place: &Place, trajectory: &str, file: &str) -> Result<Option<State>, CheckpointError> {
    let key = format!("{FOLDER}/{file}");
    let (identity, tensors) = match tensor_file::read(place, &key) {
        Err(CheckpointError::Missing { .. }) => return Ok(None),
        // Removed while it was read, as happens where an object is not held by those who read it.
        Err(CheckpointError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let path = place.path(&key);
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
    if file != FORMAT_1 && file != file_name(identity.step) {
        return Err(CheckpointError::Damaged {
            path,
            found: format!("the state of step {} under another name", identity.step),
            expected: format!("`{}`", file_name(identity.step)),
        });
    }
    Ok(Some(State { step: identity.step, tensors, counters: identity.counters }))
}
