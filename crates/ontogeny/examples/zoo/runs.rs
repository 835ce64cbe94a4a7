//! The runs of a preset, and how their figures are read.

use ontogeny::store::{Coordinate, Observable, RunView, Transition};
use ontogeny::zoo::TaskConfig;

/// A preset with its runs.
pub(crate) struct Preset {
    /// As `ontogeny new` knows it.
    pub(crate) name: String,
    pub(crate) runs: Vec<Run>,
    /// Runs that failed, each with the reason.
    pub(crate) failures: Vec<String>,
}

/// A run of a preset.
pub(crate) struct Run {
    /// What sets it apart beside its seed, such as `weight_decay=0.5`; empty where the preset is no sweep.
    pub(crate) variant: String,
    pub(crate) view: RunView,
}

impl Preset {
    /// The runs of each seed, in the order of the file.
    pub(crate) fn by_seed(&self) -> Vec<Vec<&Run>> {
        let mut seeds: Vec<u64> = self.runs.iter().map(|run| run.view.run.seed).collect();
        seeds.sort_unstable();
        seeds.dedup();
        seeds.into_iter().map(|seed| self.runs.iter().filter(|run| run.view.run.seed == seed).collect()).collect()
    }

    /// The runs of each variant, in the order of the file.
    pub(crate) fn by_variant(&self) -> Vec<(&str, Vec<&Run>)> {
        let mut variants: Vec<(&str, Vec<&Run>)> = Vec::new();
        for run in &self.runs {
            match variants.iter_mut().find(|(variant, _)| *variant == run.variant) {
                Some((_, runs)) => runs.push(run),
                None => variants.push((&run.variant, vec![run])),
            }
        }
        variants
    }
}

impl Run {
    /// Steps and values of one label of a measurement, where it has values.
    pub(crate) fn series(&self, measure: &str, label: &str) -> Option<Vec<(f64, f64)>> {
        let observable = self.view.observables.get(measure)?;
        let at = observable.components().iter().position(|own| own == label)?;
        let values = observable.series(at).into_iter().map(|(value, _)| value);
        let points: Vec<(f64, f64)> =
            steps(observable)?.into_iter().zip(values).filter_map(|(step, value)| Some((step, value?))).collect();
        (!points.is_empty()).then_some(points)
    }

    pub(crate) fn last(&self, measure: &str, label: &str) -> Option<f64> {
        self.series(measure, label)?.last().map(|&(_, value)| value)
    }

    /// The first checkpoint at which a value is as wanted.
    pub(crate) fn first(&self, measure: &str, label: &str, is_wanted: impl Fn(f64) -> bool) -> Option<f64> {
        self.series(measure, label)?.into_iter().find(|&(_, value)| is_wanted(value)).map(|(step, _)| step)
    }

    /// How long a value stays within `by` of a level: last over first step of the longest stretch of checkpoints, 1 where it is
    /// there at one only; `None` where at none.
    pub(crate) fn stays(&self, measure: &str, label: &str, level: f64, by: f64) -> Option<f64> {
        stay(&self.series(measure, label)?, level, by)
    }

    /// The largest fall of a series, by its address.
    pub(crate) fn fall(&self, address: &str) -> Option<&Transition> {
        self.falls(address).min_by(|a, b| a.size.total_cmp(&b.size))
    }

    pub(crate) fn falls(&self, address: &str) -> impl Iterator<Item = &Transition> {
        self.view.transitions.iter().filter(move |t| t.observable == address && t.size < 0.0)
    }

    /// Estimates of a measurement with one component: step, value, standard error. Refused ones are left out.
    pub(crate) fn estimates(&self, measure: &str) -> Vec<(f64, f64, f64)> {
        let Some(observable) = self.view.observables.get(measure) else { return Vec::new() };
        let steps = steps(observable).unwrap_or_default();
        let estimate = |(step, (value, error)): (f64, (Option<f64>, Option<f64>))| Some((step, value?, error?));
        steps.into_iter().zip(observable.series(0)).filter_map(estimate).collect()
    }

    pub(crate) fn configuration(&self) -> Option<toml::Table> {
        self.view.run.configuration.parse().ok()
    }

    /// A number of the configuration, by its dotted key.
    pub(crate) fn setting(&self, key: &str) -> Option<f64> {
        let (section, key) = key.split_once('.')?;
        let configuration = self.configuration()?;
        let value = configuration.get(section)?.get(key)?;
        value.as_float().or_else(|| value.as_integer().map(|n| n as f64))
    }

    pub(crate) fn task(&self) -> Option<TaskConfig> {
        self.configuration()?.remove("task")?.try_into().ok()
    }
}

/// See [`Run::stays`]; the start counts as step 1.
pub(crate) fn stay(points: &[(f64, f64)], level: f64, by: f64) -> Option<f64> {
    let stretches = points.chunk_by(|a, b| ((a.1 - level).abs() <= by) == ((b.1 - level).abs() <= by));
    let there = stretches.filter(|stretch| (stretch[0].1 - level).abs() <= by);
    there.map(|stretch| stretch[stretch.len() - 1].0.max(1.0) / stretch[0].0.max(1.0)).reduce(f64::max)
}

/// Steps of an observable.
fn steps(observable: &Observable) -> Option<Vec<f64>> {
    let step = |label: &Coordinate| if let Coordinate::Number(step) = label { Some(*step as f64) } else { None };
    observable.coordinates.get("step")?.iter().map(step).collect()
}
