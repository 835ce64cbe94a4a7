//! Minibatches: the heat their noise adds, and unbiased comparison with the baseline.

use ontogeny_graph::{Column, ColumnData, DataSet, Graph, Purpose, Stream};
use ontogeny_posterior::{Batch, Evaluation, Llc, Objective};

use crate::{assert_mean, sgld};

pub(crate) const N: usize = 512;
/// Weights, unless said otherwise.
pub(crate) const WIDTH: usize = 400;

/// ½·Σₖ (wₖ − xᵢₖ)² with xᵢₖ ~ N(0, 1); the minimum of the mean, and the variance of the data around it.
pub(crate) fn scattered(width: usize) -> (Objective, Vec<f32>, f64) {
    let mut values = vec![0.0_f32; N * width];
    Stream::new(4, Purpose::Data, 0).normals(0, 0, &mut values);
    let mut centre = vec![0.0_f64; width];
    for row in values.chunks(width) {
        centre.iter_mut().zip(row).for_each(|(c, &x)| *c += f64::from(x) / N as f64);
    }
    let squares =
        values.chunks(width).flat_map(|row| row.iter().zip(&centre)).map(|(&x, c)| (f64::from(x) - c).powi(2));
    let variance = squares.sum::<f64>() / (N * width) as f64;
    let data = DataSet::new(N, vec![Column { name: "x".to_owned(), width, data: ColumnData::Float(values) }]);
    let objective = Objective::new(data.expect("rows of equal length"), move |batch| {
        let mut g = Graph::new();
        let x = g.input("x", &[batch, width]);
        let w = g.param("w", &[width]);
        let difference = g.sub(x, w);
        let square = g.square(difference);
        let sum = g.sum(square, &[1]);
        let loss = g.scale(sum, 0.5);
        (g, loss)
    });
    (objective.expect("one loss for each row"), centre.iter().map(|&c| c as f32).collect(), variance)
}

#[test]
fn gradient_noise_heats_the_chain_by_the_known_amount() {
    let (objective, minimum, variance) = scattered(WIDTH);
    let (n, n_beta, localization) = (N as f64, objective.default_n_beta(), 1.0);
    let a = n_beta + localization;
    let step_size = 0.2 / a;
    for (batch, evaluation, draws, thin, resolution) in [
        (Batch::Full, Evaluation::Batch, 300, 3, 0.01),
        (Batch::Size(4), Evaluation::Batch, 2000, 2, 0.02),
        (Batch::Size(4), Evaluation::Full, 50, 20, 0.02),
        (Batch::Size(32), Evaluation::Batch, 1000, 2, 0.01),
    ] {
        // Covariance of the mean gradient of a subset drawn without repetition, and the variance it leads to:
        // v = (ε + ε²(nβ)²c/4)/(εA(1 − εA/4)).
        let size = if let Batch::Size(size) = batch { size as f64 } else { n };
        let c = variance / size * (n - size) / (n - 1.0);
        let noise = step_size + step_size.powi(2) * n_beta.powi(2) * c / 4.0;
        let v = noise / (step_size * a * (1.0 - step_size * a / 4.0));
        let expected = 0.5 * n_beta * v * WIDTH as f64;
        let llc = Llc { chains: 2, burn_in: 150, draws, thin, batch, evaluation, ..sgld(step_size, localization) };
        let estimate = llc.estimate(&objective, &minimum).unwrap();
        // The start is the minimum to f32; the error of the baseline in nβ·L is far below any of this.
        assert_mean(&estimate, expected, 0.0, resolution * expected);
        assert!(!estimate.diagnostics().not_a_minimum);
    }
}

#[test]
fn defect_12_the_temperature_is_that_of_the_data_set() {
    let (objective, minimum, _) = scattered(WIDTH);
    let llc = Llc { chains: 1, burn_in: 0, draws: 4, batch: Batch::Size(8), ..sgld(1e-4, 1.0) };
    let n_beta = llc.estimate(&objective, &minimum).unwrap().diagnostics().n_beta;
    assert_eq!(n_beta, 512.0 / 512f64.ln());
}

#[test]
fn the_scatter_of_examples_is_no_part_of_the_estimate() {
    // The first draw is the start itself: its minibatch loss is far from the baseline, the excess exactly zero.
    let (objective, minimum, _) = scattered(WIDTH);
    let llc = Llc { chains: 3, burn_in: 0, draws: 4, batch: Batch::Size(8), ..sgld(1e-4, 1.0) };
    let estimate = llc.estimate(&objective, &minimum).unwrap();
    let d = estimate.diagnostics();
    for chain in 0..3 {
        assert!((d.trace.losses[chain][0] - d.baseline).abs() > 1e-2);
        // The same f32 sums in other kernels: a few roundings of a loss of 200.
        assert!(d.trace.excess[chain][0].abs() < 1e-4, "{:?}", d.trace.excess[chain]);
    }
    assert!(d.baseline_standard_error > 0.1);
}
