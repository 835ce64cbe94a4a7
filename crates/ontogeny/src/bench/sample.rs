//! Chains of a workload with their losses: what effective samples cost here, to be compared with other programs.

use std::time::Instant;

use ontogeny_graph::{Free, Langevin, Purpose, Stream, Threads, sgld};
use serde::Serialize;

use super::BenchError;
use super::recipe::Network;
use super::workloads::Workload;

/// How to sample.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sampling {
    pub(crate) chains: usize,
    pub(crate) steps: usize,
    pub(crate) langevin: Langevin,
}

/// The loss at every step of every chain, before the step's update, and what all of it took.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sampled {
    workload: &'static str,
    /// Of the start.
    baseline: f64,
    losses: Vec<Vec<f64>>,
    /// Of the chains alone: compiling and the start are not counted.
    seconds: f64,
}

/// Samples around the exported weights by SGLD, on the exported batch, on one thread.
pub(crate) fn sample(workload: &Workload, sampling: &Sampling) -> Result<Sampled, BenchError> {
    let network: Network = (workload.build)();
    let program = network.compile()?;
    let (start, ranges, one) = (network.weights(), network.ranges(), Threads::one());
    let mut workspace = network.workspace(&program, &one)?;
    program.run(&mut workspace, &start)?;
    let loss = |workspace: &ontogeny_graph::Workspace| f64::from(workspace.output(&program, "loss")[0]);
    let baseline = loss(&workspace);
    let begun = Instant::now();
    let mut losses = Vec::new();
    for chain in 0..sampling.chains {
        let noise = Stream::new(0, Purpose::ChainNoise, chain as u64);
        let mut weights = start.clone();
        let mut own = Vec::with_capacity(sampling.steps);
        for step in 0..sampling.steps {
            program.run(&mut workspace, &weights)?;
            own.push(loss(&workspace));
            let free = Free { ranges: &ranges, noise: &noise, step: step as u32 };
            sgld(&mut weights, &start, workspace.gradient(&program), free, &sampling.langevin, &one);
        }
        losses.push(own);
    }
    Ok(Sampled { workload: workload.id, baseline, losses, seconds: begun.elapsed().as_secs_f64() })
}
