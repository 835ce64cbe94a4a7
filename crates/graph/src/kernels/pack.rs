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
        let rows = panel[..(to - from) * width].chunks_exact_mut(width);
        if columns.is_dense(first, n) {
            for (l, row) in (from..to).zip(rows) {
                // SAFETY: n entries of the operand lie side by side here.
                let run = unsafe { std::slice::from_raw_parts(source.add(inner.at(l) + columns.at(first)), n) };
                row[..n].copy_from_slice(run);
                row[n..].fill(0.0);
            }
            return;
        }
        if n < width {
            panel[..(to - from) * width].fill(0.0);
        }
        let mut j = 0;
        while j < n {
            let mut l = from;
            if j + 4 <= n {
                let four: [usize; 4] = std::array::from_fn(|i| columns.at(first + j + i));
                while l + 4 <= to && inner.is_dense(l, 4) {
                    let at = inner.at(l);
                    // SAFETY: four runs of four entries of the operand.
                    let block: [[f32; 4]; 4] =
                        std::array::from_fn(|i| unsafe { source.add(four[i] + at).cast::<[f32; 4]>().read_unaligned() });
                    for (r, line) in transposed(block).iter().enumerate() {
                        let to = (l - from + r) * width + j;
                        panel[to..to + 4].copy_from_slice(line);
                    }
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
