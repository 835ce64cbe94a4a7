//! The instruments of a run: compiled programs and settings of every measurement, made once and used at each checkpoint.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::atomic::AtomicBool;

use ontogeny_observe::{Evaluation, Evaluator, FourierMeasures, LegalMoves, Measured, weight_norms};
use ontogeny_posterior::{Execution, Llc, LlcError, Objective, Progress, ResponseError};
use ontogeny_zoo::{Model, Split, Subtasks, Task};

use crate::analysis::{Components, addresses};
use crate::influence::InfluenceProbes;
use crate::kept_losses::KeptProbe;
use crate::measure::{self, Reading};
use crate::responses::SusceptibilityProbes;
use crate::sections::{MeasureConfig, ObservableConfig, SubtaskConfig};
use crate::{Run, StudyError};

/// The training loss as a posterior takes it.
pub(crate) fn training_objective(model: &Model, task: &Task) -> Result<Objective, String> {
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

/// The task's sub-tasks, and the split on which they are measured.
///
/// # Errors
/// In words: a task without sub-tasks, or no such split.
fn subtasks_of<'a>(task: &'a Task, config: &SubtaskConfig) -> Result<(&'a Subtasks, &'a Split), String> {
    let subtasks = task.subtasks.as_ref().ok_or("the task has no sub-tasks; measure its `loss` instead")?;
    let split = match &config.split {
        Some(name) => task.split(name).ok_or_else(|| {
            let known: Vec<&str> = task.splits.iter().map(|split| split.name).collect();
            format!("`split` is \"{name}\"; the task has {}", known.join(", "))
        })?,
        None => ["even", "test", "train"].iter().find_map(|name| task.split(name)).ok_or("the task has no split")?,
    };
    Ok((subtasks, split))
}

/// Everything needed to measure checkpoints of one run.
pub(crate) struct Instruments<'a> {
    run: &'a Run,
    evaluator: Option<Evaluator>,
    fourier: Option<FourierMeasures>,
    objective: Option<Objective>,
    llcs: BTreeMap<String, Llc>,
    kept: BTreeMap<String, KeptProbe>,
    susceptibilities: BTreeMap<String, SusceptibilityProbes>,
    influences: BTreeMap<String, InfluenceProbes>,
}

impl<'a> Instruments<'a> {
    /// Compiles what the measurements need and checks their settings.
    ///
    /// # Errors
    /// A measurement that is not defined for this network and task, or a setting out of range.
    pub(crate) fn new(run: &'a Run) -> Result<Self, StudyError> {
        let measures = &run.file.measures;
        let wants = |kind: &str| measures.iter().find(|m| m.observable.kind() == kind);
        let failed =
            |measure: &MeasureConfig, message: String| StudyError::Measure { measure: measure.name.clone(), message };
        let evaluated =
            ["loss", "accuracy", "subtask_loss", "subtask_accuracy", "legal_moves"].into_iter().find_map(wants);
        let evaluator = match evaluated {
            Some(measure) => Some(Evaluator::new(&run.model).map_err(|e| failed(measure, e.to_string()))?),
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
        for measure in measures {
            if let ObservableConfig::SubtaskLoss(config) | ObservableConfig::SubtaskAccuracy(config) =
                &measure.observable
            {
                subtasks_of(&run.task, config).map_err(|message| failed(measure, message))?;
            }
            if measure.observable == ObservableConfig::LegalMoves && run.file.task.game().is_none() {
                let message = "only moves of a game can be legal; expected `task.kind` \"othello\" or \"tic_tac_toe\"";
                return Err(failed(measure, message.to_owned()));
            }
        }
        for measure in measures {
            let Some(objective) = &objective else { break };
            let failed = |message| failed(measure, message);
            if let Some(chains) = measure.observable.chains() {
                chains.check_calibration(&run.steps).map_err(failed)?;
                if run.task.endless.is_some() && chains.n_beta.is_none() {
                    return Err(failed(NO_N.to_owned()));
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
            if let ObservableConfig::Llc(config) = &measure.observable {
                let llc = config.llc(run.file.seed).map_err(failed)?;
                llc.check(objective).map_err(|e| failed(e.to_string()))?;
                llcs.insert(measure.name.clone(), llc);
                let data = objective.data().expect("made of a split");
                let probe = KeptProbe::new(config, &run.model, data).map_err(failed)?;
                kept.extend(probe.map(|probe| (measure.name.clone(), probe)));
            }
        }
        Ok(Self { run, evaluator, fourier, objective, llcs, kept, susceptibilities, influences })
    }

    /// Measures one observable of one checkpoint.
    ///
    /// # Errors
    /// Weights that are not finite, or an interruption. A refused estimate is no error.
    pub(crate) fn measure(
        &mut self,
        measure: &MeasureConfig,
        step: u64,
        weights: &[f32],
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
                Ok(measure::loss(&self.evaluate(weights).map_err(failed)?, run.model.interface()))
            }
            ObservableConfig::SubtaskLoss(config) => {
                let unit = run.model.interface().loss_unit();
                let found = self.evaluate_subtasks(config, weights, |e| Some(e.loss)).map_err(failed)?;
                Ok(measure::plain(&Measured::along("subtask", unit, found)))
            }
            ObservableConfig::SubtaskAccuracy(config) => {
                let found = self.evaluate_subtasks(config, weights, |e| e.accuracy).map_err(failed)?;
                Ok(measure::plain(&Measured::along("subtask", "1", found)))
            }
            ObservableConfig::Accuracy => Ok(measure::accuracy(&self.evaluate(weights).map_err(failed)?)),
            ObservableConfig::LegalMoves => Ok(measure::legal_moves(self.legal_moves(weights).map_err(failed)?)),
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
            ObservableConfig::Influence(_) => {
                let objective = self.objective.as_ref().expect("made for every file that asks for it");
                self.influences[&measure.name].measure(objective, weights, &execution).map_err(|e| failed_chains(*e))
            }
            ObservableConfig::Susceptibility(_) => {
                let objective = self.objective.as_ref().expect("made for every file that asks for it");
                self.susceptibilities[&measure.name]
                    .measure(objective, weights, &execution)
                    .map_err(|error| failed_chains(*error))
            }
        }
    }

    /// Loss and accuracy of each split. All pairs are the train and the test pairs together, so the set `all` is their
    /// weighted mean and costs nothing.
    fn evaluate(&mut self, weights: &[f32]) -> Result<Vec<(String, Evaluation)>, ontogeny_observe::ObserveError> {
        let evaluator = self.evaluator.as_mut().expect("made for every file that asks for it");
        let mut evaluations = Vec::new();
        let (mut loss, mut accuracy, mut n) = (0.0, 0.0, 0.0);
        for split in self.run.task.splits.iter().filter(|split| split.name != "all") {
            let evaluation = evaluator.evaluate(weights, &split.data)?;
            let size = split.data.len() as f64;
            loss += size * evaluation.loss;
            accuracy += size * evaluation.accuracy.unwrap_or(0.0);
            n += size;
            evaluations.push((split.name.to_owned(), evaluation));
        }
        if self.run.task.split("all").is_some() && n > 0.0 {
            let has_classes = evaluations.iter().all(|(_, e)| e.accuracy.is_some());
            let all = Evaluation { loss: loss / n, accuracy: has_classes.then_some(accuracy / n) };
            evaluations.push(("all".to_owned(), all));
        }
        Ok(evaluations)
    }

    /// The shares of legal moves in each split but `all`, which is the others together.
    fn legal_moves(&mut self, weights: &[f32]) -> Result<Vec<(String, LegalMoves)>, ontogeny_observe::ObserveError> {
        let game = self.run.file.task.game().expect("checked when the instruments were made");
        let evaluator = self.evaluator.as_mut().expect("made for every file that asks for it");
        let splits = self.run.task.splits.iter().filter(|split| split.name != "all");
        splits.map(|split| Ok((split.name.to_owned(), evaluator.legal_moves(weights, &split.data, game)?))).collect()
    }

    /// What `of` takes of each sub-task's evaluation, by its name; those without answers in the split are left out.
    fn evaluate_subtasks(
        &mut self,
        config: &SubtaskConfig,
        weights: &[f32],
        of: impl Fn(&Evaluation) -> Option<f64>,
    ) -> Result<Vec<(String, f64)>, ontogeny_observe::ObserveError> {
        let (subtasks, split) = subtasks_of(&self.run.task, config).expect("checked when the instruments were made");
        let evaluator = self.evaluator.as_mut().expect("made for every file that asks for it");
        let evaluations = evaluator.evaluate_subtasks(weights, split, subtasks)?;
        let named = subtasks.names.iter().zip(&evaluations);
        Ok(named.filter_map(|(name, e)| Some((name.clone(), of(e.as_ref()?)?))).collect())
    }

    /// Whether `[stages]` names series that will exist.
    ///
    /// # Errors
    /// The first address that nothing measures, with those that are.
    pub(crate) fn check_stages(&mut self) -> Result<(), StudyError> {
        let run = self.run;
        let Some(wanted) = &run.file.stages.observables else { return Ok(()) };
        let mut measures = Vec::new();
        for measure in &run.file.measures {
            let labels = self
                .labels(&measure.observable)
                .map_err(|e| StudyError::Measure { measure: measure.name.clone(), message: e.to_string() })?;
            let kind = measure.observable.kind().to_owned();
            measures.push(Components { name: measure.name.clone(), kind, labels });
        }
        let known = addresses(&measures).concat();
        match wanted.iter().find(|address| !known.contains(address)) {
            None => Ok(()),
            Some(address) => {
                let message = format!("nothing measures `{address}`; this file measures {}", known.join(", "));
                Err(StudyError::Stages(message))
            }
        }
    }

    /// What an observable gives at each step, by measuring the initial weights where only that tells.
    fn labels(&mut self, observable: &ObservableConfig) -> Result<Vec<String>, ontogeny_observe::ObserveError> {
        let run = self.run;
        let along = |measured: &Measured| measured.dims.iter().flat_map(|(_, labels)| labels.clone()).collect();
        match observable {
            ObservableConfig::Loss | ObservableConfig::Accuracy => {
                Ok(run.task.splits.iter().map(|split| split.name.to_owned()).collect())
            }
            ObservableConfig::SubtaskLoss(_) | ObservableConfig::SubtaskAccuracy(_) => {
                Ok(run.task.subtasks.iter().flat_map(|subtasks| subtasks.names.clone()).collect())
            }
            ObservableConfig::LegalMoves => {
                let splits = run.task.splits.iter().filter(|split| split.name != "all");
                Ok(splits.flat_map(|split| ["rate", "mass"].map(|of| format!("{}.{of}", split.name))).collect())
            }
            ObservableConfig::Llc(llc) => Ok(vec![llc.component()]),
            // Which pair is first at a step says nothing of the next: no series.
            ObservableConfig::Influence(_) => Ok(Vec::new()),
            ObservableConfig::Susceptibility(config) => {
                let of =
                    |part: &String| config.probes.iter().map(|probe| format!("{part}.{probe}")).collect::<Vec<_>>();
                Ok(config.labels().iter().flat_map(of).collect())
            }
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
