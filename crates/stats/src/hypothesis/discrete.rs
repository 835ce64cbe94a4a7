//! Null distributions on whole numbers: sums of scores with random signs, and of random subsets, exactly.

use super::answer::{Basis, Interval, Sided, Test};

/// Probabilities of 0, 1, 2, ….
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DiscreteNull {
    probabilities: Vec<f64>,
}

impl DiscreteNull {
    /// From weights that are counted, not yet divided by their sum.
    pub(crate) fn of_counts(mut counts: Vec<f64>) -> Self {
        let total: f64 = counts.iter().sum();
        for count in &mut counts {
            *count /= total;
        }
        Self { probabilities: counts }
    }

    /// The sum of those scores whose fair coin shows heads.
    pub(crate) fn of_signs(scores: &[usize]) -> Self {
        let total: usize = scores.iter().sum();
        let (mut probabilities, mut next) = (vec![0.0; total + 1], vec![0.0; total + 1]);
        probabilities[0] = 1.0;
        let mut reached = 0;
        for &score in scores {
            next[..=reached + score].fill(0.0);
            for (to, p) in next.iter_mut().zip(&probabilities[..=reached]) {
                *to = 0.5 * p;
            }
            for (to, p) in next[score..].iter_mut().zip(&probabilities[..=reached]) {
                *to += 0.5 * p;
            }
            reached += score;
            std::mem::swap(&mut probabilities, &mut next);
        }
        Self { probabilities }
    }

    /// The sum of `size` scores drawn without replacement. Counts stay finite for at most 1,000 scores.
    pub(crate) fn of_subsets(scores: &[usize], size: usize) -> Self {
        let mut sorted = scores.to_vec();
        sorted.sort_unstable();
        let width = sorted.iter().rev().take(size).sum::<usize>() + 1;
        // ways[k][s]: subsets of k of the scores so far with sum s. From the largest k down, each score enters once.
        let mut ways = vec![vec![0.0; width]; size + 1];
        ways[0][0] = 1.0;
        let (mut reached, mut n_seen) = (0, 0);
        for score in sorted {
            n_seen += 1;
            reached = (reached + score).min(width - 1);
            for k in (1..=size.min(n_seen)).rev() {
                let (below, above) = ways.split_at_mut(k);
                let (from, to) = (&below[k - 1], &mut above[0]);
                for sum in score..=reached {
                    to[sum] += from[sum - score];
                }
            }
        }
        Self::of_counts(ways.pop().expect("there is a row for each size from 0"))
    }

    /// Number of pairs (x, y), x of a first sample of `n` and y of a second of `m`, with x > y, without ties: Mann and
    /// Whitney's U.
    pub(crate) fn of_u(n: usize, m: usize) -> Self {
        // Ranks from 0: the ranks of the sample sum to U + k(k − 1)/2, and U of the smaller sample has the same law.
        let k = n.min(m);
        let ranks: Vec<usize> = (0..n + m).collect();
        let sums = Self::of_subsets(&ranks, k);
        Self { probabilities: sums.probabilities[k * k.saturating_sub(1) / 2..].to_vec() }
    }

    /// The sum of two independent ones.
    pub(crate) fn plus(&self, other: &Self) -> Self {
        let mut probabilities = vec![0.0; self.probabilities.len() + other.probabilities.len() - 1];
        for (i, p) in self.probabilities.iter().enumerate().filter(|(_, p)| **p > 0.0) {
            for (sum, q) in probabilities[i..].iter_mut().zip(&other.probabilities) {
                *sum += p * q;
            }
        }
        Self { probabilities }
    }

    fn at_most(&self, value: usize) -> f64 {
        self.probabilities.iter().take(value + 1).sum::<f64>().min(1.0)
    }

    fn at_least(&self, value: usize) -> f64 {
        // From the small end, so that a small tail keeps its digits.
        self.probabilities.iter().skip(value).rev().sum::<f64>().min(1.0)
    }

    /// Test of an observed `value`, reported as `statistic`.
    pub(crate) fn test(&self, value: usize, statistic: f64, sided: Sided) -> Test {
        let p_value = sided.p_value(self.at_least(value), self.at_most(value));
        Test { statistic, p_value, basis: Basis::Exact }
    }

    /// The interval between the k-th smallest and the k-th largest of `sorted`, where this is the (symmetric) law of the
    /// number of them above the truth: k is the largest with 2 P(X ≤ k − 1) ≤ 1 − level. Where even k = 1 is not sure
    /// enough, the interval is everything.
    pub(crate) fn order_interval(&self, sorted: &[f64], level: f64) -> Interval {
        let (mut k, mut below) = (0, 0.0);
        for p in self.probabilities.iter().take(sorted.len().div_ceil(2)) {
            below += p;
            // Rates such as 1 − 0.95 are not exact; an exact 1/32 must not fail at 1 − 0.9375.
            if 2.0 * below > (1.0 - level) * (1.0 + 1e-12) {
                break;
            }
            k += 1;
        }
        if k == 0 {
            return Interval::everything(level);
        }
        Interval { lower: sorted[k - 1], upper: sorted[sorted.len() - k], level }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_agree_with_enumeration() {
        let scores = [1_usize, 3, 3, 4, 8, 2];
        let mut by_sign = vec![0.0; 22];
        let mut by_size = vec![vec![0.0; 22]; 7];
        for mask in 0_u32..64 {
            let sum: usize = (0..6).filter(|i| mask >> i & 1 == 1).map(|i| scores[i]).sum();
            by_sign[sum] += 1.0 / 64.0;
            by_size[mask.count_ones() as usize][sum] += 1.0;
        }
        assert_eq!(DiscreteNull::of_signs(&scores).probabilities, by_sign);
        for (size, counts) in by_size.into_iter().enumerate() {
            let expected = DiscreteNull::of_counts(counts);
            let found = DiscreteNull::of_subsets(&scores, size);
            for (i, e) in expected.probabilities.iter().enumerate() {
                assert!((found.probabilities.get(i).unwrap_or(&0.0) - e).abs() < 1e-15, "{size} {i}");
            }
        }
    }

    #[test]
    fn u_of_small_samples() {
        // Mann and Whitney (1947), table I: n = 3, m = 3, P(U ≤ 0, …, 4) = 1, 2, 4, 7, 10 of 20.
        let u = DiscreteNull::of_u(3, 3);
        for (value, count) in [1.0, 2.0, 4.0, 7.0, 10.0].into_iter().enumerate() {
            assert!((u.at_most(value) - count / 20.0).abs() < 1e-15);
        }
        assert_eq!(DiscreteNull::of_u(2, 5).probabilities.len(), 11);
        assert_eq!(DiscreteNull::of_u(5, 2), DiscreteNull::of_u(2, 5));
        assert_eq!(DiscreteNull::of_u(0, 5).probabilities, [1.0]);
        let two = DiscreteNull::of_signs(&[1]).plus(&DiscreteNull::of_signs(&[1, 1]));
        assert_eq!(two, DiscreteNull::of_signs(&[1, 1, 1]));
    }
}
