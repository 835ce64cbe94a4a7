//! A run folder with one file fuzzed: everything that can be asked of it is asked, up to the report.
//!
//! The first byte chooses the file. Hashes are made to fit, so that what is behind them is reached.
#![no_main]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use ontogeny_store::{FORMAT_VERSION, RunFolder};

const MANIFEST: &[u8] = include_bytes!("../seeds/record/manifest");
const MEASURES: &[u8] = include_bytes!("../seeds/record/measures");
const RECORD: &[u8] = include_bytes!("../seeds/record/record");
const RECORD_FILE: &str = "records/loss/step-00000005.json";
const CHECKPOINT_FILE: &str = "checkpoints/step-00000005.safetensors";

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, content)) = bytes.split_first() else { return };
    let (file, fuzzed) = match choice {
        b'0' => ("run.toml", manifest(content)),
        b'1' => ("measures.json", sealed(content)),
        b'2' => (RECORD_FILE, sealed(content)),
        b'3' => ("analysis.json", sealed(content)),
        b'4' => ("checkpoints/imported.json", sealed(content)),
        b'5' => (CHECKPOINT_FILE, content.to_vec()),
        b'6' => (CHECKPOINT_FILE, tensors(content)),
        b'7' => ("events.jsonl", content.to_vec()),
        b'8' => ("checkpoints/state-newest.safetensors", tensors(content)),
        b'9' => (RECORD_FILE, content.to_vec()),
        _ => return,
    };
    let folder = folder();
    let path = folder.join(file);
    fs::write(&path, fuzzed).expect("the fuzzed file is written");
    ask(folder);
    match *choice {
        b'0' => fs::write(&path, manifest(&MANIFEST[1..])),
        b'1' => fs::write(&path, sealed(&MEASURES[1..])),
        b'2' | b'9' => fs::write(&path, sealed(&RECORD[1..])),
        _ => fs::remove_file(&path),
    }
    .expect("the folder is as before");
});

/// Asks everything of a run. An error must name the folder; none may be a panic.
fn ask(folder: &Path) {
    let named = |error: &dyn std::error::Error| {
        let message = error.to_string();
        assert!(message.contains(&*folder.to_string_lossy()), "no file name: {message}");
    };
    let run = match RunFolder::open(folder) {
        Ok(run) => run,
        Err(error) => return named(&error),
    };
    match run.view() {
        Ok(view) => {
            serde_json::to_string(&view.results).expect("a view has a JSON form");
            assert!(ontogeny_web::report(&view.results).contains("</html>"));
        }
        Err(error) => named(&error),
    }
    run.work_list().map_or_else(|error| named(&error), drop);
    run.read_checkpoint(5).map_or_else(|error| named(&error), drop);
    run.checkpoint_header(5).map_or_else(|error| named(&error), drop);
    run.read_state().map_or_else(|error| named(&error), drop);
    run.imported().map_or_else(|error| named(&error), drop);
    run.checkpoint_steps().expect("a list of names");
    run.events().expect("torn lines are skipped");
}

/// The folder of a whole run with one record, in memory where there is such a place.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = folder.join(format!("ontogeny-fuzz-run-{}", std::process::id()));
        for inner in ["records/loss", "checkpoints"] {
            fs::create_dir_all(folder.join(inner)).expect("a folder is made");
        }
        for (file, bytes) in [
            ("run.toml", manifest(&MANIFEST[1..])),
            ("measures.json", sealed(&MEASURES[1..])),
            (RECORD_FILE, sealed(&RECORD[1..])),
        ] {
            fs::write(folder.join(file), bytes).expect("a file is written");
        }
        folder
    })
}

/// The manifest with that body.
fn manifest(body: &[u8]) -> Vec<u8> {
    let body = [format!("format_version = {FORMAT_VERSION}\n").as_bytes(), body].concat();
    let hash = blake3::hash(&body);
    let head = format!(
        "# Written by ontogeny; do not edit. The hash covers every byte below its line.\nblake3 = \"{hash}\"\n"
    );
    [head.as_bytes(), &body].concat()
}

/// Sealed JSON with that content.
fn sealed(content: &[u8]) -> Vec<u8> {
    let hash = blake3::hash(content);
    let head = format!("{{\"format_version\":{FORMAT_VERSION},\"blake3\":\"{hash}\",\"content\":");
    [head.as_bytes(), content, b"}\n"].concat()
}

/// A file of tensors: its identity on the first line, its entries on the second, then its data.
fn tensors(content: &[u8]) -> Vec<u8> {
    let mut parts = content.splitn(3, |&byte| byte == b'\n');
    let mut part = || parts.next().unwrap_or_default();
    let identity = sealed(part());
    let identity = serde_json::to_string(&String::from_utf8_lossy(identity.trim_ascii())).expect("a string");
    let (entries, data) = (part(), part());
    let comma = if entries.is_empty() { "" } else { "," };
    let header = [format!("{{\"__metadata__\":{{\"ontogeny\":{identity}}}{comma}").as_bytes(), entries, b"}"].concat();
    [&(header.len() as u64).to_le_bytes(), &header[..], data].concat()
}
