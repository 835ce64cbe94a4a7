//! Run folders from outside: creating, opening, locking, resuming, reading together, and every kind of bad folder.
#![expect(clippy::unwrap_used, reason = "clippy spares only the test functions, not their helpers")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ontogeny_store::{
    Analysis, CheckpointError, Coordinate, CreateError, Detail, Imported, KeyParts, LockError, Manifest, ManifestError,
    MeasurePlan, MissingReason, OpenError, Outcome, Record, RecordArray, RecordKey, RunFolder, RunWriter, State,
    Status, Tensor, Written, hash_tensors,
};

fn manifest() -> Manifest {
    Manifest {
        title: "A run".to_owned(),
        version: "0.1.0".to_owned(),
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
fn a_run_is_written_and_read_under_a_path_with_spaces_and_unicode() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("läuft gut/run “1” λ̂");
    let writer = RunWriter::create(&path, &manifest()).unwrap();
    for step in [100, 0, 20] {
        assert_eq!(writer.write_checkpoint(step, &weights(step)).unwrap(), Written::Created);
        let counters = BTreeMap::from([("epoch".to_owned(), step)]);
        writer.write_state(&State { step, tensors: weights(step), counters }).unwrap();
    }
    let run = RunFolder::open(&path).unwrap();
    assert_eq!(run.manifest(), &manifest());
    assert_eq!(run.checkpoint_steps().unwrap(), [0, 20, 100]);
    let checkpoint = run.read_checkpoint(20).unwrap();
    assert_eq!((checkpoint.tensors, checkpoint.hash), (weights(20), hash_tensors(&weights(20))));
    let header = run.checkpoint_header(20).unwrap();
    assert_eq!(header.tensors, [("w".to_owned(), vec![2, 2]), ("b".to_owned(), vec![])]);
    let state = run.read_state().unwrap().unwrap();
    assert_eq!((state.step, state.counters["epoch"], state.tensors), (20, 20, weights(20)));
    assert!(matches!(run.read_checkpoint(50), Err(CheckpointError::Missing { .. })));
}

#[test]
fn a_second_writer_is_refused_and_readers_are_not() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("run");
    let writer = RunWriter::create(&path, &manifest()).unwrap();
    let refusal = RunWriter::open(&path).unwrap_err();
    let OpenError::Lock(LockError::Held { holder: Some(holder), .. }) = &refusal else { panic!("{refusal:?}") };
    assert_eq!(holder.pid, std::process::id());
    assert!(refusal.to_string().contains(&holder.pid.to_string()));
    RunFolder::open(&path).unwrap().view().unwrap();
    drop(writer);
    RunWriter::open(&path).unwrap();
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
        matches!(RunWriter::create(&other, &manifest()), Err(CreateError::NotEmpty { found, .. }) if found == "thesis.tex")
    );
    assert_eq!(snapshot(scratch.path()), before);

    let run = scratch.path().join("run");
    drop(RunWriter::create(&run, &manifest()).unwrap());
    assert!(matches!(RunWriter::create(&run, &manifest()), Err(CreateError::Exists { .. })));
}

#[test]
fn a_run_killed_in_its_creation_can_be_created_again() {
    let scratch = tempfile::tempdir().unwrap();
    fs_err::write(scratch.path().join("lock"), "").unwrap();
    fs_err::write(scratch.path().join(".ontogeny-tmp-abc"), "format_ver").unwrap();
    RunWriter::create(scratch.path(), &manifest()).unwrap();
    assert!(!scratch.path().join(".ontogeny-tmp-abc").exists());
}

#[test]
fn a_newer_run_is_refused_before_anything_is_written() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("run");
    drop(RunWriter::create(&path, &manifest()).unwrap());
    let file = path.join("run.toml");
    let text = fs_err::read_to_string(&file).unwrap();
    fs_err::write(&file, text.replace("format_version = 1", "format_version = 2")).unwrap();
    let before = snapshot(&path);
    assert!(matches!(RunFolder::open(&path), Err(ManifestError::NewerFormat { found: 2, .. })));
    assert!(matches!(RunWriter::open(&path), Err(OpenError::Manifest(ManifestError::NewerFormat { .. }))));
    assert_eq!(snapshot(&path), before);
}

#[test]
fn swapped_checkpoints_are_recognised_by_step_run_and_kind() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("run");
    let writer = RunWriter::create(&path, &manifest()).unwrap();
    writer.write_checkpoint(1, &weights(1)).unwrap();
    writer.write_state(&State { step: 1, tensors: weights(1), counters: BTreeMap::new() }).unwrap();
    let other_path = scratch.path().join("other");
    let other = RunWriter::create(&other_path, &Manifest { trajectory: "two".to_owned(), ..manifest() }).unwrap();
    other.write_checkpoint(4, &weights(1)).unwrap();
    other.write_state(&State { step: 4, tensors: weights(1), counters: BTreeMap::new() }).unwrap();

    let file = |folder: &Path, name: &str| folder.join("checkpoints").join(format!("{name}.safetensors"));
    fs_err::copy(file(&path, "step-00000001"), file(&path, "step-00000002")).unwrap();
    fs_err::copy(file(&path, "state-newest"), file(&path, "step-00000003")).unwrap();
    fs_err::copy(file(&other_path, "step-00000004"), file(&path, "step-00000004")).unwrap();
    let run = writer.folder();
    assert!(matches!(run.read_checkpoint(2), Err(CheckpointError::OtherStep { found: 1, expected: 2, .. })));
    assert!(matches!(run.read_checkpoint(3), Err(CheckpointError::Damaged { .. })));
    assert!(matches!(run.read_checkpoint(4), Err(CheckpointError::OtherTrajectory { .. })));
    run.read_checkpoint(1).unwrap();
    fs_err::copy(file(&other_path, "state-newest"), file(&path, "state-newest")).unwrap();
    assert!(matches!(run.read_state(), Err(CheckpointError::OtherTrajectory { .. })));
}

#[test]
fn a_checkpoint_is_created_verified_repaired_or_defended() {
    let scratch = tempfile::tempdir().unwrap();
    let writer = RunWriter::create(scratch.path().join("run"), &manifest()).unwrap();
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
    let mut writer = RunWriter::create(&path, &manifest()).unwrap();
    let changed = |title: &str, trajectory: &str| Manifest {
        title: title.to_owned(),
        trajectory: trajectory.to_owned(),
        ..manifest()
    };
    writer.update_manifest(changed("a", "two")).unwrap();
    writer.write_checkpoint(1, &weights(1)).unwrap();
    let error = writer.update_manifest(changed("b", "three")).unwrap_err();
    assert!(matches!(error, ManifestError::OtherTrajectory { .. }), "{error}");
    writer.update_manifest(changed("c", "two")).unwrap();
    assert_eq!(RunFolder::open(&path).unwrap().manifest().title, "c");
    writer.folder().read_checkpoint(1).unwrap();
}

#[test]
fn records_become_observables_and_what_is_missing_is_the_work_list() {
    let scratch = tempfile::tempdir().unwrap();
    let writer = RunWriter::create(scratch.path().join("run"), &manifest()).unwrap();
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
    let stale = writer.folder().path().join("records/loss/step-00000020.json");
    fs_err::write(&stale, "{").unwrap();

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
    let writer = RunWriter::create(scratch.path().join("run"), &manifest()).unwrap();
    writer.write_measures(&plan(&[0, 1])).unwrap();
    writer.put_record(&record(0, Outcome::Done, [1.0, 2.0])).unwrap();
    let mut other = record(1, Outcome::Done, [1.0, 2.0]);
    for array in &mut other.arrays {
        array.dims = vec!["head".to_owned()];
        array.coordinates = BTreeMap::from([("head".to_owned(), ontogeny_store::index_labels(2))]);
    }
    writer.put_record(&other).unwrap();
    let view = writer.folder().view().unwrap();
    assert_eq!(view.results.observables["loss"].status, [Status::Done, Status::Missing]);
    assert!(view.problems[0].reason.to_string().contains("head"), "{}", view.problems[0].reason);
    writer.write_zarr().unwrap();
}

#[test]
fn names_that_would_leave_the_folder_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let writer = RunWriter::create(scratch.path().join("run"), &manifest()).unwrap();
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
fn identical_runs_have_identical_bytes_but_for_events_and_lock() {
    let scratch = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let path = scratch.path().join(name);
        let writer = RunWriter::create(&path, &manifest()).unwrap();
        writer.write_checkpoint(0, &weights(0)).unwrap();
        writer.write_state(&State { step: 0, tensors: weights(0), counters: BTreeMap::new() }).unwrap();
        writer.write_measures(&plan(&[0])).unwrap();
        writer.put_record(&record(0, Outcome::Done, [1.0, 2.0])).unwrap();
        writer.write_analysis(&Analysis::default()).unwrap();
        writer.write_zarr().unwrap();
        let files = snapshot(&path);
        let relative = files.into_iter().map(|(file, bytes)| (file.strip_prefix(&path).unwrap().to_owned(), bytes));
        relative.filter(|(file, _)| file != Path::new("lock")).collect::<BTreeMap<_, _>>()
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
    RunWriter::create(&path, &manifest()).unwrap().event("started", fields(0)).unwrap();
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
    let writer = RunWriter::create(&path, &manifest()).unwrap();
    writer.write_checkpoint(0, &weights(0)).unwrap();
    writer.write_measures(&plan(&[0])).unwrap();
    writer.put_record(&record(0, Outcome::Done, [1.0, 2.0])).unwrap();
    drop(writer);
    let set = |mode: u32| {
        for at in [path.clone(), path.join("checkpoints"), path.join("records"), path.join("lock")] {
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
        assert!(matches!(&error, OpenError::Lock(LockError::Io(_))), "{error:?}");
        assert!(error.to_string().contains("lock"), "{error}");
    }
    set(0o755);
}

#[test]
fn a_folder_that_cannot_be_written_to_is_named_and_the_run_stays_readable() {
    let scratch = tempfile::tempdir().unwrap();
    let writer = RunWriter::create(scratch.path().join("run"), &manifest()).unwrap();
    let run = writer.folder().path().to_owned();
    // A file in place of a folder fails for everyone, the superuser included.
    fs_err::remove_dir(run.join("checkpoints")).unwrap();
    fs_err::write(run.join("checkpoints"), "").unwrap();
    let error = writer.write_checkpoint(0, &weights(0)).unwrap_err();
    assert!(error.to_string().contains("checkpoints"), "{error}");
    fs_err::remove_file(run.join("checkpoints")).unwrap();
    assert_eq!(RunFolder::open(&run).unwrap().view().unwrap().results.checkpoints, [0_u64; 0]);
}
