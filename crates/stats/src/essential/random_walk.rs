//! The random-walk null of trajectory PCA: what shares and shapes mere wandering would show.

use crate::array_error::{ArrayError, enough, setting};
use crate::eigen::{symmetric_eigen, tridiagonal_values};
use crate::order::quantile;
use crate::random::Stream;
use std::f64::consts::PI;

/// Purpose of the random stream.
const WALK_STREAM: u64 = 61;

/// Explained shares of the principal components of a random walk of `n_rows` points with even steps
/// in very many dimensions: all n_rows − 1 of them, descending, with sum 1.
///
/// With D the differences of neighbouring rows, the centred walk is D⁺ξ, so its covariance over rows
/// is the pseudo-inverse of the path's Laplacian DᵀD, whose eigenvalues are 4 sin²(πk/2T) and whose
/// eigenvectors are the cosines cos(πk(t + ½)/T). The shares are
/// 6 / (4 sin²(πk/2T) (T² − 1)) → 6/(π²k²): 0.608, 0.152, 0.068 (Antognini and Sohl-Dickstein 2018).
///
/// # Errors
/// Fewer than two rows.
pub fn random_walk_shares(n_rows: usize) -> Result<Vec<f64>, ArrayError> {
    enough("checkpoints", n_rows, 2)?;
    let n = n_rows as f64;
    let share = |k: usize| {
        let sine = (PI * k as f64 / (2.0 * n)).sin();
        6.0 / (4.0 * sine * sine * (n * n - 1.0))
    };
    Ok((1..n_rows).map(share).collect())
}

/// The same where the variance of each step of the walk is given, such as the number of training
/// steps between two checkpoints, or the squared distance that the trajectory moved between them.
///
/// The precision over rows is then DᵀWD with W the inverse variances, a tridiagonal matrix.
///
/// # Errors
/// No step, or a variance that is not positive and finite.
pub fn random_walk_shares_of(step_variances: &[f64]) -> Result<Vec<f64>, ArrayError> {
    enough("steps", step_variances.len(), 1)?;
    for v in step_variances {
        setting("the variance of a step", *v, *v > 0.0 && v.is_finite(), "a positive number")?;
    }
    // D D^T has the non-zero eigenvalues of D^T D, so take S^(-1/2) D D^T S^(-1/2): it has no zero among them.
    let diagonal: Vec<f64> = step_variances.iter().map(|v| 2.0 / v).collect();
    let off_diagonal = step_variances.windows(2).map(|v| -1.0 / (v[0] * v[1]).sqrt()).collect();
    let precisions = tridiagonal_values(diagonal, off_diagonal);
    let total: f64 = precisions.iter().map(|p| 1.0 / p).sum();
    Ok(precisions.iter().rev().map(|p| 1.0 / p / total).collect())
}

/// Shares of simulated walks in few dimensions.
#[derive(Debug, Clone, PartialEq)]
pub struct WalkShares {
    /// Mean share of each component.
    pub mean: Vec<f64>,
    /// 2.5 % quantile of each.
    pub lower: Vec<f64>,
    /// 97.5 % quantile of each.
    pub upper: Vec<f64>,
}

/// Shares of `n_components` components of `n_walks` random walks of `n_rows` points with even steps in
/// `n_dimensions` dimensions. In few dimensions the shares scatter and the first is larger than the
/// limit of [`random_walk_shares`]; outputs of a network move in far fewer dimensions than there are
/// outputs.
///
/// # Errors
/// Fewer than two rows, or none of one of the others.
pub fn simulated_walk_shares(
    n_rows: usize,
    n_dimensions: usize,
    n_components: usize,
    n_walks: usize,
    seed: u64,
) -> Result<WalkShares, ArrayError> {
    enough("checkpoints", n_rows, 2)?;
    enough("dimensions", n_dimensions, 1)?;
    enough("components", n_components, 1)?;
    enough("walks", n_walks, 1)?;
    let n_components = n_components.min(n_dimensions).min(n_rows - 1);
    let mut shares = vec![vec![]; n_components];
    for w in 0..n_walks {
        let (_, squares) = walk_components(n_rows, n_dimensions, 0, &mut Stream::new(seed, WALK_STREAM, w as u64));
        let total: f64 = squares.iter().sum();
        shares.iter_mut().zip(&squares).for_each(|(s, square)| s.push(square / total));
    }
    Ok(WalkShares {
        mean: shares.iter().map(|s| s.iter().sum::<f64>() / n_walks as f64).collect(),
        lower: shares.iter().map(|s| quantile(s, 0.025)).collect(),
        upper: shares.iter().map(|s| quantile(s, 0.975)).collect(),
    })
}

/// Scores of the first components of one random walk, and the squared singular values of all.
pub(super) fn walk_components(
    n_rows: usize,
    n_dimensions: usize,
    n_components: usize,
    stream: &mut Stream,
) -> (Vec<Vec<f64>>, Vec<f64>) {
    let mut walk = vec![0.0; n_rows * n_dimensions];
    for t in 1..n_rows {
        for d in 0..n_dimensions {
            walk[t * n_dimensions + d] = walk[(t - 1) * n_dimensions + d] + stream.normal();
        }
    }
    for d in 0..n_dimensions {
        let mean = walk.iter().skip(d).step_by(n_dimensions).sum::<f64>() / n_rows as f64;
        walk.iter_mut().skip(d).step_by(n_dimensions).for_each(|x| *x -= mean);
    }
    // The smaller of the two matrices of products: walks have fewer dimensions than rows here.
    let mut products = vec![0.0; n_dimensions * n_dimensions];
    for row in walk.chunks_exact(n_dimensions) {
        for (i, a) in row.iter().enumerate() {
            products[i * n_dimensions..][..=i].iter_mut().zip(row).for_each(|(p, b)| *p += a * b);
        }
    }
    let found = symmetric_eigen(products, n_dimensions, n_components);
    let scores = |v: &Vec<f64>| -> Vec<f64> {
        walk.chunks_exact(n_dimensions).map(|row| row.iter().zip(v).map(|(a, b)| a * b).sum()).collect()
    };
    (found.vectors.iter().map(scores).collect(), found.values.iter().map(|v| v.max(0.0)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::essential::gram::TrajectoryGram;

    #[test]
    fn shares_have_sum_one_and_the_published_limit() {
        for n in [2, 3, 10, 501] {
            let shares = random_walk_shares(n).unwrap();
            assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
        let shares = random_walk_shares(100_000).unwrap();
        for (k, expected) in [0.6079, 0.1520, 0.0675].into_iter().enumerate() {
            let limit = 6.0 / (PI * (k + 1) as f64).powi(2);
            // sin x = x − x³/6: the next term is of order (k/T)².
            assert!((shares[k] - limit).abs() < 1e-9);
            assert!((shares[k] - expected).abs() < 5e-5, "{}", shares[k]);
        }
    }

    #[test]
    fn steps_of_one_variance_are_the_even_walk() {
        let even = random_walk_shares(40).unwrap();
        for (a, b) in random_walk_shares_of(&[3.7; 39]).unwrap().iter().zip(&even) {
            assert!((a - b).abs() < 1e-13);
        }
        // Three points, steps of variance a and b: products of centred rows have trace 2(a² …)/3 and
        // the eigenvalues of [[2/a, −1/√ab], [−1/√ab, 2/b]]⁻¹, of which trace is 2(a + b)/3 and product ab/3.
        let (a, b) = (1.0, 5.0);
        let shares = random_walk_shares_of(&[a, b]).unwrap();
        let (trace, determinant): (f64, f64) = (2.0 * (a + b) / 3.0, a * b / 3.0);
        let first = f64::midpoint(trace, (trace * trace - 4.0 * determinant).sqrt());
        assert!((shares[0] - first / trace).abs() < 1e-14);
        assert!(random_walk_shares_of(&[1.0, 0.0]).is_err());
    }

    #[test]
    fn a_long_walk_in_many_dimensions_has_the_exact_shares_and_cosines() {
        // The share of one component scatters by about its size times √(2/D).
        let (n_rows, n_dimensions) = (60, 4000);
        let mut stream = Stream::new(2, 0, 0);
        let mut walk = vec![0.0; n_rows * n_dimensions];
        for t in 1..n_rows {
            for d in 0..n_dimensions {
                walk[t * n_dimensions + d] = walk[(t - 1) * n_dimensions + d] + stream.normal();
            }
        }
        let mut gram = TrajectoryGram::new(n_rows, 0).unwrap();
        gram.add_columns(&walk, &[]).unwrap();
        let pca = gram.principal_components(3).unwrap();
        let exact = random_walk_shares(n_rows).unwrap();
        let error = (2.0 / n_dimensions as f64).sqrt();
        for (found, exact) in pca.shares.iter().zip(&exact) {
            assert!((found / exact - 1.0).abs() < 4.0 * error, "{found} {exact}");
        }
        // First-order perturbation: component k mixes with l by √(λₖλₗ/D)/(λₖ − λₗ), here at most 0.03.
        assert!(pca.cosine_agreement().iter().all(|a| *a > 0.99), "{:?}", pca.cosine_agreement());
    }

    #[test]
    fn few_dimensions_scatter_about_more_than_the_limit() {
        let walks = simulated_walk_shares(100, 10, 3, 400, 1).unwrap();
        let exact = random_walk_shares(100).unwrap();
        assert!(walks.mean[0] > exact[0] && walks.lower[0] < exact[0] && walks.upper[0] > exact[0], "{walks:?}");
        let many = simulated_walk_shares(30, 300, 3, 50, 1).unwrap();
        let exact = random_walk_shares(30).unwrap();
        // Mean of 50 shares with relative scatter √(2/300); the bias is of order 1/D.
        assert!((many.mean[0] / exact[0] - 1.0).abs() < 4.0 * (2.0_f64 / 300.0 / 50.0).sqrt() + 2.0 / 300.0);
    }
}
