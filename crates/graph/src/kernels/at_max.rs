//! Entries at the place of a maximum: the derivatives of maxima and of max pooling.

use super::{Memory, Span, reach, walk};
use crate::isa::multiversion;
use crate::plan::Place;
use crate::plan::layout::{Layout, collapse};

/// Picks, for each group of entries, the one that stands where another operand is first largest, or puts a value there
/// and zeros elsewhere. NaN is passed over; where there is nothing else, the place is the first.
#[derive(Debug)]
pub(crate) struct AtMax {
    puts: bool,
    by: Place,
    /// The operand picked from, or the result with zeros.
    full: Place,
    /// What is picked, or put.
    kept: Place,
    /// (extent, strides in `by`, `full` and `kept`) of the axes that groups are told apart by, but for the innermost.
    outer: Vec<(usize, [usize; 3])>,
    inner: (usize, [usize; 3]),
    /// Offsets in `by` and `full` of the rows of a group: all its axes but the innermost.
    rows: Vec<[usize; 2]>,
    /// (extent, strides in `by` and `full`) of the innermost axis of a group.
    row: (usize, [usize; 2]),
}

impl AtMax {
    /// `full` has the shape of `by`; `kept` is without the axes.
    pub(crate) fn new(
        puts: bool,
        (shape, by): (&[usize], &Layout),
        full: &Layout,
        kept: &Layout,
        axes: &[usize],
    ) -> Self {
        let pick = |values: &[usize], reduced: bool| -> Vec<usize> {
            (0..shape.len()).filter(|axis| axes.contains(axis) == reduced).map(|axis| values[axis]).collect()
        };
        let strides = [&pick(&by.strides, false)[..], &pick(&full.strides, false), &kept.strides];
        let mut outer: Vec<(usize, [usize; 3])> = collapse(&pick(shape, false), &strides)
            .into_iter()
            .map(|dim| (dim.extent, [dim.strides[0], dim.strides[1], dim.strides[2]]))
            .collect();
        let mut reduced: Vec<(usize, [usize; 2])> =
            collapse(&pick(shape, true), &[&pick(&by.strides, true), &pick(&full.strides, true)])
                .into_iter()
                .map(|dim| (dim.extent, [dim.strides[0], dim.strides[1]]))
                .collect();
        let inner = outer.pop().unwrap_or((1, [0, 0, 0]));
        let row = reduced.pop().unwrap_or((1, [0, 0]));
        let rows = walk(&reduced).collect();
        Self { puts, by: by.place, full: full.place, kept: kept.place, outer, inner, rows, row }
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        let kept = |side: usize| self.outer.iter().chain([&self.inner]).map(move |(n, strides)| (*n, strides[side]));
        let both = |side: usize| {
            let furthest = self.rows.iter().map(|at| at[side]).max().unwrap_or(0);
            furthest + reach(kept(side).chain([(self.row.0, self.row.1[side])]))
        };
        vec![
            Span { place: self.by, len: both(0), written: false },
            Span { place: self.full, len: both(1), written: self.puts },
            Span { place: self.kept, len: reach(kept(2)), written: !self.puts },
        ]
    }

    pub(crate) fn run(&self, memory: &Memory<'_>) {
        let [by, full, kept] = [self.by, self.full, self.kept].map(|place| memory.at(place));
        if let (&[first, second], (2, [by_step, full_step]), true) = (self.rows.as_slice(), self.row, self.puts) {
            let next = |[by, full]: [usize; 2]| [by + by_step, full + full_step];
            let entries = [first, next(first), second, next(second)];
            return put_in_fours(memory.isa, by, full, kept, &self.outer, self.inner, entries);
        }
        at_max(memory.isa, self.puts, by, full, kept, &self.outer, self.inner, &self.rows, self.row);
    }
}

multiversion! {
    /// Pooling two by two: every entry is read and written once.
    #[expect(unsafe_code, reason = "strided access inside buffers of which the result is distinct")]
    fn put_in_fours(
        by: *const f32,
        full: *mut f32,
        kept: *const f32,
        outer: &[(usize, [usize; 3])],
        inner: (usize, [usize; 3]),
        entries: [[usize; 2]; 4],
    ) {
        let (n_groups, [by_stride, full_stride, kept_stride]) = inner;
        for [at_by, at_full, at_kept] in walk(outer) {
            for group in 0..n_groups {
                // SAFETY: the plan's axes stay inside all three buffers, and the written one is no operand.
                unsafe {
                    let by = by.add(at_by + group * by_stride);
                    let full = full.add(at_full + group * full_stride);
                    let value = *kept.add(at_kept + group * kept_stride);
                    let x: [f32; 4] = std::array::from_fn(|i| *by.add(entries[i][0]));
                    let larger = |top: f32, x: f32| if x > top { x } else { top };
                    let top = x.into_iter().fold(f32::NEG_INFINITY, larger);
                    let second = x[0] != top && x[1] == top;
                    let third = x[0] != top && x[1] != top && x[2] == top;
                    let fourth = x[0] != top && x[1] != top && x[2] != top && x[3] == top;
                    let first = !(second | third | fourth);
                    for (is_here, entry) in [first, second, third, fourth].into_iter().zip(entries) {
                        *full.add(entry[1]) = if is_here { value } else { 0.0 };
                    }
                }
            }
        }
    }
}

multiversion! {
    #[expect(unsafe_code, reason = "strided access inside buffers of which the result is distinct")]
    fn at_max(
        puts: bool,
        by: *const f32,
        full: *mut f32,
        kept: *mut f32,
        outer: &[(usize, [usize; 3])],
        inner: (usize, [usize; 3]),
        rows: &[[usize; 2]],
        row: (usize, [usize; 2]),
    ) {
        let (n_groups, [by_stride, full_stride, kept_stride]) = inner;
        let (n, [by_step, full_step]) = row;
        for [at_by, at_full, at_kept] in walk(outer) {
            for group in 0..n_groups {
                // SAFETY: the plan's axes stay inside all three buffers, and the written one is no operand.
                unsafe {
                    let by = by.add(at_by + group * by_stride);
                    let full = full.add(at_full + group * full_stride);
                    let kept = kept.add(at_kept + group * kept_stride);
                    let mut top = f32::NEG_INFINITY;
                    for &[row_by, row_full] in rows {
                        for i in 0..n {
                            let x = *by.add(row_by + i * by_step);
                            top = if x > top { x } else { top };
                            if puts {
                                *full.add(row_full + i * full_step) = 0.0;
                            }
                        }
                    }
                    // From the last on and without branches: which entry is largest is anybody's guess.
                    let mut best = 0;
                    for &[row_by, row_full] in rows.iter().rev() {
                        for i in (0..n).rev() {
                            let is_here = *by.add(row_by + i * by_step) == top;
                            best = if is_here { row_full + i * full_step } else { best };
                        }
                    }
                    if puts {
                        *full.add(best) = *kept;
                    } else {
                        *kept = *full.add(best);
                    }
                }
            }
        }
    }
}
