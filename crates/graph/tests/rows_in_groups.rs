//! Sums, maxima and softmaxes of rows inside fused groups: one pass over memory, and the interpreter's values.

#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

mod common;

use common::{difference, random_values, reference_gradient, run, transformer, widened};
use ontogeny_graph::{Gradient, Graph, Node, Program};

/// As for whole networks: sums of a few thousand products in f32.
const TOLERANCE: f64 = 2e-5;

fn agrees(graph: &Graph, loss: Node, n_ids: usize) -> String {
    let values = random_values(graph, 9, n_ids);
    let (value, gradient) = run(graph, loss, Gradient::All(loss), &values);
    let wide = widened(&values);
    assert!(difference(&value, &graph.interpret(&wide, &[loss]).unwrap().concat()) < TOLERANCE);
    assert!(difference(&gradient, &reference_gradient(graph, loss, &wide)) < TOLERANCE);
    Program::compile(graph, &[("loss", loss)], Gradient::All(loss)).unwrap().to_string()
}

#[test]
fn attention_is_one_group_forwards_and_one_backwards() {
    let t = transformer(3, 11, 24, 16, 4, 32);
    // Read at every position, so that no dimension is cut away.
    let mut g = t.graph.clone();
    let scores = g.find("blocks.0.attn.hook_pattern").unwrap();
    let square = g.square(scores);
    let weight = g.input("weights of entries", &[3, 4, 24, 24]);
    let weighted = g.mul(square, weight);
    let total = g.sum(weighted, &[0, 1, 2, 3]);
    let loss = g.add(total, t.loss);
    let listing = agrees(&g, loss, 11);
    assert!(listing.lines().any(|l| l.contains("mul select softmax")), "{listing}");
    let backwards = listing.lines().find(|l| l.contains("sum sub mul select")).unwrap_or_else(|| panic!("{listing}"));
    assert!(backwards.contains("[3, 4, 24, 24]"), "{backwards}");
    // The sums over rows are nowhere in memory.
    assert!(!listing.lines().any(|l| l.contains("[3, 4, 24] ") || l.contains("[3, 4, 24, 1]")), "{listing}");
}

#[test]
fn normalised_rows_of_every_length_agree_with_the_interpreter() {
    // Below and above the shortest row of a group, a block, and the longest row.
    for (n, width) in [(9, 5), (7, 17), (40, 100), (3, 700), (2, 9000)] {
        let mut g = Graph::new();
        let x = g.param("x", &[n, width]);
        let (gain, bias) = (g.param("gain", &[width]), g.param("bias", &[width]));
        let y = g.normalize(x, 1e-5);
        let y = g.mul(y, gain);
        let y = g.add(y, bias);
        let target = g.input("target", &[n, width]);
        let difference = g.sub(y, target);
        let square = g.square(difference);
        let of_rows = g.mean(square, &[1]);
        // A value of rows goes on being computed with, and is repeated along other rows.
        let smooth = g.tanh(of_rows);
        let smooth = g.keep_axes(smooth, &[1]);
        let again = g.mul(smooth, y);
        let p = g.log_softmax(again);
        let entropy = g.mul(p, target);
        let loss = g.mean_all(entropy);
        let listing = agrees(&g, loss, 1);
        let n_steps = listing.lines().filter(|l| l.contains("reduce") || l.contains("rows ")).count();
        let is_long = (17..=8192).contains(&width);
        // The sums over all rows (of gain, bias and loss) stay kernels of their own.
        assert!(!is_long || n_steps <= 4, "{n} rows of {width}:\n{listing}");
    }
}

#[test]
fn a_loss_is_one_pass() {
    let mut g = Graph::new();
    let (w, x, target) = (g.param("w", &[30, 20]), g.input("x", &[50, 30]), g.input("target", &[50, 20]));
    let y = g.matmul(x, w);
    let residual = g.sub(y, target);
    let square = g.square(residual);
    let loss = g.mean_all(square);
    let listing = agrees(&g, loss, 1);
    assert!(!listing.contains("reduce"), "{listing}");
}
