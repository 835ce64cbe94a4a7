//! Canonical correlations of two sets of activations: what any pair of invertible linear maps leaves.

use super::PrincipalAxes;
use crate::array_error::{ArrayError, enough, length};
use crate::linear::{Matrix, singular_values};

/// Correlations of the pairs of directions, one in each set, that correlate most.
#[derive(Debug, Clone, PartialEq)]
pub struct CanonicalCorrelations {
    /// Descending, 0 to 1; as many as the smaller rank of the two sets.
    pub correlations: Vec<f64>,
    /// Their mean (Raghu et al. 2017); 0 where one set does not vary.
    pub mean: f64,
    /// Their mean with the weights αᵢ = Σⱼ |⟨hᵢ, xⱼ⟩|, hᵢ the canonical variates of the first set and xⱼ its features
    /// (Morcos, Raghu and Bengio 2018, equation 4): directions that hold more of the first set count more.
    pub projection_weighted: f64,
}

/// Canonical correlations of `x` (examples, p) and `y` (the same examples, q). No invertible linear map and no shift of either
/// changes `correlations` and `mean`; the weighted mean stays under rotations of `x`.
///
/// Of unrelated normal activations the squares have the mean max(p, q)/(n − 1) and not 0, and from p + q = n − 1 on
/// correlations of 1 appear by themselves: take many more examples than features.
///
/// # Errors
/// No more examples than features, or other numbers of them.
pub fn canonical_correlations(x: &Matrix, y: &Matrix) -> Result<CanonicalCorrelations, ArrayError> {
    check(x, y)?;
    Ok(between(x, &PrincipalAxes::of(x), y, &PrincipalAxes::of(y)))
}

/// Mean canonical correlation of the leading principal directions of `x` and `y`, of each as many as hold the share `share` of its
/// variance (SVCCA, Raghu et al. 2017, with 0.99). Rotations, shifts and scales change nothing.
///
/// # Errors
/// As for [`canonical_correlations`].
pub fn singular_vector_correlation(x: &Matrix, y: &Matrix, share: f64) -> Result<f64, ArrayError> {
    check(x, y)?;
    Ok(between(x, &PrincipalAxes::of(x).truncated(share), y, &PrincipalAxes::of(y).truncated(share)).mean)
}

fn check(x: &Matrix, y: &Matrix) -> Result<(), ArrayError> {
    length("the second set of activations", y.n_rows(), x.n_rows())?;
    enough("examples for canonical correlations", x.n_rows(), x.n_columns().max(y.n_columns()) + 2)
}

/// Björck and Golub 1973: with orthonormal bases of both sets, the correlations are the singular values of their product.
fn between(x: &Matrix, of_x: &PrincipalAxes, y: &Matrix, of_y: &PrincipalAxes) -> CanonicalCorrelations {
    if of_x.rank() == 0 || of_y.rank() == 0 {
        return CanonicalCorrelations { correlations: Vec::new(), mean: 0.0, projection_weighted: 0.0 };
    }
    let crossed = x.clone().less(&of_x.mean).transposed_product(&y.clone().less(&of_y.mean));
    let mut core = of_y.along(&of_x.along(&crossed).transposed()).transposed();
    for (i, value) in of_x.values.iter().enumerate() {
        let row = core.row_mut(i).iter_mut().zip(&of_y.values);
        row.for_each(|(entry, other)| *entry /= (value * other).sqrt());
    }
    let found = singular_values(&core);
    let correlations: Vec<f64> = found.values.iter().map(|value| value.clamp(0.0, 1.0)).collect();
    // ⟨hᵢ, xⱼ⟩ = Σₖ uᵢₖ √μₖ vₖⱼ.
    let weight = |left: &Vec<f64>| -> f64 {
        let mut along = vec![0.0; x.n_columns()];
        for ((u, value), vector) in left.iter().zip(&of_x.values).zip(&of_x.vectors) {
            along.iter_mut().zip(vector).for_each(|(sum, v)| *sum += u * value.sqrt() * v);
        }
        along.iter().map(|v| v.abs()).sum()
    };
    let weights: Vec<f64> = found.left.iter().map(weight).collect();
    let weighted: f64 = correlations.iter().zip(&weights).map(|(c, w)| c * w).sum();
    CanonicalCorrelations {
        mean: correlations.iter().sum::<f64>() / correlations.len() as f64,
        projection_weighted: weighted / weights.iter().sum::<f64>(),
        correlations,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    type Pair<'a> = (&'a [f64], &'a [f64]);

    fn normal(seed: u64, n: usize, d: usize) -> Matrix {
        let mut stream = Stream::new(seed, 1, d as u64);
        Matrix::new(n, d, (0..n * d).map(|_| stream.normal()).collect()).unwrap()
    }

    #[test]
    fn invertible_maps_change_nothing() {
        let (x, y) = (normal(1, 80, 6), normal(2, 80, 4));
        let both =
            Matrix::new(80, 4, y.values().iter().zip(x.rows().flat_map(|r| &r[..4])).map(|(a, b)| a + b).collect());
        let both = both.unwrap();
        let before = canonical_correlations(&x, &both).unwrap();
        // Random square matrices: condition numbers of hundreds.
        let moved = canonical_correlations(&x.product(&normal(3, 6, 6)), &both.product(&normal(4, 4, 4))).unwrap();
        for (a, b) in before.correlations.iter().zip(&moved.correlations) {
            assert!((a - b).abs() < 1e-9, "{a} {b}");
        }
        assert!(before.correlations.len() == 4 && before.correlations[0] > before.correlations[3]);
        let own = canonical_correlations(&x, &x.product(&normal(3, 6, 6))).unwrap();
        assert!((own.mean - 1.0).abs() < 1e-9 && (own.projection_weighted - 1.0).abs() < 1e-9);
        assert!(own.correlations.iter().all(|c| (c - 1.0).abs() < 1e-9));
    }

    #[test]
    fn a_known_correlation_is_found_and_weights_go_by_what_is_held() {
        // The first feature of x is y, the second is unrelated and ten times as large: its canonical direction counts ten times.
        let n = 4000;
        let (y, noise) = (normal(5, n, 1), normal(6, n, 2));
        let x: Vec<f64> =
            y.values().iter().zip(noise.rows()).flat_map(|(y, e)| [0.8 * y + 0.6 * e[0], 10.0 * e[1]]).collect();
        let found = canonical_correlations(&Matrix::new(n, 2, x).unwrap(), &y).unwrap();
        // The standard error of a correlation is (1 − ρ²)/√n.
        assert!((found.correlations[0] - 0.8).abs() < 4.0 * 0.36 / (n as f64).sqrt(), "{found:?}");
        assert_eq!(found.correlations.len(), 1);
        let (x, both) = (normal(7, n, 2), normal(8, n, 2));
        let rows =
            |f: fn(Pair<'_>) -> [f64; 2]| Matrix::new(n, 2, x.rows().zip(both.rows()).flat_map(f).collect()).unwrap();
        let found = canonical_correlations(&rows(|(x, _)| [x[0], 10.0 * x[1]]), &rows(|(x, e)| [x[0], e[1]])).unwrap();
        // Correlations 1 and about 0 with weights 1 and 10.
        assert!((found.mean - 0.5).abs() < 0.05 && found.projection_weighted < 0.2, "{found:?}");
    }

    /// Σρ² of unrelated normal sets is a sum of Beta variables with mean pq/(n − 1) (Pillai 1955).
    #[test]
    fn unrelated_activations_have_the_known_bias() {
        let (n, p, q, runs) = (60, 8, 5, 200);
        let sums: Vec<f64> = (0..runs)
            .map(|run| {
                let found = canonical_correlations(&normal(100 + run, n, p), &normal(1000 + run, n, q)).unwrap();
                found.correlations.iter().map(|c| c * c).sum::<f64>()
            })
            .collect();
        let mean = sums.iter().sum::<f64>() / runs as f64;
        let variance = sums.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / (runs as f64 - 1.0);
        let expected = (p * q) as f64 / (n as f64 - 1.0);
        assert!((mean - expected).abs() < 4.0 * (variance / runs as f64).sqrt(), "{mean} {expected}");
    }

    #[test]
    fn leading_directions_leave_small_noise_out() {
        let n = 300;
        let (shared, noise) = (normal(9, n, 2), normal(10, n, 8));
        // Two shared directions with nearly all variance, and noise of its own in each set.
        let set = |from: usize| {
            let row = |(s, e): (&[f64], &[f64])| [10.0 * s[0], 10.0 * s[1], e[from], e[from + 1]];
            Matrix::new(n, 4, shared.rows().zip(noise.rows()).flat_map(row).collect()).unwrap()
        };
        let (x, y) = (set(0), set(2));
        assert!(canonical_correlations(&x, &y).unwrap().mean < 0.7);
        let found = singular_vector_correlation(&x, &y, 0.98).unwrap();
        assert!(found > 0.98, "{found}");
        assert!((singular_vector_correlation(&x, &x, 0.99).unwrap() - 1.0).abs() < 1e-9);
        assert_eq!(canonical_correlations(&x, &Matrix::zeros(n, 3)).unwrap().mean, 0.0);
        assert!(canonical_correlations(&normal(1, 5, 4), &normal(2, 5, 2)).is_err());
    }
}
