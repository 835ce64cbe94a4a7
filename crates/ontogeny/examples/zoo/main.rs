//! Runs every preset at its small scale with several seeds and writes what they show as a table: `docs/zoo.md`.
//!
//! ```text
//! cargo run --release -p ontogeny --example zoo -- --runs runs/zoo --out docs/zoo.md [--seeds 3] [PRESET…]
//! ```
//!
//! Runs that are finished are not made again. A preset whose file describes several runs itself is run as it is.

#![expect(clippy::print_stderr, reason = "it says which preset runs")]

mod checks;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use ontogeny::store::{Place, RunView};
use ontogeny::study::{Event, Overrides, Scale, Sweep};

/// What a preset did over its seeds.
struct Row {
    name: String,
    title: String,
    /// Of each run.
    views: Vec<RunView>,
    failures: Vec<String>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (mut runs, mut out, mut n_seeds) = (PathBuf::from("runs/zoo"), PathBuf::from("docs/zoo.md"), 3_u32);
    let mut wanted = Vec::new();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--runs" => runs = value()?.into(),
            "--out" => out = value()?.into(),
            "--seeds" => n_seeds = value()?.parse()?,
            _ => wanted.push(argument),
        }
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("presets");
    let mut presets: Vec<PathBuf> = fs_err::read_dir(&folder)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    presets.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    presets.sort();
    let name = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    // The import waits for files of the user.
    presets.retain(|path| if wanted.is_empty() { name(path) != "import" } else { wanted.contains(&name(path)) });
    let mut rows = Vec::new();
    for path in &presets {
        eprintln!("{}", name(path));
        rows.push(run(path, &name(path), &runs, n_seeds)?);
        fs_err::write(&out, table(&rows, n_seeds))?;
    }
    Ok(())
}

fn run(path: &Path, name: &str, runs: &Path, n_seeds: u32) -> Result<Row, Box<dyn Error>> {
    let text = fs_err::read_to_string(path)?;
    let has_seeds = text.lines().any(|line| line.starts_with("seeds") || line.contains("[sweep]"));
    let set = if has_seeds { Vec::new() } else { vec![("seeds".to_owned(), n_seeds.to_string())] };
    let scale = if text.contains("[scale.small") { Scale::Small } else { Scale::Full };
    let command = "cargo run --release -p ontogeny --example zoo";
    let sweep = Sweep::read(path, &Overrides { set, scale }, command)?.ok_or("the file describes one run")?;
    let places: Vec<Place> =
        sweep.members.iter().map(|member| Place::local(runs.join(name).join(&member.name))).collect();
    let threads = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let outcomes = sweep.execute(&places, threads, &|_, _: &Event| (), &AtomicBool::new(false));
    let (mut views, mut failures) = (Vec::new(), Vec::new());
    for (member, outcome) in sweep.members.iter().zip(outcomes) {
        match outcome {
            Ok(summary) => views.push(summary.view),
            Err(error) => failures.push(format!("{}: {error}", member.name)),
        }
    }
    Ok(Row { name: name.to_owned(), title: sweep.title, views, failures })
}

fn table(rows: &[Row], n_seeds: u32) -> String {
    let mut text = format!(
        "# What the presets show\n\nEvery preset of `ontogeny new` at its small scale, with {n_seeds} seeds (or the runs that its own file \
         describes), by\n\n```\ncargo run --release -p ontogeny --example zoo\n```\n\nA loss is that at the last checkpoint, mean \
         ± standard deviation over the runs. A fall is the largest transition of that series, at the median step over the runs in \
         which it was found, with the least and the largest in brackets. What was looked for is stated with the figures \
         that were found, and whether it is there in every run, in some, or in none.\n\n| preset | runs | last losses | falls | looked \
         for | seen |\n|---|---|---|---|---|---|\n"
    );
    for row in rows {
        let (looked_for, seen) = checks::check(&row.name, &row.views);
        let failures = if row.failures.is_empty() { String::new() } else { format!("; {}", row.failures.join("; ")) };
        let _ = writeln!(
            text,
            "| `{}` {} | {}{failures} | {} | {} | {looked_for} | {seen} |",
            row.name,
            row.title,
            row.views.len(),
            losses(&row.views),
            falls(&row.views),
        );
    }
    text
}

/// Mean and deviation of every last loss of a split.
fn losses(views: &[RunView]) -> String {
    let mut all: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for view in views {
        for observable in view.observables.values().filter(|observable| observable.kind == "loss") {
            for (at, split) in observable.components().into_iter().enumerate() {
                if let Some(loss) = observable.series(at).iter().rev().find_map(|(loss, _)| *loss) {
                    all.entry(split).or_default().push(loss);
                }
            }
        }
    }
    let show = |(split, values): (&String, &Vec<f64>)| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let square = values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>();
        let deviation = (square / (values.len() as f64 - 1.0).max(1.0)).sqrt();
        format!("{split} {mean:.3} ± {deviation:.3}")
    };
    all.iter().filter(|(split, _)| *split != "all").map(show).collect::<Vec<_>>().join(", ")
}

/// The largest fall of every loss, over the runs.
fn falls(views: &[RunView]) -> String {
    let mut all: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for view in views {
        let mut largest: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for t in view.transitions.iter().filter(|t| t.size < 0.0 && t.observable.contains("loss")) {
            let entry = largest.entry(&t.observable).or_insert((t.size, t.step));
            if t.size < entry.0 {
                *entry = (t.size, t.step);
            }
        }
        for (address, (_, step)) in largest {
            all.entry(address).or_default().push(step);
        }
    }
    let show = |(address, steps): (&&str, &mut Vec<f64>)| {
        steps.sort_by(f64::total_cmp);
        let (first, last) = (steps[0], steps[steps.len() - 1]);
        format!("{address} {:.0} [{first:.0}, {last:.0}] in {} of {}", steps[steps.len() / 2], steps.len(), views.len())
    };
    let shown: Vec<String> = all.iter_mut().map(show).take(8).collect();
    if shown.is_empty() { "none".to_owned() } else { shown.join("<br>") }
}
