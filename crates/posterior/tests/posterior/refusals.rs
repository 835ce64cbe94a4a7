//! Bad settings, bad starts and bad chains: each gets its own answer, and none a number.

use ontogeny_graph::{Graph, Node};
use ontogeny_posterior::{
    Batch, Centre, Correction, Estimate, Evaluation, GaussianPrior, Llc, Objective, Sampler, Schedule, Verdict,
};

use crate::minibatches::scattered;
use crate::{line, quadratic, sgld};

/// A loss of one parameter `w` of length `n`, summed over it.
fn summed(n: usize, loss: impl Fn(&mut Graph, Node) -> Node) -> Objective {
    let mut g = Graph::new();
    let w = g.param("w", &[n]);
    let each = loss(&mut g, w);
    let total = g.sum(each, &[0]);
    Objective::population(g, total, 1000).expect("a scalar loss")
}

#[test]
fn defect_6_settings_outside_their_range_are_errors() {
    let objective = quadratic(2, &[1.0]);
    let base = || sgld(1e-4, 1.0);
    let rms = |decay, eps| Llc { sampler: Sampler::RmspropSgld { decay, eps, correction: Correction::None }, ..base() };
    let of = |sampler| Llc { sampler, ..base() };
    let adam = |betas, eps| Sampler::AdamSgld { betas, eps };
    let frozen =
        |burn_in| Llc { burn_in, ..of(Sampler::RmspropSgld { decay: 0.9, eps: 0.1, correction: Correction::Freeze }) };
    let boxed = |half| Llc { bounding_box: Some(half), ..base() };
    let from = |from| Llc { schedule: Schedule::BurnIn { from }, ..base() };
    for (llc, message) in [
        (Llc { step_size: 0.0, ..base() }, "`step_size` is 0; expected a finite number above 0"),
        (Llc { step_size: -1e-4, ..base() }, "`step_size` is -0.0001"),
        (Llc { step_size: f64::NAN, ..base() }, "`step_size` is NaN"),
        (Llc { step_size: f64::INFINITY, ..base() }, "`step_size` is inf"),
        (
            Llc { step_size: 1e-60, ..base() },
            "`step_size` is 0.000000000000000000000000000000000000000000000000000000000001",
        ),
        (Llc { localization: -1.0, ..base() }, "`localization` is -1; expected a finite number, at least 0"),
        (Llc { localization: f64::NAN, ..base() }, "`localization` is NaN"),
        (Llc { n_beta: Some(0.0), ..base() }, "`n_beta` is 0"),
        (Llc { n_beta: Some(-3.0), ..base() }, "`n_beta` is -3"),
        (Llc { n_beta: Some(1e40), ..base() }, "`n_beta` is 1"),
        (Llc { chains: 0, ..base() }, "`chains` is 0; expected at least 1"),
        (Llc { draws: 0, ..base() }, "`draws` is 0; expected at least 4"),
        (Llc { draws: 3, ..base() }, "`draws` is 3"),
        (Llc { thin: 0, ..base() }, "`thin` is 0"),
        (Llc { burn_in: usize::MAX, ..base() }, "`draws · thin + burn_in` is"),
        (rms(0.0, 0.1), "`decay` is 0"),
        (rms(1.0, 0.1), "`decay` is 1"),
        (rms(f64::NAN, 0.1), "`decay` is NaN"),
        (rms(0.99, 0.0), "`eps` is 0"),
        (frozen(0), "`burn_in` is 0; expected at least 1, in which to learn"),
        (of(Sampler::Sghmc { friction: 0.0 }), "`friction` is 0; expected a number above 0 and at most 1"),
        (of(Sampler::Sghmc { friction: -0.1 }), "`friction` is -0.1"),
        (of(Sampler::Sgnht { friction: 1.5 }), "`friction` is 1.5"),
        (of(Sampler::Baoab { friction: f64::NAN }), "`friction` is NaN"),
        (of(adam([0.9, 1.0], 0.1)), "`betas` is 1; expected two numbers from 0 to below 1"),
        (of(adam([-0.1, 0.9], 0.1)), "`betas` is -0.1"),
        (of(adam([f64::NAN, 0.9], 0.1)), "`betas` is NaN"),
        (of(adam([0.9, 0.9], 0.0)), "`eps` is 0"),
        (of(Sampler::Mala { target_acceptance: Some(0.0) }), "`target_acceptance` is 0; expected a number strictly"),
        (of(Sampler::Hmc { leapfrogs: 0, target_acceptance: None }), "`leapfrogs` is 0; expected a number from 1"),
        (of(Sampler::Hmc { leapfrogs: 4, target_acceptance: Some(f64::NAN) }), "`target_acceptance` is NaN"),
        (
            of(Sampler::Nuts { max_depth: 0, target_acceptance: None }),
            "`max_depth` is 0; expected a number from 1 to 15",
        ),
        (of(Sampler::Nuts { max_depth: 16, target_acceptance: None }), "`max_depth` is 16"),
        (of(Sampler::Nuts { max_depth: 4, target_acceptance: Some(1.0) }), "`target_acceptance` is 1"),
        (boxed(0.0), "`bounding_box` is 0; expected a finite number above 0"),
        (boxed(-1.0), "`bounding_box` is -1"),
        (boxed(f64::NAN), "`bounding_box` is NaN"),
        (boxed(f64::INFINITY), "`bounding_box` is inf"),
        (from(0.0), "`from` is 0; expected a finite number above 0"),
        (from(f64::NAN), "`from` is NaN"),
        (Llc { batch: Batch::Size(3), ..base() }, "a batch of 3 was asked for, but a population loss has no examples"),
        (base().restrict("l0").unwrap(), "restriction `l0`: there is no layer 0; the network has no layers"),
    ] {
        let error = llc.estimate(&objective, &[0.0; 2]).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
        assert_eq!(llc.check(&objective).unwrap_err().to_string(), error);
    }
    assert_eq!(base().check(&objective), Ok(()));
    assert_eq!(frozen(1).check(&objective), Ok(()));
}

#[test]
fn defect_6_priors_and_batches_outside_their_range_are_errors() {
    // The peer takes a number as the centre of a prior and silently puts it at zero; here a centre is a point or weights.
    let objective = quadratic(2, &[1.0]);
    let prior = |precision, centre| Llc { priors: vec![GaussianPrior { precision, centre }], ..sgld(1e-4, 1.0) };
    for (llc, message) in [
        (prior(-1.0, Centre::Zero), "`precision` is -1; expected a finite number, at least 0"),
        (prior(f64::NAN, Centre::Start), "`precision` is NaN"),
        (prior(f64::INFINITY, Centre::Zero), "`precision` is inf"),
        (prior(1.0, Centre::Weights(vec![0.5].into())), "`centre of a prior` is 1 weights; expected 2 weights"),
        (prior(1.0, Centre::Weights(vec![0.5, f32::NAN].into())), "`centre of a prior` is NaN in it"),
    ] {
        let error = llc.estimate(&objective, &[0.0; 2]).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
    let (data, minimum, _) = scattered(2);
    let batch = Batch::Size(8);
    let small = |sampler| Llc { sampler, batch, ..sgld(1e-4, 1.0) };
    let nuts = small(Sampler::Nuts { max_depth: 4, target_acceptance: None });
    let mala = small(Sampler::Mala { target_acceptance: None });
    for llc in [
        nuts,
        mala,
        Llc { evaluation: Evaluation::Fresh(513), ..small(Sampler::Sgld) },
        Llc { evaluation: Evaluation::Fixed(0), ..small(Sampler::Sgld) },
        Llc { batch: Batch::Size(513), ..small(Sampler::Sgld) },
        Llc { batch: Batch::Size(0), ..small(Sampler::Sgld) },
    ] {
        let error = llc.estimate(&data, &minimum).unwrap_err().to_string();
        let names_it = if llc.sampler.is_exact() {
            error
                == format!(
                    "`batch` is 8 with `{}`; expected `full`: its Metropolis test needs the loss over all data",
                    llc.sampler
                )
        } else {
            error.contains("512")
        };
        assert!(names_it, "{error}");
    }
}

#[test]
fn no_sampler_makes_a_number_of_a_huge_step() {
    let objective = quadratic(3, &[10.0, 1.0]);
    for sampler in crate::every_sampler() {
        let llc = Llc { sampler, burn_in: 50, draws: 200, ..sgld(10.0, 1.0) };
        let estimate = llc.estimate(&objective, &[0.0; 6]).unwrap();
        if sampler.is_exact() && sampler != (Sampler::Mala { target_acceptance: None }) {
            // What adapts its step comes back from it.
            let c = estimate.diagnostics().convergence.unwrap();
            assert!(estimate.value().is_none() || (c.mean - 3.0).abs() < 4.5 * c.mcse + 0.05, "{}", line(&estimate));
        } else if sampler.is_exact() {
            assert_refused(&estimate, Verdict::NotConverged);
        } else {
            let verdict = estimate.verdict();
            assert!(matches!(verdict, Verdict::Diverged | Verdict::StepTooLarge), "{sampler:?} {}", line(&estimate));
            assert_eq!(estimate.value(), None);
        }
    }
    // Everything rejected.
    for sampler in [
        Sampler::Mala { target_acceptance: None },
        Sampler::Hmc { leapfrogs: 3, target_acceptance: None },
        Sampler::Nuts { max_depth: 3, target_acceptance: None },
    ] {
        let llc = Llc { sampler, burn_in: 50, draws: 200, ..sgld(1e4, 1.0) };
        assert_refused(&llc.estimate(&objective, &[0.0; 6]).unwrap(), Verdict::NotConverged);
    }
}

#[test]
fn bad_weights_are_named() {
    let objective = quadratic(2, &[1.0, 2.0]);
    let llc = sgld(1e-4, 1.0);
    for (weights, message) in [
        (vec![0.0; 3], "expected 4 weights, found 3"),
        (vec![0.0, 0.0, f32::NAN, 0.0], "the weights hold NaN in `w` (element 2)"),
        (vec![f32::NEG_INFINITY, 0.0, 0.0, 0.0], "the weights hold -inf in `w` (element 0)"),
    ] {
        let error = llc.estimate(&objective, &weights).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
    let logarithm = summed(2, |g, w| {
        let log = g.log(w);
        g.named(log, "logarithm")
    });
    let error = llc.estimate(&logarithm, &[-1.0, 1.0]).unwrap_err().to_string();
    assert!(
        error.starts_with("the loss at the start is not finite; the first value that is not stands in `"),
        "{error}"
    );
}

#[track_caller]
fn assert_refused(estimate: &Estimate, expected: Verdict) {
    assert_eq!(estimate.verdict(), expected, "{}", line(estimate));
    assert_eq!(estimate.value(), None);
}

#[test]
fn defect_2_one_diverged_chain_refuses_the_estimate() {
    // −ln(1 − w) + ½·h·w² has no value beyond w = 1, where a chain in ten or so gets to.
    let objective = summed(1, |g, w| {
        let one = g.constant(1.0);
        let distance = g.sub(one, w);
        let log = g.log(distance);
        let square = g.square(w);
        g.sub(square, log)
    });
    let llc = Llc { chains: 12, burn_in: 10, draws: 60, n_beta: Some(1.0), ..sgld(0.05, 1.0) };
    let estimate = llc.estimate(&objective, &[0.0]).unwrap();
    assert_refused(&estimate, Verdict::Diverged);
    let d = estimate.diagnostics();
    assert!(!d.failures.is_empty() && d.failures.len() < 12, "{:?}", d.failures);
    assert_eq!((d.mean_loss, d.convergence), (None, None));
    for (chain, mean) in d.per_chain.iter().enumerate() {
        let failure = d.failures.iter().find(|failure| failure.chain == chain);
        assert_eq!(mean.is_none(), failure.is_some());
        // A failing chain keeps the draws before its failure and nothing after it.
        let n_draws = failure.map_or(60, |failure| failure.step.saturating_sub(10));
        assert_eq!(d.trace.losses[chain].len(), n_draws);
        assert!(d.trace.losses[chain].iter().all(|loss| loss.is_finite()));
    }
    let Estimate::Refused { reason, .. } = &estimate else { unreachable!() };
    let first = d.failures.iter().min_by_key(|failure| failure.step).unwrap();
    assert!(reason.contains(&format!("at step {} in `{}`", first.step, first.node)), "{reason}");
}

#[test]
fn an_unstable_step_is_refused_whatever_its_length() {
    // Stable below εA = 4; A = 1448.6 and 145.8.
    let objective = quadratic(3, &[10.0, 1.0]);
    for (step_size, draws, expected) in [
        (1.0, 200, Verdict::Diverged),
        (0.01, 200, Verdict::Diverged),
        (0.002_9, 200, Verdict::Diverged),
        (0.002_7, 200, Verdict::StepTooLarge),
        (0.002, 200, Verdict::StepTooLarge),
    ] {
        let llc = Llc { burn_in: 100, draws, ..sgld(step_size, 1.0) };
        let estimate = llc.estimate(&objective, &[0.0; 6]).unwrap();
        assert_refused(&estimate, expected);
    }
}

#[test]
fn losses_below_the_start_are_refused() {
    // A hill top: the gradient is zero, so only the chain can tell.
    let objective = summed(4, |g, w| {
        let square = g.square(w);
        let fourth = g.square(square);
        g.sub(fourth, square)
    });
    let estimate = Llc { burn_in: 500, draws: 500, ..sgld(1e-3, 1.0) }.estimate(&objective, &[0.0; 4]).unwrap();
    assert_refused(&estimate, Verdict::LeftTheBasin);
    assert!(!estimate.diagnostics().not_a_minimum);
    assert!(estimate.diagnostics().convergence.unwrap().share_below_baseline > 0.9);
}

#[test]
fn a_start_on_a_slope_is_flagged() {
    // ½·Σ(w − 1)² over 10 coordinates from 0.1 (a slope) or from the minimum.
    let objective = summed(10, |g, w| {
        let one = g.constant(1.0);
        let difference = g.sub(w, one);
        let square = g.square(difference);
        g.scale(square, 0.5)
    });
    let llc = Llc { burn_in: 500, draws: 500, ..sgld(1e-3, 10.0) };
    let slope = llc.estimate(&objective, &[0.9; 10]).unwrap();
    // nβ‖g‖ = 144.8·0.316; (nβ‖g‖)²/(2·(nβ + γ)) = 6.8 nats.
    assert!(slope.diagnostics().not_a_minimum, "{:?}", slope.diagnostics().start);
    let minimum = llc.estimate(&objective, &[1.0; 10]).unwrap();
    assert!(!minimum.diagnostics().not_a_minimum, "{:?}", minimum.diagnostics().start);
    assert!(minimum.value().is_some(), "{}", line(&minimum));
}

#[test]
fn a_loss_that_nothing_moves_is_not_converged() {
    let mut g = Graph::new();
    let w = g.param("w", &[3, 1]);
    g.param("unused", &[4]);
    let loss = crate::half_weighted_squares(&mut g, w, &[1.0]);
    let objective = Objective::population(g, loss, 1000).unwrap();
    let llc = sgld(1e-4, 1.0).restrict("unused").unwrap();
    assert_refused(&llc.estimate(&objective, &[0.0; 7]).unwrap(), Verdict::NotConverged);
}

#[test]
fn chains_that_are_too_short_are_not_converged() {
    // Steps so small that the chains hardly leave the start.
    let estimate = sgld(1e-8, 1.0).estimate(&quadratic(50, &[10.0]), &[0.0; 50]).unwrap();
    assert_refused(&estimate, Verdict::NotConverged);
}
