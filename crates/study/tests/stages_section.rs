//! What `[stages]` of a run file asks for beyond transitions: it is found once, kept, and shown again.

mod common;

use common::{execute, prepared};
use ontogeny_store::RunFolder;

const TEXT: &str = common::tiny!(
    "layer_norm",
    "[train]\noptimizer = \"adam\"\nlearning_rate = 0.01\nbatch = \"full\"\nsteps = 120\ncheckpoints = { linear = 41 }\n\n\
     [measure.loss]\n\n[measure.weight_norm]\n\n[stages]\nobservables = [\"loss.train\", \"loss.test\"]\n"
);

#[test]
fn change_points_are_those_of_the_series_that_divide_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let without = prepared(TEXT).unwrap();
    assert_eq!(execute(&without, &path, 1, usize::MAX).unwrap().view.change_points, None);
    // Asked for later, they are found in the same records.
    let run = prepared(&format!("{TEXT}change_points = \"linear\"\n")).unwrap();
    let view = execute(&run, &path, 2, usize::MAX).unwrap().view;
    let found = view.change_points.as_ref().unwrap();
    assert_eq!((found.shape.as_str(), found.time.as_str(), found.criterion.as_str()), ("linear", "log", "BIC"));
    let names: Vec<&str> = found.series.iter().map(|series| series.observable.as_str()).collect();
    assert_eq!(names, ["loss.test", "loss.train"]);
    // A training loss that is learned in 120 steps is no straight line in ln(step + 1).
    let train = &found.series[1];
    assert!(
        !train.changes.is_empty() && train.quantity_unit == "nats/decade" && train.n_points == view.checkpoints.len(),
        "{train:?}"
    );
    assert!(train.changes.iter().all(|c| c.lower <= c.step && c.step <= c.upper && c.before.is_some()));
    let kept = RunFolder::open(&path).unwrap().view().unwrap().results;
    assert_eq!(kept.change_points, view.change_points);
}

#[test]
fn what_stages_cannot_mean_is_refused_by_name() {
    let error = |key: &str| prepared(&format!("{TEXT}{key}\n")).unwrap_err();
    let shape = error("change_points = \"levels\"");
    assert!(shape.contains("no shape is named `levels`; expected one of l1, l2"), "{shape}");
    let key = error("change_points = { shape = \"l2\", penalty = 3 }");
    assert!(key.contains("penalty"), "{key}");
}
