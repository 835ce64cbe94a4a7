//! Batches of matrix products whose sides are axes of any strides: packed tiles for large ones, plain loops for tiny ones.

use std::ops::Range;

use super::offsets::Offsets;
use super::parts::Part;
use super::tile::{self, Finish, Panel, Walk};
pub(crate) use super::tile::{FinishOp, MAX_FINISH};
use super::{Memory, Span, n_tuples, pack, tiny, walk_range};
use crate::isa::Isa;
use crate::plan::Place;

/// A batch of matrix products.
#[derive(Debug)]
pub(crate) struct Contract {
    /// First operand, second operand, result.
    places: [Place; 3],
    /// (extent, [stride in each]) of the batch axes.
    batch: Vec<(usize, [usize; 3])>,
    product: Product,
    mode: Mode,
    /// Elementwise steps on the result before it is written, at most [`tile::MAX_FINISH`] and only where it is written.
    finish: Vec<Extra>,
}

/// One elementwise step, with its other operand if it has one.
#[derive(Debug, Clone)]
pub(crate) struct Extra {
    pub(crate) op: Option<FinishOp>,
    pub(crate) place: Place,
    /// (extent, stride) of the batch axes.
    pub(crate) batch: Vec<(usize, usize)>,
    pub(crate) rows: Offsets,
    pub(crate) columns: Offsets,
}

/// What happens to the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Writes,
    /// Added to what is there.
    Adds,
    /// Added up in a buffer of so many zeros, where several entries may meet.
    Overlaps(usize),
}

/// One product: out[i, j] = Σ_l a[i, l]·b[l, j]; an entry lies at the sum of the offsets of its two indices.
#[derive(Debug, Clone)]
pub(crate) struct Product {
    pub(crate) a_rows: Offsets,
    pub(crate) a_inner: Offsets,
    pub(crate) b_inner: Offsets,
    pub(crate) b_columns: Offsets,
    pub(crate) out_rows: Offsets,
    pub(crate) out_columns: Offsets,
}

/// Inner indices summed before the result is touched: a packed panel of the second operand stays in a second-level cache.
const INNER_BLOCK: usize = 512;
/// Rows of the first operand that are read again for every panel, a multiple of every tile's rows: with
/// [`INNER_BLOCK`], about a megabyte.
const ROW_BLOCK: usize = 504;
/// Up to so many rows the second operand is read where it lies: packing would cost more than it saves.
const FEW_ROWS: usize = 24;

impl Contract {
    /// Roles are swapped where that makes the result's columns the dense ones.
    pub(crate) fn new(
        places: [Place; 3],
        batch: Vec<(usize, [usize; 3])>,
        product: Product,
        mode: Mode,
        finish: Vec<Extra>,
    ) -> Self {
        let p = product;
        // Windows are read where they lie as the first operand; packing them as the second costs as much as the product.
        let is_scattered = |rows: &Offsets, inner: &Offsets| rows.stride().is_none() && inner.stride().is_none();
        let keeps_windows = is_scattered(&p.b_columns, &p.b_inner) && !is_scattered(&p.a_rows, &p.a_inner);
        let is_windowed = is_scattered(&p.a_rows, &p.a_inner);
        if keeps_windows {
            return Self { places, batch, product: p, mode, finish }.swapped();
        }
        if is_windowed
            || p.out_columns.is_dense(0, p.out_columns.len().min(2)) && p.out_columns.len() > 1
            || !p.out_rows.is_dense(0, p.out_rows.len().min(2))
            || p.out_rows.len() == 1
        {
            return Self { places, batch, product: p, mode, finish };
        }
        Self { places, batch, product: p, mode, finish }.swapped()
    }

    /// The same result with rows and columns in each other's roles.
    fn swapped(self) -> Self {
        let ([a, b, out], p) = (self.places, self.product);
        let batch = self.batch.into_iter().map(|(extent, [x, y, z])| (extent, [y, x, z])).collect();
        let product = Product {
            a_rows: p.b_columns,
            a_inner: p.b_inner,
            b_inner: p.a_inner,
            b_columns: p.a_rows,
            out_rows: p.out_columns,
            out_columns: p.out_rows,
        };
        let swap = |extra: Extra| Extra { rows: extra.columns, columns: extra.rows, ..extra };
        let finish = self.finish.into_iter().map(swap).collect();
        Self { places: [b, a, out], batch, product, mode: self.mode, finish }
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        let p = &self.product;
        let sides = [[&p.a_rows, &p.a_inner], [&p.b_inner, &p.b_columns], [&p.out_rows, &p.out_columns]];
        let span = |side: usize| {
            let loops = self.batch.iter().map(|(extent, strides)| (extent - 1) * strides[side]);
            let len = 1 + loops.sum::<usize>() + sides[side].iter().map(|offsets| offsets.reach()).sum::<usize>();
            let len = if let (2, Mode::Overlaps(all)) = (side, self.mode) { all } else { len };
            Span { place: self.places[side], len, written: side == 2 }
        };
        let extra = |extra: &Extra| {
            let loops = extra.batch.iter().map(|(extent, stride)| (extent - 1) * stride);
            let len = 1 + loops.sum::<usize>() + extra.rows.reach() + extra.columns.reach();
            Span { place: extra.place, len, written: false }
        };
        let extras = self.finish.iter().filter(|extra| extra.op.is_some()).map(extra);
        (0..3).map(span).chain(extras).collect()
    }

    /// Floats of scratch memory that packing needs.
    pub(crate) fn scratch_len(&self) -> usize {
        let n_inner = self.product.a_inner.len().min(INNER_BLOCK);
        let n_rows = self.product.a_rows.len().next_multiple_of(tile::MAX_ROWS).min(ROW_BLOCK);
        n_inner * (tile::MAX_COLUMNS + n_rows)
    }

    pub(crate) fn run(&self, memory: &Memory<'_>, part: Part) {
        let [a, b, out] = self.places.map(|place| memory.at(place).cast_const());
        let p = &self.product;
        let adds = self.mode != Mode::Writes;
        let mut part = part;
        if let Mode::Overlaps(len) = self.mode {
            // Rows meet each other in the result: one thread adds them all, in order.
            if part.index > 0 {
                return;
            }
            part = Part::WHOLE;
            memory.write(self.places[2], len).fill(0.0);
        }
        if let (Some(product), true) = (tiny::Product::of(p), self.finish.is_empty()) {
            let range = part.range(n_tuples(&self.batch), 1);
            return tiny::batch(memory.isa, a, b, out.cast_mut(), &self.batch, range, product, adds);
        }
        let (batch, rows, columns) = self.cut(memory.isa, part);
        if rows.is_empty() || columns.is_empty() {
            return;
        }
        let scratch = memory.scratch(self.scratch_len());
        let first = batch.start;
        for (i, [at_a, at_b, at_out]) in walk_range(&self.batch, batch).enumerate() {
            let mut finish = [Finish::Nothing; MAX_FINISH];
            for (finish, extra) in finish.iter_mut().zip(&self.finish) {
                *finish = extra.at(memory, first + i);
            }
            product(
                memory.isa,
                p,
                (rows.clone(), columns.clone()),
                (adds, finish),
                [a.wrapping_add(at_a), b.wrapping_add(at_b), out.wrapping_add(at_out)],
                scratch,
            );
        }
    }

    /// A part's share: of the batch where that is long enough, else of columns or rows, whichever are more, so that the
    /// smaller operand is the one packed by every part.
    fn cut(&self, isa: Isa, part: Part) -> (Range<usize>, Range<usize>, Range<usize>) {
        let (m, n) = (self.product.a_rows.len(), self.product.b_columns.len());
        let (tile_rows, tile_columns) = tile::shape(isa);
        let n_batch = n_tuples(&self.batch);
        if n >= m {
            let (batch, columns) = part.of_two(n_batch, (n, tile_columns));
            (batch, 0..m, columns)
        } else {
            let (batch, rows) = part.of_two(n_batch, (m, tile_rows));
            (batch, rows, 0..n)
        }
    }
}

impl Extra {
    /// The step for product number `index` of the batch.
    fn at(&self, memory: &Memory<'_>, index: usize) -> Finish<'_> {
        let Some(op) = self.op else { return Finish::Relu };
        let (mut rest, mut offset) = (index, 0);
        for &(extent, stride) in self.batch.iter().rev() {
            offset += rest % extent * stride;
            rest /= extent;
        }
        Finish::With(op, memory.at(self.place).wrapping_add(offset), &self.rows, &self.columns)
    }
}

/// Entries of the product in some rows and columns, which start where tiles start.
#[expect(unsafe_code, reason = "runs tiles on the addresses of the plan")]
fn product(
    isa: Isa,
    p: &Product,
    (rows, columns): (Range<usize>, Range<usize>),
    (adds, finish): (bool, [Finish<'_>; MAX_FINISH]),
    [a, b, out]: [*const f32; 3],
    scratch: &mut [f32],
) {
    let (m, n, k) = (p.a_rows.len(), p.b_columns.len(), p.a_inner.len());
    let (panel, packed_a) = scratch.split_at_mut(k.min(INNER_BLOCK) * tile::MAX_COLUMNS);
    let whole = tile::shape(isa).1;
    for from in (0..k).step_by(INNER_BLOCK) {
        let to = (from + INNER_BLOCK).min(k);
        for first_row in rows.clone().step_by(ROW_BLOCK) {
            let n_rows = ROW_BLOCK.min(rows.end - first_row);
            let (a, a_walk) = match (p.a_rows.stride(), p.a_inner.stride()) {
                (Some(rows), Some(inner)) if !crowds(rows, inner, n) => {
                    (a.wrapping_add(first_row * rows + from * inner), Walk::Even(rows, inner))
                }
                (Some(rows), Some(_)) => {
                    for (i, row) in packed_a.chunks_exact_mut(to - from).take(n_rows).enumerate() {
                        // SAFETY: a row of the operand, dense along the inner axis.
                        let source =
                            unsafe { std::slice::from_raw_parts(a.add((first_row + i) * rows + from), to - from) };
                        row.copy_from_slice(source);
                    }
                    (packed_a.as_ptr(), Walk::Even(to - from, 1))
                }
                _ => (a, Walk::Tables(&p.a_rows, &p.a_inner, from)),
            };
            for first in columns.clone().step_by(whole) {
                let n_columns = whole.min(columns.end - first);
                let width = tile::width(isa, n_columns);
                let (b, b_stride) = match p.b_inner.stride() {
                    Some(stride) if m <= FEW_ROWS && n_columns == width && p.b_columns.is_dense(first, width) => {
                        (b.wrapping_add(from * stride + p.b_columns.at(first)), stride)
                    }
                    _ => {
                        pack::columns(isa, b, &p.b_inner, (from, to), &p.b_columns, (first, n_columns), width, panel);
                        (panel.as_ptr(), width)
                    }
                };
                let panel = Panel {
                    n_rows,
                    n_inner: to - from,
                    a,
                    a_walk,
                    b,
                    b_stride,
                    out: out.cast_mut(),
                    out_rows: &p.out_rows,
                    first_row,
                    out_columns: &p.out_columns,
                    first_column: first,
                    n_columns,
                    is_dense: p.out_columns.is_dense(first, n_columns),
                    adds: adds || from > 0,
                    finish: if to == k { finish } else { [Finish::Nothing; MAX_FINISH] },
                };
                // SAFETY: the plan's offsets stay inside the three buffers, and the result is no operand.
                unsafe { panel.run(isa) };
            }
        }
    }
}

/// Whether rows that start a multiple of 2 KiB apart push each other out of a first-level cache, and are read often
/// enough for a copy to pay.
fn crowds(rows: usize, inner: usize, n: usize) -> bool {
    inner == 1 && rows >= 512 && rows.is_multiple_of(512) && n >= 128
}
