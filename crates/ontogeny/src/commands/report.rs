//! `ontogeny report`: the report of a run as one HTML file.

use ontogeny_store::{RunFolder, write_file};

use super::CommandError;
use crate::cli::{ReportArgs, exit};
use crate::terminal::{print, say};

pub(crate) fn report(args: &ReportArgs) -> Result<u8, CommandError> {
    let view = RunFolder::open(&args.dir)?.view()?;
    for problem in &view.problems {
        say(&format!("note: `{}` at step {}: {}", problem.measure, problem.step, problem.reason));
    }
    let path = args.out.clone().unwrap_or_else(|| args.dir.join("report.html"));
    // Absolute, because the folder of a bare file name would be an empty path.
    write_file(&path, ontogeny_web::report(&view.results).as_bytes())?;
    print(&path.display().to_string());
    Ok(exit::DONE)
}
