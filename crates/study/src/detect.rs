//! Transitions and stages of any set of series, with one correction for all of them.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};

use ontogeny_posterior::in_parallel;
use ontogeny_stats::{
    Series, StageSettings, TransitionSettings, benjamini_hochberg, consensus, stage_boundaries, stage_changes,
};
use ontogeny_store::{Boundary, Change, Stage, Transition};
use serde::Serialize;

use crate::analysis::label;
use crate::series::NamedSeries;

/// Share of transitions found by chance that is accepted over all series together.
const FALSE_DISCOVERY_RATE: f64 = 0.05;

/// What was found in a set of series.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Detection {
    /// By name of the series; those in which nothing was found are there, with empty lists.
    pub series: BTreeMap<String, Found>,
    /// The transitions of all series by step, each with the name of its series in `observable`.
    pub transitions: Vec<Transition>,
    /// The boundaries on which series agree, by step, each with the names of those series.
    pub stages: Vec<Boundary>,
    /// The stages between them, and how every series changes in each.
    pub intervals: Vec<Stage>,
}

/// What was found in one series.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Found {
    /// Its transitions, by step.
    pub transitions: Vec<Transition>,
    /// Its own stage boundaries, by step.
    pub stages: Vec<Boundary>,
}

/// Looks for transitions and stages in every series. Names must be different; each series needs at least eight points,
/// and one with fewer has nothing found in it.
///
/// One Benjamini–Hochberg correction (false discovery rate 5 %) covers the transitions of all series of the call, so
/// what is found in one depends on which others are looked at. The same seed gives the same bits on any number of
/// threads. `progress` hears how many of how many searches are done, from any thread.
///
/// ```
/// use std::num::NonZero;
/// use std::path::Path;
/// use ontogeny_study::{SeriesSettings, detect, read_series};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("curves.csv");
/// # let rows = (1..200).map(|t| format!("{t},{}\n", 4.0 / (1.0 + (f64::from(t) / 40.0).powi(6))));
/// # fs_err::write(&path, format!("step,loss\n{}", rows.collect::<String>()))?;
/// let file = read_series(&path, &SeriesSettings::default())?; // step,loss
/// let found = detect(&file.series, 0, NonZero::<usize>::MIN, &|_, _| ());
/// assert_eq!(found.series["loss"].transitions.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn detect(
    series: &[NamedSeries],
    seed: u64,
    threads: NonZero<usize>,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Detection {
    let sought: Vec<Sought<'_>> =
        series.iter().map(|s| Sought { name: &s.name, unit: &s.unit, series: &s.series }).collect();
    let (n_done, n_all) = (AtomicUsize::new(0), 2 * sought.len());
    let tick = || progress(n_done.fetch_add(1, Ordering::Relaxed) + 1, n_all);
    let (mut found, _) = transitions(&sought, seed, threads, &tick);
    label(&mut found);
    let boundaries = boundaries(&sought, seed, threads, &tick);
    let mut by_series: BTreeMap<String, Found> = series.iter().map(|s| (s.name.clone(), Found::default())).collect();
    for transition in &found {
        by_series.entry(transition.observable.clone()).or_default().transitions.push(transition.clone());
    }
    for (name, own) in &boundaries {
        let described = |b: &ontogeny_stats::Boundary| boundary(b.step, b.lower, b.upper, vec![name.clone()]);
        by_series.entry(name.clone()).or_default().stages = own.iter().map(described).collect();
    }
    let stages = agreed(&boundaries);
    let intervals = intervals(&sought, &stages, seed, threads);
    Detection { series: by_series, transitions: found, stages, intervals }
}

/// A series to look at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sought<'a> {
    pub(crate) name: &'a str,
    pub(crate) unit: &'a str,
    pub(crate) series: &'a Series,
}

/// The transitions of all series that survive the correction, by step, and the series that could not be looked at, each
/// with the reason. `tick` is called after each series.
pub(crate) fn transitions(
    sought: &[Sought<'_>],
    seed: u64,
    threads: NonZero<usize>,
    tick: &(dyn Fn() + Sync),
) -> (Vec<Transition>, Vec<String>) {
    // Every candidate comes back; the correction over all series decides.
    let settings = TransitionSettings { seed, alpha: 1.0, ..TransitionSettings::default() };
    let looked = in_parallel(sought.len(), threads, |i| {
        let found = ontogeny_stats::transitions(sought[i].series, &settings);
        tick();
        found
    });
    let mut left_out = Vec::new();
    let found: Vec<Vec<ontogeny_stats::Transition>> = looked
        .into_iter()
        .zip(sought)
        .map(|(result, series)| {
            result.unwrap_or_else(|error| {
                left_out.push(format!("{} ({error})", series.name));
                Vec::new()
            })
        })
        .collect();
    let flat: Vec<(&Sought<'_>, &ontogeny_stats::Transition)> =
        sought.iter().zip(&found).flat_map(|(series, list)| list.iter().map(move |t| (series, t))).collect();
    let n_tests = flat.len() + found.iter().filter(|list| list.is_empty()).count();
    let p_values: Vec<f64> = flat.iter().map(|(_, t)| t.p_value).collect();
    let corrected = benjamini_hochberg(&p_values, n_tests);
    let mut kept: Vec<Transition> = flat
        .iter()
        .zip(corrected)
        .filter(|(_, q)| *q <= FALSE_DISCOVERY_RATE)
        .map(|((series, t), q)| transition(series, t, q))
        .collect();
    kept.sort_by(|a, b| a.step.total_cmp(&b.step).then_with(|| a.observable.cmp(&b.observable)));
    (kept, left_out)
}

/// The stage boundaries of each series by its name; none where it is too short. `tick` is called after each series.
pub(crate) fn boundaries(
    sought: &[Sought<'_>],
    seed: u64,
    threads: NonZero<usize>,
    tick: &(dyn Fn() + Sync),
) -> Vec<(String, Vec<ontogeny_stats::Boundary>)> {
    let settings = StageSettings { seed, ..StageSettings::default() };
    in_parallel(sought.len(), threads, |i| {
        let found = stage_boundaries(sought[i].series, &settings).unwrap_or_default();
        tick();
        (sought[i].name.to_owned(), found)
    })
}

/// The boundaries on which several series agree.
pub(crate) fn agreed(boundaries: &[(String, Vec<ontogeny_stats::Boundary>)]) -> Vec<Boundary> {
    consensus(boundaries).into_iter().map(|b| boundary(b.step, b.lower, b.upper, b.observables)).collect()
}

/// The stages between the boundaries, with the change of every series that is long enough, and their types.
pub(crate) fn intervals(
    sought: &[Sought<'_>],
    boundaries: &[Boundary],
    seed: u64,
    threads: NonZero<usize>,
) -> Vec<Stage> {
    let ends = |series: &Sought<'_>| Some((*series.series.steps().first()?, *series.series.steps().last()?));
    let Some(whole) = sought.iter().filter_map(ends).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))) else {
        return Vec::new();
    };
    let settings = StageSettings { seed, ..StageSettings::default() };
    let inner: Vec<f64> = boundaries.iter().map(|boundary| boundary.step).collect();
    let changes = in_parallel(sought.len(), threads, |i| stage_changes(sought[i].series, &inner, &settings));
    let edges: Vec<f64> = [whole.0].into_iter().chain(inner.iter().copied()).chain([whole.1]).collect();
    let stage = |at: usize| {
        let changes: Vec<Change> = sought
            .iter()
            .zip(&changes)
            .filter_map(|(series, changes)| {
                let own = changes.as_ref().ok()?[at];
                Some(Change {
                    observable: series.name.to_owned(),
                    change: own.change,
                    standard_error: own.standard_error,
                    unit: series.unit.to_owned(),
                })
            })
            .collect();
        Stage { from: edges[at], to: edges[at + 1], kind: kind(&changes), changes }
    };
    (0..edges.len() - 1).map(stage).collect()
}

/// Type A where the learning coefficient (of all weights, where there is one) rises, type B where it falls, in both cases beyond
/// its 95 % error (Hoogland et al. 2024).
fn kind(changes: &[Change]) -> Option<String> {
    let is_llc = |change: &&Change| change.observable.to_lowercase().split(['.', '_', ' ']).next() == Some("llc");
    let mut llcs = changes.iter().filter(is_llc);
    let first = llcs.next()?;
    let llc = [first].into_iter().chain(llcs).find(|change| change.observable == "llc.full").unwrap_or(first);
    let is_clear = llc.change.abs() > 1.96 * llc.standard_error;
    is_clear.then(|| if llc.change > 0.0 { "A" } else { "B" }.to_owned())
}

/// A transition as results show it, with its corrected p-value: the one place where the two types meet.
fn transition(series: &Sought<'_>, t: &ontogeny_stats::Transition, q: f64) -> Transition {
    Transition {
        observable: series.name.to_owned(),
        label: None,
        step: t.step,
        lower: t.lower,
        upper: t.upper,
        start: t.start,
        end: t.end,
        width_decades: t.width_decades,
        size: t.size,
        unit: series.unit.to_owned(),
        p_value: q,
    }
}

fn boundary(step: f64, lower: f64, upper: f64, observables: Vec<String>) -> Boundary {
    Boundary { step, lower, upper, observables }
}
