//! Times one SGLD step of the one-layer transformer w2s on the inputs that `benches/peers/w2s.py FOLDER` wrote.
//!
//! `cargo run --release -p ontogeny-graph --example w2s -- FOLDER [SECONDS] [plan]`

#[path = "../tests/common/mod.rs"]
mod common;

use std::io::{Error, ErrorKind};
use std::time::Instant;

use ontogeny_graph::{Free, Gradient, Isa, Langevin, Program, Purpose, Stream, Workspace, sgld};

const BATCH: usize = 512;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let folder =
        arguments.get(1).ok_or_else(|| Error::new(ErrorKind::InvalidInput, "usage: w2s FOLDER [SECONDS] [plan]"))?;
    let seconds: f64 = arguments.get(2).map_or(Ok(5.0), |s| s.parse())?;
    let read = |name: &str| -> Result<Vec<[u8; 4]>, Error> {
        let bytes = fs_err::read(format!("{folder}/{name}"))?;
        Ok(bytes.chunks_exact(4).map(|c| [c[0], c[1], c[2], c[3]]).collect())
    };

    let t = common::transformer(BATCH, 114, 3, 128, 4, 512);
    let program = Program::compile(&t.graph, &[("loss", t.loss)], Gradient::All(t.loss))?;
    let mut workspace = Workspace::new(&program);
    let mut weights = vec![0.0; program.space().len()];
    for param in program.space().iter() {
        let values = read(&format!("{}.f32", param.name))?;
        weights[param.range.clone()].iter_mut().zip(values).for_each(|(w, x)| *w = f32::from_le_bytes(x));
    }
    for (name, width) in [("tokens", 3), ("targets", 1)] {
        let ids = read(&format!("{name}.i32"))?;
        let input = workspace.ids_mut(&program, name)?;
        input.iter_mut().zip(&ids[..BATCH * width]).for_each(|(to, x)| *to = i32::from_le_bytes(*x));
    }
    program.run(&mut workspace, &weights)?;
    let loss = workspace.output(&program, "loss")[0];
    let norm = workspace.gradient(&program).iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();

    let langevin = Langevin { step_size: 1e-7, n_beta: 100.0, localization: 1.0 };
    let noise = Stream::new(0, Purpose::ChainNoise, 0);
    let start = weights.clone();
    let whole = 0..weights.len();
    let mut times = Vec::new();
    let mut in_update = 0.0;
    let begun = Instant::now();
    while begun.elapsed().as_secs_f64() < seconds || times.len() < 3 {
        let at = Instant::now();
        program.run(&mut workspace, &weights)?;
        let forward = at.elapsed();
        let free = Free { ranges: std::slice::from_ref(&whole), noise: &noise, step: times.len() as u32 };
        sgld(&mut weights, &start, workspace.gradient(&program), free, &langevin);
        in_update += at.elapsed().saturating_sub(forward).as_secs_f64() * 1e3;
        times.push(at.elapsed().as_secs_f64() * 1e3);
    }
    let n = times.len();
    in_update /= n as f64;
    times.sort_by(f64::total_cmp);
    let report = serde_json::json!({
        "workload": "w2s", "median_ms": times[n / 2], "min_ms": times[0], "n": n, "update_ms": in_update,
        "gflops": program.flops() as f64 / times[n / 2] / 1e6, "loss": loss, "gradient_norm": norm,
        "instruction_set": Isa::current().name(), "threads": 1,
    });
    #[expect(clippy::print_stdout, reason = "the report is this example's output")]
    {
        println!("{report}");
        if arguments.iter().any(|a| a == "plan") {
            println!("{program}");
            let mut profile = program.profile(&mut workspace, &weights, 50)?;
            profile.sort_by(|a, b| b.1.total_cmp(&a.1));
            for (label, ms) in profile.iter().take(25) {
                println!("{ms:8.3} ms  {label}");
            }
        }
    }
    Ok(())
}
