//! A network with the values that its parameters and inputs start from: all that a measurement needs.

use std::ops::Range;

use ontogeny_graph::{
    Gradient, Graph, GraphError, Node, ParamSpace, Program, Purpose, RunError, Stream, Threads, Workspace,
};
use ontogeny_posterior::Restriction;

/// Seed of all weights and inputs: what is measured, and what `--export` writes, is the same every time.
const SEED: u32 = 0;

/// A graph under construction, with the values that go into it.
#[derive(Debug, Default)]
pub(crate) struct Recipe {
    /// The graph, for everything that is neither parameter nor input.
    pub(crate) g: Graph,
    /// Mean and standard deviation of each parameter, in flat order.
    starts: Vec<[f32; 2]>,
    inputs: Vec<Input>,
}

/// The values of one input.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Values,
}

#[derive(Debug)]
pub(crate) enum Values {
    Float(Vec<f32>),
    Ids(Vec<i32>),
}

/// What floats an input holds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Draw {
    Normal,
    /// Uniform in [0, 1).
    Uniform,
    /// Uniform in [0, 1) with this probability, else 0.
    Sparse(f64),
}

/// A finished recipe: the graph, its scalar loss, and the part of the network that moves.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) graph: Graph,
    pub(crate) loss: Node,
    pub(crate) inputs: Vec<Input>,
    starts: Vec<[f32; 2]>,
    /// As in a run file; `full` for everything.
    pub(crate) free: &'static str,
}

impl Recipe {
    /// A parameter that starts normal with this standard deviation.
    pub(crate) fn param(&mut self, name: &str, shape: &[usize], deviation: f64) -> Node {
        self.starts.push([0.0, deviation as f32]);
        self.g.param(name, shape)
    }

    /// A parameter that starts near 1: the gain of a norm.
    pub(crate) fn gain(&mut self, name: &str, shape: &[usize], deviation: f64) -> Node {
        self.starts.push([1.0, deviation as f32]);
        self.g.param(name, shape)
    }

    /// A float input.
    pub(crate) fn floats(&mut self, name: &str, shape: &[usize], draw: Draw) -> Node {
        let stream = self.stream();
        let n: usize = shape.iter().product();
        let uniform = |step: u32| (0..n).map(move |i| stream.uniform(step, i as u32));
        let values = match draw {
            Draw::Normal => {
                let mut values = vec![0.0; n];
                stream.normals(0, 0, &mut values);
                values
            }
            Draw::Uniform => uniform(0).map(|x| x as f32).collect(),
            Draw::Sparse(p) => {
                uniform(0).zip(uniform(1)).map(|(x, keep)| if keep < p { x as f32 } else { 0.0 }).collect()
            }
        };
        self.inputs.push(Input { name: name.to_owned(), shape: shape.to_vec(), values: Values::Float(values) });
        self.g.input(name, shape)
    }

    /// An input of ids, uniform below `n_ids`.
    pub(crate) fn ids(&mut self, name: &str, shape: &[usize], n_ids: usize) -> Node {
        let stream = self.stream();
        let n: usize = shape.iter().product();
        let values = (0..n).map(|i| stream.below(n_ids, 0, i as u32) as i32).collect();
        self.given_ids(name, shape, values)
    }

    /// An input of these ids.
    pub(crate) fn given_ids(&mut self, name: &str, shape: &[usize], values: Vec<i32>) -> Node {
        self.inputs.push(Input { name: name.to_owned(), shape: shape.to_vec(), values: Values::Ids(values) });
        self.g.input_ids(name, shape)
    }

    /// A stream of its own for the next input.
    pub(crate) fn stream(&self) -> Stream {
        Stream::new(SEED, Purpose::Data, self.inputs.len() as u64)
    }

    /// The network whose mean loss is `loss`, of which `free` moves.
    pub(crate) fn finish(self, loss: Node, free: &'static str) -> Network {
        Network { graph: self.g, loss, inputs: self.inputs, starts: self.starts, free }
    }
}

impl Network {
    /// The coordinates that move.
    pub(crate) fn ranges(&self) -> Vec<Range<usize>> {
        let part: Restriction = self.free.parse().expect("the tables of workloads name parts that there are");
        let selection = part.resolve(&ParamSpace::of(&self.graph)).expect("as above");
        selection.ranges().to_vec()
    }

    /// The program of one step: the loss, and its gradient by what moves.
    pub(crate) fn compile(&self) -> Result<Program, GraphError> {
        Program::compile(&self.graph, &[("loss", self.loss)], Gradient::Ranges(self.loss, &self.ranges()))
    }

    /// The weights at the start, flat.
    pub(crate) fn weights(&self) -> Vec<f32> {
        let space = ParamSpace::of(&self.graph);
        let mut weights = vec![0.0; space.len()];
        for (i, (param, &[mean, deviation])) in space.iter().zip(&self.starts).enumerate() {
            let own = &mut weights[param.range.clone()];
            Stream::new(SEED, Purpose::Initialization, i as u64).normals(0, 0, own);
            for w in own {
                *w = mean + deviation * *w;
            }
        }
        weights
    }

    /// A workspace whose inputs are filled.
    pub(crate) fn workspace(&self, program: &Program, threads: &Threads) -> Result<Workspace, RunError> {
        let mut workspace = Workspace::with_threads(program, threads);
        for input in &self.inputs {
            match &input.values {
                Values::Float(values) => workspace.floats_mut(program, &input.name)?.copy_from_slice(values),
                Values::Ids(values) => workspace.ids_mut(program, &input.name)?.copy_from_slice(values),
            }
        }
        Ok(workspace)
    }
}
