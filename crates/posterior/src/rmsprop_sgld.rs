//! SGLD preconditioned by RMSprop: the step size of each coordinate follows the size of its own gradients.

use ontogeny_graph::{Free, Langevin, RmsProp, StepNorms, Threads, rmsprop_sgld};

use crate::sampler::Update;

/// The squared gradients a chain remembers, and how many it has seen.
#[derive(Debug)]
pub(crate) struct RmspropSgldUpdate {
    second_moment: Vec<f32>,
    n_steps: u32,
    settings: RmsProp,
}

impl RmspropSgldUpdate {
    pub(crate) fn new(n_weights: usize, settings: RmsProp) -> Self {
        Self { second_moment: vec![0.0; n_weights], n_steps: 0, settings }
    }
}

impl Update for RmspropSgldUpdate {
    fn step(
        &mut self,
        weights: &mut [f32],
        start: &[f32],
        gradient: &[f32],
        free: Free<'_>,
        langevin: &Langevin,
        threads: &Threads,
    ) -> StepNorms {
        let memory = &mut self.second_moment;
        let (n, settings) = (self.n_steps, &self.settings);
        let norms = rmsprop_sgld(weights, start, gradient, memory, n, free, langevin, settings, threads);
        self.n_steps += 1;
        norms
    }
}
