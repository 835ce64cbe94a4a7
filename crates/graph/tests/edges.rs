//! Unusual graphs against the interpreter: results that are inputs, views, constants or one another, extents of one,
//! many axes, ids read through views, and products of every shape.

#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

mod common;

use common::{difference, fill, random_values, reference_gradient, run_all, widened};
use ontogeny_graph::{Gradient, Graph, Node, Program, RunError, Workspace};

/// The outputs of a case, and what is differentiated.
type Build = fn(&mut Graph) -> (Vec<Node>, Option<Node>);

const CASES: &[(&str, Build)] = &[
    ("nothing", |_| (vec![], None)),
    ("a parameter nobody reads", |g| {
        let _ = g.param("w", &[3]);
        let s = g.constant(2.0);
        (vec![s], Some(s))
    }),
    ("an input", |g| (vec![g.input("x", &[2, 3])], None)),
    ("a parameter", |g| (vec![g.param("w", &[2, 3])], None)),
    ("a scalar parameter that is the loss", |g| {
        let w = g.param("w", &[]);
        (vec![w], Some(w))
    }),
    ("a constant and a broadcast of it", |g| {
        let c = g.constant(3.5);
        let wide = g.broadcast(c, &[2, 3]);
        (vec![c, wide], None)
    }),
    ("a product of constants in a sum", |g| {
        let (rows, columns) = (g.iota(&[3, 4], 0), g.iota(&[4, 5], 1));
        let w = g.param("w", &[3, 5]);
        let product = g.matmul(rows, columns);
        let sum = g.add(product, w);
        let y = g.relu(sum);
        (vec![y], None)
    }),
    ("the same node three times", |g| {
        let w = g.param("w", &[4]);
        let y = g.tanh(w);
        let loss = g.mean_all(y);
        (vec![y, y, loss, y], Some(loss))
    }),
    ("views as outputs", |g| {
        let w = g.param("w", &[3, 4]);
        let x = g.input("x", &[3, 4]);
        let transposed = g.transpose(w);
        let column = g.select_index(x, 1, 2);
        let wide = g.broadcast(column, &[2, 3]);
        let y = g.exp(x);
        let part = g.slice(y, 0, 1, 2);
        let part = g.transpose(part);
        (vec![transposed, column, wide, part, y], None)
    }),
    ("two parameters that share their gradient", |g| {
        let (a, b) = (g.param("a", &[3]), g.param("b", &[3]));
        let sum = g.add(a, b);
        let y = g.tanh(sum);
        let loss = g.mean_all(y);
        (vec![], Some(loss))
    }),
    ("a gradient that is an input, and one that is a parameter", |g| {
        let (a, b, x) = (g.param("a", &[3]), g.param("b", &[3]), g.input("x", &[3]));
        let ax = g.mul(a, x);
        let ab = g.mul(a, b);
        let sum = g.add(ax, ab);
        let only = g.sum(sum, &[0]);
        (vec![x, b], Some(only))
    }),
    ("a gradient that is also an output", |g| {
        let w = g.param("w", &[3]);
        let square = g.square(w);
        let loss = g.sum(square, &[0]);
        let gradient = g.gradient(loss, &[w]).unwrap()[0];
        (vec![gradient, loss, gradient], Some(loss))
    }),
    ("one element everywhere", |g| {
        let (w, x) = (g.param("w", &[1, 1]), g.input("x", &[1, 1]));
        let ids = g.input_ids("ids", &[1]);
        let y = g.matmul(x, w);
        let p = g.softmax(y);
        let t = g.transpose(y);
        let e = g.einsum("ab,cb->ac", y, t);
        let gathered = g.gather(e, ids);
        let gathered = g.add(gathered, p);
        let loss = g.mean_all(gathered);
        (vec![y, p, e, gathered], Some(loss))
    }),
    ("einsum of extents of one", |g| {
        let (a, b) = (g.param("a", &[1, 1, 1]), g.param("b", &[1, 1, 1]));
        let y = g.einsum("abc,bcd->ad", a, b);
        let z = g.einsum("abc,abc->bca", a, b);
        let s = g.einsum("abc,abc->", a, b);
        let loss = g.mean_all(z);
        let loss = g.add(loss, s);
        (vec![y, z, s], Some(loss))
    }),
    ("einsum of scalars", |g| {
        let (a, b) = (g.param("a", &[]), g.param("b", &[4]));
        let s = g.einsum(",->", a, a);
        let v = g.einsum(",a->a", s, b);
        let loss = g.mean_all(v);
        (vec![s, v], Some(loss))
    }),
    ("cross-entropy of one class", |g| {
        let w = g.param("w", &[2, 1]);
        let one = g.input_ids("zero targets", &[2]);
        let y = g.cross_entropy(w, one);
        let loss = g.mean_all(y);
        (vec![y], Some(loss))
    }),
    ("fourteen axes, permuted", |g| {
        let w = g.param("w", &[2; 10]);
        let deep = g.reshape(w, &[2, 1, 2, 1, 2, 2, 1, 2, 2, 2, 1, 2, 2, 2]);
        let order = [13, 1, 11, 2, 9, 3, 7, 0, 5, 4, 6, 8, 10, 12];
        let permuted = g.permute(deep, &order);
        let y = g.tanh(permuted);
        let flat = g.reshape(permuted, &[1024]);
        let sum = g.sum(y, &[0, 4, 8]);
        let sum = g.square(sum);
        let loss = g.mean_all(sum);
        (vec![y, flat, sum], Some(loss))
    }),
    ("sixteen axes that do not collapse", |g| {
        let w = g.param("w", &[2; 16]);
        let order = [15, 13, 11, 9, 7, 5, 3, 1, 14, 12, 10, 8, 6, 4, 2, 0];
        let permuted = g.permute(w, &order);
        let y = g.mul(permuted, w);
        let loss = g.mean_all(y);
        (vec![y], Some(loss))
    }),
    ("scalars against everything", |g| {
        let (s, v, m) = (g.param("s", &[]), g.param("v", &[1, 4]), g.param("m", &[3, 1]));
        let a = g.mul(s, v);
        let b = g.add(a, m);
        let c = g.div(s, b);
        let condition = g.greater(s, b);
        let d = g.select(condition, s, c);
        let d = g.tanh(d);
        let loss = g.mean_all(d);
        (vec![a, b, d], Some(loss))
    }),
    ("padding and joining at several axes", |g| {
        let w = g.param("w", &[2, 3]);
        let a = g.pad(w, 0, 1, 0);
        let a = g.pad(a, 1, 0, 2);
        let t = g.exp(w);
        let b = g.concat(&[w, t, w], 0);
        let c = g.concat(&[w, t, w], 1);
        let inner = g.slice(c, 1, 2, 5);
        let outer = g.slice(a, 0, 0, 2);
        let total = g.mean_all(inner);
        let more = g.mean_all(outer);
        let loss = g.mul(total, more);
        (vec![a, b, c, inner, outer], Some(loss))
    }),
    ("a chain of elementwise operations that takes over memory", |g| {
        let (w, b) = (g.param("w", &[700]), g.param("b", &[700]));
        let mut x = g.mul(w, b);
        let mut kept = Vec::new();
        for i in 0..12 {
            // A reduction between two groups keeps them apart; its operand lives on or dies.
            let square = g.square(x);
            let mean = g.mean_all(square);
            let one = g.constant(1.0);
            let factor = g.add(mean, one);
            let y = g.mul(x, factor);
            x = g.tanh(y);
            if i % 3 == 0 {
                kept.push(x);
            }
        }
        let loss = g.mean_all(x);
        (kept, Some(loss))
    }),
    ("positions sliced twice", |g| {
        let positions = g.iota(&[6, 2], 0);
        let some = g.slice(positions, 0, 1, 4);
        let fewer = g.slice(some, 0, 2, 2);
        (vec![fewer], None)
    }),
    ("an operand read densely and through a view", |g| {
        let w = g.param("w", &[20, 20]);
        let s = g.matmul(w, w);
        let t = g.transpose(s);
        let y = g.mul(s, t);
        let z = g.matmul(y, w);
        let first = g.slice(z, 0, 0, 1);
        let v = g.mul(z, first);
        let loss = g.mean_all(v);
        (vec![y, v], Some(loss))
    }),
    ("ids through views", |g| {
        let (w, x) = (g.param("w", &[5, 2]), g.param("x", &[6, 5]));
        let ids = g.input_ids("ids", &[2, 3]);
        let transposed = g.transpose(ids);
        let a = g.gather(w, transposed);
        let flat = g.reshape(transposed, &[6]);
        let b = g.gather(w, flat);
        let c = g.cross_entropy(x, flat);
        let row = g.select_index(ids, 0, 1);
        let wide = g.broadcast(row, &[2, 3]);
        let turned = g.transpose(wide);
        let turned = g.reshape(turned, &[2, 3]);
        let d = g.gather(w, turned);
        let later = g.slice(d, 1, 1, 2);
        let terms = [a, b, c, later].map(|n| {
            let y = g.tanh(n);
            g.mean_all(y)
        });
        let sum = g.add(terms[0], terms[1]);
        let sum = g.add(sum, terms[2]);
        let loss = g.add(sum, terms[3]);
        (vec![a, b, c, d], Some(loss))
    }),
];

#[test]
fn unusual_graphs_agree_with_the_interpreter() {
    for (name, build) in CASES {
        let mut g = Graph::new();
        let (outputs, loss) = build(&mut g);
        g.check().expect(name);
        // Tables of one row, or of five.
        let n_ids = if name.starts_with("one ") || name.contains("one class") { 1 } else { 5 };
        let values = random_values(&g, 17, n_ids);
        let wide = widened(&values);
        let (got, gradient) = run_all(&g, &outputs, loss.map_or(Gradient::None, Gradient::All), &values);
        let want = g.interpret(&wide, &outputs).unwrap();
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            assert!(difference(got, want) < 2e-6, "{name}, output {i}: {}", difference(got, want));
        }
        let want = loss.map_or(vec![0.0; gradient.len()], |loss| reference_gradient(&g, loss, &wide));
        assert!(difference(&gradient, &want) < 2e-6, "{name}: {}", difference(&gradient, &want));
    }
}

#[test]
fn restricting_the_gradient_to_nothing_leaves_zeros() {
    let mut g = Graph::new();
    let w = g.param("w", &[3]);
    let square = g.square(w);
    let loss = g.sum(square, &[0]);
    let program = Program::compile(&g, &[], Gradient::Only(loss, &[])).unwrap();
    let mut workspace = Workspace::new(&program);
    program.run(&mut workspace, &[1.0, 2.0, 3.0]).unwrap();
    assert_eq!(workspace.gradient(&program), [0.0; 3]);
    assert_eq!((program.flops(), workspace.output(&program, "loss")), (0, [0.0; 0].as_slice()));
    assert!(matches!(program.run(&mut workspace, &[1.0]), Err(RunError::Weights { expected: 3, found: 1 })));
}

/// How an operand of so many rows and columns lies in memory.
type View = (&'static str, fn(&mut Graph, &str, usize, usize) -> Node);

/// Products on both sides of every threshold, with operands as they lie, transposed, repeated and sliced.
#[test]
fn products_of_every_shape_agree_with_the_interpreter() {
    let views: &[View] = &[
        ("dense", |g, name, rows, columns| g.param(name, &[rows, columns])),
        ("transposed", |g, name, rows, columns| {
            let x = g.param(name, &[columns, rows]);
            g.transpose(x)
        }),
        ("repeated row", |g, name, rows, columns| {
            let x = g.param(name, &[columns]);
            g.broadcast(x, &[rows, columns])
        }),
        ("repeated column", |g, name, rows, columns| {
            let x = g.param(name, &[rows, 1]);
            g.broadcast(x, &[rows, columns])
        }),
        ("sliced columns", |g, name, rows, columns| {
            let x = g.param(name, &[rows, columns + 3]);
            g.slice(x, 1, 2, columns)
        }),
    ];
    let sizes =
        [(1, 1, 1), (1, 40, 300), (40, 1, 300), (33, 29, 1), (3, 5, 7), (24, 31, 17), (25, 34, 18), (9, 100, 10)];
    for (m, n, k) in sizes {
        for (left, a) in views {
            for (right, b) in views {
                let mut g = Graph::new();
                let (a, b) = (a(&mut g, "a", m, k), b(&mut g, "b", k, n));
                let outputs = ["ik,kj->ij", "ik,kj->ji"].map(|labels| g.einsum(labels, a, b));
                let squares = outputs.map(|y| g.square(y));
                let losses = squares.map(|y| g.mean_all(y));
                let loss = g.add(losses[0], losses[1]);
                let values = random_values(&g, 23, 1);
                let wide = widened(&values);
                let (got, gradient) = run_all(&g, &outputs, Gradient::All(loss), &values);
                let name = format!("{left} [{m}, {k}] by {right} [{k}, {n}]");
                for (got, want) in got.iter().zip(g.interpret(&wide, &outputs).unwrap()) {
                    assert!(difference(got, &want) < 1e-5, "{name}");
                }
                assert!(difference(&gradient, &reference_gradient(&g, loss, &wide)) < 1e-5, "{name}");
            }
        }
    }
}

#[test]
fn a_replaced_parameter_keeps_its_place_and_passes_the_gradient_on() {
    let mut g = Graph::new();
    let (w, x) = (g.param("w", &[3]), g.input("x", &[3]));
    let y = g.mul(w, x);
    let loss = g.sum(y, &[0]);
    g.named(loss, "loss");
    let half = g.scale(w, 0.5);
    let zero = g.scale(x, 0.0);
    let halved = g.replace("w", half).unwrap();
    let frozen = g.replace("w", zero).unwrap();
    let values = random_values(&g, 1, 1);
    for (edited, factor) in [(halved, 0.5), (frozen, 0.0)] {
        let loss = edited.find("loss").unwrap();
        let (_, gradient) = run_all(&edited, &[loss], Gradient::All(loss), &values);
        let want: Vec<f64> = values["x"].floats().iter().map(|&x| factor * f64::from(x)).collect();
        assert!(difference(&gradient, &want) < 1e-6, "{gradient:?} {want:?}");
        let program = Program::compile(&edited, &[], Gradient::All(loss)).unwrap();
        assert_eq!(program.space().find("w").unwrap().range, 0..3);
    }
    // A replaced input is still filled, and still of its own type.
    let x = g.find("x").unwrap();
    let doubled = g.scale(x, 2.0);
    let edited = g.replace("x", doubled).unwrap();
    let loss = edited.find("loss").unwrap();
    let (y, _) = run_all(&edited, &[loss], Gradient::None, &values);
    let want = edited.interpret(&widened(&values), &[loss]).unwrap();
    let before = g.interpret(&widened(&values), &[g.find("loss").unwrap()]).unwrap();
    assert!(difference(&y[0], &want[0]) < 1e-6);
    assert!((want[0][0] - 2.0 * before[0][0]).abs() < 1e-12);
}

#[test]
fn leftovers_of_an_earlier_execution_are_not_reported_as_not_finite() {
    let mut g = Graph::new();
    let (w, x) = (g.param("w", &[40]), g.input("x", &[40]));
    let e = g.mul(w, x);
    let s = g.softmax(e);
    let t = g.tanh(s);
    let joined = g.concat(&[s, t, s], 0);
    let softer = g.softmax(joined);
    let y = g.mean_all(softer);
    let program = Program::compile(&g, &[("y", y)], Gradient::All(y)).unwrap();
    let mut workspace = Workspace::new(&program);
    let mut values = random_values(&g, 3, 1);
    let weights = fill(&program, &mut workspace, &values);
    workspace.floats_mut(&program, "x").unwrap()[7] = f32::NAN;
    program.run(&mut workspace, &weights).unwrap();
    assert!(program.first_non_finite(&mut workspace, &weights).unwrap().is_some());
    values.remove("w");
    let _ = fill(&program, &mut workspace, &values);
    assert_eq!(program.first_non_finite(&mut workspace, &weights).unwrap(), None);
}

#[test]
fn maxima_carry_not_a_number_in_both_executors() {
    let mut g = Graph::new();
    let x = g.input("x", &[2, 9]);
    let outputs = [g.max(x, &[0]), g.max(x, &[1]), g.relu(x), g.softmax(x)];
    let mut values = random_values(&g, 3, 1);
    let mut floats = values["x"].floats().to_vec();
    floats[4] = f32::NAN;
    values.insert("x".to_owned(), ontogeny_graph::Value::Float(floats));
    let (got, _) = run_all(&g, &outputs, Gradient::None, &values);
    let want = g.interpret(&values, &outputs).unwrap();
    let nan = |v: &[Vec<f32>]| v.iter().map(|y| y.iter().map(|x| x.is_nan()).collect::<Vec<_>>()).collect::<Vec<_>>();
    assert_eq!(nan(&got), nan(&want));
    assert_eq!(nan(&got).concat().iter().filter(|x| **x).count(), 1 + 1 + 1 + 9);
}

#[test]
fn of_entries_that_tie_the_first_has_the_derivative() {
    let mut g = Graph::new();
    let x = g.param("x", &[2, 3, 3]);
    let direction = g.input("direction", &[2, 3, 3]);
    let max = g.max(x, &[0, 2]);
    let loss = g.sum(max, &[0]);
    let slope = g.tangent(&[max], &[x], &[direction]).unwrap()[0];
    let (infinite, nan) = (f32::NEG_INFINITY, f32::NAN);
    // Ties; nothing but -inf; numbers beside NaN, which is passed over.
    let values = [
        [0.0, 1.0, 0.0, infinite, infinite, infinite, nan, 2.0, nan],
        [1.0, 1.0, 0.5, infinite, infinite, infinite, 3.0, nan, 3.0],
    ];
    let directions: Vec<f32> = (0..18).map(|i| i as f32).collect();
    let values = [
        ("x".to_owned(), ontogeny_graph::Value::Float(values.concat())),
        ("direction".to_owned(), ontogeny_graph::Value::Float(directions)),
    ];
    let values = values.into();
    let (got, gradient) = run_all(&g, &[slope], Gradient::All(loss), &values);
    let places: Vec<usize> = (0..18).filter(|&i| gradient[i] == 1.0).collect();
    assert_eq!(places, [1, 3, 15]);
    assert_eq!(gradient.iter().sum::<f32>(), 3.0);
    assert_eq!(got, [[1.0, 3.0, 15.0]]);
    assert_eq!(g.interpret(&values, &[slope]).unwrap(), got);
    let reference = reference_gradient(&g, loss, &widened(&values));
    assert_eq!(reference, gradient.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
}

/// A factor that f32 cannot hold must not come from folding two that it can.
#[test]
fn folded_constants_stay_in_range() {
    let mut g = Graph::new();
    let x = g.input("x", &[2]);
    let large = g.scale(x, 1e30);
    let large = g.scale(large, 1e30);
    let small = g.scale(x, 1e-30);
    let small = g.scale(small, 1e-30);
    let values = [("x".to_owned(), ontogeny_graph::Value::Float(vec![1e-30_f32, 1e30]))].into();
    let (got, _) = run_all(&g, &[large, small], Gradient::None, &values);
    let want = g.interpret(&values, &[large, small]).unwrap();
    assert_eq!(got, want);
}
