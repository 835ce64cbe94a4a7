//! Files that describe several runs: each has the bits of a run of its own, also after a kill; one that fails leaves the
//! others alone.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as they do")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};

use crate::common::{TINY, Workplace, assert_same};
use serde_json::Value;

/// [`TINY`] with fewer measurements, and `more` before its first table.
fn file(more: &str) -> String {
    let (head, rest) = TINY.split_once("\n[task]").unwrap();
    let from = rest.find("[measure.accuracy]").unwrap();
    let to = rest.find("[scale").unwrap();
    format!("{head}\n{more}\n[task]{}{}", &rest[..from], &rest[to..])
}

/// What a run found, without what tells its title and its file.
fn numbers(here: &Workplace, run: &str) -> BTreeMap<String, Vec<u8>> {
    let mut found = here.findings(run);
    found.retain(|name, _| name != "sealed" && !name.ends_with("zarr.json"));
    assert!(found.len() > 12, "{:?}", found.keys());
    found
}

const GRID: &str = "seeds = 2\n[sweep]\ntrain.weight_decay = [0.1, 0.5]\n";

#[test]
fn every_run_has_the_bits_of_one_of_its_own() {
    let here = Workplace::new();
    here.write("grid.toml", file(GRID));
    here.write("one.toml", file(""));
    let whole = here.call(&["run", "grid.toml", "--out", "grid", "--json"]);
    whole.expect(0, &[]);
    let lines = whole.json_lines();
    let end = lines.last().unwrap();
    let names: Vec<&str> = end["runs"].as_array().unwrap().iter().map(|run| run["run"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["weight_decay=0.1,seed=3", "weight_decay=0.1,seed=4", "weight_decay=0.5,seed=3", "weight_decay=0.5,seed=4"]
    );
    let list: Value = serde_json::from_slice(&fs_err::read(here.path("grid/sweep.json")).unwrap()).unwrap();
    assert_eq!(list["runs"][3]["settings"]["train.weight_decay"], "0.5");
    for name in &names {
        let told = lines.iter().filter(|line| line["run"] == **name);
        assert!(
            told.clone().any(|line| line["event"] == "trained") && told.clone().any(|line| line["event"] == "analysed")
        );
        let (decay, seed) = name.split_once(',').unwrap();
        let (decay, out) = (format!("train.{decay}"), format!("one-{name}"));
        here.call(&["run", "one.toml", "--out", &out, "--set", &decay, "--set", seed]).expect(0, &[]);
        assert_same(&numbers(&here, &format!("grid/{name}")), &numbers(&here, &out), name);
        assert!(here.path(&format!("grid/{name}/report.html")).exists());
    }
    // Again: nothing is left to do, and the table says how each ended.
    let again = here.call(&["run", "grid.toml", "--out", "grid"]);
    again.expect(0, &["(4 runs)"]);
    assert!(names.iter().all(|name| again.stdout.contains(name)), "{again:?}");
    assert!(again.stdout.contains("loss.train") && again.stdout.contains("loss.test"), "{again:?}");
    let shown = here.call(&["show", "grid"]);
    shown.expect(0, &[]);
    assert!(names.iter().all(|name| shown.stdout.contains(name)) && shown.stdout.contains("loss.test"), "{shown:?}");
    assert_eq!(here.show("grid"), list);
    here.write("grid/sweep.json", "{");
    here.call(&["show", "grid"]).expect(2, &["sweep.json: found EOF", "run its file again"]);
}

#[test]
fn a_killed_sweep_goes_on_with_the_same_bits() {
    let here = Workplace::new();
    here.write("seeds.toml", file("seeds = [5, 1, 9]"));
    here.call(&["run", "seeds.toml", "--out", "whole", "--threads", "2"]).expect(0, &[]);
    let mut child = here.start(&["run", "seeds.toml", "--out", "killed", "--threads", "2", "--json"]);
    // In the middle of some measurement of some run.
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let measured = lines.map_while(Result::ok).filter(|line| line.contains("\"measured\"")).nth(6);
    assert!(measured.is_some());
    child.kill().unwrap();
    child.wait().unwrap();
    here.call(&["run", "seeds.toml", "--out", "killed", "--threads", "1"]).expect(0, &[]);
    for name in ["seed=5", "seed=1", "seed=9"] {
        assert_same(&here.findings(&format!("killed/{name}")), &here.findings(&format!("whole/{name}")), name);
    }
}

#[test]
fn a_run_that_fails_leaves_the_others_alone() {
    let here = Workplace::new();
    let steps = "[[sweep]]\nname = \"good\"\n[[sweep]]\nname = \"wild\"\ntrain.learning_rate = 1e38\n";
    here.write("two.toml", file(steps));
    let outcome = here.call(&["run", "two.toml", "--out", "two"]);
    outcome.expect(2, &["wild,seed=3: training stopped at step", "lower the learning rate"]);
    assert!(outcome.stdout.lines().any(|line| line.contains("wild") && line.contains("failed")), "{outcome:?}");
    assert!(here.path("two/good,seed=3/analysis.json").exists());
}

#[test]
fn what_is_wrong_in_one_run_is_told_before_any_begins() {
    let here = Workplace::new();
    here.write("bad.toml", file("seeds = 2\n[sweep]\nnetwork.heads = [2, 3]\n"));
    let outcome = here.call(&["run", "bad.toml", "--out", "bad"]);
    outcome.expect(2, &["in the run heads=3,seed=3", "network.heads is 3; expected a divisor of d_model = 8"]);
    assert!(!here.path("bad").exists());
    here.write("slip.toml", file("[sweep]\ntrain.step = [2, 3]\n"));
    here.call(&["run", "slip.toml"]).expect(2, &["in the run step=2,seed=3", "unknown field `step`"]);
}

#[test]
fn a_dry_run_lists_the_runs_and_writes_nothing() {
    let here = Workplace::new();
    here.write("grid.toml", file(GRID));
    let outcome = here.call(&["run", "grid.toml", "--dry-run", "--scale", "small", "--out", "grid"]);
    outcome.expect(0, &[]);
    assert_eq!(outcome.stdout.lines().filter(|line| line.contains("weight_decay=")).count(), 4, "{outcome:?}");
    assert!(!here.path("grid").exists());
    let json = &here.call(&["run", "grid.toml", "--dry-run", "--json", "--set", "seeds=3"]).json_lines()[0];
    assert_eq!(json["runs"].as_array().unwrap().len(), 6);
    assert!(json["directory"].as_str().unwrap().starts_with("runs/grid-"), "{json}");
}
