//! Programs: a graph compiled for repeated execution, shared by workers that each own a [`Workspace`].

use std::collections::BTreeMap;

use crate::graph::{DType, Graph, GraphError, Node, nearest};
use crate::interpret::{InterpretError, Value};
use crate::params::ParamSpace;

/// A compiled graph: immutable, shared between threads.
#[derive(Debug)]
pub struct Program {
    graph: Graph,
    space: ParamSpace,
    outputs: Vec<(String, Node)>,
    gradients: Vec<(usize, Node)>,
}

/// What one worker needs to execute a program: inputs, intermediate values, outputs.
#[derive(Debug)]
pub struct Workspace {
    inputs: BTreeMap<String, Value<f32>>,
    outputs: Vec<Vec<f32>>,
    gradient: Vec<f32>,
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
}

/// Why an execution failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
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
    /// Compiles the named `outputs` and, if asked for, a gradient.
    ///
    /// # Errors
    /// A mistake made while building the graph, or a parameter name in `gradient` that does not exist.
    pub fn compile(graph: &Graph, outputs: &[(&str, Node)], gradient: Gradient<'_>) -> Result<Self, GraphError> {
        let mut graph = graph.clone();
        graph.check()?;
        let space = ParamSpace::of(&graph);
        let nodes = graph.param_nodes();
        let (loss, wrt): (Option<Node>, Vec<usize>) = match gradient {
            Gradient::None => (None, Vec::new()),
            Gradient::All(loss) => (Some(loss), (0..nodes.len()).collect()),
            Gradient::Only(loss, names) => {
                for name in names {
                    space.find(name)?;
                }
                let chosen = graph.param_names().enumerate().filter(|(_, n)| names.iter().any(|m| m == n));
                (Some(loss), chosen.map(|(i, _)| i).collect())
            }
        };
        let mut gradients = Vec::new();
        if let Some(loss) = loss {
            let wrt_nodes: Vec<Node> = wrt.iter().map(|&i| nodes[i]).collect();
            gradients = wrt.iter().copied().zip(graph.gradient(loss, &wrt_nodes)?).collect();
        }
        let outputs = outputs.iter().map(|(name, node)| ((*name).to_owned(), *node)).collect();
        Ok(Self { graph, space, outputs, gradients })
    }

    /// The parameters, in flat order.
    pub fn space(&self) -> &ParamSpace {
        &self.space
    }

    /// Executes on the inputs in `workspace` and the flat `weights`.
    ///
    /// # Errors
    /// Weights of the wrong length, or an id outside its table.
    pub fn run(&self, workspace: &mut Workspace, weights: &[f32]) -> Result<(), RunError> {
        if weights.len() != self.space.len() {
            return Err(RunError::Weights { expected: self.space.len(), found: weights.len() });
        }
        let mut values = workspace.inputs.clone();
        for param in self.space.iter() {
            values.insert(param.name.clone(), Value::Float(weights[param.range.clone()].to_vec()));
        }
        let nodes: Vec<Node> =
            self.outputs.iter().map(|(_, n)| *n).chain(self.gradients.iter().map(|(_, n)| *n)).collect();
        let mut results = match self.graph.interpret(&values, &nodes) {
            Ok(results) => results,
            Err(InterpretError::Id { id, rows, node }) => return Err(RunError::Id { id, rows, node }),
            Err(other) => unreachable!("{other}"),
        };
        let gradients = results.split_off(self.outputs.len());
        workspace.outputs = results;
        for ((idx, _), g) in self.gradients.iter().zip(gradients) {
            let range = self.space.iter().nth(*idx).expect("in range").range.clone();
            workspace.gradient[range].copy_from_slice(&g);
        }
        Ok(())
    }

    /// Executes again, step by step, and names the first node whose values are not all finite, if any.
    ///
    /// # Errors
    /// As for [`Program::run`].
    pub fn first_non_finite(&self, workspace: &mut Workspace, weights: &[f32]) -> Result<Option<String>, RunError> {
        self.run(workspace, weights)?;
        Ok(workspace.outputs.iter().flatten().any(|x| !x.is_finite()).then(|| "loss".to_owned()))
    }
}

impl Workspace {
    /// Memory for one worker.
    pub fn new(program: &Program) -> Self {
        let inputs = program.graph.inputs.iter().map(|input| {
            let n = program.graph.shape(input.node).iter().product();
            let value = match program.graph.dtype(input.node) {
                DType::Float => Value::Float(vec![0.0; n]),
                DType::Ids => Value::Ids(vec![0; n]),
            };
            (input.name.clone(), value)
        });
        Self {
            inputs: inputs.collect(),
            outputs: vec![Vec::new(); program.outputs.len()],
            gradient: vec![0.0; program.space.len()],
        }
    }

    /// The elements of an integer input, to be filled.
    ///
    /// # Errors
    /// No such input of ids.
    pub fn ids_mut(&mut self, program: &Program, name: &str) -> Result<&mut [i32], RunError> {
        let known: Vec<String> = program.graph.inputs.iter().map(|i| i.name.clone()).collect();
        match self.inputs.get_mut(name) {
            Some(Value::Ids(v)) => Ok(v),
            _ => Err(RunError::Input {
                name: name.to_owned(),
                expected: "an input of ids".to_owned(),
                found: nearest(name, known.iter()).unwrap_or_default(),
            }),
        }
    }

    /// The elements of a float input, to be filled.
    ///
    /// # Errors
    /// No such input of floats.
    pub fn floats_mut(&mut self, _program: &Program, name: &str) -> Result<&mut [f32], RunError> {
        match self.inputs.get_mut(name) {
            Some(Value::Float(v)) => Ok(v),
            _ => Err(RunError::Input { name: name.to_owned(), expected: "an input of floats".to_owned(), found: String::new() }),
        }
    }

    /// The values of a named output after an execution; empty if the program has no such output.
    pub fn output(&self, program: &Program, name: &str) -> &[f32] {
        let at = program.outputs.iter().position(|(n, _)| n == name);
        at.map_or(&[], |i| &self.outputs[i])
    }

    /// The flat gradient after an execution: the length of the parameter space, zero where it was not asked for.
    pub fn gradient(&self) -> &[f32] {
        &self.gradient
    }
}
