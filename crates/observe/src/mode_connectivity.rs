//! The loss along the straight line between a checkpoint and its partner.

use ontogeny_graph::DataSet;
use ontogeny_zoo::Interface;
use serde::{Deserialize, Serialize};

use crate::evaluate::n_classes;
use crate::samples::{split_of, spread};
use crate::{
    Checkpoint, Evaluation, Evaluator, Findings, Instrument, Measured, ObserveError, Partner, Settings, Subject,
};

/// Version of the numbers.
pub(crate) const MODE_CONNECTIVITY_VERSION: u32 = 1;

/// Most places on the line.
const MOST_POINTS: usize = 10_000;

/// Settings of `observable = "mode_connectivity"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModeConnectivitySettings {
    /// The other end of the line.
    pub with: Partner,
    /// Points of the line, both ends among them; at least 3.
    pub points: usize,
    /// Split of the task; `test` unless given, or else `train`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Examples of the split, evenly spaced; fewer where it has fewer.
    pub examples: usize,
}

impl Default for ModeConnectivitySettings {
    fn default() -> Self {
        Self { with: Partner::default(), points: POINTS, split: None, examples: EXAMPLES }
    }
}

/// Points of a line: those of Ainsworth et al. 2022.
pub(crate) const POINTS: usize = 25;

/// Examples at each of them.
pub(crate) const EXAMPLES: usize = 2000;

const NAME: &str = "mode_connectivity";

impl Settings for ModeConnectivitySettings {
    fn build(&self, subject: &Subject<'_>) -> Result<Box<dyn Instrument>, ObserveError> {
        let line = Line::new(subject, self.points, self.split.as_deref(), self.examples, NAME)?;
        Ok(Box::new(ModeConnectivity { line }))
    }

    fn partner(&self) -> Option<&Partner> {
        Some(&self.with)
    }
}

#[derive(Debug)]
struct ModeConnectivity {
    line: Line,
}

impl Instrument for ModeConnectivity {
    fn dims(&self) -> Vec<(&'static str, Vec<String>)> {
        let scores: &[&str] =
            if self.line.has_classes { &["barrier", "excess", "accuracy_drop"] } else { &["barrier", "excess"] };
        vec![("score", scores.iter().map(|&score| score.to_owned()).collect())]
    }

    fn measure(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Findings, ObserveError> {
        let partner = checkpoint.partner.unwrap_or(checkpoint.weights);
        let curve = self.line.evaluate(checkpoint.weights, partner, checkpoint, (0.0, 1.0))?;
        let mut values = vec![barrier(&curve), excess(&curve)];
        if self.line.has_classes {
            values.push(accuracy_drop(&curve));
        }
        let mut names = vec![("loss".to_owned(), curve.iter().map(|e| e.loss).collect::<Vec<f64>>())];
        if self.line.has_classes {
            names.push(("accuracy".to_owned(), curve.iter().filter_map(|e| e.accuracy).collect()));
        }
        Ok(Findings {
            value: Measured { unit: "1", dims: self.dims(), values },
            standard_errors: None,
            arrays: vec![("line", self.line.array("score", names))],
            details: Vec::new(),
            refusal: None,
        })
    }
}

/// Points between two sets of weights, and the examples that they are evaluated on.
#[derive(Debug)]
pub(crate) struct Line {
    evaluator: Evaluator,
    data: DataSet,
    points: usize,
    interface: Interface,
    pub(crate) has_classes: bool,
}

impl Line {
    pub(crate) fn new(
        subject: &Subject<'_>,
        points: usize,
        split: Option<&str>,
        examples: usize,
        observable: &'static str,
    ) -> Result<Self, ObserveError> {
        if !(3..=MOST_POINTS).contains(&points) || examples == 0 {
            let message = format!(
                "`points` is {points} and `examples` is {examples}; expected 3 to {MOST_POINTS} points, both ends among them, and 1 example"
            );
            return Err(ObserveError::Setting(message));
        }
        let data = spread(split_of(subject.task, split, observable)?, examples);
        let interface = subject.model.interface();
        let evaluator = Evaluator::new(subject.model)?;
        // Numbers may stand for classes in one split and not in another: only what is one of several by its kind counts.
        Ok(Self { evaluator, data, points, interface, has_classes: n_classes(interface).is_some() })
    }

    /// Loss and accuracy at (1 − α)·from + α·to, α from 0 to 1. The progress told runs over `share`.
    pub(crate) fn evaluate(
        &mut self,
        from: &[f32],
        to: &[f32],
        checkpoint: &Checkpoint<'_>,
        share: (f64, f64),
    ) -> Result<Vec<Evaluation>, ObserveError> {
        let mut found = Vec::with_capacity(self.points);
        for at in 0..self.points {
            checkpoint.check_cancelled()?;
            let alpha = self.alpha(at);
            // In f64, so that equal ends give the same weights at every point.
            let mix = |(&a, &b): (&f32, &f32)| (f64::from(a) + alpha * (f64::from(b) - f64::from(a))) as f32;
            let between: Vec<f32> = from.iter().zip(to).map(mix).collect();
            found.push(self.evaluator.evaluate(&between, &self.data)?);
            (checkpoint.progress)(share.0 + (share.1 - share.0) * (at + 1) as f64 / self.points as f64);
        }
        Ok(found)
    }

    fn alpha(&self, at: usize) -> f64 {
        at as f64 / (self.points - 1) as f64
    }

    /// Curves over α, one after another along `dim`.
    pub(crate) fn array(&self, dim: &'static str, curves: Vec<(String, Vec<f64>)>) -> Measured {
        let alphas = (0..self.points).map(|at| format!("{:.4}", self.alpha(at))).collect();
        let (names, curves): (Vec<String>, Vec<Vec<f64>>) = curves.into_iter().unzip();
        Measured {
            unit: self.interface.loss_unit(),
            dims: vec![(dim, names), ("alpha", alphas)],
            values: curves.concat(),
        }
    }
}

/// max L − ½(L_A + L_B) (Ainsworth et al. 2022, definition 2.1). Of ends with different losses it is at least half of the
/// difference, without any hill between them.
pub(crate) fn barrier(curve: &[Evaluation]) -> f64 {
    let ends = f64::midpoint(curve[0].loss, curve[curve.len() - 1].loss);
    curve.iter().map(|e| e.loss).fold(f64::NEG_INFINITY, f64::max) - ends
}

/// The most by which the loss is above the straight line between its values at the ends (Entezari et al. 2022): 0 without a hill.
pub(crate) fn excess(curve: &[Evaluation]) -> f64 {
    above_chord(&curve.iter().map(|e| e.loss).collect::<Vec<f64>>())
}

/// The most by which the accuracy is below the straight line between its values at the ends.
fn accuracy_drop(curve: &[Evaluation]) -> f64 {
    above_chord(&curve.iter().map(|e| -e.accuracy.unwrap_or(0.0)).collect::<Vec<f64>>())
}

fn above_chord(values: &[f64]) -> f64 {
    let (first, last) = (values[0], values[values.len() - 1]);
    let chord = |at: usize| first + (last - first) * at as f64 / (values.len() - 1) as f64;
    let most = values.iter().enumerate().map(|(at, v)| v - chord(at)).fold(0.0, f64::max);
    let scale = values.iter().fold(0.0_f64, |most, v| most.max(v.abs()));
    // The chord itself is rounded.
    if most <= 4.0 * f64::EPSILON * scale { 0.0 } else { most }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ontogeny_zoo::{Model, NetworkConfig, TaskConfig};
    use serde_json::{from_value, json};

    use super::*;

    fn of(losses: &[f64]) -> Vec<Evaluation> {
        losses.iter().map(|&loss| Evaluation { loss, accuracy: Some(1.0 - loss / 10.0) }).collect()
    }

    #[test]
    fn barriers_by_hand() {
        let hill = of(&[1.0, 2.0, 4.0, 2.5, 0.0]);
        // Ends 1 and 0; the chord at ½ is ½.
        assert_eq!((barrier(&hill), excess(&hill)), (3.5, 3.5));
        assert!((accuracy_drop(&hill) - 0.35).abs() < 1e-12);
        let slope = of(&[4.0, 3.0, 2.0, 1.0, 0.0]);
        assert_eq!((barrier(&slope), excess(&slope), accuracy_drop(&slope)), (2.0, 0.0, 0.0));
        let valley = of(&[1.0, 0.0, 1.0]);
        assert_eq!((barrier(&valley), excess(&valley)), (0.0, 0.0));
    }

    /// A linear network of one layer has a convex loss: no hill on any line. With two there is one between (w, v) and (−w, −v): the
    /// middle is 0.
    #[test]
    fn convex_losses_have_no_hill_and_mirrored_networks_have_the_loss_of_zero() {
        let task: TaskConfig = from_value(json!({
            "kind": "deep_linear", "inputs": 4, "outputs": 3, "rank": 2, "train_examples": 60, "held_examples": 40,
        }))
        .unwrap();
        let task = task.prepare(3, Path::new(".")).unwrap();
        let Interface::Vectors { inputs, outputs, .. } = task.interface else { panic!("vectors") };
        let model = |sizes: Vec<usize>| {
            let network: NetworkConfig =
                from_value(json!({"kind": "mlp", "sizes": sizes, "activation": "identity", "biases": false})).unwrap();
            Model::new(network, task.interface).unwrap()
        };
        let shallow = model(vec![inputs, outputs]);
        let subject = Subject { model: &shallow, task: &task, seed: 0 };
        let mut line = ModeConnectivitySettings::default().build(&subject).unwrap();
        let (a, b) = (shallow.initial_weights(1), shallow.initial_weights(2));
        let found = line.measure(&Checkpoint { partner: Some(&b), ..Checkpoint::alone(&a) }).unwrap();
        // Losses are f32 sums: an excess of 0 to their rounding.
        assert!(found.value.values[1] < 1e-6, "{found:?}");
        let own = line.measure(&Checkpoint { partner: Some(&a), ..Checkpoint::alone(&a) }).unwrap();
        assert!(own.value.values.iter().all(|v| *v == 0.0), "{own:?}");

        let deep = model(vec![inputs, 5, outputs]);
        let subject = Subject { model: &deep, task: &task, seed: 0 };
        let a: Vec<f32> = deep.initial_weights(1);
        let mirrored: Vec<f32> = a.iter().map(|w| -w).collect();
        let settings = ModeConnectivitySettings { points: 5, ..ModeConnectivitySettings::default() };
        let mut line = settings.build(&subject).unwrap();
        let found = line.measure(&Checkpoint { partner: Some(&mirrored), ..Checkpoint::alone(&a) }).unwrap();
        let curve = &found.arrays[0].1;
        let zero = Evaluator::new(&deep)
            .unwrap()
            .evaluate(&vec![0.0; a.len()], &spread(task.split("test").or(task.split("train")).unwrap(), 2000));
        assert!((curve.values[2] - zero.unwrap().loss).abs() < 1e-6);
        assert!((curve.values[0] - curve.values[4]).abs() < 1e-6);
        let few = ModeConnectivitySettings { points: 2, ..ModeConnectivitySettings::default() };
        assert!(few.build(&subject).err().unwrap().to_string().contains("`points` is 2"));
    }
}
