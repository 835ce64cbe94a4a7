//! Time and memory of an exact trajectory PCA: `trajectory_pca [CHECKPOINTS] [OUTPUTS] [RUNS]`.

#![expect(clippy::print_stdout, reason = "an example prints its result")]

use ontogeny_stats::{TrajectoryGram, random_walk_shares};
use std::time::Instant;

/// Columns handed over at a time.
const BLOCK: usize = 512;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let argument = |i: usize, or: usize| std::env::args().nth(i).and_then(|a| a.parse().ok()).unwrap_or(or);
    let (n_rows, n_columns, n_runs) = (argument(1, 500), argument(2, 10_000), argument(3, 5));
    let exact = random_walk_shares(n_rows)?;
    let mut times = vec![];
    for run in 0..n_runs {
        let mut gram = TrajectoryGram::new(n_rows, 1)?;
        let mut seconds = 0.0;
        let mut state = run as u64 + 1;
        for first in (0..n_columns).step_by(BLOCK) {
            let n = BLOCK.min(n_columns - first);
            // A random walk of even steps ±1: making the data is not part of the time.
            let mut block = vec![0.0; n_rows * n];
            for t in 1..n_rows {
                for d in 0..n {
                    state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                    let step = if state >> 63 == 0 { 1.0 } else { -1.0 };
                    block[t * n + d] = block[(t - 1) * n + d] + step;
                }
            }
            let start = Instant::now();
            gram.add_columns(&block, &vec![0.0; n])?;
            seconds += start.elapsed().as_secs_f64();
        }
        let start = Instant::now();
        let pca = gram.principal_components(3)?;
        let solve = start.elapsed().as_secs_f64();
        times.push(seconds + solve);
        println!(
            "products {seconds:.3} s, components {solve:.3} s; shares {:.4?} (walk: {:.4?})",
            pca.shares,
            &exact[..3]
        );
    }
    times.sort_by(f64::total_cmp);
    println!(
        "{n_rows} checkpoints x {n_columns} outputs: fastest {:.3} s, median {:.3} s",
        times[0],
        times[times.len() / 2]
    );
    if let Ok(status) = fs_err::read_to_string("/proc/self/status") {
        let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("peak memory unknown");
        println!("{peak}");
    }
    Ok(())
}
