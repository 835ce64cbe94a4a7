//! The assignment problem: each row its own column, so that the sum of what they gain is largest.

use crate::array_error::{ArrayError, finite, length};

/// The permutation p of `n` that maximises Σᵢ gain\[i, p(i)\]; `gains` is `n`×`n`, row-major.
///
/// Shortest augmenting paths with potentials (Jonker and Volgenant 1987, without their start), O(n³). Where several permutations
/// are best, which of them is found is a function of the gains alone.
///
/// # Errors
/// Another number of gains, or one that is not finite.
pub fn best_assignment(gains: &[f64], n: usize) -> Result<Vec<usize>, ArrayError> {
    length("the gains of an assignment", gains.len(), n * n)?;
    finite("the gains of an assignment", gains)?;
    // Costs are minus gains. Rows and columns are counted from 1; column 0 stands for the row that is being placed.
    let mut of_rows = vec![0.0; n + 1];
    let mut of_columns = vec![0.0; n + 1];
    let mut row_of = vec![0_usize; n + 1];
    let mut before = vec![0_usize; n + 1];
    let mut distance = vec![f64::INFINITY; n + 1];
    let mut is_reached = vec![false; n + 1];
    for row in 1..=n {
        row_of[0] = row;
        let mut at = 0;
        distance.fill(f64::INFINITY);
        is_reached.fill(false);
        // Dijkstra over the columns, until one is free.
        while row_of[at] != 0 {
            is_reached[at] = true;
            let from = row_of[at];
            let costs = &gains[(from - 1) * n..from * n];
            let (mut least, mut next) = (f64::INFINITY, 0);
            for column in 1..=n {
                if is_reached[column] {
                    continue;
                }
                let length = -costs[column - 1] - of_rows[from] - of_columns[column];
                if length < distance[column] {
                    distance[column] = length;
                    before[column] = at;
                }
                if distance[column] < least {
                    least = distance[column];
                    next = column;
                }
            }
            for column in 0..=n {
                if is_reached[column] {
                    of_rows[row_of[column]] += least;
                    of_columns[column] -= least;
                } else {
                    distance[column] -= least;
                }
            }
            at = next;
        }
        while at != 0 {
            row_of[at] = row_of[before[at]];
            at = before[at];
        }
    }
    let mut found = vec![0; n];
    for column in 1..=n {
        found[row_of[column] - 1] = column - 1;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    /// The largest sum over all permutations, by trying them.
    fn by_force(gains: &[f64], n: usize, row: usize, is_used: &mut [bool]) -> f64 {
        if row == n {
            return 0.0;
        }
        let mut best = f64::NEG_INFINITY;
        for column in 0..n {
            if !is_used[column] {
                is_used[column] = true;
                best = best.max(gains[row * n + column] + by_force(gains, n, row + 1, is_used));
                is_used[column] = false;
            }
        }
        best
    }

    #[test]
    fn sums_are_those_of_trying_all_permutations() {
        for case in 0..210 {
            let mut stream = Stream::new(6, 0, case);
            let n = 1 + case as usize % 7;
            let coarse = case % 2 == 0;
            // Every other case of small integers, which tie; all exact in binary.
            let gains: Vec<f64> = (0..n * n)
                .map(|_| if coarse { (stream.uniform() * 5.0).floor() - 2.0 } else { stream.normal() })
                .collect();
            let found = best_assignment(&gains, n).unwrap();
            let mut sorted = found.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..n), "{found:?}");
            let sum: f64 = found.iter().enumerate().map(|(i, &j)| gains[i * n + j]).sum();
            let best = by_force(&gains, n, 0, &mut vec![false; n]);
            assert!((sum - best).abs() < 1e-12, "case {case}: {sum} {best}");
        }
    }

    #[test]
    fn a_hidden_permutation_is_found() {
        let n = 200;
        let mut stream = Stream::new(7, 0, 0);
        let mut hidden: Vec<usize> = (0..n).collect();
        for last in (1..n).rev() {
            hidden.swap(last, (stream.uniform() * (last + 1) as f64) as usize);
        }
        let mut gains: Vec<f64> = (0..n * n).map(|_| stream.uniform()).collect();
        for (i, &j) in hidden.iter().enumerate() {
            gains[i * n + j] = 1.5;
        }
        assert_eq!(best_assignment(&gains, n).unwrap(), hidden);
    }

    #[test]
    fn what_cannot_be_assigned_is_refused() {
        assert_eq!(best_assignment(&[], 0).unwrap(), Vec::<usize>::new());
        assert!(best_assignment(&[1.0; 3], 2).is_err());
        assert!(best_assignment(&[1.0, f64::NAN, 0.0, 0.0], 2).is_err());
    }
}
