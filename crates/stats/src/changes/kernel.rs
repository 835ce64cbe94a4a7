//! Kernel cost: the scatter of a segment about its mean in the feature space of a kernel.

use super::cost::{SegmentCost, check_points};
use super::signal::{ChangeError, Signal};

/// Most points: the table over all pairs of them then takes 1 GiB.
pub const MAX_KERNEL_POINTS: usize = 16_384;

/// Σ k(y, y) − (1/m) Σ Σ k(y, y') over a segment of m points (Harchaoui and Cappé 2007; Arlot,
/// Celisse and Harchaoui 2019, eq. 5): with a characteristic kernel it sees any change of distribution.
///
/// The double sums of all segments lie in a table of n (n + 1) / 2 numbers, made in O(n²) from
/// sums alone (Celisse et al. 2018): every cost takes constant time and loses no digits to
/// differences.
#[derive(Debug, Clone)]
pub struct KernelCost {
    /// Sums of k(y, y) over the first i points.
    diagonal: Vec<f64>,
    /// Σ Σ k over the points start..end, at end (end − 1) / 2 + start.
    double_sums: Vec<f64>,
}

impl KernelCost {
    /// Of `n_points` points with the kernel `kernel(i, j)`, i ≤ j: symmetric and positive
    /// semi-definite, or cutting may cost and PELT may not be exact.
    ///
    /// # Errors
    /// No points, or more than [`MAX_KERNEL_POINTS`].
    pub fn new(n_points: usize, mut kernel: impl FnMut(usize, usize) -> f64) -> Result<Self, ChangeError> {
        check_points(n_points)?;
        if n_points > MAX_KERNEL_POINTS {
            return Err(ChangeError::TooManyPoints { found: n_points, most: MAX_KERNEL_POINTS });
        }
        let mut diagonal = vec![0.0];
        let mut double_sums = vec![0.0; n_points * (n_points + 1) / 2];
        for end in 1..=n_points {
            let newest = end - 1;
            let (before, row) = double_sums.split_at_mut(end * (end - 1) / 2);
            let before = &before[before.len() - newest..];
            let own = kernel(newest, newest);
            diagonal.push(diagonal[newest] + own);
            let mut with_newest = 0.0;
            for start in (0..end).rev() {
                let value = if start == newest { own } else { kernel(start, newest) };
                with_newest += value;
                row[start] = before.get(start).unwrap_or(&0.0) + 2.0 * with_newest - own;
            }
        }
        Ok(Self { diagonal, double_sums })
    }

    /// With exp(−γ ‖y − y'‖²); without γ the reciprocal of the median squared distance of two
    /// different points, or 1 where that is 0.
    ///
    /// # Errors
    /// As of [`Self::new`], or a γ that is not above 0 or not finite.
    pub fn gaussian(signal: &Signal, gamma: Option<f64>) -> Result<Self, ChangeError> {
        let n = signal.n_points();
        if n > MAX_KERNEL_POINTS {
            return Err(ChangeError::TooManyPoints { found: n, most: MAX_KERNEL_POINTS });
        }
        let square = |i: usize, j: usize| -> f64 {
            signal.point(i).iter().zip(signal.point(j)).map(|(a, b)| (a - b) * (a - b)).sum()
        };
        let gamma = match gamma {
            Some(gamma) if gamma > 0.0 && gamma.is_finite() => gamma,
            Some(value) => {
                return Err(ChangeError::BadSetting { name: "gamma", value, range: "finite and above 0" });
            }
            None => {
                let mut squares: Vec<f64> = (1..n).flat_map(|j| (0..j).map(move |i| square(i, j))).collect();
                let median = median_of(&mut squares);
                if median > 0.0 { median.recip() } else { 1.0 }
            }
        };
        Self::new(n, |i, j| (-gamma * square(i, j)).exp())
    }
}

/// Median in linear time; 0 of no values.
fn median_of(values: &mut [f64]) -> f64 {
    let n = values.len();
    if n == 0 {
        return 0.0;
    }
    let (below, &mut upper, _) = values.select_nth_unstable_by(n / 2, f64::total_cmp);
    if n % 2 == 1 { upper } else { f64::midpoint(below.iter().copied().fold(f64::NEG_INFINITY, f64::max), upper) }
}

impl SegmentCost for KernelCost {
    fn n_points(&self) -> usize {
        self.diagonal.len() - 1
    }

    #[inline]
    fn cost(&self, start: usize, end: usize) -> f64 {
        let double_sum = self.double_sums[end * (end - 1) / 2 + start];
        self.diagonal[end] - self.diagonal[start] - double_sum / (end - start) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::mean::MeanCost;
    use crate::order::median;
    use crate::random::Stream;

    fn noise(n: usize, d: usize) -> Signal {
        let mut stream = Stream::new(9, 0, 0);
        Signal::new((0..n * d).map(|_| stream.normal()).collect(), d).unwrap()
    }

    #[test]
    fn the_linear_kernel_is_l2() {
        let signal = noise(40, 2);
        let product = |i: usize, j: usize| signal.point(i).iter().zip(signal.point(j)).map(|(a, b)| a * b).sum();
        let (kernel, mean) = (KernelCost::new(40, product).unwrap(), MeanCost::new(&signal).unwrap());
        for (start, end) in [(0, 1), (0, 40), (3, 17), (39, 40)] {
            assert!((kernel.cost(start, end) - mean.cost(start, end)).abs() < 1e-12);
        }
    }

    #[test]
    fn the_gaussian_kernel_by_hand() {
        let signal = Signal::new(vec![0.0, 1.0, 3.0], 1).unwrap();
        // Squared distances 1, 9, 4: median 4.
        let cost = KernelCost::gaussian(&signal, None).unwrap();
        let k = |square: f64| (-square / 4.0).exp();
        let expected = 3.0 - (3.0 + 2.0 * (k(1.0) + k(9.0) + k(4.0))) / 3.0;
        assert!((cost.cost(0, 3) - expected).abs() < 1e-14);
        // Equal points cost nothing, however many.
        let constant = KernelCost::gaussian(&Signal::new(vec![2.0; 9], 1).unwrap(), None).unwrap();
        assert!(constant.cost(0, 9).abs() < 1e-14);
        assert!(KernelCost::gaussian(&signal, Some(0.0)).is_err());
        assert!(KernelCost::new(MAX_KERNEL_POINTS + 1, |_, _| 0.0).is_err());
    }

    #[test]
    fn medians_in_linear_time() {
        for n in [1, 2, 7, 8] {
            let values = noise(n, 1).values().to_vec();
            assert_eq!(median_of(&mut values.clone()), median(&values), "{n}");
        }
    }
}
