//! `[start]`: a training that begins with weights from elsewhere: another run's, a program's, a lottery ticket's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ontogeny_graph::{Purpose, Stream};
use ontogeny_observe::{EraseConfig, Subject};
use ontogeny_store::{Place, RunFolder, Tensor, hash_tensors};
use ontogeny_zoo::{Model, TaskConfig, copy_head, permute_heads, rewind, ticket};
use serde::{Deserialize, Serialize};

use crate::start_heads::{HeadStart, HeadsOf};
use crate::{RunFile, Source, StudyError, import, training};

/// Settings of `[start]`. The optimiser starts anew; learning rate and steps are those of this run.
///
/// The weights are those of `run` or `compiled`, else those that the seed gives; then `heads` are changed, then
/// `erase` is folded into a layer, then `prune` takes weights away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartConfig {
    /// Folder of another run of the same network, relative to the run file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<PathBuf>,
    /// Instead of a run: the weights to which the program of a task of kind `compiled` is compiled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compiled: bool,
    /// Step of the run's checkpoint; the end of its training unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// What is erased from the activations of a layer, in its weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erase: Option<EraseConfig>,
    /// A lottery ticket: which weights are 0, now and during the training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune: Option<PruneConfig>,
    /// Attention heads that start otherwise: `{ l0h1 = 7 }` as the seed 7 gives them, `{ l0 = [2, 0, 1] }` in this order.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub heads: BTreeMap<String, HeadStart>,
}

/// `prune = { keep = 0.2 }`: magnitude pruning by layer (Frankle & Carbin 2019).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PruneConfig {
    /// Share of each parameter that is kept, above 0, at most 1: the weights of largest magnitude.
    pub keep: f64,
    /// Folder of the run whose weights are compared; that of `[start]` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<PathBuf>,
    /// Step of its checkpoint; the end of its training unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// Instead of a run: a seed that chooses at random, for a mask of the same size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random: Option<u32>,
    /// Drops the weights of largest magnitude instead of the smallest: what a ticket would live on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drop_largest: bool,
    /// Parameters that are kept whole beside biases and norms, named as in `train.no_decay`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
}

/// Weights to start from, and what tells them apart from all others.
#[derive(Debug, Clone)]
pub(crate) struct StartWeights {
    pub(crate) weights: Vec<f32>,
    /// Weights that are trained, where not all of them are.
    pub(crate) is_trained: Option<Vec<bool>>,
    pub(crate) hash: String,
}

impl StartConfig {
    /// Reads the weights; `folder` is that of the run file. Steps that were not given are from now on those that were found.
    ///
    /// # Errors
    /// No such run or checkpoint, or one of another network.
    pub(crate) fn weights(
        &mut self,
        config: &TaskConfig,
        subject: &Subject<'_>,
        folder: &Path,
    ) -> Result<StartWeights, StudyError> {
        let Subject { model, seed, .. } = *subject;
        let (mut weights, mut hash) = self.base(config, (model, seed), folder)?;
        let mut is_trained = None;
        for (name, change) in &self.heads {
            change_head(name, change, model, &mut weights)?;
        }
        if let Some(erase) = &self.erase {
            weights = erase.erase(subject, &weights).map_err(|error| wrong(error.to_string()))?;
        }
        if let Some(prune) = &mut self.prune {
            let mask = prune.mask(model, self.run.as_deref(), folder)?;
            weights = rewind(&weights, &mask);
            is_trained = Some(mask);
        }
        if !self.heads.is_empty() || self.erase.is_some() || is_trained.is_some() {
            let mut hasher = blake3::Hasher::new();
            for weight in &weights {
                hasher.update(&weight.to_le_bytes());
            }
            for &is_trained in is_trained.iter().flatten() {
                hasher.update(&[u8::from(is_trained)]);
            }
            hash = hasher.finalize().to_hex().to_string();
        }
        Ok(StartWeights { weights, is_trained, hash })
    }

    /// The weights before heads are changed and weights taken away, and their hash.
    fn base(
        &mut self,
        task: &TaskConfig,
        (model, seed): (&Model, u32),
        folder: &Path,
    ) -> Result<(Vec<f32>, String), StudyError> {
        let own_hash = |weights: &[f32]| {
            let bytes: Vec<u8> = weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
            blake3::hash(&bytes).to_hex().to_string()
        };
        match (&self.run, self.compiled) {
            (Some(run), false) => read(run, &mut self.step, model, folder),
            (None, true) if self.step.is_none() => {
                let weights = task.compiled_weights(model).map_err(|error| wrong(error.to_string()))?;
                let hash = own_hash(&weights);
                Ok((weights, hash))
            }
            (None, false)
                if self.step.is_none() && (self.prune.is_some() || self.erase.is_some() || !self.heads.is_empty()) =>
            {
                let weights = model.initial_weights(seed);
                let hash = own_hash(&weights);
                Ok((weights, hash))
            }
            _ => Err(wrong(
                "expected `run`, with or without `step`, or `compiled = true`, or `prune`, `erase` or `heads`"
                    .to_owned(),
            )),
        }
    }
}

impl PruneConfig {
    /// True where a weight is kept.
    fn mask(&mut self, model: &Model, start: Option<&Path>, folder: &Path) -> Result<Vec<bool>, StudyError> {
        let compared = match (self.run.as_deref(), self.random) {
            (None, Some(seed)) if self.step.is_none() => {
                let mut random = vec![0.0; model.space().len()];
                Stream::new(seed, Purpose::Resampling, 0).normals(0, 0, &mut random);
                random
            }
            (run, None) => {
                let run = run.or(start).ok_or_else(|| {
                    wrong(
                        "`prune` has nothing to compare; expected its `run` or `random`, or `run` beside it".to_owned(),
                    )
                })?;
                read(run, &mut self.step, model, folder)?.0
            }
            _ => return Err(wrong("`prune` is given `random` and a run or a step; expected one of them".to_owned())),
        };
        let mut compared = compared;
        if self.drop_largest {
            // The largest are now the smallest; those that are 0 stay, whatever else goes.
            for weight in &mut compared {
                *weight = 1.0 / weight.abs();
            }
        }
        Ok(ticket(model.space(), &compared, self.keep, &self.except)?)
    }
}

/// Reads a checkpoint of the run in `named`, relative to `folder`, and fixes its step.
fn read(named: &Path, step: &mut Option<u64>, model: &Model, folder: &Path) -> Result<(Vec<f32>, String), StudyError> {
    let run = RunFolder::open(Place::local(folder.join(named))).map_err(|error| wrong(error.to_string()))?;
    let steps = run.checkpoint_steps().map_err(StudyError::Io)?;
    let known = steps.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if steps.is_empty() {
        return Err(wrong(format!("`run = \"{}\"` has no checkpoints yet; run its file first", named.display())));
    }
    let chosen = match *step {
        Some(step) if steps.contains(&step) => step,
        Some(step) => return Err(wrong(format!("`step` is {step}; the run has checkpoints at {known}"))),
        None => {
            // Not the newest checkpoint: a training that is still going on would soon have another.
            let end = end_of(&run)?;
            if !steps.contains(&end) {
                return Err(wrong(format!(
                    "`run = \"{}\"` has not been trained to its end, step {end}; run its file to the end, or name a `step`: it \
                     has checkpoints at {known}",
                    named.display()
                )));
            }
            end
        }
    };
    *step = Some(chosen);
    let tensors: Vec<Tensor> = run.read_checkpoint(chosen).map_err(|error| wrong(error.to_string()))?.tensors;
    let weights = import::flat(model, chosen, &tensors).map_err(|error| {
        wrong(format!("{error}; expected a run of the network that [network] describes, on a task of the same shape"))
    })?;
    Ok((weights, hash_tensors(&tensors)))
}

/// The last step of a run's training, which its folder keeps for good: a longer training is another run.
fn end_of(run: &RunFolder) -> Result<u64, StudyError> {
    let file = RunFile::from_manifest(run.manifest().configuration.clone());
    match file.map_err(|error| wrong(format!("{error}; name a `step`")))?.source {
        Source::Train(train) => Ok(training::progress(run, &train)?.end.unwrap_or(train.steps)),
        Source::Import(_) => Err(wrong("`run` is an import, which has no end; name a `step`".to_owned())),
    }
}

fn change_head(name: &str, change: &HeadStart, model: &Model, weights: &mut [f32]) -> Result<(), StudyError> {
    let failed = |error: ontogeny_zoo::HeadError| wrong(format!("`heads.{name}`: {error}"));
    match (HeadsOf::parse(name), change) {
        (Some(HeadsOf::Head { block, head }), HeadStart::Seed(seed)) => {
            let fresh = model.initial_weights(*seed);
            copy_head(model.space(), block, (head, &fresh), (head, weights)).map_err(failed)
        }
        (Some(HeadsOf::Block(block)), HeadStart::Order(order)) => {
            permute_heads(model.space(), block, order, weights).map_err(failed)
        }
        _ => {
            let expected = "a head such as `l0h1` with a seed, or a block such as `l0` with an order of its heads";
            Err(wrong(format!("`heads.{name}` is {change}; expected {expected}")))
        }
    }
}

fn wrong(message: String) -> StudyError {
    StudyError::Start(message)
}
