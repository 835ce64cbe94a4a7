//! `ontogeny show`: what a run holds.

use comfy_table::{CellAlignment, Table, presets};
use ontogeny_store::{Detail, Fluctuations, Observable, RunFolder, RunView, Status, refused_parts};

use super::change_points::print_change_points;
use super::parts::print_parts;
use super::run::print_transitions;
use super::stages::print_intervals;
use super::warnings::print_warnings;
use super::{CommandError, place, sweep};
use crate::cli::{ShowArgs, exit};
use crate::terminal::{grouped, number, print, say};

/// More columns than this do not fit a terminal; JSON and the report have them all.
const MAX_COLUMNS: usize = 10;

pub(crate) fn show(args: &ShowArgs) -> Result<u8, CommandError> {
    let opened = RunFolder::open(place(&args.dir)?);
    if opened.is_err()
        && let Some(code) = sweep::show(&args.dir, args.json)?
    {
        return Ok(code);
    }
    let view = opened?.view()?;
    for problem in &view.problems {
        say(&format!("note: {problem}"));
    }
    if args.json {
        print(&serde_json::to_string(&view.results)?);
    } else {
        print_view(&view.results);
    }
    Ok(exit::DONE)
}

fn print_view(view: &RunView) {
    print(&format!("{}  ({})", view.run.title, view.run.directory));
    print(&format!("made by ontogeny {} on {}, seed {}", view.run.version, view.run.instruction_set, view.run.seed));
    for (name, observable) in &view.observables {
        let unit = if observable.unit == "1" { String::new() } else { format!(" [{}]", observable.unit) };
        print(&format!("\n{name}{unit}: {}", observable.description));
        print(&table(view, observable).to_string());
    }
    print("");
    print_transitions(&view.transitions);
    if view.stages.is_empty() {
        print("no stage boundaries found");
    } else {
        print("stage boundaries");
        for b in &view.stages {
            let interval = format!("[{}, {}]", grouped(b.lower), grouped(b.upper));
            print(&format!("  step {:>7}  {interval:<18} {}", grouped(b.step), b.observables.join(", ")));
        }
        print("");
        print_intervals(&view.intervals);
    }
    if let Some(found) = &view.change_points {
        print("");
        print_change_points(found);
    }
    for (name, found) in &view.parts {
        print(&format!("\nparts of {name}"));
        print_parts(found);
    }
    for (name, found) in &view.fluctuations {
        print_fluctuations(name, found);
    }
    if let Some(found) = &view.warnings {
        print("\nearly warnings");
        print_warnings(found);
    }
}

/// The first and the last covariance; JSON and the report have all.
fn print_fluctuations(name: &str, found: &Fluctuations) {
    print(&format!("\nfluctuations of {name}: {} {} over {}", found.n_units, found.units, found.over));
    let (Some(first), Some(last)) = (found.modes.first(), found.modes.last()) else { return };
    for mode in [first, last] {
        print(&format!(
            "  step {:>7}  largest eigenvalue {}, {:.0} % of all",
            grouped(mode.step),
            number(mode.variance),
            100.0 * mode.variance / mode.total
        ));
    }
    print(&format!("  trend of the largest over {} steps: τ {:+.2}", found.modes.len(), found.variance_tau));
    if let Some(group) = &found.group {
        let units: Vec<String> = group.units.iter().map(ToString::to_string).collect();
        let (index, p) = (number(group.index), group.p_value);
        print(&format!("  group that stands out in the last window: {} (index {index}, p {p:.3})", units.join(", ")));
    }
}

fn table(view: &RunView, observable: &Observable) -> Table {
    let components = observable.components();
    let shown = components.len().min(MAX_COLUMNS);
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut header = vec!["step".to_owned()];
    header.extend(components[..shown].iter().map(|c| if c.is_empty() { "value".to_owned() } else { c.clone() }));
    if shown < components.len() {
        header.push(format!("… {} more", components.len() - shown));
    }
    header.push(String::new());
    table.set_header(header);
    let series: Vec<_> = (0..shown).map(|i| observable.series(i)).collect();
    let steps = observable.coordinates.get("step").map_or_else(
        || view.checkpoints.iter().map(ToString::to_string).collect::<Vec<_>>(),
        |labels| labels.iter().map(ToString::to_string).collect(),
    );
    for (at, (step, status)) in steps.iter().zip(&observable.status).enumerate() {
        let mut row = vec![step.clone()];
        for column in &series {
            row.push(match column.get(at) {
                Some((Some(value), Some(error))) => format!("{} ± {}", number(*value), number(*error)),
                Some((Some(value), None)) => number(*value),
                _ => "–".to_owned(),
            });
        }
        if shown < components.len() {
            row.push(String::new());
        }
        row.push(match status {
            Status::Done => {
                let details = observable.details.get(at);
                let r_hat = match details.and_then(|d| d.get("r_hat")) {
                    Some(Detail::Number(Some(r_hat))) => Some(format!("R̂ {r_hat:.3}")),
                    _ => None,
                };
                let refused = details.map(refused_parts).unwrap_or_default();
                let refused = refused.into_iter().map(|(_, why)| format!("refused, {why}"));
                r_hat.into_iter().chain(refused).collect::<Vec<_>>().join("; ")
            }
            Status::Missing => "missing".to_owned(),
            Status::Refused { verdict, reason } => format!("refused, {verdict}: {reason}"),
        });
        table.add_row(row);
    }
    for column in table.column_iter_mut().take(shown + 1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
