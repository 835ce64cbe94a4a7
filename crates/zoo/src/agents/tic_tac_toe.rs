//! Tic-tac-toe as an environment: the agent moves first, against a player of known strength.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Environment, Outcome};
use crate::tasks::{Square, TicTacToeBoard};

/// Who plays against the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Opponent {
    /// Takes every free square alike.
    Random,
    /// Takes one of the best squares, these alike: it never loses.
    Optimal,
}

/// Tic-tac-toe, the agent moving first. The reward is 1 for a game won, −1 for one lost, 0 for a draw and all moves before. The
/// observation has 27 entries: which squares are empty, which are the agent's, which the other's.
#[derive(Debug, Clone, PartialEq)]
pub struct TicTacToe {
    opponent: Opponent,
    /// What a position is worth for the player who moves next, between players who never err.
    values: BTreeMap<TicTacToeBoard, i8>,
}

impl TicTacToe {
    /// Games against an opponent.
    pub fn new(opponent: Opponent) -> Self {
        let mut values = BTreeMap::new();
        value(TicTacToeBoard::new(), &mut values);
        Self { opponent, values }
    }

    /// The squares that the opponent may take.
    fn replies(&self, board: TicTacToeBoard) -> Vec<TicTacToeBoard> {
        let all: Vec<TicTacToeBoard> = board.legal_moves().filter_map(|square| board.play(square)).collect();
        match self.opponent {
            Opponent::Random => all,
            // The best for the one who moves is the worst for the one who is next.
            Opponent::Optimal => {
                let worst = all.iter().map(|next| self.values[next]).min();
                all.into_iter().filter(|next| Some(self.values[next]) == worst).collect()
            }
        }
    }
}

/// The value of a position for the player who moves next, noted together with those of all that may follow.
fn value(board: TicTacToeBoard, values: &mut BTreeMap<TicTacToeBoard, i8>) -> i8 {
    if let Some(&known) = values.get(&board) {
        return known;
    }
    let best = board.legal_moves().filter_map(|square| board.play(square)).map(|next| -value(next, values)).max();
    // A game that is over was won by the other, or is a draw.
    let own = best.unwrap_or(if board.is_won() { -1 } else { 0 });
    values.insert(board, own);
    own
}

impl Environment for TicTacToe {
    type State = TicTacToeBoard;

    fn inputs(&self) -> usize {
        27
    }

    fn actions(&self) -> usize {
        9
    }

    /// The first player moves five times at most.
    fn horizon(&self) -> usize {
        5
    }

    fn discount(&self) -> f64 {
        1.0
    }

    fn start(&self) -> TicTacToeBoard {
        TicTacToeBoard::new()
    }

    fn observe(&self, state: &TicTacToeBoard, x: &mut [f32]) {
        for (at, square) in state.squares().into_iter().enumerate() {
            let plane = match square {
                Square::Empty => 0,
                Square::Mine => 1,
                Square::Theirs => 2,
            };
            x[9 * plane + at] = 1.0;
        }
    }

    fn is_legal(&self, state: &TicTacToeBoard, action: usize) -> bool {
        state.legal_moves().any(|square| square == action)
    }

    fn outcomes(&self, state: &TicTacToeBoard, action: usize) -> Vec<Outcome<TicTacToeBoard>> {
        let Some(after) = state.play(action) else {
            return Vec::new();
        };
        if after.is_over() {
            let reward = if after.is_won() { 1.0 } else { 0.0 };
            return vec![Outcome { probability: 1.0, reward, next: None }];
        }
        let replies = self.replies(after);
        let probability = 1.0 / replies.len() as f64;
        let outcome = |next: TicTacToeBoard| Outcome {
            probability,
            reward: if next.is_won() { -1.0 } else { 0.0 },
            next: (!next.is_over()).then_some(next),
        };
        replies.into_iter().map(outcome).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{optimal_return, random_return};

    #[test]
    fn random_and_perfect_players_score_what_all_games_say() {
        let random = TicTacToe::new(Opponent::Random);
        assert_eq!(random.values.len(), 5478);
        // Every game of m moves has the probability (9 − m)!/9!. First players win 1440 games of 5 moves, 47,952 of 7 and
        // 81,792 of 9; second ones 5328 of 6 and 72,576 of 8; 46,080 games of 9 moves are draws.
        let wins = 1440.0 / 15_120.0 + 47_952.0 / 181_440.0 + 81_792.0 / 362_880.0;
        let losses = 5328.0 / 60_480.0 + 72_576.0 / 362_880.0;
        let draws = 46_080.0 / 362_880.0;
        assert!((wins + losses + draws - 1.0_f64).abs() < 1e-15);
        assert!(
            (wins - 0.585_f64).abs() < 5e-4 && (losses - 0.288_f64).abs() < 5e-4 && (draws - 0.127_f64).abs() < 5e-4
        );
        assert!((random_return(&random) - (wins - losses)).abs() < 1e-14);
        // Between players who never err every game is a draw; who errs at random loses, or draws.
        let optimal = TicTacToe::new(Opponent::Optimal);
        assert_eq!(optimal_return(&optimal), 0.0);
        assert!(random_return(&optimal) < -0.5);
        let best = optimal_return(&random);
        assert!(best > 0.98 && best < 1.0, "{best}");
    }
}
