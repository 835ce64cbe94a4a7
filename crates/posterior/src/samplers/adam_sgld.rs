//! SGLD with Adam's moments: averaged gradients over the root of their averaged squares.

use ontogeny_graph::{AdamLangevin, StepNorms, adam_sgld};

use super::Dynamics;
use crate::llc::LlcError;
use crate::target::Target;

/// The averages a chain remembers, and of how many gradients.
#[derive(Debug)]
pub(super) struct AdamSgldDynamics {
    first_moment: Vec<f32>,
    second_moment: Vec<f32>,
    n_steps: u32,
    settings: AdamLangevin,
}

impl AdamSgldDynamics {
    pub(super) fn new(n_weights: usize, settings: AdamLangevin) -> Self {
        Self { first_moment: vec![0.0; n_weights], second_moment: vec![0.0; n_weights], n_steps: 0, settings }
    }
}

impl Dynamics for AdamSgldDynamics {
    fn step(&mut self, weights: &mut [f32], target: &mut Target<'_>, step: u32) -> Result<StepNorms, LlcError> {
        let norms = adam_sgld(
            weights,
            target.centre,
            target.gradient(),
            [&mut self.first_moment, &mut self.second_moment],
            self.n_steps,
            target.free(step),
            &target.langevin,
            &self.settings,
            &target.threads,
        );
        self.n_steps += 1;
        target.confine(weights, None);
        Ok(norms)
    }
}
