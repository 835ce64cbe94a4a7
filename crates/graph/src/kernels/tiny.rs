//! Products too small for packing, usually many of them.

use std::ops::Range;

use super::{contract, walk_range};
use crate::isa::multiversion;

/// One tiny product, with the stride of every index.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product {
    m: usize,
    n: usize,
    k: usize,
    a_rows: usize,
    a_inner: usize,
    b_inner: usize,
    b_columns: usize,
    out_rows: usize,
    out_columns: usize,
}

/// Below this many multiply-adds the fixed cost of packing dominates.
const TINY: usize = 2 * 1024;

impl Product {
    /// The product as strides, if it is small enough and has them.
    pub(crate) fn of(p: &contract::Product) -> Option<Self> {
        let (m, n, k) = (p.a_rows.len(), p.b_columns.len(), p.a_inner.len());
        let is_dots = p.a_inner.stride() == Some(1) && p.b_inner.stride() == Some(1);
        // Long dot products of few rows and columns have nothing for a tile to share.
        if m * n * k > TINY && !(is_dots && m * n <= 16) {
            return None;
        }
        Some(Self {
            m,
            n,
            k,
            a_rows: p.a_rows.stride()?,
            a_inner: p.a_inner.stride()?,
            b_inner: p.b_inner.stride()?,
            b_columns: p.b_columns.stride()?,
            out_rows: p.out_rows.stride()?,
            out_columns: p.out_columns.stride()?,
        })
    }
}

/// Lanes of a dot product: fixed, so that every instruction set adds in the same order.
const LANES: usize = 64;

multiversion! {
    /// Along the columns where those are dense, else as dot products.
    #[expect(unsafe_code, reason = "strided access inside three buffers")]
    pub(crate) fn batch(
        a: *const f32,
        b: *const f32,
        out: *mut f32,
        batch: &[(usize, [usize; 3])],
        range: Range<usize>,
        p: Product,
        adds: bool,
    ) {
        let along_columns = p.b_columns == 1 && p.out_columns == 1 && (p.n >= 8 || p.a_inner != 1 || p.b_inner != 1);
        let dots = p.a_inner == 1 && p.b_inner == 1;
        for [at_a, at_b, at_out] in walk_range(batch, range) {
            // SAFETY: the plan's strides stay inside the three buffers, and the result is no operand.
            unsafe {
                let (a, b, out) = (a.add(at_a), b.add(at_b), out.add(at_out));
                if along_columns {
                    for i in 0..p.m {
                        let row = std::slice::from_raw_parts_mut(out.add(i * p.out_rows), p.n);
                        if !adds {
                            row.fill(0.0);
                        }
                        for l in 0..p.k {
                            let factor = *a.add(i * p.a_rows + l * p.a_inner);
                            let other = std::slice::from_raw_parts(b.add(l * p.b_inner), p.n);
                            for (sum, x) in row.iter_mut().zip(other) {
                                *sum += factor * x;
                            }
                        }
                    }
                } else if dots {
                    for i in 0..p.m {
                        let left = std::slice::from_raw_parts(a.add(i * p.a_rows), p.k);
                        for j in 0..p.n {
                            let right = std::slice::from_raw_parts(b.add(j * p.b_columns), p.k);
                            let to = out.add(i * p.out_rows + j * p.out_columns);
                            let before = if adds { *to } else { 0.0 };
                            *to = before + dot(left, right);
                        }
                    }
                } else {
                    for i in 0..p.m {
                        for j in 0..p.n {
                            let to = out.add(i * p.out_rows + j * p.out_columns);
                            let mut sum = if adds { *to } else { 0.0 };
                            for l in 0..p.k {
                                sum += *a.add(i * p.a_rows + l * p.a_inner) * *b.add(l * p.b_inner + j * p.b_columns);
                            }
                            *to = sum;
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let whole = a.len() / LANES * LANES;
    let mut sum = 0.0;
    if whole > 0 {
        let mut lanes = [0.0_f32; LANES];
        for (x, y) in a[..whole].chunks_exact(LANES).zip(b[..whole].chunks_exact(LANES)) {
            for lane in 0..LANES {
                lanes[lane] += x[lane] * y[lane];
            }
        }
        sum = halved::<LANES>(lanes);
    }
    let mut lanes = [0.0_f32; 16];
    let (a, b) = (&a[whole..], &b[whole..]);
    let whole = a.len() / 16 * 16;
    for (x, y) in a[..whole].chunks_exact(16).zip(b[..whole].chunks_exact(16)) {
        for lane in 0..16 {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    for (lane, (x, y)) in a[whole..].iter().zip(&b[whole..]).enumerate() {
        lanes[lane] += x * y;
    }
    sum + halved::<16>(lanes)
}

/// The sum of the lanes, halves added to halves.
#[inline(always)]
fn halved<const N: usize>(mut lanes: [f32; N]) -> f32 {
    let mut half = N / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}
