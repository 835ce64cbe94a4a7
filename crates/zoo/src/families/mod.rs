//! Networks that others trained: what their configuration files say, and where their weights lie.

mod checkpoint_folder;
mod error;
mod gpt2;
mod gpt_neo;
mod gpt_neox;
mod hub_labels;
mod hugging_face;
mod llama;
mod llama2c;
mod settings;
mod source;
mod tensor_names;
mod transformer_lens;

pub use checkpoint_folder::{CheckpointFiles, checkpoint_files, read_checkpoint};
pub use error::NetworkFileError;
pub use hub_labels::checkpoint_revisions;
pub use source::family_weights;

use std::path::Path;

use self::settings::Settings;
use crate::{Layout, NetworkConfig, ReadError, TransformerConfig, WeightTensor};

/// A network as its own configuration file describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownNetwork {
    /// The network.
    pub network: NetworkConfig,
    /// How its checkpoints name and lay out their tensors.
    pub layout: Layout,
}

/// Reads what kind of network `path` describes: a folder with a `config.json` of Hugging Face (gpt2, gpt_neo, gpt_neox, llama,
/// mistral, qwen2), such a file itself, a configuration of TransformerLens as JSON or TOML, or a `.bin` of llama2.c.
///
/// Every key that changes what the network computes is honoured, or an error that names it; so is every key that is unknown.
///
/// # Errors
/// [`NetworkFileError`] if the file cannot be read, describes another architecture, or has a key as above.
pub fn read_network(path: &Path) -> Result<KnownNetwork, NetworkFileError> {
    let file = if path.is_dir() { path.join("config.json") } else { path.to_owned() };
    if file.extension().is_some_and(|extension| extension == "bin") {
        let network = NetworkConfig::Transformer(llama2c::Header::read(&file)?.network());
        return Ok(KnownNetwork { network, layout: Layout::Llama2c });
    }
    let settings = Settings::read(&file)?;
    let (config, layout) = if settings.has("n_layers") && settings.has("d_head") {
        (transformer_lens::network(settings)?, Layout::TransformerLens)
    } else {
        hugging_face::network(settings)?
    };
    Ok(KnownNetwork { network: NetworkConfig::Transformer(config), layout })
}

/// The weights of a `.bin` of llama2.c under their canonical names and in their canonical layouts.
///
/// # Errors
/// [`ReadError`] if the file is of another version, or of another length than its header asks for.
pub fn read_llama2c(path: &Path) -> Result<Vec<WeightTensor>, ReadError> {
    llama2c::read(path)
}

/// Which settings of a network differ from those of a configuration file beside its checkpoint: keys with both values.
///
/// How weights start says nothing about a checkpoint; vocabulary and context are compared only where `network` has them.
pub fn different_settings(network: &NetworkConfig, known: &KnownNetwork) -> Vec<String> {
    let (NetworkConfig::Transformer(own), NetworkConfig::Transformer(other)) = (network, &known.network) else {
        return vec!["kind: not a transformer here".to_owned()];
    };
    let as_written = |config: &TransformerConfig| match serde_json::to_value(config) {
        Ok(serde_json::Value::Object(map)) => map,
        _ => unreachable!("a configuration is a table"),
    };
    let comparable = TransformerConfig {
        init: own.init,
        init_scale: own.init_scale,
        init_gamma: own.init_gamma,
        vocabulary: own.vocabulary.and(other.vocabulary),
        context: own.context.and(other.context),
        d_head: own.d_head.and(Some(other.head_width())),
        ..other.clone()
    };
    let (own, other) = (as_written(own), as_written(&comparable));
    let mut keys: Vec<&String> = own.keys().chain(other.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let shown = |value: Option<&serde_json::Value>| value.map_or_else(|| "not given".to_owned(), ToString::to_string);
    keys.into_iter()
        .filter(|key| own.get(*key) != other.get(*key))
        .map(|key| format!("{key}: {} here, {} there", shown(own.get(key)), shown(other.get(key))))
        .collect()
}
