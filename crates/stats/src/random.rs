//! A small seeded random stream for resampling: the same numbers for the same seed and index.

use crate::special::normal_quantile;

/// SplitMix64 (Steele, Lea and Flood 2014): a counter passed through a mixing function.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    state: u64,
}

impl Stream {
    /// An independent stream for every (`seed`, `purpose`, `index`).
    pub(crate) fn new(seed: u64, purpose: u64, index: u64) -> Self {
        let state = mix(mix(mix(seed).wrapping_add(purpose)).wrapping_add(index));
        Self { state }
    }

    fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// Uniform on (0, 1), both ends excluded.
    pub(crate) fn uniform(&mut self) -> f64 {
        ((self.next_u64() >> 11) as f64 + 0.5) * 2f64.powi(-53)
    }

    /// Uniform on 0, …, n − 1. The high half of a product favours no value by more than n/2⁶⁴.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// Puts the items in an order of which all are equally likely (Fisher and Yates; Durstenfeld 1964).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// Standard normal, by inversion: exactly one uniform a draw.
    pub(crate) fn normal(&mut self) -> f64 {
        normal_quantile(self.uniform())
    }

    /// Beta(`a`, `b`) by Jöhnk's rejection, which is quick for a + b ≤ 2, the use made of it here.
    pub(crate) fn beta(&mut self, a: f64, b: f64) -> f64 {
        loop {
            let x = self.uniform().powf(1.0 / a);
            let y = self.uniform().powf(1.0 / b);
            if x + y <= 1.0 && x + y > 0.0 {
                return x / (x + y);
            }
        }
    }
}

fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_each_distribution() {
        // Means and variances within five standard errors of n draws.
        type Draw = fn(&mut Stream) -> f64;
        let cases: [(Draw, f64, f64); 3] =
            [(Stream::uniform, 0.5, 1.0 / 12.0), (Stream::normal, 0.0, 1.0), (|s| s.beta(0.6, 1.4), 0.3, 0.07)];
        let n = 20_000;
        for (index, (draw, mean, variance)) in cases.into_iter().enumerate() {
            let mut stream = Stream::new(7, 0, index as u64);
            let draws: Vec<f64> = (0..n).map(|_| draw(&mut stream)).collect();
            let m = draws.iter().sum::<f64>() / f64::from(n);
            let v = draws.iter().map(|d| (d - mean) * (d - mean)).sum::<f64>() / f64::from(n);
            assert!((m - mean).abs() < 5.0 * (variance / f64::from(n)).sqrt(), "mean {m}");
            // The fourth moment is at most 3 variances squared in all three cases.
            assert!((v - variance).abs() < 5.0 * variance * (2.0 / f64::from(n)).sqrt(), "var {v}");
        }
    }

    #[test]
    fn orders_are_equally_likely() {
        let n = 24_000;
        let mut counts = std::collections::BTreeMap::new();
        let mut stream = Stream::new(8, 0, 0);
        for _ in 0..n {
            let mut order = [0, 1, 2, 3];
            stream.shuffle(&mut order);
            *counts.entry(order).or_insert(0) += 1;
        }
        // χ² of 24 cells: mean 23, standard deviation √46.
        let chi_squared: f64 = counts.values().map(|c| (f64::from(*c) - 1000.0).powi(2) / 1000.0).sum();
        assert_eq!(counts.len(), 24);
        assert!((chi_squared - 23.0).abs() < 4.0 * 46.0_f64.sqrt(), "{chi_squared}");
    }

    #[test]
    fn streams_differ_and_repeat() {
        let first = |seed, purpose, index| Stream::new(seed, purpose, index).next_u64();
        assert_eq!(first(1, 2, 3), first(1, 2, 3));
        assert_ne!(first(1, 2, 3), first(1, 3, 2));
        assert_ne!(first(1, 2, 3), first(2, 2, 3));
    }
}
