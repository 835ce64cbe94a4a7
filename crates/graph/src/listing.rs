//! What a program does, step by step, in words and numbers: nodes, operations, bytes, and times when measured.

use std::fmt;
use std::time::Instant;

use crate::plan::{Plan, Step};
use crate::program::{Program, RunError, Workspace};

/// Mean times of the steps of a program.
#[derive(Debug, Clone)]
pub struct Profile<'a> {
    plan: &'a Plan,
    /// Milliseconds of each step.
    times: Vec<f64>,
}

impl Program {
    /// Times every step over `n` executions.
    ///
    /// # Errors
    /// As for [`Program::run`].
    pub fn profile(&self, workspace: &mut Workspace, weights: &[f32], n: usize) -> Result<Profile<'_>, RunError> {
        let execution = self.execution(workspace, weights)?;
        let mut times = vec![0.0; self.plan.steps.len()];
        for _ in 0..n {
            for (step, time) in self.plan.steps.iter().zip(&mut times) {
                let begun = Instant::now();
                execution.run(step)?;
                *time += begun.elapsed().as_secs_f64() * 1e3 / n as f64;
            }
        }
        Ok(Profile { plan: &self.plan, times })
    }
}

impl Profile<'_> {
    /// Milliseconds of one execution.
    pub fn total_ms(&self) -> f64 {
        self.times.iter().sum()
    }
}

impl fmt::Display for Profile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, self.plan, Some(&self.times))
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "workspace {:.2} MB for {} weights", self.workspace_bytes() as f64 / 1e6, self.space().len())?;
        list(f, &self.plan, None)
    }
}

/// One line for each step: a group of nodes that one kernel computes.
fn list(f: &mut fmt::Formatter<'_>, plan: &Plan, times: Option<&[f64]>) -> fmt::Result {
    let n_nodes: usize = plan.steps.iter().map(|step| step.n_nodes).sum();
    let flops: usize = plan.steps.iter().map(|step| step.flops).sum();
    let traffic: usize = plan.steps.iter().map(bytes).sum();
    let n = plan.steps.len();
    writeln!(f, "{n_nodes} nodes in {n} groups, {:.3} Mflop, {:.3} MB read and written", mega(flops), mega(traffic))?;
    write!(f, "{:>5}  {:8} {:>5} {:>10} {:>9}", "group", "kernel", "nodes", "Mflop", "MB")?;
    if times.is_some() {
        write!(f, " {:>9} {:>6} {:>8} {:>6}", "ms", "share", "GFLOP/s", "GB/s")?;
    }
    writeln!(f, "  result")?;
    let total: f64 = times.into_iter().flatten().sum();
    for (i, step) in plan.steps.iter().enumerate() {
        write!(f, "{i:>5}  {:8} {:>5} ", step.kernel.kind(), step.n_nodes)?;
        write!(f, "{:>10.3} {:>9.3}", mega(step.flops), mega(bytes(step)))?;
        if let Some(&ms) = times.and_then(|times| times.get(i)) {
            let (gflops, gigabytes) = (mega(step.flops) / ms, mega(bytes(step)) / ms);
            write!(f, " {ms:>9.4} {:>5.1}% {gflops:>8.1} {gigabytes:>6.1}", 100.0 * ms / total)?;
        }
        writeln!(f, "  {:?} {}: {}", step.shape, step.operation, step.label)?;
    }
    if times.is_some() {
        writeln!(f, "{total:.4} ms, {:.1} GFLOP/s", mega(flops) / total)?;
    }
    Ok(())
}

/// Bytes that a step reads and writes, those in between its strides included.
fn bytes(step: &Step) -> usize {
    4 * step.kernel.spans().iter().map(|span| span.len).sum::<usize>()
}

fn mega(n: usize) -> f64 {
    n as f64 / 1e6
}
