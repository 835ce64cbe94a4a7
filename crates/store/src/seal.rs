//! Sealing: loose records into the next generation of Zarr arrays, so that a thousand runs are not a million files.
//!
//! One worker at a time seals. What it does takes effect at one moment, when the index of the new generation is created:
//! until then the loose records stand, after that they are removed. Killed before, it leaves a tree that nobody knows
//! and the next one removes; killed after, loose records that are sealed as well, which the next one removes, too.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::generation::{self, Entry, EntryArray, Index, SealedMeasure, hash_values};
use crate::measures::Plans;
use crate::record::Values;
use crate::shelf::{Shelf, Wanted};
use crate::view::{self, Measured};
use crate::{
    Coordinate, MeasurePlan, Outcome, Place, Record, RecordError, RunFolder, SealedError, ViewError, record_files,
    sealed, zarr,
};

/// The name under which the newest tree is found.
pub(crate) const NAME: &str = "measurements.zarr";

/// Why records could not be sealed; they stay as they are.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The records could not be read together.
    #[error(transparent)]
    View(#[from] ViewError),
    /// A group or array could not be made.
    #[error("failed to make `{node}` of `{NAME}`: {source}: this is a mistake of ontogeny, please report it")]
    Node {
        /// The group or array.
        node: String,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file could not be written; the message names it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<RecordError> for SealError {
    fn from(error: RecordError) -> Self {
        Self::View(error.into())
    }
}

impl From<SealedError> for SealError {
    fn from(error: SealedError) -> Self {
        Self::View(error.into())
    }
}

/// Seals what is loose. Records that cannot be believed are left out, and are missing from then on.
pub(crate) fn seal(folder: &RunFolder) -> Result<(), SealError> {
    let place = folder.place();
    loop {
        let shelf = folder.shelf()?;
        let plans = with_sealed(folder.measures()?, &shelf);
        if is_sealed(&shelf, &plans)
            && let Some(generation) = shelf.sealed()
            && generation.is_whole()?
        {
            return Ok(place.backend().point(NAME, &generation.index.tree)?);
        }
        let Some(measured) = view::load_from(&shelf, &plans, Wanted::All)? else { continue };
        let newest = generation::numbers(place)?.last().copied().unwrap_or(0);
        let number = newest.checked_add(1).ok_or_else(|| {
            let path = place.path(&generation::key(newest));
            io::Error::other(format!("`{}` has the highest number there is: remove it", path.display()))
        })?;
        let mut index = index(&measured);
        // Named by its content: should two workers make it, they make the same files.
        let content = serde_json::to_vec(&index).map_err(io::Error::from)?;
        index.tree = format!("{}/{number:08}-{}.zarr", generation::TREES, &blake3::hash(&content).to_hex()[..16]);
        let tree = index.tree.clone();
        index.files = zarr::write(folder, &tree, &measured)?;
        if !place.create(&generation::key(number), &sealed::seal(&index).map_err(io::Error::from)?)? {
            // Another worker took this one for dead and was faster.
            continue;
        }
        place.backend().point(NAME, &tree)?;
        remove_sealed(place, &shelf, &measured)?;
        remove_old(place, number)?;
        return Ok(());
    }
}

/// The plans, and what is sealed already and no longer planned, which is kept.
fn with_sealed(mut plans: Plans, shelf: &Shelf) -> Plans {
    for (name, sealed) in shelf.sealed().iter().flat_map(|generation| &generation.index.measures) {
        let plan = plans.entry(name.clone()).or_insert_with(|| MeasurePlan {
            kind: sealed.kind.clone(),
            unit: sealed.unit.clone(),
            description: sealed.description.clone(),
            steps: BTreeMap::new(),
        });
        for (&step, entry) in &sealed.steps {
            if let Some(entry) = entry {
                plan.steps.entry(step).or_insert_with(|| Some(entry.key.clone()));
            }
        }
    }
    plans
}

/// Whether nothing planned is loose, and the arrays have the planned form.
fn is_sealed(shelf: &Shelf, plans: &Plans) -> bool {
    let loose = |measure: &str, step: &u64| shelf.loose().get(measure).is_some_and(|steps| steps.contains_key(step));
    let Some(generation) = shelf.sealed() else { return false };
    shelf.problems().is_empty()
        && plans.len() == generation.index.measures.len()
        && plans.iter().all(|(name, plan)| {
            generation.index.measures.get(name).is_some_and(|sealed| {
                (&sealed.kind, &sealed.unit, &sealed.description) == (&plan.kind, &plan.unit, &plan.description)
                    && sealed.steps.keys().eq(plan.steps.keys())
                    && !plan.steps.keys().any(|step| loose(name, step))
            })
        })
}

fn index(measured: &BTreeMap<String, Measured>) -> Index {
    let mut labels = LabelTable::default();
    let mut measures = BTreeMap::new();
    for (name, of_measure) in measured {
        let entries = of_measure.records.iter().map(|record| record.as_ref().ok().map(|r| entry(r, &mut labels)));
        let plan = &of_measure.plan;
        let sealed = SealedMeasure {
            kind: plan.kind.clone(),
            unit: plan.unit.clone(),
            description: plan.description.clone(),
            steps: plan.steps.keys().copied().zip(entries).collect(),
        };
        measures.insert(name.clone(), sealed);
    }
    Index { tree: String::new(), files: BTreeMap::new(), labels: labels.all, measures }
}

fn entry(record: &Record, labels: &mut LabelTable) -> Entry {
    let is_refused = matches!(record.outcome, Outcome::Refused { .. });
    let arrays = record.arrays.iter().map(|array| EntryArray {
        name: array.name.clone(),
        unit: array.unit.clone(),
        dims: array.dims.clone(),
        labels: array.dims.iter().map(|dim| labels.number(&array.coordinates[dim])).collect(),
        blake3: hash_values(&array.values),
        hidden: (is_refused && Wanted::Estimates.includes(&array.name)).then(|| Values(array.values.clone())),
    });
    Entry {
        key: record.key.clone(),
        kind: record.kind.clone(),
        algorithm_version: record.algorithm_version,
        outcome: record.outcome.clone(),
        arrays: arrays.collect(),
        details: record.details.clone(),
    }
}

/// Each list of labels once.
#[derive(Default)]
struct LabelTable {
    all: Vec<Vec<Coordinate>>,
    numbers: BTreeMap<Vec<Coordinate>, usize>,
}

impl LabelTable {
    fn number(&mut self, labels: &[Coordinate]) -> usize {
        if let Some(&number) = self.numbers.get(labels) {
            return number;
        }
        let number = self.all.len();
        self.all.push(labels.to_vec());
        self.numbers.insert(labels.to_vec(), number);
        number
    }
}

/// Removes the loose files of every sealed record, those of other settings and of format 1 included.
fn remove_sealed(place: &Place, shelf: &Shelf, measured: &BTreeMap<String, Measured>) -> Result<(), SealError> {
    for (name, of_measure) in measured {
        let Some(loose) = shelf.loose().get(name) else { continue };
        for (step, record) in of_measure.plan.steps.keys().zip(&of_measure.records) {
            if record.is_ok() {
                for file in loose.get(step).into_iter().flatten() {
                    place.remove(&record_files::location(name, file)?)?;
                }
            }
        }
    }
    Ok(())
}

/// Removes generations before the last, which a reader may still have open, and trees that never took effect.
fn remove_old(place: &Place, newest: u32) -> Result<(), SealError> {
    let mut kept = BTreeSet::new();
    for number in generation::numbers(place)? {
        if number + 1 < newest {
            place.remove(&generation::key(number))?;
        } else if let Some(index) = place.read(&generation::key(number))?
            && let Ok(index) = sealed::unseal::<Index>(&index)
        {
            kept.insert(index.tree);
        }
    }
    for name in place.folders(generation::TREES)? {
        let tree = format!("{}/{name}", generation::TREES);
        // A worker that was taken for dead can no longer make an index of a number that exists.
        let is_past = name.get(..8).and_then(|digits| digits.parse().ok()).is_some_and(|n: u32| n <= newest);
        if is_past && !kept.contains(&tree) {
            place.remove(&tree)?;
        }
    }
    Ok(())
}
