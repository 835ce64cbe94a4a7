//! A run folder as its one writer sees it: holding a [`RunWriter`] is holding the lock.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::events::EventLog;
use crate::lock::Lock;
use crate::measures::{ANALYSIS_FILE, PLANS_FILE};
use crate::{
    Analysis, CheckpointError, Imported, LockError, Manifest, ManifestError, MeasurePlan, Problem, Record, RecordError,
    RunFolder, SealedError, State, Tensor, Written, ZarrError, atomic, checkpoint, lock, manifest, name, record_files,
    sealed, state, zarr,
};

/// A run on disk, for writing; there is at most one at a time. Its methods may be called from several threads.
#[derive(Debug)]
pub struct RunWriter {
    // Dropped in this order: the lock goes last.
    folder: RunFolder,
    events: EventLog,
    _lock: Lock,
}

/// Why a run could not be opened for writing.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is not a run, damaged, or newer.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Another process writes to it, or it cannot be written to.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A file could not be written; the message names it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Why a run could not be created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// There is a run already.
    #[error("`{}` is a run already, expected a new or empty folder: open it, or choose another folder", folder.display())]
    Exists {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder holds something else.
    #[error("`{}` holds `{found}` and is not a run, expected a new or empty folder: choose another folder", folder.display())]
    NotEmpty {
        /// The folder.
        folder: PathBuf,
        /// The first thing found in it, by name.
        found: String,
    },
    /// The manifest has no TOML form or cannot be written.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Another process writes to the folder, or it cannot be written to.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A file could not be written; the message names it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl RunWriter {
    /// Creates a run in a new or empty folder; its parents are created as needed.
    ///
    /// # Errors
    /// Where there is a run or anything else already, or the folder cannot be written to.
    pub fn create(path: impl Into<PathBuf>, manifest: &Manifest) -> Result<Self, CreateError> {
        let path = path.into();
        manifest::encode(&path, manifest)?;
        fs_err::create_dir_all(&path)?;
        check_empty(&path)?;
        let lock = Lock::take(&path)?;
        // Another process may have created the run between the check and the lock.
        check_empty(&path)?;
        manifest::write(&path, manifest)?;
        Ok(Self::prepare(path, manifest.clone(), lock)?)
    }

    /// Opens the run at `path` for writing and removes what a killed writer left behind.
    ///
    /// # Errors
    /// Where it is not a run, another process writes to it, or it cannot be written to.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let path = path.into();
        // Before the lock, so that a folder that is not a run stays as it is.
        manifest::read(&path)?;
        let lock = Lock::take(&path)?;
        let manifest = manifest::read(&path)?;
        Ok(Self::prepare(path, manifest, lock)?)
    }

    fn prepare(path: PathBuf, manifest: Manifest, lock: Lock) -> io::Result<Self> {
        let folder = RunFolder::with_manifest(path, manifest);
        let (checkpoints, records) = (folder.checkpoints_folder(), folder.records_folder());
        atomic::clean(folder.path(), false)?;
        atomic::clean(&checkpoints, false)?;
        atomic::clean(&records, true)?;
        fs_err::create_dir_all(checkpoints)?;
        fs_err::create_dir_all(records)?;
        atomic::sync_folder(folder.path())?;
        let events = EventLog::open(folder.path())?;
        Ok(Self { folder, events, _lock: lock })
    }

    /// The run, for reading.
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }

    /// Replaces the manifest, as when a measurement was added to the configuration.
    ///
    /// # Errors
    /// [`ManifestError::OtherTrajectory`] where the trajectory changed although something was saved under the old one.
    pub fn update_manifest(&mut self, manifest: Manifest) -> Result<(), ManifestError> {
        let found = &self.folder.manifest().trajectory;
        let has_saved =
            !self.folder.checkpoint_steps()?.is_empty() || state::path(&self.folder.checkpoints_folder()).exists();
        if manifest.trajectory != *found && has_saved {
            return Err(ManifestError::OtherTrajectory {
                path: self.folder.path().join(manifest::FILE),
                found: found.clone(),
                expected: manifest.trajectory,
            });
        }
        manifest::write(self.folder.path(), &manifest)?;
        self.folder.set_manifest(manifest);
        Ok(())
    }

    /// Creates the checkpoint of `step`, or verifies that the one already there holds the same bits.
    ///
    /// Write it before the state of the same step (see the crate documentation).
    ///
    /// # Errors
    /// [`CheckpointError::Differs`] where a whole checkpoint with other bits exists; it is left as it is.
    pub fn write_checkpoint(&self, step: u64, tensors: &[Tensor]) -> Result<Written, CheckpointError> {
        let folder = &self.folder;
        checkpoint::write(&folder.checkpoints_folder(), &folder.manifest().trajectory, step, tensors)
    }

    /// Replaces the newest training state, which must hold the weights too.
    ///
    /// # Errors
    /// Where a tensor's values do not fit its shape, names repeat, or the file cannot be written.
    pub fn write_state(&self, state: &State) -> Result<(), CheckpointError> {
        let folder = &self.folder;
        state::write(&folder.checkpoints_folder(), &folder.manifest().trajectory, state)
    }

    /// Replaces the list of checkpoints kept elsewhere; it is sorted by step.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write_imported(&self, imported: &[Imported]) -> Result<(), SealedError> {
        let mut by_step = imported.to_vec();
        by_step.sort_by_key(|checkpoint| checkpoint.step);
        sealed::write(&self.folder.imported_file(), &by_step)
    }

    /// Writes the record of one finished unit of work; a stale or damaged one in its place is replaced.
    ///
    /// # Errors
    /// Where names or shapes are impossible, a whole record with the same key holds another result, or a newer one is there.
    pub fn put_record(&self, record: &Record) -> Result<(), RecordError> {
        record_files::put(&self.folder.records_folder(), record)
    }

    /// Replaces the plan of measurements, by name.
    ///
    /// # Errors
    /// Where a name cannot be a folder, or the file cannot be written.
    pub fn write_measures(&self, measures: &BTreeMap<String, MeasurePlan>) -> Result<(), RecordError> {
        for measure in measures.keys() {
            name::check_measure(measure).map_err(|why| RecordError::InvalidName { name: measure.clone(), why })?;
        }
        let written = sealed::write(&self.folder.path().join(PLANS_FILE), measures);
        written.map_err(|error| match error {
            SealedError::Io(error) => error.into(),
            other => RecordError::Io(io::Error::other(other)),
        })
    }

    /// Replaces the transitions and stages found.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write_analysis(&self, analysis: &Analysis) -> Result<(), SealedError> {
        sealed::write(&self.folder.path().join(ANALYSIS_FILE), analysis)
    }

    /// Writes `measurements.zarr` anew from the records and swaps it in; returns what could not be believed.
    ///
    /// A reader sees the old tree, for an instant none, then the new one; never half of one. A reader that keeps an old
    /// tree open and has not loaded its values must open it again.
    ///
    /// # Errors
    /// Where the records cannot be read or the tree not written; the old tree then stays.
    pub fn write_zarr(&self) -> Result<Vec<Problem>, ZarrError> {
        zarr::write(&self.folder)
    }

    /// Appends an event with the present time.
    ///
    /// # Errors
    /// Where the line cannot be written.
    pub fn event(&self, kind: &str, fields: serde_json::Map<String, serde_json::Value>) -> io::Result<()> {
        self.events.append(kind, fields)
    }
}

/// A folder in which a run may be created holds nothing but what a run killed in its creation leaves.
fn check_empty(folder: &Path) -> Result<(), CreateError> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        found.push(entry?.file_name().to_string_lossy().into_owned());
    }
    found.sort();
    let folder = folder.to_owned();
    if found.iter().any(|name| name == manifest::FILE) {
        return Err(CreateError::Exists { folder });
    }
    found.retain(|name| name != lock::FILE && !name.starts_with(atomic::TEMPORARY_PREFIX));
    found.into_iter().next().map_or(Ok(()), |found| Err(CreateError::NotEmpty { folder, found }))
}
