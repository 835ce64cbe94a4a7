//! Paddings move towards the outputs: operations on zeros that stay zeros are done on what is inside.

use std::collections::BTreeSet;

use crate::graph::{Binary, DType, Node, Op, Unary};
use crate::simplify::{Pass, Window, same_axis};

impl Pass<'_> {
    /// Operations on paddings as paddings of operations on what is inside, where zeros give zeros.
    pub(crate) fn pull_padding(&mut self, op: &Op, shape: &[usize]) -> Option<Node> {
        let operands = op.operands();
        let padded: Vec<Option<(Node, Window)>> = operands.iter().map(|&n| self.padding(n)).collect();
        if padded.iter().all(Option::is_none) {
            return None;
        }
        match op {
            Op::Unary(unary, _) if keeps_zero(*unary) => {
                let (inner, window) = padded[0]?;
                let own = self.new.shape(inner).to_vec();
                let inner = self.emit(Op::Unary(*unary, inner), &own, DType::Float);
                Some(self.pad(inner, window))
            }
            Op::Binary(Binary::Mul, a, b) => {
                let (inner, window, other) = match (padded[0], padded[1]) {
                    (Some((inner, window)), _) => (inner, window, *b),
                    (None, second) => {
                        let (inner, window) = second?;
                        (inner, window, *a)
                    }
                };
                let other = self.slice(other, window);
                let own = self.new.shape(inner).to_vec();
                let product = self.emit(Op::Binary(Binary::Mul, inner, other), &own, DType::Float);
                Some(self.pad(product, window))
            }
            Op::Binary(Binary::Div, _, b) => {
                let (inner, window) = padded[0]?;
                let other = self.slice(*b, window);
                let own = self.new.shape(inner).to_vec();
                let quotient = self.emit(Op::Binary(Binary::Div, inner, other), &own, DType::Float);
                Some(self.pad(quotient, window))
            }
            Op::Binary(binary @ (Binary::Add | Binary::Sub), a, b) => {
                if let (Some((x, left)), Some((y, right))) = (padded[0], padded[1])
                    && left == right
                {
                    let own = self.new.shape(x).to_vec();
                    let sum = self.emit(Op::Binary(*binary, x, y), &own, DType::Float);
                    return Some(self.pad(sum, left));
                }
                if *binary == Binary::Sub {
                    return None;
                }
                // (x + pad p) + pad q = x + pad (p + q)
                match (padded[0], padded[1]) {
                    (_, Some((y, window))) => self.add_inside(*a, y, window, shape, &mut BTreeSet::new()),
                    (Some((x, window)), None) => self.add_inside(*b, x, window, shape, &mut BTreeSet::new()),
                    (None, None) => None,
                }
            }
            Op::Sum(_, axes) => {
                let (inner, window) = padded[0]?;
                let own = self.new.shape(inner).to_vec();
                let reduced: Vec<usize> =
                    (0..own.len()).filter(|axis| !axes.contains(axis)).map(|axis| own[axis]).collect();
                let sum = self.emit(Op::Sum(inner, axes.clone()), &reduced, DType::Float);
                if axes.contains(&window.axis) {
                    return Some(sum);
                }
                let axis = window.axis - axes.iter().filter(|&&axis| axis < window.axis).count();
                Some(self.pad(sum, Window { axis, ..window }))
            }
            Op::Broadcast(a) => {
                let (inner, window) = padded[0]?;
                let axis = window.axis + shape.len() - self.new.shape(*a).len();
                let mut narrow = shape.to_vec();
                narrow[axis] = window.extent;
                let inner = self.emit(Op::Broadcast(inner), &narrow, DType::Float);
                Some(self.pad(inner, Window { axis, ..window }))
            }
            Op::Reshape(a) => {
                let (inner, window) = padded[0]?;
                let axis = same_axis(self.new.shape(*a), shape, window.axis)?;
                let mut narrow = shape.to_vec();
                narrow[axis] = window.extent;
                let inner = self.emit(Op::Reshape(inner), &narrow, DType::Float);
                Some(self.pad(inner, Window { axis, ..window }))
            }
            Op::Permute(_, order) => {
                let (inner, window) = padded[0]?;
                let own = self.new.shape(inner).to_vec();
                let narrow: Vec<usize> = order.iter().map(|&axis| own[axis]).collect();
                let axis = order.iter().position(|&axis| axis == window.axis)?;
                let inner = self.emit(Op::Permute(inner, order.clone()), &narrow, DType::Float);
                Some(self.pad(inner, Window { axis, ..window }))
            }
            Op::Einsum(a, b, spec) => {
                let (inner, window, left) = match (padded[0], padded[1]) {
                    (Some((inner, window)), _) => (inner, window, true),
                    (None, second) => {
                        let (inner, window) = second?;
                        (inner, window, false)
                    }
                };
                let (own, other, other_node) = if left { (&spec.a, &spec.b, *b) } else { (&spec.b, &spec.a, *a) };
                let label = own[window.axis];
                let other_node = match other.iter().position(|&l| l == label) {
                    Some(axis) => self.slice(other_node, Window { axis, ..window }),
                    None => other_node,
                };
                let (x, y) = if left { (inner, other_node) } else { (other_node, inner) };
                let product = self.einsum(x, y, spec.clone());
                match spec.out.iter().position(|&l| l == label) {
                    Some(axis) => Some(self.pad(product, Window { axis, ..window })),
                    None => Some(product),
                }
            }
            Op::Overlap { axis, stride, dilation, .. } => {
                let (inner, window) = padded[0]?;
                let outer_axis = match window.axis.checked_sub(*axis) {
                    None => window.axis,
                    Some(0 | 1) => return None,
                    Some(_) => window.axis - 1,
                };
                let mut narrow = shape.to_vec();
                narrow[outer_axis] = window.extent;
                let op = Op::Overlap { of: inner, axis: *axis, stride: *stride, dilation: *dilation };
                let sum = self.emit(op, &narrow, DType::Float);
                Some(self.pad(sum, Window { axis: outer_axis, ..window }))
            }
            Op::ScatterAdd { ids, .. } => {
                let (inner, window) = padded[1]?;
                (window.axis < self.new.shape(*ids).len()).then(|| {
                    let ids = self.slice(*ids, window);
                    self.emit(Op::ScatterAdd { ids, values: inner }, shape, DType::Float)
                })
            }
            _ => None,
        }
    }

    /// `sum + pad(extra)` where the tree of additions `sum` already holds a padding of the same window. `visited` are
    /// sums known not to: additions may share operands, and a tree of n nodes may have 2ⁿ paths.
    fn add_inside(
        &mut self,
        sum: Node,
        extra: Node,
        window: Window,
        shape: &[usize],
        visited: &mut BTreeSet<Node>,
    ) -> Option<Node> {
        let Op::Binary(Binary::Add, left, right) = self.new.node(sum).op else {
            return None;
        };
        if !visited.insert(sum) {
            return None;
        }
        for (this, other) in [(right, left), (left, right)] {
            if let Some((inner, own)) = self.padding(this)
                && own == window
            {
                let narrow = self.new.shape(inner).to_vec();
                let inner = self.emit(Op::Binary(Binary::Add, inner, extra), &narrow, DType::Float);
                let padded = self.pad(inner, window);
                return Some(self.emit(Op::Binary(Binary::Add, other, padded), shape, DType::Float));
            }
        }
        for (this, other) in [(left, right), (right, left)] {
            if let Some(inner) = self.add_inside(this, extra, window, shape, visited) {
                return Some(self.emit(Op::Binary(Binary::Add, inner, other), shape, DType::Float));
            }
        }
        None
    }

    /// What is inside a padding, and where.
    fn padding(&self, node: Node) -> Option<(Node, Window)> {
        match self.new.node(node).op {
            Op::Pad { of, axis, before } => {
                let (extent, full) = (self.new.shape(of)[axis], self.new.shape(node)[axis]);
                Some((of, Window { axis, start: before, extent, full }))
            }
            _ => None,
        }
    }
}

fn keeps_zero(op: Unary) -> bool {
    use Unary::{Abs, Erf, Log1p, Neg, Relu, Sign, Sqrt, Step, Tanh};
    matches!(op, Neg | Log1p | Sqrt | Tanh | Erf | Relu | Step | Abs | Sign)
}
