//! Indirect object identification: whether a network names the indirect object, and which heads do the steps of the known circuit.

use ontogeny_graph::{Graph, Node};
use ontogeny_zoo::{Interface, Read};
use serde::{Deserialize, Serialize};

use crate::ioi_prompts::{Prompt, prompts};
use crate::measured::mean_and_error;
use crate::sequences::{AttentionLayer, SequenceReader, attention_layers, head_labels};
use crate::{Checkpoint, Findings, Instrument, Measured, ObserveError, Settings, Subject};

/// Version of the numbers of `ioi` and `ioi_heads`.
pub(crate) const IOI_VERSION: u32 = 1;

pub(crate) const OBSERVABLE: &str = "ioi";

/// Scores of a head, in the order of the array.
const SCORES: [&str; 5] = ["name_mover", "s_inhibition", "duplicate", "previous", "induction"];

/// Settings of `observable = "ioi"`: "Interpretability in the Wild" (Wang et al. 2023).
///
/// Prompts are `After A and B went to the store, B gave a ring to` and the like, half of them with the first two names in the other
/// order; the answer is A, the indirect object (IO), and not B, the subject (S).
///
/// | quantity | is over the prompts |
/// |---|---|
/// | `logit_difference` | the mean of the logit of IO minus that of S at the end (GPT-2 small: 3.56) |
/// | `share_right` | the share whose logit of IO is the larger, 0 to 1 (99.3 %) |
///
/// with standard errors. Of tasks `ioi` and `toy_ioi` the prompts are their examples. Of tasks that know the words of their tokens they are
/// the 15 templates with 99 names, as far as names are single tokens. Else they are made of `templates`: token ids with A once and B twice,
/// filled with two of `names`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IoiSettings {
    /// How many prompts; as many as there are, at most.
    pub prompts: usize,
    /// Of tasks whose examples are prompts: the split; `even`, else `test`, else `train` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Token ids that are names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<i32>,
    /// Such as `"B 17 A 18 B 19"`: ids, with the answer A and the subject B.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<String>,
}

impl Default for IoiSettings {
    fn default() -> Self {
        Self { prompts: 256, split: None, names: Vec::new(), templates: Vec::new() }
    }
}

/// Settings of `observable = "ioi_heads"`, which are those of `ioi`.
///
/// On the same prompts, the mean attention of each head in the steps of the circuit of GPT-2 small (Wang et al. 2023, section 3), with S1
/// and S2 the first and the second place of the subject:
///
/// | score | from | to |
/// |---|---|---|
/// | `name_mover` | the end | IO |
/// | `s_inhibition` | the end | S2 |
/// | `duplicate` | S2 | S1 |
/// | `previous` | the token after S1 | S1 |
/// | `induction` | S2 | the token after S1 |
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IoiHeadsSettings(pub IoiSettings);

/// Prompts as the network reads them, with nothing behind their ends.
struct Given {
    prompts: Vec<Prompt>,
    sequences: Vec<i32>,
    longest: usize,
}

fn given(settings: &IoiSettings, subject: &Subject<'_>) -> Result<Given, ObserveError> {
    let interface = subject.model.interface();
    let prompts = prompts(settings, subject.task, interface, subject.seed)?;
    let Interface::Tokens { length, .. } = interface else { unreachable!("prompts are for networks of tokens") };
    let mut sequences = vec![0; prompts.len() * length];
    for (row, prompt) in sequences.chunks_exact_mut(length).zip(&prompts) {
        row[..prompt.tokens.len()].copy_from_slice(&prompt.tokens);
    }
    let longest = prompts.iter().map(|prompt| prompt.tokens.len()).max().unwrap_or(0);
    Ok(Given { prompts, sequences, longest })
}

impl Settings for IoiSettings {
    fn build(&self, subject: &Subject<'_>) -> Result<Box<dyn Instrument>, ObserveError> {
        let given = given(self, subject)?;
        let is_last = matches!(subject.model.interface(), Interface::Tokens { read: Read::LastPosition { .. }, .. });
        let logits = |graph: &mut Graph| {
            let node = graph.find("logits")?;
            let node = if is_last { node } else { graph.slice(node, 1, 0, given.longest) };
            Ok(vec![("logits".to_owned(), node)])
        };
        let reader = SequenceReader::new(subject.model, OBSERVABLE, given.prompts.len(), logits)?;
        Ok(Box::new(Ioi { reader, given, is_last }))
    }
}

struct Ioi {
    reader: SequenceReader,
    given: Given,
    /// Whether logits are those of the last position alone.
    is_last: bool,
}

impl Instrument for Ioi {
    fn dims(&self) -> Vec<(&'static str, Vec<String>)> {
        vec![("quantity", ["logit_difference", "share_right"].map(str::to_owned).to_vec())]
    }

    fn measure(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Findings, ObserveError> {
        let Self { reader, given, is_last } = self;
        let mut differences: Vec<f64> = Vec::new();
        reader.each(checkpoint, &given.sequences, |_, output| {
            let prompt = &given.prompts[differences.len()];
            let logits = output("logits");
            let n_places = if *is_last { 1 } else { given.longest };
            let width = logits.len() / n_places;
            let end = if *is_last { 0 } else { prompt.tokens.len() - 1 };
            let logit = |token: i32| f64::from(logits[end * width + token as usize]);
            differences.push(logit(prompt.answer) - logit(prompt.subject));
            logit(prompt.answer) - logit(prompt.subject)
        })?;
        let right = differences.iter().map(|&difference| f64::from(u8::from(difference > 0.0)));
        let of = [mean_and_error(differences.iter().copied()), mean_and_error(right)];
        let value = Measured { unit: "1", dims: self.dims(), values: of.iter().map(|(mean, _)| *mean).collect() };
        let standard_errors = (differences.len() > 1).then(|| of.iter().map(|(_, error)| *error).collect());
        let details = vec![("prompts", differences.len() as f64)];
        Ok(Findings { standard_errors, details, ..value.into() })
    }
}

impl Settings for IoiHeadsSettings {
    fn build(&self, subject: &Subject<'_>) -> Result<Box<dyn Instrument>, ObserveError> {
        let given = given(&self.0, subject)?;
        let (graph, _) = subject.model.graph(1);
        let layers = attention_layers(&graph, "ioi_heads")?;
        let patterns = |graph: &mut Graph| {
            let cut = |own: &AttentionLayer| -> Result<(String, Node), ObserveError> {
                let node = graph.find(&own.pattern)?;
                let node = graph.slice(node, 2, 0, given.longest);
                Ok((own.pattern.clone(), graph.slice(node, 3, 0, given.longest)))
            };
            layers.iter().map(cut).collect()
        };
        let reader = SequenceReader::new(subject.model, "ioi_heads", given.prompts.len(), patterns)?;
        Ok(Box::new(IoiHeads { reader, given, layers }))
    }
}

struct IoiHeads {
    reader: SequenceReader,
    given: Given,
    layers: Vec<AttentionLayer>,
}

impl Instrument for IoiHeads {
    fn dims(&self) -> Vec<(&'static str, Vec<String>)> {
        vec![("head", head_labels(&self.layers)), ("score", SCORES.map(str::to_owned).to_vec())]
    }

    fn measure(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Findings, ObserveError> {
        let Self { reader, given, layers } = self;
        let n = given.longest;
        let mut sums = vec![[0.0; SCORES.len()]; layers.iter().map(|own| own.n_heads).sum()];
        let mut number = 0;
        reader.each(checkpoint, &given.sequences, |_, output| {
            let prompt = &given.prompts[number];
            number += 1;
            let patterns = layers.iter().flat_map(|own| output(&own.pattern).chunks_exact(n * n));
            let mut all = 0.0;
            for (sums, pattern) in sums.iter_mut().zip(patterns) {
                let found = steps(prompt, pattern, n);
                sums.iter_mut().zip(found).for_each(|(sum, found)| *sum += found);
                all += found.iter().sum::<f64>();
            }
            all
        })?;
        let n_prompts = given.prompts.len() as f64;
        let values = sums.into_iter().flatten().map(|sum| sum / n_prompts).collect();
        Ok(Measured { unit: "1", dims: self.dims(), values }.into())
    }
}

/// The scores of one head on one prompt; `pattern` is `[n, n]`.
fn steps(prompt: &Prompt, pattern: &[f32], n: usize) -> [f64; SCORES.len()] {
    let attention = |from: usize, to: usize| f64::from(pattern[from * n + to]);
    let (end, [first, second]) = (prompt.tokens.len() - 1, prompt.subject_at);
    [
        attention(end, prompt.answer_at),
        attention(end, second),
        attention(second, first),
        attention(first + 1, first),
        attention(second, first + 1),
    ]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ontogeny_zoo::{Model, NetworkConfig, Task, TaskConfig};
    use serde_json::{Value, from_value, json};

    use super::*;

    fn prepared(config: Value) -> Task {
        from_value::<TaskConfig>(config).unwrap().prepare(0, Path::new(".")).unwrap()
    }

    fn network(task: &Task, changes: &Value) -> Model {
        let mut network = json!({
            "kind": "transformer", "layers": 1, "d_model": 16, "heads": 2, "attention_only": true,
            "normalization": "none", "positions": "none",
        });
        network.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        Model::new(from_value::<NetworkConfig>(network).unwrap(), task.interface).unwrap()
    }

    fn measured(settings: Value, model: &Model, task: &Task, weights: &[f32]) -> Result<[Findings; 2], ObserveError> {
        let settings: IoiSettings = from_value(settings).unwrap();
        let subject = Subject { model, task, seed: 0 };
        let checkpoint = Checkpoint::alone(weights);
        let of_all = settings.build(&subject)?.measure(&checkpoint)?;
        Ok([of_all, IoiHeadsSettings(settings).build(&subject)?.measure(&checkpoint)?])
    }

    #[test]
    fn ideal_heads_have_a_score_of_one() {
        let prompt =
            Prompt { tokens: vec![7, 1, 8, 2, 9, 2, 6], answer: 1, subject: 2, answer_at: 1, subject_at: [3, 5] };
        let looks = |from: usize, to: usize| {
            let mut pattern = vec![0.0; 49];
            pattern[from * 7 + to] = 1.0;
            steps(&prompt, &pattern, 7)
        };
        for (at, (from, to)) in [(6, 1), (6, 5), (5, 3), (4, 3), (5, 4)].into_iter().enumerate() {
            let expected: [f64; 5] = std::array::from_fn(|own| f64::from(u8::from(own == at)));
            assert_eq!(looks(from, to), expected);
        }
    }

    /// Tokens are one-hot; the network copies names with minus the attention of an even head: the name that stands twice loses. With
    /// twelve tokens that are seen, A has −1/12 and B −2/12, times the scale.
    #[test]
    fn a_network_by_hand_names_the_one_that_comes_once() {
        let task = prepared(json!({"kind": "toy_ioi", "length": 12, "names": 6, "fillers": 3, "train_examples": 200}));
        let model = network(&task, &json!({}));
        let mut weights = vec![0.0; model.space().len()];
        let mut set =
            |name: &str, at: usize, value: f32| weights[model.space().find(name).unwrap().range.start + at] = value;
        for id in 0..6 {
            set("embed.W_E", id * 16 + id, 1.0);
            set("unembed.W_U", id * model_vocabulary(&task) + id, 12.0);
            set("blocks.0.attn.W_V", id * 8 + id, 1.0);
            set("blocks.0.attn.W_O", id * 16 + id, -1.0);
        }
        let [all, heads] = measured(json!({"prompts": 50}), &model, &task, &weights).unwrap();
        assert!((all.value.values[0] - 1.0).abs() < 1e-5 && all.value.values[1] == 1.0, "{all:?}");
        assert_eq!(all.details, [("prompts", 50.0)]);
        // Even attention from the last of twelve places.
        assert!((heads.value.values[0] - 1.0 / 12.0).abs() < 1e-6 && (heads.value.values[1] - 1.0 / 12.0).abs() < 1e-6);
        // The sign of the head turned, the subject wins.
        let output = model.space().find("blocks.0.attn.W_O").unwrap().range.clone();
        weights[output].iter_mut().for_each(|w| *w = -*w);
        let [all, _] = measured(json!({}), &model, &task, &weights).unwrap();
        assert!((all.value.values[0] + 1.0).abs() < 1e-5 && all.value.values[1] == 0.0, "{all:?}");
    }

    fn model_vocabulary(task: &Task) -> usize {
        match task.interface {
            Interface::Tokens { vocabulary, .. } => vocabulary,
            _ => 0,
        }
    }

    #[test]
    fn words_and_templates_give_prompts_whose_names_stand_where_they_should() {
        let task = prepared(json!({"kind": "ioi", "train_examples": 20, "held_examples": 100}));
        let Interface::Tokens { vocabulary, length, .. } = task.interface else { panic!("{:?}", task.interface) };
        // The same words for a network that predicts every token: prompts are made of the templates.
        let interface = Interface::Tokens { vocabulary, length, read: Read::NEXT_TOKEN };
        let words = task.words.clone().unwrap();
        let settings = IoiSettings { prompts: 40, ..IoiSettings::default() };
        for found in [
            prompts(&settings, &task, task.interface, 0).unwrap(),
            prompts(&settings, &Task { splits: Vec::new(), ..task.clone() }, interface, 0).unwrap(),
        ] {
            assert_eq!(found.len(), 40);
            for prompt in &found {
                let [first, second] = prompt.subject_at;
                assert_eq!((prompt.tokens[first], prompt.tokens[second]), (prompt.subject, prompt.subject));
                assert_eq!(prompt.tokens[prompt.answer_at], prompt.answer);
                assert!(first < second && prompt.answer_at < second && prompt.answer != prompt.subject);
                assert_eq!(words.piece(*prompt.tokens.last().unwrap()), "to");
            }
            let n_abba = found.iter().filter(|prompt| prompt.answer_at < prompt.subject_at[0]).count();
            assert!((10..=30).contains(&n_abba), "{n_abba}");
        }
        let templates = IoiSettings {
            prompts: 6,
            names: vec![3, 1, 2],
            templates: vec!["B 7 A 8 B 9".to_owned(), "7 A 7 B B".to_owned()],
            ..IoiSettings::default()
        };
        let found = prompts(&templates, &task, interface, 1).unwrap();
        let places: Vec<(usize, [usize; 2])> =
            found.iter().map(|prompt| (prompt.answer_at, prompt.subject_at)).collect();
        assert_eq!(places[..4], [(2, [0, 4]), (0, [2, 4]), (1, [3, 4]), (3, [1, 4])]);
        assert!(found.iter().all(|prompt| prompt.tokens[prompt.subject_at[1]] == prompt.subject && prompt.subject < 4));
        for (settings, expected) in [
            (
                json!({"names": [1], "templates": ["B A B"]}),
                "`names` is [1]; expected at least two different token ids",
            ),
            (json!({"names": [1, 2]}), "`templates` is missing beside `names`"),
            (json!({"names": [1, 2], "templates": ["A B"]}), "the template \"A B\"; expected token ids"),
            (json!({"names": [1, 2], "templates": ["B B A"]}), "the A before the last B"),
            (json!({"prompts": 0}), "`prompts` is 0"),
        ] {
            let settings: IoiSettings = from_value(settings).unwrap();
            let error = prompts(&settings, &task, interface, 0).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let letters = prepared(json!({"kind": "text", "context": 64, "held_examples": 4, "test_examples": 3}));
        let error = prompts(&IoiSettings::default(), &letters, letters.interface, 0).unwrap_err().to_string();
        assert!(error.contains("a tokenizer in which names are single tokens"), "{error}");
        let ids = prepared(
            json!({"kind": "repeated_tokens", "vocabulary": 9, "block": 6, "repeats": 2, "train_examples": 5}),
        );
        let error = prompts(&IoiSettings::default(), &ids, ids.interface, 0).unwrap_err().to_string();
        assert!(
            error.contains("`names` and `templates` of token ids; this run has token ids without words"),
            "{error}"
        );
        let sums = prepared(json!({"kind": "modular_arithmetic", "p": 5, "operation": "add", "train_fraction": 0.8}));
        let error = prompts(&IoiSettings::default(), &sums, sums.interface, 0).unwrap_err().to_string();
        assert!(error.contains("as `ioi` and `toy_ioi` have"), "{error}");
    }
}
