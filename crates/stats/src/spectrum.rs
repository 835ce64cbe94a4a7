//! Series with the spectrum of a given one and random phases.

use crate::random::Stream;
use std::f64::consts::TAU;

/// Amplitudes of a series at its n/2 frequencies, and its mean.
#[derive(Debug, Clone)]
pub(crate) struct Spectrum {
    n: usize,
    mean: f64,
    amplitudes: Vec<f64>,
    /// cos(2πj/n) and sin(2πj/n).
    circle: Vec<(f64, f64)>,
}

impl Spectrum {
    /// Discrete Fourier transform of the values, by its definition.
    pub(crate) fn of(values: &[f64]) -> Self {
        let n = values.len();
        let circle: Vec<(f64, f64)> = (0..n)
            .map(|j| {
                let (s, c) = (TAU * j as f64 / n as f64).sin_cos();
                (c, s)
            })
            .collect();
        let mean = values.iter().sum::<f64>() / n as f64;
        let amplitude = |k: usize| {
            let mut place = 0;
            let (mut re, mut im) = (0.0, 0.0);
            for v in values {
                re += (v - mean) * circle[place].0;
                im += (v - mean) * circle[place].1;
                place = (place + k) % n;
            }
            re.hypot(im)
        };
        Self { n, mean, amplitudes: (1..=n / 2).map(amplitude).collect(), circle }
    }

    /// Another series with the same mean and the same power at every frequency (Theiler et al. 1992).
    pub(crate) fn surrogate(&self, stream: &mut Stream) -> Vec<f64> {
        let n = self.n;
        let mut values = vec![self.mean; n];
        for (k, amplitude) in (1..).zip(&self.amplitudes) {
            let phase = TAU * stream.uniform();
            // The frequency n/2 of an even series has a sign in place of a phase, and no twin.
            let is_last = 2 * k == n;
            let (re, im) = if is_last { (phase.cos().signum() / 2.0, 0.0) } else { (phase.cos(), phase.sin()) };
            let (re, im) = (2.0 * re * amplitude / n as f64, 2.0 * im * amplitude / n as f64);
            let mut place = 0;
            for v in &mut values {
                *v += re * self.circle[place].0 - im * self.circle[place].1;
                place += k;
                if place >= n {
                    place -= n;
                }
            }
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surrogates_keep_mean_variance_and_spectrum() {
        for n in [1, 2, 3, 16, 51] {
            let mut stream = Stream::new(4, 0, n);
            let values: Vec<f64> = (0..n).map(|_| 3.0 + stream.normal()).collect();
            let spectrum = Spectrum::of(&values);
            let other = spectrum.surrogate(&mut stream);
            let moments = |v: &[f64]| {
                let mean = v.iter().sum::<f64>() / v.len() as f64;
                (mean, v.iter().map(|x| (x - mean).powi(2)).sum::<f64>())
            };
            assert!((moments(&values).0 - moments(&other).0).abs() < 1e-12);
            assert!((moments(&values).1 - moments(&other).1).abs() < 1e-10);
            for (a, b) in spectrum.amplitudes.iter().zip(&Spectrum::of(&other).amplitudes) {
                assert!((a - b).abs() < 1e-11 * n as f64);
            }
            assert!(n < 16 || values.iter().zip(&other).any(|(a, b)| (a - b).abs() > 0.1));
        }
    }
}
