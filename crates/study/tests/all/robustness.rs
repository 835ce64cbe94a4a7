//! Losses and accuracies under an attack, of a run trained against it.

use crate::common::{execute, prepared, record};
use ontogeny_store::RunFolder;
use ontogeny_study::OpenedRun;

const TEXT: &str = r#"
[task]
kind = "images"
source = "digits"
train_examples = 200

[network]
kind = "mlp"
sizes = [64, 16, 10]
activation = "relu"

[train]
optimizer = "adam"
learning_rate = 3e-3
batch = 50
steps = 60
checkpoints = [0, 20, 60]
adversarial = { norm = "linf", radius = 0.1, steps = 3, bounds = [0, 1] }

[measure.loss]
[measure.accuracy]

[measure.still]
observable = "robust_loss"
norm = "l2"
radius = 0.0
steps = 1

[measure.robust_loss]
norm = "linf"
radius = 0.1
steps = 3
bounds = [0, 1]

[measure.robust_accuracy]
norm = "linf"
radius = 0.1
steps = 3
bounds = [0, 1]
"#;

#[test]
fn attacks_cost_loss_and_accuracy() {
    let scratch = tempfile::tempdir().unwrap();
    let run = prepared(TEXT).unwrap();
    execute(&run, scratch.path(), 2, usize::MAX).unwrap();
    let values = |measure: &str, step| record(scratch.path(), measure, step).arrays[0].values.clone();
    for step in [0, 20, 60] {
        let (loss, robust) = (values("loss", step), values("robust_loss", step));
        assert_eq!(values("still", step), loss, "a ball of radius 0 at step {step}");
        assert!(loss.iter().zip(&robust).all(|(loss, robust)| robust > loss), "{loss:?} {robust:?}");
        let (accuracy, robust) = (values("accuracy", step), values("robust_accuracy", step));
        assert!(accuracy.iter().zip(&robust).all(|(accuracy, robust)| robust <= accuracy), "{accuracy:?} {robust:?}");
    }
    assert_eq!(OpenedRun::open(scratch.path()).unwrap().steps().unwrap(), [0, 20, 60]);
    // The attack is part of what a record depends on, and of what decides the checkpoints.
    let keys = RunFolder::open(scratch.path()).unwrap().measures().unwrap();
    assert_ne!(keys["robust_loss"].steps[&60], keys["still"].steps[&60]);
    let gentler = prepared(&TEXT.replacen("radius = 0.1", "radius = 0.2", 1)).unwrap();
    assert_ne!(gentler.default_directory(), run.default_directory());
}

#[test]
fn attacks_that_make_no_sense_are_told() {
    let measure = "[measure.robust_accuracy]\nnorm = \"linf\"\nradius = 0.1\nsteps = 3\nbounds = [0, 1]";
    for (from, to, words) in [
        (measure, "[measure.robust_accuracy]\nnorm = \"linf\"\nradius = 0.1", "missing field `steps`"),
        (measure, "[measure.robust_accuracy]\nnorm = \"l3\"\nradius = 0.1\nsteps = 1", "expected `linf` or `l2`"),
        (
            measure,
            "[measure.robust_accuracy]\nnorm = \"l2\"\nradius = 0.1\nsteps = 0",
            "in [measure.robust_accuracy]: attack.steps is 0; expected at least 1",
        ),
        (
            measure,
            "[measure.robust_accuracy]\nnorm = \"l2\"\nradius = 0.1\nsteps = 1\nbounds = [0.5, 1]",
            "in [measure.robust_accuracy]: `x` holds 0; expected inputs within bounds = [0.5, 1]",
        ),
    ] {
        assert!(TEXT.contains(from));
        let error = prepared(&TEXT.replace(from, to)).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    let text = crate::common::tiny!(
        "none",
        "[train]\noptimizer = \"sgd\"\nlearning_rate = 0.05\nbatch = 6\nsteps = 4\ncheckpoints = [0, 4]\n\n[measure.robust_loss]\nnorm = \"l2\"\nradius = 0.1\nsteps = 1\n"
    );
    let error = prepared(text).unwrap_err();
    assert!(error.contains("in [measure.robust_loss]: inputs of this model are sequences of ids"), "{error}");
}
