//! Executing a run: one thread trains, the other cores measure what is there; everything finished is kept at once.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use ontogeny_graph::Isa;
use ontogeny_store::{Lookup, MissingReason, Outcome, Record, RunWriter, State, Tensor};
use ontogeny_zoo::{TrainConfig, TrainError, TrainEvent, TrainOutcome, TrainState, Trainer};

use crate::analysis::analyse;
use crate::event::{Event, Refusal, Summary};
use crate::instruments::Instruments;
use crate::sections::MeasureConfig;
use crate::{Run, Source, StudyError, import};

/// How to execute, as opposed to what: nothing here changes a result.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Threads for training and chains together.
    pub threads: NonZero<usize>,
    /// Hears every event, from any thread.
    pub observer: &'a (dyn Fn(&Event) + Sync),
    /// Once set, the run stops at the next step; what is finished is kept.
    pub cancel: &'a AtomicBool,
}

impl Run {
    /// Does whatever is missing in `directory`, which is created if need be.
    ///
    /// # Errors
    /// Another writer at work, a folder of another run, a training or measurement that failed, an interruption. The
    /// folder stays readable, and the same call continues.
    pub fn execute(&self, directory: &Path, options: &Options<'_>) -> Result<Summary, StudyError> {
        let writer = self.open(directory, options)?;
        let plans = self.plans(Some(writer.folder()))?;
        let n_total: usize = plans.values().map(|plan| plan.steps.len()).sum();
        let n_missing = n_total - count_done(&writer, &plans)?;
        let existing = match &self.file.source {
            Source::Train(_) => writer.folder().checkpoint_steps().map_err(StudyError::Io)?,
            Source::Import(_) => self.steps.clone(),
        };
        (options.observer)(&Event::Opened {
            title: self.file.title.clone(),
            directory: directory.display().to_string(),
            n_checkpoints: existing.len(),
            n_missing,
        });
        writer.write_measures(&plans)?;

        let (new_checkpoint, new_checkpoints) = mpsc::channel();
        thread::scope(|scope| {
            let trainer = match &self.file.source {
                Source::Train(config) => {
                    let writer = &writer;
                    Some(scope.spawn(move || self.train(writer, config, &new_checkpoint, options)))
                }
                Source::Import(_) => {
                    drop(new_checkpoint);
                    None
                }
            };
            let measured = self.measure_all(&writer, n_missing, &existing, &new_checkpoints, options);
            if measured.is_err() {
                options.cancel.store(true, Ordering::Relaxed);
            }
            let trained = trainer.map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            match (trained, measured) {
                // The first cause, not its consequence on the other thread.
                (Some(Err(error)), Err(other)) if error.is_interruption() => Err(other),
                (Some(Err(error)), _) | (_, Err(error)) => Err(error),
                _ => Ok(()),
            }
        })?;
        self.conclude(&writer, options)
    }

    fn open(&self, directory: &Path, options: &Options<'_>) -> Result<RunWriter, StudyError> {
        let exists = directory.join("run.toml").exists();
        let mut writer =
            if exists { RunWriter::open(directory)? } else { RunWriter::create(directory, &self.manifest)? };
        if exists {
            let old = writer.folder().manifest();
            self.check_same_run(writer.folder())?;
            if old.instruction_set != self.manifest.instruction_set {
                let message = format!(
                    "the run was begun on {}, this is {}: numbers made from here on may differ in the last bits; continue \
                     on a processor like the first to keep them",
                    old.instruction_set, self.manifest.instruction_set
                );
                (options.observer)(&Event::Notice { message });
            }
            let mut manifest = self.manifest.clone();
            manifest.instruction_set.clone_from(&old.instruction_set);
            if manifest != *old {
                writer.update_manifest(manifest)?;
            }
        }
        if !self.imported.is_empty() {
            writer.write_imported(&self.imported)?;
        }
        let mut fields = serde_json::Map::new();
        fields.insert("version".to_owned(), self.manifest.version.clone().into());
        fields.insert("instruction_set".to_owned(), Isa::current().name().into());
        writer.event("opened", fields).map_err(StudyError::Io)?;
        Ok(writer)
    }

    /// Trains from the newest state; every checkpoint is announced once it is safe on the disk.
    fn train(
        &self,
        writer: &RunWriter,
        config: &TrainConfig,
        announce: &mpsc::Sender<u64>,
        options: &Options<'_>,
    ) -> Result<(), StudyError> {
        let split = self.task.split("train").expect("checked when the run was prepared");
        let mut trainer = Trainer::new(&self.model, &split.data, config, self.file.seed)?;
        let mut state = match writer.folder().read_state()? {
            Some(saved) => {
                let mut tensors = saved.tensors;
                let weights = tensors.iter().position(|t| t.name == WEIGHTS).map(|at| tensors.swap_remove(at).values);
                let buffers = tensors.into_iter().map(|t| (t.name, t.values)).collect();
                trainer.resume(saved.step, weights.unwrap_or_default(), buffers)?
            }
            None => trainer.start(self.model.initial_weights(self.file.seed))?,
        };
        let outcome = trainer.run(&mut state, |event| match event {
            TrainEvent::Checkpoint(state) => {
                self.save(writer, state)?;
                // Nobody listens once measuring has failed; the training then stops at its next step.
                let _ = announce.send(state.step);
                Ok(ControlFlow::Continue(()))
            }
            TrainEvent::Step { step, n_steps, loss } => {
                (options.observer)(&Event::Trained { step: step + 1, n_steps, loss });
                let stop = options.cancel.load(Ordering::Relaxed);
                Ok(if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            }
        });
        match outcome {
            Ok(TrainOutcome::Finished) => Ok(()),
            Ok(TrainOutcome::Stopped) => Err(StudyError::Interrupted),
            Err(TrainError::Caller(error)) => Err(error),
            Err(error) => Err(StudyError::Training(describe(&error))),
        }
    }

    fn save(&self, writer: &RunWriter, state: &TrainState) -> Result<(), StudyError> {
        let tensors: Vec<Tensor> = self
            .model
            .tensors(&state.weights)
            .map(|(param, values)| Tensor::new(param.name.clone(), param.shape.clone(), values.to_vec()))
            .collect();
        writer.write_checkpoint(state.step, &tensors)?;
        let flat = |name: &str, values: &[f32]| Tensor::new(name, vec![values.len()], values.to_vec());
        let mut tensors = vec![flat(WEIGHTS, &state.weights)];
        tensors.extend(state.buffers.iter().map(|(name, values)| flat(name, values)));
        writer.write_state(&State { step: state.step, tensors, counters: BTreeMap::new() })?;
        Ok(())
    }

    /// Measures every checkpoint, existing ones first, new ones as they are announced.
    fn measure_all(
        &self,
        writer: &RunWriter,
        n_total: usize,
        existing: &[u64],
        new_checkpoints: &mpsc::Receiver<u64>,
        options: &Options<'_>,
    ) -> Result<(), StudyError> {
        if n_total == 0 {
            // Nothing to measure; let the training finish.
            while new_checkpoints.recv().is_ok() {}
            return Ok(());
        }
        let mut instruments = Instruments::new(self)?;
        let mut n_done = 0;
        let mut is_training = matches!(self.file.source, Source::Train(_));
        let mut available: Vec<u64> = existing.to_vec();
        for &step in &self.steps {
            while !available.contains(&step) && is_training {
                match new_checkpoints.recv() {
                    Ok(new) => available.push(new),
                    Err(mpsc::RecvError) => is_training = false,
                }
            }
            loop {
                match new_checkpoints.try_recv() {
                    Ok(new) => available.push(new),
                    Err(mpsc::TryRecvError::Empty) => break,
                    Err(mpsc::TryRecvError::Disconnected) => {
                        is_training = false;
                        break;
                    }
                }
            }
            if !available.contains(&step) {
                if options.cancel.load(Ordering::Relaxed) {
                    return Err(StudyError::Interrupted);
                }
                // Where the training failed, its own error comes before this one.
                return Err(StudyError::Store(format!(
                    "`{}` has no checkpoint of step {step}, although the training is past it: found a file that was \
                     removed, expected every step of the schedule: put it back, or remove \
                     `checkpoints/state-newest.safetensors` and run again, training makes the same bits anew",
                    writer.folder().path().display()
                )));
            }
            let reserved = usize::from(is_training);
            let threads = NonZero::new(options.threads.get().saturating_sub(reserved)).unwrap_or(NonZero::<usize>::MIN);
            self.measure_step(writer, &mut instruments, step, (&mut n_done, n_total), threads, options)?;
        }
        Ok(())
    }

    fn measure_step(
        &self,
        writer: &RunWriter,
        instruments: &mut Instruments<'_>,
        step: u64,
        (n_done, n_total): (&mut usize, usize),
        threads: NonZero<usize>,
        options: &Options<'_>,
    ) -> Result<(), StudyError> {
        let tensors = match self.imported.iter().find(|checkpoint| checkpoint.step == step) {
            Some(checkpoint) => checkpoint.blake3.clone(),
            None => writer.folder().checkpoint_header(step)?.hash,
        };
        let mut weights: Option<Vec<f32>> = None;
        for measure in &self.file.measures {
            let key = self.key(measure, &tensors);
            match writer.folder().record(&measure.name, step, &key)? {
                Lookup::Found(_) => continue,
                Lookup::Missing(reason @ MissingReason::Damaged { .. }) => {
                    let message = format!("{reason}; `{}` at step {step} is made again", measure.name);
                    (options.observer)(&Event::Notice { message });
                }
                Lookup::Missing(_) => {}
            }
            if options.cancel.load(Ordering::Relaxed) {
                return Err(StudyError::Interrupted);
            }
            if weights.is_none() {
                weights = Some(self.weights_at(writer, step)?);
            }
            let weights = weights.as_deref().unwrap_or_default();
            let progress = |share: f64| {
                (options.observer)(&Event::Measuring {
                    measure: measure.name.clone(),
                    step,
                    n_done: *n_done,
                    n_total,
                    share,
                });
            };
            let reading = instruments.measure(measure, step, weights, threads, &progress, options.cancel)?;
            let refused = match &reading.outcome {
                Outcome::Refused { verdict, reason } => Some(format!("{verdict}: {reason}")),
                Outcome::Done => None,
            };
            writer.put_record(&Record {
                key,
                measure: measure.name.clone(),
                kind: measure.observable.kind().to_owned(),
                algorithm_version: measure.observable.algorithm_version(),
                step,
                outcome: reading.outcome,
                arrays: reading.arrays,
                details: reading.details,
            })?;
            *n_done += 1;
            (options.observer)(&Event::Measured {
                measure: measure.name.clone(),
                step,
                n_done: *n_done,
                n_total,
                refused,
            });
        }
        Ok(())
    }

    fn weights_at(&self, writer: &RunWriter, step: u64) -> Result<Vec<f32>, StudyError> {
        if let (Source::Import(config), Some(checkpoint)) =
            (&self.file.source, self.imported.iter().find(|checkpoint| checkpoint.step == step))
        {
            checkpoint.verify()?;
            return import::weights(config, &self.model, &checkpoint.path);
        }
        let checkpoint = writer.folder().read_checkpoint(step)?;
        import::flat(&self.model, step, &checkpoint.tensors)
    }

    /// Looks for transitions and stages in what is measured, and writes the arrays for other programs.
    fn conclude(&self, writer: &RunWriter, options: &Options<'_>) -> Result<Summary, StudyError> {
        writer.write_measures(&self.plans(Some(writer.folder()))?)?;
        let mut view = writer.folder().view()?.results;
        let (analysis, left_out) = analyse(&view, &self.file.stages, u64::from(self.file.seed), options.threads);
        writer.write_analysis(&analysis)?;
        if !left_out.is_empty() {
            let message = format!("not looked at for transitions: {}", left_out.join("; "));
            (options.observer)(&Event::Notice { message });
        }
        view.transitions.clone_from(&analysis.transitions);
        view.stages.clone_from(&analysis.stages);
        (options.observer)(&Event::Analysed {
            n_transitions: analysis.transitions.len(),
            n_boundaries: analysis.stages.len(),
        });
        for problem in writer.write_zarr()? {
            let message = format!("`{}` at step {}: {}", problem.measure, problem.step, problem.reason);
            (options.observer)(&Event::Notice { message });
        }
        let refusals = refusals(&view, &self.file.measures);
        writer.event("finished", serde_json::Map::new()).map_err(StudyError::Io)?;
        Ok(Summary { view, analysis, refusals })
    }
}

/// Measurements whose record is there and whole.
fn count_done(writer: &RunWriter, plans: &BTreeMap<String, ontogeny_store::MeasurePlan>) -> Result<usize, StudyError> {
    let mut n_done = 0;
    for (name, plan) in plans {
        for (&step, key) in &plan.steps {
            if let Some(key) = key {
                n_done += usize::from(writer.folder().record(name, step, key)?.into_record().is_some());
            }
        }
    }
    Ok(n_done)
}

/// Name of the flat weights in a saved state.
const WEIGHTS: &str = "weights";

fn refusals(view: &ontogeny_store::RunView, measures: &[MeasureConfig]) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for (name, observable) in &view.observables {
        let accepted = measures.iter().any(|measure| measure.name == *name && measure.accepts_refusal);
        for (status, step) in observable.status.iter().zip(&view.checkpoints) {
            if let ontogeny_store::Status::Refused { verdict, reason } = status {
                let reason = format!("{verdict}: {reason}");
                refusals.push(Refusal { measure: name.clone(), step: *step, reason, accepted });
            }
        }
    }
    refusals
}

/// An error with its causes on one line.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
