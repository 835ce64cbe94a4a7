//! Networks of tokens on sequences of one's own: the activations that observables of heads, neurons and predictions read.

use ontogeny_graph::{ColumnData, Gradient, Graph, Node, Program, Workspace};
use ontogeny_zoo::{Interface, Model, Split, Task};

use crate::{Checkpoint, ObserveError};

/// Attention of one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AttentionLayer {
    /// Number of the block.
    pub(crate) layer: usize,
    /// Name of its attention pattern.
    pub(crate) pattern: String,
    pub(crate) n_heads: usize,
}

/// What an observable is not defined for.
pub(crate) fn not_defined(
    observable: &'static str,
    needs: impl Into<String>,
    found: impl Into<String>,
) -> ObserveError {
    ObserveError::NotDefined { observable, needs: needs.into(), found: found.into() }
}

/// Vocabulary and length of the sequences that a model reads.
pub(crate) fn token_interface(model: &Model, observable: &'static str) -> Result<(usize, usize), ObserveError> {
    match model.interface() {
        Interface::Tokens { vocabulary, length, .. } => Ok((vocabulary, length)),
        _ => Err(not_defined(observable, "a network that reads sequences of tokens", "other inputs")),
    }
}

/// Numbers of the blocks of a graph, ascending: blocks without what is looked for may stand between others.
pub(crate) fn blocks(graph: &Graph) -> impl Iterator<Item = usize> {
    let has_block = |layer: &usize| graph.names().any(|(name, _)| name.starts_with(&format!("blocks.{layer}.")));
    (0..).take_while(has_block)
}

/// The blocks with attention.
///
/// # Errors
/// There is none.
pub(crate) fn attention_layers(graph: &Graph, observable: &'static str) -> Result<Vec<AttentionLayer>, ObserveError> {
    let layers: Vec<AttentionLayer> = blocks(graph)
        .filter_map(|layer| {
            let pattern = format!("blocks.{layer}.attn.hook_pattern");
            let n_heads = graph.shape(graph.find(&pattern).ok()?)[1];
            Some(AttentionLayer { layer, pattern, n_heads })
        })
        .collect();
    if layers.is_empty() {
        let needs = "attention, as activations `blocks.N.attn.hook_pattern` [batch, heads, query, key]";
        return Err(not_defined(observable, needs, "none"));
    }
    Ok(layers)
}

/// `l0h0` and so on.
pub(crate) fn head_labels(layers: &[AttentionLayer]) -> Vec<String> {
    let of = |own: &AttentionLayer| {
        let layer = own.layer;
        (0..own.n_heads).map(move |head| format!("l{layer}h{head}"))
    };
    layers.iter().flat_map(of).collect()
}

/// The split of that name; unless one is named `even`, else `test`, else `train`, whichever the task has.
///
/// # Errors
/// No such split, with those that there are.
pub(crate) fn split_of<'a>(task: &'a Task, name: Option<&str>) -> Result<&'a Split, ObserveError> {
    task.evaluation_split(name).map_err(ObserveError::Setting)
}

/// The column of ids `tokens` of a split.
pub(crate) fn tokens_of(split: &Split) -> Option<&[i32]> {
    split.data.columns().iter().find_map(|column| match &column.data {
        ColumnData::Ids(ids) if column.name == "tokens" => Some(ids.as_slice()),
        _ => None,
    })
}

/// The token that all sequences of the task's training data begin with, where all begin with the same.
pub(crate) fn beginning(task: &Task, length: usize) -> Option<i32> {
    let tokens = tokens_of(task.split("train")?)?;
    let first = *tokens.first()?;
    (tokens.len() > length && tokens.chunks_exact(length).all(|sequence| sequence[0] == first)).then_some(first)
}

/// Outputs of a network on any sequences of tokens.
#[derive(Debug)]
pub(crate) struct SequenceReader {
    program: Program,
    workspace: Workspace,
    length: usize,
    batch: usize,
}

/// Most numbers of all outputs of one execution, 64 MB.
const MAX_NUMBERS: usize = 1 << 24;

impl SequenceReader {
    /// Compiles the outputs that `outputs` adds to the graph of the model, each `[batch, …]`, for at most `most` sequences at a
    /// time and no more numbers than memory should hold.
    ///
    /// # Errors
    /// An activation that the network does not have.
    pub(crate) fn new(
        model: &Model,
        observable: &'static str,
        most: usize,
        outputs: impl Fn(&mut Graph) -> Result<Vec<(String, Node)>, ObserveError>,
    ) -> Result<Self, ObserveError> {
        let (_, length) = token_interface(model, observable)?;
        let (mut graph, _) = model.graph(1);
        let n_each: usize =
            outputs(&mut graph)?.iter().map(|(_, node)| graph.shape(*node).iter().product::<usize>()).sum();
        let batch = (MAX_NUMBERS / n_each.max(1)).clamp(1, most.max(1));
        let (mut graph, _) = model.graph(batch);
        let nodes = outputs(&mut graph)?;
        let nodes: Vec<(&str, Node)> = nodes.iter().map(|(name, node)| (name.as_str(), *node)).collect();
        let program = Program::compile(&graph, &nodes, Gradient::None)?;
        let workspace = Workspace::new(&program);
        Ok(Self { program, workspace, length, batch })
    }

    /// Runs the network on the sequences, each as long as the network reads, and hands `take` each of them with its outputs by
    /// name. `take` gives back a number that must be finite.
    ///
    /// # Errors
    /// Weights of another network or that are not finite, or a cancellation.
    pub(crate) fn each(
        &mut self,
        checkpoint: &Checkpoint<'_>,
        sequences: &[i32],
        mut take: impl for<'a> FnMut(&'a [i32], &dyn Fn(&str) -> &'a [f32]) -> f64,
    ) -> Result<(), ObserveError> {
        let Self { program, workspace, length, batch } = self;
        let n = sequences.len() / *length;
        for (number, chunk) in sequences.chunks(*batch * *length).enumerate() {
            checkpoint.check_cancelled()?;
            workspace.ids_mut(program, "tokens")?[..chunk.len()].copy_from_slice(chunk);
            program.run(workspace, checkpoint.weights)?;
            let mut is_finite = true;
            for (at, tokens) in chunk.chunks_exact(*length).enumerate() {
                let outputs = |name: &str| {
                    let all = workspace.output(program, name);
                    let width = all.len() / *batch;
                    &all[at * width..(at + 1) * width]
                };
                is_finite &= take(tokens, &outputs).is_finite();
            }
            if !is_finite {
                let node = program.first_non_finite(workspace, checkpoint.weights)?;
                return Err(ObserveError::non_finite(node, "the activations"));
            }
            (checkpoint.progress)(((number + 1) * *batch).min(n) as f64 / n.max(1) as f64);
        }
        Ok(())
    }
}
