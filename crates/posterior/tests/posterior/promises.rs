//! What an estimate never depends on, what is stored under a draw, and what a mask may touch.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use ontogeny_graph::{Column, ColumnData, DataSet, Graph, Purpose, Stream};
use ontogeny_posterior::{Batch, Correction, Evaluation, Execution, Llc, LlcError, Objective, Progress, Sampler};

use crate::minibatches::{WIDTH, scattered};
use crate::{every_sampler, half_weighted_squares, line, quadratic, sgld};

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let objective = quadratic(7, &[10.0, 1.0]);
    for sampler in every_sampler() {
        let llc = Llc { sampler, chains: 5, burn_in: 10, draws: 20, ..sgld(1e-4, 1.0) };
        let with = |threads| {
            let execution = Execution { threads: NonZero::new(threads).unwrap(), ..Execution::default() };
            llc.estimate_with(&objective, &[0.1; 14], &execution).unwrap()
        };
        let one = with(1);
        for threads in [2, 3, 8] {
            assert_eq!(with(threads), one, "{sampler:?}, {threads} threads");
        }
        assert_ne!(Llc { seed: 1, ..llc.clone() }.estimate(&objective, &[0.1; 14]).unwrap(), one, "{sampler:?}");
    }
}

/// Steps and updates that are long enough to be shared by the threads of one chain.
#[test]
fn fewer_chains_than_threads_give_the_same_bits() {
    let (n, width) = (400, 150);
    let mut values = vec![0.0; n * width];
    Stream::new(1, Purpose::Data, 0).normals(0, 0, &mut values);
    let columns = vec![Column { name: "x".to_owned(), width, data: ColumnData::Float(values) }];
    let objective = Objective::new(DataSet::new(n, columns).unwrap(), move |batch| {
        let mut g = Graph::new();
        let x = g.input("x", &[batch, width]);
        let hidden = g.linear("in", x, 2 * width);
        let hidden = g.gelu(hidden);
        let y = g.linear("out", hidden, width);
        let error = g.sub(y, x);
        let square = g.square(error);
        let loss = g.mean(square, &[1]);
        (g, loss)
    })
    .unwrap();
    let mut weights = vec![0.0; objective.space().len()];
    Stream::new(1, Purpose::Initialization, 0).normals(0, 0, &mut weights);
    for w in &mut weights {
        *w *= 0.05;
    }
    let curvature = Sampler::RmspropSgld { decay: 0.99, eps: 0.1, correction: Correction::Curvature };
    let batch = Batch::Size(150);
    for (sampler, batch) in [
        (Sampler::Sgld, Batch::Full),
        (Sampler::rmsprop_sgld(), batch),
        (curvature, batch),
        (Sampler::Sgnht { friction: 0.1 }, batch),
        (Sampler::Nuts { max_depth: 2, target_acceptance: Some(0.8) }, Batch::Full),
    ] {
        let evaluation = Evaluation::Full;
        let llc = Llc { sampler, chains: 2, burn_in: 2, draws: 6, batch, evaluation, ..sgld(1e-6, 1.0) };
        let with = |threads| {
            let execution = Execution { threads: NonZero::new(threads).unwrap(), ..Execution::default() };
            llc.estimate_with(&objective, &weights, &execution).unwrap()
        };
        let one = with(1);
        for threads in [3, 8] {
            assert_eq!(with(threads), one, "{threads} threads");
        }
    }
}

#[test]
fn defect_1_burn_in_is_no_part_of_the_estimate() {
    let objective = quadratic(7, &[10.0, 1.0]);
    let draws = |burn_in, draws| {
        let llc = Llc { chains: 2, burn_in, draws, ..sgld(1e-4, 1.0) };
        llc.estimate(&objective, &[0.5; 14]).unwrap()
    };
    let (whole, tail) = (draws(0, 60), draws(40, 20));
    for chain in 0..2 {
        assert_eq!(whole.diagnostics().trace.excess[chain][40..], tail.diagnostics().trace.excess[chain]);
    }
    let d = tail.diagnostics();
    let pooled = d.trace.excess.concat();
    let mean = d.n_beta * pooled.iter().sum::<f64>() / pooled.len() as f64;
    assert!((d.convergence.unwrap().mean - mean).abs() < 1e-12 * mean.abs());
}

#[test]
fn thinning_picks_from_the_same_chain() {
    let objective = quadratic(7, &[10.0, 1.0]);
    let excess = |draws, thin| {
        let llc = Llc { chains: 1, burn_in: 5, draws, thin, ..sgld(1e-4, 1.0) };
        llc.estimate(&objective, &[0.0; 14]).unwrap().diagnostics().trace.excess[0].clone()
    };
    let every: Vec<f64> = excess(28, 1).into_iter().step_by(3).collect();
    assert_eq!(excess(10, 3), every);
}

#[test]
fn defect_11_a_draw_belongs_to_the_weights_before_its_update() {
    let objective = quadratic(7, &[10.0, 1.0]);
    let trace = |evaluation| {
        let llc = Llc { chains: 1, burn_in: 0, draws: 10, evaluation, ..sgld(1e-4, 1.0) };
        llc.estimate(&objective, &[0.5; 14]).unwrap().diagnostics().clone()
    };
    let (batch, full) = (trace(Evaluation::Batch), trace(Evaluation::Full));
    assert_eq!(batch.trace.losses[0][0], batch.baseline, "the first draw is the start");
    assert_eq!(batch.trace, full.trace, "both evaluations see the same weights");
}

#[test]
fn defect_10_a_measurement_has_no_training_mode() {
    // A loss is a function of weights and examples alone: nothing is dropped at random, neither from the baseline nor
    // from a draw, so that a chain's first draw, which is the start, differs from the baseline by nothing at all.
    let (objective, _, _) = scattered(WIDTH);
    let mut weights = vec![0.0; WIDTH];
    Stream::new(8, Purpose::Initialization, 0).normals(0, 0, &mut weights);
    let once = objective.full_loss(&weights, Batch::Size(100)).unwrap();
    assert_eq!(objective.full_loss(&weights, Batch::Size(100)).unwrap(), once);
    for evaluation in [Evaluation::Batch, Evaluation::Full, Evaluation::Fixed(64), Evaluation::Fresh(64)] {
        let llc = Llc { burn_in: 0, draws: 4, batch: Batch::Size(50), evaluation, ..sgld(1e-6, 1.0) };
        let estimate = llc.estimate(&objective, &weights).unwrap();
        for chain in &estimate.diagnostics().trace.excess {
            assert_eq!(chain[0], 0.0, "{evaluation:?}");
        }
    }
}

#[test]
fn defect_12_a_start_whose_loss_is_exactly_zero_is_a_start() {
    let llc = Llc { burn_in: 200, draws: 300, ..sgld(5e-4, 1.0) };
    let estimate = llc.estimate(&quadratic(20, &[10.0]), &[0.0; 20]).unwrap();
    assert_eq!(estimate.diagnostics().baseline, 0.0);
    assert!(estimate.value().is_some(), "{}", line(&estimate));
}

#[test]
fn a_mask_leaves_all_other_weights_untouched() {
    // `frozen` stands last in the flat vector, so the free weights take the same noise with and without it. If one
    // of its bits changed, so would the loss.
    let alone = quadratic(30, &[10.0, 1.0]);
    let mut g = Graph::new();
    let w = g.param("w", &[30, 2]);
    let frozen = g.param("frozen", &[5, 1]);
    let free_part = half_weighted_squares(&mut g, w, &[10.0, 1.0]);
    let frozen_part = half_weighted_squares(&mut g, frozen, &[1e6]);
    let loss = g.add(free_part, frozen_part);
    let both = Objective::population(g, loss, 1000).unwrap();
    for sampler in every_sampler() {
        let llc = Llc { sampler, chains: 2, burn_in: 10, draws: 50, ..sgld(1e-4, 1.0) };
        let expected = llc.estimate(&alone, &[0.0; 60]).unwrap();
        let masked = llc.clone().restrict("w").unwrap().estimate(&both, &[0.0; 65]).unwrap();
        assert_eq!(masked.diagnostics().trace, expected.diagnostics().trace, "{sampler:?}");
        assert_eq!(masked.diagnostics().n_free, 60);
        let unmasked = llc.estimate(&both, &[0.0; 65]).unwrap();
        assert_ne!(unmasked.diagnostics().trace, expected.diagnostics().trace);
    }
}

#[test]
fn a_chain_depends_neither_on_how_many_there_are_nor_on_how_long_it_runs() {
    let objective = quadratic(7, &[10.0, 1.0]);
    for sampler in every_sampler() {
        for (bounding_box, start) in [(None, 0.1), (Some(0.05), 0.0)] {
            let trace = |chains, draws| {
                let llc = Llc { sampler, chains, burn_in: 10, draws, bounding_box, ..sgld(1e-4, 1.0) };
                llc.estimate(&objective, &[start; 14]).unwrap().diagnostics().trace.excess.clone()
            };
            let whole = trace(5, 30);
            assert_eq!(trace(2, 30), whole[..2], "{sampler:?}");
            for (short, long) in trace(5, 12).iter().zip(&whole) {
                assert_eq!(short[..], long[..12], "{sampler:?}");
            }
            assert_ne!(whole[0], whole[1], "{sampler:?}");
            // The quadratic's largest loss in the box: ½·Σh·(0.05)².
            let farthest = whole.concat().into_iter().fold(0.0, f64::max);
            assert!(bounding_box.is_none() || farthest <= 0.5 * 77.0 * 0.05 * 0.05 * 1.000_1, "{sampler:?} {farthest}");
        }
    }
}

#[test]
fn a_restricted_estimate_counts_its_own_directions() {
    let mut g = Graph::new();
    let first = g.param("layers.0.W", &[40, 1]);
    let second = g.param("layers.1.W", &[100, 1]);
    let a = half_weighted_squares(&mut g, first, &[10.0]);
    let b = half_weighted_squares(&mut g, second, &[10.0]);
    let loss = g.add(a, b);
    let objective = Objective::population(g, loss, 1000).unwrap();
    for (part, d) in [("l0", 40.0), ("layers.1.*", 100.0), ("full", 140.0)] {
        let llc = Llc { burn_in: 100, draws: 300, ..sgld(2e-4, 1.0) }.restrict(part).unwrap();
        let estimate = llc.estimate(&objective, &[0.0; 140]).unwrap();
        let c = estimate.diagnostics().convergence.unwrap();
        // ½·d/(1 − εA/4) with A = 1448.6, localisation below a permille.
        let expected = 0.5 * d / (1.0 - 2e-4 * 1448.6 / 4.0);
        assert!((c.mean - expected).abs() < 4.5 * c.mcse + 1e-3 * expected, "{part}: {}", line(&estimate));
        assert!(estimate.value().is_some(), "{}", line(&estimate));
    }
}

#[test]
fn progress_counts_every_step_and_cancellation_stops() {
    let objective = quadratic(2, &[1.0]);
    let llc = Llc { chains: 3, burn_in: 5, draws: 10, thin: 2, ..sgld(1e-4, 1.0) };
    let seen = Mutex::new(Vec::new());
    let note = |progress: Progress| seen.lock().unwrap().push(progress);
    let execution = Execution { progress: Some(&note), ..Execution::default() };
    llc.estimate_with(&objective, &[0.0; 2], &execution).unwrap();
    let mut done: Vec<usize> = seen.lock().unwrap().iter().map(|p| p.done).collect();
    done.sort_unstable();
    // The last of 10 draws comes 18 steps after the burn-in of 5 and needs one more execution.
    assert!(done.into_iter().eq(1..=3 * 24));
    assert!(seen.lock().unwrap().iter().all(|p| p.total == 3 * 24));

    let cancel = AtomicBool::new(false);
    let stop = |progress: Progress| cancel.store(progress.done >= 7, Ordering::Relaxed);
    let execution = Execution { progress: Some(&stop), cancel: Some(&cancel), ..Execution::default() };
    assert_eq!(llc.estimate_with(&objective, &[0.0; 2], &execution), Err(LlcError::Cancelled));
}
