//! Early warnings in any set of series: rising variance and autocorrelation of each, and how they fluctuate together.

use std::fmt;
use std::num::NonZero;

use ontogeny_posterior::in_parallel;
use ontogeny_stats::{
    EarlyWarnings, WarningSettings, benjamini_hochberg, early_warnings, find_marker_group, kendall_trend, window_modes,
};
use ontogeny_store::{Group, Indicators, SeriesWarning, Together, Warnings, Window};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::series::NamedSeries;

/// Intervals between values are even where the longest is at most this much longer than the shortest.
const EVEN: f64 = 1.01;
/// Windows of the common fluctuations hold this share of the values.
const WINDOW: f64 = 0.25;
/// Fewest values of such a window.
const MIN_WINDOW: usize = 8;
/// Windows that are looked at.
const N_WINDOWS: usize = 40;
/// Random draws behind the p-value of a group.
const N_DRAWS: usize = 199;
/// Windows of which the indicators are kept.
const MOST_INDICATORS: usize = 200;
/// Most series of which a group is looked for.
const MOST_UNITS: usize = 200;

/// `warnings` in `[stages]`: `true`, or a table.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct WarningsConfig {
    /// Nothing after this step is looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<f64>,
}

/// Looks for early warnings in values up to the step `until` (all unless given): what comes later is not looked at. The same
/// seed gives the same bits on any number of threads.
pub fn warnings(series: &[NamedSeries], until: Option<f64>, seed: u64, threads: NonZero<usize>) -> Warnings {
    let known: Vec<Known<'_>> = series.iter().map(|series| Known::new(series, until)).collect();
    let settings = WarningSettings { seed, ..WarningSettings::default() };
    let found = in_parallel(known.len(), threads, |i| {
        known[i].check()?;
        early_warnings(known[i].values, &settings).map_err(|error| error.to_string())
    });
    let (mut singles, mut left_out) = (Vec::new(), Vec::new());
    for (known, found) in known.iter().zip(found) {
        match found {
            Err(why) => left_out.push(format!("{} ({why})", known.name)),
            Ok(w) => {
                let ends = |values: &[f64]| [values[0], values[values.len() - 1]];
                let variance = ends(&w.variance);
                singles.push(SeriesWarning {
                    name: known.name.to_owned(),
                    unit: known.unit.to_owned(),
                    n_values: known.values.len(),
                    variance_tau: w.variance_trend.tau,
                    variance_p: w.variance_trend.p_value,
                    autocorrelation_tau: w.autocorrelation_trend.tau,
                    autocorrelation_p: w.autocorrelation_trend.p_value,
                    variance_ratio: variance[1] / variance[0],
                    autocorrelation: ends(&w.autocorrelation),
                    indicators: indicators(&w, known.steps),
                });
            }
        }
    }
    let p_values: Vec<f64> = singles.iter().flat_map(|s| [s.variance_p, s.autocorrelation_p]).collect();
    let corrected = benjamini_hochberg(&p_values, p_values.len());
    for (single, own) in singles.iter_mut().zip(corrected.chunks_exact(2)) {
        (single.variance_p, single.autocorrelation_p) = (own[0], own[1]);
    }
    let together = together(&known, seed).unwrap_or_else(|why| {
        left_out.push(why);
        None
    });
    Warnings { until, series: singles, together, left_out }
}

/// The indicators of a series, thinned.
fn indicators(found: &EarlyWarnings, steps: &[f64]) -> Indicators {
    let n = found.variance.len();
    let n_kept = n.min(MOST_INDICATORS);
    // The first and the last are among them.
    let kept = || (0..n_kept).map(move |i| if n_kept > 1 { i * (n - 1) / (n_kept - 1) } else { 0 });
    Indicators {
        steps: kept().map(|i| steps[found.first_end + i]).collect(),
        variance: kept().map(|i| found.variance[i]).collect(),
        autocorrelation: kept().map(|i| found.autocorrelation[i]).collect(),
    }
}

/// The part of a series that may be known.
struct Known<'a> {
    name: &'a str,
    unit: &'a str,
    steps: &'a [f64],
    values: &'a [f64],
}

impl<'a> Known<'a> {
    fn new(series: &'a NamedSeries, until: Option<f64>) -> Self {
        let steps = series.series.steps();
        let n = until.map_or(steps.len(), |until| steps.partition_point(|&step| step <= until));
        Self { name: &series.name, unit: &series.unit, steps: &steps[..n], values: &series.series.values()[..n] }
    }

    fn check(&self) -> Result<(), String> {
        let gaps = || self.steps.windows(2).map(|pair| pair[1] - pair[0]);
        let (shortest, longest) =
            gaps().fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), g| (low.min(g), high.max(g)));
        if longest > EVEN * shortest {
            return Err(format!("its steps are {shortest} to {longest} apart; expected even intervals"));
        }
        Ok(())
    }
}

/// `Err` says why series that could be looked at together were not.
fn together(known: &[Known<'_>], seed: u64) -> Result<Option<Together>, String> {
    let Some(first) = known.first() else { return Ok(None) };
    let units: Vec<&Known<'_>> = known.iter().filter(|own| own.steps == first.steps).collect();
    let (n, n_units) = (first.steps.len(), units.len());
    let window = ((WINDOW * n as f64) as usize).max(MIN_WINDOW);
    if n_units < 2 || n < 2 * window {
        return Ok(None);
    }
    let mut rows = Vec::with_capacity(n * n_units);
    for at in 0..n {
        rows.extend(units.iter().map(|unit| unit.values[at]));
    }
    let whole = |error: ontogeny_stats::ArrayError| format!("fluctuations of all series together ({error})");
    let stride = ((n - window) / N_WINDOWS).max(1);
    let modes = window_modes(first.steps, &rows, n_units, window, stride).map_err(whole)?;
    let windows: Vec<Window> = modes
        .into_iter()
        .map(|w| Window {
            step: first.steps[w.last],
            variance: w.mode.variance,
            share: if w.mode.total_variance > 0.0 { w.mode.variance / w.mode.total_variance } else { 0.0 },
            agreement: w.agreement,
            direction: w.mode.direction,
        })
        .collect();
    let variances: Vec<f64> = windows.iter().map(|window| window.variance).collect();
    let from = n - window;
    let group = if (4..=MOST_UNITS).contains(&n_units) {
        find_marker_group(&first.steps[from..], &rows[from * n_units..], n_units, N_DRAWS, seed).map_err(whole)?
    } else {
        None
    };
    let name = |unit: &usize| units[*unit].name.to_owned();
    Ok(Some(Together {
        units: units.iter().map(|unit| unit.name.to_owned()).collect(),
        variance_tau: kendall_trend(&variances),
        windows,
        group: group.map(|found| Group {
            units: found.units.iter().map(name).collect(),
            index: found.marker.index,
            p_value: found.marker.p_value,
        }),
    }))
}

/// `true`, `false`, or a table with `until`.
///
/// # Errors
/// Anything else.
pub(crate) fn read_config<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<WarningsConfig>, D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Table {
        until: Option<f64>,
    }
    struct Either;
    impl<'de> Visitor<'de> for Either {
        type Value = Option<WarningsConfig>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("true, false, or a table with the step `until` which to look")
        }
        fn visit_bool<E: de::Error>(self, wanted: bool) -> Result<Self::Value, E> {
            Ok(wanted.then(WarningsConfig::default))
        }
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            let Table { until } = Table::deserialize(MapAccessDeserializer::new(map))?;
            match until {
                Some(step) if !(step.is_finite() && step >= 0.0) => {
                    Err(de::Error::custom(format!("`until` is {step}; expected a step, at least 0")))
                }
                until => Ok(Some(WarningsConfig { until })),
            }
        }
    }
    deserializer.deserialize_any(Either)
}

#[cfg(test)]
mod tests {
    use ontogeny_stats::Series;

    use super::*;

    /// AR(1) series at even steps whose coefficient goes from `from` to `to`; a small generator of its own.
    fn series(name: &str, seed: u64, n: usize, from: f64, to: f64) -> NamedSeries {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let mut value = 0.0;
        let values: Vec<f64> = (0..n)
            .map(|i| {
                let phi = from + (to - from) * i as f64 / n as f64;
                let normal: f64 = (0..12).map(|_| uniform()).sum::<f64>() - 6.0;
                value = phi * value + normal;
                value
            })
            .collect();
        let steps = (0..n).map(|i| 10.0 * (i + 1) as f64).collect();
        NamedSeries { name: name.to_owned(), unit: String::new(), series: Series::new(steps, values).unwrap() }
    }

    #[test]
    fn slowing_down_is_seen_and_steady_noise_is_not() {
        let all = [series("slowing", 1, 600, 0.1, 0.97), series("steady", 2, 600, 0.3, 0.3)];
        let found = warnings(&all, None, 0, NonZero::<usize>::MIN);
        assert!(found.left_out.is_empty(), "{:?}", found.left_out);
        let [slowing, steady] = &found.series[..] else { panic!("two series") };
        assert!(slowing.variance_p < 0.05 && slowing.autocorrelation_p < 0.05, "{slowing:?}");
        assert!(slowing.variance_ratio > 2.0 && steady.variance_p > 0.05, "{steady:?}");
        let told = &slowing.indicators;
        assert_eq!((told.steps.len(), told.steps[0], told.steps[199]), (200, 3000.0, 6000.0));
        assert_eq!(told.variance[199] / told.variance[0], slowing.variance_ratio);
        assert_eq!([told.autocorrelation[0], told.autocorrelation[199]], slowing.autocorrelation);
        let two = NonZero::new(2).unwrap();
        assert_eq!(warnings(&all, None, 0, two), found);
    }

    #[test]
    fn nothing_after_the_moment_of_the_warning_is_looked_at() {
        let early = warnings(&[series("a", 1, 300, 0.1, 0.9)], Some(1500.0), 0, NonZero::<usize>::MIN);
        assert_eq!(early.series[0].n_values, 150);
        let mut changed = series("a", 1, 300, 0.1, 0.9);
        let mut values = changed.series.values().to_vec();
        values[200] = 1e6;
        changed.series = Series::new(changed.series.steps().to_vec(), values).unwrap();
        assert_eq!(warnings(&[changed], Some(1500.0), 0, NonZero::<usize>::MIN), early);
    }

    #[test]
    fn uneven_steps_are_left_out_by_name() {
        let mut uneven = series("log", 1, 60, 0.1, 0.1);
        let steps = (0..60).map(|i| 1.2f64.powi(i)).collect();
        uneven.series = Series::new(steps, uneven.series.values().to_vec()).unwrap();
        let found = warnings(&[uneven], None, 0, NonZero::<usize>::MIN);
        assert!(found.series.is_empty() && found.left_out[0].starts_with("log (its steps are"), "{:?}", found.left_out);
    }

    #[test]
    fn units_that_fluctuate_together_are_found() {
        let n = 400;
        let common = series("common", 9, n, 0.2, 0.95);
        let unit = |name: &str, seed: u64, share: f64| {
            let mut own = series(name, seed, n, 0.2, 0.2);
            let values = own.series.values().iter().zip(common.series.values());
            let values = values.map(|(own, common)| own + share * common).collect();
            own.series = Series::new(own.series.steps().to_vec(), values).unwrap();
            own
        };
        let all: Vec<NamedSeries> =
            (0..8).map(|i| unit(&format!("u{i}"), 20 + i, if i < 3 { 2.0 } else { 0.0 })).collect();
        let together = warnings(&all, None, 0, NonZero::<usize>::MIN).together.unwrap();
        let last = &together.windows[together.windows.len() - 1];
        for (i, entry) in last.direction.iter().enumerate() {
            assert_eq!(entry.abs() > 0.3, i < 3, "{:?}", last.direction);
        }
        assert!(together.variance_tau > 0.5, "{}", together.variance_tau);
        let group = together.group.unwrap();
        assert_eq!(group.units, ["u0", "u1", "u2"]);
        assert!(group.p_value < 0.05);
    }
}
