//! Arguments of `ontogeny study` and `ontogeny forecast`.

use std::num::NonZero;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::ScaleArg;

#[derive(Debug, Args)]
pub(crate) struct StudyArgs {
    #[command(subcommand)]
    pub(crate) command: StudyCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StudyCommand {
    /// All studies with their verdicts
    #[command(after_help = "Example: ontogeny study list")]
    List(ListArgs),
    /// What a study asks, how it decides, and what was found
    #[command(after_help = "Example: ontogeny study show N5.3")]
    Show(OneArgs),
    /// Put studies on record as they are now, before anything runs
    #[command(after_help = "Example: ontogeny study register N5.3 D28")]
    Register(RegisterArgs),
    /// Make whatever runs are missing, test the hypotheses, write the page
    #[command(after_help = "Examples:\n  ontogeny study run N5.3\n  ontogeny study run all --scale full", after_long_help = RUN_HELP)]
    Run(StudyRunArgs),
    /// The functions that statistics are made of
    #[command(after_help = "Example: ontogeny study functions")]
    Functions,
    /// Whether registry, verdicts, runs and study files agree
    #[command(after_help = "Example: ontogeny study audit")]
    Audit(AuditArgs),
    /// Write the pages of all verdicts again, and the atlas as Markdown on request
    #[command(after_help = "Example: ontogeny study report --markdown docs/atlas.md")]
    Report(StudyReportArgs),
}

// Paragraphs are one line each: clap wraps them to the terminal.
const RUN_HELP: &str = "\
The first run of a study puts its text on record: a line in ATLAS/registry.jsonl, chained to all lines before. The seeds of its \
runs follow from that line, so that they cannot have been made before it. A study whose text has changed is put on record again, \
with new seeds, and its page counts how often.

A call that was interrupted is continued by the same command, with the same verdict.

Examples:
  ontogeny study run N5.3
  ontogeny study run D4 D28 --threads 2
  ontogeny study run all --scale full";

/// Where studies and the atlas are.
#[derive(Debug, Args)]
pub(crate) struct Folders {
    /// Folder of the study files
    #[arg(long, value_name = "DIR", default_value = "studies")]
    pub(crate) studies: PathBuf,
    /// Folder of the registry, the runs, the verdicts and the pages
    #[arg(long, value_name = "DIR", default_value = "atlas")]
    pub(crate) atlas: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) folders: Folders,
    /// Print as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct OneArgs {
    /// Identifier, such as N5.3
    pub(crate) id: String,
    /// Which scale
    #[arg(long, value_enum, default_value_t = ScaleArg::Small)]
    pub(crate) scale: ScaleArg,
    #[command(flatten)]
    pub(crate) folders: Folders,
    /// Print as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RegisterArgs {
    /// Identifiers, or `all`
    #[arg(required = true)]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) folders: Folders,
    /// Print each line of the registry as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StudyRunArgs {
    /// Identifiers, or `all`
    #[arg(required = true)]
    pub(crate) ids: Vec<String>,
    /// small: within ten minutes on two cores; full: as large as the question
    #[arg(long, value_enum, default_value_t = ScaleArg::Small)]
    pub(crate) scale: ScaleArg,
    #[command(flatten)]
    pub(crate) folders: Folders,
    /// Print events and verdicts as JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Threads for all runs together [default: one for each core]; no verdict depends on them
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZero<usize>>,
}

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    #[command(flatten)]
    pub(crate) folders: Folders,
    /// Print as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StudyReportArgs {
    /// Also write the atlas as Markdown, with its figures in a folder beside it
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) folders: Folders,
}

#[derive(Debug, Args)]
pub(crate) struct ForecastArgs {
    #[command(subcommand)]
    pub(crate) command: ForecastCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ForecastCommand {
    /// Put a prediction on record before the verdict is there
    #[command(after_help = "Examples:\n  ontogeny forecast record N5.3 --supported 0.8 --by ada\n  \
                            ontogeny forecast record D28/times --interval 0.9,1.1 --level 0.9 --by ada")]
    Record(RecordArgs),
    /// How good the predictions were whose outcome is there
    #[command(after_help = "Example: ontogeny forecast score")]
    Score(ScoreArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RecordArgs {
    /// STUDY, or STUDY/HYPOTHESIS; the first hypothesis unless named
    pub(crate) what: String,
    /// Probability that the verdict will be `supported`, 0 to 1
    #[arg(long, value_name = "P", required_unless_present = "interval", conflicts_with = "interval")]
    pub(crate) supported: Option<f64>,
    /// Interval that will hold the estimate
    #[arg(long, value_name = "LOWER,UPPER", allow_hyphen_values = true, value_parser = interval)]
    pub(crate) interval: Option<(f64, f64)>,
    /// Probability that it will
    #[arg(long, default_value_t = 0.9, requires = "interval")]
    pub(crate) level: f64,
    /// Who says so
    #[arg(long, value_name = "NAME")]
    pub(crate) by: String,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) note: String,
    /// At which scale the study will run
    #[arg(long, value_enum, default_value_t = ScaleArg::Small)]
    pub(crate) scale: ScaleArg,
    #[command(flatten)]
    pub(crate) folders: Folders,
}

#[derive(Debug, Args)]
pub(crate) struct ScoreArgs {
    #[command(flatten)]
    pub(crate) folders: Folders,
    /// Print as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

fn interval(text: &str) -> Result<(f64, f64), String> {
    let numbers = text.split_once(',').and_then(|(a, b)| Some((a.trim().parse().ok()?, b.trim().parse().ok()?)));
    numbers.ok_or_else(|| format!("`{text}` is no LOWER,UPPER; expected two numbers, such as 0.9,1.1"))
}
