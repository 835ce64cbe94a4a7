//! Initial weights: named distributions, and which one a parameter follows.

use ontogeny_graph::{Param, ParamSpace};
use serde::{Deserialize, Serialize};

use crate::SettingError;

/// How the weights of a network start; each kind of network says what it starts with where none is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Initialization {
    /// Defaults of PyTorch's layers: weights and biases uniform on ±1/√(inputs of the layer) (`nn.Linear`, `nn.Conv2d`),
    /// embeddings and positions standard normal (`nn.Embedding`).
    Pytorch,
    /// Normal with standard deviation 1/√d, d the width of the residual stream in a transformer and the inputs of the
    /// layer elsewhere; a transformer's unembedding 1/√V; biases 0 (Nanda et al. 2023).
    InverseSqrtD,
    /// That of `pytorch` times `init_scale`, but for norms (Liu et al. 2023).
    Scaled,
    /// Normal with variance w^(−γ), w the widest hidden layer and γ = `init_gamma`, the same for all; biases 0
    /// (Jacot et al. 2021: below γ = 1 lazy, above it from saddle to saddle).
    WidthPower,
    /// `init_scale` on the diagonal of the last two axes of every matrix and embedding, 0 elsewhere; biases 0: balanced and
    /// aligned layers, whose learning has closed forms (Saxe et al. 2014; Nam et al. 2024).
    Diagonal,
}

/// How a parameter starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Start {
    /// All elements the same.
    Constant(f32),
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
    /// Uniform between minus and plus this.
    Uniform(f64),
    /// This on the diagonal of the last two axes, 0 elsewhere.
    Diagonal(f64),
}

/// The three keys of a network that say how it starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Init {
    pub(crate) kind: Option<Initialization>,
    pub(crate) scale: Option<f64>,
    pub(crate) gamma: Option<f64>,
}

impl Init {
    pub(crate) fn check(self) -> Result<(), SettingError> {
        let wrong = |key, found: String, expected: &str| Err(SettingError::new("network", key, found, expected));
        let keys = [
            (
                "init_scale",
                self.scale,
                &[Initialization::Scaled, Initialization::Diagonal][..],
                "scaled or diagonal",
                "a finite number, at least 0",
            ),
            ("init_gamma", self.gamma, &[Initialization::WidthPower], "width_power", "a finite number"),
        ];
        for (key, value, owners, name, range) in keys {
            let is_owner = self.kind.is_some_and(|kind| owners.contains(&kind));
            match value {
                Some(_) if !is_owner => {
                    return wrong(key, "given".to_owned(), &format!("it only with init = {name}"));
                }
                Some(value) if !value.is_finite() || (key == "init_scale" && value < 0.0) => {
                    return wrong(key, value.to_string(), range);
                }
                None if is_owner => return wrong(key, "missing".to_owned(), "a number"),
                _ => {}
            }
        }
        Ok(())
    }

    /// How `param` of `space` starts where this names a kind, else `default`. `d` is the width of a residual stream, `widest`
    /// that of the widest hidden layer.
    pub(crate) fn start(
        self,
        default: Initialization,
        space: &ParamSpace,
        param: &Param,
        d: Option<usize>,
        widest: usize,
    ) -> Start {
        let kind = self.kind.unwrap_or(default);
        let role = role(space, param);
        let root = |n: usize| 1.0 / (n as f64).sqrt();
        let scale = if kind == Initialization::Scaled { self.scale.unwrap_or(1.0) } else { 1.0 };
        match (kind, role) {
            (_, Role::Gain) => Start::Constant(1.0),
            (_, Role::Shift)
            | (
                Initialization::InverseSqrtD | Initialization::WidthPower | Initialization::Diagonal,
                Role::Bias { .. },
            ) => Start::Constant(0.0),
            (Initialization::Diagonal, _) => Start::Diagonal(self.scale.unwrap_or(1.0)),
            (Initialization::Pytorch | Initialization::Scaled, Role::Embedding) => Start::Normal(scale),
            (Initialization::Pytorch | Initialization::Scaled, Role::Matrix { n_in } | Role::Bias { n_in }) => {
                Start::Uniform(scale * root(n_in))
            }
            (Initialization::InverseSqrtD, role) => match (role, d) {
                (_, Some(_)) if param.name == "unembed.W_U" => Start::Normal(root(param.shape[1])),
                (_, Some(d)) => Start::Normal(root(d)),
                (Role::Matrix { n_in }, None) => Start::Normal(root(n_in)),
                (_, None) => Start::Normal(root(param.shape[1])),
            },
            (Initialization::WidthPower, _) => {
                Start::Normal((widest.max(1) as f64).powf(-0.5 * self.gamma.unwrap_or(1.0)))
            }
        }
    }
}

/// What a parameter is to its layer.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Role {
    /// Maps so many inputs.
    Matrix { n_in: usize },
    /// Of a layer with so many inputs.
    Bias { n_in: usize },
    /// A row for each token or position.
    Embedding,
    /// Scale of a norm.
    Gain,
    /// Shift of a norm.
    Shift,
}

fn role(space: &ParamSpace, param: &Param) -> Role {
    let (layer, own) = param.name.rsplit_once('.').map_or(("", param.name.as_str()), |(layer, own)| (layer, own));
    let sibling = |name: &str| {
        let name = if layer.is_empty() { name.to_owned() } else { format!("{layer}.{name}") };
        space.iter().find(|param| param.name == name)
    };
    let bare = own.trim_start_matches('_');
    match own {
        "w" => Role::Gain,
        "W_E" | "W_pos" if param.shape.len() == 2 => Role::Embedding,
        _ if bare.starts_with('b') => {
            if sibling("w").is_some() {
                return Role::Shift;
            }
            let matrix = sibling(&own.replacen('b', "W", 1));
            Role::Bias { n_in: matrix.map_or(1, n_inputs) }
        }
        _ => Role::Matrix { n_in: n_inputs(param) },
    }
}

/// Inputs of a layer, from the shape of its matrix: `[in, out]`, `[heads, in, out]` (`W_O` adds its heads up), or
/// `[out, in, height, width]`. An autoencoder's `W` is `[hidden, inputs]`.
fn n_inputs(matrix: &Param) -> usize {
    let shape = &matrix.shape;
    match shape.len() {
        4 => shape[1..].iter().product(),
        3 if matrix.name.ends_with("W_O") => shape[0] * shape[1],
        3 => shape[1],
        2 if matrix.name == "W" => shape[1],
        _ => shape.first().copied().unwrap_or(1),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{Interface, Model, Read, VectorLoss};

    fn starts(network: Value, changes: &Value, interface: Interface) -> Vec<(String, Start)> {
        let mut network = network;
        for (key, value) in changes.as_object().unwrap() {
            network[key] = value.clone();
        }
        let model = Model::new(serde_json::from_value(network).unwrap(), interface).unwrap();
        model.space().iter().map(|p| (p.name.clone(), model.network().start(model.space(), p))).collect()
    }

    fn find(starts: &[(String, Start)], name: &str) -> Start {
        starts.iter().find(|(own, _)| own == name).unwrap_or_else(|| panic!("no {name}")).1
    }

    const TOKENS: Interface = Interface::Tokens { vocabulary: 9, length: 4, read: Read::NEXT_TOKEN };

    fn transformer() -> Value {
        json!({
            "kind": "transformer", "layers": 1, "d_model": 16, "heads": 2, "d_head": 5, "d_mlp": 25,
            "activation": "solu_ln", "normalization": "layer_norm", "positions": "learned", "key_value_heads": 1,
            "attention_biases": true, "unembed_bias": true,
        })
    }

    #[test]
    fn each_parameter_of_a_transformer_starts_as_its_kind_says() {
        let normal = Start::Normal;
        let (zero, one) = (Start::Constant(0.0), Start::Constant(1.0));
        let uniform = |n: f64| Start::Uniform(1.0 / n.sqrt());
        let nanda = normal(0.25);
        let powers = normal(16_f64.powf(-0.75));
        let names = [
            "embed.W_E",
            "pos_embed.W_pos",
            "blocks.0.attn.W_Q",
            "blocks.0.attn._W_K",
            "blocks.0.attn.W_O",
            "blocks.0.attn._b_K",
            "blocks.0.attn.b_O",
            "blocks.0.mlp.W_in",
            "blocks.0.mlp.b_in",
            "blocks.0.mlp.W_out",
            "blocks.0.mlp.b_out",
            "unembed.W_U",
            "unembed.b_U",
        ];
        for (changes, wanted) in [
            (
                json!({}),
                [nanda, nanda, nanda, nanda, nanda, zero, zero, nanda, zero, nanda, zero, normal(1.0 / 3.0), zero],
            ),
            (
                json!({"init": "pytorch"}),
                [
                    normal(1.0),
                    normal(1.0),
                    uniform(16.0),
                    uniform(16.0),
                    uniform(10.0),
                    uniform(16.0),
                    uniform(10.0),
                    uniform(16.0),
                    uniform(16.0),
                    uniform(25.0),
                    uniform(25.0),
                    uniform(16.0),
                    uniform(16.0),
                ],
            ),
            (
                json!({"init": "width_power", "init_gamma": 1.5}),
                [powers, powers, powers, powers, powers, zero, zero, powers, zero, powers, zero, powers, zero],
            ),
        ] {
            let starts = starts(transformer(), &changes, TOKENS);
            for (name, wanted) in names.iter().zip(wanted) {
                assert_eq!(find(&starts, name), wanted, "{changes}: {name}");
            }
            for (name, wanted) in
                [("ln_final.w", one), ("ln_final.b", zero), ("blocks.0.mlp.ln.w", one), ("blocks.0.mlp.ln.b", zero)]
            {
                assert_eq!(find(&starts, name), wanted, "{changes}: {name}");
            }
        }
        assert_eq!(
            starts(transformer(), &json!({}), TOKENS),
            starts(transformer(), &json!({"init": "inverse_sqrt_d"}), TOKENS)
        );
        let scaled = starts(transformer(), &json!({"init": "scaled", "init_scale": 8.0}), TOKENS);
        assert_eq!(find(&scaled, "embed.W_E"), normal(8.0));
        assert_eq!(find(&scaled, "blocks.0.mlp.b_in"), Start::Uniform(8.0 * 0.25));
        assert_eq!(find(&scaled, "ln_final.w"), one);
    }

    #[test]
    fn layers_of_other_networks_know_their_inputs() {
        let image = Some([2, 8, 8]);
        let images = Interface::Vectors { inputs: 128, outputs: 3, loss: VectorLoss::CrossEntropy, image };
        let cnn =
            json!({"kind": "cnn", "channels": [4, 6], "kernel": 3, "padding": 1, "dense": [7], "activation": "relu"});
        let starts_of = |network: &Value, changes: Value| starts(network.clone(), &changes, images);
        let plain = starts_of(&cnn, json!({}));
        for (name, n_in) in
            [("conv.0.W", 18.0), ("conv.0.b", 18.0), ("conv.1.W", 36.0), ("dense.0.W", 24.0), ("dense.1.b", 7.0)]
        {
            assert_eq!(find(&plain, name), Start::Uniform(1.0 / f64::sqrt(n_in)), "{name}");
        }
        let deep = json!({"kind": "mlp", "sizes": [128, 50, 3], "activation": "identity", "biases": false});
        let powers = starts_of(&deep, json!({"init": "width_power", "init_gamma": 1.5}));
        assert!(powers.iter().all(|(_, start)| *start == Start::Normal(50_f64.powf(-0.75))));
        let inverse = starts_of(&deep, json!({"init": "inverse_sqrt_d"}));
        assert_eq!(find(&inverse, "layers.1.W"), Start::Normal(1.0 / 50_f64.sqrt()));
        let resnet = json!({"kind": "resnet", "channels": [4], "blocks": 1, "normalization": "group_norm"});
        let resnet = starts_of(&resnet, json!({}));
        assert_eq!(find(&resnet, "stem.norm.b"), Start::Constant(0.0));
        assert_eq!(find(&resnet, "out.b"), Start::Uniform(0.5));
        let same = Interface::Vectors { inputs: 6, outputs: 6, loss: VectorLoss::MeanSquared, image: None };
        let auto = starts(json!({"kind": "autoencoder", "hidden": 2}), &json!({}), same);
        assert_eq!(auto[..], [("W".to_owned(), Start::Normal(0.5)), ("b".to_owned(), Start::Constant(0.0))]);
        let auto = starts(json!({"kind": "autoencoder", "hidden": 2}), &json!({"init": "pytorch"}), same);
        assert_eq!(find(&auto, "W"), Start::Uniform(1.0 / 6_f64.sqrt()));
        let modular = json!({"kind": "modular_mlp", "d_embed": 4, "hidden": 9, "activation": "gelu"});
        let numbers = Interface::Tokens { vocabulary: 6, length: 3, read: Read::LastPosition { classes: 5 } };
        let modular = starts(modular, &json!({}), numbers);
        assert_eq!(find(&modular, "embed.W_E"), Start::Normal(1.0));
        assert_eq!(find(&modular, "right.b"), Start::Uniform(0.5));
        assert_eq!(find(&modular, "unembed.W_U"), Start::Uniform(1.0 / 3.0));
    }

    #[test]
    fn keys_of_other_initialisations_are_refused() {
        for (changes, message) in [
            (
                json!({"init_scale": 2.0}),
                "network.init_scale is given; expected it only with init = scaled or diagonal",
            ),
            (json!({"init": "scaled"}), "network.init_scale is missing; expected a number"),
            (json!({"init": "width_power"}), "network.init_gamma is missing; expected a number"),
            (
                json!({"init": "scaled", "init_scale": -1.0}),
                "network.init_scale is -1; expected a finite number, at least 0",
            ),
        ] {
            let mut network = transformer();
            for (key, value) in changes.as_object().unwrap() {
                network[key] = value.clone();
            }
            let error = Model::new(serde_json::from_value(network).unwrap(), TOKENS).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}
