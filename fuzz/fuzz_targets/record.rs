//! A run folder with one file fuzzed: everything that can be asked of it is asked, up to the report, and a worker joins.
//!
//! The first byte chooses the file. Hashes are made to fit, so that what is behind them is reached.
#![no_main]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use ontogeny_store::{FORMAT_VERSION, RunFolder, RunWriter};

const MANIFEST: &[u8] = include_bytes!("../seeds/record/manifest");
const MEASURES: &[u8] = include_bytes!("../seeds/record/measures");
const RECORD: &[u8] = include_bytes!("../seeds/record/record");
const TRACE: &[u8] = include_bytes!("../seeds/record/trace");
/// As format 1 named it.
const OLD_RECORD_FILE: &str = "records/loss/step-00000005.json";
const RECORD_FILE: &str = "records/loss/step-00000005.0cbb0595f8d7e64f.json";
const CHECKPOINT_FILE: &str = "checkpoints/step-00000005.safetensors";
const INDEX_FILE: &str = "sealed/00000001.json";

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, content)) = bytes.split_first() else { return };
    let run = run();
    let (file, fuzzed) = match choice {
        b'0' => ("run.toml", manifest(content)),
        b'1' => ("measures.json", sealed(content)),
        b'2' => (RECORD_FILE, sealed(content)),
        b'3' => ("analysis.json", sealed(content)),
        b'4' => ("checkpoints/imported.json", sealed(content)),
        b'5' => (CHECKPOINT_FILE, content.to_vec()),
        b'6' => (CHECKPOINT_FILE, tensors(content)),
        b'7' => ("events.jsonl", content.to_vec()),
        b'8' => ("checkpoints/state-step-00000005.safetensors", tensors(content)),
        b'9' => (RECORD_FILE, content.to_vec()),
        b'a' => (INDEX_FILE, sealed(content)),
        b'b' => (&*run.array, content.to_vec()),
        b'c' => (&*run.shard, content.to_vec()),
        b'd' => ("leases/loss.step-00000005.00001", sealed(content)),
        b'e' => ("workers/somebody-1-00000000", sealed(content)),
        b'f' => (OLD_RECORD_FILE, sealed(content)),
        b'g' => ("leases/loss.step-00000005.00001", content.to_vec()),
        _ => return,
    };
    run.restore();
    let path = run.folder.join(file);
    fs::create_dir_all(path.parent().expect("inside the run")).expect("a folder is made");
    fs::write(&path, fuzzed).expect("the fuzzed file is written");
    ask(&run.folder);
    // Sealing takes a hundred times as long as all the rest, so few inputs are sealed.
    let is_sealed = content.len() % 16 == 0 && matches!(choice, b'1' | b'2' | b'9' | b'a'..=b'c' | b'f');
    join(&run.folder, is_sealed, matches!(choice, b'a'..=b'c'));
});

/// Asks everything of a run. An error must name the folder; none may be a panic.
fn ask(folder: &Path) {
    let named = |error: &dyn std::error::Error| assert_named(folder, error);
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

/// Joins as a worker, claims and, if asked to, seals. What could be seen before must be seen after: all of it, or where
/// sealed records were harmed all but those with a damaged trace, which nobody sees before they are sealed again.
fn join(folder: &Path, seals: bool, may_lose: bool) {
    let named = |error: &dyn std::error::Error| assert_named(folder, error);
    let writer = match RunWriter::open(folder) {
        Ok(writer) => writer,
        Err(error) => return named(&error),
    };
    assert!(writer.others().expect("cards are read or skipped").is_empty(), "nobody else is there");
    drop(writer.claim("loss.step-00000005").expect("a lease is read or succeeded").expect("nobody alive holds it"));
    writer.remove_old_leases().expect("leases are read or removed");
    if !seals {
        return;
    }
    let before = writer.folder().view();
    if let Err(error) = writer.seal() {
        return named(&error);
    }
    if let Ok(before) = before {
        let after = RunFolder::open(folder).expect("still a run").view().expect("a view, as before");
        for (measure, before) in &before.results.observables {
            let after = &after.results.observables[measure];
            if !may_lose || before.status == after.status {
                assert_eq!(before, after, "sealing changes no result of `{measure}`");
            }
        }
    }
    writer.seal().expect("what was sealed can be sealed again");
}

fn assert_named(folder: &Path, error: &dyn std::error::Error) {
    let message = error.to_string();
    assert!(message.contains(&*folder.to_string_lossy()), "no file name: {message}");
}

/// A whole run with one generation of sealed records.
struct Run {
    folder: PathBuf,
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// The metadata of a sealed array.
    array: String,
    /// Its values.
    shard: String,
}

impl Run {
    /// Makes the folder as it was, whatever workers did.
    fn restore(&self) {
        for file in list(&self.folder) {
            let is_right =
                self.files.get(&file).is_some_and(|bytes| fs::read(&file).is_ok_and(|found| found == *bytes));
            if !is_right {
                fs::remove_file(&file).expect("a file of the run is removed");
            }
        }
        for (file, bytes) in &self.files {
            if !file.exists() {
                fs::create_dir_all(file.parent().expect("inside the run")).expect("a folder is made");
                fs::write(file, bytes).expect("a file is written");
            }
        }
    }
}

/// In memory where there is such a place.
fn run() -> &'static Run {
    static RUN: OnceLock<Run> = OnceLock::new();
    RUN.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = folder.join(format!("ontogeny-fuzz-run-{}", std::process::id()));
        for (file, bytes) in [
            ("run.toml", manifest(&MANIFEST[1..])),
            ("measures.json", sealed(&MEASURES[1..])),
            (RECORD_FILE, sealed(&RECORD[1..])),
            ("records/llc/step-00000005.0cbb0595f8d7e64f.json", sealed(&TRACE[1..])),
        ] {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().expect("inside the run")).expect("a folder is made");
            fs::write(path, bytes).expect("a file is written");
        }
        RunWriter::open(&*folder).expect("a run").seal().expect("whole records");
        let files = list(&folder).into_iter().map(|file| (file.clone(), fs::read(&file).expect("a file"))).collect();
        let tree = fs::read_dir(folder.join("trees")).expect("a folder").next().expect("a tree").expect("a tree");
        let array = format!("trees/{}/loss/value", tree.file_name().to_string_lossy());
        Run { folder, files, shard: format!("{array}/c/0/0"), array: format!("{array}/zarr.json") }
    })
}

/// All files under a folder; the name of the newest tree is a link and left out.
fn list(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    let of_entry = |entry: fs::DirEntry| match entry.file_type().expect("a type") {
        found if found.is_dir() => list(&entry.path()),
        found if found.is_file() => vec![entry.path()],
        _ => Vec::new(),
    };
    entries.flat_map(of_entry).collect()
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
