//! Products with curvature matrices: the Hessian, Gauss–Newton, and both Fisher matrices, of flat vectors.

use crate::compile::Gradient;
use crate::graph::{Graph, GraphError, Node};
use crate::params::ParamSpace;
use crate::program::{Program, RunError, Workspace};

/// A symmetric matrix over the parameters of a network; see [`Graph::hessian_vector`],
/// [`Graph::gauss_newton_vector`], [`Graph::fisher_vector`] and [`Graph::empirical_fisher_vector`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curvature {
    /// Second derivatives of a scalar.
    Hessian {
        /// The scalar.
        loss: Node,
    },
    /// Jᵀ·H·J with J = ∂outputs/∂parameters and H the second derivatives of the loss by the outputs.
    GaussNewton {
        /// What the network says.
        outputs: Node,
        /// A scalar of the outputs.
        loss: Node,
    },
    /// Expected under the distribution softmax(logits).
    Fisher {
        /// `[..., classes]`.
        logits: Node,
    },
    /// Of the gradients at the targets.
    EmpiricalFisher {
        /// One loss for each example.
        losses: Node,
    },
}

/// A program that multiplies flat vectors with a curvature matrix.
///
/// The matrix belongs to the weights and inputs of each product. A matrix over more examples than one program holds is
/// the mean over batches: sum the products.
#[derive(Debug)]
pub struct CurvatureProgram {
    program: Program,
    /// Name of the output that belongs to each parameter.
    outputs: Vec<String>,
}

/// The input that holds the vector.
pub(crate) const DIRECTION: &str = "curvature.direction";

impl CurvatureProgram {
    /// Compiles the product for all parameters of a graph.
    ///
    /// # Errors
    /// As for the four transforms; a graph without parameters; an activation called `curvature.direction`.
    pub fn compile(graph: &Graph, curvature: Curvature) -> Result<Self, GraphError> {
        let mut g = graph.clone();
        let space = ParamSpace::of(&g);
        let direction = g.input(DIRECTION, &[space.len()]);
        let directions: Vec<Node> = space
            .iter()
            .map(|param| {
                let part = g.slice(direction, 0, param.range.start, param.range.len());
                g.reshape(part, &param.shape)
            })
            .collect();
        let wrt = g.param_nodes();
        let products = match curvature {
            Curvature::Hessian { loss } => g.hessian_vector(loss, &wrt, &directions)?,
            Curvature::GaussNewton { outputs, loss } => g.gauss_newton_vector(outputs, loss, &wrt, &directions)?,
            Curvature::Fisher { logits } => g.fisher_vector(logits, &wrt, &directions)?,
            Curvature::EmpiricalFisher { losses } => g.empirical_fisher_vector(losses, &wrt, &directions)?,
        };
        let outputs: Vec<String> = space.iter().map(|param| format!("curvature.{}", param.name)).collect();
        let named: Vec<(&str, Node)> = outputs.iter().map(String::as_str).zip(products).collect();
        let program = Program::compile(&g, &named, Gradient::None)?;
        Ok(Self { program, outputs })
    }

    /// The program, to make workspaces with and to fill their inputs.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// `product` = matrix · `vector` at `weights` and the inputs in the workspace; all three are flat and of the length
    /// of the parameter space.
    ///
    /// # Errors
    /// Vectors of another length, and as for [`Program::run`].
    pub fn multiply(
        &self,
        workspace: &mut Workspace,
        weights: &[f32],
        vector: &[f32],
        product: &mut [f32],
    ) -> Result<(), RunError> {
        let expected = self.program.space().len();
        if let Some(found) = [vector.len(), product.len()].into_iter().find(|&len| len != expected) {
            return Err(RunError::Input {
                name: DIRECTION.to_owned(),
                expected: format!("{expected} entries"),
                found: format!("{found}"),
            });
        }
        workspace.floats_mut(&self.program, DIRECTION)?.copy_from_slice(vector);
        self.program.run(workspace, weights)?;
        for (param, name) in self.program.space().iter().zip(&self.outputs) {
            product[param.range.clone()].copy_from_slice(workspace.output(&self.program, name));
        }
        Ok(())
    }
}

impl Graph {
    /// Generalised Gauss–Newton product Jᵀ·H·J·v (Schraudolph 2002): J = ∂`outputs`/∂`wrt`, H the second derivatives of the
    /// scalar `loss` by `outputs`, everything else held. What of the loss does not pass through `outputs`, such as weight
    /// decay, takes no part. Positive semidefinite where the loss is convex in the outputs.
    ///
    /// # Errors
    /// As for [`Graph::gradient`] and [`Graph::tangent`].
    pub fn gauss_newton_vector(
        &mut self,
        outputs: Node,
        loss: Node,
        wrt: &[Node],
        directions: &[Node],
    ) -> Result<Vec<Node>, GraphError> {
        let moved = self.tangent(&[outputs], wrt, directions)?;
        let bent = self.hessian_vector(loss, &[outputs], &moved)?;
        Ok(self.pull_back(outputs, bent[0], wrt))
    }

    /// Product with the Fisher information of the model's own distribution over classes,
    /// F = 1/n Σᵢ E_{y∼softmax(zᵢ)}[∇ln p(y|i) ∇ln p(y|i)ᵀ] = 1/n Σᵢ Jᵢᵀ(diag pᵢ − pᵢpᵢᵀ)Jᵢ over the n rows of
    /// `logits [..., classes]`. Targets take no part. Equals the Gauss–Newton matrix of the mean cross-entropy over the same
    /// rows (Martens 2020, §9).
    ///
    /// # Errors
    /// As for [`Graph::tangent`], or logits without an axis of classes.
    pub fn fisher_vector(&mut self, logits: Node, wrt: &[Node], directions: &[Node]) -> Result<Vec<Node>, GraphError> {
        let Some((_, rows)) = self.shape(logits).split_last() else {
            self.shape_error("fisher_vector", &[logits], "[…, classes]");
            return Err(self.check().expect_err("a mistake was recorded"));
        };
        let n: usize = rows.iter().product();
        let moved = self.tangent(&[logits], wrt, directions)?[0];
        let p = self.softmax(logits);
        let bent = self.softmax_product(p, moved);
        let bent = self.scale(bent, 1.0 / n as f64);
        Ok(self.pull_back(logits, bent, wrt))
    }

    /// Product with the empirical Fisher matrix 1/n Σᵢ gᵢgᵢᵀ, gᵢ the gradient of entry i of `losses` (one for each example).
    /// Not the Fisher information, nor near the Hessian away from a perfect fit (Kunstner, Hennig & Balles 2019): it is the
    /// uncentred covariance of the gradients.
    ///
    /// # Errors
    /// As for [`Graph::tangent`].
    pub fn empirical_fisher_vector(
        &mut self,
        losses: Node,
        wrt: &[Node],
        directions: &[Node],
    ) -> Result<Vec<Node>, GraphError> {
        let n: usize = self.shape(losses).iter().product();
        let slopes = self.tangent(&[losses], wrt, directions)?[0];
        let slopes = self.scale(slopes, 1.0 / n as f64);
        Ok(self.pull_back(losses, slopes, wrt))
    }
}
