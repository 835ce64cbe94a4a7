//! Susceptibilities, influence and covariance against closed forms, and their promises.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "clippy spares only the test functions, not their helpers"
)]

mod closed_forms;
mod errors;
mod heads;
mod promises;

use std::num::NonZero;

use ontogeny_graph::{Column, ColumnData, DataSet, Graph, Node, Purpose, Stream};
use ontogeny_posterior::{Batch, Llc, Objective, Probe, Sampler};

pub(crate) type Matrix = [[f64; D]; D];

/// Weights: two parameters `a` and `b` of two coordinates each.
pub(crate) const D: usize = 4;
pub(crate) const N_BETA: f64 = 50.0;
pub(crate) const LOCALIZATION: f64 = 5.0;
pub(crate) const ONE: NonZero<usize> = NonZero::<usize>::MIN;

/// BAOAB: on a quadratic its draws follow the posterior itself whatever the step size (Leimkuhler & Matthews 2013).
pub(crate) fn baoab() -> Llc {
    Llc {
        sampler: Sampler::Baoab { friction: 0.4 },
        step_size: 0.01,
        localization: LOCALIZATION,
        n_beta: Some(N_BETA),
        batch: Batch::Full,
        chains: 4,
        burn_in: 200,
        draws: 1000,
        thin: 10,
        ..Llc::default()
    }
}

/// The weights as one column `[4, 1]`.
fn weights(g: &mut Graph) -> Node {
    let parts = ["a", "b"].map(|name| g.param(name, &[2]));
    let w = g.concat(&parts, 0);
    g.reshape(w, &[D, 1])
}

/// ½(x·w)² − y·(x·w) for each row `x` of width `D·tokens` and `y` of width `tokens`: `[batch, tokens]`.
fn losses(batch: usize, tokens: usize) -> (Graph, Node) {
    let mut g = Graph::new();
    let x = g.input("x", &[batch, tokens, D]);
    let y = g.input("y", &[batch, tokens]);
    let w = weights(&mut g);
    let product = g.matmul(x, w);
    let product = g.reshape(product, &[batch, tokens]);
    let square = g.square(product);
    let half = g.scale(square, 0.5);
    let linear = g.mul(y, product);
    let loss = g.sub(half, linear);
    (g, loss)
}

/// Rows of normals under a stream, scaled column by column so that no two directions are alike, and targets of this size.
pub(crate) fn rows(stream: u64, n: usize, tokens: usize, target: f32) -> DataSet {
    let mut x = vec![0.0; n * tokens * D];
    Stream::new(1, Purpose::Data, stream).normals(0, 0, &mut x);
    let scales = [1.4, 0.9, 0.7, 1.1];
    x.iter_mut().enumerate().for_each(|(i, x)| *x *= scales[i % D]);
    let mut y = vec![0.0; n * tokens];
    Stream::new(1, Purpose::Data, stream).normals(1, 0, &mut y);
    for y in &mut y {
        *y *= target;
    }
    let column = |name: &str, width, values| Column { name: name.to_owned(), width, data: ColumnData::Float(values) };
    DataSet::new(n, vec![column("x", tokens * D, x), column("y", tokens, y)]).unwrap()
}

/// ½·mean (x·w)² over 12 rows: its minimum is at 0.
pub(crate) fn objective() -> Objective {
    Objective::new(rows(0, 12, 1, 0.0), |batch| {
        let (mut g, loss) = losses(batch, 1);
        let loss = g.reshape(loss, &[batch]);
        (g, loss)
    })
    .unwrap()
}

/// Six examples of two tokens with targets, so that their losses are linear and quadratic in w.
pub(crate) fn probe(name: &str, stream: u64) -> Probe {
    Probe::new(name, rows(stream, 6, 2, 1.0), 4, |batch| losses(batch, 2)).unwrap()
}

/// Losses −y·(x·w), linear in w.
pub(crate) fn linear_probe(name: &str, stream: u64, n: usize) -> Probe {
    Probe::new(name, rows(stream, n, 1, 1.0), n, |batch| {
        let mut g = Graph::new();
        let x = g.input("x", &[batch, 1, D]);
        let y = g.input("y", &[batch, 1]);
        let w = weights(&mut g);
        let product = g.matmul(x, w);
        let product = g.reshape(product, &[batch, 1]);
        let loss = g.mul(y, product);
        let loss = g.neg(loss);
        let loss = g.reshape(loss, &[batch]);
        (g, loss)
    })
    .unwrap()
}

/// A loss g·w + ½·w'Gw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quadratic {
    pub(crate) gradient: [f64; D],
    pub(crate) hessian: Matrix,
}

impl Quadratic {
    /// The mean over some rows of a data set: `tokens` of each example.
    pub(crate) fn of(data: &DataSet, examples: std::ops::Range<usize>, tokens: std::ops::Range<usize>) -> Self {
        let values = |i: usize| match &data.columns()[i].data {
            ColumnData::Float(values) => values.clone(),
            ColumnData::Ids(_) => unreachable!("floats"),
        };
        let (x, y, width) = (values(0), values(1), data.columns()[1].width);
        let mut sum = Self { gradient: [0.0; D], hessian: [[0.0; D]; D] };
        let n = (examples.len() * tokens.len()) as f64;
        for example in examples {
            for token in tokens.clone() {
                let at = example * width + token;
                let row: Vec<f64> = x[at * D..(at + 1) * D].iter().map(|&x| f64::from(x)).collect();
                for i in 0..D {
                    sum.gradient[i] -= f64::from(y[at]) * row[i] / n;
                    for j in 0..D {
                        sum.hessian[i][j] += row[i] * row[j] / n;
                    }
                }
            }
        }
        sum
    }

    pub(crate) fn linear_part(self) -> Self {
        Self { hessian: [[0.0; D]; D], ..self }
    }
}

/// H of the objective.
pub(crate) fn hessian() -> Matrix {
    Quadratic::of(&rows(0, 12, 1, 0.0), 0..12, 0..1).hessian
}

/// (nβH + γ)⁻¹.
pub(crate) fn inverse_precision(h: &Matrix) -> Matrix {
    restricted_covariance(h, &[0, 1, 2, 3])
}

/// The covariance of the posterior of a part: (nβH + γ)⁻¹ on its coordinates, zero elsewhere.
pub(crate) fn covariance(part: &[usize]) -> Matrix {
    restricted_covariance(&hessian(), part)
}

fn restricted_covariance(h: &Matrix, part: &[usize]) -> Matrix {
    // Frozen coordinates get the identity, and are cut out afterwards.
    let mut a = [[0.0; 2 * D]; D];
    for i in 0..D {
        a[i][D + i] = 1.0;
        for j in 0..D {
            let is_free = part.contains(&i) && part.contains(&j);
            a[i][j] = f64::from(u8::from(is_free)) * N_BETA * h[i][j];
        }
        a[i][i] += if part.contains(&i) { LOCALIZATION } else { 1.0 };
    }
    // Gauss–Jordan; positive definite, so without pivots.
    for i in 0..D {
        let pivot = a[i][i];
        for x in &mut a[i] {
            *x /= pivot;
        }
        let row = a[i];
        for (j, other) in a.iter_mut().enumerate() {
            let factor = other[i];
            if j != i {
                other.iter_mut().zip(row).for_each(|(x, own)| *x -= factor * own);
            }
        }
    }
    let mut inverse = [[0.0; D]; D];
    for &i in part {
        for &j in part {
            inverse[i][j] = a[i][D + j];
        }
    }
    inverse
}

pub(crate) fn multiply(a: &Matrix, b: &Matrix) -> Matrix {
    std::array::from_fn(|i| std::array::from_fn(|j| (0..D).map(|k| a[i][k] * b[k][j]).sum()))
}

pub(crate) fn minus(a: &Matrix, b: &Matrix) -> Matrix {
    std::array::from_fn(|i| std::array::from_fn(|j| a[i][j] - b[i][j]))
}

pub(crate) fn trace(a: &Matrix) -> f64 {
    (0..D).map(|i| a[i][i]).sum()
}

/// ½·tr(GΣ), the mean of a quadratic under N(0, Σ).
pub(crate) fn mean(g: &Matrix, sigma: &Matrix) -> f64 {
    0.5 * trace(&multiply(g, sigma))
}

/// Covariance of two quadratics under N(0, Σ): gᵀΣk + ½·tr(GΣKΣ) (Isserlis 1918; odd moments vanish).
pub(crate) fn quadratic_covariance(a: &Quadratic, b: &Quadratic, sigma: &Matrix) -> f64 {
    let linear: f64 = (0..D).map(|i| (0..D).map(|j| a.gradient[i] * sigma[i][j] * b.gradient[j]).sum::<f64>()).sum();
    let product = multiply(&multiply(&a.hessian, sigma), &multiply(&b.hessian, sigma));
    linear + 0.5 * trace(&product)
}

/// −(E_C[φ·ΔL] − E_C[φ]·E_full[ΔL]) with φ = ½w'Hw and ΔL = probe − φ.
pub(crate) fn exact_chi(probe: &Quadratic, part: &[usize]) -> f64 {
    let (own, full) = (covariance(part), covariance(&[0, 1, 2, 3]));
    let phi = Quadratic { gradient: [0.0; D], hessian: hessian() };
    let delta = Quadratic { gradient: probe.gradient, hessian: minus(&probe.hessian, &phi.hessian) };
    let level = mean(&phi.hessian, &own);
    let moment = quadratic_covariance(&phi, &delta, &own) + level * mean(&delta.hessian, &own);
    -(moment - level * mean(&delta.hessian, &full))
}
