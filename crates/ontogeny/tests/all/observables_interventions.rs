//! Interventions over all checkpoints of a run, through the binary.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

use crate::common::Workplace;
use serde_json::Value;

const INTERVENTIONS: &str = r#"
[measure.ablation]
examples = 40
[measure.held]
observable = "ablation"
by = "resample"
freeze_patterns = true
parts = ["heads"]
examples = 40
[measure.patching]
examples = 30
[measure.attribution]
observable = "patching"
method = "attribution"
examples = 30
[measure.path]
observable = "patching"
method = "path"
receivers = ["l1h0 k"]
parts = ["l0h0", "l0h1"]
examples = 30
[measure.checkpoint_patching]
with = 20
examples = 64
parts = ["blocks.1.hook_resid_post", "heads"]
refused = "accept"
[measure.logit_attribution]
examples = 30
[measure.logit_lens]
examples = 30
"#;

fn induction() -> String {
    let text = fs_err::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/presets/induction.toml")).unwrap();
    let (head, rest) = text.split_once("[measure.loss]").unwrap();
    let (_, rest) = rest.split_once("[stages]").unwrap();
    let rest = rest.replace("observables = [\"subtask_loss.repeated\"]\n", "");
    format!("{head}[measure.loss]\n{INTERVENTIONS}\n[stages]{rest}")
}

const SHORT: [&str; 10] = [
    "--scale",
    "small",
    "--set",
    "train.steps=40",
    "--set",
    "train.checkpoints=[0, 20, 40]",
    "--set",
    "task.held_examples=64",
    "--set",
    "train.batch=8",
];

#[test]
fn interventions_are_measured_at_every_step() {
    let here = Workplace::new();
    here.write("run.toml", induction());
    here.call(&[&["run", "run.toml", "--out", "r"][..], &SHORT].concat()).expect(0, &[]);
    let view = here.show("r");
    let of = |name: &str| view["observables"][name].clone();
    let numbers =
        |value: &Value| -> Vec<f64> { value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect() };
    let labels = |name: &str, dim: &str| of(name)["coordinates"][dim].as_array().unwrap().len();
    assert_eq!((labels("ablation", "part"), labels("held", "part"), labels("path", "part")), (8, 8, 2));
    assert_eq!(of("ablation")["unit"], "nats");
    assert!(of("ablation")["standard_errors"][2][0].as_f64().unwrap() > 0.0);
    for step in 0..3 {
        // The shares add up to the difference of the logits, which is that of the clean runs of patching where the examples are the
        // same ones.
        let shares: f64 = numbers(&of("logit_attribution")["values"][step]).iter().sum();
        let difference = of("logit_attribution")["details"][step]["logit_difference"].as_f64().unwrap();
        let clean = of("patching")["details"][step]["clean"].as_f64().unwrap();
        assert!((shares - difference).abs() < 1e-4 * shares.abs().max(0.1), "{shares} {difference}");
        assert!((difference - clean).abs() < 1e-5, "{difference} {clean}");
        // The logits are those of a loss, at the end of the stream.
        let lens = of("logit_lens");
        let end = lens["coordinates"]["place"].as_array().unwrap().iter().position(|place| place == "end").unwrap();
        assert_eq!(numbers(&lens["values"][step][end])[2], 0.0);
    }
    // A network that has not learned its keys: to first order, patching is the attribution.
    let (exact, slope) = (numbers(&of("patching")["values"][0]), numbers(&of("attribution")["values"][0]));
    for (exact, slope) in exact.iter().zip(&slope) {
        assert!((exact - slope).abs() < 0.1 * exact.abs().max(1e-2), "{exact} {slope}");
    }
    // The same examples are the whole split: the losses are those of `loss`. The stream at the end of a checkpoint brings most of what
    // it is better by, and to itself nothing.
    let patched = of("checkpoint_patching");
    let loss = |step: usize| of("loss")["values"][step].as_array().unwrap().last().unwrap().as_f64().unwrap();
    for (step, own) in [(0, loss(0)), (2, loss(2))] {
        let detail = |name: &str| patched["details"][step][name].as_f64().unwrap();
        assert!((detail("loss") - own).abs() < 1e-5, "{patched}");
        assert!((detail("difference") - (loss(1) - own)).abs() < 1e-5, "{patched}");
        let shares = numbers(&patched["values"][step]);
        assert!(shares.len() == 9 && shares[0] > 0.5, "{shares:?}");
        // A set that is not enough has no size.
        let size = patched["details"][step]["smallest_set"].as_f64();
        assert_eq!(size.is_some(), detail("share_of_set") >= 0.9, "{patched}");
    }
    assert_eq!(patched["status"][1]["state"], "refused");
    assert!(patched["status"][1]["reason"].as_str().unwrap().contains("the same weights"), "{patched}");
    // What is asked for again is there.
    here.call(&[&["run", "run.toml", "--out", "r"][..], &SHORT].concat()).expect(0, &["0 measurements to make"]);
}

#[test]
fn a_part_that_is_not_there_is_named_before_anything_is_written() {
    let here = Workplace::new();
    here.write("run.toml", induction());
    for (set, said) in [
        ("measure.ablation.parts=[\"l7h0\"]", "`parts` names `l7h0`"),
        ("measure.path.receivers=[\"l1h0 x\"]", "`receivers` names `l1h0 x`"),
        ("measure.patching.freeze_mlps=true", "`freeze_mlps` belongs to `method = \"path\"`"),
        ("measure.ablation.by=\"median\"", "zero"),
        ("measure.checkpoint_patching.recover=1.5", "`recover` is 1.5"),
        ("measure.checkpoint_patching.with=7", "expected one of 0, 20, 40"),
        ("measure.logit_lens.examples=0", "`examples` is 0"),
        ("measure.ablation.examples=1", "expected at least 2"),
        ("measure.ablation.parts=[\"blocks.0.attn.W_O\"]", "`blocks.0.attn.W_O`"),
        ("measure.ablation.split=\"valid\"", "`split` is \"valid\""),
    ] {
        let call = [&["run", "run.toml", "--out", "w", "--set", set][..], &SHORT].concat();
        here.call(&call).expect(2, &[said]);
        assert!(!here.path("w").exists());
    }
}
