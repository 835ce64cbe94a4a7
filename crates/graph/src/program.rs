//! Programs: a graph compiled for repeated execution, shared by workers that each own a [`Workspace`].

use std::fmt;
use std::ops::Range;
use std::time::Instant;

use crate::graph::{DType, Graph, GraphError, Node, nearest};
use crate::isa::Isa;
use crate::kernels::Memory;
use crate::params::ParamSpace;
use crate::plan::{Place, Plan, Request, Step};

/// A compiled graph: immutable, shared between threads.
///
/// Its [`fmt::Display`] lists the plan: every step with its kernel, shape, memory and floating-point operations.
#[derive(Debug)]
pub struct Program {
    space: ParamSpace,
    plan: Plan,
    inputs: Vec<Input>,
    outputs: Vec<String>,
    scratch_len: usize,
}

#[derive(Debug)]
struct Input {
    name: String,
    dtype: DType,
    shape: Vec<usize>,
}

/// What one worker needs to execute a program: inputs, intermediate values and results. Executing allocates nothing.
#[derive(Debug)]
pub struct Workspace {
    kept: Aligned,
    transient: Aligned,
    scratch: Aligned,
    ids: Vec<i32>,
}

/// What to differentiate.
#[derive(Debug, Clone, Copy)]
pub enum Gradient<'a> {
    /// No gradient: evaluation only.
    None,
    /// Of a scalar, with respect to all parameters.
    All(Node),
    /// Of a scalar, with respect to these parameters only; the rest of the flat gradient stays zero and the backward
    /// work that only they would need is never built.
    Only(Node, &'a [String]),
    /// Of a scalar, with respect to these ranges of the flat parameter vector, such as the heads that a chain is
    /// restricted to. What is computed are the rows of a parameter's first axis that a range touches; elsewhere the
    /// flat gradient stays zero and the backward work is not built. What lies beyond the parameters is ignored.
    Ranges(Node, &'a [Range<usize>]),
}

/// Rows of a parameter's first axis whose gradient is asked for.
struct Block {
    /// Index into the parameters.
    param: usize,
    rows: Range<usize>,
}

impl Block {
    /// All rows. A scalar counts as one.
    fn whole(param: usize, shape: &[usize]) -> Self {
        Self { param, rows: 0..shape.first().copied().unwrap_or(1) }
    }

    /// The rows that `ranges` touch, none twice.
    fn touched(space: &ParamSpace, ranges: &[Range<usize>]) -> Vec<Self> {
        let mut ranges = ranges.to_vec();
        ranges.sort_unstable_by_key(|range| (range.start, range.end));
        let mut blocks: Vec<Self> = Vec::new();
        for (at, param) in space.iter().enumerate() {
            let row_len = param.shape.iter().skip(1).product::<usize>();
            for range in &ranges {
                let (start, end) = (range.start.max(param.range.start), range.end.min(param.range.end));
                if start >= end {
                    continue;
                }
                let rows = (start - param.range.start) / row_len..(end - param.range.start).div_ceil(row_len);
                match blocks.last_mut().filter(|last| last.param == at && rows.start <= last.rows.end) {
                    Some(last) => last.rows.end = last.rows.end.max(rows.end),
                    None => blocks.push(Self { param: at, rows }),
                }
            }
        }
        blocks
    }
}

/// Why an execution failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// Weights of another network.
    #[error("expected {expected} weights, found {found}")]
    Weights {
        /// Parameters of the program.
        expected: usize,
        /// Length of the slice.
        found: usize,
    },
    /// An input that does not exist or does not fit.
    #[error("input `{name}`: expected {expected}, found {found}")]
    Input {
        /// The input.
        name: String,
        /// What the program has.
        expected: String,
        /// What was given.
        found: String,
    },
    /// An id outside its table.
    #[error("id {id} is outside a table of {rows} rows, at {node}")]
    Id {
        /// The id.
        id: i32,
        /// Rows of the table, or classes.
        rows: usize,
        /// Where.
        node: String,
    },
}

impl Program {
    /// Compiles the named `outputs` and, if asked for, a gradient: differentiation first, then simplification, then
    /// planning.
    ///
    /// Only what the results need is computed: an id that no result depends on is not checked, and a NaN or infinity is
    /// dropped where it meets a zero that stands for an entry no slice reads.
    ///
    /// # Errors
    /// A mistake made while building the graph, an output of ids, or a parameter name in `gradient` that does not exist.
    pub fn compile(graph: &Graph, outputs: &[(&str, Node)], gradient: Gradient<'_>) -> Result<Self, GraphError> {
        let mut graph = graph.clone();
        graph.check()?;
        if let Some((name, _)) = outputs.iter().find(|(_, node)| graph.dtype(*node) != DType::Float) {
            return Err(GraphError::Shape {
                operation: "compile".to_owned(),
                node: Some((*name).to_owned()),
                found: "found integer ids".to_owned(),
                expected: "a float output".to_owned(),
            });
        }
        let (hoisted, map) = graph.hoisted();
        let moved = |node: Node| map[node.0 as usize];
        let outputs: Vec<(&str, Node)> = outputs.iter().map(|&(name, node)| (name, moved(node))).collect();
        graph = hoisted;
        let space = ParamSpace::of(&graph);
        let params = graph.param_nodes();
        let whole = |at: usize| Block::whole(at, graph.shape(params[at]));
        let (loss, blocks): (Option<Node>, Vec<Block>) = match gradient {
            Gradient::None => (None, Vec::new()),
            Gradient::All(loss) => (Some(moved(loss)), (0..params.len()).map(whole).collect()),
            Gradient::Only(loss, names) => {
                names.iter().try_for_each(|name| space.find(name).map(drop))?;
                let chosen = graph.param_names().enumerate().filter(|(_, own)| names.iter().any(|name| name == own));
                (Some(moved(loss)), chosen.map(|(i, _)| whole(i)).collect())
            }
            Gradient::Ranges(loss, ranges) => (Some(moved(loss)), Block::touched(&space, ranges)),
        };
        let mut gradients = Vec::new();
        if let Some(loss) = loss {
            let mut wrt: Vec<usize> = blocks.iter().map(|block| block.param).collect();
            wrt.dedup();
            let nodes: Vec<Node> = wrt.iter().map(|&i| params[i]).collect();
            let full = graph.gradient(loss, &nodes)?;
            for block in &blocks {
                let at = wrt.binary_search(&block.param).expect("blocks ascend, and `wrt` holds their parameters");
                // The simplifier moves this slice towards the inputs, so that the other rows are never computed.
                let is_scalar = graph.shape(full[at]).is_empty();
                let (start, extent) = (block.rows.start, block.rows.len());
                gradients.push(if is_scalar { full[at] } else { graph.slice(full[at], 0, start, extent) });
            }
        }
        let roots: Vec<Node> = outputs.iter().map(|(_, node)| *node).chain(gradients).collect();
        let (simple, roots) = graph.simplified(&roots);
        let (simple, roots) = simple.chunked(&roots);
        let (simple, roots) = simple.turned(&roots);
        let offsets: Vec<usize> = space.iter().map(|param| param.range.start).collect();
        let (output_nodes, gradient_nodes) = roots.split_at(outputs.len());
        let place = |block: &Block| {
            let row_len = graph.shape(params[block.param]).iter().skip(1).product::<usize>();
            offsets[block.param] + block.rows.start * row_len
        };
        let gradients: Vec<(usize, Node)> = blocks.iter().map(place).zip(gradient_nodes.iter().copied()).collect();
        let inputs: Vec<Input> = graph
            .inputs
            .iter()
            .map(|input| Input {
                name: input.name.clone(),
                dtype: graph.dtype(input.node),
                shape: graph.shape(input.node).to_vec(),
            })
            .collect();
        let plan = Plan::new(&Request {
            graph: &simple,
            param_offsets: &offsets,
            n_params: space.len(),
            inputs: &inputs.iter().map(|i| (i.dtype, i.shape.iter().product())).collect::<Vec<_>>(),
            outputs: output_nodes,
            gradients: &gradients,
        });
        let scratch_len = plan.steps.iter().map(|step| step.kernel.scratch_len()).max().unwrap_or(0);
        let outputs = outputs.iter().map(|(name, _)| (*name).to_owned()).collect();
        Ok(Self { space, plan, inputs, outputs, scratch_len })
    }

    /// The parameters, in flat order.
    pub fn space(&self) -> &ParamSpace {
        &self.space
    }

    /// Names of the inputs, in the order in which they were declared.
    pub fn input_names(&self) -> impl Iterator<Item = &str> {
        self.inputs.iter().map(|input| input.name.as_str())
    }

    /// Shape of an input, if there is one of this name.
    pub fn input_shape(&self, name: &str) -> Option<&[usize]> {
        self.inputs.iter().find(|input| input.name == name).map(|input| input.shape.as_slice())
    }

    /// Floating-point operations of one execution, a multiply-add counted as two.
    pub fn flops(&self) -> usize {
        self.plan.steps.iter().map(|step| step.flops).sum()
    }

    /// Bytes of memory a workspace takes.
    pub fn workspace_bytes(&self) -> usize {
        4 * (self.plan.n_kept + self.plan.n_transient + self.scratch_len + self.plan.n_ids)
    }

    /// Executes on the inputs in `workspace` and the flat `weights`.
    ///
    /// # Errors
    /// Weights of the wrong length, or an id outside its table.
    pub fn run(&self, workspace: &mut Workspace, weights: &[f32]) -> Result<(), RunError> {
        let memory = self.memory(workspace, weights)?;
        self.plan.steps.iter().try_for_each(|step| step.kernel.run(&memory))
    }

    /// Executes again, step by step, and names the first value that is not finite, if any.
    ///
    /// # Errors
    /// As for [`Program::run`].
    pub fn first_non_finite(&self, workspace: &mut Workspace, weights: &[f32]) -> Result<Option<String>, RunError> {
        for param in self.space.iter() {
            if weights.get(param.range.clone()).is_some_and(|w| w.iter().any(|x| !x.is_finite())) {
                return Ok(Some(param.name.clone()));
            }
        }
        let memory = self.memory(workspace, weights)?;
        for step in &self.plan.steps {
            step.kernel.run(&memory)?;
            // A mask holds −∞ on purpose; whatever follows from it is a probability of 0.
            if memory.read(step.result, step.len).iter().any(|&x| x.is_nan() || x == f32::INFINITY) {
                return Ok(Some(step.label.clone()));
            }
        }
        Ok(None)
    }

    /// Mean time of every step in milliseconds over `n` executions, in the order of the plan.
    ///
    /// # Errors
    /// As for [`Program::run`].
    pub fn profile(
        &self,
        workspace: &mut Workspace,
        weights: &[f32],
        n: usize,
    ) -> Result<Vec<(String, f64)>, RunError> {
        let memory = self.memory(workspace, weights)?;
        let mut times = vec![0.0; self.plan.steps.len()];
        for _ in 0..n {
            for (step, time) in self.plan.steps.iter().zip(&mut times) {
                let begun = Instant::now();
                step.kernel.run(&memory)?;
                *time += begun.elapsed().as_secs_f64() * 1e3 / n as f64;
            }
        }
        let label = |(i, step): (usize, &Step)| format!("{i} {} {} {}", step.kernel.kind(), step.len, step.label);
        Ok(self.plan.steps.iter().enumerate().map(label).zip(times).collect())
    }

    fn memory<'a>(&'a self, workspace: &'a mut Workspace, weights: &'a [f32]) -> Result<Memory<'a>, RunError> {
        if weights.len() != self.space.len() {
            return Err(RunError::Weights { expected: self.space.len(), found: weights.len() });
        }
        workspace.assert_fits(self);
        Ok(Memory {
            buffers: &self.plan.buffers,
            weights: weights.as_ptr(),
            literals: self.plan.literals.as_ptr(),
            kept: workspace.kept.as_mut_slice().as_mut_ptr(),
            transient: workspace.transient.as_mut_slice().as_mut_ptr(),
            ids: workspace.ids.as_mut_ptr(),
            scratch: workspace.scratch.as_mut_slice().as_mut_ptr(),
            isa: Isa::current(),
        })
    }

    fn input_place(&self, name: &str, dtype: DType) -> Result<(Place, usize), RunError> {
        let found = self.inputs.iter().position(|input| input.name == name && input.dtype == dtype);
        let Some(at) = found else {
            let known: Vec<String> = self.inputs.iter().map(|input| input.name.clone()).collect();
            return Err(RunError::Input {
                name: name.to_owned(),
                expected: format!("one of the inputs {}", known.join(", ")),
                found: nearest(name, known.iter()).map_or("no such name".to_owned(), |n| {
                    format!(
                        "no such {} input; did you mean `{n}`?",
                        if dtype == DType::Ids { "integer" } else { "float" }
                    )
                }),
            });
        };
        Ok((self.plan.inputs[at], self.inputs[at].shape.iter().product()))
    }
}

impl Workspace {
    /// Memory for one worker.
    pub fn new(program: &Program) -> Self {
        Self {
            kept: Aligned::new(program.plan.n_kept),
            transient: Aligned::new(program.plan.n_transient),
            scratch: Aligned::new(program.scratch_len),
            ids: vec![0; program.plan.n_ids],
        }
    }

    /// The elements of an integer input, to be filled.
    ///
    /// # Errors
    /// No such input of ids.
    pub fn ids_mut(&mut self, program: &Program, name: &str) -> Result<&mut [i32], RunError> {
        let (place, len) = program.input_place(name, DType::Ids)?;
        let start = program.plan.buffers[place.buffer].offset;
        Ok(&mut self.ids[start..start + len])
    }

    /// The elements of a float input, to be filled.
    ///
    /// # Errors
    /// No such input of floats.
    pub fn floats_mut(&mut self, program: &Program, name: &str) -> Result<&mut [f32], RunError> {
        let (place, len) = program.input_place(name, DType::Float)?;
        let start = program.plan.buffers[place.buffer].offset;
        Ok(&mut self.kept.as_mut_slice()[start..start + len])
    }

    /// The values of a named output after an execution; empty if the program has no such output.
    pub fn output(&self, program: &Program, name: &str) -> &[f32] {
        let Some(at) = program.outputs.iter().position(|own| own == name) else {
            return &[];
        };
        let (place, len) = program.plan.outputs[at];
        let start = program.plan.buffers[place.buffer].offset;
        &self.kept.as_slice()[start..start + len]
    }

    /// The flat gradient after an execution: the length of the parameter space, zero where it was not asked for.
    pub fn gradient(&self, program: &Program) -> &[f32] {
        let start = program.plan.buffers[program.plan.gradient.buffer].offset;
        &self.kept.as_slice()[start..start + program.space.len()]
    }

    /// A workspace of another program would be read out of bounds.
    fn assert_fits(&self, program: &Program) {
        assert!(
            self.kept.len >= program.plan.n_kept
                && self.transient.len >= program.plan.n_transient
                && self.scratch.len >= program.scratch_len
                && self.ids.len() >= program.plan.n_ids,
            "a workspace serves only the program it was made for"
        );
    }
}

/// Floats that start at a cache line.
#[derive(Debug)]
struct Aligned {
    lines: Vec<Line>,
    len: usize,
}

#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

#[expect(unsafe_code, reason = "sees an array of cache lines as the floats it holds")]
impl Aligned {
    fn new(len: usize) -> Self {
        Self { lines: vec![Line([0.0; 16]); len.div_ceil(16)], len }
    }

    fn as_slice(&self) -> &[f32] {
        // SAFETY: `Line` is sixteen floats without padding, and `len` floats are there.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }

    fn as_mut_slice(&mut self) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} steps, {:.1} Mflop, workspace {:.2} MB",
            self.plan.steps.len(),
            self.flops() as f64 / 1e6,
            self.workspace_bytes() as f64 / 1e6
        )?;
        for (i, step) in self.plan.steps.iter().enumerate() {
            writeln!(
                f,
                "{i:4}  {:7} {:>9} floats {:>9.3} Mflop  {}",
                step.kernel.kind(),
                step.len,
                step.flops as f64 / 1e6,
                step.label
            )?;
        }
        Ok(())
    }
}
