//! A study from its file to its verdict: register, make the runs, judge.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ontogeny_store::{Place, Registered, RunView, StudyRun, StudyVerdict};
use ontogeny_study::{Event, Member, Run, StudyError, Sweep};

use crate::bench::{Bench, BenchRun, FamilyRuns};
use crate::plan::{Condition, RunKey, in_order};
use crate::registry::{Entry, Line, Registry, Stamp, confirmatory_seeds};
use crate::study_file::AttackKind;
use crate::{AtlasError, Family, Study, StudyFileError, figures, judge, words};

/// Version of the format of verdicts.
const FORMAT: u32 = 1;

/// How to run a study, as opposed to what: nothing here changes a verdict.
#[derive(Clone, Copy)]
pub struct StudyOptions<'a> {
    /// Threads for all runs together.
    pub threads: NonZero<usize>,
    /// Hears what happens, from any thread.
    pub observer: &'a (dyn Fn(&StudyEvent<'_>) + Sync),
    /// Once set, the study stops at the next step; what is finished is kept.
    pub cancel: &'a AtomicBool,
}

/// Something that happened.
#[derive(Debug, Clone, Copy)]
pub enum StudyEvent<'a> {
    /// The study was registered, or had been already.
    Registered {
        /// Its line in the registry.
        line: &'a Line,
        /// Whether just now.
        is_new: bool,
    },
    /// Runs are about to be made side by side.
    Runs {
        /// What sets each apart.
        names: &'a [String],
    },
    /// Something in one of these runs.
    Run {
        /// Number among the names.
        at: usize,
        /// What.
        event: &'a Event,
    },
    /// The hypotheses are being tested.
    Judging,
}

/// A run that has been made ready.
struct Prepared {
    run: Run,
    name: String,
    directory: PathBuf,
    is_pilot: bool,
}

/// Where a run stands in the study: variant, family, condition, seed.
type Seat = (usize, String, usize, usize);

/// Registers the study as its files are now, unless they have been registered so already.
///
/// # Errors
/// A registry that is damaged or cannot be written.
pub fn register(study: &Study<'_>, atlas: &Path) -> Result<(Line, bool), AtlasError> {
    let mut registry = Registry::open(atlas)?;
    let content = study.content();
    if let Some(line) = registry.registration(&study.file.id)
        && let Entry::Registration { content: known, .. } = &line.entry
        && *known == content
    {
        return Ok((line.clone(), false));
    }
    let is_own = |line: &&Line| matches!(&line.entry, Entry::Registration { study: id, .. } if *id == study.file.id);
    let earlier = registry.lines().iter().filter(is_own).count() as u64;
    study.try_runs()?;
    let entry = Entry::Registration {
        study: study.file.id.clone(),
        content,
        files: study.files.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        engine: ontogeny_study::ENGINE_VERSION,
        earlier,
    };
    Ok((registry.append(entry, now())?, true))
}

/// Does whatever of a study is missing in the atlas, and judges it. Runs that are finished are not made again, so a call that was
/// interrupted is continued by the next, with the same verdict.
///
/// # Errors
/// A study file whose runs cannot be made, a registry that is damaged, an interruption, or a run that failed in a family in which
/// none succeeded.
pub fn run_study(study: &Study<'_>, atlas: &Path, options: &StudyOptions<'_>) -> Result<StudyVerdict, AtlasError> {
    let clock = Clock::start(study, atlas)?;
    let (line, is_new) = register(study, atlas)?;
    (options.observer)(&StudyEvent::Registered { line: &line, is_new });
    let registry = Registry::open(atlas)?;
    let mut runner = Runner {
        study,
        atlas,
        options,
        line: &line,
        registry: &registry,
        clock: &clock,
        seeds: seeds(study, &line),
        seats: BTreeMap::new(),
        views: BTreeMap::new(),
        listed: BTreeMap::new(),
    };
    runner.make_all()?;
    (options.observer)(&StudyEvent::Judging);
    let families = runner.families();
    let bench = Bench::new(&study.file, &study.expressions, families);
    let hypotheses = judge::hypotheses(&bench);
    let attacks = judge::attacks(&bench, &hypotheses);
    let figures = figures::figures(&bench);
    // Where `or_else` gives a value all the same, nobody would notice.
    if let Some(slip) = bench.slips().first() {
        return Err(runner.content(format!("an expression has a name that means nothing in any run: {slip}")).into());
    }
    let runs: Vec<StudyRun> = runner.listed.into_values().collect();
    let confirmatory = runs.iter().all(|run| run.confirmatory);
    let earlier = match &line.entry {
        Entry::Registration { earlier, .. } => *earlier,
        _ => 0,
    };
    let verdict = StudyVerdict {
        format: FORMAT,
        id: study.file.id.clone(),
        question: study.file.question.clone(),
        source: study.file.source.clone(),
        known: study.file.known.clone(),
        limits: study.file.limits.clone(),
        scale: study.scale_name().to_owned(),
        outcome: hypotheses.first().map_or(ontogeny_store::Judgement::Undecided, |h| h.outcome),
        answer: words::answer(&hypotheses, &attacks, confirmatory),
        confirmatory,
        hypotheses,
        attacks,
        figures,
        runs,
        registration: Registered {
            index: line.index,
            hash: line.hash.clone(),
            time: line.time,
            content: study.content(),
            earlier,
            chain_length: registry.length(),
            chain_head: registry.head().to_owned(),
        },
        version: env!("CARGO_PKG_VERSION").to_owned(),
        seconds: clock.seconds(),
        time: now(),
    };
    keep(verdict, &line, atlas)
}

/// The verdict of a study in the atlas; `None` where there is none.
///
/// # Errors
/// A file that cannot be read, or is no verdict of this version.
pub fn read_verdict(atlas: &Path, id: &str, scale: &str) -> Result<Option<StudyVerdict>, AtlasError> {
    let path = verdict_path(atlas, id, scale);
    let text = match fs_err::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(AtlasError::Io(error)),
    };
    let damaged = |found: String| AtlasError::Verdict { path: path.clone(), found };
    let verdict: StudyVerdict = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
    if verdict.format != FORMAT {
        return Err(damaged(format!("format {}, of another ontogeny than this (format {FORMAT})", verdict.format)));
    }
    Ok(Some(verdict))
}

fn verdict_path(atlas: &Path, id: &str, scale: &str) -> PathBuf {
    atlas.join("verdicts").join(format!("{id}-{scale}.json"))
}

/// Keeps the verdict in a file and in the registry, unless the same is there already: what has been judged once is not judged
/// anew for having taken more time.
fn keep(verdict: StudyVerdict, line: &Line, atlas: &Path) -> Result<StudyVerdict, AtlasError> {
    let known = read_verdict(atlas, &verdict.id, &verdict.scale).ok().flatten();
    let verdict = match known {
        Some(known) if is_same(&known, &verdict) => known,
        _ => verdict,
    };
    let mut text =
        serde_json::to_string_pretty(&verdict).map_err(|error| AtlasError::Io(std::io::Error::other(error)))?;
    text.push('\n');
    let path = verdict_path(atlas, &verdict.id, &verdict.scale);
    write_whole(&path, &text)?;
    let content = blake3::hash(text.as_bytes()).to_hex().to_string();
    let mut registry = Registry::open(atlas)?;
    let is_there = registry
        .verdict(&verdict.id, &verdict.scale)
        .is_some_and(|line| matches!(&line.entry, Entry::Verdict { content: known, .. } if *known == content));
    if !is_there {
        let p_value = |h: &ontogeny_store::JudgedHypothesis| Some((h.id.clone(), h.p_value?));
        let entry = Entry::Verdict {
            study: verdict.id.clone(),
            scale: verdict.scale.clone(),
            registration: line.hash.clone(),
            content,
            outcome: verdict.outcome,
            p_values: verdict.hypotheses.iter().filter_map(p_value).collect(),
        };
        registry.append(entry, now())?;
    }
    Ok(verdict)
}

/// Whether two verdicts differ in their times alone.
fn is_same(one: &StudyVerdict, other: &StudyVerdict) -> bool {
    let bare = |verdict: &StudyVerdict| {
        let mut verdict = verdict.clone();
        (verdict.seconds, verdict.time) = (0.0, 0);
        (verdict.registration.chain_length, verdict.registration.chain_head) = (0, String::new());
        verdict
    };
    bare(one) == bare(other)
}

fn write_whole(path: &Path, text: &str) -> Result<(), AtlasError> {
    let (folder, name) = (path.parent().unwrap_or(Path::new("")), path.file_name().unwrap_or_default());
    fs_err::create_dir_all(folder).map_err(AtlasError::Io)?;
    Place::local(folder).write(&name.to_string_lossy(), text.as_bytes()).map_err(AtlasError::Io)
}

/// Which seeds every family has: fixed ones of pilots, else those of the registration. A second half is for the attack by other
/// seeds.
fn seeds(study: &Study<'_>, line: &Line) -> BTreeMap<String, Vec<Vec<u32>>> {
    let n_of = |family: &Family| family.seeds.unwrap_or(study.file.seeds) as usize;
    let most = study.file.runs.values().map(n_of).max().unwrap_or(0);
    // All families share the first 2·most; those with their own come after.
    let n_own = |family: &Family| 2 * n_of(family) * family.conditions().map_or(1, |c| c.len());
    let apart: usize = study.file.runs.values().filter(|family| family.own_seeds).map(n_own).sum();
    let all = confirmatory_seeds(&line.hash, 2 * most + apart);
    let mut next = 2 * most;
    let mut seeds = BTreeMap::new();
    for (name, family) in &study.file.runs {
        let (n, n_conditions) = (n_of(family), family.conditions().map_or(1, |c| c.len()));
        let mut own = Vec::with_capacity(n_conditions);
        for condition in 0..n_conditions {
            if family.pilot {
                let first = if family.own_seeds { condition * 2 * n } else { 0 };
                own.push((first..first + 2 * n).map(|seed| seed as u32).collect());
            } else if family.own_seeds {
                own.push(all[next..next + 2 * n].to_vec());
                next += 2 * n;
            } else {
                // The second half begins where that of every family does, so that attacked runs are pairs too.
                own.push(all[..n].iter().chain(&all[most..most + n]).copied().collect());
            }
        }
        seeds.insert(name.clone(), own);
    }
    seeds
}

/// Makes the runs of a study, family after family.
struct Runner<'a> {
    study: &'a Study<'a>,
    atlas: &'a Path,
    options: &'a StudyOptions<'a>,
    line: &'a Line,
    /// As it was at the start.
    registry: &'a Registry,
    clock: &'a Clock,
    /// By family and condition; twice as many as a family has runs.
    seeds: BTreeMap<String, Vec<Vec<u32>>>,
    /// Folder of the run at each seat.
    seats: BTreeMap<Seat, PathBuf>,
    /// What is in the folders.
    views: BTreeMap<PathBuf, Result<Arc<RunView>, String>>,
    listed: BTreeMap<(String, String, PathBuf), StudyRun>,
}

impl Runner<'_> {
    fn make_all(&mut self) -> Result<(), AtlasError> {
        let file = &self.study.file;
        let order = in_order(&file.runs).map_err(|message| self.content(message))?;
        // Families that need no other are made together: more runs side by side.
        let mut waiting: Vec<String> = order;
        while !waiting.is_empty() {
            let (ready, later): (Vec<String>, Vec<String>) = waiting.iter().cloned().partition(|name| {
                file.runs.get(name).is_some_and(|family| family.needs().iter().all(|need| !waiting.contains(need)))
            });
            let mut prepared: BTreeMap<PathBuf, Prepared> = BTreeMap::new();
            for family in &ready {
                for variant in 0..=file.attacks.len() {
                    self.prepare(variant, family, &mut prepared)?;
                }
            }
            prepared.retain(|directory, _| !self.views.contains_key(directory));
            self.execute(prepared.into_values().collect())?;
            waiting = later;
        }
        Ok(())
    }

    fn content(&self, message: String) -> StudyFileError {
        StudyFileError::Content { path: self.study.path.clone(), message }
    }

    /// Prepares the runs of a family in a variant; equal ones are one.
    fn prepare(
        &mut self,
        variant: usize,
        name: &str,
        into: &mut BTreeMap<PathBuf, Prepared>,
    ) -> Result<(), AtlasError> {
        let file = &self.study.file;
        let Some(family) = file.runs.get(name) else { return Ok(()) };
        let attack = variant.checked_sub(1).map(|k| &file.attacks[k]);
        let n = family.seeds.unwrap_or(file.seeds) as usize;
        let conditions = family.conditions().map_err(|message| self.content(message))?;
        let first = if attack.is_some_and(|attack| attack.kind == AttackKind::OtherSeeds) { n } else { 0 };
        for (at, condition) in conditions.iter().enumerate() {
            for k in 0..n {
                if self.options.cancel.load(Ordering::Relaxed) {
                    return Err(AtlasError::Interrupted);
                }
                let seed = self.seeds[name][at][first + k];
                let key = RunKey { family: name, condition, seed };
                let folder = |other: &str| self.folder(variant, other, condition, k);
                let extra = attack.and_then(|attack| attack.set.get(name));
                let run = family.prepare(file, self.study.sources(), key, extra, &folder)?;
                let stem = family.preset.clone().unwrap_or_else(|| {
                    let path = family.file.clone().unwrap_or_default();
                    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
                });
                // The training first: other measurements of it lie beside it, and take it over.
                let hashes = (&run.trajectory()[..12], &run.measurements()[..6]);
                let directory = PathBuf::from("runs").join(format!("{stem}-{}-{}", hashes.0, hashes.1));
                self.seats.insert((variant, name.to_owned(), at, k), directory.clone());
                let label = format!("{name} {}", key.name());
                into.entry(directory.clone()).or_insert(Prepared {
                    run,
                    name: label,
                    directory,
                    is_pilot: family.pilot,
                });
            }
        }
        Ok(())
    }

    /// The folder of the run of another family that belongs to this one: the same seed, and the same settings where it varies.
    fn folder(&self, variant: usize, other: &str, condition: &Condition, k: usize) -> Result<PathBuf, String> {
        let Some(family) = self.study.file.runs.get(other) else {
            return Err(format!("`{{run.{other}}}`: the families are {}", self.study.file.family_names()));
        };
        let conditions = family.conditions()?;
        let belongs = |own: &Condition| own.iter().all(|setting| condition.contains(setting));
        let at = if conditions.len() == 1 { Some(0) } else { conditions.iter().position(belongs) };
        let seat = at.map(|at| (variant, other.to_owned(), at, k));
        let found = seat.and_then(|seat| self.seats.get(&seat));
        found.map(|directory| self.atlas.join(directory)).ok_or_else(|| {
            format!("`{{run.{other}}}`: `{other}` has no run with the seed and the settings of this one")
        })
    }

    /// Executes runs side by side, those first whose trainings others take over.
    fn execute(&mut self, prepared: Vec<Prepared>) -> Result<(), AtlasError> {
        let mut trainings = BTreeSet::new();
        let (first, later): (Vec<Prepared>, Vec<Prepared>) =
            prepared.into_iter().partition(|one| trainings.insert(one.run.trajectory().to_owned()));
        self.execute_round(first)?;
        self.execute_round(later)
    }

    /// The folder of a run with the same training, if there is one.
    fn twin(&self, one: &Prepared) -> Option<PathBuf> {
        let own = one.directory.file_name()?.to_string_lossy().into_owned();
        let (training, _) = own.rsplit_once('-')?;
        let mut twins: Vec<PathBuf> = fs_err::read_dir(self.atlas.join("runs"))
            .ok()?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.is_dir())
            .filter(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name != own && name.rsplit_once('-').is_some_and(|(other, _)| other == training)
            })
            .collect();
        twins.sort();
        twins.into_iter().next()
    }

    fn execute_round(&mut self, prepared: Vec<Prepared>) -> Result<(), AtlasError> {
        if prepared.is_empty() {
            return Ok(());
        }
        let mut names = Vec::with_capacity(prepared.len());
        let mut places = Vec::with_capacity(prepared.len());
        let mut members = Vec::with_capacity(prepared.len());
        let mut stamped = Vec::with_capacity(prepared.len());
        for one in prepared {
            let path = self.atlas.join(&one.directory);
            let of = (self.study.file.id.as_str(), self.line.hash.as_str());
            let stamp = Stamp::new(self.registry, (!one.is_pilot).then_some(of), now(), env!("CARGO_PKG_VERSION"));
            // Before the run, so that nothing of it is older.
            stamped.push((one.directory.clone(), one.is_pilot, stamp.write_once(&path)?));
            if let Some(twin) = self.twin(&one) {
                let adopted = one.run.adopt_training(&path, &twin);
                adopted.map_err(|source| AtlasError::Run {
                    study: self.study.file.id.clone(),
                    run: one.name.clone(),
                    source: Box::new(source),
                })?;
            }
            names.push(one.name.clone());
            places.push(Place::local(path));
            members.push(Member { name: one.name, settings: Vec::new(), run: one.run });
        }
        (self.options.observer)(&StudyEvent::Runs { names: &names });
        let on_event = |at: usize, event: &Event| {
            (self.options.observer)(&StudyEvent::Run { at, event });
        };
        let sweep = Sweep { title: self.study.file.id.clone(), members };
        let outcomes = sweep.execute(&places, self.options.threads, &on_event, self.options.cancel);
        self.clock.save();
        let mut last_failure = None;
        for ((outcome, member), (directory, is_pilot, stamp)) in outcomes.into_iter().zip(&sweep.members).zip(stamped) {
            let view = match outcome {
                Ok(summary) => {
                    let report = self.atlas.join(&directory);
                    Place::local(&report)
                        .write("report.html", ontogeny_web::report(&summary.view).as_bytes())
                        .map_err(AtlasError::Io)?;
                    Ok(Arc::new(summary.view))
                }
                Err(error) if error.is_interruption() => return Err(AtlasError::Interrupted),
                Err(error @ StudyError::Training(_)) => {
                    let why = error.to_string();
                    last_failure = Some((member.name.clone(), error));
                    Err(why)
                }
                Err(error) => {
                    return Err(AtlasError::Run {
                        study: self.study.file.id.clone(),
                        run: member.name.clone(),
                        source: Box::new(error),
                    });
                }
            };
            self.views.insert(directory.clone(), view);
            let (family, name) = member.name.split_once(' ').unwrap_or((&member.name, ""));
            let run = StudyRun {
                family: family.to_owned(),
                name: name.to_owned(),
                directory: directory.to_string_lossy().into_owned(),
                seed: member.run.seed(),
                confirmatory: !is_pilot && !member.run.is_import(),
                trajectory: member.run.trajectory().to_owned(),
                chain_length: stamp.chain_length,
                chain_head: stamp.chain_head,
            };
            self.listed.insert((family.to_owned(), name.to_owned(), directory.clone()), run);
        }
        // Without a single run of this round nothing can be said.
        match last_failure {
            Some((run, source)) if self.views.values().all(Result::is_err) => {
                Err(AtlasError::Run { study: self.study.file.id.clone(), run, source: Box::new(source) })
            }
            _ => Ok(()),
        }
    }

    /// The views by variant and family.
    fn families(&self) -> BTreeMap<(usize, String), FamilyRuns> {
        let mut families: BTreeMap<(usize, String), FamilyRuns> = BTreeMap::new();
        let keys: BTreeSet<(usize, String)> = self.seats.keys().map(|(v, family, ..)| (*v, family.clone())).collect();
        for (variant, name) in keys {
            let Some(conditions) = self.study.file.runs.get(&name).and_then(|family| family.conditions().ok()) else {
                continue;
            };
            let mut runs = vec![Vec::new(); conditions.len()];
            for ((v, family, condition, k), directory) in &self.seats {
                if (*v, family) != (variant, &name) {
                    continue;
                }
                let view = self.views.get(directory).cloned().unwrap_or_else(|| Err("the run was not made".to_owned()));
                let other = self.seeds[family][*condition].len() / 2;
                let is_other = variant > 0 && self.study.file.attacks[variant - 1].kind == AttackKind::OtherSeeds;
                let seed = self.seeds[family][*condition][if is_other { other + k } else { *k }];
                runs[*condition].push(BenchRun { seed, view });
            }
            families.insert((variant, name), FamilyRuns { conditions, runs });
        }
        families
    }
}

/// Seconds of work on a study, over all calls.
struct Clock {
    path: PathBuf,
    before: f64,
    began: Instant,
}

impl Clock {
    fn start(study: &Study<'_>, atlas: &Path) -> Result<Self, AtlasError> {
        let folder = atlas.join("verdicts");
        fs_err::create_dir_all(&folder).map_err(AtlasError::Io)?;
        // Of another text of the study it is another time.
        let path = folder.join(format!("{}-{}.{}.seconds", study.file.id, study.scale_name(), &study.content()[..8]));
        let before = fs_err::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0.0);
        Ok(Self { path, before, began: Instant::now() })
    }

    fn seconds(&self) -> f64 {
        self.before + self.began.elapsed().as_secs_f64()
    }

    /// A time that is lost costs nothing but the knowledge of it.
    fn save(&self) {
        let _ = fs_err::write(&self.path, format!("{:.1}\n", self.seconds()));
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
