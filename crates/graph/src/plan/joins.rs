//! Results written where they are needed next: products added to what is already there, parts of a concatenation in it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Place, Planner, Space, request_len};
use crate::graph::{Binary, Graph, Node, Op};

/// Which sums and concatenations need no step of their own.
pub(super) struct Joins {
    /// A sum, the operand whose memory it takes, and the product that is added there.
    pub(super) sums: BTreeMap<Node, (Node, Node)>,
    /// Products that add to their result.
    pub(super) adding: BTreeSet<Node>,
    /// Operands of concatenations that are written into them.
    pub(super) parts: BTreeSet<Node>,
}

impl Joins {
    pub(super) fn find(
        graph: &Graph,
        live: &[bool],
        constant: &[bool],
        readers: &[Vec<usize>],
        roots: &[Node],
    ) -> Self {
        let mut joins = Self { sums: BTreeMap::new(), adding: BTreeSet::new(), parts: BTreeSet::new() };
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
