//! Register tiles of a matrix product: a few rows by one or two vectors of columns, summed over the inner axis without
//! leaving the registers.
//!
//! Every entry of the result is one chain of multiply-adds in the order of the inner axis, whatever the tile around it:
//! cutting rows or columns elsewhere, for tails or for threads, changes no bit.

use super::offsets::Offsets;
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

/// Columns of the tile that serves `n` of them: whole, or one vector where that is enough.
pub(crate) fn width(isa: Isa, n: usize) -> usize {
    let (_, whole) = shape(isa);
    if n <= whole / 2 { whole / 2 } else { whole }
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
        let narrow = self.n_columns <= shape(isa).1 / 2;
        // SAFETY: passed on; variants beyond the baseline only come from `Isa::available`.
        unsafe {
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => x86::avx512(self, narrow),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => x86::avx2(self, narrow),
                _ if narrow => rows::<Lanes4, BASELINE_ROWS, { BASELINE_VECTORS / 2 }>(self),
                _ => rows::<Lanes4, BASELINE_ROWS, BASELINE_VECTORS>(self),
            }
        }
    }
}

/// One vector register.
#[expect(unsafe_code, reason = "raw loads and stores")]
trait Vector: Copy {
    const LANES: usize;
    fn zero() -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn splat(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    /// 0 where negative; NaN stays NaN.
    unsafe fn relu(self) -> Self;
    /// 1 where positive, else 0.
    unsafe fn step(self) -> Self;
    /// self · b + c.
    unsafe fn mul_add(self, b: Self, c: Self) -> Self;
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
        if panel.is_dense && n == VECTORS * V::LANES {
            for (i, &(mut sums)) in sums.iter().enumerate() {
                let row = panel.first_row + row + i;
                let out = first.add(panel.out_rows.at(row));
                if panel.adds {
                    for (j, sum) in sums.iter_mut().enumerate() {
                        *sum = sum.add(V::load(out.add(j * V::LANES)));
                    }
                }
                for finish in panel.finish {
                    if matches!(finish, Finish::Nothing) {
                        break;
                    }
                    finish_row(panel, finish, row, &mut sums);
                }
                for (j, sum) in sums.iter().enumerate() {
                    sum.store(out.add(j * V::LANES));
                }
            }
            return;
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
            if panel.is_dense {
                let out = std::slice::from_raw_parts_mut(first.add(out_row), n);
                if panel.adds {
                    line.iter_mut().zip(&*out).for_each(|(x, before)| *x += before);
                }
                finish_line(panel, panel.first_row + row + i, &mut line);
                out.copy_from_slice(&line[..n]);
                continue;
            }
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

/// One elementwise step on whole vectors of a row of a tile.
#[inline(always)]
#[expect(unsafe_code, reason = "raw operands")]
unsafe fn finish_row<V: Vector, const VECTORS: usize>(
    panel: &Panel<'_>,
    finish: Finish<'_>,
    row: usize,
    sums: &mut [V; VECTORS],
) {
    // SAFETY: the caller's promise: the operand has an entry for every column.
    unsafe {
        let (op, other, columns) = match finish {
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
            let from = panel.first_column + j * V::LANES;
            let value = match columns.stride() {
                Some(0) => V::splat(other),
                Some(1) => V::load(other.add(from)),
                _ => {
                    let mut values = [0.0_f32; MAX_COLUMNS];
                    for (lane, value) in values[..V::LANES].iter_mut().enumerate() {
                        *value = *other.add(columns.at(from + lane));
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

/// Four lanes of whatever the target has: SSE2 on x86-64, NEON on AArch64.
#[derive(Clone, Copy)]
struct Lanes4([f32; 4]);

#[expect(unsafe_code, reason = "raw loads and stores")]
impl Vector for Lanes4 {
    const LANES: usize = 4;
    #[inline(always)]
    fn zero() -> Self {
        Self([0.0; 4])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { from.cast::<[f32; 4]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn splat(from: *const f32) -> Self {
        // SAFETY: the caller's promise.
        Self([unsafe { *from }; 4])
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] + other.0[i]))
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] * other.0[i]))
    }
    #[inline(always)]
    unsafe fn relu(self) -> Self {
        Self(self.0.map(|x| if x < 0.0 { 0.0 } else { x }))
    }
    #[inline(always)]
    unsafe fn step(self) -> Self {
        Self(self.0.map(|x| if x > 0.0 { 1.0 } else { 0.0 }))
    }
    #[inline(always)]
    unsafe fn mul_add(self, b: Self, c: Self) -> Self {
        // A fused multiply-add is one instruction on AArch64 and a function call on baseline x86-64.
        if cfg!(target_arch = "aarch64") {
            Self(std::array::from_fn(|i| self.0[i].mul_add(b.0[i], c.0[i])))
        } else {
            Self(std::array::from_fn(|i| self.0[i] * b.0[i] + c.0[i]))
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "intrinsics of instruction sets found at run time")]
mod x86 {
    use std::arch::x86_64::{
        __m256, __m512, _CMP_GT_OQ, _mm256_add_ps, _mm256_and_ps, _mm256_broadcast_ss, _mm256_cmp_ps, _mm256_fmadd_ps,
        _mm256_loadu_ps, _mm256_max_ps, _mm256_mul_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps,
        _mm512_add_ps, _mm512_cmp_ps_mask, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_maskz_mov_ps, _mm512_max_ps,
        _mm512_mul_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
    };

    use super::{Panel, Vector, rows};

    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,bmi2")]
    pub(super) unsafe fn avx512(panel: &Panel<'_>, narrow: bool) {
        // SAFETY: the caller's promise.
        unsafe { if narrow { rows::<Zmm, 12, 1>(panel) } else { rows::<Zmm, 12, 2>(panel) } }
    }

    #[target_feature(enable = "avx2,fma,bmi2")]
    pub(super) unsafe fn avx2(panel: &Panel<'_>, narrow: bool) {
        // SAFETY: the caller's promise.
        unsafe { if narrow { rows::<Ymm, 6, 1>(panel) } else { rows::<Ymm, 6, 2>(panel) } }
    }

    macro_rules! vector {
        ($name:ident, $register:ty, $lanes:literal, $load:ident, $store:ident, $add:ident, $mul:ident, $fmadd:ident, $splat:expr, $relu:expr, $step:expr) => {
            #[derive(Clone, Copy)]
            struct $name($register);

            // SAFETY (all): called from functions compiled for the instruction set, on memory their callers vouch for.
            impl Vector for $name {
                const LANES: usize = $lanes;
                #[inline(always)]
                fn zero() -> Self {
                    // SAFETY: all-zero bits are zeros.
                    Self(unsafe { std::mem::zeroed() })
                }
                #[inline(always)]
                unsafe fn load(from: *const f32) -> Self {
                    // SAFETY: see above.
                    Self(unsafe { $load(from) })
                }
                #[inline(always)]
                unsafe fn splat(from: *const f32) -> Self {
                    // SAFETY: see above.
                    Self(unsafe { $splat(from) })
                }
                #[inline(always)]
                unsafe fn store(self, to: *mut f32) {
                    // SAFETY: see above.
                    unsafe { $store(to, self.0) }
                }
                #[inline(always)]
                unsafe fn add(self, other: Self) -> Self {
                    // SAFETY: see above.
                    Self(unsafe { $add(self.0, other.0) })
                }
                #[inline(always)]
                unsafe fn mul(self, other: Self) -> Self {
                    // SAFETY: see above.
                    Self(unsafe { $mul(self.0, other.0) })
                }
                #[inline(always)]
                unsafe fn relu(self) -> Self {
                    // SAFETY: see above.
                    Self(unsafe { $relu(self.0) })
                }
                #[inline(always)]
                unsafe fn step(self) -> Self {
                    // SAFETY: see above.
                    Self(unsafe { $step(self.0) })
                }
                #[inline(always)]
                unsafe fn mul_add(self, b: Self, c: Self) -> Self {
                    // SAFETY: see above.
                    Self(unsafe { $fmadd(self.0, b.0, c.0) })
                }
            }
        };
    }
    // The maximum of two registers is the second where either is NaN.
    vector!(
        Zmm,
        __m512,
        16,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_add_ps,
        _mm512_mul_ps,
        _mm512_fmadd_ps,
        |from: *const f32| _mm512_set1_ps(*from),
        |x| _mm512_max_ps(_mm512_setzero_ps(), x),
        |x| _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, _mm512_setzero_ps()), _mm512_set1_ps(1.0))
    );
    vector!(
        Ymm,
        __m256,
        8,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_add_ps,
        _mm256_mul_ps,
        _mm256_fmadd_ps,
        |from: *const f32| _mm256_broadcast_ss(&*from),
        |x| _mm256_max_ps(_mm256_setzero_ps(), x),
        |x| _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(x, _mm256_setzero_ps()), _mm256_set1_ps(1.0))
    );
}
