//! Runs on disk or in an object store: written by any number of workers at once, readable by anyone at any moment.
//!
//! ```text
//! RUN/
//!   run.toml                                 manifest: versions, seed, hashes, resolved configuration
//!   checkpoints/step-00001200.safetensors    f32 tensors, content-hashed
//!   checkpoints/state-step-00001200.safetensors   weights, optimiser state and counters of the newest saved step
//!   checkpoints/imported.json                checkpoints kept elsewhere, by path and hash
//!   records/MEASURE/step-00001200.KEY.json   one finished unit of work: checkpoint × measurement, not yet sealed
//!   sealed/00000003.json                     index of the newest generation of sealed records …
//!   trees/00000003-….zarr/                   … and its arrays, Zarr v3
//!   measurements.zarr                        stands for the newest tree, for `xarray.open_datatree`
//!   measures.json                            what is measured, and at which steps
//!   analysis.json                            transitions and stages
//!   training.json                            the log of the training
//!   calibration/MEASURE.json                 sampler settings found before measuring, and every estimate they rest on
//!   events.jsonl                             what happened, with times
//!   workers/…  leases/UNIT.00001             who is at work, and on what
//! ```
//!
//! The store does not know what the numbers mean. [`RunFolder`] reads; [`RunWriter`] is a worker and writes.
//!
//! **Whole files.** Every file is written under a temporary name beside its target, flushed to the disk, and given its
//! name at once; a process killed at any moment leaves the old file or the new one. What it left half-written is never
//! read, and is removed when the next worker comes. The log alone is appended to: a torn line is skipped by readers.
//!
//! **Workers.** Checkpoints, states and records are created once, under names that say all they depend on; whoever makes
//! one makes the same bits, and a second maker finds them. So any number of workers may work on a run, and none can
//! spoil what another did, not even one that was taken for dead. [`RunWriter::claim`] only keeps them from doing things
//! twice. Whether a holder lives is known by a lock that dies with its process (in an object store: by a beat that
//! stops, as counted by the observer's own monotonic clock); no two clocks are ever compared.
//!
//! **Resuming.** [`RunWriter::write_checkpoint`] comes before [`RunWriter::write_state`] at each saved step. The state
//! holds the weights too, so it alone is enough to resume; a run killed between the two writes goes back to the older
//! state, computes the same bits again, and finds its checkpoint already there (created once, verified after that).
//!
//! **Work.** A measurement at a step is *missing* until a record with the expected [`RecordKey`] exists and its hash
//! holds; then it is *done* or *refused*. [`RunFolder::work_list`] is what is missing.
//!
//! **Sealing.** [`RunWriter::seal`] moves loose records into arrays, a generation at a time; readers see the union.
//! Every array of every record keeps its hash there, so damage is noticed, and costs that record only.
//!
//! **Versions.** Every file carries the version of its format. A newer one is refused; older runs are read, and
//! become runs of this one when a worker joins: format 1 had no sealed records, and replaced states in place; format 2
//! did not record the engine.
//!
//! ```
//! use ontogeny_store::{Manifest, RunFolder, RunWriter, Tensor};
//!
//! let scratch = tempfile::tempdir()?;
//! let path = scratch.path().join("run");
//! let writer = RunWriter::join(&path, &Manifest { title: "First run".to_owned(), ..Manifest::default() })?;
//! writer.write_checkpoint(100, &[Tensor::new("w", vec![2], vec![0.5, -1.0])])?;
//!
//! let run = RunFolder::open(&path)?; // readers wait for nobody
//! assert_eq!(run.checkpoint_steps()?, [100]);
//! assert_eq!(run.read_checkpoint(100)?.tensors[0].values, [0.5, -1.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod addresses;
mod calibration;
mod change_points;
mod checkpoint;
mod clock;
mod crew;
mod events;
mod fluctuations;
mod folder;
mod generation;
mod grid;
mod imported;
mod local;
mod manifest;
mod measures;
mod name;
#[cfg(feature = "s3")]
mod objects;
mod parts;
mod place;
mod record;
mod record_files;
mod results;
mod seal;
mod sealed;
mod shelf;
mod shown;
mod state;
mod study_results;
mod tensor;
mod tensor_file;
mod training_log;
mod trajectory;
mod view;
mod warnings;
mod writer;
mod zarr;

pub use addresses::{MeasureLabels, series_addresses};
pub use calibration::{CalibratedSettings, Calibration, CalibrationTrial};
pub use change_points::{ChangePoint, ChangePoints, PenaltyRange, SeriesChanges};
pub use checkpoint::{Checkpoint, CheckpointHeader, Written};
pub use crew::{Claim, Worker};
pub use events::{Event, Events};
pub use fluctuations::{FluctuationGroup, FluctuationMode, Fluctuations};
pub use folder::RunFolder;
pub use imported::{Imported, ImportedError, hash_file};
pub use local::write_file;
pub use manifest::{Manifest, ManifestError};
pub use measures::{Analysis, MeasurePlan, WorkItem};
pub use parts::{Part, PartFit, PartSigmoid, SumOfParts};
pub use place::Place;
pub use record::{InvalidRecord, KeyParts, NumberType, Outcome, Record, RecordArray, RecordKey, index_labels};
pub use record_files::{Lookup, MissingReason, RecordError};
pub use results::{
    Boundary, Change, Coordinate, Detail, Nested, Observable, RunInfo, RunView, Stage, Status, Transition, pair_detail,
    refused_part, refused_parts,
};
pub use seal::SealError;
pub use sealed::SealedError;
pub use shelf::Shelf;
pub use state::State;
pub use study_results::{
    Atlas, AtlasRow, FigureForm, JudgedAttack, JudgedHypothesis, Judgement, Registered, StudyEffect, StudyFigure,
    StudyMark, StudyRun, StudyVerdict, UnitValue,
};
pub use tensor::{Tensor, hash_tensors};
pub use tensor_file::CheckpointError;
pub use training_log::{TRAINING_LOG, TrainingLog, TrainingRow};
pub use trajectory::{Form, Plane, Trajectory};
pub use view::{Problem, View, ViewError};
pub use warnings::{Group, Indicators, SeriesWarning, Together, Warnings, Window};
pub use writer::{OpenError, RunWriter};

/// Version of everything in a run folder; a newer one is refused, an older one is read.
pub const FORMAT_VERSION: u32 = 16;

/// Whether a file of this version was ever written. No two of them are one flipped bit apart, as digits: a flip goes noticed.
pub(crate) fn is_format_version(version: u64) -> bool {
    [1, 2, 4, 8, u64::from(FORMAT_VERSION)].contains(&version)
}
