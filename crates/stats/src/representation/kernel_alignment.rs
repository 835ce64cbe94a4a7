//! Centred kernel alignment of two sets of activations with linear kernels.

use crate::array_error::{ArrayError, enough, length};
use crate::linear::Matrix;

/// Similarity of the scalar products between examples in two sets of activations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KernelAlignment {
    /// ‖YᵀX‖²/(‖XᵀX‖·‖YᵀY‖), 0 to 1 (Kornblith et al. 2019, equation 3). Of n independent examples of unrelated activations of p
    /// and q white features it is about √(pq/((n + p)(n + q))), not 0.
    pub plain: f64,
    /// The same with unbiased estimates in place of the three norms (Song et al. 2012, equation 5): about 0 where nothing is
    /// shared, at most slightly above 1, and below 0 by chance.
    pub debiased: f64,
}

/// Linear centred kernel alignment of `x` (examples, p) and `y` (the same examples, q). It does not change when either is rotated,
/// reflected, shifted or scaled. Where one of them does not vary, both numbers are 0: nothing is shared.
///
/// ```
/// use ontogeny_stats::{Matrix, kernel_alignment};
///
/// let x = Matrix::new(4, 2, vec![1.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.5, -1.0])?;
/// let turned = Matrix::new(4, 2, vec![0.0, 3.0, -3.0, 0.0, 0.0, -3.0, 3.0, 1.5])?;
/// assert!((kernel_alignment(&x, &turned)?.plain - 1.0).abs() < 1e-14);
/// # Ok::<(), ontogeny_stats::ArrayError>(())
/// ```
///
/// # Errors
/// Fewer than four examples, or other numbers of them.
pub fn kernel_alignment(x: &Matrix, y: &Matrix) -> Result<KernelAlignment, ArrayError> {
    enough("examples", x.n_rows(), 4)?;
    length("the second set of activations", y.n_rows(), x.n_rows())?;
    let (x, y) = (x.centred(), y.centred());
    let shared = Overlap::of(&x, &y);
    let (own_x, own_y) = (Overlap::of(&x, &x), Overlap::of(&y, &y));
    let ratio = |of: fn(&Overlap) -> f64| {
        let square = of(&own_x) * of(&own_y);
        if of(&own_x) > 0.0 && of(&own_y) > 0.0 { of(&shared) / square.sqrt() } else { 0.0 }
    };
    Ok(KernelAlignment { plain: ratio(|overlap| overlap.biased), debiased: ratio(|overlap| overlap.unbiased) })
}

/// tr(K·L) of the two matrices of scalar products, and n(n − 3) times the unbiased estimate.
struct Overlap {
    biased: f64,
    unbiased: f64,
}

impl Overlap {
    /// Of centred rows. With a and b the diagonals of K and L and zeros in their place, the rows of K sum to −a and those of L to
    /// −b, so that Song's three terms need no n×n matrix.
    fn of(x: &Matrix, y: &Matrix) -> Self {
        let n = x.n_rows() as f64;
        let squares = |m: &Matrix| m.rows().map(|row| row.iter().map(|v| v * v).sum()).collect::<Vec<f64>>();
        let (a, b) = (squares(x), squares(y));
        let biased = x.transposed_product(y).square_norm();
        let diagonal: f64 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
        let all = a.iter().sum::<f64>() * b.iter().sum::<f64>();
        let unbiased = biased - n / (n - 2.0) * diagonal + all / ((n - 1.0) * (n - 2.0));
        Self { biased, unbiased }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    fn normal(seed: u64, n: usize, d: usize) -> Matrix {
        let mut stream = Stream::new(seed, 0, d as u64);
        Matrix::new(n, d, (0..n * d).map(|_| stream.normal()).collect()).unwrap()
    }

    /// H = 1 − 2vvᵀ/|v|² is orthogonal.
    fn reflected(x: &Matrix, seed: u64) -> Matrix {
        let v = normal(seed, 1, x.n_columns());
        let square = v.square_norm();
        let mut reflected = x.clone();
        for row in 0..x.n_rows() {
            let along: f64 = x.row(row).iter().zip(v.row(0)).map(|(x, v)| x * v).sum();
            reflected.row_mut(row).iter_mut().zip(v.row(0)).for_each(|(x, v)| *x -= 2.0 * along * v / square);
        }
        reflected
    }

    #[test]
    fn rotations_shifts_and_scales_change_nothing_and_other_maps_do() {
        let (x, other) = (normal(1, 50, 7), normal(2, 50, 5));
        let mixed = Matrix::new(
            50,
            5,
            other
                .rows()
                .flat_map(<[f64]>::to_vec)
                .zip(x.rows().flat_map(|r| r[..5].to_vec()))
                .map(|(a, b)| a + b)
                .collect(),
        )
        .unwrap();
        let before = kernel_alignment(&x, &mixed).unwrap();
        let mut moved = reflected(&reflected(&x, 3), 4);
        for row in 0..50 {
            moved.row_mut(row).iter_mut().for_each(|v| *v = 7.5 * *v + 3.0);
        }
        let after = kernel_alignment(&moved, &mixed).unwrap();
        assert!((before.plain - after.plain).abs() < 1e-12 && (before.debiased - after.debiased).abs() < 1e-12);
        let own = kernel_alignment(&x, &moved).unwrap();
        assert!((own.plain - 1.0).abs() < 1e-12 && (own.debiased - 1.0).abs() < 1e-12, "{own:?}");
        // Invertible, but no rotation.
        let mut stretched = x.clone();
        for row in 0..50 {
            stretched.row_mut(row)[0] *= 10.0;
        }
        assert!(kernel_alignment(&x, &stretched).unwrap().plain < 0.9);
        assert_eq!(kernel_alignment(&x, &Matrix::zeros(50, 3)).unwrap(), KernelAlignment { plain: 0.0, debiased: 0.0 });
        assert!(kernel_alignment(&normal(1, 3, 2), &normal(2, 3, 2)).is_err());
    }

    /// Sums over all examples, as Song et al. write them.
    #[test]
    fn the_unbiased_estimate_is_that_of_the_paper() {
        let (x, y) = (normal(5, 12, 3), normal(6, 12, 4));
        let n = 12;
        let kernel = |m: &Matrix| {
            let mut k = m.product_transposed(m);
            (0..n).for_each(|i| k.row_mut(i)[i] = 0.0);
            k
        };
        let (k, l) = (kernel(&x), kernel(&y));
        let sum = |m: &Matrix| m.values().iter().sum::<f64>();
        let trace: f64 = k.values().iter().zip(l.values()).map(|(a, b)| a * b).sum();
        let middle = sum(&k.product(&l));
        let nf = n as f64;
        let expected = trace + sum(&k) * sum(&l) / ((nf - 1.0) * (nf - 2.0)) - 2.0 / (nf - 2.0) * middle;
        let found = Overlap::of(&x.centred(), &y.centred()).unbiased;
        assert!((found - expected).abs() < 1e-10, "{found} {expected}");
    }

    /// Of white normal rows, E‖XᵀY‖² = νpq and E‖XᵀX‖² = νp(ν + p + 1) with ν = n − 1 (second moments of a Wishart matrix).
    #[test]
    fn unrelated_activations_have_the_known_bias_and_none_without_it() {
        let (n, p, q) = (60, 20, 10);
        let runs = 200;
        let found: Vec<KernelAlignment> = (0..runs)
            .map(|run| kernel_alignment(&normal(100 + run, n, p), &normal(1000 + run, n, q)).unwrap())
            .collect();
        let nu = n as f64 - 1.0;
        let [p, q] = [p as f64, q as f64];
        let expected = (p * q / ((nu + p + 1.0) * (nu + q + 1.0))).sqrt();
        for (of, expected, bias) in [
            // The ratio of means is the mean of the ratio to the relative variance of the norms, 1/n.
            ((|a: &KernelAlignment| a.plain) as fn(&KernelAlignment) -> f64, expected, expected / n as f64),
            (|a| a.debiased, 0.0, 0.0),
        ] {
            let mean = found.iter().map(of).sum::<f64>() / runs as f64;
            let variance = found.iter().map(|a| (of(a) - mean).powi(2)).sum::<f64>() / (runs as f64 - 1.0);
            let error = (variance / runs as f64).sqrt();
            assert!((mean - expected).abs() < 4.0 * error + bias, "{mean} {expected} {error}");
        }
    }
}
