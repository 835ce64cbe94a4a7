//! Why a text is no expression, and why an expression has no value.

/// Why a text is no expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: found {found}, expected {expected}{}", hint(nearest.as_ref()))]
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

/// What is said of the nearest name, if there is one.
fn hint(nearest: Option<&String>) -> String {
    nearest.map_or_else(String::new, |nearest| format!("; the nearest one is `{nearest}`"))
}

/// Why an expression has no value in a run: `loss.test has no transition`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Undefined {
    /// The reason in words.
    pub reason: String,
    /// Whether a name in it means nothing in this run: where that is so in every run, it is a slip of the pen.
    pub is_unknown: bool,
}

impl Undefined {
    /// With this reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_unknown: false }
    }

    /// A name that means nothing, with this reason.
    pub fn unknown(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_unknown: true }
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
