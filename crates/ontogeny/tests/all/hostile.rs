//! Damaged, lying and malicious input to the real binary: the exit code and the message it must end with, in 2 GiB of
//! address space and ten seconds of computing, and never a panic.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Outcome, Workplace, small};
use serde::Deserialize;

/// What one call must end in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// The file, within `tests/hostile`.
    file: String,
    /// The arguments, with FILE for the file; unless given `inspect` for weights, a dry run for run files, `stages` for
    /// series.
    arguments: Option<String>,
    /// The exit code; 2 unless given.
    exit: Option<i32>,
    /// Whether the file itself is at fault, and must be named when the exit code is 2.
    #[serde(default = "yes")]
    names: bool,
    /// What else must be said.
    says: Vec<String>,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    case: Vec<Case>,
}

fn hostile() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/hostile")
}

#[test]
fn every_hostile_file_ends_as_the_table_says() {
    let table = fs_err::read_to_string(hostile().join("expected.toml")).expect("the table");
    let table: Table = toml::from_str(&table).expect("a table of cases");
    let here = Workplace::new();
    let mut failures = Vec::new();
    for case in &table.case {
        let file = hostile().join(&case.file).canonicalize().unwrap_or_else(|error| panic!("{}: {error}", case.file));
        let usual = match case.file.split('/').next() {
            Some("runs") => "run --dry-run FILE --out r",
            Some("series") => "stages FILE --threads 1",
            _ => "inspect FILE",
        };
        let arguments = case.arguments.as_deref().unwrap_or(usual);
        let file = file.to_str().expect("a path in UTF-8");
        let arguments: Vec<&str> = arguments.split(' ').map(|word| if word == "FILE" { file } else { word }).collect();
        let mut says: Vec<&str> = case.says.iter().map(String::as_str).collect();
        let exit = case.exit.unwrap_or(2);
        if exit == 2 && case.names {
            says.push(Path::new(file).file_name().and_then(|name| name.to_str()).expect("a name"));
        }
        failures.extend(fault(&here, &arguments, exit, &says));
    }
    assert!(failures.is_empty(), "{} of {} failed:\n{}", failures.len(), table.case.len(), failures.join("\n"));

    let with_case: BTreeSet<&str> = table.case.iter().map(|case| case.file.as_str()).collect();
    let files = crate::common::files(&hostile());
    let described = ["README.md", "expected.toml", "make_hostile.py"];
    let without: Vec<_> =
        files.keys().filter(|name| !with_case.contains(name.as_str()) && !described.contains(&name.as_str())).collect();
    assert!(without.is_empty(), "files without a case: {without:?}");
    assert!(!here.path("r").exists(), "a folder was written");
}

#[test]
fn what_is_no_ordinary_file_is_refused_without_waiting_or_filling_memory() {
    let here = Workplace::new();
    let run = crate::common::TINY.replace("train_fraction = 0.6", "train_indices = \"pipe\"");
    here.write("indices.toml", run.replace("steps = 40", "steps = 40 # from a pipe"));
    here.write("zeros.toml", run.replace("\"pipe\"", "\"/dev/zero\""));
    let made = Command::new("mkfifo").arg(here.path("pipe")).status().expect("mkfifo starts");
    assert!(made.success());
    symlink(here.path("loop"), here.path("loop")).expect("a link is made");
    fs_err::create_dir_all(here.path("folder.toml")).expect("a folder is made");
    let cases: &[(&[&str], &[&str])] = &[
        (&["inspect", "pipe"], &["pipe is not a regular file"]),
        (&["inspect", "/dev/zero"], &["/dev/zero is not a regular file"]),
        (&["inspect", "folder.toml"], &["folder.toml is not a regular file"]),
        (&["inspect", "loop"], &["loop", "symbolic link"]),
        (&["run", "/dev/zero"], &["/dev/zero", "more than 16777216 bytes"]),
        (&["run", "folder.toml"], &["folder.toml", "directory"]),
        (&["run", "loop"], &["loop", "symbolic link"]),
        (&["run", "indices.toml", "--dry-run"], &["indices.toml", "pipe is not a regular file"]),
        (&["run", "zeros.toml", "--dry-run"], &["zeros.toml", "/dev/zero is not a regular file"]),
        (&["run", "tiny.toml", "--out", "loop"], &["loop"]),
        (&["show", "pipe"], &["pipe", "not a run"]),
        (&["show", "loop"], &["loop"]),
        (&["show", "/dev/zero"], &["/dev/zero", "not a run"]),
    ];
    let failures: Vec<_> = cases.iter().filter_map(|(arguments, says)| fault(&here, arguments, 2, says)).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn honest_lengths_beyond_the_memory_are_told() {
    let here = Workplace::new();
    let header = r#"{"w":{"dtype":"F32","shape":[805306368],"data_offsets":[0,3221225472]}}"#;
    let length = header.len() as u64;
    sparse(&here, "three_gib.safetensors", &[&length.to_le_bytes(), header.as_bytes()], 3 << 30);
    // Read whole, it fits; decoded beside its bytes, it does not.
    let header = r#"{"w":{"dtype":"U8","shape":[536870912],"data_offsets":[0,536870912]}}"#;
    let length = header.len() as u64;
    sparse(&here, "grows.safetensors", &[&length.to_le_bytes(), header.as_bytes()], 1 << 29);
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (805306368,), }\n";
    let length = header.len() as u16;
    sparse(&here, "three_gib.npy", &[b"\x93NUMPY\x01\x00", &length.to_le_bytes(), header.as_bytes()], 3 << 30);
    let header = "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 100000000), }\n";
    let length = header.len() as u16;
    sparse(&here, "turned.npy", &[b"\x93NUMPY\x01\x00", &length.to_le_bytes(), header.as_bytes()], 800_000_000);
    sparse(&here, "one_tib.toml", &[b"title = \"x\"\n"], 1 << 40);
    sparse(&here, "run/run.toml", &[b"format_version = 1\n"], 1 << 40);
    let cases: &[(&[&str], &[&str])] = &[
        (&["inspect", "three_gib.safetensors"], &["three_gib.safetensors", "`w`", "needs 3221225472 bytes of memory"]),
        (&["inspect", "grows.safetensors"], &["grows.safetensors", "`w`", "needs 4294967296 bytes of memory"]),
        (&["inspect", "three_gib.npy"], &["three_gib.npy", "needs 3221225472 bytes of memory"]),
        (&["inspect", "turned.npy"], &["turned.npy", "needs 800000000 bytes of memory"]),
        (&["run", "one_tib.toml"], &["one_tib.toml", "more than 16777216 bytes"]),
        (&["show", "run"], &["run.toml", "1099511627795 bytes, more than memory can hold"]),
    ];
    let failures: Vec<_> = cases.iter().filter_map(|(arguments, says)| fault(&here, arguments, 2, says)).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn more_series_than_anybody_wants_take_no_minutes() {
    let here = Workplace::new();
    let keys: Vec<String> = (0..100_000).map(|i| format!("\"k{i}\":[1]")).collect();
    here.write("keys.json", format!("{{{}}}", keys.join(",")));
    let names: Vec<String> = (0..1_000_000).map(|i| format!("c{i}")).collect();
    here.write("columns.csv", format!("{}\n{}\n", names.join(","), vec!["1"; 1_000_000].join(",")));
    let cases: &[(&[&str], &[&str])] = &[
        (&["stages", "keys.json"], &["keys.json", "100000 series, more than 10000"]),
        (&["stages", "columns.csv"], &["columns.csv", "1000000 series, more than 10000"]),
        (&["stages", "/dev/zero"], &["/dev/zero", "byte 0 is zero"]),
    ];
    let failures: Vec<_> = cases.iter().filter_map(|(arguments, says)| fault(&here, arguments, 2, says)).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_pipe_is_read_like_the_file_that_it_gives() {
    let here = Workplace::new();
    let rows: Vec<String> = (0..5000).map(|i| format!("{i},{}\n", (i % 7) + i / 2500 * 40)).collect();
    let table = format!("step,loss\n{}", rows.concat());
    here.write("file/table.csv", &table);
    fs_err::create_dir_all(here.path("pipe")).expect("a folder is made");
    let pipe = here.path("pipe/table.csv");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo starts").success());
    let (from_file, from_pipe) = std::thread::scope(|scope| {
        scope.spawn(|| fs_err::write(&pipe, &table).expect("somebody reads"));
        let read = |file| confined(&here, &["stages", file, "--threads", "1"]);
        (read("file/table.csv"), read("pipe/table.csv"))
    });
    assert_eq!(from_file.code, Some(0), "{}", from_file.stderr);
    assert_eq!(from_pipe.stdout.replace("pipe/", "file/"), from_file.stdout, "{}", from_pipe.stderr);
}

/// Writes a file that begins with `head` and goes on with `n` zeros that take no room.
fn sparse(here: &Workplace, name: &str, head: &[&[u8]], n: u64) {
    let head = head.concat();
    let path = here.write(name, &head);
    let file = fs_err::OpenOptions::new().write(true).open(path).expect("the file opens");
    file.set_len(head.len() as u64 + n).expect("the file system has sparse files");
}

/// Harm to one file of a run folder, what readers say of it and what running again says; nothing where they do without
/// what is lost, or make it again.
struct Harm {
    what: &'static str,
    /// The file, with `*` for a whole name that is not known; it need not exist.
    file: &'static str,
    to: To,
    shown: &'static [&'static str],
    again: &'static [&'static str],
}

enum To {
    Newer,
    Flipped,
    Folder,
    Loop,
    Nowhere,
    Pipe,
    Bytes(&'static [u8]),
}

/// Of the last generation of a finished run.
const INDEX: &str = "sealed/00000001.json";
const SHARD: &str = "trees/*/loss/value/c/0/0";
const ARRAY: &str = "trees/*/loss/value/zarr.json";
/// A loose record as format 1 names it; a finished run has none.
const OLD_RECORD: &str = "records/loss/step-00000005.json";
/// As format 2 names it, of a key that this run does not have.
const RECORD: &str = "records/loss/step-00000005.0123456789abcdef.json";
const LEASE: &str = "leases/conclude.00001";
const CARD: &str = "workers/somebody-1-00000000";

const fn harmless(what: &'static str, file: &'static str, to: To) -> Harm {
    Harm { what, file, to, shown: &[], again: &[] }
}

const fn fatal(what: &'static str, file: &'static str, to: To, says: &'static [&'static str]) -> Harm {
    Harm { what, file, to, shown: says, again: says }
}

const HARMS: &[Harm] = &[
    fatal("newer manifest", "run.toml", To::Newer, &["run.toml", "format version 99", "newer"]),
    fatal("flipped manifest", "run.toml", To::Flipped, &["run.toml", "damaged"]),
    fatal("manifest is a folder", "run.toml", To::Folder, &["run.toml` is not a regular file"]),
    fatal("manifest is a loop", "run.toml", To::Loop, &["run.toml", "symbolic link"]),
    fatal("manifest is a pipe", "run.toml", To::Pipe, &["run.toml` is not a regular file"]),
    fatal("empty manifest", "run.toml", To::Bytes(b""), &["run.toml", "damaged"]),
    fatal("junk manifest", "run.toml", To::Bytes(b"\xff\0\x1b[2J"), &["run.toml", "damaged"]),
    Harm {
        what: "flipped plan",
        file: "measures.json",
        to: To::Flipped,
        shown: &["measures.json", "damaged"],
        again: &[],
    },
    Harm {
        what: "flipped analysis",
        file: "analysis.json",
        to: To::Flipped,
        shown: &["analysis.json", "damaged"],
        again: &[],
    },
    harmless("flipped index", INDEX, To::Flipped),
    harmless("empty index", INDEX, To::Bytes(b"")),
    harmless("deep index", INDEX, To::Bytes(&[b'['; 100_000])),
    fatal("newer index", INDEX, To::Newer, &["sealed/00000001.json", "format version 99", "newer"]),
    Harm {
        what: "index is a folder",
        file: INDEX,
        to: To::Folder,
        shown: &["sealed/00000001.json` is not a regular file"],
        again: &["sealed/00000001.json` is not a regular file"],
    },
    fatal("index is a loop", INDEX, To::Loop, &["sealed/00000001.json", "symbolic link"]),
    Harm {
        what: "index is a link to nothing",
        file: INDEX,
        to: To::Nowhere,
        shown: &[],
        again: &["sealed/00000001.json` is a link to nothing"],
    },
    fatal("index is a pipe", INDEX, To::Pipe, &["sealed/00000001.json` is not a regular file"]),
    Harm {
        what: "index of the last number",
        file: "sealed/4294967295.json",
        to: To::Bytes(b"{}"),
        shown: &[],
        again: &["sealed/4294967295.json", "the last number there can be"],
    },
    harmless("flipped shard", SHARD, To::Flipped),
    harmless("empty shard", SHARD, To::Bytes(b"")),
    harmless("shard is a folder", SHARD, To::Folder),
    harmless("shard is a pipe", SHARD, To::Pipe),
    harmless("shard is a link to nothing", SHARD, To::Nowhere),
    harmless("flipped array", ARRAY, To::Flipped),
    harmless("deep array", ARRAY, To::Bytes(&[b'['; 100_000])),
    harmless(
        "old record, flipped",
        OLD_RECORD,
        To::Bytes(b"{\"format_version\":1,\"blake3\":\"00\",\"content\":{}}\n"),
    ),
    harmless("old record, empty", OLD_RECORD, To::Bytes(b"")),
    harmless("old record, deep", OLD_RECORD, To::Bytes(&[b'['; 100_000])),
    harmless("record, empty", RECORD, To::Bytes(b"")),
    harmless("record, junk", RECORD, To::Bytes(b"\xff\0\x1b[2J")),
    harmless("record is a folder", RECORD, To::Folder),
    fatal("record is a loop", RECORD, To::Loop, &["step-00000005.0123456789abcdef.json", "symbolic link"]),
    harmless("record is a link to nothing", RECORD, To::Nowhere),
    fatal("record is a pipe", RECORD, To::Pipe, &["0123456789abcdef.json` is not a regular file"]),
    harmless("empty lease", LEASE, To::Bytes(b"")),
    harmless("deep lease", LEASE, To::Bytes(&[b'['; 100_000])),
    harmless("lease of the last number", "leases/train.4294967295", To::Bytes(b"")),
    Harm {
        what: "lease is a folder",
        file: LEASE,
        to: To::Folder,
        shown: &[],
        again: &["leases/conclude.00001` is not a regular file"],
    },
    Harm {
        what: "lease is a pipe",
        file: LEASE,
        to: To::Pipe,
        shown: &[],
        again: &["leases/conclude.00001` is not a regular file"],
    },
    harmless("empty card", CARD, To::Bytes(b"")),
    harmless("card is a folder", CARD, To::Folder),
    Harm {
        what: "card is a loop",
        file: CARD,
        to: To::Loop,
        shown: &[],
        again: &["workers/somebody-1-00000000", "symbolic link"],
    },
    harmless("card is a pipe", CARD, To::Pipe),
];

#[test]
fn harmed_run_folders_are_named_or_shown_without_what_is_lost() {
    let here = Workplace::new();
    here.call(&small("whole")).expect(0, &[]);
    let mut failures = Vec::new();
    for Harm { what, file, to, shown, again } in HARMS {
        let copied = Command::new("cp").args(["-a", "whole", "r"]).current_dir(here.path("")).status();
        assert!(copied.expect("cp starts").success());
        let path = find(&here.path("r"), file);
        let before = fs_err::read(&path).unwrap_or_default();
        fs_err::create_dir_all(path.parent().expect("inside the run")).expect("a folder is made");
        if path.exists() {
            fs_err::remove_file(&path).expect("it is removed");
        }
        match to {
            To::Newer => {
                let text = String::from_utf8(before).expect("text");
                let text = text.replace("format_version = 16", "format_version = 99");
                fs_err::write(&path, text.replace("format_version\":16", "format_version\":99")).expect("written");
            }
            To::Flipped => {
                let mut bytes = before;
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                fs_err::write(&path, bytes).expect("written");
            }
            To::Bytes(bytes) => fs_err::write(&path, bytes).expect("written"),
            To::Folder => fs_err::create_dir_all(&path).expect("a folder is made"),
            To::Loop => symlink(&path, &path).expect("a link is made"),
            To::Nowhere => symlink(here.path("nowhere"), &path).expect("a link is made"),
            To::Pipe => assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo starts").success()),
        }
        let ends = |command: &[&str], says: &[&str]| {
            let exit = if says.is_empty() { 0 } else { 2 };
            fault(&here, command, exit, says).map(|fault| format!("{what}: {fault}"))
        };
        for command in [&["show", "r"][..], &["show", "r", "--json"], &["report", "r", "--out", "report.html"]] {
            failures.extend(ends(command, shown));
        }
        failures.extend(ends(&small("r"), again));
        fs_err::remove_dir_all(here.path("r")).expect("it is removed");
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The path of a file in a folder, with `*` for a name that stands alone in its folder.
fn find(folder: &Path, file: &str) -> PathBuf {
    file.split('/').fold(folder.to_owned(), |path, name| match name {
        "*" => fs_err::read_dir(path).expect("a folder").next().expect("an entry").expect("an entry").path(),
        name => path.join(name),
    })
}

/// What is wrong with how a call ends, if anything.
fn fault(here: &Workplace, arguments: &[&str], exit: i32, says: &[&str]) -> Option<String> {
    let outcome = confined(here, arguments);
    let text = format!("{}{}", outcome.stdout, outcome.stderr);
    let missing: Vec<_> = says.iter().filter(|fragment| !text.contains(**fragment)).collect();
    let strange: Vec<_> = text.chars().filter(|c| c.is_control() && *c != '\n').collect();
    let ends_well = outcome.code == Some(exit) && !text.contains("panicked") && !text.contains("this is a bug");
    if ends_well && missing.is_empty() && strange.is_empty() && text.len() < 20_000 {
        return None;
    }
    let shown: String = text.chars().take(600).collect();
    Some(format!(
        "{}\n  exit {:?}, expected {exit}; not said: {missing:?}; control characters: {strange:?}; {} bytes: {shown}",
        arguments.join(" "),
        outcome.code,
        text.len()
    ))
}

/// Calls the binary with 2 GiB of address space and ten seconds of computing, and kills it after a minute in case it
/// waits for something; both give no exit code.
fn confined(here: &Workplace, arguments: &[&str]) -> Outcome {
    const SECONDS: u64 = 60;
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -v 2097152; ulimit -t 10; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_ontogeny")])
        .args(arguments)
        .current_dir(here.path(""))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a shell starts");
    let (mut stdout, mut stderr) = (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
    let read = |stream: &mut dyn std::io::Read| {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("the pipe is read");
        String::from_utf8_lossy(&bytes).into_owned()
    };
    std::thread::scope(|scope| {
        let out = scope.spawn(move || read(&mut stdout));
        let err = scope.spawn(move || read(&mut stderr));
        let start = Instant::now();
        let code = loop {
            if let Some(status) = child.try_wait().expect("the child can be asked") {
                break status.code();
            }
            if start.elapsed() > Duration::from_secs(SECONDS) {
                child.kill().expect("the child can be killed");
                child.wait().expect("the child is gone");
                break None;
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let join = |thread: std::thread::ScopedJoinHandle<'_, String>| thread.join().expect("no panic");
        Outcome { code, stdout: join(out), stderr: join(err) }
    })
}
