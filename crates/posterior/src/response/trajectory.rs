//! Principal components of the path of a chain, beside those of a walk that goes nowhere.

use std::num::NonZero;

use super::covariance::{dot, leading_values, multiply_lower};
use super::weight_draws::WeightDraws;
use crate::execution::in_parallel;

/// The shares of the leading principal components of one chain's path in weight space, and those of a random walk.
///
/// A random walk in many dimensions has few large components whatever it walks on, and its projections on them are
/// cosines of time (Antognini & Sohl-Dickstein 2018). A chain whose shares are near `random_walk` still diffuses away from
/// its start: its components say nothing of the posterior. A chain that has mixed in many directions has far smaller ones.
#[derive(Debug, Clone, PartialEq)]
pub struct Trajectory {
    /// The chain.
    pub chain: usize,
    /// Share of the variance over the draws of each leading component, largest first.
    pub shares: Vec<f64>,
    /// The same of a random walk of as many draws in many dimensions, see [`random_walk_share`].
    pub random_walk: Vec<f64>,
}

/// The share of principal component `k` (from 1 on) of a random walk of `n_draws` points in very many dimensions:
/// 6/((n² − 1)·4 sin²(πk/2n)), which is 6/(π²k²) for n → ∞. 0 for components that `n_draws` points do not have.
///
/// The Gram matrix of the centred points is, per dimension, the pseudo-inverse of the Laplacian of a path, whose
/// eigenvalues are 4 sin²(πk/2n), k = 1 … n − 1; the sum of their inverses is (n² − 1)/6.
pub fn random_walk_share(k: usize, n_draws: usize) -> f64 {
    if k == 0 || k >= n_draws {
        return 0.0;
    }
    let n = n_draws as f64;
    let sine = (std::f64::consts::PI * k as f64 / (2.0 * n)).sin();
    6.0 / ((n * n - 1.0) * 4.0 * sine * sine)
}

impl WeightDraws {
    /// The leading `n` principal components of the path of each chain that came to its end. A diagnostic: it is given for
    /// refused chains, too.
    pub fn trajectories(&self, n: usize, threads: NonZero<usize>) -> Vec<Trajectory> {
        let d = self.selection().n_free();
        let whole = |chain: &usize| self.chain(*chain).len() == self.n_draws() * d;
        (0..self.n_chains())
            .filter(whole)
            .map(|chain| Trajectory {
                chain,
                shares: path_shares(self.chain(chain), d, n, threads),
                random_walk: (1..=n).map(|k| random_walk_share(k, self.n_draws())).collect(),
            })
            .collect()
    }
}

/// Shares of the leading principal components of points (draw, coordinate).
fn path_shares(points: &[f32], d: usize, n: usize, threads: NonZero<usize>) -> Vec<f64> {
    let rows: Vec<&[f32]> = points.chunks_exact(d).collect();
    let t = rows.len();
    let mut gram: Vec<Vec<f64>> = in_parallel(t, threads, |s| rows[..=s].iter().map(|row| dot(rows[s], row)).collect());
    // Centring the points is centring rows and columns of their Gram matrix.
    let mut means = vec![0.0; t];
    for i in 0..t {
        for j in 0..=i {
            means[i] += gram[i][j] / t as f64;
            if j < i {
                means[j] += gram[i][j] / t as f64;
            }
        }
    }
    let grand = means.iter().sum::<f64>() / t as f64;
    for i in 0..t {
        for j in 0..=i {
            gram[i][j] += grand - means[i] - means[j];
        }
    }
    let total: f64 = (0..t).map(|i| gram[i][i]).sum();
    if total <= 0.0 {
        return vec![0.0; n];
    }
    let values = leading_values(t, n, |v, out| multiply_lower(&gram, v, out));
    (0..n).map(|k| values.get(k).map_or(0.0, |value| value.max(0.0) / total)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ontogeny_graph::{Purpose, Stream};

    #[test]
    fn the_shares_of_a_random_walk_are_a_partition_with_the_known_limit() {
        let n = 200;
        let all: f64 = (1..n).map(|k| random_walk_share(k, n)).sum();
        assert!((all - 1.0).abs() < 1e-12, "{all}");
        for (k, limit) in [(1, 0.6079), (2, 0.1520), (3, 0.0675)] {
            // The sine and n² − 1 differ from their limits by terms of order (k/n)².
            assert!((random_walk_share(k, n) - limit).abs() < 1e-4, "{k}");
        }
        assert_eq!(random_walk_share(200, 200), 0.0);
    }

    #[test]
    fn a_walk_has_the_shares_of_a_walk_and_independent_points_have_not() {
        let (t, d) = (60, 4000);
        let mut points = vec![0.0_f32; t * d];
        Stream::new(1, Purpose::Probe, 1).normals(0, 0, &mut points);
        let independent = path_shares(&points, d, 3, NonZero::<usize>::MIN);
        for i in d..points.len() {
            points[i] += points[i - d];
        }
        let walk = path_shares(&points, d, 3, NonZero::<usize>::MIN);
        for (k, share) in walk.iter().enumerate() {
            // Each eigenvalue is an average over d dimensions of a squared normal: it scatters by √(2/d) = 2 %, the total
            // by less; 4.5 of that, and a twentieth for the mixing of neighbours.
            let expected = random_walk_share(k + 1, t);
            assert!((share / expected - 1.0).abs() < 0.15, "{k}: {share}, {expected}");
        }
        // Marchenko–Pastur: at most (1 + √(t/d))²/t.
        assert!(independent[0] < 1.3 * (1.0 + (t as f64 / d as f64).sqrt()).powi(2) / t as f64, "{independent:?}");
    }
}
