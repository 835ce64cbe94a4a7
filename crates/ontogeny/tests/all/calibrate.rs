//! Calibration: as a command over a finished run, and inside a run before anything is measured.

use std::time::{Duration, Instant};

use crate::common::{TINY, Workplace, assert_same};
use serde_json::Value;

/// [`TINY`] whose learning coefficients are calibrated, on steps that are named.
fn calibrated() -> String {
    TINY.replace("draws = 100\n", "draws = 60\ncalibrate = [10, 40]\nrefused = \"accept\"\n")
}

fn settings(view: &Value) -> (f64, f64, f64) {
    let found = &view["calibrations"]["llc"]["settings"];
    let number = |key: &str| found[key].as_f64().unwrap_or_else(|| panic!("{key} in {found}"));
    (number("step_size"), number("localization"), number("n_beta"))
}

#[test]
fn a_run_finds_its_settings_first_and_keeps_the_evidence() {
    let here = Workplace::new();
    here.write("calibrated.toml", calibrated());
    let run = here.call(&["run", "calibrated.toml", "--out", "run"]);
    run.expect(0, &["`llc` calibrated on steps 10, 40"]);
    let view = here.show("run");
    let (step_size, localization, n_beta) = settings(&view);
    let details = view["observables"]["llc"]["details"].as_array().unwrap();
    assert_eq!(details.len(), 9);
    for detail in details {
        assert_eq!(detail["step_size"].as_f64(), Some(step_size));
        assert_eq!(detail["localization"].as_f64(), Some(localization));
        assert_eq!(detail["n_beta"].as_f64(), Some(n_beta));
    }
    let trials = view["calibrations"]["llc"]["trials"].as_array().unwrap();
    assert!(trials.len() >= 8 && trials.iter().all(|trial| trial["verdict"].is_string()));
    let chosen = |trial: &&Value| {
        trial["step_size"].as_f64() == Some(step_size) && trial["localization"].as_f64() == Some(localization)
    };
    assert!(trials.iter().filter(chosen).count() >= 2, "the chosen settings were tried at both checkpoints");
    let report = fs_err::read_to_string(here.path("run/report.html")).unwrap();
    assert!(report.contains("<h2>Calibration</h2>") && report.contains("Over the temperature"));

    // Nothing is missing afterwards, and the same command does nothing.
    let dry = here.call(&["run", "calibrated.toml", "--out", "run", "--dry-run", "--json"]);
    dry.expect(0, &[]);
    let before = here.findings("run");
    let again = here.call(&["run", "calibrated.toml", "--out", "run"]);
    again.expect(0, &[]);
    assert!(!again.stderr.contains("calibrated on"), "{}", again.stderr);
    assert_same(&here.findings("run"), &before, "a second call");

    // On one thread it finds the same to the last bit.
    here.call(&["run", "calibrated.toml", "--out", "alone", "--threads", "1"]).expect(0, &[]);
    assert_eq!(here.show("alone")["calibrations"], view["calibrations"]);
}

#[test]
fn the_command_prints_lines_for_the_run_file() {
    let here = Workplace::new();
    here.call(&["run", "tiny.toml", "--out", "run"]).expect(0, &[]);
    let found = here.call(&["calibrate", "run", "--steps", "10,40", "--plot", "map.html"]);
    found.expect(0, &["verdict", "localisation", "wrote map.html"]);
    let table: toml::Table = toml::from_str(&found.stdout).unwrap();
    let llc = table["measure"]["llc"].as_table().unwrap();
    for key in ["step_size", "localization", "n_beta"] {
        assert!(llc[key].as_float().is_some_and(|x| x > 0.0), "{key}: {llc}");
    }
    assert!(fs_err::read_to_string(here.path("map.html")).unwrap().contains("Step 40"));
    let json = here.call(&["calibrate", "run", "--steps", "10,40", "--json"]).json_lines().remove(0);
    assert_eq!(json["settings"]["step_size"].as_f64(), llc["step_size"].as_float());

    here.call(&["calibrate", "run", "--steps", "11"]).expect(2, &["`calibrate` names step 11", "the nearest is 10"]);
    here.call(&["calibrate", "run", "--measure", "loss"]).expect(2, &["does not measure `loss` as an `llc`", "llc"]);
    here.call(&["calibrate", "nowhere"]).expect(2, &["nowhere"]);
}

#[test]
fn settings_that_do_not_fit_together_are_named() {
    let here = Workplace::new();
    for (set, says) in [
        ("measure.llc.calibrate=false", "`calibrate = false` says nothing"),
        ("measure.llc.calibrate=[]", "`calibrate` is an empty list"),
        ("measure.llc.calibrate=[12]", "`calibrate` names step 12, at which there is no checkpoint; the nearest is 10"),
        ("measure.llc.friction=0.1", "`friction` is no setting of the sampler `sgld`; leave it out"),
        ("measure.llc.evaluation=\"fresh\"", "say of how many examples by `evaluation_batch`"),
        ("measure.llc.evaluation_batch=3", "`evaluation_batch` belongs to"),
        ("measure.llc.bounding_box=-1.0", "`bounding_box` is -1"),
        ("measure.llc.prior_precision=-1.0", "`precision` is -1"),
        ("measure.llc.burn_in_from=0.0", "`from` is 0"),
    ] {
        here.call(&["run", "tiny.toml", "--dry-run", "--set", set]).expect(2, &["measure.llc", says]);
    }
}

/// The settings that were found, with everything they rest on, as they are kept.
fn evidence(here: &Workplace, run: &str) -> Vec<u8> {
    fs_err::read(here.path(run).join("calibration/llc.json")).expect("a search that ended")
}

/// Waits until a run begins its search, then until it ends or until this time has passed; how long it waited in the search.
fn follow_search(here: &Workplace, run: &str, at_most: Duration) -> Duration {
    let leases = here.path(run).join("leases");
    let has_begun = || {
        let entries = std::fs::read_dir(&leases).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("calibrate.llc."))
    };
    let begun = Instant::now();
    while !has_begun() {
        assert!(begun.elapsed() < Duration::from_mins(1), "no search begins");
        std::thread::sleep(Duration::from_millis(2));
    }
    let searching = Instant::now();
    while searching.elapsed() < at_most && !here.path(run).join("calibration/llc.json").exists() {
        assert!(searching.elapsed() < Duration::from_mins(5), "the search does not end");
        std::thread::sleep(Duration::from_millis(2));
    }
    searching.elapsed()
}

#[test]
fn a_calibration_killed_in_the_middle_finds_the_same_settings_and_bits() {
    let here = Workplace::new();
    here.write("calibrated.toml", calibrated());
    let start = |out: &str| here.start(&["run", "calibrated.toml", "--out", out, "--json"]);
    let mut undisturbed = start("undisturbed");
    let whole = follow_search(&here, "undisturbed", Duration::MAX);
    assert!(undisturbed.wait().unwrap().success());
    let expected = here.findings("undisturbed");
    // In the first chains, in the middle, and near the end.
    for (i, share) in [0.0, 0.4, 0.8].into_iter().enumerate() {
        let out = format!("killed {i}");
        // A search may be faster than the one that was timed; then it is killed earlier in its next life.
        let mut wait = whole.mul_f64(share);
        loop {
            let mut child = start(&out);
            follow_search(&here, &out, wait);
            child.kill().unwrap();
            let was_killed = child.wait().unwrap().code().is_none();
            if was_killed && !here.path(&out).join("calibration/llc.json").exists() {
                break;
            }
            fs_err::remove_dir_all(here.path(&out)).unwrap();
            wait /= 2;
        }
        // A reader sees a run whose estimates are still to come.
        here.call(&["show", &out]).expect(0, &[]);
        let resumed = here.call(&["run", "calibrated.toml", "--out", &out]);
        resumed.expect(0, &["`llc` calibrated on steps 10, 40"]);
        assert_same(&here.findings(&out), &expected, &format!("killed at {share}"));
        assert_eq!(evidence(&here, &out), evidence(&here, "undisturbed"), "killed at {share}");
    }
    println!("a search of {:.2} s, killed after 0, 40 and 80 % of that", whole.as_secs_f64());
}

#[test]
fn two_workers_calibrate_once_and_agree() {
    let here = Workplace::new();
    here.write("calibrated.toml", calibrated());
    here.call(&["run", "calibrated.toml", "--out", "alone"]).expect(0, &[]);
    let run = ["run", "calibrated.toml", "--out", "shared", "--threads", "1"];
    let workers = [here.start(&run), here.start(&run)];
    let mut n_searches = 0;
    for worker in workers {
        let output = worker.wait_with_output().unwrap();
        let talk = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{talk}");
        n_searches += talk.matches("`llc` calibrated on steps 10, 40").count();
    }
    assert_eq!(n_searches, 1, "one searches, the other takes what it found");
    assert_same(&here.findings("shared"), &here.findings("alone"), "two workers");
    assert_eq!(evidence(&here, "shared"), evidence(&here, "alone"));
}
