//! `ontogeny run`: do whatever of a run is missing.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ontogeny_store::{Place, Transition};
use ontogeny_study::{Options, Overrides, Run, RunFile, Scale, Summary, Sweep, WorkSummary};

use super::{CommandError, place, sweep};
use crate::cli::{RunArgs, ScaleArg, exit};
use crate::progress::Reporter;
use crate::terminal::{grouped, number, print, say};

/// Name of the report in the run.
pub(super) const REPORT: &str = "report.html";

pub(crate) fn run(args: &RunArgs) -> Result<u8, CommandError> {
    let scale = match args.scale {
        ScaleArg::Small => Scale::Small,
        ScaleArg::Full => Scale::Full,
    };
    let overrides = Overrides { set: args.set.clone(), scale };
    if let Some(sweep) = Sweep::read(&args.file, &overrides, &command_line(args))? {
        return sweep::run(&sweep, args);
    }
    let file = RunFile::read(&args.file, &overrides)?;
    let run = Run::prepare(file, &command_line(args))?;
    let directory = args.out.clone().unwrap_or_else(|| run.default_directory());
    let place = place(&directory)?;
    if args.dry_run {
        let work = run.work_to_do(&place)?;
        print_work(&work, args.json)?;
        return Ok(exit::DONE);
    }

    let cancel = set_on_interrupt();
    let reporter = Reporter::new(args.json);
    let threads = threads(args);
    let observer = |event: &ontogeny_study::Event| reporter.on(event);
    let outcome = run.execute(&place, &Options { threads, observer: &observer, cancel: &cancel });
    reporter.finish();
    let summary = outcome?;

    if run.writes_report() {
        place.write(REPORT, ontogeny_web::report(&summary.view).as_bytes())?;
    }
    if args.json {
        print_json(&summary, &place)?;
    } else {
        if run.writes_report() {
            say(&format!("  report   {}", place.path(REPORT).display()));
        }
        print_summary(&summary);
    }
    Ok(if summary.has_unaccepted_refusal() { exit::REFUSED } else { exit::DONE })
}

/// Threads for all of the work: those asked for, else one for each core.
pub(super) fn threads(args: &RunArgs) -> NonZero<usize> {
    threads_or_all(args.threads)
}

/// The threads asked for, else one for each core.
pub(super) fn threads_or_all(asked: Option<NonZero<usize>>) -> NonZero<usize> {
    asked.unwrap_or_else(|| thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN))
}

/// A flag that an interruption sets.
pub(super) fn set_on_interrupt() -> Arc<AtomicBool> {
    let cancel = Arc::new(AtomicBool::new(false));
    let on_signal = Arc::clone(&cancel);
    // A handler that cannot be set only means that an interruption is as sudden as a kill.
    let _ = ctrlc::set_handler(move || on_signal.store(true, Ordering::Relaxed));
    cancel
}

/// The command that makes the run again, without what does not change its content.
fn command_line(args: &RunArgs) -> String {
    let mut command = format!("ontogeny run {}", quoted(&args.file.to_string_lossy()));
    if args.scale == ScaleArg::Small {
        command.push_str(" --scale small");
    }
    for (key, value) in &args.set {
        command.push_str(" --set ");
        command.push_str(&quoted(&format!("{key}={value}")));
    }
    command
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_=./,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn print_work(work: &WorkSummary, json: bool) -> Result<(), CommandError> {
    if json {
        let measures: Vec<_> = work
            .measures
            .iter()
            .map(|(name, missing, all)| serde_json::json!({ "measure": name, "missing": missing, "of": all }))
            .collect();
        let splits: serde_json::Map<_, _> = work.splits.iter().map(|(name, n)| (name.clone(), (*n).into())).collect();
        let object = serde_json::json!({
            "title": work.title, "directory": work.directory, "parameters": work.n_parameters, "splits": splits,
            "training_steps": work.training, "checkpoints": work.checkpoints, "measures": measures,
        });
        print(&serde_json::to_string(&object)?);
        return Ok(());
    }
    print(&format!("{}  →  {}", work.title, work.directory));
    let splits: Vec<String> = work.splits.iter().map(|(name, n)| format!("{name} {}", grouped(*n as f64))).collect();
    print(&format!("  network    {} parameters", grouped(work.n_parameters as f64)));
    print(&format!("  examples   {}", splits.join(", ")));
    if let Some(steps) = work.training {
        print(&format!("  train      {} steps to make", grouped(steps as f64)));
    }
    let ends = match (work.checkpoints.first(), work.checkpoints.last()) {
        (Some(first), Some(last)) => format!(", steps {first} to {last}"),
        _ => String::new(),
    };
    print(&format!("  checkpoints {}{ends}", work.checkpoints.len()));
    for (name, missing, all) in &work.measures {
        print(&format!("  measure    {name}: {missing} of {all} to make"));
    }
    Ok(())
}

fn print_json(summary: &Summary, place: &Place) -> Result<(), CommandError> {
    let object = serde_json::json!({
        "event": "finished", "directory": place.to_string(), "transitions": summary.analysis.transitions,
        "stages": summary.analysis.stages, "refused": summary.refusals,
    });
    print(&serde_json::to_string(&object)?);
    Ok(())
}

fn print_summary(summary: &Summary) {
    print_transitions(&summary.analysis.transitions);
    let n = summary.refusals.len();
    if let Some(first) = summary.refusals.first() {
        let plural = if n == 1 { "estimate" } else { "estimates" };
        print(&format!(
            "{n} {plural} refused: {} at step {} ({}); see the report",
            first.measure, first.step, first.reason
        ));
    }
}

/// The transitions as they read on a terminal.
pub(super) fn print_transitions(transitions: &[Transition]) {
    if transitions.is_empty() {
        print("no transitions found");
        return;
    }
    print("transitions");
    // Numbered for `explain`.
    for (at, t) in transitions.iter().enumerate() {
        let interval = format!("[{}, {}]", grouped(t.lower), grouped(t.upper));
        let unit = if t.unit == "1" { "" } else { &t.unit };
        print(&format!(
            "  {:>2}  {:<13} {:<28} step {:>7}  {interval:<18} {:>9} {unit}",
            at + 1,
            t.label.as_deref().unwrap_or(""),
            t.observable,
            grouped(t.step),
            number(t.size),
        ));
    }
}
