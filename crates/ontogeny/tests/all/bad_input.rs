//! Mistakes in run files, weight files and folders: exit code 2 and a message that names the place, what was found, what
//! was expected and what to do; nothing written, nothing lost.

use crate::common::{TINY, Workplace, assert_same, files, line_of, small};

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
        says: &["unknown key `trian`", "did you mean `train`?"],
    },
    Mistake {
        what: "neither [train] nor [import]",
        old: "[train]\noptimizer = \"adamw\"\nlearning_rate = 1e-2\nweight_decay = 0.1\nbatch = \"full\"\nsteps = 40\n\
              checkpoints = { log = 5, linear = 4 }\n",
        new: "",
        line: None,
        says: &["neither [train] nor [import]", "expected one of them"],
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
    Mistake { what: "no TOML", old: "d_model = 8", new: "d_model 8", line: Some("d_model 8"), says: &["tiny.toml"] },
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
        what: "more draws than a record can hold",
        old: "chains = 2",
        new: "chains = 100000000000",
        line: None,
        says: &["[measure.llc]", "`chains · draws` is 10000000000000", "at most 10000000"],
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
    let text = TINY.replace("[scale.small.train]\nsteps = 10", "[scale]\nsmall = 10");
    here.write("number.toml", &text);
    let place = format!("number.toml:{}:", line_of(&text, "small = 10"));
    here.call(&["run", "number.toml", "--out", "r", "--scale", "small"])
        .expect(2, &[&place, "`scale.small` is integer"]);
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

/// Damage to the folder of a finished run, and what `run` and `show` say of it.
struct Damage<'a> {
    file: &'a str,
    harm: Harm,
    /// What `run` answers, or nothing where it makes the file again.
    run_says: &'static [&'static str],
    /// What to remove then, as the answer says.
    remedy: &'static [&'static str],
    shows: bool,
}

#[derive(Clone, Copy)]
enum Harm {
    Halve,
    Remove,
    /// Written by a later version of ontogeny.
    Newer,
}

impl Harm {
    fn done_to(self, bytes: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Remove => None,
            Self::Halve => Some(bytes[..bytes.len() / 2].to_vec()),
            Self::Newer => {
                let text = std::str::from_utf8(bytes).expect("text");
                let text = text.replacen("format_version = 16", "format_version = 17", 1);
                Some(text.replacen("\"format_version\":16", "\"format_version\":17", 1).into_bytes())
            }
        }
    }
}

#[test]
fn damage_to_a_run_is_repaired_or_named_with_a_remedy_that_works() {
    const CHECKPOINT: &str = "checkpoints/step-00000005.safetensors";
    const STATE: &str = "checkpoints/state-step-00000010.safetensors";
    const INDEX: &str = "sealed/00000001.json";
    let repaired = |file, harm, shows| Damage { file, harm, run_says: &[], remedy: &[], shows };
    let named = |file, harm, run_says, remedy, shows| Damage { file, harm, run_says, remedy, shows };
    let here = Workplace::new();
    here.call(&small("r")).expect(0, &[]);
    let whole = files(&here.path("r"));
    let findings = here.findings("r");
    let in_tree = |file: &str| {
        let found = whole.keys().find(|name| name.starts_with("trees/") && name.ends_with(&format!(".zarr/{file}")));
        found.expect("a file of the tree").clone()
    };
    let (shard, array, root) = (in_tree("loss/value/c/0/0"), in_tree("loss/value/zarr.json"), in_tree("zarr.json"));
    for (n, damage) in [
        named("run.toml", Harm::Newer, &["/run.toml", "format version 17", "at most 16", "newer"], &[], false),
        named("run.toml", Harm::Halve, &["/run.toml", "damaged"], &[], false),
        named(INDEX, Harm::Newer, &[INDEX, "format version 17", "newer"], &[], false),
        repaired(INDEX, Harm::Halve, true),
        repaired(INDEX, Harm::Remove, true),
        repaired(&shard, Harm::Halve, true),
        repaired(&shard, Harm::Remove, true),
        repaired(&array, Harm::Remove, true),
        repaired(&root, Harm::Remove, true),
        named(
            CHECKPOINT,
            Harm::Halve,
            &[CHECKPOINT, "damaged", "remove it and the newest state"],
            &[CHECKPOINT, STATE],
            true,
        ),
        named(CHECKPOINT, Harm::Remove, &["no checkpoint of step 5", "remove", "state-"], &[STATE], true),
        named(STATE, Harm::Halve, &[STATE, "damaged", "remove"], &[STATE], true),
        repaired(STATE, Harm::Remove, true),
        named("analysis.json", Harm::Newer, &["analysis.json", "format version 17"], &[], false),
        repaired("analysis.json", Harm::Halve, false),
        repaired("analysis.json", Harm::Remove, true),
        repaired("measures.json", Harm::Remove, true),
        repaired("events.jsonl", Harm::Remove, true),
        repaired("events.jsonl", Harm::Halve, true),
    ]
    .into_iter()
    .enumerate()
    {
        let Damage { file, harm, run_says, remedy, shows } = damage;
        let what = format!("{n}: {file}");
        let run = format!("damaged {n}");
        let mut broken = whole.clone();
        match harm.done_to(&broken[file]) {
            Some(bytes) => {
                assert!(bytes != broken[file], "{what}: no harm done");
                broken.insert(file.to_owned(), bytes);
            }
            None => drop(broken.remove(file)),
        }
        for (name, bytes) in &broken {
            here.write(&format!("{run}/{name}"), bytes);
        }
        assert_eq!(here.call(&["show", &run]).code, Some(if shows { 0 } else { 2 }), "{what}");
        let outcome = here.call(&small(&run));
        if run_says.is_empty() {
            outcome.expect(0, &[]);
        } else {
            outcome.expect(2, run_says);
            if remedy.is_empty() {
                continue;
            }
            for file in remedy {
                fs_err::remove_file(here.path(&run).join(file)).unwrap();
            }
            here.call(&small(&run)).expect(0, &[]);
        }
        assert_same(&here.findings(&run), &findings, &what);
        here.call(&["show", &run]).expect(0, &[]);
    }
}

#[test]
fn the_folder_of_another_run_is_refused_and_left_as_it_was() {
    let here = Workplace::new();
    here.call(&small("r")).expect(0, &[]);
    let before = files(&here.path("r"));
    for set in ["seed=4", "train.steps=11", "task.p=5", "network.d_mlp=8"] {
        for last in [&["--dry-run"][..], &[]] {
            let args = [&small("r")[..], &["--set", set], last].concat();
            here.call(&args).expect(2, &["r/run.toml", "trajectory", "start a new run folder"]);
        }
    }
    let mut after = files(&here.path("r"));
    // The refused came and went.
    after.retain(|name, _| !name.starts_with("workers/"));
    assert_same(&after, &before, "a refused run");
}

#[test]
fn an_instruction_set_that_the_processor_does_not_have_is_named_with_those_it_has() {
    let here = Workplace::new();
    let output = here.command(&["new", "grokking"]).env("ONTOGENY_ISA", "avx1024").output().unwrap();
    let talk = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{talk}");
    for part in ["ONTOGENY_ISA", "`avx1024`", ontogeny_graph::Isa::Baseline.name(), "unset it"] {
        assert!(talk.contains(part), "{talk}");
    }
}
