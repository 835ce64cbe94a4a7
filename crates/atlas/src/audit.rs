//! Whether verdicts, runs, study files and the registry agree.
//!
//! The registry proves the order of what was said. Each run carries what the registry was when it began ([`Stamp`](crate::registry::Stamp)), each
//! verdict what it was when the study began to run, and the registry carries the hash of each verdict. So whoever changes one of them
//! afterwards must change all of them, the times in the logs of the runs, and every copy that somebody else has.
//!
//! What no audit can see: a whole atlas made anew with a clock set back; lines cut from the end of the registry together with every run
//! and verdict that saw them; a study that was run elsewhere first. Whoever publishes the head of the registry closes the first two.

mod runs;
mod verdicts;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::Serialize;

use crate::registry::{Entry, Line, REGISTRY_FILE, Registry, RegistryError};

/// Something that was found, and what it means.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// Whether it takes away what a verdict says.
    pub severity: Severity,
    /// A path relative to the atlas, or `study ID`.
    pub subject: String,
    /// What was found, and what was expected.
    pub found: String,
    /// What it means, and what to do.
    pub meaning: String,
}

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Evidence is missing, or contradicts itself.
    Problem,
    /// Nothing is wrong, but whoever reads the verdict should know.
    Note,
}

/// Why an atlas could not be audited. Whatever is wrong with its content is a [`Finding`].
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A file or folder could not be read; the message names it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Findings as they come.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn problem(&mut self, subject: &str, found: impl Into<String>, meaning: &str) {
        self.add(Severity::Problem, subject, found.into(), meaning);
    }

    fn note(&mut self, subject: &str, found: impl Into<String>, meaning: &str) {
        self.add(Severity::Note, subject, found.into(), meaning);
    }

    fn add(&mut self, severity: Severity, subject: &str, found: String, meaning: &str) {
        self.0.push(Finding { severity, subject: subject.to_owned(), found, meaning: meaning.to_owned() });
    }
}

/// Compares everything in the folder `atlas`, and the study files as they are now (`studies`: hash by path, by identifier; as
/// in a registration). Problems come first, then by subject; the same atlas gives the same findings. Nothing is written.
///
/// Where the registry itself is damaged, that is the only finding: nothing can be compared with it.
///
/// # Errors
/// Where a file cannot be read.
pub fn audit(atlas: &Path, studies: &BTreeMap<String, BTreeMap<String, String>>) -> Result<Vec<Finding>, AuditError> {
    let (mut findings, mut seeds) = (Findings::default(), runs::Seeds::default());
    let registry = match Registry::open(atlas) {
        Ok(registry) => registry,
        Err(RegistryError::Io(error)) => return Err(error.into()),
        Err(error) => {
            findings.problem(
                REGISTRY_FILE,
                error.to_string(),
                "no run and no verdict can be confirmed; they were not looked at. Restore the registry, and audit again",
            );
            return Ok(findings.0);
        }
    };
    let runs = runs::read(atlas)?;
    let verdicts = verdicts::read(atlas)?;
    check_presence(&registry, &runs, &verdicts, &mut findings);
    check_registrations(&registry, &mut findings);
    check_verdict_lines(&registry, &mut findings);
    check_studies(&registry, studies, &mut findings);
    runs::check(&registry, &runs, &mut seeds, &mut findings);
    verdicts::check(&registry, &verdicts, &runs, &mut seeds, &mut findings);
    let mut findings = findings.0;
    findings.sort();
    findings.dedup();
    Ok(findings)
}

/// A registry that is gone, or ends in half a line.
fn check_presence(
    registry: &Registry,
    runs: &BTreeMap<String, runs::FoundRun>,
    verdicts: &BTreeMap<String, Vec<u8>>,
    findings: &mut Findings,
) {
    let n_runs = runs.values().filter(|run| run.saw_lines()).count();
    if registry.length() == 0 && (n_runs > 0 || !verdicts.is_empty()) {
        findings.problem(
            REGISTRY_FILE,
            format!("no line, beside {n_runs} runs that saw one and {} verdicts", verdicts.len()),
            "the registry was deleted or emptied: restore it from a copy",
        );
    }
    if registry.torn_bytes() > 0 {
        findings.note(
            REGISTRY_FILE,
            format!("{} bytes after the last line break", registry.torn_bytes()),
            "a process was killed while it appended; they never counted, and the next append removes them",
        );
    }
}

/// How often each study was registered.
fn check_registrations(registry: &Registry, findings: &mut Findings) {
    let mut n_by_study: BTreeMap<&str, u64> = BTreeMap::new();
    for line in registry.lines() {
        let Entry::Registration { study, earlier, .. } = &line.entry else { continue };
        let n = n_by_study.entry(study).or_default();
        if earlier != n {
            findings.problem(
                &subject(study),
                format!("{}, counts {earlier} registrations before it, expected {n}", place(line)),
                "whoever reads the verdict is told a wrong number of chances: register again",
            );
        }
        *n += 1;
    }
    for (study, n) in n_by_study.into_iter().filter(|(_, n)| *n > 1) {
        findings.note(
            &subject(study),
            format!("{n} registrations"),
            "each was another chance: what the earlier ones gave belongs beside the verdict",
        );
    }
}

/// Verdicts against each other and the registrations that they name.
fn check_verdict_lines(registry: &Registry, findings: &mut Findings) {
    let mut by_registration: BTreeMap<(&str, &str, &str), Vec<&Line>> = BTreeMap::new();
    for line in registry.lines() {
        let Entry::Verdict { study, scale, registration, .. } = &line.entry else { continue };
        let is_registered = registry.line(registration).is_some_and(|of| {
            of.index < line.index
                && matches!(&of.entry, Entry::Registration { study: registered, .. } if registered == study)
        });
        if !is_registered {
            findings.problem(
                &subject(study),
                format!(
                    "{}, a verdict under {registration}, which is no registration of the study before it",
                    place(line)
                ),
                "the verdict has no registration: register the study and run it again",
            );
        }
        by_registration.entry((study, scale, registration)).or_default().push(line);
    }
    for ((study, scale, _), lines) in by_registration.into_iter().filter(|(_, lines)| lines.len() > 1) {
        let outcome = |line: &Line| match &line.entry {
            Entry::Verdict { outcome, .. } => format!("{outcome:?} at line {}", line.index + 1).to_lowercase(),
            _ => String::new(),
        };
        let words: Vec<String> = lines.iter().map(|line| outcome(line)).collect();
        let found = format!("{} verdicts at scale {scale} under one registration: {}", words.len(), words.join(", "));
        let is_one = |a: &Line, b: &Line| match (&a.entry, &b.entry) {
            (Entry::Verdict { outcome: a, .. }, Entry::Verdict { outcome: b, .. }) => a == b,
            _ => false,
        };
        if lines.windows(2).all(|pair| is_one(pair[0], pair[1])) {
            findings.note(&subject(study), found, "it was judged again, with the same outcome");
        } else {
            findings.problem(
                &subject(study),
                found,
                "the same registration and seeds cannot give two outcomes: find out what was changed, and register again",
            );
        }
    }
}

/// The files of each registered study, against its newest registration.
fn check_studies(registry: &Registry, studies: &BTreeMap<String, BTreeMap<String, String>>, findings: &mut Findings) {
    let mut newest: BTreeMap<&str, (&Line, &BTreeMap<String, String>)> = BTreeMap::new();
    for line in registry.lines() {
        if let Entry::Registration { study, files, .. } = &line.entry {
            newest.insert(study, (line, files));
        }
    }
    for (study, (line, registered)) in newest {
        let Some(current) = studies.get(study) else {
            let found = format!("no files, expected those of {}", place(line));
            findings.note(
                &subject(study),
                found,
                "the study was removed; what was registered and judged stays in the registry",
            );
            continue;
        };
        let changes = changes(registered, current);
        if changes.is_empty() {
            continue;
        }
        let found = format!("{}, expected the files of {}", changes.join(", "), place(line));
        let is_judged = registry
            .lines()
            .iter()
            .any(|of| matches!(&of.entry, Entry::Verdict { registration, .. } if *registration == line.hash));
        if is_judged {
            findings.problem(&subject(study), found, "the verdict is of another text; register again");
        } else {
            findings.note(&subject(study), found, "the study was edited since; register again before it is run");
        }
    }
}

/// What happened to files since, in words.
fn changes(registered: &BTreeMap<String, String>, current: &BTreeMap<String, String>) -> Vec<String> {
    let mut changes: Vec<String> = registered
        .iter()
        .filter_map(|(path, hash)| match current.get(path) {
            Some(now) if now == hash => None,
            Some(_) => Some(format!("`{path}` was edited")),
            None => Some(format!("`{path}` is gone")),
        })
        .collect();
    let new = current.keys().filter(|path| !registered.contains_key(*path));
    changes.extend(new.map(|path| format!("`{path}` is new")));
    changes
}

/// How a study is named in findings.
fn subject(study: &str) -> String {
    format!("study {study}")
}

/// How a line is named in findings.
fn place(line: &Line) -> String {
    format!("line {} of the registry", line.index + 1)
}

/// Why the registry cannot have been of this length with this head; `None` where it was.
fn not_in_chain(registry: &Registry, length: u64, head: &str) -> Option<String> {
    if registry.contains(length, head) {
        None
    } else if length > registry.length() {
        Some(format!("a registry of {length} lines, expected at most the {} that there are", registry.length()))
    } else {
        Some(format!("a registry of {length} lines that ended in another line than it does now"))
    }
}

#[cfg(test)]
#[path = "audit/tests.rs"]
mod tests;
