//! Policy gradients: REINFORCE (Williams 1992) on episodes that the policy plays itself.

use std::ops::ControlFlow;

use ontogeny_graph::{Gradient, Program, Purpose, RunError, Stream, Threads, Workspace};

use super::config::{Batch, Rule, TrainConfig, wrong};
use super::mask::Mask;
use super::optimizer::{self, Optimizer};
use super::selection;
use super::{LOSS, ResumeError, TrainError, TrainEvent, TrainOutcome, TrainState, TrainerError, run_updates};
use crate::agents::Environment;
use crate::agents::policy::{Policy, softmax};
use crate::{Interface, Model, SettingError, VectorLoss, memory};

/// Trains a policy network, whose logits are those of the actions, by REINFORCE: update number u plays `batch` episodes and follows
///
/// (1/n) Σₑ Σₜ γᵗ (Gₑₜ − bₑₜ) ∇ log π(aₑₜ | sₑₜ),  Gₑₜ = Σₖ γᵏ rₑ,ₜ₊ₖ,
///
/// an unbiased estimate of the gradient of the expected return (Sutton & Barto 2018, 13.3). The baseline b is the mean of G at
/// the same t over the *other* episodes that are not over by then, 0 where there are none (Kool et al. 2019): it depends on
/// nothing that the episode does. Actions that are not legal have probability 0.
///
/// Episode number u·batch + e has a random stream of its own, so that a state continues with the same bits.
#[derive(Debug)]
pub struct PolicyTrainer<'a, E: Environment> {
    environment: &'a E,
    config: TrainConfig,
    seed: u32,
    n_episodes: usize,
    optimizer: Optimizer,
    mask: Mask,
    /// For one observation of each episode.
    policy: Policy,
    /// The gradient, from all decisions.
    program: Program,
    workspace: Workspace,
    threads: Threads,
}

/// The episodes of one update: rows for `horizon` decisions of each, one episode after another.
struct Episodes {
    x: Vec<f32>,
    forbidden: Vec<f32>,
    actions: Vec<i32>,
    /// Rewards of each episode.
    rewards: Vec<Vec<f64>>,
}

/// What is added to the logit of an action that is not legal: e⁻¹⁰⁰⁰⁰⁰⁰⁰⁰⁰ is 0 in any precision.
const FORBIDDEN: f32 = -1e9;

/// What a policy network for an environment reads and gives: an observation, and a logit for each action.
pub fn policy_interface<E: Environment>(environment: &E) -> Interface {
    let (inputs, outputs) = (environment.inputs(), environment.actions());
    Interface::Vectors { inputs, outputs, loss: VectorLoss::CrossEntropy, image: None }
}

impl<'a, E: Environment> PolicyTrainer<'a, E> {
    /// Prepares training of `model`, made for [`policy_interface`]. `config.batch` is the number of episodes of an update; the
    /// loss that is reported is minus their mean return.
    ///
    /// # Errors
    /// A setting out of range or that says nothing about episodes, a model of another interface, or too little memory.
    pub fn new(model: &Model, environment: &'a E, config: &TrainConfig, seed: u32) -> Result<Self, TrainerError> {
        config.check()?;
        let n_episodes = match config.batch {
            Batch::Size(n @ 2..) => n,
            Batch::Size(n) => {
                return Err(wrong("batch", n, "at least 2 episodes, each a baseline of the others").into());
            }
            Batch::Full => return Err(wrong("batch", "full", "a number of episodes, at least 2").into()),
        };
        if matches!(config.rule(0.0), Rule::Own) {
            return Err(wrong("optimizer", "another", "`sgd`, `adam`, `adamw` or `rmsprop` for policies").into());
        }
        for (key, is_given) in [
            ("stop_below", config.stop_below.is_some()),
            ("temperature", config.temperature > 0.0),
            ("adversarial", config.adversarial.is_some()),
            ("progress", config.progress.is_some()),
            ("checkpoint_below", !config.checkpoint_below.is_empty()),
        ] {
            if is_given {
                return Err(wrong(key, "given", "nothing: policies are trained without").into());
            }
        }
        if model.interface() != policy_interface(environment) {
            let expected = format!(
                "one that gives {} logits from {} inputs, as the environment",
                environment.actions(),
                environment.inputs()
            );
            return Err(SettingError::new("network", "kind", "fitted to something else", expected).into());
        }
        let n_actions = environment.actions();
        let n_rows = n_episodes.saturating_mul(environment.horizon());
        // What is kept of the decisions alone, here and in the program, before anything is made for them.
        let bytes = n_rows.saturating_mul(2 * (environment.inputs() + n_actions + 2) * size_of::<f32>());
        if !memory::is_free(bytes) {
            return Err(TrainerError::OutOfMemory { bytes });
        }
        let policy = Policy::new(model, n_episodes)?;
        let (mut graph, nodes) = model.graph(n_rows);
        let forbidden = graph.input("forbidden", &[n_rows, n_actions]);
        let advantage = graph.input("advantage", &[n_rows]);
        let actions = graph.find("y").expect("the model has just declared this input");
        let logits = graph.add(nodes.logits, forbidden);
        let surprise = graph.cross_entropy(logits, actions);
        let weighted = graph.mul(surprise, advantage);
        let loss = graph.sum(weighted, &[0]);
        let program = Program::compile(&graph, &[(LOSS, loss)], Gradient::All(loss))?;
        let bytes = policy.workspace_bytes().saturating_add(program.workspace_bytes());
        if !memory::is_free(bytes) {
            return Err(TrainerError::OutOfMemory { bytes });
        }
        let without_decay = selection::select(model.space(), "no_decay", &config.no_decay)?;
        Ok(Self {
            environment,
            config: config.clone(),
            seed,
            n_episodes,
            optimizer: Optimizer::new(config, model.space().len(), &without_decay),
            mask: Mask::holding(&selection::select(model.space(), "freeze", &config.freeze)?),
            policy,
            workspace: Workspace::new(&program),
            program,
            threads: Threads::one(),
        })
    }

    /// Episodes of each update.
    pub fn episodes_per_update(&self) -> u64 {
        self.n_episodes as u64
    }

    /// See [`Trainer::set_mask`](super::Trainer::set_mask).
    ///
    /// # Errors
    /// A mask of another length than the model's parameter space.
    pub fn set_mask(&mut self, is_trained: &[bool]) -> Result<(), SettingError> {
        self.mask = Mask::chosen(is_trained, self.program.space(), &self.config)?;
        Ok(())
    }

    /// Steps of the checkpoints that a whole training hands over, ascending.
    pub fn checkpoint_steps(&self) -> Vec<u64> {
        self.config.checkpoints.steps(self.config.steps)
    }

    /// From now on `threads` share the work of every update; the bits are those of one thread.
    pub fn set_threads(&mut self, threads: &Threads) {
        self.workspace.set_threads(&self.program, threads);
        self.policy.set_threads(threads);
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
    /// As for [`Trainer::resume`](super::Trainer::resume).
    pub fn resume(
        &self,
        step: u64,
        weights: Vec<f32>,
        buffers: Vec<(String, Vec<f32>)>,
    ) -> Result<TrainState, ResumeError> {
        TrainState::again(&self.config, self.program.space().len(), (step, 0, Vec::new()), weights, buffers)
    }

    /// Trains from `state` to the last update, as [`Trainer::run`](super::Trainer::run).
    ///
    /// # Errors
    /// Weights or logits that are no longer finite, or the caller's own error.
    pub fn run<F: std::error::Error + 'static>(
        &mut self,
        state: &mut TrainState,
        mut on_event: impl FnMut(TrainEvent<'_>) -> Result<ControlFlow<()>, F>,
    ) -> Result<TrainOutcome, TrainError<F>> {
        let (config, space) = (self.config.clone(), self.program.space().clone());
        let schedule = self.checkpoint_steps();
        run_updates((&config, &schedule), &space, state, &mut on_event, |state, rate| self.update(state, rate))
    }

    /// Estimates minus the gradient of the expected return from the episodes of update number `update`, and gives their mean return.
    ///
    /// # Errors
    /// Weights of another length.
    pub fn gradient(&mut self, update: u64, weights: &[f32]) -> Result<(f64, &[f32]), RunError> {
        let mean_return = self.evaluate(update, weights)?;
        Ok((mean_return, self.workspace.gradient(&self.program)))
    }

    /// The exact expected return of the policy with these weights.
    ///
    /// # Errors
    /// Weights of another length.
    pub fn expected_return(&mut self, weights: &[f32]) -> Result<f64, RunError> {
        self.policy.expected_return(self.environment, weights)
    }

    /// The probability of every action in each of some states.
    ///
    /// # Errors
    /// Weights of another length.
    pub fn probabilities(&mut self, weights: &[f32], states: &[E::State]) -> Result<Vec<Vec<f64>>, RunError> {
        self.policy.probabilities(self.environment, weights, states)
    }

    fn update<F>(&mut self, state: &mut TrainState, learning_rate: f64) -> Result<(f32, f64), TrainError<F>> {
        let step = state.step;
        let mean_return = self.evaluate(step, &state.weights).map_err(|source| TrainError::Run { step, source })?;
        let Self { config, program, workspace, optimizer, mask, threads, .. } = self;
        let gradient = workspace.gradient_mut(program);
        mask.clear(gradient);
        let gradient_norm = optimizer::clip(gradient, config.clip_norm, threads);
        if !gradient_norm.is_finite() {
            let found = format!("the gradient's norm is {gradient_norm}");
            return Err(TrainError::NonFinite { step, found, node: LOSS.to_owned() });
        }
        mask.remember(&state.weights);
        let rate = learning_rate as f32;
        optimizer.update(step, rate, &mut state.weights, gradient, &mut state.buffers, threads);
        mask.restore(&mut state.weights);
        state.step = step + 1;
        Ok((-mean_return as f32, gradient_norm))
    }

    /// Leaves the gradient in the workspace and gives the mean return.
    fn evaluate(&mut self, update: u64, weights: &[f32]) -> Result<f64, RunError> {
        let episodes = self.play(update, weights)?;
        let returns = returns(&episodes.rewards, self.environment.discount());
        let advantage = advantages(&returns, self.environment.discount(), self.environment.horizon());
        let Self { program, workspace, .. } = self;
        workspace.floats_mut(program, "x")?.copy_from_slice(&episodes.x);
        workspace.floats_mut(program, "forbidden")?.copy_from_slice(&episodes.forbidden);
        workspace.floats_mut(program, "advantage")?.copy_from_slice(&advantage);
        workspace.ids_mut(program, "y")?.copy_from_slice(&episodes.actions);
        program.run(workspace, weights)?;
        Ok(returns.iter().map(|returns| returns[0]).sum::<f64>() / returns.len() as f64)
    }

    /// Plays the episodes of an update.
    fn play(&mut self, update: u64, weights: &[f32]) -> Result<Episodes, RunError> {
        let (environment, n) = (self.environment, self.n_episodes);
        let (horizon, n_inputs, n_actions) = (environment.horizon(), environment.inputs(), environment.actions());
        let mut episodes = Episodes {
            x: vec![0.0; n * horizon * n_inputs],
            forbidden: vec![0.0; n * horizon * n_actions],
            actions: vec![0; n * horizon],
            rewards: vec![Vec::new(); n],
        };
        let mut states: Vec<Option<E::State>> = vec![Some(environment.start()); n];
        for t in 0..horizon {
            let observed: Vec<Option<&E::State>> = states.iter().map(Option::as_ref).collect();
            if observed.iter().all(Option::is_none) {
                break;
            }
            let logits = self.policy.logits(environment, weights, &observed)?;
            for (e, (place, logits)) in states.iter_mut().zip(logits.chunks(n_actions)).enumerate() {
                let Some(state) = place.take() else { continue };
                let stream = Stream::new(self.seed, Purpose::Data, update * n as u64 + e as u64);
                let action = pick(&softmax(environment, &state, logits), stream.uniform(t as u32, 0));
                let row = e * horizon + t;
                environment.observe(&state, &mut episodes.x[row * n_inputs..(row + 1) * n_inputs]);
                for (other, shift) in episodes.forbidden[row * n_actions..(row + 1) * n_actions].iter_mut().enumerate()
                {
                    *shift = if environment.is_legal(&state, other) { 0.0 } else { FORBIDDEN };
                }
                episodes.actions[row] = action as i32;
                let mut outcomes = environment.outcomes(&state, action);
                let probabilities: Vec<f64> = outcomes.iter().map(|outcome| outcome.probability).collect();
                let outcome = outcomes.swap_remove(pick(&probabilities, stream.uniform(t as u32, 1)));
                episodes.rewards[e].push(outcome.reward);
                *place = outcome.next;
            }
        }
        Ok(episodes)
    }
}

/// The entry in whose part of [0, 1) `uniform` falls.
fn pick(probabilities: &[f64], uniform: f64) -> usize {
    let mut rest = uniform;
    for (i, &p) in probabilities.iter().enumerate() {
        if rest < p {
            return i;
        }
        rest -= p;
    }
    // Rounding has left a little at the end.
    probabilities.iter().rposition(|&p| p > 0.0).unwrap_or(0)
}

/// Gₑₜ of each episode.
fn returns(rewards: &[Vec<f64>], discount: f64) -> Vec<Vec<f64>> {
    let of_episode = |rewards: &Vec<f64>| {
        let mut returns = rewards.clone();
        for t in (1..returns.len()).rev() {
            returns[t - 1] += discount * returns[t];
        }
        returns
    };
    rewards.iter().map(of_episode).collect()
}

/// γᵗ(Gₑₜ − bₑₜ)/n, a row of `horizon` for each episode with zeros after its end.
fn advantages(returns: &[Vec<f64>], discount: f64, horizon: usize) -> Vec<f32> {
    let n = returns.len();
    let mut advantages = vec![0.0; n * horizon];
    let mut factor = 1.0 / n as f64;
    for t in 0..horizon {
        let at_t = || returns.iter().filter_map(|returns| returns.get(t));
        let (count, total) = (at_t().count(), at_t().sum::<f64>());
        for (e, returns) in returns.iter().enumerate() {
            if let Some(own) = returns.get(t) {
                let baseline = if count > 1 { (total - own) / (count - 1) as f64 } else { 0.0 };
                advantages[e * horizon + t] = (factor * (own - baseline)) as f32;
            }
        }
        factor *= discount;
    }
    advantages
}
