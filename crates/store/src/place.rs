//! Where a run lives: a local folder, or a prefix of an object store. Every file of a run goes through here.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::local::LocalFolder;

/// Where a run lives. Cloning is cheap and means the same place.
#[derive(Clone)]
pub struct Place {
    backend: Arc<dyn Backend>,
}

/// What a place must be able to do.
///
/// Keys are relative, with `/` between names. The protocol of workers rests on [`create`](Self::create) alone: it is the
/// one operation that local folders, network file systems and object stores all offer without surprises.
pub(crate) trait Backend: fmt::Debug + Send + Sync {
    /// Opens a file with its length; `None` where there is none.
    fn open(&self, key: &str) -> io::Result<Option<(Box<dyn Read + Send>, u64)>>;

    /// Reads a file; `None` where there is none.
    fn read(&self, key: &str) -> io::Result<Option<Vec<u8>>>;

    /// Creates a file as a whole, safe on the disk when this returns; `false`, and nothing changed, where there is one.
    fn create(&self, key: &str, write: WriteContent<'_>) -> io::Result<bool>;

    /// Creates or replaces a file as a whole.
    fn replace(&self, key: &str, write: WriteContent<'_>) -> io::Result<()>;

    /// Creates a file that need not survive a power cut; `false` where there is one.
    fn mark(&self, key: &str, bytes: &[u8]) -> io::Result<bool>;

    /// Removes a file, or everything under a prefix; nothing there is no error.
    fn remove(&self, key: &str) -> io::Result<()>;

    /// Names directly under `folder` in no certain order, and whether each is a folder; none where there is no folder.
    fn entries(&self, folder: &str) -> io::Result<Vec<(String, bool)>>;

    /// Appends a line, newline included, to the log of the run.
    fn append(&self, line: &[u8]) -> io::Result<()>;

    /// All lines of the log.
    fn log(&self) -> io::Result<Vec<u8>>;

    /// Makes a worker known; it counts as alive until the returned value is dropped or its process ends.
    fn enlist(&self, worker: &str, card: &[u8]) -> io::Result<Box<dyn Presence>>;

    /// Whether a worker is alive, as far as can be known; never by comparing clocks.
    fn is_alive(&self, worker: &str) -> io::Result<bool>;

    /// As [`is_alive`](Self::is_alive), but where a worker that died long ago may still count as alive, waits until it
    /// gives a sign or is known to be dead.
    fn shows_life(&self, worker: &str) -> io::Result<bool> {
        self.is_alive(worker)
    }

    /// Makes `name` stand for the folder `target` for people and other programs, where the place has such names.
    fn point(&self, name: &str, target: &str) -> io::Result<()>;

    /// Removes what dead workers left half-written.
    fn tidy(&self) -> io::Result<()>;

    /// How to name a file to people.
    fn path(&self, key: &str) -> PathBuf;
}

/// Writes the content of a file; may be called again if the first attempt is interrupted.
pub(crate) type WriteContent<'a> = &'a mut dyn FnMut(&mut dyn Write) -> io::Result<()>;

/// A worker that counts as alive while this exists.
pub(crate) trait Presence: fmt::Debug + Send + Sync {}

/// Folder of the cards of living workers.
pub(crate) const WORKERS: &str = "workers";

impl Place {
    /// A folder of the local file system, which need not exist yet.
    pub fn local(path: impl Into<PathBuf>) -> Self {
        Self { backend: Arc::new(LocalFolder::new(path.into())) }
    }

    #[cfg(any(test, feature = "s3"))]
    pub(crate) fn of(backend: impl Backend + 'static) -> Self {
        Self { backend: Arc::new(backend) }
    }

    /// How the place, or a file in it, is named to people: a path, or an address such as `s3://bucket/run`.
    pub fn path(&self, key: &str) -> PathBuf {
        self.backend.path(key)
    }

    pub(crate) fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    pub(crate) fn read(&self, key: &str) -> io::Result<Option<Vec<u8>>> {
        self.backend.read(key)
    }

    pub(crate) fn create(&self, key: &str, bytes: &[u8]) -> io::Result<bool> {
        self.backend.create(key, &mut |out| out.write_all(bytes))
    }

    pub(crate) fn replace(&self, key: &str, bytes: &[u8]) -> io::Result<()> {
        self.backend.replace(key, &mut |out| out.write_all(bytes))
    }

    /// Writes a file beside the run's own, such as a report, as a whole or not at all.
    ///
    /// # Errors
    /// Where it cannot be written; the message names it.
    pub fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.replace(name, bytes)
    }

    pub(crate) fn remove(&self, key: &str) -> io::Result<()> {
        self.backend.remove(key)
    }

    /// Names of the files directly under `folder`, sorted.
    pub(crate) fn files(&self, folder: &str) -> io::Result<Vec<String>> {
        let entries = self.backend.entries(folder)?.into_iter();
        let mut names: Vec<String> = entries.filter(|(_, is_folder)| !is_folder).map(|(name, _)| name).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Names of the folders directly under `folder`, sorted.
    pub(crate) fn folders(&self, folder: &str) -> io::Result<Vec<String>> {
        let entries = self.backend.entries(folder)?.into_iter();
        let mut names: Vec<String> = entries.filter(|(_, is_folder)| *is_folder).map(|(name, _)| name).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Keys of all files under `folder`, sorted.
    pub(crate) fn walk(&self, folder: &str) -> io::Result<Vec<String>> {
        let mut keys = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for (name, is_folder) in self.backend.entries(&folder)? {
                let key = format!("{folder}/{name}");
                if is_folder { folders.push(key) } else { keys.push(key) }
            }
        }
        keys.sort_unstable();
        Ok(keys)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Place").field(&self.path("")).finish()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path("").display().fmt(f)
    }
}

impl From<PathBuf> for Place {
    fn from(path: PathBuf) -> Self {
        Self::local(path)
    }
}

impl From<&PathBuf> for Place {
    fn from(path: &PathBuf) -> Self {
        Self::local(path)
    }
}

impl From<&Path> for Place {
    fn from(path: &Path) -> Self {
        Self::local(path)
    }
}

impl From<&Place> for Place {
    fn from(place: &Place) -> Self {
        place.clone()
    }
}
