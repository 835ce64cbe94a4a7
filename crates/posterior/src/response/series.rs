//! Means of functions of the draws, with the error that a learning coefficient would have.

use ontogeny_stats::Chains;

use crate::quantity::Quantity;

/// A mean over all draws of all chains.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct SeriesMean {
    pub(super) mean: f64,
    pub(super) mcse: f64,
    pub(super) r_hat: f64,
}

/// Why draws of chains that were accepted can always be diagnosed.
const SOUND: &str = "accepted chains have at least four draws, equally many, all finite";

/// The mean with the error of a [`Quantity`], and how well the chains agree.
pub(super) fn mean_of(series: &[Vec<f64>]) -> SeriesMean {
    let all = Chains::new(series).expect(SOUND);
    let Quantity { value: mean, mcse } = Quantity::of(&all);
    SeriesMean { mean, mcse, r_hat: all.rank_rhat() }
}

/// Mean and Monte Carlo error without R̂, which costs several times as much.
pub(super) fn quick_mean_of(series: &[Vec<f64>]) -> (f64, f64) {
    let all = Chains::new(series).expect(SOUND);
    (all.mean(), all.mcse_mean())
}

/// Draws minus the mean of their own chain, `[chain][draw]`, and the share of the variance that is left by that.
///
/// The mean of a chain of T draws with the autocorrelation time τ follows the draws: what is left has the variance
/// σ²·(1 − τ/T). For independent draws this is Bessel's correction. A share below one half is not believed.
pub(super) fn centred(series: &[Vec<f64>]) -> (Vec<Vec<f64>>, f64) {
    let centred: Vec<Vec<f64>> = series
        .iter()
        .map(|chain| {
            let mean = chain.iter().sum::<f64>() / chain.len() as f64;
            chain.iter().map(|value| value - mean).collect()
        })
        .collect();
    let chains = Chains::new(&centred).expect(SOUND);
    let share = 1.0 - chains.autocorrelation_time() / chains.n_draws() as f64;
    (centred, share.max(0.5))
}
