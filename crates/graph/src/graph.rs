//! The graph: an append-only list of typed nodes with static shapes, named parameters, inputs and activations.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::RotaryScaling;
use crate::einsum::EinsumSpec;
use crate::kernels::MAX_RANK;

/// A handle to one node of a [`Graph`]. Cheap to copy; only meaningful with the graph that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node(pub(crate) u32);

/// Element type of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit floats (the reference interpreter may also run them as `f64`).
    Float,
    /// 32-bit signed integers: token ids and class targets.
    Ids,
}

/// A computation with static shapes.
///
/// Builder methods never fail: the first mistake (a shape that does not fit, a name used twice) is kept, names its
/// node, and is returned by [`Graph::check`] and by every transform and compilation.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    pub(crate) nodes: Vec<NodeData>,
    pub(crate) params: Vec<Named>,
    pub(crate) inputs: Vec<Named>,
    names: BTreeMap<String, Node>,
    error: Option<GraphError>,
}

#[derive(Debug, Clone)]
pub(crate) struct NodeData {
    pub(crate) op: Op,
    pub(crate) shape: Vec<usize>,
    pub(crate) dtype: DType,
}

/// A parameter or an input, with the node that reads it.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) node: Node,
}

/// What a node computes. Operands always precede their node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Op {
    /// Index into `Graph::params`.
    Param(usize),
    /// Index into `Graph::inputs`.
    Input(usize),
    /// A scalar.
    Constant(f64),
    /// As many values as the node's shape has, row-major.
    Values(Values),
    /// start, start + 1, … along `axis`, the same along all others.
    Iota {
        axis: usize,
        start: usize,
    },
    /// `[position, frequency]`: cos, or sin, of position · base^(−frequency/number of frequencies), where `scaling` leaves it.
    Rotation {
        base: f64,
        scaling: RotaryScaling,
        is_sine: bool,
    },
    Unary(Unary, Node),
    Binary(Binary, Node, Node),
    /// Where the first is non-zero the second, else the third.
    Select(Node, Node, Node),
    /// To the node's shape, aligned at the last axis; extents of one are repeated.
    Broadcast(Node),
    Reshape(Node),
    Permute(Node, Vec<usize>),
    /// Extent from the node's shape.
    Slice {
        of: Node,
        axis: usize,
        start: usize,
    },
    /// Zeros before and after; the extent after follows from the node's shape.
    Pad {
        of: Node,
        axis: usize,
        before: usize,
    },
    Concat {
        parts: Vec<Node>,
        axis: usize,
    },
    /// Sliding windows: the axis becomes two, (position, place in the window), whose extents follow from the node's shape.
    /// Entry (p, i) is entry p·stride + i·dilation.
    Windows {
        of: Node,
        axis: usize,
        stride: usize,
        dilation: usize,
    },
    /// Adjoint of windows: adds the axes (position, place in the window) up into one of the node's extent.
    Overlap {
        of: Node,
        axis: usize,
        stride: usize,
        dilation: usize,
    },
    Einsum(Node, Node, EinsumSpec),
    /// Removes the axes (ascending).
    Sum(Node, Vec<usize>),
    /// Removes the axes (ascending).
    Max(Node, Vec<usize>),
    /// Removes the axes: the entry of `from` at the first place (in row-major order) where `by`, of the same shape, attains
    /// its maximum over them, passing over NaN. Its derivative by `by` is 0.
    PickMax {
        by: Node,
        from: Node,
        axes: Vec<usize>,
    },
    /// Adjoint of picking: `values` at those places, 0 elsewhere.
    PutMax {
        by: Node,
        values: Node,
        axes: Vec<usize>,
    },
    /// Over the last axis.
    Softmax(Node),
    /// Over the last axis.
    LogSoftmax(Node),
    /// `table[ids]`, over the first axis of `table`.
    Gather {
        table: Node,
        ids: Node,
    },
    /// Adjoint of gather: sums rows of `values` into a table whose first extent is the node's.
    ScatterAdd {
        ids: Node,
        values: Node,
    },
    /// Per row −ln softmax(logits)[target], to full relative precision also where it is tiny.
    CrossEntropy {
        logits: Node,
        targets: Node,
    },
    /// softmax(logits) − onehot(targets), with the target's entry as −Σ of the others.
    CrossEntropyGrad {
        logits: Node,
        targets: Node,
    },
}

/// A table of constants, shared by the copies of a graph. It prints as its address, because nodes are compared by what they
/// print.
#[derive(Clone)]
pub(crate) struct Values(pub(crate) Arc<[f32]>);

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:p}", self.0)
    }
}

impl PartialEq for Values {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Elementwise functions of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Unary {
    Neg,
    Exp,
    Log,
    Log1p,
    Sqrt,
    Recip,
    Tanh,
    Erf,
    /// 1/(1 + e⁻ᵃ).
    Sigmoid,
    /// Φ, the standard normal distribution function.
    NormalCdf,
    /// Its approximation ½(1 + tanh(√(2/π)(a + 0.044715 a³))).
    NormalCdfTanh,
    Relu,
    /// 1 where the argument is positive, else 0; its own derivative is 0.
    Step,
    Abs,
    /// −1, 0 or 1.
    Sign,
}

/// Elementwise functions of two arguments of the same shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    /// 1 where the first is greater, else 0.
    Greater,
    /// 1 where both are equal, else 0.
    Equal,
}

/// 4 TiB of floats: sums of the sizes of many nodes stay far from overflow.
const MAX_ELEMENTS: usize = 1 << 40;

/// A mistake in a graph: which node, what was found, what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// Operand shapes do not fit the operation.
    #[error("{operation}{}: {found}; expected {expected}", at(.node.as_ref()))]
    Shape {
        /// The operation, such as `einsum btd,hde->bthe`.
        operation: String,
        /// Name of the nearest named node, if any.
        node: Option<String>,
        /// The shapes found.
        found: String,
        /// What would have fitted.
        expected: String,
    },
    /// A parameter, input or activation name stands twice.
    #[error("the name `{name}` is used twice in one graph; names must be unique")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A name that no node has.
    #[error("the graph has no {kind} named `{name}`{}", .nearest.as_ref().map(|n| format!("; did you mean `{n}`?")).unwrap_or_default())]
    UnknownName {
        /// `parameter`, `input` or `activation`.
        kind: &'static str,
        /// The name asked for.
        name: String,
        /// The nearest name there is.
        nearest: Option<String>,
    },
}

fn at(node: Option<&String>) -> String {
    node.map(|n| format!(" at `{n}`")).unwrap_or_default()
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// The first mistake made while building, if any.
    ///
    /// # Errors
    /// That mistake.
    pub fn check(&self) -> Result<(), GraphError> {
        self.error.clone().map_or(Ok(()), Err)
    }

    /// A trainable parameter; its place in the flat parameter vector follows the order of these calls.
    pub fn param(&mut self, name: &str, shape: &[usize]) -> Node {
        let idx = self.params.len();
        if self.names.contains_key(name) {
            self.fail(GraphError::DuplicateName { name: name.to_owned() });
        }
        let node = self.push_as(Op::Param(idx), shape.to_vec(), DType::Float, Some(name));
        self.params.push(Named { name: name.to_owned(), node });
        self.names.insert(name.to_owned(), node);
        node
    }

    /// A float input, filled before each execution.
    pub fn input(&mut self, name: &str, shape: &[usize]) -> Node {
        self.any_input(name, shape, DType::Float)
    }

    /// An input of token ids or class targets.
    pub fn input_ids(&mut self, name: &str, shape: &[usize]) -> Node {
        self.any_input(name, shape, DType::Ids)
    }

    fn any_input(&mut self, name: &str, shape: &[usize], dtype: DType) -> Node {
        if self.names.contains_key(name) {
            self.fail(GraphError::DuplicateName { name: name.to_owned() });
        }
        let idx = self.inputs.len();
        let node = self.push_as(Op::Input(idx), shape.to_vec(), dtype, Some(name));
        self.inputs.push(Named { name: name.to_owned(), node });
        self.names.insert(name.to_owned(), node);
        node
    }

    /// Gives an activation its public name, such as `blocks.0.attn.hook_pattern`.
    pub fn named(&mut self, node: Node, name: &str) -> Node {
        if self.names.insert(name.to_owned(), node).is_some() {
            self.fail(GraphError::DuplicateName { name: name.to_owned() });
        }
        node
    }

    /// The node of a parameter, input or activation.
    ///
    /// # Errors
    /// [`GraphError::UnknownName`] with the nearest name.
    pub fn find(&self, name: &str) -> Result<Node, GraphError> {
        self.names.get(name).copied().ok_or_else(|| GraphError::UnknownName {
            kind: "activation",
            name: name.to_owned(),
            nearest: nearest(name, self.names.keys()),
        })
    }

    /// A copy in which everything that read the activation `name` reads `replacement` instead: patching, freezing
    /// and ablation. The replacement is a node of this graph; where it reads `name` itself, it reads the original.
    /// A replaced parameter stays in the parameter space: its gradient is what flows through the replacement.
    ///
    /// # Errors
    /// Unknown name, or shapes or types that differ.
    pub fn replace(&self, name: &str, replacement: Node) -> Result<Self, GraphError> {
        self.check()?;
        let target = self.find(name)?;
        if self.shape(target) != self.shape(replacement) {
            return Err(GraphError::Shape {
                operation: "replace".to_owned(),
                node: Some(name.to_owned()),
                found: format!("a replacement of shape {}", Shape(self.shape(replacement))),
                expected: format!("{}", Shape(self.shape(target))),
            });
        }
        if self.dtype(target) != self.dtype(replacement) {
            return Err(GraphError::Shape {
                operation: "replace".to_owned(),
                node: Some(name.to_owned()),
                found: format!("a replacement of {:?}", self.dtype(replacement)),
                expected: format!("{:?}", self.dtype(target)),
            });
        }
        let n = self.nodes.len();
        let mut reads_target = vec![false; n];
        for at in 0..n {
            let data = &self.nodes[at];
            reads_target[at] = at == target.0 as usize || data.op.operands().iter().any(|o| reads_target[o.0 as usize]);
        }
        let mut edited = Self::new();
        let mut copy = |at: usize, map: &[Option<Node>]| {
            let data = &self.nodes[at];
            let op = data.op.map_operands(|o| map[o.0 as usize].expect("operands precede their node"));
            edited.push(op, data.shape.clone(), data.dtype)
        };
        // The replacement itself keeps reading the original, so that `replace(x, x / 2)` means what it says.
        let mut original: Vec<Option<Node>> = vec![None; n];
        for at in self.ancestors(&[replacement, target]) {
            original[at] = Some(copy(at, &original));
        }
        let mut map: Vec<Option<Node>> = (0..n).map(|at| original[at].filter(|_| !reads_target[at])).collect();
        map[target.0 as usize] = original[replacement.0 as usize];
        for at in 0..n {
            if map[at].is_none() {
                map[at] = Some(copy(at, &map));
            }
        }
        let moved = |node: Node| map[node.0 as usize].expect("every node was copied");
        // Parameters and inputs stay what they were, also where nothing reads them any longer.
        let source =
            |p: &Named| Named { name: p.name.clone(), node: original[p.node.0 as usize].unwrap_or(moved(p.node)) };
        edited.params = self.params.iter().map(source).collect();
        edited.inputs = self.inputs.iter().map(source).collect();
        edited.names = self.names.iter().map(|(n, &node)| (n.clone(), moved(node))).collect();
        Ok(edited)
    }

    /// Indices of the given nodes and all they depend on, ascending.
    pub(crate) fn ancestors(&self, of: &[Node]) -> Vec<usize> {
        let mut needed = vec![false; self.nodes.len()];
        for node in of {
            needed[node.0 as usize] = true;
        }
        for at in (0..needed.len()).rev() {
            if needed[at] {
                for operand in self.nodes[at].op.operands() {
                    needed[operand.0 as usize] = true;
                }
            }
        }
        (0..needed.len()).filter(|&at| needed[at]).collect()
    }

    /// Shape of a node, outermost axis first; empty for a scalar.
    pub fn shape(&self, node: Node) -> &[usize] {
        &self.node(node).shape
    }

    /// Element type of a node.
    pub fn dtype(&self, node: Node) -> DType {
        self.node(node).dtype
    }

    /// Names of all parameters, in flat order.
    pub fn param_names(&self) -> impl Iterator<Item = &str> {
        self.params.iter().map(|p| p.name.as_str())
    }

    /// Names and nodes of all named activations, inputs and parameters, sorted by name.
    pub fn names(&self) -> impl Iterator<Item = (&str, Node)> {
        self.names.iter().map(|(name, &node)| (name.as_str(), node))
    }

    /// The node of each parameter, in flat order.
    pub fn param_nodes(&self) -> Vec<Node> {
        self.params.iter().map(|p| p.node).collect()
    }

    pub(crate) fn node(&self, node: Node) -> &NodeData {
        &self.nodes[node.0 as usize]
    }

    /// Adds a node. What no operation can have is recorded as a mistake here, whatever built it: no entries, more than
    /// any memory holds, more axes than the kernels walk, ids where floats belong.
    pub(crate) fn push(&mut self, op: Op, shape: Vec<usize>, dtype: DType) -> Node {
        self.push_as(op, shape, dtype, None)
    }

    fn push_as(&mut self, op: Op, mut shape: Vec<usize>, dtype: DType, name: Option<&str>) -> Node {
        if let Some((found, expected)) = self.misfit(&op, &shape) {
            let node = name.map(str::to_owned).or_else(|| op.operands().first().map(|&n| self.describe(n)));
            self.fail(GraphError::Shape { operation: op.kind().to_owned(), node, found, expected });
            // Building goes on with a shape whose size cannot overflow.
            shape.fill(1);
        }
        let node = Node(self.nodes.len() as u32);
        self.nodes.push(NodeData { op, shape, dtype });
        node
    }

    /// What is wrong with a node of this operation and shape: (found, expected).
    fn misfit(&self, op: &Op, shape: &[usize]) -> Option<(String, String)> {
        let found = || format!("found shape {}", Shape(shape));
        let is_ids = |node: Node| self.dtype(node) == DType::Ids;
        let (floats, ids) = op.typed_operands();
        if floats.into_iter().any(is_ids) || !ids.into_iter().all(is_ids) {
            return Some(("found integer ids".to_owned(), "floats (ids only choose rows and targets)".to_owned()));
        }
        if shape.len() > MAX_RANK {
            return Some((found(), format!("at most {MAX_RANK} axes")));
        }
        if shape.contains(&0) {
            return Some((found(), "extents of at least 1".to_owned()));
        }
        let size = shape.iter().try_fold(1_usize, |size, &extent| size.checked_mul(extent));
        size.is_none_or(|size| size > MAX_ELEMENTS).then(|| (found(), "at most 2^40 elements".to_owned()))
    }

    /// Records a mistake of whoever builds the graph; the first is kept, and returned by [`Graph::check`] and every transform.
    pub fn fail(&mut self, error: GraphError) {
        self.error.get_or_insert(error);
    }

    /// Name of a node, or of the nearest named node before it: enough to find the place in the builder.
    pub(crate) fn describe(&self, node: Node) -> String {
        let exact = self.names.iter().find(|(_, n)| **n == node);
        if let Some((name, _)) = exact {
            return name.clone();
        }
        let before = self.names.iter().filter(|(_, n)| **n < node).max_by_key(|(_, n)| **n);
        let kind = self.node(node).op.kind();
        before.map_or_else(|| kind.to_owned(), |(name, _)| format!("{kind} after {name}"))
    }
}

impl Op {
    /// Operands that must be floats, and operands that must be ids. Views take either.
    fn typed_operands(&self) -> (Vec<Node>, Vec<Node>) {
        match self {
            Self::Broadcast(_) | Self::Reshape(_) | Self::Permute(..) | Self::Slice { .. } => (Vec::new(), Vec::new()),
            Self::Gather { table: floats, ids }
            | Self::ScatterAdd { ids, values: floats }
            | Self::CrossEntropy { logits: floats, targets: ids }
            | Self::CrossEntropyGrad { logits: floats, targets: ids } => (vec![*floats], vec![*ids]),
            _ => (self.operands(), Vec::new()),
        }
    }

    /// Operands in order.
    pub(crate) fn operands(&self) -> Vec<Node> {
        match self {
            Self::Param(_)
            | Self::Input(_)
            | Self::Constant(_)
            | Self::Values(_)
            | Self::Iota { .. }
            | Self::Rotation { .. } => Vec::new(),
            Self::Unary(_, a)
            | Self::Broadcast(a)
            | Self::Reshape(a)
            | Self::Permute(a, _)
            | Self::Slice { of: a, .. }
            | Self::Pad { of: a, .. }
            | Self::Sum(a, _)
            | Self::Max(a, _)
            | Self::Windows { of: a, .. }
            | Self::Overlap { of: a, .. }
            | Self::Softmax(a)
            | Self::LogSoftmax(a) => vec![*a],
            Self::Binary(_, a, b)
            | Self::Einsum(a, b, _)
            | Self::PickMax { by: a, from: b, .. }
            | Self::PutMax { by: a, values: b, .. }
            | Self::Gather { table: a, ids: b }
            | Self::ScatterAdd { ids: a, values: b }
            | Self::CrossEntropy { logits: a, targets: b }
            | Self::CrossEntropyGrad { logits: a, targets: b } => vec![*a, *b],
            Self::Select(a, b, c) => vec![*a, *b, *c],
            Self::Concat { parts, .. } => parts.clone(),
        }
    }

    /// The same operation on other operands.
    pub(crate) fn map_operands(&self, mut f: impl FnMut(Node) -> Node) -> Self {
        match self {
            Self::Param(_)
            | Self::Input(_)
            | Self::Constant(_)
            | Self::Values(_)
            | Self::Iota { .. }
            | Self::Rotation { .. } => self.clone(),
            Self::Unary(u, a) => Self::Unary(*u, f(*a)),
            Self::Binary(k, a, b) => Self::Binary(*k, f(*a), f(*b)),
            Self::Select(a, b, c) => Self::Select(f(*a), f(*b), f(*c)),
            Self::Broadcast(a) => Self::Broadcast(f(*a)),
            Self::Reshape(a) => Self::Reshape(f(*a)),
            Self::Permute(a, order) => Self::Permute(f(*a), order.clone()),
            Self::Slice { of, axis, start } => Self::Slice { of: f(*of), axis: *axis, start: *start },
            Self::Pad { of, axis, before } => Self::Pad { of: f(*of), axis: *axis, before: *before },
            Self::Concat { parts, axis } => Self::Concat { parts: parts.iter().map(|&p| f(p)).collect(), axis: *axis },
            Self::Einsum(a, b, spec) => Self::Einsum(f(*a), f(*b), spec.clone()),
            Self::Sum(a, axes) => Self::Sum(f(*a), axes.clone()),
            Self::Max(a, axes) => Self::Max(f(*a), axes.clone()),
            Self::PickMax { by, from, axes } => Self::PickMax { by: f(*by), from: f(*from), axes: axes.clone() },
            Self::PutMax { by, values, axes } => Self::PutMax { by: f(*by), values: f(*values), axes: axes.clone() },
            Self::Windows { of, axis, stride, dilation } => {
                Self::Windows { of: f(*of), axis: *axis, stride: *stride, dilation: *dilation }
            }
            Self::Overlap { of, axis, stride, dilation } => {
                Self::Overlap { of: f(*of), axis: *axis, stride: *stride, dilation: *dilation }
            }
            Self::Softmax(a) => Self::Softmax(f(*a)),
            Self::LogSoftmax(a) => Self::LogSoftmax(f(*a)),
            Self::Gather { table, ids } => Self::Gather { table: f(*table), ids: f(*ids) },
            Self::ScatterAdd { ids, values } => Self::ScatterAdd { ids: f(*ids), values: f(*values) },
            Self::CrossEntropy { logits, targets } => Self::CrossEntropy { logits: f(*logits), targets: f(*targets) },
            Self::CrossEntropyGrad { logits, targets } => {
                Self::CrossEntropyGrad { logits: f(*logits), targets: f(*targets) }
            }
        }
    }

    /// A word for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Param(_) => "param",
            Self::Input(_) => "input",
            Self::Constant(_) | Self::Values(_) => "constant",
            Self::Iota { .. } => "iota",
            Self::Rotation { .. } => "rotation",
            Self::Unary(..) | Self::Binary(..) | Self::Select(..) => "elementwise",
            Self::Broadcast(_) => "broadcast",
            Self::Reshape(_) => "reshape",
            Self::Permute(..) => "permute",
            Self::Slice { .. } => "slice",
            Self::Pad { .. } => "pad",
            Self::Concat { .. } => "concat",
            Self::Einsum(..) => "einsum",
            Self::Sum(..) => "sum",
            Self::Max(..) => "max",
            Self::PickMax { .. } => "pick_max",
            Self::PutMax { .. } => "put_max",
            Self::Windows { .. } => "windows",
            Self::Overlap { .. } => "overlap",
            Self::Softmax(_) => "softmax",
            Self::LogSoftmax(_) => "log_softmax",
            Self::Gather { .. } => "gather",
            Self::ScatterAdd { .. } => "scatter_add",
            Self::CrossEntropy { .. } => "cross_entropy",
            Self::CrossEntropyGrad { .. } => "cross_entropy_grad",
        }
    }
}

/// A shape as it reads in messages: `[512, 3, 128]`.
pub(crate) struct Shape<'a>(pub(crate) &'a [usize]);

impl fmt::Display for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// The candidate with the smallest edit distance, if it is near enough to be a slip.
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a String>) -> Option<String> {
    candidates
        .map(|candidate| (strsim::levenshtein(name, candidate), candidate))
        .min()
        .filter(|(distance, _)| *distance <= 1 + name.len() / 3)
        .map(|(_, candidate)| candidate.clone())
}
