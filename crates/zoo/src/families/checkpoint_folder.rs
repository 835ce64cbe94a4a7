//! Folders that hold one checkpoint: one file of weights, or several with an index that says which tensor is in which.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use crate::{ReadError, TensorFile, read_tensors};

/// The files of one checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointFiles {
    /// The file of weights, or the index of several.
    pub main: PathBuf,
    /// The files that an index names, sorted; empty without one.
    pub shards: Vec<PathBuf>,
}

/// What a folder may hold, the first of which is read.
const MAIN_FILES: [&str; 4] =
    ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"];

/// What the name of an index ends in.
const INDEX_SUFFIX: &str = ".index.json";

/// Longest index read: that of a network of a million tensors.
const MAX_INDEX_BYTES: u64 = 128 << 20;

/// The files of the checkpoint in `folder`: `model.safetensors`, or `model.safetensors.index.json` with its shards, or
/// `pytorch_model.bin`, alone or with an index. `None` if it has none of them.
///
/// # Errors
/// [`ReadError`] for an index that cannot be read, names a file that is not there, or one outside of the folder.
pub fn checkpoint_files(folder: &Path) -> Result<Option<CheckpointFiles>, ReadError> {
    let Some(main) = MAIN_FILES.iter().map(|name| folder.join(name)).find(|path| path.is_file()) else {
        return Ok(None);
    };
    let shards = if is_index(&main) { Index::read(&main)?.shards } else { Vec::new() };
    Ok(Some(CheckpointFiles { main, shards }))
}

/// Reads every tensor of a file of weights, or of the files that an index names, sorted by name.
///
/// # Errors
/// [`ReadError`] as [`read_tensors`], and for an index as [`checkpoint_files`], or one that does not name exactly the tensors
/// that its files hold.
pub fn read_checkpoint(path: &Path) -> Result<TensorFile, ReadError> {
    if !is_index(path) {
        return read_tensors(path);
    }
    let index = Index::read(path)?;
    let damaged = |reason: String| ReadError::Damaged { path: path.to_owned(), reason };
    let mut missing: BTreeSet<&String> = index.weight_map.keys().collect();
    let mut whole: Option<TensorFile> = None;
    for shard in &index.shards {
        let file = read_tensors(shard)?;
        let name = shard.file_name().unwrap_or_default().to_string_lossy();
        for tensor in &file.tensors {
            match index.weight_map.get(&tensor.name) {
                Some(expected) if *expected == name => missing.remove(&tensor.name),
                Some(expected) => {
                    return Err(damaged(format!("it says `{}` is in `{expected}`, found it in `{name}`", tensor.name)));
                }
                None => {
                    return Err(damaged(format!("`{name}` holds `{}`, which the index does not name", tensor.name)));
                }
            };
        }
        match &mut whole {
            None => whole = Some(TensorFile { path: path.to_owned(), ..file }),
            Some(whole) => {
                whole.tensors.extend(file.tensors);
                whole.unread.extend(file.unread);
            }
        }
    }
    if let Some(name) = missing.first() {
        return Err(damaged(format!("it says `{name}` is in `{}`, which does not hold it", index.weight_map[*name])));
    }
    let mut whole = whole.ok_or_else(|| damaged("it names no tensor".to_owned()))?;
    whole.tensors.sort_by(|a, b| a.name.cmp(&b.name));
    whole.unread.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(whole)
}

fn is_index(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(INDEX_SUFFIX))
}

struct Index {
    /// Tensor and the name of its file.
    weight_map: BTreeMap<String, String>,
    /// The files, sorted, each once.
    shards: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct IndexFile {
    weight_map: BTreeMap<String, String>,
}

impl Index {
    fn read(path: &Path) -> Result<Self, ReadError> {
        let io = |source| ReadError::Io { path: path.to_owned(), source };
        let damaged = |reason: String| ReadError::Damaged { path: path.to_owned(), reason };
        let mut bytes = Vec::new();
        if !fs_err::metadata(path).map_err(io)?.is_file() {
            return Err(ReadError::NotAFile { path: path.to_owned() });
        }
        let file = fs_err::File::open(path).map_err(io)?;
        file.take(MAX_INDEX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > MAX_INDEX_BYTES {
            return Err(damaged(format!("it has more than {MAX_INDEX_BYTES} bytes, expected an index of tensors")));
        }
        let IndexFile { weight_map } =
            serde_json::from_slice(&bytes).map_err(|error| damaged(format!("it is no index of tensors: {error}")))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let names: BTreeSet<&String> = weight_map.values().collect();
        let mut shards = Vec::with_capacity(names.len());
        for name in names {
            shards
                .push(within(folder, name).map_err(|reason| damaged(format!("it names the file `{name}`, {reason}")))?);
        }
        Ok(Self { weight_map, shards })
    }
}

/// The file `name` of `folder`. A link may lead into the `blobs` beside the snapshots of a hub's cache, and nowhere else.
fn within(folder: &Path, name: &str) -> Result<PathBuf, String> {
    let mut parts = Path::new(name).components();
    let is_plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    if !is_plain || name.contains(['/', '\\']) {
        return Err("which is not in the folder of the index; expected the name of a file beside it".to_owned());
    }
    let path = folder.join(name);
    let real = |path: &Path| fs_err::canonicalize(path);
    let own = real(if folder.as_os_str().is_empty() { Path::new(".") } else { folder }).map_err(|e| e.to_string())?;
    let target = real(&path).map_err(|_| "which is not there; fetch it again".to_owned())?;
    let cache = own.parent().and_then(Path::parent).map(|repository| repository.join("blobs"));
    if target.starts_with(&own) || cache.is_some_and(|blobs| target.starts_with(blobs)) {
        return Ok(path);
    }
    Err(format!("a link to {}, outside of the folder of the index", target.display()))
}
