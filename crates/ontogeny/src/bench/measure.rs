//! Steps a workload's chains and times them.

use std::hint::black_box;
use std::num::NonZero;
use std::ops::Range;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use ontogeny_graph::{Free, Program, Purpose, RunError, Stream, Threads, Workspace, adam, sgld};
use ontogeny_posterior::threads_each;
use serde::{Deserialize, Serialize};

use super::BenchError;
use super::machine::peak_rss_mb;
use super::recipe::Network;
use super::workloads::{Update, Workload};

/// A block of steps takes at least this long, so that the clock does not matter.
const BLOCK_SECONDS: f64 = 1e-3;
/// A median of fewer blocks is none.
const MIN_BLOCKS: usize = 3;

/// What one workload cost. All times are of a *chain-step*: one gradient and one update of one chain, in wall-clock time
/// divided by the number of chains, so that its inverse is the throughput of all chains together.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Measurement {
    pub(crate) workload: String,
    /// In words.
    pub(crate) about: String,
    /// Threads that stepped chains, those that shared the work of one included.
    pub(crate) threads: usize,
    pub(crate) chains: usize,
    /// Median over blocks of steps.
    pub(crate) ms_per_chain_step: f64,
    /// Lower and upper quartile over blocks.
    pub(crate) ms_quartiles: [f64; 2],
    /// The fastest block.
    pub(crate) ms_fastest: f64,
    /// Chain-steps that were timed.
    pub(crate) n_steps: usize,
    /// Floating-point operations that the program executes for one gradient, a multiply-add as two. What the simplifier
    /// removed is not among them, nor is the update.
    pub(crate) flops: usize,
    /// From `flops` and the median.
    pub(crate) gflops: f64,
    /// Weights of the network.
    pub(crate) n_params: usize,
    /// Of one workspace: activations, gradient and inputs.
    pub(crate) workspace_mb: f64,
    /// Largest resident memory of the process that measured this workload alone; `None` where the system does not tell.
    pub(crate) peak_rss_mb: Option<f64>,
    /// Throughput relative to one chain on one thread, measured before and after; with one thread `None`.
    pub(crate) speedup: Option<f64>,
}

/// Measures for about `seconds`, and as long again for the reference of one chain where there are more threads.
pub(crate) fn measure(
    workload: &Workload,
    threads: NonZero<usize>,
    chains: usize,
    seconds: f64,
) -> Result<Measurement, BenchError> {
    let network = (workload.build)();
    let program = network.compile()?;
    let job = Job { program: &program, network: &network, start: &network.weights(), ranges: &network.ranges() };
    let each = threads_each(chains, threads);
    let workers = threads.get().min(chains);
    let threads = workers * each.get();
    let one = NonZero::<usize>::MIN;
    let alone = |seconds: f64| job.times(workload.update, (1, one), 1, seconds).map(|times| times.median);
    let (times, speedup) = if threads == 1 {
        (job.times(workload.update, (1, one), chains, seconds)?, None)
    } else {
        let before = alone(0.5 * seconds)?;
        let times = job.times(workload.update, (workers, each), chains, seconds)?;
        let after = alone(0.5 * seconds)?;
        let speedup = 0.5 * (before + after) / times.median;
        (times, Some(speedup))
    };
    let flops = program.flops();
    Ok(Measurement {
        workload: workload.id.to_owned(),
        about: workload.about.to_owned(),
        threads,
        chains,
        ms_per_chain_step: times.median,
        ms_quartiles: times.quartiles,
        ms_fastest: times.fastest,
        n_steps: times.n_steps,
        flops,
        gflops: flops as f64 / times.median / 1e6,
        n_params: program.space().len(),
        workspace_mb: program.workspace_bytes() as f64 / 1e6,
        peak_rss_mb: peak_rss_mb(),
        speedup,
    })
}

/// What all chains share.
struct Job<'a> {
    program: &'a Program,
    network: &'a Network,
    start: &'a [f32],
    ranges: &'a [Range<usize>],
}

/// Milliseconds of a chain-step.
struct Times {
    median: f64,
    quartiles: [f64; 2],
    fastest: f64,
    n_steps: usize,
}

/// What one thread measured: milliseconds of a chain-step in each block, ascending.
#[derive(Debug, Default)]
struct Blocks {
    times: Vec<f64>,
    n_steps: usize,
}

impl Blocks {
    fn quantile(&self, quantile: f64) -> f64 {
        self.times[(quantile * (self.times.len() - 1) as f64).round() as usize]
    }
}

/// One chain between two steps.
struct Chain {
    weights: Vec<f32>,
    /// First and second, for AdamW; else empty.
    moments: [Vec<f32>; 2],
    noise: Stream,
    step: u32,
}

impl Job<'_> {
    /// `chains` chains dealt out to some workers; each steps its own in turn, in one workspace with so many threads.
    fn times(
        &self,
        update: Update,
        (threads, each): (usize, NonZero<usize>),
        chains: usize,
        seconds: f64,
    ) -> Result<Times, BenchError> {
        let barrier = Barrier::new(threads);
        let worker = |thread: usize| {
            let own = (thread..chains).step_by(threads).map(|chain| self.chain(update, chain)).collect();
            self.blocks(update, own, &Threads::new(each), seconds, &barrier)
        };
        let blocks: Vec<Blocks> = thread::scope(|scope| {
            let worker = &worker;
            let handles: Vec<_> = (1..threads).map(|at| scope.spawn(move || worker(at))).collect();
            let first = worker(0);
            let others = handles.into_iter().map(|handle| handle.join().expect("a thread of chains does not panic"));
            std::iter::once(first).chain(others).collect::<Result<_, RunError>>()
        })?;
        let n_steps = blocks.iter().map(|own| own.n_steps).sum();
        // Rates of threads that run side by side add up.
        let at = |quantile: f64| 1.0 / blocks.iter().map(|own| 1.0 / own.quantile(quantile)).sum::<f64>();
        Ok(Times { median: at(0.5), quartiles: [at(0.25), at(0.75)], fastest: at(0.0), n_steps })
    }

    /// Steps the chains of one thread until the time is over. All threads begin together.
    fn blocks(
        &self,
        update: Update,
        mut chains: Vec<Chain>,
        threads: &Threads,
        seconds: f64,
        barrier: &Barrier,
    ) -> Result<Blocks, RunError> {
        let warm = self.network.workspace(self.program, threads).and_then(|mut workspace| {
            self.round(update, &mut chains, &mut workspace, threads)?;
            let begun = Instant::now();
            if seconds > BLOCK_SECONDS {
                self.round(update, &mut chains, &mut workspace, threads)?;
            }
            Ok((workspace, (BLOCK_SECONDS / begun.elapsed().as_secs_f64().max(1e-9)).clamp(1.0, 1e5) as usize))
        });
        // A thread that failed must not leave the others waiting.
        barrier.wait();
        let (mut workspace, n_rounds) = warm?;
        let mut blocks = Blocks::default();
        let n_steps = n_rounds * chains.len();
        let begun = Instant::now();
        while begun.elapsed().as_secs_f64() < seconds || blocks.times.len() < MIN_BLOCKS {
            let at = Instant::now();
            for _ in 0..n_rounds {
                self.round(update, &mut chains, &mut workspace, threads)?;
            }
            blocks.times.push(at.elapsed().as_secs_f64() * 1e3 / n_steps as f64);
            blocks.n_steps += n_steps;
        }
        blocks.times.sort_by(f64::total_cmp);
        Ok(blocks)
    }

    /// One step of each chain.
    fn round(
        &self,
        update: Update,
        chains: &mut [Chain],
        workspace: &mut Workspace,
        threads: &Threads,
    ) -> Result<(), RunError> {
        for chain in chains {
            self.program.run(workspace, &chain.weights)?;
            let gradient = workspace.gradient(self.program);
            match update {
                Update::Sgld(langevin) => {
                    let free = Free { ranges: self.ranges, noise: &chain.noise, step: chain.step };
                    black_box(sgld(&mut chain.weights, self.start, gradient, free, &langevin, threads));
                }
                Update::AdamW(rate, adamw) => {
                    let [first, second] = &mut chain.moments;
                    adam(&mut chain.weights, gradient, [first, second], u64::from(chain.step), rate, &adamw, threads);
                }
            }
            chain.step = chain.step.wrapping_add(1);
        }
        Ok(())
    }

    fn chain(&self, update: Update, number: usize) -> Chain {
        let n_moments = if matches!(update, Update::AdamW(..)) { self.start.len() } else { 0 };
        Chain {
            weights: self.start.to_vec(),
            moments: [vec![0.0; n_moments], vec![0.0; n_moments]],
            noise: Stream::new(0, Purpose::ChainNoise, number as u64),
            step: 0,
        }
    }
}
