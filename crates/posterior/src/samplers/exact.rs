//! What the samplers with a Metropolis test share: points with their energies, and leapfrog steps.

use ontogeny_graph::StepNorms;

use crate::llc::LlcError;
use crate::target::{Evaluated, Target};

/// A point of phase space with what is known there.
#[derive(Debug, Clone)]
pub(super) struct Point {
    pub(super) weights: Vec<f32>,
    /// One velocity for each weight; those of frozen weights are 0.
    pub(super) momentum: Vec<f32>,
    /// Of the mean loss.
    pub(super) gradient: Vec<f32>,
    pub(super) loss: f64,
    /// U, infinite where the loss is not finite.
    pub(super) potential: f64,
}

impl Point {
    /// The present point, at which `target` has been evaluated.
    pub(super) fn here(weights: &[f32], target: &Target<'_>) -> Self {
        let loss = target.loss();
        Self {
            weights: weights.to_vec(),
            momentum: vec![0.0; weights.len()],
            gradient: target.gradient().to_vec(),
            loss,
            potential: target.potential(weights, loss),
        }
    }

    /// Potential and kinetic energy.
    pub(super) fn energy(&self) -> f64 {
        self.potential + 0.5 * self.momentum.iter().map(|&p| f64::from(p) * f64::from(p)).sum::<f64>()
    }

    /// One leapfrog step of length `h`, which may be negative.
    pub(super) fn leapfrog(&mut self, target: &mut Target<'_>, h: f64) -> Result<(), LlcError> {
        self.kick(target, 0.5 * h);
        for i in target.selection.ranges().iter().cloned().flatten() {
            self.weights[i] = (f64::from(self.weights[i]) + h * f64::from(self.momentum[i])) as f32;
        }
        // Off the walls of a box like a ball: volume and the way back are kept (Afshar & Domke 2015), and no trajectory is
        // lost to them.
        target.confine(&mut self.weights, Some(&mut self.momentum));
        match target.evaluate(&self.weights)? {
            Evaluated::Finite => {
                self.loss = target.loss();
                self.potential = target.potential(&self.weights, self.loss);
                self.gradient.copy_from_slice(target.gradient());
                self.kick(target, 0.5 * h);
            }
            Evaluated::NotFinite { .. } => self.potential = f64::INFINITY,
        }
        Ok(())
    }

    fn kick(&mut self, target: &Target<'_>, h: f64) {
        let n_beta = f64::from(target.langevin.n_beta);
        let localization = f64::from(target.langevin.localization);
        for i in target.selection.ranges().iter().cloned().flatten() {
            let pull = localization * (f64::from(self.weights[i]) - f64::from(target.centre[i]));
            let force = n_beta * f64::from(self.gradient[i]) + pull;
            self.momentum[i] = (f64::from(self.momentum[i]) - h * force) as f32;
        }
    }

    /// The one part of a step that is told of samplers without noise of their own.
    pub(super) fn norms(&self, target: &Target<'_>) -> StepNorms {
        let free = target.selection.ranges().iter().cloned().flatten();
        let square: f64 = free.map(|i| (f64::from(self.weights[i]) - f64::from(target.centre[i])).powi(2)).sum();
        StepNorms { distance: square.sqrt(), ..StepNorms::default() }
    }
}
