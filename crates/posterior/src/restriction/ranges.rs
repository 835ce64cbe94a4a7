//! Sets of coordinates as ranges: union, intersection, complement.

use std::ops::Range;

/// Disjoint ascending ranges that do not touch each other, none empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Ranges(Vec<Range<usize>>);

impl Ranges {
    /// The union of ranges in any order.
    pub(crate) fn union(mut ranges: Vec<Range<usize>>) -> Self {
        ranges.retain(|range| !range.is_empty());
        ranges.sort_unstable_by_key(|range| (range.start, range.end));
        let mut merged: Vec<Range<usize>> = Vec::new();
        for range in ranges {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        Self(merged)
    }

    /// What is in both.
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        let (mut own, mut others) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut both = Vec::new();
        while let (Some(a), Some(b)) = (own.peek(), others.peek()) {
            let common = a.start.max(b.start)..a.end.min(b.end);
            if !common.is_empty() {
                both.push(common);
            }
            // The one that ends first meets nothing more. Pieces of one range are apart, since those of the other are.
            if a.end < b.end {
                own.next();
            } else {
                others.next();
            }
        }
        Self(both)
    }

    /// What of `0..len` is not in it.
    pub(crate) fn complement(&self, len: usize) -> Self {
        let starts = std::iter::once(0).chain(self.0.iter().map(|range| range.end));
        let ends = self.0.iter().map(|range| range.start).chain(std::iter::once(len));
        Self(starts.zip(ends).map(|(start, end)| start..end).filter(|range| !range.is_empty()).collect())
    }

    /// Number of coordinates.
    pub(crate) fn count(&self) -> usize {
        self.0.iter().map(Range::len).sum()
    }

    /// Number of coordinates in `within`.
    pub(crate) fn count_in(&self, within: &Range<usize>) -> usize {
        let first = self.0.partition_point(|range| range.end <= within.start);
        let touched = self.0[first..].iter().take_while(|range| range.start < within.end);
        touched.map(|range| range.end.min(within.end) - range.start.max(within.start)).sum()
    }

    pub(crate) fn as_slice(&self) -> &[Range<usize>] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LEN: usize = 40;

    fn set(bits: u64) -> Ranges {
        Ranges::union((0..LEN).filter(|i| bits >> i & 1 == 1).map(|i| i..i + 1).collect())
    }

    fn bits(ranges: &Ranges) -> u64 {
        ranges.0.iter().cloned().flatten().fold(0, |bits, i| bits | 1 << i)
    }

    proptest! {
        #[test]
        fn ranges_are_sets(a in 0..1_u64 << LEN, b in 0..1_u64 << LEN, from in 0..LEN, to in 0..=LEN) {
            let (left, right) = (set(a), set(b));
            let union = Ranges::union([left.0.clone(), right.0.clone()].concat());
            let found = [union, left.intersection(&right), left.complement(LEN)];
            for (found, expected) in found.iter().zip([a | b, a & b, !a & ((1 << LEN) - 1)]) {
                prop_assert_eq!(bits(found), expected);
                prop_assert_eq!(found, &set(expected), "ranges that touch are one");
                prop_assert_eq!(found.count(), expected.count_ones() as usize);
                let inside = (from..to).filter(|i| expected >> i & 1 == 1).count();
                prop_assert_eq!(found.count_in(&(from..to.max(from))), inside);
            }
        }
    }
}
