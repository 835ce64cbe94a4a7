//! Where a maximum is first attained: the derivative of maxima and of max pooling.

use super::{Memory, Span, reach, walk};
use crate::isa::multiversion;
use crate::plan::Place;
use crate::plan::layout::{Layout, collapse};
use crate::shape::row_major_strides;

/// Fills the result with zeros, then puts 1 at the first largest entry of each group of a strided operand. NaN counts as
/// larger than any number.
#[derive(Debug)]
pub(crate) struct First {
    from: Place,
    to: Place,
    len: usize,
    /// (extent, [stride in the operand, stride in the result]) of the axes that groups are told apart by.
    kept: Vec<(usize, [usize; 2])>,
    /// The same of the axes within a group.
    reduced: Vec<(usize, [usize; 2])>,
}

impl First {
    pub(crate) fn new(shape: &[usize], from: &Layout, axes: &[usize], to: Place) -> Self {
        let to_strides = row_major_strides(shape);
        let pick = |wanted: bool| -> Vec<(usize, [usize; 2])> {
            let own: Vec<usize> = (0..shape.len()).filter(|axis| axes.contains(axis) == wanted).collect();
            let of = |values: &[usize]| own.iter().map(|&axis| values[axis]).collect::<Vec<_>>();
            let dims = collapse(&of(shape), &[&of(&from.strides), &of(&to_strides)]);
            dims.into_iter().map(|d| (d.extent, [d.strides[0], d.strides[1]])).collect()
        };
        Self { from: from.place, to, len: shape.iter().product(), kept: pick(false), reduced: pick(true) }
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        let dims = self.kept.iter().chain(&self.reduced);
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
        first(memory.isa, from, to.as_mut_ptr(), &self.kept, &self.reduced);
    }
}

multiversion! {
    #[expect(unsafe_code, reason = "strided access inside two distinct buffers")]
    fn first(
        from: *const f32,
        to: *mut f32,
        kept: &[(usize, [usize; 2])],
        reduced: &[(usize, [usize; 2])],
    ) {
        let (n, [stride_from, stride_to], outer) = match reduced.split_last() {
            Some((&(n, strides), outer)) => (n, strides, outer),
            None => (1, [0, 0], reduced),
        };
        for [at_from, at_to] in walk(kept) {
            // SAFETY: the plan's axes stay inside both buffers, which are distinct.
            unsafe {
                let mut top = *from.add(at_from);
                let mut best = at_to;
                for [row_from, row_to] in walk(outer) {
                    for i in 0..n {
                        let x = *from.add(at_from + row_from + i * stride_from);
                        if x > top || (x.is_nan() && !top.is_nan()) {
                            top = x;
                            best = at_to + row_to + i * stride_to;
                        }
                    }
                }
                *to.add(best) = 1.0;
            }
        }
    }
}
