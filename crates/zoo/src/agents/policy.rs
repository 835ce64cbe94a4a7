//! A policy network in an environment: the probabilities of its actions.

use ontogeny_graph::{Gradient, GraphError, Program, RunError, Threads, Workspace};

use super::Environment;
use crate::Model;

/// A compiled policy network, whose logits are those of the actions.
#[derive(Debug)]
pub(crate) struct Policy {
    program: Program,
    workspace: Workspace,
    /// States of one execution.
    n_rows: usize,
}

impl Policy {
    /// Compiles `model` for `n_rows` states at a time.
    pub(crate) fn new(model: &Model, n_rows: usize) -> Result<Self, GraphError> {
        let (graph, nodes) = model.graph(n_rows);
        let program = Program::compile(&graph, &[("logits", nodes.logits)], Gradient::None)?;
        let workspace = Workspace::new(&program);
        Ok(Self { program, workspace, n_rows })
    }

    pub(crate) fn workspace_bytes(&self) -> usize {
        self.program.workspace_bytes()
    }

    pub(crate) fn set_threads(&mut self, threads: &Threads) {
        self.workspace.set_threads(&self.program, threads);
    }

    /// Logits of at most `n_rows` states; those of `None` mean nothing.
    pub(crate) fn logits<E: Environment>(
        &mut self,
        environment: &E,
        weights: &[f32],
        states: &[Option<&E::State>],
    ) -> Result<Vec<f32>, RunError> {
        let Self { program, workspace, .. } = self;
        let x = workspace.floats_mut(program, "x")?;
        x.fill(0.0);
        for (state, x) in states.iter().zip(x.chunks_mut(environment.inputs())) {
            if let Some(state) = state {
                environment.observe(state, x);
            }
        }
        program.run(workspace, weights)?;
        Ok(workspace.output(program, "logits").to_vec())
    }

    /// The probability of every action in each of some states.
    pub(crate) fn probabilities<E: Environment>(
        &mut self,
        environment: &E,
        weights: &[f32],
        states: &[E::State],
    ) -> Result<Vec<Vec<f64>>, RunError> {
        let mut all = Vec::with_capacity(states.len());
        for part in states.chunks(self.n_rows) {
            let observed: Vec<Option<&E::State>> = part.iter().map(Some).collect();
            let logits = self.logits(environment, weights, &observed)?;
            let rows = part.iter().zip(logits.chunks(environment.actions()));
            all.extend(rows.map(|(state, logits)| softmax(environment, state, logits)));
        }
        Ok(all)
    }

    /// The exact expected return; not a number where a probability is none.
    pub(crate) fn expected_return<E: Environment>(
        &mut self,
        environment: &E,
        weights: &[f32],
    ) -> Result<f64, RunError> {
        let (mut failed, mut is_finite) = (None, true);
        let expected = super::expected_return(environment, |states| {
            let actions = self.probabilities(environment, weights, states).unwrap_or_else(|error| {
                failed = Some(error);
                vec![Vec::new(); states.len()]
            });
            // A probability that is no number would count as none.
            is_finite &= actions.iter().flatten().all(|p| p.is_finite());
            actions
        });
        match failed {
            Some(error) => Err(error),
            None => Ok(if is_finite { expected } else { f64::NAN }),
        }
    }
}

/// Probabilities of the actions, 0 of those that are not legal.
pub(crate) fn softmax<E: Environment>(environment: &E, state: &E::State, logits: &[f32]) -> Vec<f64> {
    let is_legal: Vec<bool> = (0..logits.len()).map(|action| environment.is_legal(state, action)).collect();
    let legal = logits.iter().zip(&is_legal).filter(|&(_, &is_legal)| is_legal);
    let largest = legal.fold(f64::NEG_INFINITY, |a, (&z, _)| a.max(f64::from(z)));
    let weight = |(&z, &is_legal): (&f32, &bool)| if is_legal { (f64::from(z) - largest).exp() } else { 0.0 };
    let weights: Vec<f64> = logits.iter().zip(&is_legal).map(weight).collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total).collect()
}
