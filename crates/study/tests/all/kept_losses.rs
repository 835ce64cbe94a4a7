//! The losses that a record keeps at every draw, from the run file to Python.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as they do")]

use std::path::Path;
use std::process::Command;

use crate::common::{record, tiny};
use ontogeny_store::NumberType;
use ontogeny_study::{Overrides, Run, RunFile};

const TEXT: &str = tiny!(
    "layer_norm",
    r#"[train]
optimizer = "sgd"
learning_rate = 0.05
batch = 6
steps = 4
checkpoints = [0, 4]

[measure.llc]
chains = 3
burn_in = 10
draws = 40
refused = "accept"
"#
);

fn prepared(more: &str) -> Result<Run, String> {
    crate::common::prepared(&format!("{TEXT}{more}"))
}

fn execute(run: &Run, directory: &Path) {
    crate::common::execute(run, directory, 1, usize::MAX).unwrap();
}

#[test]
fn losses_of_examples_are_kept_beside_the_same_estimate() {
    let scratch = tempfile::tempdir().unwrap();
    let (plain, kept) = (scratch.path().join("plain"), scratch.path().join("kept"));
    execute(&prepared("").unwrap(), &plain);
    execute(&prepared("keep_losses = \"example\"\nkeep_examples = 20\n").unwrap(), &kept);
    let (plain, own) = (record(&plain, "llc", 4), record(&kept, "llc", 4));
    for name in ["value", "trace"] {
        assert_eq!(plain.array(name), own.array(name));
    }
    assert!(plain.array("loss_change").is_none());
    let change = own.array("loss_change").unwrap();
    assert_eq!(change.dims, ["chain", "draw", "example"]);
    assert_eq!((change.values.len(), change.number), (3 * 40 * 20, NumberType::Float32));
    let tokens = own.array("tokens").unwrap();
    assert_eq!((tokens.values.len(), tokens.number), (20 * 3, NumberType::Index32));
    assert!(tokens.values.iter().all(|&id| id <= 5.0));

    let python = std::env::var("ONTOGENY_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let probe = Command::new(&python).args(["-c", "import xarray, zarr; assert zarr.__version__ >= \"3\""]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        println!("skipped: `{python}` has no xarray with zarr 3; set ONTOGENY_PYTHON to one that has both");
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/python/read_draws.py");
    let output = Command::new(python).arg(script).arg(kept.join("measurements.zarr")).args(["llc", "4"]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    println!("{}", String::from_utf8_lossy(&output.stdout).trim());
}

#[test]
fn what_does_not_fit_is_named() {
    for (more, message) in [
        ("keep_losses = \"token\"\n", "`keep_losses` is \"token\", but this task has one loss for each example"),
        ("keep_losses = \"example\"\nkeep_examples = 21\n", "`keep_examples` is 21; expected 1 to 20"),
        ("keep_examples = 3\n", "`keep_examples` says of how many"),
        ("keep_losses = \"tokens\"\n", "tokens"),
    ] {
        let error = prepared(more).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
    let long = TEXT.replace("draws = 40", "draws = 1000000\nkeep_losses = \"example\"");
    let file = RunFile::parse(Path::new("tiny.toml"), &long, &Overrides::default()).unwrap();
    let error = Run::prepare(file, "a test").unwrap_err().to_string();
    assert!(error.contains("would keep 60000000 losses"), "{error}");
}
