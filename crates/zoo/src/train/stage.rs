//! Stages of a training: from which step on it sees the examples of which task.

use super::TrainerError;
use crate::{SettingError, Task};

/// A stretch of a training, up to the first step of the next stage or to the end.
#[derive(Debug, Clone, Copy)]
pub struct Stage<'a> {
    /// What messages call it.
    pub name: &'a str,
    /// Whose split `train`, or endless examples, it sees.
    pub task: &'a Task,
    /// Its first update, counted from 0.
    pub first: u64,
    /// Whether the optimiser's buffers start with it as at step 0; else they carry on.
    pub restarts_optimizer: bool,
}

impl<'a> Stage<'a> {
    /// A training of one task.
    pub fn whole(task: &'a Task) -> Self {
        Self { name: "", task, first: 0, restarts_optimizer: false }
    }
}

/// Whether stages follow each other from step 0, each before `n_steps`, and have one interface.
pub(super) fn check(stages: &[Stage<'_>], n_steps: u64) -> Result<(), TrainerError> {
    let expected_interface = stages.last().map(|stage| stage.task.interface);
    let mut earlier: Option<&Stage<'_>> = None;
    for stage in stages {
        let expected = match earlier {
            None if stage.first > 0 => Some("the first stage to begin at 0".to_owned()),
            Some(earlier) if stage.first <= earlier.first => {
                Some(format!("a step after {}, the first one of `{}`", earlier.first, earlier.name))
            }
            _ if stage.first >= n_steps => Some(format!("a step below {n_steps}, the steps of the training")),
            _ => None,
        };
        if let Some(expected) = expected {
            return Err(TrainerError::StageStep { name: stage.name.to_owned(), found: stage.first, expected });
        }
        let found = stage.task.interface;
        if let Some(expected) = expected_interface.filter(|expected| *expected != found) {
            let (found, expected) = (Box::new(found), Box::new(expected));
            return Err(TrainerError::StageInterface { name: stage.name.to_owned(), found, expected });
        }
        earlier = Some(stage);
    }
    match earlier {
        Some(_) => Ok(()),
        None => Err(SettingError::new("train", "stages", "empty", "at least one stage").into()),
    }
}
