//! Several runs from one file: seeds and a sweep over keys, side by side.

use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use ontogeny_store::Place;

use crate::toml_source::{Overrides, RunFileError, Section, Text};
use crate::{Event, Options, Run, RunFile, StudyError, Summary};

/// A file with `seeds` or `[sweep]`, resolved into its runs.
///
/// `seeds = 3` is the seeds `seed`, `seed + 1`, `seed + 2`; a list names them. `[sweep]` gives some keys of the file a list
/// of values each, and every combination is a run (keys in alphabetical order, of which the last changes fastest, then the seeds). `[[sweep]]` lists
/// the combinations instead, each a table of keys, with a `name` if it likes.
#[derive(Debug)]
pub struct Sweep {
    /// Title of the file.
    pub title: String,
    /// The runs, in order.
    pub members: Vec<Member>,
}

/// One run of a sweep.
#[derive(Debug)]
pub struct Member {
    /// What sets it apart, such as `weight_decay=0.3,seed=1`: also the name of its folder.
    pub name: String,
    /// Dotted keys and the TOML values they have in this run, its seed among them.
    pub settings: Vec<(String, String)>,
    /// The run.
    pub run: Run,
}

/// Most runs of a file: more are a slip, or a study of its own.
const MAX_MEMBERS: usize = 10_000;

/// Longest name of a folder.
const MAX_NAME: usize = 100;

/// Keys of a file that describe several runs.
pub(crate) const SWEEP_KEYS: [&str; 2] = ["seeds", "sweep"];

/// A run as the file describes it: its own name, where the file gives one, and its settings.
struct Combination {
    name: Option<String>,
    settings: Vec<(String, toml::Value)>,
}

impl Sweep {
    /// Reads a file that describes several runs, and prepares all of them; `None` if it describes one.
    ///
    /// # Errors
    /// As for [`RunFile::read`] and [`Run::prepare`], with the name of the run; or a sweep that cannot be understood.
    pub fn read(path: impl AsRef<Path>, overrides: &Overrides, command: &str) -> Result<Option<Self>, StudyError> {
        let path = path.as_ref();
        let source = RunFile::text(path)?;
        let text = Text { path, text: &source };
        let mut file = Section::parse(&text, overrides)?;
        let Some(combinations) = combinations(&mut file)? else { return Ok(None) };
        let title = file.take("title")?.unwrap_or_else(|| "Sweep".to_owned());
        let names = names(&combinations);
        let mut members: Vec<Member> = Vec::new();
        for (combination, name) in combinations.into_iter().zip(names) {
            let settings: Vec<(String, String)> =
                combination.settings.into_iter().map(|(key, value)| (key, value.to_string())).collect();
            let mut own = overrides.clone();
            own.set.extend(settings.iter().cloned());
            let member = |error: StudyError| StudyError::Member { member: name.clone(), source: Box::new(error) };
            let mut file = RunFile::parse_member(path, &source, &own).map_err(|error| member(error.into()))?;
            file.title = format!("{}: {name}", file.title);
            let mut run = Run::prepare(file, command).map_err(member)?;
            // Equal data are kept once; two runs that differ by their networks' seed only have the same.
            let own = std::iter::once(&mut run.task).chain(run.earlier.iter_mut().map(|earlier| &mut earlier.task));
            for task in own {
                let mut kept = members.iter().flat_map(|other| {
                    std::iter::once(&other.run.task).chain(other.run.earlier.iter().map(|earlier| &earlier.task))
                });
                if let Some(twin) = kept.find(|twin| *twin == task) {
                    *task = Arc::clone(twin);
                }
            }
            members.push(Member { name, settings, run });
        }
        Ok(Some(Self { title, members }))
    }

    /// Executes the runs, each in its own place, as many at once as there are threads; `on_event` hears which run an event
    /// belongs to. A run that fails leaves the others alone.
    ///
    /// `places` has a place for every member.
    pub fn execute(
        &self,
        places: &[Place],
        threads: NonZero<usize>,
        on_event: &(dyn Fn(usize, &Event) + Sync),
        cancel: &AtomicBool,
    ) -> Vec<Result<Summary, StudyError>> {
        let n_workers = threads.get().min(self.members.len()).max(1);
        let own_threads = NonZero::new(threads.get() / n_workers).unwrap_or(NonZero::<usize>::MIN);
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let (Some(member), Some(place)) = (self.members.get(at), places.get(at)) else { return done };
                done.push((at, member.execute(place, at, own_threads, on_event, cancel)));
            }
        };
        let mut outcomes: Vec<(usize, Result<Summary, StudyError>)> = thread::scope(|scope| {
            let workers: Vec<_> = (0..n_workers).map(|_| scope.spawn(work)).collect();
            let joined = workers.into_iter().map(|w| w.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            joined.flatten().collect()
        });
        outcomes.sort_by_key(|(at, _)| *at);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// A name for the folder of all: the file's name with a hash of what decides the checkpoints of its runs.
    pub fn default_directory(&self) -> std::path::PathBuf {
        let mut hasher = blake3::Hasher::new();
        for member in &self.members {
            hasher.update(member.run.manifest.trajectory.as_bytes());
        }
        let first = self.members.first().map(|member| member.run.file.path.as_path());
        let stem = first.and_then(Path::file_stem).map_or_else(|| "sweep".into(), |stem| stem.to_string_lossy());
        Path::new("runs").join(format!("{stem}-{}", &hasher.finalize().to_hex()[..4]))
    }
}

impl Member {
    fn execute(
        &self,
        place: &Place,
        at: usize,
        threads: NonZero<usize>,
        on_event: &(dyn Fn(usize, &Event) + Sync),
        cancel: &AtomicBool,
    ) -> Result<Summary, StudyError> {
        if cancel.load(Ordering::Relaxed) {
            return Err(StudyError::Interrupted);
        }
        // A run that fails stops its own threads by a flag; it must not stop the other runs.
        let own_cancel = AtomicBool::new(false);
        let observer = |event: &Event| {
            if cancel.load(Ordering::Relaxed) {
                own_cancel.store(true, Ordering::Relaxed);
            }
            on_event(at, event);
        };
        self.run.execute(place, &Options { threads, observer: &observer, cancel: &own_cancel })
    }
}

/// The combinations of a file, or `None` where it has neither `seeds` nor `sweep`.
fn combinations(file: &mut Section<'_>) -> Result<Option<Vec<Combination>>, RunFileError> {
    let [seeds_at, sweep_at] = SWEEP_KEYS.map(|key| file.place_of(key));
    let (seeds, sweep) = (file.take::<toml::Value>("seeds")?, file.take::<toml::Value>("sweep")?);
    if seeds.is_none() && sweep.is_none() {
        return Ok(None);
    }
    let first: u32 = file.take("seed")?.unwrap_or(0);
    let mut all = match sweep {
        None => vec![Combination { name: None, settings: Vec::new() }],
        Some(sweep) => swept(sweep).map_err(|message| file.error_at(sweep_at, message, None))?,
    };
    let seeds = match seeds {
        None => vec![first],
        Some(seeds) => seed_list(&seeds, first).map_err(|message| file.error_at(seeds_at.clone(), message, None))?,
    };
    let n_runs = all.len().saturating_mul(seeds.len());
    if n_runs > MAX_MEMBERS {
        let message = format!("the file describes {n_runs} runs; expected at most {MAX_MEMBERS}");
        return Err(file.error_at(seeds_at, message, None));
    }
    if seeds.len() > 1 && all.iter().any(|one| one.settings.iter().any(|(key, _)| key == "seed")) {
        let message = "found both `seeds` and a sweep over `seed`; expected one of them".to_owned();
        return Err(file.error_at(seeds_at, message, None));
    }
    let with_seed = |one: &Combination, seed: u32| {
        let mut settings = one.settings.clone();
        if !settings.iter().any(|(key, _)| key == "seed") {
            settings.push(("seed".to_owned(), i64::from(seed).into()));
        }
        Combination { name: one.name.clone(), settings }
    };
    all = all.iter().flat_map(|one| seeds.iter().map(|&seed| with_seed(one, seed))).collect();
    Ok(Some(all))
}

fn seed_list(seeds: &toml::Value, first: u32) -> Result<Vec<u32>, String> {
    let expected = "expected a number of seeds, or a list of different seeds from 0 to 4294967295";
    match seeds {
        toml::Value::Integer(n) => match u32::try_from(*n) {
            Ok(n) if n > 0 && first.checked_add(n - 1).is_some() => Ok((first..=first + (n - 1)).collect()),
            _ => Err(format!("`seeds` is {n}; {expected}")),
        },
        toml::Value::Array(list) if !list.is_empty() => {
            let listed: Option<Vec<u32>> = list.iter().map(|s| u32::try_from(s.as_integer()?).ok()).collect();
            let is_new = |listed: &[u32], at: usize| !listed[..at].contains(&listed[at]);
            match listed {
                Some(listed) if (0..listed.len()).all(|at| is_new(&listed, at)) => Ok(listed),
                _ => Err(format!("`seeds` is {seeds}; {expected}")),
            }
        }
        other => Err(format!("`seeds` is {other}; {expected}")),
    }
}

/// Every combination of a grid `[sweep]`, or those that `[[sweep]]` lists.
fn swept(sweep: toml::Value) -> Result<Vec<Combination>, String> {
    match sweep {
        toml::Value::Table(table) => {
            let mut all = vec![Vec::new()];
            let mut keys = Vec::new();
            flatten("", table, &mut keys);
            if keys.is_empty() {
                return Err("[sweep] has no keys; expected keys of this file with lists of values".to_owned());
            }
            for (key, value) in keys {
                let toml::Value::Array(values) = value else {
                    return Err(format!("`sweep.{key}` is {value}; expected a list of values"));
                };
                if values.is_empty() {
                    return Err(format!("`sweep.{key}` is empty; expected at least one value"));
                }
                if all.len().saturating_mul(values.len()) > MAX_MEMBERS {
                    return Err(format!("[sweep] has more than {MAX_MEMBERS} combinations"));
                }
                let with = |one: &Vec<(String, toml::Value)>, value: &toml::Value| {
                    let own = [(key.clone(), value.clone())];
                    one.iter().cloned().chain(own).collect::<Vec<_>>()
                };
                all = all.iter().flat_map(|one| values.iter().map(|value| with(one, value))).collect();
            }
            Ok(all.into_iter().map(|settings| Combination { name: None, settings }).collect())
        }
        toml::Value::Array(list) => list
            .into_iter()
            .enumerate()
            .map(|(at, one)| {
                let toml::Value::Table(mut table) = one else {
                    return Err(format!("`sweep` number {} is {one}; expected a table [[sweep]]", at + 1));
                };
                let name = match table.remove("name") {
                    None => None,
                    Some(toml::Value::String(name)) => Some(name),
                    Some(other) => return Err(format!("`sweep.name` is {other}; expected a name in quotes")),
                };
                let mut settings = Vec::new();
                flatten("", table, &mut settings);
                Ok(Combination { name, settings })
            })
            .collect(),
        other => Err(format!("`sweep` is {other}; expected a table [sweep], or tables [[sweep]]")),
    }
}

/// The dotted keys of a table with their values; `train.steps = […]` and `"train.steps" = […]` say the same.
fn flatten(prefix: &str, table: toml::Table, into: &mut Vec<(String, toml::Value)>) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        match value {
            toml::Value::Table(inner) => flatten(&path, inner, into),
            value => into.push((path, value)),
        }
    }
}

/// Names of folders, all different: the last word of each key, or the whole key where two end alike.
fn names(combinations: &[Combination]) -> Vec<String> {
    let mut keys: Vec<&str> = Vec::new();
    for (key, _) in combinations.iter().flat_map(|one| &one.settings) {
        if !keys.contains(&key.as_str()) {
            keys.push(key);
        }
    }
    let last = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
    let short = |key: &str| {
        let is_alone = keys.iter().filter(|other| last(other) == last(key)).count() == 1;
        if is_alone { last(key) } else { key.to_owned() }
    };
    let mut names: Vec<String> = Vec::new();
    for one in combinations {
        let value = |value: &toml::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let settings = one.settings.iter().filter(|(key, _)| one.name.is_none() || key == "seed");
        let parts = settings.map(|(key, v)| format!("{}={}", short(key), value(v)));
        let whole = one.name.iter().cloned().chain(parts).collect::<Vec<_>>().join(",");
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "=,.-_+".contains(c);
        let mut name: String = whole.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
        if name.starts_with('.') || name.len() > MAX_NAME || names.contains(&name) || name.is_empty() {
            let hash = blake3::hash(format!("{:?}", one.settings).as_bytes()).to_hex();
            name.truncate(MAX_NAME - 9);
            name = format!("{}-{}", name.trim_start_matches('.'), &hash[..8]);
        }
        names.push(name);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Result<Vec<String>, String> {
        let text = Text { path: Path::new("f.toml"), text };
        let overrides = Overrides::default();
        let mut file = Section::parse(&text, &overrides).map_err(|e| e.to_string())?;
        let all = combinations(&mut file).map_err(|e| e.to_string())?;
        Ok(all.map(|all| names(&all)).unwrap_or_default())
    }

    #[test]
    fn grids_lists_and_seeds_are_multiplied_out() {
        for (text, expected) in [
            ("seed = 4", &[][..]),
            ("seeds = 2", &["seed=0", "seed=1"]),
            ("seed = 4\nseeds = 2", &["seed=4", "seed=5"]),
            ("seeds = [7, 3]", &["seed=7", "seed=3"]),
            (
                "seeds = 2\n[sweep]\ntrain.weight_decay = [0.5, 1]\n",
                &[
                    "weight_decay=0.5,seed=0",
                    "weight_decay=0.5,seed=1",
                    "weight_decay=1,seed=0",
                    "weight_decay=1,seed=1",
                ],
            ),
            (
                "[sweep]\n\"task.p\" = [5, 7]\nnetwork.p = [\"a b\"]\n",
                &["network.p=a_b,task.p=5,seed=0", "network.p=a_b,task.p=7,seed=0"],
            ),
            (
                "[[sweep]]\nname = \"low\"\ntrain.steps = 3\n[[sweep]]\ntrain.steps = 4\n",
                &["low,seed=0", "steps=4,seed=0"],
            ),
            ("[sweep]\nseed = [1, 2]\n", &["seed=1", "seed=2"]),
        ] {
            let mut names = found(text).unwrap();
            // A table has no order of its own.
            names.sort();
            let mut expected = expected.to_vec();
            expected.sort_unstable();
            assert_eq!(names, expected, "{text}");
        }
    }

    #[test]
    fn names_are_different_and_harmless() {
        let same = found("[[sweep]]\nname = \"../x\"\na = 1\n[[sweep]]\nname = \"../x\"\na = 2\n").unwrap();
        assert_ne!(same[0], same[1]);
        assert!(same.iter().all(|name| !name.contains('/') && !name.starts_with('.')), "{same:?}");
        let long = found(&format!("[sweep]\na = [\"{}\"]\n", "x".repeat(300))).unwrap();
        assert!(long[0].len() <= MAX_NAME);
    }

    #[test]
    fn what_cannot_be_multiplied_out_is_told_with_its_line() {
        for (text, words) in [
            ("seeds = 0", "f.toml:1: `seeds` is 0; expected a number of seeds"),
            ("seeds = [1, 1]", "f.toml:1: `seeds` is [1, 1]"),
            ("seeds = [-1]", "f.toml:1: `seeds` is [-1]"),
            ("seed = 4294967295\nseeds = 2", "f.toml:2: `seeds` is 2"),
            ("seeds = \"many\"", "`seeds` is \"many\""),
            ("\nsweep = 3", "f.toml:2: `sweep` is 3; expected a table [sweep]"),
            ("[sweep]\na = 3", "`sweep.a` is 3; expected a list of values"),
            ("[sweep]\na = []", "`sweep.a` is empty"),
            ("[sweep]\n", "[sweep] has no keys"),
            ("seeds = 2\n[sweep]\nseed = [1, 2]\n", "found both `seeds` and a sweep over `seed`"),
            ("seeds = 20000", "the file describes 20000 runs; expected at most 10000"),
        ] {
            let message = found(text).unwrap_err();
            assert!(message.contains(words), "{text}: {message}");
        }
    }
}
