//! How the step size changes along a chain.

use crate::llc::SettingsError;

/// The step size of each step, as a multiple of `step_size`.
///
/// All draws are taken at the full `step_size`: with sizes that go on falling, draws would have to be weighted by them
/// (Teh, Thiéry & Vollmer 2016) and late ones be worth little.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Schedule {
    /// `step_size` throughout.
    #[default]
    Constant,
    /// From `from · step_size` to `step_size` during burn-in, by the same factor at each step; constant afterwards. Above
    /// 1 it covers ground first, below 1 it warms up.
    BurnIn {
        /// Above 0.
        from: f64,
    },
}

impl Schedule {
    pub(crate) fn validate(&self, step_size: f64) -> Result<(), SettingsError> {
        let Self::BurnIn { from } = *self else { return Ok(()) };
        let first = (from * step_size) as f32;
        if from > 0.0 && first.is_finite() && first > 0.0 {
            Ok(())
        } else {
            Err(SettingsError::new("from", from, "a finite number above 0"))
        }
    }

    /// The multiple at a step.
    pub(crate) fn factor(&self, step: usize, burn_in: usize) -> f64 {
        match *self {
            Self::BurnIn { from } if step < burn_in => from.powf(1.0 - step as f64 / burn_in as f64),
            _ => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_falls_during_burn_in_and_is_constant_afterwards() {
        let schedule = Schedule::BurnIn { from: 16.0 };
        let factors: Vec<f64> = (0..6).map(|step| schedule.factor(step, 4)).collect();
        assert_eq!(factors, [16.0, 8.0, 4.0, 2.0, 1.0, 1.0]);
        assert_eq!(Schedule::Constant.factor(0, 4), 1.0);
        assert_eq!(schedule.factor(0, 0), 1.0);
        let bad = Schedule::BurnIn { from: -1.0 }.validate(1.0).unwrap_err().to_string();
        assert_eq!(bad, "`from` is -1; expected a finite number above 0");
    }
}
