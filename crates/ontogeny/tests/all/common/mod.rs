//! Runs the real binary in a folder of its own, and looks at what it leaves there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A run of a few seconds at most: 688 weights, 40 steps, 9 checkpoints, estimates that converge.
pub(crate) const TINY: &str = r#"title = "Tiny"
seed = 3

[task]
kind = "modular_arithmetic"
p = 7
operation = "add"
train_fraction = 0.6

[network]
kind = "transformer"
layers = 1
d_model = 8
heads = 2
d_mlp = 16
activation = "relu"
normalization = "none"
positions = "learned"

[train]
optimizer = "adamw"
learning_rate = 1e-2
weight_decay = 0.1
batch = "full"
steps = 40
checkpoints = { log = 5, linear = 4 }

[measure.loss]
[measure.accuracy]
[measure.weight_norm]
[measure.fourier]

[measure.llc]
sampler = "sgld"
chains = 2
burn_in = 20
draws = 100
step_size = 1e-3
localization = 1000.0

[scale.small.train]
steps = 10
"#;

/// The checkpoints of [`TINY`].
pub(crate) const TINY_STEPS: [u64; 9] = [0, 1, 3, 6, 10, 16, 20, 30, 40];

/// The arguments of a run of [`TINY`] that writes few files: checkpoints at 0, 1, 2, 3, 5, 6, 8 and 10, one measurement.
pub(crate) fn small(out: &str) -> [&str; 8] {
    ["run", "tiny.toml", "--out", out, "--scale", "small", "--set", "measure={ loss = {} }"]
}

/// The table `[measure.llc]` of [`TINY`], with its head.
pub(crate) fn llc_table() -> &'static str {
    let from = TINY.find("[measure.llc]").expect("TINY measures it");
    let to = TINY.find("[scale").expect("TINY has a scale");
    &TINY[from..to]
}

/// A folder with run files, in which the binary is called.
pub(crate) struct Workplace {
    folder: TempDir,
}

/// How a call ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Workplace {
    /// With [`TINY`] as `tiny.toml`.
    pub(crate) fn new() -> Self {
        let workplace = Self { folder: tempfile::tempdir().expect("a folder for temporary files") };
        workplace.write("tiny.toml", TINY);
        workplace
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs_err::create_dir_all(path.parent().expect("inside the folder")).expect("a folder is made");
        fs_err::write(&path, content).expect("a file is written");
        path
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ontogeny"));
        command.args(args).current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    /// Calls the binary and waits.
    pub(crate) fn call(&self, args: &[&str]) -> Outcome {
        let output = self.command(args).output().expect("the binary starts");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8 on the terminal");
        Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Calls the binary and does not wait; what it prints can be read as it comes.
    pub(crate) fn start(&self, args: &[&str]) -> Child {
        let mut command = self.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts")
    }

    /// `ontogeny show RUN --json`.
    pub(crate) fn show(&self, run: &str) -> Value {
        let shown = self.call(&["show", run, "--json"]);
        assert_eq!(shown.code, Some(0), "{shown:?}");
        serde_json::from_str(&shown.stdout).expect("one JSON object")
    }

    /// Everything a run found, by file: checkpoints, optimiser state, records, analysis. Not what says where or when.
    pub(crate) fn findings(&self, run: &str) -> BTreeMap<String, Vec<u8>> {
        findings(&self.path(run))
    }
}

impl Outcome {
    /// Asserts the exit code and that each fragment stands in what was said.
    pub(crate) fn expect(&self, code: i32, fragments: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for fragment in fragments {
            assert!(self.stderr.contains(fragment), "`{fragment}` is not in: {}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }

    /// The standard output as one JSON value for each line.
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
        self.stdout.lines().map(parse).collect()
    }
}

/// Checkpoints, optimiser state, records and analysis of a run, by file. How often its records were sealed is no finding,
/// so those of the newest generation stand here under names without its number.
pub(crate) fn findings(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let all = files(run);
    let newest = all.keys().rfind(|name| name.starts_with("sealed/")).expect("a finished run is sealed");
    let mut index: Value = serde_json::from_slice(&all[newest]).expect("JSON");
    let tree = index["content"]["tree"].take().as_str().expect("a name").to_owned();
    index["blake3"].take();
    let mut found = BTreeMap::from([("sealed".to_owned(), index.to_string().into_bytes())]);
    for (name, bytes) in all {
        if let Some(file) = name.strip_prefix(&tree) {
            found.insert(format!("tree{file}"), bytes);
        } else if ["checkpoints/", "records/"].iter().any(|part| name.starts_with(part))
            || matches!(name.as_str(), "analysis.json" | "measures.json")
        {
            found.insert(name, bytes);
        }
    }
    found
}

/// The content of every file under `folder`, by its path within; links are not followed.
pub(crate) fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs_err::read_dir(&next).expect("a folder that can be read") {
            let path = entry.expect("an entry").path();
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("it lies within").to_string_lossy().into_owned();
                found.insert(name, fs_err::read(&path).expect("a file that can be read"));
            }
        }
    }
    found
}

/// Asserts that two runs found the same, bit for bit, and names the first file that differs.
pub(crate) fn assert_same(found: &BTreeMap<String, Vec<u8>>, expected: &BTreeMap<String, Vec<u8>>, context: &str) {
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(expected), "{context}");
    for (name, bytes) in found {
        assert!(*bytes == expected[name], "{context}: `{name}` differs");
    }
}

/// The first line, from 1, that begins with `start`.
pub(crate) fn line_of(text: &str, start: &str) -> usize {
    let at = text.lines().position(|line| line.starts_with(start));
    1 + at.unwrap_or_else(|| panic!("no line begins with {start}"))
}
