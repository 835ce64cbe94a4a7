//! Imported checkpoints: a series by glob measures as the run that made it; files that do not fit are named.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as they do")]

use std::collections::BTreeMap;
use std::path::Path;

use crate::common::{TINY, TINY_STEPS, Workplace, assert_same, files};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use serde_json::Value;

/// A series of checkpoints of the network of [`TINY`], and what to measure.
fn series(checkpoints: &str, step: &str, measures: &str) -> String {
    let task = &TINY[TINY.find("[task]").unwrap()..TINY.find("[train]").unwrap()];
    format!(
        "title = \"Imported\"\nseed = 3\n\n{task}[import]\ncheckpoints = {checkpoints:?}\nstep = {step}\n\n{measures}"
    )
}

const PATTERN: &str = r#""step-(\\d+)""#;
const CHEAP: &str = "[measure.loss]\n[measure.accuracy]\n";

/// A workplace with the finished run `trained`.
fn with_a_trained_run() -> Workplace {
    let here = Workplace::new();
    here.call(&["run", "tiny.toml", "--out", "trained"]).expect(0, &[]);
    here
}

/// Float tensors by name: shape and values.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn read(path: &Path) -> Tensors {
    let bytes = fs_err::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let values = |data: &[u8]| data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    tensors.iter().map(|(name, t)| (name.to_owned(), (t.shape().to_vec(), values(t.data())))).collect()
}

fn encode(tensors: &Tensors) -> Vec<u8> {
    let bytes: BTreeMap<&str, Vec<u8>> =
        tensors.iter().map(|(name, (_, v))| (&**name, v.iter().flat_map(|x| x.to_le_bytes()).collect())).collect();
    let views = tensors.iter().map(|(name, (shape, _))| {
        (&**name, TensorView::new(Dtype::F32, shape.clone(), &bytes[&**name]).expect("shape and values agree"))
    });
    serialize(views, None).unwrap()
}

#[test]
fn an_imported_series_measures_as_the_run_that_made_it() {
    let here = with_a_trained_run();
    let measures = &TINY[TINY.find("[measure.loss]").unwrap()..TINY.find("[scale").unwrap()];
    here.write("again.toml", series("trained/checkpoints/step-*.safetensors", PATTERN, measures));
    here.call(&["run", "again.toml", "--out", "imported"]).expect(0, &[]);
    let (trained, imported) = (here.show("trained"), here.show("imported"));
    assert_eq!(imported["checkpoints"], serde_json::json!(TINY_STEPS));
    // The same numbers to the last bit: exact ones, chains, and what is found in them.
    for part in ["observables", "transitions", "stages"] {
        assert_eq!(imported[part], trained[part], "{part}");
    }
    let copied = files(&here.path("imported/checkpoints"));
    assert_eq!(copied.keys().collect::<Vec<_>>(), ["imported.json"], "referenced, not copied");
}

#[test]
fn a_series_that_grows_is_measured_where_it_grew() {
    let here = with_a_trained_run();
    let add = |step: u64| {
        let name = format!("step-{step:08}.safetensors");
        let bytes = fs_err::read(here.path("trained/checkpoints").join(&name)).unwrap();
        here.write(&format!("series/{name}"), bytes);
    };
    here.write("grow.toml", series("series/*.safetensors", PATTERN, CHEAP));
    let run = || {
        let outcome = here.call(&["run", "grow.toml", "--json"]);
        outcome.expect(0, &[]);
        let events = outcome.json_lines();
        let n_measured = events.iter().filter(|e| e["event"] == "measured").count();
        (events[0]["directory"].as_str().unwrap().to_owned(), n_measured)
    };
    [0, 1, 3].into_iter().for_each(add);
    let (folder, n_measured) = run();
    assert_eq!(n_measured, 6);
    [6, 10].into_iter().for_each(add);
    assert_eq!(run(), (folder.clone(), 4), "the same folder, and only what is new");
    assert_eq!(here.show(&folder)["checkpoints"], serde_json::json!([0, 1, 3, 6, 10]));

    // A file that was replaced is another checkpoint.
    here.write("series/step-00000010.safetensors", encode(&read(&here.path("series/step-00000006.safetensors"))));
    assert_eq!(run(), (folder.clone(), 2));
    let loss = &here.show(&folder)["observables"]["loss"]["values"];
    assert_eq!(loss[4], loss[3]);
}

#[test]
fn files_that_do_not_fit_are_named_before_anything_is_written() {
    let here = with_a_trained_run();
    let good = here.path("trained/checkpoints/step-00000010.safetensors");
    let tensors = read(&good);
    let changed = |change: &dyn Fn(&mut Tensors)| {
        let mut tensors = tensors.clone();
        change(&mut tensors);
        encode(&tensors)
    };
    let bytes = fs_err::read(&good).unwrap();
    here.write("bad/step-1-truncated.safetensors", &bytes[..bytes.len() - 100]);
    here.write("bad/step-2-empty.safetensors", "");
    here.write(
        "bad/step-3-shape.safetensors",
        changed(&|t| {
            t.insert("blocks.0.mlp.W_in".to_owned(), (vec![8, 15], vec![0.5; 120]));
        }),
    );
    here.write("bad/step-4-nan.safetensors", changed(&|t| t.get_mut("unembed.W_U").unwrap().1[9] = f32::NAN));
    here.write(
        "bad/step-5-name.safetensors",
        changed(&|t| {
            let moved = t.remove("unembed.W_U").unwrap();
            t.insert("unembed.W_V".to_owned(), moved);
        }),
    );
    let hostile = Path::new(env!("CARGO_MANIFEST_DIR")).join("../zoo/tests/hostile/os_system.pt");
    here.write("bad/step-6-pickle.pt", fs_err::read(hostile).unwrap());
    here.write("bad/step-7-text.pt", "weights to follow\n");
    here.write("wide.toml", TINY.replace("d_model = 8", "d_model = 12"));
    here.call(&["run", "wide.toml", "--out", "wide", "--scale", "small"]).expect(0, &[]);
    here.write("named/a.safetensors", &bytes);
    here.write("named/run-1-step-10.safetensors", &bytes);
    here.write("twice/a-step-10.safetensors", &bytes);
    here.write("twice/b-step-10.safetensors", &bytes);

    let before = files(&here.path(""));
    for (checkpoints, step, says) in [
        ("bad/step-1-*", PATTERN, &["step-1-truncated.safetensors", "`unembed.W_U`", "may have been truncated"][..]),
        ("bad/step-2-*", PATTERN, &["step-2-empty.safetensors"]),
        ("bad/step-3-*", PATTERN, &["step-3-shape", "`blocks.0.mlp.W_in`", "[8, 15]", "expected [8, 16]"]),
        ("bad/step-4-*", PATTERN, &["step-4-nan", "`unembed.W_U`", "NaN", "[1, 1]", "before the run diverged"]),
        ("bad/step-5-*", PATTERN, &["step-5-name", "missing `unembed.W_U`", "superfluous `unembed.W_V`"]),
        ("bad/step-6-*", PATTERN, &["step-6-pickle.pt", "refused before reading", "system"]),
        ("bad/step-7-*", PATTERN, &["step-7-text.pt", "not a weight file"]),
        (
            "wide/checkpoints/step-*.safetensors",
            PATTERN,
            &["step-00000000", "`embed.W_E`", "[8, 12]", "expected [8, 8]"],
        ),
        (
            "nowhere.safetensors",
            "1",
            &["[import]", "no file matches", "nowhere.safetensors", "relative to the run file"],
        ),
        ("nowhere/*.safetensors", PATTERN, &["[import]", "no file matches"]),
        ("named/a[", "1", &["[import]", "no glob"]),
        ("named/*.safetensors", "3", &["[import]", "the number 3", "2 files", "regular expression"]),
        ("named/*.safetensors", r#""step-\\d+""#, &["[import]", "0 groups", "expected one"]),
        ("named/*.safetensors", r#""(run)-(\\d+)""#, &["[import]", "2 groups", "expected one"]),
        ("named/*.safetensors", r#""step-(\\d""#, &["[import]", "no regular expression"]),
        ("named/*.safetensors", PATTERN, &["[import]", "`a.safetensors` does not match"]),
        ("named/a.safetensors", r#""(a)""#, &["[import]", "`a` in `a.safetensors`", "whole number"]),
        ("twice/*.safetensors", PATTERN, &["[import]", "a-step-10", "b-step-10", "both have step 10"]),
        ("named/a.safetensors", "-4", &["bad.toml", "step -4 is negative"]),
        ("named/a.safetensors", "true", &["bad.toml", "a step, or a regular expression"]),
        ("named/a.safetensors", "[4, 5]", &["[import]", "lists 2 steps", "matches 1 files"]),
    ] {
        let text = series(checkpoints, step, CHEAP);
        here.write("bad.toml", &text);
        for last in [&["--dry-run"][..], &[]] {
            here.call(&[&["run", "bad.toml", "--out", "r"], last].concat()).expect(2, says);
        }
        fs_err::remove_file(here.path("bad.toml")).unwrap();
        assert_same(&files(&here.path("")), &before, checkpoints);
    }
}

#[test]
fn a_file_that_goes_bad_does_not_take_the_run_with_it() {
    let here = with_a_trained_run();
    let good = fs_err::read(here.path("trained/checkpoints/step-00000010.safetensors")).unwrap();
    let file = "series/step-10.safetensors";
    here.write(file, &good);
    here.write("series.toml", series("series/*", PATTERN, CHEAP));
    here.call(&["run", "series.toml", "--out", "r"]).expect(0, &[]);
    let shown = here.show("r");
    here.write(file, &good[..good.len() / 2]);
    here.call(&["run", "series.toml", "--out", "r"]).expect(2, &["step-10.safetensors", "may have been truncated"]);
    assert_eq!(here.show("r"), shown);
    fs_err::remove_file(here.path(file)).unwrap();
    here.call(&["run", "series.toml", "--out", "r"]).expect(2, &["no file matches"]);
    assert_eq!(here.show("r"), shown);
    here.write(file, &good);
    here.call(&["run", "series.toml", "--out", "r"]).expect(0, &[]);
    assert_eq!(here.show("r"), shown);

    // The folder of one import is not taken for another, nor for a training.
    here.write("other.toml", series("series/*", "4", CHEAP));
    here.call(&["run", "other.toml", "--out", "r"]).expect(2, &["r/run.toml", "start a new run folder"]);
    here.call(&["run", "tiny.toml", "--out", "r"]).expect(2, &["r/run.toml", "start a new run folder"]);
    here.call(&["run", "series.toml", "--out", "trained"]).expect(2, &["trained/run.toml", "start a new run folder"]);
    assert_eq!(here.show("r"), shown);
}

/// A number in nested JSON.
fn at(values: &Value, label: &str, labels: &Value) -> f64 {
    let position = labels.as_array().unwrap().iter().position(|l| l == label);
    let position = position.unwrap_or_else(|| panic!("no {label} in {labels}"));
    values[0][position].as_f64().unwrap()
}

/// Two published networks (Nanda et al. 2023), measured exactly. Their weights carry no licence and are no part of this
/// project: where they are not beside it, there is nothing to test.
#[test]
fn published_networks_have_their_published_losses_and_circuits() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    if !root.join("../shared/data/progress-measures/splits.npz").exists() {
        println!("skipped: no ../shared/data/progress-measures beside the repository");
        return;
    }
    let fixture = fs_err::read_to_string(root.join("tests/fixtures/torch/progress_measures.json")).unwrap();
    let fixture: Value = serde_json::from_str(&fixture).unwrap();
    let here = Workplace::new();
    for (example, name, losses, keys) in [
        (
            "import-grokked",
            "wd_10-1_mod_addition_loss_curve",
            [("train", "9.202e-9"), ("test", "4.988e-7"), ("all", "3.520e-7")],
            "6, 23, 37, 39, 41",
        ),
        (
            "import-no-decay",
            "mod_addition_no_wd",
            [("train", "1.681e-10"), ("test", "1.110e-6"), ("all", "1.111e-7")],
            "36, 52",
        ),
    ] {
        let file = root.join("examples").join(format!("{example}.toml"));
        // The chains of the learning coefficient take minutes; the example itself shows them.
        let cheap = "measure={ loss = {}, accuracy = {}, fourier = {} }";
        here.call(&["run", file.to_str().unwrap(), "--out", example, "--set", cheap]).expect(0, &[]);
        let run = here.show(example);
        let (loss, accuracy) = (&run["observables"]["loss"], &run["observables"]["accuracy"]);
        for (split, expected) in losses {
            let found = at(&loss["values"], split, &loss["coordinates"]["split"]);
            // Three digits, as the data's own description gives them.
            let digits = |x: f64| format!("{x:.2e}");
            assert_eq!(digits(found), digits(expected.parse().unwrap()), "{example} {split}: {found:e}");
            assert_eq!(at(&accuracy["values"], split, &accuracy["coordinates"]["split"]), 1.0, "{example} {split}");
        }
        let fourier = &run["observables"]["fourier"];
        assert_eq!(fourier["details"][0]["key_frequencies"], keys, "{example}");
        let runs = fixture["runs"].as_array().unwrap();
        let torch = runs.iter().find(|run| run["name"] == name).unwrap();
        for (quantity, expected) in [
            ("restricted_loss", &torch["restricted_loss"]["all"]),
            ("restricted_loss_train", &torch["restricted_loss"]["train"]),
            ("restricted_loss_test", &torch["restricted_loss"]["test"]),
            ("excluded_loss", &torch["excluded_loss_train"]),
        ] {
            let found = at(&fourier["values"], quantity, &fourier["coordinates"]["quantity"]);
            let expected = expected.as_f64().unwrap();
            // The fixture is f64 throughout; logits of size 30 in f32 leave about 30·2⁻²³ ≈ 4e-6 of a tiny loss.
            assert!((found / expected - 1.0).abs() < 1e-4, "{example} {quantity}: {found:e}, PyTorch has {expected:e}");
        }
    }
}
