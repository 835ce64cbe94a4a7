//! What can be wrong with a study.

use std::path::PathBuf;

use ontogeny_study::{RunFileError, StudyError};

use crate::expression::ExpressionError;
use crate::registry::{RegistryError, StampError};

/// A mistake in a study file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StudyFileError {
    /// A file that cannot be read.
    #[error(transparent)]
    Io(std::io::Error),
    /// Text that is no TOML, or a key that is not known.
    #[error(transparent)]
    Toml(#[from] RunFileError),
    /// Something that does not fit together.
    #[error("{}: {message}", path.display())]
    Content {
        /// The study file.
        path: PathBuf,
        /// What was found, what was expected.
        message: String,
    },
    /// An expression that cannot be read.
    #[error("{}: in {place}: {source}", path.display())]
    Expression {
        /// The study file.
        path: PathBuf,
        /// Where it stands.
        place: String,
        /// What is wrong with it.
        source: Box<ExpressionError>,
    },
    /// A run of a family that cannot be made.
    #[error("{}: in [runs.{family}]: {source}", path.display())]
    Run {
        /// The study file.
        path: PathBuf,
        /// The family.
        family: String,
        /// Why.
        source: Box<StudyError>,
    },
}

/// Why a study has no verdict.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AtlasError {
    /// The study file.
    #[error(transparent)]
    File(#[from] StudyFileError),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The stamp of a run.
    #[error(transparent)]
    Stamp(#[from] StampError),
    /// A file of the atlas.
    #[error(transparent)]
    Io(std::io::Error),
    /// Stopped from outside; the same command continues.
    #[error("interrupted; the same command continues")]
    Interrupted,
    /// A run that failed, where nothing can be said without it.
    #[error("{study}: the run {run} failed: {source}")]
    Run {
        /// The study.
        study: String,
        /// The run.
        run: String,
        /// Why.
        source: Box<StudyError>,
    },
    /// A verdict of another version, or damaged.
    #[error("{}: {found}; expected the verdict of a study: move it away and run the study again", path.display())]
    Verdict {
        /// The file.
        path: PathBuf,
        /// What was found.
        found: String,
    },
}
