//! Whether a checkpoint and its partner are the same network but for the order of their units: weight matching and the barrier
//! between them.

use ontogeny_zoo::{UnitGroup, unit_groups};
use serde::{Deserialize, Serialize};

use crate::matching::match_weights;
use crate::mode_connectivity::{EXAMPLES, Line, POINTS, barrier, excess};
use crate::{Checkpoint, Findings, Instrument, Measured, ObserveError, Partner, Settings, Subject};

/// Version of the numbers.
pub(crate) const WEIGHT_MATCHING_VERSION: u32 = 1;

/// Settings of `observable = "weight_matching"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WeightMatchingSettings {
    /// The checkpoint whose units are put in order, most often that of another run.
    pub with: Partner,
    /// Points of the line on which the barrier is looked for, both ends among them; at least 3.
    pub points: usize,
    /// Split of the task; `test` unless given, or else `train`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Examples of the split, evenly spaced; fewer where it has fewer.
    pub examples: usize,
}

impl Default for WeightMatchingSettings {
    fn default() -> Self {
        Self { with: Partner::default(), points: POINTS, split: None, examples: EXAMPLES }
    }
}

/// The partner as it is, and with its units in their new order.
const ORDERS: [&str; 2] = ["as_is", "matched"];

/// Scores of each order, in the order of the array.
const SCORES: [&str; 4] = ["barrier", "excess", "distance", "in_place"];

const NAME: &str = "weight_matching";

impl Settings for WeightMatchingSettings {
    fn build(&self, subject: &Subject<'_>) -> Result<Box<dyn Instrument>, ObserveError> {
        let groups = unit_groups(subject.model);
        if groups.is_empty() {
            return Err(ObserveError::NotDefined {
                observable: NAME,
                needs: "hidden units that can change places, of a network written as `[network]`".to_owned(),
                found: "none that are known".to_owned(),
            });
        }
        let line = Line::new(subject, self.points, self.split.as_deref(), self.examples, NAME)?;
        Ok(Box::new(WeightMatching { line, groups, seed: subject.seed }))
    }

    fn partner(&self) -> Option<&Partner> {
        Some(&self.with)
    }
}

#[derive(Debug)]
struct WeightMatching {
    line: Line,
    groups: Vec<UnitGroup>,
    seed: u32,
}

impl Instrument for WeightMatching {
    fn dims(&self) -> Vec<(&'static str, Vec<String>)> {
        vec![("order", ORDERS.map(str::to_owned).to_vec()), ("score", SCORES.map(str::to_owned).to_vec())]
    }

    fn measure(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Findings, ObserveError> {
        let weights = checkpoint.weights;
        let partner = checkpoint.partner.unwrap_or(weights);
        let found = match_weights(&self.groups, weights, partner, self.seed, checkpoint)?;
        let before = self.line.evaluate(weights, partner, checkpoint, (0.0, 0.5))?;
        let after = self.line.evaluate(weights, &found.weights, checkpoint, (0.5, 1.0))?;
        let is_fixed = |order: &Vec<usize>| order.iter().enumerate().filter(|(place, unit)| place == *unit).count();
        let n_units: usize = found.orders.iter().map(Vec::len).sum();
        let fixed: usize = found.orders.iter().map(is_fixed).sum();
        let values = vec![
            barrier(&before),
            excess(&before),
            distance(weights, partner),
            fixed as f64 / n_units as f64,
            barrier(&after),
            excess(&after),
            distance(weights, &found.weights),
            1.0,
        ];
        let labels =
            self.groups.iter().flat_map(|group| (0..group.n_units).map(move |unit| format!("{}.{unit}", group.name)));
        let units = Measured {
            unit: "1",
            dims: vec![("unit", labels.collect())],
            values: found.orders.concat().into_iter().map(|unit| unit as f64).collect(),
        };
        let losses = |curve: &[crate::Evaluation]| curve.iter().map(|e| e.loss).collect();
        let curves = vec![(ORDERS[0].to_owned(), losses(&before)), (ORDERS[1].to_owned(), losses(&after))];
        Ok(Findings {
            value: Measured { unit: "1", dims: self.dims(), values },
            standard_errors: None,
            arrays: vec![("line", self.line.array("order", curves)), ("matched_unit", units)],
            details: vec![("passes", (found.objectives.len() - 1) as f64)],
            refusal: None,
        })
    }
}

/// ‖a − b‖ by the root mean square of both lengths: √2 of unrelated weights, 0 of equal ones.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    let (mut apart, mut squares) = (0.0, 0.0);
    for (&a, &b) in a.iter().zip(b) {
        let (a, b) = (f64::from(a), f64::from(b));
        apart += (a - b) * (a - b);
        squares += f64::midpoint(a * a, b * b);
    }
    if squares > 0.0 { (apart / squares).sqrt() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ontogeny_graph::{Purpose, Stream};
    use ontogeny_zoo::{Model, NetworkConfig, TaskConfig};
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn a_permuted_copy_has_no_barrier_once_it_is_matched() {
        let task: TaskConfig = from_value(json!({ "kind": "images", "train_fraction": 0.6 })).unwrap();
        let network: NetworkConfig =
            from_value(json!({"kind": "mlp", "sizes": [64, 32, 24, 10], "activation": "relu"})).unwrap();
        let task = task.prepare(3, Path::new(".")).unwrap();
        let model = Model::new(network, task.interface).unwrap();
        let subject = Subject { model: &model, task: &task, seed: 1 };
        let mut instrument = WeightMatchingSettings::default().build(&subject).unwrap();
        // Larger weights than at the start, so that the order matters for the loss.
        let weights: Vec<f32> = model.initial_weights(1).iter().map(|w| 3.0 * w).collect();
        let mut copy = weights.clone();
        for (at, group) in unit_groups(&model).iter().enumerate() {
            group.reorder(&Stream::new(1, Purpose::Probe, at as u64).permutation(group.n_units, 0), &mut copy);
        }
        let mut measure = |partner: &[f32]| {
            instrument.measure(&Checkpoint { partner: Some(partner), ..Checkpoint::alone(&weights) }).unwrap()
        };
        let found = measure(&copy);
        let values = &found.value.values;
        assert!(values[2] > 1.0 && values[3] < 0.3, "{values:?}");
        assert_eq!(values[4..], [0.0, 0.0, 0.0, 1.0]);
        // Where each unit of the copy went.
        let order = &found.arrays[1].1.values;
        let expected = Stream::new(1, Purpose::Probe, 0).permutation(32, 0);
        assert!(expected.iter().enumerate().all(|(place, &unit)| order[unit] == place as f64));
        // Its function is that of the copy: the same loss at the end of both lines.
        let line = &found.arrays[0].1.values;
        assert!((line[24] - line[49]).abs() < 1e-6 && line[0] == line[25], "{line:?}");
        // Half-way between both orders lies another function.
        assert!((line[12] - line[0]).abs() > 0.01 && line[37] == line[25], "{line:?}");
        let own = measure(&weights);
        assert_eq!(own.value.values, [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
        let other = measure(&model.initial_weights(2));
        assert!(other.value.values[6] < other.value.values[2]);
    }
}
