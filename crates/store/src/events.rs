//! `events.jsonl`: what happened, one appended line each.

use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::{clock, sealed};

/// Something that happened to a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, UTC, RFC 3339.
    pub time: String,
    /// What kind of thing, such as `started` or `checkpoint`.
    pub kind: String,
    /// Everything else about it.
    pub fields: serde_json::Map<String, serde_json::Value>,
}

/// The events of a run, in the order in which they were written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Events {
    /// All readable events.
    pub events: Vec<Event>,
    /// Lines that are no event, counted from 1: the torn end a killed writer left, or damage.
    pub unreadable_lines: Vec<usize>,
}

pub(crate) const FILE: &str = "events.jsonl";

/// Appends events; a line is on its way to the disk when the call returns, but not forced there.
#[derive(Debug)]
pub(crate) struct EventLog {
    file: Mutex<fs_err::File>,
}

impl EventLog {
    /// Opens the log for appending and cuts off a torn last line; call it with the lock held.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let mut file = fs_err::OpenOptions::new().read(true).append(true).create(true).open(folder.join(FILE))?;
        let n_bytes = file.seek(SeekFrom::End(0))?;
        let n_whole = end_of_last_line(&mut file, n_bytes)?;
        if n_whole < n_bytes {
            file.set_len(n_whole)?;
        }
        Ok(Self { file: Mutex::new(file) })
    }

    pub(crate) fn append(&self, kind: &str, fields: serde_json::Map<String, serde_json::Value>) -> io::Result<()> {
        let event = Event { time: clock::now(), kind: kind.to_owned(), fields };
        let mut line = serde_json::to_vec(&event)?;
        line.push(b'\n');
        // A panic elsewhere cannot leave the file half-written: the guard is held over one write of whole lines.
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
    }
}

/// Where the last newline ends, searched backwards in blocks; 0 where there is none.
fn end_of_last_line(file: &mut fs_err::File, n_bytes: u64) -> io::Result<u64> {
    let mut block = vec![0; 4096];
    let mut end = n_bytes;
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let part = &mut block[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        if let Some(at) = part.iter().rposition(|&byte| byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Reads all events; lines that are no event are counted, not fatal.
pub(crate) fn read(folder: &Path) -> io::Result<Events> {
    let bytes = sealed::read_if_exists(&folder.join(FILE))?.unwrap_or_default();
    let mut read = Events::default();
    for (line_idx, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        match serde_json::from_slice(line) {
            Ok(event) => read.events.push(event),
            Err(_) if line.is_empty() => {}
            Err(_) => read.unreadable_lines.push(line_idx + 1),
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(n: u64) -> serde_json::Map<String, serde_json::Value> {
        serde_json::Map::from_iter([("step".to_owned(), n.into()), ("text".to_owned(), "a\nb".into())])
    }

    #[test]
    fn a_torn_last_line_is_skipped_by_readers_and_cut_by_the_next_writer() {
        // The long torn line makes the search backwards cross a block.
        for torn in [r#"{"time":"2026"#.to_owned(), format!("{{\"time\":\"{}", "x".repeat(10_000))] {
            let folder = tempfile::tempdir().unwrap();
            EventLog::open(folder.path()).unwrap().append("a", fields(1)).unwrap();
            let path = folder.path().join(FILE);
            let whole = fs_err::read_to_string(&path).unwrap();
            fs_err::write(&path, format!("{whole}{torn}")).unwrap();
            let events = read(folder.path()).unwrap();
            assert_eq!((events.events.len(), &events.unreadable_lines[..]), (1, &[2][..]));
            assert_eq!(events.events[0].fields, fields(1));

            EventLog::open(folder.path()).unwrap().append("b", fields(2)).unwrap();
            let events = read(folder.path()).unwrap();
            let kinds: Vec<&str> = events.events.iter().map(|e| &*e.kind).collect();
            assert_eq!((kinds, events.unreadable_lines.len()), (vec!["a", "b"], 0));
        }
    }

    #[test]
    fn no_file_and_an_unended_first_line_are_no_events() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), Events::default());
        fs_err::write(folder.path().join(FILE), "{").unwrap();
        EventLog::open(folder.path()).unwrap();
        assert_eq!(fs_err::read(folder.path().join(FILE)).unwrap(), b"");
    }

    #[test]
    fn threads_append_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let log = EventLog::open(folder.path()).unwrap();
        std::thread::scope(|scope| {
            for n in 0..4 {
                let log = &log;
                scope.spawn(move || (0..50).for_each(|_| log.append("x", fields(n)).unwrap()));
            }
        });
        let events = read(folder.path()).unwrap();
        assert_eq!((events.events.len(), events.unreadable_lines.len()), (200, 0));
    }
}
