//! Records on disk: `records/MEASURE/step-00001200.json`, written whole, believed only when key and hash hold.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::sealed::{self, Fault};
use crate::{FORMAT_VERSION, InvalidRecord, Record, RecordKey, atomic, name};

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

const SUFFIX: &str = ".json";

/// The file of a record, once the name of its measurement is known to stay in its folder.
pub(crate) fn path(records: &Path, measure: &str, step: u64) -> Result<PathBuf, RecordError> {
    name::check_measure(measure).map_err(|why| RecordError::InvalidName { name: measure.to_owned(), why })?;
    Ok(records.join(measure).join(format!("{}{SUFFIX}", name::step_stem(step))))
}

/// Looks for a record; `None` for the key accepts any.
pub(crate) fn get(records: &Path, measure: &str, step: u64, key: Option<&RecordKey>) -> Result<Lookup, RecordError> {
    let path = path(records, measure, step)?;
    let Some(bytes) = sealed::read_if_exists(&path)? else {
        return Ok(Lookup::Missing(MissingReason::NoRecord));
    };
    let damaged = |found: String| Ok(Lookup::Missing(MissingReason::Damaged { path: path.clone(), found }));
    let record: Record = match sealed::unseal(&bytes) {
        Ok(record) => record,
        Err(Fault::Newer(found)) => return Err(RecordError::NewerFormat { path, found }),
        Err(Fault::Damaged(found)) => return damaged(found),
    };
    if (&*record.measure, record.step) != (measure, step) {
        return damaged(format!(
            "a record of `{}` at step {}, expected `{measure}` at step {step}",
            record.measure, record.step
        ));
    }
    if let Err(invalid) = record.check() {
        return damaged(invalid.to_string());
    }
    match key {
        Some(key) if *key != record.key => Ok(Lookup::Missing(MissingReason::OtherKey {
            found: record.key.as_str().to_owned(),
            expected: key.as_str().to_owned(),
            path,
        })),
        _ => Ok(Lookup::Found(Box::new(record))),
    }
}

/// Writes a record; a stale or damaged one in its place is replaced, the same one is left alone.
pub(crate) fn put(records: &Path, record: &Record) -> Result<(), RecordError> {
    record.check()?;
    let record = record.with_finite_details();
    let path = path(records, &record.measure, record.step)?;
    if let Lookup::Found(found) = get(records, &record.measure, record.step, Some(&record.key))? {
        if *found == record {
            return Ok(());
        }
        return Err(RecordError::Differs { path, key: record.key.as_str().to_owned() });
    }
    let folder = records.join(&record.measure);
    if !folder.is_dir() {
        fs_err::create_dir_all(&folder)?;
        atomic::sync_folder(records)?;
    }
    let bytes = sealed::seal(&record).map_err(io::Error::from)?;
    Ok(atomic::replace_bytes(&path, &bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;
    use crate::{Detail, KeyParts, Outcome};

    #[test]
    fn numbers_come_back_exactly_and_the_bytes_repeat() {
        let folder = tempfile::tempdir().unwrap();
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
        put(folder.path(), &record).unwrap();
        let read = get(folder.path(), "llc", 7, Some(&record.key)).unwrap().into_record().unwrap();
        assert_eq!(read.arrays, record.arrays);
        assert_eq!(read.outcome, record.outcome);
        assert_eq!(read.details["ess"], Detail::Number(None));

        let path = path(folder.path(), "llc", 7).unwrap();
        let bytes = fs_err::read(&path).unwrap();
        put(folder.path(), &record).unwrap();
        fs_err::remove_file(&path).unwrap();
        put(folder.path(), &record).unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), bytes);
    }

    #[test]
    fn damaged_swapped_and_stale_records_are_missing_with_a_reason_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let record = sample("loss", 7, &[1.0, 2.0]);
        let file = path(folder.path(), "loss", 7).unwrap();
        let missing = || match get(folder.path(), "loss", 7, Some(&record.key)).unwrap() {
            Lookup::Missing(reason) => reason.to_string(),
            Lookup::Found(found) => panic!("found {found:?}"),
        };
        assert_eq!(missing(), "no record yet");

        put(folder.path(), &record).unwrap();
        let bytes = fs_err::read(&file).unwrap();
        fs_err::write(&file, &bytes[..bytes.len() / 2]).unwrap();
        assert!(missing().contains("damaged"));
        let flipped = String::from_utf8(bytes).unwrap().replace("2.0", "3.0");
        fs_err::write(&file, flipped).unwrap();
        assert!(missing().contains("hash"), "{}", missing());
        put(folder.path(), &sample("loss", 8, &[1.0, 2.0])).unwrap();
        fs_err::copy(path(folder.path(), "loss", 8).unwrap(), &file).unwrap();
        assert!(missing().contains("at step 8"), "{}", missing());
        let mut stale = record.clone();
        let parts = KeyParts { tensors: "", data: "", configuration: "", observable: "", algorithm_version: 0 };
        stale.key = RecordKey::new(&parts);
        fs_err::remove_file(&file).unwrap();
        put(folder.path(), &stale).unwrap();
        assert!(missing().contains("key"), "{}", missing());

        put(folder.path(), &record).unwrap();
        assert_eq!(get(folder.path(), "loss", 7, Some(&record.key)).unwrap().into_record(), Some(record));
    }

    #[test]
    fn a_result_that_does_not_repeat_is_an_error_and_the_first_stays() {
        let folder = tempfile::tempdir().unwrap();
        let first = sample("loss", 7, &[1.0]);
        put(folder.path(), &first).unwrap();
        let error = put(folder.path(), &sample("loss", 7, &[1.5])).unwrap_err();
        assert!(matches!(error, RecordError::Differs { .. }), "{error}");
        assert_eq!(get(folder.path(), "loss", 7, Some(&first.key)).unwrap().into_record(), Some(first));
    }

    #[test]
    fn a_newer_record_is_neither_read_nor_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let record = sample("loss", 7, &[1.0]);
        put(folder.path(), &record).unwrap();
        let file = path(folder.path(), "loss", 7).unwrap();
        let newer = fs_err::read_to_string(&file).unwrap().replacen("\"format_version\":1", "\"format_version\":2", 1);
        fs_err::write(&file, &newer).unwrap();
        assert!(matches!(put(folder.path(), &record), Err(RecordError::NewerFormat { found: 2, .. })));
        assert_eq!(fs_err::read_to_string(&file).unwrap(), newer);
    }

    #[test]
    fn names_that_would_leave_the_folder_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let records = folder.path().join("records");
        fs_err::create_dir_all(&records).unwrap();
        for name in ["../x", "/x", "..", "a/b", ""] {
            assert!(matches!(get(&records, name, 1, None), Err(RecordError::InvalidName { .. })), "{name}");
            assert!(matches!(put(&records, &sample(name, 1, &[1.0])), Err(RecordError::Invalid(_))), "{name}");
        }
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(fs_err::read_dir(&records).unwrap().count(), 0);
    }
}
