//! Drift of a trace: does the beginning of a chain differ from its end?

use crate::chains::{Chains, variance};
use crate::ess::ess;

/// Share of the draws at the beginning that is compared.
const FIRST: f64 = 0.2;
/// Share of the draws at the end that they are compared with.
const LAST: f64 = 0.5;

/// Difference between the last and the first draws of chains, averaged over chains.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drift {
    /// Mean of the last half minus mean of the first fifth, in the units of the draws.
    pub difference: f64,
    /// Its standard error, autocorrelation included.
    pub standard_error: f64,
    /// `difference / standard_error`; about standard normal where nothing drifts, 0 where nothing
    /// moves, infinite where only the beginning differs from an otherwise constant chain.
    pub z: f64,
}

impl Chains<'_> {
    /// Compares the first fifth of the draws with the last half, after Geweke (1992).
    ///
    /// Variance and autocorrelation time are taken from the last half alone, which a drift at the
    /// beginning does not inflate. Differences are formed within chains, so chains that sit at
    /// different levels do not look like drift. With few effective draws in the last half (below
    /// about 20 a chain) the error is somewhat too small.
    pub fn drift(&self) -> Drift {
        let n = self.n_draws();
        let n_first = ((n as f64 * FIRST) as usize).max(1);
        let n_last = (n as f64 * LAST) as usize;
        let average = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let mut difference = 0.0;
        let mut within = 0.0;
        let mut centred_ends = Vec::with_capacity(self.n_chains());
        for chain in self.draws {
            let end = &chain[n - n_last..];
            let level = average(end);
            difference += level - average(&chain[..n_first]);
            within += variance(end);
            centred_ends.push(end.iter().map(|v| v - level).collect::<Vec<_>>());
        }
        let n_chains = self.n_chains() as f64;
        difference /= n_chains;
        within /= n_chains;
        // The chains share one sampler, hence one autocorrelation time, estimated from all.
        let time = n_chains * n_last as f64 / ess(&centred_ends);
        let independent = 1.0 / n_first as f64 + 1.0 / n_last as f64;
        let standard_error = (within * time.max(1.0) * independent / n_chains).sqrt();
        let z = if difference == 0.0 { 0.0 } else { difference / standard_error };
        Drift { difference, standard_error, z }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    fn autoregression(phi: f64, slope: f64, seed: u64) -> Vec<Vec<f64>> {
        (0..4)
            .map(|chain| {
                let mut stream = Stream::new(seed, 1, chain);
                let mut value = stream.normal() / (1.0 - phi * phi).sqrt();
                (0..400)
                    .map(|i| {
                        value = phi * value + stream.normal();
                        value + slope * f64::from(i) / 400.0 + chain as f64 * 50.0
                    })
                    .collect()
            })
            .collect()
    }

    fn rejections(phi: f64, slope: f64) -> usize {
        let drifts = |seed: &u64| {
            let draws = autoregression(phi, slope, *seed);
            Chains::new(&draws).unwrap().drift().z.abs() > 1.96
        };
        (0..300).filter(drifts).count()
    }

    #[test]
    fn stationary_chains_do_not_drift() {
        // 300 trials at 5 %: 15 expected, standard deviation 3.8; the allowance of 10 % (30) covers
        // the small-sample bias of the autocorrelation time, three standard deviations on top.
        for phi in [0.0, 0.5, 0.8] {
            let n = rejections(phi, 0.0);
            assert!(n <= 30 + 12, "{phi}: {n} of 300");
        }
    }

    #[test]
    fn a_drift_is_seen() {
        // Independent draws: the contrast is 0.65 slope against an error of 0.066 at slope 0.5.
        assert!(rejections(0.0, 0.5) >= 290);
    }

    #[test]
    fn constant_chains() {
        let still = vec![vec![2.0; 20]];
        assert_eq!(Chains::new(&still).unwrap().drift().z, 0.0);
        let mut kicked = still.clone();
        kicked[0][0] = 1.0;
        assert_eq!(Chains::new(&kicked).unwrap().drift().z, f64::INFINITY);
    }
}
