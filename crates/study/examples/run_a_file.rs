//! Runs a tiny file from training to transitions in a scratch folder, with one line for each finished measurement.

#![expect(clippy::print_stdout, reason = "its lines are this example's output")]

use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use ontogeny_study::{Event, Options, Overrides, Run, RunFile};

const FILE: &str = r#"
title = "Addition modulo 7"
[task]
kind = "modular_arithmetic"
p = 7
operation = "add"
train_fraction = 0.8
[network]
kind = "transformer"
layers = 1
d_model = 16
heads = 2
d_mlp = 32
activation = "relu"
normalization = "none"
positions = "learned"
[train]
optimizer = "adamw"
learning_rate = 1e-2
batch = "full"
steps = 60
checkpoints = { log = 6 }
[measure.loss]
[measure.accuracy]
"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let scratch = tempfile::tempdir()?;
    let file = RunFile::parse(Path::new("addition.toml"), FILE, &Overrides::default())?;
    let run = Run::prepare(file, "cargo run --example run_a_file")?;
    let observer = |event: &Event| {
        if let Event::Measured { measure, step, n_done, n_total, .. } = event {
            println!("{n_done}/{n_total}  {measure} at step {step}");
        }
    };
    let threads = NonZero::<usize>::MIN;
    let summary = run.execute(
        scratch.path().join("run"),
        &Options { threads, observer: &observer, cancel: &AtomicBool::new(false) },
    )?;
    let accuracy = &summary.view.observables["accuracy"];
    println!("train accuracy at the end: {:?}", accuracy.series(0).last().and_then(|(value, _)| *value));
    Ok(())
}
