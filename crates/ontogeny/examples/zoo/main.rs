//! Runs every preset at its small scale with several seeds and writes what they show: `docs/zoo.md`, and their losses beside it.
//!
//! ```text
//! cargo run --release -p ontogeny --example zoo -- --runs runs/zoo --out docs/zoo.md [--seeds 3] [PRESET…]
//! ```
//!
//! Runs that are finished are not made again. A preset whose file says how many seeds it wants has these.

#![expect(clippy::print_stderr, reason = "it says which preset runs")]

mod checks;
mod page;
mod plate;
mod runs;

use std::error::Error;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use ontogeny::store::Place;
use ontogeny::study::{Event, Member, Overrides, Scale, Sweep};

use crate::runs::{Preset, Run};

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
    let mut files: Vec<PathBuf> = fs_err::read_dir(&folder)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    let name = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    // The import waits for files of the user.
    files.retain(|path| if wanted.is_empty() { name(path) != "import" } else { wanted.contains(&name(path)) });
    let picture = out.with_extension("svg");
    let picture_name = picture.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut presets = Vec::new();
    for path in &files {
        eprintln!("{}", name(path));
        presets.push(run(path, &name(path), &runs, n_seeds)?);
        fs_err::write(&out, page::page(&presets, n_seeds, &picture_name))?;
        fs_err::write(&picture, plate::plate(&presets))?;
    }
    Ok(())
}

fn run(path: &Path, name: &str, runs: &Path, n_seeds: u32) -> Result<Preset, Box<dyn Error>> {
    let text = fs_err::read_to_string(path)?;
    let has_seeds = text.lines().any(|line| line.starts_with("seeds"));
    let set = if has_seeds { Vec::new() } else { vec![("seeds".to_owned(), n_seeds.to_string())] };
    let scale = if text.contains("[scale.small") { Scale::Small } else { Scale::Full };
    let command = "cargo run --release -p ontogeny --example zoo";
    let sweep = Sweep::read(path, &Overrides { set, scale }, command)?.ok_or("the file describes one run")?;
    let places: Vec<Place> =
        sweep.members.iter().map(|member| Place::local(runs.join(name).join(&member.name))).collect();
    let threads = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let outcomes = sweep.execute(&places, threads, &|_, _: &Event| (), &AtomicBool::new(false));
    let mut preset = Preset { name: name.to_owned(), runs: Vec::new(), failures: Vec::new() };
    for (member, outcome) in sweep.members.iter().zip(outcomes) {
        match outcome {
            Ok(summary) => {
                preset.runs.push(Run { variant: variant(member), view: summary.view });
            }
            Err(error) => preset.failures.push(format!("{}: {error}", member.name)),
        }
    }
    Ok(preset)
}

/// What sets a run of a sweep apart: the name that the file gives, or its settings.
fn variant(member: &Member) -> String {
    // The name of a run ends with its seed.
    let own = member.name.rsplit_once("seed=").map_or("", |(own, _)| own.trim_end_matches(','));
    if !own.contains('=') {
        return own.to_owned();
    }
    let settings = member.settings.iter().filter(|(key, _)| key != "seed");
    let settings = settings.map(|(key, value)| format!("{}={value}", key.rsplit('.').next().unwrap_or(key)));
    settings.collect::<Vec<_>>().join(", ")
}
