//! Normal crossings at finite temperature, where the answer is far from the learning coefficient but known exactly.

use ontogeny_graph::{Graph, Node};
use ontogeny_posterior::{Llc, Objective};

use crate::{assert_mean, sgld};

/// Σ over `copies` of a loss of `n` coordinates each: many copies side by side narrow the scatter.
pub(crate) fn copies_of(copies: usize, n: usize, loss: impl Fn(&mut Graph, &[Node]) -> Node) -> Objective {
    let mut g = Graph::new();
    let w: Vec<Node> = (0..n).map(|i| g.param(&format!("w{i}"), &[copies])).collect();
    let each = loss(&mut g, &w);
    let total = g.sum(each, &[0]);
    Objective::population(g, total, 1000).expect("a scalar loss")
}

#[test]
fn a_monomial_has_one_over_its_degree_at_every_temperature() {
    // L = w^2k, γ = 0, whole line: E[nβL] = 1/(2k) exactly.
    let copies = 2000;
    for (k, n_beta, step_size) in [(1, 50.0, 2e-4), (2, 144.765, 3e-4), (2, 1000.0, 1e-4), (3, 144.765, 6e-4)] {
        let objective = copies_of(copies, 1, |g, w| {
            let square = g.square(w[0]);
            (1..k).fold(square, |power, _| g.mul(power, square))
        });
        let llc = Llc { chains: 2, burn_in: 4000, draws: 500, thin: 12, n_beta: Some(n_beta), ..sgld(step_size, 0.0) };
        let estimate = llc.estimate(&objective, &vec![0.0; copies]).unwrap();
        let expected = copies as f64 / f64::from(2 * k);
        // The finite step adds what the estimate says of itself, exactly so in a quadratic.
        let bias = estimate.diagnostics().convergence.unwrap().discretization;
        assert!(bias < 0.02 * expected, "{bias} of {expected}");
        assert_mean(&estimate, expected, 1.5 * bias, 0.01 * expected);
    }
}

#[test]
fn a_crossing_in_a_gaussian_well_has_its_finite_temperature_value() {
    // L = x²y², t = 144.7648, Gaussian localisation at the origin. On a box without localisation the chain would
    // leave the box, so the box values of the literature cannot be sampled here.
    for (localization, expected, step_size, copies, burn_in, thin) in [
        (1.0, 0.3614, 2e-4, 1000, 40_000, 160),
        (10.0, 0.2020, 2e-4, 2000, 5000, 20),
        (100.0, 0.0131, 1e-4, 4000, 1500, 20),
    ] {
        let objective = copies_of(copies, 2, |g, w| {
            let product = g.mul(w[0], w[1]);
            g.square(product)
        });
        let llc = Llc { chains: 2, burn_in, draws: 250, thin, ..sgld(step_size, localization) };
        let estimate = llc.estimate(&objective, &vec![0.0; 2 * copies]).unwrap();
        let total = copies as f64 * expected;
        // Four printed digits; steps that widen both coordinates by a factor 1/(1 − εγ/4) where γ rules, and the
        // bias that the estimate states where the loss does.
        let bias = estimate.diagnostics().convergence.unwrap().discretization;
        let margin = copies as f64 * 5e-5 + 1.5 * bias + 2.0 * step_size * localization / 4.0 * total;
        assert!(margin < 0.03 * total, "{margin} of {total}");
        assert_mean(&estimate, total, margin, 0.02 * total);
    }
}
