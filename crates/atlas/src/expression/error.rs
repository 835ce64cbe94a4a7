//! Why a text is no expression, and why an expression has no value.

use std::fmt;

/// Why a text is no expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpressionError {
    /// Where, in characters from 1.
    pub column: usize,
    /// What stands there.
    pub found: String,
    /// What could stand there.
    pub expected: String,
    /// The function whose name is nearest to what was found, where one is near.
    pub nearest: Option<String>,
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { column, found, expected, nearest } = self;
        write!(f, "column {column}: found {found}, expected {expected}")?;
        match nearest {
            Some(nearest) => write!(f, "; the nearest one is `{nearest}`"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ExpressionError {}

/// Why an expression has no value in a run: `loss.test has no transition`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Undefined {
    /// The reason in words.
    pub reason: String,
}

impl Undefined {
    /// With this reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

/// The text, shortened to what a message can hold.
pub(super) fn clipped(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
