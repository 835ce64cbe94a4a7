//! Trainings that begin elsewhere: lottery tickets, changed heads, and other runs at a step that is fixed.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as they do")]

use std::path::Path;

use crate::common::{execute, execute_until, prepared_with, tiny};
use ontogeny_store::{RunFolder, Tensor};
use ontogeny_study::{Event, OpenedRun, Run};

const TEXT: &str = tiny!(
    "none",
    r#"[train]
optimizer = "adamw"
learning_rate = 0.01
weight_decay = 0.1
batch = 10
steps = 40
checkpoints = [0, 7, 20, 40]

[measure.loss]
"#
);

fn try_run(changes: &[(&str, &str)]) -> Result<Run, String> {
    prepared_with(TEXT, changes)
}

fn run(changes: &[(&str, &str)]) -> Run {
    try_run(changes).unwrap()
}

fn tensors(directory: &Path, step: u64) -> Vec<Tensor> {
    RunFolder::open(directory).unwrap().read_checkpoint(step).unwrap().tensors
}

/// Executes, interrupted after `n_updates`.
fn interrupt(run: &Run, directory: &Path, n_updates: u64, threads: usize) {
    let is_last = |event: &Event| matches!(event, Event::Trained { step, .. } if *step == n_updates);
    assert!(execute_until(run, directory, threads, &is_last).unwrap_err().is_interruption());
}

#[test]
fn a_ticket_is_trained_from_early_weights_and_stays_sparse_through_interruptions() {
    let scratch = tempfile::tempdir().unwrap();
    let [dense, whole, parts] = ["dense", "whole", "parts"].map(|name| scratch.path().join(name));
    execute(&run(&[]), &dense, 1, usize::MAX).unwrap();
    let dense_name = format!("{:?}", dense.to_str().unwrap());
    let ticket = |keep: &str| {
        let start = format!("{{ run = {dense_name}, step = 7, prune = {{ keep = {keep}, except = [\"embed\"] }} }}");
        run(&[("start", &start)])
    };
    let own = ticket("0.25");
    execute(&own, &whole, 1, usize::MAX).unwrap();
    let (early, late) = (tensors(&dense, 7), tensors(&dense, 40));
    let is_pruned = |name: &str| !name.starts_with("embed") && !name.rsplit('.').next().unwrap().starts_with('b');
    for (early, late) in early.iter().zip(&late) {
        let start = tensors(&whole, 0).into_iter().find(|tensor| tensor.name == early.name).unwrap();
        let n = early.values.len();
        let n_kept = if is_pruned(&early.name) { n - (0.75 * n as f64).round() as usize } else { n };
        // The weights that are largest at the end have their early values, the others none.
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|&a, &b| late.values[b].abs().total_cmp(&late.values[a].abs()));
        for (rank, &at) in order.iter().enumerate() {
            let expected = if rank < n_kept { early.values[at] } else { 0.0 };
            assert!(start.values[at] == expected, "{} {at}", early.name);
        }
        for step in [7, 20, 40] {
            let now = tensors(&whole, step).into_iter().find(|tensor| tensor.name == early.name).unwrap();
            assert!(order[n_kept..].iter().all(|&at| now.values[at] == 0.0), "{} at step {step}", early.name);
        }
    }
    assert_ne!(tensors(&whole, 40), tensors(&whole, 0));
    for (n_updates, threads) in [(3, 2), (7, 1), (25, 2)] {
        interrupt(&own, &parts, n_updates, threads);
    }
    execute(&own, &parts, 2, usize::MAX).unwrap();
    assert_eq!(tensors(&parts, 40), tensors(&whole, 40));
    assert_eq!(OpenedRun::open(&whole).unwrap().steps().unwrap(), [0, 7, 20, 40]);
    // A ticket of another size is another run; one that keeps everything is the training from there.
    assert_ne!(ticket("0.5").default_directory(), own.default_directory());
    let all = scratch.path().join("all");
    execute(&ticket("1.0"), &all, 1, usize::MAX).unwrap();
    assert_eq!(tensors(&all, 0), early);
}

#[test]
fn a_mask_of_the_same_size_can_be_drawn() {
    let scratch = tempfile::tempdir().unwrap();
    let start = |directory: &str, seed: &str| {
        let random = run(&[("start", &format!("{{ prune = {{ keep = 0.25, random = {seed} }} }}"))]);
        let directory = scratch.path().join(directory);
        execute(&random, &directory, 1, usize::MAX).unwrap();
        tensors(&directory, 0)
    };
    let (one, again, other) = (start("one", "1"), start("again", "1"), start("other", "2"));
    assert_eq!(one, again);
    assert_ne!(one, other);
    let n_kept = |tensors: &[Tensor], part: &str| {
        let matrices = tensors.iter().filter(|tensor| tensor.name.ends_with(part));
        matrices.flat_map(|tensor| &tensor.values).filter(|&&w| w != 0.0).count()
    };
    // 8 by 8 weights of the MLP's first matrix.
    assert_eq!([n_kept(&one, "W_in"), n_kept(&other, "W_in")], [16, 16]);
}

#[test]
fn single_heads_start_otherwise() {
    let scratch = tempfile::tempdir().unwrap();
    let start = |name: &str, changes: &[(&str, &str)]| {
        let directory = scratch.path().join(name);
        execute(&run(changes), &directory, 1, usize::MAX).unwrap();
        tensors(&directory, 0)
    };
    let own = start("own", &[]);
    let seven = start("seven", &[("seed", "7"), ("task.split_seed", "5")]);
    let fresh = start("fresh", &[("start.heads.l0h1", "7")]);
    let turned = start("turned", &[("start.heads.l0", "[1, 0]")]);
    for (((own, seven), fresh), turned) in own.iter().zip(&seven).zip(&fresh).zip(&turned) {
        let is_of_heads = ["W_Q", "W_K", "W_V", "W_O"].iter().any(|part| own.name.ends_with(part));
        let half = own.values.len() / 2;
        if is_of_heads {
            assert_eq!(fresh.values, [&own.values[..half], &seven.values[half..]].concat(), "{}", own.name);
            assert_eq!(turned.values, [&own.values[half..], &own.values[..half]].concat(), "{}", own.name);
        } else {
            assert_eq!((&fresh.values, &turned.values), (&own.values, &own.values), "{}", own.name);
        }
    }
}

#[test]
fn a_run_to_start_from_is_taken_at_its_end_which_is_kept() {
    let scratch = tempfile::tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| scratch.path().join(name));
    let path = format!("{:?}", first.to_str().unwrap());
    let from_end = || try_run(&[("start.run", &path), ("task.operation", "sub")]);
    // A training under way has no end yet: what it reaches next would make another run.
    interrupt(&run(&[]), &first, 25, 1);
    let error = from_end().unwrap_err();
    assert!(
        error.contains("has not been trained to its end, step 40; run its file to the end, or name a `step`"),
        "{error}"
    );
    assert!(error.contains("tiny.toml: in [start]: "), "{error}");
    execute(&run(&[]), &first, 1, usize::MAX).unwrap();
    let tuned = from_end().unwrap();
    execute(&tuned, &second, 1, usize::MAX).unwrap();
    assert_eq!(tensors(&second, 0), tensors(&first, 40));
    let manifest = RunFolder::open(&second).unwrap().manifest().configuration.clone();
    assert_eq!(manifest["start"]["step"].as_integer(), Some(40));
    let named = run(&[("start.run", &path), ("start.step", "40"), ("task.operation", "sub")]);
    assert_eq!(named.default_directory(), tuned.default_directory());
    // The folder holds no other training, so that its end stays where it is.
    let longer = run(&[("train.steps", "60"), ("train.checkpoints", "[0, 60]")]);
    let refused = execute(&longer, &first, 1, usize::MAX).unwrap_err();
    assert!(refused.to_string().contains("run.toml"), "{refused}");
    assert_eq!(from_end().unwrap().default_directory(), tuned.default_directory());
    // One that ended early has its end there.
    let early = scratch.path().join("early");
    let stopped = run(&[("train.stop_below", "{ loss = 100.0, for = 3 }")]);
    execute(&stopped, &early, 1, usize::MAX).unwrap();
    let after = scratch.path().join("after");
    execute(&run(&[("start.run", &format!("{:?}", early.to_str().unwrap()))]), &after, 1, usize::MAX).unwrap();
    assert_eq!(tensors(&after, 0), tensors(&early, 3));
}

#[test]
fn mistakes_are_named() {
    let scratch = tempfile::tempdir().unwrap();
    let dense = scratch.path().join("dense");
    execute(&run(&[]), &dense, 1, usize::MAX).unwrap();
    let path = format!("{:?}", dense.to_str().unwrap());
    for (start, words) in [
        (
            "{ step = 0 }".to_owned(),
            "expected `run`, with or without `step`, or `compiled = true`, or `prune`, `erase` or `heads`",
        ),
        ("{ prune = { keep = 0.5 } }".to_owned(), "`prune` has nothing to compare; expected its `run` or `random`"),
        (format!("{{ run = {path}, prune = {{ keep = 0.0 }} }}"), "start.prune.keep is 0; expected a share above 0"),
        (
            format!("{{ run = {path}, prune = {{ keep = 0.5, step = 8 }} }}"),
            "`step` is 8; the run has checkpoints at 0, 7",
        ),
        (
            format!("{{ run = {path}, prune = {{ keep = 0.5, except = [\"W_X\"] }} }}"),
            "start.prune.except is W_X; expected",
        ),
        (format!("{{ prune = {{ keep = 0.5, run = {path}, random = 1 }} }}"), "expected one of them"),
        (format!("{{ run = {path}, prune = {{ kep = 0.5 }} }}"), "did you mean `keep`?"),
        (
            "{ erase = { place = \"layers.0.hook_pre\" } }".to_owned(),
            "`start.erase` needs a `place` of a perceptron with biases",
        ),
        ("{ heads = { l0h2 = 7 } }".to_owned(), "`heads.l0h2`: block 0 has no head 2; expected one below 2"),
        ("{ heads = { l0 = [0, 0] } }".to_owned(), "`heads.l0`: [0, 0] is no order of heads"),
        ("{ heads = { l0 = 7 } }".to_owned(), "`heads.l0` is 7; expected a head such as `l0h1` with a seed"),
        ("{ heads = { first = 7 } }".to_owned(), "`heads.first` is 7; expected"),
        ("{ heads = { l0h1 = -7 } }".to_owned(), "expected a seed for a head such as `l0h1`, or an order"),
    ] {
        let error = try_run(&[("start", &start)]).unwrap_err();
        assert!(error.contains(words), "{start}: {error}");
    }
}
