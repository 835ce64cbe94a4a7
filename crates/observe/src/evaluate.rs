//! Loss and accuracy on exact evaluation sets.

use ontogeny_graph::{ColumnData, DataSet, Gradient, Program, Workspace};
use ontogeny_zoo::{Interface, Model, Read};

use crate::ObserveError;

/// Version of the numbers of [`Evaluator`].
pub const EVALUATION_VERSION: u32 = 1;

/// Examples of one execution: enough to fill the kernels, small enough to stay in cache.
const BATCH: usize = 512;

/// Runs a model forward over whole data sets.
#[derive(Debug)]
pub struct Evaluator {
    program: Program,
    workspace: Workspace,
    n_classes: Option<usize>,
}

/// Means over a data set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// Mean loss, in nats for cross-entropies; accumulated in f64.
    pub loss: f64,
    /// Share of examples whose largest logit is the target's, ties counted as wrong; `None` without classes.
    pub accuracy: Option<f64>,
}

impl Evaluator {
    /// Compiles the forward pass.
    ///
    /// # Errors
    /// A mistake in the model's graph.
    pub fn new(model: &Model) -> Result<Self, ObserveError> {
        let (graph, nodes) = model.graph(BATCH);
        let outputs = [("example_loss", nodes.example_loss), ("logits", nodes.logits)];
        let program = Program::compile(&graph, &outputs, Gradient::None)?;
        let workspace = Workspace::new(&program);
        let n_classes = match model.interface() {
            Interface::Tokens { read: Read::LastPosition { classes }, .. } => Some(classes),
            _ => None,
        };
        Ok(Self { program, workspace, n_classes })
    }

    /// Mean loss and accuracy of `weights` on all examples.
    ///
    /// # Errors
    /// Weights or data of another model, or a non-finite value (with the node that produced it).
    pub fn evaluate(&mut self, weights: &[f32], data: &DataSet) -> Result<Evaluation, ObserveError> {
        let targets = data.columns().iter().find(|column| column.name == "targets");
        let (mut loss, mut n_right) = (0.0, 0_usize);
        let rows: Vec<usize> = (0..data.len()).collect();
        for batch in rows.chunks(BATCH) {
            data.fill(&self.program, &mut self.workspace, batch)?;
            self.program.run(&mut self.workspace, weights)?;
            let losses = &self.workspace.output(&self.program, "example_loss")[..batch.len()];
            loss += losses.iter().map(|&l| f64::from(l)).sum::<f64>();
            if !loss.is_finite() {
                let node = self.program.first_non_finite(&mut self.workspace, weights)?;
                return Err(ObserveError::NonFinite { node: node.unwrap_or_else(|| "the loss".to_owned()) });
            }
            if let (Some(n_classes), Some(ColumnData::Ids(ids))) = (self.n_classes, targets.map(|t| &t.data)) {
                let logits = self.workspace.output(&self.program, "logits");
                let rows = logits.chunks_exact(n_classes).zip(batch);
                n_right += rows.filter(|(row, example)| is_right(row, ids[**example])).count();
            }
        }
        let n = data.len().max(1) as f64;
        let accuracy = self.n_classes.and(targets).map(|_| n_right as f64 / n);
        Ok(Evaluation { loss: loss / n, accuracy })
    }
}

fn is_right(logits: &[f32], target: i32) -> bool {
    let target = target as usize;
    logits.iter().enumerate().all(|(class, &z)| class == target || z < logits[target])
}
