//! `ontogeny new`: every preset is a run file that runs as it is, and together they say every key.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as they do")]

use std::path::Path;

use crate::common::Workplace;
use serde_json::Value;

fn presets(here: &Workplace) -> Vec<Value> {
    let listed = here.call(&["new", "--json"]);
    listed.expect(0, &[]);
    serde_json::from_str::<Value>(&listed.stdout).unwrap().as_array().unwrap().clone()
}

#[test]
fn presets_are_listed_and_print_as_they_are() {
    let here = Workplace::new();
    let list = here.call(&["new"]);
    list.expect(0, &[]);
    let presets = presets(&here);
    assert!(presets.len() >= 25, "{} presets", presets.len());
    for preset in presets {
        let (name, description) = (preset["name"].as_str().unwrap(), preset["description"].as_str().unwrap());
        let is_listed =
            |line: &str| line.starts_with(&format!("{name} ")) && line.contains(&format!(" {description} "));
        assert_eq!(list.stdout.lines().filter(|line| is_listed(line)).count(), 1, "{name}: {}", list.stdout);
        assert!((20..=112).contains(&description.chars().count()), "{name}: {description}");
        assert!(preset["minutes"].as_f64().unwrap() > 0.0);
        let printed = here.call(&["new", name]);
        printed.expect(0, &[]);
        let json = here.call(&["new", name, "--json"]).json_lines();
        assert_eq!(json[0]["toml"].as_str().unwrap(), printed.stdout, "{name}");
    }
}

#[test]
fn the_example_is_the_preset() {
    let here = Workplace::new();
    let example = fs_err::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/grokking.toml"));
    let Ok(example) = example else { return }; // only a copy of the crate without its workspace lacks it
    assert_eq!(here.call(&["new", "grokking"]).stdout, example);
}

#[test]
fn every_preset_passes_a_dry_run_or_names_the_files_it_waits_for() {
    let here = Workplace::new();
    for preset in presets(&here) {
        let name = preset["name"].as_str().unwrap();
        let text = here.call(&["new", name]).stdout;
        here.write("my.toml", &text);
        for scale in ["full", "small"] {
            let checked = here.call(&["run", "my.toml", "--dry-run", "--scale", scale]);
            if name == "import" {
                // How long it takes is decided by the user's checkpoints.
                let says = if scale == "full" { "no file matches" } else { "the file has no [scale.small]" };
                checked.expect(2, &[says]);
            } else {
                assert!(text.contains("\n[scale.small"), "{name} has no small scale");
                checked.expect(0, &[]);
            }
        }
    }
}

#[test]
fn the_small_preset_runs_to_its_report() {
    let here = Workplace::new();
    here.write("my.toml", here.call(&["new", "grokking-small"]).stdout);
    here.call(&["run", "my.toml", "--scale", "small", "--out", "r"]).expect(0, &[]);
    assert!(here.path("r/report.html").exists());
}

#[test]
fn an_unknown_preset_names_the_known_ones() {
    let here = Workplace::new();
    let presets = presets(&here);
    let names: Vec<&str> = presets.iter().map(|preset| preset["name"].as_str().unwrap()).collect();
    let there = format!("there are {}", names.join(", "));
    here.call(&["new", "groking"]).expect(2, &["`groking`", &there, "did you mean `grokking`?"]);
    let far = here.call(&["new", "something-else"]);
    far.expect(2, &[&there]);
    assert!(!far.stderr.contains("did you mean"), "{}", far.stderr);
}

/// What the error about `nokey` in a section expects instead, each in `quotes`.
fn keys_expected(here: &Workplace, section: &str, text: &str, quotes: char) -> Vec<String> {
    // The other sections are whole, so that the mistake is the first one found.
    let mut file = String::new();
    for part in crate::common::TINY.split("\n\n").filter(|part| !part.starts_with(&format!("[{section}"))) {
        let is_source = part.starts_with("[train]") && section == "import";
        if !is_source && !part.starts_with("[scale") {
            file.push_str(part);
            file.push_str("\n\n");
        }
    }
    here.write("wrong.toml", format!("{file}\n[{section}]\n{text}\n"));
    let refused = here.call(&["run", "wrong.toml", "--dry-run"]);
    refused.expect(2, &["nokey"]);
    let expected = refused.stderr.split("expected").nth(1).unwrap_or_default();
    expected.split(quotes).skip(1).step_by(2).map(str::to_owned).collect()
}

/// Every key that a run file knows, as its error for an unknown key lists them.
#[test]
fn the_presets_say_every_key() {
    let here = Workplace::new();
    let all: String = presets(&here).iter().map(|p| here.call(&["new", p["name"].as_str().unwrap()]).stdout).collect();
    // A key, also of a table within a line, or one that is commented out because it shows its default.
    let says = |key: &str| {
        let line_says = |line: &str| {
            let is_whole = |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let is_set = |at: usize| line[at + key.len()..].trim_start().starts_with('=');
            line.match_indices(key).any(|(at, _)| is_whole(at) && is_set(at)) || line.contains(&format!("`{key}`"))
        };
        all.lines().any(line_says)
    };
    let mut sections = vec![
        ("train".to_owned(), "nokey = 1".to_owned()),
        ("train".to_owned(), "optimizer = \"entropy_sgd\"\nentropy = { nokey = 1 }".to_owned()),
        ("train".to_owned(), "stop_below = { nokey = 1 }".to_owned()),
    ];
    sections.push(("train".to_owned(), "adversarial = { nokey = 1 }".to_owned()));
    sections.push(("train".to_owned(), "progress = { nokey = 1 }".to_owned()));
    for section in ["import", "measure.llc", "measure.subtask_loss", "measure.robust_loss", "stages", "report"] {
        sections.push((section.to_owned(), "nokey = 1".to_owned()));
    }
    // Every kind of task and network, as the error for an unknown kind lists them.
    for section in ["task", "network"] {
        let kinds = keys_expected(&here, section, "kind = \"nokey\"", '"');
        assert!(kinds.len() >= 4, "{section}: {kinds:?}");
        for kind in kinds {
            sections.push((section.to_owned(), format!("kind = \"{kind}\"\nnokey = 1")));
        }
    }
    let mut n_keys = 0;
    for (section, text) in sections {
        for key in keys_expected(&here, &section, &text, '`') {
            n_keys += 1;
            assert!(says(&key), "no preset says `{key}` of [{section}] with {text}");
        }
    }
    assert!(n_keys > 150, "the errors list {n_keys} keys");
    for key in [
        "title",
        "seed",
        "seeds",
        "observable",
        "refused",
        "components",
        "probes",
        "probe_examples",
        "queries",
        "examples",
        "query_examples",
        "pairs",
        "until",
        "restart_optimizer",
        "on",
    ] {
        assert!(says(key), "no preset says `{key}`");
    }
}
