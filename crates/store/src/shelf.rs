//! All records of a run at one moment: the loose ones and the sealed ones, read as one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::generation::{self, Entry, Generation};
use crate::record_files::{self, Loose, Read};
use crate::{Lookup, MissingReason, Place, Record, RecordError, RecordKey, shown};

/// The newest sealed generation that was read, kept for the next look.
pub(crate) type Cache = Arc<Mutex<Option<Arc<Generation>>>>;

/// The names of all records as they were when it was made; contents are read when asked for.
#[derive(Debug, Clone)]
pub struct Shelf {
    place: Place,
    loose: Loose,
    sealed: Option<Arc<Generation>>,
    /// What is wrong with newer generations that could not be read.
    problems: Vec<MissingReason>,
}

/// Which arrays of a record are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All.
    All,
    /// `value` and `standard_error`.
    Estimates,
    /// Those, and what a report draws.
    Shown,
}

impl Wanted {
    pub(crate) fn includes(self, array: &str) -> bool {
        match self {
            Self::All => true,
            Self::Estimates => is_estimate(array),
            Self::Shown => is_estimate(array) || shown::ARRAYS.contains(&array),
        }
    }
}

fn is_estimate(array: &str) -> bool {
    array == "value" || array == "standard_error"
}

/// Between a look that was outdated and the next.
const MOMENT: Duration = Duration::from_millis(2);

/// What a look at one moment found.
enum Look {
    Certain(Lookup),
    /// A file of the shelf is gone: it was sealed meanwhile, and a new shelf has it.
    Outdated,
}

impl Shelf {
    pub(crate) fn open(place: &Place, cache: &Cache) -> Result<Self, RecordError> {
        // In this order: what is sealed in between is seen twice, never not at all.
        let loose = record_files::list(place)?;
        Ok(Self { loose, ..Self::open_sealed(place, cache)? })
    }

    fn open_sealed(place: &Place, cache: &Cache) -> Result<Self, RecordError> {
        let mut cached = cache.lock().unwrap_or_else(PoisonError::into_inner);
        let (sealed, problems) = generation::newest(place, cached.as_ref())?;
        cached.clone_from(&sealed);
        Ok(Self { place: place.clone(), loose: Loose::new(), sealed, problems })
    }

    /// Looks for the record of a measurement at a step; `None` for the key accepts any.
    pub(crate) fn lookup(
        place: &Place,
        cache: &Cache,
        measure: &str,
        step: u64,
        key: Option<&RecordKey>,
    ) -> Result<Lookup, RecordError> {
        loop {
            if let Look::Certain(found) = Self::open(place, cache)?.look(measure, step, key, Wanted::All)? {
                return Ok(found);
            }
        }
    }

    /// Whether there is a record with this key, without a look at all the others.
    pub(crate) fn has_one(
        place: &Place,
        cache: &Cache,
        measure: &str,
        step: u64,
        key: &RecordKey,
    ) -> Result<bool, RecordError> {
        let location = record_files::location(measure, &record_files::file_name(step, key))?;
        // Loose before sealed, as in `open`.
        if place.backend().open(&location)?.is_some() {
            return Ok(true);
        }
        let shelf = Self::open_sealed(place, cache)?;
        Ok(shelf.has(measure, step, key))
    }

    /// Looks for a record with this key; `None` where the shelf is outdated and a new one knows better.
    ///
    /// # Errors
    /// Where the name is impossible, the record newer, or a file unreadable.
    pub fn find(&self, measure: &str, step: u64, key: &RecordKey) -> Result<Option<Lookup>, RecordError> {
        Ok(match self.look(measure, step, Some(key), Wanted::All)? {
            Look::Certain(lookup) => Some(lookup),
            Look::Outdated => None,
        })
    }

    /// Looks for all the records of `wanted`, by measurement and step; `None` where the shelf is outdated.
    pub(crate) fn lookup_all<'a>(
        &self,
        wanted: impl Iterator<Item = (&'a str, u64, Option<&'a RecordKey>)>,
        arrays: Wanted,
    ) -> Result<Option<Vec<Lookup>>, RecordError> {
        let mut found = Vec::new();
        for (measure, step, key) in wanted {
            match self.look(measure, step, key, arrays)? {
                Look::Certain(lookup) => found.push(lookup),
                Look::Outdated => return Ok(None),
            }
        }
        Ok(Some(found))
    }

    /// Whether there is a record with this key, by its name; whether it is whole is seen when it is read.
    pub fn has(&self, measure: &str, step: u64, key: &RecordKey) -> bool {
        let file = record_files::file_name(step, key);
        self.loose_at(measure, step).contains(&file) || self.entry(measure, step).is_some_and(|entry| entry.key == *key)
    }

    /// How the records of a measurement are named to people.
    pub(crate) fn path(&self, measure: &str) -> std::path::PathBuf {
        self.place.path(&format!("{}/{measure}", record_files::FOLDER))
    }

    /// What is wrong with sealed records as a whole, if anything.
    pub(crate) fn problems(&self) -> &[MissingReason] {
        &self.problems
    }

    pub(crate) fn sealed(&self) -> Option<&Arc<Generation>> {
        self.sealed.as_ref()
    }

    pub(crate) fn loose(&self) -> &BTreeMap<String, BTreeMap<u64, Vec<String>>> {
        &self.loose
    }

    fn loose_at(&self, measure: &str, step: u64) -> &[String] {
        self.loose.get(measure).and_then(|steps| steps.get(&step)).map_or(&[], Vec::as_slice)
    }

    fn entry(&self, measure: &str, step: u64) -> Option<&Entry> {
        self.sealed.as_ref()?.entry(measure, step)
    }

    fn look(&self, measure: &str, step: u64, key: Option<&RecordKey>, arrays: Wanted) -> Result<Look, RecordError> {
        // Checks the name, too, which may come from a run file.
        let path = |file: &str| Ok::<_, RecordError>(self.place.path(&record_files::location(measure, file)?));
        let expected = key.map(|key| record_files::file_name(step, key));
        path("")?;
        let is_right = |record: &Record| key.is_none_or(|key| record.key == *key);
        let other_key = |path, found: &RecordKey| MissingReason::OtherKey {
            path,
            found: found.as_str().to_owned(),
            expected: key.map_or_else(String::new, |key| key.as_str().to_owned()),
        };
        let mut damaged = None;
        let mut stale = None;
        for file in self.loose_at(measure, step) {
            match record_files::read(&self.place, measure, file)? {
                Read::Whole(record) if is_right(&record) => return Ok(Look::Certain(Lookup::Found(record))),
                Read::Whole(record) => stale = Some(other_key(path(file)?, &record.key)),
                Read::Damaged(found) => {
                    // Damage to a record of other settings is nobody's loss.
                    if expected.as_ref().is_none_or(|expected| expected == file) {
                        damaged = Some(MissingReason::Damaged { path: path(file)?, found });
                    } else {
                        stale = stale.or(Some(MissingReason::Damaged { path: path(file)?, found }));
                    }
                }
                Read::Vanished => {
                    // A network file system may show the old names for a while.
                    thread::sleep(MOMENT);
                    return Ok(Look::Outdated);
                }
            }
        }
        if let (Some(generation), Some(entry)) = (&self.sealed, self.entry(measure, step)) {
            if key.is_none_or(|key| entry.key == *key) {
                match generation.record(measure, step, entry, arrays) {
                    Ok(record) => return Ok(Look::Certain(Lookup::Found(Box::new(record)))),
                    Err(found) if generation.is_gone()? => {
                        drop(found);
                        return Ok(Look::Outdated);
                    }
                    Err(found) => damaged = Some(MissingReason::Damaged { path: generation.path(), found }),
                }
            } else {
                stale = Some(other_key(generation.path(), &entry.key));
            }
        }
        Ok(Look::Certain(Lookup::Missing(damaged.or(stale).unwrap_or(MissingReason::NoRecord))))
    }
}
