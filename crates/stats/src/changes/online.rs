//! Bayesian detection of changes while the values come in, which never looks ahead.

use super::signal::ChangeError;
use std::f64::consts::PI;

/// Settings of [`OnlineChanges`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OnlineSettings {
    /// Probability H of a change after each value: 1 / the expected length of a segment.
    pub hazard: f64,
    /// Prior mean μ₀ of a segment's level.
    pub mean: f64,
    /// How many values the prior mean is worth, κ₀.
    pub mean_weight: f64,
    /// Shape α₀ of the Gamma prior of the precision.
    pub shape: f64,
    /// Rate β₀ of the Gamma prior of the precision, in squared units of the values; β₀ / α₀ is about
    /// the variance of the noise.
    pub rate: f64,
    /// Run lengths less probable than this are dropped.
    pub least_probability: f64,
    /// At most this many run lengths are kept, the most probable ones: memory and time of a value
    /// are bounded.
    pub max_runs: usize,
}

impl Default for OnlineSettings {
    /// A change every 100 values, a vague level and noise of about 1, run lengths down to 1e-10.
    fn default() -> Self {
        Self {
            hazard: 0.01,
            mean: 0.0,
            mean_weight: 0.01,
            shape: 1.0,
            rate: 1.0,
            least_probability: 1e-10,
            max_runs: usize::MAX,
        }
    }
}

/// The distribution of the run length, the number of values since the last change, given the values
/// so far (Adams and MacKay 2007, algorithm 1), for normal values with mean and variance of their
/// own in each segment (Normal–Gamma prior; Murphy 2007, section 3).
///
/// Values are pushed one by one, so nothing can depend on later ones. With a constant hazard H the
/// probability of run length 0 is H whatever the values are: it says nothing. Judge by
/// [`Self::most_probable_run`] or [`Self::change_within`].
///
/// ```
/// use ontogeny_stats::changes::{OnlineChanges, OnlineSettings};
///
/// let mut online = OnlineChanges::new(OnlineSettings::default())?;
/// for i in 0..60 {
///     online.push(if i < 40 { 0.1 * f64::from(i % 3) } else { 8.0 + 0.1 * f64::from(i % 3) })?;
/// }
/// assert_eq!(online.most_probable_run(), 20);
/// # Ok::<(), ontogeny_stats::changes::ChangeError>(())
/// ```
#[derive(Debug, Clone)]
pub struct OnlineChanges {
    settings: OnlineSettings,
    /// Shortest first.
    runs: Vec<Run>,
    n_values: usize,
}

/// One run length, and what the values of the run say.
#[derive(Debug, Clone, Copy)]
struct Run {
    length: usize,
    probability: f64,
    mean: f64,
    mean_weight: f64,
    shape: f64,
    rate: f64,
}

impl OnlineChanges {
    /// Before any value: run length 0.
    ///
    /// # Errors
    /// A setting out of range.
    pub fn new(settings: OnlineSettings) -> Result<Self, ChangeError> {
        let check = |name, value: f64, is_inside: bool, range| {
            if is_inside { Ok(()) } else { Err(ChangeError::BadSetting { name, value, range }) }
        };
        let OnlineSettings { hazard, mean, mean_weight, shape, rate, least_probability, max_runs } = settings;
        check("hazard", hazard, hazard > 0.0 && hazard < 1.0, "between 0 and 1, both excluded")?;
        check("mean", mean, mean.is_finite() && mean.abs() <= 1e100, "finite and at most 1e100 in size")?;
        for (name, value) in [("mean_weight", mean_weight), ("shape", shape), ("rate", rate)] {
            check(name, value, value > 0.0 && value.is_finite(), "finite and above 0")?;
        }
        let is_small = (0.0..0.1).contains(&least_probability);
        check("least_probability", least_probability, is_small, "at least 0 and below 0.1")?;
        check("max_runs", max_runs as f64, max_runs >= 2, "at least 2")?;
        Ok(Self { settings, runs: vec![Run { probability: 1.0, ..fresh(&settings) }], n_values: 0 })
    }

    /// Takes the next value.
    ///
    /// # Errors
    /// A value that is not finite or above 1e100 in size; it is not taken.
    pub fn push(&mut self, value: f64) -> Result<(), ChangeError> {
        if !value.is_finite() || value.abs() > 1e100 {
            return Err(ChangeError::BadValue { index: self.n_values, dimension: 0, value });
        }
        self.n_values += 1;
        // Logarithms, as a value may be impossibly far off for every run.
        let mut most = f64::NEG_INFINITY;
        for run in &mut self.runs {
            run.probability = run.probability.ln() + run.log_density(value);
            most = most.max(run.probability);
        }
        for run in &mut self.runs {
            run.probability = (run.probability - most).exp();
            run.take(value);
        }
        self.drop_improbable();
        // Whatever was dropped, the rest shares 1 − H.
        let total: f64 = self.runs.iter().map(|run| run.probability).sum();
        let hazard = self.settings.hazard;
        for run in &mut self.runs {
            run.probability *= (1.0 - hazard) / total;
        }
        self.runs.insert(0, Run { probability: hazard, ..fresh(&self.settings) });
        Ok(())
    }

    /// Number of values so far.
    pub fn n_values(&self) -> usize {
        self.n_values
    }

    /// The run lengths kept, increasing, and their probabilities, which sum to 1.
    pub fn run_lengths(&self) -> impl Iterator<Item = (usize, f64)> {
        self.runs.iter().map(|run| (run.length, run.probability))
    }

    /// The most probable run length.
    pub fn most_probable_run(&self) -> usize {
        let mut best = &self.runs[0];
        for run in &self.runs {
            if run.probability > best.probability {
                best = run;
            }
        }
        best.length
    }

    /// Probability that the last change is at most `n_values` values old, P(r ≤ w).
    pub fn change_within(&self, n_values: usize) -> f64 {
        self.runs.iter().take_while(|run| run.length <= n_values).map(|run| run.probability).sum()
    }

    /// Drops run lengths below the least probability, and the least probable beyond the most that
    /// may be kept (one place is for run length 0).
    fn drop_improbable(&mut self) {
        let total: f64 = self.runs.iter().map(|run| run.probability).sum();
        let least = self.settings.least_probability * total;
        // The most probable run has probability 1 here, and stays.
        self.runs.retain(|run| run.probability >= least);
        let most = self.settings.max_runs - 1;
        if self.runs.len() > most {
            let mut order: Vec<f64> = self.runs.iter().map(|run| run.probability).collect();
            order.sort_by(|a, b| b.total_cmp(a));
            let (bound, mut n_kept) = (order[most - 1], 0);
            self.runs.retain(|run| {
                let stays = run.probability >= bound && n_kept < most;
                n_kept += usize::from(stays);
                stays
            });
        }
    }
}

fn fresh(settings: &OnlineSettings) -> Run {
    let OnlineSettings { mean, mean_weight, shape, rate, .. } = *settings;
    Run { length: 0, probability: 0.0, mean, mean_weight, shape, rate }
}

impl Run {
    /// Logarithm of the predictive density of `value`: Student's t with 2α degrees of freedom, location
    /// μ and squared scale β (κ + 1) / (α κ) (Murphy 2007, eq. 100).
    fn log_density(&self, value: f64) -> f64 {
        let spread = 2.0 * self.rate * (self.mean_weight + 1.0) / self.mean_weight;
        let offset = value - self.mean;
        log_gamma_step(self.shape)
            - 0.5 * (PI * spread).ln()
            - (self.shape + 0.5) * (offset * (offset / spread)).ln_1p()
    }

    /// Murphy (2007), eqs. 86–89, for one value.
    fn take(&mut self, value: f64) {
        let offset = value - self.mean;
        self.rate += 0.5 * self.mean_weight * offset * offset / (self.mean_weight + 1.0);
        self.mean += offset / (self.mean_weight + 1.0);
        self.mean_weight += 1.0;
        self.shape += 0.5;
        self.length += 1;
    }
}

/// ln Γ(α + ½) − ln Γ(α); for large α by its asymptotic series (Tricomi and Erdélyi 1951), whose next term
/// is below 1e-14 from 40 on.
fn log_gamma_step(alpha: f64) -> f64 {
    if alpha < 40.0 {
        return libm::lgamma(alpha + 0.5) - libm::lgamma(alpha);
    }
    let inverse = alpha.recip();
    0.5 * alpha.ln() - inverse / 8.0 + inverse.powi(3) / 192.0 - inverse.powi(5) / 640.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    /// Logarithm of the probability density of the values of one segment (Murphy 2007, eq. 95).
    fn log_evidence(settings: &OnlineSettings, values: &[f64]) -> f64 {
        let n = values.len() as f64;
        if values.is_empty() {
            return 0.0;
        }
        let mean = values.iter().sum::<f64>() / n;
        let square: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        let (k0, a0, b0) = (settings.mean_weight, settings.shape, settings.rate);
        let (kn, an) = (k0 + n, a0 + n / 2.0);
        let bn = b0 + 0.5 * square + k0 * n * (mean - settings.mean).powi(2) / (2.0 * kn);
        libm::lgamma(an) - libm::lgamma(a0) + a0 * b0.ln() - an * bn.ln() + 0.5 * (k0 / kn).ln()
            - n / 2.0 * (2.0 * PI).ln()
    }

    #[test]
    fn run_lengths_are_those_of_all_segmentations() {
        let settings = OnlineSettings { hazard: 0.2, least_probability: 0.0, mean: 0.3, ..OnlineSettings::default() };
        let values = [0.2, -0.5, 3.0, 2.5, 2.8, -1.0, 0.4];
        let n = values.len();
        let mut expected = vec![0.0; n + 1];
        // A bit for each value: whether a change follows it.
        for bits in 0..1u32 << n {
            let (mut weight, mut start) = (0.0, 0);
            for i in 0..n {
                if bits >> i & 1 == 1 {
                    weight += settings.hazard.ln() + log_evidence(&settings, &values[start..=i]);
                    start = i + 1;
                } else {
                    weight += (1.0 - settings.hazard).ln();
                }
            }
            expected[n - start] += (weight + log_evidence(&settings, &values[start..])).exp();
        }
        let total: f64 = expected.iter().sum();
        let mut online = OnlineChanges::new(settings).unwrap();
        for value in values {
            online.push(value).unwrap();
        }
        assert_eq!(online.run_lengths().count(), n + 1);
        for (length, probability) in online.run_lengths() {
            assert!((probability - expected[length] / total).abs() < 1e-12, "{length}: {probability}");
        }
    }

    #[test]
    fn run_length_0_has_the_probability_of_the_hazard() {
        for (max_runs, least_probability) in [(usize::MAX, 1e-10), (5, 0.0), (2, 0.01)] {
            let settings = OnlineSettings { hazard: 0.03, max_runs, least_probability, ..OnlineSettings::default() };
            let mut online = OnlineChanges::new(settings).unwrap();
            let mut stream = Stream::new(1, 0, 0);
            for i in 0..300 {
                online.push(stream.normal() + if i > 150 { 1e6 } else { 0.0 }).unwrap();
                assert_eq!(online.change_within(0), 0.03);
                let total: f64 = online.run_lengths().map(|(_, p)| p).sum();
                assert!((total - 1.0).abs() < 1e-12, "{total}");
                assert!(online.run_lengths().count() <= max_runs);
            }
        }
    }

    #[test]
    fn changes_are_seen_soon_and_bounded_memory_agrees() {
        let run = |max_runs| {
            let mut online = OnlineChanges::new(OnlineSettings { max_runs, ..OnlineSettings::default() }).unwrap();
            let mut stream = Stream::new(2, 0, 0);
            (0..400)
                .map(|i| {
                    online.push(stream.normal() + if i >= 200 { 5.0 } else { 0.0 }).unwrap();
                    (online.most_probable_run(), online.change_within(10))
                })
                .collect::<Vec<_>>()
        };
        let (all, bounded) = (run(usize::MAX), run(30));
        // Five standard deviations are certain after a few values, and the run counts from there.
        assert!(all[203].1 > 0.99 && all[199].1 < 0.2, "{:?} {:?}", all[199], all[203]);
        assert!(all[399].0.abs_diff(200) <= 1);
        assert_eq!(all[399].0, bounded[399].0);
        assert!((all[205].1 - bounded[205].1).abs() < 1e-3);
    }

    #[test]
    fn gamma_steps() {
        for alpha in [0.5, 1.0, 39.9, 40.0, 41.0, 500.0] {
            let expected = libm::lgamma(alpha + 0.5) - libm::lgamma(alpha);
            assert!((log_gamma_step(alpha) - expected).abs() < 1e-15 * libm::lgamma(alpha + 0.5).abs().max(10.0));
        }
        // Γ(1) / Γ(1/2) = 1/√π.
        assert!((log_gamma_step(0.5) + 0.5 * PI.ln()).abs() < 1e-15);
    }

    #[test]
    fn what_is_refused() {
        let bad = OnlineSettings { hazard: 1.0, ..OnlineSettings::default() };
        assert!(OnlineChanges::new(bad).unwrap_err().to_string().starts_with("setting hazard = 1 is out of range"));
        let mut online = OnlineChanges::new(OnlineSettings::default()).unwrap();
        online.push(1.0).unwrap();
        assert!(online.push(f64::NAN).unwrap_err().to_string().starts_with("the value of point 1"));
        assert_eq!(online.n_values(), 1);
    }
}
