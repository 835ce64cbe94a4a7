//! Products with a curvature matrix of a whole set of examples, batch by batch.

use std::num::NonZero;

use ontogeny_graph::{Curvature, CurvatureProgram, DataSet, Threads, Workspace};
use ontogeny_zoo::{Interface, Model, Read};

use super::CurvatureMatrix;
use crate::ObserveError;

/// Examples of one execution, where memory allows.
const BATCH: usize = 256;

/// Most bytes of a workspace, unless a single example takes more.
const MAX_BYTES: usize = 1 << 30;

/// Multiplies with the matrix of the mean over all examples.
#[derive(Debug)]
pub(super) struct DataSetCurvature {
    /// Batches of full size, and one of the examples that are left.
    parts: Vec<Part>,
    data: DataSet,
    n_weights: usize,
    threads: NonZero<usize>,
    sum: Vec<f64>,
    product: Vec<f32>,
}

#[derive(Debug)]
struct Part {
    program: CurvatureProgram,
    workspace: Workspace,
    /// Rows of each batch.
    batches: Vec<Vec<usize>>,
}

impl DataSetCurvature {
    /// Compiles the products for batches that fit in memory.
    pub(super) fn new(model: &Model, matrix: CurvatureMatrix, data: DataSet) -> Result<Self, ObserveError> {
        check(model.interface(), matrix)?;
        let n = data.len();
        let mut batch = BATCH.min(n).max(1);
        let mut program = compile(model, matrix, batch)?;
        while batch > 1 && program.program().workspace_bytes() > MAX_BYTES {
            batch = (batch / 2).max(1);
            program = compile(model, matrix, batch)?;
        }
        let rest = compile_rest(model, matrix, n % batch)?;
        let rows: Vec<usize> = (0..n).collect();
        let (full, left) = rows.split_at(n - n % batch);
        let part = |program: CurvatureProgram, rows: &[usize], size: usize| {
            let workspace = Workspace::new(program.program());
            Part { program, workspace, batches: rows.chunks(size).map(<[usize]>::to_vec).collect() }
        };
        let mut parts = vec![part(program, full, batch)];
        parts.extend(rest.map(|program| part(program, left, batch)));
        let n_weights = model.space().len();
        let threads = NonZero::<usize>::MIN;
        Ok(Self { parts, data, n_weights, threads, sum: vec![0.0; n_weights], product: vec![0.0; n_weights] })
    }

    /// Rows and columns of the matrix.
    pub(super) fn n_weights(&self) -> usize {
        self.n_weights
    }

    /// How many threads share a product from now on; the bits stay the same.
    pub(super) fn share_among(&mut self, threads: NonZero<usize>) {
        if threads != self.threads {
            let team = Threads::new(threads);
            for part in &mut self.parts {
                part.workspace.set_threads(part.program.program(), &team);
            }
            self.threads = threads;
        }
    }

    /// `product` = matrix · `vector` at the flat `weights`.
    ///
    /// # Errors
    /// Weights of another model, or a product that is not finite; the error names the first parameter or activation that is not.
    pub(super) fn multiply(
        &mut self,
        weights: &[f32],
        vector: &[f32],
        product: &mut [f32],
    ) -> Result<(), ObserveError> {
        self.sum.fill(0.0);
        for part in &mut self.parts {
            for rows in &part.batches {
                // The program gives the matrix of the mean over its batch.
                let share = rows.len() as f64 / self.data.len() as f64;
                self.data.fill(part.program.program(), &mut part.workspace, rows)?;
                part.program.multiply(&mut part.workspace, weights, vector, &mut self.product)?;
                if !self.product.iter().all(|x| x.is_finite()) {
                    let node = part.program.program().first_non_finite(&mut part.workspace, weights)?;
                    return Err(ObserveError::non_finite(node, "a product with the curvature matrix"));
                }
                self.sum.iter_mut().zip(&self.product).for_each(|(sum, &x)| *sum += share * f64::from(x));
            }
        }
        product.iter_mut().zip(&self.sum).for_each(|(x, &sum)| *x = sum as f32);
        Ok(())
    }
}

fn compile_rest(model: &Model, matrix: CurvatureMatrix, n: usize) -> Result<Option<CurvatureProgram>, ObserveError> {
    (n > 0).then(|| compile(model, matrix, n)).transpose()
}

fn compile(model: &Model, matrix: CurvatureMatrix, batch: usize) -> Result<CurvatureProgram, ObserveError> {
    let (graph, nodes) = model.graph(batch);
    let curvature = match (matrix, model.interface()) {
        (CurvatureMatrix::Hessian, _) => Curvature::Hessian { loss: nodes.loss },
        // Answers that count differently: the expectation over the model's own answers is taken of each, so that the Fisher matrix
        // is the Gauss–Newton matrix of the weighted loss.
        (CurvatureMatrix::GaussNewton, _)
        | (CurvatureMatrix::Fisher, Interface::Tokens { read: Read::Tokens { is_weighted: true, .. }, .. }) => {
            Curvature::GaussNewton { outputs: nodes.answers, loss: nodes.loss }
        }
        (CurvatureMatrix::Fisher, _) => Curvature::Fisher { logits: nodes.answers },
        (CurvatureMatrix::EmpiricalFisher, _) => Curvature::EmpiricalFisher { losses: nodes.example_loss },
    };
    Ok(CurvatureProgram::compile(&graph, curvature)?)
}

/// A Fisher matrix needs a distribution over answers.
fn check(interface: Interface, matrix: CurvatureMatrix) -> Result<(), ObserveError> {
    if matrix == CurvatureMatrix::Fisher && interface.loss_unit() != "nats" {
        return Err(ObserveError::NotDefined {
            observable: "curvature",
            needs: "with matrix = \"fisher\" a task whose loss is a cross-entropy (of squared differences take \"gauss_newton\", \
                    which is the Fisher matrix of normal errors but for a factor)"
                .to_owned(),
            found: interface.to_string(),
        });
    }
    Ok(())
}
