//! Observables of language models and their heads, through the binary: on a compiled program whose parts are known, on text, on a toy.
#![cfg(unix)]

use std::fmt::Write as _;

use crate::common::{Workplace, assert_same};
use ontogeny::zoo::{CompiledConfig, NetworkConfig};
use serde_json::{Value, json};

/// The program of induction as the start of a run that hardly moves it.
fn compiled_induction() -> String {
    let settings = json!({"program": "induction", "length": 8, "symbols": 12, "held_examples": 60});
    let config: CompiledConfig = serde_json::from_value(settings).expect("settings");
    let compiled = config.compile().expect("a program");
    let NetworkConfig::Transformer(network) = compiled.model.network() else { panic!("programs are transformers") };
    assert!(network.attention_only, "two heads and no neurons");
    let mut text = String::from(
        "title = \"Compiled\"\nseed = 0\n[task]\nkind = \"compiled\"\nprogram = \"induction\"\nlength = 8\nsymbols = 12\nheld_examples = 60\n",
    );
    let (layers, d_model, heads, d_head) = (network.layers, network.d_model, network.heads, network.head_width());
    let _ = write!(
        text,
        "[network]\nkind = \"transformer\"\nlayers = {layers}\nd_model = {d_model}\nheads = {heads}\nd_head = {d_head}\n\
         attention_only = true\nnormalization = \"none\"\npositions = \"learned\"\n[start]\ncompiled = true\n"
    );
    text + "[train]\noptimizer = \"sgd\"\nlearning_rate = 1e-6\nbatch = 8\nsteps = 2\ncheckpoints = [0, 1, 2]\n\
            [measure.loss]\n[measure.head_scores]\ntext = true\n[measure.composition]\n[measure.icl_score]\n[measure.ngrams]\n\
            [measure.attention]\nprompts = [[3, 5, 3, 5, 3], [1, 2, 1]]\n\
            [measure.ioi]\nnames = [1, 2, 3]\ntemplates = [\"B 7 A 8 B 9\"]\nprompts = 12\n\
            [measure.movers]\nobservable = \"ioi_heads\"\nnames = [1, 2, 3]\ntemplates = [\"B 7 A 8 B 9\"]\nprompts = 12\n"
}

/// The value of an observable at the last step at the labels, which name one place along each dimension.
fn at(view: &Value, measure: &str, labels: &[&str]) -> f64 {
    let observable = &view["observables"][measure];
    let mut value = observable["values"].as_array().and_then(|steps| steps.last()).expect("a step");
    for (dim, label) in observable["dims"].as_array().expect("dims")[1..].iter().zip(labels) {
        let own = observable["coordinates"][dim.as_str().expect("a name")].as_array().expect("labels");
        let place = own.iter().position(|own| own == label).unwrap_or_else(|| panic!("{label} in {own:?}"));
        value = &value[place];
    }
    value.as_f64().unwrap_or_else(|| panic!("{measure} {labels:?}: {value}"))
}

#[test]
fn parts_of_a_compiled_program_are_what_they_were_made_for() {
    let here = Workplace::new();
    here.write("run.toml", compiled_induction());
    here.call(&["run", "run.toml", "--out", "one", "--threads", "1"]).expect(0, &[]);
    here.call(&["run", "run.toml", "--out", "two", "--threads", "2"]).expect(0, &[]);
    assert_same(&here.findings("two"), &here.findings("one"), "two threads");
    let view = here.show("one");
    let score = |head: &str, score: &str| at(&view, "head_scores", &[head, score]);
    // The first head looks at the token before, on random tokens and on the task's own; the second behind earlier copies, and copies.
    assert!(score("l0h0", "previous") > 0.999 && score("l0h0", "text_previous") > 0.99);
    assert!(score("l1h0", "induction") > 0.999 && score("l1h0", "prefix_matching") > 0.999);
    assert!(score("l1h0", "copying") > 0.999 && score("l1h0", "ov_eigenvalues") > 0.999);
    assert!(score("l0h0", "prefix_matching") < 0.5);
    // What the first writes the second reads with its keys, and with nothing else. Most of its scores prefer the latest copy, by
    // positions, so that the ratio is small.
    let composed = |score: &str| at(&view, "composition", &["l0h0-l1h0", score]);
    let chance = view["observables"]["composition"]["details"][2]["chance"].as_f64().unwrap();
    assert!(composed("key") + chance > 0.1, "{}", composed("key"));
    assert!((composed("query") + chance).abs() < 1e-6 && (composed("value") + chance).abs() < 1e-6);
    // Nothing is left to learn in a context that the program knows; its predictions are nobody's n-grams.
    assert!(at(&view, "icl_score", &["icl"]).abs() < 1e-6 && at(&view, "icl_score", &["late"]) < 1e-6);
    for predictor in ["unigram", "bigram", "trigram"] {
        assert!(at(&view, "ngrams", &[&format!("divergence_{predictor}")]) > 1.0);
    }
    // One place to look at, but for the first rows: little entropy.
    assert!(at(&view, "attention", &["l0h0"]) < 0.01);
    // The name that came twice was followed by a filler: neither name is continued. S2 to S1 + 1 is what the second head does.
    assert!(at(&view, "movers", &["l1h0", "induction"]) > 0.999 && at(&view, "movers", &["l0h0", "previous"]) > 0.999);
    assert!(at(&view, "movers", &["l1h0", "name_mover"]) < 0.5);
    assert_eq!(view["observables"]["ioi"]["dims"], json!(["step", "quantity"]));
    let report = fs_err::read_to_string(here.path("one/report.html")).unwrap();
    for part in
        ["<h2>Attention patterns</h2>", "[[&quot;3&quot;,&quot;5&quot;", "Icl score by position", "Composition: key"]
    {
        assert!(report.contains(part), "{part}");
    }
    // The configuration in the folder is read back as it was written, and nothing is missing.
    let again = here.call(&["run", "run.toml", "--out", "one", "--dry-run", "--json"]);
    again.expect(0, &[]);
    let shown = here.call(&["show", "one"]);
    shown.expect(0, &[]);
    assert!(shown.stdout.contains("ov_eigenvalues"), "{}", shown.stdout);
}

const TEXT: &str = r#"title = "Text"
seed = 1
[task]
kind = "text"
context = 24
held_examples = 40
test_examples = 40
[network]
kind = "transformer"
layers = 2
d_model = 16
heads = 2
d_mlp = 24
activation = "solu_ln"
normalization = "layer_norm"
positions = "learned"
[train]
optimizer = "adamw"
learning_rate = 3e-3
batch = 16
steps = 60
checkpoints = [0, 30, 60]
[measure.loss]
[measure.attention]
prompts = ["To be, or not", "What, ho!\n"]
examples = 1
[measure.icl_score]
early = 2
[measure.ngrams]
examples = 20
[measure.neuron_selectivity]
[measure.head_scores]
[measure.composition]
from = ["l0"]
to = ["l1h1"]
"#;

#[test]
fn text_is_looked_at_in_words() {
    let here = Workplace::new();
    here.write("text.toml", TEXT);
    here.call(&["run", "text.toml", "--out", "r"]).expect(0, &[]);
    let view = here.show("r");
    let all = |measure: &str| -> Vec<f64> {
        fn flat(value: &Value, into: &mut Vec<f64>) {
            match value {
                Value::Array(values) => values.iter().for_each(|value| flat(value, into)),
                other => into.push(other.as_f64().unwrap()),
            }
        }
        let mut values = Vec::new();
        flat(&view["observables"][measure]["values"], &mut values);
        values
    };
    // Attention over at most 24 places.
    assert!(all("attention").iter().all(|entropy| (0.0..24_f64.ln()).contains(entropy)));
    assert_eq!(view["observables"]["icl_score"]["unit"], "nats");
    let [first, last] = [0, 2].map(|step| view["observables"]["ngrams"]["values"][step][1].as_f64().unwrap());
    // It learns which letter follows which, and comes nearer to the bigrams.
    assert!(0.0 < last && last < first, "{first} to {last}");
    assert!(all("neuron_selectivity").iter().all(|x| (0.0..=1.0).contains(x)));
    assert_eq!(view["observables"]["neuron_selectivity"]["coordinates"]["layer"], json!(["l0", "l1"]));
    assert_eq!(view["observables"]["composition"]["coordinates"]["pair"], json!(["l0h0-l1h1", "l0h1-l1h1"]));
    assert!(all("head_scores").iter().all(|x| (-1.0..=1.0 + 1e-6).contains(x)));
    let report = fs_err::read_to_string(here.path("r/report.html")).unwrap();
    assert!(report.contains("What, ho!⏎") && report.contains("1: To be, or not"));

    for (set, expected) in [
        ("measure.attention.prompts=[\"naïve\"]", "the character `ï` is not in the vocabulary of the task"),
        ("measure.icl_score.late=25", "`late` is 25, which has no loss; expected a predicted position from 2 to 24"),
        ("measure.composition.from=[\"l7\"]", "`from` has \"l7\""),
        ("measure.ioi={}", "`ioi` needs a tokenizer in which names are single tokens"),
        ("measure.neuron_selectivity.by=\"class\"", "a task that asks for one of several classes"),
        ("measure.ngrams.exampels=3", "examples"),
    ] {
        here.call(&["run", "text.toml", "--out", "w", "--set", set]).expect(2, &[expected]);
    }
}

#[test]
fn indirect_objects_are_named_by_whoever_learns_to() {
    let here = Workplace::new();
    let preset = fs_err::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/presets/toy-ioi.toml")).unwrap();
    let (head, rest) = preset.split_once("[measure.loss]").unwrap();
    here.write(
        "ioi.toml",
        format!("{head}[measure.ioi]\n[measure.heads]\nobservable = \"ioi_heads\"\n[measure.loss]{rest}"),
    );
    let short = ["--scale", "small", "--set", "train.steps=20", "--set", "train.checkpoints=[0, 20]"];
    here.call(&[&["run", "ioi.toml", "--out", "r"][..], &short].concat()).expect(0, &[]);
    let view = here.show("r");
    let ioi = &view["observables"]["ioi"];
    assert_eq!(ioi["coordinates"]["quantity"], json!(["logit_difference", "share_right"]));
    let errors = ioi["standard_errors"][0].as_array().unwrap();
    assert!(errors.iter().all(|error| error.as_f64().is_some_and(|error| error > 0.0)));
    let share = ioi["values"][0][1].as_f64().unwrap();
    // A network that knows nothing names either as often: 256 prompts, but its logits of all names are of one draw.
    assert!((0.0..=1.0).contains(&share));
    assert_eq!(view["observables"]["heads"]["dims"], json!(["step", "head", "score"]));
}
