//! The losses of probes at every draw of every chain.

use std::ops::Range;

use ontogeny_graph::Workspace;

use super::observer::LossObserver;
use super::probe::{Detail, Probe};
use super::{Refusal, ResponseError, check_memory, refusal};
use crate::ensemble::Ensemble;
use crate::estimate::Estimate;
use crate::execution::Execution;
use crate::llc::Llc;
use crate::objective::Objective;
use crate::verdict::Verdict;

/// What is to be recorded at the draws.
#[derive(Debug, Clone, Copy)]
pub struct Recording<'a> {
    /// Whose losses.
    pub probes: &'a [Probe],
    /// How finely they are kept.
    pub detail: Detail,
    /// Most bytes that draws may take in memory; checked before any is taken.
    pub max_bytes: usize,
}

impl<'a> Recording<'a> {
    /// 2 GiB.
    pub const MAX_BYTES: usize = 2 << 30;

    /// The loss of each example of `probes`, within [`Recording::MAX_BYTES`].
    pub fn of(probes: &'a [Probe]) -> Self {
        Self { probes, detail: Detail::Example, max_bytes: Self::MAX_BYTES }
    }

    /// Bytes of the draws of one ensemble.
    fn bytes(&self, llc: &Llc) -> u128 {
        let n_items = ProbeItems::of_all(self.probes, self.detail).1;
        (llc.chains as u128) * (llc.draws as u128) * (n_items as u128) * size_of::<f32>() as u128
    }

    /// Checks that the draws of `n_ensembles` fit side by side.
    pub(super) fn check(&self, llc: &Llc, n_ensembles: usize) -> Result<(), ResponseError> {
        let (chains, draws) = (llc.chains, llc.draws);
        let what = || {
            let n_items = ProbeItems::of_all(self.probes, self.detail).1;
            format!("{n_items} losses of each of {chains} · {draws} draws, {n_ensembles} times")
        };
        let remedy = "take fewer examples or draws, keep less detail, or allow more by `max_bytes`";
        check_memory(what, n_ensembles as u128 * self.bytes(llc), self.max_bytes, remedy)
    }
}

/// What is kept of one probe: a block of neighbouring items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeItems {
    /// Name of the probe.
    pub probe: String,
    /// Number of its first item.
    pub first: usize,
    /// Examples of the probe.
    pub n_examples: usize,
    /// Losses of one example that the probe has; 1 without tokens.
    pub n_tokens: usize,
    /// How finely they are kept.
    pub detail: Detail,
}

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item<'a> {
    /// Name of the probe.
    pub probe: &'a str,
    /// The example, unless the item is the mean of all.
    pub example: Option<usize>,
    /// The place of the loss in the example, unless the item is the mean of its tokens.
    pub token: Option<usize>,
}

impl ProbeItems {
    fn of_all(probes: &[Probe], detail: Detail) -> (Vec<Self>, usize) {
        let mut first = 0;
        let of_one = |probe: &Probe| {
            let n_tokens = probe.n_tokens().unwrap_or(1);
            let own = Self { probe: probe.name().to_owned(), first, n_examples: probe.data().len(), n_tokens, detail };
            first += own.len();
            own
        };
        let all = probes.iter().map(of_one).collect();
        (all, first)
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        match self.detail {
            Detail::Set => 1,
            Detail::Example => self.n_examples,
            Detail::Token => self.n_examples * self.n_tokens,
        }
    }

    /// Never: a probe has an example.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Numbers of the items.
    pub fn range(&self) -> Range<usize> {
        self.first..self.first + self.len()
    }
}

/// Losses of probes at the draws of the chains around one start, each minus its value at the start.
///
/// Everything under a draw belongs to the same weights: those before that step's update, whose loss also enters λ̂.
#[derive(Debug, Clone, PartialEq)]
pub struct LossDraws {
    estimate: Estimate,
    component: String,
    probes: Vec<ProbeItems>,
    n_items: usize,
    n_draws: usize,
    /// Of each item.
    start: Vec<f32>,
    /// `[chain]`, (draw, item) row-major; shorter for a chain that diverged.
    losses: Vec<Vec<f32>>,
    max_bytes: usize,
}

impl Llc {
    /// Runs the chains of this estimate and records the losses of probes at their draws.
    ///
    /// # Errors
    /// As [`Llc::estimate_with`]; probes that do not fit the objective, or draws that do not fit into memory.
    pub fn loss_draws(
        &self,
        objective: &Objective,
        weights: &[f32],
        recording: &Recording<'_>,
        execution: &Execution<'_>,
    ) -> Result<LossDraws, ResponseError> {
        let Recording { probes, detail, max_bytes } = *recording;
        Probe::check_all(probes, objective)?;
        recording.check(self, 1)?;
        let ensemble = Ensemble::prepare(self, objective, weights, execution)?;
        let baselines = probes
            .iter()
            .map(|probe| probe.baseline(&mut Workspace::new(probe.program()), weights))
            .collect::<Result<Vec<_>, _>>()?;
        let (items, n_items) = ProbeItems::of_all(probes, detail);
        let records = ensemble.run(execution, |_, threads| {
            Ok(LossObserver::new(probes, &baselines, detail, self.draws * n_items, threads))
        })?;
        let (records, losses) = records.into_iter().map(|(record, observer)| (record, observer.kept)).unzip();
        Ok(LossDraws {
            estimate: ensemble.conclude(records)?,
            component: self.restriction.to_string(),
            probes: items,
            n_items,
            n_draws: self.draws,
            start: probes.iter().zip(&baselines).flat_map(|(probe, all)| start_of(probe, all, detail)).collect(),
            losses,
            max_bytes,
        })
    }
}

/// The losses of a probe at the start, `[example][token]`, at the level that is kept.
fn start_of(probe: &Probe, all: &[f32], detail: Detail) -> Vec<f32> {
    let width = match detail {
        Detail::Set => all.len(),
        Detail::Example => probe.n_tokens().unwrap_or(1),
        Detail::Token => 1,
    };
    let mean = |own: &[f32]| (own.iter().map(|&loss| f64::from(loss)).sum::<f64>() / width as f64) as f32;
    all.chunks_exact(width).map(mean).collect()
}

impl LossDraws {
    /// The learning coefficient that the same draws give.
    pub fn estimate(&self) -> &Estimate {
        &self.estimate
    }

    /// The part of the network that moved.
    pub fn component(&self) -> &str {
        &self.component
    }

    /// What the items are, probe by probe.
    pub fn probes(&self) -> &[ProbeItems] {
        &self.probes
    }

    /// Number of items of all probes.
    pub fn n_items(&self) -> usize {
        self.n_items
    }

    /// Number of chains.
    pub fn n_chains(&self) -> usize {
        self.losses.len()
    }

    /// Number of draws of each chain.
    pub fn n_draws(&self) -> usize {
        self.n_draws
    }

    /// The loss of each item at the start.
    pub fn start(&self) -> &[f32] {
        &self.start
    }

    /// Losses minus their values at the start, of one chain: (draw, item), row-major. A chain that diverged has fewer draws.
    pub fn chain(&self, chain: usize) -> &[f32] {
        &self.losses[chain]
    }

    /// What item number `item` is; `None` beyond the last.
    pub fn item(&self, item: usize) -> Option<Item<'_>> {
        let own = self.probes.iter().find(|probe| probe.range().contains(&item))?;
        let at = item - own.first;
        let (example, token) = match own.detail {
            Detail::Set => (None, None),
            Detail::Example => (Some(at), None),
            Detail::Token => (Some(at / own.n_tokens), Some(at % own.n_tokens)),
        };
        Some(Item { probe: &own.probe, example, token })
    }

    /// Why nothing may be computed from these draws, if so.
    pub fn refusal(&self) -> Option<Refusal> {
        refusal(&self.component, &self.estimate).or_else(|| {
            let broken = |losses: &Vec<f32>| losses.iter().position(|loss| !loss.is_finite());
            let (chain, at) = self.losses.iter().enumerate().find_map(|(chain, own)| Some((chain, broken(own)?)))?;
            let probe = self.item(at % self.n_items).map_or("", |item| item.probe);
            let reason = format!(
                "a loss of probe `{probe}` is not finite at draw {} of chain {chain}; reduce the step size or strengthen the localisation",
                at / self.n_items
            );
            Some(Refusal { component: self.component.clone(), verdict: Verdict::Diverged, reason })
        })
    }

    /// The same draws, the losses averaged to a coarser level. Asked for a finer level than is kept it changes nothing.
    #[must_use]
    pub fn coarsened(&self, detail: Detail) -> Self {
        let mut first = 0;
        let mut groups: Vec<Range<usize>> = Vec::new();
        let mut probes = Vec::new();
        for probe in &self.probes {
            let own = ProbeItems { first, detail: detail.min(probe.detail), ..probe.clone() };
            let width = probe.len() / own.len();
            groups.extend((0..own.len()).map(|i| probe.first + i * width..probe.first + (i + 1) * width));
            first += own.len();
            probes.push(own);
        }
        let mean = |row: &[f32], group: &Range<usize>| {
            let sum: f64 = row[group.clone()].iter().map(|&loss| f64::from(loss)).sum();
            (sum / group.len() as f64) as f32
        };
        let of_chain = |losses: &Vec<f32>| {
            losses.chunks_exact(self.n_items).flat_map(|row| groups.iter().map(|group| mean(row, group))).collect()
        };
        Self {
            estimate: self.estimate.clone(),
            component: self.component.clone(),
            n_items: first,
            n_draws: self.n_draws,
            start: groups.iter().map(|group| mean(&self.start, group)).collect(),
            losses: self.losses.iter().map(of_chain).collect(),
            probes,
            max_bytes: self.max_bytes,
        }
    }

    /// The draws of one item, `[chain][draw]`.
    pub fn series(&self, item: usize) -> Vec<Vec<f64>> {
        let of_chain =
            |losses: &Vec<f32>| losses.iter().skip(item).step_by(self.n_items).map(|&l| f64::from(l)).collect();
        self.losses.iter().map(of_chain).collect()
    }

    pub(super) fn max_bytes(&self) -> usize {
        self.max_bytes
    }
}
