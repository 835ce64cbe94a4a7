//! Where attention heads look: scores of the usual kinds of heads on sequences that repeat themselves.

use ontogeny_graph::{Gradient, Program, Purpose, Stream, Workspace};
use ontogeny_zoo::{Interface, Model, NetworkConfig};
use serde::{Deserialize, Serialize};

use crate::copying::{COPYING_SCORES, Copying};
use crate::sequences::{
    AttentionLayer, SequenceReader, attention_layers, head_labels, not_defined, split_of, tokens_of,
};
use crate::{Checkpoint, Findings, Instrument, Measured, ObserveError, Settings, Subject};

/// Version of the numbers of [`HeadScores`].
pub const HEAD_SCORES_VERSION: u32 = 2;

/// Sequences that are looked at.
const SEQUENCES: usize = 64;

/// Most numbers of all attention patterns of one execution, 64 MB.
const MAX_PATTERN: usize = 1 << 24;

/// The scores of a head, in the order of the array.
const SCORES: [&str; 5] = ["previous", "current", "first", "duplicate", "induction"];

/// Settings of `observable = "head_scores"`: those of [`HeadScores`]; of transformers also the prefix matching and copying of Olsson et
/// al. (2022), as `prefix_matching`, `copying` and `ov_eigenvalues`; and `text_previous`, where it is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeadScoresSettings {
    /// How often a random sequence stands behind itself, at least 2; together they are as long as the network reads.
    pub copies: usize,
    /// Whether `text_previous` is measured: the mean attention to the previous token on the task's own sequences (the first 64 of the
    /// split `test`, or else `train`), as Olsson et al. look for previous-token heads.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub text: bool,
}

impl Default for HeadScoresSettings {
    fn default() -> Self {
        Self { copies: 2, text: false }
    }
}

impl Settings for HeadScoresSettings {
    fn build(&self, subject: &Subject<'_>) -> Result<Box<dyn Instrument>, ObserveError> {
        let looks = HeadScores::new(subject.model, subject.seed, self.copies)?;
        let copying = match subject.model.network() {
            NetworkConfig::Transformer(_) => Some(Copying::new(subject.model, subject.task, subject.seed, OBSERVABLE)?),
            _ => None,
        };
        let text = if self.text { Some(OnText::new(subject)?) } else { None };
        Ok(Box::new(AllScores { looks, copying, text }))
    }
}

/// All scores of the settings.
struct AllScores {
    looks: HeadScores,
    copying: Option<Copying>,
    text: Option<OnText>,
}

impl Instrument for AllScores {
    fn dims(&self) -> Vec<(&'static str, Vec<String>)> {
        let [heads, mut scores] = self.looks.labels();
        if self.copying.is_some() {
            scores.extend(COPYING_SCORES.map(str::to_owned));
        }
        scores.extend(self.text.is_some().then(|| "text_previous".to_owned()));
        vec![("head", heads), ("score", scores)]
    }

    fn measure(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Findings, ObserveError> {
        let looks = self.looks.scores(checkpoint.weights)?;
        let copying = self.copying.as_mut().map(|copying| copying.measure(checkpoint)).transpose()?;
        let text = self.text.as_mut().map(|text| text.measure(checkpoint)).transpose()?;
        let mut values = Vec::new();
        for (head, looks) in looks.values.chunks_exact(SCORES.len()).enumerate() {
            values.extend_from_slice(looks);
            values.extend(copying.iter().flat_map(|scores| scores[head]));
            values.extend(text.iter().map(|scores| scores[head]));
        }
        Ok(Measured { unit: "1", dims: self.dims(), values }.into())
    }
}

/// Attention to the previous token on the task's own sequences.
struct OnText {
    reader: SequenceReader,
    layers: Vec<AttentionLayer>,
    sequences: Vec<i32>,
    length: usize,
}

impl OnText {
    fn new(subject: &Subject<'_>) -> Result<Self, ObserveError> {
        let name = ["test", "train"].into_iter().find(|name| subject.task.split(name).is_some());
        let split = split_of(subject.task, name)?;
        let found = || format!("a split `{}` without", split.name);
        let tokens =
            tokens_of(split).ok_or_else(|| not_defined(OBSERVABLE, "sequences of tokens for `text`", found()))?;
        let (graph, _) = subject.model.graph(1);
        let layers = attention_layers(&graph, OBSERVABLE)?;
        let length = tokens.len() / split.data.len();
        let sequences = tokens[..tokens.len().min(SEQUENCES * length)].to_vec();
        let reader = SequenceReader::new(subject.model, OBSERVABLE, SEQUENCES, |graph| {
            layers.iter().map(|own| Ok((own.pattern.clone(), graph.find(&own.pattern)?))).collect()
        })?;
        Ok(Self { reader, layers, sequences, length })
    }

    fn measure(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Vec<f64>, ObserveError> {
        let Self { reader, layers, sequences, length } = self;
        let n = *length;
        let mut sums = vec![0.0; layers.iter().map(|own| own.n_heads).sum()];
        reader.each(checkpoint, sequences, |_, output| {
            let patterns = layers.iter().flat_map(|own| output(&own.pattern).chunks_exact(n * n));
            let mut all = 0.0;
            for (sum, pattern) in sums.iter_mut().zip(patterns) {
                let own: f64 = (1..n).map(|i| f64::from(pattern[i * n + i - 1])).sum();
                *sum += own;
                all += own;
            }
            all
        })?;
        let n_places = (sequences.len() / n * (n - 1)) as f64;
        Ok(sums.into_iter().map(|sum| sum / n_places).collect())
    }
}

const OBSERVABLE: &str = "head_scores";

/// Measures where every attention head looks, as means over the positions of random sequences that are copied after
/// one another.
///
/// With A the attention of the position i to the position j ≤ i, 0 to 1:
///
/// | score | mean of | over |
/// |---|---|---|
/// | `previous` | A(i, i − 1) | i ≥ 1 |
/// | `current` | A(i, i) | i ≥ 1 |
/// | `first` | A(i, 0) | i ≥ 1 |
/// | `duplicate` | Σ A(i, j) of the j < i with the token of i | i with such a j |
/// | `induction` | Σ A(i, j + 1) of the j < i − 1 with the token of i: prefix matching, to what followed it | i with such a j |
///
/// An ideal head has 1. The kinds are those of "In-context Learning and Induction Heads" (Olsson et al. 2022) and of TransformerLens'
/// head detector, which averages the products of pattern and mask differently: its scores of an ideal head depend on the sequence.
/// Where there are tokens enough, those of one copy are different, so that chance repeats count for nothing.
#[derive(Debug)]
pub struct HeadScores {
    program: Program,
    workspace: Workspace,
    sequences: Vec<i32>,
    length: usize,
    batch: usize,
    layers: Vec<AttentionLayer>,
}

impl HeadScores {
    /// Compiles the attention patterns. `copies` of a random sequence stand behind each other, as many tokens as the network reads (the last
    /// copy may be cut off); at least 2, and each of at least 2 tokens.
    ///
    /// # Errors
    /// A network that reads no tokens or has no attention, or copies that do not fit.
    pub fn new(model: &Model, seed: u32, copies: usize) -> Result<Self, ObserveError> {
        let Interface::Tokens { vocabulary, length, .. } = model.interface() else {
            return Err(not_defined(OBSERVABLE, "a network that reads sequences of tokens", "other inputs"));
        };
        if copies < 2 || length < 2 * copies {
            return Err(not_defined(
                OBSERVABLE,
                "`copies` of at least 2 tokens each, at least 2 of them",
                format!("copies = {copies} in sequences of {length} tokens"),
            ));
        }
        let (graph, _) = model.graph(1);
        let layers = attention_layers(&graph, OBSERVABLE)?;
        let n_heads: usize = layers.iter().map(|own| own.n_heads).sum();
        let batch = (MAX_PATTERN / (n_heads * length * length)).clamp(1, SEQUENCES);
        let (graph, _) = model.graph(batch);
        let nodes = layers.iter().map(|own| Ok((own.pattern.as_str(), graph.find(&own.pattern)?)));
        let outputs = nodes.collect::<Result<Vec<_>, ObserveError>>()?;
        let program = Program::compile(&graph, &outputs, Gradient::None)?;
        let workspace = Workspace::new(&program);
        let sequences = (0..SEQUENCES).flat_map(|at| repeated(seed, at as u64, vocabulary, length, copies)).collect();
        Ok(Self { program, workspace, sequences, length, batch, layers })
    }

    /// The names of the heads, `l0h0` and so on, and of their scores.
    pub fn labels(&self) -> [Vec<String>; 2] {
        [head_labels(&self.layers), SCORES.map(str::to_owned).to_vec()]
    }

    /// The scores of the flat `weights`: `[head, score]`, each 0 to 1.
    ///
    /// # Errors
    /// Weights of another model, or attention that is not finite; the error names the first parameter or activation that is not.
    pub fn scores(&mut self, weights: &[f32]) -> Result<Measured, ObserveError> {
        let [heads, scores] = self.labels();
        let mut sums = vec![Sums::default(); heads.len()];
        let Self { program, workspace, length, .. } = self;
        let length = *length;
        for sequences in self.sequences.chunks(self.batch * length) {
            let tokens = workspace.ids_mut(program, "tokens")?;
            tokens[..sequences.len()].copy_from_slice(sequences);
            program.run(workspace, weights)?;
            let mut first = 0;
            for AttentionLayer { pattern, n_heads, .. } in &self.layers {
                let patterns = workspace.output(program, pattern);
                let per_sequence = patterns.chunks_exact(n_heads * length * length);
                for (tokens, patterns) in sequences.chunks_exact(length).zip(per_sequence) {
                    for (sum, pattern) in sums[first..].iter_mut().zip(patterns.chunks_exact(length * length)) {
                        sum.add(tokens, pattern);
                    }
                }
                first += n_heads;
            }
        }
        let values: Vec<f64> = sums.iter().flat_map(Sums::means).collect();
        if values.iter().any(|value| !value.is_finite()) {
            let node = self.program.first_non_finite(&mut self.workspace, weights)?;
            return Err(ObserveError::non_finite(node, "the attention patterns"));
        }
        Ok(Measured { unit: "1", dims: vec![("head", heads), ("score", scores)], values })
    }
}

/// A random sequence, copied until it is `length` tokens long; its tokens are different where the vocabulary has as many.
fn repeated(seed: u32, number: u64, vocabulary: usize, length: usize, copies: usize) -> Vec<i32> {
    let period = length.div_ceil(copies);
    let stream = Stream::new(seed, Purpose::Probe, number);
    let copy: Vec<i32> = if vocabulary >= period {
        stream.permutation(vocabulary, 0).into_iter().take(period).map(|token| token as i32).collect()
    } else {
        (0..period).map(|at| stream.below(vocabulary, 0, at as u32) as i32).collect()
    };
    copy.into_iter().cycle().take(length).collect()
}

/// Sums of one head's scores over positions, and how many there are.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    attention: [f64; SCORES.len()],
    positions: [usize; SCORES.len()],
}

impl Sums {
    /// Adds one sequence; `pattern` is `[query, key]`.
    fn add(&mut self, tokens: &[i32], pattern: &[f32]) {
        for (i, row) in pattern.chunks_exact(tokens.len()).enumerate().skip(1) {
            let at = |j: usize| f64::from(row[j]);
            let same = |end: usize| (0..end).filter(|&j| tokens[j] == tokens[i]);
            let duplicate = (same(i).next().is_some()).then(|| same(i).map(at).sum());
            let induction = (same(i - 1).next().is_some()).then(|| same(i - 1).map(|j| at(j + 1)).sum());
            let found = [Some(at(i - 1)), Some(at(i)), Some(at(0)), duplicate, induction];
            for ((sum, n), found) in self.attention.iter_mut().zip(&mut self.positions).zip(found) {
                if let Some(attention) = found {
                    *sum += attention;
                    *n += 1;
                }
            }
        }
    }

    /// Every score has positions: a sequence is longer than one copy.
    fn means(&self) -> [f64; SCORES.len()] {
        std::array::from_fn(|at| self.attention[at] / self.positions[at] as f64)
    }
}

#[cfg(test)]
mod tests {
    use ontogeny_zoo::{CompiledConfig, NetworkConfig, Read};
    use serde_json::{from_value, json};

    use super::*;

    const TOKENS: [i32; 9] = [4, 1, 2, 4, 1, 2, 4, 1, 2];

    fn scores(attends: impl Fn(usize) -> Vec<(usize, f32)>) -> [f64; 5] {
        let mut pattern = vec![0.0; TOKENS.len() * TOKENS.len()];
        for i in 0..TOKENS.len() {
            for (j, attention) in attends(i) {
                pattern[i * TOKENS.len() + j] = attention;
            }
        }
        let mut sums = Sums::default();
        sums.add(&TOKENS, &pattern);
        sums.means()
    }

    #[test]
    fn ideal_heads_have_a_score_of_one() {
        assert_eq!(scores(|i| vec![(i.saturating_sub(1), 1.0)])[0], 1.0);
        assert_eq!(scores(|i| vec![(i, 1.0)])[1], 1.0);
        assert_eq!(scores(|_| vec![(0, 1.0)])[2], 1.0);
        // To the last copy, and to both where there are two.
        assert_eq!(scores(|i| vec![(i.saturating_sub(3), 1.0)])[3], 1.0);
        let behind_all = |i: usize| match i {
            0..3 => vec![(i, 1.0)],
            3..6 => vec![(i - 2, 1.0)],
            _ => vec![(i - 2, 0.25), (i - 5, 0.75)],
        };
        assert_eq!(scores(behind_all)[4], 1.0);
        // Of heads that look evenly: mean of 1/(i + 1) over i = 1..8, and one or two of i + 1 for the copies.
        let even = scores(|i| (0..=i).map(|j| (j, 1.0 / (i as f32 + 1.0))).collect());
        let mean = |weight: &dyn Fn(usize) -> f64, from: usize| {
            (from..9).map(|i| weight(i) / (i as f64 + 1.0)).sum::<f64>() / (9 - from) as f64
        };
        for (score, expected) in even.iter().zip([
            mean(&|_| 1.0, 1),
            mean(&|_| 1.0, 1),
            mean(&|_| 1.0, 1),
            mean(&|i| (i / 3) as f64, 3),
            mean(&|i| (i / 3) as f64, 3),
        ]) {
            assert!((score - expected).abs() < 1e-6, "{score} {expected}");
        }
    }

    /// The program of induction, compiled to weights (Lindner et al. 2023): what each of its two heads does is known.
    #[test]
    fn heads_of_a_compiled_program_are_what_they_were_made_for() {
        let config: CompiledConfig =
            from_value(json!({"program": "induction", "length": 8, "symbols": 12, "held_examples": 10})).unwrap();
        let compiled = config.compile().unwrap();
        let mut heads = HeadScores::new(&compiled.model, 3, 2).unwrap();
        let found = heads.scores(&compiled.weights).unwrap();
        assert_eq!(found.dims[0], ("head", vec!["l0h0".to_owned(), "l1h0".to_owned()]));
        let [previous, .., induction] = [found.values[0], found.values[1], found.values[9]];
        // Attention of a compiled head is exact but for what its margin leaves to other places.
        assert!(previous > 0.999 && induction > 0.999, "{found:?}");
        assert!(found.values[4] < 0.01 && found.values[5] < 0.2, "{found:?}");
    }

    #[test]
    fn sequences_repeat_and_what_cannot_be_measured_says_why() {
        let sequence = repeated(1, 0, 50, 11, 3);
        assert_eq!(sequence.len(), 11);
        assert!((4..11).all(|at| sequence[at] == sequence[at - 4]));
        assert_eq!(sequence[..4].iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
        assert_ne!(sequence, repeated(1, 1, 50, 11, 3));
        let network = |settings| from_value::<NetworkConfig>(settings).unwrap();
        let tokens = Interface::Tokens { vocabulary: 5, length: 3, read: Read::LastPosition { classes: 5 } };
        let transformer = network(json!({
            "kind": "transformer", "layers": 1, "d_model": 8, "heads": 2, "d_mlp": 8, "activation": "relu",
            "normalization": "none", "positions": "learned",
        }));
        let error = HeadScores::new(&Model::new(transformer, tokens).unwrap(), 0, 2).unwrap_err().to_string();
        assert!(error.contains("copies = 2 in sequences of 3 tokens"), "{error}");
        let mlp = network(json!({"kind": "mlp", "sizes": [2, 4, 2], "activation": "relu"}));
        let vectors =
            Interface::Vectors { inputs: 2, outputs: 2, loss: ontogeny_zoo::VectorLoss::CrossEntropy, image: None };
        let error = HeadScores::new(&Model::new(mlp, vectors).unwrap(), 0, 2).unwrap_err().to_string();
        assert!(error.contains("reads sequences of tokens"), "{error}");
    }
}
