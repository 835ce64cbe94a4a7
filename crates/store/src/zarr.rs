//! `measurements.zarr`: the records as Zarr v3 arrays that `xarray.open_datatree` reads; derived, and made anew at will.
//!
//! One group per measurement. Dimensions are `step` and those of the records; each has a coordinate array. `value` and
//! `standard_error` hold what was done, NaN elsewhere; `status` (with `verdict` and `reason`) says why. Other arrays
//! (traces, …) are kept for refused steps too, since they show why. Details stand in the subgroup `details`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value, json};
use zarrs::array::codec::ZstdCodec;
use zarrs::array::data_type;
use zarrs::array::{ArrayBuilder, Element};
use zarrs::filesystem::FilesystemStore;
use zarrs::group::GroupBuilder;

use crate::atomic::{self, TEMPORARY_PREFIX};
use crate::grid::{self, Labels};
use crate::view::{self, Measured};
use crate::{Coordinate, Detail, FORMAT_VERSION, Problem, RunFolder, Status, ViewError};

/// Name of the tree in the run folder.
pub(crate) const FOLDER: &str = "measurements.zarr";

/// Values in one compressed chunk, if a step does not hold more; a chunk is what a reader decompresses at least.
const CHUNK_VALUES: usize = 1 << 13;

/// Values in one shard, if a chunk does not hold more; a shard is one file.
const SHARD_VALUES: usize = 1 << 22;

/// Why `measurements.zarr` could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ZarrError {
    /// The records could not be read together.
    #[error(transparent)]
    View(#[from] ViewError),
    /// A group or array could not be written.
    #[error("failed to write `{node}` of `{}`: {source}: free space or fix the permissions, then run again", path.display())]
    Node {
        /// The tree being written.
        path: PathBuf,
        /// The group or array.
        node: String,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file could not be written; the message names it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Writes the tree beside the old one and swaps it in; returns the records that could not be believed.
pub(crate) fn write(folder: &RunFolder) -> Result<Vec<Problem>, ZarrError> {
    let measured = view::load(folder)?;
    let temporary = tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempdir_in(folder.path())?;
    let new = temporary.path().join(FOLDER);
    fs_err::create_dir(&new)?;
    let store = FilesystemStore::new(&new).map_err(|e| node_error(&new, "/", e))?;
    let mut tree = Tree { path: new, store: Arc::new(store), nodes: Vec::new() };
    let manifest = folder.manifest();
    let root = json!({
        "title": manifest.title, "ontogeny_format_version": FORMAT_VERSION, "ontogeny_version": manifest.version,
        "instruction_set": manifest.instruction_set, "seed": manifest.seed, "command": manifest.command,
    });
    tree.group("/", root)?;
    for (measure, measured) in &measured {
        write_measure(&mut tree, measure, measured, folder.path())?;
    }
    tree.consolidate()?;
    sync_tree(&tree.path)?;

    let target = folder.path().join(FOLDER);
    if target.exists() {
        fs_err::rename(&target, temporary.path().join("old"))?;
    }
    fs_err::rename(&tree.path, &target)?;
    atomic::sync_folder(folder.path())?;
    // Dropping `temporary` removes the old tree; if that fails, taking the lock cleans it up.
    Ok(view::problems(&measured))
}

fn write_measure(tree: &mut Tree, measure: &str, measured: &Measured, run: &Path) -> Result<(), ZarrError> {
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
            .ok_or_else(|| ViewError::TooLarge { folder: run.to_owned(), measure: measure.to_owned() })?;
        let is_estimate = name == "value" || name == "standard_error";
        let arrays = measured.arrays(name).filter(|(_, counts, _)| *counts || !is_estimate);
        let values = grid::dense(&shape, &first.dims, &labels, arrays.map(|(step_idx, _, array)| (step_idx, array)));
        let dims: Vec<&str> = std::iter::once("step").chain(first.dims.iter().map(String::as_str)).collect();
        tree.floats(&format!("{group}/{name}"), &dims, &shape, &values, json!({ "units": first.unit }))?;
    }
    labels.insert("step".to_owned(), steps.into_iter().map(Coordinate::Number).collect());
    for (dim, labels) in &labels {
        tree.labels(&format!("{group}/{dim}"), dim, labels)?;
    }
    write_status(tree, &group, &measured.status())?;
    write_details(tree, &group, measured)
}

fn write_status(tree: &mut Tree, group: &str, status: &[Status]) -> Result<(), ZarrError> {
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

/// Each detail over steps: numbers where all are numbers, else texts.
fn write_details(tree: &mut Tree, group: &str, measured: &Measured) -> Result<(), ZarrError> {
    let n_steps = measured.records.len();
    let mut details: BTreeMap<&str, Vec<Option<&Detail>>> = BTreeMap::new();
    for (step_idx, record) in measured.records.iter().enumerate() {
        for (name, detail) in record.iter().flat_map(|r| &r.details) {
            details.entry(name).or_insert_with(|| vec![None; n_steps])[step_idx] = Some(detail);
        }
    }
    if details.is_empty() {
        return Ok(());
    }
    tree.group(&format!("{group}/details"), json!({}))?;
    for (name, by_step) in details {
        let path = format!("{group}/details/{name}");
        if by_step.iter().any(|detail| matches!(detail, Some(Detail::Text(_)))) {
            let texts = by_step.iter().map(|detail| match detail {
                Some(Detail::Text(text)) => text.clone(),
                Some(Detail::Number(Some(number))) => number.to_string(),
                Some(Detail::Number(None)) | None => String::new(),
            });
            tree.texts(&path, "step", texts.collect())?;
        } else {
            let numbers: Vec<f64> = by_step
                .iter()
                .map(|detail| match detail {
                    Some(Detail::Number(Some(number))) => *number,
                    _ => f64::NAN,
                })
                .collect();
            tree.floats(&path, &["step"], &[n_steps], &numbers, json!({}))?;
        }
    }
    Ok(())
}

/// A Zarr tree being written, with the paths of its nodes for the consolidated metadata.
struct Tree {
    path: PathBuf,
    store: Arc<FilesystemStore>,
    nodes: Vec<String>,
}

#[derive(Clone, Copy)]
enum ArrayType {
    Text,
    Index,
    Code,
}

impl Tree {
    fn group(&mut self, node: &str, attributes: Value) -> Result<(), ZarrError> {
        let mut builder = GroupBuilder::new();
        builder.attributes(into_map(attributes));
        let group = builder.build(self.store.clone(), node).map_err(|e| node_error(&self.path, node, e))?;
        group.store_metadata().map_err(|e| node_error(&self.path, node, e))?;
        self.nodes.push(node.to_owned());
        Ok(())
    }

    /// A sharded array of numbers over `dims`, NaN where nothing was written.
    fn floats(
        &mut self,
        node: &str,
        dims: &[&str],
        shape: &[usize],
        values: &[f64],
        attributes: Value,
    ) -> Result<(), ZarrError> {
        let per_step = shape[1..].iter().product::<usize>().max(1);
        let chunk_steps = (CHUNK_VALUES / per_step).clamp(1, shape[0].max(1));
        // A shard holds whole chunks; it may reach beyond the array.
        let chunks_per_shard =
            (SHARD_VALUES / (chunk_steps * per_step)).clamp(1, shape[0].div_ceil(chunk_steps).max(1));
        let with_steps = |n_steps: usize| -> Vec<u64> {
            std::iter::once(n_steps).chain(shape[1..].iter().copied()).map(|n| n.max(1) as u64).collect()
        };
        let mut builder = ArrayBuilder::new(
            to_u64(shape),
            &with_steps(chunk_steps * chunks_per_shard)[..],
            data_type::float64(),
            f64::NAN,
        );
        builder.subchunk_shape(with_steps(chunk_steps));
        self.array(builder, node, dims, shape, values.to_vec(), attributes)
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
    ) -> Result<(), ZarrError> {
        let chunk: Vec<u64> = shape.iter().map(|&n| n.max(1) as u64).collect();
        let builder = match of {
            ArrayType::Text => ArrayBuilder::new(to_u64(shape), &chunk[..], data_type::string(), ""),
            ArrayType::Index => ArrayBuilder::new(to_u64(shape), &chunk[..], data_type::int64(), 0_i64),
            ArrayType::Code => ArrayBuilder::new(to_u64(shape), &chunk[..], data_type::uint8(), 0_u8),
        };
        self.array(builder, node, dims, shape, values, attributes)
    }

    fn texts(&mut self, node: &str, dim: &str, texts: Vec<String>) -> Result<(), ZarrError> {
        self.plain(node, &[dim], &[texts.len()], ArrayType::Text, texts, json!({}))
    }

    /// Coordinates: int64 where all labels are numbers that fit, else texts.
    fn labels(&mut self, node: &str, dim: &str, labels: &[Coordinate]) -> Result<(), ZarrError> {
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
    ) -> Result<(), ZarrError> {
        builder
            .bytes_to_bytes_codecs(vec![Arc::new(ZstdCodec::new(3, true))])
            .dimension_names(Some(dims.iter().copied()))
            .attributes(into_map(attributes));
        let array = builder.build(self.store.clone(), node).map_err(|e| node_error(&self.path, node, e))?;
        array.store_metadata().map_err(|e| node_error(&self.path, node, e))?;
        if !shape.contains(&0) {
            array.store_array_subset(&array.subset_all(), values).map_err(|e| node_error(&self.path, node, e))?;
        }
        self.nodes.push(node.to_owned());
        Ok(())
    }

    /// Copies the metadata of all nodes into the root, as xarray wants it.
    ///
    /// By hand and raw: the consolidation of zarrs 0.23 writes the string codec in a form that zarr-python refuses.
    fn consolidate(&self) -> Result<(), ZarrError> {
        let read = |node: &str| -> Result<Value, ZarrError> {
            let file = self.path.join(node.trim_start_matches('/')).join("zarr.json");
            let bytes = fs_err::read(&file)?;
            serde_json::from_slice(&bytes).map_err(|e| node_error(&self.path, node, e))
        };
        let mut children = Map::new();
        for node in self.nodes.iter().filter(|node| *node != "/") {
            children.insert(node.trim_start_matches('/').to_owned(), read(node)?);
        }
        let mut root = read("/")?;
        root["consolidated_metadata"] = json!({ "kind": "inline", "must_understand": false, "metadata": children });
        fs_err::write(self.path.join("zarr.json"), root.to_string())?;
        Ok(())
    }
}

fn node_error(path: &Path, node: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ZarrError {
    ZarrError::Node { path: path.to_owned(), node: node.to_owned(), source: source.into() }
}

fn into_map(value: Value) -> Map<String, Value> {
    if let Value::Object(map) = value { map } else { Map::new() }
}

fn to_u64(shape: &[usize]) -> Vec<u64> {
    shape.iter().map(|&n| n as u64).collect()
}

/// Forces a tree to the disk, files before the folders that name them.
fn sync_tree(folder: &Path) -> io::Result<()> {
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            fs_err::File::open(entry.path())?.sync_all()?;
        }
    }
    atomic::sync_folder(folder)
}
