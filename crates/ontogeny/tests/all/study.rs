//! Studies end to end: registered before they run, planted verdicts, the same verdict after a kill, pilots shared, tampering caught.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A run of some milliseconds.
const TINY: &str = "
title = \"Tiny\"
[task]
kind = \"sparse_parity\"
bits = 6
subset = 2
held_examples = 64
[network]
kind = \"mlp\"
sizes = [6, 8, 2]
activation = \"relu\"
[train]
optimizer = \"adam\"
learning_rate = 2e-2
batch = 32
steps = 200
checkpoints = [0, 1, 2, 5, 10, 20, 40, 60, 100, 200]
[measure.loss]
[measure.accuracy]
[measure.weight_norm]
[scale.small.train]
steps = 100
checkpoints = [0, 1, 2, 5, 10, 20, 40, 60, 100]
";

/// Planted: losses start near ln 2 (true), above 2 nats (false); accuracy at the start is that of guessing (nothing to support).
const PLANTED: &str = "
id = \"P1\"
question = \"Where does the loss start?\"
source = \"a test\"
known = \"Near ln 2.\"
seeds = 6
[runs.main]
file = \"tiny.toml\"
[runs.slow]
file = \"tiny.toml\"
set = { \"train.learning_rate\" = 1e-6 }
[values]
start = \"first(loss.train)\"
[[hypothesis]]
id = \"true\"
claim = \"The loss starts above 0.3 nats.\"
quantity = \"loss at the start\"
unit = \"nats\"
runs = \"main\"
statistic = \"start - 0.3\"
test = \"t\"
smallest_effect = 0.1
[[hypothesis]]
id = \"false\"
claim = \"The loss starts above 2 nats.\"
quantity = \"loss at the start less 2\"
runs = \"main\"
statistic = \"start - 2\"
test = \"signed_rank\"
smallest_effect = 0.1
[[hypothesis]]
id = \"too_few\"
claim = \"With so few seeds nothing is decided.\"
quantity = \"loss at the start\"
runs = \"main\"
statistic = \"start\"
test = \"t\"
smallest_effect = 0.1
minimal_seeds = 30
[[hypothesis]]
id = \"paired\"
claim = \"A larger learning rate falls further.\"
quantity = \"difference of the falls\"
runs = \"main\"
statistic = \"drop(main.loss.train) - drop(slow.loss.train)\"
test = \"signed_rank\"
smallest_effect = 1e-6
[[attack]]
kind = \"other_seeds\"
what = \"as many other seeds\"
hypotheses = [\"true\"]
[[attack]]
kind = \"other_settings\"
what = \"no learning at all\"
hypotheses = [\"paired\"]
expect = \"vanishes\"
set.main = { \"train.learning_rate\" = 1e-6 }
[[attack]]
kind = \"other_settings\"
what = \"another measurement of the same training\"
hypotheses = [\"true\"]
set.main = { \"measure.norm.observable\" = \"weight_norm\" }
statistic = \"first(norm.total)\"
[[figure]]
title = \"Loss\"
y = \"loss.train\"
y_label = \"loss, nats\"
";

/// The same pilot runs as [`OTHER_PILOT`], and other measurements.
const PILOT: &str = "
id = \"P2\"
question = \"Does the loss fall?\"
source = \"a test\"
seeds = 5
[runs.main]
file = \"tiny.toml\"
pilot = true
measures = [\"loss\"]
[[hypothesis]]
id = \"h\"
claim = \"The norm of the weights grows.\"
quantity = \"fall\"
statistic = \"drop(loss.train)\"
test = \"t\"
smallest_effect = 0.001
";

const OTHER_PILOT: &str = "
id = \"P3\"
question = \"Does the norm grow?\"
source = \"a test\"
seeds = 5
[runs.main]
file = \"tiny.toml\"
pilot = true
measures = [\"weight_norm\"]
[[hypothesis]]
id = \"h\"
claim = \"The norm of the weights grows.\"
quantity = \"growth\"
statistic = \"-drop(weight_norm.total)\"
test = \"t\"
smallest_effect = 0.001
";

struct Atlas {
    folder: tempfile::TempDir,
}

impl Atlas {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs_err::create_dir(folder.path().join("studies")).unwrap();
        let atlas = Self { folder };
        for (name, text) in [("tiny.toml", TINY), ("P1.toml", PLANTED), ("P2.toml", PILOT), ("P3.toml", OTHER_PILOT)] {
            // The run file is no study: it lies beside the folder.
            let path = if name == "tiny.toml" { "tiny.toml".to_owned() } else { format!("studies/{name}") };
            atlas.write(&path, &text.replace("file = \"tiny.toml\"", "file = \"../tiny.toml\""));
        }
        atlas
    }

    fn write(&self, path: &str, text: &str) {
        fs_err::write(self.path(path), text).unwrap();
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ontogeny"));
        command.current_dir(self.folder.path()).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Standard output of a command that must end with `code`.
    fn stdout(&self, arguments: &[&str], code: i32) -> String {
        let output = self.run(arguments);
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}\n{err}");
        out
    }

    fn verdict(&self, id: &str) -> serde_json::Value {
        serde_json::from_str(&self.stdout(&["study", "show", id, "--json"], 0)).unwrap()
    }

    fn lines(&self) -> Vec<String> {
        let text = fs_err::read_to_string(self.path("atlas/registry.jsonl")).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

/// A verdict without its times.
fn bare(mut verdict: serde_json::Value) -> serde_json::Value {
    for key in ["time", "seconds"] {
        verdict[key] = 0.into();
    }
    for key in ["chain_length", "chain_head"] {
        verdict["registration"][key] = 0.into();
        for run in verdict["runs"].as_array_mut().unwrap() {
            run[key] = 0.into();
        }
    }
    verdict
}

fn hypothesis<'v>(verdict: &'v serde_json::Value, id: &str) -> &'v serde_json::Value {
    verdict["hypotheses"].as_array().unwrap().iter().find(|h| h["id"] == id).unwrap()
}

#[test]
fn planted_hypotheses_have_the_verdicts_they_must_have() {
    let atlas = Atlas::new();
    let out = atlas.stdout(&["study", "run", "P1", "--threads", "2"], 0);
    assert!(out.starts_with("P1  Supported (confirmatory, 6 units): loss at the start "), "{out}");
    assert!(out.contains("2 of 2 attacks survived"), "{out}");
    let verdict = atlas.verdict("P1");
    for (id, outcome) in
        [("true", "supported"), ("false", "refuted"), ("too_few", "undecided"), ("paired", "supported")]
    {
        assert_eq!(hypothesis(&verdict, id)["outcome"], outcome, "{id}: {verdict:#}");
    }
    let attacks = verdict["attacks"].as_array().unwrap();
    assert!(attacks.iter().all(|attack| attack["survived"] == true), "{attacks:#?}");
    assert_eq!(verdict["confirmatory"], true);
    let seeds: Vec<u64> = verdict["runs"].as_array().unwrap().iter().map(|run| run["seed"].as_u64().unwrap()).collect();
    assert!(seeds.iter().all(|seed| *seed >= 65_536), "{seeds:?}");
    // Two families of six, six other seeds of each, and six with another measurement; those that learn nothing are the slow family.
    assert_eq!(seeds.len(), 30, "{seeds:?}");
    let page = fs_err::read_to_string(atlas.path("atlas/P1-small.html")).unwrap();
    assert!(page.contains("Where does the loss start?") && page.contains("Near ln 2."));
    assert!(atlas.path("atlas/index.html").exists());
    // Once more: nothing to do, nothing to say.
    let lines = atlas.lines();
    assert_eq!(lines.len(), 2);
    atlas.stdout(&["study", "run", "P1"], 0);
    assert_eq!(atlas.lines(), lines);
    assert_eq!(atlas.verdict("P1"), verdict);
    assert!(atlas.stdout(&["study", "audit"], 0).contains("no problem found"));
    let list = atlas.stdout(&["study", "list"], 0);
    assert!(list.contains("P1") && list.contains("supported") && list.contains("not run"), "{list}");
}

#[test]
fn pilots_are_trained_once_and_called_exploratory() {
    let atlas = Atlas::new();
    atlas.stdout(&["study", "run", "P2"], 0);
    // Checkpoints by the places of their bytes on the disk: what is trained again has others.
    let checkpoints = || -> std::collections::BTreeSet<u64> {
        let runs = fs_err::read_dir(atlas.path("atlas/runs")).unwrap().map(|entry| entry.unwrap().path());
        let runs = runs.filter(|path| path.is_dir());
        let files = runs.flat_map(|run| fs_err::read_dir(run.join("checkpoints")).unwrap());
        files
            .map(|entry| std::os::unix::fs::MetadataExt::ino(&fs_err::metadata(entry.unwrap().path()).unwrap()))
            .collect()
    };
    let before = checkpoints();
    assert!(before.len() > 5);
    let out = atlas.stdout(&["study", "run", "P3"], 0);
    assert!(out.contains("(exploratory, 5 units)"), "{out}");
    assert_eq!(checkpoints(), before, "P3 measures something else of the runs of P2");
    let trained = |id: &str| -> Vec<String> {
        let verdict = atlas.verdict(id);
        verdict["runs"].as_array().unwrap().iter().map(|run| run["trajectory"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(trained("P2"), trained("P3"));
    // Once more, and after the other: what is there is not made again.
    let verdict = atlas.verdict("P2");
    atlas.stdout(&["study", "run", "P2"], 0);
    assert_eq!(atlas.verdict("P2"), verdict);
    assert!(atlas.stdout(&["study", "audit"], 0).contains("no problem found"));
}

#[test]
fn killed_anywhere_it_ends_with_the_same_verdicts() {
    let atlas = Atlas::new();
    atlas.stdout(&["study", "register", "all"], 0);
    let copy = Atlas::new();
    fs_err::create_dir_all(copy.path("atlas")).unwrap();
    fs_err::copy(atlas.path("atlas/registry.jsonl"), copy.path("atlas/registry.jsonl")).unwrap();
    atlas.stdout(&["study", "run", "all", "--threads", "1"], 0);
    // Killed again and again, a little later each time, until one call gets through.
    let mut patience = Duration::from_millis(60);
    loop {
        let mut child = copy
            .command(&["study", "run", "all", "--threads", "2"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            if begun.elapsed() > patience {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        match status {
            Some(status) => {
                assert!(status.success());
                break;
            }
            None => patience = patience.mul_f64(1.3),
        }
    }
    for id in ["P1", "P2", "P3"] {
        assert_eq!(bare(copy.verdict(id)), bare(atlas.verdict(id)), "{id}");
    }
    assert!(copy.stdout(&["study", "audit"], 0).contains("no problem found"));
}

#[test]
fn tampering_is_caught() {
    let atlas = Atlas::new();
    atlas.stdout(&["study", "run", "P1", "P2"], 0);
    let (registry, study) = (atlas.path("atlas/registry.jsonl"), atlas.path("studies/P1.toml"));
    let text = fs_err::read_to_string(&registry).unwrap();
    let problems = |what: &str, words: &str| {
        let output = atlas.run(&["study", "audit"]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_ne!(output.status.code(), Some(0), "{what} was not caught");
        assert!(said.contains(words), "{what}: {said}");
    };
    // A hypothesis edited after its verdict.
    atlas.write("studies/P1.toml", &PLANTED.replace("tiny", "../tiny").replace("above 2 nats", "above 0.2 nats"));
    problems("an edited hypothesis", "P1");
    atlas.write("studies/P1.toml", &PLANTED.replace("\"tiny.toml\"", "\"../tiny.toml\""));
    assert!(atlas.stdout(&["study", "audit"], 0).contains("no problem found"));
    assert!(study.exists());
    // A registry that is gone, cut off, or edited.
    fs_err::remove_file(&registry).unwrap();
    problems("a deleted registry", "registry");
    let first: Vec<&str> = text.split_inclusive('\n').take(2).collect();
    fs_err::write(&registry, first.concat()).unwrap();
    problems("a truncated registry", "");
    fs_err::write(&registry, text.replacen("\"study\":\"P1\"", "\"study\":\"P9\"", 1)).unwrap();
    problems("an edited line", "line 1");
    fs_err::write(&registry, &text).unwrap();
    // A run that says it began before its registration.
    let runs = atlas.verdict("P1")["runs"].as_array().unwrap().clone();
    let run = atlas.path("atlas").join(runs[0]["directory"].as_str().unwrap());
    let stamp = run.with_extension("stamp.json");
    let kept = fs_err::read_to_string(&stamp).unwrap();
    let mut back: serde_json::Value = serde_json::from_str(&kept).unwrap();
    back["started"] = (back["started"].as_u64().unwrap() - 100_000).into();
    fs_err::write(&stamp, back.to_string()).unwrap();
    problems("a back-dated run", "runs/");
    fs_err::write(&stamp, kept).unwrap();
    // A verdict made better.
    let verdict = atlas.path("atlas/verdicts/P1-small.json");
    let kept = fs_err::read_to_string(&verdict).unwrap();
    fs_err::write(&verdict, kept.replace("\"refuted\"", "\"supported\"")).unwrap();
    problems("an edited verdict", "P1");
    fs_err::write(&verdict, kept).unwrap();
    assert!(atlas.stdout(&["study", "audit"], 0).contains("no problem found"));
}

#[test]
fn an_edited_study_is_registered_again_with_other_seeds() {
    let atlas = Atlas::new();
    atlas.stdout(&["study", "run", "P1"], 0);
    let first = atlas.verdict("P1");
    atlas.write("studies/P1.toml", &(PLANTED.replace("\"tiny.toml\"", "\"../tiny.toml\"") + "# an afterthought\n"));
    atlas.stdout(&["study", "run", "P1"], 0);
    let second = atlas.verdict("P1");
    assert_eq!(second["registration"]["earlier"], 1);
    let seeds = |verdict: &serde_json::Value| verdict["runs"][0]["seed"].as_u64().unwrap();
    assert_ne!(seeds(&first), seeds(&second));
    let page = fs_err::read_to_string(atlas.path("atlas/P1-small.html")).unwrap();
    assert!(page.contains("another chance"), "the page says so");
}

#[test]
fn one_line_takes_a_study_to_another_task() {
    let atlas = Atlas::new();
    let sums = TINY
        .replace(
            "kind = \"sparse_parity\"\nbits = 6\nsubset = 2\nheld_examples = 64",
            "kind = \"modular_arithmetic\"\np = 11\noperation = \"add\"\ntrain_fraction = 0.8",
        )
        .replace(
            "kind = \"mlp\"\nsizes = [6, 8, 2]\nactivation = \"relu\"",
            "kind = \"modular_mlp\"\nd_embed = 8\nhidden = 32\nactivation = \"relu\"",
        );
    atlas.write("sums.toml", &sums);
    let fall = |file: &str| {
        atlas.write("studies/P2.toml", &PILOT.replace("tiny.toml", &format!("../{file}")));
        atlas.stdout(&["study", "run", "P2"], 0);
        hypothesis(&atlas.verdict("P2"), "h")["effect"]["estimate"].as_f64().unwrap()
    };
    // Of two classes no more than ln 2 can be lost from where a loss starts; of eleven more, and it is.
    let (of_bits, of_sums) = (fall("tiny.toml"), fall("sums.toml"));
    assert!(of_bits < 1.0 && of_sums > 1.0, "{of_bits} {of_sums}");
    assert_eq!(atlas.verdict("P2")["registration"]["earlier"], 1);
}

#[test]
fn mistakes_name_the_file_and_what_to_do() {
    let atlas = Atlas::new();
    let good = PLANTED.replace("\"tiny.toml\"", "\"../tiny.toml\"");
    for (from, to, words) in [
        ("id = \"P1\"", "id = \"P7\"", "expected the same"),
        ("statistic = \"start - 2\"", "statistic = \"start -\"", "P1.toml"),
        ("drop(main", "dorp(main", "the nearest one is `drop`"),
        ("test = \"t\"", "test = \"tt\"", "P1.toml:"),
        ("runs = \"main\"", "runs = \"mian\"", "the families are main, slow"),
        ("measures", "measure", ""),
        ("../tiny.toml", "../tny.toml", "tny.toml"),
        ("seeds = 6", "seeds = 0", "between 1 and 1000"),
        ("smallest_effect = 0.1", "smallest_effect = 0", "smallest_effect"),
        ("kind = \"other_seeds\"", "kind = \"others\"", "other_seeds"),
        ("train.learning_rate\\\" = 1e-6", "train.learning_rat\\\" = 1e-6", ""),
    ] {
        if !good.contains(from) {
            continue;
        }
        atlas.write("studies/P1.toml", &good.replacen(from, to, 1));
        let output = atlas.run(&["study", "run", "P1"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{to}: {said}");
        assert!(said.contains(words), "{to}: {said}");
    }
    let output = atlas.run(&["study", "run", "P11"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("did you mean `P1`?"));
}

/// Registering makes one run of every condition ready, with all data and measurements; no claim is beyond its seeds.
#[test]
fn every_shipped_study_can_be_registered() {
    let atlas = tempfile::tempdir().unwrap();
    let studies = concat!(env!("CARGO_MANIFEST_DIR"), "/../../studies");
    let here = Atlas::new();
    let folder = atlas.path().to_str().unwrap();
    let output = here.run(&["study", "register", "all", "--studies", studies, "--atlas", folder]);
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{out}\n{err}");
    assert!(!err.contains("warning"), "a claim that its seeds cannot support: {err}");
    let n = fs_err::read_dir(studies).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().ends_with(".toml") && name != "left-out.toml"
    });
    assert_eq!(out.lines().filter(|line| line.contains("registered now")).count(), n.count());
    assert!(here.stdout(&["study", "list", "--studies", studies], 0).contains("N5.3"));
}
