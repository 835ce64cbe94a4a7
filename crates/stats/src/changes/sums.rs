//! Running sums that keep their digits, so that sums over any stretch are differences of two of them.

/// Running sums of some columns. Each is kept as a rounded number and what was rounded off, so the
/// error of a difference is that of its own size, not that of all that was added before.
#[derive(Debug, Clone)]
pub(crate) struct RunningSums {
    n_columns: usize,
    /// (sum, rounded off) of the first i rows, row after row.
    upto: Vec<(f64, f64)>,
}

impl RunningSums {
    /// Of `n_rows` rows that `row` writes, each with `n_columns` numbers.
    pub(crate) fn new(n_rows: usize, n_columns: usize, mut row: impl FnMut(usize, &mut [f64])) -> Self {
        let mut upto = Vec::with_capacity((n_rows + 1) * n_columns);
        upto.resize(n_columns, (0.0, 0.0));
        let mut numbers = vec![0.0; n_columns];
        for i in 0..n_rows {
            row(i, &mut numbers);
            for (column, &number) in numbers.iter().enumerate() {
                let (high, low) = upto[i * n_columns + column];
                let (sum, error) = two_sum(high, number);
                // Normalised, so that the rounded number is the nearest one.
                upto.push(two_sum(sum, error + low));
            }
        }
        Self { n_columns, upto }
    }

    /// The sum of `column` over the rows `start..end`.
    #[inline]
    pub(crate) fn between(&self, column: usize, start: usize, end: usize) -> f64 {
        let (a, b) = (self.upto[start * self.n_columns + column], self.upto[end * self.n_columns + column]);
        (b.0 - a.0) + (b.1 - a.1)
    }

    /// The rounded sums of `column` over the first 0, 1, 2, ... rows.
    pub(crate) fn rounded(&self, column: usize) -> Vec<f64> {
        self.upto.iter().skip(column).step_by(self.n_columns).map(|(high, _)| *high).collect()
    }
}

/// a + b rounded, and what was rounded off, exactly (Knuth 1969, section 4.2.2, theorem B).
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_part = sum - a;
    (sum, (a - (sum - b_part)) + (b - b_part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_sums_survive_large_ones() {
        // 1e16 + 0.1 rounds the 0.1 away; the difference has it all the same.
        let values = [1e16, 0.1, 0.1, 0.1, -3.0];
        let sums = RunningSums::new(5, 2, |i, row| row.copy_from_slice(&[values[i], 2.0 * values[i]]));
        assert!((sums.between(0, 1, 4) - 0.3).abs() < 1e-15, "{}", sums.between(0, 1, 4));
        assert!((sums.between(1, 1, 4) - 0.6).abs() < 1e-15);
        assert_eq!(sums.rounded(0)[1], 1e16);
        assert_eq!(sums.rounded(0).len(), 6);
    }
}
