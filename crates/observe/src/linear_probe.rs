//! What a linear map can read from activations: cross-validated probes with their controls.

use ontogeny_stats::{Probe, ProbeScore, Question, probe};
use serde::{Deserialize, Serialize};

use crate::activations::ActivationReader;
use crate::probe_labels::{Labelled, ProbeTarget};
use crate::samples::split_of;
use crate::{Checkpoint, Findings, Instrument, Measured, ObserveError, Settings, Subject};

/// Version of the numbers.
pub(crate) const LINEAR_PROBE_VERSION: u32 = 1;

/// Settings of `observable = "linear_probe"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinearProbeSettings {
    /// What is read.
    pub target: ProbeTarget,
    /// How the probe is fitted.
    pub method: ProbeMethod,
    /// What the same probe is asked for as a control.
    pub control: ProbeControl,
    /// Parts that the examples are cut into, each held out once; at least 3.
    pub folds: usize,
    /// Named activations; unless given the residual stream after each block, or the hidden layers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<String>,
    /// Split of the task; `test` unless given, or else `train`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Examples, or positions of sequences, that are read.
    pub samples: usize,
}

/// How a probe is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeMethod {
    /// Least squares with an L2 penalty, in closed form.
    #[default]
    Ridge,
    /// Multinomial logistic regression with an L2 penalty.
    Logistic,
}

/// A control task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeControl {
    /// The labels of other samples.
    #[default]
    Shuffled,
    /// A random label for each token (Hewitt and Liang 2019).
    Tokens,
}

impl Default for LinearProbeSettings {
    fn default() -> Self {
        Self {
            target: ProbeTarget::default(),
            method: ProbeMethod::default(),
            control: ProbeControl::default(),
            folds: FOLDS,
            places: Vec::new(),
            split: None,
            samples: SAMPLES,
        }
    }
}

pub(crate) const FOLDS: usize = 5;
pub(crate) const SAMPLES: usize = 1000;

/// Scores of a place, in the order of the array.
const SCORES: [&str; 3] = ["accuracy", "control", "selectivity"];

const NAME: &str = "linear_probe";

impl From<ProbeMethod> for Probe {
    fn from(method: ProbeMethod) -> Self {
        match method {
            ProbeMethod::Ridge => Self::Ridge,
            ProbeMethod::Logistic => Self::Logistic,
        }
    }
}

impl Settings for LinearProbeSettings {
    fn build(&self, subject: &Subject<'_>) -> Result<Box<dyn Instrument>, ObserveError> {
        let split = split_of(subject.task, self.split.as_deref(), NAME)?;
        let labelled = Labelled::choose(subject, split, self.samples, self.target, NAME)?;
        check_folds(self.folds, &labelled)?;
        let control = match self.control {
            ProbeControl::Shuffled => labelled.shuffled(subject.seed),
            ProbeControl::Tokens => labelled.by_token(subject.seed).ok_or_else(|| ObserveError::NotDefined {
                observable: NAME,
                needs: "samples at two or more different tokens, for control = \"tokens\"".to_owned(),
                found: "none; take control = \"shuffled\"".to_owned(),
            })?,
        };
        let reader = ActivationReader::new(subject.model, &self.places, split, &labelled.samples, NAME)?;
        let folds = labelled.samples.folds(self.folds);
        // One after the other, so that both are answered by one decomposition of the features.
        let questions = labelled.questions.iter().chain(&control).cloned().collect();
        Ok(Box::new(LinearProbe { reader, labelled, questions, folds, method: self.method.into() }))
    }
}

/// Whether each fold has examples.
pub(crate) fn check_folds(folds: usize, labelled: &Labelled) -> Result<(), ObserveError> {
    let n = labelled.samples.examples.len();
    let found = labelled.samples.folds(folds.max(1));
    if folds < 3 || (0..folds).any(|fold| !found.contains(&fold)) {
        let message = format!("`folds` is {folds}; expected 3 to the number of examples, of which there are {n}");
        return Err(ObserveError::Setting(message));
    }
    Ok(())
}

struct LinearProbe {
    reader: ActivationReader,
    labelled: Labelled,
    questions: Vec<Question>,
    folds: Vec<usize>,
    method: Probe,
}

impl Instrument for LinearProbe {
    fn dims(&self) -> Vec<(&'static str, Vec<String>)> {
        vec![("place", self.reader.labels()), ("score", SCORES.map(str::to_owned).to_vec())]
    }

    fn measure(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Findings, ObserveError> {
        let activations = self.reader.read(checkpoint.weights, checkpoint)?;
        let n = self.labelled.questions.len();
        let (mut values, mut errors, mut single, mut majority) = (Vec::new(), Vec::new(), Vec::new(), 0.0);
        for (at, x) in activations.iter().enumerate() {
            checkpoint.check_cancelled()?;
            let scores = probe(x, &self.questions, &self.folds, self.method)?;
            let (own, control) = scores.split_at(n);
            let mean =
                |scores: &[ProbeScore], of: fn(&ProbeScore) -> f64| scores.iter().map(of).sum::<f64>() / n as f64;
            let [accuracy, control_accuracy] = [own, control].map(|scores| mean(scores, |score| score.accuracy));
            // Squares of one board are wrong together: their errors are not averaged away.
            let [error, control_error] = [own, control].map(|scores| mean(scores, |score| score.standard_error));
            values.extend([accuracy, control_accuracy, accuracy - control_accuracy]);
            // The same at every place: it depends on the samples alone.
            majority = mean(own, |score| score.majority);
            errors.extend([error, control_error, error.hypot(control_error)]);
            single.extend(own.iter().map(|score| score.accuracy));
            (checkpoint.progress)((at + 1) as f64 / activations.len() as f64);
        }
        let dims = vec![("place", self.reader.labels()), ("question", self.labelled.names.clone())];
        Ok(Findings {
            value: Measured { unit: "1", dims: self.dims(), values },
            standard_errors: Some(errors),
            arrays: vec![("accuracy_of", Measured { unit: "1", dims, values: single })],
            details: vec![
                ("majority", majority),
                ("samples", self.folds.len() as f64),
                ("classes", self.labelled.questions[0].n_classes as f64),
                ("left_out", self.labelled.n_left_out as f64),
            ],
            refusal: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ontogeny_zoo::{CompiledConfig, Model, NetworkConfig, TaskConfig};
    use serde_json::{from_value, json};

    use super::*;

    fn find(
        task: serde_json::Value,
        network: serde_json::Value,
        settings: serde_json::Value,
    ) -> Result<Findings, String> {
        let task: TaskConfig = from_value(task).unwrap();
        let network: NetworkConfig = from_value(network).unwrap();
        let task = task.prepare(3, Path::new(".")).unwrap();
        let model = Model::new(network, task.interface).unwrap();
        let subject = Subject { model: &model, task: &task, seed: 1 };
        let settings: LinearProbeSettings = from_value(settings).map_err(|error| error.to_string())?;
        let mut instrument = settings.build(&subject).map_err(|error| error.to_string())?;
        let weights = model.initial_weights(4);
        let found = instrument.measure(&Checkpoint::alone(&weights)).unwrap();
        assert_eq!(found.value.dims, instrument.dims());
        Ok(found)
    }

    fn transformer(layers: usize) -> serde_json::Value {
        json!({
            "kind": "transformer", "layers": layers, "d_model": 32, "heads": 2, "attention_only": true,
            "normalization": "none", "positions": "learned",
        })
    }

    const REPEATS: &str = "repeated_tokens";

    /// The embedding of a token is in the stream, so that a linear map reads it; a random next token is not there. Standard errors
    /// of √(p(1 − p)/n), p the share that is right.
    #[test]
    fn tokens_are_read_from_the_stream_and_random_ones_are_not() {
        let task = || json!({ "kind": REPEATS, "vocabulary": 8, "block": 20, "repeats": 2, "train_examples": 1000 });
        let found = find(task(), transformer(2), json!({"target": "token", "split": "train"})).unwrap();
        // The wide random stream holds other things too; eight embeddings of 32 dimensions stand apart all the same.
        assert!(found.value.values[0] > 0.95 && found.value.values[3] > 0.95, "{:?}", found.value.values);
        let chance = 1.0 / 8.0;
        let error = (chance * (1.0 - chance) / 1000.0_f64).sqrt();
        assert!((found.value.values[1] - chance).abs() < 4.0 * error, "{:?}", found.value.values);
        let by_token = json!({"target": "token", "split": "train", "control": "tokens"});
        let found = find(task(), transformer(2), by_token).unwrap();
        // Whoever reads tokens reads any function of them: no selectivity.
        assert!(found.value.values[2].abs() < 0.05, "{:?}", found.value.values);
        let logistic = json!({"target": "token", "split": "train", "method": "logistic", "samples": 400});
        let found = find(task(), transformer(1), logistic).unwrap();
        assert!(found.value.values[0] > 0.95, "{:?}", found.value.values);
    }

    #[test]
    fn sub_tasks_and_labels_are_known_by_their_task() {
        let task = || {
            json!({
                "kind": "sparse_parity", "bits": 12, "subset": 3, "tasks": 4, "zipf_exponent": 0.0, "train_examples": 1200,
            })
        };
        let network = || json!({"kind": "mlp", "sizes": [16, 64, 2], "activation": "relu"});
        let found = find(task(), network(), json!({"target": "subtask", "split": "train"})).unwrap();
        assert!(found.value.values[0] > 0.97, "{:?}", found.value.values);
        // The parity of three bits is no linear function of random features to speak of.
        let found = find(task(), network(), json!({"target": "label", "split": "train"})).unwrap();
        assert!((found.value.values[0] - 0.5).abs() < 0.1, "{:?}", found.value.values);
        assert!(found.standard_errors.unwrap()[0] < 0.05);
        let error = find(task(), network(), json!({"target": "token"})).unwrap_err();
        assert!(error.contains("a network that reads tokens"), "{error}");
        let error = find(task(), network(), json!({"folds": 2})).unwrap_err();
        assert!(error.contains("`folds` is 2"), "{error}");
        let error = find(task(), network(), json!({"control": "tokens"})).unwrap_err();
        assert!(error.contains("take control = \"shuffled\""), "{error}");
        assert!(find(task(), network(), json!({"folder": 2})).unwrap_err().contains("unknown field"));
    }

    /// A square of the board is read from the moves themselves as far as a sum over moves knows it.
    #[test]
    fn boards_of_games_are_asked_square_by_square() {
        let task = json!({"kind": "tic_tac_toe"});
        let found = find(task, transformer(1), json!({"target": "board", "samples": 500})).unwrap();
        assert_eq!(found.arrays[0].1.dims[1].1.len(), 9);
        let [accuracy, control, selectivity] = found.value.values[..] else { panic!("one place") };
        let majority = found.details[0].1;
        assert!(accuracy > majority && (selectivity - (accuracy - control)).abs() < 1e-12, "{:?}", found.value.values);
        let othello = json!({"kind": "othello", "train_examples": 50, "held_examples": 200});
        let found = find(othello, transformer(1), json!({"target": "board", "samples": 300})).unwrap();
        assert_eq!((found.arrays[0].1.dims[1].1.len(), found.details[2]), (64, ("classes", 3.0)));
        // A task of as many tokens that is no game.
        let task = json!({ "kind": REPEATS, "vocabulary": 12, "block": 3, "repeats": 3, "train_examples": 30 });
        let error = find(task, transformer(1), json!({"target": "board"})).unwrap_err();
        assert!(error.contains("games of `othello` or `tic_tac_toe`"), "{error}");
    }

    /// In a compiled program what each place of the stream holds is known exactly (Lindner et al. 2023).
    #[test]
    fn a_compiled_program_holds_the_previous_token_after_its_first_block_and_not_before() {
        let config: CompiledConfig =
            from_value(json!({"program": "induction", "length": 10, "symbols": 6, "held_examples": 800})).unwrap();
        let compiled = config.compile().unwrap();
        let task: TaskConfig = from_value(
            json!({"kind": "compiled", "program": "induction", "length": 10, "symbols": 6, "held_examples": 800}),
        )
        .unwrap();
        let task = task.prepare(3, Path::new(".")).unwrap();
        let subject = Subject { model: &compiled.model, task: &task, seed: 1 };
        let settings: LinearProbeSettings = from_value(json!({
            "target": "previous_token", "samples": 800,
            "places": ["blocks.0.hook_resid_pre", "blocks.0.hook_resid_post"],
        }))
        .unwrap();
        let found = settings.build(&subject).unwrap().measure(&Checkpoint::alone(&compiled.weights)).unwrap();
        let [before, _, _, after, _, _] = found.value.values[..] else { panic!("two places, three scores") };
        let majority = found.details[0].1;
        assert!(after > 0.99, "{:?}", found.value.values);
        assert!(before < 0.5 && majority < 0.5, "{:?}", found.value.values);
    }
}
