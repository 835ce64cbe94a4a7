//! The simplifier: common subexpressions, constants, dead code, slices pushed to the inputs and zeros to the outputs.
//!
//! A loss that reads the last position only makes everything before it slices on the way in (forward) and paddings on
//! the way out (backward). Slices move towards the inputs wherever nobody reads the rest, paddings towards the
//! outputs wherever zeros stay zeros; where they meet they vanish. What is left computes read positions only.
//!
//! Values are those of real arithmetic: a product with a zero that padding put there is zero and is left out, even where
//! the other factor is infinite or not a number. Everything else keeps infinities and NaN as the interpreter has them.

use std::collections::HashMap;

use crate::einsum::EinsumSpec;
use crate::graph::{Binary, DType, Graph, Node, NodeData, Op};
use crate::interpret;

/// A bound on passes; each pass moves slices and paddings at least one node further, or ends the loop.
const MAX_PASSES: usize = 200;

impl Graph {
    /// An equivalent graph that computes only what `roots` need, and the roots in it.
    pub(crate) fn simplified(&self, roots: &[Node]) -> (Self, Vec<Node>) {
        let mut graph = self.clone();
        let mut roots = roots.to_vec();
        // The graph one pass earlier: two slices that both can go no further change places with every pass.
        let mut before: Option<Self> = None;
        for _ in 0..MAX_PASSES {
            let (next, next_roots) = Pass::run(&graph, &roots);
            let settled = next.is_copy_of(&graph) || before.as_ref().is_some_and(|before| next.is_copy_of(before));
            before = Some(std::mem::replace(&mut graph, next));
            roots = next_roots;
            if settled {
                break;
            }
        }
        (graph, roots)
    }

    fn is_copy_of(&self, other: &Self) -> bool {
        let same = |(a, b): (&NodeData, &NodeData)| a.op == b.op && a.shape == b.shape;
        self.nodes.len() == other.nodes.len() && self.nodes.iter().zip(&other.nodes).all(same)
    }
}

pub(crate) struct Pass<'a> {
    pub(crate) old: &'a Graph,
    pub(crate) new: Graph,
    seen: HashMap<String, Node>,
    /// For each old node, how many live nodes read it (roots count as reading).
    n_readers: Vec<usize>,
    /// Nodes that are computed slice by slice only (see `chunk.rs`), and the slices of them made so far.
    pub(crate) in_slices: Vec<bool>,
    slices: HashMap<(Node, usize, usize), Node>,
}

/// Where the entries of a sliced or padded axis stand: `start..start + extent` of `full`.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Window {
    pub(crate) axis: usize,
    pub(crate) start: usize,
    pub(crate) extent: usize,
    pub(crate) full: usize,
}

impl<'a> Pass<'a> {
    pub(crate) fn new(old: &'a Graph, roots: &[Node]) -> Self {
        let n = old.nodes.len();
        let mut n_readers = vec![0; n];
        for root in roots {
            n_readers[root.0 as usize] += 1;
        }
        for at in (0..n).rev() {
            if n_readers[at] > 0 {
                for operand in old.nodes[at].op.operands() {
                    n_readers[operand.0 as usize] += 1;
                }
            }
        }
        let mut new = Graph::new();
        new.params.clone_from(&old.params);
        new.inputs.clone_from(&old.inputs);
        Self { old, new, seen: HashMap::new(), n_readers, in_slices: vec![false; n], slices: HashMap::new() }
    }

    pub(crate) fn is_live(&self, at: usize) -> bool {
        self.n_readers[at] > 0
    }

    fn run(old: &'a Graph, roots: &[Node]) -> (Graph, Vec<Node>) {
        let n = old.nodes.len();
        let mut pass = Self::new(old, roots);
        let mut map = vec![Node(u32::MAX); n];
        // What is left of a node once only a slice of it is computed: it inherits the name.
        let mut narrowed: HashMap<Node, Node> = HashMap::new();
        for at in 0..n {
            if !pass.is_live(at) {
                continue;
            }
            let data = &old.nodes[at];
            map[at] = match data.op {
                // A slice whose operand nobody else reads moves through it.
                Op::Slice { of, axis, start } if pass.is_free_to_slice(of) => {
                    let full = old.shape(of)[axis];
                    let window = Window { axis, start, extent: data.shape[axis], full };
                    match pass.slice_through(of, window, &map) {
                        Some(node) => {
                            narrowed.insert(of, node);
                            node
                        }
                        None => pass.emit_mapped(data, &map),
                    }
                }
                // A transpose of a product nobody else reads is a product with other labels.
                Op::Permute(of, ref order) => match &old.node(of).op {
                    Op::Einsum(a, b, spec) if pass.n_readers[of.0 as usize] == 1 => {
                        let out = order.iter().map(|&axis| spec.out[axis]).collect();
                        let spec = EinsumSpec { out, ..spec.clone() };
                        pass.einsum(map[a.0 as usize], map[b.0 as usize], spec)
                    }
                    _ => pass.emit_mapped(data, &map),
                },
                _ => pass.emit_mapped(data, &map),
            };
        }
        pass.finish(&map, &narrowed, roots)
    }

    /// The new graph with its names, parameters and inputs, and the roots in it.
    pub(crate) fn finish(mut self, map: &[Node], narrowed: &HashMap<Node, Node>, roots: &[Node]) -> (Graph, Vec<Node>) {
        let old = self.old;
        for (name, node) in old.names() {
            // What is left of the node, if anything is.
            let moved = narrowed.get(&node).copied().unwrap_or(map[node.0 as usize]);
            if moved != Node(u32::MAX) && !matches!(old.node(node).op, Op::Param(_) | Op::Input(_)) {
                // Two names may meet in one node; messages need only one of them.
                let _ = self.new.named(moved, name);
            }
        }
        for (param, old_param) in self.new.params.iter_mut().zip(&old.params) {
            param.node = map.get(old_param.node.0 as usize).copied().unwrap_or(old_param.node);
        }
        for (input, old_input) in self.new.inputs.iter_mut().zip(&old.inputs) {
            input.node = map.get(old_input.node.0 as usize).copied().unwrap_or(old_input.node);
        }
        let roots = roots.iter().map(|root| map[root.0 as usize]).collect();
        (self.new, roots)
    }

    fn is_free_to_slice(&self, of: Node) -> bool {
        self.n_readers[of.0 as usize] == 1
            || matches!(
                self.old.node(of).op,
                Op::Broadcast(_)
                    | Op::Permute(..)
                    | Op::Slice { .. }
                    | Op::Windows { .. }
                    | Op::Iota { .. }
                    | Op::Pad { .. }
            )
    }

    pub(crate) fn emit_mapped(&mut self, data: &NodeData, map: &[Node]) -> Node {
        let op = data.op.map_operands(|operand| map[operand.0 as usize]);
        self.emit(op, &data.shape, data.dtype)
    }

    /// The node of an operation after local rules, shared with any equal node.
    pub(crate) fn emit(&mut self, op: Op, shape: &[usize], dtype: DType) -> Node {
        if let Some(node) = self.local_rule(&op, shape) {
            return node;
        }
        let key = format!("{op:?}{shape:?}");
        if let Some(&node) = self.seen.get(&key) {
            return node;
        }
        let node = self.new.push(op, shape.to_vec(), dtype);
        self.seen.insert(key, node);
        node
    }

    fn local_rule(&mut self, op: &Op, shape: &[usize]) -> Option<Node> {
        match op {
            Op::Broadcast(a) | Op::Reshape(a) if self.new.shape(*a) == shape => return Some(*a),
            Op::Slice { of, .. } | Op::Pad { of, .. } if self.new.shape(*of) == shape => {
                return Some(*of);
            }
            Op::Permute(a, order) if order.iter().copied().eq(0..order.len()) => return Some(*a),
            Op::Sum(a, axes) if axes.is_empty() => return Some(*a),
            // Windows side by side without gaps, and the only window, are the axis cut in two.
            Op::Windows { of, axis, stride, dilation } | Op::Overlap { of, axis, stride, dilation } => {
                let own = self.new.shape(*of);
                let (wide, narrow) = if matches!(op, Op::Windows { .. }) { (shape, own) } else { (own, shape) };
                let (n, size, extent) = (wide[*axis], wide[axis + 1], narrow[*axis]);
                let is_cut = (*stride == size || n == 1) && (*dilation == 1 || size == 1) && n * size == extent;
                if is_cut {
                    return Some(self.emit(Op::Reshape(*of), shape, DType::Float));
                }
            }
            _ => {}
        }
        // Views of a constant are the constant repeated; repeating the scalar itself is the normal form.
        if let Op::Broadcast(a)
        | Op::Reshape(a)
        | Op::Slice { of: a, .. }
        | Op::Permute(a, _)
        | Op::Windows { of: a, .. } = *op
            && let Some(value) = self.constant_value(a)
            && !(matches!(op, Op::Broadcast(_)) && self.new.shape(a).is_empty())
        {
            return Some(self.filled(value, shape));
        }
        if let Some(node) = self.fold_constants(op, shape) {
            return Some(node);
        }
        let inner = op.operands().first().map(|&a| self.new.node(a).op.clone());
        match (op, inner) {
            (Op::Broadcast(_), Some(Op::Broadcast(x))) => Some(self.emit(Op::Broadcast(x), shape, self.new.dtype(x))),
            (Op::Reshape(_), Some(Op::Reshape(x))) => Some(self.emit(Op::Reshape(x), shape, self.new.dtype(x))),
            (Op::Permute(_, outer), Some(Op::Permute(x, inner))) => {
                let order = outer.iter().map(|&axis| inner[axis]).collect();
                Some(self.emit(Op::Permute(x, order), shape, self.new.dtype(x)))
            }
            (Op::Slice { axis, start, .. }, Some(Op::Slice { of: x, axis: inner_axis, start: inner_start }))
                if *axis == inner_axis =>
            {
                Some(self.emit(Op::Slice { of: x, axis: *axis, start: start + inner_start }, shape, self.new.dtype(x)))
            }
            (Op::Slice { axis, start, .. }, Some(Op::Pad { of: x, axis: inner_axis, before }))
                if *axis == inner_axis =>
            {
                self.slice_of_pad(x, *axis, *start, before, shape)
            }
            _ => self.pull_padding(op, shape),
        }
    }

    fn slice_of_pad(&mut self, x: Node, axis: usize, start: usize, before: usize, shape: &[usize]) -> Option<Node> {
        let inner = self.new.shape(x)[axis];
        let end = start + shape[axis];
        if start >= before && end <= before + inner {
            return Some(self.slice(x, Window { axis, start: start - before, extent: shape[axis], full: inner }));
        }
        (end <= before || start >= before + inner).then(|| self.filled(0.0, shape))
    }

    /// Scalars that are known now, and factors of one.
    fn fold_constants(&mut self, op: &Op, shape: &[usize]) -> Option<Node> {
        match *op {
            Op::Unary(unary, a) => {
                let value = self.constant_value(a)?;
                Some(self.filled(interpret::unary(unary, value), shape))
            }
            Op::Binary(binary, a, b) => {
                let (left, right) = (self.constant_value(a), self.constant_value(b));
                match (binary, left, right) {
                    (_, Some(x), Some(y)) => Some(self.filled(interpret::binary(binary, x, y), shape)),
                    (Binary::Mul | Binary::Div, None, Some(1.0)) | (Binary::Add | Binary::Sub, None, Some(0.0)) => {
                        Some(a)
                    }
                    (Binary::Mul, Some(1.0), None) | (Binary::Add, Some(0.0), None) => Some(b),
                    // Constants stand second, and two factors become one.
                    (Binary::Mul, Some(_), None) => Some(self.emit(Op::Binary(Binary::Mul, b, a), shape, DType::Float)),
                    (Binary::Mul, None, Some(y)) => match self.new.node(a).op {
                        Op::Binary(Binary::Mul, x, c) => {
                            let factor = self.constant_value(c)? * y;
                            // One that f32 cannot hold would overflow or vanish where the two in turn do not.
                            if factor != 0.0 && !(factor as f32).is_normal() {
                                return None;
                            }
                            let factor = self.filled(factor, shape);
                            Some(self.emit(Op::Binary(Binary::Mul, x, factor), shape, DType::Float))
                        }
                        _ => None,
                    },
                    _ => None,
                }
            }
            Op::Pad { of, .. } if self.constant_value(of) == Some(0.0) => Some(self.filled(0.0, shape)),
            _ => None,
        }
    }

    /// The value of a constant, however it was broadcast.
    fn constant_value(&self, node: Node) -> Option<f64> {
        match self.new.node(node).op {
            Op::Constant(value) => Some(value),
            Op::Broadcast(a) => match self.new.node(a).op {
                Op::Constant(value) => Some(value),
                _ => None,
            },
            _ => None,
        }
    }

    fn filled(&mut self, value: f64, shape: &[usize]) -> Node {
        let scalar = self.emit(Op::Constant(value), &[], DType::Float);
        if shape.is_empty() { scalar } else { self.emit(Op::Broadcast(scalar), shape, DType::Float) }
    }

    pub(crate) fn einsum(&mut self, a: Node, b: Node, spec: EinsumSpec) -> Node {
        let shape = spec.out_shape(self.new.shape(a), self.new.shape(b)).expect("labels come from a checked einsum");
        self.emit(Op::Einsum(a, b, spec), &shape, DType::Float)
    }

    pub(crate) fn slice(&mut self, of: Node, window: Window) -> Node {
        let mut shape = self.new.shape(of).to_vec();
        shape[window.axis] = window.extent;
        self.emit(Op::Slice { of, axis: window.axis, start: window.start }, &shape, self.new.dtype(of))
    }

    pub(crate) fn pad(&mut self, of: Node, window: Window) -> Node {
        let mut shape = self.new.shape(of).to_vec();
        shape[window.axis] = window.full;
        self.emit(Op::Pad { of, axis: window.axis, before: window.start }, &shape, DType::Float)
    }

    /// The slice `window` of an old node.
    pub(crate) fn narrow(&mut self, node: Node, window: Window, map: &[Node]) -> Node {
        if !self.in_slices[node.0 as usize] {
            return self.slice(map[node.0 as usize], window);
        }
        let key = (node, window.axis, window.start);
        if let Some(&slice) = self.slices.get(&key) {
            return slice;
        }
        let slice = self.slice_through(node, window, map).expect("only what slices move through is computed in slices");
        self.slices.insert(key, slice);
        slice
    }

    /// The slice `window` of the old node `of`, expressed by slices of its operands.
    pub(crate) fn slice_through(&mut self, of: Node, window: Window, map: &[Node]) -> Option<Node> {
        let old = self.old;
        let data = old.node(of);
        let mut shape = data.shape.clone();
        shape[window.axis] = window.extent;
        let moved = |node: Node| map[node.0 as usize];
        let axis = window.axis;
        Some(match &data.op {
            Op::Unary(..) | Op::Binary(..) | Op::Select(..) | Op::CrossEntropy { .. } => {
                let op = data.op.map_operands(|operand| self.narrow(operand, window, map));
                self.emit(op, &shape, DType::Float)
            }
            Op::Softmax(_) | Op::LogSoftmax(_) | Op::CrossEntropyGrad { .. } if axis + 1 < shape.len() => {
                let op = data.op.map_operands(|operand| self.narrow(operand, window, map));
                self.emit(op, &shape, DType::Float)
            }
            Op::PickMax { by, from, axes } => {
                let kept: Vec<usize> = (0..old.shape(*by).len()).filter(|i| !axes.contains(i)).collect();
                let inner = Window { axis: kept[axis], ..window };
                let (by, from) = (self.narrow(*by, inner, map), self.narrow(*from, inner, map));
                self.emit(Op::PickMax { by, from, axes: axes.clone() }, &shape, DType::Float)
            }
            Op::PutMax { by, values, axes } if !axes.contains(&axis) => {
                let inner = Window { axis: axis - axes.iter().filter(|&&other| other < axis).count(), ..window };
                let (by, values) = (self.narrow(*by, window, map), self.narrow(*values, inner, map));
                self.emit(Op::PutMax { by, values, axes: axes.clone() }, &shape, DType::Float)
            }
            Op::Broadcast(x) => {
                let own = old.shape(*x);
                let lead = data.shape.len() - own.len();
                let inner = if axis >= lead && own[axis - lead] != 1 {
                    self.narrow(*x, Window { axis: axis - lead, ..window }, map)
                } else {
                    moved(*x)
                };
                self.emit(Op::Broadcast(inner), &shape, data.dtype)
            }
            Op::Permute(x, order) => {
                let inner = self.narrow(*x, Window { axis: order[axis], ..window }, map);
                self.emit(Op::Permute(inner, order.clone()), &shape, data.dtype)
            }
            Op::Slice { of: x, axis: own, start } if *own != axis => {
                let inner = self.narrow(*x, window, map);
                self.emit(Op::Slice { of: inner, axis: *own, start: *start }, &shape, data.dtype)
            }
            Op::Reshape(x) => {
                let inner_axis = same_axis(&data.shape, old.shape(*x), axis)?;
                let inner = self.narrow(*x, Window { axis: inner_axis, ..window }, map);
                self.emit(Op::Reshape(inner), &shape, data.dtype)
            }
            Op::Pad { of: x, axis: own, before } if *own != axis => {
                let inner = self.narrow(*x, window, map);
                self.emit(Op::Pad { of: inner, axis: *own, before: *before }, &shape, DType::Float)
            }
            Op::Windows { of: x, axis: own, stride, dilation } => {
                let (n, size) = (data.shape[*own], data.shape[own + 1]);
                let reach = |n: usize, size: usize| (n - 1) * stride + (size - 1) * dilation + 1;
                let (start, extent) = match axis.checked_sub(*own) {
                    Some(0) => (window.start * stride, reach(window.extent, size)),
                    Some(1) => (window.start * dilation, reach(n, window.extent)),
                    _ => (window.start, window.extent),
                };
                let inner_axis = if axis > *own { axis - 1 } else { axis };
                let full = old.shape(*x)[inner_axis];
                let inner = self.narrow(*x, Window { axis: inner_axis, start, extent, full }, map);
                let op = Op::Windows { of: inner, axis: *own, stride: *stride, dilation: *dilation };
                self.emit(op, &shape, DType::Float)
            }
            Op::Overlap { of: x, axis: own, stride, dilation } if *own != axis => {
                let inner_axis = if axis > *own { axis + 1 } else { axis };
                let inner = self.narrow(*x, Window { axis: inner_axis, ..window }, map);
                let op = Op::Overlap { of: inner, axis: *own, stride: *stride, dilation: *dilation };
                self.emit(op, &shape, DType::Float)
            }
            Op::Iota { axis: own, start } => {
                let start = if *own == axis { start + window.start } else { *start };
                self.emit(Op::Iota { axis: *own, start }, &shape, DType::Float)
            }
            Op::Einsum(a, b, spec) => {
                let label = spec.out[axis];
                let mut narrow = |node: Node, labels: &[u8]| match labels.iter().position(|&l| l == label) {
                    Some(own) => self.narrow(node, Window { axis: own, ..window }, map),
                    None => moved(node),
                };
                let (a, b) = (narrow(*a, &spec.a), narrow(*b, &spec.b));
                self.einsum(a, b, spec.clone())
            }
            Op::Sum(x, axes) | Op::Max(x, axes) => {
                let kept: Vec<usize> = (0..old.shape(*x).len()).filter(|i| !axes.contains(i)).collect();
                let inner = self.narrow(*x, Window { axis: kept[axis], ..window }, map);
                let op = if matches!(data.op, Op::Sum(..)) {
                    Op::Sum(inner, axes.clone())
                } else {
                    Op::Max(inner, axes.clone())
                };
                self.emit(op, &shape, DType::Float)
            }
            Op::Gather { table, ids } => {
                let id_rank = old.shape(*ids).len();
                let op = if axis < id_rank {
                    Op::Gather { table: moved(*table), ids: self.narrow(*ids, window, map) }
                } else {
                    let narrow = self.narrow(*table, Window { axis: axis - id_rank + 1, ..window }, map);
                    Op::Gather { table: narrow, ids: moved(*ids) }
                };
                self.emit(op, &shape, DType::Float)
            }
            Op::Concat { parts, axis: joined } => {
                if axis != *joined {
                    let parts = parts.iter().map(|&part| self.narrow(part, window, map)).collect();
                    return Some(self.emit(Op::Concat { parts, axis: *joined }, &shape, DType::Float));
                }
                let mut before = 0;
                for &part in parts {
                    let extent = old.shape(part)[axis];
                    if window.start >= before && window.start + window.extent <= before + extent {
                        return Some(self.narrow(
                            part,
                            Window { start: window.start - before, full: extent, ..window },
                            map,
                        ));
                    }
                    before += extent;
                }
                return None;
            }
            _ => return None,
        })
    }
}

/// The axis of `to` that holds the same entries as `axis` of `from`, if the shapes differ by extents of one only.
pub(crate) fn same_axis(from: &[usize], to: &[usize], axis: usize) -> Option<usize> {
    let solid = |shape: &[usize]| shape.iter().copied().filter(|&extent| extent != 1).collect::<Vec<_>>();
    if from[axis] == 1 || solid(from) != solid(to) {
        return None;
    }
    let rank = from[..axis].iter().filter(|&&extent| extent != 1).count();
    to.iter().enumerate().filter(|(_, extent)| **extent != 1).nth(rank).map(|(i, _)| i)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Unary;

    fn simplified(build: impl FnOnce(&mut Graph) -> Node) -> (Graph, Node) {
        let mut g = Graph::new();
        let root = build(&mut g);
        g.check().unwrap();
        let (simple, roots) = g.simplified(&[root]);
        (simple, roots[0])
    }

    #[test]
    fn slices_that_can_go_no_further_settle() {
        let (g, root) = simplified(|g| {
            let x = g.input("x", &[4, 5, 6]);
            let a = g.slice(x, 0, 1, 2);
            let b = g.slice(a, 1, 1, 2);
            let c = g.slice(b, 2, 1, 2);
            g.tanh(c)
        });
        // One more pass changes the order of the slices at most.
        let (next, _) = Pass::run(&g, &[root]);
        let (after, _) = Pass::run(&next, &[root]);
        assert!(after.is_copy_of(&g) || next.is_copy_of(&g));
    }

    #[test]
    fn paddings_and_slices_that_meet_vanish() {
        let (g, _) = simplified(|g| {
            let x = g.input("x", &[4, 5]);
            let padded = g.pad(x, 1, 3, 2);
            let y = g.scale(padded, 2.0);
            let y = g.transpose(y);
            let y = g.slice(y, 0, 3, 5);
            g.transpose(y)
        });
        assert!(g.nodes.iter().all(|n| !matches!(n.op, Op::Pad { .. } | Op::Slice { .. } | Op::Permute(..))), "{g:?}");
        let (g, root) = simplified(|g| {
            let x = g.input("x", &[4, 5]);
            let padded = g.pad(x, 1, 3, 2);
            g.slice(padded, 1, 0, 3)
        });
        assert!(matches!(g.node(root).op, Op::Broadcast(zero) if g.node(zero).op == Op::Constant(0.0)));
    }

    #[test]
    fn only_the_windows_that_are_read_are_cut() {
        let (g, _) = simplified(|g| {
            let x = g.input("x", &[2, 20]);
            let y = g.tanh(x);
            let windows = g.windows(y, 1, 3, 2, 1);
            g.select_index(windows, 1, 4)
        });
        assert!(g.nodes.iter().any(|n| matches!(n.op, Op::Unary(Unary::Tanh, _)) && n.shape == [2, 3]), "{g:?}");
        let (g, _) = simplified(|g| {
            let x = g.input("x", &[2, 20]);
            g.windows(x, 1, 5, 5, 1)
        });
        assert!(g.nodes.iter().all(|n| !matches!(n.op, Op::Windows { .. })), "windows side by side are a reshape");
    }

    #[test]
    fn sums_that_share_operands_do_not_branch_without_end() {
        let (g, _) = simplified(|g| {
            let x = g.input("x", &[4]);
            let mut sum = x;
            for _ in 0..64 {
                sum = g.add(sum, sum);
            }
            let part = g.slice(x, 0, 1, 2);
            let padded = g.pad(part, 0, 1, 1);
            g.add(sum, padded)
        });
        assert!(g.nodes.len() < 80);
    }
}
