//! Change points of any set of series, and how a run file asks for them.

use std::fmt;
use std::num::NonZero;
use std::str::FromStr;

use ontogeny_posterior::in_parallel;
use ontogeny_stats::changes::{ChangeShape, SeriesChangeSettings, TimeScale, series_changes};
use ontogeny_store::{ChangePoint, ChangePoints, PenaltyRange, SeriesChanges};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::detect::Sought;
use crate::series::NamedSeries;

/// `change_points` in `[stages]`: the name of a shape, or a table of both keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ChangePointsConfig {
    /// What a segment is taken for.
    #[serde(serialize_with = "write_shape")]
    pub shape: ChangeShape,
    /// What lines run over; `log` unless given.
    pub time: ChangeTime,
}

/// What lines run over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeTime {
    /// ln(step + 1).
    #[default]
    Log,
    /// The step.
    Linear,
}

impl ChangePointsConfig {
    /// Of a shape by its name, over ln(step + 1).
    fn of(shape: ChangeShape) -> Self {
        Self { shape, time: ChangeTime::default() }
    }
}

impl ChangeTime {
    /// The word in run files.
    fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Linear => "linear",
        }
    }
}

impl FromStr for ChangePointsConfig {
    type Err = String;

    /// The shape of this name, over ln(step + 1).
    fn from_str(name: &str) -> Result<Self, String> {
        let known = ChangeShape::ALL.map(ChangeShape::name);
        let found = ChangeShape::ALL.into_iter().find(|shape| shape.name() == name).map(Self::of);
        found.ok_or_else(|| format!("no shape is named `{name}`; expected one of {}", known.join(", ")))
    }
}

impl FromStr for ChangeTime {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = [Self::Log, Self::Linear].into_iter().find(|time| time.name() == name);
        found.ok_or_else(|| format!("no axis is named `{name}`; expected log or linear"))
    }
}

/// Looks for changes of every series, each by itself. The second part says what was not looked at, and why. The same bits on any
/// number of threads.
pub fn change_points(
    series: &[NamedSeries],
    config: ChangePointsConfig,
    threads: NonZero<usize>,
) -> (ChangePoints, Vec<String>) {
    let sought: Vec<Sought<'_>> =
        series.iter().map(|s| Sought { name: &s.name, unit: &s.unit, series: &s.series }).collect();
    of_sought(&sought, config, threads)
}

/// As [`change_points`].
pub(crate) fn of_sought(
    sought: &[Sought<'_>],
    config: ChangePointsConfig,
    threads: NonZero<usize>,
) -> (ChangePoints, Vec<String>) {
    let time = match config.time {
        ChangeTime::Log => TimeScale::LogStep,
        ChangeTime::Linear => TimeScale::Step,
    };
    let settings = SeriesChangeSettings { shape: config.shape, time };
    let found = in_parallel(sought.len(), threads, |i| series_changes(sought[i].series, &settings));
    let (mut series, mut left_out) = (Vec::new(), Vec::new());
    for (own, found) in sought.iter().zip(found) {
        match found {
            Ok(found) => series.push(told(own, config, &found)),
            Err(error) => left_out.push(format!("{} ({error})", own.name)),
        }
    }
    series.sort_by(|a, b| a.observable.cmp(&b.observable));
    let found = ChangePoints {
        shape: config.shape.name().to_owned(),
        time: config.time.name().to_owned(),
        criterion: config.shape.criterion().to_owned(),
        quantity: config.shape.quantity().to_owned(),
        series,
    };
    (found, left_out)
}

/// One series as results show it.
fn told(own: &Sought<'_>, config: ChangePointsConfig, found: &ontogeny_stats::changes::SeriesChanges) -> SeriesChanges {
    let unit = own.unit.to_owned();
    let quantity_unit = match config.shape {
        ChangeShape::Autoregressive => "1".to_owned(),
        ChangeShape::Linear | ChangeShape::ContinuousLinear => {
            let per = if config.time == ChangeTime::Log { "decade" } else { "step" };
            // A pure number, or one whose unit nobody knows, still has a slope for each of something.
            let above = if unit == "1" || unit.is_empty() { "" } else { &unit };
            format!("{above}/{per}")
        }
        _ => unit.clone(),
    };
    let finite = |x: f64| x.is_finite().then_some(x);
    let change = |c: &ontogeny_stats::changes::SeriesChange| ChangePoint {
        step: c.step,
        lower: c.lower,
        upper: c.upper,
        before: finite(c.before),
        after: finite(c.after),
        jump: c.jump,
        holds_to: c.holds_to,
    };
    SeriesChanges {
        observable: own.name.to_owned(),
        unit,
        quantity_unit,
        n_points: found.n_points,
        averaged: found.averaged,
        noise: found.noise.deviation,
        autocorrelation: found.noise.autocorrelation,
        changes: found.changes.iter().map(change).collect(),
        path: found.path.iter().map(|p| PenaltyRange { n_changes: p.n_changes, from: p.from, to: p.to }).collect(),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn write_shape<S: Serializer>(shape: &ChangeShape, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(shape.name())
}

impl<'de> Deserialize<'de> for ChangePointsConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            shape: String,
            #[serde(default)]
            time: ChangeTime,
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = ChangePointsConfig;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a shape such as \"l2\" or \"linear\", or a table of `shape` and `time`")
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
                name.parse().map_err(E::custom)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let table = Table::deserialize(MapAccessDeserializer::new(map))?;
                let named: ChangePointsConfig = table.shape.parse().map_err(de::Error::custom)?;
                Ok(ChangePointsConfig { time: table.time, ..named })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use ontogeny_stats::Series;

    use super::*;

    #[test]
    fn a_name_or_a_table_comes_back_from_what_is_written() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct File {
            change_points: ChangePointsConfig,
        }
        for (text, shape, time) in [
            ("change_points = \"l2\"", ChangeShape::L2, ChangeTime::Log),
            ("change_points = { shape = \"continuous_linear\" }", ChangeShape::ContinuousLinear, ChangeTime::Log),
            ("[change_points]\nshape = \"linear\"\ntime = \"linear\"", ChangeShape::Linear, ChangeTime::Linear),
        ] {
            let file: File = toml::from_str(text).unwrap();
            assert_eq!(file.change_points, ChangePointsConfig { shape, time });
            assert_eq!(toml::from_str::<File>(&toml::to_string(&file).unwrap()).unwrap(), file);
        }
        let wrong = |text: &str| toml::from_str::<File>(text).unwrap_err().to_string();
        assert!(wrong("change_points = \"mean\"").contains("no shape is named `mean`; expected one of l1, l2, "));
        assert!(wrong("change_points = { shape = \"l2\", every = 1 }").contains("every"));
        assert!(wrong("change_points = 3").contains("the name of a shape"));
    }

    #[test]
    fn series_are_told_by_name_and_short_ones_are_named() {
        let series = |name: &str, unit: &str, n: u32| {
            let values = (0..n).map(|i| f64::from(i % 3) + if i < n / 2 { 0.0 } else { 50.0 }).collect();
            let steps = (0..n).map(f64::from).collect();
            NamedSeries { name: name.to_owned(), unit: unit.to_owned(), series: Series::new(steps, values).unwrap() }
        };
        let all = [series("loss", "nats", 60), series("a", "", 40), series("short", "1", 5)];
        let config: ChangePointsConfig = "linear".parse().unwrap();
        let (found, left_out) = change_points(&all, config, NonZero::<usize>::MIN);
        assert_eq!(change_points(&all, config, NonZero::new(3).unwrap()), (found.clone(), left_out.clone()));
        let names: Vec<(&str, &str)> =
            found.series.iter().map(|s| (s.observable.as_str(), s.quantity_unit.as_str())).collect();
        assert_eq!(names, [("a", "/decade"), ("loss", "nats/decade")]);
        assert!(left_out.len() == 1 && left_out[0].starts_with("short (the signal has 5 points"), "{left_out:?}");
        assert_eq!(found.series[1].changes[0].step, 30.0);
        assert!(found.series[1].changes[0].jump > 40.0);
    }
}
