//! Which nodes run as one fused group, and the instructions of a group.

use std::collections::BTreeMap;

use super::joins::Joins;
use super::{Kernel, Planner, is_elementwise, request_len};
use crate::graph::{Graph, Node, Op};
use crate::kernels::fused::{Fused, Holds, Instruction, RowOp};
use crate::kernels::reduce::FEW;

/// Longest row of a group: 32 KiB a register.
const LONGEST_ROW: usize = 8192;

/// The fused groups of a graph: elementwise nodes, and sums, maxima and softmaxes of their rows.
pub(super) struct Groups {
    /// The root of each node's group.
    pub(super) of: Vec<Option<Node>>,
    /// What members hold.
    holds: Vec<Holds>,
    /// The rows of groups that do something to rows, by root.
    rows: BTreeMap<Node, Rows>,
}

/// Elements in row-major order as `n` rows of `width`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rows {
    n: usize,
    width: usize,
}

/// A node that reads another, and the rows along which a broadcast repeats what it reads.
struct Use {
    reader: Node,
    spread: Option<Rows>,
}

impl Groups {
    /// The group of a node is the one group that all its readers belong to, if there is one and the node fits in; else
    /// it is the root of its own. Every group has one result, and runs where its root stands: all it reads is there by
    /// then.
    pub(super) fn find(
        graph: &Graph,
        live: &[bool],
        constant: &[bool],
        roots: &[Node],
        readers: &[Vec<usize>],
        joins: &Joins,
    ) -> Self {
        let n = graph.nodes.len();
        let mut groups = Self { of: vec![None; n], holds: vec![Holds::Elements; n], rows: BTreeMap::new() };
        for at in (0..n).rev() {
            let node = Node(at as u32);
            let row_op = row_operation(graph, node);
            let is_member = row_op.is_some() || is_elementwise(&graph.nodes[at].op);
            if !live[at] || constant[at] || joins.sums.contains_key(&node) || !is_member {
                continue;
            }
            let uses = uses(graph, readers, roots, node);
            let first = uses.first().and_then(|u| groups.of[u.reader.0 as usize]);
            let g = first.filter(|_| uses.iter().all(|u| groups.of[u.reader.0 as usize] == first));
            let joined = g.filter(|_| !roots.contains(&node)).filter(|&g| groups.join(graph, node, g, &uses));
            groups.of[at] = Some(joined.unwrap_or(node));
            if let (None, Some((rows, holds))) = (joined, row_op) {
                groups.rows.insert(node, rows);
                groups.holds[at] = holds;
            }
        }
        // Alone, an operation on rows has a kernel of its own.
        for root in groups.rows.keys() {
            if groups.of.iter().filter(|of| **of == Some(*root)).count() == 1 {
                groups.of[root.0 as usize] = None;
            }
        }
        groups
    }

    /// Takes a node into the group of all its uses, if it fits.
    fn join(&mut self, graph: &Graph, node: Node, g: Node, uses: &[Use]) -> bool {
        let row_op = row_operation(graph, node);
        // A row operation reads elements, whatever it holds.
        let reads_rows =
            |u: &Use| self.holds[u.reader.0 as usize] == Holds::Rows && row_operation(graph, u.reader).is_none();
        let holds = if uses.iter().all(|u| u.spread.is_none() && !reads_rows(u)) {
            Holds::Elements
        } else if uses.iter().all(|u| u.spread.is_some() || reads_rows(u)) {
            Holds::Rows
        } else {
            return false;
        };
        let mut all_rows = uses.iter().filter_map(|u| u.spread).chain(row_op.map(|(rows, _)| rows));
        let first = self.rows.get(&g).copied().or_else(|| all_rows.next());
        if all_rows.any(|rows| Some(rows) != first) || first.is_some_and(|rows| !rows.fits()) {
            return false;
        }
        match (row_op, holds) {
            (Some((_, own)), _) if own == holds => {}
            // The group was one of values of rows all along.
            (Some((rows, Holds::Rows)), Holds::Elements)
                if !self.rows.contains_key(&g) && rows.n == request_len(graph, g) =>
            {
                let members = self.of.iter().zip(&mut self.holds).filter(|(of, _)| **of == Some(g));
                members.for_each(|(_, holds)| *holds = Holds::Rows);
            }
            (None, Holds::Elements) => return true,
            (None, Holds::Rows) if first.is_some_and(|rows| rows.n == request_len(graph, node)) => {}
            _ => return false,
        }
        self.rows.extend(first.map(|rows| (g, rows)));
        self.holds[node.0 as usize] = row_op.map_or(holds, |(_, own)| own);
        true
    }

    /// Whether a node is computed within a group, or is a view of such a one: its value is nowhere in memory.
    pub(super) fn is_inside(&self, graph: &Graph, node: Node) -> bool {
        match graph.node(node).op {
            Op::Broadcast(of) | Op::Reshape(of) => self.is_inside(graph, of),
            _ => self.of[node.0 as usize].is_some_and(|root| root != node),
        }
    }
}

impl Rows {
    /// Shorter rows have kernels of their own.
    fn fits(self) -> bool {
        self.width > FEW && self.width <= LONGEST_ROW
    }
}

/// The rows that an operation works on, and what it makes of them.
fn row_operation(graph: &Graph, node: Node) -> Option<(Rows, Holds)> {
    let (of, n_kept, holds) = match &graph.node(node).op {
        Op::Sum(of, axes) | Op::Max(of, axes) => {
            let n_kept = graph.shape(*of).len() - axes.len();
            (*of, axes.iter().copied().eq(n_kept..graph.shape(*of).len()).then_some(n_kept)?, Holds::Rows)
        }
        Op::Softmax(of) | Op::LogSoftmax(of) => (*of, graph.shape(*of).len() - 1, Holds::Elements),
        _ => return None,
    };
    let (kept, reduced) = graph.shape(of).split_at(n_kept);
    let rows = Rows { n: kept.iter().product(), width: reduced.iter().product() };
    rows.fits().then_some((rows, holds))
}

/// The rows of a broadcast that repeats one value along each.
fn repeated_rows(from: &[usize], to: &[usize]) -> Option<Rows> {
    let lead = to.len() - from.len();
    let aligned = |axis: usize| axis.checked_sub(lead).map_or(1, |own| from[own]);
    let n_kept = (0..to.len()).rposition(|axis| aligned(axis) == to[axis] && to[axis] > 1).map_or(0, |axis| axis + 1);
    let rows = Rows { n: to[..n_kept].iter().product(), width: to[n_kept..].iter().product() };
    (rows.n == from.iter().product::<usize>() && rows.width > 1).then_some(rows)
}

/// Who reads a node, through reshapes and through broadcasts along rows, unless such a view is asked for itself.
fn uses(graph: &Graph, readers: &[Vec<usize>], roots: &[Node], node: Node) -> Vec<Use> {
    let mut found = Vec::new();
    for &reader in &readers[node.0 as usize] {
        let reader = Node(reader as u32);
        match graph.node(reader).op {
            Op::Reshape(_) if !roots.contains(&reader) => found.extend(uses(graph, readers, roots, reader)),
            Op::Broadcast(of) if !roots.contains(&reader) => {
                let spread = repeated_rows(graph.shape(of), graph.shape(reader));
                if spread.is_none() {
                    found.push(Use { reader, spread });
                } else {
                    found.extend(readers[reader.0 as usize].iter().map(|&r| Use { reader: Node(r as u32), spread }));
                }
            }
            _ => found.push(Use { reader, spread: None }),
        }
    }
    found
}

impl Planner<'_> {
    /// The fused group rooted at `root`: its members in order, as instructions over block registers.
    pub(super) fn fused(&mut self, root: Node) {
        let is_member = |node: &Node| self.live[node.0 as usize] && self.groups.of[node.0 as usize] == Some(root);
        let members: Vec<Node> = (0..=root.0).map(Node).filter(is_member).collect();
        let mut operands = Vec::new();
        let mut holds = Vec::new();
        let mut registers: BTreeMap<Node, usize> = BTreeMap::new();
        for &member in &members {
            for operand in self.graph.node(member).op.operands() {
                if !self.groups.is_inside(self.graph, operand) && !registers.contains_key(&operand) {
                    registers.insert(operand, operands.len());
                    operands.push(self.layout(operand).as_operand(self.graph.shape(operand)));
                    let own = self.groups.holds[member.0 as usize];
                    holds.push(if is_elementwise(&self.graph.node(member).op) { own } else { Holds::Elements });
                }
            }
        }
        let mut instructions = Vec::new();
        for &member in &members {
            let op = &self.graph.node(member).op;
            let from: Vec<usize> = op
                .operands()
                .into_iter()
                .map(|operand| self.register(operand, operands.len(), &mut registers, &mut instructions))
                .collect();
            instructions.push(match (op, from.as_slice()) {
                (Op::Unary(op, _), &[a]) => Instruction::Unary(*op, a),
                (Op::Binary(op, ..), &[a, b]) => Instruction::Binary(*op, a, b),
                (Op::Select(..), &[c, a, b]) => Instruction::Select(c, a, b),
                (Op::Sum(..), &[a]) => Instruction::Row(RowOp::Sum, a),
                (Op::Max(..), &[a]) => Instruction::Row(RowOp::Max, a),
                (Op::Softmax(_), &[a]) => Instruction::Row(RowOp::Softmax, a),
                (Op::LogSoftmax(_), &[a]) => Instruction::Row(RowOp::LogSoftmax, a),
                _ => unreachable!("groups hold elementwise nodes and operations on rows only"),
            });
            registers.insert(member, operands.len() + instructions.len() - 1);
        }
        let len = request_len(self.graph, root);
        let rows = self.groups.rows.get(&root).map_or((len, 1), |rows| (rows.n, rows.width));
        let result = self.result_place(root);
        let flops = members.iter().map(|&member| self.flops(member)).sum();
        let fused = Fused::new(operands, holds, instructions, result, rows);
        self.step(root, Kernel::Fused(fused), result, flops);
        if let Some(step) = self.steps.last_mut() {
            let word = |member: &Node| match &self.graph.node(*member).op {
                Op::Unary(op, _) => format!("{op:?}").to_lowercase(),
                Op::Binary(op, ..) => format!("{op:?}").to_lowercase(),
                Op::Select(..) => "select".to_owned(),
                op => op.kind().to_owned(),
            };
            step.operation = members.iter().map(word).collect::<Vec<_>>().join(" ");
            step.n_nodes = members.len();
        }
        self.set_dense(root, result);
    }

    /// The register of a member's operand; a value of rows that is read along its rows is spread first.
    fn register(
        &self,
        node: Node,
        n_operands: usize,
        registers: &mut BTreeMap<Node, usize>,
        instructions: &mut Vec<Instruction>,
    ) -> usize {
        if let Some(&register) = registers.get(&node) {
            return register;
        }
        let register = match self.graph.node(node).op {
            Op::Reshape(of) => self.register(of, n_operands, registers, instructions),
            Op::Broadcast(of) => {
                let of = self.register(of, n_operands, registers, instructions);
                instructions.push(Instruction::Row(RowOp::Spread, of));
                n_operands + instructions.len() - 1
            }
            _ => unreachable!("members come after their operands"),
        };
        registers.insert(node, register);
        register
    }

    /// Operations of a node, about.
    fn flops(&self, node: Node) -> usize {
        match &self.graph.node(node).op {
            Op::Sum(of, _) | Op::Max(of, _) => request_len(self.graph, *of),
            Op::Softmax(_) | Op::LogSoftmax(_) => 8 * request_len(self.graph, node),
            _ => request_len(self.graph, node),
        }
    }
}
