//! Packing: runs of columns side by side for the tiles of a product, whatever the strides they come from.

use super::offsets::Offsets;
use crate::isa::multiversion;

multiversion! {
    /// Writes columns `first..first + n` at inner indices `from..to` as rows of `width` floats, zeros after the n-th.
    #[expect(unsafe_code, reason = "strided reads inside an operand")]
    pub(crate) fn columns(
        source: *const f32,
        inner: &Offsets,
        inner_range: (usize, usize),
        columns: &Offsets,
        column_range: (usize, usize),
        width: usize,
        panel: &mut [f32],
    ) {
        let (from, to) = inner_range;
        let (first, n) = column_range;
        let panel = &mut panel[..(to - from) * width];
        if columns.is_dense(first, n) {
            let source = source.wrapping_add(columns.at(first));
            // Copies of a known length need no call.
            return match (n, width) {
                (32, 32) => whole::<32>(source, inner, from, panel),
                (24, 24) => whole::<24>(source, inner, from, panel),
                (16, 16) => whole::<16>(source, inner, from, panel),
                (8, 8) => whole::<8>(source, inner, from, panel),
                _ => {
                    let whole = n / 4 * 4;
                    zeros(whole, width, panel);
                    for column in (0..whole).step_by(4) {
                        for (l, row) in (from..to).zip(panel.chunks_exact_mut(width)) {
                            // SAFETY: n entries of the operand lie side by side here.
                            let run = unsafe { source.add(inner.at(l) + column).cast::<[f32; 4]>().read_unaligned() };
                            row[column..column + 4].copy_from_slice(&run);
                        }
                    }
                    for column in whole..n {
                        for (l, row) in (from..to).zip(panel.chunks_exact_mut(width)) {
                            // SAFETY: as above.
                            row[column] = unsafe { *source.add(inner.at(l) + column) };
                        }
                    }
                }
            };
        }
        zeros(n / 4 * 4, width, panel);
        let mut j = 0;
        while j < n {
            let mut l = from;
            if j + 4 <= n {
                let four: [usize; 4] = std::array::from_fn(|i| columns.at(first + j + i));
                let runs = four.map(|at| source.wrapping_add(at));
                if inner.stride() == Some(1) {
                    while l + 4 <= to {
                        // SAFETY: four runs of four entries of the operand, and of the panel, whose last row begins
                        // at most `to - from - 1` rows after its first.
                        unsafe { in_fours(runs.map(|run| run.add(l)), panel.as_mut_ptr().add((l - from) * width + j), width) };
                        l += 4;
                    }
                }
                while l + 4 <= to && inner.is_dense(l, 4) {
                    let at = inner.at(l);
                    // SAFETY: as above.
                    unsafe { in_fours(runs.map(|run| run.add(at)), panel.as_mut_ptr().add((l - from) * width + j), width) };
                    l += 4;
                }
                while l < to {
                    let at = inner.at(l);
                    for (i, column) in four.iter().enumerate() {
                        // SAFETY: an entry of the operand.
                        panel[(l - from) * width + j + i] = unsafe { *source.add(column + at) };
                    }
                    l += 1;
                }
                j += 4;
            } else {
                let column = columns.at(first + j);
                for l in from..to {
                    // SAFETY: an entry of the operand.
                    panel[(l - from) * width + j] = unsafe { *source.add(column + inner.at(l)) };
                }
                j += 1;
            }
        }
    }
}

/// Zeros in the columns from `first` on, four at a time: a row of a few zeros would be a call each.
#[inline(always)]
fn zeros(first: usize, width: usize, panel: &mut [f32]) {
    for column in (first..width).step_by(4) {
        for row in panel.chunks_exact_mut(width) {
            row[column..column + 4].copy_from_slice(&[0.0; 4]);
        }
    }
}

/// Packs `N` columns side by side, as many as the panel is wide.
#[inline(always)]
#[expect(unsafe_code, reason = "strided reads inside an operand")]
fn whole<const N: usize>(source: *const f32, inner: &Offsets, from: usize, panel: &mut [f32]) {
    for (l, row) in panel.chunks_exact_mut(N).enumerate() {
        // SAFETY: N entries of the operand lie side by side here.
        let run = unsafe { source.add(inner.at(from + l)).cast::<[f32; N]>().read_unaligned() };
        row.copy_from_slice(&run);
    }
}

/// Four runs of four entries as columns of four rows, `width` apart.
#[inline(always)]
#[expect(unsafe_code, reason = "raw reads and writes")]
unsafe fn in_fours(runs: [*const f32; 4], to: *mut f32, width: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let block = runs.map(|run| run.cast::<[f32; 4]>().read_unaligned());
        for (r, line) in transposed(block).into_iter().enumerate() {
            to.add(r * width).cast::<[f32; 4]>().write_unaligned(line);
        }
    }
}

/// Rows as columns.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[expect(unsafe_code, reason = "SSE intrinsics, which every x86-64 has")]
pub(super) fn transposed(block: [[f32; 4]; 4]) -> [[f32; 4]; 4] {
    use std::arch::x86_64::{
        _mm_loadu_ps, _mm_movehl_ps, _mm_movelh_ps, _mm_storeu_ps, _mm_unpackhi_ps, _mm_unpacklo_ps,
    };
    let mut result = [[0.0; 4]; 4];
    // SAFETY: four floats each.
    unsafe {
        let [a, b, c, d] = block.map(|row| _mm_loadu_ps(row.as_ptr()));
        let (low, low2) = (_mm_unpacklo_ps(a, b), _mm_unpacklo_ps(c, d));
        let (high, high2) = (_mm_unpackhi_ps(a, b), _mm_unpackhi_ps(c, d));
        _mm_storeu_ps(result[0].as_mut_ptr(), _mm_movelh_ps(low, low2));
        _mm_storeu_ps(result[1].as_mut_ptr(), _mm_movehl_ps(low2, low));
        _mm_storeu_ps(result[2].as_mut_ptr(), _mm_movelh_ps(high, high2));
        _mm_storeu_ps(result[3].as_mut_ptr(), _mm_movehl_ps(high2, high));
    }
    result
}

/// Rows as columns.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(super) fn transposed(block: [[f32; 4]; 4]) -> [[f32; 4]; 4] {
    std::array::from_fn(|i| std::array::from_fn(|j| block[j][i]))
}
