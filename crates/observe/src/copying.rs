//! Prefix matching and copying of attention heads, as "In-context Learning and Induction Heads" (Olsson et al. 2022) evaluates them.

use ontogeny_graph::{Graph, Node, Purpose, Stream};
use ontogeny_stats::eigenvalues;
use ontogeny_zoo::{Interface, Model, Read, Task};

use crate::head_weights::{embedding, head_matrices, transformer, unembedding};
use crate::sequences::{AttentionLayer, SequenceReader, attention_layers, beginning, token_interface, tokens_of};
use crate::{Checkpoint, ObserveError};

/// Random tokens of a sequence, and how often they stand in it.
const TOKENS: usize = 25;
const COPIES: usize = 4;

/// Sequences that are looked at; Olsson et al. take 10.
const SEQUENCES: usize = 16;

/// Of the tokens by how often they come in the training data, the most and the least frequent that are not drawn.
const LEFT_OUT: f64 = 0.1;

/// The scores, in the order of the results.
pub(crate) const COPYING_SCORES: [&str; 3] = ["prefix_matching", "copying", "ov_eigenvalues"];

/// Measures the scores of all heads of a transformer.
///
/// | score | range | what |
/// |---|---|---|
/// | `prefix_matching` | 0 to 1 | attention from each token to those that followed it before, on 25 random tokens that come four times |
/// | `copying` | −1 to 1 | how much of what a head raises is the token it attends to |
/// | `ov_eigenvalues` | −1 to 1 | Σ Re λ / Σ\|λ\| of the eigenvalues λ of its OV circuit from tokens to logits |
///
/// Sequences are drawn without the most and the least frequent tenth of the tokens, begin with the token that all training sequences
/// begin with, if they do, and are cut where the network reads less. `prefix_matching` is the mean over all tokens that came before of
/// Σ A(i, j + 1) over the earlier j with the token of i. For `copying` each of the 25 tokens in its first place is taken as attended to by
/// the head alone: of the direct path to the logits of the 25 (z = `x W_V W_O W_U`, with `b_V`) the mean is taken away, and the share of
/// Σ|z − z̄| that lies above at the token itself, which is at most ½, is rescaled from 0 … ½ to −1 … 1; a head that writes nothing has −1.
/// The OV circuit is `W_E W_V W_O W_U` over the tokens that have logits; its eigenvalues are those of the small `W_O W_U W_E W_V`; a head
/// that writes nothing has 0. An ideal head has 1 of each.
///
/// Of norms their weights and the mean they take away are in the matrices, the scale, one number for each token, is not
/// (`copying` does not depend on that of the last norm); norms behind the blocks are left out.
#[derive(Debug)]
pub(crate) struct Copying {
    reader: SequenceReader,
    layers: Vec<AttentionLayer>,
    sequences: Vec<i32>,
    /// Whether a token stands in front.
    first: usize,
    n_tokens: usize,
    n_shown: usize,
    d_head: usize,
}

impl Copying {
    pub(crate) fn new(model: &Model, task: &Task, seed: u32, observable: &'static str) -> Result<Self, ObserveError> {
        let config = transformer(model.network(), observable)?;
        let (vocabulary, length) = token_interface(model, observable)?;
        let n_logits = match model.interface() {
            Interface::Tokens { read: Read::LastPosition { classes }, .. } => classes.min(vocabulary),
            _ => vocabulary,
        };
        let (graph, _) = model.graph(1);
        let layers = attention_layers(&graph, observable)?;
        // Short sequences have room for two copies of two tokens, and nothing else.
        let front = beginning(task, length).filter(|_| length > 2 * 2);
        let first = usize::from(front.is_some());
        let n_tokens = ((length - first) / COPIES).clamp(2, TOKENS.min(n_logits).max(2));
        let n_shown = first + n_tokens * ((length - first) / n_tokens).min(COPIES);
        let candidates = candidates(task, n_logits, n_tokens);
        let mut sequences = vec![0; SEQUENCES * length];
        for (number, row) in (0..).zip(sequences.chunks_exact_mut(length)) {
            row[..first].fill(front.unwrap_or(0));
            let drawn = draw(Stream::new(seed, Purpose::Probe, (1 << 32) + number), &candidates, n_tokens);
            let copies = drawn.iter().cycle().take(n_shown - first);
            row[first..n_shown].iter_mut().zip(copies).for_each(|(place, token)| *place = *token);
        }
        let outputs = |g: &mut Graph| {
            let unembed = unembedding(g, config, n_logits)?;
            let embed = embedding(g, n_logits)?;
            // [d, d]: from what is read as logits to what is embedded.
            let around = g.einsum("dn,nc->dc", unembed, embed);
            let tokens = g.find("tokens")?;
            let tokens = g.slice(tokens, 1, first, n_tokens);
            let rows = g.transpose(unembed);
            let directions = g.gather(rows, tokens);
            let mut nodes: Vec<(String, Node)> = Vec::new();
            for own in &layers {
                let pattern = g.find(&own.pattern)?;
                let pattern = g.slice(pattern, 2, 0, n_shown);
                nodes.push((own.pattern.clone(), g.slice(pattern, 3, 0, n_shown)));
                let heads = head_matrices(g, config, own.layer)?;
                let back = g.einsum("hed,dc->hec", heads.output, around);
                let circuit = g.einsum("hec,hcf->hef", back, heads.value);
                // The same for all sequences, but outputs are read by sequence.
                let batch = g.shape(tokens)[0];
                let [h, e, _] = g.shape(circuit).try_into().expect("a matrix for each head");
                let circuit = g.reshape(circuit, &[1, h, e, e]);
                nodes.push((format!("circuit {}", own.layer), g.broadcast(circuit, &[batch, h, e, e])));
                nodes.push((format!("raised {}", own.layer), raised(g, own, heads.output, directions, first)?));
            }
            Ok(nodes)
        };
        let reader = SequenceReader::new(model, observable, SEQUENCES, outputs)?;
        Ok(Self { reader, layers, sequences, first, n_tokens, n_shown, d_head: config.head_width() })
    }

    /// The scores of each head.
    pub(crate) fn measure(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Vec<[f64; 3]>, ObserveError> {
        let Self { reader, layers, sequences, first, n_tokens, n_shown, d_head } = self;
        let (first, n, shown, e) = (*first, *n_tokens, *n_shown, *d_head);
        let n_heads = layers.iter().map(|own| own.n_heads).sum();
        let mut scores = vec![[0.0; 3]; n_heads];
        let mut circuits: Vec<Vec<f32>> = Vec::new();
        reader.each(checkpoint, sequences, |tokens, output| {
            let is_first = circuits.is_empty();
            let (mut head, mut sum) = (0, 0.0);
            for own in layers.iter() {
                let raised = output(&format!("raised {}", own.layer)).chunks_exact(n * n);
                let patterns = output(&own.pattern).chunks_exact(shown * shown);
                for (pattern, raised) in patterns.zip(raised) {
                    let found = [matched(&tokens[first..shown], pattern, shown, first), copied(raised, n)];
                    for (score, found) in scores[head].iter_mut().zip(found) {
                        *score += found / SEQUENCES as f64;
                        sum += found;
                    }
                    head += 1;
                }
                if is_first {
                    circuits.extend(output(&format!("circuit {}", own.layer)).chunks_exact(e * e).map(<[f32]>::to_vec));
                }
            }
            // Circuits do not depend on the sequence.
            if is_first { sum + circuits.iter().flatten().map(|&x| f64::from(x)).sum::<f64>() } else { sum }
        })?;
        for (score, circuit) in scores.iter_mut().zip(&circuits) {
            let circuit: Vec<f64> = circuit.iter().map(|&x| f64::from(x)).collect();
            let found = eigenvalues(&circuit, e).ok_or_else(|| {
                ObserveError::non_finite(None, "the eigenvalues of a head's OV circuit, which did not converge")
            })?;
            score[2] = positive_share(&found);
        }
        Ok(scores)
    }
}

/// Logits `[batch, heads, source, token]` that each head writes if it attends to one source alone.
fn raised(
    g: &mut Graph,
    own: &AttentionLayer,
    output: Node,
    directions: Node,
    first: usize,
) -> Result<Node, ObserveError> {
    let values = g.find(&format!("blocks.{}.attn.hook_v", own.layer))?;
    let n = g.shape(directions)[1];
    let values = g.slice(values, 1, first, n);
    let [batch, _, shared, e] = g.shape(values).try_into().expect("values have four axes");
    let each = g.reshape(values, &[batch, n, shared, 1, e]);
    let each = g.broadcast(each, &[batch, n, shared, own.n_heads / shared, e]);
    let each = g.reshape(each, &[batch, n, own.n_heads, e]);
    let written = g.einsum("bshe,hed->bhsd", each, output);
    Ok(g.einsum("bhsd,btd->bhst", written, directions))
}

/// The tokens that may be drawn: those with logits, without the most and the least frequent of the training data, if enough are left.
fn candidates(task: &Task, n_logits: usize, n_tokens: usize) -> Vec<i32> {
    let mut counts = vec![0_u64; n_logits];
    for &id in task.split("train").and_then(tokens_of).unwrap_or_default() {
        if let Some(count) = counts.get_mut(id as usize) {
            *count += 1;
        }
    }
    let mut by_count: Vec<i32> = (0..n_logits as i32).collect();
    by_count.sort_by_key(|&id| (counts[id as usize], id));
    let n_left_out = (LEFT_OUT * n_logits as f64) as usize;
    if n_logits - 2 * n_left_out < n_tokens {
        return by_count;
    }
    by_count[n_left_out..n_logits - n_left_out].to_vec()
}

/// Different ones where there are as many.
fn draw(stream: Stream, candidates: &[i32], n: usize) -> Vec<i32> {
    if candidates.len() < n {
        return (0..n).map(|at| candidates[stream.below(candidates.len(), 0, at as u32)]).collect();
    }
    stream.permutation(candidates.len(), 0).into_iter().take(n).map(|at| candidates[at]).collect()
}

/// Prefix matching of one pattern `[shown, shown]`; `tokens` are those behind what stands in front.
fn matched(tokens: &[i32], pattern: &[f32], shown: usize, first: usize) -> f64 {
    let (mut sum, mut n) = (0.0, 0);
    for i in 1..tokens.len() {
        let mut earlier = (0..i - 1).filter(|&j| tokens[j] == tokens[i]).peekable();
        if earlier.peek().is_some() {
            let row = &pattern[(first + i) * shown..];
            sum += earlier.map(|j| f64::from(row[first + j + 1])).sum::<f64>();
            n += 1;
        }
    }
    // Two copies of two tokens and more: some token came before.
    sum / f64::from(n)
}

/// Copying score of the logits `[source, token]` of n sources and the same tokens.
fn copied(raised: &[f32], n: usize) -> f64 {
    let score = |(source, logits): (usize, &[f32])| {
        let mean = logits.iter().map(|&z| f64::from(z)).sum::<f64>() / n as f64;
        let total: f64 = logits.iter().map(|&z| (f64::from(z) - mean).abs()).sum();
        let own = (f64::from(logits[source]) - mean).max(0.0);
        if total == 0.0 { -1.0 } else { 4.0 * own / total - 1.0 }
    };
    raised.chunks_exact(n).enumerate().map(score).sum::<f64>() / n as f64
}

/// Σ Re λ / Σ|λ|; 0 where all are 0.
fn positive_share(eigenvalues: &[[f64; 2]]) -> f64 {
    let (sum, total) = eigenvalues.iter().fold((0.0, 0.0), |(sum, total), [re, im]| (sum + re, total + re.hypot(*im)));
    if total == 0.0 { 0.0 } else { sum / total }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ontogeny_zoo::TaskConfig;
    use serde_json::{Value, from_value, json};

    use super::*;

    fn task(vocabulary: usize, bos: bool) -> Task {
        let config = json!({"kind": "repeated_tokens", "vocabulary": vocabulary, "block": 12, "repeats": 3, "bos": bos, "train_examples": 50});
        from_value::<TaskConfig>(config).unwrap().prepare(0, Path::new(".")).unwrap()
    }

    fn model(task: &Task, changes: &Value) -> Model {
        let mut network = json!({
            "kind": "transformer", "layers": 2, "d_model": 24, "heads": 4, "attention_only": true,
            "normalization": "layer_norm", "positions": "learned",
        });
        network.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        Model::new(from_value(network).unwrap(), task.interface).unwrap()
    }

    #[test]
    fn ideal_heads_have_one_and_others_what_they_do_by_hand() {
        // Three tokens, three times; from the second time on, all attention behind the earlier ones.
        let tokens = [4, 1, 2, 4, 1, 2, 4, 1, 2];
        let n = tokens.len() + 1;
        let mut pattern = vec![0.0; n * n];
        for i in 3..9 {
            pattern[(i + 1) * n + i - 1] = if i < 6 { 1.0 } else { 0.25 };
            if i >= 6 {
                pattern[(i + 1) * n + i - 4] = 0.75;
            }
        }
        assert_eq!(matched(&tokens, &pattern, n, 1), 1.0);
        // Raises its own token alone; raises another alone; all the same.
        assert!((copied(&[3.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 1.0], 3) - 1.0).abs() < 1e-12);
        assert_eq!(copied(&[0.0, 3.0, 0.0, 0.0, 0.0, 2.0, 1.0, 0.0, 0.0], 3), -1.0);
        assert_eq!(copied(&[0.5; 9], 3), -1.0);
        // Its own and one other alike: half of what is raised.
        assert!(copied(&[1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0], 3).abs() < 1e-12);
        assert_eq!(positive_share(&[[1.0, 0.0], [2.0, 0.0]]), 1.0);
        assert_eq!(positive_share(&[[0.0, 1.0], [0.0, -1.0]]), 0.0);
        assert_eq!(positive_share(&[[-1.0, 0.0]]), -1.0);
        assert_eq!(positive_share(&[[0.0, 0.0]]), 0.0);
    }

    /// Heads whose `W_V W_O` is the identity of a part of the stream, in which tokens are one-hot, copy what they attend to; with the
    /// sign turned they do the opposite.
    #[test]
    fn a_network_that_copies_by_hand_is_found() {
        let task = task(6, false);
        for normalization in ["none", "layer_norm"] {
            let model = model(&task, &json!({"layers": 1, "normalization": normalization}));
            let mut weights = vec![0.0; model.space().len()];
            let mut set = |name: &str, index: &dyn Fn(usize) -> usize, n: usize, value: f32| {
                let range = model.space().find(name).unwrap().range.clone();
                (0..n).for_each(|i| weights[range.start + index(i)] = value);
            };
            // Token t is coordinate t of 24; heads have 6.
            set("embed.W_E", &|t| t * 24 + t, 6, 1.0);
            set("unembed.W_U", &|t| t * 6 + t, 6, 1.0);
            for (head, sign) in [(0, 1.0), (1, -1.0)] {
                set("blocks.0.attn.W_V", &|t| (head * 24 + t) * 6 + t, 6, 1.0);
                set("blocks.0.attn.W_O", &|t| (head * 6 + t) * 24 + t, 6, sign);
            }
            if normalization == "layer_norm" {
                set("blocks.0.ln1.w", &|i| i, 24, 1.0);
                set("ln_final.w", &|i| i, 24, 2.0);
            }
            let scores =
                Copying::new(&model, &task, 0, "head_scores").unwrap().measure(&Checkpoint::alone(&weights)).unwrap();
            for (score, [copying, eigen]) in scores.iter().zip([[1.0, 1.0], [-1.0, -1.0], [-1.0, 0.0], [-1.0, 0.0]]) {
                assert!(
                    (score[1] - copying).abs() < 1e-5 && (score[2] - eigen).abs() < 1e-5,
                    "{normalization}: {scores:?}"
                );
            }
        }
    }

    /// The eigenvalues of the small product are those of the whole circuit over the vocabulary.
    #[test]
    fn small_and_large_circuits_have_the_same_score() {
        let task = task(17, true);
        for changes in
            [json!({}), json!({"key_value_heads": 2, "normalization": "rms_norm"}), json!({"tied_unembed": true})]
        {
            let model = model(&task, &changes);
            let mut weights = model.initial_weights(5);
            let mut noise = vec![0.0; weights.len()];
            Stream::new(1, Purpose::Probe, 0).normals(0, 0, &mut noise);
            weights.iter_mut().zip(noise).for_each(|(w, x)| *w += 0.1 * x);
            let scores =
                Copying::new(&model, &task, 0, "head_scores").unwrap().measure(&Checkpoint::alone(&weights)).unwrap();
            let tensor = |name: &str| {
                let param = model.space().find(name).ok()?;
                Some(weights[param.range.clone()].iter().map(|&x| f64::from(x)).collect::<Vec<f64>>())
            };
            let (v, d, e) = (model.space().find("embed.W_E").unwrap().shape[0], 24, 6);
            let table = tensor("embed.W_E").unwrap();
            let unembed =
                tensor("unembed.W_U").unwrap_or_else(|| (0..d * v).map(|at| table[at % v * d + at / v]).collect());
            for (layer, head) in [(0, 1), (1, 3)] {
                let one = vec![1.0; d];
                let (ln1, last) = (
                    tensor(&format!("blocks.{layer}.ln1.w")).unwrap_or(one.clone()),
                    tensor("ln_final.w").unwrap_or(one),
                );
                let is_layer_norm = tensor("ln_final.b").is_some();
                let values = tensor(&format!("blocks.{layer}.attn.W_V"))
                    .or_else(|| tensor(&format!("blocks.{layer}.attn._W_V")))
                    .unwrap();
                let group = head * (values.len() / (d * e)) / 4;
                let outputs = tensor(&format!("blocks.{layer}.attn.W_O")).unwrap();
                let mean = |x: &[f64]| if is_layer_norm { x.iter().sum::<f64>() / d as f64 } else { 0.0 };
                // Row by row, as the network would: norm without its scale, values, output, norm, logits.
                let circuit: Vec<f64> = table
                    .chunks(d)
                    .take(v)
                    .flat_map(|row| {
                        let m = mean(row);
                        let read: Vec<f64> = row.iter().zip(&ln1).map(|(x, w)| (x - m) * w).collect();
                        let z: Vec<f64> =
                            (0..e).map(|f| (0..d).map(|c| read[c] * values[(group * d + c) * e + f]).sum()).collect();
                        let out: Vec<f64> =
                            (0..d).map(|c| (0..e).map(|f| z[f] * outputs[(head * e + f) * d + c]).sum()).collect();
                        let m = mean(&out);
                        let last: Vec<f64> = out.iter().zip(&last).map(|(x, w)| (x - m) * w).collect();
                        (0..v).map(|t| (0..d).map(|c| last[c] * unembed[c * v + t]).sum::<f64>()).collect::<Vec<f64>>()
                    })
                    .collect();
                let expected = positive_share(&eigenvalues(&circuit, v).unwrap());
                let found = scores[layer * 4 + head][2];
                // f32 products, and v − e eigenvalues that are 0 up to rounding.
                assert!((found - expected).abs() < 1e-4, "{changes}: {found}, {expected}");
            }
        }
    }

    #[test]
    fn random_tokens_leave_out_the_ends_of_the_frequencies() {
        let task = task(40, false);
        let all = candidates(&task, 40, 9);
        assert_eq!(all.len(), 32);
        assert_eq!(candidates(&task, 40, 33).len(), 40);
        let drawn = draw(Stream::new(0, Purpose::Probe, 0), &all, 9);
        assert_eq!(drawn.iter().collect::<std::collections::BTreeSet<_>>().len(), 9);
        assert_eq!(draw(Stream::new(0, Purpose::Probe, 0), &[3], 4), [3; 4]);
    }
}
