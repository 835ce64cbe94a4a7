//! What seeds cost side by side, and what a long training keeps in memory:
//! `cargo run --release -p ontogeny --example side_by_side -- [SEEDS] [STEPS] [TOY_STEPS]`
//!
//! Trains SEEDS (16) grokking transformers at p = 113 for STEPS (150) updates, as a run file with `seeds` does, and one of them
//! alone on one core; prints the time of all over SEEDS × one ÷ cores, which
//! counts only on an idle machine, and the ratio of their processor times, which others disturb less: where the first is high and
//! the second near 1, the cores were not free. Then trains a toy for TOY_STEPS (10,000,000) updates and
//! prints the memory it has along the way (0 where the system does not tell).

#![expect(clippy::print_stdout, reason = "the figures are this example's output")]

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use ontogeny::store::Place;
use ontogeny::study::{Event, Options, Overrides, Run, RunFile, StudyError, Sweep};

const GROKKING: &str = r#"
[task]
kind = "modular_arithmetic"
p = 113
operation = "add"
train_fraction = 0.3
[network]
kind = "transformer"
layers = 1
d_model = 128
heads = 4
d_mlp = 512
activation = "relu"
normalization = "none"
positions = "learned"
[train]
optimizer = "adamw"
learning_rate = 1e-3
weight_decay = 1.0
betas = [0.9, 0.98]
batch = "full"
steps = STEPS
checkpoints = { linear = 1 }
"#;

/// y = 2x with one weight.
const TOY: &str = r#"
[task]
kind = "deep_linear"
inputs = 1
outputs = 1
singular_values = [2.0]
input = "orthogonal"
[network]
kind = "mlp"
sizes = [1, 1]
activation = "identity"
biases = false
[train]
optimizer = "sgd"
learning_rate = 1e-6
batch = "full"
steps = STEPS
checkpoints = { log = 20, linear = 10 }
"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u64| arguments.get(at).map_or(Ok(default), |text| text.parse::<u64>());
    let (n_seeds, n_steps, n_toy_steps) = (number(0, 16)?, number(1, 150)?, number(2, 10_000_000)?);
    let scratch = tempfile::tempdir()?;
    side_by_side(scratch.path(), n_seeds, n_steps)?;
    long(scratch.path(), n_toy_steps)
}

fn side_by_side(scratch: &Path, n_seeds: u64, n_steps: u64) -> Result<(), Box<dyn std::error::Error>> {
    let text = GROKKING.replace("STEPS", &n_steps.to_string());
    let path = scratch.join("seeds.toml");
    fs_err::write(&path, format!("seeds = {n_seeds}\n{text}"))?;
    let sweep = Sweep::read(&path, &Overrides::default(), "side_by_side")?.ok_or("`seeds` describes several runs")?;
    let places: Vec<Place> = sweep.members.iter().map(|member| Place::local(scratch.join(&member.name))).collect();
    let cancel = AtomicBool::new(false);
    let cores = std::thread::available_parallelism()?;

    let (begun, processor) = (Instant::now(), processor_seconds());
    train(&text, &scratch.join("alone"), &|_| ())?;
    let (alone, processor_alone) = (begun.elapsed().as_secs_f64(), processor_seconds() - processor);
    let (begun, processor) = (Instant::now(), processor_seconds());
    let outcomes = sweep.execute(&places, cores, &|_, _| (), &cancel);
    let (all, processor_all) = (begun.elapsed().as_secs_f64(), processor_seconds() - processor);
    outcomes.into_iter().collect::<Result<Vec<_>, StudyError>>()?;

    let bound = n_seeds as f64 * alone / cores.get() as f64;
    println!("p = 113, {n_steps} updates: one seed alone on one core {alone:.1} s");
    println!(
        "{n_seeds} seeds on {cores} cores {all:.1} s, {:.3} of {n_seeds} × one ÷ {cores} = {bound:.1} s",
        all / bound
    );
    let of_one = n_seeds as f64 * processor_alone;
    println!("processor time {processor_all:.1} s, {:.3} of {n_seeds} × one = {of_one:.1} s", processor_all / of_one);
    Ok(())
}

fn long(scratch: &Path, n_steps: u64) -> Result<(), Box<dyn std::error::Error>> {
    let text = TOY.replace("STEPS", &n_steps.to_string());
    let begun = Instant::now();
    train(&text, &scratch.join("toy"), &|event| {
        if let Event::Trained { step, n_steps, .. } = event
            && (*step == 1000 || step.is_multiple_of((n_steps / 10).max(1)))
        {
            println!("update {step:>9}  {:5.1} MB", resident_bytes().unwrap_or(0) as f64 / 1e6);
        }
    })?;
    println!("{n_steps} updates of a toy in {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// Trains what a run file says on one core.
fn train(text: &str, directory: &Path, observer: &(dyn Fn(&Event) + Sync)) -> Result<(), StudyError> {
    let file = RunFile::parse(&PathBuf::from("run.toml"), text, &Overrides::default())?;
    let cancel = AtomicBool::new(false);
    let options = Options { threads: NonZero::<usize>::MIN, observer, cancel: &cancel };
    Run::prepare(file, "side_by_side")?.execute(directory, &options)?;
    Ok(())
}

/// What this process has in memory, where the system is Linux: the second number of `statm`, in pages of 4096 bytes.
fn resident_bytes() -> Option<u64> {
    let text = fs_err::read_to_string("/proc/self/statm").ok()?;
    Some(text.split_whitespace().nth(1)?.parse::<u64>().ok()? * 4096)
}

/// Processor time of this process in seconds, where the system is Linux (else 0): `utime` and `stime`, the 12th and 13th word
/// behind the name in `stat`, in hundredths.
fn processor_seconds() -> f64 {
    let text = fs_err::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind_name = text.rsplit(')').next().unwrap_or_default();
    let ticks = behind_name.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}
