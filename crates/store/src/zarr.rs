//! The tree of Zarr v3 arrays in which records are sealed, as `xarray.open_datatree` reads it.
//!
//! One group per measurement. Dimensions are `step` and those of the records; each has a coordinate array. `value` and
//! `standard_error` hold what was done, NaN elsewhere; `status` (with `verdict` and `reason`) says why. Other arrays
//! (traces, …) are kept for refused steps too, since they show why. Details stand in the subgroup `details`: all numbers in
//! one array, all words in another, since an array costs two files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};
use zarrs::array::codec::ZstdCodec;
use zarrs::array::data_type;
use zarrs::array::{ArrayBuilder, Element};
use zarrs::group::GroupBuilder;
use zarrs::storage::store::MemoryStore;
use zarrs::storage::{ListableStorageTraits as _, ReadableStorageTraits as _, StoreKey, WritableStorageTraits as _};

use crate::grid::{self, Labels};
use crate::seal::SealError;
use crate::training_log::TRAINING_LOG;
use crate::view::Measured;
use crate::{Coordinate, Detail, FORMAT_VERSION, NumberType, Place, RunFolder, Status, TrainingLog, ViewError};

/// Values in one compressed chunk, if a step does not hold more; a chunk is what a reader decompresses at least.
const CHUNK_VALUES: usize = 1 << 13;

/// Values in one shard, if a chunk does not hold more; a shard is one file.
const SHARD_VALUES: usize = 1 << 22;

/// Writes the tree under `root`, which nobody knows yet; returns the hash of each file.
pub(crate) fn write(
    folder: &RunFolder,
    root: &str,
    measured: &BTreeMap<String, Measured>,
    training: Option<&TrainingLog>,
) -> Result<BTreeMap<String, String>, SealError> {
    let mut tree = Tree { store: Arc::new(MemoryStore::new()), nodes: Vec::new() };
    let manifest = folder.manifest();
    let attributes = json!({
        "title": manifest.title, "ontogeny_format_version": FORMAT_VERSION, "ontogeny_version": manifest.version,
        "instruction_set": manifest.instruction_set, "seed": manifest.seed, "command": manifest.command,
    });
    tree.group("/", attributes)?;
    for (measure, measured) in measured {
        write_measure(&mut tree, measure, measured, folder)?;
    }
    if let Some(log) = training {
        write_training_log(&mut tree, log)?;
    }
    tree.consolidate()?;
    tree.save(folder.place(), root)
}

fn write_measure(tree: &mut Tree, measure: &str, measured: &Measured, run: &RunFolder) -> Result<(), SealError> {
    let group = format!("/{measure}");
    let plan = &measured.plan;
    tree.group(&group, json!({ "kind": plan.kind, "unit": plan.unit, "description": plan.description }))?;
    let steps = measured.steps();
    let names: BTreeSet<&str> =
        measured.records.iter().flatten().flat_map(|r| r.arrays.iter().map(|a| &*a.name)).collect();
    let mut labels: Labels = grid::union_of_labels(measured.records.iter().flatten().flat_map(|record| &record.arrays));
    for name in names {
        let first = measured.arrays(name).next().expect("the name comes from one of these arrays").2;
        let shape = grid::shape(steps.len(), &first.dims, &labels)
            .ok_or_else(|| ViewError::TooLarge { folder: run.path(), measure: measure.to_owned() })?;
        let is_estimate = name == "value" || name == "standard_error";
        let arrays = measured.arrays(name).filter(|(_, counts, _)| *counts || !is_estimate);
        let values = grid::dense(&shape, &first.dims, &labels, arrays.map(|(step_idx, _, array)| (step_idx, array)));
        let dims: Vec<&str> = std::iter::once("step").chain(first.dims.iter().map(String::as_str)).collect();
        let is_uniform = measured.arrays(name).all(|(_, _, array)| array.number == first.number);
        let number = if is_uniform { first.number } else { NumberType::Float64 };
        tree.numbers(&format!("{group}/{name}"), &dims, &shape, number, values, json!({ "units": first.unit }))?;
    }
    labels.insert("step".to_owned(), steps.into_iter().map(Coordinate::Number).collect());
    for (dim, labels) in &labels {
        tree.labels(&format!("{group}/{dim}"), dim, labels)?;
    }
    write_status(tree, &group, &measured.status())?;
    write_details(tree, &group, measured)
}

/// What of a training's log does not depend on the machine's speed, along `update`.
fn write_training_log(tree: &mut Tree, log: &TrainingLog) -> Result<(), SealError> {
    let group = format!("/{TRAINING_LOG}");
    tree.group(
        &group,
        json!({ "description": "Means over the updates since the row before; rates and counts at its end." }),
    )?;
    let updates: Vec<Coordinate> = log.update.iter().map(|&update| Coordinate::Number(update)).collect();
    tree.labels(&format!("{group}/update"), "update", &updates)?;
    for (name, unit, values) in log.columns() {
        let (path, shape) = (format!("{group}/{name}"), [values.len()]);
        tree.numbers(&path, &["update"], &shape, NumberType::Float64, values, json!({ "units": unit }))?;
    }
    Ok(())
}

fn write_status(tree: &mut Tree, group: &str, status: &[Status]) -> Result<(), SealError> {
    let codes: Vec<u8> = status
        .iter()
        .map(|status| match status {
            Status::Missing => 0,
            Status::Refused { .. } => 1,
            Status::Done => 2,
        })
        .collect();
    // CF conventions 3.5: how a code says what it means.
    let meanings = json!({ "flag_values": [0, 1, 2], "flag_meanings": "missing refused done" });
    let (path, n) = (format!("{group}/status"), codes.len());
    tree.plain(&path, &["step"], &[n], ArrayType::Code, codes, meanings)?;
    let words = |pick: fn(&Status) -> &str| status.iter().map(|s| pick(s).to_owned()).collect();
    let verdict = words(|s| if let Status::Refused { verdict, .. } = s { verdict } else { "" });
    tree.texts(&format!("{group}/verdict"), "step", verdict)?;
    let reason = words(|s| if let Status::Refused { reason, .. } = s { reason } else { "" });
    tree.texts(&format!("{group}/reason"), "step", reason)
}

/// Numbers over (step, `detail`) and words over (step, `word`). A detail that is a word at some step is one at all.
fn write_details(tree: &mut Tree, group: &str, measured: &Measured) -> Result<(), SealError> {
    let n_steps = measured.records.len();
    let mut numbers: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut words: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let all = || measured.records.iter().enumerate().flat_map(|(i, r)| r.iter().map(move |r| (i, &r.details)));
    for (_, details) in all() {
        for name in details.iter().filter(|(_, d)| matches!(d, Detail::Text(_))).map(|(name, _)| name) {
            words.entry(name).or_insert_with(|| vec![String::new(); n_steps]);
        }
    }
    for (step_idx, details) in all() {
        for (name, detail) in details {
            match (detail, words.get_mut(&**name)) {
                (Detail::Text(text), Some(by_step)) => by_step[step_idx].clone_from(text),
                (Detail::Number(Some(number)), Some(by_step)) => by_step[step_idx] = number.to_string(),
                (Detail::Number(Some(number)), None) => {
                    numbers.entry(name).or_insert_with(|| vec![f64::NAN; n_steps])[step_idx] = *number;
                }
                _ => {}
            }
        }
    }
    if numbers.is_empty() && words.is_empty() {
        return Ok(());
    }
    let group = format!("{group}/details");
    tree.group(&group, json!({}))?;
    if !numbers.is_empty() {
        let names: Vec<Coordinate> = numbers.keys().map(|&name| Coordinate::Text(name.to_owned())).collect();
        let by_step: Vec<f64> = (0..n_steps).flat_map(|i| numbers.values().map(move |column| column[i])).collect();
        let shape = [n_steps, names.len()];
        let node = format!("{group}/number");
        tree.numbers(&node, &["step", "detail"], &shape, NumberType::Float64, by_step, json!({}))?;
        tree.labels(&format!("{group}/detail"), "detail", &names)?;
    }
    if !words.is_empty() {
        let names: Vec<Coordinate> = words.keys().map(|&name| Coordinate::Text(name.to_owned())).collect();
        let by_step: Vec<String> =
            (0..n_steps).flat_map(|i| words.values().map(move |column| column[i].clone())).collect();
        let (path, shape) = (format!("{group}/text"), [n_steps, names.len()]);
        tree.plain(&path, &["step", "word"], &shape, ArrayType::Text, by_step, json!({}))?;
        tree.labels(&format!("{group}/word"), "word", &names)?;
    }
    let steps: Vec<Coordinate> = measured.steps().into_iter().map(Coordinate::Number).collect();
    tree.labels(&format!("{group}/step"), "step", &steps)
}

/// A Zarr tree being written, with the paths of its nodes for the consolidated metadata.
struct Tree {
    store: Arc<MemoryStore>,
    nodes: Vec<String>,
}

#[derive(Clone, Copy)]
enum ArrayType {
    Text,
    Index,
    Code,
}

impl Tree {
    fn group(&mut self, node: &str, attributes: Value) -> Result<(), SealError> {
        let mut builder = GroupBuilder::new();
        builder.attributes(into_map(attributes));
        let group = builder.build(self.store.clone(), node).map_err(|e| node_error(node, e))?;
        group.store_metadata().map_err(|e| node_error(node, e))?;
        self.nodes.push(node.to_owned());
        Ok(())
    }

    /// A sharded array of numbers over `dims`; NaN, or −1, where nothing was written.
    fn numbers(
        &mut self,
        node: &str,
        dims: &[&str],
        shape: &[usize],
        number: NumberType,
        values: Vec<f64>,
        attributes: Value,
    ) -> Result<(), SealError> {
        let per_step = shape[1..].iter().product::<usize>().max(1);
        let chunk_steps = (CHUNK_VALUES / per_step).clamp(1, shape[0].max(1));
        // A shard holds whole chunks; it may reach beyond the array.
        let chunks_per_shard =
            (SHARD_VALUES / (chunk_steps * per_step)).clamp(1, shape[0].div_ceil(chunk_steps).max(1));
        let with_steps = |n_steps: usize| -> Vec<u64> {
            std::iter::once(n_steps).chain(shape[1..].iter().copied()).map(|n| n.max(1) as u64).collect()
        };
        let shard = with_steps(chunk_steps * chunks_per_shard);
        let mut builder = match number {
            NumberType::Float64 => ArrayBuilder::new(to_u64(shape), &shard[..], data_type::float64(), f64::NAN),
            NumberType::Float32 => ArrayBuilder::new(to_u64(shape), &shard[..], data_type::float32(), f32::NAN),
            NumberType::Index32 => ArrayBuilder::new(to_u64(shape), &shard[..], data_type::int32(), -1_i32),
        };
        builder.subchunk_shape(with_steps(chunk_steps));
        match number {
            NumberType::Float64 => self.array(builder, node, dims, shape, values, attributes),
            NumberType::Float32 => {
                let narrow: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
                self.array(builder, node, dims, shape, narrow, attributes)
            }
            NumberType::Index32 => {
                let whole: Vec<i32> = values.into_iter().map(|v| if v.is_nan() { -1 } else { v as i32 }).collect();
                self.array(builder, node, dims, shape, whole, attributes)
            }
        }
    }

    /// An array of one chunk.
    fn plain<T: Element>(
        &mut self,
        node: &str,
        dims: &[&str],
        shape: &[usize],
        of: ArrayType,
        values: Vec<T>,
        attributes: Value,
    ) -> Result<(), SealError> {
        let chunk: Vec<u64> = shape.iter().map(|&n| n.max(1) as u64).collect();
        let builder = match of {
            ArrayType::Text => ArrayBuilder::new(to_u64(shape), &chunk[..], data_type::string(), ""),
            ArrayType::Index => ArrayBuilder::new(to_u64(shape), &chunk[..], data_type::int64(), 0_i64),
            ArrayType::Code => ArrayBuilder::new(to_u64(shape), &chunk[..], data_type::uint8(), 0_u8),
        };
        self.array(builder, node, dims, shape, values, attributes)
    }

    fn texts(&mut self, node: &str, dim: &str, texts: Vec<String>) -> Result<(), SealError> {
        self.plain(node, &[dim], &[texts.len()], ArrayType::Text, texts, json!({}))
    }

    /// Coordinates: int64 where all labels are numbers that fit, else texts.
    fn labels(&mut self, node: &str, dim: &str, labels: &[Coordinate]) -> Result<(), SealError> {
        let numbers: Option<Vec<i64>> = labels
            .iter()
            .map(|label| match label {
                Coordinate::Number(number) => i64::try_from(*number).ok(),
                Coordinate::Text(_) => None,
            })
            .collect();
        match numbers {
            Some(numbers) => self.plain(node, &[dim], &[labels.len()], ArrayType::Index, numbers, json!({})),
            None => self.texts(node, dim, labels.iter().map(ToString::to_string).collect()),
        }
    }

    fn array<T: Element>(
        &mut self,
        mut builder: ArrayBuilder,
        node: &str,
        dims: &[&str],
        shape: &[usize],
        values: Vec<T>,
        attributes: Value,
    ) -> Result<(), SealError> {
        builder
            .bytes_to_bytes_codecs(vec![Arc::new(ZstdCodec::new(3, true))])
            .dimension_names(Some(dims.iter().copied()))
            .attributes(into_map(attributes));
        let array = builder.build(self.store.clone(), node).map_err(|e| node_error(node, e))?;
        array.store_metadata().map_err(|e| node_error(node, e))?;
        if !shape.contains(&0) {
            array.store_array_subset(&array.subset_all(), values).map_err(|e| node_error(node, e))?;
        }
        self.nodes.push(node.to_owned());
        Ok(())
    }

    /// Copies the metadata of all nodes into the root, as xarray wants it.
    ///
    /// By hand and raw: the consolidation of zarrs 0.23 writes the string codec in a form that zarr-python refuses.
    fn consolidate(&self) -> Result<(), SealError> {
        let mut children = Map::new();
        for node in self.nodes.iter().filter(|node| *node != "/") {
            children.insert(node.trim_start_matches('/').to_owned(), self.metadata(node)?);
        }
        let mut root = self.metadata("/")?;
        root["consolidated_metadata"] = json!({ "kind": "inline", "must_understand": false, "metadata": children });
        let key = StoreKey::new("zarr.json").map_err(|e| node_error("/", e))?;
        self.store.set(&key, root.to_string().into_bytes().into()).map_err(|e| node_error("/", e))
    }

    fn metadata(&self, node: &str) -> Result<Value, SealError> {
        let name = format!("{node}/zarr.json").trim_start_matches('/').to_owned();
        let key = StoreKey::new(name).map_err(|e| node_error(node, e))?;
        let bytes = self.store.get(&key).map_err(|e| node_error(node, e))?.unwrap_or_default();
        serde_json::from_slice(&bytes).map_err(|e| node_error(node, e))
    }

    /// Writes all files under `root` of the place.
    fn save(&self, place: &Place, root: &str) -> Result<BTreeMap<String, String>, SealError> {
        let mut hashes = BTreeMap::new();
        for key in self.store.list().map_err(|e| node_error("/", e))? {
            let bytes = self.store.get(&key).map_err(|e| node_error(key.as_str(), e))?.unwrap_or_default();
            place.replace(&format!("{root}/{}", key.as_str()), &bytes)?;
            hashes.insert(key.as_str().to_owned(), blake3::hash(&bytes).to_hex().to_string());
        }
        Ok(hashes)
    }
}

fn node_error(node: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> SealError {
    SealError::Node { node: node.to_owned(), source: source.into() }
}

fn into_map(value: Value) -> Map<String, Value> {
    if let Value::Object(map) = value { map } else { Map::new() }
}

fn to_u64(shape: &[usize]) -> Vec<u64> {
    shape.iter().map(|&n| n as u64).collect()
}
