//! Underdamped Langevin dynamics in the splitting BAOAB: exact positions on quadratics.

use ontogeny_graph::{StepNorms, baoab};

use super::Dynamics;
use crate::llc::LlcError;
use crate::target::Target;

/// The momentum a chain remembers, as a displacement per time step h = √ε.
#[derive(Debug)]
pub(super) struct BaoabDynamics {
    momentum: Vec<f32>,
    friction: f64,
    has_begun: bool,
}

impl BaoabDynamics {
    pub(super) fn new(n_weights: usize, friction: f64) -> Self {
        Self { momentum: vec![0.0; n_weights], friction, has_begun: false }
    }
}

impl Dynamics for BaoabDynamics {
    fn step(&mut self, weights: &mut [f32], target: &mut Target<'_>, step: u32) -> Result<StepNorms, LlcError> {
        let is_first = !self.has_begun;
        if is_first {
            target.draw_momentum(&mut self.momentum, 0, f64::from(target.langevin.step_size).sqrt());
            self.has_begun = true;
        }
        let norms = baoab(
            weights,
            target.centre,
            target.gradient(),
            &mut self.momentum,
            is_first,
            target.free(step),
            &target.langevin,
            self.friction as f32,
            &target.threads,
        );
        target.confine(weights, Some(&mut self.momentum));
        Ok(norms)
    }
}
