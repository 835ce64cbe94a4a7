//! Embedding tables: gather rows by integer ids, and its adjoint.

use super::parts::Part;
use super::{MAX_RANK, Memory, Span, reach};
use crate::plan::Place;
use crate::program::RunError;

/// Gathers `values[i] = table[ids[i]]`, or sums `table[ids[i]] += values[i]` into a zeroed table, in the order of i.
#[derive(Debug)]
#[expect(clippy::struct_field_names, reason = "`table` is the one of `table[ids]`")]
pub(crate) struct Table {
    pub(crate) gathers: bool,
    pub(crate) table: Place,
    pub(crate) rows: usize,
    pub(crate) width: usize,
    pub(crate) ids: Ids,
    pub(crate) n_ids: usize,
    pub(crate) values: Place,
    pub(crate) label: String,
}

/// Strided integers, read where they lie.
#[derive(Debug, Clone)]
pub(crate) struct Ids {
    pub(crate) place: Place,
    /// (extent, stride), outermost first.
    pub(crate) dims: Vec<(usize, usize)>,
}

/// A position in [`Ids`].
pub(crate) struct IdWalk<'a> {
    ids: &'a Ids,
    index: [usize; MAX_RANK],
    offset: usize,
}

impl Ids {
    pub(crate) fn span(&self) -> Span {
        Span { place: self.place, len: reach(self.dims.iter().copied()), written: false }
    }

    /// The ids from number `first` on.
    pub(crate) fn walk(&self, first: usize) -> IdWalk<'_> {
        let mut walk = IdWalk { ids: self, index: [0; MAX_RANK], offset: 0 };
        let mut rest = first;
        for (axis, (extent, stride)) in self.dims.iter().enumerate().rev() {
            walk.index[axis] = rest % extent;
            walk.offset += walk.index[axis] * stride;
            rest /= extent;
        }
        walk
    }
}

impl IdWalk<'_> {
    /// The next id, starting over after the last.
    pub(crate) fn next_id(&mut self, memory: &Memory<'_>) -> i32 {
        let id = memory.id(self.ids.place, self.offset);
        for (axis, &(extent, stride)) in self.ids.dims.iter().enumerate().rev() {
            self.index[axis] += 1;
            self.offset += stride;
            if self.index[axis] < extent {
                break;
            }
            self.offset -= stride * extent;
            self.index[axis] = 0;
        }
        id
    }
}

impl Table {
    pub(crate) fn spans(&self) -> Vec<Span> {
        let table = Span { place: self.table, len: self.rows * self.width, written: !self.gathers };
        let values = Span { place: self.values, len: self.n_ids * self.width, written: self.gathers };
        vec![table, values, self.ids.span()]
    }

    /// Gathers are cut by ids, sums by columns: every entry is then summed by one thread, in the order of the ids.
    pub(crate) fn run(&self, memory: &Memory<'_>, part: Part) -> Result<(), RunError> {
        let width = self.width;
        if self.gathers {
            let range = part.range(self.n_ids, 1);
            let mut ids = self.ids.walk(range.start);
            let table = memory.read(self.table, self.rows * width);
            let values = memory.write(self.values.plus(range.start * width), range.len() * width);
            for value in values.chunks_exact_mut(width) {
                let row = row_of(ids.next_id(memory), self.rows, &self.label)?;
                value.copy_from_slice(&table[row * width..(row + 1) * width]);
            }
        } else {
            let mut ids = self.ids.walk(0);
            let columns = part.range(width, 16);
            let sums = |row: usize| memory.write(self.table.plus(row * width + columns.start), columns.len());
            let values = memory.read(self.values, self.n_ids * width);
            (0..self.rows).for_each(|row| sums(row).fill(0.0));
            for value in values.chunks_exact(width) {
                let row = row_of(ids.next_id(memory), self.rows, &self.label)?;
                for (sum, x) in sums(row).iter_mut().zip(&value[columns.clone()]) {
                    *sum += x;
                }
            }
        }
        Ok(())
    }
}

/// An id as a row number, checked.
pub(crate) fn row_of(id: i32, rows: usize, label: &str) -> Result<usize, RunError> {
    let row = usize::try_from(id).ok().filter(|&row| row < rows);
    row.ok_or_else(|| RunError::Id { id, rows, node: label.to_owned() })
}
