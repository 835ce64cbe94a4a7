//! Runs on disk: one folder per run, written atomically by one writer at a time and readable by anyone at any moment.
//!
//! ```text
//! RUN/
//!   run.toml                                 manifest: versions, seed, hashes, resolved configuration
//!   lock                                     names the writer while there is one
//!   checkpoints/step-00001200.safetensors    f32 tensors, content-hashed
//!   checkpoints/state-newest.safetensors     weights, optimiser state and counters of the newest saved step
//!   checkpoints/imported.json                checkpoints kept elsewhere, by path and hash
//!   records/MEASURE/step-00001200.json       one finished unit of work: checkpoint × measurement
//!   measures.json                            what is measured, and at which steps
//!   analysis.json                            transitions and stages
//!   measurements.zarr/                       Zarr v3 for `xarray.open_datatree`, derived from the records
//!   events.jsonl                             what happened, with times
//! ```
//!
//! The store does not know what the numbers mean. [`RunFolder`] reads, [`RunWriter`] holds the lock and writes.
//!
//! **Atomicity.** Every file is written under a temporary name beside its target, flushed to the disk and renamed; a
//! process killed at any moment leaves the old file or the new one. Leftover temporary files are never read, and are
//! removed when the lock is next taken. `events.jsonl` alone is appended to: a torn last line is skipped by readers.
//!
//! **Resuming.** [`RunWriter::write_checkpoint`] comes before [`RunWriter::write_state`] at each saved step. The state
//! holds the weights too, so it alone is enough to resume; a run killed between the two writes goes back to the older
//! state, computes the same bits again, and finds its checkpoint already there (created once, verified after that).
//!
//! **Work.** A measurement at a step is *missing* until a record with the expected [`RecordKey`] exists and its hash
//! holds; then it is *done* or *refused*. [`RunFolder::work_list`] is what is missing.
//!
//! ```
//! use ontogeny_store::{Manifest, RunFolder, RunWriter, Tensor};
//!
//! let scratch = tempfile::tempdir()?;
//! let path = scratch.path().join("run");
//! let writer = RunWriter::create(&path, &Manifest { title: "First run".to_owned(), ..Manifest::default() })?;
//! writer.write_checkpoint(100, &[Tensor::new("w", vec![2], vec![0.5, -1.0])])?;
//!
//! let run = RunFolder::open(&path)?; // readers need no lock
//! assert_eq!(run.checkpoint_steps()?, [100]);
//! assert_eq!(run.read_checkpoint(100)?.tensors[0].values, [0.5, -1.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod atomic;
mod checkpoint;
mod clock;
mod events;
mod folder;
mod grid;
mod imported;
mod lock;
mod manifest;
mod measures;
mod name;
mod record;
mod record_files;
mod results;
mod sealed;
mod state;
mod tensor;
mod tensor_file;
mod view;
mod writer;
mod zarr;

pub use atomic::replace_bytes as write_file;
pub use checkpoint::{Checkpoint, CheckpointHeader, Written};
pub use events::{Event, Events};
pub use folder::RunFolder;
pub use imported::{Imported, ImportedError, hash_file};
pub use lock::{Holder, LockError};
pub use manifest::{Manifest, ManifestError};
pub use measures::{Analysis, MeasurePlan, WorkItem};
pub use record::{InvalidRecord, KeyParts, Outcome, Record, RecordArray, RecordKey, index_labels};
pub use record_files::{Lookup, MissingReason, RecordError};
pub use results::{Boundary, Coordinate, Detail, Nested, Observable, RunInfo, RunView, Status, Transition};
pub use sealed::SealedError;
pub use state::State;
pub use tensor::{Tensor, hash_tensors};
pub use tensor_file::CheckpointError;
pub use view::{Problem, View, ViewError};
pub use writer::{CreateError, OpenError, RunWriter};
pub use zarr::ZarrError;

/// Version of everything in a run folder; a newer one is refused, an older one is read.
pub const FORMAT_VERSION: u32 = 1;
