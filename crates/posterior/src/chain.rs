//! One chain: steps around the start, and what is recorded of its draws.

use std::num::NonZero;

use ontogeny_graph::{StepNorms, Threads};

use crate::acceptance::AcceptanceProbe;
use crate::control::{ControlSums, Controls};
use crate::diagnostics::Failure;
use crate::draw_loss::{DrawLoss, Drawn};
use crate::execution::Ticker;
use crate::llc::{Llc, LlcError};
use crate::objective::{FullLoss, LossProgram};
use crate::target::{Evaluated, Setting, Target};

/// All that the chains of one estimate share.
pub(crate) struct ChainPlan<'a> {
    pub(crate) setting: Setting<'a>,
    pub(crate) settings: &'a Llc,
    /// Computes the losses of a draw, where they are not those of the gradient's batch.
    pub(crate) evaluation: &'a LossProgram,
    pub(crate) baseline: &'a FullLoss,
    /// Of each chain.
    pub(crate) n_threads: NonZero<usize>,
}

/// What else is measured at the draws of one chain.
pub(crate) trait Observer: Send {
    /// Sees the weights of a draw, before that step's update; draws come in order.
    fn draw(&mut self, weights: &[f32]) -> Result<(), LlcError>;
}

/// Nothing else.
impl Observer for () {
    fn draw(&mut self, _: &[f32]) -> Result<(), LlcError> {
        Ok(())
    }
}

/// What one chain leaves behind.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct ChainRecord {
    /// Loss at each draw.
    pub(crate) losses: Vec<f64>,
    /// Loss at each draw minus the baseline of the same examples.
    pub(crate) excess: Vec<f64>,
    /// For each draw the control variates of the steps since the draw before; empty where the sampler has none.
    pub(crate) controls: Vec<Controls>,
    /// For each draw the variance that the choice of the evaluation batch adds to the excess.
    pub(crate) batch_variances: Vec<f64>,
    /// Sums over the steps after burn-in.
    pub(crate) norms: StepNorms,
    /// Sums over the steps after burn-in of the squares of the gradient's and the noise's part.
    pub(crate) pull_squared: f64,
    pub(crate) noise_squared: f64,
    /// Sum and number of acceptance probabilities.
    pub(crate) acceptance: (f64, usize),
    /// Steps in the sums of norms.
    pub(crate) n_steps: usize,
    pub(crate) failure: Option<Failure>,
}

impl ChainPlan<'_> {
    /// Steps of one chain up to its last draw, which needs no further step but an evaluation.
    pub(crate) fn n_steps(settings: &Llc) -> usize {
        settings.burn_in + (settings.draws - 1) * settings.thin + 1
    }

    /// Runs chain number `chain`.
    pub(crate) fn run(
        &self,
        chain: usize,
        ticker: &Ticker<'_>,
        observer: &mut dyn Observer,
    ) -> Result<ChainRecord, LlcError> {
        let settings = self.settings;
        let threads = Threads::new(self.n_threads);
        let mut target = Target::new(self.setting, chain, threads.clone());
        let mut draw_loss = DrawLoss::new(self, chain, &threads);
        let mut weights = self.setting.start.to_vec();
        let mut dynamics = settings.sampler.dynamics(weights.len());
        let mut record = ChainRecord {
            losses: Vec::with_capacity(settings.draws),
            excess: Vec::with_capacity(settings.draws),
            ..ChainRecord::default()
        };
        let has_probe = settings.sampler.is_memoryless()
            && !target.has_control_variate()
            && self.setting.selection.projectors().is_empty();
        let mut probe = has_probe.then(|| {
            AcceptanceProbe::new(self.setting.selection, self.setting.centre, settings, target.is_full_batch())
        });
        let draw_at = |step: usize| {
            let after = step.checked_sub(settings.burn_in)?;
            after.is_multiple_of(settings.thin).then_some(after / settings.thin)
        };
        let has_controls = settings.sampler.has_controls();
        let mut controls = ControlSums::new(ControlSums::has_identity(settings));
        let full_step_size = self.setting.langevin.step_size;
        let n_steps = Self::n_steps(settings);
        for step in 0..n_steps {
            if !ticker.tick(1) {
                return Err(LlcError::Cancelled);
            }
            let broken = |node| Failure { chain, step, node };
            if dynamics.known_loss().is_none() {
                target.begin(step as u32)?;
                if let Evaluated::NotFinite { node } = target.evaluate(&weights)? {
                    record.failure = Some(broken(node));
                    return Ok(record);
                }
                if let Some(probe) = probe.as_mut().filter(|_| target.is_full_batch()) {
                    probe.arrive(&weights, &target);
                }
            }
            if draw_at(step).is_some() {
                // Everything under one draw belongs to the weights before this step's update.
                let drawn = draw_loss.measure(&target, dynamics.known_loss(), &weights, step)?;
                if !drawn.loss.is_finite() {
                    record.failure = Some(broken("loss of an example outside the gradient's batch".to_owned()));
                    return Ok(record);
                }
                record.keep(&drawn, has_controls.then(|| controls.take()));
                observer.draw(&weights)?;
            }
            if step + 1 == n_steps {
                break;
            }
            if step == settings.burn_in {
                dynamics.end_burn_in();
            }
            let is_probed = draw_at(step + 1).is_some_and(|draw| probe.as_ref().is_some_and(|p| p.is_due(draw)));
            if let Some(probe) = probe.as_mut().filter(|_| is_probed) {
                probe.depart(&weights, &target);
            }
            target.langevin.step_size = full_step_size * settings.schedule.factor(step, settings.burn_in) as f32;
            let norms = dynamics.step(&mut weights, &mut target, step as u32)?;
            if let Some(probe) = probe.as_mut().filter(|_| is_probed && !target.is_full_batch()) {
                // The same examples at both ends.
                if target.evaluate(&weights)? == Evaluated::Finite {
                    probe.arrive(&weights, &target);
                }
            }
            if step >= settings.burn_in {
                record.add(norms);
                controls.add(&norms, &target);
            }
        }
        if let Some(probe) = probe {
            record.acceptance = probe.total();
        } else {
            record.acceptance = dynamics.acceptance();
        }
        Ok(record)
    }
}

impl ChainRecord {
    fn keep(&mut self, drawn: &Drawn, controls: Option<Controls>) {
        self.losses.push(drawn.loss);
        self.excess.push(drawn.excess);
        self.batch_variances.push(drawn.variance);
        self.controls.extend(controls);
    }

    fn add(&mut self, norms: StepNorms) {
        let sum = &mut self.norms;
        for (sum, part) in [
            (&mut sum.gradient, norms.gradient),
            (&mut sum.localization, norms.localization),
            (&mut sum.noise, norms.noise),
            (&mut sum.distance, norms.distance),
            (&mut sum.momentum, norms.momentum),
            (&mut sum.gradient_localization, norms.gradient_localization),
            (&mut sum.gradient_noise, norms.gradient_noise),
            (&mut sum.localization_noise, norms.localization_noise),
            (&mut sum.gradient_distance, norms.gradient_distance),
        ] {
            *sum += part;
        }
        self.pull_squared += norms.gradient * norms.gradient;
        self.noise_squared += norms.noise * norms.noise;
        self.n_steps += 1;
    }
}
