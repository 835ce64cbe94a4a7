//! A deep linear network at a true parameter: no closed form at finite temperature, so an exact sampler is the judge.

use ontogeny_graph::{Graph, Purpose, Stream};
use ontogeny_posterior::{Llc, Objective};

use crate::{assert_mean, line, sgld};

/// ‖W₂W₁ − diag(1, 0)‖² for weights 2-2-2 in the order W₁, W₂, row-major.
fn loss(w: &[f64; 8]) -> f64 {
    let entry = |i: usize, j: usize| w[4 + 2 * i] * w[j] + w[5 + 2 * i] * w[2 + j];
    let target = |i: usize, j: usize| f64::from(u8::from(i == 0 && j == 0));
    (0..4).map(|k| (entry(k / 2, k % 2) - target(k / 2, k % 2)).powi(2)).sum()
}

const TRUTH: [f64; 8] = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0];
const N_BETA: f64 = 1000.0;
const LOCALIZATION: f64 = 5.0;

/// Random-walk Metropolis, exact whatever its step: mean of nβL and its error from the scatter of replicates.
fn metropolis() -> (f64, f64) {
    let potential = |w: &[f64; 8]| {
        let distance: f64 = w.iter().zip(TRUTH).map(|(w, t)| (w - t) * (w - t)).sum();
        N_BETA * loss(w) + 0.5 * LOCALIZATION * distance
    };
    let (n_replicates, steps) = (48, 60_000);
    let means: Vec<f64> = (0..n_replicates)
        .map(|replicate| {
            let stream = Stream::new(3, Purpose::Probe, replicate);
            let mut noise = [0.0_f32; 8];
            let (mut w, mut sum) = (TRUTH, 0.0);
            let mut here = potential(&w);
            for step in 0..steps {
                stream.normals(step, 0, &mut noise);
                // Steps of two sizes: along the valley and across it.
                let size = if step % 2 == 0 { 0.02 } else { 0.1 };
                let mut proposal = w;
                proposal.iter_mut().zip(noise).for_each(|(w, z)| *w += size * f64::from(z));
                let there = potential(&proposal);
                if stream.uniform(step, 9).ln() < here - there {
                    (w, here) = (proposal, there);
                }
                if step >= steps / 6 {
                    sum += N_BETA * loss(&w);
                }
            }
            sum / f64::from(steps - steps / 6)
        })
        .collect();
    let n = n_replicates as f64;
    let mean = means.iter().sum::<f64>() / n;
    let variance = means.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

fn objective() -> Objective {
    let mut g = Graph::new();
    let first = g.param("layers.0.W", &[2, 2]);
    let second = g.param("layers.1.W", &[2, 2]);
    let product = g.matmul(second, first);
    // 1 at (0, 0) alone: (1 − row)·(1 − column).
    let (row, column, one) = (g.iota(&[2, 2], 0), g.iota(&[2, 2], 1), g.constant(1.0));
    let (row, column) = (g.sub(one, row), g.sub(one, column));
    let target = g.mul(row, column);
    let difference = g.sub(product, target);
    let square = g.square(difference);
    let loss = g.sum(square, &[0, 1]);
    Objective::population(g, loss, 10_000).expect("a scalar loss")
}

#[test]
fn a_two_layer_linear_network_of_rank_one_agrees_with_an_exact_sampler() {
    let (reference, error) = metropolis();
    let llc =
        Llc { chains: 24, burn_in: 20_000, draws: 1000, thin: 80, n_beta: Some(N_BETA), ..sgld(3e-5, LOCALIZATION) };
    let estimate = llc.estimate(&objective(), &TRUTH.map(|w| w as f32)).unwrap();
    assert!(estimate.value().is_some(), "{}", line(&estimate));
    let c = estimate.diagnostics().convergence.unwrap();
    assert!(error < 0.03 && c.discretization < 0.06, "{error} {c:?}");
    assert_mean(&estimate, reference, 4.5 * error + 1.5 * c.discretization, 0.02);
    // Asymptotically λ = 2 with multiplicity 2 (Aoyagi 2023). At finite nβ the mean of nβL is λ − (m − 1)/ln nβ up
    // to further terms of that order (1/ln 1000 = 0.14), and the localisation takes its share of the free directions:
    // hence only a rough agreement.
    assert!((c.mean - 2.0).abs() < 0.5, "{}", line(&estimate));
}
