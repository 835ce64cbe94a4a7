//! The chains of one estimate: what they share, and what their records come to.

use std::ops::Range;
use std::sync::Arc;

use ontogeny_graph::{CurvatureProgram, Langevin, RunError, StepNorms, Threads, Workspace};

use crate::chain::{ChainPlan, ChainRecord, Observer};
use crate::control::{ControlSums, controlled};
use crate::diagnostics::{Diagnostics, Trace};
use crate::estimate::Estimate;
use crate::execution::{Execution, Ticker, in_parallel, threads_each};
use crate::llc::{GradientRule, Llc, LlcError, SettingsError};
use crate::objective::{FullLoss, LossProgram, Objective};
use crate::prior::{Centre, Pull};
use crate::samplers::{Correction, Sampler};
use crate::selection::Selection;
use crate::start::{Start, Tempering};
use crate::target::Setting;
use crate::verdict::{self, Case, Evidence, Limits, Verdict};

/// Everything that the chains around one start share.
pub(crate) struct Ensemble<'a> {
    settings: &'a Llc,
    objective: &'a Objective,
    weights: &'a [f32],
    selection: Selection,
    n_beta: f64,
    gradient: Arc<LossProgram>,
    evaluation: Arc<LossProgram>,
    baseline: FullLoss,
    start: Start,
    pull: Pull,
    full_gradient: Option<Vec<f32>>,
    curvature: Option<CurvatureProgram>,
    /// See [`Setting::is_paired`].
    pub(crate) is_paired: bool,
}

impl<'a> Ensemble<'a> {
    /// Checks settings and weights, measures the start and compiles the programs.
    pub(crate) fn prepare(
        settings: &'a Llc,
        objective: &'a Objective,
        weights: &'a [f32],
        execution: &Execution<'_>,
    ) -> Result<Self, LlcError> {
        settings.check(objective)?;
        let batch = objective.batch_rows(settings.batch)?;
        check_weights(objective, weights)?;
        let selection = settings.restriction.resolve_at(objective.space(), weights)?;
        check_directions(settings, &selection)?;
        let pull = Pull::new(settings.localization, &settings.priors, weights);
        let n_beta = settings.n_beta.unwrap_or_else(|| objective.default_n_beta());

        let whole = objective.program(batch, None)?;
        let threads = Threads::new(execution.threads);
        let mut workspace = Workspace::with_threads(&whole.program, &threads);
        let baseline = objective.full_loss_with(&whole, &mut workspace, weights)?;
        if !baseline.mean.is_finite() {
            let node = whole.program.first_non_finite(&mut workspace, weights)?;
            return Err(LlcError::NonFiniteStart { node: node.unwrap_or_else(|| "loss".to_owned()) });
        }
        drop(workspace);
        let n_steps = ChainPlan::n_steps(settings);
        let covered = 0.5 * settings.step_size * settings.sampler.largest_rate() * n_steps as f64;
        let tempering = Tempering {
            n_beta,
            localization: pull.precision,
            longest_step: n_beta * covered.min(1.0 / pull.precision),
        };
        let start = Start::measure(objective, &selection, &whole, weights, &baseline, &tempering, &threads)?;
        let full_gradient = match settings.gradient {
            GradientRule::ControlVariate => Some(objective.full_gradient(&selection, batch, weights, &threads)?),
            GradientRule::Plain => None,
        };
        let curvature = match settings.sampler {
            Sampler::RmspropSgld { correction: Correction::Curvature, .. } => Some(objective.curvature(batch)?),
            _ => None,
        };
        let evaluation = objective.program(objective.evaluation_rows(settings.evaluation, batch)?, None)?;
        let gradient = objective.program(batch, Some(&selection))?;
        Ok(Self {
            settings,
            objective,
            weights,
            selection,
            n_beta,
            gradient,
            evaluation,
            baseline,
            start,
            pull,
            full_gradient,
            curvature,
            is_paired: false,
        })
    }

    /// Runs all chains; `observer(chain, threads)` makes what watches the draws of each.
    pub(crate) fn run<O: Observer>(
        &self,
        execution: &Execution<'_>,
        observer: impl Fn(usize, &Threads) -> Result<O, LlcError> + Sync,
    ) -> Result<Vec<(ChainRecord, O)>, LlcError> {
        let settings = self.settings;
        let n_threads = threads_each(settings.chains, execution.threads);
        let langevin = Langevin {
            step_size: settings.step_size as f32,
            n_beta: self.n_beta as f32,
            localization: self.pull.precision as f32,
        };
        let setting = Setting {
            objective: self.objective,
            program: &self.gradient,
            selection: &self.selection,
            start: self.weights,
            centre: &self.pull.centre,
            langevin,
            bounds: settings.bounding_box,
            seed: settings.seed,
            is_paired: self.is_paired,
            full_gradient: self.full_gradient.as_deref(),
            curvature: self.curvature.as_ref(),
        };
        let plan = ChainPlan { setting, settings, evaluation: &self.evaluation, baseline: &self.baseline, n_threads };
        let ticker = Ticker::new(execution, settings.chains * ChainPlan::n_steps(settings));
        let run = |chain| {
            let mut own = observer(chain, &Threads::new(n_threads))?;
            plan.run(chain, &ticker, &mut own).map(|record| (record, own))
        };
        in_parallel(settings.chains, execution.threads, run).into_iter().collect()
    }

    /// Weighs the evidence. A chain that diverged refuses the whole estimate: its draws are never averaged over.
    pub(crate) fn conclude(&self, records: Vec<ChainRecord>) -> Result<Estimate, LlcError> {
        let case = Case {
            n_beta: self.n_beta,
            n_free: self.selection.n_free(),
            n_stepped: self.selection.ranges().iter().map(Range::len).sum(),
            is_full_batch: self.objective.data().is_none_or(|data| data.len() == self.gradient.batch),
            discretization_share: self.settings.sampler.discretization_share(),
        };
        let mut diagnostics = Diagnostics {
            n_beta: self.n_beta,
            n: self.objective.n(),
            n_free: self.selection.n_free(),
            baseline: self.baseline.mean,
            baseline_standard_error: self.baseline.standard_error,
            start: self.start,
            not_a_minimum: self.start.decrease > Limits::START_NATS,
            per_chain: records.iter().map(|record| chain_mean(record, self.n_beta)).collect(),
            mean_loss: None,
            convergence: None,
            controlled: None,
            norms: mean_norms(&records),
            failures: records.iter().filter_map(|record| record.failure.clone()).collect(),
            trace: Trace::default(),
        };
        let refusal = if diagnostics.failures.is_empty() {
            let evidence = Evidence::of(&records, case)?;
            let n_draws: usize = records.iter().map(|record| record.losses.len()).sum();
            let sum: f64 = records.iter().flat_map(|record| &record.losses).sum();
            diagnostics.mean_loss = Some(sum / n_draws as f64);
            diagnostics.convergence = Some(evidence.convergence);
            let n_identity = ControlSums::has_identity(self.settings).then(|| self.selection.n_free());
            diagnostics.controlled = controlled(&records, self.n_beta, n_identity)?;
            evidence.judge(case)
        } else {
            Some((Verdict::Diverged, verdict::diverged(&diagnostics.failures, records.len())))
        };
        let (losses, excess) = records.into_iter().map(|record| (record.losses, record.excess)).unzip();
        diagnostics.trace = Trace { losses, excess };
        let diagnostics = Box::new(diagnostics);
        Ok(match (refusal, diagnostics.convergence) {
            (None, Some(convergence)) => Estimate::Ok { value: convergence.mean, mcse: convergence.mcse, diagnostics },
            (refusal, _) => {
                let (verdict, reason) = refusal.expect("chains without evidence have diverged");
                Estimate::Refused { verdict, reason, diagnostics }
            }
        })
    }
}

fn check_weights(objective: &Objective, weights: &[f32]) -> Result<(), LlcError> {
    let space = objective.space();
    if weights.len() != space.len() {
        return Err(RunError::Weights { expected: space.len(), found: weights.len() }.into());
    }
    for param in space.iter() {
        let own = &weights[param.range.clone()];
        if let Some(index) = own.iter().position(|w| !w.is_finite()) {
            return Err(LlcError::NonFiniteWeight { param: param.name.clone(), index, value: own[index] });
        }
    }
    Ok(())
}

/// Steps along singular directions are those of all coordinates, projected: which they are only where all coordinates
/// have one step size, and where all that pulls at them points along the directions.
fn check_directions(settings: &Llc, selection: &Selection) -> Result<(), LlcError> {
    if selection.projectors().is_empty() {
        return Ok(());
    }
    let refused = |what: String, expected: &str| {
        Err(SettingsError::new("restrict", format!("singular directions with {what}"), expected).into())
    };
    match settings.sampler {
        Sampler::RmspropSgld { .. } | Sampler::AdamSgld { .. } | Sampler::Sgnht { .. } => refused(
            format!("`{}`", settings.sampler),
            "a sampler with one step size and friction for all coordinates, such as `sgld` or `baoab`",
        ),
        _ if settings.priors.iter().any(|prior| prior.centre != Centre::Start) => {
            refused("a prior centred elsewhere than at the start".to_owned(), "the localisation alone")
        }
        _ if settings.bounding_box.is_some() => refused("a box".to_owned(), "no `bounding_box`"),
        _ => Ok(()),
    }
}

fn chain_mean(record: &ChainRecord, n_beta: f64) -> Option<f64> {
    let is_complete = record.failure.is_none();
    is_complete.then(|| n_beta * record.excess.iter().sum::<f64>() / record.excess.len() as f64)
}

fn mean_norms(records: &[ChainRecord]) -> StepNorms {
    let n_steps = records.iter().map(|record| record.n_steps).sum::<usize>().max(1) as f64;
    let mean = |part: fn(&StepNorms) -> f64| records.iter().map(|record| part(&record.norms)).sum::<f64>() / n_steps;
    StepNorms {
        gradient: mean(|n| n.gradient),
        localization: mean(|n| n.localization),
        noise: mean(|n| n.noise),
        distance: mean(|n| n.distance),
        momentum: mean(|n| n.momentum),
        gradient_localization: mean(|n| n.gradient_localization),
        gradient_noise: mean(|n| n.gradient_noise),
        localization_noise: mean(|n| n.localization_noise),
        gradient_distance: mean(|n| n.gradient_distance),
    }
}
