//! The cases: losses whose mean under the posterior is known, with settings that meet it in seconds.

use ontogeny_graph::{Column, ColumnData, DataSet, Graph, Node, Purpose, Stream};

use super::{KnownAnswer, deep_linear, laws};
use crate::batches::Batch;
use crate::llc::{GradientRule, Llc};
use crate::objective::{Objective, ObjectiveError};
use crate::restriction::Restriction;
use crate::samplers::{Correction, Sampler};

type Answer = Result<KnownAnswer, ObjectiveError>;
type Answers = Result<Vec<KnownAnswer>, ObjectiveError>;

/// n of all losses without data.
const N: usize = 1000;
const CURVATURES: [f64; 5] = [10.0, 1.0, 0.1, 0.01, 0.0];
/// Those whose chains forget quickly.
const STEEP: [f64; 2] = [10.0, 1.0];
const FRICTION: f64 = 0.1;

pub(super) fn all() -> Answers {
    let mut cases = quadratics()?;
    cases.extend(crossings()?);
    cases.extend(minibatches()?);
    cases.extend(deep_linear_networks()?);
    Ok(cases)
}

/// Full batches, four chains, no localisation but `localization`.
fn settings(sampler: Sampler, step_size: f64, localization: f64, [burn_in, draws, thin]: [usize; 3]) -> Llc {
    Llc { sampler, burn_in, draws, thin, step_size, localization, ..Llc::default() }
}

fn quadratics() -> Answers {
    let n_beta = N as f64 / (N as f64).ln();
    let five = |name, copies: usize, llc: Llc, law: f64| -> Answer {
        Ok(KnownAnswer::new(name, copies as f64 * law, quadratic(copies, &CURVATURES)?, vec![0.0; 5 * copies], llc))
    };
    let sgld = |name, step_size, steps| {
        five(name, 20, settings(Sampler::Sgld, step_size, 1.0, steps), laws::sgld(&CURVATURES, n_beta, 1.0, step_size))
    };
    let exact = laws::sgld(&CURVATURES, n_beta, 1.0, 0.0);
    let named = |name: &str| name.parse::<Sampler>().expect("a sampler of that name");
    let rmsprop = Sampler::RmspropSgld { decay: 0.99, eps: 1.0, correction: Correction::Freeze };
    // At the end of burn-in √v is about the root mean square h/√A of the gradient; with eps far above it and a bias of
    // 1 % what its scatter adds is 1e-4 of the answer.
    let frozen = laws::preconditioned(&STEEP, n_beta, 1.0, 3e-5, |h, a| 1.0 / (h / a.sqrt() + 1.0));
    let restricted = Llc {
        restriction: "steep".parse::<Restriction>().expect("a name"),
        ..settings(Sampler::Sgld, 1e-3, 1.0, [3000, 2000, 10])
    };
    Ok(vec![
        sgld("quadratic, fine steps", 1e-4, [40_000, 2000, 60])?,
        sgld("quadratic, coarse steps", 1e-3, [6000, 2000, 10])?,
        KnownAnswer::new(
            "quadratic, frozen preconditioner",
            50.0 * frozen,
            quadratic(50, &STEEP)?,
            vec![0.0; 100],
            settings(rmsprop, 3e-5, 1.0, [10_000, 2000, 20]),
        ),
        five(
            "quadratic",
            20,
            settings(Sampler::Sghmc { friction: FRICTION }, 1e-3, 1.0, [3000, 2000, 10]),
            laws::sghmc(&CURVATURES, n_beta, 1.0, 1e-3, [FRICTION, FRICTION]),
        )?,
        five(
            "quadratic",
            40,
            settings(Sampler::Sgnht { friction: FRICTION }, 1e-4, 1.0, [10_000, 2000, 20]),
            laws::sgnht(&CURVATURES, n_beta, 1.0, 1e-4, FRICTION),
        )?,
        five("quadratic", 20, settings(Sampler::Baoab { friction: FRICTION }, 1e-3, 1.0, [3000, 2000, 10]), exact)?,
        five("quadratic", 4, settings(named("mala"), 1e-3, 1.0, [20_000, 3000, 20]), exact)?,
        five("quadratic", 4, settings(named("hmc"), 1e-3, 1.0, [1000, 2000, 2]), exact)?,
        five("quadratic", 4, settings(named("nuts"), 1e-3, 1.0, [500, 1500, 1]), exact)?,
        KnownAnswer::new(
            "quadratic, restricted to its steep part",
            40.0 * laws::sgld(&STEEP, n_beta, 1.0, 1e-3),
            two_quadratics(40)?,
            vec![0.0; 40 * 5],
            restricted,
        ),
    ])
}

fn crossings() -> Answers {
    let named = |name: &str| name.parse::<Sampler>().expect("a sampler of that name");
    let case = |name, copies: usize, loss: &[[u32; 2]], mean: f64, llc: Llc| -> Answer {
        let (objective, n_weights) = products(copies, loss)?;
        Ok(KnownAnswer::new(name, copies as f64 * mean, objective, vec![0.0; n_weights], llc))
    };
    let boxed = |sampler, steps| Llc {
        bounding_box: Some(1.0),
        n_beta: Some(100.0),
        ..settings(named(sampler), 1e-3, 0.0, steps)
    };
    let t = 144.7648;
    let well =
        |localization, sampler, steps| Llc { n_beta: Some(t), ..settings(named(sampler), 1e-3, localization, steps) };
    Ok(vec![
        // ½ + ¼ + 1/6 at every temperature.
        case(
            "w² + w⁴ + w⁶ on the line",
            10,
            &[[1, 0], [2, 0], [3, 0]],
            11.0 / 12.0,
            Llc { n_beta: Some(t), ..settings(named("hmc"), 1e-2, 0.0, [1000, 3000, 2]) },
        )?,
        case("x²y² in a well", 4, &[[1, 1]], laws::crossing_in_a_well(t, 1.0), well(1.0, "nuts", [500, 3000, 1]))?,
        case("x²y² in a well", 4, &[[1, 1]], laws::crossing_in_a_well(t, 10.0), well(10.0, "hmc", [500, 3000, 2]))?,
        case("x²y² in a box", 4, &[[1, 1]], laws::crossing_in_a_box(100.0, [1, 1]), boxed("nuts", [500, 3000, 1]))?,
        case("x²y² in a box", 4, &[[1, 1]], laws::crossing_in_a_box(100.0, [1, 1]), boxed("mala", [2000, 3000, 20]))?,
        case("x²y⁴ in a box", 4, &[[1, 2]], laws::crossing_in_a_box(100.0, [1, 2]), boxed("hmc", [500, 3000, 2]))?,
    ])
}

fn minibatches() -> Answers {
    let (n, width, size) = (512, 100, 4);
    let mut cases = Vec::new();
    for (name, gradient) in [
        ("½|w − x|² in batches of 4 of 512", GradientRule::Plain),
        ("the same with a control variate", GradientRule::ControlVariate),
    ] {
        let (objective, minimum, variance) = scattered(n, width)?;
        let n_beta = objective.default_n_beta();
        let step_size = 0.2 / (n_beta + 1.0);
        // Covariance of the mean of a subset drawn without repetition. All curvatures are 1, so the control variate
        // takes the noise out altogether.
        let c = match gradient {
            GradientRule::Plain => variance / size as f64 * (n - size) as f64 / (n - 1) as f64,
            GradientRule::ControlVariate => 0.0,
        };
        let exact = width as f64 * laws::noisy_sgld(1.0, n_beta, 1.0, step_size, c);
        let llc = Llc { batch: Batch::Size(size), gradient, ..settings(Sampler::Sgld, step_size, 1.0, [200, 3000, 2]) };
        cases.push(KnownAnswer::new(name, exact, objective, minimum, llc));
    }
    Ok(cases)
}

fn deep_linear_networks() -> Answers {
    let case = |name, network: &deep_linear::Network, sampler: &str, steps| -> Answer {
        let llc = settings(sampler.parse().expect("a sampler of that name"), 1e-4, deep_linear::LOCALIZATION, steps);
        let llc = Llc { n_beta: Some(deep_linear::N_BETA), ..llc };
        let mut answer = KnownAnswer::new(name, network.mean, network.objective()?, network.truth(), llc);
        answer.exact_error = network.error;
        Ok(answer)
    };
    Ok(vec![
        case("deep linear 2-2-2, rank 1", &deep_linear::TWO_LAYERS, "nuts", [500, 3000, 1])?,
        case("deep linear 2-2-2-2, rank 1", &deep_linear::THREE_LAYERS, "hmc", [1000, 3000, 4])?,
    ])
}

/// ½·Σ hᵢwᵢ² over `copies` sets of the curvatures.
fn quadratic(copies: usize, curvatures: &[f64]) -> Result<Objective, ObjectiveError> {
    let mut g = Graph::new();
    let loss = half_weighted_squares(&mut g, "w", copies, curvatures);
    Objective::population(g, loss, N)
}

/// The steep directions and the others as two parameters.
fn two_quadratics(copies: usize) -> Result<Objective, ObjectiveError> {
    let mut g = Graph::new();
    let steep = half_weighted_squares(&mut g, "steep", copies, &STEEP);
    let flat = half_weighted_squares(&mut g, "flat", copies, &CURVATURES[2..]);
    let loss = g.add(steep, flat);
    Objective::population(g, loss, N)
}

fn half_weighted_squares(g: &mut Graph, name: &str, copies: usize, curvatures: &[f64]) -> Node {
    let w = g.param(name, &[copies, curvatures.len()]);
    let halves: Vec<Node> = curvatures
        .iter()
        .map(|&h| {
            let scalar = g.constant(0.5 * h);
            g.broadcast(scalar, &[1])
        })
        .collect();
    let halves = g.concat(&halves, 0);
    let square = g.square(w);
    let weighted = g.mul(square, halves);
    g.sum(weighted, &[0, 1])
}

/// Σ of x^2a·y^2b over pairs [a, b], each with coordinates of its own (none for y where b = 0), and over `copies` side by
/// side, which narrow the scatter; and the number of weights.
fn products(copies: usize, powers: &[[u32; 2]]) -> Result<(Objective, usize), ObjectiveError> {
    let mut g = Graph::new();
    let mut terms = Vec::new();
    let mut n_weights = 0;
    for (i, pair) in powers.iter().enumerate() {
        let mut factors = Vec::new();
        for (name, &power) in ["x", "y"].into_iter().zip(pair).filter(|(_, power)| **power > 0) {
            let w = g.param(&format!("{name}{i}"), &[copies]);
            n_weights += copies;
            factors.extend((0..power).map(|_| w));
        }
        let product = factors.into_iter().reduce(|a, b| g.mul(a, b)).expect("a power above 0");
        let square = g.square(product);
        terms.push(g.sum(square, &[0]));
    }
    let total = terms.into_iter().reduce(|a, b| g.add(a, b)).expect("at least one product");
    Ok((Objective::population(g, total, N)?, n_weights))
}

/// ½·Σₖ (wₖ − xᵢₖ)² with normal data x; the minimum of the mean, and the variance of the data around it.
fn scattered(n: usize, width: usize) -> Result<(Objective, Vec<f32>, f64), ObjectiveError> {
    let mut values = vec![0.0_f32; n * width];
    Stream::new(4, Purpose::Data, 0).normals(0, 0, &mut values);
    let mut centre = vec![0.0_f64; width];
    for row in values.chunks(width) {
        centre.iter_mut().zip(row).for_each(|(c, &x)| *c += f64::from(x) / n as f64);
    }
    let squares =
        values.chunks(width).flat_map(|row| row.iter().zip(&centre)).map(|(&x, c)| (f64::from(x) - c).powi(2));
    let variance = squares.sum::<f64>() / (n * width) as f64;
    let data = DataSet::new(n, vec![Column { name: "x".to_owned(), width, data: ColumnData::Float(values) }])
        .expect("n rows of `width` values");
    let objective = Objective::new(data, move |batch| {
        let mut g = Graph::new();
        let x = g.input("x", &[batch, width]);
        let w = g.param("w", &[width]);
        let difference = g.sub(x, w);
        let square = g.square(difference);
        let sum = g.sum(square, &[1]);
        let loss = g.scale(sum, 0.5);
        (g, loss)
    })?;
    Ok((objective, centre.iter().map(|&c| c as f32).collect(), variance))
}
