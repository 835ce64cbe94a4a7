//! Estimators from the draws of one or several ensembles, on quadratics and monomials.

use ontogeny_graph::{Column, ColumnData, DataSet, Graph};
use ontogeny_posterior::{
    CombineError, Estimate, Execution, Ladder, Llc, Objective, Quantity, difference, two_temperatures,
};

use crate::minibatches::{WIDTH, scattered};
use crate::{quadratic, sgld};

#[track_caller]
fn assert_near(found: Quantity, expected: f64, margin: f64, resolution: f64) {
    assert!(found.mcse < resolution, "{found} tells nothing");
    assert!((found.value - expected).abs() < 4.5 * found.mcse + margin, "{found}, expected {expected}");
}

/// Σ w⁴ over `copies` coordinates at three temperatures, steps scaled with the width of the well.
fn quartics(copies: usize) -> Vec<Estimate> {
    let mut g = Graph::new();
    let w = g.param("w", &[copies]);
    let square = g.square(w);
    let fourth = g.square(square);
    let loss = g.sum(fourth, &[0]);
    let objective = Objective::population(g, loss, 1000).expect("a scalar loss");
    [100.0_f64, 200.0, 400.0]
        .map(|n_beta| {
            // The width is nβ^(−1/4), the time to cross it its square.
            let step_size = 1e-3 * (100.0 / n_beta).sqrt();
            let llc = Llc { burn_in: 1500, draws: 500, thin: 10, n_beta: Some(n_beta), ..sgld(step_size, 0.0) };
            // With shared noise the three chains would be one and the same in units of their width.
            let llc = Llc { seed: n_beta as u32, ..llc };
            llc.estimate(&objective, &vec![0.0; copies]).expect("settings that fit")
        })
        .into()
}

#[test]
fn temperatures_agree_on_a_monomial() {
    // E[nβL] = 1/4 for each coordinate at every temperature, but for the finite step, which is told.
    let copies = 1000;
    let ladder = quartics(copies);
    let expected = copies as f64 / 4.0;
    let bias = ladder[0].diagnostics().convergence.unwrap().discretization;
    assert!(bias < 0.03 * expected, "{bias}");
    let resolution = 0.02 * expected;
    assert_near(two_temperatures(&ladder[0], &ladder[2]).unwrap(), expected, 1.5 * bias, resolution);
    let found = Ladder::of(&[&ladder[2], &ladder[0], &ladder[1]]).unwrap();
    assert_near(found.lambda, expected, 1.5 * bias, resolution);
    assert_near(found.lowest_loss, 0.0, 0.0, resolution / 100.0);
    // Steps are scaled with the well, so that the bias is the same at all temperatures and no bend is left.
    assert_near(found.bend, 0.0, 0.0, 0.3 * expected);
    assert_near(found.free_energy, expected * 4_f64.ln(), 1.5 * bias * 4_f64.ln(), resolution * 4_f64.ln());
    assert!(found.quadrature_error.unwrap() < 0.02 * expected, "{found:?}");
    // Gamma(λ, 1): variance and mean agree.
    for estimate in &ladder {
        let c = estimate.diagnostics().convergence.unwrap();
        assert_near(c.variance, expected, 3.0 * bias, 0.15 * expected);
    }
}

#[test]
fn a_localised_quadratic_bends_and_integrates_to_its_determinant() {
    let (copies, h, localization) = (400, [1.0, 0.05], 5.0);
    let objective = quadratic(copies, &h);
    let n_betas = [10.0, 20.0, 40.0, 80.0, 160.0];
    let estimates: Vec<Estimate> = n_betas
        .iter()
        .map(|&n_beta| {
            let step_size = 0.02 / (n_beta + localization);
            let llc =
                Llc { burn_in: 2500, draws: 500, thin: 20, n_beta: Some(n_beta), ..sgld(step_size, localization) };
            llc.estimate(&objective, &vec![0.0; 2 * copies]).unwrap()
        })
        .collect();
    let references: Vec<&Estimate> = estimates.iter().collect();
    let found = Ladder::of(&references).unwrap();
    let each = |h: f64| 0.5 * ((160.0 * h + localization) / (10.0 * h + localization)).ln();
    let expected = copies as f64 * h.iter().map(|&h| each(h)).sum::<f64>();
    // Steps of εA ≤ 0.02 add at most half a percent; the trapezoids say what they add.
    let margin = 0.005 * expected + 2.0 * found.quadrature_error.unwrap();
    assert!(margin < 0.03 * expected, "{margin} of {expected}");
    assert_near(found.free_energy, expected, margin, 0.01 * expected);
    // E[L] = ½·Σh/(nβh + γ) is no line in 1/nβ: directions that the localisation holds make λ̂ grow with nβ.
    assert!(found.bend.value < -5.0 * found.bend.mcse, "{found:?}");
    // Var(nβL) = ½·Σf², f = nβh/(nβh + γ).
    let c = estimates[4].diagnostics().convergence.unwrap();
    let f = h.map(|h| 160.0 * h / (160.0 * h + localization));
    let variance = 0.5 * copies as f64 * f.iter().map(|f| f * f).sum::<f64>();
    assert_near(c.variance, variance, 0.01 * variance, 0.15 * variance);
}

#[test]
fn wbic_and_free_energy_add_the_baseline() {
    let objective = quadratic(20, &[10.0]);
    let start = [0.01; 20];
    let llc = Llc { burn_in: 200, draws: 300, ..sgld(5e-4, 1.0) };
    let estimate = llc.estimate(&objective, &start).unwrap();
    let Estimate::Ok { value, mcse, .. } = estimate else { panic!("{estimate:?}") };
    let baseline = 0.5 * 10.0 * 20.0 * 1e-4;
    let (n, log) = (1000.0_f64, 1000_f64.ln());
    let wbic = estimate.wbic().unwrap();
    let mean_loss = estimate.diagnostics().mean_loss.unwrap();
    // Of a population loss the mean over draws is the mean loss, to the f32 of the baseline.
    assert!((wbic.value - n * mean_loss).abs() < 1e-4 * wbic.value, "{wbic} {mean_loss}");
    assert!((wbic.mcse - log * mcse).abs() < 1e-12 * wbic.mcse);
    let free_energy = estimate.free_energy().unwrap();
    assert!((free_energy.value - (n * baseline + log * value)).abs() < 1e-4 * free_energy.value);
    let warmer = Llc { n_beta: Some(20.0), ..llc.clone() }.estimate(&objective, &start).unwrap();
    let message = warmer.wbic().unwrap_err().to_string();
    assert_eq!(message, format!("nβ is 20; expected {}, which is n/ln n", n / log));
    let error = two_temperatures(&estimate, &estimate).unwrap_err();
    assert!(matches!(error, CombineError::Temperatures { .. }), "{error}");
    assert!(matches!(Ladder::of(&[&estimate, &warmer]), Err(CombineError::Temperatures { .. })));
    let elsewhere = Llc { n_beta: Some(40.0), ..llc }.estimate(&objective, &[0.0; 20]).unwrap();
    let error = two_temperatures(&estimate, &elsewhere).unwrap_err();
    assert!(matches!(error, CombineError::OtherStart { which: 1, .. }), "{error}");
    assert!(difference(&estimate, &elsewhere).is_ok(), "a run's checkpoints start at different losses");
}

/// 3·½·Σ(w − y)² with one y of 0.1 in each place, for 4 examples.
fn other_data() -> Objective {
    let values = vec![0.1; 4 * WIDTH];
    let column = Column { name: "x".to_owned(), width: WIDTH, data: ColumnData::Float(values) };
    Objective::new(DataSet::new(4, vec![column]).expect("rows of WIDTH"), |batch| {
        let mut g = Graph::new();
        let x = g.input("x", &[batch, WIDTH]);
        let w = g.param("w", &[WIDTH]);
        let difference = g.sub(x, w);
        let square = g.square(difference);
        let sum = g.sum(square, &[1]);
        let loss = g.scale(sum, 1.5);
        (g, loss)
    })
    .expect("one loss for each row")
}

#[test]
fn examples_fluctuate_by_the_known_amounts() {
    // wₖ ~ N(mₖ, v): ℓᵢ = ½Σ(wₖ − xᵢₖ)² has the variance Σ(mₖ − xᵢₖ)²v + v²/2, and mean ½Σv above its value at m.
    let (objective, minimum, scatter) = scattered(WIDTH);
    let n = 512.0_f64;
    let n_beta = n / n.ln();
    let a = n_beta + 1.0;
    let v = 1.0 / (a * (1.0 - 0.05));
    let llc = Llc { burn_in: 100, draws: 400, thin: 5, ..sgld(0.2 / a, 1.0) };
    let execution = Execution::default();
    let (estimate, losses) = llc.estimate_examples(&objective, &objective, &minimum, &execution).unwrap();
    let losses = losses.unwrap();
    let width = WIDTH as f64;
    let each = 0.5 * n_beta * v * width;
    assert_near(losses.mean, each, 1e-3 * each, 0.02 * each);
    // The same draws: rounding of f32 sums apart, the estimate itself.
    assert!((losses.mean.value / estimate.value().unwrap() - 1.0).abs() < 1e-4);
    let squares: f64 = losses.lambda.iter().map(|l| ((l.value - each) / l.mcse).powi(2)).sum::<f64>() / n;
    // Errors from 40 segments: the mean of t²₃₉ is 39/37. Examples share their draws, so that far from 512 of these are
    // independent: of 400 directions 0.25 is several standard deviations of √(2/400).
    assert!((squares - 39.0 / 37.0).abs() < 0.35, "{squares}");
    let expected = n * width * (scatter * v + 0.5 * v * v);
    assert_near(losses.functional_variance, expected, 0.0, 0.05 * expected);
    assert_near(losses.singular_fluctuation, 0.5 * n_beta / n * expected, 0.0, 0.05 * expected);
    // Of other data: three times the curvature, and a gradient at w* that averages out.
    let (_, others) = llc.estimate_examples(&objective, &other_data(), &minimum, &execution).unwrap();
    let others = others.unwrap();
    assert_eq!(others.lambda.len(), 4);
    assert_near(others.mean, 3.0 * each, 0.0, 0.1 * each);
}

#[test]
fn examples_of_a_refused_estimate_are_not_told() {
    let (objective, minimum, _) = scattered(WIDTH);
    // Steps of 4.5/A multiply a deviation by 1.25 each.
    let llc = Llc { burn_in: 100, draws: 20, ..sgld(4.5 * 512_f64.ln() / 512.0, 1.0) };
    let execution = Execution::default();
    let (estimate, losses) = llc.estimate_examples(&objective, &objective, &minimum, &execution).unwrap();
    assert!(estimate.value().is_none() && losses.is_none());
    let error = llc.estimate_examples(&objective, &quadratic(3, &[1.0]), &minimum, &execution).unwrap_err();
    assert_eq!(error.to_string(), "`probe` is a population loss; expected an objective with data");
}
