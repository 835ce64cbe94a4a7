//! Figures of a training's log: its loss on the batches it saw, the norm of its gradient, its learning rate.

use ontogeny_store::TrainingLog;

use crate::panel::{Form, Panel, Point, Series};

/// Most points of a line: more than a figure has pixels for say nothing.
const MOST_POINTS: usize = 400;

/// Fewer rows are no curve.
const FEWEST_ROWS: usize = 4;

/// A low figure for each column of the log that has something to show.
pub(crate) fn panels(log: &TrainingLog, loss_unit: &str) -> Vec<Panel> {
    if log.update.len() < FEWEST_ROWS {
        return Vec::new();
    }
    let rows = thinned(&log.update);
    let columns = [
        (
            "training-loss",
            "Training loss",
            &log.loss,
            "Mean loss of the batches that the updates between two points saw.",
        ),
        ("gradient-norm", "Gradient norm", &log.gradient_norm, "Mean Euclidean norm of the gradient, before clipping."),
        ("learning-rate", "Learning rate", &log.learning_rate, "Learning rate of the last update before each point."),
    ];
    // A rate that never changes is told by the configuration.
    let has_news = |values: &[f64]| values.iter().any(|value| *value != values[0]);
    columns
        .into_iter()
        .filter(|(_, _, values, _)| has_news(values))
        .map(|(id, title, values, description)| {
            let point = |&row: &usize| Point {
                step: log.update[row] as f64,
                value: Some(values[row]).filter(|value| value.abs() < f64::MAX),
                standard_error: None,
                refusal: None,
            };
            let series = Series {
                address: id.to_owned(),
                label: title.to_lowercase(),
                measurement: id.to_owned(),
                points: rows.iter().map(point).collect(),
            };
            Panel {
                id: id.to_owned(),
                title: title.to_owned(),
                unit: if id == "training-loss" { loss_unit } else { "1" }.to_owned(),
                description: description.to_owned(),
                series: vec![series],
                kind: "training".to_owned(),
                form: Form::SmallLines,
            }
        })
        .collect()
}

/// Rows nearly evenly spaced on the page's axis, the logarithm of the step; the first and the last among them.
fn thinned(updates: &[u64]) -> Vec<usize> {
    let place = |row: usize| (updates[row] as f64 + 1.0).ln();
    let last = updates.len() - 1;
    let gap = (place(last) - place(0)) / MOST_POINTS as f64;
    let mut rows = vec![0];
    let mut at = place(0);
    for row in 1..last {
        if place(row) >= at + gap {
            rows.push(row);
            at = place(row);
        }
    }
    rows.push(last);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use ontogeny_store::TrainingRow;

    fn log(n: u64) -> TrainingLog {
        let mut log = TrainingLog::default();
        for update in 1..=n {
            let loss = if update == 2 { f64::INFINITY } else { 1.0 / update as f64 };
            let (learning_rate, gradient_norm) = (0.1, loss * loss);
            let examples = 8 * update;
            log.push(&TrainingRow { update, loss, learning_rate, gradient_norm, examples, tokens: None, seconds: 0.1 });
        }
        log
    }

    #[test]
    fn a_long_log_has_few_points_and_both_ends() {
        let panels = panels(&log(20_000), "nats");
        // The rate never changes.
        assert_eq!(panels.iter().map(|p| p.id.as_str()).collect::<Vec<_>>(), ["training-loss", "gradient-norm"]);
        let points = &panels[0].series[0].points;
        assert!((200..=MOST_POINTS + 2).contains(&points.len()), "{}", points.len());
        assert_eq!((points[0].step, points[points.len() - 1].step), (1.0, 20_000.0));
        // What was no number has a gap.
        assert_eq!(points[1].value, None);
    }

    #[test]
    fn a_log_of_a_few_rows_has_no_figure() {
        assert!(panels(&log(3), "nats").is_empty());
    }
}
