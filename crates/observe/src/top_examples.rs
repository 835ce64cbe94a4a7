//! The examples that activate a part of a network most.

use ontogeny_graph::{DataSet, Gradient, Program, Workspace};
use ontogeny_zoo::Model;

use crate::ObserveError;
use crate::interventions::{Component, has_positions};

/// Most numbers of all activations of one execution, 128 MB.
const MAX_NUMBERS: usize = 1 << 25;

/// Examples of one execution.
const BATCH: usize = 64;

/// An example at a position, with what a part does there.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct TopExample {
    /// Row of the data.
    pub example: usize,
    /// Position in the sequence; `None` of activations without positions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<usize>,
    /// The activation of a neuron; the L2 norm of parts that are vectors.
    pub activation: f64,
}

/// Reads what parts do on examples.
#[derive(Debug)]
pub struct TopExamples {
    program: Program,
    workspace: Workspace,
    parts: Vec<Component>,
    /// Of each part, with the batch.
    shapes: Vec<Vec<usize>>,
    batch: usize,
}

impl TopExamples {
    /// Compiles the activations of `parts`.
    ///
    /// # Errors
    /// A part that the network does not have.
    pub fn new(model: &Model, parts: Vec<Component>, n_examples: usize) -> Result<Self, ObserveError> {
        let mut names: Vec<&str> = parts.iter().map(|part| part.activation.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let (graph, _) = model.graph(1);
        let sizes = names.iter().map(|name| Ok(graph.shape(graph.find(name)?).iter().product::<usize>()));
        let per_example: usize = sizes.sum::<Result<usize, ObserveError>>()?;
        let batch = (MAX_NUMBERS / per_example.max(1)).clamp(1, BATCH).min(n_examples.max(1));
        let (graph, _) = model.graph(batch);
        let outputs =
            names.iter().map(|&name| Ok((name, graph.find(name)?))).collect::<Result<Vec<_>, ObserveError>>()?;
        let program = Program::compile(&graph, &outputs, Gradient::None)?;
        let shapes = parts.iter().map(|part| Ok(graph.shape(graph.find(&part.activation)?).to_vec()));
        let shapes = shapes.collect::<Result<Vec<_>, ObserveError>>()?;
        let workspace = Workspace::new(&program);
        Ok(Self { program, workspace, parts, shapes, batch })
    }

    /// For each part the `top` examples of largest activation, one position of each example, the largest first; of equal ones the
    /// first in the data.
    ///
    /// # Errors
    /// Weights or data of another model, or activations that are not finite.
    pub fn find(&mut self, weights: &[f32], data: &DataSet, top: usize) -> Result<Vec<Vec<TopExample>>, ObserveError> {
        let mut found: Vec<Vec<TopExample>> = vec![Vec::new(); self.parts.len()];
        let all: Vec<usize> = (0..data.len()).collect();
        for rows in all.chunks(self.batch) {
            data.fill(&self.program, &mut self.workspace, rows)?;
            self.program.run(&mut self.workspace, weights)?;
            for ((part, shape), found) in self.parts.iter().zip(&self.shapes).zip(&mut found) {
                let values = self.workspace.output(&self.program, &part.activation);
                let width: usize = shape[1..].iter().product();
                let has_positions = has_positions(&part.activation, shape.len());
                let n_positions = if has_positions { shape[1] } else { 1 };
                for (&example, row) in rows.iter().zip(values.chunks_exact(width)) {
                    let mut best: Option<TopExample> = None;
                    for at in 0..n_positions {
                        let positions = [at];
                        let ranges = part.elements(shape, has_positions.then_some(&positions[..]));
                        let own: Vec<f64> =
                            ranges.into_iter().flatten().map(|element| f64::from(row[element])).collect();
                        let activation = match own[..] {
                            [single] => single,
                            _ => own.iter().map(|x| x * x).sum::<f64>().sqrt(),
                        };
                        if !activation.is_finite() {
                            let node = self.program.first_non_finite(&mut self.workspace, weights)?;
                            return Err(ObserveError::non_finite(node, &part.activation));
                        }
                        if best.is_none_or(|best| activation > best.activation) {
                            best = Some(TopExample { example, position: has_positions.then_some(at), activation });
                        }
                    }
                    found.extend(best);
                }
                found.sort_by(|a, b| b.activation.total_cmp(&a.activation).then(a.example.cmp(&b.example)));
                found.truncate(top);
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ontogeny_zoo::{NetworkConfig, TaskConfig};
    use serde_json::{from_value, json};

    use super::*;

    /// A hidden unit that copies one input is largest where the input is.
    #[test]
    fn a_unit_that_copies_an_input_is_largest_where_the_input_is() {
        let task: TaskConfig = from_value(json!({
            "kind": "sparse_parity", "tasks": 3, "bits": 6, "subset": 2, "zipf_exponent": 1.4, "train_examples": 90,
        }))
        .unwrap();
        let task = task.prepare(0, Path::new(".")).unwrap();
        let network: NetworkConfig =
            from_value(json!({ "kind": "mlp", "sizes": [9, 4, 2], "activation": "relu" })).unwrap();
        let model = Model::new(network, task.interface).unwrap();
        let mut weights = vec![0.0; model.space().len()];
        // Unit 2 is input 1, whether an example is of the second task.
        weights[model.space().find("layers.0.W").unwrap().range.start + 4 + 2] = 1.0;
        let parts = Component::chosen(&model, &["l0n2".to_owned(), "l0".to_owned()]).unwrap();
        let data = &task.split("train").unwrap().data;
        let mut examples = TopExamples::new(&model, parts, data.len()).unwrap();
        let found = examples.find(&weights, data, 5).unwrap();
        let x = data.columns().iter().find(|column| column.name == "x").unwrap();
        let ontogeny_graph::ColumnData::Float(x) = &x.data else { panic!("inputs are floats") };
        let second: Vec<usize> = (0..90).filter(|i| x[i * 9 + 1] == 1.0).take(5).collect();
        assert_eq!(found[0].iter().map(|top| top.example).collect::<Vec<_>>(), second);
        assert!(found[0].iter().all(|top| top.activation == 1.0 && top.position.is_none()));
        // The whole layer is that unit.
        assert_eq!(found[0], found[1]);
        weights[0] = f32::NAN;
        assert!(examples.find(&weights, data, 5).unwrap_err().to_string().contains("layers.0.W"));
    }

    #[test]
    fn a_position_is_told_of_sequences() {
        let task: TaskConfig = from_value(json!({
            "kind": "repeated_tokens", "vocabulary": 7, "block": 4, "repeats": 2, "train_examples": 70,
        }))
        .unwrap();
        let task = task.prepare(0, Path::new(".")).unwrap();
        let network: NetworkConfig = from_value(json!({
            "kind": "transformer", "layers": 1, "d_model": 8, "heads": 2, "attention_only": true, "normalization": "none",
            "positions": "none",
        }))
        .unwrap();
        let model = Model::new(network, task.interface).unwrap();
        let mut weights = vec![0.0; model.space().len()];
        // The token 3 has the longest embedding.
        let embed = model.space().find("embed.W_E").unwrap().range.start;
        weights[embed + 3 * 8] = 2.0;
        weights[embed + 4 * 8] = 1.0;
        let data = &task.split("train").unwrap().data;
        let parts = Component::chosen(&model, &["embed".to_owned()]).unwrap();
        let found = TopExamples::new(&model, parts, 70).unwrap().find(&weights, data, 4).unwrap();
        let tokens = crate::evaluate::ids(data, "tokens").unwrap();
        let length = tokens.len() / 70;
        for top in &found[0] {
            assert_eq!(tokens[top.example * length + top.position.unwrap()], 3);
            assert_eq!(top.activation, 2.0);
        }
    }
}
