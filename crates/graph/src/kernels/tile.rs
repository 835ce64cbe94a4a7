//! Register tiles of a matrix product: a few rows by one or two vectors of columns, summed over the inner axis without
//! leaving the registers.
//!
//! Every entry of the result is one chain of multiply-adds in the order of the inner axis, whatever the tile around it:
//! cutting rows or columns elsewhere, for tails or for threads, changes no bit.

use super::offsets::Offsets;
use super::vector::{Lanes4, Vector};
use crate::isa::Isa;

/// Rows of the largest tile.
pub(crate) const MAX_ROWS: usize = 12;
/// Columns of the widest tile.
pub(crate) const MAX_COLUMNS: usize = 32;

/// Result columns `first..first + n_columns` of a product for all its rows and a run of its inner axis.
pub(crate) struct Panel<'a> {
    pub(crate) n_rows: usize,
    pub(crate) n_inner: usize,
    pub(crate) a: *const f32,
    pub(crate) a_walk: Walk<'a>,
    /// The second operand: one vector or two at every inner index, `b_stride` apart.
    pub(crate) b: *const f32,
    pub(crate) b_stride: usize,
    pub(crate) out: *mut f32,
    pub(crate) out_rows: &'a Offsets,
    pub(crate) first_row: usize,
    pub(crate) out_columns: &'a Offsets,
    pub(crate) first_column: usize,
    pub(crate) n_columns: usize,
    /// The result's columns lie next to each other.
    pub(crate) is_dense: bool,
    /// Add to the result instead of writing it.
    pub(crate) adds: bool,
    /// What happens to every entry before it is written.
    pub(crate) finish: [Finish<'a>; MAX_FINISH],
}

/// Elementwise steps that a product takes along.
pub(crate) const MAX_FINISH: usize = 4;

/// One elementwise step on the entries of a product, with the other operand's address and offsets.
#[derive(Clone, Copy)]
pub(crate) enum Finish<'a> {
    Nothing,
    Relu,
    With(FinishOp, *const f32, &'a Offsets, &'a Offsets),
}

/// How an entry meets the other operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FinishOp {
    Add,
    Mul,
    /// Times 1 where the other operand is positive, else 0: the derivative of a relu.
    Gate,
}

/// How a panel walks the first operand, of which it broadcasts one entry after another.
#[derive(Clone, Copy)]
pub(crate) enum Walk<'a> {
    /// Strides from row to row and along the inner axis.
    Even(usize, usize),
    /// Offsets of the rows from `first_row` of the panel on, and of the inner axis from an index on.
    Tables(&'a Offsets, &'a Offsets, usize),
}

/// Rows and columns of a whole tile.
pub(crate) fn shape(isa: Isa) -> (usize, usize) {
    match isa {
        Isa::Avx512 => (12, 32),
        Isa::Avx2 => (6, 16),
        Isa::Baseline => (BASELINE_ROWS, 8 * BASELINE_VECTORS / 2),
    }
}

/// Columns of the tile that serves `n` of them: whole, or one vector, or a vector and a half, where that is enough.
pub(crate) fn width(isa: Isa, n: usize) -> usize {
    let (_, whole) = shape(isa);
    match n {
        _ if n <= whole / 2 => whole / 2,
        _ if n <= whole / 4 * 3 && isa == Isa::Avx512 => whole / 4 * 3,
        _ => whole,
    }
}

#[cfg(target_arch = "aarch64")]
const BASELINE_ROWS: usize = 6;
#[cfg(target_arch = "aarch64")]
const BASELINE_VECTORS: usize = 4;
#[cfg(not(target_arch = "aarch64"))]
const BASELINE_ROWS: usize = 4;
#[cfg(not(target_arch = "aarch64"))]
const BASELINE_VECTORS: usize = 2;

impl Panel<'_> {
    /// Computes the panel.
    ///
    /// # Safety
    /// All strides and offsets stay inside the operands and the result; `b` holds [`width`] columns at every inner index.
    #[expect(unsafe_code, reason = "raw operands, and functions compiled for more features than the target")]
    pub(crate) unsafe fn run(&self, isa: Isa) {
        let width = width(isa, self.n_columns);
        let narrow = width < shape(isa).1;
        // SAFETY: passed on; variants beyond the baseline only come from `Isa::available`.
        unsafe {
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => x86::avx512(self, width),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => x86::avx2(self, narrow),
                _ if narrow => rows::<Lanes4, BASELINE_ROWS, { BASELINE_VECTORS / 2 }>(self),
                _ => rows::<Lanes4, BASELINE_ROWS, BASELINE_VECTORS>(self),
            }
        }
    }
}

/// All row tiles of a panel, ROWS at a time and the rest in one.
#[inline(always)]
#[expect(unsafe_code, reason = "raw operands")]
unsafe fn rows<V: Vector, const ROWS: usize, const VECTORS: usize>(panel: &Panel<'_>) {
    let mut row = 0;
    // SAFETY: the caller's promise; tiles cover the rows once.
    unsafe {
        while row + ROWS <= panel.n_rows {
            tile::<V, ROWS, VECTORS>(panel, row);
            row += ROWS;
        }
        match panel.n_rows - row {
            0 => {}
            1 => tile::<V, 1, VECTORS>(panel, row),
            2 => tile::<V, 2, VECTORS>(panel, row),
            3 => tile::<V, 3, VECTORS>(panel, row),
            4 => tile::<V, 4, VECTORS>(panel, row),
            5 => tile::<V, 5, VECTORS>(panel, row),
            6 => tile::<V, 6, VECTORS>(panel, row),
            7 => tile::<V, 7, VECTORS>(panel, row),
            8 => tile::<V, 8, VECTORS>(panel, row),
            9 => tile::<V, 9, VECTORS>(panel, row),
            10 => tile::<V, 10, VECTORS>(panel, row),
            _ => tile::<V, 11, VECTORS>(panel, row),
        }
    }
}

#[inline(always)]
#[expect(unsafe_code, reason = "raw operands")]
unsafe fn tile<V: Vector, const ROWS: usize, const VECTORS: usize>(panel: &Panel<'_>, row: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let sums: [[V; VECTORS]; ROWS] = match panel.a_walk {
            Walk::Even(rows, inner) => {
                let mut a = panel.a.add(row * rows);
                sums(panel, |i| {
                    let at = a.wrapping_add(i * rows);
                    if i + 1 == ROWS {
                        a = a.wrapping_add(inner);
                    }
                    at
                })
            }
            Walk::Tables(rows, inner, from) => {
                let of_rows: [usize; ROWS] = std::array::from_fn(|i| rows.at(panel.first_row + row + i));
                let mut l = from;
                let mut a = panel.a;
                sums(panel, |i| {
                    if i == 0 {
                        a = panel.a.wrapping_add(inner.at(l));
                        l += 1;
                    }
                    a.wrapping_add(of_rows[i])
                })
            }
        };
        let n = panel.n_columns;
        let first = panel.out.add(panel.out_columns.at(panel.first_column));
        let is_plain = matches!(panel.finish[0], Finish::Nothing);
        if panel.is_dense {
            if n == VECTORS * V::LANES {
                return write::<V, ROWS, VECTORS, true>(panel, row, first, sums);
            }
            return write::<V, ROWS, VECTORS, false>(panel, row, first, sums);
        }
        // Looked up once for all rows: columns in runs, such as those of windows, have no stride.
        let mut columns = [0; MAX_COLUMNS];
        for (j, column) in columns[..n].iter_mut().enumerate() {
            *column = panel.out_columns.at(panel.first_column + j);
        }
        for (i, sums) in sums.iter().enumerate() {
            let mut line = [0.0_f32; MAX_COLUMNS];
            for (j, &sum) in sums.iter().enumerate() {
                sum.store(line.as_mut_ptr().add(j * V::LANES));
            }
            let out_row = panel.out_rows.at(panel.first_row + row + i);
            // One after another: entries of windows may meet within a line.
            if is_plain {
                let out = panel.out.add(out_row);
                for (&column, &value) in columns[..n].iter().zip(&line) {
                    let to = out.add(column);
                    *to = if panel.adds { *to + value } else { value };
                }
                continue;
            }
            for (j, value) in line[..n].iter_mut().enumerate() {
                if panel.adds {
                    *value += *panel.out.add(out_row + columns[j]);
                }
            }
            finish_line(panel, panel.first_row + row + i, &mut line);
            for (j, &value) in line[..n].iter().enumerate() {
                *panel.out.add(out_row + columns[j]) = value;
            }
        }
    }
}

/// Writes a tile whose columns lie side by side: `IS_WHOLE`, or its first columns only.
#[inline(always)]
#[expect(unsafe_code, reason = "raw operands")]
unsafe fn write<V: Vector, const ROWS: usize, const VECTORS: usize, const IS_WHOLE: bool>(
    panel: &Panel<'_>,
    row: usize,
    first: *mut f32,
    sums: [[V; VECTORS]; ROWS],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let row = panel.first_row + row;
        let lines: [*mut f32; ROWS] = match panel.out_rows {
            Offsets::Even(_, stride) => std::array::from_fn(|i| first.wrapping_add((row + i) * stride)),
            Offsets::Table(table) => std::array::from_fn(|i| first.wrapping_add(table[row + i])),
        };
        // One row after another: entries of windows may meet between rows. Each in a copy of its own: steps that finish a
        // row by its address would keep all of them in memory.
        for (i, &(mut sums)) in sums.iter().enumerate() {
            if panel.adds {
                for (j, sum) in sums.iter_mut().enumerate() {
                    *sum = sum.add(load::<V, IS_WHOLE>(lines[i], j * V::LANES, panel.n_columns));
                }
            }
            for finish in &panel.finish {
                if matches!(finish, Finish::Nothing) {
                    break;
                }
                finish_row::<V, VECTORS, IS_WHOLE>(panel, finish, row + i, &mut sums);
            }
            store::<V, VECTORS, IS_WHOLE>(&sums, lines[i], panel.n_columns);
        }
    }
}

/// One vector of a line of `n` entries, from entry `at` on.
#[inline(always)]
#[expect(unsafe_code, reason = "raw operands")]
unsafe fn load<V: Vector, const IS_WHOLE: bool>(line: *const f32, at: usize, n: usize) -> V {
    // SAFETY: the caller's promise: n entries.
    unsafe { if IS_WHOLE { V::load(line.add(at)) } else { V::load_first(line.wrapping_add(at), n.saturating_sub(at)) } }
}

/// A line of `n` entries.
#[inline(always)]
#[expect(unsafe_code, reason = "raw operands")]
unsafe fn store<V: Vector, const VECTORS: usize, const IS_WHOLE: bool>(sums: &[V; VECTORS], line: *mut f32, n: usize) {
    for (j, sum) in sums.iter().enumerate() {
        let at = j * V::LANES;
        // SAFETY: the caller's promise: n entries.
        unsafe {
            if IS_WHOLE {
                sum.store(line.add(at));
            } else {
                sum.store_first(line.wrapping_add(at), n.saturating_sub(at));
            }
        }
    }
}

/// One elementwise step on the vectors of a row of a tile.
#[inline(always)]
#[expect(unsafe_code, reason = "raw operands")]
unsafe fn finish_row<V: Vector, const VECTORS: usize, const IS_WHOLE: bool>(
    panel: &Panel<'_>,
    finish: &Finish<'_>,
    row: usize,
    sums: &mut [V; VECTORS],
) {
    // SAFETY: the caller's promise: the operand has an entry for every column.
    unsafe {
        let (op, other, columns) = match *finish {
            Finish::Nothing => return,
            Finish::Relu => {
                for sum in sums {
                    *sum = sum.relu();
                }
                return;
            }
            Finish::With(op, other, rows, columns) => (op, other.add(rows.at(row)), columns),
        };
        for (j, sum) in sums.iter_mut().enumerate() {
            let at = j * V::LANES;
            let value = match columns.stride() {
                Some(0) => V::splat(other),
                Some(1) => load::<V, IS_WHOLE>(other.wrapping_add(panel.first_column), at, panel.n_columns),
                _ => {
                    let mut values = [0.0_f32; MAX_COLUMNS];
                    let n = panel.n_columns.saturating_sub(at).min(V::LANES);
                    for (lane, value) in values[..n].iter_mut().enumerate() {
                        *value = *other.add(columns.at(panel.first_column + at + lane));
                    }
                    V::load(values.as_ptr())
                }
            };
            *sum = match op {
                FinishOp::Add => sum.add(value),
                FinishOp::Mul => sum.mul(value),
                FinishOp::Gate => sum.mul(value.step()),
            };
        }
    }
}

/// The elementwise steps of a panel on one row of a tile.
#[inline(always)]
#[expect(unsafe_code, reason = "raw operands")]
unsafe fn finish_line(panel: &Panel<'_>, row: usize, line: &mut [f32; MAX_COLUMNS]) {
    let n = panel.n_columns;
    for finish in panel.finish {
        let (op, other, columns) = match finish {
            Finish::Nothing => return,
            Finish::Relu => {
                for x in line.iter_mut() {
                    // Written so that NaN stays NaN.
                    *x = if *x < 0.0 { 0.0 } else { *x };
                }
                continue;
            }
            Finish::With(op, other, rows, columns) => (op, other.wrapping_add(rows.at(row)), columns),
        };
        let mut values = [0.0_f32; MAX_COLUMNS];
        // SAFETY: the caller's promise: n entries of the operand.
        unsafe {
            if columns.is_dense(panel.first_column, n) {
                let from = other.add(columns.at(panel.first_column));
                values[..n].copy_from_slice(std::slice::from_raw_parts(from, n));
            } else {
                for (j, value) in values[..n].iter_mut().enumerate() {
                    *value = *other.add(columns.at(panel.first_column + j));
                }
            }
        }
        match op {
            FinishOp::Add => line.iter_mut().zip(&values).for_each(|(x, y)| *x += y),
            FinishOp::Mul => line.iter_mut().zip(&values).for_each(|(x, y)| *x *= y),
            FinishOp::Gate => line.iter_mut().zip(&values).for_each(|(x, &y)| *x *= if y > 0.0 { 1.0 } else { 0.0 }),
        }
    }
}

/// The sums of a tile; `a` is asked for the address of the entry of each row in turn, for one inner index after another.
#[inline(always)]
#[expect(unsafe_code, reason = "raw operands")]
unsafe fn sums<V: Vector, const ROWS: usize, const VECTORS: usize>(
    panel: &Panel<'_>,
    mut a: impl FnMut(usize) -> *const f32,
) -> [[V; VECTORS]; ROWS] {
    let mut sums = [[V::zero(); VECTORS]; ROWS];
    let mut b = panel.b;
    // SAFETY: the caller's promise.
    unsafe {
        for _ in 0..panel.n_inner {
            let mut columns = [V::zero(); VECTORS];
            for (j, column) in columns.iter_mut().enumerate() {
                *column = V::load(b.add(j * V::LANES));
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                let factor = V::splat(a(i));
                for (sum, &column) in sums.iter_mut().zip(&columns) {
                    *sum = factor.mul_add(column, *sum);
                }
            }
            b = b.wrapping_add(panel.b_stride);
        }
    }
    sums
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "functions compiled for more features than the target")]
mod x86 {
    use super::super::vector::x86::{Ymm, Zmm, ZmmYmm};
    use super::{Panel, rows};

    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,bmi2")]
    pub(super) unsafe fn avx512(panel: &Panel<'_>, width: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            match width {
                16 => rows::<Zmm, 12, 1>(panel),
                24 => rows::<ZmmYmm, 12, 1>(panel),
                _ => rows::<Zmm, 12, 2>(panel),
            }
        }
    }

    #[target_feature(enable = "avx2,fma,bmi2")]
    pub(super) unsafe fn avx2(panel: &Panel<'_>, narrow: bool) {
        // SAFETY: the caller's promise.
        unsafe { if narrow { rows::<Ymm, 6, 1>(panel) } else { rows::<Ymm, 6, 2>(panel) } }
    }
}
