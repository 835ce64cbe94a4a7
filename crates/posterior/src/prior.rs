//! Gaussian priors besides the localisation, and the one Gaussian that they make together.

use std::sync::Arc;

use crate::llc::SettingsError;

/// An isotropic Gaussian factor exp(−½·precision·‖w − centre‖²) of the posterior, on the free parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct GaussianPrior {
    /// At least 0, in units of 1/‖w‖².
    pub precision: f64,
    /// Where it is centred.
    pub centre: Centre,
}

/// The centre of a prior.
#[derive(Debug, Clone, PartialEq)]
pub enum Centre {
    /// The origin: weight decay.
    Zero,
    /// The point w* where the chains start: localisation.
    Start,
    /// These weights, flat and of the length of the parameter space: another checkpoint, say.
    Weights(Arc<[f32]>),
}

/// The product of a localisation of precision γ at the start and of priors: again one Gaussian,
/// with the sum of the precisions and the mean of the centres weighted by them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pull {
    pub(crate) precision: f64,
    pub(crate) centre: Vec<f32>,
}

impl GaussianPrior {
    /// Whether precision and centre make sense for a network of so many weights.
    pub(crate) fn check(&self, n_weights: usize) -> Result<(), SettingsError> {
        if !(self.precision >= 0.0 && (self.precision as f32).is_finite()) {
            return Err(SettingsError::new("precision", self.precision, "a finite number, at least 0"));
        }
        let Centre::Weights(centre) = &self.centre else { return Ok(()) };
        if centre.len() != n_weights {
            let expected = format!("{n_weights} weights, as the network has");
            return Err(SettingsError::new("centre of a prior", format!("{} weights", centre.len()), expected));
        }
        centre.iter().find(|w| !w.is_finite()).map_or(Ok(()), |value| {
            Err(SettingsError::new("centre of a prior", format!("{value} in it"), "finite weights"))
        })
    }
}

impl Pull {
    /// Of priors that have been checked.
    pub(crate) fn new(localization: f64, priors: &[GaussianPrior], start: &[f32]) -> Self {
        let precision = localization + priors.iter().map(|prior| prior.precision).sum::<f64>();
        if priors.iter().all(|prior| prior.centre == Centre::Start) || precision == 0.0 {
            return Self { precision, centre: start.to_vec() };
        }
        let mut centre: Vec<f64> = start.iter().map(|&w| localization * f64::from(w)).collect();
        for prior in priors {
            let at: Option<&[f32]> = match &prior.centre {
                Centre::Zero => None,
                Centre::Start => Some(start),
                Centre::Weights(weights) => Some(weights),
            };
            for (sum, &w) in centre.iter_mut().zip(at.unwrap_or_default()) {
                *sum += prior.precision * f64::from(w);
            }
        }
        Self { precision, centre: centre.into_iter().map(|sum| (sum / precision) as f32).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_gaussians_are_one() {
        let start = [1.0, 2.0];
        let prior = |precision, centre| GaussianPrior { precision, centre };
        let there = Centre::Weights(Arc::from([5.0, -1.0]));
        let pull = Pull::new(3.0, &[prior(1.0, Centre::Zero), prior(4.0, there)], &start);
        // (3·1 + 0 + 4·5)/8 and (3·2 + 0 − 4)/8.
        assert_eq!(pull, Pull { precision: 8.0, centre: vec![2.875, 0.25] });
        let pull = Pull::new(3.0, &[prior(2.0, Centre::Start)], &start);
        assert_eq!(pull, Pull { precision: 5.0, centre: start.to_vec() });
        let pull = Pull::new(0.0, &[prior(0.0, Centre::Zero)], &start);
        assert_eq!(pull, Pull { precision: 0.0, centre: start.to_vec() });
        for (bad, message) in [
            (prior(-1.0, Centre::Zero), "`precision` is -1; expected a finite number, at least 0"),
            (prior(f64::NAN, Centre::Zero), "`precision` is NaN; expected a finite number, at least 0"),
            (
                prior(1.0, Centre::Weights(Arc::from([1.0]))),
                "`centre of a prior` is 1 weights; expected 2 weights, as the network has",
            ),
        ] {
            assert_eq!(bad.check(2).unwrap_err().to_string(), message);
        }
    }
}
