//! Why an ONNX file cannot be used: where, what was found, what would have been right.

use std::path::{Path, PathBuf};

use crate::SettingError;

/// What is wrong with an ONNX file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {place}: found {found}; expected {expected}", path.display())]
pub struct OnnxError {
    /// The file.
    pub path: PathBuf,
    /// Where in it: "node `/fc/Gemm` (Gemm)", "initialiser `fc.weight`", "byte 17".
    pub place: String,
    /// What stands there.
    pub found: String,
    /// What would have been right, or what to do.
    pub expected: String,
}

impl OnnxError {
    pub(super) fn new(path: &Path, place: impl Into<String>, problem: Problem) -> Self {
        let Problem { found, expected } = problem;
        Self { path: path.to_owned(), place: place.into(), found, expected }
    }

    /// The same as the mistake of a run file.
    pub(crate) fn as_setting(&self) -> SettingError {
        let found = format!("`{}`, which has at {} {}", self.path.display(), self.place, self.found);
        SettingError::new("import", "network", found, self.expected.clone())
    }
}

/// What was found at a place, and what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) found: String,
    pub(super) expected: String,
}

impl Problem {
    pub(super) fn new(found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { found: found.into(), expected: expected.into() }
    }
}

/// The one way of exporting in which nothing is lost.
pub(super) const EXPORT: &str = "export again by `torch.onnx.export(model.eval(), (x,), \"net.onnx\", dynamo=True, \
                                 optimize=False, dynamic_shapes=({0: \"batch\"},))`";
