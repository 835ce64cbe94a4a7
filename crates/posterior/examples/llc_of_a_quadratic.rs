//! The learning coefficient of a quadratic: d/2 where the loss is steep, less where the localisation holds.

#![expect(clippy::print_stdout, reason = "an example prints its result")]

use ontogeny_graph::Graph;
use ontogeny_posterior::{Estimate, Llc, LlcError, Objective, ObjectiveError, Sampler};

const STEP_SIZE: f64 = 1e-4;
const LOCALIZATION: f64 = 50.0;

fn main() -> Result<(), LlcError> {
    let objective = objective()?;
    let llc = Llc {
        sampler: Sampler::Sgld,
        step_size: STEP_SIZE,
        localization: LOCALIZATION,
        burn_in: 2000,
        draws: 1000,
        thin: 5,
        ..Llc::default()
    };
    let (steep, flat) = (exact(&objective, 10.0), exact(&objective, 0.05));
    for (part, expected) in [("full", steep + flat), ("steep", steep), ("flat", flat)] {
        match llc.clone().restrict(part)?.estimate(&objective, &[0.0; 200])? {
            Estimate::Ok { value, mcse, .. } => {
                println!("{part:>6}: {value:.2} ± {mcse:.2}, exact {expected:.2}");
            }
            Estimate::Refused { verdict, reason, .. } => println!("{part:>6}: {verdict}: {reason}"),
        }
    }
    Ok(())
}

/// 5·|steep|² + 0.025·|flat|² with 100 coordinates each, standing for 1000 samples.
fn objective() -> Result<Objective, ObjectiveError> {
    let mut graph = Graph::new();
    let mut part = |name: &str, curvature: f64| {
        let w = graph.param(name, &[100]);
        let square = graph.square(w);
        let sum = graph.sum(square, &[0]);
        graph.scale(sum, 0.5 * curvature)
    };
    let (steep, flat) = (part("steep", 10.0), part("flat", 0.05));
    let loss = graph.add(steep, flat);
    Objective::population(graph, loss, 1000)
}

/// What SGLD at this step size gives for 100 directions of a curvature: 50·nβh/(A(1 − εA/4)) with A = nβh + γ.
fn exact(objective: &Objective, curvature: f64) -> f64 {
    let steepness = objective.default_n_beta() * curvature;
    let a = steepness + LOCALIZATION;
    50.0 * steepness / (a * (1.0 - STEP_SIZE * a / 4.0))
}
