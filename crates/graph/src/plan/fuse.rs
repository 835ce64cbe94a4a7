//! Which elementwise nodes run as one group, and the instructions of a group.

use std::collections::BTreeMap;

use super::joins::Joins;
use super::{Kernel, Planner, is_elementwise, request_len};
use crate::graph::{Graph, Node, Op};
use crate::kernels::fused::{Fused, Instruction, Operand};

/// The group of an elementwise node is the one group that reads it, if there is only one, with the same shape; else it
/// is the root of its own. Every group has one result, and runs where its root stands: all it reads is there by then.
pub(super) fn groups(
    graph: &Graph,
    live: &[bool],
    constant: &[bool],
    roots: &[Node],
    readers: &[Vec<usize>],
    joins: &Joins,
) -> Vec<Option<Node>> {
    let n = graph.nodes.len();
    let mut group: Vec<Option<Node>> = vec![None; n];
    for at in (0..n).rev() {
        let node = Node(at as u32);
        if !live[at] || constant[at] || !is_elementwise(&graph.nodes[at].op) || joins.sums.contains_key(&node) {
            continue;
        }
        let mut of_readers = readers[at].iter().map(|&reader| {
            let same_shape = graph.nodes[reader].shape == graph.nodes[at].shape;
            group[reader].filter(|_| same_shape)
        });
        let first = of_readers.next().flatten();
        let joined = first.filter(|&g| !roots.contains(&node) && of_readers.all(|other| other == Some(g)));
        group[at] = Some(joined.unwrap_or(node));
    }
    group
}

impl Planner<'_> {
    /// The fused group rooted at `root`: its members in order, as instructions over block registers.
    pub(super) fn fused(&mut self, root: Node) {
        let shape = self.graph.shape(root).to_vec();
        let members: Vec<Node> = (0..=root.0)
            .map(Node)
            .filter(|n| self.live[n.0 as usize] && self.group[n.0 as usize] == Some(root))
            .collect();
        let mut operands: Vec<Operand> = Vec::new();
        let mut operand_nodes: Vec<Node> = Vec::new();
        let mut instructions = Vec::new();
        let mut registers: BTreeMap<Node, usize> = BTreeMap::new();
        for &member in &members {
            for operand in self.graph.nodes[member.0 as usize].op.operands() {
                if !members.contains(&operand) && !operand_nodes.contains(&operand) {
                    operand_nodes.push(operand);
                    operands.push(self.layout(operand).as_operand(&shape));
                }
            }
        }
        for (i, &node) in operand_nodes.iter().enumerate() {
            registers.insert(node, i);
        }
        for (i, &member) in members.iter().enumerate() {
            registers.insert(member, operand_nodes.len() + i);
        }
        for &member in &members {
            let register = |n: &Node| registers[n];
            instructions.push(match &self.graph.nodes[member.0 as usize].op {
                Op::Unary(op, a) => Instruction::Unary(*op, register(a)),
                Op::Binary(op, a, b) => Instruction::Binary(*op, register(a), register(b)),
                Op::Select(c, a, b) => Instruction::Select(register(c), register(a), register(b)),
                _ => unreachable!("groups hold elementwise nodes only"),
            });
        }
        let result = self.result_place(root);
        let len = request_len(self.graph, root);
        let flops = len * members.len();
        let fused = Fused::new(operands, instructions, result, len);
        self.step(root, Kernel::Fused(fused), result, flops);
        if let Some(step) = self.steps.last_mut() {
            let word = |member: &Node| match self.graph.node(*member).op {
                Op::Unary(op, _) => format!("{op:?}").to_lowercase(),
                Op::Binary(op, ..) => format!("{op:?}").to_lowercase(),
                _ => "select".to_owned(),
            };
            step.operation = members.iter().map(word).collect::<Vec<_>>().join(" ");
            step.n_nodes = members.len();
        }
        self.set_dense(root, result);
    }
}
