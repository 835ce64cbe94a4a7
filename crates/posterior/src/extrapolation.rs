//! The learning coefficient at step size 0, from coupled chains at two step sizes.

use crate::combine::combination;
use crate::ensemble::Ensemble;
use crate::estimate::Estimate;
use crate::execution::Execution;
use crate::llc::{Llc, LlcError, SettingsError};
use crate::objective::Objective;
use crate::quantity::Quantity;
use crate::samplers::Sampler;

/// λ̂ at step size 0 by Richardson extrapolation, and the two estimates it comes from.
///
/// The stationary mean of SGLD is λ(ε) = λ(0) + aε + O(ε²) (Vollmer, Zygalakis & Teh 2016; for a quadratic
/// λ(0)/(1 − εA/4) in each direction), heat from minibatches included. So 2λ(ε/2) − λ(ε) = λ(0) + O(ε²). As a difference
/// of two noisy numbers that would need many more draws; the chains are coupled instead: a step of the coarse one takes the
/// noise (ξ₁ + ξ₂)/√2 of two fine steps, and the examples of the first, so that both follow one Brownian path and their
/// difference varies little (as in multilevel Monte Carlo; Giles et al. 2020).
#[derive(Debug, Clone, PartialEq)]
pub struct Extrapolation {
    /// The estimate at ε.
    pub coarse: Estimate,
    /// The estimate at ε/2, with twice the steps in burn-in and between draws.
    pub fine: Estimate,
    /// 2·fine − coarse, with the error of the coupled draws; `None` if either was refused.
    pub value: Option<Quantity>,
    /// 2·(coarse − fine): what the step size ε adds to λ̂, to first order; `None` as above.
    pub bias: Option<Quantity>,
}

impl Llc {
    /// Estimates λ̂ at these settings, at half the step size, and at step size 0; three times the cost of the first.
    ///
    /// # Errors
    /// As [`Llc::estimate_with`]; a sampler other than `sgld`, whose bias alone is known to be linear in ε: what RMSprop
    /// and Adam learn in so many steps changes with the step size, and with momentum a step is √ε.
    pub fn extrapolate(
        &self,
        objective: &Objective,
        weights: &[f32],
        execution: &Execution<'_>,
    ) -> Result<Extrapolation, LlcError> {
        if self.sampler != Sampler::Sgld {
            return Err(SettingsError::new("sampler", self.sampler, "`sgld`, to extrapolate in the step size").into());
        }
        let finer =
            Self { step_size: 0.5 * self.step_size, burn_in: 2 * self.burn_in, thin: 2 * self.thin, ..self.clone() };
        // First, for its checks: it has more steps.
        let fine = finer.estimate_with(objective, weights, execution)?;
        let mut ensemble = Ensemble::prepare(self, objective, weights, execution)?;
        ensemble.is_paired = true;
        let records = ensemble.run(execution, |_, _| Ok(()))?;
        let coarse = ensemble.conclude(records.into_iter().map(|(record, ())| record).collect())?;
        let n_beta = coarse.diagnostics().n_beta;
        let of = |weight_fine: f64, weight_coarse: f64| {
            combination(&[&fine, &coarse], &[weight_fine * n_beta, weight_coarse * n_beta]).ok()
        };
        let (value, bias) = (of(2.0, -1.0), of(-2.0, 2.0));
        Ok(Extrapolation { coarse, fine, value, bias })
    }
}
