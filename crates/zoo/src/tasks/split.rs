//! Named sets of examples with a hash of their content.

use ontogeny_graph::{ColumnData, DataSet};

/// A named set of examples.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// `train`, `test`, `all`, `even`, or what the task's page calls it.
    pub name: &'static str,
    /// Where each example stands among all examples of the task, ascending.
    pub indices: Vec<usize>,
    /// The examples, in that order.
    pub data: DataSet,
    /// Number of each example's sub-task, in that order, or of each of its answers; empty where the place of an answer
    /// says it, and where there are none.
    pub subtasks: Vec<u32>,
}

/// Named parts of a task, each with a loss of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subtasks {
    /// Their names, by number.
    pub names: Vec<String>,
    /// What belongs to which.
    pub by: SubtaskBy,
}

/// How a task divides into sub-tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubtaskBy {
    /// Answer number i of every example belongs to sub-task i.
    Answer,
    /// An example as a whole belongs to the one that [`Split::subtasks`] names.
    Example,
    /// Answer number j of example i belongs to the one that [`Split::subtasks`] names at i·answers + j.
    EachAnswer,
}

impl Split {
    /// The rows `indices` of all examples.
    pub(crate) fn new(name: &'static str, indices: Vec<usize>, all: &DataSet) -> Self {
        let data = all.rows(&indices);
        Self { name, indices, data, subtasks: Vec::new() }
    }

    /// BLAKE3 hash (64 hexadecimal digits) of the examples: names, widths, types and values of all columns. The
    /// split's own name takes no part.
    pub fn content_hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for column in self.data.columns() {
            // Every part of varying length is preceded by its length, so that different data give different bytes.
            hasher.update(&(column.name.len() as u64).to_le_bytes());
            hasher.update(column.name.as_bytes());
            hasher.update(&(column.width as u64).to_le_bytes());
            hasher.update(&(self.data.len() as u64).to_le_bytes());
            let (kind, bytes): (u8, Vec<u8>) = match &column.data {
                ColumnData::Ids(ids) => (0, ids.iter().flat_map(|v| v.to_le_bytes()).collect()),
                ColumnData::Float(floats) => (1, floats.iter().flat_map(|v| v.to_le_bytes()).collect()),
            };
            hasher.update(&[kind]);
            hasher.update(&bytes);
        }
        hasher.finalize().to_hex().to_string()
    }

    /// The column of that name, which holds ids.
    #[cfg(test)]
    pub(crate) fn ids(&self, name: &str) -> &[i32] {
        match self.data.columns().iter().find(|column| column.name == name).map(|column| &column.data) {
            Some(ColumnData::Ids(ids)) => ids,
            other => panic!("`{name}` is {other:?}"),
        }
    }

    /// The column of that name, which holds numbers.
    #[cfg(test)]
    pub(crate) fn floats(&self, name: &str) -> &[f32] {
        match self.data.columns().iter().find(|column| column.name == name).map(|column| &column.data) {
            Some(ColumnData::Float(floats)) => floats,
            other => panic!("`{name}` is {other:?}"),
        }
    }
}
