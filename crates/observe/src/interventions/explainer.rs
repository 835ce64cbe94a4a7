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

/// The evidence for one part, pair by pair: from the first pair on, as far as time went.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Samples {
    /// As of [`Evidence`].
    pub needed: Vec<f64>,
    /// As of [`Evidence`].
    pub suffices: Vec<f64>,
    /// As of [`Evidence`].
    pub attribution: Vec<f64>,
    /// As of [`Evidence`].
    pub direct: Vec<f64>,
}

impl Samples {
    /// Means with their errors.
    pub fn evidence(&self) -> Evidence {
        Evidence {
            needed: Effect::of(&self.needed),
            suffices: Effect::of(&self.suffices),
            attribution: Effect::of(&self.attribution),
            direct: Effect::of(&self.direct),
        }
    }

    /// What is more here than in `earlier`, on the same pairs: each is compared with itself, so that the error of the mean difference
    /// holds what both have in common.
    #[must_use]
    pub fn minus(&self, earlier: &Self) -> Self {
        Self {
            needed: differences(&self.needed, &earlier.needed),
            suffices: differences(&self.suffices, &earlier.suffices),
            attribution: differences(&self.attribution, &earlier.attribution),
            direct: differences(&self.direct, &earlier.direct),
        }
    }
}

/// Differences of the pairs that both have.
pub fn differences(now: &[f64], earlier: &[f64]) -> Vec<f64> {
    now.iter().zip(earlier).map(|(now, earlier)| now - earlier).collect()
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
    n_measured: u64,
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
            n_measured: 0,
        })
    }

    /// The evidence for each part at one checkpoint, and the differences of logits of the clean and the corrupted runs. The
    /// first-order effects come first; the exact ones follow in the order of their sizes, `needed` until half of the time is over,
    /// `suffices` until all is.
    ///
    /// # Errors
    /// Weights of another model, numbers that are not finite, or a cancellation.
    pub fn samples(
        &mut self,
        checkpoint: &Checkpoint<'_>,
        until: Instant,
    ) -> Result<(Vec<Samples>, f64, f64), ObserveError> {
        let (first, base) = self.attribution.samples_within(checkpoint, None)?;
        self.n_measured += 1;
        let sizes: Vec<f64> = first.iter().map(|own| own.iter().sum::<f64>().abs()).collect();
        let mut order: Vec<usize> = (0..self.parts.len()).collect();
        order.sort_by(|&a, &b| sizes[b].total_cmp(&sizes[a]).then(a.cmp(&b)));
        let now = Instant::now();
        let half = now + until.saturating_duration_since(now) / 2;
        let (needed, _) = self.noise.samples_within(checkpoint, Some(Limits { order: &order, until: half }))?;
        let (suffices, _) = self.denoise.samples_within(checkpoint, Some(Limits { order: &order, until }))?;
        let found = first.into_iter().zip(needed).zip(suffices);
        let mut found: Vec<Samples> = found
            .map(|((attribution, needed), suffices)| Samples { needed, suffices, attribution, direct: Vec::new() })
            .collect();
        if let Some(direct) = &mut self.direct {
            let (shares, _) = direct.shares(checkpoint.weights)?;
            for (part, samples) in self.parts.iter().zip(&mut found) {
                if let Some(at) = direct.labels().iter().position(|label| *label == part.label) {
                    samples.direct.clone_from(&shares[at]);
                }
            }
        }
        Ok((found, base.clean, base.corrupted))
    }

    /// Examples that went forward so far, each run of an example counted.
    pub fn n_forward(&self) -> u64 {
        let patched: u64 = [&self.attribution, &self.noise, &self.denoise].into_iter().map(Patching::n_forward).sum();
        // One more for the gradient, two for the shares: with the scale of the last norm as it is, and held.
        let each = 1 + 2 * u64::from(self.direct.is_some());
        patched + self.n_measured * each * self.n_pairs as u64
    }

    /// Examples that went backward so far.
    pub fn n_backward(&self) -> u64 {
        self.n_measured * self.n_pairs as u64
    }
}
