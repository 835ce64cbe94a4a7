//! Which checkpoints public series have: the names of their revisions on the Hugging Face hub, with their steps.

/// The checkpoints of a series, ascending: revision and step. `None` for a repository that is no known series.
///
/// Known are EleutherAI's Pythia (Biderman et al. 2023), with 154 checkpoints, or 143 of the first versions (`-v0`), and
/// Stanford CRFM's ten trainings of GPT-2 (Karamcheti et al. 2021), with 609. Repositories of single files for each
/// checkpoint, such as the toy language models of TransformerLens, have no revisions.
pub fn checkpoint_revisions(repository: &str) -> Option<Vec<(String, u64)>> {
    let (owner, name) = repository.split_once('/')?;
    let named =
        |prefix: &str, steps: Vec<u64>| Some(steps.into_iter().map(|step| (format!("{prefix}{step}"), step)).collect());
    match owner {
        "EleutherAI" if name.starts_with("pythia-") && name.ends_with("-v0") => {
            named("step", (1..=143).map(|n| 1000 * n).collect())
        }
        "EleutherAI" if name.starts_with("pythia-") => {
            let first = std::iter::once(0).chain((0..10).map(|power| 1 << power));
            named("step", first.chain((1..=143).map(|n| 1000 * n)).collect())
        }
        "stanford-crfm" if CRFM.contains(&name) => {
            let steps = (0..100).step_by(10).chain((100..2000).step_by(50));
            named(
                "checkpoint-",
                steps.chain((2000..20_000).step_by(100)).chain((20_000..=400_000).step_by(1000)).collect(),
            )
        }
        _ => None,
    }
}

/// Five seeds of each size.
const CRFM: [&str; 10] = [
    "alias-gpt2-small-x21",
    "battlestar-gpt2-small-x49",
    "caprica-gpt2-small-x81",
    "darkmatter-gpt2-small-x343",
    "expanse-gpt2-small-x777",
    "arwen-gpt2-medium-x21",
    "beren-gpt2-medium-x49",
    "celebrimbor-gpt2-medium-x81",
    "durin-gpt2-medium-x343",
    "eowyn-gpt2-medium-x777",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_have_the_checkpoints_that_were_published() {
        for (repository, n, first, some, last) in [
            ("EleutherAI/pythia-70m", 154, "step0", "step512", "step143000"),
            ("EleutherAI/pythia-1.4b-deduped-v0", 143, "step1000", "step2000", "step143000"),
            ("stanford-crfm/alias-gpt2-small-x21", 609, "checkpoint-0", "checkpoint-1950", "checkpoint-400000"),
        ] {
            let revisions = checkpoint_revisions(repository).unwrap();
            assert_eq!(revisions.len(), n);
            assert_eq!((&*revisions[0].0, &*revisions[n - 1].0), (first, last));
            assert!(revisions.iter().any(|(name, _)| name == some));
            assert!(revisions.windows(2).all(|pair| pair[0].1 < pair[1].1));
            assert!(revisions.iter().all(|(name, step)| name.ends_with(&step.to_string())));
        }
        assert_eq!(checkpoint_revisions("NeelNanda/SoLU_1L512W_C4_Code"), None);
        assert_eq!(checkpoint_revisions("pythia-70m"), None);
    }
}
