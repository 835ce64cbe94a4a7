//! What tests and intervals answer with: directions, p-values and what they rest on, intervals, effects.

use crate::array_error::{ArrayError, setting};

/// On which side of no effect a claim looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sided {
    /// The effect is not 0.
    Either,
    /// The effect is positive (the first sample is larger; both rise together).
    Greater,
    /// The effect is negative.
    Less,
}

impl Sided {
    /// Level of the two-sided interval that goes with a test at `alpha`: 1 − α for either side and 1 − 2α for one side
    /// or for equivalence, so that each end that can decide the claim is wrong with probability α at most.
    pub fn interval_level(self, alpha: f64) -> f64 {
        match self {
            Self::Either => 1.0 - alpha,
            Self::Greater | Self::Less => 1.0 - 2.0 * alpha,
        }
    }

    /// The p-value, from those of both sides: twice the smaller for either side.
    pub(crate) fn p_value(self, greater: f64, less: f64) -> f64 {
        let p = match self {
            Self::Either => 2.0 * greater.min(less),
            Self::Greater => greater,
            Self::Less => less,
        };
        positive(p)
    }
}

/// What a p-value or a power rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// All arrangements of the data were counted, or their distribution is known without an assumption on its shape.
    Exact,
    /// `n` random arrangements or simulated studies, from the seed given.
    MonteCarlo {
        /// Their number.
        n: usize,
    },
    /// Exact (of unequal variances: nearly so) where the values are normal.
    Normal,
}

/// The outcome of a test of no effect.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Test {
    /// The statistic, as the test defines it.
    pub statistic: f64,
    /// Probability, without an effect, of a statistic that speaks as much for one: in (0, 1], never 0.
    pub p_value: f64,
    /// What it rests on.
    pub basis: Basis,
}

/// A two-sided confidence interval; an end is infinite where the data do not bound it at this level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end, included.
    pub lower: f64,
    /// Upper end, included.
    pub upper: f64,
    /// Share of intervals that cover the truth, such as 0.95.
    pub level: f64,
}

impl Interval {
    /// The interval that excludes nothing.
    pub fn everything(level: f64) -> Self {
        Self { lower: f64::NEG_INFINITY, upper: f64::INFINITY, level }
    }

    /// Whether `value` lies inside or at an end.
    pub fn contains(&self, value: f64) -> bool {
        self.lower <= value && value <= self.upper
    }
}

/// An estimate with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effect {
    /// The estimate.
    pub estimate: f64,
    /// Its interval.
    pub interval: Interval,
}

/// A p-value that is not 0, also where it is smaller than the least number.
pub(crate) fn positive(p: f64) -> f64 {
    p.clamp(f64::MIN_POSITIVE, 1.0)
}

/// Refuses levels that are not between 0 and 1.
pub(crate) fn check_level(level: f64) -> Result<(), ArrayError> {
    setting("the level of the interval", level, level > 0.0 && level < 1.0, "a number between 0 and 1, such as 0.95")
}

/// Refuses error rates that are not between 0 and ½.
pub(crate) fn check_alpha(alpha: f64) -> Result<(), ArrayError> {
    setting("alpha", alpha, alpha > 0.0 && alpha < 0.5, "a number between 0 and 0.5, such as 0.05")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_and_levels() {
        assert_eq!(Sided::Either.p_value(0.01, 0.99), 0.02);
        assert_eq!(Sided::Greater.p_value(0.01, 0.99), 0.01);
        assert_eq!(Sided::Less.p_value(0.01, 0.99), 0.99);
        assert_eq!(Sided::Either.p_value(0.7, 0.6), 1.0);
        assert!(Sided::Either.p_value(0.0, 1.0) > 0.0);
        assert_eq!(Sided::Either.interval_level(0.05), 0.95);
        assert_eq!(Sided::Less.interval_level(0.05), 0.9);
        assert!(Interval::everything(0.95).contains(1e300));
        for bad in [0.0, 1.0, f64::NAN, -1.0] {
            assert!(check_level(bad).is_err() && check_alpha(bad).is_err());
        }
    }
}
