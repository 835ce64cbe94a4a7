//! `measurements.zarr` as xarray reads it; where Python or its packages are missing this says so and skips.
#![expect(clippy::unwrap_used, reason = "clippy spares only the test functions, not their helpers")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use ontogeny_store::{
    Coordinate, Detail, KeyParts, Manifest, MeasurePlan, NumberType, Outcome, Record, RecordArray, RecordKey,
    RunWriter, index_labels,
};
use serde_json::json;

fn texts(labels: &[&str]) -> Vec<Coordinate> {
    labels.iter().map(|&label| Coordinate::Text(label.to_owned())).collect()
}

fn array(name: &str, dims: &[(&str, Vec<Coordinate>)], values: Vec<f64>) -> RecordArray {
    RecordArray {
        name: name.to_owned(),
        unit: "nats".to_owned(),
        dims: dims.iter().map(|(dim, _)| (*dim).to_owned()).collect(),
        coordinates: dims.iter().map(|(dim, labels)| ((*dim).to_owned(), labels.clone())).collect(),
        number: NumberType::Float64,
        values,
    }
}

fn record(measure: &str, step: u64, arrays: Vec<RecordArray>) -> Record {
    let parts = KeyParts { tensors: "", data: "", configuration: "", observable: measure, algorithm_version: 1 };
    Record {
        key: RecordKey::new(&parts),
        measure: measure.to_owned(),
        kind: measure.to_owned(),
        algorithm_version: 1,
        step,
        outcome: Outcome::Done,
        arrays,
        details: BTreeMap::new(),
    }
}

const N_DRAWS: usize = 3000;

fn narrow(step: u64) -> Vec<f64> {
    vec![f64::from(0.1_f32), f64::NAN, step as f64]
}

/// Four steps: done, refused, done, missing.
fn llc(step: u64) -> Record {
    let component = ("component", texts(&["full", "λ̂ unembed"]));
    let example = ("example", index_labels(3));
    let (chain, draw) = (("chain", index_labels(2)), ("draw", index_labels(N_DRAWS)));
    let trace = (0..2 * N_DRAWS).map(|i| if i == 5 { f64::INFINITY } else { (i as f64 + step as f64).sqrt() });
    let mut record = record(
        "llc",
        step,
        vec![
            array("value", std::slice::from_ref(&component), vec![step as f64 / 3.0, 1e-300]),
            array("standard_error", &[component], vec![0.25, f64::NAN]),
            array("trace", &[chain, draw], trace.collect()),
            RecordArray {
                number: NumberType::Float32,
                ..array("narrow", std::slice::from_ref(&example), narrow(step))
            },
            RecordArray { number: NumberType::Index32, ..array("ids", &[example], vec![7.0, step as f64, 0.0]) },
        ],
    );
    record.details.insert("r_hat".to_owned(), Detail::Number(Some(1.0 + step as f64)));
    record.details.insert("verdict".to_owned(), Detail::Text(format!("ok {step}")));
    if step == 10 {
        record.outcome = Outcome::Refused { verdict: "diverged".to_owned(), reason: "R̂ 1.31".to_owned() };
    }
    record
}

fn make(path: &Path) -> RunWriter {
    let writer = RunWriter::join(path, &Manifest { title: "Zarr".to_owned(), seed: 7, ..Manifest::default() }).unwrap();
    let plan = |kind: &str, steps: &[u64]| MeasurePlan {
        kind: kind.to_owned(),
        unit: "nats".to_owned(),
        description: format!("The {kind}."),
        steps: steps.iter().map(|&step| (step, None)).collect(),
    };
    writer
        .write_measures(&BTreeMap::from([
            ("llc".to_owned(), plan("llc", &[0, 10, 20, 30])),
            ("weight norm λ".to_owned(), plan("weight_norm", &[0, 10])),
            ("never".to_owned(), plan("never", &[5])),
            ("nowhere".to_owned(), plan("nowhere", &[])),
        ]))
        .unwrap();
    for step in [0, 10, 20] {
        writer.put_record(&llc(step)).unwrap();
    }
    for step in [0, 10] {
        let values = vec![array("value", &[], vec![0.1 + step as f64])];
        writer.put_record(&record("weight norm λ", step, values)).unwrap();
    }
    writer
}

/// The Python that has xarray and zarr, or why there is none.
fn python() -> Result<String, String> {
    let python = std::env::var("ONTOGENY_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(&python)
        .args(["-c", "import xarray, zarr; assert int(zarr.__version__.split('.')[0]) >= 3"])
        .output()
        .map_err(|error| format!("`{python}` cannot be started: {error}"))?;
    if output.status.success() {
        return Ok(python);
    }
    let error = String::from_utf8_lossy(&output.stderr);
    Err(format!("`{python}` has no xarray with zarr 3: {}", error.trim().lines().last().unwrap_or_default()))
}

#[test]
fn xarray_reads_what_the_view_says() {
    let python = match python() {
        Ok(python) => python,
        Err(reason) => {
            println!("skipped: {reason}; set ONTOGENY_PYTHON to a Python that has both");
            return;
        }
    };
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("a run");
    let writer = make(&path);
    writer.seal().unwrap();
    // A second time, with nothing new.
    writer.seal().unwrap();

    // What `trace` should be; numbers that JSON cannot hold as text, which Python's float() reads.
    let exact = |value: f64| {
        if value.is_finite() { json!(value) } else { json!(value.to_string()) }
    };
    let trace: Vec<_> = [0, 10, 20]
        .iter()
        .flat_map(|&step| llc(step).array("trace").unwrap().values.clone())
        .chain(vec![f64::NAN; 2 * N_DRAWS])
        .map(exact)
        .collect();
    let narrow_values: Vec<_> =
        [0, 10, 20].iter().flat_map(|&step| narrow(step)).chain([f64::NAN; 3]).map(exact).collect();
    let expected = json!({
        "view": writer.folder().view().unwrap().results,
        "arrays": [{
            "path": "llc/trace",
            "dims": ["step", "chain", "draw"],
            "shape": [4, 2, N_DRAWS],
            "units": "nats",
            "type": "float64",
            "values": trace,
        }, {
            "path": "llc/narrow",
            "dims": ["step", "example"],
            "shape": [4, 3],
            "units": "nats",
            "type": "float32",
            "values": narrow_values,
        }, {
            "path": "llc/ids",
            "dims": ["step", "example"],
            "shape": [4, 3],
            "units": "nats",
            "type": "int32",
            "values": [7, 0, 0, 7, 10, 0, 7, 20, 0, -1, -1, -1],
        }],
    });
    let file = scratch.path().join("expected.json");
    fs_err::write(&file, expected.to_string()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/python/read_zarr.py");
    let output = Command::new(python)
        .args(["-W", "error"])
        .args([script, path.join("measurements.zarr"), file])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "4 observables and 3 further arrays agree");
}

#[test]
fn sealing_leaves_few_files() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("run");
    let writer = make(&path);
    writer.seal().unwrap();
    let names = fs_err::read_dir(&path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.starts_with('.')).count(), 0);
    // A shard is one file: the trace of four steps is not a file per step.
    let shards = fs_err::read_dir(path.join("measurements.zarr/llc/trace/c")).unwrap().count();
    assert_eq!(shards, 1);
    assert_eq!(fs_err::read_dir(path.join("records/llc")).unwrap().count(), 0);
}
