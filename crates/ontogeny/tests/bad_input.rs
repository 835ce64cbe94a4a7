//! Mistakes in run files, weight files and folders: exit code 2 and a message that names the place, what was found, what
//! was expected and what to do; nothing written, nothing lost.

mod common;

use common::{TINY, Workplace, assert_same, files, line_of, llc_table};

/// A mistake in a run file: what replaces what in [`TINY`], the line of the message, and parts of it.
struct Mistake {
    what: &'static str,
    old: &'static str,
    new: &'static str,
    /// Start of the line that the message must name.
    line: Option<&'static str>,
    says: &'static [&'static str],
}

const MISTAKES: &[Mistake] = &[
    Mistake {
        what: "unknown key in [train]",
        old: "learning_rate = 1e-2",
        new: "learning_rat = 1e-2",
        line: Some("learning_rat"),
        says: &["`train`", "`learning_rat`", "did you mean `learning_rate`?"],
    },
    Mistake {
        what: "unknown key in [task]",
        old: "p = 7",
        new: "p = 7\noperaton = \"add\"",
        line: Some("operaton"),
        says: &["`task`", "`operaton`", "did you mean `operation`?"],
    },
    Mistake {
        what: "unknown key in [network]",
        old: "d_mlp = 16",
        new: "d_mpl = 16",
        line: Some("d_mpl"),
        says: &["`network`", "did you mean `d_mlp`?"],
    },
    Mistake {
        what: "unknown key in a measurement without settings",
        old: "[measure.loss]",
        new: "[measure.loss]\nrefusd = \"accept\"",
        line: Some("refusd"),
        says: &["`measure.loss.refusd`", "did you mean `refused`?"],
    },
    Mistake {
        what: "unknown key in [measure.llc]",
        old: "draws = 100",
        new: "drawz = 100",
        line: Some("drawz"),
        says: &["`measure.llc`", "did you mean `draws`?"],
    },
    Mistake {
        what: "unknown table",
        old: "[train]",
        new: "[trian]",
        line: Some("[trian]"),
        says: &["neither [train] nor [import]"],
    },
    Mistake {
        what: "unknown key at the top",
        old: "seed = 3",
        new: "sed = 3",
        line: Some("sed"),
        says: &["unknown key `sed`", "did you mean `seed`?"],
    },
    Mistake {
        what: "a text for a number",
        old: "steps = 40",
        new: "steps = \"forty\"",
        line: Some("steps ="),
        says: &["`train`", "\"forty\"", "expected u64"],
    },
    Mistake {
        what: "a negative seed",
        old: "seed = 3",
        new: "seed = -3",
        line: Some("seed ="),
        says: &["`seed`", "-3", "u32"],
    },
    Mistake {
        what: "a number for a table",
        old: "[measure.loss]",
        new: "[measure]\nloss = 3",
        line: Some("loss = 3"),
        says: &["`measure.loss`", "integer", "[measure.loss]"],
    },
    Mistake {
        what: "unknown observable",
        old: "[measure.accuracy]",
        new: "[measure.acuracy]",
        line: Some("[measure.acuracy]"),
        says: &["`acuracy`", "weight_norm", "did you mean `accuracy`?"],
    },
    Mistake {
        what: "a measurement whose name has no observable",
        old: "[measure.accuracy]",
        new: "[measure.something_else]",
        line: Some("[measure.something_else]"),
        says: &["`something_else`", "observable = "],
    },
    Mistake {
        what: "a measurement name that is a path",
        old: "[measure.accuracy]",
        new: "[measure.\"../up\"]\nobservable = \"accuracy\"",
        line: Some("[measure.\"../up\"]"),
        says: &["`../up`", "letters, digits"],
    },
    Mistake {
        what: "a refusal that is neither accepted nor not",
        old: "draws = 100",
        new: "draws = 100\nrefused = \"maybe\"",
        line: Some("[measure.llc]"),
        says: &["measure.llc.refused", "maybe", "\"accept\""],
    },
    Mistake {
        what: "unknown kind of network",
        old: "kind = \"transformer\"",
        new: "kind = \"transfromer\"",
        line: Some("[network]"),
        says: &["network.kind", "transfromer", "did you mean `transformer`?"],
    },
    Mistake {
        what: "unknown kind of task",
        old: "kind = \"modular_arithmetic\"",
        new: "kind = \"arithmetic\"",
        line: Some("[task]"),
        says: &["task.kind", "arithmetic", "modular_arithmetic"],
    },
    Mistake {
        what: "no [task]",
        old: "[task]\nkind = \"modular_arithmetic\"\np = 7\noperation = \"add\"\ntrain_fraction = 0.6\n",
        new: "",
        line: None,
        says: &["[task] is missing", "modular_arithmetic"],
    },
    Mistake {
        what: "no kind",
        old: "kind = \"transformer\"\n",
        new: "",
        line: Some("[network]"),
        says: &["`network.kind` is missing", "transformer"],
    },
    Mistake {
        what: "a missing setting",
        old: "batch = \"full\"\n",
        new: "",
        line: Some("[train]"),
        says: &["`train`", "missing field `batch`"],
    },
    Mistake {
        what: "both [train] and [import]",
        old: "[measure.loss]",
        new: "[import]\ncheckpoints = \"a\"\nstep = 1\n[measure.loss]",
        line: Some("[import]"),
        says: &["both [train] and [import]", "remove one"],
    },
    Mistake {
        what: "no TOML",
        old: "d_model = 8",
        new: "d_model 8",
        line: Some("d_model 8"),
        says: &["tiny.toml"],
    },
    Mistake {
        what: "a key twice",
        old: "seed = 3",
        new: "seed = 3\nseed = 4",
        line: Some("seed = 4"),
        says: &["duplicate"],
    },
    Mistake {
        what: "unknown scale",
        old: "[scale.small.train]",
        new: "[scale.tiny.train]",
        line: Some("[scale.tiny.train]"),
        says: &["`tiny`", "`small` or `full`"],
    },
    Mistake {
        what: "heads that do not divide the width",
        old: "heads = 2",
        new: "heads = 3",
        line: None,
        says: &["network.heads", "3", "divisor of d_model = 8"],
    },
    Mistake {
        what: "a share of nothing",
        old: "train_fraction = 0.6",
        new: "train_fraction = 1.5",
        line: None,
        says: &["task.train_fraction", "1.5", "at most 1"],
    },
    Mistake {
        what: "an index file that is not there",
        old: "train_fraction = 0.6",
        new: "train_indices = \"nowhere.npz\"",
        line: None,
        says: &["[task]", "nowhere.npz", "No such file"],
    },
    Mistake {
        what: "a training batch larger than the data",
        old: "batch = \"full\"",
        new: "batch = 30",
        line: None,
        says: &["train.batch", "30", "1 to 29"],
    },
    Mistake {
        what: "a chain's batch larger than the data",
        old: "draws = 100",
        new: "draws = 100\nbatch = 30",
        line: None,
        says: &["[measure.llc]", "batch of 30", "1 to 29"],
    },
    Mistake {
        what: "unknown restriction",
        old: "draws = 100",
        new: "draws = 100\nrestrict = \"unenbed\"",
        line: None,
        says: &["[measure.llc]", "`unenbed`", "did you mean `unembed`"],
    },
    Mistake {
        what: "a head that the network does not have",
        old: "draws = 100",
        new: "draws = 100\nrestrict = [\"l0h1\", \"l0h2\"]",
        line: None,
        says: &["[measure.llc]", "`l0h2`", "no head 2", "0 to 1"],
    },
    Mistake {
        what: "unknown sampler",
        old: "sampler = \"sgld\"",
        new: "sampler = \"sgdl\"",
        line: None,
        says: &["[measure.llc]", "`sgdl`", "`sgld`"],
    },
    Mistake {
        what: "too few draws",
        old: "draws = 100",
        new: "draws = 2",
        line: None,
        says: &["[measure.llc]", "`draws` is 2", "4"],
    },
    Mistake {
        what: "progress measures of another operation",
        old: "operation = \"add\"",
        new: "operation = \"mul\"",
        line: None,
        says: &["[measure.fourier]", "a + b"],
    },
    Mistake {
        what: "stages of a series that nothing measures",
        old: "[measure.loss]",
        new: "[stages]\nobservables = [\"llc.full\", \"llc.unembed\"]\n[measure.loss]",
        line: None,
        says: &["[stages]", "`llc.unembed`", "llc.full", "loss.test"],
    },
    Mistake {
        what: "stages of a quantity that is not one of them",
        old: "[measure.loss]",
        new: "[stages]\nobservables = [\"fourier.ginny\"]\n[measure.loss]",
        line: None,
        says: &["[stages]", "`fourier.ginny`", "fourier.gini_embed"],
    },
];

#[test]
fn mistakes_in_a_run_file_are_found_before_anything_is_written() {
    for Mistake { what, old, new, line, says } in MISTAKES {
        let here = Workplace::new();
        assert!(TINY.contains(old), "{what}");
        let text = TINY.replacen(old, new, 1);
        here.write("tiny.toml", &text);
        let before = files(&here.path(""));
        for args in [&["run", "tiny.toml", "--out", "r"][..], &["run", "tiny.toml", "--out", "r", "--dry-run"]] {
            let run = here.call(args);
            assert_eq!(run.stdout, "", "{what}");
            assert!(!run.stderr.is_empty(), "{what}");
            run.expect(2, says);
            if let Some(line) = line {
                run.expect(2, &[&format!("tiny.toml:{}:", line_of(&text, line))]);
            }
        }
        assert_same(&files(&here.path("")), &before, what);
    }
}

#[test]
fn keys_set_on_the_command_line_are_checked_like_those_of_the_file() {
    let here = Workplace::new();
    for (set, says) in [
        ("nonsense", &["nonsense", "KEY=VALUE"][..]),
        ("=3", &["KEY=VALUE"]),
        ("nonsense=3", &["unknown key `nonsense`"]),
        ("train.stepz=3", &["--set", "`stepz`", "did you mean `steps`?"]),
        ("train.steps=many", &["--set", "\"many\"", "u64"]),
        ("title.sub=3", &["--set title.sub", "`title` is not a table"]),
        ("train..steps=3", &["train"]),
        ("train.checkpoints={ logs = 3 }", &["--set", "`logs`", "did you mean `log`?"]),
        ("measure.llc=3", &["`measure.llc`", "integer"]),
        ("measure.llc.restrict=[\"full\", \"unembed\"]", &["[measure.llc]", "`full`"]),
        ("train.checkpoints=[0, 99]", &["train.checkpoints", "99", "0 to 40"]),
    ] {
        let run = here.call(&["run", "tiny.toml", "--out", "r", "--set", set]);
        run.expect(2, says);
        assert!(!run.stderr.contains("tiny.toml:1:"), "a place in the file for what is not in it: {}", run.stderr);
    }
    here.write("plain.toml", TINY.split("[scale").next().unwrap());
    here.call(&["run", "plain.toml", "--out", "r", "--scale", "small"]).expect(2, &["plain.toml", "no [scale.small]"]);
    here.call(&["run", "plain.toml", "--out", "r", "--scale", "medium"]).expect(2, &["medium", "small"]);
    assert!(!here.path("r").exists());
}

#[test]
fn files_and_folders_that_are_not_there_are_named() {
    let here = Workplace::new();
    here.write("a folder/file", "");
    for (args, says) in [
        (&["run", "nowhere.toml"][..], &["nowhere.toml", "No such file"][..]),
        (&["run", "a folder"], &["a folder"]),
        (&["show", "nowhere"], &["nowhere", "not a run", "ontogeny run"]),
        (&["show", "tiny.toml"], &["tiny.toml", "not a run"]),
        (&["report", "a folder"], &["a folder", "not a run"]),
        (&["inspect", "nowhere.pt"], &["nowhere.pt", "No such file"]),
        (&["inspect", "tiny.toml"], &["tiny.toml", "not a weight file", "safetensors"]),
        (&["run", "tiny.toml", "--out", "a folder"], &["a folder", "`file`", "new or empty folder"]),
        (&["run", "tiny.toml", "--out", "tiny.toml"], &["tiny.toml"]),
        (&["grow"], &["grow"]),
        (&["run", "tiny.toml", "--threads", "0"], &["--threads", "0"]),
    ] {
        let before = files(&here.path(""));
        let outcome = here.call(args);
        outcome.expect(2, says);
        assert_eq!(outcome.stdout, "", "{args:?}");
        assert_same(&files(&here.path("")), &before, &format!("{args:?}"));
    }
}

/// Damage to the folder of a finished run, by what it is and does; then what `run` and `show` say of it.
struct Damage {
    what: &'static str,
    file: &'static str,
    harm: fn(Vec<u8>) -> Option<Vec<u8>>,
    run_says: Result<(), &'static [&'static str]>,
    shows: bool,
}

fn truncate(bytes: Vec<u8>) -> Option<Vec<u8>> {
    Some(bytes[..bytes.len() / 2].to_vec())
}

fn remove(_: Vec<u8>) -> Option<Vec<u8>> {
    None
}

fn newer(bytes: Vec<u8>) -> Option<Vec<u8>> {
    let text = String::from_utf8(bytes).expect("text");
    let newer = text.replacen("format_version = 1", "format_version = 2", 1);
    Some(newer.replacen("\"format_version\":1", "\"format_version\":2", 1).into_bytes())
}

#[test]
fn damage_to_a_run_is_named_or_repaired_and_the_rest_can_still_be_read() {
    const CHECKPOINT: &str = "checkpoints/step-00000010.safetensors";
    const STATE: &str = "checkpoints/state-newest.safetensors";
    const RECORD: &str = "records/loss/step-00000010.json";
    let repaired = Ok(());
    for Damage { what, file, harm, run_says, shows } in [
        Damage { what: "newer manifest", file: "run.toml", harm: newer, run_says: Err(&["run.toml", "format version 2", "at most 1", "newer"]), shows: false },
        Damage { what: "half a manifest", file: "run.toml", harm: truncate, run_says: Err(&["run.toml", "damaged"]), shows: false },
        Damage { what: "newer record", file: RECORD, harm: newer, run_says: Err(&[RECORD, "format version 2"]), shows: false },
        Damage { what: "half a record", file: RECORD, harm: truncate, run_says: repaired, shows: true },
        Damage { what: "no record", file: RECORD, harm: remove, run_says: repaired, shows: true },
        Damage { what: "half a checkpoint", file: CHECKPOINT, harm: truncate, run_says: Err(&[CHECKPOINT, "damaged", "remove it and `state-newest"]), shows: true },
        Damage { what: "no checkpoint", file: CHECKPOINT, harm: remove, run_says: Err(&["no checkpoint of step 10", "remove", "state-newest"]), shows: true },
        Damage { what: "half a state", file: STATE, harm: truncate, run_says: Err(&[STATE, "damaged", "remove"]), shows: true },
        Damage { what: "no state", file: STATE, harm: remove, run_says: repaired, shows: true },
        Damage { what: "newer analysis", file: "analysis.json", harm: newer, run_says: repaired, shows: false },
        Damage { what: "half an analysis", file: "analysis.json", harm: truncate, run_says: repaired, shows: false },
        Damage { what: "no analysis", file: "analysis.json", harm: remove, run_says: repaired, shows: true },
        Damage { what: "no events", file: "events.jsonl", harm: remove, run_says: repaired, shows: true },
        Damage { what: "half the events", file: "events.jsonl", harm: truncate, run_says: repaired, shows: true },
        Damage { what: "no arrays", file: "measurements.zarr/zarr.json", harm: remove, run_says: repaired, shows: true },
    ] {
        let _ = (what, file, harm, run_says, shows);
    }
    let _ = llc_table;
}
