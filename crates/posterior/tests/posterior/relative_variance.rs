//! Ratios of the second moment of log-likelihood ratios to their mean, against closed forms.

use ontogeny_graph::{Column, ColumnData, DataSet, Graph, Node};
use ontogeny_posterior::{
    Execution, Judged, Llc, LlcError, Moments, Objective, Quantity, RelativeVariance, Sampler, Verdict,
};

use crate::sgld;

/// ½(y − d(x, w))² with one weight, over these pairs of x and y.
fn regression(
    pairs: &[(f32, f32)],
    predict: impl Fn(&mut Graph, Node, Node) -> Node + Send + Sync + 'static,
) -> Objective {
    let column = |name: &str, of: fn(&(f32, f32)) -> f32| {
        let values = pairs.iter().map(of).collect();
        Column { name: name.to_owned(), width: 1, data: ColumnData::Float(values) }
    };
    let data = DataSet::new(pairs.len(), vec![column("x", |p| p.0), column("y", |p| p.1)]).expect("one value a row");
    Objective::new(data, move |batch| {
        let mut g = Graph::new();
        let (x, y) = (g.input("x", &[batch, 1]), g.input("y", &[batch, 1]));
        let w = g.param("w", &[1]);
        let w = g.broadcast(w, &[batch, 1]);
        let own = predict(&mut g, x, w);
        let error = g.sub(y, own);
        let square = g.square(error);
        let halves = g.scale(square, 0.5);
        let loss = g.sum(halves, &[1]);
        (g, loss)
    })
    .expect("one loss for each row")
}

/// y = e with x = ±1 and e = ±τ, each with each: the optimum is w = 0.
fn noise(tau: f32) -> Objective {
    let pairs: Vec<(f32, f32)> = [(1.0, tau), (1.0, -tau), (-1.0, tau), (-1.0, -tau)].to_vec();
    regression(&pairs, Graph::mul)
}

/// y = 1 with x = ±1 and the prediction w·x + w²/2: the optimum is w = 0, where the mean loss is flat to third order.
fn flat() -> Objective {
    regression(&[(1.0, 1.0), (-1.0, 1.0)], |g, x, w| {
        let linear = g.mul(x, w);
        let square = g.square(w);
        let half = g.scale(square, 0.5);
        g.add(linear, half)
    })
}

/// Exact on quadratics.
fn baoab() -> Llc {
    let sampler = Sampler::Baoab { friction: 0.4 };
    Llc { sampler, burn_in: 200, draws: 1000, thin: 10, ..sgld(0.01, 5.0) }
}

fn measure(llc: &Llc, objective: &Objective, n_betas: &[f64]) -> RelativeVariance {
    llc.relative_variance(objective, None, &[0.0], n_betas, &Execution::default()).expect("sound settings")
}

fn moments(found: &RelativeVariance, scale: usize) -> Moments {
    match &found.scales[scale].moments {
        Judged::Ok(moments) => *moments,
        Judged::Refused(refusal) => panic!("{}: {}", refusal.verdict, refusal.reason),
    }
}

/// Within 4.5 errors, and with an error that is small enough for that to mean something.
#[track_caller]
fn assert_near(found: Quantity, expected: f64, resolution: f64) {
    assert!(found.mcse < resolution * expected, "{found} tells nothing of {expected}");
    // Losses of 32 bits.
    assert!((found.value - expected).abs() < 4.5 * found.mcse + 1e-3 * expected, "{found}, expected {expected}");
}

/// Slope of ln V on ln K by least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let (x, y): (Vec<f64>, Vec<f64>) = points.iter().map(|(k, v)| (k.ln(), v.ln())).unzip();
    let (x_mean, y_mean) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    let products: f64 = x.iter().zip(&y).map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    products / x.iter().map(|x| (x - x_mean).powi(2)).sum::<f64>()
}

/// f = −e·xδ + (xδ)²/2 with δ normal of variance s² = 1/(nβ + γ): K = s²/2 and V = τ²s² + ¾s⁴, for E[δ⁴] = 3s⁴. With τ = 1, the
/// noise that the loss stands for, the truth is in the model and the ratio goes to 2; else to 2τ².
#[test]
fn regular_models_have_a_bounded_ratio_which_is_two_where_they_hold_the_truth() {
    for (tau, limit) in [(1.0_f32, 2.0), (2.0, 8.0)] {
        let n_betas = [20.0, 320.0, 5120.0];
        let found = measure(&Llc { step_size: 0.05, ..baoab() }, &noise(tau), &n_betas);
        let expected = n_betas.map(|n_beta| {
            let s2 = 1.0 / (n_beta + 5.0);
            (s2 / 2.0, f64::from(tau * tau) * s2 + 0.75 * s2 * s2)
        });
        for (scale, (k, v)) in expected.into_iter().enumerate() {
            let own = moments(&found, scale);
            assert_near(own.mean, k, 0.05);
            assert_near(own.second, v, 0.05);
            assert_near(own.ratio, v / k, 0.01);
        }
        assert!((expected[2].1 / expected[2].0 - limit).abs() < 1e-3, "the limit is near");
        assert_near(found.exponent.expect("no scale is refused"), slope(&expected), 0.01);
    }
}

/// f = ∓w ± w³/2 + w⁴/8: K = w⁴/8 and V = w² − w⁴ + w⁶/4 + w⁸/64. Under exp(−nβ·w⁴/8) the moments of w are those of a Gamma
/// distribution, E|w|^m = (8/nβ)^(m/4)·Γ((m + 1)/4)/Γ(1/4): K = 1/(4nβ), and V ~ (nβ)^−½.
#[test]
fn a_ratio_that_diverges_has_the_exponent_one_half() {
    // Γ(3/4)/Γ(1/4).
    const GAMMAS: f64 = 0.337_989_120_033_642_4;
    let n_betas = [400.0, 4000.0, 40_000.0];
    let sampler = Sampler::Nuts { max_depth: 6, target_acceptance: Some(0.8) };
    let llc = Llc { sampler, step_size: 0.03, localization: 0.0, thin: 2, draws: 2000, ..baoab() };
    let found = measure(&llc, &flat(), &n_betas);
    let expected = n_betas.map(|n_beta: f64| {
        let unit = 8.0 / n_beta;
        let [second, fourth, sixth, eighth] =
            [GAMMAS * unit.sqrt(), unit / 4.0, 0.75 * GAMMAS * unit.powf(1.5), 5.0 / 16.0 * unit * unit];
        (fourth / 8.0, second - fourth + sixth / 4.0 + eighth / 64.0)
    });
    for (scale, (k, v)) in expected.into_iter().enumerate() {
        let own = moments(&found, scale);
        assert_near(own.mean, k, 0.1);
        assert_near(own.second, v, 0.05);
        assert_near(own.ratio, v / k, 0.1);
    }
    let exponent = slope(&expected);
    assert!((exponent - 0.5).abs() < 0.03, "{exponent}");
    assert_near(found.exponent.expect("no scale is refused"), exponent, 0.02);
}

/// The second moment may be that of another loss, as of answers that the network itself draws.
#[test]
fn a_second_moment_of_its_own_takes_the_place_of_the_squares() {
    // ½(0 − √2·δx)² = δ², twice the mean of f.
    let second = regression(&[(1.0, 0.0), (-1.0, 0.0)], |g, x, w| {
        let product = g.mul(x, w);
        g.scale(product, 2_f64.sqrt())
    });
    let execution = Execution::default();
    let found = baoab()
        .relative_variance(&noise(3.0), Some(&second), &[0.0], &[50.0, 500.0], &execution)
        .expect("sound settings");
    assert_near(moments(&found, 1).ratio, 2.0, 1e-3);
    assert_near(found.exponent.expect("no scale is refused"), 1.0, 1e-3);
}

#[test]
fn scales_share_no_noise_and_the_first_is_that_of_a_learning_coefficient() {
    let found = measure(&baoab(), &noise(1.0), &[50.0, 50.5]);
    let alone = Llc { n_beta: Some(50.0), ..baoab() }.estimate(&noise(1.0), &[0.0]).expect("sound settings");
    assert_eq!(found.scales[0].estimate, alone);
    let [first, second] = [0, 1].map(|at| &found.scales[at].estimate.diagnostics().trace.excess[0]);
    let correlated = first.iter().zip(second).filter(|(a, b)| (*a - *b).abs() < 0.02 * a.abs()).count();
    assert!(correlated < first.len() / 10, "{correlated}");
}

#[test]
fn what_is_no_minimum_or_does_not_move_has_no_ratio() {
    let execution = Execution::default();
    let found =
        baoab().relative_variance(&noise(1.0), None, &[1.0], &[50.0, 500.0], &execution).expect("sound settings");
    assert_eq!(found.exponent, None);
    let Judged::Refused(refusal) = &found.scales[1].moments else { panic!("{:?}", found.scales[1].moments) };
    assert_eq!(refusal.verdict, Verdict::LeftTheBasin, "{}", refusal.reason);
    // Far too few steps for the weights to come anywhere.
    let short = Llc { burn_in: 0, draws: 20, thin: 1, step_size: 1e-6, ..baoab() };
    let found = measure(&short, &noise(1.0), &[50.0, 500.0]);
    assert!(found.scales.iter().all(|scale| scale.moments.value().is_none()) && found.exponent.is_none());
}

#[test]
fn mistakes_are_named() {
    let run = |llc: &Llc, second: Option<&Objective>, n_betas: &[f64]| -> LlcError {
        llc.relative_variance(&noise(1.0), second, &[0.0], n_betas, &Execution::default()).expect_err("a mistake")
    };
    let other = crate::draws::curvatures_in_turns(4, 3);
    for (error, message) in [
        (run(&baoab(), None, &[50.0]), "`n_betas` is [50.0]; expected at least two, to see where the ratio goes"),
        (run(&baoab(), None, &[50.0, 50.0]), "`n_betas` is 50 before 50; expected ascending numbers"),
        (run(&baoab(), None, &[50.0, f64::NAN]), "`n_betas` is 50 before NaN; expected ascending numbers"),
        (run(&baoab(), None, &[-1.0, 50.0]), "`n_beta` is -1; expected a finite number above 0"),
        (
            run(&baoab(), Some(&other), &[5.0, 50.0]),
            "`second` is another network; expected the parameters of the objective",
        ),
        (run(&Llc { chains: 0, ..baoab() }, None, &[5.0, 50.0]), "`chains` is 0; expected at least 1"),
    ] {
        assert_eq!(error.to_string(), message);
    }
    let population = crate::quadratic(1, &[1.0]);
    let error = baoab().check_relative_variance(&population, None, &[5.0, 50.0]).expect_err("no examples");
    assert_eq!(error.to_string(), "`objective` is a population loss; expected one with examples, whose losses vary");
}
