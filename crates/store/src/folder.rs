//! A run folder as readers see it; no lock is needed, and nothing is ever written.

use std::path::{Path, PathBuf};

use crate::measures::{ANALYSIS_FILE, PLANS_FILE, Plans};
use crate::view::{self, View};
use crate::{
    Analysis, Checkpoint, CheckpointError, CheckpointHeader, Events, Imported, Lookup, Manifest, ManifestError,
    MeasurePlan, RecordError, RecordKey, SealedError, State, ViewError, WorkItem, checkpoint, events, manifest,
    record_files, sealed, state,
};

/// A run on disk, for reading. Every method looks at the folder as it is at that moment.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
    manifest: Manifest,
}

impl RunFolder {
    /// Opens the run at `path`.
    ///
    /// # Errors
    /// Where the folder is not a run, its manifest is damaged, or it was written by a newer ontogeny.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, ManifestError> {
        let path = path.into();
        let manifest = manifest::read(&path)?;
        Ok(Self { path, manifest })
    }

    pub(crate) fn with_manifest(path: PathBuf, manifest: Manifest) -> Self {
        Self { path, manifest }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The manifest, as it was when the run was opened.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub(crate) fn set_manifest(&mut self, manifest: Manifest) {
        self.manifest = manifest;
    }

    pub(crate) fn checkpoints_folder(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    pub(crate) fn records_folder(&self) -> PathBuf {
        self.path.join("records")
    }

    pub(crate) fn imported_file(&self) -> PathBuf {
        self.checkpoints_folder().join("imported.json")
    }

    /// Steps of the checkpoints kept in the folder, ascending.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn checkpoint_steps(&self) -> std::io::Result<Vec<u64>> {
        match checkpoint::steps(&self.checkpoints_folder()) {
            // A run killed while it was created has a manifest and no folders yet.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other,
        }
    }

    /// Reads the checkpoint of `step` and verifies it.
    ///
    /// # Errors
    /// Where it is missing, damaged, or of another step or run.
    pub fn read_checkpoint(&self, step: u64) -> Result<Checkpoint, CheckpointError> {
        checkpoint::read(&self.checkpoints_folder(), &self.manifest.trajectory, step)
    }

    /// Reads hash, names and shapes of the checkpoint of `step`, without reading or verifying its tensors.
    ///
    /// # Errors
    /// Where it is missing, of another step or run, or its header is damaged.
    pub fn checkpoint_header(&self, step: u64) -> Result<CheckpointHeader, CheckpointError> {
        checkpoint::read_header(&self.checkpoints_folder(), &self.manifest.trajectory, step)
    }

    /// Reads and verifies the newest training state; `None` before the first was saved.
    ///
    /// # Errors
    /// Where it is damaged or of another run.
    pub fn read_state(&self) -> Result<Option<State>, CheckpointError> {
        state::read(&self.checkpoints_folder(), &self.manifest.trajectory)
    }

    /// Checkpoints kept elsewhere, by step ascending.
    ///
    /// # Errors
    /// Where the list is damaged or newer.
    pub fn imported(&self) -> Result<Vec<Imported>, SealedError> {
        Ok(sealed::read(&self.imported_file())?.unwrap_or_default())
    }

    /// Looks for the record of `measure` at `step` with this key; one that is stale or damaged is missing, with the reason.
    ///
    /// # Errors
    /// Where the name is impossible, the record newer, or the file unreadable.
    pub fn record(&self, measure: &str, step: u64, key: &RecordKey) -> Result<Lookup, RecordError> {
        record_files::get(&self.records_folder(), measure, step, Some(key))
    }

    /// The planned measurements by name; none before [`RunWriter::write_measures`](crate::RunWriter::write_measures).
    ///
    /// # Errors
    /// Where the plan is damaged or newer.
    pub fn measures(&self) -> Result<std::collections::BTreeMap<String, MeasurePlan>, SealedError> {
        Ok(sealed::read::<Plans>(&self.path.join(PLANS_FILE))?.unwrap_or_default())
    }

    /// The transitions and stages found; none before [`RunWriter::write_analysis`](crate::RunWriter::write_analysis).
    ///
    /// # Errors
    /// Where the file is damaged or newer.
    pub fn analysis(&self) -> Result<Analysis, SealedError> {
        Ok(sealed::read(&self.path.join(ANALYSIS_FILE))?.unwrap_or_default())
    }

    /// Everything planned that has no record yet, by measurement, then by step.
    ///
    /// # Errors
    /// Where the plan or a record is newer, or a file unreadable.
    pub fn work_list(&self) -> Result<Vec<WorkItem>, ViewError> {
        view::work_list(self)
    }

    /// What happened to the run.
    ///
    /// # Errors
    /// Where the file cannot be read; lines that are no event are counted, not fatal.
    pub fn events(&self) -> std::io::Result<Events> {
        events::read(&self.path)
    }

    /// Everything measured, read together, and what could not be believed.
    ///
    /// # Errors
    /// Where the plan or a record is newer, the plan damaged, or a file unreadable.
    pub fn view(&self) -> Result<View, ViewError> {
        view::assemble(self)
    }
}
