//! Weights of a perceptron from one of whose layers a property is erased: the map of its activations, folded into a layer.

use ontogeny_graph::{Purpose, Stream};
use ontogeny_stats::{Eraser, Matrix};
use ontogeny_zoo::Model;
use serde::{Deserialize, Serialize};

use crate::activations::ActivationReader;
use crate::erasure::ErasureMethod;
use crate::linear_probe::SAMPLES;
use crate::probe_labels::{Labelled, ProbeTarget};
use crate::samples::split_of;
use crate::{Checkpoint, ObserveError, Subject};

/// `erase = { place = "layers.0.hook_pre" }` in `[start]`: what a linear probe could read of the target there is taken away, for good
/// as long as the layer is held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EraseConfig {
    /// `layers.N.hook_pre`, whose map goes into layer N, or `layers.N.hook_post`, whose map goes into layer N + 1.
    pub place: String,
    /// What is erased: a class of each sample.
    #[serde(default)]
    pub target: ProbeTarget,
    /// How.
    #[serde(default)]
    pub method: ErasureMethod,
    /// Split of the task that the map is fitted to; `train` unless given.
    #[serde(default = "train")]
    pub split: String,
    /// Examples of it.
    #[serde(default = "samples")]
    pub samples: usize,
    /// A seed: in place of the target as many random linear features of the activations are erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random: Option<u32>,
}

fn train() -> String {
    "train".to_owned()
}

fn samples() -> usize {
    SAMPLES
}

const NAME: &str = "start.erase";

/// Number of the random stream.
const STREAM: u64 = (1 << 40) + 3;

impl EraseConfig {
    /// The `weights` of a network whose activation at the place is what is left of that of `weights`, on every input.
    ///
    /// # Errors
    /// A place that no layer can take the map of, or a target that the task does not have there.
    pub fn erase(&self, subject: &Subject<'_>, weights: &[f32]) -> Result<Vec<f32>, ObserveError> {
        let into = self.layer(subject.model)?;
        if self.target == ProbeTarget::Board {
            let message = "`start.erase.target` is \"board\"; expected a single class of each sample, such as \"label\" or \"subtask\"";
            return Err(ObserveError::Setting(message.to_owned()));
        }
        let split = split_of(subject.task, Some(&self.split), NAME)?;
        let labelled = Labelled::choose(subject, split, self.samples, self.target, NAME)?;
        let places = std::slice::from_ref(&self.place);
        let mut reader = ActivationReader::new(subject.model, places, split, &labelled.samples, NAME)?;
        let x = reader.read(weights, &Checkpoint::alone(weights))?.remove(0);
        let question = &labelled.questions[0];
        let mut eraser = self.method.fit(&x, &Matrix::one_hot(&question.labels, question.n_classes))?;
        if eraser.rank() == 0 {
            return Err(ObserveError::NotDefined {
                observable: NAME,
                needs: "samples of several classes that activations at `place` tell apart; choose another `target`, `split` or `place`"
                    .to_owned(),
                found: format!("nothing to erase at `{}`", self.place),
            });
        }
        if let Some(seed) = self.random {
            let mut drawn = vec![0.0; x.n_columns() * eraser.rank()];
            Stream::new(seed, Purpose::Probe, STREAM).normals(0, 0, &mut drawn);
            let drawn = drawn.into_iter().map(f64::from).collect();
            eraser = self.method.fit(&x, &x.product(&Matrix::new(x.n_columns(), eraser.rank(), drawn)?))?;
        }
        Ok(fold(subject.model, weights, &into, &eraser))
    }

    fn layer(&self, model: &Model) -> Result<Fold, ObserveError> {
        let place = self.place.strip_prefix("layers.").and_then(|rest| rest.split_once(".hook_"));
        let found = place.and_then(|(layer, hook)| {
            let layer: usize = layer.parse().ok()?;
            match hook {
                "pre" => Some(Fold { layer, side: Side::Written }),
                "post" => Some(Fold { layer: layer.checked_add(1)?, side: Side::Read }),
                _ => None,
            }
        });
        let has = |fold: &Fold| ["W", "b"].iter().all(|kind| model.space().find(&fold.param(kind)).is_ok());
        found.filter(has).ok_or_else(|| ObserveError::NotDefined {
            observable: NAME,
            needs: "a `place` of a perceptron with biases, layers.N.hook_pre or layers.N.hook_post, where a layer can take the map"
                .to_owned(),
            found: format!("`{}`", self.place),
        })
    }
}

/// The layer that takes the map, and on which side of it the activation is.
struct Fold {
    layer: usize,
    side: Side,
}

enum Side {
    Written,
    Read,
}

impl Fold {
    fn param(&self, kind: &str) -> String {
        format!("layers.{}.{kind}", self.layer)
    }
}

/// With Q = left·right, what is left of h is (1 − Q)h + Qx̄. Of h = xW + b that is x·W(1 − Q)ᵀ + (1 − Q)b + Qx̄; what reads it
/// with hV + c reads h·(1 − Q)ᵀV + Vᵀ(Qx̄) + c.
fn fold(model: &Model, weights: &[f32], into: &Fold, eraser: &Eraser) -> Vec<f32> {
    let d = eraser.mean.len();
    let removed = eraser.removed();
    let q = |i: usize, j: usize| if eraser.rank() == 0 { 0.0 } else { removed.row(i)[j] };
    let left = |h: &[f64], i: usize| h[i] - (0..d).map(|j| q(i, j) * h[j]).sum::<f64>();
    let stays: Vec<f64> = (0..d).map(|i| (0..d).map(|j| q(i, j) * eraser.mean[j]).sum()).collect();
    let [w, b] = ["W", "b"].map(|kind| model.space().find(&into.param(kind)).map_or(0..0, |param| param.range.clone()));
    let of =
        |range: &std::ops::Range<usize>| weights[range.clone()].iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
    let (own, bias) = (of(&w), of(&b));
    let mut erased = weights.to_vec();
    match into.side {
        Side::Written => {
            for (row, h) in own.chunks_exact(d).enumerate() {
                (0..d).for_each(|i| erased[w.start + row * d + i] = left(h, i) as f32);
            }
            (0..d).for_each(|i| erased[b.start + i] = (left(&bias, i) + stays[i]) as f32);
        }
        Side::Read => {
            let outputs = bias.len();
            for output in 0..outputs {
                let column: Vec<f64> = (0..d).map(|i| own[i * outputs + output]).collect();
                for j in 0..d {
                    let less: f64 = (0..d).map(|i| q(i, j) * column[i]).sum();
                    erased[w.start + j * outputs + output] = (column[j] - less) as f32;
                }
                let shift: f64 = column.iter().zip(&stays).map(|(v, s)| v * s).sum();
                erased[b.start + output] = (bias[output] + shift) as f32;
            }
        }
    }
    erased
}
