//! `observable = "checkpoint_patching"`: how much of the difference in loss to another checkpoint comes with the activation of a part.

use std::collections::BTreeMap;

use ontogeny_graph::DataSet;
use ontogeny_zoo::Model;
use serde::{Deserialize, Serialize};

use super::{Component, Editor, Effect, Replacement, chosen_rows};
use crate::{Checkpoint, Findings, Instrument, Measured, ObserveError, Partner, Refusal, Settings, Subject};

/// Version of the numbers of [`CheckpointPatchingSettings`].
pub const CHECKPOINT_PATCHING_VERSION: u32 = 1;

/// Settings of `observable = "checkpoint_patching"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointPatchingSettings {
    /// The checkpoint whose activations are put into each one.
    pub with: Partner,
    /// Parts, one after another; all heads and MLPs, or hidden layers, unless given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
    /// The split whose loss is looked at; unless given `even`, else `test`, else `train`, whichever the task has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Examples, evenly spaced over the split; at least 2.
    pub examples: usize,
    /// Share of the difference that a small set of parts is to recover.
    pub recover: f64,
    /// Most parts of that set; 0 if none is to be looked for.
    pub largest_set: usize,
}

impl Default for CheckpointPatchingSettings {
    fn default() -> Self {
        Self { with: Partner::default(), parts: Vec::new(), split: None, examples: 256, recover: 0.9, largest_set: 16 }
    }
}

impl Settings for CheckpointPatchingSettings {
    fn build(&self, subject: &Subject<'_>) -> Result<Box<dyn Instrument>, ObserveError> {
        let (split, rows) = chosen_rows(subject.task, self.split.as_deref(), self.examples)?;
        let parts = Component::chosen(subject.model, &self.parts)?;
        let data = split.data.rows(&rows);
        Ok(Box::new(CheckpointPatching::new(subject.model, parts, data, self.recover, self.largest_set)?))
    }

    fn partner(&self) -> Option<&Partner> {
        Some(&self.with)
    }
}

/// Puts activations of one checkpoint into another one, on the same examples.
#[derive(Debug)]
pub struct CheckpointPatching {
    editor: Editor,
    parts: Vec<Component>,
    data: DataSet,
    recover: f64,
    largest_set: usize,
    unit: &'static str,
}

/// What the activations of a partner do to the loss of a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Recovered {
    /// Mean loss of the checkpoint.
    pub loss: f64,
    /// Loss of the partner less that of the checkpoint.
    pub difference: Effect,
    /// Change of the checkpoint's loss with the partner's activation, for each part alone.
    pub changes: Vec<Effect>,
    /// The same with those of all parts together.
    pub change_of_all: Effect,
    /// Shares of the difference and the small set; or why there are none.
    pub shares: Result<Shares, Refusal>,
}

/// Changes of the loss as shares of a difference.
#[derive(Debug, Clone, PartialEq)]
pub struct Shares {
    /// Of each part alone.
    pub parts: Vec<Effect>,
    /// Of all parts together.
    pub all: Effect,
    /// Parts by number, in the order in which a greedy search took them, with the share of all up to there. Empty if none was
    /// looked for.
    pub set: Vec<(usize, f64)>,
    /// Whether the set recovers what was asked for.
    pub is_enough: bool,
}

impl CheckpointPatching {
    /// A search for at most `largest_set` parts that together recover the share `recover`.
    ///
    /// # Errors
    /// Parts that the network does not have, fewer than two examples, or no share.
    pub fn new(
        model: &Model,
        parts: Vec<Component>,
        data: DataSet,
        recover: f64,
        largest_set: usize,
    ) -> Result<Self, ObserveError> {
        if data.len() < 2 {
            return Err(ObserveError::Setting(
                "1 example; expected at least 2, because a difference in loss is known by its standard error"
                    .to_owned(),
            ));
        }
        if !(recover > 0.0 && recover < 1.0) {
            return Err(ObserveError::Setting(format!(
                "`recover` is {recover}; expected a share above 0 and below 1, such as 0.9"
            )));
        }
        let editor = Editor::new(model, &super::activations(&parts), data.len(), false)?;
        Ok(Self { editor, parts, data, recover, largest_set, unit: model.interface().loss_unit() })
    }

    /// The change of the loss that each part of the partner makes, and shares of the difference to the partner's loss.
    ///
    /// # Errors
    /// Weights of another model, or numbers that are not finite.
    pub fn recovered(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Recovered, ObserveError> {
        let single = (0..self.parts.len()).map(|part| vec![part]);
        let sets: Vec<Vec<usize>> = [Vec::new(), (0..self.parts.len()).collect()].into_iter().chain(single).collect();
        let (of_partner, of_sets) = self.losses(checkpoint, &sets, (0.0, 0.5))?;
        let own = &of_sets[0];
        let difference = less(&of_partner, own);
        let changes: Vec<Vec<f64>> = of_sets[1..].iter().map(|losses| less(losses, own)).collect();
        let loss = own.iter().sum::<f64>() / own.len() as f64;
        let shares = match self.refusal(&difference, &of_partner, own, checkpoint) {
            Some(refusal) => Err(refusal),
            None => Ok(self.shares(checkpoint, &changes, &difference, own)?),
        };
        (checkpoint.progress)(1.0);
        let mut changes: Vec<Effect> = changes.iter().filter_map(|change| Effect::of(change)).collect();
        let change_of_all = changes.remove(0);
        let difference = Effect::of(&difference).expect("at least two examples");
        Ok(Recovered { loss, difference, changes, change_of_all, shares })
    }

    /// Why no share of the difference can be told, where that is so.
    fn refusal(
        &self,
        difference: &[f64],
        of_partner: &[f64],
        own: &[f64],
        checkpoint: &Checkpoint<'_>,
    ) -> Option<Refusal> {
        if checkpoint.partner.is_none_or(|partner| partner == checkpoint.weights) {
            let reason = "the partner has the same weights: there is no difference in loss to recover".to_owned();
            return Some(Refusal { verdict: NO_DIFFERENCE, reason });
        }
        let found = Effect::of(difference)?;
        // Losses are sums in 32 bits.
        let rounding = 4.0 * f64::from(f32::EPSILON) * mean_size(own).max(mean_size(of_partner));
        if found.mean.abs() > (ERRORS * found.standard_error).max(rounding) {
            return None;
        }
        let Effect { mean, standard_error, n } = found;
        let reason = format!(
            "the loss differs from the partner's by {mean:.2e} ± {standard_error:.1e} {} over {n} examples, not by more than \
             {ERRORS} standard errors: a share of it would be noise; take more `examples`, or a partner `with` another loss",
            self.unit
        );
        Some(Refusal { verdict: NO_DIFFERENCE, reason })
    }

    /// `changes` are those of all parts together, and then of each.
    fn shares(
        &mut self,
        checkpoint: &Checkpoint<'_>,
        changes: &[Vec<f64>],
        difference: &[f64],
        own: &[f64],
    ) -> Result<Shares, ObserveError> {
        let parts: Vec<Effect> = changes[1..].iter().map(|change| share(change, difference)).collect();
        let mut set: Vec<(usize, f64)> = Vec::new();
        let mut found: Vec<(usize, f64)> = parts.iter().map(|share| share.mean).enumerate().collect();
        if self.largest_set == 0 {
            found.clear();
        }
        // The first of equals.
        while let Some(best) = found.iter().copied().reduce(|best, next| if next.1 > best.1 { next } else { best }) {
            set.push(best);
            if best.1 >= self.recover || set.len() == self.largest_set {
                break;
            }
            let taken: Vec<usize> = set.iter().map(|&(part, _)| part).collect();
            let rest: Vec<usize> = (0..self.parts.len()).filter(|part| !taken.contains(part)).collect();
            let sets: Vec<Vec<usize>> = rest.iter().map(|&part| [&taken[..], &[part]].concat()).collect();
            // How many rounds there will be, nobody knows: the bar stays in its second half.
            let (_, losses) = self.losses(checkpoint, &sets, (0.5, 1.0))?;
            let share_of = |losses: &Vec<f64>| share(&less(losses, own), difference).mean;
            found = rest.into_iter().zip(losses.iter().map(share_of)).collect();
        }
        let is_enough = set.last().is_some_and(|&(_, share)| share >= self.recover);
        Ok(Shares { parts, all: share(&changes[0], difference), set, is_enough })
    }

    /// The loss of each example: of the partner, and of the checkpoint with the partner's activations at each set of parts. The
    /// progress told runs over `share`.
    fn losses(
        &mut self,
        checkpoint: &Checkpoint<'_>,
        sets: &[Vec<usize>],
        share: (f64, f64),
    ) -> Result<(Vec<f64>, Vec<Vec<f64>>), ObserveError> {
        let partner = checkpoint.partner.unwrap_or(checkpoint.weights);
        let n = self.data.len();
        let all: Vec<usize> = (0..n).collect();
        let mut of_partner = Vec::with_capacity(n);
        let mut of_sets = vec![Vec::with_capacity(n); sets.len()];
        for rows in all.chunks(self.editor.batch()) {
            self.editor.load(&self.data, rows)?;
            self.editor.clear();
            of_partner.extend(self.run(partner, rows.len(), "the losses of the partner")?);
            let read = |name: &String| (name.clone(), self.editor.activation(name).to_vec());
            let activations: BTreeMap<String, Vec<f32>> = self.editor.activations().map(read).collect();
            for (set, losses) in sets.iter().zip(&mut of_sets) {
                checkpoint.check_cancelled()?;
                self.editor.clear();
                for part in set.iter().map(|&part| &self.parts[part]) {
                    self.editor.replace(part, None, Replacement::Each(&activations[&part.activation]));
                }
                losses.extend(self.run(checkpoint.weights, rows.len(), "the loss with activations of the partner")?);
            }
            (checkpoint.progress)(share.0 + (share.1 - share.0) * of_partner.len() as f64 / n as f64);
        }
        Ok((of_partner, of_sets))
    }

    fn run(&mut self, weights: &[f32], n: usize, what: &str) -> Result<Vec<f64>, ObserveError> {
        self.editor.run(weights)?;
        let losses: Vec<f64> = self.editor.losses()[..n].iter().map(|&loss| f64::from(loss)).collect();
        if losses.iter().all(|loss| loss.is_finite()) { Ok(losses) } else { Err(self.editor.non_finite(weights, what)) }
    }
}

/// A difference of fewer standard errors is not told from none: the interval of a share of it would not end (Fieller 1954).
const ERRORS: f64 = 2.0;

const NO_DIFFERENCE: &str = "no difference";

fn less(losses: &[f64], own: &[f64]) -> Vec<f64> {
    losses.iter().zip(own).map(|(a, b)| a - b).collect()
}

fn mean_size(losses: &[f64]) -> f64 {
    losses.iter().map(|loss| loss.abs()).sum::<f64>() / losses.len() as f64
}

/// Mean change over mean difference, with the standard error of a ratio of means (Cochran 1977, §6.4): 0 where every example changes by
/// the same share.
fn share(change: &[f64], difference: &[f64]) -> Effect {
    let n = change.len() as f64;
    let of_difference = difference.iter().sum::<f64>() / n;
    let mean = change.iter().sum::<f64>() / n / of_difference;
    let squares: f64 = change.iter().zip(difference).map(|(c, d)| (c - mean * d).powi(2)).sum();
    let standard_error = (squares / (n - 1.0) / n).sqrt() / of_difference.abs();
    Effect { mean, standard_error, n: change.len() }
}

impl Instrument for CheckpointPatching {
    fn dims(&self) -> Vec<(&'static str, Vec<String>)> {
        vec![("part", self.parts.iter().map(|part| part.label.clone()).collect())]
    }

    fn measure(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Findings, ObserveError> {
        let found = self.recovered(checkpoint)?;
        let n = self.parts.len();
        let along_parts = |unit, values| Measured { unit, dims: self.dims(), values };
        let changes = found.changes.iter().map(|change| change.mean).collect();
        let errors = found.changes.iter().map(|change| change.standard_error).collect();
        let mut arrays =
            vec![("change", along_parts(self.unit, changes)), ("change_error", along_parts(self.unit, errors))];
        let mut details = vec![
            ("loss", found.loss),
            ("loss_of_partner", found.loss + found.difference.mean),
            ("difference", found.difference.mean),
            ("difference_error", found.difference.standard_error),
            ("change_of_all", found.change_of_all.mean),
        ];
        let (values, errors, refusal) = match found.shares {
            Err(refusal) => (vec![f64::NAN; n], vec![f64::NAN; n], Some(refusal)),
            Ok(shares) => {
                let mut places = vec![0.0; n];
                for (place, &(part, _)) in shares.set.iter().enumerate() {
                    places[part] = (place + 1) as f64;
                }
                arrays.push(("place_in_set", along_parts("1", places)));
                details.push(("share_of_all", shares.all.mean));
                if let Some(&(_, share)) = shares.set.last() {
                    details.push(("share_of_set", share));
                    details.push(("smallest_set", if shares.is_enough { shares.set.len() as f64 } else { f64::NAN }));
                }
                let (values, errors) = shares.parts.iter().map(|share| (share.mean, share.standard_error)).unzip();
                (values, errors, None)
            }
        };
        Ok(Findings { value: along_parts("1", values), standard_errors: Some(errors), arrays, details, refusal })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_by_hand() {
        let whole = share(&[2.0, 4.0], &[2.0, 4.0]);
        assert_eq!((whole.mean, whole.standard_error), (1.0, 0.0));
        let half = share(&[-1.0, -2.0, -3.0], &[-2.0, -4.0, -6.0]);
        assert_eq!((half.mean, half.standard_error, half.n), (0.5, 0.0, 3));
        // 4/6, residuals −1/3 and 1/3: √(2/9 / 2) = 1/3, over the mean difference 3.
        let uneven = share(&[1.0, 3.0], &[2.0, 4.0]);
        assert!((uneven.mean - 2.0 / 3.0).abs() < 1e-15 && (uneven.standard_error - 1.0 / 9.0).abs() < 1e-15);
    }
}
