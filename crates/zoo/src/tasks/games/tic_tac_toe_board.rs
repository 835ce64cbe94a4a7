//! Rules of tic-tac-toe.

use super::Square;

/// A position of tic-tac-toe. Squares are 0 to 8, row by row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct TicTacToeBoard {
    /// Squares of the player who moves next, a bit each.
    mine: u16,
    theirs: u16,
}

/// Rows, columns, diagonals.
const LINES: [u16; 8] = [0o7, 0o70, 0o700, 0o111, 0o222, 0o444, 0o421, 0o124];
const ALL: u16 = 0o777;

impl TicTacToeBoard {
    /// The empty board.
    pub fn new() -> Self {
        Self::default()
    }

    /// The squares that may be taken, ascending; none once the game is over.
    pub fn legal_moves(self) -> impl Iterator<Item = usize> {
        let free = if self.is_won() { 0 } else { ALL & !(self.mine | self.theirs) };
        (0..9).filter(move |square| free >> square & 1 == 1)
    }

    /// The position after the next player takes `square`; `None` where that is not allowed.
    #[must_use]
    pub fn play(self, square: usize) -> Option<Self> {
        self.legal_moves()
            .any(|legal| legal == square)
            .then(|| Self { mine: self.theirs, theirs: self.mine | 1 << square })
    }

    /// Whether the player who just moved has three in a row.
    pub fn is_won(self) -> bool {
        LINES.iter().any(|&line| line & !self.theirs == 0)
    }

    /// Whether nobody can move any more.
    pub fn is_over(self) -> bool {
        self.legal_moves().next().is_none()
    }

    /// All squares.
    pub fn squares(self) -> [Square; 9] {
        std::array::from_fn(|square| match (self.mine >> square & 1, self.theirs >> square & 1) {
            (1, _) => Square::Mine,
            (_, 1) => Square::Theirs,
            _ => Square::Empty,
        })
    }
}

/// Calls `visit` with the moves of every game to its end, in the order of the moves, and with the position it ends in.
pub(super) fn all_games(visit: &mut dyn FnMut(&[usize], TicTacToeBoard)) {
    fn continue_from(board: TicTacToeBoard, moves: &mut Vec<usize>, visit: &mut dyn FnMut(&[usize], TicTacToeBoard)) {
        if board.is_over() {
            visit(moves, board);
        }
        for square in board.legal_moves() {
            if let Some(next) = board.play(square) {
                moves.push(square);
                continue_from(next, moves, visit);
                moves.pop();
            }
        }
    }
    continue_from(TicTacToeBoard::new(), &mut Vec::new(), visit);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn there_are_5478_positions_and_255168_games() {
        let mut positions = BTreeSet::from([TicTacToeBoard::new()]);
        let mut edge = positions.clone();
        while !edge.is_empty() {
            edge = edge.iter().flat_map(|board| board.legal_moves().filter_map(|square| board.play(square))).collect();
            positions.extend(&edge);
        }
        assert_eq!(positions.len(), 5478);
        // By length and winner: the first player wins with an odd number of moves.
        let mut by_length = [0; 10];
        let mut draws = 0;
        all_games(&mut |moves, end| {
            by_length[moves.len()] += 1;
            draws += usize::from(!end.is_won());
        });
        assert_eq!(by_length, [0, 0, 0, 0, 0, 1440, 5328, 47_952, 72_576, 127_872]);
        assert_eq!((by_length.iter().sum::<usize>(), draws), (255_168, 46_080));
    }

    #[test]
    fn moves_on_taken_squares_or_after_the_end_are_refused() {
        let board = [0, 3, 1, 4].iter().try_fold(TicTacToeBoard::new(), |board, &square| board.play(square)).unwrap();
        assert!(board.play(3).is_none() && board.play(9).is_none());
        let won = board.play(2).unwrap();
        assert!(won.is_won() && won.is_over() && won.play(8).is_none());
        let [m, t, e] = [Square::Mine, Square::Theirs, Square::Empty];
        assert_eq!(won.squares(), [t, t, t, m, m, e, e, e, e]);
    }
}
