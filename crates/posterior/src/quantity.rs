//! A number with its Monte Carlo standard error.

use std::fmt;

use ontogeny_stats::Chains;

use crate::verdict::Limits;

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
