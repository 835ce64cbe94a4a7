//! Lanczos iteration with full reorthogonalisation on any symmetric operator that multiplies flat vectors.

use std::error::Error;

use crate::tridiagonal::eigenvalues;

/// Why a spectrum could not be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpectrumError<E: Error + 'static> {
    /// A product failed.
    #[error(transparent)]
    Product(E),
    /// A product holds NaN or infinity.
    #[error("product {index} with the operator is not finite; check that the loss at these weights is")]
    NotFinite {
        /// Its number, from 0 on.
        index: usize,
    },
    /// Nothing to work with.
    #[error("expected {expected}")]
    Empty {
        /// What was expected.
        expected: &'static str,
    },
}

/// An eigenvalue with its vector.
#[derive(Debug, Clone, PartialEq)]
pub struct EigenPair {
    /// Rayleigh quotient of the vector.
    pub value: f64,
    /// Of length one.
    pub vector: Vec<f32>,
    /// ‖A·vector − value·vector‖, measured with one more product: an eigenvalue of the operator lies within this distance of
    /// `value` (Parlett 1998, §4.5).
    pub residual: f64,
}

/// The `n_pairs` algebraically largest eigenvalues of a symmetric operator, largest first; negate the products for the
/// smallest. `apply(v, w)` writes A·v to w. Stops after `max_steps` products, or when all wanted pairs have residuals below
/// `tolerance` times the largest |eigenvalue|; one more product measures each pair.
///
/// Keeps one vector for each step. From a single `start` only one vector of each eigenspace can be reached, so repeated
/// eigenvalues count once, and a start within an invariant subspace sees only that: take a random one.
///
/// # Errors
/// A product that fails or is not finite; a start that is empty, zero or not finite; no pairs or steps asked for.
pub fn top_eigenpairs<E: Error + 'static>(
    start: &[f32],
    n_pairs: usize,
    max_steps: usize,
    tolerance: f64,
    mut apply: impl FnMut(&[f32], &mut [f32]) -> Result<(), E>,
) -> Result<Vec<EigenPair>, SpectrumError<E>> {
    if n_pairs == 0 || max_steps == 0 {
        return Err(SpectrumError::Empty { expected: "at least one pair and one step" });
    }
    let mut lanczos = Lanczos::new(start)?;
    while lanczos.n_steps() < max_steps.min(start.len()) {
        let is_complete = !lanczos.step(&mut apply)?;
        if is_complete || lanczos.has_converged(n_pairs, tolerance) {
            break;
        }
    }
    let n = lanczos.n_steps();
    let mut product = vec![0.0; start.len()];
    let mut pairs = Vec::new();
    for vector in lanczos.ritz_vectors(n_pairs) {
        apply(&vector, &mut product).map_err(SpectrumError::Product)?;
        if !product.iter().all(|x| x.is_finite()) {
            return Err(SpectrumError::NotFinite { index: n + pairs.len() });
        }
        let value = dot(&vector, &product) / dot(&vector, &vector);
        let difference = product.iter().zip(&vector).map(|(&y, &x)| f64::from(y) - value * f64::from(x));
        let residual = difference.map(|x| x * x).sum::<f64>().sqrt();
        pairs.push(EigenPair { value, vector, residual });
    }
    pairs.sort_by(|a, b| b.value.total_cmp(&a.value));
    Ok(pairs)
}

/// An orthonormal basis q₀, q₁, … of the Krylov space of a start vector, and the tridiagonal matrix of the operator in it.
#[derive(Debug, Clone)]
pub(crate) struct Lanczos {
    diagonal: Vec<f64>,
    /// Entry j couples q_j with q_{j+1}; the last is the norm of what the next vector would be made of.
    off_diagonal: Vec<f64>,
    basis: Vec<Vec<f32>>,
    /// The next basis vector, before it is scaled to length one.
    next: Vec<f64>,
}

impl Lanczos {
    pub(crate) fn new<E: Error>(start: &[f32]) -> Result<Self, SpectrumError<E>> {
        let next: Vec<f64> = start.iter().copied().map(f64::from).collect();
        let norm = norm(&next);
        if norm == 0.0 || !norm.is_finite() {
            return Err(SpectrumError::Empty { expected: "a finite start vector that is not zero" });
        }
        Ok(Self { diagonal: Vec::new(), off_diagonal: Vec::new(), basis: Vec::new(), next })
    }

    pub(crate) fn n_steps(&self) -> usize {
        self.diagonal.len()
    }

    /// One product; `false` where the space is complete, that is, invariant to rounding.
    pub(crate) fn step<E: Error>(
        &mut self,
        apply: &mut impl FnMut(&[f32], &mut [f32]) -> Result<(), E>,
    ) -> Result<bool, SpectrumError<E>> {
        let length = norm(&self.next);
        let own: Vec<f32> = self.next.iter().map(|x| (x / length) as f32).collect();
        let mut product = vec![0.0; own.len()];
        apply(&own, &mut product).map_err(SpectrumError::Product)?;
        if !product.iter().all(|x| x.is_finite()) {
            return Err(SpectrumError::NotFinite { index: self.n_steps() });
        }
        self.next.clear();
        self.next.extend(product.iter().copied().map(f64::from));
        self.diagonal.push(dot(&own, &product));
        self.basis.push(own);
        // Against all earlier vectors and not only two, and twice: rounding would let them come back (Parlett 1998, §6.9).
        for _ in 0..2 {
            for q in &self.basis {
                let along = dot(q, &self.next);
                self.next.iter_mut().zip(q).for_each(|(x, &q)| *x -= along * f64::from(q));
            }
        }
        let rest = norm(&self.next);
        self.off_diagonal.push(rest);
        let scale = self.diagonal.iter().chain(&self.off_diagonal).fold(0.0_f64, |a, x| a.max(x.abs()));
        Ok(self.basis.len() < self.next.len() && rest > f64::from(f32::EPSILON) * scale)
    }

    /// Nodes and weights of Gauss quadrature: Σ weight·f(node) is qᵀf(A)q for the start q of length one, exactly for
    /// polynomials up to degree 2·steps − 1 (Golub & Meurant 2010).
    pub(crate) fn quadrature(&self) -> Vec<(f64, f64)> {
        let mut first = vec![self.unit_row(0)];
        let nodes = eigenvalues(&self.diagonal, &self.off_diagonal, &mut first);
        nodes.into_iter().zip(first[0].iter().map(|x| x * x)).collect()
    }

    /// The quadrature of Gauss and Radau with one more node, held just below all others and below zero: for an operator without
    /// negative eigenvalues it is wrong to the other side than [`Lanczos::quadrature`] for every f whose derivatives have signs
    /// that alternate, such as 1/(λ + α) (Golub & Meurant 2010, §6.2.1).
    pub(crate) fn quadrature_from_below(&self) -> Vec<(f64, f64)> {
        let (n, nodes) = (self.n_steps(), self.quadrature());
        let largest = nodes.iter().fold(0.0_f64, |a, (node, _)| a.max(node.abs()));
        // Products in f32 move eigenvalues by about that much.
        let held = nodes[0].0.min(0.0) - 1e-6 * largest;
        // Last pivot of the elimination of T − held, which is positive definite.
        let mut pivot = self.diagonal[0] - held;
        for j in 1..n {
            pivot = self.diagonal[j] - held - self.off_diagonal[j - 1].powi(2) / pivot;
        }
        let last = if pivot > 0.0 { held + self.off_diagonal[n - 1].powi(2) / pivot } else { held };
        let diagonal = [&self.diagonal[..], &[last]].concat();
        let mut first = vec![(0..=n).map(|j| f64::from(j == 0)).collect()];
        let nodes = eigenvalues(&diagonal, &self.off_diagonal, &mut first);
        nodes.into_iter().zip(first[0].iter().map(|x: &f64| x * x)).collect()
    }

    /// Vectors of the largest Ritz values, largest first.
    fn ritz_vectors(&self, n_pairs: usize) -> Vec<Vec<f32>> {
        let n = self.n_steps();
        let mut rows: Vec<Vec<f64>> = (0..n).map(|i| self.unit_row(i)).collect();
        eigenvalues(&self.diagonal, &self.off_diagonal, &mut rows);
        let vector = |j: usize| {
            let mut sum = vec![0.0; self.next.len()];
            for (q, row) in self.basis.iter().zip(&rows) {
                sum.iter_mut().zip(q).for_each(|(x, &q)| *x += row[j] * f64::from(q));
            }
            let length = norm(&sum);
            sum.into_iter().map(|x| (x / length) as f32).collect()
        };
        (0..n).rev().take(n_pairs).map(vector).collect()
    }

    /// Whether the largest pairs have residual norms below a share of the largest |Ritz value|: they are the last entries of
    /// their vectors times the last off-diagonal entry.
    fn has_converged(&self, n_pairs: usize, tolerance: f64) -> bool {
        let n = self.n_steps();
        if n < n_pairs {
            return false;
        }
        let mut last = vec![self.unit_row(n - 1)];
        let values = eigenvalues(&self.diagonal, &self.off_diagonal, &mut last);
        let scale = values.iter().fold(0.0_f64, |a, x| a.max(x.abs()));
        let rest = self.off_diagonal[n - 1];
        last[0].iter().rev().take(n_pairs).all(|x| (x * rest).abs() <= tolerance * scale)
    }

    fn unit_row(&self, i: usize) -> Vec<f64> {
        (0..self.n_steps()).map(|j| f64::from(i == j)).collect()
    }
}

/// Σ aᵢbᵢ in f64, in sixteen lanes: the order of the sum is fixed, and nobody waits for the last addition.
pub(crate) fn dot<A: Copy + Into<f64>, B: Copy + Into<f64>>(a: &[A], b: &[B]) -> f64 {
    let mut lanes = [0.0_f64; 16];
    let ((a, last_a), (b, last_b)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    for (a, b) in a.iter().zip(b) {
        (0..16).for_each(|i| lanes[i] += a[i].into() * b[i].into());
    }
    let rest: f64 = last_a.iter().zip(last_b).map(|(&x, &y)| x.into() * y.into()).sum();
    lanes.iter().sum::<f64>() + rest
}

fn norm<A: Copy + Into<f64>>(x: &[A]) -> f64 {
    dot(x, x).sqrt()
}
