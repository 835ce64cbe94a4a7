//! Disks that are full or read-only: a clear error, a run that can still be read, and one that goes on afterwards.
#![cfg(target_os = "linux")]
#![expect(clippy::print_stdout, reason = "a skipped test says why")]

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Workplace, assert_same, files};

/// A file system of its own in memory, gone with this value.
struct Disk(PathBuf);

impl Disk {
    /// `None`, with the reason printed, where this process may not mount anything.
    fn new(path: &Path, size: &str) -> Option<Self> {
        fs_err::create_dir_all(path).expect("a folder is made");
        let disk = Self(path.to_owned());
        if let Err(reason) = disk.mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]) {
            println!("skipped: a file system of limited size cannot be mounted: {reason}; run as root");
            std::mem::forget(disk);
            return None;
        }
        Some(disk)
    }

    fn mount(&self, args: &[&str]) -> Result<(), String> {
        let output = Command::new("mount").args(args).arg(&self.0).output().map_err(|error| error.to_string())?;
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
    }

    fn remount(&self, options: &str) {
        self.mount(&["-o", &format!("remount,{options}")]).expect("what was mounted can be mounted again");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_named_and_the_run_goes_on_when_there_is_space() {
    let here = Workplace::new();
    here.call(&["run", "tiny.toml", "--out", "alone"]).expect(0, &[]);
    let expected = here.findings("alone");
    let n_bytes: usize = files(&here.path("alone")).values().map(Vec::len).sum();
    let mut n_full = 0;
    // From a disk on which nothing fits to one on which nearly everything does.
    for tenths in [0, 1, 2, 3, 5, 7, 9, 12] {
        let name = format!("disk {tenths}");
        let size = (n_bytes * tenths / 10).max(4096);
        let Some(disk) = Disk::new(&here.path(&name), &size.to_string()) else { return };
        let run = format!("{name}/r");
        let outcome = here.call(&["run", "tiny.toml", "--out", &run]);
        if outcome.code == Some(0) {
            continue;
        }
        outcome.expect(2, &["failed to write file", &name, "No space left", "free some space and run again"]);
        n_full += 1;
        let is_run = here.path(&run).join("run.toml").exists();
        here.call(&["show", &run]).expect(if is_run { 0 } else { 2 }, &[]);
        disk.remount("size=64m");
        here.call(&["run", "tiny.toml", "--out", &run]).expect(0, &[]);
        assert_same(&here.findings(&run), &expected, &format!("{size} bytes"));
    }
    assert!(n_full >= 4, "only {n_full} of the disks were too small");
}

#[test]
fn a_read_only_disk_is_named_and_can_be_read() {
    let here = Workplace::new();
    let Some(disk) = Disk::new(&here.path("disk"), "64m") else { return };
    disk.remount("ro");
    here.call(&["run", "tiny.toml", "--out", "disk/r"]).expect(2, &["disk/r", "Read-only", "make the folder writable"]);
    disk.remount("rw");
    here.call(&["run", "tiny.toml", "--out", "disk/r", "--set", "train.steps=20"]).expect(0, &[]);
    let before = files(&here.path("disk/r"));
    disk.remount("ro");
    for args in [&["show", "disk/r"][..], &["report", "disk/r", "--out", "page.html"]] {
        here.call(args).expect(0, &[]);
    }
    let again = ["run", "tiny.toml", "--out", "disk/r", "--set", "train.steps=20"];
    here.call(&again).expect(2, &["disk/r", "Read-only"]);
    here.call(&[&again[..], &["--dry-run"]].concat()).expect(0, &[]);
    assert_same(&files(&here.path("disk/r")), &before, "read-only");
}
