//! Rules of Othello on bit boards.

use super::Square;

/// A position of Othello. Squares are 0 to 63, row by row; the first player starts with squares 28 and 35.
///
/// A player without a move passes: the player who moves next always has a move, unless the game is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OthelloBoard {
    /// Squares of the player who moves next, a bit each.
    mine: u64,
    theirs: u64,
}

const FIRST_COLUMN: u64 = 0x0101_0101_0101_0101;
const LAST_COLUMN: u64 = FIRST_COLUMN << 7;

/// One step of all squares in one of eight directions: the place that a bit moves by, and the column it may not enter, since
/// there it comes from beyond the edge.
#[derive(Clone, Copy)]
struct Direction {
    by: i32,
    forbidden: u64,
}

const DIRECTIONS: [Direction; 8] = [
    Direction { by: 8, forbidden: 0 },
    Direction { by: -8, forbidden: 0 },
    Direction { by: 1, forbidden: FIRST_COLUMN },
    Direction { by: -7, forbidden: FIRST_COLUMN },
    Direction { by: 9, forbidden: FIRST_COLUMN },
    Direction { by: -1, forbidden: LAST_COLUMN },
    Direction { by: 7, forbidden: LAST_COLUMN },
    Direction { by: -9, forbidden: LAST_COLUMN },
];

impl Direction {
    fn step(self, squares: u64) -> u64 {
        let moved = if self.by > 0 { squares << self.by } else { squares >> -self.by };
        moved & !self.forbidden
    }
}

impl Default for OthelloBoard {
    fn default() -> Self {
        Self::new()
    }
}

impl OthelloBoard {
    /// The start of a game.
    pub fn new() -> Self {
        Self { mine: 1 << 28 | 1 << 35, theirs: 1 << 27 | 1 << 36 }
    }

    /// The squares that may be taken, ascending; none once the game is over.
    pub fn legal_moves(self) -> impl Iterator<Item = usize> {
        let legal = self.legal();
        (0..64).filter(move |square| legal >> square & 1 == 1)
    }

    /// A bit for each legal move: squares at the end of a row of the other's pieces that begins beside one of mine.
    fn legal(self) -> u64 {
        let empty = !(self.mine | self.theirs);
        DIRECTIONS.iter().fold(0, |legal, direction| {
            let mut row = direction.step(self.mine) & self.theirs;
            // A row between two squares has at most six pieces.
            for _ in 0..5 {
                row |= direction.step(row) & self.theirs;
            }
            legal | direction.step(row) & empty
        })
    }

    /// The position after the next player takes `square`, and after a pass where one follows; `None` where the move is not
    /// allowed.
    #[must_use]
    pub fn play(self, square: usize) -> Option<Self> {
        if square >= 64 || self.legal() >> square & 1 == 0 {
            return None;
        }
        let taken = 1_u64 << square;
        let flipped = DIRECTIONS.iter().fold(0, |flipped, direction| {
            let (mut row, mut at) = (0, direction.step(taken));
            while at & self.theirs != 0 {
                row |= at;
                at = direction.step(at);
            }
            if at & self.mine == 0 { flipped } else { flipped | row }
        });
        let next = Self { mine: self.theirs & !flipped, theirs: self.mine | taken | flipped };
        let passed = Self { mine: next.theirs, theirs: next.mine };
        Some(if next.legal() == 0 && passed.legal() != 0 { passed } else { next })
    }

    /// Whether nobody can move any more.
    pub fn is_over(self) -> bool {
        self.legal() == 0
    }

    /// All squares.
    pub fn squares(self) -> [Square; 64] {
        std::array::from_fn(|square| match (self.mine >> square & 1, self.theirs >> square & 1) {
            (1, _) => Square::Mine,
            (_, 1) => Square::Theirs,
            _ => Square::Empty,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ontogeny_graph::{Purpose, Stream};

    fn perft(board: OthelloBoard, depth: usize) -> usize {
        if depth == 0 {
            return 1;
        }
        board.legal_moves().filter_map(|square| board.play(square)).map(|next| perft(next, depth - 1)).sum()
    }

    #[test]
    fn positions_after_some_moves_are_as_many_as_published() {
        // The first pass is possible after nine moves, so that these counts hold for either way of counting passes.
        for (depth, expected) in (1..).zip([4, 12, 56, 244, 1396, 8200, 55_092]) {
            assert_eq!(perft(OthelloBoard::new(), depth), expected);
        }
    }

    /// Square by square: the board after a move of the player +1, or `None`.
    fn play_slowly(board: &[i8; 64], square: usize) -> Option<[i8; 64]> {
        let mut after = *board;
        let (row, column) = ((square / 8) as i32, (square % 8) as i32);
        for (down, right) in (-1..=1).flat_map(|down| (-1..=1).map(move |right| (down, right))) {
            let on_board = |k: i32| {
                let (r, c) = (row + k * down, column + k * right);
                ((0..8).contains(&r) && (0..8).contains(&c)).then(|| (8 * r + c) as usize)
            };
            let line: Vec<usize> = (1..8).map_while(on_board).collect();
            let n_theirs = line.iter().take_while(|&&at| board[at] == -1).count();
            if line.get(n_theirs).is_some_and(|&at| board[at] == 1) {
                line[..n_theirs].iter().for_each(|&at| after[at] = 1);
            }
        }
        let is_legal = board[square] == 0 && after != *board;
        after[square] = 1;
        is_legal.then_some(after)
    }

    #[test]
    fn bits_and_squares_agree_to_the_end_of_random_games() {
        let (mut n_passes, mut n_early) = (0, 0);
        for game in 0..200 {
            let stream = Stream::new(1, Purpose::Probe, game);
            let mut board = OthelloBoard::new();
            let mut slow = [0_i8; 64];
            for (at, piece) in [(28, 1), (35, 1), (27, -1), (36, -1)] {
                slow[at] = piece;
            }
            let mut n_moves = 0;
            loop {
                let piece = |square| match square {
                    Square::Empty => 0,
                    Square::Mine => 1,
                    Square::Theirs => -1,
                };
                assert_eq!(board.squares().map(piece), slow);
                let slow_legal: Vec<usize> = (0..64).filter(|&square| play_slowly(&slow, square).is_some()).collect();
                let legal: Vec<usize> = board.legal_moves().collect();
                assert_eq!(legal, slow_legal);
                if legal.is_empty() {
                    break;
                }
                assert!((0..64).all(|square| board.play(square).is_some() == legal.contains(&square)));
                let square = legal[stream.below(legal.len(), 0, n_moves)];
                board = board.play(square).unwrap();
                slow = play_slowly(&slow, square).unwrap().map(|piece| -piece);
                let turned = slow.map(|piece| -piece);
                let can_move = |board: &[i8; 64]| (0..64).any(|square| play_slowly(board, square).is_some());
                if !can_move(&slow) && can_move(&turned) {
                    slow = turned;
                    n_passes += 1;
                }
                n_moves += 1;
            }
            assert!(board.is_over());
            n_early += usize::from(n_moves < 60);
        }
        // The test has seen what it is about.
        assert!(n_passes > 0 && n_early > 0, "{n_passes} {n_early}");
    }

    #[test]
    fn real_games_are_legal() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/othello/intervention_benchmark.json");
        let games: Vec<serde_json::Value> = serde_json::from_str(&fs_err::read_to_string(file).unwrap()).unwrap();
        assert_eq!(games.len(), 1001);
        for game in &games {
            let history = game["history"].as_array().unwrap();
            let end = history.iter().try_fold(OthelloBoard::new(), |board, square| {
                board.play(usize::try_from(square.as_u64().unwrap()).unwrap())
            });
            let squares = end.unwrap_or_else(|| panic!("{history:?}")).squares();
            let taken = squares.iter().filter(|&&square| square != Square::Empty).count();
            assert_eq!(taken, 4 + history.len());
            // The benchmark turns a piece around: there has to be one.
            let asked = usize::try_from(game["pos_int"].as_u64().unwrap()).unwrap();
            assert_ne!(squares[asked], Square::Empty);
        }
    }
}
