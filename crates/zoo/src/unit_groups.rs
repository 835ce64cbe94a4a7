//! Units of a network that can change places without changing what it computes, and the weights that belong to each.

use ontogeny_graph::{Param, ParamSpace};

use crate::{Model, NetworkConfig, Positions, ResNetConfig, ResNetNorm, TransformerConfig};

/// Units of one kind in one place: hidden neurons of a layer, channels, heads, coordinates of a residual stream. Any order of
/// them computes the same function, when all weights that belong to a unit move with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitGroup {
    /// Such as `layers.0`, `conv.1`, `blocks.0.mlp`, `blocks.0.heads`, `residual`.
    pub name: String,
    /// How many.
    pub n_units: usize,
    /// What can change places inside of each unit alone, unit by unit: coordinates of the queries and keys, and of the values, of a
    /// head. Empty for other units.
    pub inside: Vec<Vec<UnitGroup>>,
    views: Vec<View>,
}

/// A part of the flat weights as (outer, units, inner), row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
struct View {
    start: usize,
    outer: usize,
    units: usize,
    inner: usize,
    /// Its weights belong to groups inside of the units.
    is_inside: bool,
}

impl View {
    /// The axis `axis` of a parameter, which holds `units` runs of neighbouring rows.
    fn of(param: &Param, axis: usize, units: usize) -> Self {
        let outer: usize = param.shape[..axis].iter().product();
        let inner = param.range.len() / (outer * units).max(1);
        Self { start: param.range.start, outer, units, inner, is_inside: false }
    }

    /// Where the weights of a unit begin, one run of `inner` weights after another.
    fn runs(&self, unit: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.outer).map(move |outer| self.start + (outer * self.units + unit) * self.inner)
    }
}

impl UnitGroup {
    fn new(name: impl Into<String>, n_units: usize) -> Self {
        Self { name: name.into(), n_units, inside: Vec::new(), views: Vec::new() }
    }

    /// With the axis of a parameter, where the network has it.
    fn with(mut self, space: &ParamSpace, name: &str, axis: usize) -> Self {
        if let Ok(param) = space.find(name) {
            self.views.push(View::of(param, axis, self.n_units));
        }
        self
    }

    /// The weights of each unit, (units, weights), row-major; without those that belong to groups inside of it.
    pub fn weights_of_units(&self, weights: &[f32]) -> Vec<f64> {
        let mut found = Vec::new();
        for unit in 0..self.n_units {
            for view in self.views.iter().filter(|view| !view.is_inside) {
                for start in view.runs(unit) {
                    found.extend(weights[start..start + view.inner].iter().map(|&w| f64::from(w)));
                }
            }
        }
        found
    }

    /// Puts unit number `order[i]` in place i, with all its weights; `order` holds each unit once.
    pub fn reorder(&self, order: &[usize], weights: &mut [f32]) {
        for view in &self.views {
            let len = view.outer * view.units * view.inner;
            let before = weights[view.start..view.start + len].to_vec();
            for (place, &unit) in order.iter().enumerate() {
                for (to, from) in view.runs(place).zip(view.runs(unit)) {
                    let from = from - view.start;
                    weights[to..to + view.inner].copy_from_slice(&before[from..from + view.inner]);
                }
            }
        }
    }
}

/// All groups of a network, those of the residual stream first, then from the input to the output. Every function that the network
/// can compute has as many weights as there are orders of the groups.
///
/// | network | groups |
/// |---|---|
/// | `mlp` | neurons of each hidden layer |
/// | `cnn` | channels of each convolution, neurons of each hidden dense layer |
/// | `resnet` | channels of each stage, and of the first convolution of each block; none with several norm groups, which hold channels together |
/// | `modular_mlp` | hidden neurons, coordinates of the embedding |
/// | `autoencoder` | hidden units |
/// | `transformer` | coordinates of the residual stream (not with sinusoidal positions, whose coordinates differ), heads (not with `key_value_heads`), inside of each head the coordinates of queries and keys (not with rotary positions, which pair them) and those of values, neurons of each MLP |
///
/// None of a network in an ONNX file. Rotations and scales that change nothing either (of queries against keys, of rectified
/// neurons) are left alone.
pub fn unit_groups(model: &Model) -> Vec<UnitGroup> {
    let space = model.space();
    match model.network() {
        NetworkConfig::Mlp(config) => {
            let hidden = config.sizes.iter().enumerate().skip(1).take(config.sizes.len().saturating_sub(2));
            hidden.map(|(at, &n)| hidden_layer(space, "layers", at - 1, n)).collect()
        }
        NetworkConfig::Cnn(config) => {
            let n_convolutions = config.channels.len();
            let mut groups: Vec<UnitGroup> = Vec::new();
            for (layer, &n) in config.channels.iter().enumerate() {
                let own = format!("conv.{layer}");
                let group = UnitGroup::new(&own, n);
                let group = group.with(space, &format!("{own}.W"), 0).with(space, &format!("{own}.b"), 0);
                // Rows of the first dense layer are places of channels: a channel has neighbouring ones.
                groups.push(if layer + 1 < n_convolutions {
                    group.with(space, &format!("conv.{}.W", layer + 1), 1)
                } else {
                    group.with(space, "dense.0.W", 0)
                });
            }
            groups.extend(config.dense.iter().enumerate().map(|(at, &n)| hidden_layer(space, "dense", at, n)));
            groups
        }
        NetworkConfig::ResNet(config) => of_resnet(config, space),
        NetworkConfig::ModularMlp(config) => {
            let embed = UnitGroup::new("embed", config.d_embed).with(space, "embed.W_E", 1);
            let hidden = UnitGroup::new("hidden", config.hidden).with(space, "left.W", 1).with(space, "left.b", 0);
            vec![
                embed.with(space, "left.W", 0).with(space, "right.W", 0),
                hidden.with(space, "right.W", 1).with(space, "right.b", 0).with(space, "unembed.W_U", 0),
            ]
        }
        NetworkConfig::Autoencoder(config) => {
            vec![UnitGroup::new("hidden", config.hidden).with(space, "W", 0)]
        }
        NetworkConfig::Transformer(config) => of_transformer(config, space),
        NetworkConfig::Onnx(_) => Vec::new(),
    }
}

fn hidden_layer(space: &ParamSpace, prefix: &str, layer: usize, n: usize) -> UnitGroup {
    let own = format!("{prefix}.{layer}");
    let group = UnitGroup::new(&own, n).with(space, &format!("{own}.W"), 1).with(space, &format!("{own}.b"), 0);
    group.with(space, &format!("{prefix}.{}.W", layer + 1), 0)
}

fn of_resnet(config: &ResNetConfig, space: &ParamSpace) -> Vec<UnitGroup> {
    if config.normalization == ResNetNorm::GroupNorm && config.groups > 1 {
        return Vec::new();
    }
    // What a convolution writes: its channels, bias and norm.
    let written = |group: UnitGroup, name: &str| {
        let group = group.with(space, &format!("{name}.W"), 0).with(space, &format!("{name}.b"), 0);
        group.with(space, &format!("{name}.norm.w"), 0).with(space, &format!("{name}.norm.b"), 0)
    };
    let (mut streams, mut blocks) = (Vec::new(), Vec::new());
    let mut stream = written(UnitGroup::new("stages.0", config.channels[0]), "stem");
    for (stage, &n) in config.channels.iter().enumerate() {
        for block in 0..config.blocks {
            let name = format!("stages.{stage}.blocks.{block}");
            stream = stream.with(space, &format!("{name}.conv1.W"), 1);
            let inner = written(UnitGroup::new(format!("{name}.conv1"), n), &format!("{name}.conv1"));
            blocks.push(inner.with(space, &format!("{name}.conv2.W"), 1));
            if space.find(&format!("{name}.shortcut.W")).is_ok() {
                streams.push(stream.with(space, &format!("{name}.shortcut.W"), 1));
                stream = written(UnitGroup::new(format!("stages.{stage}"), n), &format!("{name}.shortcut"));
            }
            stream = written(stream, &format!("{name}.conv2"));
        }
    }
    streams.push(stream.with(space, "out.W", 0));
    streams.into_iter().chain(blocks).collect()
}

fn of_transformer(config: &TransformerConfig, space: &ParamSpace) -> Vec<UnitGroup> {
    let mut groups = Vec::new();
    if config.positions != Positions::Sinusoidal {
        let stream = UnitGroup::new("residual", config.d_model);
        let mut stream = stream.with(space, "embed.W_E", 1).with(space, "pos_embed.W_pos", 1);
        for layer in 0..config.layers {
            for (own, axis) in STREAM_OF_A_BLOCK {
                stream = stream.with(space, &format!("blocks.{layer}.{own}"), axis);
            }
        }
        groups.push(stream.with(space, "ln_final.w", 0).with(space, "ln_final.b", 0).with(space, "unembed.W_U", 0));
    }
    for layer in 0..config.layers {
        let name = format!("blocks.{layer}");
        if config.key_value_heads.is_none() {
            groups.push(heads(config, space, &name));
        }
        if let Some(n) = config.d_mlp {
            let mut mlp = UnitGroup::new(format!("{name}.mlp"), n);
            for (own, axis) in [("W_in", 1), ("W_gate", 1), ("b_in", 0), ("ln.w", 0), ("ln.b", 0), ("W_out", 0)] {
                mlp = mlp.with(space, &format!("{name}.mlp.{own}"), axis);
            }
            groups.push(mlp);
        }
    }
    groups
}

/// Parameters of a block that read or write the residual stream, and their axis of it.
const STREAM_OF_A_BLOCK: [(&str, usize); 15] = [
    ("ln1.w", 0),
    ("ln1.b", 0),
    ("ln2.w", 0),
    ("ln2.b", 0),
    ("attn.W_Q", 1),
    ("attn.W_K", 1),
    ("attn.W_V", 1),
    ("attn._W_K", 1),
    ("attn._W_V", 1),
    ("attn.W_O", 2),
    ("attn.b_O", 0),
    ("mlp.W_in", 0),
    ("mlp.W_gate", 0),
    ("mlp.W_out", 1),
    ("mlp.b_out", 0),
];

/// Heads of a block, and the coordinates inside of each.
fn heads(config: &TransformerConfig, space: &ParamSpace, block: &str) -> UnitGroup {
    let (n, width) = (config.heads, config.head_width());
    let may_turn = config.positions == Positions::Rotary;
    // Each with its axis of coordinates: of queries and keys, and of values.
    let kinds: [(&str, &[(&str, usize)]); 2] = [
        ("query_key", &[("W_Q", 2), ("b_Q", 1), ("W_K", 2), ("b_K", 1)]),
        ("value", &[("W_V", 2), ("b_V", 1), ("W_O", 1)]),
    ];
    let mut group = UnitGroup::new(format!("{block}.heads"), n);
    group.inside = vec![Vec::new(); n];
    for (kind, params) in kinds {
        let is_inside = kind == "value" || !may_turn;
        let found: Vec<(&Param, usize)> = params
            .iter()
            .filter_map(|(own, axis)| Some((space.find(&format!("{block}.attn.{own}")).ok()?, *axis)))
            .collect();
        group.views.extend(found.iter().map(|(param, _)| View { is_inside, ..View::of(param, 0, n) }));
        if !is_inside {
            continue;
        }
        for (head, inside) in group.inside.iter_mut().enumerate() {
            let mut of_head = UnitGroup::new(format!("{block}.heads.{head}.{kind}"), width);
            for (param, axis) in &found {
                let len = param.range.len() / n;
                let part = Param {
                    name: param.name.clone(),
                    shape: param.shape[1..].to_vec(),
                    range: param.range.start + head * len..param.range.start + (head + 1) * len,
                };
                of_head.views.push(View::of(&part, axis - 1, width));
            }
            inside.push(of_head);
        }
    }
    group
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ontogeny_graph::{Purpose, Stream, Value};
    use serde_json::json;

    use super::*;
    use crate::{Interface, Read, VectorLoss};

    /// The loss of two examples in f64, with inputs that are functions of their place.
    fn loss(model: &Model, weights: &[f32]) -> f64 {
        let (g, nodes) = model.graph(2);
        let mut values: BTreeMap<String, Value<f64>> = model
            .tensors(weights)
            .map(|(p, w)| (p.name.clone(), Value::Float(w.iter().map(|&v| f64::from(v)).collect())))
            .collect();
        let wave = |n: usize| Value::Float((0..n).map(|i| (i as f64 * 0.7).sin()).collect());
        match model.interface() {
            Interface::Tokens { vocabulary, length, read } => {
                let ids = |n: usize, below: usize| Value::Ids((0..n).map(|i| (i * 7 % below) as i32).collect());
                values.insert("tokens".to_owned(), ids(2 * length, vocabulary));
                if let Read::LastPosition { classes } = read {
                    values.insert("targets".to_owned(), ids(2, classes));
                }
            }
            Interface::Vectors { inputs, outputs, .. } => {
                values.insert("x".to_owned(), wave(2 * inputs));
                values.insert("y".to_owned(), wave(2 * outputs));
            }
            _ => unreachable!("the cases below have tokens or vectors"),
        }
        g.interpret(&values, &[nodes.loss]).unwrap()[0][0]
    }

    fn cases() -> Vec<(Model, usize)> {
        let tokens = Interface::Tokens { vocabulary: 8, length: 5, read: Read::NEXT_TOKEN };
        let last = Interface::Tokens { vocabulary: 6, length: 3, read: Read::LastPosition { classes: 5 } };
        let vectors = |inputs, image| Interface::Vectors { inputs, outputs: 3, loss: VectorLoss::MeanSquared, image };
        let image = vectors(2 * 8 * 8, Some([2, 8, 8]));
        let transformer = |changes: serde_json::Value| {
            let mut settings = json!({
                "kind": "transformer", "layers": 2, "d_model": 12, "heads": 3, "d_mlp": 8, "activation": "gelu",
                "normalization": "layer_norm", "positions": "learned", "attention_biases": true, "unembed_bias": true,
            });
            settings.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            settings
        };
        let settings = [
            (json!({"kind": "mlp", "sizes": [4, 7, 5, 3], "activation": "tanh"}), vectors(4, None), 2),
            (json!({"kind": "mlp", "sizes": [4, 7, 3], "activation": "solu", "biases": false}), vectors(4, None), 1),
            (
                json!({"kind": "cnn", "channels": [3, 4], "kernel": 3, "padding": 1, "dense": [6], "activation": "relu"}),
                image,
                3,
            ),
            (
                json!({"kind": "cnn", "channels": [3], "kernel": 3, "pooling": "average", "activation": "gelu"}),
                image,
                1,
            ),
            (json!({"kind": "resnet", "channels": [4, 6], "blocks": 2, "normalization": "group_norm"}), image, 6),
            (json!({"kind": "resnet", "channels": [4], "blocks": 1, "normalization": "none"}), image, 2),
            (
                json!({"kind": "resnet", "channels": [4], "blocks": 1, "normalization": "group_norm", "groups": 2}),
                image,
                0,
            ),
            (json!({"kind": "modular_mlp", "d_embed": 5, "hidden": 9, "activation": "relu"}), last, 2),
            (json!({"kind": "autoencoder", "hidden": 2}), vectors(3, None), 1),
            (transformer(json!({})), tokens, 5),
            (transformer(json!({"positions": "sinusoidal", "gated_mlp": true})), tokens, 4),
            (
                transformer(
                    json!({"positions": "rotary", "normalization": "rms_norm", "tied_unembed": true, "parallel_block": true}),
                ),
                tokens,
                5,
            ),
            (transformer(json!({"key_value_heads": 1, "activation": "solu_ln"})), tokens, 3),
            (transformer(json!({"positions": "shortformer", "norm_position": "post"})), last, 5),
        ];
        let model =
            |(network, interface, n)| (Model::new(serde_json::from_value(network).unwrap(), interface).unwrap(), n);
        settings.into_iter().map(model).collect()
    }

    fn weights(model: &Model) -> Vec<f32> {
        let mut weights = model.initial_weights(0);
        // Biases and norms differ too.
        for (i, w) in weights.iter_mut().enumerate() {
            *w += (i as f32).sin() * 0.2;
        }
        weights
    }

    #[test]
    fn every_order_of_every_group_computes_the_same() {
        for (model, n_groups) in cases() {
            let groups = unit_groups(&model);
            assert_eq!(groups.len(), n_groups, "{:?}", model.network());
            let before = weights(&model);
            let expected = loss(&model, &before);
            for (at, group) in
                groups.iter().flat_map(|g| std::iter::once(g).chain(g.inside.iter().flatten())).enumerate()
            {
                let order = Stream::new(1, Purpose::Probe, at as u64).permutation(group.n_units, 0);
                let mut after = before.clone();
                group.reorder(&order, &mut after);
                assert!(after != before || order.is_sorted(), "{}", group.name);
                let found = loss(&model, &after);
                assert!((found - expected).abs() < 1e-12 * (1.0 + expected), "{}: {found} {expected}", group.name);
                // Back again.
                let mut back = vec![0; order.len()];
                order.iter().enumerate().for_each(|(place, &unit)| back[unit] = place);
                group.reorder(&back, &mut after);
                assert_eq!(after, before, "{}", group.name);
                // The test can fail: a unit that leaves one of its parameters behind changes the loss.
                if !order.is_sorted() && group.views.len() > 1 {
                    let half = UnitGroup { views: group.views[..1].to_vec(), ..group.clone() };
                    half.reorder(&order, &mut after);
                    assert!((loss(&model, &after) - expected).abs() > 1e-9, "{}", group.name);
                }
            }
        }
    }

    #[test]
    fn weights_of_units_move_with_them() {
        let (model, _) = cases().swap_remove(0);
        let group = &unit_groups(&model)[0];
        let before = weights(&model);
        let of = group.weights_of_units(&before);
        // Four inputs, a bias, five outputs.
        assert_eq!((group.n_units, of.len()), (7, 70));
        let mut after = before.clone();
        group.reorder(&[6, 5, 4, 3, 2, 1, 0], &mut after);
        let moved = group.weights_of_units(&after);
        assert!((0..7).all(|unit| moved[10 * unit..10 * unit + 10] == of[60 - 10 * unit..70 - 10 * unit]));
        // Of a head all weights but the output bias are inside of it, with learned positions.
        let (model, _) = cases().swap_remove(9);
        let heads = unit_groups(&model).into_iter().find(|group| group.name == "blocks.1.heads").unwrap();
        assert!(heads.weights_of_units(&weights(&model)).is_empty());
        assert_eq!(heads.inside[2][0].weights_of_units(&weights(&model)).len(), 2 * (12 * 4 + 4));
        assert_eq!(heads.inside[2][1].weights_of_units(&weights(&model)).len(), 2 * 12 * 4 + 4);
    }
}
