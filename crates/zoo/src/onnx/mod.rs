//! Networks of other people as ONNX files: read without trust, built as a graph for any batch.
//!
//! `wire.rs` and `proto.rs` read the file's bytes, `tensor.rs` its tensors, `file.rs` decides which of them are weights;
//! `build.rs` walks the nodes, `operators/` has what each means, `host.rs` what is known without running anything;
//! `fit.rs` attaches a network to a task, `series.rs` takes weights from checkpoints.

mod build;
mod describe;
mod error;
mod file;
mod fit;
mod host;
mod operators;
mod proto;
mod series;
mod tensor;
mod wire;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ontogeny_graph::{Graph, Node};
use serde::Serialize;

pub use describe::{OnnxDescription, OnnxTensor, OnnxValue, describe_onnx};
pub use error::OnnxError;
use file::OnnxFile;

use crate::{Interface, LayoutError, NameMap, SettingError, TensorFile};

/// A network in an ONNX file, as `network = "net.onnx"` of `[import]` names it.
///
/// It serialises as what decides its results: the hash of its content, wherever the file lies.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OnnxConfig {
    #[serde(skip)]
    file: PathBuf,
    /// BLAKE3 hash of the file and of the external data it names, once it is read.
    blake3: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    constants: Vec<String>,
    #[serde(skip)]
    network: Option<Arc<OnnxFile>>,
}

impl OnnxConfig {
    /// The network in `file`, which is not read yet. `constants` are initialisers that are no weights; files of PyTorch's
    /// newer exporter tell by themselves.
    pub fn new(file: impl Into<PathBuf>, constants: Vec<String>) -> Self {
        Self { file: file.into(), blake3: String::new(), constants, network: None }
    }

    /// Reads the file, whose path starts at `folder` where it is relative.
    ///
    /// # Errors
    /// A file that is no ONNX network, is damaged, names data outside its folder, or was exported so that weights were lost.
    pub fn read(&mut self, folder: &Path) -> Result<(), OnnxError> {
        let network = OnnxFile::read(&folder.join(&self.file), &self.constants)?;
        self.blake3.clone_from(&network.blake3);
        self.network = Some(Arc::new(network));
        Ok(())
    }

    /// The file, as it was named.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// BLAKE3 hash (64 hexadecimal digits) of the file and of the external data it names; empty before it is read.
    pub fn blake3(&self) -> &str {
        &self.blake3
    }

    /// Flat weights out of the file's own initialisers, in the order of the model's parameter space; none before it is
    /// read.
    ///
    /// # Errors
    /// A parameter of the exported model that the file lacks: it may be tied to another, or merged with one of equal values.
    pub fn own_weights(&self) -> Result<Vec<f32>, OnnxError> {
        let Some(network) = &self.network else { return Ok(Vec::new()) };
        network.check_nothing_lost()?;
        Ok(network.own_weights())
    }

    /// The same without asking what is missing.
    pub(crate) fn initial_weights(&self) -> Vec<f32> {
        self.network.as_ref().map_or_else(Vec::new, |network| network.own_weights())
    }

    /// Flat weights out of a checkpoint whose tensors have the names of the network's parameters, as
    /// `model.state_dict()` gives them. Buffers must be those of the network's file; statistics of batch norms are the
    /// checkpoint's. A tensor that equals a parameter's bit for bit is tied to it.
    ///
    /// # Errors
    /// [`LayoutError`] with every missing and superfluous name and every wrong shape.
    pub fn weights_from(&self, checkpoint: &TensorFile, names: &NameMap) -> Result<Vec<f32>, LayoutError> {
        match &self.network {
            Some(network) => network.weights_from(checkpoint, names),
            None => Ok(Vec::new()),
        }
    }

    pub(crate) fn check(&self, interface: Interface) -> Result<(), SettingError> {
        let Some(network) = &self.network else {
            let found = format!("`{}`, which was not read", self.file.display());
            return Err(SettingError::new("import", "network", found, "`OnnxConfig::read` before it is used"));
        };
        network.check(interface)
    }

    pub(crate) fn build_logits(&self, g: &mut Graph, interface: Interface, batch: usize) -> Node {
        self.network.as_ref().expect("`check` has refused a file that was not read").build_logits(g, interface, batch)
    }
}
