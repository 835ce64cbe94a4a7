//! Susceptibilities, influence and covariance of a linear regression: each beside its exact value.

#![expect(clippy::print_stdout, reason = "an example prints its result")]

use ontogeny_graph::{Column, ColumnData, DataSet, DataSetError, Graph, Node};
use ontogeny_posterior::{
    Covariance, Detail, Execution, Influence, Judged, Llc, Objective, Probe, Recording, Restriction, Sampler,
    Susceptibilities,
};

const N_BETA: f64 = 40.0;
const LOCALIZATION: f64 = 10.0;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // ½(x·w − y)² with x along one of two axes and y = 0: H = diag(½, ½).
    let objective = Objective::new(data(&[[1.0, 0.0], [0.0, 1.0]], &[0.0, 0.0])?, losses)?;
    let llc = Llc {
        sampler: Sampler::Baoab { friction: 0.4 },
        step_size: 0.02,
        localization: LOCALIZATION,
        n_beta: Some(N_BETA),
        burn_in: 200,
        draws: 4000,
        thin: 10,
        ..Llc::default()
    };
    // A probe that asks for more along the first axis, and one with a target.
    let steep = Probe::new("steep", data(&[[2.0, 0.0]], &[0.0])?, 1, losses)?;
    let target = Probe::new("target", data(&[[0.0, 1.0], [0.0, -1.0]], &[1.0, 1.0])?, 2, losses)?;
    let probes = [steep, target];

    // G − H is diag(3½, −½) for the one and diag(−½, ½) for the other; with Σ = 1/(nβ/2 + γ) in each direction
    // chi = −½·tr(HΣ(G − H)Σ).
    let variance = 1.0 / (0.5 * N_BETA + LOCALIZATION);
    let execution = Execution::default();
    let recording = Recording { detail: Detail::Set, ..Recording::of(&probes) };
    let found = Susceptibilities::measure(&llc, &[], &objective, &[0.0; 2], &recording, &execution)?;
    println!("susceptibilities nβ·chi of the whole network");
    if let Judged::Ok(table) = &found.components[0].table {
        for ((probe, chi), trace) in found.probes.iter().zip(&table.sets).zip([3.5 - 0.5, -0.5 + 0.5]) {
            let exact = -0.5 * 0.5 * trace * variance * variance * N_BETA;
            println!("  {:>6}: {:+.4} ± {:.4}, exact {exact:+.4}", probe.probe, chi.response, chi.response_mcse);
        }
    }

    // Losses of opposite targets move against each other: ½w² ∓ w, so −Cov = Σ − ½Σ².
    let draws = llc.loss_draws(&objective, &[0.0; 2], &Recording::of(&probes[1..]), &execution)?;
    if let Judged::Ok(influence) = Influence::of(&draws)? {
        let exact = variance - 0.5 * variance * variance;
        println!("influence, exact {exact:+.4}");
        let top = influence.top_pairs(0..2, 0..2, 1, execution.threads);
        print!("{}", Influence::describe(&top, |i| format!("target {i}")));
    }

    let weights = llc.weight_draws(&objective, &[0.0; 2], 1 << 20, &execution)?;
    if let Judged::Ok(covariance) = Covariance::of(&weights, 1 << 20)? {
        println!("variances along the leading directions, exact {variance:.4}");
        for direction in covariance.leading(&Restriction::full(), 2, execution.threads)? {
            println!("  {:.4} ± {:.4}", direction.value, direction.mcse);
        }
    }
    Ok(())
}

fn data(x: &[[f32; 2]], y: &[f32]) -> Result<DataSet, DataSetError> {
    let column = |name: &str, width, values| Column { name: name.to_owned(), width, data: ColumnData::Float(values) };
    DataSet::new(y.len(), vec![column("x", 2, x.concat()), column("y", 1, y.to_vec())])
}

/// ½(x·w − y)² of each example.
fn losses(batch: usize) -> (Graph, Node) {
    let mut g = Graph::new();
    let x = g.input("x", &[batch, 2]);
    let y = g.input("y", &[batch, 1]);
    let w = g.param("w", &[2, 1]);
    let product = g.matmul(x, w);
    let error = g.sub(product, y);
    let square = g.square(error);
    let half = g.scale(square, 0.5);
    let loss = g.reshape(half, &[batch]);
    (g, loss)
}
