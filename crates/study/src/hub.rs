//! `[import] hub`: revisions of a repository of the Hugging Face hub, fetched into its cache. The only place that asks a network
//! for anything, and only where a run file says so.

#[cfg(feature = "hub")]
use std::path::Path;
use std::path::PathBuf;

use ontogeny_zoo::checkpoint_revisions;

use crate::checkpoint_series::step_in_name;

/// Folders of the revisions, with their steps, in the order in which they are named.
///
/// # Errors
/// In words: a repository without known revisions, one without a step in its name, or a hub that cannot be reached.
pub(crate) fn fetch(repository: &str, revisions: &[String]) -> Result<Vec<(PathBuf, u64)>, String> {
    chosen(repository, revisions)?.into_iter().map(|(name, step)| Ok((snapshot(repository, &name)?, step))).collect()
}

/// The revisions and their steps: those named, or all that the series has.
fn chosen(repository: &str, revisions: &[String]) -> Result<Vec<(String, u64)>, String> {
    let known = checkpoint_revisions(repository);
    if let [all] = revisions
        && all == "all"
    {
        return known.ok_or_else(|| {
            format!("`revisions = \"all\"` needs a series whose checkpoints are known, which `{repository}` is not; list them")
        });
    }
    let step_of = |name: &String| match &known {
        Some(known) => known.iter().find(|(other, _)| other == name).map(|(_, step)| *step).ok_or_else(|| {
            let [(first, _), .., (last, _)] = known.as_slice() else {
                return format!("`{repository}` has no checkpoints");
            };
            format!("`{repository}` has no revision `{name}`; it has {}, from `{first}` to `{last}`", known.len())
        }),
        None => step_in_name(name)
            .ok_or_else(|| format!("the revision `{name}` does not say its step: expected a name such as `step1000`")),
    };
    revisions.iter().map(|name| Ok((name.clone(), step_of(name)?))).collect()
}

#[cfg(not(feature = "hub"))]
fn snapshot(repository: &str, revision: &str) -> Result<PathBuf, String> {
    Err(format!(
        "`hub` is there where ontogeny was built with `--features hub`; without it, fetch `{repository}` at `{revision}` yourself, \
         into a folder that `network` and `checkpoints` name"
    ))
}

/// The folder of a revision in the hub's cache, with its configuration, tokenizer and weights. Where the hub cannot be reached, what
/// the cache has of it.
#[cfg(feature = "hub")]
fn snapshot(repository: &str, revision: &str) -> Result<PathBuf, String> {
    use hf_hub::api::sync::ApiBuilder;
    use hf_hub::{Cache, Repo, RepoType};

    let is_repository =
        repository.split_once('/').is_some_and(|(owner, name)| !owner.is_empty() && !name.contains('/'));
    if !is_repository {
        return Err(format!(
            "`hub = \"{repository}\"` is no repository; expected OWNER/NAME, such as \"EleutherAI/pythia-70m\""
        ));
    }
    let repo = Repo::with_revision(repository.to_owned(), RepoType::Model, revision.to_owned());
    let client = ApiBuilder::from_env().with_progress(false).build();
    let remote = client.map_err(|error| format!("no client of the hub can be made: {error}"))?.repo(repo.clone());
    let listed = match remote.info() {
        Ok(info) => info.siblings.into_iter().map(|file| file.rfilename).collect::<Vec<_>>(),
        Err(online) => {
            let cached = Cache::from_env().repo(repo).get("config.json");
            return cached.and_then(|config| config.parent().map(Path::to_owned)).ok_or_else(|| {
                format!("`{repository}` at `{revision}` cannot be fetched from the hub ({online}), and is not in its cache; offline, \
                         name a folder in `network` and `checkpoints`")
            });
        }
    };
    let mut folder = None;
    for name in wanted(&listed) {
        let path = remote.get(name).map_err(|error| {
            format!("`{name}` of `{repository}` at `{revision}` cannot be fetched from the hub: {error}")
        })?;
        folder = path.parent().map(Path::to_owned);
    }
    folder.ok_or_else(|| format!("`{repository}` at `{revision}` has no model.safetensors and no pytorch_model.bin"))
}

/// Of the files of a repository: its configuration, its tokenizer, and its weights, as pickles only where they are not there as
/// safetensors; none where there are no weights. Only names in the folder itself: what a server says is a name can be a path.
#[cfg(any(feature = "hub", test))]
fn wanted(listed: &[String]) -> Vec<&str> {
    let named = |start: &'static str, ends: &'static [&'static str]| {
        listed.iter().map(String::as_str).filter(move |name| {
            !name.contains(['/', '\\']) && name.starts_with(start) && ends.iter().any(|end| name.ends_with(end))
        })
    };
    let mut weights: Vec<&str> = named("model", &[".safetensors", ".safetensors.index.json"]).collect();
    if weights.is_empty() {
        weights = named("pytorch_model", &[".bin", ".bin.index.json"]).collect();
    }
    if weights.is_empty() {
        return weights;
    }
    let others = ["config.json", "tokenizer.json"].into_iter().filter(|name| listed.iter().any(|file| file == name));
    others.chain(weights).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_fetched_once_and_nothing_outside_of_the_folder() {
        let list = |names: &[&str]| -> Vec<String> { names.iter().map(|&name| name.to_owned()).collect() };
        let both =
            list(&["README.md", "config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json"]);
        assert_eq!(wanted(&both), ["config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json"]);
        let both = list(&["pytorch_model.bin", "config.json", "model.safetensors", "tokenizer.json"]);
        assert_eq!(wanted(&both), ["config.json", "tokenizer.json", "model.safetensors"]);
        assert_eq!(wanted(&list(&["config.json", "pytorch_model.bin"])), ["config.json", "pytorch_model.bin"]);
        let hostile =
            list(&["config.json", "model/../../x.safetensors", "model\\..\\x.safetensors", "flax_model.msgpack"]);
        assert_eq!(wanted(&hostile), [""; 0]);
    }

    #[test]
    fn revisions_are_those_of_the_series() {
        let chosen = |repository: &str, names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            chosen(repository, &names)
        };
        assert_eq!(chosen("EleutherAI/pythia-70m", &["all"]).unwrap().len(), 154);
        let two = chosen("EleutherAI/pythia-70m", &["step512", "step4"]).unwrap();
        assert_eq!(two, [("step512".to_owned(), 512), ("step4".to_owned(), 4)]);
        let error = chosen("EleutherAI/pythia-70m", &["step3"]).unwrap_err();
        assert!(error.ends_with("has no revision `step3`; it has 154, from `step0` to `step143000`"), "{error}");
        assert_eq!(chosen("me/mine", &["checkpoint-7"]).unwrap(), [("checkpoint-7".to_owned(), 7)]);
        assert!(chosen("me/mine", &["main"]).unwrap_err().contains("does not say its step"));
        assert!(chosen("me/mine", &["all"]).unwrap_err().contains("list them"));
    }

    #[cfg(not(feature = "hub"))]
    #[test]
    fn without_the_feature_it_says_what_to_do() {
        let error = fetch("EleutherAI/pythia-70m", &["step1000".to_owned()]).unwrap_err();
        assert!(error.contains("--features hub") && error.contains("step1000"), "{error}");
    }
}
