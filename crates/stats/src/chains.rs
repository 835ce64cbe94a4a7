//! Draws of several chains, and how well the chains agree: the potential scale reduction R̂.

use crate::order::{average_ranks, median};
use crate::special::normal_quantile;
use thiserror::Error;

/// Fewest draws a chain may have: half a chain needs a variance and a lag-one autocovariance.
pub const MIN_DRAWS: usize = 4;

/// Checked draws of one scalar quantity: at least one chain, all of the same length
/// (≥ [`MIN_DRAWS`]), all finite.
///
/// The diagnostics agree with ArviZ 0.23.4 except where said. Chains are split in halves
/// everywhere (the middle draw of an odd number is left out), so one chain is enough.
#[derive(Debug, Clone, Copy)]
pub struct Chains<'a> {
    pub(crate) draws: &'a [Vec<f64>],
}

/// Why draws cannot be diagnosed.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ChainError {
    /// There is no chain at all.
    #[error("no chains given; at least one is needed")]
    NoChains,
    /// Too few draws in a chain.
    #[error("chain {chain} has {found} draws; at least {MIN_DRAWS} are needed")]
    TooFewDraws {
        /// Index of the chain, from 0.
        chain: usize,
        /// Its number of draws.
        found: usize,
    },
    /// Chains of different lengths.
    #[error("chain {chain} has {found} draws, chain 0 has {expected}; cut the chains to one length")]
    UnequalLengths {
        /// Index of the chain, from 0.
        chain: usize,
        /// Its number of draws.
        found: usize,
        /// Number of draws of chain 0.
        expected: usize,
    },
    /// A draw is NaN or infinite.
    #[error("draw {draw} of chain {chain} is {value}; a diverged chain has no diagnostics, leave it out and say so")]
    NonFinite {
        /// Index of the chain, from 0.
        chain: usize,
        /// Index of the draw, from 0.
        draw: usize,
        /// The offending value.
        value: f64,
    },
}

impl<'a> Chains<'a> {
    /// Checks `draws` (chains × draws) and wraps them.
    ///
    /// # Errors
    /// No chain, fewer than [`MIN_DRAWS`] draws, unequal lengths or a non-finite draw.
    pub fn new(draws: &'a [Vec<f64>]) -> Result<Self, ChainError> {
        let expected = draws.first().ok_or(ChainError::NoChains)?.len();
        for (chain, values) in draws.iter().enumerate() {
            let found = values.len();
            if found < MIN_DRAWS {
                return Err(ChainError::TooFewDraws { chain, found });
            }
            if found != expected {
                return Err(ChainError::UnequalLengths { chain, found, expected });
            }
            if let Some(draw) = values.iter().position(|v| !v.is_finite()) {
                return Err(ChainError::NonFinite { chain, draw, value: values[draw] });
            }
        }
        Ok(Self { draws })
    }

    /// Number of chains.
    pub fn n_chains(&self) -> usize {
        self.draws.len()
    }

    /// Number of draws of each chain.
    pub fn n_draws(&self) -> usize {
        self.draws[0].len()
    }

    /// Mean over all draws of all chains.
    pub fn mean(&self) -> f64 {
        mean(&self.pooled())
    }

    /// Standard deviation over all draws of all chains (divisor N − 1).
    pub fn standard_deviation(&self) -> f64 {
        variance(&self.pooled()).sqrt()
    }

    /// Rank-normalised split R̂: the larger of the bulk value and the folded one, which sees
    /// chains that differ in spread (Vehtari et al. 2021, eqs. 13–15).
    ///
    /// Where every draw is the same value the chains have not been shown to mix, and the answer is
    /// +∞ (ArviZ says NaN, which passes comparisons unseen); +∞ too for chains that are constant
    /// at different values. Unlike ArviZ, one chain is accepted and compared with its own halves.
    pub fn rank_rhat(&self) -> f64 {
        let halves = self.split();
        let centre = median(&halves.concat());
        let folded: Vec<Vec<f64>> = halves.iter().map(|c| c.iter().map(|v| (v - centre).abs()).collect()).collect();
        let bulk = rhat(&rank_normalise(&halves));
        let tail = rhat(&rank_normalise(&folded));
        match (bulk, tail) {
            (Some(bulk), Some(tail)) => bulk.max(tail),
            // Two values, equally far from their median, fold onto one: only the bulk says anything.
            (Some(bulk), None) => bulk,
            (None, _) => f64::INFINITY,
        }
    }

    /// Plain split R̂ of the draws themselves (Gelman et al. 2013).
    ///
    /// It needs a finite variance and can look perfect on an exploding chain; prefer
    /// [`Chains::rank_rhat`]. Constant chains as there.
    pub fn split_rhat(&self) -> f64 {
        rhat(&self.split()).unwrap_or(f64::INFINITY)
    }

    pub(crate) fn pooled(&self) -> Vec<f64> {
        self.draws.concat()
    }

    /// First and last halves as chains of their own.
    pub(crate) fn split(&self) -> Vec<Vec<f64>> {
        let half = self.n_draws() / 2;
        let first = self.draws.iter().map(|c| c[..half].to_vec());
        let last = self.draws.iter().map(|c| c[c.len() - half..].to_vec());
        first.chain(last).collect()
    }
}

/// R̂ of chains as they are (Vehtari et al. 2021, eqs. 1–4); `None` when all draws are equal.
fn rhat(chains: &[Vec<f64>]) -> Option<f64> {
    let n = chains[0].len() as f64;
    let means: Vec<f64> = chains.iter().map(|c| mean(c)).collect();
    let between = n * variance(&means);
    let within = mean(&chains.iter().map(|c| variance(c)).collect::<Vec<_>>());
    if within == 0.0 {
        return (between > 0.0).then_some(f64::INFINITY);
    }
    Some(((between / within + n - 1.0) / n).sqrt())
}

/// Normal scores of the pooled ranks with Blom's offset (Vehtari et al. 2021, eq. 14).
pub(crate) fn rank_normalise(chains: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let pooled = chains.concat();
    let size = pooled.len() as f64;
    let scores: Vec<f64> =
        average_ranks(&pooled).into_iter().map(|rank| normal_quantile((rank - 0.375) / (size + 0.25))).collect();
    scores.chunks(chains[0].len()).map(<[f64]>::to_vec).collect()
}

/// Arithmetic mean, exact for equal values.
pub(crate) fn mean(values: &[f64]) -> f64 {
    // Summing differences from the first value keeps constants exact and large offsets harmless.
    let origin = values[0];
    origin + values.iter().map(|v| v - origin).sum::<f64>() / values.len() as f64
}

/// Variance with divisor n − 1.
pub(crate) fn variance(values: &[f64]) -> f64 {
    let centre = mean(values);
    values.iter().map(|v| (v - centre) * (v - centre)).sum::<f64>() / (values.len() as f64 - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_draws_are_named() {
        assert_eq!(Chains::new(&[]).unwrap_err(), ChainError::NoChains);
        let cases = [
            (vec![vec![0.0; 3]], "chain 0 has 3 draws; at least 4 are needed"),
            (vec![vec![0.0; 5], vec![0.0; 4]], "chain 1 has 4 draws, chain 0 has 5"),
            (vec![vec![0.0; 4], vec![0.0, f64::NAN, 0.0, 0.0]], "draw 1 of chain 1 is NaN"),
            (vec![vec![0.0, 0.0, f64::INFINITY, 0.0]], "draw 2 of chain 0 is inf"),
        ];
        for (draws, message) in cases {
            let error = Chains::new(&draws).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn chains_that_never_move_are_not_converged() {
        let stuck = vec![vec![1.1; 10], vec![1.1; 10]];
        let apart = vec![vec![1.1; 10], vec![2.0; 10]];
        for draws in [stuck, apart] {
            let chains = Chains::new(&draws).unwrap();
            assert_eq!(chains.rank_rhat(), f64::INFINITY);
            assert_eq!(chains.split_rhat(), f64::INFINITY);
        }
    }

    #[test]
    fn two_symmetric_values_leave_the_bulk_to_judge() {
        let draws: Vec<Vec<f64>> = (0..2).map(|c| (0..40).map(|i| f64::from((i + c) % 2)).collect()).collect();
        let rhat = Chains::new(&draws).unwrap().rank_rhat();
        assert!(rhat > 0.9 && rhat < 1.0, "{rhat}");
    }
}
