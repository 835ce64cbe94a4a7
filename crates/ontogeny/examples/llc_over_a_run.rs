//! Learning coefficients of a run's checkpoints with settings of one's own:
//! `cargo run --release -p ontogeny --example llc_over_a_run -- RUN [step_size] [localization] [batch] [draws] [STEP…]`

#![expect(clippy::print_stdout, reason = "the table is this example's output")]

use ontogeny::posterior::{Batch, Estimate, Llc};
use ontogeny::prelude::Run;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |at: usize, default: f64| arguments.get(at).map_or(Ok(default), |text| text.parse::<f64>());
    let directory =
        arguments.get(1).ok_or("usage: llc_over_a_run RUN [step_size] [localization] [batch] [draws] [STEP…]")?;
    let steps: Vec<u64> = arguments.iter().skip(6).map(|text| text.parse()).collect::<Result<_, _>>()?;
    let draws = number(5, 200.0)? as usize;
    let llc = Llc {
        step_size: number(2, 2e-5)?,
        localization: number(3, 300.0)?,
        batch: Batch::Size(number(4, 256.0)? as usize),
        burn_in: draws / 2,
        draws,
        ..Llc::default()
    };
    let run = Run::open(directory)?;
    let objective = run.objective("train")?;
    for (step, weights) in run.checkpoints()? {
        if !steps.is_empty() && !steps.contains(&step) {
            continue;
        }
        let estimate = llc.estimate(&objective, &weights?)?;
        let evidence = estimate.diagnostics().convergence;
        let r_hat = evidence.map_or(f64::NAN, |c| c.r_hat);
        let ess = evidence.map_or(f64::NAN, |c| c.ess_bulk);
        let bias = evidence.map_or(f64::NAN, |c| c.discretization);
        let line = match &estimate {
            Estimate::Ok { value, mcse, .. } => format!("{value:8.2} ± {mcse:.2}"),
            Estimate::Refused { verdict, reason, .. } => format!("{verdict}: {reason}"),
        };
        println!("step {step:6}  {line}  (R̂ {r_hat:.3}, ESS {ess:.0}, discretisation {bias:.2})");
    }
    Ok(())
}
