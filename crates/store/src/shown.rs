//! Arrays beside the values that a report draws.

use std::collections::BTreeMap;

use crate::RecordArray;
use crate::view::Measured;

/// Their names in records: eigenvalues, their density, attention patterns, what is known by position, and what
/// lies on the line between two checkpoints.
pub(crate) const ARRAYS: [&str; 5] = ["spectrum", "density", "pattern", "by_position", "line"];

/// Each of them by its name, with the index of its step, where it was measured and counts.
pub(crate) fn of(measured: &Measured) -> BTreeMap<String, Vec<(usize, RecordArray)>> {
    let one = |name: &&str| {
        let counted = measured.arrays(name).filter(|(_, counts, _)| *counts);
        let found: Vec<(usize, RecordArray)> = counted.map(|(at, _, array)| (at, array.clone())).collect();
        (!found.is_empty()).then(|| ((*name).to_owned(), found))
    };
    ARRAYS.iter().filter_map(one).collect()
}
