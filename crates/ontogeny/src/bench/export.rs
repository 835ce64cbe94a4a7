//! Writes a workload's weights, inputs, loss and gradient for other programs to work on.

use std::collections::HashMap;
use std::path::Path;

use ontogeny_graph::{Program, Threads};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::BenchError;
use super::recipe::{Network, Values};
use super::workloads::{Update, Workload};

/// Writes `DIR/ID.safetensors`: `weights.NAME`, `inputs.NAME`, `gradient.NAME` of the first weights (zero where the chain
/// may not move) and `loss`, with the settings of the update as metadata.
pub(crate) fn export(workload: &Workload, folder: &Path) -> Result<(), BenchError> {
    let network = (workload.build)();
    let program = network.compile()?;
    let weights = network.weights();
    let mut workspace = network.workspace(&program, &Threads::one())?;
    program.run(&mut workspace, &weights)?;
    let mut tensors = vec![Tensor::new("loss", Dtype::F32, &[], workspace.output(&program, "loss"), f32::to_le_bytes)];
    tensors.extend(of_params("weights", &program, &weights));
    tensors.extend(of_params("gradient", &program, workspace.gradient(&program)));
    for input in &network.inputs {
        let name = format!("inputs.{}", input.name);
        tensors.push(match &input.values {
            Values::Float(values) => Tensor::new(&name, Dtype::F32, &input.shape, values, f32::to_le_bytes),
            Values::Ids(values) => Tensor::new(&name, Dtype::I32, &input.shape, values, i32::to_le_bytes),
        });
    }
    let views = tensors
        .iter()
        .map(|tensor| Ok((tensor.name.as_str(), TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    fs_err::create_dir_all(folder)?;
    let path = folder.join(format!("{}.safetensors", workload.id));
    safetensors::serialize_to_file(views, Some(metadata(workload, &network)), &path)?;
    Ok(())
}

struct Tensor {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Tensor {
    fn new<T: Copy>(name: &str, dtype: Dtype, shape: &[usize], values: &[T], bytes: fn(T) -> [u8; 4]) -> Self {
        let bytes = values.iter().flat_map(|&value| bytes(value)).collect();
        Self { name: name.to_owned(), dtype, shape: shape.to_vec(), bytes }
    }
}

fn of_params<'a>(kind: &'a str, program: &'a Program, flat: &'a [f32]) -> impl Iterator<Item = Tensor> + 'a {
    program.space().iter().map(move |param| {
        let name = format!("{kind}.{}", param.name);
        Tensor::new(&name, Dtype::F32, &param.shape, &flat[param.range.clone()], f32::to_le_bytes)
    })
}

fn metadata(workload: &Workload, network: &Network) -> HashMap<String, String> {
    let mut pairs = vec![("about", workload.about.to_owned()), ("chains", workload.chains.to_string())];
    pairs.push(("free", network.free.to_owned()));
    match workload.update {
        Update::Sgld(sgld) => pairs.extend([
            ("update", "sgld".to_owned()),
            ("step_size", sgld.step_size.to_string()),
            ("n_beta", sgld.n_beta.to_string()),
            ("localization", sgld.localization.to_string()),
        ]),
        Update::AdamW(rate, adamw) => pairs.extend([
            ("update", "adamw".to_owned()),
            ("learning_rate", rate.to_string()),
            ("beta1", adamw.betas[0].to_string()),
            ("beta2", adamw.betas[1].to_string()),
            ("eps", adamw.eps.to_string()),
            ("weight_decay", adamw.weight_decay.to_string()),
        ]),
    }
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
