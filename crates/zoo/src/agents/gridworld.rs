//! A gridworld: from a start to a goal, around walls.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{Environment, Outcome};
use crate::SettingError;

/// Settings of a gridworld (Sutton & Barto 2018, 3.5 and 13.1). Cells are `[column, row]`, from 0 at the top left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GridworldConfig {
    /// Columns and rows, each 1 to 64.
    pub size: [usize; 2],
    /// Cells that cannot be entered.
    #[serde(default)]
    pub walls: Vec<[usize; 2]>,
    /// Where an episode begins.
    pub start: [usize; 2],
    /// The cell that ends it with a reward of 1.
    pub goal: [usize; 2],
    /// What a reward counts one move later, above 0 and at most 1.
    pub discount: f64,
    /// Moves after which an episode ends without a reward.
    pub max_moves: usize,
}

/// A gridworld. Actions are moves up, down, left and right; a move against a wall or the edge leaves the agent where it is. The
/// observation is the number of the cell, one-hot.
#[derive(Debug, Clone, PartialEq)]
pub struct Gridworld {
    config: GridworldConfig,
    is_wall: Vec<bool>,
}

const MAX_SIDE: usize = 64;
const MAX_MOVES: usize = 10_000;

impl Gridworld {
    /// Checks the settings.
    ///
    /// # Errors
    /// A setting out of range, or a goal that cannot be reached in time.
    pub fn new(config: GridworldConfig) -> Result<Self, SettingError> {
        let wrong = |key, found: String, expected: &str| Err(SettingError::new("task", key, found, expected));
        let [columns, rows] = config.size;
        if !(1..=MAX_SIDE).contains(&columns) || !(1..=MAX_SIDE).contains(&rows) {
            return wrong("size", format!("{:?}", config.size), "columns and rows of 1 to 64");
        }
        if !(config.discount > 0.0 && config.discount <= 1.0) {
            return wrong("discount", config.discount.to_string(), "a number above 0 and at most 1");
        }
        if !(1..=MAX_MOVES).contains(&config.max_moves) {
            return wrong("max_moves", config.max_moves.to_string(), "1 to 10000");
        }
        let is_inside = |cell: &[usize; 2]| cell[0] < columns && cell[1] < rows;
        let mut is_wall = vec![false; columns * rows];
        for wall in &config.walls {
            if !is_inside(wall) {
                return wrong("walls", format!("{wall:?}"), "cells of the grid, as [column, row] from 0");
            }
            is_wall[wall[1] * columns + wall[0]] = true;
        }
        for (key, cell) in [("start", config.start), ("goal", config.goal)] {
            if !is_inside(&cell) || config.walls.contains(&cell) {
                return wrong(key, format!("{cell:?}"), "a cell of the grid that is no wall");
            }
        }
        let grid = Self { config, is_wall };
        match grid.fewest_moves() {
            Some(0) => wrong("goal", format!("{:?}", grid.config.goal), "another cell than the start"),
            Some(n) if n <= grid.config.max_moves => Ok(grid),
            Some(n) => {
                let expected = format!("at least {n}, the moves to the goal");
                wrong("max_moves", grid.config.max_moves.to_string(), &expected)
            }
            None => wrong("goal", format!("{:?}", grid.config.goal), "a cell that the walls leave a way to"),
        }
    }

    /// Moves of a shortest way; `None` where there is none.
    pub fn fewest_moves(&self) -> Option<usize> {
        let mut moves = vec![None; self.is_wall.len()];
        let start = self.cell(self.config.start);
        moves[start] = Some(0);
        let mut edge = VecDeque::from([start]);
        while let Some(from) = edge.pop_front() {
            for action in 0..4 {
                let to = self.moved(from, action);
                if moves[to].is_none() {
                    moves[to] = moves[from].map(|n: usize| n + 1);
                    edge.push_back(to);
                }
            }
        }
        moves[self.cell(self.config.goal)]
    }

    fn cell(&self, [column, row]: [usize; 2]) -> usize {
        row * self.config.size[0] + column
    }

    fn moved(&self, cell: usize, action: usize) -> usize {
        let [columns, rows] = self.config.size;
        let (column, row) = (cell % columns, cell / columns);
        let to = match action {
            0 if row > 0 => cell - columns,
            1 if row + 1 < rows => cell + columns,
            2 if column > 0 => cell - 1,
            3 if column + 1 < columns => cell + 1,
            _ => cell,
        };
        if self.is_wall[to] { cell } else { to }
    }
}

impl Environment for Gridworld {
    type State = usize;

    fn inputs(&self) -> usize {
        self.is_wall.len()
    }

    fn actions(&self) -> usize {
        4
    }

    fn horizon(&self) -> usize {
        self.config.max_moves
    }

    fn discount(&self) -> f64 {
        self.config.discount
    }

    fn start(&self) -> usize {
        self.cell(self.config.start)
    }

    fn observe(&self, state: &usize, x: &mut [f32]) {
        x[*state] = 1.0;
    }

    fn is_legal(&self, _: &usize, action: usize) -> bool {
        action < 4
    }

    fn outcomes(&self, state: &usize, action: usize) -> Vec<Outcome<usize>> {
        let to = self.moved(*state, action);
        let is_goal = to == self.cell(self.config.goal);
        let next = (!is_goal).then_some(to);
        vec![Outcome { probability: 1.0, reward: f64::from(u8::from(is_goal)), next }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimal_return;
    use serde_json::json;

    fn grid(changes: &serde_json::Value) -> Result<Gridworld, SettingError> {
        // . . # G
        // S # # .
        // . . . .
        let mut settings = json!({
            "size": [4, 3], "walls": [[2, 0], [1, 1], [2, 1]], "start": [0, 1], "goal": [3, 0], "discount": 0.9,
            "max_moves": 20,
        });
        for (key, value) in changes.as_object().unwrap() {
            settings[key] = value.clone();
        }
        Gridworld::new(serde_json::from_value(settings).unwrap())
    }

    #[test]
    fn the_optimal_return_is_that_of_a_shortest_way() {
        let grid = grid(&json!({})).unwrap();
        // Down, three to the right, two up.
        assert_eq!(grid.fewest_moves(), Some(6));
        assert!((optimal_return(&grid) - 0.9_f64.powi(5)).abs() < 1e-15);
        let [up, down, left, right] = [0, 1, 2, 3].map(|action| grid.outcomes(&4, action)[0].next);
        assert_eq!([up, down, left, right], [Some(0), Some(8), Some(4), Some(4)]);
        assert_eq!(grid.outcomes(&7, 0), [Outcome { probability: 1.0, reward: 1.0, next: None }]);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        for (changes, message) in [
            (json!({ "size": [0, 3] }), "task.size is [0, 3]; expected columns and rows of 1 to 64"),
            (json!({ "discount": 0.0 }), "task.discount is 0; expected a number above 0 and at most 1"),
            (json!({ "goal": [1, 1] }), "task.goal is [1, 1]; expected a cell of the grid that is no wall"),
            (json!({ "goal": [0, 1] }), "task.goal is [0, 1]; expected another cell than the start"),
            (json!({ "max_moves": 5 }), "task.max_moves is 5; expected at least 6, the moves to the goal"),
            (
                json!({ "walls": [[1, 0], [1, 1], [1, 2]] }),
                "task.goal is [3, 0]; expected a cell that the walls leave a way to",
            ),
            (json!({ "walls": [[4, 0]] }), "task.walls is [4, 0]; expected cells of the grid, as [column, row] from 0"),
        ] {
            assert_eq!(grid(&changes).unwrap_err().to_string(), message);
        }
    }
}
