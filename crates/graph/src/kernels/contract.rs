//! Matrix products: `gemm` for large ones, loops of our own for batches of tiny ones.

use super::{Memory, Span, reach, walk};
use crate::isa::{Isa, multiversion};
use crate::plan::Place;

/// A batch of matrix products.
#[derive(Debug)]
pub(crate) struct Contract {
    /// First operand, second operand, result.
    places: [Place; 3],
    /// (extent, [stride in each]) of the batch axes.
    batch: Vec<(usize, [usize; 3])>,
    product: Product,
}

/// One product: out[i, j] = Σ_l a[i, l]·b[l, j], with the stride of every index.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) a_rows: usize,
    pub(crate) a_inner: usize,
    pub(crate) b_inner: usize,
    pub(crate) b_columns: usize,
    pub(crate) out_rows: usize,
    pub(crate) out_columns: usize,
}

/// Below this many multiply-adds the fixed cost of a packed product dominates (about 0.3 µs, measured on Zen 4).
const TINY: usize = 8 * 1024;

impl Contract {
    /// Roles are swapped where that makes the result's columns the dense ones.
    pub(crate) fn new(places: [Place; 3], batch: Vec<(usize, [usize; 3])>, product: Product) -> Self {
        if product.out_columns == 1 || product.n == 1 && product.out_rows != 1 {
            return Self { places, batch, product };
        }
        let [a, b, out] = places;
        let batch = batch.into_iter().map(|(extent, [x, y, z])| (extent, [y, x, z])).collect();
        let p = product;
        let product = Product {
            m: p.n,
            n: p.m,
            k: p.k,
            a_rows: p.b_columns,
            a_inner: p.b_inner,
            b_inner: p.a_inner,
            b_columns: p.a_rows,
            out_rows: p.out_columns,
            out_columns: p.out_rows,
        };
        Self { places: [b, a, out], batch, product }
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        let p = self.product;
        let sides = [
            [(p.m, p.a_rows), (p.k, p.a_inner)],
            [(p.k, p.b_inner), (p.n, p.b_columns)],
            [(p.m, p.out_rows), (p.n, p.out_columns)],
        ];
        let span = |side: usize| {
            let loops = self.batch.iter().map(|(extent, strides)| (*extent, strides[side]));
            Span { place: self.places[side], len: reach(loops.chain(sides[side])), written: side == 2 }
        };
        (0..3).map(span).collect()
    }

    pub(crate) fn run(&self, memory: &Memory<'_>) {
        let [a, b, out] = self.places.map(|place| memory.at(place));
        let p = self.product;
        if p.m * p.n * p.k <= TINY {
            return tiny_batch(memory.isa, a, b, out, &self.batch, p);
        }
        for [at_a, at_b, at_out] in walk(&self.batch) {
            large(memory.isa, a, b, out, [at_a, at_b, at_out], p);
        }
    }
}

#[expect(unsafe_code, reason = "calls gemm with the strides of the plan")]
fn large(_isa: Isa, a: *const f32, b: *const f32, out: *mut f32, [at_a, at_b, at_out]: [usize; 3], p: Product) {
    // SAFETY: the plan's strides stay inside the three buffers, and the result is no operand. gemm takes the column
    // stride before the row stride.
    unsafe {
        gemm::gemm(
            p.m,
            p.n,
            p.k,
            out.add(at_out),
            p.out_columns as isize,
            p.out_rows as isize,
            false,
            a.add(at_a),
            p.a_inner as isize,
            p.a_rows as isize,
            b.add(at_b),
            p.b_columns as isize,
            p.b_inner as isize,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Lanes of a dot product: fixed, so that every instruction set adds in the same order.
const LANES: usize = 16;

multiversion! {
    /// Batches of products too small for packing: along the columns where those are dense, else as dot products.
    #[expect(unsafe_code, reason = "strided access inside three buffers")]
    fn tiny_batch(
        a: *const f32,
        b: *const f32,
        out: *mut f32,
        batch: &[(usize, [usize; 3])],
        p: Product,
    ) {
        let along_columns = p.b_columns == 1 && p.out_columns == 1 && (p.n >= 8 || p.a_inner != 1 || p.b_inner != 1);
        let dots = p.a_inner == 1 && p.b_inner == 1;
        for [at_a, at_b, at_out] in walk(batch) {
            // SAFETY: the plan's strides stay inside the three buffers, and the result is no operand.
            unsafe {
                let (a, b, out) = (a.add(at_a), b.add(at_b), out.add(at_out));
                if along_columns {
                    for i in 0..p.m {
                        let row = std::slice::from_raw_parts_mut(out.add(i * p.out_rows), p.n);
                        row.fill(0.0);
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
                            *out.add(i * p.out_rows + j * p.out_columns) = dot(left, right);
                        }
                    }
                } else {
                    for i in 0..p.m {
                        for j in 0..p.n {
                            let mut sum = 0.0;
                            for l in 0..p.k {
                                sum += *a.add(i * p.a_rows + l * p.a_inner) * *b.add(l * p.b_inner + j * p.b_columns);
                            }
                            *out.add(i * p.out_rows + j * p.out_columns) = sum;
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let whole = a.len() / LANES * LANES;
    for (x, y) in a[..whole].chunks_exact(LANES).zip(b[..whole].chunks_exact(LANES)) {
        for lane in 0..LANES {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    for (lane, (x, y)) in a[whole..].iter().zip(&b[whole..]).enumerate() {
        lanes[lane] += x * y;
    }
    lanes.iter().sum()
}
