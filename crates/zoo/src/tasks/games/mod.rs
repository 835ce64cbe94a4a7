//! Board games as sequences of moves: layout of a game, what stands on a board, and what is legal.

mod game;
mod othello;
mod othello_board;
mod tic_tac_toe;
mod tic_tac_toe_board;

pub use game::Game;
pub use othello::{OthelloConfig, othello_square, othello_states, othello_token};
pub use othello_board::OthelloBoard;
pub use tic_tac_toe::{TicTacToeConfig, TicTacToeGames, tic_tac_toe_states};
pub use tic_tac_toe_board::TicTacToeBoard;

use super::sampled::{Example, Numbers};
use super::{SubtaskBy, Subtasks};
use crate::{Interface, Read};

/// What stands on a square, for the player who moves next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Square {
    /// Nothing.
    Empty,
    /// A piece of the player who moves next.
    Mine,
    /// A piece of the other player.
    Theirs,
}

/// A move that the rules do not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("token {token} at position {position} is no legal move; expected a move of the game, or padding after its end")]
pub struct IllegalMove {
    /// Position in the sequence, from 0.
    pub position: usize,
    /// The token there.
    pub token: i32,
}

/// Sequences of up to `length` moves, which are the ids below `pad`; every move but the first is predicted.
fn interface(length: usize, pad: usize) -> Interface {
    Interface::Tokens { vocabulary: pad + 1, length, read: Read::Tokens { from: 1, every: 1, is_weighted: true } }
}

/// The predicted moves by their number, and what comes after a game's end.
fn subtasks(length: usize) -> Subtasks {
    let names = (2..=length).map(|k| format!("move_{k}")).chain(["padding".to_owned()]).collect();
    Subtasks { names, by: SubtaskBy::EachAnswer }
}

/// Squares of a random game from `board` to its end, every legal move alike.
fn random_game<B>(
    numbers: &mut Numbers,
    mut board: B,
    legal_moves: impl Fn(&B) -> Vec<usize>,
    play: impl Fn(&B, usize) -> Option<B>,
) -> Vec<usize> {
    let mut squares = Vec::new();
    loop {
        let legal = legal_moves(&board);
        if legal.is_empty() {
            return squares;
        }
        let square = legal[numbers.below(legal.len())];
        board = play(&board, square).expect("a legal move");
        squares.push(square);
    }
}

/// Writes the moves of a game, at least two. The loss is the mean over the predicted ones.
fn write(moves: &[usize], pad: usize, example: &mut Example<'_>) {
    let length = example.tokens.len();
    for (at, token) in example.tokens.iter_mut().enumerate() {
        *token = moves.get(at).map_or(pad, |&token| token) as i32;
    }
    let n_predicted = moves.len() - 1;
    for (at, (weight, subtask)) in example.weights.iter_mut().zip(example.answer_subtasks.iter_mut()).enumerate() {
        let is_move = at < n_predicted;
        *weight = if is_move { 1.0 / n_predicted as f32 } else { 0.0 };
        *subtask = if is_move { at } else { length - 1 } as u32;
    }
}
