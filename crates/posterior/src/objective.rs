//! The loss that a posterior tempers: a graph, the data it is averaged over, and how many independent samples there are.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use ontogeny_graph::{
    Curvature, CurvatureProgram, DataSet, Gradient, Graph, GraphError, Node, ParamSpace, Program, RunError, Threads,
    Workspace,
};

use crate::batches::Batch;
use crate::llc::Evaluation;
use crate::selection::Selection;

/// Name of the losses among a program's outputs.
const LOSSES: &str = "losses";

/// A mean loss L_n(w) with its parameter space; shared by all chains and all checkpoints of one network.
pub struct Objective {
    source: Source,
    n: usize,
    space: ParamSpace,
    /// Compiled on first use and kept: a run asks for the same few at every checkpoint.
    programs: Mutex<Vec<Arc<LossProgram>>>,
}

enum Source {
    Population { graph: Graph, loss: Node },
    Data { build: Box<Build>, data: DataSet },
}

type Build = dyn Fn(usize) -> (Graph, Node) + Send + Sync;

/// A program whose output is the loss of each example of a batch.
#[derive(Debug)]
pub(crate) struct LossProgram {
    pub(crate) program: Program,
    /// Examples of one execution; 1 for a population loss.
    pub(crate) batch: usize,
    /// Coordinates it differentiates by; `None` for the loss alone.
    wrt: Option<Vec<Range<usize>>>,
}

/// Why an objective cannot be built or evaluated.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectiveError {
    /// A mistake in the graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// Data or weights that do not fit the program.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Too few samples for n/ln n and for a spread.
    #[error("an objective of {found} samples; at least 2 are needed")]
    TooFewSamples {
        /// How many there are.
        found: usize,
    },
    /// A loss node of the wrong shape.
    #[error("the loss has shape {found:?}; expected {expected:?}: {meaning}")]
    LossShape {
        /// Its shape.
        found: Vec<usize>,
        /// What was expected.
        expected: Vec<usize>,
        /// In words.
        meaning: &'static str,
    },
    /// A builder whose parameters depend on the batch.
    #[error("the network's parameters change with the batch size; they must not")]
    ParametersDependOnBatch,
    /// An input that nothing fills.
    #[error("nothing fills the input `{input}`; {available}")]
    UnfilledInput {
        /// The input of the graph.
        input: String,
        /// What there is instead, in words.
        available: String,
    },
    /// A batch that does not fit the data.
    #[error("a batch of {batch} out of {n} examples; expected 1 to {n}, or `full`")]
    Batch {
        /// Asked for.
        batch: usize,
        /// Examples there are.
        n: usize,
    },
    /// A minibatch of a population loss.
    #[error("a batch of {batch} was asked for, but a population loss has no examples; use `full`")]
    BatchWithoutData {
        /// Asked for.
        batch: usize,
    },
}

/// The loss over all data at one point.
#[derive(Debug, Clone, PartialEq)]
pub struct FullLoss {
    /// L_n(w): the mean over all examples, summed in f64.
    pub mean: f64,
    /// Standard error of `mean` as an estimate of the loss on new data: the standard deviation over examples (divisor
    /// n − 1) over √n; 0 for a population loss. As a value of L_n itself the mean has no error.
    pub standard_error: f64,
    /// The loss of every example, in order; empty for a population loss.
    pub examples: Vec<f64>,
}

impl Objective {
    /// The mean of a loss over the examples of `data`.
    ///
    /// `build` makes the graph for a batch of any size and returns it with the node of shape `[batch]` that holds the
    /// loss of each example; its inputs carry the names of the data's columns. n is the number of examples, so an
    /// example must be one independent sample (a sequence, not a token).
    ///
    /// # Errors
    /// Fewer than two examples, a mistake in the graph, a node of another shape, parameters that depend on the batch,
    /// or columns that do not fit the inputs.
    pub fn new(
        data: DataSet,
        build: impl Fn(usize) -> (Graph, Node) + Send + Sync + 'static,
    ) -> Result<Self, ObjectiveError> {
        let n = data.len();
        if n < 2 {
            return Err(ObjectiveError::TooFewSamples { found: n });
        }
        let mut graphs = Vec::new();
        for batch in [1, 2] {
            let (graph, example_loss) = build(batch);
            graph.check()?;
            if graph.shape(example_loss) != [batch] {
                return Err(ObjectiveError::LossShape {
                    found: graph.shape(example_loss).to_vec(),
                    expected: vec![batch],
                    meaning: "one loss for each example of the batch",
                });
            }
            graphs.push(graph);
        }
        let space = ParamSpace::of(&graphs[0]);
        if space != ParamSpace::of(&graphs[1]) {
            return Err(ObjectiveError::ParametersDependOnBatch);
        }
        let objective =
            Self { source: Source::Data { build: Box::new(build), data }, n, space, programs: Mutex::default() };
        let program = objective.program(1, None)?;
        objective.check_inputs(&graphs[0], &program)?;
        objective.fill(&program, &mut Workspace::new(&program.program), &[0])?;
        Ok(objective)
    }

    /// A loss without data, such as a quadratic or an expectation in closed form: a scalar node of `graph`, standing
    /// for `n` independent samples.
    ///
    /// # Errors
    /// `n` below 2, a mistake in the graph, or a node that is not a scalar.
    pub fn population(graph: Graph, loss: Node, n: usize) -> Result<Self, ObjectiveError> {
        if n < 2 {
            return Err(ObjectiveError::TooFewSamples { found: n });
        }
        graph.check()?;
        if !graph.shape(loss).is_empty() {
            let found = graph.shape(loss).to_vec();
            return Err(ObjectiveError::LossShape { found, expected: Vec::new(), meaning: "a scalar" });
        }
        let space = ParamSpace::of(&graph);
        let inputs = graph.clone();
        let objective = Self { source: Source::Population { graph, loss }, n, space, programs: Mutex::default() };
        objective.check_inputs(&inputs, objective.program(1, None)?.as_ref())?;
        Ok(objective)
    }

    /// An input that no column fills would silently stay zero.
    fn check_inputs(&self, graph: &Graph, program: &LossProgram) -> Result<(), ObjectiveError> {
        let columns: Vec<&str> = self.data().into_iter().flat_map(DataSet::columns).map(|c| c.name.as_str()).collect();
        let is_unfilled = |name: &str| program.program.input_shape(name).is_some() && !columns.contains(&name);
        let Some((input, _)) = graph.names().find(|(name, _)| is_unfilled(name)) else {
            return Ok(());
        };
        let available = match columns.as_slice() {
            [] => "a population loss has no data".to_owned(),
            columns => format!("the data has the columns {}", columns.join(", ")),
        };
        Err(ObjectiveError::UnfilledInput { input: input.to_owned(), available })
    }

    /// Number n of independent samples.
    pub fn n(&self) -> usize {
        self.n
    }

    /// n/ln n with this objective's n: the inverse temperature of WBIC (Watanabe 2013) times n.
    pub fn default_n_beta(&self) -> f64 {
        self.n as f64 / (self.n as f64).ln()
    }

    /// The parameters.
    pub fn space(&self) -> &ParamSpace {
        &self.space
    }

    /// The data, unless this is a population loss.
    pub fn data(&self) -> Option<&DataSet> {
        match &self.source {
            Source::Population { .. } => None,
            Source::Data { data, .. } => Some(data),
        }
    }

    /// The loss over all data at `weights`, `batch` examples at a time (which bounds the memory and changes nothing
    /// else beyond rounding).
    ///
    /// # Errors
    /// A batch that does not fit, or weights of another network. A loss that is not finite is returned as it is.
    pub fn full_loss(&self, weights: &[f32], batch: Batch) -> Result<FullLoss, ObjectiveError> {
        let program = self.program(self.batch_rows(batch)?, None)?;
        let mut workspace = Workspace::new(&program.program);
        self.full_loss_with(&program, &mut workspace, weights)
    }

    /// Examples of a batch; 1 for a population loss.
    pub(crate) fn batch_rows(&self, batch: Batch) -> Result<usize, ObjectiveError> {
        match (&self.source, batch) {
            (Source::Population { .. }, Batch::Full) => Ok(1),
            (Source::Population { .. }, Batch::Size(batch)) => Err(ObjectiveError::BatchWithoutData { batch }),
            (Source::Data { .. }, Batch::Full) => Ok(self.n),
            (Source::Data { .. }, Batch::Size(batch)) if (1..=self.n).contains(&batch) => Ok(batch),
            (Source::Data { .. }, Batch::Size(batch)) => Err(ObjectiveError::Batch { batch, n: self.n }),
        }
    }

    /// Examples of one execution when the losses of draws are evaluated; `batch` is that of the gradient.
    pub(crate) fn evaluation_rows(&self, evaluation: Evaluation, batch: usize) -> Result<usize, ObjectiveError> {
        match evaluation {
            Evaluation::Batch | Evaluation::Full => Ok(batch),
            Evaluation::Fresh(rows) | Evaluation::Fixed(rows) => self.batch_rows(Batch::Size(rows)),
        }
    }

    /// Products with the Hessian of the mean loss of a batch.
    pub(crate) fn curvature(&self, batch: usize) -> Result<CurvatureProgram, GraphError> {
        match &self.source {
            Source::Population { graph, loss } => CurvatureProgram::compile(graph, Curvature::Hessian { loss: *loss }),
            Source::Data { build, .. } => {
                let (mut graph, example_loss) = build(batch);
                let loss = graph.mean_all(example_loss);
                CurvatureProgram::compile(&graph, Curvature::Hessian { loss })
            }
        }
    }

    /// The program for a batch of `batch` examples, with the gradient of the mean loss if `wrt` is given: frozen
    /// parameters, and frozen heads, cost no backward work.
    pub(crate) fn program(&self, batch: usize, wrt: Option<&Selection>) -> Result<Arc<LossProgram>, ObjectiveError> {
        let wrt = wrt.map(|selection| selection.ranges().to_vec());
        // A thread that panicked while compiling leaves the list as it was.
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = programs.iter().find(|known| known.batch == batch && known.wrt == wrt) {
            return Ok(Arc::clone(known));
        }
        let gradient_of = |loss| wrt.as_ref().map_or(Gradient::None, |ranges| Gradient::Ranges(loss, ranges));
        let program = match &self.source {
            Source::Population { graph, loss } => Program::compile(graph, &[(LOSSES, *loss)], gradient_of(*loss))?,
            Source::Data { build, .. } => {
                let (mut graph, example_loss) = build(batch);
                let loss = graph.mean_all(example_loss);
                Program::compile(&graph, &[(LOSSES, example_loss)], gradient_of(loss))?
            }
        };
        let program = Arc::new(LossProgram { program, batch, wrt });
        programs.push(Arc::clone(&program));
        Ok(program)
    }

    /// Copies examples into a program's inputs; nothing to do without data.
    pub(crate) fn fill(
        &self,
        program: &LossProgram,
        workspace: &mut Workspace,
        rows: &[usize],
    ) -> Result<(), RunError> {
        self.data().map_or(Ok(()), |data| data.fill(&program.program, workspace, rows))
    }

    /// The mean loss over all data, in f64 and in the order of the examples; `each` sees every loss once, in order.
    pub(crate) fn mean_loss(
        &self,
        program: &LossProgram,
        workspace: &mut Workspace,
        weights: &[f32],
        mut each: impl FnMut(f64),
    ) -> Result<f64, ObjectiveError> {
        let n_examples = self.n_examples();
        let mut sum = 0.0;
        let mut rows: Vec<usize> = Vec::with_capacity(program.batch);
        for first in (0..n_examples).step_by(program.batch) {
            rows.clear();
            rows.extend(first..(first + program.batch).min(n_examples));
            self.fill(program, workspace, &rows)?;
            program.program.run(workspace, weights)?;
            for &loss in &program.losses(workspace)[..rows.len()] {
                sum += f64::from(loss);
                each(f64::from(loss));
            }
        }
        Ok(sum / n_examples as f64)
    }

    /// [`Self::full_loss`] with an evaluation program in hand.
    pub(crate) fn full_loss_with(
        &self,
        program: &LossProgram,
        workspace: &mut Workspace,
        weights: &[f32],
    ) -> Result<FullLoss, ObjectiveError> {
        let mut examples = Vec::with_capacity(self.n_examples());
        let mean = self.mean_loss(program, workspace, weights, |loss| examples.push(loss))?;
        if self.data().is_none() {
            return Ok(FullLoss { mean, standard_error: 0.0, examples: Vec::new() });
        }
        let n = examples.len() as f64;
        let squares: f64 = examples.iter().map(|loss| (loss - mean) * (loss - mean)).sum();
        Ok(FullLoss { mean, standard_error: (squares / (n - 1.0) / n).sqrt(), examples })
    }

    /// The gradient of the mean loss over all data, zero outside `selection`, `batch` examples at a time.
    pub(crate) fn full_gradient(
        &self,
        selection: &Selection,
        batch: usize,
        weights: &[f32],
        threads: &Threads,
    ) -> Result<Vec<f32>, ObjectiveError> {
        let n_examples = self.n_examples();
        let mut total = vec![0.0_f32; self.space.len()];
        // A remainder gets a program of its own size, so that no example weighs more than another.
        for (from, to, rows) in [
            (0, n_examples - n_examples % batch, batch),
            (n_examples - n_examples % batch, n_examples, n_examples % batch),
        ] {
            if from == to {
                continue;
            }
            let program = self.program(rows, Some(selection))?;
            let mut workspace = Workspace::with_threads(&program.program, threads);
            let share = rows as f32 / n_examples as f32;
            for first in (from..to).step_by(rows) {
                let rows: Vec<usize> = (first..first + rows).collect();
                self.fill(&program, &mut workspace, &rows)?;
                program.program.run(&mut workspace, weights)?;
                let gradient = workspace.gradient(&program.program);
                for range in selection.ranges() {
                    let part = total[range.clone()].iter_mut().zip(&gradient[range.clone()]);
                    part.for_each(|(sum, g)| *sum += share * g);
                }
            }
        }
        Ok(total)
    }

    /// Executions of batch 1 that make up the full loss: the data's examples, or the one population loss.
    fn n_examples(&self) -> usize {
        self.data().map_or(1, DataSet::len)
    }
}

impl LossProgram {
    /// Losses of the last execution: one for each example of the batch, or the scalar of a population loss.
    pub(crate) fn losses<'a>(&self, workspace: &'a Workspace) -> &'a [f32] {
        workspace.output(&self.program, LOSSES)
    }
}

impl fmt::Debug for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objective").field("n", &self.n).field("n_weights", &self.space.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restriction::Restriction;
    use ontogeny_graph::{Column, ColumnData};

    /// ½(w − xᵢ)² summed over `width` coordinates, for n examples.
    fn columns(name: &str, n: usize, width: usize) -> DataSet {
        let values = (0..n * width).map(|i| (i as f32 * 0.7).sin()).collect();
        DataSet::new(n, vec![Column { name: name.to_owned(), width, data: ColumnData::Float(values) }]).unwrap()
    }

    fn build(batch: usize) -> (Graph, Node) {
        let mut g = Graph::new();
        let x = g.input("x", &[batch, 3]);
        let w = g.param("w", &[3]);
        let difference = g.sub(x, w);
        let square = g.square(difference);
        let sum = g.sum(square, &[1]);
        let loss = g.scale(sum, 0.5);
        (g, loss)
    }

    #[test]
    fn the_full_loss_counts_every_example_once_whatever_the_batch() {
        let objective = Objective::new(columns("x", 10, 3), build).unwrap();
        let weights = [0.1, -0.2, 0.3];
        let whole = objective.full_loss(&weights, Batch::Full).unwrap();
        assert_eq!(whole.examples.len(), 10);
        let by_hand: f64 = (0..10)
            .map(|i| {
                (0..3)
                    .map(|k| f64::from((f64::from(i * 3 + k) * 0.7).sin() as f32 - weights[k as usize]).powi(2) / 2.0)
                    .sum::<f64>()
            })
            .sum::<f64>()
            / 10.0;
        // Ten f32 losses of order one, each within a few roundings of 6e-8.
        assert!((whole.mean - by_hand).abs() < 1e-6, "{} {by_hand}", whole.mean);
        for batch in [1, 3, 4, 7] {
            let parts = objective.full_loss(&weights, Batch::Size(batch)).unwrap();
            assert!((parts.mean - whole.mean).abs() < 1e-6);
            assert!((parts.standard_error - whole.standard_error).abs() < 1e-6);
        }
        let spread = whole.examples.iter().map(|l| (l - whole.mean).powi(2)).sum::<f64>();
        assert!((whole.standard_error - (spread / 90.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn the_full_gradient_weighs_the_remainder_right() {
        let objective = Objective::new(columns("x", 10, 3), build).unwrap();
        let selection = Restriction::full().resolve(objective.space()).unwrap();
        let gradients: Vec<Vec<f32>> = [10, 4, 3]
            .iter()
            .map(|&b| objective.full_gradient(&selection, b, &[0.1, -0.2, 0.3], &Threads::one()).unwrap())
            .collect();
        for gradient in &gradients[1..] {
            for (a, b) in gradient.iter().zip(&gradients[0]) {
                // Sums of ten terms of order 0.1.
                assert!((a - b).abs() < 1e-6, "{gradients:?}");
            }
        }
    }

    #[test]
    fn the_default_inverse_temperature_is_that_of_the_data_set() {
        let objective = Objective::new(columns("x", 10, 3), build).unwrap();
        assert_eq!(objective.default_n_beta(), 10.0 / 10f64.ln());
    }

    #[test]
    fn programs_are_compiled_once() {
        let objective = Objective::new(columns("x", 10, 3), build).unwrap();
        let first = objective.program(5, None).unwrap();
        assert!(Arc::ptr_eq(&first, &objective.program(5, None).unwrap()));
        let selection = Restriction::full().resolve(objective.space()).unwrap();
        assert!(!Arc::ptr_eq(&first, &objective.program(5, Some(&selection)).unwrap()));
    }

    #[test]
    fn mistakes_are_named() {
        let scalar = |batch: usize| {
            let (mut g, loss) = build(batch);
            let mean = g.mean_all(loss);
            (g, mean)
        };
        let growing = |batch: usize| {
            let (mut g, loss) = build(batch);
            g.param("extra", &[batch]);
            (g, loss)
        };
        let with_targets = |batch: usize| {
            let (mut g, loss) = build(batch);
            let targets = g.input("targets", &[batch]);
            let sum = g.add(loss, targets);
            (g, sum)
        };
        let with_input = || {
            let mut g = Graph::new();
            let x = g.input("x", &[]);
            g.param("w", &[1]);
            Objective::population(g, x, 10).unwrap_err()
        };
        let population = |n: usize| {
            let mut g = Graph::new();
            let w = g.param("w", &[2]);
            Objective::population(g, w, n).unwrap_err()
        };
        for (error, message) in [
            (Objective::new(columns("x", 1, 3), build).unwrap_err(), "an objective of 1 samples; at least 2"),
            (Objective::new(columns("x", 4, 3), scalar).unwrap_err(), "the loss has shape []; expected [1]"),
            (Objective::new(columns("x", 4, 3), growing).unwrap_err(), "the network's parameters change"),
            (
                Objective::new(columns("x", 4, 3), with_targets).unwrap_err(),
                "nothing fills the input `targets`; the data has the columns x",
            ),
            (with_input(), "nothing fills the input `x`; a population loss has no data"),
            (
                Objective::new(columns("y", 4, 3), build).unwrap_err(),
                "nothing fills the input `x`; the data has the columns y",
            ),
            (Objective::new(columns("x", 4, 2), build).unwrap_err(), "input `x`"),
            (population(1), "an objective of 1 samples"),
            (population(9), "the loss has shape [2]; expected []"),
        ] {
            assert!(error.to_string().starts_with(message), "{error}");
        }
        let objective = Objective::new(columns("x", 10, 3), build).unwrap();
        for batch in [0, 11] {
            let error = objective.full_loss(&[0.0; 3], Batch::Size(batch)).unwrap_err();
            assert_eq!(error, ObjectiveError::Batch { batch, n: 10 });
        }
        let error = objective.full_loss(&[0.0; 2], Batch::Full).unwrap_err();
        assert_eq!(error, ObjectiveError::Run(RunError::Weights { expected: 3, found: 2 }));
    }
}
