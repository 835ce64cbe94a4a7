//! `ontogeny run` of a file that describes several runs: all of them side by side, and a table of how they ended.

use std::collections::BTreeMap;
use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};
use ontogeny_store::{Place, RunFolder, RunView};
use ontogeny_study::{StudyError, Summary, Sweep};
use serde::{Deserialize, Serialize};

use super::run::{REPORT, set_on_interrupt, threads};
use super::{CommandError, place};
use crate::cli::{RunArgs, exit};
use crate::sweep_progress::SweepReporter;
use crate::terminal::{grouped, number, print, say};

/// What lists the runs, in the folder of all.
const LIST: &str = "sweep.json";

pub(super) fn run(sweep: &Sweep, args: &RunArgs) -> Result<u8, CommandError> {
    let directory = args.out.clone().unwrap_or_else(|| sweep.default_directory());
    let places: Vec<Place> =
        sweep.members.iter().map(|member| place(&directory.join(&member.name))).collect::<Result<_, _>>()?;
    if args.dry_run {
        print_work(sweep, &directory, &places, args.json)?;
        return Ok(exit::DONE);
    }
    place(&directory)?.write(LIST, list(sweep)?.as_bytes())?;
    let cancel = set_on_interrupt();
    let names: Vec<&str> = sweep.members.iter().map(|member| member.name.as_str()).collect();
    let reporter = SweepReporter::new(&sweep.title, &directory, &names, args.json);
    let outcomes = sweep.execute(&places, threads(args), &|at, event| reporter.on(at, event), &cancel);
    reporter.finish();

    let mut code = exit::DONE;
    for ((member, place), outcome) in sweep.members.iter().zip(&places).zip(&outcomes) {
        match outcome {
            Ok(summary) => {
                if member.run.writes_report() {
                    place.write(REPORT, ontogeny_web::report(&summary.view).as_bytes())?;
                }
                if summary.has_unaccepted_refusal() && code == exit::DONE {
                    code = exit::REFUSED;
                }
            }
            Err(error) if error.is_interruption() => code = exit::INTERRUPTED,
            Err(error) => {
                say(&format!("{}: {error}", member.name));
                if code != exit::INTERRUPTED {
                    code = exit::BAD_INPUT;
                }
            }
        }
    }
    if args.json {
        let ended = sweep.members.iter().zip(&outcomes).map(|(member, outcome)| ended(&member.name, outcome));
        let object = serde_json::json!({
            "event": "finished", "directory": directory.to_string_lossy(), "runs": ended.collect::<Vec<_>>(),
        });
        print(&serde_json::to_string(&object)?);
    } else {
        print(&table(sweep, &outcomes).to_string());
    }
    Ok(code)
}

/// What the folder of a sweep holds: `None` if `directory` is none.
///
/// # Errors
/// A list that cannot be read.
pub(super) fn show(directory: &Path, json: bool) -> Result<Option<u8>, CommandError> {
    let path = directory.join(LIST);
    let Ok(text) = fs_err::read_to_string(&path) else { return Ok(None) };
    let damaged = |found: String| {
        CommandError::Arguments(format!(
            "{}: found {found}, expected the list of a sweep's runs: run its file again, which writes it anew",
            path.display()
        ))
    };
    let list: List = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
    if list.format_version > FORMAT_VERSION {
        return Err(damaged(format!(
            "format {}, of a newer ontogeny than this (format {FORMAT_VERSION})",
            list.format_version
        )));
    }
    if json {
        print(&serde_json::to_string(&list)?);
        return Ok(Some(exit::DONE));
    }
    print(&format!("{}  ({}, {} runs)", list.title, directory.display(), list.runs.len()));
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["run", "checkpoints", "losses at the last"]);
    for run in &list.runs {
        let view = RunFolder::open(place(&directory.join(&run.run))?).ok().and_then(|folder| folder.view().ok());
        let (n, losses) = view.map_or(("–".to_owned(), "not begun".to_owned()), |view| {
            let losses = last_losses(&view.results).into_iter().map(|(name, loss)| format!("{name} {}", number(loss)));
            (view.results.checkpoints.len().to_string(), losses.collect::<Vec<_>>().join(", "))
        });
        table.add_row([run.run.clone(), n, losses]);
    }
    print(&table.to_string());
    print(&format!("one run: ontogeny show {}", directory.join("RUN").display()));
    Ok(Some(exit::DONE))
}

/// The runs of a sweep, as [`LIST`] has them.
#[derive(Serialize, Deserialize)]
struct List {
    format_version: u32,
    title: String,
    runs: Vec<Listed>,
}

#[derive(Serialize, Deserialize)]
struct Listed {
    run: String,
    /// Dotted keys and TOML values.
    settings: BTreeMap<String, String>,
}

const FORMAT_VERSION: u32 = 1;

/// The runs with their settings, as JSON.
fn list(sweep: &Sweep) -> serde_json::Result<String> {
    let one = |member: &ontogeny_study::Member| Listed {
        run: member.name.clone(),
        settings: member.settings.iter().cloned().collect(),
    };
    let runs = sweep.members.iter().map(one).collect();
    serde_json::to_string_pretty(&List { format_version: FORMAT_VERSION, title: sweep.title.clone(), runs })
}

fn print_work(sweep: &Sweep, directory: &Path, places: &[Place], json: bool) -> Result<(), CommandError> {
    let mut runs = Vec::new();
    for (member, place) in sweep.members.iter().zip(places) {
        runs.push((&member.name, member.run.work_to_do(place)?));
    }
    if json {
        let one = |(name, work): &(&String, ontogeny_study::WorkSummary)| {
            serde_json::json!({
                "run": name, "directory": work.directory, "parameters": work.n_parameters,
                "training_steps": work.training,
                "missing": work.measures.iter().map(|(_, missing, _)| missing).sum::<usize>(),
            })
        };
        let object = serde_json::json!({
            "title": sweep.title, "directory": directory.to_string_lossy(),
            "runs": runs.iter().map(one).collect::<Vec<_>>(),
        });
        print(&serde_json::to_string(&object)?);
        return Ok(());
    }
    print(&format!("{}  →  {}", sweep.title, directory.display()));
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["run", "parameters", "steps to make", "measurements to make"]);
    for (name, work) in &runs {
        let missing: usize = work.measures.iter().map(|(_, missing, _)| missing).sum();
        let steps = work.training.map_or_else(|| "–".to_owned(), |steps| grouped(steps as f64));
        table.add_row([(*name).clone(), grouped(work.n_parameters as f64), steps, grouped(missing as f64)]);
    }
    print(&aligned(table).to_string());
    Ok(())
}

/// The last losses and the transitions of every run.
fn table(sweep: &Sweep, outcomes: &[Result<Summary, StudyError>]) -> Table {
    let losses: Vec<Vec<(String, f64)>> = outcomes
        .iter()
        .map(|outcome| outcome.as_ref().map(|summary| last_losses(&summary.view)).unwrap_or_default())
        .collect();
    let mut columns: Vec<&String> = Vec::new();
    for (name, _) in losses.iter().flatten() {
        if !columns.contains(&name) {
            columns.push(name);
        }
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let header = ["run".to_owned()].into_iter().chain(columns.iter().map(|name| (*name).clone()));
    table.set_header(header.chain(["transitions".to_owned(), String::new()]));
    for ((member, outcome), losses) in sweep.members.iter().zip(outcomes).zip(&losses) {
        let loss = |name: &&String| {
            losses.iter().find(|(own, _)| own == *name).map_or_else(|| "–".to_owned(), |(_, loss)| number(*loss))
        };
        let (transitions, note) = match outcome {
            Ok(summary) => {
                let n_refused = summary.refusals.len();
                let note = if n_refused > 0 { format!("{n_refused} refused") } else { String::new() };
                (summary.analysis.transitions.len().to_string(), note)
            }
            Err(error) if error.is_interruption() => ("–".to_owned(), "interrupted".to_owned()),
            Err(_) => ("–".to_owned(), "failed".to_owned()),
        };
        let row = [member.name.clone()].into_iter().chain(columns.iter().map(loss)).chain([transitions, note]);
        table.add_row(row);
    }
    aligned(table)
}

fn aligned(mut table: Table) -> Table {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn ended(name: &str, outcome: &Result<Summary, StudyError>) -> serde_json::Value {
    match outcome {
        Ok(summary) => {
            let losses: BTreeMap<String, f64> = last_losses(&summary.view).into_iter().collect();
            serde_json::json!({
                "run": name, "losses": losses, "transitions": summary.analysis.transitions, "refused": summary.refusals,
            })
        }
        Err(error) => serde_json::json!({ "run": name, "error": error.to_string() }),
    }
}

/// Losses at the last checkpoint that has them, by their address.
fn last_losses(view: &RunView) -> Vec<(String, f64)> {
    let mut losses = Vec::new();
    for observable in view.observables.values().filter(|observable| observable.kind == "loss") {
        for (at, component) in observable.components().into_iter().enumerate() {
            if let Some(loss) = observable.series(at).iter().rev().find_map(|(value, _)| *value) {
                losses.push((format!("loss.{component}"), loss));
            }
        }
    }
    losses
}
