//! Kernels over dense rows: softmax, log-softmax, cross-entropy and its gradient.

use super::parts::Part;
use super::tables::{Ids, row_of};
use super::{Memory, Span};
use crate::isa::multiversion;
use crate::math;
use crate::plan::Place;
use crate::program::RunError;

/// One of the row kernels on `n_rows` rows of `width`.
#[derive(Debug)]
#[expect(clippy::struct_field_names, reason = "`n_rows` counts them")]
pub(crate) struct Rows {
    pub(crate) kind: RowKind,
    pub(crate) from: Place,
    pub(crate) to: Place,
    /// Targets of the cross-entropies.
    pub(crate) ids: Option<Ids>,
    pub(crate) n_rows: usize,
    pub(crate) width: usize,
    pub(crate) label: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowKind {
    Softmax,
    LogSoftmax,
    CrossEntropy,
    CrossEntropyGrad,
}

impl Rows {
    pub(crate) fn spans(&self) -> Vec<Span> {
        let all = self.n_rows * self.width;
        let results = if self.kind == RowKind::CrossEntropy { self.n_rows } else { all };
        let from = Span { place: self.from, len: all, written: false };
        let to = Span { place: self.to, len: results, written: true };
        [from, to].into_iter().chain(self.ids.as_ref().map(Ids::span)).collect()
    }

    pub(crate) fn run(&self, memory: &Memory<'_>, part: Part) -> Result<(), RunError> {
        let rows = part.range(self.n_rows, 1);
        let (first, n, width) = (rows.start, rows.len(), self.width);
        let from = memory.read(self.from.plus(first * width), n * width);
        let to_rows = || memory.write(self.to.plus(first * width), n * width);
        match (self.kind, &self.ids) {
            (RowKind::CrossEntropy, Some(ids)) => {
                let to = memory.write(self.to.plus(first), n);
                let mut targets = ids.walk(first);
                for (row, loss) in from.chunks_exact(width).zip(to) {
                    let target = row_of(targets.next_id(memory), width, &self.label)?;
                    *loss = cross_entropy(memory.isa, row, target);
                }
            }
            (RowKind::CrossEntropyGrad, Some(ids)) => {
                let to = to_rows();
                let mut targets = ids.walk(first);
                for (row, out) in from.chunks_exact(width).zip(to.chunks_exact_mut(width)) {
                    let target = row_of(targets.next_id(memory), width, &self.label)?;
                    cross_entropy_grad(memory.isa, row, target, out);
                }
            }
            (RowKind::LogSoftmax, _) => {
                log_softmax(memory.isa, from, width, to_rows());
            }
            _ => softmax(memory.isa, from, width, to_rows()),
        }
        Ok(())
    }
}

multiversion! {
    pub(super) fn softmax(from: &[f32], width: usize, to: &mut [f32]) {
        // Rows shorter than a vector go side by side, many at once; their entries meet in the same order.
        let n_blocks = if width < LANES { from.len() / (LANES * width) } else { 0 };
        let (blocks, from) = from.split_at(n_blocks * LANES * width);
        let (to_blocks, to) = to.split_at_mut(blocks.len());
        for (block, out) in blocks.chunks_exact(LANES * width).zip(to_blocks.chunks_exact_mut(LANES * width)) {
            softmax_of_short_rows(block, width, out);
        }
        for (row, out) in from.chunks_exact(width).zip(to.chunks_exact_mut(width)) {
            let top = maximum(row);
            for (p, &z) in out.iter_mut().zip(row) {
                *p = math::exp(z - top);
            }
            let scale = 1.0 / sum(out);
            for p in out.iter_mut() {
                *p *= scale;
            }
        }
    }
}

/// [`LANES`] rows of fewer than [`LANES`] entries, one to a lane.
#[inline(always)]
fn softmax_of_short_rows(block: &[f32], width: usize, out: &mut [f32]) {
    let mut columns = [[0.0_f32; LANES]; LANES];
    let columns = &mut columns[..width];
    let mut top = [f32::NEG_INFINITY; LANES];
    for (j, column) in columns.iter_mut().enumerate() {
        for (lane, z) in column.iter_mut().enumerate() {
            *z = block[lane * width + j];
        }
        for (top, &z) in top.iter_mut().zip(&*column) {
            *top = if z > *top { z } else { *top };
        }
    }
    let mut sums = [0.0_f32; LANES];
    for column in columns.iter_mut() {
        for lane in 0..LANES {
            column[lane] = math::exp(column[lane] - top[lane]);
            sums[lane] += column[lane];
        }
    }
    let scale = sums.map(|sum| 1.0 / sum);
    for (j, column) in columns.iter().enumerate() {
        for lane in 0..LANES {
            out[lane * width + j] = column[lane] * scale[lane];
        }
    }
}

multiversion! {
    /// (z − top) − log1p(Σ exp(z_j − top)) over all but the first of the largest: an entry next to certainty keeps
    /// its digits, as both terms are at most 0 and nothing cancels.
    pub(super) fn log_softmax(from: &[f32], width: usize, to: &mut [f32]) {
        for (row, out) in from.chunks_exact(width).zip(to.chunks_exact_mut(width)) {
            let top = maximum(row);
            let at = row.iter().position(|&z| z == top).unwrap_or(0);
            let shift = math::ln_1p(sum_exp(&row[..at], top) + sum_exp(&row[at + 1..], top));
            for (y, &z) in out.iter_mut().zip(row) {
                *y = (z - top) - shift;
            }
        }
    }
}

multiversion! {
    /// log1p(Σ_{j≠t} exp(z_j − z_t)) when the target is the largest; else shifted by the largest.
    fn cross_entropy(row: &[f32], target: usize) -> f32 {
        let (before, after) = (&row[..target], &row[target + 1..]);
        let z = row[target];
        let top = maximum(before).max(maximum(after));
        if top <= z {
            math::ln_1p(sum_exp(before, z) + sum_exp(after, z))
        } else {
            // The target's own share is at most one part in two: nothing cancels.
            let others = sum_exp(before, top) + sum_exp(after, top);
            (top - z) + math::ln(others + math::exp(z - top))
        }
    }
}

multiversion! {
    /// softmax − onehot, the target's entry as minus the sum of the others.
    fn cross_entropy_grad(row: &[f32], target: usize, out: &mut [f32]) {
        let top = maximum(row);
        for (p, &z) in out.iter_mut().zip(row) {
            *p = math::exp(z - top);
        }
        let others = sum(&out[..target]) + sum(&out[target + 1..]);
        let scale = 1.0 / (others + out[target]);
        for p in out.iter_mut() {
            *p *= scale;
        }
        out[target] = -others * scale;
    }
}

/// Lanes of the row sums: fixed, so that every instruction set adds in the same order.
const LANES: usize = 16;

#[inline(always)]
fn maximum(row: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (top, &x) in lanes.iter_mut().zip(chunk) {
            *top = if x > *top { x } else { *top };
        }
    }
    for (top, &x) in lanes.iter_mut().zip(rest) {
        *top = if x > *top { x } else { *top };
    }
    lanes.iter().copied().fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a })
}

#[inline(always)]
fn sum(row: &[f32]) -> f32 {
    accumulate(row, |x| x)
}

#[inline(always)]
fn sum_exp(row: &[f32], shift: f32) -> f32 {
    accumulate(row, |x| math::exp(x - shift))
}

#[inline(always)]
fn accumulate(row: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (sum, &x) in lanes.iter_mut().zip(chunk) {
            *sum += f(x);
        }
    }
    for (sum, &x) in lanes.iter_mut().zip(rest) {
        *sum += f(x);
    }
    lanes.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interpret;
    use crate::isa::Isa;

    #[test]
    fn short_rows_have_the_bits_of_single_ones() {
        let numbers = crate::random::Stream::new(3, crate::random::Purpose::Data, 0);
        for isa in Isa::available() {
            for width in 1..20 {
                let mut from = vec![0.0; 53 * width];
                numbers.normals(0, 0, &mut from);
                from[width / 2] = f32::NAN;
                from[3 * width..4 * width].fill(f32::NEG_INFINITY);
                from[5 * width] = 200.0;
                let (mut all, mut single) = (vec![0.0; from.len()], vec![0.0; from.len()]);
                softmax(isa, &from, width, &mut all);
                for (row, out) in from.chunks_exact(width).zip(single.chunks_exact_mut(width)) {
                    softmax(isa, row, width, out);
                }
                let bits = |values: &[f32]| -> Vec<Option<u32>> {
                    values.iter().map(|x| (!x.is_nan()).then_some(x.to_bits())).collect()
                };
                assert_eq!(bits(&all), bits(&single), "{isa:?}, rows of {width}");
            }
        }
    }

    #[test]
    fn log_softmax_keeps_the_digits_of_certainty() {
        for isa in Isa::available() {
            for gap in [0.0, 1.0, 5.0, 15.0, 20.0, 40.0, 80.0] {
                for target in [0, 5, 112] {
                    let mut row: Vec<f32> = (0..113_u8).map(|i| f32::from(i % 7) * 0.3 - 20.0).collect();
                    row[target] = -18.0 + gap;
                    let exact =
                        |at| interpret::cross_entropy(&row.iter().map(|&z| f64::from(z)).collect::<Vec<_>>(), at);
                    let mut out = vec![0.0; row.len()];
                    log_softmax(isa, &row, row.len(), &mut out);
                    for (at, &got) in out.iter().enumerate() {
                        let (got, exact) = (-f64::from(got), exact(at));
                        assert!((got - exact).abs() <= 2e-6 * exact, "gap {gap}, {target}, entry {at}: {got} {exact}");
                    }
                }
            }
        }
    }

    #[test]
    fn tiny_losses_keep_their_digits() {
        for gap in [0.0, 1.0, 5.0, 15.0, 20.0, 40.0, 80.0] {
            for target in [0, 5, 112] {
                for sign in [1.0, -1.0] {
                    let mut row: Vec<f32> = (0..113_u8).map(|i| f32::from(i % 7) * 0.3).collect();
                    row[target] = 2.0 + sign * gap;
                    let exact =
                        interpret::cross_entropy(&row.iter().map(|&z| f64::from(z)).collect::<Vec<_>>(), target);
                    let got = f64::from(cross_entropy(Isa::current(), &row, target));
                    assert!((got - exact).abs() <= 2e-6 * exact, "gap {gap}, target {target}: {got} {exact}");
                }
            }
        }
    }
}
