//! What a sampler with a Metropolis test makes of x²y² where its arms are too narrow for its step, and what the verdict says:
//! `cargo run --release -p ontogeny-posterior --example narrow_valleys -- [SEEDS]`

#![expect(clippy::print_stdout, reason = "the table is this example's output")]

use std::error::Error;

use ontogeny_graph::Graph;
use ontogeny_posterior::{Batch, Llc, Objective, ObjectiveError, Sampler, Verdict};

/// Pairs (x, y) side by side.
const COPIES: usize = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let n_seeds: u32 = std::env::args().nth(1).map_or(Ok(10), |text| text.parse())?;
    let objective = crossings()?;
    // On [−1, 1]² at t = 1e8: ½ − ½/(½ ln t + γ_E/2 + ln 2). In a well of γ = 1 at t = 1e6 by quadrature (`tests/posterior/exactness.rs`).
    let in_the_box = 0.5 - 0.5 / (0.5 * 1e8_f64.ln() + 0.981_755_013_011_711_5);
    let in_the_well = 0.437_542_61;
    let mala = |target_acceptance| Sampler::Mala { target_acceptance };
    let hmc = |leapfrogs| Sampler::Hmc { leapfrogs, target_acceptance: None };
    let boxed = |sampler, burn_in, draws, thin| {
        // The curvature at the tips is 2t.
        let llc = settings(sampler, 1e8, 0.5e-8, [burn_in, draws, thin]);
        Llc { bounding_box: Some(1.0), ..llc }
    };
    let well = |sampler, burn_in, draws, thin| {
        // Three standard deviations out it is 18t.
        let llc = settings(sampler, 1e6, 1.0 / 18e6, [burn_in, draws, thin]);
        Llc { localization: 1.0, ..llc }
    };
    println!("| x²y² | step | steps | exact | mean over {n_seeds} seeds | root mean square z | ok | not converged |");
    println!("|---|---|---|---|---|---|---|---|");
    for (case, step, exact, llc) in [
        ("box, t = 1e8", "MALA, 1/√(2t)", in_the_box, boxed(mala(None), 25_000, 1000, 100)),
        ("box, t = 1e8", "MALA, 1/√(2t)", in_the_box, boxed(mala(None), 50_000, 4000, 100)),
        ("box, t = 1e8", "MALA, adapted to 0.574", in_the_box, boxed(mala(Some(0.574)), 50_000, 4000, 100)),
        ("box, t = 1e8", "MALA, adapted to 0.9", in_the_box, boxed(mala(Some(0.9)), 50_000, 4000, 100)),
        ("box, t = 1e8", "HMC, 1/√(2t)", in_the_box, boxed(hmc(3500), 50, 200, 1)),
        ("well, t = 1e6", "MALA, 1/√(18t)", in_the_well, well(mala(None), 50_000, 4000, 100)),
        ("well, t = 1e6", "MALA, adapted to 0.574", in_the_well, well(mala(Some(0.574)), 50_000, 4000, 100)),
        ("well, t = 1e6", "MALA, adapted to 0.9", in_the_well, well(mala(Some(0.9)), 50_000, 4000, 100)),
        ("well, t = 1e6", "HMC, 1/√(18t)", in_the_well, well(hmc(2000), 50, 400, 1)),
    ] {
        let (mut means, mut squares, mut ok) = (Vec::new(), 0.0, 0);
        for seed in 0..n_seeds {
            let estimate = Llc { seed, ..llc.clone() }.estimate(&objective, &[0.0; 2 * COPIES])?;
            let c = estimate.diagnostics().convergence.ok_or("a chain diverged")?;
            means.push(c.mean / COPIES as f64);
            squares += ((c.mean - COPIES as f64 * exact) / c.mcse).powi(2);
            ok += u32::from(estimate.verdict() == Verdict::Ok);
        }
        let n = f64::from(n_seeds);
        let mean = means.iter().sum::<f64>() / n;
        let error = (means.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / (n - 1.0) / n).sqrt();
        println!(
            "| {case} | {step} | {} | {exact:.5} | {mean:.4} ± {error:.4} | {:.1} | {ok} | {} |",
            llc.draws * llc.thin,
            (squares / n).sqrt(),
            n_seeds - ok
        );
    }
    Ok(())
}

fn settings(sampler: Sampler, n_beta: f64, step_size: f64, [burn_in, draws, thin]: [usize; 3]) -> Llc {
    let base = Llc { sampler, step_size, localization: 0.0, n_beta: Some(n_beta), ..Llc::default() };
    Llc { burn_in, draws, thin, batch: Batch::Full, ..base }
}

/// Σ x²y².
fn crossings() -> Result<Objective, ObjectiveError> {
    let mut g = Graph::new();
    let [x, y] = ["x", "y"].map(|name| g.param(name, &[COPIES]));
    let product = g.mul(x, y);
    let square = g.square(product);
    let loss = g.sum(square, &[0]);
    Objective::population(g, loss, 1000)
}
