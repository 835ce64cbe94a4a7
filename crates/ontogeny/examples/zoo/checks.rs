//! What each preset should show, as a figure of every run and the bound it must keep.

use ontogeny::store::RunView;

/// A figure of one run: what is looked for, and how it is found.
struct Check {
    preset: &'static str,
    looked_for: &'static str,
    figure: fn(&RunView) -> Option<f64>,
    is_seen: fn(f64) -> bool,
}

const CHECKS: &[Check] = &[
    Check {
        preset: "grokking",
        looked_for: "the test loss falls after the training loss (ratio of the steps)",
        figure: |view| Some(fall(view, "loss.test")? / fall(view, "loss.train")?),
        is_seen: |ratio| ratio > 1.5,
    },
    Check {
        preset: "sparse-parity",
        looked_for: "one fall from ln 2: loss before it (0.693)",
        figure: |view| {
            let end = fall(view, "loss.train")? / 3.0;
            series(view, "loss", "train")?.into_iter().rev().find(|(step, _)| *step < end).map(|(_, loss)| loss)
        },
        is_seen: |loss| (loss - std::f64::consts::LN_2).abs() < 0.05,
    },
    Check {
        preset: "multitask-parity",
        looked_for: "slope of ln(step at which a task is learned) in ln(frequency): −1 ± 0.3",
        figure: parity_slope,
        is_seen: |slope| (slope + 1.0).abs() <= 0.3,
    },
    Check {
        preset: "digit-addition",
        looked_for: "digits fall at steps of their own (last over first)",
        figure: |view| {
            let steps: Vec<f64> = view
                .transitions
                .iter()
                .filter(|t| t.observable.starts_with("subtask_loss.digit") && t.size < -0.2)
                .map(|t| t.step)
                .collect();
            let (first, last) = (steps.iter().copied().reduce(f64::min)?, steps.iter().copied().reduce(f64::max)?);
            (steps.len() >= 3).then_some(last / first)
        },
        is_seen: |ratio| ratio > 2.0,
    },
    Check {
        preset: "induction",
        looked_for: "the loss on repeated tokens falls below half of the others'",
        figure: |view| Some(last(view, "subtask_loss", "repeated")? / last(view, "subtask_loss", "other")?),
        is_seen: |ratio| ratio < 0.5,
    },
    Check {
        preset: "deep-linear",
        looked_for: "several falls of the loss, one for each singular value",
        figure: |view| {
            Some(view.transitions.iter().filter(|t| t.observable == "loss.train" && t.size < 0.0).count() as f64)
        },
        is_seen: |n| n >= 2.0,
    },
    Check {
        preset: "digits-cnn",
        looked_for: "test accuracy of at least 97 %",
        figure: |view| last(view, "accuracy", "test"),
        is_seen: |accuracy| accuracy >= 0.97,
    },
];

/// What was looked for in a preset, and in how many runs it was seen, with the figures.
pub(crate) fn check(preset: &str, views: &[RunView]) -> (String, String) {
    let Some(check) = CHECKS.iter().find(|check| check.preset == preset) else {
        return ("–".to_owned(), "–".to_owned());
    };
    let figures: Vec<Option<f64>> = views.iter().map(check.figure).collect();
    let n_seen = figures.iter().flatten().filter(|&&figure| (check.is_seen)(figure)).count();
    let shown: Vec<String> = figures
        .iter()
        .map(|figure| figure.map_or_else(|| "none".to_owned(), |figure| format!("{figure:.3}")))
        .collect();
    (check.looked_for.to_owned(), format!("{n_seen} of {} ({})", views.len(), shown.join(", ")))
}

/// Step of the largest fall of a series.
fn fall(view: &RunView, address: &str) -> Option<f64> {
    let falls = view.transitions.iter().filter(|t| t.observable == address && t.size < 0.0);
    falls.min_by(|a, b| a.size.total_cmp(&b.size)).map(|t| t.step)
}

/// Steps and values of one label of a measurement.
fn series(view: &RunView, measure: &str, label: &str) -> Option<Vec<(f64, f64)>> {
    let observable = view.observables.get(measure)?;
    let at = observable.components().iter().position(|own| own == label)?;
    let values = observable.series(at);
    Some(view.checkpoints.iter().zip(values).filter_map(|(&step, (value, _))| Some((step as f64, value?))).collect())
}

fn last(view: &RunView, measure: &str, label: &str) -> Option<f64> {
    series(view, measure, label)?.last().map(|&(_, value)| value)
}

/// Least squares of ln(first step with a loss below 0.1 bit) on ln(frequency), over the tasks that were learned (Michaud
/// et al. 2023, figure 2); the frequency of task i is i to the power of minus the exponent, but for a factor.
fn parity_slope(view: &RunView) -> Option<f64> {
    let configuration: toml::Table = view.run.configuration.parse().ok()?;
    let exponent = configuration.get("task")?.get("zipf_exponent")?.as_float()?;
    let mut points = Vec::new();
    for task in 1.. {
        let Some(losses) = series(view, "subtask_loss", &format!("task_{task}")) else { break };
        let below = losses.iter().find(|(_, loss)| *loss < 0.1 * std::f64::consts::LN_2);
        points.extend(below.map(|(step, _)| (-exponent * f64::from(task).ln(), step.ln())));
    }
    if points.len() < 3 {
        return None;
    }
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let covariance: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    Some(covariance / points.iter().map(|p| (p.0 - x) * (p.0 - x)).sum::<f64>())
}
