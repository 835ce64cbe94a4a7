//! Tall, narrow values are stored on their side: `[512, 6]` as `[6, 512]`.
//!
//! Kernels work along the last axis, and six floats do not fill a vector of sixteen. Where the examples of a batch stand
//! first and little stands behind them, the batch becomes the last axis, from the inputs to the reductions over it.
//! Nothing is copied for it but the inputs: products write their results in any order.

use crate::einsum::EinsumSpec;
use crate::graph::{DType, Graph, Node, Op};

/// Examples from which turning pays.
const TALL: usize = 64;
/// Elements of an example up to which it does.
const NARROW: usize = 24;
/// Elements of a weight that multiplies such values.
const SMALL: usize = 1024;

impl Graph {
    /// An equivalent graph in which tall, narrow values have their first axis last, and the roots in it.
    pub(crate) fn turned(&self, roots: &[Node]) -> (Self, Vec<Node>) {
        let turned = self.to_turn(roots);
        if !turned.contains(&true) {
            return (self.clone(), roots.to_vec());
        }
        let mut turning = Turning { old: self, new: Self::new(), turned, map: Vec::with_capacity(self.nodes.len()) };
        for at in 0..self.nodes.len() {
            let node = turning.emit(Node(at as u32));
            turning.map.push(node);
        }
        let upright: Vec<Node> = (0..self.nodes.len()).map(|at| turning.upright(Node(at as u32))).collect();
        let Turning { mut new, map, .. } = turning;
        new.params.clone_from(&self.params);
        new.inputs.clone_from(&self.inputs);
        for (name, node) in self.names() {
            let _ = new.named(map[node.0 as usize], name);
        }
        for named in new.params.iter_mut().chain(&mut new.inputs) {
            named.node = upright.get(named.node.0 as usize).copied().unwrap_or(named.node);
        }
        (new, roots.iter().map(|root| upright[root.0 as usize]).collect())
    }

    /// Which nodes to store on their side.
    fn to_turn(&self, roots: &[Node]) -> Vec<bool> {
        let live = {
            let mut live = vec![false; self.nodes.len()];
            self.ancestors(roots).into_iter().for_each(|at| live[at] = true);
            live
        };
        let batches: Vec<usize> = self
            .inputs
            .iter()
            .filter_map(|input| self.nodes.get(input.node.0 as usize)?.shape.first().copied())
            .collect();
        let is_narrow = |at: usize| {
            let data = &self.nodes[at];
            let [first, rest @ ..] = data.shape.as_slice() else { return false };
            data.dtype == DType::Float
                && *first >= TALL
                && !rest.is_empty()
                && rest.iter().product::<usize>() <= NARROW
                && batches.contains(first)
        };
        let mut turned: Vec<bool> = (0..self.nodes.len())
            .map(|at| {
                let is_kind = match &self.nodes[at].op {
                    Op::Input(_) | Op::Unary(..) | Op::Binary(..) | Op::Select(..) | Op::Broadcast(_) | Op::Sum(..) => {
                        true
                    }
                    Op::Einsum(a, b, _) => [a, b].iter().all(|operand| {
                        is_narrow(operand.0 as usize) || self.shape(**operand).iter().product::<usize>() <= SMALL
                    }),
                    _ => false,
                };
                live[at] && is_kind && is_narrow(at) && !roots.contains(&Node(at as u32))
            })
            .collect();
        // What other kernels read stays upright.
        for at in (0..self.nodes.len()).filter(|&at| live[at]) {
            let op = &self.nodes[at].op;
            let reads_any = matches!(
                op,
                Op::Unary(..) | Op::Binary(..) | Op::Select(..) | Op::Broadcast(_) | Op::Sum(..) | Op::Einsum(..)
            );
            if !reads_any {
                op.operands().iter().for_each(|operand| turned[operand.0 as usize] = false);
            }
        }
        turned
    }
}

struct Turning<'a> {
    old: &'a Graph,
    new: Graph,
    turned: Vec<bool>,
    /// The node in the new graph, on its side where that was decided.
    map: Vec<Node>,
}

impl Turning<'_> {
    fn is_turned(&self, node: Node) -> bool {
        self.turned[node.0 as usize]
    }

    /// The new node as the old one stood.
    fn upright(&mut self, node: Node) -> Node {
        let new = self.map[node.0 as usize];
        if !self.is_turned(node) {
            return new;
        }
        let rank = self.old.shape(node).len();
        let order: Vec<usize> = std::iter::once(rank - 1).chain(0..rank - 1).collect();
        self.new.permute(new, &order)
    }

    /// The new node with the first axis of the old one last.
    fn on_side(&mut self, node: Node) -> Node {
        let new = self.map[node.0 as usize];
        if self.is_turned(node) { new } else { self.turn(new) }
    }

    fn turn(&mut self, node: Node) -> Node {
        let rank = self.new.shape(node).len();
        let order: Vec<usize> = (1..rank).chain([0]).collect();
        self.new.permute(node, &order)
    }

    fn emit(&mut self, node: Node) -> Node {
        let old = self.old;
        let data = old.node(node);
        let mut shape = data.shape.clone();
        match &data.op {
            Op::Einsum(a, b, spec) => {
                let rotated = |labels: &[u8], turned: bool| {
                    let mut labels = labels.to_vec();
                    if turned {
                        labels.rotate_left(1);
                    }
                    labels
                };
                let spec = EinsumSpec {
                    a: rotated(&spec.a, self.is_turned(*a)),
                    b: rotated(&spec.b, self.is_turned(*b)),
                    out: rotated(&spec.out, self.is_turned(node)),
                };
                self.new.einsum_of(self.map[a.0 as usize], self.map[b.0 as usize], spec)
            }
            Op::Unary(..) | Op::Binary(..) | Op::Select(..) if self.is_turned(node) => {
                let moved: Vec<Node> = data.op.operands().into_iter().map(|operand| self.on_side(operand)).collect();
                let mut moved = moved.into_iter();
                let op = data.op.map_operands(|operand| moved.next().unwrap_or(operand));
                shape.rotate_left(1);
                self.new.push(op, shape, data.dtype)
            }
            Op::Sum(a, axes) if self.is_turned(*a) => {
                let rank = old.shape(*a).len();
                let mut axes: Vec<usize> = axes.iter().map(|&axis| (axis + rank - 1) % rank).collect();
                axes.sort_unstable();
                let sum = self.new.sum(self.map[a.0 as usize], &axes);
                // What is left of the first axis stands last now.
                let is_kept = !axes.contains(&(rank - 1));
                match (is_kept && shape.len() > 1, self.is_turned(node)) {
                    (true, false) => {
                        let order: Vec<usize> = std::iter::once(shape.len() - 1).chain(0..shape.len() - 1).collect();
                        self.new.permute(sum, &order)
                    }
                    (false, true) => self.turn(sum),
                    _ => sum,
                }
            }
            op => {
                let moved: Vec<Node> = op.operands().into_iter().map(|operand| self.upright(operand)).collect();
                let mut moved = moved.into_iter();
                let op = op.map_operands(|operand| moved.next().unwrap_or(operand));
                let is_input = matches!(op, Op::Input(_));
                let upright = self.new.push(op, shape, data.dtype);
                match (self.is_turned(node), is_input) {
                    (false, _) => upright,
                    (true, false) => self.turn(upright),
                    // The one copy: a concatenation of a single part.
                    (true, true) => {
                        let turned = self.turn(upright);
                        self.new.concat(&[turned], 0)
                    }
                }
            }
        }
    }
}
