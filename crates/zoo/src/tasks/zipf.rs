//! Frequencies that fall as a power of the rank.

use super::sampled::Numbers;

/// Number i, from 0, has the probability (i + 1)^(−exponent)/Σ.
#[derive(Debug, Clone)]
pub(super) struct Zipf {
    /// Probability of each number and all before it.
    cumulative: Vec<f64>,
}

impl Zipf {
    /// Over the numbers below `n`, which is at least 1; `exponent` is at least 0.
    pub(super) fn new(n: usize, exponent: f64) -> Self {
        let mut total = 0.0;
        let cumulative = (1..=n).map(|i| {
            total += (i as f64).powf(-exponent);
            total
        });
        let mut cumulative: Vec<f64> = cumulative.collect();
        for share in &mut cumulative {
            *share /= total;
        }
        Self { cumulative }
    }

    /// How many numbers there are.
    pub(super) fn len(&self) -> usize {
        self.cumulative.len()
    }

    pub(super) fn draw(&self, numbers: &mut Numbers) -> usize {
        self.at(numbers.uniform())
    }

    /// A number that is not `excluded`, the others in proportion; there must be others.
    pub(super) fn draw_other(&self, excluded: usize, numbers: &mut Numbers) -> usize {
        // The excluded number's part of [0, 1) is cut out, and what lies behind it moves to the front.
        let before = if excluded == 0 { 0.0 } else { self.cumulative[excluded - 1] };
        let own = self.cumulative[excluded] - before;
        let share = numbers.uniform() * (1.0 - own);
        let drawn = self.at(if share < before { share } else { share + own });
        // Rounding may end within the excluded part, at its edge.
        if drawn != excluded {
            drawn
        } else if excluded + 1 < self.len() {
            excluded + 1
        } else {
            excluded - 1
        }
    }

    fn at(&self, share: f64) -> usize {
        self.cumulative.partition_point(|&upto| upto <= share).min(self.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_others_keep_their_proportions() {
        let (zipf, n) = (Zipf::new(4, 1.0), 20_000);
        for excluded in 0..4 {
            let mut counts = [0.0; 4];
            for number in 0..n {
                counts[zipf.draw_other(excluded, &mut Numbers::of_task(1, number))] += 1.0;
            }
            assert_eq!(counts[excluded], 0.0);
            let weight = |i: usize| if i == excluded { 0.0 } else { 1.0 / (i + 1) as f64 };
            let total: f64 = (0..4).map(weight).sum();
            let expected = |i: usize| n as f64 * weight(i) / total;
            // χ² of 2 degrees of freedom: above 13.8 with probability 0.001.
            let of_others = (0..4).filter(|&i| i != excluded);
            let chi2: f64 = of_others.map(|i| (counts[i] - expected(i)).powi(2) / expected(i)).sum();
            assert!(chi2 < 13.8, "{excluded}: {counts:?}");
        }
    }
}
