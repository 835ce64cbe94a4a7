//! How near two segmentations are to each other.

use super::signal::ChangeError;

/// Two segmentations of the same points, given by the first index of each segment but the first.
#[derive(Debug, Clone, Copy)]
pub struct Comparison<'a> {
    truth: &'a [usize],
    found: &'a [usize],
    n_points: usize,
}

/// Shares of change points that have a partner in the other segmentation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Matches {
    /// Number of pairs of partners.
    pub n_matched: usize,
    /// Share of the found change points with a partner; 1 where none was found and there is none.
    pub precision: f64,
    /// Share of the true change points with a partner; 1 where there is none.
    pub recall: f64,
}

impl Matches {
    /// Harmonic mean of precision and recall; 0 where both are.
    pub fn f1(self) -> f64 {
        let sum = self.precision + self.recall;
        if sum == 0.0 { 0.0 } else { 2.0 * self.precision * self.recall / sum }
    }
}

impl<'a> Comparison<'a> {
    /// Of `found` with `truth`, both of a signal of `n_points`.
    ///
    /// # Errors
    /// A change point that is 0, at least `n_points`, or not above the one before.
    pub fn new(truth: &'a [usize], found: &'a [usize], n_points: usize) -> Result<Self, ChangeError> {
        check_change_points(truth, n_points)?;
        check_change_points(found, n_points)?;
        Ok(Self { truth, found, n_points })
    }

    /// Largest distance, in points, of a change point of one to the nearest of the other (Boysen et al.
    /// 2009); `None` where one has change points and the other has none, 0 where neither has.
    pub fn hausdorff(&self) -> Option<usize> {
        if self.truth.is_empty() || self.found.is_empty() {
            return (self.truth.len() == self.found.len()).then_some(0);
        }
        let farthest = |from: &[usize], to: &[usize]| {
            from.iter().map(|a| to.iter().map(|b| a.abs_diff(*b)).min().unwrap_or(0)).max().unwrap_or(0)
        };
        Some(farthest(self.truth, self.found).max(farthest(self.found, self.truth)))
    }

    /// Share of the pairs of points on which both agree whether they lie in one segment (Rand 1971); 1 of
    /// less than two points.
    pub fn rand_index(&self) -> f64 {
        let pairs = |n: usize| n as f64 * (n as f64 - 1.0) / 2.0;
        let all = pairs(self.n_points);
        if all == 0.0 {
            return 1.0;
        }
        let together = |cuts: &[usize]| segments(cuts, self.n_points).map(|(a, b)| pairs(b - a)).sum::<f64>();
        let mut both: Vec<usize> = self.truth.iter().chain(self.found).copied().collect();
        both.sort_unstable();
        both.dedup();
        let (in_both, in_truth, in_found) = (together(&both), together(self.truth), together(self.found));
        // Pairs together in one of the two only disagree.
        1.0 - (in_truth + in_found - 2.0 * in_both) / all
    }

    /// Pairs of a true and a found change point less than `margin` points apart, each in one pair at most,
    /// as many as there can be.
    pub fn matches(&self, margin: usize) -> Matches {
        // On a line, the nearest order-preserving choice from the left is a largest matching.
        let (mut i, mut j, mut n_matched) = (0, 0, 0);
        while i < self.truth.len() && j < self.found.len() {
            let (a, b) = (self.truth[i], self.found[j]);
            if a.abs_diff(b) < margin {
                (i, j, n_matched) = (i + 1, j + 1, n_matched + 1);
            } else if a < b {
                i += 1;
            } else {
                j += 1;
            }
        }
        let share = |n: usize, empty: f64| if n == 0 { empty } else { n_matched as f64 / n as f64 };
        let precision = share(self.found.len(), if self.truth.is_empty() { 1.0 } else { 0.0 });
        Matches { n_matched, precision, recall: share(self.truth.len(), 1.0) }
    }
}

/// Start and end of each segment.
fn segments(cuts: &[usize], n_points: usize) -> impl Iterator<Item = (usize, usize)> {
    std::iter::once(0).chain(cuts.iter().copied()).zip(cuts.iter().copied().chain([n_points]))
}

/// Refuses change points that are not inside of the signal, or not increasing.
pub(crate) fn check_change_points(change_points: &[usize], n_points: usize) -> Result<(), ChangeError> {
    let mut before = 0;
    for &change in change_points {
        if change <= before || change >= n_points {
            return Err(ChangeError::BadChangePoint { change, n_points });
        }
        before = change;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn cuts() -> impl Strategy<Value = Vec<usize>> {
        proptest::collection::btree_set(1usize..30, 0..6).prop_map(|set: BTreeSet<usize>| set.into_iter().collect())
    }

    /// Most pairs, by trying all.
    fn most_pairs(truth: &[usize], found: &[usize], margin: usize) -> usize {
        let Some((&first, rest)) = truth.split_first() else { return 0 };
        let mut most = most_pairs(rest, found, margin);
        for (j, b) in found.iter().enumerate() {
            if first.abs_diff(*b) < margin {
                let mut left = found.to_vec();
                left.remove(j);
                most = most.max(1 + most_pairs(rest, &left, margin));
            }
        }
        most
    }

    proptest! {
        #[test]
        fn definitions(truth in cuts(), found in cuts(), margin in 1usize..9) {
            let n = 30;
            let comparison = Comparison::new(&truth, &found, n).unwrap();
            let segment_of = |cuts: &[usize], i: usize| cuts.iter().filter(|c| **c <= i).count();
            let mut agree = 0;
            for i in 0..n {
                for j in 0..i {
                    let in_truth = segment_of(&truth, i) == segment_of(&truth, j);
                    agree += usize::from(in_truth == (segment_of(&found, i) == segment_of(&found, j)));
                }
            }
            prop_assert!((comparison.rand_index() - agree as f64 / 435.0).abs() < 1e-12);
            prop_assert_eq!(comparison.matches(margin).n_matched, most_pairs(&truth, &found, margin));
        }
    }

    #[test]
    fn small_cases() {
        let same = Comparison::new(&[3, 7], &[3, 7], 10).unwrap();
        assert_eq!((same.hausdorff(), same.rand_index()), (Some(0), 1.0));
        assert_eq!(same.matches(1), Matches { n_matched: 2, precision: 1.0, recall: 1.0 });
        assert_eq!(same.matches(1).f1(), 1.0);
        let none = Comparison::new(&[3], &[], 10).unwrap();
        assert_eq!(none.hausdorff(), None);
        assert_eq!(none.matches(5), Matches { n_matched: 0, precision: 0.0, recall: 0.0 });
        assert_eq!(none.matches(5).f1(), 0.0);
        let empty = Comparison::new(&[], &[], 1).unwrap();
        assert_eq!((empty.hausdorff(), empty.rand_index(), empty.matches(1).f1()), (Some(0), 1.0, 1.0));
        let text = Comparison::new(&[10], &[], 10).unwrap_err().to_string();
        assert!(text.starts_with("change point 10 is not inside of the 10 points"), "{text}");
        assert!(Comparison::new(&[3, 3], &[], 10).is_err() && Comparison::new(&[0], &[], 10).is_err());
    }
}
