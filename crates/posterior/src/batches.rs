//! Which examples a step sees: all of them in order, or an independent random subset.

use ontogeny_graph::{Purpose, Stream};

/// How many examples a gradient is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batch {
    /// Every example once, in order. The only choice for a population loss.
    Full,
    /// A random subset of this many examples, at least 1 and at most the data.
    Size(usize),
}

/// The examples of any step of one chain.
///
/// A minibatch is a uniformly random subset without repetition, drawn anew for every step and independent of all
/// other steps. Epochs (every example once before any twice) would be wrong here for two reasons. Batches of one epoch
/// repel each other, so the loss of a fresh batch is that of data the chain has lately *not* followed: the estimate of
/// λ then rises by up to f·hσ²/ln n per direction (f = nβh/(nβh + γ), σ² the variance of the gradient over examples in
/// units of h²), 0.14 on a true 0.74 in a quadratic with n = 256. And the stationary law of SGLD (Mandt et al. 2017)
/// holds for independent gradient noise. A subset depends on the step alone, so nothing is replayed for ever and a
/// chain can be entered anywhere.
#[derive(Debug)]
pub(crate) struct BatchSource {
    stream: Stream,
    /// 0..n between calls.
    order: Vec<usize>,
    chosen: Vec<usize>,
    is_full: bool,
}

impl BatchSource {
    /// Batches of `batch` out of `n` examples; `batch` is at most `n`.
    pub(crate) fn new(n: usize, batch: usize, stream: Stream) -> Self {
        Self { stream, order: (0..n).collect(), chosen: vec![0; batch], is_full: batch == n }
    }

    /// The batches of one chain's gradients.
    pub(crate) fn of_chain(n: usize, batch: usize, seed: u32, chain: usize) -> Self {
        Self::new(n, batch, Stream::new(seed, Purpose::ChainBatches, chain as u64))
    }

    /// The examples that [`Self::rows`] gave last.
    pub(crate) fn last(&self) -> &[usize] {
        if self.is_full { &self.order } else { &self.chosen }
    }

    /// The examples of step `step`.
    pub(crate) fn rows(&mut self, step: u32) -> &[usize] {
        if self.is_full {
            return &self.order;
        }
        // The first places of a Fisher–Yates shuffle, undone afterwards so that no step depends on another.
        let n = self.order.len();
        for place in 0..self.chosen.len() {
            let other = place + self.stream.below(n - place, step, place as u32);
            self.order.swap(place, other);
            self.chosen[place] = other;
        }
        for place in (0..self.chosen.len()).rev() {
            let other = std::mem::replace(&mut self.chosen[place], self.order[place]);
            self.order.swap(place, other);
        }
        &self.chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_batch_is_every_example_once_in_order() {
        assert_eq!(BatchSource::of_chain(5, 5, 0, 0).rows(3), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_minibatch_repeats_no_example_and_depends_on_step_chain_and_seed_alone() {
        let mut source = BatchSource::of_chain(50, 20, 1, 2);
        let steps: Vec<Vec<usize>> = (0..30).map(|step| source.rows(step).to_vec()).collect();
        for rows in &steps {
            let mut sorted = rows.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), 20);
            assert!(sorted[19] < 50);
        }
        assert_eq!(source.rows(7), steps[7], "random access");
        assert_eq!(BatchSource::of_chain(50, 20, 1, 2).rows(7), steps[7], "resume");
        assert_ne!(BatchSource::of_chain(50, 20, 1, 3).rows(7), steps[7], "another chain");
        assert_ne!(BatchSource::of_chain(50, 20, 2, 2).rows(7), steps[7], "another seed");
    }

    #[test]
    fn defect_9_the_first_shuffle_is_not_replayed() {
        let mut source = BatchSource::of_chain(12, 4, 0, 0);
        let passes: Vec<Vec<usize>> =
            (0..4).map(|pass| (0..3).flat_map(|i| source.rows(3 * pass + i).to_vec()).collect()).collect();
        for pass in 1..4 {
            assert_ne!(passes[0], passes[pass]);
        }
    }

    #[test]
    fn every_example_is_equally_likely_in_every_place() {
        let mut source = BatchSource::of_chain(8, 3, 5, 0);
        let mut counts = [[0_u32; 8]; 3];
        let n_steps = 8000;
        for step in 0..n_steps {
            for (place, &row) in source.rows(step).iter().enumerate() {
                counts[place][row] += 1;
            }
        }
        // 24 counts, each binomial with mean 1000 and standard deviation √(8000·⅛·⅞) = 29.6; 4.5 of them is a chance
        // of 24·7e-6.
        for count in counts.iter().flatten() {
            assert!((f64::from(*count) - 1000.0).abs() < 4.5 * 29.6, "{count}");
        }
    }
}
