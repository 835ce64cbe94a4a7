//! The verdict files of an atlas against its registry and its runs.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use ontogeny_store::{StudyRun, StudyVerdict};

use super::runs::{FoundRun, Seeds};
use super::{Findings, not_in_chain, place};
use crate::registry::{Entry, Line, Registry};

/// The folder of the verdicts in that of the atlas.
const VERDICTS: &str = "verdicts";

const NOT_CONFIRMED: &str =
    "the verdict is not what the registry recorded: restore it from a copy, or judge the study again";

/// Every verdict file: its bytes, by its name in the folder.
pub(super) fn read(atlas: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let entries = match fs_err::read_dir(atlas.join(VERDICTS)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        read => read?,
    };
    let mut verdicts = BTreeMap::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.extension().is_some_and(|extension| extension == "json") && path.is_file() {
            verdicts.insert(name, fs_err::read(&path)?);
        }
    }
    Ok(verdicts)
}

/// Every verdict file, and every verdict of the registry whose file is gone.
pub(super) fn check(
    registry: &Registry,
    verdicts: &BTreeMap<String, Vec<u8>>,
    runs: &BTreeMap<String, FoundRun>,
    seeds: &mut Seeds,
    findings: &mut Findings,
) {
    for (name, bytes) in verdicts {
        let subject = format!("{VERDICTS}/{name}");
        match serde_json::from_slice::<StudyVerdict>(bytes) {
            Ok(verdict) if file_name(&verdict.id, &verdict.scale) == *name => {
                check_file(registry, &subject, bytes, &verdict, findings);
                check_registration(registry, &subject, &verdict, findings);
                check_runs(registry, &subject, &verdict, runs, seeds, findings);
            }
            Ok(verdict) => findings.problem(
                &subject,
                format!("the verdict of study {} at scale {}, expected it to be called so", verdict.id, verdict.scale),
                "the file was renamed or exchanged: restore it from a copy",
            ),
            Err(error) => findings.problem(
                &subject,
                format!("{error}, expected a verdict"),
                "the file is damaged: restore it from a copy, or judge the study again",
            ),
        }
    }
    let mut judged = BTreeSet::new();
    for line in registry.lines() {
        if let Entry::Verdict { study, scale, .. } = &line.entry {
            judged.insert((file_name(study, scale), study, scale));
        }
    }
    for (name, study, scale) in judged.into_iter().filter(|(name, ..)| !verdicts.contains_key(name)) {
        let line = registry.verdict(study, scale).map(place).unwrap_or_default();
        findings.problem(
            &format!("{VERDICTS}/{name}"),
            format!("no file, expected the verdict of {line}"),
            "the verdict was deleted: restore it from a copy, or judge the study again",
        );
    }
}

/// `ID-SCALE.json`
fn file_name(study: &str, scale: &str) -> String {
    format!("{study}-{scale}.json")
}

/// The bytes and the outcome, against the newest verdict of the registry.
fn check_file(registry: &Registry, subject: &str, bytes: &[u8], verdict: &StudyVerdict, findings: &mut Findings) {
    let Some(line) = registry.verdict(&verdict.id, &verdict.scale) else {
        return findings.problem(
            subject,
            "no entry in the registry",
            "the verdict was never recorded, or its line was cut from the registry: restore the registry, or judge the study again",
        );
    };
    let Entry::Verdict { content, outcome, registration, p_values, .. } = &line.entry else { return };
    let found = blake3::hash(bytes).to_hex();
    if found.as_str() != content {
        let older = registry.lines().iter().find(|of| is_verdict_with(of, verdict, found.as_str()));
        let which = older.map_or_else(
            || format!("bytes of hash {found}, expected {content} as in {}", place(line)),
            |older| format!("the verdict of {}, expected that of {}, which came after it", place(older), place(line)),
        );
        findings.problem(subject, which, NOT_CONFIRMED);
    }
    if verdict.outcome != *outcome {
        let found = format!("{:?}, expected {outcome:?} as in {}", verdict.outcome, place(line)).to_lowercase();
        findings.problem(subject, found, NOT_CONFIRMED);
    }
    if verdict.registration.hash != *registration {
        let found =
            format!("the registration {}, expected {registration} as in {}", verdict.registration.hash, place(line));
        findings.problem(subject, found, NOT_CONFIRMED);
    }
    for hypothesis in &verdict.hypotheses {
        if let (Some(found), Some(expected)) = (hypothesis.p_value, p_values.get(&hypothesis.id))
            && found != *expected
        {
            let found = format!("p = {found} for {}, expected {expected} as in {}", hypothesis.id, place(line));
            findings.problem(subject, found, NOT_CONFIRMED);
        }
    }
    if line.index < verdict.registration.chain_length {
        findings.problem(
            subject,
            format!(
                "begun with a registry of {} lines, expected at most {}: {} is its entry",
                verdict.registration.chain_length,
                line.index,
                place(line)
            ),
            "the study began to run after its verdict",
        );
    }
}

fn is_verdict_with(line: &Line, verdict: &StudyVerdict, hash: &str) -> bool {
    matches!(&line.entry, Entry::Verdict { study, scale, content, .. }
        if *study == verdict.id && *scale == verdict.scale && content == hash)
}

/// What the verdict says of its registration, against the registry.
fn check_registration(registry: &Registry, subject: &str, verdict: &StudyVerdict, findings: &mut Findings) {
    let said = &verdict.registration;
    let line = registry.line(&said.hash);
    let (line, content, earlier) = match line.map(|line| (line, &line.entry)) {
        Some((line, Entry::Registration { study, content, earlier, .. })) if *study == verdict.id => {
            (line, content, earlier)
        }
        _ => {
            return findings.problem(
                subject,
                format!("a registration {}, which is none of the study in the registry", said.hash),
                "the registration was removed or never made: restore the registry, or register the study and run it again",
            );
        }
    };
    let facts = [
        ("index", said.index.to_string(), line.index.to_string()),
        ("time", said.time.to_string(), line.time.to_string()),
        ("content", said.content.clone(), content.clone()),
        ("number of earlier registrations", said.earlier.to_string(), earlier.to_string()),
    ];
    for (what, found, expected) in facts.into_iter().filter(|(_, found, expected)| found != expected) {
        let found = format!("{what} {found} of the registration, expected {expected} as in {}", place(line));
        findings.problem(subject, found, NOT_CONFIRMED);
    }
    if let Some(found) = not_in_chain(registry, said.chain_length, &said.chain_head) {
        findings.problem(
            subject,
            format!("the study began to run with {found}"),
            "lines were cut from the registry or it was written anew: restore it from a copy",
        );
    }
    if said.chain_length <= line.index {
        findings.problem(
            subject,
            format!(
                "begun with a registry of {} lines, expected more than {}: {} is the registration",
                said.chain_length,
                line.index,
                place(line)
            ),
            "the study began to run before its registration",
        );
    }
    if verdict.time < line.time {
        findings.problem(
            subject,
            format!("judged at {}, expected {} or later, the time of its registration", verdict.time, line.time),
            "the study was judged before its registration, or a clock was wrong",
        );
    }
    if let Some(newest) = registry.registration(&verdict.id).filter(|newest| newest.hash != line.hash) {
        findings.note(
            subject,
            format!("the verdict of {}; {} registers the study again", place(line), place(newest)),
            "the newest text of the study has no verdict at this scale yet",
        );
    }
}

/// The runs that the verdict lists.
fn check_runs(
    registry: &Registry,
    subject: &str,
    verdict: &StudyVerdict,
    runs: &BTreeMap<String, FoundRun>,
    seeds: &mut Seeds,
    findings: &mut Findings,
) {
    let registration = &verdict.registration;
    // Who has runs made may not choose among many: seeds are taken in order, and the half of them (of families whose runs are apart, and
    // of those that are not, once more) may wait for an attack by other seeds. Pilots take places too.
    let used: BTreeSet<u32> = verdict.runs.iter().map(|run| run.seed).collect();
    let n_seeds = 4 * used.len();
    for run in &verdict.runs {
        let (name, directory) = (format!("run {} of family {}", run.name, run.family), &run.directory);
        if verdict.confirmatory && !run.confirmatory {
            findings.problem(
                subject,
                format!("{name} has no seed of the registration, and the verdict says that all have one"),
                "the study is exploratory: judge it again",
            );
        }
        if run.confirmatory && !seeds.is_among_first(n_seeds, &registration.hash, u64::from(run.seed)) {
            findings.problem(
                subject,
                format!("{name} with seed {}, which is none of the first {n_seeds} of its registration", run.seed),
                "the seed was chosen, not drawn: run the study with seeds of the registration",
            );
        }
        if run.confirmatory && run.chain_length <= registration.index {
            findings.problem(
                subject,
                format!(
                    "{name} began when the registry had {} lines, expected more than {}",
                    run.chain_length, registration.index
                ),
                "the run began before its registration",
            );
        }
        if let Some(found) = not_in_chain(registry, run.chain_length, &run.chain_head) {
            findings.problem(
                subject,
                format!("{name} began with {found}"),
                "lines were cut from the registry or it was written anew: restore it from a copy",
            );
        }
        if let Some(line) = registry.verdict(&verdict.id, &verdict.scale).filter(|line| run.chain_length > line.index) {
            findings.problem(
                subject,
                format!("{name} began when the registry had {} lines, after {}", run.chain_length, place(line)),
                "the run began after the verdict that rests on it",
            );
        }
        match runs.get(directory) {
            Some(found) => check_run(directory, &name, run, found, &registration.hash, findings),
            None => findings.note(
                subject,
                format!("no folder `{directory}`, expected {name}"),
                "the run was deleted: the verdict can still be read, but not checked against it",
            ),
        }
    }
}

/// A run as the verdict lists it, against its folder.
fn check_run(
    directory: &str,
    name: &str,
    listed: &StudyRun,
    found: &FoundRun,
    registration: &str,
    findings: &mut Findings,
) {
    let mut facts: Vec<(&str, String, String)> = Vec::new();
    if let Ok(manifest) = &found.manifest {
        facts.push(("trajectory", manifest.trajectory.clone(), listed.trajectory.clone()));
        facts.push(("seed", manifest.seed.to_string(), listed.seed.to_string()));
    }
    if let Ok(Some(stamp)) = &found.stamp {
        let of_registry = |length: u64, head: &str| format!("of {length} lines that ends in {head}");
        facts.push((
            "registry",
            of_registry(stamp.chain_length, &stamp.chain_head),
            of_registry(listed.chain_length, &listed.chain_head),
        ));
        if listed.confirmatory {
            let of = stamp.registration.clone().unwrap_or_else(|| "of no study (a pilot)".to_owned());
            facts.push(("registration", of, registration.to_owned()));
        }
    }
    for (what, found, expected) in facts.into_iter().filter(|(_, found, expected)| found != expected) {
        findings.problem(
            directory,
            format!("{what} {found}, expected {expected} as the verdict lists {name}"),
            "the run is not the one that was judged: restore it from a copy, or judge the study again",
        );
    }
}
