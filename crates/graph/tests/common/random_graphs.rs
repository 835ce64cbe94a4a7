//! Random valid graphs from bytes, with all operations. Shared by the test of a few hundred graphs and by the fuzz target,
//! so it needs nothing but the crate itself.

use std::collections::BTreeMap;

use ontogeny_graph::{Convolution, DType, Graph, Node, Purpose, Stream, Value};

/// Extents: mostly small; then just beyond a vector, two, a block of lanes, a block of rows.
const EXTENTS: [usize; 24] = [1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 5, 6, 7, 8, 9, 12, 16, 17, 24, 31, 33, 64, 65, 130];
/// Elements of the largest node, and multiply-adds of the largest product: the interpreter is slow.
const MAX_ELEMENTS: usize = 6000;
const MAX_PRODUCT: usize = 300_000;
const MAX_RANK: usize = 6;
/// Operations of the largest graph, before derivatives.
const MAX_OPERATIONS: usize = 28;
/// Elements of all nodes of the largest graph.
const MAX_TOTAL: usize = 60_000;

/// A source of small numbers; zeros when it has run out.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> usize {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(first)
    }

    fn below(&mut self, n: usize) -> usize {
        self.next() % n.max(1)
    }

    fn flag(&mut self) -> bool {
        self.next() % 2 == 1
    }

    /// A random order of 0..n.
    fn order(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }
}

/// A graph with what is asked of it. Results are known by name: `out 0`, `out 1`, …, and `loss`.
pub(crate) struct Case {
    pub(crate) graph: Graph,
    pub(crate) values: BTreeMap<String, Value<f32>>,
    pub(crate) n_outputs: usize,
    pub(crate) wanted: Wanted,
    /// Whether tangents and Hessian-vector products along the inputs `along PARAMETER` are asked for.
    pub(crate) has_second_order: bool,
}

/// Whose gradient is asked for.
pub(crate) enum Wanted {
    None,
    All,
    Only(Vec<String>),
}

/// Builds a graph from bytes. Every sequence of bytes gives one.
pub(crate) fn case(bytes: &[u8]) -> Case {
    let mut bytes = Bytes(bytes);
    let seed = bytes.next() as u32;
    let n_ids = [3, 1, 2, 7][bytes.below(4)];
    let mut builder = Builder::new(&mut bytes, n_ids);
    for _ in 0..MAX_OPERATIONS {
        if bytes.0.is_empty() {
            break;
        }
        builder.grow(&mut bytes);
    }
    let Builder { mut graph, mut pool, .. } = builder;
    // The loss reads some of the pool, often only the last entry of an axis of it.
    let read = u32::from_le_bytes([0; 4].map(|_: u8| bytes.next() as u8)) | 1 << (pool.len() - 1).min(31);
    let mut loss = graph.constant(0.0);
    let mut outputs = Vec::new();
    for (i, node) in pool.drain(..).enumerate() {
        if read >> (i % 32) & 1 == 0 {
            continue;
        }
        if bytes.below(3) == 1 {
            outputs.push(node);
        }
        let shape = graph.shape(node).to_vec();
        let is_narrow = bytes.flag() && !shape.is_empty();
        let axis = i % shape.len().max(1);
        let part = if is_narrow { graph.select_index(node, axis, shape[axis] - 1) } else { node };
        let tame = graph.tanh(part);
        let mean = graph.mean_all(tame);
        let weighted = graph.scale(mean, 1.0 / (1 + i) as f64);
        loss = graph.add(loss, weighted);
    }
    graph.named(loss, "loss");
    for (i, &node) in outputs.iter().enumerate() {
        graph.named(node, &format!("out {i}"));
    }
    if bytes.below(4) == 1
        && let Ok(target) = graph.find("hook 0")
    {
        let half = graph.scale(target, 0.5);
        graph = graph.replace("hook 0", half).expect("the replacement has the shape of what it replaces");
    }
    let params: Vec<String> = graph.param_names().map(str::to_owned).collect();
    let wanted = match bytes.below(4) {
        0 | 1 => Wanted::All,
        2 => Wanted::Only(params.iter().filter(|_| bytes.flag()).cloned().collect()),
        _ => Wanted::None,
    };
    let has_second_order = bytes.flag();
    if has_second_order {
        for (name, node) in params.iter().zip(graph.param_nodes()) {
            let shape = graph.shape(node).to_vec();
            graph.input(&format!("along {name}"), &shape);
        }
    }
    graph.check().expect("only valid operations are built");
    let values = random_values(&graph, seed, n_ids);
    Case { graph, values, n_outputs: outputs.len(), wanted, has_second_order }
}

struct Builder {
    graph: Graph,
    /// Float nodes to choose operands from.
    pool: Vec<Node>,
    ids: Vec<Node>,
    n_ids: usize,
    n_hooks: usize,
    total: usize,
}

impl Builder {
    fn new(bytes: &mut Bytes<'_>, n_ids: usize) -> Self {
        if bytes.below(4) == 1 {
            return Self::tall(n_ids);
        }
        let mut graph = Graph::new();
        // A few extents for all leaves, so that shapes meet.
        let extents: Vec<usize> = (0..4).map(|_| EXTENTS[bytes.below(EXTENTS.len())]).collect();
        let shape = |bytes: &mut Bytes<'_>, rank: usize| {
            let mut shape: Vec<usize> = (0..rank).map(|_| extents[bytes.below(4)]).collect();
            while shape.iter().product::<usize>() > MAX_ELEMENTS {
                shape.pop();
            }
            shape
        };
        let mut pool = Vec::new();
        for i in 0..2 + bytes.below(3) {
            let rank = [2, 2, 3, 1, 4, 0][bytes.below(6)];
            let shape = shape(bytes, rank);
            pool.push(graph.param(&format!("p{i}"), &shape));
        }
        for i in 0..bytes.below(3) {
            let rank = [2, 3, 1][bytes.below(3)];
            let shape = shape(bytes, rank);
            pool.push(graph.input(&format!("x{i}"), &shape));
        }
        let rank = 1 + bytes.below(2);
        let shape = shape(bytes, rank);
        let ids = vec![graph.input_ids("ids", &shape)];
        Self { graph, pool, ids, n_ids, n_hooks: 0, total: 0 }
    }

    /// A batch of 70 examples, whose few entries are stored on their side, and rows looked up in a small table, whose
    /// products are looked up instead.
    fn tall(n_ids: usize) -> Self {
        const BATCH: usize = 70;
        let mut graph = Graph::new();
        let x = graph.input("x", &[BATCH, 6]);
        let ids = graph.input_ids("ids", &[BATCH, 2]);
        let embed = graph.param("embed", &[7, 18]);
        let position = graph.param("position", &[2, 18]);
        let heads = graph.param("heads", &[3, 18, 5]);
        let rows = graph.gather(embed, ids);
        let rows = graph.add(rows, position);
        let queries = graph.einsum("btd,hde->bthe", rows, heads);
        let keys = graph.einsum("btd,hde->bhte", rows, heads);
        let pool = vec![x, rows, queries, keys].into_iter().map(|node| graph.scale(node, 0.3)).collect();
        Self { graph, pool, ids: vec![ids], n_ids, n_hooks: 0, total: 0 }
    }

    /// One more operation, if the bytes make a valid one that is not too large.
    fn grow(&mut self, bytes: &mut Bytes<'_>) {
        let (before, n_ids) = (self.graph.clone(), self.ids.len());
        let node = self.operation(bytes);
        let fits = |graph: &Graph, node: Node| {
            let n: usize = graph.shape(node).iter().product();
            graph.shape(node).len() <= MAX_RANK && n <= MAX_ELEMENTS && self.total + n <= MAX_TOTAL
        };
        let Some(node) = node.filter(|&node| self.graph.check().is_ok() && fits(&self.graph, node)) else {
            self.graph = before;
            self.ids.truncate(n_ids);
            return;
        };
        self.total += self.graph.shape(node).iter().product::<usize>();
        self.pool.push(node);
        if bytes.below(8) == 1 {
            self.graph.named(node, &format!("hook {}", self.n_hooks));
            self.n_hooks += 1;
        }
    }

    fn pick(&self, bytes: &mut Bytes<'_>) -> Node {
        // New nodes more often than old ones: deep graphs rather than wide ones.
        let n = self.pool.len();
        let back = bytes.next();
        if back < 160 { self.pool[n - 1 - back % n.min(4)] } else { self.pool[back % n] }
    }

    /// `None` where the operation does not fit the node picked.
    fn operation(&mut self, bytes: &mut Bytes<'_>) -> Option<Node> {
        let kind = bytes.below(56);
        let a = self.pick(bytes);
        let shape = self.graph.shape(a).to_vec();
        let rank = shape.len();
        let axis = bytes.below(rank);
        if rank == 0 && (13..=46).contains(&kind) {
            return None;
        }
        let g = &mut self.graph;
        Some(match kind {
            3 => g.tanh(a),
            4 => g.relu(a),
            5 => g.gelu(a),
            6 => g.gelu_tanh(a),
            7 => {
                let tame = g.tanh(a);
                g.exp(tame)
            }
            8 => {
                let square = g.square(a);
                match bytes.below(3) {
                    0 => g.log1p(square),
                    1 => {
                        let one = g.constant(1.0);
                        let positive = g.add(square, one);
                        g.log(positive)
                    }
                    _ => {
                        let some = g.constant(0.5);
                        let positive = g.add(square, some);
                        let root = g.sqrt(positive);
                        g.recip(root)
                    }
                }
            }
            9 => match bytes.below(4) {
                0 => g.sigmoid(a),
                1 => g.silu(a),
                2 => g.erf(a),
                _ => g.abs(a),
            },
            10 => {
                let factor = [0.7, -1.0, 0.0, 2.0][bytes.below(4)];
                g.scale(a, factor)
            }
            11 => {
                // A shared subexpression, written twice.
                let (left, right) = (g.tanh(a), g.tanh(a));
                g.mul(left, right)
            }
            12 => g.neg(a),
            13 | 14 => self.products(bytes, a)?,
            15..=19 => {
                let b = self.pick(bytes);
                return self.einsum(bytes, a, b);
            }
            20 => {
                let n_out = EXTENTS[bytes.below(EXTENTS.len())];
                if shape.iter().product::<usize>() * n_out > MAX_PRODUCT {
                    return None;
                }
                let name = format!("linear {}", self.pool.len());
                let sum = g.linear(&name, a, n_out);
                g.scale(sum, 1.0 / (shape[rank - 1] as f64).sqrt())
            }
            21 => g.softmax(a),
            22 => g.log_softmax(a),
            23 if rank > 1 => {
                let masked = g.causal_mask(a);
                g.softmax(masked)
            }
            24 => g.normalize(a, 0.1),
            25 => g.rms_normalize(a, 0.1),
            26 | 27 => {
                let axes: Vec<usize> = (0..rank).filter(|&i| i == axis || bytes.below(4) == 1).collect();
                match bytes.below(4) {
                    0 | 1 => {
                        let n: usize = axes.iter().map(|&axis| shape[axis]).product();
                        let sum = g.sum(a, &axes);
                        g.scale(sum, 1.0 / (n as f64).sqrt())
                    }
                    2 => g.mean(a, &axes),
                    _ => g.max(a, &axes),
                }
            }
            28..=30 => {
                let start = bytes.below(shape[axis]);
                g.slice(a, axis, start, 1 + bytes.below(shape[axis] - start))
            }
            31 => g.select_index(a, axis, bytes.below(shape[axis])),
            32 => g.pad(a, axis, bytes.below(3), bytes.below(3)),
            33 | 34 => {
                let b = self.pick(bytes);
                let parts = match bytes.below(3) {
                    0 => vec![a, b],
                    1 => vec![a, a],
                    _ => vec![b, a, b],
                };
                let joined = self.graph.concat(&parts, axis);
                if self.graph.check().is_ok() && bytes.flag() {
                    let extent = self.graph.shape(joined)[axis];
                    let start = bytes.below(extent);
                    self.graph.slice(joined, axis, start, 1 + bytes.below(extent - start))
                } else {
                    joined
                }
            }
            35 | 36 => g.permute(a, &bytes.order(rank)),
            37 | 38 => self.reshape(bytes, a),
            39 => {
                let mut wide = shape;
                let ones: Vec<usize> = (0..rank).filter(|&i| wide[i] == 1).collect();
                for axis in ones {
                    wide[axis] = EXTENTS[bytes.below(EXTENTS.len())];
                }
                if bytes.flag() {
                    wide.insert(0, 1 + bytes.below(9));
                }
                g.broadcast(a, &wide)
            }
            40 | 41 if shape[0] >= self.n_ids => {
                let ids = self.some_ids(bytes);
                self.graph.gather(a, ids)
            }
            42 | 43 if rank > 1 && shape[rank - 1] >= self.n_ids => {
                let targets = self.graph.broadcast(self.ids[0], &shape[..rank - 1]);
                self.graph.cross_entropy(a, targets)
            }
            44 => g.windows(a, axis, 1 + bytes.below(4), 1 + bytes.below(3), 1 + bytes.below(2)),
            45 if axis + 1 < rank => {
                let (stride, dilation) = (1 + bytes.below(3), 1 + bytes.below(2));
                let reach = (shape[axis] - 1) * stride + (shape[axis + 1] - 1) * dilation + 1;
                g.overlap(a, axis, stride, dilation, reach + bytes.below(3))
            }
            46 if rank > 1 => g.rotary(a, axis, shape[rank - 1] / 2 * 2, 100.0),
            47 if rank > 1 => return self.images(bytes, a),
            48 if rank == 3 => {
                // Queries, keys and values of one attention with a single kv head.
                let q = g.reshape(a, &[1, shape[0], shape[1], shape[2]]);
                let k = g.slice(q, 2, bytes.below(shape[1]), 1);
                let scores = g.grouped_scores(q, k);
                let pattern = g.softmax(scores);
                g.grouped_values(pattern, k)
            }
            49 if rank > 0 => {
                let line = g.iota(&shape, axis);
                let small = g.scale(line, 1.0 / shape[axis] as f64);
                g.add(a, small)
            }
            50 => {
                let b = self.pick(bytes);
                let condition = match bytes.below(3) {
                    0 => self.graph.greater(a, b),
                    1 => self.graph.equal(a, b),
                    _ => self.graph.relu(b),
                };
                let c = self.pick(bytes);
                self.graph.select(condition, a, c)
            }
            51 if rank > 1 && shape[rank - 2..].iter().all(|&n| n > 1) => {
                let transposed = g.transpose(a);
                let tame = g.tanh(transposed);
                g.transpose(tame)
            }
            _ => {
                let b = self.pick(bytes);
                self.pointwise(bytes, a, b)
            }
        })
    }

    fn pointwise(&mut self, bytes: &mut Bytes<'_>, a: Node, b: Node) -> Node {
        let g = &mut self.graph;
        match bytes.below(6) {
            0 | 1 => g.add(a, b),
            2 => g.sub(a, b),
            3 | 4 => g.mul(a, b),
            _ => {
                let square = g.square(b);
                let one = g.constant(1.0);
                let positive = g.add(square, one);
                g.div(a, positive)
            }
        }
    }

    /// Products of a node with itself, which meet the same operand on both sides.
    fn products(&mut self, bytes: &mut Bytes<'_>, a: Node) -> Option<Node> {
        let g = &mut self.graph;
        let shape = g.shape(a).to_vec();
        let n: usize = shape.iter().product();
        let last = *shape.last()?;
        let labels = match (shape.len(), bytes.below(3)) {
            (1, _) => "a,b->ab",
            (2, 0) => "ab,cb->ac",
            (2, 1) => "ab,cb->ca",
            (2, _) => "ab,ac->bc",
            (3, 0) => "abc,adc->abd",
            (3, 1) => "abc,abd->cd",
            (3, _) => "abc,dbc->bda",
            (4, 0) => "abcd,abce->abde",
            (4, _) => "abcd,aecd->ace",
            _ => return None,
        };
        if n.saturating_mul(n.min(200)) > MAX_PRODUCT {
            return None;
        }
        let product = g.einsum(labels, a, a);
        Some(g.scale(product, 1.0 / last as f64))
    }

    /// An einsum with labels from the bytes: shared, batched, contracted, dropped, in any order.
    fn einsum(&mut self, bytes: &mut Bytes<'_>, a: Node, b: Node) -> Option<Node> {
        let (shape_a, shape_b) = (self.graph.shape(a).to_vec(), self.graph.shape(b).to_vec());
        let label = |i: usize| char::from(b'a' + i as u8);
        let labels_a: Vec<usize> = (0..shape_a.len()).collect();
        let mut labels_b = Vec::new();
        for (i, &extent) in shape_b.iter().enumerate() {
            let twins: Vec<usize> =
                labels_a.iter().copied().filter(|&l| shape_a[l] == extent && !labels_b.contains(&l)).collect();
            let meets = !twins.is_empty() && bytes.below(4) != 3;
            labels_b.push(if meets { twins[bytes.below(twins.len())] } else { shape_a.len() + i });
        }
        let mut out = Vec::new();
        let mut work = 1_usize;
        let mut contracted = 1;
        for l in 0..shape_a.len() + shape_b.len() {
            let (in_a, in_b) = (labels_a.contains(&l), labels_b.contains(&l));
            if !in_a && !in_b {
                continue;
            }
            let extent = if in_a { shape_a[l] } else { shape_b[l - shape_a.len()] };
            work = work.saturating_mul(extent);
            let keeps = if in_a && in_b { bytes.below(3) == 1 } else { bytes.below(8) != 7 };
            if keeps {
                out.push(l);
            } else {
                contracted *= extent;
            }
        }
        if work > MAX_PRODUCT {
            return None;
        }
        let order = bytes.order(out.len());
        let text = |labels: &[usize]| labels.iter().map(|&l| label(l)).collect::<String>();
        let out: Vec<usize> = order.into_iter().map(|i| out[i]).collect();
        let labels = format!("{},{}->{}", text(&labels_a), text(&labels_b), text(&out));
        let product = self.graph.einsum(&labels, a, b);
        Some(self.graph.scale(product, 1.0 / (contracted as f64).sqrt()))
    }

    fn reshape(&mut self, bytes: &mut Bytes<'_>, a: Node) -> Node {
        let g = &mut self.graph;
        let mut shape = g.shape(a).to_vec();
        let axis = bytes.below(shape.len());
        match bytes.below(4) {
            0 => shape = vec![shape.iter().product()],
            1 => shape.insert(axis, 1),
            2 if axis + 1 < shape.len() => {
                let next = shape.remove(axis + 1);
                shape[axis] *= next;
            }
            _ => {
                let divisors: Vec<usize> = (1..=shape[axis]).filter(|&d| shape[axis].is_multiple_of(d)).collect();
                let d = divisors[bytes.below(divisors.len())];
                shape[axis] /= d;
                shape.insert(axis + 1, d);
            }
        }
        g.reshape(a, &shape)
    }

    fn some_ids(&mut self, bytes: &mut Bytes<'_>) -> Node {
        let g = &mut self.graph;
        let ids = self.ids[bytes.below(self.ids.len())];
        let shape = g.shape(ids).to_vec();
        let edited = match bytes.below(6) {
            0 if shape.len() > 1 => g.transpose(ids),
            1 if !shape.is_empty() => {
                let axis = bytes.below(shape.len());
                let start = bytes.below(shape[axis]);
                g.slice(ids, axis, start, 1 + bytes.below(shape[axis] - start))
            }
            2 => g.reshape(ids, &[shape.iter().product()]),
            3 => g.broadcast(ids, &[&[2], &shape[..]].concat()),
            _ => ids,
        };
        if edited != ids {
            self.ids.push(edited);
        }
        edited
    }

    /// Convolution or pooling of a node read as images.
    fn images(&mut self, bytes: &mut Bytes<'_>, a: Node) -> Option<Node> {
        let shape = self.graph.shape(a).to_vec();
        let (height, width) = (shape[shape.len() - 2], shape[shape.len() - 1]);
        let n: usize = shape[..shape.len() - 2].iter().product();
        let channels = if n.is_multiple_of(2) { 2 } else { 1 };
        let b = self.pick(bytes);
        let g = &mut self.graph;
        let x = g.reshape(a, &[n / channels, channels, height, width]);
        let (stride, padding) = (1 + bytes.below(2), bytes.below(2));
        match bytes.below(4) {
            0 => Some(g.max_pool2d(x, [2, 1 + bytes.below(3)], [stride, 2], [padding, 0])),
            1 => Some(g.avg_pool2d(x, [2, 1 + bytes.below(3)], [stride, 1], [padding, 0])),
            _ => {
                let groups = 1 + bytes.below(channels);
                let (rows, columns) = (1 + bytes.below(2), 1 + bytes.below(3));
                let n_out = 2 * (1 + bytes.below(3));
                let per_group = channels / groups;
                let k = n_out * per_group * rows * columns;
                let n_b = g.shape(b).iter().product::<usize>();
                if k > n_b || n * height * width * k > 2 * MAX_PRODUCT {
                    return None;
                }
                let kernel = g.reshape(b, &[n_b]);
                let kernel = g.slice(kernel, 0, 0, k);
                let kernel = g.reshape(kernel, &[n_out, per_group, rows, columns]);
                let dilation = [1, 1 + bytes.below(2)];
                let y =
                    g.conv2d(x, kernel, Convolution { stride: [stride, 1], padding: [padding, 1], dilation, groups });
                Some(g.scale(y, 1.0 / ((per_group * rows * columns) as f64).sqrt()))
            }
        }
    }
}

/// Normal numbers for every float, a sixteenth of them exactly 0 where ties matter; ids below `n_ids`.
fn random_values(graph: &Graph, seed: u32, n_ids: usize) -> BTreeMap<String, Value<f32>> {
    let mut values = BTreeMap::new();
    let is_leaf = |name: &str| !name.starts_with("hook") && !name.starts_with("out ") && name != "loss";
    for (i, (name, node)) in graph.names().filter(|(name, _)| is_leaf(name)).enumerate() {
        let len: usize = graph.shape(node).iter().product();
        let stream = Stream::new(seed, Purpose::Data, i as u64);
        let value = match graph.dtype(node) {
            DType::Ids => Value::Ids((0..len).map(|at| stream.below(n_ids, 0, at as u32) as i32).collect()),
            DType::Float => {
                let mut x = vec![0.0; len];
                stream.normals(0, 0, &mut x);
                if seed.is_multiple_of(4) {
                    x.iter_mut().skip(i % 7).step_by(16).for_each(|x| *x = 0.0);
                }
                Value::Float(x)
            }
        };
        values.insert(name.to_owned(), value);
    }
    values
}
