//! Learning coefficients against exact answers, and the promises of the estimator.

mod better;
mod calibration;
mod combined;
mod crossings;
mod deep_linear;
mod directions;
mod draws;
mod exactness;
mod minibatches;
mod promises;
mod quadratics;
mod refusals;
mod relative_variance;
mod relu_network;
mod samplers;
mod superposition;

use ontogeny_graph::{Graph, Node};
use ontogeny_posterior::{Batch, Correction, Estimate, Llc, Objective, Sampler};

/// Asserts that the mean of an estimate, accepted or not, lies within `sigmas` Monte Carlo errors and `margin` of
/// `expected`, and that the errors are small enough (below `resolution`) for that to mean something.
#[track_caller]
fn assert_mean(estimate: &Estimate, expected: f64, margin: f64, resolution: f64) {
    let c = estimate.diagnostics().convergence.expect("no chain diverged");
    assert!(c.mcse < resolution, "MCSE {} tells nothing: {estimate_line}", c.mcse, estimate_line = line(estimate));
    let distance = (c.mean - expected).abs();
    assert!(distance < 4.5 * c.mcse + margin, "expected {expected}, {}", line(estimate));
}

fn line(estimate: &Estimate) -> String {
    format!("{}: {:?}", estimate.verdict(), estimate.diagnostics().convergence)
}

/// SGLD with full batches.
fn sgld(step_size: f64, localization: f64) -> Llc {
    Llc { sampler: Sampler::Sgld, step_size, localization, batch: Batch::Full, ..Llc::default() }
}

/// One of each sampler and correction, with settings that suit a quadratic with curvatures around 10 at n = 1000.
fn every_sampler() -> Vec<Sampler> {
    let rmsprop = |correction| Sampler::RmspropSgld { decay: 0.9, eps: 0.1, correction };
    vec![
        Sampler::Sgld,
        rmsprop(Correction::None),
        rmsprop(Correction::Freeze),
        rmsprop(Correction::Curvature),
        Sampler::AdamSgld { betas: [0.9, 0.99], eps: 1.0 },
        Sampler::Sghmc { friction: 0.1 },
        Sampler::Sgnht { friction: 0.1 },
        Sampler::Baoab { friction: 0.1 },
        Sampler::Mala { target_acceptance: Some(0.574) },
        Sampler::Mala { target_acceptance: None },
        Sampler::Hmc { leapfrogs: 4, target_acceptance: Some(0.8) },
        Sampler::Nuts { max_depth: 4, target_acceptance: Some(0.8) },
    ]
}

/// ½·Σ hᵢ wᵢ² over `copies` sets of the given curvatures, one parameter `w`, standing for n = 1000.
fn quadratic(copies: usize, curvatures: &[f64]) -> Objective {
    let mut g = Graph::new();
    let w = g.param("w", &[copies, curvatures.len()]);
    let loss = half_weighted_squares(&mut g, w, curvatures);
    Objective::population(g, loss, 1000).expect("a scalar loss")
}

fn half_weighted_squares(g: &mut Graph, w: Node, curvatures: &[f64]) -> Node {
    let values: Vec<Node> = curvatures
        .iter()
        .map(|&h| {
            let scalar = g.constant(0.5 * h);
            g.broadcast(scalar, &[1])
        })
        .collect();
    let halves = g.concat(&values, 0);
    let square = g.square(w);
    let weighted = g.mul(square, halves);
    g.sum(weighted, &[0, 1])
}
