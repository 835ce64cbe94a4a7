//! Calibration: what it chooses on quadratics, where its rules can be computed by hand, and what it refuses.

use ontogeny_graph::{Column, ColumnData, DataSet, Graph};
use ontogeny_posterior::{Batch, Calibration, CalibrationError, Execution, Llc, LlcError, Objective, Sampler, Verdict};

use crate::{quadratic, sgld};

const N_BETA: f64 = 144.764_827_301_083_94;
const CURVATURES: [f64; 2] = [10.0, 1.0];

/// λ̂ of one copy in the stationary law of SGLD, and the share of it that the step size makes.
fn exact(step_size: f64, localization: f64) -> (f64, f64) {
    let at = |step_size: f64| -> f64 {
        let terms = CURVATURES.iter().map(|h| {
            let a = N_BETA * h + localization;
            0.5 * N_BETA * h / (a * (1.0 - step_size * a / 4.0))
        });
        terms.sum()
    };
    (at(step_size), at(step_size) / at(0.0) - 1.0)
}

#[test]
fn it_takes_the_largest_fine_step_and_the_weakest_localisation_that_settles() {
    let objective = quadratic(50, &CURVATURES);
    let start = vec![0.0; 100];
    let other = vec![1e-3; 100];
    let llc = Llc { chains: 4, burn_in: 400, draws: 400, ..sgld(1e-5, 30.0) };
    let found = Calibration { llc }.find(&objective, &[&start, &other], &Execution::default()).unwrap();
    let (epsilon, gamma) = (found.llc.step_size, found.llc.localization);
    // 1/9 of the value without is a tenth of the value with. The estimate of the share is good to some percent, and a
    // half decade multiplies it by more than 3.
    assert!(exact(epsilon, gamma).1 < 0.13, "{epsilon} makes {:.3}", exact(epsilon, gamma).1);
    assert!(exact(epsilon * 10.0_f64.sqrt(), gamma).1 > 0.09, "the next would have been fine: {epsilon}");
    // Every direction is curved, so chains come to rest without any localisation: the search ends at its reach.
    assert!(gamma < 0.1, "{gamma}: {found:#?}");
    // At its start the loss is a quadratic at its minimum: λ̂ does not depend on nβ, but for the localisation.
    let (slope, error) = found.temperature_slope.unwrap();
    assert!(slope.abs() < 0.05 + 3.0 * error, "{slope} ± {error}");
    let n_beta = found.llc.n_beta.unwrap();
    assert!((n_beta / N_BETA - 1.0).abs() < 1e-12);
    let accepted = found.trials.iter().filter(|t| t.verdict == Verdict::Ok && t.checkpoint == 0);
    for trial in accepted.filter(|t| t.n_beta == n_beta && t.localization < 100.0) {
        let expected = 50.0 * exact(trial.step_size, trial.localization).0;
        // Burn-in leaves exp(−ε·A·400) of the slowest direction, 2·400·ε·A/2; where that is much, draws are few.
        let rest = (-trial.step_size * N_BETA * 400.0).exp() * expected;
        let distance = (trial.mean.unwrap() - expected).abs();
        assert!(distance < 4.5 * trial.mcse.unwrap() + rest, "{trial:?}: expected {expected}");
    }
}

#[test]
fn flat_directions_ask_for_a_localisation_that_they_settle_in() {
    // A direction of curvature 0 relaxes in 2/(εγ) steps: where that is far beyond the burn-in the chains still spread,
    // but the loss does not see it. A direction of curvature 0.02 is seen, and relaxes with γ + nβ·0.02.
    let objective = quadratic(50, &[10.0, 0.002]);
    let llc = Llc { chains: 4, burn_in: 300, draws: 300, ..sgld(1e-5, 100.0) };
    let found = Calibration { llc }.find(&objective, &[&[0.0; 100]], &Execution::default()).unwrap();
    let localization = found.llc.localization;
    let (slope, error) = found.localization_slope.unwrap();
    assert!(localization > 0.0 && slope < 3.0 * error, "λ̂ falls with the localisation: {slope} ± {error}");
    assert!(found.trials.iter().any(|trial| trial.localization < localization) || localization < 1.0);
    assert_eq!(found.reasons.len(), 3, "{:?}", found.reasons);
}

#[test]
fn the_search_is_the_same_every_time() {
    let objective = quadratic(10, &CURVATURES);
    let llc = Llc { chains: 2, burn_in: 100, draws: 100, ..sgld(1e-5, 30.0) };
    let find = || Calibration { llc: llc.clone() }.find(&objective, &[&[0.0; 20]], &Execution::default());
    assert_eq!(find().unwrap(), find().unwrap());
}

#[test]
fn samplers_with_a_metropolis_test_keep_their_step_size() {
    let objective = quadratic(5, &CURVATURES);
    let sampler = Sampler::Hmc { leapfrogs: 8, target_acceptance: Some(0.8) };
    let llc = Llc { sampler, chains: 4, burn_in: 200, draws: 300, ..sgld(1e-3, 10.0) };
    let found = Calibration { llc }.find(&objective, &[&[0.0; 10]], &Execution::default()).unwrap();
    assert_eq!(found.llc.step_size, 1e-3);
}

#[test]
fn what_cannot_be_calibrated_is_said() {
    let objective = quadratic(5, &CURVATURES);
    let calibration = Calibration { llc: Llc { draws: 50, burn_in: 10, ..sgld(1e-3, 10.0) } };
    let error = calibration.find(&objective, &[], &Execution::default()).unwrap_err();
    assert_eq!(error, CalibrationError::NoCheckpoints);
    let error = calibration.find(&objective, &[&[f32::NAN; 10]], &Execution::default()).unwrap_err();
    assert!(matches!(error, CalibrationError::Llc(LlcError::NonFiniteWeight { .. })), "{error}");
    // Nothing moves the loss: no localisation is accepted, and the error says what was tried.
    let columns = vec![Column { name: "x".to_owned(), width: 1, data: ColumnData::Float(vec![1.0; 8]) }];
    let constant = Objective::new(DataSet::new(8, columns).unwrap(), |batch| {
        let mut g = Graph::new();
        let x = g.input("x", &[batch, 1]);
        let w = g.param("w", &[1]);
        let zero = g.scale(w, 0.0);
        let zero = g.broadcast(zero, &[batch, 1]);
        let loss = g.add(x, zero);
        let loss = g.reshape(loss, &[batch]);
        (g, loss)
    })
    .unwrap();
    let calibration = Calibration { llc: Llc { batch: Batch::Full, draws: 20, burn_in: 5, ..sgld(1e-3, 10.0) } };
    let error = calibration.find(&constant, &[&[0.0]], &Execution::default()).unwrap_err();
    let CalibrationError::NoLocalization { ref trials, .. } = error else { panic!("{error}") };
    assert!(!trials.is_empty());
    assert!(error.to_string().contains("is refused as `not converged`"), "{error}");
}
