//! The instruments of a run: compiled programs and settings of every measurement, made once and used at each checkpoint.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::atomic::AtomicBool;

use ontogeny_observe::{
    Checkpoint, Evaluation, Evaluator, FourierMeasures, Instrument, LegalMoves, Measured, ObserveError, Subject,
    expected_return, weight_norms,
};
use ontogeny_posterior::{Execution, Llc, LlcError, Objective, Progress, ResponseError};
use ontogeny_store::{MeasureLabels, series_addresses};
use ontogeny_zoo::{Adversary, AttackConfig, AttackError, Model, Split, Subtasks, Task};

use crate::fluctuations;
use crate::influence::InfluenceProbes;
use crate::kept_losses::KeptProbe;
use crate::measure::{self, Reading};
use crate::relative_variance::{self, RelativeVarianceProbe};
use crate::responses::SusceptibilityProbes;
use crate::sections::{MeasureConfig, ObservableConfig, SubtaskConfig};
use crate::trajectory::TrajectoryProbe;
use crate::{Run, StudyError};

/// The training loss as a posterior takes it; of an agent it is the regret, optimal minus expected return.
pub(crate) fn training_objective(model: &Model, task: &Task) -> Result<Objective, String> {
    if let Some(environment) = &task.environment {
        let (graph, regret) = environment.regret(model).map_err(|error| error.to_string())?;
        // An expectation has no samples. `n_beta` is given, and n enters nothing else.
        return Objective::population(graph, regret, environment.n_inputs().max(2)).map_err(|error| error.to_string());
    }
    let split = task.split("train").ok_or_else(|| "the task has no split `train`".to_owned())?;
    let model = model.clone();
    let build = move |batch| {
        let (graph, nodes) = model.graph(batch);
        (graph, nodes.example_loss)
    };
    Objective::new(split.data.clone(), build).map_err(|error| error.to_string())
}

/// n/ln n needs an n, which data without end do not have.
const NO_N: &str = "the task's training examples have no end, so that there is no n to take n/ln n of; give `n_beta`";

/// A regret has no n either.
const NO_EXAMPLES: &str = "an agent's regret is an expectation, not a mean over n examples, so that there is no n to take n/ln n of; \
                           give `n_beta`";

/// Whether a task has what an observable reads.
///
/// # Errors
/// In words: examples are asked for where an agent acts, or a return where there are examples.
fn check_kind(task: &Task, observable: &ObservableConfig) -> Result<(), String> {
    let is_of_agents = matches!(observable, ObservableConfig::Return);
    let is_of_both = matches!(observable, ObservableConfig::WeightNorm | ObservableConfig::Llc(_))
        || observable.kind() == "weight_statistics";
    match &task.environment {
        Some(_) if !is_of_agents && !is_of_both => {
            let kind = observable.kind();
            Err(format!(
                "an agent has no examples to measure `{kind}` on; expected `return`, `weight_norm`, `weight_statistics` or `llc`"
            ))
        }
        None if is_of_agents => Err("the task has examples and no agent; measure its `loss` instead".to_owned()),
        _ => Ok(()),
    }
}

/// The task's sub-tasks, and the split on which they are measured.
///
/// # Errors
/// In words: a task without sub-tasks, or no such split.
fn subtasks_of<'a>(task: &'a Task, config: &SubtaskConfig) -> Result<(&'a Subtasks, &'a Split), String> {
    let subtasks = task.subtasks.as_ref().ok_or("the task has no sub-tasks; measure its `loss` instead")?;
    Ok((subtasks, task.evaluation_split(config.split.as_deref())?))
}

/// Whether all examples of a task can be attacked.
fn check_attack(config: &AttackConfig, task: &Task) -> Result<(), AttackError> {
    let attack = config.attack()?;
    task.splits.iter().try_for_each(|split| Adversary::check_bounds(&split.data, &attack))
}

/// Everything needed to measure checkpoints of one run.
pub(crate) struct Instruments<'a> {
    run: &'a Run,
    evaluator: Option<Evaluator>,
    adversary: Option<Adversary>,
    fourier: Option<FourierMeasures>,
    objective: Option<Objective>,
    llcs: BTreeMap<String, Llc>,
    kept: BTreeMap<String, KeptProbe>,
    susceptibilities: BTreeMap<String, SusceptibilityProbes>,
    influences: BTreeMap<String, InfluenceProbes>,
    relative_variances: BTreeMap<String, RelativeVarianceProbe>,
    trajectories: BTreeMap<String, TrajectoryProbe>,
    observed: BTreeMap<String, Box<dyn Instrument>>,
}

impl<'a> Instruments<'a> {
    /// Compiles what the measurements need and checks their settings.
    ///
    /// # Errors
    /// A measurement that is not defined for this network and task, or a setting out of range.
    pub(crate) fn new(run: &'a Run) -> Result<Self, StudyError> {
        Self::of(run, &run.file.measures.iter().collect::<Vec<_>>())
    }

    /// Instruments for the measurements that are not made of chains.
    pub(crate) fn without_chains(run: &'a Run) -> Result<Self, StudyError> {
        let own = run.file.measures.iter().filter(|measure| measure.observable.chains().is_none());
        Self::of(run, &own.collect::<Vec<_>>())
    }

    fn of(run: &'a Run, measures: &[&'a MeasureConfig]) -> Result<Self, StudyError> {
        let wants = |kind: &str| measures.iter().copied().find(|m| m.observable.kind() == kind);
        let failed =
            |measure: &MeasureConfig, message: String| StudyError::Measure { measure: measure.name.clone(), message };
        for &measure in measures {
            check_kind(&run.task, &measure.observable).map_err(|message| failed(measure, message))?;
        }
        let attacked = ["robust_loss", "robust_accuracy"].into_iter().find_map(wants);
        let evaluated = ["loss", "accuracy", "subtask_loss", "subtask_accuracy", "legal_moves"]
            .into_iter()
            .find_map(wants)
            .or(attacked);
        let evaluator = match evaluated {
            Some(measure) => Some(Evaluator::new(&run.model).map_err(|e| failed(measure, e.to_string()))?),
            None => None,
        };
        let adversary = match attacked {
            Some(measure) => Some(Adversary::new(&run.model).map_err(|e| failed(measure, e.to_string()))?),
            None => None,
        };
        let fourier = match wants("fourier") {
            Some(measure) => {
                Some(FourierMeasures::new(&run.model, &run.task).map_err(|e| failed(measure, e.to_string()))?)
            }
            None => None,
        };
        let objective = match measures.iter().find(|measure| measure.observable.chains().is_some()) {
            Some(measure) => Some(training_objective(&run.model, &run.task).map_err(|e| failed(measure, e))?),
            None => None,
        };
        let (mut llcs, mut kept) = (BTreeMap::new(), BTreeMap::new());
        let (mut susceptibilities, mut influences) = (BTreeMap::new(), BTreeMap::new());
        let mut relative_variances = BTreeMap::new();
        let (mut trajectories, mut observed) = (BTreeMap::new(), BTreeMap::new());
        for &measure in measures {
            let (task, failed) = (run.task_of(measure).0, |message| failed(measure, message));
            match &measure.observable {
                ObservableConfig::RobustLoss(config) | ObservableConfig::RobustAccuracy(config) => {
                    check_attack(config, task).map_err(|error| failed(error.to_string()))?;
                }
                ObservableConfig::SubtaskLoss(config) | ObservableConfig::SubtaskAccuracy(config) => {
                    subtasks_of(task, config).map_err(failed)?;
                }
                ObservableConfig::Trajectory(config) => {
                    let probe = TrajectoryProbe::new(config, &run.model, task, run.steps.len()).map_err(failed)?;
                    trajectories.insert(measure.name.clone(), probe);
                }
                ObservableConfig::Observed(settings) => {
                    let subject = Subject { model: &run.model, task, seed: run.file.seed };
                    let instrument = settings.settings().build(&subject).map_err(|error| failed(error.to_string()))?;
                    observed.insert(measure.name.clone(), instrument);
                }
                ObservableConfig::LegalMoves if run.file.task.game().is_none() => {
                    let expected = "expected `task.kind` \"othello\" or \"tic_tac_toe\"";
                    return Err(failed(format!("only moves of a game can be legal; {expected}")));
                }
                _ => {}
            }
        }
        for &measure in measures {
            let Some(objective) = &objective else { break };
            let failed = |message| failed(measure, message);
            if let Some(chains) = measure.observable.chains() {
                chains.check_calibration(&run.steps).map_err(failed)?;
                if chains.n_beta.is_none() {
                    let reason = if run.task.environment.is_some() { Some(NO_EXAMPLES) } else { None };
                    let reason = reason.or(run.task.endless.is_some().then_some(NO_N));
                    if let Some(reason) = reason {
                        return Err(failed(reason.to_owned()));
                    }
                }
            }
            if let ObservableConfig::Susceptibility(config) = &measure.observable {
                let probes = SusceptibilityProbes::new(config, run.file.seed, &run.model, &run.task, objective);
                susceptibilities.insert(measure.name.clone(), probes.map_err(failed)?);
            }
            if let ObservableConfig::Influence(config) = &measure.observable {
                let probes = InfluenceProbes::new(config, run.file.seed, &run.model, &run.task, objective);
                influences.insert(measure.name.clone(), probes.map_err(failed)?);
            }
            if let ObservableConfig::RelativeVariance(config) = &measure.observable {
                let probe = RelativeVarianceProbe::new(config, run.file.seed, &run.model, &run.task);
                relative_variances.insert(measure.name.clone(), probe.map_err(failed)?);
            }
            if let ObservableConfig::Llc(config) = &measure.observable {
                let llc = config.llc(run.file.seed).map_err(failed)?;
                llc.check(objective).map_err(|e| failed(e.to_string()))?;
                llcs.insert(measure.name.clone(), llc);
                let probe = KeptProbe::new(config, &run.model, objective.data()).map_err(failed)?;
                kept.extend(probe.map(|probe| (measure.name.clone(), probe)));
            }
        }
        Ok(Self {
            run,
            evaluator,
            adversary,
            fourier,
            objective,
            llcs,
            kept,
            susceptibilities,
            influences,
            relative_variances,
            trajectories,
            observed,
        })
    }

    /// Measures one observable of one checkpoint, given with its partner where the observable compares two.
    ///
    /// # Errors
    /// Weights that are not finite, or an interruption. A refused estimate is no error.
    pub(crate) fn measure(
        &mut self,
        measure: &MeasureConfig,
        step: u64,
        (weights, partner): (&[f32], Option<&[f32]>),
        threads: NonZero<usize>,
        progress: &(dyn Fn(f64) + Sync),
        cancel: &AtomicBool,
    ) -> Result<Reading, StudyError> {
        let failed = |source| StudyError::Observe { measure: measure.name.clone(), step, source: Box::new(source) };
        let run = self.run;
        let report = |p: Progress| progress(p.done as f64 / p.total.max(1) as f64);
        let execution = Execution { threads, progress: Some(&report), cancel: Some(cancel) };
        let failed_chains = |error| match error {
            ResponseError::Llc(LlcError::Cancelled) => StudyError::Interrupted,
            ResponseError::Llc(other) => {
                StudyError::Llc { measure: measure.name.clone(), step, source: Box::new(other) }
            }
            other => StudyError::Measure { measure: measure.name.clone(), message: other.to_string() },
        };
        match &measure.observable {
            ObservableConfig::Loss => {
                let task = run.task_of(measure).0;
                Ok(measure::loss(&self.evaluate(task, weights, None).map_err(failed)?, run.model.interface()))
            }
            ObservableConfig::SubtaskLoss(config) => {
                let (task, unit) = (run.task_of(measure).0, run.model.interface().loss_unit());
                let found = self.evaluate_subtasks(task, config, weights, |e| Some(e.loss)).map_err(failed)?;
                Ok(measure::plain(&Measured::along("subtask", unit, found)))
            }
            ObservableConfig::SubtaskAccuracy(config) => {
                let task = run.task_of(measure).0;
                let found = self.evaluate_subtasks(task, config, weights, |e| e.accuracy).map_err(failed)?;
                Ok(measure::plain(&Measured::along("subtask", "1", found)))
            }
            ObservableConfig::Accuracy => {
                let task = run.task_of(measure).0;
                Ok(measure::accuracy(&self.evaluate(task, weights, None).map_err(failed)?))
            }
            ObservableConfig::RobustLoss(attack) => {
                let found = self.evaluate(run.task_of(measure).0, weights, Some(attack)).map_err(failed)?;
                Ok(measure::loss(&found, run.model.interface()))
            }
            ObservableConfig::RobustAccuracy(attack) => {
                let found = self.evaluate(run.task_of(measure).0, weights, Some(attack)).map_err(failed)?;
                Ok(measure::accuracy(&found))
            }
            ObservableConfig::Return => {
                let environment = run.task.environment.as_ref().expect("checked when the instruments were made");
                let expected = expected_return(&run.model, environment, weights).map_err(failed)?;
                Ok(measure::agent_return(expected, environment))
            }
            ObservableConfig::LegalMoves => Ok(measure::legal_moves(self.legal_moves(weights).map_err(failed)?)),
            ObservableConfig::Observed(_) => {
                let instrument = self.observed.get_mut(&measure.name).expect("made for every file that asks for it");
                let checkpoint = Checkpoint { weights, partner, threads, progress, cancel };
                match instrument.measure(&checkpoint) {
                    Ok(found) => Ok(measure::findings(found)),
                    Err(ObserveError::Cancelled) => Err(StudyError::Interrupted),
                    Err(error) => Err(failed(error)),
                }
            }
            ObservableConfig::WeightNorm => Ok(measure::plain(&weight_norms(&run.model, weights).map_err(failed)?)),
            ObservableConfig::Fourier => {
                let fourier = self.fourier.as_mut().expect("made for every file that asks for it");
                Ok(measure::fourier(&fourier.measure(weights).map_err(failed)?))
            }
            ObservableConfig::Llc(config) => {
                let objective = self.objective.as_ref().expect("made for every file that asks for it");
                let llc = &self.llcs[&measure.name];
                let Some(kept) = self.kept.get(&measure.name) else {
                    let estimate = llc.estimate_with(objective, weights, &execution);
                    let estimate = estimate.map_err(|error| failed_chains(error.into()))?;
                    return Ok(measure::llc(&estimate, config, llc));
                };
                let draws = llc.loss_draws(objective, weights, &kept.recording(), &execution).map_err(failed_chains)?;
                let mut reading = measure::llc(draws.estimate(), config, llc);
                reading.arrays.extend(kept.arrays(&draws));
                Ok(reading)
            }
            ObservableConfig::Trajectory(_) => {
                let probe = self.trajectories.get_mut(&measure.name).expect("made for every file that asks for it");
                probe.measure(weights).map_err(failed)
            }
            ObservableConfig::Influence(_) => {
                let objective = self.objective.as_ref().expect("made for every file that asks for it");
                self.influences[&measure.name].measure(objective, weights, &execution).map_err(|e| failed_chains(*e))
            }
            ObservableConfig::RelativeVariance(_) => {
                let probe =
                    self.relative_variances.get_mut(&measure.name).expect("made for every file that asks for it");
                let teacher = probe.teacher(weights).map_err(failed)?;
                probe.measure(teacher, weights, &execution).map_err(|error| failed_chains(error.into()))
            }
            ObservableConfig::Susceptibility(_) => {
                let objective = self.objective.as_ref().expect("made for every file that asks for it");
                self.susceptibilities[&measure.name]
                    .measure(objective, weights, &execution)
                    .map_err(|error| failed_chains(*error))
            }
        }
    }

    /// Loss and accuracy of each split, under an attack where one is given. All pairs are the train and the test pairs together, so the set `all` is their
    /// weighted mean and costs nothing.
    fn evaluate(
        &mut self,
        task: &Task,
        weights: &[f32],
        attack: Option<&AttackConfig>,
    ) -> Result<Vec<(String, Evaluation)>, ObserveError> {
        let attack = attack.map(AttackConfig::attack).transpose().map_err(AttackError::from)?;
        let evaluator = self.evaluator.as_mut().expect("made for every file that asks for it");
        let mut evaluations = Vec::new();
        let (mut loss, mut accuracy, mut n) = (0.0, 0.0, 0.0);
        for split in task.splits.iter().filter(|split| split.name != "all") {
            let evaluation = match (&attack, &mut self.adversary) {
                (Some(attack), Some(adversary)) => {
                    evaluator.evaluate(weights, &adversary.attack(weights, &split.data, attack)?)?
                }
                _ => evaluator.evaluate(weights, &split.data)?,
            };
            let size = split.data.len() as f64;
            loss += size * evaluation.loss;
            accuracy += size * evaluation.accuracy.unwrap_or(0.0);
            n += size;
            evaluations.push((split.name.to_owned(), evaluation));
        }
        if task.split("all").is_some() && n > 0.0 {
            let has_classes = evaluations.iter().all(|(_, e)| e.accuracy.is_some());
            let all = Evaluation { loss: loss / n, accuracy: has_classes.then_some(accuracy / n) };
            evaluations.push(("all".to_owned(), all));
        }
        Ok(evaluations)
    }

    /// The shares of legal moves in each split but `all`, which is the others together.
    fn legal_moves(&mut self, weights: &[f32]) -> Result<Vec<(String, LegalMoves)>, ObserveError> {
        let game = self.run.file.task.game().expect("checked when the instruments were made");
        let evaluator = self.evaluator.as_mut().expect("made for every file that asks for it");
        let splits = self.run.task.splits.iter().filter(|split| split.name != "all");
        splits.map(|split| Ok((split.name.to_owned(), evaluator.legal_moves(weights, &split.data, game)?))).collect()
    }

    /// What `of` takes of each sub-task's evaluation, by its name; those without answers in the split are left out.
    fn evaluate_subtasks(
        &mut self,
        task: &Task,
        config: &SubtaskConfig,
        weights: &[f32],
        of: impl Fn(&Evaluation) -> Option<f64>,
    ) -> Result<Vec<(String, f64)>, ObserveError> {
        let (subtasks, split) = subtasks_of(task, config).expect("checked when the instruments were made");
        let evaluator = self.evaluator.as_mut().expect("made for every file that asks for it");
        let evaluations = evaluator.evaluate_subtasks(weights, split, subtasks)?;
        let named = subtasks.names.iter().zip(&evaluations);
        Ok(named.filter_map(|(name, e)| Some((name.clone(), of(e.as_ref()?)?))).collect())
    }

    /// Whether `[stages]` names series that will exist.
    ///
    /// # Errors
    /// The first address that nothing measures, with those that are; or parts of what has none.
    pub(crate) fn check_stages(&mut self) -> Result<(), StudyError> {
        let run = self.run;
        if let Some(parts) = &run.file.stages.parts {
            let has_parts = |name: &&String| {
                let measure = run.file.measures.iter().find(|measure| measure.name == **name);
                measure.is_some_and(|m| m.observable.kind().starts_with("subtask_"))
            };
            if let Some(other) = parts.0.iter().find(|name| !has_parts(name)) {
                let message = format!(
                    "`stages.parts` names `{other}`; expected a measurement of the file with observable = \"subtask_loss\" or \
                     \"subtask_accuracy\""
                );
                return Err(StudyError::Stages(message));
            }
        }
        if let Some(names) = &run.file.stages.fluctuations {
            let is_possible = |name: &&String| {
                run.file.measures.iter().any(|measure| measure.name == **name && fluctuations::is_possible(measure))
            };
            if let Some(other) = names.0.iter().find(|name| !is_possible(name)) {
                let message = format!(
                    "`stages.fluctuations` names `{other}`; expected a measurement of the file with observable = \"trajectory\", or \
                     \"llc\" with `keep_losses`"
                );
                return Err(StudyError::Stages(message));
            }
        }
        let Some(wanted) = &run.file.stages.observables else { return Ok(()) };
        let mut measures = Vec::new();
        for measure in &run.file.measures {
            let labels = self
                .labels(measure)
                .map_err(|e| StudyError::Measure { measure: measure.name.clone(), message: e.to_string() })?;
            let kind = measure.observable.kind().to_owned();
            measures.push(MeasureLabels { name: measure.name.clone(), kind, labels });
        }
        let known = series_addresses(&measures).concat();
        match wanted.iter().find(|address| !known.contains(address)) {
            None => Ok(()),
            Some(address) => {
                let message = format!("nothing measures `{address}`; this file measures {}", known.join(", "));
                Err(StudyError::Stages(message))
            }
        }
    }

    /// What an observable gives at each step, by measuring the initial weights where only that tells.
    fn labels(&mut self, measure: &MeasureConfig) -> Result<Vec<String>, ObserveError> {
        let run = self.run;
        let task = run.task_of(measure).0;
        let along = |measured: &Measured| measured.dims.iter().flat_map(|(_, labels)| labels.clone()).collect();
        match &measure.observable {
            ObservableConfig::Loss
            | ObservableConfig::Accuracy
            | ObservableConfig::RobustLoss(_)
            | ObservableConfig::RobustAccuracy(_) => {
                Ok(task.splits.iter().map(|split| split.name.to_owned()).collect())
            }
            ObservableConfig::SubtaskLoss(_) | ObservableConfig::SubtaskAccuracy(_) => {
                Ok(task.subtasks.iter().flat_map(|subtasks| subtasks.names.clone()).collect())
            }
            ObservableConfig::Return => Ok(vec![measure::RETURN_LABEL.to_owned()]),
            ObservableConfig::LegalMoves => {
                let splits = run.task.splits.iter().filter(|split| split.name != "all");
                Ok(splits.flat_map(|split| ["rate", "mass"].map(|of| format!("{}.{of}", split.name))).collect())
            }
            ObservableConfig::Observed(_) => {
                let dims = self.observed[&measure.name].dims();
                Ok(dims.into_iter().fold(vec![String::new()], |outer, (_, labels)| {
                    let join =
                        |of: &str, label: &str| if of.is_empty() { label.to_owned() } else { format!("{of}.{label}") };
                    outer.iter().flat_map(|of| labels.iter().map(move |label| join(of, label))).collect()
                }))
            }
            ObservableConfig::Llc(llc) => Ok(vec![llc.component()]),
            // Which pair is first at a step says nothing of the next: no series.
            ObservableConfig::Influence(_) => Ok(Vec::new()),
            ObservableConfig::RelativeVariance(config) => Ok(relative_variance::labels(config.n_betas.len())),
            ObservableConfig::Susceptibility(config) => {
                let of =
                    |part: &String| config.probes.iter().map(|probe| format!("{part}.{probe}")).collect::<Vec<_>>();
                Ok(config.labels().iter().flat_map(of).collect())
            }
            ObservableConfig::Trajectory(_) => Ok(vec![String::new()]),
            ObservableConfig::WeightNorm => {
                Ok(along(&weight_norms(&run.model, &run.model.initial_weights(run.file.seed))?))
            }
            ObservableConfig::Fourier => {
                let fourier = self.fourier.as_mut().expect("made for every file that asks for it");
                Ok(along(&fourier.measure(&run.model.initial_weights(run.file.seed))?.measured))
            }
        }
    }
}
