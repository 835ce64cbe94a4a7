//! Adding overlapping windows up: the adjoint of sliding windows.

use super::{Memory, Span, reach, walk};
use crate::isa::multiversion;
use crate::plan::Place;
use crate::plan::layout::{Layout, collapse};

/// Fills the result with zeros, then adds every entry of a strided operand where the result's strides put it. Entries
/// that meet are added in one fixed order.
#[derive(Debug)]
pub(crate) struct Overlap {
    from: Place,
    to: Place,
    len: usize,
    /// (extent, [stride in the operand, stride in the result]) of the outer axes.
    outer: Vec<(usize, [usize; 2])>,
    /// The two innermost axes: rows and their entries.
    rows: (usize, [usize; 2]),
    inner: (usize, [usize; 2]),
}

impl Overlap {
    /// `to_strides` say for every axis of `shape` how far apart its entries land in the dense result.
    pub(crate) fn new(shape: &[usize], from: &Layout, (to, len): (Place, usize), to_strides: &[usize]) -> Self {
        let dims = collapse(shape, &[&from.strides, to_strides]);
        let mut dims: Vec<(usize, [usize; 2])> =
            dims.into_iter().map(|d| (d.extent, [d.strides[0], d.strides[1]])).collect();
        // Sequential sums in the innermost loop, and as many of them as there are.
        let cost = |(extent, [_, to]): (usize, [usize; 2])| (to.max(1), std::cmp::Reverse(extent));
        if let Some(best) = (0..dims.len()).min_by_key(|&i| cost(dims[i])) {
            let dim = dims.remove(best);
            dims.push(dim);
        }
        let inner = dims.pop().unwrap_or((1, [0, 1]));
        let rows = dims.pop().unwrap_or((1, [0, 0]));
        Self { from: from.place, to, len, outer: dims, rows, inner }
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        let dims = self.outer.iter().chain([&self.rows, &self.inner]);
        let read = reach(dims.map(|(extent, strides)| (*extent, strides[0])));
        vec![
            Span { place: self.from, len: read, written: false },
            Span { place: self.to, len: self.len, written: true },
        ]
    }

    pub(crate) fn run(&self, memory: &Memory<'_>) {
        let from = memory.at(self.from);
        let to = memory.write(self.to, self.len);
        to.fill(0.0);
        overlap(memory.isa, from, to.as_mut_ptr(), &self.outer, self.rows, self.inner);
    }
}

multiversion! {
    #[expect(unsafe_code, reason = "strided access inside two distinct buffers")]
    fn overlap(
        from: *const f32,
        to: *mut f32,
        outer: &[(usize, [usize; 2])],
        rows: (usize, [usize; 2]),
        inner: (usize, [usize; 2]),
    ) {
        let ((n_rows, [row_from, row_to]), (n, [stride_from, stride_to])) = (rows, inner);
        for [at_from, at_to] in walk(outer) {
            for row in 0..n_rows {
                // SAFETY: the plan's axes stay inside both buffers, and the target is no operand.
                unsafe {
                    let (from, to) = (from.add(at_from + row * row_from), to.add(at_to + row * row_to));
                    if stride_from == 1 && stride_to == 1 {
                        // Entries of one axis land apart, so a row of them is a slice.
                        let (entries, sums) = (std::slice::from_raw_parts(from, n), std::slice::from_raw_parts_mut(to, n));
                        // Rows are as long as an image is wide: often shorter than the widest vector.
                        let ((sums, last_sums), (entries, last)) = (sums.as_chunks_mut::<8>(), entries.as_chunks::<8>());
                        for (sums, entries) in sums.iter_mut().zip(entries) {
                            (0..8).for_each(|i| sums[i] += entries[i]);
                        }
                        last_sums.iter_mut().zip(last).for_each(|(sum, x)| *sum += x);
                    } else {
                        for i in 0..n {
                            *to.add(i * stride_to) += *from.add(i * stride_from);
                        }
                    }
                }
            }
        }
    }
}
