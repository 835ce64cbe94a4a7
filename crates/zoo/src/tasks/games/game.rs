//! Which moves of a game are legal, in tokens.

use super::othello::othello_boards;
use super::tic_tac_toe::tic_tac_toe_boards;
use super::{IllegalMove, othello_token};
use crate::TaskConfig;

/// A board game whose moves are tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Game {
    /// Othello: 60 tokens and padding.
    Othello,
    /// Tic-tac-toe: 9 tokens and padding.
    TicTacToe,
}

impl TaskConfig {
    /// The game whose moves are to be predicted; `None` of other tasks.
    pub fn game(&self) -> Option<Game> {
        match self {
            Self::Othello(_) => Some(Game::Othello),
            Self::TicTacToe(_) => Some(Game::TicTacToe),
            _ => None,
        }
    }
}

impl Game {
    /// The tokens that are legal after each move of a game, ascending; none once it is over, and padding ends it.
    ///
    /// # Errors
    /// The first token that is no legal move.
    pub fn legal_tokens(self, tokens: &[i32]) -> Result<Vec<Vec<i32>>, IllegalMove> {
        Ok(match self {
            Self::Othello => othello_boards(tokens)?
                .into_iter()
                .map(|board| board.legal_moves().filter_map(othello_token).collect())
                .collect(),
            Self::TicTacToe => tic_tac_toe_boards(tokens)?
                .into_iter()
                .map(|board| board.legal_moves().map(|square| square as i32).collect())
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::othello_square;

    #[test]
    fn the_next_move_of_a_game_is_among_the_legal_ones() {
        for (kind, length) in [("othello", 60), ("tic_tac_toe", 9)] {
            let config: TaskConfig = serde_json::from_value(serde_json::json!({ "kind": kind })).unwrap();
            let game = config.game().unwrap();
            let task = config.prepare(0, std::path::Path::new(".")).unwrap();
            for tokens in task.split("train").unwrap().ids("tokens").chunks(length).take(200) {
                let legal = game.legal_tokens(tokens).unwrap();
                let n = legal.len();
                assert!(legal[n - 1].is_empty() && legal[..n - 1].iter().all(|legal| !legal.is_empty()));
                assert!(tokens[1..n].iter().zip(&legal).all(|(token, legal)| legal.contains(token)));
                // Of tic-tac-toe the free squares.
                let n_free = |moves: usize| length - moves;
                assert!(kind == "othello" || (1..n).all(|moves| legal[moves - 1].len() == n_free(moves)));
            }
        }
    }

    #[test]
    fn the_second_move_of_othello_has_three_answers() {
        // After a first move to 19 the pieces are at 19, 27, 28, 35 and 36: diagonal, and to both sides along the lines.
        let first = othello_token(19).unwrap();
        let legal = Game::Othello.legal_tokens(&[first]).unwrap();
        let squares: Vec<usize> = legal[0].iter().filter_map(|&token| othello_square(token)).collect();
        assert_eq!(squares, [18, 20, 34]);
        assert_eq!(Game::TicTacToe.legal_tokens(&[4, 4]), Err(IllegalMove { position: 1, token: 4 }));
    }
}
