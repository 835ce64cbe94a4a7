//! Reverse mode as a graph transform: cotangents are ordinary nodes, so they can be differentiated again.

use crate::einsum::EinsumSpec;
use crate::graph::{Binary, DType, Graph, GraphError, Node, Op, Unary};
use crate::math::NORMAL_CDF_TANH;

impl Graph {
    /// Nodes of ∂`scalar`/∂`wrt[i]`, each of the shape of its `wrt[i]`. Only what lies between `wrt` and `scalar` is
    /// built: frozen parameters cost nothing.
    ///
    /// # Errors
    /// A mistake made while building, or a `scalar` with axes or of ids.
    pub fn gradient(&mut self, scalar: Node, wrt: &[Node]) -> Result<Vec<Node>, GraphError> {
        self.check()?;
        if !self.shape(scalar).is_empty() || self.dtype(scalar) != DType::Float {
            self.shape_error("gradient", &[scalar], "a float scalar");
            self.check()?;
        }
        let one = self.constant(1.0);
        Ok(self.pull_back(scalar, one, wrt))
    }

    /// Vector–Jacobian product: `cotangent`ᵀ·∂`output`/∂n for each node n of `wrt`, shaped as n; `cotangent` is shaped as
    /// `output` and counts as constant, even where it depends on `wrt`.
    ///
    /// # Errors
    /// A mistake made while building, or a cotangent of another shape.
    pub fn vector_jacobian(&mut self, output: Node, cotangent: Node, wrt: &[Node]) -> Result<Vec<Node>, GraphError> {
        self.check()?;
        if self.shape(output) != self.shape(cotangent) || self.dtype(output) != DType::Float {
            self.shape_error("vector_jacobian", &[output, cotangent], "two nodes of floats of the same shape");
            self.check()?;
        }
        Ok(self.pull_back(output, cotangent, wrt))
    }

    /// Cotangents of `wrt` for the cotangent `seed` of `output`.
    pub(crate) fn pull_back(&mut self, output: Node, seed: Node, wrt: &[Node]) -> Vec<Node> {
        let n = output.0 as usize + 1;
        let mut active = vec![false; n];
        for at in 0..n {
            let node = Node(at as u32);
            active[at] = self.dtype(node) == DType::Float
                && (wrt.contains(&node) || self.nodes[at].op.operands().iter().any(|o| active[o.0 as usize]));
        }
        let mut cotangents: Vec<Option<Node>> = vec![None; n];
        cotangents[output.0 as usize] = Some(seed);
        for at in (0..n).rev() {
            let node = Node(at as u32);
            let (Some(cotangent), true) = (cotangents[at], active[at]) else {
                continue;
            };
            let op = self.nodes[at].op.clone();
            for (operand, contribution) in self.cotangents_of_operands(node, &op, cotangent, &active) {
                let slot = operand.0 as usize;
                cotangents[slot] = Some(match cotangents[slot] {
                    None => contribution,
                    Some(sum) => self.add(sum, contribution),
                });
            }
        }
        wrt.iter()
            .map(|&node| {
                cotangents.get(node.0 as usize).copied().flatten().unwrap_or_else(|| {
                    let zero = self.constant(0.0);
                    let shape = self.shape(node).to_vec();
                    self.broadcast(zero, &shape)
                })
            })
            .collect()
    }

    /// One step of the chain rule: (operand, its share of the cotangent).
    fn cotangents_of_operands(&mut self, y: Node, op: &Op, g: Node, active: &[bool]) -> Vec<(Node, Node)> {
        let on = |node: Node| active[node.0 as usize];
        let mut shares = Vec::new();
        match op {
            Op::Param(_) | Op::Input(_) | Op::Constant(_) | Op::Values(_) | Op::Iota { .. } | Op::Rotation { .. } => {}
            Op::Unary(unary, a) => {
                if let Some(share) = self.unary_product(*unary, *a, y, g) {
                    shares.push((*a, share));
                }
            }
            Op::Binary(binary, a, b) => match binary {
                Binary::Add => {
                    shares.extend([*a, *b].into_iter().filter(|&n| on(n)).map(|n| (n, g)));
                }
                Binary::Sub => {
                    if on(*a) {
                        shares.push((*a, g));
                    }
                    if on(*b) {
                        shares.push((*b, self.neg(g)));
                    }
                }
                Binary::Mul => {
                    if on(*a) {
                        shares.push((*a, self.mul(g, *b)));
                    }
                    if on(*b) {
                        shares.push((*b, self.mul(g, *a)));
                    }
                }
                Binary::Div => {
                    let scaled = self.div(g, *b);
                    if on(*a) {
                        shares.push((*a, scaled));
                    }
                    if on(*b) {
                        let product = self.mul(scaled, y);
                        shares.push((*b, self.neg(product)));
                    }
                }
                Binary::Greater | Binary::Equal => {}
            },
            Op::Select(condition, a, b) => {
                let zero = self.constant(0.0);
                if on(*a) {
                    shares.push((*a, self.select(*condition, g, zero)));
                }
                if on(*b) {
                    shares.push((*b, self.select(*condition, zero, g)));
                }
            }
            Op::Broadcast(a) => shares.push((*a, self.sum_to_shape(g, *a))),
            Op::Reshape(a) => {
                let shape = self.shape(*a).to_vec();
                shares.push((*a, self.reshape(g, &shape)));
            }
            Op::Permute(a, order) => {
                let mut inverse = vec![0; order.len()];
                for (to, &from) in order.iter().enumerate() {
                    inverse[from] = to;
                }
                shares.push((*a, self.permute(g, &inverse)));
            }
            Op::Slice { of, axis, start } => {
                let after = self.shape(*of)[*axis] - start - self.shape(y)[*axis];
                shares.push((*of, self.pad(g, *axis, *start, after)));
            }
            Op::Pad { of, axis, before } => {
                let extent = self.shape(*of)[*axis];
                shares.push((*of, self.slice(g, *axis, *before, extent)));
            }
            Op::Concat { parts, axis } => {
                let mut start = 0;
                for &part in parts {
                    let extent = self.shape(part)[*axis];
                    if on(part) {
                        shares.push((part, self.slice(g, *axis, start, extent)));
                    }
                    start += extent;
                }
            }
            Op::Windows { of, axis, stride, dilation } => {
                let extent = self.shape(*of)[*axis];
                shares.push((*of, self.overlap(g, *axis, *stride, *dilation, extent)));
            }
            Op::Overlap { of, axis, stride, dilation } => {
                let size = self.shape(*of)[axis + 1];
                let windows = self.windows(g, *axis, size, *stride, *dilation);
                // The last entries of the axis may fit one more window than there are.
                let n = self.shape(*of)[*axis];
                shares.push((*of, self.slice(windows, *axis, 0, n)));
            }
            Op::Einsum(a, b, spec) => {
                if on(*a) {
                    shares.push((*a, self.einsum_of(g, *b, spec.cotangent_a())));
                }
                if on(*b) {
                    shares.push((*b, self.einsum_of(*a, g, spec.cotangent_b())));
                }
            }
            Op::Sum(a, axes) => {
                let shape = self.shape(*a).to_vec();
                let kept = self.keep_axes(g, axes);
                shares.push((*a, self.broadcast(kept, &shape)));
            }
            Op::Max(a, axes) => shares.push((*a, self.put_max(*a, g, axes))),
            Op::PickMax { by, from, axes } => {
                if on(*from) {
                    shares.push((*from, self.put_max(*by, g, axes)));
                }
            }
            Op::PutMax { by, values, axes } => {
                if on(*values) {
                    shares.push((*values, self.pick_max(*by, g, axes)));
                }
            }
            Op::Softmax(a) => shares.push((*a, self.softmax_product(y, g))),
            Op::LogSoftmax(a) => {
                let last = self.shape(g).len() - 1;
                let total = self.sum(g, &[last]);
                let total = self.keep_axes(total, &[last]);
                let p = self.softmax(*a);
                let spread = self.mul(p, total);
                shares.push((*a, self.sub(g, spread)));
            }
            Op::Gather { table, ids } => {
                let shape = self.shape(*table).to_vec();
                let node = self.push(Op::ScatterAdd { ids: *ids, values: g }, shape, DType::Float);
                shares.push((*table, node));
            }
            Op::ScatterAdd { ids, values } => shares.push((*values, self.gather(g, *ids))),
            Op::CrossEntropy { logits, targets } => {
                let difference = self.cross_entropy_grad(*logits, *targets);
                let last = self.shape(*logits).len() - 1;
                let kept = self.keep_axes(g, &[last]);
                shares.push((*logits, self.mul(difference, kept)));
            }
            Op::CrossEntropyGrad { logits, .. } => {
                let p = self.softmax(*logits);
                shares.push((*logits, self.softmax_product(p, g)));
            }
        }
        shares
    }

    /// f′(a)·v for an elementwise f with value y = f(a); `None` where the derivative is 0 everywhere. Serves both
    /// modes, because the Jacobian is diagonal.
    pub(crate) fn unary_product(&mut self, op: Unary, a: Node, y: Node, v: Node) -> Option<Node> {
        Some(match op {
            Unary::Neg => self.neg(v),
            Unary::Exp => self.mul(v, y),
            Unary::Log => self.div(v, a),
            Unary::Log1p => {
                let one = self.constant(1.0);
                let shifted = self.add(a, one);
                self.div(v, shifted)
            }
            Unary::Sqrt => {
                let half = self.scale(v, 0.5);
                self.div(half, y)
            }
            Unary::Recip => {
                let square = self.square(y);
                let product = self.mul(v, square);
                self.neg(product)
            }
            Unary::Tanh => {
                let square = self.square(y);
                let one = self.constant(1.0);
                let slope = self.sub(one, square);
                self.mul(v, slope)
            }
            Unary::Erf => {
                let square = self.square(a);
                let negative = self.neg(square);
                let density = self.exp(negative);
                let slope = self.scale(density, std::f64::consts::FRAC_2_SQRT_PI);
                self.mul(v, slope)
            }
            // σ(a)·σ(−a), which keeps its digits where σ(a) rounds to 1.
            Unary::Sigmoid => {
                let negative = self.neg(a);
                let rest = self.sigmoid(negative);
                let slope = self.mul(y, rest);
                self.mul(v, slope)
            }
            Unary::NormalCdf => {
                let square = self.square(a);
                let exponent = self.scale(square, -0.5);
                let density = self.exp(exponent);
                let slope =
                    self.scale(density, 0.5 * std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2);
                self.mul(v, slope)
            }
            Unary::NormalCdfTanh => {
                // σ(u)' = σ(u)·σ(−u)·u', and u is odd.
                let negative = self.neg(a);
                let rest = self.unary(Unary::NormalCdfTanh, negative);
                let density = self.mul(y, rest);
                let square = self.square(a);
                let [linear, cubic] = NORMAL_CDF_TANH;
                let cubic = self.scale(square, 3.0 * cubic);
                let linear = self.constant(linear);
                let inner = self.add(cubic, linear);
                let slope = self.mul(density, inner);
                self.mul(v, slope)
            }
            // The sign of the output is the sign of the input, and the output is kept anyway.
            Unary::Relu => {
                let step = self.unary(Unary::Step, y);
                self.mul(v, step)
            }
            Unary::Abs => {
                let sign = self.unary(Unary::Sign, a);
                self.mul(v, sign)
            }
            Unary::Step | Unary::Sign => return None,
        })
    }

    /// (diag(p) − ppᵀ)·v over the last axis: the Jacobian of softmax is symmetric, so both modes use it.
    pub(crate) fn softmax_product(&mut self, p: Node, v: Node) -> Node {
        let last = self.shape(p).len() - 1;
        let weighted = self.mul(p, v);
        let mean = self.sum(weighted, &[last]);
        let mean = self.keep_axes(mean, &[last]);
        let centred = self.sub(v, mean);
        self.mul(p, centred)
    }

    /// `from` where `by` first attains its maximum over `axes`, which are removed.
    pub(crate) fn pick_max(&mut self, by: Node, from: Node, axes: &[usize]) -> Node {
        let own = self.shape(by);
        let shape = (0..own.len()).filter(|axis| !axes.contains(axis)).map(|axis| own[axis]).collect();
        self.push(Op::PickMax { by, from, axes: axes.to_vec() }, shape, DType::Float)
    }

    /// `values` where `by` first attains its maximum over `axes`, else 0.
    pub(crate) fn put_max(&mut self, by: Node, values: Node, axes: &[usize]) -> Node {
        let shape = self.shape(by).to_vec();
        self.push(Op::PutMax { by, values, axes: axes.to_vec() }, shape, DType::Float)
    }

    pub(crate) fn cross_entropy_grad(&mut self, logits: Node, targets: Node) -> Node {
        let shape = self.shape(logits).to_vec();
        self.push(Op::CrossEntropyGrad { logits, targets }, shape, DType::Float)
    }

    pub(crate) fn einsum_of(&mut self, a: Node, b: Node, spec: EinsumSpec) -> Node {
        let shape = spec.out_shape(self.shape(a), self.shape(b)).expect("labels come from a checked einsum");
        self.push(Op::Einsum(a, b, spec), shape, DType::Float)
    }

    /// Sums `g` over the axes along which `like` was repeated.
    fn sum_to_shape(&mut self, g: Node, like: Node) -> Node {
        let from = self.shape(g).to_vec();
        let to = self.shape(like).to_vec();
        let lead = from.len() - to.len();
        let axes: Vec<usize> = (0..from.len()).filter(|&i| i < lead || (to[i - lead] == 1 && from[i] != 1)).collect();
        let sum = self.sum(g, &axes);
        self.reshape(sum, &to)
    }
}
