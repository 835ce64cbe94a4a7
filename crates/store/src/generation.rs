//! Sealed records: an index, `sealed/00000003.json`, over a tree of Zarr arrays, and the way back to the records.
//!
//! A generation never changes. The next one holds everything of this one and what became loose since; it takes effect
//! when its index is created, and this one stays until the one after it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use zarrs::array::{Array, data_type};
use zarrs::storage::store::MemoryStore;
use zarrs::storage::{StoreKey, WritableStorageTraits as _};

use crate::grid::{self, Labels, Places};
use crate::record::{self, Values};
use crate::sealed::{self, Fault};
use crate::shelf::Wanted;
use crate::{
    Coordinate, Detail, MissingReason, NumberType, Outcome, Place, Record, RecordArray, RecordError, RecordKey, name,
};

/// Folder of the indices.
pub(crate) const FOLDER: &str = "sealed";

/// Folder of the trees.
pub(crate) const TREES: &str = "trees";

/// What a generation holds, as its file says it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Index {
    /// The folder of its arrays, in the run.
    pub(crate) tree: String,
    /// The files of the tree with the hash of each.
    pub(crate) files: BTreeMap<String, String>,
    /// Labels along a dimension, which most records share.
    pub(crate) labels: Vec<Vec<Coordinate>>,
    pub(crate) measures: BTreeMap<String, SealedMeasure>,
}

/// A measurement in a generation.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SealedMeasure {
    pub(crate) kind: String,
    pub(crate) unit: String,
    pub(crate) description: String,
    /// The steps along the arrays; `None` where nothing was recorded yet.
    pub(crate) steps: BTreeMap<u64, Option<Entry>>,
}

/// A record without the values of its arrays.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    pub(crate) key: RecordKey,
    pub(crate) kind: String,
    pub(crate) algorithm_version: u32,
    pub(crate) outcome: Outcome,
    pub(crate) arrays: Vec<EntryArray>,
    pub(crate) details: BTreeMap<String, Detail>,
}

/// An array of a record without its values.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EntryArray {
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) dims: Vec<String>,
    /// For each of `dims`, the index of its labels in the index.
    pub(crate) labels: Vec<usize>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) number: NumberType,
    /// Hash of the values.
    pub(crate) blake3: String,
    /// The values themselves where the Zarr array must not show them: an estimate that was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hidden: Option<Values>,
}

/// A generation with the arrays that were read from it.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) number: u32,
    pub(crate) index: Index,
    place: Place,
    arrays: Mutex<BTreeMap<(String, String), Loaded>>,
}

/// The values of an array over all steps, or why they cannot be had.
type Loaded = Arc<Result<Dense, String>>;

#[derive(Debug)]
struct Dense {
    steps: Vec<u64>,
    shape: Vec<usize>,
    dims: Vec<String>,
    labels: Labels,
    values: Vec<f64>,
}

/// The key of an index.
pub(crate) fn key(number: u32) -> String {
    format!("{FOLDER}/{number:08}.json")
}

/// Numbers of all generations, ascending.
pub(crate) fn numbers(place: &Place) -> std::io::Result<Vec<u32>> {
    // Only the canonical spelling. A folder of such a name is a number that is taken, and an error to read.
    let parse = |(name, _): &(String, bool)| {
        let number = name.strip_suffix(".json")?.parse().ok()?;
        key(number).ends_with(&format!("/{name}")).then_some(number)
    };
    let mut numbers: Vec<u32> = place.backend().entries(FOLDER)?.iter().filter_map(parse).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The number after the newest.
pub(crate) fn next_number(place: &Place) -> std::io::Result<u32> {
    let newest = numbers(place)?.last().copied().unwrap_or(0);
    newest.checked_add(1).ok_or_else(|| {
        let path = place.path(&key(newest));
        let message = format!(
            "`{}` has the last number there can be: found a file that no sealing made, expected a lower number: remove it",
            path.display()
        );
        std::io::Error::other(message)
    })
}

/// The newest generation that can be read, and what is wrong with newer ones.
pub(crate) fn newest(
    place: &Place,
    cached: Option<&Arc<Generation>>,
) -> Result<(Option<Arc<Generation>>, Vec<MissingReason>), RecordError> {
    let mut problems = Vec::new();
    for number in numbers(place)?.into_iter().rev() {
        if let Some(cached) = cached.filter(|cached| cached.number == number) {
            return Ok((Some(cached.clone()), problems));
        }
        let path = place.path(&key(number));
        let Some(bytes) = place.read(&key(number))? else { continue };
        match sealed::unseal::<Index>(&bytes).and_then(checked) {
            Ok(index) => {
                let generation = Generation { number, index, place: place.clone(), arrays: Mutex::default() };
                return Ok((Some(Arc::new(generation)), problems));
            }
            Err(Fault::Newer(found)) => return Err(RecordError::NewerFormat { path, found }),
            Err(Fault::Damaged(found)) => problems.push(MissingReason::Damaged { path, found }),
        }
    }
    Ok((None, problems))
}

/// An index whose references hold and whose names stay in their folders: anybody can give a file its hash. No label may
/// stand twice, so that an array has at most as many values as the dense array of its measurement.
fn checked(index: Index) -> Result<Index, Fault> {
    let damaged = |what: &str, name: &str| Fault::Damaged(format!("{what} `{name}`, which no sealing made"));
    let tree = index.tree.strip_prefix(TREES).and_then(|tree| tree.strip_prefix('/'));
    if tree.is_none_or(|tree| name::check(tree).is_err()) {
        return Err(damaged("tree", &index.tree));
    }
    if let Some(file) = index.files.keys().find(|file| file.split('/').any(|part| name::check(part).is_err())) {
        return Err(damaged("file", file));
    }
    if let Some(at) = index.labels.iter().position(|labels| has_twice(labels)) {
        return Err(Fault::Damaged(format!("a label twice in list {at}")));
    }
    for (measure, sealed) in &index.measures {
        if name::check_measure(measure).is_err() {
            return Err(damaged("measurement", measure));
        }
        for array in sealed.steps.values().flatten().flat_map(|entry| &entry.arrays) {
            let labels: Option<Vec<&Vec<Coordinate>>> = array.labels.iter().map(|&at| index.labels.get(at)).collect();
            let Some(labels) = labels.filter(|labels| labels.len() == array.dims.len()) else {
                return Err(Fault::Damaged(format!("array `{}` without its labels", array.name)));
            };
            if std::iter::once(&array.name).chain(&array.dims).any(|name| !record::can_be_array(name)) {
                return Err(damaged("array or dimension", &array.name));
            }
            if has_twice(&array.dims) {
                return Err(damaged("repeated dimension in array", &array.name));
            }
            let n_values = labels.iter().try_fold(1_usize, |n, of_dim| n.checked_mul(of_dim.len()));
            if array.hidden.as_ref().is_some_and(|hidden| Some(hidden.0.len()) != n_values) {
                return Err(Fault::Damaged(format!("array `{}` with other values than labels", array.name)));
            }
        }
    }
    Ok(index)
}

fn has_twice<T: Ord>(items: &[T]) -> bool {
    items.iter().collect::<BTreeSet<_>>().len() != items.len()
}

fn widened<T: Into<f64>, E>(values: Result<Vec<T>, E>) -> Result<Vec<f64>, E> {
    values.map(|values| values.into_iter().map(Into::into).collect())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_default(number: &NumberType) -> bool {
    *number == NumberType::default()
}

/// Hash of values: bits in little-endian order, every NaN alike.
pub(crate) fn hash_values(values: &[f64]) -> String {
    let mut hasher = blake3::Hasher::new();
    for value in values {
        let value = if value.is_nan() { f64::NAN } else { *value };
        hasher.update(&value.to_le_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

impl Generation {
    pub(crate) fn entry(&self, measure: &str, step: u64) -> Option<&Entry> {
        self.index.measures.get(measure)?.steps.get(&step)?.as_ref()
    }

    /// How its tree is named to people.
    pub(crate) fn path(&self) -> PathBuf {
        self.place.path(&self.index.tree)
    }

    /// Whether every file of its tree is there and unchanged; records are verified one by one in any case, this is for
    /// other programs that read the tree.
    pub(crate) fn is_whole(&self) -> std::io::Result<bool> {
        for (file, expected) in &self.index.files {
            let bytes = self.place.read(&format!("{}/{file}", self.index.tree))?;
            if bytes.is_none_or(|bytes| blake3::hash(&bytes).to_hex().as_str() != expected) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a newer generation has replaced it and its arrays may be gone.
    pub(crate) fn is_gone(&self) -> std::io::Result<bool> {
        Ok(!numbers(&self.place)?.contains(&self.number))
    }

    /// The record of an entry.
    ///
    /// # Errors
    /// What is wrong with its arrays.
    pub(crate) fn record(&self, measure: &str, step: u64, entry: &Entry, wanted: Wanted) -> Result<Record, String> {
        let mut arrays = Vec::with_capacity(entry.arrays.len());
        for array in entry.arrays.iter().filter(|array| wanted.includes(&array.name)) {
            let values = match &array.hidden {
                Some(Values(values)) => values.clone(),
                None => self.values(measure, step, array)?,
            };
            let found = hash_values(&values);
            if found != array.blake3 {
                return Err(format!(
                    "values of hash {found} in array `{measure}/{}` at step {step}, expected {}",
                    array.name, array.blake3
                ));
            }
            let labels = array.labels.iter().map(|&at| self.index.labels[at].clone());
            arrays.push(RecordArray {
                name: array.name.clone(),
                unit: array.unit.clone(),
                dims: array.dims.clone(),
                coordinates: array.dims.iter().cloned().zip(labels).collect(),
                number: array.number,
                values,
            });
        }
        let record = Record {
            key: entry.key.clone(),
            measure: measure.to_owned(),
            kind: entry.kind.clone(),
            algorithm_version: entry.algorithm_version,
            step,
            outcome: entry.outcome.clone(),
            arrays,
            details: entry.details.clone(),
        };
        record.check().map_err(|invalid| invalid.to_string())?;
        Ok(record)
    }

    fn values(&self, measure: &str, step: u64, array: &EntryArray) -> Result<Vec<f64>, String> {
        let loaded = self.load(measure, &array.name);
        let dense = loaded.as_ref().as_ref().map_err(Clone::clone)?;
        let step_idx = dense.steps.binary_search(&step).map_err(|_| format!("step {step}, which was not sealed"))?;
        let labels = |dim_idx: usize| &self.index.labels[array.labels[dim_idx]][..];
        let offsets = (dense.dims == array.dims)
            .then(|| Places::new(&dense.shape, &dense.dims, &dense.labels).offsets(step_idx, labels))
            .flatten();
        let offsets = offsets.ok_or_else(|| format!("array `{measure}/{}` of another layout", array.name))?;
        Ok(offsets.into_iter().map(|at| dense.values[at]).collect())
    }

    fn load(&self, measure: &str, array: &str) -> Loaded {
        let id = (measure.to_owned(), array.to_owned());
        let mut arrays = self.arrays.lock().unwrap_or_else(PoisonError::into_inner);
        arrays.entry(id).or_insert_with(|| Arc::new(self.load_anew(measure, array))).clone()
    }

    fn load_anew(&self, measure: &str, array: &str) -> Result<Dense, String> {
        let (dims, labels) = self.layout(measure, array);
        let node = format!("{measure}/{array}");
        let failed = |error: &dyn std::fmt::Display| format!("array `{node}`, which cannot be read: {error}");
        let steps: Vec<u64> = self.index.measures[measure].steps.keys().copied().collect();
        let shape = grid::shape(steps.len(), &dims, &labels).ok_or_else(|| failed(&"it would be too large"))?;
        let store = Arc::new(MemoryStore::new());
        let folder = format!("{}/{node}", self.index.tree);
        for key in self.place.walk(&folder).map_err(|e| failed(&e))? {
            let bytes = self.place.read(&key).map_err(|e| failed(&e))?.unwrap_or_default();
            let name = key.strip_prefix(&folder).expect("keys under a folder begin with it").trim_start_matches('/');
            let name = StoreKey::new(name).map_err(|e| failed(&e))?;
            store.set(&name, bytes.into()).map_err(|e| failed(&e))?;
        }
        let zarr = Array::open(store, "/").map_err(|e| failed(&e))?;
        let expected: Vec<u64> = shape.iter().map(|&n| n as u64).collect();
        if zarr.shape() != expected {
            return Err(failed(&format!("it has shape {:?}, expected {expected:?}", zarr.shape())));
        }
        if shape.contains(&0) {
            return Ok(Dense { steps, shape, dims, labels, values: Vec::new() });
        }
        let all = zarr.subset_all();
        // Of records of several types the array has the widest, so it is the array that tells.
        let values = match zarr.data_type() {
            of if *of == data_type::float32() => widened(zarr.retrieve_array_subset::<Vec<f32>>(&all)),
            of if *of == data_type::int32() => widened(zarr.retrieve_array_subset::<Vec<i32>>(&all)),
            _ => zarr.retrieve_array_subset::<Vec<f64>>(&all),
        };
        let values = values.map_err(|e| failed(&e))?;
        Ok(Dense { steps, shape, dims, labels, values })
    }

    /// The dimensions of an array and the labels of its measurement, as they were when it was sealed.
    fn layout(&self, measure: &str, array: &str) -> (Vec<String>, Labels) {
        let entries = self.index.measures[measure].steps.values().flatten();
        let arrays: Vec<&EntryArray> = entries.flat_map(|entry| &entry.arrays).collect();
        let dims = arrays.iter().find(|a| a.name == array).map_or_else(Vec::new, |a| a.dims.clone());
        // Most records share their labels; each list needs to be looked at once.
        let mut seen = BTreeSet::new();
        let along = arrays.iter().flat_map(|a| a.dims.iter().zip(a.labels.iter().copied()));
        let along = along.filter(|&pair| seen.insert(pair)).map(|(dim, at)| (dim, &self.index.labels[at]));
        (dims, grid::union_of(along))
    }
}
