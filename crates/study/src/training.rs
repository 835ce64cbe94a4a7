//! Training inside a run: from the newest state, every checkpoint kept at once.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::sync::mpsc;

use ontogeny_graph::Threads;
use ontogeny_store::{RunFolder, RunWriter, State, Tensor};
use ontogeny_zoo::{TaskTrainer, TrainConfig, TrainError, TrainEvent, TrainOutcome, TrainState};

use crate::event::Event;
use crate::execute::Options;
use crate::training_log::Log;
use crate::{Run, StudyError};

/// Name of the flat weights in a saved state.
const WEIGHTS: &str = "weights";
/// Name of the count of losses below that of `stop_below`; missing where it is 0.
const N_BELOW: &str = "n_below";

/// Before the number of a value of `checkpoint_below`: the step of its checkpoint.
const BELOW: &str = "below_";

/// What a training has found out about its checkpoints, beyond its schedule.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The step at which it ended before the end of its schedule (`stop_below`).
    pub(crate) end: Option<u64>,
    /// Steps of further checkpoints (`checkpoint_below`), those so far.
    pub(crate) below_steps: Vec<u64>,
}

/// As the newest state in `folder` tells it.
pub(crate) fn progress(folder: &RunFolder, config: &TrainConfig) -> Result<Progress, StudyError> {
    if config.stop_below.is_none() && config.checkpoint_below.is_empty() {
        return Ok(Progress::default());
    }
    let Some(saved) = folder.read_state()? else { return Ok(Progress::default()) };
    let has_converged = config.stop_below.is_some_and(|stop| n_below(&saved) >= stop.n_updates);
    let end = (has_converged && saved.step < config.steps).then_some(saved.step);
    Ok(Progress { end, below_steps: below_steps(&saved) })
}

fn n_below(saved: &State) -> u64 {
    saved.counters.get(N_BELOW).copied().unwrap_or(0)
}

fn below_steps(saved: &State) -> Vec<u64> {
    (0..).map_while(|number: usize| saved.counters.get(&format!("{BELOW}{number}")).copied()).collect()
}

impl Run {
    /// Trains from the newest state; every checkpoint is announced once it is safe on the disk.
    pub(crate) fn train(
        &self,
        writer: &RunWriter,
        config: &TrainConfig,
        announce: &mpsc::Sender<u64>,
        threads: &Threads,
        options: &Options<'_>,
    ) -> Result<(), StudyError> {
        let mut trainer = TaskTrainer::new(&self.model, &self.stages(), config, self.file.seed)?;
        trainer.set_threads(threads);
        if let Some(is_trained) = self.start.as_ref().and_then(|start| start.is_trained.as_ref()) {
            trainer.set_mask(is_trained)?;
        }
        let mut state = if let Some(saved) = writer.folder().read_state()? {
            let (n_below, below_steps) = (n_below(&saved), below_steps(&saved));
            let mut tensors = saved.tensors;
            let weights = tensors.iter().position(|t| t.name == WEIGHTS).map(|at| tensors.swap_remove(at).values);
            let buffers = tensors.into_iter().map(|t| (t.name, t.values)).collect();
            trainer.resume(saved.step, weights.unwrap_or_default(), buffers, n_below, below_steps)?
        } else {
            let seeded = || self.model.initial_weights(self.file.seed);
            trainer.start(self.start.as_ref().map_or_else(seeded, |start| start.weights.clone()))?
        };
        let (batch, schedule) = (trainer.examples_per_update(), trainer.checkpoint_steps());
        let mut log = Log::resume(writer, (config.steps, &schedule), batch, self.model.interface(), state.step)?;
        let outcome = trainer.run(&mut state, |event| match event {
            TrainEvent::Checkpoint(state) => {
                // Before the state that continues after it, so that no row is ever missing.
                log.save(writer)?;
                self.save(writer, state)?;
                // Nobody listens once measuring has failed; the training then stops at its next step.
                let _ = announce.send(state.step);
                Ok(ControlFlow::Continue(()))
            }
            TrainEvent::Step { step, n_steps, loss, learning_rate, gradient_norm, .. } => {
                log.add(step, loss, learning_rate, gradient_norm);
                (options.observer)(&Event::Trained { step: step + 1, n_steps, loss });
                let stop = options.cancel.load(Ordering::Relaxed);
                Ok(if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            }
        });
        match outcome {
            Ok(TrainOutcome::Finished | TrainOutcome::Converged) => Ok(()),
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
        let below = state.below_steps.iter().enumerate().map(|(number, &step)| (format!("{BELOW}{number}"), step));
        let counters = (state.n_below > 0).then(|| (N_BELOW.to_owned(), state.n_below));
        let counters = counters.into_iter().chain(below).collect();
        writer.write_state(&State { step: state.step, tensors, counters })?;
        Ok(())
    }
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
