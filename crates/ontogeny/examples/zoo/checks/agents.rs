//! Agents in environments whose returns are exact.

use super::{Bound, Check, Figure};
use crate::runs::Run;
use ontogeny::store::Detail;

pub(super) const CHECKS: &[Check] = &[
    Check {
        preset: "gridworld",
        looked_for: "the policy ends at a shortest way (return over the best)",
        bound: Bound::AtLeast(0.99),
        figure: Figure::Run(share_of_the_best),
    },
    Check {
        preset: "gridworld",
        looked_for: "found in one transition (rises of the return)",
        bound: Bound::Near { value: 1.0, by: 0.0 },
        figure: Figure::Run(|run| Some(rises(run))),
    },
    Check {
        preset: "tic-tac-toe-agent",
        looked_for: "the policy is nearly the best (return over the best; 0.30 at random)",
        bound: Bound::AtLeast(0.95),
        figure: Figure::Run(share_of_the_best),
    },
    Check {
        preset: "tic-tac-toe-agent",
        looked_for: "found in one transition (rises of the return)",
        bound: Bound::Near { value: 1.0, by: 0.0 },
        figure: Figure::Run(|run| Some(rises(run))),
    },
];

fn share_of_the_best(run: &Run) -> Option<f64> {
    let details = run.view.observables.get("return")?.details.last()?;
    let Some(Detail::Number(Some(best))) = details.get("optimal_return") else { return None };
    Some(run.last("return", "expected")? / best)
}

fn rises(run: &Run) -> f64 {
    run.view.transitions.iter().filter(|t| t.observable == "return.expected" && t.size > 0.0).count() as f64
}
