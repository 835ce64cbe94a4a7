//! Lottery-ticket masks: which weights are the largest, whether they are those of the partner, and what they do alone.

use ontogeny_graph::DataSet;
use ontogeny_zoo::{Model, rewind, ticket};
use serde::{Deserialize, Serialize};

use crate::mode_connectivity::EXAMPLES;
use crate::samples::{split_of, spread};
use crate::{Checkpoint, Evaluator, Findings, Instrument, Measured, ObserveError, Partner, Settings, Subject};

/// Version of the numbers.
pub(crate) const MASK_OVERLAP_VERSION: u32 = 1;

/// Settings of `observable = "mask_overlap"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaskOverlapSettings {
    /// The checkpoint with whose largest weights those of each one are compared.
    pub with: Partner,
    /// Shares of each matrix that are kept, each above 0 and at most 1.
    pub keep: Vec<f64>,
    /// Parameters that stay whole beside biases and norms, by parts of their names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
    /// Split of the task; `test` unless given, or else `train`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Examples of the split, evenly spaced; fewer where it has fewer.
    pub examples: usize,
}

impl Default for MaskOverlapSettings {
    fn default() -> Self {
        Self {
            with: Partner::default(),
            keep: vec![0.5, 0.2, 0.1, 0.05],
            except: Vec::new(),
            split: None,
            examples: EXAMPLES,
        }
    }
}

/// Scores of a share, in the order of the array.
const SCORES: [&str; 5] = ["overlap", "above_chance", "jaccard", "loss", "loss_of_partners"];

const NAME: &str = "mask_overlap";

impl Settings for MaskOverlapSettings {
    fn build(&self, subject: &Subject<'_>) -> Result<Box<dyn Instrument>, ObserveError> {
        let model = subject.model.clone();
        let nothing = vec![0.0; model.space().len()];
        if self.keep.is_empty() {
            return Err(ObserveError::Setting("`keep` is empty; expected shares above 0, at most 1".to_owned()));
        }
        if let Some(twice) = self.keep.iter().enumerate().find(|(at, keep)| self.keep[..*at].contains(keep)) {
            return Err(ObserveError::Setting(format!("`keep` has {} twice; expected each share once", twice.1)));
        }
        for &keep in &self.keep {
            let found = ticket(model.space(), &nothing, keep, &self.except);
            let is_whole = found.map_err(|error| setting(&error))?.iter().all(|is_kept| *is_kept);
            if is_whole && keep < 1.0 {
                let message = format!(
                    "`keep` is {keep}, but no weight would be left out: every parameter is a bias, a norm, or excepted"
                );
                return Err(ObserveError::Setting(message));
            }
        }
        let data = spread(split_of(subject.task, self.split.as_deref(), NAME)?, self.examples);
        let evaluator = Evaluator::new(subject.model)?;
        Ok(Box::new(MaskOverlap { model, evaluator, data, keep: self.keep.clone(), except: self.except.clone() }))
    }

    fn partner(&self) -> Option<&Partner> {
        Some(&self.with)
    }
}

/// The same setting under this observable's name.
fn setting(error: &ontogeny_zoo::SettingError) -> ObserveError {
    ObserveError::Setting(format!("`{}` is {}; expected {}", error.key, error.found, error.expected))
}

struct MaskOverlap {
    model: Model,
    evaluator: Evaluator,
    data: DataSet,
    keep: Vec<f64>,
    except: Vec<String>,
}

impl Instrument for MaskOverlap {
    fn dims(&self) -> Vec<(&'static str, Vec<String>)> {
        let shares = self.keep.iter().map(ToString::to_string).collect();
        vec![("keep", shares), ("score", SCORES.map(str::to_owned).to_vec())]
    }

    fn measure(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Findings, ObserveError> {
        let weights = checkpoint.weights;
        let partner = checkpoint.partner.unwrap_or(weights);
        let space = self.model.space();
        let mut values = Vec::with_capacity(self.keep.len() * SCORES.len());
        let mut chances = Vec::with_capacity(self.keep.len());
        for (at, &keep) in self.keep.iter().enumerate() {
            checkpoint.check_cancelled()?;
            let mask = |weights: &[f32]| ticket(space, weights, keep, &self.except).map_err(|error| setting(&error));
            let (own, other) = (mask(weights)?, mask(partner)?);
            let (mut shared, mut kept, mut either, mut by_chance) = (0, 0, 0, 0.0);
            // What is never left out is shared by everybody, and says nothing.
            for param in space.iter() {
                let (own, other) = (&own[param.range.clone()], &other[param.range.clone()]);
                let n_kept = own.iter().filter(|is_kept| **is_kept).count();
                if n_kept == own.len() && keep < 1.0 {
                    continue;
                }
                let both = own.iter().zip(other).filter(|(a, b)| **a && **b).count();
                shared += both;
                kept += n_kept;
                either += 2 * n_kept - both;
                // Hypergeometric: k of n, of which k are the partner's.
                by_chance += (n_kept * n_kept) as f64 / own.len() as f64;
            }
            let share = |part: f64, of: usize| if of > 0 { part / of as f64 } else { 1.0 };
            let mut loss = |mask: &[bool]| {
                Ok::<_, ObserveError>(self.evaluator.evaluate(&rewind(weights, mask), &self.data)?.loss)
            };
            let losses = [loss(&own)?, loss(&other)?];
            let (overlap, chance) = (share(shared as f64, kept), share(by_chance, kept));
            // Where everything is kept there is nothing to find out.
            let above = if chance < 1.0 { (overlap - chance) / (1.0 - chance) } else { 1.0 };
            chances.push((keep.to_string(), chance));
            values.extend([overlap, above, share(shared as f64, either)]);
            values.extend(losses);
            (checkpoint.progress)((at + 1) as f64 / self.keep.len() as f64);
        }
        let whole = self.evaluator.evaluate(weights, &self.data)?.loss;
        Ok(Findings {
            value: Measured { unit: "1", dims: self.dims(), values },
            standard_errors: None,
            arrays: vec![("chance", Measured::along("keep", "1", chances))],
            details: vec![("loss", whole)],
            refusal: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ontogeny_zoo::{NetworkConfig, Task, TaskConfig};
    use serde_json::{from_value, json};

    use super::*;

    fn setting() -> (Model, Task) {
        let task: TaskConfig = from_value(json!({ "kind": "images", "train_fraction": 0.6 })).unwrap();
        let network: NetworkConfig =
            from_value(json!({"kind": "mlp", "sizes": [64, 50, 10], "activation": "relu"})).unwrap();
        let task = task.prepare(3, Path::new(".")).unwrap();
        (Model::new(network, task.interface).unwrap(), task)
    }

    #[test]
    fn masks_of_unrelated_weights_meet_by_chance_and_equal_ones_are_equal() {
        let (model, task) = setting();
        let subject = Subject { model: &model, task: &task, seed: 1 };
        let mut instrument = MaskOverlapSettings::default().build(&subject).unwrap();
        let weights = model.initial_weights(1);
        let mut measure = |partner: &[f32]| {
            instrument.measure(&Checkpoint { partner: Some(partner), ..Checkpoint::alone(&weights) }).unwrap()
        };
        let own = measure(&weights);
        for scores in own.value.values.chunks(5) {
            assert_eq!(scores[..3], [1.0; 3]);
            assert_eq!(scores[3], scores[4]);
        }
        let other = measure(&model.initial_weights(2));
        for (scores, keep) in other.value.values.chunks(5).zip([0.5, 0.2, 0.1, 0.05]) {
            // 3200 and 500 weights; a hypergeometric count has at most the variance of a binomial one.
            let kept: f64 = 3700.0 * keep;
            let error = (kept * keep * (1.0 - keep)).sqrt() / kept;
            assert!((scores[1] - (scores[0] - keep) / (1.0 - keep)).abs() < 1e-12, "{scores:?}");
            assert!((scores[0] - keep).abs() < 4.0 * error, "{scores:?} {error}");
            assert!((scores[2] - scores[0] / (2.0 - scores[0])).abs() < 1e-12, "{scores:?}");
        }
        // Magnitudes count, not signs.
        let mirrored: Vec<f32> = weights.iter().map(|w| -w).collect();
        assert!(measure(&mirrored).value.values.chunks(5).all(|scores| scores[0] == 1.0));
    }

    #[test]
    fn what_is_kept_is_all_or_nothing_at_the_ends() {
        let (model, task) = setting();
        let subject = Subject { model: &model, task: &task, seed: 1 };
        let settings: MaskOverlapSettings = from_value(json!({"keep": [1.0, 0.3]})).unwrap();
        let weights = model.initial_weights(1);
        let found = settings.build(&subject).unwrap().measure(&Checkpoint::alone(&weights)).unwrap();
        assert_eq!(found.value.values[3], found.details[0].1);
        let mut pruned = weights.clone();
        let is_kept = ticket(model.space(), &weights, 0.3, &[]).unwrap();
        pruned.iter_mut().zip(&is_kept).filter(|(_, kept)| !**kept).for_each(|(w, _)| *w = 0.0);
        let expected =
            Evaluator::new(&model).unwrap().evaluate(&pruned, &task.split("test").unwrap().data).unwrap().loss;
        assert!((found.value.values[8] - expected).abs() < 1e-9);
        for (settings, message) in [
            (json!({"keep": [0.0]}), "`keep` is 0; expected a share above 0"),
            (json!({"keep": []}), "`keep` is empty"),
            (json!({"except": ["layer"]}), "`except` is layer"),
            (json!({"except": ["layers"]}), "no weight would be left out"),
        ] {
            let settings: MaskOverlapSettings = from_value(settings).unwrap();
            let error = settings.build(&subject).err().unwrap().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
