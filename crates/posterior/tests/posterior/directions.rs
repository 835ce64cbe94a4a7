//! Chains along singular directions: they count their own dimensions, whatever the size of the matrix.

use ontogeny_graph::{Column, ColumnData, DataSet, Graph, Purpose, Stream};
use ontogeny_posterior::{Batch, Llc, Objective, Sampler};

use crate::{assert_mean, sgld};

const ROWS: usize = 30;
const COLUMNS: usize = 20;
const N_BETA: f64 = 100.0;
const CURVATURE: f64 = 10.0;

/// ½·h·‖W − W*‖² and W*, whose singular values are distinct: the target is the data of the one example there is twice.
fn matrix() -> (Objective, Vec<f32>) {
    let mut start = vec![0.0; ROWS * COLUMNS];
    Stream::new(3, Purpose::Probe, 0).normals(0, 0, &mut start);
    let x = [&start[..], &start[..]].concat();
    let columns = vec![Column { name: "x".to_owned(), width: ROWS * COLUMNS, data: ColumnData::Float(x) }];
    let data = DataSet::new(2, columns).expect("two examples");
    let objective = Objective::new(data, |batch| {
        let mut g = Graph::new();
        let w = g.param("W", &[ROWS, COLUMNS]);
        let x = g.input("x", &[batch, ROWS * COLUMNS]);
        let w = g.reshape(w, &[1, ROWS * COLUMNS]);
        let w = g.broadcast(w, &[batch, ROWS * COLUMNS]);
        let error = g.sub(w, x);
        let square = g.square(error);
        let sum = g.sum(square, &[1]);
        let loss = g.scale(sum, 0.5 * CURVATURE);
        (g, loss)
    })
    .expect("one loss for each example");
    (objective, start)
}

#[test]
fn every_sampler_with_one_step_size_counts_the_directions() {
    let (objective, start) = matrix();
    let (epsilon, gamma) = (2e-4, 5.0);
    let a = N_BETA * CURVATURE + gamma;
    for (sampler, bias) in [
        (Sampler::Sgld, 1.0 - epsilon * a / 4.0),
        (Sampler::Sghmc { friction: 0.5 }, 1.0 - epsilon * a / (4.0 * 1.5)),
        (Sampler::Baoab { friction: 0.5 }, 1.0),
        (Sampler::Hmc { leapfrogs: 8, target_acceptance: Some(0.8) }, 1.0),
    ] {
        let llc = Llc { sampler, n_beta: Some(N_BETA), burn_in: 300, draws: 2000, ..sgld(epsilon, gamma) };
        for (part, k) in [("W[sv 0-9]", 10.0), ("W[sv 3]", 1.0)] {
            let estimate = llc.clone().restrict(part).unwrap().estimate(&objective, &start).unwrap();
            assert_eq!(estimate.diagnostics().n_free as f64, k);
            let expected = 0.5 * k * N_BETA * CURVATURE / (a * bias);
            assert_mean(&estimate, expected, 0.002 * expected, 0.06 * expected);
            let told = estimate.diagnostics().convergence.unwrap().discretization;
            // Of its own account of the bias, exact in a quadratic but for the localisation's half a percent.
            let exact = expected * (1.0 - bias);
            assert!((told - exact).abs() < 0.15 * exact + 1e-9, "{sampler}: {told}, {exact}");
        }
    }
}

#[test]
fn what_would_leave_the_directions_is_refused() {
    let (objective, start) = matrix();
    let llc = |sampler| Llc { sampler, batch: Batch::Full, ..sgld(1e-4, 1.0) }.restrict("W[sv 0]").unwrap();
    let rms = llc(Sampler::rmsprop_sgld()).estimate(&objective, &start).unwrap_err().to_string();
    assert!(rms.contains("singular directions with `rmsprop_sgld`") && rms.contains("`sgld` or `baoab`"), "{rms}");
    let boxed = Llc { bounding_box: Some(1.0), ..llc(Sampler::Sgld) };
    let message = boxed.estimate(&objective, &start).unwrap_err().to_string();
    assert!(message.contains("singular directions with a box"), "{message}");
}
