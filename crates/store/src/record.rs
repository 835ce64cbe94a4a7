//! Records: what one finished unit of work (checkpoint × measurement) found.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{Coordinate, Detail, name};

/// The result of one measurement at one checkpoint.
///
/// It holds nothing that differs between identical runs, such as times: the same run gives the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// What the result depends on.
    pub key: RecordKey,
    /// Name of the measurement.
    pub measure: String,
    /// The kind of observable (`llc` for a measurement named `llc_unembed`).
    pub kind: String,
    /// Version of the observable's algorithm, not of ontogeny.
    pub algorithm_version: u32,
    /// Step of the checkpoint.
    pub step: u64,
    /// Whether the values count.
    pub outcome: Outcome,
    /// Named arrays. `value` and, where there is one, `standard_error` become those of the
    /// [`Observable`](crate::Observable); all go to Zarr.
    pub arrays: Vec<RecordArray>,
    /// Further numbers and words (R̂, ESS, …), by name; a number that is not finite is kept as "no number".
    pub details: BTreeMap<String, Detail>,
}

/// Whether the values of a record count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase", deny_unknown_fields)]
pub enum Outcome {
    /// Measured; the values count.
    Done,
    /// Measured, but the estimate was refused; arrays may show why, but no view gives its `value`.
    Refused {
        /// The verdict, such as `not converged`.
        verdict: String,
        /// The reason with its numbers, such as `R̂ 1.31`.
        reason: String,
    },
}

/// A dense array with named dimensions.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordArray {
    /// Name, such as `value` or `trace`.
    pub name: String,
    /// Unit of the values, such as `nats`; `1` for a pure number.
    pub unit: String,
    /// Names of the dimensions, outermost first; none for a single number. Never `step`, which the store adds.
    pub dims: Vec<String>,
    /// Labels along each of `dims`, without repetition; their number is the extent.
    pub coordinates: BTreeMap<String, Vec<Coordinate>>,
    /// What the values are in Zarr; every value must be one of that type.
    #[serde(default, skip_serializing_if = "NumberType::is_float64")]
    pub number: NumberType,
    /// Row-major values. NaN and infinities come back as such (a NaN's sign and payload do not).
    #[serde(with = "exact")]
    pub values: Vec<f64>,
}

/// The type of an array's numbers in Zarr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NumberType {
    /// 64-bit floats; NaN at steps without a record.
    #[default]
    Float64,
    /// 32-bit floats, for what is computed in them and stored by the million; NaN at steps without a record.
    Float32,
    /// 32-bit whole numbers from 0 on, such as token ids; −1 at steps without a record.
    Index32,
}

impl NumberType {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
    fn is_float64(&self) -> bool {
        *self == Self::Float64
    }

    /// Whether this type holds the value exactly.
    fn holds(self, value: f64) -> bool {
        match self {
            Self::Float64 => true,
            Self::Float32 => value.is_nan() || f64::from(value as f32) == value,
            Self::Index32 => value >= 0.0 && value.fract() == 0.0 && value <= f64::from(i32::MAX),
        }
    }
}

impl PartialEq for RecordArray {
    /// Values are equal when their bits are, or when both are NaN.
    fn eq(&self, other: &Self) -> bool {
        let same = |a: &f64, b: &f64| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
        (&self.name, &self.unit, &self.dims, &self.coordinates, self.number)
            == (&other.name, &other.unit, &other.dims, &other.coordinates, other.number)
            && self.values.len() == other.values.len()
            && self.values.iter().zip(&other.values).all(|(a, b)| same(a, b))
    }
}

/// Hash of everything a result depends on, hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RecordKey(String);

impl TryFrom<String> for RecordKey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        // In lower case only: two spellings would be two keys and two files.
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 2 * blake3::OUT_LEN && text.bytes().all(is_digit) {
            return Ok(Self(text));
        }
        Err(format!("key `{}`, expected 64 lower-case hexadecimal digits", text.escape_default()))
    }
}

impl From<RecordKey> for String {
    fn from(key: RecordKey) -> Self {
        key.0
    }
}

/// What a result depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyParts<'a> {
    /// Hash of the checkpoint's tensors, as of [`crate::hash_tensors`].
    pub tensors: &'a str,
    /// Hash of the data.
    pub data: &'a str,
    /// The canonical configuration of the measurement: sorted keys, resolved defaults.
    pub configuration: &'a str,
    /// The kind of observable.
    pub observable: &'a str,
    /// Version of the observable's algorithm, not of ontogeny.
    pub algorithm_version: u32,
}

impl RecordKey {
    /// The key of a result with these dependencies.
    pub fn new(parts: &KeyParts<'_>) -> Self {
        let mut hasher = blake3::Hasher::new();
        for text in [parts.tensors, parts.data, parts.configuration, parts.observable] {
            // The length keeps neighbouring parts apart.
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.update(&parts.algorithm_version.to_le_bytes());
        Self(hasher.finalize().to_hex().to_string())
    }

    /// The key as hexadecimal text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is wrong with a record that was given to be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record of measurement `{measure}` at step {step}: found {found}, expected {expected}: nothing was written")]
pub struct InvalidRecord {
    /// Name of the measurement.
    pub measure: String,
    /// Step of the record.
    pub step: u64,
    /// What was found.
    pub found: String,
    /// What was expected.
    pub expected: String,
}

/// The labels 0, 1, …, n−1 of a dimension without names, such as chains or draws.
pub fn index_labels(n: usize) -> Vec<Coordinate> {
    (0..n as u64).map(Coordinate::Number).collect()
}

/// Names that stand for something else in a Zarr group.
const RESERVED: [&str; 5] = ["step", "status", "verdict", "reason", "details"];

/// Whether an array or dimension can have this name.
pub(crate) fn can_be_array(name: &str) -> bool {
    name::check(name).is_ok() && !RESERVED.contains(&name)
}

impl Record {
    /// Checks names and shapes.
    ///
    /// # Errors
    /// What is wrong, by name.
    pub(crate) fn check(&self) -> Result<(), InvalidRecord> {
        let invalid = |found: String, expected: &str| InvalidRecord {
            measure: self.measure.clone(),
            step: self.step,
            found,
            expected: expected.to_owned(),
        };
        name::check_measure(&self.measure)
            .map_err(|why| invalid(format!("a name that {why}"), "a name that can be a file name"))?;
        let named = |what: &str, name: &str| {
            name::check(name)
                .map_err(|why| invalid(format!("{what} `{name}`, which {why}"), "a name that can be a file name"))
        };
        for detail in self.details.keys() {
            named("detail", detail)?;
        }
        let mut array_names = BTreeSet::new();
        let mut dim_names = BTreeSet::new();
        for array in &self.arrays {
            named("array", &array.name)?;
            if RESERVED.contains(&&*array.name) || !array_names.insert(&*array.name) {
                return Err(invalid(
                    format!("array `{}`, whose name is reserved or taken", array.name),
                    "another name for each array",
                ));
            }
            let mut extent = Some(1_usize);
            for dim in &array.dims {
                named("dimension", dim)?;
                if RESERVED.contains(&&**dim) || array.dims.iter().filter(|d| *d == dim).count() > 1 {
                    return Err(invalid(
                        format!("dimension `{dim}` of array `{}`, which is reserved or repeated", array.name),
                        "another name for each dimension",
                    ));
                }
                dim_names.insert(&**dim);
                let labels = array.coordinates.get(dim).ok_or_else(|| {
                    invalid(format!("no coordinates for dimension `{dim}` of array `{}`", array.name), "labels")
                })?;
                if labels.iter().collect::<BTreeSet<_>>().len() != labels.len() {
                    return Err(invalid(
                        format!("a repeated label along dimension `{dim}` of array `{}`", array.name),
                        "each label once",
                    ));
                }
                extent = extent.and_then(|n| n.checked_mul(labels.len()));
            }
            if array.coordinates.len() != array.dims.len() {
                return Err(invalid(
                    format!("coordinates of array `{}` that are none of its dimensions", array.name),
                    "labels for each dimension and no others",
                ));
            }
            if extent != Some(array.values.len()) {
                return Err(invalid(
                    format!("{} values in array `{}`", array.values.len(), array.name),
                    "as many as its coordinates span",
                ));
            }
            if let Some(value) = array.values.iter().find(|&&value| !array.number.holds(value)) {
                return Err(invalid(
                    format!("the value {value} in array `{}`", array.name),
                    match array.number {
                        NumberType::Index32 => "whole numbers from 0 to 2147483647",
                        NumberType::Float32 | NumberType::Float64 => "numbers that 32-bit floats hold exactly",
                    },
                ));
            }
        }
        if let Some(errors) = self.array("standard_error") {
            let same = |value: &RecordArray| value.dims == errors.dims && value.coordinates == errors.coordinates;
            if !self.array("value").is_some_and(same) {
                return Err(invalid(
                    "an array `standard_error` without `value`, or of another layout".to_owned(),
                    "the dimensions and labels of `value`",
                ));
            }
        }
        if let Some(shared) = dim_names.intersection(&array_names).next() {
            return Err(invalid(format!("an array and a dimension both named `{shared}`"), "different names"));
        }
        Ok(())
    }

    /// The record with every detail in the form in which it is read back.
    pub(crate) fn with_finite_details(&self) -> Self {
        let mut record = self.clone();
        for detail in record.details.values_mut() {
            if let Detail::Number(number) = detail {
                *number = number.filter(|n| n.is_finite());
            }
        }
        record
    }

    /// The array named `name`.
    pub fn array(&self, name: &str) -> Option<&RecordArray> {
        self.arrays.iter().find(|array| array.name == name)
    }
}

/// Values that come back exactly from JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Values(#[serde(with = "exact")] pub(crate) Vec<f64>);

mod exact {
    //! Numbers in JSON that come back exactly; what JSON cannot hold as a number is the string `NaN`, `inf` or `-inf`.

    use serde::de::{Error, Visitor};
    use serde::{Deserialize, Deserializer, Serializer};

    struct Exact(f64);

    pub(super) fn serialize<S: Serializer>(values: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(|&value| Exact(value)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
        Ok(Vec::<Exact>::deserialize(deserializer)?.into_iter().map(|exact| exact.0).collect())
    }

    impl serde::Serialize for Exact {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self.0 {
                value if value.is_finite() => serializer.serialize_f64(value),
                value if value.is_nan() => serializer.serialize_str("NaN"),
                value if value > 0.0 => serializer.serialize_str("inf"),
                _ => serializer.serialize_str("-inf"),
            }
        }
    }

    impl<'de> Deserialize<'de> for Exact {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct ExactVisitor;
            impl Visitor<'_> for ExactVisitor {
                type Value = Exact;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("a number or one of \"NaN\", \"inf\", \"-inf\"")
                }
                fn visit_f64<E: Error>(self, value: f64) -> Result<Exact, E> {
                    Ok(Exact(value))
                }
                fn visit_u64<E: Error>(self, value: u64) -> Result<Exact, E> {
                    Ok(Exact(value as f64))
                }
                fn visit_i64<E: Error>(self, value: i64) -> Result<Exact, E> {
                    Ok(Exact(value as f64))
                }
                fn visit_str<E: Error>(self, word: &str) -> Result<Exact, E> {
                    match word {
                        "NaN" => Ok(Exact(f64::NAN)),
                        "inf" => Ok(Exact(f64::INFINITY)),
                        "-inf" => Ok(Exact(f64::NEG_INFINITY)),
                        other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
                    }
                }
            }
            deserializer.deserialize_any(ExactVisitor)
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A record of `values` along one dimension `component` with labels a, b, …
    pub(crate) fn sample(measure: &str, step: u64, values: &[f64]) -> Record {
        let labels = (0..values.len()).map(|i| Coordinate::Text(((b'a' + i as u8) as char).to_string()));
        Record {
            key: RecordKey::new(&parts()),
            measure: measure.to_owned(),
            kind: "loss".to_owned(),
            algorithm_version: 1,
            step,
            outcome: Outcome::Done,
            arrays: vec![RecordArray {
                name: "value".to_owned(),
                unit: "nats".to_owned(),
                dims: vec!["component".to_owned()],
                coordinates: BTreeMap::from([("component".to_owned(), labels.collect())]),
                number: NumberType::Float64,
                values: values.to_vec(),
            }],
            details: BTreeMap::from([("r_hat".to_owned(), Detail::Number(Some(1.01)))]),
        }
    }

    fn parts() -> KeyParts<'static> {
        KeyParts { tensors: "t", data: "d", configuration: "c", observable: "loss", algorithm_version: 1 }
    }

    #[test]
    fn a_key_changes_with_each_part_and_keeps_the_parts_apart() {
        let base = RecordKey::new(&parts());
        assert_eq!(base, RecordKey::new(&parts()));
        for changed in [
            KeyParts { tensors: "x", ..parts() },
            KeyParts { data: "x", ..parts() },
            KeyParts { configuration: "x", ..parts() },
            KeyParts { observable: "x", ..parts() },
            KeyParts { algorithm_version: 2, ..parts() },
            KeyParts { tensors: "td", data: "", ..parts() },
        ] {
            assert_ne!(base, RecordKey::new(&changed), "{changed:?}");
        }
    }

    #[test]
    fn records_that_cannot_be_kept_are_refused_by_name() {
        type Change = fn(&mut Record);
        let cases: [(&str, Change); 13] = [
            ("`standard_error`", |r| {
                r.arrays[0].name = "standard_error".to_owned();
            }),
            ("../x", |r| r.measure = "../x".to_owned()),
            ("`a/b`", |r| r.arrays[0].name = "a/b".to_owned()),
            ("`status`", |r| r.arrays[0].name = "status".to_owned()),
            ("`value`", |r| r.arrays.push(r.arrays[0].clone())),
            ("`step`", |r| r.arrays[0].dims[0] = "step".to_owned()),
            ("`split`", |r| r.arrays[0].dims.push("split".to_owned())),
            ("2 values", |r| _ = r.arrays[0].values.pop()),
            ("the value 0.1", |r| {
                r.arrays[0].number = NumberType::Float32;
                r.arrays[0].values[0] = 0.1;
            }),
            ("the value -1", |r| {
                r.arrays[0].number = NumberType::Index32;
                r.arrays[0].values[0] = -1.0;
            }),
            ("repeated label", |r| {
                r.arrays[0].coordinates.get_mut("component").unwrap()[1] = Coordinate::Text("a".to_owned());
            }),
            ("none of its dimensions", |r| {
                _ = r.arrays[0].coordinates.insert("x".to_owned(), vec![]);
            }),
            ("`__x`", |r| {
                _ = r.details.insert("__x".to_owned(), Detail::Number(None));
            }),
        ];
        sample("loss", 1, &[1.0, 2.0, 3.0]).check().unwrap();
        for (expected, change) in cases {
            let mut record = sample("loss", 1, &[1.0, 2.0, 3.0]);
            change(&mut record);
            let message = record.check().unwrap_err().to_string();
            assert!(message.contains(expected), "{expected}: {message}");
        }
    }
}
