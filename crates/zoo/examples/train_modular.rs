//! Trains a tiny transformer on addition modulo 7 and prints its loss at each checkpoint.

use std::convert::Infallible;
use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;

use ontogeny_zoo::{Model, NetworkConfig, TaskConfig, TrainConfig, TrainEvent, Trainer};
use serde::Deserialize;

#[derive(Deserialize)]
struct RunFile {
    seed: u32,
    task: TaskConfig,
    network: NetworkConfig,
    train: TrainConfig,
}

const RUN_FILE: &str = r#"
seed = 0
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
weight_decay = 1.0
betas = [0.9, 0.98]
batch = "full"
steps = 100
checkpoints = { log = 5, linear = 4 }
"#;

#[expect(clippy::print_stdout, reason = "an example talks to its reader")]
fn main() -> Result<(), Box<dyn Error>> {
    let file: RunFile = toml::from_str(RUN_FILE)?;
    let task = file.task.prepare(file.seed, Path::new("."))?;
    let model = Model::new(file.network, task.interface)?;
    let train = task.split("train").expect("every task has a training split");
    println!("{} parameters, {} training examples", model.space().len(), train.data.len());

    let mut trainer = Trainer::new(&model, &task, &file.train, file.seed)?;
    let mut state = trainer.start(model.initial_weights(file.seed))?;
    let mut is_checkpoint = false;
    trainer.run(&mut state, |event| {
        match event {
            TrainEvent::Checkpoint(_) => is_checkpoint = true,
            TrainEvent::Step { step, loss, .. } => {
                if std::mem::take(&mut is_checkpoint) {
                    println!("step {step:>4}   loss {loss:.4} nats");
                }
            }
        }
        Ok::<_, Infallible>(ControlFlow::Continue(()))
    })?;
    Ok(())
}
