//! Compares the weights of a file with the parameters of a network.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use super::layout::{LayoutError, WeightTensor, hint, nearest};

/// Checks that `weights`, read from `path`, are exactly the parameters `expected`, and returns them in that order.
///
/// # Errors
///
/// [`LayoutError::OtherNetwork`] with every missing and every superfluous name and every wrong shape.
pub fn match_shapes(
    path: &Path,
    weights: Vec<WeightTensor>,
    expected: &[(String, Vec<usize>)],
) -> Result<Vec<WeightTensor>, LayoutError> {
    let expected_names: BTreeSet<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
    let mut by_name: BTreeMap<String, WeightTensor> =
        weights.into_iter().map(|weight| (weight.name.clone(), weight)).collect();
    let superfluous_names: Vec<String> =
        by_name.keys().filter(|name| !expected_names.contains(name.as_str())).cloned().collect();
    let missing_names: Vec<&str> = expected_names.iter().copied().filter(|name| !by_name.contains_key(*name)).collect();
    let mut differences = ShapeDifferences::default();
    for (name, shape) in expected {
        match by_name.get(name) {
            None => differences.missing.push(UnmatchedName {
                name: name.clone(),
                shape: shape.clone(),
                nearest: nearest(name, superfluous_names.iter().map(String::as_str)),
            }),
            Some(weight) if weight.shape != *shape => {
                differences.wrong_shapes.push(ShapeMismatch {
                    name: name.clone(),
                    found: weight.shape.clone(),
                    expected: shape.clone(),
                });
            }
            Some(_) => {}
        }
    }
    for name in &superfluous_names {
        differences.superfluous.push(UnmatchedName {
            name: name.clone(),
            shape: by_name[name].shape.clone(),
            nearest: nearest(name, missing_names.iter().copied()),
        });
    }
    if !differences.is_empty() {
        return Err(LayoutError::OtherNetwork { path: path.to_owned(), differences });
    }
    Ok(expected.iter().filter_map(|(name, _)| by_name.remove(name)).collect())
}

/// How a file's weights differ from a network's parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShapeDifferences {
    /// Parameters of the network that the file does not have, in the network's order.
    pub missing: Vec<UnmatchedName>,
    /// Weights of the file that the network does not have, sorted by name.
    pub superfluous: Vec<UnmatchedName>,
    /// Weights that have another shape than the parameter of their name, in the network's order.
    pub wrong_shapes: Vec<ShapeMismatch>,
}

impl ShapeDifferences {
    pub(crate) fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.superfluous.is_empty() && self.wrong_shapes.is_empty()
    }
}

/// A name that stands on one side only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnmatchedName {
    /// The name.
    pub name: String,
    /// Its shape on that side.
    pub shape: Vec<usize>,
    /// The most similar unmatched name of the other side, if any is similar.
    pub nearest: Option<String>,
}

/// A name that has different shapes on the two sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeMismatch {
    /// The name.
    pub name: String,
    /// Shape in the file, after the layout was turned.
    pub found: Vec<usize>,
    /// Shape in the network.
    pub expected: Vec<usize>,
}

impl fmt::Display for ShapeDifferences {
    /// One difference a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for UnmatchedName { name, shape, nearest } in &self.missing {
            write!(f, "\n  missing `{name}` {shape:?}{}", hint(nearest.as_deref()))?;
        }
        for UnmatchedName { name, shape, nearest } in &self.superfluous {
            write!(f, "\n  superfluous `{name}` {shape:?}{}", hint(nearest.as_deref()))?;
        }
        for ShapeMismatch { name, found, expected } in &self.wrong_shapes {
            write!(f, "\n  `{name}` has shape {found:?}, expected {expected:?}")?;
        }
        Ok(())
    }
}
