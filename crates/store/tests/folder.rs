//! Runs in local folders: what is on the disk, who may write there, damage of every kind, and older formats.
#![expect(clippy::unwrap_used, reason = "clippy spares only the test functions, not their helpers")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ontogeny_store::{
    Analysis, CheckpointError, Coordinate, Detail, FORMAT_VERSION, Imported, KeyParts, Manifest, ManifestError,
    MeasurePlan, MissingReason, NumberType, OpenError, Outcome, Record, RecordArray, RecordKey, RunFolder, RunWriter,
    State, Status, Tensor, Written, hash_tensors, index_labels,
};

fn manifest() -> Manifest {
    Manifest {
        title: "A run".to_owned(),
        version: "0.1.0".to_owned(),
        engine: Some(4),
        seed: 3,
        trajectory: "one".to_owned(),
        configuration: "title = \"A run\"\n".parse().unwrap(),
        ..Manifest::default()
    }
}

fn weights(step: u64) -> Vec<Tensor> {
    vec![Tensor::new("w", vec![2, 2], vec![step as f32, 0.5, -0.0, 1e-40]), Tensor::new("b", vec![], vec![1.0])]
}

fn key(step: u64) -> RecordKey {
    let tensors = hash_tensors(&weights(step));
    RecordKey::new(&KeyParts {
        tensors: &tensors,
        data: "d",
        configuration: "",
        observable: "loss",
        algorithm_version: 1,
    })
}

fn record(step: u64, outcome: Outcome, values: [f64; 2]) -> Record {
    let labels = ["train", "test"].map(|split| Coordinate::Text(split.to_owned())).to_vec();
    let array = |name: &str, values: Vec<f64>| RecordArray {
        name: name.to_owned(),
        unit: "nats".to_owned(),
        dims: vec!["split".to_owned()],
        coordinates: BTreeMap::from([("split".to_owned(), labels.clone())]),
        number: NumberType::Float64,
        values,
    };
    Record {
        key: key(step),
        measure: "loss".to_owned(),
        kind: "loss".to_owned(),
        algorithm_version: 1,
        step,
        outcome,
        arrays: vec![array("value", values.to_vec()), array("standard_error", vec![0.1, f64::NAN])],
        details: BTreeMap::from([("n".to_owned(), Detail::Number(Some(step as f64)))]),
    }
}

fn plan(steps: &[u64]) -> BTreeMap<String, MeasurePlan> {
    let plan = MeasurePlan {
        kind: "loss".to_owned(),
        unit: "nats".to_owned(),
        description: "Mean cross-entropy.".to_owned(),
        steps: steps.iter().map(|&step| (step, Some(key(step)))).collect(),
    };
    BTreeMap::from([("loss".to_owned(), plan)])
}

/// The one loose record at a step.
fn record_file(run: &RunFolder, step: u64) -> PathBuf {
    let start = format!("step-{step:08}.");
    let files = fs_err::read_dir(run.path().join("records/loss")).unwrap().map(|entry| entry.unwrap().path());
    let mut found = files.filter(|file| file.file_name().unwrap().to_str().unwrap().starts_with(&start));
    let file = found.next().unwrap();
    assert_eq!(found.next(), None);
    file
}

/// Every file under `folder` with its bytes.
fn snapshot(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs_err::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(snapshot(&path));
        } else {
            files.insert(path.clone(), fs_err::read(path).unwrap());
        }
    }
    files
}

#[test]
fn folders_that_are_no_runs_are_refused_and_left_alone() {
    let scratch = tempfile::tempdir().unwrap();
    let other = scratch.path().join("other");
    fs_err::create_dir(&other).unwrap();
    fs_err::write(other.join("thesis.tex"), "x").unwrap();
    let before = snapshot(scratch.path());
    for path in [other.clone(), scratch.path().join("missing"), other.join("thesis.tex")] {
        assert!(matches!(RunFolder::open(&path), Err(ManifestError::NotARun { .. })), "{}", path.display());
        let error = RunWriter::open(&path).unwrap_err();
        assert!(error.to_string().contains("is not a run"), "{error}");
    }
    assert!(
        matches!(RunWriter::join(&other, &manifest()), Err(OpenError::NotEmpty { found, .. }) if found == "thesis.tex")
    );
    assert_eq!(snapshot(scratch.path()), before);

    let run = scratch.path().join("run");
    drop(RunWriter::join(&run, &manifest()).unwrap());
    assert_eq!(RunWriter::open(&run).unwrap().folder().manifest(), &manifest());
}

#[test]
fn a_run_killed_in_its_creation_can_be_created_again() {
    let scratch = tempfile::tempdir().unwrap();
    let left =
        [".ontogeny-tmp-abc", "workers/host-7-0123abcd", "leases/train.00001"].map(|name| scratch.path().join(name));
    for file in &left {
        fs_err::create_dir_all(file.parent().unwrap()).unwrap();
        fs_err::write(file, "format_ver").unwrap();
    }
    let writer = RunWriter::join(scratch.path(), &manifest()).unwrap();
    assert_eq!(writer.claim("train").unwrap().unwrap().attempt(), 2, "a torn lease is a dead worker's");
    assert!(!left.iter().any(|file| file.exists()), "the claim removed the leases with its own");
}

#[test]
fn a_newer_run_is_refused_before_anything_is_written() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("run");
    drop(RunWriter::join(&path, &manifest()).unwrap());
    let file = path.join("run.toml");
    let text = fs_err::read_to_string(&file).unwrap();
    fs_err::write(&file, text.replace("format_version = 16", "format_version = 17")).unwrap();
    let before = snapshot(&path);
    assert!(matches!(RunFolder::open(&path), Err(ManifestError::NewerFormat { found: 17, .. })));
    assert!(matches!(RunWriter::open(&path), Err(OpenError::Manifest(ManifestError::NewerFormat { .. }))));
    assert_eq!(snapshot(&path), before);
}

#[test]
fn swapped_checkpoints_are_recognised_by_step_run_and_kind() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("run");
    let writer = RunWriter::join(&path, &manifest()).unwrap();
    writer.write_checkpoint(1, &weights(1)).unwrap();
    writer.write_state(&State { step: 1, tensors: weights(1), counters: BTreeMap::new() }).unwrap();
    let other_path = scratch.path().join("other");
    let other = RunWriter::join(&other_path, &Manifest { trajectory: "two".to_owned(), ..manifest() }).unwrap();
    other.write_checkpoint(4, &weights(1)).unwrap();
    other.write_state(&State { step: 4, tensors: weights(1), counters: BTreeMap::new() }).unwrap();

    let file = |folder: &Path, name: &str| folder.join("checkpoints").join(format!("{name}.safetensors"));
    fs_err::copy(file(&path, "step-00000001"), file(&path, "step-00000002")).unwrap();
    fs_err::copy(file(&path, "state-step-00000001"), file(&path, "step-00000003")).unwrap();
    fs_err::copy(file(&other_path, "step-00000004"), file(&path, "step-00000004")).unwrap();
    let run = writer.folder();
    assert!(matches!(run.read_checkpoint(2), Err(CheckpointError::OtherStep { found: 1, expected: 2, .. })));
    assert!(matches!(run.read_checkpoint(3), Err(CheckpointError::Damaged { .. })));
    assert!(matches!(run.read_checkpoint(4), Err(CheckpointError::OtherTrajectory { .. })));
    run.read_checkpoint(1).unwrap();
    fs_err::copy(file(&other_path, "state-step-00000004"), file(&path, "state-step-00000004")).unwrap();
    assert!(matches!(run.read_state(), Err(CheckpointError::OtherTrajectory { .. })));
    fs_err::remove_file(file(&path, "state-step-00000004")).unwrap();
    fs_err::rename(file(&path, "state-step-00000001"), file(&path, "state-step-00000002")).unwrap();
    assert!(matches!(run.read_state(), Err(CheckpointError::Damaged { .. })));
}

#[test]
fn a_checkpoint_is_created_verified_repaired_or_defended() {
    let scratch = tempfile::tempdir().unwrap();
    let writer = RunWriter::join(scratch.path().join("run"), &manifest()).unwrap();
    let file = writer.folder().path().join("checkpoints/step-00000007.safetensors");
    assert_eq!(writer.write_checkpoint(7, &weights(7)).unwrap(), Written::Created);
    let bytes = fs_err::read(&file).unwrap();
    assert_eq!(writer.write_checkpoint(7, &weights(7)).unwrap(), Written::Verified);
    assert!(matches!(writer.write_checkpoint(7, &weights(8)), Err(CheckpointError::Differs { .. })));
    assert_eq!(fs_err::read(&file).unwrap(), bytes);
    fs_err::write(&file, &bytes[..40]).unwrap();
    let repaired = writer.write_checkpoint(7, &weights(7)).unwrap();
    assert!(matches!(&repaired, Written::Repaired { damage } if damage.contains("step-00000007")), "{repaired:?}");
    assert_eq!(fs_err::read(&file).unwrap(), bytes);
}

#[test]
fn the_trajectory_may_change_only_while_nothing_is_saved() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("run");
    let changed = |title: &str, trajectory: &str| Manifest {
        title: title.to_owned(),
        trajectory: trajectory.to_owned(),
        configuration: format!("title = \"{title}\"\n").parse().unwrap(),
        instruction_set: title.to_owned(),
        engine: Some(9),
        ..manifest()
    };
    drop(RunWriter::join(&path, &manifest()).unwrap());
    let writer = RunWriter::join(&path, &changed("a", "two")).unwrap();
    writer.write_checkpoint(1, &weights(1)).unwrap();
    drop(writer);
    let error = RunWriter::join(&path, &changed("b", "three")).unwrap_err();
    assert!(matches!(error, OpenError::Manifest(ManifestError::OtherTrajectory { .. })), "{error}");
    drop(RunWriter::join(&path, &changed("c", "two")).unwrap());
    let run = RunFolder::open(&path).unwrap();
    let Manifest { title, instruction_set, engine, .. } = run.manifest();
    assert_eq!((&**title, &**instruction_set, *engine), ("c", "", Some(4)), "the first bits are those of the run");
    run.read_checkpoint(1).unwrap();
}

#[test]
fn records_become_observables_and_what_is_missing_is_the_work_list() {
    let scratch = tempfile::tempdir().unwrap();
    let writer = RunWriter::join(scratch.path().join("run"), &manifest()).unwrap();
    let steps = [0, 10, 20, 30];
    for step in [0, 10] {
        writer.write_checkpoint(step, &weights(step)).unwrap();
    }
    let outside = scratch.path().join("made elsewhere.pt");
    fs_err::write(&outside, "x").unwrap();
    writer.write_imported(&[30, 20].map(|step| Imported::new(step, &outside).unwrap())).unwrap();
    writer.write_measures(&plan(&steps)).unwrap();
    assert_eq!(writer.folder().work_list().unwrap().len(), 4);

    let refused = Outcome::Refused { verdict: "diverged".to_owned(), reason: "R̂ 1.31".to_owned() };
    writer.put_record(&record(0, Outcome::Done, [4.0, f64::INFINITY])).unwrap();
    writer.put_record(&record(10, refused, [9.0, 9.0])).unwrap();
    writer.put_record(&record(20, Outcome::Done, [1.0, 2.0])).unwrap();
    writer.write_analysis(&Analysis::default()).unwrap();
    fs_err::write(record_file(writer.folder(), 20), "{").unwrap();

    let work = writer.folder().work_list().unwrap();
    let missing: Vec<(u64, bool)> =
        work.iter().map(|item| (item.step, item.reason == MissingReason::NoRecord)).collect();
    assert_eq!(missing, [(20, false), (30, true)]);

    let view = writer.folder().view().unwrap();
    assert_eq!(view.problems.len(), 1);
    assert_eq!((&*view.problems[0].measure, view.problems[0].step), ("loss", 20));
    let results = view.results;
    assert_eq!(results.checkpoints, steps);
    assert_eq!(results.run.configuration, "title = \"A run\"\n");
    let loss = &results.observables["loss"];
    assert_eq!(loss.dims, ["step", "split"]);
    assert_eq!(loss.components(), ["train", "test"]);
    assert_eq!(loss.coordinates["step"], steps.map(Coordinate::Number));
    let status = [
        Status::Done,
        Status::Refused { verdict: "diverged".to_owned(), reason: "R̂ 1.31".to_owned() },
        Status::Missing,
        Status::Missing,
    ];
    assert_eq!(loss.status, status);
    assert_eq!(loss.series(0), [(Some(4.0), Some(0.1)), (None, None), (None, None), (None, None)]);
    assert_eq!(loss.series(1)[0], (None, None), "neither infinity nor NaN is a value");
    assert_eq!(loss.details[1]["n"], Detail::Number(Some(10.0)), "a refused record keeps its details");
    let text = serde_json::to_string(&results).unwrap();
    assert_eq!(serde_json::from_str::<ontogeny_store::RunView>(&text).unwrap(), results);
}

#[test]
fn records_of_another_layout_are_a_problem_of_theirs_alone() {
    let scratch = tempfile::tempdir().unwrap();
    let writer = RunWriter::join(scratch.path().join("run"), &manifest()).unwrap();
    writer.write_measures(&plan(&[0, 1])).unwrap();
    writer.put_record(&record(0, Outcome::Done, [1.0, 2.0])).unwrap();
    let mut other = record(1, Outcome::Done, [1.0, 2.0]);
    for array in &mut other.arrays {
        array.dims = vec!["head".to_owned()];
        array.coordinates = BTreeMap::from([("head".to_owned(), index_labels(2))]);
    }
    writer.put_record(&other).unwrap();
    let view = writer.folder().view().unwrap();
    assert_eq!(view.results.observables["loss"].status, [Status::Done, Status::Missing]);
    assert!(view.problems[0].reason.to_string().contains("head"), "{}", view.problems[0].reason);
    writer.seal().unwrap();
}

#[test]
fn names_that_would_leave_the_folder_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let writer = RunWriter::join(scratch.path().join("run"), &manifest()).unwrap();
    let before = snapshot(scratch.path());
    for name in ["../x", "/tmp/x", "a/b", "..", "", "a\\b"] {
        let mut escaping = record(0, Outcome::Done, [1.0, 2.0]);
        escaping.measure = name.to_owned();
        let error = writer.put_record(&escaping).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        let plans = BTreeMap::from([(name.to_owned(), plan(&[0])["loss"].clone())]);
        writer.write_measures(&plans).unwrap_err();
        writer.folder().record(name, 0, &key(0)).unwrap_err();
    }
    assert_eq!(snapshot(scratch.path()), before);
}

#[test]
fn identical_runs_have_identical_bytes_but_for_events_and_workers() {
    let scratch = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let path = scratch.path().join(name);
        let writer = RunWriter::join(&path, &manifest()).unwrap();
        writer.write_checkpoint(0, &weights(0)).unwrap();
        writer.write_state(&State { step: 0, tensors: weights(0), counters: BTreeMap::new() }).unwrap();
        writer.write_measures(&plan(&[0])).unwrap();
        writer.put_record(&record(0, Outcome::Done, [1.0, 2.0])).unwrap();
        writer.write_analysis(&Analysis::default()).unwrap();
        writer.seal().unwrap();
        let files = snapshot(&path);
        let relative = files.into_iter().map(|(file, bytes)| (file.strip_prefix(&path).unwrap().to_owned(), bytes));
        relative.filter(|(file, _)| !file.starts_with("workers")).collect::<BTreeMap<_, _>>()
    };
    let first = make("first");
    assert!(first.len() > 10, "{:?}", first.keys());
    assert_eq!(first, make("second"));
}

#[test]
fn events_are_appended_over_sessions() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("run");
    let fields = |n: u64| serde_json::Map::from_iter([("step".to_owned(), n.into())]);
    RunWriter::join(&path, &manifest()).unwrap().event("started", fields(0)).unwrap();
    RunWriter::open(&path).unwrap().event("resumed", fields(5)).unwrap();
    let events = RunFolder::open(&path).unwrap().events().unwrap().events;
    let told: Vec<_> = events.iter().map(|e| (&*e.kind, e.fields["step"].as_u64().unwrap())).collect();
    assert_eq!(told, [("started", 0), ("resumed", 5)]);
}

#[cfg(unix)]
#[test]
fn a_read_only_run_is_read_without_a_trace_and_refused_to_writers() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("run");
    let writer = RunWriter::join(&path, &manifest()).unwrap();
    writer.write_checkpoint(0, &weights(0)).unwrap();
    writer.write_measures(&plan(&[0])).unwrap();
    writer.put_record(&record(0, Outcome::Done, [1.0, 2.0])).unwrap();
    drop(writer);
    let set = |mode: u32| {
        for at in [path.clone(), path.join("checkpoints"), path.join("records"), path.join("workers")] {
            fs_err::set_permissions(at, PermissionsExt::from_mode(mode)).unwrap();
        }
    };
    set(0o555);
    let before = snapshot(&path);
    let run = RunFolder::open(&path).unwrap();
    run.read_checkpoint(0).unwrap();
    assert_eq!(run.view().unwrap().results.observables["loss"].status, [Status::Done]);
    assert_eq!(snapshot(&path), before);
    // The superuser may write anywhere; only for others is there something to refuse.
    if fs_err::write(path.join("probe"), "").is_err() {
        let error = RunWriter::open(&path).unwrap_err();
        assert!(matches!(&error, OpenError::Io(_)), "{error:?}");
        assert!(error.to_string().contains("workers"), "{error}");
    }
    set(0o755);
}

#[test]
fn a_folder_that_cannot_be_written_to_is_named_and_the_run_stays_readable() {
    let scratch = tempfile::tempdir().unwrap();
    let writer = RunWriter::join(scratch.path().join("run"), &manifest()).unwrap();
    let run = writer.folder().path();
    // A file in place of a folder fails for everyone, the superuser included.
    fs_err::write(run.join("checkpoints"), "").unwrap();
    let error = writer.write_checkpoint(0, &weights(0)).unwrap_err();
    assert!(error.to_string().contains("checkpoints"), "{error}");
    fs_err::remove_file(run.join("checkpoints")).unwrap();
    assert_eq!(RunFolder::open(&run).unwrap().view().unwrap().results.checkpoints, [0_u64; 0]);
}

#[test]
fn a_loose_record_truncated_flipped_or_swapped_is_missing_with_a_reason_and_made_again() {
    let scratch = tempfile::tempdir().unwrap();
    let writer = RunWriter::join(scratch.path().join("run"), &manifest()).unwrap();
    let run = writer.folder();
    let [first, second] = [7, 8].map(|step| record(step, Outcome::Done, [1.0, 2.0]));
    let missing = || match run.record("loss", 7, &first.key).unwrap() {
        ontogeny_store::Lookup::Missing(reason) => reason.to_string(),
        ontogeny_store::Lookup::Found(found) => panic!("found {found:?}"),
    };
    assert_eq!(missing(), "no record yet");
    writer.put_record(&first).unwrap();
    writer.put_record(&second).unwrap();
    let file = record_file(run, 7);
    let bytes = fs_err::read(&file).unwrap();
    let flipped = String::from_utf8(bytes.clone()).unwrap().replace("2.0", "3.0").into_bytes();
    let swapped = fs_err::read(record_file(run, 8)).unwrap();
    for (damage, word) in [(&bytes[..bytes.len() / 2], "sealed JSON"), (&flipped, "hash"), (&swapped, "at step 8")] {
        fs_err::write(&file, damage).unwrap();
        assert!(missing().contains("damaged") && missing().contains(word), "{}", missing());
        writer.put_record(&first).unwrap();
        assert_eq!(fs_err::read(&file).unwrap(), bytes, "made again");
    }
}

#[test]
fn sealed_records_whose_arrays_are_damaged_are_missing_and_the_others_are_not() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("run");
    let writer = RunWriter::join(&path, &manifest()).unwrap();
    writer.write_measures(&plan(&[0, 1, 2])).unwrap();
    for step in [0, 1, 2] {
        writer.put_record(&record(step, Outcome::Done, [step as f64, 2.0])).unwrap();
    }
    writer.seal().unwrap();
    let shard = path.join("measurements.zarr/loss/value/c/0/0");
    let bytes = fs_err::read(&shard).unwrap();
    let mut n_noticed = 0;
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        fs_err::write(&shard, &flipped).unwrap();
        let view = RunFolder::open(&path).unwrap().view().unwrap();
        let loss = &view.results.observables["loss"];
        // Whatever is not noticed has the right values.
        for (step, (status, value)) in loss.status.iter().zip(loss.series(0)).enumerate() {
            assert!(*status == Status::Missing || value.0 == Some(step as f64), "byte {at}: {status:?} {value:?}");
        }
        let n_missing = loss.status.iter().filter(|status| **status == Status::Missing).count();
        assert_eq!(view.problems.len(), n_missing);
        n_noticed += usize::from(n_missing > 0);
    }
    assert!(n_noticed > bytes.len() / 2, "{n_noticed} of {}", bytes.len());

    // What is missing is made again, and stands from then on.
    fs_err::write(&shard, &bytes[..bytes.len() / 2]).unwrap();
    let writer = RunWriter::open(&path).unwrap();
    let work = writer.folder().work_list().unwrap();
    assert_eq!(work.len(), 3);
    assert!(work[0].reason.to_string().contains("loss/value"), "{}", work[0].reason);
    for step in [0, 1, 2] {
        writer.put_record(&record(step, Outcome::Done, [step as f64, 2.0])).unwrap();
    }
    writer.seal().unwrap();
    assert_eq!(RunFolder::open(&path).unwrap().work_list().unwrap(), []);
}

#[test]
fn a_damaged_index_costs_what_was_sealed_since_the_one_before_and_says_so() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("run");
    let writer = RunWriter::join(&path, &manifest()).unwrap();
    writer.write_measures(&plan(&[0, 1])).unwrap();
    for step in [0, 1] {
        writer.put_record(&record(step, Outcome::Done, [1.0, 2.0])).unwrap();
        writer.seal().unwrap();
    }
    let index = path.join("sealed/00000002.json");
    let bytes = fs_err::read(&index).unwrap();
    fs_err::write(&index, &bytes[..bytes.len() - 9]).unwrap();
    let view = RunFolder::open(&path).unwrap().view().unwrap();
    assert_eq!(view.results.observables["loss"].status, [Status::Done, Status::Missing]);
    assert!(view.problems[0].reason.to_string().contains("00000002.json"), "{:?}", view.problems);
    writer.put_record(&record(1, Outcome::Done, [1.0, 2.0])).unwrap();
    writer.seal().unwrap();
    assert_eq!(RunFolder::open(&path).unwrap().view().unwrap().problems, []);

    let newer = String::from_utf8(bytes).unwrap().replacen("\"format_version\":16", "\"format_version\":17", 1);
    fs_err::write(path.join("sealed/00000009.json"), newer).unwrap();
    let error = RunFolder::open(&path).unwrap().view().unwrap_err().to_string();
    assert!(error.contains("00000009.json") && error.contains("format version 17"), "{error}");
}

#[test]
fn an_index_that_lies_under_its_own_hash_costs_its_records_and_leads_nowhere_else() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("run");
    let writer = RunWriter::join(&path, &manifest()).unwrap();
    writer.write_measures(&plan(&[0])).unwrap();
    writer.put_record(&record(0, Outcome::Done, [1.0, 2.0])).unwrap();
    writer.seal().unwrap();
    let index = path.join("sealed/00000001.json");
    let whole = fs_err::read_to_string(&index).unwrap();
    for (honest, lie, says) in [
        ("\"tree\":\"trees/", "\"tree\":\"/trees/", "which no sealing made"),
        ("\"tree\":\"trees/", "\"tree\":\"trees/../../", "which no sealing made"),
        ("\"files\":{", "\"files\":{\"../../run.toml\":\"00\",", "file `../../run.toml`"),
        ("[\"train\",\"test\"]", "[\"train\",\"train\"]", "a label twice"),
        ("\"labels\":[0]", "\"labels\":[7]", "without its labels"),
        ("\"labels\":[0]", "\"labels\":[]", "without its labels"),
        (
            "\"dims\":[\"split\"],\"labels\":[0]",
            "\"dims\":[\"split\",\"split\"],\"labels\":[0,0]",
            "repeated dimension",
        ),
        ("\"name\":\"value\"", "\"name\":\"../value\"", "which no sealing made"),
        ("\"name\":\"value\"", "\"name\":\"standard_error\"", "loss/standard_error"),
        ("\"dims\":[\"split\"]", "\"dims\":[\"step\"]", "which no sealing made"),
        ("\"blake3\":", "\"hidden\":[1.0,2.0,3.0],\"blake3\":", "other values than labels"),
        ("\"key\":\"", "\"key\":\"é", "hexadecimal"),
    ] {
        let content = whole.split_once("\"content\":").unwrap().1.strip_suffix("}\n").unwrap();
        let lying = content.replacen(honest, lie, 1);
        assert_ne!(lying, content, "{honest}");
        fs_err::write(&index, resealed(&lying)).unwrap();
        let view = RunFolder::open(&path).unwrap().view().unwrap();
        assert_eq!(view.results.observables["loss"].status, [Status::Missing], "{lie}");
        let problems: Vec<String> = view.problems.iter().map(ToString::to_string).collect();
        assert!(problems.iter().any(|problem| problem.contains(says)), "{lie}: {problems:?}");
    }
    let plan = path.join("measures.json");
    let content = r#"{"loss":{"kind":"loss","unit":"1","description":"","steps":{"5":"éééééééééééééééé"}}}"#;
    fs_err::write(&plan, resealed(content)).unwrap();
    let error = RunFolder::open(&path).unwrap().view().unwrap_err().to_string();
    assert!(error.contains("measures.json") && error.contains("hexadecimal"), "{error}");
}

/// Sealed JSON of any content.
fn resealed(content: &str) -> String {
    let hash = blake3::hash(content.as_bytes()).to_hex();
    format!("{{\"format_version\":{FORMAT_VERSION},\"blake3\":\"{hash}\",\"content\":{content}}}\n")
}

#[test]
fn many_labels_over_no_values_take_no_memory() {
    let scratch = tempfile::tempdir().unwrap();
    let writer = RunWriter::join(scratch.path().join("run"), &manifest()).unwrap();
    writer.write_measures(&plan(&[0])).unwrap();
    let mut empty = record(0, Outcome::Done, [1.0, 2.0]);
    let labels = [("a", 1 << 13), ("b", 1 << 13), ("c", 1 << 13), ("z", 0)];
    for array in &mut empty.arrays {
        array.dims = labels.map(|(dim, _)| dim.to_owned()).to_vec();
        array.coordinates = labels.map(|(dim, n)| (dim.to_owned(), index_labels(n))).into();
        array.values = Vec::new();
    }
    writer.put_record(&empty).unwrap();
    let seen = writer.folder().view().unwrap().results;
    assert_eq!(seen.observables["loss"].values.shape, [1, 1 << 13, 1 << 13, 1 << 13, 0]);
    writer.seal().unwrap();
    assert_eq!(RunFolder::open(scratch.path().join("run")).unwrap().view().unwrap().results, seen);
}

#[test]
fn a_record_of_unknown_settings_costs_those_of_others_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let writer = RunWriter::join(scratch.path().join("run"), &manifest()).unwrap();
    let (wanted, other) =
        (record(1, Outcome::Done, [1.0, 2.0]), Record { key: key(7), ..record(1, Outcome::Done, [3.0, 4.0]) });
    writer.put_record(&wanted).unwrap();
    writer.put_record(&other).unwrap();
    // As a worker writes it that did not see the checkpoint yet.
    let mut early = plan(&[1]);
    early.get_mut("loss").unwrap().steps.insert(1, None);
    writer.write_measures(&early).unwrap();
    writer.seal().unwrap();
    writer.write_measures(&plan(&[1])).unwrap();
    assert_eq!(writer.folder().work_list().unwrap(), []);
    writer.seal().unwrap();
    assert_eq!(writer.folder().record("loss", 1, &key(1)).unwrap().into_record(), Some(wanted));
    assert_eq!(fs_err::read_dir(writer.folder().path().join("records/loss")).unwrap().count(), 0);
}

#[cfg(unix)]
#[test]
fn a_record_that_leads_nowhere_is_missing_and_nobody_waits_for_it() {
    let scratch = tempfile::tempdir().unwrap();
    let writer = RunWriter::join(scratch.path().join("run"), &manifest()).unwrap();
    writer.write_measures(&plan(&[1])).unwrap();
    writer.put_record(&record(1, Outcome::Done, [1.0, 2.0])).unwrap();
    let file = record_file(writer.folder(), 1);
    fs_err::remove_file(&file).unwrap();
    fs_err::os::unix::fs::symlink("not copied along", &file).unwrap();
    let work = writer.folder().work_list().unwrap();
    assert_eq!(work.iter().map(|item| &item.reason).collect::<Vec<_>>(), [&MissingReason::NoRecord]);
    writer.seal().unwrap();
    writer.put_record(&record(1, Outcome::Done, [1.0, 2.0])).unwrap();
    assert_eq!(writer.folder().work_list().unwrap(), []);
}

#[test]
fn of_two_configurations_that_come_at_once_one_at_most_gets_in() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("run");
    let other = Manifest { configuration: "title = \"Another\"\n".parse().unwrap(), ..manifest() };
    for round in 0..100 {
        let barrier = std::sync::Barrier::new(2);
        let joined: Vec<_> = std::thread::scope(|scope| {
            let join = |manifest: Manifest| {
                let (barrier, path) = (&barrier, &path);
                scope.spawn(move || {
                    barrier.wait();
                    RunWriter::join(path, &manifest)
                })
            };
            [join(manifest()), join(other.clone())].map(|thread| thread.join().unwrap()).into()
        });
        let n_in = joined.iter().filter(|joined| joined.is_ok()).count();
        assert!(n_in < 2, "round {round}");
        if let Some(writer) = joined.iter().flatten().next() {
            let on_disk = RunFolder::open(&path).unwrap().manifest().configuration.clone();
            assert_eq!(on_disk, writer.folder().manifest().configuration, "round {round}");
        }
        for error in joined.iter().filter_map(|joined| joined.as_ref().err()) {
            assert!(matches!(error, OpenError::OtherConfiguration { .. }), "{error}");
        }
    }
}

#[test]
fn a_newer_record_is_neither_read_nor_replaced() {
    let scratch = tempfile::tempdir().unwrap();
    let writer = RunWriter::join(scratch.path().join("run"), &manifest()).unwrap();
    let record = record(7, Outcome::Done, [1.0, 2.0]);
    writer.put_record(&record).unwrap();
    let file = record_file(writer.folder(), 7);
    let newer = fs_err::read_to_string(&file).unwrap().replacen("\"format_version\":16", "\"format_version\":17", 1);
    fs_err::write(&file, &newer).unwrap();
    let error = writer.put_record(&record).unwrap_err();
    assert!(matches!(error, ontogeny_store::RecordError::NewerFormat { found: 17, .. }), "{error}");
    assert_eq!(fs_err::read_to_string(&file).unwrap(), newer);
}

#[test]
fn a_run_of_format_1_is_read_and_becomes_one_of_today_when_a_worker_joins() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("run");
    // Format 1 as it was: the same files, under other names, and arrays that were only a copy of the records.
    let writer = RunWriter::join(&path, &manifest()).unwrap();
    writer.write_checkpoint(0, &weights(0)).unwrap();
    writer.write_state(&State { step: 0, tensors: weights(0), counters: BTreeMap::new() }).unwrap();
    writer.write_measures(&plan(&[0, 1])).unwrap();
    for step in [0, 1] {
        writer.put_record(&record(step, Outcome::Done, [step as f64, 2.0])).unwrap();
        fs_err::rename(record_file(writer.folder(), step), path.join(format!("records/loss/step-{step:08}.json")))
            .unwrap();
    }
    drop(writer);
    let in_checkpoints = |name: &str| path.join("checkpoints").join(name);
    fs_err::rename(in_checkpoints("state-step-00000000.safetensors"), in_checkpoints("state-newest.safetensors"))
        .unwrap();
    fs_err::create_dir_all(path.join("measurements.zarr/loss")).unwrap();
    let text = fs_err::read_to_string(path.join("run.toml")).unwrap();
    let body = text.lines().skip(2).collect::<Vec<_>>().join("\n") + "\n";
    let body =
        body.replace(&format!("format_version = {FORMAT_VERSION}"), "format_version = 1").replace("engine = 4\n", "");
    let head = text.lines().next().unwrap();
    let hash = blake3::hash(body.as_bytes());
    fs_err::write(path.join("run.toml"), format!("{head}\nblake3 = \"{hash}\"\n{body}")).unwrap();
    for file in ["records/loss/step-00000000.json", "records/loss/step-00000001.json", "measures.json"] {
        let file = path.join(file);
        let text = fs_err::read_to_string(&file).unwrap();
        fs_err::write(&file, text.replacen(&format!("\"format_version\":{FORMAT_VERSION}"), "\"format_version\":1", 1))
            .unwrap();
    }

    let before = snapshot(&path);
    assert_eq!(RunFolder::open(&path).unwrap().manifest().engine, None);
    let view = RunFolder::open(&path).unwrap().view().unwrap();
    assert_eq!(view.results.observables["loss"].status, [Status::Done, Status::Done]);
    assert_eq!(snapshot(&path), before, "reading changes nothing");

    let writer = RunWriter::open(&path).unwrap();
    assert!(
        fs_err::read_to_string(path.join("run.toml")).unwrap().contains(&format!("format_version = {FORMAT_VERSION}"))
    );
    assert_eq!(writer.folder().read_state().unwrap().unwrap().tensors, weights(0));
    writer.write_state(&State { step: 1, tensors: weights(1), counters: BTreeMap::new() }).unwrap();
    assert!(!in_checkpoints("state-newest.safetensors").exists());
    writer.seal().unwrap();
    assert_eq!(RunFolder::open(&path).unwrap().view().unwrap(), view);
    assert_eq!(fs_err::read_dir(path.join("records/loss")).unwrap().count(), 0);
    assert!(path.join("measurements.zarr/loss/value/zarr.json").exists());
}

#[test]
fn a_hundred_thousand_checkpoints_are_listed_by_their_names_alone() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("run");
    let writer = RunWriter::join(&path, &manifest()).unwrap();
    fs_err::create_dir_all(path.join("checkpoints")).unwrap();
    let n = 100_000;
    for step in 0..n {
        // Empty files: listing must not look into them.
        fs_err::File::create(path.join(format!("checkpoints/step-{:08}.safetensors", step * 7))).unwrap();
    }
    let steps = writer.folder().checkpoint_steps().unwrap();
    assert_eq!((steps.len() as u64, steps[1], steps[99_999]), (n, 7, 699_993));
}
