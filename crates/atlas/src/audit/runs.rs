//! The run folders of an atlas against its registry.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use ontogeny_store::{Manifest, RunFolder};

use super::{Findings, not_in_chain, place};
use crate::registry::{Entry, FIRST_CONFIRMATORY_SEED, Registry, STAMP_FILE, Stamp, confirmatory_seeds};

/// The folder of the runs in that of the atlas.
const RUNS: &str = "runs";

/// Seeds of a registration that runs may have: more than any study takes.
const N_SEEDS: usize = 10_000;

/// Milliseconds by which an event may lie before the stamp: its time is that of the file system's call, the stamp's a whole second.
const EVENT_SLACK: i64 = 2_000;

/// A run with what an audit needs of it; what could not be read is there in words.
#[derive(Debug)]
pub(super) struct FoundRun {
    pub(super) manifest: Result<Manifest, String>,
    pub(super) stamp: Result<Option<Stamp>, String>,
    first_event: Result<Option<String>, String>,
}

impl FoundRun {
    /// Whether it began when the registry had lines already.
    pub(super) fn saw_lines(&self) -> bool {
        matches!(&self.stamp, Ok(Some(stamp)) if stamp.chain_length > 0)
    }

    fn read(path: &Path) -> Self {
        let folder = RunFolder::open(path).map_err(|error| error.to_string());
        let first_event = match &folder {
            Ok(folder) => match folder.events() {
                Ok(events) => Ok(events.events.into_iter().next().map(|event| event.time)),
                Err(error) => Err(error.to_string()),
            },
            Err(_) => Ok(None),
        };
        let manifest = folder.map(|folder| folder.manifest().clone());
        Self { manifest, stamp: Stamp::read(path).map_err(|error| error.to_string()), first_event }
    }
}

/// Places of the seeds of registrations, each computed once.
#[derive(Debug, Default)]
pub(super) struct Seeds(BTreeMap<String, BTreeMap<u32, usize>>);

impl Seeds {
    /// Whether a run of this registration may have this seed.
    pub(super) fn allow(&mut self, registration: &str, seed: u64) -> bool {
        self.is_among_first(N_SEEDS, registration, seed)
    }

    /// Whether it is one of the first `n` seeds of the registration.
    pub(super) fn is_among_first(&mut self, n: usize, registration: &str, seed: u64) -> bool {
        let places = self.0.entry(registration.to_owned()).or_insert_with(|| {
            confirmatory_seeds(registration, N_SEEDS).into_iter().enumerate().map(|(at, seed)| (seed, at)).collect()
        });
        u32::try_from(seed).is_ok_and(|seed| places.get(&seed).is_some_and(|at| *at < n))
    }
}

/// All runs of the atlas, by their folder relative to it, such as `runs/NAME-HASH`.
pub(super) fn read(atlas: &Path) -> io::Result<BTreeMap<String, FoundRun>> {
    let entries = match fs_err::read_dir(atlas.join(RUNS)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        read => read?,
    };
    let mut runs = BTreeMap::new();
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            runs.insert(format!("{RUNS}/{name}"), FoundRun::read(&path));
        }
    }
    Ok(runs)
}

/// Each run for itself.
pub(super) fn check(
    registry: &Registry,
    runs: &BTreeMap<String, FoundRun>,
    seeds: &mut Seeds,
    findings: &mut Findings,
) {
    for (directory, run) in runs {
        if let Err(error) = &run.manifest {
            findings.problem(
                directory,
                error.clone(),
                "nobody can say what this run was: restore it, or remove the folder",
            );
        }
        match &run.stamp {
            Ok(Some(stamp)) => check_stamp(registry, directory, run, stamp, seeds, findings),
            Ok(None) => findings.problem(
                directory,
                format!("no `{STAMP_FILE}`"),
                "nobody can say when this run began: it must not support a verdict",
            ),
            Err(error) => {
                findings.problem(
                    directory,
                    error.clone(),
                    "nobody can say when this run began: it must not support a verdict",
                );
            }
        }
    }
}

fn check_stamp(
    registry: &Registry,
    directory: &str,
    run: &FoundRun,
    stamp: &Stamp,
    seeds: &mut Seeds,
    findings: &mut Findings,
) {
    if let Some(found) = not_in_chain(registry, stamp.chain_length, &stamp.chain_head) {
        findings.problem(
            directory,
            format!("the run began with {found}"),
            "lines were cut from the registry or it was written anew, or the run is of another atlas: restore the registry from a copy",
        );
    }
    let before = usize::try_from(stamp.chain_length).ok().and_then(|n| registry.lines().get(n.checked_sub(1)?));
    if let Some(line) = before.filter(|line| stamp.started < line.time) {
        findings.problem(
            directory,
            format!("started at {}, expected {} or later, the time of {}", stamp.started, line.time, place(line)),
            "the stamp is back-dated, or a clock was wrong: the run must not support a verdict",
        );
    }
    check_first_event(directory, run, stamp, findings);
    let seed = run.manifest.as_ref().ok().map(|manifest| manifest.seed);
    let (study, hash) = match (&stamp.study, &stamp.registration) {
        (Some(study), Some(hash)) => (study, hash),
        (None, None) => {
            if let Some(seed) = seed.filter(|seed| *seed >= u64::from(FIRST_CONFIRMATORY_SEED)) {
                findings.problem(
                    directory,
                    format!("a pilot with seed {seed}, expected one below {FIRST_CONFIRMATORY_SEED}"),
                    "it may be a confirmatory run whose stamp was exchanged",
                );
            }
            return;
        }
        _ => {
            let found = "a stamp with a study or a registration, expected both or none".to_owned();
            return findings.problem(directory, found, "the stamp was edited: the run must not support a verdict");
        }
    };
    let registration = registry
        .line(hash)
        .filter(|line| matches!(&line.entry, Entry::Registration { study: registered, .. } if registered == study));
    let Some(line) = registration else {
        return findings.problem(
            directory,
            format!("a stamp of study {study} under {hash}, which is no registration of it"),
            "the registration was removed or never made: the run must not support a verdict",
        );
    };
    if stamp.chain_length <= line.index {
        findings.problem(
            directory,
            format!(
                "began when the registry had {} lines, expected more than {}: {} is its registration",
                stamp.chain_length,
                line.index,
                place(line)
            ),
            "the run began before its registration",
        );
    }
    if stamp.started < line.time {
        findings.problem(
            directory,
            format!("started at {}, expected {} or later, the time of its registration", stamp.started, line.time),
            "the run began before its registration, or a clock was wrong",
        );
    }
    if let Some(seed) = seed.filter(|seed| !seeds.allow(hash, *seed)) {
        findings.problem(
            directory,
            format!("seed {seed}, expected one of the first {N_SEEDS} of its registration"),
            "the seed was chosen, not drawn: the run must not support a verdict",
        );
    }
}

/// The log of a run begins after its stamp.
fn check_first_event(directory: &str, run: &FoundRun, stamp: &Stamp, findings: &mut Findings) {
    let time = match &run.first_event {
        Ok(None) => return,
        Ok(Some(time)) => time,
        Err(error) => return findings.problem(directory, error.clone(), "nobody can say when this run began"),
    };
    let started = i64::try_from(stamp.started).unwrap_or(i64::MAX).saturating_mul(1_000);
    match unix_millis(time) {
        Some(found) if found >= started.saturating_sub(EVENT_SLACK) => {}
        Some(_) => findings.problem(
            directory,
            format!("a first event at {time}, expected one after the stamp's {} (Unix seconds)", stamp.started),
            "the run began before its stamp, which was exchanged: the run must not support a verdict",
        ),
        None => findings.problem(
            directory,
            format!("a first event at `{time}`, expected a time such as 2026-01-31T12:00:00.000Z"),
            "the log was edited: nobody can say when this run began",
        ),
    }
}

/// Milliseconds since 1970 of `YYYY-MM-DDTHH:MM:SS.mmmZ`, the form that the store writes; `None` of any other text.
fn unix_millis(text: &str) -> Option<i64> {
    let form = b"0000-00-00T00:00:00.000Z";
    let is_formed = text.len() == form.len()
        && text.bytes().zip(form).all(|(byte, of)| if *of == b'0' { byte.is_ascii_digit() } else { byte == *of });
    if !is_formed {
        return None;
    }
    let number = |from: usize, to: usize| text[from..to].parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second, millis) = (number(11, 13)?, number(14, 16)?, number(17, 19)?, number(20, 23)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // H. Hinnant, “chrono-compatible low-level date algorithms”, `days_from_civil`: years begin in March.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000 + millis)
}

#[cfg(test)]
mod tests {
    use super::unix_millis;

    #[test]
    fn known_dates() {
        // Known answers from `date -u -d @SECONDS`.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (1_700_000_000, "2023-11-14T22:13:20.007Z"),
            (4_107_542_399, "2100-02-28T23:59:59.007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z"),
        ] {
            assert_eq!(unix_millis(text), Some(seconds * 1_000 + 7));
        }
        for text in
            ["", "2023-11-14", "2023-11-14T22:13:20.007+", "2023-13-14T22:13:20.007Z", "2023-11-14T2ü:13:20.07Z"]
        {
            assert_eq!(unix_millis(text), None, "{text}");
        }
    }
}
