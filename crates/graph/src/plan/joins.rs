//! Results written where they are needed next: products added to what is already there, parts of a concatenation in it.

use std::collections::{BTreeMap, BTreeSet};

use super::layout::Layout;
use super::{Place, Planner, Space, request_len};
use crate::graph::{Binary, Graph, Node, Op, Unary};
use crate::kernels::contract::{FinishOp, MAX_FINISH};

/// Which sums and concatenations need no step of their own.
pub(super) struct Joins {
    /// A sum, the operand whose memory it takes, and the product that is added there.
    pub(super) sums: BTreeMap<Node, (Node, Node)>,
    /// Products that add to their result.
    pub(super) adding: BTreeSet<Node>,
    /// Operands of concatenations that are written into them.
    pub(super) parts: BTreeSet<Node>,
    /// Products whose entries are added up in overlapping windows at once: what they end up in, and the strides of
    /// their axes there.
    pub(super) overlapping: BTreeMap<Node, (Node, Vec<usize>)>,
    /// Products that take the elementwise group behind them along: its root, and the steps with their other operands
    /// (of a relu, the product itself).
    pub(super) finishing: BTreeMap<Node, (Node, Vec<Step>)>,
    /// Nodes that a product computes on the way, and those that it makes needless.
    pub(super) passed: BTreeSet<Node>,
}

/// An elementwise step and its other operand; none is a relu.
type Step = (Option<FinishOp>, Node);

impl Joins {
    pub(super) fn find(
        graph: &Graph,
        live: &[bool],
        constant: &[bool],
        readers: &[Vec<usize>],
        roots: &[Node],
    ) -> Self {
        let mut joins = Self {
            sums: BTreeMap::new(),
            adding: BTreeSet::new(),
            parts: BTreeSet::new(),
            overlapping: BTreeMap::new(),
            finishing: BTreeMap::new(),
            passed: BTreeSet::new(),
        };
        // Its value is written by a step of its own, for one reader.
        let is_own = |node: Node| {
            let at = node.0 as usize;
            let is_written = matches!(
                graph.nodes[at].op,
                Op::Einsum(..)
                    | Op::Unary(..)
                    | Op::Binary(..)
                    | Op::Select(..)
                    | Op::Sum(..)
                    | Op::Max(..)
                    | Op::Softmax(_)
                    | Op::LogSoftmax(_)
                    | Op::Gather { .. }
                    | Op::ScatterAdd { .. }
                    | Op::CrossEntropy { .. }
                    | Op::CrossEntropyGrad { .. }
            );
            is_written && !constant[at] && readers[at].len() == 1 && !roots.contains(&node)
        };
        for at in (0..graph.nodes.len()).rev().filter(|&at| live[at]) {
            let node = Node(at as u32);
            let is_new = !constant[at] && !joins.passed.contains(&node);
            if is_new && matches!(graph.nodes[at].op, Op::Overlap { .. }) {
                joins.find_overlapping(graph, readers, roots, node);
            }
        }
        for at in (0..graph.nodes.len()).filter(|&at| live[at]) {
            let node = Node(at as u32);
            match &graph.nodes[at].op {
                Op::Binary(Binary::Add, a, b) => {
                    let (first, second) = if a < b { (*a, *b) } else { (*b, *a) };
                    let is_product = matches!(graph.node(second).op, Op::Einsum(..));
                    if first != second && is_product && is_own(second) && is_own(first) {
                        joins.sums.insert(node, (first, second));
                        joins.adding.insert(second);
                    }
                }
                Op::Concat { parts, axis } => {
                    // Only the outermost axis leaves every part in one piece.
                    let is_outermost = graph.shape(node)[..*axis].iter().all(|&extent| extent == 1);
                    if is_outermost {
                        joins.parts.extend(parts.iter().copied().filter(|&part| is_own(part)));
                    }
                }
                _ => {}
            }
        }
        joins
    }

    /// Follows the operands of an overlap-add, through others and through views, to a product that nobody else reads.
    fn find_overlapping(&mut self, graph: &Graph, readers: &[Vec<usize>], roots: &[Node], result: Node) {
        let place = Place { buffer: 0, offset: 0 };
        let mut layout = Layout::dense(place, graph.shape(result));
        let (mut node, mut passed) = (result, vec![result]);
        loop {
            let operand = match &graph.node(node).op {
                Op::Overlap { of, axis, stride, dilation } => {
                    layout.strides = super::window_strides(&layout.strides, *axis, *stride, *dilation);
                    *of
                }
                Op::Permute(of, order) => {
                    let mut strides = vec![0; order.len()];
                    for (&stride, &axis) in layout.strides.iter().zip(order) {
                        strides[axis] = stride;
                    }
                    layout.strides = strides;
                    *of
                }
                Op::Reshape(of) => match layout.reshaped(graph.shape(node), graph.shape(*of)) {
                    Some(reshaped) => {
                        layout = reshaped;
                        *of
                    }
                    None => return,
                },
                Op::Einsum(..) => {
                    self.overlapping.insert(node, (result, layout.strides));
                    self.passed.extend(passed.into_iter().filter(|&other| other != node));
                    return;
                }
                _ => return,
            };
            if readers[operand.0 as usize].len() != 1 || roots.contains(&operand) {
                return;
            }
            passed.push(operand);
            node = operand;
        }
    }
}

impl Joins {
    /// Finds the groups that are a few steps on a product nobody else reads: biases, relus and their derivatives,
    /// residual sums. `group` holds the root of each elementwise node's group. A constant product is made when the program
    /// is, and takes nothing along.
    pub(super) fn find_finishing(
        &mut self,
        graph: &Graph,
        constant: &[bool],
        group: &[Option<Node>],
        readers: &[Vec<usize>],
        roots: &[Node],
    ) {
        for (at, data) in graph.nodes.iter().enumerate().filter(|&(at, _)| !constant[at]) {
            let product = Node(at as u32);
            let is_free = !self.adding.contains(&product) && !self.overlapping.contains_key(&product);
            if matches!(data.op, Op::Einsum(..)) && is_free && !roots.contains(&product) {
                self.finish_of(graph, group, readers, product);
            }
        }
    }

    fn finish_of(&mut self, graph: &Graph, group: &[Option<Node>], readers: &[Vec<usize>], product: Node) {
        let single_reader = |node: Node| match readers[node.0 as usize].as_slice() {
            [reader] => Some(Node(*reader as u32)),
            _ => None,
        };
        let Some(root) = single_reader(product).and_then(|reader| group[reader.0 as usize]) else { return };
        let (mut steps, mut members, mut value) = (Vec::new(), Vec::new(), product);
        while value != root {
            let Some(reader) = single_reader(value).filter(|reader| group[reader.0 as usize] == Some(root)) else {
                return;
            };
            match graph.node(reader).op {
                Op::Unary(Unary::Relu, _) => steps.push((None, product)),
                Op::Binary(op @ (Binary::Add | Binary::Mul), a, b) => {
                    let other = if a == value { b } else { a };
                    let step = match (op, &graph.node(other).op) {
                        (Binary::Mul, Op::Unary(Unary::Step, of)) if group[other.0 as usize] == Some(root) => {
                            members.push(other);
                            (Some(FinishOp::Gate), *of)
                        }
                        (Binary::Add, _) => (Some(FinishOp::Add), other),
                        _ => (Some(FinishOp::Mul), other),
                    };
                    // The other operand must be there when the product runs: views of it cost nothing at any time.
                    let mut source = step.1;
                    while super::is_view(&graph.node(source).op) {
                        source = graph.node(source).op.operands()[0];
                    }
                    let is_given =
                        matches!(graph.node(source).op, Op::Param(_) | Op::Input(_) | Op::Constant(_) | Op::Values(_));
                    if !is_given && source > product || group[step.1.0 as usize] == Some(root) {
                        return;
                    }
                    steps.push(step);
                }
                _ => return,
            }
            members.push(reader);
            value = reader;
        }
        let n_members = group.iter().filter(|of| **of == Some(root)).count();
        if steps.len() <= MAX_FINISH && members.len() == n_members {
            self.passed.extend(members);
            self.finishing.insert(product, (root, steps));
        }
    }
}

impl Planner<'_> {
    /// Fixes the places of joined results, from the last to the first: a result may be joined again.
    pub(super) fn place_joined(&mut self) {
        let graph = self.graph;
        for at in (0..graph.nodes.len()).rev() {
            if !self.live[at] {
                continue;
            }
            let node = Node(at as u32);
            if let Some(&(first, second)) = self.joins.sums.get(&node) {
                let place = self.fixed_place(node);
                self.preset.insert(first, place);
                self.preset.insert(second, place);
            } else if let Op::Concat { parts, axis } = &graph.nodes[at].op
                && parts.iter().any(|part| self.joins.parts.contains(part))
            {
                let place = self.fixed_place(node);
                let stride = crate::shape::row_major_strides(graph.shape(node))[*axis];
                let mut offset = place.offset;
                for &part in parts {
                    if self.joins.parts.contains(&part) {
                        self.preset.insert(part, Place { offset, ..place });
                    }
                    offset += graph.shape(part)[*axis] * stride;
                }
            }
        }
    }

    fn fixed_place(&mut self, node: Node) -> Place {
        if let Some(&place) = self.preset.get(&node) {
            return place;
        }
        let place = self.buffer(Space::Transient, request_len(self.graph, node));
        self.preset.insert(node, place);
        place
    }
}
