//! Strided copies: paddings, concatenations, and views that a kernel needs dense.

use std::ops::Range;

use super::pack::transposed;
use super::parts::Part;
use super::{Memory, Span, n_tuples, reach, walk_range};
use crate::isa::multiversion;
use crate::plan::Place;
use crate::plan::layout::{Layout, collapse};

/// A copy between two strided places, after filling the target with zeros where asked.
#[derive(Debug)]
pub(crate) struct Copy {
    from: Place,
    to: Place,
    zero_first: Option<(Place, usize)>,
    /// (extent, [stride from, stride to]) of the outer axes.
    outer: Vec<(usize, [usize; 2])>,
    /// An axis that is dense in the source where the innermost is dense in the target: the two are transposed.
    crossed: Option<(usize, [usize; 2])>,
    inner: (usize, [usize; 2]),
}

impl Copy {
    pub(crate) fn new(
        zero_first: Option<(Place, usize)>,
        shape: &[usize],
        from: &Layout,
        to: Place,
        to_strides: &[usize],
    ) -> Self {
        let dims = collapse(shape, &[&from.strides, to_strides]);
        let mut dims: Vec<(usize, [usize; 2])> =
            dims.into_iter().map(|d| (d.extent, [d.strides[0], d.strides[1]])).collect();
        // Sequential writes in the innermost loop, sequential reads in the one around it.
        for side in [0, 1] {
            if let Some(best) = (0..dims.len()).min_by_key(|&i| dims[i].1[side].max(1)) {
                let dim = dims.remove(best);
                dims.push(dim);
            }
        }
        let inner = dims.pop().unwrap_or((1, [0, 0]));
        let crossed = dims.pop_if(|dim| dim.1[0] == 1 && inner.1[1] == 1 && dim.1[1] != 0 && inner.1[0] != 0);
        Self { from: from.place, to, zero_first, outer: dims, crossed, inner }
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        let dims = || self.outer.iter().chain(&self.crossed).chain([&self.inner]);
        let side = |side: usize| reach(dims().map(|(extent, strides)| (*extent, strides[side])));
        let zeros = self.zero_first.map(|(place, len)| Span { place, len, written: true });
        let from = Span { place: self.from, len: side(0), written: false };
        let to = Span { place: self.to, len: side(1), written: true };
        [from, to].into_iter().chain(zeros).collect()
    }

    /// Zeros would fall on what another part has copied.
    pub(crate) fn is_divisible(&self) -> bool {
        self.zero_first.is_none()
    }

    pub(crate) fn run(&self, memory: &Memory<'_>, part: Part) {
        if let Some((place, len)) = self.zero_first {
            memory.write(place, len).fill(0.0);
        }
        let (extent, strides) = self.inner;
        let (outer, inner) = part.of_two(n_tuples(&self.outer), (extent, 16));
        let [from, to] = [(self.from, strides[0]), (self.to, strides[1])]
            .map(|(place, stride)| memory.at(place).wrapping_add(inner.start * stride));
        let inner = (inner.len(), strides);
        match self.crossed {
            Some(crossed) => transpose(memory.isa, from, to, &self.outer, outer, crossed, inner),
            None => copy(memory.isa, from, to, &self.outer, outer, inner),
        }
    }
}

multiversion! {
    /// Blocks of four by four: `rows` are dense in the source, `columns` in the target.
    #[expect(unsafe_code, reason = "strided access inside two distinct buffers")]
    fn transpose(
        from: *const f32,
        to: *mut f32,
        outer: &[(usize, [usize; 2])],
        range: Range<usize>,
        rows: (usize, [usize; 2]),
        columns: (usize, [usize; 2]),
    ) {
        let (n_rows, [_, row_to]) = rows;
        let (n_columns, [column_from, _]) = columns;
        for [at_from, at_to] in walk_range(outer, range) {
            // SAFETY: the plan's axes stay inside both buffers, and the target is no operand.
            unsafe {
                let (from, to) = (from.add(at_from), to.add(at_to));
                if n_rows < 4 || n_columns < 4 {
                    for r in 0..n_rows {
                        for c in 0..n_columns {
                            *to.add(r * row_to + c) = *from.add(c * column_from + r);
                        }
                    }
                    continue;
                }
                // The last block of a line overlaps the one before it.
                for j in (0..n_columns).step_by(4).map(|j| j.min(n_columns - 4)) {
                    for i in (0..n_rows).step_by(4).map(|i| i.min(n_rows - 4)) {
                        let line = |c: usize| from.add((j + c) * column_from + i).cast::<[f32; 4]>().read_unaligned();
                        let block = transposed([line(0), line(1), line(2), line(3)]);
                        for (r, line) in block.iter().enumerate() {
                            to.add((i + r) * row_to + j).cast::<[f32; 4]>().write_unaligned(*line);
                        }
                    }
                }
            }
        }
    }
}

multiversion! {
    #[expect(unsafe_code, reason = "strided access inside two distinct buffers")]
    fn copy(
        from: *const f32,
        to: *mut f32,
        outer: &[(usize, [usize; 2])],
        range: Range<usize>,
        inner: (usize, [usize; 2]),
    ) {
        let (n, [stride_from, stride_to]) = inner;
        for [at_from, at_to] in walk_range(outer, range) {
            // SAFETY: the plan's axes stay inside both buffers, and the target is no operand.
            unsafe {
                let (from, to) = (from.add(at_from), to.add(at_to));
                if stride_from == 1 && stride_to == 1 {
                    std::ptr::copy_nonoverlapping(from, to, n);
                } else {
                    for i in 0..n {
                        *to.add(i * stride_to) = *from.add(i * stride_from);
                    }
                }
            }
        }
    }
}
