//! `ontogeny examples` and `ontogeny compare`: single examples of a run, with their text.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

use crate::common::{Outcome, Workplace};
use serde_json::Value;

fn run(here: &Workplace, name: &str, sets: &[&str]) {
    let text = fs_err::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/presets/induction.toml")).unwrap();
    here.write("run.toml", text);
    let short = [
        "run",
        "run.toml",
        "--out",
        name,
        "--scale",
        "small",
        "--set",
        "train.steps=40",
        "--set",
        "task.held_examples=64",
        "--set",
        "train.checkpoints=[0, 40]",
        "--set",
        "train.batch=8",
    ];
    here.call(&[&short[..], sets].concat()).expect(0, &[]);
}

fn json(outcome: &Outcome) -> Value {
    outcome.expect(0, &[]);
    serde_json::from_str(&outcome.stdout).unwrap()
}

#[test]
fn a_comparison_is_the_difference_of_the_losses_token_by_token() {
    let here = Workplace::new();
    run(&here, "r", &[]);
    let found = json(&here.call(&["compare", "r", "--step", "0", "--top", "5", "--json"]));
    let view = here.show("r");
    let loss = &view["observables"]["loss"];
    let split = found["split"].as_str().unwrap();
    let labels = loss["coordinates"]["split"].as_array().unwrap();
    let at = labels.iter().position(|label| label == split).unwrap();
    let of = |step: usize| loss["values"][step][at].as_f64().unwrap();
    let (mean, expected) = (found["mean"].as_f64().unwrap(), of(0) - of(1));
    assert!((mean - expected).abs() < 1e-5 && expected > 0.0, "{mean} {expected}");
    assert_eq!(found["steps"], serde_json::json!([0, 40]));
    // Sorted, and what is said of a token is its own.
    let rises: Vec<f64> = found["rises"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["after"].as_f64().unwrap() - change["before"].as_f64().unwrap())
        .collect();
    assert!(rises.len() == 5 && rises.is_sorted_by(|a, b| a >= b) && rises[4] > 0.0, "{rises:?}");
    // The other way round it is the opposite.
    let back = json(&here.call(&["compare", "r", "--with-step", "0", "--top", "5", "--json"]));
    assert!((back["mean"].as_f64().unwrap() + mean).abs() < 1e-12);
    assert_eq!(back["falls"][0]["position"], found["rises"][0]["position"]);
    // Another network on the same task.
    run(&here, "wide", &["--set", "network.d_model=32", "--set", "network.heads=2"]);
    let other = json(&here.call(&["compare", "r", "--with", "wide", "--step", "0", "--with-step", "0", "--json"]));
    assert!(other["mean"].as_f64().unwrap().abs() < 0.5);
    let told = here.call(&["compare", "r", "--step", "0"]);
    assert!(told.stdout.contains("at step 40 minus step 0") && told.stdout.contains("⟦"), "{}", told.stdout);
}

#[test]
fn examples_are_those_of_largest_activation() {
    let here = Workplace::new();
    run(&here, "r", &[]);
    let found = json(&here.call(&["examples", "r", "--part", "l1h2", "--part", "embed", "--top", "4", "--json"]));
    assert_eq!((found[0]["part"].as_str(), found[1]["part"].as_str()), (Some("l1h2"), Some("embed")));
    for part in found.as_array().unwrap() {
        let examples = part["examples"].as_array().unwrap();
        let activations: Vec<f64> = examples.iter().map(|top| top["activation"].as_f64().unwrap()).collect();
        assert!(activations.len() == 4 && activations.is_sorted_by(|a, b| a >= b) && activations[3] > 0.0);
        let position = examples[0]["position"].as_u64().unwrap() as usize;
        assert!(position < examples[0]["tokens"].as_array().unwrap().len());
    }
    // An embedding is as long as its token, whichever the example.
    let token = |top: &Value| top["tokens"][top["position"].as_u64().unwrap() as usize].clone();
    let embed = found[1]["examples"].as_array().unwrap();
    assert!(embed.iter().all(|top| token(top) == token(&embed[0])), "{embed:#?}");
}

#[test]
fn mistakes_are_named() {
    let here = Workplace::new();
    run(&here, "r", &[]);
    run(&here, "other", &["--set", "task.vocabulary=31"]);
    for (args, said) in [
        (&["examples", "r", "--part", "l3h0"][..], "`l3h0`"),
        (&["examples", "r", "--part", "l0h0", "--step", "7"], "no checkpoint at step 7; it has 0, 40"),
        (&["examples", "r", "--part", "l0h0", "--split", "valid"], "`split` is \"valid\""),
        (&["examples", "r", "--part", "l0h0", "--top", "0"], "expected at least 1"),
        (&["compare", "r"], "expected two checkpoints"),
        (&["compare", "r", "--with", "nowhere"], "nowhere"),
        (&["compare", "r", "--with", "other"], "tasks that read and answer otherwise"),
        (&["examples", "r", "--part", "embed.W_E"], "`embed.W_E`"),
    ] {
        here.call(args).expect(2, &[said]);
    }
}
