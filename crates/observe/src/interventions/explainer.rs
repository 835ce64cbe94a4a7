//! What speaks for each part of a network as the cause of an answer: patching both ways, attribution, and direct shares.

use std::time::Instant;

use ontogeny_zoo::Model;

use super::{Component, Effect, Limits, LogitAttribution, Pairs, PatchInto, Patching};
use crate::{Checkpoint, ObserveError};

/// The evidence for one part. All are in logits of the difference between the right and the wrong answer; `None` where time was
/// over, or where it is not defined.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct Evidence {
    /// What the clean run loses when the part is that of the corrupted run: how far it is needed.
    pub needed: Option<Effect>,
    /// What the corrupted run wins when the part is that of the clean run: how far it suffices.
    pub suffices: Option<Effect>,
    /// `needed` to first order, from one gradient.
    pub attribution: Option<Effect>,
    /// What it writes itself into the difference.
    pub direct: Option<Effect>,
}

/// Everything that is asked of each part, compiled once for all checkpoints.
#[derive(Debug)]
pub struct Explainer {
    attribution: Patching,
    noise: Patching,
    denoise: Patching,
    direct: Option<LogitAttribution>,
    parts: Vec<Component>,
    n_pairs: usize,
    n_gradients: u64,
}

impl Explainer {
    /// # Errors
    /// Parts that the network does not have.
    pub fn new(model: &Model, parts: &[Component], pairs: &Pairs) -> Result<Self, ObserveError> {
        let patching = |into| Patching::activations(model, parts.to_vec(), pairs.clone(), into);
        Ok(Self {
            attribution: Patching::attribution(model, parts.to_vec(), pairs.clone(), PatchInto::Clean)?,
            noise: patching(PatchInto::Clean)?,
            denoise: patching(PatchInto::Corrupted)?,
            // A network without a residual stream has no shares.
            direct: LogitAttribution::new(model, pairs.clone()).ok(),
            parts: parts.to_vec(),
            n_pairs: pairs.len(),
            n_gradients: 0,
        })
    }

    /// The evidence for each part at one checkpoint, and the differences of logits of the clean and the corrupted runs. The
    /// first-order effects come first; the exact ones follow in the order of their sizes, until time is over.
    ///
    /// # Errors
    /// Weights of another model, numbers that are not finite, or a cancellation.
    pub fn evidence(
        &mut self,
        checkpoint: &Checkpoint<'_>,
        until: Instant,
    ) -> Result<(Vec<Evidence>, f64, f64), ObserveError> {
        let (first, base) = self.attribution.effects(checkpoint)?;
        self.n_gradients += self.n_pairs as u64;
        let mut order: Vec<usize> = (0..self.parts.len()).collect();
        order.sort_by(|&a, &b| first[b].mean.abs().total_cmp(&first[a].mean.abs()).then(a.cmp(&b)));
        let limits = Some(Limits { order: &order, until });
        let (needed, _) = self.noise.effects_within(checkpoint, limits)?;
        let (suffices, _) = self.denoise.effects_within(checkpoint, limits)?;
        let mut found: Vec<Evidence> = (0..self.parts.len())
            .map(|at| Evidence {
                needed: needed[at],
                suffices: suffices[at],
                attribution: Some(first[at]),
                direct: None,
            })
            .collect();
        if let Some(direct) = &mut self.direct {
            let (shares, _) = direct.shares(checkpoint.weights)?;
            for (part, evidence) in self.parts.iter().zip(&mut found) {
                let at = direct.labels().iter().position(|label| *label == part.label);
                evidence.direct = at.and_then(|at| Effect::of(&shares[at]));
            }
        }
        Ok((found, base.clean, base.corrupted))
    }

    /// Examples that went forward so far, each run of an example counted.
    pub fn n_forward(&self) -> u64 {
        [&self.attribution, &self.noise, &self.denoise].into_iter().map(Patching::n_forward).sum::<u64>()
            + self.n_gradients
    }

    /// Examples that went backward so far.
    pub fn n_backward(&self) -> u64 {
        self.n_gradients
    }
}
