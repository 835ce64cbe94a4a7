//! A run in a local folder: whole files by temporary file, flush and rename; workers known by a lock that dies with them.

use std::fs::TryLockError;
use std::io::{self, BufWriter, Read, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tempfile::NamedTempFile;

use crate::crew;
use crate::place::{Backend, Presence, WORKERS, WriteContent};

/// Start of the name of every temporary file; nothing with it is ever read.
const TEMPORARY_PREFIX: &str = ".ontogeny-tmp-";

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
        let written = again_if_removed(|| {
            let temporary = Self::write_beside(&path, is_durable, write)?;
            temporary.persist_noclobber(&path).map_err(|error| error.error)
        });
        match written {
            Ok(_) if is_durable => sync_folder(folder_of(&path)).map(|()| true),
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(at(&path, &error)),
        }
    }

    fn tidy_folder(folder: &Path) -> io::Result<()> {
        for entry in read_folder(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            match entry.file_name().to_str() {
                Some(name) if name.starts_with(TEMPORARY_PREFIX) => {
                    let is_left = !kind.is_file() || is_unlocked(&entry.path())?;
                    is_left.then(|| remove_all(&entry.path())).transpose()?;
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
                Err(error) if is_gone(&error) => Ok(None),
                Err(error) => Err(error),
            },
            Err(error) if is_gone(&error) => Ok(None),
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
        match file.read_to_end(&mut bytes) {
            Err(error) if is_gone(&error) => Ok(None),
            read => read.map(|_| Some(bytes)),
        }
    }

    fn create(&self, key: &str, write: WriteContent<'_>) -> io::Result<bool> {
        self.create_with(key, true, write)
    }

    fn replace(&self, key: &str, write: WriteContent<'_>) -> io::Result<()> {
        let path = self.locate(key);
        let written = again_if_removed(|| {
            let temporary = Self::write_beside(&path, true, write)?;
            temporary.persist(&path).map_err(|error| error.error)
        });
        written.map_err(|e| at(&path, &e))?;
        sync_folder(folder_of(&path))
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
                let kind = entry.file_type()?;
                // A link counts as what it leads to; one that leads nowhere, as after a partial copy, as nothing.
                let is_folder = match kind.is_symlink().then(|| fs_err::metadata(entry.path())) {
                    None => kind.is_dir(),
                    Some(Ok(target)) => target.is_dir(),
                    Some(Err(error)) if is_gone(&error) => continue,
                    Some(Err(error)) => return Err(error),
                };
                entries.push((name, is_folder));
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
        let written = file.write_all(line);
        if written.is_err() {
            // Half of the line may be there, as on a full disk; opened anew, the next one begins on a line of its own.
            *log = None;
        }
        written
    }

    fn log(&self) -> io::Result<Vec<u8>> {
        match fs_err::read(self.locate(LOG)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other,
        }
    }

    fn enlist(&self, worker: &str, card: &[u8]) -> io::Result<Box<dyn Presence>> {
        let path = self.locate(&format!("{WORKERS}/{worker}"));
        let enlisted = again_if_removed(|| {
            let temporary = Self::write_beside(&path, false, &mut |out| out.write_all(card))?;
            // It has its lock before its name, so that nobody ever sees the card of a living worker unlocked.
            temporary.as_file().try_lock().map_err(|error| {
                let remedy = "put the run on a file system with locks (Lustre: mount with `flock`)";
                io::Error::other(format!("it cannot be locked: {error}: {remedy}"))
            })?;
            temporary.persist(&path).map_err(|error| error.error)
        });
        let file = enlisted.map_err(|e| at(&path, &e))?;
        Ok(Box::new(LockedCard { path, _file: file }))
    }

    fn is_alive(&self, worker: &str) -> io::Result<bool> {
        if crate::name::check(worker).is_err() {
            // A lease may name anything; no worker has a name that leads elsewhere.
            return Ok(false);
        }
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
        again_if_removed(|| {
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
            sync_folder(&self.root)
        })?;
        let _ = (path, target);
        Ok(())
    }

    fn tidy(&self) -> io::Result<()> {
        let (mut n_alive, mut dead) = (0, Vec::new());
        for (worker, is_folder) in self.entries(WORKERS)? {
            if self.is_alive(&worker)? {
                n_alive += 1;
            } else if !is_folder && crew::is_worker(&worker) {
                // By its name: a folder that is called `workers` may hold what is dear to somebody.
                dead.push(worker);
            }
        }
        // A run may have many files; they are looked through only where there is something to be found.
        if n_alive <= 1 || !dead.is_empty() {
            Self::tidy_folder(&self.root)?;
        }
        dead.iter().try_for_each(|worker| self.remove(&format!("{WORKERS}/{worker}")))
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
    // Before it is opened: to open a pipe is to wait for somebody to write.
    let opened = fs_err::metadata(path).and_then(|found| found.is_file().then(|| fs_err::File::open(path)).transpose());
    let file = match opened {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(true),
        Err(error) if is_gone(&error) => return Ok(true),
        Err(error) => return Err(error),
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

/// Whether a file is not there, or not any more: a network file system says so in its own way.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::StaleNetworkFileHandle)
}

/// How often a temporary file may vanish before that is an error.
const ATTEMPTS: usize = 8;

/// Writes again where the temporary file vanished: another worker tidied up in the instant before it was locked.
fn again_if_removed<T>(mut write: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..ATTEMPTS {
        match write() {
            Err(error) if is_gone(&error) => {}
            other => return other,
        }
    }
    write()
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
        fs_err::write(root.join("workers/host-77-0123abcd"), "x").unwrap();
        fs_err::write(root.join("workers/notes.txt"), "not ours").unwrap();
        // In the middle of writing a file, everything else is tidied up by another.
        let mut content = |out: &mut dyn Write| {
            theirs.tidy()?;
            out.write_all(b"whole")
        };
        assert!(mine.create("records/loss/step-00000001.json", &mut content).unwrap());
        assert_eq!(names(&deep), ["step-00000001.json"]);
        assert_eq!(names(root), ["records", "workers"]);
        assert_eq!(names(&root.join("workers")), ["me", "notes.txt"]);
        assert!(theirs.is_alive("me").unwrap() && !theirs.is_alive("host-77-0123abcd").unwrap());
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

    #[test]
    fn workers_that_come_at_once_do_not_tidy_each_other_away() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let root = folder.path().to_owned();
                scope.spawn(move || {
                    for n in 0..20 {
                        let local = LocalFolder::new(root.clone());
                        let _presence = local.enlist(&format!("host-{thread}-{n:08x}"), b"card").unwrap();
                        local.tidy().unwrap();
                    }
                });
            }
        });
    }

    #[test]
    fn a_place_can_be_used_again_and_its_temporary_files_are_those_of_the_living() {
        let folder = tempfile::tempdir().unwrap();
        let (mine, theirs) = (LocalFolder::new(folder.path().to_owned()), LocalFolder::new(folder.path().to_owned()));
        drop(mine.enlist("host-1-00000001", b"").unwrap());
        let _second = mine.enlist("host-1-00000002", b"").unwrap();
        let mut slow = |out: &mut dyn Write| {
            let _other = theirs.enlist("host-2-00000003", b"")?;
            theirs.tidy()?;
            out.write_all(b"whole")
        };
        assert!(mine.create("file", &mut slow).unwrap());
        assert_eq!(fs_err::read(folder.path().join("file")).unwrap(), b"whole");
    }

    #[test]
    fn what_was_tidied_away_by_mistake_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let local = LocalFolder::new(folder.path().to_owned());
        let mut n_attempts = 0;
        let mut content = |out: &mut dyn Write| {
            n_attempts += 1;
            if n_attempts == 1 {
                for name in names(folder.path()) {
                    fs_err::remove_file(folder.path().join(name))?;
                }
            }
            out.write_all(b"whole")
        };
        assert!(local.create("file", &mut content).unwrap());
        assert_eq!(fs_err::read(folder.path().join("file")).unwrap(), b"whole");
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_count_as_what_they_lead_to_and_nothing_behind_them_is_removed() {
        use fs_err::os::unix::fs::symlink;
        let scratch = tempfile::tempdir().unwrap();
        let (home, root) = (scratch.path().join("home"), scratch.path().join("run"));
        fs_err::create_dir_all(home.join("thesis")).unwrap();
        fs_err::write(home.join("thesis/main.tex"), "x").unwrap();
        fs_err::create_dir_all(root.join("records")).unwrap();
        symlink(&home, root.join("workers")).unwrap();
        symlink(home.join("gone"), root.join("records/dangling")).unwrap();
        symlink(home.join("thesis"), root.join("records/folder")).unwrap();
        symlink(home.join("thesis/main.tex"), root.join("records/file")).unwrap();
        let local = LocalFolder::new(root);
        let _me = local.enlist("host-1-00000001", b"").unwrap();
        local.tidy().unwrap();
        assert_eq!(fs_err::read(home.join("thesis/main.tex")).unwrap(), b"x");
        let mut entries = local.entries("records").unwrap();
        entries.sort();
        assert_eq!(entries, [("file".to_owned(), false), ("folder".to_owned(), true)]);
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
