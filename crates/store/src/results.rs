//! Result types: what a run says once its records are read together; the report and `show --json` see nothing else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Calibration, ChangePoints, Fluctuations, MeasureLabels, RecordArray, SumOfParts, TrainingLog, Trajectory, Warnings,
    series_addresses,
};

/// A whole run, as `ontogeny show DIR --json` prints it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    /// What was run, with which settings and versions.
    pub run: RunInfo,
    /// Steps of all checkpoints, ascending.
    pub checkpoints: Vec<u64>,
    /// Observables by measurement name.
    pub observables: BTreeMap<String, Observable>,
    /// Transitions of all watched series, by step.
    pub transitions: Vec<Transition>,
    /// Stage boundaries, by step.
    pub stages: Vec<Boundary>,
    /// The stages between them, and how the run changes in each; empty where nothing was looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub intervals: Vec<Stage>,
    /// Sampler settings found by calibration, by measurement.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub calibrations: BTreeMap<String, Calibration>,
    /// Paths of the checkpoints, by measurement.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub trajectories: BTreeMap<String, Trajectory>,
    /// Change points, where the run file asks for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_points: Option<ChangePoints>,
    /// Early warnings, where the run file asks for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnings: Option<Warnings>,
    /// Measurements of components as sums of their parts, by measurement, where the run file asks for them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, SumOfParts>,
    /// How the units of measurements fluctuate together, by measurement, where the run file asks for them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fluctuations: BTreeMap<String, Fluctuations>,
    /// The log of the training; `None` of imported checkpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainingLog>,
}

/// Identity and provenance of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Title from the run file.
    pub title: String,
    /// Folder of the run.
    pub directory: String,
    /// Version of ontogeny that made it.
    pub version: String,
    /// Instruction set whose bits the run holds, such as `avx512`.
    pub instruction_set: String,
    /// The seed every random stream derives from.
    pub seed: u64,
    /// The resolved configuration, as TOML.
    pub configuration: String,
    /// Content hashes by name (configuration, data, …), hexadecimal.
    pub hashes: BTreeMap<String, String>,
    /// The command that makes the run again.
    pub command: String,
}

/// One measured quantity over the run: a dense array with named dimensions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observable {
    /// The kind of observable (`llc` for a measurement named `llc_unembed`).
    pub kind: String,
    /// Unit of the values, such as `nats`; `1` for a pure number.
    pub unit: String,
    /// One sentence that says what is measured.
    pub description: String,
    /// Dimension names, outermost first; the first is always `step`.
    pub dims: Vec<String>,
    /// Labels along each dimension, as long as the dimension.
    pub coordinates: BTreeMap<String, Vec<Coordinate>>,
    /// Row-major values in the order of `dims`; `None` where refused or missing. Nested lists in JSON.
    #[serde(serialize_with = "nested::serialize", deserialize_with = "nested::deserialize")]
    pub values: Nested,
    /// Standard errors in the same layout; `None` where there is none.
    #[serde(serialize_with = "nested::serialize", deserialize_with = "nested::deserialize")]
    pub standard_errors: Nested,
    /// Status at each step (not each value: a measurement is done or refused as a whole).
    pub status: Vec<Status>,
    /// Further numbers and words of each estimate at each step (R̂, ESS, verdict, …), for tables.
    pub details: Vec<BTreeMap<String, Detail>>,
    /// Further arrays that a report draws, by name: the index of the step and the array. Not in JSON.
    #[serde(skip)]
    pub shown: BTreeMap<String, Vec<(usize, RecordArray)>>,
}

/// An array with its shape; JSON shows it as nested lists.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Nested {
    /// Extent of each dimension.
    pub shape: Vec<usize>,
    /// Row-major elements.
    pub values: Vec<Option<f64>>,
}

/// A label along a dimension; numbers come before texts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Coordinate {
    /// A step, chain, draw or index.
    Number(u64),
    /// A split, component or parameter name.
    Text(String),
}

/// Whether a measurement at a step exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Status {
    /// No record yet.
    Missing,
    /// Measured; the values count.
    Done,
    /// Measured, but the estimate was refused: no value is given.
    Refused {
        /// The verdict, such as `not converged`.
        verdict: String,
        /// The reason with its numbers, such as `R̂ 1.31`.
        reason: String,
    },
}

/// A number or a word beside an estimate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Detail {
    /// A number; `None` where it is not finite.
    Number(Option<f64>),
    /// A word, such as a verdict.
    Text(String),
}

/// A transition: a maximal run of significantly steep slope in ln(t+1) between two plateaus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// Address of the series, such as `loss.test`.
    pub observable: String,
    /// What it is called when it is one of the known kinds (`memorisation`, `grokking`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub label: Option<String>,
    /// Step at which half of the change is reached.
    pub step: f64,
    /// Lower end of the 95 % interval of `step`.
    pub lower: f64,
    /// Upper end of the 95 % interval of `step`.
    pub upper: f64,
    /// Step at which a tenth of the change is reached. Not in analyses of format 1, where it reads 0.
    #[serde(default)]
    pub start: f64,
    /// Step at which nine tenths of the change are reached. Not in analyses of format 1, where it reads 0.
    #[serde(default)]
    pub end: f64,
    /// 10–90 % span in decades of step.
    pub width_decades: f64,
    /// Signed change across the transition, in `unit`.
    pub size: f64,
    /// Unit of `size`.
    pub unit: String,
    /// Significance against a smooth null, corrected for the series of the run.
    pub p_value: f64,
}

/// A boundary between two stages: a zero or plateau of the smoothed slope in log step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Boundary {
    /// Step of the boundary.
    pub step: f64,
    /// Lower end of its 95 % interval.
    pub lower: f64,
    /// Upper end of its 95 % interval.
    pub upper: f64,
    /// Addresses of the observables that agree on it.
    pub observables: Vec<String>,
}

/// A stage: the interval from one boundary to the next, or to an end of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Step at which it begins.
    pub from: f64,
    /// Step at which it ends.
    pub to: f64,
    /// Its type after Hoogland et al. 2024: `A` where the learning coefficient rises by more than its error, `B` where it falls; `None`
    /// where there is none, or its change is within its error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// How every observable that divides the run changes in it, by address.
    pub changes: Vec<Change>,
}

/// The change of an observable over a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Address of the series, such as `llc.full`.
    pub observable: String,
    /// Its smoothed value at the end of the stage less that at its beginning.
    pub change: f64,
    /// Standard error of the change.
    pub standard_error: f64,
    /// Unit of both.
    pub unit: String,
}

/// Name of the detail that says why component number `component` (from 0) of a record is refused although the record
/// counts: observables of several components are refused as a whole only where none of them has a value.
pub fn refused_part(component: usize) -> String {
    format!("{REFUSED_PART}{component}")
}

const REFUSED_PART: &str = "refused.";

/// Name of the detail that tells something (`example`, `query`, …) of pair number `pair` of a record whose values are those of
/// pairs, as numbered along that dimension.
pub fn pair_detail(pair: u64, what: &str) -> String {
    format!("pair.{pair}.{what}")
}

/// The components that a record refuses although it counts, by its details: number along the first dimension, and why.
/// Ascending.
pub fn refused_parts(details: &BTreeMap<String, Detail>) -> Vec<(usize, &str)> {
    let mut parts: Vec<(usize, &str)> = Vec::new();
    for (key, detail) in details {
        let component = key.strip_prefix(REFUSED_PART).and_then(|number| number.parse().ok());
        if let (Some(component), Detail::Text(why)) = (component, detail) {
            parts.push((component, why));
        }
    }
    parts.sort_unstable();
    parts
}

impl RunView {
    /// Addresses of the components of every observable, as analyses name them, in the order of [`Observable::components`].
    pub fn addresses(&self) -> BTreeMap<String, Vec<String>> {
        let labels = |(name, o): (&String, &Observable)| MeasureLabels {
            name: name.clone(),
            kind: o.kind.clone(),
            labels: o.components(),
        };
        let measures: Vec<MeasureLabels> = self.observables.iter().map(labels).collect();
        self.observables.keys().cloned().zip(series_addresses(&measures)).collect()
    }
}

impl Observable {
    /// Component labels, joined over all dimensions but `step`, in row-major order; one empty label for a plain series.
    pub fn components(&self) -> Vec<String> {
        let mut labels = vec![String::new()];
        for dim in &self.dims[1..] {
            let coordinates = self.coordinates.get(dim).map_or(&[][..], Vec::as_slice);
            labels = labels
                .iter()
                .flat_map(|prefix| {
                    coordinates.iter().map(
                        move |c| {
                            if prefix.is_empty() { c.to_string() } else { format!("{prefix}.{c}") }
                        },
                    )
                })
                .collect();
        }
        labels
    }

    /// The series of one component (index into [`Self::components`]): value and standard error at each step.
    pub fn series(&self, component: usize) -> Vec<(Option<f64>, Option<f64>)> {
        let width = self.values.shape.iter().skip(1).product::<usize>().max(1);
        let n_steps = self.values.shape.first().copied().unwrap_or(0);
        (0..n_steps)
            .map(|step_idx| {
                let at = step_idx * width + component;
                (self.values.values.get(at).copied().flatten(), self.standard_errors.values.get(at).copied().flatten())
            })
            .collect()
    }
}

impl std::fmt::Display for Coordinate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(n) => write!(f, "{n}"),
            Self::Text(t) => f.write_str(t),
        }
    }
}

mod nested {
    //! Nested lists in JSON, a flat vector in memory.

    use serde::de::Error as _;
    use serde::ser::{Error as _, SerializeSeq as _};
    use serde::{Deserialize as _, Deserializer, Serialize, Serializer};
    use serde_json::Value;

    use super::Nested;

    struct Level<'a>(&'a [usize], &'a [Option<f64>]);

    impl Serialize for Level<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let Some((&extent, inner)) = self.0.split_first() else {
                return self.1.first().copied().flatten().serialize(serializer);
            };
            let stride = inner.iter().product::<usize>();
            let mut seq = serializer.serialize_seq(Some(extent))?;
            for index in 0..extent {
                seq.serialize_element(&Level(inner, &self.1[index * stride..(index + 1) * stride]))?;
            }
            seq.end()
        }
    }

    pub(super) fn serialize<S: Serializer>(nested: &Nested, serializer: S) -> Result<S::Ok, S::Error> {
        let n_values = nested.shape.iter().product::<usize>();
        match (nested.shape.is_empty(), nested.values.len()) {
            (true, 0) => serializer.serialize_none(),
            (_, n) if n == n_values => Level(&nested.shape, &nested.values).serialize(serializer),
            (_, n) => Err(S::Error::custom(format!("shape {:?} with {n} values", nested.shape))),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Nested, D::Error> {
        let mut nested = Nested::default();
        match Value::deserialize(deserializer)? {
            Value::Null => {}
            value => flatten(&value, 0, &mut nested).map_err(D::Error::custom)?,
        }
        Ok(nested)
    }

    fn flatten(value: &Value, depth: usize, into: &mut Nested) -> Result<(), String> {
        // The first leaf fixes the depth; the lists before it have fixed their extents.
        let is_leaf = !value.is_array();
        let is_fixed = is_leaf || !into.values.is_empty();
        if is_fixed && (depth == into.shape.len()) != is_leaf {
            return Err(format!("ragged array: found a number or list at depth {depth} of {}", into.shape.len()));
        }
        match value {
            Value::Array(items) => {
                match into.shape.get(depth) {
                    None => into.shape.push(items.len()),
                    Some(&extent) if extent == items.len() => {}
                    Some(&extent) => {
                        return Err(format!("ragged array: expected {extent} items, found {}", items.len()));
                    }
                }
                items.iter().try_for_each(|item| flatten(item, depth + 1, into))
            }
            Value::Null => {
                into.values.push(None);
                Ok(())
            }
            Value::Number(number) => {
                into.values.push(number.as_f64());
                Ok(())
            }
            other => Err(format!("expected a number, null or a list, found {other}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observable(shape: Vec<usize>, values: Vec<Option<f64>>) -> Observable {
        Observable {
            kind: "llc".to_owned(),
            unit: "nats".to_owned(),
            description: "Learning coefficient.".to_owned(),
            dims: vec!["step".to_owned(), "component".to_owned()],
            coordinates: BTreeMap::from([
                ("step".to_owned(), vec![Coordinate::Number(0), Coordinate::Number(100)]),
                ("component".to_owned(), ["full", "unembed"].map(|t| Coordinate::Text(t.to_owned())).to_vec()),
            ]),
            standard_errors: Nested { shape: shape.clone(), values: vec![None; values.len()] },
            values: Nested { shape, values },
            status: vec![Status::Done, Status::Refused { verdict: "diverged".to_owned(), reason: "R̂ 1.31".to_owned() }],
            details: vec![
                BTreeMap::from([
                    ("r_hat".to_owned(), Detail::Number(Some(1.0))),
                    ("ess".to_owned(), Detail::Number(None)),
                    ("verdict".to_owned(), Detail::Text("ok".to_owned())),
                ]),
                BTreeMap::new(),
            ],
            shown: BTreeMap::new(),
        }
    }

    #[test]
    fn a_view_comes_back_from_json() {
        let view = RunView {
            run: RunInfo {
                title: "t".to_owned(),
                directory: "d".to_owned(),
                version: "0.1.0".to_owned(),
                instruction_set: "avx512".to_owned(),
                seed: u64::MAX,
                configuration: "a = 1".to_owned(),
                hashes: BTreeMap::from([("data".to_owned(), "00".to_owned())]),
                command: "ontogeny run".to_owned(),
            },
            checkpoints: vec![0, 100],
            observables: BTreeMap::from([(
                "llc".to_owned(),
                observable(vec![2, 2], vec![Some(0.1), Some(-9.202e-9), None, None]),
            )]),
            transitions: vec![Transition {
                observable: "loss.test".to_owned(),
                label: None,
                step: 1900.5,
                lower: 1800.0,
                upper: 2000.0,
                start: 800.0,
                end: 1600.0,
                width_decades: 0.3,
                size: -6.8,
                unit: "nats".to_owned(),
                p_value: 1e-3,
            }],
            stages: vec![Boundary { step: 5.0, lower: 4.0, upper: 6.0, observables: vec!["llc.full".to_owned()] }],
            intervals: vec![Stage {
                from: 0.0,
                to: 5.0,
                kind: Some("A".to_owned()),
                changes: vec![Change {
                    observable: "llc.full".to_owned(),
                    change: 1.5,
                    standard_error: 0.25,
                    unit: "1".to_owned(),
                }],
            }],
            trajectories: BTreeMap::new(),
            change_points: None,
            warnings: None,
            parts: BTreeMap::new(),
            fluctuations: BTreeMap::new(),
            calibrations: BTreeMap::new(),
            training: None,
        };
        let text = serde_json::to_string(&view).unwrap();
        assert!(text.contains(r#""values":[[0.1,-9.202e-9],[null,null]]"#), "{text}");
        assert_eq!(serde_json::from_str::<RunView>(&text).unwrap(), view);
    }

    #[test]
    fn arrays_of_any_shape_come_back_and_others_are_errors() {
        for (shape, n_values) in [(vec![], 0), (vec![0], 0), (vec![2], 2), (vec![2, 0], 0), (vec![2, 1, 2], 4)] {
            let sample = observable(shape, vec![Some(1.0); n_values]);
            let text = serde_json::to_string(&sample).unwrap();
            assert_eq!(serde_json::from_str::<Observable>(&text).unwrap(), sample, "{text}");
        }
        let wrong = observable(vec![2, 2], vec![None; 3]);
        assert!(serde_json::to_string(&wrong).is_err());

        let text = serde_json::to_string(&observable(vec![1], vec![Some(7.0)])).unwrap();
        for ragged in ["[[1.0],[1.0,2.0]]", "[1.0,[2.0]]", "[[1.0],2.0]", "[[],[[1.0]]]", "[\"x\"]"] {
            let text = text.replace("[7.0]", ragged);
            assert!(serde_json::from_str::<Observable>(&text).is_err(), "{ragged}");
        }
    }

    #[test]
    fn refused_parts_come_by_number_and_nothing_else_counts() {
        let mut sample = observable(vec![2, 2], vec![None; 4]);
        for (component, why) in [(10, "ten"), (2, "two")] {
            sample.details[1].insert(refused_part(component), Detail::Text(why.to_owned()));
        }
        sample.details[1].insert(refused_part(3), Detail::Number(Some(1.0)));
        sample.details[1].insert("refused.by".to_owned(), Detail::Text("nobody".to_owned()));
        assert_eq!(refused_parts(&sample.details[1]), [(2, "two"), (10, "ten")]);
        assert!(refused_parts(&sample.details[0]).is_empty());
    }

    #[test]
    fn components_and_series_follow_the_rows() {
        let sample = observable(vec![2, 2], vec![Some(1.0), Some(2.0), Some(3.0), None]);
        assert_eq!(sample.components(), ["full", "unembed"]);
        assert_eq!(sample.series(1), [(Some(2.0), None), (None, None)]);
    }
}
