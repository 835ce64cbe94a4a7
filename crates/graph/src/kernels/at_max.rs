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
        // Lines of the image side by side, groups next to each other.
        let are_next = (0..2).all(|side| [0, 2].iter().all(|&i| entries[i + 1][side] == entries[i][side] + 1));
        let n_blocks = if are_next && inner.1 == [2, 2, 1] { n_groups / GROUPS } else { 0 };
        for [at_by, at_full, at_kept] in walk(outer) {
            for block in 0..n_blocks {
                let [at_by, at_full] = [at_by, at_full].map(|at| at + block * 2 * GROUPS);
                // SAFETY: as below.
                unsafe {
                    put_block(
                        [0, 2].map(|i| by.add(at_by + entries[i][0])),
                        [0, 2].map(|i| full.add(at_full + entries[i][1])),
                        kept.add(at_kept + block * GROUPS),
                    );
                }
            }
            for group in n_blocks * GROUPS..n_groups {
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

/// Groups that go through vectors together.
const GROUPS: usize = 4;

/// [`GROUPS`] groups of two by two, whose two lines begin at the addresses.
#[inline(always)]
#[expect(unsafe_code, reason = "raw reads and writes")]
#[expect(clippy::needless_bitwise_bool, reason = "lanes, not branches")]
unsafe fn put_block(by: [*const f32; 2], full: [*mut f32; 2], kept: *const f32) {
    // SAFETY: the caller's promise.
    let (lines, values) = unsafe {
        (
            by.map(|line| line.cast::<[f32; 2 * GROUPS]>().read_unaligned()),
            kept.cast::<[f32; GROUPS]>().read_unaligned(),
        )
    };
    let mut out = [[0.0_f32; 2 * GROUPS]; 2];
    for group in 0..GROUPS {
        let x = [lines[0][2 * group], lines[0][2 * group + 1], lines[1][2 * group], lines[1][2 * group + 1]];
        let larger = |top: f32, x: f32| if x > top { x } else { top };
        let top = x.into_iter().fold(f32::NEG_INFINITY, larger);
        let is_top = x.map(|x| x == top);
        let second = !is_top[0] & is_top[1];
        let third = !is_top[0] & !is_top[1] & is_top[2];
        let fourth = !is_top[0] & !is_top[1] & !is_top[2] & is_top[3];
        let value = values[group];
        let put = |is_here: bool| if is_here { value } else { 0.0 };
        out[0][2 * group] = put(!(second | third | fourth));
        out[0][2 * group + 1] = put(second);
        out[1][2 * group] = put(third);
        out[1][2 * group + 1] = put(fourth);
    }
    for (line, out) in full.into_iter().zip(out) {
        // SAFETY: the caller's promise.
        unsafe { line.cast::<[f32; 2 * GROUPS]>().write_unaligned(out) };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;
    use crate::random::{Purpose, Stream};

    /// Pooling two by two in vectors against the loop for groups of any kind, with ties and NaN.
    #[test]
    fn groups_of_four_are_groups() {
        let numbers = Stream::new(5, Purpose::Data, 0);
        for isa in Isa::available() {
            for n_columns in [1, 2, 4, 7, 12, 17] {
                let (n_lines, width) = (6, 2 * n_columns);
                let mut by = vec![0.0_f32; n_lines * width];
                numbers.normals(0, 0, &mut by);
                // Few values: many of them tie.
                for x in &mut by {
                    *x = x.round();
                }
                by.iter_mut().step_by(11).for_each(|x| *x = f32::NAN);
                for at in [0, 1, width, width + 1] {
                    by[at] = f32::NAN;
                }
                let kept: Vec<f32> = (1_u8..).map(f32::from).take(n_lines / 2 * n_columns).collect();
                let (mut got, mut want) = (vec![-1.0; by.len()], vec![-1.0; by.len()]);
                let outer = [(n_lines / 2, [2 * width, 2 * width, n_columns])];
                let inner = (n_columns, [2, 2, 1]);
                let entries = [0, 1, width, width + 1].map(|at| [at, at]);
                put_in_fours(isa, by.as_ptr(), got.as_mut_ptr(), kept.as_ptr(), &outer, inner, entries);
                let rows = [[0, 0], [width, width]];
                let values = kept.as_ptr().cast_mut();
                at_max(isa, true, by.as_ptr(), want.as_mut_ptr(), values, &outer, inner, &rows, (2, [1, 1]));
                assert_eq!(got, want, "{isa:?}, {n_columns} columns");
            }
        }
    }
}
