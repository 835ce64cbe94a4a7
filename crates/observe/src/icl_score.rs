//! In-context learning: how much lower the loss is late in a sequence than early in it.

use ontogeny_graph::{ColumnData, DataSet};
use ontogeny_zoo::{Interface, Read};
use serde::{Deserialize, Serialize};

use crate::measured::mean_and_error;
use crate::sequences::{not_defined, split_of};
use crate::{Checkpoint, Findings, Instrument, Measured, ObserveError, OutputReader, Outputs, Settings, Subject};

/// Version of the numbers of `icl_score`.
pub(crate) const ICL_SCORE_VERSION: u32 = 1;

const OBSERVABLE: &str = "icl_score";

/// Sequences where the settings do not say how many.
const EXAMPLES: usize = 4096;

/// The tokens of Olsson et al. (2022), of 512.
const EARLY: f64 = 50.0;
const LATE: f64 = 500.0;
const CONTEXT: f64 = 512.0;

/// Settings of `observable = "icl_score"`.
///
/// The in-context learning score is the mean loss of the token number `late` of the sequences minus that of the token number `early`
/// (Olsson et al. 2022: the 500th and the 50th of 512), so that **negative means learning in context**; who writes ℓ(k₁) − ℓ(k₂) with
/// the early index first (Hoogland et al. 2024) has the other sign. Tokens are counted from 1, and the first has no prediction; of
/// pairs (x, y) it is the pairs that are counted.
///
/// Value: `[score]` with `icl`, `early` and `late`, the two losses, with standard errors over the sequences (of the difference: of
/// the differences within them). The array `by_position` has the mean loss of each position, `by_position_error` its standard error.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IclScoreSettings {
    /// Number of the early token; 50/512 of the sequence unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early: Option<usize>,
    /// Number of the late token; 500/512 of the sequence unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late: Option<usize>,
    /// On which split; `even`, else `test`, else `train` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Of the split's first so many sequences; 4096 unless given, or all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub examples: Option<usize>,
}

impl Settings for IclScoreSettings {
    fn build(&self, subject: &Subject<'_>) -> Result<Box<dyn Instrument>, ObserveError> {
        let interface = subject.model.interface();
        let n_answers = interface.answers();
        // Number of the first position with a loss, distance to the next, and of the last.
        let (first, every, length) = match interface {
            Interface::Tokens { length, read: Read::Tokens { from, every, .. }, .. } => (from + 1, every, length),
            Interface::Pairs { pairs, .. } => (1, 1, pairs),
            _ => {
                let needs = "a network that predicts several tokens, or pairs, of each sequence";
                return Err(not_defined(OBSERVABLE, needs, "one prediction for each example"));
            }
        };
        let split = split_of(subject.task, self.split.as_deref())?;
        let n = self.examples.unwrap_or(EXAMPLES).min(split.data.len());
        if n < 2 {
            return Err(ObserveError::Setting(format!(
                "`examples` leaves {n} sequences; expected at least 2, for an error"
            )));
        }
        let data = split.data.rows(&(0..n).collect::<Vec<usize>>());
        let weights = weights(&data);
        let counted = |answer: usize| {
            let of = |row: &usize| weights.as_ref().is_none_or(|weights| weights[row * n_answers + answer] > 0.0);
            (0..n).filter(of).count()
        };
        let numbers: Vec<usize> = (0..n_answers).map(|answer| first + every * answer).collect();
        let kept: Vec<usize> = (0..n_answers).filter(|&answer| counted(answer) >= 2).collect();
        let scaled = |of: f64| ((of / CONTEXT * length as f64).round() as usize).max(1);
        // The kept position that is nearest to where Olsson's would be, or the one that is asked for.
        let place = |key: &str, asked: Option<usize>, default: usize| match asked {
            Some(number) => kept.iter().position(|&answer| numbers[answer] == number).ok_or_else(|| {
                let [low, high] = [kept.first(), kept.last()].map(|answer| answer.map_or(0, |&answer| numbers[answer]));
                let found = format!("`{key}` is {number}, which has no loss");
                ObserveError::Setting(format!(
                    "{found}; expected a predicted position from {low} to {high}, in steps of {every}"
                ))
            }),
            None => (0..kept.len())
                .min_by_key(|&at| numbers[kept[at]].abs_diff(default))
                .ok_or_else(|| not_defined(OBSERVABLE, "positions that count in two sequences and more", "none")),
        };
        let early = place("early", self.early, scaled(EARLY))?;
        let late = place("late", self.late, scaled(LATE))?;
        if early >= late {
            let [early, late] = [early, late].map(|at| numbers[kept[at]]);
            return Err(ObserveError::Setting(format!(
                "`early` is {early} and `late` is {late}; expected an early position before a late one"
            )));
        }
        let labels = kept.iter().map(|&answer| numbers[answer].to_string()).collect();
        let reader = OutputReader::new(subject.model, data, Outputs::Losses)?;
        let unit = interface.loss_unit();
        Ok(Box::new(IclScore { reader, weights, kept, labels, early, late, unit }))
    }
}

fn weights(data: &DataSet) -> Option<Vec<f32>> {
    data.columns().iter().find_map(|column| match &column.data {
        ColumnData::Float(floats) if column.name == "weights" => Some(floats.clone()),
        _ => None,
    })
}

struct IclScore {
    reader: OutputReader,
    /// What each answer counts, where that differs.
    weights: Option<Vec<f32>>,
    /// Answers that count somewhere, and their positions.
    kept: Vec<usize>,
    labels: Vec<String>,
    /// Places among `kept`.
    early: usize,
    late: usize,
    unit: &'static str,
}

impl Instrument for IclScore {
    fn dims(&self) -> Vec<(&'static str, Vec<String>)> {
        vec![("score", ["icl", "early", "late"].map(str::to_owned).to_vec())]
    }

    fn measure(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Findings, ObserveError> {
        checkpoint.check_cancelled()?;
        let losses = self.reader.read(checkpoint.weights)?;
        let width = self.reader.width();
        let loss = |row: usize, answer: usize| {
            let at = row * width + answer;
            let counts = self.weights.as_ref().is_none_or(|weights| weights[at] > 0.0);
            counts.then(|| f64::from(losses[at]))
        };
        let rows = 0..self.reader.n_examples();
        let of = |answer: usize| mean_and_error(rows.clone().filter_map(|row| loss(row, answer)));
        let (means, errors): (Vec<f64>, Vec<f64>) = self.kept.iter().map(|&answer| of(answer)).unzip();
        let [early, late] = [self.early, self.late].map(|at| self.kept[at]);
        let differences = rows.clone().filter_map(|row| Some(loss(row, late)? - loss(row, early)?));
        let paired = mean_and_error(differences.clone());
        // Where no sequence counts at both, the two means are of different sequences.
        let error = if differences.count() >= 2 { paired.1 } else { errors[self.early].hypot(errors[self.late]) };
        let difference = means[self.late] - means[self.early];
        let value = Measured {
            unit: self.unit,
            dims: self.dims(),
            values: vec![difference, means[self.early], means[self.late]],
        };
        let standard_errors = Some(vec![error, errors[self.early], errors[self.late]]);
        let number = |at: usize| self.labels[at].parse().unwrap_or(f64::NAN);
        let details = vec![("early_position", number(self.early)), ("late_position", number(self.late))];
        let by_position = |values| Measured { unit: self.unit, dims: vec![("position", self.labels.clone())], values };
        let arrays = vec![("by_position", by_position(means)), ("by_position_error", by_position(errors))];
        Ok(Findings { value, standard_errors, arrays, details, refusal: None })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ontogeny_zoo::{CompiledConfig, Model, Task, TaskConfig};
    use serde_json::{Value, from_value, json};

    use super::*;

    fn prepared(config: &Value) -> Task {
        from_value::<TaskConfig>(config.clone()).unwrap().prepare(0, Path::new(".")).unwrap()
    }

    fn network(task: &Task) -> Model {
        let network = json!({
            "kind": "transformer", "layers": 1, "d_model": 8, "heads": 2, "attention_only": true,
            "normalization": "none", "positions": "learned",
        });
        Model::new(from_value(network).unwrap(), task.interface).unwrap()
    }

    fn build(settings: Value, model: &Model, task: &Task) -> Result<Box<dyn Instrument>, ObserveError> {
        from_value::<IclScoreSettings>(settings).unwrap().build(&Subject { model, task, seed: 0 })
    }

    /// A network that knows nothing but the number of tokens has ln V everywhere: no learning in context, and no error.
    #[test]
    fn a_network_of_zeros_learns_nothing_in_context() {
        let task = prepared(
            &json!({"kind": "repeated_tokens", "vocabulary": 11, "block": 8, "repeats": 2, "predict": "all", "train_examples": 50}),
        );
        let model = network(&task);
        let mut icl = build(json!({}), &model, &task).unwrap();
        let found = icl.measure(&Checkpoint::alone(&vec![0.0; model.space().len()])).unwrap();
        let ln_v = f64::from(
            match model.interface() {
                Interface::Tokens { vocabulary, .. } => vocabulary as f32,
                _ => 0.0,
            }
            .ln(),
        );
        assert!((found.value.values[1] - ln_v).abs() < 1e-6 && found.value.values[0].abs() < 1e-6, "{found:?}");
        assert!(found.standard_errors.unwrap().iter().all(|&error| error < 1e-6));
        // 50/512 and 500/512 of 16, of which the first has no prediction.
        assert_eq!(found.details, [("early_position", 2.0), ("late_position", 16.0)]);
        let (name, by_position) = &found.arrays[0];
        assert_eq!((*name, by_position.values.len(), by_position.dims[0].1[0].as_str()), ("by_position", 15, "2"));
    }

    /// The losses are those of the evaluation, position by position, and the error of the difference is that of its pairs.
    #[test]
    fn positions_are_the_tokens_that_are_predicted() {
        let task = prepared(&json!({"kind": "text", "context": 16, "held_examples": 40, "test_examples": 30}));
        let model = network(&task);
        let weights = model.initial_weights(2);
        let mut icl = build(json!({"early": 3, "late": 9, "split": "test", "examples": 20}), &model, &task).unwrap();
        let found = icl.measure(&Checkpoint::alone(&weights)).unwrap();
        let split = task.split("test").unwrap();
        let data = split.data.rows(&(0..20).collect::<Vec<usize>>());
        let losses = OutputReader::new(&model, data, Outputs::Losses).unwrap().read(&weights).unwrap();
        let at = |row: usize, number: usize| f64::from(losses[row * 15 + number - 2]);
        let differences: Vec<f64> = (0..20).map(|row| at(row, 9) - at(row, 3)).collect();
        let mean = differences.iter().sum::<f64>() / 20.0;
        let deviation = (differences.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 19.0).sqrt();
        assert!((found.value.values[0] - mean).abs() < 1e-12);
        assert!((found.standard_errors.unwrap()[0] - deviation / 20.0_f64.sqrt()).abs() < 1e-12);
        for (settings, expected) in [
            (json!({"early": 1}), "`early` is 1, which has no loss; expected a predicted position from 2 to 16"),
            (json!({"early": 9, "late": 3}), "`early` is 9 and `late` is 3"),
            (json!({"examples": 1}), "leaves 1 sequences; expected at least 2"),
        ] {
            let error = build(settings, &model, &task).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    /// The compiled program of induction knows what follows: its loss is as small as its margin, from the first answer on.
    #[test]
    fn a_perfect_network_has_no_loss_to_lose() {
        let own = json!({"program": "induction", "length": 8, "symbols": 12, "held_examples": 30});
        let compiled = from_value::<CompiledConfig>(own.clone()).unwrap().compile().unwrap();
        let mut config = own;
        config["kind"] = json!("compiled");
        let task = prepared(&config);
        let mut icl = build(json!({}), &compiled.model, &task).unwrap();
        let found = icl.measure(&Checkpoint::alone(&compiled.weights)).unwrap();
        assert!(found.value.values.iter().all(|x| x.abs() < 1e-6), "{found:?}");
    }
}
