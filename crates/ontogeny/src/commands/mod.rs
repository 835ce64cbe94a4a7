//! One file for each command.

mod bench;
mod calibrate;
mod change_points;
mod doctor;
mod explain;
mod forecast;
mod inspect;
mod look;
mod new;
mod parts;
mod report;
mod run;
mod show;
mod stages;
mod study;
mod sweep;
mod warnings;

use std::path::Path;

use ontogeny_atlas::audit::AuditError;
use ontogeny_atlas::forecast::ForecastError;
use ontogeny_atlas::registry::RegistryError;
use ontogeny_atlas::{AtlasError, StudyFileError};
use ontogeny_graph::{Isa, IsaError};
use ontogeny_posterior::LlcError;
use ontogeny_store::{ManifestError, Place, ViewError};
use ontogeny_study::{SeriesFileError, StudyError};
use ontogeny_zoo::ReadError;

use crate::bench::BenchError;
use crate::cli::{Cli, Command, exit};

pub(crate) fn dispatch(arguments: &Cli) -> Result<u8, CommandError> {
    Isa::forced()?;
    match &arguments.command {
        Command::Run(args) => run::run(args),
        Command::Show(args) => show::show(args),
        Command::Report(args) => report::report(args),
        Command::Stages(args) => stages::stages(args),
        Command::New(args) => new::new(args),
        Command::Inspect(args) => inspect::inspect(args),
        Command::Calibrate(args) => calibrate::calibrate(args),
        Command::Explain(args) => explain::explain(args),
        Command::Examples(args) => look::examples(args),
        Command::Compare(args) => look::compare(args),
        Command::Study(args) => study::study(args),
        Command::Forecast(args) => forecast::forecast(args),
        Command::Bench(args) => bench::bench(args),
        Command::Doctor(args) => doctor::doctor(args),
    }
}

/// Where a run is: a folder, or an address `s3://bucket/prefix`.
fn place(path: &Path) -> std::io::Result<Place> {
    match path.to_str().filter(|text| text.starts_with("s3://")) {
        None => Ok(Place::local(path)),
        #[cfg(feature = "s3")]
        Some(address) => Place::s3(address),
        #[cfg(not(feature = "s3"))]
        Some(address) => Err(std::io::Error::other(format!(
            "`{address}`: found an address in an object store, expected a folder: this ontogeny was built without them; build it with \
             `--features s3`"
        ))),
    }
}

/// What a command may end with; every message says file, found, expected and remedy itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("{0}")]
    Study(#[from] StudyError),
    #[error("{0}")]
    Atlas(#[from] AtlasError),
    #[error("{0}")]
    StudyFile(#[from] StudyFileError),
    #[error("{0}")]
    Audit(#[from] AuditError),
    #[error("{0}")]
    Forecast(#[from] ForecastError),
    #[error("{0}")]
    Registry(#[from] RegistryError),
    #[error("{0}")]
    Series(#[from] SeriesFileError),
    #[error("{0}")]
    Bench(#[from] BenchError),
    #[error("{0}")]
    Llc(#[from] LlcError),
    #[error("{0}")]
    Isa(#[from] IsaError),
    #[error("{0}")]
    Arguments(String),
    #[error("{0}")]
    Manifest(#[from] ManifestError),
    #[error("{0}")]
    View(#[from] ViewError),
    #[error("{0}")]
    Read(#[from] ReadError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("failed to write JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl CommandError {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Study(error) if error.is_interruption() => exit::INTERRUPTED,
            Self::Atlas(AtlasError::Interrupted) => exit::INTERRUPTED,
            Self::Study(StudyError::Calibration { .. }) => exit::REFUSED,
            _ => exit::BAD_INPUT,
        }
    }
}
