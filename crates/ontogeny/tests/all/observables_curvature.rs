//! Curvature, statistics of weights and activations, and description lengths, through the binary: measured at every checkpoint,
//! the same for any number of threads, drawn, and refused where they cannot be.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

use crate::common::{TINY, Workplace, assert_same};
use serde_json::Value;

/// [`TINY`] with three checkpoints and these measurements.
fn asking() -> String {
    let (head, _) = TINY.split_once("[measure.loss]").expect("TINY measures it");
    let head = head.replace("checkpoints = { log = 5, linear = 4 }", "checkpoints = [0, 20, 40]");
    format!(
        "{head}[measure.weight_norm]\n[measure.curvature]\nprobes = 4\nsteps = 20\ntop = 3\n[measure.gauss_newton]\n\
         observable = \"curvature\"\nmatrix = \"gauss_newton\"\nprobes = 4\nsteps = 20\n[measure.fisher]\nobservable = \
         \"curvature\"\nmatrix = \"fisher\"\nprobes = 4\nsteps = 20\n[measure.weight_statistics]\n[measure.activation_statistics]\n\
         points = 100\n[measure.description_length]\ntolerance = 0.05\n"
    )
}

/// The values of an observable at each step, by their labels joined with dots.
fn series<'a>(view: &'a Value, name: &str, labels: &[&str]) -> impl Fn(usize) -> f64 + use<'a> {
    let observable = &view["observables"][name];
    let dims = observable["dims"].as_array().unwrap();
    let at: Vec<usize> = labels
        .iter()
        .zip(&dims[1..])
        .map(|(label, dim)| {
            let all = observable["coordinates"][dim.as_str().unwrap()].as_array().unwrap();
            all.iter().position(|own| own == label).unwrap_or_else(|| panic!("no {label} in {all:?}"))
        })
        .collect();
    move |step| at.iter().fold(&observable["values"][step], |values, &index| &values[index]).as_f64().unwrap()
}

fn labels(view: &Value, name: &str, dim: &str) -> Vec<String> {
    let all = view["observables"][name]["coordinates"][dim].as_array().unwrap();
    all.iter().map(|label| label.as_str().unwrap().to_owned()).collect()
}

#[test]
fn numbers_that_must_hold_hold_at_every_checkpoint() {
    let here = Workplace::new();
    here.write("asking.toml", asking());
    here.call(&["run", "asking.toml", "--out", "r", "--threads", "1"]).expect(0, &[]);
    here.call(&["run", "asking.toml", "--out", "shared", "--threads", "3"]).expect(0, &[]);
    assert_same(&here.findings("shared"), &here.findings("r"), "three threads");
    let view = here.show("r");
    for step in 0..3 {
        let hessian = |quantity: &str| series(&view, "curvature", &[quantity])(step);
        assert!(
            hessian("eigenvalue_1") >= hessian("eigenvalue_2") && hessian("eigenvalue_2") >= hessian("eigenvalue_3")
        );
        assert!(hessian("eigenvalue_lowest") < hessian("eigenvalue_3"));
        // The Gauss–Newton and the Fisher matrix of a cross-entropy are one: the same probes see the same, to rounding.
        let [gauss_newton, fisher] = ["gauss_newton", "fisher"].map(|name| {
            labels(&view, name, "quantity")
                .iter()
                .map(|label| series(&view, name, &[label])(step))
                .collect::<Vec<f64>>()
        });
        for (a, b) in gauss_newton.iter().zip(&fisher) {
            assert!((a - b).abs() <= 1e-3 * b.abs(), "step {step}: {gauss_newton:?} {fisher:?}");
        }
        // Squared norms of matrices add up to those of the parts, where these are nothing else: attention has no biases.
        let of_part = |part: &str| series(&view, "weight_norm", &[part])(step).powi(2);
        let of_matrix = |part: &str| series(&view, "weight_statistics", &[part, "l2"])(step).powi(2);
        let attention: f64 =
            ["W_Q", "W_K", "W_V", "W_O"].iter().map(|w| of_matrix(&format!("blocks.0.attn.{w}"))).sum();
        assert!((attention - of_part("attn")).abs() < 1e-9 * attention);
        assert!((of_matrix("embed.W_E") - of_part("embed")).abs() < 1e-9 * of_part("embed"));
        for part in labels(&view, "weight_statistics", "part") {
            let score = |score: &str| series(&view, "weight_statistics", &[&part, score])(step);
            let ranks = ["stable_rank", "participation_ratio", "entropy_rank"].map(score);
            assert!(
                1.0 - 1e-9 <= ranks[0] && ranks[0] <= ranks[1] + 1e-9 && ranks[1] <= ranks[2] + 1e-9,
                "{part}: {ranks:?}"
            );
            assert!(
                score("linf") <= score("l2")
                    && score("l2") <= score("l1")
                    && score("spectral_norm") <= score("l2") + 1e-9
            );
        }
        for place in labels(&view, "activation_statistics", "place") {
            let score = |score: &str| series(&view, "activation_statistics", &[&place, score])(step);
            let width = if place.contains("mlp") { 16.0 } else { 8.0 };
            assert!(1.0 <= score("pca_90") && score("pca_90") <= score("pca_95") && score("pca_95") <= score("pca_99"));
            assert!(score("pca_99") <= width && score("participation_ratio") <= width && score("two_nn") <= width);
            assert!((0.0..=1.0).contains(&score("dead")));
        }
        let length = |quantity: &str| series(&view, "description_length", &[quantity])(step);
        let n_weights = view["observables"]["curvature"]["details"][step]["n_weights"].as_f64().unwrap();
        let bits = length("bits_interpolated");
        assert!(bits <= length("bits_integer") && length("bits_integer") <= 32.0);
        let n_tensors = 11.0;
        assert!((length("length_quantised") - n_weights * bits - 32.0 * n_tensors).abs() < 1e-6 || bits == 32.0);
        assert!((0.0..=1.0).contains(&length("pruned_share")));
    }
    let shown = here.call(&["show", "r"]);
    shown.expect(0, &[]);
    assert!(shown.stdout.contains("curvature"), "{}", shown.stdout);
    let report = fs_err::read_to_string(here.path("r/report.html")).unwrap();
    assert!(
        report.contains("Curvature: eigenvalues of each size") && report.contains("Weight statistics: stable_rank")
    );
    // Any of them can be looked at for transitions, where there are checkpoints enough.
    here.call(&["stages", "r", "--series", "curvature.eigenvalue_1", "--json"])
        .expect(2, &["fewer than 8 points: `curvature.eigenvalue_1` (3)"]);
}

#[test]
fn settings_and_networks_that_do_not_fit_are_named() {
    let here = Workplace::new();
    here.write("asking.toml", asking());
    for (change, parts) in [
        ("measure.curvature.matrix=\"jacobian\"", &["jacobian", "gauss_newton"][..]),
        (
            "measure.curvature.top=0",
            &["measure.curvature", "`top` is 0; expected 1 to 688, the weights of the network"],
        ),
        ("measure.curvature.split=\"dev\"", &["`split` is \"dev\"; the task has"]),
        ("measure.activation_statistics.places=[\"blocks.0.hook_resid_pos\"]", &["`blocks.0.hook_resid_post`"]),
        ("measure.description_length.tolerance=-0.5", &["`tolerance` is -0.5; expected a finite number, at least 0"]),
        ("measure.weight_statistics.split=\"train\"", &["split"]),
    ] {
        here.call(&["run", "asking.toml", "--out", "w", "--set", change]).expect(2, parts);
    }
    // Without attention there are no heads, and without squared losses' distribution no Fisher matrix.
    let linear = "seed = 1\n[task]\nkind = \"deep_linear\"\ninputs = 4\noutputs = 3\nrank = 2\ntrain_examples = 30\n[network]\n\
                  kind = \"mlp\"\nsizes = [4, 5, 3]\nactivation = \"identity\"\nbiases = false\n[train]\noptimizer = \"sgd\"\n\
                  learning_rate = 0.01\nbatch = \"full\"\nsteps = 4\ncheckpoints = [0, 4]\n[measure.curvature]\n\
                  [measure.weight_statistics]\n[measure.activation_statistics]\n[measure.description_length]\n";
    here.write("linear.toml", linear);
    here.call(&["run", "linear.toml", "--out", "l"]).expect(0, &[]);
    let view = here.show("l");
    assert_eq!(labels(&view, "weight_statistics", "part"), ["layers.0.W", "layers.1.W"]);
    assert_eq!(labels(&view, "activation_statistics", "place"), ["layers.0.hook_post"]);
    // 35 weights are few enough for the whole matrix.
    assert_eq!(view["observables"]["curvature"]["details"][0]["is_exact"], 1.0);
    here.call(&["run", "linear.toml", "--out", "f", "--set", "measure.curvature.matrix=\"fisher\""])
        .expect(2, &["a task whose loss is a cross-entropy"]);
}
