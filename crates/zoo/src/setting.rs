//! The error of a setting whose value cannot be used: which key, what was found, what would have been right.

/// A value that parses but cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{section}.{key} is {found}; expected {expected}")]
pub struct SettingError {
    /// Table of the run file: `network`, `task` or `train`.
    pub section: &'static str,
    /// Key within the table.
    pub key: &'static str,
    /// The value as given.
    pub found: String,
    /// What is allowed, in words.
    pub expected: String,
}

impl SettingError {
    pub(crate) fn new(
        section: &'static str,
        key: &'static str,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self { section, key, found: found.into(), expected: expected.into() }
    }
}
