//! A run in a local folder: whole files by temporary file, flush and rename; workers known by a lock that dies with them.

use std::fs::TryLockError;
use std::io::{self, BufWriter, Read, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tempfile::NamedTempFile;

use crate::place::{Backend, Presence, WORKERS, WriteContent};

/// Start of the name of every temporary file; nothing with it is ever read.
const TEMPORARY_PREFIX: &str = ".ontogeny-tmp-";

/// How often a file is written whose temporary file or folder vanishes, as it may when another worker tidies up in the
/// instant before it is locked.
const ATTEMPTS: usize = 3;

/// The log of a run.
const LOG: &str = "events.jsonl";

/// A folder.
#[derive(Debug)]
pub(crate) struct LocalFolder {
    root: PathBuf,
    log: Mutex<Option<fs_err::File>>,
}

/// Replaces the file at `path` by `bytes`, as a whole or not at all, and flushes it to the disk.
///
/// # Errors
/// Where it cannot be written; the message names it.
pub fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    LocalFolder::new(folder_of(path).to_owned()).replace(&name, &mut |out| out.write_all(bytes))
}

impl LocalFolder {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, log: Mutex::new(None) }
    }

    fn locate(&self, key: &str) -> PathBuf {
        if key.is_empty() { self.root.clone() } else { self.root.join(key) }
    }

    /// The content in a temporary file beside `path`, which is locked for as long as this process has it open.
    fn write_beside(path: &Path, is_durable: bool, write: WriteContent<'_>) -> io::Result<NamedTempFile> {
        let folder = folder_of(path);
        if !folder.is_dir() {
            make_folder(folder)?;
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix(TEMPORARY_PREFIX);
        // Temporary files are private by default; a run is as readable as the umask allows.
        #[cfg(unix)]
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        #[cfg(unix)]
        builder.permissions(permissions);
        let temporary = builder.tempfile_in(folder).map_err(|error| bare(&error))?;
        // Where the file system has no locks, nobody can tell whose it is, and nobody removes it.
        let _ = temporary.as_file().try_lock();
        // The size of the buffer bounds what one system call writes; the number is not important.
        let mut buffer = BufWriter::with_capacity(1 << 18, temporary.as_file());
        write(&mut buffer).and_then(|()| buffer.flush())?;
        drop(buffer);
        if is_durable {
            temporary.as_file().sync_all()?;
        }
        Ok(temporary)
    }

    fn create_with(&self, key: &str, is_durable: bool, write: WriteContent<'_>) -> io::Result<bool> {
        let path = self.locate(key);
        for _ in 1..ATTEMPTS {
            match Self::try_create(&path, is_durable, write) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => return other.map_err(|error| at(&path, &error)),
            }
        }
        Self::try_create(&path, is_durable, write).map_err(|error| at(&path, &error))
    }

    fn try_create(path: &Path, is_durable: bool, write: WriteContent<'_>) -> io::Result<bool> {
        match Self::write_beside(path, is_durable, write)?.persist_noclobber(path) {
            Ok(_) if is_durable => sync_folder(folder_of(path)).map(|()| true),
            Ok(_) => Ok(true),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error.error),
        }
    }

    fn tidy_folder(folder: &Path) -> io::Result<()> {
        for entry in read_folder(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            match entry.file_name().to_str() {
                Some(name) if name.starts_with(TEMPORARY_PREFIX) => {
                    if !kind.is_file() || is_unlocked(&entry.path())? {
                        remove_all(&entry.path())?;
                    }
                }
                _ if kind.is_dir() => Self::tidy_folder(&entry.path())?,
                _ => {}
            }
        }
        Ok(())
    }
}

impl Backend for LocalFolder {
    fn open(&self, key: &str) -> io::Result<Option<(Box<dyn Read + Send>, u64)>> {
        let path = self.locate(key);
        // Before it is opened: to open a pipe is to wait for somebody to write.
        match fs_err::metadata(&path) {
            Ok(metadata) if !metadata.is_file() => {
                Err(io::Error::other(format!("`{}` is not a regular file", path.display())))
            }
            Ok(metadata) => match fs_err::File::open(path) {
                Ok(file) => Ok(Some((Box::new(file), metadata.len()))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read(&self, key: &str) -> io::Result<Option<Vec<u8>>> {
        let Some((mut file, n_bytes)) = self.open(key)? else { return Ok(None) };
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(usize::try_from(n_bytes).unwrap_or(usize::MAX)).map_err(|_| {
            let message = format!("`{}` has {n_bytes} bytes, more than memory can hold", self.locate(key).display());
            io::Error::new(io::ErrorKind::OutOfMemory, message)
        })?;
        file.read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn create(&self, key: &str, write: WriteContent<'_>) -> io::Result<bool> {
        self.create_with(key, true, write)
    }

    fn replace(&self, key: &str, write: WriteContent<'_>) -> io::Result<()> {
        let path = self.locate(key);
        let mut attempt = || -> io::Result<()> {
            Self::write_beside(&path, true, write)?.persist(&path).map_err(|error| error.error)?;
            sync_folder(folder_of(&path))
        };
        for _ in 1..ATTEMPTS {
            match attempt() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => return other.map_err(|error| at(&path, &error)),
            }
        }
        attempt().map_err(|error| at(&path, &error))
    }

    fn mark(&self, key: &str, bytes: &[u8]) -> io::Result<bool> {
        self.create_with(key, false, &mut |out| out.write_all(bytes))
    }

    fn remove(&self, key: &str) -> io::Result<()> {
        remove_all(&self.locate(key))
    }

    fn entries(&self, folder: &str) -> io::Result<Vec<(String, bool)>> {
        let mut entries = Vec::new();
        for entry in read_folder(&self.locate(folder))? {
            let entry = entry?;
            // A name that is not Unicode is none of ours.
            if let Ok(name) = entry.file_name().into_string()
                && !name.starts_with(TEMPORARY_PREFIX)
            {
                entries.push((name, entry.file_type()?.is_dir()));
            }
        }
        Ok(entries)
    }

    fn append(&self, line: &[u8]) -> io::Result<()> {
        // A panic elsewhere cannot leave the file half-written: the guard is held over one write of whole lines.
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match &mut *log {
            Some(file) => file,
            none => {
                let mut options = fs_err::OpenOptions::new();
                let mut file = options.read(true).append(true).create(true).open(self.locate(LOG))?;
                if ends_torn(&mut file)? {
                    // A killed worker's last line stays alone on its line, for readers to skip.
                    file.write_all(b"\n")?;
                }
                none.insert(file)
            }
        };
        file.write_all(line)
    }

    fn log(&self) -> io::Result<Vec<u8>> {
        match fs_err::read(self.locate(LOG)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other,
        }
    }

    fn enlist(&self, worker: &str, card: &[u8]) -> io::Result<Box<dyn Presence>> {
        let path = self.locate(&format!("{WORKERS}/{worker}"));
        let enlist = || -> io::Result<std::fs::File> {
            let temporary = Self::write_beside(&path, false, &mut |out| out.write_all(card))?;
            // It has its lock before its name, so that nobody ever sees the card of a living worker unlocked; here a file
            // system without locks is an error.
            temporary.as_file().lock()?;
            temporary.persist(&path).map_err(|error| error.error)
        };
        let file =
            enlist().or_else(|error| if error.kind() == io::ErrorKind::NotFound { enlist() } else { Err(error) });
        Ok(Box::new(LockedCard { _file: file.map_err(|error| at(&path, &error))?, path }))
    }

    fn is_alive(&self, worker: &str) -> io::Result<bool> {
        is_unlocked(&self.locate(&format!("{WORKERS}/{worker}"))).map(|is_unlocked| !is_unlocked)
    }

    fn point(&self, name: &str, target: &str) -> io::Result<()> {
        let path = self.locate(name);
        if std::fs::read_link(&path).is_ok_and(|found| found == Path::new(target)) {
            return Ok(());
        }
        // Beside it and renamed over it, so that the name always stands for something whole.
        let temporary = self.locate(&format!("{TEMPORARY_PREFIX}{}-{name}", std::process::id()));
        remove_all(&temporary)?;
        #[cfg(unix)]
        {
            match fs_err::os::unix::fs::symlink(target, &temporary) {
                // Some file systems have no links; the folder is then found under its own name.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(()),
                other => other?,
            }
            if path.is_dir() && !path.is_symlink() {
                remove_all(&path)?;
            }
            fs_err::rename(&temporary, &path)?;
            sync_folder(&self.root)?;
        }
        let _ = (path, target);
        Ok(())
    }

    fn tidy(&self) -> io::Result<()> {
        for (worker, _) in self.entries(WORKERS)? {
            if !self.is_alive(&worker)? {
                self.remove(&format!("{WORKERS}/{worker}"))?;
            }
        }
        Self::tidy_folder(&self.root)
    }

    fn path(&self, key: &str) -> PathBuf {
        self.locate(key)
    }
}

/// The card of a living worker: the system frees its lock when the process ends, however it ends.
#[derive(Debug)]
struct LockedCard {
    path: PathBuf,
    _file: std::fs::File,
}

impl Presence for LockedCard {}

impl Drop for LockedCard {
    fn drop(&mut self) {
        // Where this fails, the lock is gone with the file all the same.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Whether nobody has the lock of a file; one that does not exist, or has just vanished, is nobody's.
fn is_unlocked(path: &Path) -> io::Result<bool> {
    let file = match fs_err::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        other => other?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(false),
        Err(TryLockError::Error(error)) => Err(at(path, &error)),
    }
}

/// The parent of a bare file name is the empty path, which cannot be opened.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Without the name of the temporary file, which is nobody's to know.
fn bare(error: &io::Error) -> io::Error {
    error
        .raw_os_error()
        .or_else(|| {
            let inner = std::error::Error::source(error.get_ref()?)?;
            inner.downcast_ref::<io::Error>()?.raw_os_error()
        })
        .map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error)
}

/// An error that names the file, and says what to do where that is known.
fn at(path: &Path, error: &io::Error) -> io::Error {
    let remedy = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ": free some space and run again; everything finished is kept"
        }
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            ": make the folder writable, or choose another one"
        }
        _ => "",
    };
    io::Error::new(error.kind(), format!("failed to write file `{}`: {error}{remedy}", path.display()))
}

/// Makes a folder with its parents, each flushed into the one above it.
fn make_folder(folder: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|a| !a.as_os_str().is_empty() && !a.is_dir()).collect();
    fs_err::create_dir_all(folder)?;
    missing.iter().rev().try_for_each(|made| sync_folder(folder_of(made)))
}

/// Makes renames in `folder` survive a power cut.
fn sync_folder(folder: &Path) -> io::Result<()> {
    // Windows cannot open a folder as a file, and orders its renames itself.
    if cfg!(unix) { fs_err::File::open(folder)?.sync_all() } else { Ok(()) }
}

/// The entries of a folder; none where it does not exist or vanishes.
fn read_folder(folder: &Path) -> io::Result<impl Iterator<Item = io::Result<fs_err::DirEntry>>> {
    match fs_err::read_dir(folder) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(error) => Err(error),
    }
}

/// Removes a file, a link, or a folder with all in it; nothing there is no error, for another may be faster.
fn remove_all(path: &Path) -> io::Result<()> {
    let removed = match fs_err::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs_err::remove_dir_all(path),
        Ok(_) => fs_err::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn ends_torn(file: &mut fs_err::File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs_err::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let local = LocalFolder::new(folder.path().to_owned());
        let path = folder.path().join("a");
        write_file(&path, b"old").unwrap();
        let mut torn = |out: &mut dyn Write| {
            out.write_all(b"half of the ne")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        };
        for error in [local.replace("a", &mut torn).unwrap_err(), local.create("b", &mut torn).unwrap_err()] {
            assert!(error.to_string().contains(folder.path().to_str().unwrap()), "{error}");
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
        assert_eq!(fs_err::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn tidying_removes_what_the_dead_left_and_nothing_of_the_living() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let (mine, theirs) = (LocalFolder::new(root.to_owned()), LocalFolder::new(root.to_owned()));
        let me = mine.enlist("me", b"").unwrap();
        let deep = root.join("records/loss");
        fs_err::create_dir_all(&deep).unwrap();
        fs_err::write(deep.join(format!("{TEMPORARY_PREFIX}dead")), "x").unwrap();
        fs_err::create_dir_all(root.join(format!("{TEMPORARY_PREFIX}zarr/inner"))).unwrap();
        fs_err::write(root.join("workers/dead"), "x").unwrap();
        // In the middle of writing a file, everything else is tidied up by another.
        let mut content = |out: &mut dyn Write| {
            theirs.tidy()?;
            out.write_all(b"whole")
        };
        assert!(mine.create("records/loss/step-00000001.json", &mut content).unwrap());
        assert_eq!(names(&deep), ["step-00000001.json"]);
        assert_eq!(names(root), ["records", "workers"]);
        assert_eq!(names(&root.join("workers")), ["me"]);
        assert!(theirs.is_alive("me").unwrap() && !theirs.is_alive("dead").unwrap());
        drop(me);
        assert!(!theirs.is_alive("me").unwrap());
    }

    #[test]
    fn a_file_is_written_although_its_beginning_vanishes() {
        let folder = tempfile::tempdir().unwrap();
        let local = LocalFolder::new(folder.path().to_owned());
        let mut n_attempts = 0;
        let mut content = |out: &mut dyn Write| {
            n_attempts += 1;
            if n_attempts < ATTEMPTS {
                for name in names(folder.path()) {
                    fs_err::remove_file(folder.path().join(name))?;
                }
            }
            out.write_all(b"whole")
        };
        local.replace("a", &mut content).unwrap();
        assert_eq!((n_attempts, names(folder.path())), (ATTEMPTS, vec!["a".to_owned()]));
    }

    #[test]
    fn the_log_takes_lines_of_several_writers_and_leaves_a_torn_one_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join(LOG), "whole\ntorn").unwrap();
        let writers: Vec<LocalFolder> = (0..4).map(|_| LocalFolder::new(folder.path().to_owned())).collect();
        writers[0].append(b"first\n").unwrap();
        std::thread::scope(|scope| {
            for writer in &writers {
                scope.spawn(move || (0..50).for_each(|_| writer.append(b"a line\n").unwrap()));
            }
        });
        let text = String::from_utf8(writers[0].log().unwrap()).unwrap();
        assert!(text.starts_with("whole\ntorn\nfirst\n"), "{text}");
        assert_eq!(text.lines().filter(|line| *line == "a line").count(), 200);
    }

    #[cfg(unix)]
    #[test]
    fn a_name_points_to_the_newest_folder() {
        let folder = tempfile::tempdir().unwrap();
        let local = LocalFolder::new(folder.path().to_owned());
        fs_err::create_dir_all(folder.path().join("m/old format")).unwrap();
        for target in ["trees/1", "trees/2"] {
            local.replace(&format!("{target}/file"), &mut |out| out.write_all(target.as_bytes())).unwrap();
            local.point("m", target).unwrap();
            assert_eq!(fs_err::read_to_string(folder.path().join("m/file")).unwrap(), target);
        }
        assert_eq!(names(folder.path()), ["m", "trees"]);
    }

    #[cfg(unix)]
    #[test]
    fn files_are_as_readable_as_any_other_new_file() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("plain");
        let ours = folder.path().join("ours");
        fs_err::write(&plain, "").unwrap();
        write_file(&ours, b"").unwrap();
        let mode = |path| fs_err::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }
}
