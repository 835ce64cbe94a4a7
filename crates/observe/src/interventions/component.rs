//! The parts of a network that interventions speak of: heads, MLPs, neurons, named activations.

use std::ops::Range;

use ontogeny_graph::{DType, Graph};
use ontogeny_zoo::Model;

use crate::ObserveError;

/// A part of a network by what it gives to the parts after it: a named activation, or one unit of it.
///
/// | label | activation | unit |
/// |---|---|---|
/// | `l0h2` | `blocks.0.attn.hook_z` `[batch, position, head, width]` | head 2 |
/// | `l0 attn`, `l0 mlp` | `blocks.0.hook_attn_out`, `blocks.0.hook_mlp_out` | |
/// | `l0n7` | `blocks.0.mlp.hook_post`, or `layers.0.hook_post` | neuron 7 |
/// | `l0` | `layers.0.hook_post` of networks without blocks | |
/// | `embed`, `pos_embed` | `hook_embed`, `hook_pos_embed` | |
/// | `NAME`, `NAME[7]` | `NAME` | entry 7 of its last axis; of images channel 7 |
///
/// Heads, neurons and modules are called as in `restrict` of a learning coefficient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// How people call it.
    pub label: String,
    /// Name of the activation in the graph.
    pub activation: String,
    /// Axis, the batch being 0, and the entry of it; `None` for the whole activation.
    pub unit: Option<(usize, usize)>,
}

impl Component {
    /// The heads and MLPs of a transformer, in the order of the computation; of other networks their named activations, those
    /// before a nonlinearity left out.
    ///
    /// # Errors
    /// A network without named activations.
    pub fn all(model: &Model) -> Result<Vec<Self>, ObserveError> {
        let (graph, _) = model.graph(1);
        let mut all = Vec::new();
        for layer in 0..n_blocks(&graph) {
            let z = format!("blocks.{layer}.attn.hook_z");
            if let Ok(node) = graph.find(&z) {
                let heads = graph.shape(node)[2];
                let head =
                    |head| Self { label: format!("l{layer}h{head}"), activation: z.clone(), unit: Some((2, head)) };
                all.extend((0..heads).map(head));
            }
            let mlp = format!("blocks.{layer}.hook_mlp_out");
            if graph.find(&mlp).is_ok() {
                all.push(Self { label: format!("l{layer} mlp"), activation: mlp, unit: None });
            }
        }
        if all.is_empty() {
            let mut named: Vec<(&str, ontogeny_graph::Node)> = graph
                .names()
                .filter(|(name, node)| {
                    name.contains("hook_") && !name.contains("hook_pre") && graph.dtype(*node) == DType::Float
                })
                .collect();
            named.sort_by_key(|&(_, node)| node);
            all.extend(named.into_iter().map(|(name, _)| Self {
                label: short_name(name),
                activation: name.to_owned(),
                unit: None,
            }));
        }
        if all.is_empty() {
            let found = own_names(&graph);
            return Err(ObserveError::Setting(format!(
                "the network has no activations with names of the kind `hook_…`; name the parts: `parts = [\"NAME\"]`, of {found}"
            )));
        }
        Ok(all)
    }

    /// The parts that were asked for by their labels, of which `heads`, `mlps` and `neurons` stand for all of that kind;
    /// [`Component::all`] where there are none.
    ///
    /// # Errors
    /// A label that names nothing, with what would.
    pub fn chosen(model: &Model, labels: &[String]) -> Result<Vec<Self>, ObserveError> {
        if labels.is_empty() {
            return Self::all(model);
        }
        let (graph, _) = model.graph(1);
        let mut chosen: Vec<Self> = Vec::new();
        for label in labels {
            let label = label.trim();
            let found = match label {
                "heads" => of_all(model, |part| matches!(part.unit, Some((2, _))))?,
                "mlps" => of_all(model, |part| part.label.ends_with(" mlp"))?,
                "neurons" => neurons(&graph),
                _ => Self::parse(&graph, label).into_iter().collect(),
            };
            if found.is_empty() || found.iter().any(|part| !is_activation(model, &graph, &part.activation)) {
                return Err(unknown(&graph, label));
            }
            chosen.extend(found);
        }
        let mut seen = std::collections::BTreeSet::new();
        chosen.retain(|part| seen.insert(part.label.clone()));
        Ok(chosen)
    }

    fn parse(graph: &Graph, label: &str) -> Option<Self> {
        let here = |activation: String, unit: Option<(usize, usize)>| {
            let node = graph.find(&activation).ok()?;
            let shape = graph.shape(node);
            let fits = graph.dtype(node) == DType::Float
                && !shape.is_empty()
                && unit.is_none_or(|(axis, index)| shape.get(axis).is_some_and(|&extent| index < extent));
            fits.then(|| Self { label: label.to_owned(), activation, unit })
        };
        if graph.find(label).is_ok() {
            return here(label.to_owned(), None);
        }
        match label {
            "embed" | "pos_embed" => return here(format!("hook_{label}"), None),
            _ => {}
        }
        if let Some((name, number)) = label.strip_suffix(']').and_then(|label| label.rsplit_once('[')) {
            let rank = graph.shape(graph.find(name).ok()?).len();
            // Of images the units are channels.
            let axis = if rank == 4 && !has_positions(name, rank) { 1 } else { rank.checked_sub(1)? };
            return here(name.to_owned(), Some((axis, number.parse().ok()?)));
        }
        let rest = label.strip_prefix('l')?;
        if let Some((layer, module)) = rest.split_once(' ') {
            let layer: usize = layer.parse().ok()?;
            let module = ["attn", "mlp"].into_iter().find(|own| *own == module)?;
            return here(format!("blocks.{layer}.hook_{module}_out"), None);
        }
        if let Some((layer, head)) = rest.split_once('h') {
            let layer: usize = layer.parse().ok()?;
            return here(format!("blocks.{layer}.attn.hook_z"), Some((2, head.parse().ok()?)));
        }
        if let Some((layer, neuron)) = rest.split_once('n') {
            let (layer, neuron): (usize, usize) = (layer.parse().ok()?, neuron.parse().ok()?);
            let of = |name: String, axis| here(name, Some((axis, neuron)));
            return of(format!("blocks.{layer}.mlp.hook_post"), 2)
                .or_else(|| of(format!("layers.{layer}.hook_post"), 1));
        }
        let layer: usize = rest.parse().ok()?;
        here(format!("layers.{layer}.hook_post"), None)
    }

    /// The elements that belong to it in one example's part of an activation of `shape` (with its batch), as ranges; of
    /// activations with positions only those at `positions`, where these are given.
    pub(crate) fn elements(&self, shape: &[usize], positions: Option<&[usize]>) -> Vec<Range<usize>> {
        let row = &shape[1..];
        let width: usize = row.iter().product();
        let (outer, extent, inner, index) = match self.unit {
            None => (1, 1, width, 0),
            Some((axis, index)) => {
                let split = axis - 1;
                (row[..split].iter().product(), row[split], row[split + 1..].iter().product(), index)
            }
        };
        let all = (0..outer).map(|at| {
            let start = (at * extent + index) * inner;
            start..start + inner
        });
        let (Some(positions), [n_positions, rest @ ..]) = (positions, row) else { return all.collect() };
        if rest.is_empty() {
            return all.collect();
        }
        // Positions are the first axis after the batch; a range of a unit lies within one, that of a whole is cut.
        let per_position = width / n_positions;
        all.flat_map(|range| {
            positions.iter().filter_map(move |&at| {
                let own = at * per_position..(at + 1) * per_position;
                let both = range.start.max(own.start)..range.end.min(own.end);
                (both.start < both.end).then_some(both)
            })
        })
        .collect()
    }
}

/// Blocks of a transformer; some may have no attention, or no MLP.
pub(crate) fn n_blocks(graph: &Graph) -> usize {
    let layer = |name: &str| name.strip_prefix("blocks.")?.split_once('.')?.0.parse::<usize>().ok();
    graph.names().filter_map(|(name, _)| layer(name)).max().map_or(0, |last| last + 1)
}

/// Whether a name is that of an activation: a float for each example, and neither a parameter nor a result.
pub(crate) fn is_activation(model: &Model, graph: &Graph, name: &str) -> bool {
    let Ok(one) = graph.find(name) else { return false };
    let is_param = graph.param_names().any(|own| own == name);
    let (two, _) = model.graph(2);
    let rows = |graph: &Graph, node| graph.shape(node).first().copied();
    let grows = rows(graph, one) == Some(1) && two.find(name).is_ok_and(|node| rows(&two, node) == Some(2));
    !is_param && !RESULTS.contains(&name) && graph.dtype(one) == DType::Float && graph.shape(one).len() > 1 && grows
}

/// Whether the axis behind the batch is that of positions: of transformers all activations, of other networks those with two more
/// axes.
pub(crate) fn has_positions(name: &str, rank: usize) -> bool {
    let is_transformers =
        name.starts_with("blocks.") || name.starts_with("hook_embed") || name.starts_with("hook_pos_embed");
    is_transformers || rank == 3
}

/// What networks give out; no part of them.
const RESULTS: [&str; 5] = ["logits", "answers", "example_loss", "loss", "token_loss"];

/// Names of activations that somebody else has given, in the order of the computation; some where they are many.
fn own_names(graph: &Graph) -> String {
    const MOST: usize = 20;
    let is_param = |name: &str| graph.param_names().any(|own| own == name);
    let mut names: Vec<(ontogeny_graph::Node, &str)> = graph
        .names()
        .filter(|(name, node)| {
            graph.dtype(*node) == DType::Float
                && graph.shape(*node).len() > 1
                && !RESULTS.contains(name)
                && !is_param(name)
        })
        .map(|(name, node)| (node, name))
        .collect();
    names.sort_unstable();
    let n_more = names.len().saturating_sub(MOST);
    let shown: Vec<&str> = names.iter().take(MOST).map(|(_, name)| *name).collect();
    let more = if n_more > 0 { format!(" and {n_more} more") } else { String::new() };
    if shown.is_empty() { "which it has none either".to_owned() } else { format!("{}{more}", shown.join(", ")) }
}

fn of_all(model: &Model, is_wanted: impl Fn(&Component) -> bool) -> Result<Vec<Component>, ObserveError> {
    Ok(Component::all(model)?.into_iter().filter(is_wanted).collect())
}

fn neurons(graph: &Graph) -> Vec<Component> {
    let mut found: Vec<(usize, String, usize, usize)> = graph
        .names()
        .filter_map(|(name, node)| {
            let (layer, axis) = match name.strip_suffix(".mlp.hook_post").and_then(|name| name.strip_prefix("blocks."))
            {
                Some(layer) => (layer, 2),
                None => (name.strip_suffix(".hook_post")?.strip_prefix("layers.")?, 1),
            };
            Some((layer.parse().ok()?, name.to_owned(), axis, *graph.shape(node).get(axis)?))
        })
        .collect();
    found.sort_unstable();
    let of = |(layer, name, axis, n): (usize, String, usize, usize)| {
        (0..n).map(move |i| Component {
            label: format!("l{layer}n{i}"),
            activation: name.clone(),
            unit: Some((axis, i)),
        })
    };
    found.into_iter().flat_map(of).collect()
}

/// `layers.0.hook_post` as `l0`; others as they are.
fn short_name(name: &str) -> String {
    let layer = name.strip_prefix("layers.").and_then(|rest| rest.strip_suffix(".hook_post"));
    layer.map_or_else(|| name.to_owned(), |layer| format!("l{layer}"))
}

fn unknown(graph: &Graph, label: &str) -> ObserveError {
    let nearest = match graph.find(label) {
        Err(error) => error.to_string(),
        Ok(_) => "it is no activation of floats".to_owned(),
    };
    ObserveError::Setting(format!(
        "`parts` names `{label}`; expected heads, mlps or neurons, one of these such as l0h2, \"l0 mlp\" or l0n7, embed, \
         pos_embed, or an activation of the network ({nearest})"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_heads_neurons_and_positions() {
        let elements = |unit, shape: &[usize], positions: Option<&[usize]>| {
            let part = Component { label: String::new(), activation: String::new(), unit };
            let ranges = part.elements(shape, positions);
            ranges.into_iter().map(|range| [range.start, range.end]).collect::<Vec<_>>()
        };
        // [batch, position, head, width]
        let shape = [5, 3, 2, 4];
        assert_eq!(elements(Some((2, 1)), &shape, None), [[4, 8], [12, 16], [20, 24]]);
        assert_eq!(elements(Some((2, 1)), &shape, Some(&[1])), [[12, 16]]);
        assert_eq!(elements(None, &shape, None), [[0, 24]]);
        assert_eq!(elements(None, &shape, Some(&[0, 2])), [[0, 8], [16, 24]]);
        assert_eq!(elements(Some((3, 2)), &shape, Some(&[2])), [[18, 19], [22, 23]]);
        // No positions: a layer of a perceptron.
        assert_eq!(elements(Some((1, 6)), &[5, 9], Some(&[0])), [[6, 7]]);
        assert_eq!(elements(None, &[5, 9], None), [[0, 9]]);
    }
}
