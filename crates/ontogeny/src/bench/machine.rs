//! The machine: its processor, and how fast it multiplies matrices and copies memory.

use std::time::Instant;

use ontogeny_graph::{Gradient, Graph, Isa, Program, Purpose, Stream, Workspace};
use serde::Serialize;

use super::BenchError;

/// Edges of the square products whose fastest is the peak.
const PRODUCTS: [usize; 3] = [1024, 1536, 2048];
/// Floats of the array that is copied: far beyond any cache.
const COPIED: usize = 1 << 25;

/// The machine as far as it matters to the figures. Both speeds are of one thread.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    /// Model of the processor, as the system names it.
    pub(crate) cpu: String,
    /// Instruction set that the kernels use here; `ONTOGENY_ISA` can narrow it.
    pub(crate) isa: &'static str,
    pub(crate) cores: usize,
    pub(crate) os: &'static str,
    /// Version of ontogeny.
    pub(crate) version: &'static str,
    /// The fastest of some large square products by the engine itself.
    pub(crate) gemm_peak_gflops: f64,
    /// Bytes read plus bytes written in copying an array far larger than the caches.
    pub(crate) copy_gb_per_s: f64,
}

impl Machine {
    /// Measures for about `seconds`.
    pub(crate) fn measure(seconds: f64) -> Result<Self, BenchError> {
        Ok(Self {
            cpu: cpu(),
            isa: Isa::current().name(),
            cores: cores(),
            os: std::env::consts::OS,
            version: env!("CARGO_PKG_VERSION"),
            gemm_peak_gflops: gemm_peak(0.7 * seconds)?,
            copy_gb_per_s: copy_bandwidth(0.3 * seconds),
        })
    }
}

fn gemm_peak(seconds: f64) -> Result<f64, BenchError> {
    let mut best = 0.0_f64;
    for n in PRODUCTS {
        let mut g = Graph::new();
        let [a, b] = ["a", "b"].map(|name| g.input(name, &[n, n]));
        let product = g.einsum("ik,kj->ij", a, b);
        let program = Program::compile(&g, &[("product", product)], Gradient::None)?;
        let mut workspace = Workspace::new(&program);
        for (i, name) in ["a", "b"].into_iter().enumerate() {
            Stream::new(0, Purpose::Data, i as u64).normals(0, 0, workspace.floats_mut(&program, name)?);
        }
        program.run(&mut workspace, &[])?;
        let begun = Instant::now();
        loop {
            let at = Instant::now();
            program.run(&mut workspace, &[])?;
            best = best.max(program.flops() as f64 / at.elapsed().as_secs_f64() / 1e9);
            if begun.elapsed().as_secs_f64() > seconds / PRODUCTS.len() as f64 {
                break;
            }
        }
    }
    Ok(best)
}

fn copy_bandwidth(seconds: f64) -> f64 {
    let from = vec![1.0_f32; COPIED];
    let mut to = vec![0.0_f32; COPIED];
    let mut best = 0.0_f64;
    let begun = Instant::now();
    loop {
        let at = Instant::now();
        to.copy_from_slice(std::hint::black_box(&from));
        std::hint::black_box(&to);
        best = best.max(8.0 * COPIED as f64 / at.elapsed().as_secs_f64() / 1e9);
        if begun.elapsed().as_secs_f64() > seconds {
            return best;
        }
    }
}

/// The processor's name; a virtual machine's name says little, so family and model follow where they are known.
pub(crate) fn cpu() -> String {
    let info = fs_err::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |key: &str| {
        let line = info.lines().find(|line| line.split(':').next().is_some_and(|own| own.trim() == key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    match (field("model name"), field("cpu family"), field("model")) {
        (Some(name), Some(family), Some(model)) => format!("{name} (family {family}, model {model})"),
        (Some(name), ..) => name,
        _ => format!("unknown {}", std::env::consts::ARCH),
    }
}

/// Cores of the machine, also where this process may use fewer of them.
pub(crate) fn cores() -> usize {
    let info = fs_err::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let counted =
        info.lines().filter(|line| line.split(':').next().is_some_and(|key| key.trim() == "processor")).count();
    let usable = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    counted.max(usable)
}

/// Largest resident memory of this process so far, in MB of 10⁶ bytes; known on Linux.
pub(crate) fn peak_rss_mb() -> Option<f64> {
    let status = fs_err::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}
