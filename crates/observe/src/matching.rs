//! Weight matching: the order of one network's units in which its weights are closest to another's (Git Re-Basin).

use ontogeny_graph::{Purpose, Stream};
use ontogeny_stats::{Matrix, best_assignment};
use ontogeny_zoo::UnitGroup;

use crate::{Checkpoint, ObserveError};

/// Weights in their new order, and which unit went where.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Matching {
    /// Flat weights that compute what they did before.
    pub(crate) weights: Vec<f32>,
    /// Of each group: which of the network's units stands in place i.
    pub(crate) orders: Vec<Vec<usize>>,
    /// Σ wₐ·w_b over all weights of all groups, before anything moved and after each pass.
    pub(crate) objectives: Vec<f64>,
}

/// Least gain that counts, as a share of the squared length of the weights: less is rounding.
const SMALL: f64 = 1e-12;

/// Passes over all groups; a handful is usual, since each gains.
const MAX_PASSES: usize = 100;

/// Number of the random stream of the order of groups.
const STREAM: u64 = (1 << 40) + 1;

/// Orders the units of `other` so that its scalar product with `weights` is largest: Ainsworth, Hayase and Srinivasa 2022, algorithm 1.
///
/// Group by group, with all others held, the best order is an assignment problem; it is taken if it gains, until none does. The
/// first pass goes in the order of the groups, later ones in random orders. Of heads, what two of them gain is measured in the
/// best order of the coordinates inside of them.
pub(crate) fn match_weights(
    groups: &[UnitGroup],
    weights: &[f32],
    other: &[f32],
    seed: u32,
    checkpoint: &Checkpoint<'_>,
) -> Result<Matching, ObserveError> {
    let square: f64 = weights.iter().chain(other).map(|&w| f64::from(w) * f64::from(w)).sum();
    let least = SMALL * square;
    let mut moved = other.to_vec();
    let mut orders: Vec<Vec<usize>> = groups.iter().map(|group| (0..group.n_units).collect()).collect();
    let mut objectives = vec![objective(weights, &moved)];
    let stream = Stream::new(seed, Purpose::Probe, STREAM);
    for pass in 0..MAX_PASSES {
        let order = if pass == 0 { (0..groups.len()).collect() } else { stream.permutation(groups.len(), pass as u32) };
        let mut has_gained = false;
        for at in order {
            checkpoint.check_cancelled()?;
            let Some(step) = best_step(&groups[at], weights, &moved, least)? else { continue };
            has_gained = true;
            groups[at].reorder(&step.order, &mut moved);
            orders[at] = step.order.iter().map(|&unit| orders[at][unit]).collect();
            for (inside, orders) in groups[at].inside.iter().zip(&step.inside) {
                inside.iter().zip(orders).for_each(|(group, order)| group.reorder(order, &mut moved));
            }
        }
        objectives.push(objective(weights, &moved));
        if !has_gained {
            break;
        }
    }
    Ok(Matching { weights: moved, orders, objectives })
}

/// Scalar product of the flat weights: what does not move adds the same to all.
fn objective(weights: &[f32], other: &[f32]) -> f64 {
    weights.iter().zip(other).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// A new order of a group, and of what is inside each unit in its new place.
struct Step {
    order: Vec<usize>,
    inside: Vec<Vec<Vec<usize>>>,
}

fn best_step(group: &UnitGroup, weights: &[f32], other: &[f32], least: f64) -> Result<Option<Step>, ObserveError> {
    let n = group.n_units;
    let mut gains = products(group, weights, group, other)?.values().to_vec();
    let mut now: f64 = (0..n).map(|i| gains[i * n + i]).sum();
    // Best orders inside of unit i, if the other's unit j stood in its place.
    let mut inside = Vec::new();
    if !group.inside.is_empty() {
        for i in 0..n {
            for j in 0..n {
                let mut orders = Vec::with_capacity(group.inside[i].len());
                for (own, theirs) in group.inside[i].iter().zip(&group.inside[j]) {
                    let m = own.n_units;
                    let products = products(own, weights, theirs, other)?;
                    let order = best_assignment(products.values(), m)?;
                    gains[i * n + j] += order.iter().enumerate().map(|(a, &b)| products.row(a)[b]).sum::<f64>();
                    if i == j {
                        now += (0..m).map(|a| products.row(a)[a]).sum::<f64>();
                    }
                    orders.push(order);
                }
                inside.push(orders);
            }
        }
    }
    let order = best_assignment(&gains, n)?;
    let found: f64 = order.iter().enumerate().map(|(i, &j)| gains[i * n + j]).sum();
    if found <= now + least {
        return Ok(None);
    }
    let inside = order.iter().enumerate().filter_map(|(i, &j)| inside.get(i * n + j).cloned()).collect();
    Ok(Some(Step { order, inside }))
}

/// (units, units): products of the weights of each unit with those of each of the other's.
fn products(group: &UnitGroup, weights: &[f32], theirs: &UnitGroup, other: &[f32]) -> Result<Matrix, ObserveError> {
    let matrix = |group: &UnitGroup, weights: &[f32]| {
        let values = group.weights_of_units(weights);
        Matrix::new(group.n_units, values.len() / group.n_units.max(1), values)
    };
    Ok(matrix(group, weights)?.product_transposed(&matrix(theirs, other)?))
}

#[cfg(test)]
mod tests {
    use ontogeny_zoo::{Interface, Model, Read, VectorLoss, unit_groups};
    use serde_json::json;

    use super::*;

    fn models() -> Vec<Model> {
        let vectors = |inputs, image| Interface::Vectors { inputs, outputs: 3, loss: VectorLoss::CrossEntropy, image };
        let image = vectors(2 * 8 * 8, Some([2, 8, 8]));
        let tokens = Interface::Tokens { vocabulary: 20, length: 6, read: Read::NEXT_TOKEN };
        let transformer = |changes: serde_json::Value| {
            let mut settings = json!({
                "kind": "transformer", "layers": 2, "d_model": 16, "heads": 4, "d_mlp": 24, "activation": "gelu",
                "normalization": "layer_norm", "positions": "learned", "attention_biases": true,
            });
            settings.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            settings
        };
        [
            (json!({"kind": "mlp", "sizes": [10, 32, 24, 3], "activation": "relu"}), vectors(10, None)),
            (json!({"kind": "mlp", "sizes": [10, 32, 24, 16, 3], "activation": "tanh"}), vectors(10, None)),
            (json!({"kind": "cnn", "channels": [6, 8], "kernel": 3, "padding": 1, "dense": [12], "activation": "relu"}), image),
            (json!({"kind": "resnet", "channels": [6, 8], "blocks": 1, "normalization": "group_norm"}), image),
            (transformer(json!({})), tokens),
            (transformer(json!({"positions": "rotary", "attention_biases": false})), tokens),
            (transformer(json!({"key_value_heads": 2, "gated_mlp": true})), tokens),
        ]
        .into_iter()
        .map(|(network, interface)| Model::new(serde_json::from_value(network).unwrap(), interface).unwrap())
        .collect()
    }

    /// Random orders of everything.
    fn shuffled(groups: &[UnitGroup], weights: &[f32]) -> Vec<f32> {
        let mut moved = weights.to_vec();
        for (at, group) in groups.iter().flat_map(|g| std::iter::once(g).chain(g.inside.iter().flatten())).enumerate() {
            let order = Stream::new(5, Purpose::Probe, at as u64).permutation(group.n_units, 0);
            group.reorder(&order, &mut moved);
        }
        moved
    }

    #[test]
    fn a_permuted_copy_is_recovered_exactly() {
        for model in models() {
            let groups = unit_groups(&model);
            let mut weights = model.initial_weights(1);
            // Norms and biases that differ, as after training.
            for (i, w) in weights.iter_mut().enumerate() {
                *w += (i as f32 * 1.3).sin() * 0.02;
            }
            let copy = shuffled(&groups, &weights);
            assert_ne!(copy, weights);
            let found = match_weights(&groups, &weights, &copy, 0, &Checkpoint::alone(&weights)).unwrap();
            assert!(found.weights == weights, "{:?}", model.network());
            assert!(found.objectives.windows(2).all(|pair| pair[1] >= pair[0]), "{:?}", found.objectives);
            // Matched with itself, nothing moves.
            let own = match_weights(&groups, &weights, &weights, 0, &Checkpoint::alone(&weights)).unwrap();
            assert!(own.orders.iter().all(|order| order.is_sorted()) && own.weights == weights);
        }
    }

    #[test]
    fn networks_of_two_seeds_come_closer_with_every_pass() {
        for model in models() {
            let groups = unit_groups(&model);
            let (a, b) = (model.initial_weights(1), model.initial_weights(2));
            let found = match_weights(&groups, &a, &b, 0, &Checkpoint::alone(&a)).unwrap();
            let scale: f64 = a.iter().map(|&w| f64::from(w) * f64::from(w)).sum();
            assert!(
                found.objectives.windows(2).all(|pair| pair[1] >= pair[0] - 1e-10 * scale),
                "{:?}",
                found.objectives
            );
            assert!(found.objectives[found.objectives.len() - 1] > found.objectives[0] + 0.01 * scale);
            // Orders of units, and nothing else: the same numbers in other places.
            let sorted = |weights: &[f32]| {
                let mut sorted = weights.to_vec();
                sorted.sort_by(f32::total_cmp);
                sorted
            };
            assert_eq!(sorted(&found.weights), sorted(&b));
        }
    }
}
