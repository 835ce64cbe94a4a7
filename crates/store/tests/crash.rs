//! SIGKILL at many moments of a checkpoint and state write: the run opens, and everything in it is whole.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "clippy spares only the test functions, not their helpers")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ontogeny_store::{Manifest, RunFolder, RunWriter, State, Tensor, Written};

/// Names the run to the child process; without it the child's test does nothing.
const RUN: &str = "ONTOGENY_STORE_CRASH_RUN";

/// 8 MiB: enough blocks for the parent to see a file grow.
const N_VALUES: usize = 1 << 21;

/// More writes than any parent lets happen.
const MAX_STEPS: u64 = 10_000;

fn manifest() -> Manifest {
    Manifest { trajectory: "crash".to_owned(), ..Manifest::default() }
}

/// Weights that only depend on the step, as those of a deterministic training run do.
fn weights(step: u64) -> Vec<Tensor> {
    let values = (0..N_VALUES as u64).map(|i| ((i * 31 + step * 17) % 1009) as f32).collect();
    vec![Tensor::new("w", vec![N_VALUES], values)]
}

fn state(step: u64) -> State {
    State { step, tensors: weights(step), counters: BTreeMap::from([("drawn".to_owned(), step * 512)]) }
}

/// Not a test of its own: the process that the test below kills, going on from the newest state for ever.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Some(run) = std::env::var_os(RUN) else {
        return;
    };
    let writer = RunWriter::open(PathBuf::from(run)).unwrap();
    let start = writer.folder().read_state().unwrap().map_or(0, |state| state.step);
    for step in start + 1..MAX_STEPS {
        writer.write_checkpoint(step, &weights(step)).unwrap();
        writer.write_state(&state(step)).unwrap();
        // Only the newest two are looked at; the disk need not hold them all.
        let old = run_file(&writer.folder().path(), step.saturating_sub(2));
        if old.exists() {
            fs_err::remove_file(old).unwrap();
        }
    }
}

fn run_file(run: &Path, step: u64) -> PathBuf {
    run.join(format!("checkpoints/step-{step:08}.safetensors"))
}

fn spawn(run: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_writes_until_it_is_killed"])
        .env(RUN, run)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Size of the largest temporary file beside the checkpoints.
fn growing_bytes(run: &Path) -> Option<u64> {
    let entries = fs_err::read_dir(run.join("checkpoints")).ok()?;
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(".ontogeny-tmp-"))
        .filter_map(|entry| Some(entry.metadata().ok()?.len()))
        .max()
}

#[test]
fn a_writer_killed_at_any_moment_leaves_a_run_that_resumes_with_the_same_bits() {
    let scratch = tempfile::tempdir().unwrap();
    let run = scratch.path().join("run");
    drop(RunWriter::join(&run, &manifest()).unwrap());
    let n_bytes = N_VALUES as u64 * 4;
    let mut killed_while_writing = 0;
    // Moments by the size of the file being written, from just made to nearly complete; and the moments
    // right after a checkpoint appeared, before its state is written (`None`).
    let moments = [
        Some(0),
        Some(1),
        Some(n_bytes / 4),
        Some(n_bytes / 2),
        None,
        Some(n_bytes * 3 / 4),
        Some(n_bytes / 16 * 15),
        None,
    ];
    for (round, moment) in moments.into_iter().enumerate() {
        let first = newest(&run);
        let mut child = spawn(&run);
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            assert!(Instant::now() < deadline, "round {round}: the child made no progress");
            assert_eq!(child.try_wait().unwrap(), None, "round {round}: the child ended by itself");
            let is_time = match moment {
                Some(size) => growing_bytes(&run).is_some_and(|bytes| bytes >= size),
                None => newest(&run) > first,
            };
            if is_time {
                break;
            }
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        killed_while_writing += usize::from(growing_bytes(&run).is_some());

        // Readers first: they see whole files although the remains of the writer are still there.
        let reader = RunFolder::open(&run).unwrap();
        for step in reader.checkpoint_steps().unwrap() {
            assert_eq!(reader.read_checkpoint(step).unwrap().tensors, weights(step), "round {round}");
        }
        let found = reader.read_state().unwrap();
        let done = found.as_ref().map_or(0, |state| state.step);
        assert_eq!(found, (done > 0).then(|| state(done)), "round {round}");
        assert!(done == newest(&run) || done + 1 == newest(&run), "round {round}: the checkpoint comes first");

        // The dead writer holds nothing, its remains go, and going on finds the same bits.
        let writer = RunWriter::open(&run).unwrap();
        assert_eq!(growing_bytes(&run), None, "round {round}");
        assert!(states(&run).len() <= 1, "round {round}: {:?}", states(&run));
        let expected = if newest(&run) == done { Written::Created } else { Written::Verified };
        assert_eq!(writer.write_checkpoint(done + 1, &weights(done + 1)).unwrap(), expected, "round {round}");
        writer.write_state(&state(done + 1)).unwrap();
    }
    assert!(killed_while_writing > 0, "no kill hit a write: the moments are not what they are meant to be");
}

#[test]
fn a_state_that_the_dead_had_no_time_to_remove_goes_when_the_run_is_joined() {
    let scratch = tempfile::tempdir().unwrap();
    let run = scratch.path().join("run");
    let writer = RunWriter::join(&run, &manifest()).unwrap();
    let small =
        |step| State { step, tensors: vec![Tensor::new("w", vec![1], vec![0.5])], counters: BTreeMap::default() };
    writer.write_state(&small(1)).unwrap();
    let name = states(&run).pop().unwrap();
    let older = fs_err::read(&name).unwrap();
    writer.write_state(&small(2)).unwrap();
    drop(writer);
    fs_err::write(&name, older).unwrap();
    assert_eq!(states(&run).len(), 2);
    let writer = RunWriter::open(&run).unwrap();
    assert_eq!(writer.folder().read_state().unwrap(), Some(small(2)));
    assert_eq!(states(&run), [run.join("checkpoints/state-step-00000002.safetensors")]);
}

/// The files of training states, in order.
fn states(run: &Path) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(run.join("checkpoints")).into_iter().flatten();
    let mut states: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("state-"))
        .collect();
    states.sort();
    states
}

fn newest(run: &Path) -> u64 {
    RunFolder::open(run).unwrap().checkpoint_steps().unwrap().last().copied().unwrap_or(0)
}
