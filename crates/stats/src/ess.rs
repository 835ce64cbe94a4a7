//! Effective sample sizes and Monte Carlo errors of chains.

use crate::chains::{Chains, mean, rank_normalise, variance};
use crate::order::quantile;

impl Chains<'_> {
    /// Effective sample size for the bulk: ESS of the rank-normalised split chains.
    pub fn ess_bulk(&self) -> f64 {
        ess(&rank_normalise(&self.split()))
    }

    /// Effective sample size for the tails: the smaller ESS of the indicators of the 5 % and 95 %
    /// quantiles (Vehtari et al. 2021, §4.3).
    pub fn ess_tail(&self) -> f64 {
        let pooled = self.pooled();
        let indicator_ess = |probability| {
            let threshold = quantile(&pooled, probability);
            let indicators: Vec<Vec<f64>> =
                self.split().iter().map(|c| c.iter().map(|&v| f64::from(u8::from(v <= threshold))).collect()).collect();
            ess(&indicators)
        };
        indicator_ess(0.05).min(indicator_ess(0.95))
    }

    /// Effective sample size for the mean: ESS of the split chains as they are.
    pub fn ess_mean(&self) -> f64 {
        ess(&self.split())
    }

    /// Monte Carlo standard error of [`Chains::mean`]: standard deviation / √ESS.
    ///
    /// The ESS contains the variance between chains, so chains that disagree widen it.
    pub fn mcse_mean(&self) -> f64 {
        self.standard_deviation() / self.ess_mean().sqrt()
    }

    /// Standard error of [`Chains::mean`] from the spread of the chains' means alone; 0 for one chain.
    pub fn mcse_between(&self) -> f64 {
        if self.n_chains() < 2 {
            return 0.0;
        }
        let means: Vec<f64> = self.draws.iter().map(|chain| mean(chain)).collect();
        (variance(&means) / means.len() as f64).sqrt()
    }

    /// Integrated autocorrelation time in draws: number of draws / ESS of the mean.
    ///
    /// 1 for independent draws, below 1 for draws that alternate; a disagreement between chains
    /// makes it longer.
    pub fn autocorrelation_time(&self) -> f64 {
        (self.n_chains() * self.n_draws()) as f64 / self.ess_mean()
    }
}

/// Effective sample size of chains as they are (Vehtari et al. 2021, eqs. 10–11), truncated by
/// Geyer's initial monotone sequence in the form Stan and ArviZ use.
///
/// Constant draws count in full, as in ArviZ, but only exactly constant ones: ArviZ also takes
/// draws within 1e-15 of each other for constant, whatever their unit.
pub(crate) fn ess(chains: &[Vec<f64>]) -> f64 {
    let n_draws = chains[0].len();
    let n = n_draws as f64;
    let total = chains.len() as f64 * n;
    let origin = chains[0][0];
    if chains.iter().flatten().all(|&v| v == origin) {
        return total;
    }
    let means: Vec<f64> = chains.iter().map(|c| mean(c)).collect();
    let centred: Vec<Vec<f64>> = chains.iter().zip(&means).map(|(c, m)| c.iter().map(|v| v - m).collect()).collect();
    // Mean over chains of the biased autocovariance; Geyer's rule stops after few lags, so the
    // direct sum costs less than a Fourier transform.
    let autocovariance = |lag: usize| {
        let of_chain = |c: &Vec<f64>| c[lag..].iter().zip(c).map(|(a, b)| a * b).sum::<f64>() / n;
        centred.iter().map(of_chain).sum::<f64>() / centred.len() as f64
    };
    let within = autocovariance(0) * n / (n - 1.0);
    let mut variance_plus = within * (n - 1.0) / n;
    if chains.len() > 1 {
        variance_plus += variance(&means);
    }
    let correlation = |lag: usize| 1.0 - (within - autocovariance(lag)) / variance_plus;

    let mut rho = vec![0.0; n_draws];
    let (mut even, mut odd) = (1.0, correlation(1));
    rho[0] = even;
    rho[1] = odd;
    let mut t = 1;
    while t + 3 < n_draws && even + odd > 0.0 {
        even = correlation(t + 1);
        odd = correlation(t + 2);
        if even + odd >= 0.0 {
            rho[t + 1] = even;
            rho[t + 2] = odd;
        }
        t += 2;
    }
    // Below five draws the loop never runs: no pair is summed, only the correlation at lag 0.
    let n_paired = t - 1;
    if even > 0.0 {
        rho[n_paired] = even;
    }
    let mut lag = 1;
    while lag + 4 <= t {
        let previous = rho[lag - 1] + rho[lag];
        if rho[lag + 1] + rho[lag + 2] > previous {
            rho[lag + 1] = previous / 2.0;
            rho[lag + 2] = previous / 2.0;
        }
        lag += 2;
    }
    let paired: f64 = rho[..n_paired].iter().sum();
    let tau = -1.0 + 2.0 * paired + rho[n_paired];
    total / tau.max(1.0 / total.log10())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn constant_chains_count_in_full() {
        let draws = vec![vec![0.1; 10]; 3];
        let chains = Chains::new(&draws).unwrap();
        assert_eq!(chains.ess_bulk(), 30.0);
        assert_eq!(chains.mcse_mean(), 0.0);
    }

    #[test]
    fn the_unit_does_not_matter() {
        let mut stream = Stream::new(3, 0, 0);
        let draws: Vec<Vec<f64>> = (0..2).map(|_| (0..100).map(|_| stream.normal()).collect()).collect();
        let tiny: Vec<Vec<f64>> = draws.iter().map(|c| c.iter().map(|v| v * 2f64.powi(-80)).collect()).collect();
        let (a, b) = (Chains::new(&draws).unwrap(), Chains::new(&tiny).unwrap());
        assert_eq!(a.ess_mean(), b.ess_mean());
    }

    #[test]
    fn the_spread_between_chains_is_an_error_of_its_own() {
        // Means 1 and 3: standard deviation √2 over √2 chains.
        let draws = vec![vec![0.0, 2.0, 0.0, 2.0], vec![2.0, 4.0, 2.0, 4.0]];
        assert!((Chains::new(&draws).unwrap().mcse_between() - 1.0).abs() < 1e-15);
        assert_eq!(Chains::new(&draws[..1]).unwrap().mcse_between(), 0.0);
    }

    #[test]
    fn autocorrelation_time_of_an_autoregression() {
        // AR(1) with coefficient φ has time (1 + φ) / (1 − φ) = 3 at φ = 1/2; with 4 × 5000 draws
        // the estimate scatters by about 3 %.
        let draws: Vec<Vec<f64>> = (0..4)
            .map(|chain| {
                let mut stream = Stream::new(11, 0, chain);
                let mut value = stream.normal() / 0.75f64.sqrt();
                (0..5000)
                    .map(|_| {
                        value = 0.5 * value + stream.normal();
                        value
                    })
                    .collect()
            })
            .collect();
        let time = Chains::new(&draws).unwrap().autocorrelation_time();
        assert!((time - 3.0).abs() < 0.45, "{time}");
    }
}
