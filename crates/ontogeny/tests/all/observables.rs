//! Observables made of the draws of chains, through the binary: asked for in a run file, shown, refused, shared, resumed.
#![cfg(unix)]

use std::io::{BufRead as _, BufReader};

use crate::common::{TINY, Workplace, assert_same};
use serde_json::Value;

/// [`TINY`] with three checkpoints and one measurement of this kind, which reads as `[measure.answers]`.
fn asking(table: &str) -> String {
    let (head, _) = TINY.split_once("[measure.loss]").expect("TINY measures it");
    let head = head.replace("checkpoints = { log = 5, linear = 4 }", "checkpoints = [0, 20, 40]");
    format!(
        "{head}[measure.answers]\n{table}sampler = \"sgld\"\nchains = 2\nburn_in = 50\ndraws = 100\nstep_size = 1e-3\n\
         localization = 1000.0\n"
    )
}

const SUSCEPTIBILITY: &str =
    "observable = \"susceptibility\"\ncomponents = [\"unembed\", \"l0h0\", \"!embed\"]\nprobes = [\"test\", \"all\"]\n";

/// Runs it once undisturbed, once by two workers, and once killed after each of its first measurements; all end with the
/// same bits. Returns the run's view.
fn shared_and_killed(here: &Workplace, text: &str) -> Value {
    here.write("asking.toml", text);
    here.call(&["run", "asking.toml", "--out", "alone", "--threads", "1"]).expect(0, &[]);
    let expected = here.findings("alone");

    let run = ["run", "asking.toml", "--out", "shared", "--threads", "1", "--json"];
    let workers = [here.start(&run), here.start(&run)];
    for worker in workers {
        let output = worker.wait_with_output().expect("a child of ours");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_same(&here.findings("shared"), &expected, "two workers");

    let mut n_kills = 0;
    loop {
        let mut child = here.start(&["run", "asking.toml", "--out", "killed", "--threads", "2", "--json"]);
        // Killed in the chains of the measurement after the next.
        let events = BufReader::new(child.stdout.take().expect("piped")).lines();
        let parsed = events.map(|line| serde_json::from_str::<Value>(&line.expect("a line")).expect("JSON"));
        let was_reached = parsed.skip_while(|event| event["event"] != "measured").any(|e| e["event"] == "measured");
        if !was_reached {
            assert!(child.wait().expect("a child of ours").success());
            break;
        }
        child.kill().expect("SIGKILL");
        child.wait().expect("a child of ours");
        n_kills += 1;
        assert!(n_kills < 10, "no progress from one kill to the next");
    }
    assert!(n_kills >= 2, "{n_kills}");
    assert_same(&here.findings("killed"), &expected, "killed");
    here.show("alone")
}

#[test]
fn susceptibilities_are_shared_resumed_shown_and_drawn() {
    let here = Workplace::new();
    let view =
        shared_and_killed(&here, &asking(SUSCEPTIBILITY).replace("chains = 2", "chains = 2\nrefused = \"accept\""));
    let answers = &view["observables"]["answers"];
    assert_eq!(answers["dims"], serde_json::json!(["step", "component", "probe"]));
    assert_eq!(answers["coordinates"]["component"], serde_json::json!(["full", "unembed", "l0h0", "!embed"]));
    let done = answers["status"].as_array().unwrap().iter().filter(|status| status["state"] == "done").count();
    assert!(done >= 1, "{answers}");
    let shown = here.call(&["show", "alone"]);
    shown.expect(0, &[]);
    assert!(shown.stdout.contains("answers [nats]") && shown.stdout.contains("!embed.all"), "{}", shown.stdout);
    let report = fs_err::read_to_string(here.path("alone/report.html")).unwrap();
    assert!(report.contains("<h2>Susceptibilities</h2>") && report.contains("answers of !embed"));

    // The configuration in the folder is read back as it was written.
    here.call(&["run", "asking.toml", "--out", "alone", "--dry-run", "--json"]).expect(0, &[]);
    here.call(&["calibrate", "alone"]).expect(2, &["does not measure an `llc`"]);
}

#[test]
fn influence_is_shared_resumed_shown_and_told() {
    let here = Workplace::new();
    let table = "observable = \"influence\"\nqueries = \"test\"\npairs = 5\nrefused = \"accept\"\n";
    let view = shared_and_killed(&here, &asking(table));
    let answers = &view["observables"]["answers"];
    assert_eq!(answers["dims"], serde_json::json!(["step", "pair"]));
    let status = answers["status"].as_array().unwrap();
    let at = status.iter().rposition(|status| status["state"] == "done").expect("some checkpoint converged");
    assert_eq!(answers["values"][at].as_array().unwrap().len(), 5);
    assert!(answers["details"][at]["pair.1.example"].as_str().unwrap().starts_with("train "));
    let shown = here.call(&["show", "alone"]);
    shown.expect(0, &[]);
    assert!(shown.stdout.contains("answers [nats^2]"), "{}", shown.stdout);
    let report = fs_err::read_to_string(here.path("alone/report.html")).unwrap();
    assert!(report.contains("<h2>Influence</h2>") && report.contains("download=\"answers-pairs.csv\""));
}

#[test]
fn what_is_refused_in_part_is_exit_code_1_unless_accepted() {
    let here = Workplace::new();
    // So few and small steps that chains of a part disagree.
    let text = asking(SUSCEPTIBILITY).replace("step_size = 1e-3", "step_size = 5e-4");
    here.write("asking.toml", &text);
    let refused = here.call(&["run", "asking.toml", "--out", "r"]);
    refused.expect(1, &[]);
    assert!(refused.stdout.contains("estimates refused: answers at step"), "{}", refused.stdout);
    here.call(&["run", "asking.toml", "--out", "r", "--set", "measure.answers.refused=\"accept\""]).expect(0, &[]);
    let view = here.show("r");
    let details = view["observables"]["answers"]["details"].as_array().unwrap();
    let parts = details.iter().flat_map(|d| d.as_object().unwrap()).filter(|(key, _)| key.starts_with("refused."));
    let of_whole =
        view["observables"]["answers"]["status"].as_array().unwrap().iter().filter(|s| s["state"] == "refused");
    println!("{} parts refused alone, {} checkpoints as a whole", parts.clone().count(), of_whole.count());
    assert!(parts.count() >= 1, "{details:?}");
}

#[test]
fn settings_of_draws_can_be_calibrated_with_them() {
    let here = Workplace::new();
    let table = format!("{SUSCEPTIBILITY}calibrate = [20, 40]\nrefused = \"accept\"\n");
    here.write("asking.toml", asking(&table));
    here.call(&["run", "asking.toml", "--out", "r"]).expect(0, &["`answers` calibrated on steps 20, 40"]);
    let view = here.show("r");
    let found = &view["calibrations"]["answers"]["settings"]["step_size"];
    assert!(found.as_f64().is_some_and(|size| size > 0.0));
    assert_eq!(&view["observables"]["answers"]["details"][2]["step_size"], found);
}

#[test]
fn head_scores_are_measured_at_every_step_and_followed() {
    let here = Workplace::new();
    let text = fs_err::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/presets/induction.toml")).unwrap();
    here.write("heads.toml", text);
    let short =
        ["--scale", "small", "--set", "train.steps=40", "--set", "task.held_examples=8", "--set", "train.batch=8"];
    here.call(&[&["run", "heads.toml", "--out", "r"][..], &short].concat()).expect(0, &[]);
    let view = here.show("r");
    let scores = &view["observables"]["head_scores"];
    assert_eq!(scores["dims"], serde_json::json!(["step", "head", "score"]));
    assert_eq!(scores["coordinates"]["head"].as_array().unwrap().len(), 8);
    // Shares of attention are 0 to 1; what a head copies is −1 to 1.
    let copies: Vec<bool> = scores["coordinates"]["score"]
        .as_array()
        .unwrap()
        .iter()
        .map(|score| ["copying", "ov_eigenvalues"].contains(&score.as_str().unwrap()))
        .collect();
    assert_eq!(copies.iter().filter(|copies| **copies).count(), 2);
    let values = scores["values"].as_array().unwrap();
    assert_eq!(values.len(), view["checkpoints"].as_array().unwrap().len());
    for head in values.iter().flat_map(|step| step.as_array().unwrap()) {
        for (value, copies) in head.as_array().unwrap().iter().zip(&copies) {
            let least = if *copies { -1.0 } else { 0.0 };
            assert!((least - 1e-6..=1.0 + 1e-6).contains(&value.as_f64().unwrap()), "{value}");
        }
    }
    let wrong =
        here.call(&["run", "heads.toml", "--out", "w", "--scale", "small", "--set", "measure.head_scores.copies=21"]);
    wrong.expect(2, &["`copies` of at least 2 tokens each", "copies = 21 in sequences of 40 tokens"]);
}
