//! Tasks: a data distribution, its loss and its exact evaluation sets.

mod indices;
mod modular_arithmetic;
mod split;

pub use indices::IndexFileError;
pub use modular_arithmetic::{ModularArithmeticConfig, Operation};
pub use split::Split;

use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{Interface, SettingError};

/// A task of any kind, as in the table `[task]` of a run file.
///
/// Serialises with its `kind` beside its settings; see [`TaskConfig::deserialize_kind`] for reading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TaskConfig {
    /// Arithmetic modulo p on all pairs of residues.
    ModularArithmetic(ModularArithmeticConfig),
}

/// A task made ready: data only.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// What it gives to a network and asks of it.
    pub interface: Interface,
    /// Named sets of examples: `train`, `test` where examples are left for it, and `all`.
    pub splits: Vec<Split>,
}

/// Why a task could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// A setting out of range, or two that contradict each other.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// A file of training indices that cannot be used.
    #[error(transparent)]
    Indices(#[from] IndexFileError),
}

impl TaskConfig {
    /// The values that `kind` may have.
    pub const KINDS: &'static [&'static str] = &["modular_arithmetic"];

    /// Reads the settings of a task whose `kind` has been read (and taken out) before, so that a mistake keeps its
    /// line.
    ///
    /// # Errors
    /// An unknown kind, with the known ones, or what the deserializer finds wrong.
    pub fn deserialize_kind<'de, D: Deserializer<'de>>(kind: &str, settings: D) -> Result<Self, D::Error> {
        match kind {
            "modular_arithmetic" => ModularArithmeticConfig::deserialize(settings).map(Self::ModularArithmetic),
            other => Err(serde::de::Error::unknown_variant(other, Self::KINDS)),
        }
    }

    /// Makes the task's data. `run_seed` serves where the task has no seed of its own; relative paths start at
    /// `folder`, the folder of the run file.
    ///
    /// # Errors
    /// A setting out of range, or a file of training indices that cannot be used.
    pub fn prepare(&self, run_seed: u32, folder: &Path) -> Result<Task, TaskError> {
        match self {
            Self::ModularArithmetic(config) => config.prepare(run_seed, folder),
        }
    }
}

impl Task {
    /// The split of that name.
    pub fn split(&self, name: &str) -> Option<&Split> {
        self.splits.iter().find(|split| split.name == name)
    }
}
