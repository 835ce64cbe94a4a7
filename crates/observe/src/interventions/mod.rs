//! Interventions: what a network does when a part of it is taken out, exchanged or held.
//!
//! An intervention is an edit of the graph ([`ontogeny_graph::Graph::replace`]), not a hook at run time. An [`Editor`] holds the network with a switch at every
//! activation that may be replaced; [`Ablation`], [`Patching`] and [`CheckpointPatching`] only decide what is put there.
//! [`LogitAttribution`] divides a difference of logits among the parts that write into the residual stream, [`ResidualStream`] the stream itself, [`LogitLens`] reads it before its
//! end. Each is an observable of a run, over all its checkpoints.

mod ablation;
mod checkpoint_patching;
mod component;
mod editor;
mod explainer;
mod logit_attribution;
mod logit_lens;
mod pairs;
mod patching;
mod prompt;
mod residual_stream;

pub use ablation::{ABLATION_VERSION, AblateBy, Ablation, AblationSettings};
pub use checkpoint_patching::{
    CHECKPOINT_PATCHING_VERSION, CheckpointPatching, CheckpointPatchingSettings, Recovered, Shares,
};
pub use component::Component;
pub(crate) use component::{has_positions, is_activation};
pub use editor::{Editor, Replacement};
pub use explainer::{Evidence, Explainer, Samples, differences};
pub use logit_attribution::{LOGIT_ATTRIBUTION_VERSION, LogitAttribution, LogitAttributionSettings};
pub use logit_lens::{LOGIT_LENS_VERSION, LogitLens, LogitLensSettings};
pub use pairs::Pairs;
pub use patching::{Baselines, PATCHING_VERSION, PatchInto, PatchMethod, Patching, PatchingSettings};
pub use prompt::Behaviour;
pub use residual_stream::{RESIDUAL_STREAM_VERSION, ResidualStream, ResidualStreamSettings};

use ontogeny_zoo::{Model, Split, Task};

use crate::ObserveError;
use crate::measured::mean_and_error;

/// A split and `examples` of its rows, evenly spaced; all where there are fewer.
pub(crate) fn chosen_rows<'a>(
    task: &'a Task,
    split: Option<&str>,
    examples: usize,
) -> Result<(&'a Split, Vec<usize>), ObserveError> {
    let split = task.evaluation_split(split).map_err(ObserveError::Setting)?;
    let n = split.data.len();
    if examples == 0 || n == 0 {
        return Err(ObserveError::Setting(format!(
            "`examples` is {examples} of the {n} of the split `{}`; expected at least 1",
            split.name
        )));
    }
    let taken = examples.min(n);
    Ok((split, (0..taken).map(|i| i * n / taken).collect()))
}

/// In which order parts are looked at, and how long.
#[derive(Debug, Clone, Copy)]
pub struct Limits<'a> {
    /// Numbers of the parts; those left out are not looked at.
    pub order: &'a [usize],
    /// When to stop: parts not reached by then have no effect, those reached by some batches that of fewer examples.
    pub until: std::time::Instant,
}

/// Mean of a part's effect over examples.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Effect {
    /// The mean.
    pub mean: f64,
    /// Its standard error; NaN (null in JSON) of a single example, because there is nothing it could be known from.
    pub standard_error: f64,
    /// Examples.
    pub n: usize,
}

impl Effect {
    /// `None` without examples.
    pub fn of(values: &[f64]) -> Option<Self> {
        let (mean, standard_error) = mean_and_error(values.iter().copied());
        (!values.is_empty()).then_some(Self { mean, standard_error, n: values.len() })
    }
}

/// The numbers of all parts, or those of the limits, as they are to be looked at in one batch.
fn order_of(limits: Option<Limits<'_>>, n_parts: usize) -> Vec<usize> {
    limits.map_or_else(|| (0..n_parts).collect(), |limits| limits.order.to_vec())
}

fn is_over(limits: Option<Limits<'_>>) -> bool {
    limits.is_some_and(|limits| std::time::Instant::now() >= limits.until)
}

/// The activations of parts, each once, in their order.
fn activations<'a>(parts: impl IntoIterator<Item = &'a Component>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for part in parts {
        if !names.contains(&part.activation) {
            names.push(part.activation.clone());
        }
    }
    names
}

/// All attention patterns.
fn patterns(model: &Model) -> Result<Vec<Component>, ObserveError> {
    let (graph, _) = model.graph(1);
    let names = (0..component::n_blocks(&graph)).map(|layer| format!("blocks.{layer}.attn.hook_pattern"));
    let found: Vec<Component> = names
        .filter(|name| graph.find(name).is_ok())
        .map(|name| Component { label: name.clone(), activation: name, unit: None })
        .collect();
    if found.is_empty() {
        return Err(ObserveError::Setting(
            "`freeze_patterns` is true, and the network has no attention, as activations `blocks.N.attn.hook_pattern`; remove it".to_owned(),
        ));
    }
    Ok(found)
}
