//! Bayesian influence functions: how the losses of examples move together over the posterior.

use std::fmt::Write as _;
use std::num::NonZero;
use std::ops::Range;

use super::loss_draws::{LossDraws, Recording};
use super::probe::Probe;
use super::series::{centred, mean_of, quick_mean_of};
use super::{Judged, ResponseError, check_memory};
use crate::execution::in_parallel;
use crate::llc::Llc;
use crate::objective::Objective;

/// The Bayesian influence function BIF(i, j) = −Cov(ℓᵢ, ℓⱼ) of all items of some draws (Kreer et al. 2025,
/// arXiv:2509.26544): nβ/n times it is, to first order, what a little more weight on example i of the data would add to
/// the expected loss of j. For a regular model it becomes the classical −gᵢᵀ(nβH + γ)⁻¹gⱼ.
///
/// **What is estimated.** The covariance within one well-mixed chain: losses are centred by the mean of their own chain,
/// so chains that stand at different levels add nothing by that. Chains that have not seen the whole posterior therefore
/// give too little rather than too much. The part that centring takes, τ/T for an autocorrelation time of τ draws
/// out of T, is given back with τ = √(τᵢτⱼ), at most a factor of 2.
///
/// **Error.** That of the mean of −(ℓᵢ − ℓ̄ᵢ)(ℓⱼ − ℓ̄ⱼ) over the draws, with autocorrelation and disagreement between
/// chains.
#[derive(Debug, Clone)]
pub struct Influence {
    n_items: usize,
    n_chains: usize,
    n_draws: usize,
    /// (item, chain, draw), row-major, centred by chain.
    centred: Vec<f32>,
    /// Of each item, the share of the variance that is left by centring.
    shares: Vec<f64>,
    max_bytes: usize,
}

/// The influence of one item on another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// −Cov(ℓᵢ, ℓⱼ), in squared units of the loss. Negative where the losses rise and fall together: weight on one
    /// then lowers the other.
    pub value: f64,
    /// Its Monte Carlo error.
    pub mcse: f64,
    /// Correlation of ℓᵢ and ℓⱼ, of the opposite sign; `None` where one of them never changes.
    pub correlation: Option<f64>,
}

/// A pair of items that stands out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TopPair {
    /// The items; the first is the smaller number.
    pub items: [usize; 2],
    /// Their influence; the error also counts the spread between chains where R̂ says that they disagree.
    pub pair: Pair,
    /// Rank-normalised split R̂ of the products.
    pub r_hat: f64,
}

impl TopPair {
    /// |value| over its error.
    pub fn z(&self) -> f64 {
        z(&self.pair)
    }
}

impl Influence {
    /// What can be checked before anything is sampled, without weights: settings, probes, and whether the draws fit into
    /// memory, twice, as [`Influence::of`] needs them.
    ///
    /// # Errors
    /// As [`Llc::loss_draws`] and [`Influence::of`].
    pub fn check(llc: &Llc, objective: &Objective, recording: &Recording<'_>) -> Result<(), ResponseError> {
        llc.check(objective)?;
        Probe::check_all(recording.probes, objective)?;
        recording.check(llc, 2)
    }

    /// Prepares the draws: takes as much memory as they do, once more.
    ///
    /// # Errors
    /// More memory than the recording allows.
    pub fn of(draws: &LossDraws) -> Result<Judged<Self>, ResponseError> {
        let (n_items, n_chains, n_draws) = (draws.n_items(), draws.n_chains(), draws.n_draws());
        let needed = 2 * (n_items as u128) * (n_chains as u128) * (n_draws as u128) * size_of::<f32>() as u128;
        let what = || format!("{n_items} losses of each of {n_chains} · {n_draws} draws, and the same centred");
        let remedy = "take fewer examples or draws, keep less detail, or allow more by `max_bytes`";
        check_memory(what, needed, draws.max_bytes(), remedy)?;
        if let Some(refusal) = draws.refusal() {
            return Ok(Judged::Refused(refusal));
        }
        let mut all = Vec::with_capacity(n_items * n_chains * n_draws);
        let mut shares = Vec::with_capacity(n_items);
        for item in 0..n_items {
            let (series, share) = centred(&draws.series(item));
            all.extend(series.iter().flatten().map(|&value| value as f32));
            shares.push(share);
        }
        Ok(Judged::Ok(Self { n_items, n_chains, n_draws, centred: all, shares, max_bytes: draws.max_bytes() }))
    }

    /// Number of items; what they are is told by the draws.
    pub fn n_items(&self) -> usize {
        self.n_items
    }

    /// The influence of item `i` on item `j`, both below [`Influence::n_items`].
    pub fn pair(&self, i: usize, j: usize) -> Pair {
        let (value, mcse) = quick_mean_of(&self.products(i, j));
        Pair { value, mcse, correlation: self.correlation(i, j) }
    }

    /// All pairs of some rows and columns, row-major.
    ///
    /// # Errors
    /// More memory than the recording allows: ask for smaller blocks.
    pub fn block(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        threads: NonZero<usize>,
    ) -> Result<Vec<Pair>, ResponseError> {
        let needed = (rows.len() as u128) * (columns.len() as u128) * size_of::<Pair>() as u128;
        let what = || format!("{} · {} pairs", rows.len(), columns.len());
        check_memory(what, needed, self.max_bytes, "ask for a smaller block, or allow more by `max_bytes`")?;
        let row = |at: usize| columns.clone().map(|j| self.pair(rows.start + at, j)).collect::<Vec<_>>();
        Ok(in_parallel(rows.len(), threads, row).concat())
    }

    /// The `n` pairs of an item of `rows` with another of `columns` whose influence is largest in units of its error, first
    /// the largest. Time grows with rows · columns · draws; memory does not grow with the number of pairs.
    pub fn top_pairs(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        n: usize,
        threads: NonZero<usize>,
    ) -> Vec<TopPair> {
        let by_z = |a: &([usize; 2], Pair), b: &([usize; 2], Pair)| z(&b.1).total_cmp(&z(&a.1)).then(a.0.cmp(&b.0));
        let best_of_row = |at: usize| {
            let i = rows.start + at;
            // A pair that is met twice counts where its smaller item is the row.
            let is_new = |j: usize| j > i || (j < i && !(rows.contains(&j) && columns.contains(&i)));
            let pairs = columns.clone().filter(|&j| is_new(j)).map(|j| ([i.min(j), i.max(j)], self.pair(i, j)));
            let mut best: Vec<_> = pairs.filter(|(_, pair)| pair.value != 0.0).collect();
            best.sort_by(by_z);
            best.truncate(n);
            best
        };
        let mut best: Vec<([usize; 2], Pair)> = Vec::new();
        // Some rows at a time, so that no more than these many lists are held.
        for first in (0..rows.len()).step_by(ROWS_AT_A_TIME) {
            let some = ROWS_AT_A_TIME.min(rows.len() - first);
            best.extend(in_parallel(some, threads, |at| best_of_row(first + at)).concat());
            best.sort_by(by_z);
            best.truncate(n);
        }
        let judged = |(items, pair): ([usize; 2], Pair)| {
            let mean = mean_of(&self.products(items[0], items[1]));
            TopPair { items, pair: Pair { mcse: mean.mcse, ..pair }, r_hat: mean.r_hat }
        };
        let mut judged: Vec<TopPair> = best.into_iter().map(judged).collect();
        judged.sort_by(|a, b| b.z().total_cmp(&a.z()).then(a.items.cmp(&b.items)));
        judged
    }

    /// A line for each pair: value, error, correlation, and what `label` says of the items.
    pub fn describe(pairs: &[TopPair], label: impl Fn(usize) -> String) -> String {
        let mut text = String::new();
        for top in pairs {
            let Pair { value, mcse, correlation } = top.pair;
            let correlation = correlation.map_or_else(|| "–".to_owned(), |r| format!("{r:+.2}"));
            let [i, j] = top.items.map(&label);
            let _ = writeln!(text, "{value:+.3e} ± {mcse:.1e}  correlation {correlation}  {i}  |  {j}");
        }
        text
    }

    fn item(&self, i: usize) -> &[f32] {
        let width = self.n_chains * self.n_draws;
        &self.centred[i * width..(i + 1) * width]
    }

    /// −(ℓᵢ − ℓ̄ᵢ)(ℓⱼ − ℓ̄ⱼ) at the draws, with what centring took.
    fn products(&self, i: usize, j: usize) -> Vec<Vec<f64>> {
        let left = 1.0 - ((1.0 - self.shares[i]) * (1.0 - self.shares[j])).sqrt();
        let product = |(&a, &b): (&f32, &f32)| -f64::from(a) * f64::from(b) / left;
        let chains = self.item(i).chunks_exact(self.n_draws).zip(self.item(j).chunks_exact(self.n_draws));
        chains.map(|(a, b)| a.iter().zip(b).map(product).collect()).collect()
    }

    fn correlation(&self, i: usize, j: usize) -> Option<f64> {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
        let (a, b) = (self.item(i), self.item(j));
        let scale = (dot(a, a) * dot(b, b)).sqrt();
        (scale > 0.0).then(|| (dot(a, b) / scale).clamp(-1.0, 1.0))
    }
}

/// Rows whose best pairs are held before the best of all are chosen.
const ROWS_AT_A_TIME: usize = 64;

fn z(pair: &Pair) -> f64 {
    pair.value.abs() / pair.mcse
}
