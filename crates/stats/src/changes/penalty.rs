//! What a change has to pay for: the noise of a signal, and information criteria.

use super::cost::SegmentCost;
use super::signal::{ChangeError, Signal};
use crate::noise::NoiseModel;
use crate::series::LogSeries;

/// Fewest points of which a noise level is estimated.
const MIN_POINTS: usize = 8;

/// The noise of one dimension of a signal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NoiseLevel {
    /// Standard deviation.
    pub deviation: f64,
    /// Correlation φ of neighbouring points, from 0 to 0.95 in steps of 0.05.
    pub autocorrelation: f64,
}

impl NoiseLevel {
    /// σ² (1 + φ) / (1 − φ): n times the variance of the mean of n points, n large. Sums of squares
    /// divided by it can be judged as if the noise were white.
    pub fn long_run_variance(self) -> f64 {
        self.deviation * self.deviation * (1.0 + self.autocorrelation) / (1.0 - self.autocorrelation)
    }
}

/// The noise of each dimension, from medians of contrasts of each point with the straight line
/// through its neighbours (and through farther ones, for the correlation): trend does not enter, steps
/// hardly (after Chakar et al. 2017, eq. 6; `docs/detector.md`, step 2).
///
/// # Errors
/// Fewer than 8 points.
pub fn noise_levels(signal: &Signal) -> Result<Vec<NoiseLevel>, ChangeError> {
    let n = signal.n_points();
    if n < MIN_POINTS {
        return Err(ChangeError::TooFewPoints { found: n, needed: MIN_POINTS });
    }
    let level = |dimension| {
        let y = signal.column(dimension);
        let series = LogSeries { x: signal.positions().to_vec(), y, count: vec![1.0; n], error: vec![0.0; n] };
        let model = NoiseModel::new(&series);
        let k = model.coefficient(&series.y, 0.0);
        let noise = model.noise(&series.y, k);
        let deviation = (noise.deviation.iter().map(|d| d * d).sum::<f64>() / n as f64).sqrt();
        NoiseLevel { deviation, autocorrelation: model.phi(k) }
    };
    Ok((0..signal.dimensions()).map(level).collect())
}

/// The signal with each dimension divided by the root of its long-run noise variance, so that one
/// penalty suits all; a dimension without noise stays as it is.
///
/// # Errors
/// As of [`noise_levels`], or where dividing by very little noise gives more than 1e70.
pub fn in_noise_units(signal: &Signal) -> Result<Signal, ChangeError> {
    let scale = |level: &NoiseLevel| if level.deviation > 0.0 { level.long_run_variance().sqrt() } else { 1.0 };
    let scales: Vec<f64> = noise_levels(signal)?.iter().map(scale).collect();
    let d = signal.dimensions();
    let values = signal.values().iter().enumerate().map(|(i, v)| v / scales[i % d]).collect();
    Signal::new(values, d)?.at(signal.positions().to_vec())
}

/// The price of a change by the Bayesian information criterion (Schwarz 1978): ln n for each of the
/// `n_parameters` of a segment, and one for its place. In units of −2 ln L: for sums of squares times
/// the (long-run) noise variance.
///
/// Parameters of a segment of d dimensions: d for a level, 2 d for a line, d + d (d + 1) / 2 for mean and
/// covariance.
pub fn bic(n_points: usize, n_parameters: usize) -> f64 {
    (n_parameters + 1) as f64 * (n_points as f64).ln()
}

/// Sums of squares with the modified BIC for changes of level (Zhang and Siegmund 2007, eq. 2.6): minimise
/// Σ cost / σ² + Σ ln(mᵢ / n) + 3 k ln n over segments of mᵢ of the n points and k changes.
///
/// The term of each segment is part of its cost here; [`Self::penalty`] is the price of a change. It pays
/// for changes near each other, or near an end, which noise makes more easily than BIC allows for.
pub struct ModifiedBic<'a, C: SegmentCost + ?Sized> {
    squares: &'a C,
    variance: f64,
}

impl<'a, C: SegmentCost + ?Sized> ModifiedBic<'a, C> {
    /// Of these sums of squares, with this (long-run) variance of the noise.
    ///
    /// # Errors
    /// A variance that is not above 0 or not finite.
    pub fn new(squares: &'a C, variance: f64) -> Result<Self, ChangeError> {
        if variance > 0.0 && variance.is_finite() {
            Ok(Self { squares, variance })
        } else {
            Err(ChangeError::BadSetting { name: "variance", value: variance, range: "finite and above 0" })
        }
    }

    /// 3 ln n.
    pub fn penalty(&self) -> f64 {
        3.0 * (self.n_points() as f64).ln()
    }
}

impl<C: SegmentCost + ?Sized> SegmentCost for ModifiedBic<'_, C> {
    fn n_points(&self) -> usize {
        self.squares.n_points()
    }

    fn cost(&self, start: usize, end: usize) -> f64 {
        let share = (end - start) as f64 / self.n_points() as f64;
        self.squares.cost(start, end) / self.variance + share.ln()
    }

    fn min_size(&self) -> usize {
        self.squares.min_size()
    }

    /// Shares a, b ≤ 1 have ab ≤ a + b, so the terms of two parts are no more than that of the whole.
    fn is_subadditive(&self) -> bool {
        self.squares.is_subadditive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::exact::pelt;
    use crate::changes::mean::MeanCost;
    use crate::random::Stream;

    #[test]
    fn criteria_by_hand() {
        assert!((bic(100, 1) - 9.210_340_371_976_184).abs() < 1e-12);
        let signal = Signal::new((0..10).map(|i| f64::from(i / 5)).collect(), 1).unwrap();
        let squares = MeanCost::new(&signal).unwrap();
        let modified = ModifiedBic::new(&squares, 0.5).unwrap();
        assert!((modified.cost(0, 10) - 2.5 / 0.5).abs() < 1e-12);
        assert!((modified.cost(0, 5) - 0.5f64.ln()).abs() < 1e-12);
        assert!((modified.penalty() - 3.0 * 10f64.ln()).abs() < 1e-12);
        assert!(ModifiedBic::new(&squares, 0.0).is_err());
        let level = NoiseLevel { deviation: 2.0, autocorrelation: 0.5 };
        assert!((level.long_run_variance() - 12.0).abs() < 1e-12);
    }

    #[test]
    fn noise_units_undo_scale_trend_and_steps() {
        let mut stream = Stream::new(8, 0, 0);
        let n = 400;
        let values: Vec<f64> = (0..n)
            .flat_map(|i| {
                let step = if i > 200 { 30.0 } else { 0.0 };
                [0.1 * stream.normal() + f64::from(i), 5.0 * stream.normal() + step]
            })
            .collect();
        let signal = Signal::new(values, 2).unwrap();
        let levels = noise_levels(&signal).unwrap();
        // A median of 400 absolute contrasts scatters by about 6 %; three times that, and a sixth upwards
        // for the positive part of an uncertain φ (as measured for the detector).
        for (level, truth) in levels.iter().zip([0.1, 5.0]) {
            assert!((0.82..1.35).contains(&(level.deviation / truth)), "{level:?}");
            assert!(level.autocorrelation <= 0.2);
        }
        let scaled = in_noise_units(&signal).unwrap();
        let again = noise_levels(&scaled).unwrap();
        for level in again {
            assert!((level.long_run_variance() - 1.0).abs() < 1e-9, "{level:?}");
        }
        assert!(noise_levels(&Signal::new(vec![1.0; 7], 1).unwrap()).is_err());
        assert_eq!(in_noise_units(&Signal::new(vec![1.0; 9], 1).unwrap()).unwrap().values(), [1.0; 9]);
    }

    #[test]
    fn criteria_on_white_noise() {
        // BIC admits a false change in white noise ever more rarely as n grows; the modified one is no
        // more lenient. Of 200 signals of 200 points at most a tenth may show one (binomial error 0.02).
        let (mut by_bic, mut by_modified) = (0, 0);
        for seed in 0..200 {
            let mut stream = Stream::new(seed, 7, 0);
            let signal = Signal::new((0..200).map(|_| stream.normal()).collect(), 1).unwrap();
            let squares = MeanCost::new(&signal).unwrap();
            let modified = ModifiedBic::new(&squares, 1.0).unwrap();
            by_bic += usize::from(!pelt(&squares, bic(200, 1), 2).unwrap().change_points.is_empty());
            by_modified += usize::from(!pelt(&modified, modified.penalty(), 2).unwrap().change_points.is_empty());
        }
        assert!(by_modified <= 20 + 9, "{by_bic} {by_modified}");
    }
}
