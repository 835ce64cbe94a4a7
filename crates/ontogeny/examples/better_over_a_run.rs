//! What control variates, paired draws and coupled step sizes are worth on the checkpoints of a run, as Markdown tables:
//! `cargo run --release -p ontogeny --example better_over_a_run -- RUN SEEDS STEP STEP [STEP…]`

#![expect(clippy::print_stdout, reason = "the tables are this example's output")]

use ontogeny::posterior::{Batch, Estimate, Execution, Llc, Objective, Sampler, difference};
use ontogeny::prelude::Run;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let usage = "usage: better_over_a_run RUN SEEDS STEP STEP [STEP…]";
    let n_seeds: u32 = arguments.get(2).ok_or(usage)?.parse()?;
    let steps: Vec<u64> = arguments.iter().skip(3).map(|text| text.parse()).collect::<Result<_, _>>()?;
    let run = Run::open(arguments.get(1).ok_or(usage)?)?;
    let objective = run.objective("train")?;
    let mut checkpoints = Vec::new();
    for (step, weights) in run.checkpoints()? {
        if steps.contains(&step) {
            checkpoints.push((step, weights?));
        }
    }
    // The settings of examples/grokking.toml; those of SGLD with steps as long where P = 1/eps.
    let rmsprop = Llc { batch: Batch::Size(256), ..Llc::default() };
    let sgld = Llc { sampler: Sampler::Sgld, step_size: 2e-4, ..rmsprop.clone() };

    // None for the last table alone.
    if n_seeds > 0 {
        estimates_and_differences(&[&rmsprop, &sgld], &objective, &checkpoints, n_seeds)?;
    }
    println!("\n| step | SGLD at ε | at ε/2 | extrapolated | bias at ε | its error if not coupled |");
    println!("|---|---|---|---|---|---|");
    for (step, weights) in &checkpoints {
        let found = sgld.extrapolate(&objective, weights, &Execution::default())?;
        let mean = |e: &Estimate| e.diagnostics().convergence.map_or((f64::NAN, f64::NAN), |c| (c.mean, c.mcse));
        let (coarse, fine) = (mean(&found.coarse), mean(&found.fine));
        let show = |q: Option<ontogeny::posterior::Quantity>| {
            q.map_or("refused".to_owned(), |q| format!("{:.2} ± {:.2}", q.value, q.mcse))
        };
        println!(
            "| {step} | {:.2} ± {:.2} | {:.2} ± {:.2} | {} | {} | {:.2} |",
            coarse.0,
            coarse.1,
            fine.0,
            fine.1,
            show(found.value),
            show(found.bias),
            2.0 * coarse.1.hypot(fine.1)
        );
    }
    Ok(())
}

fn estimates_and_differences(
    samplers: &[&Llc],
    objective: &Objective,
    checkpoints: &[(u64, Vec<f32>)],
    n_seeds: u32,
) -> Result<(), Box<dyn std::error::Error>> {
    println!("| step | sampler | λ̂ ± error | with control variates | variance ratio |");
    println!("|---|---|---|---|---|");
    let mut all: Vec<Vec<Vec<Estimate>>> = Vec::new();
    for llc in samplers {
        let mut of_sampler = Vec::new();
        for (step, weights) in checkpoints {
            let estimates = repeated(llc, objective, weights, n_seeds)?;
            let plain: Vec<_> =
                estimates.iter().filter_map(|e| e.diagnostics().convergence.map(|c| (c.mean, c.mcse))).collect();
            let controlled: Vec<_> = estimates
                .iter()
                .filter_map(|e| e.diagnostics().controlled.map(|c| (c.lambda.value, c.lambda.mcse)))
                .collect();
            let (plain, controlled) = (pooled(&plain), pooled(&controlled));
            println!(
                "| {step} | {} ({}) | {:.2} ± {:.2} | {:.2} ± {:.2} | {:.2} |",
                llc.sampler,
                estimates[0].verdict(),
                plain.0,
                plain.1,
                controlled.0,
                controlled.1,
                (plain.1 / controlled.1).powi(2)
            );
            of_sampler.push(estimates);
        }
        all.push(of_sampler);
    }

    println!("\n| difference | sampler | value ± error | error if independent | variance ratio |");
    println!("|---|---|---|---|---|");
    for (llc, of_sampler) in samplers.iter().zip(&all) {
        for at in 1..checkpoints.len() {
            let name = format!("step {} − step {}", checkpoints[at].0, checkpoints[at - 1].0);
            report_difference(&name, llc, &of_sampler[at], &of_sampler[at - 1]);
        }
        // Components of one checkpoint: all weights against all but the unembedding.
        let last = checkpoints.len() - 1;
        let part = Llc::clone(llc).restrict("unembed")?;
        let estimates = repeated(&part, objective, &checkpoints[last].1, n_seeds)?;
        report_difference(&format!("all − unembed at {}", checkpoints[last].0), llc, &of_sampler[last], &estimates);
    }
    Ok(())
}

fn repeated(
    llc: &Llc,
    objective: &Objective,
    weights: &[f32],
    n_seeds: u32,
) -> Result<Vec<Estimate>, ontogeny::posterior::LlcError> {
    (0..n_seeds).map(|seed| Llc { seed, ..llc.clone() }.estimate(objective, weights)).collect()
}

/// Mean over seeds of the value, and root mean square of the stated errors.
fn pooled(found: &[(f64, f64)]) -> (f64, f64) {
    let n = found.len() as f64;
    let mean = found.iter().map(|(value, _)| value).sum::<f64>() / n;
    (mean, (found.iter().map(|(_, mcse)| mcse * mcse).sum::<f64>() / n).sqrt())
}

fn report_difference(name: &str, llc: &Llc, first: &[Estimate], second: &[Estimate]) {
    let found: Vec<_> = first.iter().zip(second).filter_map(|(a, b)| difference(a, b).ok()).collect();
    if found.is_empty() {
        println!("| {name} | {} | refused | | |", llc.sampler);
        return;
    }
    let paired = pooled(&found.iter().map(|d| (d.value, d.mcse)).collect::<Vec<_>>());
    let (_, independent) = pooled(&found.iter().map(|d| (d.value, d.independent_mcse)).collect::<Vec<_>>());
    let ratio = (independent / paired.1).powi(2);
    println!("| {name} | {} | {:.2} ± {:.2} | {independent:.2} | {ratio:.2} |", llc.sampler, paired.0, paired.1);
}
