//! What the commands print, write and return: data on stdout, talk on stderr, and nothing done twice.

use crate::common::{TINY, TINY_STEPS, Workplace, assert_same, files, llc_table, small};
use serde_json::Value;

/// Names of the measurements that were made, from the events of `run --json`.
fn measured(events: &[Value]) -> Vec<&str> {
    let mut names: Vec<&str> =
        events.iter().filter(|e| e["event"] == "measured").filter_map(|e| e["measure"].as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[test]
fn a_run_leaves_its_findings_its_report_and_only_data_on_stdout() {
    let here = Workplace::new();
    let run = here.call(&["run", "tiny.toml", "--out", "a run"]);
    run.expect(0, &["Tiny", "a run/report.html", "45 measurements to make"]);
    assert!(run.stdout.contains("transitions"), "{}", run.stdout);
    assert!(!run.stdout.contains("measurements to make"), "{}", run.stdout);

    let files = files(&here.path("a run"));
    for step in TINY_STEPS {
        assert!(files.contains_key(&format!("checkpoints/step-{step:08}.safetensors")), "{step}");
    }
    for file in ["run.toml", "events.jsonl", "analysis.json", "measures.json", "sealed/00000001.json"] {
        assert!(files.contains_key(file), "{file}");
    }
    for measure in ["accuracy", "fourier", "llc", "loss", "weight_norm"] {
        let sealed = here.path(&format!("a run/measurements.zarr/{measure}/value/zarr.json"));
        assert!(sealed.exists(), "{measure}");
    }
    let left =
        files.keys().find(|name| ["records/", "workers/", "leases/"].iter().any(|folder| name.starts_with(folder)));
    assert_eq!(left, None, "sealed, and nobody is left");
    let unfinished = files.keys().find(|name| name.contains(".ontogeny-tmp"));
    assert_eq!(unfinished, None);

    let report = std::str::from_utf8(&files["report.html"]).unwrap();
    assert!(report.contains("Tiny") && report.contains("llc"), "the report names the run and its observables");
    for reference in ["src=", "href=", "url("] {
        for (at, _) in report.match_indices(reference) {
            let to = report[at + reference.len()..].trim_start_matches(['"', '\'']);
            assert!(to.starts_with("data:") || to.starts_with('#'), "the report refers to {to:.60}");
        }
    }
    for outside in ["@import", "http:", "https:"] {
        let found = report.find(outside).map(|at| report[at..].chars().take(60).collect::<String>());
        assert_eq!(found, None, "the report needs a network");
    }
}

#[test]
fn what_stages_asks_for_has_keys_of_its_own() {
    let here = Workplace::new();
    let set = ["--set", "stages.change_points=l2", "--set", "stages.warnings=true"];
    here.call(&[&["run", "tiny.toml", "--out", "r"], &set[..]].concat()).expect(0, &[]);
    let run = here.show("r");
    let keys: Vec<&String> = run.as_object().unwrap().keys().collect();
    let before = ["run", "checkpoints", "observables", "transitions", "stages", "intervals"];
    assert_eq!(keys, [&before[..], &["change_points", "warnings", "training"]].concat());
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<String>>();
    assert_eq!(keys(&run["change_points"]), ["shape", "time", "criterion", "quantity", "series"]);
    assert_eq!(keys(&run["warnings"]), ["until", "series", "together", "left_out"]);
    let shown = here.call(&["show", "r"]);
    shown.expect(0, &[]);
    assert!(shown.stdout.contains("change points, shape l2") || shown.stdout.contains("no series is long enough"));
    assert!(shown.stdout.contains("early warnings"), "{}", shown.stdout);
}

#[test]
fn show_prints_one_object_with_the_promised_shape() {
    let here = Workplace::new();
    here.call(&["run", "tiny.toml", "--out", "r"]).expect(0, &[]);
    let shown = here.call(&["show", "r", "--json"]);
    assert_eq!((shown.stdout.lines().count(), shown.stderr.as_str()), (1, ""));
    let run = here.show("r");

    let keys: Vec<&String> = run.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["run", "checkpoints", "observables", "transitions", "stages", "intervals", "training"]);
    assert_eq!(run["training"]["update"].as_array().unwrap().len(), 40);
    assert_eq!(run["run"]["title"], "Tiny");
    assert_eq!(run["run"]["seed"], 3);
    assert_eq!(run["run"]["command"], "ontogeny run tiny.toml");
    assert_eq!(run["checkpoints"], serde_json::json!(TINY_STEPS));
    for (name, dim, width) in
        [("loss", "split", 3), ("accuracy", "split", 3), ("llc", "component", 1), ("fourier", "quantity", 8)]
    {
        let observable = &run["observables"][name];
        assert_eq!(observable["dims"], serde_json::json!(["step", dim]), "{name}");
        assert_eq!(observable["coordinates"]["step"], serde_json::json!(TINY_STEPS), "{name}");
        assert_eq!(observable["coordinates"][dim].as_array().unwrap().len(), width, "{name}");
        for part in ["values", "standard_errors"] {
            let rows = observable[part].as_array().unwrap();
            assert_eq!(rows.len(), TINY_STEPS.len(), "{name}.{part}");
            assert!(rows.iter().all(|row| row.as_array().unwrap().len() == width), "{name}.{part}");
        }
        assert!(observable["values"].as_array().unwrap().iter().all(|row| row[0].is_number()), "{name}");
        let done = serde_json::json!({ "state": "done" });
        assert_eq!(observable["status"].as_array().unwrap(), &vec![done; TINY_STEPS.len()], "{name}");
    }
    let errors = run["observables"]["llc"]["standard_errors"].as_array().unwrap();
    assert!(errors.iter().all(|row| row[0].as_f64().unwrap() > 0.0), "{errors:?}");
    let transitions = run["transitions"].as_array().unwrap();
    assert!(!transitions.is_empty(), "a fixed run of fixed seed has some");
    for transition in transitions {
        for key in ["step", "lower", "upper", "width_decades", "size", "p_value"] {
            assert!(transition[key].is_number(), "{key} in {transition}");
        }
        let address = transition["observable"].as_str().unwrap();
        let (kind, component) = address.split_once('.').unwrap();
        let coordinates = run["observables"][kind]["coordinates"].as_object().unwrap();
        assert!(coordinates.values().any(|c| c.as_array().unwrap().contains(&component.into())), "{address}");
    }
    assert!(run["stages"].is_array());

    let table = here.call(&["show", "r"]);
    table.expect(0, &[]);
    for part in ["Tiny", "loss [nats]", "± ", "R̂", "transitions"] {
        assert!(table.stdout.contains(part), "{part} in {}", table.stdout);
    }
}

#[test]
fn a_second_run_does_nothing_and_leaves_the_same_bytes() {
    let here = Workplace::new();
    here.call(&["run", "tiny.toml", "--out", "r"]).expect(0, &[]);
    let mut first = files(&here.path("r"));
    let again = here.call(&["run", "tiny.toml", "--out", "r", "--json"]);
    again.expect(0, &[]);
    let events = again.json_lines();
    assert_eq!(events[0]["event"], "opened");
    assert_eq!((&events[0]["n_missing"], &events[0]["n_checkpoints"]), (&0.into(), &9.into()));
    assert!(events.iter().all(|e| e["event"] != "trained" && e["event"] != "measured"), "{events:?}");
    let mut second = files(&here.path("r"));
    for files in [&mut first, &mut second] {
        files.remove("events.jsonl").expect("what happened is kept");
    }
    assert_same(&second, &first, "a second run");
}

#[test]
fn every_line_of_json_parses_and_the_last_one_says_what_was_found() {
    let here = Workplace::new();
    let run = here.call(&["run", "tiny.toml", "--out", "r", "--json"]);
    run.expect(0, &[]);
    assert_eq!(run.stderr, "", "events are data here");
    let events = run.json_lines();
    let count = |kind: &str| events.iter().filter(|e| e["event"] == kind).count();
    assert_eq!((count("opened"), count("trained"), count("measured"), count("analysed")), (1, 40, 45, 1));
    let last = events.last().unwrap();
    assert_eq!(last["event"], "finished");
    assert_eq!(last["transitions"], here.show("r")["transitions"]);
    assert_eq!(last["refused"], serde_json::json!([]));
}

#[test]
fn a_dry_run_prints_the_work_and_writes_nothing() {
    let here = Workplace::new();
    let before = files(&here.path(""));
    let dry = here.call(&["run", "tiny.toml", "--out", "r", "--dry-run"]);
    dry.expect(0, &[]);
    for part in ["Tiny", "688 parameters", "train 29, test 20, all 49", "40 steps", "9, steps 0 to 40", "llc: 9 of 9"] {
        assert!(dry.stdout.contains(part), "{part} in {}", dry.stdout);
    }
    assert_eq!(dry.stderr, "");
    let json = here.call(&["run", "tiny.toml", "--out", "r", "--dry-run", "--json"]).json_lines();
    assert_eq!((json.len(), &json[0]["parameters"], &json[0]["training_steps"]), (1, &688.into(), &40.into()));
    assert_same(&files(&here.path("")), &before, "a dry run");

    here.call(&["run", "tiny.toml", "--out", "r"]).expect(0, &[]);
    let before = files(&here.path(""));
    let done = here.call(&["run", "tiny.toml", "--out", "r", "--dry-run"]);
    for part in ["0 steps to make", "llc: 0 of 9", "loss: 0 of 9"] {
        assert!(done.stdout.contains(part), "{part} in {}", done.stdout);
    }
    assert_same(&files(&here.path("")), &before, "a dry run of a finished run");
}

#[test]
fn keys_can_be_set_scaled_and_the_folder_follows_what_decides_the_checkpoints() {
    let here = Workplace::new();
    let directory = |args: &[&str]| {
        let all = [&["run", "tiny.toml", "--dry-run", "--json"], args].concat();
        let dry = here.call(&all);
        dry.expect(0, &[]);
        let work = dry.json_lines().remove(0);
        (work["directory"].as_str().unwrap().to_owned(), work["training_steps"].as_u64().unwrap())
    };
    let (full, steps) = directory(&[]);
    assert!(full.starts_with("runs/tiny-"), "{full}");
    assert_eq!(steps, 40);
    assert_eq!(directory(&["--scale", "small"]).1, 10);
    assert_eq!(directory(&["--scale", "small", "--set", "train.steps=12"]).1, 12, "a key on the command line is last");
    assert_ne!(directory(&["--set", "seed=4"]).0, full);
    assert_eq!(directory(&["--set", "title=Another", "--set", "measure.llc.draws=50"]).0, full);
    assert_eq!(directory(&["--out", "there"]).0, "there");

    let run = here.call(&["run", "tiny.toml", "--scale", "small", "--set", "measure={ loss = {} }"]);
    run.expect(0, &[]);
    let folders: Vec<String> = files(&here.path("runs")).into_keys().collect();
    let name = folders[0].split('/').next().unwrap();
    let shown = here.show(&format!("runs/{name}"));
    assert_eq!(shown["checkpoints"].as_array().unwrap().last().unwrap(), 10);
    assert_eq!(shown["observables"].as_object().unwrap().len(), 1);
    assert_eq!(shown["run"]["command"], "ontogeny run tiny.toml --scale small --set 'measure={ loss = {} }'");
}

#[test]
fn only_what_is_new_or_changed_is_measured() {
    let here = Workplace::new();
    let run = |extra: &[&str]| {
        let outcome = here.call(&[&["run", "tiny.toml", "--out", "r", "--json"], extra].concat());
        outcome.expect(0, &[]);
        outcome.json_lines()
    };
    here.write("tiny.toml", TINY.replace("[measure.accuracy]\n", ""));
    assert_eq!(measured(&run(&[])), ["fourier", "llc", "loss", "weight_norm"]);
    here.write("tiny.toml", TINY);
    assert_eq!(measured(&run(&[])), ["accuracy"]);
    assert_eq!(measured(&run(&["--set", "measure.llc.draws=110"])), ["llc"]);
    assert_eq!(measured(&run(&["--set", "title=\"New\"", "--set", "measure.llc.draws=110"])), [""; 0]);
    assert_eq!(here.show("r")["run"]["title"], "New");

    // The same observable under another name is another measurement; the first keeps its records.
    let unembed =
        llc_table().replace("[measure.llc]", "[measure.llc_unembed]\nobservable = \"llc\"\nrestrict = \"unembed\"");
    here.write("tiny.toml", TINY.replace("[scale", &format!("{unembed}\n[scale")));
    assert_eq!(measured(&run(&["--set", "measure.llc.draws=110"])), ["llc_unembed"]);
    let shown = here.show("r");
    assert_eq!(shown["observables"]["llc_unembed"]["coordinates"]["component"], serde_json::json!(["unembed"]));
    assert_eq!(shown["observables"]["llc_unembed"]["kind"], "llc");

    // A measurement that is no longer asked for is no longer shown.
    here.write("tiny.toml", TINY.replace("[measure.accuracy]\n", ""));
    run(&["--set", "measure.llc.draws=110"]);
    assert!(here.show("r")["observables"].get("accuracy").is_none());
}

#[test]
fn a_refused_estimate_is_exit_code_1_unless_the_file_accepts_it() {
    let here = Workplace::new();
    // Eight draws of a chain that moves a little at a time cannot agree.
    let few =
        ["--set", "measure.llc.burn_in=0", "--set", "measure.llc.draws=8", "--set", "measure.llc.localization=1.0"];
    let run = |extra: &[&str]| here.call(&[&["run", "tiny.toml", "--out", "r"], &few[..], extra].concat());
    let refused = run(&[]);
    refused.expect(1, &[]);
    assert!(refused.stdout.contains("refused: llc at step"), "{}", refused.stdout);
    let accepted = run(&["--set", "measure.llc.refused=\"accept\"", "--json"]);
    accepted.expect(0, &[]);
    let events = accepted.json_lines();
    assert_eq!(measured(&events), [""; 0], "accepting is no reason to measure again");
    let refusals = events.last().unwrap()["refused"].as_array().unwrap().clone();
    assert!(!refusals.is_empty() && refusals.iter().all(|r| r["accepted"] == true), "{refusals:?}");

    let llc = &here.show("r")["observables"]["llc"];
    let first = refusals[0]["step"].as_u64().unwrap();
    let at = TINY_STEPS.iter().position(|step| *step == first).unwrap();
    assert_eq!(llc["status"][at]["state"], "refused");
    assert!(llc["status"][at]["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{}", llc["status"][at]);
    assert_eq!((&llc["values"][at][0], &llc["standard_errors"][at][0]), (&Value::Null, &Value::Null));
    let table = here.call(&["show", "r"]);
    assert!(table.stdout.contains("refused, "), "{}", table.stdout);
    assert_eq!(run(&[]).code, Some(1), "and it still is refused where it is not accepted");
}

#[test]
fn stages_can_be_looked_for_in_any_series_that_is_measured() {
    let here = Workplace::new();
    for address in ["weight_norm.total", "fourier.excluded_loss", "loss.all", "llc.full", "accuracy.test"] {
        let set = format!("stages.observables=[\"{address}\"]");
        let run = here.call(&["run", "tiny.toml", "--out", "r", "--set", &set, "--json"]);
        run.expect(0, &[]);
        for boundary in here.show("r")["stages"].as_array().unwrap() {
            assert_eq!(boundary["observables"], serde_json::json!([address]));
        }
    }
    // A measurement of another name has the address of its kind, unless two have the same component.
    here.write("named.toml", TINY.replace("[measure.loss]", "[measure.my_loss]\nobservable = \"loss\""));
    let run = |address: &str| {
        let set = format!("stages.observables=[\"{address}\"]");
        here.call(&["run", "named.toml", "--out", "r", "--set", &set])
    };
    run("loss.test").expect(0, &[]);
    run("my_loss.test").expect(2, &["my_loss.test", "loss.test"]);
    let twin = llc_table().replace("[measure.llc]", "[measure.slow]\nobservable = \"llc\"");
    here.write("named.toml", TINY.replace("[scale", &format!("{twin}\n[scale")));
    run("slow.full").expect(0, &[]);
    run("loss.test").expect(0, &[]);
    let message = run("llc.unembed");
    message.expect(2, &["llc.unembed", "llc.full", "slow.full"]);
}

#[test]
fn report_and_inspect_say_what_they_wrote_and_read() {
    let here = Workplace::new();
    let without = ["run", "tiny.toml", "--out", "r", "--scale", "small", "--set", "report.write=false"];
    here.call(&without).expect(0, &[]);
    assert!(!here.path("r/report.html").exists(), "the file asked for none");
    let written = here.call(&["report", "r", "--out", "page.html"]);
    written.expect(0, &[]);
    assert_eq!(written.stdout, "page.html\n");
    here.call(&["report", "r"]).expect(0, &[]);
    assert_eq!(fs_err::read(here.path("r/report.html")).unwrap(), fs_err::read(here.path("page.html")).unwrap());

    let inspected = here.call(&["inspect", "r/checkpoints/step-00000010.safetensors", "--json"]);
    inspected.expect(0, &[]);
    let object: Value = serde_json::from_str(&inspected.stdout).unwrap();
    let names: Vec<&str> = object["tensors"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"blocks.0.attn.W_Q") && names.contains(&"unembed.W_U"), "{names:?}");
    let table = here.call(&["inspect", "r/checkpoints/step-00000010.safetensors"]);
    assert!(table.stdout.contains("[2, 8, 4]"), "the shape of W_Q: {}", table.stdout);
}

#[test]
fn inspect_draws_what_a_restriction_selects() {
    let here = Workplace::new();
    here.call(&small("r")).expect(0, &[]);
    let file = "r/checkpoints/step-00000010.safetensors";
    let drawn = here.call(&["inspect", file, "--restrict", "l0h1 | l0n3 | unembed.W_U[sv 0-1] | pos_embed"]);
    drawn.expect(0, &[]);
    let expected = "\
l0h1 | l0n3 | unembed.W_U[sv 0-1] | pos_embed
all                  171 of 688  24.85 %
blocks               145 of 536
  0                  145 of 536
    attn             128 of 256
      W_K [2, 8, 4]   32 of  64  ········████████
      W_O [2, 4, 8]   32 of  64  ········████████
      W_Q [2, 8, 4]   32 of  64  ········████████
      W_V [2, 8, 4]   32 of  64  ········████████
    mlp               17 of 280
      W_in [8, 16]     8 of 128  ░·░·░·░·░·░·░·░·
      W_out [16, 8]    8 of 128  ···█············
      b_in [16]        1 of  16  ···█············
      b_out [8]        0 of   8  ················
embed                  0 of  64
  W_E [8, 8]           0 of  64  ················
pos_embed             24 of  24
  W_pos [3, 8]        24 of  24  ████████████████
unembed                2 of  64
  W_U [8, 8]           2 of  64  ~~~~~~~~~~~~~~~~  singular directions 0-1
";
    assert_eq!(drawn.stdout, expected, "\n{}", drawn.stdout);
    assert_eq!(drawn.stderr, "");

    let json = here.call(&["inspect", file, "--restrict", "unembed.W_U[sv 0-1]", "--json"]).json_lines().remove(0);
    assert_eq!((&json["selected"], &json["weights"]), (&2.into(), &688.into()));
    let parts = json["parts"].as_array().unwrap();
    let tensor = parts.iter().find(|part| part["name"] == "unembed.W_U").unwrap();
    assert_eq!((&tensor["selected"], &tensor["directions"]), (&2.into(), &serde_json::json!([0, 1])));

    here.call(&["inspect", file, "--restrict", "l0h2"]).expect(2, &[file, "no head 2 in layer 0; it has 2 heads"]);
    here.call(&["inspect", file, "--restrict", "attn & mlp"]).expect(2, &[file, "selects nothing", "`attn` 256"]);
    here.call(&["inspect", file, "--restrict", "(attn"]).expect(2, &["character 1, at `(attn`", "add a `)`"]);
}
