//! Samplers with a Metropolis test have the posterior's own law at any step they accept; boxes, in which others nearly do.

use ontogeny_graph::{Graph, Node};
use ontogeny_posterior::{Llc, Objective, Sampler};

use crate::crossings::copies_of;
use crate::{assert_mean, quadratic, sgld};

const MALA: Sampler = Sampler::Mala { target_acceptance: Some(0.574) };
const HMC: Sampler = Sampler::Hmc { leapfrogs: 20, target_acceptance: Some(0.8) };
const NUTS: Sampler = Sampler::Nuts { max_depth: 8, target_acceptance: Some(0.8) };

fn check(llc: &Llc, objective: &Objective, copies: usize, expected: f64, margin: f64) {
    let n_weights = objective.space().len();
    let estimate = llc.estimate(objective, &vec![0.0; n_weights]).expect("sound settings");
    let total = copies as f64 * expected;
    assert_mean(&estimate, total, copies as f64 * margin, 0.015 * total);
    let acceptance = estimate.diagnostics().convergence.and_then(|c| c.acceptance);
    assert!(acceptance.is_some_and(|acceptance| (0.3..=1.0).contains(&acceptance)), "{acceptance:?}");
}

fn power(g: &mut Graph, w: Node, exponent: u32) -> Node {
    (1..exponent).fold(w, |product, _| g.mul(product, w))
}

#[test]
fn quadratics_of_condition_number_1000() {
    // A = 1448, 14.5, 1.45 without localisation: 3/2 exactly.
    let objective = quadratic(10, &[10.0, 0.1, 0.01]);
    let mala = Llc { chains: 4, burn_in: 20_000, draws: 1500, thin: 200, sampler: MALA, ..sgld(5e-4, 0.0) };
    let hmc = Llc { burn_in: 1000, thin: 5, sampler: HMC, ..mala.clone() };
    let nuts = Llc { burn_in: 500, draws: 1000, thin: 1, sampler: NUTS, ..mala.clone() };
    for llc in [mala, hmc, nuts] {
        check(&llc, &objective, 10, 1.5, 0.0);
    }
}

#[test]
fn fixed_steps_of_any_size() {
    // ε·A up to 3: a leapfrog is stable below 4, and the test makes good what it does wrong.
    for times in [0.2, 1.0, 3.0] {
        for sampler in [
            Sampler::Mala { target_acceptance: None },
            Sampler::Hmc { leapfrogs: 3, target_acceptance: None },
            Sampler::Nuts { max_depth: 4, target_acceptance: None },
        ] {
            let llc = Llc { sampler, chains: 4, burn_in: 500, draws: 8000, thin: 4, ..sgld(times / 1447.648, 0.0) };
            check(&llc, &quadratic(2, &[10.0]), 2, 0.5, 0.0);
        }
    }
}

#[test]
fn monomials_of_degree_four() {
    let objective = copies_of(10, 1, |g, w| power(g, w[0], 4));
    for (sampler, thin) in [(MALA, 10), (HMC, 2), (NUTS, 1)] {
        let llc = Llc { sampler, chains: 4, burn_in: 1000, draws: 4000, thin, ..sgld(1e-2, 0.0) };
        check(&llc, &objective, 10, 0.25, 0.0);
    }
}

#[test]
fn crossings_in_a_gaussian_well() {
    for (localization, n_beta, expected, digits) in [
        (1.0, 144.7648, 0.3614, 5e-5),
        (1.0, 1e3, 0.3903, 5e-5),
        (1.0, 1e4, 0.4123, 5e-5),
        (10.0, 144.7648, 0.2020, 5e-5),
        (10.0, 1e4, 0.3542, 5e-5),
        (100.0, 144.7648, 0.0131, 5e-5),
        (100.0, 1e4, 0.1816, 5e-5),
    ] {
        let objective = copies_of(4, 2, |g, w| {
            let product = g.mul(w[0], w[1]);
            g.square(product)
        });
        // NUTS, at ten times the cost, in one of each.
        let is_spot = [(1.0, 144.7648), (10.0, 144.7648), (100.0, 1e4)].contains(&(localization, n_beta));
        for (sampler, thin) in [(HMC, 4), (NUTS, 2)].into_iter().take(1 + usize::from(is_spot)) {
            let base = sgld(0.01 / localization, localization);
            let draws = if n_beta > 2e3 { 6000 } else { 3000 };
            let llc = Llc { sampler, chains: 4, burn_in: 500, draws, thin, n_beta: Some(n_beta), ..base };
            check(&llc, &objective, 4, expected, digits);
        }
    }
}

#[test]
fn crossings_in_a_box() {
    // Uniform on [−1, 1]², γ = 0.
    for (exponents, values) in [
        ([2, 2], [(1e2, 0.34776), (1e3, 0.38728), (1e4, 0.41051)]),
        ([2, 4], [(1e2, 0.20428), (1e3, 0.22620), (1e4, 0.23715)]),
        ([4, 4], [(1e2, 0.13678), (1e3, 0.16019), (1e4, 0.17558)]),
    ] {
        for (n_beta, expected) in values {
            let objective = copies_of(2, 2, |g, w| {
                let powers = [0, 1].map(|i| power(g, w[i], exponents[i]));
                g.mul(powers[0], powers[1])
            });
            // The tips of the valleys have a curvature of 2t: a time step of 1/√(2t) is stable everywhere. One adapted to
            // the mean acceptance is not, and next to never enters them. Trajectories of a quarter on average.
            let h = f64::powf(2.0 * n_beta, -0.5);
            let sampler = Sampler::Hmc { leapfrogs: (0.5 / h) as usize, target_acceptance: None };
            let (draws, thin) = if n_beta > 2e3 { (15_000, 1) } else { (8000, 2) };
            let base = Llc { chains: 4, burn_in: 1000, bounding_box: Some(1.0), ..sgld(h * h, 0.0) };
            let llc = Llc { sampler, draws, thin, n_beta: Some(n_beta), ..base };
            check(&llc, &objective, 2, expected, 5e-6);
        }
    }
}

#[test]
fn langevin_steps_are_reflected_at_the_walls() {
    // x²y² at t = 100 in the box: the reflected step errs by the order of √ε·(slope at the wall), a percent here.
    let copies = 500;
    let objective = copies_of(copies, 2, |g, w| {
        let product = g.mul(w[0], w[1]);
        g.square(product)
    });
    for sampler in [Sampler::Sgld, Sampler::Baoab { friction: 0.1 }, Sampler::Sghmc { friction: 0.1 }] {
        let base = sgld(1e-3, 0.0);
        let llc = Llc { sampler, chains: 2, burn_in: 5000, draws: 500, thin: 30, n_beta: Some(1e2), ..base };
        let llc = Llc { bounding_box: Some(1.0), ..llc };
        let estimate = llc.estimate(&objective, &vec![0.0; 2 * copies]).unwrap();
        let total = copies as f64 * 0.34776;
        assert_mean(&estimate, total, 0.02 * total, 0.01 * total);
    }
}
