//! The trainer: updates weights step by step, hands over checkpoints, and continues with the same bits.

mod batches;
mod config;
mod entropy_sgd;
mod kfac;
mod lottery;
mod mask;
mod natural_gradient;
mod of_task;
mod optimizer;
mod policy_gradient;
mod positive_definite;
mod rate;
mod schedule;
mod selection;

pub use config::{Batch, OptimizerKind, StopBelow, TrainConfig};
pub use entropy_sgd::EntropySgdConfig;
pub use lottery::{density, prune_smallest, rewind};
pub use of_task::TaskTrainer;
pub use policy_gradient::{PolicyTrainer, policy_interface};
pub use rate::RateSchedule;
pub use schedule::{CheckpointSchedule, Spacing};

use std::ops::ControlFlow;

use ontogeny_graph::{
    Gradient, Graph, GraphError, Node, ParamSpace, Program, Purpose, RunError, Stream, Threads, Workspace, add_normals,
};

use self::batches::Batches;
use self::entropy_sgd::InnerSteps;
use self::kfac::Kfac;
use self::mask::Mask;
use self::natural_gradient::NaturalGradient;
use self::optimizer::Optimizer;
use crate::{Interface, Model, NetworkConfig, Nodes, SettingError, Task, memory};

/// Trains a model on a data set; owns the compiled program and its memory.
#[derive(Debug)]
pub struct Trainer<'a> {
    config: TrainConfig,
    batches: Batches<'a>,
    optimizer: Optimizer,
    /// The updates that are not a rule for each weight alone.
    natural: Option<NaturalGradient<'a>>,
    kfac: Option<Kfac<'a>>,
    inner: Option<InnerSteps>,
    /// Weights that `freeze` or a mask hold where they are.
    mask: Mask,
    seed: u32,
    program: Program,
    workspace: Workspace,
    threads: Threads,
}

/// All that changes during training: enough, with the configuration, the data and the seed, to continue with the same
/// bits. Minibatches, learning rates and noise are functions of the step.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainState {
    /// Updates done.
    pub step: u64,
    /// Flat weights.
    pub weights: Vec<f32>,
    /// The optimiser's named buffers, each as long as the weights.
    pub buffers: Vec<(&'static str, Vec<f32>)>,
    /// Updates in a row, up to the last one, whose loss was below that of `stop_below`; 0 without that setting.
    pub n_below: u64,
}

/// What a training reports, in order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TrainEvent<'a> {
    /// A step of the checkpoint schedule was reached; its update has not been reported yet.
    Checkpoint(&'a TrainState),
    /// An update was done.
    Step {
        /// Updates before it.
        step: u64,
        /// Updates of the whole training.
        n_steps: u64,
        /// Training loss before it, on its batch.
        loss: f32,
        /// Learning rate that it used.
        learning_rate: f64,
        /// Euclidean norm of its gradient, before clipping; held weights take no part.
        gradient_norm: f64,
        /// The state after it. Whoever wants a checkpoint where something happens keeps it; it can be continued like any.
        state: &'a TrainState,
    },
}

/// How a training came to an end without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrainOutcome {
    /// All steps are done.
    Finished,
    /// The loss stayed below that of `stop_below`; the last state was handed over as a checkpoint.
    Converged,
    /// The caller stopped it; the state is complete and can be continued.
    Stopped,
}

/// Why a trainer cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TrainerError {
    /// A setting out of range.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The graph of model and loss cannot be compiled.
    #[error("failed to compile the training step")]
    Graph(#[from] GraphError),
    /// More memory than there is.
    #[error(
        "a training step needs at least {bytes} bytes of memory, more than are free; make the network or the batch smaller"
    )]
    OutOfMemory {
        /// What it needs.
        bytes: usize,
    },
}

/// Why a saved state cannot be continued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResumeError {
    /// More steps than the training has.
    #[error("the saved state is at step {found}; expected at most {n_steps}, the steps of this training")]
    Step {
        /// Step of the state.
        found: u64,
        /// Steps of the training.
        n_steps: u64,
    },
    /// Other buffers than the optimiser's.
    #[error("the saved state has the optimiser buffers {found:?}; expected {expected:?}")]
    Buffers {
        /// Names in the state.
        found: Vec<String>,
        /// Names of the optimiser.
        expected: Vec<&'static str>,
    },
    /// Of another network.
    #[error("`{name}` of the saved state has {found} values; expected {expected}")]
    Length {
        /// `weights` or a buffer.
        name: String,
        /// Its length.
        found: usize,
        /// Parameters of the model.
        expected: usize,
    },
}

/// Why a training stopped.
#[derive(Debug, thiserror::Error)]
pub enum TrainError<E> {
    /// The loss or the weights are no longer numbers.
    #[error(
        "training stopped at step {step}: {found}; the first such value arose at `{node}`; lower the learning rate"
    )]
    NonFinite {
        /// Updates done.
        step: u64,
        /// What was seen.
        found: String,
        /// The first node, or the parameter, that held one.
        node: String,
    },
    /// The Fisher matrix of a natural gradient has no inverse.
    #[error(
        "training stopped at step {step}: the Fisher matrix plus train.damping = {damping} is not positive definite; raise the damping"
    )]
    Singular {
        /// Updates done.
        step: u64,
        /// What was added to the diagonal.
        damping: f64,
    },
    /// The data do not fit the program.
    #[error("failed at step {step}")]
    Run {
        /// Updates done.
        step: u64,
        /// What did not fit.
        source: RunError,
    },
    /// The caller's own error, from its event function.
    #[error(transparent)]
    Caller(E),
}

impl TrainState {
    /// The state before the first update, of a network of `n` weights.
    fn first(config: &TrainConfig, n: usize, weights: Vec<f32>) -> Result<Self, ResumeError> {
        let names = optimizer::buffer_names(config).iter();
        let buffers = names.map(|&name| (name.to_owned(), vec![0.0; n])).collect();
        Self::again(config, n, (0, 0), weights, buffers)
    }

    /// A state from its parts, `step` and `n_below` first.
    fn again(
        config: &TrainConfig,
        n: usize,
        (step, n_below): (u64, u64),
        weights: Vec<f32>,
        buffers: Vec<(String, Vec<f32>)>,
    ) -> Result<Self, ResumeError> {
        if step > config.steps {
            return Err(ResumeError::Step { found: step, n_steps: config.steps });
        }
        let mut buffers = buffers;
        buffers.sort_by(|a, b| a.0.cmp(&b.0));
        let expected = optimizer::buffer_names(config);
        if !buffers.iter().map(|(name, _)| name).eq(expected) {
            return Err(ResumeError::Buffers {
                found: buffers.into_iter().map(|(name, _)| name).collect(),
                expected: expected.to_vec(),
            });
        }
        let lengths = buffers.iter().map(|(name, values)| (name.as_str(), values.len()));
        for (name, found) in [("weights", weights.len())].into_iter().chain(lengths) {
            if found != n {
                return Err(ResumeError::Length { name: name.to_owned(), found, expected: n });
            }
        }
        let values = buffers.into_iter().map(|(_, values)| values);
        Ok(Self { step, weights, buffers: expected.iter().copied().zip(values).collect(), n_below })
    }

    /// Names the first weight that is no number.
    fn check_weights<E>(&self, space: &ParamSpace) -> Result<(), TrainError<E>> {
        let Some(at) = self.weights.iter().position(|w| !w.is_finite()) else {
            return Ok(());
        };
        let param = space.iter().find(|p| p.range.contains(&at));
        Err(TrainError::NonFinite {
            step: self.step,
            found: format!("a weight is {}", self.weights[at]),
            node: param.map(|p| p.name.clone()).unwrap_or_default(),
        })
    }
}

impl<'a> Trainer<'a> {
    /// Prepares training of `model` on the split `train` of `task`, or on its endless examples; `seed` decides the
    /// minibatches of a split.
    ///
    /// # Errors
    /// A setting out of range, a task without a split `train`, a batch larger than it, or too little memory.
    pub fn new(model: &Model, task: &'a Task, config: &TrainConfig, seed: u32) -> Result<Self, TrainerError> {
        Self::with_loss(model, task, config, seed, |_, nodes| nodes.loss)
    }

    /// As [`Trainer::new`], with the loss that `loss` makes of the model's nodes, such as one with a further term. It
    /// must be a scalar and declare neither parameters nor inputs.
    ///
    /// # Errors
    /// As for [`Trainer::new`], or a mistake in the added nodes.
    pub fn with_loss(
        model: &Model,
        task: &'a Task,
        config: &TrainConfig,
        seed: u32,
        loss: impl FnOnce(&mut Graph, &Nodes) -> Node,
    ) -> Result<Self, TrainerError> {
        config.check()?;
        let batches = Batches::new(config.batch, task, seed)?;
        let fits = |bytes| if memory::is_free(bytes) { Ok(()) } else { Err(TrainerError::OutOfMemory { bytes }) };
        let (mut graph, nodes) = model.graph(batches.size());
        let natural = if config.optimizer == OptimizerKind::NaturalGradient {
            let n = model.space().len();
            if n > natural_gradient::MAX_WEIGHTS {
                let expected = format!("another one for {n} weights; it is for {}", natural_gradient::MAX_WEIGHTS);
                return Err(SettingError::new("train", "optimizer", "natural_gradient", expected).into());
            }
            fits(n.saturating_mul(n * size_of::<f64>()))?;
            let batches = Batches::new(config.batch, task, seed)?;
            Some(NaturalGradient::new(&graph, &nodes, n, batches, config.damping())?)
        } else {
            None
        };
        let kfac = match (config.optimizer, model.network(), model.interface()) {
            (OptimizerKind::Kfac, NetworkConfig::Mlp(_), Interface::Vectors { loss, .. }) => {
                let batches = Batches::new(config.batch, task, seed)?;
                Some(Kfac::new(&graph, &nodes, model.space(), loss, batches, config.damping())?)
            }
            (OptimizerKind::Kfac, ..) => {
                let expected = "another one, for it knows the layers of the network kind `mlp` alone";
                return Err(SettingError::new("train", "optimizer", "kfac", expected).into());
            }
            _ => None,
        };
        let loss = loss(&mut graph, &nodes);
        graph.check()?;
        // The weights and their gradient, before anything is made for them.
        fits(model.space().len().saturating_mul(2 * size_of::<f32>()))?;
        let without_decay = selection::select(model.space(), "no_decay", &config.no_decay)?;
        let optimizer = Optimizer::new(config, model.space().len(), &without_decay);
        let mask = Mask::holding(&selection::select(model.space(), "freeze", &config.freeze)?);
        let inner = config.entropy.map(|entropy| InnerSteps::new(entropy, model.space().len()));
        let program = Program::compile(&graph, &[(LOSS, loss)], Gradient::All(loss))?;
        fits(program.workspace_bytes())?;
        let workspace = Workspace::new(&program);
        let threads = Threads::one();
        Ok(Self {
            config: config.clone(),
            batches,
            optimizer,
            natural,
            kfac,
            inner,
            mask,
            seed,
            program,
            workspace,
            threads,
        })
    }

    /// From now on only weights where `is_trained` is true move, and of these not the ones that `freeze` names; all others
    /// keep their bits, and their gradient counts as 0. A mask is no part of a state: who resumes sets it again.
    ///
    /// # Errors
    /// A mask of another length than the model's parameter space.
    pub fn set_mask(&mut self, is_trained: &[bool]) -> Result<(), SettingError> {
        let space = self.program.space();
        if is_trained.len() != space.len() {
            let (found, expected) =
                (format!("{} long", is_trained.len()), format!("an entry for each of {} weights", space.len()));
            return Err(SettingError::new("train", "mask", found, expected));
        }
        let frozen = selection::select(space, "freeze", &self.config.freeze)?;
        self.mask = Mask::new(is_trained, &frozen);
        Ok(())
    }

    /// Names, shapes and places of the parameters that it trains.
    pub fn space(&self) -> &ParamSpace {
        self.program.space()
    }

    /// Examples of each update: a batch, or one for each inner step of entropy-SGD.
    pub fn examples_per_update(&self) -> u64 {
        self.batches.size() as u64 * self.inner.as_ref().map_or(1, |inner| inner.config.steps)
    }

    /// From now on `threads` share the work of every update; the bits are those of one thread.
    pub fn set_threads(&mut self, threads: &Threads) {
        self.workspace.set_threads(&self.program, threads);
        self.threads = threads.clone();
    }

    /// The state before the first update, from flat initial weights.
    ///
    /// # Errors
    /// Weights of another length than the model's parameter space.
    pub fn start(&self, weights: Vec<f32>) -> Result<TrainState, ResumeError> {
        TrainState::first(&self.config, self.program.space().len(), weights)
    }

    /// A state put together again from what was saved of it.
    ///
    /// # Errors
    /// A state of another training: too many steps, other buffers, other lengths.
    pub fn resume(
        &self,
        step: u64,
        weights: Vec<f32>,
        buffers: Vec<(String, Vec<f32>)>,
        n_below: u64,
    ) -> Result<TrainState, ResumeError> {
        TrainState::again(&self.config, self.program.space().len(), (step, n_below), weights, buffers)
    }

    /// Trains from `state` to the last step. `on_event` gets every event and may stop the training by
    /// [`ControlFlow::Break`]; `state` is then as after the last whole update.
    ///
    /// A checkpoint that falls on the very step of `state` is handed over again, so that a caller who saves states at
    /// other times than checkpoints loses none.
    ///
    /// # Errors
    /// Losses or weights that are no longer finite, or the caller's own error.
    pub fn run<E: std::error::Error + 'static>(
        &mut self,
        state: &mut TrainState,
        mut on_event: impl FnMut(TrainEvent<'_>) -> Result<ControlFlow<()>, E>,
    ) -> Result<TrainOutcome, TrainError<E>> {
        let (config, space) = (self.config.clone(), self.program.space().clone());
        run_updates(&config, &space, state, &mut on_event, |state, rate| self.update(state, rate))
    }

    /// One update; returns the loss and the norm of the gradient before it.
    fn update<E>(&mut self, state: &mut TrainState, learning_rate: f64) -> Result<(f32, f64), TrainError<E>> {
        let step = state.step;
        let (loss, gradient_norm) = if self.inner.is_some() {
            self.entropy_update(state, learning_rate)?
        } else {
            self.plain_update(state, learning_rate)?
        };
        if let Some(stop) = self.config.stop_below {
            state.n_below = if f64::from(loss) < stop.loss { state.n_below + 1 } else { 0 };
        }
        state.step = step + 1;
        Ok((loss, gradient_norm))
    }

    fn plain_update<E>(&mut self, state: &mut TrainState, learning_rate: f64) -> Result<(f32, f64), TrainError<E>> {
        let step = state.step;
        let (loss, gradient_norm) = self.evaluate(step, step, &state.weights)?;
        let Self { config, program, workspace, optimizer, natural, kfac, mask, seed, threads, .. } = self;
        let (gradient, weights) = (workspace.gradient(program), &mut state.weights);
        mask.remember(weights);
        let failed = |source| TrainError::Run { step, source };
        let is_done = match (natural, kfac) {
            (Some(natural), _) => {
                natural.update(step, learning_rate, weights, gradient, mask.held()).map_err(failed)?
            }
            (_, Some(kfac)) => kfac.update(step, learning_rate, weights, gradient).map_err(failed)?,
            (None, None) => {
                optimizer.update(step, learning_rate as f32, weights, gradient, &mut state.buffers, threads);
                true
            }
        };
        if !is_done {
            return Err(TrainError::Singular { step, damping: config.damping() });
        }
        if config.temperature > 0.0 {
            let deviation = (2.0 * learning_rate * config.temperature).sqrt() as f32;
            // A stream's steps have 32 bits, those of a training 64: the upper half numbers the stream.
            let noise = Stream::new(*seed, Purpose::TrainingNoise, step >> 32);
            add_normals(weights, deviation, &noise, step as u32, threads);
        }
        mask.restore(weights);
        Ok((loss, gradient_norm))
    }

    /// An update of entropy-SGD; the loss is that of its first inner step, at the weights before it.
    fn entropy_update<E>(&mut self, state: &mut TrainState, learning_rate: f64) -> Result<(f32, f64), TrainError<E>> {
        let step = state.step;
        let mut inner = self.inner.take().expect("the caller has looked");
        inner.begin(&state.weights);
        self.mask.remember(&state.weights);
        let mut first = None;
        for number in 0..inner.config.steps {
            let evaluated = self.evaluate(step, step * inner.config.steps + number, &inner.place);
            let (loss, _) = match evaluated {
                Ok(evaluated) => evaluated,
                Err(error) => {
                    self.inner = Some(inner);
                    return Err(error);
                }
            };
            first.get_or_insert(loss);
            inner.advance(step, number, &state.weights, self.workspace.gradient(&self.program), self.seed);
            self.mask.restore(&mut inner.place);
            self.mask.restore(&mut inner.mean);
        }
        let gradient_norm = inner.end(step, learning_rate, &mut state.weights);
        self.mask.restore(&mut state.weights);
        self.inner = Some(inner);
        Ok((first.expect("there is at least one inner step"), gradient_norm))
    }

    /// Loss of batch number `batch` at some weights, and the norm of its gradient, which stands in the workspace: without
    /// the held weights, and clipped.
    fn evaluate<E>(&mut self, step: u64, batch: u64, weights: &[f32]) -> Result<(f32, f64), TrainError<E>> {
        let failed = |source| TrainError::Run { step, source };
        let Self { config, program, workspace, batches, mask, threads, .. } = self;
        batches.fill(batch, program, workspace).map_err(failed)?;
        program.run(workspace, weights).map_err(failed)?;
        let loss = workspace.output(program, LOSS)[0];
        if !loss.is_finite() {
            let node = program.first_non_finite(workspace, weights).map_err(failed)?;
            return Err(TrainError::NonFinite {
                step,
                found: format!("the loss is {loss}"),
                node: node.unwrap_or_else(|| LOSS.to_owned()),
            });
        }
        let gradient = workspace.gradient_mut(program);
        mask.clear(gradient);
        Ok((loss, optimizer::clip(gradient, config.clip_norm, threads)))
    }
}

/// Makes updates by `update`, which gives the loss and the norm of the gradient at a learning rate, from `state` to the
/// last step of the configuration, and reports them. See [`Trainer::run`].
fn run_updates<E>(
    config: &TrainConfig,
    space: &ParamSpace,
    state: &mut TrainState,
    on_event: &mut dyn FnMut(TrainEvent<'_>) -> Result<ControlFlow<()>, E>,
    mut update: impl FnMut(&mut TrainState, f64) -> Result<(f32, f64), TrainError<E>>,
) -> Result<TrainOutcome, TrainError<E>> {
    let n_steps = config.steps;
    let schedule = config.checkpoints.steps(n_steps);
    loop {
        let step = state.step;
        let has_converged = config.stop_below.is_some_and(|stop| state.n_below >= stop.n_updates);
        if has_converged || schedule.binary_search(&step).is_ok() {
            state.check_weights(space)?;
            if on_event(TrainEvent::Checkpoint(state)).map_err(TrainError::Caller)?.is_break() {
                return Ok(TrainOutcome::Stopped);
            }
        }
        if step >= n_steps {
            return Ok(TrainOutcome::Finished);
        }
        if has_converged {
            return Ok(TrainOutcome::Converged);
        }
        let learning_rate = config.learning_rate_at(step);
        let (loss, gradient_norm) = update(state, learning_rate)?;
        let event = TrainEvent::Step { step, n_steps, loss, learning_rate, gradient_norm, state };
        if on_event(event).map_err(TrainError::Caller)?.is_break() {
            return Ok(TrainOutcome::Stopped);
        }
    }
}

/// Name of the program's only output.
const LOSS: &str = "loss";
