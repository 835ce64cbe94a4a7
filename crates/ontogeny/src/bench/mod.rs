//! What one step costs on this machine: workloads, their measurement, and their export for other programs.

mod export;
mod machine;
mod measure;
mod recipe;
mod sample;
mod workloads;

use ontogeny_graph::{GraphError, RunError, Threads};

pub(crate) use export::export;
pub(crate) use machine::{Machine, cores, cpu};
pub(crate) use measure::{Measurement, measure};
pub(crate) use sample::{Sampling, sample};
pub(crate) use workloads::{WORKLOADS, Workload, find};

/// Why a measurement failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("failed to write a safetensors file: {0}")]
    Safetensors(#[from] safetensors::SafeTensorError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A process that measures one workload.
    #[error(
        "the process that measures {workload} {found}; expected one JSON object; try a smaller workload with --only"
    )]
    Child { workload: &'static str, found: String },
}

/// The plan of a workload's program, with the mean time of every step.
pub(crate) fn plan(workload: &Workload, seconds: f64) -> Result<String, BenchError> {
    let network = (workload.build)();
    let program = network.compile()?;
    let weights = network.weights();
    let mut workspace = network.workspace(&program, &Threads::one())?;
    let once = program.profile(&mut workspace, &weights, 1)?.total_ms();
    let n = (1e3 * seconds / once.max(1e-6)).clamp(1.0, 1e6) as usize;
    let profile = program.profile(&mut workspace, &weights, n)?;
    Ok(format!(
        "{}: {}\nworkspace {:.2} MB; means of {n} executions, without the update\n{profile}",
        workload.id,
        workload.about,
        program.workspace_bytes() as f64 / 1e6
    ))
}
