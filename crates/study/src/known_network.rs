//! `[import] network`, `run` and `hub`: what a file, a run or a repository says of its network takes the place of `[network]`.

use std::path::Path;

use ontogeny_store::{Place, RunFolder};
use ontogeny_zoo::{Layout, NetworkConfig, OnnxConfig, different_settings, read_network};

use crate::checkpoint_series::FoundCheckpoint;
use crate::sections::{ImportConfig, Paths, StepRule, resolve};
use crate::{RunFile, Source, StudyError, hub};

/// Replaces `network`, `run` and `hub` by what they stand for: layout, checkpoints, and the network that is returned. `folder` is that
/// of the run file. What is left is complete without the files that were read.
///
/// # Errors
/// In words: files that are not there or cannot be followed, and keys that contradict each other.
pub(crate) fn take(config: &mut ImportConfig, folder: &Path) -> Result<Option<NetworkConfig>, String> {
    if config.checkpoints.as_ref().is_some_and(|Paths(paths)| paths.is_empty()) {
        return Err("`checkpoints` is an empty list".to_owned());
    }
    if let Some(file) = config.onnx() {
        return of_onnx(config, file).map(Some);
    }
    if !config.constants.is_empty() {
        return Err("`constants` belong to a network in an ONNX file; found no such `network`".to_owned());
    }
    let revisions = config.revisions.take();
    if revisions.is_some() != config.hub.is_some() {
        return Err("`hub` and `revisions` belong together; found one of them".to_owned());
    }
    let network = match (config.network.take(), config.run.take(), config.hub.take()) {
        (Some(network), None, None) => Some(of_file(config, &network, folder)?),
        (None, Some(run), None) => Some(of_run(config, &run, folder)?),
        (None, None, Some(hub)) => Some(of_hub(config, &hub, &revisions.map_or_else(Vec::new, |names| names.0))?),
        (None, None, None) => None,
        _ => {
            return Err(
                "found several of `network`, `run` and `hub`, each of which says what the network is".to_owned()
            );
        }
    };
    match &config.checkpoints {
        None => Err("`checkpoints` is missing; expected a file, a folder, a glob or a list of them".to_owned()),
        Some(_) => Ok(network),
    }
}

/// A file in ONNX, which is read later and stays named in `[import]`.
fn of_onnx(config: &ImportConfig, file: &str) -> Result<NetworkConfig, String> {
    if config.run.is_some() || config.hub.is_some() || config.revisions.is_some() {
        return Err("found several of `network`, `run` and `hub`, each of which says what the network is".to_owned());
    }
    if config.layout.is_some() {
        return Err("`layout` beside a network in ONNX; remove it: the file says how its weights lie".to_owned());
    }
    if config.checkpoints.is_none() && !config.names.is_empty() {
        return Err(
            "`names` without `checkpoints`; remove it: the weights in the network's own file have its names".to_owned()
        );
    }
    Ok(NetworkConfig::Onnx(OnnxConfig::new(file, config.constants.clone())))
}

fn of_file(config: &mut ImportConfig, network: &str, folder: &Path) -> Result<NetworkConfig, String> {
    let path = resolve(folder, network);
    let known = read_network(&path).map_err(|error| match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    })?;
    if let Some(layout) = config.layout.filter(|&layout| layout != known.layout) {
        return Err(format!(
            "`layout` is {layout:?}, but `network = \"{network}\"` is of {:?}; leave `layout` out",
            known.layout
        ));
    }
    config.layout = Some(known.layout);
    // A folder of a checkpoint, or a file of llama2.c, is also the checkpoint.
    if config.checkpoints.is_none() && (path.is_dir() || known.layout == Layout::Llama2c) {
        config.checkpoints = Some(Paths(vec![network.to_owned()]));
    }
    Ok(known.network)
}

/// The checkpoints of a run of ontogeny, and its network.
fn of_run(config: &mut ImportConfig, run: &str, folder: &Path) -> Result<NetworkConfig, String> {
    if config.checkpoints.is_some() || config.step.is_some() || config.layout.is_some() || !config.names.is_empty() {
        return Err("`run` brings its own checkpoints, steps, layout and names; remove those keys".to_owned());
    }
    let path = resolve(folder, run);
    let opened = RunFolder::open(Place::local(path.clone())).map_err(|error| error.to_string())?;
    let file = RunFile::from_manifest(opened.manifest().configuration.clone()).map_err(|error| error.to_string())?;
    match &file.source {
        Source::Train(_) => {
            let pattern = Path::new(&glob::Pattern::escape(run)).join("checkpoints").join("step-*.safetensors");
            config.checkpoints = Some(Paths(vec![pattern.to_string_lossy().into_owned()]));
            config.layout = Some(Layout::TransformerLens);
        }
        Source::Import(other) => {
            let at = std::path::absolute(file.folder()).map_err(|error| error.to_string())?;
            let absolute = |path: &String| at.join(path).to_string_lossy().into_owned();
            *config = other.clone();
            config.checkpoints =
                other.checkpoints.as_ref().map(|Paths(paths)| Paths(paths.iter().map(absolute).collect()));
            if let Some(network) = other.network.as_ref().map(absolute) {
                config.network = Some(network.clone());
                return of_onnx(config, &network);
            }
        }
    }
    Ok(file.network)
}

/// The checkpoints of a repository of the hub, and its network.
fn of_hub(config: &mut ImportConfig, hub: &str, revisions: &[String]) -> Result<NetworkConfig, String> {
    if config.checkpoints.is_some() || config.step.is_some() {
        return Err("`hub` brings its own checkpoints and steps; remove those keys".to_owned());
    }
    let fetched = hub::fetch(hub, revisions)?;
    let (first, _) = fetched.first().ok_or("`revisions` is an empty list")?;
    let network = of_file(config, &first.to_string_lossy(), Path::new(""))?;
    config.checkpoints = Some(Paths(fetched.iter().map(|(path, _)| path.to_string_lossy().into_owned()).collect()));
    config.step = Some(StepRule::Numbers(fetched.into_iter().map(|(_, step)| step).collect()));
    Ok(network)
}

/// Whether the `config.json` beside each checkpoint describes this network; those that cannot be followed are not asked, for
/// whoever wrote `[network]` out had to.
///
/// # Errors
/// A checkpoint of another network, with the keys that differ.
pub(crate) fn check_beside(
    found: &[FoundCheckpoint],
    layout: Option<Layout>,
    network: &NetworkConfig,
) -> Result<(), StudyError> {
    let is_known = matches!(layout, Some(Layout::Gpt2 | Layout::GptNeo | Layout::GptNeox | Layout::Llama));
    for checkpoint in found.iter().filter(|_| is_known) {
        let path = checkpoint.files.main.with_file_name("config.json");
        let Some(known) = path.is_file().then(|| read_network(&path).ok()).flatten() else { continue };
        let differences = different_settings(network, &known);
        if !differences.is_empty() {
            let message = format!(
                "`{}` describes another network than the one that is imported ({}); import it by a file of its own",
                path.display(),
                differences.join("; ")
            );
            return Err(StudyError::Import(message));
        }
    }
    Ok(())
}
