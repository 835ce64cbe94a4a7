//! Imported checkpoints and their weights in the network's own layout.

use std::path::Path;

use ontogeny_store::{Imported, Tensor};
use ontogeny_zoo::{
    Layout, Model, NameMap, NetworkConfig, WeightTensor, check_finite_weights, family_weights, read_checkpoint,
    read_llama2c, read_tensors, to_canonical,
};

use crate::sections::ImportConfig;
use crate::{StudyError, checkpoint_series, known_network};

/// The checkpoints of an import, by step.
///
/// # Errors
/// As [`checkpoint_series::find`]; files that cannot be read; a `config.json` beside one that describes another network.
pub(crate) fn find(config: &ImportConfig, folder: &Path, network: &NetworkConfig) -> Result<Vec<Imported>, StudyError> {
    let found = checkpoint_series::find(config, folder)?;
    known_network::check_beside(&found, config.layout, network)?;
    let mut imported = Vec::with_capacity(found.len());
    for checkpoint in found {
        imported.push(Imported::with_parts(checkpoint.step, checkpoint.files.main, checkpoint.files.shards)?);
    }
    Ok(imported)
}

/// The flat weights of one imported checkpoint.
///
/// # Errors
/// A file that cannot be read, is of another network, or holds values that are not finite.
pub(crate) fn weights(config: &ImportConfig, model: &Model, path: &Path) -> Result<Vec<f32>, StudyError> {
    let names = NameMap::new(config.names.clone());
    if let NetworkConfig::Onnx(network) = model.network() {
        let weights = match &config.checkpoints {
            Some(_) => network.weights_from(&read_tensors(path)?, &names)?,
            None => network.own_weights()?,
        };
        for (param, values) in model.tensors(&weights) {
            let (name, shape) = (param.name.clone(), param.shape.clone());
            check_finite_weights(path, &[WeightTensor { name, shape, values: values.to_vec() }])?;
        }
        return Ok(weights);
    }
    let tensors = if config.layout == Some(Layout::Llama2c) {
        read_llama2c(path)?
    } else {
        let file = read_checkpoint(path)?;
        match config.layout.or_else(|| Layout::detect(&file)) {
            Some(layout @ (Layout::Gpt2 | Layout::GptNeo | Layout::GptNeox | Layout::Llama)) => {
                family_weights(&file, layout, &names, model)?
            }
            // Without attention there is nothing to turn round.
            layout => to_canonical(&file, layout.unwrap_or(Layout::TransformerLens), &names)?,
        }
    };
    check_finite_weights(path, &tensors)?;
    Ok(model.weights_from(path, tensors)?)
}

/// The flat weights of a checkpoint of our own.
///
/// # Errors
/// A parameter that is missing or has another shape.
pub(crate) fn flat(model: &Model, step: u64, tensors: &[Tensor]) -> Result<Vec<f32>, StudyError> {
    let mut weights = Vec::with_capacity(model.space().len());
    for param in model.space().iter() {
        let tensor = tensors.iter().find(|t| t.name == param.name && t.shape == param.shape);
        let tensor = tensor.ok_or_else(|| {
            StudyError::Store(format!("checkpoint {step} has no tensor `{}` of shape {:?}", param.name, param.shape))
        })?;
        weights.extend_from_slice(&tensor.values);
    }
    Ok(weights)
}
