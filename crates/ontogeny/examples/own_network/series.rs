//! Checkpoints and data for a network of one's own: files by step, flat weights, losses over a whole data set.

use std::error::Error;
use std::path::{Path, PathBuf};

use ontogeny::graph::ParamSpace;
use ontogeny::prelude::{DataSet, Gradient, Program, TaskConfig, Workspace};
use ontogeny::zoo::{NameMap, TensorFile, WeightTensor, match_shapes, read_tensors};

use super::torus::network;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The files `model_step_N.pt` of a folder with their steps, ascending.
pub(crate) fn checkpoints(folder: &Path) -> Outcome<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let step = name.strip_prefix("model_step_").and_then(|rest| rest.strip_suffix(".pt"));
        if let Some(step) = step.and_then(|step| step.parse().ok()) {
            found.push((step, path));
        }
    }
    found.sort();
    Ok(found)
}

/// Flat weights in the order of the graph's parameters. The optimiser's state in the file is left out.
pub(crate) fn weights(file: &TensorFile, space: &ParamSpace) -> Outcome<Vec<f32>> {
    let names = NameMap::new([("model_state_dict.".to_owned(), String::new())]);
    let mut tensors = Vec::new();
    for tensor in &file.tensors {
        if let (Some(name), Some(values)) = (names.apply(&tensor.name), tensor.data.as_f32()) {
            tensors.push(WeightTensor { name, shape: tensor.shape.clone(), values: values.to_vec() });
        }
    }
    let expected: Vec<_> = space.iter().map(|param| (param.name.clone(), param.shape.clone())).collect();
    Ok(match_shapes(&file.path, tensors, &expected)?.into_iter().flat_map(|tensor| tensor.values).collect())
}

/// A checkpoint and the validation loss that was recorded in it.
pub(crate) fn read(path: &Path, space: &ParamSpace) -> Outcome<(Vec<f32>, f64)> {
    let file = read_tensors(path)?;
    let recorded = match file.scalar("val_loss") {
        Some(ontogeny::zoo::ScalarValue::Float(loss)) => loss,
        other => return Err(format!("{}: val_loss is {other:?}, expected a number", path.display()).into()),
    };
    Ok((weights(&file, space)?, recorded))
}

/// The sequences of a file of bytes, such as `test_sequences_10000x16_u8.gz`.
pub(crate) fn sequences(folder: &Path) -> Outcome<DataSet> {
    let config = serde_json::json!({ "kind": "tokens", "data": "test_sequences_10000x16_u8.gz", "vocabulary": 16 });
    let task = serde_json::from_value::<TaskConfig>(config)?.prepare(0, folder)?;
    let split = task.split("train").ok_or("the task has one split")?;
    Ok(split.data.clone())
}

/// The mean loss over all examples, whose number must be a multiple of the batch.
pub(crate) struct MeanLoss {
    program: Program,
    workspace: Workspace,
    batch: usize,
}

impl MeanLoss {
    pub(crate) fn new(batch: usize) -> Outcome<Self> {
        let (graph, loss) = network(batch);
        let program = Program::compile(&graph, &[("loss", loss)], Gradient::None)?;
        Ok(Self { workspace: Workspace::new(&program), program, batch })
    }

    pub(crate) fn space(&self) -> &ParamSpace {
        self.program.space()
    }

    pub(crate) fn of(&mut self, weights: &[f32], data: &DataSet) -> Outcome<f64> {
        let ontogeny::graph::ColumnData::Ids(ids) = &data.columns()[0].data else { return Err("ids".into()) };
        let per_batch = self.batch * data.columns()[0].width;
        let mut sum = 0.0;
        for tokens in ids.chunks_exact(per_batch) {
            self.workspace.ids_mut(&self.program, "tokens")?.copy_from_slice(tokens);
            self.program.run(&mut self.workspace, weights)?;
            sum += self.workspace.output(&self.program, "loss").iter().map(|&loss| f64::from(loss)).sum::<f64>();
        }
        Ok(sum / (ids.len() / data.columns()[0].width) as f64)
    }
}
