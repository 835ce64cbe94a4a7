//! Cutting the work of one step for several threads.

use std::ops::Range;

/// One of the parts a step is cut into. A part writes what no other part writes or reads, and no bit depends on the cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub(crate) index: usize,
    pub(crate) of: usize,
}

impl Part {
    pub(crate) const WHOLE: Self = Self { index: 0, of: 1 };

    /// Its share of 0..n, cut at multiples of `grain`; empty where there are fewer of these than parts.
    pub(crate) fn range(self, n: usize, grain: usize) -> Range<usize> {
        let n_grains = n.div_ceil(grain);
        let cut = |index: usize| (n_grains * index / self.of * grain).min(n);
        cut(self.index)..cut(self.index + 1)
    }

    /// Shares of two nested loops, of which only one is cut: the outer one where that gives every part about as much.
    pub(crate) fn of_two(self, outer: usize, inner: (usize, usize)) -> (Range<usize>, Range<usize>) {
        if outer.is_multiple_of(self.of) || outer >= 4 * self.of || outer >= inner.0.div_ceil(inner.1) {
            (self.range(outer, 1), 0..inner.0)
        } else {
            (0..outer, self.range(inner.0, inner.1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_everything_once() {
        for (n, grain) in [(0, 4), (1, 4), (7, 4), (64, 16), (1000, 12), (5, 1)] {
            for of in [1, 2, 3, 8, 40] {
                let all: Vec<usize> = (0..of).flat_map(|index| Part { index, of }.range(n, grain)).collect();
                assert!(all.into_iter().eq(0..n), "{n} in {grain}s, {of} parts");
            }
        }
        for (outer, inner) in [(1, 100), (3, 100), (4, 2), (50, 7)] {
            for of in [1, 2, 8] {
                let pairs = (0..of).flat_map(|index| {
                    let (rows, columns) = Part { index, of }.of_two(outer, (inner, 16));
                    rows.flat_map(move |row| columns.clone().map(move |column| row * inner + column))
                });
                let mut all: Vec<usize> = pairs.collect();
                all.sort_unstable();
                assert!(all.into_iter().eq(0..outer * inner), "{outer} by {inner}, {of} parts");
            }
        }
    }
}
