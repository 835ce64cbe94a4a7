//! Several `ontogeny run` on one run: they share the work, survive each other's deaths, and end with the same bits.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::common::{TINY, Workplace, assert_same, findings};
use ontogeny_store::{RunFolder, Status};
use serde_json::Value;

/// A checkpoint at each of 20 steps, and 84 measurements.
fn dense() -> String {
    TINY.replace("steps = 40\ncheckpoints = { log = 5, linear = 4 }", "steps = 20\ncheckpoints = { linear = 20 }")
        .replace("[measure.accuracy]\n", "")
        .replace("draws = 100", "draws = 40\nrefused = \"accept\"")
}

const RUN: [&str; 7] = ["run", "tiny.toml", "--out", "r", "--threads", "1", "--json"];

fn events(output: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(output).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn two_terminals_on_one_run_share_the_work_and_end_with_the_bits_of_one() {
    let here = Workplace::new();
    here.write("tiny.toml", dense());
    here.call(&["run", "tiny.toml", "--out", "alone"]).expect(0, &[]);
    let workers = [here.start(&RUN), here.start(&RUN)];
    let outputs = workers.map(|worker| worker.wait_with_output().expect("a child of ours"));
    let mut made: BTreeMap<(String, u64), usize> = BTreeMap::new();
    for output in &outputs {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let events = events(&output.stdout);
        let measured: Vec<&Value> = events.iter().filter(|event| event["event"] == "measured").collect();
        assert!(!measured.is_empty(), "one of them did nothing");
        for event in measured {
            let unit = (event["measure"].as_str().unwrap().to_owned(), event["step"].as_u64().unwrap());
            *made.entry(unit).or_default() += 1;
        }
        assert_eq!(events.last().unwrap()["event"], "finished", "both say how it ended");
    }
    assert_eq!(made.len(), 21 * 4, "each measurement at each checkpoint");
    assert_eq!(made.values().max(), Some(&1), "and none twice");
    let trainers = outputs.iter().filter(|output| events(&output.stdout).iter().any(|e| e["event"] == "trained"));
    assert_eq!(trainers.count(), 1);
    assert_same(&here.findings("r"), &here.findings("alone"), "shared");
}

#[test]
fn other_settings_are_refused_while_somebody_works_and_readers_are_not() {
    let here = Workplace::new();
    // Far more work than the test waits for.
    let long = [&RUN[..], &["--set", "measure.llc.draws=4000000"]].concat();
    let mut first = here.start(&long);
    let begun = Instant::now();
    while RunFolder::open(here.path("r")).and_then(|run| Ok(run.checkpoint_steps()?)).map_or(0, |s| s.len()) < 2 {
        assert!(begun.elapsed() < Duration::from_mins(1), "the first gets nowhere");
        std::thread::sleep(Duration::from_millis(5));
    }
    let second = here.call(&["run", "tiny.toml", "--out", "r"]);
    let shown = here.call(&["show", "r", "--json"]);
    let report = here.call(&["report", "r", "--out", "page.html"]);
    first.kill().expect("SIGKILL");
    first.wait().expect("a child of ours");
    second.expect(2, &["`r`", &format!("process {}", first.id()), "another configuration", "wait for it to end"]);
    shown.expect(0, &[]);
    report.expect(0, &[]);
    // The dead hold nothing.
    here.call(&["run", "tiny.toml", "--out", "r"]).expect(0, &[]);
}

/// A generator of moments; any sequence will do, the same one each time.
struct Moments(u64);

impl Moments {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Kills workers until the number asked for is reached: `ONTOGENY_KILLS=1000 cargo test --release -p ontogeny --test all
/// four_workers_killed -- --nocapture`.
#[test]
fn four_workers_killed_at_random_lose_nothing_and_end_with_the_bits_of_one() {
    let n_wanted: u64 = std::env::var("ONTOGENY_KILLS").ok().map_or(40, |n| n.parse().expect("a number"));
    let here = Workplace::new();
    here.write("tiny.toml", dense());
    here.call(&["run", "tiny.toml", "--out", "alone"]).expect(0, &[]);
    let expected = here.findings("alone");
    let said = here.path("said");
    let spawn = || -> Child {
        let mut command: Command = here.command(&RUN);
        let talk = fs_err::OpenOptions::new().create(true).append(true).open(&said).expect("a file for what they say");
        command.stdout(Stdio::null()).stderr(talk.into_file()).spawn().expect("the binary starts")
    };
    let check = |status: ExitStatus, n_kills: u64| {
        let talk = fs_err::read_to_string(&said).unwrap_or_default();
        assert!(status.success(), "after {n_kills} kills: {status}: {talk}");
    };
    let mut moments = Moments(3);
    let (mut n_kills, mut n_runs, mut n_looks, mut n_with_record) = (0, 0, 0, 0);
    let begun = Instant::now();
    while n_kills < n_wanted {
        let mut workers: Vec<Child> = (0..4).map(|_| spawn()).collect();
        let mut n_done = 0;
        let mut n_kills_of_run = 0;
        loop {
            std::thread::sleep(Duration::from_millis(moments.below(120)));
            let victim = moments.below(4) as usize;
            let ended = workers[victim].try_wait().expect("a child of ours");
            // A worker that ends by itself says that everything is done; anything else is an error.
            if let Some(status) = ended {
                check(status, n_kills);
                break;
            }
            workers[victim].kill().expect("SIGKILL");
            workers[victim].wait().expect("a child of ours");
            (n_kills, n_kills_of_run) = (n_kills + 1, n_kills_of_run + 1);
            if let Ok(run) = RunFolder::open(here.path("r")) {
                let view = run.view().expect("a run that can be read");
                assert_eq!(view.problems, [], "after {n_kills} kills");
                let statuses = view.results.observables.values().flat_map(|observable| &observable.status);
                let n_now = statuses.filter(|status| **status != Status::Missing).count();
                assert!(n_now >= n_done, "after {n_kills} kills: {n_now} of {n_done} records are left");
                n_with_record += usize::from(n_now > n_done);
                (n_done, n_looks) = (n_now, n_looks + 1);
            }
            workers[victim] = spawn();
            if n_kills >= n_wanted || n_kills_of_run >= 200 {
                break;
            }
        }
        for worker in &mut workers {
            check(worker.wait().expect("a child of ours"), n_kills);
        }
        assert_same(&findings(&here.path("r")), &expected, "killed");
        let left: Vec<String> = crate::common::files(&here.path("r"))
            .into_keys()
            .filter(|name| {
                name.contains(".ontogeny-tmp") || name.starts_with("leases/") || name.starts_with("records/")
            })
            .collect();
        // A worker killed in its last moments may leave a file for the next to remove.
        here.call(&RUN).expect(0, &[]);
        let files = crate::common::files(&here.path("r"));
        let still: Vec<&String> = left.iter().filter(|name| files.contains_key(*name)).collect();
        assert!(still.is_empty(), "{still:?}");
        fs_err::remove_dir_all(here.path("r")).expect("the run is removed");
        n_runs += 1;
    }
    println!(
        "{n_kills} kills of 4 workers over {n_runs} runs of 84 measurements in {:.0} s; {n_looks} looks between kills, {n_with_record} \
         of them with new records; nothing lost, nothing damaged, every run with the bits of an undisturbed one",
        begun.elapsed().as_secs_f64()
    );
}
