//! Trainings of several stages from a run file: what is trained when, measured on which data, and continued anywhere.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as they do")]

use std::path::Path;

use crate::common::{execute, execute_until, prepared, prepared_with, record, tiny};
use ontogeny_store::RunFolder;
use ontogeny_study::{Event, OpenedRun, Run};

const TEXT: &str = tiny!(
    "none",
    r#"[curriculum.addition]
until = 15
task = { operation = "add" }
restart_optimizer = true

[curriculum.product]
until = 8
task = { kind = "modular_arithmetic", p = 5, operation = "mul", train_fraction = 0.8 }

[train]
optimizer = "adamw"
learning_rate = 0.01
batch = 10
steps = 40
checkpoints = [0, 7, 20, 40]

[measure.loss]
[measure.accuracy]
on = "product"
[measure.old]
observable = "loss"
on = "addition"
"#
);

fn run(changes: &[(&str, &str)]) -> Result<Run, String> {
    prepared_with(TEXT, &[&[("task.operation", "sub")], changes].concat())
}

fn weights(directory: &Path, step: u64) -> Vec<Vec<f32>> {
    let checkpoint = RunFolder::open(directory).unwrap().read_checkpoint(step).unwrap();
    checkpoint.tensors.into_iter().map(|tensor| tensor.values).collect()
}

#[test]
fn stages_are_trained_in_order_and_measured_on_their_own_data() {
    let scratch = tempfile::tempdir().unwrap();
    let [staged, product] = ["staged", "product"].map(|name| scratch.path().join(name));
    let summary = execute(&run(&[]).unwrap(), &staged, 1, usize::MAX).unwrap();
    assert_eq!(summary.view.checkpoints, [0, 7, 8, 15, 20, 40]);
    // Up to its end the first stage is the training of its task alone.
    let alone = TEXT[..TEXT.find("[curriculum").unwrap()].replace("\"add\"", "\"mul\"")
        + &TEXT[TEXT.find("[train]").unwrap()..TEXT.find("[measure.accuracy]").unwrap()];
    execute(&prepared(&alone).unwrap(), &product, 1, usize::MAX).unwrap();
    assert_eq!(weights(&staged, 7), weights(&product, 7));
    assert_ne!(weights(&staged, 20), weights(&product, 20));
    // The loss on the data of a stage is that of a run of this task with these weights.
    let loss = |directory: &Path, measure: &str, step| record(directory, measure, step).arrays[0].values.clone();
    let plain = |operation: &str| {
        let other = scratch.path().join(operation);
        let text = TEXT[..TEXT.find("[curriculum").unwrap()].replace("\"add\"", &format!("{operation:?}"))
            + &format!("[start]\nrun = {:?}\nstep = 20\n", staged.to_str().unwrap())
            + &TEXT[TEXT.find("[train]").unwrap()..TEXT.find("[measure.accuracy]").unwrap()];
        execute(&prepared(&text).unwrap(), &other, 1, usize::MAX).unwrap();
        loss(&other, "loss", 0)
    };
    assert_eq!(loss(&staged, "loss", 20), plain("sub"));
    assert_eq!(loss(&staged, "old", 20), plain("add"));
    assert_ne!(loss(&staged, "loss", 20), loss(&staged, "old", 20));
    // Whoever opens the folder reads the same file.
    assert_eq!(OpenedRun::open(&staged).unwrap().steps().unwrap(), summary.view.checkpoints);
    // Each address tells the data apart.
    let plan = RunFolder::open(&staged).unwrap().measures().unwrap();
    assert_eq!(
        plan["old"].description,
        "Mean cross-entropy over each split, exact. On the data of the stage `addition`."
    );
    assert_ne!(plan["old"].steps[&20], plan["loss"].steps[&20]);
}

#[test]
fn a_run_that_is_killed_anywhere_goes_on_with_the_same_bits() {
    let scratch = tempfile::tempdir().unwrap();
    let [whole, parts] = ["whole", "parts"].map(|name| scratch.path().join(name));
    let expected = execute(&run(&[]).unwrap(), &whole, 1, usize::MAX).unwrap();
    // Within each stage, and with the first step of the second and of the third.
    for (n_updates, threads) in [(3, 2), (8, 1), (11, 2), (15, 1), (30, 2)] {
        let is_last = |event: &Event| matches!(event, Event::Trained { step, .. } if *step == n_updates);
        assert!(execute_until(&run(&[]).unwrap(), &parts, threads, &is_last).unwrap_err().is_interruption());
    }
    let found = execute(&run(&[]).unwrap(), &parts, 2, usize::MAX).unwrap();
    assert_eq!(found.view.observables, expected.view.observables);
    for step in expected.view.checkpoints {
        assert_eq!(weights(&whole, step), weights(&parts, step), "{step}");
    }
}

#[test]
fn what_is_trained_before_decides_the_run_and_what_is_measured_on_it_the_record() {
    let own = run(&[]).unwrap();
    for (key, value) in [
        ("curriculum.addition.until", "16"),
        ("curriculum.addition.task.operation", "mul"),
        ("curriculum.addition.task.train_fraction", "0.6"),
        ("curriculum.addition.restart_optimizer", "false"),
    ] {
        assert_ne!(run(&[(key, value)]).unwrap().default_directory(), own.default_directory(), "{key}");
    }
    // The keys of [task] that are not named are those of [task].
    let named = run(&[("curriculum.addition.task.train_fraction", "0.8"), ("curriculum.addition.task.p", "5")]);
    assert_eq!(named.unwrap().default_directory(), own.default_directory());
}

#[test]
fn mistakes_in_a_curriculum_are_named() {
    for (changes, words) in [
        (
            [("curriculum.addition.until", "40")],
            "`curriculum.addition.until` is 40; expected a step below `train.steps` = 40; [task] is trained last",
        ),
        ([("curriculum.addition.until", "0")], "`curriculum.addition.until` is 0; expected at least 1"),
        ([("curriculum.addition.until", "8")], "is 8; expected another step than `curriculum."),
        (
            [("curriculum.addition.task.p", "7")],
            "the stage `addition` has sequences of 3 ids below 8 that predict one of 7 classes; expected sequences of 3 ids \
             below 6 that predict one of 5 classes",
        ),
        ([("curriculum.addition.task.operatoin", "add")], "did you mean `operation`?"),
        ([("curriculum.addition.task.kind", "nonsense")], "`curriculum.addition.task.kind` is \"nonsense\""),
        ([("curriculum.addition.task.train_fraction", "7")], "in [curriculum.addition.task]: "),
        ([("curriculum.addition.untill", "9")], "did you mean `until`?"),
        ([("train.batch", "full")], "which is 15 examples here and 20 in `product`"),
        (
            [("measure.old.on", "additoin")],
            "`measure.old.on` is \"additoin\"; expected a stage [curriculum.NAME], of which the file has: product, addition",
        ),
        ([("measure.weight_norm.on", "addition")], "unknown key `measure.weight_norm.on`"),
    ] {
        let mut changes = changes.to_vec();
        if changes[0].0 == "train.batch" {
            changes.push(("curriculum.addition.task.train_fraction", "0.6"));
        }
        let error = run(&changes).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    let wrong = TEXT.replace("until = 15", "until = \"late\"");
    let line = 1 + wrong[..wrong.find("\"late\"").unwrap()].matches('\n').count();
    assert!(prepared(&wrong).unwrap_err().contains(&format!("tiny.toml:{line}: ")));
}
