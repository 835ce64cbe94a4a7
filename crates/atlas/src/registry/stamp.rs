//! `NAME.stamp.json` beside the folder `NAME` of a run: what the registry was when the run began.
//!
//! Beside it, not in it: the stamp comes before the run, and the store makes no run in a folder that holds anything.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Registry, sync_folder};

/// What the name of a stamp ends with.
pub const STAMP_FILE: &str = "stamp.json";

/// Version of the stamp's format.
const FORMAT: u32 = 1;

/// What the registry was when a run began. It is written once, and never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stamp {
    /// Version of this format.
    pub format: u32,
    /// The study whose seed the run has; `None` for a pilot.
    pub study: Option<String>,
    /// Hash of the line of its registration; `None` for a pilot.
    pub registration: Option<String>,
    /// Length of the registry.
    pub chain_length: u64,
    /// Head of the registry.
    pub chain_head: String,
    /// Unix time at which the run began, in seconds.
    pub started: u64,
    /// Version of ontogeny that began it.
    pub version: String,
}

/// Why a stamp could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StampError {
    /// It is no stamp.
    #[error(
        "`{}` is damaged: found {found}, expected a stamp as ontogeny writes it: restore it from a copy, or remove the run and make it \
         anew",
        path.display()
    )]
    Damaged {
        /// The stamp.
        path: PathBuf,
        /// What was found.
        found: String,
    },
    /// It was written by a newer ontogeny.
    #[error(
        "`{}` has format {found}, expected {FORMAT}: read it with the ontogeny that wrote it, or a newer one",
        path.display()
    )]
    NewerFormat {
        /// The stamp.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// The file could not be read or written; the message names it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Stamp {
    /// The stamp of a run that begins at `time` (Unix seconds): of `study` with the hash of its registration, or of a pilot. A time
    /// before that of the registry's last line, by a clock that is behind, becomes that of the line.
    pub fn new(registry: &Registry, study_and_registration: Option<(&str, &str)>, time: u64, version: &str) -> Self {
        Self {
            format: FORMAT,
            study: study_and_registration.map(|(study, _)| study.to_owned()),
            registration: study_and_registration.map(|(_, registration)| registration.to_owned()),
            chain_length: registry.length(),
            chain_head: registry.head().to_owned(),
            started: registry.lines().last().map_or(time, |line| time.max(line.time)),
            version: version.to_owned(),
        }
    }

    /// Reads the stamp of a run; `None` where it has none.
    ///
    /// # Errors
    /// Where it is damaged, newer, or cannot be read.
    pub fn read(run_folder: &Path) -> Result<Option<Self>, StampError> {
        let path = path_of(run_folder);
        let bytes = match fs_err::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        let damaged = |found: String| StampError::Damaged { path: path.clone(), found };
        // The format first: a newer one may have any other shape.
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(found) if found > u64::from(FORMAT) => return Err(StampError::NewerFormat { path, found }),
            Some(found) if found == u64::from(FORMAT) => {}
            _ => return Err(damaged("no format of a stamp".to_owned())),
        }
        serde_json::from_value(value).map(Some).map_err(|error| damaged(error.to_string()))
    }

    /// Writes the stamp beside the folder of a run, as a whole or not at all; where there is one already, that one stays and is
    /// returned. Of several processes at once, one writes.
    ///
    /// Write it before the run: its log must not begin before its stamp.
    ///
    /// # Errors
    /// Where the file cannot be written, or the one that is there cannot be read.
    pub fn write_once(&self, run_folder: &Path) -> Result<Self, StampError> {
        if let Some(existing) = Self::read(run_folder)? {
            return Ok(existing);
        }
        let path = path_of(run_folder);
        let folder = path.parent().unwrap_or(Path::new(""));
        let named =
            |error: &io::Error| io::Error::new(error.kind(), format!("cannot write `{}`: {error}", path.display()));
        let mut builder = tempfile::Builder::new();
        builder.prefix(".ontogeny-tmp-");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut temporary =
            fs_err::create_dir_all(folder).and_then(|()| builder.tempfile_in(folder)).map_err(|error| named(&error))?;
        let mut text = serde_json::to_string_pretty(self).expect("a stamp has only strings as keys");
        text.push('\n');
        let written = temporary.write_all(text.as_bytes()).and_then(|()| temporary.as_file().sync_all());
        written.map_err(|error| named(&error))?;
        match temporary.persist_noclobber(&path) {
            Ok(_) => {
                sync_folder(folder)?;
                Ok(self.clone())
            }
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                Self::read(run_folder)?.ok_or_else(|| named(&error.error).into())
            }
            Err(error) => Err(named(&error.error).into()),
        }
    }
}

/// Where the stamp of a run is.
fn path_of(run_folder: &Path) -> PathBuf {
    let mut name = run_folder.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(STAMP_FILE);
    run_folder.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use ontogeny_store::{Manifest, RunWriter};

    use super::*;

    #[test]
    fn a_stamp_is_written_once_however_many_try() {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::open(folder.path()).unwrap();
        let path = folder.path().join("run");
        assert_eq!(Stamp::read(&path).unwrap(), None);
        let written: Vec<Stamp> = std::thread::scope(|scope| {
            let stamp = |time| Stamp::new(&registry, Some(("S1", "ab")), time, "0.1.0");
            let path = path.as_path();
            let threads: Vec<_> =
                (0..8).map(|i| scope.spawn(move || stamp(100 + i).write_once(path).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(written.iter().all(|stamp| *stamp == written[0]));
        assert_eq!(Stamp::read(&path).unwrap().as_ref(), Some(&written[0]));
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
        let pilot = Stamp::new(&registry, None, 5, "0.1.0");
        assert_eq!((pilot.study, pilot.chain_length, pilot.chain_head), (None, 0, "0".repeat(64)));
    }

    #[test]
    fn a_run_with_a_stamp_is_joined_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let registry = Registry::open(folder.path()).unwrap();
        let manifest = Manifest { seed: 7, ..Manifest::default() };
        let stamp = Stamp::new(&registry, None, 5, "0.1.0");
        stamp.write_once(&path).unwrap();
        drop(RunWriter::join(&path, &manifest).unwrap());
        let writer = RunWriter::join(&path, &manifest).unwrap();
        assert_eq!(writer.folder().manifest().seed, 7);
        assert_eq!(Stamp::read(&path).unwrap(), Some(stamp));
    }

    #[test]
    fn what_is_no_stamp_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        for (text, is_newer) in
            [("", false), ("{}", false), ("{\"format\":1}", false), ("{\"format\":2,\"other\":[]}", true)]
        {
            fs_err::write(folder.path().join("run.stamp.json"), text).unwrap();
            let error = Stamp::read(&folder.path().join("run")).unwrap_err();
            assert_eq!(matches!(error, StampError::NewerFormat { .. }), is_newer, "{error}");
            assert!(error.to_string().contains(STAMP_FILE), "{error}");
        }
        let registry = Registry::open(folder.path()).unwrap();
        // A file stands where the folder should be.
        let nowhere = folder.path().join("run.stamp.json/runs/one");
        let error = Stamp::new(&registry, None, 5, "0.1.0").write_once(&nowhere).unwrap_err();
        assert!(error.to_string().contains("run.stamp.json"), "{error}");
    }
}
