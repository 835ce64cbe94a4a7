//! Arguments and exit codes.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Exit codes, as promised in the README.
pub(crate) mod exit {
    /// Everything was done.
    pub(crate) const DONE: u8 = 0;
    /// A measurement was refused and the run file does not accept that.
    pub(crate) const REFUSED: u8 = 1;
    /// A mistake in the arguments, the run file or the data.
    pub(crate) const BAD_INPUT: u8 = 2;
    /// Stopped from outside; the same command continues.
    pub(crate) const INTERRUPTED: u8 = 3;
    /// A bug of ours.
    pub(crate) const BUG: u8 = 70;
}

/// Watch neural networks develop: train or import checkpoints, measure them, find the phase transitions.
#[derive(Debug, Parser)]
#[command(
    name = "ontogeny",
    version,
    after_help = "Exit codes: 0 done, 1 a measurement was refused, 2 bad input, 3 interrupted (run again to continue), 70 a bug.\n\
                  Example: ontogeny run examples/grokking.toml"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Do whatever of a run is missing: train or import, measure, detect, report
    #[command(after_help = "Example: ontogeny run examples/grokking.toml --set train.steps=1000 --out runs/short")]
    Run(RunArgs),
    /// What a run holds
    #[command(after_help = "Example: ontogeny show runs/grokking-3f9a --json")]
    Show(ShowArgs),
    /// Write the report of a run: one self-contained HTML file
    #[command(after_help = "Example: ontogeny report runs/grokking-3f9a --out grokking.html")]
    Report(ReportArgs),
    /// The tensors of a .safetensors, .pt, .pth, .npz or .npy file
    #[command(after_help = "Example: ontogeny inspect model.pt --json")]
    Inspect(InspectArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The run file
    pub(crate) file: PathBuf,
    /// Merge [scale.small] or [scale.full] of the file over it
    #[arg(long, value_enum, default_value_t = ScaleArg::Full)]
    pub(crate) scale: ScaleArg,
    /// Set a key of the file, such as train.steps=1000; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) set: Vec<(String, String)>,
    /// Folder of the run [default: runs/NAME-HASH]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Check everything, print the work list, write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print events and the result as JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Threads for training and chains together [default: one for each core]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<std::num::NonZero<usize>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScaleArg {
    Small,
    Full,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Folder of the run
    pub(crate) dir: PathBuf,
    /// Print everything as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Folder of the run
    pub(crate) dir: PathBuf,
    /// The file to write [default: DIR/report.html]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The file
    pub(crate) file: PathBuf,
    /// Print as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err(format!("`{text}` has no `=`; expected KEY=VALUE, such as train.steps=1000")),
    }
}
