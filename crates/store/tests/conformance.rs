//! One suite for every kind of place: a local folder, an object store in memory, and a server that speaks S3.
#![expect(clippy::unwrap_used, reason = "clippy spares only the test functions, not their helpers")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use ontogeny_store::{
    Analysis, Coordinate, Detail, KeyParts, Lookup, Manifest, MeasurePlan, MissingReason, NumberType, OpenError,
    Outcome, Place, Record, RecordArray, RecordError, RecordKey, RunFolder, RunWriter, State, Status, Tensor, Written,
    index_labels,
};

/// Runs the whole suite; `place` gives a new empty place each time.
fn suite(place: impl Fn() -> Place) {
    checkpoints_and_states_are_created_once(&place());
    sealed_and_loose_records_are_read_as_one(&place());
    every_number_and_label_survives_sealing(&place());
    a_claim_is_held_by_one_and_succeeded_with_the_next_attempt(&place());
    workers_share_the_work_and_nothing_is_done_twice(&place());
    another_configuration_is_refused_while_others_work(&place());
    a_result_that_does_not_repeat_is_an_error_and_the_first_stays(&place());
    a_changed_algorithm_makes_only_its_records_missing(&place());
    readers_see_everything_while_records_are_sealed(&place());
    what_happened_is_told_by_all_workers(&place());
}

#[test]
fn local_folder() {
    let scratch = tempfile::tempdir().unwrap();
    let n = Mutex::new(0);
    suite(|| {
        let mut n = n.lock().unwrap();
        *n += 1;
        Place::local(scratch.path().join(format!("läuft/run {n}")))
    });
}

#[cfg(feature = "s3")]
#[test]
fn object_store_in_memory() {
    suite(|| Place::memory(std::time::Duration::from_millis(50)).unwrap());
}

#[cfg(feature = "s3")]
mod server {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::path::PathBuf;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    /// Names the bucket to the child process, which alone has the variables of the server.
    const BUCKET: &str = "ONTOGENY_TEST_BUCKET";

    struct Server(Child);

    impl Drop for Server {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn server_that_speaks_s3() {
        let program = std::env::var_os("ONTOGENY_MOTO").unwrap_or_else(|| "moto_server".into());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let spawned = Command::new(&program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let _server = match spawned {
            Ok(child) => Server(child),
            Err(error) => {
                println!(
                    "skipped: `{}` cannot be started: {error}; `pip install moto[server]`, or set ONTOGENY_MOTO to it",
                    PathBuf::from(program).display()
                );
                return;
            }
        };
        let deadline = Instant::now() + Duration::from_mins(1);
        while make_bucket(port).is_err() {
            assert!(Instant::now() < deadline, "the server does not answer");
            std::thread::sleep(Duration::from_millis(100));
        }
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "server::suite_on_a_bucket", "--nocapture"])
            .env(BUCKET, "runs")
            .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}"))
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_REGION", "us-east-1")
            .output()
            .unwrap();
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    }

    fn make_bucket(port: u16) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        write!(stream, "PUT /runs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        Ok(())
    }

    /// Not a test of its own: what the test above runs beside its server.
    #[test]
    fn suite_on_a_bucket() {
        let Ok(bucket) = std::env::var(BUCKET) else { return };
        let n = Mutex::new(0);
        suite(|| {
            let mut n = n.lock().unwrap();
            *n += 1;
            Place::s3(&format!("s3://{bucket}/some prefix/run {n}")).unwrap()
        });
    }
}

fn manifest() -> Manifest {
    let configuration = "title = \"A run\"\n".parse().unwrap();
    Manifest { title: "A run".to_owned(), trajectory: "one".to_owned(), configuration, ..Manifest::default() }
}

fn weights(step: u64) -> Vec<Tensor> {
    vec![Tensor::new("w", vec![2, 2], vec![step as f32, 0.5, -0.0, 1e-40]), Tensor::new("b", vec![], vec![1.0])]
}

fn key(measure: &str, step: u64, algorithm_version: u32) -> RecordKey {
    let parts =
        KeyParts { tensors: &step.to_string(), data: "", configuration: "", observable: measure, algorithm_version };
    RecordKey::new(&parts)
}

fn record(measure: &str, step: u64, value: f64) -> Record {
    let labels = ["train", "test"].map(|split| Coordinate::Text(split.to_owned())).to_vec();
    Record {
        key: key(measure, step, 1),
        measure: measure.to_owned(),
        kind: measure.to_owned(),
        algorithm_version: 1,
        step,
        outcome: Outcome::Done,
        arrays: vec![RecordArray {
            name: "value".to_owned(),
            unit: "nats".to_owned(),
            dims: vec!["split".to_owned()],
            coordinates: BTreeMap::from([("split".to_owned(), labels)]),
            number: NumberType::Float64,
            values: vec![value, -value],
        }],
        details: BTreeMap::from([("n".to_owned(), Detail::Number(Some(step as f64)))]),
    }
}

fn plans(measures: &[&str], steps: &[u64], algorithm_version: u32) -> BTreeMap<String, MeasurePlan> {
    let plan = |measure: &str| MeasurePlan {
        kind: measure.to_owned(),
        unit: "nats".to_owned(),
        description: "Made up.".to_owned(),
        steps: steps.iter().map(|&step| (step, Some(key(measure, step, algorithm_version)))).collect(),
    };
    measures.iter().map(|&measure| (measure.to_owned(), plan(measure))).collect()
}

fn found(folder: &RunFolder, record: &Record) -> Option<Record> {
    folder.record(&record.measure, record.step, &record.key).unwrap().into_record()
}

fn checkpoints_and_states_are_created_once(place: &Place) {
    let writer = RunWriter::join(place, &manifest()).unwrap();
    for step in [100, 0, 20] {
        assert_eq!(writer.write_checkpoint(step, &weights(step)).unwrap(), Written::Created);
        assert_eq!(writer.write_checkpoint(step, &weights(step)).unwrap(), Written::Verified);
        writer.write_checkpoint(step, &weights(step + 1)).unwrap_err();
    }
    assert_eq!(writer.folder().read_state().unwrap(), None);
    for step in [0, 20, 20] {
        let counters = BTreeMap::from([("epoch".to_owned(), step)]);
        writer.write_state(&State { step, tensors: weights(step), counters }).unwrap();
    }
    let run = RunFolder::open(place).unwrap();
    assert_eq!(run.manifest(), &manifest());
    assert_eq!(run.checkpoint_steps().unwrap(), [0, 20, 100]);
    assert_eq!(run.read_checkpoint(20).unwrap().tensors, weights(20));
    assert_eq!(run.checkpoint_header(20).unwrap().tensors, [("w".to_owned(), vec![2, 2]), ("b".to_owned(), vec![])]);
    let state = run.read_state().unwrap().unwrap();
    assert_eq!((state.step, state.counters["epoch"], state.tensors), (20, 20, weights(20)));
}

fn sealed_and_loose_records_are_read_as_one(place: &Place) {
    let writer = RunWriter::join(place, &manifest()).unwrap();
    writer.write_measures(&plans(&["loss", "norm"], &[0, 10, 20], 1)).unwrap();
    for step in [10, 0] {
        writer.put_record(&record("loss", step, step as f64)).unwrap();
    }
    let before = writer.folder().view().unwrap();
    assert_eq!(writer.folder().measurements().unwrap(), None);
    writer.seal().unwrap();
    let tree = writer.folder().measurements().unwrap().unwrap();
    assert_eq!(writer.folder().view().unwrap(), before, "sealing changes nothing that is read");
    writer.seal().unwrap();
    assert_eq!(writer.folder().measurements().unwrap().unwrap(), tree, "nothing new, nothing made");

    // Later steps are appended; what is loose and what is sealed is read as one, and sealed as one.
    writer.write_measures(&plans(&["loss", "norm"], &[0, 10, 20, 30], 1)).unwrap();
    writer.put_record(&record("loss", 30, 3.0)).unwrap();
    writer.put_record(&record("norm", 10, 1.0)).unwrap();
    let union = RunFolder::open(place).unwrap().view().unwrap();
    let status = |measure: &str| union.results.observables[measure].status.clone();
    assert_eq!(status("loss"), [Status::Done, Status::Done, Status::Missing, Status::Done]);
    assert_eq!(status("norm"), [Status::Missing, Status::Done, Status::Missing, Status::Missing]);
    let values: Vec<_> = union.results.observables["loss"].series(0).into_iter().map(|(value, _)| value).collect();
    assert_eq!(values, [Some(0.0), Some(10.0), None, Some(3.0)]);
    for _ in 0..3 {
        writer.seal().unwrap();
        assert_eq!(RunFolder::open(place).unwrap().view().unwrap(), union);
    }
    assert_eq!(writer.folder().work_list().unwrap().len(), 1 + 3);

    // A measurement that is no longer planned is kept, and there when it is planned again.
    writer.write_measures(&plans(&["norm"], &[0, 10, 20, 30], 1)).unwrap();
    writer.put_record(&record("norm", 20, 1.0)).unwrap();
    writer.seal().unwrap();
    assert_eq!(writer.folder().view().unwrap().results.observables.len(), 1);
    assert_eq!(found(writer.folder(), &record("loss", 30, 3.0)), Some(record("loss", 30, 3.0)));
}

fn every_number_and_label_survives_sealing(place: &Place) {
    let writer = RunWriter::join(place, &manifest()).unwrap();
    writer.write_measures(&plans(&["llc"], &[0, 1, 2], 1)).unwrap();
    let hard = [-0.0, 5e-324, f64::MAX, 1.0 / 3.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 9.202e-9];
    let records: Vec<Record> = (0..3)
        .map(|step| {
            let mut record = record("llc", step, hard[step as usize]);
            // Each record has other labels, and in another order.
            let mut draws = index_labels(4);
            draws.rotate_left(step as usize);
            draws.truncate(4 - step as usize);
            let n = 2 * draws.len();
            record.arrays.push(RecordArray {
                name: "trace".to_owned(),
                unit: "1".to_owned(),
                dims: vec!["chain λ".to_owned(), "draw".to_owned()],
                coordinates: BTreeMap::from([
                    (
                        "chain λ".to_owned(),
                        vec![Coordinate::Text(format!("c{step}")), Coordinate::Text("c".to_owned())],
                    ),
                    ("draw".to_owned(), draws),
                ]),
                number: NumberType::Float64,
                values: (0..n).map(|i| hard[(i + step as usize) % hard.len()]).collect(),
            });
            record.details.insert("verdict".to_owned(), Detail::Text(format!("„ok“ {step}")));
            record.details.insert("r_hat".to_owned(), Detail::Number((step > 0).then_some(1.01)));
            if step == 1 {
                // The values of a refused estimate are kept, but are nobody's to see.
                record.outcome = Outcome::Refused { verdict: "diverged".to_owned(), reason: "R̂ 1.31".to_owned() };
            }
            record
        })
        .collect();
    for record in &records {
        writer.put_record(record).unwrap();
    }
    let before = writer.folder().view().unwrap();
    for _ in 0..2 {
        writer.seal().unwrap();
        for record in &records {
            assert_eq!(found(writer.folder(), record).as_ref(), Some(record));
        }
        assert_eq!(RunFolder::open(place).unwrap().view().unwrap(), before);
        // A step more, and the arrays are made anew.
        writer.write_measures(&plans(&["llc"], &[0, 1, 2, 3], 1)).unwrap();
        writer.put_record(&record("llc", 3, 1.0)).unwrap();
        writer.write_measures(&plans(&["llc"], &[0, 1, 2], 1)).unwrap();
    }
}

fn a_claim_is_held_by_one_and_succeeded_with_the_next_attempt(place: &Place) {
    let first = RunWriter::join(place, &manifest()).unwrap();
    let second = RunWriter::join(place, &manifest()).unwrap();
    assert_eq!(second.others().unwrap().len(), 1);
    let claim = first.claim("llc.step-00000001").unwrap().unwrap();
    assert_eq!((claim.attempt(), claim.previous()), (1, None));
    assert!(second.claim("llc.step-00000001").unwrap().is_none());
    assert!(first.claim("llc.step-00000001").unwrap().is_none(), "nor twice by the same worker");
    assert!(second.claim("llc.step-00000002").unwrap().is_some());
    drop(claim);
    let claim = second.claim("llc.step-00000001").unwrap().unwrap();
    assert_eq!(claim.attempt(), 1, "released, not died over");
    drop(claim);

    // A worker that goes without releasing what it holds.
    std::mem::forget(first.claim("llc.step-00000001").unwrap().unwrap());
    assert!(second.claim("llc.step-00000001").unwrap().is_none());
    let died = second.others().unwrap().remove(0);
    drop(first);
    let claim = second.claim("llc.step-00000001").unwrap().unwrap();
    assert_eq!((claim.attempt(), claim.previous()), (2, Some(&died)));
    let third = RunWriter::join(place, &manifest()).unwrap();
    assert!(third.claim("llc.step-00000001").unwrap().is_none(), "the second attempt is held");
    std::mem::forget(claim);
    drop(second);
    assert_eq!(third.claim("llc.step-00000001").unwrap().unwrap().attempt(), 3);
    third.remove_old_leases().unwrap();
    assert_eq!(third.claim("llc.step-00000001").unwrap().unwrap().attempt(), 1);
}

fn workers_share_the_work_and_nothing_is_done_twice(place: &Place) {
    let steps: Vec<u64> = (0..24).collect();
    RunWriter::join(place, &manifest()).unwrap().write_measures(&plans(&["loss"], &steps, 1)).unwrap();
    let made = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let worker = RunWriter::join(place, &manifest()).unwrap();
                for &step in &steps {
                    let Some(_claim) = worker.claim(&format!("loss.step-{step:08}")).unwrap() else { continue };
                    let record = record("loss", step, 1.0);
                    if found(worker.folder(), &record).is_none() {
                        made.lock().unwrap().push(step);
                        worker.put_record(&record).unwrap();
                    }
                }
            });
        }
    });
    let mut made = made.into_inner().unwrap();
    made.sort_unstable();
    assert_eq!(made, steps);
    assert_eq!(RunFolder::open(place).unwrap().work_list().unwrap(), []);
}

fn another_configuration_is_refused_while_others_work(place: &Place) {
    let first = RunWriter::join(place, &manifest()).unwrap();
    first.write_checkpoint(1, &weights(1)).unwrap();
    let other = Manifest { configuration: "title = \"Another\"\n".parse().unwrap(), ..manifest() };
    let error = RunWriter::join(place, &other).unwrap_err();
    assert!(
        matches!(&error, OpenError::OtherConfiguration { worker, .. } if worker.pid == std::process::id()),
        "{error}"
    );
    // What differs is who asked, not what for.
    RunWriter::join(place, &Manifest { command: "ontogeny run elsewhere.toml".to_owned(), ..manifest() }).unwrap();
    drop(first);
    drop(RunWriter::join(place, &other).unwrap());
    assert_eq!(RunFolder::open(place).unwrap().manifest().configuration, other.configuration);
    let error = RunWriter::join(place, &Manifest { trajectory: "two".to_owned(), ..manifest() }).unwrap_err();
    assert!(error.to_string().contains("two"), "{error}");
}

fn a_result_that_does_not_repeat_is_an_error_and_the_first_stays(place: &Place) {
    let writer = RunWriter::join(place, &manifest()).unwrap();
    let first = record("loss", 7, 1.0);
    writer.put_record(&first).unwrap();
    writer.put_record(&first).unwrap();
    let error = writer.put_record(&record("loss", 7, 1.5)).unwrap_err();
    assert!(matches!(error, RecordError::Differs { .. }), "{error}");
    assert_eq!(found(writer.folder(), &first), Some(first));
}

fn a_changed_algorithm_makes_only_its_records_missing(place: &Place) {
    let writer = RunWriter::join(place, &manifest()).unwrap();
    let steps = [0, 1];
    writer.write_measures(&plans(&["loss", "norm"], &steps, 1)).unwrap();
    for measure in ["loss", "norm"] {
        for &step in &steps {
            writer.put_record(&record(measure, step, 1.0)).unwrap();
        }
    }
    // The one measurement while its records are loose, the other after sealing.
    for (measure, is_sealed) in [("loss", false), ("norm", true)] {
        if is_sealed {
            writer.seal().unwrap();
        }
        let mut changed = writer.folder().measures().unwrap();
        changed.extend(plans(&[measure], &steps, 2));
        writer.write_measures(&changed).unwrap();
        let work = writer.folder().work_list().unwrap();
        let missing: BTreeSet<(&str, u64)> = work.iter().map(|item| (&*item.measure, item.step)).collect();
        assert_eq!(missing, BTreeSet::from([(measure, 0), (measure, 1)]));
        assert!(work.iter().all(|item| matches!(item.reason, MissingReason::OtherKey { .. })), "{work:?}");
        for step in steps {
            writer.put_record(&Record { key: key(measure, step, 2), ..record(measure, step, 2.0) }).unwrap();
        }
        assert_eq!(writer.folder().work_list().unwrap(), []);
    }
    writer.seal().unwrap();
    let view = writer.folder().view().unwrap();
    assert_eq!(view.results.observables["norm"].series(0)[0].0, Some(2.0));
    let old = writer.folder().record("norm", 0, &key("norm", 0, 1)).unwrap();
    assert!(matches!(old, Lookup::Missing(MissingReason::OtherKey { .. })), "{old:?}");
}

fn readers_see_everything_while_records_are_sealed(place: &Place) {
    let steps: Vec<u64> = (0..12).collect();
    let writer = RunWriter::join(place, &manifest()).unwrap();
    writer.write_measures(&plans(&["loss"], &steps, 1)).unwrap();
    let n_put = Mutex::new(0);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut n_looks = 0;
            while !is_over.load(Ordering::Relaxed) || n_looks == 0 {
                let expected: usize = *n_put.lock().unwrap();
                let run = RunFolder::open(place).unwrap();
                let view = run.view().unwrap();
                let n_done = view.results.observables["loss"].status.iter().filter(|s| **s == Status::Done).count();
                assert!(n_done >= expected, "{n_done} of {expected}");
                assert_eq!(view.problems, []);
                n_looks += 1;
            }
        });
        for &step in &steps {
            writer.put_record(&record("loss", step, 1.0)).unwrap();
            *n_put.lock().unwrap() += 1;
            writer.seal().unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
}

fn what_happened_is_told_by_all_workers(place: &Place) {
    let fields = |n: u64| serde_json::Map::from_iter([("step".to_owned(), n.into())]);
    let (first, second) = (RunWriter::join(place, &manifest()).unwrap(), RunWriter::join(place, &manifest()).unwrap());
    for n in 0..3 {
        first.event("first", fields(n)).unwrap();
        second.event("second", fields(n)).unwrap();
    }
    first.write_analysis(&Analysis::default()).unwrap();
    assert_eq!(RunFolder::open(place).unwrap().analysis().unwrap(), Analysis::default());
    let events = RunFolder::open(place).unwrap().events().unwrap();
    assert_eq!((events.events.len(), events.unreadable_lines.len()), (6, 0));
    for kind in ["first", "second"] {
        let of_kind = events.events.iter().filter(|event| event.kind == kind);
        let steps: Vec<u64> = of_kind.map(|event| event.fields["step"].as_u64().unwrap()).collect();
        assert_eq!(steps, [0, 1, 2], "the order of each worker is kept");
    }
}
