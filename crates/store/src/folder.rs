//! A run as readers see it; nothing is ever written, and no writer is waited for.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::measures::{ANALYSIS_FILE, PLANS_FILE, Plans};
use crate::shelf::{Cache, Shelf};
use crate::training_log::{self, TrainingLog};
use crate::view::{self, View};
use crate::{
    Analysis, Calibration, Checkpoint, CheckpointError, CheckpointHeader, Events, Imported, Lookup, Manifest,
    ManifestError, MeasurePlan, Place, RecordError, RecordKey, SealedError, State, ViewError, WorkItem, calibration,
    checkpoint, events, manifest, sealed, state,
};

/// A run, for reading. Every method looks at it as it is at that moment.
#[derive(Debug, Clone)]
pub struct RunFolder {
    place: Place,
    manifest: Manifest,
    cache: Cache,
}

/// Checkpoints kept elsewhere.
pub(crate) const IMPORTED_FILE: &str = "checkpoints/imported.json";

impl RunFolder {
    /// Opens the run at a path or place.
    ///
    /// # Errors
    /// Where it is not a run, its manifest is damaged, or it was written by a newer ontogeny.
    pub fn open(place: impl Into<Place>) -> Result<Self, ManifestError> {
        let place = place.into();
        let (manifest, _) = manifest::read(&place)?;
        Ok(Self::with_manifest(place, manifest))
    }

    pub(crate) fn with_manifest(place: Place, manifest: Manifest) -> Self {
        Self { place, manifest, cache: Cache::default() }
    }

    /// Where the run is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// How the run is named to people.
    pub fn path(&self) -> PathBuf {
        self.place.path("")
    }

    /// The manifest, as it was when the run was opened.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Steps of the checkpoints kept in the run, ascending.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn checkpoint_steps(&self) -> std::io::Result<Vec<u64>> {
        checkpoint::steps(&self.place)
    }

    /// Reads the checkpoint of `step` and verifies it.
    ///
    /// # Errors
    /// Where it is missing, damaged, or of another step or run.
    pub fn read_checkpoint(&self, step: u64) -> Result<Checkpoint, CheckpointError> {
        checkpoint::read(&self.place, &self.manifest.trajectory, step)
    }

    /// Reads hash, names and shapes of the checkpoint of `step`, without reading or verifying its tensors.
    ///
    /// # Errors
    /// Where it is missing, of another step or run, or its header is damaged.
    pub fn checkpoint_header(&self, step: u64) -> Result<CheckpointHeader, CheckpointError> {
        checkpoint::read_header(&self.place, &self.manifest.trajectory, step)
    }

    /// Reads and verifies the newest training state; `None` before the first was saved.
    ///
    /// # Errors
    /// Where it is damaged or of another run.
    pub fn read_state(&self) -> Result<Option<State>, CheckpointError> {
        state::read(&self.place, &self.manifest.trajectory)
    }

    /// The step of the newest training state, which is not read; `None` before the first was saved.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn state_step(&self) -> Result<Option<u64>, CheckpointError> {
        state::newest_step(&self.place)
    }

    /// Checkpoints kept elsewhere, by step ascending.
    ///
    /// # Errors
    /// Where the list is damaged or newer.
    pub fn imported(&self) -> Result<Vec<Imported>, SealedError> {
        Ok(sealed::read(&self.place, IMPORTED_FILE)?.unwrap_or_default())
    }

    /// Looks for the record of `measure` at `step` with this key; one that is stale or damaged is missing, with the reason.
    ///
    /// # Errors
    /// Where the name is impossible, the record newer, or the file unreadable.
    pub fn record(&self, measure: &str, step: u64, key: &RecordKey) -> Result<Lookup, RecordError> {
        Shelf::lookup(&self.place, &self.cache, measure, step, Some(key))
    }

    /// Whether there is a record with this key, by its name alone.
    ///
    /// # Errors
    /// Where the name is impossible, or what is sealed is newer or unreadable.
    pub fn has_record(&self, measure: &str, step: u64, key: &RecordKey) -> Result<bool, RecordError> {
        Shelf::has_one(&self.place, &self.cache, measure, step, key)
    }

    /// The names of all records as they are now, to look for many at once.
    ///
    /// # Errors
    /// Where they cannot be listed, or were sealed by a newer ontogeny.
    pub fn shelf(&self) -> Result<Shelf, RecordError> {
        Shelf::open(&self.place, &self.cache)
    }

    /// Where the newest arrays for other programs are; `None` before the first were sealed. Local runs have them as
    /// `measurements.zarr` as well.
    ///
    /// # Errors
    /// Where they cannot be listed, or were sealed by a newer ontogeny.
    pub fn measurements(&self) -> Result<Option<PathBuf>, RecordError> {
        Ok(self.shelf()?.sealed().map(|generation| generation.path()))
    }

    /// The planned measurements by name; none before [`RunWriter::write_measures`](crate::RunWriter::write_measures).
    ///
    /// # Errors
    /// Where the plan is damaged or newer.
    pub fn measures(&self) -> Result<BTreeMap<String, MeasurePlan>, SealedError> {
        Ok(sealed::read::<Plans>(&self.place, PLANS_FILE)?.unwrap_or_default())
    }

    /// The transitions and stages found; none before [`RunWriter::write_analysis`](crate::RunWriter::write_analysis).
    ///
    /// # Errors
    /// Where the file is damaged or newer.
    pub fn analysis(&self) -> Result<Analysis, SealedError> {
        Ok(sealed::read(&self.place, ANALYSIS_FILE)?.unwrap_or_default())
    }

    /// The settings found for a measurement; `None` before
    /// [`RunWriter::write_calibration`](crate::RunWriter::write_calibration).
    ///
    /// # Errors
    /// Where the file is damaged or newer.
    pub fn calibration(&self, measure: &str) -> Result<Option<Calibration>, SealedError> {
        calibration::read(&self.place, measure)
    }

    /// The log of the training; `None` where there was none, or by an ontogeny that kept none.
    ///
    /// # Errors
    /// Where the file is damaged or newer.
    pub fn training_log(&self) -> Result<Option<TrainingLog>, SealedError> {
        let path = || self.place.path(training_log::FILE);
        let log: Option<TrainingLog> = sealed::read(&self.place, training_log::FILE).map_err(|error| match error {
            SealedError::Damaged { found, .. } => SealedError::DamagedLog { path: path(), found },
            other => other,
        })?;
        match log.as_ref().map_or(Ok(()), TrainingLog::check) {
            Ok(()) => Ok(log),
            Err(found) => Err(SealedError::DamagedLog { path: path(), found }),
        }
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
        events::read(&self.place)
    }

    /// Everything measured, read together, and what could not be believed.
    ///
    /// # Errors
    /// Where the plan or a record is newer, the plan damaged, or a file unreadable.
    pub fn view(&self) -> Result<View, ViewError> {
        view::assemble(self)
    }
}
