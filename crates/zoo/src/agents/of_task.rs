//! The environments that a run file can name.

use ontogeny_graph::{Graph, GraphError, Node, RunError};
use serde::{Deserialize, Serialize};

use super::policy::Policy;
use super::{Environment, Gridworld, Opponent, TicTacToe, optimal_return, random_return};
use crate::{Interface, Model, NetworkConfig, SettingError, policy_interface};

/// An environment of a task: an agent is trained in it, by policy gradients, instead of on examples.
#[derive(Debug, Clone, PartialEq)]
pub enum TaskEnvironment {
    /// A way through a grid.
    Gridworld(Gridworld),
    /// Games against a player of known strength.
    TicTacToe(TicTacToe),
}

/// Settings of an agent that plays tic-tac-toe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TicTacToeAgentConfig {
    /// Who plays against it.
    pub opponent: Opponent,
}

/// Why a return is not known.
#[derive(Debug, thiserror::Error)]
pub enum ReturnError {
    /// A mistake in the model's graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// Weights of another length.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// States of one execution of a policy.
const ROWS: usize = 256;

impl TaskEnvironment {
    /// What a policy network reads and gives.
    pub fn interface(&self) -> Interface {
        match self {
            Self::Gridworld(grid) => policy_interface(grid),
            Self::TicTacToe(game) => policy_interface(game),
        }
    }

    /// The exact expected return of the policy with these flat weights; not a number where its probabilities are none.
    ///
    /// # Errors
    /// A mistake in the model's graph, or weights of another length.
    pub fn expected_return(&self, model: &Model, weights: &[f32]) -> Result<f64, ReturnError> {
        let mut policy = Policy::new(model, ROWS)?;
        Ok(match self {
            Self::Gridworld(grid) => policy.expected_return(grid, weights)?,
            Self::TicTacToe(game) => policy.expected_return(game, weights)?,
        })
    }

    /// Width of an observation: in a gridworld the number of cells.
    pub fn n_inputs(&self) -> usize {
        match self {
            Self::Gridworld(grid) => grid.inputs(),
            Self::TicTacToe(game) => game.inputs(),
        }
    }

    /// The largest expected return of any policy.
    pub fn optimal_return(&self) -> f64 {
        match self {
            Self::Gridworld(grid) => optimal_return(grid),
            Self::TicTacToe(game) => optimal_return(game),
        }
    }

    /// The exact expected return of the policy that takes every legal action alike.
    pub fn random_return(&self) -> f64 {
        match self {
            Self::Gridworld(grid) => random_return(grid),
            Self::TicTacToe(game) => random_return(game),
        }
    }

    /// The regret of the policy `model`, optimal minus expected return, as a scalar node of a graph without inputs: of gridworlds.
    ///
    /// # Errors
    /// In words: another environment, or one too large to be written out.
    pub fn regret(&self, model: &Model) -> Result<(Graph, Node), SettingError> {
        let wrong = |key, found: &str, expected: &str| Err(SettingError::new("task", key, found, expected));
        match (self, model.network()) {
            (Self::Gridworld(grid), NetworkConfig::Mlp(network)) => {
                let (n_cells, horizon) = (grid.inputs(), grid.horizon());
                if n_cells > MAX_CELLS {
                    return wrong(
                        "size",
                        &format!("{n_cells} cells"),
                        "at most 400 cells, to write the regret as a graph",
                    );
                }
                if horizon > MAX_HORIZON {
                    return wrong("max_moves", &horizon.to_string(), "at most 1000, to write the regret as a graph");
                }
                Ok(grid.regret(network))
            }
            (Self::Gridworld(_), _) => {
                Err(SettingError::new("network", "kind", "another", "`mlp`, to write the regret as a graph"))
            }
            (Self::TicTacToe(_), _) => wrong(
                "kind",
                "tic_tac_toe_agent",
                "`gridworld`: its regret alone is written as a graph, which chains need",
            ),
        }
    }
}

/// Every cell has a row and a column of the matrix of moves.
const MAX_CELLS: usize = 400;
/// Every move is a product with it.
const MAX_HORIZON: usize = 1000;
