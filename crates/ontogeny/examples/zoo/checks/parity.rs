//! Parities of hidden bits.

use std::f64::consts::LN_2;

use super::{Bound, Check, Figure};
use crate::runs::Run;

pub(super) const CHECKS: &[Check] = &[
    Check {
        preset: "sparse-parity",
        looked_for: "a plateau at ln 2 = 0.693 (last over first step within a tenth of it)",
        bound: Bound::AtLeast(1.5),
        figure: Figure::Run(|run| run.stays("loss", "train", LN_2, 0.1 * LN_2)),
    },
    Check {
        preset: "sparse-parity",
        looked_for: "one transition (falls of the loss)",
        bound: Bound::Near { value: 1.0, by: 0.0 },
        figure: Figure::Run(|run| Some(run.falls("loss.train").count() as f64)),
    },
    Check {
        preset: "sparse-parity",
        looked_for: "parity is learned in it (accuracy)",
        bound: Bound::AtLeast(0.99),
        figure: Figure::Run(|run| run.last("accuracy", "train")),
    },
    Check {
        preset: "multitask-parity",
        looked_for: "steps inversely proportional to the frequency of a task (slope in logarithms)",
        bound: Bound::Near { value: -1.0, by: 0.3 },
        figure: Figure::Run(slope),
    },
    Check {
        preset: "multitask-parity",
        looked_for: "frequent tasks come first (share of the pairs of learned tasks that are in order)",
        bound: Bound::AtLeast(0.9),
        figure: Figure::Run(|run| {
            let steps: Vec<f64> = learned(run).into_iter().map(|(_, step)| step).collect();
            let pairs =
                || steps.iter().enumerate().flat_map(|(i, early)| steps[i + 1..].iter().map(move |b| (early, b)));
            let n = pairs().count();
            (n > 0).then(|| pairs().filter(|(early, late)| early <= late).count() as f64 / n as f64)
        }),
    },
    Check {
        preset: "seeds",
        looked_for: "every seed has one transition (falls of the loss)",
        bound: Bound::Near { value: 1.0, by: 0.0 },
        figure: Figure::Run(|run| Some(run.falls("loss.train").count() as f64)),
    },
    Check {
        preset: "seeds",
        looked_for: "their steps differ by much less than the plateau before is long (last less first, over the mean)",
        bound: Bound::Below(0.5),
        figure: Figure::All(|runs| {
            let steps: Option<Vec<f64>> = runs.iter().map(|run| Some(run.fall("loss.train")?.step)).collect();
            let steps = steps?;
            let (first, last) = (steps.iter().copied().reduce(f64::min)?, steps.iter().copied().reduce(f64::max)?);
            Some((last - first) * steps.len() as f64 / steps.iter().sum::<f64>())
        }),
    },
    Check {
        preset: "early-stop",
        looked_for: "the run ends long before its `steps` (share of them)",
        bound: Bound::Below(0.5),
        figure: Figure::Run(|run| Some(*run.view.checkpoints.last()? as f64 / run.setting("train.steps")?)),
    },
    Check {
        preset: "early-stop",
        looked_for: "when parity is learned (accuracy)",
        bound: Bound::AtLeast(0.99),
        figure: Figure::Run(|run| run.last("accuracy", "train")),
    },
    Check {
        preset: "skill-sigmoids",
        looked_for: "skills are learned in the order of their frequency (share of the pairs of learned skills that are in order)",
        bound: Bound::AtLeast(0.9),
        figure: Figure::Run(|run| {
            let halved = |label: &String| {
                let first = run.series("subtask_loss", label)?.first()?.1;
                run.first("subtask_loss", label, |loss| loss < first / 2.0)
            };
            // By frequency, the most frequent first.
            let labels = run.view.observables.get("subtask_loss")?.components();
            let steps: Vec<f64> = labels.iter().filter_map(halved).collect();
            let pairs = || (0..steps.len()).flat_map(|i| (i + 1..steps.len()).map(move |j| (i, j)));
            let in_order = pairs().filter(|&(i, j)| steps[i] <= steps[j]).count();
            (steps.len() > 1).then(|| in_order as f64 / pairs().count() as f64)
        }),
    },
];

/// Number and step of the tasks whose loss comes below 0.1 bit.
fn learned(run: &Run) -> Vec<(u32, f64)> {
    let mut learned = Vec::new();
    for task in 1.. {
        let label = format!("task_{task}");
        if run.series("subtask_loss", &label).is_none() {
            break;
        }
        learned.extend(run.first("subtask_loss", &label, |loss| loss < 0.1 * LN_2).map(|step| (task, step)));
    }
    learned
}

/// Least squares of ln(step at which a task is learned) on ln(frequency), over the tasks that are learned ("The quantization model
/// of neural scaling", Michaud et al. 2023, figure 2); the frequency of task i is i to the power of minus the exponent, but for
/// a factor.
fn slope(run: &Run) -> Option<f64> {
    let exponent = run.setting("task.zipf_exponent")?;
    let points: Vec<(f64, f64)> =
        learned(run).into_iter().map(|(task, step)| (-exponent * f64::from(task).ln(), step.ln())).collect();
    if points.len() < 3 {
        return None;
    }
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let covariance: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    Some(covariance / points.iter().map(|p| (p.0 - x) * (p.0 - x)).sum::<f64>())
}
