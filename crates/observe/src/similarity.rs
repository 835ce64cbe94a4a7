//! How alike the activations of a checkpoint and of its partner are, place by place.

use ontogeny_stats::{canonical_correlations, kernel_alignment, singular_vector_correlation};
use serde::{Deserialize, Serialize};

use crate::activations::ActivationReader;
use crate::samples::{PositionsOf, Samples, split_of};
use crate::{Checkpoint, Findings, Instrument, Measured, ObserveError, Partner, Settings, Subject};

/// Version of the numbers.
pub(crate) const SIMILARITY_VERSION: u32 = 1;

/// Settings of `observable = "similarity"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimilaritySettings {
    /// The checkpoint to compare with.
    pub with: Partner,
    /// Named activations; unless given the residual stream after each block, or the hidden layers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<String>,
    /// Split of the task; `test` unless given, or else `train`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Examples, or positions of sequences, that activations are compared on.
    pub samples: usize,
}

impl Default for SimilaritySettings {
    fn default() -> Self {
        Self { with: Partner::default(), places: Vec::new(), split: None, samples: 2000 }
    }
}

/// Scores of a place, in the order of the array.
const SCORES: [&str; 5] = ["cka", "cka_debiased", "cca", "pwcca", "svcca"];

/// Share of the variance that SVCCA keeps.
const SHARE: f64 = 0.99;

const NAME: &str = "similarity";

impl Settings for SimilaritySettings {
    fn build(&self, subject: &Subject<'_>) -> Result<Box<dyn Instrument>, ObserveError> {
        let split = split_of(subject.task, self.split.as_deref(), NAME)?;
        let samples = Samples::choose(subject, split, self.samples, PositionsOf::Answers);
        let reader = ActivationReader::new(subject.model, &self.places, split, &samples, NAME)?;
        let n = samples.chosen.len();
        if let Some(place) = reader.places().iter().find(|place| n < place.width + 2) {
            return Err(ObserveError::NotDefined {
                observable: NAME,
                needs: format!(
                    "more samples than features, better ten times as many: `{}` has {}",
                    place.name, place.width
                ),
                found: format!("{n} samples; give more `samples`, another `split`, or other `places`"),
            });
        }
        Ok(Box::new(Similarity { reader }))
    }

    fn partner(&self) -> Option<&Partner> {
        Some(&self.with)
    }
}

struct Similarity {
    reader: ActivationReader,
}

impl Instrument for Similarity {
    fn dims(&self) -> Vec<(&'static str, Vec<String>)> {
        vec![("place", self.reader.labels()), ("score", SCORES.map(str::to_owned).to_vec())]
    }

    fn measure(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Findings, ObserveError> {
        let partner = checkpoint.partner.unwrap_or(checkpoint.weights);
        let own = self.reader.read(checkpoint.weights, checkpoint)?;
        let other = self.reader.read(partner, checkpoint)?;
        let mut values = Vec::with_capacity(own.len() * SCORES.len());
        let most = self.reader.places().iter().map(|place| place.width).max().unwrap_or(0);
        let ranks: Vec<String> = (1..=most).map(|rank| rank.to_string()).collect();
        let mut correlations = Vec::with_capacity(own.len() * most);
        for (at, (x, y)) in own.iter().zip(&other).enumerate() {
            checkpoint.check_cancelled()?;
            let kernel = kernel_alignment(x, y)?;
            let canonical = canonical_correlations(x, y)?;
            let leading = singular_vector_correlation(x, y, SHARE)?;
            values.extend([kernel.plain, kernel.debiased, canonical.mean, canonical.projection_weighted, leading]);
            let padding = std::iter::repeat_n(0.0, most - canonical.correlations.len());
            correlations.extend(canonical.correlations.into_iter().chain(padding));
            (checkpoint.progress)((at + 1) as f64 / own.len() as f64);
        }
        let correlations =
            Measured { unit: "1", dims: vec![("place", self.reader.labels()), ("rank", ranks)], values: correlations };
        Ok(Findings {
            value: Measured { unit: "1", dims: self.dims(), values },
            standard_errors: None,
            arrays: vec![("canonical_correlation", correlations)],
            details: vec![("samples", own.first().map_or(0, ontogeny_stats::Matrix::n_rows) as f64)],
            refusal: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ontogeny_graph::{Purpose, Stream};
    use ontogeny_zoo::{Model, NetworkConfig, TaskConfig, unit_groups};
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn permuted_neurons_are_the_same_representation_and_other_seeds_are_not() {
        let task: TaskConfig = from_value(json!({ "kind": "images", "train_fraction": 0.6 })).unwrap();
        let network: NetworkConfig =
            from_value(json!({"kind": "mlp", "sizes": [64, 20, 12, 10], "activation": "relu"})).unwrap();
        let task = task.prepare(3, Path::new(".")).unwrap();
        let model = Model::new(network, task.interface).unwrap();
        let subject = Subject { model: &model, task: &task, seed: 1 };
        let settings = SimilaritySettings { samples: 200, ..SimilaritySettings::default() };
        let mut instrument = settings.build(&subject).unwrap();
        let dims = instrument.dims();
        assert_eq!(dims[0].1, ["layers.0.hook_post", "layers.1.hook_post"]);
        let weights = model.initial_weights(1);
        let mut permuted = weights.clone();
        for (at, group) in unit_groups(&model).iter().enumerate() {
            let order = Stream::new(1, Purpose::Probe, at as u64).permutation(group.n_units, 0);
            group.reorder(&order, &mut permuted);
        }
        let mut compare = |partner: &[f32]| {
            let checkpoint = Checkpoint { partner: Some(partner), ..Checkpoint::alone(&weights) };
            instrument.measure(&checkpoint).unwrap()
        };
        let same = compare(&permuted);
        // Activations are f32: correlations of 1 to its rounding, times the condition of the whitening.
        assert!(same.value.values.iter().all(|v| (v - 1.0).abs() < 1e-5), "{:?}", same.value);
        let other = compare(&model.initial_weights(2));
        assert!(other.value.values.iter().all(|v| (0.0..0.999).contains(v)), "{:?}", other.value);
        assert_eq!(other.arrays[0].1.values.len(), 40);
        let few = SimilaritySettings { samples: 20, ..settings };
        let error = few.build(&subject).err().unwrap().to_string();
        assert!(error.contains("`layers.0.hook_post` has 20"), "{error}");
    }
}
