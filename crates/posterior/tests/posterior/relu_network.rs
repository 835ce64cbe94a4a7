//! A small ReLU network at its own teacher: what rescaled layers leave as it is, and SGLD beside samplers with a Metropolis
//! test. The network of the literature, which takes minutes, is the example `relu_network`.

use ontogeny_posterior::{Batch, Llc, Sampler, Verdict};

use self::network::Network;
use crate::{assert_mean, line, sgld};

#[path = "../../examples/relu_network/network.rs"]
mod network;

fn network() -> Network {
    Network::new(&[4, 8, 8, 3], 48)
}

/// From 1e-4 to 1e4 in half decades.
fn every_c() -> impl Iterator<Item = f64> {
    (-8..=8).map(|half_decades| 10_f64.powf(0.5 * f64::from(half_decades)))
}

fn without_localization() -> Llc {
    let llc = Llc { chains: 2, burn_in: 500, draws: 150, thin: 10, ..sgld(3e-5, 0.0) };
    Llc { n_beta: Some(1000.0 / 1000_f64.ln()), ..llc }
}

#[test]
fn rescaled_layers_are_the_same_function() {
    let network = network();
    for c in every_c() {
        let (weights, scales) = network.rescaled(c);
        for (scales, weights) in
            [(network.unscaled(), weights.clone()), (scales.clone(), network.in_units_of(&weights, &scales))]
        {
            let objective = network.objective(&scales).unwrap();
            let loss = objective.full_loss(&weights, Batch::Full).unwrap().mean;
            // Outputs of order 1 in f32, squared.
            assert!(loss < 1e-11, "{c}: {loss}");
            let mut moved = weights;
            moved[0] *= 1.5;
            let moved = objective.full_loss(&moved, Batch::Full).unwrap().mean;
            assert!(moved > 1e-4, "{c}: {moved}");
        }
    }
}

#[test]
fn an_oracle_finds_the_same_at_every_scale() {
    // γ = 0 and a step of ε·s² in a parameter of scale s, with noise to match: SGLD at ε in w/s. What c is left in is rounding,
    // and whatever the chains make of it.
    let network = network();
    for seed in 0..3 {
        let found: Vec<f64> = every_c()
            .map(|c| {
                let (weights, scales) = network.rescaled(c);
                let objective = network.objective(&scales).unwrap();
                let llc = Llc { seed, ..without_localization() };
                let estimate = llc.estimate(&objective, &network.in_units_of(&weights, &scales)).unwrap();
                estimate.diagnostics().convergence.unwrap().mean
            })
            .collect();
        let middle = found[8];
        assert!(middle > 1.0);
        assert!(found.iter().all(|mean| (mean / middle - 1.0).abs() < 1e-3), "{found:?}");
    }
}

#[test]
fn a_step_of_one_size_fits_no_layer_that_is_scaled_far() {
    // The curvature by the smaller layer grows as 1/c² or c².
    let network = network();
    let objective = network.objective(&network.unscaled()).unwrap();
    for c in [1e-4, 1e-2, 1e4] {
        let estimate = without_localization().estimate(&objective, &network.rescaled(c).0).unwrap();
        assert!(matches!(estimate.verdict(), Verdict::Diverged | Verdict::StepTooLarge), "{c}: {}", line(&estimate));
    }
}

#[test]
fn sgld_agrees_with_samplers_that_have_a_metropolis_test() {
    let network = network();
    let objective = network.objective(&network.unscaled()).unwrap();
    let sgld = Llc { chains: 4, burn_in: 5000, draws: 1000, thin: 30, ..sgld(8e-4, 1.0) };
    let sgld = Llc { n_beta: Some(100.0 / 100_f64.ln()), ..sgld };
    let mala = Llc { sampler: Sampler::Mala { target_acceptance: None }, ..sgld.clone() };
    let hmc = Sampler::Hmc { leapfrogs: 64, target_acceptance: Some(0.8) };
    let hmc = Llc { sampler: hmc, burn_in: 300, draws: 800, thin: 1, ..sgld.clone() };
    let [sgld, mala, hmc] = [sgld, mala, hmc].map(|llc| llc.estimate(&objective, &network.teacher).unwrap());
    let reference = hmc.diagnostics().convergence.unwrap();
    assert!(reference.mcse < 0.01 * reference.mean, "{}", line(&hmc));
    // Each is good to 1.4 %.
    let [a, b] = [&sgld, &mala].map(|estimate| estimate.value().unwrap());
    assert!((a / b - 1.0).abs() < 0.05, "{a} {b}");
    for estimate in [sgld, mala] {
        let c = estimate.diagnostics().convergence.unwrap();
        // The error of the difference, and what the finite step is said to add.
        let margin = 4.5 * (c.mcse.hypot(reference.mcse) - c.mcse) + 1.5 * c.discretization;
        assert!(c.discretization < 0.04 * reference.mean, "{}", line(&estimate));
        assert_mean(&estimate, reference.mean, margin, 0.03 * reference.mean);
    }
}
