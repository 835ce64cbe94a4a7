//! Sub-tasks of drawn tasks through a whole run: their losses, their accuracies, and what cannot be asked for.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as they do")]

use crate::common::{execute, record};
use ontogeny_store::{Record, RunFolder};
use ontogeny_study::Run;

const ADDITION: &str = r#"seed = 5

[task]
kind = "digit_addition"
digits = 2
held_examples = 100

[network]
kind = "transformer"
layers = 1
d_model = 8
heads = 2
d_mlp = 8
activation = "relu"
normalization = "none"
positions = "learned"

[train]
optimizer = "adam"
learning_rate = 0.01
batch = 16
steps = 6
checkpoints = [0, 6]
"#;

const PARITY: &str = r#"seed = 5

[task]
kind = "sparse_parity"
bits = 6
subset = 2
tasks = 3
zipf_exponent = 1.5
held_examples = 50
examples_per_subtask = 40
train_examples = 200

[network]
kind = "mlp"
sizes = [9, 16, 2]
activation = "relu"

[train]
optimizer = "sgd"
learning_rate = 0.1
batch = 20
steps = 4
checkpoints = [4]
"#;

fn prepared(text: &str, more: &str) -> Result<Run, String> {
    crate::common::prepared(&format!("{text}{more}"))
}

/// The records of the last checkpoint, in the order of `measures`.
fn records<const N: usize>(text: &str, measures: [&str; N]) -> [Record; N] {
    let scratch = tempfile::tempdir().unwrap();
    let sections = measures.map(|name| format!("[measure.{name}]\n")).concat();
    let run = prepared(text, &sections).unwrap();
    execute(&run, scratch.path(), 1, usize::MAX).unwrap();
    let folder = RunFolder::open(scratch.path()).unwrap();
    let plans = folder.measures().unwrap();
    measures.map(|name| record(scratch.path(), name, *plans[name].steps.last_key_value().unwrap().0))
}

fn values(record: &Record) -> &[f64] {
    &record.array("value").unwrap().values
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn the_digits_of_a_sum_share_its_loss() {
    let [loss, accuracy, digits, digit_accuracy] =
        records(ADDITION, ["loss", "accuracy", "subtask_loss", "subtask_accuracy"]);
    let axis = digits.array("value").unwrap();
    assert_eq!((axis.dims.as_slice(), axis.unit.as_str()), (&["subtask".to_owned()][..], "nats"));
    assert_eq!(values(&digits).len(), 3);
    // The loss of an example is the mean of its digits, in f32.
    assert!((mean(values(&digits)) - values(&loss)[0]).abs() < 1e-6 * values(&loss)[0]);
    assert!((mean(values(&digit_accuracy)) - values(&accuracy)[0]).abs() < 1e-12);
    assert!(values(&digit_accuracy).iter().all(|share| (0.0..=1.0).contains(share)));
}

#[test]
fn tasks_of_a_multitask_are_measured_on_as_many_examples() {
    let [loss, tasks] = records(PARITY, ["loss", "subtask_loss"]);
    let splits: Vec<String> =
        loss.array("value").unwrap().coordinates["split"].iter().map(ToString::to_string).collect();
    let even = splits.iter().position(|name| name == "even").unwrap();
    assert_eq!(values(&tasks).len(), 3);
    // 40 examples of each: the mean over tasks is that over examples.
    assert!((mean(values(&tasks)) - values(&loss)[even]).abs() < 1e-12);
}

#[test]
fn what_a_task_does_not_have_is_named() {
    let modular = ADDITION.replace(
        "kind = \"digit_addition\"\ndigits = 2\nheld_examples = 100",
        "kind = \"modular_arithmetic\"\np = 5\noperation = \"add\"\ntrain_fraction = 0.8",
    );
    for (text, more, words) in [
        (modular.as_str(), "[measure.subtask_loss]\n", "the task has no sub-tasks; measure its `loss` instead"),
        (ADDITION, "[measure.subtask_loss]\nsplit = \"test\"\n", "`split` is \"test\"; the task has train"),
        (
            ADDITION,
            "[measure.legal_moves]\n",
            "only moves of a game can be legal; expected `task.kind` \"othello\" or \"tic_tac_toe\"",
        ),
        (ADDITION, "[measure.llc]\n", "there is no n to take n/ln n of; give `n_beta`"),
        (ADDITION, "[measure.subtask_loss]\nsplits = \"test\"\n", "splits"),
    ] {
        let error = prepared(text, more).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    assert!(prepared(ADDITION, "[measure.llc]\nn_beta = 100.0\n").is_ok());
}

#[test]
fn moves_of_a_game_have_a_share_that_is_legal() {
    let game = ADDITION.replace("kind = \"digit_addition\"\ndigits = 2\n", "kind = \"tic_tac_toe\"\n");
    let [legal] = records(&game, ["legal_moves"]);
    let array = legal.array("value").unwrap();
    assert_eq!(array.dims, ["split", "share"]);
    assert!(array.values.len() == 2 && array.values.iter().all(|share| (0.0..=1.0).contains(share)));
    // What series a run may name for its stages.
    let more = "[measure.legal_moves]\n[stages]\nobservables = [\"legal_moves.train.rate\"]\n";
    assert!(prepared(&game, more).is_ok());
}
