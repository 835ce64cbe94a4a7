//! Erasing from activations what a linear probe could read of some labels: LEACE and the projection off mean differences.

use super::PrincipalAxes;
use crate::array_error::{ArrayError, enough, length, setting};
use crate::linear::{Matrix, singular_values};

/// The affine map x ↦ x − left·right·(x − mean).
#[derive(Debug, Clone, PartialEq)]
pub struct Eraser {
    /// The mean of what it was fitted to, which stays in place.
    pub mean: Vec<f64>,
    /// (features, rank).
    pub left: Matrix,
    /// (rank, features); right·left is the identity.
    pub right: Matrix,
}

/// Singular values below this share of the largest are rounding: one-hot labels of k classes have rank k − 1.
const SMALL: f64 = 1e-10;

/// What is left of a feature that was erased as a whole, as a share of it.
const ROUNDING: f64 = 1e-10;

impl Eraser {
    /// The map that removes all linear information about `z` from `x` and otherwise moves `x` least, by mean squares in every
    /// norm at once: LEACE (Belrose et al. 2023, theorem 4.3). `x` is (examples, features), `z` (examples, concepts), such as
    /// [`Matrix::one_hot`] of labels.
    ///
    /// With W = Σxx^(−½) and U an orthonormal basis of the columns of W·Σxz, it subtracts W⁺UUᵀW(x − x̄). On the examples it was fitted to
    /// the cross-covariance with `z` is then 0, so that no linear probe with a convex loss beats one that sees nothing.
    ///
    /// # Errors
    /// Fewer than two examples, or other numbers of them.
    pub fn leace(x: &Matrix, z: &Matrix) -> Result<Self, ArrayError> {
        check(x, z)?;
        let axes = PrincipalAxes::of(x);
        let crossed = x.clone().less(&axes.mean).transposed_product(&z.centred());
        // In coordinates along the axes: whitening divides by √μ, its inverse multiplies.
        let mut whitened = axes.along(&crossed);
        for (i, value) in axes.values.iter().enumerate() {
            whitened.row_mut(i).iter_mut().for_each(|v| *v /= value.sqrt());
        }
        let basis = basis_of(&whitened);
        let vectors = Matrix::from_rows(&axes.vectors, x.n_columns());
        let scaled = |power: f64| {
            let mut scaled = basis.clone();
            for row in 0..scaled.n_rows() {
                scaled.row_mut(row).iter_mut().zip(&axes.values).for_each(|(u, value)| *u *= value.powf(power));
            }
            scaled.product(&vectors)
        };
        Ok(Self { left: scaled(0.5).transposed(), right: scaled(-0.5), mean: axes.mean })
    }

    /// The orthogonal projection off the columns of Σxz: of one-hot labels off all differences of class means (Ravfogel et al. 2022
    /// and Shao et al. 2023 erase so). It also leaves no cross-covariance, but moves `x` more than LEACE unless its covariance is
    /// a multiple of the identity.
    ///
    /// # Errors
    /// As for [`Eraser::leace`].
    pub fn mean_difference(x: &Matrix, z: &Matrix) -> Result<Self, ArrayError> {
        check(x, z)?;
        let mean = x.means();
        let basis = basis_of(&x.clone().less(&mean).transposed_product(&z.centred()));
        Ok(Self { mean, left: basis.transposed(), right: basis })
    }

    /// Dimensions that are removed.
    pub fn rank(&self) -> usize {
        self.right.n_rows()
    }

    /// left·right, (features, features): a projection, which is what is subtracted.
    pub fn removed(&self) -> Matrix {
        self.left.product(&self.right)
    }

    /// What is left of `x` (examples, features).
    ///
    /// # Errors
    /// Another number of features.
    pub fn apply(&self, x: &Matrix) -> Result<Matrix, ArrayError> {
        length("the features to erase from", x.n_columns(), self.mean.len())?;
        let along = x.clone().less(&self.mean).product_transposed(&self.right);
        let parts = along.product_transposed(&self.left);
        let mut left = Matrix::new(x.n_rows(), x.n_columns(), parts.into_values())?;
        for row in 0..x.n_rows() {
            for ((value, x), mean) in left.row_mut(row).iter_mut().zip(x.row(row)).zip(&self.mean) {
                let kept = x - *value;
                // A difference from the mean that is rounding would tell a probe, which knows no scale, what was erased.
                *value = if (kept - mean).abs() <= ROUNDING * (x.abs() + mean.abs()) { *mean } else { kept };
            }
        }
        Ok(left)
    }
}

fn check(x: &Matrix, z: &Matrix) -> Result<(), ArrayError> {
    enough("examples", x.n_rows(), 2)?;
    length("the labels", z.n_rows(), x.n_rows())?;
    setting("the number of concepts", z.n_columns() as f64, z.n_columns() > 0, "at least 1")
}

/// Orthonormal rows that span the columns of `m`.
fn basis_of(m: &Matrix) -> Matrix {
    let found = singular_values(m);
    let least = SMALL * found.values.first().copied().unwrap_or(0.0);
    let rank = found.values.iter().take_while(|&&value| value > least && value > 0.0).count();
    Matrix::from_rows(&found.left[..rank], m.n_rows())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;
    use crate::representation::{Probe, Question, logistic, probe, probe_erased};

    /// Labels of k classes, and features of unequal variance that know them.
    fn known(seed: u64, n: usize, d: usize, k: u32) -> (Matrix, Vec<u32>) {
        let mut stream = Stream::new(seed, 5, 0);
        let labels: Vec<u32> = (0..n).map(|_| (stream.uniform() * f64::from(k)) as u32).collect();
        let mix: Vec<f64> = (0..d * d).map(|_| stream.normal()).collect();
        let centres: Vec<f64> = (0..k as usize * d).map(|_| stream.normal()).collect();
        let noise: Vec<f64> = (0..n * d).map(|_| stream.normal()).collect();
        let x = Matrix::new(n, d, noise).unwrap().product(&Matrix::new(d, d, mix).unwrap());
        let values = x.rows().zip(&labels).flat_map(|(row, &label)| {
            row.iter().zip(&centres[label as usize * d..]).map(|(x, c)| x + 2.0 * c).collect::<Vec<f64>>()
        });
        (Matrix::new(n, d, values.collect()).unwrap(), labels)
    }

    fn cross_covariance(x: &Matrix, z: &Matrix) -> f64 {
        let crossed = x.centred().transposed_product(&z.centred());
        crossed.values().iter().fold(0.0_f64, |most, v| most.max(v.abs())) / x.n_rows() as f64
    }

    /// (x ↦ removed·x applied twice) − (once), largest entry; and the asymmetry.
    fn defects(removed: &Matrix) -> (f64, f64) {
        let most =
            |a: &Matrix, b: &Matrix| a.values().iter().zip(b.values()).fold(0.0_f64, |m, (a, b)| m.max((a - b).abs()));
        (most(&removed.product(removed), removed), most(&removed.transposed(), removed))
    }

    #[test]
    fn cross_covariance_is_gone_and_what_is_removed_is_a_projection() {
        for (seed, k) in [(1, 2), (2, 3), (3, 6)] {
            let (x, labels) = known(seed, 400, 12, k);
            let z = Matrix::one_hot(&labels, k as usize);
            assert!(cross_covariance(&x, &z) > 0.1);
            for eraser in [Eraser::leace(&x, &z).unwrap(), Eraser::mean_difference(&x, &z).unwrap()] {
                let erased = eraser.apply(&x).unwrap();
                assert!(cross_covariance(&erased, &z) <= 1e-8, "{}", cross_covariance(&erased, &z));
                assert_eq!(eraser.rank(), k as usize - 1);
                assert!(defects(&eraser.removed()).0 < 1e-9);
                // The mean stays.
                x.means().iter().zip(erased.means()).for_each(|(a, b)| assert!((a - b).abs() < 1e-10));
            }
            // LEACE moves least.
            let moved = |eraser: &Eraser| -> f64 {
                x.values().iter().zip(eraser.apply(&x).unwrap().values()).map(|(a, b)| (a - b).powi(2)).sum()
            };
            let (least, more) = (Eraser::leace(&x, &z).unwrap(), Eraser::mean_difference(&x, &z).unwrap());
            assert!(moved(&least) < moved(&more), "{} {}", moved(&least), moved(&more));
        }
        // Several concepts that are no classes: as many dimensions as they have.
        let (x, labels) = known(4, 300, 8, 3);
        let z =
            Matrix::new(300, 2, labels.iter().enumerate().flat_map(|(i, &l)| [f64::from(l), x.row(i)[0]]).collect())
                .unwrap();
        let eraser = Eraser::leace(&x, &z).unwrap();
        assert_eq!(eraser.rank(), 2);
        assert!(cross_covariance(&eraser.apply(&x).unwrap(), &z) <= 1e-8);
    }

    #[test]
    fn with_white_features_it_is_an_orthogonal_projection() {
        let (x, labels) = known(5, 300, 7, 3);
        let axes = PrincipalAxes::of(&x);
        let white = axes.along(&x.clone().less(&axes.mean).transposed()).transposed();
        let values = white
            .rows()
            .flat_map(|row| row.iter().zip(&axes.values).map(|(v, value)| v / value.sqrt()).collect::<Vec<_>>());
        let white = Matrix::new(300, 7, values.collect()).unwrap();
        let z = Matrix::one_hot(&labels, 3);
        let (square, asymmetry) = defects(&Eraser::leace(&white, &z).unwrap().removed());
        assert!(square < 1e-10 && asymmetry < 1e-10, "{square} {asymmetry}");
        // Elsewhere it is not.
        assert!(defects(&Eraser::leace(&x, &z).unwrap().removed()).1 > 0.01);
    }

    /// What the authors assert of their package: coefficients of a logistic regression above 0.1 before and below 1e-4 after, at
    /// 2048 examples of 128 features.
    #[test]
    fn a_logistic_regression_finds_nothing_afterwards() {
        let (x, labels) = known(6, 2048, 128, 2);
        let z = Matrix::one_hot(&labels, 2);
        let erased = Eraser::leace(&x, &z).unwrap().apply(&x).unwrap();
        let largest = |x: &Matrix| {
            let fit = logistic(x, &labels, 2, 1e-3, 1e-6, None).unwrap();
            fit.weights.values().iter().fold(0.0_f64, |most, v| most.max(v.abs()))
        };
        let (before, after) = (largest(&x), largest(&erased));
        assert!(before > 0.1 && after < 1e-4, "{before} {after}");
    }

    #[test]
    fn a_probe_of_new_examples_is_at_the_majority() {
        let (x, labels) = known(7, 2000, 10, 2);
        let half = |from: usize| (from..from + 1000).collect::<Vec<usize>>();
        let (own, other) = (x.select(&half(0)), x.select(&half(1000)));
        let eraser = Eraser::leace(&own, &Matrix::one_hot(&labels[..1000], 2)).unwrap();
        let question = [Question { n_classes: 2, labels: labels[1000..].to_vec() }];
        let folds: Vec<usize> = (0..1000).map(|i| i % 5).collect();
        let before = probe(&other, &question, &folds, Probe::Ridge).unwrap()[0];
        let after = probe(&eraser.apply(&other).unwrap(), &question, &folds, Probe::Ridge).unwrap()[0];
        assert!(before.accuracy > 0.8, "{before:?}");
        // The binomial error of 1000 examples, and as much again for the covariance, which 1000 others gave.
        let error = (0.25_f64 / 1000.0).sqrt();
        assert!((after.accuracy - after.majority).abs() < 4.0 * error * std::f64::consts::SQRT_2, "{after:?}");
        assert!(eraser.apply(&Matrix::zeros(3, 4)).is_err());
        // Fitted to what the probe is fitted to, it leaves the majority and nothing else.
        for erase in [Eraser::leace, Eraser::mean_difference] {
            let after = probe_erased(&other, &question[0], &folds, erase).unwrap();
            assert_eq!(after.accuracy, after.majority);
        }
        // Features that are a function of the label alone are erased to their mean, and no rounding tells them apart.
        let values = labels.iter().flat_map(|&label| [f64::from(label) / 3.0, 7.1 - f64::from(label)]);
        let all = Matrix::new(2000, 2, values.collect()).unwrap();
        let eraser = Eraser::leace(&all, &Matrix::one_hot(&labels, 2)).unwrap();
        let erased = eraser.apply(&all.select(&half(1000))).unwrap();
        let after = probe(&erased, &question, &folds, Probe::Ridge).unwrap()[0];
        assert_eq!(after.accuracy, after.majority);
        assert_eq!(
            Eraser::leace(&Matrix::zeros(9, 3), &Matrix::one_hot(&[0, 1, 0, 1, 0, 1, 0, 1, 1], 2)).unwrap().rank(),
            0
        );
    }
}
