//! Early-warning signals of one series: rolling variance and autocorrelation, and whether they rise by more than chance.

use super::kendall::kendall_trend;
use super::red_noise::{RedNoise, autoregression};
use crate::array_error::{ArrayError, enough, finite, setting};
use crate::essential::Smoother;
use crate::random::Stream;
use crate::spectrum::Spectrum;

/// Purpose of the random stream.
const SURROGATE_STREAM: u64 = 64;
/// Fewest values.
const MIN_VALUES: usize = 20;
/// Simulations end when so many were as strong (Besag and Clifford 1991).
const ENOUGH_STRONGER: usize = 20;

/// What a rise is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surrogates {
    /// AR(1) noise with the coefficient of the series, detrended like it.
    Autoregressive,
    /// The residuals with random phases: the same spectrum (Theiler et al. 1992).
    Phases,
}

/// Settings of [`early_warnings`].
#[derive(Debug, Clone, PartialEq)]
pub struct WarningSettings {
    /// Standard deviation of the kernel of the trend, as a share of the number of values. Default 0.1.
    pub bandwidth: f64,
    /// Length of the rolling window, as a share of the number of values. Default 0.5.
    pub window: f64,
    /// Most surrogates. Default 999.
    pub n_surrogates: usize,
    /// Their kind. Default [`Surrogates::Autoregressive`].
    pub surrogates: Surrogates,
    /// Their seed. Default 0.
    pub seed: u64,
}

impl Default for WarningSettings {
    fn default() -> Self {
        Self { bandwidth: 0.1, window: 0.5, n_surrogates: 999, surrogates: Surrogates::Autoregressive, seed: 0 }
    }
}

/// Trend of an indicator.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trend {
    /// Kendall's τ of the indicator with time.
    pub tau: f64,
    /// Share of surrogates with a τ as large (for skewness: with as large a |τ|).
    pub p_value: f64,
}

/// Rolling indicators of a series and their trends.
#[derive(Debug, Clone, PartialEq)]
pub struct EarlyWarnings {
    /// Index of the last value of the first window; the others follow one by one.
    pub first_end: usize,
    /// The values less their trend.
    pub residuals: Vec<f64>,
    /// Variance of the residuals in each window.
    pub variance: Vec<f64>,
    /// Their lag-1 autocorrelation φ. The return rate is −ln φ for each interval between values, as of a
    /// disturbance that decays as e^(−kt).
    pub autocorrelation: Vec<f64>,
    /// Their skewness.
    pub skewness: Vec<f64>,
    /// Does variance rise?
    pub variance_trend: Trend,
    /// Does autocorrelation rise?
    pub autocorrelation_trend: Trend,
    /// Does skewness move either way?
    pub skewness_trend: Trend,
}

/// Early-warning signals of `values` at even intervals (Scheffer et al. 2009; Dakos et al. 2008).
///
/// Near a bifurcation a system comes back slowly from disturbances, so that variance and lag-1
/// autocorrelation of its fluctuations rise. The series is freed of its trend by a Gaussian kernel (a
/// straight line is fitted around each value), the indicators are taken in a rolling window, and
/// Kendall's τ of each is compared with those of surrogates.
///
/// Hand over the values up to the moment of the warning and no others: within them, the trend looks
/// both ways. A rise is no proof of a bifurcation: noise that grows raises the variance, and so do
/// modes that are far from orthogonal (`docs/early-warnings.md` has the rates).
///
/// # Errors
/// Fewer than 20 values, one that is not finite, values that do not vary about their trend, or a setting
/// out of range.
pub fn early_warnings(values: &[f64], settings: &WarningSettings) -> Result<EarlyWarnings, ArrayError> {
    let n = values.len();
    enough("values of the series", n, MIN_VALUES)?;
    finite("the series", values)?;
    setting("bandwidth", settings.bandwidth, settings.bandwidth > 0.0 && settings.bandwidth <= 1.0, "in (0, 1]")?;
    setting("window", settings.window, settings.window > 0.0 && settings.window < 1.0, "in (0, 1)")?;
    setting("n_surrogates", settings.n_surrogates as f64, settings.n_surrogates >= 19, "at least 19")?;
    let window = (settings.window * n as f64).round() as usize;
    enough("values of a window", window, 5)?;
    let places: Vec<f64> = (0..n).map(|i| i as f64).collect();
    let width = settings.bandwidth * n as f64;
    let smoother = Smoother::gaussian(&places, width, width)?;
    let detrend = |values: &[f64]| -> Vec<f64> {
        values.iter().zip(smoother.smooth(values)).map(|(v, trend)| v - trend).collect()
    };
    let residuals = detrend(values);
    let largest = |v: &[f64]| v.iter().fold(0.0_f64, |a, x| a.max(x.abs()));
    if largest(&residuals) <= 1e-12 * largest(values) {
        return Err(ArrayError::Constant { what: "the series about its trend" });
    }
    let rolling = Rolling::of(&residuals, window);
    let observed = rolling.trends();
    let null = match settings.surrogates {
        Surrogates::Autoregressive => Null::Autoregressive(RedNoise::new(&smoother, n).coefficient(&residuals)),
        Surrogates::Phases => Null::Phases(Spectrum::of(&residuals)),
    };
    let mut counts = [Count::default(); 3];
    for draw in 0..settings.n_surrogates as u64 {
        let mut stream = Stream::new(settings.seed, SURROGATE_STREAM, draw);
        let drawn = match &null {
            Null::Autoregressive(phi) => detrend(&autoregression(n, *phi, &mut stream)),
            Null::Phases(spectrum) => spectrum.surrogate(&mut stream),
        };
        let trends = Rolling::of(&drawn, window).trends();
        for k in 0..3 {
            counts[k].add(if k == 2 { trends[k].abs() >= observed[k].abs() } else { trends[k] >= observed[k] });
        }
        if counts.iter().all(Count::is_done) {
            break;
        }
    }
    let trend = |k: usize| Trend { tau: observed[k], p_value: counts[k].p_value() };
    Ok(EarlyWarnings {
        first_end: window - 1,
        variance_trend: trend(0),
        autocorrelation_trend: trend(1),
        skewness_trend: trend(2),
        residuals,
        variance: rolling.variance,
        autocorrelation: rolling.autocorrelation,
        skewness: rolling.skewness,
    })
}

/// What surrogates are made from.
enum Null {
    Autoregressive(f64),
    Phases(Spectrum),
}

/// How many surrogates were as strong, of how many.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    n_stronger: usize,
    n: usize,
}

impl Count {
    fn add(&mut self, is_stronger: bool) {
        if !self.is_done() {
            self.n += 1;
            self.n_stronger += usize::from(is_stronger);
        }
    }

    fn is_done(&self) -> bool {
        self.n_stronger == ENOUGH_STRONGER
    }

    fn p_value(&self) -> f64 {
        if self.is_done() {
            return self.n_stronger as f64 / self.n as f64;
        }
        (1 + self.n_stronger) as f64 / (1 + self.n) as f64
    }
}

struct Rolling {
    variance: Vec<f64>,
    autocorrelation: Vec<f64>,
    skewness: Vec<f64>,
}

impl Rolling {
    fn of(residuals: &[f64], window: usize) -> Self {
        let mut rolling = Self { variance: vec![], autocorrelation: vec![], skewness: vec![] };
        for values in residuals.windows(window) {
            let n = window as f64;
            let mean = values.iter().sum::<f64>() / n;
            let (mut square, mut cube, mut lagged, mut before) = (0.0, 0.0, 0.0, 0.0);
            for v in values {
                let d = v - mean;
                square += d * d;
                cube += d * d * d;
                lagged += d * before;
                before = d;
            }
            rolling.variance.push(square / (n - 1.0));
            rolling.autocorrelation.push(if square > 0.0 { lagged / square } else { 0.0 });
            rolling.skewness.push(if square > 0.0 { cube / n / (square / n).powf(1.5) } else { 0.0 });
        }
        rolling
    }

    fn trends(&self) -> [f64; 3] {
        [&self.variance, &self.autocorrelation, &self.skewness].map(|indicator| kendall_trend(indicator))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indicators_of_autoregressive_noise_have_their_closed_forms() {
        // φ = e^(−kΔt), variance 1/(1 − φ²) for unit innovations (recipes B2), in windows of 10,000 values.
        for k in [1.0, 0.5, 0.1] {
            let phi = f64::exp(-k);
            let n = 10_001;
            let scale = 1.0 / (1.0 - phi * phi).sqrt();
            let series: Vec<f64> =
                autoregression(n, phi, &mut Stream::new(41, 0, 0)).iter().map(|x| x * scale).collect();
            let rolling = Rolling::of(&series, n - 1);
            let size = n as f64;
            let error = ((1.0 - phi * phi) / size).sqrt();
            assert!((rolling.autocorrelation[0] - phi).abs() < 4.0 * error + 4.0 / size, "{k}");
            let relative = (2.0 * (1.0 + phi * phi) / (1.0 - phi * phi) / size).sqrt();
            assert!((rolling.variance[0] * (1.0 - phi * phi) - 1.0).abs() < 4.0 * relative, "{k}");
            // Skewness of a normal AR(1): variance 6/n · (1 + φ³)/(1 − φ³).
            let skew = (6.0 / size * (1.0 + phi.powi(3)) / (1.0 - phi.powi(3))).sqrt();
            assert!(rolling.skewness[0].abs() < 4.0 * skew);
        }
    }

    #[test]
    fn a_coefficient_that_grows_is_seen_and_a_trend_alone_is_not() {
        let n = 400;
        let mut stream = Stream::new(5, 0, 0);
        let mut x = 0.0;
        let growing: Vec<f64> = (0..n)
            .map(|t| {
                x = 0.97 * f64::from(t) / f64::from(n) * x + stream.normal();
                x + 0.1 * f64::from(t)
            })
            .collect();
        let found = early_warnings(&growing, &WarningSettings::default()).unwrap();
        assert!(found.autocorrelation_trend.p_value < 0.05 && found.variance_trend.p_value < 0.05, "{found:?}");
        assert_eq!(found.variance.len(), n as usize - found.first_end);
        let settings = WarningSettings { surrogates: Surrogates::Phases, ..WarningSettings::default() };
        assert!(early_warnings(&growing, &settings).unwrap().variance_trend.p_value < 0.05);
        assert_eq!(early_warnings(&growing, &settings), early_warnings(&growing, &settings));
    }

    #[test]
    fn bad_input_is_refused() {
        let settings = WarningSettings::default();
        assert!(early_warnings(&[1.0; 10], &settings).is_err());
        let line: Vec<f64> = (0..50).map(f64::from).collect();
        assert!(matches!(early_warnings(&line, &settings), Err(ArrayError::Constant { .. })));
        let mut values = line;
        values[3] = f64::NAN;
        assert!(early_warnings(&values, &settings).unwrap_err().to_string().contains("column 3"));
        assert!(early_warnings(&[0.0; 30], &WarningSettings { window: 1.0, ..settings }).is_err());
    }
}
