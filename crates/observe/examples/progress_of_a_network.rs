//! Every observable on a small transformer with random weights: nothing is learned, so no frequency is key.

#![expect(clippy::print_stdout, reason = "an example prints its result")]

use std::error::Error;
use std::path::Path;

use ontogeny_observe::{Evaluator, FourierMeasures, Measured, weight_norms};
use ontogeny_zoo::{Model, NetworkConfig, TaskConfig};
use serde_json::{from_value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let task: TaskConfig = from_value(json!({
        "kind": "modular_arithmetic", "p": 23, "operation": "add", "train_fraction": 0.5,
    }))?;
    let network: NetworkConfig = from_value(json!({
        "kind": "transformer", "layers": 1, "d_model": 16, "heads": 2, "d_mlp": 64, "activation": "relu",
        "normalization": "none", "positions": "learned",
    }))?;
    let task = task.prepare(0, Path::new("."))?;
    let model = Model::new(network, task.interface)?;
    let weights = model.initial_weights(0);

    let mut evaluator = Evaluator::new(&model)?;
    for split in &task.splits {
        let found = evaluator.evaluate(&weights, &split.data)?;
        let accuracy = found.accuracy.unwrap_or_default();
        println!("{:>5}: loss {:.4} nats, accuracy {accuracy:.4}", split.name, found.loss);
    }
    print("norms", &weight_norms(&model, &weights)?);

    let found = FourierMeasures::new(&model, &task)?.measure(&weights)?;
    print("Fourier", &found.measured);
    println!("key frequencies: {:?}", found.keys);
    Ok(())
}

fn print(title: &str, measured: &Measured) {
    println!("{title}:");
    let labels = measured.dims.iter().flat_map(|(_, labels)| labels);
    for (label, value) in labels.zip(&measured.values) {
        println!("  {label:<22} {value:.4}");
    }
}
