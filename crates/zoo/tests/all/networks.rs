//! Every network against PyTorch: activations, logits, loss, gradient and Hessian-vector product.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ontogeny_graph::{Gradient, Graph, Program, Value, Workspace};
use ontogeny_zoo::{Interface, Model, NetworkConfig, Nodes, Read, VectorLoss};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value as Json, json};

/// Examples of each fixture.
const BATCH: usize = 4;

/// A fixture: its tensors, all numbers as f64, and the model of its configuration.
struct Fixture {
    name: String,
    tensors: BTreeMap<String, Vec<f64>>,
    model: Model,
    loss: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/torch")
}

fn fixtures() -> Vec<Fixture> {
    let index = fs_err::read_to_string(folder().join("networks.json")).unwrap();
    let index: Json = serde_json::from_str(&index).unwrap();
    let networks = index["networks"].as_array().unwrap();
    assert_eq!(networks.len(), 31);
    networks.iter().map(read_fixture).collect()
}

fn read_fixture(entry: &Json) -> Fixture {
    let bytes = fs_err::read(folder().join(entry["file"].as_str().unwrap())).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.tensors().into_iter().map(|(name, view)| {
        let data = view.data();
        let values = match view.dtype() {
            Dtype::F64 => chunks(data, f64::from_le_bytes),
            Dtype::F32 => chunks(data, |b| f64::from(f32::from_le_bytes(b))),
            Dtype::I32 => chunks(data, |b| f64::from(i32::from_le_bytes(b))),
            other => panic!("{name} is of {other:?}"),
        };
        (name, values)
    });
    let config = &entry["config"];
    let loss = config["loss"].as_str().unwrap().to_owned();
    let model = match config["kind"].as_str().unwrap() {
        "transformer" => transformer(config),
        "mlp" => perceptron(config),
        _ => other(config),
    };
    let found: Vec<Json> = model.space().iter().map(|p| json!({"name": p.name, "shape": p.shape})).collect();
    assert_eq!(&Json::Array(found), &entry["parameters"]);
    Fixture { name: entry["name"].as_str().unwrap().to_owned(), tensors: tensors.collect(), model, loss }
}

fn chunks<const N: usize>(data: &[u8], convert: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    data.chunks_exact(N).map(|chunk| convert(chunk.try_into().unwrap())).collect()
}

fn number(config: &Json, key: &str) -> usize {
    config[key].as_u64().unwrap() as usize
}

fn transformer(config: &Json) -> Model {
    let mut settings = json!({"kind": "transformer", "context": config["n_ctx"]});
    let mut keys = vec![
        "layers",
        "d_model",
        "heads",
        "d_head",
        "positions",
        "normalization",
        "norm_eps",
        "attention_only",
        "tied_unembed",
        "attention_biases",
        "mlp_biases",
        "unembed_bias",
    ];
    if config["attention_only"] == false {
        keys.extend(["d_mlp", "activation"]);
    }
    let variants = ["norm_position", "gated_mlp", "parallel_block", "key_value_heads", "rotary_base"];
    for key in keys.into_iter().chain(variants.into_iter().filter(|key| config.get(key).is_some())) {
        settings[key] = config[key].clone();
    }
    let vocabulary = number(config, "d_vocab");
    let read = match config["loss"].as_str().unwrap() {
        "last_position" => Read::LastPosition { classes: vocabulary },
        "next_token" => Read::NEXT_TOKEN,
        other => panic!("unknown loss {other}"),
    };
    let interface = Interface::Tokens { vocabulary, length: number(config, "sequence_length"), read };
    Model::new(serde_json::from_value(settings).unwrap(), interface).unwrap()
}

fn perceptron(config: &Json) -> Model {
    let network: NetworkConfig = serde_json::from_value(json!({
        "kind": "mlp", "sizes": config["sizes"], "activation": config["activation"], "biases": config["biases"],
    }))
    .unwrap();
    let sizes = config["sizes"].as_array().unwrap();
    let width = |size: &Json| size.as_u64().unwrap() as usize;
    let interface = Interface::Vectors {
        inputs: width(&sizes[0]),
        outputs: width(&sizes[sizes.len() - 1]),
        loss: match config["loss"].as_str().unwrap() {
            "cross_entropy" => VectorLoss::CrossEntropy,
            "mse" => VectorLoss::MeanSquared,
            other => panic!("unknown loss {other}"),
        },
        image: None,
    };
    Model::new(network, interface).unwrap()
}

/// An autoencoder, a network for images, or that of modular arithmetic: the settings are those of the run file, and beside
/// them what the task would say.
fn other(config: &Json) -> Model {
    let mut settings = config.clone();
    for key in ["loss", "inputs", "outputs", "image", "classes"] {
        settings.as_object_mut().unwrap().remove(key);
    }
    if config["kind"] == "resnet" {
        settings.as_object_mut().unwrap().remove("activation");
    }
    let extents =
        |key: &str| config[key].as_array().map(|all| all.iter().map(|n| n.as_u64().unwrap() as usize).collect());
    let interface = match config["kind"].as_str().unwrap() {
        "modular_mlp" => {
            let classes = number(config, "classes");
            Interface::Tokens { vocabulary: classes + 1, length: 3, read: Read::LastPosition { classes } }
        }
        "autoencoder" => {
            let inputs = number(config, "inputs");
            let loss = VectorLoss::Squared { factor: 1.0, importance: 1.0 };
            Interface::Vectors { inputs, outputs: inputs, loss, image: None }
        }
        _ => {
            let image: Vec<usize> = extents("image").unwrap();
            Interface::Vectors {
                inputs: image.iter().product(),
                outputs: number(config, "outputs"),
                loss: VectorLoss::CrossEntropy,
                image: Some(image.try_into().unwrap()),
            }
        }
    };
    Model::new(serde_json::from_value(settings).unwrap(), interface).unwrap()
}

impl Fixture {
    /// The inputs under the model's names; ids are told from floats by the interface.
    fn inputs(&self) -> Vec<(&'static str, Value<f64>)> {
        let floats = |name: &str| Value::Float(self.tensors[name].clone());
        let ids = |name: &str| Value::Ids(self.tensors[name].iter().map(|&v| v as i32).collect());
        match self.loss.as_str() {
            "last_position" => vec![("tokens", ids("tokens")), ("targets", ids("targets"))],
            "next_token" => vec![("tokens", ids("tokens"))],
            "cross_entropy" => vec![("x", floats("inputs")), ("y", ids("targets"))],
            _ => vec![("x", floats("inputs")), ("y", floats("targets"))],
        }
    }

    /// The stored logits, cut to what the model computes: one position where it reads no other.
    fn logits(&self) -> Vec<f64> {
        let stored = &self.tensors["logits"];
        let Interface::Tokens { vocabulary, length, read: Read::LastPosition { .. } } = self.model.interface() else {
            return stored.clone();
        };
        if matches!(self.model.network(), NetworkConfig::ModularMlp(_)) {
            return stored.clone();
        }
        stored.chunks(length * vocabulary).flat_map(|example| &example[(length - 1) * vocabulary..]).copied().collect()
    }

    /// One flat vector of the tensors `prefix.NAME` of all parameters.
    fn flat(&self, prefix: &str) -> Vec<f64> {
        self.model.space().iter().flat_map(|p| self.tensors[&format!("{prefix}.{}", p.name)].clone()).collect()
    }

    fn check(&self, what: &str, found: &[f64], expected: &[f64], relative: f64) {
        assert_eq!(found.len(), expected.len(), "{}: {what}", self.name);
        let scale = expected.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
        for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
            // Written so that NaN fails.
            assert!(
                (found - expected).abs() <= relative * scale,
                "{}: {what}[{i}] is {found}, expected {expected}, largest {scale}",
                self.name
            );
        }
    }
}

#[test]
fn in_double_precision_all_agree_with_pytorch() {
    // Two orders of summation of at most a few hundred terms in f64 differ by 1e-14 or so of the largest; the many
    // layers of a Hessian-vector product multiply that, hence 1e-10 of the largest entry.
    let tolerance = 1e-10;
    for fixture in fixtures() {
        let (mut g, Nodes { logits, loss, .. }) = fixture.model.graph(BATCH);
        let params = g.param_nodes();
        let mut values: BTreeMap<String, Value<f64>> =
            fixture.inputs().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let mut directions = Vec::new();
        for param in fixture.model.space().iter() {
            let name = format!("direction.{}", param.name);
            directions.push(g.input(&name, &param.shape));
            values
                .insert(param.name.clone(), Value::Float(fixture.tensors[&format!("weights.{}", param.name)].clone()));
            values.insert(name.clone(), Value::Float(fixture.tensors[&name].clone()));
        }
        let gradient = g.gradient(loss, &params).unwrap();
        let curved = g.hessian_vector(loss, &params, &directions).unwrap();
        let activations: Vec<&String> = fixture.tensors.keys().filter(|k| k.starts_with("activation.")).collect();
        let named = activations.iter().map(|k| g.find(k.strip_prefix("activation.").unwrap()).unwrap());
        let wanted: Vec<_> =
            [logits, loss].into_iter().chain(named).chain(gradient.iter().copied()).chain(curved).collect();
        let found = g.interpret(&values, &wanted).unwrap();
        fixture.check("logits", &found[0], &fixture.logits(), tolerance);
        fixture.check("loss", &found[1], &fixture.tensors["loss"], tolerance);
        let (found_activations, derivatives) = found[2..].split_at(activations.len());
        for (name, found) in activations.iter().zip(found_activations) {
            fixture.check(name, found, &fixture.tensors[*name], tolerance);
        }
        // Over all parameters at once: the gradient of every b_K is zero up to rounding.
        let (gradient, curved) = derivatives.split_at(params.len());
        fixture.check("gradient", &gradient.concat(), &fixture.flat("gradient"), tolerance);
        fixture.check("H·v", &curved.concat(), &fixture.flat("hessian_direction"), tolerance);
    }
}

#[test]
fn compiled_in_single_precision_all_agree_with_pytorch() {
    // 2⁻²⁴ is 6e-8; a network here is 10 to 60 roundings deep, and softmax and norms multiply relative errors by the
    // size of their arguments, up to about 10: at most 60 · 10 · 6e-8 = 4e-5 of the largest entry.
    let tolerance = 4e-5;
    for fixture in fixtures() {
        let (g, Nodes { logits, example_loss, loss, .. }) = fixture.model.graph(BATCH);
        let outputs = [("logits", logits), ("example_loss", example_loss), ("loss", loss)];
        let program = Program::compile(&g, &outputs, Gradient::All(loss)).unwrap();
        let mut workspace = Workspace::new(&program);
        for (name, value) in fixture.inputs() {
            match value {
                Value::Ids(ids) => workspace.ids_mut(&program, name).unwrap().copy_from_slice(&ids),
                Value::Float(floats) => {
                    let to = workspace.floats_mut(&program, name).unwrap();
                    to.iter_mut().zip(floats).for_each(|(to, v)| *to = v as f32);
                }
            }
        }
        let weights: Vec<f32> = fixture.flat("weights").iter().map(|&w| w as f32).collect();
        program.run(&mut workspace, &weights).unwrap();
        let output =
            |name: &str| -> Vec<f64> { workspace.output(&program, name).iter().map(|&v| f64::from(v)).collect() };
        fixture.check("logits", &output("logits"), &fixture.logits(), tolerance);
        fixture.check("loss", &output("loss"), &fixture.tensors["loss"], tolerance);
        let mean = output("example_loss").iter().sum::<f64>() / BATCH as f64;
        fixture.check("mean of the example losses", &[mean], &fixture.tensors["loss"], tolerance);
        let gradient: Vec<f64> = workspace.gradient(&program).iter().map(|&v| f64::from(v)).collect();
        fixture.check("gradient", &gradient, &fixture.flat("gradient"), tolerance);
    }
}

/// Answers outside the classes are dropped before the softmax, not merely ignored by the loss.
#[test]
fn fewer_classes_than_tokens_drop_the_last_logits() {
    let settings = json!({
        "kind": "transformer", "layers": 1, "d_model": 4, "heads": 1, "d_mlp": 3, "activation": "relu",
        "normalization": "none", "positions": "learned", "unembed_bias": true,
    });
    for tied in [false, true] {
        let mut settings = settings.clone();
        settings["tied_unembed"] = json!(tied);
        let network: NetworkConfig = serde_json::from_value(settings).unwrap();
        let of = |classes| {
            let interface = Interface::Tokens { vocabulary: 6, length: 3, read: Read::LastPosition { classes } };
            let model = Model::new(network.clone(), interface).unwrap();
            let (g, nodes) = model.graph(1);
            let weights = model.initial_weights(1);
            let mut values: BTreeMap<String, Value<f64>> = model
                .tensors(&weights)
                .map(|(p, w)| (p.name.clone(), Value::Float(w.iter().map(|&v| f64::from(v)).collect())))
                .collect();
            values.insert("tokens".to_owned(), Value::Ids(vec![3, 1, 5]));
            values.insert("targets".to_owned(), Value::Ids(vec![2]));
            let found = g.interpret(&values, &[nodes.logits, nodes.loss]).unwrap();
            (found[0].clone(), found[1][0])
        };
        let (all, _) = of(6);
        let (five, loss) = of(5);
        assert_eq!(five, all[..5]);
        let expected = five.iter().map(|z| z.exp()).sum::<f64>().ln() - five[2];
        assert!((loss - expected).abs() < 1e-12, "{loss} {expected}");
    }
}

/// The table of bigrams: logits are rows of W_E·W_U.
#[test]
fn zero_layers_leave_embedding_and_unembedding() {
    let network: NetworkConfig = serde_json::from_value(json!({
        "kind": "transformer", "layers": 0, "d_model": 2, "heads": 1, "d_mlp": 1, "activation": "relu",
        "normalization": "none", "positions": "none",
    }))
    .unwrap();
    let interface = Interface::Tokens { vocabulary: 3, length: 2, read: Read::NEXT_TOKEN };
    let model = Model::new(network, interface).unwrap();
    let names: Vec<&str> = model.space().iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["embed.W_E", "unembed.W_U"]);
    let mut g = Graph::new();
    let nodes = model.build(&mut g, 1);
    let values = BTreeMap::from([
        ("embed.W_E".to_owned(), Value::Float(vec![1.0, 0.0, 0.0, 1.0, 1.0, 1.0])),
        ("unembed.W_U".to_owned(), Value::Float(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0])),
        ("tokens".to_owned(), Value::Ids(vec![2, 0])),
    ]);
    let found = g.interpret::<f64>(&values, &[nodes.logits, nodes.loss]).unwrap();
    assert_eq!(found[0], [5.0, 7.0, 9.0, 1.0, 2.0, 3.0]);
    let expected = (1.0 + 2_f64.exp() + 4_f64.exp()).ln();
    assert!((found[1][0] - expected).abs() < 1e-12, "{} {expected}", found[1][0]);
}

/// Weights that only a norm reads can be scaled without changing the loss, so the gradient stands at right angles to them:
/// w·∇L = 0 (Euler's theorem for homogeneous functions of degree 0; van Laarhoven 2017). With eps = 0 exactly.
#[test]
fn gradients_stand_at_right_angles_to_weights_before_a_norm() {
    let stream = ["embed.W_E", "pos_embed.W_pos", "attn.W_O", "attn.b_O", "mlp.W_out", "mlp.b_out"];
    let transformer = |norm: &str| {
        let network = json!({
            "kind": "transformer", "layers": 2, "d_model": 8, "heads": 2, "d_mlp": 12, "activation": "gelu",
            "normalization": norm, "norm_eps": 0.0, "positions": "learned", "attention_biases": true,
        });
        let interface = Interface::Tokens { vocabulary: 7, length: 5, read: Read::NEXT_TOKEN };
        Model::new(serde_json::from_value(network).unwrap(), interface).unwrap()
    };
    let network = json!({
        "kind": "resnet", "channels": [4, 6], "blocks": 1, "normalization": "group_norm", "norm_eps": 0.0,
    });
    let interface =
        Interface::Vectors { inputs: 98, outputs: 3, loss: VectorLoss::CrossEntropy, image: Some([2, 7, 7]) };
    let resnet = Model::new(serde_json::from_value(network).unwrap(), interface).unwrap();
    // Groups of parameters that may be scaled together: all that is added up in the stream, each convolution by itself.
    let (layer_norm, rms_norm) = (transformer("layer_norm"), transformer("rms_norm"));
    let writers = |name: &str| stream.iter().any(|end| name.ends_with(end));
    let cases: [(&Model, Vec<Vec<&str>>); 3] = [&layer_norm, &rms_norm, &resnet].map(|model| {
        let names = || model.space().iter().map(|param| param.name.as_str());
        let groups = if matches!(model.network(), NetworkConfig::Transformer(_)) {
            vec![names().filter(|name| writers(name)).collect()]
        } else {
            let kernels = names().filter(|name| name.rsplit('.').next() == Some("W") && *name != "out.W");
            kernels.map(|name| vec![name]).collect()
        };
        (model, groups)
    });
    for (model, groups) in cases {
        assert!(groups.iter().all(|group| !group.is_empty()) && !groups.is_empty());
        let (g, nodes) = model.graph(BATCH);
        let program = Program::compile(&g, &[("loss", nodes.loss)], Gradient::All(nodes.loss)).unwrap();
        let mut workspace = Workspace::new(&program);
        for name in program.input_names().map(str::to_owned).collect::<Vec<_>>() {
            if let Ok(ids) = workspace.ids_mut(&program, &name) {
                ids.iter_mut().enumerate().for_each(|(i, id)| *id = ((i * i + i / 3) % 3) as i32);
            } else {
                let floats = workspace.floats_mut(&program, &name).unwrap();
                floats.iter_mut().enumerate().for_each(|(i, x)| *x = (1.7 * i as f32).sin());
            }
        }
        let mut weights = model.initial_weights(2);
        weights.iter_mut().enumerate().for_each(|(i, w)| *w += 0.2 * (0.9 * i as f32).cos());
        program.run(&mut workspace, &weights).unwrap();
        let gradient = workspace.gradient(&program);
        for group in groups {
            let ranges = group.iter().map(|name| model.space().find(name).unwrap().range.clone());
            let (mut along, mut own, mut slope) = (0.0, 0.0, 0.0);
            for at in ranges.flatten() {
                let (w, g) = (f64::from(weights[at]), f64::from(gradient[at]));
                along += w * g;
                own += w * w;
                slope += g * g;
            }
            let cosine = along / (own * slope).sqrt();
            assert!(slope > 0.0 && cosine.abs() < 1e-6, "{group:?}: cosine {cosine}");
        }
    }
}
