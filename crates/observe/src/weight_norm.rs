//! L2 norms of the parts of a network.

use ontogeny_graph::RunError;
use ontogeny_zoo::Model;

use crate::{Measured, ObserveError};

/// Version of the numbers of [`weight_norms`].
pub const WEIGHT_NORM_VERSION: u32 = 1;

/// √Σw² of all flat `weights` (`total`, first) and of each part, along `component`.
///
/// The parts of a transformer are `embed`, `pos_embed`, `attn`, `mlp`, `norm` and `unembed`, those that it has, over all
/// its layers, each with its biases; those of a multilayer perceptron are its `layers.N`. total² = Σ parts².
///
/// # Errors
/// Weights of another model, or a weight that is not finite; its parameter is named.
pub fn weight_norms(model: &Model, weights: &[f32]) -> Result<Measured, ObserveError> {
    let expected = model.space().len();
    if weights.len() != expected {
        let found = weights.len();
        return Err(RunError::Weights { expected, found }.into());
    }
    let mut squares = vec![("total".to_owned(), 0.0)];
    for (param, values) in model.tensors(weights) {
        let sum: f64 = values.iter().map(|&w| f64::from(w).powi(2)).sum();
        if !sum.is_finite() {
            return Err(ObserveError::non_finite(Some(param.name.clone()), "the weights"));
        }
        squares[0].1 += sum;
        let part = part_of(&param.name);
        match squares.iter_mut().find(|(own, _)| *own == part) {
            Some((_, squares)) => *squares += sum,
            None => squares.push((part, sum)),
        }
    }
    let norms = squares.into_iter().map(|(part, sum)| (part, sum.sqrt()));
    Ok(Measured::along("component", "1", norms.collect()))
}

fn part_of(name: &str) -> String {
    let mut pieces = name.split('.');
    let first = pieces.next().unwrap_or(name);
    let second = pieces.next();
    let third = pieces.next();
    match (first, second, third) {
        ("blocks", _, Some(part)) if part.starts_with("ln") => "norm".to_owned(),
        ("blocks", _, Some(part)) => part.to_owned(),
        ("ln_final", ..) => "norm".to_owned(),
        ("layers", Some(layer), _) => format!("layers.{layer}"),
        _ => first.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_the_names() {
        for (name, part) in [
            ("embed.W_E", "embed"),
            ("pos_embed.W_pos", "pos_embed"),
            ("blocks.3.attn.W_Q", "attn"),
            ("blocks.0.mlp.b_in", "mlp"),
            ("blocks.0.ln1.w", "norm"),
            ("ln_final.w", "norm"),
            ("unembed.W_U", "unembed"),
            ("layers.1.W", "layers.1"),
        ] {
            assert_eq!(part_of(name), part, "{name}");
        }
    }
}
