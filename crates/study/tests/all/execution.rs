//! Executing a run through the library: the same findings however often it is interrupted, and whatever is asked of it
//! afterwards.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as they do")]

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use crate::common::{execute, tiny};
use ontogeny_graph::ENGINE_VERSION;
use ontogeny_posterior::Batch;
use ontogeny_store::FORMAT_VERSION;
use ontogeny_study::{Event, OpenedRun, Options, Run, StudyError};

const TEXT: &str = tiny!(
    "layer_norm",
    r#"[train]
optimizer = "sgd"
momentum = 0.9
learning_rate = 0.05
batch = 6
steps = 24
checkpoints = [0, 2, 5, 11, 24]

[measure.loss]
[measure.weight_norm]
[measure.llc]
chains = 3
burn_in = 10
draws = 40
batch = 4
"#
);

fn prepared(text: &str) -> Run {
    crate::common::prepared(text).unwrap()
}

/// Checkpoints, state, records and analysis of a run, by file.
fn findings(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders =
        vec![directory.join("checkpoints"), directory.join("records"), directory.join("measurements.zarr")];
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(directory).unwrap().to_string_lossy().into_owned();
                found.insert(name, fs_err::read(&path).unwrap());
            }
        }
    }
    for name in ["run.toml", "analysis.json", "measures.json"] {
        found.insert(name.to_owned(), fs_err::read(directory.join(name)).unwrap());
    }
    found
}

#[test]
fn a_run_interrupted_after_one_two_three_events_arrives_at_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let run = prepared(TEXT);
    let undisturbed = folder.path().join("undisturbed");
    let summary = execute(&run, &undisturbed, 1, usize::MAX).unwrap();
    let interrupted = folder.path().join("interrupted");
    let mut n_events = 1;
    let last = loop {
        match execute(&run, &interrupted, 1 + n_events % 3, n_events) {
            Ok(summary) => break summary,
            Err(StudyError::Interrupted) => n_events += 1,
            Err(other) => panic!("after {n_events} events: {other}"),
        }
    };
    assert!(n_events > 5, "interrupted only {n_events} times");
    assert_eq!((last.view.observables, last.analysis), (summary.view.observables, summary.analysis));
    let (found, expected) = (findings(&interrupted), findings(&undisturbed));
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, bytes) in found {
        assert!(bytes == expected[&name], "{name}");
    }
}

#[test]
fn an_opened_run_has_the_weights_and_the_loss_that_were_measured() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("run");
    let summary = execute(&prepared(TEXT), &directory, 2, usize::MAX).unwrap();
    let measured = &summary.view.observables["loss"];
    assert_eq!(measured.components()[0], "train");
    let opened = OpenedRun::open(&directory).unwrap();
    let objective = opened.objective("train").unwrap();
    let mut steps = Vec::new();
    for ((step, weights), (loss, _)) in opened.checkpoints().unwrap().zip(measured.series(0)) {
        let found = objective.full_loss(&weights.unwrap(), Batch::Full).unwrap().mean;
        // Two programs add the same 20 losses of about 1.6 in f32, in orders of their own.
        assert!((found - loss.unwrap()).abs() < 1e-5, "step {step}: {found} and {loss:?}");
        steps.push(step);
    }
    assert_eq!(steps, [0, 2, 5, 11, 24]);
    let missing = opened.objective("validation").unwrap_err().to_string();
    assert!(missing.contains("`validation`") && missing.contains("train, test, all"), "{missing}");
}

#[test]
fn a_training_that_diverges_keeps_what_it_had_and_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("run");
    // Without norms nothing holds a learning rate of 1e20 back.
    let text = TEXT.replace("layer_norm", "none").replace("learning_rate = 0.05", "learning_rate = 1e20");
    let run = prepared(&text);
    let message = execute(&run, &directory, 2, usize::MAX).unwrap_err().to_string();
    assert!(message.contains("training stopped at step") && message.contains("lower the learning rate"), "{message}");
    let opened = OpenedRun::open(&directory).unwrap();
    assert_eq!(opened.steps().unwrap()[0], 0);
    assert!(opened.weights(0).unwrap().iter().all(|w| w.is_finite()));
    let again = execute(&run, &directory, 2, usize::MAX).unwrap_err().to_string();
    assert_eq!(again, message);
}

/// The bits of a run are of one engine, or somebody was told.
#[test]
fn a_run_continued_by_another_engine_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let run = prepared(TEXT);
    let notices = || {
        let (cancel, said) = (AtomicBool::new(false), Mutex::new(Vec::new()));
        let observer = |event: &Event| {
            if let Event::Notice { message } = event
                && !message.contains("not looked at for transitions")
            {
                said.lock().unwrap().push(message.clone());
            }
        };
        let options = Options { threads: NonZero::new(1).unwrap(), observer: &observer, cancel: &cancel };
        run.execute(&path, &options).unwrap();
        said.into_inner().unwrap()
    };
    assert_eq!(notices(), [""; 0]);
    assert_eq!(notices(), [""; 0]);
    let whole = findings(&path);
    let text = String::from_utf8(whole["run.toml"].clone()).unwrap();
    let rewrite = |format: u32, engine: &str| {
        let (head, body) = text.split_once("blake3 = ").unwrap();
        let (_, body) = body.split_once('\n').unwrap();
        let (now, ours) = (format!("format_version = {FORMAT_VERSION}\n"), format!("engine = {ENGINE_VERSION}\n"));
        assert!(body.contains(&now) && body.contains(&ours), "{body}");
        let body = body.replace(&now, &format!("format_version = {format}\n")).replace(&ours, engine);
        let hash = blake3::hash(body.as_bytes());
        fs_err::write(path.join("run.toml"), format!("{head}blake3 = \"{hash}\"\n{body}")).unwrap();
    };

    // Runs of format 2 do not know their engine; what they have is kept, and they never claim to be today's.
    rewrite(2, "");
    for _ in 0..2 {
        let said = notices();
        assert!(said.len() == 1 && said[0].contains("begun by an older engine, this is engine"), "{said:?}");
    }
    let kept = fs_err::read_to_string(path.join("run.toml")).unwrap();
    assert!(kept.contains(&format!("format_version = {FORMAT_VERSION}\n")) && !kept.contains("\nengine"), "{kept}");
    rewrite(FORMAT_VERSION, "engine = 1000\n");
    let said = notices();
    assert!(said.len() == 1 && said[0].contains("begun by engine 1000"), "{said:?}");
    rewrite(FORMAT_VERSION, &format!("engine = {ENGINE_VERSION}\n"));
    assert_eq!(notices(), [""; 0]);
    assert_eq!(findings(&path), whole);
}
