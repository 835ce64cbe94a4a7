//! A run takes over the training of another folder whose checkpoints are the same: only its measurements are made anew.

use std::io;
use std::path::Path;

use ontogeny_store::{RunFolder, RunWriter};

use crate::{Run, StudyError};

/// Folder of the checkpoints in a run, and the log of the training.
const CHECKPOINTS: &str = "checkpoints";
const LOG: &str = "training.json";
/// What the names of training states begin with.
const STATE: &str = "state-";

impl Run {
    /// Hash of what is measured, and of how the series are looked at: of runs with the same training it tells those apart
    /// that differ in it.
    pub fn measurements(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for key in ["measure", "stages"] {
            let value = self.manifest.configuration.get(key).map(ToString::to_string).unwrap_or_default();
            hasher.update(value.as_bytes());
            hasher.update(b"\n");
        }
        hasher.finalize().to_hex().to_string()
    }

    /// Makes the folder `directory` of this run, unless there is one, and puts into it what the folder `other` has of the same
    /// training, checkpoints and state, without a copy. False where there was nothing to take over: another training, or other bits.
    ///
    /// Checkpoints come before the state that continues them, so that a process killed in between leaves a run that begins again.
    ///
    /// # Errors
    /// A folder that cannot be made.
    pub fn adopt_training(&self, directory: &Path, other: &Path) -> Result<bool, StudyError> {
        let Ok(found) = RunFolder::open(other) else { return Ok(false) };
        let (theirs, ours) = (found.manifest(), &self.manifest);
        let is_same = theirs.trajectory == ours.trajectory
            && theirs.engine == ours.engine
            && theirs.instruction_set == ours.instruction_set;
        if !is_same || self.is_import() || directory.join("run.toml").exists() {
            return Ok(false);
        }
        let from = other.join(CHECKPOINTS);
        let names = |are_states: bool| -> io::Result<Vec<std::ffi::OsString>> {
            let mut names = Vec::new();
            for entry in fs_err::read_dir(&from)? {
                let name = entry?.file_name();
                let text = name.to_string_lossy();
                if text.ends_with(".safetensors") && text.starts_with(STATE) == are_states {
                    names.push(name);
                }
            }
            names.sort();
            Ok(names)
        };
        // States first: every checkpoint before one of them is there by then.
        let (Ok(states), Ok(checkpoints)) = (names(true), names(false)) else { return Ok(false) };
        drop(RunWriter::join(directory, &self.manifest)?);
        let to = directory.join(CHECKPOINTS);
        fs_err::create_dir_all(&to).map_err(StudyError::Io)?;
        let mut is_whole = true;
        for name in &checkpoints {
            is_whole &= linked(&from.join(name), &to.join(name));
        }
        is_whole &= linked(&other.join(LOG), &directory.join(LOG));
        // A state without its checkpoints would have them missed.
        if is_whole {
            for name in &states {
                is_whole &= linked(&from.join(name), &to.join(name));
            }
        }
        Ok(is_whole)
    }
}

/// Whether the file is there under its second name; files of runs are replaced, never changed.
fn linked(from: &Path, to: &Path) -> bool {
    match fs_err::hard_link(from, to) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::AlreadyExists,
    }
}
