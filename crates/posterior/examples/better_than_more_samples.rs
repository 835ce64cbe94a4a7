//! What control variates, paired draws and coupled step sizes are worth on known answers, as Markdown tables:
//! `cargo run --release -p ontogeny-posterior --example better_than_more_samples`

#![expect(clippy::print_stdout, reason = "the tables are this example's output")]

use ontogeny_graph::{Graph, Node};
use ontogeny_posterior::{Estimate, Execution, Llc, LlcError, Objective, ObjectiveError, Sampler, difference};

const N_SEEDS: u32 = 100;
/// Seeds of the table of step sizes, whose chains are long.
const N_LONG: u32 = 40;

/// A loss, where chains start, and how they run.
struct Case {
    name: &'static str,
    objective: Objective,
    start: Vec<f32>,
    llc: Llc,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cases = cases()?;
    println!("| case | sampler | λ̂ | sd | sd with control variates | variance ratio | stated/found error |");
    println!("|---|---|---|---|---|---|---|");
    for case in &cases {
        for llc in [case.llc.clone(), preconditioned(&case.llc)] {
            control_variates(case, &llc)?;
        }
    }
    println!("\n| difference | value | sd | sd of independent estimates | variance ratio | stated/found error |");
    println!("|---|---|---|---|---|---|");
    for (name, llc, first, second) in pairs()? {
        differences(name, &llc, &first, &second)?;
    }
    println!("\n| case | reference | ε: bias | ε/3: bias ± sd | extrapolated: bias ± sd | stated/found error |");
    println!("|---|---|---|---|---|---|");
    for case in &cases {
        extrapolation(case)?;
    }
    Ok(())
}

fn cases() -> Result<Vec<Case>, ObjectiveError> {
    let sgld = |step_size, localization, burn_in, draws| Llc {
        sampler: Sampler::Sgld,
        step_size,
        localization,
        burn_in,
        draws,
        ..Llc::default()
    };
    Ok(vec![
        Case {
            name: "quadratic, one curvature, d = 20",
            objective: quadratic(&[10.0; 20])?,
            start: vec![0.0; 20],
            llc: sgld(4e-4, 1.0, 200, 200),
        },
        Case {
            name: "quadratic, curvatures 10⁻² to 10, d = 30",
            objective: quadratic(&std::array::from_fn::<f64, 30, _>(|i| {
                10_f64.powf(f64::from(i as u32 % 10) / 3.0 - 2.0)
            }))?,
            start: vec![0.0; 30],
            llc: sgld(4e-4, 10.0, 2500, 1000),
        },
        Case {
            name: "quadratic, 40 steep and 200 flat directions",
            objective: quadratic(&std::array::from_fn::<f64, 240, _>(|i| {
                if i < 20 {
                    10.0
                } else if i < 40 {
                    1.0
                } else {
                    0.0
                }
            }))?,
            start: vec![0.0; 240],
            llc: sgld(4e-4, 100.0, 1000, 500),
        },
        Case {
            name: "Σ x²y² in a well, 50 pairs",
            objective: crossings(50)?,
            start: vec![0.0; 100],
            llc: Llc { n_beta: Some(1e4), ..sgld(2e-4, 100.0, 1500, 4000) },
        },
        Case {
            name: "deep linear 2-2-2, rank 1",
            objective: deep_linear()?,
            start: vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0],
            llc: Llc { n_beta: Some(1000.0), ..sgld(1.2e-4, 5.0, 5000, 5000) },
        },
    ])
}

/// RMSprop-SGLD of about the same speed.
fn preconditioned(llc: &Llc) -> Llc {
    Llc { sampler: Sampler::rmsprop_sgld(), step_size: 0.1 * llc.step_size, burn_in: 2 * llc.burn_in, ..llc.clone() }
}

/// Two losses around one start, as of two checkpoints or two components.
fn pairs() -> Result<Vec<(&'static str, Llc, Objective, Objective)>, ObjectiveError> {
    let llc = |localization| Llc {
        sampler: Sampler::Sgld,
        step_size: 4e-4,
        localization,
        burn_in: 1000,
        draws: 1000,
        ..Llc::default()
    };
    let steep = |h: f64| std::array::from_fn::<f64, 20, _>(|i| if i < 10 { h } else { 0.3 * h });
    Ok(vec![
        ("curvatures 10 % larger", llc(50.0), quadratic(&steep(1.1))?, quadratic(&steep(1.0))?),
        ("curvatures doubled", llc(50.0), quadratic(&steep(2.0))?, quadratic(&steep(1.0))?),
    ])
}

fn control_variates(case: &Case, llc: &Llc) -> Result<(), LlcError> {
    let (mut plain, mut controlled) = (Vec::new(), Vec::new());
    for seed in 0..N_SEEDS {
        let estimate = Llc { seed, ..llc.clone() }.estimate(&case.objective, &case.start)?;
        let d = estimate.diagnostics();
        if let (Some(c), Some(own)) = (d.convergence, d.controlled) {
            plain.push((c.mean, c.mcse));
            controlled.push((own.lambda.value, own.lambda.mcse));
        }
    }
    let ((mean, sd, _), (_, controlled_sd, stated)) = (moments(&plain), moments(&controlled));
    let ratio = (sd / controlled_sd).powi(2);
    let honesty = stated / controlled_sd;
    let (name, sampler) = (case.name, llc.sampler.name());
    println!("| {name} | {sampler} | {mean:.3} | {sd:.4} | {controlled_sd:.4} | {ratio:.1} | {honesty:.2} |");
    Ok(())
}

fn differences(name: &str, llc: &Llc, first: &Objective, second: &Objective) -> Result<(), Box<dyn std::error::Error>> {
    let (mut paired, mut independent) = (Vec::new(), Vec::new());
    let start = vec![0.0; first.space().len()];
    for seed in 0..N_SEEDS {
        let estimate = |seed, objective| Llc { seed, ..llc.clone() }.estimate(objective, &start);
        let (a, b, other) = (estimate(seed, first)?, estimate(seed, second)?, estimate(seed + N_SEEDS, second)?);
        // The verdict may refuse a few of so many.
        let (Ok(found), Ok(apart)) = (difference(&a, &b), difference(&a, &other)) else { continue };
        paired.push((found.value, found.mcse));
        independent.push((apart.value, apart.mcse));
    }
    let ((mean, sd, stated), (_, apart, _)) = (moments(&paired), moments(&independent));
    let ratio = (apart / sd).powi(2);
    println!("| {name} | {mean:.3} | {sd:.4} | {apart:.4} | {ratio:.1} | {:.2} |", stated / sd);
    Ok(())
}

/// Against the mean over all seeds of extrapolations from a quarter of the step.
fn extrapolation(case: &Case) -> Result<(), LlcError> {
    let finer = |by: usize, seed| Llc {
        step_size: case.llc.step_size / by as f64,
        burn_in: by * case.llc.burn_in,
        thin: by * case.llc.thin,
        seed,
        ..case.llc.clone()
    };
    let (mut coarse, mut third, mut extrapolated, mut reference) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mean = |estimate: &Estimate| estimate.diagnostics().convergence.map(|c| (c.mean, c.mcse));
    let extrapolate = |llc: Llc| llc.extrapolate(&case.objective, &case.start, &Execution::default());
    for seed in 0..N_LONG {
        let found = extrapolate(finer(1, seed))?;
        coarse.extend(mean(&found.coarse));
        extrapolated.extend(found.value.map(|value| (value.value, value.mcse)));
        third.extend(mean(&finer(3, seed).estimate(&case.objective, &case.start)?));
        reference.extend(extrapolate(finer(4, seed + N_SEEDS))?.value.map(|value| (value.value, value.mcse)));
    }
    let [coarse, third, extrapolated, reference] = [&coarse, &third, &extrapolated, &reference].map(|v| moments(v));
    let truth = reference.0;
    let error = reference.1 / (f64::from(N_LONG)).sqrt();
    println!(
        "| {} | {truth:.3} ± {error:.3} | {:+.3} | {:+.3} ± {:.3} | {:+.3} ± {:.3} | {:.2} |",
        case.name,
        coarse.0 - truth,
        third.0 - truth,
        third.1,
        extrapolated.0 - truth,
        extrapolated.1,
        extrapolated.2 / extrapolated.1
    );
    Ok(())
}

/// Mean, standard deviation, and root mean square of the stated errors.
fn moments(found: &[(f64, f64)]) -> (f64, f64, f64) {
    let n = found.len() as f64;
    let mean = found.iter().map(|(value, _)| value).sum::<f64>() / n;
    let squares: f64 = found.iter().map(|(value, _)| (value - mean).powi(2)).sum();
    let stated: f64 = found.iter().map(|(_, mcse)| mcse * mcse).sum();
    (mean, (squares / (n - 1.0)).sqrt(), (stated / n).sqrt())
}

/// ½·Σ hᵢwᵢ², standing for 1000 samples.
fn quadratic(curvatures: &[f64]) -> Result<Objective, ObjectiveError> {
    let mut graph = Graph::new();
    let w = graph.param("w", &[curvatures.len()]);
    let halves: Vec<Node> = curvatures
        .iter()
        .map(|h| {
            let half = graph.constant(0.5 * h);
            graph.broadcast(half, &[1])
        })
        .collect();
    let halves = graph.concat(&halves, 0);
    let square = graph.square(w);
    let weighted = graph.mul(square, halves);
    let loss = graph.sum(weighted, &[0]);
    Objective::population(graph, loss, 1000)
}

fn crossings(copies: usize) -> Result<Objective, ObjectiveError> {
    let mut graph = Graph::new();
    let [x, y] = ["x", "y"].map(|name| graph.param(name, &[copies]));
    let product = graph.mul(x, y);
    let square = graph.square(product);
    let loss = graph.sum(square, &[0]);
    Objective::population(graph, loss, 1000)
}

/// ‖W₂W₁ − diag(1, 0)‖².
fn deep_linear() -> Result<Objective, ObjectiveError> {
    let mut graph = Graph::new();
    let [first, second] = ["layers.0.W", "layers.1.W"].map(|name| graph.param(name, &[2, 2]));
    let product = graph.matmul(second, first);
    // 1 at (0, 0) alone: (1 − row)·(1 − column).
    let (row, column, one) = (graph.iota(&[2, 2], 0), graph.iota(&[2, 2], 1), graph.constant(1.0));
    let (row, column) = (graph.sub(one, row), graph.sub(one, column));
    let target = graph.mul(row, column);
    let difference = graph.sub(product, target);
    let square = graph.square(difference);
    let loss = graph.sum(square, &[0, 1]);
    Objective::population(graph, loss, 10_000)
}
