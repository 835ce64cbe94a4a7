//! Observables of representations and of pairs of checkpoints, through the binary: numbers that must hold, shown, drawn, the same bits
//! for any number of threads.
#![cfg(unix)]

use crate::common::{Workplace, assert_same};
use serde_json::{Value, json};

/// A perceptron on the built-in digits, of a seed.
fn digits(seed: u32, measures: &str) -> String {
    format!(
        "title = \"Digits\"\nseed = {seed}\n[task]\nkind = \"images\"\ntrain_fraction = 0.6\nsplit_seed = 1\n[network]\nkind = \"mlp\"\n\
         sizes = [64, 16, 10]\nactivation = \"relu\"\n[train]\noptimizer = \"adamw\"\nlearning_rate = 1e-2\nbatch = 64\nsteps = 80\n\
         checkpoints = [0, 20, 80]\n{measures}"
    )
}

const MEASURES: &str = r#"
[measure.alike]
observable = "similarity"
samples = 300
[measure.probe]
observable = "linear_probe"
samples = 300
[measure.erasure]
samples = 400
[measure.path]
observable = "mode_connectivity"
with = "first"
points = 11
[measure.matching]
observable = "weight_matching"
with = "other"
[measure.masks]
observable = "mask_overlap"
keep = [0.3, 0.1]
[measure.quanta]
samples = 60
clusters = [3, 10]
"#;

/// The values of a measurement, one list a step.
fn values(view: &Value, name: &str) -> Vec<Vec<f64>> {
    fn flat(value: &Value) -> Vec<f64> {
        match value {
            Value::Array(parts) => parts.iter().flat_map(flat).collect(),
            other => other.as_f64().into_iter().collect(),
        }
    }
    view["observables"][name]["values"].as_array().expect(name).iter().map(flat).collect()
}

#[test]
fn checkpoints_are_compared_with_the_last_the_first_and_those_of_another_run() {
    let here = Workplace::new();
    here.write("other.toml", digits(2, "[measure.loss]\n"));
    here.call(&["run", "other.toml", "--out", "other"]).expect(0, &[]);
    here.write("pairs.toml", digits(1, MEASURES));
    here.call(&["run", "pairs.toml", "--out", "one", "--threads", "1"]).expect(0, &[]);
    here.call(&["run", "pairs.toml", "--out", "two", "--threads", "2"]).expect(0, &[]);
    assert_same(&here.findings("two"), &here.findings("one"), "two threads");
    let view = here.show("one");
    let dims = |name: &str| view["observables"][name]["dims"].clone();
    assert_eq!(dims("alike"), json!(["step", "place", "score"]));
    assert_eq!(dims("matching"), json!(["step", "order", "score"]));

    // The last checkpoint is its own partner, to the rounding of whitened f32.
    let alike = values(&view, "alike");
    assert!(alike[2].iter().all(|v| (v - 1.0).abs() < 1e-5), "{alike:?}");
    assert!(
        alike[0].iter().zip(&alike[1]).all(|(first, later)| first < later),
        "training comes closer to its end: {alike:?}"
    );
    let masks = values(&view, "masks");
    assert_eq!(masks[2][..3], [1.0; 3]);
    // What will be large is known after a quarter of the training: further than four errors of 355 weights from chance.
    assert!(masks[1][1] > 4.0 * (0.3_f64 * 0.7 / 355.0).sqrt() / 0.7, "{masks:?}");
    // The first is its own partner here.
    let path = values(&view, "path");
    assert_eq!(path[0], [0.0; 3]);
    assert!(path.iter().flatten().all(|v| *v >= 0.0) && path[2][0] > 0.1, "{path:?}");
    // Weight matching comes closer, and tells how many units stay.
    for scores in values(&view, "matching") {
        assert!(scores[6] < scores[2] && (0.0..1.0).contains(&scores[3]) && scores[7] == 1.0, "{scores:?}");
    }
    // Probes read digits from hidden layers, and no shuffled labels: a tenth, to four errors of 300 samples.
    for scores in values(&view, "probe") {
        let chance = 0.1 + 4.0 * (0.1_f64 * 0.9 / 300.0).sqrt();
        assert!(
            scores[0] > 0.5 && scores[1] < chance && (scores[2] - (scores[0] - scores[1])).abs() < 1e-12,
            "{scores:?}"
        );
    }
    // Erased from what a probe is fitted to, digits are at the majority; of samples that the eraser has not seen something is left.
    for scores in values(&view, "erasure") {
        assert!(scores[0] > 0.5 && scores[1] < 0.2 && scores[2] < scores[0] - 0.2, "{scores:?}");
    }
    let details = &view["observables"]["erasure"]["details"][2];
    assert_eq!(details["majority"].as_f64(), Some(values(&view, "erasure")[2][1]));
    // Without its digits the trained network is wrong where it was right.
    assert!(values(&view, "erasure")[2][3] > 1.0, "{:?}", values(&view, "erasure"));
    // Three clusters of 60 have one of at least 20; with ten, the gradients of the trained network go by the class.
    for scores in values(&view, "quanta") {
        assert!(scores[0] >= 1.0 / 3.0 && scores[3] >= 0.1 && scores[1] <= 0.0 && scores[4] <= 0.0, "{scores:?}");
    }
    assert!(values(&view, "quanta")[2][5] > 0.5, "{:?}", values(&view, "quanta"));

    let shown = here.call(&["show", "one"]);
    shown.expect(0, &[]);
    assert!(shown.stdout.contains("layers.0.hook_post.cka"), "{}", shown.stdout);
    let report = fs_err::read_to_string(here.path("one/report.html")).expect("the run writes it");
    for title in ["Path: loss on the line", "Path: accuracy on the line", "Matching: loss on the line, matched"] {
        assert!(report.contains(title), "{title}");
    }
}

#[test]
fn sub_tasks_are_found_by_gradients_and_by_probes() {
    let here = Workplace::new();
    let text = r#"title = "Parity"
seed = 1
[task]
kind = "sparse_parity"
bits = 8
subset = 2
tasks = 3
zipf_exponent = 1.0
held_examples = 400
[network]
kind = "mlp"
sizes = [11, 32, 2]
activation = "relu"
[train]
optimizer = "adamw"
learning_rate = 1e-2
batch = 200
steps = 150
checkpoints = [0, 150]
[measure.quanta]
samples = 200
clusters = [3, 12]
[measure.probe]
observable = "linear_probe"
target = "subtask"
[measure.erasure]
target = "subtask"
method = "mean_difference"
samples = 400
"#;
    here.write("parity.toml", text);
    here.call(&["run", "parity.toml", "--out", "parity"]).expect(0, &[]);
    let view = here.show("parity");
    let quanta = values(&view, "quanta");
    assert_eq!(quanta[0].len(), 6, "with the adjusted Rand index");
    assert!(quanta.iter().flatten().all(|v| v.is_finite()));
    // Control bits are inputs: the hidden layer knows them from the start.
    for scores in values(&view, "probe") {
        assert!(scores[0] > 0.9, "{scores:?}");
    }
    let details = view["observables"]["erasure"]["details"].as_array().unwrap();
    for (scores, details) in values(&view, "erasure").iter().zip(details) {
        assert_eq!(Some(scores[1]), details["majority"].as_f64());
    }
}

#[test]
fn what_cannot_be_compared_is_said_before_anything_is_trained() {
    let here = Workplace::new();
    for (measure, message) in [
        ("[measure.a]\nobservable = \"similarity\"\nsamples = 12\n", "more samples than features"),
        (
            "[measure.a]\nobservable = \"similarity\"\nplaces = [\"layers.0.hook_past\"]\n",
            "did you mean `layers.0.hook_post`",
        ),
        ("[measure.a]\nobservable = \"linear_probe\"\ntarget = \"token\"\n", "a network that reads tokens"),
        ("[measure.a]\nobservable = \"linear_probe\"\ntarget = \"tokens\"\n", "unknown variant `tokens`"),
        ("[measure.a]\nobservable = \"erasure\"\ntarget = \"board\"\n", "expected a single class"),
        ("[measure.a]\nobservable = \"mode_connectivity\"\nwith = 7\n", "expected one of 0, 20, 80"),
        ("[measure.a]\nobservable = \"weight_matching\"\npoints = 1\n", "`points` is 1"),
        ("[measure.a]\nobservable = \"mask_overlap\"\nkeep = [2.0]\n", "`keep` is 2"),
        ("[measure.a]\nobservable = \"quanta\"\nclusters = [1]\n", "`clusters` is [1]"),
        ("[measure.a]\nobservable = \"quanta\"\nsplits = 1\n", "splits"),
    ] {
        here.write("wrong.toml", digits(1, measure));
        here.call(&["run", "wrong.toml", "--out", "wrong"]).expect(2, &[message]);
        assert!(!here.path("wrong").exists(), "{measure}");
    }
}
