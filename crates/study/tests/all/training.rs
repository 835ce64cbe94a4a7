//! The training of a run: its log, also after an interruption, and a training that ends before its schedule.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as they do")]

use std::path::Path;

use crate::common::{execute_until, prepared_with, tiny};
use ontogeny_store::{RunFolder, Status, TrainingLog};
use ontogeny_study::{Event, Overrides, Run, RunFile, StudyError, Summary};

const TEXT: &str = tiny!(
    "none",
    r#"[train]
optimizer = "adamw"
learning_rate = 0.01
warmup_steps = 4
batch = 10
steps = 40
checkpoints = [0, 7, 20, 40]

[measure.loss]
"#
);

fn run(changes: &[(&str, &str)]) -> Run {
    prepared_with(TEXT, changes).unwrap()
}

/// Executes, interrupted after `n_updates` where that is given.
fn execute(run: &Run, directory: &Path, n_updates: Option<u64>) -> Result<Summary, StudyError> {
    execute_until(run, directory, 1, &|event| matches!(event, Event::Trained { step, .. } if Some(*step) == n_updates))
}

fn log(directory: &Path) -> TrainingLog {
    RunFolder::open(directory).unwrap().training_log().unwrap().unwrap()
}

#[test]
fn the_log_has_every_update_of_a_short_training() {
    let scratch = tempfile::tempdir().unwrap();
    let summary = execute(&run(&[]), scratch.path(), None).unwrap();
    let log = log(scratch.path());
    assert_eq!(log.update, (1..=40).collect::<Vec<_>>());
    assert_eq!(log.examples, (1..=40).map(|n| 10 * n).collect::<Vec<_>>());
    assert_eq!(log.tokens, (1..=40).map(|n| 30 * n).collect::<Vec<_>>());
    assert_eq!(log.learning_rate[..6], [0.0, 0.0025, 0.005, 0.0075, 0.01, 0.01]);
    assert!(log.gradient_norm.iter().chain(&log.seconds).all(|&x| x > 0.0 && x < 1e3), "{log:?}");
    // The first update sees the initial weights, on ten of the twenty training pairs.
    let first = summary.view.observables["loss"].series(0)[0].0.unwrap();
    assert!((log.loss[0] - first).abs() < 0.5, "{} {first}", log.loss[0]);
    assert_eq!(summary.view.training.as_ref(), Some(&log));
    // It is read by Python like everything else.
    assert!(scratch.path().join("measurements.zarr/training_log/gradient_norm/zarr.json").exists());
}

#[test]
fn every_inner_step_of_entropy_sgd_sees_a_batch() {
    let scratch = tempfile::tempdir().unwrap();
    let entropy = run(&[
        ("train.optimizer", "entropy_sgd"),
        ("train.entropy", "{ scope = 0.01, steps = 3 }"),
        ("train.warmup_steps", "0"),
    ]);
    execute(&entropy, scratch.path(), None).unwrap();
    assert_eq!(log(scratch.path()).examples, (1..=40).map(|n| 3 * 10 * n).collect::<Vec<_>>());
}

#[test]
fn an_interrupted_log_is_continued_as_if_nothing_had_been() {
    let scratch = tempfile::tempdir().unwrap();
    let [whole, parts] = ["whole", "parts"].map(|name| scratch.path().join(name));
    execute(&run(&[]), &whole, None).unwrap();
    for n_updates in [3, 11, 25] {
        assert!(execute(&run(&[]), &parts, Some(n_updates)).unwrap_err().is_interruption());
    }
    execute(&run(&[]), &parts, None).unwrap();
    let numbers = |directory: &Path| TrainingLog { seconds: Vec::new(), ..log(directory) };
    assert_eq!(numbers(&parts), numbers(&whole));
}

#[test]
fn a_training_may_start_with_the_weights_of_another_run() {
    let scratch = tempfile::tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| scratch.path().join(name));
    execute(&run(&[]), &first, None).unwrap();
    let start = |more: &str| format!("{{ run = {:?}{more} }}", first.to_str().unwrap());
    let tuned = run(&[("task.operation", "sub"), ("start", &start("")), ("seed", "6")]);
    execute(&tuned, &second, None).unwrap();
    let weights = |directory: &Path, step| RunFolder::open(directory).unwrap().read_checkpoint(step).unwrap().tensors;
    assert_eq!(weights(&second, 0), weights(&first, 40));
    assert_ne!(weights(&second, 40), weights(&first, 40));
    // It is another run than one that starts elsewhere.
    let earlier = run(&[("task.operation", "sub"), ("start", &start(", step = 7")), ("seed", "6")]);
    assert_ne!(earlier.default_directory(), tuned.default_directory());
    assert!(execute(&earlier, &second, None).unwrap_err().to_string().contains("run.toml"));
}

#[test]
fn weights_that_cannot_be_started_from_are_told() {
    let scratch = tempfile::tempdir().unwrap();
    let first = scratch.path().join("first");
    execute(&run(&[]), &first, None).unwrap();
    let path = first.to_str().unwrap().to_owned();
    for (key, value, words) in [
        ("start", "{ run = \"nowhere\" }".to_owned(), "in [start]: "),
        ("start", format!("{{ run = {path:?}, step = 8 }}"), "`step` is 8; the run has checkpoints at 0, 7, 20, 40"),
        ("start", format!("{{ runs = {path:?} }}"), "did you mean `run`?"),
        ("network.d_mlp", "9".to_owned(), "no tensor `blocks.0.mlp.W_in` of shape [8, 9]"),
    ] {
        let set = vec![("start".to_owned(), format!("{{ run = {path:?} }}")), (key.to_owned(), value)];
        let overrides = Overrides { set, ..Overrides::default() };
        let prepared = RunFile::parse(Path::new("tiny.toml"), TEXT, &overrides).map_err(|e| e.to_string());
        let error = prepared.and_then(|file| Run::prepare(file, "a test").map_err(|e| e.to_string())).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_training_may_end_before_its_schedule() {
    let scratch = tempfile::tempdir().unwrap();
    let [whole, parts] = ["whole", "parts"].map(|name| scratch.path().join(name));
    let early =
        run(&[("train.stop_below", "{ loss = 1.55, for = 2 }"), ("train.steps", "400"), ("train.warmup_steps", "0")]);
    let summary = execute(&early, &whole, None).unwrap();
    let end = *summary.view.checkpoints.last().unwrap();
    assert!((2..400).contains(&end), "ended at {end}");
    let log = log(&whole);
    assert_eq!(log.update.last(), Some(&end));
    // In a log of every update, the last two are the first two in a row below the bound.
    let below: Vec<bool> = log.loss.iter().map(|&loss| loss < 1.55).collect();
    let first = below.windows(2).position(|pair| pair == [true, true]).unwrap();
    assert_eq!(log.update[first + 1], end);
    // Every checkpoint that there is is measured, and nothing else is waited for.
    let loss = &summary.view.observables["loss"];
    assert_eq!(loss.status, vec![Status::Done; summary.view.checkpoints.len()]);
    let work = early.work_to_do(whole.as_path()).unwrap();
    assert_eq!((work.training, work.checkpoints.last(), work.measures[0].1), (Some(0), Some(&end), 0));
    let again = execute(&early, &whole, None).unwrap();
    assert_eq!(again.view, summary.view);
    // The same after an interruption.
    assert!(execute(&early, &parts, Some(2)).unwrap_err().is_interruption());
    let continued = execute(&early, &parts, None).unwrap();
    assert_eq!(continued.view.observables, summary.view.observables);
}

#[test]
fn checkpoints_are_kept_where_the_loss_first_falls_below_values() {
    let scratch = tempfile::tempdir().unwrap();
    let [whole, parts, listed] = ["whole", "parts", "listed"].map(|name| scratch.path().join(name));
    let base = [("train.steps", "100"), ("train.warmup_steps", "0"), ("train.checkpoints", "[0, 50, 100]")];
    // The two values in the middle may be passed by the same update; the last one never is.
    let below = ("train.checkpoint_below", "[1.58, 1.4, 1.39, 1.2, 1e-9]");
    let events = run(&[base.as_slice(), &[below]].concat());
    let summary = execute(&events, &whole, None).unwrap();
    let log_of_whole = log(&whole);
    assert_eq!(log_of_whole.update, (1..=100).collect::<Vec<_>>());
    let first_below = |value: f64| {
        let at = log_of_whole.loss.iter().position(|&loss| loss < value);
        at.map(|at| log_of_whole.update[at])
    };
    let found: Vec<u64> = [1.58, 1.4, 1.39, 1.2, 1e-9].into_iter().filter_map(first_below).collect();
    assert!(found.len() >= 3 && found.len() < 5, "{found:?}");
    let mut expected: Vec<u64> = [0, 50, 100].into_iter().chain(found).collect();
    expected.sort_unstable();
    expected.dedup();
    assert_eq!(summary.view.checkpoints, expected);
    assert_eq!(summary.view.observables["loss"].status, vec![Status::Done; expected.len()]);
    let work = events.work_to_do(whole.as_path()).unwrap();
    assert_eq!((work.training, &work.checkpoints, work.measures[0].1), (Some(0), &expected, 0));
    // They are the weights of these steps.
    let steps = format!("{expected:?}");
    execute(&run(&[base.as_slice(), &[("train.checkpoints", &steps)]].concat()), &listed, None).unwrap();
    let weights = |directory: &Path, step| RunFolder::open(directory).unwrap().read_checkpoint(step).unwrap().tensors;
    for &step in &expected {
        assert_eq!(weights(&whole, step), weights(&listed, step), "{step}");
    }
    // The same after interruptions, before, at and after such a checkpoint.
    let between = expected[1];
    for n_updates in [between - 1, between, between + 1, 60] {
        assert!(execute(&events, &parts, Some(n_updates)).unwrap_err().is_interruption());
    }
    let continued = execute(&events, &parts, None).unwrap();
    assert_eq!(continued.view.observables, summary.view.observables);
    let numbers = |directory: &Path| TrainingLog { seconds: Vec::new(), ..log(directory) };
    assert_eq!(numbers(&parts), numbers(&whole));
}

#[test]
fn workers_that_do_not_train_learn_of_checkpoints_that_were_not_planned() {
    let scratch = tempfile::tempdir().unwrap();
    let [alone, shared] = ["alone", "shared"].map(|name| scratch.path().join(name));
    let events = run(&[
        ("train.steps", "100"),
        ("train.warmup_steps", "0"),
        ("train.checkpoints", "[0, 100]"),
        ("train.checkpoint_below", "[1.58, 1.4, 1.2]"),
    ]);
    let expected = execute(&events, &alone, None).unwrap();
    assert!(expected.view.checkpoints.len() > 2);
    let summaries = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3).map(|_| scope.spawn(|| execute(&events, &shared, None).unwrap())).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect::<Vec<_>>()
    });
    for summary in summaries {
        assert_eq!(summary.view.observables, expected.view.observables);
    }
}

#[test]
fn a_damaged_log_says_what_is_lost_and_what_to_do() {
    let scratch = tempfile::tempdir().unwrap();
    let own = run(&[]);
    let summary = execute(&own, scratch.path(), None).unwrap();
    fs_err::write(scratch.path().join("training.json"), "{").unwrap();
    let error = execute(&own, scratch.path(), None).unwrap_err().to_string();
    assert!(error.contains("training.json` is damaged"), "{error}");
    assert!(error.contains("are not made again: put a copy back, or remove it and run again"), "{error}");
    // What it says can be done.
    fs_err::remove_file(scratch.path().join("training.json")).unwrap();
    let again = execute(&own, scratch.path(), None).unwrap();
    assert_eq!((again.view.training, again.view.observables), (None, summary.view.observables));
}
