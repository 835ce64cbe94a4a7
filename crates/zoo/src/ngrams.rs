//! What the preceding few tokens tell: entropies of n-grams in a text, and the loss of the best predictor that knows no more.

use std::collections::HashMap;

/// Conditional entropy of a token given the `order` tokens before it, H(Xₜ | Xₜ₋ₖ … Xₜ₋₁), of the empirical distribution of
/// all stretches of `order` + 1 tokens, in nats per token: 0 for unigrams, 1 for bigrams, 2 for trigrams. `None` where the
/// text has no such stretch.
///
/// It is the least mean loss on *this* text of any predictor that sees `order` tokens. Below the entropy of the source it is
/// by about (stretches that occur − contexts that occur)/(2·length) (Miller 1955); where that is not small, compare with
/// [`NgramModel::cross_entropy`] on text held out.
pub fn ngram_entropy(tokens: &[i32], order: usize) -> Option<f64> {
    let mut stretches: Vec<&[i32]> = tokens.windows(order + 1).collect();
    // Equal contexts come together, and within them equal stretches.
    stretches.sort_unstable();
    let mut entropy = 0.0;
    for of_context in stretches.chunk_by(|a, b| a[..order] == b[..order]) {
        let n_context = of_context.len() as f64;
        for equal in of_context.chunk_by(|a, b| a[order] == b[order]) {
            entropy += equal.len() as f64 * (n_context / equal.len() as f64).ln();
        }
    }
    (!stretches.is_empty()).then(|| entropy / stretches.len() as f64)
}

/// A predictor from the preceding `order` tokens, counted in a text.
///
/// The probabilities of the longest context are frequencies that leave room for what was never seen after it, by the rule of
/// Witten and Bell (1991, method C; Chen and Goodman 1999, section 2.5): with c(h) the occurrences of a context h, T(h) the
/// number of different tokens seen after it and h′ the context without its first token,
///
/// P(w|h) = (c(h w) + T(h) P(w|h′)) / (c(h) + T(h)),
///
/// down to 1/vocabulary below the unigrams; of a context that never occurred, P(w|h) = P(w|h′). Nothing is added to counts,
/// there is nothing to tune, all probabilities of a context sum to 1, and with more text they go to the frequencies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NgramModel {
    order: usize,
    vocabulary: usize,
    /// By length of the context.
    levels: Vec<HashMap<Box<[i32]>, Followers>>,
}

/// What was seen after a context h.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Followers {
    /// c(h).
    occurrences: u32,
    /// c(h w) of each of the T(h) tokens w, sorted by token.
    counts: Vec<(i32, u32)>,
}

impl NgramModel {
    /// Counts the n-grams of `tokens`, whose ids are below `vocabulary`.
    pub fn new(tokens: &[i32], order: usize, vocabulary: usize) -> Self {
        Self::of_sequences(&std::iter::once(tokens), order, vocabulary)
    }

    /// Counts the n-grams within each of the sequences, and none across their ends.
    pub fn of_sequences<'a>(
        sequences: &(impl Iterator<Item = &'a [i32]> + Clone),
        order: usize,
        vocabulary: usize,
    ) -> Self {
        let level = |length: usize| {
            let mut stretches: Vec<&[i32]> = sequences.clone().flat_map(|tokens| tokens.windows(length + 1)).collect();
            stretches.sort_unstable();
            let of_context = stretches.chunk_by(|a, b| a[..length] == b[..length]).map(|own| {
                let counts =
                    own.chunk_by(|a, b| a[length] == b[length]).map(|equal| (equal[0][length], equal.len() as u32));
                (own[0][..length].into(), Followers { occurrences: own.len() as u32, counts: counts.collect() })
            });
            of_context.collect()
        };
        Self { order, vocabulary, levels: (0..=order).map(level).collect() }
    }

    /// Probabilities of all tokens after `context`, of which the last `order` tokens count.
    pub fn distribution(&self, context: &[i32]) -> Vec<f64> {
        let context = &context[context.len().saturating_sub(self.order)..];
        let mut probabilities = vec![1.0 / self.vocabulary as f64; self.vocabulary];
        for (length, level) in self.levels.iter().enumerate().take(context.len() + 1) {
            let Some(followers) = level.get(&context[context.len() - length..]) else { break };
            let types = followers.counts.len() as f64;
            let total = f64::from(followers.occurrences) + types;
            for probability in &mut probabilities {
                *probability *= types / total;
            }
            for &(token, count) in &followers.counts {
                probabilities[token as usize] += f64::from(count) / total;
            }
        }
        probabilities
    }

    /// The expectation of `value` of the next token after `context`, for each predictor that sees 0, 1, … `order` of its last
    /// tokens.
    pub fn expectations(&self, context: &[i32], value: impl Fn(usize) -> f64) -> Vec<f64> {
        // Below the unigrams all tokens are alike; each level mixes what it has seen with the one before.
        let mut expectation = (0..self.vocabulary).map(&value).sum::<f64>() / self.vocabulary as f64;
        let mut expectations = Vec::with_capacity(self.order + 1);
        for (length, level) in self.levels.iter().enumerate() {
            let followers = context.len().checked_sub(length).and_then(|first| level.get(&context[first..]));
            if let Some(followers) = followers {
                let types = followers.counts.len() as f64;
                let seen: f64 = followers.counts.iter().map(|&(w, count)| f64::from(count) * value(w as usize)).sum();
                expectation = (seen + types * expectation) / (f64::from(followers.occurrences) + types);
            }
            expectations.push(expectation);
        }
        expectations
    }

    /// Probability of `token` after `context`, of which the last `order` tokens count.
    pub fn probability(&self, context: &[i32], token: i32) -> f64 {
        let context = &context[context.len().saturating_sub(self.order)..];
        let stretch: Vec<i32> = context.iter().copied().chain([token]).collect();
        self.of_stretch(&stretch)
    }

    /// Mean of −ln P over the tokens of a text, each after those before it: nats per token. `None` for an empty text.
    pub fn cross_entropy(&self, tokens: &[i32]) -> Option<f64> {
        let losses = (0..tokens.len()).map(|at| -self.of_stretch(&tokens[at.saturating_sub(self.order)..=at]).ln());
        (!tokens.is_empty()).then(|| losses.sum::<f64>() / tokens.len() as f64)
    }

    /// Probability of the last token of a stretch after the others.
    fn of_stretch(&self, stretch: &[i32]) -> f64 {
        let n_context = stretch.len() - 1;
        let mut probability = 1.0 / self.vocabulary as f64;
        for (length, level) in self.levels.iter().enumerate().take(n_context + 1) {
            let stretch = &stretch[n_context - length..];
            // Where a context never occurred, no longer one did either.
            let Some(followers) = level.get(&stretch[..length]) else { break };
            let place = followers.counts.binary_search_by_key(&stretch[length], |&(token, _)| token);
            let count = place.map_or(0.0, |at| f64::from(followers.counts[at].1));
            let types = followers.counts.len() as f64;
            probability = (count + types * probability) / (f64::from(followers.occurrences) + types);
        }
        probability
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ontogeny_graph::{Purpose, Stream};

    fn entropy_of(p: f64) -> f64 {
        -p * p.ln() - (1.0 - p) * (1.0 - p).ln()
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-14, "{found}, expected {expected}");
    }

    #[test]
    fn entropies_of_small_texts_are_those_by_hand() {
        // Alternating: each token is certain from the one before.
        let alternating: Vec<i32> = (0..64).map(|i| i % 2).collect();
        close(ngram_entropy(&alternating, 0).unwrap(), 2.0_f64.ln());
        close(ngram_entropy(&alternating, 1).unwrap(), 0.0);
        // A circle in which every three bits stand once (de Bruijn), cut open: two bits say nothing about the next.
        let circle = [0, 0, 0, 1, 0, 1, 1, 1, 0, 0];
        close(ngram_entropy(&circle, 2).unwrap(), 2.0_f64.ln());
        // After 0 of [0, 1, 0, 0, 2]: 1, 0 and 2, once each; after 1: 0.
        close(ngram_entropy(&[0, 1, 0, 0, 2], 1).unwrap(), 0.75 * 3.0_f64.ln());
        assert_eq!(ngram_entropy(&[3, 4], 2), None);
        assert_eq!(ngram_entropy(&[], 0), None);
    }

    #[test]
    fn probabilities_are_those_by_hand_and_sum_to_1() {
        // Unigrams: c = 3, 1, 0 of 4 and T = 2, so (3 + 2/3)/6, (1 + 2/3)/6, (2/3)/6. After 0: c = 2 and T = 2.
        let tokens = [0, 1, 0, 0];
        let unigrams = NgramModel::new(&tokens, 0, 3);
        let bigrams = NgramModel::new(&tokens, 1, 3);
        for (token, unigram, after_0) in [(0, 11.0, 10.0), (1, 5.0, 7.0), (2, 2.0, 1.0)] {
            close(unigrams.probability(&[1, 2], token), unigram / 18.0);
            close(bigrams.probability(&[2, 0], token), after_0 / 18.0);
            // What never occurred as a context says nothing.
            close(bigrams.probability(&[2], token), unigram / 18.0);
        }
        let tokens: Vec<i32> = (0..300).map(|i| i * i % 7).collect();
        let trigrams = NgramModel::new(&tokens, 2, 8);
        for context in [&[0, 1][..], &[4, 4], &[7], &[]] {
            close((0..8).map(|token| trigrams.probability(context, token)).sum(), 1.0);
            for (token, probability) in (0..).zip(trigrams.distribution(context)) {
                close(probability, trigrams.probability(context, token));
            }
        }
        let by_hand: f64 =
            tokens.iter().enumerate().map(|(at, &token)| -trigrams.probability(&tokens[..at], token).ln()).sum();
        close(trigrams.cross_entropy(&tokens).unwrap(), by_hand / 300.0);
        assert_eq!(trigrams.cross_entropy(&[]), None);
        for context in [&[0, 1][..], &[4, 4], &[7]] {
            let found = trigrams.expectations(context, |token| (token as f64).sqrt());
            for (order, found) in found.into_iter().enumerate() {
                let seen = &context[context.len().saturating_sub(order)..];
                let p = trigrams.distribution(seen);
                close(found, p.iter().enumerate().map(|(token, p)| p * (token as f64).sqrt()).sum());
            }
        }
        // Nothing follows across the end of a sequence: what ends one says nothing about the next.
        let cut = NgramModel::of_sequences(&[0, 1, 0, 0].chunks(2), 1, 2);
        close(cut.probability(&[1], 0), cut.probability(&[], 0));
        close(NgramModel::new(&[0, 1, 0, 0], 1, 2).probability(&[1], 0), f64::midpoint(1.0, cut.probability(&[], 0)));
    }

    /// Two states, left with probabilities a and b: the stationary weights are b/(a + b) and a/(a + b), and the entropy of a
    /// step is their mean of the entropies of a and b.
    #[test]
    fn a_markov_chain_has_the_entropies_of_its_closed_form() {
        let (a, b) = (0.1, 0.4);
        let stream = Stream::new(0, Purpose::Data, 0);
        let n = 300_000;
        let mut state = 0;
        let chain: Vec<i32> = (0..n)
            .map(|i| {
                let leaves = stream.uniform(0, i) < if state == 0 { a } else { b };
                state = if leaves { 1 - state } else { state };
                state
            })
            .collect();
        let (train, test) = chain.split_at(200_000);
        let weight = b / (a + b);
        let (h_a, h_b) = (entropy_of(a), entropy_of(b));
        let (of_state, of_step) = (entropy_of(weight), weight * h_a + (1.0 - weight) * h_b);
        // Standard error of a mean of −ln P. Given the state before, the surprises of steps vary by themselves; the
        // entropy of the state varies too, and its correlation falls by r = 1 − a − b a step, which multiplies its
        // variance by (1 + r)/(1 − r). The deviation of a sum is at most the sum of the deviations.
        let r = 1.0 - a - b;
        let spread = |p: f64| p * (1.0 - p) * ((1.0 - p) / p).ln().powi(2);
        let of_states =
            |low: f64, high: f64| (weight * (1.0 - weight) * (high - low).powi(2) * (1.0 + r) / (1.0 - r)).sqrt();
        let deviation = (weight * spread(a) + (1.0 - weight) * spread(b)).sqrt() + of_states(h_a, h_b);
        let unigram_deviation = of_states(-weight.ln(), -(1.0 - weight).ln());
        // Frequencies cost 1/(2·length) for each that is free: far below the standard errors.
        for (order, expected, deviation) in
            [(0, of_state, unigram_deviation), (1, of_step, deviation), (2, of_step, deviation)]
        {
            let found = ngram_entropy(&chain, order).unwrap();
            assert!((found - expected).abs() < 4.0 * deviation / 300_000_f64.sqrt(), "{order}: {found}, {expected}");
            let held_out = NgramModel::new(train, order, 2).cross_entropy(test).unwrap();
            assert!((held_out - expected).abs() < 4.0 * deviation / 100_000_f64.sqrt(), "{order}: {held_out}");
        }
        // The two differ by far more than the tolerances above.
        assert!(of_state - of_step > 0.05);
    }
}
