//! Which files a series of imported checkpoints is of, and at which steps they stand.

use std::path::{Path, PathBuf};

use ontogeny_zoo::{CheckpointFiles, checkpoint_files};
use regex_lite::Regex;

use crate::StudyError;
use crate::sections::{ImportConfig, StepRule, resolve};

/// A checkpoint of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundCheckpoint {
    pub(crate) step: u64,
    pub(crate) files: CheckpointFiles,
}

/// The checkpoints of an import, by step.
///
/// # Errors
/// No such file, a name without a step, or two checkpoints of one step.
pub(crate) fn find(config: &ImportConfig, folder: &Path) -> Result<Vec<FoundCheckpoint>, StudyError> {
    let mut entries = Vec::new();
    for pattern in config.checkpoints.iter().flat_map(|paths| &paths.0) {
        entries.extend(matching(&resolve(folder, pattern))?);
    }
    // The weights in the network's own file.
    if let (None, Some(network)) = (&config.checkpoints, config.onnx()) {
        entries.extend(matching(&resolve(folder, network))?);
    }
    let rule = match &config.step {
        Some(StepRule::Number(step)) if entries.len() == 1 => Rule::Fixed(*step),
        Some(StepRule::Number(step)) => {
            let message = format!(
                "`step` is the number {step}, but `checkpoints` matches {} files; give a regular expression such as \
                 \"step_(\\\\d+)\"",
                entries.len()
            );
            return Err(StudyError::Import(message));
        }
        Some(StepRule::Numbers(steps)) if steps.len() == entries.len() => Rule::Listed(steps),
        Some(StepRule::Numbers(steps)) => {
            let message =
                format!("`step` lists {} steps, but `checkpoints` matches {} files", steps.len(), entries.len());
            return Err(StudyError::Import(message));
        }
        Some(StepRule::Pattern(pattern)) => Rule::Matched(step_pattern(pattern)?),
        None if config.checkpoints.is_none() => Rule::Fixed(0),
        None => Rule::Usual,
    };
    let mut found: Vec<FoundCheckpoint> = Vec::new();
    for (number, Entry { name, files }) in entries.into_iter().enumerate() {
        let step = rule.step(&name, number)?;
        if let Some(other) = found.iter().find(|other| other.step == step) {
            let (a, b) = (other.files.main.display(), files.main.display());
            return Err(StudyError::Import(format!("`{a}` and `{b}` both have step {step}")));
        }
        found.push(FoundCheckpoint { step, files });
    }
    found.sort_by_key(|checkpoint| checkpoint.step);
    Ok(found)
}

/// A checkpoint before its step is known.
struct Entry {
    /// What its step is read from: the name of the file, or of the folder of a checkpoint that is a folder.
    name: String,
    files: CheckpointFiles,
}

enum Rule<'a> {
    Fixed(u64),
    Listed(&'a [u64]),
    Matched(Regex),
    /// [`step_in_name`].
    Usual,
}

impl Rule<'_> {
    /// The step of the checkpoint that has this name, and this number in the order of the list.
    fn step(&self, name: &str, number: usize) -> Result<u64, StudyError> {
        match self {
            Self::Fixed(step) => Ok(*step),
            Self::Listed(steps) => Ok(steps[number]),
            Self::Matched(regex) => {
                let digits = regex.captures(name).and_then(|captures| captures.get(1)).ok_or_else(|| {
                    StudyError::Import(format!("`{name}` does not match `step = \"{regex}\"`; every file needs a step"))
                })?;
                digits.as_str().parse().map_err(|_| {
                    StudyError::Import(format!("`{}` in `{name}` is no step: expected a whole number", digits.as_str()))
                })
            }
            Self::Usual => step_in_name(name).ok_or_else(|| {
                StudyError::Import(format!(
                    "`{name}` does not say its step: expected a number after `step`, `checkpoint`, `ckpt`, `iter` or `epoch`, or the \
                     only number of the name; give `step`, the number of a single checkpoint or a regular expression with one group"
                ))
            }),
        }
    }
}

/// The number after the last of the words `step`, `checkpoint`, `ckpt`, `iter`, `iteration` and `epoch` in a name, with or
/// without `-`, `_`, `=` or `.` between; of a name without them, its only number. Letters that follow (`260K`) make a number
/// none. What the name ends in (`.pt`) does not count.
pub(crate) fn step_in_name(name: &str) -> Option<u64> {
    let stem = WEIGHT_SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    let bytes = stem.as_bytes();
    let (mut numbers, mut named, mut at) = (Vec::new(), None, 0);
    while at < bytes.len() {
        let n_digits = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if n_digits == 0 {
            at += 1;
            continue;
        }
        let digits = &stem[at..at + n_digits];
        let is_whole = bytes.get(at + n_digits).is_none_or(|next| !next.is_ascii_alphabetic());
        let before = stem[..at].trim_end_matches(['-', '_', '=', '.']).to_ascii_lowercase();
        at += n_digits;
        if is_whole {
            numbers.push(digits);
            if STEP_WORDS.iter().any(|word| before.ends_with(word)) {
                named = Some(digits);
            }
        }
    }
    match (named, numbers.as_slice()) {
        (Some(digits), _) => digits.parse().ok(),
        (None, [digits]) => digits.parse().ok(),
        _ => None,
    }
}

const STEP_WORDS: [&str; 6] = ["step", "checkpoint", "ckpt", "iter", "iteration", "epoch"];

/// What names of files of weights end in.
const WEIGHT_SUFFIXES: [&str; 5] = [".safetensors", ".pt", ".pth", ".npz", ".bin"];

fn step_pattern(pattern: &str) -> Result<Regex, StudyError> {
    let regex = Regex::new(pattern)
        .map_err(|error| StudyError::Import(format!("`step = \"{pattern}\"` is no regular expression: {error}")))?;
    if regex.captures_len() != 2 {
        let message = format!(
            "`step = \"{pattern}\"` has {} groups; expected one, around the step",
            regex.captures_len().saturating_sub(1)
        );
        return Err(StudyError::Import(message));
    }
    Ok(regex)
}

/// The checkpoints that a path or a glob stands for, sorted by path.
fn matching(pattern: &Path) -> Result<Vec<Entry>, StudyError> {
    if pattern.exists() {
        let entries = of_path(pattern)?;
        return if entries.is_empty() { Err(no_checkpoint(pattern)) } else { Ok(entries) };
    }
    let text = pattern.to_string_lossy();
    let paths = glob::glob(&text)
        .map_err(|error| StudyError::Import(format!("`checkpoints = \"{text}\"` is no glob: {error}")))?;
    let mut matched = paths.collect::<Result<Vec<_>, _>>().map_err(|error| StudyError::Io(error.into()))?;
    matched.sort();
    let mut entries = Vec::new();
    for path in matched {
        entries.extend(of_one(&path)?);
    }
    if entries.is_empty() {
        return Err(StudyError::Import(format!("no file matches `{text}`; paths are relative to the run file")));
    }
    Ok(entries)
}

/// A file is a checkpoint, a folder with `model.safetensors` or the like is one, any other folder is a series of them.
fn of_path(path: &Path) -> Result<Vec<Entry>, StudyError> {
    if let Some(entry) = of_one(path)? {
        return Ok(vec![entry]);
    }
    if !path.is_dir() {
        return Ok(Vec::new());
    }
    let mut inside = Vec::new();
    for entry in fs_err::read_dir(path).map_err(StudyError::Io)? {
        inside.push(entry.map_err(StudyError::Io)?.path());
    }
    inside.sort();
    let mut entries = Vec::new();
    for path in inside {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() || WEIGHT_SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
            entries.extend(of_one(&path)?);
        }
    }
    Ok(entries)
}

fn of_one(path: &Path) -> Result<Option<Entry>, StudyError> {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if path.is_file() {
        let files = CheckpointFiles { main: real(path)?, shards: Vec::new() };
        return Ok(Some(Entry { name: name(path), files }));
    }
    if !path.is_dir() {
        return Ok(None);
    }
    let folder = fs_err::canonicalize(path).map_err(StudyError::Io)?;
    Ok(checkpoint_files(&folder)?.map(|files| Entry { name: name(&folder), files }))
}

/// An absolute path of a file under its own name: what a link points at may be called anything.
fn real(path: &Path) -> Result<PathBuf, StudyError> {
    let folder = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    let folder = fs_err::canonicalize(folder).map_err(StudyError::Io)?;
    Ok(folder.join(path.file_name().unwrap_or_default()))
}

fn no_checkpoint(folder: &Path) -> StudyError {
    StudyError::Import(format!(
        "`{}` holds no checkpoint: expected model.safetensors, model.safetensors.index.json, pytorch_model.bin or \
         pytorch_model.bin.index.json in it or in its folders, or files of weights (.safetensors, .pt, .pth, .npz, .bin)",
        folder.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_stand_in_the_usual_names() {
        for (name, step) in [
            ("step1000", Some(1000)),
            ("checkpoint-500", Some(500)),
            ("global_step_12", Some(12)),
            ("pythia-70m-step143000", Some(143_000)),
            ("model_step_00500.pt", Some(500)),
            ("step-00001200.safetensors", Some(1200)),
            ("Epoch=3.ckpt.pt", Some(3)),
            ("epoch3-step40.pth", Some(40)),
            ("0.pth", Some(0)),
            ("model-17.bin", Some(17)),
            ("model_final_20251125_040322.pt", None),
            ("stories260K.bin", None),
            ("pythia-70m", None),
            ("step99999999999999999999", None),
            ("weights.pt", None),
        ] {
            assert_eq!(step_in_name(name), step, "{name}");
        }
    }
}
