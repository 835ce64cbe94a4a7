//! What the losses of single examples do over the draws: learning coefficients of each, functional variance, and those of
//! other data.

use std::sync::Arc;

use ontogeny_graph::{Threads, Workspace};

use crate::batches::Batch;
use crate::chain::Observer;
use crate::ensemble::Ensemble;
use crate::estimate::Estimate;
use crate::execution::Execution;
use crate::llc::{Llc, LlcError, SettingsError};
use crate::objective::{FullLoss, LossProgram, Objective};
use crate::quantity::Quantity;

/// Segments that the draws of a chain are averaged in: enough for an error, few enough for the memory
/// (chains × segments × examples numbers).
const SEGMENTS: usize = 10;

/// The losses ℓᵢ of examples under a posterior, which may be that of another loss.
///
/// Errors come from the means of 10 segments of each chain (batch means; Flegal & Jones 2010), so they allow for
/// autocorrelation over up to about a twentieth of a chain, and for chains that differ.
#[derive(Debug, Clone, PartialEq)]
pub struct ExampleLosses {
    /// λᵢ = nβ·(E[ℓᵢ(w)] − ℓᵢ(w*)) for each example, in order. Their mean is the learning coefficient of the mean loss.
    /// Single ones may be negative: the posterior does not centre on their minima.
    pub lambda: Vec<Quantity>,
    /// The mean of `lambda`: the learning coefficient of the data these examples are, λ̂ itself if they are the training
    /// data, the data-restricted one (Wang et al. 2024, §3.2) if they are others.
    pub mean: Quantity,
    /// The functional variance V = Σᵢ Var[ℓᵢ(w)] over the draws (Watanabe 2010), in nats².
    pub functional_variance: Quantity,
    /// The singular fluctuation ν = (β/2)·V with β = nβ/n, n the number of these examples (Watanabe 2010): d/2 for a
    /// regular model that holds the truth, at every β.
    pub singular_fluctuation: Quantity,
}

impl Llc {
    /// Estimates λ̂, and at every draw the loss of each example of `probe`: the objective itself, or another of the same
    /// network. Examples that are tokens make it per-token. Costs a pass over the probe's data at each draw. No losses
    /// when the estimate is refused.
    ///
    /// # Errors
    /// As [`Llc::estimate_with`]; a probe without data or of other parameters; fewer than 20 draws.
    pub fn estimate_examples(
        &self,
        objective: &Objective,
        probe: &Objective,
        weights: &[f32],
        execution: &Execution<'_>,
    ) -> Result<(Estimate, Option<ExampleLosses>), LlcError> {
        let Some(data) = probe.data() else {
            return Err(SettingsError::new("probe", "a population loss", "an objective with data").into());
        };
        if probe.space() != objective.space() {
            return Err(SettingsError::new("probe", "another network", "the parameters of the objective").into());
        }
        if self.draws < 2 * SEGMENTS {
            return Err(SettingsError::new("draws", self.draws, format!("at least {}", 2 * SEGMENTS)).into());
        }
        let ensemble = Ensemble::prepare(self, objective, weights, execution)?;
        let batch = match self.batch {
            Batch::Size(rows) => rows.min(data.len()),
            Batch::Full => data.len(),
        };
        let start = probe.full_loss(weights, Batch::Size(batch))?;
        let program = probe.program(batch, None)?;
        let watch = |_, threads: &Threads| {
            Ok(Watch {
                objective: probe,
                workspace: Workspace::with_threads(&program.program, threads),
                program: Arc::clone(&program),
                start: &start,
                n_draws: self.draws,
                draw: 0,
                segments: vec![Segment::new(data.len()); SEGMENTS],
            })
        };
        let watched = ensemble.run(execution, watch)?;
        let (records, segments): (Vec<_>, Vec<_>) =
            watched.into_iter().map(|(record, watch)| (record, watch.segments)).unzip();
        let estimate = ensemble.conclude(records)?;
        let n_beta = estimate.diagnostics().n_beta;
        let losses = estimate.value().map(|_| ExampleLosses::of(&segments.concat(), n_beta));
        Ok((estimate, losses))
    }
}

/// Sums over the draws of a segment, of losses minus those at the start.
#[derive(Debug, Clone)]
struct Segment {
    n: usize,
    /// For each example.
    sums: Vec<f64>,
    /// Of the squares, over all examples.
    squares: f64,
}

impl Segment {
    fn new(n_examples: usize) -> Self {
        Self { n: 0, sums: vec![0.0; n_examples], squares: 0.0 }
    }
}

/// Watches the losses of one chain.
struct Watch<'a> {
    objective: &'a Objective,
    program: Arc<LossProgram>,
    workspace: Workspace,
    start: &'a FullLoss,
    n_draws: usize,
    draw: usize,
    segments: Vec<Segment>,
}

impl Observer for Watch<'_> {
    fn draw(&mut self, weights: &[f32]) -> Result<(), LlcError> {
        let segment = &mut self.segments[self.draw * SEGMENTS / self.n_draws];
        let mut examples = segment.sums.iter_mut().zip(&self.start.examples);
        let squares = &mut segment.squares;
        self.objective.mean_loss(&self.program, &mut self.workspace, weights, |loss| {
            if let Some((sum, start)) = examples.next() {
                *sum += loss - start;
                *squares += (loss - start).powi(2);
            }
        })?;
        segment.n += 1;
        self.draw += 1;
        Ok(())
    }
}

impl ExampleLosses {
    /// From the segments of all chains, each of about the same number of draws.
    fn of(segments: &[Segment], n_beta: f64) -> Self {
        let n_draws = segments.iter().map(|s| s.n).sum::<usize>() as f64;
        let n_segments = segments.len() as f64;
        let n_examples = segments[0].sums.len();
        let means: Vec<f64> =
            (0..n_examples).map(|i| segments.iter().map(|s| s.sums[i]).sum::<f64>() / n_draws).collect();
        let error = |of: &dyn Fn(&Segment) -> f64| {
            // Of the mean of segments of nearly equal length, by the spread of their means.
            let values: Vec<f64> = segments.iter().map(|s| of(s) / s.n as f64).collect();
            let centre = values.iter().sum::<f64>() / n_segments;
            let squares: f64 = values.iter().map(|v| (v - centre).powi(2)).sum();
            (squares / (n_segments - 1.0) / n_segments).sqrt()
        };
        let lambda: Vec<Quantity> =
            (0..n_examples).map(|i| Quantity { value: means[i], mcse: error(&|s| s.sums[i]) }.scaled(n_beta)).collect();
        let per_example = |sum: f64| sum / n_examples as f64;
        let mean =
            Quantity { value: per_example(means.iter().sum()), mcse: per_example(error(&|s| s.sums.iter().sum())) };
        // V = E[Σd²] − Σ(E d)²; the squared means of finite draws are too large by their own variances. To first order V
        // varies as Σd² − 2Σ(E d)·d.
        let squares = segments.iter().map(|s| s.squares).sum::<f64>() / n_draws;
        let of_means: f64 = lambda.iter().zip(&means).map(|(l, m)| m * m - (l.mcse / n_beta).powi(2)).sum();
        let influence = |s: &Segment| s.squares - 2.0 * s.sums.iter().zip(&means).map(|(d, m)| d * m).sum::<f64>();
        let functional_variance = Quantity { value: squares - of_means, mcse: error(&influence) };
        let beta = n_beta / n_examples as f64;
        Self {
            lambda,
            mean: mean.scaled(n_beta),
            functional_variance,
            singular_fluctuation: functional_variance.scaled(0.5 * beta),
        }
    }
}
