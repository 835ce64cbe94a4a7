//! Sums and maxima over any axes.

use std::ops::Range;

use super::parts::Part;
use super::{Memory, Span, n_tuples, reach, walk, walk_range};
use crate::isa::multiversion;
use crate::plan::Place;
use crate::plan::layout::{Layout, collapse};

/// As many entries to reduce leave most lanes of a long sum empty.
pub(crate) const FEW: usize = 16;

/// A reduction of a strided operand to a dense result.
#[derive(Debug)]
pub(crate) struct Reduce {
    from: Place,
    to: Place,
    is_sum: bool,
    /// (extent, [stride in the operand, stride in the result]).
    kept: Vec<(usize, [usize; 2])>,
    /// (extent, [stride in the operand]).
    reduced: Vec<(usize, [usize; 1])>,
}

impl Reduce {
    pub(crate) fn new(is_sum: bool, shape: &[usize], from: &Layout, axes: &[usize], to: Place) -> Self {
        let pick = |wanted: bool| -> (Vec<usize>, Vec<usize>) {
            (0..shape.len())
                .filter(|axis| axes.contains(axis) == wanted)
                .map(|axis| (shape[axis], from.strides[axis]))
                .unzip()
        };
        let (kept_shape, kept_strides) = pick(false);
        let (reduced_shape, reduced_strides) = pick(true);
        let result_strides = crate::shape::row_major_strides(&kept_shape);
        let kept = collapse(&kept_shape, &[&kept_strides, &result_strides]);
        let reduced = collapse(&reduced_shape, &[&reduced_strides]);
        Self {
            from: from.place,
            to,
            is_sum,
            kept: kept.into_iter().map(|d| (d.extent, [d.strides[0], d.strides[1]])).collect(),
            reduced: reduced.into_iter().map(|d| (d.extent, [d.strides[0]])).collect(),
        }
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        let kept = |side: usize| self.kept.iter().map(move |(extent, strides)| (*extent, strides[side]));
        let reduced = self.reduced.iter().map(|(extent, strides)| (*extent, strides[0]));
        vec![
            Span { place: self.from, len: reach(kept(0).chain(reduced)), written: false },
            Span { place: self.to, len: reach(kept(1)), written: true },
        ]
    }

    fn n_reduced(&self) -> usize {
        self.reduced.iter().map(|(extent, _)| extent).product()
    }

    pub(crate) fn run(&self, memory: &Memory<'_>, part: Part) {
        let (from, to) = (memory.at(self.from), memory.at(self.to));
        match self.kept.split_last() {
            Some((&(width, [1, 1]), outer)) if !self.reduced.is_empty() && width >= 8 => {
                let (range, inner) = part.of_two(n_tuples(outer), (width, 16));
                let (from, to) = (from.wrapping_add(inner.start), to.wrapping_add(inner.start));
                columns(memory.isa, self.is_sum, from, to, outer, range, inner.len(), &self.reduced);
            }
            Some((&(width, [stride, 1]), outer)) if width >= 4 && self.n_reduced() <= FEW => {
                let mut places = [0; FEW];
                places.iter_mut().zip(walk(&self.reduced)).for_each(|(place, [at])| *place = at);
                let (range, inner) = part.of_two(n_tuples(outer), (width, 16));
                let (from, to) = (from.wrapping_add(inner.start * stride), to.wrapping_add(inner.start));
                let width = inner.len();
                short(memory.isa, self.is_sum, from, to, outer, range, width, stride, &places[..self.n_reduced()]);
            }
            _ => {
                let range = part.range(n_tuples(&self.kept), 1);
                entries(memory.isa, self.is_sum, from, to, &self.kept, range, &self.reduced);
            }
        }
    }
}

multiversion! {
    /// The innermost kept axis is dense: whole rows are added.
    #[expect(unsafe_code, reason = "strided access inside two distinct buffers")]
    fn columns(
        is_sum: bool,
        from: *const f32,
        to: *mut f32,
        outer: &[(usize, [usize; 2])],
        range: Range<usize>,
        width: usize,
        reduced: &[(usize, [usize; 1])],
    ) {
        for [at_from, at_to] in walk_range(outer, range) {
            // SAFETY: the plan's axes stay inside both buffers, which are distinct.
            let total = unsafe { std::slice::from_raw_parts_mut(to.add(at_to), width) };
            total.fill(if is_sum { 0.0 } else { f32::NEG_INFINITY });
            for [at] in walk(reduced) {
                // SAFETY: as above.
                let row = unsafe { std::slice::from_raw_parts(from.add(at_from + at), width) };
                if is_sum {
                    for (sum, x) in total.iter_mut().zip(row) {
                        *sum += x;
                    }
                } else {
                    for (top, &x) in total.iter_mut().zip(row) {
                        *top = if x > *top || x.is_nan() { x } else { *top };
                    }
                }
            }
        }
    }
}

multiversion! {
    /// Little to reduce, as in pooling: at places that are listed, sums in f64.
    #[expect(unsafe_code, reason = "strided access inside two distinct buffers")]
    fn short(
        is_sum: bool,
        from: *const f32,
        to: *mut f32,
        outer: &[(usize, [usize; 2])],
        range: Range<usize>,
        width: usize,
        stride: usize,
        places: &[usize],
    ) {
        for [at_from, at_to] in walk_range(outer, range) {
            // SAFETY: the plan's axes stay inside both buffers, which are distinct.
            let out = unsafe { std::slice::from_raw_parts_mut(to.add(at_to), width) };
            if let (false, 2, &[0, 1, below, last]) = (is_sum, stride, places)
                && last == below + 1
            {
                // SAFETY: as above: both rows of these squares, entry by entry.
                let row = |at: usize| unsafe { std::slice::from_raw_parts(from.add(at_from + at), 2 * width) };
                squares(row(0), row(below), out);
                continue;
            }
            for (i, out) in out.iter_mut().enumerate() {
                // SAFETY: as above.
                let entries = places.iter().map(|at| unsafe { *from.add(at_from + i * stride + at) });
                *out = if is_sum {
                    entries.map(f64::from).sum::<f64>() as f32
                } else {
                    entries.fold(f32::NEG_INFINITY, larger)
                };
            }
        }
    }
}

/// The larger of two, the first of equal ones, NaN if either is.
#[inline(always)]
fn larger(top: f32, x: f32) -> f32 {
    if (x > top) | x.is_nan() { x } else { top }
}

/// The largest of each square of two by two: lanes of squares side by side.
#[inline(always)]
fn squares(above: &[f32], below: &[f32], out: &mut [f32]) {
    for ((out, a), b) in out.iter_mut().zip(above.chunks_exact(2)).zip(below.chunks_exact(2)) {
        *out = larger(larger(a[0], a[1]), larger(b[0], b[1]));
    }
}

multiversion! {
    /// One entry after another. Sums run in sixteen lanes of f64.
    #[expect(unsafe_code, reason = "strided access inside two distinct buffers")]
    fn entries(
        is_sum: bool,
        from: *const f32,
        to: *mut f32,
        kept: &[(usize, [usize; 2])],
        range: Range<usize>,
        reduced: &[(usize, [usize; 1])],
    ) {
        let (n, stride, outer) = match reduced.split_last() {
            Some((&(n, [stride]), outer)) => (n, stride, outer),
            None => (1, 0, reduced),
        };
        for [at_from, at_to] in walk_range(kept, range) {
            let mut lanes = [0.0_f64; 16];
            let mut top = f32::NEG_INFINITY;
            for [at] in walk(outer) {
                // SAFETY: the plan's axes stay inside the operand.
                let row = unsafe { from.add(at_from + at) };
                if is_sum && stride == 1 {
                    // SAFETY: as above.
                    add_row(&mut lanes, unsafe { std::slice::from_raw_parts(row, n) });
                } else if is_sum {
                    let whole = n / 16 * 16;
                    let mut i = 0;
                    while i < whole {
                        for (lane, sum) in lanes.iter_mut().enumerate() {
                            // SAFETY: as above.
                            *sum += f64::from(unsafe { *row.add((i + lane) * stride) });
                        }
                        i += 16;
                    }
                    for (lane, sum) in lanes.iter_mut().enumerate().take(n - whole) {
                        // SAFETY: as above.
                        *sum += f64::from(unsafe { *row.add((whole + lane) * stride) });
                    }
                } else {
                    for i in 0..n {
                        // SAFETY: as above.
                        let x = unsafe { *row.add(i * stride) };
                        top = if x > top || x.is_nan() { x } else { top };
                    }
                }
            }
            let value = if is_sum { lanes.iter().sum::<f64>() as f32 } else { top };
            // SAFETY: inside the result, which is distinct from the operand.
            unsafe { *to.add(at_to) = value };
        }
    }
}

/// Adds a row to the lanes of its sum.
#[inline(always)]
fn add_row(lanes: &mut [f64; 16], row: &[f32]) {
    let chunks = row.chunks_exact(16);
    for (sum, &x) in lanes.iter_mut().zip(chunks.remainder()) {
        *sum += f64::from(x);
    }
    for chunk in chunks {
        for lane in 0..16 {
            lanes[lane] += f64::from(chunk[lane]);
        }
    }
}

multiversion! {
    /// Rows of `width` to one sum or maximum each, with the bits that [`Reduce`] gives them.
    pub(super) fn reduce_rows(is_sum: bool, from: &[f32], width: usize, to: &mut [f32]) {
        for (row, out) in from.chunks_exact(width).zip(to) {
            *out = if is_sum {
                let mut lanes = [0.0_f64; 16];
                add_row(&mut lanes, row);
                lanes.iter().sum::<f64>() as f32
            } else {
                row.iter().fold(f32::NEG_INFINITY, |top, &x| if x > top || x.is_nan() { x } else { top })
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    #[test]
    fn rows_in_groups_have_the_bits_of_the_kernel() {
        let numbers = crate::random::Stream::new(5, crate::random::Purpose::Data, 0);
        for isa in Isa::available() {
            for width in (17..70).chain([500, 513, 4099]) {
                let mut from = vec![0.0; 7 * width];
                numbers.normals(0, 0, &mut from);
                from[3 * width + 5] = f32::NAN;
                for is_sum in [true, false] {
                    let (mut own, mut kernel) = ([0.0; 7], [0.0; 7]);
                    reduce_rows(isa, is_sum, &from, width, &mut own);
                    let (kept, reduced) = ([(7, [width, 1])], [(width, [1])]);
                    entries(isa, is_sum, from.as_ptr(), kernel.as_mut_ptr(), &kept, 0..7, &reduced);
                    let bits = |x: [f32; 7]| x.map(|x| (!x.is_nan()).then_some(x.to_bits()));
                    assert_eq!(bits(own), bits(kernel), "{isa:?}, sums: {is_sum}, rows of {width}");
                }
            }
        }
    }
}
