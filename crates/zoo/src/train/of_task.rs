//! The trainer that a task needs: on examples, or on episodes of its environment.

use std::ops::ControlFlow;

use ontogeny_graph::Threads;

use super::{
    PolicyTrainer, ResumeError, Stage, TrainConfig, TrainError, TrainEvent, TrainOutcome, TrainState, Trainer,
    TrainerError,
};
use crate::{Gridworld, Model, SettingError, TaskEnvironment, TicTacToe};

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
    /// Prepares training of `model` on the tasks of `stages`, one after another; on an environment alone.
    ///
    /// # Errors
    /// As for [`Trainer::with_stages`] and [`PolicyTrainer::new`], or an environment among several stages.
    pub fn new(model: &Model, stages: &[Stage<'a>], config: &TrainConfig, seed: u32) -> Result<Self, TrainerError> {
        let environment = stages.iter().find_map(|stage| Some((stage, stage.task.environment.as_ref()?)));
        if let Some((stage, _)) = environment.filter(|_| stages.len() > 1) {
            let found = format!("several, and `{}` has an environment", stage.name);
            return Err(SettingError::new("train", "stages", found, "a policy to be trained in one stage").into());
        }
        Ok(match environment.map(|(_, environment)| environment) {
            None => Self::Examples(Box::new(Trainer::with_stages(model, stages, config, seed)?)),
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

    /// See [`Trainer::checkpoint_steps`].
    pub fn checkpoint_steps(&self) -> Vec<u64> {
        match self {
            Self::Examples(trainer) => trainer.checkpoint_steps().to_vec(),
            Self::Gridworld(trainer) => trainer.checkpoint_steps(),
            Self::TicTacToe(trainer) => trainer.checkpoint_steps(),
        }
    }

    /// See [`Trainer::set_mask`].
    ///
    /// # Errors
    /// A mask of another length than the model's parameter space.
    pub fn set_mask(&mut self, is_trained: &[bool]) -> Result<(), SettingError> {
        of_any!(self, trainer => trainer.set_mask(is_trained))
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

    /// See [`Trainer::resume`]; `n_below` and `below_steps` say nothing of episodes.
    ///
    /// # Errors
    /// A state of another training.
    pub fn resume(
        &self,
        step: u64,
        weights: Vec<f32>,
        buffers: Vec<(String, Vec<f32>)>,
        n_below: u64,
        below_steps: Vec<u64>,
    ) -> Result<TrainState, ResumeError> {
        match self {
            Self::Examples(trainer) => trainer.resume(step, weights, buffers, n_below, below_steps),
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
