//! From a graph to a program: differentiation, simplification, planning.

use std::ops::Range;

use crate::graph::{DType, Graph, GraphError, Node};
use crate::params::ParamSpace;
use crate::plan::{Plan, Request};
use crate::program::{Input, Program};

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
