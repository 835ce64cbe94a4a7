//! Atomic file writes: temporary file in the same folder, fsync, rename, fsync of the folder.

use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Start of the name of every temporary file and folder; nothing with it is ever read.
pub(crate) const TEMPORARY_PREFIX: &str = ".ontogeny-tmp-";

/// Replaces `path` by what `write` writes, as a whole or not at all.
///
/// The block size of the buffer bounds what one system call writes; the number is not important.
pub(crate) fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    // The parent of a bare file name is the empty path, which cannot be opened.
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let context =
        |error: io::Error| io::Error::new(error.kind(), format!("failed to write file `{}`: {error}", path.display()));
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY_PREFIX);
    // Temporary files are private by default; a run is as readable as the umask allows.
    #[cfg(unix)]
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    #[cfg(unix)]
    builder.permissions(permissions);
    let temporary = builder.tempfile_in(folder).map_err(context)?;
    let mut buffer = BufWriter::with_capacity(1 << 18, temporary.as_file());
    write(&mut buffer).and_then(|()| buffer.flush()).map_err(context)?;
    drop(buffer);
    temporary.as_file().sync_all().map_err(context)?;
    temporary.persist(path).map_err(|e| context(e.error))?;
    sync_folder(folder)
}

/// Replaces the file at `path` by `bytes`, as a whole or not at all, and flushes it to the disk.
///
/// # Errors
/// Where it cannot be written; the message names it.
pub fn replace_bytes(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, |out| out.write_all(bytes))
}

/// Makes renames in `folder` survive a power cut.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    // Windows cannot open a folder as a file, and orders its renames itself.
    if cfg!(unix) { fs_err::File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Removes temporary files and folders that a killed writer left in `folder`, and in its subfolders where asked.
///
/// Call it with the lock held: only then has no living writer a temporary file. A missing folder is a clean one.
pub(crate) fn clean(folder: &Path, subfolders: bool) -> io::Result<()> {
    let entries = match fs_err::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let is_folder = entry.file_type()?.is_dir();
        let is_temporary = entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX);
        match (is_temporary, is_folder) {
            (true, true) => fs_err::remove_dir_all(entry.path())?,
            (true, false) => fs_err::remove_file(entry.path())?,
            (false, true) if subfolders => clean(&entry.path(), false)?,
            (false, _) => {}
        }
    }
    Ok(())
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
        let path = folder.path().join("a");
        replace_bytes(&path, b"old").unwrap();
        let error = replace(&path, |out| {
            out.write_all(b"half of the ne")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        })
        .unwrap_err();
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs_err::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn cleaning_removes_temporary_files_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("records/loss");
        fs_err::create_dir_all(&deep).unwrap();
        fs_err::create_dir_all(folder.path().join(format!("{TEMPORARY_PREFIX}zarr/inner"))).unwrap();
        fs_err::write(deep.join(format!("{TEMPORARY_PREFIX}1")), "x").unwrap();
        fs_err::write(deep.join("step-00000001.json"), "x").unwrap();
        clean(folder.path(), false).unwrap();
        assert_eq!(names(folder.path()), ["records"]);
        assert_eq!(names(&deep).len(), 2, "subfolders only where asked");
        clean(&folder.path().join("records"), true).unwrap();
        assert_eq!(names(&deep), ["step-00000001.json"]);
        clean(&folder.path().join("missing"), true).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn files_are_as_readable_as_any_other_new_file() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("plain");
        let ours = folder.path().join("ours");
        fs_err::write(&plain, "").unwrap();
        replace_bytes(&ours, b"").unwrap();
        let mode = |path| fs_err::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }
}
