//! The trainer that a task needs: on examples, or on episodes of its environment.

use std::ops::ControlFlow;

use ontogeny_graph::Threads;

use super::{
    PolicyTrainer, ResumeError, TrainConfig, TrainError, TrainEvent, TrainOutcome, TrainState, Trainer, TrainerError,
};
use crate::{Gridworld, Model, Task, TaskEnvironment, TicTacToe};

/// A trainer of any task: a [`Trainer`] where it has examples, a [`PolicyTrainer`] where it has an environment.
#[derive(Debug)]
pub enum TaskTrainer<'a> {
    /// On examples.
    Examples(Box<Trainer<'a>>),
    /// On ways through a grid.
    Gridworld(Box<PolicyTrainer<'a, Gridworld>>),
    /// On games.
    TicTacToe(Box<PolicyTrainer<'a, TicTacToe>>),
}

/// The same of whichever trainer it is.
macro_rules! of_any {
    ($any:expr, $trainer:ident => $value:expr) => {
        match $any {
            TaskTrainer::Examples($trainer) => $value,
            TaskTrainer::Gridworld($trainer) => $value,
            TaskTrainer::TicTacToe($trainer) => $value,
        }
    };
}

impl<'a> TaskTrainer<'a> {
    /// Prepares training of `model` on `task`.
    ///
    /// # Errors
    /// As for [`Trainer::new`] and [`PolicyTrainer::new`].
    pub fn new(model: &Model, task: &'a Task, config: &TrainConfig, seed: u32) -> Result<Self, TrainerError> {
        Ok(match &task.environment {
            None => Self::Examples(Box::new(Trainer::new(model, task, config, seed)?)),
            Some(TaskEnvironment::Gridworld(grid)) => {
                Self::Gridworld(Box::new(PolicyTrainer::new(model, grid, config, seed)?))
            }
            Some(TaskEnvironment::TicTacToe(game)) => {
                Self::TicTacToe(Box::new(PolicyTrainer::new(model, game, config, seed)?))
            }
        })
    }

    /// Examples or episodes of each update.
    pub fn examples_per_update(&self) -> u64 {
        match self {
            Self::Examples(trainer) => trainer.examples_per_update(),
            Self::Gridworld(trainer) => trainer.episodes_per_update(),
            Self::TicTacToe(trainer) => trainer.episodes_per_update(),
        }
    }

    /// See [`Trainer::set_threads`].
    pub fn set_threads(&mut self, threads: &Threads) {
        of_any!(self, trainer => trainer.set_threads(threads));
    }

    /// See [`Trainer::start`].
    ///
    /// # Errors
    /// Weights of another length than the model's parameter space.
    pub fn start(&self, weights: Vec<f32>) -> Result<TrainState, ResumeError> {
        of_any!(self, trainer => trainer.start(weights))
    }

    /// See [`Trainer::resume`]; `n_below` says nothing of episodes.
    ///
    /// # Errors
    /// A state of another training.
    pub fn resume(
        &self,
        step: u64,
        weights: Vec<f32>,
        buffers: Vec<(String, Vec<f32>)>,
        n_below: u64,
    ) -> Result<TrainState, ResumeError> {
        match self {
            Self::Examples(trainer) => trainer.resume(step, weights, buffers, n_below),
            Self::Gridworld(trainer) => trainer.resume(step, weights, buffers),
            Self::TicTacToe(trainer) => trainer.resume(step, weights, buffers),
        }
    }

    /// See [`Trainer::run`].
    ///
    /// # Errors
    /// Losses, logits or weights that are no longer finite, or the caller's own error.
    pub fn run<E: std::error::Error + 'static>(
        &mut self,
        state: &mut TrainState,
        on_event: impl FnMut(TrainEvent<'_>) -> Result<ControlFlow<()>, E>,
    ) -> Result<TrainOutcome, TrainError<E>> {
        of_any!(self, trainer => trainer.run(state, on_event))
    }
}
