//! `ontogeny report`: the report of a run as one HTML file.

use ontogeny_store::{RunFolder, write_file};

use super::run::REPORT;
use super::{CommandError, place};
use crate::cli::{ReportArgs, exit};
use crate::terminal::{print, say};

pub(crate) fn report(args: &ReportArgs) -> Result<u8, CommandError> {
    let place = place(&args.dir)?;
    let view = RunFolder::open(&place)?.view()?;
    for problem in &view.problems {
        say(&format!("note: {problem}"));
    }
    let report = ontogeny_web::report(&view.results);
    let path = match &args.out {
        Some(path) => write_file(path, report.as_bytes()).map(|()| path.clone())?,
        None => place.write(REPORT, report.as_bytes()).map(|()| place.path(REPORT))?,
    };
    print(&path.display().to_string());
    Ok(exit::DONE)
}
