//! `observable = "ablation"`: by how much the loss rises when a part is taken out.

use ontogeny_graph::{DataSet, Purpose, Stream};
use serde::{Deserialize, Serialize};

use super::{Component, Editor, Effect, Limits, Replacement, chosen_rows, is_over, order_of};
use crate::{Checkpoint, Findings, Instrument, Measured, ObserveError, Settings, Subject};

/// Version of the numbers of [`AblationSettings`].
pub const ABLATION_VERSION: u32 = 1;

/// Settings of `observable = "ablation"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AblationSettings {
    /// What stands in place of the part; `mean` unless given.
    pub by: AblateBy,
    /// Parts, one after another: labels such as `l0h2`, or `heads`, `mlps`, `neurons`; all heads and MLPs, or hidden layers,
    /// unless given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
    /// Whether all attention patterns stay what they are without the ablation: the pattern-preserving ablation of Olsson et al.
    /// (2022).
    pub freeze_patterns: bool,
    /// The split whose loss is looked at; unless given `even`, else `test`, else `train`, whichever the task has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Examples, evenly spaced over the split.
    pub examples: usize,
}

impl Default for AblationSettings {
    fn default() -> Self {
        Self { by: AblateBy::Mean, parts: Vec::new(), freeze_patterns: false, split: None, examples: 256 }
    }
}

/// What stands in place of an ablated activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AblateBy {
    /// 0.
    Zero,
    /// Its mean over the examples, at each position (Wang et al. 2023).
    Mean,
    /// That of another example, drawn without replacement (Chan et al. 2022).
    Resample,
}

impl Settings for AblationSettings {
    fn build(&self, subject: &Subject<'_>) -> Result<Box<dyn Instrument>, ObserveError> {
        let (split, rows) = chosen_rows(subject.task, self.split.as_deref(), self.examples)?;
        let parts = Component::chosen(subject.model, &self.parts)?;
        Ok(Box::new(Ablation::new(subject, parts, &split.data.rows(&rows), self.by, self.freeze_patterns)?))
    }
}

/// Takes parts out of a network, each alone.
#[derive(Debug)]
pub struct Ablation {
    editor: Editor,
    parts: Vec<Component>,
    by: AblateBy,
    /// Activations that are read: those of the parts, and then the patterns that are frozen.
    activations: Vec<String>,
    patterns: Vec<Component>,
    data: DataSet,
    /// The example that each is exchanged with.
    others: Vec<usize>,
    answer_weights: Option<Vec<f64>>,
    unit: &'static str,
}

impl Ablation {
    /// # Errors
    /// Parts that the network does not have, or patterns where it has no attention.
    pub fn new(
        subject: &Subject<'_>,
        parts: Vec<Component>,
        data: &DataSet,
        by: AblateBy,
        freeze_patterns: bool,
    ) -> Result<Self, ObserveError> {
        if data.len() < 2 && by != AblateBy::Zero {
            return Err(ObserveError::Setting(
                "1 example; expected at least 2, because the mean of one, and another one in its place, are itself"
                    .to_owned(),
            ));
        }
        let patterns = if freeze_patterns { super::patterns(subject.model)? } else { Vec::new() };
        let activations = super::activations(parts.iter().chain(&patterns));
        let editor = Editor::new(subject.model, &activations, data.len(), false)?;
        let others = others(subject.seed, data.len());
        let unit = subject.model.interface().loss_unit();
        Ok(Self { editor, parts, by, activations, patterns, data: data.clone(), others, answer_weights: None, unit })
    }

    /// Mean rise of the loss of the flat `weights` for each part, with its standard error over the examples; and the loss without
    /// ablation.
    ///
    /// # Errors
    /// Weights of another model, or numbers that are not finite.
    pub fn effects(&mut self, checkpoint: &Checkpoint<'_>) -> Result<(Vec<Effect>, f64), ObserveError> {
        let (samples, loss) = self.samples_within(checkpoint, None)?;
        Ok((samples.iter().filter_map(|samples| Effect::of(samples)).collect(), loss))
    }

    /// The loss is the sum of those of single answers with these weights, `[example, answers]`; without them it is the example's own.
    #[must_use]
    pub fn with_answer_weights(mut self, weights: Option<Vec<f64>>) -> Self {
        self.answer_weights = weights;
        self
    }

    /// The rise of each example's loss, `[part][example]`, within limits: of parts that were reached, and the examples that were;
    /// and the mean loss without ablation.
    ///
    /// # Errors
    /// As for [`Ablation::effects`].
    pub fn samples_within(
        &mut self,
        checkpoint: &Checkpoint<'_>,
        limits: Option<Limits<'_>>,
    ) -> Result<(Vec<Vec<f64>>, f64), ObserveError> {
        let order = order_of(limits, self.parts.len());
        let weights = checkpoint.weights;
        let n = self.data.len();
        let all: Vec<usize> = (0..n).collect();
        let means = match self.by {
            AblateBy::Mean => self.means(weights, &all)?,
            AblateBy::Zero | AblateBy::Resample => Vec::new(),
        };
        let mut changes = vec![Vec::with_capacity(n); self.parts.len()];
        let mut clean = Vec::with_capacity(n);
        for rows in all.chunks(self.editor.batch()) {
            let other = match self.by {
                AblateBy::Resample => {
                    let others: Vec<usize> = rows.iter().map(|&row| self.others[row]).collect();
                    self.read(weights, &others)?
                }
                AblateBy::Zero | AblateBy::Mean => Vec::new(),
            };
            self.editor.clear();
            self.editor.load(&self.data, rows)?;
            self.editor.run(weights)?;
            let losses: Vec<f64> = self.losses(rows);
            if losses.iter().any(|loss| !loss.is_finite()) {
                return Err(self.editor.non_finite(weights, "the losses"));
            }
            let patterns: Vec<Vec<f32>> =
                self.patterns.iter().map(|own| self.editor.activation(&own.activation).to_vec()).collect();
            for &at in &order {
                checkpoint.check_cancelled()?;
                if is_over(limits) {
                    break;
                }
                let (part, changes) = (&self.parts[at], &mut changes[at]);
                self.editor.clear();
                for (pattern, values) in self.patterns.iter().zip(&patterns) {
                    self.editor.replace(pattern, None, Replacement::Each(values));
                }
                let site = self.activations.iter().position(|own| *own == part.activation).unwrap_or_default();
                let with = match self.by {
                    AblateBy::Zero => Replacement::Zero,
                    AblateBy::Mean => Replacement::Same(&means[site]),
                    AblateBy::Resample => Replacement::Each(&other[site]),
                };
                self.editor.replace(part, None, with);
                self.editor.run(weights)?;
                let ablated = self.losses(rows);
                changes.extend(ablated.iter().zip(&losses).map(|(ablated, clean)| ablated - clean));
            }
            clean.extend(losses);
            if is_over(limits) {
                break;
            }
            (checkpoint.progress)(clean.len() as f64 / n as f64);
        }
        if changes.iter().flatten().any(|change| !change.is_finite()) {
            return Err(self.editor.non_finite(weights, "the loss of an ablated network"));
        }
        Ok((changes, clean.iter().sum::<f64>() / clean.len() as f64))
    }

    /// Examples that went forward so far, each run of an example counted.
    pub fn n_forward(&self) -> u64 {
        self.editor.n_forward()
    }

    fn losses(&self, rows: &[usize]) -> Vec<f64> {
        let Some(answer_weights) = &self.answer_weights else {
            return self.editor.losses()[..rows.len()].iter().map(|&loss| f64::from(loss)).collect();
        };
        let of_answers = self.editor.answer_losses();
        let width = of_answers.len() / self.editor.batch();
        let weighted = |(losses, &row): (&[f32], &usize)| {
            let own = &answer_weights[row * width..(row + 1) * width];
            losses.iter().zip(own).map(|(&loss, weight)| f64::from(loss) * weight).sum::<f64>()
        };
        of_answers.chunks_exact(width).zip(rows).map(weighted).collect()
    }

    /// The activations of examples.
    fn read(&mut self, weights: &[f32], rows: &[usize]) -> Result<Vec<Vec<f32>>, ObserveError> {
        self.editor.clear();
        self.editor.load(&self.data, rows)?;
        self.editor.run(weights)?;
        Ok(self.activations.iter().map(|name| self.editor.activation(name).to_vec()).collect())
    }

    /// The mean of every activation over the examples, element by element.
    fn means(&mut self, weights: &[f32], all: &[usize]) -> Result<Vec<Vec<f32>>, ObserveError> {
        let mut sums: Vec<Vec<f64>> = Vec::new();
        self.editor.clear();
        for rows in all.chunks(self.editor.batch()) {
            self.editor.load(&self.data, rows)?;
            self.editor.run(weights)?;
            for (site, name) in self.activations.iter().enumerate() {
                let values = self.editor.activation(name);
                let width = values.len() / self.editor.batch();
                if sums.len() == site {
                    sums.push(vec![0.0; width]);
                }
                for row in values.chunks_exact(width).take(rows.len()) {
                    sums[site].iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
                }
            }
        }
        let n = all.len() as f64;
        Ok(sums.into_iter().map(|sum| sum.into_iter().map(|x| (x / n) as f32).collect()).collect())
    }
}

impl Instrument for Ablation {
    fn dims(&self) -> Vec<(&'static str, Vec<String>)> {
        vec![("part", self.parts.iter().map(|part| part.label.clone()).collect())]
    }

    fn measure(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Findings, ObserveError> {
        let (effects, loss) = self.effects(checkpoint)?;
        let (values, errors) = effects.iter().map(|effect| (effect.mean, effect.standard_error)).unzip();
        Ok(Findings {
            value: Measured { unit: self.unit, dims: self.dims(), values },
            standard_errors: Some(errors),
            arrays: Vec::new(),
            details: vec![("loss", loss)],
            refusal: None,
        })
    }
}

/// For each example another one: its successor in a random cycle through all.
fn others(seed: u32, n: usize) -> Vec<usize> {
    let order = Stream::new(seed, Purpose::Probe, u64::MAX).permutation(n, 0);
    let mut others = vec![0; n];
    for (at, &example) in order.iter().enumerate() {
        others[example] = order[(at + 1) % n];
    }
    others
}
