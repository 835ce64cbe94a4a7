//! A run from creation to xarray: checkpoints, a killed writer's view of resuming, records, and what is read back.
//!
//! `cargo run -p ontogeny-store --example run_folder [FOLDER]` (a temporary folder unless given).

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write as _;
use std::path::PathBuf;

use ontogeny_store::{
    Coordinate, KeyParts, Manifest, MeasurePlan, NumberType, Outcome, Record, RecordArray, RecordKey, RunFolder,
    RunWriter, State, Tensor,
};

fn main() -> Result<(), Box<dyn Error>> {
    let scratch = tempfile::tempdir()?;
    let path = std::env::args_os().nth(1).map_or_else(|| scratch.path().join("run"), PathBuf::from);
    let manifest = Manifest {
        title: "Halving a number".to_owned(),
        trajectory: "hash of all that determines the checkpoints".to_owned(),
        configuration: "[train]\nsteps = 3\n".parse()?,
        ..Manifest::default()
    };
    let writer = RunWriter::join(&path, &manifest)?;

    // Training: at each saved step the checkpoint first, then the state.
    let mut weight = 1.0_f32;
    for step in 0..=3 {
        let tensors = vec![Tensor::new("w", vec![1], vec![weight])];
        writer.write_checkpoint(step, &tensors)?;
        writer.write_state(&State { step, tensors, counters: BTreeMap::new() })?;
        weight *= 0.5;
    }

    // Planning: one record is expected for each checkpoint.
    let mut steps = BTreeMap::new();
    for step in writer.folder().checkpoint_steps()? {
        let tensors = writer.folder().checkpoint_header(step)?.hash;
        let parts =
            KeyParts { tensors: &tensors, data: "", configuration: "", observable: "square", algorithm_version: 1 };
        steps.insert(step, Some(RecordKey::new(&parts)));
    }
    let plan = MeasurePlan {
        kind: "square".to_owned(),
        unit: "1".to_owned(),
        description: "Square of the weight.".to_owned(),
        steps: steps.clone(),
    };
    writer.write_measures(&BTreeMap::from([("square".to_owned(), plan)]))?;

    // Measuring: whatever is missing, and nothing else.
    for item in writer.folder().work_list()? {
        let weight = f64::from(writer.folder().read_checkpoint(item.step)?.tensors[0].values[0]);
        let component = vec![Coordinate::Text("w".to_owned())];
        writer.put_record(&Record {
            key: steps[&item.step].clone().ok_or("every key is known here")?,
            measure: item.measure,
            kind: "square".to_owned(),
            algorithm_version: 1,
            step: item.step,
            outcome: Outcome::Done,
            arrays: vec![RecordArray {
                name: "value".to_owned(),
                unit: "1".to_owned(),
                dims: vec!["component".to_owned()],
                coordinates: BTreeMap::from([("component".to_owned(), component)]),
                number: NumberType::Float64,
                values: vec![weight * weight],
            }],
            details: BTreeMap::new(),
        })?;
    }
    writer.seal()?;

    let view = RunFolder::open(&path)?.view()?;
    writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&view.results)?)?;
    Ok(())
}
