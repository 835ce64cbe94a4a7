//! Everything measured, read together: records into [`RunView`].

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use crate::grid::{self, Labels};
use crate::measures::Plans;
use crate::shelf::{Shelf, Wanted};
use crate::{
    Coordinate, Lookup, MeasurePlan, MissingReason, Nested, Observable, Outcome, Record, RecordArray, RecordError,
    RunFolder, RunInfo, RunView, SealedError, Status, WorkItem, shown,
};

/// A run as its results show it.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// What the report and `show --json` say.
    pub results: RunView,
    /// Files that could not be believed; what they hold counts as missing.
    pub problems: Vec<Problem>,
}

/// A file whose content counts as missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Name of the measurement; empty where the file belongs to none.
    pub measure: String,
    /// Step of the record.
    pub step: u64,
    /// What was found in which file, and what was expected.
    pub reason: MissingReason,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &*self.measure {
            "" => self.reason.fmt(f),
            measure => write!(f, "`{measure}` at step {}: {}", self.step, self.reason),
        }
    }
}

/// Why a run cannot be read together.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// `measures.json`, `analysis.json` or `imported.json` is newer, damaged or unreadable.
    #[error(transparent)]
    Sealed(#[from] SealedError),
    /// A record is newer or unreadable.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The labels of all records together span more values than can be held.
    #[error(
        "measurement `{measure}` in `{}`: found labels that span more than {} values over all steps, expected fewer: \
         measure fewer components or steps",
        folder.display(),
        grid::MAX_VALUES
    )]
    TooLarge {
        /// The run.
        folder: PathBuf,
        /// Name of the measurement.
        measure: String,
    },
    /// The folder could not be read; the message names it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The records of one measurement, one slot for each planned step.
pub(crate) struct Measured {
    pub(crate) plan: MeasurePlan,
    pub(crate) records: Vec<Result<Record, MissingReason>>,
}

impl Measured {
    /// Planned steps, ascending.
    pub(crate) fn steps(&self) -> Vec<u64> {
        self.plan.steps.keys().copied().collect()
    }

    /// The status at each step.
    pub(crate) fn status(&self) -> Vec<Status> {
        self.records
            .iter()
            .map(|record| match record.as_ref().map(|r| &r.outcome) {
                Err(_) => Status::Missing,
                Ok(Outcome::Done) => Status::Done,
                Ok(Outcome::Refused { verdict, reason }) => {
                    Status::Refused { verdict: verdict.clone(), reason: reason.clone() }
                }
            })
            .collect()
    }

    /// The arrays named `name` with the index of their step, and whether their values count.
    pub(crate) fn arrays<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (usize, bool, &'a RecordArray)> {
        self.records.iter().enumerate().filter_map(move |(step_idx, record)| {
            let record = record.as_ref().ok()?;
            Some((step_idx, record.outcome == Outcome::Done, record.array(name)?))
        })
    }
}

/// Reads the records of the planned measurements.
pub(crate) fn load(
    folder: &RunFolder,
    arrays: Wanted,
) -> Result<(BTreeMap<String, Measured>, Vec<Problem>), ViewError> {
    let plans = folder.measures()?;
    loop {
        let shelf = folder.shelf()?;
        if let Some(measured) = load_from(&shelf, &plans, arrays)? {
            let mut problems = problems(&measured);
            let whole = |reason: &MissingReason| Problem { measure: String::new(), step: 0, reason: reason.clone() };
            problems.extend(shelf.problems().iter().map(whole));
            return Ok((measured, problems));
        }
    }
}

/// Reads the planned records from a shelf; `None` where it is outdated.
pub(crate) fn load_from(
    shelf: &Shelf,
    plans: &Plans,
    arrays: Wanted,
) -> Result<Option<BTreeMap<String, Measured>>, RecordError> {
    let mut measured = BTreeMap::new();
    for (measure, plan) in plans {
        let wanted = plan.steps.iter().map(|(&step, key)| (&**measure, step, key.as_ref()));
        let Some(found) = shelf.lookup_all(wanted, arrays)? else { return Ok(None) };
        let mut dims_by_array: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let records = found.into_iter().map(|lookup| match lookup {
            Lookup::Missing(reason) => Err(reason),
            Lookup::Found(record) => match other_dims(&record, &mut dims_by_array) {
                None => Ok(*record),
                Some(found) => Err(MissingReason::Damaged { path: shelf.path(measure), found }),
            },
        });
        let records = records.collect();
        measured.insert(measure.clone(), Measured { plan: plan.clone(), records });
    }
    Ok(Some(measured))
}

/// Says where an array has other dimensions than in the records before; one dense array could not hold both.
fn other_dims(record: &Record, dims_by_array: &mut BTreeMap<String, Vec<String>>) -> Option<String> {
    for array in &record.arrays {
        if let Some(expected) = dims_by_array.get(&array.name).filter(|dims| **dims != array.dims) {
            return Some(format!(
                "array `{}` with dimensions {:?}, expected {expected:?} as at the steps before",
                array.name, array.dims
            ));
        }
    }
    for array in &record.arrays {
        dims_by_array.insert(array.name.clone(), array.dims.clone());
    }
    None
}

/// All files that are there and do not count.
fn problems(measured: &BTreeMap<String, Measured>) -> Vec<Problem> {
    missing(measured)
        .filter(|(_, _, reason)| **reason != MissingReason::NoRecord)
        .map(|(measure, step, reason)| Problem { measure: measure.to_owned(), step, reason: reason.clone() })
        .collect()
}

fn missing(measured: &BTreeMap<String, Measured>) -> impl Iterator<Item = (&str, u64, &MissingReason)> {
    measured.iter().flat_map(|(measure, m)| {
        m.plan
            .steps
            .keys()
            .zip(&m.records)
            .filter_map(move |(&step, record)| Some((&**measure, step, record.as_ref().err()?)))
    })
}

/// Everything planned that has no record yet, by measurement, then by step.
pub(crate) fn work_list(folder: &RunFolder) -> Result<Vec<WorkItem>, ViewError> {
    Ok(missing(&load(folder, Wanted::Estimates)?.0)
        .map(|(measure, step, reason)| WorkItem { measure: measure.to_owned(), step, reason: reason.clone() })
        .collect())
}

/// Reads a run together.
pub(crate) fn assemble(folder: &RunFolder) -> Result<View, ViewError> {
    let (measured, problems) = load(folder, Wanted::Shown)?;
    let mut checkpoints = folder.checkpoint_steps()?;
    checkpoints.extend(folder.imported()?.iter().map(|imported| imported.step));
    checkpoints.sort_unstable();
    checkpoints.dedup();
    let mut observables = BTreeMap::new();
    let mut calibrations = BTreeMap::new();
    for (measure, m) in measured {
        if let Some(found) = folder.calibration(&measure)? {
            calibrations.insert(measure.clone(), found);
        }
        let observable =
            observable(&m).ok_or_else(|| ViewError::TooLarge { folder: folder.path(), measure: measure.clone() })?;
        observables.insert(measure, observable);
    }
    let analysis = folder.analysis()?;
    let results = RunView {
        run: run_info(folder),
        checkpoints,
        observables,
        transitions: analysis.transitions,
        stages: analysis.stages,
        intervals: analysis.intervals,
        trajectories: analysis.trajectories,
        change_points: analysis.change_points,
        warnings: analysis.warnings,
        parts: analysis.parts,
        fluctuations: analysis.fluctuations,
        calibrations,
        training: folder.training_log()?,
    };
    Ok(View { results, problems })
}

fn run_info(folder: &RunFolder) -> RunInfo {
    let manifest = folder.manifest().clone();
    RunInfo {
        title: manifest.title,
        directory: folder.path().display().to_string(),
        version: manifest.version,
        instruction_set: manifest.instruction_set,
        seed: manifest.seed,
        configuration: toml::to_string_pretty(&manifest.configuration)
            .expect("the table was read from TOML or has been written as TOML"),
        hashes: manifest.hashes,
        command: manifest.command,
    }
}

/// The dense form of one measurement; `None` where it is too large.
fn observable(measured: &Measured) -> Option<Observable> {
    let steps = measured.steps();
    // Refused records have no value that counts, but may say along which labels there would be one.
    let dims = measured.arrays("value").next().map_or_else(Vec::new, |(_, _, array)| array.dims.clone());
    let labels = grid::union_of_labels(measured.arrays("value").map(|(_, _, array)| array));
    let shape = grid::shape(steps.len(), &dims, &labels)?;
    let nested = |name: &str| {
        let done = measured.arrays(name).filter(|(_, counts, _)| *counts);
        let values = grid::dense(&shape, &dims, &labels, done.map(|(step_idx, _, array)| (step_idx, array)));
        Nested {
            shape: shape.clone(),
            values: values.into_iter().map(|value| Some(value).filter(|v| v.is_finite())).collect(),
        }
    };
    let (values, standard_errors) = (nested("value"), nested("standard_error"));
    let mut coordinates: Labels = labels;
    coordinates.insert("step".to_owned(), steps.into_iter().map(Coordinate::Number).collect());
    let details = measured.records.iter().map(|r| r.as_ref().map_or_else(|_| BTreeMap::new(), |r| r.details.clone()));
    Some(Observable {
        kind: measured.plan.kind.clone(),
        unit: measured.plan.unit.clone(),
        description: measured.plan.description.clone(),
        dims: std::iter::once("step".to_owned()).chain(dims).collect(),
        coordinates,
        values,
        standard_errors,
        status: measured.status(),
        details: details.collect(),
        shown: shown::of(measured),
    })
}
