//! `observable = "residual_stream"`: the stream before the last norm as the sum of what was written into it.

use ontogeny_graph::{DataSet, Gradient, Graph, Node, Program, Workspace};
use ontogeny_zoo::Model;
use serde::{Deserialize, Serialize};

use super::chosen_rows;
use super::logit_attribution::{Source, sources, stream_end, written};
use crate::{Checkpoint, Findings, Instrument, Measured, ObserveError, Settings, Subject};

/// Version of the numbers of [`ResidualStream`].
pub const RESIDUAL_STREAM_VERSION: u32 = 1;

/// Examples of one execution.
const BATCH: usize = 32;

/// The scores of a part.
const SCORES: [&str; 2] = ["norm", "share"];

/// Settings of `observable = "residual_stream"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResidualStreamSettings {
    /// The split whose examples are looked at; unless given `even`, else `test`, else `train`, whichever the task has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Examples, evenly spaced over the split.
    pub examples: usize,
}

impl Default for ResidualStreamSettings {
    fn default() -> Self {
        Self { split: None, examples: 256 }
    }
}

impl Settings for ResidualStreamSettings {
    fn build(&self, subject: &Subject<'_>) -> Result<Box<dyn Instrument>, ObserveError> {
        let (split, rows) = chosen_rows(subject.task, self.split.as_deref(), self.examples)?;
        Ok(Box::new(ResidualStream::new(subject.model, split.data.rows(&rows))?))
    }
}

/// The decomposed residual stream (Elhage et al. 2021): x = Σ c over embeddings, heads, biases of attention and MLPs.
///
/// `norm` is √mean ‖c‖² over examples and positions, `share` the mean of c·x/‖x‖², so that the shares sum up to 1; it is negative of
/// what removes what others have written.
#[derive(Debug)]
pub struct ResidualStream {
    program: Program,
    workspace: Workspace,
    data: DataSet,
    batch: usize,
    length: usize,
    labels: Vec<String>,
}

impl ResidualStream {
    /// # Errors
    /// A network without a residual stream that is a sum of its parts.
    pub fn new(model: &Model, data: DataSet) -> Result<Self, ObserveError> {
        let batch = BATCH.min(data.len());
        let (mut graph, _) = model.graph(batch);
        let stream = graph.find(&stream_end(&graph)?)?;
        let [_, length, d] = graph.shape(stream).try_into().map_err(|_| {
            ObserveError::Setting("the residual stream has no positions; expected [batch, position, d]".to_owned())
        })?;
        let square = graph.square(stream);
        let norm = graph.sum(square, &[2]);
        let norm = graph.keep_axes(norm, &[2]);
        let shape = [batch, length, d];
        let norm = graph.broadcast(norm, &shape);
        let slope = graph.div(stream, norm);
        let shares = written(&mut graph, slope)?;
        let norms = squares(&mut graph);
        graph.check()?;
        let labels: Vec<String> = shares.iter().map(|(label, _)| label.clone()).collect();
        let names: Vec<[String; 2]> = (0..labels.len()).map(|at| SCORES.map(|score| format!("{score}.{at}"))).collect();
        let nodes = names.iter().zip(norms.into_iter().zip(&shares));
        let outputs: Vec<(&str, Node)> = nodes
            .flat_map(|([norm, share], (of_norm, (_, of_share)))| {
                [(norm.as_str(), of_norm), (share.as_str(), *of_share)]
            })
            .collect();
        let program = Program::compile(&graph, &outputs, Gradient::None)?;
        let workspace = Workspace::new(&program);
        Ok(Self { program, workspace, data, batch, length, labels })
    }

    /// Norm and share of every part, `[part, score]`.
    ///
    /// # Errors
    /// Weights of another model, or a stream that is not finite, or 0.
    pub fn parts(&mut self, weights: &[f32]) -> Result<Vec<[f64; 2]>, ObserveError> {
        let all: Vec<usize> = (0..self.data.len()).collect();
        let mut sums = vec![[0.0; 2]; self.labels.len()];
        for rows in all.chunks(self.batch) {
            self.data.fill(&self.program, &mut self.workspace, rows)?;
            self.program.run(&mut self.workspace, weights)?;
            for (at, sums) in sums.iter_mut().enumerate() {
                for (score, sum) in SCORES.iter().zip(sums) {
                    let found = self.workspace.output(&self.program, &format!("{score}.{at}"));
                    *sum += found[..rows.len()].iter().map(|&x| f64::from(x)).sum::<f64>();
                }
            }
        }
        let n = (self.data.len() * self.length) as f64;
        if sums.iter().flatten().any(|sum| !sum.is_finite()) {
            let node = self.program.first_non_finite(&mut self.workspace, weights)?;
            return Err(ObserveError::non_finite(node, "the residual stream"));
        }
        Ok(sums.into_iter().map(|[norm, share]| [(norm / n).sqrt(), share / n]).collect())
    }
}

/// ‖c‖² of everything that writes into the stream, summed over positions: `[batch]`.
fn squares(graph: &mut Graph) -> Vec<Node> {
    let mut norms = Vec::new();
    for (_, source) in sources(graph) {
        match source {
            Source::Whole(value) => {
                let square = graph.square(value);
                norms.push(graph.sum(square, &[1, 2]));
            }
            Source::Bias(bias) => {
                let stream = graph.find("hook_embed").map_or_else(|_| vec![1, 1, 1], |node| graph.shape(node).to_vec());
                let everywhere = graph.broadcast(bias, &stream);
                let square = graph.square(everywhere);
                norms.push(graph.sum(square, &[1, 2]));
            }
            Source::Heads { z, out } => {
                // ‖z·W‖² = z·(W·Wᵀ)·zᵀ, again without the outputs of the heads.
                let gram = graph.einsum("hed,hfd->hef", out, out);
                let turned = graph.einsum("bqhe,hef->bqhf", z, gram);
                let product = graph.mul(z, turned);
                let of_heads = graph.sum(product, &[1, 3]);
                for head in 0..graph.shape(of_heads)[1] {
                    norms.push(graph.select_index(of_heads, 1, head));
                }
            }
        }
    }
    norms
}

impl Instrument for ResidualStream {
    fn dims(&self) -> Vec<(&'static str, Vec<String>)> {
        vec![("part", self.labels.clone()), ("score", SCORES.map(str::to_owned).to_vec())]
    }

    fn measure(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Findings, ObserveError> {
        let values = self.parts(checkpoint.weights)?.into_iter().flatten().collect();
        Ok(Measured { unit: "1", dims: self.dims(), values }.into())
    }
}
