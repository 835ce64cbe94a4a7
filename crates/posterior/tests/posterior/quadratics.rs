//! Quadratics, where the law of the sampler is known exactly, step size included.

use ontogeny_graph::{Purpose, Stream};
use ontogeny_posterior::{Correction, Llc, Sampler};

use crate::{assert_mean, line, quadratic, sgld};

const CURVATURES: [f64; 5] = [10.0, 1.0, 0.1, 0.01, 0.0];
/// n/ln n at n = 1000.
const N_BETA: f64 = 144.764_827_301_083_94;

/// ½·nβh·v with the stationary variance v = 1/(A(1 − εA/4)), A = nβh + γ, of the discretised Langevin equation.
fn exact(h: f64, localization: f64, step_size: f64) -> f64 {
    let a = N_BETA * h + localization;
    0.5 * N_BETA * h / (a * (1.0 - step_size * a / 4.0))
}

fn exact_total(step_size: f64) -> f64 {
    CURVATURES.iter().map(|&h| exact(h, 1.0, step_size)).sum()
}

/// Standard error of the mean over `draws` draws, `thin` steps apart, of nβ·L in one copy: direction i contributes
/// ½cχ² with c = nβhv, an autoregression of coefficient 1 − εA/2 squared.
fn exact_error(step_size: f64, draws: usize, thin: usize) -> f64 {
    let variance = |h: f64| {
        let a = N_BETA * h + 1.0;
        let rho = (1.0 - step_size * a / 2.0).powi(2 * thin as i32);
        let time = (1.0 + rho) / (1.0 - rho);
        2.0 * exact(h, 1.0, step_size).powi(2) * time / draws as f64
    };
    CURVATURES.iter().map(|&h| variance(h)).sum::<f64>().sqrt()
}

#[test]
fn the_formula_gives_the_published_numbers() {
    for (step_size, expected) in
        [(0.0, 1.759_640), (1e-5, 1.761_657), (1e-4, 1.780_431), (1e-3, 2.064_120), (2e-3, 3.115_503)]
    {
        assert!((exact_total(step_size) - expected).abs() < 5e-7, "{step_size}");
    }
}

#[test]
fn sgld_has_the_bias_of_its_step_size_and_no_other() {
    // Many copies of the five directions side by side narrow the scatter by √copies. The slowest direction forgets
    // its start as exp(−εA·steps) with A = 2.45: to 7e-4 of its 0.296 or better within each burn-in.
    for (step_size, copies, burn_in, draws, thin) in
        [(1e-4, 2000, 30_000, 1800, 40), (1e-3, 500, 3000, 2000, 5), (2e-3, 500, 1500, 2000, 5)]
    {
        let llc = Llc { chains: 1, burn_in, draws, thin, ..sgld(step_size, 1.0) };
        let objective = quadratic(copies, &CURVATURES);
        let estimate = llc.estimate(&objective, &vec![0.0; 5 * copies]).unwrap();
        let c = estimate.diagnostics().convergence.unwrap();
        let mean = c.mean / copies as f64;
        let error = exact_error(step_size, draws, thin) / (copies as f64).sqrt();
        let expected = exact_total(step_size);
        let bias = expected - exact_total(0.0);
        assert!(4.5 * error < 0.9 * bias, "a bias of {bias} would not be seen: {error}");
        assert!((mean - expected).abs() < 4.5 * error + 2e-4, "ε {step_size}: {mean} ± {error}, expected {expected}");
        // Its own account of the bias: at most the exact one, and the whole of it but for the flat directions.
        let told = c.discretization / copies as f64;
        assert!(0.8 * bias < told && told < 1.05 * bias, "ε {step_size}: {told} of {bias}");
    }
}

#[test]
fn the_error_is_the_scatter_of_repeated_estimates() {
    // 24 estimates with seeds of their own: the ratio of their squared errors to the claimed variance is about
    // χ²₂₄/24, within [0.37, 2.1] in 99.9 % of all cases; the claimed error itself is good to about 15 %.
    let objective = quadratic(20, &[10.0, 1.0]);
    let expected = 20.0 * (exact(10.0, 1.0, 2e-4) + exact(1.0, 1.0, 2e-4));
    let ratios: Vec<f64> = (0..24)
        .map(|seed| {
            let llc = Llc { burn_in: 400, draws: 400, thin: 2, seed, ..sgld(2e-4, 1.0) };
            let estimate = llc.estimate(&objective, &[0.0; 40]).unwrap();
            let c = estimate.diagnostics().convergence.unwrap();
            ((c.mean - expected) / c.mcse).powi(2)
        })
        .collect();
    let mean = ratios.iter().sum::<f64>() / 24.0;
    assert!(0.37 / 1.3 < mean && mean < 2.1 * 1.3, "{mean}: {ratios:?}");
}

/// RMSprop-SGLD on one coordinate, in f64 and straight from its formulas: mean of nβL over steps and replicates.
fn rmsprop_reference(h: f64, localization: f64, step_size: f64, decay: f64, eps: f64, steps: u32) -> (f64, f64) {
    let n_replicates = 300;
    let burn_in = 1000;
    let means: Vec<f64> = (0..n_replicates)
        .map(|replicate| {
            let stream = Stream::new(77, Purpose::Probe, replicate);
            let (mut w, mut v, mut sum) = (0.0_f64, 0.0_f64, 0.0);
            for step in 0..burn_in + steps {
                if step >= burn_in {
                    sum += 0.5 * N_BETA * h * w * w;
                }
                let radius = (-2.0 * (1.0 - stream.uniform(step, 0)).ln()).sqrt();
                let noise = radius * (std::f64::consts::TAU * stream.uniform(step, 1)).cos();
                let g = h * w;
                v = decay * v + (1.0 - decay) * g * g;
                let corrected = v / (1.0 - decay.powi(step as i32 + 1));
                let scaled = step_size / (corrected.sqrt() + eps);
                w += -0.5 * scaled * (N_BETA * g + localization * w) + scaled.sqrt() * noise;
            }
            sum / f64::from(steps)
        })
        .collect();
    let n = n_replicates as f64;
    let mean = means.iter().sum::<f64>() / n;
    let variance = means.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

#[test]
fn rmsprop_sgld_has_the_law_of_a_plain_implementation() {
    for (h, localization, step_size, decay) in [(50.0, 1.0, 2e-5, 0.99), (0.5, 5.0, 1e-3, 0.99), (5.0, 1.0, 2e-4, 0.9)]
    {
        let copies = 400;
        let llc = Llc {
            sampler: Sampler::RmspropSgld { decay, eps: 0.1, correction: Correction::None },
            chains: 2,
            burn_in: 1000,
            draws: 1000,
            thin: 3,
            ..sgld(step_size, localization)
        };
        let estimate = llc.estimate(&quadratic(copies, &[h]), &vec![0.0; copies]).unwrap();
        let c = estimate.diagnostics().convergence.unwrap();
        let (mean, mcse) = (c.mean / copies as f64, c.mcse / copies as f64);
        let (reference, error) = rmsprop_reference(h, localization, step_size, decay, 0.1, 3000);
        assert!(mcse < 0.005 && error < 0.005, "{mcse} {error}");
        assert!((mean - reference).abs() < 4.5 * mcse.hypot(error), "h {h}: {mean} ± {mcse}, {reference} ± {error}");
    }
}

#[test]
fn rmsprop_sgld_with_a_long_memory_is_sgld_with_a_fixed_preconditioner() {
    // v settles at h²σ²; P = 1/(hσ + eps) is then constant, and σ² = 1/(A(1 − εPA/4)) closes the circle. With a
    // memory of 1/(1 − α) steps v scatters by √(2(1 − α)·autocorrelation time) ≈ √(2·1e-4·10) = 4 %, which moves P
    // by 2 % and, its correlation with w², the variance by at most the same.
    let (h, localization, step_size, eps) = (50.0, 1.0, 2e-5, 0.1);
    let a = N_BETA * h + localization;
    let mut variance = 1.0 / a;
    for _ in 0..50 {
        variance = 1.0 / (a * (1.0 - step_size * a / (4.0 * (h * variance.sqrt() + eps))));
    }
    let copies = 400;
    let llc = Llc {
        sampler: Sampler::RmspropSgld { decay: 0.9999, eps, correction: Correction::None },
        chains: 2,
        burn_in: 3000,
        draws: 1000,
        thin: 3,
        ..sgld(step_size, localization)
    };
    let estimate = llc.estimate(&quadratic(copies, &[h]), &vec![0.0; copies]).unwrap();
    let expected = copies as f64 * 0.5 * N_BETA * h * variance;
    assert_mean(&estimate, expected, 0.02 * expected, 0.01 * expected);
}

#[test]
fn an_accepted_quadratic_passes_every_check() {
    let estimate = Llc { burn_in: 1000, draws: 500, ..sgld(5e-4, 1.0) }
        .estimate(&quadratic(20, &[10.0, 1.0]), &[0.0; 40])
        .unwrap();
    let d = estimate.diagnostics();
    let c = d.convergence.unwrap();
    assert!(estimate.value().is_some(), "{}", line(&estimate));
    assert!(c.r_hat < 1.05 && c.ess_bulk > 40.0 && c.ess_tail > 40.0, "{c:?}");
    assert_eq!((c.share_below_baseline, d.baseline, d.not_a_minimum), (0.0, 0.0, false));
    // nβ·L is a sum of 40 terms ½cχ² with c near 1: variance over mean is Σ½c²/Σ½c.
    let cs = [10.0, 1.0].map(|h| 2.0 * exact(h, 1.0, 5e-4));
    let expected = cs.iter().map(|c| c * c).sum::<f64>() / cs.iter().sum::<f64>();
    // The variance of some hundred effective draws is good to 15 % or so.
    assert!((c.dispersion.unwrap() - expected).abs() < 0.5, "{c:?} {expected}");
    // √(ε·40) for the noise, with 40 normals a step and 2000 steps: 0.1 % or so.
    assert!((d.norms.noise - (5e-4_f64 * 40.0).sqrt()).abs() < 0.02 * d.norms.noise);
}

#[test]
fn the_acceptance_is_that_of_the_matching_metropolis_step() {
    // In one direction of precision A the ratio is exp(εA²/8·(w² − w'²)), with w ~ N(0, v) and w' = ρw + √ε·z,
    // ρ = 1 − εA/2, in the chain's own stationary law: integrated here over a grid of both normals.
    let grid: Vec<f64> = (-60..=60).map(|i| f64::from(i) / 10.0).collect();
    let weight = |z: f64| 0.1 * (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt();
    for step_size in [1e-4, 5e-4, 1.5e-3] {
        let a = N_BETA * 10.0 + 1.0;
        let deviation = (1.0 / (a * (1.0 - step_size * a / 4.0))).sqrt();
        let probability = |(x, z): (f64, f64)| {
            let w = deviation * x;
            let there = (1.0 - step_size * a / 2.0) * w + step_size.sqrt() * z;
            (step_size * a * a / 8.0 * (w * w - there * there)).min(0.0).exp()
        };
        let pairs = grid.iter().flat_map(|&x| grid.iter().map(move |&z| (x, z)));
        let expected: f64 = pairs.map(|(x, z)| weight(x) * weight(z) * probability((x, z))).sum();
        // 100 chains of 64 probes, nearly independent: the standard deviation of a probability is below ½.
        let llc = Llc { chains: 100, burn_in: 200, draws: 64, thin: 20, ..sgld(step_size, 1.0) };
        let estimate = llc.estimate(&quadratic(1, &[10.0]), &[0.0]).unwrap();
        let acceptance = estimate.diagnostics().convergence.unwrap().acceptance.unwrap();
        assert!((acceptance - expected).abs() < 4.5 * 0.5 / 80.0, "{step_size}: {acceptance}, {expected}");
        assert!(step_size < 1e-3 || expected < 0.9, "{expected} would not be told from 1");
    }
    let rms = Llc { sampler: Sampler::rmsprop_sgld(), ..sgld(1e-4, 1.0) };
    let estimate = rms.estimate(&quadratic(1, &[10.0]), &[0.0]).unwrap();
    assert_eq!(estimate.diagnostics().convergence.unwrap().acceptance, None);
}
