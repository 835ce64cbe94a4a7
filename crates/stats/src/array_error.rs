//! What may be wrong with arrays and settings that a function was given.

/// Why an analysis of arrays could not begin.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ArrayError {
    /// An array has another length than the others call for.
    #[error("{what} has {found} entries, expected {expected}")]
    Length {
        /// The array.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length it should have.
        expected: usize,
    },
    /// Too little data for the question.
    #[error("{what}: {found}, but at least {needed} are needed")]
    TooFew {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many are needed.
        needed: usize,
    },
    /// A number is infinite or not a number.
    #[error("{what} has a value that is not finite at row {row}, column {column}; leave such rows out")]
    NotFinite {
        /// The array.
        what: &'static str,
        /// Its row (0 in arrays of one axis), from 0.
        row: usize,
        /// Its column, from 0.
        column: usize,
    },
    /// Times do not increase.
    #[error("{what} must increase, but entry {index} ({found}) is not above the one before it")]
    Order {
        /// The array.
        what: &'static str,
        /// The first entry that is not above the one before it.
        index: usize,
        /// Its value.
        found: f64,
    },
    /// A setting lies outside its range.
    #[error("{setting} is {found}, expected {expected}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What was given.
        found: f64,
        /// What is allowed.
        expected: &'static str,
    },
    /// Every row is the same, so nothing varies.
    #[error("{what} does not vary: there is no direction to find")]
    Constant {
        /// The array.
        what: &'static str,
    },
}

/// All values finite.
pub(crate) fn finite(what: &'static str, values: &[f64]) -> Result<(), ArrayError> {
    match values.iter().position(|v| !v.is_finite()) {
        Some(column) => Err(ArrayError::NotFinite { what, row: 0, column }),
        None => Ok(()),
    }
}

/// All values finite and each above the one before it.
pub(crate) fn increasing(what: &'static str, values: &[f64]) -> Result<(), ArrayError> {
    finite(what, values)?;
    match (1..values.len()).find(|&i| values[i] <= values[i - 1]) {
        Some(index) => Err(ArrayError::Order { what, index, found: values[index] }),
        None => Ok(()),
    }
}

/// At least `needed` of something.
pub(crate) fn enough(what: &'static str, found: usize, needed: usize) -> Result<(), ArrayError> {
    if found < needed { Err(ArrayError::TooFew { what, found, needed }) } else { Ok(()) }
}

/// A length as expected.
pub(crate) fn length(what: &'static str, found: usize, expected: usize) -> Result<(), ArrayError> {
    if found == expected { Ok(()) } else { Err(ArrayError::Length { what, found, expected }) }
}

/// A setting for which `holds` is true.
pub(crate) fn setting(
    setting: &'static str,
    found: f64,
    holds: bool,
    expected: &'static str,
) -> Result<(), ArrayError> {
    if holds { Ok(()) } else { Err(ArrayError::Setting { setting, found, expected }) }
}
