//! The weights at every draw of every chain, as deviations from the start.

use std::ops::Range;

use ontogeny_graph::ParamSpace;

use super::{Refusal, ResponseError, check_memory, refusal};
use crate::chain::Observer;
use crate::ensemble::Ensemble;
use crate::estimate::Estimate;
use crate::execution::Execution;
use crate::llc::{Llc, LlcError};
use crate::objective::Objective;
use crate::restriction::Restriction;
use crate::selection::Selection;

/// Deviations w − w* of the free weights at the draws, before that step's update.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightDraws {
    estimate: Estimate,
    component: String,
    selection: Selection,
    space: ParamSpace,
    n_draws: usize,
    /// `[chain]`, (draw, free coordinate) row-major; shorter for a chain that diverged.
    deviations: Vec<Vec<f32>>,
}

/// Keeps the free weights of one chain.
struct WeightObserver<'a> {
    selection: &'a Selection,
    start: &'a [f32],
    kept: Vec<f32>,
}

impl Observer for WeightObserver<'_> {
    fn draw(&mut self, weights: &[f32]) -> Result<(), LlcError> {
        for range in self.selection.ranges() {
            self.kept.extend(range.clone().map(|i| weights[i] - self.start[i]));
        }
        Ok(())
    }
}

impl Llc {
    /// Runs the chains of this estimate and keeps the free weights at their draws: 4 bytes for each, at most `max_bytes`
    /// together.
    ///
    /// # Errors
    /// As [`Llc::estimate_with`]; draws that do not fit into memory.
    pub fn weight_draws(
        &self,
        objective: &Objective,
        weights: &[f32],
        max_bytes: usize,
        execution: &Execution<'_>,
    ) -> Result<WeightDraws, ResponseError> {
        let selection = self.restriction.resolve(objective.space())?;
        let n_free = selection.n_free();
        let needed = (self.chains as u128) * (self.draws as u128) * (n_free as u128) * size_of::<f32>() as u128;
        let what = || format!("{n_free} free weights at each of {} · {} draws", self.chains, self.draws);
        let remedy = "restrict the chains to a part of the network, take fewer draws, or allow more";
        check_memory(what, needed, max_bytes, remedy)?;
        let ensemble = Ensemble::prepare(self, objective, weights, execution)?;
        let records = ensemble.run(execution, |_, _| {
            let kept = Vec::with_capacity(self.draws * n_free);
            Ok(WeightObserver { selection: &selection, start: weights, kept })
        })?;
        let (records, deviations) = records.into_iter().map(|(record, observer)| (record, observer.kept)).unzip();
        Ok(WeightDraws {
            estimate: ensemble.conclude(records)?,
            component: self.restriction.to_string(),
            selection,
            space: objective.space().clone(),
            n_draws: self.draws,
            deviations,
        })
    }
}

impl WeightDraws {
    /// The learning coefficient that the same draws give.
    pub fn estimate(&self) -> &Estimate {
        &self.estimate
    }

    /// The free coordinates of the flat weights; coordinate k of a draw is the k-th of them.
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// Number of chains.
    pub fn n_chains(&self) -> usize {
        self.deviations.len()
    }

    /// Draws of each chain.
    pub fn n_draws(&self) -> usize {
        self.n_draws
    }

    /// Deviations of one chain: (draw, free coordinate), row-major. A chain that diverged has fewer draws.
    pub fn chain(&self, chain: usize) -> &[f32] {
        &self.deviations[chain]
    }

    /// Why nothing may be computed from these draws, if so.
    pub fn refusal(&self) -> Option<Refusal> {
        refusal(&self.component, &self.estimate)
    }

    /// Where the coordinates of a part lie among the free ones.
    ///
    /// # Errors
    /// A part unknown to the network, or one of which nothing moved.
    pub(super) fn places(&self, part: &Restriction) -> Result<Vec<Range<usize>>, ResponseError> {
        let wanted = part.resolve(&self.space)?;
        let mut places = Vec::new();
        let mut first = 0;
        for free in self.selection.ranges() {
            for own in wanted.ranges() {
                let (from, to) = (free.start.max(own.start), free.end.min(own.end));
                if from < to {
                    places.push(first + from - free.start..first + to - free.start);
                }
            }
            first += free.len();
        }
        if places.is_empty() {
            let nothing = crate::selection::RestrictionError::Nothing { found: part.to_string(), nearest: Vec::new() };
            return Err(nothing.into());
        }
        Ok(places)
    }
}
