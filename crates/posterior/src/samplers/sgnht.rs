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
/// Two things are changed.
///
/// The temperature. In steps with a share a of friction the momentum and the position of a quadratic of precision A obey
/// E[w²]·A = E[u²](1 − a/2)/η, whatever noise is fed (from E[wu'] = −½E[u²], as w' = w + u' is stationary, and
/// E[wu'] = (1 − a)·½E[u²] − ηA·E[w²]). So the momentum of a chain whose positions are right is warmer than η by
/// 1/(1 − a/2), and a thermostat at uᵀu = dη cools the positions to 1 − a/2, 5 % at a = 0.1, however small ε is. This one
/// holds uᵀu(1 − a/2) at dη: the mean of w·∇U over all directions is then d at any step size.
///
/// What the fed noise and the discretisation heat, friction must take up, so a step can be too large to be held: at full
/// friction beyond εA = 0.69, where (1 + b)·2 = (1 − b)(2 + 2b − εA/2) has no solution b; at less friction later. The
/// chain then diverges, and is refused.
///
/// The gain. η makes the thermostat adapt in some 1/√η steps, 450 at ε = 1e-5. A gain Q leaves the law (Ding et al., §4:
/// any thermal mass) and lets a scatter by √(Q/d). Linearised, the friction returns as λ² + 2a₀λ + 2Q = 0, without
/// swinging up to Q = a₀²/2. Half of that is safe at full friction too, and the factor d/(d + 9) keeps the scatter of a
/// below a₀/6 for few coordinates, so that a stays between 0 and 2, where steps are stable.
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
        let d = target.n_free() as f64;
        let temperature = norms.momentum * norms.momentum * (1.0 - 0.5 * self.lost) / (d * eta);
        self.lost += (temperature - 1.0) * 0.25 * self.fed * self.fed * d / (d + 9.0);
        target.confine(weights, Some(&mut self.momentum));
        Ok(norms)
    }
}
