//! What an agent acts in: environments whose outcomes are known, so that the return of a policy is too.

mod gridworld;
mod of_task;
pub(crate) mod policy;
mod regret;
mod tic_tac_toe;

pub use gridworld::{Gridworld, GridworldConfig};
pub use of_task::{ReturnError, TaskEnvironment, TicTacToeAgentConfig};
pub use tic_tac_toe::{Opponent, TicTacToe};

use std::collections::BTreeMap;
use std::fmt::Debug;

/// A decision problem that ends after a number of decisions, with finitely many states and actions.
///
/// Its return is Σ discountᵗ · reward number t, from 0.
pub trait Environment: Debug {
    /// All that the rest of an episode depends on, but for how many decisions have passed.
    type State: Clone + Ord + Debug;

    /// Width of an observation.
    fn inputs(&self) -> usize;

    /// Number of actions.
    fn actions(&self) -> usize;

    /// Most decisions of an episode, at least 1: it ends after them.
    fn horizon(&self) -> usize;

    /// What a reward counts one decision later, 0 to 1.
    fn discount(&self) -> f64;

    /// Where an episode begins.
    fn start(&self) -> Self::State;

    /// Writes what the agent sees of a state; `x` is [`Environment::inputs`] long and 0 before.
    fn observe(&self, state: &Self::State, x: &mut [f32]);

    /// Whether an action may be taken; at least one may in every state of an episode.
    fn is_legal(&self, state: &Self::State, action: usize) -> bool;

    /// What may follow a legal action, in a fixed order; the probabilities add up to 1.
    fn outcomes(&self, state: &Self::State, action: usize) -> Vec<Outcome<Self::State>>;
}

/// What may follow an action.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome<S> {
    /// How probable it is.
    pub probability: f64,
    /// What the agent gets.
    pub reward: f64,
    /// Where it is then; `None` where the episode is over.
    pub next: Option<S>,
}

/// The exact expected return of a policy: `policy` gives the probability of every action in each of some states.
pub fn expected_return<E: Environment>(environment: &E, mut policy: impl FnMut(&[E::State]) -> Vec<Vec<f64>>) -> f64 {
    let mut reached = BTreeMap::from([(environment.start(), 1.0)]);
    let (mut total, mut discount) = (0.0, 1.0);
    for _ in 0..environment.horizon() {
        let states: Vec<E::State> = reached.keys().cloned().collect();
        let mut next = BTreeMap::new();
        for ((state, p), actions) in reached.iter().zip(policy(&states)) {
            for (action, chosen) in actions.into_iter().enumerate().filter(|&(_, chosen)| chosen > 0.0) {
                for outcome in environment.outcomes(state, action) {
                    let p = p * chosen * outcome.probability;
                    total += discount * p * outcome.reward;
                    if let Some(state) = outcome.next {
                        *next.entry(state).or_insert(0.0) += p;
                    }
                }
            }
        }
        reached = next;
        discount *= environment.discount();
    }
    total
}

/// The exact expected return of the policy that takes every legal action alike.
pub fn random_return<E: Environment>(environment: &E) -> f64 {
    let alike = |state: &E::State| {
        let legal: Vec<bool> = (0..environment.actions()).map(|action| environment.is_legal(state, action)).collect();
        let n = legal.iter().filter(|&&is_legal| is_legal).count();
        legal.into_iter().map(|is_legal| if is_legal { 1.0 / n as f64 } else { 0.0 }).collect()
    };
    expected_return(environment, |states| states.iter().map(alike).collect())
}

/// The largest expected return of any policy, by value iteration from the last decision back (Bellman 1957).
pub fn optimal_return<E: Environment>(environment: &E) -> f64 {
    // The states that can be reached with so many decisions to come, the most first.
    let mut reachable = vec![BTreeMap::from([(environment.start(), 0.0)])];
    for _ in 1..environment.horizon() {
        let next = reachable.last().into_iter().flat_map(BTreeMap::keys).flat_map(|state| {
            let legal = legal_actions(environment, state);
            legal.flat_map(|action| environment.outcomes(state, action)).filter_map(|outcome| outcome.next)
        });
        let next = next.map(|state| (state, 0.0)).collect();
        reachable.push(next);
    }
    let mut later: BTreeMap<E::State, f64> = BTreeMap::new();
    while let Some(mut states) = reachable.pop() {
        for (state, value) in &mut states {
            let of_action = |action| {
                let of_outcome = |outcome: Outcome<E::State>| {
                    let rest = outcome.next.and_then(|next| later.get(&next)).unwrap_or(&0.0);
                    outcome.probability * (outcome.reward + environment.discount() * rest)
                };
                environment.outcomes(state, action).into_iter().map(of_outcome).sum::<f64>()
            };
            *value = legal_actions(environment, state).map(of_action).fold(f64::NEG_INFINITY, f64::max);
        }
        later = states;
    }
    later.get(&environment.start()).copied().unwrap_or(0.0)
}

fn legal_actions<'a, E: Environment>(environment: &'a E, state: &'a E::State) -> impl Iterator<Item = usize> + 'a {
    (0..environment.actions()).filter(move |&action| environment.is_legal(state, action))
}
