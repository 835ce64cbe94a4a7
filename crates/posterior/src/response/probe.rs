//! Probes: named sets of examples whose losses are recorded at the draws.

use std::fmt;

use ontogeny_graph::{DataSet, Gradient, Graph, GraphError, Node, ParamSpace, Program, RunError, Workspace};

use crate::objective::Objective;

/// Name of the losses among a program's outputs.
const LOSSES: &str = "losses";

/// A named set of examples with a loss over the parameters of an [`Objective`]: one for each example, or one for each
/// token of each example.
pub struct Probe {
    name: String,
    data: DataSet,
    program: Program,
    space: ParamSpace,
    /// Rows of one execution.
    batch: usize,
    /// Losses of one example; `None` where an example has one loss and no tokens.
    n_tokens: Option<usize>,
}

/// How finely the losses of a probe are kept; each level is the mean of the one below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// The mean loss of each probe.
    Set,
    /// The loss of each example, the mean over its tokens.
    Example,
    /// The loss of each token; of a probe without tokens that of each example.
    Token,
}

/// Why a probe cannot be made or used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// A mistake in the graph.
    #[error("probe `{probe}`: {source}")]
    Graph {
        /// The probe.
        probe: String,
        /// The mistake.
        source: GraphError,
    },
    /// Data or weights that do not fit the program.
    #[error("probe `{probe}`: {source}")]
    Run {
        /// The probe.
        probe: String,
        /// What does not fit.
        source: RunError,
    },
    /// No examples, or no rows in a batch.
    #[error("probe `{probe}` has {examples} examples in batches of {batch}; at least 1 of each is needed")]
    Empty {
        /// The probe.
        probe: String,
        /// Its examples.
        examples: usize,
        /// Rows of a batch.
        batch: usize,
    },
    /// A loss node of the wrong shape.
    #[error("probe `{probe}`: the losses have shape {found:?}; expected [{batch}] or [{batch}, tokens]")]
    LossShape {
        /// The probe.
        probe: String,
        /// The shape of the node.
        found: Vec<usize>,
        /// The batch.
        batch: usize,
    },
    /// Parameters that are not those of the objective.
    #[error(
        "probe `{probe}` has other parameters than the objective ({found} against {expected} numbers); build both from one network"
    )]
    OtherParameters {
        /// The probe.
        probe: String,
        /// Its number of weights.
        found: usize,
        /// The objective's.
        expected: usize,
    },
    /// No probe, or two of the same name.
    #[error("{found}; expected at least one probe, each with a name of its own")]
    Names {
        /// What was found.
        found: String,
    },
    /// A loss that is NaN or infinite at the start.
    #[error("probe `{probe}`: the loss of example {example} is {value} at the start; leave the example out")]
    NonFinite {
        /// The probe.
        probe: String,
        /// The example.
        example: usize,
        /// The loss.
        value: f32,
    },
}

impl Probe {
    /// A probe over the examples of `data`, evaluated at most `batch` at a time.
    ///
    /// `build` makes the graph for a batch and returns it with the node of losses, of shape `[batch]` or
    /// `[batch, tokens]`; its inputs carry the names of the data's columns, and its parameters must be those of the
    /// objective. The graph is that of measuring: nothing random belongs in it.
    ///
    /// # Errors
    /// No examples, a mistake in the graph, a node of another shape, or columns that do not fit the inputs.
    pub fn new(
        name: impl Into<String>,
        data: DataSet,
        batch: usize,
        build: impl FnOnce(usize) -> (Graph, Node),
    ) -> Result<Self, ProbeError> {
        let name = name.into();
        if data.is_empty() || batch == 0 {
            return Err(ProbeError::Empty { probe: name, examples: data.len(), batch });
        }
        let batch = batch.min(data.len());
        let (graph, losses) = build(batch);
        let graph_error = |source| ProbeError::Graph { probe: name.clone(), source };
        graph.check().map_err(graph_error)?;
        let n_tokens = match *graph.shape(losses) {
            [rows] if rows == batch => None,
            [rows, n_tokens] if rows == batch && n_tokens > 0 => Some(n_tokens),
            ref found => return Err(ProbeError::LossShape { probe: name, found: found.to_vec(), batch }),
        };
        let program = Program::compile(&graph, &[(LOSSES, losses)], Gradient::None).map_err(graph_error)?;
        let probe = Self { name, data, space: ParamSpace::of(&graph), program, batch, n_tokens };
        let mut workspace = Workspace::new(&probe.program);
        probe.data.fill(&probe.program, &mut workspace, &[0]).map_err(|source| probe.run_error(source))?;
        Ok(probe)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its examples.
    pub fn data(&self) -> &DataSet {
        &self.data
    }

    /// Losses of one example; `None` where an example has one loss and no tokens.
    pub fn n_tokens(&self) -> Option<usize> {
        self.n_tokens
    }

    pub(super) fn program(&self) -> &Program {
        &self.program
    }

    /// The loss of every example, or of its tokens, in order.
    pub(super) fn losses(
        &self,
        workspace: &mut Workspace,
        weights: &[f32],
        mut each: impl FnMut(usize, &[f32]),
    ) -> Result<(), RunError> {
        let n_examples = self.data.len();
        let width = self.n_tokens.unwrap_or(1);
        let mut rows: Vec<usize> = Vec::with_capacity(self.batch);
        for first in (0..n_examples).step_by(self.batch) {
            rows.clear();
            rows.extend(first..(first + self.batch).min(n_examples));
            self.data.fill(&self.program, workspace, &rows)?;
            self.program.run(workspace, weights)?;
            let losses = workspace.output(&self.program, LOSSES);
            for (&row, own) in rows.iter().zip(losses.chunks_exact(width)) {
                each(row, own);
            }
        }
        Ok(())
    }

    /// The losses at the start, `[example][token]`, all of them finite.
    pub(super) fn baseline(&self, workspace: &mut Workspace, weights: &[f32]) -> Result<Vec<f32>, ProbeError> {
        let mut all = Vec::with_capacity(self.data.len() * self.n_tokens.unwrap_or(1));
        let mut broken = None;
        let each = |example: usize, losses: &[f32]| {
            broken = broken.or_else(|| losses.iter().find(|loss| !loss.is_finite()).map(|&value| (example, value)));
            all.extend_from_slice(losses);
        };
        self.losses(workspace, weights, each).map_err(|source| self.run_error(source))?;
        match broken {
            None => Ok(all),
            Some((example, value)) => Err(ProbeError::NonFinite { probe: self.name.clone(), example, value }),
        }
    }

    fn run_error(&self, source: RunError) -> ProbeError {
        ProbeError::Run { probe: self.name.clone(), source }
    }

    /// Checks that all probes have names of their own and the parameters of the objective.
    pub(super) fn check_all(probes: &[Self], objective: &Objective) -> Result<(), ProbeError> {
        if probes.is_empty() {
            return Err(ProbeError::Names { found: "no probe".to_owned() });
        }
        for (i, probe) in probes.iter().enumerate() {
            if probes[..i].iter().any(|other| other.name == probe.name) {
                return Err(ProbeError::Names { found: format!("two probes named `{}`", probe.name) });
            }
            if probe.space != *objective.space() {
                let (found, expected) = (probe.space.len(), objective.space().len());
                return Err(ProbeError::OtherParameters { probe: probe.name.clone(), found, expected });
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe")
            .field("name", &self.name)
            .field("examples", &self.data.len())
            .field("n_tokens", &self.n_tokens)
            .finish_non_exhaustive()
    }
}
