//! The law that each sampler must obey on quadratics, full batches and minibatches, its step size included.

use ontogeny_posterior::{
    Batch, Centre, Correction, Estimate, Evaluation, GaussianPrior, GradientRule, Llc, Sampler, Schedule,
};

use crate::draws::curvatures_in_turns;
use crate::minibatches::{N, scattered};
use crate::{assert_mean, quadratic, sgld};

/// n/ln n at n = 1000.
const N_BETA: f64 = 144.764_827_301_083_94;

/// Stationary covariance of z' = Fz + sξ with noise in the given components: the Lyapunov equation, by iteration.
fn lyapunov(f: [[f64; 2]; 2], s: [f64; 2]) -> [[f64; 2]; 2] {
    let mut c = [[0.0; 2]; 2];
    for _ in 0..200_000 {
        let mut next = [[0.0; 2]; 2];
        for (i, j) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            next[i][j] = s[i] * s[j];
            for (k, l) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                next[i][j] += f[i][k] * c[k][l] * f[j][l];
            }
        }
        c = next;
    }
    c
}

/// Variance of w under SGHMC: w' = w + u', u' = (1 − a)u − ηAw + √(2aη + heat)·ξ, by the numbers.
fn sghmc_variance(a: f64, step_size: f64, friction: f64, heat: f64) -> f64 {
    let (eta, b) = (0.5 * step_size, 1.0 - friction);
    let s = (2.0 * friction * eta + heat).sqrt();
    lyapunov([[1.0 - eta * a, b], [-eta * a, b]], [s, s])[0][0]
}

/// Variance of w under Adam-SGLD with a constant preconditioner: w' = (1 − ½eγ)w − ½e·nβh·m' + √e·ξ with e = εP, and
/// m' = βm + (1 − β)w.
fn adam_variance(h: f64, localization: f64, e: f64, beta: f64) -> f64 {
    let (pull, home) = (0.5 * e * N_BETA * h, 0.5 * e * localization);
    lyapunov([[1.0 - home - pull * (1.0 - beta), -pull * beta], [1.0 - beta, beta]], [e.sqrt(), 0.0])[0][0]
}

/// E[w²] under exp(−½Aw²)·(h|w| + eps), to which Pdw = −½P·Aw dt + √P·dB leads with P = 1/(h|w| + eps).
fn weighted_variance(h: f64, a: f64, eps: f64) -> f64 {
    // ∫w³, ∫w², ∫w, ∫1 over w > 0 with weight exp(−½Aw²).
    let half_normal = (std::f64::consts::FRAC_PI_2 / a).sqrt();
    (2.0 * h / (a * a) + eps * half_normal / a) / (h / a + eps * half_normal)
}

fn preconditioned(decay: f64, eps: f64, correction: Correction) -> Sampler {
    Sampler::RmspropSgld { decay, eps, correction }
}

/// One line of the table: a sampler on many copies of a direction of curvature `h`, and the variance that it must have.
struct Law {
    sampler: Sampler,
    h: f64,
    localization: f64,
    step_size: f64,
    variance: f64,
    /// Share of the variance left to terms that the law leaves out.
    margin: f64,
}

impl Law {
    fn check(&self) {
        let Law { sampler, h, localization, step_size, variance, margin } = *self;
        let copies = 1000;
        // Slow samplers forget as (1 − ½εA·rate)^steps; the settings below do so within some tens of steps, or 200.
        let llc = Llc { sampler, chains: 2, burn_in: 2000, draws: 400, thin: 10, ..sgld(step_size, localization) };
        let estimate = llc.estimate(&quadratic(copies, &[h]), &vec![0.0; copies]).expect("sound settings");
        let expected = 0.5 * N_BETA * h * variance * copies as f64;
        assert_mean(&estimate, expected, margin * expected, 0.006 * expected);
    }
}

#[test]
fn the_laws_on_quadratics_hold_at_large_steps() {
    let (h, localization) = (10.0, 5.0);
    let a = N_BETA * h + localization;
    let law = |sampler, times: f64, variance: f64| {
        Law { sampler, h, localization, step_size: times / a, variance, margin: 1e-3 }.check();
    };
    for times in [0.2, 1.0, 2.0] {
        law(Sampler::Sgld, times, 1.0 / (a * (1.0 - times / 4.0)));
    }
    for (times, friction) in [(0.5, 0.1), (2.0, 0.3), (2.0, 0.9), (1.0, 1.0)] {
        let variance = sghmc_variance(a, times / a, friction, 0.0);
        let formula = 1.0 / (a * (1.0 - times / (4.0 * (2.0 - friction))));
        assert!((variance / formula - 1.0).abs() < 1e-9, "{variance} {formula}");
        law(Sampler::Sghmc { friction }, times, variance);
    }
    for (times, friction) in [(1.0, 0.05), (2.0, 0.5), (3.0, 0.3), (3.0, 1.0)] {
        law(Sampler::Baoab { friction }, times, 1.0 / a);
    }
    for (times, friction) in [(0.02, 0.05), (0.5, 0.1), (1.0, 0.5), (0.5, 1.0)] {
        law(Sampler::Sgnht { friction }, times, 1.0 / a);
    }
}

#[test]
fn adam_with_a_constant_preconditioner_is_a_linear_system() {
    // With eps = 1000 the root of the squares, below 1, moves P by a permille.
    let (h, localization, eps) = (10.0, 5.0, 1e3);
    let a = N_BETA * h + localization;
    for (times, beta) in [(0.2, 0.0), (0.2, 0.9), (0.02, 0.9), (0.5, 0.5)] {
        let e = times / a;
        let variance = adam_variance(h, localization, e, beta);
        if times < 0.1 {
            // To first order the lag of β/(1 − β) steps makes εPA/4 of it (1 + β)/(1 − β) times as much.
            let first_order = 1.0 + times / 4.0 * (1.0 + beta) / (1.0 - beta);
            assert!((variance * a - first_order).abs() < 0.2 * (first_order - 1.0), "{} {first_order}", variance * a);
        }
        let sampler = Sampler::AdamSgld { betas: [beta, 0.99], eps };
        Law { sampler, h, localization, step_size: e * eps, variance, margin: 2e-3 }.check();
    }
}

#[test]
fn rmsprop_without_correction_is_biased_and_either_correction_is_not() {
    let (h, localization, eps) = (5.0, 1.0, 0.2);
    let a = N_BETA * h + localization;
    // The gradient has the size h/√A: P is about 1/(h/√A + eps), twice that at most. Steps √(εP) are a tenth of the width
    // eps/h of the kink that the preconditioner has at the minimum.
    let typical = 1.0 / (h / a.sqrt() + eps);
    let biased = weighted_variance(h, a, eps);
    assert!(biased * a > 1.4, "{}", biased * a);
    for (decay, correction, times, variance) in [
        (0.05, Correction::None, 0.01, biased),
        (0.05, Correction::Curvature, 0.01, 1.0 / a),
        (0.9, Correction::Curvature, 0.01, 1.0 / a),
        (0.99, Correction::Curvature, 0.04, 1.0 / a),
        // Frozen at a P that differs between the copies: 1/(A(1 − εPA/4)).
        (0.99, Correction::Freeze, 0.01, 1.0 / a),
    ] {
        let sampler = preconditioned(decay, eps, correction);
        let step_size = times / (typical * a);
        let llc = Llc { sampler, chains: 2, burn_in: 2000, draws: 700, thin: 20, ..sgld(step_size, localization) };
        let estimate = llc.estimate(&quadratic(1000, &[h]), &[0.0; 1000]).unwrap();
        let expected = 0.5 * N_BETA * h * variance * 1000.0;
        assert_mean(&estimate, expected, 0.5 * times * expected, 0.005 * expected);
    }
}

#[test]
fn the_correction_holds_on_minibatches_but_for_the_noise_that_preconditioner_and_gradient_share() {
    // One example a step, of curvature 0.5 or 1.5, hardly any memory: P = 1/(h|w| + eps) is that of the example as well. To
    // small steps the drift is −½(nβ·E[Ph] + γE[P])w + ½·dE[P]/dw and the diffusion E[P], so the density is
    // exp(−∫(nβ·E[Ph]/E[P] + γ)w dw) if Γ has its mean, and that over 1/E[P] without Γ.
    let (objective, width, eps, localization) = (curvatures_in_turns(64, 300), 300.0, 0.2, 1.0);
    let n_beta = objective.default_n_beta();
    let step = 1e-4;
    let second_moment = |is_corrected: bool| -> f64 {
        let (mut potential, mut mass, mut square) = (0.0, 0.0, 0.0);
        for k in 0..20_000 {
            let w = (f64::from(k) + 0.5) * step;
            let p = [0.5, 1.5].map(|h| 1.0 / (h * w + eps));
            let mean = 0.5 * (p[0] + p[1]);
            let pulled = 0.5 * (0.5 * p[0] + 1.5 * p[1]);
            potential += (n_beta * pulled / mean + localization) * w * step;
            let density = (-potential).exp() / if is_corrected { 1.0 } else { mean };
            mass += density;
            square += density * w * w;
        }
        square / mass
    };
    let exact = 1.0 / (n_beta + localization);
    let [plain, corrected] = [false, true].map(second_moment);
    assert!(plain > 1.3 * corrected && corrected > 1.1 * exact, "{plain} {corrected} {exact}");
    for (correction, variance) in [(Correction::None, plain), (Correction::Curvature, corrected)] {
        let llc = Llc {
            sampler: preconditioned(0.02, eps, correction),
            chains: 2,
            burn_in: 2000,
            draws: 1000,
            thin: 20,
            batch: Batch::Size(1),
            evaluation: Evaluation::Full,
            ..sgld(0.01 / (2.2 / exact), localization)
        };
        let estimate = llc.estimate(&objective, &[0.0; 300]).unwrap();
        let expected = 0.5 * n_beta * variance * width;
        // Steps of a hundredth, as above, and the last 2 % of P that are memory.
        assert_mean(&estimate, expected, 0.015 * expected, 0.012 * expected);
    }
}

#[test]
fn a_frozen_preconditioner_gives_the_law_of_sgld_at_its_step() {
    // With decay 0.9999 and 2000 steps, unbiased weights: v is the mean of some thousand squares, h²σ² to 5 %.
    let (h, localization, eps) = (50.0, 1.0, 0.1);
    let a = N_BETA * h + localization;
    let step_size = 1.0 / (a * 1.5);
    // The fixed point of v = h²σ², σ² = 1/(A(1 − εPA/4)), as of the learning phase.
    let mut variance = 1.0 / a;
    for _ in 0..100 {
        variance = 1.0 / (a * (1.0 - step_size * a / (4.0 * (h * f64::sqrt(variance) + eps))));
    }
    assert!(variance * a > 1.2, "{}", variance * a);
    Law {
        sampler: preconditioned(0.9999, eps, Correction::Freeze),
        h,
        localization,
        step_size,
        variance,
        margin: 0.01,
    }
    .check();
}

#[test]
fn the_thermostat_is_right_for_any_number_of_free_coordinates() {
    // d = 1 and 10 in many chains; and d of them free beside frozen ones, which must not count.
    let (h, localization) = (10.0, 5.0);
    let a = N_BETA * h + localization;
    for (d, chains, draws) in [(1, 40, 4000), (10, 8, 2500)] {
        for friction in [0.05, 0.3] {
            let sampler = Sampler::Sgnht { friction };
            let llc = Llc { sampler, chains, burn_in: 2000, draws, thin: 5, ..sgld(0.2 / a, localization) };
            let estimate = llc.estimate(&quadratic(d, &[h]), &vec![0.0; d]).unwrap();
            let expected = 0.5 * N_BETA * h / a * d as f64;
            assert_mean(&estimate, expected, 0.005 * expected, 0.01 * expected);
        }
    }
}

#[test]
fn defect_4_the_thermostat_has_a_momentum_that_moves() {
    // The peer's case: 2000 dimensions, nβ = 10, unit curvature, target variance 0.100; a dead momentum gave 0.0021.
    let objective = quadratic(2000, &[1.0]);
    for step_size in [1e-3, 0.02] {
        let sampler = Sampler::Sgnht { friction: 0.1 };
        let llc = Llc { sampler, burn_in: 3000, draws: 400, thin: 20, n_beta: Some(10.0), ..sgld(step_size, 0.0) };
        let estimate = llc.estimate(&objective, &[0.0; 2000]).unwrap();
        let c = estimate.diagnostics().convergence.unwrap();
        // nβ·L = ½·nβ·Σw².
        let [variance, error] = [c.mean, c.mcse].map(|x| 2.0 * x / (10.0 * 2000.0));
        assert!(error < 5e-4 && (variance - 0.100).abs() < 4.5 * error, "{variance} ± {error}");
        assert!(estimate.diagnostics().norms.momentum > 0.0);
    }
}

#[test]
fn gradient_noise_heats_all_but_the_thermostat() {
    let (objective, minimum, variance) = scattered(400);
    let (n_beta, localization) = (objective.default_n_beta(), 1.0);
    let a = n_beta + localization;
    let step_size = 0.05 / a;
    let size = 8.0;
    let c = variance / size * (N as f64 - size) / (N as f64 - 1.0);
    let eta = 0.5 * step_size;
    // A momentum takes up ηnβ times the noise of the gradient in a step.
    let heat = (eta * n_beta).powi(2) * c;
    for (sampler, v) in [
        (Sampler::Sghmc { friction: 0.1 }, sghmc_variance(a, step_size, 0.1, heat)),
        (Sampler::Sghmc { friction: 0.5 }, sghmc_variance(a, step_size, 0.5, heat)),
        (Sampler::Sgnht { friction: 0.1 }, 1.0 / a),
        (Sampler::Sgnht { friction: 0.5 }, 1.0 / a),
    ] {
        let llc = Llc {
            sampler,
            chains: 2,
            burn_in: 1000,
            draws: 1500,
            thin: 4,
            batch: Batch::Size(8),
            ..sgld(step_size, localization)
        };
        let estimate = llc.estimate(&objective, &minimum).unwrap();
        let expected = 0.5 * n_beta * v * 400.0;
        assert_mean(&estimate, expected, 2e-3 * expected, 0.01 * expected);
    }
    assert!(sghmc_variance(a, step_size, 0.1, heat) * a > 1.1, "the heat would be seen");
    // Equal curvatures: the control variate leaves no noise, so the law is that of full batches.
    for (sampler, v) in [
        (Sampler::Sgld, 1.0 / (a * (1.0 - step_size * a / 4.0))),
        (Sampler::Sghmc { friction: 0.1 }, sghmc_variance(a, step_size, 0.1, 0.0)),
    ] {
        let gradient = GradientRule::ControlVariate;
        let (batch, draws, thin) = (Batch::Size(2), 3000, 4);
        let llc =
            Llc { sampler, gradient, chains: 2, burn_in: 500, draws, thin, batch, ..sgld(step_size, localization) };
        let estimate = llc.estimate(&objective, &minimum).unwrap();
        let expected = 0.5 * n_beta * v * 400.0;
        assert_mean(&estimate, expected, 1e-3 * expected, 0.01 * expected);
    }
}

/// 200 copies of two directions, at the start (0, 0).
fn with_priors(localization: f64, priors: Vec<GaussianPrior>, start: f32) -> Estimate {
    let sampler = Sampler::Baoab { friction: 0.5 };
    let llc =
        Llc { sampler, priors, chains: 2, burn_in: 1000, draws: 1000, thin: 5, ..sgld(1.0 / 1500.0, localization) };
    llc.estimate(&quadratic(200, &[10.0, 1.0]), &[start; 400]).expect("sound settings")
}

#[test]
fn priors_move_the_posterior_as_gaussians_do() {
    // Precision A = nβh + Σγ, mean Σγc/A; L compared with its value at the start.
    let expected = |pulls: &[(f64, f64)], start: f64| -> f64 {
        let each = |h: f64| {
            let a = N_BETA * h + pulls.iter().map(|(gamma, _)| gamma).sum::<f64>();
            let mean = pulls.iter().map(|(gamma, c)| gamma * c).sum::<f64>() / a;
            0.5 * N_BETA * h * (1.0 / a + mean * mean - start * start)
        };
        200.0 * (each(10.0) + each(1.0))
    };
    let prior = |precision, centre| GaussianPrior { precision, centre };
    let there = || Centre::Weights(vec![0.2; 400].into());
    for (localization, priors, start, pulls) in [
        (5.0, vec![], 0.0, vec![(5.0, 0.0)]),
        (0.0, vec![prior(50.0, Centre::Zero)], 0.0, vec![(50.0, 0.0)]),
        (5.0, vec![prior(50.0, there())], 0.0, vec![(5.0, 0.0), (50.0, 0.2)]),
        (20.0, vec![prior(100.0, Centre::Zero)], 0.1, vec![(20.0, 0.1), (100.0, 0.0)]),
        (0.0, vec![prior(30.0, Centre::Start), prior(40.0, there())], -0.1, vec![(30.0, -0.1), (40.0, 0.2)]),
    ] {
        let estimate = with_priors(localization, priors, start as f32);
        let expected = expected(&pulls, start);
        assert_mean(&estimate, expected, 1e-5 * expected.abs(), 2.0);
    }
}

#[test]
fn a_schedule_changes_burn_in_alone() {
    // From 20 times to once the step: 1/(A(1 − εA/4)) at the last; and samplers with a fixed time step follow it too.
    let a = N_BETA * 10.0 + 5.0;
    for (sampler, times, from, v) in [
        (Sampler::Sgld, 0.1, 20.0, 1.0 / (1.0 - 0.025)),
        (Sampler::Sghmc { friction: 0.3 }, 1.0, 0.1, 1.0 / (1.0 - 1.0 / 6.8)),
        (Sampler::Baoab { friction: 0.3 }, 2.0, 0.1, 1.0),
        (Sampler::Hmc { leapfrogs: 8, target_acceptance: None }, 0.02, 30.0, 1.0),
    ] {
        let schedule = Schedule::BurnIn { from };
        let llc = Llc { sampler, schedule, chains: 2, burn_in: 500, draws: 1000, thin: 5, ..sgld(times / a, 5.0) };
        let estimate = llc.estimate(&quadratic(300, &[10.0]), &[0.0; 300]).unwrap();
        let expected = 150.0 * N_BETA * 10.0 / a * v;
        assert_mean(&estimate, expected, 1e-3 * expected, 0.01 * expected);
        if sampler.is_exact() {
            // At √30 times the time step next to nothing would be accepted.
            assert!(estimate.diagnostics().convergence.unwrap().acceptance.unwrap() > 0.9);
        }
    }
}
