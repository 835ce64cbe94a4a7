//! Hamiltonian Monte Carlo; with one leapfrog step it is the Metropolis-adjusted Langevin algorithm.

use ontogeny_graph::StepNorms;

use super::Dynamics;
use super::adaptation::StepSize;
use super::exact::Point;
use crate::llc::LlcError;
use crate::target::Target;

/// Trajectories of a random number of leapfrog steps, accepted by their change of energy (Neal 2011, §3).
///
/// With one step of length h = √ε the proposal is w − (ε/2)∇U + √ε·ξ, and the change of energy is the ratio of MALA
/// (ibid., §5.2).
#[derive(Debug)]
pub(super) struct HmcDynamics {
    /// Most leapfrog steps of a trajectory. A number drawn anew each time leaves no direction that returns to where it was.
    leapfrogs: usize,
    target_acceptance: Option<f64>,
    size: Option<StepSize>,
    here: Option<Point>,
    acceptance: (f64, usize),
    is_burnt_in: bool,
}

impl HmcDynamics {
    pub(super) fn new(leapfrogs: usize, target_acceptance: Option<f64>) -> Self {
        Self { leapfrogs, target_acceptance, size: None, here: None, acceptance: (0.0, 0), is_burnt_in: false }
    }
}

impl Dynamics for HmcDynamics {
    fn step(&mut self, weights: &mut [f32], target: &mut Target<'_>, step: u32) -> Result<StepNorms, LlcError> {
        let h = f64::from(target.langevin.step_size).sqrt();
        let size = self.size.get_or_insert_with(|| StepSize::new(h, self.target_acceptance));
        size.follow(h);
        if self.is_burnt_in {
            size.settle();
        }
        let here = self.here.get_or_insert_with(|| Point::here(weights, target));
        let norms = here.norms(target);
        target.draw_momentum(&mut here.momentum, step, 1.0);
        let mut there = here.clone();
        let n = 1 + (target.choice(step, 0) * self.leapfrogs as f64) as usize;
        for _ in 0..n.min(self.leapfrogs) {
            there.leapfrog(target, size.h())?;
            if there.potential == f64::INFINITY {
                break;
            }
        }
        let probability = (here.energy() - there.energy()).min(0.0).exp();
        // A comparison with NaN is no acceptance.
        if target.choice(step, 1) < probability {
            weights.copy_from_slice(&there.weights);
            *here = there;
        }
        let probability = if probability.is_nan() { 0.0 } else { probability };
        size.learn(probability);
        if self.is_burnt_in {
            self.acceptance.0 += probability;
            self.acceptance.1 += 1;
        }
        Ok(norms)
    }

    fn known_loss(&self) -> Option<f64> {
        self.here.as_ref().map(|here| here.loss)
    }

    fn end_burn_in(&mut self) {
        self.is_burnt_in = true;
    }

    fn acceptance(&self) -> (f64, usize) {
        self.acceptance
    }
}
