//! Attention patterns of chosen prompts, to be looked at, and how far the attention of each head spreads.

use std::fmt;

use ontogeny_zoo::Task;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::sequences::{
    AttentionLayer, SequenceReader, attention_layers, head_labels, not_defined, split_of, token_interface, tokens_of,
};
use crate::{Checkpoint, Findings, Instrument, Measured, ObserveError, Settings, Subject};

/// Version of the numbers of `attention`.
pub(crate) const ATTENTION_VERSION: u32 = 1;

const OBSERVABLE: &str = "attention";

/// Most numbers of the patterns of one checkpoint.
const MAX_NUMBERS: usize = 1 << 18;

/// Examples that are shown where the settings name none.
const EXAMPLES: usize = 2;

/// Settings of `observable = "attention"`.
///
/// The patterns of all heads on all prompts are kept at every checkpoint as the array `pattern` `[prompt, head, query, key]`, 0 to 1 and
/// NaN behind the end of a shorter prompt; a prompt's label is the list of its tokens in JSON. The value is the mean entropy of each
/// head's attention, `[head]`, in nats: 0 of a head that looks at one place, ln i of one that looks evenly from the i-th token; the mean
/// is over the tokens but the first of all prompts (which has one place to look at).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttentionSettings {
    /// Texts, where the task knows the words of its tokens, or lists of token ids; at least 2 tokens and no more than the network reads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prompts: Vec<Prompt>,
    /// How many examples of the split are prompts, the first different ones; 2 unless there are `prompts`, then none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub examples: Option<usize>,
    /// Of which split; `even`, else `test`, else `train` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
}

/// What a network is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// A text.
    Text(String),
    /// Its tokens.
    Tokens(Vec<i32>),
}

impl Serialize for Prompt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => text.serialize(serializer),
            Self::Tokens(ids) => ids.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Prompt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Prompt;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or a list of token ids")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Prompt, E> {
                Ok(Prompt::Text(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut ids: A) -> Result<Prompt, A::Error> {
                let mut tokens = Vec::new();
                while let Some(id) = ids.next_element()? {
                    tokens.push(id);
                }
                Ok(Prompt::Tokens(tokens))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl Prompt {
    /// Its tokens, checked against what the network reads.
    pub(crate) fn tokens(&self, task: &Task, vocabulary: usize, length: usize) -> Result<Vec<i32>, ObserveError> {
        let wrong = |why: String| ObserveError::Setting(format!("the prompt {self}: {why}"));
        let tokens = match (self, &task.words) {
            (Self::Tokens(ids), _) => ids.clone(),
            (Self::Text(text), Some(words)) => words.encode(text).map_err(|error| wrong(error.to_string()))?,
            (Self::Text(_), None) => {
                return Err(wrong(
                    "the task does not know what its tokens read as; expected a list of token ids".into(),
                ));
            }
        };
        if let Some(id) = tokens.iter().find(|&&id| usize::try_from(id).ok().is_none_or(|id| id >= vocabulary)) {
            return Err(wrong(format!("found the token id {id}; expected ids from 0 to {}", vocabulary - 1)));
        }
        if !(2..=length).contains(&tokens.len()) {
            return Err(wrong(format!(
                "found {} tokens; expected 2 to {length}, what the network reads",
                tokens.len()
            )));
        }
        Ok(tokens)
    }
}

impl fmt::Display for Prompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Tokens(ids) => write!(f, "{ids:?}"),
        }
    }
}

/// Its tokens as a list in JSON: a label that keeps them apart.
fn label(task: &Task, tokens: &[i32]) -> String {
    let text = match &task.words {
        Some(words) => serde_json::to_string(&tokens.iter().map(|&id| words.piece(id)).collect::<Vec<_>>()),
        None => serde_json::to_string(tokens),
    };
    text.expect("strings and integers are JSON")
}

impl AttentionSettings {
    fn prompts(&self, task: &Task, vocabulary: usize, length: usize) -> Result<Vec<Vec<i32>>, ObserveError> {
        let mut prompts: Vec<Vec<i32>> = Vec::new();
        for prompt in &self.prompts {
            let tokens = prompt.tokens(task, vocabulary, length)?;
            if prompts.contains(&tokens) {
                return Err(ObserveError::Setting(format!("the prompt {prompt} is given twice; expected each once")));
            }
            prompts.push(tokens);
        }
        let n_examples = self.examples.unwrap_or(if prompts.is_empty() { EXAMPLES } else { 0 });
        if n_examples > 0 {
            let split = split_of(task, self.split.as_deref())?;
            let tokens = tokens_of(split).ok_or_else(|| {
                not_defined(OBSERVABLE, "sequences of tokens", format!("a split `{}` without", split.name))
            })?;
            let n_prompts = prompts.len() + n_examples;
            for example in tokens.chunks_exact(length) {
                if prompts.len() == n_prompts {
                    break;
                }
                if !prompts.iter().any(|prompt| prompt == example) {
                    prompts.push(example.to_vec());
                }
            }
        }
        if prompts.is_empty() {
            let expected = "expected `prompts`, or `examples` of at least 1";
            return Err(ObserveError::Setting(format!("there is no prompt to look at; {expected}")));
        }
        Ok(prompts)
    }
}

impl Settings for AttentionSettings {
    fn build(&self, subject: &Subject<'_>) -> Result<Box<dyn Instrument>, ObserveError> {
        let (vocabulary, length) = token_interface(subject.model, OBSERVABLE)?;
        let (graph, _) = subject.model.graph(1);
        let layers = attention_layers(&graph, OBSERVABLE)?;
        if length < 2 {
            return Err(not_defined(OBSERVABLE, "sequences of at least 2 tokens", format!("{length}")));
        }
        let prompts = self.prompts(subject.task, vocabulary, length)?;
        let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
        let heads = head_labels(&layers);
        let n_numbers = prompts.len() * heads.len() * longest * longest;
        if n_numbers > MAX_NUMBERS {
            let (n, h) = (prompts.len(), heads.len());
            return Err(ObserveError::Setting(format!(
                "found {n_numbers} numbers at each checkpoint ({n} prompts, {h} heads, {longest} tokens squared); expected at most \
                 {MAX_NUMBERS}: fewer or shorter `prompts`, or fewer `examples`"
            )));
        }
        // What stands behind the end of a prompt is read by nobody: attention is causal.
        let mut sequences = vec![0; prompts.len() * length];
        for (row, prompt) in sequences.chunks_exact_mut(length).zip(&prompts) {
            row[..prompt.len()].copy_from_slice(prompt);
        }
        let reader = SequenceReader::new(subject.model, OBSERVABLE, prompts.len(), |graph| {
            let cut = |own: &AttentionLayer| {
                let node = graph.find(&own.pattern)?;
                let node = graph.slice(node, 2, 0, longest);
                Ok((own.pattern.clone(), graph.slice(node, 3, 0, longest)))
            };
            layers.iter().map(cut).collect()
        })?;
        let labels = prompts.iter().map(|tokens| label(subject.task, tokens)).collect();
        let lengths = prompts.iter().map(Vec::len).collect();
        Ok(Box::new(Attention { reader, layers, heads, sequences, lengths, labels, longest }))
    }
}

struct Attention {
    reader: SequenceReader,
    layers: Vec<AttentionLayer>,
    heads: Vec<String>,
    sequences: Vec<i32>,
    /// Tokens of each prompt.
    lengths: Vec<usize>,
    labels: Vec<String>,
    longest: usize,
}

impl Instrument for Attention {
    fn dims(&self) -> Vec<(&'static str, Vec<String>)> {
        vec![("head", self.heads.clone())]
    }

    fn measure(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Findings, ObserveError> {
        let (n_heads, n) = (self.heads.len(), self.longest);
        let mut patterns = vec![f64::NAN; self.lengths.len() * n_heads * n * n];
        let (mut entropies, mut n_rows) = (vec![0.0; n_heads], 0);
        let mut number = 0;
        let Self { reader, layers, lengths, sequences, .. } = self;
        reader.each(checkpoint, sequences, |_, output| {
            let own = &mut patterns[number * n_heads * n * n..(number + 1) * n_heads * n * n];
            let length = lengths[number];
            (number, n_rows) = (number + 1, n_rows + length - 1);
            let (mut head, mut sum) = (0, 0.0);
            for layer in layers.iter() {
                for pattern in output(&layer.pattern).chunks_exact(n * n) {
                    for (query, row) in pattern.chunks_exact(n).enumerate().take(length) {
                        let kept = &mut own[(head * n + query) * n..][..length];
                        kept.iter_mut().zip(row).for_each(|(kept, &a)| *kept = f64::from(a));
                        let spread = entropy(kept);
                        sum += spread;
                        // From the first token there is one place to look at.
                        entropies[head] += if query > 0 { spread } else { 0.0 };
                    }
                    head += 1;
                }
            }
            sum
        })?;
        let value = Measured {
            unit: "nats",
            dims: self.dims(),
            values: entropies.iter().map(|sum| sum / n_rows as f64).collect(),
        };
        let places: Vec<String> = (0..n).map(|at| at.to_string()).collect();
        let dims = vec![
            ("prompt", self.labels.clone()),
            ("head", self.heads.clone()),
            ("query", places.clone()),
            ("key", places),
        ];
        let pattern = Measured { unit: "1", dims, values: patterns };
        Ok(Findings { arrays: vec![("pattern", pattern)], ..value.into() })
    }
}

/// −Σ p ln p, in nats.
fn entropy(probabilities: &[f64]) -> f64 {
    // Not `p > 0`: what is no number must come out.
    probabilities.iter().filter(|&&p| p != 0.0).map(|p| -p * p.ln()).sum()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ontogeny_zoo::{CompiledConfig, Model, TaskConfig};
    use serde_json::{Value, from_value, json};

    use super::*;

    fn settings(value: Value) -> AttentionSettings {
        from_value(value).unwrap()
    }

    /// The compiled program of induction: its first head looks at the token before, from the first token at itself.
    #[test]
    fn patterns_of_a_compiled_program_are_those_it_was_made_for() {
        let config =
            json!({"kind": "compiled", "program": "induction", "length": 8, "symbols": 12, "held_examples": 10});
        let task = from_value::<TaskConfig>(config.clone()).unwrap().prepare(0, Path::new(".")).unwrap();
        let mut own = config;
        own.as_object_mut().unwrap().remove("kind");
        let compiled = from_value::<CompiledConfig>(own).unwrap().compile().unwrap();
        let subject = Subject { model: &compiled.model, task: &task, seed: 0 };
        let chosen = settings(json!({"prompts": [[3, 5, 3, 5, 3], [1, 2, 1]], "examples": 1}));
        let mut attention = chosen.build(&subject).unwrap();
        assert_eq!(attention.dims(), [("head", vec!["l0h0".to_owned(), "l1h0".to_owned()])]);
        let found = attention.measure(&Checkpoint::alone(&compiled.weights)).unwrap();
        let (_, pattern) = &found.arrays[0];
        let labels = &pattern.dims[0].1;
        assert_eq!((labels.len(), labels[0].as_str(), labels[1].as_str()), (3, "[3,5,3,5,3]", "[1,2,1]"));
        let n = pattern.dims[2].1.len();
        assert_eq!(pattern.values.len(), 3 * 2 * n * n);
        let at = |prompt: usize, head: usize, query: usize, key: usize| {
            pattern.values[((prompt * 2 + head) * n + query) * n + key]
        };
        for query in 1..5 {
            assert!(at(0, 0, query, query - 1) > 0.999, "{query}: {}", at(0, 0, query, query - 1));
            let row: f64 = (0..5).map(|key| at(0, 0, query, key)).sum();
            assert!((row - 1.0).abs() < 1e-6);
        }
        // Induction: from the second 3, at place 2, to the 5 behind the first.
        assert!(at(0, 1, 2, 1) > 0.999 && at(1, 1, 2, 1) > 0.999);
        // Behind the end of a prompt there is nothing.
        assert!(at(1, 0, 3, 0).is_nan() && at(1, 0, 0, 3).is_nan() && at(0, 0, 4, 5).is_nan());
        // All attention in one place has no entropy; a half in each of two has ln 2.
        assert!(found.value.values[0] < 0.01, "{:?}", found.value);
        assert!((entropy(&[0.5, 0.5, 0.0]) - 2.0_f64.ln()).abs() < 1e-15 && entropy(&[f64::NAN]).is_nan());
    }

    #[test]
    fn prompts_that_cannot_be_read_say_why() {
        let task: TaskConfig = from_value(json!({"kind": "text", "context": 12, "test_examples": 3})).unwrap();
        let task = task.prepare(0, Path::new(".")).unwrap();
        let network = json!({
            "kind": "transformer", "layers": 1, "d_model": 8, "heads": 2, "attention_only": true,
            "normalization": "none", "positions": "learned",
        });
        let model = Model::new(from_value(network).unwrap(), task.interface).unwrap();
        let build = |value: Value| settings(value).build(&Subject { model: &model, task: &task, seed: 0 });
        let error = |value: Value| build(value).map(|_| ()).unwrap_err().to_string();
        for (value, expected) in [
            (json!({"prompts": ["a much longer text"]}), "found 18 tokens; expected 2 to 12"),
            (json!({"prompts": ["Ω?"]}), "the character `Ω` is not in the vocabulary"),
            (json!({"prompts": [[0, 65]]}), "found the token id 65; expected ids from 0 to 64"),
            (json!({"prompts": ["To be", "To be"]}), "the prompt \"To be\" is given twice"),
            (json!({"examples": 0}), "expected `prompts`, or `examples` of at least 1"),
            (json!({"split": "held"}), "`split` is \"held\"; the task has train, test"),
            (json!({"examples": 2000, "split": "train"}), "expected at most 262144: fewer or shorter `prompts`"),
        ] {
            let error = error(value);
            assert!(error.contains(expected), "{error}");
        }
        let mut attention = build(json!({"prompts": ["To be"]})).unwrap();
        let found = attention.measure(&Checkpoint::alone(&model.initial_weights(0))).unwrap();
        assert_eq!(found.arrays[0].1.dims[0].1, ["[\"T\",\"o\",\" \",\"b\",\"e\"]"]);
        let error = from_value::<AttentionSettings>(json!({"prompts": [1.5]})).unwrap_err().to_string();
        assert!(error.contains("a text, or a list of token ids"), "{error}");
    }
}
