//! Patching between checkpoints, against networks that have the same parts by their weights.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

use std::path::Path;

use ontogeny_graph::DataSet;
use ontogeny_observe::interventions::{CheckpointPatching, CheckpointPatchingSettings, Component, Recovered, Shares};
use ontogeny_observe::{Checkpoint, Evaluator, Settings, Subject};
use ontogeny_zoo::{Model, NetworkConfig, Task, TaskConfig};
use serde_json::{from_value, json};

const N_HEADS: usize = 3;

fn setting(layers: usize, normalization: &str) -> (Task, Model) {
    let task: TaskConfig = from_value(json!({
        "kind": "repeated_tokens", "vocabulary": 11, "block": 5, "repeats": 2, "train_examples": 1500,
    }))
    .unwrap();
    let task = task.prepare(3, Path::new(".")).unwrap();
    let network: NetworkConfig = from_value(json!({
        "kind": "transformer", "layers": layers, "d_model": 12, "heads": N_HEADS, "d_mlp": 20, "activation": "gelu",
        "normalization": normalization, "positions": "learned", "attention_biases": true, "unembed_bias": true,
    }))
    .unwrap();
    let model = Model::new(network, task.interface).unwrap();
    (task, model)
}

/// Weights large enough that everything matters.
fn weights(model: &Model, seed: u32) -> Vec<f32> {
    model.initial_weights(seed).into_iter().map(|w| if w == 0.0 { 0.05 } else { 3.0 * w }).collect()
}

/// `own` with the parameters of `other` that begin so; of a head's matrices only those of these heads.
fn exchanged(model: &Model, own: &[f32], other: &[f32], begins: &str, heads: &[usize]) -> Vec<f32> {
    let mut weights = own.to_vec();
    for param in model.space().iter().filter(|param| param.name.starts_with(begins)) {
        let of_head = param.range.len() / N_HEADS;
        let of = |head: usize| param.range.start + head * of_head..param.range.start + (head + 1) * of_head;
        let is_of_heads = begins.contains(".attn.");
        let ranges = if is_of_heads { heads.iter().map(|&h| of(h)).collect() } else { vec![param.range.clone()] };
        for range in ranges {
            weights[range.clone()].copy_from_slice(&other[range]);
        }
    }
    weights
}

/// The queries, keys and values of heads: all that decides their z.
fn with_heads(model: &Model, own: &[f32], other: &[f32], layer: usize, heads: &[usize]) -> Vec<f32> {
    let mut weights = own.to_vec();
    for matrix in ["W_Q", "W_K", "W_V", "b_Q", "b_K", "b_V"] {
        weights = exchanged(model, &weights, other, &format!("blocks.{layer}.attn.{matrix}"), heads);
    }
    assert_ne!(weights, own);
    weights
}

fn patched(model: &Model, data: &DataSet, parts: &[&str], own: &[f32], other: &[f32]) -> Recovered {
    let parts: Vec<String> = parts.iter().map(|&part| part.to_owned()).collect();
    let parts = Component::chosen(model, &parts).unwrap();
    let mut patching = CheckpointPatching::new(model, parts, data.clone(), 0.9, 16).unwrap();
    patching.recovered(&Checkpoint { partner: Some(other), ..Checkpoint::alone(own) }).unwrap()
}

/// The first of some partners whose loss differs by enough of its standard errors.
fn patched_by_one_that_differs(
    (model, data): (&Model, &DataSet),
    parts: &[&str],
    own: &[f32],
    partner: impl Fn(&[f32]) -> Vec<f32>,
) -> (Vec<f32>, Recovered, Shares) {
    let of_seed = |seed| {
        let other = partner(&weights(model, seed));
        let found = patched(model, data, parts, own, &other);
        let shares = found.shares.clone().ok()?;
        let is_clear = found.difference.mean.abs() > 4.0 * found.difference.standard_error;
        is_clear.then_some((other, found, shares))
    };
    (6..30).find_map(of_seed).expect("losses of random networks differ")
}

fn loss(model: &Model, data: &DataSet, weights: &[f32]) -> f64 {
    Evaluator::new(model).unwrap().evaluate(weights, data).unwrap().loss
}

/// What follows the last residual stream is the norm and the unembedding of the network itself.
#[test]
fn the_last_residual_stream_brings_all_that_lies_before_it() {
    for normalization in ["layer_norm", "rms_norm"] {
        let (task, model) = setting(2, normalization);
        let data = task.split("train").unwrap().data.clone();
        let own = weights(&model, 5);
        let parts = ["blocks.1.hook_resid_post", "embed"];
        // Another unembedding: the loss is that of a network with blocks and embeddings of the one, and the end of the other.
        let with_own_end = |other: &[f32]| {
            let composed = exchanged(&model, other, &own, "ln_final", &[]);
            exchanged(&model, &composed, &own, "unembed", &[])
        };
        let other = weights(&model, 6);
        assert_ne!(with_own_end(&other), other);
        let found = patched(&model, &data, &parts, &own, &other);
        let [before, after, composed] = [&own, &other, &with_own_end(&other)].map(|own| loss(&model, &data, own));
        assert!((found.loss - before).abs() < 1e-5 && (found.difference.mean - (after - before)).abs() < 1e-5);
        let change = found.changes[0].mean;
        assert!((change - (composed - before)).abs() < 1e-4 && change.abs() > 1e-2, "{change} {before} {composed}");
        // The same unembedding: everything.
        let (_, _, shares) = patched_by_one_that_differs((&model, &data), &parts, &own, with_own_end);
        assert!((shares.parts[0].mean - 1.0).abs() < 1e-4 && shares.parts[0].standard_error < 1e-4, "{shares:?}");
        assert!((shares.parts[1].mean - 1.0).abs() > 1e-2, "the embeddings alone are not everything: {shares:?}");
        assert!(shares.is_enough && shares.set.len() == 1, "{shares:?}");
    }
}

#[test]
fn the_same_checkpoint_changes_nothing_and_a_difference_in_noise_has_no_shares() {
    let (task, model) = setting(1, "none");
    let data = task.split("train").unwrap().data.clone();
    let own = weights(&model, 5);
    let same = patched(&model, &data, &[], &own, &own);
    assert!(same.changes.iter().all(|change| change.mean == 0.0) && same.difference.mean == 0.0);
    assert!(same.shares.unwrap_err().reason.contains("the same weights"));
    // All logits of an example higher by as much: other weights, the same loss.
    let mut shifted = own.clone();
    let bias = model.space().find("unembed.b_U").unwrap().range.clone();
    shifted[bias].iter_mut().for_each(|b| *b += 1.0);
    let found = patched(&model, &data, &[], &own, &shifted);
    let refusal = found.shares.unwrap_err();
    assert!(refusal.verdict == "no difference" && refusal.reason.contains("over 1500 examples"), "{refusal:?}");
}

/// Of the last block nothing is downstream but the MLP, which is left out: every other head keeps what it reads.
#[test]
fn one_head_that_differs_recovers_everything_and_the_others_nothing() {
    let (task, model) = setting(2, "layer_norm");
    let data = task.split("train").unwrap().data.clone();
    let own = weights(&model, 5);
    for (layer, head) in [(1, 2), (0, 1)] {
        let partner = |other: &[f32]| with_heads(&model, &own, other, layer, &[head]);
        let (_, found, shares) = patched_by_one_that_differs((&model, &data), &["heads"], &own, partner);
        let Shares { parts, all, set, is_enough } = shares;
        let at = layer * N_HEADS + head;
        for (part, share) in parts.iter().enumerate() {
            if part == at {
                assert!((share.mean - 1.0).abs() < 1e-3 && share.standard_error < 1e-3, "{share:?}");
            } else if part < (layer + 1) * N_HEADS {
                assert_eq!((share.mean, found.changes[part].mean), (0.0, 0.0), "l{layer}h{head}: part {part}");
            } else {
                assert!(share.mean != 0.0, "what is downstream reads another stream: part {part}");
            }
        }
        assert!((all.mean - 1.0).abs() < 1e-3 && is_enough && set.len() == 1, "{all:?} {set:?}");
    }
}

/// In one block the z of a head hears of nothing but its own weights: patching a set of heads is exchanging their weights, so that
/// every set can be tried by weights.
#[test]
fn sets_are_those_of_networks_with_these_heads_exchanged() {
    let (task, model) = setting(1, "layer_norm");
    let data = task.split("train").unwrap().data.clone();
    let own = weights(&model, 5);
    let partner = |other: &[f32]| with_heads(&model, &own, other, 0, &[0, 1, 2]);
    let (other, found, shares) = patched_by_one_that_differs((&model, &data), &["heads"], &own, partner);
    let before = loss(&model, &data, &own);
    let whole = loss(&model, &data, &other) - before;
    let share_of = |heads: &[usize]| {
        if heads.is_empty() {
            return 0.0;
        }
        (loss(&model, &data, &with_heads(&model, &own, &other, 0, heads)) - before) / whole
    };
    for (head, share) in shares.parts.iter().enumerate() {
        assert!((share.mean - share_of(&[head])).abs() < 1e-4 && share.standard_error > 0.0, "{head}: {share:?}");
        let change = &found.changes[head];
        assert!((change.mean / found.difference.mean - share.mean).abs() < 1e-9);
    }
    let mut taken: Vec<usize> = Vec::new();
    for &(head, share) in &shares.set {
        let best =
            (0..N_HEADS).filter(|next| !taken.contains(next)).map(|next| share_of(&[&taken[..], &[next]].concat()));
        let best = best.fold(f64::NEG_INFINITY, f64::max);
        taken.push(head);
        assert!((share - share_of(&taken)).abs() < 1e-4 && (share - best).abs() < 1e-4, "{taken:?}: {share} {best}");
    }
    // No smaller set is enough, of all that there are; greedy search is not always so lucky.
    let subsets =
        (0..1_u32 << N_HEADS).map(|bits| (0..N_HEADS).filter(|head| bits >> head & 1 == 1).collect::<Vec<_>>());
    let smallest = subsets.filter(|heads| share_of(heads) >= 0.9).map(|set| set.len()).min().unwrap();
    assert!(shares.is_enough && shares.set.len() >= smallest && smallest > 1, "{:?} {smallest}", shares.set);
    // A limit below it leaves the search without an answer.
    let heads = Component::chosen(&model, &["heads".to_owned()]).unwrap();
    let mut short = CheckpointPatching::new(&model, heads, data, 0.9, 1).unwrap();
    let found = short.recovered(&Checkpoint { partner: Some(&other), ..Checkpoint::alone(&own) }).unwrap();
    let short = found.shares.unwrap();
    assert!(!short.is_enough && short.set[..] == shares.set[..1], "{short:?}");
}

#[test]
fn findings_hold_shares_changes_and_the_set() {
    let (task, model) = setting(1, "layer_norm");
    let subject = Subject { model: &model, task: &task, seed: 0 };
    let own = weights(&model, 5);
    let partner = |other: &[f32]| with_heads(&model, &own, other, 0, &[1]);
    let data = task.split("train").unwrap().data.clone();
    let (other, ..) = patched_by_one_that_differs((&model, &data), &["heads"], &own, partner);
    let settings = CheckpointPatchingSettings { examples: 1500, ..CheckpointPatchingSettings::default() };
    let mut instrument = settings.build(&subject).unwrap();
    let found = instrument.measure(&Checkpoint { partner: Some(&other), ..Checkpoint::alone(&own) }).unwrap();
    assert_eq!(found.value.dims[0].1, ["l0h0", "l0h1", "l0h2", "l0 mlp"]);
    assert!((found.value.get("l0h1").unwrap() - 1.0).abs() < 1e-3 && found.value.get("l0h0") == Some(0.0));
    let detail = |name: &str| found.details.iter().find(|(own, _)| *own == name).map(|(_, value)| *value);
    assert_eq!(detail("smallest_set"), Some(1.0));
    assert!(
        (detail("loss_of_partner").unwrap() - detail("loss").unwrap() - detail("difference").unwrap()).abs() < 1e-12
    );
    let array = |name: &str| found.arrays.iter().find(|(own, _)| *own == name).map(|(_, array)| array).unwrap();
    assert_eq!(array("place_in_set").values, [0.0, 1.0, 0.0, 0.0]);
    assert_eq!(array("change").unit, "nats");
    assert!(found.refusal.is_none() && found.standard_errors.unwrap().iter().all(|error| error.is_finite()));
    let alone = instrument.measure(&Checkpoint::alone(&own)).unwrap();
    assert!(alone.refusal.is_some() && alone.value.values.iter().all(|value| value.is_nan()));
    for (settings, said) in [
        (json!({ "recover": 1.0 }), "`recover` is 1;"),
        (json!({ "examples": 1 }), "expected at least 2"),
        (json!({ "parts": ["l3h0"] }), "`parts` names `l3h0`"),
    ] {
        let settings: CheckpointPatchingSettings = from_value(settings).unwrap();
        let error = settings.build(&subject).err().unwrap().to_string();
        assert!(error.contains(said), "{error}");
    }
}
