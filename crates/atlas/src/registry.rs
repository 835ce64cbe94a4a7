//! An append-only chain of what was said when: registrations of studies, forecasts, verdicts.
//!
//! `registry.jsonl` of the atlas has one line for each entry, written by nobody but [`Registry::append`] (the form of a line:
//! `registry/line.rs`). Each line carries the hash of the one before, so that none can be edited, removed, put between others or moved
//! without changing all that follow. The end alone can be cut off unnoticed by the chain; runs and verdicts carry the length and head
//! that they saw ([`Stamp`]), and [`audit`](crate::audit) holds them against it.
//!
//! A line is whole or it never counted: what a killed process left after the last line break is ignored and overwritten.
//!
//! Ten lines of Python verify it all:
//!
//! ```python
//! import blake3, json  # pip install blake3
//! previous, time = "0" * 64, 0
//! for index, line in enumerate(open("registry.jsonl", "rb").read().split(b"\n")[:-1]):
//!     body, end = line[:-75], line[-75:]
//!     hash = blake3.blake3(b"ontogeny registry 1\n" + body).hexdigest()
//!     found = json.loads(line)
//!     assert end == b',"hash":"' + hash.encode() + b'"}', f"line {index + 1} was edited"
//!     assert (found["index"], found["previous"]) == (index, previous), f"line {index + 1} is out of place"
//!     assert found["time"] >= time, f"line {index + 1} goes back in time"
//!     previous, time = hash, found["time"]
//! ```

mod line;
mod seeds;
mod stamp;

use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

pub use line::{Entry, Line, Prediction};
pub use seeds::{FIRST_CONFIRMATORY_SEED, confirmatory_seed, confirmatory_seeds};
pub use stamp::{STAMP_FILE, Stamp, StampError};

/// Name of the chain in the folder of the atlas.
pub const REGISTRY_FILE: &str = "registry.jsonl";

/// Who holds its lock may append.
const LOCK_FILE: &str = "registry.lock";

/// Seconds by which a time may lie before that of the last line: whoever waited for the lock brings an old time, and two machines
/// never agree quite. It becomes that of the last line.
const TIME_SLACK: u64 = 60;

/// What stands before the first line.
const NO_HEAD: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The verified chain of an atlas, as it was when it was last read.
#[derive(Debug, Clone)]
pub struct Registry {
    atlas: PathBuf,
    lines: Vec<Line>,
    n_bytes: u64,
    n_torn_bytes: u64,
}

/// Why the chain could not be read or continued.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A line was edited, removed or moved.
    #[error(
        "`{}` is damaged at line {line}: found {found}, expected {expected}: restore the file from a copy; nothing from this line \
         on is evidence any more",
        path.display()
    )]
    Damaged {
        /// The chain.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// The hash of a line holds, but this version cannot read it.
    #[error(
        "`{}`, line {line}: found an entry that this version does not know ({found}), expected a registration, verdict or forecast: \
         read it with the ontogeny that wrote it, or a newer one",
        path.display()
    )]
    Unknown {
        /// The chain.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is unknown in it.
        found: String,
    },
    /// The file is not the one that was opened.
    #[error(
        "`{}` was replaced while it was in use: found {found} lines that do not continue the {expected} read before, expected them \
         unchanged: find out who wrote it, and restore it from a copy",
        path.display()
    )]
    Replaced {
        /// The chain.
        path: PathBuf,
        /// Lines in it now.
        found: u64,
        /// Lines read before.
        expected: u64,
    },
    /// The time of an entry is before that of the last line.
    #[error(
        "cannot append to `{}`: found the time {found} (Unix seconds), expected {expected} or later, which is that of the last line: \
         set the clock",
        path.display()
    )]
    ClockBehind {
        /// The chain.
        path: PathBuf,
        /// Time of the entry.
        found: u64,
        /// Time of the last line.
        expected: u64,
    },
    /// An entry that would not come back as it is.
    #[error("cannot append to `{}`: found an entry with {found}, expected finite numbers", path.display())]
    NotWritable {
        /// The chain.
        path: PathBuf,
        /// What cannot be written.
        found: String,
    },
    /// The lock could not be taken.
    #[error("cannot lock `{}`: {source}: expected a file system with locks; keep the atlas on one", path.display())]
    Lock {
        /// The file whose lock is needed.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file could not be read or written; the message names it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Registry {
    /// Reads and verifies the chain in the folder `atlas`; without a file it is empty. Nothing is written.
    ///
    /// # Errors
    /// Where a whole line is not what was written, or not in its place ([`RegistryError::Damaged`] names the first), was written by a
    /// newer ontogeny, or the file cannot be read.
    pub fn open(atlas: &Path) -> Result<Self, RegistryError> {
        let path = atlas.join(REGISTRY_FILE);
        let bytes = match fs_err::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        let (lines, n_bytes) = verify(&path, &bytes)?;
        let n_torn_bytes = bytes.len() as u64 - n_bytes;
        Ok(Self { atlas: atlas.to_owned(), lines, n_bytes, n_torn_bytes })
    }

    /// The file of the chain.
    pub fn path(&self) -> PathBuf {
        self.atlas.join(REGISTRY_FILE)
    }

    /// All lines, the oldest first.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Number of lines.
    pub fn length(&self) -> u64 {
        self.lines.len() as u64
    }

    /// Hash of the last line; 64 zeros where there is none.
    pub fn head(&self) -> &str {
        self.lines.last().map_or(NO_HEAD, |line| &line.hash)
    }

    /// Bytes after the last line break, left by a process that was killed while it appended; they count for nothing.
    pub fn torn_bytes(&self) -> u64 {
        self.n_torn_bytes
    }

    /// Appends an entry made at `time` (Unix seconds) after whatever others have appended since, and forces it to the disk. Makes
    /// the folder where there is none. A time up to a minute before that of the last line becomes that of the last line.
    ///
    /// # Errors
    /// As [`open`](Self::open); where the time is further back, a number is not finite, or the file cannot be locked or written:
    /// then nothing was appended.
    pub fn append(&mut self, entry: Entry, time: u64) -> Result<Line, RegistryError> {
        self.append_with(time, |_| Ok(entry))
    }

    /// [`append`](Self::append) of an entry that depends on the lines before it: nobody can append between the look and the line.
    pub(crate) fn append_with<E: From<RegistryError>>(
        &mut self,
        time: u64,
        make: impl FnOnce(&Self) -> Result<Entry, E>,
    ) -> Result<Line, E> {
        let _lock = lock(&self.atlas)?;
        self.reload()?;
        let entry = make(self)?;
        Ok(self.append_locked(entry, time)?)
    }

    /// The newest registration of a study.
    pub fn registration(&self, study: &str) -> Option<&Line> {
        self.lines.iter().rev().find(|line| matches!(&line.entry, Entry::Registration { study: of, .. } if of == study))
    }

    /// The newest verdict of a study at a scale, of whichever registration.
    pub fn verdict(&self, study: &str, scale: &str) -> Option<&Line> {
        self.lines.iter().rev().find(
            |line| matches!(&line.entry, Entry::Verdict { study: of, scale: at, .. } if of == study && at == scale),
        )
    }

    /// The line with this hash.
    pub fn line(&self, hash: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.hash == hash)
    }

    /// Whether the chain had this head when it had this length.
    pub fn contains(&self, length: u64, head: &str) -> bool {
        match length.checked_sub(1) {
            None => head == NO_HEAD,
            Some(last) => usize::try_from(last).ok().and_then(|i| self.lines.get(i)).is_some_and(|l| l.hash == head),
        }
    }

    /// Reads what others have appended.
    fn reload(&mut self) -> Result<(), RegistryError> {
        let now = Self::open(&self.atlas)?;
        if !now.contains(self.length(), self.head()) {
            return Err(RegistryError::Replaced { path: self.path(), found: now.length(), expected: self.length() });
        }
        *self = now;
        Ok(())
    }

    fn append_locked(&mut self, entry: Entry, time: u64) -> Result<Line, RegistryError> {
        let path = self.path();
        let last = self.lines.last().map_or(0, |line| line.time);
        if time.saturating_add(TIME_SLACK) < last {
            return Err(RegistryError::ClockBehind { path, found: time, expected: last });
        }
        let (line, text) = Line::new(self.length(), time.max(last), self.head(), entry);
        // JSON has no NaN and no infinity: such a line would not come back.
        match Line::decode(text.as_bytes()) {
            Ok(read) if read == line => {}
            other => {
                let found = other.err().map_or("a number that JSON cannot hold".to_owned(), line::LineError::found);
                return Err(RegistryError::NotWritable { path, found });
            }
        }
        let is_new = !path.exists();
        let mut file = fs_err::OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
        let written = self.write(&mut file, &text);
        if let Err(error) = written {
            // Half a line would be ignored, but a whole one whose flush failed would count although the caller was told otherwise.
            let _ = file.set_len(self.n_bytes);
            return Err(error.into());
        }
        if is_new {
            sync_folder(&self.atlas)?;
        }
        self.n_bytes += text.len() as u64 + 1;
        self.n_torn_bytes = 0;
        self.lines.push(line.clone());
        Ok(line)
    }

    /// Removes what a killed process left, and writes the line at once.
    fn write(&self, file: &mut fs_err::File, text: &str) -> io::Result<()> {
        if self.n_torn_bytes > 0 {
            file.set_len(self.n_bytes)?;
        }
        file.seek(SeekFrom::Start(self.n_bytes))?;
        file.write_all(format!("{text}\n").as_bytes())?;
        file.sync_all()
    }
}

/// The lock of the chain, until the file is dropped or the process ends.
fn lock(atlas: &Path) -> Result<fs_err::File, RegistryError> {
    fs_err::create_dir_all(atlas)?;
    let path = atlas.join(LOCK_FILE);
    let file = fs_err::OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
    file.file().lock().map_err(|source| RegistryError::Lock { path, source })?;
    Ok(file)
}

/// Makes the name of a new file durable.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { fs_err::File::open(folder)?.sync_all() } else { Ok(()) }
}

/// The lines of a chain, and how many bytes they have; what follows these is torn.
fn verify(path: &Path, bytes: &[u8]) -> Result<(Vec<Line>, u64), RegistryError> {
    let mut lines: Vec<Line> = Vec::new();
    let n_bytes = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
    for text in bytes[..n_bytes].split_inclusive(|&byte| byte == b'\n') {
        let index = lines.len() as u64;
        let damaged = |found: String, expected: String| RegistryError::Damaged {
            path: path.to_owned(),
            line: index + 1,
            found,
            expected,
        };
        let line = Line::decode(&text[..text.len() - 1]).map_err(|error| error.at(path, index + 1))?;
        if line.index != index {
            return Err(damaged(format!("index {}", line.index), format!("index {index}")));
        }
        let head = lines.last().map_or(NO_HEAD, |before| &before.hash);
        if line.previous != head {
            let found = format!("a line that follows the one of hash {}", line.previous);
            return Err(damaged(found, format!("one that follows {head}")));
        }
        let last = lines.last().map_or(0, |before| before.time);
        if line.time < last {
            return Err(damaged(
                format!("time {}", line.time),
                format!("{last} or later, the time of the line before"),
            ));
        }
        lines.push(line);
    }
    let n_lines = lines.len() as u64;
    line::check_torn(&bytes[n_bytes..], n_lines).map_err(|error| error.at(path, n_lines + 1))?;
    Ok((lines, n_bytes as u64))
}

#[cfg(test)]
#[path = "registry/tests.rs"]
mod tests;
