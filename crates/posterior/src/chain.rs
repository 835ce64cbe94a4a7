//! One chain: steps around the start, and what is recorded of its draws.

use std::num::NonZero;

use ontogeny_graph::{Free, Langevin, Purpose, StepNorms, Stream, Threads, Workspace};

use crate::acceptance::AcceptanceProbe;
use crate::batches::BatchSource;
use crate::diagnostics::Failure;
use crate::execution::Ticker;
use crate::llc::{Evaluation, Llc, LlcError};
use crate::objective::{FullLoss, LossProgram, Objective};
use crate::selection::Selection;

/// All that the chains of one estimate share.
pub(crate) struct ChainPlan<'a> {
    pub(crate) objective: &'a Objective,
    pub(crate) settings: &'a Llc,
    pub(crate) selection: &'a Selection,
    pub(crate) n_beta: f64,
    pub(crate) gradient: &'a LossProgram,
    pub(crate) evaluation: &'a LossProgram,
    pub(crate) start: &'a [f32],
    pub(crate) baseline: &'a FullLoss,
    /// Of each chain.
    pub(crate) n_threads: NonZero<usize>,
}

/// What one chain leaves behind.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct ChainRecord {
    /// Loss at each draw.
    pub(crate) losses: Vec<f64>,
    /// Loss at each draw minus the baseline of the same examples.
    pub(crate) excess: Vec<f64>,
    /// Sum over draws of the variance that the choice of the evaluation batch adds to the excess.
    pub(crate) batch_variance: f64,
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
    /// Executions of the gradient program in one chain: the last draw needs no further step.
    pub(crate) fn n_steps(settings: &Llc) -> usize {
        settings.burn_in + (settings.draws - 1) * settings.thin + 1
    }

    /// Runs chain number `chain`. The stream of its noise is its number under the run's seed: the checkpoint is not
    /// part of it, so estimates along a run share their noise.
    pub(crate) fn run(&self, chain: usize, ticker: &Ticker<'_>) -> Result<ChainRecord, LlcError> {
        let settings = self.settings;
        let noise = Stream::new(settings.seed, Purpose::ChainNoise, chain as u64);
        let mut batches =
            self.objective.data().map(|data| BatchSource::new(data.len(), self.gradient.batch, settings.seed, chain));
        let threads = Threads::new(self.n_threads);
        let mut workspace = Workspace::with_threads(&self.gradient.program, &threads);
        let mut evaluation = match settings.evaluation {
            Evaluation::Full => Some(Workspace::with_threads(&self.evaluation.program, &threads)),
            Evaluation::Batch => None,
        };
        let langevin = Langevin {
            step_size: settings.step_size as f32,
            n_beta: self.n_beta as f32,
            localization: settings.localization as f32,
        };
        let mut weights = self.start.to_vec();
        let mut update = settings.sampler.update(weights.len());
        let mut record = ChainRecord {
            losses: Vec::with_capacity(settings.draws),
            excess: Vec::with_capacity(settings.draws),
            ..ChainRecord::default()
        };
        let has_full_batches = (self.objective.data()).is_none_or(|data| data.len() == self.gradient.batch);
        let mut probe = (has_full_batches && settings.sampler.is_memoryless())
            .then(|| AcceptanceProbe::new(self.selection, self.start, langevin, settings.draws));
        let draw_at = |step: usize| {
            let after = step.checked_sub(settings.burn_in)?;
            after.is_multiple_of(settings.thin).then_some(after / settings.thin)
        };
        let n_steps = Self::n_steps(settings);
        for step in 0..n_steps {
            if !ticker.tick(1) {
                return Err(LlcError::Cancelled);
            }
            let rows = batches.as_mut().map_or(&[][..], |batches| batches.rows(step as u32));
            self.objective.fill(self.gradient, &mut workspace, rows)?;
            self.gradient.program.run(&mut workspace, &weights)?;
            let batch_loss = self.batch_loss(&workspace, rows);
            if !batch_loss.loss.is_finite() || !self.is_gradient_finite(&workspace) {
                let node = self.gradient.program.first_non_finite(&mut workspace, &weights)?;
                record.failure = Some(Failure { chain, step, node: node.unwrap_or_else(|| "gradient".to_owned()) });
                return Ok(record);
            }
            let gradient = workspace.gradient(&self.gradient.program);
            if let Some(probe) = &mut probe {
                probe.arrive(&weights, gradient, batch_loss.loss);
                if draw_at(step + 1).is_some_and(|draw| probe.is_due(draw)) {
                    probe.depart(&weights, gradient, batch_loss.loss);
                }
            }
            if draw_at(step).is_some() {
                // Everything under one draw belongs to the weights before this step's update.
                let drawn = match &mut evaluation {
                    None => batch_loss,
                    Some(workspace) => {
                        let loss = self.objective.mean_loss(self.evaluation, workspace, &weights, |_| ())?;
                        BatchLoss { loss, excess: loss - self.baseline.mean, variance: 0.0 }
                    }
                };
                if !drawn.loss.is_finite() {
                    let node = "loss of an example outside the gradient's batch".to_owned();
                    record.failure = Some(Failure { chain, step, node });
                    return Ok(record);
                }
                record.losses.push(drawn.loss);
                record.excess.push(drawn.excess);
                record.batch_variance += drawn.variance;
            }
            if step + 1 == n_steps {
                break;
            }
            let free = Free { ranges: self.selection.ranges(), noise: &noise, step: step as u32 };
            let norms = update.step(&mut weights, self.start, gradient, free, &langevin, &threads);
            if step >= settings.burn_in {
                record.add(norms);
            }
        }
        record.acceptance = probe.map_or((0.0, 0), |probe| probe.total());
        Ok(record)
    }

    /// The loss of the batch just executed, and how it differs from the baseline of the same examples: comparing like
    /// with like takes the scatter of the examples themselves out of the estimate.
    fn batch_loss(&self, workspace: &Workspace, rows: &[usize]) -> BatchLoss {
        let losses = self.gradient.losses(workspace);
        let baseline = &self.baseline.examples;
        let batch = losses.len() as f64;
        let loss = losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / batch;
        if rows.is_empty() {
            return BatchLoss { loss, excess: loss - self.baseline.mean, variance: 0.0 };
        }
        let differences = || losses.iter().zip(rows).map(|(&loss, &row)| f64::from(loss) - baseline[row]);
        let excess = differences().sum::<f64>() / batch;
        let n = baseline.len() as f64;
        let variance = if batch > 1.0 && batch < n {
            // Variance of the mean of a simple random sample (Cochran 1977, eq. 2.20).
            let squares: f64 = differences().map(|d| (d - excess) * (d - excess)).sum();
            squares / (batch - 1.0) / batch * (1.0 - batch / n)
        } else {
            0.0
        };
        BatchLoss { loss, excess, variance }
    }

    fn is_gradient_finite(&self, workspace: &Workspace) -> bool {
        let gradient = workspace.gradient(&self.gradient.program);
        // Without an early exit inside a block the test is a vector instruction.
        let is_block_finite = |block: &[f32]| block.iter().fold(true, |all, g| all & g.is_finite());
        self.selection.ranges().iter().all(|range| gradient[range.clone()].chunks(1024).all(is_block_finite))
    }
}

struct BatchLoss {
    loss: f64,
    excess: f64,
    variance: f64,
}

impl ChainRecord {
    fn add(&mut self, norms: StepNorms) {
        self.norms.gradient += norms.gradient;
        self.norms.localization += norms.localization;
        self.norms.noise += norms.noise;
        self.norms.distance += norms.distance;
        self.pull_squared += norms.gradient * norms.gradient;
        self.noise_squared += norms.noise * norms.noise;
        self.n_steps += 1;
    }
}
