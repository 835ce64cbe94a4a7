//! Whether the predicted moves of a game are legal.

use ontogeny_graph::DataSet;
use ontogeny_zoo::{Game, Interface};

use crate::evaluate::ids;
use crate::{Evaluator, ObserveError};

/// Version of the numbers of [`LegalMoves`].
pub const LEGAL_MOVES_VERSION: u32 = 1;

/// Means over all moves of a data set but the first of each game, which nobody predicts ("Emergent World
/// Representations", Li et al. 2023, section 2.2).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LegalMoves {
    /// Share of the positions, 0 to 1, in which a legal move has the largest logit; a tie with one that is not counts as
    /// wrong.
    pub rate: f64,
    /// Probability of all legal moves together, 0 to 1.
    pub mass: f64,
}

impl Evaluator {
    /// How much of what the flat `weights` predict is legal, over the games of `data`.
    ///
    /// # Errors
    /// Weights or data of another model, data that are no games, or a non-finite loss, as for [`Evaluator::evaluate`].
    pub fn legal_moves(&mut self, weights: &[f32], data: &DataSet, game: Game) -> Result<LegalMoves, ObserveError> {
        let not_games = |found: String| ObserveError::NotDefined {
            observable: "legal_moves",
            needs: "games, each a row of moves".to_owned(),
            found,
        };
        let interface = self.interface();
        let (Interface::Tokens { vocabulary, length, .. }, Some(tokens)) = (interface, ids(data, "tokens")) else {
            return Err(not_games("other data".to_owned()));
        };
        let legal: Result<Vec<Vec<Vec<i32>>>, _> = tokens.chunks(length).map(|row| game.legal_tokens(row)).collect();
        let legal = legal.map_err(|error| not_games(format!("a row in which {error}")))?;
        let (mut n, mut n_legal, mut mass) = (0_u64, 0_u64, 0.0);
        let mut games = legal.iter();
        self.run(weights, data, |results| {
            let rows = results.logits.chunks_exact(interface.answers() * vocabulary);
            for (_, (logits, game)) in results.losses.iter().zip(rows.zip(&mut games)) {
                for (logits, legal) in logits.chunks_exact(vocabulary).zip(game).filter(|(_, legal)| !legal.is_empty())
                {
                    let share = Legal::of(logits, legal);
                    n += 1;
                    n_legal += u64::from(share.is_largest);
                    mass += share.mass;
                }
            }
            results.losses.iter().map(|&loss| f64::from(loss)).sum()
        })?;
        // Every game has two moves and more.
        Ok(LegalMoves { rate: n_legal as f64 / n as f64, mass: mass / n as f64 })
    }
}

/// Of one position.
struct Legal {
    is_largest: bool,
    mass: f64,
}

impl Legal {
    fn of(logits: &[f32], legal: &[i32]) -> Self {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        // Weights of the softmax, and the largest logits, of moves that are not legal and that are.
        let (mut sums, mut maxima) = ([0.0; 2], [f32::NEG_INFINITY; 2]);
        for (token, &logit) in (0..).zip(logits) {
            let at = usize::from(legal.contains(&token));
            sums[at] += f64::from(logit - largest).exp();
            maxima[at] = maxima[at].max(logit);
        }
        Self { is_largest: maxima[1] > maxima[0], mass: sums[1] / (sums[0] + sums[1]) }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ontogeny_zoo::{Model, TaskConfig};
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn shares_of_a_position_are_those_of_its_softmax() {
        // Weights 1, 2, 3 and 4 of 10.
        let logits = [1.0_f32, 2.0, 3.0, 4.0].map(f32::ln);
        for (legal, mass, is_largest) in [(&[3][..], 0.4, true), (&[0, 2], 0.4, false), (&[0, 1, 2, 3], 1.0, true)] {
            let found = Legal::of(&logits, legal);
            assert!((found.mass - mass).abs() < 1e-6 && found.is_largest == is_largest, "{legal:?}");
        }
        assert!(!Legal::of(&[1.0, 1.0], &[0]).is_largest);
    }

    /// With weights of zero all ten tokens are equally likely and none is the largest; before move k of tic-tac-toe 10 − k
    /// squares are free.
    #[test]
    fn a_network_that_knows_nothing_spreads_over_all_tokens() {
        let config: TaskConfig =
            from_value(json!({ "kind": "tic_tac_toe", "held_examples": 700, "train_examples": 10 })).unwrap();
        let task = config.prepare(0, Path::new(".")).unwrap();
        let network = json!({
            "kind": "transformer", "layers": 1, "d_model": 8, "heads": 2, "d_mlp": 8, "activation": "relu",
            "normalization": "none", "positions": "learned",
        });
        let model = Model::new(from_value(network).unwrap(), task.interface).unwrap();
        let mut evaluator = Evaluator::new(&model).unwrap();
        let weights = vec![0.0; model.space().len()];
        for split in &task.splits {
            let found = evaluator.legal_moves(&weights, &split.data, Game::TicTacToe).unwrap();
            let (mut free, mut n) = (0, 0);
            for tokens in ids(&split.data, "tokens").unwrap().chunks(9) {
                let n_moves = tokens.iter().filter(|&&token| token < 9).count();
                free += (1..n_moves).map(|moves| 9 - moves).sum::<usize>();
                n += n_moves - 1;
            }
            assert!((found.mass - free as f64 / (10 * n) as f64).abs() < 1e-9, "{}", split.name);
            assert_eq!(found.rate, 0.0);
        }
        // Whatever has no rows of moves is refused, with what is wrong.
        let error = evaluator.legal_moves(&weights, &task.splits[0].data, Game::Othello).unwrap_err().to_string();
        assert!(
            error.starts_with("`legal_moves` needs games, each a row of moves; this run has a row in which"),
            "{error}"
        );
    }
}
