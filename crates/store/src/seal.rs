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
        // Before the records are listed: whatever is sealed since takes this number, and what it removed is not missed.
        let number = generation::next_number(place)?;
        let shelf = folder.shelf()?;
        let plans = with_sealed(folder.measures()?, &shelf);
        if is_sealed(&shelf, &plans)
            && let Some(generation) = shelf.sealed()
            && generation.is_whole()?
        {
            return Ok(place.backend().point(NAME, &generation.index.tree)?);
        }
        let Some(measured) = view::load_from(&shelf, &plans, Wanted::All)? else { continue };
        let training = folder.training_log().map_err(|error| io::Error::other(error.to_string()))?;
        let mut index = index(&measured);
        // Named by its content: should two workers make it, they make the same files.
        let content = serde_json::to_vec(&index).map_err(io::Error::from)?;
        index.tree = format!("{}/{number:08}-{}.zarr", generation::TREES, &blake3::hash(&content).to_hex()[..16]);
        let tree = index.tree.clone();
        index.files = zarr::write(folder, &tree, &measured, training.as_ref())?;
        if !place.create(&generation::key(number), &sealed::seal(&index).map_err(io::Error::from)?)? {
            // Another worker took this one for dead and was faster, unless the name is taken by what is no index.
            if generation::numbers(place)?.last().is_none_or(|&newest| newest < number) {
                let path = place.path(&generation::key(number));
                let message =
                    format!("`{}` is a link to nothing, expected an index or no such file: remove it", path.display());
                return Err(io::Error::other(message).into());
            }
            continue;
        }
        if generation::numbers(place)?.last() != Some(&number) {
            // So much faster that the index of this number was old and removed before it was made again.
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
        number: array.number,
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

/// Removes the loose files of every sealed record, those of other settings and of format 1 included. Where it is not
/// known yet which settings count, those of others stay.
fn remove_sealed(place: &Place, shelf: &Shelf, measured: &BTreeMap<String, Measured>) -> Result<(), SealError> {
    for (name, of_measure) in measured {
        let Some(loose) = shelf.loose().get(name) else { continue };
        for ((step, key), record) in of_measure.plan.steps.iter().zip(&of_measure.records) {
            let (Ok(record), Some(files)) = (record, loose.get(step)) else { continue };
            let sealed = record_files::file_name(*step, &record.key);
            for file in files {
                if key.is_some() || files.len() == 1 || *file == sealed {
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
        if number.saturating_add(1) < newest {
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
        let is_past =
            name.split_once('-').and_then(|(digits, _)| digits.parse().ok()).is_some_and(|n: u32| n <= newest);
        if is_past && !kept.contains(&tree) {
            place.remove(&tree)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fmt;
    use std::io::{Read, Write as _};
    use std::path::{Path, PathBuf};
    use std::sync::Mutex;

    use super::*;
    use crate::local::LocalFolder;
    use crate::place::{Backend, Presence, WriteContent};
    use crate::record::tests::sample;
    use crate::{Manifest, RunWriter, Status};

    /// A local folder in which something happens after the first record was read.
    struct Interrupted {
        folder: LocalFolder,
        event: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    }

    impl fmt::Debug for Interrupted {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.folder.fmt(f)
        }
    }

    impl Backend for Interrupted {
        fn open(&self, key: &str) -> io::Result<Option<(Box<dyn Read + Send>, u64)>> {
            self.folder.open(key)
        }
        fn read(&self, key: &str) -> io::Result<Option<Vec<u8>>> {
            let found = self.folder.read(key)?;
            if key.starts_with(record_files::FOLDER)
                && let Some(event) = self.event.lock().unwrap().take()
            {
                event();
            }
            Ok(found)
        }
        fn create(&self, key: &str, write: WriteContent<'_>) -> io::Result<bool> {
            self.folder.create(key, write)
        }
        fn replace(&self, key: &str, write: WriteContent<'_>) -> io::Result<()> {
            self.folder.replace(key, write)
        }
        fn mark(&self, key: &str, bytes: &[u8]) -> io::Result<bool> {
            self.folder.mark(key, bytes)
        }
        fn remove(&self, key: &str) -> io::Result<()> {
            self.folder.remove(key)
        }
        fn entries(&self, folder: &str) -> io::Result<Vec<(String, bool)>> {
            self.folder.entries(folder)
        }
        fn append(&self, line: &[u8]) -> io::Result<()> {
            self.folder.append(line)
        }
        fn log(&self) -> io::Result<Vec<u8>> {
            self.folder.log()
        }
        fn enlist(&self, worker: &str, card: &[u8]) -> io::Result<Box<dyn Presence>> {
            self.folder.enlist(worker, card)
        }
        fn is_alive(&self, worker: &str) -> io::Result<bool> {
            self.folder.is_alive(worker)
        }
        fn point(&self, name: &str, target: &str) -> io::Result<()> {
            self.folder.point(name, target)
        }
        fn tidy(&self) -> io::Result<()> {
            self.folder.tidy()
        }
        fn path(&self, key: &str) -> PathBuf {
            self.folder.path(key)
        }
    }

    fn plan(steps: &[u64]) -> Plans {
        let plan = MeasurePlan {
            kind: "llc".to_owned(),
            unit: "nats".to_owned(),
            description: "A sample.".to_owned(),
            steps: steps.iter().map(|&step| (step, Some(sample("llc", step, &[1.0]).key))).collect(),
        };
        Plans::from([("llc".to_owned(), plan)])
    }

    fn run(path: &Path, steps: &[u64]) -> RunWriter {
        let writer = RunWriter::join(path, &Manifest::default()).unwrap();
        writer.write_measures(&plan(steps)).unwrap();
        writer
    }

    fn n_done(path: &Path) -> usize {
        let view = RunFolder::open(path).unwrap().view().unwrap();
        view.results.observables["llc"].status.iter().filter(|status| **status == Status::Done).count()
    }

    #[test]
    fn a_slow_sealer_takes_nothing_from_a_fast_one() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("run");
        let fast = run(&path, &[1, 2]);
        fast.put_record(&sample("llc", 1, &[1.0])).unwrap();
        let event = move || {
            fast.put_record(&sample("llc", 2, &[2.0])).unwrap();
            fast.seal().unwrap();
        };
        let folder = LocalFolder::new(path.clone());
        let slow = Place::of(Interrupted { folder, event: Mutex::new(Some(Box::new(event))) });
        RunWriter::open(&slow).unwrap().seal().unwrap();
        assert_eq!(n_done(&path), 2);
    }

    #[test]
    fn the_numbers_of_foreign_files_hide_nothing() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("run");
        let writer = run(&path, &[1, 2]);
        for (step, foreign) in [(1, "99999999.json"), (2, "+9999999.json")] {
            let place = writer.folder().place();
            place.create(&format!("{}/{foreign}", generation::FOLDER), b"not an index").unwrap();
            writer.put_record(&sample("llc", step, &[1.0])).unwrap();
            writer.seal().unwrap();
            assert_eq!(n_done(&path), step as usize);
        }
        writer.folder().place().create(&generation::key(u32::MAX), b"not an index").unwrap();
        let error = writer.seal().unwrap_err().to_string();
        assert!(error.contains("4294967295.json") && error.contains("remove it"), "{error}");
    }

    #[test]
    fn an_index_that_leads_out_of_the_run_is_damaged() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("a/b/run");
        let writer = run(&path, &[1, 2]);
        let refused = Outcome::Refused { verdict: "no".to_owned(), reason: "a test".to_owned() };
        writer.put_record(&Record { outcome: refused, ..sample("llc", 1, &[1.0]) }).unwrap();
        writer.seal().unwrap();
        let index = writer.folder().shelf().unwrap().sealed().unwrap().index.clone();
        let array = |edit: &dyn Fn(&mut EntryArray)| {
            let mut index = index.clone();
            let steps = &mut index.measures.get_mut("llc").unwrap().steps;
            edit(&mut steps.get_mut(&1).unwrap().as_mut().unwrap().arrays[0]);
            index
        };
        let mut renamed = index.clone();
        let sealed_measure = renamed.measures.remove("llc").unwrap();
        renamed.measures.insert("../../x".to_owned(), sealed_measure);
        let hostile = [
            Index { tree: "trees/../../../x".to_owned(), ..index.clone() },
            Index { tree: "records".to_owned(), ..index.clone() },
            renamed,
            array(&|array| array.name = "../../../../x".to_owned()),
            array(&|array| array.labels.push(usize::MAX)),
        ];
        let before = fs_err::read_dir(scratch.path()).unwrap().count();
        for (n, index) in hostile.into_iter().enumerate() {
            let file = path.join(generation::key(9));
            fs_err::File::create(&file).unwrap().write_all(&sealed::seal(&index).unwrap()).unwrap();
            let view = RunFolder::open(&path).unwrap().view().unwrap();
            assert!(view.problems[0].reason.to_string().contains("00000009.json"), "{n}: {:?}", view.problems);
            fs_err::remove_file(file).unwrap();
        }
        assert_eq!(fs_err::read_dir(scratch.path()).unwrap().count(), before);
    }
}
