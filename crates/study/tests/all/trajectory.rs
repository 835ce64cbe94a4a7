//! The path of a run's checkpoints: what is kept, what is found on it, what cannot be asked for, and the types of stages.

use crate::common::{execute, prepared, record, tiny};
use ontogeny_store::RunFolder;

const TEXT: &str = tiny!(
    "layer_norm",
    "[train]\noptimizer = \"adam\"\nlearning_rate = 0.01\nbatch = \"full\"\nsteps = 60\ncheckpoints = { linear = 21, log = 8 }\n\n\
     [measure.loss]\n\n[measure.path]\nobservable = \"trajectory\"\nsplit = \"test\"\n\n\
     [measure.weights]\nobservable = \"trajectory\"\nof = \"weights\"\n"
);

#[test]
fn the_path_is_that_of_the_kept_outputs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let run = prepared(TEXT).unwrap();
    let view = execute(&run, &path, 1, usize::MAX).unwrap().view;
    let trajectory = &view.trajectories["path"];
    assert_eq!(trajectory.steps, view.checkpoints);
    // Five test pairs, five classes.
    assert_eq!((trajectory.n_outputs, trajectory.of.as_str()), (25, "logits"));
    assert!(trajectory.shares.windows(2).all(|pair| pair[0] >= pair[1]));
    assert!(trajectory.shares.iter().sum::<f64>() <= 1.0 + 1e-12 && trajectory.shares[0] > 0.3);
    assert_eq!(trajectory.planes.len(), 3);

    // The squared scores of all components but a few are the squared distances of the points from their mean.
    let points: Vec<Vec<f64>> = view
        .checkpoints
        .iter()
        .map(|&step| record(&path, "path", step).array("point").unwrap().values.clone())
        .collect();
    let n = points.len() as f64;
    let mean: Vec<f64> = (0..25).map(|at| points.iter().map(|point| point[at]).sum::<f64>() / n).collect();
    let total: f64 =
        points.iter().flat_map(|point| point.iter().zip(&mean)).map(|(value, mean)| (value - mean).powi(2)).sum();
    for (scores, share) in trajectory.scores.iter().zip(&trajectory.shares) {
        let own: f64 = scores.iter().map(|score| score * score).sum();
        assert!((own / total - share).abs() < 1e-9, "{own} of {total} is not {share}");
    }
    let rms = (points[0].iter().map(|value| value * value).sum::<f64>() / 25.0).sqrt();
    assert!((record(&path, "path", 0).array("value").unwrap().values[0] - rms).abs() < 1e-12);

    // Distances between weights are those of the checkpoints.
    let weights = |step| -> Vec<f32> {
        let tensors = RunFolder::open(&path).unwrap().read_checkpoint(step).unwrap().tensors;
        tensors.into_iter().flat_map(|tensor| tensor.values).collect()
    };
    let squares = |values: Vec<f32>| values.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
    let kept = record(&path, "weights", 60).array("point").unwrap().values.iter().map(|&x| x as f32).collect();
    assert!((squares(weights(60)) - squares(kept)).abs() < 1e-6);

    // Stages: their changes are there, and add up to that of the run.
    let change: f64 = view.intervals.iter().map(|stage| stage.changes[0].change).sum();
    assert!(!view.intervals.is_empty() && change < 0.0, "{:?}", view.intervals);
}

#[test]
fn the_same_path_after_an_interruption_and_on_two_threads() {
    let folder = tempfile::tempdir().unwrap();
    let run = prepared(TEXT).unwrap();
    let whole = execute(&run, &folder.path().join("whole"), 1, usize::MAX).unwrap();
    let path = folder.path().join("twice");
    assert!(execute(&run, &path, 2, 40).unwrap_err().is_interruption());
    let again = execute(&run, &path, 2, usize::MAX).unwrap();
    assert_eq!(again.view.trajectories, whole.view.trajectories);
    assert_eq!(again.view.intervals, whole.view.intervals);
}

#[test]
fn what_cannot_be_asked_for_is_refused_by_name() {
    let error = |from: &str, to: &str| {
        assert!(TEXT.contains(from));
        prepared(&TEXT.replace(from, to)).unwrap_err()
    };
    let of_weights = error("of = \"weights\"", "of = \"weights\"\nexamples = 4");
    assert!(of_weights.contains("`examples` chooses examples"), "{of_weights}");
    let split = error("split = \"test\"", "split = \"dev\"");
    assert!(split.contains("`split` is \"dev\"; the task has train, test"), "{split}");
    let many = error("split = \"test\"", "split = \"test\"\nexamples = 6");
    assert!(many.contains("`examples` is 6; expected 1 to 5"), "{many}");
    let flat = error("split = \"test\"", "split = \"test\"\nsmoothing = 0.0");
    assert!(flat.contains("`smoothing` is 0"), "{flat}");
}
