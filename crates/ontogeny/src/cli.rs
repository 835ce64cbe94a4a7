//! Arguments and exit codes.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ontogeny_posterior::Restriction;
use ontogeny_study::{ChangePointsConfig, ChangeTime, Every, NameGlob};

use crate::bench::{self, Workload};
use crate::study_cli::{ForecastArgs, StudyArgs};

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
    /// Find transitions and stages in any series: a CSV, TSV, NPZ, NPY or JSON file, or a run
    #[command(
        after_help = "Example: ontogeny stages losses.csv --series 'loss*' --plot losses.html",
        after_long_help = STAGES_HELP
    )]
    Stages(StagesArgs),
    /// List the presets, or print one as a commented run file to start from
    #[command(after_help = "Example: ontogeny new grokking > my.toml")]
    New(NewArgs),
    /// The tensors of a .safetensors, .pt, .pth, .npz or .npy file, or a network in an .onnx file
    #[command(after_help = "Examples:\n  ontogeny inspect model.pt --json\n  \
                            ontogeny inspect runs/grokking-3f9a/checkpoints/step-00003000.safetensors --restrict 'attn & l0 | l0n0-15'")]
    Inspect(InspectArgs),
    /// Choose step size, localisation and temperature for the learning coefficients of a run, and show why
    #[command(
        after_help = "Example: ontogeny calibrate runs/grokking-3f9a --steps 1000,3000",
        after_long_help = CALIBRATE_HELP
    )]
    Calibrate(CalibrateArgs),
    /// Which parts of the network are responsible for a transition, or for an answer
    #[command(
        after_help = "Example: ontogeny explain runs/induction-3f9a --transition 1",
        after_long_help = EXPLAIN_HELP
    )]
    Explain(ExplainArgs),
    /// The examples of the task that activate a head, a neuron or any part of the network most, with their text
    #[command(after_help = "Example: ontogeny examples runs/text-77c0 --part l0n7 --part l1h2 --top 5")]
    Examples(ExamplesArgs),
    /// What two checkpoints, or two runs, make of each token: differences of log-probability, with the text
    #[command(after_help = "Examples:\n  ontogeny compare runs/text-77c0 --step 200 --with-step 800\n  \
                            ontogeny compare runs/text-77c0 --with runs/text-91ab --top 20")]
    Compare(CompareArgs),
    /// The atlas: open questions as files, put on record before they run, each ending in a verdict
    #[command(after_help = "Example: ontogeny study run N5.3")]
    Study(StudyArgs),
    /// Predictions of verdicts, put on record before and scored after
    #[command(after_help = "Example: ontogeny forecast record N5.3 --supported 0.8 --by ada")]
    Forecast(ForecastArgs),
    /// How fast chains step on this machine, for workloads from a toy to 70 million weights
    #[command(after_help = "Example: ontogeny bench --only W2,W3 --seconds 5 --json", after_long_help = BENCH_HELP)]
    Bench(BenchArgs),
    /// What works on this machine; with --posterior, whether chains find answers that are known exactly
    #[command(after_help = "Example: ontogeny doctor --posterior", after_long_help = DOCTOR_HELP)]
    Doctor(DoctorArgs),
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

// Paragraphs are one line each: clap wraps them to the terminal.
const STAGES_HELP: &str = "\
A file is a table with one column for each series (CSV, TSV; .gz too), arrays (NPZ, NPY), or JSON: an object of arrays, \
an array of records, or one record on each line. Long tables, with several series below each other, must be split first.

A column, array or key called step, epoch, x or t is the axis: in a table the first column, else one called step or \
epoch. Without an axis, value i (from 0) stands at step (i + 1)*K, see --every. In an array the longest axis is time; \
others become components NAME[i]. NAME_se holds the standard errors of NAME. Values that are missing or not finite are \
left out, and series of fewer than 20 points as well; stderr says which. A step that occurs twice in a series is an error.

One correction covers the transitions of all series of a call. Of a run, the series that its own analysis watches are \
looked at unless --series names others.

Examples:
  ontogeny stages losses.csv --series 'loss*' --plot losses.html
  ontogeny stages curves.npz --every 100 --every 'test_*=1000' --json
  ontogeny stages runs/grokking-3f9a --series llc.full --series 'fourier.*'
  ontogeny stages losses.csv --change-points linear --plot losses.html
  ontogeny stages curves.npz --warnings --until 20000
  ontogeny stages tasks.csv --parts loss --series 'task_*' --plot parts.html";

#[derive(Debug, Args)]
pub(crate) struct StagesArgs {
    /// The file, or the folder of a run
    pub(crate) path: PathBuf,
    /// Look only at these series: a name, with * and ? as wildcards; may be repeated
    #[arg(long, value_name = "GLOB")]
    pub(crate) series: Vec<NameGlob>,
    /// Steps from value to value where the file names none, for all or for the arrays that NAME fits; may be repeated
    #[arg(long, value_name = "[NAME=]K", value_parser = every)]
    pub(crate) every: Vec<Every>,
    /// Which axis of an array is time, from 0 (or -1 from the end) [default: the longest]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) time_axis: Option<i64>,
    /// Analyse the natural logarithm of the values, which must be positive
    #[arg(long)]
    pub(crate) log_values: bool,
    /// Find change points instead, by an exact segmentation into pieces of this shape: l1, l2, normal, rank, rbf, linear,
    /// continuous_linear or autoregressive [default of a bare flag: l2]
    #[arg(long, value_name = "SHAPE", num_args = 0..=1, default_missing_value = "l2", conflicts_with_all = ["warnings", "parts"])]
    pub(crate) change_points: Option<ChangePointsConfig>,
    /// With --change-points: whether lines run over ln(step + 1), log, or over the step, linear [default: log]
    #[arg(long, value_name = "AXIS", requires = "change_points")]
    pub(crate) time: Option<ChangeTime>,
    /// Look for early warnings instead: rising variance and autocorrelation at even intervals, and common fluctuations
    #[arg(long)]
    pub(crate) warnings: bool,
    /// With --warnings: look at nothing after this step
    #[arg(long, value_name = "STEP", requires = "warnings")]
    pub(crate) until: Option<f64>,
    /// Take this series apart instead, as the mean of the others: those of --series, or all
    #[arg(long, value_name = "MEAN", conflicts_with = "warnings")]
    pub(crate) parts: Option<String>,
    /// Draw the series with what was found: .html for a page, .svg for one picture
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
    /// Print as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Seed of the simulations behind p-values and intervals [default: that of the run; 0 for a file]
    #[arg(long, value_name = "SEED")]
    pub(crate) seed: Option<u64>,
    /// Threads [default: one for each core]; the result does not depend on them
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<std::num::NonZero<usize>>,
}

#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// Name of a preset; without it, the presets are listed
    pub(crate) preset: Option<String>,
    /// Print as JSON: the list, or the preset with its text
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The file
    pub(crate) file: PathBuf,
    /// Draw which weights this part of the network holds, written as `restrict` in a run file, by the names in the file
    #[arg(long, value_name = "EXPR")]
    pub(crate) restrict: Option<Restriction>,
    /// Print as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

// As above.
const CALIBRATE_HELP: &str = "\
Starts from the settings of the measurement, estimates around a few checkpoints, and prints the settings that fit all of \
them as lines for the run file. The step size is the largest at which the finite step makes at most a tenth of the \
estimate; the localisation the weakest at which every estimate is accepted; nβ is moved from n/ln n only where the \
estimate is not flat there. Nothing is written into the run.

In a run file, `calibrate = true` (or a list of steps) in [measure.NAME] does the same before anything is measured, and \
keeps the evidence in the run and its report.

Exit code 1 says that nothing fits; stderr says why.

Examples:
  ontogeny calibrate runs/grokking-3f9a
  ontogeny calibrate runs/grokking-3f9a --measure llc_unembed --steps 1000,3000 --plot calibration.html
  ontogeny calibrate runs/grokking-3f9a --json";

#[derive(Debug, Args)]
pub(crate) struct CalibrateArgs {
    /// Folder of the run
    pub(crate) dir: PathBuf,
    /// The measurement, by its name in the run file [default: the first learning coefficient]
    #[arg(long, value_name = "NAME")]
    pub(crate) measure: Option<String>,
    /// Steps of the checkpoints, separated by commas [default: three spread over the run]
    #[arg(long, value_name = "STEPS", value_delimiter = ',')]
    pub(crate) steps: Vec<u64>,
    /// Write what was tried as a page with maps
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
    /// Print everything as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Threads [default: one for each core]; the result does not depend on them
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<std::num::NonZero<usize>>,
}

// As above.
const EXPLAIN_HELP: &str = "\
Of each part (heads and MLPs, or hidden layers, unless --parts names others) the table has: `needed`, what the difference between \
the logits of the right and a wrong answer loses when the part is that of a corrupted example; its `share` of the difference between \
clean and corrupted examples; `suffices`, what a corrupted example wins with the part of the clean one; `attribution`, `needed` to \
first order; `direct`, what the part itself writes into the difference. Of a transition all are differences between the checkpoints \
after and before it, and there is `ablation`, the rise of the loss with the part at its mean, `rewind`, the rise of the loss with the \
weights it had before, `moved`, how far its weights went, relative to their norm, and the change of the learning coefficient restricted to it, \
where the run measures one. Errors are 95 % intervals over the examples.

A part with * is held responsible: `needed` is told from 0 at 5 % over all parts together, and is a twentieth of the whole or more. \
First come the effects to first order, from one gradient; the others follow in the order of their sizes while the budget lasts.

Examples:
  ontogeny explain runs/induction-3f9a --transition 1
  ontogeny explain runs/induction-3f9a --behaviour '3 1 4 7 3 1,4' --budget-prompts 32
  ontogeny explain runs/text-77c0 --behaviour 'Once upon a, time' --foil ' day' --json";

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Folder of the run
    pub(crate) dir: PathBuf,
    /// A transition of the run, counted from 1 as `ontogeny show` lists them
    #[arg(long, value_name = "K", conflicts_with = "behaviour")]
    pub(crate) transition: Option<usize>,
    /// A prompt and its answer, with a comma between them: text where the task has words, else ids between spaces
    #[arg(long, value_name = "INPUT,TARGET", allow_hyphen_values = true)]
    pub(crate) behaviour: Option<String>,
    /// The answer to compare with [default: what follows in the examples that are compared with]
    #[arg(long, value_name = "TOKEN", requires = "behaviour")]
    pub(crate) foil: Option<String>,
    /// The prompt to compare with [default: examples of the task]
    #[arg(long, value_name = "INPUT", requires = "behaviour")]
    pub(crate) against: Option<String>,
    /// Step of the checkpoint [default: the last]
    #[arg(long, value_name = "STEP", requires = "behaviour")]
    pub(crate) step: Option<u64>,
    /// Parts that come into question, separated by commas: l0h2, "l0 mlp", heads, mlps, neurons, or activations
    #[arg(long, value_name = "PARTS", value_delimiter = ',')]
    pub(crate) parts: Vec<String>,
    /// Examples at most
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) budget_prompts: usize,
    /// Seconds after which nothing new is begun
    #[arg(long, value_name = "S", default_value_t = 60.0)]
    pub(crate) budget_seconds: f64,
    /// Print everything as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Threads of chains [default: one for each core]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<std::num::NonZero<usize>>,
}

#[derive(Debug, Args)]
pub(crate) struct LookArgs {
    /// Split of the task [default: even, else test, else train]
    #[arg(long, value_name = "NAME")]
    pub(crate) split: Option<String>,
    /// Examples that are looked at, evenly spaced over the split
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) examples: usize,
    /// Examples that are shown
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) top: usize,
    /// Print everything as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExamplesArgs {
    /// Folder of the run
    pub(crate) dir: PathBuf,
    /// A part: l0n7, l1h2, "l0 mlp", or an activation such as blocks.0.hook_resid_post; can be given several times
    #[arg(long = "part", value_name = "PART", required = true)]
    pub(crate) parts: Vec<String>,
    /// Step of the checkpoint [default: the last]
    #[arg(long, value_name = "STEP")]
    pub(crate) step: Option<u64>,
    #[command(flatten)]
    pub(crate) look: LookArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// Folder of the first run, whose task gives the examples
    pub(crate) dir: PathBuf,
    /// Step of its checkpoint [default: the last]
    #[arg(long, value_name = "STEP")]
    pub(crate) step: Option<u64>,
    /// Folder of the second run, which may have another network [default: the first]
    #[arg(long, value_name = "DIR")]
    pub(crate) with: Option<PathBuf>,
    /// Step of its checkpoint [default: the last]
    #[arg(long, value_name = "STEP")]
    pub(crate) with_step: Option<u64>,
    #[command(flatten)]
    pub(crate) look: LookArgs,
}

// As above.
const BENCH_HELP: &str = "\
A chain-step is one gradient and one update of one chain; its time is wall-clock time divided by the number of chains. The \
median over blocks of steps is printed with the quartiles. GFLOP/s count the operations that the compiled program executes, \
a multiply-add as two, without the update; `of peak` compares them with large matrix products of the engine itself on as \
many cores; `of copy` compares the traffic of weights, gradient and update, the least there is, with copying on one core. \
Each workload runs in a process of its own, whose largest memory is shown. With several threads, `x one chain` is the \
throughput over that of one chain on one thread, measured before and after.

The time must be the machine's own: nothing else may run. Pin one thread with `taskset -c 1 ontogeny bench`.

Examples:
  ontogeny bench
  ontogeny bench --only W2,W3 --seconds 5 --json
  ontogeny bench --only W1,W2,W3,W6 --threads 2 --chains 2
  ontogeny bench --plan W2
  ontogeny bench --export workloads";

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Only these workloads, such as W2,W3 [default: all]
    #[arg(long, value_name = "IDS", value_delimiter = ',', value_parser = workload)]
    pub(crate) only: Vec<&'static Workload>,
    /// Seconds of measuring for each workload, up to 3600
    #[arg(long, value_name = "S", default_value = "5", value_parser = seconds)]
    pub(crate) seconds: f64,
    /// Threads that step chains: each its own, or several share the work of one where chains are fewer
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: u16,
    /// Chains; W1x64 has at least its 64
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) chains: u16,
    /// Print as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the compiled program of this workload, with the time of every step
    #[arg(long, value_name = "ID", value_parser = workload, conflicts_with_all = ["json", "export"])]
    pub(crate) plan: Option<&'static Workload>,
    /// Write weights, inputs, loss and gradient of the workloads as safetensors; measure nothing
    #[arg(long, value_name = "DIR", conflicts_with = "json")]
    pub(crate) export: Option<PathBuf>,
    /// Sample this many steps of each chain around the workload's weights with the given step size, temperature and
    /// localisation, and print losses and time as JSON: one side of a comparison with another program
    #[arg(long, hide = true, value_name = "STEPS,EPSILON,N_BETA,GAMMA", value_parser = sampling)]
    pub(crate) sample: Option<(usize, [f32; 3])>,
    /// Measure in this process and print a line for each workload: how this command calls itself
    #[arg(long, hide = true)]
    pub(crate) measured_here: bool,
}

// As above.
const DOCTOR_HELP: &str = "\
With --posterior, chains of every sampler whose law is known (all but adam_sgld) run on losses whose mean of n*beta*(L - L*) is known at the temperature, \
localisation and step size of the case: quadratics, monomials, crossings in a well and in a box, minibatches, deep linear \
networks, a restriction. Where a finite step biases a sampler, the exact value holds that bias, and a verdict that refuses the \
estimate for it is as it should be. z is the distance in stated standard errors. Exit code 1 if any |z| is above 4.

Examples:
  ontogeny doctor
  ontogeny doctor --posterior
  ontogeny doctor --posterior --seed 7 --json";

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Hold estimates against exact answers; some ten seconds on two cores
    #[arg(long)]
    pub(crate) posterior: bool,
    /// Seed of the chains
    #[arg(long, value_name = "SEED", default_value_t = 0, requires = "posterior")]
    pub(crate) seed: u32,
    /// Print as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Threads [default: one for each core]; the result does not depend on them
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<std::num::NonZero<usize>>,
}

fn workload(text: &str) -> Result<&'static Workload, String> {
    bench::find(text).ok_or_else(|| {
        let ids: Vec<&str> = bench::WORKLOADS.iter().map(|workload| workload.id).collect();
        format!("no workload is called `{text}`; there are {}", ids.join(", "))
    })
}

fn sampling(text: &str) -> Result<(usize, [f32; 3]), String> {
    let expected = || format!("`{text}` is no number of steps and three positive numbers, separated by commas");
    let numbers: Vec<&str> = text.split(',').collect();
    let [steps, rest @ ..] = numbers.as_slice() else { return Err(expected()) };
    let steps = steps.trim().parse().map_err(|_| expected())?;
    let rest: Vec<f32> = rest.iter().map(|x| x.trim().parse()).collect::<Result<_, _>>().map_err(|_| expected())?;
    let rest: [f32; 3] = rest.try_into().map_err(|_| expected())?;
    if rest.iter().all(|x| *x > 0.0 && x.is_finite()) { Ok((steps, rest)) } else { Err(expected()) }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.trim().parse::<f64>().ok().filter(|s| *s > 0.0 && *s <= 3600.0);
    seconds.ok_or_else(|| format!("`{text}` is no number above 0 and at most 3600"))
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err(format!("`{text}` has no `=`; expected KEY=VALUE, such as train.steps=1000")),
    }
}

fn every(text: &str) -> Result<Every, String> {
    let (names, number) = text.rsplit_once('=').map_or((None, text), |(name, number)| (Some(name.trim()), number));
    let steps = number.trim().parse::<f64>().ok().filter(|k| *k > 0.0 && *k <= 1e9);
    let steps = steps.ok_or_else(|| {
        format!("`{number}` is no number above 0 and at most 1e9; expected K or NAME=K, such as loss=100")
    })?;
    let names = names.map(|name| name.parse::<NameGlob>().map_err(|error| error.to_string())).transpose()?;
    Ok(Every { names, steps })
}
