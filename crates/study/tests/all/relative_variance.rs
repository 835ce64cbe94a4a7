//! Relative variance asked for by a run file: the record holds what the library gives, and a truth of the checkpoint's own.

use crate::common::{execute, prepared, prepared_with, record, tiny, values};
use ontogeny_posterior::{Execution, Llc, Sampler};
use ontogeny_store::{Detail, Outcome};
use ontogeny_study::OpenedRun;

const TEXT: &str = tiny!(
    "none",
    r#"[train]
optimizer = "adamw"
learning_rate = 0.01
batch = "full"
steps = 60
checkpoints = [0, 60]

[measure.data]
observable = "relative_variance"
n_betas = [10, 40]
sampler = "sgld"
chains = 2
burn_in = 50
draws = 100
step_size = 2e-3
localization = 300.0
refused = "accept"

[measure.own]
observable = "relative_variance"
truth = "model"
n_betas = [100, 400]
sampler = "baoab"
friction = 0.3
burn_in = 200
draws = 200
thin = 5
step_size = 1e-4
localization = 300.0
"#
);

#[test]
fn a_record_holds_what_the_library_gives() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("run");
    let summary = execute(&prepared(TEXT).unwrap(), &directory, 2, usize::MAX).unwrap();
    let opened = OpenedRun::open(&directory).unwrap();
    let objective = opened.objective("train").unwrap();
    let llc = Llc {
        sampler: Sampler::Sgld,
        chains: 2,
        burn_in: 50,
        draws: 100,
        step_size: 2e-3,
        localization: 300.0,
        seed: 5,
        ..Llc::default()
    };
    for step in [0, 60] {
        let weights = opened.weights(step).unwrap();
        let n_betas = [10.0, 40.0];
        let found = llc.relative_variance(&objective, None, &weights, &n_betas, &Execution::default()).unwrap();
        let own = record(&directory, "data", step);
        let refused = found.scales.iter().any(|scale| scale.moments.value().is_none());
        assert_eq!(matches!(own.outcome, Outcome::Refused { .. }), refused);
        for (at, scale) in found.scales.iter().enumerate() {
            let Some(moments) = scale.moments.value() else {
                assert!(values(&own, "value")[1 + at].is_nan());
                continue;
            };
            assert_eq!(values(&own, "value")[1 + at], moments.ratio.value);
            assert_eq!(values(&own, "standard_error")[1 + at], moments.ratio.mcse);
            assert_eq!(values(&own, "mean")[at], moments.mean.value);
            assert_eq!(values(&own, "second_moment")[at], moments.second.value);
        }
        assert_eq!(found.exponent.map(|e| e.value), Some(values(&own, "value")[0]).filter(|e| !e.is_nan()));
    }
    let seen = &summary.view.observables["own"];
    assert_eq!((seen.kind.as_str(), seen.unit.as_str()), ("relative_variance", "1"));
    assert_eq!(seen.dims, ["step", "quantity"]);
    assert_eq!(seen.components(), ["exponent", "ratio_1", "ratio_2"]);
    let named = format!("{TEXT}[stages]\nobservables = [\"own.exponent\"]\n");
    prepared(&named).unwrap();
}

/// K and V/2 are E[f²]/2 to leading order where the checkpoint is the truth, whatever it has learned.
#[test]
fn a_checkpoint_that_is_the_truth_has_a_ratio_of_two() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("run");
    execute(&prepared(TEXT).unwrap(), &directory, 2, usize::MAX).unwrap();
    for step in [0, 60] {
        let own = record(&directory, "own", step);
        assert_eq!(own.details["verdict"], Detail::Text("ok".to_owned()), "{:?}", own.outcome);
        let [exponent, _, ratio] = values(&own, "value") else { panic!("two temperatures") };
        let [exponent_error, _, ratio_error] = values(&own, "standard_error") else { panic!("two temperatures") };
        assert!(*exponent_error < 0.03 && *ratio_error < 0.05, "{exponent_error}, {ratio_error}");
        // Half a tenth is for what is beyond the leading order.
        assert!((ratio - 2.0).abs() < 4.5 * ratio_error + 0.05, "{ratio} ± {ratio_error}");
        assert!((exponent - 1.0).abs() < 4.5 * exponent_error + 0.02, "{exponent} ± {exponent_error}");
        let means = values(&own, "mean");
        assert!(means[1] < means[0] && means[1] > 0.0, "{means:?}");
    }
}

#[test]
fn mistakes_of_a_run_file_are_named() {
    let error = |key: &str, value: &str| prepared_with(TEXT, &[(key, value)]).unwrap_err();
    for (key, value, message) in [
        ("measure.data.n_betas", "[10]", "expected at least two finite numbers above 0, in ascending order"),
        ("measure.data.n_betas", "[10, 5]", "expected at least two finite numbers above 0, in ascending order"),
        ("measure.data.n_betas", "[0, 5]", "expected at least two finite numbers above 0, in ascending order"),
        ("measure.data.n_beta", "5", "`measure.data.n_beta` has no place here"),
        ("measure.data.calibrate", "true", "`measure.data.calibrate` has no place here"),
        ("measure.data.truth", "\"nature\"", "nature"),
        ("measure.data.examples", "1", "`measure.data.examples` is 1; expected at least 2"),
        ("measure.data.examples", "21", "`examples` is 21; expected 2 to 20, the examples of `train`"),
        (
            "measure.data.temperatures",
            "[1, 2]",
            "unknown key `measure.data.temperatures`; expected one of restrict, n_betas",
        ),
    ] {
        let error = error(key, value);
        assert!(error.contains(message), "{key} = {value}: {error}");
    }
    let without = TEXT.replace("n_betas = [10, 40]\n", "");
    let error = prepared(&without).unwrap_err();
    assert!(error.contains("`measure.data.n_betas` is missing; expected ascending inverse temperatures"), "{error}");
    // Only some of the examples.
    prepared_with(TEXT, &[("measure.data.examples", "7")]).unwrap();
}
