//! How often a Metropolis test would have accepted the steps of an SGLD chain: a check on the step size.

use crate::llc::Llc;
use crate::selection::Selection;
use crate::target::Target;

/// Probes per chain: enough for two digits, few enough to cost nothing.
const N_PROBES: usize = 64;
/// With minibatches a probe costs an evaluation: at most one in so many steps.
const STEPS_PER_PROBE: usize = 20;

/// The acceptance probability of the matching MALA step (Roberts & Tweedie 1996), at some of the draws.
///
/// A step from w to w' would be accepted with probability min(1, a), ln a = U(w) − U(w') +
/// [‖w' − w + (ε/2)∇U(w)‖² − ‖w − w' + (ε/2)∇U(w')‖²]/(2ε), U = nβ·L + γ/2·‖w − c‖². L is the loss of the same examples
/// at both ends: of all of them with full batches, else of the step's minibatch. A proposal must depend on w alone, hence
/// no memory of past gradients.
#[derive(Debug)]
pub(crate) struct AcceptanceProbe<'a> {
    selection: &'a Selection,
    centre: &'a [f32],
    /// Draws between probes.
    stride: usize,
    /// Loss at the point before the step to be tested.
    before: Option<f64>,
    weights: Vec<f32>,
    gradient: Vec<f32>,
    sum: f64,
    n_probes: usize,
}

impl<'a> AcceptanceProbe<'a> {
    pub(crate) fn new(selection: &'a Selection, centre: &'a [f32], settings: &Llc, is_free_of_cost: bool) -> Self {
        let steps = settings.draws * settings.thin;
        let probes = if is_free_of_cost { N_PROBES } else { N_PROBES.min(steps / STEPS_PER_PROBE).max(1) };
        Self {
            selection,
            centre,
            stride: settings.draws.div_ceil(probes),
            before: None,
            weights: vec![0.0; centre.len()],
            gradient: vec![0.0; centre.len()],
            sum: 0.0,
            n_probes: 0,
        }
    }

    /// Whether the step that leads to draw number `draw` is tested.
    pub(crate) fn is_due(&self, draw: usize) -> bool {
        draw.is_multiple_of(self.stride)
    }

    /// Keeps the point that the tested step starts from, where `target` has been evaluated.
    pub(crate) fn depart(&mut self, weights: &[f32], target: &Target<'_>) {
        let gradient = target.gradient();
        for range in self.selection.ranges() {
            self.weights[range.clone()].copy_from_slice(&weights[range.clone()]);
            self.gradient[range.clone()].copy_from_slice(&gradient[range.clone()]);
        }
        self.before = Some(target.loss());
    }

    /// Tests the step from the point kept, if one was, to this one, where `target` has been evaluated.
    pub(crate) fn arrive(&mut self, weights: &[f32], target: &Target<'_>) {
        let Some(loss_before) = self.before.take() else {
            return;
        };
        let (loss, gradient, langevin) = (target.loss(), target.gradient(), target.langevin);
        let [epsilon, n_beta, localization] =
            [langevin.step_size, langevin.n_beta, langevin.localization].map(f64::from);
        let mut log_ratio = n_beta * (loss_before - loss);
        for i in self.selection.ranges().iter().cloned().flatten() {
            let [old, new, centre] = [self.weights[i], weights[i], self.centre[i]].map(f64::from);
            let [old_gradient, new_gradient] = [self.gradient[i], gradient[i]].map(|g| n_beta * f64::from(g));
            let forth = new - old + 0.5 * epsilon * (old_gradient + localization * (old - centre));
            let back = old - new + 0.5 * epsilon * (new_gradient + localization * (new - centre));
            log_ratio += 0.5 * localization * ((old - centre).powi(2) - (new - centre).powi(2));
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
