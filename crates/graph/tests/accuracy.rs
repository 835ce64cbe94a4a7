//! Every kernel against the reference interpreter in f64, on random shapes and strides and every instruction set, within
//! a bound that is derived for each (docs/accuracy.md; `--nocapture` prints how near the worst came).

#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

mod common;

use std::process::Command;

use common::{random_values, run_all, widened};
use ontogeny_graph::{Gradient, Graph, Isa, Node, Purpose, Stream, Value};

/// An ulp here is ε times the size of a number: at least the distance of its neighbours, at most twice that.
/// A correctly rounded operation is off by half of one.
const ULP: f64 = f32::EPSILON as f64;

/// Shapes and strides for each kernel.
const ROUNDS: u32 = 40;

/// What a kernel computes from `x` and `y`, both `[rows, width]` in any layout, and by how many ulps of 1 each entry may
/// be off: a graph of its own, evaluated in f64.
type Build = fn(&mut Graph, Node, Node) -> (Node, Node);

/// Off by at most `ulps` of the result itself.
fn relative(g: &mut Graph, result: Node, ulps: f64) -> (Node, Node) {
    let size = g.abs(result);
    (result, g.scale(size, ulps))
}

fn width(g: &Graph, x: Node) -> f64 {
    *g.shape(x).last().unwrap() as f64
}

/// The most that a sum of exp(z − top) over a row may be off, relatively: 4 for exp, half of |z − top| for the rounding of
/// its argument, and half for each addition of a chain, of which there are n/16 in a lane, 15 between lanes and 2 more.
fn exponentials(g: &mut Graph, x: Node) -> Node {
    let n = width(g, x);
    let top = g.max(x, &[1]);
    let negative = g.neg(x);
    let bottom = g.max(negative, &[1]);
    let range = g.add(top, bottom);
    let half = g.scale(range, 0.5);
    let rest = g.constant(4.0 + n / 32.0 + 9.0);
    let per_row = g.add(half, rest);
    let kept = g.keep_axes(per_row, &[1]);
    let shape = g.shape(x).to_vec();
    g.broadcast(kept, &shape)
}

/// The sum of a node times fixed weights of either sign, and the same with the weights' sizes.
fn weighted(g: &mut Graph, y: Node) -> (Node, Node) {
    let shape = g.shape(y).to_vec();
    let w = g.input("w", &shape);
    let size = g.abs(w);
    let axes: Vec<usize> = (0..shape.len()).collect();
    let mut total = |w: Node| {
        let product = g.mul(y, w);
        g.sum(product, &axes)
    };
    (total(w), total(size))
}

/// The adjoint of what `y` does with `x`, and `terms`/2 times the sum of the sizes of what each entry adds up.
fn adjoint(g: &mut Graph, x: Node, y: Node, terms: usize) -> (Node, Node) {
    let (total, sizes) = weighted(g, y);
    let gradient = g.gradient(total, &[x]).unwrap()[0];
    let size = g.gradient(sizes, &[x]).unwrap()[0];
    (gradient, g.scale(size, terms as f64 / 2.0))
}

fn targets(g: &mut Graph, x: Node) -> Node {
    let rows = g.shape(x)[0];
    g.input_ids("ids", &[rows])
}

/// (kernel, its bound in words, what it computes)
const KERNELS: &[(&str, &str, Build)] = &[
    // fused.rs: correctly rounded operations.
    ("add", "1/2", |g, x, y| {
        let z = g.add(x, y);
        relative(g, z, 0.5)
    }),
    ("sub", "1/2", |g, x, y| {
        let z = g.sub(x, y);
        relative(g, z, 0.5)
    }),
    ("mul", "1/2", |g, x, y| {
        let z = g.mul(x, y);
        relative(g, z, 0.5)
    }),
    ("div", "1/2", |g, x, y| {
        let z = g.div(x, y);
        relative(g, z, 0.5)
    }),
    ("recip", "1/2", |g, x, _| {
        let z = g.recip(x);
        relative(g, z, 0.5)
    }),
    ("sqrt", "1/2", |g, x, _| {
        let size = g.abs(x);
        let z = g.sqrt(size);
        relative(g, z, 0.5)
    }),
    ("relu, select, abs", "0", |g, x, y| {
        let (a, b) = (g.relu(x), g.abs(y));
        let condition = g.greater(x, y);
        let z = g.select(condition, a, b);
        relative(g, z, 0.0)
    }),
    // math.rs: its tests go through all floats.
    ("exp", "4", |g, x, _| {
        let z = g.exp(x);
        relative(g, z, 4.0)
    }),
    ("log", "4", |g, x, _| {
        let size = g.abs(x);
        let z = g.log(size);
        relative(g, z, 4.0)
    }),
    ("log1p", "4", |g, x, _| {
        let size = g.abs(x);
        let z = g.log1p(size);
        relative(g, z, 4.0)
    }),
    ("tanh", "4", |g, x, _| {
        let z = g.tanh(x);
        relative(g, z, 4.0)
    }),
    ("erf", "4", |g, x, _| {
        let z = g.erf(x);
        relative(g, z, 4.0)
    }),
    ("sigmoid", "4", |g, x, _| {
        let z = g.sigmoid(x);
        relative(g, z, 4.0)
    }),
    ("group", "11/2 of (|xy| + |x|) |tanh y|", |g, x, y| {
        // Half each for a product, a sum and a product, 4 for tanh.
        let product = g.mul(x, y);
        let sum = g.add(product, x);
        let bent = g.tanh(y);
        let z = g.mul(sum, bent);
        let (a, b, c) = (g.abs(product), g.abs(x), g.abs(bent));
        let size = g.add(a, b);
        let size = g.mul(size, c);
        (z, g.scale(size, 5.5))
    }),
    // reduce.rs: n − 1 additions in a chain, whichever way; in f64 far less.
    ("sum of rows", "n/2 of the sum of sizes", |g, x, _| {
        let (z, size) = (g.sum(x, &[0]), g.abs(x));
        let size = g.sum(size, &[0]);
        let n = g.shape(x)[0] as f64;
        (z, g.scale(size, n / 2.0))
    }),
    ("sum along rows", "n/2 of the sum of sizes", |g, x, y| {
        // Strides decide between chains in f32 and lanes in f64: n/2 holds for both.
        let z = g.sum(x, &[1]);
        let size = g.abs(x);
        let size = g.sum(size, &[1]);
        let n = width(g, y);
        (z, g.scale(size, n / 2.0))
    }),
    ("maximum", "0", |g, x, _| {
        let z = g.max(x, &[1]);
        relative(g, z, 0.0)
    }),
    // rows.rs
    ("softmax", "2s + 1", |g, x, _| {
        // An exponential and a sum of them, one over it, and a product.
        let p = g.softmax(x);
        let s = exponentials(g, x);
        let (s, one) = (g.scale(s, 2.0), g.constant(1.0));
        let ulps = g.add(s, one);
        (p, g.mul(p, ulps))
    }),
    ("log-softmax", "s + 4.5", |g, x, _| {
        // log1p(S) takes over what S is off, and adds 4; z − max is rounded once. Both are at most 0, so that no error
        // grows when they meet, in one more rounding.
        let y = g.log_softmax(x);
        let s = exponentials(g, x);
        let rest = g.constant(4.5);
        let (ulps, size) = (g.add(s, rest), g.abs(y));
        (y, g.mul(size, ulps))
    }),
    ("cross-entropy", "1.5 s + 5", |g, x, _| {
        // log1p(S) takes over what S is off, and adds 4. Where the target is not the largest, ln adds s to a loss of at
        // least ln 2, its own 4 and the two halves of a difference and a sum.
        let ids = targets(g, x);
        let loss = g.cross_entropy(x, ids);
        let s = exponentials(g, x);
        let s = g.max(s, &[1]);
        let (s, rest) = (g.scale(s, 1.5), g.constant(5.0));
        let ulps = g.add(s, rest);
        (loss, g.mul(loss, ulps))
    }),
    ("cross-entropy's gradient", "2s + 2", |g, x, _| {
        // As softmax; the target's is a sum times one over a sum. One more product for the weight of the row.
        let ids = targets(g, x);
        let losses = g.cross_entropy(x, ids);
        let total = g.sum(losses, &[0]);
        let gradient = g.gradient(total, &[x]).unwrap()[0];
        let s = exponentials(g, x);
        let (s, rest) = (g.scale(s, 2.0), g.constant(2.0));
        let ulps = g.add(s, rest);
        let size = g.abs(gradient);
        (gradient, g.mul(size, ulps))
    }),
    // tables.rs
    ("gather", "0", |g, x, _| {
        let ids = g.input_ids("ids", &[7, 3]);
        let z = g.gather(x, ids);
        relative(g, z, 0.0)
    }),
    ("scatter", "n/2 of the sum of sizes", |g, x, _| {
        let ids = g.input_ids("ids", &[7, 3]);
        let z = g.gather(x, ids);
        adjoint(g, x, z, 21)
    }),
    // copy.rs
    ("copies", "0", |g, x, y| {
        let joined = g.concat(&[x, y, x], 0);
        let padded = g.pad(joined, 1, 2, 1);
        let turned = g.transpose(padded);
        let n = g.shape(turned).iter().product();
        let z = g.reshape(turned, &[n]);
        relative(g, z, 0.0)
    }),
    // at_max.rs, reduce.rs over windows
    ("max pooling", "0", |g, x, _| {
        let z = pool(g, x, true);
        relative(g, z, 0.0)
    }),
    ("max pooling's gradient", "n/2 of the sum of sizes", |g, x, _| {
        let z = pool(g, x, true);
        adjoint(g, x, z, 6)
    }),
    ("average pooling", "n/2 + 1 of the mean of sizes", |g, x, _| {
        // A chain of six, a factor that is rounded, a product.
        let size = g.abs(x);
        let (z, size) = (pool(g, x, false), pool(g, size, false));
        (z, g.scale(size, 4.0))
    }),
    // overlap.rs
    ("overlapping windows", "n/2 of the sum of sizes", |g, x, _| {
        let z = g.windows(x, 1, 2, 1, 1);
        adjoint(g, x, z, 2)
    }),
    // contract.rs, tile.rs, tiny.rs
    ("products along rows", "n of the sum of sizes", |g, x, y| product(g, "ik,jk->ij", x, y)),
    ("products along columns", "n of the sum of sizes", |g, x, y| product(g, "ki,kj->ji", x, y)),
    ("products entry by entry", "1/2", |g, x, y| {
        let z = g.einsum("ij,ij->ij", x, y);
        relative(g, z, 0.5)
    }),
    ("products within rows", "n of the sum of sizes", |g, x, y| product(g, "ik,ik->i", x, y)),
];

/// Windows of 2 × 3 (or less) over `[rows, width]`.
fn pool(g: &mut Graph, x: Node, is_max: bool) -> Node {
    let [rows, columns] = g.shape(x).try_into().unwrap();
    let image = g.reshape(x, &[1, 1, rows, columns]);
    let (size, stride) = ([2, 3], [1, 2]);
    if is_max { g.max_pool2d(image, size, stride, [1, 1]) } else { g.avg_pool2d(image, size, stride, [1, 1]) }
}

/// n products and n sums in a chain, and a sum for every block of it: at most n + 1 halves without a fused multiply-add,
/// and another for each block (Higham 2002, 3.5); n covers both from n = 2 on, and 1/2 + 1/2 is n at n = 1.
fn product(g: &mut Graph, labels: &str, x: Node, y: Node) -> (Node, Node) {
    let z = g.einsum(labels, x, y);
    let (a, b) = (g.abs(x), g.abs(y));
    let size = g.einsum(labels, a, b);
    let n = if labels.starts_with('k') { g.shape(x)[0] } else { g.shape(x)[1] } as f64;
    (z, g.scale(size, n))
}

/// `[rows, width]`, stored as it is, turned, or as a part of a larger array.
fn operand(g: &mut Graph, name: &str, [rows, columns]: [usize; 2], layout: usize) -> Node {
    let margin = layout / 2;
    let extents = if layout % 2 == 1 { [columns, rows] } else { [rows, columns] };
    let mut x = g.param(name, &extents.map(|n| n + 2 * margin));
    if margin > 0 {
        x = g.slice(x, 0, 1, extents[0]);
        x = g.slice(x, 1, 1, extents[1]);
    }
    if layout % 2 == 1 { g.transpose(x) } else { x }
}

#[test]
fn every_kernel_keeps_its_bound() {
    const ROWS: [usize; 6] = [3, 4, 8, 17, 33, 70];
    const WIDTHS: [usize; 8] = [3, 5, 8, 16, 31, 64, 130, 530];
    println!("on {}: worst error as a share of the bound", Isa::current().name());
    for (at, (name, bound, build)) in KERNELS.iter().enumerate() {
        let mut worst: f64 = 0.0;
        for round in 0..ROUNDS {
            let stream = Stream::new(5, Purpose::Data, at as u64);
            let draw = |n: usize, which: u32| stream.below(n, round, which);
            let shape = [ROWS[draw(ROWS.len(), 0)], WIDTHS[draw(WIDTHS.len(), 1)]];
            let mut g = Graph::new();
            let x = operand(&mut g, "x", shape, draw(4, 2));
            let y = operand(&mut g, "y", shape, draw(4, 3));
            let (result, allowed) = build(&mut g, x, y);
            g.check().unwrap();
            let mut values = random_values(&g, round, 3);
            // From 0.1 to 20, exactly: flat rows and steep ones.
            let scale = [0.25, 1.0, 8.0, 64.0][draw(4, 4)];
            for value in values.values_mut() {
                if let Value::Float(x) = value {
                    for x in x {
                        *x *= scale;
                    }
                }
            }
            let (got, _) = run_all(&g, &[result], Gradient::None, &values);
            let exact = g.interpret(&widened(&values), &[result, allowed]).unwrap();
            assert_eq!(got[0].len(), exact[0].len(), "{name}");
            for (i, (&got, (want, ulps))) in got[0].iter().zip(exact[0].iter().zip(&exact[1])).enumerate() {
                let error = (f64::from(got) - want).abs();
                // What is too small for a normal number is off by as much as that; the interpreter's own error is 2⁻²⁹
                // of an ulp for each operation.
                let allowed = ulps * ULP * (1.0 + 1e-6) + f64::from(f32::MIN_POSITIVE);
                assert!(
                    error <= allowed,
                    "{name} {shape:?} round {round} [{i}]: {got}, expected {want}, {ulps} ulp allowed"
                );
                if want.abs() > 1e-30 && *ulps > 0.0 {
                    worst = worst.max(error / (ulps * ULP));
                }
            }
        }
        println!("{name:<26} {worst:.2} of {bound}");
    }
}

/// The set of a process never changes, so each of the others has one of its own.
#[test]
fn the_narrower_instruction_sets_keep_them_too() {
    for isa in Isa::available().into_iter().filter(|&isa| isa != Isa::current()) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "every_kernel_keeps_its_bound", "--nocapture"]).env("ONTOGENY_ISA", isa.name());
        let output = command.output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && out.contains("1 passed"), "{}: {out}{err}", isa.name());
        println!("{out}");
    }
}
