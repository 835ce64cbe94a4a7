//! Modular addition by frequency: how much of the embedding lies at each, and how many neurons follow it.

use serde::{Deserialize, Serialize};

use crate::{Checkpoint, Findings, FourierMeasures, Instrument, Measured, ObserveError, Settings, Subject};

/// Version of the numbers.
pub(crate) const FREQUENCIES_VERSION: u32 = 1;

/// Settings of `observable = "frequencies"`: none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct FrequenciesSettings {}

/// What is told of each frequency, in the order of the array.
const QUANTITIES: [&str; 2] = ["embedding", "neurons"];

impl Settings for FrequenciesSettings {
    fn build(&self, subject: &Subject<'_>) -> Result<Box<dyn Instrument>, ObserveError> {
        let measures = FourierMeasures::new(subject.model, subject.task)?;
        let n_frequencies = measures.n_frequencies();
        Ok(Box::new(Frequencies { measures, n_frequencies }))
    }
}

struct Frequencies {
    measures: FourierMeasures,
    n_frequencies: usize,
}

impl Instrument for Frequencies {
    fn dims(&self) -> Vec<(&'static str, Vec<String>)> {
        let frequencies = (1..=self.n_frequencies).map(|k| k.to_string()).collect();
        vec![("quantity", QUANTITIES.map(str::to_owned).to_vec()), ("frequency", frequencies)]
    }

    fn measure(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Findings, ObserveError> {
        let found = self.measures.measure(checkpoint.weights)?;
        let squares: f64 = found.embedding_norms.iter().map(|norm| norm * norm).sum();
        // An embedding of zeros has no frequency.
        let share = |norm: &f64| if squares > 0.0 { norm * norm / squares } else { 0.0 };
        let mut values: Vec<f64> = found.embedding_norms.iter().map(share).collect();
        values.extend(found.n_key_neurons.iter().map(|n| *n as f64));
        Ok(Measured { unit: "1", dims: self.dims(), values }.into())
    }
}

#[cfg(test)]
mod tests {
    use ontogeny_zoo::TaskConfig;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_embedding_of_one_frequency_has_it_all() {
        let p = 11;
        let task: TaskConfig = serde_json::from_value(
            json!({"kind": "modular_arithmetic", "p": p, "operation": "add", "train_fraction": 0.5}),
        )
        .unwrap();
        let task = task.prepare(0, std::path::Path::new("")).unwrap();
        let network = serde_json::from_value(json!({
            "kind": "transformer", "layers": 1, "d_model": 8, "heads": 2, "d_mlp": 16, "activation": "relu",
            "normalization": "none", "positions": "learned"
        }))
        .unwrap();
        let model = ontogeny_zoo::Model::new(network, task.interface).unwrap();
        let mut weights = model.initial_weights(0);
        let range = model.space().find("embed.W_E").unwrap().range.clone();
        for (at, weight) in weights[range].iter_mut().enumerate() {
            let (residue, column) = (at / 8, at % 8);
            let angle = std::f64::consts::TAU * 3.0 * residue as f64 / f64::from(p) + column as f64;
            *weight = angle.cos() as f32;
        }
        let settings = FrequenciesSettings {};
        let mut instrument = settings.build(&Subject { model: &model, task: &task, seed: 0 }).unwrap();
        let found = instrument.measure(&Checkpoint::alone(&weights)).unwrap().value;
        assert_eq!(found.values.len(), 10);
        assert!((found.values[2] - 1.0).abs() < 1e-6, "{:?}", found.values);
        assert!((found.values[..5].iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(found.values[5..].iter().all(|n| *n >= 0.0 && *n <= 16.0));
    }
}
