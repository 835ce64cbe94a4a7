//! Random graphs full of slices, paddings and joins, with Hessian-vector products compiled beside the loss: what the
//! simplifier moves and drops must not change a result.

mod common;

use common::{cases, random_values, run_all, widened};
use ontogeny_graph::{Gradient, Graph, Node};
use proptest::prelude::*;

/// One smooth operation on a pool of nodes, chosen by bytes; `None` where it does not fit the shape picked.
fn grow(g: &mut Graph, pool: &[Node], ids: Node, bytes: [u8; 6]) -> Option<Node> {
    let [kind, pick_a, pick_b, x, y, z] = bytes.map(usize::from);
    let (a, b) = (pool[pick_a % pool.len()], pool[pick_b % pool.len()]);
    let shape = g.shape(a).to_vec();
    let rank = shape.len();
    let axis = x % rank.max(1);
    let extent = shape.get(axis).copied().unwrap_or(1);
    let part = |g: &mut Graph, node: Node, start: usize, len: usize| {
        let start = start % extent;
        g.slice(node, axis, start, 1 + len % (extent - start))
    };
    Some(match kind % 28 {
        0..=3 if rank > 0 => part(g, a, y, z),
        4 | 5 if rank > 0 => g.select_index(a, axis, y % extent),
        // Several parts of one node, overlapping or not.
        6 | 7 if extent > 1 => {
            let first = g.slice(a, axis, 0, extent - 1);
            let second = g.slice(a, axis, 1, extent - 1);
            if y % 2 == 0 { g.mul(first, second) } else { g.sub(second, first) }
        }
        8 | 9 if rank > 0 => g.pad(a, axis, y % 3, z % 2),
        // A join, and a part of it that may reach across.
        10 | 11 if rank > 0 => {
            let t = g.tanh(a);
            let joined = g.concat(&[a, t, a], axis);
            let start = y % (3 * extent);
            g.slice(joined, axis, start, 1 + z % (3 * extent - start))
        }
        12 if rank > 1 => {
            let masked = g.causal_mask(a);
            let pattern = g.softmax(masked);
            part(g, pattern, y, z)
        }
        13 if rank > 0 => {
            let ids = if y % 2 == 0 { g.slice(ids, z % 2, 1, 1) } else { g.transpose(ids) };
            let table = part(g, a, 0, extent - 1);
            let wide = g.shape(table)[0] >= 3;
            wide.then(|| g.gather(table, ids))?
        }
        14 if rank > 1 => {
            let mut order: Vec<usize> = (0..rank).collect();
            order.rotate_left(1 + y % (rank - 1));
            g.permute(a, &order)
        }
        15 if rank > 0 => match y % 3 {
            0 => g.reshape(a, &[shape.iter().product()]),
            1 => {
                let mut wide = shape;
                wide.insert(axis, 1);
                g.reshape(a, &wide)
            }
            _ => g.keep_axes(a, &[axis, rank]),
        },
        16 if rank == 2 => g.einsum("ab,cb->ca", a, a),
        16 if rank == 3 => {
            let t = g.tanh(a);
            g.einsum(["abc,adc->abd", "abc,adc->adb", "abc,dbc->bda", "abc,abd->cd"][y % 4], a, t)
        }
        17 if rank > 0 => g.softmax(a),
        18 if rank > 0 => {
            if y % 2 == 0 {
                g.sum(a, &[axis])
            } else {
                g.mean(a, &[axis])
            }
        }
        19 => {
            let square = g.square(a);
            g.log1p(square)
        }
        20 => g.add(a, b),
        21 => g.mul(a, b),
        22 | 23 if rank > 0 => g.windows(a, axis, 1 + y % 3, 1 + z % 3, 1 + y % 2),
        24 | 25 if axis + 1 < rank => {
            let (stride, dilation) = (1 + y % 3, 1 + z % 2);
            let reach = (extent - 1) * stride + (shape[axis + 1] - 1) * dilation + 1;
            g.overlap(a, axis, stride, dilation, reach + z % 3)
        }
        26 if rank > 1 => g.max(a, &[axis]),
        27 if rank > 1 => g.rotary(a, 0, shape[rank - 1] / 2 * 2, 10.0),
        _ => g.tanh(a),
    })
}

proptest! {
    #![proptest_config(cases(300))]
    #[test]
    fn slices_and_paddings_change_no_result(
        ops in prop::collection::vec(any::<[u8; 6]>(), 1..20), read in any::<u32>(), seed in 0_u32..1000,
    ) {
        let mut g = Graph::new();
        let mut pool = vec![g.param("a", &[3, 4]), g.param("b", &[2, 3, 4]), g.param("c", &[5, 2]), g.input("x", &[4, 1])];
        let ids = g.input_ids("ids", &[2, 3]);
        for bytes in ops {
            let checkpoint = g.clone();
            let node = grow(&mut g, &pool, ids, bytes);
            match node.filter(|_| g.check().is_ok()) {
                Some(node) if g.shape(node).iter().product::<usize>() <= 400 && g.shape(node).len() <= 6 => pool.push(node),
                _ => g = checkpoint,
            }
        }
        // The loss reads some of the pool, and often only the last entry of an axis of it.
        let mut loss = g.constant(0.0);
        for (i, &node) in pool.iter().enumerate() {
            let bits = read.rotate_right(i as u32);
            let last = i + 1 == pool.len();
            if bits & 1 == 0 && !last {
                continue;
            }
            let shape = g.shape(node).to_vec();
            let narrow = bits & 2 == 0 && !shape.is_empty();
            let node = if narrow { g.select_index(node, i % shape.len(), shape[i % shape.len()] - 1) } else { node };
            let tame = g.tanh(node);
            let mean = g.mean_all(tame);
            loss = g.add(loss, mean);
        }
        let params = g.param_nodes();
        let shapes: Vec<Vec<usize>> = params.iter().map(|&p| g.shape(p).to_vec()).collect();
        let directions: Vec<Node> = shapes.iter().enumerate().map(|(i, s)| g.input(&format!("v{i}"), s)).collect();
        let curvature = g.hessian_vector(loss, &params, &directions).unwrap();
        let slope = g.tangent(&[loss], &params, &directions).unwrap();
        let outputs = [&curvature[..], &slope, &[loss]].concat();
        let gradients = g.gradient(loss, &params).unwrap();
        let everything = [&outputs[..], &gradients].concat();

        let values = random_values(&g, seed, 3);
        let wide = widened(&values);
        let (mut got, gradient) = run_all(&g, &outputs, Gradient::All(loss), &values);
        got.push(gradient);
        let gather = |results: Vec<Vec<f64>>| {
            let mut results = results;
            let gradient = results.split_off(outputs.len()).concat();
            results.push(gradient);
            results
        };
        let want = gather(g.interpret(&wide, &everything).unwrap());
        let narrow = g.interpret(&values, &everything).unwrap();
        let narrow = gather(narrow.iter().map(|v| v.iter().map(|&x| f64::from(x)).collect()).collect());
        // Roundings that f32 makes in any order are judged by the f32 interpreter, per result and over all of H·v.
        let all = |results: &[Vec<f64>]| results[..params.len()].concat();
        let scale = |v: &[f64]| v.iter().fold(1e-3_f64, |a, x| a.max(x.abs()));
        let top = scale(&all(&want));
        for (i, (got, (want, narrow))) in got.iter().zip(want.iter().zip(&narrow)).enumerate() {
            let scale = if i < params.len() { top } else { scale(want) };
            let noise = want.iter().zip(narrow).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / scale;
            let error = want.iter().zip(got).map(|(a, b)| (a - f64::from(*b)).abs()).fold(0.0, f64::max) / scale;
            prop_assert!(error < 2e-5 + 20.0 * noise, "result {i}: {error}, f32 {noise}");
            prop_assert!(got.iter().all(|x| x.is_finite()));
        }
    }
}
