//! Random graphs from bytes, compared with the reference interpreter: for property tests and for the fuzzer.

use ontogeny_graph::{Convolution, Gradient, Graph, Node};

use super::{difference, random_values, reference_gradient, run, widened};

/// A graph of small arrays that grows by one operation for each four bytes: every kind of node.
pub fn check_small(ops: &[[u8; 4]], seed: u32) {
    let mut g = Graph::new();
    let mut pool = vec![
        g.param("a", &[3, 4]),
        g.param("b", &[4]),
        g.param("c", &[2, 3, 4]),
        g.input("x", &[3, 1]),
        g.param("d", &[5, 4]),
    ];
    let ids = g.input_ids("ids", &[3, 2]);
    let gathered = g.gather(pool[4], ids);
    pool.push(gathered);
    for &bytes in ops {
        let checkpoint = g.clone();
        grow(&mut g, &mut pool, bytes, 2000);
        if g.check().is_err() {
            g = checkpoint;
        }
    }
    check(g, &pool, seed, 5);
}

/// A graph over a batch of 70 examples: rows looked up in a small table, narrow layers, products large enough for tiles.
pub fn check_tall(ops: &[[u8; 4]], seed: u32) {
    const BATCH: usize = 70;
    let mut g = Graph::new();
    let x = g.input("x", &[BATCH, 6]);
    let tokens = g.input_ids("tokens", &[BATCH, 2]);
    let embed = g.param("embed", &[7, 18]);
    let position = g.param("position", &[2, 18]);
    let rows = g.gather(embed, tokens);
    let rows = g.add(rows, position);
    let heads = g.param("heads", &[3, 18, 5]);
    let queries = g.einsum("btd,hde->bthe", rows, heads);
    let keys = g.einsum("btd,hde->bhte", rows, heads);
    let mut pool = vec![x, rows, queries, keys];
    for (i, &[kind, which, width, variant]) in ops.iter().enumerate() {
        let a = pool[which as usize % pool.len()];
        let shape = g.shape(a).to_vec();
        let rank = shape.len();
        let checkpoint = g.clone();
        let mut made = vec![a];
        match kind % 10 {
            // A dense layer, narrow or wide.
            0..=2 if rank > 0 => {
                let w = g.param(&format!("w{i}"), &[shape[rank - 1], 1 + width as usize % 40]);
                let bias = g.param(&format!("b{i}"), &[1 + width as usize % 40]);
                let product = g.matmul(a, w);
                let sum = g.add(product, bias);
                made[0] = if variant % 2 == 0 { g.relu(sum) } else { sum };
            }
            // Tied weights, as in an autoencoder.
            3 if rank == 2 => {
                let w = g.param(&format!("w{i}"), &[1 + width as usize % 20, shape[1]]);
                let hidden = g.einsum("bi,hi->bh", a, w);
                made[0] = g.einsum("bh,hi->bi", hidden, w);
            }
            4 if rank == 2 => made[0] = g.einsum("bi,bj->ij", a, a),
            5 if rank == 4 => {
                let scores = g.einsum("bthe,bshe->bhts", a, queries);
                let pattern = g.softmax(scores);
                made[0] = g.einsum("bhts,bshe->bthe", pattern, queries);
            }
            6 if rank > 1 => made[0] = g.slice(a, rank - 1, 0, 1 + width as usize % shape[rank - 1]),
            7 if rank > 1 => {
                let last = g.select_index(a, 1, shape[1] - 1);
                made[0] = last;
            }
            8 => {
                let b = pool[width as usize % pool.len()];
                made[0] = g.add(a, b);
            }
            _ => grow(&mut g, &mut made, [kind / 10, 0, width, variant], 60_000),
        }
        let node = made[made.len() - 1];
        let is_small = g.shape(node).iter().product::<usize>() <= 60_000 && g.shape(node).len() <= 5;
        if g.check().is_ok() && is_small {
            pool.push(node);
        } else {
            g = checkpoint;
        }
    }
    check(g, &pool, seed, 7);
}

/// The loss reads all of the pool, tamed; its value and gradient are compared.
fn check(mut g: Graph, pool: &[Node], seed: u32, n_ids: usize) {
    let mut loss = g.constant(0.0);
    for (i, &node) in pool.iter().enumerate() {
        let tame = g.tanh(node);
        let mean = g.mean_all(tame);
        let weighted = g.scale(mean, 1.0 / (1 + i) as f64);
        loss = g.add(loss, weighted);
    }
    let values = random_values(&g, seed, n_ids);
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
    let shift = f64::from((g.interpret(&values, &[loss]).unwrap()[0][0] - want[0] as f32).abs());
    assert!((f64::from(y[0]) - want[0]).abs() < 1e-6 + 10.0 * shift, "{} {}, f32 off by {shift}", y[0], want[0]);
    let error = difference(&gradient, &reference);
    assert!(error < 1e-4 + 50.0 * noise, "gradient off by {error}, f32 by {noise}");
}

/// One random operation on a pool of nodes, chosen by bytes.
fn grow(g: &mut Graph, pool: &mut Vec<Node>, bytes: [u8; 4], largest: usize) {
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
    if g.check().is_ok() && g.shape(node).iter().product::<usize>() <= largest && g.shape(node).len() <= 5 {
        pool.push(node);
    }
}
