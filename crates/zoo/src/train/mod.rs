//! The trainer: updates weights step by step, hands over checkpoints, and continues with the same bits.

mod batches;
mod config;
mod entropy_sgd;
mod error;
mod kfac;
mod lottery;
mod mask;
mod natural_gradient;
mod of_task;
mod optimizer;
mod policy_gradient;
mod positive_definite;
mod progress;
mod rate;
mod schedule;
mod selection;
mod stage;

pub use config::{Batch, OptimizerKind, StopBelow, TrainConfig};
pub use entropy_sgd::EntropySgdConfig;
pub use error::{ResumeError, TrainError, TrainerError};
pub use lottery::{density, prune_smallest, rewind, ticket};
pub use of_task::TaskTrainer;
pub use policy_gradient::{PolicyTrainer, policy_interface};
pub use progress::{ProgressConfig, ProgressKind, ProgressPairs};
pub use rate::RateSchedule;
pub use schedule::{CheckpointSchedule, Spacing};
pub use stage::Stage;

use std::ops::ControlFlow;

use ontogeny_graph::{Gradient, Graph, Node, ParamSpace, Program, Purpose, Stream, Threads, Workspace, add_normals};

use self::batches::Batches;
use self::entropy_sgd::InnerSteps;
use self::kfac::Kfac;
use self::mask::Mask;
use self::natural_gradient::NaturalGradient;
use self::optimizer::Optimizer;
use self::progress::ProgressTerm;
use crate::interface::InputColumn;
use crate::{Adversary, Attack, Interface, Model, NetworkConfig, Nodes, SettingError, Task, memory};

/// Trains a model on the data of a task, or of several one after another; owns the compiled program and its memory.
#[derive(Debug)]
pub struct Trainer<'a> {
    config: TrainConfig,
    batches: Batches<'a>,
    /// Training examples of a batch, which may hold others.
    n_examples: usize,
    /// Where checkpoints are handed over: those of the configuration, and the first step of every stage.
    schedule: Vec<u64>,
    /// Steps at which the optimiser's buffers start anew, ascending.
    restarts: Vec<u64>,
    /// First step of the last stage.
    last_stage: u64,
    optimizer: Optimizer,
    /// The updates that are not a rule for each weight alone.
    natural: Option<NaturalGradient<'a>>,
    kfac: Option<Kfac<'a>>,
    inner: Option<InnerSteps>,
    /// What moves the inputs of every batch.
    adversary: Option<(Adversary, Attack)>,
    /// The inputs of the program.
    columns: Vec<InputColumn>,
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
    /// Updates in a row, up to the last one, whose loss was below that of `stop_below`; 0 without that setting, and before
    /// the last stage.
    pub n_below: u64,
    /// Steps of the checkpoints of `checkpoint_below` that were reached, of the first values first.
    pub below_steps: Vec<u64>,
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

impl TrainState {
    /// The state before the first update, of a network of `n` weights.
    fn first(config: &TrainConfig, n: usize, weights: Vec<f32>) -> Result<Self, ResumeError> {
        let names = optimizer::buffer_names(config).iter();
        let buffers = names.map(|&name| (name.to_owned(), vec![0.0; n])).collect();
        Self::again(config, n, (0, 0, Vec::new()), weights, buffers)
    }

    /// A state from its parts, `step`, `n_below` and `below_steps` first.
    fn again(
        config: &TrainConfig,
        n: usize,
        (step, n_below, mut below_steps): (u64, u64, Vec<u64>),
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
        // No update takes memory.
        below_steps.reserve_exact(config.checkpoint_below.len());
        Ok(Self { step, weights, buffers: expected.iter().copied().zip(values).collect(), n_below, below_steps })
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

    /// As [`Trainer::new`], on the tasks of several stages one after another. The network, the number of examples in a
    /// batch and the schedule of the learning rate are those of the whole training; batches and noise stay functions of
    /// the seed and the step. Every stage's first step is a checkpoint.
    ///
    /// # Errors
    /// As for [`Trainer::new`], or stages that are out of order, whose tasks ask for different networks, or whose full
    /// batches are of different sizes.
    pub fn with_stages(
        model: &Model,
        stages: &[Stage<'a>],
        config: &TrainConfig,
        seed: u32,
    ) -> Result<Self, TrainerError> {
        Self::build(model, stages, config, seed, |_, nodes| nodes.loss)
    }

    /// As [`Trainer::new`], with the loss that `loss` makes of the model's nodes, such as one with a further term; that of
    /// `config.progress` is in them. It must be a scalar and declare neither parameters nor inputs.
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
        Self::build(model, &[Stage::whole(task)], config, seed, loss)
    }

    fn build(
        model: &Model,
        stages: &[Stage<'a>],
        config: &TrainConfig,
        seed: u32,
        loss: impl FnOnce(&mut Graph, &Nodes) -> Node,
    ) -> Result<Self, TrainerError> {
        config.check()?;
        stage::check(stages, config.steps)?;
        let progress = ProgressTerm::new(config, stages)?;
        let batches = match &progress {
            Some(term) => Batches::fixed(term.data, term.rows.clone()),
            None => Batches::new(config.batch, stages, seed)?,
        };
        let n_examples = progress.as_ref().map_or(batches.size(), |term| term.n_train);
        let fits = |bytes| if memory::is_free(bytes) { Ok(()) } else { Err(TrainerError::OutOfMemory { bytes }) };
        let (mut graph, mut nodes) = model.graph(batches.size());
        if let Some(term) = &progress {
            nodes = term.build(&mut graph, &nodes);
        }
        let natural = if config.optimizer == OptimizerKind::NaturalGradient {
            let n = model.space().len();
            if n > natural_gradient::MAX_WEIGHTS {
                let expected = format!("another one for {n} weights; it is for {}", natural_gradient::MAX_WEIGHTS);
                return Err(SettingError::new("train", "optimizer", "natural_gradient", expected).into());
            }
            fits(n.saturating_mul(n * size_of::<f64>()))?;
            let batches = Batches::new(config.batch, stages, seed)?;
            Some(NaturalGradient::new(&graph, &nodes, n, batches, config.damping())?)
        } else {
            None
        };
        let kfac = match (config.optimizer, model.network(), model.interface()) {
            (OptimizerKind::Kfac, NetworkConfig::Mlp(_), Interface::Vectors { loss, .. }) => {
                let batches = Batches::new(config.batch, stages, seed)?;
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
        let adversary = match &config.adversarial {
            Some(adversarial) => {
                let attack = adversarial.attack()?;
                let mut trained = stages.iter().filter_map(|stage| stage.task.split("train"));
                trained.try_for_each(|split| Adversary::check_bounds(&split.data, &attack))?;
                Some((Adversary::with_batch(model, batches.size())?, attack))
            }
            None => None,
        };
        let attack_bytes = adversary.as_ref().map_or(0, |(adversary, _)| adversary.workspace_bytes());
        fits(program.workspace_bytes().saturating_add(attack_bytes))?;
        let workspace = Workspace::new(&program);
        let threads = Threads::one();
        let mut schedule = config.checkpoints.steps(config.steps);
        schedule.extend(stages.iter().map(|stage| stage.first));
        schedule.sort_unstable();
        schedule.dedup();
        let restarts = stages.iter().filter(|stage| stage.restarts_optimizer).map(|stage| stage.first).collect();
        Ok(Self {
            config: config.clone(),
            batches,
            n_examples,
            schedule,
            restarts,
            last_stage: stages.last().map_or(0, |stage| stage.first),
            optimizer,
            natural,
            kfac,
            inner,
            adversary,
            columns: model.interface().columns(),
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
        self.mask = Mask::chosen(is_trained, self.program.space(), &self.config)?;
        Ok(())
    }

    /// Names, shapes and places of the parameters that it trains.
    pub fn space(&self) -> &ParamSpace {
        self.program.space()
    }

    /// Steps of the checkpoints that a whole training hands over, ascending.
    pub fn checkpoint_steps(&self) -> &[u64] {
        &self.schedule
    }

    /// Examples of each update: a batch, or one for each inner step of entropy-SGD.
    pub fn examples_per_update(&self) -> u64 {
        self.n_examples as u64 * self.inner.as_ref().map_or(1, |inner| inner.config.steps)
    }

    /// From now on `threads` share the work of every update; the bits are those of one thread.
    pub fn set_threads(&mut self, threads: &Threads) {
        self.workspace.set_threads(&self.program, threads);
        if let Some((adversary, _)) = &mut self.adversary {
            adversary.set_threads(threads);
        }
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
        below_steps: Vec<u64>,
    ) -> Result<TrainState, ResumeError> {
        TrainState::again(&self.config, self.program.space().len(), (step, n_below, below_steps), weights, buffers)
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
        let (config, schedule, space) = (self.config.clone(), self.schedule.clone(), self.program.space().clone());
        run_updates((&config, &schedule), &space, state, &mut on_event, |state, rate| self.update(state, rate))
    }

    /// One update; returns the loss and the norm of the gradient before it.
    fn update<E>(&mut self, state: &mut TrainState, learning_rate: f64) -> Result<(f32, f64), TrainError<E>> {
        let step = state.step;
        let (loss, gradient_norm) = if self.inner.is_some() {
            self.entropy_update(state, learning_rate)?
        } else {
            self.plain_update(state, learning_rate)?
        };
        // What an earlier stage has learned is no reason to end before the last one.
        if let Some(stop) = self.config.stop_below.filter(|_| step >= self.last_stage) {
            state.n_below = if f64::from(loss) < stop.loss { state.n_below + 1 } else { 0 };
        }
        state.step = step + 1;
        Ok((loss, gradient_norm))
    }

    fn plain_update<E>(&mut self, state: &mut TrainState, learning_rate: f64) -> Result<(f32, f64), TrainError<E>> {
        let step = state.step;
        let (loss, gradient_norm) = self.evaluate(step, step, &state.weights)?;
        let Self { config, program, workspace, optimizer, natural, kfac, mask, seed, threads, restarts, .. } = self;
        // A function of the step, so that who resumes at the first step of a stage does the same.
        let restart = restarts.iter().rev().find(|&&restart| restart <= step).copied().unwrap_or(0);
        if restart == step {
            state.buffers.iter_mut().for_each(|(_, values)| values.fill(0.0));
        }
        let (gradient, weights) = (workspace.gradient(program), &mut state.weights);
        mask.remember(weights);
        let failed = |source| TrainError::Run { step, source };
        let is_done = match (natural, kfac) {
            (Some(natural), _) => {
                natural.update(step, learning_rate, weights, gradient, mask.held()).map_err(failed)?
            }
            (_, Some(kfac)) => kfac.update(step, learning_rate, weights, gradient).map_err(failed)?,
            (None, None) => {
                let n_before = step - restart;
                optimizer.update(n_before, learning_rate as f32, weights, gradient, &mut state.buffers, threads);
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
        let Self { config, program, workspace, batches, adversary, columns, mask, threads, .. } = self;
        if adversary.is_some() {
            batches.forget();
        }
        batches.fill(step, batch, program, workspace).map_err(failed)?;
        if let Some((adversary, attack)) = adversary {
            adversary
                .attack_batch(weights, attack, (program, workspace), columns)
                .map_err(|source| TrainError::Attack { step, source })?;
        }
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
/// last step of the configuration, and reports them, with checkpoints at the steps of `schedule`. See [`Trainer::run`].
fn run_updates<E>(
    (config, schedule): (&TrainConfig, &[u64]),
    space: &ParamSpace,
    state: &mut TrainState,
    on_event: &mut dyn FnMut(TrainEvent<'_>) -> Result<ControlFlow<()>, E>,
    mut update: impl FnMut(&mut TrainState, f64) -> Result<(f32, f64), TrainError<E>>,
) -> Result<TrainOutcome, TrainError<E>> {
    let n_steps = config.steps;
    loop {
        let step = state.step;
        let has_converged = config.stop_below.is_some_and(|stop| state.n_below >= stop.n_updates);
        let is_below = state.below_steps.last() == Some(&step);
        if has_converged || is_below || schedule.binary_search(&step).is_ok() {
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
        while config.checkpoint_below.get(state.below_steps.len()).is_some_and(|&value| f64::from(loss) < value) {
            state.below_steps.push(state.step);
        }
        let event = TrainEvent::Step { step, n_steps, loss, learning_rate, gradient_norm, state };
        if on_event(event).map_err(TrainError::Caller)?.is_break() {
            return Ok(TrainOutcome::Stopped);
        }
    }
}

/// Name of the program's only output.
const LOSS: &str = "loss";
