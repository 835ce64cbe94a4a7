//! A network written by hand as a graph, its checkpoints, their losses, and learning coefficients at some of them:
//! `cargo run --release -p ontogeny --example own_network -- FOLDER [STEP…]`
//!
//! FOLDER holds `model_step_N.pt` (PyTorch checkpoints with `model_state_dict` and `val_loss`) and
//! `test_sequences_10000x16_u8.gz`. Change `torus.rs` into your network and `series.rs` into your files.

#![expect(clippy::print_stdout, reason = "the table is this example's output")]

mod series;
mod torus;

use std::path::PathBuf;

use ontogeny::posterior::Batch;
use ontogeny::prelude::{Estimate, Llc, Objective};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("usage: own_network FOLDER [STEP…]")?);
    let wanted: Vec<u64> = arguments.map(|step| step.parse()).collect::<Result<_, _>>()?;
    let data = series::sequences(&folder)?;
    let mut mean_loss = series::MeanLoss::new(250)?;
    let objective = Objective::new(data.clone(), torus::network)?;
    let batch = Batch::Size(500);
    let llc = Llc { step_size: 1e-4, localization: 100.0, batch, burn_in: 100, draws: 200, ..Llc::default() };
    for (step, path) in series::checkpoints(&folder)? {
        let (weights, recorded) = series::read(&path, mean_loss.space())?;
        let loss = mean_loss.of(&weights, &data)?;
        println!("step {step:6}  loss {loss:.4}  recorded {recorded:.4}");
        if wanted.contains(&step) {
            match llc.estimate(&objective, &weights)? {
                Estimate::Ok { value, mcse, .. } => println!("             llc {value:.2} ± {mcse:.2}"),
                Estimate::Refused { verdict, reason, .. } => println!("             llc {verdict}: {reason}"),
            }
        }
    }
    Ok(())
}
