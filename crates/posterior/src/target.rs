//! The posterior as a chain meets it: loss and gradient of the step's examples, the pull of the priors, the noise.

use ontogeny_graph::{CurvatureProgram, Free, Langevin, Purpose, RunError, Stream, Threads, Workspace};

use crate::batches::BatchSource;
use crate::llc::LlcError;
use crate::objective::{LossProgram, Objective};
use crate::selection::Selection;

/// The density exp(−nβ·L(w) − γ/2·‖w − c‖²) on the free parameters around one start, for one chain.
pub(crate) struct Target<'a> {
    objective: &'a Objective,
    program: &'a LossProgram,
    pub(crate) selection: &'a Selection,
    /// Where the chain starts.
    start: &'a [f32],
    /// c, the centre of all priors together.
    pub(crate) centre: &'a [f32],
    pub(crate) langevin: Langevin,
    /// Half the width of the box around the start.
    bounds: Option<f32>,
    pub(crate) threads: Threads,
    workspace: Workspace,
    batches: Option<BatchSource>,
    reference: Option<Reference<'a>>,
    /// The gradient along the free directions, where some of a parameter are.
    projected: Option<Vec<f32>>,
    curvature: Option<(&'a CurvatureProgram, Workspace)>,
    is_paired: bool,
    noise: Stream,
    momenta: Stream,
    choices: Stream,
}

/// The control variate of gradients: those of the same examples at the start, for which the full gradient is known.
struct Reference<'a> {
    full: &'a [f32],
    workspace: Workspace,
    gradient: Vec<f32>,
}

/// What all chains have in common.
#[derive(Clone, Copy)]
pub(crate) struct Setting<'a> {
    pub(crate) objective: &'a Objective,
    pub(crate) program: &'a LossProgram,
    pub(crate) selection: &'a Selection,
    pub(crate) start: &'a [f32],
    pub(crate) centre: &'a [f32],
    pub(crate) langevin: Langevin,
    pub(crate) bounds: Option<f64>,
    pub(crate) seed: u32,
    /// Each step takes the noise of two steps of a chain at half the step size, and the examples of the first.
    pub(crate) is_paired: bool,
    /// The full gradient at the start, where gradients have a control variate.
    pub(crate) full_gradient: Option<&'a [f32]>,
    pub(crate) curvature: Option<&'a CurvatureProgram>,
}

/// An evaluation that came out, or the first parameter or activation that is not finite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Evaluated {
    Finite,
    NotFinite { node: String },
}

impl<'a> Target<'a> {
    /// The target of chain number `chain`. The stream of its noise is its number under the run's seed: the checkpoint is
    /// not part of it, so estimates along a run share their noise.
    pub(crate) fn new(setting: Setting<'a>, chain: usize, threads: Threads) -> Self {
        let Setting { objective, program, seed, .. } = setting;
        let stream = |purpose| Stream::new(seed, purpose, chain as u64);
        let noise = stream(Purpose::ChainNoise);
        let reference = setting.full_gradient.map(|full| Reference {
            full,
            workspace: Workspace::with_threads(&program.program, &threads),
            gradient: full.to_vec(),
        });
        Self {
            objective,
            program,
            selection: setting.selection,
            start: setting.start,
            centre: setting.centre,
            langevin: setting.langevin,
            bounds: setting.bounds.map(|half| half as f32),
            workspace: Workspace::with_threads(&program.program, &threads),
            batches: objective.data().map(|data| BatchSource::of_chain(data.len(), program.batch, seed, chain)),
            reference,
            projected: (!setting.selection.projectors().is_empty()).then(|| vec![0.0; setting.start.len()]),
            curvature: setting.curvature.map(|c| (c, Workspace::with_threads(c.program(), &threads))),
            is_paired: setting.is_paired,
            noise: if setting.is_paired { noise.paired() } else { noise },
            momenta: stream(Purpose::ChainMomentum),
            choices: stream(Purpose::ChainChoice),
            threads,
        }
    }

    /// Takes the examples of a step.
    pub(crate) fn begin(&mut self, step: u32) -> Result<(), RunError> {
        let of_batch = if self.is_paired { 2 * step } else { step };
        let rows = self.batches.as_mut().map_or(&[][..], |batches| batches.rows(of_batch));
        self.objective.fill(self.program, &mut self.workspace, rows)?;
        if let Some(reference) = &mut self.reference {
            self.objective.fill(self.program, &mut reference.workspace, rows)?;
            self.program.program.run(&mut reference.workspace, self.start)?;
        }
        Ok(())
    }

    /// Computes losses and gradient at `weights` for the examples of this step.
    pub(crate) fn evaluate(&mut self, weights: &[f32]) -> Result<Evaluated, LlcError> {
        let program = &self.program.program;
        program.run(&mut self.workspace, weights)?;
        if !self.loss().is_finite() || !self.is_gradient_finite() {
            let node = program.first_non_finite(&mut self.workspace, weights)?;
            return Ok(Evaluated::NotFinite { node: node.unwrap_or_else(|| "gradient".to_owned()) });
        }
        if let Some(reference) = &mut self.reference {
            let there = reference.workspace.gradient(program);
            let here = self.workspace.gradient(program);
            for range in self.selection.ranges() {
                for i in range.clone() {
                    reference.gradient[i] = here[i] - there[i] + reference.full[i];
                }
            }
        }
        if let Some(mut projected) = self.projected.take() {
            projected.copy_from_slice(self.unprojected());
            self.selection.project_direction(&mut projected);
            self.projected = Some(projected);
        }
        Ok(Evaluated::Finite)
    }

    /// Mean loss of the examples of the last evaluation.
    pub(crate) fn loss(&self) -> f64 {
        let losses = self.losses();
        losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / losses.len() as f64
    }

    /// The loss of each example of the last evaluation.
    pub(crate) fn losses(&self) -> &[f32] {
        self.program.losses(&self.workspace)
    }

    /// The examples of this step, by their numbers; none of a population loss.
    pub(crate) fn rows(&self) -> &[usize] {
        self.batches.as_ref().map_or(&[][..], BatchSource::last)
    }

    /// Of the mean loss, at the last evaluation; with a control variate where there is one.
    pub(crate) fn gradient(&self) -> &[f32] {
        self.projected.as_deref().unwrap_or_else(|| self.unprojected())
    }

    fn unprojected(&self) -> &[f32] {
        self.reference.as_ref().map_or_else(|| self.workspace.gradient(&self.program.program), |r| &r.gradient)
    }

    /// Whether every evaluation is over all examples, so that it belongs to the point alone.
    pub(crate) fn is_full_batch(&self) -> bool {
        self.objective.data().is_none_or(|data| data.len() == self.program.batch)
    }

    /// Whether gradients have a control variate.
    pub(crate) fn has_control_variate(&self) -> bool {
        self.reference.is_some()
    }

    pub(crate) fn n_free(&self) -> usize {
        self.selection.n_free()
    }

    /// U(w) = nβ·loss + γ/2·‖w − c‖².
    pub(crate) fn potential(&self, weights: &[f32], loss: f64) -> f64 {
        let free = self.selection.ranges().iter().cloned().flatten();
        let square: f64 = free.map(|i| (f64::from(weights[i]) - f64::from(self.centre[i])).powi(2)).sum();
        f64::from(self.langevin.n_beta) * loss + 0.5 * f64::from(self.langevin.localization) * square
    }

    /// The free coordinates and the noise of a step.
    pub(crate) fn free(&self, step: u32) -> Free<'_> {
        Free { ranges: self.selection.ranges(), noise: &self.noise, step }
    }

    /// Normal momenta of this standard deviation on the free coordinates, zeros elsewhere. Coordinate i always takes
    /// normal number i.
    pub(crate) fn draw_momentum(&self, momentum: &mut [f32], step: u32, deviation: f64) {
        momentum.fill(0.0);
        for range in self.selection.ranges() {
            let own = &mut momentum[range.clone()];
            self.momenta.normals(step, range.start, own);
            for p in own {
                *p *= deviation as f32;
            }
        }
        self.selection.project_direction(momentum);
    }

    /// A number in [0, 1): choice number `index` of a step.
    pub(crate) fn choice(&self, step: u32, index: u32) -> f64 {
        self.choices.uniform(step, index)
    }

    /// An unbiased estimate of the diagonal of the Hessian of the step's mean loss: s ∘ Hs with random signs s.
    pub(crate) fn hessian_diagonal(&mut self, weights: &[f32], step: u32, out: &mut [f32]) -> Result<(), LlcError> {
        let (program, workspace) = self.curvature.as_mut().expect("made for every sampler that asks for it");
        let rows = self.batches.as_ref().map_or(&[][..], BatchSource::last);
        if let Some(data) = self.objective.data() {
            data.fill(program.program(), workspace, rows)?;
        }
        let mut signs = vec![0.0; weights.len()];
        self.choices.signs(step, &mut signs);
        program.multiply(workspace, weights, &signs, out)?;
        out.iter_mut().zip(&signs).for_each(|(product, sign)| *product *= sign);
        Ok(())
    }

    /// Brings weights back to the free directions, and into the box by reflection at its walls: a wall is a mirror of the
    /// flat prior inside. A momentum is brought back likewise, and turns round with its weight.
    pub(crate) fn confine(&self, weights: &mut [f32], mut momentum: Option<&mut [f32]>) {
        self.selection.project(self.start, weights);
        if let Some(momentum) = &mut momentum {
            self.selection.project_direction(momentum);
        }
        let Some(half) = self.bounds else { return };
        for i in self.selection.ranges().iter().cloned().flatten() {
            let distance = weights[i] - self.start[i];
            if distance.abs() <= half || !distance.is_finite() {
                continue;
            }
            // A triangle wave of period 4·half: up to +half and back.
            let phase = (distance + half).rem_euclid(4.0 * half);
            let is_on_the_way_back = phase > 2.0 * half;
            let folded = if is_on_the_way_back { 3.0 * half - phase } else { phase - half };
            weights[i] = self.start[i] + folded.clamp(-half, half);
            if let Some(momentum) = momentum.as_deref_mut().filter(|_| is_on_the_way_back) {
                momentum[i] = -momentum[i];
            }
        }
    }

    fn is_gradient_finite(&self) -> bool {
        let gradient = self.workspace.gradient(&self.program.program);
        // Without an early exit inside a block the test is a vector instruction.
        let is_block_finite = |block: &[f32]| block.iter().fold(true, |all, g| all & g.is_finite());
        self.selection.ranges().iter().all(|range| gradient[range.clone()].chunks(1024).all(is_block_finite))
    }
}
