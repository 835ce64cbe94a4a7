//! `observable = "logit_attribution"`: which parts write the right answer into the residual stream.

use ontogeny_graph::{Gradient, Graph, GraphError, Node, Program, Workspace};
use ontogeny_zoo::Model;
use serde::{Deserialize, Serialize};

use super::component::n_blocks;
use super::pairs::{PAIR_METRIC, add_metric};
use super::{Pairs, chosen_rows, mean_and_error};
use crate::{Checkpoint, Findings, Instrument, Measured, ObserveError, Settings, Subject};

/// Version of the numbers of [`LogitAttribution`].
pub const LOGIT_ATTRIBUTION_VERSION: u32 = 1;

/// Examples of one execution.
const BATCH: usize = 32;

/// Settings of `observable = "logit_attribution"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogitAttributionSettings {
    /// The split whose examples are looked at; unless given `even`, else `test`, else `train`, whichever the task has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Examples, evenly spaced over the split.
    pub examples: usize,
}

impl Default for LogitAttributionSettings {
    fn default() -> Self {
        Self { split: None, examples: 256 }
    }
}

impl Settings for LogitAttributionSettings {
    fn build(&self, subject: &Subject<'_>) -> Result<Box<dyn Instrument>, ObserveError> {
        let (split, rows) = chosen_rows(subject.task, self.split.as_deref(), self.examples)?;
        let pairs = Pairs::of_examples(subject.model, &split.data, &rows, subject.seed)?;
        Ok(Box::new(LogitAttribution::new(subject.model, pairs)?))
    }
}

/// Direct logit attribution: the difference of two logits as a sum over what was written into the residual stream.
///
/// The last norm divides by a scale that depends on the whole stream. With this scale held at its value the logits are an affine
/// function of the stream, and the stream is a sum: of embeddings, heads, biases of attention and MLPs (Elhage et al. 2021;
/// Wang et al. 2023). So each has its share of the difference, and the shares sum up to it. What needs no stream at all (the biases
/// of the last norm and of the unembedding) is the share `bias`.
#[derive(Debug)]
pub struct LogitAttribution {
    /// Metric, and the scale of the last norm where it has one.
    forward: (Program, Workspace),
    /// The shares, with that scale given.
    shares: (Program, Workspace),
    batch: usize,
    pairs: Pairs,
    labels: Vec<String>,
}

/// Name of the scale of the last norm.
const SCALE: &str = "ln_final.hook_scale";

/// Name of the share of biases.
const BIAS: &str = "bias";

impl LogitAttribution {
    /// Compiles the shares.
    ///
    /// # Errors
    /// A network without a residual stream of blocks, or with norms behind its blocks.
    pub fn new(model: &Model, pairs: Pairs) -> Result<Self, ObserveError> {
        let batch = BATCH.min(pairs.len());
        let (mut graph, nodes) = model.graph(batch);
        add_metric(&mut graph, nodes.answers, batch)?;
        let last = stream_end(&graph)?;
        let has_norm = graph.find(SCALE).is_ok();

        let mut outputs = vec![(PAIR_METRIC, graph.find(PAIR_METRIC)?)];
        if has_norm {
            outputs.push((SCALE, graph.find(SCALE)?));
        }
        let forward = Program::compile(&graph, &outputs, Gradient::None)?;

        if has_norm {
            graph = with_given(graph, SCALE)?;
        }
        let stream = graph.find(&last)?;
        let metric = graph.find(PAIR_METRIC)?;
        let total = graph.sum(metric, &[0]);
        let slope = graph.gradient(total, &[stream])?[0];
        let mut shares = written(&mut graph, slope)?;
        let labels: Vec<String> = shares.iter().map(|(label, _)| label.clone()).chain([BIAS.to_owned()]).collect();
        // What is left of the metric without a stream.
        let zero = graph.constant(0.0);
        let shape = graph.shape(stream).to_vec();
        let nothing = graph.broadcast(zero, &shape);
        let names: Vec<String> = shares.iter().enumerate().map(|(at, _)| format!("share.{at}")).collect();
        for ((_, node), name) in shares.iter_mut().zip(&names) {
            *node = graph.named(*node, name);
        }
        graph.check()?;
        // Shares read the stream's parts, never its sum, and the slope does not depend on it: so both are had from one graph, the
        // metric of nothing from its edit.
        let without = graph.replace(&last, nothing)?;
        let mut outputs: Vec<(&str, Node)> = Vec::new();
        for name in &names {
            outputs.push((name, without.find(name)?));
        }
        outputs.push((BIAS, without.find(PAIR_METRIC)?));
        let shares = Program::compile(&without, &outputs, Gradient::None)?;
        let (first, second) = (Workspace::new(&forward), Workspace::new(&shares));
        Ok(Self { forward: (forward, first), shares: (shares, second), batch, pairs, labels })
    }

    /// Names of the shares: embeddings, heads, biases of attention, MLPs, and `bias`.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The share of each part in the difference of each pair, `[part][pair]`, and the difference itself.
    ///
    /// # Errors
    /// Weights of another model, or numbers that are not finite.
    pub fn shares(&mut self, weights: &[f32]) -> Result<(Vec<Vec<f64>>, Vec<f64>), ObserveError> {
        let n = self.pairs.len();
        let all: Vec<usize> = (0..n).collect();
        let mut found = vec![Vec::with_capacity(n); self.labels.len()];
        let mut metric = Vec::with_capacity(n);
        for rows in all.chunks(self.batch) {
            let (program, workspace) = &mut self.forward;
            self.pairs.clean.fill(program, workspace, rows)?;
            program.run(workspace, weights)?;
            metric.extend(workspace.output(program, PAIR_METRIC)[..rows.len()].iter().map(|&m| f64::from(m)));
            let (with_scale, second) = &mut self.shares;
            self.pairs.clean.fill_columns(with_scale, second, rows)?;
            if with_scale.input_shape(SCALE_INPUT).is_some() {
                let scale = workspace.output(program, SCALE);
                second.floats_mut(with_scale, SCALE_INPUT)?.copy_from_slice(scale);
            }
            with_scale.run(second, weights)?;
            let n_shares = self.labels.len() - 1;
            for (at, found) in found.iter_mut().enumerate() {
                let name = if at < n_shares { format!("share.{at}") } else { BIAS.to_owned() };
                found.extend(second.output(with_scale, &name)[..rows.len()].iter().map(|&share| f64::from(share)));
            }
        }
        if metric.iter().chain(found.iter().flatten()).any(|value| !value.is_finite()) {
            let (program, workspace) = &mut self.forward;
            let node = program.first_non_finite(workspace, weights)?;
            return Err(ObserveError::non_finite(node, "the logits"));
        }
        Ok((found, metric))
    }
}

/// Where the scale of the last norm is put in.
const SCALE_INPUT: &str = "given.scale";

/// The graph with an activation given by the input [`SCALE_INPUT`].
fn with_given(mut graph: Graph, name: &str) -> Result<Graph, GraphError> {
    let shape = graph.shape(graph.find(name)?).to_vec();
    let given = graph.input(SCALE_INPUT, &shape);
    graph.replace(name, given)
}

/// Name of the residual stream before the last norm.
pub(super) fn stream_end(graph: &Graph) -> Result<String, ObserveError> {
    let n_blocks = n_blocks(graph);
    let last = format!("blocks.{}.hook_resid_post", n_blocks.saturating_sub(1));
    let behind = format!("blocks.{}.hook_normalized_resid_post", n_blocks.saturating_sub(1));
    if n_blocks == 0 || graph.find(&last).is_err() || graph.find(&behind).is_ok() {
        return Err(ObserveError::Setting(
            "the network has no residual stream that is a sum of its parts; expected a transformer with norms before its blocks"
                .to_owned(),
        ));
    }
    Ok(last)
}

/// The share `[batch]` of everything that is written into the stream, along its slope `[batch, position, d]`.
pub(super) fn written(graph: &mut Graph, slope: Node) -> Result<Vec<(String, Node)>, ObserveError> {
    let mut shares = Vec::new();
    for (label, source) in sources(graph) {
        match source {
            Source::Whole(value) => {
                let product = graph.mul(value, slope);
                shares.push((label, graph.sum(product, &[1, 2])));
            }
            Source::Bias(bias) => {
                let shape = graph.shape(slope).to_vec();
                let bias = graph.broadcast(bias, &shape);
                let product = graph.mul(bias, slope);
                shares.push((label, graph.sum(product, &[1, 2])));
            }
            Source::Heads { z, out } => {
                // z·W_O·slope, head by head, without the outputs of the heads ever standing there.
                let back = graph.einsum("bqd,hed->bqhe", slope, out);
                let product = graph.mul(z, back);
                let of_heads = graph.sum(product, &[1, 3]);
                for head in 0..graph.shape(of_heads)[1] {
                    shares.push((format!("{label}h{head}"), graph.select_index(of_heads, 1, head)));
                }
            }
        }
    }
    graph.check()?;
    Ok(shares)
}

/// What writes into the residual stream.
pub(super) enum Source {
    /// A vector at every position: `[batch, position, d]`.
    Whole(Node),
    /// The same vector everywhere: `[d]`.
    Bias(Node),
    /// All heads of a block: `[batch, position, head, e]` and `[head, e, d]`.
    Heads {
        /// Before the output matrix.
        z: Node,
        /// The output matrix.
        out: Node,
    },
}

/// Everything that writes into the stream, in the order of the computation; the heads of a block are called `l0`.
pub(super) fn sources(graph: &Graph) -> Vec<(String, Source)> {
    let find = |name: String| graph.find(&name).ok();
    let mut found = Vec::new();
    let mut push = |label: String, source: Option<Source>| found.extend(source.map(|source| (label, source)));
    push("embed".to_owned(), find("hook_embed".to_owned()).map(Source::Whole));
    let positions = find("hook_pos_embed".to_owned()).filter(|_| is_in_stream(graph));
    push("pos_embed".to_owned(), positions.map(Source::Whole));
    for layer in 0..n_blocks(graph) {
        let name = format!("blocks.{layer}");
        let (z, out) = (find(format!("{name}.attn.hook_z")), find(format!("{name}.attn.W_O")));
        push(format!("l{layer}"), z.zip(out).map(|(z, out)| Source::Heads { z, out }));
        push(format!("l{layer} attn bias"), find(format!("{name}.attn.b_O")).map(Source::Bias));
        push(format!("l{layer} mlp"), find(format!("{name}.hook_mlp_out")).map(Source::Whole));
    }
    found
}

/// Whether the embeddings of positions are added to the stream: Shortformer's go elsewhere, so that its first block reads
/// the embedding of tokens itself.
fn is_in_stream(graph: &Graph) -> bool {
    graph.find("blocks.0.hook_resid_pre").ok() != graph.find("hook_embed").ok()
}

impl Instrument for LogitAttribution {
    fn dims(&self) -> Vec<(&'static str, Vec<String>)> {
        vec![("part", self.labels.clone())]
    }

    fn measure(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Findings, ObserveError> {
        let (shares, metric) = self.shares(checkpoint.weights)?;
        let (values, errors) = shares.iter().map(|shares| mean_and_error(shares.iter().copied())).unzip();
        Ok(Findings {
            value: Measured { unit: "logits", dims: self.dims(), values },
            standard_errors: Some(errors),
            arrays: Vec::new(),
            details: vec![("logit_difference", mean_and_error(metric.iter().copied()).0)],
            refusal: None,
        })
    }
}
