//! What `ontogeny inspect` shows of an ONNX file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::OnnxError;
use super::file::OnnxFile;
use super::operators;
use super::proto::ValueInfo;
use crate::TensorSummary;
use crate::formats::summary;

/// Lists inputs, outputs, operators and tensors of an ONNX file; operators that are not supported are no error here.
///
/// # Errors
/// [`OnnxError`], as when the network is imported.
pub fn describe_onnx(path: impl AsRef<Path>) -> Result<OnnxDescription, OnnxError> {
    let file = OnnxFile::read(path.as_ref(), &[])?;
    let mut operators: BTreeMap<String, usize> = BTreeMap::new();
    for operation in &file.operations {
        let domain = if operation.domain.is_empty() { String::new() } else { format!("{}.", operation.domain) };
        *operators.entry(format!("{domain}{}", operation.operator)).or_default() += 1;
    }
    let unsupported = operators.keys().filter(|name| operators::find(name).is_none()).cloned().collect();
    let tensors: Vec<OnnxTensor> = file
        .tensors
        .values()
        .map(|tensor| OnnxTensor { role: file.role(&tensor.name), tensor: summary(tensor) })
        .collect();
    let is_parameter = |tensor: &&OnnxTensor| tensor.role == "parameter";
    Ok(OnnxDescription {
        n_parameters: tensors.iter().filter(is_parameter).map(|tensor| tensor.tensor.n_elements).sum(),
        inputs: vec![OnnxValue::of(&file.input)],
        outputs: file.outputs.iter().map(OnnxValue::of).collect(),
        path: file.path,
        producer: file.producer,
        opset: file.opset,
        blake3: file.blake3,
        operators,
        unsupported,
        tensors,
    })
}

/// An ONNX file in brief.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OnnxDescription {
    /// The file.
    pub path: PathBuf,
    /// What wrote it.
    pub producer: String,
    /// Version of ONNX's operators.
    pub opset: i64,
    /// BLAKE3 hash of the file and of the external data it names.
    pub blake3: String,
    /// What the network reads.
    pub inputs: Vec<OnnxValue>,
    /// What it gives.
    pub outputs: Vec<OnnxValue>,
    /// How often each operator stands in it.
    pub operators: BTreeMap<String, usize>,
    /// Operators with which it cannot be imported.
    pub unsupported: Vec<String>,
    /// Number of weights.
    pub n_parameters: usize,
    /// Its initialisers, sorted by name.
    pub tensors: Vec<OnnxTensor>,
}

/// An input or an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OnnxValue {
    /// Its name.
    pub name: String,
    /// Its extents, of which dynamic ones have names; `None` where the file does not tell.
    pub shape: Option<Vec<String>>,
}

/// An initialiser.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OnnxTensor {
    /// `parameter` for weights, `buffer` or `constant` for the rest.
    pub role: &'static str,
    /// Shape, type and statistics.
    #[serde(flatten)]
    pub tensor: TensorSummary,
}

impl OnnxValue {
    fn of(value: &ValueInfo) -> Self {
        let shape = value.dims.as_ref().map(|dims| dims.iter().map(ToString::to_string).collect());
        Self { name: value.name.clone(), shape }
    }
}

impl OnnxFile {
    fn role(&self, name: &str) -> &'static str {
        if self.is_parameter(name) {
            "parameter"
        } else if self.buffers.contains(name) {
            "buffer"
        } else {
            "constant"
        }
    }
}
