//! Networks of others against the libraries that they come from: logits, loss, gradient, activations.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

use std::path::{Path, PathBuf};

use ontogeny_graph::{Gradient, Program, Workspace};
use ontogeny_zoo::{
    Interface, KnownNetwork, Layout, Model, NameMap, NetworkConfig, Nodes, Read, TensorFile, WeightTensor,
    checkpoint_files, different_settings, family_weights, read_checkpoint, read_network, read_tensors, to_canonical,
};

fn fixtures(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(of)
}

/// What a library says of a tiny model: tokens `[batch, length]`, logits, loss, activations.
struct Expected {
    file: TensorFile,
    batch: usize,
    length: usize,
}

impl Expected {
    fn read(folder: &Path) -> Self {
        let file = read_tensors(folder.join("expected.safetensors")).unwrap();
        let &[batch, length] = file.get("tokens").unwrap().shape.as_slice() else { panic!("tokens of two axes") };
        Self { file, batch, length }
    }

    fn floats(&self, name: &str) -> &[f32] {
        self.file.get(name).unwrap().data.as_f32().unwrap()
    }

    fn tokens(&self) -> Vec<i32> {
        self.file.get("tokens").unwrap().data.as_i64().unwrap().iter().map(|&id| id as i32).collect()
    }

    /// The model on sequences of this length, whose ids seem to be fewer than the network has.
    fn model(&self, known: &KnownNetwork) -> Model {
        let interface = Interface::Tokens { vocabulary: 19, length: self.length, read: Read::NEXT_TOKEN };
        Model::new(known.network.clone(), interface).unwrap()
    }

    /// Runs the model compiled, in single precision, and compares everything there is to compare. The gradient has been laid
    /// out as the weights are.
    fn check(&self, name: &str, model: &Model, weights: Vec<WeightTensor>, gradient: Vec<WeightTensor>) {
        // Both sides compute in single precision, 2⁻²⁴ = 6e-8, 10 to 60 roundings deep; softmax and norms multiply relative
        // errors by up to 10: at most 2 · 60 · 10 · 6e-8 = 7e-5 of the largest entry.
        let tolerance = 1e-4;
        let (g, Nodes { logits, loss, .. }) = model.graph(self.batch);
        let activations: Vec<&str> =
            self.file.tensors.iter().filter_map(|tensor| tensor.name.strip_prefix("activation.")).collect();
        let found =
            activations.iter().map(|&hook| (hook, g.find(hook).unwrap_or_else(|_| panic!("{name}: no {hook}"))));
        let outputs: Vec<_> = [("logits", logits), ("loss", loss)].into_iter().chain(found).collect();
        let program = Program::compile(&g, &outputs, Gradient::All(loss)).unwrap();
        let mut workspace = Workspace::new(&program);
        workspace.ids_mut(&program, "tokens").unwrap().copy_from_slice(&self.tokens());
        let flat = |tensors| model.weights_from(Path::new(name), tensors).unwrap();
        program.run(&mut workspace, &flat(weights)).unwrap();
        let check = |what: &str, found: &[f32], expected: &[f32]| {
            assert_eq!(found.len(), expected.len(), "{name}: {what}");
            let scale = expected.iter().filter(|v| v.is_finite()).fold(0.0_f32, |m, v| m.max(v.abs()));
            for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
                // Masked scores are −∞ on both sides. Written so that NaN fails.
                let same = found == expected || (found - expected).abs() <= tolerance * scale;
                assert!(same, "{name}: {what}[{i}] is {found}, expected {expected}, largest {scale}");
            }
        };
        check("logits", workspace.output(&program, "logits"), self.floats("logits"));
        check("loss", workspace.output(&program, "loss"), self.floats("loss"));
        for hook in activations {
            check(hook, workspace.output(&program, hook), self.floats(&format!("activation.{hook}")));
        }
        check("gradient", workspace.gradient(&program), &flat(gradient));
    }
}

const FAMILIES: [&str; 10] = [
    "gpt2",
    "gpt2-crfm",
    "gpt2-unscaled",
    "gpt-neo",
    "gpt-neox",
    "gpt-neox-sequential",
    "llama",
    "llama-tied",
    "mistral",
    "qwen2",
];

fn read_folder(folder: &Path) -> TensorFile {
    read_checkpoint(&checkpoint_files(folder).unwrap().unwrap().main).unwrap()
}

fn family(folder: &Path, values: &Path, expected: &Expected) -> (Model, Vec<WeightTensor>, Layout) {
    let known = read_network(folder).unwrap();
    let model = expected.model(&known);
    let file = if values == folder { read_folder(folder) } else { read_tensors(values).unwrap() };
    assert_eq!(Layout::detect(&file), Some(known.layout));
    let weights = family_weights(&file, known.layout, &NameMap::default(), &model).unwrap();
    (model, weights, known.layout)
}

#[test]
fn families_of_hugging_face_have_the_logits_loss_and_gradient_of_transformers() {
    for name in FAMILIES {
        let folder = fixtures("families").join(name);
        let expected = Expected::read(&folder);
        let (model, weights, _) = family(&folder, &folder, &expected);
        let (_, gradient, _) = family(&folder, &folder.join("gradient.safetensors"), &expected);
        expected.check(name, &model, weights, gradient);
    }
}

#[test]
fn older_names_buffers_and_keys_are_read_as_the_newer_ones() {
    for name in ["gpt2", "gpt-neox"] {
        let (new, old) = (fixtures("families").join(name), fixtures("families").join(format!("{name}-old")));
        let expected = Expected::read(&new);
        assert_eq!(read_network(&old).unwrap(), read_network(&new).unwrap());
        assert_eq!(family(&old, &old, &expected).1, family(&new, &new, &expected).1);
    }
}

#[test]
fn shards_give_what_one_file_gives_and_half_precision_is_widened() {
    let folder = fixtures("families").join("gpt-neo");
    assert_eq!(checkpoint_files(&folder).unwrap().unwrap().shards.len(), 4);
    let file = read_folder(&folder);
    assert!(file.tensors.windows(2).all(|pair| pair[0].name < pair[1].name));
    for (name, dtype) in [("llama", "bf16"), ("mistral", "f16"), ("qwen2", "f32")] {
        let file = read_folder(&fixtures("families").join(name));
        assert!(file.tensors.iter().all(|tensor| tensor.dtype.to_string() == dtype), "{name}");
    }
}

#[test]
fn a_network_may_have_more_tokens_than_its_task() {
    let known = read_network(&fixtures("families").join("gpt2")).unwrap();
    let of = |vocabulary| {
        Model::new(known.network.clone(), Interface::Tokens { vocabulary, length: 9, read: Read::NEXT_TOKEN })
    };
    let Interface::Tokens { vocabulary, .. } = of(19).unwrap().interface() else { panic!("tokens") };
    assert_eq!(vocabulary, 24);
    assert_eq!(of(25).unwrap_err().to_string(), "network.vocabulary is 24; expected at least 25, that of the task");
}

#[test]
fn hooked_transformers_have_the_names_and_values_of_transformer_lens() {
    for name in ["standard", "rotary", "local", "shortformer", "parallel"] {
        let folder = fixtures("transformer_lens").join(name);
        let known = read_network(&folder.join("config.json")).unwrap();
        assert_eq!(known.layout, Layout::TransformerLens);
        let expected = Expected::read(&folder);
        let model = expected.model(&known);
        let read = |file: &str| {
            let file = read_tensors(folder.join(file)).unwrap();
            to_canonical(&file, Layout::TransformerLens, &NameMap::default()).unwrap()
        };
        expected.check(name, &model, read("model.pth"), read("gradient.safetensors"));
    }
}

#[test]
fn a_configuration_that_differs_is_told_key_by_key() {
    let [crfm, plain] = ["gpt2-crfm", "gpt2"].map(|name| read_network(&fixtures("families").join(name)).unwrap());
    assert_eq!(different_settings(&plain.network, &plain), Vec::<String>::new());
    let differences = different_settings(&crfm.network, &plain);
    let keys: Vec<&str> = differences.iter().map(|text| text.split(':').next().unwrap()).collect();
    assert_eq!(keys, ["activation", "d_mlp", "norm_eps", "scale_by_layer", "tied_unembed"]);
    // What another wrote out by hand need not repeat what the task says.
    let NetworkConfig::Transformer(mut own) = plain.network.clone() else { panic!("a transformer") };
    (own.vocabulary, own.context) = (None, None);
    assert_eq!(different_settings(&NetworkConfig::Transformer(own), &plain), Vec::<String>::new());
}
