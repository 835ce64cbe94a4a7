//! `ontogeny bench`: what a chain-step costs on this machine.

use std::num::NonZero;
use std::process::{Command, Stdio};

use comfy_table::{CellAlignment, Table, presets};
use ontogeny_graph::Langevin;
use serde::Serialize;

use super::CommandError;
use crate::bench::{BenchError, Machine, Measurement, Sampling, WORKLOADS, Workload, export, measure, plan, sample};
use crate::cli::{BenchArgs, exit};
use crate::progress::Counter;
use crate::terminal::{number, print, say};

pub(crate) fn bench(args: &BenchArgs) -> Result<u8, CommandError> {
    let chosen: Vec<&'static Workload> =
        if args.only.is_empty() { WORKLOADS.iter().collect() } else { args.only.clone() };
    if args.measured_here {
        let threads = NonZero::new(args.threads.into()).unwrap_or(NonZero::<usize>::MIN);
        for workload in chosen {
            let measurement = measure(workload, threads, n_chains(args, workload), args.seconds)?;
            print(&serde_json::to_string(&measurement)?);
        }
        return Ok(exit::DONE);
    }
    if let Some((steps, [step_size, n_beta, localization])) = args.sample {
        let langevin = Langevin { step_size, n_beta, localization };
        for workload in chosen {
            let sampling = Sampling { chains: args.chains.into(), steps, langevin };
            print(&serde_json::to_string(&sample(workload, &sampling)?)?);
        }
        return Ok(exit::DONE);
    }
    if let Some(workload) = args.plan {
        print(&plan(workload, args.seconds)?);
        return Ok(exit::DONE);
    }
    if let Some(folder) = &args.export {
        for workload in chosen {
            export(workload, folder)?;
            say(&format!("  wrote    {}", folder.join(format!("{}.safetensors", workload.id)).display()));
        }
        return Ok(exit::DONE);
    }
    let counter = Counter::new("bench");
    let n_parts = chosen.len() + 1;
    let machine = Machine::measure(args.seconds.min(3.0))?;
    counter.on(1, n_parts);
    let mut workloads = Vec::new();
    for (i, workload) in chosen.into_iter().enumerate() {
        workloads.push(Row::new(in_a_process_of_its_own(args, workload)?, &machine));
        counter.on(i + 2, n_parts);
    }
    counter.finish();
    let output = Output { machine, workloads };
    if args.json {
        print(&serde_json::to_string(&output)?);
    } else {
        print_table(&output);
    }
    Ok(exit::DONE)
}

fn n_chains(args: &BenchArgs, workload: &Workload) -> usize {
    workload.chains.max(args.chains.into())
}

/// The memory of a workload is that of a process that does nothing else.
fn in_a_process_of_its_own(args: &BenchArgs, workload: &'static Workload) -> Result<Measurement, CommandError> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["bench", "--measured-here", "--only", workload.id]);
    for (option, value) in [
        ("--seconds", args.seconds.to_string()),
        ("--threads", args.threads.to_string()),
        ("--chains", args.chains.to_string()),
    ] {
        command.args([option, &value]);
    }
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    let failed = |found: String| BenchError::Child { workload: workload.id, found };
    if !output.status.success() {
        return Err(failed(format!("ended with {}", output.status)).into());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| failed(format!("wrote something else ({error})")).into())
}

/// The JSON object.
#[derive(Serialize)]
struct Output {
    machine: Machine,
    workloads: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    measurement: Measurement,
    /// GFLOP/s over those of large matrix products on as many cores.
    peak_share: f64,
    /// Traffic of the weights in one chain-step over what copying reaches on one core: a lower bound of all traffic.
    copy_share: f64,
}

/// Passes over a vector as long as the weights in one chain-step: the program reads the weights and writes the gradient;
/// the update reads both, and the start (SGLD) or two moments which it also writes (AdamW), and writes the weights.
const PASSES: f64 = 6.0;

impl Row {
    fn new(measurement: Measurement, machine: &Machine) -> Self {
        let peak = machine.gemm_peak_gflops * measurement.threads as f64;
        let traffic_gb = 4.0 * PASSES * measurement.n_params as f64 / 1e9;
        let copied = machine.copy_gb_per_s * measurement.ms_per_chain_step / 1e3;
        Self { peak_share: measurement.gflops / peak, copy_share: traffic_gb / copied, measurement }
    }
}

fn print_table(output: &Output) {
    let Output { machine, workloads } = output;
    print(&format!("{}, {} cores, instruction set {}", machine.cpu, machine.cores, machine.isa));
    print(&format!(
        "one core: {:.1} GFLOP/s in large matrix products, {:.1} GB/s in copying",
        machine.gemm_peak_gflops, machine.copy_gb_per_s
    ));
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let has_speedup = workloads.iter().any(|row| row.measurement.speedup.is_some());
    let mut header =
        vec!["workload", "threads", "chains", "ms/chain-step", "25-75 %", "GFLOP/s", "of peak", "of copy", "MB"];
    if has_speedup {
        header.push("x one chain");
    }
    header.push("");
    table.set_header(header);
    for row in workloads {
        let m = &row.measurement;
        let mut cells = vec![
            m.workload.clone(),
            m.threads.to_string(),
            m.chains.to_string(),
            number(m.ms_per_chain_step),
            m.ms_quartiles.map(number).join("-"),
            number(m.gflops),
            percent(row.peak_share),
            percent(row.copy_share),
            m.peak_rss_mb.map_or_else(|| "–".to_owned(), |mb| format!("{mb:.0}")),
        ];
        if has_speedup {
            cells.push(m.speedup.map_or_else(|| "–".to_owned(), |factor| format!("{factor:.2}")));
        }
        cells.push(m.about.clone());
        table.add_row(cells);
    }
    let n_columns = table.column_count();
    for column in table.column_iter_mut().take(n_columns - 1).skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    print(&table.to_string());
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}
