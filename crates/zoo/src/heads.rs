//! Attention heads as parts of flat weights: permuted, copied between networks, started anew.

use std::ops::Range;

use ontogeny_graph::{Param, ParamSpace};

/// Why heads cannot be moved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// No attention with heads of its own under this number.
    #[error(
        "block {block} has no `attn.W_Q`, `W_K`, `W_V` and `W_O` of equally many heads; name a block of a transformer without `key_value_heads`"
    )]
    NoBlock {
        /// The block asked for.
        block: usize,
    },
    /// No such head.
    #[error("block {block} has no head {head}; expected one below {n_heads}")]
    NoHead {
        /// The block.
        block: usize,
        /// The head asked for.
        head: usize,
        /// Heads of the block.
        n_heads: usize,
    },
    /// A list that is no order of the heads.
    #[error("{found:?} is no order of heads; expected each of the {n_heads} heads once")]
    NoOrder {
        /// The list.
        found: Vec<usize>,
        /// Heads of the block.
        n_heads: usize,
    },
    /// Weights of another network.
    #[error("the flat weights have {found} entries; expected {expected}")]
    Length {
        /// Their length.
        found: usize,
        /// Length of the parameter space.
        expected: usize,
    },
}

/// Where a head of a block lies in flat weights: its parts of `W_Q`, `W_K`, `W_V`, `W_O` and, where they exist, `b_Q`, `b_K`, `b_V`,
/// in this order. `b_O` belongs to no head.
///
/// # Errors
/// No such block or head, or heads that share keys and values.
pub fn head_ranges(space: &ParamSpace, block: usize, head: usize) -> Result<Vec<Range<usize>>, HeadError> {
    let params = params_of_heads(space, block)?;
    let n_heads = params[0].shape[0];
    if head >= n_heads {
        return Err(HeadError::NoHead { block, head, n_heads });
    }
    let part = |param: &&Param| {
        // The heads are the outermost axis of all of them.
        let len = param.range.len() / n_heads;
        let start = param.range.start + head * len;
        start..start + len
    };
    Ok(params.iter().map(part).collect())
}

/// Number of heads of a block.
///
/// # Errors
/// As for [`head_ranges`].
pub fn n_heads(space: &ParamSpace, block: usize) -> Result<usize, HeadError> {
    Ok(params_of_heads(space, block)?[0].shape[0])
}

/// Writes the head `from.0` of block `block`, as it is in the weights `from.1`, over the head `to.0` of the weights `to.1`. Both belong
/// to networks of this space. With the initial weights of another seed as `from`, a head starts anew.
///
/// # Errors
/// No such block or head, or weights of another length.
pub fn copy_head(
    space: &ParamSpace,
    block: usize,
    from: (usize, &[f32]),
    to: (usize, &mut [f32]),
) -> Result<(), HeadError> {
    let ((from_head, from), (to_head, to)) = (from, to);
    check_len(space, from.len())?;
    check_len(space, to.len())?;
    let sources = head_ranges(space, block, from_head)?;
    for (source, target) in sources.into_iter().zip(head_ranges(space, block, to_head)?) {
        to[target].copy_from_slice(&from[source]);
    }
    Ok(())
}

/// Puts head number `order[i]` of a block in place i. The network computes the same as before.
///
/// # Errors
/// No such block, an order that has not each head once, or weights of another length.
pub fn permute_heads(space: &ParamSpace, block: usize, order: &[usize], weights: &mut [f32]) -> Result<(), HeadError> {
    check_len(space, weights.len())?;
    let n_heads = n_heads(space, block)?;
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..n_heads) {
        return Err(HeadError::NoOrder { found: order.to_vec(), n_heads });
    }
    let before = weights.to_vec();
    for (place, &head) in order.iter().enumerate() {
        copy_head(space, block, (head, &before), (place, weights))?;
    }
    Ok(())
}

/// The parameters of a block that have heads as their first axis.
fn params_of_heads(space: &ParamSpace, block: usize) -> Result<Vec<&Param>, HeadError> {
    let named = |own: &str| space.find(&format!("blocks.{block}.attn.{own}")).ok();
    let mut params = Vec::with_capacity(7);
    for own in ["W_Q", "W_K", "W_V", "W_O"] {
        params.push(named(own).ok_or(HeadError::NoBlock { block })?);
    }
    params.extend(["b_Q", "b_K", "b_V"].into_iter().filter_map(named));
    let n_heads = params[0].shape.first().copied().unwrap_or(0);
    let is_even = n_heads > 0 && params.iter().all(|param| param.shape.first() == Some(&n_heads));
    if is_even { Ok(params) } else { Err(HeadError::NoBlock { block }) }
}

fn check_len(space: &ParamSpace, found: usize) -> Result<(), HeadError> {
    let expected = space.len();
    if found == expected { Ok(()) } else { Err(HeadError::Length { found, expected }) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ontogeny_graph::Value;
    use serde_json::json;

    use super::*;
    use crate::{Interface, Model, Read};

    fn model(changes: &serde_json::Value) -> Model {
        let mut settings = json!({
            "kind": "transformer", "layers": 2, "d_model": 12, "heads": 3, "d_mlp": 8, "activation": "gelu",
            "normalization": "layer_norm", "positions": "rotary", "attention_biases": true,
        });
        for (key, value) in changes.as_object().unwrap() {
            settings[key] = value.clone();
        }
        let interface = Interface::Tokens { vocabulary: 7, length: 5, read: Read::NEXT_TOKEN };
        Model::new(serde_json::from_value(settings).unwrap(), interface).unwrap()
    }

    /// Weights whose biases are not 0 either.
    fn weights(model: &Model, seed: u32) -> Vec<f32> {
        let mut weights = model.initial_weights(seed);
        for (i, w) in weights.iter_mut().enumerate() {
            *w += (i as f32).sin() * 0.3;
        }
        weights
    }

    fn loss(model: &Model, weights: &[f32]) -> f64 {
        let (g, nodes) = model.graph(2);
        let mut values: BTreeMap<String, Value<f64>> = model
            .tensors(weights)
            .map(|(p, w)| (p.name.clone(), Value::Float(w.iter().map(|&v| f64::from(v)).collect())))
            .collect();
        values.insert("tokens".to_owned(), Value::Ids(vec![3, 1, 5, 0, 2, 6, 6, 4, 1, 1]));
        g.interpret(&values, &[nodes.loss]).unwrap()[0][0]
    }

    #[test]
    fn permuted_heads_compute_the_same() {
        let model = model(&json!({}));
        let before = weights(&model, 0);
        let mut after = before.clone();
        permute_heads(model.space(), 1, &[2, 0, 1], &mut after).unwrap();
        assert_ne!(before, after);
        // Three heads are added up in another order: a rounding of 1e-16 or so, handed on through one block.
        let difference = (loss(&model, &before) - loss(&model, &after)).abs();
        assert!(difference < 1e-13, "{difference}");
        permute_heads(model.space(), 1, &[1, 2, 0], &mut after).unwrap();
        assert_eq!(before, after);
        // Without the output matrix the loss must notice: the test above could fail.
        let mut wrong = before.clone();
        let w_o = model.space().find("blocks.1.attn.W_O").unwrap().range.clone();
        permute_heads(model.space(), 1, &[2, 0, 1], &mut wrong).unwrap();
        wrong[w_o.clone()].copy_from_slice(&before[w_o]);
        assert!((loss(&model, &before) - loss(&model, &wrong)).abs() > 1e-6);
    }

    #[test]
    fn copied_heads_are_those_of_the_other_weights_and_nothing_else_moves() {
        let model = model(&json!({}));
        let (from, before) = (weights(&model, 1), weights(&model, 0));
        let mut to = before.clone();
        copy_head(model.space(), 0, (2, &from), (1, &mut to)).unwrap();
        let (sources, targets) = (head_ranges(model.space(), 0, 2).unwrap(), head_ranges(model.space(), 0, 1).unwrap());
        // 3 · 12 · 4 of the maps, 4 · 12 of the output, 3 · 4 biases.
        assert_eq!(targets.iter().map(ExactSizeIterator::len).sum::<usize>(), 4 * 12 * 4 + 12);
        for (source, target) in sources.into_iter().zip(targets.clone()) {
            assert_eq!(to[target], from[source]);
        }
        for (at, (a, b)) in before.iter().zip(&to).enumerate() {
            assert!(a == b || targets.iter().any(|range| range.contains(&at)), "{at}");
        }
    }

    #[test]
    fn what_is_not_there_is_named() {
        let own = model(&json!({}));
        let space = own.space();
        let mut weights = vec![0.0; space.len()];
        assert_eq!(head_ranges(space, 2, 0).unwrap_err(), HeadError::NoBlock { block: 2 });
        assert_eq!(head_ranges(space, 1, 3).unwrap_err().to_string(), "block 1 has no head 3; expected one below 3");
        assert!(matches!(permute_heads(space, 0, &[0, 0, 1], &mut weights), Err(HeadError::NoOrder { .. })));
        assert!(matches!(permute_heads(space, 0, &[0, 1, 2], &mut weights[1..]), Err(HeadError::Length { .. })));
        let shared = model(&json!({"key_value_heads": 1}));
        assert_eq!(n_heads(shared.space(), 0).unwrap_err(), HeadError::NoBlock { block: 0 });
    }
}
