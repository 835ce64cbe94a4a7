//! Stochastic gradient Langevin dynamics: Δw = −(ε/2)[nβ·g + γ(w − w*)] + √ε·ξ.

use ontogeny_graph::{StepNorms, sgld};

use super::Dynamics;
use crate::llc::LlcError;
use crate::target::Target;

/// SGLD remembers nothing.
#[derive(Debug)]
pub(super) struct SgldDynamics;

impl Dynamics for SgldDynamics {
    fn step(&mut self, weights: &mut [f32], target: &mut Target<'_>, step: u32) -> Result<StepNorms, LlcError> {
        let norms =
            sgld(weights, target.centre, target.gradient(), target.free(step), &target.langevin, &target.threads);
        target.confine(weights, None);
        Ok(norms)
    }
}
