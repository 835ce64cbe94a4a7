//! Next moves of games.

use super::{Bound, Check, Figure};

pub(super) const CHECKS: &[Check] = &[
    Check {
        preset: "othello",
        looked_for: "likeliest moves are legal (share; 0.9999 in the paper, and 0.07 untrained)",
        bound: Bound::AtLeast(0.99),
        figure: Figure::Run(|run| run.last("legal_moves", "train.rate")),
    },
    Check {
        preset: "othello",
        looked_for: "what is predicted is legal (probability of all legal moves)",
        bound: Bound::AtLeast(0.99),
        figure: Figure::Run(|run| run.last("legal_moves", "train.mass")),
    },
    Check {
        preset: "othello",
        looked_for: "early moves are learned (loss of move 2 over its least, ln 3)",
        bound: Bound::Near { value: 1.0, by: 0.1 },
        figure: Figure::Run(|run| Some(run.last("subtask_loss", "move_2")? / 3_f64.ln())),
    },
    Check {
        preset: "tic-tac-toe",
        looked_for: "likeliest moves are legal (share)",
        bound: Bound::AtLeast(0.99),
        figure: Figure::Run(|run| run.last("legal_moves", "train.rate")),
    },
    Check {
        preset: "tic-tac-toe",
        looked_for: "what is predicted is legal (probability of all legal moves)",
        bound: Bound::AtLeast(0.99),
        figure: Figure::Run(|run| run.last("legal_moves", "train.mass")),
    },
    Check {
        preset: "tic-tac-toe",
        looked_for: "the loss of move k falls to ln(10 − k) (largest excess over moves 2 to 9, in nats)",
        bound: Bound::Below(0.05),
        figure: Figure::Run(|run| {
            let excess = |k: u32| Some(run.last("subtask_loss", &format!("move_{k}"))? - f64::from(10 - k).ln());
            (2..=9).map(excess).collect::<Option<Vec<f64>>>()?.into_iter().reduce(f64::max)
        }),
    },
    Check {
        preset: "tic-tac-toe",
        looked_for: "late moves first (step at which move 2 is within 0.05 of its least loss, over that of move 8)",
        bound: Bound::Above(1.0),
        figure: Figure::Run(|run| {
            let step = |k: u32| {
                let least = f64::from(10 - k).ln();
                run.first("subtask_loss", &format!("move_{k}"), |loss| loss < least + 0.05)
            };
            Some(step(2)? / step(8)?)
        }),
    },
];
