//! Algorithms on sequences: sums, sorted lists, divisors, compiled programs.

use super::{Bound, Check, Figure};
use crate::runs::Run;

pub(super) const CHECKS: &[Check] = &[
    Check {
        preset: "digit-addition",
        looked_for: "every digit of the sum falls in a transition (digits with one of more than 0.2 nats, of four)",
        bound: Bound::AtLeast(4.0),
        figure: Figure::Run(|run| Some(digit_falls(run).len() as f64)),
    },
    Check {
        preset: "digit-addition",
        looked_for: "at steps of their own (last over first)",
        bound: Bound::Above(2.0),
        figure: Figure::Run(|run| {
            let steps = digit_falls(run);
            Some(steps.iter().copied().reduce(f64::max)? / steps.iter().copied().reduce(f64::min)?)
        }),
    },
    Check {
        preset: "sorting",
        looked_for: "the smallest number is learned first (least step at which another place is halved, over its own)",
        bound: Bound::AtLeast(1.0),
        figure: Figure::Run(|run| {
            let places = halved(run, "place_")?;
            Some(places[1..].iter().copied().reduce(f64::min)? / places[0])
        }),
    },
    Check {
        preset: "sorting",
        looked_for: "all numbers are right in the end (accuracy)",
        bound: Bound::AtLeast(0.99),
        figure: Figure::Run(|run| run.last("accuracy", "train")),
    },
    Check {
        preset: "word-sorting",
        looked_for: "the ends of the list are learned before its middle (larger of the last losses of the ends over smaller of the middle)",
        bound: Bound::Below(1.0),
        figure: Figure::Run(|run| {
            let last = |word: usize| run.last("subtask_loss", &format!("word_{word}"));
            Some(last(1)?.max(last(4)?) / last(2)?.min(last(3)?))
        }),
    },
    Check {
        preset: "word-sorting",
        looked_for: "all words are right in the end (accuracy)",
        bound: Bound::AtLeast(0.98),
        figure: Figure::Run(|run| run.last("accuracy", "train")),
    },
    Check {
        preset: "gcd",
        looked_for: "products of the primes of base 6 are right in every digit (of 1, 2, 3, 4, 6, 9, 12)",
        bound: Bound::AtLeast(7.0),
        figure: Figure::Run(|run| Some(right(run, &PRODUCTS).len() as f64)),
    },
    Check {
        preset: "gcd",
        looked_for: "others are never (of 5, 7, 8, 10, 11, 13)",
        bound: Bound::Below(1.0),
        figure: Figure::Run(|run| Some(right(run, &[5, 7, 8, 10, 11, 13]).len() as f64)),
    },
    Check {
        preset: "gcd",
        looked_for: "outcomes come in the order of their frequency, 1/g² (share of the pairs of products above 1 that are in order)",
        bound: Bound::AtLeast(0.9),
        figure: Figure::Run(|run| {
            let steps: Vec<f64> = right(run, &PRODUCTS[1..]);
            let pairs =
                || steps.iter().enumerate().flat_map(|(i, early)| steps[i + 1..].iter().map(move |b| (early, b)));
            let n = pairs().count();
            (n > 0).then(|| pairs().filter(|(early, late)| early <= late).count() as f64 / n as f64)
        }),
    },
    Check {
        preset: "compiled",
        looked_for: "the program is exact from the start on (accuracy at step 0)",
        bound: Bound::AtLeast(1.0),
        figure: Figure::Run(|run| Some(run.series("accuracy", "train")?.first()?.1)),
    },
    Check {
        preset: "compiled",
        looked_for: "and a minimum: training leaves it there (largest loss)",
        bound: Bound::Below(1e-6),
        figure: Figure::Run(|run| run.series("loss", "train")?.into_iter().map(|(_, loss)| loss).reduce(f64::max)),
    },
];

/// Divisors without other primes than those of base 6, as far as a thousand examples of each are drawn at the small scale.
const PRODUCTS: [u32; 7] = [1, 2, 3, 4, 6, 9, 12];

/// First step from which on an outcome stays right in every digit, for those of `outcomes` that come there.
fn right(run: &Run, outcomes: &[u32]) -> Vec<f64> {
    let step = |outcome: &u32| {
        let accuracy = run.series("subtask_accuracy", &format!("gcd_{outcome}"))?;
        let n_wrong_before = accuracy.iter().rposition(|&(_, share)| share < 0.99).map_or(0, |at| at + 1);
        accuracy.get(n_wrong_before).map(|&(step, _)| step)
    };
    outcomes.iter().filter_map(step).collect()
}

/// Steps of the largest falls of the digits, where they are of more than 0.2 nats.
fn digit_falls(run: &Run) -> Vec<f64> {
    let fall = |digit| run.fall(&format!("subtask_loss.digit_{digit}"));
    (0..10).filter_map(fall).filter(|fall| fall.size < -0.2).map(|fall| fall.step).collect()
}

/// For each numbered sub-task, from 1, the first step at which its loss is half of what it was.
fn halved(run: &Run, prefix: &str) -> Option<Vec<f64>> {
    let mut steps = Vec::new();
    for number in 1.. {
        let label = format!("{prefix}{number}");
        let Some(series) = run.series("subtask_loss", &label) else { break };
        steps.push(run.first("subtask_loss", &label, |loss| loss < series[0].1 / 2.0)?);
    }
    (steps.len() > 1).then_some(steps)
}
