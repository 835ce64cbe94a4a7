//! Loss and accuracy on exact evaluation sets.

use ontogeny_graph::{ColumnData, DataSet, Gradient, Program, Workspace};
use ontogeny_zoo::{Interface, Model, Read, VectorLoss};

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
    /// Number of classes and the column of the right ones, where an example has one.
    classes: Option<(usize, &'static str)>,
}

/// Means over a data set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// Mean loss, in nats for cross-entropies: each example's in f32, summed in f64.
    pub loss: f64,
    /// Share of examples, 0 to 1, whose largest logit is the target's alone: a tie counts as wrong. `None` unless an
    /// example is one of several classes.
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
        let classes = match model.interface() {
            Interface::Tokens { read: Read::LastPosition { classes }, .. } => Some((classes, "targets")),
            Interface::Vectors { loss: VectorLoss::CrossEntropy, outputs, .. } => Some((outputs, "y")),
            _ => None,
        };
        Ok(Self { program, workspace, classes })
    }

    /// Mean loss and accuracy of the flat `weights` on all examples.
    ///
    /// # Errors
    /// Weights or data of another model, no examples, or a non-finite loss; then the error names the first parameter
    /// or activation that is not finite.
    pub fn evaluate(&mut self, weights: &[f32], data: &DataSet) -> Result<Evaluation, ObserveError> {
        if data.is_empty() {
            return Err(ObserveError::NotDefined {
                observable: "loss",
                needs: "at least one example".to_owned(),
                found: "an empty data set".to_owned(),
            });
        }
        let targets = self.classes.and_then(|(n, name)| Some((n, ids(data, name)?)));
        let (mut loss, mut n_right) = (0.0, 0_usize);
        let examples: Vec<usize> = (0..data.len()).collect();
        for batch in examples.chunks(BATCH) {
            data.fill(&self.program, &mut self.workspace, batch)?;
            self.program.run(&mut self.workspace, weights)?;
            let losses = self.workspace.output(&self.program, "example_loss");
            loss += losses[..batch.len()].iter().map(|&l| f64::from(l)).sum::<f64>();
            if !loss.is_finite() {
                let node = self.program.first_non_finite(&mut self.workspace, weights)?;
                return Err(ObserveError::non_finite(node, "the loss"));
            }
            if let Some((n_classes, targets)) = targets {
                let logits = self.workspace.output(&self.program, "logits");
                let rows = logits.chunks_exact(n_classes).zip(batch);
                n_right += rows.filter(|(row, example)| is_right(row, targets[**example])).count();
            }
        }
        let n = data.len() as f64;
        Ok(Evaluation { loss: loss / n, accuracy: targets.map(|_| n_right as f64 / n) })
    }
}

/// The column of ids of that name.
pub(crate) fn ids<'a>(data: &'a DataSet, name: &str) -> Option<&'a [i32]> {
    data.columns().iter().find_map(|column| match &column.data {
        ColumnData::Ids(ids) if column.name == name => Some(ids.as_slice()),
        _ => None,
    })
}

fn is_right(logits: &[f32], target: i32) -> bool {
    let target = target as usize;
    let mut others = logits.iter().enumerate().filter(|(class, _)| *class != target);
    others.all(|(_, &z)| z < logits[target])
}
