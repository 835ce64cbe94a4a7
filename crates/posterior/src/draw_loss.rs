//! The loss of a draw: of which examples, and compared with which baseline.

use ontogeny_graph::{Purpose, Stream, Threads, Workspace};

use crate::batches::BatchSource;
use crate::chain::ChainPlan;
use crate::llc::{Baseline, Evaluation, LlcError};
use crate::objective::{FullLoss, LossProgram, Objective};
use crate::target::Target;

/// Measures the loss at the draws of one chain.
pub(crate) struct DrawLoss<'a> {
    objective: &'a Objective,
    program: &'a LossProgram,
    baseline: &'a FullLoss,
    compares: Baseline,
    examples: Examples,
}

enum Examples {
    /// Those of the gradient.
    OfGradient,
    /// Others, drawn anew each time, or the same each time.
    Chosen {
        batches: BatchSource,
        workspace: Workspace,
        is_fixed: bool,
        /// Of the stream, for each step of the chain.
        stride: u32,
    },
    All(Workspace),
}

/// A loss and what it is compared with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Drawn {
    pub(crate) loss: f64,
    /// Loss minus baseline.
    pub(crate) excess: f64,
    /// Variance that the choice of the examples adds to the excess.
    pub(crate) variance: f64,
}

impl<'a> DrawLoss<'a> {
    pub(crate) fn new(plan: &ChainPlan<'a>, chain: usize, threads: &Threads) -> Self {
        let objective = plan.setting.objective;
        let workspace = || Workspace::with_threads(&plan.evaluation.program, threads);
        let chosen = |stream: u64, is_fixed| match objective.data() {
            Some(data) => {
                let stream = Stream::new(plan.settings.seed, Purpose::ChainEvaluation, stream);
                let batches = BatchSource::new(data.len(), plan.evaluation.batch, stream);
                let stride = if plan.setting.is_paired { 2 } else { 1 };
                Examples::Chosen { batches, workspace: workspace(), is_fixed, stride }
            }
            None => Examples::OfGradient,
        };
        let examples = match plan.settings.evaluation {
            Evaluation::Batch => Examples::OfGradient,
            // One set for all chains; chains have the streams behind it.
            Evaluation::Fixed(_) => chosen(0, true),
            Evaluation::Fresh(_) => chosen(1 + chain as u64, false),
            Evaluation::Full => Examples::All(workspace()),
        };
        Self {
            objective,
            program: plan.evaluation,
            baseline: plan.baseline,
            compares: plan.settings.baseline,
            examples,
        }
    }

    /// The loss at `weights`, where `target` was last evaluated unless its full loss is known without.
    pub(crate) fn measure(
        &mut self,
        target: &Target<'_>,
        known_loss: Option<f64>,
        weights: &[f32],
        step: usize,
    ) -> Result<Drawn, LlcError> {
        let (baseline, compares) = (self.baseline, self.compares);
        match &mut self.examples {
            Examples::OfGradient => Ok(match known_loss {
                Some(loss) => Drawn { loss, excess: loss - baseline.mean, variance: 0.0 },
                None => compare(target.losses(), target.rows(), baseline, compares),
            }),
            Examples::Chosen { batches, workspace, is_fixed, stride } => {
                let rows = batches.rows(if *is_fixed { 0 } else { *stride * step as u32 });
                self.objective.fill(self.program, workspace, rows)?;
                self.program.program.run(workspace, weights)?;
                let drawn = compare(self.program.losses(workspace), rows, baseline, compares);
                // A set that never changes adds no scatter between draws.
                Ok(if *is_fixed { Drawn { variance: 0.0, ..drawn } } else { drawn })
            }
            Examples::All(workspace) => {
                let loss = self.objective.mean_loss(self.program, workspace, weights, |_| ())?;
                Ok(Drawn { loss, excess: loss - baseline.mean, variance: 0.0 })
            }
        }
    }
}

/// The mean loss of some examples, and how it differs from the baseline. Comparing with the same examples takes their own
/// scatter out of the estimate.
fn compare(losses: &[f32], rows: &[usize], baseline: &FullLoss, compares: Baseline) -> Drawn {
    let batch = losses.len() as f64;
    let loss = losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / batch;
    if rows.is_empty() {
        return Drawn { loss, excess: loss - baseline.mean, variance: 0.0 };
    }
    let n = baseline.examples.len() as f64;
    let reference = |row: usize| match compares {
        Baseline::SameExamples => baseline.examples[row],
        Baseline::Full => baseline.mean,
    };
    let differences = || losses.iter().zip(rows).map(|(&loss, &row)| f64::from(loss) - reference(row));
    let excess = differences().sum::<f64>() / batch;
    let variance = if batch > 1.0 && batch < n {
        // Variance of the mean of a simple random sample (Cochran 1977, eq. 2.20).
        let squares: f64 = differences().map(|d| (d - excess) * (d - excess)).sum();
        squares / (batch - 1.0) / batch * (1.0 - batch / n)
    } else {
        0.0
    };
    Drawn { loss, excess, variance }
}
