//! Compiled programs against the reference interpreter: networks, and random graphs over every operation.

mod common;

use common::{cases, difference, random_values, reference_gradient, run, transformer, widened};
use ontogeny_graph::{Convolution, Gradient, Graph, Node};
use proptest::prelude::*;

/// Sums of a few thousand products in f32: √n roundings of 6e-8 each, with room for cancellation.
const TOLERANCE: f64 = 2e-5;

#[test]
fn a_transformer_agrees_with_the_interpreter() {
    for (batch, vocabulary, context, d, heads, d_mlp) in
        [(7, 11, 3, 16, 4, 32), (2, 5, 6, 12, 3, 24), (33, 9, 2, 8, 1, 40)]
    {
        let t = transformer(batch, vocabulary, context, d, heads, d_mlp);
        let values = random_values(&t.graph, 3, vocabulary);
        let (loss, gradient) = run(&t.graph, t.loss, Gradient::All(t.loss), &values);
        let wide = widened(&values);
        let want = t.graph.interpret(&wide, &[t.loss]).unwrap().concat();
        assert!(difference(&loss, &want) < TOLERANCE);
        let want = reference_gradient(&t.graph, t.loss, &wide);
        assert!(difference(&gradient, &want) < TOLERANCE);
    }
}

#[test]
fn a_restricted_gradient_is_the_full_one_with_zeros_and_costs_less() {
    let t = transformer(16, 11, 3, 16, 4, 32);
    let values = random_values(&t.graph, 5, 11);
    let (_, full) = run(&t.graph, t.loss, Gradient::All(t.loss), &values);
    let names = ["unembed.W_U".to_owned()];
    let (_, only) = run(&t.graph, t.loss, Gradient::Only(t.loss, &names), &values);
    let program = ontogeny_graph::Program::compile(&t.graph, &[], Gradient::Only(t.loss, &names)).unwrap();
    let all = ontogeny_graph::Program::compile(&t.graph, &[], Gradient::All(t.loss)).unwrap();
    let range = program.space().find("unembed.W_U").unwrap().range.clone();
    let want: Vec<f64> = full[range.clone()].iter().map(|&x| f64::from(x)).collect();
    assert!(difference(&only[range.clone()], &want) < 1e-6);
    assert!(only.iter().enumerate().all(|(i, &x)| range.contains(&i) || x == 0.0));
    assert!(program.flops() * 2 < all.flops(), "{} of {}", program.flops(), all.flops());
}

#[test]
fn the_gradient_of_one_head_costs_less_than_that_of_its_tensors() {
    let t = transformer(16, 11, 3, 16, 4, 32);
    let values = random_values(&t.graph, 5, 11);
    let (_, full) = run(&t.graph, t.loss, Gradient::All(t.loss), &values);
    let names = ["Q", "K", "V", "O"].map(|x| format!("blocks.0.attn.W_{x}"));
    let tensors = ontogeny_graph::Program::compile(&t.graph, &[], Gradient::Only(t.loss, &names)).unwrap();
    // Head 2 of 4, given out of order, its last tensor in two touching halves, and beside it something beyond the end.
    let mut ranges = Vec::new();
    for name in names.iter().rev() {
        let range = tensors.space().find(name).unwrap().range.clone();
        let len = range.len() / 4;
        ranges.push(range.start + 2 * len..range.start + 3 * len);
    }
    let split = ranges.remove(0);
    let middle = usize::midpoint(split.start, split.end);
    ranges.extend([split.start..middle, middle..split.end, full.len()..full.len() + 5]);
    let (_, head) = run(&t.graph, t.loss, Gradient::Ranges(t.loss, &ranges), &values);
    let is_free = |i: usize| ranges.iter().any(|range| range.contains(&i));
    let (mut got, mut want) = (Vec::new(), Vec::new());
    for i in 0..full.len() {
        if is_free(i) {
            got.push(head[i]);
            want.push(f64::from(full[i]));
        } else {
            assert_eq!(head[i], 0.0, "coordinate {i}");
        }
    }
    assert_eq!(got.len(), 4 * 16 * 4);
    assert!(difference(&got, &want) < 1e-6);
    let program = ontogeny_graph::Program::compile(&t.graph, &[], Gradient::Ranges(t.loss, &ranges)).unwrap();
    let forward = ontogeny_graph::Program::compile(&t.graph, &[("loss", t.loss)], Gradient::None).unwrap();
    let backward = |program: &ontogeny_graph::Program| program.flops() - forward.flops();
    assert!(backward(&program) < backward(&tensors), "{} of {}", backward(&program), backward(&tensors));
}

#[test]
fn positions_that_the_loss_never_reads_are_not_computed() {
    let context = 8;
    let t = transformer(4, 11, context, 16, 4, 64);
    let program = ontogeny_graph::Program::compile(&t.graph, &[("loss", t.loss)], Gradient::All(t.loss)).unwrap();
    let listing = program.to_string();
    // The MLP's hidden layer holds one position per example, not `context`.
    assert!(listing.lines().any(|l| l.contains("[4, 1, 64]") && l.contains("mlp.hook_post")), "{listing}");
    assert!(!listing.contains(&format!("[4, {context}, 64]")), "{listing}");
}

#[test]
fn replacing_an_activation_is_an_edit_of_the_graph() {
    let mut t = transformer(5, 7, 3, 8, 2, 16);
    let z = t.graph.find("blocks.0.attn.hook_z").unwrap();
    let half = t.graph.scale(z, 0.5);
    let edited = t.graph.replace("blocks.0.attn.hook_z", half).unwrap();
    // The named activation is the replaced one, and the loss moves.
    let named_loss = |g: &Graph, loss: Node| run(g, loss, Gradient::None, &random_values(&t.graph, 2, 7)).0;
    let mut marked = transformer(5, 7, 3, 8, 2, 16);
    marked.graph.named(marked.loss, "loss");
    let z = marked.graph.find("blocks.0.attn.hook_z").unwrap();
    let half = marked.graph.scale(z, 0.5);
    let marked = marked.graph.replace("blocks.0.attn.hook_z", half).unwrap();
    let before = named_loss(&t.graph, t.loss);
    let after = named_loss(&marked, marked.find("loss").unwrap());
    assert_ne!(before, after);
    assert_eq!(edited.param_names().count(), t.graph.param_names().count());
}

#[test]
fn mistakes_name_their_place() {
    let mut g = Graph::new();
    let x = g.input("x", &[4, 3]);
    let w = g.param("w", &[5, 2]);
    let y = g.matmul(x, w);
    let loss = g.mean_all(y);
    let error = ontogeny_graph::Program::compile(&g, &[("loss", loss)], Gradient::All(loss)).unwrap_err().to_string();
    assert!(error.contains("[4, 3] and [5, 2]"), "{error}");
    let mut g = Graph::new();
    let _ = g.param("w", &[2]);
    let _ = g.param("w", &[3]);
    assert!(g.check().unwrap_err().to_string().contains("`w` is used twice"));
}

#[test]
fn ids_outside_their_table_and_non_finite_values_are_named() {
    use ontogeny_graph::{Program, RunError, Workspace};
    let t = transformer(2, 5, 3, 8, 2, 16);
    let program = Program::compile(&t.graph, &[("loss", t.loss)], Gradient::All(t.loss)).unwrap();
    let mut workspace = Workspace::new(&program);
    let mut weights = vec![0.1; program.space().len()];
    workspace.ids_mut(&program, "tokens").unwrap()[4] = 5;
    assert!(matches!(program.run(&mut workspace, &weights), Err(RunError::Id { id: 5, rows: 5, .. })));
    workspace.ids_mut(&program, "tokens").unwrap()[4] = 4;
    assert_eq!(program.first_non_finite(&mut workspace, &weights), Ok(None));
    let hidden = program.space().find("blocks.0.mlp.W_in").unwrap().range.clone();
    weights[hidden].fill(1e38);
    let named = program.first_non_finite(&mut workspace, &weights).unwrap();
    assert!(named.as_deref().is_some_and(|n| n.contains("mlp")), "{named:?}");
    assert!(workspace.ids_mut(&program, "token").unwrap_err().to_string().contains("did you mean `tokens`"));
}

/// One random operation on a pool of nodes, chosen by bytes.
fn grow(g: &mut Graph, pool: &mut Vec<Node>, bytes: [u8; 4]) {
    let pick = |b: u8| pool[b as usize % pool.len()];
    let (a, b) = (pick(bytes[1]), pick(bytes[2]));
    let rank = g.shape(a).len();
    let axis = if rank == 0 { 0 } else { bytes[3] as usize % rank };
    let node = match bytes[0] % 32 {
        0 => g.add(a, b),
        1 => g.sub(a, b),
        2 => g.mul(a, b),
        3 => g.tanh(a),
        4 => g.relu(a),
        5 => g.gelu(a),
        6 => {
            let t = g.tanh(a);
            g.exp(t)
        }
        7 if rank > 0 => g.softmax(a),
        8 if rank > 0 => g.log_softmax(a),
        9 if rank > 0 => g.sum(a, &[axis]),
        10 if rank > 0 => g.mean(a, &[axis]),
        11 if rank > 0 => g.max(a, &[axis]),
        12 if rank > 0 => {
            let extent = g.shape(a)[axis];
            let start = bytes[2] as usize % extent;
            g.slice(a, axis, start, extent - start)
        }
        13 if rank > 0 => g.pad(a, axis, bytes[2] as usize % 3, 1),
        14 if rank > 1 => g.transpose(a),
        15 if rank > 0 => g.concat(&[a, a], axis),
        16 if rank > 1 => {
            let n: usize = g.shape(a).iter().product();
            g.reshape(a, &[n])
        }
        17 if rank == 2 => {
            let t = g.transpose(a);
            g.matmul(a, t)
        }
        18 if rank == 2 && g.shape(b).len() == 2 => g.einsum("ab,cd->acbd", a, b),
        19 if rank == 4 => g.einsum("abcd,abce->adec", a, a),
        20 if rank > 0 => g.rms_normalize(a, 0.1),
        21 if rank > 0 => g.normalize(a, 0.1),
        22 => {
            let condition = g.greater(a, b);
            g.select(condition, a, b)
        }
        23 if rank > 0 => {
            let square = g.square(a);
            let positive = g.log1p(square);
            g.sqrt(positive)
        }
        24 if rank > 0 => {
            let (size, stride, dilation) =
                (1 + bytes[2] as usize % 3, 1 + bytes[1] as usize % 3, 1 + bytes[2] as usize % 2);
            g.windows(a, axis, size, stride, dilation)
        }
        25 if rank > 1 && axis + 1 < rank => {
            let (n, size) = (g.shape(a)[axis], g.shape(a)[axis + 1]);
            let (stride, dilation) = (1 + bytes[1] as usize % 3, 1 + bytes[2] as usize % 2);
            g.overlap(a, axis, stride, dilation, (n - 1) * stride + (size - 1) * dilation + 1 + bytes[2] as usize % 4)
        }
        26 | 27 if rank > 1 => {
            // Any node as images, convolved with a kernel cut out of another.
            let (height, width) = (g.shape(a)[rank - 2], g.shape(a)[rank - 1]);
            let n: usize = g.shape(a)[..rank - 2].iter().product();
            let channels = if n.is_multiple_of(2) { 2 } else { 1 };
            let x = g.reshape(a, &[n / channels, channels, height, width]);
            if bytes[0] % 32 == 26 {
                let padding = [bytes[2] as usize % 2, bytes[3] as usize % 2];
                g.max_pool2d(x, [2, 1 + bytes[1] as usize % 3], [1 + bytes[2] as usize % 2, 2], [padding[0], 0])
            } else {
                let groups = 1 + bytes[3] as usize % channels;
                let (k, flat) = (2 * channels / groups * 2, g.shape(b).iter().product::<usize>());
                let kernel = g.reshape(b, &[flat]);
                let kernel = g.slice(kernel, 0, 0, k);
                let kernel = g.reshape(kernel, &[2, channels / groups, 1, 2]);
                let convolution = Convolution {
                    stride: [1 + bytes[1] as usize % 2, 1],
                    padding: [bytes[2] as usize % 2, 1],
                    dilation: [1, 1 + bytes[3] as usize % 2],
                    groups,
                };
                g.conv2d(x, kernel, convolution)
            }
        }
        28 if rank > 0 => g.max(a, &[axis, rank - 1]),
        29 => g.silu(a),
        30 if rank > 1 => g.rotary(a, 0, g.shape(a)[rank - 1] / 2 * 2, 100.0),
        31 if rank == 3 => {
            // Queries, keys and values of one attention with a single kv head.
            let shape = g.shape(a).to_vec();
            let q = g.reshape(a, &[1, shape[0], shape[1], shape[2]]);
            let k = g.slice(q, 2, bytes[3] as usize % shape[1], 1);
            let scores = g.grouped_scores(q, k);
            let pattern = g.softmax(scores);
            g.grouped_values(pattern, k)
        }
        _ => g.scale(a, 0.7),
    };
    // Keep sizes small, and mistakes of the generator out.
    if g.check().is_ok() && g.shape(node).iter().product::<usize>() <= 2000 && g.shape(node).len() <= 5 {
        pool.push(node);
    }
}

proptest! {
    #![proptest_config(cases(400))]
    #[test]
    fn random_graphs_agree_with_the_interpreter(ops in prop::collection::vec(any::<[u8; 4]>(), 1..24), seed in 0_u32..1000) {
        let mut g = Graph::new();
        let mut pool = vec![
            g.param("a", &[3, 4]), g.param("b", &[4]), g.param("c", &[2, 3, 4]), g.input("x", &[3, 1]), g.param("d", &[5, 4]),
        ];
        let ids = g.input_ids("ids", &[3, 2]);
        let gathered = g.gather(pool[4], ids);
        pool.push(gathered);
        for bytes in ops {
            let checkpoint = g.clone();
            grow(&mut g, &mut pool, bytes);
            if g.check().is_err() {
                g = checkpoint;
            }
        }
        // Everything in the pool matters, and large values are tamed.
        let mut loss = g.constant(0.0);
        for (i, &node) in pool.clone().iter().enumerate() {
            let tame = g.tanh(node);
            let mean = g.mean_all(tame);
            let weighted = g.scale(mean, 1.0 / (1 + i) as f64);
            loss = g.add(loss, weighted);
        }
        let values = random_values(&g, seed, 5);
        let wide = widened(&values);
        let (y, gradient) = run(&g, loss, Gradient::All(loss), &values);
        let want = g.interpret(&wide, &[loss]).unwrap().concat();
        let reference = reference_gradient(&g, loss, &wide);
        // Deep compositions of exponentials amplify roundings: judge against the interpreter in f32 as well.
        let narrow: Vec<f64> = {
            let mut h = g.clone();
            let params = h.param_nodes();
            let nodes = h.gradient(loss, &params).unwrap();
            h.interpret(&values, &nodes).unwrap().concat().iter().map(|&x| f64::from(x)).collect()
        };
        let scale = reference.iter().fold(1e-30_f64, |a, x| a.max(x.abs()));
        let noise = narrow.iter().zip(&reference).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / scale;
        // The loss is a sum of means of tanh with weights of one and less: its terms may cancel, so errors are absolute.
        let shift = (g.interpret(&values, &[loss]).unwrap()[0][0] - want[0] as f32).abs();
        prop_assert!((f64::from(y[0]) - want[0]).abs() < 1e-6 + 10.0 * f64::from(shift), "{} {}, f32 off by {shift}", y[0], want[0]);
        prop_assert!(difference(&gradient, &reference) < 1e-4 + 50.0 * noise, "{}", difference(&gradient, &reference));
    }
}
