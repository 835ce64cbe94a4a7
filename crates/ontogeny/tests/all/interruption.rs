//! Killing a run anywhere and running it again gives the same bits; an interruption says how to continue.
#![cfg(unix)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::common::{TINY, Workplace, assert_same, small};
use serde_json::Value;

/// Longest wait for anything to happen, on however busy a machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A checkpoint at each of 20 steps: some file is nearly always being written.
fn dense() -> String {
    TINY.replace("steps = 40\ncheckpoints = { log = 5, linear = 4 }", "steps = 20\ncheckpoints = { linear = 20 }")
        .replace("[measure.accuracy]\n", "")
        .replace("draws = 100", "draws = 40\nrefused = \"accept\"")
}

/// When to end a run.
enum Moment {
    /// As soon as an event of this kind has been printed so often; a measurement of this name where one is given.
    Event { kind: &'static str, measure: Option<&'static str>, times: usize },
    /// While a temporary file lies in this folder of the run.
    Writing(&'static str),
}

/// Reads events until the one of the moment; false where the run ended before it.
fn reached(child: &mut Child, run: &Path, moment: &Moment) -> bool {
    match moment {
        Moment::Event { kind, measure, times } => {
            let events = BufReader::new(child.stdout.take().expect("piped")).lines();
            let is_it =
                |event: &Value| event["event"] == *kind && measure.is_none_or(|measure| event["measure"] == measure);
            let parsed = events.map(|line| serde_json::from_str::<Value>(&line.expect("a line")).expect("JSON"));
            parsed.filter(is_it).nth(times - 1).is_some()
        }
        Moment::Writing(folder) => {
            let folder = run.join(folder);
            let begun = Instant::now();
            while begun.elapsed() < PATIENCE {
                let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
                if entries.into_iter().any(|e| e.file_name().to_string_lossy().starts_with(".ontogeny-tmp-")) {
                    return true;
                }
                if child.try_wait().expect("a child of ours").is_some() {
                    return false;
                }
            }
            false
        }
    }
}

#[test]
fn a_run_killed_anywhere_continues_with_the_same_bits() {
    let here = Workplace::new();
    here.write("tiny.toml", dense());
    let run = |out: &str, threads: &str| here.call(&["run", "tiny.toml", "--out", out, "--threads", threads]);
    run("undisturbed", "1").expect(0, &[]);
    let expected = here.findings("undisturbed");
    run("two threads", "2").expect(0, &[]);
    assert_same(&here.findings("two threads"), &expected, "two threads");

    let event = |kind, measure, times| Moment::Event { kind, measure, times };
    let moments = [
        ("as it opens", event("opened", None, 1)),
        ("at the first step", event("trained", None, 1)),
        ("in the middle of training", event("trained", None, 12)),
        ("while it writes a checkpoint", Moment::Writing("checkpoints")),
        ("while it writes a record", Moment::Writing("records/llc")),
        // Measurements go by name: after `fourier` come the chains of `llc`.
        ("during the first chains", event("measured", Some("fourier"), 1)),
        ("during later chains", event("measured", Some("fourier"), 9)),
        // The last measurement of the last checkpoint; the analysis begins.
        ("during the analysis", event("measured", Some("weight_norm"), 21)),
        ("after the analysis", event("analysed", None, 1)),
    ];
    for (i, (what, moment)) in moments.iter().enumerate() {
        let out = format!("killed {i}");
        let threads = if i % 2 == 0 { "1" } else { "2" };
        // A file may be written while nobody looks; events never pass unseen.
        let was_killed = (0..5).any(|_| {
            if here.path(&out).exists() {
                fs_err::remove_dir_all(here.path(&out)).expect("a run that ended unkilled is removed");
            }
            let mut child = here.start(&["run", "tiny.toml", "--out", &out, "--json", "--threads", threads]);
            let was_reached = reached(&mut child, &here.path(&out), moment);
            child.kill().expect("SIGKILL");
            let status = child.wait().expect("a child of ours");
            was_reached && status.code().is_none()
        });
        assert!(was_killed, "{what}: the run ended before");

        here.call(&["show", &out]).expect(0, &[]);
        here.call(&["run", "tiny.toml", "--out", &out, "--dry-run"]).expect(0, &[]);
        let threads = if i % 2 == 0 { "2" } else { "1" };
        run(&out, threads).expect(0, &[]);
        assert_same(&here.findings(&out), &expected, what);
        let left = crate::common::files(&here.path(&out)).into_keys().find(|name| name.contains(".ontogeny-tmp"));
        assert_eq!(left, None, "{what}");
    }
}

#[test]
fn a_run_killed_while_its_folder_is_made_can_be_begun_again() {
    let here = Workplace::new();
    here.call(&small("undisturbed")).expect(0, &[]);
    // From an empty folder to one with its first checkpoint.
    let files = ["", "workers", "run.toml", "events.jsonl", "checkpoints/step-00000000.safetensors"];
    for (i, first) in files.into_iter().enumerate() {
        let out = format!("killed {i}");
        let mut child = here.start(&small(&out));
        let begun = Instant::now();
        while !here.path(&out).join(first).exists() {
            assert!(begun.elapsed() < PATIENCE, "no `{first}`");
        }
        child.kill().expect("SIGKILL");
        child.wait().expect("a child of ours");
        let is_run = here.path(&out).join("run.toml").exists();
        assert_eq!(here.call(&["show", &out]).code, Some(if is_run { 0 } else { 2 }), "after `{first}`");
        here.call(&small(&out)).expect(0, &[]);
        assert_same(&here.findings(&out), &here.findings("undisturbed"), first);
    }
}

#[test]
fn a_run_killed_again_and_again_arrives() {
    let here = Workplace::new();
    here.write("tiny.toml", dense());
    here.call(&["run", "tiny.toml", "--out", "undisturbed"]).expect(0, &[]);
    let mut n_kills = 0;
    loop {
        // Each time it gets a few measurements further.
        let mut child = here.start(&["run", "tiny.toml", "--out", "r", "--json"]);
        let moment = Moment::Event { kind: "measured", measure: Some("llc"), times: 4 };
        let was_reached = reached(&mut child, &here.path("r"), &moment);
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
    assert_same(&here.findings("r"), &here.findings("undisturbed"), "killed again and again");
}

#[test]
fn an_interruption_is_exit_code_3_and_says_how_to_continue() {
    let here = Workplace::new();
    here.write("tiny.toml", dense());
    here.call(&["run", "tiny.toml", "--out", "undisturbed"]).expect(0, &[]);
    for (i, (signal, kind, measure)) in
        [("INT", "trained", None), ("TERM", "measured", Some("fourier"))].into_iter().enumerate()
    {
        let out = format!("interrupted {i}");
        let mut child = here.start(&["run", "tiny.toml", "--out", &out, "--json"]);
        let moment = Moment::Event { kind, measure, times: 2 };
        assert!(reached(&mut child, &here.path(&out), &moment), "{signal}");
        let kill = Command::new("sh").args(["-c", &format!("kill -{signal} {}", child.id())]).status();
        assert!(kill.expect("a shell").success());
        let mut talk = String::new();
        child.stderr.take().expect("piped").read_to_string(&mut talk).expect("text");
        let status = child.wait().expect("a child of ours");
        assert_eq!(status.code(), Some(3), "{signal}: {talk}");
        assert!(talk.contains("interrupted; run the same command again to continue"), "{talk}");

        here.call(&["show", &out]).expect(0, &[]);
        here.call(&["run", "tiny.toml", "--out", &out]).expect(0, &[]);
        assert_same(&here.findings(&out), &here.findings("undisturbed"), signal);
    }
}
