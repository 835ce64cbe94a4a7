//! k-means: Lloyd's iteration from several seeded starts.

use crate::linear::Matrix;
use crate::random::Stream;

/// Starts, of which the one with the smallest sum of squares counts.
const STARTS: u64 = 10;
/// Iterations of a start; it ends when nothing moves.
const MAX_ITERATIONS: usize = 300;
/// Purpose of its stream.
const PURPOSE: u64 = 0x6b6d;

/// The cluster of each row, below `k`, for k from 1 to the number of rows. The same seed gives the same clusters; they are numbered
/// by size, of equal ones by their first row, and each has at least one row where there are k different rows.
///
/// Starts are drawn as in k-means++ (Arthur and Vassilvitskii 2007).
pub(super) fn k_means(rows: &Matrix, k: usize, seed: u64) -> Vec<u32> {
    let found = (0..STARTS).map(|start| one_start(rows, k, &mut Stream::new(seed, PURPOSE, start)));
    let best = found.reduce(|best, next| if next.0 < best.0 { next } else { best });
    by_size(&best.expect("there are several starts").1, k)
}

/// Sum of squares and cluster of each row.
fn one_start(rows: &Matrix, k: usize, stream: &mut Stream) -> (f64, Vec<usize>) {
    let n = rows.n_rows();
    let mut centres: Vec<Vec<f64>> = vec![rows.row((stream.uniform() * n as f64) as usize).to_vec()];
    let mut nearest: Vec<f64> = rows.rows().map(|row| square_distance(row, &centres[0])).collect();
    while centres.len() < k {
        let total: f64 = nearest.iter().sum();
        let mut left = stream.uniform() * total;
        let mut chosen = n - 1;
        for (i, square) in nearest.iter().enumerate() {
            left -= square;
            if left < 0.0 {
                chosen = i;
                break;
            }
        }
        centres.push(rows.row(chosen).to_vec());
        let newest = &centres[centres.len() - 1];
        nearest.iter_mut().zip(rows.rows()).for_each(|(best, row)| *best = best.min(square_distance(row, newest)));
    }
    let mut of_rows = vec![usize::MAX; n];
    let mut sum = f64::INFINITY;
    for _ in 0..MAX_ITERATIONS {
        let mut squares = vec![0.0; n];
        let mut has_moved = false;
        for (i, row) in rows.rows().enumerate() {
            let distances = centres.iter().map(|centre| square_distance(row, centre)).enumerate();
            let (at, square) =
                distances.fold((0, f64::INFINITY), |best, next| if next.1 < best.1 { next } else { best });
            has_moved |= of_rows[i] != at;
            (of_rows[i], squares[i]) = (at, square);
        }
        sum = squares.iter().sum();
        if !has_moved {
            break;
        }
        let mut counts = vec![0.0; k];
        for centre in &mut centres {
            centre.fill(0.0);
        }
        for (row, &at) in rows.rows().zip(&of_rows) {
            counts[at] += 1.0;
            centres[at].iter_mut().zip(row).for_each(|(c, v)| *c += v);
        }
        for (at, centre) in centres.iter_mut().enumerate() {
            if counts[at] > 0.0 {
                for c in centre.iter_mut() {
                    *c /= counts[at];
                }
                continue;
            }
            // A centre that nobody is nearest to goes to the row that is worst served.
            let worst = squares.iter().enumerate().fold((0, -1.0), |w, (i, &s)| if s > w.1 { (i, s) } else { w }).0;
            centre.copy_from_slice(rows.row(worst));
            squares[worst] = 0.0;
        }
    }
    (sum, of_rows)
}

fn square_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

fn by_size(of_rows: &[usize], k: usize) -> Vec<u32> {
    let mut counts = vec![(0_usize, usize::MAX); k];
    for (i, &at) in of_rows.iter().enumerate() {
        counts[at] = (counts[at].0 + 1, counts[at].1.min(i));
    }
    let mut order: Vec<usize> = (0..k).collect();
    order.sort_by_key(|&at| (std::cmp::Reverse(counts[at].0), counts[at].1));
    let mut number = vec![0; k];
    for (place, &at) in order.iter().enumerate() {
        number[at] = place as u32;
    }
    of_rows.iter().map(|&at| number[at]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_far_apart_are_found_and_numbered_by_size() {
        let mut stream = Stream::new(1, 6, 0);
        let sizes = [5, 30, 12];
        let which: Vec<usize> = (0..47)
            .map(|i| {
                if i < 5 {
                    0
                } else if i < 35 {
                    1
                } else {
                    2
                }
            })
            .collect();
        let values = which.iter().flat_map(|&at| [20.0 * at as f64 + stream.normal(), stream.normal()]).collect();
        let rows = Matrix::new(47, 2, values).unwrap();
        let found = k_means(&rows, 3, 9);
        let numbers = [2, 0, 1];
        assert!(found.iter().zip(&which).all(|(found, &at)| *found == numbers[at]), "{found:?} {sizes:?}");
        assert_eq!(found, k_means(&rows, 3, 9));
        // As many clusters as rows: each its own; one: all the same; equal rows are no error.
        let mut own = k_means(&rows, 47, 1);
        own.sort_unstable();
        assert!(own.into_iter().eq(0..47));
        assert!(k_means(&rows, 1, 1).iter().all(|&at| at == 0));
        assert_eq!(k_means(&Matrix::zeros(4, 2), 2, 1).len(), 4);
    }
}
