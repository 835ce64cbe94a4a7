//! A number with its Monte Carlo standard error.

use std::fmt;

use ontogeny_stats::{ChainError, Chains};

use crate::verdict::Limits;

/// Pieces of a chain, for errors from the scatter of their means: long enough to be nearly independent where a chain holds
/// tens of effective draws, and with four chains enough for an error that is good to 16 %.
const SEGMENTS: usize = 5;

/// A mean over draws with its error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantity {
    /// The value.
    pub value: f64,
    /// Its Monte Carlo standard error, in the unit of the value.
    pub mcse: f64,
}

impl Quantity {
    /// The mean of draws and its error: standard deviation over √ESS and, where R̂ exceeds
    /// [`Limits::R_HAT_AGREEMENT`], at least the error from the spread between chains.
    pub(crate) fn of(draws: &Chains<'_>) -> Self {
        let mut mcse = draws.mcse_mean();
        if draws.rank_rhat() > Limits::R_HAT_AGREEMENT {
            mcse = mcse.max(draws.mcse_between());
        }
        Self { value: draws.mean(), mcse }
    }

    /// The mean of a series whose autocorrelations may have any sign, as those of differences and of draws with control
    /// variates do: the initial positive sequence of the ESS would end at the first negative one, and miss what follows.
    /// The error is from the scatter of the means of [`SEGMENTS`] pieces of each chain (batch means; Flegal & Jones 2010)
    /// and, where it is positive, the covariance of neighbours: of modes that outlast a piece. Taking the positive part
    /// makes errors about 10 % too large on average where there are none.
    pub(crate) fn of_segments(chains: &[Vec<f64>]) -> Result<Self, ChainError> {
        let draws = Chains::new(chains)?;
        let length = (draws.n_draws() / SEGMENTS).max(2);
        let mean = |piece: &[f64]| piece.iter().sum::<f64>() / piece.len() as f64;
        let means: Vec<Vec<f64>> = chains.iter().map(|chain| chain.chunks_exact(length).map(mean).collect()).collect();
        let n = means.iter().map(Vec::len).sum::<usize>() as f64;
        let centre = means.iter().flatten().sum::<f64>() / n;
        let products = |lag: usize| {
            let of_chain =
                |means: &Vec<f64>| means.iter().zip(&means[lag..]).map(|(a, b)| (a - centre) * (b - centre)).sum();
            means.iter().map(of_chain).collect::<Vec<f64>>().iter().sum::<f64>()
        };
        // Variance of the sum, over n²: neighbours count twice.
        let squares = products(0) + 2.0 * products(1).max(0.0);
        Ok(Self { value: draws.mean(), mcse: (squares / (n - 1.0) / n).sqrt() })
    }

    /// The quantity in another unit.
    pub(crate) fn scaled(self, factor: f64) -> Self {
        Self { value: factor * self.value, mcse: factor.abs() * self.mcse }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.4} ± {:.4}", self.value, self.mcse)
    }
}
