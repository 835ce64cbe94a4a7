//! Forward mode as a graph transform, and Hessian-vector products by forward over reverse.

use crate::graph::{Binary, DType, Graph, GraphError, Node, Op};

impl Graph {
    /// Tangents of `outputs` when each `wrt[i]` moves along `directions[i]` (of the same shape): J·v.
    ///
    /// # Errors
    /// A mistake made while building, or directions of another number, shape or type.
    pub fn tangent(&mut self, outputs: &[Node], wrt: &[Node], directions: &[Node]) -> Result<Vec<Node>, GraphError> {
        self.check()?;
        if wrt.len() != directions.len() {
            let nodes = [wrt, directions].concat();
            self.shape_error("tangent", &nodes, &format!("one direction for each of {} variables", wrt.len()));
        }
        for (&node, &direction) in wrt.iter().zip(directions) {
            if self.shape(node) != self.shape(direction) || self.dtype(direction) != DType::Float {
                self.shape_error("tangent", &[node, direction], "a float direction of the shape of its variable");
            }
        }
        self.check()?;
        let n = outputs.iter().map(|o| o.0 as usize + 1).max().unwrap_or(0);
        let mut tangents: Vec<Option<Node>> = vec![None; n];
        for at in 0..n {
            let node = Node(at as u32);
            tangents[at] = match wrt.iter().position(|&w| w == node) {
                Some(which) => Some(directions[which]),
                None if self.dtype(node) == DType::Float => {
                    let op = self.nodes[at].op.clone();
                    self.tangent_of(node, &op, &tangents)
                }
                None => None,
            };
        }
        Ok(outputs.iter().map(|&node| tangents[node.0 as usize].unwrap_or_else(|| self.zeros_like(node))).collect())
    }

    /// H·v of a scalar: the tangent of its gradient. `directions[i]` has the shape of `wrt[i]`, and so has the result.
    ///
    /// # Errors
    /// As for [`Graph::gradient`] and [`Graph::tangent`].
    pub fn hessian_vector(&mut self, scalar: Node, wrt: &[Node], directions: &[Node]) -> Result<Vec<Node>, GraphError> {
        let gradient = self.gradient(scalar, wrt)?;
        self.tangent(&gradient, wrt, directions)
    }

    /// The tangent of one node from those of its operands; `None` is zero.
    fn tangent_of(&mut self, y: Node, op: &Op, tangents: &[Option<Node>]) -> Option<Node> {
        let of = |node: Node| tangents[node.0 as usize];
        match op {
            Op::Param(_) | Op::Input(_) | Op::Constant(_) | Op::Values(_) | Op::Iota { .. } | Op::Rotation { .. } => {
                None
            }
            Op::Unary(unary, a) => of(*a).and_then(|t| self.unary_product(*unary, *a, y, t)),
            Op::Binary(binary, a, b) => self.tangent_of_binary(*binary, y, (*a, of(*a)), (*b, of(*b))),
            Op::Select(condition, a, b) => {
                if of(*a).is_none() && of(*b).is_none() {
                    return None;
                }
                let ta = of(*a).unwrap_or_else(|| self.zeros_like(*a));
                let tb = of(*b).unwrap_or_else(|| self.zeros_like(*b));
                Some(self.select(*condition, ta, tb))
            }
            // Linear in one operand: the same operation on the tangent.
            Op::Broadcast(a)
            | Op::Reshape(a)
            | Op::Permute(a, _)
            | Op::Slice { of: a, .. }
            | Op::Pad { of: a, .. }
            | Op::Windows { of: a, .. }
            | Op::Overlap { of: a, .. }
            | Op::Sum(a, _)
            | Op::Gather { table: a, .. }
            | Op::ScatterAdd { values: a, .. } => {
                let tangent = of(*a)?;
                let linear = op.map_operands(|operand| if operand == *a { tangent } else { operand });
                let shape = self.shape(y).to_vec();
                Some(self.push(linear, shape, DType::Float))
            }
            Op::Concat { parts, axis } => {
                if parts.iter().all(|&part| of(part).is_none()) {
                    return None;
                }
                let parts: Vec<Node> =
                    parts.iter().map(|&part| of(part).unwrap_or_else(|| self.zeros_like(part))).collect();
                Some(self.concat(&parts, *axis))
            }
            Op::Einsum(a, b, spec) => {
                let left = of(*a).map(|t| self.einsum_of(t, *b, spec.clone()));
                let right = of(*b).map(|t| self.einsum_of(*a, t, spec.clone()));
                self.sum_of(left, right)
            }
            Op::Max(a, axes) => {
                let tangent = of(*a)?;
                Some(self.pick_max(*a, tangent, axes))
            }
            Op::PickMax { by, from, axes } => of(*from).map(|t| self.pick_max(*by, t, axes)),
            Op::PutMax { by, values, axes } => of(*values).map(|t| self.put_max(*by, t, axes)),
            Op::Softmax(a) => of(*a).map(|t| self.softmax_product(y, t)),
            Op::LogSoftmax(a) => {
                let tangent = of(*a)?;
                let last = self.shape(y).len() - 1;
                let p = self.softmax(*a);
                let weighted = self.mul(p, tangent);
                let mean = self.sum(weighted, &[last]);
                let mean = self.keep_axes(mean, &[last]);
                Some(self.sub(tangent, mean))
            }
            Op::CrossEntropy { logits, targets } => {
                let tangent = of(*logits)?;
                let last = self.shape(*logits).len() - 1;
                let difference = self.cross_entropy_grad(*logits, *targets);
                let product = self.mul(difference, tangent);
                Some(self.sum(product, &[last]))
            }
            Op::CrossEntropyGrad { logits, .. } => {
                let tangent = of(*logits)?;
                let p = self.softmax(*logits);
                Some(self.softmax_product(p, tangent))
            }
        }
    }

    fn tangent_of_binary(
        &mut self,
        op: Binary,
        y: Node,
        (a, ta): (Node, Option<Node>),
        (b, tb): (Node, Option<Node>),
    ) -> Option<Node> {
        match op {
            Binary::Add => self.sum_of(ta, tb),
            Binary::Sub => {
                let negative = tb.map(|t| self.neg(t));
                self.sum_of(ta, negative)
            }
            Binary::Mul => {
                let left = ta.map(|t| self.mul(t, b));
                let right = tb.map(|t| self.mul(t, a));
                self.sum_of(left, right)
            }
            Binary::Div => {
                let left = ta.map(|t| self.div(t, b));
                let right = tb.map(|t| {
                    let scaled = self.div(t, b);
                    let product = self.mul(scaled, y);
                    self.neg(product)
                });
                self.sum_of(left, right)
            }
            Binary::Greater | Binary::Equal => None,
        }
    }

    fn sum_of(&mut self, left: Option<Node>, right: Option<Node>) -> Option<Node> {
        match (left, right) {
            (Some(l), Some(r)) => Some(self.add(l, r)),
            (one, other) => one.or(other),
        }
    }

    fn zeros_like(&mut self, node: Node) -> Node {
        let zero = self.constant(0.0);
        let shape = self.shape(node).to_vec();
        self.broadcast(zero, &shape)
    }
}
