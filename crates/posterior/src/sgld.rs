//! Stochastic gradient Langevin dynamics: Δw = −(ε/2)[nβ·g + γ(w − w*)] + √ε·ξ.

use ontogeny_graph::{Free, Langevin, StepNorms, Threads, sgld};

use crate::sampler::Update;

/// SGLD remembers nothing.
#[derive(Debug)]
pub(crate) struct SgldUpdate;

impl Update for SgldUpdate {
    fn step(
        &mut self,
        weights: &mut [f32],
        start: &[f32],
        gradient: &[f32],
        free: Free<'_>,
        langevin: &Langevin,
        threads: &Threads,
    ) -> StepNorms {
        sgld(weights, start, gradient, free, langevin, threads)
    }
}
