//! Imported checkpoints: which files, at which steps, and their weights in the network's own layout.

use std::path::{Path, PathBuf};

use ontogeny_store::{Imported, Tensor};
use ontogeny_zoo::{
    Layout, Model, NameMap, NetworkConfig, WeightTensor, check_finite_weights, read_tensors, to_canonical,
};
use regex_lite::Regex;

use crate::StudyError;
use crate::sections::{ImportConfig, StepRule, resolve};

/// The checkpoints of an import, by step.
///
/// # Errors
/// No such file, a name without a step, or two files of one step.
pub(crate) fn find(config: &ImportConfig, folder: &Path) -> Result<Vec<Imported>, StudyError> {
    let files = match (&config.checkpoints, &config.network) {
        (Some(checkpoints), _) => matching(&resolve(folder, checkpoints))?,
        (None, Some(network)) => vec![folder.join(network)],
        (None, None) => return Err(StudyError::Import("`checkpoints` is missing".to_owned())),
    };
    let rule = match &config.step {
        None if config.checkpoints.is_none() => Rule::Fixed(0),
        None => return Err(StudyError::Import("`step` is missing".to_owned())),
        Some(StepRule::Number(step)) if files.len() == 1 => Rule::Fixed(*step),
        Some(StepRule::Number(step)) => {
            let message = format!(
                "`step` is the number {step}, but `checkpoints` matches {} files; give a regular expression such as \
                 \"step_(\\\\d+)\"",
                files.len()
            );
            return Err(StudyError::Import(message));
        }
        Some(StepRule::Pattern(pattern)) => Rule::Matched(step_pattern(pattern)?),
    };
    let mut imported: Vec<Imported> = Vec::new();
    for file in files {
        let step = rule.step(&file)?;
        if let Some(other) = imported.iter().find(|other| other.step == step) {
            let message = format!("`{}` and `{}` both have step {step}", other.path.display(), file.display());
            return Err(StudyError::Import(message));
        }
        imported.push(Imported::new(step, fs_err::canonicalize(&file).map_err(StudyError::Io)?)?);
    }
    imported.sort_by_key(|checkpoint| checkpoint.step);
    Ok(imported)
}

/// The flat weights of one imported file.
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
    let file = read_tensors(path)?;
    let layout = match config.layout.or_else(|| Layout::detect(&file)) {
        Some(layout) => layout,
        // Without attention there is nothing to turn round.
        None => Layout::TransformerLens,
    };
    let tensors = to_canonical(&file, layout, &names)?;
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

enum Rule {
    Fixed(u64),
    Matched(Regex),
}

impl Rule {
    fn step(&self, file: &Path) -> Result<u64, StudyError> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        match self {
            Self::Fixed(step) => Ok(*step),
            Self::Matched(regex) => {
                let digits = regex.captures(&name).and_then(|captures| captures.get(1)).ok_or_else(|| {
                    StudyError::Import(format!("`{name}` does not match `step = \"{regex}\"`; every file needs a step"))
                })?;
                digits.as_str().parse().map_err(|_| {
                    StudyError::Import(format!("`{}` in `{name}` is no step: expected a whole number", digits.as_str()))
                })
            }
        }
    }
}

fn step_pattern(pattern: &str) -> Result<Regex, StudyError> {
    let regex = Regex::new(pattern)
        .map_err(|error| StudyError::Import(format!("`step = \"{pattern}\"` is no regular expression: {error}")))?;
    if regex.captures_len() != 2 {
        let message = format!(
            "`step = \"{pattern}\"` has {} groups; expected one, around the step",
            regex.captures_len().saturating_sub(1)
        );
        return Err(StudyError::Import(message));
    }
    Ok(regex)
}

/// The file itself, or what the glob matches, sorted.
fn matching(pattern: &Path) -> Result<Vec<PathBuf>, StudyError> {
    if pattern.is_file() {
        return Ok(vec![pattern.to_owned()]);
    }
    let text = pattern.to_string_lossy();
    let paths = glob::glob(&text)
        .map_err(|error| StudyError::Import(format!("`checkpoints = \"{text}\"` is no glob: {error}")))?;
    let mut files = Vec::new();
    for path in paths {
        let path = path.map_err(|error| StudyError::Io(error.into()))?;
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(StudyError::Import(format!("no file matches `{text}`; paths are relative to the run file")));
    }
    Ok(files)
}
