//! A ReLU network at its own teacher, as in Lau et al. 2023: SGLD beside samplers with a Metropolis test at seven numbers of
//! samples, and what becomes of λ̂ when one layer is multiplied by c and the next divided by it; as Markdown tables:
//! `cargo run --release -p ontogeny-posterior --example relu_network -- [mala|oracle|samplers]`

#![expect(clippy::print_stdout, reason = "the tables are this example's output")]

mod network;

use std::error::Error;

use ontogeny_posterior::{Batch, Convergence, Llc, Objective, Sampler, Verdict};

use crate::network::Network;

fn main() -> Result<(), Box<dyn Error>> {
    let wanted = std::env::args().nth(1);
    let is_wanted = |name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
    // Inputs of the loss are the same for every n: full batches are at hand, and only nβ changes.
    let network = Network::new(&[10, 20, 20, 10], 128);
    if is_wanted("mala") {
        sgld_and_mala(&network)?;
    }
    if is_wanted("oracle") {
        oracle(&network)?;
    }
    if is_wanted("samplers") {
        ordinary_samplers(&network)?;
    }
    Ok(())
}

/// Full batches and nβ = n/ln n.
fn settings(sampler: Sampler, n: f64, step_size: f64, localization: f64) -> Llc {
    let n_beta = Some(n / n.ln());
    Llc { sampler, step_size, localization, n_beta, batch: Batch::Full, ..Llc::default() }
}

/// The mean of the draws, accepted or not.
struct Found {
    convergence: Convergence,
    verdict: Verdict,
}

impl Found {
    fn of(llc: &Llc, objective: &Objective, start: &[f32]) -> Result<Self, Box<dyn Error>> {
        let estimate = llc.estimate(objective, start)?;
        let convergence = estimate.diagnostics().convergence.ok_or("a chain diverged")?;
        Ok(Self { convergence, verdict: estimate.verdict() })
    }

    fn cell(&self) -> String {
        let Convergence { mean, mcse, .. } = self.convergence;
        let refused = if self.verdict == Verdict::Ok { String::new() } else { format!(" ({})", self.verdict) };
        format!("{mean:.2} ± {mcse:.2}{refused}")
    }
}

/// γ = 1 and the same ε, start, and number of steps for both: what differs is the error of the finite step, even where
/// neither chain is long enough. HMC, which gets about by trajectories, says where both should end.
fn sgld_and_mala(network: &Network) -> Result<(), Box<dyn Error>> {
    let objective = network.objective(&network.unscaled())?;
    println!("| n | ε | chains × (burn-in + steps) | SGLD | MALA | SGLD/MALA | HMC |\n|---|---|---|---|---|---|---|");
    // ε with acceptances of MALA from 0.93 to 0.98.
    for (n, step_size, chains, burn_in, steps, hmc_draws, leapfrogs) in [
        (100.0, 2e-4, 8, 40_000, 160_000, 600, 64),
        (316.0, 1e-4, 8, 25_000, 50_000, 600, 64),
        (1000.0, 6e-5, 8, 25_000, 50_000, 600, 64),
        (3162.0, 3e-5, 8, 25_000, 50_000, 600, 64),
        (10_000.0, 2.5e-5, 4, 400_000, 400_000, 2000, 64),
        (31_623.0, 4e-6, 16, 12_500, 25_000, 1000, 256),
        (100_000.0, 2e-6, 16, 12_500, 25_000, 1000, 256),
    ] {
        let sgld = settings(Sampler::Sgld, n, step_size, 1.0);
        let sgld = Llc { chains, burn_in, draws: steps / 50, thin: 50, ..sgld };
        let mala = Llc { sampler: Sampler::Mala { target_acceptance: None }, ..sgld.clone() };
        let hmc = Sampler::Hmc { leapfrogs, target_acceptance: Some(0.8) };
        let hmc = Llc { sampler: hmc, chains: 4, burn_in: hmc_draws, draws: hmc_draws, thin: 1, ..sgld.clone() };
        let of = |llc: &Llc| Found::of(llc, &objective, &network.teacher);
        let [sgld, mala, hmc] = [of(&sgld)?, of(&mala)?, of(&hmc)?];
        let [a, b] = [&sgld, &mala].map(|found| found.convergence);
        let ratio = a.mean / b.mean;
        let error = ratio * (a.mcse / a.mean).hypot(b.mcse / b.mean);
        println!(
            "| {n} | {step_size:e} | {chains} × ({burn_in} + {steps}) | {} | {} | {ratio:.3} ± {error:.3} | {} |",
            sgld.cell(),
            mala.cell(),
            hmc.cell()
        );
    }
    println!();
    Ok(())
}

/// γ = 0, n = 1000. SGLD whose step in each parameter is ε times the square of its scale s, and so is its noise: that is SGLD
/// at ε in the coordinates u = w/s, and these are what the chains move.
fn oracle(network: &Network) -> Result<(), Box<dyn Error>> {
    println!("| seed | λ̂ at c = 1 | largest relative difference | at c |\n|---|---|---|---|");
    for seed in 0..5 {
        let at = |c: f64| -> Result<Found, Box<dyn Error>> {
            let (weights, scales) = network.rescaled(c);
            let llc = Llc { burn_in: 2000, draws: 400, thin: 20, seed, ..settings(Sampler::Sgld, 1000.0, 1e-5, 0.0) };
            Found::of(&llc, &network.objective(&scales)?, &network.in_units_of(&weights, &scales))
        };
        let reference = at(1.0)?;
        let (mut furthest, mut place) = (0.0_f64, 1.0);
        // From 1e-4 to 1e4 in half decades.
        for half_decades in -8..=8 {
            let c = 10_f64.powf(0.5 * f64::from(half_decades));
            let apart = (at(c)?.convergence.mean / reference.convergence.mean - 1.0).abs();
            if apart > furthest {
                (furthest, place) = (apart, c);
            }
        }
        println!("| {seed} | {} | {furthest:.1e} | {place:.1e} |", reference.cell());
    }
    println!();
    Ok(())
}

/// The same with a step of one size for all, which is not the same at every c until the chains have forgotten it.
fn ordinary_samplers(network: &Network) -> Result<(), Box<dyn Error>> {
    let objective = network.objective(&network.unscaled())?;
    println!("| sampler | ε | burn-in + steps | c = 0.3 | c = 1 | c = 3 |\n|---|---|---|---|---|---|");
    let (rmsprop, adam) = (Sampler::rmsprop_sgld(), "adam_sgld".parse()?);
    for (sampler, fine, coarse) in [(Sampler::Sgld, 6e-6, 6e-5), (rmsprop, 1e-6, 1e-5), (adam, 1e-6, 1e-5)] {
        for (step_size, burn_in, thin) in [(fine, 2000, 20), (coarse, 40_000, 100)] {
            let llc = Llc { burn_in, draws: 400, thin, ..settings(sampler, 1000.0, step_size, 0.0) };
            let cell = |c| Found::of(&llc, &objective, &network.rescaled(c).0).map(|found| found.cell());
            let cells = [cell(0.3)?, cell(1.0)?, cell(3.0)?].join(" | ");
            println!("| {sampler} | {step_size:e} | {burn_in} + {} | {cells} |", 400 * thin);
        }
    }
    Ok(())
}
