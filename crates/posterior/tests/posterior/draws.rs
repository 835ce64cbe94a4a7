//! What draws are compared on and with, and the Metropolis test of steps on minibatches.

use ontogeny_graph::{Column, ColumnData, DataSet, Graph, Purpose, Stream};
use ontogeny_posterior::{Baseline, Batch, Estimate, Evaluation, Llc, Objective};

use crate::minibatches::{N, scattered};
use crate::sgld;

/// ½·hᵢ·Σw² with curvatures hᵢ of 0.5 and 1.5 in turns: the loss of examples S is that of all times h̄_S/h̄.
pub(crate) fn curvatures_in_turns(n: usize, width: usize) -> Objective {
    let values = (0..n).map(|i| if i % 2 == 0 { 0.5 } else { 1.5 }).collect();
    let columns = vec![Column { name: "h".to_owned(), width: 1, data: ColumnData::Float(values) }];
    Objective::new(DataSet::new(n, columns).expect("one value a row"), move |batch| {
        let mut g = Graph::new();
        let h = g.input("h", &[batch, 1]);
        let w = g.param("w", &[width]);
        let square = g.square(w);
        let sum = g.sum(square, &[0]);
        let wide = g.broadcast(sum, &[batch, 1]);
        let product = g.mul(wide, h);
        let halves = g.scale(product, 0.5);
        let loss = g.sum(halves, &[1]);
        (g, loss)
    })
    .expect("one loss for each row")
}

/// Losses of draws over those of all examples at the same weights, after the start.
fn ratios(evaluation: Evaluation) -> Vec<f64> {
    let objective = curvatures_in_turns(64, 30);
    let trace = |evaluation| {
        let llc =
            Llc { evaluation, batch: Batch::Size(8), chains: 3, burn_in: 5, draws: 600, thin: 2, ..sgld(1e-2, 1.0) };
        llc.estimate(&objective, &[0.0; 30]).expect("sound settings").diagnostics().trace.losses.concat()
    };
    trace(evaluation).iter().zip(trace(Evaluation::Full)).map(|(own, all)| own / all).collect()
}

#[test]
fn each_evaluation_sees_the_weights_of_the_draw_on_its_own_examples() {
    // The mean curvature of 16 of 64 examples: variance 0.25/16·(1 − 15/63), the sum of 16 steps of 1 between 8 and 24.
    let variance = 0.25 / 16.0 * (1.0 - 15.0 / 63.0);
    let fresh = ratios(Evaluation::Fresh(16));
    let n = fresh.len() as f64;
    let mean = fresh.iter().sum::<f64>() / n;
    assert!((mean - 1.0).abs() < 4.5 * (variance / n).sqrt(), "{mean}");
    // The square of a nearly normal deviation has twice its variance squared.
    let spread = fresh.iter().map(|r| (r - 1.0).powi(2)).sum::<f64>() / n;
    assert!((spread / variance - 1.0).abs() < 4.5 * (2.0 / n).sqrt(), "{spread} {variance}");
    for ratio in &fresh {
        // f32 sums of 30 squares.
        assert!((ratio * 16.0 - (ratio * 16.0).round()).abs() < 1e-4, "{ratio}");
    }
    // Chosen once: the same for all draws and chains.
    let fixed = ratios(Evaluation::Fixed(16));
    assert!((0.5..=1.5).contains(&fixed[0]));
    assert!(fixed.iter().all(|r| (r - fixed[0]).abs() < 1e-5), "{fixed:?}");
    assert!(ratios(Evaluation::Fixed(64)).iter().all(|r| (r - 1.0).abs() < 1e-5), "all of them are the full loss");
    // Those of the gradient: 8 of them, another set at each draw.
    let batch = ratios(Evaluation::Batch);
    assert!(batch.iter().all(|r| (r * 8.0 - (r * 8.0).round()).abs() < 1e-4));
    assert!(batch.iter().any(|r| (r - batch[0]).abs() > 0.1));
}

#[test]
fn the_baseline_of_all_examples_adds_their_scatter() {
    let width = 50;
    let (objective, minimum, variance) = scattered(width);
    let run = |baseline, evaluation| -> Estimate {
        let draws = if evaluation == Evaluation::Full { 20 } else { 1500 };
        // Steps of minibatches too, with little heat: εnβ²c/4 ≪ 1.
        let base = Llc { batch: Batch::Size(64), chains: 2, burn_in: 100, ..sgld(1e-3, 1.0) };
        let llc = Llc { baseline, evaluation, draws, thin: 5, ..base };
        llc.estimate(&objective, &minimum).unwrap()
    };
    let spread = |estimate: &Estimate| {
        let excess = estimate.diagnostics().trace.excess.concat();
        let mean = excess.iter().sum::<f64>() / excess.len() as f64;
        excess.iter().map(|e| (e - mean).powi(2)).sum::<f64>() / excess.len() as f64
    };
    let [same, full] = [Baseline::SameExamples, Baseline::Full].map(|b| run(b, Evaluation::Fresh(8)));
    // Same draws and examples; ½Σ(w* − x)² of an example has the variance ½·width·σ⁴, the data being normal.
    let scatter = 0.5 * width as f64 * variance * variance / 8.0 * (1.0 - 8.0 / N as f64);
    let added = spread(&full) - spread(&same);
    // 3000 draws: the variance is good to 3 %; that of 512 examples to 2·√(15/512)/√… ≈ 10 %.
    assert!((added / scatter - 1.0).abs() < 0.25, "{added} {scatter}");
    let [a, b] = [&same, &full].map(|e| e.diagnostics().convergence.unwrap());
    assert!(b.mcse > 1.5 * a.mcse, "{} {}", a.mcse, b.mcse);
    assert!((a.mean - b.mean).abs() < 4.5 * b.mcse, "the same expectation");
    // Over all examples the baselines are one.
    let [same, full] = [Baseline::SameExamples, Baseline::Full].map(|b| run(b, Evaluation::Full));
    assert_eq!(same.diagnostics().trace, full.diagnostics().trace);
}

#[test]
fn the_acceptance_on_minibatches_has_the_same_batch_at_both_ends() {
    // One coordinate. Given its batch a step is that of a quadratic of precision A around μ = (nβ·x̄ + γc)/A, so the ratio
    // is exp(εA²/8·[(w − μ)² − (w' − μ)²]): a plain chain in f64, with batch means of the same variance.
    let (objective, minimum, variance) = scattered(1);
    let (n_beta, localization, size) = (objective.default_n_beta(), 1.0, 4.0);
    let a = n_beta + localization;
    for times in [2.0, 3.0] {
        let step_size = times / a;
        let llc = Llc {
            batch: Batch::Size(4),
            chains: 200,
            burn_in: 200,
            draws: 64,
            thin: 20,
            ..sgld(step_size, localization)
        };
        let found = llc.estimate(&objective, &minimum).unwrap().diagnostics().convergence.unwrap().acceptance.unwrap();
        let scatter = (variance / size * (N as f64 - size) / (N as f64 - 1.0)).sqrt() * n_beta / a;
        let (n_steps, mut w, mut sum) = (400_000, 0.0_f64, 0.0);
        let stream = Stream::new(8, Purpose::Probe, 0);
        for step in 0..n_steps {
            let mut z = [0.0; 2];
            stream.normals(step, 0, &mut z);
            let mu = scatter * f64::from(z[0]);
            let there = w - step_size * a / 2.0 * (w - mu) + step_size.sqrt() * f64::from(z[1]);
            sum += (step_size * a * a / 8.0 * ((w - mu).powi(2) - (there - mu).powi(2))).min(0.0).exp();
            w = there;
        }
        let expected = sum / f64::from(n_steps);
        // 200 chains of 64 probes, 20 steps apart: a probability has a standard deviation below ½; the plain chain's
        // 4e5 steps add a third of that.
        assert!((found - expected).abs() < 4.5 * 0.5 / 12_800_f64.sqrt() * 1.1, "{found}, {expected}");
        assert!(expected < 0.95, "{expected} would not be told from 1");
    }
}
