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
    /// Half the derivative of the squared gradients by the weight as it will be at the next step.
    sensitivity: Vec<f32>,
}

impl RmspropSgldDynamics {
    pub(super) fn new(n_weights: usize, settings: RmsProp, correction: Correction) -> Self {
        let corrected = if correction == Correction::Curvature { n_weights } else { 0 };
        let drift = vec![0.0; corrected];
        let sensitivity = drift.clone();
        Self { second_moment: vec![0.0; n_weights], n_steps: 0, settings, correction, drift, sensitivity }
    }

    /// ½ε·Γ from `drift`, which holds an unbiased estimate of the diagonal of H.
    ///
    /// The density stays that of the posterior if Γ has the mean d/dwᵢ E[Pᵢ | wᵢ] (the flux of the Fokker–Planck equation
    /// averaged over the memory). P = 1/(√(cv) + eps) depends on w through all gradients in v = (1 − α)Σ αᵏg₋ₖ², and a
    /// chain that is reversible in time was, k steps ago, where it will be in k steps: d/dw of w₋ₖ is the product of the
    /// k factors J = 1 − ½εP(nβH + γ) of its steps. So Γ = −P²·c·s/√(cv) with s ← αJs + (1 − α)gH. Li et al. 2016 take
    /// the last term alone, which is all of it without memory but only a share 1 − α of it for small steps.
    /// The gradient and H of one minibatch belong together: gH is half the derivative of that batch's g².
    fn curve(&mut self, target: &Target<'_>) {
        let RmsProp { decay, eps, .. } = self.settings;
        let correction = (1.0 / (1.0 - f64::from(decay).powi(self.n_steps as i32 + 1))) as f32;
        let gradient = target.gradient();
        let half = 0.5 * target.langevin.step_size;
        for i in target.selection.ranges().iter().cloned().flatten() {
            let (g, h) = (gradient[i], self.drift[i]);
            let v = decay * self.second_moment[i] + (1.0 - decay) * g * g;
            let s = decay * self.sensitivity[i] + (1.0 - decay) * g * h;
            let root = (correction * v).sqrt();
            let p = 1.0 / (root + eps);
            // Where all gradients so far were 0 the preconditioner has no derivative and needs none.
            self.drift[i] = if root > 0.0 { -half * p * p * correction * s / root } else { 0.0 };
            let factor = 1.0 - half * p * (target.langevin.n_beta * h + target.langevin.localization);
            // Larger ones are those of a noisy estimate of h or of steps that are not stable.
            self.sensitivity[i] = s * factor.clamp(-1.0, 1.0);
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
        self.settings.is_frozen = self.correction == Correction::Freeze;
    }
}
