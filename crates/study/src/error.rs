//! Everything that can end a run early, and what it means to the caller.

use std::path::{Path, PathBuf};

use ontogeny_observe::ObserveError;
use ontogeny_posterior::{LlcError, ObjectiveError};
use ontogeny_store as store;
use ontogeny_zoo as zoo;

use crate::toml_source::RunFileError;

/// Why a run could not be done, or not to its end. The run's folder stays readable and can be continued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StudyError {
    /// A mistake in the run file.
    #[error(transparent)]
    RunFile(#[from] RunFileError),
    /// A mistake that shows only with the data or the network, in the run file that is named.
    #[error("{}: {source}", path.display())]
    InRunFile {
        /// The run file.
        path: PathBuf,
        /// What is wrong in it.
        source: Box<StudyError>,
    },
    /// A mistake in one run of several.
    #[error("in the run {member}: {source}")]
    Member {
        /// Name of the run.
        member: String,
        /// What is wrong in it.
        source: Box<StudyError>,
    },
    /// A file that cannot be read or written; the message names it.
    #[error(transparent)]
    Io(std::io::Error),
    /// A task that cannot be made ready.
    #[error("in [task]: {0}")]
    Task(#[from] zoo::TaskError),
    /// A task of an earlier stage that cannot be made ready.
    #[error("in [curriculum.{stage}.task]: {source}")]
    Stage {
        /// The stage.
        stage: String,
        /// Why.
        source: Box<zoo::TaskError>,
    },
    /// A setting out of range, or a network that does not go with the task.
    #[error("{0}")]
    Setting(#[from] zoo::SettingError),
    /// A trainer that cannot be made.
    #[error("{0}")]
    Trainer(#[from] zoo::TrainerError),
    /// A saved state that does not belong to this training.
    #[error("the saved state cannot be continued: {0}")]
    Resume(#[from] zoo::ResumeError),
    /// Training that stopped being finite.
    #[error("{0}")]
    Training(String),
    /// An imported file that cannot be read.
    #[error("{0}")]
    Read(#[from] zoo::ReadError),
    /// A network of one's own that cannot be used.
    #[error("in [import]: {0}")]
    Onnx(#[from] zoo::OnnxError),
    /// Names or shapes of an imported file.
    #[error("{0}")]
    Layout(#[from] zoo::LayoutError),
    /// NaN or infinite weights in an imported file.
    #[error("{0}")]
    NonFiniteWeights(#[from] zoo::NonFinite),
    /// Weights to start from that cannot be had.
    #[error("in [start]: {0}")]
    Start(String),
    /// Imported checkpoints that cannot be found or numbered.
    #[error("in [import]: {0}")]
    Import(String),
    /// A measurement whose settings are wrong.
    #[error("in [measure.{measure}]: {message}")]
    Measure {
        /// The measurement.
        measure: String,
        /// What is wrong.
        message: String,
    },
    /// A measurement that failed.
    #[error("measurement `{measure}` failed at step {step}: {source}")]
    Observe {
        /// The measurement.
        measure: String,
        /// The checkpoint.
        step: u64,
        /// Why.
        source: Box<ObserveError>,
    },
    /// A learning coefficient that could not be estimated at all.
    #[error("measurement `{measure}` failed at step {step}: {source}")]
    Llc {
        /// The measurement.
        measure: String,
        /// The checkpoint.
        step: u64,
        /// Why.
        source: Box<LlcError>,
    },
    /// A search for settings that found none; its trials are kept in the run.
    #[error("no settings were found for `{measure}`: {message}")]
    Calibration {
        /// The measurement.
        measure: String,
        /// Why, and what to do.
        message: String,
    },
    /// A loss that the posterior cannot use.
    #[error("in [measure]: {0}")]
    Objective(#[from] ObjectiveError),
    /// `[stages]` names a series that does not exist.
    #[error("in [stages]: {0}")]
    Stages(String),
    /// The folder cannot be created or opened, or others work on it with another configuration.
    #[error("{0}")]
    Folder(String),
    /// The store failed.
    #[error("{0}")]
    Store(String),
    /// A configuration that TOML cannot hold.
    #[error("the resolved configuration cannot be written as TOML: {0}")]
    Resolve(toml::ser::Error),
    /// The caller asked to stop; everything finished so far is kept.
    #[error("interrupted; run the same command again to continue")]
    Interrupted,
}

impl StudyError {
    /// Names the run file, where the mistake is one of its settings.
    pub(crate) fn in_run_file(self, path: &Path) -> Self {
        match self {
            Self::Task(_)
            | Self::Stage { .. }
            | Self::Setting(_)
            | Self::Trainer(_)
            | Self::Start(_)
            | Self::Import(_)
            | Self::Onnx(_)
            | Self::Measure { .. }
            | Self::Objective(_)
            | Self::Stages(_) => Self::InRunFile { path: path.to_owned(), source: Box::new(self) },
            other => other,
        }
    }

    /// Whether the run was stopped from outside rather than by a mistake.
    pub fn is_interruption(&self) -> bool {
        matches!(self, Self::Interrupted)
    }
}

/// Errors of the store say file, found, expected and remedy themselves.
macro_rules! from_store {
    ($($variant:ident: $($error:ty),+;)+) => {
        $($(impl From<$error> for StudyError {
            fn from(error: $error) -> Self {
                Self::$variant(error.to_string())
            }
        })+)+
    };
}

from_store! {
    Folder: store::OpenError, store::ManifestError;
    Store: store::CheckpointError, store::RecordError, store::SealedError, store::ImportedError, store::ViewError, store::SealError;
}
