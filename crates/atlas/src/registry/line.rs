//! A line of the registry: what can be said in it, and its bytes.
//!
//! ```text
//! {"index":0,"time":1790000000,"previous":"HEX64","entry":{…},"hash":"HEX64"}
//! ```
//!
//! No white space outside of strings; the keys of the line in this order, those of the entry (and of objects in it) sorted; numbers as
//! `serde_json` writes them; UTF-8, escaped only where JSON must. `hash` is BLAKE3, in lower-case hexadecimal, of the 20 bytes
//! `ontogeny registry 1\n` (the format with its version) followed by all bytes of the line before `,"hash":`. It is taken of the bytes
//! as they stand, so whoever verifies needs no writer of JSON. A line that says the same in other bytes is not accepted.

use std::collections::BTreeMap;
use std::path::Path;

use ontogeny_store::Judgement;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::RegistryError;

/// Stands before the bytes of a line in what is hashed.
const FORMAT: &[u8] = b"ontogeny registry 1\n";

/// Bytes of `,"hash":"…"}`.
const N_END: usize = 75;

/// A line of the chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Its place, from 0.
    pub index: u64,
    /// Unix time at which it was appended, in seconds, by the clock of whoever did; never before that of the line before.
    pub time: u64,
    /// Hash of the line before; 64 zeros in the first.
    pub previous: String,
    /// What is said.
    pub entry: Entry,
    /// Hash of all of this.
    pub hash: String,
}

/// What can be said in the registry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Entry {
    /// A study as it is about to be run. The hash of this line decides its seeds.
    Registration {
        /// Identifier of the study.
        study: String,
        /// Hash of the study's files.
        content: String,
        /// Hash of each file, by path.
        files: BTreeMap<String, String>,
        /// Version of ontogeny.
        version: String,
        /// Version of the engine, whose bits the runs will hold.
        engine: u32,
        /// How often the study had been registered before.
        earlier: u64,
    },
    /// A study was judged.
    Verdict {
        /// Identifier of the study.
        study: String,
        /// `small` or `full`.
        scale: String,
        /// Hash of the line of its registration.
        registration: String,
        /// BLAKE3 of the bytes of the verdict's file.
        content: String,
        /// The verdict.
        outcome: Judgement,
        /// p-values before correction, by hypothesis.
        p_values: BTreeMap<String, f64>,
    },
    /// Somebody said how it would come out.
    Forecast {
        /// Identifier, such as `F3`.
        id: String,
        /// Identifier of the study.
        study: String,
        /// Name of the hypothesis in it.
        hypothesis: String,
        /// `small` or `full`.
        scale: String,
        /// Who.
        by: String,
        /// What.
        statement: Prediction,
        /// Why, in words.
        note: String,
    },
}

/// What a forecast says.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Prediction {
    /// Of the verdict.
    Probability {
        /// Probability that the hypothesis is supported, 0 to 1.
        supported: f64,
    },
    /// Of the estimate of the hypothesis, in its unit.
    Interval {
        /// Lower end, below the upper.
        lower: f64,
        /// Upper end.
        upper: f64,
        /// Probability that the estimate lies within, between 0 and 1; as far beyond each end.
        level: f64,
    },
}

/// What is wrong with a line.
#[derive(Debug)]
pub(super) enum LineError {
    /// Its bytes are not those that were written.
    Damaged { found: String, expected: &'static str },
    /// Its hash holds; this version does not know what it says.
    Unknown(String),
}

impl LineError {
    pub(super) fn at(self, path: &Path, line: u64) -> RegistryError {
        let path = path.to_owned();
        match self {
            Self::Damaged { found, expected } => {
                RegistryError::Damaged { path, line, found, expected: expected.to_owned() }
            }
            Self::Unknown(found) => RegistryError::Unknown { path, line, found },
        }
    }

    pub(super) fn found(self) -> String {
        match self {
            Self::Damaged { found, .. } | Self::Unknown(found) => found,
        }
    }
}

impl Entry {
    /// Identifier of the study that it is about.
    pub fn study(&self) -> &str {
        match self {
            Self::Registration { study, .. } | Self::Verdict { study, .. } | Self::Forecast { study, .. } => study,
        }
    }
}

impl Line {
    /// The line with its hash, and its text without a line break.
    pub(super) fn new(index: u64, time: u64, previous: &str, entry: Entry) -> (Self, String) {
        let mut line = Self { index, time, previous: previous.to_owned(), entry, hash: String::new() };
        let body = line.body();
        line.hash = hash(body.as_bytes());
        let text = line.text(&body);
        (line, text)
    }

    /// Reads a line without its line break, and verifies all that can be without the other lines.
    pub(super) fn decode(text: &[u8]) -> Result<Self, LineError> {
        let ends_in_no_hash = || LineError::Damaged {
            found: "a line that does not end in its hash".to_owned(),
            expected: "`,\"hash\":\"HASH\"}` at its end",
        };
        let (body, end) = text.split_at_checked(text.len().wrapping_sub(N_END)).ok_or_else(ends_in_no_hash)?;
        let written = end.strip_prefix(b",\"hash\":\"").and_then(|end| end.strip_suffix(b"\"}"));
        let written = written.ok_or_else(ends_in_no_hash)?;
        let found = hash(body);
        if found.as_bytes() != written {
            let found = format!("content of hash {found}, and the hash {} beside it", String::from_utf8_lossy(written));
            return Err(LineError::Damaged { found, expected: "the same hash: the line was edited" });
        }
        let line: Self = serde_json::from_slice(text).map_err(|error| LineError::Unknown(error.to_string()))?;
        if line.text(&line.body()).as_bytes() != text {
            let found = "another spelling of the line".to_owned();
            return Err(LineError::Damaged { found, expected: "the bytes that ontogeny writes" });
        }
        Ok(line)
    }

    /// All that is hashed.
    fn body(&self) -> String {
        let mut entry = serde_json::to_value(&self.entry).expect("an entry has only strings as keys");
        // A map keeps the order of insertion where any crate asks `serde_json` for that.
        entry.sort_all_objects();
        let Self { index, time, previous, .. } = self;
        format!("{{\"index\":{index},\"time\":{time},\"previous\":\"{previous}\",\"entry\":{entry}")
    }

    fn text(&self, body: &str) -> String {
        format!("{body},\"hash\":\"{}\"}}", self.hash)
    }
}

/// Whether a process may have been killed while it wrote these bytes as line `index`; anything else is damage.
pub(super) fn check_torn(tail: &[u8], index: u64) -> Result<(), LineError> {
    let start = format!("{{\"index\":{index},\"time\":").into_bytes();
    let n_common = tail.len().min(start.len());
    if tail[..n_common] != start[..n_common] {
        let found = "bytes that no line begins with".to_owned();
        return Err(LineError::Damaged { found, expected: "the next line, or the end of the file" });
    }
    // After a whole line a line break follows, or nothing. A break that was changed must not pass for one that was never written.
    let mut values = serde_json::Deserializer::from_slice(tail).into_iter::<IgnoredAny>();
    let is_whole = values.next().is_some_and(|value| value.is_ok());
    if is_whole && values.byte_offset() < tail.len() {
        let found = "other bytes than a line break after a whole line".to_owned();
        return Err(LineError::Damaged { found, expected: "a line break" });
    }
    Ok(())
}

/// The hash of a line, of all its bytes before `,"hash":`.
fn hash(body: &[u8]) -> String {
    blake3::Hasher::new().update(FORMAT).update(body).finalize().to_hex().to_string()
}
