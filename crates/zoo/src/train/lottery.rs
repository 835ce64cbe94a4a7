//! Lottery tickets (Frankle & Carbin 2019): train, prune the smallest weights of each layer, rewind, repeat.

use ontogeny_graph::{Param, ParamSpace};

use super::selection;
use crate::SettingError;

/// Which weights a ticket keeps: of every parameter the share `keep` of largest magnitude in `weights`, and all of those
/// that are not pruned, biases, norms and what `except` names as `no_decay` does. True where a weight is kept.
///
/// Weights of a ticket that was trained are 0 where it was pruned, and go first again: rounds of pruning are tickets of
/// tickets.
///
/// # Errors
/// A share that is not above 0 and at most 1, or a word that names no parameter.
///
/// # Panics
/// If `weights` has another length than the space.
pub fn ticket(space: &ParamSpace, weights: &[f32], keep: f64, except: &[String]) -> Result<Vec<bool>, SettingError> {
    if !(keep > 0.0 && keep <= 1.0) {
        return Err(SettingError::new("start.prune", "keep", keep.to_string(), "a share above 0, at most 1"));
    }
    let words: Vec<String> = ["bias", "norm"].map(str::to_owned).into_iter().chain(except.iter().cloned()).collect();
    let spared =
        selection::select(space, "except", &words).map_err(|error| SettingError { section: "start.prune", ..error })?;
    let is_spared = |param: &Param| spared.iter().any(|range| range.contains(&param.range.start));
    let mut is_kept = vec![true; space.len()];
    prune_smallest(space, weights, &mut is_kept, |param| if is_spared(param) { 0.0 } else { 1.0 - keep });
    Ok(is_kept)
}

/// Prunes, of every parameter, the share `share_of` it (0 to 1) of its weights that are still kept: those of smallest
/// magnitude, of equal ones the first. `is_kept` has an entry for each weight.
///
/// Frankle & Carbin 2019 prune 20 % of each hidden layer of a `LeNet-300-100` and 10 % of its output layer in a round, and no
/// biases.
///
/// # Panics
/// If `weights` or `is_kept` have another length than the space.
pub fn prune_smallest(space: &ParamSpace, weights: &[f32], is_kept: &mut [bool], share_of: impl Fn(&Param) -> f64) {
    assert_eq!([weights.len(), is_kept.len()], [space.len(); 2], "one entry for each weight of the space");
    for param in space.iter() {
        let mut kept: Vec<usize> = param.range.clone().filter(|&at| is_kept[at]).collect();
        let n_pruned = (share_of(param).clamp(0.0, 1.0) * kept.len() as f64).round() as usize;
        kept.sort_by(|&a, &b| weights[a].abs().total_cmp(&weights[b].abs()));
        for at in &kept[..n_pruned] {
            is_kept[*at] = false;
        }
    }
}

/// The weights `earlier` where they are kept, 0 elsewhere: what a pruned network is trained from. Its
/// [`Trainer`](crate::Trainer) needs the mask as well ([`Trainer::set_mask`](crate::Trainer::set_mask)).
pub fn rewind(earlier: &[f32], is_kept: &[bool]) -> Vec<f32> {
    earlier.iter().zip(is_kept).map(|(&weight, &is_kept)| if is_kept { weight } else { 0.0 }).collect()
}

/// Share of kept weights among the parameters that count; 1 where none counts.
pub fn density(space: &ParamSpace, is_kept: &[bool], is_counted: impl Fn(&Param) -> bool) -> f64 {
    let counted = || space.iter().filter(|param| is_counted(param)).flat_map(|param| &is_kept[param.range.clone()]);
    let n = counted().count();
    if n == 0 { 1.0 } else { counted().filter(|&&is_kept| is_kept).count() as f64 / n as f64 }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Interface, Model, VectorLoss};

    fn is_matrix(param: &Param) -> bool {
        param.name.rsplit('.').next() == Some("W")
    }

    #[test]
    fn a_ticket_keeps_the_largest_weights_of_each_matrix_and_all_biases() {
        let network =
            serde_json::from_value(json!({"kind": "mlp", "sizes": [20, 10, 4], "activation": "relu"})).unwrap();
        let interface = Interface::Vectors { inputs: 20, outputs: 4, loss: VectorLoss::CrossEntropy, image: None };
        let model = Model::new(network, interface).unwrap();
        let (space, weights) = (model.space(), model.initial_weights(3));
        let is_kept = ticket(space, &weights, 0.3, &["layers.1".to_owned()]).unwrap();
        for param in space.iter() {
            let n_kept = is_kept[param.range.clone()].iter().filter(|&&kept| kept).count();
            let expected = if param.name == "layers.0.W" { 60 } else { param.range.len() };
            assert_eq!(n_kept, expected, "{}", param.name);
        }
        // A ticket of a ticket is a part of it.
        let smaller = ticket(space, &rewind(&weights, &is_kept), 0.1, &["layers.1".to_owned()]).unwrap();
        assert!(smaller.iter().zip(&is_kept).all(|(smaller, larger)| *larger || !smaller));
        assert_eq!(smaller.iter().filter(|&&kept| kept).count(), space.len() - 180);
        for (keep, except, message) in [
            (0.0, "bias", "start.prune.keep is 0; expected a share above 0, at most 1"),
            (1.5, "bias", "start.prune.keep is 1.5; expected a share above 0, at most 1"),
            (f64::NAN, "bias", "start.prune.keep is NaN; expected a share above 0, at most 1"),
            (0.5, "attn", "start.prune.except is attn; expected `bias`, `norm`, or parts"),
        ] {
            let error = ticket(space, &weights, keep, &[except.to_owned()]).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }

    /// Remaining weights of LeNet-300-100 after k rounds, (0.8ᵏ·265,200 + 0.9ᵏ·1,000)/266,200: table 1 and figure 4 of the paper
    /// print 51.3, 21.1, 7.0, 3.6 and 1.9 %.
    #[test]
    fn densities_are_those_of_the_paper() {
        let network =
            serde_json::from_value(json!({"kind": "mlp", "sizes": [784, 300, 100, 10], "activation": "relu"}));
        let interface =
            Interface::Vectors { inputs: 784, outputs: 10, loss: VectorLoss::CrossEntropy, image: Some([1, 28, 28]) };
        let model = Model::new(network.unwrap(), interface).unwrap();
        let space = model.space();
        let weights = model.initial_weights(0);
        let mut is_kept = vec![true; weights.len()];
        let mut found = Vec::new();
        for round in 1..=18 {
            prune_smallest(space, &weights, &mut is_kept, |param| match param.name.as_str() {
                "layers.2.W" => 0.1,
                _ if is_matrix(param) => 0.2,
                _ => 0.0,
            });
            if [3, 7, 12, 15, 18].contains(&round) {
                found.push(100.0 * density(space, &is_kept, is_matrix));
            }
        }
        for (found, wanted) in found.iter().zip([51.28, 21.07, 6.95, 3.58, 1.85]) {
            // Half a unit of the last digit, and whole weights: half of one in each round and layer, of which a fifth
            // goes in the next round: 3 · ½ · 5 of 266,200.
            assert!((found - wanted).abs() < 0.005 + 100.0 * 7.5 / 266_200.0, "{found} {wanted}");
        }
        assert!(density(space, &is_kept, |param| !is_matrix(param)) == 1.0);
        for param in space.iter().filter(|param| is_matrix(param)) {
            let of = |is_wanted: bool| {
                let at = param.range.clone().filter(|&at| is_kept[at] == is_wanted);
                at.map(|at| weights[at].abs()).collect::<Vec<_>>()
            };
            let (kept, pruned) = (of(true), of(false));
            let (least, most) =
                (kept.iter().copied().fold(f32::MAX, f32::min), pruned.iter().copied().fold(0.0, f32::max));
            assert!(most <= least, "{}: {most} was pruned and {least} kept", param.name);
        }
        let rewound = rewind(&weights, &is_kept);
        assert!(rewound.iter().zip(&weights).zip(&is_kept).all(|((r, w), kept)| *r == if *kept { *w } else { 0.0 }));
    }
}
