//! A run of a second, prepared and executed.

use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ontogeny_store::{Record, RunFolder};
use ontogeny_study::{Event, Options, Overrides, Run, RunFile, StudyError, Summary};

/// A run file of addition modulo 5 by a tiny transformer with this normalisation, and what else it says.
macro_rules! tiny {
    ($normalization:literal, $rest:literal) => {
        concat!(
            "seed = 5\n\n[task]\nkind = \"modular_arithmetic\"\np = 5\noperation = \"add\"\ntrain_fraction = 0.8\n\n",
            "[network]\nkind = \"transformer\"\nlayers = 1\nd_model = 8\nheads = 2\nd_mlp = 8\nactivation = \"gelu\"\n",
            "normalization = \"",
            $normalization,
            "\"\npositions = \"learned\"\n\n",
            $rest
        )
    };
}
pub(crate) use tiny;

pub(crate) fn prepared(text: &str) -> Result<Run, String> {
    prepared_with(text, &[])
}

/// With these keys set, as by `--set`.
pub(crate) fn prepared_with(text: &str, changes: &[(&str, &str)]) -> Result<Run, String> {
    let set = changes.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    let overrides = Overrides { set, ..Overrides::default() };
    let file = RunFile::parse(Path::new("tiny.toml"), text, &overrides).map_err(|e| e.to_string())?;
    Run::prepare(file, "a test").map_err(|e| e.to_string())
}

/// Executes, interrupted once so many events have been heard.
pub(crate) fn execute(run: &Run, directory: &Path, threads: usize, n_events: usize) -> Result<Summary, StudyError> {
    let seen = AtomicUsize::new(0);
    execute_until(run, directory, threads, &|_| seen.fetch_add(1, Ordering::SeqCst) + 1 >= n_events)
}

/// Executes, interrupted by the first event of which `is_last` says so.
pub(crate) fn execute_until(
    run: &Run,
    directory: &Path,
    threads: usize,
    is_last: &(dyn Fn(&Event) -> bool + Sync),
) -> Result<Summary, StudyError> {
    let cancel = AtomicBool::new(false);
    let observer = |event: &Event| {
        if is_last(event) {
            cancel.store(true, Ordering::SeqCst);
        }
    };
    let threads = NonZero::new(threads).expect("at least one thread");
    run.execute(directory, &Options { threads, observer: &observer, cancel: &cancel })
}

/// The record of a measurement at a step.
pub(crate) fn record(directory: &Path, measure: &str, step: u64) -> Record {
    let folder = RunFolder::open(directory).expect("a run");
    let key = folder.measures().expect("a plan")[measure].steps[&step].clone().expect("a checkpoint");
    let found = folder.shelf().expect("records").find(measure, step, &key).expect("a record that can be read");
    found.expect("nobody else seals").into_record().expect("a record")
}

/// The values of an array of a record, row-major.
pub(crate) fn values<'a>(record: &'a Record, name: &str) -> &'a [f64] {
    &record.array(name).expect("an array of the record").values
}
