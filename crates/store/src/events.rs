//! `events.jsonl`: what happened, one appended line each, by all workers.

use std::io;

use serde::{Deserialize, Serialize};

use crate::{Place, clock};

/// Something that happened to a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, UTC, RFC 3339, by the clock of the worker that wrote it. Nothing is decided by it.
    pub time: String,
    /// What kind of thing, such as `opened` or `taken_over`.
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

/// Appends an event; the line is on its way to the disk when the call returns, but not forced there.
pub(crate) fn append(place: &Place, kind: &str, fields: serde_json::Map<String, serde_json::Value>) -> io::Result<()> {
    let event = Event { time: clock::now(), kind: kind.to_owned(), fields };
    let mut line = serde_json::to_vec(&event)?;
    line.push(b'\n');
    place.backend().append(&line)
}

/// Reads all events; lines that are no event are counted, not fatal.
pub(crate) fn read(place: &Place) -> io::Result<Events> {
    let mut read = Events::default();
    for (line_idx, line) in place.backend().log()?.split(|&byte| byte == b'\n').enumerate() {
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
    fn a_torn_line_is_skipped_and_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        append(&folder.path().into(), "a", fields(1)).unwrap();
        let path = folder.path().join("events.jsonl");
        let whole = fs_err::read_to_string(&path).unwrap();
        fs_err::write(&path, format!("{whole}{{\"time\":\"2026")).unwrap();
        // As another process would: the place is opened anew.
        append(&folder.path().into(), "b", fields(2)).unwrap();
        let events = read(&folder.path().into()).unwrap();
        let kinds: Vec<&str> = events.events.iter().map(|e| &*e.kind).collect();
        assert_eq!((kinds, &events.unreadable_lines[..]), (vec!["a", "b"], &[2][..]));
        assert_eq!(events.events[0].fields, fields(1));
    }

    #[test]
    fn a_clock_that_goes_backwards_changes_no_order() {
        let folder = tempfile::tempdir().unwrap();
        let line = |time: &str, kind: &str| format!("{{\"time\":\"{time}\",\"kind\":\"{kind}\",\"fields\":{{}}}}\n");
        let text = line("2031-01-01T00:00:00.000Z", "first") + &line("1999-01-01T00:00:00.000Z", "second");
        fs_err::write(folder.path().join("events.jsonl"), text).unwrap();
        append(&folder.path().into(), "third", fields(0)).unwrap();
        let kinds: Vec<String> = read(&folder.path().into()).unwrap().events.into_iter().map(|e| e.kind).collect();
        assert_eq!(kinds, ["first", "second", "third"]);
    }
}
