//! Weights of an ONNX network: out of its own file, or out of checkpoints with the names of its parameters.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::error::{EXPORT, OnnxError, Problem};
use super::file::OnnxFile;
use crate::{LayoutError, NameMap, NamedTensor, TensorFile, WeightTensor, match_shapes};

impl OnnxFile {
    /// The file's own weights, in the order of the parameters.
    pub(super) fn own_weights(&self) -> Vec<f32> {
        let mut weights: BTreeMap<String, Vec<f32>> = BTreeMap::new();
        for name in &self.parameters {
            if let Some(values) = self.tensors[name].data.as_f32() {
                weights.insert(name.clone(), values.to_vec());
            }
        }
        let statistic =
            |name: &str| self.tensors.get(name).and_then(|tensor| tensor.data.as_f32().map(<[f32]>::to_vec));
        self.fold(&mut weights, statistic);
        self.parameters.iter().flat_map(|name| weights.remove(name).unwrap_or_default()).collect()
    }

    /// Whether the file has every parameter of the model it was made from.
    pub(super) fn check_nothing_lost(&self) -> Result<(), OnnxError> {
        let Some(lost) = self.lost.first() else { return Ok(()) };
        let found = format!("{} missing", self.lost.join(", "));
        let expected = format!(
            "every parameter: the missing ones are tied to others, or were merged with equal ones. Give `checkpoints` with the \
             model's `state_dict()`, which tells; where the file was optimised, {EXPORT}"
        );
        Err(OnnxError::new(&self.path, format!("initialiser `{lost}`"), Problem::new(found, expected)))
    }

    /// Weights out of a checkpoint, in the order of the parameters.
    pub(super) fn weights_from(&self, checkpoint: &TensorFile, names: &NameMap) -> Result<Vec<f32>, LayoutError> {
        names.check_all_used(checkpoint)?;
        let path = checkpoint.path.as_path();
        let mut renamed: BTreeMap<String, &NamedTensor> = BTreeMap::new();
        for tensor in &checkpoint.tensors {
            let Some(name) = names.apply(&tensor.name) else { continue };
            if renamed.insert(name.clone(), tensor).is_some() {
                return Err(LayoutError::DuplicateName { path: path.to_owned(), name });
            }
        }
        let statistics: BTreeSet<&str> =
            self.foldings.iter().flat_map(|folding| [folding.mean.as_str(), folding.variance.as_str()]).collect();
        let mut weights = Vec::new();
        for (name, tensor) in &renamed {
            // Integers, such as a count of batches, are no weights.
            let Some(values) = tensor.data.as_f32() else { continue };
            if self.buffers.contains(name) && !statistics.contains(name.as_str()) {
                self.check_buffer(path, name, tensor)?;
                continue;
            }
            if !self.is_parameter(name) && !statistics.contains(name.as_str()) && self.is_tied(path, name, &renamed)? {
                continue;
            }
            weights.push(WeightTensor { name: name.clone(), shape: tensor.shape.clone(), values: values.to_vec() });
        }
        if let Some(lost) = self.lost.iter().find(|lost| !renamed.contains_key(*lost)) {
            return Err(self.merged(path, lost, "is not in it"));
        }
        let expected = |name: &str| (name.to_owned(), self.tensors[name].shape.clone());
        let expected: Vec<(String, Vec<usize>)> =
            self.parameters.iter().map(String::as_str).chain(statistics.iter().copied()).map(expected).collect();
        let mut weights: BTreeMap<String, Vec<f32>> =
            match_shapes(path, weights, &expected)?.into_iter().map(|tensor| (tensor.name, tensor.values)).collect();
        let found: BTreeMap<&str, Vec<f32>> =
            statistics.iter().filter_map(|name| Some((*name, weights.remove(*name)?))).collect();
        self.fold(&mut weights, |name| found.get(name).cloned());
        Ok(self.parameters.iter().flat_map(|name| weights.remove(name).unwrap_or_default()).collect())
    }

    /// Whether a tensor that is no parameter here is one under another name: equal bit for bit, and not all of one value, as
    /// tensors are before training whether or not they are tied.
    fn is_tied(&self, path: &Path, name: &str, all: &BTreeMap<String, &NamedTensor>) -> Result<bool, LayoutError> {
        let bits =
            |tensor: &NamedTensor| tensor.data.as_f32().map(|values| values.iter().map(|x| x.to_bits()).collect());
        let own: Option<Vec<u32>> = bits(all[name]);
        let is_uniform = own.as_ref().is_none_or(|own| own.iter().all(|x| *x == own[0]));
        let is_same =
            |other: &String| all.get(other).is_some_and(|other| other.shape == all[name].shape && bits(other) == own);
        let is_tied = !is_uniform && self.parameters.iter().any(is_same);
        if !is_tied && self.lost.iter().any(|lost| lost == name) {
            let found = if is_uniform { "has one value only" } else { "differs from every other weight" };
            return Err(self.merged(path, name, found));
        }
        Ok(is_tied)
    }

    fn merged(&self, path: &Path, name: &str, found: &'static str) -> LayoutError {
        LayoutError::Merged {
            path: path.to_owned(),
            parameter: name.to_owned(),
            found,
            network: self.path.clone(),
            remedy: EXPORT,
        }
    }

    /// A buffer is part of the network: a checkpoint with another one belongs to another network.
    fn check_buffer(&self, path: &Path, name: &str, found: &NamedTensor) -> Result<(), LayoutError> {
        let Some(own) = self.tensors.get(name) else { return Ok(()) };
        let is_same = own.shape == found.shape
            && match (own.data.as_f32(), found.data.as_f32()) {
                (Some(own), Some(found)) => own.iter().zip(found).all(|(a, b)| a.to_bits() == b.to_bits()),
                _ => false,
            };
        if is_same {
            return Ok(());
        }
        Err(LayoutError::OtherBuffer { path: path.to_owned(), buffer: name.to_owned(), network: self.path.clone() })
    }

    /// Puts the statistics of batch norms into their scales and shifts, computed in f64.
    fn fold(&self, weights: &mut BTreeMap<String, Vec<f32>>, statistic: impl Fn(&str) -> Option<Vec<f32>>) {
        for folding in &self.foldings {
            let (Some(mean), Some(variance)) = (statistic(&folding.mean), statistic(&folding.variance)) else {
                continue;
            };
            let Some(mut shift) = weights.remove(&folding.shift) else { continue };
            if let Some(scale) = weights.get_mut(&folding.scale) {
                let statistics = mean.iter().zip(&variance);
                for ((scale, shift), (mean, variance)) in scale.iter_mut().zip(&mut shift).zip(statistics) {
                    let folded = f64::from(*scale) / (f64::from(*variance) + folding.epsilon).sqrt();
                    *shift = (f64::from(*shift) - f64::from(*mean) * folded) as f32;
                    *scale = folded as f32;
                }
            }
            weights.insert(folding.shift.clone(), shift);
        }
    }
}
