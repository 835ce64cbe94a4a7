//! Runs whose task has an environment: policy gradients instead of examples, and the return instead of a loss.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as they do")]

use std::path::Path;

use crate::common::{execute_until, prepared, record, tiny};
use ontogeny_graph::Value;
use ontogeny_store::{Detail, RunFolder, TrainingLog};
use ontogeny_study::{Event, OpenedRun};

const GRIDWORLD: &str = r#"
seed = 3
[task]
kind = "gridworld"
size = [3, 3]
walls = [[1, 1]]
start = [0, 2]
goal = [2, 0]
discount = 0.9
max_moves = 12
[network]
kind = "mlp"
sizes = [9, 8, 4]
activation = "tanh"
[train]
optimizer = "adam"
learning_rate = 0.03
batch = 16
steps = 60
checkpoints = [0, 7, 30, 60]
[measure.return]
"#;

const GAME: &str = r#"
[task]
kind = "tic_tac_toe_agent"
opponent = "random"
[network]
kind = "mlp"
sizes = [27, 8, 9]
activation = "tanh"
[train]
optimizer = "sgd"
learning_rate = 0.1
batch = 8
steps = 3
checkpoints = [0, 3]
[measure.return]
"#;

const EXAMPLES: &str = tiny!(
    "none",
    "[train]\noptimizer = \"sgd\"\nlearning_rate = 0.1\nbatch = 5\nsteps = 2\ncheckpoints = [0, 2]\n[measure.return]\n"
);

const LLC: &str = "[measure.llc]\nn_beta = 200.0\nstep_size = 1e-4\nlocalization = 10.0\nchains = 2\nburn_in = 50\n\
                   draws = 100\nbatch = \"full\"\nrefused = \"accept\"\n";

fn log(directory: &Path) -> TrainingLog {
    TrainingLog { seconds: Vec::new(), ..RunFolder::open(directory).unwrap().training_log().unwrap().unwrap() }
}

fn weights(directory: &Path, step: u64) -> Vec<f32> {
    let checkpoint = RunFolder::open(directory).unwrap().read_checkpoint(step).unwrap();
    checkpoint.tensors.into_iter().flat_map(|tensor| tensor.values).collect()
}

#[test]
fn a_run_trains_an_agent_and_resumes_with_the_same_bits() {
    let scratch = tempfile::tempdir().unwrap();
    let [whole, parts] = ["whole", "parts"].map(|name| scratch.path().join(name));
    let run = prepared(&format!("{GRIDWORLD}{LLC}")).unwrap();
    let summary = execute_until(&run, &whole, 2, &|_| false).unwrap();
    for n_updates in [3, 20, 41] {
        let stop = |event: &Event| matches!(event, Event::Trained { step, .. } if *step == n_updates);
        assert!(execute_until(&run, &parts, 1, &stop).unwrap_err().is_interruption());
    }
    execute_until(&run, &parts, 1, &|_| false).unwrap();
    assert_eq!(log(&parts), log(&whole));
    assert_eq!(log(&whole).examples, (1..=60).map(|update| 16 * update).collect::<Vec<u64>>());
    for step in [0, 7, 30, 60] {
        assert_eq!(weights(&parts, step), weights(&whole, step));
        assert_eq!(record(&parts, "return", step).arrays, record(&whole, "return", step).arrays);
    }

    // What is measured is the return of the checkpoint, between that of chance and the best.
    let opened = OpenedRun::open(&whole).unwrap();
    let environment = opened.task().environment.as_ref().unwrap();
    let best = 0.9_f64.powi(3);
    assert!((environment.optimal_return() - best).abs() < 1e-15);
    let mut returns = Vec::new();
    for step in [0, 7, 30, 60] {
        let found = record(&whole, "return", step);
        let expected = environment.expected_return(opened.model(), &weights(&whole, step)).unwrap();
        let value = found.arrays.iter().find(|array| array.name == "value").unwrap().values[0];
        assert_eq!(value, expected);
        let detail = |name: &str| match &found.details[name] {
            Detail::Number(Some(value)) => *value,
            other => panic!("{name} is {other:?}"),
        };
        assert_eq!(detail("optimal_return"), environment.optimal_return());
        assert_eq!(detail("random_return"), environment.random_return());
        assert_eq!(detail("regret"), environment.optimal_return() - value);
        returns.push(value);
    }
    assert!(returns[3] > 0.9 * best && returns[0] < 0.5 * best, "{returns:?}");
    // The log's loss is minus the mean return of the episodes.
    assert!(log(&whole).loss[59] < -0.5 * best, "{:?}", log(&whole).loss);
    let observable = &summary.view.observables["return"];
    assert_eq!(observable.components(), ["expected"]);

    // Chains take the regret for their loss, with the baseline that the return says.
    let llc = record(&whole, "llc", 60);
    let Detail::Number(Some(baseline)) = llc.details["baseline_loss"] else { panic!("{:?}", llc.details) };
    // Both are right to some roundings of a return of 24 bits.
    assert!((baseline - (best - returns[3])).abs() < 1e-5, "{baseline} {}", best - returns[3]);
    assert!(llc.arrays.iter().any(|array| array.name == "trace"));
}

#[test]
fn the_regret_of_a_run_is_a_graph() {
    let scratch = tempfile::tempdir().unwrap();
    execute_until(&prepared(GRIDWORLD).unwrap(), scratch.path(), 1, &|_| false).unwrap();
    let opened = OpenedRun::open(scratch.path()).unwrap();
    let environment = opened.task().environment.as_ref().unwrap();
    let (graph, regret) = environment.regret(opened.model()).unwrap();
    let weights = weights(scratch.path(), 30);
    let named = opened.model().tensors(&weights);
    let values =
        named.map(|(p, w)| (p.name.clone(), Value::Float(w.iter().map(|&w| f64::from(w)).collect()))).collect();
    let found = graph.interpret(&values, &[regret]).unwrap()[0][0];
    let expected = environment.optimal_return() - environment.expected_return(opened.model(), &weights).unwrap();
    assert!((found - expected).abs() < 1e-5, "{found} {expected}");
}

#[test]
fn what_an_agent_has_not_is_refused_with_a_reason() {
    for (text, message) in [
        (
            format!("{GRIDWORLD}[measure.loss]\n"),
            "an agent has no examples to measure `loss` on; expected `return`, `weight_norm`, `weight_statistics` or `llc`",
        ),
        (format!("{GRIDWORLD}{}", LLC.replace("n_beta = 200.0\n", "")), "give `n_beta`"),
        (format!("{GRIDWORLD}{}", LLC.replace("\"full\"", "4")), "a population loss has no examples; use `full`"),
        (format!("{GAME}{LLC}"), "its regret alone is written as a graph"),
        (GRIDWORLD.replace("batch = 16", "batch = \"full\""), "train.batch is full; expected a number of episodes"),
        (GRIDWORLD.replace("goal = [2, 0]", "goal = [1, 1]"), "task.goal is [1, 1]"),
        (GRIDWORLD.replace("[9, 8, 4]", "[9, 8, 5]"), "expected widths from 9 to 4"),
        (EXAMPLES.to_owned(), "the task has examples and no agent; measure its `loss` instead"),
    ] {
        let error = prepared(&text).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
    let scratch = tempfile::tempdir().unwrap();
    execute_until(&prepared(GAME).unwrap(), scratch.path(), 1, &|_| false).unwrap();
    let value = record(scratch.path(), "return", 3).arrays[0].values[0];
    assert!((-1.0..1.0).contains(&value), "{value}");
    // Another environment is another trajectory, and another return of the same weights.
    let shorter = prepared(&GRIDWORLD.replace("max_moves = 12", "max_moves = 11")).unwrap();
    assert_ne!(shorter.default_directory(), prepared(GRIDWORLD).unwrap().default_directory());
}
