//! SGLD preconditioned by RMSprop: the step size of each coordinate follows the size of its own gradients.

use ontogeny_graph::{RmsProp, StepNorms, rmsprop_sgld};

use super::{Correction, Dynamics};
use crate::llc::LlcError;
use crate::target::Target;

/// The squared gradients a chain remembers, and how many it has seen.
#[derive(Debug)]
pub(super) struct RmspropSgldDynamics {
    second_moment: Vec<f32>,
    n_steps: u32,
    settings: RmsProp,
    correction: Correction,
    /// ½ε·Γ of a step, where it is corrected.
    drift: Vec<f32>,
}

impl RmspropSgldDynamics {
    pub(super) fn new(n_weights: usize, settings: RmsProp, correction: Correction) -> Self {
        let corrected = if correction == Correction::Curvature { n_weights } else { 0 };
        Self { second_moment: vec![0.0; n_weights], n_steps: 0, settings, correction, drift: vec![0.0; corrected] }
    }

    /// Γᵢ = ∂Pᵢ/∂wᵢ with P = 1/(√(cv) + eps), v = αv' + (1 − α)g² and ∂gᵢ/∂wᵢ = Hᵢᵢ:
    /// Γᵢ = −Pᵢ²·c(1 − α)·gᵢ·Hᵢᵢ/√(cvᵢ). Before the step: `drift` holds an unbiased estimate of the diagonal of H.
    fn curve(&mut self, target: &Target<'_>) {
        let RmsProp { decay, eps, .. } = self.settings;
        let correction = (1.0 / (1.0 - f64::from(decay).powi(self.n_steps as i32 + 1))) as f32;
        let gradient = target.gradient();
        for i in target.selection.ranges().iter().cloned().flatten() {
            let g = gradient[i];
            let v = decay * self.second_moment[i] + (1.0 - decay) * g * g;
            let root = (correction * v).sqrt();
            let p = 1.0 / (root + eps);
            let gamma = -p * p * correction * (1.0 - decay) * g * self.drift[i] / root;
            // Where all gradients so far were 0 the preconditioner has no derivative and needs none.
            self.drift[i] = if root > 0.0 { 0.5 * target.langevin.step_size * gamma } else { 0.0 };
        }
    }
}

impl Dynamics for RmspropSgldDynamics {
    fn step(&mut self, weights: &mut [f32], target: &mut Target<'_>, step: u32) -> Result<StepNorms, LlcError> {
        let is_corrected = self.correction == Correction::Curvature;
        if is_corrected {
            target.hessian_diagonal(weights, step, &mut self.drift)?;
            self.curve(target);
        }
        let norms = rmsprop_sgld(
            weights,
            target.centre,
            target.gradient(),
            &mut self.second_moment,
            self.n_steps,
            target.free(step),
            &target.langevin,
            &self.settings,
            &target.threads,
        );
        self.n_steps += u32::from(!self.settings.is_frozen);
        if is_corrected {
            for i in target.selection.ranges().iter().cloned().flatten() {
                weights[i] += self.drift[i];
            }
        }
        target.confine(weights, None);
        Ok(norms)
    }

    fn end_burn_in(&mut self) {
        // Without burn-in there is nothing to freeze: the first gradient would decide alone.
        self.settings.is_frozen = self.correction == Correction::Freeze && self.n_steps > 0;
    }
}
