//! Loose records: `records/MEASURE/step-00001200.KEY.json`, created once, believed only when name, key and hash hold.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::sealed::{self, Fault};
use crate::{FORMAT_VERSION, InvalidRecord, Place, Record, RecordKey, name};

/// Why a record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The record given to be written cannot be.
    #[error(transparent)]
    Invalid(#[from] InvalidRecord),
    /// A name that cannot be a measurement.
    #[error("measurement name `{name}`: found a name that {why}, expected one that can be a folder name: rename it")]
    InvalidName {
        /// The name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// There is a whole record with the same key and another result.
    #[error(
        "`{}` exists with another result for the same key {key}: found a measurement that does not repeat, expected the same numbers \
         from the same checkpoint, data and configuration: remove the file, or raise the algorithm version of the observable",
        path.display()
    )]
    Differs {
        /// The file.
        path: PathBuf,
        /// The key of both.
        key: String,
    },
    /// The record was written by a newer ontogeny.
    #[error(
        "`{}` has format version {found}, expected at most {FORMAT_VERSION}: read it with the ontogeny that wrote it, or a newer one",
        path.display()
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format version.
        found: u64,
    },
    /// The file could not be read or written; the message names it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A record that was looked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Lookup {
    /// It is there, whole and with the right key.
    Found(Box<Record>),
    /// It has to be made.
    Missing(MissingReason),
}

impl Lookup {
    /// The record, if it was found.
    pub fn into_record(self) -> Option<Record> {
        match self {
            Self::Found(record) => Some(*record),
            Self::Missing(_) => None,
        }
    }
}

/// Why a record counts as missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MissingReason {
    /// There is no file.
    NoRecord,
    /// The file is whole, but belongs to another checkpoint, data set, configuration or algorithm version.
    OtherKey {
        /// The file.
        path: PathBuf,
        /// Its key.
        found: String,
        /// The key looked for.
        expected: String,
    },
    /// The file is truncated, changed, renamed, or of another layout than its neighbours.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found, and what was expected.
        found: String,
    },
}

impl fmt::Display for MissingReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRecord => f.write_str("no record yet"),
            Self::OtherKey { path, found, expected } => write!(
                f,
                "`{}` has key {found}, expected {expected}: checkpoint, data, configuration or algorithm changed; \
                 it is measured again",
                path.display()
            ),
            Self::Damaged { path, found } => {
                write!(f, "`{}` is damaged: {found}; it is measured again", path.display())
            }
        }
    }
}

/// The folder of loose records in a run.
pub(crate) const FOLDER: &str = "records";

const SUFFIX: &str = ".json";

/// Hexadecimal digits of the key in a file name: 64 bits, far more than the records of one step need.
const KEY_DIGITS: usize = 16;

/// The names of loose records by measurement and step, sorted.
pub(crate) type Loose = BTreeMap<String, BTreeMap<u64, Vec<String>>>;

/// A record file that was looked at.
pub(crate) enum Read {
    /// Whole, and the record of its name.
    Whole(Box<Record>),
    /// Truncated, changed or renamed.
    Damaged(String),
    /// Gone since its name was seen: sealed, and found there by a new look.
    Vanished,
}

/// Lists all loose records; files with other names are not looked at.
pub(crate) fn list(place: &Place) -> io::Result<Loose> {
    let mut loose = Loose::new();
    for measure in place.folders(FOLDER)? {
        let of_measure: &mut BTreeMap<u64, Vec<String>> = loose.entry(measure.clone()).or_default();
        for file in place.files(&format!("{FOLDER}/{measure}"))? {
            if let Some((step, _)) = parse(&file) {
                of_measure.entry(step).or_default().push(file);
            }
        }
    }
    Ok(loose)
}

/// The file name of a record.
pub(crate) fn file_name(step: u64, key: &RecordKey) -> String {
    format!("{}.{}{SUFFIX}", name::step_stem(step), &key.as_str()[..KEY_DIGITS])
}

/// Step and start of the key of a file name; no key in those of format 1.
fn parse(file: &str) -> Option<(u64, Option<&str>)> {
    let stem = file.strip_suffix(SUFFIX)?;
    match stem.split_once('.') {
        None => Some((name::parse_step(file, SUFFIX)?, None)),
        Some((step, digits)) => {
            let is_key = digits.len() == KEY_DIGITS && digits.bytes().all(|b| b.is_ascii_hexdigit());
            is_key.then_some((name::parse_step(step, "")?, Some(digits)))
        }
    }
}

/// Where a record of a checked measurement is kept.
pub(crate) fn location(measure: &str, file: &str) -> Result<String, RecordError> {
    name::check_measure(measure).map_err(|why| RecordError::InvalidName { name: measure.to_owned(), why })?;
    Ok(format!("{FOLDER}/{measure}/{file}"))
}

/// Reads a listed file.
pub(crate) fn read(place: &Place, measure: &str, file: &str) -> Result<Read, RecordError> {
    let location = location(measure, file)?;
    let Some(bytes) = place.read(&location)? else { return Ok(Read::Vanished) };
    let record: Record = match sealed::unseal(&bytes) {
        Ok(record) => record,
        Err(Fault::Newer(found)) => return Err(RecordError::NewerFormat { path: place.path(&location), found }),
        Err(Fault::Damaged(found)) => return Ok(Read::Damaged(found)),
    };
    let (step, digits) = parse(file).expect("only names that parse are listed");
    if (&*record.measure, record.step) != (measure, step) {
        let found =
            format!("a record of `{}` at step {}, expected `{measure}` at step {step}", record.measure, record.step);
        return Ok(Read::Damaged(found));
    }
    if digits.is_some_and(|digits| !record.key.as_str().starts_with(digits)) {
        let found = format!("a record of key {}, expected the one of its name", record.key.as_str());
        return Ok(Read::Damaged(found));
    }
    match record.check() {
        Err(invalid) => Ok(Read::Damaged(invalid.to_string())),
        Ok(()) => Ok(Read::Whole(Box::new(record))),
    }
}

/// Creates a record; a damaged one in its place is replaced, the same one is left alone.
pub(crate) fn put(place: &Place, record: &Record) -> Result<(), RecordError> {
    record.check()?;
    let record = record.with_finite_details();
    let file = file_name(record.step, &record.key);
    let location = location(&record.measure, &file)?;
    let bytes = sealed::seal(&record).map_err(io::Error::from)?;
    if place.create(&location, &bytes)? {
        return Ok(());
    }
    match read(place, &record.measure, &file)? {
        Read::Whole(found) if *found == record => Ok(()),
        Read::Whole(_) => {
            Err(RecordError::Differs { path: place.path(&location), key: record.key.as_str().to_owned() })
        }
        // Where it vanished, another worker made it and it was sealed since, or its name led nowhere: there twice is no harm.
        Read::Vanished | Read::Damaged(_) => Ok(place.replace(&location, &bytes)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;
    use crate::{Detail, Outcome};

    #[test]
    fn numbers_come_back_exactly_and_the_bytes_repeat() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::from(folder.path());
        let values = [
            0.1,
            -0.0,
            5e-324,
            f64::MAX,
            f64::MIN_POSITIVE,
            1.0 / 3.0,
            9.202e-9,
            1e20,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
        ];
        let mut record = sample("llc", 7, &values);
        record.details.insert("verdict".to_owned(), Detail::Text("ok".to_owned()));
        record.details.insert("ess".to_owned(), Detail::Number(Some(f64::NAN)));
        record.outcome = Outcome::Refused { verdict: "diverged".to_owned(), reason: "R̂ 1.31".to_owned() };
        put(&place, &record).unwrap();
        let file = file_name(7, &record.key);
        let Read::Whole(found) = read(&place, "llc", &file).unwrap() else { panic!("not whole") };
        assert_eq!(found.arrays, record.arrays);
        assert_eq!(found.outcome, record.outcome);
        assert_eq!(found.details["ess"], Detail::Number(None));

        let path = folder.path().join("records/llc").join(&file);
        let bytes = fs_err::read(&path).unwrap();
        put(&place, &record).unwrap();
        fs_err::remove_file(&path).unwrap();
        put(&place, &record).unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), bytes);
        assert_eq!(list(&place).unwrap()["llc"][&7], [file]);
    }

    #[test]
    fn only_names_that_were_given_are_names() {
        let key = "0123456789abcdef";
        assert_eq!(parse(&format!("step-00000007.{key}.json")), Some((7, Some(key))));
        assert_eq!(parse("step-00000007.json"), Some((7, None)));
        for name in ["step-7.json", "step-00000007.0123.json", "step-00000007..json", "step-00000007", "x.json"] {
            assert_eq!(parse(name), None, "{name}");
        }
    }

    #[test]
    fn names_that_would_leave_the_folder_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::from(folder.path());
        for name in ["../x", "/x", "..", "a/b", ""] {
            assert!(matches!(read(&place, name, "step-00000001.json"), Err(RecordError::InvalidName { .. })), "{name}");
            assert!(matches!(put(&place, &sample(name, 1, &[1.0])), Err(RecordError::Invalid(_))), "{name}");
        }
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 0);
    }
}
