//! How often a Metropolis test would have accepted the steps of an SGLD chain: a check on the step size.

use ontogeny_graph::Langevin;

use crate::selection::Selection;

/// Probes per chain: enough for two digits, few enough to cost nothing.
const N_PROBES: usize = 64;

/// The acceptance probability of the matching MALA step (Roberts & Tweedie 1996), at some of the draws.
///
/// A step from w to w' would be accepted with probability min(1, a), ln a = U(w) − U(w') +
/// [‖w' − w + (ε/2)∇U(w)‖² − ‖w − w' + (ε/2)∇U(w')‖²]/(2ε), U = nβ·L + γ/2·‖w − w*‖². It needs the loss over all
/// data at both ends, hence full batches, and a proposal that depends on w alone, hence no memory of past gradients.
#[derive(Debug)]
pub(crate) struct AcceptanceProbe<'a> {
    selection: &'a Selection,
    start: &'a [f32],
    langevin: Langevin,
    /// Draws between probes.
    stride: usize,
    /// The point before the step to be tested.
    before: Option<f64>,
    weights: Vec<f32>,
    gradient: Vec<f32>,
    sum: f64,
    n_probes: usize,
}

impl<'a> AcceptanceProbe<'a> {
    pub(crate) fn new(selection: &'a Selection, start: &'a [f32], langevin: Langevin, n_draws: usize) -> Self {
        Self {
            selection,
            start,
            langevin,
            stride: n_draws.div_ceil(N_PROBES),
            before: None,
            weights: vec![0.0; start.len()],
            gradient: vec![0.0; start.len()],
            sum: 0.0,
            n_probes: 0,
        }
    }

    /// Whether the step that leads to draw number `draw` is tested.
    pub(crate) fn is_due(&self, draw: usize) -> bool {
        draw.is_multiple_of(self.stride)
    }

    /// Keeps the point that the tested step starts from.
    pub(crate) fn depart(&mut self, weights: &[f32], gradient: &[f32], loss: f64) {
        for range in self.selection.ranges() {
            self.weights[range.clone()].copy_from_slice(&weights[range.clone()]);
            self.gradient[range.clone()].copy_from_slice(&gradient[range.clone()]);
        }
        self.before = Some(loss);
    }

    /// Tests the step from the point kept, if one was, to this one.
    pub(crate) fn arrive(&mut self, weights: &[f32], gradient: &[f32], loss: f64) {
        let Some(loss_before) = self.before.take() else {
            return;
        };
        let [epsilon, n_beta, localization] =
            [self.langevin.step_size, self.langevin.n_beta, self.langevin.localization].map(f64::from);
        let mut log_ratio = n_beta * (loss_before - loss);
        for i in self.selection.ranges().iter().cloned().flatten() {
            let [old, new, start] = [self.weights[i], weights[i], self.start[i]].map(f64::from);
            let [old_gradient, new_gradient] = [self.gradient[i], gradient[i]].map(|g| n_beta * f64::from(g));
            let forth = new - old + 0.5 * epsilon * (old_gradient + localization * (old - start));
            let back = old - new + 0.5 * epsilon * (new_gradient + localization * (new - start));
            log_ratio += 0.5 * localization * ((old - start).powi(2) - (new - start).powi(2));
            log_ratio += (forth * forth - back * back) / (2.0 * epsilon);
        }
        self.sum += log_ratio.min(0.0).exp();
        self.n_probes += 1;
    }

    /// Sum and number of the probabilities so far.
    pub(crate) fn total(&self) -> (f64, usize) {
        (self.sum, self.n_probes)
    }
}
