//! `ontogeny calibrate`: sampler settings for a run, and what they rest on.

use comfy_table::{CellAlignment, Table, presets};
use ontogeny_posterior::{Execution, Progress};
use ontogeny_store::{Calibration, write_file};
use ontogeny_study::OpenedRun;

use super::CommandError;
use super::run::set_on_interrupt;
use crate::cli::{CalibrateArgs, exit};
use crate::progress::Counter;
use crate::terminal::{number, print, say};

pub(crate) fn calibrate(args: &CalibrateArgs) -> Result<u8, CommandError> {
    let run = OpenedRun::open(&args.dir)?;
    let cancel = set_on_interrupt();
    let counter = Counter::new("search");
    let tell = |p: Progress| counter.on(p.done, p.total);
    let mut execution = Execution { progress: Some(&tell), cancel: Some(&cancel), ..Execution::default() };
    if let Some(threads) = args.threads {
        execution.threads = threads;
    }
    let (measure, found) = run.calibrate(args.measure.as_deref(), &args.steps, &execution)?;
    counter.finish();
    if let Some(path) = &args.plot {
        write_file(path, ontogeny_web::calibration_page(&measure, &found).as_bytes())?;
        say(&format!("wrote {}", path.display()));
    }
    if args.json {
        print(&serde_json::to_string(&found)?);
    } else {
        say(&table(&found).to_string());
        for reason in &found.reasons {
            say(reason);
        }
        if let Some(settings) = &found.settings {
            print(&format!("[measure.{measure}]"));
            print(&format!("step_size = {:e}", settings.step_size));
            print(&format!("localization = {}", settings.localization));
            print(&format!("n_beta = {}", settings.n_beta));
            print(&format!("draws = {}", settings.draws));
        }
    }
    Ok(if found.settings.is_some() { exit::DONE } else { exit::REFUSED })
}

fn table(found: &Calibration) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["step", "ε", "γ", "nβ", "draws", "λ̂", "±", "finite step", "R̂", "ESS", "verdict"]);
    let shown = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), number);
    for t in &found.trials {
        let share = t.discretization.map_or_else(|| "–".to_owned(), |share| format!("{:.0} %", 100.0 * share));
        table.add_row([
            t.step.to_string(),
            format!("{:.1e}", t.step_size),
            number(t.localization),
            number(t.n_beta),
            t.draws.to_string(),
            shown(t.mean),
            shown(t.mcse),
            share,
            shown(t.r_hat),
            t.ess_bulk.map_or_else(|| "–".to_owned(), |ess| format!("{ess:.0}")),
            t.verdict.clone(),
        ]);
    }
    for column in table.column_iter_mut().take(10) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
