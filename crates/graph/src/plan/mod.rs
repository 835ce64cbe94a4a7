//! The planner: from a simplified graph to a list of steps over buffers, with fused elementwise groups.

mod arena;
mod contract;
mod fuse;
mod joins;
pub(crate) mod layout;
mod proof;

use std::collections::BTreeMap;

use crate::graph::{DType, Graph, Node, Op};
use crate::kernels::at_max::AtMax;
use crate::kernels::contract::{Contract, Mode};
use crate::kernels::copy::Copy;
use crate::kernels::fused::Fused;
use crate::kernels::overlap::Overlap;
use crate::kernels::reduce::Reduce;
use crate::kernels::rows::{RowKind, Rows};
use crate::kernels::tables::Table;
use fuse::Groups;
use joins::Joins;
use layout::{Layout, broadcast_strides, collapse, window_strides};

/// A place in memory: element `offset` of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) buffer: usize,
    pub(crate) offset: usize,
}

impl Place {
    /// So many elements further on.
    pub(crate) fn plus(self, n: usize) -> Self {
        Self { offset: self.offset + n, ..self }
    }
}

/// Memory of one kind, by what owns it and when it is needed.
#[derive(Debug, Clone)]
pub(crate) struct Buffer {
    pub(crate) space: Space,
    pub(crate) len: usize,
    /// Offset within its space; for transient buffers set by the arena allocator.
    pub(crate) offset: usize,
}

/// Who owns a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Space {
    /// The caller's flat weights.
    Weights,
    /// Constants of the program.
    Literals,
    /// Integer inputs of the workspace.
    Ids,
    /// Float inputs, outputs and the gradient: kept in the workspace between steps.
    Kept,
    /// Intermediate values, sharing memory by liveness.
    Transient,
}

/// One kernel call.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) kernel: Kernel,
    /// What it computes, for messages and listings.
    pub(crate) label: String,
    /// Where its result lies.
    pub(crate) result: Place,
    pub(crate) len: usize,
    /// Shape of the result, and the operations behind it.
    pub(crate) shape: Vec<usize>,
    pub(crate) operation: String,
    /// Nodes of the simplified graph that it computes.
    pub(crate) n_nodes: usize,
    /// Floating-point operations, counting a multiply-add as two.
    pub(crate) flops: usize,
    /// About how long one thread takes, in nanoseconds; 0 for what cannot be cut.
    pub(crate) cost_ns: usize,
}

#[derive(Debug)]
pub(crate) enum Kernel {
    Fused(Fused),
    Contract(Contract),
    Reduce(Reduce),
    Rows(Rows),
    Table(Table),
    Copy(Copy),
    Overlap(Overlap),
    AtMax(AtMax),
}

/// A plan: steps in order, buffers with their places, and where inputs and results are.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    pub(crate) buffers: Vec<Buffer>,
    pub(crate) literals: Vec<f32>,
    /// Place of every input, by index.
    pub(crate) inputs: Vec<Place>,
    /// Place and length of every requested output.
    pub(crate) outputs: Vec<(Place, usize)>,
    /// Place of the flat gradient.
    pub(crate) gradient: Place,
    pub(crate) n_kept: usize,
    pub(crate) n_transient: usize,
    pub(crate) n_ids: usize,
}

/// What the planner is asked for.
pub(crate) struct Request<'a> {
    /// Simplified graph.
    pub(crate) graph: &'a Graph,
    /// Offset of each parameter in the flat vector.
    pub(crate) param_offsets: &'a [usize],
    pub(crate) n_params: usize,
    /// Type and length of every input.
    pub(crate) inputs: &'a [(DType, usize)],
    pub(crate) outputs: &'a [Node],
    /// (offset in the flat gradient, node).
    pub(crate) gradients: &'a [(usize, Node)],
}

impl Plan {
    pub(crate) fn new(request: &Request<'_>) -> Self {
        let mut planner = Planner::new(request);
        planner.plan_nodes();
        planner.deliver();
        let plan = planner.finish();
        if cfg!(debug_assertions) {
            proof::check(&plan);
        }
        plan
    }
}

struct Planner<'a> {
    request: &'a Request<'a>,
    graph: &'a Graph,
    live: Vec<bool>,
    /// Computed at compile time.
    constant: Vec<bool>,
    groups: Groups,
    layouts: Vec<Option<Layout>>,
    /// Contiguous copies made of strided values.
    copies: BTreeMap<Node, Place>,
    /// Where a node's result must be written, if it has a fixed place.
    preset: BTreeMap<Node, Place>,
    /// Sums and concatenations whose operands are written where the result belongs.
    joins: Joins,
    buffers: Vec<Buffer>,
    steps: Vec<Step>,
    literals: Vec<f32>,
    literal_buffer: usize,
    outputs: Vec<(Place, usize)>,
    gradient: Place,
    inputs: Vec<Place>,
}

impl<'a> Planner<'a> {
    fn new(request: &'a Request<'a>) -> Self {
        let graph = request.graph;
        let n = graph.nodes.len();
        let roots: Vec<Node> =
            request.outputs.iter().copied().chain(request.gradients.iter().map(|(_, node)| *node)).collect();
        let mut live = vec![false; n];
        for root in &roots {
            live[root.0 as usize] = true;
        }
        for at in (0..n).rev() {
            if live[at] {
                for operand in graph.nodes[at].op.operands() {
                    live[operand.0 as usize] = true;
                }
            }
        }
        let mut constant = vec![false; n];
        for at in 0..n {
            let op = &graph.nodes[at].op;
            constant[at] =
                !matches!(op, Op::Param(_) | Op::Input(_)) && op.operands().iter().all(|o| constant[o.0 as usize]);
        }
        let weights = Buffer { space: Space::Weights, len: request.n_params, offset: 0 };
        let literals = Buffer { space: Space::Literals, len: 0, offset: 0 };
        let gradient = Buffer { space: Space::Kept, len: request.n_params, offset: 0 };
        let readers = readers(graph, &live);
        let mut joins = Joins::find(graph, &live, &constant, &readers, &roots);
        let groups = Groups::find(graph, &live, &constant, &roots, &readers, &joins);
        joins.find_finishing(graph, &constant, &groups.of, &readers, &roots);
        let mut planner = Self {
            request,
            graph,
            groups,
            joins,
            live,
            constant,
            layouts: vec![None; n],
            copies: BTreeMap::new(),
            preset: BTreeMap::new(),
            buffers: vec![weights, literals, gradient],
            steps: Vec::new(),
            literals: Vec::new(),
            literal_buffer: 1,
            outputs: Vec::new(),
            gradient: Place { buffer: 2, offset: 0 },
            inputs: Vec::new(),
        };
        for &(dtype, len) in request.inputs {
            let space = if dtype == DType::Ids { Space::Ids } else { Space::Kept };
            let place = planner.buffer(space, len);
            planner.inputs.push(place);
        }
        for &(offset, node) in request.gradients {
            let place = Place { buffer: planner.gradient.buffer, offset };
            planner.preset.entry(node).or_insert(place);
        }
        for &node in request.outputs {
            let len = request_len(graph, node);
            let place = planner.buffer(Space::Kept, len);
            planner.outputs.push((place, len));
            planner.preset.entry(node).or_insert(place);
        }
        planner.place_joined();
        planner
    }

    fn buffer(&mut self, space: Space, len: usize) -> Place {
        self.buffers.push(Buffer { space, len, offset: 0 });
        Place { buffer: self.buffers.len() - 1, offset: 0 }
    }

    /// Where the dense result of a node goes.
    fn result_place(&mut self, node: Node) -> Place {
        match self.preset.get(&node) {
            Some(&place) => place,
            None => self.buffer(Space::Transient, request_len(self.graph, node)),
        }
    }

    fn layout(&self, node: Node) -> &Layout {
        self.layouts[node.0 as usize].as_ref().expect("operands are laid out before their node")
    }

    fn set_dense(&mut self, node: Node, place: Place) {
        self.layouts[node.0 as usize] = Some(Layout::dense(place, self.graph.shape(node)));
    }

    fn step(&mut self, node: Node, kernel: Kernel, result: Place, flops: usize) {
        let len = request_len(self.graph, node);
        self.step_of(node, kernel, (result, len), flops);
    }

    fn step_of(&mut self, node: Node, kernel: Kernel, (result, len): (Place, usize), flops: usize) {
        let (label, shape) = (self.graph.describe(node), self.graph.shape(node).to_vec());
        let operation = match &self.graph.node(node).op {
            Op::Einsum(_, _, spec) => spec.to_string(),
            op => op.kind().to_owned(),
        };
        let cost_ns = kernel.cost_ns(flops);
        self.steps.push(Step { kernel, label, result, len, shape, operation, n_nodes: 1, flops, cost_ns });
    }

    fn plan_nodes(&mut self) {
        for at in 0..self.graph.nodes.len() {
            if self.live[at] && self.layouts[at].is_none() {
                self.plan_node(Node(at as u32));
            }
        }
    }

    fn plan_node(&mut self, node: Node) {
        let data = &self.graph.nodes[node.0 as usize];
        let graph = self.graph;
        let at = node.0 as usize;
        if self.joins.passed.contains(&node) {
            return;
        }
        if self.constant[at] && !is_view(&data.op) {
            return self.literal(node);
        }
        match self.groups.of[at] {
            Some(root) if root == node => return self.fused(node),
            _ if self.groups.is_inside(graph, node) => return,
            _ => {}
        }
        match &data.op {
            Op::Param(idx) => {
                let place = Place { buffer: 0, offset: self.request.param_offsets[*idx] };
                self.set_dense(node, place);
            }
            Op::Input(idx) => self.set_dense(node, self.inputs[*idx]),
            Op::Constant(_) | Op::Values(_) | Op::Iota { .. } | Op::Rotation { .. } => self.literal(node),
            Op::Broadcast(a) => {
                let strides = broadcast_strides(&self.layout(*a).strides, graph.shape(*a), &data.shape);
                self.layouts[at] = Some(Layout { place: self.layout(*a).place, strides });
            }
            Op::Permute(a, order) => {
                let own = self.layout(*a);
                let strides = order.iter().map(|&axis| own.strides[axis]).collect();
                self.layouts[at] = Some(Layout { place: own.place, strides });
            }
            Op::Slice { of, axis, start } => {
                let own = self.layout(*of);
                let place = Place { offset: own.place.offset + start * own.strides[*axis], ..own.place };
                self.layouts[at] = Some(Layout { place, strides: own.strides.clone() });
            }
            Op::Reshape(a) => {
                let own = self.layout(*a);
                self.layouts[at] = Some(if let Some(layout) = own.reshaped(graph.shape(*a), &data.shape) {
                    layout
                } else {
                    let place = self.dense(*a);
                    Layout::dense(place, &data.shape)
                });
            }
            Op::Windows { of, axis, stride, dilation } => {
                let own = self.layout(*of);
                let strides = window_strides(&own.strides, *axis, *stride, *dilation);
                self.layouts[at] = Some(Layout { place: own.place, strides });
            }
            Op::Overlap { of, axis, stride, dilation } => {
                let result = self.result_place(node);
                let strides = window_strides(&crate::shape::row_major_strides(&data.shape), *axis, *stride, *dilation);
                let len = request_len(graph, node);
                let overlap = Overlap::new(graph.shape(*of), self.layout(*of), (result, len), &strides);
                self.step(node, Kernel::Overlap(overlap), result, request_len(graph, *of));
                self.set_dense(node, result);
            }
            Op::PickMax { by, from: operand, axes } | Op::PutMax { by, values: operand, axes } => {
                let result = self.result_place(node);
                let puts = matches!(data.op, Op::PutMax { .. });
                let own = Layout::dense(result, &data.shape);
                let (full, kept) = if puts { (&own, self.layout(*operand)) } else { (self.layout(*operand), &own) };
                let at_max = AtMax::new(puts, (graph.shape(*by), self.layout(*by)), full, kept, axes);
                self.step(node, Kernel::AtMax(at_max), result, request_len(graph, *by));
                self.set_dense(node, result);
            }
            // The operands are there, one added to the other.
            Op::Binary(..) if self.joins.sums.contains_key(&node) => self.set_dense(node, self.preset[&node]),
            Op::Unary(..) | Op::Binary(..) | Op::Select(..) => unreachable!("these run in groups"),
            Op::Pad { of, axis, before } => {
                let result = self.result_place(node);
                let strides = crate::shape::row_major_strides(&data.shape);
                let inner = Place { offset: result.offset + before * strides[*axis], ..result };
                let source = self.layout(*of).clone();
                let copy =
                    Copy::new(Some((result, request_len(graph, node))), graph.shape(*of), &source, inner, &strides);
                self.step(node, Kernel::Copy(copy), result, 0);
                self.set_dense(node, result);
            }
            Op::Concat { parts, axis } => {
                let result = self.result_place(node);
                let strides = crate::shape::row_major_strides(&data.shape);
                let mut before = 0;
                for (i, &part) in parts.iter().enumerate() {
                    let inner = Place { offset: result.offset + before * strides[*axis], ..result };
                    before += graph.shape(part)[*axis];
                    if self.joins.parts.contains(&part) {
                        continue;
                    }
                    let source = self.layout(part).clone();
                    let copy = Copy::new(None, graph.shape(part), &source, inner, &strides);
                    // The result is there only after the last part.
                    let len = if i + 1 == parts.len() { request_len(graph, node) } else { 0 };
                    self.step_of(node, Kernel::Copy(copy), (result, len), 0);
                }
                self.set_dense(node, result);
            }
            Op::Einsum(a, b, spec) => {
                if let Some((target, strides)) = self.joins.overlapping.get(&node).cloned() {
                    let result = self.result_place(target);
                    let mode = Mode::Overlaps(request_len(graph, target));
                    contract::plan(self, node, (*a, *b, spec), (result, &strides), mode, &[]);
                    return self.set_dense(target, result);
                }
                if let Some((root, finish)) = self.joins.finishing.get(&node).cloned() {
                    finish.iter().filter(|(op, _)| op.is_some()).for_each(|&(_, other)| self.lay_out(other));
                    let result = self.result_place(root);
                    let strides = crate::shape::row_major_strides(&data.shape);
                    contract::plan(self, node, (*a, *b, spec), (result, &strides), Mode::Writes, &finish);
                    self.finished(root, finish.len());
                    return self.set_dense(root, result);
                }
                let result = self.result_place(node);
                let mode = if self.joins.adding.contains(&node) { Mode::Adds } else { Mode::Writes };
                let strides = crate::shape::row_major_strides(&data.shape);
                contract::plan(self, node, (*a, *b, spec), (result, &strides), mode, &[]);
                self.set_dense(node, result);
            }
            Op::Sum(a, axes) | Op::Max(a, axes) => {
                let result = self.result_place(node);
                let is_sum = matches!(data.op, Op::Sum(..));
                let reduce = Reduce::new(is_sum, graph.shape(*a), self.layout(*a), axes, result);
                self.step(node, Kernel::Reduce(reduce), result, request_len(graph, *a));
                self.set_dense(node, result);
            }
            Op::Softmax(a) => self.rows(node, RowKind::Softmax, *a, None),
            Op::LogSoftmax(a) => self.rows(node, RowKind::LogSoftmax, *a, None),
            Op::CrossEntropy { logits, targets } => {
                self.rows(node, RowKind::CrossEntropy, *logits, Some(*targets));
            }
            Op::CrossEntropyGrad { logits, targets } => {
                self.rows(node, RowKind::CrossEntropyGrad, *logits, Some(*targets));
            }
            Op::Gather { table, ids } => {
                let (table_place, ids_place) = (self.dense(*table), self.dense_ids(*ids));
                let result = self.result_place(node);
                let rows = graph.shape(*table)[0];
                let width = graph.shape(*table)[1..].iter().product();
                let n_ids = request_len(graph, *ids);
                let label = graph.describe(node);
                let table = Table {
                    gathers: true,
                    table: table_place,
                    rows,
                    width,
                    ids: ids_place,
                    n_ids,
                    values: result,
                    label,
                };
                self.step(node, Kernel::Table(table), result, 0);
                self.set_dense(node, result);
            }
            Op::ScatterAdd { ids, values } => {
                let (values_place, ids_place) = (self.dense(*values), self.dense_ids(*ids));
                let result = self.result_place(node);
                let width = data.shape[1..].iter().product();
                let n_ids = request_len(graph, *ids);
                let label = graph.describe(node);
                let rows = data.shape[0];
                let table = Table {
                    gathers: false,
                    table: result,
                    rows,
                    width,
                    ids: ids_place,
                    n_ids,
                    values: values_place,
                    label,
                };
                self.step(node, Kernel::Table(table), result, n_ids * width);
                self.set_dense(node, result);
            }
        }
    }

    fn rows(&mut self, node: Node, kind: RowKind, input: Node, targets: Option<Node>) {
        let from = self.dense(input);
        let ids = targets.map(|t| self.dense_ids(t));
        let result = self.result_place(node);
        let width = self.graph.shape(input).last().copied().unwrap_or(1);
        let n_rows = request_len(self.graph, input) / width.max(1);
        let label = self.graph.describe(node);
        self.step(
            node,
            Kernel::Rows(Rows { kind, from, to: result, ids, n_rows, width, label }),
            result,
            n_rows * width * 8,
        );
        self.set_dense(node, result);
    }

    /// Evaluates a constant now and keeps its values with the program.
    fn literal(&mut self, node: Node) {
        let values =
            self.graph.interpret::<f32>(&BTreeMap::new(), &[node]).expect("constants read no inputs").swap_remove(0);
        let place = Place { buffer: self.literal_buffer, offset: self.literals.len() };
        self.literals.extend_from_slice(&values);
        self.set_dense(node, place);
    }

    /// A dense row-major place of a node's values, copying strided ones once.
    fn dense(&mut self, node: Node) -> Place {
        let shape = self.graph.shape(node);
        let layout = self.layout(node);
        if layout.is_dense(shape) {
            return layout.place;
        }
        if let Some(&place) = self.copies.get(&node) {
            return place;
        }
        let layout = layout.clone();
        let len = request_len(self.graph, node);
        let strides = crate::shape::row_major_strides(shape);
        // A copy moves four bytes, ids or floats; only floats are checked for being finite.
        let (space, floats) =
            if self.graph.dtype(node) == DType::Ids { (Space::Ids, 0) } else { (Space::Transient, len) };
        let place = self.buffer(space, len);
        let copy = Copy::new(None, shape, &layout, place, &strides);
        self.step_of(node, Kernel::Copy(copy), (place, floats), 0);
        self.copies.insert(node, place);
        place
    }

    /// The (offset, stride per index) walk of integer values: ids are read in place.
    fn dense_ids(&mut self, node: Node) -> crate::kernels::tables::Ids {
        let layout = self.layout(node);
        let dims = collapse(self.graph.shape(node), &[&layout.strides]);
        crate::kernels::tables::Ids {
            place: layout.place,
            dims: dims.into_iter().map(|d| (d.extent, d.strides[0])).collect(),
        }
    }

    /// Makes sure that a view of what is there, or a constant, is laid out, though its turn has not come.
    fn lay_out(&mut self, node: Node) {
        if self.layouts[node.0 as usize].is_none() {
            for operand in self.graph.node(node).op.operands() {
                self.lay_out(operand);
            }
            self.plan_node(node);
        }
    }

    /// The last step computes `root`, by so many elementwise steps more than its product.
    fn finished(&mut self, root: Node, n_steps: usize) {
        let label = self.graph.describe(root);
        if let Some(step) = self.steps.last_mut() {
            step.operation = format!("{} and {n_steps} elementwise", step.operation);
            step.n_nodes += n_steps;
            step.flops += n_steps * step.len;
            step.label = label;
        }
    }

    /// Copies outputs and gradients that are views, constants or shared into their places.
    fn deliver(&mut self) {
        let graph = self.graph;
        let mut wanted: Vec<(Node, Place)> = Vec::new();
        for &(offset, node) in self.request.gradients {
            wanted.push((node, Place { buffer: self.gradient.buffer, offset }));
        }
        for (&node, &(place, _)) in self.request.outputs.iter().zip(&self.outputs) {
            wanted.push((node, place));
        }
        for (node, place) in wanted {
            let shape = graph.shape(node);
            let layout = self.layout(node).clone();
            if layout.place == place && layout.is_dense(shape) {
                continue;
            }
            let strides = crate::shape::row_major_strides(shape);
            let copy = Copy::new(None, shape, &layout, place, &strides);
            self.step(node, Kernel::Copy(copy), place, 0);
        }
    }

    fn finish(mut self) -> Plan {
        self.buffers[self.literal_buffer].len = self.literals.len();
        let sizes = arena::allocate(&mut self.buffers, &mut self.steps);
        Plan {
            steps: self.steps,
            buffers: self.buffers,
            literals: self.literals,
            inputs: self.inputs,
            outputs: self.outputs,
            gradient: self.gradient,
            n_kept: sizes.kept,
            n_transient: sizes.transient,
            n_ids: sizes.ids,
        }
    }
}

fn request_len(graph: &Graph, node: Node) -> usize {
    graph.shape(node).iter().product()
}

fn is_view(op: &Op) -> bool {
    matches!(op, Op::Broadcast(_) | Op::Permute(..) | Op::Slice { .. } | Op::Windows { .. } | Op::Reshape(_))
}

fn is_elementwise(op: &Op) -> bool {
    matches!(op, Op::Unary(..) | Op::Binary(..) | Op::Select(..))
}

/// The live nodes that read each node, once for every operand.
fn readers(graph: &Graph, live: &[bool]) -> Vec<Vec<usize>> {
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); graph.nodes.len()];
    for at in (0..graph.nodes.len()).filter(|&at| live[at]) {
        for operand in graph.nodes[at].op.operands() {
            readers[operand.0 as usize].push(at);
        }
    }
    readers
}
