//! A run as its workers see it: any number of them at once, each holding a [`RunWriter`].

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use crate::crew::Crew;
use crate::folder::IMPORTED_FILE;
use crate::measures::{ANALYSIS_FILE, PLANS_FILE};
use crate::training_log::{self, TrainingLog};
use crate::{
    Analysis, Calibration, CheckpointError, Claim, FORMAT_VERSION, Imported, Manifest, ManifestError, MeasurePlan,
    Place, Record, RecordError, RunFolder, SealError, SealedError, State, Tensor, Worker, Written, calibration,
    checkpoint, crew, events, manifest, name, record_files, seal, sealed, state,
};

/// A run, for writing. Its methods may be called from several threads, and other workers may write at the same time.
#[derive(Debug)]
pub struct RunWriter {
    folder: RunFolder,
    crew: Crew,
}

/// Why a run could not be opened for writing.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is not a run, damaged, newer, or a run of other checkpoints.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The folder holds something else.
    #[error("`{}` holds `{found}` and is not a run, expected a new or empty folder: choose another folder", folder.display())]
    NotEmpty {
        /// The folder.
        folder: PathBuf,
        /// The first thing found in it, by name.
        found: String,
    },
    /// Others are at work on it with another configuration.
    #[error(
        "`{}` is being worked on by process {} on {}, since {}: found another configuration than that worker has, expected the \
         same: wait for it to end, or run the same file with the same settings",
        folder.display(), worker.pid, worker.host, worker.since
    )]
    OtherConfiguration {
        /// The run.
        folder: PathBuf,
        /// One of those at work.
        worker: Box<Worker>,
    },
    /// A list of the run is newer or damaged.
    #[error(transparent)]
    Sealed(#[from] SealedError),
    /// A file could not be written; the message names it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl RunWriter {
    /// Joins the run that `manifest` describes, creating it in a new or empty folder if there is none.
    ///
    /// Where the configuration changed since, as when a measurement was added, the manifest on disk is replaced; its
    /// instruction set and engine stay those of the first checkpoints.
    ///
    /// # Errors
    /// Where the folder holds something else, other checkpoints or a newer run, cannot be written to, or others work on
    /// the run with another configuration.
    pub fn join(place: impl Into<Place>, manifest: &Manifest) -> Result<Self, OpenError> {
        let place = place.into();
        manifest::encode(&place, manifest)?;
        // Before anything is written into a folder that may be somebody's home.
        if let Some((found, _)) = read_manifest_or_empty(&place)? {
            check_trajectory(&place, &found, manifest)?;
        }
        // Each makes itself known before it looks for others: of two that come at once, one at least sees the other.
        let crew = Crew::join(&place, &manifest.intent())?;
        if let Some(worker) = crew.with_another_intent()? {
            return Err(OpenError::OtherConfiguration { folder: place.path(""), worker: Box::new(worker) });
        }
        // What was there before may have been replaced by one who is gone again.
        let existing = match read_manifest(&place)? {
            None if manifest::create(&place, manifest)? => None,
            // Another worker was faster.
            None => read_manifest(&place)?,
            found => found,
        };
        let Some((found, format)) = existing else {
            return Ok(Self { folder: RunFolder::with_manifest(place, manifest.clone()), crew });
        };
        check_trajectory(&place, &found, manifest)?;
        state::remove_superseded(&place)?;
        if found.intent() == manifest.intent() {
            if format < FORMAT_VERSION {
                manifest::replace(&place, &found)?;
            }
            return Ok(Self { folder: RunFolder::with_manifest(place, found), crew });
        }
        let manifest = Manifest { instruction_set: found.instruction_set, engine: found.engine, ..manifest.clone() };
        manifest::replace(&place, &manifest)?;
        Ok(Self { folder: RunFolder::with_manifest(place, manifest), crew })
    }

    /// Joins the run at a path or place as it is.
    ///
    /// # Errors
    /// As for [`join`](Self::join); where there is no run.
    pub fn open(place: impl Into<Place>) -> Result<Self, OpenError> {
        let place = place.into();
        let (manifest, _) = manifest::read(&place)?;
        Self::join(place, &manifest)
    }

    /// The run, for reading.
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }

    fn place(&self) -> &Place {
        self.folder.place()
    }

    /// The other workers that are alive.
    ///
    /// # Errors
    /// Where the place cannot be read.
    pub fn others(&self) -> io::Result<Vec<Worker>> {
        self.crew.others()
    }

    /// Claims a unit of work, by a name that can be a file name; `None` while a living worker holds it.
    ///
    /// A holder that died is succeeded under the next attempt number. Another may have finished the unit just before, so
    /// look for its result once more when the claim is held. Nothing depends on a claim but that work is not done twice.
    ///
    /// # Errors
    /// Where the place cannot be read or written.
    pub fn claim(&self, unit: &str) -> io::Result<Option<Claim>> {
        self.crew.claim(unit)
    }

    /// Creates the checkpoint of `step`, or verifies that the one already there holds the same bits.
    ///
    /// Write it before the state of the same step (see the crate documentation).
    ///
    /// # Errors
    /// [`CheckpointError::Differs`] where a whole checkpoint with other bits exists; it is left as it is.
    pub fn write_checkpoint(&self, step: u64, tensors: &[Tensor]) -> Result<Written, CheckpointError> {
        checkpoint::write(self.place(), &self.folder.manifest().trajectory, step, tensors)
    }

    /// Writes the newest training state, which must hold the weights too, and removes older ones.
    ///
    /// # Errors
    /// Where a tensor's values do not fit its shape, names repeat, or the file cannot be written.
    pub fn write_state(&self, state: &State) -> Result<(), CheckpointError> {
        state::write(self.place(), &self.folder.manifest().trajectory, state)
    }

    /// Replaces the list of checkpoints kept elsewhere; it is sorted by step.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write_imported(&self, imported: &[Imported]) -> Result<(), SealedError> {
        let mut by_step = imported.to_vec();
        by_step.sort_by_key(|checkpoint| checkpoint.step);
        sealed::write(self.place(), IMPORTED_FILE, &by_step)
    }

    /// Creates the record of one finished unit of work; a damaged one in its place is replaced.
    ///
    /// # Errors
    /// Where names or shapes are impossible, a whole record with the same key holds another result, or a newer one is there.
    pub fn put_record(&self, record: &Record) -> Result<(), RecordError> {
        record_files::put(self.place(), record)
    }

    /// Replaces the plan of measurements, by name.
    ///
    /// # Errors
    /// Where a name cannot be a folder, or the file cannot be written.
    pub fn write_measures(&self, measures: &BTreeMap<String, MeasurePlan>) -> Result<(), RecordError> {
        for measure in measures.keys() {
            name::check_measure(measure).map_err(|why| RecordError::InvalidName { name: measure.clone(), why })?;
        }
        let written = sealed::write(self.place(), PLANS_FILE, measures);
        written.map_err(|error| match error {
            SealedError::Io(error) => error.into(),
            other => RecordError::Io(io::Error::other(other)),
        })
    }

    /// Replaces the settings found for a measurement.
    ///
    /// # Errors
    /// Where its name cannot be a file, or the file cannot be written.
    pub fn write_calibration(&self, measure: &str, calibration: &Calibration) -> Result<(), RecordError> {
        calibration::write(self.place(), measure, calibration)
    }

    /// Replaces the transitions and stages found.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write_analysis(&self, analysis: &Analysis) -> Result<(), SealedError> {
        sealed::write(self.place(), ANALYSIS_FILE, analysis)
    }

    /// Replaces the log of the training.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write_training_log(&self, log: &TrainingLog) -> Result<(), SealedError> {
        sealed::write(self.place(), training_log::FILE, log)
    }

    /// Seals all loose records of planned measurements into Zarr arrays and makes `measurements.zarr` stand for them.
    /// Readers see all records at every moment, loose or sealed; one that is damaged is left out, and then missing.
    ///
    /// Claim it first: two workers that seal at once both do it right, but one in vain.
    ///
    /// # Errors
    /// Where the records cannot be read or the arrays not written; everything then stays as it is.
    pub fn seal(&self) -> Result<(), SealError> {
        seal::seal(&self.folder)
    }

    /// Removes the leases and cards of workers that are gone.
    ///
    /// # Errors
    /// Where the place cannot be read or written.
    pub fn remove_old_leases(&self) -> io::Result<()> {
        crew::remove_old_leases(self.place())
    }

    /// Appends an event with the present time.
    ///
    /// # Errors
    /// Where the line cannot be written.
    pub fn event(&self, kind: &str, fields: serde_json::Map<String, serde_json::Value>) -> io::Result<()> {
        events::append(self.place(), kind, fields)
    }
}

/// The manifest; `None` where the folder is empty or new.
fn read_manifest_or_empty(place: &Place) -> Result<Option<(Manifest, u32)>, OpenError> {
    if let Some(found) = read_manifest(place)? {
        return Ok(Some(found));
    }
    check_empty(place).map(|()| None).or_else(|not_empty| match read_manifest(place)? {
        // Another worker has created the run between the two looks.
        Some(found) => Ok(Some(found)),
        None => Err(not_empty),
    })
}

fn read_manifest(place: &Place) -> Result<Option<(Manifest, u32)>, ManifestError> {
    match manifest::read(place) {
        Ok(found) => Ok(Some(found)),
        Err(ManifestError::NotARun { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Refuses a run of other checkpoints; what was measured of them would be lost.
fn check_trajectory(place: &Place, found: &Manifest, expected: &Manifest) -> Result<(), OpenError> {
    if found.trajectory == expected.trajectory {
        return Ok(());
    }
    let folder = RunFolder::with_manifest(place.clone(), found.clone());
    let has_saved = !folder.checkpoint_steps()?.is_empty() || state::exists(place)? || !folder.imported()?.is_empty();
    if has_saved {
        let path = place.path(manifest::FILE);
        let (found, expected) = (found.trajectory.clone(), expected.trajectory.clone());
        return Err(ManifestError::OtherTrajectory { path, found, expected }.into());
    }
    Ok(())
}

/// A folder in which a run may be created holds nothing but what workers leave that were killed while creating it.
fn check_empty(place: &Place) -> Result<(), OpenError> {
    let mut found: Vec<String> = place.backend().entries("")?.into_iter().map(|(name, _)| name).collect();
    found.sort_unstable();
    found.retain(|name| name != crate::place::WORKERS && name != crew::LEASES);
    let folder = place.path("");
    found.into_iter().next().map_or(Ok(()), |found| Err(OpenError::NotEmpty { folder, found }))
}
