//! Text files: unpacked, decoded, and given to the reader of their format.

use std::io::{ErrorKind, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::{SeriesFileError, Source, csv, json};

/// Longer texts are refused before they fill memory; packed files count by what they unpack to.
const MAX_BYTES: u64 = 1 << 30;

/// A whole JSON document takes several times its length in memory; JSON lines do not.
const MAX_DOCUMENT_BYTES: usize = 256 << 20;

const FORMATS: &str = "expected CSV, TSV, JSON, JSON lines, NPZ, NPY or a run's folder";

/// Reads a text file, given its first bytes and the rest.
///
/// # Errors
/// A file that cannot be unpacked, is no UTF-8 text, or that its format's reader refuses.
pub(super) fn read(path: &Path, head: &[u8], rest: impl Read) -> Result<Source, SeriesFileError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let wrong = |message: String| SeriesFileError::content(path, message);
    let is_packed = head.starts_with(&[0x1f, 0x8b]);
    // Before all is read: a device has no end.
    if head.first() == Some(&0) {
        return Err(wrong(format!("byte 0 is zero, with which no text begins; {FORMATS}")));
    }
    let whole = head.chain(rest);
    let read = if is_packed { read_all(MultiGzDecoder::new(whole)) } else { read_all(whole) };
    let bytes = read.map_err(|error| match error.kind() {
        ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof if is_packed => {
            wrong(format!("cannot be unpacked: {error}"))
        }
        _ => SeriesFileError::read(path, &error),
    })?;
    if bytes.len() as u64 > MAX_BYTES {
        let packed = if is_packed { " unpacked" } else { "" };
        return Err(wrong(format!(
            "is longer than {} MiB{packed}; keep every n-th row, or save it as .npz",
            MAX_BYTES >> 20
        )));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(wrong("is UTF-16 text; save it as UTF-8".to_owned()));
    }
    if is_packed && (bytes.starts_with(b"PK") || bytes.starts_with(b"\x93NUMPY")) {
        return Err(wrong("is a packed .npz or .npy file; unpack it first".to_owned()));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        wrong(format!("byte {at} is no UTF-8 text; {FORMATS}"))
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    if text.trim().is_empty() {
        return Err(wrong("is empty; expected a table, arrays or records".to_owned()));
    }
    let stem = name.strip_suffix(".gz").unwrap_or(&name);
    let has = |extensions: &[&str]| extensions.iter().any(|e| stem.ends_with(e));
    if has(&[".jsonl", ".ndjson"]) {
        json::read_lines(path, text)
    } else if has(&[".json"]) || (!has(&[".csv", ".tsv"]) && text.trim_start().starts_with(['{', '['])) {
        if text.len() > MAX_DOCUMENT_BYTES {
            let most = MAX_DOCUMENT_BYTES >> 20;
            return Err(wrong(format!("is one JSON document of more than {most} MiB; save it as .jsonl or .npz")));
        }
        json::read(path, text)
    } else {
        csv::read(path, text, has(&[".tsv"]))
    }
}

fn read_all(stream: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
