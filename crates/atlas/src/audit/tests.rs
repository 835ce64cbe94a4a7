//! A small atlas made of real files that audits clean, and each way to tamper with it.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use ontogeny_store::{JudgedHypothesis, Judgement, Manifest, Registered, RunWriter, StudyRun, StudyVerdict};
use serde_json::{Value, json};

use super::*;
use crate::registry::{Stamp, confirmatory_seeds};

type Studies = BTreeMap<String, BTreeMap<String, String>>;

/// Two studies, registered; the first was run with two seeds and a pilot, and judged.
struct Sample {
    folder: tempfile::TempDir,
    studies: Studies,
    /// Time of the first line.
    start: u64,
}

const VERDICT: &str = "verdicts/S1-small.json";

impl Sample {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Events carry the present; everything that was said came before.
        let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - 1_000;
        let files = |hash: &str| BTreeMap::from([("study.toml".to_owned(), hash.repeat(32))]);
        let studies = BTreeMap::from([("S1".to_owned(), files("a1")), ("S2".to_owned(), files("a2"))]);
        let sample = Self { folder, studies, start };
        let mut registry = sample.registry();
        sample.add_run(&registry, "pilot", None, 7);
        registry.append(sample.registration("S2", 0), start).unwrap();
        let line = registry.append(sample.registration("S1", 0), start + 10).unwrap();
        let seeds = confirmatory_seeds(&line.hash, 2);
        let stamps = ["one", "two"].map(|name| {
            let seed = seeds[usize::from(name == "two")];
            (name, seed, sample.add_run(&registry, name, Some(("S1", &line.hash)), seed))
        });
        let runs = stamps.map(|(name, seed, stamp)| StudyRun {
            family: "base".to_owned(),
            name: name.to_owned(),
            directory: format!("runs/{name}"),
            seed,
            confirmatory: true,
            trajectory: format!("trajectory of {name}"),
            chain_length: stamp.chain_length,
            chain_head: stamp.chain_head,
        });
        let verdict = verdict(&registry, &line, runs.to_vec(), start + 60);
        sample.write_verdict(&serde_json::to_value(verdict).unwrap());
        registry.append(sample.verdict_entry(&line.hash, Judgement::Supported), start + 70).unwrap();
        sample
    }

    fn atlas(&self) -> &Path {
        self.folder.path()
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.atlas().join(relative)
    }

    fn registry(&self) -> Registry {
        Registry::open(self.atlas()).unwrap()
    }

    fn registration(&self, study: &str, earlier: u64) -> Entry {
        Entry::Registration {
            study: study.to_owned(),
            content: format!("content of {study}"),
            files: self.studies[study].clone(),
            version: "0.1.0".to_owned(),
            engine: 7,
            earlier,
        }
    }

    /// The entry of the verdict file as it is.
    fn verdict_entry(&self, registration: &str, outcome: Judgement) -> Entry {
        Entry::Verdict {
            study: "S1".to_owned(),
            scale: "small".to_owned(),
            registration: registration.to_owned(),
            content: blake3::hash(&fs_err::read(self.path(VERDICT)).unwrap()).to_hex().to_string(),
            outcome,
            p_values: BTreeMap::from([("H1".to_owned(), 0.01)]),
        }
    }

    fn add_run(&self, registry: &Registry, name: &str, of: Option<(&str, &str)>, seed: u32) -> Stamp {
        let path = self.path("runs").join(name);
        let manifest =
            Manifest { seed: u64::from(seed), trajectory: format!("trajectory of {name}"), ..Manifest::default() };
        let writer = RunWriter::join(&path, &manifest).unwrap();
        let stamp = Stamp::new(registry, of, self.start + 20, "0.1.0").write_once(&path).unwrap();
        writer.event("opened", serde_json::Map::new()).unwrap();
        stamp
    }

    fn write_verdict(&self, verdict: &Value) {
        fs_err::create_dir_all(self.path("verdicts")).unwrap();
        fs_err::write(self.path(VERDICT), serde_json::to_vec_pretty(verdict).unwrap()).unwrap();
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&fs_err::read(self.path(path)).unwrap()).unwrap()
    }

    /// Changes a value in a JSON file, by its pointer.
    fn edit(&self, path: &str, pointer: &str, value: Value) {
        let mut file = self.json(path);
        let place = file.pointer_mut(pointer).unwrap();
        assert_ne!(*place, value, "nothing is tampered with");
        *place = value;
        fs_err::write(self.path(path), serde_json::to_vec_pretty(&file).unwrap()).unwrap();
    }

    /// Changes a value in the verdict file and forges a registry in which its hash is right.
    fn edit_verdict_and_entry(&self, pointer: &str, value: Value) {
        self.edit(VERDICT, pointer, value);
        self.forge(|entry| match entry {
            Entry::Verdict { registration, outcome, .. } => Some(self.verdict_entry(&registration, outcome)),
            other => Some(other),
        });
    }

    /// Writes the registry anew, with all hashes right.
    fn forge(&self, mut change: impl FnMut(Entry) -> Option<Entry>) {
        let lines = self.registry().lines().to_vec();
        fs_err::remove_file(self.path(REGISTRY_FILE)).unwrap();
        let mut forged = self.registry();
        for line in lines {
            if let Some(entry) = change(line.entry) {
                forged.append(entry, line.time).unwrap();
            }
        }
    }

    /// The lines of the registry as text, to be written back.
    fn lines(&self) -> Vec<String> {
        let text = fs_err::read_to_string(self.path(REGISTRY_FILE)).unwrap();
        text.lines().map(|line| format!("{line}\n")).collect()
    }

    fn write_lines(&self, lines: &[String]) {
        fs_err::write(self.path(REGISTRY_FILE), lines.concat()).unwrap();
    }

    fn audit(&self) -> Vec<Finding> {
        let findings = audit(self.atlas(), &self.studies).unwrap();
        assert_eq!(findings, audit(self.atlas(), &self.studies).unwrap(), "not the same twice");
        assert!(findings.is_sorted());
        findings
    }

    /// Holds that there is a finding of this severity and subject whose words contain this.
    #[track_caller]
    fn finds(&self, severity: Severity, subject: &str, words: &str) {
        let findings = self.audit();
        let is_it = |f: &Finding| {
            f.severity == severity && f.subject == subject && (f.found.contains(words) || f.meaning.contains(words))
        };
        assert!(findings.iter().any(is_it), "no {severity:?} of {subject} with “{words}” in {findings:#?}");
    }

    #[track_caller]
    fn problem(&self, subject: &str, words: &str) {
        self.finds(Severity::Problem, subject, words);
    }

    /// Holds that there are findings, and none of them is a problem.
    #[track_caller]
    fn only_note(&self, subject: &str, words: &str) {
        self.finds(Severity::Note, subject, words);
        assert!(self.audit().iter().all(|f| f.severity == Severity::Note), "{:#?}", self.audit());
    }
}

fn verdict(registry: &Registry, line: &Line, runs: Vec<StudyRun>, time: u64) -> StudyVerdict {
    let hypothesis = JudgedHypothesis {
        id: "H1".to_owned(),
        claim: "it rises".to_owned(),
        quantity: "q".to_owned(),
        statistic: "llc".to_owned(),
        unit: "1".to_owned(),
        test: "t".to_owned(),
        direction: "greater".to_owned(),
        smallest_effect: 0.1,
        no_effect: 0.0,
        alpha: 0.05,
        corrected_alpha: 0.05,
        outcome: Judgement::Supported,
        why: None,
        effect: None,
        deciding: None,
        p_value: Some(0.01),
        basis: String::new(),
        power: None,
        values: Vec::new(),
        minimal_seeds: 2,
    };
    StudyVerdict {
        format: 1,
        id: "S1".to_owned(),
        question: "does it rise?".to_owned(),
        source: "here".to_owned(),
        known: String::new(),
        limits: String::new(),
        scale: "small".to_owned(),
        outcome: Judgement::Supported,
        answer: "it does".to_owned(),
        confirmatory: true,
        hypotheses: vec![hypothesis],
        attacks: Vec::new(),
        figures: Vec::new(),
        runs,
        registration: Registered {
            index: line.index,
            hash: line.hash.clone(),
            time: line.time,
            content: "content of S1".to_owned(),
            earlier: 0,
            chain_length: registry.length(),
            chain_head: registry.head().to_owned(),
        },
        version: "0.1.0".to_owned(),
        seconds: 1.0,
        time,
    }
}

#[test]
fn an_honest_atlas_has_no_findings() {
    let sample = Sample::new();
    assert_eq!(sample.audit(), []);
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(audit(empty.path(), &Studies::new()).unwrap(), []);
    // A pilot needs no registry.
    let pilots = tempfile::tempdir().unwrap();
    fs_err::create_dir_all(pilots.path().join("runs")).unwrap();
    for name in ["runs/pilot", "runs/pilot.stamp.json"] {
        fs_err::rename(sample.path(name), pilots.path().join(name)).unwrap();
    }
    assert_eq!(audit(pilots.path(), &Studies::new()).unwrap(), []);
}

#[test]
fn an_edited_line_is_found() {
    let sample = Sample::new();
    let mut lines = sample.lines();
    lines[1] = lines[1].replace("a1a1", "a1a2");
    sample.write_lines(&lines);
    sample.problem(REGISTRY_FILE, "line 2");
}

#[test]
fn a_deleted_line_is_found() {
    let sample = Sample::new();
    let mut lines = sample.lines();
    lines.remove(1);
    sample.write_lines(&lines);
    sample.problem(REGISTRY_FILE, "line 2");
}

#[test]
fn reordered_lines_are_found() {
    let sample = Sample::new();
    let mut lines = sample.lines();
    lines.swap(0, 1);
    sample.write_lines(&lines);
    sample.problem(REGISTRY_FILE, "line 1");
}

#[test]
fn a_registry_cut_before_a_verdict_is_found_by_the_verdict() {
    let sample = Sample::new();
    sample.write_lines(&sample.lines()[..2]);
    sample.problem(VERDICT, "no entry in the registry");
    assert!(sample.audit().iter().all(|f| !f.subject.starts_with("runs")), "the runs saw no more than that");
}

#[test]
fn a_registry_cut_further_is_found_by_runs_too() {
    let sample = Sample::new();
    sample.write_lines(&sample.lines()[..1]);
    sample.problem("runs/one", "a registry of 2 lines, expected at most the 1");
    sample.problem("runs/two", "no registration of it");
    sample.problem(VERDICT, "no entry in the registry");
    sample.problem(VERDICT, "none of the study");
}

#[test]
fn a_deleted_registry_is_found() {
    let sample = Sample::new();
    fs_err::remove_file(sample.path(REGISTRY_FILE)).unwrap();
    sample.problem(REGISTRY_FILE, "no line, beside 2 runs that saw one and 1 verdicts");
    // Also where only the runs are left, or only the verdict.
    fs_err::remove_dir_all(sample.path("verdicts")).unwrap();
    sample.problem(REGISTRY_FILE, "no line, beside 2 runs");
    let sample = Sample::new();
    fs_err::remove_file(sample.path(REGISTRY_FILE)).unwrap();
    fs_err::remove_dir_all(sample.path("runs")).unwrap();
    sample.problem(REGISTRY_FILE, "1 verdicts");
}

#[test]
fn a_torn_line_is_noted() {
    let sample = Sample::new();
    let mut lines = sample.lines();
    lines.push("{\"index\":3,\"ti".to_owned());
    sample.write_lines(&lines);
    sample.only_note(REGISTRY_FILE, "14 bytes after the last line break");
}

#[test]
fn a_registry_written_anew_without_a_line_is_found() {
    // As one would to hide an unwelcome registration: every hash, index and link is right again.
    let sample = Sample::new();
    sample.forge(|entry| if entry.study() == "S2" { None } else { Some(entry) });
    assert_eq!(sample.registry().length(), 2, "the forged chain is valid in itself");
    sample.problem("runs/one", "ended in another line than it does now");
    sample.problem("runs/two", "no registration of it");
}

#[test]
fn a_registry_written_anew_with_another_text_is_found() {
    let sample = Sample::new();
    sample.forge(|entry| match entry {
        Entry::Registration { study, files, version, engine, earlier, .. } if study == "S2" => {
            Some(Entry::Registration { study, content: "another".to_owned(), files, version, engine, earlier })
        }
        other => Some(other),
    });
    assert_eq!(sample.registry().length(), 3);
    sample.problem("runs/one", "ended in another line than it does now");
    sample.problem(VERDICT, "none of the study");
}

#[test]
fn a_study_edited_after_its_verdict_is_a_problem_and_before_it_a_note() {
    let mut sample = Sample::new();
    sample.studies.get_mut("S2").unwrap().insert("study.toml".to_owned(), "ff".repeat(32));
    sample.only_note("study S2", "`study.toml` was edited");
    sample.studies.get_mut("S1").unwrap().insert("more.toml".to_owned(), "ff".repeat(32));
    sample.problem("study S1", "`more.toml` is new");
    sample.problem("study S1", "the verdict is of another text; register again");
    sample.studies.insert("S1".to_owned(), BTreeMap::new());
    sample.problem("study S1", "`study.toml` is gone");
    sample.studies.remove("S1");
    sample.finds(Severity::Note, "study S1", "no files");
}

#[test]
fn registering_again_is_noted_with_the_count() {
    let mut sample = Sample::new();
    sample.studies.get_mut("S1").unwrap().insert("study.toml".to_owned(), "ff".repeat(32));
    sample.registry().append(sample.registration("S1", 1), sample.start + 80).unwrap();
    sample.only_note("study S1", "2 registrations");
    sample.only_note(VERDICT, "registers the study again");
    sample.registry().append(sample.registration("S1", 1), sample.start + 80).unwrap();
    sample.finds(Severity::Note, "study S1", "3 registrations");
    sample.problem("study S1", "counts 1 registrations before it, expected 2");
}

#[test]
fn an_edited_verdict_is_found() {
    let sample = Sample::new();
    sample.edit(VERDICT, "/answer", json!("it does not"));
    sample.problem(VERDICT, "bytes of hash");
    let sample = Sample::new();
    sample.edit(VERDICT, "/outcome", json!("refuted"));
    sample.problem(VERDICT, "refuted, expected supported");
    let sample = Sample::new();
    sample.edit(VERDICT, "/hypotheses/0/p_value", json!(0.001));
    sample.problem(VERDICT, "p = 0.001 for H1, expected 0.01");
    // Even by white space alone.
    let sample = Sample::new();
    let mut bytes = fs_err::read(sample.path(VERDICT)).unwrap();
    bytes.push(b'\n');
    fs_err::write(sample.path(VERDICT), bytes).unwrap();
    sample.problem(VERDICT, "bytes of hash");
    fs_err::write(sample.path(VERDICT), "{}").unwrap();
    sample.problem(VERDICT, "expected a verdict");
}

#[test]
fn a_deleted_renamed_or_unrecorded_verdict_is_found() {
    let sample = Sample::new();
    fs_err::copy(sample.path(VERDICT), sample.path("verdicts/S2-small.json")).unwrap();
    sample.problem("verdicts/S2-small.json", "renamed or exchanged");
    fs_err::remove_file(sample.path(VERDICT)).unwrap();
    sample.problem(VERDICT, "no file, expected the verdict of line 3");
    let sample = Sample::new();
    let mut full = sample.json(VERDICT);
    full["scale"] = json!("full");
    fs_err::write(sample.path("verdicts/S1-full.json"), full.to_string()).unwrap();
    sample.problem("verdicts/S1-full.json", "no entry in the registry");
}

#[test]
fn an_older_verdict_put_back_is_found() {
    let sample = Sample::new();
    let older = fs_err::read(sample.path(VERDICT)).unwrap();
    sample.edit(VERDICT, "/seconds", json!(2.0));
    let hash = sample.registry().lines()[1].hash.clone();
    sample.registry().append(sample.verdict_entry(&hash, Judgement::Supported), sample.start + 90).unwrap();
    sample.only_note("study S1", "judged again, with the same outcome");
    fs_err::write(sample.path(VERDICT), older).unwrap();
    sample.problem(VERDICT, "the verdict of line 3 of the registry, expected that of line 4");
}

#[test]
fn two_outcomes_of_one_registration_are_found() {
    let sample = Sample::new();
    sample.edit(VERDICT, "/outcome", json!("undecided"));
    let hash = sample.registry().lines()[1].hash.clone();
    sample.registry().append(sample.verdict_entry(&hash, Judgement::Undecided), sample.start + 90).unwrap();
    sample.problem("study S1", "supported at line 3, undecided at line 4");
}

#[test]
fn a_verdict_under_no_registration_is_found() {
    let sample = Sample::new();
    let of_another_study = sample.registry().lines()[0].hash.clone();
    sample.registry().append(sample.verdict_entry(&of_another_study, Judgement::Supported), sample.start + 90).unwrap();
    sample.problem("study S1", "which is no registration of the study");
    sample.problem(VERDICT, "the registration ");
}

#[test]
fn what_a_verdict_says_of_its_registration_is_compared() {
    // The registry is forged to carry the hash of the edited file: only the facts in it contradict each other.
    for (pointer, value, words) in [
        ("/registration/index", json!(0), "index 0 of the registration, expected 1"),
        ("/registration/time", json!(12), "time 12 of the registration"),
        ("/registration/content", json!("other"), "content other of the registration"),
        ("/registration/earlier", json!(1), "number of earlier registrations 1"),
        ("/registration/hash", json!("ab".repeat(32)), "none of the study in the registry"),
        (
            "/registration/chain_head",
            json!("ab".repeat(32)),
            "the study began to run with a registry of 2 lines that ended",
        ),
        ("/registration/chain_length", json!(9), "the study began to run with a registry of 9 lines, expected at most"),
        ("/registration/chain_length", json!(1), "began to run before its registration"),
        ("/registration/chain_length", json!(3), "began to run after its verdict"),
        ("/time", json!(1_000), "judged before its registration"),
        ("/runs/0/confirmatory", json!(false), "the verdict says that all have one"),
        ("/runs/0/seed", json!(70_000), "of its registration"),
        ("/runs/0/chain_length", json!(1), "the run began before its registration"),
        ("/runs/0/chain_length", json!(3), "the run began after the verdict"),
        (
            "/runs/0/chain_head",
            json!("ab".repeat(32)),
            "run one of family base began with a registry of 2 lines that ended",
        ),
    ] {
        let sample = Sample::new();
        sample.edit_verdict_and_entry(pointer, value);
        assert!(sample.audit().iter().all(|f| !f.found.contains("bytes of hash")));
        sample.problem(VERDICT, words);
    }
}

/// Two seeds may come from the first eight of the registration: whoever makes a hundred runs cannot show the best two.
#[test]
fn seeds_are_not_picked_among_many() {
    for (place, is_found) in [(7, false), (8, true), (99, true)] {
        let sample = Sample::new();
        let hash = sample.registry().lines()[1].hash.clone();
        sample.edit_verdict_and_entry("/runs/0/seed", json!(confirmatory_seeds(&hash, 100)[place]));
        let picked = |f: &Finding| f.found.contains("which is none of the first 8 of its registration");
        assert_eq!(sample.audit().iter().any(picked), is_found, "seed {place}: {:#?}", sample.audit());
    }
}

#[test]
fn the_stamp_of_a_run_is_compared_with_the_registry() {
    let early = json!(1_000);
    for (pointer, value, words) in [
        ("/chain_head", json!("ab".repeat(32)), "ended in another line"),
        ("/chain_length", json!(8), "a registry of 8 lines, expected at most the 3"),
        ("/chain_length", json!(1), "the run began before its registration"),
        ("/started", early.clone(), "the time of its registration"),
        ("/started", early, "the time of line 2 of the registry"),
        ("/registration", json!("ab".repeat(32)), "no registration of it"),
        ("/study", json!("S2"), "no registration of it"),
        ("/study", Value::Null, "expected both or none"),
        ("/registration", Value::Null, "expected both or none"),
        ("/format", json!(0), "no format of a stamp"),
    ] {
        let sample = Sample::new();
        sample.edit("runs/one.stamp.json", pointer, value);
        sample.problem("runs/one", words);
        assert!(sample.audit().iter().all(|f| f.subject != "runs/two"));
    }
    let sample = Sample::new();
    fs_err::remove_file(sample.path("runs/one.stamp.json")).unwrap();
    sample.problem("runs/one", "no `stamp.json`");
}

#[test]
fn a_run_begun_before_its_registration_is_found() {
    // A pilot whose seed looks right: the stamp tells what the registry was.
    let sample = Sample::new();
    let before = sample.registry();
    let line = sample.registry().append(sample.registration("S2", 1), sample.start + 90).unwrap();
    let seed = confirmatory_seeds(&line.hash, 1)[0];
    sample.add_run(&before, "early", Some(("S2", &line.hash)), seed);
    sample.problem("runs/early", "the run began before its registration");
    sample.problem("runs/early", "the time of its registration");
}

#[test]
fn a_stamp_later_than_the_log_is_found() {
    let sample = Sample::new();
    let log = sample.path("runs/one/events.jsonl");
    let text = fs_err::read_to_string(&log).unwrap();
    fs_err::write(&log, text.replacen("\"20", "\"19", 1)).unwrap();
    sample.problem("runs/one", "the run began before its stamp");
    fs_err::write(&log, text.replacen("\"20", "\"about 20", 1)).unwrap();
    sample.problem("runs/one", "the log was edited");
    // Two seconds of grace, and not more.
    let started = sample.json("runs/one.stamp.json")["started"].as_u64().unwrap();
    for (late, is_found) in [(1_980, true), (900, false)] {
        fs_err::write(&log, &text).unwrap();
        sample.edit("runs/one.stamp.json", "/started", json!(started + late));
        assert_eq!(sample.audit().iter().any(|f| f.meaning.contains("before its stamp")), is_found, "{late}");
        sample.edit("runs/one.stamp.json", "/started", json!(started));
    }
}

#[test]
fn a_chosen_seed_is_found() {
    let sample = Sample::new();
    let hash = sample.registry().lines()[1].hash.clone();
    let other = sample.registry().lines()[0].hash.clone();
    for (name, seed) in [("chosen", 123_456), ("pilots", 7), ("others", confirmatory_seeds(&other, 1)[0])] {
        sample.add_run(&sample.registry(), name, Some(("S1", &hash)), seed);
        sample.problem(&format!("runs/{name}"), &format!("seed {seed}, expected one of the first 10000"));
    }
    // The ten thousandth is allowed.
    let last = confirmatory_seeds(&hash, 10_000)[9_999];
    sample.add_run(&sample.registry(), "last", Some(("S1", &hash)), last);
    assert!(sample.audit().iter().all(|f| f.subject != "runs/last"));
}

#[test]
fn a_pilot_with_a_confirmatory_seed_is_found() {
    let sample = Sample::new();
    sample.add_run(&sample.registry(), "large", None, 65_536);
    sample.problem("runs/large", "a pilot with seed 65536, expected one below 65536");
    sample.add_run(&sample.registry(), "small", None, 65_535);
    assert!(sample.audit().iter().all(|f| f.subject != "runs/small"));
}

#[test]
fn a_deleted_run_is_noted_and_an_exchanged_one_is_a_problem() {
    let sample = Sample::new();
    fs_err::remove_dir_all(sample.path("runs/one")).unwrap();
    sample.only_note(VERDICT, "no folder `runs/one`");

    let sample = Sample::new();
    fs_err::remove_dir_all(sample.path("runs/one")).unwrap();
    fs_err::rename(sample.path("runs/two"), sample.path("runs/one")).unwrap();
    sample.problem("runs/one", "trajectory trajectory of two, expected trajectory of one");
    sample.problem("runs/one", "as the verdict lists run one of family base");

    // Made again later, with the same seed and bits: the registry had grown.
    let sample = Sample::new();
    let hash = sample.registry().lines()[1].hash.clone();
    let seed = confirmatory_seeds(&hash, 1)[0];
    fs_err::remove_dir_all(sample.path("runs/one")).unwrap();
    fs_err::remove_file(sample.path("runs/one.stamp.json")).unwrap();
    sample.add_run(&sample.registry(), "one", Some(("S1", &hash)), seed);
    sample.problem("runs/one", "registry of 3 lines");

    // Under a pilot's stamp.
    let sample = Sample::new();
    fs_err::copy(sample.path("runs/pilot.stamp.json"), sample.path("runs/one.stamp.json")).unwrap();
    sample.problem("runs/one", "of no study (a pilot)");
}

#[test]
fn a_damaged_manifest_is_found() {
    let sample = Sample::new();
    let path = sample.path("runs/one/run.toml");
    let text = fs_err::read_to_string(&path).unwrap();
    let seed = format!("seed = {}", confirmatory_seeds(&sample.registry().lines()[1].hash, 1)[0]);
    assert!(text.contains(&seed));
    fs_err::write(&path, text.replace(&seed, "seed = 7")).unwrap();
    sample.problem("runs/one", "is damaged");
    fs_err::remove_file(&path).unwrap();
    sample.problem("runs/one", "is not a run");
}
