//! What `[stages]` of a run file asks for beyond transitions: it is found once, kept, and shown again.

use crate::common::{execute, prepared};
use ontogeny_store::{RunFolder, Status};

const TEXT: &str = crate::common::tiny!(
    "layer_norm",
    "[train]\noptimizer = \"adam\"\nlearning_rate = 0.01\nbatch = \"full\"\nsteps = 120\ncheckpoints = { linear = 40 }\n\n\
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
fn early_warnings_look_at_even_steps_up_to_a_moment() {
    let folder = tempfile::tempdir().unwrap();
    let even = TEXT.replace("{ linear = 40 }", "{ linear = 60 }");
    let run = prepared(&format!("{even}warnings = {{ until = 100 }}\n")).unwrap();
    let view = execute(&run, &folder.path().join("even"), 1, usize::MAX).unwrap().view;
    let found = view.warnings.as_ref().unwrap();
    assert_eq!(found.until, Some(100.0));
    let names: Vec<&str> = found.series.iter().map(|series| series.name.as_str()).collect();
    // Norms are not watched; each of the losses is.
    assert_eq!(names, ["loss.train", "loss.test"], "{found:?}");
    assert!(found.series.iter().all(|series| series.n_values == 51 && series.unit == "nats"));
    let last = found.series[0].indicators.steps.last();
    assert_eq!(last, Some(&100.0));
    let again = execute(&run, &folder.path().join("even"), 2, usize::MAX).unwrap().view;
    assert_eq!(again.warnings, view.warnings);

    let log = TEXT.replace("{ linear = 40 }", "{ log = 40 }");
    let run = prepared(&format!("{log}warnings = true\n")).unwrap();
    let found = execute(&run, &folder.path().join("log"), 1, usize::MAX).unwrap().view.warnings.unwrap();
    assert!(found.series.is_empty() && found.left_out.iter().all(|why| why.contains("expected even intervals")));
    let run = prepared(&format!("{log}warnings = false\n")).unwrap();
    assert_eq!(execute(&run, &folder.path().join("none"), 1, usize::MAX).unwrap().view.warnings, None);
}

/// Skills of unequal frequency, learned by a diagonal network, each in a logistic curve of its own.
const SKILLS: &str = "[task]\nkind = \"deep_linear\"\ninputs = 4\noutputs = 4\nsingular_values = [1, 1, 1, 1]\ninput = \"skills\"\n\
    zipf_exponent = 1.6\ntrain_examples = 2000\n\n[network]\nkind = \"mlp\"\nsizes = [4, 4, 4]\nactivation = \"identity\"\n\
    biases = false\ninit = \"diagonal\"\ninit_scale = 0.1\n\n[train]\noptimizer = \"sgd\"\nlearning_rate = 0.2\nbatch = \"full\"\n\
    steps = 400\ncheckpoints = { log = 50, linear = 20 }\n\n[measure.loss]\n[measure.skills]\nobservable = \"subtask_loss\"\n\n\
    [stages]\nparts = \"skills\"\n";

#[test]
fn a_loss_of_skills_is_the_sum_of_its_parts() {
    let folder = tempfile::tempdir().unwrap();
    let run = prepared(SKILLS).unwrap();
    let view = execute(&run, &folder.path().join("run"), 1, usize::MAX).unwrap().view;
    let found = &view.parts["skills"];
    assert!(found.mean.as_deref().is_some_and(|mean| mean.starts_with("loss.")), "{:?}", found.mean);
    let total: f64 = (1..=4).map(|k| f64::from(k).powf(-1.6)).sum();
    for part in &found.components {
        let k: f64 = part.name.rsplit('_').next().unwrap().parse().unwrap();
        assert!((part.weight - k.powf(-1.6) / total).abs() < 1e-12, "{part:?}");
    }
    // The frequencies of 2000 drawn examples are these up to their binomial error, at most 5 % for the rarest of 0.06.
    assert!(found.explained.unwrap() > 0.99, "{:?}", found.explained);
    // Under gradient flow half times go as 1/frequency (Nam et al. 2024); in few steps, from drawn examples, to a tenth.
    let fit = found.learning_times.as_ref().unwrap();
    assert!((fit.slope + 1.0).abs() < 0.1 && fit.n >= 3, "{fit:?}");
    let again = execute(&run, &folder.path().join("run"), 2, usize::MAX).unwrap().view;
    assert_eq!(again.parts, view.parts);
}

#[test]
fn kept_numbers_fluctuate_over_checkpoints_and_over_draws() {
    let folder = tempfile::tempdir().unwrap();
    let text = TEXT.replace(
        "[measure.weight_norm]",
        "[measure.path]\nobservable = \"trajectory\"\nsplit = \"test\"\n\n[measure.llc]\nchains = 2\ndraws = 40\nburn_in = 5\n\
         step_size = 1e-4\nlocalization = 100.0\nrefused = \"accept\"\nkeep_losses = \"example\"\nkeep_examples = 6\n",
    );
    let run = prepared(&format!("{text}fluctuations = [\"path\", \"llc\"]\n")).unwrap();
    let view = execute(&run, &folder.path().join("run"), 1, usize::MAX).unwrap().view;
    let path = &view.fluctuations["path"];
    // Five test pairs of five classes; windows of a quarter of 41 checkpoints.
    assert_eq!((path.over.as_str(), path.n_units, path.n_measured, path.n_vectors), ("checkpoints", 25, 25, 10));
    assert!(path.modes.iter().all(|mode| mode.variance > 0.0 && mode.variance <= mode.total * (1.0 + 1e-12)));
    // Logits less their mean: of 25 directions at most 20 vary, and a window of 10 about lines has 8.
    let n_above = |spectrum: &[f64]| spectrum.iter().filter(|value| **value > 1e-9 * spectrum[0]).count();
    assert!(path.modes.iter().all(|mode| n_above(&mode.spectrum) <= 8), "{path:?}");
    assert_eq!(path.modes.last().map(|mode| mode.step), Some(120.0));

    let llc = &view.fluctuations["llc"];
    assert_eq!((llc.over.as_str(), llc.n_units, llc.n_vectors), ("draws", 6, 80));
    let n_done = view.observables["llc"].status.iter().filter(|status| **status == Status::Done).count();
    assert!(n_done > 0 && llc.modes.len() == n_done && llc.group.is_none());
    let again = execute(&run, &folder.path().join("run"), 2, usize::MAX).unwrap().view;
    assert_eq!(again.fluctuations, view.fluctuations);
}

#[test]
fn what_stages_cannot_mean_is_refused_by_name() {
    let error = |key: &str| prepared(&format!("{TEXT}{key}\n")).unwrap_err();
    let shape = error("change_points = \"levels\"");
    assert!(shape.contains("no shape is named `levels`; expected one of l1, l2"), "{shape}");
    let key = error("change_points = { shape = \"l2\", penalty = 3 }");
    assert!(key.contains("penalty"), "{key}");
    let until = error("warnings = { until = -3.0 }");
    assert!(until.contains("`until` is -3; expected a step, at least 0"), "{until}");
    let parts = error("parts = \"loss\"");
    assert!(parts.contains("`stages.parts` names `loss`; expected a measurement"), "{parts}");
    let fluctuations = error("fluctuations = \"loss\"");
    assert!(fluctuations.contains("`stages.fluctuations` names `loss`; expected a measurement"), "{fluctuations}");
    let word = error("warnings = \"yes\"");
    assert!(word.contains("true, false, or a table with the step `until`"), "{word}");
}
