//! Stochastic gradient Hamiltonian Monte Carlo: SGLD with a momentum.

use ontogeny_graph::{Friction, StepNorms, sghmc};

use super::Dynamics;
use crate::llc::LlcError;
use crate::target::Target;

/// The momentum a chain remembers, as a displacement per step.
#[derive(Debug)]
pub(super) struct SghmcDynamics {
    momentum: Vec<f32>,
    friction: f64,
    has_begun: bool,
}

impl SghmcDynamics {
    pub(super) fn new(n_weights: usize, friction: f64) -> Self {
        Self { momentum: vec![0.0; n_weights], friction, has_begun: false }
    }
}

impl Dynamics for SghmcDynamics {
    fn step(&mut self, weights: &mut [f32], target: &mut Target<'_>, step: u32) -> Result<StepNorms, LlcError> {
        if !self.has_begun {
            target.draw_momentum(&mut self.momentum, 0, f64::from(0.5 * target.langevin.step_size).sqrt());
            self.has_begun = true;
        }
        let friction = self.friction as f32;
        let norms = sghmc(
            weights,
            target.centre,
            target.gradient(),
            &mut self.momentum,
            target.free(step),
            &target.langevin,
            Friction { lost: friction, fed: friction },
            &target.threads,
        );
        target.confine(weights, Some(&mut self.momentum));
        Ok(norms)
    }
}
