//! `[import] hub`: revisions of a repository of the Hugging Face hub, fetched into its cache. The only place that asks a network
//! for anything, and only where a run file says so.

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
    let (owner, name) = repository.split_once('/').ok_or_else(|| {
        format!("`hub = \"{repository}\"` is no repository; expected OWNER/NAME, such as \"EleutherAI/pythia-70m\"")
    })?;
    let client = hf_hub::HFClientSync::new().map_err(|error| format!("no client of the hub can be made: {error}"))?;
    let model = client.model(owner, name);
    // Safetensors first: repositories often have the same weights as pickles too.
    for weights in ["model*.safetensors*", "pytorch_model*"] {
        let patterns = ["config.json", "tokenizer.json", weights].map(str::to_owned).to_vec();
        let download = |is_local| {
            model
                .snapshot_download()
                .revision(revision)
                .allow_patterns(patterns.clone())
                .local_files_only(is_local)
                .send()
        };
        let folder = download(false).or_else(|online| {
            download(true).map_err(|_| {
                format!("`{repository}` at `{revision}` cannot be fetched from the hub ({online}), and is not in its cache; offline, \
                         name a folder in `network` and `checkpoints`")
            })
        })?;
        if ontogeny_zoo::checkpoint_files(&folder).map_err(|error| error.to_string())?.is_some() {
            return Ok(folder);
        }
    }
    Err(format!("`{repository}` at `{revision}` has no model.safetensors and no pytorch_model.bin"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
