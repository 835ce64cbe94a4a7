//! The lock of a run folder: one writer at a time, named in the lock, freed by the system when it dies.

use std::fs::TryLockError;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::clock;

/// Who writes to a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Process id on its host.
    pub pid: u32,
    /// Name of its host.
    pub host: String,
    /// When it took the lock, UTC.
    pub started_at: String,
}

/// Why a run cannot be written to.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process writes to the run.
    #[error(
        "`{}` is held by {}: found a second writer, expected one at a time: wait for the first or end it (reading needs no lock)",
        path.display(),
        describe(holder.as_ref())
    )]
    Held {
        /// The lock file.
        path: PathBuf,
        /// Who holds it; `None` in the instant before the holder has written its name.
        holder: Option<Holder>,
    },
    /// The lock file could not be made, written or locked; the message names it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn describe(holder: Option<&Holder>) -> String {
    holder.map_or_else(
        || "a process that has not yet written its name".to_owned(),
        |h| format!("process {} on {}, since {}", h.pid, h.host, h.started_at),
    )
}

/// The held lock; dropping it, or the end of the process, frees it.
#[derive(Debug)]
pub(crate) struct Lock {
    file: fs_err::File,
}

/// Name of the lock file, which stays when the lock is free: removing it would let two writers lock two files.
pub(crate) const FILE: &str = "lock";

impl Lock {
    pub(crate) fn take(folder: &Path) -> Result<Self, LockError> {
        let path = folder.join(FILE);
        let mut options = fs_err::OpenOptions::new();
        // Not truncated: it may hold the name of another writer.
        let mut file = options.read(true).write(true).create(true).truncate(false).open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Where the name cannot be read the refusal stands all the same.
                let read = file.read_to_string(&mut text);
                let holder = read.ok().and_then(|_| serde_json::from_str(&text).ok());
                return Err(LockError::Held { path, holder });
            }
            Err(TryLockError::Error(error)) => {
                let message = format!("failed to lock file `{}`: {error}", path.display());
                return Err(io::Error::new(error.kind(), message).into());
            }
        }
        let holder = Holder { pid: std::process::id(), host: host(), started_at: clock::now() };
        let mut line = serde_json::to_vec(&holder).map_err(io::Error::from)?;
        line.push(b'\n');
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(&line)?;
        Ok(Self { file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The name goes first, so that the next writer is not taken for this one. Nothing depends on either: closing
        // the file frees the lock, and the name of a dead holder is only ever shown while the lock is held.
        let _ = self.file.set_len(0);
        let _ = self.file.unlock();
    }
}

fn host() -> String {
    let from_file =
        ["/proc/sys/kernel/hostname", "/etc/hostname"].iter().find_map(|path| fs_err::read_to_string(path).ok());
    from_file
        .or_else(|| ["HOSTNAME", "COMPUTERNAME"].iter().find_map(|key| std::env::var(key).ok()))
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "an unnamed host".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_writer_is_refused_by_the_name_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(folder.path()).unwrap();
        let refusal = Lock::take(folder.path()).unwrap_err();
        let LockError::Held { holder: Some(holder), .. } = &refusal else { panic!("{refusal:?}") };
        assert_eq!(holder.pid, std::process::id());
        let message = refusal.to_string();
        assert!(message.contains(&holder.pid.to_string()) && message.contains(&holder.host), "{message}");
        drop(first);
        Lock::take(folder.path()).unwrap();
    }

    #[test]
    fn what_a_dead_writer_left_in_the_lock_does_not_hold_it() {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join(FILE), r#"{"pid":1,"host":"gone","started_at":"…"} and more"#).unwrap();
        let _held = Lock::take(folder.path()).unwrap();
        let LockError::Held { holder: Some(holder), .. } = Lock::take(folder.path()).unwrap_err() else {
            panic!("held by us")
        };
        assert_eq!(holder.pid, std::process::id());
    }
}
