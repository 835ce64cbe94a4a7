//! Building graphs: the operations a network is written with, each checking its shapes.

use std::sync::Arc;

use crate::einsum::EinsumSpec;
use crate::graph::{Binary, DType, Graph, GraphError, Node, Op, Shape, Unary, Values};

/// Elementwise operations. Two operands are broadcast against each other, aligned at the last axis.
impl Graph {
    /// A scalar constant; broadcasts against anything.
    pub fn constant(&mut self, value: f64) -> Node {
        self.push(Op::Constant(value), Vec::new(), DType::Float)
    }

    /// A table of constants of that shape, row-major.
    pub fn values(&mut self, shape: &[usize], values: Arc<[f32]>) -> Node {
        let size = shape.iter().try_fold(1_usize, |size, &extent| size.checked_mul(extent));
        if size != Some(values.len()) {
            self.fail(GraphError::Shape {
                operation: "values".to_owned(),
                node: None,
                found: format!("{} values", values.len()),
                expected: format!("as many as {} has", Shape(shape)),
            });
            return self.constant(f64::NAN);
        }
        self.push(Op::Values(Values(values)), shape.to_vec(), DType::Float)
    }

    /// `a + b`.
    pub fn add(&mut self, a: Node, b: Node) -> Node {
        self.binary(Binary::Add, a, b)
    }

    /// `a − b`.
    pub fn sub(&mut self, a: Node, b: Node) -> Node {
        self.binary(Binary::Sub, a, b)
    }

    /// `a · b`, elementwise.
    pub fn mul(&mut self, a: Node, b: Node) -> Node {
        self.binary(Binary::Mul, a, b)
    }

    /// `a / b`, elementwise.
    pub fn div(&mut self, a: Node, b: Node) -> Node {
        self.binary(Binary::Div, a, b)
    }

    /// 1 where `a > b`, else 0; its derivative is 0.
    pub fn greater(&mut self, a: Node, b: Node) -> Node {
        self.binary(Binary::Greater, a, b)
    }

    /// 1 where `a = b`, else 0; its derivative is 0.
    pub fn equal(&mut self, a: Node, b: Node) -> Node {
        self.binary(Binary::Equal, a, b)
    }

    /// `factor · a`.
    pub fn scale(&mut self, a: Node, factor: f64) -> Node {
        let factor = self.constant(factor);
        self.mul(a, factor)
    }

    /// `condition` where non-zero picks `a`, else `b`; the derivative flows to the picked one only.
    pub fn select(&mut self, condition: Node, a: Node, b: Node) -> Node {
        let Some(shape) = self.common_shape("select", &[condition, a, b]) else {
            return condition;
        };
        let [condition, a, b] = [condition, a, b].map(|n| self.broadcast(n, &shape));
        self.push(Op::Select(condition, a, b), shape, DType::Float)
    }

    /// −a.
    pub fn neg(&mut self, a: Node) -> Node {
        self.unary(Unary::Neg, a)
    }

    /// eᵃ.
    pub fn exp(&mut self, a: Node) -> Node {
        self.unary(Unary::Exp, a)
    }

    /// Natural logarithm.
    pub fn log(&mut self, a: Node) -> Node {
        self.unary(Unary::Log, a)
    }

    /// ln(1 + a), precise for small `a`.
    pub fn log1p(&mut self, a: Node) -> Node {
        self.unary(Unary::Log1p, a)
    }

    /// √a.
    pub fn sqrt(&mut self, a: Node) -> Node {
        self.unary(Unary::Sqrt, a)
    }

    /// 1/a.
    pub fn recip(&mut self, a: Node) -> Node {
        self.unary(Unary::Recip, a)
    }

    /// Hyperbolic tangent.
    pub fn tanh(&mut self, a: Node) -> Node {
        self.unary(Unary::Tanh, a)
    }

    /// Gauss error function.
    pub fn erf(&mut self, a: Node) -> Node {
        self.unary(Unary::Erf, a)
    }

    /// Logistic function 1/(1 + e⁻ᵃ); it and its derivatives keep their digits in both tails.
    pub fn sigmoid(&mut self, a: Node) -> Node {
        self.unary(Unary::Sigmoid, a)
    }

    /// Sigmoid linear unit, also called swish: a·σ(a) (Hendrycks & Gimpel 2016; Ramachandran et al. 2017).
    pub fn silu(&mut self, a: Node) -> Node {
        let gate = self.sigmoid(a);
        self.mul(a, gate)
    }

    /// max(a, 0) with derivative 0 at 0, as in PyTorch.
    pub fn relu(&mut self, a: Node) -> Node {
        self.unary(Unary::Relu, a)
    }

    /// |a| with derivative 0 at 0.
    pub fn abs(&mut self, a: Node) -> Node {
        self.unary(Unary::Abs, a)
    }

    /// a².
    pub fn square(&mut self, a: Node) -> Node {
        self.mul(a, a)
    }

    /// Gaussian error linear unit, exact: a·Φ(a) = a·½(1 + erf(a/√2)) (Hendrycks & Gimpel 2016), within 4 ulp
    /// for a ≥ −12.9 and 1.5e-44 below.
    pub fn gelu(&mut self, a: Node) -> Node {
        let share = self.unary(Unary::NormalCdf, a);
        self.mul(a, share)
    }

    /// The tanh approximation of GELU, PyTorch's `approximate="tanh"` and GPT-2's `gelu_new`:
    /// a·½(1 + tanh(√(2/π)(a + 0.044715 a³))), within 4 ulp for a ≥ −9.9 and 1.5e-44 below.
    pub fn gelu_tanh(&mut self, a: Node) -> Node {
        let share = self.unary(Unary::NormalCdfTanh, a);
        self.mul(a, share)
    }

    /// Softmax linear unit: a·softmax(a) over the last axis (Elhage et al. 2022).
    pub fn solu(&mut self, a: Node) -> Node {
        let weights = self.softmax(a);
        self.mul(a, weights)
    }

    pub(crate) fn unary(&mut self, op: Unary, a: Node) -> Node {
        let shape = self.shape(a).to_vec();
        self.push(Op::Unary(op, a), shape, DType::Float)
    }

    pub(crate) fn binary(&mut self, op: Binary, a: Node, b: Node) -> Node {
        let Some(shape) = self.common_shape("elementwise operation", &[a, b]) else {
            return a;
        };
        let a = self.broadcast(a, &shape);
        let b = self.broadcast(b, &shape);
        self.push(Op::Binary(op, a, b), shape, DType::Float)
    }

    fn common_shape(&mut self, operation: &str, nodes: &[Node]) -> Option<Vec<usize>> {
        let rank = nodes.iter().map(|&n| self.shape(n).len()).max().unwrap_or(0);
        let mut shape = vec![1; rank];
        for &node in nodes {
            let own = self.shape(node).to_vec();
            for (extent, &other) in shape[rank - own.len()..].iter_mut().zip(&own) {
                if *extent == 1 {
                    *extent = other;
                } else if other != 1 && *extent != other {
                    self.shape_error(operation, nodes, "shapes that broadcast, aligned at the last axis");
                    return None;
                }
            }
        }
        Some(shape)
    }
}

/// Shapes and positions.
impl Graph {
    /// Repeats extents of one up to `shape`, aligned at the last axis.
    pub fn broadcast(&mut self, a: Node, shape: &[usize]) -> Node {
        let own = self.shape(a);
        if own == shape {
            return a;
        }
        let fits = own.len() <= shape.len()
            && own.iter().rev().zip(shape.iter().rev()).all(|(&from, &to)| from == to || from == 1);
        if !fits {
            return self.shape_error("broadcast", &[a], &format!("a shape that broadcasts to {}", Shape(shape)));
        }
        let dtype = self.dtype(a);
        self.push(Op::Broadcast(a), shape.to_vec(), dtype)
    }

    /// The same elements in row-major order under another shape.
    pub fn reshape(&mut self, a: Node, shape: &[usize]) -> Node {
        if self.shape(a) == shape {
            return a;
        }
        let size = shape.iter().try_fold(1_usize, |size, &extent| size.checked_mul(extent));
        if size != Some(self.shape(a).iter().product()) {
            return self.shape_error("reshape", &[a], &format!("as many elements as {}", Shape(shape)));
        }
        let dtype = self.dtype(a);
        self.push(Op::Reshape(a), shape.to_vec(), dtype)
    }

    /// Reorders axes: axis `i` of the result is axis `order[i]` of `a`.
    pub fn permute(&mut self, a: Node, order: &[usize]) -> Node {
        let own = self.shape(a).to_vec();
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..own.len()) {
            return self.shape_error("permute", &[a], &format!("as many axes as the order {order:?}"));
        }
        let shape = order.iter().map(|&axis| own[axis]).collect();
        let dtype = self.dtype(a);
        self.push(Op::Permute(a, order.to_vec()), shape, dtype)
    }

    /// Swaps the last two axes.
    pub fn transpose(&mut self, a: Node) -> Node {
        let rank = self.shape(a).len();
        if rank < 2 {
            return self.shape_error("transpose", &[a], "at least two axes");
        }
        let mut order: Vec<usize> = (0..rank).collect();
        order.swap(rank - 2, rank - 1);
        self.permute(a, &order)
    }

    /// `extent` entries of `axis` from `start` on; the axis stays.
    pub fn slice(&mut self, a: Node, axis: usize, start: usize, extent: usize) -> Node {
        let mut shape = self.shape(a).to_vec();
        let end = start.saturating_add(extent);
        if axis >= shape.len() || end > shape[axis] {
            let expected = format!("an axis {axis} of at least {end} entries");
            return self.shape_error("slice", &[a], &expected);
        }
        shape[axis] = extent;
        let dtype = self.dtype(a);
        self.push(Op::Slice { of: a, axis, start }, shape, dtype)
    }

    /// One entry of `axis`, which is removed.
    pub fn select_index(&mut self, a: Node, axis: usize, index: usize) -> Node {
        let one = self.slice(a, axis, index, 1);
        let mut shape = self.shape(one).to_vec();
        if axis < shape.len() {
            shape.remove(axis);
        }
        self.reshape(one, &shape)
    }

    /// Zeros before and after along one axis.
    pub fn pad(&mut self, a: Node, axis: usize, before: usize, after: usize) -> Node {
        let mut shape = self.shape(a).to_vec();
        if axis >= shape.len() {
            return self.shape_error("pad", &[a], &format!("an axis {axis}"));
        }
        shape[axis] = shape[axis].saturating_add(before).saturating_add(after);
        self.push(Op::Pad { of: a, axis, before }, shape, DType::Float)
    }

    /// Joins nodes along one axis.
    pub fn concat(&mut self, parts: &[Node], axis: usize) -> Node {
        let Some(&first) = parts.first() else {
            self.fail(GraphError::Shape {
                operation: "concat".to_owned(),
                node: None,
                found: "no operands".to_owned(),
                expected: "at least one".to_owned(),
            });
            return self.constant(f64::NAN);
        };
        let mut shape = self.shape(first).to_vec();
        let fits = parts.iter().all(|&part| {
            let other = self.shape(part);
            other.len() == shape.len() && (0..shape.len()).all(|i| i == axis || other[i] == shape[i])
        });
        if axis >= shape.len() || !fits {
            return self.shape_error("concat", parts, &format!("shapes equal but along axis {axis}"));
        }
        shape[axis] = parts.iter().map(|&part| self.shape(part)[axis]).sum();
        self.push(Op::Concat { parts: parts.to_vec(), axis }, shape, DType::Float)
    }

    /// Floats 0, 1, 2, … along `axis`.
    pub fn iota(&mut self, shape: &[usize], axis: usize) -> Node {
        if axis >= shape.len() {
            self.fail(GraphError::Shape {
                operation: "iota".to_owned(),
                node: None,
                found: format!("axis {axis} of {}", Shape(shape)),
                expected: "one of its axes".to_owned(),
            });
        }
        self.push(Op::Iota { axis, start: 0 }, shape.to_vec(), DType::Float)
    }

    /// Scores `[…, query, key]` with −∞ where the key comes after the query.
    pub fn causal_mask(&mut self, scores: Node) -> Node {
        let shape = self.shape(scores).to_vec();
        let &[.., n_queries, n_keys] = shape.as_slice() else {
            return self.shape_error("causal_mask", &[scores], "[…, query, key]");
        };
        let query = self.iota(&[n_queries, n_keys], 0);
        let key = self.iota(&[n_queries, n_keys], 1);
        let hidden = self.greater(key, query);
        let minus_infinity = self.constant(f64::NEG_INFINITY);
        self.select(hidden, minus_infinity, scores)
    }

    /// Scores `[…, query, key]` with −∞ where the key stands `window` places or more before the query: beside
    /// [`Graph::causal_mask`], each query reads itself and the `window` − 1 before it (Beltagy et al. 2020).
    pub fn window_mask(&mut self, scores: Node, window: usize) -> Node {
        let shape = self.shape(scores).to_vec();
        let &[.., n_queries, n_keys] = shape.as_slice() else {
            return self.shape_error("window_mask", &[scores], "[…, query, key]");
        };
        if window >= n_queries {
            return scores;
        }
        let query = self.iota(&[n_queries, n_keys], 0);
        let key = self.iota(&[n_queries, n_keys], 1);
        let distance = self.sub(query, key);
        let last = self.constant(window as f64 - 1.0);
        let hidden = self.greater(distance, last);
        let minus_infinity = self.constant(f64::NEG_INFINITY);
        self.select(hidden, minus_infinity, scores)
    }
}

/// Products, reductions, tables and losses.
impl Graph {
    /// A two-operand Einstein sum, such as `"btd,hde->bthe"`. Labels that stand in one operand only are summed out.
    pub fn einsum(&mut self, labels: &str, a: Node, b: Node) -> Node {
        let operation = format!("einsum {labels}");
        let (a, b, spec) = self.drop_lonely_labels(labels, a, b);
        let Some(spec) = spec.as_deref().and_then(EinsumSpec::parse) else {
            return self.shape_error(&operation, &[a, b], "labels like `ab,bc->ac`, none twice in one operand");
        };
        let Some(shape) = spec.out_shape(self.shape(a), self.shape(b)) else {
            return self.shape_error(&operation, &[a, b], "one extent for each label");
        };
        self.push(Op::Einsum(a, b, spec), shape, DType::Float)
    }

    fn drop_lonely_labels(&mut self, labels: &str, a: Node, b: Node) -> (Node, Node, Option<String>) {
        let parsed = labels.split_once("->").and_then(|(ops, out)| ops.split_once(',').map(|(x, y)| (x, y, out)));
        let Some((la, lb, out)) = parsed else {
            return (a, b, None);
        };
        let are_labels = |own: &str| {
            own.bytes()
                .enumerate()
                .all(|(i, label)| label.is_ascii_alphabetic() && !own.as_bytes()[..i].contains(&label))
        };
        if !are_labels(la) || !are_labels(lb) || la.len() != self.shape(a).len() || lb.len() != self.shape(b).len() {
            return (a, b, None);
        }
        let mut reduce = |node: Node, own: &str, other: &str| {
            let lonely: Vec<usize> =
                own.char_indices().filter(|(_, l)| !other.contains(*l) && !out.contains(*l)).map(|(i, _)| i).collect();
            let kept: String = own.chars().filter(|l| other.contains(*l) || out.contains(*l)).collect();
            (if lonely.is_empty() { node } else { self.sum(node, &lonely) }, kept)
        };
        let (a, ka) = reduce(a, la, lb);
        let (b, kb) = reduce(b, lb, la);
        (a, b, Some(format!("{ka},{kb}->{out}")))
    }

    /// `x [..., k] · w [k, n]`.
    pub fn matmul(&mut self, x: Node, w: Node) -> Node {
        let rank = self.shape(x).len();
        if rank == 0 || rank > 20 || self.shape(w).len() != 2 {
            return self.shape_error("matmul", &[x, w], "[…, k] and [k, n]");
        }
        let lead: String = (0..rank - 1).map(|i| char::from(b'a' + i as u8)).collect();
        self.einsum(&format!("{lead}y,yz->{lead}z"), x, w)
    }

    /// `x · W + b` with parameters `name.W` `[in, n_out]` and `name.b` `[n_out]`.
    pub fn linear(&mut self, name: &str, x: Node, n_out: usize) -> Node {
        let n_in = self.shape(x).last().copied().unwrap_or(0);
        let w = self.param(&format!("{name}.W"), &[n_in, n_out]);
        let b = self.param(&format!("{name}.b"), &[n_out]);
        let product = self.matmul(x, w);
        self.add(product, b)
    }

    /// Sum over the given axes, which are removed. Sums to a scalar accumulate in f64.
    pub fn sum(&mut self, a: Node, axes: &[usize]) -> Node {
        self.reduce("sum", a, axes, Op::Sum)
    }

    /// Maximum over the given axes, which are removed. Of entries that tie, the first in row-major order gets all of the
    /// derivative, as in PyTorch's `max` over one axis and its max pooling (`torch.amax` shares it evenly).
    pub fn max(&mut self, a: Node, axes: &[usize]) -> Node {
        self.reduce("max", a, axes, Op::Max)
    }

    /// Mean over the given axes, which are removed.
    pub fn mean(&mut self, a: Node, axes: &[usize]) -> Node {
        let n: usize =
            (0..self.shape(a).len()).filter(|axis| axes.contains(axis)).map(|axis| self.shape(a)[axis]).product();
        let sum = self.sum(a, axes);
        self.scale(sum, 1.0 / n as f64)
    }

    /// Mean over all axes: a scalar.
    pub fn mean_all(&mut self, a: Node) -> Node {
        let axes: Vec<usize> = (0..self.shape(a).len()).collect();
        self.mean(a, &axes)
    }

    fn reduce(&mut self, name: &str, a: Node, axes: &[usize], op: fn(Node, Vec<usize>) -> Op) -> Node {
        let own = self.shape(a).to_vec();
        let mut axes = axes.to_vec();
        axes.sort_unstable();
        axes.dedup();
        if axes.last().is_some_and(|&last| last >= own.len()) {
            return self.shape_error(name, &[a], &format!("axes {axes:?}"));
        }
        if axes.is_empty() {
            return a;
        }
        let shape = (0..own.len()).filter(|axis| !axes.contains(axis)).map(|axis| own[axis]).collect();
        self.push(op(a, axes), shape, DType::Float)
    }

    /// Puts removed axes back as extents of one, so that a reduction broadcasts against its argument.
    pub fn keep_axes(&mut self, reduced: Node, axes: &[usize]) -> Node {
        let mut shape = self.shape(reduced).to_vec();
        let mut axes = axes.to_vec();
        axes.sort_unstable();
        axes.dedup();
        for axis in axes {
            shape.insert(axis.min(shape.len()), 1);
        }
        self.reshape(reduced, &shape)
    }

    /// Softmax over the last axis.
    pub fn softmax(&mut self, a: Node) -> Node {
        let shape = self.shape(a).to_vec();
        if shape.is_empty() {
            return self.shape_error("softmax", &[a], "at least one axis");
        }
        self.push(Op::Softmax(a), shape, DType::Float)
    }

    /// Log-softmax over the last axis.
    pub fn log_softmax(&mut self, a: Node) -> Node {
        let shape = self.shape(a).to_vec();
        if shape.is_empty() {
            return self.shape_error("log_softmax", &[a], "at least one axis");
        }
        self.push(Op::LogSoftmax(a), shape, DType::Float)
    }

    /// (x − mean)/√(var + eps) over the last axis with the biased variance (Ba et al. 2016), without the affine part.
    pub fn normalize(&mut self, x: Node, eps: f64) -> Node {
        let last = self.shape(x).len().saturating_sub(1);
        let mean = self.mean(x, &[last]);
        let mean = self.keep_axes(mean, &[last]);
        let centred = self.sub(x, mean);
        self.rms_normalize(centred, eps)
    }

    /// x/√(mean x² + eps) over the last axis (Zhang & Sennrich 2019), without the weight.
    pub fn rms_normalize(&mut self, x: Node, eps: f64) -> Node {
        let last = self.shape(x).len().saturating_sub(1);
        let square = self.square(x);
        let mean_square = self.mean(square, &[last]);
        let mean_square = self.keep_axes(mean_square, &[last]);
        let eps = self.constant(eps);
        let shifted = self.add(mean_square, eps);
        let scale = self.sqrt(shifted);
        let inverse = self.recip(scale);
        self.mul(x, inverse)
    }

    /// Rows of `table [V, …]` at `ids [..]`: shape `ids.shape + table.shape[1..]`. An id outside the table stops the
    /// program with an error.
    pub fn gather(&mut self, table: Node, ids: Node) -> Node {
        if self.shape(table).is_empty() || self.dtype(table) != DType::Float || self.dtype(ids) != DType::Ids {
            return self.shape_error("gather", &[table, ids], "a table [V, …] and integer ids");
        }
        let shape = [self.shape(ids), &self.shape(table)[1..]].concat();
        self.push(Op::Gather { table, ids }, shape, DType::Float)
    }

    /// −ln `softmax(logits)[target]` for each row: logits `[…, C]`, integer targets `[…]`, result `[…]`, in nats.
    /// Computed as log1p(Σ_{j≠t} exp(z_j − z_t)), so that losses of 1e-9 keep their digits in f32.
    pub fn cross_entropy(&mut self, logits: Node, targets: Node) -> Node {
        let fits = self.dtype(targets) == DType::Ids
            && self.dtype(logits) == DType::Float
            && self.shape(logits).split_last().is_some_and(|(_, rows)| rows == self.shape(targets));
        if !fits {
            return self.shape_error("cross_entropy", &[logits, targets], "logits […, C] and integer targets […]");
        }
        let shape = self.shape(targets).to_vec();
        self.push(Op::CrossEntropy { logits, targets }, shape, DType::Float)
    }

    /// Mean over all axes of (a − b)².
    pub fn mean_squared_error(&mut self, a: Node, b: Node) -> Node {
        let difference = self.sub(a, b);
        let square = self.square(difference);
        self.mean_all(square)
    }

    /// Records what does not fit and returns a node that keeps the builder going.
    pub(crate) fn shape_error(&mut self, operation: &str, nodes: &[Node], expected: &str) -> Node {
        let found: Vec<String> = nodes.iter().map(|&n| Shape(self.shape(n)).to_string()).collect();
        self.fail(GraphError::Shape {
            operation: operation.to_owned(),
            node: nodes.first().map(|&n| self.describe(n)),
            found: format!("found {}", found.join(" and ")),
            expected: expected.to_owned(),
        });
        nodes.first().copied().unwrap_or(Node(0))
    }
}
