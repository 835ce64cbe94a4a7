//! Covariance of fluctuating units over draws, batches or nearby checkpoints, and its dominant direction.

use crate::array_error::{ArrayError, enough, increasing, length, setting};
use crate::eigen::{product, symmetric_eigen};

/// Weighted covariance of vectors of units, gathered one vector at a time, centred within groups.
///
/// A group is what shares a level that is of no interest: the draws of one chain, the batches of
/// one checkpoint. Updates are those of West (1979), which lose no digits to a large mean.
#[derive(Debug, Clone)]
pub struct CovarianceSum {
    n_units: usize,
    mean: Vec<f64>,
    weight: f64,
    /// Σ w² of the group at hand.
    square_weight: f64,
    /// Lower triangle in a square, over all groups.
    products: Vec<f64>,
    /// Σ over groups of W − Σw²/W: n − 1 of each for equal weights of one.
    degrees: f64,
}

impl CovarianceSum {
    /// Of vectors with `n_units` entries; memory is n_units².
    ///
    /// # Errors
    /// No unit.
    pub fn new(n_units: usize) -> Result<Self, ArrayError> {
        enough("units", n_units, 1)?;
        Ok(Self {
            n_units,
            mean: vec![0.0; n_units],
            weight: 0.0,
            square_weight: 0.0,
            products: vec![0.0; n_units * n_units],
            degrees: 0.0,
        })
    }

    /// Adds one vector to the group at hand with a positive weight (1 if all count alike).
    ///
    /// # Errors
    /// Another number of units, a value that is not finite, or a weight that is not positive.
    pub fn add(&mut self, units: &[f64], weight: f64) -> Result<(), ArrayError> {
        length("the vector of units", units.len(), self.n_units)?;
        crate::array_error::finite("the vector of units", units)?;
        setting("the weight", weight, weight > 0.0 && weight.is_finite(), "a positive number")?;
        let before = self.weight;
        self.weight += weight;
        self.square_weight += weight * weight;
        let share = weight / self.weight;
        let distances: Vec<f64> = units.iter().zip(&self.mean).map(|(x, m)| x - m).collect();
        self.mean.iter_mut().zip(&distances).for_each(|(m, d)| *m += share * d);
        for (i, row) in self.products.chunks_exact_mut(self.n_units).enumerate() {
            let factor = before * share * distances[i];
            row[..=i].iter_mut().zip(&distances).for_each(|(p, d)| *p += factor * d);
        }
        Ok(())
    }

    /// Ends the group at hand: the next vector has a level of its own.
    pub fn end_group(&mut self) {
        if self.weight > 0.0 {
            self.degrees += self.weight - self.square_weight / self.weight;
        }
        (self.weight, self.square_weight) = (0.0, 0.0);
        self.mean.fill(0.0);
    }

    /// The covariance within groups, (units, units) row-major: Σ w (x − mean)(x − mean)ᵀ over all groups,
    /// divided by Σ (W − Σw²/W), which makes it unbiased for independent vectors.
    ///
    /// # Errors
    /// No group with two vectors.
    pub fn covariance(mut self) -> Result<Vec<f64>, ArrayError> {
        self.end_group();
        if self.degrees <= 0.0 {
            return Err(ArrayError::TooFew { what: "vectors in a group", found: 1, needed: 2 });
        }
        let n = self.n_units;
        Ok((0..n * n).map(|ij| self.products[(ij / n).max(ij % n) * n + (ij / n).min(ij % n)] / self.degrees).collect())
    }
}

/// The direction in which units fluctuate most.
#[derive(Debug, Clone, PartialEq)]
pub struct DominantMode {
    /// Variance along it: the largest eigenvalue of the covariance.
    pub variance: f64,
    /// The second largest.
    pub next_variance: f64,
    /// Sum of all eigenvalues.
    pub total_variance: f64,
    /// All eigenvalues that are told apart from 0 by the number of vectors, descending.
    pub spectrum: Vec<f64>,
    /// The unit eigenvector, its largest entry positive.
    pub direction: Vec<f64>,
}

/// Dominant eigenpair of a covariance, (units, units) row-major.
///
/// Of dx = A x dt + D dW near a bifurcation the covariance is dominated by the mode whose eigenvalue
/// μ of A approaches 0: its variance grows as 1/(2|Re μ|), and the direction tends to the right
/// eigenvector, along which the system will move (Oku and Aihara 2018).
///
/// # Errors
/// A matrix that is not square of at least one unit, or a value that is not finite.
pub fn dominant_mode(covariance: &[f64]) -> Result<DominantMode, ArrayError> {
    let n = covariance.len().isqrt();
    enough("units", n, 1)?;
    length("the covariance", covariance.len(), n * n)?;
    crate::array_error::finite("the covariance", covariance)?;
    let found = symmetric_eigen(covariance.to_vec(), n, 1);
    let total = found.values.iter().sum();
    let direction = found.vectors.into_iter().next().unwrap_or_default();
    Ok(mode(direction, &found.values, total))
}

fn mode(mut direction: Vec<f64>, values: &[f64], total: f64) -> DominantMode {
    let largest = direction.iter().fold(0.0_f64, |a, b| if b.abs() > a.abs() { *b } else { a });
    if largest < 0.0 {
        for x in &mut direction {
            *x = -*x;
        }
    }
    DominantMode {
        variance: values[0],
        next_variance: values.get(1).copied().unwrap_or(0.0),
        total_variance: total,
        // Rounding leaves some that are 0 slightly below.
        spectrum: values.iter().map(|value| value.max(0.0)).collect(),
        direction,
    }
}

/// The dominant mode of fluctuations in one window of checkpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowMode {
    /// Index of the last checkpoint of the window: nothing later is used.
    pub last: usize,
    /// Its dominant mode.
    pub mode: DominantMode,
    /// |cosine| between its direction and that of the window before, 0 for the first.
    pub agreement: f64,
}

/// Dominant modes of `rows` (checkpoints, `n_units`; row-major) in windows of `window` checkpoints that
/// end at every `stride`-th, each unit freed of the straight line over `x` that fits it in the window.
///
/// Divided by window − 2, so that independent fluctuations about lines have their variance; correlated
/// ones come out low, by what a line can follow. Units may be far more than checkpoints: matrices are of
/// the smaller of the two sizes.
///
/// # Errors
/// A window of fewer than four checkpoints or more than there are, a stride of zero, lengths that do
/// not fit, or values out of order or not finite.
pub fn window_modes(
    x: &[f64],
    rows: &[f64],
    n_units: usize,
    window: usize,
    stride: usize,
) -> Result<Vec<WindowMode>, ArrayError> {
    enough("units", n_units, 1)?;
    enough("checkpoints of a window", window, 4)?;
    enough("checkpoints", x.len(), window)?;
    enough("the stride of windows", stride, 1)?;
    increasing("the coordinate", x)?;
    super::check_rows(rows, x.len(), n_units)?;
    let mut found: Vec<WindowMode> = vec![];
    for last in (window - 1..x.len()).step_by(stride) {
        let first = last + 1 - window;
        let residuals = detrended(&x[first..=last], &rows[first * n_units..(last + 1) * n_units], n_units);
        let mode = mode_of_residuals(&residuals, window, n_units);
        let agreement = found.last().map_or(0.0, |w| product(&w.mode.direction, &mode.direction).abs());
        found.push(WindowMode { last, mode, agreement });
    }
    Ok(found)
}

/// Rows less the straight line of each unit.
pub(super) fn detrended(x: &[f64], rows: &[f64], n_units: usize) -> Vec<f64> {
    let n = x.len() as f64;
    let centre = x.iter().sum::<f64>() / n;
    let spread: f64 = x.iter().map(|x| (x - centre).powi(2)).sum();
    let (mut mean, mut slope) = (vec![0.0; n_units], vec![0.0; n_units]);
    for row in rows.chunks_exact(n_units) {
        mean.iter_mut().zip(row).for_each(|(m, v)| *m += v / n);
    }
    for (x, row) in x.iter().zip(rows.chunks_exact(n_units)) {
        let along = (x - centre) / spread;
        for ((s, v), m) in slope.iter_mut().zip(row).zip(&mean) {
            *s += along * (v - m);
        }
    }
    let mut residuals = rows.to_vec();
    for (x, row) in x.iter().zip(residuals.chunks_exact_mut(n_units)) {
        for ((v, m), s) in row.iter_mut().zip(&mean).zip(&slope) {
            *v -= m + s * (x - centre);
        }
    }
    residuals
}

fn mode_of_residuals(residuals: &[f64], window: usize, n_units: usize) -> DominantMode {
    let degrees = (window - 2) as f64;
    if n_units <= window {
        let mut products = vec![0.0; n_units * n_units];
        for row in residuals.chunks_exact(n_units) {
            for (i, a) in row.iter().enumerate() {
                let place = &mut products[i * n_units..][..=i];
                place.iter_mut().zip(row).for_each(|(p, b)| *p += a * b / degrees);
            }
        }
        let found = symmetric_eigen(products, n_units, 1);
        let total = found.values.iter().sum();
        return mode(found.vectors.into_iter().next().unwrap_or_default(), &found.values, total);
    }
    // The same non-zero eigenvalues from products of checkpoints; Rᵀu is the direction.
    let row = |t: usize| &residuals[t * n_units..(t + 1) * n_units];
    let mut products = vec![0.0; window * window];
    for i in 0..window {
        for j in 0..=i {
            products[i * window + j] = product(row(i), row(j)) / degrees;
        }
    }
    let found = symmetric_eigen(products, window, 1);
    let total = found.values.iter().sum();
    let mut direction = vec![0.0; n_units];
    for (t, u) in found.vectors[0].iter().enumerate() {
        direction.iter_mut().zip(row(t)).for_each(|(d, r)| *d += u * r);
    }
    let norm = product(&direction, &direction).sqrt();
    if norm > 0.0 {
        for d in &mut direction {
            *d /= norm;
        }
    }
    mode(direction, &found.values, total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;
    use crate::warning::lyapunov::{stationary_covariance, stationary_covariance_of_map};

    #[test]
    fn recipes_example_of_the_dominant_pair() {
        // A = [[-1, .3], [.2, -.5]], unit noise: eigenvalues .453404 and 1.258718 (recipes B2).
        let sigma = stationary_covariance(&[-1.0, 0.3, 0.2, -0.5], &[1.0, 0.0, 0.0, 1.0]).unwrap();
        let mode = dominant_mode(&sigma).unwrap();
        assert!((mode.variance - 1.258_718).abs() < 5e-7 && (mode.next_variance - 0.453_404).abs() < 5e-7);
    }

    #[test]
    fn the_spectrum_holds_all_of_the_variance() {
        // The recipes' matrix has two eigenvalues; three checkpoints about lines, in five units, have one direction each.
        let sigma = stationary_covariance(&[-1.0, 0.3, 0.2, -0.5], &[1.0, 0.0, 0.0, 1.0]).unwrap();
        let mode = dominant_mode(&sigma).unwrap();
        assert!((mode.spectrum[0] - 1.258_718).abs() < 1e-6 && (mode.spectrum[1] - 0.453_404).abs() < 1e-6);
        let mut stream = Stream::new(78, 0, 0);
        let rows: Vec<f64> = (0..6 * 20).map(|_| stream.normal()).collect();
        let x: Vec<f64> = (0..6).map(f64::from).collect();
        for n_units in [4, 20] {
            let found = window_modes(&x, &rows[..6 * n_units], n_units, 6, 1).unwrap();
            let mode = &found[0].mode;
            assert!((mode.spectrum.iter().sum::<f64>() - mode.total_variance).abs() < 1e-12);
            // Two of six degrees of freedom are the line's.
            let n_above = mode.spectrum.iter().filter(|value| **value > 1e-12).count();
            assert_eq!((n_above, mode.spectrum[0]), (4, mode.variance));
        }
    }

    #[test]
    fn the_direction_tends_to_the_critical_eigenvector() {
        // Right eigenvectors (1, 1)/√2 with μ = −k and (1, −2)/√5 with μ = −1: the variance along the first grows
        // as 1/(2k), times the square of the noise's part along its left eigenvector.
        let (v, w) = ([1.0, 1.0], [1.0, -2.0]);
        let mut before = f64::INFINITY;
        for k in [0.1, 0.01, 0.001] {
            let determinant = v[0] * w[1] - w[0] * v[1];
            let inverse = [[w[1] / determinant, -w[0] / determinant], [-v[1] / determinant, v[0] / determinant]];
            let entry = |i: usize, j: usize| -k * v[i] * inverse[0][j] - w[i] * inverse[1][j];
            let a = [entry(0, 0), entry(0, 1), entry(1, 0), entry(1, 1)];
            let mode = dominant_mode(&stationary_covariance(&a, &[1.0, 0.0, 0.0, 1.0]).unwrap()).unwrap();
            let off = (mode.direction[0] - mode.direction[1]).abs();
            assert!(off < 0.2 * before, "off by {off} at {k}");
            before = off;
            let left = inverse[0][0].powi(2) + inverse[0][1].powi(2);
            let leading = 2.0 * left / (2.0 * k);
            assert!((mode.variance / leading - 1.0).abs() < 3.0 * k + 0.03, "{} {leading}", mode.variance);
        }
    }

    #[test]
    fn simulated_fluctuations_have_the_covariance_of_the_map() {
        // x' = Φx + η with unit noise, in groups at different levels, half of the vectors with weight 2.
        let phi = [0.7, 0.2, -0.1, 0.5];
        let sigma = stationary_covariance_of_map(&phi, &[1.0, 0.0, 0.0, 1.0]).unwrap();
        let mut sum = CovarianceSum::new(2).unwrap();
        let (n_groups, n) = (8, 6000);
        for group in 0..n_groups {
            let mut stream = Stream::new(77, 0, group);
            let mut x = [0.0, 0.0];
            for t in 0..n + 50 {
                let noise = [stream.normal(), stream.normal()];
                x = [phi[0] * x[0] + phi[1] * x[1] + noise[0], phi[2] * x[0] + phi[3] * x[1] + noise[1]];
                if t >= 50 {
                    let level = 1e5 * group as f64;
                    sum.add(&[x[0] + level, x[1] - level], 1.0 + (t % 2) as f64).unwrap();
                }
            }
            sum.end_group();
        }
        let found = sum.covariance().unwrap();
        // Squares of an AR process with φ ≈ 0.7 are worth n(1 − φ²)/(1 + φ²) independent ones; weights 1 and 2 cost 10 %.
        let worth = 0.9 * (n * n_groups) as f64 * (1.0 - 0.49) / 1.49;
        for (f, (i, j)) in found.iter().zip([(0, 0), (0, 1), (1, 0), (1, 1)]) {
            let error = ((sigma[3 * i] * sigma[3 * j] + sigma[1] * sigma[1]) / worth).sqrt();
            assert!((f - sigma[2 * i + j]).abs() < 4.0 * error, "{found:?} {sigma:?}");
        }
    }

    #[test]
    fn windows_find_the_mode_whether_units_are_few_or_many() {
        for n_units in [3, 60] {
            let (n, window) = (120, 40);
            let mut stream = Stream::new(12, 0, n_units as u64);
            let direction: Vec<f64> = (0..n_units).map(|_| stream.normal()).collect();
            let norm = product(&direction, &direction).sqrt();
            let x: Vec<f64> = (0..n).map(f64::from).collect();
            let mut rows = vec![];
            for t in 0..n {
                // Growing along one direction on top of a common trend.
                let along = 0.05 * f64::from(t) * stream.normal();
                rows.extend(direction.iter().map(|d| 3.0 * f64::from(t) + along * d / norm + 0.1 * stream.normal()));
            }
            let found = window_modes(&x, &rows, n_units, window, 20).unwrap();
            assert_eq!(found.iter().map(|w| w.last).collect::<Vec<_>>(), [39, 59, 79, 99, 119]);
            for w in &found[1..] {
                let cosine = product(&w.mode.direction, &direction).abs() / norm;
                assert!(cosine > 0.9 && w.agreement > 0.9, "{n_units}: {cosine}");
                assert!(w.mode.total_variance >= w.mode.variance + w.mode.next_variance - 1e-9);
            }
            // Mean of (0.05 t)² over the last window, 25.6; 38 degrees of freedom, unequal ones: 30 % of scatter.
            let last = &found[4].mode;
            assert!((last.variance / 25.6 - 1.0).abs() < 1.0, "{}", last.variance);
            assert!(last.variance > 2.0 * found[0].mode.variance);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(CovarianceSum::new(0).is_err());
        let mut sum = CovarianceSum::new(2).unwrap();
        assert!(sum.add(&[1.0], 1.0).is_err() && sum.add(&[1.0, 2.0], 0.0).is_err());
        sum.add(&[1.0, 2.0], 1.0).unwrap();
        assert!(sum.covariance().is_err());
        assert!(window_modes(&[0.0, 1.0, 2.0], &[0.0; 3], 1, 3, 1).is_err());
        assert!(dominant_mode(&[1.0, 2.0, 3.0]).is_err());
    }
}
