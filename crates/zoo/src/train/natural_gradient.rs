//! Natural gradient descent with the exact Fisher information, for small networks.

use ontogeny_graph::{Curvature, CurvatureProgram, Graph, GraphError, RunError, Workspace};

use super::batches::Batches;
use super::positive_definite::{factorise, solve};
use crate::Nodes;

/// The Fisher information of a network's answers and a solver for it; all memory of an update.
///
/// w ← w − rate·(F + `damping`·I)⁻¹·∇L (Amari 1998). F is the Fisher information of the distribution whose negative
/// logarithm the model's loss is: categorical for cross-entropy, normal for squared differences. Of these it is
/// the Gauss–Newton matrix of the loss by the answers (Martens 2020, §9), exact over the batch and without drawn targets.
/// Products with it are in single precision, the solution in double.
#[derive(Debug)]
pub(super) struct NaturalGradient<'a> {
    curvature: CurvatureProgram,
    workspace: Workspace,
    batches: Batches<'a>,
    damping: f64,
    /// The lower triangle of F + damping·I, then of its factor; rows of the full length.
    matrix: Vec<f64>,
    step: Vec<f64>,
    direction: Vec<f32>,
    product: Vec<f32>,
}

/// The matrix has the square of this many entries: 128 MiB.
pub(super) const MAX_WEIGHTS: usize = 4096;

impl<'a> NaturalGradient<'a> {
    /// For the loss of `nodes` in a model's own `graph`, whose batches are `batches`.
    pub(super) fn new(
        graph: &Graph,
        nodes: &Nodes,
        n_weights: usize,
        batches: Batches<'a>,
        damping: f64,
    ) -> Result<Self, GraphError> {
        let curvature = Curvature::GaussNewton { outputs: nodes.answers, loss: nodes.loss };
        let curvature = CurvatureProgram::compile(graph, curvature)?;
        let workspace = Workspace::new(curvature.program());
        Ok(Self {
            curvature,
            workspace,
            batches,
            damping,
            matrix: vec![0.0; n_weights * n_weights],
            step: vec![0.0; n_weights],
            direction: vec![0.0; n_weights],
            product: vec![0.0; n_weights],
        })
    }

    /// Applies update number `step` to all weights but those of `held`, ascending, whose gradient must be 0. `Ok(false)`
    /// leaves the weights as they are: the damped matrix is not positive definite.
    pub(super) fn update(
        &mut self,
        step: u64,
        rate: f64,
        weights: &mut [f32],
        gradient: &[f32],
        held: &[usize],
    ) -> Result<bool, RunError> {
        let Self { curvature, workspace, batches, matrix, direction, product, .. } = self;
        let n = weights.len();
        batches.fill(step, step, curvature.program(), workspace)?;
        for (i, row) in matrix.chunks_exact_mut(n).enumerate() {
            direction[i] = 1.0;
            curvature.multiply(workspace, weights, direction, product)?;
            direction[i] = 0.0;
            row.iter_mut().zip(&*product).for_each(|(to, &from)| *to = f64::from(from));
        }
        // In the subspace of the others: the held weights keep to themselves.
        for &at in held {
            for other in 0..n {
                matrix[at * n + other] = 0.0;
                matrix[other * n + at] = 0.0;
            }
            matrix[at * n + at] = 1.0;
        }
        for i in 0..n {
            matrix[i * n + i] += self.damping;
        }
        self.step.iter_mut().zip(gradient).for_each(|(to, &from)| *to = f64::from(from));
        if !factorise(matrix, n) {
            return Ok(false);
        }
        solve(matrix, &mut self.step);
        for (weight, step) in weights.iter_mut().zip(&self.step) {
            *weight = (f64::from(*weight) - rate * step) as f32;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ontogeny_graph::Value;

    use super::*;

    /// A step in double precision from the interpreter: Fisher matrix and gradient of a small perceptron whose flat weights
    /// are A·v, at v.
    fn reference_step(a: &[f64], v: &[f64]) -> Vec<f64> {
        let n = v.len();
        let mut g = Graph::new();
        let param = g.param("v", &[n]);
        let map = g.input("map", &[n, n]);
        let w = g.einsum("ij,j->i", map, param);
        let x = g.input("x", &[20, 2]);
        let part = g.slice(w, 0, 0, 6);
        let part = g.reshape(part, &[2, 3]);
        let hidden = g.matmul(x, part);
        let hidden = g.tanh(hidden);
        let part = g.slice(w, 0, 6, 6);
        let part = g.reshape(part, &[3, 2]);
        let logits = g.matmul(hidden, part);
        let targets = g.input_ids("y", &[20]);
        let losses = g.cross_entropy(logits, targets);
        let loss = g.mean_all(losses);
        let direction = g.input("direction", &[n]);
        let gradient = g.gradient(loss, &[param]).unwrap()[0];
        let product = g.gauss_newton_vector(logits, loss, &[param], &[direction]).unwrap()[0];
        let mut values = BTreeMap::from([
            ("v".to_owned(), Value::Float(v.to_vec())),
            ("map".to_owned(), Value::Float(a.to_vec())),
            ("x".to_owned(), Value::Float((0..40).map(|i| (f64::from(i) * 1.3).sin()).collect())),
            ("y".to_owned(), Value::Ids((0..20).map(|i| i * i % 2).collect())),
        ]);
        let mut matrix = Vec::new();
        let mut step = Vec::new();
        for i in 0..n {
            let unit: Vec<f64> = (0..n).map(|j| f64::from(u8::from(i == j))).collect();
            values.insert("direction".to_owned(), Value::Float(unit));
            let mut found = g.interpret(&values, &[product, gradient]).unwrap();
            matrix.extend(found.remove(0));
            step = found.remove(0);
        }
        // A softmax of two classes leaves the sum of the logits free, three directions of weights; the gradient has no part
        // there, and the damping must transform as the weights do to be the same on both sides: AᵀA in place of I.
        for i in 0..n {
            for j in 0..n {
                matrix[i * n + j] += 1e-3 * (0..n).map(|k| a[k * n + i] * a[k * n + j]).sum::<f64>();
            }
        }
        assert!(factorise(&mut matrix, n));
        solve(&matrix, &mut step);
        step
    }

    /// With w = A·v the steps are A·Δv = Δw: the gradient becomes Aᵀ∇, the Fisher matrix AᵀFA (Amari 1998, §2).
    #[test]
    fn steps_do_not_depend_on_linear_coordinates() {
        let n = 12;
        let identity: Vec<f64> = (0..n * n).map(|at| f64::from(u8::from(at / n == at % n))).collect();
        let a: Vec<f64> = identity.iter().enumerate().map(|(at, e)| 2.0 * e + 0.3 * (at as f64 * 0.7).sin()).collect();
        let v: Vec<f64> = (0..n).map(|i| (i as f64 * 0.9).cos()).collect();
        let times =
            |v: &[f64]| -> Vec<f64> { a.chunks(n).map(|row| row.iter().zip(v).map(|(a, v)| a * v).sum()).collect() };
        let plain = reference_step(&identity, &times(&v));
        let moved = times(&reference_step(&a, &v));
        let largest = plain.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
        assert!(largest > 1e-2);
        for (a, b) in plain.iter().zip(&moved) {
            assert!((a - b).abs() <= 1e-8 * largest, "{a} {b}");
        }
    }
}
