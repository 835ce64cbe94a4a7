//! L2 norms of the parts of a network.

use std::collections::BTreeMap;

use ontogeny_zoo::Model;

use crate::Measured;

/// Version of the numbers of [`weight_norms`].
pub const WEIGHT_NORM_VERSION: u32 = 1;

/// √Σw² of all weights (`total`) and of each part: `embed`, `pos_embed`, `attn`, `mlp`, `norm`, `unembed` over all
/// layers of a transformer, or each `layers.N` of a multilayer perceptron.
pub fn weight_norms(model: &Model, weights: &[f32]) -> Measured {
    let mut squares: BTreeMap<String, f64> = BTreeMap::new();
    let mut order: Vec<String> = vec!["total".to_owned()];
    for (param, values) in model.tensors(weights) {
        let part = part_of(&param.name);
        let sum: f64 = values.iter().map(|&w| f64::from(w).powi(2)).sum();
        if !order.contains(&part) {
            order.push(part.clone());
        }
        *squares.entry(part).or_default() += sum;
        *squares.entry("total".to_owned()).or_default() += sum;
    }
    let entries = order.into_iter().map(|part| {
        let norm = squares.get(&part).copied().unwrap_or(0.0).sqrt();
        (part, norm)
    });
    Measured::along("component", "1", entries.collect())
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
