//! What a network answers on fixed examples: the point of a checkpoint in the space of functions.

use ontogeny_graph::{DataSet, Gradient, Program, Workspace};
use ontogeny_zoo::{Interface, Model, Read, TOKEN_LOSS, VectorLoss};
use serde::{Deserialize, Serialize};

use crate::ObserveError;

/// Version of the numbers of [`OutputReader`].
pub const OUTPUTS_VERSION: u32 = 1;

/// Examples of one execution.
const BATCH: usize = 128;

/// Which numbers stand for what a network does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outputs {
    /// Every answer's logits, less their mean where they are those of classes: no probability depends on it. Of other networks the
    /// predictions.
    Logits,
    /// The loss of every answer, or of every example where it has one: minus the log-likelihood of a cross-entropy.
    Losses,
}

/// Reads the outputs of a model on the same examples for any weights.
#[derive(Debug)]
pub struct OutputReader {
    program: Program,
    workspace: Workspace,
    data: DataSet,
    batch: usize,
    /// Numbers of one example.
    width: usize,
    /// Logits of one answer, where they are those of classes.
    classes: Option<usize>,
}

/// Node that is read.
const OUTPUT: &str = "output";

impl OutputReader {
    /// Compiles the forward pass; `data` are the examples, of the model's task.
    ///
    /// # Errors
    /// A mistake in the model's graph, or no examples.
    pub fn new(model: &Model, data: DataSet, outputs: Outputs) -> Result<Self, ObserveError> {
        if data.is_empty() {
            return Err(ObserveError::NotDefined {
                observable: "outputs",
                needs: "at least one example".to_owned(),
                found: "an empty data set".to_owned(),
            });
        }
        let batch = BATCH.min(data.len());
        let (graph, nodes) = model.graph(batch);
        let node = match outputs {
            Outputs::Logits => nodes.answers,
            Outputs::Losses => graph.find(TOKEN_LOSS).unwrap_or(nodes.example_loss),
        };
        let program = Program::compile(&graph, &[(OUTPUT, node)], Gradient::None)?;
        let workspace = Workspace::new(&program);
        let width = workspace.output(&program, OUTPUT).len() / batch;
        let classes = match (outputs, model.interface()) {
            (Outputs::Losses, _) => None,
            (
                _,
                Interface::Tokens { read: Read::LastPosition { classes }, .. }
                | Interface::LabelledItems { classes, .. },
            ) => Some(classes),
            (_, Interface::Tokens { vocabulary, .. }) => Some(vocabulary),
            (_, Interface::Vectors { loss: VectorLoss::CrossEntropy, outputs, .. }) => Some(outputs),
            (_, Interface::Vectors { .. } | Interface::Pairs { .. }) => None,
        };
        Ok(Self { program, workspace, data, batch, width, classes })
    }

    /// Examples.
    pub fn n_examples(&self) -> usize {
        self.data.len()
    }

    /// Numbers of each example.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The outputs of the flat `weights`, example by example: as many as [`Self::n_examples`] times [`Self::width`].
    ///
    /// # Errors
    /// Weights of another model, or an output that is not finite; the error names the first parameter or activation that is not.
    pub fn read(&mut self, weights: &[f32]) -> Result<Vec<f32>, ObserveError> {
        let mut outputs = Vec::with_capacity(self.data.len() * self.width);
        let examples: Vec<usize> = (0..self.data.len()).collect();
        for rows in examples.chunks(self.batch) {
            self.data.fill(&self.program, &mut self.workspace, rows)?;
            self.program.run(&mut self.workspace, weights)?;
            let found = &self.workspace.output(&self.program, OUTPUT)[..rows.len() * self.width];
            if found.iter().any(|value| !value.is_finite()) {
                let node = self.program.first_non_finite(&mut self.workspace, weights)?;
                return Err(ObserveError::non_finite(node, "the outputs"));
            }
            outputs.extend_from_slice(found);
        }
        if let Some(classes) = self.classes {
            for logits in outputs.chunks_exact_mut(classes) {
                let mean = (logits.iter().map(|&z| f64::from(z)).sum::<f64>() / classes as f64) as f32;
                for z in logits.iter_mut() {
                    *z -= mean;
                }
            }
        }
        Ok(outputs)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ontogeny_zoo::{NetworkConfig, TaskConfig};
    use serde_json::{from_value, json};

    use super::*;
    use crate::Evaluator;

    fn setting(task: serde_json::Value, network: serde_json::Value) -> (Model, DataSet) {
        let task: TaskConfig = from_value(task).unwrap();
        let network: NetworkConfig = from_value(network).unwrap();
        let task = task.prepare(3, Path::new(".")).unwrap();
        let model = Model::new(network, task.interface).unwrap();
        (model, task.split("train").unwrap().data.clone())
    }

    #[test]
    fn losses_have_the_mean_that_is_evaluated_and_logits_give_them() {
        let task = json!({ "kind": "modular_arithmetic", "p": 13, "operation": "add", "train_fraction": 0.9 });
        let network = json!({
            "kind": "transformer", "layers": 1, "d_model": 8, "heads": 2, "d_mlp": 16, "activation": "relu",
            "normalization": "none", "positions": "learned",
        });
        let (model, data) = setting(task, network);
        let weights = model.initial_weights(1);
        // More than one batch, and one that is not full.
        assert!(data.len() > BATCH && !data.len().is_multiple_of(BATCH));
        let mut reader = OutputReader::new(&model, data.clone(), Outputs::Losses).unwrap();
        let losses = reader.read(&weights).unwrap();
        assert_eq!((losses.len(), reader.width(), reader.n_examples()), (data.len(), 1, data.len()));
        let mean = losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / losses.len() as f64;
        let evaluated = Evaluator::new(&model).unwrap().evaluate(&weights, &data).unwrap().loss;
        assert!((mean - evaluated).abs() < 1e-6, "{mean}, {evaluated}");

        let mut reader = OutputReader::new(&model, data.clone(), Outputs::Logits).unwrap();
        let logits = reader.read(&weights).unwrap();
        assert_eq!((logits.len(), reader.width()), (13 * data.len(), 13));
        let targets = crate::evaluate::ids(&data, "targets").unwrap();
        for ((row, &target), &loss) in logits.chunks_exact(13).zip(targets).zip(&losses) {
            let (sum, total): (f64, f64) =
                row.iter().fold((0.0, 0.0), |(sum, total), &z| (sum + f64::from(z), total + f64::from(z).exp()));
            assert!(sum.abs() < 1e-5, "logits are centred, {sum}");
            let own = total.ln() - f64::from(row[target as usize]);
            assert!((own - f64::from(loss)).abs() < 1e-5, "{own}, {loss}");
        }
    }

    #[test]
    fn every_predicted_token_has_its_loss() {
        let task =
            json!({ "kind": "repeated_tokens", "vocabulary": 11, "block": 6, "repeats": 2, "train_examples": 40 });
        let network = json!({
            "kind": "transformer", "layers": 1, "d_model": 8, "heads": 2, "attention_only": true,
            "normalization": "layer_norm", "positions": "learned",
        });
        let (model, data) = setting(task, network);
        let mut reader = OutputReader::new(&model, data, Outputs::Losses).unwrap();
        assert_eq!(reader.width(), model.interface().answers());
        let mut weights = model.initial_weights(1);
        let before = reader.read(&weights).unwrap();
        weights[0] = f32::NAN;
        assert!(reader.read(&weights).unwrap_err().to_string().contains("non-finite value"));
        // Nothing of the failure is left.
        weights.copy_from_slice(&model.initial_weights(1));
        assert_eq!(reader.read(&weights).unwrap(), before);
    }
}
