//! Next moves in Othello.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::sampled::{Counts, Distribution, Example, Numbers};
use super::super::{Subtasks, Task, default_held_examples};
use super::{IllegalMove, OthelloBoard, Square, interface, random_game, subtasks, write};
use crate::{Interface, SettingError};

/// Settings of next-move prediction in random games of Othello: "Emergent World Representations: Exploring a Sequence Model
/// Trained on a Synthetic Task" (Li et al. 2023).
///
/// An example is a game of up to 60 moves, every legal move alike. A move is the number of its square among the 60 that are not
/// taken at the start ([`othello_token`]); a pass is not written. After the end comes padding, the id 60, up to 60 tokens. All
/// moves but the first are predicted; an example's loss is the mean over them, not over padding. The smallest loss of a move is
/// the logarithm of how many are legal. The sub-task `move_k` is the k-th move, `padding` what is not counted.
/// [`othello_states`] tells the boards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OthelloConfig {
    /// Games to train on; new ones at every update unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_examples: Option<usize>,
    /// Games held out.
    #[serde(default = "default_held_examples")]
    pub held_examples: usize,
    /// Seed of the games; the seed of the run unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_seed: Option<u32>,
}

/// Most moves of a game.
const MOVES: usize = 60;
/// Squares that are taken at the start, ascending.
const START: [usize; 4] = [27, 28, 35, 36];

/// The token of a move to `square`, 0 to 59; `None` for the squares taken at the start and beyond the board.
pub fn othello_token(square: usize) -> Option<i32> {
    let before = START.iter().filter(|&&taken| taken < square).count();
    (square < 64 && !START.contains(&square)).then(|| (square - before) as i32)
}

/// The square of a token, 0 to 63; `None` for padding and beyond.
pub fn othello_square(token: i32) -> Option<usize> {
    (0..64).find(|&square| othello_token(square) == Some(token))
}

/// The board after each move of a game, for the player who moves then; padding ends the game.
///
/// # Errors
/// The first token that is no legal move.
pub fn othello_states(tokens: &[i32]) -> Result<Vec<[Square; 64]>, IllegalMove> {
    Ok(othello_boards(tokens)?.into_iter().map(OthelloBoard::squares).collect())
}

/// As [`othello_states`], with the rules.
pub(super) fn othello_boards(tokens: &[i32]) -> Result<Vec<OthelloBoard>, IllegalMove> {
    let mut board = OthelloBoard::new();
    let mut boards = Vec::new();
    for (position, &token) in tokens.iter().enumerate() {
        if token == MOVES as i32 && board.is_over() {
            break;
        }
        let next = othello_square(token).and_then(|square| board.play(square));
        board = next.ok_or(IllegalMove { position, token })?;
        boards.push(board);
    }
    Ok(boards)
}

impl OthelloConfig {
    /// See [`TaskConfig::prepare`](super::super::TaskConfig::prepare).
    pub(in super::super) fn prepare(&self, run_seed: u32) -> Result<Task, SettingError> {
        let counts = Counts::new(self.train_examples, self.held_examples)?;
        Ok(Task::sampled(Arc::new(RandomGames), counts, self.data_seed.unwrap_or(run_seed)))
    }
}

#[derive(Debug)]
struct RandomGames;

impl Distribution for RandomGames {
    fn interface(&self) -> Interface {
        interface(MOVES, MOVES)
    }

    fn subtasks(&self) -> Option<Subtasks> {
        Some(subtasks(MOVES))
    }

    fn draw_of(&self, _: Option<u32>, numbers: &mut Numbers, example: &mut Example<'_>) {
        let legal = |board: &OthelloBoard| board.legal_moves().collect();
        let squares = random_game(numbers, OthelloBoard::new(), legal, |board, square| board.play(square));
        let token = |square: usize| othello_token(square).expect("squares of the start are taken") as usize;
        let moves: Vec<usize> = squares.into_iter().map(token).collect();
        write(&moves, MOVES, example);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn prepare(settings: serde_json::Value) -> Result<Task, SettingError> {
        serde_json::from_value::<OthelloConfig>(settings).unwrap().prepare(0)
    }

    #[test]
    fn tokens_are_the_squares_that_can_be_taken() {
        let squares: Vec<usize> = (0..60).map(|token| othello_square(token).unwrap()).collect();
        assert!(squares.is_sorted() && START.iter().all(|taken| !squares.contains(taken)));
        assert!(squares.iter().zip(0..).all(|(&square, token)| othello_token(square) == Some(token)));
        assert_eq!((squares[0], squares[26], squares[27], squares[59]), (0, 26, 29, 63));
        assert_eq!([othello_square(60), othello_square(-1)], [None, None]);
        assert_eq!([othello_token(27), othello_token(64)], [None, None]);
    }

    #[test]
    fn random_games_are_legal_to_their_end() {
        let n = 3000;
        let task = prepare(json!({ "held_examples": n })).unwrap();
        let Interface::Tokens { vocabulary: 61, length: 60, .. } = task.interface else { panic!("61 ids") };
        assert_eq!(task.subtasks.as_ref().unwrap().names[58..], ["move_60", "padding"]);
        let train = task.split("train").unwrap();
        let rows =
            train.ids("tokens").chunks(60).zip(train.floats("weights").chunks(59)).zip(train.subtasks.chunks(59));
        let mut counts = [0.0; 4];
        for ((tokens, weights), subtasks) in rows {
            let n_moves = othello_states(tokens).unwrap().len();
            assert!(tokens[n_moves..].iter().all(|&token| token == 60));
            for at in 0..59 {
                let is_move = at + 1 < n_moves;
                assert_eq!(weights[at], if is_move { 1.0 / (n_moves - 1) as f32 } else { 0.0 });
                assert_eq!(subtasks[at], if is_move { at as u32 } else { 59 });
            }
            let first = [19, 26, 37, 44].iter().position(|&square| othello_token(square) == Some(tokens[0])).unwrap();
            counts[first] += 1.0;
        }
        // χ² of 3 degrees of freedom: above 16.3 with probability 0.001.
        let expected = f64::from(n) / 4.0;
        let chi2: f64 = counts.iter().map(|c| (c - expected) * (c - expected) / expected).sum();
        assert!(chi2 < 16.3, "{counts:?}");
    }

    #[test]
    fn states_belong_to_the_player_who_moves_next() {
        let tokens: Vec<i32> = [19, 18].into_iter().map(|square| othello_token(square).unwrap()).collect();
        let states = othello_states(&tokens).unwrap();
        let pieces = |state: &[Square; 64], of| (0..64).filter(|&at| state[at] == of).collect::<Vec<usize>>();
        // The first player takes 19 and turns 27; the second answers diagonally and turns it back.
        assert_eq!(pieces(&states[0], Square::Theirs), [19, 27, 28, 35]);
        assert_eq!(pieces(&states[0], Square::Mine), [36]);
        assert_eq!(pieces(&states[1], Square::Mine), [19, 28, 35]);
        assert_eq!(pieces(&states[1], Square::Theirs), [18, 27, 36]);
        assert_eq!(othello_states(&[0]).unwrap_err(), IllegalMove { position: 0, token: 0 });
        let error = othello_states(&[tokens[0], 60]).unwrap_err().to_string();
        let expected = "token 60 at position 1 is no legal move; expected a move of the game, or padding after its end";
        assert_eq!(error, expected);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let message =
            "task.held_examples is 1; expected at least 2: with endless training they are what is measured on";
        assert_eq!(prepare(json!({ "held_examples": 1 })).unwrap_err().to_string(), message);
    }
}
