//! Next moves in tic-tac-toe.

use std::sync::Arc;

use ontogeny_graph::{Column, ColumnData, DataSet, Purpose, Stream};
use serde::{Deserialize, Serialize};

use super::super::sampled::{Counts, Distribution, Example, Numbers};
use super::super::{Split, Subtasks, Task, default_held_examples, wrong};
use super::tic_tac_toe_board::all_games;
use super::{IllegalMove, Square, TicTacToeBoard, interface, random_game, subtasks, write};
use crate::{Interface, SettingError};

/// Settings of next-move prediction in tic-tac-toe.
///
/// An example is a game of 5 to 9 moves; a move is the number of its square, 0 to 8 row by row. After the end comes padding, the
/// id 9, up to 9 tokens. All moves but the first are predicted; an example's loss is the mean over them, not over padding. The
/// sub-task `move_k` is the k-th move, `padding` what is not counted.
///
/// Games are `random`, every legal move alike, where the smallest loss of a move is the logarithm of how many are legal; or they
/// are `all` 255,168, cut into `train` and `test`, beside the split `all`. There a move is as frequent as games go on from it.
/// [`tic_tac_toe_states`] tells the boards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TicTacToeConfig {
    /// Which games.
    #[serde(default)]
    pub games: TicTacToeGames,
    /// Share of all games to train on, above 0 and at most 1: of `all`, which needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_fraction: Option<f64>,
    /// Random games to train on; new ones at every update unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_examples: Option<usize>,
    /// Random games held out.
    #[serde(default = "default_held_examples")]
    pub held_examples: usize,
    /// Seed of the games or of their split; the seed of the run unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_seed: Option<u32>,
}

/// Which games of tic-tac-toe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TicTacToeGames {
    /// Random moves.
    #[default]
    Random,
    /// All there are.
    All,
}

const SQUARES: usize = 9;

impl TicTacToeConfig {
    /// See [`TaskConfig::prepare`](super::super::TaskConfig::prepare).
    pub(in super::super) fn prepare(&self, run_seed: u32) -> Result<Task, SettingError> {
        let seed = self.data_seed.unwrap_or(run_seed);
        match (self.games, self.train_fraction) {
            (TicTacToeGames::Random, None) => {
                let counts = Counts::new(self.train_examples, self.held_examples)?;
                Ok(Task::sampled(Arc::new(RandomGames), counts, seed))
            }
            (TicTacToeGames::All, Some(share)) if share > 0.0 && share <= 1.0 => {
                if let Some(n) = self.train_examples {
                    return Err(wrong("train_examples", n, "it only with games = \"random\""));
                }
                every_game(share, seed)
            }
            (TicTacToeGames::All, Some(share)) => Err(wrong("train_fraction", share, "a share above 0 and at most 1")),
            (TicTacToeGames::All, None) => Err(wrong("train_fraction", "missing", "the share of games to train on")),
            (TicTacToeGames::Random, Some(share)) => {
                Err(wrong("train_fraction", share, "it only with games = \"all\""))
            }
        }
    }
}

/// The board after each move of a game, for the player who moves then; padding ends the game.
///
/// # Errors
/// The first token that is no legal move.
pub fn tic_tac_toe_states(tokens: &[i32]) -> Result<Vec<[Square; 9]>, IllegalMove> {
    Ok(tic_tac_toe_boards(tokens)?.into_iter().map(TicTacToeBoard::squares).collect())
}

/// As [`tic_tac_toe_states`], with the rules.
pub(super) fn tic_tac_toe_boards(tokens: &[i32]) -> Result<Vec<TicTacToeBoard>, IllegalMove> {
    let mut board = TicTacToeBoard::new();
    let mut boards = Vec::new();
    for (position, &token) in tokens.iter().enumerate() {
        if token == SQUARES as i32 && board.is_over() {
            break;
        }
        let next = usize::try_from(token).ok().and_then(|square| board.play(square));
        board = next.ok_or(IllegalMove { position, token })?;
        boards.push(board);
    }
    Ok(boards)
}

fn every_game(share: f64, seed: u32) -> Result<Task, SettingError> {
    let mut games = Vec::new();
    all_games(&mut |moves, _| games.push(moves.to_vec()));
    let n = games.len();
    // A share such as 0.29 is not exact in binary.
    let n_train = ((share * n as f64 * (1.0 + 4.0 * f64::EPSILON)) as usize).min(n);
    if n_train == 0 {
        return Err(wrong(
            "train_fraction",
            share,
            &format!("a share that leaves at least one of {n} games to train on"),
        ));
    }
    let answers = SQUARES - 1;
    let (mut tokens, mut weights, mut numbers) = (vec![0; SQUARES * n], vec![0.0; answers * n], vec![0; answers * n]);
    let rows = tokens.chunks_exact_mut(SQUARES).zip(weights.chunks_exact_mut(answers));
    for ((moves, (tokens, weights)), answer_subtasks) in games.iter().zip(rows).zip(numbers.chunks_exact_mut(answers)) {
        write(moves, SQUARES, &mut Example { tokens, weights, answer_subtasks, ..Example::default() });
    }
    let columns = vec![
        Column { name: "tokens".to_owned(), width: SQUARES, data: ColumnData::Ids(tokens) },
        Column { name: "weights".to_owned(), width: answers, data: ColumnData::Float(weights) },
    ];
    let all = DataSet::new(n, columns).expect("both columns have a row for each game");
    let order = Stream::new(seed, Purpose::Split, 0).permutation(n, 0);
    let part = |name, chosen: &[usize]| {
        let mut indices = chosen.to_vec();
        indices.sort_unstable();
        let subtasks = indices.iter().flat_map(|&i| numbers[answers * i..answers * (i + 1)].iter().copied()).collect();
        Split { subtasks, ..Split::new(name, indices, &all) }
    };
    let mut splits = vec![part("train", &order[..n_train])];
    if n_train < n {
        splits.push(part("test", &order[n_train..]));
    }
    splits.push(part("all", &order));
    let interface = interface(SQUARES, SQUARES);
    Ok(Task::of_splits(interface, splits, Some(subtasks(SQUARES))))
}

#[derive(Debug)]
struct RandomGames;

impl Distribution for RandomGames {
    fn interface(&self) -> Interface {
        interface(SQUARES, SQUARES)
    }

    fn subtasks(&self) -> Option<Subtasks> {
        Some(subtasks(SQUARES))
    }

    fn draw_of(&self, _: Option<u32>, numbers: &mut Numbers, example: &mut Example<'_>) {
        let legal = |board: &TicTacToeBoard| board.legal_moves().collect();
        let squares = random_game(numbers, TicTacToeBoard::new(), legal, |board, square| board.play(square));
        write(&squares, SQUARES, example);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn prepare(settings: serde_json::Value) -> Result<Task, SettingError> {
        serde_json::from_value::<TicTacToeConfig>(settings).unwrap().prepare(0)
    }

    /// Asserts the layout of every game of a split, and gives their lengths.
    fn lengths(split: &Split) -> Vec<usize> {
        let rows = split.ids("tokens").chunks(9).zip(split.floats("weights").chunks(8)).zip(split.subtasks.chunks(8));
        let length = |((tokens, weights), subtasks): ((&[i32], &[f32]), &[u32])| {
            let states = tic_tac_toe_states(tokens).unwrap();
            let n = states.len();
            assert!(tokens[n..].iter().all(|&token| token == 9));
            for at in 0..8 {
                let is_move = at + 1 < n;
                assert_eq!(subtasks[at], if is_move { at as u32 } else { 8 });
                assert_eq!(weights[at], if is_move { 1.0 / (n - 1) as f32 } else { 0.0 });
            }
            n
        };
        rows.map(length).collect()
    }

    #[test]
    fn random_games_are_as_frequent_as_their_moves_make_them() {
        let n = 20_000;
        let task = prepare(json!({ "held_examples": n })).unwrap();
        assert_eq!(task.interface.answers(), 8);
        let names = task.subtasks.as_ref().unwrap().names.join(" ");
        assert_eq!(names, "move_2 move_3 move_4 move_5 move_6 move_7 move_8 move_9 padding");
        let mut counts = BTreeMap::new();
        for length in lengths(task.split("train").unwrap()) {
            *counts.entry(length).or_insert(0.0) += 1.0;
        }
        // A game of m moves has the probability (9 − m)!/9!: 1/15,120, 1/60,480, … of 1440, 5328, … games.
        let expected =
            [1440.0 / 15_120.0, 5328.0 / 60_480.0, 47_952.0 / 181_440.0, 72_576.0 / 362_880.0, 127_872.0 / 362_880.0];
        for (length, p) in (5..).zip(expected) {
            let share: f64 = counts[&length] / f64::from(n);
            assert!(
                (share - p).abs() < 4.0 * (p * (1.0 - p) / f64::from(n)).sqrt(),
                "{length}: {share} instead of {p}"
            );
        }
    }

    #[test]
    fn all_games_are_split_once_each() {
        let task = prepare(json!({ "games": "all", "train_fraction": 0.25 })).unwrap();
        assert!(task.endless.is_none());
        let indices = |name| task.split(name).unwrap().indices.clone();
        assert_eq!(indices("train").len(), 63_792);
        let mut both = [indices("train"), indices("test")].concat();
        both.sort_unstable();
        assert_eq!(both, (0..255_168).collect::<Vec<usize>>());
        assert_eq!(indices("all"), both);
        let all = task.split("all").unwrap();
        assert_eq!(lengths(all).iter().sum::<usize>(), 5 * 1440 + 6 * 5328 + 7 * 47_952 + 8 * 72_576 + 9 * 127_872);
        let train = task.split("train").unwrap();
        lengths(train);
        for (row, &at) in train.indices.iter().enumerate().step_by(1000) {
            assert_eq!(train.ids("tokens")[9 * row..9 * row + 9], all.ids("tokens")[9 * at..9 * at + 9]);
        }
    }

    #[test]
    fn states_belong_to_the_player_who_moves_next() {
        let [m, t, e] = [Square::Mine, Square::Theirs, Square::Empty];
        let states = tic_tac_toe_states(&[4, 0]).unwrap();
        assert_eq!(states, [[e, e, e, e, t, e, e, e, e], [t, e, e, e, m, e, e, e, e]]);
        for (tokens, position) in [(&[4, 4][..], 1), (&[4, 9], 1), (&[-1], 0), (&[0, 3, 1, 4, 2, 8], 5)] {
            let error = tic_tac_toe_states(tokens).unwrap_err();
            assert_eq!(error, IllegalMove { position, token: tokens[position] });
        }
    }

    #[test]
    fn settings_out_of_range_are_named() {
        for (settings, message) in [
            (json!({ "games": "all" }), "task.train_fraction is missing; expected the share of games to train on"),
            (
                json!({ "games": "all", "train_fraction": 0.0 }),
                "task.train_fraction is 0; expected a share above 0 and at most 1",
            ),
            (
                json!({ "games": "all", "train_fraction": 1e-6 }),
                "task.train_fraction is 0.000001; expected a share that leaves at least one of 255168 games to train on",
            ),
            (json!({ "train_fraction": 0.5 }), "task.train_fraction is 0.5; expected it only with games = \"all\""),
            (
                json!({ "games": "all", "train_fraction": 0.5, "train_examples": 5 }),
                "task.train_examples is 5; expected it only with games = \"random\"",
            ),
        ] {
            assert_eq!(prepare(settings).unwrap_err().to_string(), message);
        }
    }
}
