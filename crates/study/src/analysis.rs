//! Transitions and stages of a run: every watched series goes through the detector, with one correction for all.

use std::num::NonZero;

use ontogeny_stats::Series;
use ontogeny_store::{Analysis, Coordinate, Observable, RunView, Transition};

use crate::change_points;
use crate::detect::{self, Sought};
use crate::sections::StagesConfig;
use crate::series::{MAX_VALUE, NamedSeries};
use crate::warnings::warnings;

/// Counts and norms follow the other series, and overlapping sets of pairs would say everything three times.
const REPEATS: [&str; 5] =
    ["sum_of_squares", "n_key_frequencies", "all", "restricted_loss_train", "restricted_loss_test"];

/// Where there are more sub-tasks, their losses are looked at only by those who name them.
const MAX_SUBTASKS: usize = 32;

/// Likewise the scores of more heads.
const MAX_HEADS: usize = 6;

/// A series of a run by its address.
pub(crate) struct Watched {
    pub(crate) address: String,
    /// Name of the measurement.
    pub(crate) measure: String,
    /// Label of the component in it; empty where there is one alone.
    pub(crate) label: String,
    pub(crate) kind: String,
    pub(crate) unit: String,
    /// Whether it is looked at when nobody names it.
    pub(crate) by_default: bool,
    pub(crate) series: Series,
}

/// Looks for transitions and, where asked to, early warnings in all losses, accuracies, returns, learning coefficients and progress
/// measures, and for stages and, where asked to, change points in the series that the run file names (all losses and learning coefficients unless it does). Also returns the series that could
/// not be looked at, each with the reason.
pub(crate) fn analyse(
    view: &RunView,
    stages: &StagesConfig,
    seed: u64,
    threads: NonZero<usize>,
) -> (Analysis, Vec<String>) {
    let all = all_series(view);
    let watched: Vec<Sought<'_>> = all.iter().filter(|watched| watched.by_default).map(Watched::sought).collect();
    let (mut found, mut left_out) = detect::transitions(&watched, seed, threads, &|| ());
    left_out.extend(too_many(view));
    label(&mut found);
    let chosen: Vec<Sought<'_>> = all
        .iter()
        .filter(|watched| match &stages.observables {
            Some(wanted) => wanted.contains(&watched.address),
            None => watched.by_default && matches!(watched.kind.as_str(), "loss" | "return" | "llc"),
        })
        .map(Watched::sought)
        .collect();
    // What is too short for transitions is too short for stages, and has been named.
    let boundaries = detect::boundaries(&chosen, seed, threads, &|| ());
    let change_points = stages.change_points.map(|config| change_points::of_sought(&chosen, config, threads).0);
    let early = stages.warnings.map(|config| {
        let named =
            |w: &Watched| NamedSeries { name: w.address.clone(), unit: w.unit.clone(), series: w.series.clone() };
        let watched: Vec<NamedSeries> = all.iter().filter(|watched| watched.by_default).map(named).collect();
        warnings(&watched, config.until, seed, threads)
    });
    let stages = detect::agreed(&boundaries);
    let intervals = detect::intervals(&chosen, &stages, seed, threads);
    (
        Analysis { transitions: found, stages, intervals, change_points, warnings: early, ..Analysis::default() },
        left_out,
    )
}

impl Watched {
    fn sought(&self) -> Sought<'_> {
        Sought { name: &self.address, unit: &self.unit, series: &self.series }
    }
}

/// The largest fall of the training loss is memorisation where the test loss falls later; that later fall is grokking.
pub(crate) fn label(found: &mut [Transition]) {
    let largest_fall = |found: &[Transition], address: &str| {
        let falls = found.iter().enumerate().filter(|(_, t)| t.observable == address && t.size < 0.0);
        falls.min_by(|a, b| a.1.size.total_cmp(&b.1.size)).map(|(i, _)| i)
    };
    let (Some(train), Some(test)) = (largest_fall(found, "loss.train"), largest_fall(found, "loss.test")) else {
        return;
    };
    if found[test].lower > found[train].upper {
        found[train].label = Some("memorisation".to_owned());
        found[test].label = Some("grokking".to_owned());
    }
}

/// The sub-tasks that nobody looks at unless asked to.
fn too_many(view: &RunView) -> impl Iterator<Item = String> {
    view.observables.iter().filter(|(_, o)| o.kind == "subtask_loss").filter_map(|(name, observable)| {
        let n = observable.components().len();
        let remedy = format!("`ontogeny stages DIR --series '{name}.*'` looks at them");
        (n > MAX_SUBTASKS).then(|| format!("the {n} sub-tasks of `{name}` (more than {MAX_SUBTASKS}; {remedy})"))
    })
}

/// Every series of a run.
pub(crate) fn all_series(view: &RunView) -> Vec<Watched> {
    let mut all = Vec::new();
    let addresses = view.addresses();
    for (name, observable) in &view.observables {
        let labels = observable.components();
        for (at, (component, address)) in labels.iter().zip(addresses[name].iter().cloned()).enumerate() {
            // Counts and norms follow the others, and all pairs are the train and test pairs together.
            let is_of_few = labels.len() <= MAX_SUBTASKS;
            let by_default = match observable.kind.as_str() {
                "loss" | "accuracy" | "return" | "robust_loss" | "robust_accuracy" | "llc" | "fourier" => {
                    !REPEATS.contains(&component.as_str())
                }
                "subtask_loss" => is_of_few,
                "head_scores" => observable.coordinates.get("head").is_some_and(|heads| heads.len() <= MAX_HEADS),
                // The two losses, and agreement, say the same again.
                "icl_score" => component == "icl",
                "ngrams" => component.starts_with("divergence"),
                "ioi" => true,
                _ => false,
            };
            if let Some(series) = series(view, observable, at) {
                let is_loss = observable.kind == "fourier" && component.contains("loss")
                    || observable.kind == "ngrams" && component.starts_with("divergence");
                let unit = if is_loss { "nats".to_owned() } else { observable.unit.clone() };
                let (name, label, kind) = (name.clone(), component.clone(), observable.kind.clone());
                all.push(Watched { address, measure: name, label, kind, unit, by_default, series });
            }
        }
    }
    all
}

/// A component over the steps at which it counts; what is too large to be squared has diverged, and counts as little as
/// an infinity.
fn series(view: &RunView, observable: &Observable, component: usize) -> Option<Series> {
    let steps: Vec<u64> = match observable.coordinates.get("step") {
        Some(labels) => {
            labels.iter().filter_map(|label| if let Coordinate::Number(n) = label { Some(*n) } else { None }).collect()
        }
        None => view.checkpoints.clone(),
    };
    let mut points: (Vec<f64>, Vec<f64>, Vec<f64>) = Default::default();
    for (step, (value, error)) in steps.iter().zip(observable.series(component)) {
        let error = error.unwrap_or(0.0);
        if let Some(value) = value.filter(|value| value.abs().max(error) <= MAX_VALUE) {
            points.0.push(*step as f64);
            points.1.push(value);
            points.2.push(error);
        }
    }
    let has_errors = points.2.iter().any(|&error| error > 0.0);
    let series = Series::new(points.0, points.1).ok()?;
    if has_errors { series.with_errors(points.2).ok() } else { Some(series) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ontogeny_store::{Nested, RunInfo, Status};

    use super::*;

    #[test]
    fn values_whose_squares_overflow_count_as_little_as_infinities() {
        let n = 30;
        let mut values: Vec<Option<f64>> = (0..n).map(|i| Some(f64::from(i / 15))).collect();
        (values[3], values[20]) = (Some(1e308), Some(-1e101));
        let mut errors = vec![Some(0.1); 30];
        errors[7] = Some(1e200);
        let nested = |values| Nested { shape: vec![30], values };
        let observable = Observable {
            kind: "llc".to_owned(),
            unit: "1".to_owned(),
            description: String::new(),
            dims: vec!["step".to_owned()],
            coordinates: BTreeMap::from([("step".to_owned(), (0..30).map(Coordinate::Number).collect())]),
            values: nested(values),
            standard_errors: nested(errors),
            status: vec![Status::Done; 30],
            details: vec![BTreeMap::new(); 30],
            shown: BTreeMap::new(),
        };
        let observables = BTreeMap::from([("llc".to_owned(), observable)]);
        let run = RunInfo {
            title: String::new(),
            directory: String::new(),
            version: String::new(),
            instruction_set: String::new(),
            seed: 0,
            configuration: String::new(),
            hashes: BTreeMap::new(),
            command: String::new(),
        };
        let view = RunView {
            run,
            checkpoints: vec![],
            observables,
            transitions: vec![],
            stages: vec![],
            intervals: vec![],
            trajectories: BTreeMap::new(),
            change_points: None,
            warnings: None,
            parts: BTreeMap::new(),
            fluctuations: BTreeMap::new(),
            calibrations: BTreeMap::new(),
            training: None,
        };
        let all = all_series(&view);
        assert_eq!(all[0].series.steps().len(), 27);
        assert!(all[0].series.values().iter().all(|value| *value <= 1.0));
    }
}
