//! Stochastic gradient Nosé–Hoover thermostat: SGHMC whose friction follows the temperature of the momentum.

use ontogeny_graph::{Friction, StepNorms, sghmc};

use super::Dynamics;
use crate::llc::LlcError;
use crate::target::Target;

/// The momentum, as a displacement per step, and the friction of the thermostat.
///
/// Ding et al. 2014, alg. 2: p ← p − ξp·h − ∇U·h + √(2A)·N(0, h), θ ← θ + p·h, ξ ← ξ + (pᵀp/d − 1)·h. With u = hp,
/// η = h² = ε/2, a = ξh and a₀ = Ah that is u ← (1 − a)u − η∇U + √(2a₀η)·N(0, 1), θ ← θ + u, a ← a + (uᵀu/(dη) − 1)·η,
/// with d the number of *free* coordinates: frozen ones have no momentum and must not count.
///
/// One thing is changed. The gain η of the thermostat makes it adapt in some 1/√η steps for unit curvatures, 450 at
/// ε = 1e-5, but in directions of precision A the momentum turns over in 1/(√A·h) steps; a gain of η·Q, Q the thermal
/// mass, changes how fast the friction settles and not what it settles at (Ding et al., §4: any Q leaves the law). It
/// is a₀² here: the friction then follows at the rate at which it acts.
#[derive(Debug)]
pub(super) struct SgnhtDynamics {
    momentum: Vec<f32>,
    /// a₀, fed by the noise.
    fed: f64,
    /// a, what is lost.
    lost: f64,
    has_begun: bool,
}

impl SgnhtDynamics {
    pub(super) fn new(n_weights: usize, friction: f64) -> Self {
        Self { momentum: vec![0.0; n_weights], fed: friction, lost: friction, has_begun: false }
    }
}

impl Dynamics for SgnhtDynamics {
    fn step(&mut self, weights: &mut [f32], target: &mut Target<'_>, step: u32) -> Result<StepNorms, LlcError> {
        let eta = 0.5 * f64::from(target.langevin.step_size);
        if !self.has_begun {
            target.draw_momentum(&mut self.momentum, 0, eta.sqrt());
            self.has_begun = true;
        }
        let norms = sghmc(
            weights,
            target.centre,
            target.gradient(),
            &mut self.momentum,
            target.free(step),
            &target.langevin,
            Friction { lost: self.lost as f32, fed: self.fed as f32 },
            &target.threads,
        );
        let temperature = norms.momentum * norms.momentum / (target.n_free() as f64 * eta);
        self.lost += (temperature - 1.0) * self.fed * self.fed;
        target.confine(weights, Some(&mut self.momentum));
        Ok(norms)
    }
}
