//! How near a language model's predictions are to those of n-grams: which tokens before it uses.

use std::sync::Arc;

use ontogeny_zoo::{Interface, NgramModel, Read};
use serde::{Deserialize, Serialize};

use crate::measured::mean_and_error;
use crate::sequences::{SequenceReader, not_defined, split_of, token_interface, tokens_of};
use crate::{Checkpoint, Findings, Instrument, Measured, ObserveError, Settings, Subject};

/// Version of the numbers of `ngrams`.
pub(crate) const NGRAMS_VERSION: u32 = 1;

const OBSERVABLE: &str = "ngrams";

/// Predictors, by the number of tokens that they see.
const PREDICTORS: [&str; 3] = ["unigram", "bigram", "trigram"];

/// Sequences where the settings do not say how many.
const EXAMPLES: usize = 64;

/// Settings of `observable = "ngrams"`.
///
/// Unigrams, bigrams and trigrams are counted in the text that is trained on (its sequences where the task has no text; of training
/// without end the fixed sample `train`), with the smoothing of Witten and Bell ([`NgramModel`]). With p the probabilities of such a
/// predictor and q those of the network, at the same places and after the same tokens,
///
/// | quantity | is the mean over all places with two tokens and more before them of |
/// |---|---|
/// | `divergence_bigram` | the Kullback–Leibler divergence Σ p ln(p/q), nats; 0 where the network is that predictor |
/// | `agreement_bigram` | whether the likeliest token is the same, 0 or 1 |
///
/// and so on, with standard errors over the sequences. The details have the cross-entropy of each predictor and of the network on the
/// same tokens (`cross_entropy_bigram`, `cross_entropy_network`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NgramsSettings {
    /// On which split; `even`, else `test`, else `train` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Of the split's first so many sequences; 64 unless given, or all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub examples: Option<usize>,
}

/// What a predictor says at one place.
#[derive(Debug, Clone, Copy)]
struct Said {
    /// Σ p ln p.
    negative_entropy: f64,
    likeliest: usize,
}

impl Settings for NgramsSettings {
    fn build(&self, subject: &Subject<'_>) -> Result<Box<dyn Instrument>, ObserveError> {
        let (vocabulary, length) = token_interface(subject.model, OBSERVABLE)?;
        let Interface::Tokens { read: Read::Tokens { from, every, .. }, .. } = subject.model.interface() else {
            let needs = "a network that predicts the tokens of its sequences";
            return Err(not_defined(OBSERVABLE, needs, "one answer for each sequence"));
        };
        let without = |name: &str| not_defined(OBSERVABLE, "sequences of tokens", format!("a split `{name}` without"));
        let corpus: Arc<[i32]> = if let Some(corpus) = &subject.task.corpus {
            Arc::clone(corpus)
        } else {
            let train = split_of(subject.task, Some("train"))?;
            tokens_of(train).ok_or_else(|| without("train"))?.into()
        };
        let stretch = if subject.task.corpus.is_some() { corpus.len().max(1) } else { length };
        let predictor = NgramModel::of_sequences(&corpus.chunks(stretch), PREDICTORS.len() - 1, vocabulary);
        let split = split_of(subject.task, self.split.as_deref())?;
        let tokens = tokens_of(split).ok_or_else(|| without(split.name))?;
        if crate::evaluate::floats(&split.data, "weights").is_some_and(|weights| weights.contains(&0.0)) {
            let needs = "sequences whose tokens all count in the loss";
            return Err(not_defined(OBSERVABLE, needs, "some that do not, such as padding"));
        }
        let n = self.examples.unwrap_or(EXAMPLES).min(split.data.len());
        if n < 2 {
            return Err(ObserveError::Setting(format!(
                "`examples` leaves {n} sequences; expected at least 2, for an error"
            )));
        }
        let sequences = tokens[..n * length].to_vec();
        let n_answers = subject.model.interface().answers();
        let places: Vec<(usize, usize)> =
            (0..n_answers).map(|answer| (answer, from + every * answer)).filter(|(_, place)| *place >= 2).collect();
        if places.is_empty() {
            let needs = "predictions with two tokens and more before them";
            return Err(not_defined(OBSERVABLE, needs, format!("sequences of {length}")));
        }
        let (mut said, mut losses) = (Vec::new(), [0.0; PREDICTORS.len()]);
        for row in sequences.chunks_exact(length) {
            for &(_, place) in &places {
                for (order, loss) in losses.iter_mut().enumerate() {
                    let p = predictor.distribution(&row[place - order..place]);
                    *loss -= p[row[place] as usize].ln();
                    let likeliest = (0..p.len()).fold(0, |best, at| if p[at] > p[best] { at } else { best });
                    said.push(Said { negative_entropy: p.iter().map(|p| p * p.ln()).sum(), likeliest });
                }
            }
        }
        let n_places = (n * places.len()) as f64;
        let cross_entropies = losses.map(|loss| loss / n_places);
        let reader = SequenceReader::new(subject.model, OBSERVABLE, n, |graph| {
            let answers = graph.find("answers")?;
            Ok(vec![(LOG_PROBABILITIES.to_owned(), graph.log_softmax(answers))])
        })?;
        Ok(Box::new(Ngrams { reader, predictor, sequences, places, said, cross_entropies, vocabulary }))
    }
}

const LOG_PROBABILITIES: &str = "log probabilities";

struct Ngrams {
    reader: SequenceReader,
    predictor: NgramModel,
    sequences: Vec<i32>,
    /// Number of the answer and place of its token.
    places: Vec<(usize, usize)>,
    /// By sequence, place and predictor.
    said: Vec<Said>,
    cross_entropies: [f64; PREDICTORS.len()],
    vocabulary: usize,
}

impl Instrument for Ngrams {
    fn dims(&self) -> Vec<(&'static str, Vec<String>)> {
        let named = |what: &'static str| PREDICTORS.map(|predictor| format!("{what}_{predictor}"));
        vec![("quantity", [named("divergence"), named("agreement")].concat())]
    }

    fn measure(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Findings, ObserveError> {
        let n_each = self.places.len();
        let mut of_sequences: Vec<[f64; 2 * PREDICTORS.len()]> = Vec::new();
        let mut own_loss = 0.0;
        let Self { reader, predictor, sequences, places, said, vocabulary, .. } = self;
        reader.each(checkpoint, sequences, |tokens, output| {
            let all = output(LOG_PROBABILITIES);
            let mut sums = [0.0; 2 * PREDICTORS.len()];
            let said = &said[of_sequences.len() * n_each * PREDICTORS.len()..];
            for (&(answer, place), said) in places.iter().zip(said.chunks_exact(PREDICTORS.len())) {
                let log_q = &all[answer * *vocabulary..(answer + 1) * *vocabulary];
                own_loss -= f64::from(log_q[tokens[place] as usize]);
                let likeliest = (0..log_q.len()).fold(0, |best, at| if log_q[at] > log_q[best] { at } else { best });
                let expected = predictor.expectations(&tokens[place - 2..place], |token| f64::from(log_q[token]));
                for (order, (said, cross)) in said.iter().zip(expected).enumerate() {
                    sums[order] += said.negative_entropy - cross;
                    sums[PREDICTORS.len() + order] += f64::from(u8::from(likeliest == said.likeliest));
                }
            }
            of_sequences.push(sums.map(|sum| sum / n_each as f64));
            sums.iter().sum::<f64>() + own_loss
        })?;
        let column = |at: usize| mean_and_error(of_sequences.iter().map(move |sums| sums[at]));
        let (values, errors): (Vec<f64>, Vec<f64>) = (0..2 * PREDICTORS.len()).map(column).unzip();
        let [unigram, bigram, trigram] = self.cross_entropies;
        let details = vec![
            ("cross_entropy_unigram", unigram),
            ("cross_entropy_bigram", bigram),
            ("cross_entropy_trigram", trigram),
            ("cross_entropy_network", own_loss / (of_sequences.len() * n_each) as f64),
        ];
        let value = Measured { unit: "1", dims: self.dims(), values };
        Ok(Findings { value, standard_errors: Some(errors), arrays: Vec::new(), details, refusal: None })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ontogeny_graph::{Column, DataSet, Purpose, Stream};
    use ontogeny_zoo::{Model, Split, Task, TaskConfig};
    use serde_json::{from_value, json};

    use super::*;

    /// A chain of four states and a task of sequences of it; most are for counting.
    fn markov(n: usize, length: usize) -> (Task, [[f64; 4]; 4]) {
        let rows = [[0.7, 0.1, 0.1, 0.1], [0.05, 0.05, 0.8, 0.1], [0.25, 0.25, 0.25, 0.25], [0.1, 0.6, 0.1, 0.2]];
        let split = |name: &'static str, n: usize, number: u64| {
            let stream = Stream::new(7, Purpose::Data, number);
            let mut state = 0;
            let ids = (0..n * length).map(|at| {
                let mut left = stream.uniform(0, at as u32);
                let found = rows[state].iter().position(|p| {
                    left -= p;
                    left < 0.0
                });
                state = found.unwrap_or(3);
                state as i32
            });
            let column = Column {
                name: "tokens".to_owned(),
                width: length,
                data: ontogeny_graph::ColumnData::Ids(ids.collect()),
            };
            let data = DataSet::new(n, vec![column]).unwrap();
            Split { name, indices: (0..n).collect(), data, subtasks: Vec::new() }
        };
        let config = json!({"kind": "repeated_tokens", "vocabulary": 4, "block": 3, "repeats": 2, "train_examples": 4});
        let any = from_value::<TaskConfig>(config).unwrap().prepare(0, Path::new(".")).unwrap();
        let interface = Interface::Tokens { vocabulary: 4, length, read: Read::NEXT_TOKEN };
        let splits = vec![split("train", n, 0), split("test", 40, 1)];
        (Task { interface, splits, endless: None, subtasks: None, ..any }, rows)
    }

    /// A network without blocks whose logits are the logarithms of a chain's probabilities is the bigram predictor of that chain.
    #[test]
    fn a_network_that_is_the_bigram_predictor_is_near_to_it_and_to_no_other() {
        let length = 24;
        let n = 20_000;
        let (task, rows) = markov(n, length);
        let network = json!({
            "kind": "transformer", "layers": 0, "d_model": 4, "heads": 1, "attention_only": true,
            "normalization": "none", "positions": "none",
        });
        let model = Model::new(from_value(network).unwrap(), task.interface).unwrap();
        let mut weights = vec![0.0; model.space().len()];
        let [embed, unembed] = ["embed.W_E", "unembed.W_U"].map(|name| model.space().find(name).unwrap().range.clone());
        for (at, weight) in weights[embed].iter_mut().enumerate() {
            *weight = f32::from(u8::from(at % 5 == 0));
        }
        for (weight, p) in weights[unembed].iter_mut().zip(rows.iter().flatten()) {
            *weight = p.ln() as f32;
        }
        let settings = NgramsSettings { examples: Some(40), ..NgramsSettings::default() };
        let mut ngrams = settings.build(&Subject { model: &model, task: &task, seed: 0 }).unwrap();
        let found = ngrams.measure(&Checkpoint::alone(&weights)).unwrap();
        let [unigram, bigram, trigram, ..] = found.value.values[..] else { panic!("{found:?}") };
        // Frequencies of k free probabilities in N counts are k/(2N) nats away on average, and seldom more than some times that.
        let n_counted = (n * length) as f64;
        assert!(bigram > 0.0 && bigram < 5.0 * 12.0 / (2.0 * n_counted), "{bigram}");
        assert!(trigram > 0.0 && trigram < 5.0 * 48.0 / (2.0 * n_counted), "{trigram}");
        // The mean divergence of the stationary distribution from the rows, by hand.
        let mut stationary = [0.25; 4];
        for _ in 0..500 {
            stationary = std::array::from_fn(|j| (0..4).map(|i| stationary[i] * rows[i][j]).sum());
        }
        let divergence = |row: &[f64; 4]| stationary.iter().zip(row).map(|(p, q)| p * (p / q).ln()).sum::<f64>();
        let expected: f64 = stationary.iter().zip(&rows).map(|(p, row)| p * divergence(row)).sum();
        let errors = found.standard_errors.unwrap();
        assert!((unigram - expected).abs() < 4.0 * errors[0] && errors[0] < 0.1 * expected, "{unigram}, {expected}");
        // The likeliest token is the same but after 2, where all are alike and frequencies decide.
        assert!(found.value.values[4] > 0.7 && found.value.values[3] < found.value.values[4]);
        let detail = |name: &str| found.details.iter().find(|(own, _)| *own == name).unwrap().1;
        assert!((detail("cross_entropy_network") - detail("cross_entropy_bigram")).abs() < 0.01);
        assert!(detail("cross_entropy_unigram") > detail("cross_entropy_network") + 0.1);
    }

    /// All tokens alike: the divergence is what each predictor knows, ln V − entropy.
    #[test]
    fn a_network_that_knows_nothing_is_as_far_as_entropies_say() {
        let task: TaskConfig =
            from_value(json!({"kind": "text", "context": 12, "held_examples": 10, "test_examples": 20})).unwrap();
        let task = task.prepare(0, Path::new(".")).unwrap();
        let network = json!({
            "kind": "transformer", "layers": 1, "d_model": 8, "heads": 2, "attention_only": true,
            "normalization": "none", "positions": "learned",
        });
        let model = Model::new(from_value(network).unwrap(), task.interface).unwrap();
        let mut ngrams = NgramsSettings::default().build(&Subject { model: &model, task: &task, seed: 0 }).unwrap();
        let found = ngrams.measure(&Checkpoint::alone(&vec![0.0; model.space().len()])).unwrap();
        let predictor = NgramModel::new(task.corpus.as_ref().unwrap(), 2, 65);
        let tokens = tokens_of(task.split("test").unwrap()).unwrap();
        for order in 0..3 {
            let entropy =
                |context: &[i32]| -> f64 { predictor_of(&predictor, order, context).iter().map(|p| -p * p.ln()).sum() };
            let places = tokens.chunks(12).flat_map(|row| (2..12).map(move |place| entropy_context(row, place)));
            let mean = places.map(entropy).sum::<f64>() / 200.0;
            let expected = 65_f64.ln() - mean;
            assert!((found.value.values[order] - expected).abs() < 1e-6, "{order}: {expected} {found:?}");
        }
        assert!(found.value.values[0] < found.value.values[1] && found.value.values[1] < found.value.values[2]);
    }

    fn entropy_context(row: &[i32], place: usize) -> &[i32] {
        &row[place - 2..place]
    }

    fn predictor_of(predictor: &NgramModel, order: usize, context: &[i32]) -> Vec<f64> {
        predictor.distribution(&context[2 - order..])
    }
}
