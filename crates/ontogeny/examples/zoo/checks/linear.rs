//! Linear networks, of which the course is known in closed form.

use super::{Bound, Check, Figure, variant};
use crate::runs::Run;

pub(super) const CHECKS: &[Check] = &[
    Check {
        preset: "deep-linear",
        looked_for: "plateaus at half the sum of the squares of the singular values not learned yet (of five, those near which the loss \
                     is slowest in ln t)",
        bound: Bound::AtLeast(5.0),
        figure: Figure::Run(|run| plateaus(&run.series("loss", "train")?, &[27.5, 15.0, 7.0, 2.5, 0.5])),
    },
    Check {
        preset: "deep-linear",
        looked_for: "modes in the order of their singular values (least ratio of the steps at which neighbours have halved)",
        bound: Bound::Above(1.0),
        figure: Figure::Run(|run| {
            let half = |mode| {
                let label = format!("input_{mode}");
                let whole = run.series("subtask_loss", &label)?.first()?.1;
                run.first("subtask_loss", &label, |loss| loss < whole / 2.0)
            };
            let halves: Option<Vec<f64>> = (1..=5).map(half).collect();
            halves?.windows(2).map(|two| two[1] / two[0]).reduce(f64::min)
        }),
    },
    Check {
        preset: "product-toy",
        looked_for: "one factor decays from the first step on (step at which half is left, over ln 2/(2·rate))",
        bound: Bound::Near { value: 1.0, by: 0.1 },
        figure: Figure::Seed(|runs| {
            let run = variant(runs, "one-factor")?;
            let loss = run.series("loss", "train")?;
            Some(step_of_share(&loss, 0.5)? * 2.0 * run.setting("train.learning_rate")? / std::f64::consts::LN_2)
        }),
    },
    Check {
        preset: "product-toy",
        looked_for: "two factors wait (share of the loss left after half of the time in which it halves; an exponential has 0.71)",
        bound: Bound::Above(0.9),
        figure: Figure::Seed(|runs| {
            let loss = variant(runs, "two-factors")?.series("loss", "train")?;
            let half = step_of_share(&loss, 0.5)? / 2.0;
            Some(loss.iter().rev().find(|(step, _)| *step <= half)?.1 / loss.first()?.1)
        }),
    },
    Check {
        preset: "optimizers",
        looked_for: "second order needs fewer updates to come within 5 % of the least loss (fastest first order over slower of K-FAC and \
                     natural gradient)",
        bound: Bound::Above(1.0),
        figure: Figure::Seed(|runs| {
            let (first, second) = updates_by_order(runs)?;
            Some(first.into_iter().reduce(f64::min)? / second.into_iter().reduce(f64::max)?)
        }),
    },
    Check {
        preset: "optimizers",
        looked_for: "at most a fifth of those of plain gradient descent (ratio to it)",
        bound: Bound::AtLeast(5.0),
        figure: Figure::Seed(|runs| {
            let (first, second) = updates_by_order(runs)?;
            Some(first.first()? / second.into_iter().reduce(f64::max)?)
        }),
    },
];

/// How many of the `levels` the loss stays at: it falls slowest there in ln t, within a tenth of the level. The first lasts from the
/// start on, and needs only to be within a tenth after a hundredth of the run.
fn plateaus(loss: &[(f64, f64)], levels: &[f64]) -> Option<f64> {
    let points: Vec<(f64, f64)> =
        loss.iter().filter(|(step, _)| *step >= 10.0).map(|&(t, loss)| (t.ln(), loss)).collect();
    let last = points.last()?.0;
    let speed: Vec<f64> = points.windows(2).map(|two| (two[0].1 - two[1].1) / (two[1].0 - two[0].0)).collect();
    let slowest =
        (1..speed.len().saturating_sub(1)).filter(|&at| speed[at] <= speed[at - 1] && speed[at] <= speed[at + 1]);
    let mut stays: Vec<f64> = slowest.map(|at| f64::midpoint(points[at].1, points[at + 1].1)).collect();
    stays.extend(points.iter().rev().find(|(ln_t, _)| *ln_t < last - 100_f64.ln()).map(|&(_, loss)| loss));
    let is_near = |level: f64| stays.iter().any(|loss| (loss - level).abs() <= 0.1 * level);
    Some(levels.iter().filter(|&&level| is_near(level)).count() as f64)
}

/// The step at which a loss is down to a share of its first value, on straight lines in ln(loss).
fn step_of_share(loss: &[(f64, f64)], share: f64) -> Option<f64> {
    let level = (share * loss.first()?.1).ln();
    loss.windows(2).find(|two| two[1].1.ln() <= level).map(|two| {
        let [(from, high), (to, low)] = [two[0], two[1]];
        from + (to - from) * (high.ln() - level) / (high.ln() - low.ln())
    })
}

/// Updates until the training loss is within 5 % of the least of all runs: of the methods of first order, plain gradient descent
/// first, and of second order.
fn updates_by_order(runs: &[&Run]) -> Option<(Vec<f64>, Vec<f64>)> {
    let losses = runs.iter().filter_map(|run| run.series("loss", "train"));
    let least = losses.flatten().map(|(_, loss)| loss).reduce(f64::min)?;
    let updates = |name: &&str| variant(runs, name)?.first("loss", "train", |loss| loss <= 1.05 * least);
    let first: Option<Vec<f64>> = ["sgd", "momentum", "adam", "rmsprop", "langevin"].iter().map(updates).collect();
    let second: Option<Vec<f64>> = ["natural-gradient", "kfac"].iter().map(updates).collect();
    Some((first?, second?))
}
